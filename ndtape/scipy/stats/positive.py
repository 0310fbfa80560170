"""Distributions of positive numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import special
from .continuous import LOG_2, LOG_ROOT_2PI, norm
from .distributions import Continuous, log1mexp


class Positive(Continuous):
    """A distribution whose standardised variable is positive."""

    low = 0.0
    inside = 1.0


class Expon(Positive):
    """Exponential: the density is exp(-y)."""

    def _logpdf(self, y: Any) -> Any:
        return -y

    def _cdf(self, y: Any) -> Any:
        return -np.expm1(-y)

    def _sf(self, y: Any) -> Any:
        return np.exp(-y)

    def _logcdf(self, y: Any) -> Any:
        return log1mexp(y)

    def _logsf(self, y: Any) -> Any:
        return -y

    def _ppf(self, q: Any) -> Any:
        return -np.log1p(-q)

    def _isf(self, q: Any) -> Any:
        return -np.log(q)


class Gamma(Positive):
    """Gamma: the density is proportional to y^(a-1) exp(-y)."""

    parameters = ("a",)

    def _logpdf(self, y: Any, a: Any) -> Any:
        return special.xlogy(a - 1.0, y) - y - special.gammaln(a)

    def _cdf(self, y: Any, a: Any) -> Any:
        return special.gammainc(a, y)

    def _sf(self, y: Any, a: Any) -> Any:
        return special.gammaincc(a, y)

    def _ppf(self, q: Any, a: Any) -> Any:
        return special.gammaincinv(a, q)

    def _isf(self, q: Any, a: Any) -> Any:
        return special.gammainccinv(a, q)


class Chi2(Positive):
    """Chi-squared with `df` degrees of freedom: twice a gamma variable with a = df / 2."""

    parameters = ("df",)

    def _logpdf(self, y: Any, df: Any) -> Any:
        return gamma._logpdf(0.5 * y, 0.5 * df) - LOG_2

    def _cdf(self, y: Any, df: Any) -> Any:
        return gamma._cdf(0.5 * y, 0.5 * df)

    def _sf(self, y: Any, df: Any) -> Any:
        return gamma._sf(0.5 * y, 0.5 * df)

    def _ppf(self, q: Any, df: Any) -> Any:
        return 2.0 * gamma._ppf(q, 0.5 * df)

    def _isf(self, q: Any, df: Any) -> Any:
        return 2.0 * gamma._isf(q, 0.5 * df)


class InvGamma(Positive):
    """Inverse gamma: 1 / y has a gamma distribution."""

    parameters = ("a",)
    open_low = True

    def _logpdf(self, y: Any, a: Any) -> Any:
        return -(a + 1.0) * np.log(y) - special.gammaln(a) - 1.0 / y

    def _cdf(self, y: Any, a: Any) -> Any:
        return gamma._sf(1.0 / y, a)

    def _sf(self, y: Any, a: Any) -> Any:
        return gamma._cdf(1.0 / y, a)

    def _ppf(self, q: Any, a: Any) -> Any:
        return 1.0 / gamma._isf(q, a)

    def _isf(self, q: Any, a: Any) -> Any:
        return 1.0 / gamma._ppf(q, a)


class LogNorm(Positive):
    """Log-normal: log(y) / s has a normal distribution."""

    parameters = ("s",)
    open_low = True

    def _logpdf(self, y: Any, s: Any) -> Any:
        log_y = np.log(y)
        return -0.5 * np.square(log_y / s) - log_y - np.log(s) - LOG_ROOT_2PI

    def _cdf(self, y: Any, s: Any) -> Any:
        return norm._cdf(np.log(y) / s)

    def _sf(self, y: Any, s: Any) -> Any:
        return norm._sf(np.log(y) / s)

    def _logcdf(self, y: Any, s: Any) -> Any:
        return norm._logcdf(np.log(y) / s)

    def _logsf(self, y: Any, s: Any) -> Any:
        return norm._logsf(np.log(y) / s)

    def _ppf(self, q: Any, s: Any) -> Any:
        return np.exp(s * norm._ppf(q))

    def _isf(self, q: Any, s: Any) -> Any:
        return np.exp(s * norm._isf(q))


class HalfNorm(Positive):
    """The size of a normal variable."""

    def _logpdf(self, y: Any) -> Any:
        return norm._logpdf(y) + LOG_2

    def _cdf(self, y: Any) -> Any:
        return special.erf(0.7071067811865476 * y)

    def _sf(self, y: Any) -> Any:
        return 2.0 * norm._sf(y)

    def _logsf(self, y: Any) -> Any:
        return LOG_2 + norm._logsf(y)

    def _ppf(self, q: Any) -> Any:
        return 1.4142135623730951 * special.erfinv(q)

    def _isf(self, q: Any) -> Any:
        return norm._isf(0.5 * q)


class HalfCauchy(Positive):
    """The size of a Cauchy variable."""

    def _logpdf(self, y: Any) -> Any:
        return np.log(2.0 / np.pi) - np.log1p(np.square(y))

    def _cdf(self, y: Any) -> Any:
        return 2.0 / np.pi * np.arctan(y)

    def _sf(self, y: Any) -> Any:
        return 2.0 / np.pi * np.arctan2(1.0, y)

    def _ppf(self, q: Any) -> Any:
        low = q < 0.5
        angle = np.tan(0.5 * np.pi * np.where(low, q, 1.0 - q))
        return np.where(low, angle, 1.0 / np.where(low, 1.0, angle))

    def _isf(self, q: Any) -> Any:
        low = q < 0.5
        angle = np.tan(0.5 * np.pi * np.where(low, q, 1.0 - q))
        return np.where(low, 1.0 / np.where(low, angle, 1.0), angle)


class Rayleigh(Positive):
    """The length of a vector of two normal variables."""

    def _logpdf(self, y: Any) -> Any:
        return np.log(y) - 0.5 * np.square(y)

    def _cdf(self, y: Any) -> Any:
        return -np.expm1(-0.5 * np.square(y))

    def _sf(self, y: Any) -> Any:
        return np.exp(-0.5 * np.square(y))

    def _logsf(self, y: Any) -> Any:
        return -0.5 * np.square(y)

    def _ppf(self, q: Any) -> Any:
        return np.sqrt(-2.0 * np.log1p(-q))

    def _isf(self, q: Any) -> Any:
        return np.sqrt(-2.0 * np.log(q))


class WeibullMin(Positive):
    """Weibull: y^c has an exponential distribution."""

    parameters = ("c",)

    def _logpdf(self, y: Any, c: Any) -> Any:
        return np.log(c) + special.xlogy(c - 1.0, y) - y**c

    def _cdf(self, y: Any, c: Any) -> Any:
        return -np.expm1(-(y**c))

    def _sf(self, y: Any, c: Any) -> Any:
        return np.exp(-(y**c))

    def _logsf(self, y: Any, c: Any) -> Any:
        return -(y**c)

    def _ppf(self, q: Any, c: Any) -> Any:
        return expon._ppf(q) ** (1.0 / c)

    def _isf(self, q: Any, c: Any) -> Any:
        return expon._isf(q) ** (1.0 / c)


class Pareto(Positive):
    """Pareto: the density is b / y^(b+1) from 1 on."""

    parameters = ("b",)
    low = 1.0
    inside = 2.0

    def _logpdf(self, y: Any, b: Any) -> Any:
        return np.log(b) - (b + 1.0) * np.log(y)

    def _cdf(self, y: Any, b: Any) -> Any:
        return -np.expm1(-b * np.log(y))

    def _sf(self, y: Any, b: Any) -> Any:
        return y**-b

    def _logsf(self, y: Any, b: Any) -> Any:
        return -b * np.log(y)

    def _ppf(self, q: Any, b: Any) -> Any:
        return np.exp(expon._ppf(q) / b)

    def _isf(self, q: Any, b: Any) -> Any:
        return np.exp(expon._isf(q) / b)


class F(Positive):
    """Fisher's F with `dfn` and `dfd` degrees of freedom."""

    parameters = ("dfn", "dfd")

    def _logpdf(self, y: Any, dfn: Any, dfd: Any) -> Any:
        m, n = 0.5 * dfn, 0.5 * dfd
        u = dfn * y / dfd
        return (
            special.xlogy(m - 1.0, y) + m * np.log(dfn / dfd)
            - (m + n) * np.log1p(u) - special.betaln(m, n)
        )  # fmt: skip

    def _cdf(self, y: Any, dfn: Any, dfd: Any) -> Any:
        return special.betainc(0.5 * dfn, 0.5 * dfd, dfn * y / (dfd + dfn * y))

    def _sf(self, y: Any, dfn: Any, dfd: Any) -> Any:
        return special.betainc(0.5 * dfd, 0.5 * dfn, dfd / (dfd + dfn * y))


expon = Expon("expon")
gamma = Gamma("gamma")
chi2 = Chi2("chi2")
invgamma = InvGamma("invgamma")
lognorm = LogNorm("lognorm")
halfnorm = HalfNorm("halfnorm")
halfcauchy = HalfCauchy("halfcauchy")
rayleigh = Rayleigh("rayleigh")
weibull_min = WeibullMin("weibull_min")
pareto = Pareto("pareto")
f = F("f")
