"""Fast calls of traced functions: one compiled call for everything.

What costs time in a small gradient is not its sweeps (40 ns for Rosenbrock's function of two
variables) but Python: each step of a general call is 50 to 500 ns.  Here a call is prepared once,
as a *plan* (plans.py); a call then is a test of types, a test of what the function captures, and
one compiled call that copies inputs, sweeps and copies results.  One array takes the shortest way,
floats and trees a longer one.  Everything unusual (a guard that flips, another signature, a long
tape, calls of Python) goes the general way, which leaves a new plan behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..record.arrays import FLOAT64
from ..run import entry
from .hot import SECOND
from .packing import Plan
from .plans import plan_for

if TYPE_CHECKING:
    from .function import Function

ndarray, empty = np.ndarray, np.empty


def checked(out: Any, shape: tuple[int, ...]) -> np.ndarray:
    """`out`, which results are written into."""
    if not (out.__class__ is ndarray and out.dtype is FLOAT64 and out.flags.carray):
        raise UnsupportedError("out must be a writable array of float64 in C order")
    if out.shape != shape:
        raise ShapeError(f"out has shape {out.shape}, the result {shape}")
    return out


# --- calls ----------------------------------------------------------------------------------------


def fast_gradient(
    function: Function, general: Callable[..., Any], argnums: int | Sequence[int], with_value: bool
) -> Callable[..., Any]:
    """`general`, a gradient of a traced function, with the short way in front of it.

    `out` takes the gradient with respect to a single array.
    """
    plan: Plan | None = None
    tried = 0
    takes_out = "out" in _parameters(function.f)
    single = isinstance(argnums, int)

    def gradient(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        nonlocal plan, tried
        known = plan
        if known is not None and known.captures is function.captures and not known.changed():
            shape = known.shape
            if len(args) == 1 and shape and not kwargs:  # one array: what `pack` does, in line
                x = args[0]
                if x.__class__ is ndarray and x.dtype is FLOAT64 and x.shape == shape:
                    result = empty(shape) if out is None else checked(out, shape)
                    if len(shape) == 1:
                        status, value = known.run(known.address, x, result)
                    else:
                        status, value = known.run(known.address, x.ravel(), result.reshape(-1))
                    if status == 0:
                        answer = result if single else (result,)
                        return (value, answer) if with_value else answer
                    known.hot.stop(function, status, value)
            elif out is None:
                numbers = known.pack(args, kwargs)
                if numbers is not None:
                    result = empty(known.count)
                    status, value = known.run(known.address, numbers, result)
                    if status == 0:
                        parts = known.unpack(result)
                        answer = parts[0] if single else tuple(parts)
                        return (value, answer) if with_value else answer
                    known.hot.stop(function, status, value)
        if takes_out and out is not None:
            kwargs, out = {**kwargs, "out": out}, None
        answer = general(*args, **kwargs)
        tried += 1
        if plan is not None or not tried & (tried - 1):  # where no plan is possible: seldom
            plan = plan_for(function, args, kwargs, argnums)
        return answer if out is None else _written(answer, out, single, with_value)

    return gradient


def fast_value(function: Function, general: Callable[..., Any]) -> Callable[..., Any]:
    """`general`, the call of a traced function, with the short way in front of it."""
    plan: Plan | None = None
    tried = 0

    def value(*args: Any, **kwargs: Any) -> Any:
        nonlocal plan, tried
        known = plan
        if known is not None and known.captures is function.captures:
            numbers = known.pack(args, kwargs)
            if numbers is not None and not known.changed():
                result = empty(known.count)
                status, number = known.run(known.address, numbers, result)
                if status == 0:
                    return number if known.reader is None else known.reader(result)
                known.hot.stop(function, status, number)
        answer = general(*args, **kwargs)
        tried += 1
        if plan is not None or not tried & (tried - 1):
            plan = plan_for(function, args, kwargs, None)
        return answer

    return value


def second_order(function: Function, primals: tuple[Any, ...], tangents: Any) -> Any:
    """(value, gradient, Hessian times tangents), or None where the general way must be taken."""
    plan = function.second_plan
    if plan is None or plan.captures is not function.captures or plan.changed():
        plan = function.second_plan = plan_for(
            function, primals, {}, tuple(range(len(primals))), SECOND
        )
    if plan is None:
        return None
    x, direction = plan.pack(primals, {}), plan.direction(tuple(tangents))
    if x is None:  # another signature: the next call finds a plan for it
        function.second_plan = plan_for(function, primals, {}, tuple(range(len(primals))), SECOND)
    if x is None or direction is None:
        return None
    gradient, product = empty(plan.count), empty(plan.count)
    status, value = entry("replay_second")(plan.address, x, direction, gradient, product)
    if status == 0:
        return value, tuple(plan.unpack(gradient)), tuple(plan.unpack(product))
    plan.hot.stop(function, status, value)
    function.second_plan = None
    return None


def _written(answer: Any, out: Any, single: bool, with_value: bool) -> Any:
    """The answer of the general way with its gradient in `out`."""
    gradient = answer[1] if with_value else answer
    if not single or not isinstance(gradient, ndarray):
        raise UnsupportedError("out= takes the gradient with respect to a single array")
    checked(out, gradient.shape)[...] = gradient
    return (answer[0], out) if with_value else out


def _parameters(f: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(f).parameters)
    except (TypeError, ValueError):
        return set()
