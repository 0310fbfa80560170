"""Functions whose derivatives are sparse, in the text that everybody runs: `np` stands for others.

Each takes one vector. Those of `JACOBIANS` give a vector, those of `HESSIANS` a number.
"""

import numpy as np

HEATING = 1.0


# --- tridiagonal ----------------------------------------------------------------------------------


def slab(u):
    """Bratu's problem in one dimension."""
    n = u.shape[0]
    wall = np.zeros(1)
    padded = np.concatenate([wall, u, wall])
    return padded[2:] - 2 * u + padded[:-2] + HEATING / (n + 1) ** 2 * np.exp(u)


def slab_by_scalars(u):
    """The same as a loop over numbers."""
    n = u.shape[0]
    heating = HEATING / (n + 1) ** 2
    residuals, before, here = [], 0.0, u[0]
    for i in range(n):
        after = u[i + 1] if i + 1 < n else 0.0
        residuals.append(after - 2 * here + before + heating * np.exp(here))
        before, here = here, after
    return np.stack(residuals)


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


# --- an arrow: all touch the first ----------------------------------------------------------------


def arrow(x):
    head, rest = x[:1], x[1:]
    total = np.sum(np.sin(x) * x)
    return np.concatenate([np.reshape(total, (1,)), rest * rest * rest + head * rest])


def arrow_energy(x):
    head, rest = x[:1], x[1:]
    return np.sum(np.exp(head * rest) + np.cos(rest)) + np.sum(head**4)


# --- a grid ---------------------------------------------------------------------------------------


def plate(u):
    """Bratu's problem in two dimensions."""
    n = round(u.shape[0] ** 0.5)
    grid = np.reshape(u, (n, n))
    row, column = np.zeros((1, n)), np.zeros((n, 1))
    sideways = np.concatenate([column, grid, column], axis=1)
    upwards = np.concatenate([row, grid, row], axis=0)
    neighbours = sideways[:, 2:] + sideways[:, :-2] + upwards[2:, :] + upwards[:-2, :]
    return np.reshape(neighbours - 4 * grid + HEATING / (n + 1) ** 2 * np.exp(grid), (n * n,))


def surface(u):
    """The area of a surface over a grid: seven entries a row of the Hessian."""
    n = round(u.shape[0] ** 0.5)
    grid = np.reshape(u, (n, n))
    here = grid[:-1, :-1]
    across, down = grid[1:, :-1] - here, grid[:-1, 1:] - here
    return np.sum(np.sqrt(1 + across * across + down * down))


# --- cart and pole, as in examples/cart_pole.py ---------------------------------------------------

CART, POLE, LENGTH, GRAVITY, DURATION, DISTANCE = 1.0, 0.3, 0.5, 9.81, 2.0, 1.0
PI = 3.141592653589793


def five(x):
    k = x.shape[0] // 5
    return [x[i * k : (i + 1) * k] for i in range(5)]


def cart_pole(x):
    place, angle, speed, spin, force = five(x)
    h = DURATION / (place.shape[0] - 1)
    sine, cosine = np.sin(angle), np.cos(angle)
    pull, mass = LENGTH * POLE * sine * spin**2, CART + POLE * sine**2
    cart = (pull + force + POLE * GRAVITY * cosine * sine) / mass
    pole = -(pull * cosine + force * cosine + (CART + POLE) * GRAVITY * sine) / (LENGTH * mass)
    steps = [
        y[1:] - y[:-1] - h / 2 * (slope[1:] + slope[:-1])
        for y, slope in zip((place, angle, speed, spin), (speed, spin, cart, pole), strict=True)
    ]
    states = (place, angle, speed, spin)
    ends = [y[-1:] - goal for y, goal in zip(states, (DISTANCE, PI, 0.0, 0.0), strict=True)]
    return np.concatenate([*steps, *(y[:1] for y in states), *ends])


def cart_pole_lagrangian(x):
    """With multipliers that differ from each other, and are the same for everybody."""
    residuals = cart_pole(x)
    multipliers = np.cos(np.arange(residuals.shape[0]))
    force = five(x)[4]
    h = DURATION / (force.shape[0] - 1)
    squares = force**2
    effort = h * (np.sum(squares) - (squares[0] + squares[-1]) / 2)
    return effort + np.sum(residuals * multipliers)


JACOBIANS = {
    "tridiagonal": slab,
    "scalars": slab_by_scalars,
    "arrow": arrow,
    "grid": plate,
    "cart_pole": cart_pole,
}
HESSIANS = {
    "tridiagonal": rosenbrock,
    "arrow": arrow_energy,
    "grid": surface,
    "cart_pole": cart_pole_lagrangian,
}
