"""Compiled: how often slots are read."""

from __future__ import annotations

from numba import types

from .._jit import Sweep, i8_at, u1_at, u2_at, u4_at, u8_at
from ..ops import FIRST_WIDE, table_hash

STATE = ("op", "a", "b", "c", "slot_bits", "readers")
OP, A, B, C, SLOT_BITS, READERS = range(len(STATE))
i64 = types.int64


def _count(state, lo, hi):  # type: ignore[no-untyped-def]
    """Add the operands of the scalar instructions lo..hi to `readers`; 0."""
    s = u8_at(state)
    op, bits, readers = u2_at(s[OP]), u1_at(s[SLOT_BITS]), i8_at(s[READERS])
    a, b, c = u4_at(s[A]), u4_at(s[B]), u4_at(s[C])
    for i in range(lo, hi):
        if op[i] < FIRST_WIDE:
            read = i64(bits[op[i]])
            if read & 1:
                readers[a[i]] += 1
            if read & 2:
                readers[b[i]] += 1
            if read & 4:
                readers[c[i]] += 1
    return 0


count = Sweep(_count, table_hash())
