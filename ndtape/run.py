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
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from operator import setitem
from types import ModuleType
from typing import Any

import numpy as np

from . import memory, nest
from .errors import (
    ArgumentError,
    BadTapeError,
    ChangedShapeError,
    ShapeError,
    TapeError,
    TapeFullError,
)
from .ops import (
    APART,
    BAD_INDEX,
    FIRST_WIDE,
    FLIPPED,
    FRAME,
    INPUT_CODE,
    KERNELS,
    NO_LANES,
    PAUSE,
    WIDE,
    WIDE_CODES,
    Wide,
    table_hash,
)
from .passes.optimised import OptimisedTape
from .tape import Chunk, Instruction, Tape, address_of

LANES = 16
KINDS_OF_NUMBERS = {"v": "values", "g": "adjoints", "t": "tangents", "h": "tangents of adjoints",
                    "mark": "marks"}  # fmt: skip
SHORTER = "put parts of the function into nt.checkpoint, or its loop into nt.scan with a schedule"
FIRST_PIECE, LARGEST_PIECE = 1 << 15, 1 << 18  # instructions times lanes in one call
FIRST_WIDE_PIECE, LARGEST_WIDE_PIECE = 256, 4096  # where some work on arrays: the next may be long
PIECE_SECONDS = 0.02  # a piece aims at this: Ctrl-C waits for it, the GIL comes back 5 ms late
RELEASE = 1 << 14  # instructions times lanes from which releasing the GIL pays
ALIGNMENT = 64
REACHED, SPENT = np.uint8(1), np.uint8(2)  # bits of the column `mark`
COLUMNS = {name: position for position, name in enumerate(FRAME)}

Call = Callable[..., Any]


@cache
def sweeps() -> ModuleType:
    """The generated sweeps; refuses to run rules that differ from the table in memory."""
    from . import _sweeps

    if table_hash() != _sweeps.TABLE_HASH:
        raise TapeError("ndtape/_sweeps.py does not match ndtape/ops.py: run `make sweeps`")
    return _sweeps


@cache
def entry(name: str) -> Call:
    from . import _jit, _replays

    found: Call = (_replays if name in ("replay_flat", "replay_second") else _jit).entry(name)
    return found


@cache
def address(name: str) -> int:
    """Of a compiled sweep; compiles it, or loads it from the disk cache, at first use."""
    return int(getattr(sweeps(), name).address)


# --- kernels of wide instructions -----------------------------------------------------------------

SWEEP_KERNELS = {"forward": "forward", "reverse": "reverse", "tangent": "tangent",
                 "forward_over_reverse": "second"}  # fmt: skip
SCRATCH = 64
PRODUCTS = {WIDE_CODES["dot"], WIDE_CODES["weights"]}
_tables = {name: np.zeros(len(WIDE), np.uint64) for name in KERNELS}
# A frame knows the tables from the beginning; the scratch words stand behind it.
FRESH_FRAME = np.zeros(len(FRAME) + SCRATCH, np.uint64)
for _name, _table in _tables.items():
    FRESH_FRAME[COLUMNS[_name]] = address_of(_table)


def load_kernels(table: str, codes: Iterable[int]) -> None:
    """Compile, or load from the disk cache, the kernels that wide instructions need."""
    addresses = _tables[table]
    for code in codes:
        if not addresses[code - FIRST_WIDE]:
            addresses[code - FIRST_WIDE] = kernel(WIDE[code - FIRST_WIDE], table).address


def kernel(wide: Wide, table: str) -> Any:
    """The compiled kernel of an operation, an object with an `address`."""
    name = f"{wide.name}_{table}"
    if wide.row is None:
        from . import kernels

        return getattr(kernels, name)
    return getattr(maps(), name)


@cache
def maps() -> ModuleType:
    """The generated elementwise kernels; refuses rules that differ from the table in memory."""
    from . import _maps

    if table_hash() != _maps.TABLE_HASH:
        raise TapeError("ndtape/_maps.py does not match ndtape/ops.py: run `make sweeps`")
    return _maps


@cache
def loop_address() -> int:
    """Of the compiled function that interprets the plans of loops."""
    from .kernels import loops

    return int(loops.run_loop.address)


@cache
def blas() -> np.ndarray:
    """Addresses of the BLAS functions that large contractions call."""
    from .kernels import blas_table

    return blas_table()


