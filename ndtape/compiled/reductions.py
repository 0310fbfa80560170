"""Sums, products, extremes and the like of recording arrays, in compiled code.

On a linear tape a sum of n elements is one result with n entries, not a chain of n additions; so
are products, variances and norms.  Tapes of instructions get the chain.
"""

from __future__ import annotations

import builtins
import types as python_types
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, overload

from .. import numpy as own
from .._jit import f8_at, u8, u8_at
from .arrays import METHODS, allocate
from .memory import NEXT
from .namespace import replaces
from .operators import lifted, mode_of
from .room import STEP, closed, noted, room
from .scalars import ONE, ZERO, recorder
from .types import LINEAR, ArrayType, make_scalar
from .views import (
    Line,
    View,
    call_words,
    compact,
    kernel,
    line,
    made_scalar,
    number,
    offset,
    over,
    put_at,
    set_tape,
    stop,
)
from .views import (
    allocate as allocated,
)

# --- on linear tapes ------------------------------------------------------------------------------


@kernel
def linear_sum(header, values, slots, count, stride, slot_stride):
    """(tape, slot, value) of the sum of a vector."""
    total = 0.0
    if header == ZERO:
        for i in range(count):
            total += f8_at(values + u8(i) * stride)[0]
        return ZERO, ZERO, total
    start = cursor = room(header, count)
    result = u8_at(header)[NEXT]
    for i in range(count):
        total += f8_at(values + u8(i) * stride)[0]
        slot = u8_at(slots + u8(i) * slot_stride)[0]
        cursor = noted(cursor, result, 1.0, slot)
    return header, closed(header, start, cursor, result), total


@kernel
def linear_product(header, values, slots, count, stride, slot_stride):
    """The product: a partial derivative is the product of those before and of those after."""
    total = 1.0
    if header == ZERO:
        for i in range(count):
            total *= f8_at(values + u8(i) * stride)[0]
        return ZERO, ZERO, total
    start = cursor = room(header, count)
    result = u8_at(header)[NEXT]
    for i in range(count):
        slot = u8_at(slots + u8(i) * slot_stride)[0]
        cursor = noted(cursor, result, total, slot)
        total *= f8_at(values + u8(i) * stride)[0]
    after, p = 1.0, cursor
    for k in range(count):
        i = u8(count) - u8(k) - ONE
        if u8_at(slots + i * slot_stride)[0] != ZERO:
            p -= STEP
            f8_at(p)[0] *= after
        after *= f8_at(values + i * stride)[0]
    return header, closed(header, start, cursor, result), total


@kernel
def linear_variance(header, values, slots, count, stride, slot_stride):
    """The variance of a vector, as Numba computes it: (x - mean)^2 / n."""
    mean = 0.0
    for i in range(count):
        mean += f8_at(values + u8(i) * stride)[0]
    mean /= count
    total = 0.0
    for i in range(count):
        d = f8_at(values + u8(i) * stride)[0] - mean
        total += d * d
    total /= count
    if header == ZERO:
        return ZERO, ZERO, total
    start = cursor = room(header, count)
    result = u8_at(header)[NEXT]
    for i in range(count):
        slot = u8_at(slots + u8(i) * slot_stride)[0]
        cursor = noted(
            cursor, result, 2.0 * (f8_at(values + u8(i) * stride)[0] - mean) / count, slot
        )
    return header, closed(header, start, cursor, result), total


@kernel
def linear_norm(header, values, slots, count, stride, slot_stride):
    """The Euclidean norm, scaled by the largest element; at 0 its derivative is 0."""
    largest = 0.0
    for i in range(count):
        size = abs(f8_at(values + u8(i) * stride)[0])
        if not size <= largest:
            largest = size
    total = 0.0
    if largest > 0.0 and largest < np.inf:
        for i in range(count):
            d = f8_at(values + u8(i) * stride)[0] / largest
            total += d * d
        total = largest * np.sqrt(total)
    else:
        total = largest
    if header == ZERO or total == 0.0:
        return ZERO, ZERO, total
    start = cursor = room(header, count)
    result = u8_at(header)[NEXT]
    for i in range(count):
        slot = u8_at(slots + u8(i) * slot_stride)[0]
        cursor = noted(cursor, result, f8_at(values + u8(i) * stride)[0] / total, slot)
    return header, closed(header, start, cursor, result), total


