"""Derivatives of recorded values: by a sweep, as numbers; or recorded, as further instructions.

Recording the reverse walk on the same tape is what lets derivatives nest to any order: the walk
uses the partial derivatives of the op table, evaluated on recording values, so what it leaves is an
ordinary program.  Nothing can be confused between levels, because there is only one tape.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from .. import rules
from ..errors import (
    ArgumentError,
    GradientLostError,
    NonFiniteError,
    SpentTapeError,
    UnsupportedError,
)
from ..ops import INPUT_CODE, ROWS
from ..run import REACHED, SPENT
from . import core
from .core import Recorder
from .lifetime import common_tape
from .operators import apply
from .values import FUNCTIONS, Leaf, Result, Var, as_number, result

# --- numbers -----------------------------------------------------------------------------------


def backward(y: Var, seed: float = 1.0, retain_graph: bool = False, **options: Any) -> None:
    """Add the derivatives of this value, times `seed`, to the `.grad` of all leaves behind it.

    Without `retain_graph` the instructions walked are given up: another `backward` through them
    raises `SpentTapeError`, as in PyTorch.  Values stay readable.  Raises `ArgumentError` for a
    value that depends on no leaf.
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
    seed = seed.value if isinstance(seed, Var) else as_number(seed)
    if isinstance(y, Leaf):
        y.grad = (y.grad or 0.0) + seed
        return
    core.resolve(y)
    tape = y.tape
    with tape.work.lock:
        mark = reached(y)
        _refuse_inside_transform(reached_inputs(tape, mark), "backward()")
        once = seed == 1.0  # the usual case, in one call
        g = tape.work.gradient(y.slot) if once else tape.work.reverse({y.slot: seed})
        _deposit(tape, mark, g)
        if not retain_graph:
            _spend(tape, mark)
    if not (retain_graph or tape.entered):
        tape.end()


def reached(y: Var) -> np.ndarray:
    """Marks of what y depends on; raises `SpentTapeError` where an earlier walk spent it."""
    tape = y.tape
    mark = tape.work.reach([y.slot])
    if tape.any_spent:
        again = np.flatnonzero(mark == REACHED | SPENT)
        if len(again):
            i = int(again[-1])
            where = tape.where(i) or f"instruction {i}, {tape.instruction(i).text(tape.names)}"
            raise SpentTapeError(
                f"backward() comes a second time through {where}; the first one gave it up. "
                "Call the first backward(retain_graph=True), add the losses before one backward(), "
                "or use tape.gradient, which spends nothing"
            )
    return mark


def reached_inputs(tape: Recorder, mark: np.ndarray) -> list[tuple[int, Leaf | None]]:
    """The inputs among marked slots; other threads may have added some since `mark` was made."""
    return [(s, leaf) for s, leaf in tape.inputs if s < len(mark) and mark[s] & REACHED]


def _refuse_inside_transform(inputs: list[tuple[int, Leaf | None]], what: str) -> None:
    """Numbers from a sweep would drop the derivative that an enclosing transform is taking."""
    if core.transform_depth.get() and any(leaf is None for _, leaf in inputs):
        raise GradientLostError(
            f"{what} of a value that depends on the argument of an enclosing nt.grad gives plain "
            f"numbers and drops that derivative; use nt.grad inside nt.grad [{core.user_line()}]"
        )


def _deposit(tape: Recorder, mark: np.ndarray, g: np.ndarray) -> None:
    """Add adjoints to the leaves and to the results that asked for theirs."""
    inputs = reached_inputs(tape, mark)
    for slot, leaf in inputs:
        if leaf is not None:
            leaf._grad = (leaf._grad or 0.0) + float(g[slot])
    for slot, before in tape.retained.items():
        if slot < len(mark) and mark[slot] & REACHED:
            tape.retained[slot] = (before or 0.0) + float(g[slot])
    tape.walked = int(np.count_nonzero(mark & REACHED)) - len(inputs)


def _spend(tape: Recorder, mark: np.ndarray) -> None:
    slots = [slot for slot, _ in tape.inputs if slot < len(mark)]
    kept = mark[slots] & SPENT
    mark |= (mark & REACHED) << 1
    mark[slots] = kept | (mark[slots] & REACHED)
    tape.any_spent = True


