"""What comes out of a file: a tape with leaves, or a function."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np

from ..passes import checked_level
from ..record.arrays import var
from ..record.core import Recorder
from ..run import Flip
from . import programs
from .container import read, refusing
from .loaded import LoadedFunction, LoadedProgram
from .loops import GUARD, KINDS
from .tapes import Reader, inputs_of
from .values import dtype_from, fields, refuse, rows, shape_from, text, whole


def read_file(file: BinaryIO, name: str) -> Any:
    """The tape or the function in an open file; raises `TapeFileError`."""
    header, arrays = read(file, name)
    with refusing(name):
        kind = header.get("kind")
        if kind not in ("tape", "function"):
            refuse(f"{name} holds a {kind!r:.40}, and no tape or function")
        reader = Reader(header, arrays)
        return _tape(reader) if kind == "tape" else _function(header, reader)


def _function(header: dict[str, Any], reader: Reader) -> LoadedFunction:
    given, options, listed = fields(header, "name options programs", "a function")
    name = text(given, "the name of a function")
    numbers, names, most, level = rows([options], "options", 4)[0]
    statics = tuple([whole(i, "a position", -1000, 1000) for i in rows(numbers, "positions")])
    words = tuple([text(x, "a name") for x in rows(names, "names")])
    known: dict[Any, LoadedProgram] = {}
    for record in rows(listed, "programs"):
        program = LoadedProgram(name, whole(most, "the most tapes", 1))
        known[programs.read(record, reader, program)] = program
    if not known:
        refuse("it holds a function without tapes")
    return LoadedFunction(name, known, (statics, words, most, checked_level(level)))


def _tape(reader: Reader) -> Recorder:
    inputs, results = fields(reader.record(0), "inputs results", "a tape")
    tape = reader.tape(0)
    there = inputs_of(tape)
    for slot, shape, dtype in rows(inputs, "inputs", 3):
        size = there.pop(whole(slot, "the slot of an input"), 0)
        sizes = shape_from(shape, "the shape of an input")
        if not size or size != int(np.prod(sizes or (), dtype=np.int64)):
            refuse(f"slot {slot} is no input of shape {sizes}, or one that is named twice")
        _enter(tape, slot, size, sizes, dtype)
    if there:
        refuse(f"it says nothing of the input in slot {min(there)}")
    for name, slot, shape, dtype in rows(results, "results", 4):
        _result(tape, text(name, "a name"), slot, shape, dtype)
    if (tape.columns()["op"] == GUARD).any():
        _check_guards(tape)
    return tape


def _enter(tape: Recorder, slot: int, size: int, shape: Any, dtype: str) -> None:
    """Let an input stand for a fresh leaf with its numbers."""
    i = tape.index_of_slot(slot)
    start = tape.chunks[0].a[i]
    numbers = tape.constants[start : start + size]
    name = tape.names.get(slot, "")
    if shape is None:
        leaf = var(float(numbers[0]), name)
    else:
        leaf = var(numbers.reshape(shape).astype(dtype_from(dtype, "f")), name)
    owner = leaf if shape is None else leaf.storage
    tape.inputs.append((slot, owner))
    tape.leaf_slots[owner.token] = slot


def _result(tape: Recorder, name: str, slot: Any, shape: Any, dtype: Any) -> None:
    sizes = shape_from(shape, "the shape of a result")
    count = int(np.prod(sizes or (), dtype=np.int64))
    first, size = tape.span_of(whole(slot, "the slot of a result", 0, tape.slots - 1))
    if not count or slot + count > first + size:
        refuse(f"{name} lies in slots {slot} to {slot + count}, which are not one result")
    kind = programs.SCALARS[dtype] if sizes is None else dtype_from(dtype, KINDS)
    tape.results[name] = slot, sizes, kind


def _check_guards(tape: Recorder) -> None:
    """The inputs go the way that was recorded: nobody looks at guards in an eager tape."""
    try:
        tape.work.forward()
    except Flip as flip:
        refuse(f"instruction {flip.index} (guard) saw another number than its inputs give")