# --- chains of operations -------------------------------------------------------------------------


def in_mode(function: Any, mode: str, **names: Any) -> Any:
    """A compiled helper that records: `row_add` in its text is the row's recorder in a mode."""
    rows = {
        name: recorder(name.removeprefix("row_"), mode)
        for name in function.__code__.co_names
        if name.startswith("row_")
    }
    known = {**function.__globals__, **rows, "lift": lifted(mode), **names}
    made = python_types.FunctionType(function.__code__, known, function.__name__)
    made.__module__ = function.__module__
    made.__qualname__ = "_".join([function.__name__, mode, *names.get("tag", "").split()])
    return kernel(made)


@cache
def element(mode: str) -> Any:
    """The compiled function (header, values, slots, i, stride, slot_stride) -> recording scalar."""
    return in_mode(_element, mode, make=make_scalar[mode])


def _element(header, values, slots, i, stride, slot_stride):
    slot = u8_at(slots + u8(i) * slot_stride)[0]
    x = f8_at(values + u8(i) * stride)[0]
    return make(header if slot != ZERO else ZERO, slot, x)


def _folded(header, values, slots, count, stride, slot_stride):
    if count == ZERO:
        return lift(start)
    total = get(header, values, slots, 0, stride, slot_stride)
    for i in range(ONE, count):
        total = f(total, get(header, values, slots, i, stride, slot_stride))
    return total


@cache
def chained(name: str, mode: str, start: float) -> Any:
    """The compiled function that folds a vector by a row."""
    names = {"f": recorder(name, mode), "get": element(mode), "start": start, "tag": name}
    return in_mode(_folded, mode, **names)


def _variance(header, values, slots, count, stride, slot_stride):
    mean = lift(0.0)
    for i in range(count):
        mean = row_add(mean, get(header, values, slots, i, stride, slot_stride))
    mean = row_divide(mean, count)
    total = lift(0.0)
    for i in range(count):
        d = row_subtract(get(header, values, slots, i, stride, slot_stride), mean)
        total = row_add(total, row_square(d))
    return row_divide(total, count)


def _norm_of(header, values, slots, count, stride, slot_stride):
    total = lift(0.0)
    for i in range(count):
        total = row_add(
            total,
            row_square(get(header, values, slots, i, stride, slot_stride)),
        )
    return row_sqrt(total)


def _extreme(header, values, slots, count, stride, slot_stride):
    place, alike = ZERO, False
    best = f8_at(values)[0]
    for k in range(1, count):
        i = u8(k)
        x = f8_at(values + i * stride)[0]
        if x != x or best != best:
            return fold(header, values, slots, count, stride, slot_stride)
        if (x > best) if larger else (x < best):
            place, alike, best = i, False, x
        elif x == best:
            alike = True
    if alike:
        return fold(header, values, slots, count, stride, slot_stride)
    return get(header, values, slots, place, stride, slot_stride)


def extreme(name: str, mode: str) -> Any:
    """Maxima and minima: an element as it is on linear tapes, unless several are alike."""
    fold = chained(name, mode, 0.0)
    if mode != LINEAR:
        return fold
    names = {"fold": fold, "get": element(mode), "larger": name == "maximum", "tag": name}
    return in_mode(_extreme, mode, **names)


@cache
def reducer(name: str, mode: str) -> Any:
    """The compiled function of a vector for a reduction: a scalar, or its three parts."""
    if mode == LINEAR and name in LINEAR_KERNELS:
        return LINEAR_KERNELS[name]
    return MAKERS[name](mode)


LINEAR_KERNELS = {
    "sum": linear_sum, "prod": linear_product, "var": linear_variance, "norm": linear_norm,
}  # fmt: skip
MAKERS: dict[str, Callable[[str], Any]] = {
    "sum": lambda mode: chained("add", mode, 0.0),
    "prod": lambda mode: chained("multiply", mode, 1.0),
    "var": lambda mode: in_mode(_variance, mode, get=element(mode)),
    "norm": lambda mode: in_mode(_norm_of, mode, get=element(mode)),
    "max": lambda mode: extreme("maximum", mode),
    "min": lambda mode: extreme("minimum", mode),
}


# --- calls ----------------------------------------------------------------------------------------


