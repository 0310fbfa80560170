"""Building blocks of the kernels: polynomials, exact sums and products, powers of two.

A number that needs more than 53 bits is a pair (high, low) whose sum it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .lanes import bits, fma, from_bits

# Adding it to |x| < 2**51 rounds x to an integer, found in the low bits: no conversion needed.
MAGIC = 6755399441055744.0  # 1.5 * 2**52
MAGIC_BITS = 0x4338000000000000
LN2_HIGH, LN2_LOW = 0.6931471805599453, 2.3190468138462996e-17


def polynomial(x: Any, coefficients: Sequence[Any]) -> Any:
    """Sum of coefficients[k] * x**k by Estrin's scheme: depth log2(n), not n, for latency."""
    terms = list(coefficients)
    while len(terms) > 1:
        pairs = [fma(x, terms[k + 1], terms[k]) for k in range(0, len(terms) - 1, 2)]
        terms = pairs + terms[len(terms) - len(terms) % 2 :]
        if len(terms) > 1:
            x = x * x
    return terms[0]


def fast_two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b exactly as (high, low), for |a| >= |b| or a = 0."""
    high = a + b
    return high, b - (high - a)


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b exactly as (high, low)."""
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)


def two_product(a: Any, b: Any) -> tuple[Any, Any]:
    """a * b exactly as (high, low)."""
    high = a * b
    return high, fma(a, b, -high)


def power_of_two(k: Any) -> Any:
    """2**k for an integer -1023 < k < 1024."""
    return from_bits((k + 1023) << 52)


def to_float(k: Any) -> Any:
    """The float of an integer of less than 51 bits."""
    return from_bits(k + MAGIC_BITS) - MAGIC


def rounded(t: Any) -> Any:
    """The integer in t = x + MAGIC."""
    return bits(t) - MAGIC_BITS
