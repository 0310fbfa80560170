"""A pole on a cart is swung up with the least force: direct collocation, sparse derivatives.

The cart moves along a rail and the pole hangs from it. In two seconds the cart is to be one metre
further on, the pole upright, and both at rest. State and force at the knots of a time grid are the
unknowns; the trapezoidal rule between two knots is a constraint. Every constraint holds ten of the
unknowns, so nearly all entries of the constraints' Jacobian and of the Lagrangian's Hessian are
zero: `nt.jacobian(..., sparse=True)` and `nt.hessian(..., sparse=True)` find out which, and need
as many sweeps on any grid. SciPy's `trust-constr` takes both.

Model, numbers and the least ∫u² dt, 58.8 N²s: Kelly, An introduction to trajectory optimization,
SIAM Review 59 (2017), section 6.

    python examples/cart_pole.py [folder for the picture, examples/output if none is given]
"""

from __future__ import annotations

import sys
import time

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import NonlinearConstraint, minimize
from showing import OUTPUT, figure, save

import ndtape as nt

CART, POLE, LENGTH, GRAVITY = 1.0, 0.3, 0.5, 9.81  # kg, kg, m, m/s²
DURATION, DISTANCE = 2.0, 1.0  # s, m
MOST_FORCE, RAIL = 20.0, 2.0  # N, m: bounds of the publication, which the best force never meets
PUBLISHED = 58.8
KNOTS = (26, 51, 101, 201)

# --- the problem ----------------------------------------------------------------------------------


def accelerations(angle, spin, force):
    """Of the cart, and of the pole's angle, which is 0 where it hangs."""
    sine, cosine = np.sin(angle), np.cos(angle)
    pull = LENGTH * POLE * sine * spin**2
    mass = CART + POLE * sine**2
    cart = (pull + force + POLE * GRAVITY * cosine * sine) / mass
    pole = -(pull * cosine + force * cosine + (CART + POLE) * GRAVITY * sine) / (LENGTH * mass)
    return cart, pole


def parts_of(x):
    """Place, angle, speed, spin and force at all knots, from one vector."""
    return np.reshape(x, (5, -1))


def defects(x):
    """What must be zero: of each step by the trapezoidal rule, then both ends."""
    place, angle, speed, spin, force = parts_of(x)
    h = DURATION / (len(place) - 1)
    slopes = (speed, spin, *accelerations(angle, spin, force))
    steps = [
        y[1:] - y[:-1] - h / 2 * (slope[1:] + slope[:-1])
        for y, slope in zip((place, angle, speed, spin), slopes, strict=True)
    ]
    states = np.stack((place, angle, speed, spin))
    goal = np.array([DISTANCE, np.pi, 0.0, 0.0])
    return np.concatenate([*steps, states[:, 0], states[:, -1] - goal])


def effort(x):
    """∫ u² dt by the trapezoidal rule."""
    squares = parts_of(x)[4] ** 2
    h = DURATION / (len(squares) - 1)
    return h * (np.sum(squares) - (squares[0] + squares[-1]) / 2)


def tension(x, multipliers):
    """The constraints' part of the Lagrangian."""
    return np.sum(defects(x) * multipliers)


# --- its solution ---------------------------------------------------------------------------------


def straight(knots):
    """A first guess: even motion from start to goal, no force."""
    s = np.linspace(0.0, 1.0, knots)
    return np.concatenate([DISTANCE * s, np.pi * s, np.zeros(3 * knots)])


def finer(x, knots):
    """The same motion on another grid."""
    parts = parts_of(x)
    old, new = (np.linspace(0.0, 1.0, count) for count in (parts.shape[1], knots))
    return np.concatenate([np.interp(new, old, part) for part in parts])


class Derivatives:
    """All that SciPy asks for; each is recorded once a grid, and its pattern is found once."""

    def __init__(self):
        self.effort = nt.value_and_grad(nt.function(effort))
        self.effort_hessian = nt.hessian(nt.function(effort), sparse=True)
        self.defects = nt.function(defects)
        self.jacobian = nt.jacobian(self.defects, sparse=True)
        self.tension_hessian = nt.hessian(nt.function(tension), sparse=True)


