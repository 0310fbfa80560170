"""Elements by their places, and writing them there.

Places are plain whole numbers, or recording ones: then a replay with other numbers takes and
writes elsewhere, and a place outside the array is an error of the sweep.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GradientLostError
from ..record import core
from ..record.arrays import as_array, recording
from ..record.calls import Primitive, call
from ..record.wide import scatter_add_flat
from .arguments import (
    Array,
    axis_of,
    cast,
    constant,
    contains_recording,
    deliver,
    fail,
    finish,
    invalid,
    moving,
    plain,
    reshaped,
    unsupported,
)
from .reductions import truth
from .registry import function


def places(name: str, indices: Any, n: int, mode: str) -> Any:
    """Indices as NumPy's `mode` wants them for an axis of n; plain ones stay plain."""
    index = as_array(indices) if contains_recording(indices) else np.asarray(indices)
    if index.dtype.kind not in "iub" and index.size:
        invalid(f"np.{name}: indices are whole numbers, not {index.dtype}; round them first")
    if index.dtype.kind != "i":
        index = index.astype(np.int64)
    if mode == "clip":
        return np.clip(index, 0, n - 1)
    if mode == "wrap":
        return np.mod(index, n)
    if mode != "raise":
        invalid(f"np.{name}: mode is 'raise', 'wrap' or 'clip', not {mode!r}")
    return index


def _along(axis: int, index: Any) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, index)


@function("take")
def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    """Elements, or slices along an axis, at places."""
    x = as_array(a)
    if axis is None:
        x, axis = reshaped(x, [x.size]), 0
    axis = axis_of(axis, x.ndim)
    index = places("take", indices, x.shape[axis], mode)
    return deliver(x[_along(axis, finish(index))], out, "take")


def _grid(x: Array, indices: Any, axis: int, name: str) -> tuple[Any, ...]:
    """The full index that `indices` along an axis mean."""
    index = places(name, indices, x.shape[axis], "raise")
    if index.ndim != x.ndim:
        fail(f"np.{name}: indices of shape {index.shape} for an array of shape {x.shape}")
    full: list[Any] = []
    for i, n in enumerate(x.shape):
        shape = [1] * x.ndim
        shape[i] = n
        full.append(index if i == axis else np.arange(n).reshape(shape))
    return tuple(full)


@function("take_along_axis")
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    """For each line along an axis the elements at its own places, as argsort gives them."""
    x = as_array(arr)
    if axis is None:
        x, axis = reshaped(x, [x.size]), 0
    axis = axis_of(axis, x.ndim)
    return x[_grid(x, indices, axis, "take_along_axis")]


@function("put_along_axis")
def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> None:
    """Write into each line along an axis at its own places, in place."""
    if axis is None:
        put(arr, indices, values)
        return
    _writable("put_along_axis", arr)
    arr[_grid(arr, indices, axis_of(axis, arr.ndim), "put_along_axis")] = values


def _writable(name: str, a: Any) -> None:
    if not recording(a):
        raise GradientLostError(
            f"np.{name} writes recording values into a plain array, which cannot hold gradients; "
            f"make it with nt.zeros or np.zeros_like(x) [{core.user_line()}]"
        )


