"""Kernels of `affine`: an activation of a sum of products and spans, see passes/fusion.py.

The sum is the *pre-activation*, a span of its own in column a: spans first, which are there long
before the last product is, then the products.  The descriptor begins like that of the activation,
whose own kernel does the rest when it is called with the same instruction.  Matrices times vectors
go to the tiles directly: finding out what a nest is takes longer than a product of 4 x 4.
"""

from __future__ import annotations

from numba import types

from .._jit import call_at, u8, u8_at
from ..nest import (
    BODY,
    COLUMNS,
    ENTRY,
    FLAGS,
    GENERAL,
    KIND_WORD,
    LISTS,
    LOOP,
    LOOPS,
    PRODUCTS,
    ROUNDED,
    ROWS,
    SIZE,
    SPANS,
    X_COLUMNS,
    X_CONSTANT,
    X_QUIET,
    Y_CONSTANT,
    Y_QUIET,
)
from ..ops import FIRST_WIDE, FRAME
from .contract import (
    KEEP,
    X,
    Y,
    Z,
    add_adjoints,
    add_second,
    add_tangents,
    care,
    factors,
    multiply,
    outer,
    row,
)
from .eight import load, splat, store, total
from .movement import nothing
from .tiles import dots_tile
from .walk import (
    OUT,
    WORD,
    A,
    C,
    G,
    H,
    K,
    T,
    V,
    all_finite,
    all_zero,
    at,
    descriptor,
    fill,
    floats,
    i64,
    kernel,
    operand,
    part,
    words_at,
)

FORWARD, REVERSE, TANGENT, SECOND = map(FRAME.index, ("forward", "reverse", "tangent", "second"))
dots_8, dots_4 = dots_tile(8), dots_tile(4)


# Nothing forwards; backwards, adjoints are forgotten that are done with (passes/sharing.py).
skip_forward = skip_tangent = nothing


@kernel
def skip_reverse(frame, i, end):
    """The adjoints of the slots are 0 again."""
    fill(at(frame, G, operand(frame, OUT, i)), descriptor(frame, i)[SIZE], 0.0)
    return 0


@kernel
def skip_second(frame, i, end):
    """So are their tangents."""
    out, size = operand(frame, OUT, i), descriptor(frame, i)[SIZE]
    fill(at(frame, G, out), size, 0.0)
    fill(at(frame, H, out), size, 0.0)
    return 0


@part
def _activate(frame, i, table, code):
    """The kernel of the activation, which finds all it needs in the columns of the affine."""
    if code != 0:
        routine = u8_at(u8_at(frame)[table])[u8(code - FIRST_WIDE)]
        call_at(routine, frame, i, i + u8(1))  # type: ignore[call-arg]


@part
def _lists(frame, i):
    """The list behind the descriptor, as a column."""
    c = operand(frame, C, i)
    words = words_at(frame, c)
    return words_at(frame, c + BODY + LOOP * words[LOOPS])


@part
def _round(z, count):
    """To the nearest float32."""
    numbers = floats(z)
    for j in range(count):
        numbers[j] = types.float64(types.float32(numbers[j]))


# --- matrices times vectors ----------------------------------------------------------------------


@part
def _dots(z, keep, x, v, m, depth, xm):
    """z += x @ v where the rows of x have their numbers side by side."""
    for r in range(0, m - 4, 8):
        dots_8(z + WORD * r, keep, x + r * xm, v, m - r, depth, xm)
    if 0 < m & 7 <= 4:
        r = m & ~7
        dots_4(z + WORD * r, keep, x + r * xm, v, m - r, depth, xm)


@part
def _extents(words, form):
    """How many results there are, how many products in each, and how far rows are apart."""
    by_columns = i64(form >= X_COLUMNS)
    matrix = X if form & 1 else Y
    stride = words[BODY + LOOP * by_columns + matrix]
    return words[BODY], words[BODY + LOOP], WORD * stride


