"""Sweeps for the derivatives of one evaluation: in one direction, or in many.

A direction is a number for some slots: tangents of inputs, or cotangents of results.  Jacobians and
Hessians take many with a single one each.  On tapes of scalar instructions 16 of those go side by
side in the lanes of a sweep; on others one after the other; and in either case in several threads.
Functions for many call `take` from any of these, with a slice of the directions and the buffer of
the sweep, which has a column for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..run import LANES, RELEASE, Workspace, address, leading_inputs
from ..threads import get_num_threads, in_blocks
from .evaluation import Evaluation

LEAST = 6  # directions for which lanes are worth their buffers, measured
MOST = 1 << 16  # slots; beyond, the numbers of 16 lanes leave the caches

PARALLEL = 1 << 19  # slots times directions from which threads pay

Take = Callable[[slice, np.ndarray], None]
Seeds = np.ndarray | Sequence[np.ndarray]  # a slot for each direction, or several: 1 in each


def tangent(call: Evaluation, slots: np.ndarray, numbers: Any = 1.0) -> np.ndarray:
    """Forward mode: the tangents t of everything."""
    work, tape = call.work, call.tape
    call.values()
    t: np.ndarray = work.array("t")
    t[: tape.slots] = 0.0
    t[slots] = numbers
    work.whole("tangent", 0, len(tape))
    return t


def adjoint(call: Evaluation, slots: np.ndarray, numbers: Any = 1.0) -> np.ndarray:
    """Reverse mode: the adjoints g of everything; what slots are given twice is added up."""
    work, tape = call.work, call.tape
    call.values()
    g: np.ndarray = work.array("g")
    g[: tape.slots] = 0.0
    np.add.at(g, slots, numbers)
    work.whole("reverse", 0, tape.index_of_slot(int(slots.max())) + 1, backwards=True)
    return g


def second(
    call: Evaluation, root: int, slots: np.ndarray, numbers: Any = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Forward over reverse: the adjoints g for a root, and how they change along the direction."""
    tangent(call, slots, numbers)
    work, tape = call.work, call.tape
    g, h = work.array("g"), work.array("h")
    g[: tape.slots] = h[: tape.slots] = 0.0
    g[root] = 1.0
    work.whole("forward_over_reverse", 0, tape.index_of_slot(root) + 1, backwards=True)
    return g, h


# --- many -----------------------------------------------------------------------------------------


def tangents(call: Evaluation, seeds: Seeds, take: Take) -> None:
    """Forward mode along each of the seeds."""

    def one(engine: Engine, unit: Seeds) -> np.ndarray:
        return engine.tangent(unit)

    _all(call, seeds, take, one, ("tangent",))


def adjoints(call: Evaluation, seeds: Seeds, take: Take) -> None:
    """Reverse mode with each of the seeds as roots."""

    def one(engine: Engine, unit: Seeds) -> np.ndarray:
        return engine.reverse(unit)

    _all(call, seeds, take, one, ("reverse",))


def seconds(call: Evaluation, root: int, seeds: Seeds, take: Take) -> None:
    """Forward over reverse: how the adjoints for a root change along each of the seeds."""

    def one(engine: Engine, unit: Seeds) -> np.ndarray:
        return engine.second(root, unit)

    _all(call, seeds, take, one, ("tangent", "forward_over_reverse"))


def _all(
    call: Evaluation,
    seeds: Seeds,
    take: Take,
    one: Callable[[Engine, Seeds], np.ndarray],
    sweeps: Sequence[str],
) -> None:
    """`one` for groups of seeds, side by side in lanes and in threads where that pays.

    Each group has numbers of its own: nothing depends on how many threads there are.
    """
    tape: Any = call.tape
    if not len(seeds):
        return
    call.values()
    first = _first(tape, len(seeds))
    lanes = 1 if first is None else LANES
    groups = [slice(j, min(j + lanes, len(seeds))) for j in range(0, len(seeds), lanes)]
    workers = 1
    if not tape.calls and tape.slots * lanes * len(groups) >= PARALLEL:
        workers = min(get_num_threads(), len(groups))
    engines = [Engine(call, first, lanes, sweeps, alone=workers == 1) for _ in range(workers)]
    share = max(1, RELEASE // (tape.slots * lanes))  # groups that are worth a block

    def block(worker: int, number: int) -> None:
        for group in groups[number * share : (number + 1) * share]:
            take(group, one(engines[worker], seeds[group]))

    in_blocks(block, -(-len(groups) // share), workers)


def _first(tape: Any, count: int) -> int | None:
    """Where lanes begin; None where the tape, or the number of directions, does not suit them."""
    if count < LEAST or tape.calls or tape.origin + tape.chunks[-1].size > MOST:
        return None
    first = 0
    if tape.wide:  # arrays as arguments are no work for a sweep: it begins behind them
        first = leading_inputs(tape)[0]
        if tape.wide[-1][0] >= first:
            return None
    return first


class Engine:
    """Sweeps of one thread over an evaluation, with the values that it has.

    In 16 lanes these are the same in each, and sweeps begin at instruction `first`.
    """

    def __init__(
        self, call: Evaluation, first: int | None, lanes: int, sweeps: Sequence[str], alone: bool
    ) -> None:
        values = call.values()
        self.tape, self.first = call.tape, first or 0
        self.slots, self.lanes = call.tape.slots, lanes
        self.suffix = "" if lanes == 1 else "_packs"
        if lanes == 1 and alone:
            self.work = call.work
            return
        self.work = work = Workspace(call.tape, lanes)
        work.own_words = call.work.own_words
        known = values[: self.slots]
        work.array("v")[: self.slots] = known if lanes == 1 else known[:, None]
        work.swept = len(call.tape)
        work.lay_out()
        for name in sweeps:  # loaded here, not by several threads at once
            work.prepare(name)
            address(name + self.suffix)

    def _zeros(self, name: str) -> np.ndarray:
        buffer: np.ndarray = self.work.array(name)
        buffer[: self.slots] = 0.0
        return buffer

    def _units(self, name: str, seeds: Seeds) -> np.ndarray:
        """A buffer with 1 in the slots of another direction for each lane; the part of these."""
        buffer = self._zeros(name)
        if self.lanes == 1:
            buffer[seeds[0]] = 1.0
            return buffer[:, None]
        count = len(seeds)
        lanes = np.arange(count)
        if not isinstance(seeds, np.ndarray):
            lanes = np.repeat(lanes, [len(slots) for slots in seeds])
            seeds = np.concatenate(seeds)
        buffer[seeds, lanes] = 1.0
        return buffer[:, :count]

    def tangent(self, seeds: Seeds) -> np.ndarray:
        t = self._units("t", seeds)
        self.work.whole("tangent" + self.suffix, self.first, len(self.tape))
        return t

    def reverse(self, seeds: Seeds) -> np.ndarray:
        g = self._units("g", seeds)
        self._back("reverse", max(int(np.max(slots, initial=0)) for slots in seeds))
        return g

    def second(self, root: int, seeds: Seeds) -> np.ndarray:
        self.tangent(seeds)
        g, h = self._zeros("g"), self._zeros("h")
        g[root] = 1.0
        self._back("forward_over_reverse", root)
        return h[:, None] if self.lanes == 1 else h[:, : len(seeds)]

    def _back(self, name: str, slot: int) -> None:
        """A sweep backwards from the instruction that a slot is the result of."""
        top = max(self.tape.index_of_slot(slot) + 1, self.first)
        self.work.whole(name + self.suffix, self.first, top, backwards=True)
