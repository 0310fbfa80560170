"""Advection in one dimension by the schemes of Lax and Wendroff, and of Toon (Hogan 2014).

The same steps in two forms: by scalars that are written in place, and by slices. A field twice as
high moves alike in both schemes, so that g·q = f for the gradient g at any q: a check that needs
no other library.
"""

import math

import numpy as np

SIZE = 100
COURANT = 0.125  # how far the field moves in a step, in cells


def start():
    return 1.5 + 0.5 * np.sin(2.0 * math.pi * np.arange(SIZE) / (SIZE - 1.5))


# --- by scalars, in place -------------------------------------------------------------------------


def lax_wendroff_fluxes(q, flux):
    """Overwrites `flux`."""
    for i in range(len(flux)):
        flux[i] = 0.5 * COURANT * (q[i] + q[i + 1] + COURANT * (q[i] - q[i + 1]))


def toon_fluxes(q, flux):
    """Overwrites `flux`."""
    for i in range(len(flux)):
        left, right = q[i], q[i + 1]
        if left == right:  # Lax and Wendroff's, which the other comes to as they meet
            flux[i] = 0.5 * COURANT * (left + right + COURANT * (left - right))
        else:
            rise = np.exp(COURANT * np.log(left / right)) - 1.0
            flux[i] = rise * left * right / (left - right)


def move(q, inner, flux):
    """Changes q, of which `inner` is a view without the ends; the ends are periodic."""
    for i in range(len(inner)):
        inner[i] += flux[i] - flux[i + 1]
    q[0] = q[-2]
    q[-1] = q[1]


def copy(source, target):
    for i in range(len(source)):
        target[i] = source[i]


def tenth_of_sum(q):
    total = 0.0
    for value in q:
        total += value
    return 0.1 * total


def lax_wendroff_into(q, field, steps):
    """0.1 Σ field after the steps from the start `field`; the last field is left in q."""
    copy(field, q)
    inner = q[1:-1]
    flux = np.empty(len(q) - 1)
    for _ in range(steps):
        lax_wendroff_fluxes(q, flux)
        move(q, inner, flux)
    return tenth_of_sum(q)


def toon_into(q, field, steps):
    copy(field, q)
    inner = q[1:-1]
    flux = np.empty(len(q) - 1)
    for _ in range(steps):
        toon_fluxes(q, flux)
        move(q, inner, flux)
    return tenth_of_sum(q)


def lax_wendroff(field, steps):
    """0.1 Σ field after the steps."""
    return lax_wendroff_into(np.empty(len(field)), field, steps)


def toon(field, steps):
    return toon_into(np.empty(len(field)), field, steps)


# --- by slices ------------------------------------------------------------------------------------


def lax_wendroff_slices(field, steps):
    q = field.copy()
    for _ in range(steps):
        left, right = q[:-1], q[1:]
        flux = 0.5 * COURANT * (left + right + COURANT * (left - right))
        q[1:-1] += flux[:-1] - flux[1:]
        q[0] = q[-2]
        q[-1] = q[1]
    return 0.1 * q.sum()


def toon_slices(field, steps):
    """Neighbours must differ."""
    q = field.copy()
    for _ in range(steps):
        left, right = q[:-1], q[1:]
        rise = np.exp(COURANT * np.log(left / right)) - 1.0
        flux = rise * left * right / (left - right)
        q[1:-1] += flux[:-1] - flux[1:]
        q[0] = q[-2]
        q[-1] = q[1]
    return 0.1 * q.sum()