@part
def _times_vector(words, z, keep, x, y, form):
    m, depth, stride = _extents(words, form)
    matrix, vector = (x, y) if form & 1 else (y, x)
    if form >= X_COLUMNS:
        row(z, keep, vector, matrix, m, depth, WORD, stride)
    else:
        _dots(z, keep, matrix, vector, m, depth, stride)


@part
def _vector_adjoints(frame, a, b, c, w, x, y, form):
    """`add_adjoints` for a matrix and a vector whose products are finite."""
    words = words_at(frame, c)
    m, depth, stride = _extents(words, form)
    flags = words[FLAGS]
    x_wanted, y_wanted = not flags & (X_CONSTANT | X_QUIET), not flags & (Y_CONSTANT | Y_QUIET)
    gx, gy = at(frame, G, a), at(frame, G, b)
    if form & 1:
        matrix, vector, to_matrix, to_vector = x, y, gx, gy
        matrix_wanted, vector_wanted = x_wanted, y_wanted
    else:
        matrix, vector, to_matrix, to_vector = y, x, gy, gx
        matrix_wanted, vector_wanted = y_wanted, x_wanted
    if vector_wanted:
        if form >= X_COLUMNS:
            _dots(to_vector, 1, matrix, w, depth, m, stride)
        else:
            row(to_vector, 1, w, matrix, depth, m, WORD, stride)
    if matrix_wanted:
        if form >= X_COLUMNS:
            outer(to_matrix, 1, vector, w, depth, m, stride, WORD)
        else:
            outer(to_matrix, 1, w, vector, m, depth, stride, WORD)


# --- spans ---------------------------------------------------------------------------------------


@part
def _spread(z, keep, s, rows, columns, by_row, step):
    """z[r, j] += s[r * by_row + j * step]"""
    rest = splat(0.0)
    if rows == 1 and columns <= 8:  # a small vector: the usual bias
        more = load(s, columns, rest) if step else splat(floats(s)[0])
        store(z, columns, load(z, columns * keep, rest) + more)
        return
    if by_row == columns and step == 1:
        rows, columns = i64(1), rows * columns
    for r in range(rows):
        zr, sr = z + WORD * columns * r, s + WORD * by_row * r
        same = splat(floats(sr)[0])
        for j in range(0, columns, 8):
            place, n = WORD * j, columns - j
            more = load(sr + place, n, rest) if step else same
            store(zr + place, n, load(zr + place, n * keep, rest) + more)


@part
def _gather(w, s, rows, columns, by_row, step):
    """s[r * by_row + j * step] += w[r, j], the adjoint of `_spread`."""
    rest = splat(0.0)
    if rows == 1 and columns <= 8 and step:
        store(s, columns, load(s, columns, rest) + load(w, columns, rest))
        return
    if by_row == columns and step == 1:
        rows, columns = i64(1), rows * columns
    if step == 0:
        for r in range(rows):
            wr = w + WORD * columns * r
            sums = rest
            for j in range(0, columns, 8):
                sums = sums + load(wr + WORD * j, columns - j, rest)
            floats(s + WORD * by_row * r)[0] += total(sums)
    else:
        for j in range(0, columns, 8):
            place, n = WORD * j, columns - j
            sums = load(s + place, n, rest)
            for r in range(rows):
                sums = sums + load(w + WORD * columns * r + place, n, rest)
            store(s + place, n, sums)


@part
def _add_spans(frame, lists, place, column, z):
    """Values or tangents of the spans, written to z; whether there was one."""
    keep = i64(0)
    for _ in range(lists[SPANS]):
        start, by_row, step = lists[place], lists[place + 1], lists[place + 2]
        constant = lists[place + 3]
        if not constant or column == V:
            s = at(frame, K if constant else column, start)
            _spread(z, keep, s, lists[ROWS], lists[COLUMNS], by_row, step)
            keep = i64(1)
        place += ENTRY
    return keep


@part
def _adjoints_of_spans(frame, lists, place, column, w):
    for _ in range(lists[SPANS]):
        if not lists[place + 3]:
            s = at(frame, column, lists[place])
            _gather(w, s, lists[ROWS], lists[COLUMNS], lists[place + 1], lists[place + 2])
        place += ENTRY


