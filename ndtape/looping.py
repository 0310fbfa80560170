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

from . import memory
from .errors import ChangedShapeError, TapeFullError
from .ops import (
    ADVANCE,
    BODY,
    FLIPPED,
    LOOP,
    MORE,
    PLANS_WORDS,
    RESUME,
    RETRY,
    REVERSE,
    SPAN_WORDS,
)
from .passes import (
    DEFAULT_LEVEL,
    Goal,
    OptimisedTape,
    Step,
    code_of,
    expected_seconds,
    loading_seconds,
    optimised,
)
from .run import (
    ALIGNMENT,
    COLUMNS,
    PIECE_SECONDS,
    Workspace,
    address,
    entry,
    loop_address,
)
from .tape import Tape

WORD = {name: position for position, name in enumerate(LOOP)}
KINDS = ("forward", "reverse", "tangent", "second")
NUMBERS = {"forward": "v", "reverse": "vg", "tangent": "vt", "second": "vgth"}
SWEEPS = {"forward": ("forward",), "reverse": ("forward", "reverse"),
          "tangent": ("forward", "tangent"),
          "second": ("forward", "tangent", "forward_over_reverse")}  # fmt: skip
NEVER_GROWS = 1 << 62  # numbers of a body belong to the runner
KIND_OF = {"forward": "forward", "reverse": "reverse", "tangent": "tangent",
           "forward_over_reverse": "second"}  # fmt: skip
FIRST_BUDGET, LARGEST_BUDGET = 1 << 14, 1 << 24  # slots times steps of a piece
RELEASING = 1 << 14  # slots times steps from which other threads may run meanwhile
IN_ONE = 1 << 18  # slots times steps that a sweep over the outer tape does without a pause
SLOT_SECONDS = 5e-9  # a slot forwards and backwards, about
SCHEDULE = "give nt.scan a schedule, such as checkpoint=nt.schedules.sqrt()"
NO_FLOATS, NO_WORDS = np.zeros(0), np.zeros((0, 3), np.int64)
_stamps = itertools.count(1)  # each runner has 2**30 of its own, as exact floats


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
        """Slots of the result: the last carry, all of ys, and a stamp."""
        return sum(self.carry) + self.steps * sum(self.ys) + 1


class LoopBody:
    """A body under one pattern of branches, its inputs in front in the order of `Form`."""

    def __init__(
        self, tape: Tape, leading: int, results: np.ndarray, guards: Sequence[tuple[str, int]] = ()
    ) -> None:
        self.tape = tape
        self.leading = leading  # instructions that are inputs
        self.guards = guards  # file and line of each
        self.results = results  # rows (slot, size, place in the carry or -1 - number of ys)
        self.level = 0  # of the passes that it has gone through
        self.steps: list[Step] = []  # what these have done
        self.swept: tuple[Tape, np.ndarray] = tape, results  # what new runners sweep: see there

    def optimise(self, level: int) -> None:
        """Let new runners sweep what the passes make of the body, and of the loops in it."""
        for call in self.tape.calls:
            if call.loop is not None:
                call.loop.optimise(level)
        if level == self.level:
            return
        sizes = self.results[:, 1]
        slots = [first + np.arange(size) for first, size in self.results[:, :2].tolist()]
        code = code_of(self.tape, self.leading, np.concatenate([np.zeros(0, np.int64), *slots]))
        self.steps = []
        better = optimised(code, Goal(level=level, parts=tuple(sizes.tolist())), self.steps)
        self.level, self.swept = level, (self.tape, self.results)
        if better is not code:
            rows = self.results.copy()
            rows[:, 0] = better.results[np.cumsum(sizes) - sizes]
            self.swept = OptimisedTape(better, self.tape), rows

    def pays(self, steps: int) -> bool:
        """Whether a single sweep over so many steps takes as long as the passes would."""
        tape = self.tape
        passes = expected_seconds(tape) + loading_seconds()
        return steps * tape.slots * SLOT_SECONDS > passes


