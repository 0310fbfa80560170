"""Checks that derivatives agree with each other and with differences, for users and for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import ArgumentError, CheckError
from .record.core import no_grad
from .transforms import hvp, value_and_grad
from .trees import flatten, unflatten


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    seed: int = 0,
) -> None:
    """Raise `CheckError` unless the derivatives of the scalar function `f` at `args` are right.

    Order 1 compares the gradient, along a random direction, with central differences of values;
    order 2 adds the Hessian-vector product against central differences of gradients, and its
    symmetry <u, Hv> = <v, Hu>, which needs no differences.  `args` is a tuple of trees of
    scalars and arrays.

    >>> import ndtape as nt
    >>> nt.check_grads(lambda x, y: nt.sin(x) * nt.exp(y), (0.3, -0.2), order=2)
    """
    if order not in (1, 2):
        raise ArgumentError(f"check_grads checks order 1 or 2, not {order}")
    if not isinstance(args, (tuple, list)):
        raise ArgumentError("args must be a tuple with one entry for each argument of f")
    leaves, structure = flatten(tuple(args))
    arrays = [np.asarray(x, np.float64) for x in leaves]
    ends = np.cumsum([x.size for x in arrays])[:-1]
    at = np.concatenate([np.zeros(0), *[x.ravel() for x in arrays]])
    rng = np.random.default_rng(seed)
    u, v = rng.standard_normal((2, len(at)))
    step = 1e-6 * max(1.0, float(np.abs(at).max(initial=0.0)))
    argnums = tuple(range(len(args)))

    def tree(values: np.ndarray) -> Any:
        parts = zip(np.split(values, ends), arrays, strict=True)
        return unflatten(structure, [p.reshape(x.shape) if x.ndim else p.item() for p, x in parts])

    def flat(gradient: Any) -> np.ndarray:
        return np.concatenate([np.zeros(0), *[np.ravel(x) for x in flatten(gradient)[0]]])

    def evaluated(values: np.ndarray) -> tuple[float, np.ndarray]:
        with no_grad():  # what f captures is constant here
            value, gradient = value_and_grad(f, argnums)(*tree(values))
        return value, flat(gradient)

    def product(direction: np.ndarray) -> np.ndarray:
        with no_grad():
            return flat(hvp(f, tree(at), tree(direction))[2])

    (above, g_above), (below, g_below) = evaluated(at + step * v), evaluated(at - step * v)
    along = float(evaluated(at)[1] @ v)
    _compare("gradient", along, (above - below) / (2 * step), rtol, atol)
    if order == 2:
        hv, hu = product(v), product(u)
        for got, expected in zip(hv, (g_above - g_below) / (2 * step), strict=True):
            _compare("second derivative", got, expected, rtol, atol)
        _compare("symmetry of the Hessian", float(u @ hv), float(v @ hu), 1e-9, 1e-9)


def _compare(what: str, got: float, expected: float, rtol: float, atol: float) -> None:
    if not abs(got - expected) <= atol + rtol * max(abs(got), abs(expected)):
        raise CheckError(
            f"{what}: derivative rules give {got:.12g}, the check gives {expected:.12g}"
        )
