"""Systems of linear equations: solve, inv, triangular solves, pseudo-inverse, least squares.

Rules: M. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008), for solve and inv; G. Golub and V. Pereyra, "The differentiation of
pseudo-inverses and nonlinear least squares problems" (1973), for pinv and lstsq.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import SingularMatrixError, UnsupportedError
from ..numpy.registry import function
from ..record.calls import Primitive, call
from .stacks import (
    above,
    below,
    matrices,
    misfit,
    plain_no_convergence,
    plain_singular,
    plain_which,
    right_side,
    squares,
    transpose,
    unbroadcast,
)

# --- solve ----------------------------------------------------------------------------------------


def _solve_value(a: Any, b: Any) -> Any:
    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        raise plain_singular("solve", a) from None


def _solve_vjp(w: Any, z: Any, a: Any, b: Any) -> tuple[Any, ...]:
    wb = solve(transpose(a), w)
    wa = -np.matmul(wb, transpose(z))
    return unbroadcast(wa, a.shape), unbroadcast(wb, b.shape)


def _solve_jvp(tangents: Any, z: Any, a: Any, b: Any) -> Any:
    ta, tb = tangents
    return solve(a, tb - np.matmul(ta, z))


SOLVE = Primitive("solve", _solve_value, _solve_vjp, _solve_jvp, doc="x with a x = b")


@function("linalg.solve")
def solve(a: Any, b: Any) -> Any:
    """x with a x = b for square matrices `a` (..., n, n) and `b` (n,) or (..., n, k).

    As in NumPy 2, `b` is a vector if it has one axis and a stack of matrices otherwise; the stacks
    broadcast.  Raises `SingularMatrixError`, and `ShapeError` for shapes that do not fit.

    >>> import numpy as np
    >>> solve(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([2.0, 3.0]))
    array([1., 2.])
    """
    a = squares("solve", a)
    b, vector = right_side("solve", a, b)
    if b.ndim < a.ndim:  # NumPy 1 would take the matrices of a smaller stack for vectors
        b = np.reshape(b, (1,) * (a.ndim - b.ndim) + tuple(b.shape))
    x = call(SOLVE, {}, a, b)
    return x[..., 0] if vector else x


# --- inv ------------------------------------------------------------------------------------------


def _inv_value(a: Any) -> Any:
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        raise plain_singular("inv", a) from None


def _inv_vjp(w: Any, z: Any, a: Any) -> tuple[Any, ...]:
    zt = transpose(z)
    return (-np.matmul(zt, np.matmul(w, zt)),)


def _inv_jvp(tangents: Any, z: Any, a: Any) -> Any:
    return -np.matmul(z, np.matmul(tangents[0], z))


INV = Primitive("inv", _inv_value, _inv_vjp, _inv_jvp, doc="inverse of each matrix")


@function("linalg.inv")
def inv(a: Any) -> Any:
    """The inverse of each matrix of a stack (..., n, n).  Raises `SingularMatrixError`.

    >>> import numpy as np
    >>> inv(np.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return call(INV, {}, squares("inv", a))


# --- triangular solve -----------------------------------------------------------------------------


def _triangular_value(a: Any, b: Any, lower: bool, trans: bool, unit: bool) -> Any:
    from scipy.linalg.blas import get_blas_funcs

    zero = False if unit else np.diagonal(a, axis1=-2, axis2=-1) == 0
    if np.any(zero):
        raise SingularMatrixError(
            f"solve_triangular: {plain_which(np.any(zero, axis=-1), a)} is singular, with a zero "
            "on its diagonal"
        )
    (trsm,) = get_blas_funcs(("trsm",), (a, b))
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, stack + a.shape[-2:])
    b = np.broadcast_to(b, stack + b.shape[-2:])
    x = np.zeros(b.shape, trsm.dtype)
    # BLAS reads by columns: the transpose of a matrix stored by rows needs no copy.  LAPACK's trtrs
    # starts threads for the smallest matrices, which costs milliseconds on a busy machine.
    for i in np.ndindex(stack) if x.size else ():
        x[i] = trsm(1.0, a[i].T, b[i], lower=not lower, trans_a=not trans, diag=unit)
    return x


