"""Fixed points."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..errors import ConvergenceError
from ..record.arrays import FLOAT32
from ..record.core import user_line
from ..vectors import Unravel
from .bridge import Vectorized
from .implicit import Setting, linear_by, solved, vector


def fixed_point(
    g: Callable[..., Any],
    x0: Any,
    args: Any = (),
    *,
    tol: float | None = None,
    maxiter: int = 1000,
    linear: str = "dense",
) -> Any:
    """x with x = g(x, *args), by the iteration x ← g(x, *args) from `x0`.

    `x0` is a tree of numbers and g returns one of as many numbers; so is the answer.  The iteration
    ends where the largest change is at most ``tol * (1 + max|x|)``; `tol` is 1e-12, or 1e-6 where
    there are float32 numbers among the unknowns.

    Where an argument, or something that g captures, is a recording value, the answer is
    recording.  Its derivatives, of any order, come from the implicit function theorem: the
    iteration is not recorded, its length does not matter, and the guess has no derivative.
    `linear` says how systems with 1 − ∂g/∂x are solved for them: "dense" forms the matrix, "gmres"
    and "bicgstab" do not.

    Raises `ConvergenceError`, with the number of iterations and the last change, after `maxiter`
    of them or at the first number that is not finite.

    >>> import ndtape as nt
    >>> heron = lambda x, a: 0.5 * (x + a / x)
    >>> nt.fixed_point(heron, 1.0, (4.0,))
    2.0
    >>> nt.grad(lambda a: nt.fixed_point(heron, 1.0, (a,)))(4.0)  # 1 / (2 sqrt(a))
    0.25
    """
    setting = Setting("fixed_point", g, x0, args)
    small = any(part.kind in (FLOAT32, np.float32) for part in setting.unravel.parts)
    limit = (1e-6 if small else 1e-12) if tol is None else tol

    def solve(
        g: Callable[..., Any], start: np.ndarray, unravel: Unravel, args: tuple[Any, ...]
    ) -> Any:
        G = Vectorized("fixed_point", g, unravel, args, unravel.size)
        x, change = start, 0.0
        for _ in range(maxiter):
            new = G(x)
            with np.errstate(invalid="ignore", over="ignore"):
                change = float(np.abs(new - x).max(initial=0.0))
            x = new
            if change <= limit * (1.0 + np.abs(x).max(initial=0.0)):
                return SimpleNamespace(x=x)
            if not np.isfinite(change):
                break
        raise ConvergenceError(
            f"nt.fixed_point did not converge in {G.evaluations} iterations, the last of which "
            f"changed x by {change:.3g} [{user_line()}]",
            G.evaluations,
            change,
        )

    return solved(setting, solve, residual, linear_by("fixed_point", linear))[0]


def residual(g: Callable[..., Any], x: Any, unravel: Unravel, args: tuple[Any, ...]) -> Any:
    return x - vector("fixed_point", g(unravel(x), *args), unravel.size)
