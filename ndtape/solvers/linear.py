"""Linear systems whose matrix is a function."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..record.core import user_line
from ..vectors import Unravel, ravel
from .bridge import Vectorized
from .implicit import Setting, solved, vector
from .krylov import krylov

METHODS = ("gmres", "cg", "bicgstab", "dense")


def linear_solve(
    matvec: Callable[..., Any],
    b: Any,
    args: Any = (),
    *,
    x0: Any = None,
    method: str = "gmres",
    tol: float = 1e-10,
    maxiter: int | None = None,
) -> Any:
    """x with matvec(x, *args) = b, for a linear function; no matrix is formed.

    `b` is a tree of numbers, and so is x, of the same structure; `x0` is a first guess.  `method`
    is "gmres", "cg" (for symmetric positive definite functions) or "bicgstab", SciPy's, or "dense",
    which forms the matrix.  The norm of the residual is at most `tol` times that of b.

    Where b, an argument, or something that matvec captures is a recording value, x is
    recording: its derivatives, of any order, solve the transposed system by the same method, whose
    function is found by differentiation (for "cg" it is matvec itself).

    Raises `ConvergenceError` where the method fails, `ArgumentError` where matvec does not give
    zero for zero, `ShapeError` where it returns more or fewer numbers than b has.

    >>> import numpy as np, ndtape as nt
    >>> def matvec(x, k):  # a chain of springs
    ...     return k * (2.0 * x - np.roll(x, 1) - np.roll(x, -1)) + x
    >>> b = np.array([1.0, 0.0, 0.0, 0.0])
    >>> nt.linear_solve(matvec, b, (0.5,), method="cg").round(6)
    array([0.583333, 0.166667, 0.083333, 0.166667])
    >>> round(nt.grad(lambda k: nt.linear_solve(matvec, b, (k,), method="cg")[0])(0.5), 6)
    -0.361111
    """
    if method not in METHODS:
        raise ArgumentError(f"linear_solve knows the methods {METHODS}, not {method!r}")
    start = b if x0 is None else x0
    args = args if isinstance(args, tuple) else (args,)
    setting = Setting("linear_solve", matvec, start, (b, *args))
    guess = x0 is not None

    def solve(
        f: Callable[..., Any], start: np.ndarray, unravel: Unravel, args: tuple[Any, ...]
    ) -> Any:
        b, rest = ravel(args[0])[0], args[1:]
        A = Vectorized("linear_solve", f, unravel, rest, unravel.size)
        offset = np.abs(A(np.zeros(unravel.size))).max(initial=0.0)
        if offset != 0.0:
            raise ArgumentError(
                f"nt.linear_solve takes a linear function: this one is {offset:.3g} at zero "
                f"[{user_line()}]"
            )
        if method == "dense":
            return SimpleNamespace(x=np.linalg.solve(A.jacobian(np.zeros(unravel.size)), b))
        first = start if guess else None
        return SimpleNamespace(x=krylov("linear_solve", method, A, b, first, tol, maxiter))

    def residual(f: Callable[..., Any], x: Any, unravel: Unravel, args: tuple[Any, ...]) -> Any:
        return vector("linear_solve", f(unravel(x), *args[1:]), unravel.size) - ravel(args[0])[0]

    return solved(setting, solve, residual, linear=(method, tol, maxiter))[0]
