"""Kernels that move numbers: array inputs, static and dynamic gathers, scatters, calls.

All but the inputs and calls are linear: `apply` carries values and tangents from operands to
the result, `transpose` carries adjoints back, and the four kernels of a kind are made from these.
"""

from __future__ import annotations

from ..nest import BODY, FLAGS, KIND_WORD, SIZE, U_CONSTANT, X_CONSTANT, Y_CONSTANT, U
from ..ops import BAD_INDEX
from .walk import (
    OUT,
    A,
    B,
    G,
    H,
    K,
    T,
    V,
    add,
    at,
    copy,
    descriptor,
    fill,
    floats,
    i64,
    kernel,
    operand,
    part,
    source,
)

# --- wide_input: an array leaf or argument -----------------------------------------------------


@kernel
def wide_input_forward(frame, i, end):
    """Copy the values when recorded, which are constants, to the result."""
    words = descriptor(frame, i)
    target = at(frame, V, operand(frame, OUT, i))
    copy(target, at(frame, K, operand(frame, A, i)), words[SIZE])
    return 0


@kernel
def nothing(frame, i, end):
    """Nothing lies behind an input, and its tangent is given."""
    return 0


wide_input_reverse = wide_input_tangent = wide_input_second = nothing


# --- collect: z[j] = v[e[j]], or a constant ----------------------------------------------------


@part
def _collect(frame, i, column):
    words = descriptor(frame, i)
    z = floats(at(frame, column, operand(frame, OUT, i)))
    x = floats(at(frame, column, 0))
    k = floats(at(frame, K, 0))
    for j in range(words[SIZE]):
        entry = words[BODY + j]
        if entry >= 0:
            z[j] = x[entry]
        else:
            z[j] = k[-1 - entry] if column == V else 0.0
    return 0


@part
def _collect_transposed(frame, i, column):
    words = descriptor(frame, i)
    w = floats(at(frame, column, operand(frame, OUT, i)))
    x = floats(at(frame, column, 0))
    for j in range(words[SIZE]):
        entry = words[BODY + j]
        if entry >= 0:
            x[entry] += w[j]
    return 0


@kernel
def collect_forward(frame, i, end):
    """z[j] = v[e[j]]; a negative entry e stands for the constant k[-1 - e]."""
    return _collect(frame, i, V)


@kernel
def collect_tangent(frame, i, end):
    """As forward; constants have tangent 0."""
    return _collect(frame, i, T)


@kernel
def collect_reverse(frame, i, end):
    """g[e[j]] += w[j]."""
    return _collect_transposed(frame, i, G)


@kernel
def collect_second(frame, i, end):
    """The transposed map for adjoints and their tangents."""
    return _collect_transposed(frame, i, G) + _collect_transposed(frame, i, H)


# --- gather: z[j] = x[y[j]] --------------------------------------------------------------------


@part
def _place(index, count):
    """The whole number `index` as an integer, -1 if it is outside 0..count-1 or nan."""
    return i64(index) if index >= 0.0 and index < count else i64(-1)


@part
def _gather(frame, i, column):
    words = descriptor(frame, i)
    flags, size, count = words[FLAGS], words[SIZE], words[KIND_WORD]
    target = at(frame, column, operand(frame, OUT, i))
    if column != V and flags & X_CONSTANT:
        fill(target, size, 0.0)
        return 0
    z = floats(target)
    x = floats(source(frame, column, flags & X_CONSTANT, operand(frame, A, i)))
    y = floats(source(frame, V, flags & Y_CONSTANT, operand(frame, B, i)))
    for j in range(size):
        place = _place(y[j], count)
        if place < 0:
            return BAD_INDEX
        z[j] = x[place]
    return 0


@part
def _gather_transposed(frame, i, column):
    words = descriptor(frame, i)
    flags, count = words[FLAGS], words[KIND_WORD]
    if flags & X_CONSTANT:
        return 0
    w = floats(at(frame, column, operand(frame, OUT, i)))
    x = floats(at(frame, column, operand(frame, A, i)))
    y = floats(source(frame, V, flags & Y_CONSTANT, operand(frame, B, i)))
    for j in range(words[SIZE]):
        place = _place(y[j], count)
        if place < 0:
            return BAD_INDEX
        x[place] += w[j]
    return 0


@kernel
def gather_forward(frame, i, end):
    """z[j] = x[y[j]]; BAD_INDEX where y is outside x."""
    return _gather(frame, i, V)


@kernel
def gather_tangent(frame, i, end):
    """The same elements of the tangent of x."""
    return _gather(frame, i, T)


@kernel
def gather_reverse(frame, i, end):
    """g[x[y[j]]] += w[j]."""
    return _gather_transposed(frame, i, G)


@kernel
def gather_second(frame, i, end):
    """The transposed map for adjoints and their tangents."""
    status = _gather_transposed(frame, i, G)
    return status if status else _gather_transposed(frame, i, H)


# --- scatter_add: z = x; z[y[j]] += u[j] -------------------------------------------------------


@part
def _scatter(frame, i, column):
    words = descriptor(frame, i)
    flags, size, count = words[FLAGS], words[SIZE], words[KIND_WORD]
    target = at(frame, column, operand(frame, OUT, i))
    if column != V and flags & X_CONSTANT:
        fill(target, size, 0.0)
    else:
        copy(target, source(frame, column, flags & X_CONSTANT, operand(frame, A, i)), size)
    if column != V and flags & U_CONSTANT:
        return 0
    z = floats(target)
    y = floats(source(frame, V, flags & Y_CONSTANT, operand(frame, B, i)))
    u = floats(source(frame, column, flags & U_CONSTANT, words[U]))
    for j in range(count):
        place = _place(y[j], size)
        if place < 0:
            return BAD_INDEX
        z[place] += u[j]
    return 0


@part
def _scatter_transposed(frame, i, column):
    words = descriptor(frame, i)
    flags, size, count = words[FLAGS], words[SIZE], words[KIND_WORD]
    result = at(frame, column, operand(frame, OUT, i))
    if not flags & X_CONSTANT:
        add(at(frame, column, operand(frame, A, i)), result, size)
    if flags & U_CONSTANT:
        return 0
    w = floats(result)
    y = floats(source(frame, V, flags & Y_CONSTANT, operand(frame, B, i)))
    u = floats(at(frame, column, words[U]))
    for j in range(count):
        place = _place(y[j], size)
        if place < 0:
            return BAD_INDEX
        u[j] += w[place]
    return 0


@kernel
def scatter_add_forward(frame, i, end):
    """z = x; z[y[j]] += u[j]; BAD_INDEX where y is outside z."""
    return _scatter(frame, i, V)


@kernel
def scatter_add_tangent(frame, i, end):
    """The same of the tangents of x and u."""
    return _scatter(frame, i, T)


@kernel
def scatter_add_reverse(frame, i, end):
    """g[x] += w; g[u[j]] += w[y[j]]."""
    return _scatter_transposed(frame, i, G)


@kernel
def scatter_add_second(frame, i, end):
    """The transposed map for adjoints and their tangents."""
    status = _scatter_transposed(frame, i, G)
    return status if status else _scatter_transposed(frame, i, H)
