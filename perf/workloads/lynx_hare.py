"""Lynx and hare, 1900 to 1920: the predator-prey equations fitted to the furs of a trading company.

u' = (a − b v) u and v' = (−g + d v) v for hares u and lynxes v, by Runge and Kutta's method with 20
steps a year; the counts are log-normal around the solution.
"""

import json
import math

import numpy as np

from . import data_file

SUBSTEPS = 20
POINT = [0.55, 0.028, 0.80, 0.024, 33.0, 6.0, 0.25, 0.25]
NAMES = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "hares in 1900",
    "lynxes in 1900",
    "σ hares",
    "σ lynxes",
]


def read():
    """Counts (hares, lynxes) of the 21 years; raises `DataMissingError`."""
    path = data_file("posteriordb/hudson_lynx_hare.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    return [tuple(map(float, pair)) for pair in [found["y_init"], *found["y"]]]


def normal(x, mean, deviation):
    """The logarithm of the normal density."""
    z = (x - mean) / deviation
    return -0.5 * z * z - np.log(deviation) - 0.5 * math.log(2.0 * math.pi)


def log_normal(x, mean, deviation):
    return normal(np.log(x), mean, deviation) - np.log(x)


def year(u, v, a, b, g, d):
    """Hares and lynxes a year later."""
    h = 1.0 / SUBSTEPS

    def slopes(u, v):
        return (a - b * v) * u, (-g + d * u) * v

    for _ in range(SUBSTEPS):
        u1, v1 = slopes(u, v)
        u2, v2 = slopes(u + 0.5 * h * u1, v + 0.5 * h * v1)
        u3, v3 = slopes(u + 0.5 * h * u2, v + 0.5 * h * v2)
        u4, v4 = slopes(u + h * u3, v + h * v3)
        u = u + h / 6.0 * (u1 + 2.0 * u2 + 2.0 * u3 + u4)
        v = v + h / 6.0 * (v1 + 2.0 * v2 + 2.0 * v3 + v4)
    return u, v


def objective(counts):
    """The log posterior as a function of the eight parameters of `NAMES`."""

    def log_posterior(parameters):
        a, b, g, d, u, v, sigma_u, sigma_v = parameters
        total = normal(a, 1.0, 0.5) + normal(g, 1.0, 0.5)
        total += normal(b, 0.05, 0.05) + normal(d, 0.05, 0.05)
        for sigma, start in ((sigma_u, u), (sigma_v, v)):
            total += log_normal(sigma, -1.0, 1.0) + log_normal(start, math.log(10.0), 1.0)
        for k, (hares, lynxes) in enumerate(counts):
            if k > 0:
                u, v = year(u, v, a, b, g, d)
            total += log_normal(hares, np.log(u), sigma_u)
            total += log_normal(lynxes, np.log(v), sigma_v)
        return total

    return log_posterior