def solve(guess, derivatives=None):
    """SciPy's result from this guess; the bounds are left out, and looked at afterwards."""
    d = derivatives or Derivatives()
    constraint = NonlinearConstraint(d.defects, 0.0, 0.0, d.jacobian, d.tension_hessian)
    return minimize(
        d.effort,
        guess,
        jac=True,
        hess=d.effort_hessian,
        method="trust-constr",
        constraints=constraint,
        options={"gtol": 1e-7, "xtol": 1e-10, "maxiter": 300},
    )


def stays_in_bounds(x):
    place, *_, force = parts_of(x)
    return np.max(np.abs(force)) < MOST_FORCE and np.max(np.abs(place)) < RAIL


def missed_by(x):
    """Where the pole really is in the end, less where it should be: SciPy integrates the motion."""
    *_, force = parts_of(x)
    t = np.linspace(0.0, DURATION, len(force))

    def velocity(now, state):
        return [*state[2:], *accelerations(state[1], state[3], np.interp(now, t, force))]

    motion = solve_ivp(velocity, (0.0, DURATION), np.zeros(4), rtol=1e-9, atol=1e-9,
                       max_step=t[1])  # fmt: skip
    return float(np.max(np.abs(motion.y[:2, -1] - [DISTANCE, np.pi])))


def extrapolated(costs):
    """The limit of costs whose error is of second order, each grid twice as fine as the last."""
    return costs[-1] + (costs[-1] - costs[-2]) / 3


# --- what is printed and drawn --------------------------------------------------------------------


def print_patterns(x, multipliers):
    """Print how much of both matrices is computed, and in how many sweeps."""
    print(nt.sparsity(defects)(x))
    print(nt.sparsity(tension, of="hessian")(x, multipliers))


def draw(x, folder):
    """Save a picture of the motion; the file, or None without matplotlib."""
    picture, axes = figure(2)
    if picture is None:
        return None
    place, angle, _, _, force = parts_of(x)
    t = np.linspace(0.0, DURATION, len(place))
    tip = place + LENGTH * np.sin(angle), -LENGTH * np.cos(angle)
    for k in range(0, len(t), max(1, len(t) // 20)):
        axes[0].plot([place[k], tip[0][k]], [0.0, tip[1][k]], color=str(0.8 - 0.8 * t[k] / 2))
    axes[0].plot(place, 0 * place, "s", color="C0", markersize=3)
    axes[0].plot(*tip, color="C1")
    axes[0].set(xlabel="m", title="cart and pole, darker with time", aspect="equal")
    axes[1].plot(t, force, label="force, N")
    axes[1].plot(t, angle, label="angle")
    axes[1].plot(t, place, label="place, m")
    axes[1].set(xlabel="s", title="least force")
    axes[1].legend()
    return save(picture, folder, "cart_pole")


def main(folder=OUTPUT, grids=KNOTS):
    """Solve on finer and finer grids; what was found."""
    print("Swing-up of a pole on a cart in 2 s with the least ∫u² dt\n")
    print(f"{'knots':>6s}{'unknowns':>10s}{'iterations':>12s}{'∫u² dt':>10s}{'missed by':>11s}"
          f"{'s':>8s}")  # fmt: skip
    x, costs = straight(grids[0]), []
    for knots in grids:
        derivatives, start = Derivatives(), time.perf_counter()
        result = solve(finer(x, knots), derivatives)
        seconds = time.perf_counter() - start
        x = result.x
        costs.append(result.fun)
        print(f"{knots:6d}{x.size:10d}{result.nit:12d}{result.fun:10.4f}{missed_by(x):11.1e}"
              f"{seconds:8.2f}")  # fmt: skip
    limit = extrapolated(costs)
    print(f"\nextrapolated to a grid without end: {limit:.4f} (published {PUBLISHED})")
    print_patterns(x, np.asarray(result.v[0]))
    return {"result": result, "costs": costs, "limit": limit, "picture": draw(x, folder)}


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else OUTPUT)
