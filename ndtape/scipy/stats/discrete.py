"""Distributions of whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import special
from .distributions import Discrete


class Probability(Discrete):
    """A distribution whose last shape is a probability, the others positive."""

    def _valid(self, *shapes: Any) -> list[Any]:
        *others, p = shapes
        return [*[x >= 0.0 for x in others], p >= 0.0, p <= 1.0]


class Poisson(Discrete):
    """Poisson with mean mu."""

    parameters = ("mu",)

    def _valid(self, mu: Any) -> list[Any]:
        return [mu >= 0.0]

    def _logpmf(self, k: Any, mu: Any) -> Any:
        return special.xlogy(k, mu) - special.gammaln(k + 1.0) - mu

    def _cdf(self, k: Any, mu: Any) -> Any:
        return special.gammaincc(k + 1.0, mu)

    def _sf(self, k: Any, mu: Any) -> Any:
        return special.gammainc(k + 1.0, mu)


class Bernoulli(Probability):
    """1 with probability p, else 0."""

    parameters = ("p",)
    high = 1.0

    def _logpmf(self, k: Any, p: Any) -> Any:
        return special.xlogy(k, p) + special.xlog1py(1.0 - k, -p)

    def _cdf(self, k: Any, p: Any) -> Any:
        return np.where(k < 1.0, 1.0 - p, 1.0)

    def _sf(self, k: Any, p: Any) -> Any:
        return np.where(k < 1.0, p, 0.0)


class Binom(Probability):
    """The number of successes among n."""

    parameters = ("n", "p")

    def _support(self, n: Any, p: Any) -> tuple[Any, Any]:
        return 0.0, n

    def _middle(self, low: Any, high: Any) -> Any:
        return 0.0

    def _logpmf(self, k: Any, n: Any, p: Any) -> Any:
        ways = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
        return ways + special.xlogy(k, p) + special.xlog1py(n - k, -p)

    def _cdf(self, k: Any, n: Any, p: Any) -> Any:
        last = k >= n
        return np.where(last, 1.0, special.betaincc(k + 1.0, np.where(last, 1.0, n - k), p))

    def _sf(self, k: Any, n: Any, p: Any) -> Any:
        last = k >= n
        return np.where(last, 0.0, special.betainc(k + 1.0, np.where(last, 1.0, n - k), p))


class Geom(Probability):
    """The number of trials up to the first success, from 1 on."""

    parameters = ("p",)
    low = 1.0
    inside = 1.0

    def _valid(self, p: Any) -> list[Any]:
        return [p > 0.0, p <= 1.0]

    def _logpmf(self, k: Any, p: Any) -> Any:
        return special.xlog1py(k - 1.0, -p) + np.log(p)

    def _cdf(self, k: Any, p: Any) -> Any:
        return -np.expm1(special.xlog1py(k, -p))

    def _sf(self, k: Any, p: Any) -> Any:
        return np.exp(special.xlog1py(k, -p))

    def _logsf(self, k: Any, p: Any) -> Any:
        return special.xlog1py(k, -p)


class NegativeBinom(Probability):
    """The number of failures before n successes."""

    parameters = ("n", "p")

    def _valid(self, n: Any, p: Any) -> list[Any]:
        return [n > 0.0, p > 0.0, p <= 1.0]

    def _logpmf(self, k: Any, n: Any, p: Any) -> Any:
        ways = special.gammaln(n + k) - special.gammaln(k + 1.0) - special.gammaln(n)
        return ways + n * np.log(p) + special.xlog1py(k, -p)

    def _cdf(self, k: Any, n: Any, p: Any) -> Any:
        return special.betainc(n, k + 1.0, p)

    def _sf(self, k: Any, n: Any, p: Any) -> Any:
        return special.betaincc(n, k + 1.0, p)


class BetaBinom(Discrete):
    """A binomial distribution whose p has a beta distribution."""

    parameters = ("n", "a", "b")

    def _valid(self, n: Any, a: Any, b: Any) -> list[Any]:
        return [n >= 0.0, a > 0.0, b > 0.0]

    def _support(self, n: Any, a: Any, b: Any) -> tuple[Any, Any]:
        return 0.0, n

    def _middle(self, low: Any, high: Any) -> Any:
        return 0.0

    def _logpmf(self, k: Any, n: Any, a: Any, b: Any) -> Any:
        ways = -np.log(n + 1.0) - special.betaln(n - k + 1.0, k + 1.0)
        return ways + special.betaln(k + a, n - k + b) - special.betaln(a, b)


poisson = Poisson("poisson")
bernoulli = Bernoulli("bernoulli")
binom = Binom("binom")
geom = Geom("geom")
nbinom = NegativeBinom("nbinom")
betabinom = BetaBinom("betabinom")
