"""Factorisations: Cholesky and QR.

Rules: I. Murray, "Differentiation of the Cholesky decomposition" (2016); S. F. Walter and
L. Lehmann, "Algorithmic differentiation of linear algebra functions" (2013), for QR.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import NotPositiveDefiniteError, UnsupportedError
from ..numpy.registry import function
from ..record.calls import Primitive, call
from .solves import solve_triangular
from .stacks import (
    above,
    below,
    matrices,
    plain_symmetrised,
    plain_which,
    squares,
    symmetric,
    transpose,
)

QRResult: Any = type(np.linalg.qr(np.eye(1)))

# --- cholesky -------------------------------------------------------------------------------------


def _cholesky_value(a: Any) -> Any:
    a = plain_symmetrised("cholesky", a)
    try:
        return np.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        raise _indefinite(a) from None


def _indefinite(a: Any) -> NotPositiveDefiniteError:
    bad = np.zeros(a.shape[:-2], bool)
    for i in np.ndindex(bad.shape):
        try:
            np.linalg.cholesky(a[i])
        except np.linalg.LinAlgError:
            bad[i] = True
            break
    which = plain_which(bad, a)
    if not np.isfinite(a[i]).all():
        return NotPositiveDefiniteError(f"cholesky: {which} contains nan or inf")
    smallest = np.linalg.eigvalsh(a[i])[0]
    return NotPositiveDefiniteError(
        f"cholesky: {which} is not positive definite, its smallest eigenvalue is {smallest:.3g}; "
        "add a jitter to its diagonal, as in a + 1e-10 * np.eye(n), or take np.linalg.eigh"
    )


def _half(x: Any) -> Any:
    """Murray's Φ: the lower triangle, with half the diagonal."""
    return 0.5 * (below(x) + below(x, -1))


def _cholesky_vjp(w: Any, z: Any, a: Any) -> tuple[Any, ...]:
    zt = transpose(z)
    p = _half(np.matmul(zt, below(w)))
    left = solve_triangular(z, p, 1, True)  # L⁻ᵀ Φ
    return (symmetric(transpose(solve_triangular(z, transpose(left), 1, True))),)


def _cholesky_jvp(tangents: Any, z: Any, a: Any) -> Any:
    left = solve_triangular(z, symmetric(tangents[0]), 0, True)
    return np.matmul(z, _half(solve_triangular(z, transpose(left), 0, True)))


CHOLESKY = Primitive(
    "cholesky", _cholesky_value, _cholesky_vjp, _cholesky_jvp, doc="L with L Lᵀ = a"
)


@function("linalg.cholesky")
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """The lower triangular L with L Lᵀ = a for each matrix (..., n, n); with `upper=True`, Lᵀ.

    The factor is that of the symmetric part of `a`, so the gradient is symmetric.  For a symmetric
    matrix this is NumPy's value bit for bit; a matrix that is clearly not symmetric raises
    `MatrixError`. Raises `NotPositiveDefiniteError`.

    >>> import numpy as np
    >>> cholesky(np.array([[4.0, 2.0], [2.0, 10.0]]))
    array([[2., 0.],
           [1., 3.]])
    """
    factor = call(CHOLESKY, {}, squares("cholesky", a))
    return transpose(factor) if upper else factor


@function("linalg.cho_factor")
def cho_factor(a: Any, lower: bool = False) -> tuple[Any, bool]:
    """The pair (c, lower) that `cho_solve` takes, as `scipy.linalg.cho_factor`.

    The other triangle of c is zero here; SciPy leaves random data there.

    >>> import numpy as np
    >>> c, lower = cho_factor(np.array([[4.0, 2.0], [2.0, 10.0]]), lower=True)
    >>> float(c[1, 1]), lower
    (3.0, True)
    """
    return cholesky(a, upper=not lower), lower


# --- qr -------------------------------------------------------------------------------------------


def _qr_value(a: Any) -> Any:
    q, r = np.linalg.qr(a)
    return q, r


def _right_divide(x: Any, r: Any) -> Any:
    """x R⁻ᵀ for upper triangular R."""
    return transpose(solve_triangular(r, transpose(x)))


def _mirror(m: Any) -> Any:
    """The symmetric matrix with the lower triangle of m."""
    return below(m) + transpose(below(m, -1))


def _qr_vjp(w: Any, z: Any, a: Any) -> tuple[Any, ...]:
    (wq, wr), (q, r) = w, z
    m, n = a.shape[-2:]
    if m >= n:
        return (_tall_qr_vjp(wq, wr, q, r),)
    # A wide matrix [x | y] has the factors of x and R = [u | Qᵀy].
    y, wv = a[..., m:], wr[..., m:]
    wq = wq + np.matmul(y, transpose(wv))
    gx = _tall_qr_vjp(wq, wr[..., :m], q, r[..., :m])
    return (np.concatenate([gx, np.matmul(q, wv)], axis=-1),)


def _tall_qr_vjp(wq: Any, wr: Any, q: Any, r: Any) -> Any:
    wr = above(wr)
    m = np.matmul(r, transpose(wr)) - np.matmul(transpose(wq), q)
    return _right_divide(wq + np.matmul(q, _mirror(m)), r)


def _qr_jvp(tangents: Any, z: Any, a: Any) -> Any:
    ta, (q, r) = tangents[0], z
    m, n = a.shape[-2:]
    if m >= n:
        return _tall_qr_jvp(ta, q, r)
    tq, tu = _tall_qr_jvp(ta[..., :m], q, r[..., :m])
    tv = np.matmul(transpose(tq), a[..., m:]) + np.matmul(transpose(q), ta[..., m:])
    return tq, np.concatenate([tu, tv], axis=-1)


def _tall_qr_jvp(ta: Any, q: Any, r: Any) -> tuple[Any, Any]:
    c = transpose(solve_triangular(r, transpose(ta), 1))  # dA R⁻¹
    d = np.matmul(transpose(q), c)
    turned = below(d, -1)
    t = d - turned + transpose(turned)  # dR R⁻¹: what is left when the rotation of Q is taken off
    return c - np.matmul(q, t), np.matmul(t, r)


QR = Primitive("qr", _qr_value, _qr_vjp, _qr_jvp, doc="Q and R with Q R = a")


@function("linalg.qr")
def qr(a: Any, mode: str = "reduced") -> Any:
    """Q (..., m, k) and R (..., k, n) with Q R = a, k = min(m, n); with mode='r', R alone.

    The first k columns of `a` must be linearly independent for a derivative, which raises
    `SingularMatrixError` otherwise.  `mode='complete'` is supported for m <= n, where it is the
    same; the further columns of Q have no derivative.

    >>> import numpy as np
    >>> q, r = qr(np.array([[3.0], [4.0]]))
    >>> bool(np.allclose(q @ r, [[3.0], [4.0]]))
    True
    """
    a = matrices("qr", a)
    if mode not in ("reduced", "r", "complete") or (
        mode == "complete" and a.shape[-2] > a.shape[-1]
    ):
        raise UnsupportedError(
            f"qr with mode={mode!r} of shape {a.shape} has no derivative; take mode='reduced'"
        )
    q, r = call(QR, {}, a)
    return r if mode == "r" else QRResult(q, r)
