"""Compiled: what is needed, from instruction to instruction."""

from __future__ import annotations

from numba import types

from .._jit import Sweep, i8_at, u1_at, u8, u8_at
from .._version import __version__

STATE = (
    "rows",  # by instruction: where its operands begin in the next two; and the end
    "first", "last",  # the blocks that an operand reaches over
    "writer",  # by block: the instruction
    "kept",  # by instruction
)  # fmt: skip
ROWS, FIRST, LAST, WRITER, KEPT = range(len(STATE))
i64 = types.int64


def _need(state, lo, hi):  # type: ignore[no-untyped-def]
    """Keep what the kept ones of the instructions hi..lo read, backwards; 0."""
    s = u8_at(state)
    rows, first, last, writer = i8_at(s[ROWS]), i8_at(s[FIRST]), i8_at(s[LAST]), i8_at(s[WRITER])
    kept = u1_at(s[KEPT])
    for back in range(lo, hi):
        i = lo + hi - 1 - back
        if i64(kept[i]) == 1:
            for j in range(rows[i], rows[i + 1]):
                for block in range(first[j], last[j] + 1):
                    kept[writer[block]] = u8(1)
    return 0


need = Sweep(_need, __version__)
