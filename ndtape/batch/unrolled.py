"""Small arrays taken apart: a tape with operations on arrays as one of scalar instructions.

Packs of lanes know scalar instructions only, and of a small array the elements cost less in a
pack than a call of a kernel does.  Sums are added in another order than by the kernels, within the
same bound; adjoints at ties of a maximum are those of the kernels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import nest
from ..nest import Walk
from ..ops import CODES, FIRST_WIDE, INPUT_CODE, OPCODES, WIDE, WIDE_CODES, Wide
from ..tape import Tape
from ..traced.program import Trace

MOST = 4096  # instructions; beyond, the numbers of 16 lanes leave the cache
PLACED = {"gather", "scatter_add"}
JOINED = {"sum": "add", "max": "maximum", "min": "minimum"}


class Unrolled(NamedTuple):
    """A scalar tape, the slot there of each slot of the old one, and the old number of each of its
    instructions."""

    tape: Tape
    slots: np.ndarray
    positions: np.ndarray


def unrolled(trace: Trace, reverse: bool = False) -> Unrolled | None:
    """The tape of a trace without arrays, for derivatives as well where `reverse` says so.

    None where it would be long, or cannot be.
    """
    tape = trace.tape
    if tape.slots > MOST or WIDE_CODES["call"] in tape.codes:
        return None
    writer = _Writer(tape, trace.leading[1], reverse)
    written = [writer.n]
    for i in range(trace.leading[0], len(tape)):
        if not writer.add(i) or writer.n > MOST:
            return None
        written.append(writer.n)
    whose = np.arange(trace.leading[0], len(tape))
    positions = np.concatenate([np.zeros(written[0], np.int64), np.repeat(whose, np.diff(written))])
    return Unrolled(writer.finished(), writer.slots, positions)


class _Writer:
    """Columns of the new tape; all of them are arrays, one a piece."""

    def __init__(self, old: Tape, inputs: int, reverse: bool) -> None:
        self.old, self.reverse = old, reverse
        self.pieces: list[np.ndarray] = []  # (4, count): op, a, b, c
        self.pool: list[np.ndarray] = []
        self.n = self.k = 0
        self.slots = np.full(old.slots + 1, -1, np.int64)
        self.slots[:inputs] = self.constants(np.zeros(inputs))

    def finished(self) -> Tape:
        columns = np.concatenate([np.zeros((4, 0), np.int64), *self.pieces], axis=1)
        fresh = dict(zip(("op", "a", "b", "c"), columns.astype(np.uint32), strict=True))
        fresh["op"] = fresh["op"].astype(np.uint16)
        fresh["k"] = np.concatenate([np.zeros(0), *self.pool])
        fresh["m"] = np.zeros(0, np.int64)
        tape = Tape(max(self.n, 1))
        tape.extend_pools(fresh)
        tape.extend(fresh)
        return tape

    # --- writing: each returns the slots of what it has written ---

    def emit(self, code: int, *operands: np.ndarray) -> np.ndarray:
        count = len(operands[0])
        piece = np.zeros((4, count), np.int64)
        piece[0] = code
        for j, operand in enumerate(operands):
            piece[1 + j] = operand
        self.pieces.append(piece)
        self.n += count
        return np.arange(self.n - count, self.n)

    def pooled(self, values: np.ndarray) -> np.ndarray:
        """Places in the constant pool."""
        self.pool.append(values)
        self.k += len(values)
        return np.arange(self.k - len(values), self.k)

    def constants(self, values: np.ndarray) -> np.ndarray:
        """Slots that hold constants."""
        return self.emit(INPUT_CODE, self.pooled(values))

    def operation(self, name: str, operands: list[np.ndarray], forms: str) -> np.ndarray:
        """One instruction an element: operands are slots (form v) or numbers (k)."""
        if name in SWAPPED and forms == "kv":
            operands, forms = operands[::-1], "vk"
        if (name, forms) not in CODES:
            operands = [x if form == "v" else self.constants(x)
                        for x, form in zip(operands, forms, strict=True)]  # fmt: skip
            forms = "v" * len(forms)
        columns = [x if form == "v" else self.pooled(x)
                   for x, form in zip(operands, forms, strict=True)]  # fmt: skip
        return self.emit(CODES[name, forms], *columns)

    def joined(self, name: str, columns: np.ndarray) -> np.ndarray:
        """Rows of slots (rows, m) joined to one each, in pairs: log m roundings."""
        while columns.shape[1] > 1:
            half = columns.shape[1] // 2
            pairs = columns[:, : 2 * half]
            fresh = self.emit(CODES[name, "vv"], pairs[:, ::2].ravel(), pairs[:, 1::2].ravel())
            columns = np.concatenate([fresh.reshape(-1, half), columns[:, 2 * half :]], axis=1)
        return columns[:, 0]

    def extreme(self, name: str, columns: np.ndarray) -> np.ndarray:
        """The largest or smallest of each row, whose derivative ties share equally."""
        size, m = columns.shape
        if m == 1:
            return columns[:, 0]
        found = self.joined(name, self.emit(CODES["stop", "v"], columns.ravel()).reshape(size, m))
        equal = self.emit(CODES["equal", "vv"], columns.ravel(), np.repeat(found, m))
        count = self.joined("add", equal.reshape(size, m))
        count = self.emit(CODES["maximum", "vk"], count, self.pooled(np.ones(size)))  # nan: none
        share = self.emit(CODES["divide", "vv"], equal, np.repeat(count, m)).reshape(size, m)
        for j in range(m):
            found = self.emit(CODES["attach", "vvv"], columns[:, j], found, share[:, j])
        return found

    # --- instructions of the old tape ---

    def add(self, i: int) -> bool:
        """Write instruction i of the old tape; False where that cannot be."""
        chunk = self.old.chunk_of(i)
        j = i - chunk.base
        code, columns = chunk.op[j], (chunk.a[j], chunk.b[j], chunk.c[j])
        out = self.old.slot_of_index(i)
        if code < FIRST_WIDE:
            operands = [
                self.slots[[x]] if form == "v" else self.pooled(self.old.constants[[x]])
                for x, form in zip(columns, OPCODES[code].form, strict=False)
            ]
            self.slots[out] = self.emit(code, *operands)[0]
            return True
        wide = WIDE[code - FIRST_WIDE]
        words = self.old.words
        walks = nest.walks(wide.name, words, *columns)
        c = columns[2]
        size = int(words[c + nest.SIZE])
        if wide.name in PLACED:
            if not walks[1].constant:  # places that the program computes
                return False
            self.slots[out : out + size] = self.placed(wide.name, walks)
        else:
            self.slots[out : out + size] = self.array(wide, walks, c, size)
        return True

    def placed(self, name: str, walks: tuple[Walk, ...]) -> np.ndarray:
        """Gathers and sums at places that are constant."""
        x, *rest = (self.slot(self.read(w), "vk"[w.constant]) for w in (walks[0], *walks[2:]))
        places = self.read(walks[1]).astype(np.int64)
        if name == "gather":
            return x[places]
        (terms,) = rest
        while len(places):  # each place at most once a round, in the order of the terms
            here, first = np.unique(places, return_index=True)
            x[here] = self.emit(CODES["add", "vv"], x[here], terms[first])
            places, terms = np.delete(places, first), np.delete(terms, first)
        return x

    def read(self, walk: Walk) -> np.ndarray:
        """What a walk comes to: slots of the new tape, or numbers."""
        found: np.ndarray = (self.old.constants if walk.constant else self.slots)[walk.places()]
        return found

    def array(self, wide: Wide, walks: tuple[Walk, ...], c: int, size: int) -> np.ndarray:
        """The slots of the elements of an operation on arrays."""
        words = self.old.words
        if wide.name == "wide_input":
            return self.constants(self.old.constants[walks[0].places()])
        if wide.name == "collect":
            entries = words[c + nest.BODY : c + nest.BODY + size]
            found = self.slots[np.maximum(entries, 0)]
            fixed = entries < 0
            if fixed.any():
                found[fixed] = self.constants(self.old.constants[-1 - entries[fixed]])
            return found
        loops = words[c + nest.BODY :][: nest.LOOP * words[c + nest.LOOPS]].reshape(-1, nest.LOOP)
        z = Walk(0, tuple(loops[:, 0].tolist()), tuple(loops[:, 1].tolist()), False, "").places()
        read = [self.read(w) for w in walks]
        forms = "".join("k" if w.constant else "v" for w in walks)
        result = np.empty(size, np.int64)
        if wide.name == "cumsum":
            extents = tuple(loops[:, 0].tolist())
            result[z] = self.running(
                self.slot(read[0], forms), extents, int(words[c + nest.KIND_WORD])
            )
        elif wide.name in JOINED or wide.name == "dot":
            if wide.name == "dot":
                terms = self.operation("multiply", read, forms)
            else:
                terms = self.slot(read[0], forms)
            order = np.argsort(z, kind="stable")
            rows = terms[order].reshape(size, -1)
            if wide.name in ("max", "min") and self.reverse:
                found = self.extreme(JOINED[wide.name], rows)
            else:
                found = self.joined(JOINED.get(wide.name, "add"), rows)
            result[z[order].reshape(size, -1)[:, 0]] = found
        elif wide.name == "copy":
            result[z] = self.slot(read[0], forms)
        else:
            result[z] = self.operation(wide.name, read, forms)
        return result

    def slot(self, x: np.ndarray, form: str) -> np.ndarray:
        return x if form == "v" else self.constants(x)

    def running(self, terms: np.ndarray, extents: tuple[int, ...], axis: int) -> np.ndarray:
        """Running sums along one loop of a nest."""
        sums = np.moveaxis(terms.reshape(extents), axis, 0).copy()
        for j in range(1, len(sums)):
            fresh = self.emit(CODES["add", "vv"], sums[j - 1].ravel(), sums[j].ravel())
            sums[j] = fresh.reshape(sums[j].shape)
        return np.moveaxis(sums, 0, axis).ravel()


SWAPPED = {opcode.row.name for opcode in OPCODES if opcode.row.commutes}
