"""Guards: where a recording value decides which way Python goes, a replay goes the same way.

One row a kind of guard: flipped back and forth, values equal plain Python and NumPy, gradients
those of a fresh recording.  Instruction counters show that a flip resumes at the guard.
"""

from __future__ import annotations

import inspect
import itertools
import math
import random
import re
import time

import numpy as np
import pytest
from replays import check, check_value

import ndtape as nt

NAN, INF = float("nan"), math.inf


def line_of(f, text):
    """Where in this file a function has that text."""
    lines, start = inspect.getsourcelines(f)
    return start + next(i for i, line in enumerate(lines) if text in line)


# --- one row a kind, on scalars -------------------------------------------------------------------


def if_less(x, y):
    return x * y if x < y else x - y


def if_greater_equal(x, y):
    if x >= y:
        return 3.0 * x
    return 2.0 * y * x


def elif_chain(x, y):
    if x < -1.0:
        z = x
    elif x <= 0.0:
        z = x * x
    elif x > 1.0 and y > 0.0:
        z = x * y
    else:
        z = x - y
    return z * 2.0


def chained(x, y):
    return x * x if -1.0 < x < y <= 2.0 else x + y


def chained_outside(x, y):
    return x * y if not -1.0 < x <= y else -x


def and_or(x, y):
    if (x > 0 and y > 0) or (x < -1 and not y > 0):
        return x * y
    return x + y


def values_of_and_or(x, y):
    return (x and y) * 2.0 + (x or y) * 3.0 + (0.0 or x)


def truth(x, y):
    return (x * 2.0 if x else y) + (0.0 if not y else y)


def equal(x, y):
    return 2.0 * x if x == y else x - y


def unequal(x, y):
    return x if x != y else 5.0 * y


def equal_to_constant(x, y):
    return x * 0.0 + 1.0 if x == 0.0 else y / x


def in_tuple(x, y):
    return 10.0 * x if x in (y, 1.0, 2) else x


def not_in_list(x, y):
    return 10.0 * x if x not in [0.5, y] else x + y


def minimum(x, y):
    return min(x, y) * 2.0 + min([x, y, 0.3]) + min(x, 0.0)


def maximum(x, y):
    return max(x, y) * x + max((x, y, -0.3))


def max_by_key(x, y):
    return max(x, y, 0.5, key=abs) + 2.0 * min([x, y], key=lambda e: -e * e)


def max_default(x, y):
    return max([e for e in (x, y) if e > 0], default=x)


def sorted_values(x, y):
    a, b, c = sorted([x, y, 0.25])
    return a + 2.0 * b + 3.0 * c


def sorted_by_key(x, y):
    a, b, c = sorted([x, y, 0.25], key=lambda e: (e - 0.1) ** 2, reverse=True)
    return a + 2.0 * b + 3.0 * c


def sorted_pairs(x, y):
    pairs = sorted([(x, 1.0), (y, 2.0), (0.25, 3.0)])
    return sum(a * (i + 1.0) * b for i, (a, b) in enumerate(pairs))


def list_sort(x, y):
    values = [x, y, x * y]
    values.sort()
    return values[0] - 2.0 * values[2]


def any_all(x, y):
    z = x if any(e > 1.0 for e in (x, y)) else y
    return z * 2.0 if all([x > -1.0, y > -1.0]) else z * z


def filtered(x, y):
    kept = [e for e in (x, y, 0.4) if e > 0.3]
    return sum(kept) * len(kept) + 0.0 * x


def filter_and_map(x, y):
    return sum(map(abs, filter(lambda e: e > 0, [x, y]))) * y + x


def sign_by_conversion(x, y):
    return x * bool(x > y) + y * (x > 0) + (x > y) * 2.0


def floor_as_count(x, y):
    z = x
    for _ in range(abs(math.floor(x * 2.0))):
        z = z * y + 0.5
    return z


def int_as_count(x, y):
    z = y
    for k in range(int(abs(x) * 3.0)):
        z = z + k * x
    return z


def round_as_index(x, y):
    return [x, y, x * y, x + y, 2.0 * x][abs(round(x)) % 5] * 3.0


