"""AR(5): each number of a series is a sum of the five before it (posteriordb, arK-arK).

The log posterior, up to a constant: priors N(0, 10) on the mean and the weights, half Cauchy(2.5),
without its factor 2, on the deviation.
"""

import json
import math

import numpy as np

from . import data_file

ORDER = 5
POINT = [0.0, 0.7, 0.5, 0.3, -0.1, -0.5, 0.15]
NAMES = ["α", "β1", "β2", "β3", "β4", "β5", "σ"]
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


def read(times=1):
    """The series, repeated; raises `DataMissingError`."""
    found = json.loads(data_file("posteriordb/arK.json").read_text(encoding="utf-8"))
    return np.tile(np.array(found["y"]), times)


def log_normal_density(x, mean, deviation):
    z = (x - mean) / deviation
    return -0.5 * z * z - np.log(deviation) - HALF_LOG_TWO_PI


def log_cauchy_density(x, scale):
    z = x / scale
    return -np.log(math.pi * scale) - np.log(1.0 + z * z)


def log_posterior(parameters, y):
    """Of the parameters of `NAMES`, given the series y."""
    sigma = parameters[ORDER + 1]
    total = log_cauchy_density(sigma, 2.5)
    for k in range(ORDER + 1):
        total += log_normal_density(parameters[k], 0.0, 10.0)
    for t in range(ORDER, len(y)):
        mean = parameters[0]
        for k in range(1, ORDER + 1):
            mean += parameters[k] * y[t - k]
        total += log_normal_density(y[t], mean, sigma)
    return total
