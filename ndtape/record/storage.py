"""Where the elements of recording arrays live.

A storage is shared by the views of an array.  It is one of

- *plain*: numbers that have no gradient (`nt.zeros(3)`), on no tape;
- a *leaf*: numbers that gradients are taken with respect to, copied to a tape at their first use;
- a *span*: consecutive slots of a tape, the result of one instruction;
- a *map*: a slot for every element, negative entries -1 - c for constant c of the tape's pool.

A write records no instruction: it makes the storage a map and changes the map, so older values stay
where reverse needs them.  The first use of elements that are scattered collects them in a new span
and points the map there, so that a matrix filled by rows or elements costs its size in slots once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import LeafWriteError
from . import core
from .core import Recorder
from .scopes import check_write

Places = np.ndarray  # of int64: positions in a storage


class Storage:
    """The elements of an array and of its views; see the top of this file."""

    __slots__ = ("tape", "slot", "size", "map", "data", "_dummy", "constants_of_map", "__weakref__")
    tape: Any  # None while the elements are plain numbers
    slot: int
    map: np.ndarray | None
    data: np.ndarray | None  # float64, one dimension

    needs_grad = True  # of elements on a tape

    def __init__(self, size: int) -> None:
        self.tape = None
        self.slot = -1
        self.size = size
        self.map = None
        self.data = None
        self._dummy: np.ndarray | None = None
        self.constants_of_map: np.ndarray | None = None

    @classmethod
    def plain(cls, data: np.ndarray) -> Storage:
        """Numbers without gradient; `data` is a vector of float64 that the storage now owns."""
        self = cls(len(data))
        self.data = data
        return self

    @classmethod
    def span(cls, tape: Recorder, slot: int, size: int) -> Storage:
        """The result of an instruction."""
        self = cls(size)
        self.tape = tape
        self.slot = slot
        return self

    # --- lifetime of tapes ------------------------------------------------------------------------

    def shift(self, tape: Recorder, slots: int, pool: int) -> None:
        """The tape was appended to another one, behind that many slots and constants."""
        moved = self.map
        if moved is not None:
            moved = np.where(moved < 0, moved - pool, moved + slots)
        # At once, without a call: other threads must not see one half of it.
        self.slot, self.map, self.tape = self.slot + slots, moved, tape

    def all_slots(self) -> np.ndarray:
        """Every slot that holds an element."""
        if self.map is None:
            return np.arange(self.slot, self.slot + self.size)
        return self.map[self.map >= 0]

    def remember_constants(self) -> None:
        """Keep the constants of a map while the pool is packed."""
        if self.map is not None:
            self.constants_of_map = self.tape.constants[-1 - self.map[self.map < 0]]

    # --- views ------------------------------------------------------------------------------------

    @property
    def dummy(self) -> np.ndarray:
        """Bytes that nobody reads or writes: NumPy does the arithmetic of views on them."""
        if self._dummy is None:
            self._dummy = np.empty(max(self.size, 1), np.int8)
        return self._dummy

    # --- numbers ----------------------------------------------------------------------------------

    def numbers(self, places: Places | slice) -> np.ndarray:
        """Values of elements: a fresh array shaped like `places`."""
        if self.tape is None:
            assert self.data is not None
            return self.data[places].copy()
        while True:
            core.resolve(self)
            work = self.tape.work
            with work.lock:
                if work is self.tape.work:  # else another thread has joined or compacted the tape
                    work.catch_up()
                    return self._read(work.array("v"), places)

    def _read(self, v: np.ndarray, places: Places | slice) -> np.ndarray:
        if self.map is None:
            return v[self.slot : self.slot + self.size][places].copy()
        slots = self.map[places]
        constant = slots < 0
        pool = self.tape.constants[np.where(constant, -1 - slots, 0)] if constant.any() else 0.0
        return np.where(constant, pool, v[np.where(constant, 0, slots)])

    # --- writing ----------------------------------------------------------------------------------

    def writable(self) -> None:
        """Raise unless elements may be written."""
        if self.tape is not None:
            check_write(self.tape)

    def write(self, places: Places, numbers: np.ndarray) -> None:
        """Give elements plain numbers; both arrays have the same shape."""
        self.writable()
        if self.tape is None:
            assert self.data is not None
            self.data[places] = numbers
            return
        with core.growth:
            core.resolve(self)
            if self.tape.ended and self.tape.traced is not None:
                core.refuse_ended(self.tape)
            start = self.tape.extend_pool(np.ravel(numbers))
            constants = -1 - (start + np.arange(numbers.size).reshape(numbers.shape))
            self.mapped(self.tape)[places] = constants

    def point(self, tape: Recorder, places: Places, slots: np.ndarray) -> None:
        """Give elements the slots of recorded values; both arrays have the same shape."""
        self.writable()
        self.mapped(tape)[places] = slots

    def replace(self, tape: Recorder, slot: int) -> None:
        """All elements become the span that begins at `slot`."""
        self.writable()
        self.tape, self.slot, self.map, self.data = tape, slot, None, None

    def mapped(self, tape: Recorder) -> np.ndarray:
        """The map, made where there is none yet."""
        if self.map is None:
            if self.tape is None:
                assert self.data is not None
                start = tape.extend_pool(self.data)
                self.map = -1 - (start + np.arange(self.size))
                self.tape, self.data = tape, None
            else:
                self.map = np.arange(self.slot, self.slot + self.size)
        return self.map


class ArrayLeaf(Storage):
    """Numbers that gradients are taken with respect to.  See `nt.var`."""

    __slots__ = ("token", "name", "_grad", "shape", "dtype")

    def __init__(self, data: np.ndarray, shape: tuple[int, ...], dtype: Any, name: str) -> None:
        super().__init__(len(data))
        self.data = data
        self.shape = shape
        self.dtype = dtype
        self.name = name
        self.token = object()  # replaced when the numbers are: tapes know the leaf by it
        self._grad: np.ndarray | None = None

    @property
    def number(self) -> np.ndarray:
        """What a tape copies in."""
        assert self.data is not None
        return self.data

    def deposit(self, adjoints: np.ndarray) -> None:
        """Add adjoints, one an element, to the gradient."""
        term = adjoints.reshape(self.shape).astype(self.dtype)
        self._grad = term if self._grad is None else self._grad + term

    def writable(self) -> None:
        if core.recording():
            raise LeafWriteError(
                "a write into a leaf: tapes may be using its values. Write into a copy (x.copy()), "
                f"or update the leaf under `with nt.no_grad():` [{core.user_line()}]"
            )
        self.token = object()

    def point(self, tape: Recorder, places: Places, slots: np.ndarray) -> None:
        tape.work.forward()
        self.write(places, tape.work.array("v")[slots])

    def replace(self, tape: Recorder, slot: int) -> None:
        self.point(tape, np.arange(self.size), np.arange(slot, slot + self.size))
