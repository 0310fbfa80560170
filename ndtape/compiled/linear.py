"""The linear tape: partial derivatives as compiled code meets them, and sweeps over them.

An entry says that a result depends on an operand with a partial derivative; reverse and tangent
sweeps are one multiplication and one addition an entry, without dispatch.  The entries of a result
are neighbours, and results are numbered in order: a list of triplets of a triangular matrix.
"""

from __future__ import annotations

import ctypes
from weakref import WeakValueDictionary

import numba
import numpy as np
from numba import types

from .._jit import FLAGS, f8_at, jit, u4_at, u8, u8_at
from ..errors import TapeFullError
from ..tape import MAX_SLOTS, address_of
from .memory import (
    CURSOR,
    ENTRY,
    GRANTED,
    GROW,
    INPUTS,
    LIMIT,
    MARGIN,
    NEXT,
    RELEASE,
    RESULT,
    WORDS,
    Failure,
)

FIRST_CHUNK = 1 << 18  # bytes: a small program stays in the second cache
LARGEST_CHUNK = 1 << 24
SIZE, ONE = np.uint64(ENTRY), np.uint64(1)
KEPT = 1 << 28  # bytes that a tape keeps for the next program

_tapes: WeakValueDictionary[int, LinearTape] = WeakValueDictionary()  # by their headers


@ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64)
def _grow(header: int, wanted: int) -> int:
    """Called by compiled code when the open chunk is full."""
    tape = _tapes[header]
    try:
        tape.open_chunk(wanted)
    except BaseException as error:  # KeyboardInterrupt too: compiled code must end first
        tape.failure = error
        return 0
    return GRANTED


GROW_ADDRESS = ctypes.cast(_grow, ctypes.c_void_p).value or 0


def first_entry(chunk: np.ndarray) -> int:
    """The address of the first entry of a chunk."""
    return address_of(chunk) + ENTRY


