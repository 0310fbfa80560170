"""Functions that mean the same in Python and in compiled code, each with arguments for it.

They are compared as plain Python, compiled, recorded by compiled code in both ways, and recorded
eagerly.  What a function is about is its name.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import ndtape as nt

CASES: list[tuple[Any, tuple[Any, ...], Any]] = []


def case(*args: Any, argnums: Any = 0) -> Any:
    """Decorator: one more call to compare; several may stand above each other."""

    def register(f: Any) -> Any:
        CASES.append((f, args, argnums))
        return f

    return register


# --- branches and loops ---------------------------------------------------------------------------


@case(0.5)
@case(-0.5)
@case(1.5)
def if_elif_else(x):
    if x < 0:
        return x * x
    elif x < 1.0:
        return x * x * x
    else:
        return nt.sin(x)


@case(3.0, 2.0)
def while_with_break(x, limit):
    n = 0
    while True:
        x = x * 0.7
        n += 1
        if x < limit * 0.1:
            break
    return x * n


@case(0.3, 10)
def for_with_continue_and_else(x, n):
    total = 0.0
    for i in range(n):
        if i % 3 == 0:
            continue
        total += x * i
    else:
        total = total * x
    return total


@case(0.3, 4, argnums=0)
def nested_loops(x, n):
    s = 0.0
    for i in range(n):
        for j in range(i):
            if j > 2:
                break
            s += nt.sin(x * i + j)
    return s


@case(0.3, 0.7, 0.1, argnums=(0, 1, 2))
@case(0.7, 0.3, 0.9, argnums=(0, 1, 2))
def chained_comparisons(x, y, u):
    if x < y < 1.0:
        return x * y
    if u > x >= y:
        return u * x
    return x + y + u


@case(0.3, -0.7, argnums=(0, 1))
@case(0.0, -0.7, argnums=(0, 1))
@case(-2.0, 0.0, argnums=(0, 1))
@case(2.0, 3.0, argnums=(0, 1))
def and_or_not(x, y):
    s = x * 0.5
    if x > 0 and y > 0:
        s += x * y
    if x > 0 or y > 0:
        s += x
    if not x > 1:
        s += y * 2.0
    if not (x > 0 and not y < 0):
        s -= x * x
    return s


@case(0.3)
@case(0.0)
@case(-0.0)
@case(float("nan"))
def truth_of_a_value(x):
    y = x * 2.0
    if y:
        return y * 3.0
    return y + 1.0


@case(0.3, 0.4, argnums=(0, 1))
@case(0.0, 0.4, argnums=(0, 1))
def and_or_of_values(x, y):
    return (x and y) * 2.0 + (x or y) * 3.0


@case(0.3, 0.4, argnums=(0, 1))
def conditional_expressions(x, y):
    z = x if x > y else y
    return (z if z < 10 else x) * (x if y > x else 2.0)


@case(0.3, 0.3)
def comparison_as_a_number(x, y):
    return x * (x > 0.2) + (x == y) * x + True * x


@case(2.0, 3)
def early_return_from_a_loop(x, n):
    for i in range(100):
        x = x * 1.1
        if i == n:
            return x
    return 0.0 * x


@case(1.5, 6)
def while_on_an_integer(x, n):
    y = 1.0
    while n > 0:
        if n & 1:
            y *= x
        x *= x
        n >>= 1
    return y


# --- numbers --------------------------------------------------------------------------------------


@case(0.3, 0.7, argnums=(0, 1))
@case(0.7, 0.3, argnums=(0, 1))
@case(0.5, 0.5, argnums=(0, 1))
def min_max_abs(x, y):
    return max(x, y) * 2.0 + min(x, y, 0.4) - abs(x - y - 1.0) + max(x, 0.0) + min(1, y)


@case(1.7)
@case(-1.7)
def whole_powers(x):
    return x**2 + x**3 + x**-1 + x**0 + x**-2 + x**4 + x**1 + x**2.0 + x**3.0 + x**-1.0


@case(1.7)
def broken_powers(x):
    return x**0.5 + x**-0.5 + 2**x + 2.0**x + x**x + pow(x, 2) + pow(x, 1.5) + x**1.0


@case(1.7, 2)
@case(1.7, 3)
@case(1.7, -1)
@case(1.7, 0)
@case(1.7, -2)
@case(-1.7, 5)
@case(0.0, 2)
@case(0.0, 1)
@case(0.0, 0)
def whole_power_from_outside(x, n):
    return x**n


@case(1.7, 2.0)
@case(1.7, 0.3)
@case(1.7, -1.0)
def power_from_outside(x, p):
    return x**p


@case(3.7, 2)
def powers_of_whole_numbers(x, n):
    return n**x + x**n + (x**n) ** n


@case(2.6)
@case(-2.6)
@case(2.5)
@case(3.5)
@case(-0.5)
def rounding(x):
    return x * math.floor(x) + x * math.ceil(x) + x * round(x) + x * int(x) + x * math.trunc(x)


@case(2.6)
@case(-2.6)
def floor_and_modulo(x):
    return x // 1.0 + x % 1.0 * 3.0 + 7.0 % x + 7 // x + x % -2 + (x * 3) // 2


@case(2.6)
def mixed_with_whole_numbers(x):
    return 1 + x * 2 - 3 / x + (4 - x) / 2 + x / 3 + -x + +x + 1 / 2 * x + 7 // 2 * x


@case(2.6, 3, argnums=0)
def whole_numbers_that_become_floats(x, n):
    s = 0
    for _ in range(n):
        s += x
    p = 1
    for _ in range(n):
        p *= x
    best = -1
    if x > 0:
        best = x * 2
    return s * p + best


@case(2.6, 3)
def numbers_that_become_values(x, n):
    s = 0.0
    last = 1.0
    for i in range(n):
        if i > 0:
            last = s
        s = s + x * i
    return s + last * x


@case(2.5)
def same_variable_twice(x):
    return x * x + (x - x) + x / x + x**x + max(x, x) + min(x, x) + nt.arctan2(x, x) + (x + x)


@case(2.5)
def values_overwritten(x):
    y = x
    x = x * 2.0
    y, x = x, y
    x += y
    x -= 1.0
    x *= y
    x /= 3.0
    x **= 2
    x //= 0.5
    y %= 3.0
    return x + y


@case(2.5, 3.5, 4.5, argnums=(0, 1, 2))
def an_argument_that_is_not_used(x, y, u):
    return x * u


@case(2.5)
def a_constant(x):
    return 3.0


@case(2.5)
def a_whole_constant(x):
    return 3


@case(2.5)
def the_argument_itself(x):
    return x


@case(2.5, 1.5, argnums=1)
def an_argument_that_does_not_move(x, y):
    return x


@case(2.5)
@case(-2.5)
def value_or_constant(x):
    if x > 0:
        return x * 2.0
    return 1.0


@case(2.5)
@case(-2.5)
def value_or_whole_constant(x):
    return x if x > 0 else 0


@case(0.5)
def infinities(x):
    y = x / 0.0 if x < 0 else x
    z = math.inf
    if y < z:
        z = y
    return z * 2.0 + nt.where(x > 1.0, nt.log(x - 1.0), x)


@case(2.0)
def pi_and_e(x):
    return x * math.pi + np.pi * x * x + x / math.e + x * math.tau


@case(0.7, 0.2, argnums=(0, 1))
def functions_of_nt(x, y):
    return (nt.sigmoid(x) + nt.gelu(y) + nt.softplus(x * y) + nt.logaddexp(x, y) + nt.erf(x)
            + nt.gammaln(x + 2) + nt.digamma(x + 1) + nt.clip(x, 0.1, y) + nt.where(x > y, x, y)
            + nt.hypot(x, y) + nt.maximum(x, 0.5) + nt.fma(x, y, 1) + nt.xlogy(x, y)
            + nt.leaky_relu(-x, 0.1) + nt.relu(x))  # fmt: skip


@case(0.7, 0.2, argnums=(0, 1))
def functions_of_numpy(x, y):
    return (np.sin(x) + np.exp(y) * np.tanh(x) + np.maximum(x, y) + np.abs(-x) + np.sqrt(x * x + y)
            + np.log1p(x) + np.power(x, y) + np.square(x) + np.arctan2(x, y) + np.sign(x) * y
            + np.hypot(x, y) + np.floor(x) + np.minimum(x, 0.0) + np.expm1(x) + np.fabs(y)
            + np.logaddexp(x, y) + np.add(x, y) + np.true_divide(x, y) + np.cosh(x))  # fmt: skip


@case(0.7, argnums=0)
def stopped(x):
    return nt.stop_gradient(x) * x + nt.stop_gradient(x * x)


# --- calls ----------------------------------------------------------------------------------------


@nt.jit
def helper_jit(x, y=2.0):
    return nt.sin(x) * y


def helper_plain(x):
    return x * x + K


def recursive(n, x):
    if n <= 0:
        return x
    return recursive(n - 1, x) * x


K = 0.25
TABLE = np.array([1.0, -2.0, 0.5])
PAIR = (2.0, 3)
FLAG = True
NAME = "sin"


@case(0.7, 0.2, argnums=(0, 1))
def calls_of_others(x, y):
    return helper_jit(x) + helper_jit(y, x) + helper_plain(x * y) + helper_jit(x, y=y)


@case(0.7, 4, argnums=0)
def calls_with_whole_numbers(x, n):
    return power_by_loop(x, n) + power_by_loop(2.0, n) * x


def power_by_loop(x, n):
    y = 1.0
    for _ in range(n):
        y = y * x
    return y


@case(0.7, 2)
def captured_constants(x, i):
    s = x * K + TABLE[i] * x + PAIR[0] * x + PAIR[1]
    if FLAG:
        s = s * x
    for k in range(3):
        s += TABLE[k] * x
    return s + len(TABLE) + TABLE.shape[0]


@case(0.7)
def inner_function(x):
    def inner(y):
        return y * y + x

    return inner(x) + inner(2.0)


@case(0.7)
def default_arguments(x, y=2.0, n=3):
    return x * y + n


@case(0.7, 5.0)
@case(0.7, 5.0, 6, argnums=(0, 1))
def default_arguments_given(x, y=2.0, n=3):
    return x * y + n


@case(0.7, 4, argnums=0)
def recursion(x, n):
    return recursive(n, x)


# --- sums in place --------------------------------------------------------------------------------


@case(0.7, 5)
def old_sums_in_another_variable(x, n):
    s = x * 1.0
    before = s
    for i in range(n):
        before = s
        s += x * i
    return s * before + before


@case(0.7, 5)
def fibonacci(x, n):
    a, b = x * 0.5, x * x
    for _ in range(n):
        a, b = b, a + b
    c, d = 0.0, 1.0
    for _ in range(n):
        c, d = d, c + d * x
    return a * b + c * d


@case(0.7, 5)
def sums_of_sums(x, n):
    s = 0.0
    t = 0.0
    u = 0.0
    for i in range(n):
        s += x * i
        t += s
        u += t * s
        if i % 2:
            s -= t * 0.1
    return s + t + u


@case(0.7, 5)
def sums_in_a_list(x, n):
    s = 0.0
    values = [s * x]
    for i in range(n):
        s += x * i
        values.append(s)
        s += x
    t = 0.0
    for v in values:
        t += v * s
    return t + values[1] * values[2]


@case(0.7, 5)
def sums_in_an_array(x, n):
    s = x * 0.0
    y = nt.zeros(6)
    for i in range(n):
        y[i] = s
        s += x * (i + 1)
        y[5] += s
        s -= y[5] * 0.1
    t = 0.0
    for i in range(6):
        t = t + y[i] * (i + 1)
    return t * s


@case(0.7, 5)
def sums_in_tuples(x, n):
    s = x * 2.0
    pair = (s, 1.0)
    for i in range(n):
        if i == 2:
            pair = (s, s * x)
        s += pair[0] * 0.1 + i
    return s + pair[0] * pair[1]


@case(0.7, 5)
def sums_that_functions_keep(x, n):
    s = x * 2.0
    kept = first_of(s, x)
    for _ in range(n):
        kept, s = first_of(s, kept), s + x
        s += kept
    return s * kept


def first_of(a, b):
    return a if b > -100.0 else b


@case(0.7, 5)
def sums_that_closures_keep(x, n):
    s = x * 2.0

    def inner(y):
        return s * y

    t = inner(x)
    for i in range(n):
        t += inner(i * x)
    return t


@case(0.7, 5)
def nested_sums(x, n):
    total = 0.0
    for i in range(n):
        s = x * i
        for j in range(i):
            s += x * j
            if s > 2.0:
                break
            total += s
        else:
            total -= s * 0.5
        total += s * s
    return total


@case(0.7, 5)
@case(-0.7, 5)
def sums_on_two_ways(x, n):
    s = 0.0 * x
    t = s
    for i in range(n):
        if x > 0.0:
            s += x * i
        else:
            t = s
            s = s - x
        if i == 3:
            s = t + 1.0
    return s * 2.0 + t * x


@case(0.7, 5)
def sums_that_begin_as_numbers(x, n):
    s, t = 0, 1
    for i in range(n):
        s += i
        if i == 2:
            s += x
        t -= s
    u = 5
    u += s
    s += u
    return s * t + u


@case(0.7, 5)
def sums_of_themselves(x, n):
    s = x * 1.5
    for _ in range(n):
        s += s
        s -= 0.25 * s
        s = s + s * x
        s = s - (s + x) * 0.1
    return s


@case(0.7, 5)
def the_argument_summed(x, n):
    y = x
    for i in range(n):
        x += y * i
        x -= 1.0
    return x * y


@case(0.7, 5)
def a_loop_that_returns_its_old_sum(x, n):
    s = x * 1.0
    for _ in range(n):
        old = s
        s += x * x
        if s > 2.0:
            return old * s
    return s


@case(0.7, 5)
def a_sum_with_a_condition_on_it(x, n):
    s = 0.0
    while s < 2.0:
        s += x
        if s > 1.0 and s - x < 1.0:
            s += s * 0.5
    return s + (s if s > n else -s)


# --- tuples and lists -----------------------------------------------------------------------------


class Point(NamedTuple):
    x: float
    y: float


@case((0.5, 0.7))
def a_tuple(p):
    x, y = p
    return x * y + p[0] + len(p)


@case((0.5, 0.7, 0.1))
def a_loop_over_a_tuple(p):
    s = 0.0
    for x in p:
        s += x * x
    return s


@case((0.5, (0.7, 0.1)))
def nested_tuples(p):
    x, (y, u) = p
    return x * y * u


@case(Point(0.5, 0.7))
def a_namedtuple(p):
    return p.x * p.y + p[1]


@case(Point(0.5, 0.7), 2.0, argnums=(0, 1))
def a_namedtuple_made(p, s):
    q = Point(p.x * s, p.y + s)
    q = Point(q.y, q.x)
    return q.x * q.y + Point(p.x, 2.0).x


@case(0.5, 0.7, argnums=(0, 1))
def tuples_inside(x, y):
    t = (x, y, 2.0, 3)
    u = (t[0] * t[1], t[2])
    a, b = u
    a, b = b, a
    return a * b + t[3] * x


@case(0.5, 4)
def a_list(x, n):
    values = [x]
    for i in range(n):
        values.append(values[-1] * x + i)
    values[0] = values[1] * 2.0
    s = 0.0
    for v in values:
        s += v
    return s + values[2] * len(values) + values.pop()


@case(0.5, 4)
def a_list_comprehension(x, n):
    values = [x * i for i in range(n)]
    s = 0.0
    for i, v in enumerate(values):
        s += v * i
    for v, w in zip(values, values[1:]):  # noqa: B905, RUF007
        s += v * w
    return s


@case(0.5, 0.25, argnums=(0, 1))
def a_list_with_numbers(x, y):
    values = [0.0, 1.0, 2.0]
    s = x
    for v in values:
        s = s * v + y
    return s


# --- arrays ---------------------------------------------------------------------------------------

LINE = np.array([0.3, -0.7, 1.1])
GRID = np.array([[0.3, -0.7, 1.1], [0.9, 0.2, -0.4]])


@case(LINE)
def elements(x):
    return x[0] * x[1] + x[-1] * x[2]


@case(LINE)
def loop_over_elements(x):
    s = 0.0
    for i in range(len(x)):
        s += nt.sin(x[i]) * i
    for e in x:
        s += e * e
    return s + x.shape[0] + x.size


@case(LINE)
def written_in_place(x):
    y = nt.zeros(len(x))
    for i in range(len(x)):
        y[i] = x[i] * x[0]
        y[i] += 1.0
        y[0] *= 0.5
    y[1] = 2.0
    return y[0] * y[2] + y[1] * x[1]


@case(GRID)
def a_matrix(a):
    s = 0.0
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            s += a[i, j] * a[i, 0]
    return s


@case(GRID)
def a_matrix_written(a):
    b = nt.zeros((3, 2))
    for i in range(2):
        for j in range(3):
            b[j, i] = a[i, j] * a[0, 0]
            b[j, i] += a[1, 1]
    return b[0, 0] * b[2, 1] + b[1, 1]


@case(LINE, 0.5, argnums=(0, 1))
@case(LINE, 0.5, argnums=1)
def array_and_scalar(x, s):
    return x[0] * s + x[1] * s * s + x[2]


@case(0.5, LINE)
def array_that_does_not_move(s, x):
    t = 0.0
    for i in range(len(x)):
        t += x[i] * s
    return t


@case((LINE, 0.5))
def array_in_a_tuple(p):
    x, s = p
    return x[0] * s + x[1]


@case(np.array([2, 3]), 0.5, argnums=1)
def whole_array_that_does_not_move(n, x):
    s = 0.0
    for i in range(len(n)):
        s += x ** n[i] * n[i]
    return s


@case(np.array([True, False]), 0.5, argnums=1)
def truth_array_that_does_not_move(n, x):
    s = 0.0
    for i in range(len(n)):
        if n[i]:
            s += x * x
    return s
