"""Option prices and their greeks: derivatives of the program that computes the price.

    Black and Scholes     a European call: first and second order, beside the closed forms
    binomial tree         an American put, a double loop over scalars, exercised early by a maximum
    Monte Carlo           an Asian call on common random numbers, pathwise greeks with their errors

Rates and volatilities are per year and times in years, so rho and vega are for a change by 1, not
by a percent; theta is minus the derivative by the time to expiry.

    python examples/option_greeks.py
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

import ndtape as nt

# --- Black and Scholes ----------------------------------------------------------------------------

MARKET = {"spot": 100.0, "strike": 105.0, "rate": 0.03, "yield": 0.01, "vol": 0.25, "time": 0.75}


def d_plus_minus(m):
    spread = m["vol"] * nt.sqrt(m["time"])
    forward = nt.log(m["spot"] / m["strike"]) + (m["rate"] - m["yield"]) * m["time"]
    return forward / spread + spread / 2, forward / spread - spread / 2


@nt.function
def call(m):
    """A European call on a share that pays a continuous dividend yield (Merton 1973)."""
    plus, minus = d_plus_minus(m)
    share = m["spot"] * nt.exp(-m["yield"] * m["time"]) * nt.ndtr(plus)
    return share - m["strike"] * nt.exp(-m["rate"] * m["time"]) * nt.ndtr(minus)


@nt.function
def put(m):
    """The European put, by put-call parity."""
    share = m["spot"] * nt.exp(-m["yield"] * m["time"])
    return call(m) - share + m["strike"] * nt.exp(-m["rate"] * m["time"])


def greeks(price, m):
    """First and second derivatives of a price, under their names."""
    first, second = nt.grad(price)(m), nt.hessian(price)(m)
    return {
        "delta": first["spot"],
        "vega": first["vol"],
        "theta": -first["time"],
        "rho": first["rate"],
        "dual delta": first["strike"],
        "gamma": second["spot"]["spot"],
        "vanna": second["spot"]["vol"],
        "volga": second["vol"]["vol"],
        "charm": -second["spot"]["time"],
        "veta": -second["vol"]["time"],
        "dual gamma": second["strike"]["strike"],
    }


def greeks_of_textbook(m):
    """The closed forms for the call (Haug 2007, chapter 2)."""
    s, k, r, q, vol, t = (m[name] for name in MARKET)
    root = math.sqrt(t)
    plus = (math.log(s / k) + (r - q + vol**2 / 2) * t) / (vol * root)
    minus = plus - vol * root
    density = math.exp(-(plus**2) / 2) / math.sqrt(2 * math.pi)
    share, bond = math.exp(-q * t), math.exp(-r * t)
    vega = s * share * density * root
    drift = (r - q) / (vol * root) - minus / (2 * t)
    return {
        "delta": share * ndtr(plus),
        "vega": vega,
        "theta": q * s * share * ndtr(plus) - r * k * bond * ndtr(minus) - vega * vol / (2 * t),
        "rho": k * t * bond * ndtr(minus),
        "dual delta": -bond * ndtr(minus),
        "gamma": share * density / (s * vol * root),
        "vanna": -share * density * minus / vol,
        "volga": vega * plus * minus / vol,
        "charm": share * (q * ndtr(plus) - density * drift),
        "veta": vega * (q + (r - q) * plus / (vol * root) - (1 + plus * minus) / (2 * t)),
        "dual gamma": bond * density / (k * vol * root) * math.exp((plus**2 - minus**2) / 2),
    }


def european():
    """Print both columns of greeks; what was found."""
    print("European call, Black and Scholes: " + ", ".join(f"{k} {v:g}" for k, v in MARKET.items()))
    print(f"price {call(MARKET):.10f}\n")
    found, expected = greeks(call, MARKET), greeks_of_textbook(MARKET)
    print(f"{'':12s}{'by the tape':>18s}{'closed form':>18s}{'difference':>12s}")
    for name, value in found.items():
        print(f"{name:12s}{value:18.10f}{expected[name]:18.10f}{abs(value - expected[name]):12.0e}")
    return found, expected


# --- an American put on a binomial tree -----------------------------------------------------------

# A put of Longstaff and Schwartz (2001), table 1: finite differences give 4.478, European 3.844.
SHARE = {"spot": 36.0, "strike": 40.0, "rate": 0.06, "yield": 0.0, "vol": 0.2, "time": 1.0}
STEPS = 200


@nt.function(static_argnames="steps")
def american_put(m, steps=STEPS):
    """A tree of Cox, Ross and Rubinstein (1979), from the leaves to the root.

    `nt.maximum` decides about early exercise, not Python's `max`: no branch, one tape for all
    markets.
    """
    dt = m["time"] / steps
    up = nt.exp(m["vol"] * nt.sqrt(dt))
    discount = nt.exp(-m["rate"] * dt)
    chance = (nt.exp((m["rate"] - m["yield"]) * dt) - 1 / up) / (up - 1 / up)
    to_up, to_down = discount * chance, discount * (1 - chance)

    exercise = {}  # by how many more ups than downs there were
    share = m["spot"] / up**steps
    for ups in range(-steps, steps + 1):
        exercise[ups] = m["strike"] - share
        share = share * up

    value = [nt.maximum(exercise[ups], 0.0) for ups in range(-steps, steps + 1, 2)]
    for step in range(steps - 1, -1, -1):
        for i in range(step + 1):
            later = to_up * value[i + 1] + to_down * value[i]
            value[i] = nt.maximum(exercise[2 * i - step], later)
    return value[0]


def bumped(price, m, name, size):
    """The central difference of a price by one of its inputs."""
    return (price(m | {name: m[name] + size}) - price(m | {name: m[name] - size})) / (2 * size)


def gamma_of_tree(m, size=2.0):
    """Gamma as a second difference of prices, over two nodes of the tree to either side.

    A tree's price is made of straight pieces as a function of the spot: its second derivative is 0
    between the kinks, and tells nothing about gamma.
    """
    low, middle, high = (american_put(m | {"spot": m["spot"] + s}) for s in (-size, 0.0, size))
    return (high - 2 * middle + low) / size**2


def american():
    """Print price and greeks of the put; what was found."""
    price, slope = nt.value_and_grad(american_put)(SHARE)
    found = {"price": price, "slope": slope, "gamma": gamma_of_tree(SHARE)}
    found["bumped"] = {name: bumped(american_put, SHARE, name, 1e-6) for name in slope}
    found["gamma of the tree"] = nt.hessian(lambda s: american_put(SHARE | {"spot": s}))(36.0)
    print(f"\nAmerican put, binomial tree of {STEPS} steps: ", end="")
    print(", ".join(f"{k} {v:g}" for k, v in SHARE.items()))
    print(f"price {price:.4f} (published 4.478; European {put(SHARE):.4f}, published 3.844)\n")
    print(f"{'':12s}{'by the tape':>14s}{'bumped':>14s}{'European':>14s}")
    european_slope = nt.grad(put)(SHARE)
    names = {"spot": "delta", "vol": "vega", "rate": "rho", "time": "theta", "yield": "yield rho"}
    for name, greek in names.items():
        sign = -1 if greek == "theta" else 1
        row = (slope[name], found["bumped"][name], european_slope[name])
        print(f"{greek:12s}" + "".join(f"{sign * value:14.6f}" for value in row))
    print(f"{'gamma':12s}{found['gamma of the tree']:14.6f}{found['gamma']:14.6f}", end="")
    print(f"{greeks(put, SHARE)['gamma']:14.6f}")
    print("(the tree is made of straight pieces: its gamma needs a difference over some nodes)")
    return found


# --- an Asian call by Monte Carlo -----------------------------------------------------------------

ASIAN = {"spot": 100.0, "strike": 100.0, "rate": 0.05, "yield": 0.0, "vol": 0.3, "time": 1.0}
MONTHS = 12
PATHS = 20_000


def draws(paths=PATHS, seed=7):
    """Standard normal numbers, shape (paths, MONTHS), with the opposite path behind each."""
    half = np.random.default_rng(seed).standard_normal((paths // 2, MONTHS))
    return np.concatenate([half, -half])


def asian_payoffs(m, normals):
    """Discounted payoffs (arithmetic, geometric) of calls on the average of monthly prices."""
    dt = m["time"] / normals.shape[1]
    drift = (m["rate"] - m["yield"] - m["vol"] ** 2 / 2) * dt
    returns = drift + m["vol"] * nt.sqrt(dt) * normals
    paths = nt.log(m["spot"]) + np.cumsum(returns, axis=1)
    discount = nt.exp(-m["rate"] * m["time"])
    arithmetic = discount * np.maximum(np.mean(np.exp(paths), axis=1) - m["strike"], 0.0)
    geometric = discount * np.maximum(np.exp(np.mean(paths, axis=1)) - m["strike"], 0.0)
    return arithmetic, geometric


@nt.function
def geometric_asian(m):
    """The call on the geometric average: log-normal, hence a closed form (Kemna, Vorst 1990)."""
    n = MONTHS
    mean = (m["rate"] - m["yield"] - m["vol"] ** 2 / 2) * m["time"] * (n + 1) / (2 * n)
    variance = m["vol"] ** 2 * m["time"] * (n + 1) * (2 * n + 1) / (6 * n * n)
    plus = (nt.log(m["spot"] / m["strike"]) + mean + variance) / nt.sqrt(variance)
    forward = m["spot"] * nt.exp(mean + variance / 2)
    value = forward * nt.ndtr(plus) - m["strike"] * nt.ndtr(plus - nt.sqrt(variance))
    return nt.exp(-m["rate"] * m["time"]) * value


@nt.function
def asian_call(m, normals):
    """The arithmetic Asian call, with the geometric one as control variate."""
    arithmetic, geometric = asian_payoffs(m, normals)
    return np.mean(arithmetic - geometric) + geometric_asian(m)


@nt.function
def asian_call_plain(m, normals):
    """The same without the control variate."""
    return np.mean(asian_payoffs(m, normals)[0])


@nt.function
def geometric_asian_sampled(m, normals):
    return np.mean(asian_payoffs(m, normals)[1])


def pathwise_error(m, normals, name, controlled):
    """The standard error of a pathwise greek: its value on every pair of opposite paths."""

    def payoff(x):
        arithmetic, geometric = asian_payoffs(m | {name: x}, normals)
        return arithmetic - geometric if controlled else arithmetic

    _, each = nt.jvp(payoff, (m[name],), (1.0,))
    pairs = (each[: len(each) // 2] + each[len(each) // 2 :]) / 2
    return float(np.std(pairs, ddof=1) / math.sqrt(len(pairs)))


def asian():
    """Print price and greeks with their standard errors; what was found."""
    normals = draws()
    found = {}
    print(f"\nAsian call, {MONTHS} monthly prices, {PATHS} paths in opposite pairs: ", end="")
    print(", ".join(f"{k} {v:g}" for k, v in ASIAN.items()))
    price, slope = nt.value_and_grad(asian_call)(ASIAN, normals)
    plain, plain_slope = nt.value_and_grad(asian_call_plain)(ASIAN, normals)
    print(f"price {price:.4f} with the control variate, {plain:.4f} without\n")
    print(
        f"{'':12s}{'controlled':>12s}{'std err':>10s}{'plain':>12s}{'std err':>10s}{'bumped':>14s}"
    )
    for name, greek in {"spot": "delta", "vol": "vega", "rate": "rho"}.items():
        errors = [pathwise_error(ASIAN, normals, name, controlled) for controlled in (True, False)]
        again = bumped(lambda m: asian_call(m, normals), ASIAN, name, 1e-5)
        found[greek] = (slope[name], errors[0], plain_slope[name], errors[1], again)
        print(
            f"{greek:12s}{slope[name]:12.5f}{errors[0]:10.5f}{plain_slope[name]:12.5f}"
            f"{errors[1]:10.5f}{again:14.5f}"
        )
    sampled = nt.grad(geometric_asian_sampled)(ASIAN, normals)
    closed = nt.grad(geometric_asian)(ASIAN)
    found["geometric"] = {name: (sampled[name], closed[name]) for name in ("spot", "vol", "rate")}
    print("\nThe geometric average has a closed form: delta by paths ", end="")
    print(f"{sampled['spot']:.5f}, exact {closed['spot']:.5f}")
    return found | {"price": price, "plain": plain}


def main():
    """All three parts, printed; what they found."""
    return {"european": european(), "american": american(), "asian": asian()}


if __name__ == "__main__":
    main()
