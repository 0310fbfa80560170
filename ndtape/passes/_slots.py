"""Compiled: how long results live, places for them in a buffer, and columns with other slots.

Every function takes the address of words in the order of STATE, which are addresses of columns
where nothing else is said.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numba import types

from .._jit import Sweep, i8_at, jit, u1_at, u2_at, u4_at, u8_at
from .._version import __version__
from ..ops import FIRST_WIDE

STATE = (
    "op", "out", "a", "b", "c",  # of the program
    "bits",  # by scalar opcode: which operands are slots
    "starts", "blocks", "table",  # first slots of blocks, how many; the block of each slot, or 0
    "group",  # of each block
    "shift",  # by block: how far it moves
    # By group: the instruction that writes it and the one that reads it last, -1 for never; its
    # size; whether it must not lie where operands of its writer lie; where it comes to lie,
    # and whether another has been there before (spans alone).
    "first", "last", "size", "strict", "place", "again",
    "order", "count",  # the groups that want a place, as they are written
    # Workspace: a word an instruction; a word a group, twice; a word a span, twice.
    "dying", "next", "single", "low", "high",
    "numbers", "spans",  # the answer: how long the regions for numbers and for spans are
)  # fmt: skip
(OP, OUT, A, B, C, BITS, STARTS, BLOCKS, TABLE, GROUP, SHIFT, FIRST, LAST, SIZE, STRICT, PLACE,
 AGAIN, ORDER, COUNT, DYING, NEXT, SINGLE, LOW, HIGH, NUMBERS, SPANS) = (
    range(len(STATE))
)  # fmt: skip
i64 = types.int64


@jit
def _block(state, slot):  # type: ignore[no-untyped-def]
    """The block that a slot lies in."""
    s = u8_at(state)
    if s[TABLE] != 0:
        return i8_at(s[TABLE])[slot]
    starts = i8_at(s[STARTS])
    low, high = 0, i64(s[BLOCKS])
    while high - low > 1:
        middle = (low + high) >> 1
        if starts[middle] <= i64(slot):
            low = middle
        else:
            high = middle
    return i64(low)


def _lives(state, lo, hi):  # type: ignore[no-untyped-def]
    """Scalar instructions lo..hi read: `last` of the groups of their operands; 0."""
    s = u8_at(state)
    op, bits, last, group = u2_at(s[OP]), u1_at(s[BITS]), i8_at(s[LAST]), i8_at(s[GROUP])
    a, b, c = u4_at(s[A]), u4_at(s[B]), u4_at(s[C])
    for i in range(lo, hi):
        if op[i] < FIRST_WIDE:
            read = i64(bits[op[i]])
            for j in range(3):
                if read >> j & 1:
                    slot = a[i] if j == 0 else b[i] if j == 1 else c[i]
                    one = group[_block(state, slot)]
                    last[one] = max(last[one], i64(i))
    return 0


def _places(state, lo, hi):  # type: ignore[no-untyped-def]
    """Places for groups, in a walk over them as they are written; 0.

    What nobody reads any more is given back before a place is taken.  Single numbers take the place
    that was given back last, which is in the nearest cache; spans the first gap that is long
    enough.  The two have regions of their own, so that numbers do not tear the gaps apart.
    """
    s = u8_at(state)
    answer = i8_at(state)
    first, last, size, strict = i8_at(s[FIRST]), i8_at(s[LAST]), i8_at(s[SIZE]), i8_at(s[STRICT])
    place, order, again = i8_at(s[PLACE]), i8_at(s[ORDER]), i8_at(s[AGAIN])
    dying, after, single = i8_at(s[DYING]), i8_at(s[NEXT]), i8_at(s[SINGLE])
    starts, ends = i8_at(s[LOW]), i8_at(s[HIGH])
    free = gaps = numbers = spans = now = 0
    for j in range(s[COUNT]):
        group = order[j]
        until = first[group] + (1 - strict[group])
        while now < until:
            dead = dying[now]
            now += 1
            while dead >= 0:
                start, end = place[dead], place[dead] + size[dead]
                if size[dead] == 1:
                    single[free] = start
                    free += 1
                else:
                    at = gaps
                    while at > 0 and starts[at - 1] > start:
                        at -= 1
                    before = at > 0 and ends[at - 1] == start
                    behind = at < gaps and starts[at] == end
                    if before and behind:
                        ends[at - 1] = ends[at]
                        gaps -= 1
                        for k in range(at, gaps):
                            starts[k] = starts[k + 1]
                            ends[k] = ends[k + 1]
                    elif before:
                        ends[at - 1] = end
                    elif behind:
                        starts[at] = start
                    else:
                        for k in range(gaps, at, -1):
                            starts[k] = starts[k - 1]
                            ends[k] = ends[k - 1]
                        starts[at] = start
                        ends[at] = end
                        gaps += 1
                dead = after[dead]
        if size[group] == 1:
            if free:
                free -= 1
                place[group] = single[free]
            else:
                place[group] = numbers
                numbers += 1
        else:
            at = 0
            while at < gaps and ends[at] - starts[at] < size[group]:
                at += 1
            if at < gaps:
                again[group] = 1
                place[group] = starts[at]
                starts[at] += size[group]
                if starts[at] == ends[at]:
                    gaps -= 1
                    for k in range(at, gaps):
                        starts[k] = starts[k + 1]
                        ends[k] = ends[k + 1]
            else:
                if gaps and ends[gaps - 1] == spans:  # the last gap grows
                    again[group] = 1
                    gaps -= 1
                    spans = starts[gaps]
                place[group] = spans
                spans += size[group]
        when = last[group]
        if when >= 0:
            when = max(when, now)  # of what nobody reads
            after[group] = dying[when]
            dying[when] = group
    answer[NUMBERS] = numbers
    answer[SPANS] = spans
    return 0


def _renumber(state, lo, hi):  # type: ignore[no-untyped-def]
    """The operands of the scalar instructions lo..hi, and all results, `shift`ed; 0."""
    s = u8_at(state)
    op, bits, shift = u2_at(s[OP]), u1_at(s[BITS]), i8_at(s[SHIFT])
    out, a, b, c = u4_at(s[OUT]), u4_at(s[A]), u4_at(s[B]), u4_at(s[C])
    for i in range(lo, hi):
        out[i] = i64(out[i]) + shift[_block(state, out[i])]
        if op[i] < FIRST_WIDE:
            read = i64(bits[op[i]])
            if read & 1:
                a[i] = i64(a[i]) + shift[_block(state, a[i])]
            if read & 2:
                b[i] = i64(b[i]) + shift[_block(state, b[i])]
            if read & 4:
                c[i] = i64(c[i]) + shift[_block(state, c[i])]
    return 0


lives, places, renumber = (Sweep(f, __version__) for f in (_lives, _places, _renumber))


class State:
    """The words for the functions; what they were made of stays alive with them."""

    def __init__(self, **columns: Any) -> None:
        self.words = np.zeros(len(STATE), np.uint64)
        self.alive: list[np.ndarray] = []
        self.set(**columns)

    def set(self, **columns: Any) -> None:
        for name, column in columns.items():
            if isinstance(column, np.ndarray):
                self.alive.append(column)
                column = column.__array_interface__["data"][0]
            self.words[STATE.index(name)] = column

    def run(self, function: Sweep, hi: int) -> None:
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_uint64] * 3)
        kind(function.address)(self.words.__array_interface__["data"][0], 0, hi)

    def __getitem__(self, name: str) -> int:
        return int(self.words[STATE.index(name)])
