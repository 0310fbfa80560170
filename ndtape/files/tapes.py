"""Tapes in a file: the columns of all of them one behind the other, and a record for each.

Opcodes are written with their names, so that a file outlives additions to the table.  The words of
descriptors are written where an instruction needs them; those that a tape remembers for the next
one stay behind.  A tape that is read has been verified: `Reader` gives out no other.
"""

from __future__ import annotations

from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from .. import nest
from ..ops import FIRST_WIDE, INPUT_CODE, OPCODES, WIDE, WIDE_CODES
from ..passes import OptimisedTape
from ..record.core import Recorder
from ..run import Workspace
from ..tape import Chunk, Tape, line_number
from ..verify import verify_columns
from . import calls
from .values import Vectors, fields, refuse, rows, text, whole

COLUMNS = {"op": "<u2", "a": "<u4", "b": "<u4", "c": "<u4", "k": "<f8", "m": "<i8"}
WIDE_FORM = "wide"
NAMES = [(o.row.name, o.form) for o in OPCODES]
CODE_OF = {**{name: code for code, name in enumerate(NAMES)},
           **{(w.name, WIDE_FORM): w.code for w in WIDE}}  # fmt: skip
# Instructions that passes make: a tape is saved as it was recorded, and optimised again.
MADE_BY_PASSES = {WIDE_CODES[name] for name in ("affine", "weights", "skip", "terms")}
INPUTS = (INPUT_CODE, WIDE_CODES["wide_input"])


class SavedCode(NamedTuple):
    """Stands in the place of a code object: where an instruction was recorded."""

    co_filename: str
    co_firstlineno: int
    co_name: str

    def __eq__(self, other: object) -> bool:
        """Also a code object may be the same one: two recordings of a function are compared so."""
        if isinstance(other, CodeType):
            return other.co_name == self.co_name and other.co_firstlineno == self.co_firstlineno
        return isinstance(other, SavedCode) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def co_lines(self) -> tuple[()]:
        """No bytecode is saved: the first line is the line."""
        return ()


def inputs_of(tape: Tape) -> dict[int, int]:
    """First slot and size of each input."""
    columns = Tape.columns(tape)
    slots = columns["out"][np.isin(columns["op"], INPUTS)].tolist()
    return {slot: tape.span_of(slot)[1] for slot in slots}


