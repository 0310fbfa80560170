"""How long each instruction of a tape takes, in a sweep that goes one way.

A clock costs as much as a dozen instructions, so none is read between them.  Instead

1. the *whole* sweep is timed, as users run it;
2. the tape is cut into *stretches*, and a sweep is timed that calls each one by itself;
3. instructions are grouped in *classes*, of one operation on one shape; some of each are repeated
   in a compiled loop, which says what one costs with its numbers in the nearest cache.

Step 3 divides the time of a stretch among its instructions.  What they take longer in the sweep
than alone (mispredicted branches, numbers that come from afar) is spread over all of them alike;
where they take less, all are scaled.  At last everything is scaled to the whole; `agreement`
says by how much.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .. import nest
from ..ops import FIRST_WIDE, WIDE_CODES
from ..run import Workspace, address, entry
from ..tape import BYTES_PER_INSTRUCTION, CONSTANT_MASK
from ._repeat import repeat

CALL = WIDE_CODES["call"]
STRETCHES = 256  # at most, besides those between calls
STRETCH_SECONDS = 4e-6  # at least: a clock and a call cost 0.2e-6
SAMPLES = 12  # instructions of a class that are repeated
CLASSES = 2000  # whose instructions are repeated; those of others are taken for alike
REPEAT_SECONDS, TRIES = 4e-6, 3
BUDGET = 0.1  # seconds of whole sweeps, and as long for stretches
QUICK = 0.01  # seconds of a sweep that goes without looking for Ctrl-C
TOGETHER, TICKS = 16, 1e-6  # timings whose mean is taken, of what takes less seconds than this
FEWEST, MOST = 3, 1000  # sweeps; one, where it takes longer than all of them should


class Costs(NamedTuple):
    """Seconds of one sweep: of the whole, and of each instruction.

    `stretches` is what its stretches took together over the whole, before anything was scaled;
    `alone` is the same for the instructions when repeated alone.
    """

    whole: float
    seconds: np.ndarray
    stretches: float
    alone: float


class Sweeper:
    """One sweep over a workspace whose numbers are there, by ranges of instructions."""

    def __init__(self, work: Workspace, name: str, lo: int, hi: int) -> None:
        self.work, self.name, self.lo, self.hi = work, name, lo, hi
        self.tape = work.tape
        self.backwards = name == "reverse"
        self.columns = self.tape.columns()
        self.calls = lo + np.flatnonzero(self.columns["op"][lo:hi] == CALL)
        self.loops = any(call.loop is not None for call in self.tape.calls)
        self.where = address(name)
        work.prepare(name)
        self.hold = entry("holding")
        self.start = work.array("g").copy() if self.backwards else None
        # A call with the clock.
        self.empty = float(least(np.array([self.range(lo, lo) for _ in range(MOST)])))
        bases = [chunk.base for chunk in self.tape.chunks if lo < chunk.base < hi]
        self.pieces = list(pairwise([lo, *bases, hi]))  # which compiled code does in one call
        self.quick = False  # so that Ctrl-C may wait for a sweep

    # --- timing -----------------------------------------------------------------------------------

    def reset(self) -> None:
        """Let the adjoints be those before the sweep, and loops have run forward."""
        if self.start is not None:
            self.work.array("g")[:] = self.start
            if self.loops:
                self.work.whole("forward", self.lo, self.hi)

    def timed(self) -> float:
        """Seconds of the whole sweep; of a quick one, without Python's part."""
        self.reset()
        if self.quick:
            pieces = self.pieces[::-1] if self.backwards else self.pieces
            return sum([self.range(lo, hi) - self.empty for lo, hi in pieces])
        start = time.perf_counter()
        self.work.whole(self.name, self.lo, self.hi, self.backwards)
        return time.perf_counter() - start

    def range(self, lo: int, hi: int) -> float:
        """Seconds of a part of it that lies in one chunk; Python executes calls on the way."""
        self.work.enter(self.tape.chunk_of(lo))
        clock, frame = time.perf_counter, self.work.frame_address
        start = clock()
        while status := self.hold(self.where, frame, lo, hi):
            i = self.work.stopped(self.name, status - 1)
            lo, hi = (lo, i) if self.backwards else (i + 1, hi)
        return clock() - start

    # --- stretches --------------------------------------------------------------------------------

    def cuts(self, whole: float) -> np.ndarray:
        """Where stretches begin, and the end: at calls, at chunks, and in between."""
        count = int(min(STRETCHES, max(whole / STRETCH_SECONDS, 1)))
        places = np.concatenate([
            np.linspace(self.lo, self.hi, count + 1).astype(np.int64), self.calls, self.calls + 1,
            [lo for lo, _ in self.pieces],
        ])  # fmt: skip
        cuts: np.ndarray = np.unique(places.astype(np.int64))
        return cuts

    def stretches(self, cuts: np.ndarray, whole: float) -> np.ndarray:
        """Seconds of each stretch, the least of several sweeps."""
        ranges = list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
        order = ranges[::-1] if self.backwards else ranges
        found = []
        for _ in sweeps_for(whole):
            self.reset()
            found.append([self.range(lo, hi) - self.empty for lo, hi in order])
        taken = np.maximum(least(np.array(found)), 0.0)
        ordered: np.ndarray = taken[::-1] if self.backwards else taken
        return ordered

    # --- one by one -------------------------------------------------------------------------------

    def alone(self) -> np.ndarray:
        """Seconds of each instruction by its class, when repeated alone; 0 for calls."""
        self.reset()
        if self.backwards:  # with the adjoints that they meet
            self.work.whole(self.name, self.lo, self.hi, True)
        classes, coarse = self._classes()
        chosen = _samples(classes)
        chosen = np.sort(chosen[~np.isin(chosen + self.lo, self.calls)])
        # Backwards, an instruction changes the adjoints of earlier ones, which are timed before it.
        empty = self._repeated(self.lo, self.lo, self.lo)
        places = (self.lo + chosen).tolist()
        timed = np.array([max(self._repeated(i, i, i + 1) - empty, 0.0) for i in places])
        costs = np.zeros(self.hi - self.lo)
        for groups in (coarse, classes):
            _spread(costs, groups, chosen, timed)
        costs[self.calls - self.lo] = 0.0
        return costs

    def _classes(self) -> tuple[np.ndarray, np.ndarray]:
        """A number for each instruction, the same for those of one operation on one shape; and the
        same for operation and size alone."""
        codes = self.columns["op"][self.lo : self.hi].astype(np.int64)
        wide = codes >= FIRST_WIDE
        places, sizes = np.zeros((2, len(codes)), np.int64)
        places[wide] = self.columns["c"][self.lo : self.hi][wide]
        sizes[wide] = self.columns["m"][places[wide] + nest.SIZE]
        keys = codes * (1 << 40) + places, codes * (1 << 40) + sizes
        fine, coarse = (np.unique(key, return_inverse=True)[1] for key in keys)
        return fine, coarse

    def _repeated(self, i: int, lo: int, hi: int) -> float:
        """Seconds of a call over instructions lo..hi, repeated."""
        self.work.enter(self.tape.chunk_of(i))
        call, count, tries, slow, best = repeat(), 1, 0, 0, np.inf
        while tries < TRIES:
            start = time.perf_counter()
            call(self.where, self.work.frame_address, lo, hi, count)
            seconds = time.perf_counter() - start
            best = min(best, seconds / count)
            slow += seconds > BUDGET / 10
            if slow == 2:  # once may be another program's turn
                break
            if seconds < REPEAT_SECONDS and count < MOST:
                count *= 4
            else:
                tries += 1
        return best


