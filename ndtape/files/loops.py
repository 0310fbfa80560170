"""Loops (`nt.scan`) in a file: what goes in and out of them, and the tapes of their bodies.

A loop that was loaded has no function to record: it goes the ways that its steps had gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..errors import ChangedShapeError, NotRecordedError
from ..looping import LoopBody, Runner
from ..loops import schedules
from ..loops.body import Given, Spec
from ..loops.loop import NO_NUMBERS, Loop, LoopCall
from ..ops import CODES
from ..record.core import Recorder
from ..run import Flip, Workspace
from ..tape import MAX_SLOTS
from ..traced.program import short
from .values import (
    array_from,
    dtype_from,
    encoded,
    fields,
    refuse,
    rows,
    shape_from,
    text,
    told,
    whole,
)

if TYPE_CHECKING:
    from .tapes import Reader, Writer

GUARD = CODES["guard", "vk"]
PYTHON = {"float": float, "int": int, "bool": bool}  # dtypes of numbers without a shape
KINDS = "biuf"
MOST_PLANNED = 1 << 27  # steps, or blocks of them, that a schedule has rows for


# --- writing --------------------------------------------------------------------------------------


def written(loop: Loop, writer: Writer) -> dict[str, Any]:
    """The record of a loop, whose bodies become tapes of the file."""
    code, schedule = loop.code, loop.schedule
    where = ("", 0, "") if code is None else (code.co_filename, code.co_firstlineno, code.co_name)
    return {
        "name": loop.name,
        "code": writer.place(*where),
        "steps": loop.steps,
        "backwards": loop.backwards,
        "schedule": [schedule._name, [list(pair) for pair in schedule._options]],
        "captured": [given.size for given in loop.order],
        "carry": [_spec(s) for s in loop.carry],
        "xs": [_spec(s) for s in loop.xs],
        "ys": [_spec(s) for s in loop.ys],
        "bodies": [_body_written(body, writer) for body in loop.bodies],
    }


def _spec(spec: Spec) -> list[Any]:
    if spec.shape is None:
        return [None, spec.dtype.__name__]
    return [list(spec.shape), np.dtype(spec.dtype).str]


def _body_written(body: LoopBody, writer: Writer) -> dict[str, Any]:
    return {
        "tape": writer.add(body.tape),
        "leading": body.leading,
        "results": encoded(body.results, writer.vectors, "a body"),
        "guards": [writer.place(file, line) for file, line in body.guards],
    }


# --- loops without Python -------------------------------------------------------------------------


class LoadedLoopCall(LoopCall):
    """A loop whose bodies are those that had been recorded."""

    def sweep(self, work: Workspace, kind: str, here: slice, spans: Sequence[slice]) -> None:
        told(lambda: LoopCall.sweep(self, work, kind, here, spans), self.loop.name)

    def adjoints(self, w: Any, z: Any, arrays: list[Any], wanted: Any = None) -> list[Any]:
        return told(lambda: LoopCall.adjoints(self, w, z, arrays, wanted), self.loop.name)


class UnmetError(NotRecordedError, ChangedShapeError):
    """No body of a loaded loop fits a step.

    Where the loop stands in the body of another one, or where the tape has siblings, it is tried
    whether these fit, as with everything that a replay would record otherwise.
    """


class LoadedLoop(Loop):
    """A loop without its function: steps can go the ways that were met before it was saved.

    `kin` are the same loop on other tapes of the function, whose bodies serve this one as well: the
    tape that was replayed last had recorded those that it did not know.
    """

    unmet: UnmetError | None = None  # the last one
    kin: Sequence[Loop] = ()

    def more(self, runner: Runner, numbers: np.ndarray) -> None:
        values = np.concatenate([runner.numbers["v"][: sum(self.form.captured)], numbers])
        for body in [body for loop in self.kin for body in loop.bodies]:
            if body not in self.bodies and _stop(body, values)[0] == len(body.tape):
                self.bodies.append(body)
                return
        self._refuse(values)

    def fitting(self, values: np.ndarray) -> LoopBody:
        try:
            return super().fitting(values)
        except ChangedShapeError:
            self._refuse(values)

    def _refuse(self, values: np.ndarray) -> NoReturn:
        """Name the guard at which the body that comes farthest stops."""
        stops = [(*_stop(body, values), body) for body in self.bodies]
        _, ordinal, body = max(stops, key=lambda stop: stop[0])
        guards = body.guards[ordinal : ordinal + 1]
        where = "".join([f" at {short(file)}:{line}" for file, line in guards])
        unmet = UnmetError(
            f"a step of {self.name} goes a way{where} that no step had gone before the file was "
            "saved, and a file has no Python to record it: save again after a call that goes it"
        )
        unmet.shapes = (("captured", len(self.order)),)  # type: ignore[assignment]
        self.unmet = unmet
        raise unmet


def _stop(body: LoopBody, values: np.ndarray) -> tuple[int, int]:
    """At which instruction a body stops for these inputs, and which of its guards that is."""
    work = Workspace(body.tape)
    work.array("v")[: len(values)] = values
    work.swept = body.leading
    try:
        work.forward()
    except Flip as flip:
        ops = body.tape.columns()["op"][: flip.index]
        return flip.index, int(np.count_nonzero(ops == GUARD))
    except ChangedShapeError as change:
        return change.index, len(body.guards)
    return len(body.tape), len(body.guards)


# --- reading --------------------------------------------------------------------------------------


def read(x: Any, reader: Reader, above: int) -> LoadedLoop:
    name, code, steps, backwards, schedule, captured, carry, xs, ys, bodies = fields(
        x, "name code steps backwards schedule captured carry xs ys bodies", "a loop"
    )
    specs = (
        [_spec_read(s) for s in rows(carry, "carry", 2)],
        [_spec_read(s) for s in rows(xs, "xs", 2)],
    )
    loop = LoadedLoop(
        None, text(name, "the name of a loop"), (None, None), specs,  # type: ignore[arg-type]
        whole(steps, "the steps of a loop", 1, MAX_SLOTS), backwards is True, _schedule(schedule),
    )  # fmt: skip
    _check_schedule(loop)
    loop.code = reader.code(code)
    loop.ys = [_spec_read(s) for s in rows(ys, "ys", 2)]
    sizes = [whole(n, "the size of what is captured", 1, MAX_SLOTS)
             for n in rows(captured, "captured")]  # fmt: skip
    loop.order = [Given(("loaded", j), n, None, NO_NUMBERS) for j, n in enumerate(sizes)]
    loop.open = False
    loop.bodies = [_body_read(body, loop, reader, above) for body in rows(bodies, "bodies")]
    if not loop.bodies:
        refuse("a loop has no body")
    return loop


def _spec_read(x: Any) -> Spec:
    shape, dtype = x
    if shape is None:
        return Spec(None, PYTHON[text(dtype, "a dtype")])
    return Spec(shape_from(shape, "a shape"), dtype_from(dtype, KINDS))


def _schedule(x: Any) -> schedules.Schedule:
    name, options = rows([x], "a schedule", 2)[0]
    if name not in ("none", "every", "sqrt", "binomial"):
        refuse(f"{name!r:.40} is no schedule")
    given = {text(key, "an option"): whole(n, "an option", 1)
             for key, n in rows(options, "options", 2)}  # fmt: skip
    made: schedules.Schedule = getattr(schedules, name)(**given)
    return made


def _check_schedule(loop: Loop) -> None:
    """Refuse plans that would not fit into memory: they have rows for about each k-th step."""
    name, options = loop.schedule._name, dict(loop.schedule._options)
    planned = name in ("every", "binomial") and loop.steps // options.get("k", 1)
    if planned > MOST_PLANNED:
        refuse(f"a loop of {loop.steps} steps has the schedule {loop.schedule!r}")


def _body_read(x: Any, loop: Loop, reader: Reader, above: int) -> LoopBody:
    number, leading, results, guards = fields(x, "tape leading results guards", "a body")
    tape = reader.tape(number, above)
    form, found = loop.form, array_from(results["array"], reader.vectors)
    sizes = [n for n in (*form.captured, *form.carry, *form.xs) if n]
    if leading != len(sizes) or [input_size(tape, i) for i in range(leading)] != sizes:
        refuse("the body of a loop has other inputs than the loop")
    if found.dtype != np.int64 or found.ndim != 2 or found.shape[1] != 3:
        refuse("the body of a loop has no table of results")
    for slot, size, place in found.tolist():
        if not (0 <= slot and 1 <= size <= tape.slots - slot):
            refuse(f"a body gives slots {slot} to {slot + size}, which it has not")
        there = form.ys[-1 - place] if -len(form.ys) <= place < 0 else -1
        if there != size and not (place >= 0 and place + size <= sum(form.carry)):
            refuse(f"a body gives {size} numbers to place {place}, which is not for them")
    where = [reader.code(j) for j in rows(guards, "guards")]
    lines = [(c.co_filename, c.co_firstlineno) for c in where]
    return LoopBody(tape, leading, np.ascontiguousarray(found), lines)


def input_size(tape: Recorder, i: int) -> int:
    """How many slots the input at an instruction has; -1 where it is none."""
    if i >= len(tape) or tape.instruction(i).name not in ("input", "wide_input"):
        return -1
    return tape.instruction(i).size


def check_fixed(call: LoopCall, loop: Loop) -> None:
    """Plain operands are read by address: vectors of float64 with the numbers they must have."""
    for x, size in zip(call.fixed, sizes_of(loop), strict=True):
        if x is not None and (x.dtype != np.float64 or x.size != size):
            refuse(f"a loop has an operand of {x.size} {x.dtype}, and reads {size} float64")
    call.fixed = [None if x is None else np.asarray(x, order="C") for x in call.fixed]


def sizes_of(loop: Loop) -> list[int]:
    """How many numbers each operand of a loop has."""
    form = loop.form
    return [*form.captured, *form.carry, *[n * loop.steps for n in form.xs]]