def gradient(_: Recorder, y: Var, xs: Any) -> Any:
    """Derivatives of the scalar y with respect to xs, which stay usable: nothing is spent.

    `xs` is a value or a list of values, leaves or intermediate results; the answer is a float
    or a list of floats, 0.0 where y does not depend on x.  Raises `ArgumentError` if y, or an
    x, is not a recording value.
    """
    many = isinstance(xs, (list, tuple))
    wanted = list(xs) if many else [xs]
    if not isinstance(y, Var) or not all(isinstance(x, Var) for x in wanted):
        raise ArgumentError("gradient(y, xs) takes a recording value y and recording values xs")
    if isinstance(y, Leaf):
        answers = [float(x is y) for x in wanted]
        return answers if many else answers[0]
    core.resolve(y)
    tape = y.tape
    with tape.work.lock:
        mark = reached(y)
        inputs = reached_inputs(tape, mark)
        _refuse_inside_transform(inputs, "tape.gradient")
        g = tape.work.gradient(y.slot)
        tape.walked = int(np.count_nonzero(mark & REACHED)) - len(inputs)
        answers = [sum(float(g[slot]) for slot in _slots(tape, x) if slot < len(g)) for x in wanted]
    return answers if many else answers[0]


def tangent(_: Recorder, ys: Any, xs: Any, seeds: Any = None) -> Any:
    """Forward mode: how fast ys change when the leaves xs change with the speeds `seeds` (1 each).

    `ys` is a recording value or a list of them, and so is the answer, of floats; `xs` is a leaf or
    a list of leaves, `seeds` a number or a list.  A tangent that is zero contributes exactly zero,
    even against an infinite partial derivative.  Raises `ArgumentError` for anything else.
    """
    wanted = list(ys) if isinstance(ys, (list, tuple)) else [ys]
    leaves = list(xs) if isinstance(xs, (list, tuple)) else [xs]
    given = list(seeds) if isinstance(seeds, (list, tuple)) else [seeds] * len(leaves)
    if not all(isinstance(y, Result) for y in wanted) or not all(
        isinstance(x, Leaf) for x in leaves
    ):
        raise ArgumentError("tangent(ys, xs, seeds) takes results ys and leaves xs")
    if len(given) != len(leaves):
        raise ArgumentError(f"{len(leaves)} leaves and {len(given)} seeds")
    tape = common_tape(wanted)
    with tape.work.lock:
        speeds = {
            slot: 1.0 if seed is None else float(seed)
            for x, seed in zip(leaves, given, strict=True)
            for slot in _slots(tape, x)
        }
        mark = tape.work.reach([y.slot for y in wanted])
        _refuse_inside_transform(reached_inputs(tape, mark), "tape.tangent")
        t = tape.work.tangent(speeds)
        answers = [float(t[y.slot]) for y in wanted]
    return answers if isinstance(ys, (list, tuple)) else answers[0]


def _slots(tape: Recorder, x: Var) -> list[int]:
    """Where a value stands on a tape: a leaf may have been copied in more than once."""
    if isinstance(x, Leaf):
        return [slot for slot, leaf in tape.inputs if leaf is x]
    core.resolve(x)
    return [x.slot] if x.tape is tape else []


def check_finite(tape: Recorder) -> None:
    """Raise `NonFiniteError` naming the first value, or adjoint, that is nan or infinite.

    Values are looked at in order of execution, adjoints (of the last reverse sweep) backwards,
    so that the report names the cause and not its consequences.  Source lines are part of it
    where the tape records them: ``nt.Tape(lines=True)``.
    """
    tape = core.destination(tape)
    with tape.work.lock:
        tape.work.forward()
        n = len(tape)
        v = tape.work.array("v")
    bad = np.flatnonzero(~np.isfinite(v[:n]))
    if len(bad):
        _not_finite(tape, int(bad[0]), "value", float(v[bad[0]]))
    if "g" in tape.work.arrays:
        bad = np.flatnonzero(~np.isfinite(tape.work.array("g")[:n]))
        if len(bad):
            _not_finite(tape, int(bad[-1]), "adjoint", float(tape.work.array("g")[bad[-1]]))


def _not_finite(tape: Recorder, i: int, what: str, number: float) -> None:
    instruction = tape.instruction(i)
    v = tape.work.array("v")
    operands = ", ".join(f"{tape.names.get(s, f'r{s}')} = {v[s]:.6g}" for s in instruction.slots)
    where = tape.where(i)
    line = f" at {where}" if where else "; record with nt.Tape(lines=True) for its source line"
    raise NonFiniteError(
        f"the first {what} that is not finite is {number} at instruction {i}, "
        f"{instruction.text(tape.names)}" + (f" with {operands}" if operands else "") + line
    )


