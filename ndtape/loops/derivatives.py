"""Derivatives of loops as programs, for derivatives of derivatives: they are loops again.

The tangent of a loop is a loop over pairs (carry, its tangent).  Its reverse is a loop that goes
the other way over the carries that a forward loop hands out, with the adjoint of the carry as carry
and the adjoints of what the body captures added up beside it.  Both have bodies in which the
recorded body is inlined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..record import core
from ..record.arrays import as_array, moves, plain_value, storages
from ..record.core import Recorder
from ..record.lifetime import common_tape
from ..record.values import Boolean, result
from ..record.wide import in_order
from ..transforms.outputs import VectorEvaluation
from .body import Spec, inline
from .loop import Loop, placed, stored

Leaves = Sequence[Any]
Scan = Callable[..., Any]  # `nt.scan`


def step(loop: Loop, given: Leaves, carry: Leaves, x: Leaves) -> tuple[list[Any], list[Any]]:
    """What the body gives, recorded here: the leaves of the next carry and of y."""
    operands = [*given, *carry, *x]
    tape = _tape(operands)
    spans = [(_start(tape, v), _size(v)) for v in operands if _size(v)]
    slots = np.concatenate([np.arange(0), *[start + np.arange(size) for start, size in spans]])
    tape.work.forward()
    body = loop.fitting(tape.work.array("v")[slots])
    moved = np.full(max(body.tape.slots, 1), -1, np.int64)
    moved[: len(slots)] = slots
    tape.disarm()
    inline(body.tape, tape, moved, lambda slot, seen: _guard(tape, slot))
    tape.arm()
    found = {int(place): int(moved[slot]) for slot, _, place in body.results}
    return _outputs(loop, tape, found)


def _outputs(loop: Loop, tape: Recorder, slots: dict[int, int]) -> tuple[list[Any], list[Any]]:
    carry, at = [], 0
    for spec in loop.carry:
        carry.append(_output(tape, slots.get(at, -1), spec))
        at += spec.size
    return carry, [_output(tape, slots.get(-1 - j, -1), spec) for j, spec in enumerate(loop.ys)]


def _output(tape: Recorder, slot: int, spec: Spec) -> Any:
    if not spec.size:
        return np.zeros(spec.shape or (), stored(spec))
    return placed(tape, slot, Spec(spec.shape, float if spec.shape is None else _float(spec)))


def _float(spec: Spec) -> Any:
    return spec.dtype if np.dtype(spec.dtype).kind == "f" else np.dtype(np.float64)


def _tape(operands: Leaves) -> Recorder:
    """The tape that the body is recorded on."""
    moving = [x for x in operands if moves(x)]
    return common_tape(storages(moving)) if moving else core.current()


def _numbers(x: Any) -> np.ndarray:
    return np.asarray(plain_value(x), np.float64).reshape(-1)


def _size(x: Any) -> int:
    return int(np.prod(getattr(x, "shape", ()), dtype=np.int64))


def _start(tape: Recorder, x: Any) -> int:
    """Where a value begins on a tape, its elements in order."""
    if moves(x):
        x = as_array(x)
        start, constant = in_order(tape, x)
        if not constant:
            return start
        return tape.add_input(tape.constants[start : start + x.size].copy())
    return tape.add_input(_numbers(x))


def _guard(tape: Recorder, slot: int) -> None:
    """What the body decided by a number in a slot is decided by it here, too."""
    if tape.traced is not None:
        tape.traced.whole(result(tape, slot, Boolean))


# --- the rules ------------------------------------------------------------------------------------


class Derivatives:
    """Stands in the place of a primitive in the call of a loop: its rules are loops, by `scan`."""

    def __init__(self, loop: Loop, scan: Scan) -> None:
        self.loop, self.scan = loop, scan
        self.name = loop.name

    def vjp(self, w: Any, z: Any, *operands: Any) -> list[Any]:
        return _vjp(self.loop, self.scan, w, operands)

    def jvp(self, tangents: Leaves, z: Any, *operands: Any) -> Any:
        return _jvp(self.loop, self.scan, tangents, operands)


def _split(loop: Loop, operands: Leaves) -> tuple[list[Any], list[Any], list[Any]]:
    first, second = len(loop.order), len(loop.order) + len(loop.carry)
    return list(operands[:first]), list(operands[first:second]), list(operands[second:])


def _vjp(loop: Loop, scan: Scan, w: Any, operands: Leaves) -> list[Any]:
    """Adjoints of the operands for those of the last carry and of ys."""
    given, carry, xs = _split(loop, operands)
    w_carry, w_ys = list(w[: len(carry)]), list(w[len(carry) :])

    def forward(c: Any, x: Any) -> Any:
        return step(loop, given, c, x)[0], c

    _, carries = scan(forward, _smooth(carry), xs, loop.steps, loop.backwards)

    def back(state: Any, x: Any) -> Any:
        w_after, totals = state
        c, element, w_y = x

        def body(given_: Any, c_: Any, x_: Any) -> Any:
            return step(loop, given_, c_, x_)

        found = VectorEvaluation(body, (given, c, element), {}, (0, 1, 2), inline=True)
        terms = found.pull(found.cotangents(found.like_result([*w_after, *w_y])))
        n, k = len(given), len(carry)
        totals = [t + d for t, d in zip(totals, terms[:n], strict=True)]
        return (terms[n : n + k], totals), terms[n + k :]

    zeros = [np.zeros(_shape(g)) for g in given]
    state, w_xs = scan(back, (_smooth(w_carry), zeros), (carries, xs, w_ys), loop.steps,
                       not loop.backwards, loop.schedule)  # fmt: skip
    return [*state[1], *state[0], *w_xs]


def _jvp(loop: Loop, scan: Scan, tangents: Leaves, operands: Leaves) -> Any:
    """Tangents of the last carry and of ys along those of the operands."""
    given, carry, xs = _split(loop, operands)
    t_given, t_carry, t_xs = _split(loop, tangents)

    def along(state: Any, x: Any) -> Any:
        c, t_c = state
        element, t_element = x

        def body(given_: Any, c_: Any, x_: Any) -> Any:
            return step(loop, given_, c_, x_)

        found = VectorEvaluation(body, (given, c, element), {}, (0, 1, 2), inline=True)
        t = found.push(found.directions((t_given, t_c, t_element)))
        after = step(loop, given, c, element)[0]
        return (after, t[: len(c)]), t[len(c) :]

    (_, last), t_ys = scan(along, (_smooth(carry), _smooth(t_carry)), (xs, t_xs), loop.steps,
                           loop.backwards, loop.schedule)  # fmt: skip
    return (*last, *t_ys, np.zeros(1))  # of the stamp


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(getattr(x, "shape", ()))


def _smooth(leaves: Leaves) -> list[Any]:
    """Whole numbers and booleans as floats: their places are those of floats in a derivative."""
    return [x if moves(x) else np.asarray(x, np.float64) for x in leaves]
