"""Logarithms, and what is made of them: arcsinh arccosh arctanh, logaddexp, powers and roots."""

from __future__ import annotations

import math
from typing import Any

from .dd import (
    MAGIC,
    fast_two_sum,
    polynomial,
    power_of_two,
    rounded,
    to_float,
    two_product,
    two_sum,
)
from .exp import exp, exp_of_pair, exp_pair, exp_reduced, scale
from .lanes import bits, copysign, fabs, fma, from_bits, kernel, rint, select, sqrt

SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
TINY = 2.0**-55  # below it, odd functions with slope 1 are x
SMALLEST_NORMAL = 2.0**-1022
# ln2 with 21 zero bits at the end, so that k * LN2_ROUND is exact, and the rest
LN2_ROUND, LN2_REST = 0.6931471803691238, 1.9082149292705877e-10

# (2 artanh(s) / s - 2) / s**2 in s**2 for |s| < 0.1716: error 2**-66
_LOG = (
    0.6666666666666666, 0.4000000000000478, 0.28571428569369023, 0.22222222623993648,
    0.18181776337189828, 0.15387098660199158, 0.13249309804082682, 0.13263022794814575,
)  # fmt: skip


def _split(x: Any) -> tuple[Any, Any]:
    """(k, m) with x = 2**k m and sqrt(1/2) <= m < sqrt(2), for normal x > 0."""
    k = (bits(x) - SQRT_HALF_BITS) >> 52
    return to_float(k), from_bits(bits(x) - (k << 52))


def _split_all(x: Any) -> tuple[Any, Any]:
    """`_split` for subnormal x too."""
    small = x < SMALLEST_NORMAL
    k, m = _split(select(small, x * 2.0**54, x))
    return k - select(small, 54.0, 0.0), m


def _series(f: Any) -> tuple[Any, Any]:
    """(h, t) of log(1 + f) = f - h + t, with h = f**2 / 2."""
    s = f / (2.0 + f)
    z = s * s
    h = 0.5 * f * f
    return h, s * fma(z, polynomial(z, _LOG), h)


def _special(x: Any, value: Any) -> Any:
    """`value` for 0 < x < inf, and what a logarithm is elsewhere."""
    limit = select(x == 0.0, -math.inf, select(x > 0.0, x, math.nan))
    return select((x > 0.0) & (x < math.inf), value, limit)


@kernel("f:f")
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm."""
    k, m = _split_all(x)
    f = m - 1.0
    h, t = _series(f)
    value = fma(k, LN2_ROUND, f - (h - fma(k, LN2_REST, t)))
    return _special(x, value)


def _scaled(x: Any, high: float, low: float, unit: tuple[float, float]) -> Any:
    """(k unit + log(m) (high + low)): logarithms to other bases."""
    k, m = _split_all(x)
    f = m - 1.0
    h, t = _series(f)
    first, rest = fast_two_sum(f, -h)
    first, rest = fast_two_sum(first, rest + t)
    product, error = two_product(first, high)
    error = error + fma(first, low, rest * high)
    whole, lost = fast_two_sum(k * unit[0], product)
    return whole + (lost + fma(k, unit[1], error))


@kernel("f:f")
def log2(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 2."""
    return _special(x, _scaled(x, 1.4426950408889634, 2.0355273740931033e-17, (1.0, 0.0)))


