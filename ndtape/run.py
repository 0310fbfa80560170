"""Drives the sweeps: the only caller of compiled code.

A `Workspace` gives a tape its numbers: values v, adjoints g, tangents t and h, one layout for all,
for one lane or for packs of 16.  Sweeps run in pieces, so that Ctrl-C is seen within 50 ms and
long ones let other threads work; a look at a fresh value costs one call.

Numba is imported with the first sweep, not with the package: recording does not need it.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from .errors import ArgumentError, BadTapeError, TapeError, TapeFullError
from .ops import FRAME, INPUT_CODE, table_hash
from .tape import Chunk, Tape, address_of

LANES = 16
FIRST_PIECE, LARGEST_PIECE = 1 << 15, 1 << 18  # instructions times lanes in one call
PIECE_SECONDS = 0.02  # a piece aims at this: Ctrl-C waits for it, the GIL comes back 5 ms late
RELEASE = 1 << 14  # instructions times lanes from which releasing the GIL pays
ALIGNMENT = 64
REACHED, SPENT = np.uint8(1), np.uint8(2)  # bits of the column `mark`
COLUMNS = {name: position for position, name in enumerate(FRAME)}

Call = Callable[..., int]


@cache
def sweeps() -> ModuleType:
    """The generated sweeps; refuses to run rules that differ from the table in memory."""
    from . import _sweeps

    if table_hash() != _sweeps.TABLE_HASH:
        raise TapeError("ndtape/_sweeps.py does not match ndtape/ops.py: run `make sweeps`")
    return _sweeps


@cache
def entry(name: str) -> Call:
    from ._jit import entry

    return entry(name)


@cache
def address(name: str) -> int:
    """Of a compiled sweep; compiles it, or loads it from the disk cache, at first use."""
    return int(getattr(sweeps(), name).address)


class Workspace:
    """The numbers of one tape, for `lanes` evaluations side by side (1 or 16)."""

    __slots__ = ("owner", "lanes", "suffix", "frame", "frame_address", "chunk", "constants",
                 "arrays", "capacity", "values", "swept", "laid", "leading", "lock", "busy",
                 "_hold", "_forward", "_replay", "_inputs", "_ready")  # fmt: skip

    def __init__(self, tape: Tape, lanes: int = 1, owned: bool = False) -> None:
        if lanes not in (1, LANES):
            raise ArgumentError(f"a workspace has 1 or {LANES} lanes, not {lanes}")
        # A tape that owns its workspace must not be kept alive by it: tapes die by their count.
        self.owner: Callable[[], Any] = weakref.ref(tape) if owned else lambda: tape
        self.lanes = lanes
        self.suffix = "" if lanes == 1 else "_packs"
        frame = np.zeros(len(FRAME), np.uint64)
        self.frame = memoryview(frame)
        self.frame_address = address_of(frame)
        self.chunk: Chunk | None = None  # whose addresses the frame holds
        self.constants: np.ndarray | None = None
        self.arrays: dict[str, np.ndarray] = {}
        self.capacity = 0
        self.values: Any = memoryview(b"")  # of v when there is one lane
        self.swept = 0  # instructions whose values are known
        self.laid = 0  # instructions whose result slot is written
        self.leading = -1  # inputs at the front, once counted
        self.lock = threading.RLock()  # long pieces release the GIL
        self.busy = 0  # sweeps under way
        self._hold: Any = None
        self._replay: Any = None
        self._inputs: np.ndarray | None = None  # the part of v that `set_inputs` writes
        self._ready = -1  # length of the tape that `gradient` is prepared for
        self._forward = 0

    @property
    def tape(self) -> Tape:
        return self.owner()  # type: ignore[no-any-return]

    # --- buffers -------------------------------------------------------------------------------

    def array(self, name: str) -> np.ndarray:
        """The buffer v, g, t, h (float64) or mark (bytes), made when first needed."""
        if self.capacity < max(len(self.tape), 1):
            self._grow()
        if name not in self.arrays:
            self._install(name, self._new(name))
        return self.arrays[name]

    def _new(self, name: str) -> np.ndarray:
        """Zeros for adjoints and marks; 64-byte aligned, as packs need."""
        dtype = np.dtype(np.uint8 if name == "mark" else np.float64)
        lanes = 1 if name == "mark" else self.lanes
        size = self.capacity * lanes * dtype.itemsize
        try:
            raw = np.zeros(size + ALIGNMENT, np.uint8)
        except MemoryError:
            raise TapeFullError(
                f"no memory for the numbers of a sweep over {len(self.tape)} instructions "
                f"({size / 1e6:.0f} MB more); sweep shorter pieces"
            ) from None
        start = -address_of(raw) % ALIGNMENT
        array = raw[start : start + size].view(dtype)
        return array if lanes == 1 else array.reshape(self.capacity, lanes)

    def _install(self, name: str, array: np.ndarray) -> None:
        self.arrays[name] = array
        self.frame[COLUMNS[name]] = address_of(array)
        if name == "v":
            self._inputs = None
            if self.lanes == 1:
                self.values = memoryview(array)

    def _grow(self) -> None:
        """Room for every instruction of the open chunk."""
        last = self.tape.chunks[-1]
        self.capacity = last.base + last.size
        for name, old in list(self.arrays.items()):
            new = self._new(name)
            new[: len(old)] = old
            self._install(name, new)

    # --- calling ---------------------------------------------------------------------------------

    def enter(self, chunk: Chunk) -> None:
        """Point the frame at a chunk, and at the constant pool where that has moved."""
        if chunk is not self.chunk:
            for name, start in chunk.addresses.items():
                self.frame[COLUMNS[name]] = start
            self.chunk = chunk
        if self.constants is not self.tape.constants:
            self.constants = self.tape.constants
            self.frame[COLUMNS["k"]] = address_of(self.constants)

    def sweep(self, name: str, lo: int, hi: int, backwards: bool = False) -> Iterator[int]:
        """Run a sweep over instructions lo..hi in pieces; yields where each piece ended."""
        where = address(name)
        size = FIRST_PIECE // self.lanes
        self.busy += 1
        try:
            while lo < hi:
                chunk = self.tape.chunk_of(hi - 1 if backwards else lo)
                if backwards:
                    first, last = max(lo, chunk.base, hi - size), hi
                    hi = first
                else:
                    first, last = lo, min(hi, chunk.base + chunk.size, lo + size)
                    lo = last
                start = time.perf_counter()
                self._piece(name, where, chunk, first, last)
                size = self._next_size(last - first, time.perf_counter() - start)
                yield first if backwards else last
        finally:
            self.busy -= 1

    def _piece(self, name: str, where: int, chunk: Chunk, first: int, last: int) -> None:
        """One call of a sweep."""
        self.enter(chunk)
        call = entry("releasing" if (last - first) * self.lanes >= RELEASE else "holding")
        status = call(where, self.frame_address, first, last)
        if status:
            raise BadTapeError(
                f"the {name} sweep met an unknown opcode at instruction {status - 1}"
            )

    def _next_size(self, done: int, seconds: float) -> int:
        """Instructions for the next piece, from how long the last one took."""
        fitting = done * min(4.0, PIECE_SECONDS / max(seconds, 1e-9))
        return max(FIRST_PIECE, min(LARGEST_PIECE, int(fitting * self.lanes))) // self.lanes

    # --- sweeps ----------------------------------------------------------------------------------

    def forward(self, lo: int | None = None, hi: int | None = None) -> None:
        """Values of lo..hi; by default of what was recorded since the last time."""
        end = len(self.tape) if hi is None else hi
        start = self.swept if lo is None else lo
        self.array("v")
        self.lay_out()
        for done in self.sweep("forward" + self.suffix, start, end):
            self.swept = max(self.swept, done)

    def lay_out(self) -> None:
        """Write the result slots of whole chunks: one an instruction while results are scalars."""
        for chunk in self.tape.chunks:
            end = chunk.base + chunk.size
            if end > self.laid:
                chunk.array("out", chunk.size)[:] = np.arange(chunk.base, end)
                self.laid = end

    def value(self, slot: int) -> float:
        """The value in a slot, after a forward sweep over what is new."""
        if slot >= self.swept:
            self.catch_up()
        return self.values[slot]  # type: ignore[no-any-return]

    def catch_up(self) -> None:
        """`forward()`, by the shortest way when little was recorded: comparisons wait for it.

        That way takes no lock: it calls nothing that lets another thread run, and where `busy`
        says that one is in the middle of a sweep, it is not taken.
        """
        tape = self.owner()
        n = tape.base + tape.n
        start = self.swept
        # A chunk that the frame points at has its slots laid out and its values allocated.
        if (
            self._hold is None
            or self.busy
            or self.chunk is not tape.chunks[-1]
            or self.constants is not tape.constants
            or start < tape.base
            or n - start > RELEASE
        ):
            with self.lock:
                self.forward()
            self._hold, self._forward = entry("holding"), address("forward")
            return
        status = self._hold(self._forward, self.frame_address, start, n)
        if status:
            raise BadTapeError(f"unknown opcode at instruction {status - 1}")
        self.swept = n

    def reverse(self, seeds: dict[int, Any], lo: int = 0) -> np.ndarray:
        """Adjoints g along `seeds` (slot -> adjoint); returns the buffer, zero above the seeds."""
        self.forward()
        top = max(seeds) + 1
        if top > len(self.tape):
            raise ArgumentError(f"slot {top - 1} is not on this tape of {len(self.tape)}")
        g = self.array("g")
        g[: len(self.tape)] = 0.0
        for slot, seed in seeds.items():
            g[slot] = seed
        for _ in self.sweep("reverse" + self.suffix, lo, top, backwards=True):
            pass
        return g

    def gradient(self, root: int) -> np.ndarray:
        """Adjoints g of one root, after a forward sweep over what is new.

        `reverse` with seed 1, in a single call where the tape is short: calls from Python would
        cost more than the sweeps.
        """
        tape = self.owner()
        n = tape.base + tape.n
        if n != self._ready or tape.constants is not self.constants:
            if len(tape.chunks) > 1 or n * self.lanes >= RELEASE:
                return self.reverse({root: 1.0})
            self._prepare(n)
        if root >= n:
            raise ArgumentError(f"slot {root} is not on this tape of {n} instructions")
        replay, forward, reverse = self._replay
        inputs = self.leading if self.leading > 0 else 0
        status = replay(
            forward, reverse, self.frame_address, self.swept, inputs, n, root, self.lanes
        )
        if status:
            raise BadTapeError(f"unknown opcode at instruction {status - 1}")
        self.swept = n
        return self.arrays["g"]

    def _prepare(self, n: int) -> None:
        """Buffers, frame and addresses for `gradient` on a tape of n instructions in one chunk."""
        self.array("v")
        self.array("g")
        self.lay_out()
        self.enter(self.tape.chunks[0])
        names = ("forward" + self.suffix, "reverse" + self.suffix)
        self._replay = (entry("replay"), *map(address, names))
        self._ready = n

    def tangent(self, seeds: dict[int, Any]) -> np.ndarray:
        """Tangents t along `seeds` (input slot -> tangent); returns the buffer."""
        self.forward()
        t = self.array("t")
        t[: len(self.tape)] = 0.0
        for slot, seed in seeds.items():
            t[slot] = seed
        for _ in self.sweep("tangent" + self.suffix, 0, len(self.tape)):
            pass
        return t

    def second(self, root: int, seeds: dict[int, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Gradient g of a root and its tangent h: the Hessian times seeds."""
        self.tangent(seeds)
        g, h = self.array("g"), self.array("h")
        g[: root + 1] = h[: root + 1] = 0.0
        g[root] = 1.0
        name = "forward_over_reverse" + self.suffix
        for _ in self.sweep(name, 0, root + 1, backwards=True):
            pass
        return g, h

    def reach(self, roots: Sequence[int] | np.ndarray) -> np.ndarray:
        """Sets bit 0 of `mark` for all slots that `roots` depend on, clears it elsewhere.

        Bit 1, spent, stops the walk: behind a spent slot nothing is marked.
        """
        self.lay_out()
        mark = self.array("mark")[: max(len(self.tape), 1)]
        mark &= SPENT
        mark[roots] |= REACHED
        for _ in self.sweep("reach", 0, int(max(roots, default=-1)) + 1, backwards=True):
            pass
        return mark

    def set_inputs(self, values: np.ndarray) -> None:
        """New values for the leading inputs of a sealed tape: shape (inputs,) or (inputs, 16)."""
        if self.leading < 0:
            self.leading = leading_inputs(self.tape)
        if self._inputs is None:
            self._inputs = self.array("v")[: self.leading]
        if getattr(values, "shape", None) != self._inputs.shape:
            values = np.asarray(values, dtype=np.float64)
            if values.shape != self._inputs.shape:
                raise ArgumentError(
                    f"this tape takes values of shape {self._inputs.shape}, got {values.shape}"
                )
        self._inputs[:] = values
        self.swept = self.leading

    def allocated(self) -> int:
        """Bytes held by the buffers."""
        return sum(array.nbytes for array in self.arrays.values())


def leading_inputs(tape: Tape) -> int:
    """How many inputs stand at the front, where `passes.seal` puts them all."""
    ops = tape.columns()["op"]
    other = np.flatnonzero(ops != INPUT_CODE)
    return int(other[0]) if len(other) else len(ops)
