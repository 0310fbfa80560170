"""Linear algebra on recording matrices, in compiled code.

On a linear tape the solution x of A x = b is found with plain numbers, and then recorded as what it
is near the point, x + A⁻¹ (b - A x): n² entries for the residuals and n² for their effect, where
elimination would leave n³.  Tapes of instructions get the elimination, with partial pivoting.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba.extending import overload

from .. import numpy as own
from .._jit import jit, u8, u8_at
from .arrays import allocate, joined, plain_slots, plain_values, recording_copy, tape_of
from .memory import CURSOR, NEXT
from .namespace import replaces
from .operators import mode_of
from .reductions import in_mode, records
from .room import closed, noted, room
from .scalars import ONE, ZERO
from .types import LINEAR, make_scalar
from .views import kernel

# --- plain numbers --------------------------------------------------------------------------------


@kernel
def factorize(a):
    """LU factors of a matrix, in place; the order of its rows, and the sign of that permutation."""
    n = len(a)
    order, sign = np.arange(n), 1.0
    for k in range(n):
        best, largest = k, abs(a[k, k])
        for i in range(k + 1, n):
            if abs(a[i, k]) > largest:
                best, largest = i, abs(a[i, k])
        if best != k:
            sign = -sign
            order[k], order[best] = order[best], order[k]
            for j in range(n):
                a[k, j], a[best, j] = a[best, j], a[k, j]
        if a[k, k] == 0.0:
            continue
        for i in range(k + 1, n):
            factor = a[i, k] / a[k, k]
            a[i, k] = factor
            if factor != 0.0:
                for j in range(k + 1, n):
                    a[i, j] -= factor * a[k, j]
    return order, sign


@kernel
def substitute(lu, order, b):
    """The solution for a matrix of right-hand sides."""
    n, m = b.shape
    x = np.empty((n, m))
    for i in range(n):
        for j in range(m):
            x[i, j] = b[order[i], j]
        for k in range(i):
            factor = lu[i, k]
            for j in range(m):
                x[i, j] -= factor * x[k, j]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            factor = lu[i, k]
            for j in range(m):
                x[i, j] -= factor * x[k, j]
        for j in range(m):
            x[i, j] /= lu[i, i]
    return x


@kernel
def check(lu):
    for i in range(len(lu)):
        if lu[i, i] == 0.0:
            raise np.linalg.LinAlgError("Matrix is singular to machine precision.")


@kernel
def minors(a):
    """The adjugate: the transposed derivative of the determinant, also where that is 0."""
    n = len(a)
    found = np.empty((n, n))
    part = np.empty((n - 1, n - 1))
    for i in range(n):
        for j in range(n):
            for k in range(n - 1):
                for m in range(n - 1):
                    part[k, m] = a[k + (k >= i), m + (m >= j)]
            _, sign = factorize(part)
            for k in range(n - 1):
                sign *= part[k, k]
            found[j, i] = -sign if (i + j) % 2 else sign
    return found


# --- on linear tapes ------------------------------------------------------------------------------


@kernel
def linear_solution(header, a_slots, b_slots, inverse, x, x_slots):
    """The entries of the solution x of A x = b, a matrix; fills in its slots."""
    n, m = x.shape
    h = u8_at(header)
    residuals = np.empty(n, np.uint64)
    for c in range(m):
        start = cursor = room(header, u8(n) * u8(2 * n + 1))
        result = h[NEXT]
        for j in range(n):
            begin = cursor
            for k in range(n):
                slot = a_slots[j, k]
                cursor = noted(cursor, result, -x[k, c], slot)
            slot = b_slots[j, c]
            cursor = noted(cursor, result, 1.0, slot)
            residuals[j] = result if cursor != begin else ZERO
            result += ONE if cursor != begin else ZERO
        if cursor == start:
            for i in range(n):
                x_slots[i, c] = ZERO
            continue
        for i in range(n):
            for j in range(n):
                slot = residuals[j]
                cursor = noted(cursor, result, inverse[i, j], slot)
            x_slots[i, c] = result
            result += ONE
        h[CURSOR] = cursor
        h[NEXT] = result


@kernel
def linear_result(header, slots, partials):
    """The slot of a result that depends on all elements of a matrix; partials are transposed."""
    n, m = slots.shape
    start = cursor = room(header, u8(n) * u8(m))
    result = u8_at(header)[NEXT]
    for i in range(n):
        for j in range(m):
            slot = slots[i, j]
            cursor = noted(cursor, result, partials[j, i], slot)
    return closed(header, start, cursor, result)


@kernel
def linear_solve(header, a, a_slots, b, b_slots):
    """The solution of A x = b for a matrix b of right-hand sides, and its slots; a is lost."""
    order, _ = factorize(a)
    check(a)
    x = substitute(a, order, b)
    x_slots = np.zeros(x.shape, np.uint64)
    if header != ZERO:
        inverse = substitute(a, order, np.eye(len(a)))
        linear_solution(header, a_slots, b_slots, inverse, x, x_slots)
    return x, x_slots


# --- by elimination, for tapes of instructions ----------------------------------------------------


def _eliminated(a):
    """LU factors of a matrix, in place; the order of its rows, and the sign of the permutation."""
    n = len(a)
    order, sign = np.arange(n), 1.0
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if row_less(row_abs(a[best, k]), row_abs(a[i, k])):
                best = i
        if best != k:
            sign = -sign
            order[k], order[best] = order[best], order[k]
            for j in range(n):
                a[k, j], a[best, j] = a[best, j], a[k, j]
        if a[k, k]._value == 0.0:
            continue
        for i in range(k + 1, n):
            factor = row_divide(a[i, k], a[k, k])
            a[i, k] = factor
            for j in range(k + 1, n):
                a[i, j] = row_subtract(a[i, j], row_multiply(factor, a[k, j]))
    return order, sign


def _solved(a, b):
    """The solution for a matrix of right-hand sides; a is lost."""
    order, _ = eliminate(a)
    n, m = b.shape
    x = new(b.shape)
    for i in range(n):
        if a[i, i]._value == 0.0:
            raise np.linalg.LinAlgError("Matrix is singular to machine precision.")
        for j in range(m):
            x[i, j] = b[order[i], j]
        for k in range(i):
            for j in range(m):
                x[i, j] = row_subtract(x[i, j], row_multiply(a[i, k], x[k, j]))
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            for j in range(m):
                x[i, j] = row_subtract(x[i, j], row_multiply(a[i, k], x[k, j]))
        for j in range(m):
            x[i, j] = row_divide(x[i, j], a[i, i])
    return x


def _cholesky_factor(a):
    n = len(a)
    z = new((n, n))
    for j in range(n):
        for i in range(j, n):
            x = a[i, j]
            for k in range(j):
                x = row_subtract(x, row_multiply(z[i, k], z[j, k]))
            if i > j:
                z[i, j] = row_divide(x, z[j, j])
            elif row_less(0.0, x):
                z[i, j] = row_sqrt(x)
            else:
                raise np.linalg.LinAlgError("Matrix is not positive definite.")
    return z


@cache
def elimination(mode: str) -> Any:
    """The compiled function of a matrix for its LU factors, in place, which records."""
    return in_mode(_eliminated, mode)


@cache
def solver(mode: str) -> Any:
    """The compiled function (a, b) -> x, which records."""
    return in_mode(_solved, mode, eliminate=elimination(mode), new=allocate(mode, 0.0))


@cache
def factorization(mode: str) -> Any:
    """The compiled function of a matrix for its Cholesky factor, which records."""
    return in_mode(_cholesky_factor, mode, new=allocate(mode, 0.0))


# --- the user's functions -------------------------------------------------------------------------


@kernel
def check_system(shape, rows):
    """Raise unless a matrix of this shape is square and has as many rows."""
    if shape[0] != shape[1]:
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square.")
    if shape[0] != rows:
        raise np.linalg.LinAlgError("Incompatible array sizes, system is not dimensionally valid.")


@replaces(np.linalg.solve, own.linalg.solve)
def solve(a, b): ...


@overload(solve)
def _solve(a, b):
    mode = mode_of(a, b)
    if not mode:
        return lambda a, b: np.linalg.solve(a, b)
    if a.ndim != 2 or b.ndim not in (1, 2):
        return None
    columns, back = column_of, flat_column
    if b.ndim == 2:
        columns = back = same
    if mode == LINEAR:
        join = joined(mode)

        def linear(a, b):
            check_system(a.shape, b.shape[0])
            x, slots = linear_solve(
                tape_of(a) | tape_of(b), plain_values(a), plain_slots(a),
                columns(plain_values(b)), columns(plain_slots(b)),
            )  # fmt: skip
            return join(back(x), back(slots), tape_of(a) | tape_of(b))

        return linear
    found, copy = solver(mode), recording_copy(mode)

    def chained(a, b):
        check_system(a.shape, b.shape[0])
        return back(found(copy(a), columns(copy(b))))

    return chained


@jit
def column_of(b):
    return b.reshape((len(b), 1))


@jit
def flat_column(x):
    return x.reshape((len(x),))


@jit
def same(x):
    return x


@replaces(np.linalg.inv, own.linalg.inv)
def inv(a): ...


@overload(inv)
def _inv(a):
    if not records(a):
        return lambda a: np.linalg.inv(a)

    def inverse(a):
        check_system(a.shape, len(a))
        return solve(a, np.eye(len(a)))

    return inverse


@replaces(np.linalg.det, own.linalg.det)
def det(a): ...


@overload(det)
def _det(a):
    if not records(a):
        return lambda a: np.linalg.det(a)
    make = make_scalar[a.mode]
    if a.mode == LINEAR:

        def linear(a):
            check_system(a.shape, len(a))
            lu = plain_values(a)
            order, total = factorize(lu)
            for i in range(len(lu)):
                total *= lu[i, i]
            header, slot = tape_of(a), ZERO
            if header != ZERO:
                if total != 0.0:
                    partials = total * substitute(lu, order, np.eye(len(lu)))
                else:
                    partials = minors(plain_values(a))
                slot = linear_result(header, plain_slots(a), partials)
            return make(header if slot != ZERO else ZERO, slot, total)

        return linear
    found = in_mode(_determinant, a.mode, eliminate=elimination(a.mode))
    copy = recording_copy(a.mode)

    def chained(a):
        check_system(a.shape, len(a))
        return found(copy(a))

    return chained


def _determinant(a):
    _, sign = eliminate(a)
    total = row_multiply(a[0, 0], sign)
    for i in range(1, len(a)):
        total = row_multiply(total, a[i, i])
    return total


@replaces(np.linalg.slogdet, own.linalg.slogdet)
def slogdet(a): ...


@overload(slogdet)
def _slogdet(a):
    if not records(a):
        return lambda a: np.linalg.slogdet(a)
    make = make_scalar[a.mode]
    if a.mode == LINEAR:

        def linear(a):
            check_system(a.shape, len(a))
            lu = plain_values(a)
            order, sign = factorize(lu)
            total = 0.0
            for i in range(len(lu)):
                sign *= np.sign(lu[i, i])
                total += np.log(abs(lu[i, i]))
            header, slot = tape_of(a), ZERO
            if header != ZERO and sign != 0.0:
                partials = substitute(lu, order, np.eye(len(lu)))
                slot = linear_result(header, plain_slots(a), partials)
            return sign, make(header if slot != ZERO else ZERO, slot, total)

        return linear
    found = in_mode(_log_determinant, a.mode, eliminate=elimination(a.mode))
    copy = recording_copy(a.mode)

    def chained(a):
        check_system(a.shape, len(a))
        return found(copy(a))

    return chained


def _log_determinant(a):
    _, sign = eliminate(a)
    sign *= np.sign(a[0, 0]._value)
    total = row_log(row_abs(a[0, 0]))
    for i in range(1, len(a)):
        sign *= np.sign(a[i, i]._value)
        total = row_add(total, row_log(row_abs(a[i, i])))
    return sign, total


@replaces(np.linalg.cholesky, own.linalg.cholesky)
def cholesky(a): ...


@overload(cholesky)
def _cholesky(a):
    if not records(a):
        return lambda a: np.linalg.cholesky(a)
    found, copy = factorization(a.mode), recording_copy(a.mode)

    def factor(a):
        check_system(a.shape, len(a))
        return found(copy(a))

    return factor
