"""Argument reduction for sin, cos, tan of huge numbers: x modulo pi/2 by Payne and Hanek's method.

Only the bits of 2/pi that matter are multiplied: for x = 2**(16 j) y with a whole y, those of
c = 2**(16 j) 2/pi modulo 4, as y times a multiple of 4 does not change the quadrant.  c has four
parts of 53 bits, so the product is good to 2**-140, where a float is at least 2**-62 from a
multiple of pi/2.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from .dd import MAGIC, power_of_two, rounded, to_float, two_product, two_sum
from .kernel import table
from .lanes import bits, rint

_BITS = 1400  # of 2/pi; 971 + 69 + 62 + 53 are needed
_STEP = 16
_PARTS = 4
PI_HALF = (1.5707963267948966, 6.123233995736766e-17)


def _arctan_inverse(n: int, one: int) -> int:
    """arctan(1 / n) in units of 1 / one, by its series."""
    total, power, k = 0, one // n, 0
    while power:
        term = power // (2 * k + 1)
        total += -term if k % 2 else term
        power //= n * n
        k += 1
    return total


@cache
def _two_over_pi() -> tuple[float, ...]:
    """The parts of c for j = 0, 1, ..., one after the other."""
    one = 1 << (_BITS + 64)
    pi = 16 * _arctan_inverse(5, one) - 4 * _arctan_inverse(239, one)
    digits = (2 * one << _BITS) // pi
    parts: list[float] = []
    for j in range(61):
        rest = (digits << _STEP * j) % (4 << _BITS)
        for _ in range(_PARTS):
            part = rest / (1 << _BITS)  # of integers: rightly rounded
            parts.append(part)
            numerator, denominator = part.as_integer_ratio()
            rest -= (numerator << _BITS) // denominator
    return tuple(parts)


def _modulo_4(x: Any) -> Any:
    return x - 4.0 * rint(0.25 * x)


def reduce_huge(x: Any) -> tuple[Any, Any, Any]:
    """The quadrant, and high and low of r = high - low, for a scalar |x| >= 1."""
    exponent = ((bits(x) >> 52) & 0x7FF) - (1023 + 52)
    j = (exponent & ~(exponent >> 63)) >> 4
    y = x * power_of_two(j * -_STEP)
    first = to_float(j) * float(_PARTS)
    c = [table(_two_over_pi(), first + float(k)) for k in range(_PARTS)]
    products = [two_product(y, part) for part in c[:3]]
    (a, a_low), (b, b_low), (d, d_low) = products
    first, second, third = _modulo_4(a), _modulo_4(a_low), _modulo_4(b)
    quarter = rint(first + second + third)
    terms = [-quarter, first, second, third, b_low, d, d_low + y * c[3]]
    for _ in range(3):  # each pass moves the sum towards the end and leaves what it lost behind
        for i in range(len(terms) - 1):
            terms[i + 1], terms[i] = two_sum(terms[i + 1], terms[i])
    high, low = two_sum(terms[-1], terms[-2] + terms[-3])
    r, r_low = two_product(high, PI_HALF[0])
    r_low = r_low + (high * PI_HALF[1] + low * PI_HALF[0])
    r, r_low = two_sum(r, r_low)
    return rounded(quarter + MAGIC), r, -r_low
