"""What a pass has done to a tape: two programs instruction by instruction.

An optimised tape says which recorded instruction each of its own stands for, wherever its slots lie
now.  So it is shown with the slots of the recorded one.  Two tapes that know nothing of each other
are compared as texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

import numpy as np

from ..tape import Tape
from .code import Code, sizes_of
from .operands import places_of_slots
from .optimised import OptimisedTape

LONGEST = 20_000  # instructions of tapes that are compared as texts
LISTED = 200  # lines


class Line(NamedTuple):
    """One instruction: " " on both tapes, "-" only before, "+" only after."""

    mark: str
    position: int  # on its tape; of " ", on the one before
    text: str

    def __str__(self) -> str:
        return f"{self.mark}{self.position:>5}  {self.text}"


class Difference:
    """What differs between two tapes; print it, or read `lines`."""

    def __init__(self, before: Tape, after: Tape) -> None:
        self.before, self.after = before, after
        related = isinstance(before, OptimisedTape) or isinstance(after, OptimisedTape)
        self.lines = list((_by_position if related else _as_texts)(before, after))

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many instructions are the same, are gone, and are new."""
        marks = [line.mark for line in self.lines]
        return marks.count(" "), marks.count("-"), marks.count("+")

    def __bool__(self) -> bool:
        """Whether there is any difference."""
        return any(line.mark != " " for line in self.lines)

    def __str__(self) -> str:
        same, gone, new = self.counts
        one, two = self.before, self.after
        head = (
            f"{len(one)} -> {len(two)} instructions ({same} the same, {gone} gone, {new} new), "
            f"{one.slots} -> {two.slots} slots"
        )
        return "\n".join([head, *self._shown()])

    __repr__ = __str__

    def _shown(self) -> Iterator[str]:
        """Changes with a line around them."""
        changed = np.array([line.mark != " " for line in self.lines], bool)
        near = changed.copy()
        near[1:] |= changed[:-1]
        near[:-1] |= changed[1:]
        places = np.flatnonzero(near)
        last = -1
        for count, place in enumerate(places.tolist()):
            if place != last + 1:
                yield "..."
            if count == LISTED:
                yield f"... and {len(places) - count} lines more"
                return
            last = place
            yield str(self.lines[place])
        if last + 1 < len(self.lines):
            yield "..."


def _by_position(before: Tape, after: Tape) -> Iterator[Line]:
    """The instructions of both in the order of the recorded ones, under the same names of slots."""
    one, two = _positions(before), _positions(after)
    texts = _texts(before, before), _texts(_renamed(before, after), before)
    order = np.argsort(two, kind="stable")  # inputs have come to the front
    i, left = 0, two[order].tolist()
    for place, (j, position) in enumerate(zip(order.tolist(), left, strict=True)):
        while i < len(one) and one[i] < position:
            yield Line("-", i, texts[0][i])
            i += 1
        here = i < len(one) and one[i] == position
        if here and texts[0][i] == texts[1][j]:
            yield Line(" ", i, texts[0][i])
            i += 1
            continue
        if here and position not in left[place + 1 : place + 2]:
            yield Line("-", i, texts[0][i])
            i += 1
        yield Line("+", j, texts[1][j])
    yield from (Line("-", rest, texts[0][rest]) for rest in range(i, len(one)))


def _texts(tape: Tape, named: Tape) -> list[str]:
    return [instruction.text(named.names) for instruction in tape]


def _positions(tape: Tape) -> np.ndarray:
    """Which recorded instruction each one stands for."""
    return tape.code.positions if isinstance(tape, OptimisedTape) else np.arange(len(tape))


def _renamed(before: Tape, after: Tape) -> Tape:
    """`after` with the slots that its results have on `before`; others behind all of those."""
    columns = {name: column.copy() for name, column in after.columns().items()}
    count, out = len(after), columns["out"].astype(np.int64)
    sizes = sizes_of(columns)
    known = {p: i for i, p in reversed(list(enumerate(_positions(before).tolist())))}
    there = before.columns()
    old_sizes, old_out = sizes_of(there), there["out"].astype(np.int64)
    moved = before.slots + out
    for j, position in enumerate(_positions(after).tolist()):
        i = known.get(position, -1)
        if i >= 0 and old_sizes[i] == sizes[j]:
            moved[j] = old_out[i]
    # By slot and time: where slots are used again, an operand is what was written last.
    whose = np.repeat(np.arange(count), sizes)
    rank = np.arange(len(whose)) - (np.cumsum(sizes) - sizes)[whose]
    keys = (out[whose] + rank) * (count + 1) + whose
    order = np.argsort(keys)
    keys, names = keys[order], (moved[whose] + rank)[order]
    for name, at in places_of_slots(columns).items():
        slots = columns[name][at].astype(np.int64)
        time = at if name != "m" else count
        place = np.searchsorted(keys, slots * (count + 1) + time) - 1
        fits = (place >= 0) & (keys[place] // (count + 1) == slots)
        columns[name][at] = np.where(fits, names[place], before.slots + slots)
    columns["out"] = moved.astype(np.uint32)
    nothing = np.zeros(0, np.int64)
    return OptimisedTape(
        Code(columns, before.slots + after.slots, 0, nothing, np.arange(count), tuple(after.calls))
    )


def _as_texts(before: Tape, after: Tape) -> Iterator[Line]:
    one, two = (
        [i.text(tape.names) for i in tape.instructions(0, min(len(tape), LONGEST))]
        for tape in (before, after)
    )
    for tag, i, k, j, m in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from (Line(" ", n, one[n]) for n in range(i, k))
        else:
            yield from (Line("-", n, one[n]) for n in range(i, k))
            yield from (Line("+", n, two[n]) for n in range(j, m))
