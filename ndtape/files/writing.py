"""What is written of a tape, and of a traced function."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import TapeFileError
from ..record import core
from ..record.arrays import Array
from ..record.backward import root_of
from ..record.core import Recorder
from ..record.storage import ArrayLeaf
from ..record.values import Boolean, Integer, Leaf, Result, Var
from ..tape import Tape
from ..traced.function import Function
from . import programs
from .tapes import Writer, inputs_of
from .values import refuse


def described(thing: Any, results: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the arrays of a file."""
    writer = Writer()
    if isinstance(thing, Function):
        header = _function(thing, writer)
    elif isinstance(thing, Tape):
        header = _tape(thing, writer, results)
    else:
        raise TapeFileError(f"a file holds a tape or a traced function, not {thing!r:.60}")
    known, arrays = writer.finished()
    return {**header, **known}, arrays


def _tape(tape: Tape, writer: Writer, results: dict[str, Any]) -> dict[str, Any]:
    """A tape with its leaves, and values on it by their names."""
    whole = tape.whole()  # collecting scattered elements may add instructions to it
    known = tape.results if isinstance(tape, Recorder) else {}
    values = {**{name: tape[name] for name in known}, **results}  # type: ignore[index]
    found = {name: _place(whole, name, y) for name, y in values.items()}
    tape = whole
    leaves = dict(tape.inputs) if isinstance(tape, Recorder) else {}
    inputs = [_input(slot, size, leaves.get(slot)) for slot, size in inputs_of(tape).items()]
    results_ = [[name, *place] for name, place in found.items()]
    writer.add(tape, inputs=inputs, results=results_)
    return {"kind": "tape"}


def _place(tape: Tape, name: str, y: Any) -> list[Any]:
    """Slot, shape and dtype of a recording value on a tape."""
    if isinstance(y, Leaf) and isinstance(tape, Recorder) and y.token in tape.leaf_slots:
        return [tape.leaf_slots[y.token], None, "f"]
    if not isinstance(y, (Var, Array)) or not y.needs_grad or isinstance(y, Leaf):
        refuse(f"{name}={y!r:.40} is no recording value of this tape")
    where, slot = root_of(y)
    if where is not core.destination(tape) if isinstance(tape, Recorder) else True:
        refuse(f"{name} is a value of another tape")
    if isinstance(y, Array):
        return [slot, list(y.shape), np.dtype(y.dtype).str]
    kinds = {Boolean: "b", Integer: "i"}
    assert isinstance(y, Result)
    return [slot, None, next((k for cls, k in kinds.items() if isinstance(y, cls)), "f")]


def _input(slot: int, size: int, leaf: Any) -> list[Any]:
    """An input: its slot, and shape and dtype of the leaf that it stands for."""
    if isinstance(leaf, ArrayLeaf):
        return [slot, list(leaf.shape), np.dtype(leaf.dtype).str]
    return [slot, None, "f"] if size == 1 else [slot, [size], "<f8"]


def _function(f: Function, writer: Writer) -> dict[str, Any]:
    """A traced function: its options, and the programs for what it captures now."""
    if f.captures is not None and f.captures.recording:
        refuse(f"{f.name} captures values with a gradient, so that it runs as plain Python and has "
               "no tapes: pass them as arguments")  # fmt: skip
    known = {s: p for s, p in list(f.programs.items()) if p.traces and not p.inline}
    if not known:
        refuse(f"{f.name} has recorded nothing yet: call it once with arguments like those that "
               "the file is for")  # fmt: skip
    static_numbers, static_names, most, level = f.options
    return {
        "kind": "function",
        "name": f.name,
        "options": [list(static_numbers), list(static_names), most, level],
        "programs": [programs.written(s, p, writer, f.name) for s, p in known.items()],
    }