def reduce(context: Any, b: Any, name: str, mode: str, header: Any, vector: Line) -> list[Any]:
    """(tape, slot, value) of a reduction of a vector."""
    found = call_words(context, b, reducer(name, mode), header, *vector.words)
    return [b.extract_value(found, i) for i in range(3)]


@cache
def total(name: str, mode: str) -> Any:
    """The compiled function of an array for a reduction over all elements."""

    @intrinsic
    def reduced(typingctx, a):
        def codegen(context, b, sig, args):
            return lower_total(context, b, sig, args, name)

        return a.scalar(a), codegen

    return reduced


def lower_total(context: Any, b: Any, sig: Any, args: Any, name: str) -> Any:
    kind = sig.args[0]
    x, release = compact(context, b, kind, args[0])
    if name in ("max", "min"):
        with b.if_then(b.icmp_unsigned("==", x.size(b), number(0)), likely=False):
            stop(context, b, ValueError, "zero-size array to reduction operation not possible")
    parts = reduce(context, b, name, kind.mode, x.header, line(b, x))
    release()
    return made_scalar(context, b, sig.return_type, parts)


@cache
def along(name: str, axis: int, ndim: int) -> Any:
    """The compiled function of an array for a reduction over one axis, known when compiling."""

    @intrinsic
    def reduced(typingctx, a):
        result = ArrayType(a.mode, types.Array(types.float64, ndim - 1, "C"))

        def codegen(context, b, sig, args):
            x = View(context, b, a, args[0])
            rest = [i for i in range(ndim) if i != axis]
            z = allocated(context, b, result, [x.shape[i] for i in rest], clear=False)
            strides = [x.strides[i] for i in rest], [x.slot_strides[i] for i in rest]
            with over(b, z.shape) as indices:
                values = offset(b, x.values, indices, strides[0])
                slots = offset(b, x.slots, indices, strides[1])
                vector = Line(values, slots, x.shape[axis], x.strides[axis], x.slot_strides[axis])
                _, slot, value = reduce(context, b, name, a.mode, x.header, vector)
                put_at(b, offset(b, z.values, indices, z.strides), value)
                put_at(b, offset(b, z.slots, indices, z.strides), slot)
            set_tape(b, z.cell, x.header)
            return z.value

        return result(a), codegen

    return reduced


# --- the user's functions -------------------------------------------------------------------------


def originals(name: str, *more: Any) -> list[Any]:
    """NumPy's function and ndtape's of the same name."""
    found = [getattr(np, name, None), getattr(own, name, None)]
    return [f for f in (*found, *more) if f is not None]


def records(t: Any) -> bool:
    return isinstance(t, ArrayType)


def reduction(name: str, *names: str) -> Any:
    """np.<name>(a) and a.<name>(), straight to the reduction."""
    original = getattr(np, name)

    def stub(a): ...

    class Template(AbstractTemplate):
        key = stub

        def generic(self, args: Any, kws: Any) -> Any:
            fits = len(args) == 1 and records(args[0]) and not kws
            return signature(args[0].scalar, *args) if fits else None

    infer_global(stub, types.Function(Template))
    lower_builtin(stub, ArrayType)(
        lambda context, b, sig, args: lower_total(context, b, sig, args, name)
    )
    overload(stub)(lambda a: None if records(a) else (lambda a: original(a)))
    METHODS[name] = stub
    replaces(*[f for n in (name, *names) for f in originals(n)])(stub)
    return stub


for _name, *_others in (("prod", "product"), ("max", "amax"), ("min", "amin"), ("var",)):
    reduction(_name, *_others)


@replaces(*originals("sum"))
def _sum(a, axis=None): ...


class _Sum(AbstractTemplate):
    key = _sum

    def generic(self, args: Any, kws: Any) -> Any:
        fits = len(args) == 1 and records(args[0]) and not kws
        return signature(args[0].scalar, *args) if fits else None


infer_global(_sum, types.Function(_Sum))
lower_builtin(_sum, ArrayType)(
    lambda context, b, sig, args: lower_total(context, b, sig, args, "sum")
)


