"""Random programs over vectors and matrices that Python and compiled code understand alike.

What they are about is memory: names that share an array, views that are written, loops that write
what they read, functions that write into their arguments.
"""

from __future__ import annotations

import itertools
import linecache
import random
from typing import Any

import numpy as np

import ndtape as nt

_names = itertools.count()
W = np.array([0.5, -1.0, 0.25, 0.75])

VECTORS = [
    "{v} * {s}", "{v} + {w}", "{v} - 0.5 * {w}", "nt.sin({v}) * {w}", "{m}[{i}]", "{v}[::-1]",
    "{m}[{i}].copy()", "{m}.sum(axis=0) * 0.4", "np.where({v} > {s}, {v}, {w} * 0.5)",
    "nt.zeros(4)", "np.maximum({v}, {w})", "{v} / (1.5 + {w} * {w})", "nt.ones(4) * {s}",
    "nt.tanh({v}) + W", "np.abs({v}) - 0.5", "-{v}", "{v}**2 * 0.3", "{v} * W", "{v}.copy()",
    "0.3 * ({m}.T @ {m}[:, {j}])", "nt.array([{s}, {t}, 0.5, {v}[{j}]])",
    "np.concatenate(({v}[:2], {w}[1:3]))", "np.exp(-{v} * {v})", "np.zeros_like({v}) + {s}",
    "moved({v}, {s})", "({v} if {s} > {t} else {w})", "{v}", "{v}[:]",
    "0.2 * ({m} @ {v})[{i}] * {w}", "np.sqrt(1.0 + {v} * {v})", "cut({v}, {w})",
]  # fmt: skip
MATRICES = [
    "{m} * {s}", "{m} + {v}", "{m} - 0.5 * {k}", "nt.sin({m}) * {k}", "0.2 * ({m} @ {k}.T) @ {m}",
    "{m}.copy()", "np.maximum({m}, {k})", "nt.zeros((3, 4)) + {v}", "{m} * {v} + {s}", "{m}",
    "{m}[::-1]", "np.where({m} > {k}, {m}, 0.3)", "{v} * {m}[:, 1:2]",
]  # fmt: skip
SCALARS = [
    "{v}[{j}]", "{m}[{i}, {j}]", "{v}.sum() * 0.3", "{v} @ {w} * 0.2", "{v}.mean()", "np.max({v})",
    "np.dot({v}, {w}) * 0.2", "{m}.sum() * 0.1", "0.2 * {m}[{i}] @ {v}", "{s} * 0.5 + {t}",
    "np.sum({v} * W)", "nt.sin({s}) * {t}", "{v}[1:3].sum() * 0.5", "{m}[:, {j}].sum() * 0.3",
    "{v}.min() - {s}", "{v}[-1] * {t}", "written({v}, {s}) * 0.2", "np.sum({m}[{i}] * {v}) * 0.3",
    "summed({v}[1:]) * 0.4", "np.prod(np.cos({v}))",
]  # fmt: skip
WRITES = [
    "{v}[{j}] = {s}", "{v}[{j}] += {s}", "{v}[1:3] = {w}[:2]", "{v}[1:] += {w}[:-1] * 0.5",
    "{m}[{i}] = {v}", "{m}[:, {j}] = {s}", "{m}[{i}, 1:] *= 0.5", "{v} *= {s}", "{v} += {w}",
    "{m} += {v}", "{v}[:] = {w}", "{v}[{v} > {s}] = {t}", "{v}[{j}], {w}[0] = {w}[{j}], {v}[0]",
    "{m}[{i}, {j}] -= {s} * {m}[0, 0]", "{v}[::2] = {s}", "{v}[1:] = {v}[:-1]",
    "{v}[:-1] = {v}[1:]", "{m}[1:] = {m}[:-1] * 0.5", "{v} /= 1.5", "{v}[{j}] *= {v}[{j}]",
    "{m}[{i}] += {m}[0] * {s}", "{v}[:] = {v}[::-1]", "{m}[:, 0] = {m}[:, 1]", "{v}[2:] -= {s}",
    "{m}[:, :2] = {v}[:2]", "{v}[:2] = W[:2]", "{v}[...] = {s}", "{m}[{i}, :] = 0.25",
]  # fmt: skip
SHARES = [
    "{v} = {w}", "{v}, {w} = {w}, {v}", "{m}, {k} = {k}, {m}", "{v} = {m}[{i}]", "{m} = {k}",
    "{v} = {w}[::-1]",
]  # fmt: skip
CONDITIONS = ["if {s} > {t}:", "if {v}[{j}] < {s}:", "if {v}.sum() > 0.0:"]
LOOPS = [
    ("for i in range(3):", [
        "{v}[i] = {v}[i] * {s} + {m}[i, {j}]", "{m}[i] += {v}", "{v} = {m}[i]",
        "s0 += {m}[i, {j}] * 0.5",
    ]),
    ("for i in range(1, 4):", [
        "{v}[i] = {v}[i - 1] * 0.7 + 0.1 * i", "{v}[i] += {w}[i - 1]", "s1 += {v}[i] * {w}[i - 1]",
    ]),
    ("for e in {v}:", ["s0 += e * 0.5", "{v}[{j}] += e * 0.3", "s1 = s1 * 0.5 + e"]),
    ("for row in {m}:", [
        "row[{j}] += {s}", "s0 += row[1] * row[{j}] * 0.3", "{v} = row", "row *= 0.5",
        "row[1:] = row[:-1]",
    ]),
    ("for i, e in enumerate({v}):", ["{v}[i] = e * 0.5", "s1 += e * i * 0.2", "{w}[i] = e"]),
]  # fmt: skip
HEAD = """def f(p, x, a):
    v0, v1, v2 = x * 1.0, nt.zeros(4), x * p
    m0, m1 = a * 1.0, a * p
    s0, s1 = x[0] * 1.0, 0.5 * p"""
