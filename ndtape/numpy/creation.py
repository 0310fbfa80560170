"""Arrays from nothing, from numbers, and from lists of recording values.

What these make are constant recording arrays: they have no gradient, and rows and elements that
do can be written into them, which no array of NumPy's own would keep.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..record import core
from ..record.arrays import as_array, recording
from ..record.elementwise import elementwise
from .arguments import (
    Array,
    axis_of,
    cast,
    constant,
    contains_recording,
    dtype_of,
    floating,
    invalid,
    moving,
    plain,
    reshaped,
    static,
    unsupported,
)
from .registry import FUNCTIONS, function

created: dict[str, Any] = {}  # what `nt.numpy` has instead of NumPy's functions


def creation(f: Any) -> Any:
    """A function of the namespace that NumPy's dispatch never reaches."""
    created[f.__name__] = f
    FUNCTIONS.setdefault(f.__name__, f)
    return f


def _held(dtype: Any) -> Any:
    """A dtype that recording arrays hold; other integers and floats are widened."""
    if dtype is None:
        return None
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        return np.dtype(np.int64)
    if dtype == np.float16:
        return np.dtype(np.float32)
    if dtype.kind in "fb":
        return dtype if dtype.itemsize <= 8 else np.dtype(np.float64)
    raise UnsupportedError(
        f"recording arrays hold float64, float32, int64 and bool, not {dtype} [{core.user_line()}]"
    )


@creation
def array(
    object: Any, dtype: Any = None, *, copy: Any = True, order: Any = "K", subok: bool = False,
    ndmin: int = 0, like: Any = None,
) -> Array:  # fmt: skip
    """A recording array from numbers, arrays, and nested lists of recording values.

    The shape is that of the nesting, the dtype float64, float32, int64 or bool.  Gradients flow
    back to the recording values.  Raises `UnsupportedError` for other dtypes.

    >>> import ndtape as nt
    >>> x = nt.var(2.0)
    >>> y = nt.numpy.array([x, x * x, 1.0])
    >>> y.sum().backward()
    >>> x.grad
    5.0
    """
    unsupported("array", subok=subok or None, like=like)
    if order not in ("K", "A", "C", None):
        unsupported("array", order=order)
    dtype = _held(dtype)
    if contains_recording(object):
        result = cast(object, dtype)
        result = result.copy() if copy and recording(object) else result
    else:
        numbers = np.array(object, dtype)
        result = constant(numbers.astype(_held(numbers.dtype), copy=False))
    if result.ndim < ndmin:
        result = reshaped(result, (1,) * (ndmin - result.ndim) + tuple(result.shape))
    return result


@creation
def asarray(a: Any, dtype: Any = None, order: Any = None, **options: Any) -> Array:
    """A recording array: x itself if it is one of that dtype."""
    unsupported("asarray", **options)
    if order not in ("K", "A", "C", None):
        unsupported("asarray", order=order)
    if recording(a):
        return cast(a, _held(dtype))
    return array(a, dtype)


for _name in ("asanyarray", "ascontiguousarray", "asarray_chkfinite"):
    created[_name] = asarray


@creation
def zeros(shape: Any, dtype: Any = float, order: Any = "C") -> Array:
    """Zeros: a constant array that recording values can be written into.

    >>> import ndtape as nt
    >>> x = nt.var(3.0)
    >>> a = nt.numpy.zeros(2)
    >>> a[1] = x * x
    >>> a.sum().backward()
    >>> x.grad
    6.0
    """
    return full(shape, 0, dtype, order)


@creation
def ones(shape: Any, dtype: Any = float, order: Any = "C") -> Array:
    """Ones: a constant array that recording values can be written into."""
    return full(shape, 1, dtype, order)


@creation
def empty(shape: Any, dtype: Any = float, order: Any = "C") -> Array:
    """Zeros, as there are no numbers left over on a tape."""
    return full(shape, 0, dtype, order)


@creation
def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C") -> Array:
    """One number, which may be recording, everywhere."""
    shape = static("full", shape=shape)
    if order not in ("C", "K", "A"):
        unsupported("full", order=order)
    dtype = _held(dtype)
    if contains_recording(fill_value):
        return as_array(np.broadcast_to(cast(fill_value, dtype), shape)).copy()
    numbers = np.full(shape, fill_value, dtype)
    return constant(numbers.astype(_held(numbers.dtype), copy=False))


