"""How arrays become operands of instructions: where they begin, how they step, what is constant."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import nest
from ..nest import contiguous
from ..ops import WIDE_CODES
from .arrays import Array, normal
from .core import Recorder, push_wide
from .scopes import place
from .storage import ArrayLeaf
from .values import Boolean, Integer, Leaf, Var, as_number

COLLECT = WIDE_CODES["collect"]
INTERN_FROM = 64  # elements; smaller constants are copied again faster than compared


class Operand(NamedTuple):
    """An operand on a tape: first slot (or constant), shape and strides, dtype."""

    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    constant: bool
    dtype: Any  # a NumPy dtype, or Python's int, float or bool: those adapt to the others


def operand(tape: Recorder, x: Any) -> Operand:
    """Any value as an operand on `tape`, which its storage must have been joined to."""
    if isinstance(x, Array):
        start, strides, is_constant = located(tape, x)
        return Operand(start, x.shape, strides, is_constant, x.dtype)
    if isinstance(x, Var):
        if not x.needs_grad:
            return Operand(tape.constant(x.value), (), (), True, float)
        slot = tape.slot_of(x) if isinstance(x, Leaf) else place(tape, x.tape, x.slot)
        # Like Python's numbers, so that float32 arrays stay what they are.
        dtype = bool if isinstance(x, Boolean) else int if isinstance(x, Integer) else float
        return Operand(slot, (), (), False, dtype)
    if x.__class__ is float or x.__class__ is int or x.__class__ is bool:
        return Operand(tape.constant(as_number(x)), (), (), True, x.__class__)
    array = normal(x)
    start = constants(tape, array) if array.size else 0
    return Operand(start, array.shape, contiguous(array.shape), True, array.dtype)


def located(tape: Recorder, x: Array) -> tuple[int, tuple[int, ...], bool]:
    """Start, strides and constancy of an array's elements on `tape`."""
    storage = x.storage
    if storage.map is not None:
        return _settled(tape, x)
    if storage.tape is not None:
        return place(tape, storage.tape, storage.slot) + x.offset, x.strides, False
    if isinstance(storage, ArrayLeaf):
        if not storage.size:
            return 0, x.strides, True
        return tape.slot_of(storage) + x.offset, x.strides, False
    numbers = x.value
    return (constants(tape, numbers) if numbers.size else 0), contiguous(x.shape), True


def constants(tape: Recorder, array: np.ndarray) -> int:
    """Where plain numbers stand in the pool; large arrays that did not change are stored once."""
    if array.size < INTERN_FROM:
        return tape.extend_pool(array.ravel())
    known = tape.known_arrays.get(id(array))
    flat = np.ascontiguousarray(array, np.float64).ravel()
    if known is not None and known[0] is array:
        start = known[1]
        stored = tape.constants[start : start + flat.size]
        if np.array_equal(stored.view(np.int64), flat.view(np.int64)):
            return start
    start = tape.extend_pool(flat)
    tape.known_arrays[id(array)] = (array, start)
    return start


def _settled(tape: Recorder, x: Array) -> tuple[int, tuple[int, ...], bool]:
    """The same for scattered elements: as they lie where one span holds them, else collected."""
    storage = x.storage
    assert storage.map is not None
    if not x.size:
        return 0, contiguous(x.shape), True
    if storage.tape is not tape:  # of a loop's body: settled outside, once
        start, strides, is_constant = located(storage.tape, x)
        if is_constant:
            return constants(tape, x.value), contiguous(x.shape), True
        return place(tape, storage.tape, start), strides, False
    places = x.places()
    slots = storage.map[places]
    first = int(slots.flat[0])
    if slots.size == 1:
        return (first, x.strides, False) if first >= 0 else (-1 - first, x.strides, True)
    found = _strided(slots)
    if found is not None and first >= 0:
        lowest, highest = int(slots.min()), int(slots.max())
        base, size = tape.span_of(lowest)
        if highest < base + size:  # spans move as blocks when a tape is rearranged
            return first, found, False
    slot = collected(tape, slots)
    if 0 not in [s for s, n in zip(x.strides, x.shape, strict=True) if n > 1]:
        storage.map[places] = slot + np.arange(slots.size).reshape(slots.shape)
        if x.is_whole():
            storage.slot, storage.map = slot, None
    return slot, contiguous(x.shape), False


def _strided(slots: np.ndarray) -> tuple[int, ...] | None:
    """Strides with which slots can be walked, if they lie regularly."""
    corner = slots[(0,) * slots.ndim]
    strides = tuple(
        int(slots[(0,) * axis + (1,) + (0,) * (slots.ndim - axis - 1)] - corner) if n > 1 else 0
        for axis, n in enumerate(slots.shape)
    )
    regular = np.full((), corner)
    for stride, n in zip(strides, slots.shape, strict=True):
        regular = regular[..., None] + stride * np.arange(n)
    return strides if np.array_equal(regular, slots) else None


def collected(tape: Recorder, entries: np.ndarray) -> int:
    """A new span with the given slots' (or, negative, constants') values; returns its first."""
    words = np.concatenate([[entries.size, 0, 0, 0, 0], entries.ravel()])
    return push_wide(tape, COLLECT, 0, 0, words, share=False)


def entries_of(tape: Recorder, x: Any) -> np.ndarray:
    """For every element of a value, in C order, its slot, or -1 - c for constant c."""
    if isinstance(x, Array) and x.storage.map is not None and x.storage.tape is tape:
        found: np.ndarray = x.storage.map[x.places()].ravel()
        return found
    start, shape, strides, is_constant, _ = operand(tape, x)
    walk = nest.Walk(start, shape, strides, False, "a").places()
    entries: np.ndarray = -1 - walk if is_constant else walk
    return entries


def strides_for(shape: tuple[int, ...], x: Operand) -> tuple[int, ...]:
    """Strides of an operand that is broadcast to `shape`."""
    lead = len(shape) - len(x.shape)
    return (0,) * lead + tuple(
        0 if n == 1 else stride for n, stride in zip(x.shape, x.strides, strict=True)
    )
