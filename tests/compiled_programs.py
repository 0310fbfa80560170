"""Random programs that Python and compiled code understand alike, drawn statement by statement.

They are full of what a compiler of recording code may get wrong: sums in place whose old values
live on in other variables, lists, tuples and arrays; variables that hold a number at first and a
value later; loops that are left early, and branches on values.
"""

from __future__ import annotations

import itertools
import linecache
import math
import random
from typing import Any

import numpy as np

import ndtape as nt

_names = itertools.count()

VALUES = [
    "0.5 * ({0} + {1})", "{0} - 0.5 * {1}", "{0} * {1} * 0.4", "nt.sin({0}) + 0.25 * {1}", "-{0}",
    "nt.tanh({0} * {1})", "abs({0}) - 0.5", "{0} / (1.5 + {1} * {1})", "{0} + {1}", "{0} - {1}",
    "nt.sqrt(1.0 + {0} * {0}) - {1}", "nt.where({0} < {1}, {0}, 0.5 * {1})", "{0} * 0.9 + 0.1",
    "max({0}, {1}, 0.25)", "min({0}, {1})", "({0} if {1} < {2} else {1})", "({0} and {1})",
    "({0} or {1})", "pair({0}, {1})[0] * {2} * 0.5", "kept({0}, {1})", "{0}**2 * 0.3", "2 - {0}",
    "0.5**{0}", "nt.relu({0}) + {1}", "({0}, {1})[0] - ({1}, {2})[1] * 0.5", "+{0}",
    "{0} * {0} / 2", "({0} > {1}) * {2} * 0.5", "{0} % 2.0 - {1}", "summed({0}, {1}, 3)",
    "last([{0}, {1}, {2}])",
]  # fmt: skip


