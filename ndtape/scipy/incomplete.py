"""Derivatives of the incomplete gamma and beta functions with respect to their parameters.

P(a, x) is the integral of a density f(t; a) up to x, so its derivatives of any order in a are
integrals of derivatives of f, which are f times a polynomial in the derivatives of log f (Bell's
polynomials).  The integrals are taken by Gauss and Legendre's rule in y = log(t / a), for the beta
function in y = logit(t), where the integrand is smooth and log-concave, over the stretch in which
it counts.  Below 1 a parameter is first raised by the recurrence, so that the tails are short.
The lower tail gives the derivative, or minus the upper one, whichever is smaller, so that both
keep their digits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import comb
from typing import Any, TypeAlias

import numpy as np

from ..record.arrays import recording
from ..record.elementwise import elementwise
from .rules import NAMES as ROWS

NODES = 128
DROP = 45.0  # e^-45 of the largest integrand is below rounding
Numbers: TypeAlias = Any  # plain arrays, but where it says recording
Log = Callable[[Numbers], Numbers]


def polygamma(n: int, x: Any) -> Any:
    """psi and its derivatives, of plain and of recording numbers."""
    if recording(x):
        return elementwise("digamma", x) if n == 0 else elementwise("polygamma", float(n), x)
    import scipy.special

    return scipy.special.psi(x) if n == 0 else scipy.special.polygamma(n, x)


def bell(orders: tuple[int, int], slope: Callable[[int, int], Any]) -> Any:
    """The derivative of exp(g) of orders (j, k), over exp(g); `slope(p, q)` is that of g.

    Leibniz's rule on (exp g)' = exp(g) g', once for each order.
    """
    known: dict[tuple[int, int], Any] = {(0, 0): 1.0}

    def ratio(j: int, k: int) -> Any:
        if (j, k) not in known:
            m, n, first = (j - 1, k, (1, 0)) if j else (j, k - 1, (0, 1))
            known[j, k] = sum(
                comb(m, p) * comb(n, q) * ratio(m - p, n - q) * slope(p + first[0], q + first[1])
                for p in range(m + 1)
                for q in range(n + 1)
            )
        return known[j, k]

    return ratio(*orders)


# --- gamma ----------------------------------------------------------------------------------------


def gamma_slopes(a: Any, log_x: Any, shift: float = 0.0) -> Callable[[int, int], Any]:
    """Derivatives in a of log(x^a e^-x / Γ(a + shift))."""
    return lambda p, q: (log_x if p == 1 else 0.0) - polygamma(p - 1, a + shift)


def gamma_density(a: Any, x: Any) -> Any:
    """x^(a-1) e^-x / Γ(a), plain or recorded; 0 at infinity."""
    import scipy.special as special

    inside = np.where(x < np.inf, x, 1.0)
    density = np.exp(special.xlogy(a - 1.0, inside) - inside - special.gammaln(a))
    return np.where(x < np.inf, density, 0.0)


def gamma_density_derivative(k: Any, a: Any, x: Any) -> Any:
    """The k-th derivative of the density in a."""
    inside = (x > 0) & (x < np.inf)
    y = np.where(inside, x, 1.0)
    found = gamma_density(a, y) * bell((int(k), 0), gamma_slopes(a, np.log(y)))
    return np.where(inside, found, 0.0 * x)


def gamma_derivative(k: Any, a: Numbers, x: Numbers) -> Numbers:
    """The k-th derivative of gammainc(a, x) in a, k >= 1, of plain arrays."""
    k = int(k)
    shape = np.broadcast_shapes(np.shape(a), np.shape(x))
    a, x = (np.broadcast_to(np.asarray(v, float), shape).ravel() for v in (a, x))
    found = np.where(np.isnan(a) | np.isnan(x) | (a <= 0) | (x < 0), np.nan, 0.0)
    inside = (a > 0) & (x > 0) & (x < np.inf)
    if inside.any():
        found[inside] = _gamma_inside(k, a[inside], x[inside])
    return found.reshape(shape)


def _gamma_inside(k: int, a: Numbers, x: Numbers) -> Numbers:
    import scipy.special as special

    small = a < 1.0
    b = np.where(small, a + 1.0, a)
    column, scale = b[:, None], _log_peak(b)[:, None]

    def log_integrand(y: Numbers) -> Numbers:
        return column * (y - np.expm1(y)) + scale

    def weight(y: Numbers) -> Any:
        slopes = gamma_slopes(column, np.log(column) + y)
        return bell((k, 0), slopes)

    found = _tail(log_integrand, weight, np.log(x / b), np.zeros(len(x)))
    if small.any():
        s, t = a[small], x[small]
        term = np.exp(special.xlogy(s, t) - t - special.gammaln(s + 1.0))
        found[small] += term * bell((k, 0), gamma_slopes(s, np.log(t), 1.0))
    return found


def _log_peak(a: Numbers) -> Numbers:
    """log(a^a e^-a / Γ(a)), by Stirling's series where the terms would cancel."""
    import scipy.special as special

    t = 1.0 / np.square(np.maximum(a, 10.0))
    series = (1 / 12 - t * (1 / 360 - t * (1 / 1260 - t * (1 / 1680 - t / 1188)))) * np.sqrt(t)
    large = 0.5 * np.log(a / (2.0 * np.pi)) - series
    return np.where(a > 10.0, large, a * np.log(a) - a - special.gammaln(a))


