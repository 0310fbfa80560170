"""Reading and writing elements: slices are views, writes change maps, neither costs an instruction.

Keys that are known when recorded (numbers, slices, plain masks and integer arrays) are left to
NumPy, applied to an array that stands for the elements.  Keys that are themselves recorded (masks
and integers that depend on numbers) become gathers, so that a replay follows them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GradientLostError, ShapeError
from ..nest import contiguous
from . import core
from .arrays import (
    BOOL,
    FLOAT64,
    Array,
    as_array,
    core_functions,
    method,
    moves,
    of_span,
    plain_value,
    recording,
    storages,
    view,
)
from .elementwise import cast, elementwise
from .lifetime import common_tape
from .operands import entries_of, located
from .storage import ArrayLeaf
from .values import Boolean, Integer, Result, Var
from .wide import dtype_of, movement, scatter_add_flat, shape_of, take_flat

# --- reading --------------------------------------------------------------------------------------


@method
def __getitem__(x: Array, key: Any) -> Any:
    """NumPy's indexing: a view for slices, a scalar for a full set of numbers, else a copy."""
    found = located_by(x, key if key.__class__ is tuple else (key,))
    if found is not None:
        offset, shape, strides = found
        if shape or _has_ellipsis(key):
            return view(x.storage, offset, shape, strides, x.dtype)
        return element(x, offset)
    try:
        if _is_recorded(key):
            return _gathered(x, key)
        key = _plain_key(key)
        if _is_advanced(key):
            return movement(lambda a: a[key], x)
        layout = x.layout()[key]
    except IndexError as error:
        raise ShapeError(f"{error}: shape {x.shape} [{core.user_line()}]") from None
    if layout.__class__ is np.int8:
        return element(x, x.offset + int(x.places()[key] - x.offset))
    return x.seen_as(layout)


def _has_ellipsis(key: Any) -> bool:
    """Then NumPy gives an array of shape () in the place of a scalar."""
    return key.__class__ is tuple and any(k is Ellipsis for k in key)


Located = tuple[int, tuple[int, ...], tuple[int, ...]]


def located_by(x: Array, keys: tuple[Any, ...]) -> Located | None:
    """Offset, shape and strides of what whole numbers, slices and None choose; None for others.

    Indices outside are left to NumPy, for its errors.
    """
    shape, strides = [], []
    offset, axis = x.offset, 0
    for k in keys:
        if k is None:
            shape.append(1)
            strides.append(0)
            continue
        if axis == len(x.shape):
            return None
        n, step = x.shape[axis], x.strides[axis]
        axis += 1
        if k.__class__ is int:
            if not -n <= k < n:
                return None
            offset += (k + n if k < 0 else k) * step
        elif k.__class__ is slice:
            try:
                first, last, jump = k.indices(n)
            except (TypeError, ValueError):
                return None
            count = len(range(first, last, jump))
            offset += first * step if count else 0
            shape.append(count)
            strides.append(jump * step)
        else:
            return None
    return offset, (*shape, *x.shape[axis:]), (*strides, *x.strides[axis:])


def element(x: Array, place: int) -> Any:
    """The scalar at a place of the storage: its slot, or a constant."""
    storage = x.storage
    if storage.map is None and storage.tape is not None:
        with core.growth:  # a compaction in another thread must find the result or move it first
            if storage.map is None:
                return of_span(storage.tape, storage.slot + place, (), x.dtype)
    if x.needs_grad and core.recording():
        with core.growth:
            tape = core.current() if storage.tape is None else common_tape(storages([x]))
            start, _, is_constant = located(tape, view(storage, place, (), (), x.dtype))
            if not is_constant:
                return of_span(tape, start, (), x.dtype)
            return plain_element(float(tape.constants[start]), x)
    return plain_element(float(storage.numbers(np.array(place))), x)


def plain_element(number: float, x: Array) -> Any:
    """An element that has no gradient, as NumPy would give it."""
    return x.dtype.type(number)


