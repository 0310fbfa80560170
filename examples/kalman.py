"""A Kalman filter, and the noises that it needs by maximum likelihood.

The position of a ship is seen every minute, with errors, while its speed wanders. The likelihood
is a loop over small matrices, `@` and `np.linalg.inv`, compiled as it stands; its gradient is
compared with the closed form for one large normal distribution.

    python examples/kalman.py
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize
from stopwatch import compare

import ndtape as nt

LENGTH = 150
TRUTH = np.log([0.3, 2.0])  # logarithms of: how much the speed wanders, errors of the positions
NAMES = ["wander", "error"]

# The state is (x, y, its speeds); a minute passes between observations of x and y.
MOVE = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0],
                 [0.0, 0.0, 0.0, 1.0]])  # fmt: skip
SEEN = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
PUSH = np.array([[1 / 3, 0.0, 1 / 2, 0.0], [0.0, 1 / 3, 0.0, 1 / 2], [1 / 2, 0.0, 1.0, 0.0],
                 [0.0, 1 / 2, 0.0, 1.0]])  # fmt: skip
MEAN0 = np.array([0.0, 0.0, 5.0, 3.0])
COVARIANCE0 = np.diag(np.array([100.0, 100.0, 4.0, 4.0]))


def log_likelihood(logs, seen):
    """Of the positions seen, shape (times, 2), for the logarithms of the two noises."""
    wander, error = math.exp(2.0 * logs[0]), math.exp(2.0 * logs[1])
    mean, covariance = MEAN0, COVARIANCE0
    total = 0.0
    for t in range(len(seen)):
        surprise = seen[t] - SEEN @ mean
        cross = covariance @ SEEN.T
        spread = SEEN @ cross + error * np.eye(2)
        inverse = np.linalg.inv(spread)
        determinant = spread[0, 0] * spread[1, 1] - spread[0, 1] * spread[1, 0]
        total -= 0.5 * (surprise @ inverse @ surprise + math.log(determinant))
        gain = cross @ inverse
        mean = MOVE @ (mean + gain @ surprise)
        covariance = MOVE @ (covariance - gain @ cross.T) @ MOVE.T + wander * PUSH
    return total - len(seen) * math.log(2.0 * math.pi)


compiled = nt.jit(log_likelihood)


def simulate(logs, rng, length=LENGTH):
    """Positions and what is seen of them."""
    wander, error = np.exp(logs)
    pushes = np.linalg.cholesky(PUSH)
    state = rng.multivariate_normal(MEAN0, COVARIANCE0)
    states = []
    for _ in range(length):
        states.append(state)
        state = MOVE @ state + wander * pushes @ rng.standard_normal(4)
    positions = np.array(states)[:, :2]
    return positions, positions + error * rng.standard_normal(positions.shape)


def closed_form(logs, seen):
    """Value and gradient from the normal distribution of all observations at once.

    Its covariance C is a constant and a multiple of each of the two squared noises; the gradient by
    one of them is ½ tr((aaᵀ − C⁻¹) ∂C) with a = C⁻¹(y − mean).
    """
    n = len(seen)
    powers = [np.linalg.matrix_power(MOVE, t) for t in range(n)]
    mean = np.concatenate([SEEN @ power @ MEAN0 for power in powers])
    start = np.vstack([SEEN @ power for power in powers])
    of_wander = np.zeros((2 * n, 2 * n))
    for k in range(1, n):  # the push before time k, which is seen from then on
        reach = np.vstack([np.zeros((2 * k, 4)), start[: 2 * (n - k)]])
        of_wander += reach @ PUSH @ reach.T
    wander, error = np.exp(2.0 * np.asarray(logs))
    covariance = start @ COVARIANCE0 @ start.T + wander * of_wander + error * np.eye(2 * n)
    inverse = np.linalg.inv(covariance)
    residual = seen.ravel() - mean
    a = inverse @ residual
    logdet = np.linalg.slogdet(covariance)[1]
    value = -0.5 * (residual @ a + logdet) - n * math.log(2.0 * math.pi)
    weight = np.outer(a, a) - inverse
    return value, np.array([wander * np.sum(weight * of_wander), error * np.trace(weight)])


def fit(seen):
    """Estimates of the logarithms, and their covariance by the Hessian."""
    call = nt.value_and_grad(compiled)

    def loss(logs):
        value, gradient = call(logs, seen)
        return -value, -gradient

    found = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-7})
    return found, np.linalg.inv(-nt.hessian(compiled)(found.x, seen))


def main():
    rng = np.random.default_rng(2)
    _, seen = simulate(TRUTH, rng)
    print(f"Kalman filter: {LENGTH} observations of a ship, 4 states\n")
    logs = np.array([0.2, 0.4])
    call = nt.value_and_grad(compiled)
    value, gradient = call(logs, seen)
    expected, slopes = closed_form(logs, seen)
    errors = abs(value / expected - 1.0), np.abs(gradient / slopes - 1.0).max()
    print(f"against the closed form: log-likelihood {errors[0]:.0e}, gradient {errors[1]:.0e}")
    times = compare(
        plain_Python=lambda: log_likelihood(logs, seen),
        compiled=lambda: compiled(logs, seen),
        value_and_gradient=lambda: call(logs, seen),
    )
    found, covariance = fit(seen)
    print(f"\nmaximum likelihood, {found.nfev} gradients: log-likelihood {-found.fun:.3f}")
    print(f"{'':8s}{'estimate':>10s}{'95 % interval':>20s}{'truth':>8s}")
    for name, log, error, truth in zip(
        NAMES, found.x, np.sqrt(np.diag(covariance)), TRUTH, strict=True
    ):
        low, high = math.exp(log - 1.96 * error), math.exp(log + 1.96 * error)
        print(f"{name:8s}{math.exp(log):10.3f}{low:11.3f} to{high:6.3f}{math.exp(truth):8.3f}")
    return {"errors": errors, "times": times, "fit": found, "covariance": covariance}


if __name__ == "__main__":
    main()
