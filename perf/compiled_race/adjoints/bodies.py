"""Bodies in the plane: the positions and the strength of each pull are kept for the way back."""

import math

import numpy as np
from numba import njit


@njit(error_model="numpy", cache=True)
def bodies_kernel(positions, velocities, masses, step, x, v, places, pulls, wx, wv, wm):
    n, steps = masses.size, places.shape[0]
    x[:], v[:] = positions, velocities
    for k in range(steps):
        pair = 0
        for i in range(n):
            places[k, i, 0], places[k, i, 1] = x[i, 0], x[i, 1]
            for j in range(i):
                dx, dy = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1]
                square = dx * dx + dy * dy
                pull = step / (square * math.sqrt(square))
                pulls[k, pair] = pull
                pair += 1
                near, far = masses[j] * pull, masses[i] * pull
                v[i, 0] -= near * dx
                v[i, 1] -= near * dy
                v[j, 0] += far * dx
                v[j, 1] += far * dy
        for i in range(n):
            x[i, 0] += step * v[i, 0]
            x[i, 1] += step * v[i, 1]
    value = 0.0
    for i in range(n):
        value += x[i, 0] * x[i, 0] + x[i, 1] * x[i, 1]
        wx[i, 0], wx[i, 1] = 2.0 * x[i, 0], 2.0 * x[i, 1]
        wv[i, 0] = wv[i, 1] = wm[i] = 0.0
    for k in range(steps - 1, -1, -1):
        for i in range(n):
            wv[i, 0] += step * wx[i, 0]
            wv[i, 1] += step * wx[i, 1]
        pair = 0
        for i in range(n):
            for j in range(i):
                dx = places[k, i, 0] - places[k, j, 0]
                dy = places[k, i, 1] - places[k, j, 1]
                pull = pulls[k, pair]
                pair += 1
                along_i = wv[i, 0] * dx + wv[i, 1] * dy
                along_j = wv[j, 0] * dx + wv[j, 1] * dy
                wm[j] -= pull * along_i
                wm[i] += pull * along_j
                pulled = masses[i] * along_j - masses[j] * along_i
                turn = -3.0 * pulled * pull / (dx * dx + dy * dy)
                wdx = pull * (masses[i] * wv[j, 0] - masses[j] * wv[i, 0]) + turn * dx
                wdy = pull * (masses[i] * wv[j, 1] - masses[j] * wv[i, 1]) + turn * dy
                wx[i, 0] += wdx
                wx[i, 1] += wdy
                wx[j, 0] -= wdx
                wx[j, 1] -= wdy
    return value


def bodies(positions, velocities, masses, step, steps):
    n = masses.size
    x, v = np.empty((n, 2)), np.empty((n, 2))
    places, pulls = np.empty((steps, n, 2)), np.empty((steps, n * (n - 1) // 2))
    gradient = np.empty(5 * n)
    wx, wv, wm = (
        gradient[: 2 * n].reshape(n, 2),
        gradient[2 * n : 4 * n].reshape(n, 2),
        gradient[4 * n :],
    )

    def run(positions, velocities, masses, step, steps):
        work = (x, v, places, pulls, wx, wv, wm)
        return bodies_kernel(positions, velocities, masses, step, *work), gradient

    return run


ADJOINTS = {"bodies": bodies}
