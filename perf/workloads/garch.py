"""GARCH(1,1): a series whose volatility follows its own surprises (posteriordb, garch-garch11).

σ[t]² = α0 + α1 (y[t−1] − μ)² + β1 σ[t−1]², with the first σ given; y[t] is normal around μ.
"""

import json
import math

import numpy as np

from . import data_file

POINT = [5.0, 1.5, 0.5, 0.3]
NAMES = ["μ", "α0", "α1", "β1"]
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def read(times=1):
    """The series, repeated, and its first deviation; raises `DataMissingError`."""
    found = json.loads(data_file("posteriordb/garch.json").read_text(encoding="utf-8"))
    return np.tile(np.array(found["y"]), times), found["sigma1"]


def log_normal_density(x, mean, deviation):
    z = (x - mean) / deviation
    return -0.5 * z * z - np.log(deviation) - HALF_LOG_TWO_PI


def log_likelihood(parameters, y, first):
    """Of the series y, whose first deviation is given; parameters are those of `NAMES`."""
    mu, alpha0, alpha1, beta1 = parameters[0], parameters[1], parameters[2], parameters[3]
    sigma = first
    total = log_normal_density(y[0], mu, sigma)
    for t in range(1, len(y)):
        surprise = y[t - 1] - mu
        sigma = np.sqrt(alpha0 + alpha1 * surprise**2 + beta1 * sigma**2)
        total += log_normal_density(y[t], mu, sigma)
    return total
