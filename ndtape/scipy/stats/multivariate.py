"""Distributions of vectors and matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...primitives.factors import cholesky
from ...primitives.solves import solve_triangular
from ...primitives.stacks import diagonal
from ...record.core import user_line
from .. import special
from .continuous import LOG_2, LOG_ROOT_2PI
from .distributions import Distribution, checked, holds, numbers, plainly


class MultivariateNormal(Distribution):
    """Normal vectors: `x` (..., d), `mean` (d,) or (..., d), `cov` (d, d) or a stack of them.

    As in SciPy, `cov` may also be a number or a vector of variances, and mean and covariance have
    the defaults 0 and 1.  The covariance must be positive definite: `allow_singular` is refused.
    The derivative in `cov` is symmetric.
    """

    def logpdf(self, x: Any, mean: Any = None, cov: Any = 1.0, allow_singular: bool = False) -> Any:
        """The logarithm of the density, shape (...)."""
        x, mean, factor = _located(x, mean, cov, allow_singular)
        y = _solved(factor, x - mean)
        log_det = np.sum(np.log(diagonal(factor)), axis=-1)
        d = factor.shape[-1]
        return plainly(-0.5 * np.sum(np.square(y), axis=-1) - log_det - d * LOG_ROOT_2PI)

    def pdf(self, x: Any, mean: Any = None, cov: Any = 1.0, allow_singular: bool = False) -> Any:
        """The density, shape (...)."""
        return np.exp(self.logpdf(x, mean, cov, allow_singular))

    def entropy(self, mean: Any = None, cov: Any = 1.0) -> Any:
        """The differential entropy."""
        factor = cholesky(_covariance(numbers(cov), 1 if mean is None else np.size(mean)))
        d = factor.shape[-1]
        return plainly(np.sum(np.log(diagonal(factor)), axis=-1) + d * (LOG_ROOT_2PI + 0.5))


class MultivariateT(Distribution):
    """Student's t of vectors: `x` (..., d), `loc` (d,), `shape` (d, d), `df` degrees of freedom."""

    def logpdf(self, x: Any, loc: Any = None, shape: Any = 1.0, df: Any = 1.0) -> Any:
        """The logarithm of the density, shape (...)."""
        x, loc, factor = _located(x, loc, shape, False)
        df, d = numbers(df), factor.shape[-1]
        square = np.sum(np.square(_solved(factor, x - loc)), axis=-1)
        half = 0.5 * (df + d)
        front = special.gammaln(half) - special.gammaln(0.5 * df) - 0.5 * d * np.log(np.pi * df)
        log_det = np.sum(np.log(diagonal(factor)), axis=-1)
        return checked(front - log_det - half * np.log1p(square / df), [df > 0.0])

    def pdf(self, x: Any, loc: Any = None, shape: Any = 1.0, df: Any = 1.0) -> Any:
        """The density, shape (...)."""
        return np.exp(self.logpdf(x, loc, shape, df))


class Dirichlet(Distribution):
    """Dirichlet: `x` (K,) or (K, N), components along the first axis as in SciPy, `alpha` (K,).

    The last component may be left out.  Outside the simplex SciPy raises; the answer here is that
    of the formula, so that a step of an optimiser which leaves it by a rounding error has a value.
    """

    def logpdf(self, x: Any, alpha: Any) -> Any:
        """The logarithm of the density, () or (N,)."""
        x, alpha = numbers(x), numbers(alpha)
        if x.shape[0] == alpha.shape[0] - 1:
            x = np.concatenate([x, 1.0 - np.sum(x, axis=0, keepdims=True)])
        if x.ndim > 2 or x.shape[0] != alpha.shape[0]:
            raise ShapeError(
                f"dirichlet: x of shape {x.shape} and alpha of shape {alpha.shape}; the components "
                f"of x lie along its first axis [{user_line()}]"
            )
        exponents = alpha - 1.0 if x.ndim == 1 else (alpha - 1.0)[:, None]
        powers = np.sum(special.xlogy(exponents, x), axis=0)
        front = special.gammaln(np.sum(alpha)) - np.sum(special.gammaln(alpha))
        return checked(front + powers, [np.all(alpha > 0.0)])

    def pdf(self, x: Any, alpha: Any) -> Any:
        """The density, () or (N,)."""
        return np.exp(self.logpdf(x, alpha))


