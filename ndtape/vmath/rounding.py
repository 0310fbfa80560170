"""Remainders, choices and classes: exact functions, with NumPy's conventions for zeros and nan."""

from __future__ import annotations

import math
from typing import Any

from .kernel import libm, when
from .lanes import copysign, fabs, floor, fma, kernel, select, trunc


@kernel("f,f:f")
def _fmod(x, y):  # type: ignore[no-untyped-def]
    """C's fmod: one exact step while the quotient has 53 bits, else the C library."""
    a, b = fabs(x), fabs(y)
    ratio = a / b
    rest = fma(-trunc(ratio), b, a)
    rest = select(rest < 0.0, rest + b, rest)  # the quotient was rounded up to an integer
    hard = ~((ratio < 2.0**53) & (b < math.inf))
    return when(hard, lambda: libm("fmod", x, y), copysign(rest, x), rare=True)


def _wraps(rest: Any, y: Any) -> Any:
    """Whether fmod's remainder is on the wrong side of zero."""
    return (rest != 0.0) & ((rest < 0.0) != (y < 0.0))


@kernel("f,f:f")
def mod(x, y):  # type: ignore[no-untyped-def]
    """Remainder with the sign of y."""
    rest = _fmod(x, y)
    rest = select(_wraps(rest, y), rest + y, rest)
    return select((rest == 0.0) & (y != 0.0), copysign(0.0, y), rest)


@kernel("f,f:f")
def floor_divide(x, y):  # type: ignore[no-untyped-def]
    """floor(x / y) without the rounding of x / y, by NumPy's steps."""
    rest = _fmod(x, y)
    quotient = (x - rest) / y
    quotient = select(_wraps(rest, y), quotient - 1.0, quotient)
    whole = floor(quotient)
    whole = select(quotient - whole > 0.5, whole + 1.0, whole)
    whole = select(quotient == 0.0, copysign(0.0, x / y), whole)
    return select(y == 0.0, x / y, whole)


@kernel("f:f", code="emit")
def sign(x):  # type: ignore[no-untyped-def]
    """-1, 0 or 1; nan for nan"""
    return select(x > 0.0, 1.0, select(x < 0.0, -1.0, select(x == 0.0, 0.0, x)))


@kernel("f,f:f", code="emit")
def fmax(x, y):  # type: ignore[no-untyped-def]
    """The larger; a nan loses."""
    return select((x >= y) | (y != y), x, y)


@kernel("f,f:f", code="emit")
def fmin(x, y):  # type: ignore[no-untyped-def]
    """The smaller; a nan loses."""
    return select((x <= y) | (y != y), x, y)


@kernel("f,f:f", code="emit")
def maximum(x, y):  # type: ignore[no-untyped-def]
    """The larger; a nan wins."""
    return select((x >= y) | (x != x), x, y)


@kernel("f,f:f", code="emit")
def minimum(x, y):  # type: ignore[no-untyped-def]
    """The smaller; a nan wins."""
    return select((x <= y) | (x != x), x, y)


@kernel("f,f:f", code="emit")
def mz(w, d):  # type: ignore[no-untyped-def]
    """w * d, but exactly 0 where w is 0: a zero adjoint annihilates infinite and nan partials."""
    return select(w == 0.0, 0.0, w * d)


@kernel("f:m", code="emit")
def isnan(x):  # type: ignore[no-untyped-def]
    """Whether x is nan."""
    return x != x


@kernel("f:m", code="emit")
def isinf(x):  # type: ignore[no-untyped-def]
    """Whether x is infinite."""
    return fabs(x) == math.inf


@kernel("f:m", code="emit")
def isfinite(x):  # type: ignore[no-untyped-def]
    """Whether x is neither infinite nor nan."""
    return fabs(x) < math.inf
