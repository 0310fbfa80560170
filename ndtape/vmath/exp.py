"""Exponentials: exp exp2 expm1 sinh cosh tanh sigmoid softplus.

x = k ln2 + r with |r| <= ln2/2; a minimax polynomial for e**r (fitted with weights in 45 digits);
then 2**k by its bits, in two factors so that subnormal results are rounded once.
"""

from __future__ import annotations

import math
from typing import Any

from .dd import (
    LN2_HIGH,
    LN2_LOW,
    MAGIC,
    fast_two_sum,
    polynomial,
    power_of_two,
    rounded,
    two_product,
    two_sum,
)
from .kernel import when
from .lanes import copysign, fabs, fma, kernel, select

LOG2E = 1.4426950408889634
TINY = 2.0**-55  # below it, odd functions with slope 1 are x (and parts of x would be lost)

# (e**r - 1 - r) / r**2, error 2**-64 of e**r
_EXP = (
    0.5, 0.16666666666666682, 0.041666666666666095, 0.008333333333317011, 0.0013888888889114518,
    0.00019841269896443334, 2.4801586929180755e-05, 2.7557234800292173e-06, 2.7557579385671043e-07,
    2.5112058916905392e-08, 2.0827471221339958e-09,
)  # fmt: skip
# the same, error 2**-57.9
_EXP_SHORT = (
    0.5000000000000011, 0.1666666666666641, 0.041666666666529725, 0.00833333333349498,
    0.0013888888943760233, 0.00019841269505770564, 2.480149294936181e-05, 2.7557586805904078e-06,
    2.763030634462171e-07, 2.500001837640453e-08,
)  # fmt: skip
# (e**r - 1 - r - r**2 / 2) / r**3, error 2**-67 of e**r - 1
_EXPM1 = (
    0.16666666666666666, 0.04166666666666668, 0.008333333333333314, 0.001388888888887709,
    0.00019841269841340463, 2.4801587341319903e-05, 2.7557319114371956e-06, 2.7557258625246604e-07,
    2.5052173780936608e-08, 2.0919672779646105e-09, 1.605728451006322e-10,
)  # fmt: skip


def _clamp(x: Any, low: float, high: float) -> Any:
    """x within [low, high]; nan stays."""
    x = select(x < low, low, x)
    return select(x > high, high, x)


def exp_reduced(x: Any) -> tuple[Any, Any, Any]:
    """k and the high and low parts of r = x - k ln2."""
    t = fma(x, LOG2E, MAGIC)
    k = t - MAGIC
    first = fma(k, -LN2_HIGH, x)  # exact
    r = fma(k, -LN2_LOW, first)
    return rounded(t), r, fma(k, -LN2_LOW, first - r)


def scale(x: Any, k: Any) -> Any:
    """2**k * x, for |k| < 2000; rounded once if the result is subnormal."""
    half = k >> 1
    return x * power_of_two(half) * power_of_two(k - half)


def exp_pair(r: Any, low: Any) -> tuple[Any, Any]:
    """e**(r + low) as (high, low), for a reduced r; to about 2**-59."""
    square, square_low = two_product(r, r)
    tail = fma(square * r, polynomial(r, _EXPM1), fma(0.5, square_low, low))
    high, lost = fast_two_sum(r, 0.5 * square)
    high, more = fast_two_sum(1.0, high)
    return fast_two_sum(high, more + (lost + tail))


def scaled_exp(r: Any, low: Any, k: Any) -> Any:
    """2**k * e**(r + low), for |k| < 2000."""
    p = r + fma(r * r, polynomial(r, _EXP), low)
    half = k >> 1
    unit = power_of_two(half)
    return fma(p, unit, unit) * power_of_two(k - half)  # 1 + p and the first scaling in one


NORMAL = 708.0  # |x| below it: neither overflow nor a subnormal e**x


@kernel("f:f")
def _exp_anywhere(x):  # type: ignore[no-untyped-def]
    k, r, low = exp_reduced(_clamp(x, -760.0, 720.0))
    return scaled_exp(r, low, k)


