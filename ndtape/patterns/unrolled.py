"""The steps of a loop (`nt.scan`): those of its body, once for each time that it runs.

The carry of each step and the locals of each body have hidden slots of their own.  Where a loop has
met several patterns of branches, each step counts as all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from .interactions import ON_X

MOST_HIDDEN = 1 << 24  # slots; a loop with more counts as a function whose places are not known


class Body(NamedTuple):
    """The steps of one pattern of branches, and the slots that give carry and ys."""

    steps: Any
    results: np.ndarray
    first_local: int  # among the hidden slots of one time


class Unrolled:
    """A loop on a tape: its result begins at `out`, its recorded operands in `spans`."""

    def __init__(self, call: Any, out: int, starts: list[int], read: Callable[[Any], Any]) -> None:
        form = self.form = call.loop.form
        self.out = out
        moving = iter(starts)
        operands = [next(moving) if x is None else -1 for x in call.fixed]
        sizes = (*form.captured, *form.carry, *form.xs)
        self.operands = list(zip(operands, sizes, strict=True))
        self.carry, self.inputs = sum(form.carry), form.inputs
        self.bodies: list[Body] = []
        local = self.carry
        for body in call.loop.bodies:
            steps = read(body.tape)
            self.bodies.append(Body(steps, body.results, local))
            local += steps.slots - self.inputs
        self.each = local  # hidden slots of one time
        self.hidden = local * form.steps
        self.amount = sum(int(np.abs(b.steps.amount).sum()) for b in self.bodies) + self.carry

    def blocks(self, most: int) -> Iterator[tuple[int, int]]:
        """Times first..last that are about `most` steps together."""
        length = max(1, most // max(self.amount, 1))
        for first in range(0, self.form.steps, length):
            yield first, min(first + length, self.form.steps)

    def batch(self, hidden: int, first: int, last: int) -> tuple[np.ndarray, ...]:
        """The steps of the times first..last; the hidden slots of the loop begin at `hidden`."""
        found = []
        for body in self.bodies:
            slots = self._slots(body, hidden, np.arange(first, last))
            parts = [(b.z - 1, b.x - 1, b.y - 1, b.bits) for b in body.steps.batches()]
            z, x, y, bits = (np.concatenate(p) for p in zip(*parts, strict=True)) if parts else [
                np.zeros(0, np.int64)] * 4  # fmt: skip
            gives, takes = self._results(body, hidden, first, last)
            wide = np.concatenate([slots, np.full((last - first, 1), -1)], axis=1)  # -1: none
            found.append((
                np.concatenate([wide[:, z], gives], axis=1),
                np.concatenate([wide[:, x], wide[:, takes]], axis=1),
                np.concatenate([wide[:, y], np.full(gives.shape, -1)], axis=1),
                np.broadcast_to(np.append(bits, np.full(len(takes), ON_X)).astype(np.uint8),
                                (last - first, len(bits) + len(takes))),
            ))  # fmt: skip
        # All that is done at one time comes before what is done at the next one.
        return tuple(np.concatenate(part, axis=1).ravel() for part in zip(*found, strict=True))

    def _slots(self, body: Body, hidden: int, times: np.ndarray) -> np.ndarray:
        """Where the slots of the body lie at each of the times: (times, slots), -1 for numbers."""
        form = self.form
        base = hidden + self.each * times[:, None]
        place = form.steps - 1 - times if form.backwards else times
        columns = []
        given, carry = len(form.captured), len(form.captured) + len(form.carry)
        at = 0
        for j, (start, size) in enumerate(self.operands):
            element = np.arange(size)
            if j < given:
                part = np.broadcast_to(start + element, (len(times), size))
            elif j < carry:
                part = np.where(times[:, None] == 0, start + element, base + at + element)
                known = (times[:, None] > 0) | (start >= 0)
                part = np.where(known, part, -1)
                at += size
            else:
                part = start + place[:, None] * size + element
            if start < 0 and not given <= j < carry:
                part = np.full((len(times), size), -1)
            columns.append(part)
        local = np.arange(body.steps.slots - self.inputs)
        return np.concatenate([*columns, base + body.first_local + local], axis=1)

    def _results(
        self, body: Body, hidden: int, first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the numbers that the body gives go at each time, and where it has them."""
        form, times = self.form, np.arange(first, last)[:, None]
        place = form.steps - 1 - times if form.backwards else times
        at_end = times == form.steps - 1
        ys = [self.carry + form.steps * start for start in accumulate((0, *form.ys))]
        gives, takes = [np.zeros((last - first, 0), np.int64)], [np.zeros(0, np.int64)]
        for slot, size, where in body.results.tolist():
            element = np.arange(size)
            if where >= 0:
                following = hidden + self.each * (times + 1) + where + element
                gives.append(np.where(at_end, self.out + where + element, following))
            else:
                number = -1 - where
                gives.append(self.out + ys[number] + place * form.ys[number] + element)
            takes.append(slot + element)
        return np.concatenate(gives, axis=1), np.concatenate(takes)
