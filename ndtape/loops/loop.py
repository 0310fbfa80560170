"""A loop as an instruction: what all its bodies share, and what sweeps and derivatives ask of it.

The operands of the instruction are what the body captures, the leaves of the first carry and those
of xs; its result is the last carry, all of ys, and a stamp (looping.py).  Sweeps hand it to a
`Runner`.  Derivatives that are recorded are loops themselves, over bodies that are inlined.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import ArgumentError, ChangedShapeError, ShapeError, TooManyTapesError
from ..looping import Form, LoopBody, Runner
from ..named import counted
from ..record import core
from ..record.arrays import of_span
from ..record.calls import Call
from ..record.core import Recorder
from ..record.scopes import Captured
from ..record.values import Boolean, Integer, Result, result
from ..run import Flip, Workspace
from ..trees import path_text, text
from .body import Body, Given, Spec, record

NO_NUMBERS = np.zeros(0)
MOST_BODIES = 256


class Restart(Exception):
    """The body has captured something more: all bodies have another layout."""


class Loop:
    """What is known of a loop besides numbers; shared by all workspaces that run it."""

    def __init__(
        self,
        f: Callable[..., Any],
        name: str,
        structures: tuple[Any, Any],
        specs: tuple[list[Spec], list[Spec]],
        steps: int,
        backwards: bool,
        schedule: Any,
    ) -> None:
        self.f: Callable[..., Any] | None = f
        self.code = getattr(f, "__code__", None)
        self.name = name
        self.structures, self.carry, self.xs = structures, *specs
        self.steps, self.backwards, self.schedule = steps, backwards, schedule
        self.ys: list[Spec] = []
        self.y_structure: Any = None
        self.order: list[Given] = []
        self.raw: list[Body] = []  # until the loop is on a tape
        self.bodies: list[LoopBody] = []
        self.open = True  # more may be captured
        self.level: int | None = None  # of the passes, once somebody has asked for them
        self.sites: Counter[tuple[str, int]] = Counter()  # lines whose guards have flipped

    def __repr__(self) -> str:
        bodies = counted(len(self.bodies) or len(self.raw), "recording")
        return f"<{self.name} of {counted(self.steps, 'step')}, {bodies} of its body>"

    @property
    def form(self) -> Form:
        def sizes(specs: Sequence[Any]) -> tuple[int, ...]:
            return tuple(s.size for s in specs)

        return Form(sizes(self.order), sizes(self.carry), sizes(self.xs), sizes(self.ys),
                    self.steps, self.backwards)  # fmt: skip

    # --- bodies ---------------------------------------------------------------------------------

    def begin(self, numbers: np.ndarray) -> None:
        """Record the body for the numbers of the first step."""
        while not self.bodies:
            with contextlib.suppress(Restart):
                self._first(numbers)

    def _first(self, numbers: np.ndarray) -> None:
        """One recording, from which it is learnt what the body gives."""
        body = self._recorded(numbers, _outer_numbers)
        self.y_structure = body.structures[1]
        count = len(self.carry)
        self._check_carry(body)
        self.ys = [spec for _, spec in body.results[count:]]
        self._add(body)

    def more(self, runner: Runner, numbers: np.ndarray) -> None:
        """Record the body for a step where no known one fits."""
        if self.f is None:
            raise AssertionError("a loop on a tape that is not replayed met other numbers")
        if len(self.bodies) >= MOST_BODIES:
            (file, line), _ = self.sites.most_common(1)[0]
            raise TooManyTapesError(
                f"{self.name} went {MOST_BODIES} ways through its branches, and a step needs "
                f"another one: most turn off at {file}:{line}. Use np.where, or a recorded index "
                "(np.take(a, i)), where a number decides at every step"
            )
        find = _outer_numbers if self.open else partial(self._captured_numbers, runner)
        body = self._recorded(numbers, find)
        self._check_carry(body)
        self._check_ys(body)
        self._add(body)

    def _recorded(self, numbers: np.ndarray, find: Callable[[Captured], np.ndarray]) -> Body:
        assert self.f is not None
        specs = self.carry, self.xs
        with core.growth:  # what is captured must not move before its operands are made
            return record(self.f, self.name, self.structures, specs, numbers, find, self.open)

    def _add(self, body: Body) -> None:
        if body.guards:
            last = body.guards[-1]
            self.sites[last.file, last.line] += 1
        known = {given.key for given in self.order}
        fresh = [given for given, _ in body.given if given.key not in known]
        inputs = [*self.carry, *self.xs]
        if self.open:
            self.raw.append(body)
            self.order += list({given.key: given for given in fresh}.values())
            if fresh:
                self.bodies[:] = [raw.laid(self.order, inputs) for raw in self.raw]
                raise Restart
        elif fresh:
            raise self._changed()
        self.bodies.append(body.laid(self.order, inputs))
        if self.level is not None:
            self.bodies[-1].optimise(self.level)

    def _captured_numbers(self, runner: Runner, captured: Captured) -> np.ndarray:
        """In a replay: what is captured lies in front of the body's numbers."""
        start = 0
        for given in self.order:
            if given.key == captured.key:
                return runner.numbers["v"][start : start + given.size].copy()
            start += given.size
        raise self._changed()

    def close(self, replayed: bool) -> None:
        """The loop is on a tape: nothing more is captured, and outer tapes are let go."""
        self.open = False
        for body in self.raw:
            body.tape.scope = None
        self.raw = []
        self.order = [given._replace(operand=None, numbers=NO_NUMBERS) for given in self.order]
        if not replayed:
            self.f = None

    # --- what the body must give ---

    def _check_carry(self, body: Body) -> None:
        structure = body.structures[0]
        if structure != self.structures[0]:
            raise ArgumentError(
                f"the carry that {self.name} returns has the structure {text(structure)}, the one "
                f"it is given {text(self.structures[0])} [{core.user_line()}]"
            )
        for path, (_, after), (j, before) in zip(
            structure.paths(), body.results, enumerate(self.carry), strict=False
        ):
            if after == before or _scalars_agree(after, before):
                continue
            where = f"carry{path_text(path)}"
            if before.dtype in (int, bool) and after.dtype is float:  # a plain 0 to begin with
                self.carry[j] = Spec(None, float)
                raise Restart
            kind: type[Exception] = ShapeError if after.shape != before.shape else ArgumentError
            raise kind(
                f"{where} goes into {self.name} as {before} and comes out as {after}: every step "
                f"must hand on what it is given; make init the one that it returns, or convert "
                f"[{core.user_line()}]"
            )

    def _check_ys(self, body: Body) -> None:
        """All branches return alike."""
        found = [spec for _, spec in body.results[len(self.carry) :]]
        if body.structures[1] != self.y_structure:
            raise ArgumentError(
                f"two branches of {self.name} return y of different structures, "
                f"{text(self.y_structure)} and {text(body.structures[1])} [{core.user_line()}]"
            )
        for path, one, other in zip(self.y_structure.paths(), self.ys, found, strict=True):
            if one.size != other.size or (one.shape or ()) != (other.shape or ()):
                raise ShapeError(
                    f"y{path_text(path)} of {self.name} is {one} in one branch and {other} in "
                    f"another: all steps must return alike [{core.user_line()}]"
                )

    def optimise(self, level: int) -> None:
        """Send all bodies, also those that are yet to come, through the passes of a level."""
        self.level = level
        for body in self.bodies:
            body.optimise(level)

    # --- running ----------------------------------------------------------------------------------

    def evaluated(self, operands: Callable[[], Sequence[np.ndarray]]) -> tuple[Runner, np.ndarray]:
        """All steps, while what the bodies capture is still being found out."""
        while True:
            runner = Runner(self.form, self.schedule, self.bodies, self.more, operands())
            z = np.zeros(self.form.size)
            try:
                runner.evaluate(z)
                return runner, z
            except Restart:
                continue

    def fitting(self, values: np.ndarray) -> LoopBody:
        """The body that numbers of [captured | carry | x] go through."""
        for body in self.bodies:
            work = Workspace(body.tape)
            work.array("v")[: len(values)] = values
            work.swept = body.leading
            try:
                work.forward()
            except (Flip, ChangedShapeError):
                continue
            return body
        raise self._changed()

    def _changed(self) -> ChangedShapeError:
        """What a traced function takes for a branch: it is recorded again."""
        change = ChangedShapeError(f"{self.name} uses other values from outside than before")
        change.shapes = (("captured", len(self.order)),)  # type: ignore[assignment]
        return change


