"""A Kalman filter's log likelihood: a level with a slope, both walking at random, seen in noise."""

import math

import numpy as np


def loop(level, slope, level_variance, slope_variance, noise, y):
    """Every entry of the 2 × 2 matrices a scalar."""
    p00, p01, p11 = 10.0, 0.0, 1.0
    total = 0.0
    for t in range(len(y)):
        level = level + slope
        p00 = p00 + 2.0 * p01 + p11 + level_variance
        p01 = p01 + p11
        p11 = p11 + slope_variance
        variance = p00 + noise
        error = y[t] - level
        total -= 0.5 * (np.log(2.0 * math.pi * variance) + error * error / variance)
        gain0, gain1 = p00 / variance, p01 / variance
        level = level + gain0 * error
        slope = slope + gain1 * error
        p11 = p11 - gain1 * p01
        p01 = p01 - gain0 * p01
        p00 = p00 - gain0 * p00
    return total


def arrays(state, variances, noise, y):
    """The same with vectors and matrices; `variances` is the diagonal of the walk's covariance."""
    step = np.array([[1.0, 1.0], [0.0, 1.0]])
    turned = np.array([[1.0, 0.0], [1.0, 1.0]])
    covariance = np.array([[10.0, 0.0], [0.0, 1.0]])
    walk, kept = np.zeros((2, 2)), np.zeros((2, 2))
    walk[0, 0], walk[1, 1] = variances[0], variances[1]
    kept[1, 1] = 1.0
    total = 0.0
    for t in range(len(y)):
        state = step @ state
        covariance = step @ covariance @ turned + walk
        variance = covariance[0, 0] + noise
        error = y[t] - state[0]
        total -= 0.5 * (np.log(2.0 * math.pi * variance) + error * error / variance)
        gain = covariance[:, 0] / variance
        state = state + gain * error
        kept[0, 0], kept[1, 0] = 1.0 - gain[0], -gain[1]
        covariance = kept @ covariance
    return total
