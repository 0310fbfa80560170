"""The two scalar programs of `chain.py`, and derivatives of them that use no tape at all.

`circle` is one long chain: the circle map x <- x + Omega + K sin x. With K = .5 and the golden
angle as Omega the orbit neither locks nor decays, so the gradient stays non-zero at any length. The
more obvious x <- x + K sin x converges to a point where the derivative of a step is 0, and after a
few hundred steps a sweep would only be adding zeros. `wide` is the opposite shape: many short
independent expressions (the terms of Rosenbrock's function) added up.
"""

import math
from itertools import pairwise

import numpy as np


class Circle:
    """x0, K and Omega through `size` steps of the circle map: sin, mul, add, add."""

    name = "circle"
    title = "circle map, one long chain"
    entry_scale = 0.0  # every entry of the gradient is compared relative to itself

    def size_for(self, operations):
        return max(1, operations // 4)

    def operations(self, size):
        return 4 * size

    def inputs(self, size):
        return [0.5, 0.5, 2.39996]

    def program(self, size):
        def circle(values, sin):
            x, strength, omega = values
            for _ in range(size):
                x = sin(x) * strength + x + omega
            return x

        return circle

    def gradient(self, size):
        """The recurrence of the three derivatives, carried along with x in plain floats."""
        x, strength, omega = self.inputs(size)
        d_start, d_strength, d_omega = 1.0, 0.0, 0.0
        for _ in range(size):
            sine, slope = math.sin(x), 1.0 + strength * math.cos(x)
            d_start = slope * d_start
            d_strength = slope * d_strength + sine
            d_omega = slope * d_omega + 1.0
            x = sine * strength + x + omega
        return x, np.array([d_start, d_strength, d_omega])


class Wide:
    """Rosenbrock's function of `size` + 1 variables, term by term: 8 operations a term."""

    name = "wide"
    title = "Rosenbrock's function, many short expressions"
    entry_scale = 1.0  # entries can be small by cancellation: below 1, compared absolutely

    def size_for(self, operations):
        return max(1, operations // 8)

    def operations(self, size):
        return 8 * size

    def inputs(self, size):
        return (0.5 * np.sin(1.0 + np.arange(size + 1))).tolist()

    def program(self, size):
        def rosenbrock(values, sin):
            total = 0.0
            for a, b in pairwise(values):
                bend, gap = b - a * a, 1.0 - a
                total = total + 100.0 * (bend * bend) + gap * gap
            return total

        return rosenbrock

    def gradient(self, size):
        """The textbook gradient in NumPy."""
        x = np.array(self.inputs(size))
        bend, gap = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
        gradient = np.zeros(size + 1)
        gradient[:-1] = -400.0 * x[:-1] * bend - 2.0 * gap
        gradient[1:] += 200.0 * bend
        return float(np.sum(100.0 * bend**2 + gap**2)), gradient


PROBLEMS = {problem.name: problem for problem in (Circle(), Wide())}


def check_gradient(problem, who, expected, found):
    """Raise unless value and gradient are finite, non-zero and equal to 1e-9 relative."""
    value, gradient = float(found[0]), np.asarray(found[1], dtype=float)
    want_value, want = expected
    if not (math.isfinite(value) and np.all(np.isfinite(gradient))):
        raise AssertionError(f"{who} on {problem.name}: value or gradient is not finite")
    if not np.all(gradient):
        raise AssertionError(f"{who} on {problem.name}: the gradient has zero entries")
    scale = np.maximum(np.abs(want), problem.entry_scale)
    error = max(abs(value - want_value) / abs(want_value), np.max(np.abs(gradient - want) / scale))
    if error > 1e-9:
        raise AssertionError(f"{who} on {problem.name}: gradient is off by {error:.1e} relative")
    return error