def int_as_index(x, y):
    table = [1.0, 2.0, 4.0, 8.0, 16.0]
    return table[int(abs(x)) % 5] * x + y


def ceil_and_trunc(x, y):
    return x * math.ceil(x) + y * math.trunc(y) + round(x, 1) + (x // 0.5) * y + x % 0.5


def int_in_arithmetic(x, y):
    k = int(x)
    return k * y + x / (k * k + 1) + (k // 2) + (k % 3) * x


def parity(x, y):
    return x * y if math.floor(x) % 2 == 0 else x + y


def divmod_of(x, y):
    q, r = divmod(x, 0.75)
    return r * y if q > 0 else q + x


def number_of_digits(x, y):
    n = 0
    z = abs(x) * 100.0
    while z >= 1.0:
        z = z / 10.0
        n += 1
    return n * x + y + z


def assertion(x, y):
    assert x == x or y == y
    return x * y


def caught(x, y):
    try:
        if x < y:
            raise ValueError("less")
        z = x * 2.0
    except ValueError:
        z = y * x
    finally:
        z = z + 1.0
    return z


def early_return_in_loop(x, y):
    z = x
    for k in range(6):
        z = 0.5 * (z + y)
        if z > 1.0:
            return z * k
        if z < -1.0:
            break
        if z < 0.0:
            continue
        z = z * z
    else:
        z = z - 3.0
    return z


def recursive(x, y):
    return y if abs(x) < 0.25 else 0.5 * recursive(0.5 * x, y + x)


def conditional_helper(x, y):
    def helper(a, b):
        return a if a < b else b * b

    return helper(helper(x, y), 0.5) + helper(y, x)


def match_statement_like(x, y):
    return {True: x * x, False: x + y}[bool(x > y)]


def by_boolean_index(x, y):
    return (x, y)[int(x < y)] * 2.0 + [x, y][bool(x < y)]


def binary(x, y):
    up, down = x > y, x > 0
    return x if up & down else y if up | down else x - y


def next_of(x, y):
    return next((e for e in (x, y, 1.5) if e > 0.0), 0.0) * 2.0 + x


def while_true(x, y):
    n, z = 0, abs(x)
    while True:
        z = z * 0.5
        n += 1
        if z < 0.1 or n > 20:
            break
    return z * n + y


def sum_of_comparisons(x, y):
    count = sum([x > 0, y > 0, x > y])
    return x * y if count >= 2 else x + count


SCALARS = [
    if_less, if_greater_equal, elif_chain, chained, chained_outside, and_or, values_of_and_or,
    truth,
    equal, unequal, equal_to_constant, in_tuple, not_in_list, minimum, maximum, max_by_key,
    max_default, sorted_values, sorted_by_key, sorted_pairs, list_sort, any_all, filtered,
    filter_and_map, sign_by_conversion, floor_as_count, int_as_count, round_as_index, int_as_index,
    ceil_and_trunc, int_in_arithmetic, parity, divmod_of, number_of_digits, assertion, caught,
    early_return_in_loop, recursive, conditional_helper, match_statement_like, by_boolean_index,
    binary, next_of, while_true, sum_of_comparisons,
]  # fmt: skip
POINTS = [
    (0.7, 1.2), (1.2, 0.7), (-0.5, 0.3), (-1.5, -2.0), (0.5, 0.5), (2.25, 1.75), (0.0, 1.0),
    (1.0, 0.0), (-0.0, 0.0), (3.5, -0.25), (0.25, 0.25), (-2.5, 2.0), (1.0, 2.0), (2.0, 1.0),
]  # fmt: skip


def walks(points, seed, count):
    """The points in order, then back and forth at random."""
    rng = random.Random(seed)
    return [*points, *(rng.choice(points) for _ in range(count))]


@pytest.mark.parametrize("f", SCALARS, ids=lambda f: f.__name__)
def test_scalars(f):
    F = nt.function(f)
    for x, y in walks(POINTS, f.__name__, 16):
        check(F, f, x, y, argnums=(0, 1))
    made = F.counters.recordings
    for x, y in walks(POINTS, f.__name__ + "again", 10):
        check(F, f, x, y, argnums=(0, 1))
    assert F.counters.recordings == made, "all ways have been recorded"
    assert made <= 2 * len(POINTS)


@pytest.mark.parametrize("f", SCALARS, ids=lambda f: f.__name__)
def test_scalars_inside_and_outside_of_transforms(f):
    """nt.function of nt.grad, and derivatives of derivatives."""
    inner, outer = nt.function(nt.grad(f)), nt.grad(nt.function(f))
    second = nt.grad(nt.grad(nt.function(f)))
    for x, y in walks(POINTS[:8], f.__name__, 4):
        slope = nt.grad(f)(x, y)
        assert (inner(x, y), outer(x, y)) == (slope, slope)
        assert second(x, y) == nt.grad(nt.grad(f))(x, y)


def test_integers_are_as_in_python():
    f = lambda x: (math.floor(x), round(x), int(x), x > 1.0, math.ceil(x) // 2)  # noqa: E731
    F = nt.function(f)
    for x in (0.5, 2.5, -1.5, 7.0, 0.5):
        assert F(x) == f(x)
        assert all(map(lambda a, b: isinstance(a, (type(b), np.generic)), F(x), f(x)))


# --- nan and infinities ---------------------------------------------------------------------------

COMPARISONS = [
    lambda x, y: 1.0 * x if x < y else 2.0,
    lambda x, y: 1.0 * x if x <= y else 2.0,
    lambda x, y: 1.0 * x if x > y else 2.0,
    lambda x, y: 1.0 * x if x >= y else 2.0,
    lambda x, y: 1.0 * x if x == y else 2.0,
    lambda x, y: 1.0 * x if x != y else 2.0,
    lambda x, y: 1.0 * x if not x < y else 2.0,
    lambda x, y: 1.0 * x if x != x else 2.0 * y,
    lambda x, y: 1.0 * x if -1.0 < x < y else 2.0,
    lambda x, y: 1.0 * x if x else 2.0,
    lambda x, y: min(x, y),
    lambda x, y: max(x, y),
    lambda x, y: min(y, x, key=lambda e: -e),
    lambda x, y: 1.0 * x if x in (y, 1.0) else 2.0,
    lambda x, y: sum(i * e for i, e in enumerate(sorted([x, y, 0.5])) if e == e),
]


@pytest.mark.parametrize("number", range(len(COMPARISONS)))
def test_nan_and_infinities_in_comparisons(number):
    f = COMPARISONS[number]
    F = nt.function(f)
    special = [NAN, INF, -INF, 0.0, -0.0, 1.0, -2.0, 5e-324]
    pairs = list(itertools.product(special, repeat=2))
    random.Random(number).shuffle(pairs)
    for x, y in [*pairs, *pairs[:20]]:
        check_value(F, f, float(x), float(str(y)))  # not the same nan: `in` looks at identity first


def test_counts_of_nan_and_infinity_are_refused_as_in_python():
    F = nt.function(lambda x: sum(x for _ in range(int(x))) + 0.0 * x)
    assert F(3.0) == 9.0
    with pytest.raises(ValueError, match=r"(?i)nan"):
        F(NAN)
    with pytest.raises(OverflowError):
        F(INF)
    assert F(3.0) == 9.0 and F(4.0) == 16.0


def test_counts_beyond_machine_integers():
    f = lambda x: x * 2.0 if int(x) > 10**30 else x  # noqa: E731
    F = nt.function(f)
    for x in (1.0, 1e300, -1e40, 3.0, 2.0**63, -(2.0**63), 1e300):
        check(F, f, x)


# --- one row a kind, on arrays --------------------------------------------------------------------

ARRAYS = {
    "any": lambda x: np.sum(x) if (x > 1.0).any() else np.sum(x * x),
    "all": lambda x: np.sum(x) if np.all(x > -1.0) else np.sum(x * x),
    "max": lambda x: np.sum(x) if np.max(x) > 1.0 else x[0],
    "if element": lambda x: x[0] * x[1] if x[0] < x[1] else x[2],
    "sum in if": lambda x: x[0] if x.sum() > 0 else x[1],
    "loop over elements": lambda x: sum(e if e > 0 else e * e for e in x),
    "min of list": lambda x: min(list(x)) * max(x),
    "sorted": lambda x: sum(i * e for i, e in enumerate(sorted(x))),
    "sorted by key": lambda x: sum(i * e for i, e in enumerate(sorted(x, key=abs))),
    "argmin as index": lambda x: x[np.argmin(x)] * 2.0,
    "argmax as list index": lambda x: [3.0, 1.0, 2.0, 5.0][np.argmax(x)] * x[0],
    "argmax of list": lambda x: [e * e for e in x][int(np.argmax(x))],
    "argmax compared": lambda x: x[0] if np.argmax(x) == 2 else x[1] * x[1],
    "argmin as count": lambda x: sum(x[0] for _ in range(int(np.argmin(x)))) + x[1],
    "mask": lambda x: np.sum(x[x > 0]),
    "mask of another": lambda x: np.sum((x * x)[x > 0.5]),
    "mask written": lambda x: _masked_write(x),
    "mask added to": lambda x: _masked_add(x),
    "mask and size": lambda x: np.sum(x[x > 0]) / max(len(x[x > 0]), 1),
    "mask in if": lambda x: x[x > 0][0] if len(x[x > 0]) else x[1] * x[0],
    "mask shape": lambda x: np.sum(x) * x[x > 0].shape[0],
    "two masks": lambda x: np.sum(x[(x > 0) & (x < 1)]) - np.sum(x[~(x > 0) | (x > 2)]),
    "where": lambda x: np.sum(np.where(x > 0, x, 0.5 * x)),
    "where of one": lambda x: np.sum(x[np.where(x > 0)]),
    "where, first": lambda x: sum(x[i] * (i + 1.0) for i in np.where(x > 0)[0]) + x[0],
    "nonzero": lambda x: np.sum(x[np.nonzero(np.maximum(x, 0.0))]) * 2.0,
    "flatnonzero": lambda x: np.sum(x[np.flatnonzero(x > 0)] ** 2),
    "argwhere": lambda x: np.sum(x[np.argwhere(x > 0)]) * len(np.argwhere(x < 0)),
    "count_nonzero": lambda x: x[0] * np.count_nonzero(x > 0),
    "count as count": lambda x: sum(x[k] for k in range(int(np.count_nonzero(x > 0)))) + x[0],
    "sum of a mask": lambda x: x[0] if (x > 0).sum() > 2 else x[1],
    "compress": lambda x: np.sum(np.compress(x > 0, x)),
    "extract": lambda x: np.sum(np.extract(x > 0, x)),
    "sort": lambda x: np.sort(x) @ np.arange(4.0),
    "sort and slice": lambda x: np.sum(np.sort(x)[:2]),
    "argsort": lambda x: x[np.argsort(x)] @ np.arange(4.0),
    "argsort, first": lambda x: x[np.argsort(x)[0]] * x[int(np.argsort(x)[-1])],
    "argsort of another": lambda x: (x * x)[np.argsort(-x)] @ np.arange(4.0),
    "median": lambda x: np.median(x) * x[0],
    "quantile": lambda x: np.quantile(x, 0.3) + np.percentile(x, 80.0),
    "searchsorted": lambda x: x[0] * np.searchsorted(np.array([-1.0, 0.0, 1.0]), x[1]),
    "searchsorted as index": lambda x: [x[0], x[1], x[2], x[3]][
        np.searchsorted(np.array([-1.0, 0.0, 1.0]), x[1])
    ],
    "digitize": lambda x: np.sum(x * np.digitize(x, np.array([-1.0, 0.0, 1.0]))),
    "floor as index": lambda x: x[int(abs(x[0])) % 4] * x[1],
    "floor as slice": lambda x: np.sum(x[: int(abs(x[0])) + 1]) + np.sum(x[int(abs(x[1])) % 4 :]),
    "clip": lambda x: np.sum(np.clip(x, -0.5, 1.0) * x),
    "sign": lambda x: np.sum(np.sign(x) * x**2),
    "isnan": lambda x: np.sum(x) if not np.isnan(x).any() else x[0],
    "allclose": lambda x: x[0] if np.allclose(x, np.array([0.5, 0.5, 0.5, 0.5])) else np.sum(x),
    "array_equal": lambda x: x[0] if np.array_equal(x, x[::-1]) else np.sum(x * x),
    "float of mask": lambda x: np.sum((x > 0) * x) + np.sum(x * (x > 1).astype(float)),
    "if mask element": lambda x: x[0] if (x > 0)[2] else x[3],
    "argmax by row": lambda x: np.sum(x.reshape(2, 2)[[0, 1], np.argmax(x.reshape(2, 2), axis=1)]),
    "take_along_axis": lambda x: np.sum(
        np.take_along_axis(x.reshape(2, 2), np.argsort(x.reshape(2, 2), axis=1), axis=1)[:, 0]
    ),
    "choose": lambda x: sum(np.where(x > 0, x, 0.0)[k] for k in range(4) if x[k] > 0.25) + x[0],
    "loop to the mean": lambda x: _loop_to_mean(x),
    "norm in while": lambda x: _shrink(x),
    "pivoting": lambda x: _determinant(x),
    "bubble sort": lambda x: _bubble(x),
    "piecewise": lambda x: np.sum(np.select([x < 0, x < 1], [x * x, x], 2.0 * x)),
    "interp": lambda x: np.interp(x[0], np.array([-2.0, 0.0, 2.0]), x[1:]),
}  # fmt: skip


def _masked_write(x):
    y = x * 1.0
    y[y > 0.5] = 0.25
    y[y < 0] *= 2.0
    return np.sum(y * x)


def _masked_add(x):
    x[x > 0] += 1.0
    x[0] = x[1] * x[2] if x[1] > x[2] else x[3]
    return np.sum(x * x)


def _loop_to_mean(x):
    n = 0
    while np.max(x) - np.min(x) > 0.5:
        x = 0.5 * (x + x.mean())
        n += 1
    return np.sum(x * x) * (n + 1)


def _shrink(x):
    while np.sqrt(np.sum(x * x)) > 1.0:
        x = x * 0.75
    return np.sum(x * np.arange(4.0))


def _determinant(x):
    A = x.reshape(2, 2) + np.eye(2) * 0.1
    if abs(A[0, 0]) < abs(A[1, 0]):
        A = A[::-1]
    return A[0, 0] * (A[1, 1] - A[1, 0] / A[0, 0] * A[0, 1]) if A[0, 0] != 0 else A[0, 1]


def _bubble(x):
    for i in range(3):
        for j in range(3 - i):
            if x[j] > x[j + 1]:
                x[j], x[j + 1] = x[j + 1] * 1.0, x[j] * 1.0
    return x @ np.array([1.0, -2.0, 3.0, 0.5])


VECTORS = [
    np.array(v)
    for v in [
        (0.5, 1.5, -0.75, 0.25), (1.5, 0.5, 2.5, -0.5), (-1.0, -2.0, -0.5, -0.25),
        (0.5, 0.5, 0.5, 0.5), (3.0, -1.0, 0.1, 2.2), (0.0, 0.0, 1.0, -1.0), (0.3, 0.2, 0.1, 0.4),
        (-0.5, 2.5, 2.5, -0.5), (0.9, 0.8, 0.7, 0.6),
    ]
]  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name):
    f = ARRAYS[name]
    F = nt.function(f)
    for x in walks(VECTORS, name, 12):
        check(F, f, x)
    made = F.counters.recordings
    for x in walks(VECTORS, name + "again", 6):
        check(F, f, x)
    assert F.counters.recordings == made, "all ways have been recorded"


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[x > 0],
        lambda x: np.nonzero(x > 0)[0],
        lambda x: (x > 0, np.argsort(x), np.sort(x)),
        lambda x: np.where(x > 0)[0] if x[0] > 0 else None,
        lambda x: [e for e in x if e > 0],
        lambda x: {"big": x[x > 1.0], "n": len(x[x > 1.0]), "at": np.argmax(x)},
        lambda x: x[: int(abs(x[0]))],
        lambda x: np.zeros(int(abs(x[0]))),
        lambda x: x.reshape((2, 2) if x[0] > 0 else (4, 1)),
    ],
)
def test_results_whose_shape_flips(f):
    F = nt.function(f)
    for x in walks(VECTORS, 1, 20):
        check_value(F, f, x)