class Flip(Exception):
    """The forward sweep stopped: from here on, Python would record another program.

    Not an error: who replays goes on with the tape that took the other way (program.py).
    `index` is the guard.  A call whose shapes changed raises `ChangedShapeError` in its place.
    """

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class Workspace:
    """The numbers of one tape, for `lanes` evaluations side by side (1 or 16)."""

    __slots__ = ("owner", "owned", "lanes", "suffix", "frame", "frame_address", "chunk",
                 "constants", "arrays", "capacity", "values", "swept", "laid", "exact", "extra",
                 "wide", "leading", "lock", "busy", "runners", "loops", "words", "own_words",
                 "loaded", "unwanted",
                 "_hold", "_forward", "_replay", "_inputs", "_ready")  # fmt: skip

    def __init__(self, tape: Tape, lanes: int = 1, owned: bool = False) -> None:
        if lanes not in (1, LANES):
            raise ArgumentError(f"a workspace has 1 or {LANES} lanes, not {lanes}")
        # A tape that owns its workspace must not be kept alive by it: tapes die by their count.
        self.owner: Callable[[], Any] = weakref.ref(tape) if owned else lambda: tape
        self.owned = owned
        self.lanes = lanes
        self.suffix = "" if lanes == 1 else "_packs"
        frame = FRESH_FRAME.copy()
        self.frame = memoryview(frame)
        self.frame_address = address_of(frame)
        self.frame[COLUMNS["scratch"]] = self.frame_address + 8 * len(FRAME)
        self.chunk: Chunk | None = None  # whose addresses the frame holds
        self.constants: np.ndarray | None = None
        self.arrays: dict[str, np.ndarray] = {}
        self.capacity = 0
        self.values: Any = memoryview(b"")  # of v when there is one lane
        self.swept = 0  # instructions whose values are known
        self.laid = 0  # instructions whose result slot is written, some of them in the future
        self.exact = 0  # instructions that were recorded when the slots were written
        self.extra = 0  # slots minus instructions then
        self.wide = 0  # wide instructions then
        self.leading = (-1, -1)  # inputs at the front, once counted: instructions and slots
        self.words: np.ndarray | None = None
        self.own_words: np.ndarray | None = None  # in the place of the tape's, see `quiet`
        self.loaded: dict[str, int] = {}  # number of wide opcodes whose kernels are loaded
        self.unwanted: frozenset[int] = frozenset()  # inputs whose adjoints nobody reads
        self.lock = threading.RLock()  # long pieces release the GIL
        self.busy = 0  # sweeps under way
        self.runners: dict[Any, Any] = {}  # of the loops on the tape: their own numbers
        self.loops = np.zeros(0, np.uint64)  # length, and their blocks by the numbers of the calls
        self._hold: Any = None
        self._replay: Any = None
        self._inputs: np.ndarray | None = None  # the part of v that `set_inputs` writes
        self._ready = -1  # length of the tape that `gradient` is prepared for
        self._forward = 0

    def __repr__(self) -> str:
        lanes = "" if self.lanes == 1 else f", {self.lanes} lanes"
        return f"<Workspace of {self.owner()!r}: {self.swept} swept{lanes}>"

    @property
    def tape(self) -> Tape:
        return self.owner()  # type: ignore[no-any-return]

    # --- buffers -------------------------------------------------------------------------------

    def array(self, name: str) -> np.ndarray:
        """The buffer v, g, t, h (float64) or mark (bytes), made when first needed."""
        # Room to the end of the open chunk, not only for what is on it: fast paths do not look.
        tape = self.tape
        if self.capacity < max(tape.origin + tape.chunks[-1].size, 1):
            self._grow()
        if name not in self.arrays:
            self.room(name)
            self._install(name, self._new(name, self.capacity))
        return self.arrays[name]

    def room(self, *names: str) -> None:
        """Raise `TapeFullError` if buffers of these names do not fit into memory.

        Before the first of them is made: a sweep over values takes long where the next one fails.
        """
        tape = self.tape
        slots = tape.slots
        missing = [n for n in names if n not in self.arrays or self.capacity < slots]
        needed = slots * sum(1 if name == "mark" else 8 * self.lanes for name in missing)
        if needed >= memory.SMALL:
            lanes = f", {self.lanes} side by side" if self.lanes > 1 else ""
            whose = " and ".join(KINDS_OF_NUMBERS[name] for name in missing)
            what = f"the {whose} of a tape with {len(tape)} instructions and {slots} slots{lanes}"
            advice = SHORTER if self.lanes == 1 else f"{SHORTER}, or take rows without nt.vmap"
            memory.check(needed, f"{what} need", advice)

    def apart(self, name: str, slots: int, columns: dict[str, np.ndarray]) -> None:
        """Adjoints of packs in a layout of their own: `columns` as in APART, kept by the caller."""
        self._install(name, self._new(name, slots))
        for column, places in columns.items():
            self.frame[COLUMNS[APART[column]]] = address_of(places)

    def _new(self, name: str, capacity: int) -> np.ndarray:
        """Zeros for adjoints and marks; 64-byte aligned, as packs need."""
        dtype = np.dtype(np.uint8 if name == "mark" else np.float64)
        lanes = 1 if name == "mark" else self.lanes
        size = capacity * lanes * dtype.itemsize
        try:
            raw = np.zeros(size + ALIGNMENT, np.uint8)
        except MemoryError:
            raise TapeFullError(
                f"no memory for the numbers of a sweep over {len(self.tape)} instructions "
                f"({size / 1e6:.0f} MB more); sweep shorter pieces"
            ) from None
        start = -address_of(raw) % ALIGNMENT
        array = raw[start : start + size].view(dtype)
        return array if lanes == 1 else array.reshape(capacity, lanes)

    def _install(self, name: str, array: np.ndarray) -> None:
        if name in self.arrays:
            # In one call of C code: an exception from a signal comes before both or after both.
            pairs: Any = (
                (self.arrays, self.frame),
                (name, COLUMNS[name]),
                (array, address_of(array)),
            )
            deque(map(setitem, *pairs), maxlen=0)
        else:  # in this order: without an entry, the address is written again before it is used
            self.frame[COLUMNS[name]] = address_of(array)
            self.arrays[name] = array
        if name == "v":
            self._inputs = None
            if self.lanes == 1:
                self.values = memoryview(array)

    def _grow(self) -> None:
        """Room for every instruction of the open chunk, should they be scalars."""
        tape = self.tape
        free = tape.chunks[-1].size - tape.n
        more = self.capacity // 2 if self.capacity and tape.wide else 0
        capacity = max(tape.slots + free, more + self.capacity)
        self.room(*self.arrays)  # the new ones stand beside the old ones for a while
        grown = {name: self._new(name, capacity) for name in self.arrays}
        for name, new in grown.items():
            old = self.arrays[name]
            new[: len(old)] = old
            self._install(name, new)
        self.capacity = capacity

    # --- calling ---------------------------------------------------------------------------------

    def enter(self, chunk: Chunk) -> None:
        """Point the frame at a chunk, and at the constant pool where that has moved."""
        if chunk is not self.chunk:
            for name, start in chunk.addresses.items():
                self.frame[COLUMNS[name]] = start
            if self.lanes > 1:
                for name, like in zip(APART, ("out", "a", "b", "c"), strict=True):
                    self.frame[COLUMNS[APART[name]]] = chunk.addresses[like]
            self.chunk = chunk
        if self.constants is not self.tape.constants:
            self.constants = self.tape.constants
            self.frame[COLUMNS["k"]] = address_of(self.constants)
        if self.lanes > 1:
            return
        words = self.tape.words if self.own_words is None else self.own_words
        if self.words is not words:
            self.words = words
            self.frame[COLUMNS["m"]] = address_of(words)

    def sweep(self, name: str, lo: int, hi: int, backwards: bool = False) -> Iterator[int]:
        """Run a sweep over instructions lo..hi in pieces; yields where each piece ended."""
        where = address(name)
        self.prepare(name)
        size = self._first_size()
        self.busy += 1
        try:
            while lo < hi:
                chunk = self.tape.chunk_of(hi - 1 if backwards else lo)
                if backwards:
                    first, last = max(lo, chunk.base, hi - size), hi
                else:
                    first, last = lo, min(hi, chunk.base + chunk.size, lo + size)
                start = time.perf_counter()
                stopped = self._piece(name, where, chunk, first, last)
                if stopped >= 0:
                    if backwards:
                        first = stopped
                    else:
                        last = stopped + 1
                size = self._next_size(last - first, time.perf_counter() - start)
                lo, hi = (lo, first) if backwards else (last, hi)
                yield first if backwards else last
        finally:
            self.busy -= 1

    def whole(self, name: str, lo: int, hi: int, backwards: bool = False) -> None:
        """A sweep over all of lo..hi, in a single call where the tape is short."""
        tape = self.tape
        if len(tape.chunks) > 1 or tape.calls or tape.slots * self.lanes >= RELEASE:
            for _ in self.sweep(name, lo, hi, backwards):
                pass
            return
        self.prepare(name)
        self.enter(tape.chunks[0])
        status = entry("holding")(address(name), self.frame_address, lo, hi)
        if status:
            self.stopped(name, status - 1)

    def _piece(self, name: str, where: int, chunk: Chunk, first: int, last: int) -> int:
        """One call of a sweep; the instruction that Python executed in its place, or -1."""
        self.enter(chunk)
        # A wide instruction works on many numbers: with them, the releasing entry always.
        long = (last - first) * self.lanes >= RELEASE
        if self.tape.wide:
            long = (last - first) * (1 + self.tape.slots // len(self.tape)) >= RELEASE
        status = entry("releasing" if long else "holding")(where, self.frame_address, first, last)
        return self.stopped(name, status - 1) if status else -1

    def stopped(self, name: str, i: int) -> int:
        """A sweep ended at instruction i: execute a call, or say what is wrong."""
        status, tape = self.frame[COLUMNS["status"]], self.tape
        self.frame[COLUMNS["status"]] = 0
        if status == PAUSE:
            self._call(name, i)
            return i
        if status == FLIPPED:
            self.swept = i
            raise Flip(i)
        if status not in (BAD_INDEX, NO_LANES):
            raise BadTapeError(f"the {name} sweep met an unknown opcode at instruction {i}")
        where = tape.where(i)
        text = f"instruction {i}, {tape.instruction(i).text(tape.names)}" + (
            f" at {where}" if where else ""
        )
        if status == BAD_INDEX:
            raise ShapeError(f"an index lies outside its array in {text}")
        raise TapeError(f"lanes do not work with array operations: {text}")

    def _call(self, name: str, i: int) -> None:
        """Execute a `call` instruction in Python: its object reads and writes spans (calls.py)."""
        tape = self.tape
        chunk = tape.chunk_of(i)
        c = chunk.c[i - chunk.base]
        call = tape.calls[tape.kind_word(i)]
        out = tape.slot_of_index(i)
        size = int(tape.words[c + nest.SIZE])
        spans = spans_of(tape.instruction(i))
        try:
            call.sweep(self, SWEEP_KERNELS[name], slice(out, out + size), spans)
        except ChangedShapeError as change:
            self.swept = change.index = i
            raise
        if call.loop is not None:
            self.install_loop(tape.kind_word(i), self.runners[call].address)

    def prepare_loops(self, kind: str, limit: int | None = None) -> None:
        """Prepare the loops on the tape for a kind of sweep ahead of it; see `Runner.prepare`."""
        if all(call.loop is None for call in self.tape.calls):
            return
        for instruction in self.tape:
            if instruction.name == "call":
                number = self.tape.kind_word(instruction.position)
                call = self.tape.calls[number]
                if call.loop is not None:
                    runner = call.runner(self, spans_of(instruction))
                    runner.prepare(kind, limit)
                    self.install_loop(number, runner.address)

    def install_loop(self, number: int, block: int) -> None:
        """From now on, sweeps find the block of call `number` in the frame, and run it."""
        number += 1
        if number >= len(self.loops):
            loops = np.zeros(2 * number + 2, np.uint64)
            loops[: len(self.loops)] = self.loops
            loops[0] = len(loops)
            self.loops = loops
            self.frame[COLUMNS["loops"]] = address_of(loops)
        self.loops[number] = block

    def prepare(self, name: str) -> None:
        """Load the kernels of a sweep for the wide opcodes on the tape."""
        codes = self.tape.codes
        table = SWEEP_KERNELS.get(name)
        if codes and table and self.loaded.get(table) != len(codes):
            count = len(codes)
            load_kernels(table, list(codes))
            if not PRODUCTS.isdisjoint(codes):
                self.frame[COLUMNS["blas"]] = address_of(blas())
            self.loaded[table] = count

    def _first_size(self) -> int:
        """Instructions for the first piece: how long wide ones take is not known before."""
        tape = self.tape
        if not tape.wide:
            return FIRST_PIECE // self.lanes
        return max(1, min(FIRST_WIDE_PIECE, FIRST_PIECE * len(tape) // tape.slots))

    def _next_size(self, done: int, seconds: float) -> int:
        """Instructions for the next piece, from how long the last one took."""
        fitting = done * min(4.0, PIECE_SECONDS / max(seconds, 1e-9))
        if self.tape.wide:
            return max(1, min(LARGEST_WIDE_PIECE, int(fitting)))
        return max(FIRST_PIECE, min(LARGEST_PIECE, int(fitting * self.lanes))) // self.lanes

    # --- sweeps ----------------------------------------------------------------------------------

    def forward(self, lo: int | None = None, hi: int | None = None) -> None:
        """Values of lo..hi; by default of what was recorded since the last time."""
        tape = self.tape
        if self.owned and getattr(tape, "work", self) is not self:
            return  # another thread has joined or compacted the tape: all of this one is swept
        end = tape.base + tape.n if hi is None else hi
        start = self.swept if lo is None else lo
        self.busy += 1  # buffers move and slots are written: nothing for `catch_up` beside it
        try:
            self.array("v")
            self.lay_out()
            for done in self.sweep("forward" + self.suffix, start, end):
                self.swept = max(self.swept, done)
        finally:
            self.busy -= 1

    def lay_out(self) -> None:
        """Write the result slots of whole chunks: what is not recorded yet may become scalars.

        Where it became something wide, they are written again from there.
        """
        tape = self.tape
        # What other threads record meanwhile is for the next time: counted first, not last.
        wide = len(tape.wide)
        origin, base, n = tape.origin, tape.base, tape.n
        last = tape.chunks[-1]
        moved = origin - base != self.extra
        if moved or self.laid < last.base + last.size:
            start = self.exact if moved else self.laid
            for chunk in tape.chunks:
                end = chunk.base + chunk.size
                if end > start:
                    lo = max(start, chunk.base)
                    column = chunk.array("out", chunk.size)
                    column[lo - chunk.base :] = tape.result_slots(lo, end)
            self.laid = last.base + last.size
            self.extra = origin - base
        self.wide = wide
        self.exact = base + n

    def know(self, slot: int, values: np.ndarray) -> None:
        """Values of the last instruction, which its recorder has computed from the others."""
        with self.lock:
            i = self.tape.index_of_slot(slot)
            self.forward(hi=i)
            self.array("v")[slot : slot + len(values)] = values
            self.swept = max(self.swept, i + 1)

    def value(self, slot: int) -> float:
        """The value in a slot, after a forward sweep over what is new."""
        if slot >= self.swept:  # no slot has a smaller number than its instruction
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
            len(tape.wide) != self.wide  # first: after a call another thread may run
            or self._hold is None
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
            self.swept = self.stopped("forward", status - 1) + 1
            with self.lock:
                self.forward()
            return
        self.swept = n

    def reverse(self, seeds: dict[int, Any], lo: int = 0) -> np.ndarray:
        """Adjoints g along `seeds` (slot -> adjoint); returns the buffer, zero above the seeds."""
        self.room("v", "g")
        self.forward()
        if max(seeds) >= self.tape.slots:
            raise ArgumentError(f"slot {max(seeds)} is not on this tape of {self.tape.slots}")
        top = self.tape.above(seeds)
        g = self.array("g")
        g[: self.tape.slots] = 0.0
        for slot, seed in seeds.items():
            g[slot] = seed
        self.whole("reverse" + self.suffix, lo, top, backwards=True)
        return g

    def cotangent(self, slot: int, seed: np.ndarray) -> np.ndarray:
        """Adjoints g along the seeds of consecutive slots."""
        if len(seed) == 1 and seed[0] == 1.0:  # the usual case, in one call
            return self.gradient(slot)
        return self.reverse(dict(zip(range(slot, slot + len(seed)), seed.tolist(), strict=True)))

    def gradient(self, root: int) -> np.ndarray:
        """Adjoints g of one root, after a forward sweep over what is new.

        `reverse` with seed 1, in a single call where the tape is short: calls from Python would
        cost more than the sweeps.
        """
        tape = self.owner()
        n = tape.base + tape.n
        if n != self._ready or tape.constants is not self.constants:
            if len(tape.chunks) > 1 or tape.calls or tape.slots * self.lanes >= RELEASE:
                return self.reverse({root: 1.0})
            self._prepare(n)
        slots = tape.origin + tape.n
        if root >= slots:
            raise ArgumentError(f"slot {root} is not on this tape of {slots} slots")
        replay, forward, reverse = self._replay
        inputs = max(self.leading[0], 0)
        top = tape.above((root,)) - 1
        status = replay(
            forward, reverse, self.frame_address, self.swept, inputs, n, top, root, slots,
            self.lanes,
        )  # fmt: skip
        if status:
            self.stopped("replayed", status - 1)
        self.swept = n
        return self.arrays["g"]

    def unprepare(self) -> None:
        """The next `gradient` sets the frame up again."""
        self._ready = -1

    def _prepare(self, n: int) -> None:
        """Buffers, frame and addresses for `gradient` on a tape of n instructions in one chunk."""
        self.room("v", "g")
        self.array("v")
        self.array("g")
        self.lay_out()
        self.enter(self.tape.chunks[0])
        names = ("forward" + self.suffix, "reverse" + self.suffix)
        for name in names:
            self.prepare(name)
        self._replay = (entry("replay"), *map(address, names))
        self._ready = n

    def tangent(self, seeds: dict[int, Any]) -> np.ndarray:
        """Tangents t along `seeds` (input slot -> tangent); returns the buffer."""
        self.room("v", "t")
        self.forward()
        t = self.array("t")
        t[: self.tape.slots] = 0.0
        for slot, seed in seeds.items():
            t[slot] = seed
        self.whole("tangent" + self.suffix, 0, len(self.tape))
        return t

    def second(self, root: int, seeds: dict[int, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Gradient g of a root and its tangent h: the Hessian times seeds."""
        self.room("v", "t", "g", "h")
        self.tangent(seeds)
        g, h = self.array("g"), self.array("h")
        g[: self.tape.slots] = h[: self.tape.slots] = 0.0
        g[root] = 1.0
        name = "forward_over_reverse" + self.suffix
        self.whole(name, 0, self.tape.index_of_slot(root) + 1, backwards=True)
        return g, h

    def reach(self, roots: Sequence[int] | np.ndarray | slice) -> np.ndarray:
        """Sets bit 0 of `mark` for all slots that `roots` depend on, clears it elsewhere.

        Bit 1, spent, stops the walk: behind a spent slot nothing is marked.
        """
        tape = self.owner()
        self.lay_out()
        mark: np.ndarray = self.array("mark")[: max(tape.slots, 1)]
        mark &= SPENT
        mark[roots] |= REACHED
        places = range(roots.start, roots.stop) if isinstance(roots, slice) else roots
        top = tape.above(places) if len(places) else 0
        if len(tape.chunks) == 1 and len(mark) < RELEASE:  # the usual case, in one call
            self.enter(tape.chunks[0])
            entry("holding")(address("reach"), self.frame_address, 0, top)
            return mark
        for _ in self.sweep("reach", 0, top, backwards=True):
            pass
        return mark

    def set_inputs(self, values: np.ndarray) -> None:
        """New values for the leading inputs of a sealed tape: shape (inputs,) or (inputs, 16)."""
        if self.leading[0] < 0:
            self.leading = leading_inputs(self.tape)
        if self._inputs is None:
            self._inputs = self.array("v")[: self.leading[1]]
        if getattr(values, "shape", None) != self._inputs.shape:
            values = np.asarray(values, dtype=np.float64)
            if values.shape != self._inputs.shape:
                raise ArgumentError(
                    f"this tape takes values of shape {self._inputs.shape}, got {values.shape}"
                )
        self._inputs[:] = values
        self.swept = self.leading[0]

    def allocated(self) -> int:
        """Bytes held by the buffers."""
        return sum(array.nbytes for array in self.arrays.values())


def spans_of(instruction: Instruction) -> list[slice]:
    """Where the operands of a call lie."""
    return [slice(w.start, w.start + w.extents[0]) for w in instruction.operands]


def leading_inputs(tape: Tape) -> tuple[int, int]:
    """How many inputs stand at the front, where `passes.seal` puts them all, and their slots."""
    if isinstance(tape, OptimisedTape):  # where folded constants are inputs, too, behind those
        count = tape.code.inputs
        return count, tape.code.first_slots
    ops = tape.columns()["op"]
    other = np.flatnonzero((ops != INPUT_CODE) & (ops != WIDE_CODES["wide_input"]))
    count = int(other[0]) if len(other) else len(ops)
    if not count:
        return 0, 0
    first, size = tape.span_of(tape.slot_of_index(count - 1))
    return count, first + size
