"""Derivatives of recorded values as numbers, by a sweep; and operations with rules of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from ..errors import (
    ArgumentError,
    GradientLostError,
    NonFiniteError,
    ShapeError,
    SpentTapeError,
    UnsupportedError,
)
from ..ops import ROWS
from ..run import REACHED, SPENT
from . import core
from .arrays import Array, moves, normal, storages
from .core import Recorder
from .lifetime import common_tape
from .lookup import named
from .operators import apply
from .scopes import place
from .storage import ArrayLeaf
from .values import FUNCTIONS, Leaf, Result, Var, as_number
from .wide import in_order

# --- numbers -----------------------------------------------------------------------------------


def backward(y: Any, seed: Any = None, retain_graph: bool = False, **options: Any) -> None:
    """Add the derivatives of this value, times `seed`, to the `.grad` of all leaves behind it.

    `seed` is 1 for a scalar; an array needs one of its own shape: the cotangent.  Without
    `retain_graph` the instructions walked are given up: another `backward` through them raises
    `SpentTapeError`, as in PyTorch.  Values stay readable.  Raises `ArgumentError` for a value that
    depends on no leaf, `ShapeError` for a seed of another shape.
    """
    if options.pop("create_graph", False):
        raise UnsupportedError(
            "backward(create_graph=True) is not offered: for higher derivatives use "
            "nt.grad(nt.grad(f)), and nt.hvp(f, primals, tangents) for Hessian-vector products"
        )
    if options:
        raise TypeError(f"backward() got unexpected arguments {sorted(options)}")
    if not y.needs_grad:
        raise ArgumentError("backward() from a value without gradient: it depends on no leaf")
    cotangent = _cotangent(y, seed)
    if isinstance(y, Leaf):
        y.deposit(cotangent)
        return
    tape, slot = root_of(y)
    with _locked(tape), tape.work.lock:
        mark = reached(tape, slot, len(cotangent))
        inputs = reached_inputs(tape, mark)
        _refuse_inside_transform(inputs, "backward()")
        g = tape.work.cotangent(slot, cotangent)
        _deposit(tape, inputs, mark, g)
        if not retain_graph:
            _spend(tape, inputs, mark)
    if not (retain_graph or tape.entered):
        tape.end()


def _locked(tape: Recorder) -> AbstractContextManager[Any]:
    """Rules of calls may record while a sweep runs: they take this lock, so it comes first."""
    return core.growth if tape.calls else nullcontext()


def _cotangent(y: Any, seed: Any) -> np.ndarray:
    """The seed as a vector with one entry for each element of y."""
    shape = y.shape if isinstance(y, Array) else ()
    if seed is None:
        if isinstance(y, Array) and y.size != 1:
            raise ArgumentError(
                f"backward() from an array of shape {shape} needs a seed of that shape; for the "
                "gradient of a loss reduce it first, y.sum().backward()"
            )
        return np.ones(1)
    if isinstance(seed, (Array, Var)):
        seed = seed.value
    if isinstance(y, Var) and np.ndim(seed) == 0:
        return np.array([as_number(seed)])
    array = normal(seed).astype(np.float64)
    if array.shape != shape:
        raise ShapeError(f"a seed of shape {array.shape} for a value of shape {shape}")
    return array.ravel()


def root_of(y: Any) -> tuple[Recorder, int]:
    """The tape and the first slot of a value whose elements lie next to each other."""
    if isinstance(y, Result):
        core.resolve(y)
        return y.tape, y.slot
    with core.growth:
        tape = common_tape(storages([y]))
        start, is_constant = in_order(tape, y)
    if is_constant:
        raise ArgumentError("backward() from a value without gradient: it depends on no leaf")
    return tape, start


def _seeds(slot: int, cotangent: np.ndarray) -> dict[int, float]:
    return dict(zip(range(slot, slot + len(cotangent)), cotangent.tolist(), strict=True))


def reached(tape: Recorder, slot: int, count: int = 1) -> np.ndarray:
    """Marks of what slots depend on; raises `SpentTapeError` where an earlier walk spent it."""
    mark = tape.work.reach(slice(slot, slot + count))
    if tape.any_spent:
        again = np.flatnonzero(mark == REACHED | SPENT)
        if len(again):
            i = tape.index_of_slot(int(again[-1]))
            where = tape.where(i) or f"instruction {i}, {tape.instruction(i).text(tape.names)}"
            raise SpentTapeError(
                f"backward() comes a second time through {where}; the first one gave it up. "
                "Call the first backward(retain_graph=True), add the losses before one backward(), "
                "or use tape.gradient, which spends nothing"
            )
    return mark


def reached_inputs(tape: Recorder, mark: np.ndarray) -> list[tuple[int, Any]]:
    """The inputs among marked slots; other threads may have added some since `mark` was made."""
    return [
        (slot, leaf)
        for slot, leaf in tape.inputs
        if slot < len(mark)
        and (mark[slot] & REACHED or (mark[_input_span(tape, slot, leaf)] & REACHED).any())
    ]


def _input_span(tape: Recorder, slot: int, leaf: Any) -> slice:
    """All slots of an input."""
    if leaf is None:
        return _span(tape, slot)
    return slice(slot, slot + (leaf.size if isinstance(leaf, ArrayLeaf) else 1))


def _span(tape: Recorder, slot: int) -> slice:
    """All slots of the result that begins at a slot."""
    return slice(slot, slot + tape.span_of(slot)[1]) if tape.wide else slice(slot, slot + 1)


def _refuse_inside_transform(inputs: list[tuple[int, Leaf | None]], what: str) -> None:
    """Numbers from a sweep would drop the derivative that an enclosing transform is taking."""
    if core.transform_depth.get() and any(leaf is None for _, leaf in inputs):
        raise GradientLostError(
            f"{what} of a value that depends on the argument of an enclosing nt.grad gives plain "
            f"numbers and drops that derivative; use nt.grad inside nt.grad [{core.user_line()}]"
        )


def _deposit(
    tape: Recorder, inputs: list[tuple[int, Any]], mark: np.ndarray, g: np.ndarray
) -> None:
    """Add adjoints to the leaves and to the results that asked for theirs."""
    for slot, leaf in inputs:
        if leaf is not None:
            leaf.deposit(g[_input_span(tape, slot, leaf)])
    for slot, before in tape.retained.items():
        span = _span(tape, slot)
        if slot < len(mark) and (mark[span] & REACHED).any():
            found = g[span].copy() if span.stop - slot > 1 else float(g[slot])
            tape.retained[slot] = found if before is None else before + found
    tape.walk = mark, len(inputs)


def _spend(tape: Recorder, inputs: list[tuple[int, Any]], mark: np.ndarray) -> None:
    """Give up what was walked; inputs are never spent."""
    mark |= (mark & REACHED) << 1
    for slot, leaf in inputs:
        mark[_input_span(tape, slot, leaf)] &= REACHED
    tape.any_spent = True


def gradient(self: Recorder, y: Any, xs: Any) -> Any:
    """Derivatives of the scalar y with respect to xs, which stay usable: nothing is spent.

    `xs` is a value or a list of values: leaves, intermediate results, arrays; or their names, as in
    ``tape["x"]``, and so may y be.  The answer is a float, or an array of the shape of x, or a list
    of such, 0.0 where y does not depend on x.
    Raises `ArgumentError` if y is no scalar, or an x no recording value.
    """
    many = isinstance(xs, (list, tuple))
    y, *wanted = _by_name(self, [y, *(xs if many else [xs])])
    if not isinstance(y, (Var, Array)) or not all(isinstance(x, (Var, Array)) for x in wanted):
        raise ArgumentError("gradient(y, xs) takes a recording value y and recording values xs")
    if isinstance(y, Array) and y.size != 1:
        raise ArgumentError(f"gradient(y, xs) takes a scalar y, not one of shape {y.shape}")
    if isinstance(y, Leaf):
        answers = [float(x is y) for x in wanted]
        return answers if many else answers[0]
    tape, root = root_of(y)
    with _locked(tape), tape.work.lock:
        mark = reached(tape, root)
        inputs = reached_inputs(tape, mark)
        _refuse_inside_transform(inputs, "tape.gradient")
        g = tape.work.gradient(root)
        tape.walk = mark, len(inputs)
        answers = [adjoint_of(tape, x, g) for x in wanted]
    return answers if many else answers[0]


def adjoint_of(tape: Recorder, x: Any, numbers: np.ndarray) -> Any:
    """What a buffer of a sweep holds for a value: a float or an array; zeros where it is absent."""
    if isinstance(x, Leaf):
        return sum(float(numbers[slot]) for slot, leaf in tape.inputs if leaf is x)
    if isinstance(x, Var):
        core.resolve(x)
        return float(numbers[x.slot]) if x.tape is tape and x.slot < len(numbers) else 0.0
    places = x.places()
    storage = x.storage
    total = np.zeros(x.shape)
    if isinstance(storage, ArrayLeaf):
        for slot, leaf in tape.inputs:
            if leaf is storage:
                total = total + numbers[slot + places]
    elif storage.tape is not None:
        core.resolve(storage)
        if storage.tape is tape:
            slots = storage.slot + places if storage.map is None else storage.map[places]
            total = np.where(slots < 0, 0.0, numbers[np.maximum(slots, 0)])
    return total.astype(x.dtype) if x.dtype.kind == "f" else total


def _by_name(tape: Recorder, values: list[Any]) -> list[Any]:
    """Values, those that are given by name looked up on the tape."""
    return [named(tape, x) if isinstance(x, str) else x for x in values]


def tangent(self: Recorder, ys: Any, xs: Any, seeds: Any = None) -> Any:
    """Forward mode: how fast ys change when the leaves xs change with the speeds `seeds` (1 each).

    `ys` is a recording value or a list of them, and so is the answer, of floats or arrays; `xs` is
    a leaf or a list of leaves, `seeds` a number or array of its shape, or a list.  Values may be
    given by their names, as in ``tape["x"]``.  A tangent that is zero contributes exactly zero,
    even against an infinite partial derivative.  Raises `ArgumentError` for anything else.
    """
    wanted = _by_name(self, list(ys) if isinstance(ys, (list, tuple)) else [ys])
    leaves = _by_name(self, list(xs) if isinstance(xs, (list, tuple)) else [xs])
    given = list(seeds) if isinstance(seeds, (list, tuple)) else [seeds] * len(leaves)
    if not all(isinstance(y, (Result, Array)) for y in wanted) or not all(
        isinstance(x, Leaf) or (isinstance(x, Array) and x.is_leaf) for x in leaves
    ):
        raise ArgumentError("tangent(ys, xs, seeds) takes results ys and leaves xs")
    if len(given) != len(leaves):
        raise ArgumentError(f"{len(leaves)} leaves and {len(given)} seeds")
    with core.growth:
        tape = common_tape(storages(wanted))
    with tape.work.lock:
        speeds: dict[int, float] = {}
        for x, seed in zip(leaves, given, strict=True):
            leaf = x.storage if isinstance(x, Array) else x
            shape = x.shape if isinstance(x, Array) else ()
            numbers = np.broadcast_to(1.0 if seed is None else np.asarray(seed, float), shape)
            for slot, other in tape.inputs:
                if other is leaf:
                    speeds |= _seeds(slot, numbers.ravel())
        roots = [slot for y in wanted for slot in _all_slots(y)]
        mark = tape.work.reach(roots)
        _refuse_inside_transform(reached_inputs(tape, mark), "tape.tangent")
        t = tape.work.tangent(speeds)
        answers = [adjoint_of(tape, y, t) for y in wanted]
    return answers if isinstance(ys, (list, tuple)) else answers[0]


def _all_slots(y: Any) -> list[int]:
    if isinstance(y, Array):
        return y.storage.all_slots().tolist() if y.storage.tape is not None else []
    return [y.slot]


def _slots(tape: Recorder, x: Any) -> list[int]:
    """Where a value stands on a tape: a leaf may have been copied in more than once."""
    if isinstance(x, Array):
        if not isinstance(x.storage, ArrayLeaf):
            return [place(tape, x.storage.tape, slot) for slot in _all_slots(x)]
        starts = [slot for slot, leaf in tape.inputs if leaf is x.storage]
        return [slot for start in starts for slot in range(start, start + x.storage.size)]
    if isinstance(x, Leaf):
        return [slot for slot, leaf in tape.inputs if leaf is x]
    core.resolve(x)
    return [place(tape, x.tape, x.slot)] if x.tape is tape or tape.scope else []


def check_finite(tape: Recorder) -> None:
    """Raise `NonFiniteError` naming the first value, or adjoint, that is nan or infinite.

    Values are looked at in order of execution, adjoints (of the last reverse sweep) backwards,
    so that the report names the cause and not its consequences.  Source lines are part of it
    where the tape records them: ``nt.Tape(lines=True)``.
    """
    tape = core.destination(tape)
    with tape.work.lock:
        tape.work.forward()
        n = tape.slots
        v = tape.work.array("v")
    bad = np.flatnonzero(~np.isfinite(v[:n]))
    if len(bad):
        _not_finite(tape, int(bad[0]), "value", float(v[bad[0]]))
    if "g" in tape.work.arrays:
        bad = np.flatnonzero(~np.isfinite(tape.work.array("g")[:n]))
        if len(bad):
            _not_finite(tape, int(bad[-1]), "adjoint", float(tape.work.array("g")[bad[-1]]))


def _not_finite(tape: Recorder, slot: int, what: str, number: float) -> None:
    i = tape.index_of_slot(slot)
    instruction = tape.instruction(i)
    v = tape.work.array("v")
    operands = ", ".join(
        f"{tape.names.get(s, f'r{s}')} = {v[s]:.6g}" for s in instruction.slots[:8]
    )
    where = tape.where(i)
    line = f" at {where}" if where else "; record with nt.Tape(lines=True) for its source line"
    raise NonFiniteError(
        f"the first {what} that is not finite is {number} at instruction {i}, "
        f"{instruction.text(tape.names)}" + (f" with {operands}" if operands else "") + line
    )


for _cls, _name, _method in (
    (Var, "backward", backward),
    (Array, "backward", backward),
    (Recorder, "gradient", gradient),
    (Recorder, "tangent", tangent),
    (Recorder, "check_finite", check_finite),
):
    setattr(_cls, _name, _method)


# --- user operations ---------------------------------------------------------------------------


def _valued(name: str, value: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
    """`value(*operands)`; refuses to drop the derivative of what `value` captures."""
    moving = [x for x in operands if moves(x)]
    tape = common_tape(storages(moving))
    start, before = len(tape), tape.slots
    known = {slot for x in moving for slot in _slots(tape, x)}
    answer = value(*operands)
    if isinstance(answer, Result):
        core.resolve(answer)
    # Once more: leaves have been copied in, and elements written one by one gathered.
    known |= {slot for x in moving for slot in _slots(tape, x)}
    leaves = {slot for slot, leaf in tape.inputs if leaf is not None}
    for instruction in tape.instructions(start, len(tape)):
        new_leaf = instruction.out in leaves - known
        if new_leaf or any(s < before and s not in known for s in instruction.slots):
            raise GradientLostError(
                f"the value function of {name} uses a recording value that is not one of its "
                "operands, whose derivative would be lost; make it an operand"
            )
    return answer


def define(value: Callable[..., Any], *partials: Callable[..., Any]) -> Callable[..., Any]:
    """A user operation with its own derivative rule.

    `value(x, y, ...)` is evaluated without derivatives; each of `partials`, one an operand,
    is called as `partial(x, y, ..., z)` with z the value, and must be written with `nt` functions
    if second derivatives are wanted.  Works on every path that built-in operations do.

    >>> import ndtape as nt
    >>> step_up = nt.define(nt.relu, lambda x, z: nt.where(x >= 0, 1.0, 0.0))
    >>> nt.grad(step_up)(0.0)
    1.0
    """
    if not partials:
        raise ArgumentError("nt.define(value, partials...) needs one partial for each operand")

    def operation(*operands: Any) -> Any:
        if len(operands) != len(partials):
            raise ArgumentError(
                f"{operation.__name__} has {len(partials)} partial(s) and was called with "
                f"{len(operands)} operand(s)"
            )
        if not any(map(moves, operands)) or not core.recording():
            return value(*operands)
        z = stopped = FUNCTIONS["stop"](_valued(operation.__name__, value, operands))
        for x, partial in zip(operands, partials, strict=True):
            if moves(x):
                slope = partial(*operands, stopped)
                if slope is None:
                    raise ArgumentError(f"a partial of {operation.__name__} returned None")
                z = apply(ROWS["attach"], x, z, slope)
        return z

    operation.__name__ = operation.__qualname__ = getattr(value, "__name__", "operation")
    operation.__doc__ = value.__doc__
    return operation