# --- loops whose length changes -------------------------------------------------------------------


def newton(x, tol):
    y = x
    while abs(y * y - x) > tol:
        y = 0.5 * (y + x / y)
    return y


def linear(x, tol):
    y, n = x, 0
    while y > tol:
        y = y * 0.99
        n += 1
    return y * n


def counted(x, n):
    y = x
    while n > 0:
        y = y * 0.999 + 0.001
        n = n - 1
    return y


@pytest.mark.parametrize(
    ("f", "points"),
    [
        (newton, [(2.0, 1e-12), (2e10, 1e-2), (2.0, 0.5), (1e-4, 1e-12), (1.0, 1.0)]),
        (linear, [(1.0, 0.97), (1.0, 0.5), (1.0, 0.05), (1.0, 0.992), (3.0, 0.02), (0.1, 1.0)]),
        (counted, [(0.5, 4.0), (0.5, 400.0), (0.25, 40.0), (0.5, 1.0), (0.5, 0.0)]),
        (counted, [(0.5, 4), (0.5, 400), (0.25, 40), (0.5, 1), (0.5, 0)]),
    ],
    ids=["newton", "linear", "counted by a float", "counted by an integer"],
)
def test_loops_whose_length_changes_a_hundredfold(f, points):
    F = nt.function(f)
    for x, tol in walks(points, f.__name__, 12):
        check(F, f, x, tol)
    made = F.counters.recordings
    for x, tol in walks([(x * (1 + 1e-9), tol) for x, tol in points], 2, 6):
        check(F, f, x, tol)
    assert F.counters.recordings == made