def _plain_key(key: Any) -> Any:
    """The key with our own constants as plain numbers."""
    if isinstance(key, tuple):
        return tuple(_plain_key(k) for k in key)
    if isinstance(key, Array):
        return key.value
    if isinstance(key, Integer):
        return int(key)
    if isinstance(key, Var):
        raise ShapeError(
            f"a recording {'boolean' if isinstance(key, Boolean) else 'float'} is no index: "
            "math.floor(x) and round(x) give recorded integers, nt.where chooses"
        )
    return key


def _parts(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _is_advanced(key: Any) -> bool:
    """Whether NumPy copies: some index is an array or a list."""
    return any(isinstance(k, (list, np.ndarray, bool, np.bool_)) for k in _parts(key))


def _is_recorded(key: Any) -> bool:
    """Whether some index depends on recorded numbers."""
    if key.__class__ is slice or key.__class__ is int:
        return False
    return core.recording() and any(
        isinstance(k, (Array, Integer)) and moves(k) for k in _parts(key)
    )


# --- keys that are recorded -----------------------------------------------------------------------


def _gathered(x: Array, key: Any) -> Any:
    _check_kinds(key)
    return take_flat(x, flat_places(x, key))


def _check_kinds(key: Any) -> None:
    for k in _parts(key):
        if isinstance(k, Array) and k.dtype.kind == "f":
            raise ShapeError(f"an array of {k.dtype} is no index [{core.user_line()}]")


def flat_places(x: Array, key: Any) -> Any:
    """For a key that is recorded, the recorded places in `x.ravel()`; out of bounds is an error."""
    parts = list(_parts(key))
    expanded = _expanded(x, parts)
    adv = [j for j, k in enumerate(expanded) if isinstance(k, (Array, Integer, list, np.ndarray))]
    indices = [as_array(expanded[j]) for j in adv]
    shape = np.broadcast_shapes(*[i.shape for i in indices])
    # NumPy decides the shape of the result and which element of the index goes where.
    axes = _axes_of(expanded, adv)
    base = np.arange(x.size).reshape(x.shape)
    zeros: list[Any] = list(expanded)
    which: list[Any] = list(expanded)
    count = int(np.prod(shape, dtype=np.int64))
    for j in adv:
        zeros[j] = which[j] = np.zeros(shape, np.int64)
    which[adv[0]] = np.arange(count).reshape(shape)
    extents = list(x.shape)
    extents[axes[0]] = max(count, 1)
    counter = np.broadcast_to(
        np.arange(extents[axes[0]]).reshape([-1 if a == axes[0] else 1 for a in range(x.ndim)]),
        extents,
    )
    places: Any = base[tuple(zeros)] if x.size else np.zeros(counter[tuple(which)].shape, np.int64)
    order = counter[tuple(which)]
    strides = contiguous(x.shape)
    for index, axis in zip(indices, axes, strict=True):
        wanted = _within(index, x.shape[axis], check=x.ndim > 1)
        spread = core_functions["broadcast_to"](wanted, shape)
        places = places + strides[axis] * movement(lambda a: a.ravel()[order], spread)
    return places


def _expanded(x: Array, parts: list[Any]) -> list[Any]:
    """The key with masks as integers and Ellipsis spelt out."""
    result: list[Any] = []
    for k in parts:
        if isinstance(k, (Array, np.ndarray)) and k.dtype == BOOL:
            result += core_functions["nonzero"](k)
        else:
            result.append(k)
    used = sum(1 for k in result if k is not None and k is not Ellipsis)
    missing = [slice(None)] * (x.ndim - used)
    if used > x.ndim:
        raise ShapeError(f"too many indices for an array of shape {x.shape} [{core.user_line()}]")
    for j, k in enumerate(result):
        if k is Ellipsis:
            return [*result[:j], *missing, *result[j + 1 :]]
    return result + missing


def _axes_of(expanded: list[Any], adv: list[int]) -> list[int]:
    """The axis of x that each advanced index runs along."""
    axis, axes = 0, []
    for j, k in enumerate(expanded):
        if j in adv:
            axes.append(axis)
        axis += k is not None
    return axes


def _within(index: Array, n: int, check: bool) -> Any:
    """Indices counted from the front; outside, an error now and nan in a replay."""
    numbers = index.value
    if numbers.size and not (-n <= numbers.min() and numbers.max() < n):
        bad = numbers[(numbers < -n) | (numbers >= n)].flat[0]
        raise ShapeError(f"index {bad} is out of bounds for an axis of {n} [{core.user_line()}]")
    positive = elementwise(
        "where", elementwise("less", index, 0), elementwise("add", index, n), index
    )
    if not check:
        return positive
    inside = elementwise("logical_and", elementwise("greater_equal", positive, 0),
                         elementwise("less", positive, n))  # fmt: skip
    return elementwise("where", inside, positive, float("nan"))


# --- writing --------------------------------------------------------------------------------------


@method
def __setitem__(x: Array, key: Any, value: Any) -> None:
    """NumPy's assignment: `value` is broadcast, and every view of the storage sees it."""
    if value.__class__ is Result and _write_one(x, key, value):
        return
    if _is_recorded(key):
        _write_recorded(x, key, value)
        return
    try:
        places = x.places()[_plain_key(key)]
    except IndexError as error:
        raise ShapeError(f"{error}: shape {x.shape} [{core.user_line()}]") from None
    write(x, np.asarray(places), value)


def _write_one(x: Array, key: Any, value: Result) -> bool:
    """Point one element of an array at a scalar result; False where `write` must."""
    storage = x.storage
    if x.dtype is not FLOAT64 or storage.__class__ is ArrayLeaf or not core.recording():
        return False
    if 0 in x.strides:  # perhaps a broadcast view
        return False
    found = located_by(x, key if key.__class__ is tuple else (key,))
    tape = value.tape
    if found is None or found[1] or tape.joined is not None:
        return False
    if storage.tape is not tape and storage.tape is not None:
        return False
    with core.growth:
        storage.mapped(tape)[found[0]] = value.slot
    return True


def write(x: Array, places: np.ndarray, value: Any) -> None:
    """Give the elements at `places` of the storage of x the elements of `value`."""
    storage = x.storage
    if _is_itself(x, places, value):  # x[1:] += 1 ends with such a write
        return
    if any(step == 0 and n > 1 for step, n in zip(x.strides, x.shape, strict=True)):
        raise ShapeError(
            f"a write into a broadcast view of shape {x.shape}, several of whose elements are one: "
            f"write into a copy, x.copy() [{core.user_line()}]"
        )
    if isinstance(value, (list, tuple)):
        value = as_array(value)
    shape = value.shape if isinstance(value, Array) else np.shape(plain_value(value))
    if not _fits(shape, places.shape):
        raise ShapeError(
            f"values of shape {shape} cannot be written to elements of shape {places.shape} "
            f"[{core.user_line()}]"
        )
    if not moves(value) or not (core.recording() or isinstance(storage, ArrayLeaf)):
        numbers = np.asarray(plain_value(value)).astype(x.dtype).astype(np.float64)
        storage.write(places, np.broadcast_to(_trimmed(numbers, places.ndim), places.shape))
        return
    value = _cast_for(x, value)
    with core.growth:
        tape = common_tape([*storages([x, value])])
        storage.writable()
        if places.size == storage.size and _whole(storage, places):
            start, strides, is_constant = located(tape, as_array(value))
            if not is_constant and strides == contiguous(shape) and shape == places.shape:
                storage.replace(tape, start)
                return
        entries = entries_of(tape, value).reshape(shape)
        storage.point(tape, places, np.broadcast_to(_trimmed(entries, places.ndim), places.shape))


def _whole(storage: Any, places: np.ndarray) -> bool:
    return bool(np.array_equal(places.ravel(), np.arange(storage.size)))


def _is_itself(x: Array, places: np.ndarray, value: Any) -> bool:
    return (
        isinstance(value, Array)
        and value.storage is x.storage
        and value.shape == places.shape
        and np.array_equal(value.places(), places)
    )


def _fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    extra = len(shape) - len(target)
    if extra > 0:
        if any(n != 1 for n in shape[:extra]):
            return False
        shape = shape[extra:]
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


def _trimmed(values: np.ndarray, ndim: int) -> np.ndarray:
    """Without leading axes of extent 1 that the target lacks."""
    while values.ndim > ndim:
        values = values[0]
    return values


def _cast_for(x: Array, value: Any) -> Any:
    """The value in the dtype of the array it goes to."""
    source = value.dtype if isinstance(value, Array) else as_array(value).dtype
    if source == x.dtype or (x.dtype == np.float64 and source.kind != "c"):
        return value
    if source.kind == "f" and x.dtype.kind in "ib":
        raise GradientLostError(
            f"a write of recording floats into an array of {x.dtype} would truncate them and drop "
            "their gradient: make the array of floats, or write np.trunc(v).astype(int) "
            f"[{core.user_line()}]"
        )
    return cast(value, x.dtype)


def _write_recorded(x: Array, key: Any, value: Any) -> None:
    """A write to places that depend on numbers: all elements become new ones."""
    _check_kinds(key)
    if isinstance(key, Array) and key.dtype == BOOL and key.shape == x.shape:
        if not (shape := _shape(value)) or int(np.prod(shape)) == 1:
            only = value if not shape else as_array(value).reshape(())
            x[...] = elementwise("where", key, only, x)
            return
    places = as_array(flat_places(x, key))
    spread = core_functions["broadcast_to"](as_array(value), places.shape)
    flat = core_functions["put"](
        x.reshape((x.size,)), places.reshape((places.size,)), spread.reshape((places.size,))
    )
    x[...] = flat.reshape(x.shape)


def _shape(value: Any) -> tuple[int, ...]:
    return value.shape if isinstance(value, Array) else np.shape(plain_value(value))


# --- in place -------------------------------------------------------------------------------------


def in_place(name: str) -> Any:
    """The operator `x += y`: the elements of x, and so of its views, become the result."""

    def operator(x: Array, other: Any) -> Array:
        result = elementwise_by_name(name, x, other)
        if shape_of(result) != x.shape:
            raise ShapeError(
                f"{name} in place: a result of shape {shape_of(result)} does not fit an array of "
                f"shape {x.shape} [{core.user_line()}]"
            )
        if not np.can_cast(dtype_of(result), x.dtype, "same_kind"):
            raise ShapeError(
                f"{name} in place: a result of {dtype_of(result)} does not fit an array of "
                f"{x.dtype} [{core.user_line()}]"
            )
        write(x, x.places(), result)
        return x

    return operator


def elementwise_by_name(name: str, x: Any, y: Any) -> Any:
    return core_functions[name](x, y)


def add_at(x: Array, key: Any, v: Any, sign: float = 1.0) -> None:
    """`np.add.at(x, key, v)`: adds once for every time that a place is named."""
    if _is_recorded(key):
        places = as_array(flat_places(x, key))
    else:
        try:
            places = as_array(np.arange(x.size).reshape(x.shape)[_plain_key(key)])
        except IndexError as error:
            raise ShapeError(f"{error}: shape {x.shape} [{core.user_line()}]") from None
    spread = core_functions["broadcast_to"](as_array(v), places.shape)
    if sign != 1.0:
        spread = elementwise("multiply", spread, sign)
    flat = scatter_add_flat(
        x.reshape((x.size,)), places.reshape((places.size,)), spread.reshape((places.size,))
    )
    if not recording(flat):
        flat = as_array(flat)
    x[...] = flat.reshape(x.shape)
