"""Circular functions: sin cos tan sincos, arcsin arccos arctan arctan2.

x = k pi/2 + r with |r| <= pi/4, in three parts of pi/2, good to 2**-160 for |x| < 2**30; beyond, a
real branch to `huge` (C libraries are up to 8 ulp off there).  sin and cos choose the
*coefficients* of one polynomial by the parity of k, and flip signs off the critical path: 2 ns less
in a chain than choosing between two results.
"""

from __future__ import annotations

import math
from typing import Any

from .dd import MAGIC, fast_two_sum, polynomial, two_product, two_sum
from .huge import reduce_huge
from .lanes import bits, copysign, fabs, fma, from_bits, kernel, select, sqrt, when

TWO_OVER_PI = 0.6366197723675814
PI_HALF = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
HUGE = float(2**30)

# (1 - sin(r) / r) / r**2 and (1 - r**2 / 2 - cos(r)) / r**4 in r**2: errors 2**-57 and 2**-62
_SIN = (
    0.1666666666666664, -0.008333333333323662, 0.00019841269830144396, -2.7557313651853934e-06,
    2.5050734571184192e-08, -1.589471058808448e-10,
)  # fmt: skip
_COS = (
    -0.04166666666666665, 0.001388888888888284, -2.4801587294628004e-05, 2.75573157386131e-07,
    -2.087589773865943e-09, 1.1367981879283328e-11,
)  # fmt: skip


def _reduce(x: Any, exact: bool = False) -> tuple[Any, Any, Any]:
    """The quadrant, whose low two bits count, and high and low of r = high - low.

    Unless `exact`, low is half an ulp off in the rare case that |first| < |second|, which costs
    sin and cos half an ulp and saves them 2 ns of latency.
    """
    t = fma(x, TWO_OVER_PI, MAGIC)
    k = t - MAGIC
    first = fma(-k, PI_HALF[0], x)  # exact
    second, rest = two_product(k, PI_HALF[1])
    r = first - second
    error = -two_sum(first, -second)[1] if exact else second - (first - r)
    return bits(t), r, fma(k, PI_HALF[2], rest) + error


def _flip(x: Any, quadrant: Any) -> Any:
    """-x if the quadrant's second bit is set."""
    return from_bits(bits(x) ^ ((quadrant & 2) << 62))


# Both functions are c - (a P(z) + base + m low) with z = r**2, and their parts (a, base, m, c)
# follow; the last difference keeps -0: there a P(z) = -0 and base = m low = +0, whose sum is +0.


def _sine_parts(r: Any, z: Any) -> tuple[Any, ...]:
    return r * z, 0.0, 1.0, r


def _cosine_parts(r: Any, z: Any) -> tuple[Any, ...]:
    return z * z, 0.5 * z, -r, 1.0


def _assemble(
    z: Any, low: Any, coefficients: Any, a: Any, base: Any, m: Any, c: Any
) -> tuple[Any, Any]:
    """(c, the rest): three fused operations after z.  low must not wait, nor delay."""
    p = [fma(z, coefficients[k + 1], coefficients[k]) for k in (0, 2, 4)]
    square = z * z
    head = fma(m, low, fma(a, p[0], base))
    return c, fma(a * square, fma(square, p[2], p[1]), head)


def _sine(quadrant: Any, r: Any, low: Any) -> Any:
    """sin(quadrant pi/2 + r - low)"""
    odd = (quadrant & 1) != 0
    z = r * r
    pairs = zip(_sine_parts(r, z), _cosine_parts(r, z), strict=True)
    parts = [_flip(select(odd, q, p), quadrant) for p, q in pairs]
    coefficients = [select(odd, q, p) for p, q in zip(_SIN, _COS, strict=True)]
    c, rest = _assemble(z, low, coefficients, *parts)
    return c - rest


