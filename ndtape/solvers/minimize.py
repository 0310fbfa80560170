"""Minimisation by SciPy, with gradients, Hessians and Hessian-vector products supplied."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from ..record.arrays import moves
from ..record.core import recording, user_line
from ..transforms.gradients import grad
from ..vectors import Unravel
from .bounds import constraint, pairs
from .bridge import Objective, module
from .implicit import Setting, linear_by, recording_result, solved

WITHOUT_GRADIENT = ("nelder-mead", "powell", "cobyla", "cobyqa")
WITH_HESSIAN = ("dogleg", "trust-exact")
WITH_PRODUCT = ("newton-cg", "trust-ncg", "trust-krylov", "trust-constr")


def minimize(
    f: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: Any = None,
    *,
    bounds: Any = None,
    constraints: Any = (),
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: dict[str, Any] | None = None,
    linear: str = "dense",
) -> Any:
    """The minimum of the scalar function f(x, *args) by `scipy.optimize.minimize`.

    Derivatives are supplied as the method wants them: the gradient, the Hessian (dogleg,
    trust-exact), or its products with vectors (Newton-CG, trust-ncg, trust-krylov, trust-constr).
    f is recorded once, by `nt.function`, and replayed; value and gradient at a point are one call.

    `x0` is a tree of numbers.  `bounds` is a tree like it with a pair (min, max) at each leaf, each
    a number or an array of the leaf's shape, None for no bound; for a vector also SciPy's forms.
    `constraints` are SciPy's, with functions of the tree; their derivatives are supplied.
    `method`, `tol`, `callback` (which gets trees) and `options` are SciPy's.

    Returns SciPy's `OptimizeResult`; `x` is a tree like `x0`, all else, such as `jac`, is as SciPy
    gives it, vectors in the order of `nt.ravel`.

    Where an argument, or something that f captures, is a recording value, `x` and `fun` are
    recording: their derivatives come from the implicit function theorem at the minimum, where the
    gradient is zero (an active bound counts as fixed).  Their error is of the size of that of `x`:
    choose `tol` accordingly.  `linear` says how systems with the Hessian are solved for them:
    "dense" forms it, "cg" and "gmres" do not.  Then, too, `ConvergenceError` is raised where the
    method fails, which on plain numbers is told by `success`, and `UnsupportedError` where there
    are constraints.

    >>> import ndtape as nt
    >>> def rosenbrock(p):
    ...     return (1.0 - p["x"]) ** 2 + 100.0 * (p["y"] - p["x"] ** 2) ** 2
    >>> result = nt.minimize(rosenbrock, {"x": -1.2, "y": 1.0}, method="trust-exact")
    >>> {name: round(value, 6) for name, value in result.x.items()}
    {'x': 1.0, 'y': 1.0}
    >>> def ridge(c):  # the minimum of (x - 1)² + c x² is at 1 / (1 + c)
    ...     return nt.minimize(lambda x, c: (x - 1) ** 2 + c * x * x, 0.0, (c,)).x
    >>> round(nt.grad(ridge)(1.0), 6)
    -0.25
    """
    setting = Setting("minimize", f, x0, args)
    if not setting.unravel.size:
        raise ArgumentError(f"nt.minimize: x0 holds no numbers [{user_line()}]")
    strict = recording() and any(map(moves, (setting.start, *setting.parameters)))
    if strict and constraints:
        raise UnsupportedError(
            "nt.minimize with constraints has no derivative here: call it with plain arguments, or "
            f"solve the equations of its multipliers with nt.root [{user_line()}]"
        )
    limits = None if bounds is None else pairs(bounds, setting.unravel)
    name = method.lower() if isinstance(method, str) else ""

    def solve(
        f: Callable[..., Any], start: np.ndarray, unravel: Unravel, args: tuple[Any, ...]
    ) -> Any:
        objective = Objective("minimize", f, unravel, args)
        optimize = module("optimize")
        supplied: dict[str, Any] = {}
        if name in WITH_HESSIAN:
            supplied["hess"] = objective.hessian
        if name in WITH_PRODUCT:
            supplied["hessp"] = objective.product
        gradient = name not in WITHOUT_GRADIENT
        return optimize.minimize(
            objective.value_and_gradient if gradient else objective.value,
            start,
            method=method,
            jac=True if gradient else None,
            bounds=None if limits is None else optimize.Bounds(*limits),
            constraints=_constraints(constraints, unravel, name),
            tol=tol,
            callback=_over_trees(callback, unravel),
            options=options,
            **supplied,
        )

    def stationary(f: Callable[..., Any], x: Any, unravel: Unravel, args: tuple[Any, ...]) -> Any:
        slope = grad(lambda v: f(unravel(v), *args))(x)
        return slope if limits is None else x - np.clip(x - slope, *limits)

    parameters = list(setting.parameters)
    asked = [setting.start, *parameters]
    x, found = solved(setting, solve, stationary, linear_by("minimize", linear))
    if strict:
        found = recording_result(found, asked)
        own, arguments = setting.given(parameters)
        found.fun = own(x, *arguments)
    found.x = x
    return found


def _constraints(given: Any, unravel: Unravel, method: str) -> Any:
    if isinstance(given, (list, tuple)):
        return [constraint(c, unravel, method) for c in given]
    return constraint(given, unravel, method)


def _over_trees(callback: Callable[..., Any] | None, unravel: Unravel) -> Any:
    """A callback of SciPy's that is given trees."""
    if callback is None:
        return None
    asked: Callable[..., Any] = callback
    if set(inspect.signature(callback).parameters) == {"intermediate_result"}:

        def with_result(intermediate_result: Any) -> Any:
            seen = type(intermediate_result)(intermediate_result)
            seen.x = unravel(seen.x)
            return asked(intermediate_result=seen)

        return with_result
    return lambda x, *more: asked(unravel(x), *more)