TAIL = """    u = nt.sin(v0) * 0.3 + nt.sin(v1) * W + nt.tanh(v2) * 0.7
    k = nt.sin(m0) * W - 0.4 * nt.tanh(m1)
    s = nt.sin(s0) * 0.3 + nt.tanh(s1)
    return u.sum() + u[1] * 0.5 + k.sum() + k[0, 1] * 0.3 + s
"""


class Text:
    """Lines of a program under construction; vectors v*, matrices m*, scalars s*."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lines: list[str] = []
        self.depth = 1
        self.names = {"v": ["v0", "v1", "v2"], "m": ["m0", "m1"], "s": ["p", "s0", "s1"]}

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def filled(self, form: str) -> str:
        rng = self.rng
        s, t = (rng.choice([*self.names["s"], "0.5", "-0.25"]) for _ in range(2))
        v, w = (rng.choice(self.names["v"]) for _ in range(2))
        m, k = (rng.choice(self.names["m"]) for _ in range(2))
        return form.format(s=s, t=t, v=v, w=w, m=m, k=k, i=rng.randrange(3), j=rng.randrange(4))

    def statement(self) -> None:
        kinds = [self.assign] * 4 + [self.write] * 5 + [self.share]
        if self.depth < 3:
            kinds += [self.branch, self.loop]
        self.rng.choice(kinds)()

    def assign(self) -> None:
        kind, forms = self.rng.choice(
            [("v", VECTORS), ("v", VECTORS), ("m", MATRICES), ("s", SCALARS)]
        )
        names = self.names[kind]
        name = self.rng.choice(names if kind != "s" else names[1:])
        self.add(f"{name} = {self.filled(self.rng.choice(forms))}")

    def write(self) -> None:
        self.add(self.filled(self.rng.choice(WRITES)))

    def share(self) -> None:
        self.add(self.filled(self.rng.choice(SHARES)))

    def block(self, count: int) -> None:
        self.depth += 1
        for _ in range(count):
            self.statement()
        self.depth -= 1

    def branch(self) -> None:
        self.add(
            self.filled(
                self.rng.choice(["if {s} > {t}:", "if {v}[{j}] < {s}:", "if {v}.sum() > 0.0:"])
            )
        )
        self.block(self.rng.randint(1, 3))
        if self.rng.random() < 0.5:
            self.add("else:")
            self.block(self.rng.randint(1, 2))

    def loop(self) -> None:
        head, lines = self.rng.choice(LOOPS)
        self.add(self.filled(head))
        self.depth += 1
        for _ in range(self.rng.randint(1, 2)):
            self.add(self.filled(self.rng.choice(lines)))
        self.depth -= 1
        if self.rng.random() < 0.4:
            self.block(1)


def source(seed: int, length: int) -> str:
    """The text of a program of that many statements at the outer level."""
    text = Text(seed)
    for _ in range(length):
        text.statement()
    return "\n".join([HEAD, *text.lines, TAIL])


def written(v: Any, s: Any) -> Any:
    """Writes into its argument."""
    v[0] = s * 0.5
    v[1:] *= 0.9
    return v[0] + v[-1]


def moved(v: Any, s: Any) -> Any:
    """Answers its argument, or a view of another one."""
    v[1] += s
    return v[::-1] if s > 0.1 else v


def cut(v: Any, w: Any) -> Any:
    """Reads one argument while it writes another, which may be the same."""
    for i in range(1, 4):
        v[i] = 0.5 * w[i - 1] + 0.3 * v[i]
    return w


def summed(v: Any) -> Any:
    s = 0.0
    for e in v:
        s += e
    return s


def made(text: str) -> Any:
    """The function of a program's text, whose lines tracebacks can show."""
    name = f"<compiled array program {next(_names)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    names = {"np": np, "nt": nt, "W": W}
    names |= {"written": written, "moved": moved, "cut": cut, "summed": summed}
    exec(compile(text, name, "exec"), names)
    return names["f"]
