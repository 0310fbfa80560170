"""The same operation on each number of a span as one operation on the span.

What follows a product of matrices, an activation for each neuron, is as regular as the product:
instructions with one opcode, of which an operand lies in a span, number by number.  Their other
operands lie side by side as well, or may be laid so, and so do their results; what is done with
those follows in the next round.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..ops import OPCODES, STRUCTURE, WIDE_CODES
from ..tape import CONSTANT_MASK, SLOT_MASK
from .draft import FAR, Draft
from .grids import different, joined

ROUNDS = 12  # of operations one behind the other
SHORTEST = 4  # numbers of a span that are worth a kernel's call
APART = 2  # the step between operands that may be laid side by side
# The wide instruction that does what a scalar one does, 0 where there is none.
WIDENED = np.array([
    0 if o.row.kind in STRUCTURE else WIDE_CODES.get(o.row.name, 0) for o in OPCODES
])  # fmt: skip


class Levels(NamedTuple):
    """Of instructions: what proves that those of one level do not need one another.

    Pieces between what can stop a sweep, sums one behind the other, instructions one behind
    another.  An instruction for many has all its sources in front of it if they have fewer sums
    behind them than each of the many, or as many and lower levels.
    """

    segment: np.ndarray
    depth: np.ndarray
    level: np.ndarray


def spread(draft: Draft, levels: Levels, able: np.ndarray) -> None:
    """Widen what is done with the numbers of spans, round by round, by instructions that may be."""
    op = draft.columns["op"]
    scalar = op < len(WIDENED)
    able = able & scalar
    able[scalar] &= WIDENED[op[scalar]] > 0
    rest = _Candidates(draft, np.flatnonzero(able))
    behind = 0  # spans that have been looked at
    for _ in range(ROUNDS):
        known, behind = behind, draft.spans
        chosen = rest.reading(draft, known)
        for members in _runs(draft, levels, *chosen):
            _widen(draft, levels, members)
        if behind == draft.spans:
            return


class _Candidates:
    """Instructions that may be widened, with the slots that they read, the last one if none."""

    def __init__(self, draft: Draft, at: np.ndarray) -> None:
        self.at = at
        mask = SLOT_MASK[draft.columns["op"][at]].T
        slots = [draft.columns[name][at].astype(np.int64) for name in "abc"]
        self.slots = np.where(mask, np.stack(slots), len(draft.place))

    def reading(self, draft: Draft, behind: int) -> tuple[np.ndarray, np.ndarray]:
        """Those that are left and read spans from `behind` on; their slots, -1 for none."""
        fresh = np.append((draft.node >= behind) & (draft.node < FAR), False)
        chosen = fresh[self.slots].any(axis=0) & ~draft.gone[self.at]
        slots = self.slots[:, chosen]
        return self.at[chosen], np.where(slots < len(draft.place), slots, -1)


def _runs(draft: Draft, levels: Levels, at: np.ndarray, slots: np.ndarray) -> list[np.ndarray]:
    """Instructions whose operands follow one another: members (T, n) of runs that are alike."""
    if len(at) < SHORTEST:
        return []
    there = slots >= 0
    place = np.where(there, draft.place[slots], 0)
    node = np.where(there, draft.node[slots], -FAR)
    spans = (node >= 0) & (node < FAR)
    main = np.argmax(spans, axis=0)  # the operand that lies in a span
    along = place[main, np.arange(len(at))]
    node = np.minimum(node, FAR)  # equal for all that are free
    key = joined(draft.columns["op"][at], main, levels.segment[at], levels.depth[at], *node)
    order = np.lexsort((along, key))
    # Where two do the same with the same number, they belong to different runs.
    key, along = key[order], along[order]
    again = np.append(False, (key[1:] == key[:-1]) & (along[1:] == along[:-1]))
    if again.any():
        first = np.maximum.accumulate(np.where(again, 0, np.arange(len(at))))
        key = joined(key, np.arange(len(at)) - first)
        second = np.lexsort((along, key))
        order, key, along = order[second], key[second], along[second]
    place = place[:, order]
    steps = np.diff(place, axis=1)
    free = (place[:, 1:] < 0) & (place[:, :-1] < 0) & (steps != 0)
    steps = np.where(free, APART, steps)
    same = (key[1:] == key[:-1]) & (np.diff(along) == 1)
    same &= ((steps >= 0) & (steps <= APART)).all(axis=0)
    label = np.where(same, 1 + steps[0] + 3 * steps[1] + 9 * steps[2], 0)
    first, length, label = runs_of(label, SHORTEST)
    alike = joined(draft.columns["op"][at[order[first]]], length, label)
    by = np.argsort(alike, kind="stable")
    groups = np.split(by, np.flatnonzero(np.diff(alike[by])) + 1) if len(by) else []
    return [at[order[first[g][:, None] + np.arange(length[g[0]])]] for g in groups]


def runs_of(label: np.ndarray, shortest: int) -> tuple[np.ndarray, ...]:
    """Runs of neighbours with one label, which is of pairs, and 0 where they have none in common.

    Where each run begins, how many it has, and its label; where two meet, the first has the number
    between.
    """
    begins = np.flatnonzero((label > 0) & (np.append(0, label[:-1]) != label))
    ends = np.flatnonzero((label > 0) & (np.append(label[1:], 0) != label))
    taken = np.append(0, begins[1:] == ends[:-1] + 1)[: len(begins)]
    first, length = begins + taken, ends + 2 - begins - taken
    kept = length >= shortest
    return first[kept], length[kept], label[begins[kept]]


def _widen(draft: Draft, levels: Levels, members: np.ndarray) -> None:
    """One wide instruction for each row of members (T, n) for which that goes."""
    columns, op = draft.columns, int(draft.columns["op"][members[0, 0]])
    slots = [
        columns[name][members].astype(np.int64) for j, name in enumerate("abc") if SLOT_MASK[op, j]
    ]
    for operand in slots:
        _lay(draft, operand)
    results = columns["out"].astype(np.int64)[members]
    fits = _in_front(draft, levels, members, slots)
    laid = draft.place[results]
    fits &= (laid < 0).all(axis=1) | (np.diff(laid, axis=1) == 1).all(axis=1)
    steps = []
    for operand in slots:
        place = draft.place[operand]
        fits &= (place[:, :1] >= 0).all(axis=1) | (operand == operand[:, :1]).all(axis=1)
        step = np.diff(place, axis=1)
        fits &= (step == step[:, :1]).all(axis=1)
        steps.append(step[:, 0])
        # What lies in gaps may be written later, but for inputs.
        known = (place < draft.leading).all(axis=1)
        fits &= known | (step[:, 0] == 0) | (step[:, 0] == 1)
    if not fits.any():
        return
    for step in steps:
        fits &= step == step[fits][0]
    free = fits & (laid < 0).all(axis=1)
    for chosen in (fits & ~free, free):
        if chosen.any():
            _replace(draft, op, members[chosen], [int(s[chosen][0]) for s in steps])


def _lay(draft: Draft, slots: np.ndarray) -> None:
    """Lay rows of free slots side by side."""
    rows = slots[(draft.place[slots] < 0).all(axis=1) & (slots != slots[:, :1]).any(axis=1)]
    if len(rows):
        rows = different(rows)[0]
        if len(np.unique(rows)) == rows.size:
            draft.lay(rows)


def _in_front(
    draft: Draft, levels: Levels, members: np.ndarray, slots: list[np.ndarray]
) -> np.ndarray:
    """For which rows all that is read is known before the first of them, see `Levels`."""
    lowest = levels.level[members].min(axis=1)[:, None]
    depth = levels.depth[members]
    fits: np.ndarray = np.ones(len(members), bool)
    for operand in slots:
        writer = draft.writers[operand]
        before = (levels.depth[writer] < depth) | (levels.level[writer] < lowest)
        fits &= before.all(axis=1)
    return fits


def _replace(draft: Draft, op: int, members: np.ndarray, moves: list[int]) -> None:
    """One wide instruction for each row of members, whose operands move by these steps."""
    columns, (count, length) = draft.columns, members.shape
    start = [np.zeros(count, np.int64)] * 3
    steps, flags, reads = [0, 0, 0], 0, []
    for j, name in enumerate("abc"):
        operand = columns[name][members].astype(np.int64)
        if SLOT_MASK[op, j]:
            steps[j] = moves.pop(0)
            place = draft.now(operand)
            start[j] = place[:, 0]
            reads.append(place if steps[j] else place[:, :1])
        elif CONSTANT_MASK[op, j]:
            flags |= 1 << j
            values = columns["k"][operand]
            steps[j] = int((values != values[:, :1]).any())
            values = values if steps[j] else values[:, :1]
            start[j] = draft.constants(values) + values.shape[1] * np.arange(count)
    out = draft.span(columns["out"].astype(np.int64)[members])
    loops = [(length, 1, *steps)]
    if (start[2] == start[2][0]).all():
        place = np.full(count, draft.described(length, loops, flags, int(start[2][0])))
    else:
        place = np.array([draft.described(length, loops, flags, u) for u in start[2].tolist()])
    fresh = draft.add(int(WIDENED[op]), out, start[0], start[1], place, members.max(axis=1))
    for part in reads:
        draft.read(fresh, part)
    draft.replace(members, fresh)
