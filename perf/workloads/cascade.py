"""A cascade of n equations: y0' = x0, y[i]' = x[i] y[i−1], y(0) = 0, over t in [0, 2].

Runge and Kutta's method with s steps; the result is the last component at the end. It is a
multiple of every x[i], so that x[i] ∂f/∂x[i] = f: a check that needs no other library.
"""

import numpy as np

SPAN = 2.0


def loop(x, steps=9):
    """Component by component, with scalars."""
    n = len(x)
    h = SPAN / steps

    def slopes(y):
        return [x[0]] + [x[i] * y[i - 1] for i in range(1, n)]

    y = [0.0] * n
    for _ in range(steps):
        k1 = slopes(y)
        k2 = slopes([y[i] + 0.5 * h * k1[i] for i in range(n)])
        k3 = slopes([y[i] + 0.5 * h * k2[i] for i in range(n)])
        k4 = slopes([y[i] + h * k3[i] for i in range(n)])
        y = [y[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]) for i in range(n)]
    return y[-1]


def vector(x, steps=9):
    h = SPAN / steps

    def slopes(y):
        return x * np.concatenate([np.ones(1), y[:-1]])

    y = np.zeros(len(x))
    for _ in range(steps):
        k1 = slopes(y)
        k2 = slopes(y + 0.5 * h * k1)
        k3 = slopes(y + 0.5 * h * k2)
        k4 = slopes(y + h * k3)
        y = y + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return y[-1]
