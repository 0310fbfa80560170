"""Means, variances, covariances, and the functions that pass over nan.

The standard deviation of constant data is 0, and there its derivatives of all orders are taken
as 0: the square root is never asked for its infinite slope.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..record.arrays import as_array
from ..record.elementwise import elementwise
from .arguments import (
    NO,
    Array,
    axes_of,
    cast,
    deliver,
    fail,
    finish,
    floating,
    invalid,
    masked,
    reshaped,
)
from .reductions import cumsum, max, min, sum, total
from .registry import function


def _real(a: Any, dtype: Any, name: str) -> Array:
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise UnsupportedError(f"np.{name} with dtype={dtype!r}: means are not whole numbers")
    return floating(cast(a, dtype))


def count(x: Array, axes: tuple[int, ...]) -> int:
    """Number of elements that a reduction over axes adds up."""
    n = 1
    for axis in axes:
        n *= x.shape[axis]
    return n


def _parts(x: Array, where: Any, axes: tuple[int, ...], name: str) -> tuple[Array, Any]:
    """Elements with those outside the mask set to 0, and how many there are (kept axes)."""
    if where is NO or where is True:
        return x, count(x, axes)
    chosen = as_array(np.broadcast_to(where, x.shape))
    return masked(x, where, 0.0, name), total(chosen, axes, True)


def quotient(x: Any, n: Any) -> Any:
    """x / n, also by zero: an empty mean is nan without NumPy's warning."""
    if isinstance(n, (int, float)):
        return x / n if n else elementwise("divide", x, n)
    return elementwise("divide", x, cast(n, as_array(x).dtype))


@function("mean")
def mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NO, *,
    where: Any = NO,
) -> Any:  # fmt: skip
    """Mean over axes."""
    x = _real(a, dtype, "mean")
    axes = axes_of(axis, x.ndim)
    if where is NO and out is None:
        return quotient(total(x, axes, keepdims), count(x, axes))
    y, n = _parts(x, where, axes, "mean")
    z = quotient(total(y, axes, True), n)
    return deliver(_dropped(z, x, axes, keepdims), out, "mean")


def _dropped(z: Any, x: Array, axes: tuple[int, ...], keepdims: Any) -> Any:
    """A result with kept axes, as `keepdims` wants it."""
    if keepdims is not NO and keepdims:
        return z
    return finish(reshaped(z, [n for i, n in enumerate(x.shape) if i not in axes]))


def _variance(
    name: str, a: Any, axis: Any, dtype: Any, ddof: Any, keepdims: Any, where: Any,
    center: Any, correction: Any,
) -> Any:  # fmt: skip
    if correction is not NO:
        if ddof:
            invalid(f"np.{name}: ddof and correction are one thing; give one of them")
        ddof = correction
    x = _real(a, dtype, name)
    axes = axes_of(axis, x.ndim)
    y, n = _parts(x, where, axes, name)
    if center is NO:
        center = quotient(total(y, axes, True), n)
    deviation = as_array(x - center)
    if y is not x:
        deviation = masked(deviation, where, 0.0, name)
    squares = total(as_array(elementwise("square", deviation)), axes, True)
    if isinstance(n, int):
        freedom = n - ddof if n > ddof else 0
    else:
        freedom = elementwise("maximum", n - ddof, 0)
    return _dropped(quotient(squares, freedom), x, axes, keepdims)


def root(x: Any) -> Any:
    """The square root of what is not negative, with derivatives 0 where it is 0.

    Where x is 0 the root of 1 is taken, and multiplied by 0: no derivative of any order is
    infinite.  (`where` around the root alone would leave an infinite factor in the second.)
    """
    there = elementwise("sign", x)
    return elementwise("sqrt", x + (1.0 - there)) * there


@function("var")
def var(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0,
    keepdims: Any = NO, *, where: Any = NO, mean: Any = NO, correction: Any = NO,
) -> Any:  # fmt: skip
    """Variance over axes."""
    z = _variance("var", a, axis, dtype, ddof, keepdims, where, mean, correction)
    return deliver(z, out, "var")


@function("std")
def std(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0,
    keepdims: Any = NO, *, where: Any = NO, mean: Any = NO, correction: Any = NO,
) -> Any:  # fmt: skip
    """Standard deviation over axes; derivative 0 where it is 0."""
    z = _variance("std", a, axis, dtype, ddof, keepdims, where, mean, correction)
    return deliver(root(z), out, "std")


@function("average")
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = NO
) -> Any:
    """Weighted mean; the weights may be recording, too."""
    x = floating(a)
    axes = axes_of(axis, x.ndim)
    if weights is None:
        z: Any = mean(x, axis, keepdims=keepdims)
        scale: Any = np.full(np.shape(as_array(z).value), float(count(x, axes)))
    else:
        w = _weights(x, floating(weights), axis, axes)
        scale = sum(w, axis, keepdims=keepdims)
        z = quotient(sum(x * w, axis, keepdims=keepdims), scale)
    return (z, scale) if returned else z


def _weights(x: Array, w: Array, axis: Any, axes: tuple[int, ...]) -> Array:
    """Weights of the shape of x: given so, or for its axes only."""
    if w.shape == x.shape:
        return w
    if axis is None or w.shape != tuple(x.shape[i] for i in axes):
        fail(f"np.average: weights of shape {w.shape} for an array of shape {x.shape}")
    shape = [n if i in axes else 1 for i, n in enumerate(x.shape)]
    return as_array(np.broadcast_to(reshaped(w, shape), x.shape))


