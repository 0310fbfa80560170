"""Gradient descent with a step that doubles after ten successes and halves at a failure.

As in Siskind and Pearlmutter's comparison of forward and reverse: loops that end when the numbers
say so, inside of what is differentiated.
"""

import numpy as np


def norm(x):
    return np.sqrt(sum(component * component for component in x))


def minimise(f, gradient, x):
    """Where `f` of a list of numbers is smallest, from `x` on; `gradient(x)` is a list."""
    value, slope = f(x), gradient(x)
    rate, successes = 1e-5, 0
    while norm(slope) > 1e-5:
        if successes == 10:
            rate, successes = 2.0 * rate, 0
            continue
        candidate = [a - rate * b for a, b in zip(x, slope, strict=True)]
        if norm([a - b for a, b in zip(x, candidate, strict=True)]) <= 1e-5:
            break
        candidate_value = f(candidate)
        if candidate_value < value:
            x, value, slope = candidate, candidate_value, gradient(candidate)
            successes += 1
        else:
            rate, successes = 0.5 * rate, 0
    return x