def test_a_loop_resumes_at_the_guard_that_flips():
    """From 10 rounds to 1000 and back: each call sweeps its own rounds once."""
    F = nt.function(linear)
    F.clear()
    long, short = (1.0, 0.99**1000.5), (1.0, 0.99**10.5)
    for x, tol in (long, short, long, short):
        check_value(F, linear, x, tol)

    def swept(*args):
        before = F.counters.instructions
        F(*args)
        return F.counters.instructions - before

    lengths = [(swept(*short), swept(*long)) for _ in range(3)]
    for few, many in lengths:
        assert few < many / 20
        assert many < 1000 * 12
    assert swept(*long) >= max(many for _, many in lengths) - 60  # no flip, the same rounds
    assert F.counters.recordings == 2


# --- resuming -------------------------------------------------------------------------------------

LONG = 3000


def chain(x, steps):
    for _ in range(steps):
        x = x * 0.9999 + 1e-4
    return x


def one_guard(x):
    y = chain(x, LONG)
    return chain(y, 10) if y > 0 else chain(y * y, 10)


def guard_in_the_middle(x):
    y = chain(x, LONG)
    z = y if y > 0 else -y
    return chain(z, LONG)


def two_guards(x, a, b):
    y = chain(x, LONG)
    y = y * 2.0 if a > 0 else y * 3.0
    y = chain(y, LONG)
    y = y * 5.0 if b > 0 else y * 7.0
    return chain(y, LONG)


