"""Calls of compiled functions with recording values: their tape gets what the functions do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..record import core
from ..record.arrays import Array, as_array, moves, storages
from ..record.core import Recorder
from ..record.lifetime import common_tape, make_room
from ..record.operands import entries_of
from ..record.scopes import place
from ..record.storage import ArrayLeaf
from ..record.values import Boolean, Integer, Leaf, Var, result
from .bridge import Bridge
from .complaints import complain
from .entries import FROZEN, PLAIN, RECORDED, Kept, Spread
from .memory import Stopped
from .types import TAPE


def append(function: Any, args: tuple[Any, ...]) -> Any:
    """Call with recording values; recording values come out.  Under `no_grad`, numbers."""
    with core.growth:
        moving = [x for x in _leaves(args) if moves(x)] if core.recording() else []
        if not moving:
            return function(*[_plain(x) for x in args])
        tape = common_tape(storages(moving))
        make_room(tape)
        leaves: list[Any] = []
        structure = tuple([_structured(x, leaves, tape) for x in args])
        with Bridge(tape, function.py_func.__code__) as bridge:
            try:
                y = function.variants.run(structure, TAPE, bridge.address, leaves)
            except Stopped:
                raise bridge.taken() from None
            except Exception as error:
                complain(function, leaves, error, structure, TAPE)
                raise
        return _finished(tape, y)


# --- arguments ------------------------------------------------------------------------------------


def _leaves(args: tuple[Any, ...]) -> Iterator[Any]:
    for x in args:
        if isinstance(x, tuple):
            yield from _leaves(x)
        else:
            yield x


def _plain(x: Any) -> Any:
    if isinstance(x, tuple):
        return _like(x, [_plain(part) for part in x])
    return x.value if isinstance(x, (Var, Array)) else x


def _like(x: tuple[Any, ...], parts: list[Any]) -> tuple[Any, ...]:
    return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)


def _structured(x: Any, leaves: list[Any], tape: Recorder) -> Any:
    """The structure of an argument, whose leaves are added to the list."""
    if isinstance(x, tuple):
        return type(x), tuple([_structured(part, leaves, tape) for part in x])
    if moves(x) and _is_real(x):
        leaves.append(_placed(x, tape))
        return RECORDED
    number = _whole(x, tape) if moves(x) else _plain(x)
    leaves.append(
        number if np.ndim(number) or not isinstance(number, np.ndarray) else number.item()
    )
    return FROZEN if isinstance(leaves[-1], np.ndarray) else PLAIN


def _is_real(x: Any) -> bool:
    """Whether it may have a derivative: not whole numbers and truth values, which stay such."""
    if isinstance(x, Array):
        return bool(x.dtype.kind == "f")
    return not isinstance(x, (Boolean, Integer))


def _whole(x: Any, tape: Recorder) -> Any:
    """Recorded whole numbers or truth values as plain ones: in a replay, a guard on each."""
    if tape.traced is not None:
        return tape.traced.plain(x)
    return x.value if isinstance(x, Array) else x.item()


def _placed(x: Any, tape: Recorder) -> Any:
    """Number and slot (plus one; 0 for a constant) of each element of a value on the tape."""
    if isinstance(x, Array) and not x.shape:
        x = x[()]  # a number
    if isinstance(x, Leaf):
        return tape.slot_of(x) + 1, x.number
    if not isinstance(x, Array):
        return place(tape, x.tape, x.slot) + 1, x.peek()
    storage, places = x.storage, x.places()
    if not places.size:
        return np.zeros(places.shape, np.int64), np.zeros(places.shape)
    if isinstance(storage, ArrayLeaf):
        assert storage.data is not None
        return tape.slot_of(storage) + 1 + places, storage.data[places]
    if storage.map is None:
        first = place(tape, storage.tape, storage.slot)
        return first + 1 + places, storage.numbers(places)
    entries = entries_of(tape, x).reshape(places.shape)
    return np.maximum(entries, -1) + 1, storage.numbers(places)


# --- results --------------------------------------------------------------------------------------


def _finished(tape: Recorder, y: Any) -> Any:
    """Recording values for what compiled code has answered."""
    if isinstance(y, Kept):
        return result(tape, int(y.slot) - 1) if y.slot else y.value
    if isinstance(y, Spread):
        slots = y.slots.ravel()
        places = np.flatnonzero(slots)
        if not len(places):
            return y.values
        made = as_array(y.values)
        made.storage.point(tape, places, slots[places].astype(np.int64) - 1)
        return made
    if isinstance(y, tuple):
        return _like(y, [_finished(tape, part) for part in y])
    return y
