"""Random programs that branch on their numbers: Python source text drawn statement by statement.

Every program is a function `f(a, b, x)` of two numbers and an array of four; some read a global
number K and a global array W as well.  All arithmetic in it
is exact to the last bit on every path (IEEE operations, and `nt`'s own functions), so that plain
Python, a recording and a replay decide alike even where two numbers nearly tie.
"""

from __future__ import annotations

import itertools
import linecache
import random

import numpy as np

import ndtape as nt

_names = itertools.count()


class Text:
    """Lines of a program under construction, and the names that exist."""

    def __init__(self, rng, captures):
        self.rng, self.lines, self.depth, self.made = rng, [], 1, 0
        self.scalars, self.arrays = ["a", "b"], ["x"]
        self.outside = captures
        self.loops = 0

    def add(self, line):
        self.lines.append("    " * self.depth + line)

    def fresh(self):
        self.made += 1
        return f"v{self.made}"

    def some(self, count=1):
        """Scalars, newer ones more often; now and then an element."""
        rng = self.rng
        found = []
        for _ in range(count):
            if self.outside and rng.random() < 0.25:
                found.append(rng.choice(["K", "W[0]", "W[2]", "np.max(W)", "LIST[1]", "helper(K)"]))
            elif rng.random() < 0.12:
                found.append(f"{rng.choice(self.arrays)}[{rng.randrange(4)}]")
            else:
                found.append(
                    self.scalars[-1 - min(int(rng.expovariate(0.5)), len(self.scalars) - 1)]
                )
        return found if count > 1 else found[0]

    def number(self):
        return self.rng.choice(["0.0", "0.25", "-0.5", "1.0", "0.75", "-1.25", "0.1"])

    def operand(self):
        return self.some() if self.rng.random() < 0.7 else self.number()


# --- expressions ----------------------------------------------------------------------------------

VALUES = [
    "0.5 * ({0} + {1})", "{0} - 0.5 * {1}", "{0} * {1} * 0.4", "nt.sin({0}) + 0.25 * {1}",
    "nt.tanh({0} * {1})", "abs({0}) - 0.5", "-{0}", "{0} / (1.5 + {1} * {1})",
    "nt.sqrt(1.0 + {0} * {0}) - {1} * 0.3", "nt.floor({0} * 2.0) * 0.5 + 0.0 * {1}",
    "nt.where({0} < {1}, {0}, 0.5 * {1})", "{0} * 0.9 + 0.1",
]  # fmt: skip
CHOICES = [
    "max({0}, {1})", "min({0}, {1}, 0.3)", "max({0}, {1}, {2}, key=abs)",
    "min([{0}, {1}, {2}], key=lambda e: (e - 0.3) * (e - 0.3))", "sorted([{0}, {1}, {2}])[1]",
    "sorted([{0}, {1}, {2}], key=lambda e: -e * e)[0]", "sorted(({0}, {1}), reverse=True)[1] * 0.5",
    "[{0}, {1}, {2}][round({0}) % 3]", "({0} and {1})", "({0} or {1})",
    "({0} if {1} < {2} else {1})",
    "next((e for e in ({0}, {1}) if e > 0.0), {2})",
    "sum(e for e in ({0}, {1}, {2}) if e > 0.25) * 0.5",
    "{0} * (1.0 + int({1} < {2}))", "[{0}, {1}][bool({0} > {2})]",
    "{0} * (math.floor({1}) % 3) * 0.5",
    "{0} + 0.25 * len([e for e in ({0}, {1}, {2}) if e < 0.0])",
]  # fmt: skip
ARRAY_VALUES = [
    "{0}[np.argmin({0})] + 0.1 * {1}", "[{1}, {2}, 0.5, -{1}][int(np.argmax({0}))]",
    "np.max({0}) * 0.5 + 0.0 * {1}", "np.sort({0})[1] * 0.8 + 0.1 * {1}",
    "{0}[np.argsort({0})[2]] - {1} * 0.1",
    "total({0}[{0} > {1}]) * 0.3", "0.2 * len({0}[{0} < {1}]) + {2} * 0.5",
    "total({0}[np.where({0} > {1})]) * 0.3", "0.1 * np.count_nonzero({0} > {1}) + {2}",
    "total({0}[np.nonzero({0} > 0.0)[0]]) * 0.25", "{1} * sum(1.0 for e in {0} if e > {2}) * 0.25",
    "{0}[abs(math.floor({1})) % 4] * 0.9", "total({0}[: 1 + abs(int({1})) % 3]) * 0.4",
]  # fmt: skip
COUNTS = [
    "abs(math.floor({0} * 2.0)) % 7", "min(abs(round({0} * 3.0)), 6)", "abs(int({0} * 4.0)) % 6",
]  # fmt: skip
NEW_ARRAYS = [
    "{0} * 0.5 + {1} * 0.25", "np.where({0} > {1}, {0}, 0.5 * {0})", "np.sort({0})",
    "np.abs({0}) - 0.5",
    "{0}[np.argsort({1} * {0})]", "{0}[::-1] * 0.9", "np.maximum({0}, {1})", "{0} * ({0} > {1})",
    "np.clip({0}, -0.75, 0.5)",
]  # fmt: skip


