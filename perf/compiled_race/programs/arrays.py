"""The functions that FastAD and Adept are measured with, written with arrays."""

import math

import numpy as np


def total(x):
    return np.sum(x)


def product(x):
    return np.prod(x)


def log_sum_exp(x):
    return np.log(np.sum(np.exp(x)))


def normal(x):
    """The log density of independent numbers from N(−0.56, 1.37)."""
    z = (x + 0.56) / 1.37
    return -0.5 * np.sum(z * z) - len(x) * (math.log(1.37) + 0.5 * math.log(2.0 * math.pi))


def stochastic_volatility(h_std, phi, sigma, mu, y):
    """Stan's model: y[t] ~ N(0, exp(h[t] / 2)), and h an AR(1) process with noise σ h_std."""
    h = sigma * h_std
    h[0] /= np.sqrt(1.0 - phi * phi)
    h += mu
    for t in range(1, len(y)):
        h[t] += phi * (h[t - 1] - mu)
    priors = -np.log(1.0 + (sigma / 5.0) ** 2) - np.log(1.0 + (mu / 10.0) ** 2)
    return priors - 0.5 * np.sum(h + y * y * np.exp(-h) + h_std * h_std)