@kernel("f:f")
def exp(x):  # type: ignore[no-untyped-def]
    """e**x"""
    # Without clamps and with one scaling: seven instructions of forty less.
    k, r, low = exp_reduced(x)
    unit = power_of_two(k)
    value = fma(r + fma(r * r, polynomial(r, _EXP), low), unit, unit)
    return when(~(fabs(x) < NORMAL), lambda: _exp_anywhere(x), value, rare=True)


def exp_of_pair(x: Any, low: Any) -> Any:
    """e**(x + low) for |x| < 770 and a low part below an ulp or so of x."""
    k, r, rest = exp_reduced(x)
    r, rest = two_sum(r, rest + low)
    return scaled_exp(r, rest, k)


@kernel("f:f")
def exp2(x):  # type: ignore[no-untyped-def]
    """2**x"""
    x = _clamp(x, -1100.0, 1100.0)
    t = x + MAGIC
    fraction = x - (t - MAGIC)
    r = fraction * LN2_HIGH
    low = fma(fraction, LN2_HIGH, -r) + fraction * LN2_LOW
    return scaled_exp(r, low, rounded(t))


def _expm1_quarter(x: Any) -> tuple[Any, Any]:
    """(e**x - 1) / 4 as (high, low), for -60 < x < 711: a quarter, lest sinh overflow too early."""
    k, r, low = exp_reduced(x)
    square = r * r
    tail = fma(square * r, polynomial(r, _EXPM1), 0.5 * square)
    high, low = fast_two_sum(r, tail + fma(r, low, low))
    scale = power_of_two(k - 2)
    one = scale - 0.25
    lost = (scale - one) - 0.25
    total, rest = fast_two_sum(one, scale * high)
    return total, rest + fma(scale, low, lost)


@kernel("f:f")
def expm1(x):  # type: ignore[no-untyped-def]
    """e**x - 1"""
    high, low = _expm1_quarter(_clamp(x, -45.0, 710.0))
    return select(fabs(x) < TINY, x, 4.0 * (high + low))


@kernel("f:f")
def sinh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic sine."""
    high, low = _expm1_quarter(select(fabs(x) > 711.0, 711.0, fabs(x)))
    quotient = high / fma(4.0, high, 1.0)
    total = select(fabs(x) > 710.4758600739439, math.inf, 2.0 * (high + (quotient + low)))
    return select(fabs(x) < TINY, x, copysign(total, x))


@kernel("f:f")
def cosh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic cosine."""
    k, r, low = exp_reduced(select(fabs(x) > 720.0, 720.0, fabs(x)))
    quarter = scaled_exp(r, low, k - 2)
    return 2.0 * (quarter + 0.0625 / quarter)


@kernel("f:f")
def tanh(x):  # type: ignore[no-untyped-def]
    """Hyperbolic tangent: t / (t + 2) with t = e**(2|x|) - 1, the quotient corrected once."""
    high, low = _expm1_quarter(select(fabs(x) > 22.0, 44.0, 2.0 * fabs(x)))
    below, rest = two_sum(high, 0.5)
    inverse = 1.0 / below
    quotient = high * inverse
    remainder = fma(-quotient, below, high) + fma(-quotient, rest + low, low)
    return select(fabs(x) < TINY, x, copysign(fma(remainder, inverse, quotient), x))


@kernel("f:f")
def _sigmoid_anywhere(x):  # type: ignore[no-untyped-def]
    small = _exp_anywhere(-fabs(x))
    return select(x >= 0.0, 1.0, small) / (1.0 + small)


@kernel("f:f")
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + e**-x)"""
    # Only the rounding of 1 + e**-|x| is made good: all others together stay below 2 ulp.
    a = -fabs(x)
    t = fma(a, LOG2E, MAGIC)
    k = t - MAGIC
    r = fma(k, -LN2_LOW, fma(k, -LN2_HIGH, a))
    unit = power_of_two(rounded(t))
    small = fma(fma(r * r, polynomial(r, _EXP_SHORT), r), unit, unit)
    below, rest = fast_two_sum(1.0, small)
    quotient = select(x >= 0.0, 1.0, small) / below
    value = fma(-rest, quotient, quotient)
    return when(~(a > -NORMAL), lambda: _sigmoid_anywhere(x), value, rare=True)
