"""Sums, extremes and truth over axes, and running sums.

Ties of a maximum or minimum share the derivative equally, as the rows of the table say.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..record.arrays import as_array
from ..record.elementwise import elementwise
from ..record.wide import cumsum as running_sum
from ..record.wide import movement, reduce
from .arguments import (
    NO,
    Array,
    axes_of,
    axis_of,
    cast,
    constant,
    deliver,
    fail,
    finish,
    invalid,
    kept,
    masked,
    reshaped,
)
from .registry import function


def reduced(kind: str, x: Array, axes: tuple[int, ...], identity: Any = None) -> Any:
    """`kind` over axes; over nothing it is `identity`, and an error where that is None."""
    if not axes:
        return finish(x.copy())
    if x.size:
        return reduce(kind, x, axes)
    shape = [n for i, n in enumerate(x.shape) if i not in axes]
    if identity is None and 0 not in shape:
        fail(f"np.{kind} of an array of shape {x.shape} over no elements has no value")
    return finish(constant(np.full(shape, 0 if identity is None else identity, x.dtype)))


def countable(x: Array) -> Array:
    """Booleans as integers, which is how NumPy adds them."""
    return cast(x, np.int64) if x.dtype.kind == "b" else x


def total(x: Array, axes: tuple[int, ...], keepdims: Any = False) -> Any:
    """Sum over axes that are already in order."""
    x = countable(x)
    return kept(reduced("sum", x, axes, 0), x, axes, keepdims)


@function("sum")
def sum(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NO,
    initial: Any = NO, where: Any = NO,
) -> Any:  # fmt: skip
    """Sum over axes."""
    x = countable(cast(a, dtype))
    if where is not NO and where is not True:
        x = masked(x, where, 0, "sum")
    result = total(x, axes_of(axis, x.ndim), keepdims)
    if initial is not NO and initial is not None:
        result = result + initial
    return result if out is None else deliver(result, out, "sum")


def _extreme(
    kind: str, a: Any, axis: Any, out: Any, keepdims: Any, initial: Any, where: Any
) -> Any:
    """Largest or smallest over axes."""
    x = as_array(a)
    axes = axes_of(axis, x.ndim)
    given = initial is not NO and initial is not None
    if where is not NO and where is not True:
        if not given:
            invalid(
                f"np.{kind} with where= needs initial=, the value where the mask selects nothing"
            )
        x = masked(x, where, initial, kind)
    if given and not x.size:
        shape = [n for i, n in enumerate(x.shape) if i not in axes]
        result = np.broadcast_to(cast(initial, x.dtype), shape)
    else:
        result = reduced(kind, x, axes)
        if given:
            result = elementwise(f"{kind}imum", result, initial)
    return deliver(kept(result, x, axes, keepdims), out, kind)


@function("max", "amax")
def max(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = NO, initial: Any = NO,
    where: Any = NO,
) -> Any:  # fmt: skip
    """Largest over axes; ties share the derivative equally."""
    return _extreme("max", a, axis, out, keepdims, initial, where)


@function("min", "amin")
def min(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = NO, initial: Any = NO,
    where: Any = NO,
) -> Any:  # fmt: skip
    """Smallest over axes; ties share the derivative equally."""
    return _extreme("min", a, axis, out, keepdims, initial, where)


@function("ptp")
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = NO) -> Any:
    """Largest minus smallest over axes."""
    x = as_array(a)
    if x.dtype.kind == "b":
        raise UnsupportedError("np.ptp of booleans: NumPy does not subtract them")
    axes = axes_of(axis, x.ndim)
    result = reduced("max", x, axes) - reduced("min", x, axes)
    return deliver(kept(result, x, axes, keepdims), out, "ptp")


def truth(a: Any) -> Array:
    """Elements as recording booleans."""
    x = as_array(a)
    return x if x.dtype.kind == "b" else as_array(elementwise("not_equal", x, 0))


def _logical(kind: str, name: str, a: Any, axis: Any, out: Any, keepdims: Any, where: Any) -> Any:
    x, neutral = truth(a), name == "all"
    axes = axes_of(axis, x.ndim)
    if where is not NO and where is not True:
        x = masked(x, where, neutral, name)
    return deliver(kept(reduced(kind, x, axes, neutral), x, axes, keepdims), out, name)


@function("any")
def any(a: Any, axis: Any = None, out: Any = None, keepdims: Any = NO, *, where: Any = NO) -> Any:
    """Whether an element is true: a recording boolean."""
    return _logical("max", "any", a, axis, out, keepdims, where)


@function("all")
def all(a: Any, axis: Any = None, out: Any = None, keepdims: Any = NO, *, where: Any = NO) -> Any:
    """Whether all elements are true: a recording boolean."""
    return _logical("min", "all", a, axis, out, keepdims, where)


@function("count_nonzero")
def count_nonzero(a: Any, axis: Any = None, *, keepdims: Any = False) -> Any:
    """Number of elements that are not 0: a recording integer."""
    x = truth(a)
    return total(x, axes_of(axis, x.ndim), keepdims)


@function("cumsum")
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Running sums along an axis; without one, of the flattened array."""
    x = countable(cast(a, dtype))
    if axis is None:
        x, axis = reshaped(x, [x.size]), 0
    axis = axis_of(axis, x.ndim)
    return deliver(running_sum(x, axis) if x.size else x, out, "cumsum")


@function("cumulative_sum")
def cumulative_sum(
    x: Any, /, *, axis: Any = None, dtype: Any = None, out: Any = None,
    include_initial: bool = False,
) -> Any:  # fmt: skip
    """Running sums along an axis, begun with 0 on request."""
    x = countable(cast(x, dtype))
    if axis is None:
        if x.ndim != 1:
            fail(f"np.cumulative_sum of an array of shape {x.shape} needs an axis")
        axis = 0
    axis = axis_of(axis, x.ndim)
    if include_initial:
        width = [(int(i == axis), 0) for i in range(x.ndim)]
        x = as_array(movement(lambda i: np.pad(i, width, constant_values=-1), x))
    return cumsum(x, axis, out=out)