def _plain_creation(name: str) -> None:
    own = getattr(np, name)

    def create(*args: Any, **kwargs: Any) -> Array:
        static(name, **{f"argument {n + 1}": x for n, x in enumerate(args)}, **kwargs)
        options = {key: plain(value) for key, value in kwargs.items()}
        return array(own(*plain(args), **options), copy=False)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"A constant recording array with the numbers of `numpy.{name}`."
    creation(create)


for _name in ("eye", "identity", "tri", "fromiter", "fromstring", "frombuffer", "loadtxt"):
    _plain_creation(_name)


@creation
def arange(*args: Any, dtype: Any = None, **options: Any) -> Array:
    """Whole steps between plain bounds."""
    unsupported("arange", **options)
    if moving(args):
        raise UnsupportedError(
            "np.arange of recording values: its length would depend on their numbers; use "
            f"np.linspace(a, b, n) or a + step * np.arange(n) [{core.user_line()}]"
        )
    return array(np.arange(*plain(args), dtype=dtype), copy=False)


# --- like another array ---------------------------------------------------------------------------


def _like(name: str, number: Any) -> None:
    def like(
        a: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None,
        **options: Any,
    ) -> Any:  # fmt: skip
        unsupported(name, **options)
        shape = static(name, shape=shape)
        x = as_array(a)
        return full(x.shape if shape is None else shape, number, dtype or x.dtype)

    like.__name__ = like.__qualname__ = name
    like.__doc__ = f"A constant array of {number}s that recording values can be written into."
    function(name)(like)


for _name, _number in (("zeros_like", 0), ("ones_like", 1), ("empty_like", 0)):
    _like(_name, _number)


@function("full_like")
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", subok: bool = True,
    shape: Any = None, **options: Any,
) -> Any:  # fmt: skip
    """One number, which may be recording, everywhere in the shape of another array."""
    unsupported("full_like", **options)
    x = as_array(a)
    return full(x.shape if shape is None else shape, fill_value, dtype or x.dtype)


# --- between recorded ends ------------------------------------------------------------------------


@function("linspace")
def linspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, retstep: bool = False,
    dtype: Any = None, axis: int = 0, *, device: Any = None,
) -> Any:  # fmt: skip
    """Equal steps between ends that may be recording."""
    unsupported("linspace", device=device)
    num = static("linspace", num=num)
    num = int(num)
    if num < 0:
        invalid(f"np.linspace: {num} points")
    dtype_found = np.result_type(dtype_of(start, stop), np.float32)
    first, last = np.broadcast_arrays(cast(start, dtype_found), cast(stop, dtype_found))
    intervals = num - 1 if endpoint else num
    width = last - first
    step = width / intervals if intervals > 0 else width * np.nan
    shape = (-1, *(1,) * as_array(first).ndim)
    places = np.arange(num, dtype=dtype_found).reshape(shape)
    points: Any = as_array(places * step + first if intervals > 0 else places * width + first)
    if endpoint and num > 1:  # exactly the end, not what the steps add up to
        end = reshaped(last, [1, *as_array(last).shape])
        points = as_array(np.concatenate([points[:-1], end]))
    if axis:
        points = as_array(np.moveaxis(points, 0, axis_of(axis, points.ndim)))
    points = _whole(points, dtype)
    return (points, step) if retstep else points


def _whole(points: Array, dtype: Any) -> Array:
    if dtype is not None and np.dtype(dtype).kind in "iu":
        return cast(elementwise("floor", points), np.int64)
    return cast(points, dtype)


@function("logspace")
def logspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, base: Any = 10.0,
    dtype: Any = None, axis: int = 0,
) -> Any:  # fmt: skip
    """Powers of the base between ends that may be recording."""
    exponents = linspace(start, stop, num, endpoint, axis=axis)
    if recording(base) and as_array(base).ndim:
        base = np.expand_dims(base, axis)
    return _whole(as_array(np.power(base, exponents)), dtype)


@function("geomspace")
def geomspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    """Equal ratios between ends of one sign that may be recording."""
    first, last = np.broadcast_arrays(floating(start), floating(stop))
    ratio = np.log(last / first)
    share = linspace(np.zeros_like(ratio), ratio, num, endpoint, axis=0)
    points: Any = as_array(first * np.exp(share))
    if endpoint and int(num) > 1:
        end = reshaped(last, [1, *as_array(last).shape])
        points = as_array(np.concatenate([points[:-1], end]))
    if axis:
        points = as_array(np.moveaxis(points, 0, axis_of(axis, points.ndim)))
    return _whole(points, dtype)


def isscalar(element: Any) -> bool:
    """Whether something is a number or a recording scalar."""
    return (recording(element) and not as_array(element).ndim) or np.isscalar(element)


created["isscalar"] = isscalar
