"""Advection. Lax and Wendroff's steps are linear: their way back keeps nothing from the way forth.

Adjoints of fluxes are differences of those of the field, so that every loop is over neighbours and
LLVM makes vectors of it.
"""

import math

import numpy as np
from numba import njit
from workloads.advection import COURANT


@njit(error_model="numpy", cache=True)
def moved_back(w, through):
    """From the adjoint of a field after a step to those of its fluxes; w keeps the direct part."""
    n = w.size
    w[1] += w[n - 1]
    w[n - 2] += w[0]
    w[0] = w[n - 1] = 0.0
    for i in range(n - 1):
        through[i] = w[i + 1] - w[i]


@njit(error_model="numpy", cache=True)
def lax_wendroff_kernel(field, steps, q, flux, gradient):
    n = field.size
    left, right = 0.5 * COURANT * (1.0 + COURANT), 0.5 * COURANT * (1.0 - COURANT)
    q[:] = field
    for _ in range(steps):
        for i in range(n - 1):
            flux[i] = left * q[i] + right * q[i + 1]
        for i in range(1, n - 1):
            q[i] += flux[i - 1] - flux[i]
        q[0], q[n - 1] = q[n - 2], q[1]
    gradient[:] = 0.1
    for _ in range(steps):
        moved_back(gradient, flux)
        gradient[0] += left * flux[0]
        for i in range(1, n - 1):
            gradient[i] += left * flux[i] + right * flux[i - 1]
        gradient[n - 1] += right * flux[n - 2]
    return 0.1 * q.sum()


def lax_wendroff(field, steps):
    q, flux, gradient = np.empty(field.size), np.empty(field.size - 1), np.empty(field.size)

    def run(field, steps):
        return lax_wendroff_kernel(field, steps, q, flux, gradient), gradient

    return run


@njit(error_model="numpy", cache=True)
def toon_kernel(field, steps, q, flux, by_left, by_right, gradient):
    n = field.size
    q[:] = field
    for k in range(steps):
        for i in range(n - 1):
            a, b = q[i], q[i + 1]
            if a == b:
                flux[i], by_left[k, i], by_right[k, i] = COURANT * a, COURANT, 0.0
            else:
                power, inverse = math.exp(COURANT * math.log(a / b)), 1.0 / (a - b)
                rise = (power - 1.0) * inverse
                found = rise * a * b
                flux[i] = found
                by_left[k, i] = (COURANT * power * inverse + rise) * b - found * inverse
                by_right[k, i] = (rise - COURANT * power * inverse) * a + found * inverse
        for i in range(1, n - 1):
            q[i] += flux[i - 1] - flux[i]
        q[0], q[n - 1] = q[n - 2], q[1]
    gradient[:] = 0.1
    for k in range(steps - 1, -1, -1):
        moved_back(gradient, flux)
        gradient[0] += by_left[k, 0] * flux[0]
        for i in range(1, n - 1):
            gradient[i] += by_left[k, i] * flux[i] + by_right[k, i - 1] * flux[i - 1]
        gradient[n - 1] += by_right[k, n - 2] * flux[n - 2]
    return 0.1 * q.sum()


def toon(field, steps):
    q, flux, gradient = np.empty(field.size), np.empty(field.size - 1), np.empty(field.size)
    by_left, by_right = np.empty((steps, flux.size)), np.empty((steps, flux.size))

    def run(field, steps):
        value = toon_kernel(field, steps, q, flux, by_left, by_right, gradient)
        return value, gradient

    return run


ADJOINTS = {"lax_wendroff": lax_wendroff, "toon": toon}
