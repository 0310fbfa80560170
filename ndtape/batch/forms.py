"""What the rows of a trace are swept with: its code in the form for many rows, and buffers.

A `Form` is made once for a trace; a `Worker` has buffers for one thread.  Rows go in blocks of
packs over the threads.  Blocks depend on the number of rows and the length of the code alone, and
what rows share is summed block by block: results are the same for every number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ops import APART, INPUT_CODE
from ..passes import Code, Goal, OptimisedTape, code_of, optimised
from ..passes.slots import renumbered
from ..run import LANES, RELEASE, Workspace, address, entry
from ..tape import SLOT_MASK, Tape, address_of
from ..threads import get_num_threads, in_blocks
from ..traced.program import Slots, Trace
from .unrolled import unrolled

LARGEST = 1 << 20  # slots that are swept in packs: their numbers are 128 MB then
MOST_WORK, LEAST_WORK = 1 << 23, 1 << 18  # instructions times lanes in a block: 5 and 0.2 ms
BLOCKS = 64  # so many if they are neither larger nor smaller than that
MOST_SUMS = 1 << 22  # numbers that blocks sum up before they are added
PARALLEL = 1 << 19  # instructions times lanes from which threads pay: 0.3 ms
TO_THE_END = np.uint64((1 << 64) - 1)  # as in _rows.py, which loads Numba
NO_SLOTS = np.zeros(0, np.uint64)


class Wanted(NamedTuple):
    """What is asked for besides values: adjoints of some inputs for seeds of some results."""

    parts: tuple[int, ...]  # of the output, those with seeds
    seeds: np.ndarray | None  # a row for each row: those of all parts side by side; None: ones
    own: np.ndarray = NO_SLOTS  # input slots whose adjoints each row has for itself
    shared: np.ndarray = NO_SLOTS  # those whose adjoints are summed over the rows
    chosen: tuple[int, ...] | None = None  # leaves among the inputs that these are
    values: bool = True  # whether values of the results are asked for as well


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


class Found(NamedTuple):
    """Where numbers of rows go to."""

    outputs: np.ndarray | None  # (rows, result slots)
    adjoints: np.ndarray | None  # (rows, own)
    sums: np.ndarray | None  # (shared,), added to


class Form:
    """The code of a trace for many rows: in packs where it has scalar instructions only.

    `positions` are the numbers of its instructions on the trace, None where they are the same;
    `slots` are those of all results.
    """

    def __init__(self, trace: Trace, many: bool, wanted: Wanted | None, level: int = 0) -> None:
        tape: Tape = trace.tape
        self.known = trace.leading[0]
        self.positions: np.ndarray | None = None
        self.slots = result_slots(trace)
        arrays = any(index >= self.known for index, *_ in tape.wide)
        if arrays and many:
            scalar = unrolled(trace, wanted is not None)
            if scalar is not None:
                tape, self.known, arrays = scalar.tape, trace.leading[1], False
                self.positions = scalar.positions
                self.slots = scalar.slots[self.slots.astype(np.int64)].astype(np.uint64)
        self.words = None
        if arrays and wanted is not None and wanted.chosen is not None:
            self.words = trace.quiet_words(wanted.chosen)
        self.ordered = True  # instructions write slots in their order
        self.apart: Apart | None = None
        self.tape = tape
        if level:
            self._optimise(Goal(level, wanted is not None, not arrays, (1,) * len(self.slots)))
        tape = self.tape
        self.lanes = 1 if arrays or tape.slots > LARGEST else LANES
        if self.lanes == 1:
            self.apart = None
        self.sweeps = [name + ("" if self.lanes == 1 else "_packs")
                       for name in ("forward", "reverse")[: 1 + (wanted is not None)]]  # fmt: skip
        self.length = len(tape) - self.known
        cost = (len(tape) + (tape.slots if arrays else 0)) * self.lanes
        self.cost = max(1, cost * len(self.sweeps))  # of a pack
        self.idle: list[Worker] = []
        self.seeding: dict[Any, tuple[np.ndarray, np.ndarray, int, np.ndarray]] = {}

    def _optimise(self, goal: Goal) -> None:
        code = code_of(self.tape, self.known, self.slots, self.words)
        better = optimised(code, goal)
        if goal.lanes and goal.reverse:
            self.apart = apart(better)
        if better is code:
            return
        whose = better.positions
        self.positions = whose if self.positions is None else self.positions[whose]
        self.tape, self.words, self.ordered = OptimisedTape(better), None, False
        self.slots = better.results.astype(np.uint64)

    def guard(self, i: int) -> int:
        """The number on the trace of a guard."""
        return i if self.positions is None else int(self.positions[i])

    def sweep(
        self, trace: Trace, rows: np.ndarray, numbers: Numbers, found: Found,
        wanted: Wanted | None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Rows of `numbers` to rows of `found`, as far as no guard stops them.

        Returns for each the guard that did, or TO_THE_END, and what it saw there.
        """
        count, packs = len(rows), -(-len(rows) // self.lanes)
        given, rows = rows, np.empty(packs * self.lanes, np.uint64)
        rows[:count], rows[count:] = given, given[-1]  # idle lanes repeat the last row
        stops = np.zeros(len(rows), np.uint64)
        stops[:count] = TO_THE_END
        seen = np.empty(len(rows))
        words = {"rows": place_of(rows), "stops": place_of(stops), "seen": place_of(seen),
                 "inputs": place_of(numbers.matrix), "places": place_of(numbers.places),
                 "width": len(numbers.places), "adjacent": int(is_run(numbers.places)),
                 "slots": place_of(self.slots), "results": len(self.slots),
                 "outputs": 0 if found.outputs is None else place_of(found.outputs)}  # fmt: skip
        words["all_slots"] = self.tape.slots
        keep = [rows, stops, seen]
        shared = 0
        if wanted is not None:
            shared = len(wanted.shared)
            keep += self._seeded(trace, words, found, wanted)
        blocks = Blocks(packs, self.cost, shared)
        threads = get_num_threads() if packs * self.cost >= PARALLEL else 1
        workers = [self._worker() for _ in range(max(1, min(threads, blocks.count)))]
        for worker in workers:
            worker.begin(numbers.first, words)
        for lo in range(0, blocks.count, blocks.together):
            blocks.run(workers, lo, found.sums)
        self.idle += workers
        del keep
        return stops[:count], seen[:count]

    def _seeded(
        self, trace: Trace, words: dict[str, int], found: Found, wanted: Wanted
    ) -> list[np.ndarray]:
        """The words about adjoints, and the arrays whose addresses they are."""
        key = wanted.parts, wanted.own.tobytes(), wanted.shared.tobytes()
        known = self.seeding.get(key)
        if known is None:
            known = self._seeding(trace, wanted)
            self.seeding = {key: known}  # the same in most calls
        slots, columns, width, cleared = known
        adjoints = np.zeros((1, 0)) if found.adjoints is None else found.adjoints
        words |= {"reverse": address(self.sweeps[1]),
                  "seeds": 0 if wanted.seeds is None else place_of(wanted.seeds),
                  "seed_slots": place_of(slots), "seed_columns": place_of(columns),
                  "seeded": len(slots), "seed_width": width,
                  "adjoints": place_of(adjoints), "own": place_of(wanted.own),
                  "owned": len(wanted.own), "shared": place_of(wanted.shared),
                  "summed": len(wanted.shared), "cleared": place_of(cleared),
                  "clearings": len(cleared) // 2}  # fmt: skip
        return [slots, columns, cleared, adjoints]

    def _seeding(
        self, trace: Trace, wanted: Wanted
    ) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
        """Where seeds go, the columns that they come from and how many there are; what to clear."""
        numbers, columns, width = seeded(trace, wanted.parts)
        # Slots of the trace's results, in their order: those of the form stand at the same places.
        slots = (self.slots if self.apart is None else self.apart.results)[numbers]
        if self.lanes == 1:
            cleared = gaps(np.sort(wanted.shared.astype(np.int64)), self.tape.slots)
        else:  # sweeps over packs leave zero in all slots but those of inputs
            cleared = runs(np.sort(wanted.own.astype(np.int64)))
        return slots, columns, width, cleared

    def _worker(self) -> Worker:
        try:
            return self.idle.pop()
        except IndexError:
            return Worker(self)


class Worker:
    """Buffers and state of one thread."""

    def __init__(self, form: Form) -> None:
        from . import _rows

        self.form = form
        tape = form.tape
        self.work = work = Workspace(tape, form.lanes)
        for name in ("v", "g")[: 1 if form.apart is not None else len(form.sweeps)]:
            work.array(name)
        work.own_words = form.words
        work.lay_out()
        work.enter(tape.chunks[0])
        if form.apart is not None:
            work.apart("g", form.apart.slots, form.apart.columns)
        for name in ("forward", "reverse")[: len(form.sweeps)]:
            work.prepare(name)
        self.state = np.zeros(len(_rows.STATE), np.uint64)
        self.address = address_of(self.state)
        self.places = dict(zip(_rows.STATE, range(len(_rows.STATE)), strict=True))
        self.loop = _rows.rows.address
        self._put({"forward": address(form.sweeps[0]), "frame": work.frame_address,
                   "known": form.known, "end": len(tape), "lanes": form.lanes,
                   "ordered": int(form.ordered)})  # fmt: skip

    def _put(self, words: dict[str, int]) -> None:
        for name, word in words.items():
            self.state[self.places[name]] = word

    def begin(self, first: np.ndarray, words: dict[str, int]) -> None:
        """Before blocks: what all rows share, and what the words say."""
        self._put(words)
        self.work.arrays["v"].reshape(-1, self.form.lanes)[: len(first)] = first[:, None]

    def block(self, lo: int, hi: int, sums: np.ndarray) -> None:
        """Packs lo..hi; the sums over their rows of what these share."""
        form = self.form
        self._put({"sums": place_of(sums)})
        call = entry("releasing" if (hi - lo) * form.cost >= RELEASE else "holding")
        if call(self.loop, self.address, lo, hi):
            self.work.stopped("forward", int(self.state[self.places["stopped"]]))


class Blocks:
    """The division of packs into blocks; so many are computed before their sums are added."""

    def __init__(self, packs: int, cost: int, shared: int) -> None:
        least, most = max(1, LEAST_WORK // cost), max(1, MOST_WORK // cost)
        self.packs, self.shared = packs, shared
        self.step = min(max(-(-packs // BLOCKS), least), most)
        self.count = -(-packs // self.step)
        self.together = max(8, MOST_SUMS // shared) if shared else self.count
        self.together = max(1, min(self.together, self.count))

    def run(self, workers: Sequence[Worker], first: int, totals: np.ndarray | None) -> None:
        """The blocks from `first` on, as many as are summed together."""
        count = min(self.together, self.count - first)
        sums = np.empty((count, self.shared))

        def task(worker: int, block: int) -> None:
            lo = (first + block) * self.step
            workers[worker].block(lo, min(self.packs, lo + self.step), sums[block])

        in_blocks(task, count, len(workers))
        if totals is not None and self.shared:
            for part in sums:  # in order
                totals += part


class Apart(NamedTuple):
    """Where the adjoints of code for packs lie: they are consumed, and use slots again."""

    columns: dict[str, np.ndarray]  # as in APART
    results: np.ndarray
    slots: int


def apart(code: Code) -> Apart | None:
    """Slots for adjoints: two results may share one if their values could.

    An adjoint lives from the last reader of the result back to its writer, the value the other way
    round.  Constants, of which nobody wants adjoints, have a slot for all.
    """
    shared = renumbered(code, Goal(reverse=False, lanes=True, parts=(1,) * len(code.results)))
    if shared is None:
        return None
    columns, op, nowhere = code.columns, code.columns["op"], shared.slots
    constant = np.zeros(code.slots, bool)
    constant[columns["out"][code.inputs :][op[code.inputs :] == INPUT_CODE]] = True
    found = {}
    for j, (name, like) in enumerate(zip(APART, ("out", "a", "b", "c"), strict=True)):
        slots = columns[like] if not j else np.where(SLOT_MASK[op, j - 1], columns[like], 0)
        found[name] = np.where(constant[slots], nowhere, shared.columns[like]).astype(np.uint32)
    return Apart(found, shared.results.astype(np.uint64), nowhere + 1)


def runs(slots: np.ndarray) -> np.ndarray:
    """Sorted slots as spans (first, end), one behind the other."""
    begins = np.diff(slots, prepend=-2) != 1
    ends = np.append(begins[1:], True) if len(slots) else begins
    return np.stack([slots[begins], slots[ends] + 1], 1).ravel().astype(np.uint64)


def is_run(slots: np.ndarray) -> bool:
    """Whether slots that ascend lie side by side."""
    return len(slots) > 0 and int(slots[-1]) - int(slots[0]) == len(slots) - 1


def place_of(array: np.ndarray) -> int:
    """The address of an array that may be empty, or not be written into."""
    return int(array.__array_interface__["data"][0])  # a fifth of the time of array.ctypes


def result_slots(trace: Trace) -> np.ndarray:
    """The slots of all results of a trace, one behind the other."""
    spans = [np.arange(p.start, p.start + size_of(p)) for p in trace.output.parts
             if isinstance(p, Slots)]  # fmt: skip
    return np.concatenate([np.zeros(0, np.int64), *spans]).astype(np.uint64)


def seeded(trace: Trace, parts: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int]:
    """For each number of these parts of the output that is on the tape: which of all such numbers
    it is, and its column among the seeds; and how many columns there are."""
    chosen, columns = [], []
    place = column = 0
    for j, part in enumerate(trace.output.parts):
        size = math.prod(getattr(part, "shape", None) or ())
        if j in parts:
            if isinstance(part, Slots):
                chosen.append(np.arange(place, place + size))
                columns.append(np.arange(column, column + size))
            column += size
        place += size if isinstance(part, Slots) else 0
    empty = np.zeros(0, np.int64)
    return (np.concatenate([empty, *chosen]),
            np.concatenate([empty, *columns]).astype(np.uint64), column)  # fmt: skip


def gaps(slots: np.ndarray, end: int) -> np.ndarray:
    """The spans (first, end) of 0..end without some of its slots, one behind the other."""
    edges = np.concatenate([[-1], slots, [end]])
    first, last = edges[:-1] + 1, edges[1:]
    kept = first < last
    return np.stack([first[kept], last[kept]], 1).ravel().astype(np.uint64)


def size_of(part: Slots) -> int:
    return math.prod(part.shape or ())
