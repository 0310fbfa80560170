"""Branches that flip: what a traced function remembers, and how to look at it.

`nt.function` records a program once and replays it. A comparison under `if` or `while` is a guard:
when it comes out the other way, the replay goes on from there on another tape, or records one. The
answer is always that of plain Python; `explain()` shows what was recorded, line by line.

    python examples/branches.py
"""

from __future__ import annotations

import inspect
import math
import textwrap

import numpy as np

import ndtape as nt

G = 9.81  # m/s²


# --- a branch -------------------------------------------------------------------------------------


def drag(speed):
    """Drag coefficient times Reynolds number of a sphere, by regime (Schiller, Naumann 1933)."""
    reynolds = speed * 1.0e-3 / 1.0e-6  # a sphere of 1 mm in water
    if reynolds < 0.1:
        return 24.0  # Stokes
    if reynolds < 1000.0:
        return 24.0 * (1.0 + 0.15 * reynolds**0.687)
    return 0.44 * reynolds


# --- a loop whose length depends on the numbers ---------------------------------------------------


def ball(height, restitution, time):
    """The height of a ball that was dropped, after `time`: it loses speed at each bounce."""
    fall = nt.sqrt(2 * height / G)
    speed = G * fall  # on the ground
    left = time - fall
    if left < 0:
        return height - G * time**2 / 2
    while True:
        speed = restitution * speed
        flight = 2 * speed / G
        if left < flight:
            return speed * left - G * left**2 / 2
        left = left - flight


def square_root(x):
    """Newton's iteration until it stands still."""
    y = 1.0
    while abs(y * y - x) > 1e-12 * x:
        y = 0.5 * (y + x / y)
    return y


# --- a comparison that flips all the time ---------------------------------------------------------


def penalty_by_if(residuals):
    """Huber's loss (1964), as one writes it: each residual takes one of two ways."""
    total = 0.0
    for r in residuals:
        if abs(r) < 1.0:
            total = total + r * r / 2
        else:
            total = total + abs(r) - 0.5
    return total


def penalty_by_where(residuals):
    """The same without a branch: both ways are computed, `nt.where` takes one."""
    total = 0.0
    for r in residuals:
        total = total + nt.where(abs(r) < 1.0, r * r / 2, abs(r) - 0.5)
    return total


# --- showing it -----------------------------------------------------------------------------------


def compare(title, f, points, value_name, slope_name):
    """Values and derivatives of `f`, replayed and in plain Python: the traced function, the rows.

    A line for each point; the number of tapes grows when a point takes a way that is new.
    """
    traced = nt.function(f)
    slope, slope_afresh = nt.value_and_grad(traced), nt.value_and_grad(f)
    print(f"{title}\n{'-' * len(title)}")
    names = ", ".join(inspect.signature(f).parameters)
    print(f"{names:>26s}{value_name:>14s}{slope_name:>14s}{'tapes':>7s}   as plain Python")
    rows = []
    for point in points:
        value, derivative = slope(*point)
        expected = f(*point), slope_afresh(*point)[1]
        same = math.isclose(value, expected[0], rel_tol=1e-14) and derivative == expected[1]
        at = ", ".join(f"{x:g}" for x in point)
        print(
            f"{at:>26s}{value:14.6g}{derivative:14.6g}{len(traced.tapes):7d}"
            f"   {'yes' if same else 'NO'}"
        )
        rows.append((point, value, derivative, expected))
    print(f"\n{traced.explain()}\n")
    return traced, rows


SPEEDS = [(1e-5,), (0.05,), (0.06,), (2.0,), (2e-5,), (0.07,)]  # m/s
DROPS = [(1.0, 0.8, t) for t in (0.3, 0.6, 1.5, 1.6, 3.0, 0.2, 1.4)]  # m, –, s
NUMBERS = [(x,) for x in (2.0, 3.0, 1e4, 2.5, 1e-3)]


def many_balls(count=200):
    """Speeds of the ball at many times in one call: lanes that branch differently part on the way.

    The largest difference from one ball after the other.
    """
    times = np.linspace(0.1, 4.0, count)
    speeds = nt.vmap(nt.grad(ball, 2), in_axes=(None, None, 0))(1.0, 0.8, times)
    one_by_one = [nt.grad(ball, 2)(1.0, 0.8, time) for time in times.tolist()]
    return float(np.max(np.abs(speeds - one_by_one)))


def sample(seed, count=12):
    """Residuals of which about a third are larger than 1, spread without a random generator."""
    return [1.5 * math.sin(seed + 2.4 * i) for i in range(count)]


def flips_too_often(samples=20):
    """Huber's loss both ways: the error of the one, the tapes of the other, both values."""
    by_if, by_where = nt.function(penalty_by_if, max_tapes=8), nt.function(penalty_by_where)
    message = None
    for seed in range(samples):
        residuals = sample(seed)
        expected = penalty_by_if(residuals)
        found = by_where(residuals)
        if not math.isclose(found, expected, rel_tol=1e-14):
            raise AssertionError(f"{found!r} is not {expected!r}")
        if message is None:
            try:
                by_if(residuals)
            except nt.TooManyTapesError as error:
                message = f"sample {seed}: {error}"
    return by_if, by_where, message


def main():
    """All programs and what they remember; the traced functions by name."""
    found = {}
    found["drag"] = compare("A sphere in water: three regimes", drag, SPEEDS, "Cd·Re", "by speed")
    found["ball"] = compare(
        "A bouncing ball: height after some seconds", ball, DROPS, "height, m", "by height"
    )
    found["root"] = compare(
        "Newton's square root: a while loop", square_root, NUMBERS, "root", "by x"
    )

    found["lanes"] = many_balls()
    print("200 balls at once, their speeds by nt.vmap(nt.grad(ball, 2)):")
    print(f"largest difference from one after the other {found['lanes']:.1g} m/s\n")

    title = "Huber's loss of 12 residuals: a comparison that flips all the time"
    print(f"{title}\n{'-' * len(title)}")
    by_if, by_where, message = flips_too_often()
    print(textwrap.fill(message, 100))
    print(f"\n{by_if.explain()}\n\nThe same with nt.where:\n\n{by_where.explain()}")
    found["penalty"] = by_if, by_where, message
    return found


if __name__ == "__main__":
    main()