class LinearTape(Failure):
    """Chunks of entries, with the header that compiled code writes them through."""

    def __init__(self) -> None:
        self.header = np.zeros(WORDS, np.uint64)
        self.words = memoryview(self.header)  # faster than NumPy, one by one
        self.address = address_of(self.header)
        self.chunks: list[np.ndarray] = []
        self.ends: list[int] = []  # where the entries of each full chunk end
        self.adjoints = np.zeros(0)
        self.buffer_at = 0  # its address
        self.words[GROW] = GROW_ADDRESS
        _tapes[self.address] = self
        self._add_chunk(FIRST_CHUNK)
        self.start = first_entry(self.chunks[0])
        self.rewind()

    def rewind(self, release: bool = False) -> None:
        """Forget all entries, keep the memory; `release`: to be recorded without the GIL."""
        self.ends.clear()
        self.failure = None
        words = self.words
        words[CURSOR] = self.start
        words[LIMIT] = self.start + FIRST_CHUNK - (MARGIN + 1) * ENTRY
        words[NEXT] = 1  # slot 0 is that of passive values
        words[RELEASE] = release
        words[INPUTS] = words[RESULT] = 0

    def trim(self) -> None:
        """Give back what is more than a program usually needs."""
        while len(self.chunks) > 1 and sum(c.nbytes for c in self.chunks) > KEPT:
            self.chunks.pop()
        if self.adjoints.nbytes > KEPT:
            self.adjoints = np.zeros(0)

    def _use(self, chunk: np.ndarray) -> None:
        start = first_entry(chunk)
        self.words[CURSOR] = start
        self.words[LIMIT] = start + chunk.nbytes - (MARGIN + 1) * ENTRY

    def _add_chunk(self, size: int) -> None:
        try:
            self.chunks.append(np.empty(size, np.uint8))
            self.chunks[-1][:ENTRY] = 0  # an entry of no result: folding stops here
        except MemoryError:
            raise TapeFullError(
                f"no memory for more entries: the tape has {self.entries} of them and asked for "
                f"{size / 1e6:.0f} MB; differentiate shorter pieces"
            ) from None

    def open_chunk(self, wanted: int) -> None:
        """Go on in the next chunk, which has room for `wanted` entries."""
        used = len(self.ends) + 1
        needed = (wanted + MARGIN + 1) * ENTRY
        if self.words[NEXT] + wanted + LARGEST_CHUNK > MAX_SLOTS:
            raise TapeFullError(
                f"a tape holds at most {MAX_SLOTS} results, this one has {self.words[NEXT]}; "
                "differentiate shorter pieces"
            )
        if used < len(self.chunks) and self.chunks[used].nbytes < needed:
            del self.chunks[used:]
        if used == len(self.chunks):
            size = min(4 * self.chunks[-1].nbytes, LARGEST_CHUNK)
            self._add_chunk(max(size, needed))
        self.ends.append(self.words[CURSOR])
        self._use(self.chunks[used])

    @property
    def slots(self) -> int:
        """Number of slots."""
        return self.words[NEXT]

    @property
    def entries(self) -> int:
        """Number of entries."""
        if not self.chunks:
            return 0
        ends = [*self.ends, self.words[CURSOR]]
        return sum(end - first_entry(c) for c, end in zip(self.chunks, ends, strict=False)) // ENTRY

    def segments(self) -> list[tuple[int, int]]:
        """Addresses where the entries of each chunk begin and end."""
        ends = [*self.ends, self.words[CURSOR]]
        return [(first_entry(c), end) for c, end in zip(self.chunks, ends, strict=False)]

    def buffer(self) -> np.ndarray:
        """A buffer with a number for each slot, not cleared."""
        slots = self.words[NEXT]
        if len(self.adjoints) < slots:
            try:
                self.adjoints = np.empty(slots + slots // 4 + 64)
                self.buffer_at = address_of(self.adjoints)
            except MemoryError:
                raise TapeFullError(
                    f"no memory for the adjoints of {slots} results ({self.entries} entries)"
                ) from None
        return self.adjoints

    def gradient(self) -> np.ndarray:
        """Derivatives of the scalar result with respect to the inputs."""
        g, slot = self.buffer(), self.words[RESULT]
        found = np.empty(self.words[INPUTS])
        if not self.ends:
            _gradient(found, self.buffer_at, slot, self.address, self.start)
            return found
        slots = self.words[NEXT]
        g[:slots] = 0.0
        g[slot] = 1.0
        for start, end in reversed(self.segments()):
            pull(self.buffer_at, start, end)
        found[:] = g[1 : 1 + len(found)]
        return found


@jit
def reverse(adjoints, start, end):
    """Adjoints through the entries from `end` back to `start`.

    What the neighbour before a result receives stays in a register: in a chain the next adjoint
    would otherwise wait for memory.  Sums are in the order of a plain loop over the entries.
    """
    g = f8_at(u8(adjoints))
    start, p = u8(start), u8(end) - SIZE
    if p < start:
        return
    result = u4_at(p)[3]
    w, carry = g[result], g[result - ONE]
    while True:
        if w != 0.0:
            operand = u4_at(p)[2]
            d = w * f8_at(p)[0]
            if operand == result - ONE:
                carry += d
            else:
                g[operand] += d
        p -= SIZE
        if p < start:
            break
        found = u4_at(p)[3]
        if found != result:
            g[result - ONE] = carry
            w = carry if found == result - ONE else g[found]
            result = found
            carry = g[result - ONE]
    g[result - ONE] = carry


@jit
def tangent(tangents, start, end):
    """Tangents through the entries from `start` to `end`."""
    t = f8_at(u8(tangents))
    p = u8(start)
    while p < u8(end):
        entry = u4_at(p)
        d = t[entry[2]]
        if d != 0.0:
            t[entry[3]] += d * f8_at(p)[0]
        p += SIZE


_nogil = {"nogil": True, "cache": True, **FLAGS}
pull = numba.njit(types.void(*[types.int64] * 3), **_nogil)(reverse.py_func)
push = numba.njit(types.void(*[types.int64] * 3), **_nogil)(tangent.py_func)
_vector = types.Array(types.float64, 1, "C")


# Addresses come as Python's integers, which Numba takes for signed: others it would convert slowly.
# The result comes as an argument: making an array costs NumPy 0.1 us, and compiled code 0.7.
@numba.njit(types.void(_vector, *[types.int64] * 4), cache=True, **FLAGS)
def _gradient(found, adjoints, slot, header, start):
    """The same for a tape of one chunk, in one call."""
    h, g = u8_at(u8(header)), f8_at(u8(adjoints))
    for i in range(h[NEXT]):
        g[i] = 0.0
    g[u8(slot)] = 1.0
    reverse(adjoints, start, h[CURSOR])
    for i in range(u8(found.size)):
        found[i] = g[i + ONE]


_free: list[LinearTape] = []


def borrow(release: bool = False) -> LinearTape:
    """An empty tape that nobody else uses; give it back by `give_back`."""
    try:
        tape = _free.pop()
    except IndexError:
        tape = LinearTape()
    tape.rewind(release)
    return tape


def give_back(tape: LinearTape) -> None:
    if tape.ends:
        tape.trim()
    _free.append(tape)