def _triangle(a: Any, lower: bool, unit: bool) -> Any:
    """The entries that a triangular solve reads; the others are zero."""
    return below(a, -1 if unit else 0) if lower else above(a, 1 if unit else 0)


def _triangular_vjp(
    w: Any, z: Any, a: Any, b: Any, lower: bool, trans: bool, unit: bool
) -> tuple[Any, ...]:
    wb = solve_triangular(a, w, not trans, lower, unit)
    wa = -np.matmul(z, transpose(wb)) if trans else -np.matmul(wb, transpose(z))
    return unbroadcast(_triangle(wa, lower, unit), a.shape), unbroadcast(wb, b.shape)


def _triangular_jvp(
    tangents: Any, z: Any, a: Any, b: Any, lower: bool, trans: bool, unit: bool
) -> Any:
    ta, tb = _triangle(tangents[0], lower, unit), tangents[1]
    return solve_triangular(
        a, tb - np.matmul(transpose(ta) if trans else ta, z), trans, lower, unit
    )


TRIANGULAR = Primitive(
    "solve_triangular",
    _triangular_value,
    _triangular_vjp,
    _triangular_jvp,
    doc="x with a x = b for triangular a",
)


@function("linalg.solve_triangular")
def solve_triangular(
    a: Any,
    b: Any,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
    """x with a x = b (trans=0 or 'N') or aᵀ x = b (1, 2, 'T' or 'C'), triangular `a` (..., n, n).

    The arguments are those of `scipy.linalg.solve_triangular`, which cannot be handed recording
    arrays; the last two are accepted and ignored.  Only one triangle of `a` is read, and only it
    has a gradient. `b` and the errors are as in `solve`.

    >>> import numpy as np
    >>> solve_triangular(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([2.0, 3.0]), lower=True)
    array([1., 2.])
    """
    a = squares("solve_triangular", a)
    b, vector = right_side("solve_triangular", a, b)
    flags = {0: False, "N": False, 1: True, 2: True, "T": True, "C": True}
    if trans not in flags:
        misfit(f"solve_triangular: trans is 0, 1, 2, 'N', 'T' or 'C', not {trans!r}")
    params = {"lower": bool(lower), "trans": flags[trans], "unit": bool(unit_diagonal)}
    x = call(TRIANGULAR, params, a, b)
    return x[..., 0] if vector else x


@function("linalg.cho_solve")
def cho_solve(
    c_and_lower: Any, b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    """x with a x = b from a Cholesky factor, as `scipy.linalg.cho_solve((c, lower), b)`.

    >>> import numpy as np
    >>> cho_solve((np.array([[2.0, 0.0], [1.0, 1.0]]), True), np.array([4.0, 4.0]))
    array([0., 2.])
    """
    c, lower = c_and_lower
    half = solve_triangular(c, b, not lower, lower)
    return solve_triangular(c, half, lower, lower)


# --- pseudo-inverse -------------------------------------------------------------------------------


def _pinv_value(a: Any, **cutoff: Any) -> Any:
    try:
        return np.linalg.pinv(a, **cutoff)
    except np.linalg.LinAlgError:
        raise plain_no_convergence("pinv", a) from None


def _pinv_vjp(w: Any, z: Any, a: Any, **cutoff: Any) -> tuple[Any, ...]:
    wt, zt = transpose(w), transpose(z)
    ga = -np.matmul(zt, np.matmul(w, zt))
    # The projections onto what the matrix and its transpose miss: rank < n or m only, and the
    # rank itself is taken as constant.
    x = np.matmul(wt, np.matmul(z, zt))
    ga = ga + (x - np.matmul(a, np.matmul(z, x)))
    y = np.matmul(np.matmul(zt, z), wt)
    return (ga + (y - np.matmul(np.matmul(y, z), a)),)


def _pinv_jvp(tangents: Any, z: Any, a: Any, **cutoff: Any) -> Any:
    ta, zt = tangents[0], transpose(z)
    tat = transpose(ta)
    x = np.matmul(np.matmul(z, zt), tat)
    y = np.matmul(tat, np.matmul(zt, z))
    return (
        (x - np.matmul(np.matmul(x, a), z))
        + (y - np.matmul(z, np.matmul(a, y)))
        - np.matmul(z, np.matmul(ta, z))
    )


PINV = Primitive("pinv", _pinv_value, _pinv_vjp, _pinv_jvp, doc="pseudo-inverse of each matrix")


@function("linalg.pinv")
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """The Moore-Penrose pseudo-inverse (..., n, m) of matrices (..., m, n).

    The derivative takes the rank as constant; where the rank changes pinv has a jump.
    `hermitian=True` is not supported.  Raises `MatrixError` for nan and infinities.

    >>> import numpy as np
    >>> pinv(np.array([[2.0], [0.0]]))
    array([[0.5, 0. ]])
    """
    if hermitian:
        raise UnsupportedError("pinv of a recording array: leave hermitian=True out")
    cutoff = {k: v for k, v in (("rcond", rcond), ("rtol", rtol)) if v is not None}
    return call(PINV, cutoff, matrices("pinv", a))


# --- least squares --------------------------------------------------------------------------------


def _lstsq_value(a: Any, b: Any, rcond: Any) -> Any:
    try:
        x, _, rank, _ = np.linalg.lstsq(a, b, rcond=rcond)
    except np.linalg.LinAlgError:
        raise plain_no_convergence("lstsq", a) from None
    if rank < min(a.shape):
        raise SingularMatrixError(
            f"lstsq: {plain_which(None, a)} has rank {rank}, not {min(a.shape)}: the solution "
            "has no derivative; take np.linalg.pinv(a) @ b, which holds the rank constant, or a "
            "ridge: solve(a.T @ a + c * np.eye(n), a.T @ b)"
        )
    return x


def _lstsq_vjp(w: Any, z: Any, a: Any, b: Any, rcond: Any) -> tuple[Any, ...]:
    m, n = a.shape
    p = pinv(a)
    gb = np.matmul(transpose(p), w)
    ga = -np.matmul(gb, transpose(z))
    if m > n:
        residual = b - np.matmul(a, z)
        ga = ga + np.matmul(residual, transpose(np.matmul(p, gb)))
    if m < n:
        missed = w - np.matmul(p, np.matmul(a, w))
        ga = ga + np.matmul(np.matmul(transpose(p), z), transpose(missed))
    return ga, gb


def _lstsq_jvp(tangents: Any, z: Any, a: Any, b: Any, rcond: Any) -> Any:
    ta, tb = tangents
    m, n = a.shape
    p = pinv(a)
    tz = np.matmul(p, tb - np.matmul(ta, z))
    if m > n:
        pulled = np.matmul(transpose(ta), b - np.matmul(a, z))
        tz = tz + np.matmul(p, np.matmul(transpose(p), pulled))
    if m < n:
        pulled = np.matmul(transpose(ta), np.matmul(transpose(p), z))
        tz = tz + (pulled - np.matmul(p, np.matmul(a, pulled)))
    return tz


LSTSQ = Primitive("lstsq", _lstsq_value, _lstsq_vjp, _lstsq_jvp, doc="least-squares solution")


@function("linalg.lstsq")
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, int, Any]:
    """Least squares, a x = b: (x, residuals, rank, singular values), as NumPy returns them.

    `a` (m, n) of full rank, `b` (m,) or (m, k).  The solution (of least norm if m < n), the sums of
    squared residuals (empty unless m > n) and the singular values have derivatives.  Raises
    `SingularMatrixError` where the rank is not full.

    >>> import numpy as np
    >>> lstsq(np.array([[1.0], [1.0]]), np.array([1.0, 3.0]))[0]
    array([2.])
    """
    from .spectra import svd

    a = matrices("lstsq", a)
    if a.ndim != 2:
        misfit(f"lstsq takes one matrix, not a stack of shape {a.shape}; see np.linalg.pinv")
    b, vector = right_side("lstsq", a, b)
    if b.ndim != 2:
        misfit(f"lstsq takes a vector or a matrix as right-hand side, not shape {b.shape}")
    x = call(LSTSQ, {"rcond": rcond}, a, b)
    m, n = a.shape
    residuals: Any = np.zeros(0)
    if m > n:
        residuals = np.sum(np.square(b - np.matmul(a, x)), axis=0)
    return x[:, 0] if vector else x, residuals, min(m, n), svd(a, compute_uv=False)