def _shifted(reduced: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """A quadrant on: cos(x) = sin(x + pi/2)."""
    quadrant, r, low = reduced
    return quadrant + 1, r, low


def _huge(x: Any) -> Any:
    """Out of range, or nan."""
    return ~(fabs(x) < HUGE)


@kernel("f:f", lanewise=True)
def _sin_huge(x):  # type: ignore[no-untyped-def]
    return _sine(*reduce_huge(x))


@kernel("f:f", lanewise=True)
def _cos_huge(x):  # type: ignore[no-untyped-def]
    return _sine(*_shifted(reduce_huge(x)))


@kernel("f:f", lanewise=True)
def _tan_huge(x):  # type: ignore[no-untyped-def]
    return _tangent(*reduce_huge(x))


@kernel("f:f")
def sin(x):  # type: ignore[no-untyped-def]
    """Sine."""
    return when(_huge(x), lambda: _sin_huge(x), _sine(*_reduce(x)), rare=True)


@kernel("f:f")
def cos(x):  # type: ignore[no-untyped-def]
    """Cosine."""
    return when(_huge(x), lambda: _cos_huge(x), _sine(*_shifted(_reduce(x))), rare=True)


def _both(x: Any) -> tuple[Any, Any]:
    """sin and cos of |x| < 2**30, with the bits that `_sine` gives."""
    quadrant, r, low = _reduce(x)
    z = r * r
    c, rest = _assemble(z, low, _SIN, *_sine_parts(r, z))
    sine = c - rest
    c, rest = _assemble(z, low, _COS, *_cosine_parts(r, z))
    cosine = c - rest
    odd = (quadrant & 1) != 0
    s = _flip(select(odd, cosine, sine), quadrant)
    return s, _flip(select(odd, sine, cosine), quadrant + 1)


@kernel("f:f,f")
def sincos(x):  # type: ignore[no-untyped-def]
    """(sin(x), cos(x)), for less than the two cost"""
    return when(_huge(x), lambda: (_sin_huge(x), _cos_huge(x)), _both(x), rare=True)


@kernel("f:f")
def tan(x):  # type: ignore[no-untyped-def]
    """Tangent."""
    near = select(x == 0.0, x, _tangent(*_reduce(x, exact=True)))
    return when(_huge(x), lambda: _tan_huge(x), near, rare=True)


def _tangent(quadrant: Any, r: Any, low: Any) -> Any:
    """sin / cos, or -cos / sin in odd quadrants, from pairs."""
    z = r * r
    sine, sine_rest = _assemble(z, low, _SIN, *_sine_parts(r, z))
    cosine, cosine_rest = _assemble(z, low, _COS, *_cosine_parts(r, z))
    odd = (quadrant & 1) != 0
    over, over_low = fast_two_sum(select(odd, cosine, sine), -select(odd, cosine_rest, sine_rest))
    under, under_low = fast_two_sum(select(odd, sine, cosine), -select(odd, sine_rest, cosine_rest))
    inverse = 1.0 / under
    quotient = over * inverse
    rest = fma(-quotient, under, over) + fma(-quotient, under_low, over_low)
    value = fma(rest, inverse, quotient)
    return from_bits(bits(value) ^ ((quadrant & 1) << 63))


# --- inverse functions -----------------------------------------------------------------------

# (arctan(t) / t - 1) / t**2 in t**2, for |t| < 7/16: error 2**-61
_ATAN = (
    -0.33333333333333326, 0.19999999999995607, -0.14285714285052992, 0.11111111064579447,
    -0.09090907243168941, 0.076922619659994, -0.0666592057752895, 0.05874076099735214,
    -0.05199959337300794, 0.04431088419843566, -0.03185225776970986, 0.01361594525408353,
)  # fmt: skip
# (arcsin(t) / t - 1) / t**2 in t**2, for |t| <= 1/2: error 2**-59
_ASIN = (
    0.16666666666666702, 0.07499999999984425, 0.04464285716374374, 0.030381943138358694,
    0.022372205133725304, 0.01735175262624841, 0.013979523125101236, 0.011406698422813147,
    0.010750760014700655, 0.0037700269152342513, 0.021656872435747473, -0.02106004919210408,
    0.032741478366975094,
)  # fmt: skip
PI = (3.141592653589793, 1.2246467991473532e-16)

# Below each limit: arctan(a) = angle + arctan((a - tan) / (1 + a tan)), as (p a - q) / (r + s a)
_ANGLES = (
    (7 / 16, (1.0, 0.0, 1.0, 0.0), (0.0, 0.0)),
    (11 / 16, (2.0, 1.0, 2.0, 1.0), (0.4636476090008061, 2.2698777452961687e-17)),
    (19 / 16, (1.0, 1.0, 1.0, 1.0), (0.7853981633974483, 3.061616997868383e-17)),
    (39 / 16, (1.0, 1.5, 1.0, 1.5), (0.982793723247329, 1.3903311031230998e-17)),
)


def _arctan_of_positive(a: Any) -> Any:
    numerator, denominator = select(a == a, -1.0, a), a
    high, low = PI_HALF[0], PI_HALF[1]
    for limit, (p, q, r, s), angle in reversed(_ANGLES):
        below = a < limit
        numerator = select(below, fma(a, p, -q), numerator)
        denominator = select(below, fma(a, s, r), denominator)
        high, low = select(below, angle[0], high), select(below, angle[1], low)
    t = numerator / denominator
    z = t * t
    return high + (t + fma(t * z, polynomial(z, _ATAN), low))


@kernel("f:f")
def arctan(x):  # type: ignore[no-untyped-def]
    """Inverse tangent."""
    return copysign(_arctan_of_positive(fabs(x)), x)


@kernel("f,f:f")
def arctan2(y, x):  # type: ignore[no-untyped-def]
    """The angle of the point (x, y), with the signs of zeros as in C."""
    rise, run = fabs(y), fabs(x)
    ratio = rise / run
    ratio = select((rise == 0.0) & (run == 0.0), 0.0, ratio)
    ratio = select((rise == math.inf) & (run == math.inf), 1.0, ratio)
    angle = _arctan_of_positive(ratio)
    angle = select(bits(x) < 0, PI[0] - (angle - PI[1]), angle)
    return copysign(angle, y)


def _arcsin_parts(x: Any) -> tuple[Any, Any, Any]:
    """(outer, s, t): arcsin(s) = s + t for s = |x|, or where outer for s = sqrt((1 - |x|) / 2)."""
    a = fabs(x)
    outer = a > 0.5
    half = 0.5 * (1.0 - a)
    root = sqrt(half)
    lost = fma(-root, root, half) / (2.0 * root + 1e-300)
    z = select(outer, half, a * a)
    s = select(outer, root, a)
    return outer, s, fma(s * z, polynomial(z, _ASIN), select(outer, lost, 0.0))


@kernel("f:f")
def arcsin(x):  # type: ignore[no-untyped-def]
    """Inverse sine."""
    outer, s, t = _arcsin_parts(x)
    high, low = fast_two_sum(PI_HALF[0], -2.0 * s)
    value = select(outer, high + (low + (PI_HALF[1] - 2.0 * t)), s + t)
    return copysign(value, x)


@kernel("f:f")
def arccos(x):  # type: ignore[no-untyped-def]
    """Inverse cosine."""
    outer, s, t = _arcsin_parts(x)
    left = x < 0.0
    # pi/2 - arcsin(x); right of 1/2: 2 (s + t); left of -1/2: pi - 2 (s + t)
    s = select(outer, 2.0 * s, s)
    t = select(outer, 2.0 * t, t)
    minus = ~(left ^ outer)
    s, t = select(minus, -s, s), select(minus, -t, t)
    base = select(outer, select(left, PI[0], 0.0), PI_HALF[0])
    rest = select(outer, select(left, PI[1], 0.0), PI_HALF[1])
    high, low = fast_two_sum(base, s)
    return high + (low + (rest + t))