def _sum_typed(a, axis=None):
    """With an axis; a plain array goes to Numba's own."""
    missing = axis is None or isinstance(axis, types.NoneType | types.Omitted)
    if not records(a):
        if missing:
            return lambda a, axis=None: np.sum(a)
        return lambda a, axis=None: np.sum(a, axis)
    if missing:
        whole = total("sum", a.mode)
        return lambda a, axis=None: whole(a)
    if not isinstance(axis, types.IntegerLiteral):
        return None
    place = axis.literal_value
    place += a.ndim if place < 0 else 0
    if a.ndim == 1:
        whole = total("sum", a.mode)
        return lambda a, axis=None: whole(a)
    part = along("sum", place, a.ndim)
    return lambda a, axis=None: part(a)


overload(_sum, prefer_literal=True)(_sum_typed)


METHODS["sum"] = _sum


@replaces(*originals("mean"))
def _mean(a): ...


def _mean_typed(a):
    if not records(a):
        return lambda a: np.mean(a)
    whole, divide = total("sum", a.mode), recorder("divide", a.mode)
    return lambda a: divide(whole(a), a.size)


overload(_mean)(_mean_typed)
METHODS["mean"] = _mean


@replaces(*originals("std"))
def _std(a): ...


def _std_typed(a):
    if not records(a):
        return lambda a: np.std(a)
    whole, root, lift = total("var", a.mode), recorder("sqrt", a.mode), lifted(a.mode)

    def deviation(a):
        x = whole(a)
        return root(x) if x._value > 0.0 else lift(x._value)  # derivative 0 at 0

    return deviation


overload(_std)(_std_typed)
METHODS["std"] = _std


@replaces(np.linalg.norm, own.linalg.norm)
def _norm(x, ord=None): ...


@overload(_norm)
def _norm_typed(x, ord=None):
    if not records(x):
        return lambda x, ord=None: np.linalg.norm(x, ord)
    if ord is not None and not isinstance(ord, types.NoneType | types.Omitted):
        return None
    whole = total("norm", x.mode)
    return lambda x, ord=None: whole(x)


# --- running sums and products --------------------------------------------------------------------


def running(name: str, row: str) -> None:
    original = getattr(np, name)

    @replaces(*originals(name))
    def stub(a): ...

    def typed(a):
        if not records(a):
            return lambda a: original(a)
        f, new = recorder(row, a.mode), allocate(a.mode)

        def accumulated(a):
            x = a.ravel()
            z = new((x.size,))
            if x.size:
                last = x[0]
                z[0] = last
                for i in range(1, x.size):
                    last = f(last, x[i])
                    z[i] = last
            return z

        return accumulated

    overload(stub)(typed)
    METHODS[name] = stub


running("cumsum", "add")
running("cumprod", "multiply")


# --- places of extremes ---------------------------------------------------------------------------


def place_of_extreme(name: str, row: str) -> None:
    original = getattr(np, name)

    @replaces(*originals(name))
    def stub(a): ...

    def typed(a):
        if not records(a):
            return lambda a: original(a)
        if a.mode == LINEAR:
            return lambda a: original(a._values)
        f = recorder(row, a.mode)

        def compared(a):
            x = a.ravel()
            if x.size == 0:
                raise ValueError("attempt to get the place of an extreme of an empty sequence")
            best = 0
            for i in range(1, x.size):
                if f(x[i], x[best]):
                    best = i
            return best

        return compared

    overload(stub)(typed)
    METHODS[name] = stub


place_of_extreme("argmax", "greater")
place_of_extreme("argmin", "less")


# --- Python's sum ---------------------------------------------------------------------------------


@replaces(builtins.sum)
def _python_sum(xs, start=0): ...


@overload(_python_sum)
def _python_sum_typed(xs, start=0):
    if isinstance(xs, types.BaseTuple) and not isinstance(xs, types.UniTuple):
        text = "start" + "".join(f" + xs[{i}]" for i in range(len(xs)))
        space: dict[str, Any] = {}
        exec(f"def added(xs, start=0): return {text}", space)
        return space["added"]
    item = getattr(xs, "dtype", None)
    if records(xs) and xs.ndim == 1:
        whole = total("sum", xs.mode)
        return lambda xs, start=0: whole(xs) + start
    if not mode_of(item, start):
        return (lambda xs, start=0: sum(xs)) if isinstance(start, types.Omitted | int) else (
            lambda xs, start=0: sum(xs, start)
        )  # fmt: skip

    def added(xs, start=0):
        total = start + 0.0
        for x in xs:
            total = total + x
        return total

    return added
