"""Sorting and searching.

Positions and counts are recording integers: computed anew in every sweep, without derivative.
Sorted values carry the gradients of the entries they are; where entries are equal, the entry that
the sort puts there gets it (a subgradient).  Functions whose result would change its *shape* with
the numbers are refused: a tape has one shape for each value.
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from ..numpy.registry import function, refuse
from ..record.arrays import recording
from ..record.calls import Primitive, call
from ..record.core import user_line
from .stacks import operand

WHOLE = (np.dtype(np.int64),)

# --- positions ------------------------------------------------------------------------------------


def _argsort_value(a: Any, axis: int, kind: Any) -> Any:
    return np.argsort(a, axis=axis, kind=kind)


def _argpartition_value(a: Any, kth: Any, axis: int, kind: Any) -> Any:
    return np.argpartition(a, kth, axis=axis, kind=kind)


def _argmax_value(a: Any, axis: Any, keepdims: bool) -> Any:
    return np.asarray(np.argmax(a, axis=axis, keepdims=keepdims))


def _argmin_value(a: Any, axis: Any, keepdims: bool) -> Any:
    return np.asarray(np.argmin(a, axis=axis, keepdims=keepdims))


def _searchsorted_value(a: Any, v: Any, side: Any) -> Any:
    return np.asarray(np.searchsorted(a, v, side=side))


def _digitize_value(x: Any, bins: Any, right: bool) -> Any:
    return np.asarray(np.digitize(x, bins, right=right))


ARGSORT = Primitive("argsort", _argsort_value, dtypes=WHOLE, doc="positions in ascending order")
ARGPARTITION = Primitive("argpartition", _argpartition_value, dtypes=WHOLE, doc="argpartition")
ARGMAX = Primitive("argmax", _argmax_value, dtypes=WHOLE, doc="position of the largest entry")
ARGMIN = Primitive("argmin", _argmin_value, dtypes=WHOLE, doc="position of the smallest entry")
SEARCHSORTED = Primitive("searchsorted", _searchsorted_value, dtypes=WHOLE, doc="where to insert")
DIGITIZE = Primitive("digitize", _digitize_value, dtypes=WHOLE, doc="number of the bin")


def _along(a: Any, axis: Any) -> tuple[Any, int]:
    """An array and an axis >= 0 to sort along; axis=None is the array in one row, as in NumPy."""
    a = operand(a)
    if axis is None:
        return np.reshape(a, (-1,)), 0
    if not -a.ndim <= axis < a.ndim:
        raise ArgumentError(f"axis {axis} of an array of shape {a.shape} [{user_line()}]")
    return a, index(axis) % a.ndim


def _unordered(order: Any) -> None:
    if order is not None:
        raise UnsupportedError("order= is for structured arrays, which ndtape does not record")


def _kind(kind: Any, stable: Any) -> Any:
    return "stable" if stable else kind


@function("argsort")
def argsort(
    a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
) -> Any:
    """Positions that sort `a`, recording integers.

    >>> import numpy as np
    >>> argsort(np.array([3.0, 1.0, 2.0]))
    array([1, 2, 0])
    """
    _unordered(order)
    a, axis = _along(a, axis)
    return call(ARGSORT, {"axis": axis, "kind": _kind(kind, stable)}, a)


@function("sort")
def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    """`a` in ascending order; the gradient of each entry goes where the entry came from.

    >>> import numpy as np
    >>> sort(np.array([3.0, 1.0, 2.0]))
    array([1., 2., 3.])
    """
    _unordered(order)
    a, axis = _along(a, axis)
    return np.take_along_axis(a, argsort(a, axis, kind, stable=stable), axis)


@function("argpartition")
def argpartition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """Positions that put the kth entry where sorting puts it, and no larger one before it.

    >>> import numpy as np
    >>> int(argpartition(np.array([3.0, 1.0, 2.0]), 1)[1])
    2
    """
    _unordered(order)
    a, axis = _along(a, axis)
    if recording(kth):
        raise UnsupportedError(f"argpartition: kth must be a plain number [{user_line()}]")
    return call(ARGPARTITION, {"kth": kth, "axis": axis, "kind": kind}, a)


@function("partition")
def partition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """`a` in the order of `argpartition`.

    >>> import numpy as np
    >>> float(partition(np.array([3.0, 1.0, 2.0]), 1)[1])
    2.0
    """
    a, axis = _along(a, axis)
    return np.take_along_axis(a, argpartition(a, kth, axis, kind, order), axis)


def _position(name: str, which: Primitive, a: Any, axis: Any, out: Any, keepdims: bool) -> Any:
    if out is not None:
        raise UnsupportedError(f"{name} with out=: assign the result instead")
    a = operand(a)
    if axis is not None:
        _along(a, axis)
    if a.size == 0 and (axis is None or a.shape[axis] == 0):
        raise ArgumentError(f"{name} of nothing: shape {a.shape}, axis {axis} [{user_line()}]")
    return call(which, {"axis": axis, "keepdims": bool(keepdims)}, a)


@function("argmax")
def argmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Position of the largest entry, of the first one where several are equal.

    >>> import numpy as np
    >>> int(argmax(np.array([3.0, 1.0, 3.0])))
    0
    """
    return _position("argmax", ARGMAX, a, axis, out, keepdims)


@function("argmin")
def argmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
    """Position of the smallest entry, of the first one where several are equal.

    >>> import numpy as np
    >>> int(argmin(np.array([3.0, 1.0, 3.0])))
    1
    """
    return _position("argmin", ARGMIN, a, axis, out, keepdims)


@function("searchsorted")
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """Where to insert `v` into the ascending vector `a` so that it stays ascending.

    >>> import numpy as np
    >>> searchsorted(np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.5]))
    array([0, 2])
    """
    a, v = operand(a), operand(v)
    if a.ndim != 1:
        raise ArgumentError(
            f"searchsorted: a vector is needed, not shape {a.shape} [{user_line()}]"
        )
    if sorter is not None:
        a = np.take_along_axis(a, operand(sorter), 0)
    return call(SEARCHSORTED, {"side": side}, a, v)


@function("digitize")
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """The number of the bin of each entry; `bins` is a monotonic vector.

    >>> import numpy as np
    >>> digitize(np.array([0.5, 2.5]), np.array([1.0, 2.0, 3.0]))
    array([0, 2])
    """
    return call(DIGITIZE, {"right": bool(right)}, operand(x), operand(bins))


# --- what has no place on a tape ------------------------------------------------------------------

refuse(
    "unique", "the shape would depend on the numbers; np.sort(x) keeps it, x.value has the numbers"
)
refuse("lexsort", "np.argsort(x, kind='stable'), once for each key, gives the same order")