Operand = np.ndarray | int  # plain numbers, or the first slot outside
Record = Callable[["Runner", np.ndarray], None]  # from the numbers of carry and x at a step


def where(array: np.ndarray) -> int:
    """The address of an array, which may be read-only or empty."""
    return int(array.__array_interface__["data"][0])


def aligned(count: int) -> np.ndarray:
    """Zeros that begin where a cache line does."""
    memory.check(8 * count, "the numbers that a loop keeps for its reverse sweep need", SCHEDULE)
    try:
        raw = np.zeros(8 * count + ALIGNMENT, np.uint8)
    except MemoryError:
        raise TapeFullError(
            f"no memory for the {8e-6 * count:.0f} MB that this loop keeps for its reverse sweep: "
            f"{SCHEDULE}"
        ) from None
    start = -where(raw) % ALIGNMENT
    return raw[start : start + 8 * count].view(np.float64)


class Runner:
    """The numbers of one loop in one workspace; `block` is what compiled code knows of it."""

    def __init__(
        self,
        form: Form,
        schedule: Any,
        bodies: list[LoopBody],
        record: Record,
        operands: Sequence[Operand],
    ) -> None:
        self.form, self.schedule, self.record = form, schedule, record
        self.bodies = bodies  # shared: other runners add to it, too
        self.works: list[Workspace] = []
        self.swept: list[tuple[Tape, np.ndarray]] = []  # by body: what, and the rows of results
        self.block = np.zeros(len(LOOP), np.int64)
        self.address = where(self.block)
        self.numbers: dict[str, np.ndarray] = {}
        self.slots = self.row = 0
        self.kept, self.snapshots, self.taken = NO_FLOATS, NO_FLOATS, np.zeros(1, np.int64)
        self.plans = [NO_WORDS] * 4
        self._plans = np.zeros((3, PLANS_WORDS), np.int64)
        self._whole = np.array([[ADVANCE, 0, form.steps]])
        self._plans[2, :2] = where(self._whole), 1
        self.ready: set[str] = set()
        self.budget = 0.0
        carry = sum(form.carry)
        self._carries = [aligned(2 * carry), aligned(carry), aligned(carry)]
        self._table = NO_WORDS
        self._ys = self._leaves_of_ys()
        self._set(
            run=loop_address(), steps=form.steps, backwards=form.backwards, carry=carry,
            captured=sum(form.captured), given=len(form.captured) + len(form.carry),
            xs=len(form.xs), outputs=len(form.ys), ys=where(self._ys),
            next=where(self._carries[0]), carry_g=where(self._carries[1]),
            carry_h=where(self._carries[2]), stamps=next(_stamps) << 30, plans=where(self._plans),
        )  # fmt: skip
        self.takes(operands)

    def _set(self, **words: int) -> None:
        for name, number in words.items():
            self.block[WORD[name]] = number

    def word(self, name: str) -> int:
        return int(self.block[WORD[name]])

    # --- operands and result ----------------------------------------------------------------------

    def takes(self, operands: Sequence[Operand]) -> None:
        """What the operands are: captured values, the leaves of the carry, those of xs."""
        form = self.form
        sizes = (*form.captured, *form.carry, *form.xs)
        self._operands = np.zeros((max(len(sizes), 1), SPAN_WORDS), np.int64)
        for line, operand, size in zip(self._operands, operands, sizes, strict=False):
            if isinstance(operand, np.ndarray):
                line[:] = where(operand), 0, 0, 0, size, -1
            else:
                line[4:] = size, operand
        self._alive = list(operands)
        self._set(operands=where(self._operands))

    def _leaves_of_ys(self) -> np.ndarray:
        ys = np.zeros((max(len(self.form.ys), 1), SPAN_WORDS), np.int64)
        start = sum(self.form.carry)
        for line, size in zip(ys, self.form.ys, strict=False):
            line[4:] = size, start
            start += size * self.form.steps
        return ys

    def evaluate(self, z: np.ndarray) -> None:
        """Values of plain operands, into z."""
        self._ys[:, 0] = where(z) + 8 * self._ys[:, 5]
        self._set(z=where(z))
        self.prepare("forward")
        self._run("forward", 0, 0)

    def sweep(self, work: Workspace, kind: str, out: int) -> None:
        """A sweep over the instruction of a tape whose result begins with slot `out`."""
        self.prepare(kind)
        self._run(kind, work.frame_address, out)

    # --- bodies -----------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Workspaces for bodies that have come in, all over the same numbers."""
        for body in self.bodies[len(self.works) :]:
            if not body.level and body.pays(self.form.steps):
                body.optimise(DEFAULT_LEVEL)
            work = Workspace(body.swept[0])
            work.lay_out()
            self.works.append(work)
            self.swept.append(body.swept)
        slots = max(tape.slots for tape, _ in self.swept)
        if slots > self.slots:
            row, self.row = self.row, slots - sum(self.form.captured)
            self.slots = slots
            self.numbers = {name: _longer(old, slots) for name, old in self.numbers.items()}
            self._widen(row)
        self._tabulate()

    def _tabulate(self) -> None:
        """Point the block and all frames at the numbers and bodies that there are."""
        for name, array in self.numbers.items():
            self._set(**{name: where(array)})
        table = np.zeros((len(self.works), len(BODY)), np.int64)
        every = zip(table, self.works, self.bodies, self.swept, strict=False)
        for line, work, body, (tape, results) in every:
            for name, array in self.numbers.items():
                work.arrays[name] = array
                work.frame[COLUMNS[name]] = where(array)
            work.capacity = NEVER_GROWS
            work.enter(tape.chunks[0])
            line[:] = (
                work.frame_address, body.leading, len(tape), tape.slots, where(results),
                len(results),
            )  # fmt: skip
        self._table = table
        self._set(bodies=where(table), variants=len(table), row=self.row)

    def _widen(self, row: int) -> None:
        """Longer rows of what is kept: a body with more locals has come in."""
        if len(self.kept):
            old = self.kept.reshape(-1, row)
            new = aligned(len(old) * self.row)
            new.reshape(len(old), self.row)[:, :row] = old
            self.kept = new
            self._set(kept=where(new))

    # --- before a sweep ---------------------------------------------------------------------------

    def prepare(self, kind: str, limit: int | None = None) -> None:
        """All that compiled code needs for a kind of sweep; it will not ask for it again."""
        if kind in self.ready and len(self.works) == len(self.bodies) and limit is None:
            return
        for name in NUMBERS[kind]:
            if name not in self.numbers:
                self.numbers[name] = aligned(self.slots)
        self._meet()
        for name in SWEEPS[kind]:
            self._set(**{"second" if name == "forward_over_reverse" else name: address(name)})
            for work in self.works:
                work.prepare(name)
        if not self.word("stage"):  # else a plan is under way, and stays what it is
            self._keep(tangents="second" in (kind, *self.ready))
        for work in self.works:
            for name in SWEEPS[kind]:
                work.prepare_loops(KIND_OF[name], limit)
        self.ready.add(kind)
        weight = max(self.slots, 1)
        self._set(
            ready=sum(1 << KINDS.index(name) for name in self.ready),
            limit=limit or max(IN_ONE // weight, 1),
        )

    def _keep(self, tangents: bool) -> None:
        """The schedule's plans, and room for what they keep."""
        steps, carry = self.form.steps, 8 * sum(self.form.carry)
        kept = snapshots = taken = 0
        for doubled in (False, True)[: 1 + tangents]:
            width = 1 + doubled
            plan = self.schedule.plan(steps, width * carry, 8 * width * self.row)
            forward, back = (
                np.ascontiguousarray(p, np.int64).reshape(-1, 3)
                for p in (plan.forward, plan.reverse)
            )
            at = 2 * int(doubled)
            if all(map(np.array_equal, self.plans[at : at + 2], (forward, back))):
                forward, back = self.plans[at : at + 2]
            else:
                self._set(stamp=0)
            self.plans[at : at + 2] = forward, back
            self._plans[int(doubled)] = where(forward), len(forward), where(back), len(back), int(
                plan.repeatable
            )  # fmt: skip
            kept = max(kept, plan.kept * width * self.row)
            snapshots = max(snapshots, plan.snapshots * width * carry // 8)
            taken = max(taken, plan.kept)
        if len(self.kept) < kept or len(self.snapshots) < snapshots or len(self.taken) < taken:
            self.kept = self.snapshots = NO_FLOATS
            self.kept, self.snapshots = aligned(kept), aligned(snapshots)
            self.taken = np.zeros(max(taken, 1), np.int64)
            self._set(stamp=0)
        self._set(kept=where(self.kept), snapshots=where(self.snapshots), taken=where(self.taken))

    # --- running ----------------------------------------------------------------------------------

    def _run(self, kind: str, frame: int, out: int) -> None:
        """A whole sweep in pieces, between which Python does what it must."""
        block, weight = self.address, max(self.slots, 1)
        how = KINDS.index(kind) + 4 * out
        if not self.budget:
            self.budget = max(FIRST_BUDGET / weight, 1.0)
        try:
            if frame and self.word("stage"):  # it has paused in a sweep over the outer tape
                how = RESUME
                self._paused(self.word("why"))
            while True:
                budget = int(self.budget)
                self._set(budget=budget)
                long = budget * weight >= RELEASING and self.form.steps * weight >= RELEASING
                start = time.perf_counter()
                call = entry("releasing" if long else "holding")
                status = call(loop_address(), block, frame, how)
                how = RESUME
                if status == 0:
                    return
                if status == MORE:
                    seconds = max(time.perf_counter() - start, 1e-9)
                    grown = budget * min(4.0, PIECE_SECONDS / seconds)
                    self.budget = max(1.0, min(LARGEST_BUDGET / weight, grown))
                else:
                    self._paused(status)
        except BaseException:
            self._set(stage=0, stamp=0)
            raise

    def _paused(self, status: int) -> None:
        """The plan cannot go on without Python."""
        if status == MORE:
            return
        if status == FLIPPED:
            self._new_body()
            return
        variant, i = self.word("variant"), self.word("at")
        work = self.works[variant]
        name = self._sweep_name()
        work.frame[COLUMNS["status"]] = status
        try:
            work.stopped(name, i)
        except ChangedShapeError:  # what follows would be recorded otherwise: as at a guard
            tried = self.word("tried") + 1
            if tried < len(self.works):
                self._set(at=RETRY, tried=tried, variant=(variant + 1) % len(self.works))
            else:
                self._new_body()
            return
        backwards = name in ("reverse", "forward_over_reverse")
        self._set(at=i if backwards else i + 1)

    def _new_body(self) -> None:
        """No body fits this step: one is recorded."""
        first = sum(self.form.captured)
        self.record(self, self.numbers["v"][first : self.form.inputs].copy())
        self._meet()
        for work in self.works:
            for kind in self.ready:
                for name in SWEEPS[kind]:
                    work.prepare(name)
        self._set(variant=len(self.works) - 1, at=RETRY, tried=0)

    def _sweep_name(self) -> str:
        """Which sweep of the body is under way."""
        tangents = self.word("tangents")
        plans = [p for p in (*self.plans, self._whole) if where(p) == self.word("plan")]
        if plans[0][self.word("action"), 0] == REVERSE:
            return "forward_over_reverse" if tangents else "reverse"
        return "tangent" if self.word("phase") else "forward"


def _longer(old: np.ndarray, count: int) -> np.ndarray:
    new = aligned(count)
    new[: len(old)] = old
    return new
