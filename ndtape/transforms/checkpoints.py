"""Functions whose intermediate values are not kept: they are computed again in reverse.

A checkpointed call is one `call` instruction.  Its value comes from a tape of its own, which is
dropped at once; its reverse and tangent rules record the function again on another and sweep that,
or record it on the surrounding tape where derivatives nest.  So a chain of checkpointed blocks
keeps only what passes between them (Griewank and Walther, "Evaluating Derivatives", 2008,
chapter 12).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import GradientLostError, UnstableProgramError
from ..named import Transformed
from ..record import core
from ..record.arrays import BOOL, FLOAT64, INT64, Array, moves, retyped
from ..record.values import Boolean, Integer, result
from ..trees import flatten, unflatten
from .closures import Closure
from .custom import described, ruled
from .directions import adjoint
from .outputs import VectorEvaluation


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """`checkpoint(f)` is f, but its intermediate values are computed again when they are needed.

    For long programs whose intermediate values do not fit memory: values inside f are not kept,
    at the price of running f once more for each derivative.  f takes and returns scalars, arrays
    and trees of them.  Recording values that f captures (weights, in its closure, in globals,
    defaults, objects, containers) are found and differentiated like arguments.  It runs as Python
    code each time, also where a traced function replays; what it captures itself, such as the
    variable of a loop, is then as it was at the call.  Nests, in itself and in other transforms.
    The same as `nt.remat`.

    A gradient is the same to the last bit as without checkpoints, in eager programs: a traced
    function's passes may sum a weight's adjoints in another order where they see all of it.

    Raises `GradientLostError` where f uses a recording value that is not found, or writes into one
    that it captures, and `UnstableProgramError` where f gives other numbers when it runs again,
    because it draws random numbers or reads what has changed since.

    >>> import ndtape as nt
    >>> block = nt.checkpoint(lambda x: nt.sin(nt.sin(x)))
    >>> nt.grad(lambda x: block(block(x)))(0.5) == nt.grad(
    ...     lambda x: nt.sin(nt.sin(nt.sin(nt.sin(x)))))(0.5)
    True
    >>> def chain(w, wrapped):
    ...     x = 1.0
    ...     for t in range(3):
    ...         x = wrapped(lambda x: nt.sin(w * x + t))(x)
    ...     return x
    >>> nt.grad(chain)(0.5, nt.checkpoint) == nt.grad(chain)(0.5, lambda f: f)
    True
    """

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not core.recording():
            return f(*args, **kwargs)
        leaves, structure = flatten((args, kwargs))
        closure = Closure(f, frozen=True)
        captured = closure.values
        if not captured and not any(map(moves, leaves)):
            return f(*args, **kwargs)
        block = _Block(f, closure, leaves, structure)
        operands = [*filter(moves, leaves), *captured]
        # Without captured values f itself runs this time: what it writes into its cells is seen.
        given = [x.value for x in operands]
        first = block.evaluation(given, alone=True, f=None if captured else f)
        block.known = [first.plain(o.x) for o in first.outputs]
        block.value_structure, block.many = first.result_structure, len(first.outputs) != 1
        outputs = [o.x for o in first.outputs]
        results = ruled(block, outputs)(*operands, rule=block)
        return unflatten(block.value_structure, list(results) if block.many else [results])

    return Transformed(checkpointed, "checkpoint", None, checkpoint, f)


remat = checkpoint


class _Block:
    """One checkpointed call: the function, and which leaves of its arguments are recorded.

    Operands are those leaves, and after them the recording values that the function captures.
    """

    def __init__(
        self, f: Callable[..., Any], closure: Closure, leaves: list[Any], structure: Any
    ) -> None:
        self.closure, self.structure = closure, structure
        self.name = getattr(f, "__name__", "a function")
        self.fixed = [None if moves(x) else (x,) for x in leaves]
        self.kinds = [_kind(x) for x in (*filter(moves, leaves), *closure.values)]
        self.smooth = [j for j, kind in enumerate(self.kinds) if kind.kind == "f"]
        self.arguments = len(self.kinds) - len(closure.values)
        closure.forget()
        code = getattr(f, "__code__", None)  # f itself would hold what it captures
        self.text = f if code is None else code, closure.plain, structure, self.fixed
        self.known: list[Any] | None = None  # the results at the operands of the recording
        self.value_structure: Any = None
        self.many = False

    def __repr__(self) -> str:
        return described(*self.text)

    def evaluation(
        self, operands: Sequence[Any], alone: bool, f: Callable[..., Any] | None = None
    ) -> VectorEvaluation:
        """f at operands: plain numbers on a tape of its own, recording ones where they are."""

        captured: list[Any] = []  # those that are differentiated

        def of_operands(*moving: Any) -> Any:
            given = iter(moving)
            args, kwargs = unflatten(
                self.structure, [next(given) if x is None else x[0] for x in self.fixed]
            )
            captured.extend([moving[j] for j in self.smooth if j >= self.arguments])
            return (f or self.closure(list(given)))(*args, **kwargs)

        moving = tuple(map(_typed, operands, self.kinds))
        smooth = tuple(self.smooth)
        found = VectorEvaluation(of_operands, moving, {}, smooth, inline=True, alone=alone)
        variables = found.variables[len(smooth) - len(captured) :]
        if alone and any(map(_written, captured, variables)):
            raise GradientLostError(
                f"{self.name} under nt.checkpoint writes into an array that it captures, which "
                f"nobody would see; make it an argument, and return it [{core.user_line()}]"
            )
        leaves = [leaf for _, leaf in found.tape.inputs if leaf is not None]
        if alone and (found.met_others or leaves):
            raise GradientLostError(
                f"{self.name} under nt.checkpoint uses a recording value that is not among its "
                "arguments and cannot be found in its closure, so that its derivative would be "
                f"lost; make it an argument [{core.user_line()}]"
            )
        return found

    def again(self, z: Any, operands: Sequence[Any], others: Sequence[Any]) -> VectorEvaluation:
        """f once more, for a derivative; raises where other numbers come out than before."""
        alone = not any(map(moves, (*operands, *others)))
        found = self.evaluation(operands, alone)
        if alone:
            before = z if self.many else [z]
            now = [found.plain(o.x) for o in found.outputs]
            if not len(now) == len(before) or not all(map(_same, now, before)):
                raise UnstableProgramError(
                    f"{self.name} under nt.checkpoint gave other numbers when it ran again for its "
                    "derivative: it draws random numbers, or reads what has changed since the "
                    "call; make that an argument"
                )
        return found

    def value(self, *operands: Any) -> Any:
        known, self.known = self.known, None
        if known is None:
            found = self.evaluation(operands, alone=True)
            known = [found.plain(o.x) for o in found.outputs]
        parts = [np.asarray(x) for x in known]
        return tuple(parts) if self.many else parts[0]

    def vjp(self, w: Any, z: Any, *operands: Any) -> list[Any]:
        ws = list(w) if self.many else [w]
        found = self.again(z, operands, ws)
        terms = iter(found.pull(found.cotangents(unflatten(self.value_structure, ws))))
        return [next(terms) if kind.kind == "f" else None for kind in self.kinds]

    def vjp_onto(self, before: list[Any], w: Any, z: Any, *operands: Any) -> list[Any]:
        """The adjoints of the operands so far, and what f adds, in the order in which f adds it.

        That is the order of a program without checkpoints, so the sums are the same to the last
        bit: the sweep begins with the adjoints of the operands where they are.
        """
        found = self.again(z, operands, ())
        numbers = np.concatenate([*map(np.ravel, w if self.many else [w])])
        places, inputs = found.places(), found.input_slots()
        g = adjoint(
            found,
            np.concatenate([inputs, places[places >= 0]]),
            np.concatenate([*[before[j] for j in self.smooth], numbers[places >= 0]]),
        )
        totals, start = list(before), 0
        for j in self.smooth:
            totals[j] = g[inputs[start : start + len(before[j])]]
            start += len(before[j])
        return totals

    def jvp(self, tangents: Sequence[Any], z: Any, *operands: Any) -> Any:
        found = self.again(z, operands, tangents)
        parts = found.push(found.directions([tangents[j] for j in self.smooth]))
        return tuple(parts) if self.many else parts[0]


def _written(x: Any, variable: Any) -> bool:
    """Whether an array that was given to a function has other places than it had."""
    if not isinstance(x, Array):
        return False
    return x.storage.map is not None or x.storage.slot != variable.storage.slot


def _same(now: Any, before: Any) -> bool:
    """Whether numbers agree, but for what a product on several threads may change."""
    now, before = np.asarray(now), np.asarray(before)
    if now.shape != before.shape:
        return False
    tolerance = 1e-3 if now.dtype == np.float32 else 1e-8
    size = np.abs(before[np.isfinite(before)]).max(initial=0.0)
    return bool(np.allclose(now, before, rtol=0.0, atol=tolerance * size, equal_nan=True))


def _kind(x: Any) -> Any:
    """The dtype of a recorded argument: whole numbers and booleans are not differentiated."""
    if isinstance(x, (Boolean, Integer)):
        return BOOL if isinstance(x, Boolean) else INT64
    return x.dtype if isinstance(x, Array) else FLOAT64


def _typed(x: Any, kind: Any) -> Any:
    """An operand of a call as the kind of number that it was; float32 comes as float64."""
    if isinstance(x, Array):
        if x.shape:
            return retyped(x, kind)
        x = x[()]
        if kind.kind == "f":
            return x
        return result(x.tape, x.slot, Boolean if kind == BOOL else Integer)
    if kind == FLOAT64:
        return x
    return np.asarray(x).astype(kind)[()]
