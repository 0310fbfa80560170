"""A double pendulum: how the end of a chaotic motion depends on its start.

The implicit midpoint rule needs a loop that ends when the numbers say so, in each step. It keeps
the symplectic structure exactly, and so do its derivatives: for the Jacobian M of the motion,
Mᵀ J M = J, which checks every entry without a difference. Differences have trouble here: errors
grow with the motion's own exponent.

    python examples/double_pendulum.py
"""

from __future__ import annotations

import math

import numpy as np
from stopwatch import compare

import ndtape as nt

GRAVITY = 9.81  # rods of 1 m, bobs of 1 kg
STEP = 0.01
START = np.array([2.0, 2.5, 0.0, 0.0])  # angles from the vertical, and their momenta
SECONDS = [1, 2, 5, 10, 20]
SYMPLECTIC = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), np.zeros((2, 2))]])


def energy(z):
    a, b, p, q = z[0], z[1], z[2], z[3]
    sine, cosine = math.sin(a - b), math.cos(a - b)
    kinetic = (p * p + 2.0 * q * q - 2.0 * p * q * cosine) / (2.0 * (1.0 + sine * sine))
    return kinetic - GRAVITY * (2.0 * math.cos(a) + math.cos(b))


def motion(z, steps, h):
    """Where the pendulum is after the steps, and its momenta."""
    a, b, p, q = z[0], z[1], z[2], z[3]
    for _ in range(steps):
        am, bm, pm, qm = a, b, p, q  # the middle of the step, by iteration
        change, before = 1e300, math.inf
        while change < before:  # until rounding ends it
            sine, cosine = math.sin(am - bm), math.cos(am - bm)
            over = 1.0 / (1.0 + sine * sine)
            spin = pm * qm * sine * over
            twist = (pm * pm + 2.0 * qm * qm - 2.0 * pm * qm * cosine) * sine * cosine * over * over
            a1 = a + 0.5 * h * (pm - qm * cosine) * over
            b1 = b + 0.5 * h * (2.0 * qm - pm * cosine) * over
            p1 = p + 0.5 * h * (twist - spin - 2.0 * GRAVITY * math.sin(am))
            q1 = q + 0.5 * h * (spin - twist - GRAVITY * math.sin(bm))
            before = change
            change = abs(a1 - am) + abs(b1 - bm) + abs(p1 - pm) + abs(q1 - qm)
            am, bm, pm, qm = a1, b1, p1, q1
        a, b, p, q = 2.0 * am - a, 2.0 * bm - b, 2.0 * pm - p, 2.0 * qm - q
    end = np.empty(4)
    end[0], end[1], end[2], end[3] = a, b, p, q
    return end


def height(z, steps, h):
    """The energy that the outer bob has by its height, at the end."""
    end = compiled_motion(z, steps, h)
    return -GRAVITY * (math.cos(end[0]) + math.cos(end[1]))


compiled_energy = nt.jit(energy)
compiled_motion = nt.jit(motion)
compiled_height = nt.jit(height)


def symplectic_error(jacobian):
    """|Mᵀ J M − J| relative to |M|²: a unit of rounding where the derivatives are exact."""
    found = jacobian.T @ SYMPLECTIC @ jacobian
    return np.abs(found - SYMPLECTIC).max() / np.linalg.norm(jacobian, 2) ** 2


def best_differences(steps, jacobian):
    """The smallest relative error of central differences, over all sensible distances."""
    errors = []
    for size in 10.0 ** np.arange(-9, -2):
        ends = [[compiled_motion(START + s * row, steps, STEP) for s in (-size, size)]
                for row in np.eye(4)]  # fmt: skip
        columns = [(after - before) / (2.0 * size) for before, after in ends]
        errors.append(np.linalg.norm(np.transpose(columns) - jacobian, 2))
    return min(errors) / np.linalg.norm(jacobian, 2)


def sensitivity():
    """A row for each time of SECONDS; what they say."""
    print("derivatives of the state by its start, M:\n")
    print(f"{'seconds':>8s}{'energy error':>14s}{'growth |M|':>12s}{'log |M|/t':>11s}", end="")
    print(f"{'MᵀJM = J':>10s}{'differences':>13s}")
    rows = []
    for seconds in SECONDS:
        steps = round(seconds / STEP)
        end = compiled_motion(START, steps, STEP)
        drift = abs(compiled_energy(end) - compiled_energy(START))
        jacobian = nt.jacobian(compiled_motion)(START, steps, STEP)
        growth = np.linalg.norm(jacobian, 2)
        row = {
            "seconds": seconds,
            "drift": drift,
            "growth": growth,
            "exponent": math.log(growth) / seconds,
            "symplectic": symplectic_error(jacobian),
            "differences": best_differences(steps, jacobian),
        }
        rows.append(row)
        print(f"{seconds:8d}{drift:14.1e}{growth:12.3g}{row['exponent']:11.2f}", end="")
        print(f"{row['symplectic']:10.0e}{row['differences']:13.0e}")
    return rows


def field_error():
    """The equations of motion in `motion` against the derivatives of the energy.

    A short step moves by h·J∇H: what differs is of the order of h.
    """
    h = 1e-6
    slope = (compiled_motion(START + 0.1, 1, h) - (START + 0.1)) / h
    return np.abs(slope - SYMPLECTIC @ nt.grad(compiled_energy)(START + 0.1)).max()


def main():
    print(f"double pendulum, from angles {START[0]} and {START[1]} at rest\n")
    wrong = field_error()
    print(f"equations of motion, against the gradient of the energy: {wrong:.0e}\n")
    steps = 1000
    print(f"the energy of height after {steps} steps:")
    gradient = nt.value_and_grad(compiled_height)

    def plain():
        end = motion(START, steps, STEP)
        return -GRAVITY * (math.cos(end[0]) + math.cos(end[1]))

    times = compare(
        plain_Python=plain,
        compiled=lambda: compiled_height(START, steps, STEP),
        value_and_gradient=lambda: gradient(START, steps, STEP),
    )
    print()
    return {"field": wrong, "times": times, "rows": sensitivity()}


if __name__ == "__main__":
    main()
