"""Matrix equations and functions of matrices that SciPy solves, with their derivatives.

Sylvester's equation gives the derivative of the square root of a matrix (N. Higham, Functions of
Matrices, 2008, chapter 6).  That of the logarithm is the upper right block of log([[a, e], [0, a]])
(R. Mathias, 1996), and so are the further ones, of matrices twice the size each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import MatrixError, SingularMatrixError
from ..primitives.solves import solve_triangular
from ..primitives.stacks import above, below, plain_which, squares, transpose
from ..record.calls import Primitive, call

# --- Sylvester ------------------------------------------------------------------------------------


def _sylvester_value(a: Any, b: Any, q: Any) -> Any:
    import scipy.linalg

    try:
        return scipy.linalg.solve_sylvester(a, b, q)
    except np.linalg.LinAlgError as error:
        raise SingularMatrixError(
            f"solve_sylvester: {error}; there is no solution where an eigenvalue of a is minus one "
            "of b"
        ) from None


def _sylvester_vjp(w: Any, z: Any, a: Any, b: Any, q: Any) -> tuple[Any, ...]:
    s = solve_sylvester(transpose(a), transpose(b), w)
    return -np.matmul(s, transpose(z)), -np.matmul(transpose(z), s), s


def _sylvester_jvp(tangents: Any, z: Any, a: Any, b: Any, q: Any) -> Any:
    ta, tb, tq = tangents
    return solve_sylvester(a, b, tq - np.matmul(ta, z) - np.matmul(z, tb))


SYLVESTER = Primitive("scipy.linalg.solve_sylvester", _sylvester_value, _sylvester_vjp,
                      _sylvester_jvp, doc="x with a x + x b = q")  # fmt: skip


def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    """x (m, n) with a x + x b = q, for plain and for recording matrices."""
    return call(SYLVESTER, {}, squares("solve_sylvester", a), squares("solve_sylvester", b), q)


# --- square root and logarithm --------------------------------------------------------------------


def _real(name: str, a: Any, found: Any) -> Any:
    """The value of a function of matrices, which must be real and finite."""
    if not np.isfinite(found).all() and np.isfinite(a).all():
        raise SingularMatrixError(f"{name}: {plain_which(None, a)} is singular, or nearly so")
    if np.iscomplexobj(found):
        if np.abs(found.imag).max(initial=0.0) > 1e-12 * np.abs(found).max(initial=0.0):
            raise MatrixError(
                f"{name}: {plain_which(None, a)} has eigenvalues that are not positive, so the "
                "result is complex, which ndtape does not record"
            )
        found = found.real
    return found


def _sqrtm_value(a: Any) -> Any:
    import scipy.linalg

    return _real("sqrtm", a, scipy.linalg.sqrtm(a))


def _sqrtm_vjp(w: Any, z: Any, a: Any) -> tuple[Any, ...]:
    zt = transpose(z)
    return (solve_sylvester(zt, zt, w),)


def _sqrtm_jvp(tangents: Any, z: Any, a: Any) -> Any:
    return solve_sylvester(z, z, tangents[0])


SQRTM = Primitive("scipy.linalg.sqrtm", _sqrtm_value, _sqrtm_vjp, _sqrtm_jvp,
                  doc="x with x x = a")  # fmt: skip


def _logm_value(a: Any) -> Any:
    import scipy.linalg

    return _real("logm", a, scipy.linalg.logm(a))


def _block(a: Any, e: Any) -> Any:
    """[[a, e], [0, a]]"""
    return np.block([[a, e], [np.zeros(np.shape(a)), a]])


def _logm_along_value(a: Any, e: Any) -> Any:
    n = len(a)
    # The logarithm is linear in e: a direction that is not small would spoil its digits.
    size = np.abs(e).max(initial=0.0)
    scale = np.abs(a).max(initial=0.0) / size if size > 0 and np.isfinite(size) else 1.0
    return _logm_value(_block(a, e * scale))[:n, n:] / scale


def _logm_along_vjp(w: Any, z: Any, a: Any, e: Any) -> tuple[Any, ...]:
    at, n = transpose(a), a.shape[-1]
    zero = np.zeros(np.shape(w))
    twice = np.block([[w, zero], [zero, w]])
    return call(ALONG, {}, _block(at, transpose(e)), twice)[:n, n:], call(ALONG, {}, at, w)


def _logm_along_jvp(tangents: Any, z: Any, a: Any, e: Any) -> Any:
    ta, te = tangents
    n = a.shape[-1]
    return call(ALONG, {}, _block(a, e), _block(ta, te))[:n, n:]


ALONG = Primitive("scipy.linalg.logm along", _logm_along_value, _logm_along_vjp, _logm_along_jvp,
                  doc="derivative of logm at a along e")  # fmt: skip
LOGM = Primitive(
    "scipy.linalg.logm",
    _logm_value,
    lambda w, z, a: (call(ALONG, {}, transpose(a), w),),
    lambda tangents, z, a: call(ALONG, {}, a, tangents[0]),
    doc="x with expm(x) = a",
)

# --- banded systems -------------------------------------------------------------------------------


def _banded_value(ab: Any, b: Any, l_and_u: tuple[int, int]) -> Any:
    import scipy.linalg

    try:
        return scipy.linalg.solve_banded(l_and_u, ab, b)
    except np.linalg.LinAlgError:
        raise SingularMatrixError("solve_banded: the matrix is singular") from None


def skewed(x: Any, shifts: range) -> Any:
    """Row r of x, or x itself for each r, moved to the left by shifts[r], with zeros behind.

    x is (rows, n, ...) or (n, ...), as long as all rows are one; the result is (rows, n, ...).
    """
    n = x.shape[1]
    margin = max(abs(shifts[0]), abs(shifts[-1])) if len(shifts) else 0
    blank = np.zeros((x.shape[0], margin, *x.shape[2:]))
    wide = np.concatenate([blank, x, blank], axis=1)
    rows = np.arange(len(shifts))[:, None] if x.shape[0] == len(shifts) > 1 else 0
    places = margin + np.arange(n)[None, :] + np.asarray(shifts)[:, None]
    return wide[rows, places]


def _transposed_band(ab: Any, l_and_u: tuple[int, int]) -> Any:
    """The band of the transposed matrix, which has (u, l) diagonals."""
    lower, upper = l_and_u
    return skewed(ab[::-1], range(-lower, upper + 1))


def _banded_vjp(w: Any, z: Any, ab: Any, b: Any, l_and_u: tuple[int, int]) -> tuple[Any, ...]:
    lower, upper = l_and_u
    s = solve_banded((upper, lower), _transposed_band(ab, l_and_u), w)
    # ab[r, j] is the entry of row i = j + r - upper: its adjoint is -s[i] z[j].
    products = skewed(s[None], range(-upper, lower + 1)) * z[None]
    return -(np.sum(products, axis=-1) if z.ndim == 2 else products), s


def _banded_jvp(tangents: Any, z: Any, ab: Any, b: Any, l_and_u: tuple[int, int]) -> Any:
    tab, tb = tangents
    lower, upper = l_and_u
    products = (tab[..., None] if z.ndim == 2 else tab) * z[None]
    along = np.sum(skewed(products, range(upper, -lower - 1, -1)), axis=0)
    return solve_banded(l_and_u, ab, tb - along)


BANDED = Primitive("scipy.linalg.solve_banded", _banded_value, _banded_vjp, _banded_jvp,
                   doc="x with a x = b for a band matrix a")  # fmt: skip


def solve_banded(l_and_u: tuple[int, int], ab: Any, b: Any) -> Any:
    """x with a x = b, `ab` (l + u + 1, n) the diagonals of a as SciPy has them."""
    return call(BANDED, {"l_and_u": (int(l_and_u[0]), int(l_and_u[1]))}, ab, b)


# --- LU -------------------------------------------------------------------------------------------


def _lu_value(a: Any) -> Any:
    import scipy.linalg

    p, lower, upper = scipy.linalg.lu(a)
    return lower, upper, p


def _lu_vjp(w: Any, z: Any, a: Any) -> tuple[Any, ...]:
    (wl, wu, _), (lower, upper, p) = w, z
    inner = below(np.matmul(transpose(lower), wl), -1) + above(np.matmul(wu, transpose(upper)))
    left = solve_triangular(lower, inner, 1, True, True)  # L⁻ᵀ
    both = transpose(solve_triangular(upper, transpose(left)))  # U⁻ᵀ on the right
    return (np.matmul(p, both),)


def _lu_jvp(tangents: Any, z: Any, a: Any) -> Any:
    lower, upper, p = z
    left = solve_triangular(lower, np.matmul(transpose(p), tangents[0]), 0, True, True)
    inner = transpose(solve_triangular(upper, transpose(left), 1))  # L⁻¹ Pᵀ A' U⁻¹
    return (
        np.matmul(lower, below(inner, -1)),
        np.matmul(above(inner), upper),
        np.zeros(np.shape(p)),
    )


LU = Primitive("scipy.linalg.lu", _lu_value, _lu_vjp, _lu_jvp, doc="L, U and P with P L U = a")