def _scalars_agree(after: Spec, before: Spec) -> bool:
    """A carry that is a plain number may come back as a whole one, or as an array of shape ()."""
    if before.shape not in ((), None) or after.shape not in ((), None):
        return False
    if before.shape is None:
        return before.dtype is float and (after.dtype is int or after.dtype == np.float64)
    return after.shape is None and (before.dtype, after.dtype) == (np.float64, float)


def _outer_numbers(captured: Captured) -> np.ndarray:
    """The values of a span of an outer tape that is being recorded."""
    if captured.tape.ended and captured.tape.traced is not None:
        core.refuse_ended(captured.tape)
    work = captured.tape.work
    with work.lock:
        work.forward()
        return work.array("v")[captured.base : captured.base + captured.size].copy()


# --- the instruction ------------------------------------------------------------------------------


class LoopCall(Call):
    """One recorded loop: which operands are recorded, and the numbers of those that are not."""

    def __init__(self, loop: Loop, operands: list[Any], derivatives: Any) -> None:
        super().__init__(derivatives, {}, operands)
        self.loop = loop
        self.many = True
        self.results = [(spec.shape or (), stored(spec)) for spec in loop.carry]
        self.results += [((loop.steps, *(s.shape or ())), stored(s)) for s in loop.ys]

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        """The same program, whatever its branches have captured: recordings are compared by it."""
        if not isinstance(other, LoopCall):
            return False
        one, two = self.loop, other.loop
        pairs = zip(self._own(), other._own(), strict=True)
        return (
            (one.code, one.carry, one.xs, one.ys) == (two.code, two.carry, two.xs, two.ys)
            and (one.steps, one.backwards) == (two.steps, two.backwards)
            and one.schedule == two.schedule
            and all(x is y or (x is not None and y is not None and np.array_equal(x, y, True))
                    for x, y in pairs)
        )  # fmt: skip

    def _own(self) -> list[Any]:
        """The plain numbers of the carry and of xs, None for recorded ones."""
        return self.fixed[len(self.loop.order) :]

    def __repr__(self) -> str:
        return f"<{self.loop.name}, {self.loop.steps} steps>"

    def runner(self, work: Workspace, spans: Sequence[slice]) -> Runner:
        """The runner of this loop in a workspace, with operands in these spans of the tape."""
        known = work.runners.get(self)
        if known is None:
            loop, operands = self.loop, self.operands(spans)
            known = Runner(loop.form, loop.schedule, loop.bodies, loop.more, operands)
            work.runners[self] = known
        return known

    def operands(self, spans: Sequence[slice]) -> list[np.ndarray | int]:
        """For each operand its numbers, or its first slot on the tape."""
        moving = iter(spans)
        return [next(moving).start if x is None else x.reshape(-1) for x in self.fixed]

    def sweep(self, work: Workspace, kind: str, here: slice, spans: Sequence[slice]) -> None:
        """A sweep of the loop itself."""
        self.runner(work, spans).sweep(work, kind, here.start)

    def captures_more(self, outcome: tuple[Any, ...]) -> bool:
        """Whether this is the way on from a loop that has met what it does not capture."""
        ((name, count),) = outcome if len(outcome) == 1 else (("", 0),)
        return name == "captured" and len(self.loop.order) > count


def stored(spec: Spec) -> np.dtype[Any]:
    """The dtype of a leaf as an array."""
    return np.dtype(spec.dtype if spec.shape is not None else
                    {int: np.int64, bool: np.bool_}.get(spec.dtype, np.float64))  # fmt: skip


def placed(tape: Recorder, start: int, spec: Spec) -> Any:
    """A recording value of a leaf that lies in a span."""
    if spec.shape is None:
        kind = {bool: Boolean, int: Integer}.get(spec.dtype, Result)
        return result(tape, start, kind)
    return of_span(tape, start, spec.shape, spec.dtype)
