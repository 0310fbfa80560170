"""A boundary-value problem with 100 000 unknowns: Newton's method on a sparse Jacobian.

Bratu's problem is the temperature of a slab that heats itself, u'' + λ exp(u) = 0 with u = 0 at
both walls. For small λ there are two solutions, at λ = 3.5138 they meet, beyond it the slab
explodes. `nt.jacobian(..., sparse=True)` finds out once which entries can differ from zero, and
gets all of them in three sweeps, whatever the number of unknowns; `scipy.sparse.linalg` solves.

    two solutions for one λ      Newton from two guesses, against the closed form
    through the fold             λ becomes an unknown too, the greatest temperature is given
    a plate                      the same residual in two dimensions, whose fold is at λ = 6.808

    python examples/boundary_value.py [folder for the picture, examples/output if none is given]
"""

from __future__ import annotations

import sys
import time

import numpy as np
from scipy.optimize import brentq
from scipy.sparse.linalg import spsolve
from showing import OUTPUT, figure, save

import ndtape as nt

UNKNOWNS = 100_000
FOLD = 3.513830719125162  # of the slab
FOLD_OF_PLATE = 6.808124423  # Mohsen, Computers and Mathematics with Applications 67 (2014)


# --- the equations --------------------------------------------------------------------------------


def slab(u, heating):
    """Residuals at n inner points of [0, 1], multiplied by h²; second differences."""
    h = 1 / (len(u) + 1)
    wall = np.zeros(1)
    padded = np.concatenate([wall, u, wall])
    return padded[2:] - 2 * u + padded[:-2] + h * h * heating * np.exp(u)


def plate(u, heating):
    """The same on a square of n by n inner points, as one vector."""
    n = round(len(u) ** 0.5)
    h = 1 / (n + 1)
    grid = np.reshape(u, (n, n))
    row, column = np.zeros((1, n)), np.zeros((n, 1))
    sideways = np.concatenate([column, grid, column], axis=1)
    upwards = np.concatenate([row, grid, row])
    neighbours = sideways[:, 2:] + sideways[:, :-2] + upwards[2:] + upwards[:-2]
    return np.reshape(neighbours - 4 * grid + h * h * heating * np.exp(grid), -1)


def with_heating(residual, middle):
    """The system whose last unknown is λ, and where u at the point `middle` is given, as `top`."""

    def bordered(x, top):
        u, heating = x[:-1], x[-1]
        return np.concatenate([residual(u, heating), x[middle : middle + 1] - top])

    return bordered


# --- Newton ---------------------------------------------------------------------------------------


def newton(residual, jacobian, x, parameter, say=None, limit=30):
    """The root near x. Newton's steps shrink quadratically: one that is tiny was the last one."""
    for k in range(limit):
        start = time.perf_counter()
        matrix = jacobian(x, parameter)
        middle = time.perf_counter()
        step = spsolve(matrix, -residual(x, parameter))
        x = x + step
        size = float(np.max(np.abs(step)))
        if say:
            say(k, size, middle - start, time.perf_counter() - middle)
        if size < 1e-7:
            return x
    raise ArithmeticError(f"Newton's method did not converge in {limit} steps, the last: {size:g}")


def print_step(k, size, seconds, solving):
    print(f"{k:6d}{size:14.1e}{1e3 * seconds:14.1f}{1e3 * solving:14.1f}")


# --- what is known --------------------------------------------------------------------------------


def angle_of(heating, upper=False):
    """θ in the closed form, θ = √(2λ) cosh(θ/4): the smaller or the greater root."""
    turn = 4 * 1.1996786402577339  # where they meet: x tanh(x) = 1 for x = θ/4
    low, high = (turn, 60.0) if upper else (0.0, turn)
    return brentq(lambda t: t - np.sqrt(2 * heating) * np.cosh(t / 4), low, high, xtol=1e-15)


def exact(n, heating, upper=False):
    theta = angle_of(heating, upper)
    x = np.arange(1, n + 1) / (n + 1)
    return 2 * np.log(np.cosh(theta / 4) / np.cosh((x - 0.5) * theta / 2))


def exact_heating(top):
    """λ of the slab whose greatest temperature is this."""
    theta = 4 * np.arccosh(np.exp(top / 2))
    return theta**2 / 2 * np.exp(-top)


