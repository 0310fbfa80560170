"""Drives the sweeps of loops: the numbers of one `nt.scan` in one workspace.

A `Runner` has the numbers of the body, [captured | carry | x | locals], and what a schedule keeps
of them; kernels/loops.py interprets its plans.  It pauses where Python must do something: execute a
call in the body, record another pattern of branches, look for Ctrl-C.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .errors import TapeFullError
from .ops import (
    ADVANCE,
    BODY,
    FLIPPED,
    LOOP,
    MORE,
    NOT_STARTED,
    REVERSE,
    SPAN_WORDS,
    TAPE,
)
from .run import ALIGNMENT, COLUMNS, PIECE_SECONDS, Workspace, address, entry, loop_address
from .tape import Tape

WORD = {name: position for position, name in enumerate(LOOP)}
FIRST_BUDGET, LARGEST_BUDGET = 1 << 14, 1 << 24  # slots times steps of a piece
RELEASING = 1 << 14  # slots times steps from which other threads may run meanwhile
NUMBERS = ("v", "g", "t", "h")
NO_FLOATS, NO_WORDS = np.zeros(0), np.zeros((0, 3), np.int64)
_stamps = itertools.count(1)


class Form(NamedTuple):
    """What all bodies of a loop have in common, and how often they run."""

    captured: tuple[int, ...]  # sizes in slots
    carry: tuple[int, ...]
    xs: tuple[int, ...]  # of one step
    ys: tuple[int, ...]
    steps: int
    backwards: bool

    @property
    def inputs(self) -> int:
        """Slots in front of the locals."""
        return sum(self.captured) + sum(self.carry) + sum(self.xs)

    @property
    def size(self) -> int:
        """Slots of the result: the last carry, all of ys, and a stamp (see `Runner`)."""
        return sum(self.carry) + self.steps * sum(self.ys) + 1


class LoopBody(NamedTuple):
    """A body under one pattern of branches, its inputs in front in the order of `Form`."""

    tape: Tape
    leading: int  # instructions that are inputs
    results: np.ndarray  # rows (slot, size, place in the carry or -1 - number of ys)


class Source(NamedTuple):
    """One operand of a loop: its values, and where its adjoint, tangent and so on go (or None)."""

    v: np.ndarray
    g: np.ndarray | None = None
    t: np.ndarray | None = None
    h: np.ndarray | None = None


class Sources(NamedTuple):
    captured: list[Source]
    carry: list[Source]
    xs: list[Source]


Record = Callable[["Runner", np.ndarray], None]  # from the numbers of carry and x at a step


def where(array: np.ndarray) -> int:
    """The address of an array, which may be read-only or empty."""
    return int(array.__array_interface__["data"][0])


def aligned(count: int) -> np.ndarray:
    """Zeros that begin where a cache line does."""
    try:
        raw = np.zeros(8 * count + ALIGNMENT, np.uint8)
    except MemoryError:
        raise TapeFullError(
            f"no memory for the {8e-6 * count:.0f} MB that this loop keeps for its reverse sweep: "
            "give nt.scan a schedule, such as checkpoint=nt.schedules.sqrt()"
        ) from None
    start = -where(raw) % ALIGNMENT
    return raw[start : start + 8 * count].view(np.float64)


class Runner:
    """The numbers of one loop in one workspace.

    What the last forward sweep has kept belongs to the values that it gave, which carry its
    *stamp* in their last slot.  A reverse sweep that finds another stamp (an inner loop at an
    earlier step of the outer one, values that were copied from another workspace) runs forward
    again first.
    """

    def __init__(self, form: Form, schedule: Any, bodies: list[LoopBody], record: Record) -> None:
        self.form, self.schedule, self.record = form, schedule, record
        self.bodies = bodies  # shared: other runners add to it, too
        self.works: list[Workspace] = []
        self.stamp = 0.0  # of the values that what is kept belongs to
        self.kept_tangents = False
        self.evaluations = 0  # of the body, in the last sweep
        self.block = np.zeros(len(LOOP), np.int64)
        self.numbers: dict[str, np.ndarray] = {}
        self.slots = self.row = 0
        self.kept, self.snapshots = NO_FLOATS, NO_FLOATS
        self.taken = np.zeros(1, np.int64)
        carry = sum(form.carry)
        self.next, self.w, self.wt = aligned(2 * carry), aligned(carry), aligned(carry)
        self.budget = 0.0
        self._plan, self._table = NO_WORDS, NO_WORDS
        self._alive: list[Any] = []  # arrays whose addresses the block holds during a sweep
        self._set(
            steps=form.steps, backwards=form.backwards, captured=sum(form.captured), carry=carry,
            xs_count=len(form.xs), next=where(self.next), w=where(self.w),
            wt=where(self.wt), taken=where(self.taken), forward=address("forward"),
        )  # fmt: skip

    def _set(self, **words: int) -> None:
        for name, number in words.items():
            self.block[WORD[name]] = number

    # --- bodies -----------------------------------------------------------------------------------

    def _meet_bodies(self) -> None:
        """Workspaces for bodies that have come in, all over the same numbers."""
        for body in self.bodies[len(self.works) :]:
            work = Workspace(body.tape)
            work.lay_out()
            self.works.append(work)
        slots = max(work.tape.slots for work in self.works)
        if slots > self.slots:
            self.slots = slots
            row, self.row = self.row, slots - sum(self.form.captured)
            self.numbers = {name: self._grown(old) for name, old in self.numbers.items()}
            self._widen(row)
        self._number("v")
        table = np.zeros((len(self.works), len(BODY)), np.int64)
        for line, work, body in zip(table, self.works, self.bodies, strict=False):
            for name, array in self.numbers.items():
                work.arrays[name] = array
                work.frame[COLUMNS[name]] = where(array)
            work.capacity = len(self.numbers["v"])
            work.enter(body.tape.chunks[0])
            line[:] = (
                work.frame_address, body.leading, len(body.tape), body.tape.slots,
                where(body.results), len(body.results),
            )  # fmt: skip
        self._table = table
        self._set(bodies=where(table), variants=len(table), row=self.row)

    def _grown(self, old: np.ndarray) -> np.ndarray:
        new = aligned(self.slots)
        new[: len(old)] = old
        return new

    def _widen(self, row: int) -> None:
        """Longer rows of what is kept: a body with more locals has come in."""
        if not len(self.kept):
            return
        old = self.kept.reshape(-1, row)
        new = aligned(len(old) * self.row)
        new.reshape(len(old), self.row)[:, :row] = old
        self.kept = new
        self._set(kept=where(new))

    def _number(self, name: str) -> np.ndarray:
        """A buffer of numbers of the body."""
        if name not in self.numbers:
            self.numbers[name] = aligned(self.slots)
        self._set(**{name: where(self.numbers[name])})
        return self.numbers[name]

    # --- sweeps -----------------------------------------------------------------------------------

    def forward(self, sources: Sources, z: np.ndarray) -> None:
        """Values: writes the result z, with a new stamp."""
        self._begin(sources, ("v",))
        self._spans(sources, {"v": z})
        self.stamp = 0.0
        self._enter_values(sources)
        plan = self._keep(tangents=False)
        self._run(plan.forward, writes=True)
        count = sum(self.form.carry)
        first = sum(self.form.captured)
        z[:count] = self.numbers["v"][first : first + count]
        self.stamp = z[-1] = float(next(_stamps))
        self.kept_tangents = False

    def reverse(self, sources: Sources, z: np.ndarray, w: np.ndarray) -> None:
        """Adjoints: from those of the result, w, adds to those of the operands."""
        if not w[:-1].any():
            return
        self._begin(sources, ("v", "g"))
        self._spans(sources, {"g": w})
        plan = self._again(sources, z, tangents=False)
        self.numbers["g"][: sum(self.form.captured)] = 0.0
        self.w[:] = w[: len(self.w)]
        self._sweep_back(plan, "reverse")
        self._collect(sources, "g", self.w)

    def tangent(self, sources: Sources, z: np.ndarray, zt: np.ndarray) -> None:
        """Tangents of the result along those of the operands."""
        self._begin(sources, ("v", "t"))
        self._spans(sources, {"v": z, "t": zt})
        self._enter_values(sources)
        self._enter_tangents(sources)
        whole = np.array([[ADVANCE, 0, self.form.steps]])
        self._set(tangents=1)
        self._run(whole, writes=True)
        count, first = sum(self.form.carry), sum(self.form.captured)
        zt[:count] = self.numbers["t"][first : first + count]
        zt[-1] = 0.0

    def second(self, sources: Sources, z: np.ndarray, w: np.ndarray, wt: np.ndarray) -> None:
        """Adjoints and their tangents: forward over reverse."""
        if not (w[:-1].any() or wt[:-1].any()):
            return
        self._begin(sources, NUMBERS)
        self._spans(sources, {"g": w, "h": wt})
        plan = self._again(sources, z, tangents=True)
        captured = sum(self.form.captured)
        for name in ("g", "h"):
            self.numbers[name][:captured] = 0.0
        self.w[:], self.wt[:] = w[: len(self.w)], wt[: len(self.wt)]
        self._sweep_back(plan, "forward_over_reverse")
        self._collect(sources, "g", self.w)
        self._collect(sources, "h", self.wt)
        self.stamp = 0.0  # the tangents are those of this call

    def _again(self, sources: Sources, z: np.ndarray, tangents: bool) -> Any:
        """What the plan's reverse needs: kept from the forward sweep that gave z, or run again."""
        fresh = tangents or self.kept_tangents or self.stamp == 0.0 or z[-1] != self.stamp
        plan = self._keep(tangents)
        self.evaluations = 0
        if fresh:
            self.stamp = 0.0
            self._enter_values(sources)
            if tangents:
                self._enter_tangents(sources)
            self._run(plan.forward, writes=False)
            self.stamp, self.kept_tangents = float(z[-1]), tangents
        return plan

    def _sweep_back(self, plan: Any, name: str) -> None:
        for work in self.works:
            work.prepare(name)
        self._set(back=address(name))
        try:
            self._run(plan.reverse, writes=False)
        except BaseException:
            self.stamp = 0.0
            raise
        if not plan.repeatable:
            self.stamp = 0.0

    # --- before and after -------------------------------------------------------------------------

    def _begin(self, sources: Sources, names: Sequence[str]) -> None:
        self._meet_bodies()
        for name in names:
            self._number(name)
        self._meet_bodies()
        self._set(tangents=0)

    def _enter_values(self, sources: Sources) -> None:
        self._enter(sources, "v")

    def _enter_tangents(self, sources: Sources) -> None:
        for work in self.works:
            work.prepare("tangent")
        self._set(tangent=address("tangent"))
        self.numbers["t"][:] = 0.0
        self._enter(sources, "t")

    def _enter(self, sources: Sources, name: str) -> None:
        """Operands into the slots of captured values and of the carry."""
        start, buffer = 0, self.numbers[name]
        for source in (*sources.captured, *sources.carry):
            size, given = len(source.v), getattr(source, name)
            buffer[start : start + size] = 0.0 if given is None else given
            start += size

    def _collect(self, sources: Sources, name: str, carry: np.ndarray) -> None:
        """Adjoints of captured values and of the first carry, to those of the operands."""
        start = 0
        for source in sources.captured:
            size, target = len(source.v), getattr(source, name)
            if target is not None:
                target += self.numbers[name][start : start + size]
            start += size
        start = 0
        for source in sources.carry:
            size, target = len(source.v), getattr(source, name)
            if target is not None:
                target += carry[start : start + size]
            start += size

    def _spans(self, sources: Sources, result: dict[str, np.ndarray]) -> None:
        """The tables of xs and ys: where their elements lie outside."""
        form = self.form
        xs = np.zeros((max(len(form.xs), 1), SPAN_WORDS), np.int64)
        for line, size, source in zip(xs, form.xs, sources.xs, strict=False):
            arrays = [getattr(source, name) for name in NUMBERS]
            line[:] = *[0 if a is None else where(a) for a in arrays], size
        ys = np.zeros((max(len(form.ys), 1), SPAN_WORDS), np.int64)
        start = sum(form.carry)
        for line, size in zip(ys, form.ys, strict=False):
            for column, name in enumerate(NUMBERS):
                if name in result:
                    line[column] = where(result[name]) + 8 * start
            line[-1] = size
            start += size * form.steps
        self._alive = [xs, ys, sources, result]
        self._set(xs=where(xs), ys=where(ys))

    def _keep(self, tangents: bool) -> Any:
        """The schedule's plan, and room for what it keeps."""
        width = 1 + tangents
        carry = sum(self.form.carry)
        plan = self.schedule.plan(self.form.steps, 8 * width * carry, 8 * width * self.row)
        kept, snapshots = plan.kept * width * self.row, plan.snapshots * width * carry
        if len(self.kept) != kept:
            self.kept = NO_FLOATS
            self.kept = aligned(kept)
        if len(self.snapshots) != snapshots:
            self.snapshots = NO_FLOATS
            self.snapshots = aligned(snapshots)
        if len(self.taken) < plan.kept:
            self.taken = np.zeros(plan.kept, np.int64)
        self._set(
            tangents=tangents, kept=where(self.kept), snapshots=where(self.snapshots),
            taken=where(self.taken),
        )  # fmt: skip
        return plan

    # --- running ----------------------------------------------------------------------------------

    def _run(self, plan: np.ndarray, writes: bool) -> None:
        """A plan to its end."""
        for work in self.works:
            work.prepare("forward")
        self._plan = plan = np.ascontiguousarray(plan, np.int64).reshape(-1, 3)
        self._set(
            plan=where(plan), actions=len(plan), action=0, step=NOT_STARTED, at=NOT_STARTED,
            phase=0, tried=0, evaluations=0, writes=writes,
        )  # fmt: skip
        steps = np.isin(plan[:, 0], (ADVANCE, TAPE, REVERSE))
        left = int((plan[:, 2] - plan[:, 1])[steps].sum())
        run, block = loop_address(), where(self.block)
        weight = self.slots
        if not self.budget:
            self.budget = max(FIRST_BUDGET / weight, 1.0)
        while True:
            budget = int(self.budget)
            self._set(budget=budget)
            long = min(budget, left) * weight >= RELEASING
            start = time.perf_counter()
            status = entry("releasing" if long else "holding")(run, block, 0, 0)
            done = budget - int(self.block[WORD["budget"]])
            left -= done
            if status == 0:
                break
            if status == MORE:
                seconds = max(time.perf_counter() - start, 1e-9)
                grown = done * min(4.0, PIECE_SECONDS / seconds)
                self.budget = max(1.0, min(LARGEST_BUDGET / weight, grown))
            else:
                self._paused(status)
        self.evaluations += int(self.block[WORD["evaluations"]])

    def _paused(self, status: int) -> None:
        """The plan cannot go on without Python."""
        variant = int(self.block[WORD["variant"]])
        if status == FLIPPED:
            first = sum(self.form.captured)
            self.record(self, self.numbers["v"][first : self.form.inputs].copy())
            self._meet_bodies()
            for work in self.works:
                work.prepare("forward")
                if self.block[WORD["tangents"]]:
                    work.prepare("tangent")
            self._set(variant=len(self.works) - 1)
            return
        work, i = self.works[variant], int(self.block[WORD["at"]])
        name = self._sweep_name()
        work.frame[COLUMNS["status"]] = status
        work.stopped(name, i)
        backwards = name in ("reverse", "forward_over_reverse")
        self._set(at=i if backwards else i + 1)

    def _sweep_name(self) -> str:
        """Which sweep of the body is under way."""
        if self._plan[self.block[WORD["action"]], 0] == REVERSE:
            return "forward_over_reverse" if self.block[WORD["tangents"]] else "reverse"
        return "tangent" if self.block[WORD["phase"]] else "forward"
