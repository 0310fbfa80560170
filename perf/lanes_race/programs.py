"""Programs of one row, in the text that everybody runs: `np` and the functions stand for others.

Both steps are Euler's for a differential equation over a time of 1, so that no number and no
derivative grows or fades with the length of the program.
"""

import numpy as np

OPERATIONS = {"arithmetic": 5, "transcendental": 8}  # as written, a step
sin, exp, sqrt, maximum = np.sin, np.exp, np.sqrt, np.maximum


def arithmetic_step(x, a, b, h):
    return x + b * (a - x * x) * h


def transcendental_step(x, a, b, h):
    return x + (sin(b * x) + exp(-a * x)) * h


def unrolled(step, steps):
    def program(x, a, b):
        for _ in range(steps):
            x = step(x, a, b, 1 / steps)
        return x

    return program


def scanned(step, steps, scan):
    """The same as a loop that is compiled once, by a scan with JAX's arguments."""

    def program(x, a, b):
        return scan(lambda x, _: (step(x, a, b, 1 / steps), None), x, None, length=steps)[0]

    return program


def asian(p, z):
    """A call on the mean of the prices of all dates, of one path; p is spot, strike, ..., time."""
    spot, strike, rate, dividend, vol, time = (p[k] for k in range(6))
    dates = z.shape[0]
    dt = time / dates
    drift, spread = (rate - dividend - vol * vol / 2) * dt, vol * sqrt(dt)
    share, total = spot, 0.0
    for k in range(dates):
        share = share * exp(drift + spread * z[k])
        total = total + share
    return exp(-rate * time) * maximum(total / dates - strike, 0.0)


def asian_of_arrays(p, z):
    """The same, all dates of a path at once."""
    spot, strike, rate, dividend, vol, time = (p[k] for k in range(6))
    dt = time / z.shape[0]
    drift, spread = (rate - dividend - vol * vol / 2) * dt, vol * sqrt(dt)
    shares = spot * exp(np.cumsum(drift + spread * z, 0))
    return exp(-rate * time) * maximum(np.mean(shares) - strike, 0.0)
