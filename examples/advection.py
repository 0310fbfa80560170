"""Where did it come from? A field carried by a wind, and the field at the start from the one seen.

A finite-volume program as it is written in C or Fortran: arrays are allocated, written under an
`if`, changed in place through a view, and the caller's array is filled. It is compiled without a
change, and its gradient through some hundred steps finds the field at the start. (Steps of the
linear scheme by plain numbers take several cells an instruction, which recorded ones do not:
hence the ratio of its times.)

    python examples/advection.py
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize
from stopwatch import compare

import ndtape as nt

SIZE = 100
COURANT = 0.125  # cells travelled in a step
STEPS = 200


def advect(field, steps, toon, q):
    """Fill q with the field after the steps; periodic.

    By the scheme of Lax and Wendroff, which is linear, or by Toon's, which keeps a positive field
    positive and is not.
    """
    n = len(field)
    for i in range(n):
        q[i] = field[i]
    flux = np.empty(n - 1)
    inner = q[1:-1]
    for _ in range(steps):
        for i in range(n - 1):
            left, right = q[i], q[i + 1]
            difference = left - right
            if toon and abs(difference) > 1e-7 * left:
                growth = math.expm1(COURANT * math.log1p(difference / right))
                flux[i] = growth * left * right / difference
            else:  # also what Toon's comes to for small differences
                flux[i] = 0.5 * COURANT * (left + right + COURANT * difference)
        for i in range(n - 2):
            inner[i] += flux[i] - flux[i + 1]
        q[0] = q[-2]
        q[-1] = q[1]


compiled_advect = nt.jit(advect)


def misfit(field, seen, steps, toon):
    """How far the field is, after the steps, from the one seen: the sum of squares."""
    q = np.empty(len(field))
    compiled_advect(field, steps, toon, q)
    total = 0.0
    for i in range(len(q)):
        total += (q[i] - seen[i]) ** 2
    return total


compiled_misfit = nt.jit(misfit)


def plain_misfit(field, seen, steps, toon):
    """The same in plain Python throughout."""
    q = np.empty(len(field))
    advect(field, steps, toon, q)
    return float(((q - seen) ** 2).sum())


def true_start():
    """Two hills on a background of 1; the ends are those of a periodic field."""
    x = np.arange(SIZE) / (SIZE - 2)
    field = 1.0 + np.exp(-(((x - 0.3) / 0.08) ** 2)) + 0.5 * np.exp(-(((x - 0.7) / 0.06) ** 2))
    field[0], field[-1] = field[-2], field[1]
    return field


def check(field, seen, steps, toon):
    """Two identities without a difference: the errors of both.

    Both schemes carry a field s times as high alike, so that the misfit of (s·field, s·seen) grows
    as s²: g·field + h·seen = 2·misfit for the gradients g and h. And a total that is carried is
    kept: adding ε to all of a constant field adds ε to all cells.
    """
    value, (g, h) = nt.value_and_grad(compiled_misfit, argnums=(0, 1))(field, seen, steps, toon)
    scaling = abs(g @ field + h @ seen - 2.0 * value) / value
    flat = np.full(SIZE, 2.0)
    (g,) = nt.grad(compiled_misfit, argnums=(0,))(flat, flat - 1.0, steps, toon)
    constant = abs(g.sum() - 2.0 * SIZE) / (2.0 * SIZE)
    return scaling, constant


def reconstruct(seen, steps, toon):
    """The start that leads to what is seen, from a flat guess, by L-BFGS with bounds."""
    call = nt.value_and_grad(compiled_misfit)
    return minimize(
        call,
        np.full(SIZE, seen.mean()),
        args=(seen, steps, toon),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.5, None)] * SIZE,
        options={"maxiter": 200, "ftol": 1e-15, "gtol": 1e-9},
    )


def study(name, toon):
    truth, seen = true_start(), np.empty(SIZE)
    before = truth.copy()
    compiled_advect(truth, STEPS, toon, seen)
    moved = np.abs(seen - truth).max()
    print(f"{name}: {SIZE} cells, {STEPS} steps\n")
    field = 1.1 * truth
    scaling, constant = check(field, seen, STEPS, toon)
    print(f"gradient against two identities: {scaling:.0e}, {constant:.0e}")
    gradient = nt.value_and_grad(compiled_misfit)
    times = compare(
        plain_Python=lambda: plain_misfit(field, seen, STEPS, toon),
        compiled=lambda: compiled_misfit(field, seen, STEPS, toon),
        value_and_gradient=lambda: gradient(field, seen, STEPS, toon),
    )
    found = reconstruct(seen, STEPS, toon)
    error = np.abs(found.x - truth)[1:-1].max()
    print(f"\nthe start from what is seen: {found.nfev} gradients, misfit {found.fun:.1e};")
    print(f"the field moved by up to {moved:.2f}, and is found again to {error:.3f}\n")
    assert (truth == before).all()  # what is differentiated stays as it is
    return {"scaling": scaling, "constant": constant, "times": times, "moved": moved,
            "error": error, "fit": found}  # fmt: skip


def main():
    """Both schemes; what was found."""
    return [study("Lax and Wendroff", False), study("Toon", True)]


if __name__ == "__main__":
    main()