def swept_by(F, *args):
    """Forward instructions of one call."""
    before = F.counters.instructions
    F(*args)
    return F.counters.instructions - before


@pytest.mark.parametrize("f", [one_guard, guard_in_the_middle])
def test_a_flip_resumes_at_the_guard(f):
    F = nt.function(f)
    up, down = 1.0, -1.0
    check(F, f, up)
    steady = swept_by(F, up)
    assert steady >= 2 * LONG
    check(F, f, down)
    assert swept_by(F, down) <= 1.1 * steady
    flips = F.counters.flips
    for x in (up, down, up, down):
        assert swept_by(F, x) <= 1.05 * steady  # the part before the guard is swept once
    assert F.counters.flips == flips + 4
    assert swept_by(F, down) <= 1.05 * steady and F.counters.flips == flips + 4
    assert F.counters.recordings == 2 or F.counters.recordings == 4  # 2 each, plain and gradient
    for x in (up, down, up, 0.5, -0.5):
        check(F, f, x)


def test_flips_at_several_guards():
    F = nt.function(two_guards)
    ways = list(itertools.product((1.0, -1.0), repeat=2))
    for a, b in ways:
        check_value(F, two_guards, 0.5, a, b)
    steady = swept_by(F, 0.5, *ways[-1])
    made = F.counters.recordings
    rng = random.Random(0)
    for _ in range(20):
        a, b = rng.choice(ways)
        assert swept_by(F, 0.5, a, b) <= 1.05 * steady
        check_value(F, two_guards, 0.25, a, b)
    assert F.counters.recordings == made == 4
    assert len(F.tapes) == 4


