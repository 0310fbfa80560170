"""Accuracy of ndtape.vmath against mpmath, its special values, and packs against scalar bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf
from numba import njit

from ndtape import vmath
from ndtape.vmath.lanes import LANES, pack_at

inf, nan = math.inf, math.nan
N = 600  # random points of each kind
rng = np.random.default_rng(20)


def uniform(low, high, n=N):
    return rng.uniform(low, high, n)


def powers(low, high, signed=True, n=N):
    """2**low to 2**high, evenly in the exponent."""
    x = 2.0 ** uniform(low, high, n)
    return x * rng.choice([-1, 1], n) if signed else x


def around(*centres, steps=20):
    """The neighbours of each centre, one ulp apart."""
    offsets = np.arange(-steps, steps + 1)
    return np.concatenate([c + offsets * np.spacing(c) for c in centres])


ANYWHERE = np.concatenate([powers(-1074, 1024), [5e-324, 2.0**-1022, 1.0, 0.5, 2.0, 1.7e308]])
POSITIVE = np.abs(ANYWHERE)
SMALL = np.concatenate([uniform(-1, 1), uniform(-4, 4), powers(-1074, -20)])
ANGLES = np.concatenate([
    [float(k * mpmath.pi / 2) for k in range(1, 200)],
    [float(int(k) * mpmath.pi / 2) for k in rng.integers(1, 2**31, N)],
    around(math.pi, math.pi / 2, 2.0**30 - 1),
    uniform(-10, 10), uniform(-1e6, 1e6), powers(-1074, -20), powers(25, 35),
    powers(35, 1023, n=40), [1e300, 6381956970095103 * 2.0**797],  # the worst for reduction
])  # fmt: skip


class Case(NamedTuple):
    bound: float  # in ulp of the exact result
    exact: Callable[..., mpf]
    points: np.ndarray  # arguments, or rows of them


def real(f):
    """f, nan where it is complex."""

    def g(*x):
        value = f(*x)
        return mp.nan if isinstance(value, mpmath.mpc) else value

    return g


def join(*samples):
    return np.concatenate(samples)


def pairs(*samples):
    return np.concatenate([np.stack(s, axis=1) for s in samples])


def exact_erfc(x):
    # mpmath's own cannot take huge arguments.
    return mp.erfc(x) if abs(x) < 1e4 else mpf(0 if x > 0 else 2)


def exact_gammaln(x):
    return mp.log(abs(mp.gamma(x))) if abs(x) < 300 else mp.re(mp.loggamma(x))


INSIDE = SMALL[abs(SMALL) < 1]
NEAR_ONE = 1 - powers(-53, -1, signed=False)

# Worst errors seen are about two thirds of the bounds.
CASES = {
    "exp": Case(1.0, mp.exp, join(uniform(-746, 710), uniform(-746, -707), SMALL)),
    "exp2": Case(1.0, lambda x: mpf(2) ** x, join(uniform(-1075, 1024), SMALL)),
    "expm1": Case(1.0, mp.expm1, join(uniform(-50, 710), SMALL)),
    "log": Case(1.0, mp.log, join(POSITIVE, uniform(0.5, 2), around(1, 2**0.5))),
    "log2": Case(
        1.0,
        lambda x: mp.log(x, 2),
        join(POSITIVE, uniform(0.5, 2), around(1), 2.0 ** np.arange(-1074, 1024)),
    ),
    "log10": Case(1.0, mp.log10, join(POSITIVE, uniform(0.5, 2), around(1), 10.0 ** np.arange(23))),
    "log1p": Case(
        1.0, mp.log1p, join(SMALL[SMALL > -1], POSITIVE, around(2**0.5 - 1, 2**-0.5 - 1))
    ),
    "sin": Case(1.5, mp.sin, ANGLES),
    "cos": Case(1.5, mp.cos, ANGLES),
    "tan": Case(2.0, mp.tan, ANGLES),
    "arcsin": Case(1.0, mp.asin, join(INSIDE, around(0.5), NEAR_ONE)),
    "arccos": Case(1.0, mp.acos, join(INSIDE, around(0.5), -NEAR_ONE)),
    "arctan": Case(1.0, mp.atan, join(SMALL, ANYWHERE, around(7 / 16, 11 / 16, 19 / 16, 39 / 16))),
    "arctan2": Case(
        1.5, mp.atan2, pairs((ANYWHERE, ANYWHERE[::-1]), (uniform(-1, 1), uniform(-1, 1)))
    ),
    "sinh": Case(2.0, mp.sinh, join(SMALL, uniform(-711, 711), around(710.4758600739439))),
    "cosh": Case(1.5, mp.cosh, join(SMALL, uniform(-711, 711), around(710.4758600739439))),
    "tanh": Case(1.0, mp.tanh, join(SMALL, uniform(-23, 23))),
    "arcsinh": Case(1.5, mp.asinh, join(SMALL, ANYWHERE)),
    "arccosh": Case(
        1.5, mp.acosh, join(uniform(1, 3), 1 + powers(-52, 3, False), POSITIVE[POSITIVE >= 1])
    ),
    "arctanh": Case(1.0, mp.atanh, join(INSIDE, NEAR_ONE)),
    "sqrt": Case(0.5, mp.sqrt, POSITIVE),
    "cbrt": Case(
        1.25,
        lambda x: mp.sign(x) * mp.cbrt(abs(x)),
        join(ANYWHERE, uniform(0.4, 3), np.arange(50.0) ** 3),
    ),
    "hypot": Case(
        1.0,
        lambda x, y: mp.sqrt(x * x + y * y),
        pairs((ANYWHERE, ANYWHERE[::-1]), (uniform(0, 1), uniform(0, 1))),
    ),
    "power": Case(
        1.0,
        real(mp.power),
        pairs(
            (powers(-1074, 1024, False), uniform(-2, 2)),
            (uniform(0, 2), powers(-20, 20)),
            (uniform(0.9, 1.1), uniform(-7000, 7000)),
            (uniform(-30, 30), np.rint(uniform(-200, 200))),
        ),
    ),
    "erf": Case(
        1.0,
        lambda x: 1 - exact_erfc(x) if abs(x) > 1 else mp.erf(x),
        join(SMALL, uniform(-6, 6), around(1)),
    ),
    "erfc": Case(
        1.5,
        exact_erfc,
        join(SMALL, uniform(-6, 6), uniform(0, 27.3), uniform(26, 27.3), around(0.5)),
    ),
    "gammaln": Case(
        2.0,
        exact_gammaln,
        join(
            uniform(0, 10),
            uniform(0.5, 3),
            powers(-1074, 1014, False),
            around(1, 2, 0.6, 1.45, 2.6, 8),
        ),
    ),
    "digamma": Case(
        2.0,
        mp.digamma,
        join(
            uniform(0, 10),
            uniform(1, 2),
            powers(-1022, 1023, False),
            around(1, 2, 8, 1.4616321449683622),
        ),
    ),
    "polygamma": Case(
        1.75,
        lambda n, x: mp.psi(int(n), x),
        pairs(
            (rng.integers(1, 21, 400).astype(float), uniform(0, 40, 400)),
            (rng.integers(1, 4, 200).astype(float), powers(-30, 40, False, 200)),
        ),
    ),
    "sigmoid": Case(2.0, lambda x: 1 / (1 + mp.exp(-x)), join(SMALL, uniform(-745, 40))),
    "softplus": Case(
        2.0, lambda x: mp.log1p(mp.exp(x)), join(SMALL, uniform(-745, 40), uniform(-40, -1))
    ),
    "logaddexp": Case(
        1.5,
        lambda x, y: mp.log(mp.exp(x) + mp.exp(y)),
        pairs((uniform(0, 5), uniform(-40, 5)), (uniform(-700, 700), uniform(-700, 700))),
    ),
}

_loops: dict[tuple[str, bool], Callable[..., None]] = {}


def scalar_loop(name):
    """out[i] = f(x[i]) or f(x[i], y[i]), compiled once."""
    if (name, False) not in _loops:
        f = getattr(vmath, name)

        @njit(error_model="numpy")
        def one(x, out):
            for i in range(x.size):
                out[i] = f(x[i])

        @njit(error_model="numpy")
        def two(x, y, out):
            for i in range(x.size):
                out[i] = f(x[i], y[i])

        _loops[name, False] = one if len(f.parameters) == 1 else two
    return _loops[name, False]


def pack_loop(name):
    """The same on packs by their addresses, `count` of them."""
    f = getattr(vmath, name)

    @njit(error_model="numpy")
    def one(x, out, count):
        source, target = pack_at(x), pack_at(out)
        for i in range(count):
            target[i] = f(source[i])

    @njit(error_model="numpy")
    def two(x, y, out, count):
        left, right, target = pack_at(x), pack_at(y), pack_at(out)
        for i in range(count):
            target[i] = f(left[i], right[i])

    return one if len(f.parameters) == 1 else two


def evaluate(name, points):
    columns = [np.ascontiguousarray(c) for c in np.atleast_2d(points.T)]
    out = np.empty(len(points))
    scalar_loop(name)(*columns, out)
    return columns, out


def ulps(got, exact):
    """The error of a float in ulps of the exact result (of its float, if that is finite)."""
    nearest = float(exact)
    if math.isinf(nearest) or not math.isfinite(got):
        return 0.0 if got == nearest else inf
    return float(abs(mpf(float(got)) - exact) / mpf(math.ulp(nearest)))


@pytest.mark.parametrize("name", CASES)
def test_accuracy(name):
    case = CASES[name]
    columns, out = evaluate(name, case.points)
    worst, where = 0.0, None
    with mp.workprec(120):
        for got, *arguments in zip(out, *columns, strict=True):
            big = name in ("sin", "cos", "tan") and abs(arguments[0]) > 1e9
            with mp.workprec(1200 if big else 120):
                exact = case.exact(*map(mpf, arguments))
                error = float(not math.isnan(got)) * inf if mp.isnan(exact) else ulps(got, exact)
            if not error <= worst:  # nan counts
                worst, where = error, arguments
    print(f"{name}: worst error {worst:.3f} ulp at {where}")
    assert worst <= case.bound, f"{name}{where}: {worst:.3f} ulp"


def test_near_zeros_left_of_0_the_error_is_relative_to_the_terms():
    """gammaln and digamma have zeros between their poles, where two terms cancel."""
    x = -np.concatenate([uniform(0, 6, 400), powers(-300, -1, False, 100)])
    x = x[x != np.rint(x)]
    for name, exact in (("gammaln", exact_gammaln), ("digamma", mp.digamma)):
        _, out = evaluate(name, x)
        for argument, got in zip(x, out, strict=True):
            with mp.workprec(120):
                truth = exact(mpf(argument))
                other = exact(1 - mpf(argument))  # the term that the reflection subtracts
                scale = math.ulp(max(abs(truth) + abs(other), 1))
                assert abs(got - truth) <= 2 * scale, (name, argument, got)


def test_logaddexp_near_its_zeros_has_a_small_absolute_error():
    x = uniform(-1.5, 0)
    points = np.stack([x, np.log(-np.expm1(x))], axis=1)  # the sum is 0 or nearly so
    columns, out = evaluate("logaddexp", points)
    for a, b, got in zip(*columns, out, strict=True):
        with mp.workprec(200):
            assert abs(mp.log(mp.exp(mpf(a)) + mp.exp(mpf(b))) - mpf(got)) < 2.0**-57


# name, arguments, result: zeros by their sign
SPECIAL = [
    ("exp", -0.0, 1.0), ("exp", 709.79, inf),
    ("exp", -745.2, 0.0), ("exp", inf, inf), ("exp", -inf, 0.0), ("exp2", -1074.0, 5e-324),
    ("exp2", 1023.0, 2.0**1023), ("exp2", 1024.0, inf), ("exp2", -inf, 0.0), ("exp2", 10.0, 1024.0),
    ("expm1", -0.0, -0.0), ("expm1", -inf, -1.0), ("expm1", inf, inf), ("expm1", 5e-324, 5e-324),
    ("expm1", 1e300, inf), ("expm1", -1e300, -1.0),
    *[(f, 0.0, -inf) for f in ("log", "log2", "log10")],
    *[(f, -0.0, -inf) for f in ("log", "log2", "log10")],
    *[(f, -1.0, nan) for f in ("log", "log2", "log10")],
    *[(f, -inf, nan) for f in ("log", "log2", "log10")],
    *[(f, 1.0, 0.0) for f in ("log", "log2", "log10")],
    *[(f, inf, inf) for f in ("log", "log2", "log10", "log1p")],
    ("log2", 5e-324, -1074.0), ("log10", 1000.0, 3.0), ("log1p", -1.0, -inf), ("log1p", -1.5, nan),
    *[(f, -0.0, -0.0) for f in (
        "log1p", "sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arcsinh", "arctanh", "cbrt",
        "erf", "floor", "ceil", "trunc", "rint", "sqrt")],
    *[(f, 0.0, 0.0) for f in ("sin", "tan", "arcsin", "arctan", "sinh", "tanh", "cbrt", "erf")],
    *[(f, inf, nan) for f in ("sin", "cos", "tan", "arcsin", "arccos", "arctanh")],
    *[(f, -inf, nan) for f in ("sin", "cos", "tan", "arccosh")],
    ("cos", -0.0, 1.0), ("arcsin", 1.0, math.pi / 2), ("arcsin", 1.1, nan), ("arccos", 1.0, 0.0),
    ("arccos", -1.0, math.pi), ("arccos", -1.1, nan), ("arctan", -inf, -math.pi / 2),
    ("sinh", -inf, -inf), ("sinh", 5e-324, 5e-324), ("sinh", 1e9, inf), ("cosh", -inf, inf),
    ("cosh", 0.0, 1.0), ("cosh", 1e9, inf), ("tanh", -inf, -1.0), ("tanh", 1e9, 1.0),
    ("tanh", 5e-324, 5e-324), ("arcsinh", -inf, -inf), ("arccosh", 1.0, 0.0), ("arccosh", 0.5, nan),
    ("arccosh", inf, inf), ("arctanh", 1.0, inf), ("arctanh", -1.0, -inf), ("arctanh", 2.0, nan),
    ("sqrt", -1.0, nan), ("cbrt", -inf, -inf), ("cbrt", -27.0, -3.0), ("erf", inf, 1.0),
    ("erf", -inf, -1.0), ("erfc", inf, 0.0), ("erfc", -inf, 2.0), ("erfc", 0.0, 1.0),
    ("gammaln", 1.0, 0.0), ("gammaln", 2.0, 0.0), ("gammaln", 0.0, inf), ("gammaln", -0.0, inf),
    ("gammaln", -3.0, inf), ("gammaln", inf, inf), ("gammaln", -inf, inf), ("gammaln", 1e306, inf),
    ("digamma", 0.0, -inf), ("digamma", -0.0, inf), ("digamma", -2.0, nan), ("digamma", inf, inf),
    ("digamma", -inf, nan), ("sigmoid", inf, 1.0), ("sigmoid", -inf, 0.0), ("sigmoid", 0.0, 0.5),
    ("softplus", inf, inf), ("softplus", -inf, 0.0), ("sign", -0.0, 0.0), ("sign", -2.0, -1.0),
    ("rint", 2.5, 2.0), ("rint", -0.3, -0.0), ("ceil", -0.3, -0.0), ("fabs", -0.0, 0.0),
]  # fmt: skip


def same(a, b):
    return (math.isnan(a) and math.isnan(b)) or (
        a == b and math.copysign(1, a) == math.copysign(1, b)
    )


@pytest.mark.parametrize("name", sorted({row[0] for row in SPECIAL}))
def test_special_values(name):
    rows = [row for row in SPECIAL if row[0] == name]
    _, out = evaluate(name, np.array([row[1] for row in rows]))
    for (_, x, expected), got in zip(rows, out, strict=True):
        assert same(got, expected), f"{name}({x}) is {got}, not {expected}"


def with_parameters(*letters):
    """The names of the kernels with this signature."""
    return [n for n in vmath.__all__ if getattr(getattr(vmath, n), "parameters", ()) == [*letters]]


UNARY = with_parameters("f")


def test_nan_goes_through():
    for name in set(UNARY) - {"isnan", "isinf", "isfinite", "bits", "sincos"}:
        assert math.isnan(evaluate(name, np.array([nan]))[1][0]), name


TINY = (5e-324, 2.0**-1022)
HUGE = (2.0**52 + 1, 2.0**53, 1e300, 1.7e308, inf)
EDGES = np.array([0, 0.5, 1, 1.5, 2, 3, *TINY, *HUGE])
EDGES = np.concatenate([EDGES, -EDGES, [nan]])
GRID = np.stack(np.meshgrid(EDGES, EDGES), axis=-1).reshape(-1, 2)
LIKE_NUMPY = (
    "arctan2 hypot power mod floor_divide copysign fmax fmin maximum minimum logaddexp".split()
)


@pytest.mark.parametrize("name", LIKE_NUMPY)
def test_edges_are_those_of_numpy(name):
    (x, y), out = evaluate(name, GRID)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x, y)
    close = np.isclose(out, expected, rtol=4e-16, atol=0, equal_nan=True)
    # Which of two equal zeros is the larger, no one says.
    zeros = name in ("fmax", "fmin", "maximum", "minimum") and (x == 0) & (y == 0)
    good = close & ((np.signbit(out) == np.signbit(expected)) | np.isnan(out) | zeros)
    assert good.all(), [(a, b, o, e) for a, b, o, e in zip(x, y, out, expected, strict=True)
                        if not same(o, e)][:5]  # fmt: skip


@pytest.mark.parametrize("name", ["mod", "floor_divide"])
def test_remainders_are_exactly_numpys(name):
    points = pairs(
        (ANYWHERE, ANYWHERE[::-1]),
        (powers(-20, 60, n=5000), powers(-20, 20, n=5000)),
        (np.rint(uniform(-100, 100, 5000)), np.rint(uniform(1, 10, 5000)) / 4),
    )
    (x, y), out = evaluate(name, points)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x, y)
    assert np.array_equal(out.view(np.int64), expected.view(np.int64))


def aligned(values):
    """A copy that starts at a multiple of 64 bytes."""
    space = np.empty(values.size + 8)
    start = -space.ctypes.data // 8 % 8
    out = space[start : start + values.size]
    out[:] = values
    return out


BINARY = sorted(
    n for n in vmath.__all__ if getattr(getattr(vmath, n), "parameters", 0) == ["f", "f"]
)
TO_FLOAT = [n for n in UNARY + with_parameters("f", "f") if getattr(vmath, n).results == ["f"]]


@pytest.mark.parametrize("name", TO_FLOAT)
def test_packs_give_the_bits_of_scalars(name):
    n = 100_000
    columns = []
    for _ in getattr(vmath, name).parameters:
        anything = rng.integers(0, 2**64, n, dtype=np.uint64).view(float)
        anything[::2] = rng.uniform(-12, 12, n // 2)
        columns.append(aligned(anything))
    if name == "polygamma":
        columns[0][:] = rng.integers(0, 7, n)
    scalar, packed = np.empty(n), aligned(np.zeros(n))
    scalar_loop(name)(*columns, scalar)
    pack_loop(name)(*(c.ctypes.data for c in columns), packed.ctypes.data, n // LANES)
    equal = (scalar.view(np.int64) == packed.view(np.int64)) | (np.isnan(scalar) & np.isnan(packed))
    assert equal.all(), [(c[~equal][:3]) for c in columns]


def test_sincos_has_the_bits_of_sin_and_cos():
    sincos = vmath.sincos

    @njit
    def both(x, s, c):
        for i in range(x.size):
            s[i], c[i] = sincos(x[i])

    x = np.concatenate([ANGLES, -ANGLES, [0.0, -0.0, inf, nan]])
    s, c = np.empty_like(x), np.empty_like(x)
    both(x, s, c)
    for got, name in ((s, "sin"), (c, "cos")):
        expected = evaluate(name, x)[1]
        same_bits = got.view(np.int64) == expected.view(np.int64)
        assert (same_bits | (np.isnan(got) & np.isnan(expected))).all()


def test_a_zero_weight_annihilates():
    _, out = evaluate(
        "mz", np.array([[0.0, inf], [-0.0, nan], [0.0, -1.0], [2.0, 3.0], [1.0, inf]])
    )
    assert [math.copysign(1, v) for v in out[:3]] == [1, 1, 1]
    assert out.tolist() == [0.0, 0.0, 0.0, 6.0, inf]


def test_classes():
    for name in ("isnan", "isinf", "isfinite"):
        f = getattr(vmath, name)
        assert [f(x) for x in (1.0, inf, -inf, nan)] == [
            getattr(math, name)(x) for x in (1, inf, -inf, nan)
        ]


def test_kernels_take_plain_numbers():
    assert vmath.exp(0) == 1.0
    assert vmath.sincos(0.0) == (0.0, 1.0)
    assert vmath.select(True, 1.0, 2.0) == 1.0
    assert vmath.fma(2.0, 3.0, 4.0) == 10.0
