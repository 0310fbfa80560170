"""Gradients written by hand, compiled by Numba: what a tape may be compared with but cannot be."""

import math

import numpy as np
from numba import njit
from workloads import gmm

from . import Contestant

PACKAGES = ("numba",)


@njit(error_model="numpy", cache=True)
def rosenbrock(x, gradient):
    total = 0.0
    gradient[:] = 0.0
    for i in range(x.size - 1):
        bend, gap = x[i + 1] - x[i] * x[i], 1.0 - x[i]
        total += 100.0 * (bend * bend) + gap * gap
        gradient[i] += -400.0 * x[i] * bend - 2.0 * gap
        gradient[i + 1] += 200.0 * bend
    return total


@njit(error_model="numpy", cache=True)
def log_sum_exp(b):
    top = b.max()
    total = 0.0
    for k in range(b.size):
        total += math.exp(b[k] - top)
    return math.log(total) + top


@njit(error_model="numpy", cache=True)
def mixture(alphas, means, icf, x, gamma, m, constant, slopes):
    """The log posterior; its derivatives are added to slopes = (alphas, means, icf)."""
    (K, D), N = means.shape, x.shape[0]
    d_alphas, d_means, d_icf = slopes
    b, z, shift = np.empty(K), np.empty((K, D)), np.empty((K, D))
    diagonal, traces = np.exp(icf[:, :D]), np.empty(K)
    value = constant
    for k in range(K):
        traces[k] = icf[k, :D].sum()
        value -= m * traces[k]
        for i in range(D):
            value += 0.5 * gamma * gamma * diagonal[k, i] * diagonal[k, i]
            d_icf[k, i] = gamma * gamma * diagonal[k, i] * diagonal[k, i] - m
        for j in range(D, icf.shape[1]):
            value += 0.5 * gamma * gamma * icf[k, j] * icf[k, j]
            d_icf[k, j] = gamma * gamma * icf[k, j]
    normaliser = log_sum_exp(alphas)
    value -= N * normaliser
    for k in range(K):
        d_alphas[k] = -N * math.exp(alphas[k] - normaliser)
        d_means[k, :] = 0.0
    for n in range(N):
        for k in range(K):
            for i in range(D):
                shift[k, i] = x[n, i] - means[k, i]
                z[k, i] = diagonal[k, i] * shift[k, i]
            place = D
            for j in range(D):
                for i in range(j + 1, D):
                    z[k, i] += icf[k, place] * shift[k, j]
                    place += 1
            square = 0.0
            for i in range(D):
                square += z[k, i] * z[k, i]
            b[k] = alphas[k] + traces[k] - 0.5 * square
        share = log_sum_exp(b)
        value += share
        for k in range(K):
            w = math.exp(b[k] - share)
            d_alphas[k] += w
            for i in range(D):
                d_icf[k, i] += w * (1.0 - z[k, i] * diagonal[k, i] * shift[k, i])
                d_means[k, i] += w * z[k, i] * diagonal[k, i]
            place = D
            for j in range(D):
                for i in range(j + 1, D):
                    d_icf[k, place] -= w * z[k, i] * shift[k, j]
                    d_means[k, j] += w * z[k, i] * icf[k, place]
                    place += 1
    return value


def contestants(problem):
    if problem.kind == "rosenbrock":
        gradient = np.zeros(problem.size)

        def build():
            return lambda x: (rosenbrock(x, gradient), gradient)

        yield Contestant("hand Numba", build)
    if problem.kind == "gmm":
        data = gmm.read(problem.size)
        constant = gmm.constant_part(*data.x.shape, len(data.alphas), data.gamma, data.m)

        def build_mixture():
            slopes = tuple(np.zeros_like(part) for part in data.split(problem.points[0]))

            def run(parameters):
                value = mixture(*parameters, data.x, data.gamma, data.m, constant, slopes)
                return value, slopes

            return run

        yield Contestant(
            "hand Numba", build_mixture, convert=data.split, read=lambda r: (r[0], gmm.joined(r[1]))
        )
