"""The saddle point of (x1² + x2²) − (y1² + y2²) by a descent within a descent.

The value that the outer descent over x sees is the result of an inner ascent over y, which is
differentiated through (Siskind and Pearlmutter).
"""

from .descent import minimise


def height(x, y):
    return (x[0] * x[0] + x[1] * x[1]) - (y[0] * y[0] + y[1] * y[1])


def best_answer(x, gradient):
    """The y that makes the height largest, given x."""

    def depth(y):
        return -height(x, y)

    return minimise(depth, gradient(depth), [1.0, 1.0])


def saddle(outer, inner, traced=lambda f: f):
    """[x1, x2, y1, y2]; `outer` and `inner` make gradients of functions of a list."""

    def highest(x):
        return height(x, best_answer(x, inner))

    highest = traced(highest)
    x = minimise(highest, outer(highest), [1.0, 1.0])
    return [*x, *best_answer(x, inner)]
