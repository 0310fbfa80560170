"""Compiled: the walk of the pass `common`."""

from __future__ import annotations

from numba import types

from .._jit import Sweep, i8_at, jit, u1_at, u2_at, u4_at, u8, u8_at
from ..ops import FIRST_WIDE, table_hash

STATE = (
    "op", "out", "a", "b", "c",  # of the program; `c` of wide instructions: a number for the words
    "k",  # bits of the constants
    "slot_bits", "constant_bits", "commutes",  # tables
    "apart",  # by instruction: 1 where it must stay, 2 where it may stand for others, too
    "reads",  # by instruction, of wide ones: bit 0 if a is a slot, bit 1 if b is
    "sizes",  # by instruction
    "alias",  # by slot: the one that stands for it + 1, or 0
    "kept",  # by instruction
    "instructions", "constants",  # hash tables of places + 1
    "mask", "constants_mask",  # their lengths - 1
)  # fmt: skip
(OP, OUT, A, B, C, K, SLOT_BITS, CONSTANT_BITS, COMMUTES, APART, READS, SIZES, ALIAS, KEPT,
 INSTRUCTIONS, CONSTANTS, MASK, CONSTANTS_MASK) = range(len(STATE))  # fmt: skip
i64 = types.int64
# Odd numbers far apart (from the golden ratio, as usual): products mix all bits upwards.
MIX, MIX_A, MIX_B, MIX_C = (
    0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93,
)  # fmt: skip


@jit
def _mixed(x):  # type: ignore[no-untyped-def]
    """All bits of x in the lower ones."""
    x = (x ^ (x >> u8(32))) * u8(MIX)
    return x ^ (x >> u8(29))


@jit
def _interned(s, place):  # type: ignore[no-untyped-def]
    """The first place of the pool met that has the same bits."""
    k, table, mask = u8_at(s[K]), i8_at(s[CONSTANTS]), s[CONSTANTS_MASK]
    bits = k[place]
    at = _mixed(bits) & mask
    while table[at] != 0:
        other = table[at] - 1
        if k[other] == bits:
            return other
        at = (at + u8(1)) & mask
    table[at] = i64(place) + 1
    return i64(place)


def _common(state, lo, hi):  # type: ignore[no-untyped-def]
    """Find instructions that compute what an earlier one did; how many."""
    s = u8_at(state)
    op, out, a, b, c = u2_at(s[OP]), u4_at(s[OUT]), u4_at(s[A]), u4_at(s[B]), u4_at(s[C])
    slot_bits, constant_bits = u1_at(s[SLOT_BITS]), u1_at(s[CONSTANT_BITS])
    commutes, apart, reads, kept = (
        u1_at(s[COMMUTES]), u1_at(s[APART]), u1_at(s[READS]), u1_at(s[KEPT])
    )  # fmt: skip
    alias, sizes, table, mask = i8_at(s[ALIAS]), i8_at(s[SIZES]), i8_at(s[INSTRUCTIONS]), s[MASK]
    found = 0
    for i in range(lo, hi):
        code = op[i]
        wide = code >= FIRST_WIDE
        slots = i64(reads[i]) if wide else i64(slot_bits[code])
        constants = 0 if wide else i64(constant_bits[code])
        for j in range(3):
            column = a if j == 0 else b if j == 1 else c
            if slots >> j & 1:
                stands = alias[column[i]]
                if stands != 0:
                    column[i] = u8(stands - 1)
            elif constants >> j & 1:
                column[i] = u8(_interned(s, column[i]))
        if i64(apart[i]) == 1:
            continue
        x, y, u = i64(a[i]), i64(b[i]), i64(c[i])
        if not wide and i64(commutes[code]) == 1 and x > y:
            x, y = y, x
        mixed = u8(code) * u8(MIX) ^ u8(x) * u8(MIX_A) ^ u8(y) * u8(MIX_B) ^ u8(u) * u8(MIX_C)
        at = _mixed(mixed) & mask
        other = i64(-1)
        while table[at] != 0:
            j = table[at] - 1
            if op[j] == code and i64(c[j]) == u:
                p, q = i64(a[j]), i64(b[j])
                if (p == x and q == y) or (
                    not wide and i64(commutes[code]) == 1 and p == y and q == x
                ):
                    other = j
                    break
            at = (at + u8(1)) & mask
        if other < 0:
            table[at] = i64(i) + 1
            continue
        if i64(apart[i]) == 2:
            continue
        first, mine = i64(out[other]), i64(out[i])
        for j in range(sizes[i]):
            alias[mine + j] = first + j + 1
        kept[i] = u8(0)
        found += 1
    return found


common = Sweep(_common, table_hash())
