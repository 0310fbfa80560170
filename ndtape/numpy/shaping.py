"""Functions that move elements about: views where NumPy gives views, else one gather.

Each calls NumPy's own function on an array of whole numbers that stand for the elements, so that
its rules about shapes and its errors are NumPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..record.arrays import as_array
from ..record.wide import movement
from .arguments import (
    Array,
    axis_of,
    fail,
    finish,
    invalid,
    plain,
    reshaped,
    static,
    unsupported,
)
from .registry import function, numpys_own


def moved(name: str, f: Callable[..., Any], *arrays: Array, **options: Any) -> Any:
    """`movement`, with NumPy's errors as ours."""
    try:
        return movement(f, *arrays, **options)
    except ValueError as error:
        shapes = " and ".join(str(x.shape) for x in arrays) or "nothing"
        fail(f"np.{name} of shape {shapes}: {error}")


def _ordered(name: str, order: Any) -> Any:
    """Order of elements: C or F.  A and K would depend on where the elements lie in memory."""
    if order not in ("C", "F"):
        unsupported(name, order=order)
    return order


@function("reshape")
def reshape(a: Any, /, shape: Any = None, order: Any = "C", *, newshape: Any = None,
            copy: bool | None = None) -> Any:  # fmt: skip
    """The same elements in another shape: a view where NumPy gives one."""
    shape = newshape if shape is None else shape
    shape = static("reshape", shape=shape)
    x = as_array(a)
    order = _ordered("reshape", order)
    z = finish(moved("reshape", lambda i: np.reshape(i, shape, order=order), x))
    return np.copy(z) if copy else z


@function("ravel")
def ravel(a: Any, order: Any = "C") -> Any:
    """One axis, in C or Fortran order."""
    order = _ordered("ravel", order)
    return moved("ravel", lambda i: np.ravel(i, order=order), as_array(a))


@function("squeeze")
def squeeze(a: Any, axis: Any = None) -> Any:
    """Without axes of size 1."""
    return finish(moved("squeeze", lambda i: np.squeeze(i, axis), as_array(a)))


@function("expand_dims")
def expand_dims(a: Any, axis: Any) -> Any:
    """With new axes of size 1."""
    return moved("expand_dims", lambda i: np.expand_dims(i, axis), as_array(a))


@function("broadcast_to")
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """A view in which elements repeat."""
    shape = static("broadcast_to", shape=shape)
    unsupported("broadcast_to", subok=subok or None)
    return finish(moved("broadcast_to", lambda i: np.broadcast_to(i, shape), as_array(array)))


@function("broadcast_arrays")
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    """Views of one common shape."""
    unsupported("broadcast_arrays", subok=subok or None)
    arrays = [as_array(x) for x in args]
    try:
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
    except ValueError:
        fail(f"np.broadcast_arrays: shapes {', '.join(str(x.shape) for x in arrays)} do not fit")
    return tuple(broadcast_to(x, shape) for x in arrays)


def _plain_movement(name: str, summary: str) -> None:
    """A function whose first argument is data and whose others say where it goes."""
    names = name.split()
    own = numpys_own(names[0])
    if own is None:
        return

    def move(a: Any, *args: Any, **kwargs: Any) -> Any:
        static(names[0], **{f"argument {n + 2}": x for n, x in enumerate(args)}, **kwargs)
        where = plain(args)
        options = {key: plain(value) for key, value in kwargs.items()}
        return finish(moved(names[0], lambda i: own(i, *where, **options), as_array(a)))

    move.__name__ = move.__qualname__ = names[0].split(".")[-1]
    move.__doc__ = summary
    function(*names)(move)


