"""Sweeps for the derivatives of one evaluation: in one direction, or in many.

A direction is a number for some slots: tangents of inputs, or cotangents of results.  Jacobians and
Hessians take many with a single one each.  On tapes of scalar instructions 16 of those go side by
side in the lanes of a sweep; on others one after the other.  Functions for many yield which of
the directions, and the buffer of the sweep with a column for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..run import LANES, Workspace, leading_inputs
from ..tape import Tape
from .evaluation import Evaluation

LEAST = 6  # directions for which lanes are worth their buffers, measured
MOST = 1 << 16  # slots; beyond, the numbers of 16 lanes leave the caches

Sweeps = Iterator[tuple[slice, np.ndarray]]


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


def tangents(call: Evaluation, slots: np.ndarray) -> Sweeps:
    """Forward mode along each of the slots."""
    packs = _packs(call, len(slots))
    for group, unit in _groups(slots, packs):
        yield group, tangent(call, unit)[:, None] if packs is None else packs.tangent(unit)


def adjoints(call: Evaluation, slots: np.ndarray) -> Sweeps:
    """Reverse mode with each of the slots as root."""
    packs = _packs(call, len(slots))
    for group, unit in _groups(slots, packs):
        yield group, adjoint(call, unit)[:, None] if packs is None else packs.reverse(unit)


def seconds(call: Evaluation, root: int, slots: np.ndarray) -> Sweeps:
    """Forward over reverse: how the adjoints for a root change along each of the slots."""
    packs = _packs(call, len(slots))
    for group, unit in _groups(slots, packs):
        h = second(call, root, unit)[1][:, None] if packs is None else packs.second(root, unit)
        yield group, h


def _groups(slots: np.ndarray, packs: Packs | None) -> Iterator[tuple[slice, np.ndarray]]:
    step = 1 if packs is None else LANES
    for j in range(0, len(slots), step):
        part = slots[j : j + step]
        yield slice(j, j + len(part)), part


def _packs(call: Evaluation, count: int) -> Packs | None:
    """Lanes for that many directions; None where the tape, or their number, does not suit."""
    tape: Any = call.tape
    if count < LEAST or tape.calls or tape.origin + tape.chunks[-1].size > MOST:
        return None
    first = 0
    if tape.wide:  # arrays as arguments are no work for a sweep: it begins behind them
        first = leading_inputs(tape)[0]
        if tape.wide[-1][0] >= first:
            return None
    return Packs(tape, call.values(), first)


class Packs:
    """A workspace of 16 lanes that hold the same values; sweeps begin at instruction `first`."""

    def __init__(self, tape: Tape, values: np.ndarray, first: int) -> None:
        self.first, self.end, self.slots = first, len(tape), tape.slots
        self.work = Workspace(tape, LANES)
        self.work.array("v")[: self.slots] = values[: self.slots, None]
        self.work.swept = self.end
        self.work.lay_out()

    def _zeros(self, name: str) -> np.ndarray:
        buffer = self.work.array(name)
        buffer[: self.slots] = 0.0
        return buffer

    def tangent(self, slots: np.ndarray) -> np.ndarray:
        t = self._zeros("t")
        t[slots, np.arange(len(slots))] = 1.0
        self.work.whole("tangent_packs", self.first, self.end)
        return t[:, : len(slots)]

    def reverse(self, slots: np.ndarray) -> np.ndarray:
        g = self._zeros("g")
        g[slots, np.arange(len(slots))] = 1.0
        self._back("reverse_packs", int(slots.max()))
        return g[:, : len(slots)]

    def second(self, root: int, slots: np.ndarray) -> np.ndarray:
        self.tangent(slots)
        g, h = self._zeros("g"), self._zeros("h")
        g[root] = 1.0
        self._back("forward_over_reverse_packs", root)
        return h[:, : len(slots)]

    def _back(self, name: str, slot: int) -> None:
        """A sweep backwards from the instruction that a slot is the result of."""
        top = max(self.work.tape.index_of_slot(slot) + 1, self.first)
        self.work.whole(name, self.first, top, backwards=True)