def split_index(flat: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An index for each axis from places in the flattened array."""
    full = []
    for n in reversed(shape[1:]):
        full.append(flat % n)
        flat = flat // n
    return (flat, *reversed(full))


@function("put")
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """Write at places of the flattened array, in place."""
    _writable("put", a)
    flat: Any = as_array(places("put", ind, a.size, mode))
    flat = reshaped(flat, [flat.size])
    if mode == "raise":
        flat = np.where(flat < 0, flat + a.size, flat)
    if not contains_recording(ind):
        flat = as_array(flat).value
        if np.any((flat < 0) | (flat >= a.size)):
            fail(f"np.put: an index outside an array of {a.size} elements")
    values = reshaped(v, [-1])
    if values.size != flat.size:
        values = np.resize(values, flat.size)
    a[split_index(flat, a.shape) if a.ndim != 1 else flat] = values


@function("putmask")
def putmask(a: Any, mask: Any, values: Any) -> None:
    """Write where a mask holds, in place; values of another size repeat over all of a."""
    _writable("putmask", a)
    values = as_array(values)
    if values.shape != a.shape:
        values = np.resize(reshaped(values, [-1]), a.shape)
    a[...] = np.where(mask, values, a)


@function("place")
def place(arr: Any, mask: Any, vals: Any) -> None:
    """Write values one after another where a mask holds, in place."""
    _writable("place", arr)
    mask = truth(mask) if contains_recording(mask) else np.asarray(mask, np.bool_)
    if mask.shape != arr.shape:
        fail(f"np.place: a mask of shape {mask.shape} for an array of shape {arr.shape}")
    values = reshaped(vals, [-1])
    if not values.size:
        fail("np.place: no values")
    # Each chosen element gets the next value: how many were chosen before it says which.
    order = np.cumsum(np.ravel(mask)) - 1
    chosen = values[np.mod(order, values.size)]
    arr[...] = np.where(mask, reshaped(chosen, arr.shape), arr)


@function("copyto")
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """Write an array into another one, where a mask holds."""
    _writable("copyto", dst)
    if casting != "same_kind":
        unsupported("copyto", casting=casting)
    if not np.can_cast(as_array(src).dtype, dst.dtype, "same_kind"):
        invalid(f"np.copyto: {as_array(src).dtype} does not go into {dst.dtype}")
    dst[...] = src if where is True else np.where(where, src, dst)


@function("compress")
def compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    """Slices along an axis where a condition holds."""
    x = as_array(a)
    if axis is None:
        x, axis = reshaped(x, [x.size]), 0
    axis = axis_of(axis, x.ndim)
    mask = truth(condition) if contains_recording(condition) else np.asarray(condition, np.bool_)
    if mask.ndim != 1:
        fail(f"np.compress: the condition has the shape {mask.shape}, not one axis")
    return deliver(x[_along(axis, np.nonzero(mask)[0])], out, "compress")


@function("extract")
def extract(condition: Any, arr: Any) -> Any:
    """Elements where a condition holds."""
    mask = truth(condition) if contains_recording(condition) else np.asarray(condition, np.bool_)
    return compress(np.ravel(mask), np.ravel(arr))


# --- where something holds ------------------------------------------------------------------------

NONZERO = Primitive(
    "nonzero",
    np.nonzero,
    doc="places of elements that are not 0; their number is that of the recording",
)


@function("nonzero")
def nonzero(a: Any) -> tuple[Any, ...]:
    """Places of the elements that are not 0: recording integers.

    How many there are is read now: a replay in which the number changes is an error.
    """
    x = as_array(a)
    if not x.ndim:
        fail("np.nonzero of a scalar; use np.atleast_1d(x)")
    if not x.size:
        return tuple(constant(np.zeros(0, np.int64)) for _ in x.shape)
    found = call(NONZERO, {}, x)
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


@function("flatnonzero")
def flatnonzero(a: Any) -> Any:
    """Places in the flattened array of the elements that are not 0."""
    return nonzero(np.ravel(a))[0]


@function("argwhere")
def argwhere(a: Any) -> Any:
    """Places of the elements that are not 0, one row each."""
    x = as_array(a)
    if not x.ndim:
        return np.argwhere(x.value)
    return np.stack(nonzero(x), 1)


# --- indices --------------------------------------------------------------------------------------


@function("unravel_index")
def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple[Any, ...]:
    """An index for each axis from places in the flattened array."""
    axes = tuple(shape) if np.ndim(shape) else (shape,)
    index = cast(indices, np.int64)
    if order == "F":
        return tuple(reversed(split_index(index, axes[::-1])))
    if order != "C":
        unsupported("unravel_index", order=order)
    return tuple(finish(as_array(i)) for i in split_index(index, axes))


@function("ravel_multi_index")
def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Any:
    """Places in the flattened array from an index for each axis."""
    if order not in ("C", "F"):
        unsupported("ravel_multi_index", order=order)
    modes = mode if isinstance(mode, tuple) else (mode,) * len(dims)
    triples = list(zip(multi_index, dims, modes, strict=True))
    flat: Any = 0
    for index, n, how in triples if order == "C" else reversed(triples):
        flat = flat * n + places("ravel_multi_index", index, n, how)
    return finish(flat)


@function("diag_indices_from")
def diag_indices_from(arr: Any) -> tuple[Any, ...]:
    """Places of the diagonal, from the shape alone."""
    return np.diag_indices_from(np.broadcast_to(0, as_array(arr).shape))


@function("tril_indices_from")
def tril_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """Places of the lower triangle, from the shape alone."""
    return np.tril_indices_from(np.broadcast_to(0, as_array(arr).shape), k)


@function("triu_indices_from")
def triu_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """Places of the upper triangle, from the shape alone."""
    return np.triu_indices_from(np.broadcast_to(0, as_array(arr).shape), k)


@function("bincount")
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """Sums of weights by class; recording classes need `minlength`, the number of classes."""
    if moving(x):
        index = cast(x, np.int64)
        if not minlength:
            invalid("np.bincount of recording integers needs minlength=, the number of classes")
        length = minlength
    else:
        index = places("bincount", plain(x), 0, "raise")
        length = max(minlength, int(index.max()) + 1 if index.size else 0)
    if index.ndim != 1:
        fail(f"np.bincount takes one axis, not the shape {index.shape}")
    w = constant(np.ones(index.shape[0])) if weights is None else cast(weights, np.float64)
    if w.shape != index.shape:
        fail(f"np.bincount: weights of shape {w.shape} for {index.shape[0]} elements")
    z = scatter_add_flat(constant(np.zeros(length)), index, w)
    return cast(z, np.int64) if weights is None else z
