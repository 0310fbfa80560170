"""Functions that move the elements of recording arrays about, in compiled code.

Numba's own function moves the values, and again the slots.  What is a view of the values is made a
view of the slots; everything else goes to memory of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from .arrays import METHODS, allocate, copy_of, joined, tape_of
from .creation import is_float
from .namespace import replaces
from .operators import mode_of
from .reductions import originals, records
from .scalars import is_number
from .types import VarType, make_array, slots_of

MISSING = types.NoneType | types.Omitted


# --- views ----------------------------------------------------------------------------------------


@replaces(*originals("reshape"))
def reshape(a, shape): ...


@overload(reshape)
def _reshape(a, shape):
    if not records(a):
        return lambda a, shape: np.reshape(a, shape)
    make = make_array[a.mode]
    if a.array.layout == "C":
        return lambda a, shape: make(a._values.reshape(shape), a._shift, a._cell)

    def of_copy(a, shape):
        z = copy_of(a)
        return make(z._values.reshape(shape), z._shift, z._cell)

    return of_copy


def reshape_method(a, n, m=None, k=None): ...


@overload(reshape_method)
def _reshape_method(a, n, m=None, k=None):
    """a.reshape(n), a.reshape(n, m), a.reshape(n, m, k) and a.reshape((n, m))."""
    if k is not None and not isinstance(k, MISSING):
        return lambda a, n, m=None, k=None: reshape(a, (n, m, k))
    if m is not None and not isinstance(m, MISSING):
        return lambda a, n, m=None, k=None: reshape(a, (n, m))
    return lambda a, n, m=None, k=None: reshape(a, n)


METHODS["reshape"] = reshape_method


@replaces(*originals("ravel"))
def ravel(a): ...


def _ravel(a):
    if not records(a):
        return lambda a: np.ravel(a)
    if a.ndim == 1:
        return lambda a: a
    return lambda a: reshape(a, (a.size,))


overload(ravel)(_ravel)
METHODS["ravel"] = ravel


def flatten(a): ...


METHODS["flatten"] = flatten


@overload(flatten)
def _flatten(a):
    return lambda a: reshape(copy_of(a), (a.size,))


@replaces(*originals("transpose"))
def transpose(a, axes=None): ...


@overload(transpose)
def _transpose(a, axes=None):
    if not records(a):
        return lambda a, axes=None: np.transpose(a, axes)
    if axes is None or isinstance(axes, MISSING):
        return lambda a, axes=None: a.T
    make = make_array[a.mode]
    return lambda a, axes=None: make(np.transpose(a._values, axes), a._shift, a._cell)


METHODS["transpose"] = transpose


def view(name: str, *parameters: str) -> None:
    """A function that answers a view of its first argument."""
    original = getattr(np, name)
    arguments = ", ".join(["a", *parameters])
    names = ", ".join(p.partition("=")[0] for p in parameters)
    space: dict[str, Any] = {"original": original}
    exec(
        f"def stub({arguments}): ...\ndef plain({arguments}): return original(a, {names})",
        space,
    )
    stub, plain = space["stub"], space["plain"]

    def typed(a, *rest):
        if not records(a):
            return plain
        own: dict[str, Any] = {"original": original, "make": make_array[a.mode]}
        exec(
            f"def viewed({arguments}):\n"
            f"    return make(original(a._values, {names}), a._shift, a._cell)",
            own,
        )
        return own["viewed"]

    exec(f"def shaped({arguments}): return typed(a, {names})", {"typed": typed}, space)
    overload(stub)(space["shaped"])
    replaces(*originals(name))(stub)


for _name, *_parameters in (("flip",), ("fliplr",), ("flipud",), ("expand_dims", "axis"),
                            ("swapaxes", "axis1", "axis2"), ("broadcast_to", "shape"),
                            ("atleast_1d",), ("atleast_2d",)):  # fmt: skip
    view(_name, *_parameters)


# --- moved ----------------------------------------------------------------------------------------


def moved(name: str, *parameters: str) -> None:
    """A function that moves the elements of its first argument into a new array."""
    original = getattr(np, name)
    arguments = ", ".join(["a", *parameters])
    names = ", ".join(p.partition("=")[0] for p in parameters)
    space: dict[str, Any] = {"original": original}
    exec(
        f"def stub({arguments}): ...\ndef plain({arguments}): return original(a, {names})",
        space,
    )
    stub, plain = space["stub"], space["plain"]

    def typed(a, *rest):
        if not records(a):
            return plain
        own = {"original": original, "join": joined(a.mode), "slots_of": slots_of,
               "tape_of": tape_of}  # fmt: skip
        exec(
            f"def copied({arguments}):\n"
            f"    return join(original(a._values, {names}), original(slots_of(a), {names}), "
            "tape_of(a))",
            own,
        )
        return own["copied"]

    exec(f"def shaped({arguments}): return typed(a, {names})", {"typed": typed}, space)
    overload(stub)(space["shaped"])
    replaces(*originals(name))(stub)


for _name, *_parameters in (("roll", "shift"), ("repeat", "repeats"), ("diag", "k=0"),
                            ("triu", "k=0"), ("tril", "k=0"), ("delete", "obj"),
                            ("take", "indices"), ("rot90", "k=1")):  # fmt: skip
    moved(_name, *_parameters)


@replaces(*originals("copy"), *originals("ascontiguousarray"))
def copy(a): ...


@overload(copy)
def _copy(a):
    if not records(a):
        return lambda a: np.copy(a)
    return lambda a: copy_of(a)


def astype(a, dtype): ...


METHODS["astype"] = astype


@overload(astype)
def _astype(a, dtype):
    return (lambda a, dtype: copy_of(a)) if is_float(dtype) else None


def fill(a, value): ...


METHODS["fill"] = fill


@overload(fill)
def _fill(a, value):
    def filled(a, value):
        a[...] = value

    return filled


# --- joined ---------------------------------------------------------------------------------------


def slots_like(a: Any) -> Any:
    """Compiled code: the slots of an array; zeros for a plain one."""


@overload(slots_like)
def _slots_like(a):
    if records(a):
        return lambda a: slots_of(a)
    return lambda a: np.zeros(a.shape, np.uint64)


def values_like(a: Any) -> Any:
    """Compiled code: the values of an array, as floats."""


@overload(values_like)
def _values_like(a):
    if records(a):
        return lambda a: a._values
    if a.dtype == types.float64:
        return lambda a: a
    return lambda a: a.astype(np.float64)


def joiner(name: str, *parameters: str) -> None:
    """A function that joins a tuple of arrays."""
    original = getattr(np, name)
    arguments = ", ".join(["arrays", *parameters])
    names = ", ".join(p.partition("=")[0] for p in parameters)
    space: dict[str, Any] = {"original": original}
    exec(
        f"def stub({arguments}): ...\ndef plain({arguments}): return original(arrays, {names})",
        space,
    )
    stub, plain = space["stub"], space["plain"]

    def typed(arrays, *rest):
        if not isinstance(arrays, types.BaseTuple):
            return None
        mode = mode_of(*arrays.types)
        if not mode:
            return plain
        count = len(arrays.types)
        parts = {what: "".join(f"{what}(arrays[{i}]), " for i in range(count))
                 for what in ("values_like", "slots_like")}  # fmt: skip
        tape = " | ".join(f"tape_of(arrays[{i}])" for i in range(count))
        own = {"original": original, "join": joined(mode), "slots_like": slots_like,
               "values_like": values_like, "tape_of": tape_of}  # fmt: skip
        exec(
            f"def made({arguments}):\n"
            f"    return join(original(({parts['values_like']}), {names}), "
            f"original(({parts['slots_like']}), {names}), {tape})",
            own,
        )
        return own["made"]

    exec(f"def shaped({arguments}): return typed(arrays, {names})", {"typed": typed}, space)
    overload(stub, prefer_literal=True)(space["shaped"])
    replaces(*originals(name))(stub)


for _name, *_parameters in (("concatenate", "axis=0"), ("stack", "axis=0"), ("vstack",),
                            ("hstack",), ("dstack",), ("column_stack",)):  # fmt: skip
    joiner(_name, *_parameters)


# --- with arithmetic ------------------------------------------------------------------------------


@replaces(*originals("diff"))
def diff(a, n=1): ...


@overload(diff)
def _diff(a, n=1):
    if not records(a):
        return lambda a, n=1: np.diff(a, n)

    def differences(a, n=1):
        z = copy_of(a)
        for _ in range(n):
            z = z[..., 1:] - z[..., :-1]
        return copy_of(z)

    return differences


@replaces(*originals("append"))
def append(arr, values): ...


@overload(append)
def _append(arr, values):
    mode = mode_of(arr, values)
    if not mode:
        return lambda arr, values: np.append(arr, values)
    new = allocate(mode)
    if isinstance(values, VarType) or is_number(values):

        def of_scalar(arr, values):
            z = new((arr.size + 1,))
            z[:-1] = arr.ravel()
            z[-1] = values
            return z

        return of_scalar

    def of_arrays(arr, values):
        z = new((arr.size + values.size,))
        z[: arr.size] = arr.ravel()
        z[arr.size :] = values.ravel()
        return z

    return of_arrays
