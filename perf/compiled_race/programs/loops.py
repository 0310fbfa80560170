"""The functions that FastAD and Adept are measured with, in scalar loops."""

import math

import numpy as np


def total(x):
    result = 0.0
    for i in range(len(x)):
        result += x[i]
    return result


def product(x):
    result = 1.0
    for i in range(len(x)):
        result *= x[i]
    return result


def log_sum_exp(x):
    result = 0.0
    for i in range(len(x)):
        result += np.exp(x[i])
    return np.log(result)


def normal(x):
    """The log density of independent numbers from N(−0.56, 1.37)."""
    squares = 0.0
    for i in range(len(x)):
        z = (x[i] + 0.56) / 1.37
        squares += z * z
    return -0.5 * squares - len(x) * (math.log(1.37) + 0.5 * math.log(2.0 * math.pi))


def stochastic_volatility(h_std, phi, sigma, mu, y):
    """Stan's model: y[t] ~ N(0, exp(h[t] / 2)), and h an AR(1) process with noise σ h_std."""
    n = len(y)
    h = np.empty(n)
    for t in range(n):
        h[t] = sigma * h_std[t]
    h[0] /= np.sqrt(1.0 - phi * phi)
    h[0] += mu
    for t in range(1, n):
        h[t] += mu + phi * (h[t - 1] - mu)
    result = -np.log(1.0 + (sigma / 5.0) ** 2) - np.log(1.0 + (mu / 10.0) ** 2)
    for t in range(n):
        result -= 0.5 * (h[t] + y[t] * y[t] * np.exp(-h[t]) + h_std[t] * h_std[t])
    return result
