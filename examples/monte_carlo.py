"""Monte-Carlo prices with all their greeks: an Asian and two barrier options, 10⁵ paths each.

A payoff is written for one path, with numbers, loops and branches. `nt.vmap` runs it for all paths,
many at a time, each down its own branches, and `nt.grad` inside of it gives a gradient a path: its
mean is the greek, its spread the greek's standard error.

    Asian               first order pathwise; second order after one normal is integrated out
    barrier, always     knocked out at any time: a Brownian bridge between the dates; first order
                        pathwise, second order by bumped greeks
    barrier, at dates   knocked out on 50 dates: every step is drawn so that the path survives

A derivative goes under the mean only where the payoff of a path has no jumps (first order) or kinks
(second order): what happens at a jump is missed, however many paths there are. A knock-out is a
jump. It is smoothed here by no parameter that would have to be tuned: a part of the randomness is
replaced by its expected value, which changes no price, and the rest is smooth.

    python examples/monte_carlo.py
"""

from __future__ import annotations

import math
import time

import numpy as np

import ndtape as nt

PATHS = 100_000
GREEKS = {
    "spot": "delta",
    "vol": "vega",
    "rate": "rho",
    "yield": "yield rho",
    "time": "-theta",
    "strike": "dual delta",
    "barrier": "by barrier",
}
SECOND = {"gamma": ("spot", "spot"), "vanna": ("spot", "vol"), "volga": ("vol", "vol")}


def draws(paths, steps, seed=0):
    return np.random.default_rng(seed).standard_normal((paths, steps))


def step_of(m, dt):
    """Mean and standard deviation of the logarithm of a price over a time dt."""
    return (m["rate"] - m["yield"] - m["vol"] ** 2 / 2) * dt, m["vol"] * nt.sqrt(dt)


def call(forward, strike, discount, deviation):
    """Black's formula: a call where the logarithm of the price has this standard deviation."""
    plus = nt.log(forward / strike) / deviation + deviation / 2
    return discount * (forward * nt.ndtr(plus) - strike * nt.ndtr(plus - deviation))


# --- what is common to all options ----------------------------------------------------------------


def mean_and_error(rows):
    return float(np.mean(rows)), float(np.std(rows, ddof=1) / math.sqrt(len(rows)))


def first_order(payoff, m, z):
    """Price and greeks, each with its standard error: {name: (mean, error)}."""
    value, slopes = nt.vmap(nt.value_and_grad(payoff), (None, 0))(m, z)
    found = {"price": mean_and_error(value)}
    return found | {name: mean_and_error(rows) for name, rows in slopes.items()}


def second_order(payoff, m, z):
    """Gamma, vanna and volga of a smooth payoff, with their standard errors."""

    def of_two(moved, z):
        return payoff(m | moved, z)

    rows = nt.vmap(nt.hessian(of_two), (None, 0))({name: m[name] for name in ("spot", "vol")}, z)
    return {greek: mean_and_error(rows[a][b]) for greek, (a, b) in SECOND.items()}


def second_order_by_bumps(payoff, m, z, size=1e-2):
    """The same for a payoff without jumps but with kinks: differences of first-order greeks."""

    def slopes(m):
        return nt.vmap(nt.grad(payoff), (None, 0))(m, z)

    found = {}
    for greek, (a, b) in SECOND.items():
        step = size * m[b]
        high, low = (slopes(m | {b: m[b] + s})[a] for s in (step, -step))
        found[greek] = mean_and_error((high - low) / (2 * step))
    return found


def price(payoff, m, z):
    """The mean alone, in which `nt.value_and_grad` sweeps all paths back into one gradient."""
    return np.mean(nt.vmap(payoff, (None, 0))(m, z))


def bumped(payoff, m, z, size=1e-3):
    """Central differences of the mean on the same normals: two prices for each greek."""
    found = {}
    for name, x in m.items():
        step = size * (x or 1.0)
        high, low = (price(payoff, m | {name: x + s}, z) for s in (step, -step))
        found[name] = (high - low) / (2 * step)
    return found


def exactly(formula, m):
    """First- and second-order greeks of a closed form: the tape differentiates it as well."""
    value, slope = nt.value_and_grad(formula)(m)
    second = nt.hessian(formula)(m)
    return {"price": value} | slope | {greek: second[a][b] for greek, (a, b) in SECOND.items()}


def show(columns):
    """Print a greek a line; a column is {name: number, or (mean, standard error)}."""
    print(" " * 12 + "".join(f"{title:>24s}" for title in columns))
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    for name in names:
        line = f"{GREEKS.get(name, name):12s}"
        for column in columns.values():
            match column.get(name):
                case None:
                    line += " " * 24
                case (mean, error):
                    line += f"{mean:14.5f} ±{error:8.5f}"
                case number:
                    line += f"{number:14.5f}" + " " * 10
        print(line.rstrip())


class Watch:
    """Says how long the block took."""

    def __init__(self, what):
        self.what = what

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *_):
        print(f"  {self.what}: {time.perf_counter() - self.start:.2f} s")