def condition(text, depth=0):
    """A condition: comparisons of all kinds, joined by and, or and not."""
    rng = text.rng
    kind = rng.randrange(10 if depth < 2 else 7)
    p, q, r = text.operand(), text.some(), text.operand()
    if kind < 3:
        return f"{p} {rng.choice(['<', '<=', '>', '>='])} {q}"
    if kind == 3:
        ops = [rng.choice(["<", "<=", ">"]) for _ in range(2)]
        return f"{p} {ops[0]} {q} {ops[1]} {r}"
    if kind == 4:
        return f"nt.floor({q} * 2.0) {rng.choice(['==', '!='])} nt.floor({text.some()} * 2.0)"
    if kind == 5:
        word = rng.choice(["in", "not in"])
        return f"nt.floor({q} * 2.0) * 0.5 {word} (0.0, {text.number()}, {text.some()})"
    if kind == 6:
        array = rng.choice(text.arrays)
        return rng.choice([
            f"({array} > {q}).any()", f"np.all({array} < {q} + 1.0)",
            f"np.argmax({array}) == {rng.randrange(4)}",
            f"any(e > {q} for e in {array})", f"all([{q} > -1.0, {p} < 1.0])",
            f"{array}[0] < {array}[3]",
            f"math.floor({q}) % 2 == 0", f"{q}",
        ])  # fmt: skip
    if kind == 7:
        return f"not ({condition(text, depth + 1)})"
    word = " and " if kind == 8 else " or "
    return word.join(f"({condition(text, depth + 1)})" for _ in range(2))


# --- statements -----------------------------------------------------------------------------------


def statement(text):
    """One more statement, at the present indentation."""
    rng = text.rng
    kind = rng.choice(KINDS if text.depth < 4 else FLAT)
    kind(text)


def assign(text):
    pool = rng_choice(text, [(VALUES, 5), (CHOICES, 5), (ARRAY_VALUES, 4)])
    form = text.rng.choice(pool)
    operands = text.some(3)
    if pool is ARRAY_VALUES:
        operands = [text.rng.choice(text.arrays), *operands[:2]]
    _set(text, form.format(*operands))


def rng_choice(text, weighted):
    pools, weights = zip(*weighted, strict=True)
    return text.rng.choices(pools, weights)[0]


def _set(text, expression):
    """A new name at the outer level, an old one in a block: names exist on all ways."""
    if text.depth == 1:
        name = text.fresh()
        text.add(f"{name} = {expression}")
        text.scalars.append(name)
    else:
        text.add(f"{text.rng.choice(text.scalars)} = {expression}")


def assign_array(text):
    form = text.rng.choice(NEW_ARRAYS).format(text.rng.choice(text.arrays), text.some())
    if text.depth == 1 and len(text.arrays) < 4:
        name = text.fresh()
        text.add(f"{name} = {form}")
        text.arrays.append(name)
    elif len(text.arrays) > 1:
        text.add(f"{text.rng.choice(text.arrays[1:])} = {form}")
    else:
        assign(text)


def write(text):
    """In place, into an array that the program made."""
    if len(text.arrays) < 2:
        return assign(text)
    array = text.rng.choice(text.arrays[1:])
    p, q = text.some(), text.operand()
    text.add(text.rng.choice([
        f"{array}[{text.rng.randrange(4)}] = {p}", f"{array}[{array} > {p}] = {q}",
        f"{array}[{array} < {p}] *= 0.5", f"{array}[1:3] += {p} * 0.25",
        f"{array}[abs(math.floor({p})) % 4] = {p} * 0.5",
    ]))  # fmt: skip


