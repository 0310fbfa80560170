"""Determinants, with derivatives that need no inverse.

The gradient of det is the matrix of cofactors, a polynomial that exists for singular matrices too.
Here it comes from the singular value decomposition, where it is a product of singular values that
leaves one out (G. W. Stewart, "On the adjugate matrix", 1998); so does its own derivative, leaving
two out.  det times the transposed inverse, which is what is computed for matrices that are far from
singular, would fail at rank n-1, where a determinant is most interesting.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..numpy.registry import function
from ..record.calls import Primitive, call
from .solves import inv
from .stacks import diagonal, entry, inner, row, squares, transpose

SlogdetResult: Any = type(np.linalg.slogdet(np.eye(1)))

# --- cofactors, on plain arrays -------------------------------------------------------------------


def _without_one(s: Any) -> Any:
    """The product of all entries of s (..., n) but one, for each."""
    one = np.ones_like(s[..., :1])
    left = np.cumprod(np.concatenate([one, s[..., :-1]], axis=-1), axis=-1)
    right = np.cumprod(np.concatenate([one, s[..., :0:-1]], axis=-1), axis=-1)
    return left[..., : s.shape[-1]] * right[..., : s.shape[-1]][..., ::-1]


def _without_two(s: Any) -> Any:
    """The product of all entries of s (..., n) but i and j, in [..., i, j]; zero at i = j."""
    n = s.shape[-1]
    result = np.zeros((*s.shape, n), s.dtype)
    one = np.ones_like(s[..., :1])
    left = np.cumprod(np.concatenate([one, s], axis=-1), axis=-1)
    right = np.cumprod(np.concatenate([one, s[..., ::-1]], axis=-1), axis=-1)[..., ::-1]
    for i in range(n - 1):
        between = np.cumprod(np.concatenate([one, s[..., i + 1 : -1]], axis=-1), axis=-1)
        result[..., i, i + 1 :] = left[..., i : i + 1] * between * right[..., i + 2 :]
    return result + transpose(result)


def _oriented_svd(a: Any) -> tuple[Any, Any, Any, Any]:
    """U, s, Vᵀ and det(U Vᵀ) of the finite matrices, and of zeros in place of the others."""
    u, s, vh = np.linalg.svd(np.where(_finite(a), a, np.zeros_like(a)))
    return u, s, vh, (np.linalg.slogdet(u)[0] * np.linalg.slogdet(vh)[0])[..., None, None]


def _finite(a: Any) -> Any:
    return np.isfinite(a).all(axis=(-2, -1), keepdims=True)


def _inverse(a: Any) -> Any:
    """The inverses, or None where a matrix of the stack is near a singular one."""
    try:
        x = np.linalg.inv(a)
    except np.linalg.LinAlgError:
        return None
    size = np.abs(a).max(axis=(-2, -1)) * np.abs(x).max(axis=(-2, -1))
    return x if np.all(size < 1e4) else None


def _cofactor_value(a: Any) -> Any:
    if a.size == 0:
        return np.zeros_like(a)
    x = _inverse(a)
    if x is not None:  # a tenth of the time
        return _det_value(a) * transpose(x)
    u, s, vh, sign = _oriented_svd(a)
    return np.where(_finite(a), sign * np.matmul(u * row(_without_one(s)), vh), np.nan)


def _cofactor_along_value(a: Any, e: Any) -> Any:
    if a.size == 0:
        return np.zeros_like(a)
    x = _inverse(a)
    if x is not None:
        xt, xe = transpose(x), np.matmul(x, e)
        return _det_value(a) * (inner(xt, e) * xt - transpose(np.matmul(xe, x)))
    u, s, vh, sign = _oriented_svd(a)
    p = _without_two(s)
    x = np.matmul(np.matmul(transpose(u), e), transpose(vh))
    on_diagonal = np.matmul(p, diagonal(x)[..., None]) * np.eye(a.shape[-1], dtype=a.dtype)
    c = np.matmul(u, np.matmul(on_diagonal - p * transpose(x), vh))
    return np.where(_finite(a), sign * c, np.nan)


# --- their rules ----------------------------------------------------------------------------------


def _cofactor_vjp(w: Any, z: Any, a: Any) -> tuple[Any, ...]:
    # The second derivative of det is symmetric: this linear map is its own transpose.
    return (call(COFACTOR_ALONG, {}, a, w),)


def _cofactor_jvp(tangents: Any, z: Any, a: Any) -> Any:
    return call(COFACTOR_ALONG, {}, a, tangents[0])


def _third(a: Any, e: Any, f: Any) -> Any:
    """The third derivative of det along e and f, as a matrix; needs the inverse."""
    x = inv(a)
    d = call(DET, {}, a)
    xt = transpose(x)
    xe, xf = np.matmul(x, e), np.matmul(x, f)
    trace_e, trace_f = inner(xt, e), inner(xt, f)
    both = trace_e * trace_f - inner(transpose(xe), xf)
    mixed = np.matmul(xe, xf) + np.matmul(xf, xe)
    return d * (both * xt + transpose(np.matmul(mixed - trace_f * xe - trace_e * xf, x)))


def _cofactor_along_vjp(w: Any, z: Any, a: Any, e: Any) -> tuple[Any, ...]:
    return _third(a, e, w), call(COFACTOR_ALONG, {}, a, w)


def _cofactor_along_jvp(tangents: Any, z: Any, a: Any, e: Any) -> Any:
    return _third(a, e, tangents[0]) + call(COFACTOR_ALONG, {}, a, tangents[1])


COFACTOR = Primitive(
    "cofactor", _cofactor_value, _cofactor_vjp, _cofactor_jvp, doc="gradient of det"
)
COFACTOR_ALONG = Primitive(
    "cofactor_along",
    _cofactor_along_value,
    _cofactor_along_vjp,
    _cofactor_along_jvp,
    doc="derivative of the cofactors of a along e",
)

# --- det and slogdet ------------------------------------------------------------------------------
# Their results keep two axes of length 1, so that the rules never meet an array without axes.


def _det_value(a: Any) -> Any:
    return np.asarray(np.linalg.det(a))[..., None, None]


def _det_vjp(w: Any, z: Any, a: Any) -> tuple[Any, ...]:
    return (w * call(COFACTOR, {}, a),)


def _det_jvp(tangents: Any, z: Any, a: Any) -> Any:
    return inner(call(COFACTOR, {}, a), tangents[0])


DET = Primitive("det", _det_value, _det_vjp, _det_jvp, doc="determinant of each matrix")


@function("linalg.det")
def det(a: Any) -> Any:
    """The determinant of each matrix of a stack (..., n, n), shape (...).

    First and second derivatives are right for singular matrices as well; third ones raise
    `SingularMatrixError` there.

    >>> import numpy as np
    >>> float(det(np.array([[2.0, 0.0], [1.0, 3.0]])))
    6.0
    """
    return entry(call(DET, {}, squares("det", a)), 0, 0)


def _slogdet_value(a: Any) -> Any:
    sign, log = np.linalg.slogdet(a)
    return np.asarray(sign)[..., None, None], np.asarray(log)[..., None, None]


def _slogdet_vjp(w: Any, z: Any, a: Any) -> tuple[Any, ...]:
    return (w[1] * transpose(inv(a)),)


def _slogdet_jvp(tangents: Any, z: Any, a: Any) -> Any:
    return np.zeros_like(z[0]), inner(transpose(inv(a)), tangents[0])


SLOGDET = Primitive("slogdet", _slogdet_value, _slogdet_vjp, _slogdet_jvp, doc="sign and log |det|")


@function("linalg.slogdet")
def slogdet(a: Any) -> Any:
    """Sign and logarithm of the absolute value of the determinant, each of shape (...).

    The sign has no derivative.  A singular matrix gives (0, -inf), as in NumPy; the gradient there
    does not exist and raises `SingularMatrixError`.

    >>> import numpy as np
    >>> sign, logdet = slogdet(np.diag([1.0, -1.0]))
    >>> float(sign), float(logdet)
    (-1.0, 0.0)
    """
    sign, log = call(SLOGDET, {}, squares("slogdet", a))
    return SlogdetResult(entry(sign, 0, 0), entry(log, 0, 0))