@kernel("f:f")
def log10(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 10."""
    unit = (0.3010299950838089, 5.801722962879576e-10)  # log10(2), the first with 24 zero bits
    return _special(x, _scaled(x, 0.4342944819032518, 1.098319650216765e-17, unit))


def _log1p(x: Any, low: Any) -> Any:
    """log(1 + x + low) for x > -1, where low is below an ulp of 1 + x."""
    u = 1.0 + x
    k, m = _split(u)
    near = k == 0.0
    lost = select(near, 0.0, select(x > 1.0, 1.0 - (u - x), x - (u - 1.0)))
    f = select(near, x, m - 1.0)
    h, t = _series(f)
    correction = fma(k, LN2_REST, (lost + low) / u)
    return fma(k, LN2_ROUND, f - (h - (t + correction)))


@kernel("f:f")
def log1p(x):  # type: ignore[no-untyped-def]
    """log(1 + x)"""
    limit = select(x == -1.0, -math.inf, select(x > -1.0, x, math.nan))
    return select(
        (x > -1.0) & (x < math.inf) & (x != 0.0), _log1p(x, 0.0), select(x == 0.0, x, limit)
    )


LN2 = 0.6931471805599453
BIG = 2.0**500


def _with_low(a: Any, b: Any, limit: Any) -> Any:
    """log1p(a + b) for |a| >= |b|, and log(2 limit) where limit is big."""
    high, low = fast_two_sum(a, b)
    big = limit > BIG
    value = _log1p(select(big, limit, high), select(big, 0.0, low))
    return select(big, value + LN2, value)


@kernel("f:f")
def arcsinh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic sine."""
    a = fabs(x)
    square = a * a
    value = _with_low(a, square / (1.0 + sqrt(1.0 + square)), a)
    value = select(a < math.inf, value, a)
    return select(a < TINY, x, copysign(value, x))


@kernel("f:f")
def arccosh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic cosine."""
    t = x - 1.0
    root = sqrt(fma(t, t, 2.0 * t))
    value = _with_low(root, t, x)
    return select(x < math.inf, select(x >= 1.0, value, math.nan), x)


@kernel("f:f")
def arctanh(x):  # type: ignore[no-untyped-def]
    """Inverse hyperbolic tangent: half of log1p(2 |x| / (1 - |x|))."""
    a = fabs(x)
    below, rest = fast_two_sum(1.0, -a)
    ratio = 2.0 * a / below
    low = (fma(-ratio, below, 2.0 * a) - ratio * rest) / below
    value = 0.5 * _log1p(ratio, low)
    value = select(a < 1.0, value, select(a == 1.0, math.inf, math.nan))
    return select(a < TINY, x, copysign(value, x))


@kernel("f,f:f")
def hypot(x, y):  # type: ignore[no-untyped-def]
    """sqrt(x**2 + y**2) without overflow on the way; infinite beside a nan if one is."""
    a, b = fabs(x), fabs(y)
    larger, smaller = select(a > b, a, b), select(a > b, b, a)
    scale = select(larger > BIG, 2.0**-600, select(larger < 1 / BIG, 2.0**600, 1.0))
    back = select(larger > BIG, 2.0**600, select(larger < 1 / BIG, 2.0**-600, 1.0))
    larger, smaller = larger * scale, smaller * scale
    value = sqrt(fma(larger, larger, smaller * smaller)) * back
    return select((a == math.inf) | (b == math.inf), math.inf, value)


@kernel("f:f")
def softplus(x):  # type: ignore[no-untyped-def]
    """log(1 + e**x)"""
    above = select(x > 0.0, x, select(x == x, 0.0, x))
    return above + log1p(exp(-fabs(x)))


@kernel("f,f:f")
def logaddexp(x, y):  # type: ignore[no-untyped-def]
    """log(e**x + e**y), in pairs: it has zeros, where its terms cancel."""
    larger, smaller = select(x > y, x, y), select(x > y, y, x)
    gap, gap_low = two_sum(smaller, -larger)
    clamped = select(gap < -760.0, -760.0, gap)
    k, r, low = exp_reduced(clamped)
    e, e_low = exp_pair(*two_sum(r, low + select(clamped == gap, gap_low, 0.0)))
    u, u_low = fast_two_sum(1.0, scale(e, k))
    high, low = log_pair(u)
    low = low + (u_low + scale(e_low, k)) / u
    total, lost = two_sum(larger, high)
    value = total + (lost + low)
    # Equal infinities have no gap; a nan shows in the sum; log(e**-0) is +0.
    extreme = select(x == y, x, select((x == x) & (y == y), larger + 0.0, x + y))
    return select(fabs(gap) < math.inf, value, extreme)


# --- powers ----------------------------------------------------------------------------------

# (2 artanh(s) / s - 2 - 2 s**2 / 3) / s**4 in s**2: error 2**-72 of log(m)
_LOG_TAIL = (
    0.39999999999999997, 0.28571428571432905, 0.2222222222035677, 0.18181818545716658,
    0.15384577485925988, 0.13335582301564108, 0.11688618134761182, 0.11882836361821345,
)  # fmt: skip
TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)


def log_pair(x: Any) -> tuple[Any, Any]:
    """log(x) for 0 < x < inf as (high, low), to about 2**-64 of it."""
    k, m = _split_all(x)
    f = m - 1.0
    below, rest = fast_two_sum(2.0, f)
    inverse = 1.0 / below
    s = f * inverse
    s_low = (fma(-s, below, f) - s * rest) * inverse
    z, z_low = two_product(s, s)
    z_low = fma(2.0 * s, s_low, z_low)
    c, c_low = fast_two_sum(TWO_THIRDS[0], z * polynomial(z, _LOG_TAIL))
    u, u_low = two_product(z, c)
    u_low = u_low + fma(z, c_low + TWO_THIRDS[1], z_low * c)
    v, v_low = two_product(s, u)
    v_low = v_low + fma(s, u_low, s_low * u)
    high, low = fast_two_sum(2.0 * s, v)
    low = low + fma(2.0, s_low, v_low)
    high, lost = fast_two_sum(k * LN2_ROUND, high)
    return fast_two_sum(high, fma(k, LN2_REST, lost + low))


def power_pair(a: Any, y: Any) -> tuple[Any, Any]:
    """a**y as (high, low) for 0 < a < inf, where it is not near the ends of the range."""
    high, low = log_pair(a)
    product, rest = two_product(y, high)
    k, r, r_low = exp_reduced(select(product < -740.0, -740.0, product))
    value, value_low = exp_pair(*two_sum(r, r_low + fma(y, low, rest)))
    return scale(value, k), scale(value_low, k)


def _magnitude(a: Any, y: Any) -> Any:
    """a**y for a >= 0, apart from nan."""
    high, low = log_pair(a)
    product, rest = two_product(y, high)
    rest = fma(y, low, rest)
    clamped = select(product > 750.0, 750.0, select(product < -760.0, -760.0, product))
    value = exp_of_pair(clamped, select(clamped == product, rest, 0.0))
    value = select(a == 1.0, 1.0, value)
    extreme = select((a == 0.0) == (y > 0.0), 0.0, math.inf)
    return select((a == 0.0) | (a == math.inf), extreme, value)


@kernel("f,f:f")
def power(x, y):  # type: ignore[no-untyped-def]
    """x**y, with C's special cases: 1 for y = 0 and for x = 1 even beside nan."""
    a = fabs(x)
    value = _magnitude(a, y)
    half = 0.5 * y
    odd = (rint(y) == y) & (rint(half) != half)
    value = select(odd, copysign(value, x), value)
    value = select((x < 0.0) & (a < math.inf) & (rint(y) != y), math.nan, value)
    value = select((x != x) | (y != y), x + y, value)
    return select((x == 1.0) | (y == 0.0), 1.0, value)


# m**(-2/3) for sqrt(1/2) <= m < sqrt(2): error 2**-18
_INVERSE_CUBE_ROOT_SQUARED = (
    3.993616924924325, -9.516006656792486, 14.613816741657821, -13.789446051647394,
    7.8297688370362195, -2.4614177972649873, 0.32967100909959374,
)  # fmt: skip


@kernel("f:f")
def cbrt(x):  # type: ignore[no-untyped-def]
    """Cube root: two Newton steps on a polynomial guess, the second with an exact residual."""
    a = fabs(x)
    k, m = _split_all(a)
    third = rint(k * (1 / 3))
    rest = fma(-3.0, third, k)  # -1, 0 or 1: taken into m
    guess = polynomial(m, _INVERSE_CUBE_ROOT_SQUARED)  # of 1 / root**2
    guess = guess * select(rest > 0.0, 2 ** (-2 / 3), select(rest < 0.0, 2 ** (2 / 3), 1.0))
    m = m * select(rest > 0.0, 2.0, select(rest < 0.0, 0.5, 1.0))
    root = m * guess
    step = guess * (1 / 3)
    root = fma(fma(-root * root, root, m), step, root)
    square, low = two_product(root, root)
    residual = fma(-low, root, fma(-square, root, m))
    root = fma(residual, step, root)
    value = root * power_of_two(rounded(third + MAGIC))
    return select((a > 0.0) & (a < math.inf), copysign(value, x), x)