for _names, _summary in (
    ("transpose permute_dims", "Axes in another order: a view."),
    ("matrix_transpose linalg.matrix_transpose", "The last two axes swapped: a view."),
    ("swapaxes", "Two axes swapped: a view."),
    ("moveaxis", "Axes moved to other places: a view."),
    ("rollaxis", "An axis moved backwards: a view."),
    ("diagonal", "A diagonal of two axes: a view, which may be written into."),
    ("flip", "Reversed along axes: a view."),
    ("fliplr", "Reversed along axis 1: a view."),
    ("flipud", "Reversed along axis 0: a view."),
    ("rot90", "Turned by quarter turns: a view."),
    ("roll", "Shifted around along axes."),
    ("repeat", "Elements repeated, each as often as a plain count says."),
    ("tile", "Copies side by side."),
    ("resize", "Repeated or cut to another shape."),
    ("delete", "Without the elements at plain places."),
    ("lib.stride_tricks.sliding_window_view", "All windows of a size: a view."),
):
    _plain_movement(_names, _summary)


def _at_least(ndim: int) -> None:
    own: Callable[..., Any] = getattr(np, f"atleast_{ndim}d")

    def at_least(*arys: Any) -> Any:
        results = [moved(own.__name__, own, as_array(x)) for x in arys]
        return results[0] if len(results) == 1 else tuple(results)

    at_least.__name__ = at_least.__qualname__ = own.__name__
    at_least.__doc__ = f"With at least {ndim} axes: a view."
    function(own.__name__)(at_least)


for _ndim in (1, 2, 3):
    _at_least(_ndim)


# --- matrices: places that no element goes to are -1, the constant 0 ------------------------------


@function("diag")
def diag(v: Any, k: int = 0) -> Any:
    """The diagonal of a matrix (a view), or the matrix that has this one."""
    k = static("diag", k=k)
    x = as_array(v)
    if x.ndim != 1:
        return moved("diag", lambda i: np.diag(i, k), x)
    return moved("diag", lambda i: np.diag(i + 1, k) - 1, x)


@function("diagflat")
def diagflat(v: Any, k: int = 0) -> Any:
    """The matrix that has the flattened elements on its diagonal."""
    k = static("diagflat", k=k)
    return moved("diagflat", lambda i: np.diagflat(i + 1, k) - 1, as_array(v))


@function("tril")
def tril(m: Any, k: int = 0) -> Any:
    """The lower triangle, 0 above."""
    k = static("tril", k=k)
    return moved("tril", lambda i: np.tril(i + 1, k) - 1, as_array(m))


@function("triu")
def triu(m: Any, k: int = 0) -> Any:
    """The upper triangle, 0 below."""
    k = static("triu", k=k)
    return moved("triu", lambda i: np.triu(i + 1, k) - 1, as_array(m))


@function("fill_diagonal")
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """Write into the diagonal, in place."""
    wrap = static("fill_diagonal", wrap=wrap)
    places = np.zeros(a.shape, np.bool_)
    np.fill_diagonal(places, True, wrap)
    index = np.nonzero(places)
    values = reshaped(val, [-1]) if np.ndim(val) else val
    if np.ndim(val) and values.shape[0] != index[0].size:
        values = np.resize(values, index[0].size)
    a[index] = values


@function("linalg.diagonal")
def last_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """A diagonal of the last two axes: a view."""
    return np.diagonal(as_array(x), offset, -2, -1)


@function("astype")
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """Another dtype; float to float keeps the gradient, copy=False is of no consequence."""
    unsupported("astype", device=device)
    return finish(as_array(x).astype(dtype))


@function("copy")
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """A copy: later writes into one are not seen in the other."""
    unsupported("copy", subok=subok or None)
    if order not in ("K", "C", "A", "F"):
        unsupported("copy", order=order)
    return finish(as_array(a).copy())


@function("meshgrid")
def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Any, ...]:
    """Coordinates of a grid, one array for each axis."""
    if indexing not in ("xy", "ij"):
        invalid(f"np.meshgrid: indexing is 'xy' or 'ij', not {indexing!r}")
    n = len(xi)
    order = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else list(range(n))
    views = [
        reshaped(x, [-1 if axis == order[place] else 1 for axis in range(n)])
        for place, x in enumerate(xi)
    ]
    if not sparse:
        views = list(broadcast_arrays(*views))
    return tuple(np.copy(x) if copy else x for x in views)


@function("unstack")
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The slices along an axis, as views."""
    x = as_array(x)
    lead = (slice(None),) * axis_of(axis, x.ndim)
    return tuple(x[(*lead, i)] for i in range(x.shape[axis]))