class Multinomial(Distribution):
    """Counts `x` (..., K) of n draws with probabilities `p` (K,) or (..., K)."""

    def logpmf(self, x: Any, n: Any, p: Any) -> Any:
        """The logarithm of the probability, shape (...); -inf unless the counts add up to n."""
        x, n, p = numbers(x), numbers(n), numbers(p)
        fits = (np.sum(x, axis=-1) == n) & np.all((x >= 0) & (x == np.floor(x)), axis=-1)
        ways = special.gammaln(n + 1.0) - np.sum(special.gammaln(np.maximum(x, 0.0) + 1.0), axis=-1)
        found = ways + np.sum(special.xlogy(x, p), axis=-1)
        if not holds(fits):
            found = np.where(fits, found, -np.inf)
        return checked(found, [np.all((p >= 0.0) & (p <= 1.0), axis=-1)])

    def pmf(self, x: Any, n: Any, p: Any) -> Any:
        """The probability, shape (...)."""
        return np.exp(self.logpmf(x, n, p))


class Wishart(Distribution):
    """Wishart: positive definite `x` (d, d), `df` degrees of freedom, `scale` (d, d)."""

    def logpdf(self, x: Any, df: Any, scale: Any) -> Any:
        """The logarithm of the density."""
        x, df, scale = numbers(x), numbers(df), numbers(scale)
        of_x, of_scale = cholesky(x), cholesky(scale)
        d = of_x.shape[-1]
        root = solve_triangular(of_scale, of_x, lower=True)
        log_x = np.sum(np.log(diagonal(of_x)), axis=-1)
        log_scale = np.sum(np.log(diagonal(of_scale)), axis=-1)
        front = 0.5 * d * LOG_2 * df + df * log_scale + special.multigammaln(0.5 * df, d)
        found = (df - d - 1.0) * log_x - 0.5 * np.sum(np.square(root), axis=(-2, -1)) - front
        return checked(found, [df > d - 1.0])

    def pdf(self, x: Any, df: Any, scale: Any) -> Any:
        """The density."""
        return np.exp(self.logpdf(x, df, scale))


# --- vectors and their covariances ----------------------------------------------------------------


def _located(x: Any, mean: Any, cov: Any, allow_singular: bool) -> tuple[Any, Any, Any]:
    """Vectors x, their mean, and the Cholesky factor of the covariance."""
    if allow_singular:
        raise UnsupportedError(
            "multivariate_normal: a singular covariance has no derivative; leave allow_singular "
            f"out, or add a jitter to the diagonal [{user_line()}]"
        )
    x, cov = numbers(x), numbers(cov)
    mean = 0.0 if mean is None else numbers(mean)
    d = max(_length(mean), _length(cov))
    if np.ndim(x) == 0 or (np.ndim(x) == 1 and d == 1):  # as in SciPy: numbers, of vectors of one
        x = np.reshape(x, (*np.shape(x), 1))
    if x.shape[-1] != d:
        raise ShapeError(f"multivariate: x of shape {x.shape} for vectors of {d} [{user_line()}]")
    return x, mean, cholesky(_covariance(cov, d))


def _length(x: Any) -> int:
    return int(x.shape[-1]) if np.ndim(x) else 1


def _covariance(cov: Any, d: int) -> Any:
    """The matrix that a number, a vector of variances, or a matrix stands for."""
    if np.ndim(cov) == 0:
        return cov * np.eye(d)
    return np.diag(cov) if np.ndim(cov) == 1 else cov


def _solved(factor: Any, y: Any) -> Any:
    """L⁻¹ y for each vector y (..., d)."""
    if factor.ndim == 2 and np.ndim(y) == 2:  # one solve for all
        return np.transpose(solve_triangular(factor, np.transpose(y), lower=True))
    return solve_triangular(factor, y[..., None], lower=True)[..., 0]


multivariate_normal = MultivariateNormal("multivariate_normal")
multivariate_t = MultivariateT("multivariate_t")
dirichlet = Dirichlet("dirichlet")
multinomial = Multinomial("multinomial")
wishart = Wishart("wishart")