class Text:
    """Lines of a program under construction, and the names that exist."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lines: list[str] = []
        self.depth, self.loops = 1, 0
        self.names = ["p", "q"]

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def some(self) -> str:
        """A value: mostly a new variable."""
        rng = self.rng
        if rng.random() < 0.15:
            return rng.choice(
                ["y[0]", "y[1]", "y[-1]", "values[-1]", "values[0]", "0.5", "1", "x[1]"]
            )
        return self.names[-1 - min(int(rng.expovariate(0.5)), len(self.names) - 1)]

    def old(self) -> str:
        """A variable."""
        return self.rng.choice(self.names)

    def value(self) -> str:
        return self.rng.choice(VALUES).format(self.some(), self.some(), self.some())

    def condition(self) -> str:
        rng = self.rng
        p, q, r = self.some(), self.old(), self.some()
        return rng.choice([
            f"{q} < {p}", f"{q} >= {r}", f"{p} < {q} < {r}", f"{q} > 0 and {p} < {r}", f"{q}",
            f"not {q} > {p}", f"{q} < 0.3 or {r} > 0.2", f"int({q} * 3.0) % 2 == 0", "k % 2 == 1",
        ])  # fmt: skip

    # --- statements ---

    def statement(self) -> None:
        kinds = [self.assign] * 3 + [self.sum] * 5 + [self.copy, self.swap, self.store, self.take]
        if self.depth < 4:
            kinds += [self.branch, self.loop, self.branch]
        self.rng.choice(kinds)()

    def assign(self) -> None:
        if self.depth == 1 and self.rng.random() < 0.7:
            name = f"v{len(self.names)}"
            start = self.rng.choice([self.value(), "0.0", "0", "1.5", self.value(), self.old()])
            self.add(f"{name} = {start}")
            self.names.append(name)
        else:
            self.add(f"{self.old()} = {self.value()}")

    def sum(self) -> None:
        name, value = self.old(), self.value() if self.rng.random() < 0.5 else self.some()
        self.add(self.rng.choice([
            f"{name} += {value}", f"{name} -= {value}", f"{name} = {name} + {value}",
            f"{name} = {name} - {value}", f"{name} = {value} + {name}", f"{name} += 0.25 * {value}",
            f"{name} = 0.5 * ({name} + {value})", f"{name} += {name}",
        ]))  # fmt: skip

    def copy(self) -> None:
        self.add(f"{self.old()} = {self.old()}")

    def swap(self) -> None:
        a, b = self.old(), self.old()
        self.add(self.rng.choice([
            f"{a}, {b} = {b}, {a} + {b}", f"{a}, {b} = {b}, {a}", f"{a}, {b} = pair({a}, {b})",
            f"{a}, {b} = 0.5 * {b}, {a} - {b}", f"{a} = {b} = {a} - {b}",
        ]))  # fmt: skip

    def store(self) -> None:
        v = self.some()
        self.add(self.rng.choice([
            f"values.append({v})", f"values[-1] = {v}", f"y[{self.rng.randrange(3)}] = {v}",
            f"y[{self.rng.randrange(3)}] += {v}", f"y[k % 3] -= 0.5 * {v}", f"values[0] += {v}",
            "y[1:] = y[:2] * 0.5", f"y += {self.old()} * x", "y *= 0.75",
            f"pairs = ({v}, {self.old()})",
        ]))  # fmt: skip

    def take(self) -> None:
        places = ["values[-1]", "values[0]", "y[0]", "y[2]", "pairs[0]", "pairs[1]"]
        self.add(f"{self.old()} = {self.rng.choice([*places, 'values[len(values) // 2]'])}")

    def block(self, count: int) -> None:
        self.depth += 1
        for _ in range(count):
            self.statement()
        self.depth -= 1

    def branch(self) -> None:
        self.add(f"if {self.condition()}:")
        self.block(self.rng.randint(1, 3))
        if self.rng.random() < 0.3:
            self.add(f"elif {self.condition()}:")
            self.block(1)
        if self.rng.random() < 0.5:
            self.add("else:")
            self.block(self.rng.randint(1, 2))

    def loop(self) -> None:
        if self.loops > 3:
            return self.sum()
        self.loops += 1
        kind = self.rng.randrange(4)
        if kind == 0:
            self.add(f"s = abs({self.old()}) + 0.5")
            self.add("while s > 0.2:")
            self.depth += 1
            self.add("s -= 0.15 + 0.1 * s * s")
            self.add("k += 1")
            self.depth -= 1
        else:
            over = [f"for k in range({self.rng.randint(1, 4)}):", "for e in x:",
                    "for k, e in enumerate(y):"][kind - 1]  # fmt: skip
            self.add(over)
            if "e" in over[:10]:
                self.depth += 1
                self.add(f"{self.old()} += e * 0.5")
                self.depth -= 1
        self.block(self.rng.randint(1, 4))
        if self.rng.random() < 0.4:
            self.depth += 1
            self.add(f"if {self.condition()}:")
            self.add("    " + self.rng.choice(["break", "continue"]))
            self.add(f"{self.old()} -= {self.some()}")
            self.depth -= 1


def source(seed: int, length: int) -> str:
    """The text of a program of that many statements at the outer level."""
    text = Text(seed)
    for _ in range(length):
        text.statement()
    text.loops = 9
    terms = [f"nt.sin({name}) * {0.3 + 0.1 * i:.1f}" for i, name in enumerate(text.names)]
    terms += ["y[0] * 0.2 - y[1]", "0.3 * y[2]", "values[-1] * pairs[1]", "values[0]"]
    head = ["def f(p, q, x):", "    k = 0", "    y = nt.zeros(3)", "    y[0] = x[0] * 1.0",
            "    values = [p * 0.5]", "    pairs = (q * 1.0, p)"]  # fmt: skip
    return "\n".join([*head, *text.lines, "    return " + " + ".join(terms), ""])


def pair(a: Any, b: Any) -> Any:
    """A tuple of what it was given, and a sum."""
    return a - b, a


def kept(a: Any, b: Any) -> Any:
    """An old partial sum outlives the sum."""
    s = a + b
    first = s
    for _ in range(2):
        s += a
    return s - first * 0.5


def summed(a: Any, b: Any, n: int) -> Any:
    """Partial sums are used on the way."""
    s, t = 0.0, 0.0
    for i in range(n):
        s += a * i
        t += s * b
    return s * 0.1 + t * 0.1


def last(values: Any) -> Any:
    """Of a list that grows by its own sum."""
    s = values[0]
    for v in values:
        s = s + v
    values.append(s)
    return values[-1] * 0.3


def made(text: str) -> Any:
    """The function of a program's text, whose lines tracebacks can show."""
    name = f"<compiled program {next(_names)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    names = {
        "np": np,
        "nt": nt,
        "math": math,
        "pair": pair,
        "kept": kept,
        "summed": summed,
        "last": last,
    }
    exec(compile(text, name, "exec"), names)
    return names["f"]