def _samples(classes: np.ndarray) -> np.ndarray:
    """Some instructions of each class, from its beginning to its end."""
    order = np.argsort(classes, kind="stable")
    starts = np.flatnonzero(np.diff(classes[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    if len(starts) > CLASSES:
        kept = np.linspace(0, len(starts) - 1, CLASSES).astype(np.int64)
        starts, ends = starts[kept], ends[kept]
    few = SAMPLES if len(starts) < CLASSES // SAMPLES else 1
    chosen = [order[np.linspace(lo, hi - 1, min(few, hi - lo)).astype(np.int64)]
              for lo, hi in zip(starts.tolist(), ends.tolist(), strict=True)]  # fmt: skip
    found: np.ndarray = np.unique(np.concatenate([np.zeros(0, np.int64), *chosen]))
    return found


def _spread(costs: np.ndarray, groups: np.ndarray, chosen: np.ndarray, timed: np.ndarray) -> None:
    """Give all instructions of a group the mean of those that have been timed, if any."""
    size = int(groups.max(initial=-1)) + 1
    counts = np.bincount(groups[chosen], minlength=size)
    mean = np.bincount(groups[chosen], timed, minlength=size) / np.maximum(counts, 1)
    known = counts[groups] > 0
    costs[known] = mean[groups[known]]


def sweeps_for(seconds: float) -> Iterator[int]:
    """As many turns as the budget allows for sweeps that take so long."""
    if seconds > BUDGET:
        return iter(range(1))
    return iter(range(int(min(max(BUDGET / max(seconds, 1e-9), FEWEST), MOST))))


def costs_of(work: Workspace, name: str, lo: int, hi: int) -> Costs:
    """What a sweep over lo..hi costs, instruction by instruction.

    The workspace has values, and for "reverse" the adjoints of the roots, all others 0.
    """
    if lo >= hi:
        return Costs(0.0, np.zeros(0), 1.0, 1.0)
    sweeper = Sweeper(work, name, lo, hi)
    sweeper.timed()  # kernels may be compiled in the very first one
    first = sweeper.timed()
    sweeper.quick = first < QUICK
    whole = max(1e-9, float(least(np.array([sweeper.timed() for _ in sweeps_for(first)]))))
    cuts = sweeper.cuts(whole)
    stretches = sweeper.stretches(cuts, whole)
    alone = sweeper.alone()
    seconds = np.empty(hi - lo)
    for start, end, taken in zip(cuts[:-1] - lo, cuts[1:] - lo, stretches, strict=True):
        seconds[start:end] = divided(alone[start:end], taken)
    total = float(stretches.sum())
    by_itself = float(alone.sum() + stretches[np.isin(cuts[:-1], sweeper.calls)].sum())
    seconds *= whole / total if total else 0.0
    return Costs(whole, seconds, total / whole, by_itself / whole)


def least(timings: np.ndarray) -> Any:
    """The mean of the best timings, a twentieth of all; where each is of several parts, of those
    with the least sums, so that parts and wholes are from moments of one kind.

    Many short ones are first taken together in groups: a clock may tick every ten nanoseconds.
    """
    if len(timings) >= 4 * TOGETHER and timings.min() < TICKS:
        whole = len(timings) // TOGETHER * TOGETHER
        timings = timings[:whole].reshape(-1, TOGETHER, *timings.shape[1:]).mean(1)
    sums = timings.reshape(len(timings), -1).sum(1)
    return timings[np.argsort(sums)[: max(len(sums) // 20, 1)]].mean(0)


def divided(alone: np.ndarray, taken: float) -> np.ndarray:
    """The time of a stretch among its instructions."""
    known = float(alone.sum())
    if known <= taken:
        return alone + (taken - known) / len(alone)
    return alone * (taken / known)


def bytes_of(work: Workspace) -> np.ndarray:
    """Bytes that a gradient needs for each instruction: its columns, descriptor and constants, its
    values and adjoints.  What no instruction uses alone is with the last entry, one more."""
    tape = work.tape
    columns = tape.columns()
    n = len(tape)
    found = np.zeros(n + 1, np.int64)
    sizes = np.ones(n, np.int64)
    seen: set[int] = set()
    words = constants = 0
    codes = columns["op"]
    for i in np.flatnonzero(codes >= FIRST_WIDE).tolist():
        instruction = tape.instruction(i)
        sizes[i] = instruction.size
        c = int(columns["c"][i])
        if c not in seen:
            seen.add(c)
            length = nest.length(instruction.name, columns["m"], c)
            words += length
            found[i] += 8 * length
        for walk in instruction.operands:
            if walk.constant:
                low, high = walk.bounds()
                constants += high + 1 - low
                found[i] += 8 * (high + 1 - low)
    own = CONSTANT_MASK[codes].sum(1)
    constants += int(own.sum())
    found[:n] += BYTES_PER_INSTRUCTION + 16 * sizes + 8 * own
    found[n] = 8 * (len(columns["m"]) - words + len(columns["k"]) - constants)
    return found
