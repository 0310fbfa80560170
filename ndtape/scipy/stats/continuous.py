"""Distributions on the whole line, and on an interval."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...transforms.gradients import stop_gradient
from .. import special
from ..slopes import log_t_density
from .distributions import Continuous, holds, log1mexp

LOG_2 = 0.6931471805599453
LOG_PI = 1.1447298858494002
LOG_ROOT_2PI = 0.9189385332046727


class Norm(Continuous):
    """Normal: the density is proportional to exp(-y² / 2)."""

    def _logpdf(self, y: Any) -> Any:
        return -0.5 * np.square(y) - LOG_ROOT_2PI

    def _cdf(self, y: Any) -> Any:
        return special.ndtr(y)

    def _sf(self, y: Any) -> Any:
        return special.ndtr(-y)

    def _logcdf(self, y: Any) -> Any:
        return special.log_ndtr(y)

    def _logsf(self, y: Any) -> Any:
        return special.log_ndtr(-y)

    def _ppf(self, q: Any) -> Any:
        return special.ndtri(q)

    def _isf(self, q: Any) -> Any:
        return -special.ndtri(q)

    def entropy(self, loc: Any = 0.0, scale: Any = 1.0) -> Any:
        """The differential entropy, log(scale √(2πe))."""
        return np.log(scale) + (LOG_ROOT_2PI + 0.5)


class StudentT(Continuous):
    """Student's t with `df` degrees of freedom; df = inf is the normal distribution."""

    parameters = ("df",)

    def _logpdf(self, y: Any, df: Any) -> Any:
        if holds(np.isfinite(df)):
            return log_t_density(df, y)
        infinite = np.isinf(df)
        found = log_t_density(np.where(infinite, 1.0, df), y)
        return np.where(infinite, norm._logpdf(y), found)

    def _cdf(self, y: Any, df: Any) -> Any:
        return special.stdtr(df, y)

    def _sf(self, y: Any, df: Any) -> Any:
        return special.stdtr(df, -y)

    def _ppf(self, q: Any, df: Any) -> Any:
        return special.stdtrit(df, q)

    def _isf(self, q: Any, df: Any) -> Any:
        return -special.stdtrit(df, q)


class Cauchy(Continuous):
    """Cauchy: the density is proportional to 1 / (1 + y²)."""

    def _logpdf(self, y: Any) -> Any:
        return -LOG_PI - np.log1p(np.square(y))

    def _cdf(self, y: Any) -> Any:
        return np.arctan2(1.0, -y) / np.pi

    def _sf(self, y: Any) -> Any:
        return np.arctan2(1.0, y) / np.pi

    def _ppf(self, q: Any) -> Any:
        low = q < 0.5
        size = 1.0 / np.tan(np.pi * np.where(low, q, 1.0 - q))
        return np.where(low, -size, size)

    def _isf(self, q: Any) -> Any:
        return -self._ppf(q)


class Laplace(Continuous):
    """Laplace: the density is exp(-|y|) / 2."""

    def _logpdf(self, y: Any) -> Any:
        return -LOG_2 - np.abs(y)

    def _cdf(self, y: Any) -> Any:
        half = 0.5 * np.exp(-np.abs(y))
        return np.where(y > 0, 1.0 - half, half)

    def _sf(self, y: Any) -> Any:
        return self._cdf(-y)

    def _logcdf(self, y: Any) -> Any:
        size = np.abs(y)
        return np.where(y > 0, np.log1p(-0.5 * np.exp(-size)), -LOG_2 - size)

    def _logsf(self, y: Any) -> Any:
        return self._logcdf(-y)

    def _ppf(self, q: Any) -> Any:
        high = q > 0.5
        size = np.log(2.0 * np.where(high, 1.0 - q, q))
        return np.where(high, -size, size)

    def _isf(self, q: Any) -> Any:
        return -self._ppf(q)


class Logistic(Continuous):
    """Logistic: the distribution function is the sigmoid."""

    def _logpdf(self, y: Any) -> Any:
        return y - 2.0 * special.softplus(y)

    def _cdf(self, y: Any) -> Any:
        return special.expit(y)

    def _sf(self, y: Any) -> Any:
        return special.expit(-y)

    def _logcdf(self, y: Any) -> Any:
        return special.log_expit(y)

    def _logsf(self, y: Any) -> Any:
        return special.log_expit(-y)

    def _ppf(self, q: Any) -> Any:
        return special.logit(q)

    def _isf(self, q: Any) -> Any:
        return -special.logit(q)


class GumbelR(Continuous):
    """Gumbel's distribution of maxima, skewed to the right."""

    def _logpdf(self, y: Any) -> Any:
        return -y - np.exp(-y)

    def _cdf(self, y: Any) -> Any:
        return np.exp(-np.exp(-y))

    def _sf(self, y: Any) -> Any:
        return -np.expm1(-np.exp(-y))

    def _logcdf(self, y: Any) -> Any:
        return -np.exp(-y)

    def _logsf(self, y: Any) -> Any:
        return log1mexp(np.exp(-y))

    def _ppf(self, q: Any) -> Any:
        return -np.log(-np.log(q))

    def _isf(self, q: Any) -> Any:
        return -np.log(-np.log1p(-q))