for _cls, _name, _method in (
    (Var, "backward", backward),
    (Recorder, "gradient", gradient),
    (Recorder, "tangent", tangent),
    (Recorder, "check_finite", check_finite),
):
    setattr(_cls, _name, _method)


# --- recorded derivatives -------------------------------------------------------------------------


class _Recordable(ast.NodeTransformer):
    """Rule grammar -> Python on recording values: conditions become recorded `where`."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        return rules.call("where", node.test, node.body, node.orelse)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        name = "logical_and" if isinstance(node.op, ast.And) else "logical_or"
        total = node.values[0]
        for value in node.values[1:]:
            total = rules.call(name, total, value)
        return total


@cache
def contributions(name: str) -> tuple[Callable[..., Any] | None, ...]:
    """For each operand of a row, the function (w, x, y, u, z) -> w times the partial."""
    result: list[Callable[..., Any] | None] = []
    for text in ROWS[name].partials:
        product = rules.scaled(ast.Name("w"), rules.parse(text))
        if product is None:
            result.append(None)
            continue
        body = _Recordable().visit(rules.fill(product, {}))
        source = f"lambda w, x, y, u, z: {ast.unparse(body)}"
        result.append(eval(source, dict(FUNCTIONS)))
    return tuple(result)


def recorded_gradient(y: Var, xs: Sequence[Var]) -> list[Any]:
    """Derivatives of y with respect to results xs on its tape, recorded on that tape."""
    core.resolve(y)
    for x in xs:
        core.resolve(x)
    tape = y.tape
    targets = [x.slot for x in xs]
    needed = _dependents(tape, targets, y.slot)
    adjoints: dict[int, Any] = {y.slot: 1.0}
    with np.errstate(all="ignore"):
        for slot in range(y.slot, min(targets, default=y.slot), -1):
            if slot in adjoints and slot in needed and slot not in targets:
                _walk(tape, slot, adjoints, needed)
    return [adjoints.get(slot, 0.0) if slot in needed else 0.0 for slot in targets]


def _dependents(tape: Recorder, targets: list[int], last: int) -> set[int]:
    """Slots up to `last` that depend on a target."""
    found = set(targets)
    for instruction in tape.instructions(min(targets, default=last), last + 1):
        if not found.isdisjoint(instruction.slots):
            found.add(instruction.out)
    return found


def _walk(tape: Recorder, slot: int, adjoints: dict[int, Any], needed: set[int]) -> None:
    """Record the contributions of one instruction to the adjoints of its operands."""
    instruction = tape.instruction(slot)
    if instruction.opcode.code == INPUT_CODE:
        return
    form = instruction.opcode.form
    operands: list[Any] = [
        result(tape, int(x)) if f == "v" else np.float64(x)
        for x, f in zip(instruction.operands, form, strict=True)
    ]
    x, y, u, *_ = [*operands, None, None]
    w, z = adjoints[slot], result(tape, slot)
    rules_of = contributions(instruction.name)
    for operand, f, rule in zip(instruction.operands, form, rules_of, strict=True):
        if f == "v" and rule is not None and operand in needed:
            term = rule(w, x, y, u, z)
            before = adjoints.get(int(operand))
            adjoints[int(operand)] = term if before is None else before + term


# --- user operations ---------------------------------------------------------------------------


def _valued(name: str, value: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
    """`value(*operands)`; refuses to drop the derivative of what `value` captures."""
    moving = [x for x in operands if isinstance(x, Var) and x.needs_grad]
    tape = common_tape([x for x in moving if isinstance(x, Result)])
    start = len(tape)
    answer = value(*operands)
    if isinstance(answer, Result):
        core.resolve(answer)
    known = {slot for x in moving for slot in _slots(tape, x)}
    leaves = {slot for slot, leaf in tape.inputs if leaf is not None}
    for instruction in tape.instructions(start, len(tape)):
        new_leaf = instruction.out in leaves - known
        if new_leaf or any(s < start and s not in known for s in instruction.slots):
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
        if not any(isinstance(x, Var) and x.needs_grad for x in operands) or not core.recording():
            return value(*operands)
        z = stopped = FUNCTIONS["stop"](_valued(operation.__name__, value, operands))
        for x, partial in zip(operands, partials, strict=True):
            if isinstance(x, Var) and x.needs_grad:
                slope = partial(*operands, stopped)
                if slope is None:
                    raise ArgumentError(f"a partial of {operation.__name__} returned None")
                z = apply(ROWS["attach"], x, z, slope)
        return z

    operation.__name__ = operation.__qualname__ = getattr(value, "__name__", "operation")
    operation.__doc__ = value.__doc__
    return operation
