"""The gradients as a person would write them by hand in Numba: the floor that a tape is held to.

The chain comes twice. `stores x` keeps one number a step and evaluates the sine again on the way
back; `stores x, sin` keeps the sine too, which costs memory and saves a third of the sines.
"""

import math

import numpy as np
from numba import njit

from peers import REPLAY, prepared

PACKAGES = ("numba",)


@njit(error_model="numpy")
def circle_storing_x(inputs, xs, gradient):
    x, strength, omega = inputs[0], inputs[1], inputs[2]
    for k in range(xs.size):
        xs[k] = x
        x = math.sin(x) * strength + x + omega
    w, w_strength, w_omega = 1.0, 0.0, 0.0
    for k in range(xs.size - 1, -1, -1):
        w_omega += w
        w_strength += w * math.sin(xs[k])
        w += w * strength * math.cos(xs[k])
    gradient[0], gradient[1], gradient[2] = w, w_strength, w_omega
    return x


@njit(error_model="numpy")
def circle_storing_sines(inputs, xs, sines, gradient):
    x, strength, omega = inputs[0], inputs[1], inputs[2]
    for k in range(xs.size):
        xs[k] = x
        sines[k] = math.sin(x)
        x = sines[k] * strength + x + omega
    w, w_strength, w_omega = 1.0, 0.0, 0.0
    for k in range(xs.size - 1, -1, -1):
        w_omega += w
        w_strength += w * sines[k]
        w += w * strength * math.cos(xs[k])
    gradient[0], gradient[1], gradient[2] = w, w_strength, w_omega
    return x


@njit(error_model="numpy")
def wide_gradient(x, gradient):
    total = 0.0
    gradient[:] = 0.0
    for i in range(x.size - 1):
        bend, gap = x[i + 1] - x[i] * x[i], 1.0 - x[i]
        total += 100.0 * (bend * bend) + gap * gap
        gradient[i] += -400.0 * x[i] * bend - 2.0 * gap
        gradient[i + 1] += 200.0 * bend
    return total


def contestants(problem, size, patience):
    inputs = np.array(problem.inputs(size))
    if problem.name == "wide":
        gradient = np.zeros(inputs.size)
        yield prepared(
            "hand Numba", REPLAY, lambda: lambda: (wide_gradient(inputs, gradient), gradient)
        )
        return
    gradient, xs, sines = np.zeros(3), np.zeros(size), np.zeros(size)
    yield prepared(
        "hand Numba", REPLAY, lambda: lambda: (circle_storing_x(inputs, xs, gradient), gradient)
    )
    yield prepared(
        "hand Numba, stores sin",
        REPLAY,
        lambda: lambda: (circle_storing_sines(inputs, xs, sines, gradient), gradient),
    )