def block(text, count):
    text.depth += 1
    for _ in range(count):
        statement(text)
    text.depth -= 1


def branch(text):
    rng = text.rng
    text.add(f"if {condition(text)}:")
    block(text, rng.randint(1, 3))
    if rng.random() < 0.35:
        text.add(f"elif {condition(text)}:")
        block(text, rng.randint(1, 2))
    if rng.random() < 0.6:
        text.add("else:")
        block(text, rng.randint(1, 2))


def shrink(text):
    """A loop that runs until a number is small: 1 to some hundred rounds."""
    if text.loops > 1:
        return assign(text)
    text.loops += 1
    name, rate = text.rng.choice(text.scalars), text.rng.choice(["0.5", "0.9", "0.98"])
    text.add(f"n, s = 0, abs({name}) * {text.rng.choice(['1.0', '30.0'])}")
    text.add(
        f"while s > 0.05{text.rng.choice(['', ' and n < 40', f' + 0.2 * abs({text.some()})'])}:"
    )
    text.depth += 1
    text.add(f"s = s * {rate}")
    text.add("n += 1")
    if text.rng.random() < 0.4:
        text.add(f"if s < abs({text.some()}) * 0.2:")
        text.depth += 1
        text.add(text.rng.choice(["break", "s = s * 0.7", "n += 1"]))
        text.depth -= 1
    text.depth -= 1
    text.add(f"{name} = {name} * 0.5 + s + 0.001 * n")


def repeat(text):
    """A loop whose count comes from a number."""
    if text.loops > 1:
        return assign(text)
    text.loops += 1
    count = text.rng.choice(
        [
            "abs(math.floor({0} * 2.0)) % 7",
            "min(abs(round({0} * 3.0)), 6)",
            "abs(int({0} * 4.0)) % 6",
        ]
    )
    text.add(f"for i in range({count.format(text.some())}):")
    text.depth += 1
    name = text.rng.choice(text.scalars)
    text.add(f"{name} = 0.5 * {name} + 0.1 * i * {text.some()}")
    if text.rng.random() < 0.4:
        text.add(f"if {condition(text)}:")
        text.depth += 1
        text.add(text.rng.choice(["break", "continue"]))
        text.depth -= 1
        text.add(f"{name} = {name} - 0.05")
    text.depth -= 1


def leave(text):
    """Leaves the function early."""
    text.add(f"if {text.some()} > {text.rng.choice(['1.75', '2.5'])}:")
    text.depth += 1
    text.add(f"return {text.some()} * 2.0 + 0.0 * b")
    text.depth -= 1


FLAT = [assign, assign, assign, write]
KINDS = [
    assign,
    assign,
    assign,
    assign,
    assign_array,
    write,
    branch,
    branch,
    branch,
    shrink,
    repeat,
    leave,
]


def source(seed, length, captures=False):
    """The text of a program of that many statements at the outer level."""
    text = Text(random.Random(seed), captures)
    text.add("y = x * 1.0")
    text.arrays.append("y")
    if captures:
        text.add("w = W * 1.0 + 0.0 * x")
        text.arrays.append("w")
    for _ in range(length):
        statement(text)
    terms = [f"{0.3 + 0.1 * k:.1f} * {name}" for k, name in enumerate(text.scalars)]
    terms += [f"total({name} * WEIGHTS) * 0.2" for name in text.arrays]
    text.add("return " + " + ".join(terms))
    return "\n".join(["def f(a, b, x):", *text.lines, ""])


def total(x):
    """The sum, from left to right, in every world."""
    s = 0.0
    for e in x:
        s = s + e
    return s


def compiled(text):
    """The function of a program's text, whose lines tracebacks can show."""
    import math

    name = f"<program {next(_names)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    names = {"np": np, "nt": nt, "math": math, "total": total}
    names["WEIGHTS"] = np.array([1.0, -0.5, 0.75, 0.25])
    names |= {"K": 0.5, "W": np.array([0.5, -1.0, 0.25, 1.5]), "LIST": [0.1, 0.2]}
    names["helper"] = lambda k: names["LIST"][0] + k
    exec(compile(text, name, "exec"), names)
    return names["f"]
