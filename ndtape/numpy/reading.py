"""Functions that answer with plain numbers, text or files: what they read has no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..record.arrays import as_array, recording
from .arguments import plain
from .registry import function


@function("shape")
def shape(a: Any) -> tuple[int, ...]:
    """The shape: plain numbers."""
    return tuple(as_array(a).shape)


@function("ndim")
def ndim(a: Any) -> int:
    """Number of axes: a plain number."""
    return int(as_array(a).ndim)


@function("size")
def size(a: Any, axis: Any = None) -> int:
    """Number of elements: a plain number."""
    extents = as_array(a).shape
    if axis is None:
        return int(np.prod(extents, dtype=np.int64))
    axes = axis if isinstance(axis, tuple) else (axis,)
    return int(np.prod([extents[i] for i in axes], dtype=np.int64))


@function("result_type")
def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype that an operation on arrays would have."""
    return np.result_type(*(as_array(x).dtype if recording(x) else x for x in arrays_and_dtypes))


@function("common_type")
def common_type(*arrays: Any) -> Any:
    """The floating type that holds all arrays."""
    return np.common_type(*(np.empty(0, as_array(x).dtype) for x in arrays))


@function("can_cast")
def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Whether a dtype goes into another."""
    return np.can_cast(as_array(from_).dtype if recording(from_) else from_, to, casting)


@function("min_scalar_type")
def min_scalar_type(a: Any, /) -> np.dtype[Any]:
    """The dtype of an array; that of a scalar depends on its number, which is read."""
    return np.min_scalar_type(plain(a))


@function("iscomplexobj")
def iscomplexobj(x: Any) -> bool:
    """False: recording arrays are real."""
    return False


@function("isrealobj")
def isrealobj(x: Any) -> bool:
    """True: recording arrays are real."""
    return True


@function("array_equal")
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Whether shapes and numbers agree: a plain bool."""
    x, y = as_array(a1), as_array(a2)
    if x.shape != y.shape:
        return False
    same: Any = x == y
    if equal_nan:
        same = same | (np.isnan(x) & np.isnan(y))
    return bool(np.all(same))  # recorded up to here: a guard, where a function is traced


@function("array_equiv")
def array_equiv(a1: Any, a2: Any) -> bool:
    """Whether numbers agree after broadcasting: a plain bool."""
    x, y = as_array(a1), as_array(a2)
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return False
    return bool(np.all(x == y))


@function("allclose")
def allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close: a plain bool.  `np.isclose(...).all()` is recorded."""
    return bool(np.all(np.isclose(a, b, rtol, atol, equal_nan)))


@function("may_share_memory", "shares_memory")
def may_share_memory(a: Any, b: Any, /, max_work: Any = None) -> bool:
    """Whether a write into one may be seen in the other."""
    if not (recording(a) and recording(b)):
        return False
    storage = getattr(a, "storage", None)
    return storage is not None and storage is getattr(b, "storage", None)


@function("array2string")
def array2string(a: Any, *args: Any, **kwargs: Any) -> str:
    """The numbers as text."""
    return np.array2string(np.asarray(plain(a)), *args, **kwargs)


@function("array_repr")
def array_repr(arr: Any, *args: Any, **kwargs: Any) -> str:
    """The numbers as text, as an array's repr."""
    return np.array_repr(np.asarray(plain(arr)), *args, **kwargs)


@function("array_str")
def array_str(a: Any, *args: Any, **kwargs: Any) -> str:
    """The numbers as text."""
    return np.array_str(np.asarray(plain(a)), *args, **kwargs)


def _writer(name: str) -> None:
    own = getattr(np, name)

    def write(file: Any, *args: Any, **kwargs: Any) -> None:
        numbers = {key: plain(value) for key, value in kwargs.items()}
        own(file, *(plain(x) for x in args), **numbers)

    write.__name__ = write.__qualname__ = name
    write.__doc__ = "Writes the numbers to a file."
    function(name)(write)


for _name in ("save", "savetxt", "savez", "savez_compressed"):
    _writer(_name)
