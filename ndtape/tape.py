"""The Wengert tape: instructions in named columns, and nothing that computes.

Memory is a list of chunks that grow fourfold up to a million instructions, so that growing never
copies.  A chunk is one NumPy buffer; Python recorders write it through memoryviews, whose
IndexError is the test for a full chunk, and compiled code through addresses.  Columns that an
opcode does not use hold rubbish; `columns()` is the clean copy that users, tests and files see.

A tape prints as a program, compares by content, and slices by instruction range.
"""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .errors import ArgumentError, TapeFullError
from .ops import INPUT_CODE, OPCODES, Opcode

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
SLOT_MASK = np.array([[f == "v" for f in o.form.ljust(3)] for o in OPCODES])
CONSTANT_MASK = np.array([[f == "k" for f in o.form.ljust(3)] for o in OPCODES])


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
    """One instruction as users see it; operands are slot numbers or constants (float)."""

    position: int
    opcode: Opcode
    out: int
    operands: tuple[int | float, ...]

    @property
    def name(self) -> str:
        return self.opcode.row.name

    @property
    def slots(self) -> tuple[int, ...]:
        """The operands that are slots."""
        pairs = zip(self.operands, self.opcode.form, strict=True)
        return tuple(int(x) for x, form in pairs if form == "v")

    def text(self, names: dict[int, str] | None = None) -> str:
        """The instruction as a line of a program, ``r4 = sin(r3)``."""
        known = names or {}
        parts = [
            known.get(int(x), f"r{x}") if form == "v" else repr(x).removesuffix(".0")
            for x, form in zip(self.operands, self.opcode.form, strict=True)
        ]
        symbol = SYMBOLS.get(self.name)
        if symbol and len(parts) == 2:
            right = f"{parts[0]} {symbol} {parts[1]}"
        else:
            right = f"{self.name}({', '.join(parts)})"
        return f"{known.get(self.out, f'r{self.out}')} = {right}"


