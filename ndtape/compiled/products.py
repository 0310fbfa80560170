"""Products of vectors and matrices that record, in compiled code.

On a linear tape an element of a product is one result with an entry for each number that goes into
it; on a tape of instructions it is a chain of multiplications and additions.
"""

from __future__ import annotations

import operator
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, overload

from .._jit import f8_at, jit, u8, u8_at
from .arrays import METHODS
from .memory import NEXT
from .namespace import replaces
from .operators import lifted, mode_of
from .reductions import element, in_mode, originals, records
from .room import closed, noted, room
from .scalars import ZERO, recorder
from .types import LINEAR, ArrayType
from .views import ZERO as NONE
from .views import View, allocate, call_words, kernel, made_scalar, number, set_tape, stop

SIZES = "arrays of these sizes cannot be multiplied"


@kernel
def linear_dot(
    header, count, x, x_slots, x_stride, x_slot_stride, y, y_slots, y_stride, y_slot_stride
):
    """(tape, slot, value) of the product of two vectors."""
    total = 0.0
    if header == ZERO:
        for i in range(count):
            total += f8_at(x + u8(i) * x_stride)[0] * f8_at(y + u8(i) * y_stride)[0]
        return ZERO, ZERO, total
    start = cursor = room(header, u8(2) * count)
    result = u8_at(header)[NEXT]
    for i in range(count):
        p, q = f8_at(x + u8(i) * x_stride)[0], f8_at(y + u8(i) * y_stride)[0]
        total += p * q
        slot = u8_at(y_slots + u8(i) * y_slot_stride)[0]
        cursor = noted(cursor, result, p, slot)
        slot = u8_at(x_slots + u8(i) * x_slot_stride)[0]
        cursor = noted(cursor, result, q, slot)
    return header, closed(header, start, cursor, result), total


def _dot(header, count, x, x_slots, x_stride, x_slot_stride, y, y_slots, y_stride, y_slot_stride):
    total = lift(0.0)
    for i in range(count):
        term = row_multiply(
            get(header, x, x_slots, i, x_stride, x_slot_stride),
            get(header, y, y_slots, i, y_stride, y_slot_stride),
        )
        total = row_add(total, term) if i else term
    return total


@cache
def dot_kernel(mode: str) -> Any:
    """The compiled function of a product of vectors: a scalar, or its three parts."""
    return linear_dot if mode == LINEAR else in_mode(_dot, mode, get=element(mode))


def _multiplied(header, m, n, k, x, x_slots, x_row, x_column, x_slot_row, x_slot_column,
                y, y_slots, y_row, y_column, y_slot_row, y_slot_column, z, z_slots):  # fmt: skip
    place = ZERO
    for i in range(m):
        for j in range(n):
            found = dot_of(
                header, k, x + u8(i) * x_row, x_slots + u8(i) * x_slot_row, x_column,
                x_slot_column, y + u8(j) * y_column, y_slots + u8(j) * y_slot_column, y_row,
                y_slot_row,
            )  # fmt: skip
            slot, value = parts(found)
            f8_at(z + place)[0] = value
            u8_at(z_slots + place)[0] = slot
            place += u8(8)


@jit
def _linear_parts(found):
    return found[1], found[2]


@jit
def _tape_parts(found):
    return found._slot, found._value


@cache
def matrix_kernel(mode: str) -> Any:
    """The compiled function of a product of matrices, by a product of vectors for each element."""
    parts = _linear_parts if mode == LINEAR else _tape_parts
    return in_mode(_multiplied, mode, dot_of=dot_kernel(mode), parts=parts)


# --- calls ----------------------------------------------------------------------------------------


def product_signature(given: Any) -> Any:
    """Of two vectors or matrices, one of which records at least."""
    mode = mode_of(*given)
    if not mode or len(given) != 2 or not all(map(_fits, given)):
        return None
    ndim = given[0].ndim + given[1].ndim - 2
    if ndim == 0:
        return signature(next(t.scalar for t in given if records(t)), *given)
    return signature(ArrayType(mode, types.Array(types.float64, ndim, "C")), *given)


