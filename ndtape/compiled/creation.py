"""Functions that make arrays: inside a recording function, arrays that may hold recorded values.

`np.zeros(n)` in the user's source makes a recording array when the function records, so that one
source serves both runs.  Arrays of whole numbers and truth values stay Numba's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from ..numpy import creation as own
from .arrays import allocate, tuple_of
from .namespace import _float, makes, replaces
from .operators import mode_of
from .scalars import is_number
from .types import ArrayType, VarType


def is_float(dtype: Any) -> bool:
    """Whether a dtype argument means floats; none given does."""
    if dtype is None or isinstance(dtype, types.NoneType | types.Omitted):
        return True
    if getattr(dtype, "typing_key", None) is _float:
        return True
    return isinstance(getattr(dtype, "dtype", None), types.Float)


def _of_shape(original: Any, number: float) -> Callable[[str], Any]:
    def make(mode: str) -> Any:
        new = allocate(mode, number)

        def stub(shape, dtype=None): ...

        @overload(stub)
        def typed(shape, dtype=None):
            if not is_float(dtype):
                return lambda shape, dtype=None: original(shape, dtype)

            def made(shape, dtype=None):
                return new(tuple_of(shape))

            return made

        return stub

    return make


for _name, _number in (("zeros", 0.0), ("ones", 1.0), ("empty", 0.0)):
    makes(getattr(np, _name), getattr(own, _name))(_of_shape(getattr(np, _name), _number))


def _like(original: Any, number: float) -> Callable[[str], Any]:
    def make(mode: str) -> Any:
        new = allocate(mode, number)

        def stub(a, dtype=None): ...

        @overload(stub)
        def typed(a, dtype=None):
            plain = isinstance(a, types.Array) and not isinstance(a.dtype, types.Float)
            if not is_float(dtype) or plain:
                return lambda a, dtype=None: original(a, dtype)

            def made(a, dtype=None):
                return new(a.shape)

            return made

        return stub

    return make


for _name, _number in (("zeros_like", 0.0), ("ones_like", 1.0), ("empty_like", 0.0)):
    makes(getattr(np, _name))(_like(getattr(np, _name), _number))


@makes(np.full, own.full)
def _full(mode: str) -> Any:
    new = allocate(mode)

    def stub(shape, fill_value, dtype=None): ...

    @overload(stub)
    def typed(shape, fill_value, dtype=None):
        if not is_float(dtype) or (
            is_number(fill_value) and not isinstance(fill_value, types.Float)
        ):
            return lambda shape, fill_value, dtype=None: np.full(shape, fill_value, dtype)

        def made(shape, fill_value, dtype=None):
            z = new(tuple_of(shape))
            z[...] = fill_value
            return z

        return made

    return stub


@makes(np.full_like)
def _full_like(mode: str) -> Any:
    new = allocate(mode)

    def stub(a, fill_value): ...

    @overload(stub)
    def typed(a, fill_value):
        def made(a, fill_value):
            z = new(a.shape)
            z[...] = fill_value
            return z

        return made

    return stub


# --- from numbers ---------------------------------------------------------------------------------


def _array_stub(a, dtype=None): ...


replaces(np.array, np.asarray, own.array)(_array_stub)


@overload(_array_stub)
def _array(a, dtype=None):
    """np.array of a list or tuple, nested once or twice, of an array, or of a scalar."""
    if isinstance(a, ArrayType):
        return lambda a, dtype=None: a.copy()
    mode = _mode_inside(a)
    if not mode:
        return (lambda a, dtype=None: np.array(a)) if is_float(dtype) else (
            lambda a, dtype=None: np.array(a, dtype)
        )  # fmt: skip
    if isinstance(a, types.List):
        return _from_rows(mode, a.dtype)
    if isinstance(a, types.UniTuple):
        return _from_rows(mode, a.dtype)
    if isinstance(a, types.BaseTuple):
        return _from_mixed(mode, a)
    return None


def _mode_inside(t: Any) -> str:
    found = mode_of(t)
    if found:
        return found
    inside = getattr(t, "types", None) or [getattr(t, "dtype", None)]
    return next(
        (m for m in (_mode_inside(x) for x in inside if x is not None and x is not t) if m), ""
    )


def _from_rows(mode: str, item: Any) -> Any:
    new = allocate(mode)
    if isinstance(item, VarType) or is_number(item):

        def from_scalars(a, dtype=None):
            z = new((len(a),))
            for i in range(len(a)):
                z[i] = a[i]
            return z

        return from_scalars
    if isinstance(item, ArrayType):

        def from_arrays(a, dtype=None):
            z = new((len(a), *a[0].shape))
            for i in range(len(a)):
                z[i] = a[i]
            return z

        return from_arrays

    def from_sequences(a, dtype=None):
        z = new((len(a), len(a[0])))
        for i in range(len(a)):
            for j in range(len(a[i])):
                z[i, j] = a[i][j]
        return z

    return from_sequences


def _from_mixed(mode: str, t: types.BaseTuple) -> Any:
    """Of a tuple of recording values and plain numbers; or of such tuples."""
    new = allocate(mode)
    nested = [x for x in t.types if isinstance(x, types.BaseTuple)]
    lines = ["def made(a, dtype=None):"]
    if nested:
        if len(nested) < len(t.types) or len({len(x.types) for x in nested}) > 1:
            return None
        lines.append(f"    z = new(({len(t.types)}, {len(nested[0].types)}))")
        lines += [f"    z[{i}, {j}] = a[{i}][{j}]"
                  for i, x in enumerate(nested) for j in range(len(x.types))]  # fmt: skip
    else:
        lines.append(f"    z = new(({len(t.types)},))")
        lines += [f"    z[{i}] = a[{i}]" for i in range(len(t.types))]
    space: dict[str, Any] = {"new": new}
    exec("\n".join([*lines, "    return z"]), space)
    return space["made"]
