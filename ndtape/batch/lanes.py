"""Many rows of numbers through one traced function: 16 of them side by side in a sweep.

Rows that branch differently are parted by outcome: where a guard stops a pack, the lanes that
disagree leave it, to be packed again on the sibling's tape, and the others go on.  Small arrays
are taken apart; tapes with other operations on arrays are swept row by row, by the same compiled
loop.  Where a tape calls Python, Python takes the rows one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..ops import WIDE_CODES
from ..run import Workspace
from ..traced.program import Outcome, Program, Slots, Trace
from .forms import TO_THE_END, Form, Found, Numbers, Wanted, result_slots, seeded, size_of

HOT = 1024  # rows from which passes pay
MANY = 64  # rows from which it pays to take small arrays apart, 3 us an element

Run = Callable[[int], tuple[Trace, Workspace]]


class Forms:
    """The forms of a trace: by what is wanted, how many rows there are, and were in all."""

    def __init__(self) -> None:
        self.made: dict[Any, Form] = {}
        self.rows: dict[Any, int] = {}

    def for_rows(self, trace: Trace, rows: int, wanted: Wanted | None, level: int) -> Form:
        """The form for so many rows: after the passes where these cost less than they bring."""
        what = None if wanted is None else wanted.chosen or ()
        seen = self.rows[what] = self.rows.get(what, 0) + rows
        key = what, rows >= MANY, level if seen >= HOT else 0
        if key not in self.made:
            self.made[key] = Form(trace, rows >= MANY, wanted, key[-1])
        return self.made[key]


_forms: WeakKeyDictionary[Trace, Forms] = WeakKeyDictionary()


class NotKeptError(Exception):
    """The function changes what it captures: no recording of it is kept."""


class Sweeps:
    """The numbers of many calls, on their way through the tapes of a program.

    `run(i)` records or replays row i alone.  In the end `rows` says which rows took each trace, and
    `results(trace)` has the numbers of their results, a matrix with a row for all.  Where adjoints
    are `wanted` besides, `adjoints` has those that each row has for itself, and `sums` the others.
    """

    def __init__(
        self, program: Program, numbers: Numbers, run: Run, wanted: Wanted | None, level: int
    ) -> None:
        self.program = program
        self.numbers = numbers
        self.count = len(numbers.matrix)
        self.run = run
        self.wanted, self.level = wanted, level
        self.adjoints = np.empty((self.count, 0 if wanted is None else len(wanted.own)))
        self.sums = np.zeros(0 if wanted is None else len(wanted.shared))
        self.rows: dict[Trace, list[np.ndarray]] = {}
        self.matrices: dict[int, np.ndarray] = {}  # by the number of result slots
        self.waiting: dict[Trace, list[np.ndarray]] = {}
        self.visited: dict[Trace, np.ndarray] = {}  # which rows have been on each trace
        rows = np.arange(self.count)
        if program.last is None:
            self.recorded(0)
            rows = rows[1:]
        if program.last is None:
            raise NotKeptError
        self.waiting.setdefault(program.last, []).append(rows)
        while self.waiting:
            trace, parts = self.waiting.popitem()
            rows = np.concatenate(parts)
            if len(rows):
                self.through(trace, rows)

    def results(self, trace: Trace) -> np.ndarray:
        """The matrix of all traces that have as many result slots as this one."""
        count = sum(size_of(part) for part in trace.output.parts if isinstance(part, Slots))
        if count not in self.matrices:
            self.matrices[count] = np.empty((self.count, count))
        return self.matrices[count]

    def recorded(self, row: int) -> None:
        """A row for which the function is recorded; backwards it goes beside others."""
        if self.wanted is None:
            self.alone(row)
            return
        trace, work = self.run(row)
        trace.give_back(work)
        self.waiting.setdefault(trace, []).append(np.array([row]))

    def alone(self, row: int) -> Trace:
        """One row by the way of a single call, which records what is not recorded yet."""
        trace, work = self.run(row)
        if self.wanted is None or self.wanted.values:
            self.results(trace)[row] = work.array("v")[result_slots(trace)]
        if self.wanted is not None:
            self.backwards(trace, work, row, self.wanted)
        trace.give_back(work)
        self.rows.setdefault(trace, []).append(np.array([row]))
        return trace

    def backwards(self, trace: Trace, work: Workspace, row: int, wanted: Wanted) -> None:
        """The adjoints of one row, whose values are known."""
        chosen, columns, _ = seeded(trace, wanted.parts)
        slots = result_slots(trace)[chosen]
        g = work.array("g")
        g[: trace.tape.slots] = 0.0
        seeds = 1.0 if wanted.seeds is None else wanted.seeds[row][columns]
        np.add.at(g, slots, seeds)
        work.whole("reverse", trace.leading[0], len(trace.tape), backwards=True)
        self.adjoints[row] = g[wanted.own]
        self.sums += g[wanted.shared]

    def through(self, trace: Trace, rows: np.ndarray) -> None:
        """Rows through the tape of a trace; those that leave it wait for other traces."""
        if WIDE_CODES["call"] in trace.tape.codes:
            for row in rows.tolist():
                self.alone(row)
            return
        wanted = self.wanted
        form = _forms.setdefault(trace, Forms()).for_rows(trace, len(rows), wanted, self.level)
        self.visited.setdefault(trace, np.zeros(self.count, bool))[rows] = True
        outputs = self.results(trace) if wanted is None or wanted.values else None
        found = Found(outputs, self.adjoints, self.sums)
        stops, seen = form.sweep(trace, rows, self.numbers, found, wanted)
        kept = rows[stops == TO_THE_END]
        self.rows.setdefault(trace, []).append(kept)
        trace.runs += len(kept)
        self.program.replays += len(rows)
        self.program.instructions += len(rows) * form.length
        for i, outcome, here in parted(stops, seen):
            self.turn(trace, form.guard(i), (outcome,), rows[here])

    def turn(self, trace: Trace, i: int, outcome: Outcome, rows: np.ndarray) -> None:
        """Rows that go another way at instruction i: to the sibling, recorded if need be."""
        guard = next(g for g in trace.guards if g.index == i)
        here = guard.file, guard.line
        self.program.turns += len(rows)
        self.program.flips[here] = self.program.flips.get(here, 0) + len(rows)
        sibling = self.sibling(trace, i, outcome)
        if sibling is None:
            self.recorded(int(rows[0]))
            rows = rows[1:]
            sibling = self.sibling(trace, i, outcome)
        # At a tie, sums that are added in another order may decide otherwise: what has been on the
        # sibling before, or does not lead there alone, is not sent to and fro.
        alone = rows
        if sibling is not None:
            visited = self.visited.setdefault(sibling, np.zeros(self.count, bool))[rows]
            alone = rows[visited]
            self.waiting.setdefault(sibling, []).append(rows[~visited])
        for row in alone.tolist():
            self.alone(row)

    def sibling(self, trace: Trace, i: int, outcome: Outcome) -> Trace | None:
        """The trace that goes on with this outcome at instruction i, if there is one."""
        known = trace.siblings.get((i, outcome)) or self.program._find(trace, i, outcome)
        if known is not None:
            trace.siblings[i, outcome] = known
        return known


def parted(stops: np.ndarray, seen: np.ndarray) -> Iterator[tuple[int, float, np.ndarray]]:
    """Rows that left, by guard and by what they saw there: guard, outcome, places of the rows."""
    left = np.flatnonzero(stops != TO_THE_END)
    if not len(left):
        return
    order = left[np.lexsort((seen[left], stops[left]))]
    keys = np.stack([stops[order].astype(np.float64), seen[order]])
    first = np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1
    for group in np.split(order, first):
        yield int(stops[group[0]]), float(seen[group[0]]), group