# --- an Asian call --------------------------------------------------------------------------------

MONTHS = 12
ASIAN = {"spot": 100.0, "strike": 100.0, "rate": 0.05, "yield": 0.02, "vol": 0.25, "time": 1.0}


@nt.function
def asian(m, z):
    """Of one path: the mean of twelve monthly prices above the strike."""
    drift, spread = step_of(m, m["time"] / MONTHS)
    share, total = m["spot"], 0.0
    for normal in z:
        share = share * nt.exp(drift + spread * normal)
        total = total + share
    return nt.exp(-m["rate"] * m["time"]) * nt.maximum(total / MONTHS - m["strike"], 0.0)


@nt.function
def asian_smooth(m, z):
    """The same, the first month's normal integrated out: its z is not used.

    All later prices are multiples of the first one, so their mean is log-normal where the other
    normals are given, and Black's formula has the expected value. A payoff with a kink has become
    one that can be differentiated twice, or ten times.
    """
    drift, spread = step_of(m, m["time"] / MONTHS)
    growth = total = 1.0
    for normal in z[1:]:
        growth = growth * nt.exp(drift + spread * normal)
        total = total + growth
    forward = m["spot"] * nt.exp(drift + spread**2 / 2) * total / MONTHS
    return call(forward, m["strike"], nt.exp(-m["rate"] * m["time"]), spread)


@nt.function
def geometric(m, z):
    """The call on the geometric mean, which has a closed form."""
    drift, spread = step_of(m, m["time"] / MONTHS)
    log_share, total = nt.log(m["spot"]), 0.0
    for normal in z:
        log_share = log_share + drift + spread * normal
        total = total + log_share
    return nt.exp(-m["rate"] * m["time"]) * nt.maximum(nt.exp(total / MONTHS) - m["strike"], 0.0)


def geometric_closed(m):
    """Kemna and Vorst (1990): the logarithm of a geometric mean is normal."""
    n = MONTHS
    drift, spread = step_of(m, m["time"] / n)
    variance = spread**2 * (n + 1) * (2 * n + 1) / (6 * n)
    forward = m["spot"] * nt.exp(drift * (n + 1) / 2 + variance / 2)
    return call(forward, m["strike"], nt.exp(-m["rate"] * m["time"]), nt.sqrt(variance))


def asian_options(paths=PATHS):
    """Print and return the greeks of the Asian call, and of the geometric one for a check."""
    z = draws(paths, MONTHS)
    print(f"Asian call, {MONTHS} monthly prices, {paths} paths: {said(ASIAN)}")
    asian.clear()
    with Watch("recorded, priced, six greeks with their errors"):
        pathwise = first_order(asian, ASIAN, z)
    with Watch("the mean and its gradient alone"):
        total = nt.value_and_grad(lambda m: price(asian, m, z))(ASIAN)
    with Watch("12 prices, bumped"):
        differences = bumped(asian, ASIAN, z)
    with Watch("second order"):
        smooth = first_order(asian_smooth, ASIAN, z) | second_order(asian_smooth, ASIAN, z)
    show({"pathwise": pathwise, "bumped": differences, "one normal integrated": smooth})
    print("\nGeometric mean, same paths")
    sampled, closed = first_order(geometric, ASIAN, z), exactly(geometric_closed, ASIAN)
    show({"pathwise": sampled, "closed form": {name: closed[name] for name in sampled}})
    return {"pathwise": pathwise, "bumped": differences, "smooth": smooth, "total": total,
            "sampled": sampled, "closed": closed}  # fmt: skip


# --- a barrier that is watched all the time -------------------------------------------------------

STEPS = 12
ALWAYS = {"spot": 100.0, "strike": 105.0, "barrier": 90.0, "rate": 0.05, "yield": 0.02,
          "vol": 0.25, "time": 0.75}  # fmt: skip


@nt.function
def down_and_out(m, z):
    """A call that is worth nothing once the price was at the barrier, of one path.

    The path is known at 12 dates. Between two of them the chance that it was down at the barrier is
    that of a Brownian bridge, exp(-2xy/σ²dt) for heights x and y above the barrier, in logarithms.
    The chance of survival falls to 0 as a date's price comes down to the barrier: no jump is left.
    """
    drift, spread = step_of(m, m["time"] / STEPS)
    height, alive = nt.log(m["spot"] / m["barrier"]), 1.0
    for normal in z:
        lower, height = height, height + drift + spread * normal
        if height <= 0:
            return 0.0  # the rest of this path is never computed
        alive = alive * -nt.expm1(-2 * lower * height / spread**2)
    share = m["barrier"] * nt.exp(height)
    return nt.exp(-m["rate"] * m["time"]) * alive * nt.maximum(share - m["strike"], 0.0)


