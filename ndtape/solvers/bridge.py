"""SciPy, imported when it is used, and what all bridges to it share."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..traced.function import Function, function
from ..transforms.gradients import value_and_grad
from ..transforms.jacobians import jacobian
from ..transforms.linear_maps import hvp
from ..trees import register_tree
from ..vectors import Unravel, ravel
from .apart import checked, plain


def module(name: str) -> Any:
    """A module of SciPy; the package itself does without until a solver is called."""
    try:
        found = importlib.import_module(f"scipy.{name}")
    except ImportError as error:
        raise UnsupportedError(f"this solver is SciPy's: pip install scipy ({error})") from error
    if name == "optimize":
        _make_container(found.OptimizeResult)
    return found


@cache
def _make_container(cls: type) -> None:
    """Let functions return results with recording values in them."""
    register_tree(
        cls, lambda x: (tuple(x.values()), tuple(x)), lambda keys, v: cls(zip(keys, v, strict=True))
    )


class Vectorized:
    """f(tree, *args) with a tree as result, as a function of vectors, and its Jacobian.

    It is recorded once and replayed.  `size` is how many numbers f must return.
    """

    def __init__(
        self,
        solver: str,
        f: Callable[..., Any],
        unravel: Unravel,
        args: tuple[Any, ...],
        size: int | None = None,
    ) -> None:
        self.solver, self.args, self.size = solver, args, size
        self.traced = vector_form(f, unravel, as_vector)
        self._jacobian = jacobian(self.traced)
        self.evaluations = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.evaluations += 1
        y = plain(self.solver, self.traced(x, *self.args))
        return checked(self.solver, y, self.size)  # type: ignore[no-any-return]

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(plain(self.solver, self._jacobian(x, *self.args)))


class Objective:
    """f(tree, *args) with a scalar result, as a function of vectors, and its derivatives."""

    def __init__(
        self, solver: str, f: Callable[..., Any], unravel: Unravel, args: tuple[Any, ...]
    ) -> None:
        self.solver, self.args = solver, args
        self.traced = vector_form(f, unravel, None)
        self._both = value_and_grad(self.traced)

    def value(self, x: np.ndarray) -> float:
        return float(plain(self.solver, self.traced(x, *self.args)))

    def value_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        return plain(self.solver, self._both(x, *self.args))  # type: ignore[no-any-return]

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """By columns: products are replayed, a fifth of what nt.hessian takes for 100 unknowns."""
        return np.stack([self.product(x, e) for e in np.eye(len(x))])

    @cached_property
    def _of_x(self) -> Callable[..., Any]:
        if not self.args:
            return self.traced
        return function(lambda x: self.traced(x, *self.args))  # type: ignore[no-any-return]

    def product(self, x: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """The Hessian times a vector."""
        return hvp(self._of_x, (x,), (direction,))[2][0]  # type: ignore[no-any-return]


def as_vector(tree: Any) -> Any:
    return ravel(tree)[0]


def vector_form(
    f: Callable[..., Any], unravel: Unravel, finish: Callable[[Any], Any] | None, place: int = 0
) -> Callable[..., Any]:
    """f as a traced function whose argument at `place` is a vector; `finish` is applied to results.

    A traced f that takes a vector and needs no finish is used with the tapes that it has.
    """
    if finish is None and unravel.is_trivial and isinstance(f, Function):
        return f

    def flat(*args: Any) -> Any:
        y = f(*args[:place], unravel(args[place]), *args[place + 1 :])
        return y if finish is None else finish(y)

    if not isinstance(f, Function):
        return function(flat)  # type: ignore[no-any-return]
    # Kept on the function itself, so that it is recorded once for all solves: a table elsewhere
    # would keep it alive.
    forms = f.__dict__.setdefault("vector_forms", {})
    key = (unravel.structure, *unravel.parts, finish, place)
    if key not in forms:
        forms[key] = function(flat)
    return forms[key]  # type: ignore[no-any-return]
