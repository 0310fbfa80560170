"""Log posterior of a Gaussian mixture with a Wishart prior on its precisions (ADBench).

Each component k has a weight α, a mean μ and a lower triangular Q: exp(q) on the diagonal, l below
it, column by column. The precision matrix is QᵀQ. Data sets are those of the benchmark.
"""

import math
from dataclasses import dataclass

import numpy as np

from . import data_file


@dataclass
class Problem:
    """Points x (N×D), the prior's γ and m, and where the benchmark differentiates."""

    x: np.ndarray
    gamma: float
    m: int
    alphas: np.ndarray  # K
    means: np.ndarray  # K×D
    icf: np.ndarray  # K×(D + D(D−1)/2): a row is q, then l

    def split(self, flat):
        """(alphas, means, icf) of all parameters in one array, which is what `joined` makes."""
        K, D = self.means.shape
        means, icf = flat[K : K + K * D], flat[K + K * D :]
        return flat[:K].copy(), means.reshape(K, D), icf.reshape(K, -1)


def joined(parts):
    return np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in parts])


def read(name):
    """A file of the benchmark, e.g. "d2_K5" or "test"; raises `DataMissingError`."""
    file = "test.txt" if name == "test" else f"gmm_{name}.txt"
    words = iter(data_file(f"adbench/gmm/{file}").read_text(encoding="utf-8").split())

    def numbers(*shape):
        count = int(np.prod(shape))
        return np.array([float(next(words)) for _ in range(count)]).reshape(shape)

    D, K, N = (int(next(words)) for _ in range(3))
    alphas, means = numbers(K), numbers(K, D)
    icf, x = numbers(K, D + D * (D - 1) // 2), numbers(N, D)
    return Problem(x, float(next(words)), int(next(words)), alphas, means, icf)


def places(D):
    """Where each entry of Q stands in [0 | exp q | l]: 0 above the diagonal."""
    i, j = np.indices((D, D))
    below = D + j * (2 * D - 1 - j) // 2 + i - j  # column j starts after D−1, D−2, … others
    return np.where(i == j, 1 + i, np.where(i > j, below, 0))


def logsumexp(b):
    """Over the last axis."""
    top = b.max(-1, keepdims=True)
    return np.log(np.exp(b - top).sum(-1)) + top[..., 0]


def log_multigamma(a, D):
    """The logarithm of the multivariate gamma function Γ_D."""
    terms = sum(math.lgamma(a - 0.5 * j) for j in range(D))
    return 0.25 * D * (D - 1) * math.log(math.pi) + terms


def constant_part(N, D, K, gamma, m):
    """The terms without a parameter: of the densities, and of the prior."""
    freedom = D + m + 1
    prior = freedom * D * math.log(gamma / math.sqrt(2.0)) - log_multigamma(0.5 * freedom, D)
    return -0.5 * N * D * math.log(2.0 * math.pi) - K * prior


def objective(x, gamma, m):
    """The log posterior as a function of the triple (alphas, means, icf)."""
    N, D = x.shape
    place = places(D)

    def log_posterior(parameters):
        alphas, means, icf = parameters
        K = len(alphas)
        q, below = icf[:, :D], icf[:, D:]
        diagonal, traces = np.exp(q), q.sum(1)
        Q = np.concatenate([np.zeros((K, 1)), diagonal, below], axis=1)[:, place]
        scaled = np.einsum("kij,nkj->nki", Q, x[:, None, :] - means)
        b = alphas + traces - 0.5 * (scaled**2).sum(2)
        likelihood = logsumexp(b).sum() - N * logsumexp(alphas)
        squares = (diagonal**2).sum() + (below**2).sum()
        prior = 0.5 * gamma**2 * squares - m * traces.sum()
        return likelihood + prior + constant_part(N, D, K, gamma, m)

    return log_posterior
