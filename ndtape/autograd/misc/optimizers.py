"""Descent with the signatures of autograd.misc.optimizers, and the same steps.

`grad(x, i)` is given the parameters, a tree, and the number of the step; `callback(x, i, gradient)`
is called before each step.  New programs take `nt.optim`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ...vectors import ravel

Method = Callable[..., Any]


def _over_trees(method: Method) -> Method:
    """A method for vectors as one for trees."""

    @wraps(method)
    def of(grad: Any, x0: Any, callback: Any = None, *args: Any, **kwargs: Any) -> Any:
        vector, unflatten = ravel(x0)

        def gradient(x: np.ndarray, i: int) -> np.ndarray:
            return ravel(grad(unflatten(x), i))[0]  # type: ignore[no-any-return]

        def seen(x: np.ndarray, i: int, g: np.ndarray) -> None:
            callback(unflatten(x), i, unflatten(g))

        return unflatten(method(gradient, vector, callback and seen, *args, **kwargs))

    return of


@_over_trees
def sgd(
    grad: Any, x: Any, callback: Any = None, num_iters: int = 200, step_size: float = 0.1,
    mass: float = 0.9,
) -> Any:  # fmt: skip
    """Stochastic gradient descent with momentum.

    >>> round(sgd(lambda x, i: 2 * x, 1.0), 6)
    -2e-06
    """
    velocity = np.zeros(len(x))
    for i in range(num_iters):
        g = grad(x, i)
        if callback:
            callback(x, i, g)
        velocity = mass * velocity - (1.0 - mass) * g
        x = x + step_size * velocity
    return x


@_over_trees
def rmsprop(
    grad: Any, x: Any, callback: Any = None, num_iters: int = 100, step_size: float = 0.1,
    gamma: float = 0.9, eps: float = 10**-8,
) -> Any:  # fmt: skip
    """Steps of the gradient over the root of its mean square."""
    mean_square = np.ones(len(x))
    for i in range(num_iters):
        g = grad(x, i)
        if callback:
            callback(x, i, g)
        mean_square = mean_square * gamma + g**2 * (1 - gamma)
        x = x - step_size * g / (np.sqrt(mean_square) + eps)
    return x


@_over_trees
def adam(
    grad: Any, x: Any, callback: Any = None, num_iters: int = 100, step_size: float = 0.001,
    b1: float = 0.9, b2: float = 0.999, eps: float = 10**-8,
) -> Any:  # fmt: skip
    """Adam (Kingma and Ba 2015).

    >>> adam(lambda p, i: {"a": 2 * p["a"]}, {"a": 1.0}, num_iters=10, step_size=0.1)["a"] < 0.1
    True
    """
    m, v = np.zeros(len(x)), np.zeros(len(x))
    for i in range(num_iters):
        g = grad(x, i)
        if callback:
            callback(x, i, g)
        m = (1 - b1) * g + b1 * m
        v = (1 - b2) * (g**2) + b2 * v
        mean, square = m / (1 - b1 ** (i + 1)), v / (1 - b2 ** (i + 1))
        x = x - step_size * mean / (np.sqrt(square) + eps)
    return x
