"""Checks that derivatives agree with each other and with differences, for users and for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import ArgumentError, CheckError
from .record.arrays import Array
from .record.core import no_grad
from .transforms.gradients import grad, value_and_grad
from .transforms.linear_maps import hvp, jvp
from .trees import flatten, unflatten

EXACT = 1e-9  # between derivatives that differ by rounding only
MODES = ("fwd", "rev")


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    seed: int = 0,
    modes: Sequence[str] = MODES,
) -> None:
    """Raise `CheckError` unless the derivatives of `f` at `args` are right, up to `order`.

    f returns a scalar, an array or a tree; `args` is a tuple of trees of scalars and arrays.  Along
    random directions derivatives are compared with central differences of those one order lower;
    those of one order, by forward and by reverse mode, sweeps and nested transforms, with each
    other, which needs no differences: <w, J t> = <Jᵀ w, t>, <u, H v> = <v, H u>.  `modes` says
    which modes to check, "fwd" and "rev".

    >>> import ndtape as nt, numpy as np
    >>> nt.check_grads(lambda x, y: nt.sin(x) * nt.exp(y), (0.3, -0.2), order=3)
    >>> nt.check_grads(lambda x: np.cumsum(x**2), (np.array([1.0, 2.0]),), modes=("fwd",))
    """
    if order not in (1, 2, 3):
        raise ArgumentError(f"check_grads checks order 1, 2 or 3, not {order}")
    if not isinstance(args, (tuple, list)):
        raise ArgumentError("args must be a tuple with one entry for each argument of f")
    if isinstance(modes, str) or not set(modes) <= set(MODES):
        raise ArgumentError(f'modes must be some of ("fwd", "rev"), not {modes!r}')
    with no_grad():  # what f captures is constant here
        checks = _Checks(f, tuple(args), rtol, atol, seed)
        for check in (checks.first, checks.second, checks.third)[:order]:
            check("fwd" in modes, "rev" in modes)


class _Checks:
    """A function at a point, a direction v, and a cotangent w that makes a scalar of its result."""

    def __init__(
        self, f: Callable[..., Any], args: tuple[Any, ...], rtol: float, atol: float, seed: int
    ) -> None:
        self.f, self.rtol, self.atol = f, rtol, atol
        leaves, self.structure = flatten(args)
        self.arrays = [np.asarray(x, np.float64) for x in leaves]
        self.at = np.concatenate([np.zeros(0), *[x.ravel() for x in self.arrays]])
        rng = np.random.default_rng(seed)
        self.u, self.v = rng.standard_normal((2, len(self.at)))
        self.step = 1e-6 * max(1.0, float(np.abs(self.at).max(initial=0.0)))
        self.argnums = tuple(range(len(args)))
        results = flatten(f(*self.tree(self.at)))[0]
        self.w = [1.0 if len(results) == 1 and not np.ndim(_plain(y)) else
                  rng.standard_normal(np.shape(_plain(y)))[()] for y in results]  # fmt: skip

    # --- trees and vectors ---

    def tree(self, values: np.ndarray) -> Any:
        """A vector as arguments of f."""
        ends = np.cumsum([x.size for x in self.arrays])[:-1]
        parts = zip(np.split(values, ends), self.arrays, strict=True)
        shaped = [p.reshape(x.shape) if x.ndim else p.item() for p, x in parts]
        return unflatten(self.structure, shaped)

    def flat(self, tree: Any) -> np.ndarray:
        return np.concatenate([np.zeros(0), *[np.ravel(x) for x in flatten(tree)[0]]])

    # --- what is compared ---

    def phi(self, *args: Any) -> Any:
        """<w, f>: a scalar function with the derivatives of f."""
        total: Any = 0.0
        for y, w in zip(flatten(self.f(*args))[0], self.w, strict=True):
            product = y * w
            total = total + (product.sum() if isinstance(product, (Array, np.ndarray)) else product)
        return total

    def value(self, x: np.ndarray) -> np.ndarray:
        return self.flat(jvp(self.f, self.tree(x), self.tree(self.v))[0])

    def pushed(self, x: np.ndarray) -> np.ndarray:
        """J v."""
        return self.flat(jvp(self.f, self.tree(x), self.tree(self.v))[1])

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Jᵀ w."""
        return self.flat(value_and_grad(self.phi, self.argnums)(*self.tree(x))[1])

    def product(self, x: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The Hessian of <w, f> times a direction."""
        return self.flat(hvp(self.phi, self.tree(x), self.tree(direction))[2])

    def along(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """The derivative of a scalar function along v, as a function."""
        return lambda *args: jvp(f, args, self.tree(self.v))[1]

    def twice(self, *args: Any) -> Any:
        """The Hessian of <w, f> times v, by reverse over reverse."""
        slope = lambda *xs: self._dot(grad(self.phi, self.argnums)(*xs))  # noqa: E731
        return grad(slope, self.argnums)(*args)

    def _dot(self, tree: Any) -> Any:
        """The inner product of a tree like the arguments and v."""
        total: Any = 0.0
        for x, v in zip(flatten(tree)[0], flatten(self.tree(self.v))[0], strict=True):
            product = x * v
            total = total + (product.sum() if isinstance(product, (Array, np.ndarray)) else product)
        return total

    # --- one order ---

    def first(self, forward: bool, reverse: bool) -> None:
        weights = self.flat(self.w)
        if forward:
            pushed = self.pushed(self.at)
            self.same("tangent", pushed, self.slope(self.value))
        if reverse:
            gradient = self.gradient(self.at)
            along = gradient @ self.v
            self.same("gradient", along, self.slope(lambda x: self.value(x) @ weights))
        if forward and reverse:
            scale = np.abs(gradient) @ np.abs(self.v) + np.abs(pushed) @ np.abs(weights)
            self.equal("<w, J t> and <Jᵀ w, t>", pushed @ weights, along, scale)

    def second(self, forward: bool, reverse: bool) -> None:
        x = self.tree(self.at)
        once, twice = self.along(self.phi), self.along(self.along(self.phi))
        if reverse:
            hv = self.flat(self.twice(*x))
            self.same("second derivative", hv, self.slope(self.gradient))
        if forward:
            self.same("second derivative by forward mode", twice(*x),
                      self.slope(lambda x: once(*self.tree(x))))  # fmt: skip
        if forward and reverse:
            product, hu = self.product(self.at, self.v), self.product(self.at, self.u)
            scale = np.abs(hv) @ (np.abs(self.u) + np.abs(self.v))
            self.equal("second derivative, forward over reverse", self.u @ product, self.u @ hv,
                       scale)  # fmt: skip
            self.equal("second derivative, forward over forward", twice(*x), self.v @ hv, scale)
            self.equal("symmetry of the Hessian", self.u @ product, self.v @ hu, scale)

    def third(self, forward: bool, reverse: bool) -> None:
        x = self.tree(self.at)
        if reverse:
            found = grad(lambda *xs: self._dot(self.twice(*xs)), self.argnums)(*x)
            hv = self.slope(lambda x: self.flat(self.twice(*self.tree(x))))
            self.same("third derivative", self.flat(found), hv)
        if forward:
            twice = self.along(self.along(self.phi))
            self.same("third derivative by forward mode", self.along(twice)(*x),
                      self.slope(lambda x: twice(*self.tree(x))))  # fmt: skip

    # --- comparing ---

    def slope(self, f: Callable[[np.ndarray], Any]) -> Any:
        """The central difference of a function of a vector along v."""
        above, below = f(self.at + self.step * self.v), f(self.at - self.step * self.v)
        return (above - below) / (2 * self.step)

    def same(self, what: str, got: Any, expected: Any) -> None:
        """Compare with differences, entry by entry."""
        for one, other in zip(np.ravel(got), np.ravel(expected), strict=True):
            _compare(what, float(one), float(other), self.rtol, self.atol)

    def equal(self, what: str, got: Any, expected: Any, scale: float) -> None:
        """Compare what is equal up to the rounding of sums of terms that add up to `scale`."""
        _compare(what, float(got), float(expected), EXACT, EXACT * (1.0 + scale))


def _plain(y: Any) -> Any:
    return getattr(y, "value", y)


def _compare(what: str, got: float, expected: float, rtol: float, atol: float) -> None:
    if not abs(got - expected) <= atol + rtol * max(abs(got), abs(expected)):
        raise CheckError(
            f"{what}: derivative rules give {got:.12g}, the check gives {expected:.12g}"
        )
