"""Values on a tape by their names: ``tape["x"]``, also for a tape that came out of a file."""

from __future__ import annotations

import re
from typing import Any

from ..errors import ArgumentError
from ..nest import contiguous
from ..tape import Tape
from . import core
from .arrays import Array, of_span, view
from .core import Recorder
from .storage import ArrayLeaf
from .values import result

NUMBERED = re.compile(r"r(\d+)(:\d+)?")  # how listings call what has no name


def named(tape: Recorder, name: str) -> Any:
    """The value with a name: a leaf, a result that a file gave a name, or ``"r4"`` as listed.

    Raises `ArgumentError` where there is none.
    """
    if name in tape.results:
        slot, shape, kind = tape.results[name]
        found = result(tape, slot, kind) if shape is None else of_span(tape, slot, shape, kind)
        core.resolve(found.storage if isinstance(found, Array) else found)
        return found
    whole = core.destination(tape)
    for _, leaf in whole.inputs:
        if leaf is not None and leaf.name == name:
            return of_leaf(leaf)
    numbered = NUMBERED.fullmatch(name)
    slots = [s for s, n in whole.names.items() if n == name]
    if numbered is not None and int(numbered[1]) < whole.slots:
        slots.append(int(numbered[1]))
    if not slots:
        known = [*tape.results, *[leaf.name for _, leaf in whole.inputs if leaf is not None]]
        names = ", ".join(sorted(filter(None, known))) or "none"
        raise ArgumentError(f"this tape has nothing of the name {name!r}; names are {names}")
    return at_slot(whole, slots[0])


def at_slot(tape: Recorder, slot: int) -> Any:
    """The leaf, or the result, that begins at a slot or holds it."""
    first, size = tape.span_of(slot)
    for place, leaf in tape.inputs:
        if place == first and leaf is not None:
            return of_leaf(leaf)
    return result(tape, first) if size == 1 else of_span(tape, first, (size,))


def of_leaf(leaf: Any) -> Any:
    """A leaf as its user has it."""
    if not isinstance(leaf, ArrayLeaf):
        return leaf
    return view(leaf, 0, leaf.shape, contiguous(leaf.shape), leaf.dtype)


def item(tape: Recorder, key: Any) -> Any:
    """``tape["x"]`` is a value by its name, ``tape[2:5]`` a piece of the tape."""
    if isinstance(key, str):
        return named(tape, key)
    return Tape.__getitem__(core.destination(tape), key)


Recorder.__getitem__ = item  # type: ignore[method-assign]
