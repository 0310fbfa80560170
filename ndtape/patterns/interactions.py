"""Which operands of an operation its derivatives depend on, derived from the rows of ops.py.

An operation becomes *steps*: each names a result and up to two operands, and bits that say what
they have to do with each other.  A partial derivative that is zero everywhere is no dependence, and
one that is constant on every piece (that of `maximum`) is no interaction.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ..ops import FIRST_WIDE, OPCODES, STRUCTURE, WIDE, Op
from ..rules import Node, along, number, parse, scaled

# Bits of a step: the result depends on x, on y; it bends along x, along y, along both together.
ON_X, ON_Y, XX, YY, XY = 1, 2, 4, 8, 16
DEPENDS, BENDS = ON_X | ON_Y, XX | YY | XY
NONE = -1

# What is not the elementwise form of a row: operands and bits.
OTHERS: dict[str, tuple[int, int, int]] = {
    "sum": (0, NONE, ON_X),
    "max": (0, NONE, ON_X),
    "min": (0, NONE, ON_X),
    "cumsum": (0, 2, ON_X | ON_Y),  # u: the running sum before it
    "collect": (0, NONE, ON_X),
    "gather": (0, NONE, ON_X),  # at places that are constants
    "dot": (0, 1, ON_X | ON_Y | XY),
    "weights": (0, 1, ON_X | ON_Y | XY),
}


class Rules(NamedTuple):
    """By opcode: how many steps, and of each the two operands (0 1 2 for x y u) and the bits."""

    steps: np.ndarray
    operands: np.ndarray  # (opcodes, MOST, 2)
    bits: np.ndarray  # (opcodes, MOST)


MOST = 3


@cache
def rules() -> Rules:
    """The steps of all opcodes; those of other wide instructions than maps and `OTHERS` are 0."""
    size = FIRST_WIDE + len(WIDE)
    found = Rules(
        np.zeros(size, np.int64), np.full((size, MOST, 2), NONE), np.zeros((size, MOST), np.uint8)
    )
    known = {w.row.name: steps_of(w.row) for w in WIDE if w.row is not None}
    rows = [(o.code, known.get(o.row.name, ())) for o in OPCODES]
    rows += [(w.code, known[w.row.name]) for w in WIDE if w.row is not None]
    rows += [(w.code, (OTHERS[w.name],)) for w in WIDE if w.name in OTHERS]
    for code, steps in rows:
        found.steps[code] = len(steps)
        for j, (x, y, bits) in enumerate(steps):
            found.operands[code, j] = x, y
            found.bits[code, j] = bits
    return found


@cache
def steps_of(row: Op) -> tuple[tuple[int, int, int], ...]:
    """The steps (x, y, bits) of a row, as few as say everything.

    >>> from ndtape.ops import ROWS
    >>> steps_of(ROWS["multiply"]), steps_of(ROWS["fma"])
    (((0, 1, 19),), ((0, 1, 19), (2, -1, 1)))
    """
    if row.kind in STRUCTURE:
        return ()
    partials = [parse(text) for text in row.partials]
    places = range(len(partials))
    bends = {(i, j) for i in places for j in places if _moves(row, partials, i, j)}
    bends |= {(j, i) for i, j in bends}
    left = {i for i in places if (i, i) in bends or scaled(number(2), partials[i]) is not None}
    depends = {i for i in places if scaled(number(2), partials[i]) is not None}
    steps = []

    def add(i: int, j: int) -> None:
        facts = {ON_X: i in depends, ON_Y: j in depends, XX: (i, i) in bends,
                 YY: (j, j) in bends, XY: (i, j) in bends}  # fmt: skip
        steps.append((i, j, sum(bit for bit, holds in facts.items() if holds)))
        left.difference_update((i, j))

    for i, j in combinations(places, 2):
        if (i, j) in bends:
            add(i, j)
    while left:
        i, *others = sorted(left)
        add(i, others[0] if others else NONE)
    return tuple(steps)


def _moves(row: Op, partials: list[Node], i: int, j: int) -> bool:
    """Whether the partial derivative with respect to operand i changes along operand j."""
    tangents = {row.operands[j]: number(2)}
    slope = scaled(number(2), partials[j])
    if slope is not None:
        tangents["z"] = slope
    return along(partials[i], tangents) is not None