# --- kernels -------------------------------------------------------------------------------------


@kernel
def affine_forward(frame, i, end):
    """The pre-activation, then the activation."""
    lists, pre = _lists(frame, i), operand(frame, A, i)
    z = at(frame, V, pre)
    products, place = lists[PRODUCTS], i64(LISTS)
    keep = _add_spans(frame, lists, LISTS + ENTRY * products, V, z)
    for _ in range(products):
        a, b, c, form = lists[place], lists[place + 1], lists[place + 2], lists[place + 3]
        x, y = factors(frame, a, b, c)
        if form == GENERAL:
            multiply(frame, c, z, x, y, Z, X, Y, KEEP if keep else 0)
        else:
            _times_vector(words_at(frame, c), z, keep, x, y, form)
        keep = i64(1)
        place += ENTRY
    words, rounded = words_at(frame, operand(frame, C, i)), lists[ROUNDED]
    if rounded & 1:
        _round(z, words[SIZE])
    _activate(frame, i, FORWARD, words[KIND_WORD])
    if rounded & 2:
        _round(at(frame, V, operand(frame, OUT, i)), words[SIZE])
    return 0


@kernel
def affine_tangent(frame, i, end):
    """The tangent of the pre-activation, then that of the activation."""
    lists, pre = _lists(frame, i), operand(frame, A, i)
    words = words_at(frame, operand(frame, C, i))
    t = at(frame, T, pre)
    products, place = lists[PRODUCTS], i64(LISTS)
    how = care(all_finite(at(frame, V, pre), words[SIZE]))
    keep = _add_spans(frame, lists, LISTS + ENTRY * products, T, t)
    for _ in range(products):
        add_tangents(frame, lists[place], lists[place + 1], lists[place + 2], t, keep, how)
        keep = i64(1)
        place += ENTRY
    _activate(frame, i, TANGENT, words[KIND_WORD])
    return 0


@kernel
def affine_reverse(frame, i, end):
    """The adjoint of the pre-activation, which then goes to spans and factors."""
    lists, pre = _lists(frame, i), operand(frame, A, i)
    words = words_at(frame, operand(frame, C, i))
    size, w = words[SIZE], at(frame, G, pre)
    if words[KIND_WORD] != 0:
        fill(w, size, 0.0)
        _activate(frame, i, REVERSE, words[KIND_WORD])
    if all_zero(w, size):
        return 0
    products, place = lists[PRODUCTS], i64(LISTS)
    _adjoints_of_spans(frame, lists, LISTS + ENTRY * products, G, w)
    # A sum is finite only if all its terms are.
    finite = all_finite(at(frame, V, pre), size)
    for _ in range(products):
        a, b, c, form = lists[place], lists[place + 1], lists[place + 2], lists[place + 3]
        x, y = factors(frame, a, b, c)
        if form == GENERAL or not finite:
            add_adjoints(frame, a, b, c, G, w, x, y, care(finite))
        else:
            _vector_adjoints(frame, a, b, c, w, x, y, form)
        place += ENTRY
    return 0


@kernel
def affine_second(frame, i, end):
    """Adjoints and their tangents."""
    lists, pre = _lists(frame, i), operand(frame, A, i)
    words = words_at(frame, operand(frame, C, i))
    size, w, wt = words[SIZE], at(frame, G, pre), at(frame, H, pre)
    if words[KIND_WORD] != 0:
        fill(w, size, 0.0)
        fill(wt, size, 0.0)
        _activate(frame, i, SECOND, words[KIND_WORD])
    products, place = lists[PRODUCTS], i64(LISTS)
    _adjoints_of_spans(frame, lists, LISTS + ENTRY * products, G, w)
    _adjoints_of_spans(frame, lists, LISTS + ENTRY * products, H, wt)
    for _ in range(products):
        add_second(frame, lists[place], lists[place + 1], lists[place + 2], pre)
        place += ENTRY
    return 0