def test_a_first_flip_keeps_what_was_swept_before_it():
    """The numbers before the guard belong to the inputs of this call, not of the recording."""
    F = nt.function(one_guard)
    for x in (1.0, 2.0, -1.5, -3.0, 4.0):
        check(F, one_guard, x)


def test_many_replays_count():
    F = nt.function(one_guard)
    F.clear()
    F(1.0)
    before = F.counters.replays
    for k in range(7):
        F(1.0 + k)
    assert F.counters.replays == before + 7
    assert F.counters.recordings == 1 and F.counters.flips == 0


# --- explain --------------------------------------------------------------------------------------


def explained(x):
    y = x * 2.0
    if y > 3.0:  # first
        y = y * y
    for _ in range(int(x)):  # second
        y = y + 1.0
    return y


def test_explain_names_lines_ways_and_counts():
    F = nt.function(explained)
    assert "explained" in str(F.explain())
    for x in (1.0, 1.2, 2.0, 1.1, 2.5, 2.2, 1.4):
        F(x)
    text = str(F.explain())
    for part in ("# first", "# second"):
        assert f"test_guards.py:{line_of(explained, part)}" in text
    first = next(t for t in text.splitlines() if f":{line_of(explained, '# first')}" in t)
    assert re.search("true", text, re.I) and re.search("false", text, re.I)
    assert {"3", "4"} <= set(re.findall(r"\d+", text)), (first, text)  # false 4 times, true 3
    assert str(F.explain()) == text  # looking changes nothing


