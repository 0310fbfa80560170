"""Partial derivatives that take more than a line, for the rows of `special_table`.

Programs over NumPy's functions: plain arrays in a sweep, recording ones where derivatives nest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .rules import NAMES as ROWS

FAR = 10.0  # from here on eight terms of the asymptotic series have all digits


def erfcx_slope(x: Any, z: Any) -> Any:
    """2 x z - 2/√π, whose terms cancel where x is large."""
    large = np.where(x > FAR, x, FAR)
    beyond = -0.5641895835477563 / (large * large) * _series(large, -1.0)
    return np.where(x > FAR, beyond, 2.0 * x * z - 1.1283791670955126)


def dawsn_slope(x: Any, z: Any) -> Any:
    """1 - 2 x z, whose terms cancel where |x| is large."""
    size = np.abs(x)
    large = np.where(size > FAR, size, FAR)
    beyond = -0.5 / (large * large) * _series(large, 1.0)
    return np.where(size > FAR, beyond, 1.0 - 2.0 * x * z)


def _series(x: Any, sign: float) -> Any:
    """Σ (2n + 1)!! (sign / 2x²)ⁿ (DLMF 7.12.1, differentiated)."""
    ratio, total = sign * 0.5 / (x * x), 1.0
    for odd in range(17, 1, -2):
        total = 1.0 + odd * ratio * total
    return total


def spence_slope(x: Any) -> Any:
    """log(x) / (1 - x), which is -1 at 1."""
    near = np.abs(x - 1.0) < 1e-3
    u = np.where(near, x - 1.0, 0.0)
    other = np.where(near, 2.0, x)
    series = -1.0 + u * (1 / 2 - u * (1 / 3 - u * (1 / 4 - u * (1 / 5 - u / 6))))
    return np.where(near, series, np.log(other) / (1.0 - other))


def expn_slope(n: Any, x: Any) -> Any:
    """-E(n-1, x), of which SciPy has only the orders from 0 on."""
    zero = -np.exp(-x) * (1.0 + 1.0 / x) / x
    return np.where(n == 0, zero, -ROWS["expn"](np.maximum(n - 1, 0), x))


def ellipk_slope(m: Any, z: Any) -> Any:
    """(E / (1 - m) - K) / 2m, by the hypergeometric function near 0."""
    near = np.abs(m) < 0.1
    small, other = np.where(near, m, 0.0), np.where(near, 0.5, m)
    far = (ROWS["ellipe"](other) / (1.0 - other) - z) / (2.0 * other)
    return np.where(near, np.pi / 8.0 * ROWS["hyp2f1"](1.5, 1.5, 2.0, small), far)


def ellipe_slope(m: Any, z: Any) -> Any:
    """(E - K) / 2m, by the hypergeometric function near 0."""
    near = np.abs(m) < 0.1
    small, other = np.where(near, m, 0.0), np.where(near, 0.5, m)
    far = (z - ROWS["ellipk"](other)) / (2.0 * other)
    return np.where(near, -np.pi / 8.0 * ROWS["hyp2f1"](0.5, 1.5, 2.0, small), far)


def log_t_density(df: Any, t: Any) -> Any:
    """The logarithm of Student's density with df degrees of freedom."""
    size = -0.5 * (df + 1.0) * np.log1p(t * (t / df))
    return size + np.log(ROWS["poch"](0.5 * df, 0.5)) - 0.5 * np.log(df * np.pi)


def t_density(df: Any, t: Any) -> Any:
    """Student's density."""
    return np.exp(log_t_density(df, t))


def t_slope(df: Any, t: Any) -> Any:
    """The derivative of Student's distribution function in df.

    The lower tail is I(df/2, 1/2, u) / 2 with u = df / (df + t²): through a, and through u.
    """
    infinite = np.isinf(t)
    s = np.where(infinite, 0.0, t)
    total = df + s * s
    u = df / total
    through_a = 0.5 * ROWS["betainc_derivative"](1, 0, 0.5 * df, 0.5, u)
    log_front = (0.5 * df - 1.0) * np.log(u) - ROWS["betaln"](0.5 * df, 0.5)
    through_u = np.exp(log_front) * np.abs(s) / (total * np.sqrt(total))
    lower = 0.5 * (through_a + through_u)
    return np.where(infinite, 0.0, np.where(s <= 0, lower, -lower))
