"""A charged particle steered into a corner (Siskind and Pearlmutter).

It falls through the field of two charges, one of which the control w moves, until it reaches y = 0;
w is to make it land at x = 0. The field is the derivative of a potential, and w is found with the
derivative of the whole path: derivatives nested in a loop whose length depends on the numbers.
"""

import numpy as np

from .descent import minimise


def landing_cost(gradient):
    """The squared distance from 0 at the landing, as a function of [w]."""

    def cost(control):
        (w,) = control
        charges = [(10.0, 10.0 - w), (10.0, 0.0)]

        def potential(x):
            return sum(
                1.0 / np.sqrt((x[0] - a) * (x[0] - a) + (x[1] - b) * (x[1] - b)) for a, b in charges
            )

        x, velocity, dt = [0.0, 8.0], [0.75, 0.0], 0.1
        field = gradient(potential)
        while True:
            slope = field(x)
            moved = [p + dt * v for p, v in zip(x, velocity, strict=True)]
            if not moved[1] > 0.0:
                break
            velocity = [v - dt * s for v, s in zip(velocity, slope, strict=True)]
            x = moved
        time = -x[1] / velocity[1]
        landing = x[0] + time * velocity[0]
        return landing * landing

    return cost


def particle(outer, inner, traced=lambda f: f):
    """The best w; `outer` and `inner` make gradients, of lists, of the path and the potential."""
    cost = traced(landing_cost(inner))
    return minimise(cost, outer(cost), [0.0])[0]
