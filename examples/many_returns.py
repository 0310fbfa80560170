"""A likelihood of 10⁷ observations: one GARCH model for 10 000 series, fitted by several processes.

The returns of 10 000 series over 1000 days have one law: variances that follow the returns of the
day before (GARCH(1,1)), and Student's t for what is left. The loop over the days is an `nt.scan`
over arrays of 40 series. A shard is such an array, made from a seed by the worker that keeps it; a
worker differentiates its shards, and the gradients are summed in one order, whoever did what.

    python examples/many_returns.py [--engine dask|joblib|none] [--workers 2] [--kill]

`--kill` ends a worker by SIGKILL in the middle of the fit: Dask starts another one, which makes its
shards again, and all numbers are the same to the last bit. They are compared in the end.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import time
from contextlib import ExitStack
from functools import partial

import numpy as np
from scipy.optimize import minimize

import ndtape as nt

DAYS, SERIES, SHARDS = 1000, 40, 250
TRUTH = {"omega": 0.05, "alpha": 0.08, "beta": 0.9, "nu": 6.0}
START = {"omega": -2.0, "alpha": -2.0, "beta": 1.0, "nu": 1.0}

# --- the model ------------------------------------------------------------------------------------


def law(u):
    """(ω, α, β, ν) for any numbers: ω > 0, α + β < 1, ν > 2."""
    alpha = nt.sigmoid(u["alpha"])
    return nt.exp(u["omega"]), alpha, nt.sigmoid(u["beta"]) * (1 - alpha), 2 + nt.exp(u["nu"])


def minus_log_likelihood(u, returns):
    """Of returns (days, series); on the first day the variance is the mean of all days."""
    omega, alpha, beta, nu = law(u)

    def day(variance, r):
        return omega + alpha * r * r + beta * variance, variance

    begin = omega / (1 - alpha - beta) * np.ones(returns.shape[1])
    _, variance = nt.scan(day, begin, returns)
    each = nt.gammaln(nu / 2) - nt.gammaln((nu + 1) / 2) + nt.log(math.pi * (nu - 2)) / 2
    surprise = nt.log1p(returns * returns / (variance * (nu - 2)))
    return returns.size * each + np.sum(nt.log(variance)) / 2 + (nu + 1) / 2 * np.sum(surprise)


def made_returns(seed, days=DAYS, series=SERIES):
    """A shard: (days, series)."""
    rng = np.random.default_rng(seed)
    omega, alpha, beta, nu = TRUTH.values()
    scale = math.sqrt((nu - 2) / nu)
    variance = np.full(series, omega / (1 - alpha - beta))
    returns = np.empty((days, series))
    for today in returns:
        today[:] = np.sqrt(variance) * scale * rng.standard_t(nu, series)
        variance = omega + alpha * today**2 + beta * variance
    return returns


# --- the fit --------------------------------------------------------------------------------------


def engine_named(name, workers, stack):
    """What `nt.parallel` takes, which ends with the stack."""
    if name == "dask":
        from distributed import Client, LocalCluster

        # Its log would tell at length of the worker that is killed.
        options = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, **options)
        return stack.enter_context(Client(stack.enter_context(cluster)))
    if name == "joblib":
        import joblib

        return stack.enter_context(joblib.Parallel(n_jobs=workers, return_as="generator"))
    return None


def fitted(gradient, shards, at=None, then=None):
    """(u, seconds of each evaluation); `then()` is called before evaluation number `at`."""
    start, tree = nt.ravel(START)
    seconds = []
    with nt.progress(text="fitting") as bar:

        def evaluate(x):
            if len(seconds) == at:
                then()
            began = time.perf_counter()
            value, slopes = gradient(tree(x), shards)
            seconds.append(time.perf_counter() - began)
            bar.advance()
            bar.show(loss=value)
            return value, nt.ravel(slopes)[0]

        found = minimize(evaluate, start, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    return tree(found.x), seconds


def standard_errors(u, shards, engine):
    """Of (ω, α, β, ν): the inverse of the Hessian, carried through `law`."""
    second = nt.parallel.hessian(minus_log_likelihood, engine=engine)(u, shards)
    information = np.array([[second[a][b] for b in u] for a in u])
    slopes = nt.jacobian(lambda u: np.stack(law(u)))(u)
    along = np.stack([slopes[name] for name in u], axis=1)
    return np.sqrt(np.diag(along @ np.linalg.solve(information, along.T)))


def kill_a_worker(client):
    pid = next(iter(client.run(os.getpid).values()))
    print(f"worker {pid} is killed")
    os.kill(pid, signal.SIGKILL)


def main(engine="dask", workers=2, shards=SHARDS, days=DAYS, kill=False):
    """Print and return what was found."""
    sources = [
        partial(made_returns, seed, days) for seed in np.random.SeedSequence(1).spawn(shards)
    ]
    count = shards * days * SERIES
    with ExitStack() as stack:
        client = engine_named(engine, workers, stack)
        print(f"{count:,} returns in {shards} shards, {engine}, {workers} workers")
        placed = nt.parallel.scatter(sources, client)
        gradient = nt.parallel.value_and_grad(minus_log_likelihood, engine=client)
        then = partial(kill_a_worker, client)
        u, seconds = fitted(gradient, placed, 5 if kill else None, then)
        value, slopes = gradient(u, placed)
        errors = standard_errors(u, placed, client)
    estimates = [float(x) for x in law(u)]
    for name, truth, estimate, error in zip(TRUTH, TRUTH.values(), estimates, errors, strict=True):
        print(f"{name:6s} truth {truth:8.4f}   estimate {estimate:8.4f} ± {error:.4f}")
    median = float(np.median(seconds))
    print(f"{len(seconds)} gradients, {median:.3f} s each ({1e9 * median / count:.1f} ns a return)")
    began = time.perf_counter()
    alone = nt.parallel.value_and_grad(minus_log_likelihood)(u, sources)
    same = alone == (value, slopes)
    print(f"one process, making the data again ({time.perf_counter() - began:.1f} s): "
          f"{'the same bits' if same else 'OTHER NUMBERS'}")  # fmt: skip
    return {"estimates": estimates, "errors": errors, "same": same, "seconds": seconds, "u": u,
            "value": value}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--engine", choices=["dask", "joblib", "none"], default="dask")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--kill", action="store_true", help="a worker, in the middle (Dask)")
    main(**vars(parser.parse_args()))
