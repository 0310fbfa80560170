"""Compiled: the walk of the pass `muladd`."""

from __future__ import annotations

from numba import types

from .._jit import Sweep, f8_at, i8_at, jit, u1_at, u2_at, u4_at, u8, u8_at
from ..ops import CODES, table_hash

STATE = (
    "op", "out", "a", "b", "c", "k",  # of the program; all but `out` are written
    "readers", "writer",  # by slot; the instruction + 1
    "kept",  # by instruction
    "once",  # whether the result is rounded once
    "used",  # entries of k
)  # fmt: skip
OP, OUT, A, B, C, K, READERS, WRITER, KEPT, ONCE, USED = range(len(STATE))
i64 = types.int64

ADD, ADD_K = CODES["add", "vv"], CODES["add", "vk"]
SUB, SUB_K, K_SUB = (CODES["subtract", form] for form in ("vv", "vk", "kv"))
MUL, MUL_K = CODES["multiply", "vv"], CODES["multiply", "vk"]
VVV, VVK, VKV, VKK = (CODES["muladd", form] for form in ("vvv", "vvk", "vkv", "vkk"))
FMA_VVV, FMA_VVK, FMA_VKV, FMA_VKK = (CODES["fma", form] for form in ("vvv", "vvk", "vkv", "vkk"))


@jit
def _product(s, slot):  # type: ignore[no-untyped-def]
    """The product that makes a slot which nobody else reads, or -1."""
    return i8_at(s[WRITER])[slot] - 1 if i8_at(s[READERS])[slot] == 1 else i64(-1)


@jit
def _negated(s, place):  # type: ignore[no-untyped-def]
    """A place in the pool for the constant with the other sign."""
    k, fresh = f8_at(s[K]), i64(s[USED])
    k[fresh] = -k[place]
    s[USED] = u8(fresh + 1)
    return fresh


def _muladd(state, lo, hi):  # type: ignore[no-untyped-def]
    """Join products with the sums of the instructions lo..hi that read them; how many."""
    s = u8_at(state)
    op, out, writer, kept = u2_at(s[OP]), u4_at(s[OUT]), i8_at(s[WRITER]), u1_at(s[KEPT])
    a, b, c = u4_at(s[A]), u4_at(s[B]), u4_at(s[C])
    once, found = i64(s[ONCE]) == 1, 0
    for i in range(lo, hi):
        code = op[i]
        if code == MUL or code == MUL_K:
            writer[out[i]] = i64(i) + 1
            continue
        p, q = i64(a[i]), i64(b[i])
        other = p  # what is added to the product
        j = i64(-1)
        if code == ADD:
            j = _product(s, q)
            if j < 0:
                j, other = _product(s, p), q
        elif code == ADD_K or code == SUB_K:
            j, other = _product(s, p), q
        elif code == SUB or code == K_SUB:  # u - x * 2 is u + x * -2
            j = _product(s, q)
            if j >= 0 and op[j] != MUL_K:
                j = i64(-1)
        if j < 0:
            continue
        scaled = op[j] == MUL_K
        y = i64(b[j])
        if code == SUB or code == K_SUB:
            y = _negated(s, y)
        if code == SUB_K:
            other = _negated(s, other)
        if code == ADD or code == SUB:
            op[i] = (FMA_VKV if scaled else FMA_VVV) if once else VKV if scaled else VVV
        else:
            op[i] = (FMA_VKK if scaled else FMA_VVK) if once else VKK if scaled else VVK
        a[i], b[i], c[i] = a[j], u8(y), u8(other)
        kept[j] = u8(0)
        found += 1
    return found


muladd = Sweep(_muladd, table_hash())
