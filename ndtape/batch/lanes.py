"""Many rows of numbers through one traced function: 16 of them side by side in a sweep.

Rows that branch differently are parted by outcome: where a guard stops a pack, the lanes that
disagree leave it, to be packed again on the sibling's tape, and the others go on.  Small arrays
are taken apart; tapes with other operations on arrays are swept row by row, by the same compiled
loop.  Where a tape calls Python, Python takes the rows one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ..ops import WIDE_CODES
from ..run import LANES, RELEASE, Workspace, address, entry
from ..tape import Tape, address_of
from ..traced.program import Outcome, Program, Slots, Trace
from .unrolled import unrolled

PIECE = 1 << 24  # instructions times lanes in one call: 20 ms, which Ctrl-C waits for

LARGEST = 1 << 20  # slots that are swept in packs: their numbers are 128 MB then
MANY = 64  # rows from which it pays to take small arrays apart, 3 us an element
TO_THE_END = np.uint64((1 << 64) - 1)  # as in _rows.py, which loads Numba

Run = Callable[[int], tuple[Trace, Workspace]]
_idle: WeakKeyDictionary[Trace, dict[bool, list[Work]]] = WeakKeyDictionary()


class Numbers(NamedTuple):
    """The inputs of many calls: those of the first, and a matrix of those that differ."""

    first: np.ndarray  # (slots,)
    places: np.ndarray  # which of them differ
    matrix: np.ndarray  # (rows, places)

    def followed_by(self, more: np.ndarray) -> Numbers:
        """The same with further inputs, which are equal in all rows."""
        return self._replace(first=np.concatenate([self.first, more])) if more.size else self

    def row(self, i: int) -> np.ndarray:
        numbers = self.first.copy()
        numbers[self.places] = self.matrix[i]
        return numbers


class Work:
    """What the compiled loop needs to know of one tape: buffers, addresses, slots of results.

    Its tape is that of the trace, or what `unrolled` makes of it; `guards` are their numbers on
    the trace.
    """

    def __init__(self, trace: Trace, many: bool) -> None:
        from . import _rows

        tape: Tape = trace.tape
        known = trace.leading[0]
        self.guards: dict[int, int] | None = None
        self.slots = result_slots(trace)
        arrays = any(index >= known for index, *_ in tape.wide)
        if arrays and many:
            scalar = unrolled(trace)
            if scalar is not None:
                tape, known, arrays = scalar.tape, trace.leading[1], False
                self.guards = scalar.guards
                self.slots = scalar.slots[self.slots.astype(np.int64)].astype(np.uint64)
        self.length = len(tape) - known
        self.lanes = 1 if arrays or tape.slots > LARGEST else LANES
        self.work = Workspace(tape, self.lanes)
        self.work.array("v")
        self.work.lay_out()
        self.work.enter(tape.chunks[0])
        self.work.prepare("forward")
        self.state = np.zeros(len(_rows.STATE), np.uint64)
        self.cost = (len(tape) + (tape.slots if arrays else 0)) * self.lanes  # of a pack
        self.address = _rows.rows.address
        self.set = dict(zip(_rows.STATE, range(len(_rows.STATE)), strict=True))
        suffix = "" if self.lanes == 1 else "_packs"
        self._put(forward=address("forward" + suffix), frame=self.work.frame_address,
                  known=known, end=len(tape), slots=place_of(self.slots),
                  results=len(self.slots), lanes=self.lanes)  # fmt: skip

    def _put(self, **words: int) -> None:
        for name, word in words.items():
            self.state[self.set[name]] = word

    def sweep(
        self, rows: np.ndarray, numbers: Numbers, outputs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of `numbers` to rows of `outputs`, as far as no guard stops them.

        Returns for each the guard that did, or TO_THE_END, and what it saw there.
        """
        count, packs = len(rows), -(-len(rows) // self.lanes)
        given, rows = rows, np.empty(packs * self.lanes, np.uint64)
        rows[:count], rows[count:] = given, given[-1]  # idle lanes repeat the last row
        stops = np.zeros(len(rows), np.uint64)
        stops[:count] = TO_THE_END
        seen = np.empty(len(rows))
        self._put(rows=address_of(rows), stops=address_of(stops), seen=address_of(seen),
                  inputs=place_of(numbers.matrix), places=place_of(numbers.places),
                  width=len(numbers.places), outputs=place_of(outputs))  # fmt: skip
        self.work.arrays["v"].reshape(-1, self.lanes)[: len(numbers.first)] = numbers.first[:, None]
        lo, step = 0, max(1, PIECE // max(self.cost, 1))
        while lo < packs:
            hi = min(packs, lo + step)
            call = entry("releasing" if (hi - lo) * self.cost >= RELEASE else "holding")
            if call(self.address, address_of(self.state), lo, hi):
                self.work.stopped("forward", int(self.state[self.set["stopped"]]))
            lo = hi
        return stops[:count], seen[:count]


def place_of(array: np.ndarray) -> int:
    """The address of an array that may be empty, or not be written into."""
    return int(array.ctypes.data)


def result_slots(trace: Trace) -> np.ndarray:
    """The slots of all results of a trace, one behind the other."""
    spans = [np.arange(p.start, p.start + size_of(p)) for p in trace.output.parts
             if isinstance(p, Slots)]  # fmt: skip
    return np.concatenate([np.zeros(0, np.int64), *spans]).astype(np.uint64)


def size_of(part: Slots) -> int:
    return math.prod(part.shape or ())


class NotKeptError(Exception):
    """The function changes what it captures: no recording of it is kept."""


class Sweeps:
    """The numbers of many calls, on their way through the tapes of a program.

    `run(i)` records or replays row i alone.  In the end `rows` says which rows took each trace, and
    `results(trace)` has the numbers of their results, a matrix with a row for all.
    """

    def __init__(self, program: Program, numbers: Numbers, run: Run) -> None:
        self.program = program
        self.numbers = numbers
        self.count = len(numbers.matrix)
        self.run = run
        self.rows: dict[Trace, list[np.ndarray]] = {}
        self.matrices: dict[int, np.ndarray] = {}  # by the number of result slots
        self.waiting: dict[Trace, list[np.ndarray]] = {}
        self.visited: dict[Trace, np.ndarray] = {}  # which rows have been on each trace
        rows = np.arange(self.count)
        if program.last is None:
            self.alone(0)
            rows = rows[1:]
        if program.last is None:
            raise NotKeptError
        self.waiting[program.last] = [rows]
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

    def alone(self, row: int) -> Trace:
        """One row by the way of a single call, which records what is not recorded yet."""
        trace, work = self.run(row)
        self.results(trace)[row] = work.array("v")[result_slots(trace)]
        trace.give_back(work)
        self.rows.setdefault(trace, []).append(np.array([row]))
        return trace

    def through(self, trace: Trace, rows: np.ndarray) -> None:
        """Rows through the tape of a trace; those that leave it wait for other traces."""
        if WIDE_CODES["call"] in trace.tape.codes:
            for row in rows.tolist():
                self.alone(row)
            return
        many = len(rows) >= MANY
        idle = _idle.setdefault(trace, {}).setdefault(many, [])
        try:
            work = idle.pop()
        except IndexError:
            work = Work(trace, many)
        self.visited.setdefault(trace, np.zeros(self.count, bool))[rows] = True
        stops, seen = work.sweep(rows, self.numbers, self.results(trace))
        idle.append(work)
        kept = rows[stops == TO_THE_END]
        self.rows.setdefault(trace, []).append(kept)
        trace.runs += len(kept)
        self.program.replays += len(rows)
        self.program.instructions += len(rows) * work.length
        for i, outcome, here in parted(stops, seen):
            guard = i if work.guards is None else work.guards[i]
            self.turn(trace, guard, (outcome,), rows[here])

    def turn(self, trace: Trace, i: int, outcome: Outcome, rows: np.ndarray) -> None:
        """Rows that go another way at instruction i: to the sibling, recorded if need be."""
        guard = next(g for g in trace.guards if g.index == i)
        here = guard.file, guard.line
        self.program.turns += len(rows)
        self.program.flips[here] = self.program.flips.get(here, 0) + len(rows)
        sibling = self.sibling(trace, i, outcome)
        if sibling is None:
            self.alone(int(rows[0]))
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
