"""The two chains: partial derivatives or states of the way forth are kept for the way back."""

import math

import numpy as np
from numba import njit


@njit(error_model="numpy", cache=True)
def circle_kernel(x, strength, omega, sines, slopes, gradient):
    for k in range(sines.size):
        sine, cosine = math.sin(x), math.cos(x)  # one call for both
        sines[k], slopes[k] = sine, 1.0 + strength * cosine
        x = sine * strength + x + omega
    w, w_strength, w_omega = 1.0, 0.0, 0.0
    for k in range(sines.size - 1, -1, -1):
        w_omega += w
        w_strength += w * sines[k]
        w *= slopes[k]
    gradient[0], gradient[1], gradient[2] = w, w_strength, w_omega
    return x


def circle(x, strength, omega, steps):
    sines, slopes, gradient = np.empty(steps), np.empty(steps), np.empty(3)

    def run(x, strength, omega, steps):
        return circle_kernel(x, strength, omega, sines, slopes, gradient), gradient

    return run


@njit(error_model="numpy", cache=True)
def oscillator_kernel(x, v, stiffness, step, xs, vs, gradient):
    for k in range(xs.size):
        xs[k] = x
        v = v - step * (x + stiffness * x * x * x)
        vs[k] = v
        x = x + step * v
    wx, wv, w_stiffness, w_step = 1.0, 0.0, 0.0, 0.0
    for k in range(xs.size - 1, -1, -1):
        square = xs[k] * xs[k]
        w_step += wx * vs[k]
        wv += step * wx
        w_step -= wv * (xs[k] + stiffness * square * xs[k])
        w_stiffness -= wv * square * xs[k]  # times the step, below
        wx -= wv * (step * (1.0 + 3.0 * stiffness * square))
    gradient[0], gradient[1], gradient[2], gradient[3] = wx, wv, step * w_stiffness, w_step
    return x


def oscillator(x, v, stiffness, step, steps):
    xs, vs, gradient = np.empty(steps), np.empty(steps), np.empty(4)

    def run(x, v, stiffness, step, steps):
        return oscillator_kernel(x, v, stiffness, step, xs, vs, gradient), gradient

    return run


ADJOINTS = {"circle": circle, "oscillator": oscillator}
