"""Linear systems by products with their matrix: SciPy's Krylov methods, and an answer checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ConvergenceError
from ..record.core import user_line
from .bridge import module


def krylov(
    solver: str,
    method: str,
    product: Callable[[np.ndarray], np.ndarray],
    b: np.ndarray,
    guess: np.ndarray | None,
    tol: float,
    maxiter: int | None,
) -> np.ndarray:
    """x with |A x − b| <= tol |b|, from the function x -> A x; raises `ConvergenceError`."""
    size = float(np.linalg.norm(b))
    if size == 0.0 or not np.isfinite(size):
        return b.copy() if size == 0.0 else np.full(len(b), np.nan)
    linalg = module("sparse.linalg")
    iterate = getattr(linalg, method)
    operator = linalg.LinearOperator((len(b), len(b)), matvec=product, dtype=np.float64)
    names = inspect.signature(iterate).parameters
    options: dict[str, Any] = {"rtol" if "rtol" in names else "tol": 0.5 * tol, "atol": 0.0}
    if method == "gmres":
        # Restarts may stall; up to a few hundred directions are kept instead.
        options["restart"] = min(len(b), 200)
        options["callback_type"] = "pr_norm"
    count = 0

    def counted(_: Any) -> None:
        nonlocal count
        count += 1

    x, _ = iterate(operator, b, x0=guess, maxiter=maxiter, callback=counted, **options)
    residual = float(np.linalg.norm(product(x) - b)) / size
    if not residual <= max(tol, 1e-14):
        raise ConvergenceError(
            f"nt.{solver}: {method} did not converge in {count} iterations, the residual is "
            f"{residual:.3g} times the right-hand side [{user_line()}]",
            count,
            residual,
        )
    return np.asarray(x)
