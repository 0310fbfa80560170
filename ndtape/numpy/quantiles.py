"""Quantiles: between sorted elements, so that gradients go to the two that are nearest.

What passes over nan counts the numbers of each line first: where a quantile lies is then recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..record.arrays import as_array
from .arguments import (
    Array,
    axes_of,
    cast,
    constant,
    deliver,
    dtype_of,
    floating,
    invalid,
    reshaped,
    static,
    unsupported,
)
from .registry import function
from .statistics import count


@function("quantile")
def quantile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: Any = False, *, weights: Any = None,
) -> Any:  # fmt: skip
    """Quantiles between sorted elements; the methods linear, lower, higher, midpoint, nearest."""
    unsupported("quantile", weights=weights)
    x, q, axes, lead, dtype = _prepared("quantile", a, q, axis, keepdims)
    if not x.size:
        return deliver(constant(np.full([*q.shape, *lead], np.nan, dtype)), out, "quantile")
    n = count(x, axes)
    place = q * (n - 1)
    below, above, share = _neighbours(place, method)
    ordered = np.sort(_together(x, axes), -1)
    low, high = ordered[..., below.ravel()], ordered[..., above.ravel()]
    # As NumPy: from the nearer end, so that share 1 gives `high` exactly.
    gap, share = high - low, share.ravel()
    z = np.where(share < 0.5, low + gap * share, high - gap * (1 - share))
    z = np.where(np.isnan(ordered[..., -1:]), np.nan, z)  # nan is sorted to the end
    z = np.moveaxis(z, -1, 0)
    return deliver(reshaped(cast(z, dtype), [*q.shape, *lead]), out, "quantile")


def _prepared(
    name: str, a: Any, q: Any, axis: Any, keepdims: Any
) -> tuple[Array, np.ndarray, tuple[int, ...], list[int], Any]:
    """Data, quantiles, the axes, the shape that is left of the others, and the dtype."""
    q = static(name, q=q)
    x = floating(a)
    axes = axes_of(axis, x.ndim)
    dtype = dtype_of(x, q)
    q = np.asarray(q, np.float64)
    if not np.all((q >= 0) & (q <= 1)):
        invalid(f"np.{name}: quantiles lie between 0 and 1")
    lead = [1 if i in axes else m for i, m in enumerate(x.shape)]
    lead = lead if keepdims else [m for i, m in enumerate(x.shape) if i not in axes]
    return x, q, axes, lead, dtype


def _share(q: Any) -> Any:
    """Percent as a share; Python's numbers stay weak, as in NumPy."""
    return q / 100 if isinstance(q, (int, float)) else np.true_divide(q, 100)


def _neighbours(place: Any, method: str) -> tuple[Any, Any, Any]:
    """The elements on both sides of a place among the sorted ones, and how far between."""
    low, high = np.floor(place).astype(np.int64), np.ceil(place).astype(np.int64)
    share = {
        "linear": place - low,
        "lower": np.zeros_like(place),
        "higher": np.ones_like(place),
        "midpoint": np.where(low == high, 0.0, 0.5),
        "nearest": np.rint(place) - low,
    }.get(method)
    if share is None:
        raise UnsupportedError(
            "np.quantile of a recording array knows the methods linear, lower, higher, midpoint "
            f"and nearest; not {method!r}"
        )
    return low, high, share


def _together(x: Array, axes: tuple[int, ...]) -> Array:
    """The reduced axes as one, at the end."""
    rest = [i for i in range(x.ndim) if i not in axes]
    x_last = as_array(np.transpose(x, [*rest, *axes]))
    return reshaped(x_last, [*(x.shape[i] for i in rest), -1])


@function("percentile")
def percentile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: Any = False, *, weights: Any = None,
) -> Any:  # fmt: skip
    """Quantiles in percent."""
    share = _share(q)
    return quantile(a, share, axis, out, overwrite_input, method, keepdims, weights=weights)


@function("median")
def median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    keepdims: Any = False,
) -> Any:  # fmt: skip
    """Middle of the sorted elements, the mean of two where their number is even."""
    return quantile(a, 0.5, axis, out, overwrite_input, "midpoint", keepdims)


# --- passing over nan -----------------------------------------------------------------------------


@function("nanquantile")
def nanquantile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: Any = False, *, weights: Any = None,
) -> Any:  # fmt: skip
    """Quantiles of what is not nan, between sorted elements (method linear only)."""
    unsupported("nanquantile", weights=weights, method=None if method == "linear" else method)
    x, q, axes, lead, dtype = _prepared("nanquantile", a, q, axis, keepdims)
    if not x.size:
        return deliver(constant(np.full([*q.shape, *lead], np.nan, dtype)), out, "nanquantile")
    ordered = np.sort(_together(x, axes), -1)  # nan comes last
    known = np.sum(np.logical_not(np.isnan(ordered)), -1, keepdims=True)
    place = np.maximum(known - 1, 0) * q.ravel()
    below = np.floor(place)
    low = np.take_along_axis(ordered, below.astype(np.int64), -1)
    high = np.take_along_axis(ordered, np.ceil(place).astype(np.int64), -1)
    z = np.moveaxis(low + (high - low) * (place - below), -1, 0)
    return deliver(reshaped(cast(z, dtype), [*q.shape, *lead]), out, "nanquantile")


@function("nanpercentile")
def nanpercentile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: Any = False, *, weights: Any = None,
) -> Any:  # fmt: skip
    """Quantiles in percent of what is not nan."""
    share = _share(q)
    return nanquantile(a, share, axis, out, overwrite_input, method, keepdims, weights=weights)


@function("nanmedian")
def nanmedian(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    keepdims: Any = False,
) -> Any:  # fmt: skip
    """Middle of the sorted elements that are not nan."""
    return nanquantile(a, 0.5, axis, out, overwrite_input, "linear", keepdims)
