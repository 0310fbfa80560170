"""The exercise of A2 as a quiz: the graph of c = sin(x² + y) with blanks to fill in, then solved.

Run it with `solve` to see the solution at once, for example `python a2_quiz.py solve`; without, it
prints the empty graph, waits for Enter where somebody is there to press it, and then solves.
"""

from __future__ import annotations

import sys

from walkthrough import Numbers, walk

import ndtape as nt

QUESTION = """
    x = {x}
       \\
     a = x²       y = {y}
     a = {a}       /
         \\       /
          b = a + y
          b = {b}
             |
          c = sin b
          c = {c}

    backwards, from dc/dc = 1:
      dc/db = cos b         = {dc_db}
      dc/da = dc/db · 1     = {dc_da}
      dc/dy = dc/db · 1     = {dc_dy}
      dc/dx = dc/da · 2x    = {dc_dx}     (dc/da: already computed)
"""


def solved() -> dict[str, float]:
    """Every number of the graph, from one recording and one walk."""
    x, y = nt.var(5.0, name="x"), nt.var(3.0, name="y")
    with nt.Tape() as tape:
        a = nt.square(x)
        b = a + y
        c = nt.sin(b)
    values = {"x": x.value, "y": y.value, "a": a.value, "b": b.value, "c": c.value}
    adjoints = tape.gradient(c, [b, a, y, x])
    return values | dict(zip(["dc_db", "dc_da", "dc_dy", "dc_dx"], adjoints, strict=True))


def question(numbers: Numbers) -> None:
    """Build the graph of c = sin(x² + y) at x = 5, y = 3, and walk it backwards"""
    blanks = dict.fromkeys(solved(), "____")
    print(QUESTION.format_map(blanks | {"x": "5", "y": "3"}))
    if sys.stdin is not None and sys.stdin.isatty() and "solve" not in sys.argv:
        input("    Enter for the solution … ")


def solution(numbers: Numbers) -> None:
    """Solution"""
    print(QUESTION.format_map({name: f"{value:.12g}" for name, value in solved().items()}))
    for name, printed in ANSWERS.items():
        numbers.check(name, solved()[name], printed)


ANSWERS = {
    "a": "25",
    "b": "28",
    "c": "0.270905788308",
    "dc_db": "-0.962605866314",
    "dc_da": "-0.962605866314",
    "dc_dy": "-0.962605866314",
    "dc_dx": "-9.62605866314",
}


def main() -> Numbers:
    """Ask, then solve; the numbers by name."""
    return walk("A quiz", [question, solution])


if __name__ == "__main__":
    main()
