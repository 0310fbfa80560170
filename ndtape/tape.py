"""The Wengert tape: instructions in named columns, and nothing that computes.

Memory is a list of chunks that grow fourfold up to a million instructions, so that growing never
copies.  A chunk is one NumPy buffer; Python recorders write it through memoryviews, whose
IndexError is the test for a full chunk, and compiled code through addresses.  Columns that an
opcode does not use hold rubbish; `columns()` is the clean copy that users, tests and files see.

A scalar instruction writes one slot, a wide one (see nest.py) a span of slots; slots are numbered
in the order of instructions.  A tape prints as a program, compares by content, and slices by
instruction range.
"""

from __future__ import annotations

import ctypes
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import memory, nest
from .errors import ArgumentError, TapeFullError
from .named import counted
from .nest import Walk
from .ops import FIRST_WIDE, INPUT_CODE, OPCODES, WIDE, WIDE_CODES, Opcode, Wide

if TYPE_CHECKING:
    from .explain import Walkthrough
    from .pictures.drawing import Drawing
    from .profile import Profile

FIRST_CHUNK = 256
LARGEST_CHUNK = 1 << 20
MAX_SLOTS = (1 << 32) - 2  # all ones means "nowhere" in the sweeps
MAX_CONSTANTS = 1 << 32
BYTES_PER_INSTRUCTION = 18
EMPTY: memoryview = memoryview(b"")

SYMBOLS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**", "mod": "%",
           "floor_divide": "//", "less": "<", "less_equal": "<=", "greater": ">",
           "greater_equal": ">=", "equal": "==", "not_equal": "!=", "logical_and": "&",
           "logical_or": "|"}  # fmt: skip

# Operand columns of each opcode, as masks over (a, b, c): slots and constants.
# Wide instructions are in neither: the words of their descriptors say what an operand is.
SLOT_MASK = np.zeros((FIRST_WIDE + len(WIDE), 3), bool)
CONSTANT_MASK = np.zeros_like(SLOT_MASK)
SLOT_MASK[: len(OPCODES)] = [[f == "v" for f in o.form.ljust(3)] for o in OPCODES]
CONSTANT_MASK[: len(OPCODES)] = [[f == "k" for f in o.form.ljust(3)] for o in OPCODES]
USED_MASK = SLOT_MASK | CONSTANT_MASK
USED_MASK[FIRST_WIDE:] = [
    ("x" in w.operands or w.name == "wide_input", "y" in w.operands, True) for w in WIDE
]


class Chunk:
    """Memory for `size` instructions, of which the first has the index `base`."""

    __slots__ = ("base", "size", "memory", "a", "b", "c", "out", "op", "addresses")

    def __init__(self, base: int, size: int) -> None:
        self.base = base
        self.size = size
        self.memory = _allocate(size * BYTES_PER_INSTRUCTION, base)
        view = memoryview(self.memory)
        self.a = view[: 4 * size].cast("I")
        self.b = view[4 * size : 8 * size].cast("I")
        self.c = view[8 * size : 12 * size].cast("I")
        self.out = view[12 * size : 16 * size].cast("I")
        self.op = view[16 * size :].cast("H")
        start = address_of(self.memory)
        # Biased, so that sweeps index every column by the instruction's global index.
        first = {"a": 0, "b": 4 * size, "c": 8 * size, "out": 12 * size, "op": 16 * size}
        self.addresses = {
            name: (start + offset - base * (2 if name == "op" else 4)) % (1 << 64)
            for name, offset in first.items()
        }

    def array(self, name: str, count: int) -> np.ndarray:
        """The first `count` entries of a column, writable: for the package only."""
        return np.frombuffer(getattr(self, name), np.uint16 if name == "op" else np.uint32, count)


def _allocate(size: int, count: int) -> np.ndarray:
    try:
        return np.empty(size, np.uint8)
    except MemoryError:
        raise TapeFullError(
            f"no memory for more instructions: the tape has {count} of them and asked for "
            f"{size / 1e6:.0f} MB; sweep shorter pieces, or detach values that need no gradient"
        ) from None


def address_of(array: np.ndarray) -> int:
    # A sixth of the time of array.ctypes.data, and a new tape needs several.
    return ctypes.addressof(ctypes.c_char.from_buffer(array))