class Stats(NamedTuple):
    """Figures of a tape; `bytes` counts allocated memory, `walked` the last reverse sweep."""

    instructions: int
    inputs: int
    slots: int
    constants: int
    bytes: int
    bytes_per_instruction: float
    walked: int
    histogram: dict[str, int]

    def __str__(self) -> str:
        top = ", ".join(f"{name} {count}" for name, count in list(self.histogram.items())[:8])
        return (
            f"{self.instructions} instructions ({self.inputs} inputs), {self.slots} slots, "
            f"{self.constants} constants, {self.bytes} bytes "
            f"({self.bytes_per_instruction:.1f} an instruction); {top}"
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
        "constants", "k", "kn",  # constant pool: array, memoryview, entries in use
        "names", "lines", "walked", "__weakref__",
    )  # fmt: skip

    def __init__(self, size: int = FIRST_CHUNK) -> None:
        self.chunks = [Chunk(0, size)]
        self.base = self.n = self.kn = self.walked = 0
        self.constants = np.empty(16)
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
        if base + size > MAX_SLOTS:
            raise TapeFullError(
                f"a tape holds at most {MAX_SLOTS} slots and this one has {len(self)}; "
                "sweep shorter pieces"
            )
        self.chunks.append(Chunk(base, size))
        if self.lines is not None:
            self.lines += [None] * size
        self.base, self.n = base, 0

    def constant(self, value: float) -> int:
        """The index of a new entry of the constant pool."""
        index = self.kn
        if index == len(self.constants):
            self._grow_pool()
        self.constants[index] = value
        self.kn = index + 1
        return index

    def _grow_pool(self) -> None:
        armed, self.k = bool(self.op), EMPTY  # what another thread adds must not be lost
        grown = np.empty(2 * len(self.constants))
        grown[: self.kn] = self.constants[: self.kn]
        self.constants = grown
        if armed:
            self.k = memoryview(grown)

    # --- reading -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.base + self.n

    @property
    def slots(self) -> int:
        """Number of slots that results may use; one an instruction while results are scalars."""
        return len(self)

    def columns(self) -> dict[str, np.ndarray]:
        """Read-only copies of op, out, a, b, c (unused operands are 0) and the pool k."""
        n = len(self)
        counts = [(chunk, min(chunk.size, n - chunk.base)) for chunk in self.chunks]
        result = {
            name: np.concatenate([chunk.array(name, count) for chunk, count in counts])
            for name in ("op", "a", "b", "c")
        }
        result["out"] = np.arange(n, dtype=np.uint32)  # what `layout` writes for scalars
        known = np.minimum(result["op"], len(OPCODES) - 1)
        used = SLOT_MASK[known] | CONSTANT_MASK[known]
        for j, name in enumerate("abc"):
            result[name] *= used[:, j]
        result["k"] = self.constants[: self.kn].copy()
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

    def instruction(self, i: int) -> Instruction:
        chunk = self.chunk_of(i)
        j = i - chunk.base
        opcode = OPCODES[chunk.op[j]]
        stored = (chunk.a[j], chunk.b[j], chunk.c[j])
        operands = tuple(
            x if form == "v" else float(self.constants[x])
            for x, form in zip(stored, opcode.form, strict=False)
        )
        return Instruction(i, opcode, i, operands)

    def __getitem__(self, key: slice) -> Tape:
        """The instructions of a range as a tape of their own.

        Operands from before the range become inputs that hold nan until given a value.
        """
        if not isinstance(key, slice) or key.step not in (None, 1):
            raise ArgumentError("slice a tape as tape[start:stop], without a step")
        lo, hi, _ = key.indices(len(self))
        part = Tape()
        slot_of: dict[int, int] = {}
        body = list(self.instructions(lo, hi))
        inside = {ins.out for ins in body}
        for slot in sorted({s for ins in body for s in ins.slots} - inside):
            slot_of[slot] = part.append(INPUT_CODE, part.constant(math.nan))
            part._copy_name(self, slot, slot_of[slot])
        for ins in body:
            operands = [
                slot_of[int(x)] if form == "v" else part.constant(x)
                for x, form in zip(ins.operands, ins.opcode.form, strict=True)
            ]
            slot_of[ins.out] = part.append(ins.opcode.code, *operands)
            part._copy_name(self, ins.out, slot_of[ins.out])
        return part

    def _copy_name(self, other: Tape, slot: int, here: int) -> None:
        if slot in other.names:
            self.names[here] = other.names[slot]

    def append(self, code: int, a: int = 0, b: int = 0, c: int = 0) -> int:
        """Add one instruction and return its result slot: the one way in besides the recorders."""
        if self.n == self.chunks[-1].size:
            self.open_chunk()
        chunk, n = self.chunks[-1], self.n
        chunk.op[n], chunk.a[n], chunk.b[n], chunk.c[n] = code, a, b, c
        self.n = n + 1
        return self.base + n

    def extend(self, columns: dict[str, np.ndarray]) -> None:
        """Add many instructions; slots and constants already count from this tape's beginning."""
        done, total = 0, len(columns["op"])
        while done < total:
            if self.n == self.chunks[-1].size:
                self.open_chunk()
            chunk = self.chunks[-1]
            count = min(total - done, chunk.size - self.n)
            for name in ("op", "a", "b", "c"):
                part = columns[name][done : done + count]
                chunk.array(name, chunk.size)[self.n : self.n + count] = part
            self.n += count
            done += count

    def keep_lines(self, lines: list[tuple[Any, int] | None]) -> None:
        """Take over the source lines of instructions that were added by `extend`."""
        room = self.chunks[-1].base + self.chunks[-1].size
        self.lines = [*lines, *[None] * (room - len(lines))]

    def extend_pool(self, values: np.ndarray) -> None:
        """Add many constants."""
        while self.kn + len(values) > len(self.constants):
            self._grow_pool()
        self.constants[self.kn : self.kn + len(values)] = values
        self.kn += len(values)

    def __eq__(self, other: object) -> bool:
        """Same instructions on the same slots with the same constants (nan equals nan)."""
        if not isinstance(other, Tape):
            return NotImplemented
        if len(self) != len(other):
            return False
        mine, theirs = self.columns(), other.columns()
        if not all(np.array_equal(mine[name], theirs[name]) for name in ("op", "out")):
            return False
        codes = mine["op"]
        for j, name in enumerate("abc"):
            slots, constants = SLOT_MASK[codes, j], CONSTANT_MASK[codes, j]
            if not np.array_equal(mine[name][slots], theirs[name][slots]):
                return False
            a, b = mine["k"][mine[name][constants]], theirs["k"][theirs[name][constants]]
            if not np.array_equal(a, b, equal_nan=True):
                return False
        return True

    __hash__ = None  # type: ignore[assignment]  # content may still grow

    # --- printing and figures --------------------------------------------------------------------

    def __str__(self) -> str:
        return self.program()

    def __repr__(self) -> str:
        return f"<Tape of {len(self)} instructions>"

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

    def where(self, i: int) -> str:
        """``file:line`` of the user's code that recorded instruction i, "" where not known."""
        line = self.lines[i] if self.lines is not None else None
        if line is None:
            return ""
        code, lasti = line
        return f"{code.co_filename}:{line_number(code, lasti)}"

    def allocated(self) -> int:
        """Bytes held, including what is reserved for growth."""
        return sum(chunk.memory.nbytes for chunk in self.chunks) + self.constants.nbytes

    def stats(self) -> Stats:
        """Instructions, slots, memory and the histogram of operations."""
        codes = Counter(self.columns()["op"].tolist())
        histogram: Counter[str] = Counter()
        for code, count in codes.items():
            histogram[OPCODES[code].row.name] += count
        n, held = len(self), self.allocated()
        return Stats(n, codes[INPUT_CODE], self.slots, self.kn, held, held / max(n, 1),
                     self.walked, dict(histogram.most_common()))  # fmt: skip


def line_number(code: Any, lasti: int) -> int:
    """The source line of a bytecode offset."""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            return int(number)
    return int(line)