# --- beta -----------------------------------------------------------------------------------------


def beta_slopes(
    a: Any, b: Any, log_x: Any, log_1x: Any, shifts: tuple[float, float] = (0.0, 0.0)
) -> Callable[[int, int], Any]:
    """Derivatives in a and b of log(x^a (1-x)^b Γ(a + b) / (Γ(a + shift) Γ(b + shift)))."""

    def slope(p: int, q: int) -> Any:
        found = polygamma(p + q - 1, a + b)
        if q == 0:
            found = found + (log_x if p == 1 else 0.0) - polygamma(p - 1, a + shifts[0])
        if p == 0:
            found = found + (log_1x if q == 1 else 0.0) - polygamma(q - 1, b + shifts[1])
        return found

    return slope


def beta_density(a: Any, b: Any, x: Any) -> Any:
    """x^(a-1) (1-x)^(b-1) / B(a, b), plain or recorded."""
    import scipy.special as special

    powers = special.xlogy(a - 1.0, x) + special.xlog1py(b - 1.0, -x)
    return np.exp(powers - ROWS["betaln"](a, b))


def beta_density_derivative(j: Any, k: Any, a: Any, b: Any, x: Any) -> Any:
    """The derivative of the density of orders j in a and k in b."""
    inside = (x > 0) & (x < 1)
    y = np.where(inside, x, 0.5)
    ratio = bell((int(j), int(k)), beta_slopes(a, b, np.log(y), np.log1p(-y)))
    return np.where(inside, beta_density(a, b, y) * ratio, 0.0 * x)


def beta_derivative(j: Any, k: Any, a: Numbers, b: Numbers, x: Numbers) -> Numbers:
    """The derivative of betainc(a, b, x) of orders j in a and k in b, of plain arrays."""
    orders = int(j), int(k)
    shape = np.broadcast_shapes(np.shape(a), np.shape(b), np.shape(x))
    a, b, x = (np.broadcast_to(np.asarray(v, float), shape).ravel() for v in (a, b, x))
    wrong = np.isnan(a) | np.isnan(b) | np.isnan(x) | (a <= 0) | (b <= 0) | (x < 0) | (x > 1)
    found = np.where(wrong, np.nan, 0.0)
    inside = ~wrong & (x > 0) & (x < 1)
    if inside.any():
        found[inside] = _beta_inside(orders, a[inside], b[inside], x[inside])
    return found.reshape(shape)


def _beta_inside(orders: tuple[int, int], a: Numbers, b: Numbers, x: Numbers) -> Numbers:
    log_x, log_1x = np.log(x), np.log1p(-x)
    extra = np.zeros(len(x))
    # I(a, b) = I(a + 1, b) + T/a and I(a, b) = I(a, b + 1) - T/b with T = x^a (1-x)^b / B(a, b)
    p, q = np.where(a < 1.0, a + 1.0, a), np.where(b < 1.0, b + 1.0, b)
    for small, sign, s, t, shifts in (
        (a < 1.0, 1.0, a, b, (1.0, 0.0)),
        (b < 1.0, -1.0, p, b, (0.0, 1.0)),
    ):
        if small.any():
            parts = s[small], t[small], log_x[small], log_1x[small]
            term = np.exp(_log_term(*parts, shifts))
            extra[small] += sign * term * bell(orders, beta_slopes(*parts, shifts))
    a_, b_ = p[:, None], q[:, None]
    scale = _log_term(p, q, 0.0, 0.0, (0.0, 0.0))[:, None]

    def log_integrand(y: Numbers) -> Numbers:
        return -a_ * np.logaddexp(0.0, -y) - b_ * np.logaddexp(0.0, y) + scale

    def weight(y: Numbers) -> Any:
        return bell(
            orders, beta_slopes(a_, b_, -np.logaddexp(0.0, -y), -np.logaddexp(0.0, y))
        )  # fmt: skip

    return extra + _tail(log_integrand, weight, log_x - log_1x, np.log(p / q))


def _log_term(a: Any, b: Any, log_x: Any, log_1x: Any, shifts: tuple[float, float]) -> Any:
    import scipy.special as special

    if shifts == (0.0, 0.0):
        return a * log_x + b * log_1x - special.betaln(a, b)
    own = a if shifts[0] else b
    return a * log_x + b * log_1x - special.betaln(a, b) - np.log(own)


# --- the integral ---------------------------------------------------------------------------------


@cache
def _rule() -> tuple[Numbers, Numbers]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return (nodes + 1.0) / 2.0, weights / 2.0


def _tail(log_f: Log, weight: Log, end: Numbers, mode: Numbers) -> Numbers:
    """The integral of weight * exp(log_f) up to `end`, or minus that from `end` on.

    `log_f` is concave with its maximum at `mode`; the side that has not the mode is taken.
    """
    side = np.where(end <= mode, -1.0, 1.0)
    top = log_f(end[:, None])
    reach = np.full(len(end), 1e-4)
    for _ in range(60):  # doubled until the integrand has fallen
        short = (top - log_f((end + side * reach)[:, None]))[:, 0] < DROP
        if not short.any():
            break
        reach = np.where(short, 2.0 * reach, reach)
    nodes, weights = _rule()
    y = end[:, None] + (side * reach)[:, None] * nodes
    with np.errstate(over="ignore"):
        total = np.sum(weights * weight(y) * np.exp(log_f(y)), axis=1)
    return -side * reach * total