class Instruction(NamedTuple):
    """One instruction as users see it.

    The operands of a scalar instruction are slot numbers or constants (float), those of a wide one
    are `nest.Walk`s over spans of slots or of the constant pool.
    """

    position: int
    opcode: Opcode | Wide
    out: int
    operands: tuple[Any, ...]
    size: int = 1

    @property
    def name(self) -> str:
        return self.opcode.name if isinstance(self.opcode, Wide) else self.opcode.row.name

    @property
    def wide(self) -> bool:
        return isinstance(self.opcode, Wide)

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots that the instruction reads; of a wide one each once, in order."""
        if isinstance(self.opcode, Wide):
            read = [walk.places() for walk in self.operands if not walk.constant]
            return tuple(np.unique(np.concatenate(read)).tolist()) if read else ()
        pairs = zip(self.operands, self.opcode.form, strict=True)
        return tuple(int(x) for x, form in pairs if form == "v")

    def text(self, names: dict[int, str] | None = None) -> str:
        """The instruction as a line of a program, ``r4 = sin(r3)``; spans are ``r4:8``."""
        known = names or {}
        parts = [self._operand(j, known) for j in range(len(self.operands))]
        symbol = SYMBOLS.get(self.name)
        if symbol and len(parts) == 2:
            right = f"{parts[0]} {symbol} {parts[1]}"
        else:
            right = f"{self.name}({', '.join(parts)})"
        end = f":{self.out + self.size}" if self.size > 1 else ""
        return f"{known.get(self.out, f'r{self.out}{end}')} = {right}"

    def _operand(self, j: int, known: dict[int, str]) -> str:
        x = self.operands[j]
        if isinstance(x, Walk):
            return x.text(known)
        if isinstance(self.opcode, Opcode) and self.opcode.form[j] == "v":
            return known.get(int(x), f"r{x}")
        return repr(x).removesuffix(".0")


class Stats(NamedTuple):
    """Figures of a tape; `bytes` counts allocated memory, `walked` the last reverse sweep.

    A sweep needs `values` bytes for its values and as many for adjoints, tangents and tangents of
    adjoints; `gradient` is all that a gradient needs, with the instructions and constants.
    """

    instructions: int
    inputs: int
    slots: int
    constants: int
    bytes: int
    bytes_per_instruction: float
    values: int
    gradient: int
    walked: int
    histogram: dict[str, int]

    def __str__(self) -> str:
        top = ", ".join(f"{name} {count}" for name, count in list(self.histogram.items())[:8])
        return (
            f"{self.instructions} instructions ({self.inputs} inputs), {self.slots} slots, "
            f"{self.constants} constants, {self.bytes} bytes "
            f"({self.bytes_per_instruction:.1f} an instruction), a gradient needs "
            f"{memory.text(self.gradient)}; {top}"
        )


class Tape:
    """Columns of instructions and a constant pool.

    >>> import ndtape as nt
    >>> x = nt.var(5.0, name="x")
    >>> with nt.Tape() as tape:
    ...     y = nt.sin(x * x)
    >>> print(tape)
       0  x = input(5)
       1  r1 = x * x
       2  r2 = sin(r1)
    """

    __slots__ = (
        "chunks", "op", "a", "b", "c", "base", "n",  # the open chunk; n counts inside it
        "origin",  # slot of the open chunk's first instruction: results go to n + origin
        "constants", "k", "kn",  # constant pool: array, memoryview, entries in use
        "words", "mn", "interned",  # integer pool: array, entries in use, descriptor -> place
        "wide", "codes", "calls",  # wide instructions: (index, slot, size); their codes; functions
        "names", "lines", "walk", "__weakref__",
    )  # fmt: skip

    def __init__(self, size: int = FIRST_CHUNK) -> None:
        self.chunks = [Chunk(0, size)]
        self.base = self.n = self.origin = self.kn = self.mn = 0
        self.walk: tuple[np.ndarray | None, int] = (None, 0)  # marks of the last reverse, inputs
        self.constants = np.empty(16)
        self.words = np.zeros(256, np.int64)
        self.interned: dict[tuple[int, ...], int] = {}
        self.wide: list[list[int]] = []
        self.codes: set[int] = set()
        self.calls: list[Any] = []
        self.k: Any = memoryview(self.constants)
        self.names: dict[int, str] = {}
        self.lines: list[tuple[Any, int] | None] | None = None  # by instruction, for all chunks
        self.arm()

    # --- growth --------------------------------------------------------------------------------

    def arm(self) -> None:
        """Let recorders write into the open chunk."""
        chunk = self.chunks[-1]
        self.op, self.a, self.b, self.c = chunk.op, chunk.a, chunk.b, chunk.c
        self.k = memoryview(self.constants)

    def disarm(self) -> None:
        """Make every write raise IndexError, which sends recorders through the slow path."""
        self.op = self.a = self.b = self.c = self.k = EMPTY

    def open_chunk(self) -> None:
        """Add a chunk after a full one."""
        last = self.chunks[-1]
        base, size = last.base + last.size, min(4 * last.size, LARGEST_CHUNK)
        self.check_room(size)
        self.chunks.append(Chunk(base, size))
        if self.lines is not None:
            self.lines += [None] * size
        self.origin += self.n
        self.base, self.n = base, 0

    def check_room(self, size: int) -> None:
        """Raise `TapeFullError` if `size` further slots would not have numbers."""
        if self.slots + size > MAX_SLOTS:
            raise TapeFullError(
                f"a tape holds at most {MAX_SLOTS} slots, this one has {self.slots} and needs "
                f"{size} more; sweep shorter pieces"
            )

    def constant(self, value: float) -> int:
        """The index of a new entry of the constant pool."""
        room = len(self.constants)
        while (index := self.kn) >= room:
            self._grow_pool()
            room = len(self.constants)
        # From the test on nothing is called: other threads add theirs, too.
        self.constants[index] = value
        self.kn = index + 1
        return index

    def _grow_pool(self, needed: int = 0) -> None:
        armed, self.k = bool(self.op), EMPTY  # what another thread adds must not be lost
        try:
            grown = np.empty(max(2 * len(self.constants), needed))
        except MemoryError:
            raise TapeFullError(
                f"no memory for more constants: the tape has {self.kn} of them, and "
                f"{Tape.__len__(self)} instructions; sweep shorter pieces"
            ) from None
        grown[: self.kn] = self.constants[: self.kn]
        self.constants = grown
        if armed:
            self.k = memoryview(grown)

    def add_words(self, words: np.ndarray) -> int:
        """The place of further words in the integer pool."""
        place = self.mn
        end = place + len(words)
        if end > len(self.words):
            grown = np.zeros(2 * end, np.int64)
            grown[:place] = self.words[:place]
            self.words = grown
        self.words[place:end] = words
        self.mn = end
        return place

    def descriptor(self, words: tuple[int, ...], share: bool = True) -> int:
        """The place of a wide instruction's words in the integer pool; equal ones are shared."""
        place = self.interned.get(words) if share else None
        if place is None:
            place = self.add_words(np.asarray(words, np.int64))
            if share:
                self.interned[words] = place
        return place

    # --- reading -------------------------------------------------------------------------------

    def whole(self) -> Tape:
        """The tape that holds the instructions now: another one once two have been joined."""
        return self

    def __len__(self) -> int:
        return self.base + self.n

    @property
    def slots(self) -> int:
        """Number of slots that results use: one for a scalar instruction, else its size."""
        return self.origin + self.n

    def slot_of_index(self, i: int) -> int:
        """The first result slot of instruction i."""
        j = bisect_left(self.wide, [i]) - 1
        if j < 0:
            return i
        index, slot, size = self.wide[j]
        return slot + size + i - index - 1

    def index_of_slot(self, slot: int) -> int:
        """The instruction that writes a slot."""
        j = bisect_right(self.wide, slot, key=lambda entry: entry[1]) - 1
        if j < 0:
            return slot
        index, first, size = self.wide[j]
        return index if slot < first + size else index + 1 + slot - first - size

    def above(self, slots: Iterable[int]) -> int:
        """How many instructions a sweep backwards from these slots begins behind."""
        return self.index_of_slot(slots[-1] if isinstance(slots, range) else max(slots)) + 1

    def span_of(self, slot: int) -> tuple[int, int]:
        """First slot and size of the result that a slot is part of."""
        j = bisect_right(self.wide, slot, key=lambda entry: entry[1]) - 1
        if j >= 0:
            _, first, size = self.wide[j]
            if slot < first + size:
                return first, size
        return slot, 1

    def result_slots(self, lo: int, hi: int) -> np.ndarray:
        """First result slots of instructions lo..hi, which may lie in the future: scalars then."""
        out = np.arange(lo, hi, dtype=np.int64)
        out += self.slot_of_index(lo) - lo
        j = bisect_left(self.wide, [lo])
        if j < len(self.wide):
            entries = np.array(self.wide[j:], np.int64)
            entries = entries[entries[:, 0] < hi - 1]
            more = np.zeros(hi - lo, np.int64)
            more[entries[:, 0] + 1 - lo] = entries[:, 2] - 1
            out += np.cumsum(more)
        return out

    def columns(self) -> dict[str, np.ndarray]:
        """Read-only copies of op, out, a, b, c (unused operands are 0) and the pools k and m."""
        n = len(self)
        counts = [(chunk, min(chunk.size, n - chunk.base)) for chunk in self.chunks]
        result = {
            name: np.concatenate([chunk.array(name, count) for chunk, count in counts])
            for name in ("op", "a", "b", "c")
        }
        result["out"] = self.result_slots(0, n).astype(np.uint32)
        used = USED_MASK[np.minimum(result["op"], len(USED_MASK) - 1)]
        for j, name in enumerate("abc"):
            result[name] *= used[:, j]
        result["k"] = self.constants[: self.kn].copy()
        result["m"] = self.words[: self.mn].copy()
        for array in result.values():
            array.flags.writeable = False
        return result

    def __iter__(self) -> Iterator[Instruction]:
        return self.instructions(0, len(self))

    def instructions(self, lo: int, hi: int) -> Iterator[Instruction]:
        """Instructions lo..hi, read where they lie."""
        for i in range(lo, hi):
            yield self.instruction(i)

    def chunk_of(self, i: int) -> Chunk:
        """The chunk that instruction i lies in."""
        return next(chunk for chunk in reversed(self.chunks) if chunk.base <= i)

    def kind_word(self, i: int) -> int:
        """The word of wide instruction i that its kind gives a meaning: of a call, its number."""
        chunk = self.chunk_of(i)
        return int(self.words[chunk.c[i - chunk.base] + nest.KIND_WORD])

    def instruction(self, i: int) -> Instruction:
        chunk = self.chunk_of(i)
        j = i - chunk.base
        code, stored = chunk.op[j], (chunk.a[j], chunk.b[j], chunk.c[j])
        out = self.slot_of_index(i)
        if code >= FIRST_WIDE:
            wide = WIDE[code - FIRST_WIDE]
            size = int(self.words[stored[2] + nest.SIZE])
            return Instruction(i, wide, out, nest.walks(wide.name, self.words, *stored), size)
        opcode = OPCODES[code]
        operands = tuple(
            x if form == "v" else float(self.constants[x])
            for x, form in zip(stored, opcode.form, strict=False)
        )
        return Instruction(i, opcode, out, operands)

    def __getitem__(self, key: slice) -> Tape:
        """The instructions of a range as a tape of their own.

        Operands from before the range become inputs that hold nan until given a value.
        """
        if not isinstance(key, slice) or key.step not in (None, 1):
            raise ArgumentError("slice a tape as tape[start:stop], without a step")
        lo, hi, _ = key.indices(len(self))
        part = Tape()
        part.calls = self.calls
        if self.lines is not None:
            part.keep_lines([])
        new_slot = np.full(self.slots, -1, np.int64)
        first = self.slot_of_index(lo) if lo < len(self) else self.slots
        read = {s for ins in self.instructions(lo, hi) for s in ins.slots if s < first}
        for slot, size in sorted({self.span_of(s) for s in read}):
            new_slot[slot : slot + size] = part.append_input(np.full(size, math.nan)) + np.arange(
                size
            )
            part._copy_name(self, slot, int(new_slot[slot]))
        for i in range(lo, hi):
            part.append_moved(self, i, new_slot)
        return part

    def append_input(self, values: np.ndarray) -> int:
        """An input of one slot or of a span, which holds `values`; returns its first slot."""
        start = self.extend_pool(values)
        if len(values) == 1:
            return self.append(INPUT_CODE, start)
        return self.append_wide(WIDE_CODES["wide_input"], start, 0, nest.descriptor(
            len(values), (), nest.X_CONSTANT))  # fmt: skip

    def append_moved(self, other: Tape, i: int, new_slot: np.ndarray) -> None:
        """Copy instruction i of another tape; `new_slot` gives the new number of each slot there,
        and learns those of the result."""
        chunk = other.chunk_of(i)
        j = i - chunk.base
        code, columns = chunk.op[j], (chunk.a[j], chunk.b[j], chunk.c[j])
        out = other.slot_of_index(i)

        def copied(first: int, count: int) -> int:
            return self.extend_pool(other.constants[first : first + count])

        if code >= FIRST_WIDE:
            kind = WIDE[code - FIRST_WIDE].name
            a, b, words = nest.moved(kind, other.words, columns, new_slot.__getitem__, copied)
            here = self.append_wide(code, a, b, words, share=kind not in ("collect", "call"))
        else:
            here = self.append(code, *[
                int(new_slot[x]) if form == "v" else copied(x, 1)
                for x, form in zip(columns, OPCODES[code].form, strict=False)
            ])  # fmt: skip
        size = self.span_of(here)[1]
        new_slot[out : out + size] = here + np.arange(size)
        self._copy_name(other, out, here)
        if self.lines is not None and other.lines is not None:
            self.lines[self.base + self.n - 1] = other.lines[i]

    def _copy_name(self, other: Tape, slot: int, here: int) -> None:
        if slot in other.names:
            self.names[here] = other.names[slot]

    def append(self, code: int, a: int = 0, b: int = 0, c: int = 0) -> int:
        """Add one instruction and return its result slot: the one way in besides the recorders."""
        if self.n == self.chunks[-1].size:
            self.open_chunk()
        # Nothing is called and no container made until n is written: see record/fast.py.
        chunk, n = self.chunks[-1], self.n
        chunk.op[n] = code
        chunk.a[n] = a
        chunk.b[n] = b
        chunk.c[n] = c
        self.n = n + 1
        return self.origin + n

    def append_wide(
        self, code: int, a: int, b: int, words: tuple[int, ...], share: bool = True
    ) -> int:
        """Add a wide instruction with the descriptor `words`; returns its first result slot."""
        size = int(words[nest.SIZE])  # of an array of words it would be NumPy's
        self.check_room(size)
        c = self.descriptor(words, share)
        self.codes.add(code)
        entry = [0, 0, size]
        entries = (entry,)
        if self.n == self.chunks[-1].size:
            self.open_chunk()
        # From here on nothing is called, and no container made: see record/fast.py.
        chunk, n = self.chunks[-1], self.n
        slot = n + self.origin
        chunk.op[n] = code
        chunk.a[n] = a
        chunk.b[n] = b
        chunk.c[n] = c
        entry[0] = self.base + n
        entry[1] = slot
        self.wide += entries
        self.n = n + 1
        self.origin += size - 1
        return slot

    def extend(self, columns: dict[str, np.ndarray]) -> None:
        """Add many instructions; slots, constants and words already count from this tape's
        beginning.  The pools are for `extend_pools`, which comes first."""
        done, total = 0, len(columns["op"])
        while done < total:
            if self.n == self.chunks[-1].size:
                self.open_chunk()
            chunk = self.chunks[-1]
            count = min(total - done, chunk.size - self.n)
            for name in ("op", "a", "b", "c"):
                part = columns[name][done : done + count]
                chunk.array(name, chunk.size)[self.n : self.n + count] = part
            self._enter_wide(columns, done, count)
            self.n += count
            done += count

    def _enter_wide(self, columns: dict[str, np.ndarray], done: int, count: int) -> None:
        """Sizes of the wide instructions among those that are being added."""
        ops = columns["op"][done : done + count]
        for j in np.flatnonzero(ops >= FIRST_WIDE).tolist():
            size = int(self.words[int(columns["c"][done + j]) + nest.SIZE])
            self.check_room(size)
            self.wide.append([self.base + self.n + j, self.origin + self.n + j, size])
            self.origin += size - 1
            self.codes.add(int(ops[j]))
            if ops[j] == WIDE_CODES["affine"]:  # which calls kernels of others
                self.codes |= nest.parts(self.words, int(columns["c"][done + j]))

    def keep_lines(self, lines: list[tuple[Any, int] | None]) -> None:
        """Take over the source lines of instructions that were added by `extend`."""
        room = self.chunks[-1].base + self.chunks[-1].size
        self.lines = [*lines, *[None] * (room - len(lines))]

    def extend_pool(self, values: np.ndarray) -> int:
        """Add many constants; returns the index of the first."""
        count, room = len(values), len(self.constants)
        # Nothing is called between the test and the taking: fast paths of other threads take, too.
        while (start := self.kn) + count > room:
            self._grow_pool(start + count + 1)
            room = len(self.constants)
        self.kn = start + count
        self.constants[start : start + count] = values
        return start

    def extend_pools(self, columns: dict[str, np.ndarray]) -> None:
        """Add the constants and the words of columns whose instructions come next."""
        self.extend_pool(columns["k"])
        words = columns.get("m", ())
        if len(words):
            self.words = np.concatenate([self.words[: self.mn], words])
            self.mn = len(self.words)

    def __eq__(self, other: object) -> bool:
        """Same instructions on the same slots with the same constants (nan equals nan)."""
        if not isinstance(other, Tape):
            return NotImplemented
        self, other = self.whole(), other.whole()
        return len(self) == len(other) and self.same(other, 0, len(self))

    def same(self, other: Tape, lo: int, hi: int) -> bool:
        """Whether instructions lo..hi are the same on two tapes, wherever their pools keep what
        they need."""
        mine, theirs = self.columns(), other.columns()
        part = slice(lo, hi)
        codes = mine["op"][part]
        if not all(np.array_equal(mine[name][part], theirs[name][part]) for name in ("op", "out")):
            return False
        for j, name in enumerate("abc"):
            slots, constants = SLOT_MASK[codes, j], CONSTANT_MASK[codes, j]
            one, two = mine[name][part], theirs[name][part]
            if not np.array_equal(one[slots], two[slots]):
                return False
            a, b = mine["k"][one[constants]], theirs["k"][two[constants]]
            if not np.array_equal(a, b, equal_nan=True):
                return False
        wide = lo + np.flatnonzero(codes >= FIRST_WIDE)
        return all(self._same_wide(other, index) for index in wide.tolist())

    def _same_wide(self, other: Tape, i: int) -> bool:
        """Whether instruction i, a wide one, is the same on both tapes."""
        one, two = self.instruction(i), other.instruction(i)
        if one.name != two.name or (one.out, one.size) != (two.out, two.size):
            return False
        (function, loops), (its_function, its_loops) = self._walked(i), other._walked(i)
        if one.name == "call":
            function, its_function = self.calls[function], other.calls[its_function]
            if function.loop is not None:  # its branches decide what it captures
                return bool(function == its_function)
        if function != its_function or not np.array_equal(loops, its_loops):
            return False
        if len(one.operands) != len(two.operands):
            return False
        pairs = zip(one.operands, two.operands, strict=True)
        return all(self._seen(x) == other._seen(y) for x, y in pairs)

    def _walked(self, i: int) -> tuple[int, np.ndarray]:
        """The word KIND_WORD and the loops of instruction i, a wide one."""
        chunk = self.chunk_of(i)
        c = chunk.c[i - chunk.base]
        first = c + nest.BODY
        loops = self.words[first : first + nest.LOOP * int(self.words[c + nest.LOOPS])]
        return int(self.words[c + nest.KIND_WORD]), loops

    def _seen(self, x: Walk) -> tuple[Any, ...]:
        """What an operand reads, slots by number and constants by value (nan equals nan)."""
        if x.entries is None and not x.constant:
            return x.start, x.extents, x.strides
        entries = -1 - x.places() if x.entries is None else x.entries
        constant = entries < 0
        values = self.constants[-1 - entries[constant]]
        known = np.where(np.isnan(values), np.nan, values + 0.0)  # one bit pattern for a value
        return x.kinds or x.extents, np.maximum(entries, -1).tobytes(), known.tobytes()

    __hash__ = None  # type: ignore[assignment]  # content may still grow

    # --- printing and figures --------------------------------------------------------------------

    def __str__(self) -> str:
        return self.program()

    def __repr__(self) -> str:
        return f"<Tape of {counted(len(self), 'instruction')}>"

    def program(self, notes: dict[int, str] | None = None, limit: int = 200) -> str:
        """The listing, with `notes` behind the instructions; the middle of a long tape is cut."""
        n = len(self)
        shown = list(range(n)) if n <= limit else [*range(limit // 2), *range(n - limit // 2, n)]
        digits = max(4, len(str(n)))
        lines: list[str] = []
        for i in shown:
            if i and i - 1 not in (shown[0], *shown[:i]) and lines[-1] != "...":
                lines.append("...")
            text = f"{i:>{digits}}  {self.instruction(i).text(self.names)}"
            note = (notes or {}).get(i, "")
            where = self.where(i)
            if note:
                text = f"{text:<36}{note}"
            lines.append(f"{text:<36}  # {where}" if where else text.rstrip())
        return "\n".join(lines)

    def diff(self, other: Tape) -> Any:
        """What differs on another tape, most of all on what `nt.optimize` makes of this one.

        The result prints as a listing with "-" before instructions that are gone and "+" before
        new ones, all with the slots of this tape; it is true where anything differs.

        >>> import ndtape as nt
        >>> x = nt.var(2.0, name="x")
        >>> with nt.Tape() as tape:
        ...     y = nt.sin(x * 1.0)
        >>> tape.diff(tape)
        3 -> 3 instructions (3 the same, 0 gone, 0 new), 3 -> 3 slots
        ...
        >>> bool(tape.diff(nt.optimize(tape)))
        True
        """
        from .passes.difference import Difference

        return Difference(self.whole(), other.whole())

    def draw(
        self,
        y: Any = None,
        *,
        sweep: str = "reverse",
        operations: str = "nodes",
        names: Mapping[str, Any] | None = None,
        wrt: Any = None,
        seed: Any = None,
        digits: int = 4,
        direction: str = "down",
        blank: bool = False,
        limit: int = 60,
        engine: str | None = None,
    ) -> Drawing:
        """The picture of the graph, of all that `y` depends on, or of everything.

        The result prints as SVG and shows itself in notebooks; `picture.save(path)` writes a file,
        `picture.frames` are the steps of the walk.  Every node shows its value, and its adjoint
        where `y`, or the only result, is a number; constants have none.

        - `sweep`: "reverse", arrows turned round, with the local derivatives and what each path of
          a fork contributes; or "forward", with the values on the arrows.
        - `operations`: in the "nodes", or on the "edges" between variables.
        - `names`: of values, for instance ``locals()``.
        - `wrt`: a value or a list of inputs whose derivatives are wanted; the other inputs are
          drawn as parameters.
        - `seed`: the adjoint of a `y` that is an array.
        - `digits` of numbers; `direction`, "down" or "right"; `blank`: a quiz, with room for what
          is to be computed.
        - `limit`: more operations are folded, by source line where lines were recorded
          (``nt.Tape(lines=True)``), else by what repeats.
        - `engine`: "graphviz" or "grandalf", which find the places; None takes the first of them
          that is installed.

        Raises `ArgumentError` for what is none of these, a value of another tape and an optimised
        tape, and ImportError where no engine is installed.

        >>> import ndtape as nt
        >>> a, b = nt.var(3.0, name="a"), nt.var(2.0, name="b")
        >>> with nt.Tape() as tape:
        ...     e = (a + b) * (b + 1)
        >>> picture = tape.draw(e, names={"e": e})
        >>> "de/db = 3 + 5 = 8" in str(picture)
        True
        """
        from .pictures.tapes import draw_tape

        return draw_tape(self, y, sweep=sweep, operations=operations, names=names, wrt=wrt,
                         seed=seed, digits=digits, direction=direction, blank=blank, limit=limit,
                         engine=engine)  # fmt: skip

    def explain(
        self,
        y: Any = None,
        *,
        seed: Any = None,
        names: Any = None,
        wrt: Any = None,
        steps: int = 50,
        digits: int = 6,
    ) -> Walkthrough:
        """How the derivatives of `y`, or of the only result, come about, as a lecture writes it.

        The result prints as text; `.markdown()` and `.latex()` are the same with formulas, and
        notebooks show those.  Symbols come first and numbers second; where several paths meet,
        each is shown, and then the total.  Arrays are shown with the shapes of their Jacobians.

        `names` gives names to values, ``locals()`` for instance; others are called by letters, or
        on long tapes v and the number of their instruction.  `wrt`, a value or a list of them, are
        the inputs whose derivatives are wanted.  An array `y` needs a `seed` of its shape.  `steps`
        limits the operations that are shown, `digits` the digits of numbers.

        Raises `ArgumentError` for a `y` of another tape or without a seed, and for a tape after
        the passes.

        >>> import ndtape as nt
        >>> a, b = nt.var(3.0, name="a"), nt.var(2.0, name="b")
        >>> with nt.Tape() as tape:
        ...     e = (a + b) * (b + 1)
        >>> print(tape.explain(e))
        The program
             a = 3                                                         input
             b = 2                                                         input
             c = a + b = 3 + 2 = 5
             d = b + 1 = 2 + 1 = 3
             e = c·d = 5·3 = 15
        <BLANKLINE>
        The walk back from e
             de/de = 1
          1. through e = c·d
             de/dc = d = 3
             de/dd = c = 5
          2. through d = b + 1; de/dd = 5 is already computed
             de/db = de/dd · dd/db = 5 · 1 = 5                             path 2 of 2
          3. through c = a + b; de/dc = 3 is already computed
             de/da = de/dc · dc/da = 3 · 1 = 3
             de/db = de/dc · dc/db = 3 · 1 = 3                             path 1 of 2
             de/db = de/dc · dc/db + de/dd · dd/db = 3 + 5 = 8             total
        <BLANKLINE>
        The result
             de/da = 3
             de/db = 8
        """
        from .explain import explain

        return explain(self, y, seed=seed, names=names, wrt=wrt, steps=steps, digits=digits)

    def save(self, path: Any, /, **results: Any) -> None:
        """Write the tape to a file, which `nt.load` reads; `results` are values that get names.

        `path` is a file's name or a binary file.  The file is an .npz: instructions, constants,
        names, source lines and what loops and calls need, and no code.  Raises `TapeFileError` for
        what another process could not know: primitives without a name, Python's own functions.

        >>> import io, ndtape as nt
        >>> x, file = nt.var(2.0, name="x"), io.BytesIO()
        >>> with nt.Tape() as tape:
        ...     y = nt.exp(x)
        >>> tape.save(file, y=y)
        >>> nt.load(file) == tape
        True
        """
        from . import files

        files.save(self, path, **results)

    def __reduce__(self) -> Any:
        """Copies and pickles are made by way of a file."""
        from . import files

        return files.loads, (files.saved_bytes(self),)

    def profile(self, y: Any = None) -> Profile:
        """Where the time of a gradient of `y`, or of the last result, and its memory go.

        The result prints as two tables, by operation and by source line (record them by
        ``nt.Tape(lines=True)``), forward and reverse apart; `rows`, `by_operation()` and
        `by_line()` are the same as data, and `plot()` draws lines and their operations as bars.
        How the time of an instruction is found is in docs/profiles.md: sweeps are timed whole, in
        stretches, and instruction by instruction, in about half a second.

        Raises `ArgumentError` for a value of another tape.

        >>> import ndtape as nt
        >>> x = nt.var(2.0)
        >>> with nt.Tape(lines=True) as tape:
        ...     y = nt.sin(x) * x
        >>> profile = tape.profile(y)
        >>> sorted(row.op for row in profile.rows if row.count), profile.seconds > 0
        (['input', 'multiply', 'sin'], True)
        >>> profile.bytes == tape.stats().gradient
        True
        """
        from .profile import profile_tape

        return profile_tape(self, y)

    def where(self, i: int) -> str:
        """``file:line`` of the user's code that recorded instruction i, "" where not known."""
        lines = self.whole().lines
        line = lines[i] if lines is not None else None
        if line is None:
            return ""
        code, lasti = line
        return f"{code.co_filename}:{line_number(code, lasti)}"

    def allocated(self) -> int:
        """Bytes held, including what is reserved for growth."""
        pools = self.constants.nbytes + self.words.nbytes
        return sum(chunk.memory.nbytes for chunk in self.chunks) + pools

    def stats(self) -> Stats:
        """Instructions, slots, memory and the histogram of operations."""
        codes = Counter(self.columns()["op"].tolist())
        histogram: Counter[str] = Counter()
        for code, count in codes.items():
            wide = code >= FIRST_WIDE
            name = WIDE[code - FIRST_WIDE].name if wide else OPCODES[code].row.name
            histogram[name] += count
        n, held = len(self), self.allocated()
        inputs = codes[INPUT_CODE] + codes[WIDE_CODES["wide_input"]]
        values = 8 * self.slots
        needed = n * BYTES_PER_INSTRUCTION + 8 * (self.kn + self.mn) + 2 * values
        return Stats(n, inputs, self.slots, self.kn, held, held / max(n, 1), values, needed,
                     self.walked(), dict(histogram.most_common()))  # fmt: skip

    def walked(self) -> int:
        """How many instructions the last reverse sweep went through, inputs not counted."""
        mark, inputs = self.walk
        if mark is None:
            return 0
        n = self.index_of_slot(len(mark) - 1) + 1
        results = np.bitwise_or.reduceat(mark, self.result_slots(0, n))
        return int(np.count_nonzero(results & 1)) - inputs


def line_number(code: Any, lasti: int) -> int:
    """The source line of a bytecode offset."""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            return int(number)
    return int(line)