def _fits(t: Any) -> bool:
    plain = isinstance(t, types.Array) and t.dtype == types.float64
    return (plain or records(t)) and t.ndim in (1, 2)


def lower_product(context: Any, b: Any, sig: Any, args: Any) -> Any:
    x, y = (View(context, b, t, v) for t, v in zip(sig.args, args, strict=True))
    mode = mode_of(*sig.args)
    header = b.or_(x.header, y.header)
    inner = y.shape[0]
    with b.if_then(b.icmp_unsigned("!=", x.shape[-1], inner), likely=False):
        stop(context, b, ValueError, SIZES)
    if x.ndim == y.ndim == 1:
        words = [x.values, x.slots, x.strides[0], x.slot_strides[0],
                 y.values, y.slots, y.strides[0], y.slot_strides[0]]  # fmt: skip
        found = call_words(context, b, dot_kernel(mode), header, inner, *words)
        parts = [b.extract_value(found, i) for i in range(3)]
        return made_scalar(context, b, sig.return_type, parts)
    shape = [*x.shape[:-1], *y.shape[1:]]
    z = allocate(context, b, sig.return_type, shape, clear=False)
    one: ir.Value = number(1)
    rows = x.shape[0] if x.ndim == 2 else one
    columns = y.shape[1] if y.ndim == 2 else one
    words = [x.values, x.slots, *_matrix(x.strides, x.ndim, first=True),
             *_matrix(x.slot_strides, x.ndim, first=True),
             y.values, y.slots, *_matrix(y.strides, y.ndim, first=False),
             *_matrix(y.slot_strides, y.ndim, first=False)]  # fmt: skip
    call_words(
        context, b, matrix_kernel(mode), header, rows, columns, inner, *words, z.values, z.slots
    )
    set_tape(b, z.cell, header)
    return z.value


def _matrix(strides: Any, ndim: int, first: bool) -> list[Any]:
    """Strides of rows and columns; a vector is a row as the first factor, else a column."""
    if ndim == 2:
        return list(strides)
    return [NONE, strides[0]] if first else [strides[0], NONE]


@replaces(*originals("dot"))
def dot(a, b): ...


overload(dot)(lambda a, b: None if mode_of(a, b) else (lambda a, b: np.dot(a, b)))


@replaces(*originals("matmul"))
def matmul(a, b): ...


overload(matmul)(lambda a, b: None if mode_of(a, b) else (lambda a, b: a @ b))

for _function in (dot, matmul, operator.matmul):

    class _Product(AbstractTemplate):
        key = _function

        def generic(self, args: Any, kws: Any) -> Any:
            return None if kws else product_signature(args)

    infer_global(_function, types.Function(_Product))
    for _pattern in ((ArrayType, ArrayType), (ArrayType, types.Array), (types.Array, ArrayType)):
        lower_builtin(_function, *_pattern)(lower_product)


METHODS["dot"] = dot


# --- others ---------------------------------------------------------------------------------------


@replaces(*originals("vdot"))
def vdot(a, b): ...


@overload(vdot)
def _vdot(a, b):
    if not mode_of(a, b):
        return lambda a, b: np.vdot(a, b)
    return lambda a, b: dot(a.ravel(), b.ravel())


@replaces(*originals("outer"))
def outer(a, b): ...


@overload(outer)
def _outer(a, b):
    if not mode_of(a, b):
        return lambda a, b: np.outer(a, b)
    return lambda a, b: a.ravel()[:, None] * b.ravel()


@replaces(*originals("inner"))
def inner(a, b): ...


@overload(inner)
def _inner(a, b):
    if getattr(b, "ndim", 0) == 2:
        return lambda a, b: a @ b.T
    return lambda a, b: a @ b


@replaces(*originals("trace"))
def trace(a): ...


@overload(trace)
def _trace(a):
    if not records(a):
        return lambda a: np.trace(a)
    if a.ndim != 2:
        return None
    f, lift = recorder("add", a.mode), lifted(a.mode)

    def traced(a):
        total = lift(0.0)
        for i in range(min(a.shape[0], a.shape[1])):
            total = f(total, a[i, i])
        return total

    return traced
