"""Bodies that attract each other in the plane, by a symplectic method, written in place."""

import numpy as np


def bodies(positions, velocities, masses, step, steps):
    """The sum of the squared distances from the origin after `steps` steps."""
    n = len(masses)
    x, v = np.empty((n, 2)), np.empty((n, 2))
    for i in range(n):
        for k in range(2):
            x[i, k] = positions[i, k]
            v[i, k] = velocities[i, k]
    for _ in range(steps):
        for i in range(n):
            for j in range(i):
                dx, dy = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1]
                square = dx * dx + dy * dy
                pull = step / (square * np.sqrt(square))
                v[i, 0] -= masses[j] * pull * dx
                v[i, 1] -= masses[j] * pull * dy
                v[j, 0] += masses[i] * pull * dx
                v[j, 1] += masses[i] * pull * dy
        for i in range(n):
            x[i, 0] += step * v[i, 0]
            x[i, 1] += step * v[i, 1]
    total = 0.0
    for i in range(n):
        total += x[i, 0] * x[i, 0] + x[i, 1] * x[i, 1]
    return total
