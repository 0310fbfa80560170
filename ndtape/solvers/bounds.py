"""Bounds and constraints over trees, as SciPy's vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..record.core import user_line
from ..traced.function import function
from ..transforms.jacobians import hessian
from ..trees import subtrees
from ..vectors import Unravel
from .apart import plain
from .bridge import Vectorized, as_vector, module


def pairs(bounds: Any, unravel: Unravel) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper), a vector each, from a tree like x0 with a pair (min, max) at each leaf.

    The entries of a pair are numbers or arrays that broadcast to the leaf, None for no bound.  For
    a vector also a sequence of n pairs, or a `scipy.optimize.Bounds`, as in SciPy.
    """
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        lower, upper = (np.broadcast_to(b, (unravel.size,)) for b in (bounds.lb, bounds.ub))
        return lower.astype(float), upper.astype(float)
    try:
        return _of_sequence(bounds, unravel) if _is_sequence(bounds, unravel) else _of_tree(
            bounds, unravel
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            "bounds are a tree like x0 with a pair (min, max) at each leaf, None for no bound; "
            f"got {bounds!r:.80} ({error}) [{user_line()}]"
        ) from None


def _is_sequence(bounds: Any, unravel: Unravel) -> bool:
    """SciPy's form for a vector: as many pairs as elements."""
    if len(unravel.parts) != 1 or len(unravel.parts[0].shape) != 1:
        return False
    if isinstance(bounds, np.ndarray):
        return bounds.ndim == 2
    return len(bounds) == unravel.size and all(isinstance(p, (tuple, list)) for p in bounds)


def _of_sequence(bounds: Any, unravel: Unravel) -> tuple[np.ndarray, np.ndarray]:
    lower = [-np.inf if low is None else low for low, _ in bounds]
    upper = [np.inf if high is None else high for _, high in bounds]
    return np.array(lower, float), np.array(upper, float)


def _of_tree(bounds: Any, unravel: Unravel) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = np.full(unravel.size, -np.inf), np.full(unravel.size, np.inf)
    for part, pair in zip(unravel.parts, subtrees(unravel.structure, bounds), strict=True):
        if pair is None:
            continue
        low, high = pair
        for side, limit in ((lower, low), (upper, high)):
            if limit is not None:
                side[part.start : part.stop] = np.broadcast_to(limit, part.shape).ravel()
    return lower, upper


def one_side(limit: Any, unravel: Unravel) -> np.ndarray:
    """A vector from a number, a vector, or a tree like x0 of numbers and arrays."""
    if np.ndim(limit) == 0 and isinstance(limit, (int, float, np.number)):
        return np.full(unravel.size, float(limit))
    if isinstance(limit, np.ndarray) and limit.shape == (unravel.size,):
        return limit.astype(float)
    side = np.zeros(unravel.size)
    for part, entry in zip(unravel.parts, subtrees(unravel.structure, limit), strict=True):
        side[part.start : part.stop] = np.broadcast_to(entry, part.shape).ravel()
    return side


# --- constraints ----------------------------------------------------------------------------------


def constraint(given: Any, unravel: Unravel, method: str) -> Any:
    """A constraint of SciPy's over trees: a dict, or a `NonlinearConstraint`, with derivatives.

    A `LinearConstraint` is on the vector, and passes as it is.
    """
    if isinstance(given, dict):
        args = tuple(given.get("args", ()))
        if method == "trust-constr":  # where a dict would not be given second derivatives
            high = 0.0 if given["type"] == "eq" else np.inf
            return _curved(given["fun"], 0.0, high, False, unravel, args)
        C = Vectorized("minimize", given["fun"], unravel, args)
        own = {"type": given["type"], "fun": C}
        return own if method.startswith("cobyla") else {**own, "jac": C.jacobian}
    if hasattr(given, "fun"):
        return _curved(given.fun, given.lb, given.ub, given.keep_feasible, unravel, ())
    return given


def _curved(
    fun: Callable[..., Any], low: Any, high: Any, keep: Any, unravel: Unravel, args: tuple[Any, ...]
) -> Any:
    """A `NonlinearConstraint` with its Jacobian, and the Hessian of <v, fun(x)>."""
    C = Vectorized("minimize", fun, unravel, args)
    weighted = function(lambda x, v, *args: np.sum(v * as_vector(fun(unravel(x), *args))))
    matrix = hessian(weighted)

    def curvature(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.asarray(plain("minimize", matrix(x, np.asarray(v, float), *args)))

    kind = module("optimize").NonlinearConstraint
    return kind(C, low, high, jac=C.jacobian, hess=curvature, keep_feasible=keep)
