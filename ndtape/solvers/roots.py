"""Systems of equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..record.arrays import moves
from ..record.core import recording
from ..vectors import Unravel
from .bridge import Vectorized, module
from .implicit import Setting, linear_by, recording_result, solved, vector

WITH_JACOBIAN = ("hybr", "lm")


def root(
    f: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: str = "hybr",
    *,
    tol: float | None = None,
    options: dict[str, Any] | None = None,
    linear: str = "dense",
) -> Any:
    """x with f(x, *args) = 0, by `scipy.optimize.root` with the Jacobian supplied.

    `x0` is a tree of n numbers, the first guess, and f returns a tree of n numbers.  Returns
    SciPy's `OptimizeResult`, whose `x` is a tree like `x0`; `fun` is a vector.  `method`, `tol` and
    `options` are SciPy's.

    Where an argument, or something that f captures, is a recording value, `x` is recording,
    too: its derivatives, of any order, come from the implicit function theorem and not from the
    iteration, with an error of the size of the error of `x` (see `tol`).  The guess has no
    derivative.  `linear` says how systems with the Jacobian are solved for them: "dense" forms
    it, "gmres", "bicgstab" and (symmetric positive definite) "cg" do not.  Then, too,
    `ConvergenceError` is raised where the method fails, which on plain numbers is told by
    `success`, and entries of the result that would have derivatives of their own are left out.

    Raises `ShapeError` where f returns more or fewer numbers than there are unknowns, and, with
    the derivative, `SingularMatrixError` where the Jacobian has no inverse at the solution.

    >>> import ndtape as nt
    >>> nt.root(lambda x: x * x - 2.0, 1.0).x.__round__(9)
    1.414213562
    >>> kepler = lambda E, M, e: E - e * nt.sin(E) - M
    >>> round(nt.grad(lambda M: nt.root(kepler, M, (M, 0.5)).x)(1.0), 9)  # 1 / (1 - e cos E)
    1.037362022
    """
    setting = Setting("root", f, x0, args)
    strict = recording() and any(map(moves, (setting.start, *setting.parameters)))

    def solve(
        f: Callable[..., Any], start: np.ndarray, unravel: Unravel, args: tuple[Any, ...]
    ) -> Any:
        F = Vectorized("root", f, unravel, args, unravel.size)
        return module("optimize").root(
            F, start, method=method, tol=tol, options=options or {},
            jac=F.jacobian if method in WITH_JACOBIAN else None,
        )  # fmt: skip

    asked = [setting.start, *setting.parameters]
    x, found = solved(setting, solve, residual, linear_by("root", linear))
    if strict:
        found = recording_result(found, asked)
    found.x = x
    return found


def residual(f: Callable[..., Any], x: Any, unravel: Unravel, args: tuple[Any, ...]) -> Any:
    return vector("root", f(unravel(x), *args), unravel.size)
