"""Joining arrays, cutting them up, and padding."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..record import core
from ..record.arrays import as_array
from .arguments import (
    Array,
    alike,
    axis_of,
    cast,
    contains_recording,
    deliver,
    fail,
    finish,
    reshaped,
    static,
    unsupported,
)
from .joins import joined
from .registry import function
from .shaping import moved


def _joined(name: str, arrays: Any, dtype: Any, casting: Any, **options: Any) -> Any:
    """NumPy's own function on the places of several arrays of one dtype."""
    if casting not in (None, "same_kind"):
        unsupported(name, casting=casting)
    if not isinstance(arrays, (list, tuple)):
        arrays = list(as_array(arrays))
    operands = alike(arrays) if dtype is None else [cast(x, dtype) for x in arrays]
    if not operands:
        fail(f"np.{name} needs at least one array")

    def join(*parts: Any) -> Any:
        return getattr(np, name)(parts, **options)

    try:
        quick = joined((name, *options.values()), join, operands)
    except (ValueError, TypeError):  # shapes that do not fit, an axis that is none
        quick = None
    return moved(name, join, *operands) if quick is None else quick


@function("concatenate", "concat")
def concatenate(
    arrays: Any, /, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = None
) -> Any:
    """Arrays one after another along an axis, or flattened where it is None."""
    return deliver(_joined("concatenate", arrays, dtype, casting, axis=axis), out, "concatenate")


@function("stack")
def stack(
    arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: Any = None
) -> Any:
    """Arrays, or scalars, side by side along a new axis."""
    return deliver(_joined("stack", arrays, dtype, casting, axis=axis), out, "stack")


@function("vstack", "row_stack")
def vstack(tup: Any, *, dtype: Any = None, casting: Any = None) -> Any:
    """Rows below each other."""
    return _joined("vstack", tup, dtype, casting)


@function("hstack")
def hstack(tup: Any, *, dtype: Any = None, casting: Any = None) -> Any:
    """Arrays next to each other, along axis 1 or the only axis."""
    return _joined("hstack", tup, dtype, casting)


@function("dstack")
def dstack(tup: Any) -> Any:
    """Arrays behind each other, along axis 2."""
    return _joined("dstack", tup, None, None)


@function("column_stack")
def column_stack(tup: Any) -> Any:
    """Vectors as the columns of a matrix."""
    return _joined("column_stack", tup, None, None)


@function("block")
def block(arrays: Any) -> Any:
    """An array put together from nested lists of blocks."""
    operands: list[Any] = []

    def places(part: Any) -> Any:
        if isinstance(part, list):
            return [places(p) for p in part]
        operands.append(part)
        return len(operands) - 1

    def filled(layout: Any, parts: tuple[Any, ...]) -> Any:
        if isinstance(layout, list):
            return [filled(p, parts) for p in layout]
        return parts[layout]

    layout = places(arrays)
    return moved("block", lambda *parts: np.block(filled(layout, parts)), *alike(operands))


@function("append")
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    """An array and more after it; flattened where axis is None."""
    if axis is None:
        arr, values = reshaped(arr, [-1]), reshaped(values, [-1])
    return concatenate([arr, values], -1 if axis is None else axis)


@function("insert")
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    """An array with values put in before plain places."""
    obj = static("insert", obj=obj)
    x = as_array(arr)
    inserted = cast(values, x.dtype)
    return moved("insert", lambda i, j: np.insert(i, obj, j, axis), x, inserted)


# --- cutting --------------------------------------------------------------------------------------


def _cut(name: str, x: Array, indices_or_sections: Any, axis: int) -> list[Any]:
    """Views of the pieces into which NumPy cuts one axis."""
    indices_or_sections = static(name, indices_or_sections=indices_or_sections)
    axis = axis_of(axis, x.ndim)
    try:
        pieces = getattr(np, name)(np.arange(x.shape[axis]), indices_or_sections)
    except ValueError as error:
        fail(f"np.{name} of shape {x.shape} along axis {axis}: {error}")
    lead = (slice(None),) * axis
    return [x[(*lead, slice(p[0], p[-1] + 1) if p.size else slice(0, 0))] for p in pieces]


@function("split")
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Equal pieces, or cuts at plain places: a list of views."""
    return _cut("split", as_array(ary), indices_or_sections, axis)


@function("array_split")
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Pieces that need not be equal: a list of views."""
    return _cut("array_split", as_array(ary), indices_or_sections, axis)


@function("hsplit")
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Cut along axis 1, or the only axis: a list of views."""
    x = as_array(ary)
    if x.ndim == 0:
        fail("np.hsplit needs at least one axis")
    return _cut("split", x, indices_or_sections, 1 if x.ndim > 1 else 0)


@function("vsplit")
def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Cut along axis 0: a list of views."""
    return _deep("vsplit", ary, indices_or_sections, 0, 2)


@function("dsplit")
def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Cut along axis 2: a list of views."""
    return _deep("dsplit", ary, indices_or_sections, 2, 3)


def _deep(name: str, ary: Any, indices_or_sections: Any, axis: int, ndim: int) -> list[Any]:
    x = as_array(ary)
    if x.ndim < ndim:
        fail(f"np.{name} needs at least {ndim} axes, not the shape {x.shape}")
    return _cut("split", x, indices_or_sections, axis)


# --- padding --------------------------------------------------------------------------------------

MOVING_MODES = ("edge", "reflect", "symmetric", "wrap")


@function("pad")
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    """Borders: constant (also recorded ones), edge, reflect, symmetric or wrap."""
    x = as_array(array)
    pad_width = static("pad", pad_width=pad_width)
    if mode == "constant":
        values = kwargs.pop("constant_values", 0)
        unsupported("pad", **kwargs)
        return finish(_padded(x, pad_width, values))
    if mode not in MOVING_MODES:
        raise UnsupportedError(
            f"np.pad of a recording array knows the modes constant, {', '.join(MOVING_MODES)}; "
            f"not {mode!r:.40} [{core.user_line()}]"
        )
    if kwargs.pop("reflect_type", "even") != "even":
        unsupported("pad", reflect_type="odd")
    unsupported("pad", **kwargs)
    return moved("pad", lambda i: np.pad(i, pad_width, mode), x)


def _padded(x: Array, pad_width: Any, values: Any) -> Any:
    """Borders of constants: zeros come from nowhere, others are moved there like elements."""
    if not contains_recording(values) and not np.any(values):
        return moved("pad", lambda i: np.pad(i, pad_width, constant_values=-1), x)
    border = cast(values, x.dtype)
    return moved("pad", lambda i, c: np.pad(i, pad_width, constant_values=c), x, border)
