"""Polynomials as arrays of coefficients, the highest power first."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..record.arrays import as_array
from .arguments import Array, cast, constant, dtype_of, fail, invalid, reshaped, static, unsupported
from .registry import function


def _padded(a: Any, n: int) -> Array:
    x = as_array(np.atleast_1d(as_array(a)))
    return as_array(np.pad(x, (n - x.size, 0))) if x.size < n else x


@function("polyval")
def polyval(p: Any, x: Any) -> Any:
    """The value of a polynomial, by Horner's rule."""
    coefficients = as_array(p)
    points = as_array(x)
    dtype = np.result_type(coefficients.dtype, points.dtype)
    y: Any = constant(np.zeros(points.shape, dtype))[...]
    for i in range(coefficients.shape[0]):
        y = y * points + coefficients[i] if i else y + coefficients[0]
    return y


@function("vander")
def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    """Powers of x in columns."""
    N = static("vander", N=N)
    base = as_array(x)
    base = cast(base, np.promote_types(base.dtype, np.int64))
    if base.ndim != 1:
        fail(f"np.vander takes one axis, not the shape {base.shape}")
    n = base.size if N is None else int(N)
    column: Any = constant(np.ones(base.shape, base.dtype))
    columns = []
    for i in range(n):
        column = column * base if i else column
        columns.append(column)
    if not columns:
        return constant(np.zeros((base.size, 0), base.dtype))
    return np.stack(columns if increasing else columns[::-1], 1)


@function("polyadd")
def polyadd(a1: Any, a2: Any) -> Any:
    """Sum of polynomials."""
    n = max(as_array(a1).size, as_array(a2).size)
    return _padded(a1, n) + _padded(a2, n)


@function("polysub")
def polysub(a1: Any, a2: Any) -> Any:
    """Difference of polynomials."""
    n = max(as_array(a1).size, as_array(a2).size)
    return _padded(a1, n) - _padded(a2, n)


@function("polymul")
def polymul(a1: Any, a2: Any) -> Any:
    """Product of polynomials; leading zeros stay, as how many there are is no shape."""
    return np.convolve(as_array(a1), a2)


@function("polyder")
def polyder(p: Any, m: int = 1) -> Any:
    """Derivative of a polynomial, m times."""
    x = as_array(np.atleast_1d(as_array(p)))
    for _ in range(m):
        x = as_array(x[:-1] * np.arange(x.size - 1, 0, -1))
    return x


@function("polyint")
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """Integral of a polynomial, m times, with constants k."""
    x = as_array(np.atleast_1d(as_array(p)))
    constants = np.zeros(m) if k is None else np.broadcast_to(np.atleast_1d(as_array(k)), (m,))
    for i in range(m):
        powers = x / np.arange(x.size, 0, -1)
        x = as_array(np.concatenate([powers, reshaped(constants[i], [1])]))
    return x


@function("polyfit")
def polyfit(
    x: Any, y: Any, deg: Any, rcond: Any = None, full: bool = False, w: Any = None,
    cov: Any = False,
) -> Any:  # fmt: skip
    """Coefficients of the least-squares polynomial; x, y and the weights may be recording."""
    deg = static("polyfit", deg=deg)
    unsupported("polyfit", rcond=rcond, full=full or None, cov=cov or None)
    if np.ndim(deg):
        invalid("np.polyfit: deg is one whole number here")
    points, values = cast(x, np.float64), cast(y, dtype_of(y, 1.0))
    if points.ndim != 1 or not 1 <= values.ndim <= 2 or values.shape[0] != points.size:
        fail(f"np.polyfit: shapes {points.shape} and {values.shape} do not fit")
    matrix = as_array(vander(points, int(deg) + 1))
    if w is not None:
        weights = reshaped(w, [points.size, 1])
        matrix = as_array(matrix * weights)
        values = as_array(values * (weights if values.ndim == 2 else reshaped(w, [points.size])))
    scale = np.sqrt(np.sum(matrix * matrix, 0))
    solution = np.linalg.lstsq(matrix / scale, values, rcond=None)[0]
    return solution / (reshaped(scale, [-1, 1]) if values.ndim == 2 else scale)