def test_explain_of_a_helper_and_of_a_nested_function():
    inner = nt.function(lambda x: x * x if x > 1.0 else x)  # inner
    F = nt.function(lambda x: inner(x) + if_less(x, 0.5))
    for x in (0.0, 0.7, 2.0):
        F(x)
    text = str(F.explain())
    assert f"test_guards.py:{line_of(if_less, 'if x < y')}" in text
    here = line_of(test_explain_of_a_helper_and_of_a_nested_function, "# inner")
    assert f"test_guards.py:{here}" in text


def test_explain_without_guards():
    F = nt.function(lambda x: x * 2.0)
    F(1.0)
    assert isinstance(str(F.explain()), str) and str(F.explain())


def test_advice_for_a_comparison_that_keeps_flipping():
    F = nt.function(if_less)
    for k in range(60):
        F(float(k % 2), 0.5)
    assert F.counters.flips >= 59
    assert "nt.where" in str(F.explain())


# --- the cap --------------------------------------------------------------------------------------


def wavering(x):
    y = 0.0
    for k in range(8):
        if nt.floor(x / 2.0**k) % 2 == 0:  # wavers
            y = y + x
    return y


def test_the_cap_names_the_comparison():
    F = nt.function(wavering, max_tapes=5)
    with pytest.raises(nt.TooManyTapesError) as caught:
        for x in range(256):
            assert F(float(x)) == wavering(float(x))
    message = str(caught.value)
    assert f"test_guards.py:{line_of(wavering, '# wavers')}" in message
    assert "nt.where" in message and "5" in message
    assert len(F.tapes) <= 5
    assert F(0.0) == wavering(0.0)  # what is known still replays
    F.clear()
    assert F(255.0) == wavering(255.0)
    G = nt.function(wavering, max_tapes=300)
    for x in random.Random(1).sample(range(256), 60):
        check(G, wavering, float(x))


