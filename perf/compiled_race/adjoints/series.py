"""Likelihoods of series: GARCH(1,1), AR(5), and a Kalman filter with its matrices spelled out."""

import math

import numpy as np
from numba import njit

LOG_TWO_PI = math.log(2.0 * math.pi)


@njit(error_model="numpy", cache=True)
def garch_kernel(parameters, y, first, variances, slopes, gradient):
    """In variances, which need no square root; `slopes`: of each term by its variance."""
    mu, alpha0, alpha1, beta1 = parameters[0], parameters[1], parameters[2], parameters[3]
    variance, surprise, value, w_mu = first * first, y[0] - mu, 0.0, 0.0
    for t in range(y.size):
        if t > 0:
            variance = alpha0 + alpha1 * (surprise * surprise) + beta1 * variance
            surprise = y[t] - mu
        inverse = 1.0 / variance
        share = surprise * inverse
        value -= 0.5 * (surprise * share + math.log(variance))
        w_mu += share
        variances[t] = variance
        slopes[t] = 0.5 * (share * share - inverse)
    w, w_alpha0, w_alpha1, w_beta1 = 0.0, 0.0, 0.0, 0.0
    for t in range(y.size - 1, 0, -1):
        w = slopes[t] + beta1 * w
        before = y[t - 1] - mu
        w_alpha0 += w
        w_alpha1 += w * (before * before)
        w_beta1 += w * variances[t - 1]
        w_mu -= 2.0 * alpha1 * before * w
    gradient[0], gradient[1], gradient[2], gradient[3] = w_mu, w_alpha0, w_alpha1, w_beta1
    return value - 0.5 * LOG_TWO_PI * y.size


def garch(parameters, y, first):
    variances, slopes, gradient = np.empty(y.size), np.empty(y.size), np.empty(4)

    def run(parameters, y, first):
        return garch_kernel(parameters, y, first, variances, slopes, gradient), gradient

    return run


@njit(error_model="numpy", cache=True)
def ar5_kernel(parameters, y, gradient):
    """The sums that the gradient is made of, in one pass."""
    p0, p1, p2 = parameters[0], parameters[1], parameters[2]
    p3, p4, p5, sigma = parameters[3], parameters[4], parameters[5], parameters[6]
    g0, g1, g2, g3, g4, g5, squares = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for t in range(5, y.size):
        mean = p0 + p1 * y[t - 1] + p2 * y[t - 2] + p3 * y[t - 3] + p4 * y[t - 4] + p5 * y[t - 5]
        rest = y[t] - mean
        squares += rest * rest
        g0 += rest
        g1 += rest * y[t - 1]
        g2 += rest * y[t - 2]
        g3 += rest * y[t - 3]
        g4 += rest * y[t - 4]
        g5 += rest * y[t - 5]
    inverse, count = 1.0 / (sigma * sigma), y.size - 5
    gradient[0], gradient[1], gradient[2] = g0 * inverse, g1 * inverse, g2 * inverse
    gradient[3], gradient[4], gradient[5] = g3 * inverse, g4 * inverse, g5 * inverse
    gradient[6] = (squares * inverse - count) / sigma - 2.0 * sigma / (6.25 + sigma * sigma)
    value = -0.5 * squares * inverse - count * (math.log(sigma) + 0.5 * LOG_TWO_PI)
    value -= math.log(2.5 * math.pi) + math.log(1.0 + sigma * sigma / 6.25)
    for k in range(6):
        value -= 0.005 * parameters[k] * parameters[k] + math.log(10.0) + 0.5 * LOG_TWO_PI
        gradient[k] -= 0.01 * parameters[k]
    return value


def ar5(parameters, y):
    gradient = np.empty(7)
    return lambda parameters, y: (ar5_kernel(parameters, y, gradient), gradient)


@njit(error_model="numpy", cache=True)
def kalman_kernel(level, slope, level_variance, slope_variance, noise, y, kept, gradient):
    """`kept`: the predicted covariance, its variance's inverse and the error, step by step."""
    p00, p01, p11, value = 10.0, 0.0, 1.0, 0.0
    for t in range(y.size):
        p00, p01, p11 = p00 + 2.0 * p01 + p11 + level_variance, p01 + p11, p11 + slope_variance
        level += slope
        variance, error = p00 + noise, y[t] - level
        inverse = 1.0 / variance
        kept[t, 0], kept[t, 1], kept[t, 2], kept[t, 3] = p00, p01, inverse, error
        value -= 0.5 * (math.log(variance) + error * error * inverse)
        gain0, gain1 = p00 * inverse, p01 * inverse
        level += gain0 * error
        slope += gain1 * error
        p00, p01, p11 = p00 - gain0 * p00, p01 - gain0 * p01, p11 - gain1 * p01
    w_level, w_slope, w00, w01, w11 = 0.0, 0.0, 0.0, 0.0, 0.0
    w_noise, w_level_variance, w_slope_variance = 0.0, 0.0, 0.0
    for t in range(y.size - 1, -1, -1):
        p00, p01, inverse, error = kept[t, 0], kept[t, 1], kept[t, 2], kept[t, 3]
        gain0, gain1 = p00 * inverse, p01 * inverse
        w_gain0 = w_level * error - w00 * p00 - w01 * p01
        w_gain1 = w_slope * error - w11 * p01
        w_error = w_level * gain0 + w_slope * gain1 - error * inverse
        w_variance = -0.5 * (inverse - (error * inverse) ** 2)
        w_variance -= (w_gain0 * gain0 + w_gain1 * gain1) * inverse
        w00 = w00 * (1.0 - gain0) + w_gain0 * inverse + w_variance
        w01 = w01 * (1.0 - gain0) - w11 * gain1 + w_gain1 * inverse
        w_level -= w_error
        w_slope += w_level
        w_noise += w_variance
        w_level_variance += w00
        w_slope_variance += w11
        w11, w01 = w11 + w01 + w00, w01 + 2.0 * w00
    gradient[0], gradient[1], gradient[2] = w_level, w_slope, w_level_variance
    gradient[3], gradient[4] = w_slope_variance, w_noise
    return value - 0.5 * LOG_TWO_PI * y.size


def kalman(*arguments):
    """Of the filter with scalars, and of that with arrays: its numbers come in the same order."""
    y = arguments[-1]
    kept, gradient = np.empty((y.size, 4)), np.empty(5)

    def scalars(level, slope, level_variance, slope_variance, noise, y):
        numbers = (level, slope, level_variance, slope_variance, noise)
        return kalman_kernel(*numbers, y, kept, gradient), gradient

    def arrays(state, variances, noise, y):
        return kalman_kernel(*state, *variances, noise, y, kept, gradient), gradient

    return arrays if len(arguments) == 4 else scalars


ADJOINTS = {"garch": garch, "ar5": ar5, "kalman": kalman}
