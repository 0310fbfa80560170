"""Results whose values no derivative needs: in code for gradients their slots can be shared.

A sum needs none of its operands backwards, an exponential only its result: the rows of the table
say so, by the names that their partial derivatives use.  Where nobody asks for the value of a span
again, a later result may lie in its slots.  Its adjoint lies there as well; so an instruction
`skip` stands in front of the later writer, which a reverse sweep meets behind it: it forgets the
adjoints of the one before those of the other are added up.
"""

from __future__ import annotations

import ast
from functools import cache

import numpy as np

from ..nest import BODY, FLAGS, KIND_WORD, SIZE, descriptor, slots_of_members
from ..ops import FIRST_WIDE, OPCODES, WIDE, WIDE_CODES, Op
from .code import NAMES, Code, Columns
from .operands import NESTED, OPERANDS, reads, walked

SKIP, WEIGHTS = WIDE_CODES["skip"], WIDE_CODES["weights"]
RESULT = 8  # beside the bits 1, 2, 4 for the operands x, y, u
EVERYTHING = 15
LINEAR = ("sum", "cumsum", "collect", "gather", "scatter_add", "wide_input", "skip")
PLACES = ("gather", "scatter_add")  # whose operand y, where they read, is needed


@cache
def partial_reads(row: Op) -> tuple[int, ...]:
    """For each operand, what its partial derivative is made of: bits of x, y, u and the result."""
    return tuple(
        sum(
            1 << "xyuz".index(name)
            for name in {n.id for n in ast.walk(ast.parse(partial, mode="eval"))
                         if isinstance(n, ast.Name)} & set("xyuz")
        )
        for partial in row.partials
    )  # fmt: skip


def _needs(row: Op, slots: int) -> int:
    """What the partial derivatives for the operands in the mask `slots` are made of."""
    found = 0
    for j, bits in enumerate(partial_reads(row)):
        if slots >> j & 1:
            found |= bits
    return found


SLOTS = np.array([sum(1 << j for j, f in enumerate(o.form) if f == "v") for o in OPCODES])
# By scalar opcode, and by wide one and which of its operands are slots.
SCALAR_NEEDS = np.array(
    [_needs(o.row, slots) for o, slots in zip(OPCODES, SLOTS.tolist(), strict=True)]
) & (SLOTS | RESULT)
WIDE_NEEDS = np.full((len(WIDE), 8), EVERYTHING)
for _wide in WIDE:
    for _slots in range(8):
        if _wide.row is not None:
            WIDE_NEEDS[_wide.code - FIRST_WIDE, _slots] = _needs(_wide.row, _slots)
        elif _wide.name in LINEAR:
            WIDE_NEEDS[_wide.code - FIRST_WIDE, _slots] = 0


def slots_needed(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Slots whose values derivatives are made of: the lowest and the highest of each range."""
    op, m = columns["op"].astype(np.int64), columns["m"]
    scalar = np.flatnonzero(op < FIRST_WIDE)
    needs = SCALAR_NEEDS[op[scalar]]
    found = [
        columns[name][scalar[needs >> j & 1 == 1]].astype(np.int64)
        for j, name in enumerate(("a", "b", "c", "out"))
    ]
    ranges: list[tuple[np.ndarray, ...]] = [(x, x) for x in found]
    wide = np.flatnonzero(op >= FIRST_WIDE)
    kind = op[wide] - FIRST_WIDE
    a, b, c, out = (columns[name][wide].astype(np.int64) for name in ("a", "b", "c", "out"))
    size, count = m[c + SIZE], m[c + KIND_WORD]
    variable = OPERANDS[kind] & ~m[c + FLAGS]
    needs = WIDE_NEEDS[kind, variable & 7]
    for j, start in enumerate((a, b, m[c + 2])):
        at = np.flatnonzero(NESTED[kind] & (variable >> j & 1 == 1) & (needs >> j & 1 == 1))
        ranges.append(walked(m, c[at], start[at], j))
    at = np.flatnonzero(needs & RESULT)
    ranges.append((out[at], out[at] + size[at] - 1))
    for name in PLACES:
        at = np.flatnonzero((op[wide] == WIDE_CODES[name]) & (variable & 2 != 0))
        length = size if name == "gather" else count
        ranges.append((b[at], b[at] + length[at] - 1))
    others = wide[~NESTED[kind] & (needs != 0)]
    if len(others):
        some = reads({**columns, **{name: columns[name][others] for name in NAMES}})
        ranges.append((some.low, some.high))
        at = others[op[others] == WIDE_CODES["affine"]]
        start = columns["a"][at].astype(np.int64)
        ranges.append((start, start + m[columns["c"][at].astype(np.int64) + SIZE] - 1))
    low, high = (np.concatenate(part) for part in zip(*ranges, strict=True))
    return low, high


def adjoints_needed(columns: Columns) -> np.ndarray:
    """Slots whose adjoints somebody reads long after their instruction: in blocks of products."""
    at = columns["c"][columns["op"] == WEIGHTS].astype(np.int64).tolist()
    words = [columns["m"][slots_of_members(columns["m"], c)] for c in at]
    return np.concatenate([np.zeros(0, np.int64), *words])


def forgetting(code: Code, first: np.ndarray, start: np.ndarray, size: np.ndarray) -> Code:
    """The code with a `skip` in front of instructions `first`, for slots from `start` on."""
    order = np.argsort(first, kind="stable")
    first, start, size = first[order], start[order], size[order]
    columns, known = code.columns, len(code.columns["m"])
    different, which = np.unique(size, return_inverse=True)
    words = np.array([descriptor(n, ()) for n in different.tolist()], np.int64)
    none = np.zeros_like(start)
    fresh = {"op": none + SKIP, "out": start, "a": none, "b": none, "c": known + BODY * which}
    columns = {
        **columns,
        **{name: np.insert(columns[name], first, fresh[name]) for name in NAMES},
        "m": np.concatenate([columns["m"], words.ravel()]),
    }
    positions = np.insert(code.positions, first, code.positions[first])
    return code._replace(columns=columns, positions=positions)
