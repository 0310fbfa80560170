"""NumPy, vectorised over the rows and differentiated by hand."""

import numpy as np

from . import Contestant

PACKAGES = ("numpy",)
NAME = "NumPy by hand"


def contestants(problem):
    if problem.kind == "asian":
        run = asian_mean if problem.task == "mean" else asian_paths
        yield Contestant(NAME, lambda: lambda p: run(p, problem.z), np.array, value_and_slopes)
        return
    value, forward, back = {
        "arithmetic": (arithmetic_value, arithmetic_forward, arithmetic_back),
        "transcendental": (transcendental_value, transcendental_forward, transcendental_back),
    }[problem.kind]
    if problem.task == "value":
        yield Contestant(NAME, lambda: lambda point: value(problem.steps, *point), read=value_only)
    else:
        yield Contestant(NAME, lambda: lambda point: back(*forward(problem.steps, *point)),
                         read=value_and_slopes)  # fmt: skip


def value_only(x):
    return x.copy(), []


def value_and_slopes(result):
    return np.array(result[0]), [part.copy() for part in result[1]]


# --- x + b (a - x²) h -----------------------------------------------------------------------------


def arithmetic_value(steps, x, a, b):
    x, change, bh = x.copy(), np.empty_like(x), b / steps
    for _ in range(steps):
        np.multiply(x, x, out=change)
        np.subtract(a, change, out=change)
        change *= bh
        x += change
    return x


def arithmetic_forward(steps, x, a, b):
    xs, gaps = np.empty((steps + 1, x.size)), np.empty((steps, x.size))
    xs[0], bh = x, b / steps
    for k in range(steps):
        np.multiply(xs[k], xs[k], out=gaps[k])
        np.subtract(a, gaps[k], out=gaps[k])
        np.multiply(gaps[k], bh, out=xs[k + 1])
        xs[k + 1] += xs[k]
    return xs, gaps, bh


def arithmetic_back(xs, gaps, bh):
    steps, rows = gaps.shape
    w, part = np.ones(rows), np.empty(rows)
    to_a, to_b, twice = np.zeros(rows), np.zeros(rows), -2 * bh
    for k in range(steps - 1, -1, -1):
        to_a += w
        np.multiply(w, gaps[k], out=part)
        to_b += part
        np.multiply(twice, xs[k], out=part)
        part += 1.0
        w *= part
    return xs[steps], (w, to_a * bh, to_b / steps)


# --- x + (sin(b x) + exp(-a x)) h -----------------------------------------------------------------


def transcendental_value(steps, x, a, b):
    x, change, decay, minus, h = x.copy(), np.empty_like(x), np.empty_like(x), -a, 1 / steps
    for _ in range(steps):
        np.multiply(b, x, out=change)
        np.sin(change, out=change)
        np.multiply(minus, x, out=decay)
        change += np.exp(decay, out=decay)
        change *= h
        x += change
    return x


def transcendental_forward(steps, x, a, b):
    xs, decays, h = np.empty((steps + 1, x.size)), np.empty((steps, x.size)), 1 / steps
    xs[0], minus = x, -a
    for k in range(steps):
        np.multiply(minus, xs[k], out=decays[k])
        np.exp(decays[k], out=decays[k])
        np.multiply(b, xs[k], out=xs[k + 1])
        np.sin(xs[k + 1], out=xs[k + 1])
        xs[k + 1] += decays[k]
        xs[k + 1] *= h
        xs[k + 1] += xs[k]
    return xs, decays, a, b


def transcendental_back(xs, decays, a, b):
    steps, rows = decays.shape
    w, waves, part = np.ones(rows), np.empty(rows), np.empty(rows)
    to_a, to_b, h = np.zeros(rows), np.zeros(rows), 1 / steps
    for k in range(steps - 1, -1, -1):
        x, decay = xs[k], decays[k]
        np.multiply(b, x, out=waves)
        np.cos(waves, out=waves)
        np.multiply(w, x, out=part)
        to_b += part * waves
        part *= decay
        to_a -= part
        waves *= b
        np.multiply(a, decay, out=part)
        waves -= part
        waves *= h
        waves += 1.0
        w *= waves
    return xs[steps], (w, to_a * h, to_b * h)


# --- the Asian call -------------------------------------------------------------------------------


def asian_parts(p, z):
    """(payoffs, 1 where one is paid and else 0, discounted, derivatives of the mean price by p)."""
    spot, strike, rate, dividend, vol, time = p
    dates = z.shape[1]
    dt, dates_so_far = time / dates, np.arange(1, dates + 1)
    walk = np.cumsum(z, axis=1)
    drift = rate - dividend - vol * vol / 2
    shares = spot * np.exp(drift * dt * dates_so_far + vol * np.sqrt(dt) * walk)
    mean, discount = shares.mean(axis=1), np.exp(-rate * time)
    by_drift = shares @ (dates_so_far * (dt / dates))
    by_walk = np.einsum("pd,pd->p", shares, walk) / dates
    paid = discount * (mean > strike)
    payoff = discount * np.maximum(mean - strike, 0.0)
    slopes = (
        mean / spot,
        -1.0,
        by_drift,
        -by_drift,
        np.sqrt(dt) * by_walk - vol * by_drift,
        (drift * by_drift + vol * np.sqrt(dt) / 2 * by_walk) / time,
    )
    return payoff, paid, slopes


def asian_paths(p, z):
    payoff, paid, slopes = asian_parts(p, z)
    greeks = np.empty((len(z), 6))
    for k, slope in enumerate(slopes):
        np.multiply(paid, slope, out=greeks[:, k])
    greeks[:, 2] -= p[5] * payoff
    greeks[:, 5] -= p[2] * payoff
    return payoff, [greeks]


def asian_mean(p, z):
    payoff, paid, slopes = asian_parts(p, z)
    price = payoff.mean()
    greeks = np.array([np.mean(paid * slope) for slope in slopes])
    greeks[2] -= p[5] * price
    greeks[5] -= p[2] * price
    return price, [greeks]
