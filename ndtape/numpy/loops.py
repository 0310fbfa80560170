"""Functions that call a user's function on slices: Python loops, an instruction a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..record.arrays import as_array
from ..record.values import Var
from .arguments import axes_of, axis_of, cast, fail, finish, reshaped
from .registry import function


@function("apply_along_axis")
def apply_along_axis(func1d: Any, axis: Any, arr: Any, /, *args: Any, **kwargs: Any) -> Any:
    """A function of vectors along an axis, in a Python loop over the others."""
    x: Any = as_array(arr)
    axis = axis_of(axis, x.ndim)
    lead = as_array(np.moveaxis(x, axis, -1))
    if not lead.size:
        fail(f"np.apply_along_axis of an array of shape {x.shape}, which has no elements")
    rows = [func1d(lead[i], *args, **kwargs) for i in np.ndindex(lead.shape[:-1])]
    result = as_array(np.stack([as_array(row) for row in rows]))
    if isinstance(rows[0], Var) and result.dtype.kind == "f":  # scalars are float64
        result = cast(result, x.dtype)
    inner = result.ndim - 1
    result = reshaped(result, [*lead.shape[:-1], *result.shape[1:]])
    sources = range(result.ndim - inner, result.ndim)
    return finish(np.moveaxis(result, tuple(sources), tuple(range(axis, axis + inner))))


@function("apply_over_axes")
def apply_over_axes(func: Any, a: Any, axes: Any) -> Any:
    """A reduction along one axis after the other, which stay as axes of size 1."""
    x = as_array(a)
    for axis in axes_of(axes, x.ndim):
        result = as_array(func(x, axis))
        if result.ndim != x.ndim:
            result = as_array(np.expand_dims(result, axis))
        x = result
    return finish(x)