class Writer:
    """Collects the tapes of a file."""

    def __init__(self) -> None:
        self.vectors = Vectors()
        self.records: list[Any] = []
        self.columns: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
        self.lines: list[np.ndarray] = []
        self._places: dict[Any, int] = {}

    def place(self, file: str, line: int, name: str = "") -> int:
        """The number of a source line."""
        return self._places.setdefault((str(file), int(line), str(name)), len(self._places))

    def add(self, tape: Tape, fed: int = 0, **more: Any) -> int:
        """The number of a tape; `more` goes into its record.

        The first `fed` instructions are inputs that every call gives numbers: those of the
        recording, which may be large or nobody else's business, stay behind.
        """
        if isinstance(tape, OptimisedTape):
            refuse("an optimised tape is not saved: save the recorded one, and optimise it again")
        number = len(self.records)
        self.records.append(None)  # the tapes of loops on it have higher numbers
        columns, used = _packed(tape)
        for i in range(fed):
            start = int(columns["a"][i])
            columns["k"][start : start + tape.span_of(tape.slot_of_index(i))[1]] = 0.0
        self.columns = {name: [*parts, columns[name]] for name, parts in self.columns.items()}
        self.records[number] = {
            "lengths": [len(columns[name]) for name in ("op", "k", "m")],
            "calls": [calls.written(call, self) for call in used],
            "names": [[int(slot), str(name)] for slot, name in tape.names.items()],
            "lines": tape.lines is not None and self._add_lines(tape),
            **more,
        }
        return number

    def _add_lines(self, tape: Tape) -> bool:
        assert tape.lines is not None
        found = [-1 if entry is None else self.place(*_where(*entry))
                 for entry in tape.lines[: len(tape)]]  # fmt: skip
        self.lines.append(np.array(found, np.int32))
        return True

    def finished(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What the header says about all tapes, and the arrays of the file."""
        arrays = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        arrays["lines"] = np.concatenate([np.zeros(0, np.int32), *self.lines])
        used = np.unique(arrays["op"]).tolist()
        names = [[c, *(NAMES[c] if c < FIRST_WIDE else (WIDE[c - FIRST_WIDE].name, WIDE_FORM))]
                 for c in used]  # fmt: skip
        return {"operations": names, "places": list(map(list, self._places)),
                "tapes": self.records}, {**arrays, **self.vectors.arrays}  # fmt: skip


def _where(code: Any, lasti: int) -> tuple[str, int, str]:
    return code.co_filename, line_number(code, lasti), code.co_name


def _packed(tape: Tape) -> tuple[dict[str, np.ndarray], list[Any]]:
    """The columns of a tape, with the words and calls that its instructions have and no others."""
    columns = {name: column.copy() for name, column in Tape.columns(tape).items()}
    wide = np.flatnonzero(columns["op"] >= FIRST_WIDE)
    # Instructions with one descriptor are alike, so that its length is that of any of them.
    starts, first, which = np.unique(columns["c"][wide], return_index=True, return_inverse=True)
    kinds = columns["op"][wide[first]]
    pieces, used = [np.zeros(0, np.int64)], []
    for code, c in zip(kinds.tolist(), starts.tolist(), strict=True):
        length = nest.length(WIDE[code - FIRST_WIDE].name, columns["m"], c)
        piece = columns["m"][c : c + length].copy()
        if code == WIDE_CODES["call"]:  # which never share a descriptor
            used.append(tape.calls[int(piece[nest.KIND_WORD])])
            piece[nest.KIND_WORD] = len(used) - 1
        pieces.append(piece)
    columns["m"] = np.concatenate(pieces)
    columns["c"][wide] = np.cumsum([0, *map(len, pieces[1:])])[which.reshape(-1)]
    return columns, used


# --- reading --------------------------------------------------------------------------------------


class Reader:
    """The tapes of a file, verified; `tape(number)` is a fresh one for the first who asks."""

    def __init__(self, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.captured: dict[str, np.ndarray] = {}
        self.vectors = Vectors(arrays)
        operations, places, records = fields(header, "operations places tapes", "the header")
        self.codes = [
            SavedCode(_source(text(file, "a file")), whole(line, "a line"), text(name, "a name"))
            for file, line, name in rows(places, "places", 3)
        ]
        self.records = rows(records, "tapes")
        self.columns = {name: _column(arrays, name, dtype) for name, dtype in COLUMNS.items()}
        self.columns["op"] = _translated(self.columns["op"], operations)
        self.lines = _column(arrays, "lines", "<i4")
        if ((self.lines < -1) | (self.lines >= len(self.codes))).any():
            refuse("an instruction has a source line that is not listed")
        self._lay_out()
        self.tapes: list[Recorder | None] = [None] * len(self.records)
        for number in reversed(range(len(self.records))):
            self.tapes[number] = self._made(number)

    def _lay_out(self) -> None:
        """Where the columns of each tape lie: they must use up all that there is."""
        starts = dict.fromkeys(("op", "k", "m", "lines"), 0)
        self.parts: list[dict[str, slice]] = []
        for record in self.records:
            lengths, lined = fields(record, "lengths lines", "a tape")
            n, k, m = [whole(x, "a length") for x in rows([lengths], "lengths", 3)[0]]
            counts = {"op": n, "k": k, "m": m, "lines": n if lined is True else 0}
            self.parts.append({name: slice(starts[name], starts[name] + counts[name])
                               for name in starts})  # fmt: skip
            starts = {name: starts[name] + counts[name] for name in starts}
        there = {**{name: len(self.columns[name]) for name in COLUMNS}, "lines": len(self.lines)}
        told = {**dict.fromkeys(("a", "b", "c"), starts["op"]), **starts}
        if there != told:
            refuse(f"its tapes announce columns of {told} numbers; there are {there}")

    def code(self, number: Any) -> SavedCode:
        """A source line by its number."""
        return self.codes[whole(number, "the number of a line", 0, len(self.codes) - 1)]

    def record(self, number: int) -> Any:
        return self.records[number]

    def tape(self, number: Any, above: int = -1) -> Recorder:
        """A tape by its number, which must be higher than `above`; each may be asked for once.

        So no tape can be part of itself, or of two.
        """
        at = whole(number, "the number of a tape", above + 1, len(self.tapes) - 1)
        tape, self.tapes[at] = self.tapes[at], None
        return tape if tape is not None else refuse(f"tape {at} is used twice")

    def _made(self, number: int) -> Recorder:
        """The tape of a record: verified, in one chunk, with its calls, names and lines."""
        part = self.parts[number]
        columns = {name: self.columns[name][part.get(name, part["op"])] for name in COLUMNS}
        listed, names = fields(self.records[number], "calls names", "a tape")
        if not MADE_BY_PASSES.isdisjoint(np.unique(columns["op"]).tolist()):
            refuse("it has instructions of passes, which nobody saves")
        verify_columns(columns, len(rows(listed, "calls")))
        tape = in_one_chunk(Recorder(), columns)
        tape.calls = [calls.read(call, self, number) for call in listed]
        calls.check(tape)
        for slot, name in rows(names, "names", 2):
            tape.names[whole(slot, "a slot", 0, tape.slots - 1)] = text(name, "a name")
        if part["lines"].stop > part["lines"].start:
            found = self.lines[part["lines"]].tolist()
            tape.keep_lines([None if j < 0 else (self.codes[j], 0) for j in found])
        return tape


def _source(file: str) -> str:
    """A file's name; of anything but Python code one that nobody tries to read."""
    return file if file.endswith(".py") or file[:1] in ("<", "") else f"<{file}>"


def in_one_chunk(tape: Recorder, columns: dict[str, np.ndarray]) -> Recorder:
    """Fill an empty tape with verified columns."""
    tape.places, tape.interned, tape.lines = {}, {}, None
    tape.mn = 0
    tape.chunks = [Chunk(0, max(len(columns["op"]), 1))]
    tape.work = Workspace(tape, owned=True)
    tape.kept = True
    tape.extend_pools(columns)
    tape.extend(columns)
    tape.disarm()
    return tape


def _column(arrays: dict[str, np.ndarray], name: str, dtype: str) -> np.ndarray:
    array = arrays.get(name)
    if array is None or array.dtype.str != dtype:
        refuse(f"it has no column {name} of dtype {dtype}")
    return array


def _translated(op: np.ndarray, operations: Any) -> np.ndarray:
    """Opcodes of the writer as those of this version, by their names."""
    table = np.full(1 << 16, -1)
    for code, name, form in rows(operations, "operations", 3):
        known = CODE_OF.get((text(name, "an operation"), text(form, "a form")))
        if known is None:
            refuse(f"it has the operation {name} ({form}), which this version does not know")
        table[whole(code, "an opcode", 0, (1 << 16) - 1)] = known
    found: np.ndarray = table[op]
    if (found < 0).any():
        refuse(f"it has the opcode {op[found.argmin()]}, which it does not name")
    return found.astype(np.uint16)
