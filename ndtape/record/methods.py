"""The methods of recording arrays, as on `numpy.ndarray`.

Those that change the shape are here; the others are NumPy's functions of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nest
from ..errors import ShapeError, UnsupportedError
from ..nest import contiguous
from . import core
from .arrays import (
    IMPLEMENTATIONS,
    Array,
    as_array,
    core_functions,
    implements,
    method,
    plain,
    private,
    view,
)
from .calls import Primitive
from .elementwise import cast, elementwise
from .protocol import unsupported
from .values import Var
from .wide import movement

# --- shape ----------------------------------------------------------------------------------------


@method
def reshape(x: Array, *shape: Any, order: str = "C") -> Any:
    """The same elements in another shape; one extent may be -1."""
    if len(shape) == 1 and shape[0].__class__ is tuple:
        (shape,) = shape
    if (
        order == "C"
        and x.strides == contiguous(x.shape)
        and math.prod(shape) == x.size
        and all(n.__class__ is int and n >= 0 for n in shape)
    ):
        return view(x.storage, x.offset, shape, contiguous(shape), x.dtype)
    _check_order("reshape", order)
    wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
    try:
        return movement(np.reshape, x, tuple(map(int, wanted)), order=order)
    except ValueError:
        raise ShapeError(
            f"an array of shape {x.shape} cannot become one of shape {tuple(wanted)} "
            f"[{core.user_line()}]"
        ) from None


def _check_order(name: str, order: str) -> None:
    if order not in ("C", "F"):
        raise UnsupportedError(f"{name} in the order {order!r}: C and F are known")


@method
def transpose(x: Array, *axes: Any) -> Any:
    """A view with the axes in another order, by default reversed."""
    if not axes:
        return view(x.storage, x.offset, x.shape[::-1], x.strides[::-1], x.dtype)
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    return movement(np.transpose, x, order or None)


@method
def swapaxes(x: Array, one: int, other: int) -> Any:
    return movement(np.swapaxes, x, one, other)


@method
def ravel(x: Array, order: str = "C") -> Any:
    """The elements in one row: a view where they lie next to each other, else a copy."""
    _check_order("ravel", order)
    return movement(np.ravel, x, order)


@method
def squeeze(x: Array, axis: Any = None) -> Any:
    return movement(np.squeeze, x, axis)


@method
def diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return movement(np.diagonal, x, offset, axis1, axis2)


@method
def repeat(x: Array, repeats: Any, axis: int | None = None) -> Any:
    return movement(np.repeat, x, repeats, axis)


@method
def copy(x: Array, order: str = "C") -> Any:
    """The same elements; writes into the copy do not reach the original.  Keeps the gradient."""
    if not x.needs_grad:
        return plain(x.value)
    if x.is_leaf:
        return movement(np.copy, x)
    # Elements that share a place (broadcast, sliding windows) get places of their own.
    return elementwise("copy", x) if nest.overlaps(x.shape, x.strides) else private(x)


@method
def flatten(x: Array, order: str = "C") -> Any:
    """A copy with one axis."""
    return copy(reshape(x, (x.size,), order=order))


@method
def astype(x: Array, dtype: Any, **options: Any) -> Any:
    """The elements as float64, float32, int64 or bool; derivatives pass between float types."""
    if options.get("copy") is False and np.dtype(dtype) == x.dtype:
        return x
    return cast(x, dtype)


@method
def fill(x: Array, value: Any) -> None:
    x[...] = value


def broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    """A view of x with the given shape."""
    try:
        return movement(np.broadcast_to, x, shape)
    except ValueError:
        raise ShapeError(
            f"an array of shape {x.shape} cannot be broadcast to {shape} [{core.user_line()}]"
        ) from None


core_functions["broadcast_to"] = broadcast_to


@implements(np.copy)
def _np_copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return a.copy() if isinstance(a, Array) else a


# --- writes to recorded places --------------------------------------------------------------------


def _put(x: np.ndarray, places: np.ndarray, v: np.ndarray) -> np.ndarray:
    if len(places) and not (places.min() >= 0 and places.max() < len(x)):
        raise ShapeError(f"an index lies outside its array of {len(x)} elements")
    result = x.copy()
    result[places.astype(np.int64)] = v
    return result


def _put_vjp(w: Any, z: Any, x: Any, places: Any, v: Any) -> tuple[Any, Any, Any]:
    """Overwritten elements have no derivative; of writes to one place the last one counts.

    With the same operation, so that recorded places are followed in derivatives of derivatives.
    """
    order = np.arange(float(places.shape[0]))
    put, places = core_functions["put"], places.astype(np.int64)
    kept = put(np.ones(x.shape), places, np.zeros(len(order)))
    last = put(np.zeros(x.shape), places, order)[places] == order
    return w * kept, None, w[places] * last


core_functions["put"] = Primitive("put", _put, _put_vjp)
core_functions["nonzero"] = lambda mask: IMPLEMENTATIONS[np.nonzero](mask)

# --- NumPy's functions as methods -----------------------------------------------------------------

NAMES = ("sum", "mean", "prod", "max", "min", "var", "std", "ptp", "any", "all", "cumsum",
         "cumprod", "dot", "trace", "take", "clip", "argmax", "argmin", "argsort", "searchsorted",
         "nonzero", "round", "choose", "put", "argpartition", "conj",
         "conjugate")  # fmt: skip


def delegated(name: str) -> Callable[..., Any]:
    function = getattr(np, name)

    def call(x: Array, *args: Any, **kwargs: Any) -> Any:
        implementation = IMPLEMENTATIONS.get(function)
        if implementation is None:
            raise unsupported(name)
        return implementation(x, *args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"As `np.{name}`."
    return call


@method
def compress(x: Array, condition: Any, axis: int | None = None) -> Any:
    """The elements, or slices along an axis, where the condition holds."""
    return IMPLEMENTATIONS[np.compress](condition, x, axis=axis)


def sort(x: Array, axis: int = -1, kind: Any = None) -> None:
    """Sort in place."""
    x[...] = np.sort(x, axis=axis)


for _name in NAMES:
    method(delegated(_name), _name)
method(sort)
Array.T = property(lambda x: transpose(x))  # type: ignore[attr-defined]
Array.mT = property(lambda x: swapaxes(x, -1, -2))  # type: ignore[attr-defined]
Array.real = property(lambda x: x)  # type: ignore[attr-defined]
Array.flat = property(lambda x: iter(ravel(x)))  # type: ignore[attr-defined]

# --- scalars: what NumPy's scalars have -----------------------------------------------------------

SCALAR_METHODS = ("sum", "mean", "prod", "max", "min", "var", "std", "ptp", "any", "all", "cumsum",
                  "clip", "round", "argmax", "argmin")  # fmt: skip


def _of_scalar(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Var, *args: Any, **kwargs: Any) -> Any:
        return function(as_array(x), *args, **kwargs)

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    return call


for _name in SCALAR_METHODS:
    setattr(Var, _name, delegated(_name))
for _function in (reshape, ravel, flatten, squeeze, repeat):
    setattr(Var, _function.__name__, _of_scalar(_function))
# No __getitem__: NumPy would take a scalar for a sequence.  No dtype: scalars adapt to float32.
for _name, _attribute in {
    "astype": cast,
    "copy": lambda x: x,
    "tolist": lambda x: x.value,
    "shape": (),
    "ndim": 0,
    "size": 1,
    "T": property(lambda x: x),
}.items():
    setattr(Var, _name, _attribute)
