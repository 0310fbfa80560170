"""Eigenvalues of symmetric matrices and singular values, with their vectors.

Rules: M. Giles (2008) for the values; J. Townsend, "Differentiating the singular value
decomposition" (2016), split here into the parts with 1/(sⱼ-sᵢ) and 1/(sᵢ+sⱼ), since only the first
is singular where two values meet.

Degeneracies.  Vectors of equal values are not determined: any rotation among them is as good, and
the derivative has a pole 1/(λⱼ-λᵢ).  The convention: a pair of values that are equal up to rounding
contributes 0.  First derivatives are then exact for functions of the values alone, for projections
onto whole eigenspaces, and for the polar factor U Vᵀ.  They are not for a function of the matrix in
the form V g(λ) Vᵀ, where the limit g'(λ) takes the place of a difference quotient, and nor are
second derivatives of functions of the values: the Hessian of sum(λ³) at the unit matrix lacks the
terms between different vectors.  No rule can tell these cases apart from the cotangent, which is 0
on the pair in all of them; `DegenerateWarning` says so when a cotangent reaches such vectors.
Where values meet, write these functions without vectors: trace(a @ a @ a), norm, det, expm.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..numpy.registry import function
from ..record.calls import Primitive, call
from .stacks import (
    column,
    diagonal,
    matrices,
    misfit,
    plain_no_convergence,
    plain_symmetrised,
    row,
    squares,
    symmetric,
    transpose,
    warn_degenerate,
)

EighResult: Any = type(np.linalg.eigh(np.eye(1)))
SVDResult: Any = type(np.linalg.svd(np.eye(1)))


def _reciprocal(x: Any, scale: Any, n: int) -> Any:
    """1/x, but 0 where x is nothing but the rounding of values of the size `scale`."""
    nothing = np.abs(x) <= 8 * n * float(np.finfo(x.dtype).eps) * scale
    return np.where(nothing, 0.0, 1.0 / np.where(nothing, 1.0, x))


# --- eigh -----------------------------------------------------------------------------------------


def _eigh_value(a: Any, uplo: Any) -> Any:
    a = plain_symmetrised("eigh", a)
    try:
        values, vectors = np.linalg.eigh(a, uplo)
    except np.linalg.LinAlgError:
        raise plain_no_convergence("eigh", a) from None
    return values, vectors


def _poles(values: Any) -> Any:
    """1/(λⱼ-λᵢ) in [..., i, j]."""
    # Ascending: the largest in magnitude is the first or the last.
    scale = row(np.abs(values[..., :1]) + np.abs(values[..., -1:]))
    return _reciprocal(row(values) - column(values), scale, values.shape[-1])


def _eigh_vjp(w: Any, z: Any, a: Any, uplo: Any) -> tuple[Any, ...]:
    (w_values, w_vectors), (values, v) = w, z
    vt, poles = transpose(v), _poles(values)
    x = np.matmul(vt, w_vectors)
    warn_degenerate("eigh", poles, x)
    turn = poles * x
    return (symmetric(np.matmul(np.matmul(v, turn) + v * row(w_values), vt)),)


def _eigh_jvp(tangents: Any, z: Any, a: Any, uplo: Any) -> Any:
    values, v = z
    p = np.matmul(transpose(v), np.matmul(symmetric(tangents[0]), v))
    return diagonal(p), np.matmul(v, _poles(values) * p)


EIGH = Primitive("eigh", _eigh_value, _eigh_vjp, _eigh_jvp, doc="eigenvalues and eigenvectors")


@function("linalg.eigh")
def eigh(a: Any, UPLO: str = "L") -> Any:
    """Eigenvalues (..., n), ascending, and eigenvectors (..., n, n) of symmetric matrices.

    They are those of the symmetric part of `a`, so the gradient is symmetric and UPLO makes no
    difference; a matrix that is clearly not symmetric raises `MatrixError`, as nan and infinities
    do. Equal eigenvalues: see the head of this file.

    >>> import numpy as np
    >>> values, vectors = eigh(np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> values.round(12)
    array([1., 3.])
    """
    if str(UPLO).upper() not in ("L", "U"):
        misfit(f"eigh: UPLO is 'L' or 'U', not {UPLO!r}")
    return EighResult(*call(EIGH, {"uplo": str(UPLO).upper()}, squares("eigh", a)))


@function("linalg.eigvalsh")
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """The eigenvalues of `eigh` alone.

    >>> import numpy as np
    >>> eigvalsh(np.array([[2.0, 1.0], [1.0, 2.0]])).round(12)
    array([1., 3.])
    """
    return eigh(a, UPLO)[0]


# --- svd ------------------------------------------------------------------------------------------


def _svd_value(a: Any) -> Any:
    try:
        u, s, vh = np.linalg.svd(a, full_matrices=False)
    except np.linalg.LinAlgError:
        raise plain_no_convergence("svd", a) from None
    return u, s, vh


def _svd_poles(s: Any, n: int) -> tuple[Any, Any, Any]:
    """1/(sⱼ-sᵢ) and 1/(sᵢ+sⱼ) in [..., i, j], and 1/s."""
    largest = s[..., :1]
    difference = _reciprocal(row(s) - column(s), row(largest), n)
    return difference, _reciprocal(row(s) + column(s), row(largest), n), _reciprocal(s, largest, n)


def _svd_vjp(w: Any, z: Any, a: Any) -> tuple[Any, ...]:
    (wu, ws, wvh), (u, s, vh) = w, z
    m, n = a.shape[-2:]
    difference, total, inverse = _svd_poles(s, max(m, n))
    x = np.matmul(transpose(u), wu)
    y = np.matmul(vh, transpose(wvh))
    warn_degenerate("svd", difference, x + y)
    common, opposite = (x + y) * difference, (x - y) * total
    p = 0.5 * (common + transpose(common) + opposite - transpose(opposite))
    left = np.matmul(u, p) + u * row(ws)
    if m > n:  # what the columns of U do outside of the space they span
        left = left + (wu - np.matmul(u, x)) * row(inverse)
    ga = np.matmul(left, vh)
    if n > m:
        outside = wvh - np.matmul(transpose(y), vh)
        ga = ga + np.matmul(u, column(inverse) * outside)
    return (ga,)


def _svd_jvp(tangents: Any, z: Any, a: Any) -> Any:
    ta, (u, s, vh) = tangents[0], z
    m, n = a.shape[-2:]
    difference, total, inverse = _svd_poles(s, max(m, n))
    right = np.matmul(ta, transpose(vh))
    left = np.matmul(transpose(u), ta)
    p = np.matmul(left, transpose(vh))
    common, opposite = (p + transpose(p)) * difference, (p - transpose(p)) * total
    tu = 0.5 * np.matmul(u, common + opposite)
    tvh = 0.5 * np.matmul(transpose(common - opposite), vh)
    if m > n:
        tu = tu + (right - np.matmul(u, p)) * row(inverse)
    if n > m:
        tvh = tvh + column(inverse) * (left - np.matmul(p, vh))
    return tu, diagonal(p), tvh


SVD = Primitive("svd", _svd_value, _svd_vjp, _svd_jvp, doc="singular value decomposition")


@function("linalg.svd")
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """U (..., m, k), S (..., k), Vᵀ (..., k, n) with U diag(S) Vᵀ = a and k = min(m, n).

    `full_matrices=False` is needed unless the matrices are square: the further columns of U or rows
    of Vᵀ are not determined by `a` and have no derivative.  With `compute_uv=False` the singular
    values alone. Equal singular values, and vectors of singular values 0: see the head of this
    file.  A singular value 0 itself has the derivative of the decomposition that LAPACK found.
    Raises `MatrixError` for nan and infinities, `UnsupportedError` for what is said above.

    >>> import numpy as np
    >>> svd(np.array([[3.0, 0.0], [0.0, 4.0]]), compute_uv=False)
    array([4., 3.])
    """
    a = matrices("svd", a)
    if hermitian:
        raise UnsupportedError("svd of a recording array: leave hermitian=True out, or take eigh")
    if compute_uv and full_matrices and a.shape[-1] != a.shape[-2]:
        raise UnsupportedError(
            f"svd of shape {a.shape} with full_matrices=True: the further vectors have no "
            "derivative; pass full_matrices=False"
        )
    u, s, vh = call(SVD, {}, a)
    return SVDResult(u, s, vh) if compute_uv else s


@function("linalg.svdvals")
def svdvals(a: Any, /) -> Any:
    """The singular values of each matrix, descending: `svd(a, compute_uv=False)`.

    >>> import numpy as np
    >>> svdvals(np.array([[3.0, 0.0], [0.0, 4.0]]))
    array([4., 3.])
    """
    return svd(a, compute_uv=False)
