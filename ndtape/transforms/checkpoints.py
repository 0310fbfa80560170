"""Functions whose intermediate values are not kept: they are computed again in reverse.

A checkpointed call is one `call` instruction.  Its value comes from a tape of its own, which is
dropped at once; its reverse and tangent rules record the function again on another and sweep that,
or record it on the surrounding tape where derivatives nest.  So a chain of checkpointed blocks
keeps only what passes between them (Griewank and Walther, "Evaluating Derivatives", 2008,
chapter 12).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..errors import GradientLostError
from ..record import core
from ..record.arrays import BOOL, FLOAT64, INT64, Array, moves, retyped
from ..record.values import Boolean, Integer, result
from ..trees import flatten, unflatten
from .custom import described, ruled
from .outputs import VectorEvaluation


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """`checkpoint(f)` is f, but its intermediate values are computed again when they are needed.

    For long programs whose intermediate values do not fit memory: values inside f are not kept,
    at the price of running f once more for each derivative.  f takes and returns scalars, arrays
    and trees of them.  It runs as Python code each time, also where a traced function replays.
    Nests, in itself and in other transforms.  The same as `nt.remat`.

    Raises `GradientLostError` where f uses a recording value that is not among its arguments.

    >>> import ndtape as nt
    >>> block = nt.checkpoint(lambda x: nt.sin(nt.sin(x)))
    >>> nt.grad(lambda x: block(block(x)))(0.5) == nt.grad(
    ...     lambda x: nt.sin(nt.sin(nt.sin(nt.sin(x)))))(0.5)
    True
    """

    @wraps(f, updated=())
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        if not core.recording() or not any(map(moves, leaves)):
            return f(*args, **kwargs)
        block = _Block(f, leaves, structure)
        operands = [x for x in leaves if moves(x)]
        first = block.evaluation([x.value for x in operands], alone=True)
        block.known = [first.plain(o.x) for o in first.outputs]
        block.value_structure, block.many = first.result_structure, len(first.outputs) != 1
        outputs = [o.x for o in first.outputs]
        results = ruled(block, outputs)(*operands, rule=block)
        return unflatten(block.value_structure, list(results) if block.many else [results])

    return checkpointed


remat = checkpoint


class _Block:
    """One checkpointed call: the function, and which leaves of its arguments are recorded."""

    def __init__(self, f: Callable[..., Any], leaves: list[Any], structure: Any) -> None:
        self.f, self.structure = f, structure
        self.fixed = [None if moves(x) else (x,) for x in leaves]
        self.kinds = [_kind(x) for x in leaves if moves(x)]
        self.known: list[Any] | None = None  # the results at the operands of the recording
        self.value_structure: Any = None
        self.many = False

    def __repr__(self) -> str:
        return described(self.f, self.structure, self.fixed)

    def evaluation(self, operands: Sequence[Any], alone: bool) -> VectorEvaluation:
        """f at operands: plain numbers on a tape of its own, recording ones where they are."""

        def of_operands(*moving: Any) -> Any:
            given = iter(moving)
            args, kwargs = unflatten(
                self.structure, [next(given) if x is None else x[0] for x in self.fixed]
            )
            return self.f(*args, **kwargs)

        moving = tuple(map(_typed, operands, self.kinds))
        smooth = tuple([j for j, kind in enumerate(self.kinds) if kind == FLOAT64])
        found = VectorEvaluation(of_operands, moving, {}, smooth, inline=True, alone=alone)
        leaves = [leaf for _, leaf in found.tape.inputs if leaf is not None]
        if alone and (found.met_others or leaves):
            raise GradientLostError(
                f"{getattr(self.f, '__name__', 'a function')} under nt.checkpoint uses a recording "
                "value that is not among its arguments, whose derivative would be lost; make it an "
                f"argument [{core.user_line()}]"
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
        found = self.evaluation(operands, alone=not any(map(moves, (*operands, *ws))))
        terms = iter(found.pull(found.cotangents(unflatten(self.value_structure, ws))))
        return [next(terms) if kind == FLOAT64 else None for kind in self.kinds]

    def jvp(self, tangents: Sequence[Any], z: Any, *operands: Any) -> Any:
        found = self.evaluation(operands, alone=not any(map(moves, (*operands, *tangents))))
        smooth = [t for t, kind in zip(tangents, self.kinds, strict=True) if kind == FLOAT64]
        parts = found.push(found.directions(smooth))
        return tuple(parts) if self.many else parts[0]


def _kind(x: Any) -> Any:
    """The dtype of a recorded argument: whole numbers and booleans are not differentiated."""
    if isinstance(x, (Boolean, Integer)):
        return BOOL if isinstance(x, Boolean) else INT64
    return x.dtype if isinstance(x, Array) and x.dtype.kind in "ib" else FLOAT64


def _typed(x: Any, kind: Any) -> Any:
    """An operand of a call as the kind of number that it was."""
    if isinstance(x, Array):
        if x.shape:
            return retyped(x, kind) if kind != FLOAT64 else x
        x = x[()]
        if kind == FLOAT64:
            return x
        return result(x.tape, x.slot, Boolean if kind == BOOL else Integer)
    if kind == FLOAT64:
        return x
    return np.asarray(x).astype(kind)[()]