def test_the_cap_counts_for_each_signature():
    F = nt.function(lambda x: np.sum(x) if np.sum(x) > 0 else np.sum(x * x), max_tapes=2)
    for n in range(1, 6):
        for sign in (1.0, -1.0):
            x = sign * np.arange(1.0, n + 1)
            assert F(x) == (x.sum() if x.sum() > 0 else (x * x).sum())


def test_a_loop_without_end_can_be_capped():
    F = nt.function(linear, max_tapes=4)
    with pytest.raises(nt.TooManyTapesError, match=f":{line_of(linear, 'while y > tol')}"):
        for k in range(1, 20):
            F(1.0, 0.99 ** (k + 0.5))


# --- programs that are not functions of their arguments -------------------------------------------


def test_random_numbers_are_found_when_a_flip_records_again():
    rng = random.Random(0)
    F = nt.function(lambda x: (x * rng.random() if x > 0 else x) + (1.0 if x > 1.0 else 2.0))
    with pytest.raises(nt.UnstableProgramError):
        for x in (0.5, 2.0, 0.5, 3.0, -1.0):
            F(x)


@pytest.mark.parametrize(
    "number",
    [random.random, lambda: np.random.random(), time.perf_counter],
)
def test_unstable_constants(number):
    @nt.function
    def F(x):
        y = x * number()
        return y if x > 0 else -y

    with pytest.raises(nt.UnstableProgramError):
        F(1.0)
        F(-1.0)


def test_unstable_ways():
    """The state of a captured iterator cannot be seen: such a function runs as plain Python."""
    ways = itertools.cycle([True, False])

    @nt.function
    def F(x):
        y = nt.sin(x) if next(ways) else nt.cos(x)
        return y if x > 0 else -y

    for k, x in enumerate((1.0, -1.0, 2.0, -2.0, 1.0)):
        expected = math.sin(x) if k % 2 == 0 else math.cos(x)
        assert F(x) == pytest.approx(math.copysign(1.0, x) * expected, rel=1e-15)


def test_an_unstable_program_leaves_nothing_behind():
    wild = True

    @nt.function
    def F(x):
        y = x * (random.random() if wild else 1.0)
        return y if x > 0 else -y

    with pytest.raises(nt.UnstableProgramError):
        F(1.0)
        F(-1.0)
    wild = False
    for x in (1.0, -1.0, 2.0, -2.0):
        assert F(x) == abs(x)
        assert nt.grad(F)(x) == math.copysign(1.0, x)


# --- values that would be looked up by identity ---------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * 2.0 if x in {1.0, 2.0} else x,
        lambda x: {1.0: x * 5.0, 2.0: x}.get(x, 3.0 * x),
        lambda x: {1: 10.0, 2: 20.0}.get(math.floor(x), 0.0) * x,
        lambda x: len({x, 1.0, 2.0}) * x,
        lambda x: x * float(f"{x:.3f}"),
        lambda x: f"{x:.2f}",
        lambda x: x * np.array([1.0, 5.0, 7.0, 9.0])[int(x) % 4],
        lambda x: x * [1.0, 5.0, 7.0, 9.0][int(x) % 4],
        lambda x: "ab"[int(x) % 2] * int(x),
        lambda x: x * hash(int(x)),
    ],
)  # fmt: skip
def test_numbers_as_keys_and_text(f):
    """As in plain Python, or refused with the line: never the answer for another number."""
    F = nt.function(f)
    refused = 0
    for x in (1.0, 2.0, 3.0, 12.0, 1.0, 2.0):
        try:
            found = F(x)
        except (nt.TapeError, TypeError) as error:
            assert "test_guards.py:" in str(error)
            refused += 1
        else:
            assert found == f(x), (found, f(x), x)
    assert refused in (0, 6)


def test_text_of_a_value_shows_that_it_is_traced():
    """print(x) works inside; nobody takes the text for a number."""
    F = nt.function(lambda x: (str(x), repr(x), f"{x}"))
    for x in (1.0, 2.0):
        assert all(text.startswith("<traced") for text in F(x))
