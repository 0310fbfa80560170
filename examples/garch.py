"""Two models of time series by Hamiltonian Monte Carlo: GARCH(1,1) and AR(5).

A likelihood that is a loop over time, written as plain Python, and compiled without a change. The
sampler asks for its gradient thousands of times.

    python examples/garch.py

The series are made here, from known parameters; with $NDTAPE_DATA set they are those of posteriordb
(garch-garch11 and arK-arK, https://github.com/stan-dev/posteriordb).
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from stopwatch import compare

import ndtape as nt

LENGTH = 200
DRAWS, LEAPFROG_STEPS, STEP = 1000, 10, 0.25

# --- GARCH(1,1): the volatility follows the surprises ---------------------------------------------


def garch(u, y, first):
    """The log posterior of u = (μ, log α0, logit α1, logit β1/(1−α1)), which may be any numbers.

    The prior is flat in (μ, α0, α1, β1) where α1 + β1 < 1; the second term is the logarithm of the
    Jacobian of the change of variables.
    """
    mu, alpha0 = u[0], math.exp(u[1])
    alpha1, share = 1.0 / (1.0 + math.exp(-u[2])), 1.0 / (1.0 + math.exp(-u[3]))
    beta1 = share * (1.0 - alpha1)
    total = u[1] + math.log(alpha1 * (1.0 - alpha1) ** 2 * share * (1.0 - share))
    variance = first * first
    for t in range(len(y)):
        if t > 0:
            surprise = y[t - 1] - mu
            variance = alpha0 + alpha1 * surprise * surprise + beta1 * variance
        z = y[t] - mu
        total -= 0.5 * (z * z / variance + math.log(2.0 * math.pi * variance))
    return total


def garch_parameters(u):
    """(μ, α0, α1, β1) of draws in the columns of u."""
    alpha1, share = 1.0 / (1.0 + np.exp(-u[2])), 1.0 / (1.0 + np.exp(-u[3]))
    return np.stack([u[0], np.exp(u[1]), alpha1, share * (1.0 - alpha1)])


def garch_series(rng):
    mu, alpha0, alpha1, beta1 = GARCH_TRUTH
    y, variance = np.empty(LENGTH), FIRST**2
    for t in range(LENGTH):
        y[t] = mu + math.sqrt(variance) * rng.standard_normal()
        variance = alpha0 + alpha1 * (y[t] - mu) ** 2 + beta1 * variance
    return y


GARCH_TRUTH, FIRST = [5.0, 1.5, 0.5, 0.3], 0.5

# --- AR(5): each number from the five before it ---------------------------------------------------


def ar5(u, y):
    """The log posterior of u = (α, β1, …, β5, log σ), up to a constant.

    Priors are N(0, 10) on α and β, half Cauchy(2.5) on σ.
    """
    sigma = math.exp(u[6])
    total = u[6] - math.log(1.0 + (sigma / 2.5) ** 2)
    for k in range(6):
        total -= 0.5 * (u[k] / 10.0) ** 2
    for t in range(5, len(y)):
        mean = u[0]
        for k in range(1, 6):
            mean += u[k] * y[t - k]
        z = (y[t] - mean) / sigma
        total -= 0.5 * z * z + u[6]
    return total


def ar5_parameters(u):
    return np.concatenate([u[:6], np.exp(u[6:])])


def ar5_series(rng):
    alpha, *betas, sigma = AR5_TRUTH
    y = np.zeros(LENGTH + 100)
    for t in range(5, len(y)):
        y[t] = alpha + y[t - 5 : t][::-1] @ betas + sigma * rng.standard_normal()
    return y[100:]  # when the start is forgotten


AR5_TRUTH = [0.0, 0.7, 0.5, 0.3, -0.1, -0.5, 0.15]

# --- the same functions, compiled -----------------------------------------------------------------


@dataclass
class Model:
    title: str
    log_posterior: nt.Jit
    parameters: object  # what a user calls them, of the u that the sampler moves in
    names: list[str]
    truth: list[float] | None  # where the series was made here
    data: tuple  # what follows u
    start: np.ndarray


def models(rng):
    y, first, truth = series("garch", rng)
    yield Model(
        "GARCH(1,1)",
        nt.jit(garch),
        garch_parameters,
        ["μ", "α0", "α1", "β1"],
        truth,
        (y, first),
        np.array([y.mean(), math.log(y.var() / 2), 0.0, 0.0]),
    )
    y, _, truth = series("arK", rng)
    yield Model(
        "AR(5)",
        nt.jit(ar5),
        ar5_parameters,
        ["α", "β1", "β2", "β3", "β4", "β5", "σ"],
        truth,
        (y,),
        np.zeros(7),
    )


def series(name, rng):
    """A series, its first deviation, its parameters: of posteriordb, or made here."""
    file = Path(os.environ.get("NDTAPE_DATA", ""), "posteriordb", f"{name}.json")
    if not file.exists():
        make, truth = {"garch": (garch_series, GARCH_TRUTH), "arK": (ar5_series, AR5_TRUTH)}[name]
        return make(rng), FIRST, truth
    found = json.loads(file.read_text(encoding="utf-8"))
    return np.array(found["y"]), found.get("sigma1"), None


# --- Hamiltonian Monte Carlo ----------------------------------------------------------------------


def leapfrog(value_and_gradient, x, p, gradient, steps, size):
    """`steps` moves along an orbit of the energy p²/2 − value(x)."""
    for _ in range(steps):
        p = p + 0.5 * size * gradient
        x = x + size * p
        value, gradient = value_and_gradient(x)
        p = p + 0.5 * size * gradient
    return x, p, value, gradient


def sample(value_and_gradient, x, draws, rng):
    """Draws from exp(value), which should be about as wide as the unit normal; share accepted."""
    value, gradient = value_and_gradient(x)
    chain, accepted = [], 0
    for _ in range(draws):
        p = rng.standard_normal(len(x))
        size = STEP * rng.uniform(0.8, 1.2)  # no orbit closes by chance
        x1, p1, value1, gradient1 = leapfrog(
            value_and_gradient, x, p, gradient, LEAPFROG_STEPS, size
        )
        if math.log(rng.uniform()) < (value1 - 0.5 * p1 @ p1) - (value - 0.5 * p @ p):
            x, value, gradient = x1, value1, gradient1
            accepted += 1
        chain.append(x)
    return np.array(chain), accepted / draws


def posterior(model, rng, draws=DRAWS):
    """Mode, covariance by the Hessian there, draws of u; what the draws took."""
    data, call = model.data, nt.value_and_grad(model.log_posterior)

    def loss(u):
        value, gradient = call(u, *data)
        return -value, -gradient

    mode = minimize(loss, model.start, jac=True, method="BFGS", options={"gtol": 1e-6}).x
    covariance = np.linalg.inv(-nt.hessian(model.log_posterior)(mode, *data))
    scale = np.linalg.cholesky(covariance)  # u = mode + scale·x: x has unit width

    def value_and_gradient(x):
        value, gradient = call(mode + scale @ x, *data)
        return value, gradient @ scale

    start = time.perf_counter()
    chain, accepted = sample(value_and_gradient, np.zeros(len(mode)), draws, rng)
    taken = time.perf_counter() - start
    return {
        "mode": mode,
        "covariance": covariance,
        "u": mode + chain @ scale.T,
        "accepted": accepted,
        "seconds": taken,
    }


# --- what is printed ------------------------------------------------------------------------------


def report(model, found):
    draws = model.parameters(found["u"].T)
    steps = len(found["u"]) * LEAPFROG_STEPS
    print(f"{len(found['u'])} draws of {LEAPFROG_STEPS} leapfrog steps, ", end="")
    print(f"{found['accepted']:.0%} accepted, {found['seconds']:.2f} s: ", end="")
    print(f"{1e3 * found['seconds'] / steps * 1000:.0f} ms for 1000 leapfrog steps")
    columns = ["mean", "std dev", "5 %", "95 %", "mode"] + ["truth"] * (model.truth is not None)
    print(f"{'':6s}" + "".join(f"{column:>10s}" for column in columns))
    at_mode = model.parameters(found["mode"][:, None])[:, 0]
    for k, (name, row) in enumerate(zip(model.names, draws, strict=True)):
        numbers = [row.mean(), row.std(ddof=1), *np.quantile(row, [0.05, 0.95]), at_mode[k]]
        if model.truth is not None:
            numbers.append(model.truth[k])
        print(f"{name:6s}" + "".join(f"{number:10.3f}" for number in numbers))
    return draws


def study(model, rng, draws=DRAWS):
    """Check the gradient, time it, sample, print; what was found."""
    f, data, start = model.log_posterior, model.data, model.start
    print(f"{model.title}, {len(data[0])} numbers\n")
    nt.check_grads(lambda u: f(u, *data), (start,), order=2, rtol=1e-4)
    print("derivatives of first and second order agree with differences")
    call = nt.value_and_grad(f)
    times = compare(
        plain_Python=lambda: f.py_func(start, *data),
        compiled=lambda: f(start, *data),
        value_and_gradient=lambda: call(start, *data),
    )
    print()
    found = posterior(model, rng, draws)
    found["draws"] = report(model, found)
    print()
    return found | {"times": times, "model": model}


def main(draws=DRAWS):
    rng = np.random.default_rng(1)
    return [study(model, rng, draws) for model in models(rng)]


if __name__ == "__main__":
    main()
