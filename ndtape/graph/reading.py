"""Which elements of which result an operand reads, as text and as places.

A span on the tape has no shape of its own: how later operations walk over it, and the arrays that
users hold, say what it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import nest
from ..nest import Walk
from ..tape import Instruction, Tape

Shape = tuple[int, ...]


class Part(NamedTuple):
    """The elements of a node that an operand reads, each once.

    `text` is what stands behind the node's name, "" where all of it is read; `places` are offsets
    from the node's first slot, None for all.
    """

    text: str
    shape: Shape
    places: np.ndarray | None


class Read(NamedTuple):
    """One operand of an instruction, or for `collect` what it takes of one result.

    `first` is the first slot of the result that is read, -1 for constants.  `offsets` says where
    its elements lie behind that, one for each step of the operation, in the shape of its loops; of
    constants they are the places in the pool.  `chosen` are the elements of the result of a
    `collect` that come from here.
    """

    operand: int
    first: int
    walk: Walk
    chosen: np.ndarray | None = None

    @property
    def offsets(self) -> np.ndarray:
        if self.chosen is not None:
            assert self.walk.entries is not None
            taken: np.ndarray = self.walk.entries[self.chosen] - self.first
            return taken
        places = self.walk.places().reshape(self.walk.extents)
        return places if self.first < 0 else places - self.first


def reads(tape: Tape, instruction: Instruction) -> list[Read]:
    """What an instruction reads, operand by operand."""
    if not instruction.wide:
        opcode: Any = instruction.opcode
        return [
            Read(j, tape.span_of(int(x))[0] if form == "v" else -1,
                 Walk(int(x) if form == "v" else -1, (), (), form == "k", "abc"[j]))
            for j, (x, form) in enumerate(zip(instruction.operands, opcode.form, strict=True))
        ]  # fmt: skip
    found = []
    for j, walk in enumerate(instruction.operands):
        if walk.entries is not None:
            found += _collected(tape, j, walk)
        elif not walk.constant:
            found.append(Read(j, tape.span_of(walk.bounds()[0])[0], walk))
        else:
            found.append(Read(j, -1, walk))
    return found


def _collected(tape: Tape, j: int, walk: Walk) -> list[Read]:
    """The results that a `collect` takes elements of, in order of their first slots."""
    entries = walk.entries
    assert entries is not None
    slots = np.unique(entries[entries >= 0])
    firsts: dict[int, list[int]] = {}
    whose = np.full(len(slots), -1, np.int64)
    k = 0
    while k < len(slots):
        first, size = tape.span_of(int(slots[k]))
        end = int(np.searchsorted(slots, first + size))
        whose[k:end] = first
        firsts[first] = []
        k = end
    of_entry = np.full(len(entries), -1, np.int64)
    moving = entries >= 0
    of_entry[moving] = whose[np.searchsorted(slots, entries[moving])]
    return [Read(j, first, walk, np.flatnonzero(of_entry == first)) for first in firsts]


def part_of(read: Read, shape: Shape) -> Part:
    """The elements that are read of a node of this shape."""
    size = int(np.prod(shape, dtype=np.int64))
    if read.chosen is None:  # without a list of places where little is read, or all
        low, high = read.walk.bounds()
        if high == low:
            return _element(low - read.first, shape)
        steps = [abs(s) for s in read.walk.strides if s]
        if high - low + 1 == size and 1 in steps and _dense(read.walk):
            return Part("", shape, None)
    places = np.unique(read.offsets)
    if len(places) == size:
        return Part("", shape, None)
    if len(places) == 1:
        return _element(int(places[0]), shape)
    return _box(places, shape)


def _element(place: int, shape: Shape) -> Part:
    if not shape:
        return Part("", (), None)
    index = ", ".join(str(int(i)) for i in np.unravel_index(place, shape))
    return Part(f"[{index}]", (), np.array([place]))


def _dense(walk: Walk) -> bool:
    """Whether a walk leaves out nothing between its lowest and its highest place."""
    reach = 0
    for stride, n in sorted((abs(s), n) for s, n in zip(walk.strides, walk.extents, strict=True)):
        if stride > reach + 1:
            return False
        reach += stride * (n - 1)
    return True


def _box(places: np.ndarray, shape: Shape) -> Part:
    """Slices, where the places are those of slices."""
    axes = [np.unique(i) for i in np.unravel_index(places, shape)]
    if int(np.prod([len(a) for a in axes])) == len(places):
        texts = [_slice(a, n) for a, n in zip(axes, shape, strict=True)]
        if all(texts):
            kept = tuple(len(a) for a in axes if len(a) > 1)
            while len(texts) > 1 and texts[-1] == ":":
                texts.pop()
            return Part(f"[{', '.join(texts)}]", kept, places)
    return Part(f"[{len(places)} elements]", (len(places),), places)


def _slice(places: np.ndarray, extent: int) -> str:
    """``2``, ``:``, ``1:3``, ``::2`` for places along an axis; "" where no slice is that."""
    first, last = int(places[0]), int(places[-1])
    if len(places) == 1:
        return str(first) if extent > 1 else ":"
    step = int(places[1]) - first
    if (np.diff(places) != step).any():
        return ""
    end = "" if last + step >= extent else str(last + 1)
    return f"{first or ''}:{end}" + (f":{step}" if step > 1 else "")


# --- shapes ---------------------------------------------------------------------------------------

Loops = np.ndarray  # a row a loop: extent and the strides of z, x, y, u
NESTS = {"sum", "max", "min", "dot", "cumsum"}


def loops_of(tape: Tape, instruction: Instruction) -> Loops:
    """The loops of a wide instruction, in the order of its descriptor: shape (loops, 5)."""
    chunk = tape.chunk_of(instruction.position)
    c = chunk.c[instruction.position - chunk.base]
    count = int(tape.words[c + nest.LOOPS])
    return tape.words[c + nest.BODY : c + nest.BODY + nest.LOOP * count].reshape(count, nest.LOOP)


def result_shape(tape: Tape, instruction: Instruction, operands: list[tuple[Read, Shape]]) -> Shape:
    """The shape of a result, as far as its operation and its operands tell.

    `operands` are what is read, with the shapes of the nodes.  Nests of loops are stored with as
    few loops as possible, so that a matrix looks like a vector unless an operand knows better.
    """
    size = instruction.size
    if not instruction.wide or size == 1:
        return ()
    if instruction.name == "call":
        call = tape.calls[tape.kind_word(instruction.position)]
        return tuple(call.results[0][0]) if len(call.results) == 1 else (size,)
    row = getattr(instruction.opcode, "row", None)
    if row is not None or instruction.name in ("cumsum", "scatter_add"):
        for read, shape in operands:
            whole = read.first >= 0 and int(np.prod(shape, dtype=np.int64)) == size
            if whole and np.array_equal(read.offsets.ravel(), np.arange(size)):
                return shape
    if row is None and instruction.name not in NESTS:
        return (size,)
    loops = loops_of(tape, instruction)
    moving = sorted((-abs(int(z)), int(n)) for n, z in loops[:, :2].tolist() if z)
    return tuple(n for _, n in moving)
