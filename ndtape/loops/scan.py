"""`nt.scan`: a loop whose body is recorded once, and run by compiled sweeps."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..looping import Runner
from ..ops import WIDE_CODES
from ..record import core
from ..record.arrays import as_array, moves, plain_value
from ..record.core import Recorder, push_wide
from ..record.values import Var
from ..record.wide import in_order, on_tape
from ..trees import flatten, path_text, unflatten
from .body import Spec, checked_spec, spec_of
from .derivatives import Derivatives
from .loop import Loop, LoopCall, placed, stored
from .schedules import Schedule, none

CALL = WIDE_CODES["call"]


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    checkpoint: Schedule | None = None,
) -> tuple[Any, Any]:
    """A loop: ``carry, y = f(carry, x)`` for every x in `xs`; returns ``(carry, ys)``, as in JAX.

    `init` is the first carry and `xs` what is looped over: numbers, arrays and trees of them.  Each
    leaf of xs has the steps as its leading axis, and f is given a tree of elements; `xs` None with
    a `length` loops that many times.  `ys` is the tree of all y, stacked along a leading axis (None
    where f returns None).  `reverse` begins with the last element, and ys stays in the order of xs.

    f is recorded once for every way that its branches go, and all steps run in compiled code: a
    program of one body, whatever the number of steps.  f may use recorded values from outside,
    which get their derivatives.  It must hand on a carry of the structure, shapes and dtypes that
    it was given.  What it does besides (printing, appending to lists) happens when it is recorded.

    `checkpoint` says what is kept for reverse derivatives: the values inside every step by default;
    see `nt.schedules` for `every(k)`, `sqrt()` and `binomial(...)`, which keep less and compute the
    rest again, to the same gradient.

    Raises `ArgumentError` and `ShapeError` where shapes, dtypes, lengths or trees do not fit, and
    `TooManyTapesError` where the steps go more than 256 ways through the branches of f.

    >>> import ndtape as nt, numpy as np
    >>> def rnn(W, xs):
    ...     h, hs = nt.scan(lambda h, x: (np.tanh(W @ h + x), h), np.zeros(2), xs)
    ...     return h.sum()
    >>> nt.grad(rnn)(np.eye(2), np.ones((3, 2))).round(6).tolist()
    [[0.081056, 0.081056], [0.081056, 0.081056]]
    """
    call = _Arguments(f, init, xs, length, reverse, checkpoint)
    return call.recorded() if call.steps else call.of_no_steps()


class _Arguments:
    """One call of scan: its trees taken apart and checked."""

    def __init__(
        self, f: Any, init: Any, xs: Any, length: int | None, reverse: bool, checkpoint: Any
    ) -> None:
        if not callable(f):
            raise ArgumentError(
                f"nt.scan takes a function first, not {type(f).__name__} [{core.user_line()}]"
            )
        if checkpoint is not None and not isinstance(checkpoint, Schedule):
            raise ArgumentError(
                "checkpoint takes a schedule, such as nt.schedules.sqrt() or "
                f"nt.schedules.every(10), not {checkpoint!r} [{core.user_line()}]"
            )
        self.f, self.backwards = f, bool(reverse)
        self.schedule = none() if checkpoint is None else checkpoint
        self.carry, self.carry_structure = flatten(init)
        self.xs, self.xs_structure = flatten(xs)
        self.name = f"the body of nt.scan ({getattr(f, '__name__', type(f).__name__)})"
        self.steps = self._steps(length)

    def _steps(self, length: int | None) -> int:
        """How many steps; all leaves of xs must agree."""
        steps, first = None, ""
        if length is not None:
            try:
                if isinstance(length, bool):
                    raise TypeError
                steps, first = operator.index(length), "length"
            except TypeError:
                raise ArgumentError(
                    f"length must be a whole number, not {length!r} [{core.user_line()}]"
                ) from None
            if steps < 0:
                raise ArgumentError(f"length must not be negative: {steps} [{core.user_line()}]")
        for path, x in zip(self.xs_structure.paths(), self.xs, strict=True):
            where = f"xs{path_text(path)}"
            checked_spec(x, f"xs{path_text(path)}")
            shape = getattr(x, "shape", ())
            if not shape or isinstance(x, Var):
                raise ShapeError(
                    f"{where} has no axis of steps, it is a scalar ({spec_of(x)}); lists are "
                    f"trees: make them arrays with np.array(...) [{core.user_line()}]"
                )
            if steps is None:
                steps, first = shape[0], where
            elif shape[0] != steps:
                raise ShapeError(
                    f"{where} has {shape[0]} steps in its leading axis, {first} says {steps} "
                    f"[{core.user_line()}]"
                )
        if steps is None:
            raise ArgumentError(
                f"nt.scan needs xs, or a length to loop without them [{core.user_line()}]"
            )
        return steps

    def specs(self) -> tuple[list[Spec], list[Spec]]:
        carry = [checked_spec(x, f"init{path_text(p)}") for x, p in
                 zip(self.carry, self.carry_structure.paths(), strict=True)]  # fmt: skip
        xs = [checked_spec(x, f"xs{path_text(p)}") for x, p in
              zip(self.xs, self.xs_structure.paths(), strict=True)]  # fmt: skip
        return carry, [_element(spec) for spec in xs]

    # --- results ----------------------------------------------------------------------------------

    def of_no_steps(self) -> tuple[Any, Any]:
        """The carry as it is; only the shape of y is asked of f."""
        specs = self.specs()
        loop = self._loop(specs)
        zeros = np.zeros(sum(s.size for s in (*specs[0], *specs[1])))
        loop.begin(zeros)
        ys = [np.zeros((0, *(s.shape or ())), stored(s)) for s in loop.ys]
        return unflatten(self.carry_structure, self.carry), unflatten(loop.y_structure, ys)

    def _loop(self, specs: tuple[list[Spec], list[Spec]]) -> Loop:
        structures = self.carry_structure, self.xs_structure
        return Loop(self.f, self.name, structures, specs, self.steps, self.backwards,
                    self.schedule)  # fmt: skip

    def recorded(self) -> tuple[Any, Any]:
        """The loop as an instruction of a tape; plain numbers where nothing is recorded."""
        loop = self._loop(self.specs())
        carry = [_flat(x) for x in self.carry]
        xs = [_flat(x) for x in self.xs]
        time = self.steps - 1 if self.backwards else 0
        here = [x[time * s.size : (time + 1) * s.size] for x, s in zip(xs, loop.xs, strict=True)]
        numbers = np.concatenate([np.zeros(0), *carry, *here])
        loop.begin(numbers)
        runner, z = loop.evaluated(lambda: [*[g.numbers for g in loop.order], *carry, *xs])
        with core.growth:
            return self._on_tape(loop, runner, z)

    def _on_tape(self, loop: Loop, runner: Runner, z: np.ndarray) -> tuple[Any, Any]:
        """The results of a loop that has run: as recording values, or plain."""
        operands = [*[g.operand for g in loop.order], *self.carry, *self.xs]
        tape = on_tape(*operands)
        if tape is None:
            return self._results(loop, lambda at, spec: spec.read(z[at : at + spec.size]))
        spans, fixed = _operands(tape, operands)
        call = LoopCall(loop, fixed, Derivatives(loop, scan))
        call.dtypes = [getattr(x, "dtype", np.dtype(np.float64))
                       for x, known in zip(operands, call.fixed, strict=True)
                       if known is None]  # fmt: skip
        tape.calls.append(call)
        body = (len(spans), *[number for s in spans for number in (s.start, s.stop - s.start)])
        words = (loop.form.size, 0, 0, len(tape.calls) - 1, 0, *body)
        slot = push_wide(tape, CALL, 0, 0, words, share=False)
        tape.work.know(slot, z)
        runner.takes(call.operands(spans))
        tape.work.runners[call] = runner
        loop.close(tape.traced is not None)
        return self._results(loop, lambda at, spec: placed(tape, slot + at, spec))

    def _results(self, loop: Loop, make: Callable[[int, Spec], Any]) -> tuple[Any, Any]:
        found, start = [], 0
        stacked = [Spec((self.steps, *(s.shape or ())), stored(s)) for s in loop.ys]
        for spec in (*loop.carry, *stacked):
            found.append(make(start, spec) if spec.size else np.zeros(spec.shape or (), spec.dtype))
            start += spec.size
        count = len(loop.carry)
        return unflatten(self.carry_structure, found[:count]), unflatten(
            loop.y_structure, found[count:]
        )


def _element(spec: Spec) -> Spec:
    """A leaf of xs at one step: a number where the array has no other axis."""
    assert spec.shape is not None
    if len(spec.shape) > 1 or spec.dtype == np.float32:
        return Spec(spec.shape[1:], spec.dtype)
    return Spec(None, {"b": bool, "i": int}.get(np.dtype(spec.dtype).kind, float))


def _flat(x: Any) -> np.ndarray:
    """The numbers of a leaf, one behind the other."""
    return np.ascontiguousarray(plain_value(x), np.float64).reshape(-1)


def _operands(tape: Recorder, operands: list[Any]) -> tuple[list[slice], list[Any]]:
    """Where recorded operands lie on a tape; and for each, its shape, or the plain numbers."""
    spans: list[slice] = []
    fixed: list[Any] = []
    for x in operands:
        if not moves(x) or not getattr(x, "size", 1):
            fixed.append(np.asarray(plain_value(x), np.float64, order="C"))
            continue
        x = as_array(x)
        start, constant = in_order(tape, x)
        if constant:
            start = tape.add_input(tape.constants[start : start + x.size].copy())
        spans.append(slice(start, start + x.size))
        fixed.append(x.shape)
    return spans, fixed
