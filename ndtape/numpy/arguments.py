"""Arguments that many of NumPy's functions share: axes, dtypes, `out=`, `keepdims=`.

A keyword is honoured or refused by name, never ignored.
"""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from ..errors import ArgumentError, GradientLostError, ShapeError, UnsupportedError
from ..record import core
from ..record.arrays import as_array, moves, recording, view
from ..record.values import Var

Array = Any  # a recording array; scalar recording values and plain numbers go through `as_array`

NO: Any = getattr(np, "_NoValue", None)  # "not given", where None means something


def fail(message: str) -> NoReturn:
    """Shapes do not fit, or a place lies outside: say so, with the user's line."""
    raise ShapeError(f"{message} [{core.user_line()}]")


def invalid(message: str) -> NoReturn:
    """An argument is none of those that are possible."""
    raise ArgumentError(f"{message} [{core.user_line()}]")


def unsupported(name: str, **given: Any) -> None:
    """Refuse keywords by name, if they were given."""
    for keyword, value in given.items():
        if value is not None and value is not NO:
            raise UnsupportedError(
                f"np.{name} of a recording array does not take {keyword}={value!r:.40}; leave it "
                f"out [{core.user_line()}]"
            )


def contains_recording(x: Any) -> bool:
    """Whether there is a recording value in x, or in lists and tuples of x."""
    if isinstance(x, (list, tuple)):
        return any(contains_recording(element) for element in x)
    return bool(recording(x))


def moving(x: Any) -> bool:
    """Whether x, or a value in lists and tuples of x, depends on what a tape computes."""
    if isinstance(x, (list, tuple)):
        return any(moving(element) for element in x)
    return bool(moves(x))


def static(name: str, **parameters: Any) -> Any:
    """Parameters as plain numbers; refused where they are computed on a tape.

    The shape of the result, or the order of its elements, depends on them: a replay could not
    follow.  A single parameter is returned as it is, several as a list.
    """
    for keyword, value in parameters.items():
        if moving(value):
            raise UnsupportedError(
                f"np.{name}: {keyword} decides the shape of the result or where its elements come "
                f"from, and must be plain numbers here; use {keyword}.value or int({keyword}) "
                f"[{core.user_line()}]"
            )
    values = [plain(value) for value in parameters.values()]
    return values[0] if len(values) == 1 else values


def plain(x: Any) -> Any:
    """The numbers of x, also inside lists and tuples.

    Where a function is traced, whole numbers and truth values leave guards, and others raise.
    """
    if isinstance(x, (list, tuple)):
        return type(x)(plain(element) for element in x)
    if not recording(x):
        return x
    tape = getattr(x, "storage", x).tape
    traced = getattr(tape, "traced", None)
    return x.value if traced is None else traced.plain(x)


def finish(x: Any) -> Any:
    """The result of a function: arrays of shape () become scalars, as in NumPy."""
    return x if isinstance(x, Var) or getattr(x, "ndim", None) != 0 else x[()]


def constant(x: Any) -> Array:
    """A recording array without gradient; takes the plain array over."""
    return as_array(np.asarray(x))


def cast(x: Any, dtype: Any) -> Array:
    """x with another dtype, itself if it has that one."""
    x = as_array(x)
    if dtype is None or x.dtype == np.dtype(dtype):
        return x
    return typed(as_array(x.astype(dtype)), dtype)


def floating(x: Any) -> Array:
    """x with integers and booleans turned into float64."""
    x = as_array(x)
    return x if x.dtype.kind == "f" else as_array(x.astype(np.float64))


def dtype_of(*operands: Any) -> np.dtype[Any]:
    """The common dtype; Python's own numbers, and recording scalars like them, adapt to arrays."""
    return np.result_type(*map(_kind, operands))


def _kind(x: Any) -> Any:
    if isinstance(x, Var):
        return WEAK[as_array(x).dtype.kind]
    return x if type(x) in WEAK_TYPES else as_array(x).dtype


WEAK_TYPES = (bool, int, float)
WEAK = {"b": False, "i": 0, "f": 0.0}


def alike(operands: Any) -> list[Array]:
    """Arrays of one dtype."""
    arrays = [as_array(x) for x in operands]
    if not arrays or all(x.dtype is arrays[0].dtype for x in arrays):
        return arrays
    dtype = np.result_type(*(x.dtype for x in arrays))
    return [cast(x, dtype) for x in arrays]


def axis_of(axis: Any, ndim: int, name: str = "axis") -> int:
    """One axis, counted from the front."""
    number = operator.index(axis)
    if not -ndim <= number < ndim:
        fail(f"{name} {number} is out of bounds for an array with {ndim} dimensions")
    return number % ndim


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, in order; None is all of them."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, (tuple, list)):
        return (axis_of(axis, ndim),)
    axes = [axis_of(a, ndim) for a in axis]
    if len(set(axes)) != len(axes):
        fail(f"axis {tuple(axis)} names an axis twice")
    return tuple(sorted(axes))


def reshaped(x: Any, shape: Any) -> Array:
    """A view with another shape."""
    x = as_array(x)
    return x if x.shape == tuple(shape) else as_array(x.reshape(tuple(shape)))


def kept(result: Any, x: Array, axes: tuple[int, ...], keepdims: Any) -> Any:
    """The result of a reduction, with its axes put back as ones if `keepdims` asks for it."""
    if keepdims is NO or not keepdims:
        return result
    return typed(reshaped(result, [1 if i in axes else n for i, n in enumerate(x.shape)]), x.dtype)


def typed(x: Array, dtype: Any) -> Array:
    """A result that was a scalar on the way, hence float64, as the float32 array that it is."""
    if x.dtype == dtype or dtype != np.float32 or x.dtype.kind != "f":
        return x
    return view(x.storage, x.offset, x.shape, x.strides, np.dtype(np.float32))


def deliver(result: Any, out: Any, name: str) -> Any:
    """The result, written into `out` if there is one."""
    result = finish(result)
    if out is None:
        return result
    if not recording(out):
        raise GradientLostError(
            f"np.{name}: out= is a plain array, which cannot hold a recording result; make it with "
            f"nt.zeros or np.zeros_like(x) [{core.user_line()}]"
        )
    there, here = as_array(out), as_array(result)
    if there.shape != here.shape:
        fail(f"np.{name}: out= has shape {there.shape}, but the result {here.shape}")
    if not np.can_cast(here.dtype, there.dtype, "same_kind"):
        invalid(f"np.{name}: out= has dtype {there.dtype}, which cannot hold {here.dtype}")
    out[...] = result
    return out


def masked(x: Array, where: Any, other: Any, name: str) -> Array:
    """x where the mask `where` is true, `other` elsewhere."""
    result = as_array(np.where(where, x, other))
    if result.shape != x.shape:
        fail(f"np.{name}: where= of shape {np.shape(where)} does not broadcast to {x.shape}")
    return result