# --- the three parts ------------------------------------------------------------------------------


def two_solutions(n=UNKNOWNS, heating=3.0):
    """Both solutions of the slab, printed step by step; their distances from the closed form."""
    f = nt.function(slab)
    jacobian = nt.jacobian(f, sparse="csc")
    x, found = np.arange(1, n + 1) / (n + 1), {}
    print(nt.sparsity(f)(0 * x, heating))
    for name, height in (("lower", 0.0), ("upper", 2.5)):
        print(f"\n{name} solution for λ = {heating:g}, {n} unknowns")
        print(f"{'step':>6s}{'its size':>14s}{'Jacobian, ms':>14s}{'solve, ms':>14s}")
        u = newton(f, jacobian, 4 * height * x * (1 - x), heating, print_step)
        error = float(np.max(np.abs(u - exact(n, heating, name == "upper"))))
        print(f"u is at most {np.max(u):.10f}, {error:.0e} from the closed form")
        found[name] = (u, error)
    return found


def through_the_fold(n, tops):
    """λ for each greatest temperature, each solve from the last solution: [(top, λ, exact λ)]."""
    n += 1 - n % 2  # there must be a point in the middle
    f = nt.function(with_heating(slab, n // 2))
    jacobian = nt.jacobian(f, sparse="csc")
    x, found = np.zeros(n + 1), []
    for top in tops:
        x = newton(f, jacobian, x, top)
        found.append((float(top), float(x[-1]), exact_heating(top)))
    return found


def fold_of_plate(n=99):
    """The greatest λ of the plate, and the temperature in its middle there.

    At the fold λ has a maximum as a function of that temperature: a parabola finds it.
    """
    f = nt.function(with_heating(plate, n * n // 2))
    jacobian = nt.jacobian(f, sparse="csc")
    x, tops, heats = np.zeros(n * n + 1), [0.7, 1.3, 1.4, 1.5], []
    for top in tops:
        x = newton(f, jacobian, x, top)
        heats.append(x[-1])
    a, b, c = np.polyfit(tops[1:], heats[1:], 2)
    return float(c - b * b / (4 * a)), float(-b / (2 * a))


def draw(curve, profiles, folder):
    """Save a picture of the fold and of both solutions; the file, or None without matplotlib."""
    picture, axes = figure(2)
    if picture is None:
        return None
    tops, heats, _ = zip(*curve, strict=True)
    axes[0].plot(heats, tops, "o-", markersize=3)
    axes[0].axvline(FOLD, color="0.7", linestyle=":")
    axes[0].set(xlabel="λ", ylabel="greatest temperature", title="two solutions, one, none")
    for name, (u, _) in profiles.items():
        axes[1].plot(np.linspace(0, 1, len(u) + 2), [0, *u, 0], label=name)
    axes[1].set(xlabel="x", ylabel="u", title="λ = 3")
    axes[1].legend()
    return save(picture, folder, "boundary_value")


def main(folder=OUTPUT, n=UNKNOWNS, plate_points=99):
    """All three parts, printed; what was found."""
    profiles = two_solutions(n)
    tops = np.array([0.3, 0.6, 0.9, 1.1, 1.1868421695, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0])
    print(f"\nthrough the fold, {n} unknowns and λ")
    print(f"{'greatest u':>12s}{'λ':>16s}{'closed form':>16s}")
    start = time.perf_counter()
    curve = through_the_fold(n, tops)
    for top, heating, known in curve:
        print(f"{top:12.4f}{heating:16.10f}{known:16.10f}")
    print(f"{time.perf_counter() - start:.1f} s; the fold is at {FOLD:.10f}")
    start = time.perf_counter()
    heating, top = fold_of_plate(plate_points)
    print(f"\nplate of {plate_points}²: the fold is at λ = {heating:.4f}, u = {top:.4f} ", end="")
    print(f"(published {FOLD_OF_PLATE:.4f}); {time.perf_counter() - start:.1f} s")
    picture = draw(curve, profiles, folder)
    return {"profiles": profiles, "curve": curve, "plate": (heating, top), "picture": picture}


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else OUTPUT)