@function("cov")
def cov(
    m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None,
    fweights: Any = None, aweights: Any = None, *, dtype: Any = None,
) -> Any:  # fmt: skip
    """Covariance matrix of variables in rows (or columns)."""
    x = _observations(m, rowvar, dtype)
    if y is not None:
        x = as_array(np.concatenate([x, _observations(y, rowvar, dtype)], 0))
    ddof = (0 if bias else 1) if ddof is None else ddof
    w = fweights
    if aweights is not None:
        w = aweights if w is None else as_array(w) * aweights
    if w is None:
        center, scale = mean(x, 1), x.shape[1]
        freedom: Any = scale - ddof
    else:
        center, norm = average(x, 1, w, returned=True)
        scale = norm[0]
        square = sum(as_array(w) * aweights) if aweights is not None else scale
        freedom = scale - ddof * square / scale
    x = as_array(x - reshaped(center, [x.shape[0], 1]))
    z = np.dot(x, np.transpose(x if w is None else x * w)) * quotient(1.0, freedom)
    return np.squeeze(z)


def _observations(m: Any, rowvar: bool, dtype: Any) -> Array:
    x = floating(cast(m, np.result_type(as_array(m).dtype, np.float64) if dtype is None else dtype))
    if x.ndim > 2:
        fail(f"np.cov takes at most two axes, not the shape {x.shape}")
    if x.ndim < 2:
        return reshaped(x, [1, x.size])
    return x if rowvar else as_array(np.transpose(x))


@function("corrcoef")
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """Correlation coefficients of variables in rows (or columns)."""
    c = as_array(cov(x, y, rowvar, dtype=dtype))
    if c.ndim == 0:
        return finish(c) / finish(c)
    scale = as_array(root(np.diagonal(c)))
    z = c / reshaped(scale, [scale.size, 1]) / reshaped(scale, [1, scale.size])
    return np.clip(z, -1.0, 1.0)


# --- passing over nan -----------------------------------------------------------------------------


def _known(a: Any, other: float, where: Any) -> tuple[Array, Any]:
    """x with `other` for nan, and the mask of numbers."""
    x = as_array(a)
    if x.dtype.kind != "f":
        return x, where
    missing = elementwise("isnan", x)
    number = elementwise("logical_not", missing)
    mask = number if where is NO else elementwise("logical_and", number, where)
    return as_array(elementwise("where", missing, other, x)), mask


@function("nansum")
def nansum(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NO,
    initial: Any = NO, where: Any = NO,
) -> Any:  # fmt: skip
    """Sum over axes, nan counting as 0."""
    return sum(_known(a, 0.0, where)[0], axis, dtype, out, keepdims, initial, where)


@function("nanmean")
def nanmean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NO, *,
    where: Any = NO,
) -> Any:  # fmt: skip
    """Mean over axes of what is not nan; nan where there is nothing."""
    x, mask = _known(a, 0.0, where)
    return mean(x, axis, dtype, out, keepdims, where=mask)


@function("nanvar")
def nanvar(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0,
    keepdims: Any = NO, *, where: Any = NO, mean: Any = NO, correction: Any = NO,
) -> Any:  # fmt: skip
    """Variance over axes of what is not nan."""
    x, mask = _known(a, 0.0, where)
    return var(x, axis, dtype, out, ddof, keepdims, where=mask, mean=mean, correction=correction)


@function("nanstd")
def nanstd(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0,
    keepdims: Any = NO, *, where: Any = NO, mean: Any = NO, correction: Any = NO,
) -> Any:  # fmt: skip
    """Standard deviation over axes of what is not nan; derivative 0 where it is 0."""
    x, mask = _known(a, 0.0, where)
    return std(x, axis, dtype, out, ddof, keepdims, where=mask, mean=mean, correction=correction)


def _nan_extreme(
    kind: Any, bound: float, a: Any, axis: Any, out: Any, keepdims: Any, initial: Any, where: Any
) -> Any:
    x, mask = _known(a, bound, where)
    if initial is NO and where is NO and x.dtype.kind == "f":
        nothing = elementwise("logical_not", np.any(mask, axis, keepdims=keepdims))
        z = kind(x, axis, keepdims=keepdims)
        return deliver(elementwise("where", nothing, np.nan, z), out, f"nan{kind.__name__}")
    return kind(x, axis, out, keepdims, initial, where)


@function("nanmax")
def nanmax(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = NO, initial: Any = NO,
    where: Any = NO,
) -> Any:  # fmt: skip
    """Largest over axes of what is not nan."""
    return _nan_extreme(max, -np.inf, a, axis, out, keepdims, initial, where)


@function("nanmin")
def nanmin(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = NO, initial: Any = NO,
    where: Any = NO,
) -> Any:  # fmt: skip
    """Smallest over axes of what is not nan."""
    return _nan_extreme(min, np.inf, a, axis, out, keepdims, initial, where)


@function("nanargmax")
def nanargmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
    """Place of the largest of what is not nan: a recording integer."""
    z = np.argmax(_known(a, -np.inf, NO)[0], axis, keepdims=keepdims)
    return deliver(z, out, "nanargmax")


@function("nanargmin")
def nanargmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
    """Place of the smallest of what is not nan: a recording integer."""
    z = np.argmin(_known(a, np.inf, NO)[0], axis, keepdims=keepdims)
    return deliver(z, out, "nanargmin")


@function("nancumsum")
def nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Running sums, nan counting as 0."""
    return cumsum(_known(a, 0.0, NO)[0], axis, dtype, out)


@function("nanprod")
def nanprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
            keepdims: Any = False) -> Any:  # fmt: skip
    """Product over axes, nan counting as 1."""
    z = np.prod(cast(_known(a, 1.0, NO)[0], dtype), axis, keepdims=keepdims)
    return deliver(z, out, "nanprod")


@function("nancumprod")
def nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Running products, nan counting as 1."""
    return deliver(np.cumprod(cast(_known(a, 1.0, NO)[0], dtype), axis), out, "nancumprod")