def down_and_out_closed(m):
    """Merton (1973), for a barrier below the strike: the call less its reflection."""
    deviation = m["vol"] * nt.sqrt(m["time"])
    discount = nt.exp(-m["rate"] * m["time"])
    growth = nt.exp((m["rate"] - m["yield"]) * m["time"])
    power = 2 * (m["rate"] - m["yield"]) / m["vol"] ** 2 - 1
    mirror = m["barrier"] ** 2 / m["spot"]
    reflected = call(mirror * growth, m["strike"], discount, deviation)
    plain = call(m["spot"] * growth, m["strike"], discount, deviation)
    return plain - (m["barrier"] / m["spot"]) ** power * reflected


def always_watched(paths=PATHS):
    """Print and return the greeks of the barrier that is watched all the time."""
    z = draws(paths, STEPS, seed=1)
    print(f"\nDown-and-out call, watched all the time, {paths} paths: {said(ALWAYS)}")
    down_and_out.clear()
    with Watch("recorded, priced, seven greeks with their errors"):
        found = first_order(down_and_out, ALWAYS, z)
    print(f"  {len(down_and_out.tapes)} tapes: a path may survive, or end on any of the dates")
    with Watch("second order, by bumped greeks"):
        found |= second_order_by_bumps(down_and_out, ALWAYS, z)
    closed = exactly(down_and_out_closed, ALWAYS)
    show({"pathwise": found, "closed form": {name: closed[name] for name in found}})
    return {"pathwise": found, "closed": closed, "ways": len(down_and_out.tapes)}


# --- a barrier that is watched on 50 dates --------------------------------------------------------

# Broadie, Glasserman and Kou (1997), table 2.1: on 50 dates 6.098, all the time 5.977.
DATES = 50
AT_DATES = {"spot": 100.0, "strike": 100.0, "barrier": 90.0, "rate": 0.1, "yield": 0.0,
            "vol": 0.3, "time": 0.2}  # fmt: skip
PUBLISHED = 6.098


@nt.function
def knocked_out(m, z):
    """As the contract says it, of one path: a jump where the price of a date meets the barrier."""
    drift, spread = step_of(m, m["time"] / DATES)
    height = nt.log(m["spot"] / m["barrier"])
    for normal in z:
        height = height + drift + spread * normal
        if height <= 0:
            return 0.0
    share = m["barrier"] * nt.exp(height)
    return nt.exp(-m["rate"] * m["time"]) * nt.maximum(share - m["strike"], 0.0)


CENTRE = [2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
          -0.00125372503, -0.00417768164, 0.246640727, 1.50140941]  # fmt: skip
TAIL = [-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
        -0.0076224613, 0.00943887047, 1.00167406, 2.83297682]  # fmt: skip


def quantile(p):
    """The normal number below which a share p of all lies, to seven digits (Giles 2010).

    `nt.where` and no `if`: fifty of them in a path would make as many ways as there are paths.
    """
    w = -nt.log(4 * p * (1 - p))
    centre = horner(CENTRE, w - 2.5)
    tail = horner(TAIL, nt.sqrt(w) - 3)
    return math.sqrt(2) * (2 * p - 1) * nt.where(w < 5, centre, tail)


def horner(coefficients, x):
    value = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


@nt.function
def surviving(m, u):
    """The same option with one-step survival (Glasserman and Staum 2001), of one path.

    Each step is drawn above the barrier, from u in (0, 1), and the chance that it is there becomes
    a factor. The last step is Black's formula. All of it is smooth: any derivative may be taken.
    """
    dt = m["time"] / DATES
    drift, spread = step_of(m, dt)
    height, alive = nt.log(m["spot"] / m["barrier"]), 1.0
    for uniform in u[1:]:
        chance = nt.ndtr((height + drift) / spread)
        height = height + drift - spread * quantile(chance * uniform)
        alive = alive * chance
    forward = m["barrier"] * nt.exp(height + drift + spread**2 / 2)
    return alive * call(forward, m["strike"], nt.exp(-m["rate"] * m["time"]), spread)


def at_dates(paths=PATHS):
    """Print and return the greeks of the barrier on dates, by both programs."""
    z = draws(paths, DATES, seed=2)
    u = np.random.default_rng(3).uniform(size=z.shape)
    print(f"\nDown-and-out call, watched on {DATES} dates, {paths} paths: {said(AT_DATES)}")
    naive = first_order(knocked_out, AT_DATES, z)
    differences = bumped(knocked_out, AT_DATES, z, 1e-2)
    surviving.clear()
    with Watch("recorded, priced, seven greeks with their errors"):
        found = first_order(surviving, AT_DATES, u)
    with Watch("second order"):
        found |= second_order(surviving, AT_DATES, u)
    show({"pathwise: wrong!": naive, "bumped by 1 %": differences, "one-step survival": found})
    always = float(down_and_out_closed(AT_DATES))
    print(f"published price {PUBLISHED}; watched all the time {always:.3f} (closed form)")
    return {"naive": naive, "bumped": differences, "smooth": found, "always": always}


def said(m):
    return ", ".join(f"{name} {value:g}" for name, value in m.items())


def main(paths=PATHS):
    """All three options, printed; what was found."""
    return {
        "asian": asian_options(paths),
        "always": always_watched(paths),
        "dates": at_dates(paths),
    }


if __name__ == "__main__":
    main()
