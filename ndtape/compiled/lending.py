"""First derivatives of any kind on a linear tape: what `jvp`, `vjp` and `jacobian` work with.

A transform asks for an evaluation: a tape, a workspace with its numbers, variables and results
on it.  Here the tape is linear, so that it has no instructions; but slots, sweeps and buffers are
all that first derivatives need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..record.arrays import contiguous, of_span, view
from ..record.storage import Storage
from ..record.values import result
from ..tape import address_of
from .complaints import complain
from .entries import Kept, Spread
from .gradients import Call
from .linear import LinearTape, borrow, give_back, pull, push
from .memory import RESULT, Stopped
from .types import LINEAR


class Place:
    """A linear tape in the terms of a `Tape`: where values are, and how many."""

    joined = None
    traced = None
    calls = (None,)  # no lanes: a sweep of entries is as fast, without their buffers
    base = n = 0

    def __init__(self, tape: LinearTape) -> None:
        self.linear = tape
        self.constants = np.zeros(0)

    def __len__(self) -> int:
        return self.slots

    @property
    def slots(self) -> int:
        """Number of slots."""
        return self.linear.slots

    def index_of_slot(self, slot: int) -> int:
        """Slots are numbered as their entries are."""
        return slot


class Work:
    """Buffers of a linear tape, and sweeps over them."""

    swept = 0

    def __init__(self, tape: LinearTape) -> None:
        self.linear = tape
        self.arrays: dict[str, np.ndarray] = {}

    def array(self, name: str) -> np.ndarray:
        """Values, adjoints or tangents; values of results alone are known."""
        if name not in self.arrays:
            self.arrays[name] = np.empty(self.linear.slots)
        return self.arrays[name]

    def whole(self, name: str, lo: int, hi: int, backwards: bool = False) -> None:
        """The sweep "reverse" or "tangent" over all entries."""
        segments = self.linear.segments()
        buffer = address_of(self.array("g" if backwards else "t"))
        for start, end in reversed(segments) if backwards else segments:
            (pull if backwards else push)(buffer, start, end)


class Lent:
    """An evaluation on a linear tape, until it is released."""

    def __init__(self, function: Any, call: Call) -> None:
        self.linear: Any = borrow(function.long)
        try:
            y = function.variants.run(call.structure, LINEAR, self.linear.address, call.leaves)
        except Stopped:
            failure = self.linear.taken()
            self.release()
            raise failure from None
        except Exception as error:
            self.release()
            complain(function, call.leaves, error, call.structure, LINEAR)
            raise
        function.long = bool(self.linear.ends)
        self.tape: Any = Place(self.linear)
        self.work = Work(self.linear)
        self.variables = [self._variable(t) for t in call.flat_templates()]
        slot = self.linear.words[RESULT]
        self.y = self._result(Kept(slot, y) if slot else y)

    def release(self) -> None:
        """Give the tape back: its slots stand for nothing any more."""
        if self.linear is not None:
            give_back(self.linear)
            self.linear = None

    def _variable(self, template: Any) -> Any:
        """Of a differentiated argument: slots of inputs begin at 1."""
        if isinstance(template, int):
            return result(self.tape, template + 1)
        first, _, shape, dtype = template
        return (
            of_span(self.tape, first + 1, shape, dtype) if shape else result(self.tape, first + 1)
        )

    def _result(self, y: Any) -> Any:
        """Recording values for what compiled code has answered."""
        if isinstance(y, Kept):
            if not y.slot:
                return y.value
            self.work.array("v")[y.slot] = y.value
            return result(self.tape, int(y.slot))
        if isinstance(y, Spread):
            return self._array(y)
        if isinstance(y, tuple):
            parts = [self._result(part) for part in y]
            return type(y)(*parts) if hasattr(y, "_fields") else tuple(parts)
        return y

    def _array(self, y: Spread) -> Any:
        slots, values = y.slots.ravel().astype(np.int64), y.values.ravel()
        if not slots.any():
            return y.values
        self.work.array("v")[slots[slots > 0]] = values[slots > 0]
        storage = Storage(len(slots))
        storage.tape = self.tape
        known = len(self.tape.constants)
        storage.map = np.where(slots > 0, slots, -1 - known - np.arange(len(slots)))
        self.tape.constants = np.concatenate([self.tape.constants, values])
        shape = y.values.shape
        return view(storage, 0, shape, contiguous(shape), y.values.dtype)


def lent(function: Any, args: tuple[Any, ...], positions: Sequence[int]) -> Lent | None:
    """An evaluation; None where an argument is none that compiled code takes."""
    call = Call.of(args, positions)
    return None if call is None else Lent(function, call)