class GumbelL(Continuous):
    """Gumbel's distribution of minima, skewed to the left: `gumbel_r` mirrored."""

    def _logpdf(self, y: Any) -> Any:
        return y - np.exp(y)

    def _cdf(self, y: Any) -> Any:
        return gumbel_r._sf(-y)

    def _sf(self, y: Any) -> Any:
        return gumbel_r._cdf(-y)

    def _logcdf(self, y: Any) -> Any:
        return gumbel_r._logsf(-y)

    def _logsf(self, y: Any) -> Any:
        return gumbel_r._logcdf(-y)

    def _ppf(self, q: Any) -> Any:
        return -gumbel_r._isf(q)

    def _isf(self, q: Any) -> Any:
        return -gumbel_r._ppf(q)


class GenNorm(Continuous):
    """Generalised normal: the density is proportional to exp(-|y|^beta)."""

    parameters = ("beta",)

    def _logpdf(self, y: Any, beta: Any) -> Any:
        return np.log(0.5 * beta) - special.gammaln(1.0 / beta) - np.abs(y) ** beta

    def _cdf(self, y: Any, beta: Any) -> Any:
        half = 0.5 * special.gammaincc(1.0 / beta, np.abs(y) ** beta)
        return np.where(y > 0, 1.0 - half, half)

    def _sf(self, y: Any, beta: Any) -> Any:
        return self._cdf(-y, beta)


class SkewNorm(Continuous):
    """Skew normal: the density is 2 φ(y) Φ(a y)."""

    parameters = ("a",)

    def _valid(self, a: Any) -> list[Any]:
        return [np.isfinite(a)]

    def _logpdf(self, y: Any, a: Any) -> Any:
        return LOG_2 + norm._logpdf(y) + special.log_ndtr(a * y)


class VonMises(Continuous):
    """Von Mises: the density on the circle is proportional to exp(kappa cos y)."""

    parameters = ("kappa",)

    def _valid(self, kappa: Any) -> list[Any]:
        return [kappa >= 0.0]

    def _logpdf(self, y: Any, kappa: Any) -> Any:
        return kappa * special.cosm1(y) - 2.0 * LOG_ROOT_2PI - np.log(special.i0e(kappa))


# --- on an interval -------------------------------------------------------------------------------


class Uniform(Continuous):
    """Uniform from loc to loc + scale."""

    low, high = 0.0, 1.0

    def _logpdf(self, y: Any) -> Any:
        return 0.0 * y

    def _cdf(self, y: Any) -> Any:
        return y

    def _sf(self, y: Any) -> Any:
        return 1.0 - y

    def _ppf(self, q: Any) -> Any:
        return q


class Beta(Continuous):
    """Beta: the density on [0, 1] is proportional to y^(a-1) (1-y)^(b-1)."""

    parameters = ("a", "b")
    low, high = 0.0, 1.0

    def _logpdf(self, y: Any, a: Any, b: Any) -> Any:
        powers = special.xlogy(a - 1.0, y) + special.xlog1py(b - 1.0, -y)
        return powers - special.betaln(a, b)

    def _cdf(self, y: Any, a: Any, b: Any) -> Any:
        return special.betainc(a, b, y)

    def _sf(self, y: Any, a: Any, b: Any) -> Any:
        return special.betaincc(a, b, y)

    def _ppf(self, q: Any, a: Any, b: Any) -> Any:
        return special.betaincinv(a, b, q)

    def _isf(self, q: Any, a: Any, b: Any) -> Any:
        return special.betainccinv(a, b, q)


class TruncNorm(Continuous):
    """Normal between the standardised bounds a and b."""

    parameters = ("a", "b")

    def _valid(self, a: Any, b: Any) -> list[Any]:
        return [a < b]

    def _support(self, a: Any, b: Any) -> tuple[Any, Any]:
        return a, b

    def _middle(self, low: Any, high: Any) -> Any:
        bounded = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, 0.0))
        return stop_gradient(bounded)

    def _logpdf(self, y: Any, a: Any, b: Any) -> Any:
        return norm._logpdf(y) - _log_mass(a, b)

    def _logcdf(self, y: Any, a: Any, b: Any) -> Any:
        return _log_mass(a, y) - _log_mass(a, b)

    def _logsf(self, y: Any, a: Any, b: Any) -> Any:
        return _log_mass(y, b) - _log_mass(a, b)

    def _cdf(self, y: Any, a: Any, b: Any) -> Any:
        return np.exp(self._logcdf(y, a, b))

    def _sf(self, y: Any, a: Any, b: Any) -> Any:
        return np.exp(self._logsf(y, a, b))


def _log_mass(a: Any, b: Any) -> Any:
    """log(Φ(b) - Φ(a)), mirrored to the left where both are positive."""
    right = a > 0
    low, high = np.where(right, -b, a), np.where(right, -a, b)
    left = high <= 0
    tail_low, tail_high = np.where(left, low, -2.0), np.where(left, high, -1.0)
    upper = special.log_ndtr(tail_high)
    tail = upper + log1mexp(upper - special.log_ndtr(tail_low))
    return np.where(left, tail, np.log1p(-special.ndtr(low) - special.ndtr(-high)))


norm = Norm("norm")
t = StudentT("t")
cauchy = Cauchy("cauchy")
laplace = Laplace("laplace")
logistic = Logistic("logistic")
gumbel_r = GumbelR("gumbel_r")
gumbel_l = GumbelL("gumbel_l")
gennorm = GenNorm("gennorm")
skewnorm = SkewNorm("skewnorm")
vonmises = VonMises("vonmises")
uniform = Uniform("uniform")
beta = Beta("beta")
truncnorm = TruncNorm("truncnorm")
