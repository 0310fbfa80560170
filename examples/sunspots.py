"""A forecaster of sunspots: a GRU over three centuries of yearly numbers, one year a step.

The series is the classical test of non-linear forecasting (Weigend, Huberman and Rumelhart 1990):
learn from 1700 to 1920, forecast 1921 to 1955, and the restless years to 1979. The whole training
series is one sequence of 220 steps, and the gradient goes back through all of them. Errors are
squared, in units of the variance of the series. Beside the network: a linear autoregression over
nine years (Yule's model of 1927, grown up), and "next year will be like this one". One year ahead
the network is as good as the linear model; farther ahead it is better. Its size and the number of
updates were chosen by forecasting 1881 to 1920 from the years before.

    python examples/sunspots.py [folder for the picture, examples/output if none is given]

Data: examples/data/sunspots.csv, from NOAA's National Geophysical Data Center, public domain.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from showing import OUTPUT, figure, save

import ndtape as nt
from ndtape import nn

DATA = Path(__file__).parent / "data" / "sunspots.csv"
LEARNED, SPANS = 1920, {"1921-1955": (1921, 1955), "1956-1979": (1956, 1979)}
LAGS, AHEAD = 9, 11
HIDDEN, MEMBERS, UPDATES, RATE = 5, 8, 600, 1e-2
NOISE, DECAY = 0.2, 0.02  # added to the inputs while training; of the weights


def load():
    """Years, and the square roots of the numbers, which vary about as much at all heights."""
    years, numbers = np.loadtxt(DATA, delimiter=",", comments="#", skiprows=4).T
    return years.astype(int), np.sqrt(numbers)


def scale(series, years):
    """Mean and deviation of what may be learned from."""
    seen = series[years <= LEARNED]
    return seen.mean(), seen.std()


# --- the network ----------------------------------------------------------------------------------


def make_model(rng, hidden=HIDDEN):
    return {"cell": nn.gru_init(rng, 1, hidden), "out": nn.dense_init(rng, hidden, 1)}


def forecasts(params, state, xs):
    """The next year's number after each year of xs, (years,): how much it will change, added."""
    state, outputs = nn.scan_layer(nn.gru_cell, params["cell"], state, xs[:, None])
    return state, xs + nn.dense(params["out"], outputs)[:, 0]


@nt.function
def loss(params, state, xs, targets):
    """Mean squared error of all forecasts one year ahead."""
    _, predicted = forecasts(params, state, xs)
    return nt.squared_error(predicted, targets)


def train(series, updates=UPDATES, hidden=HIDDEN, seed=0):
    """Back-propagation through the whole series, again and again; the model and its losses."""
    rng = np.random.default_rng(seed)
    params = make_model(rng, hidden)
    method = nt.optim.adamw(rate=lambda k: RATE * (1 - 0.9 * k / updates), weight_decay=DECAY)
    memory, losses = method.init(params), []
    gradient = nt.value_and_grad(loss)
    state = np.zeros(hidden)
    bar = nt.progress(range(updates), f"sunspots, network {seed + 1}")
    for _ in bar:
        noisy = series[:-1] + NOISE * rng.standard_normal(len(series) - 1)
        value, grads = gradient(params, state, noisy, series[1:])
        grads, _ = nn.clip_by_global_norm(grads, 1.0)
        params, memory = method.update(params, grads, memory)
        losses.append(float(value))
        bar.show(loss=value)
    return params, losses


def run_free(params, series, years):
    """Read the series, then go on for some years, each forecast being the next input."""
    state, predicted = forecasts(params, np.zeros(params["cell"]["Wh"].shape[0]), series)
    found = [predicted[-1]]
    for _ in range(years - 1):
        state, predicted = forecasts(params, state, np.array(found[-1:]))
        found.append(predicted[0])
    return np.array(found)


# --- what it is compared with ---------------------------------------------------------------------


def lagged(series):
    """Rows of the LAGS years before each year, oldest first, and a 1."""
    rows = np.lib.stride_tricks.sliding_window_view(series, LAGS)[:-1]
    return np.column_stack([rows, np.ones(len(rows))])


def linear_model(series):
    """The autoregression by least squares."""
    return np.linalg.lstsq(lagged(series), series[LAGS:], rcond=None)[0]


def run_free_linear(weights, series, years):
    found = list(series)
    for _ in range(years):
        found.append(np.append(found[-LAGS:], 1.0) @ weights)
    return np.array(found[len(series) :])


# --- errors ---------------------------------------------------------------------------------------


def numbers_of(scaled, middle, width):
    """Sunspots again."""
    return np.maximum(scaled * width + middle, 0.0) ** 2


def errors_by_horizon(forecast, scaled, years, truth, back):
    """The relative squared error k = 1, 2, … years ahead, from every year of the first span."""
    first, last = SPANS["1921-1955"]
    squares = np.zeros(AHEAD)
    starts = range(first, last + 1)
    for year in starts:
        known = np.searchsorted(years, year)
        squares += (back(forecast(scaled[:known], AHEAD)) - truth[known : known + AHEAD]) ** 2
    return squares / len(starts) / np.var(truth)


def study(models, years, roots):
    """Forecasts and errors of the networks' mean, the linear model, and of no model."""
    middle, width = scale(roots, years)
    scaled, truth = (roots - middle) / width, roots**2

    def back(x):
        return numbers_of(x, middle, width)

    start = np.zeros(models[0]["cell"]["Wh"].shape[0])
    one = np.mean([forecasts(m, start, scaled[:-1])[1] for m in models], axis=0)
    weights = linear_model(scaled[years <= LEARNED])
    ahead = {
        "GRU": back(one)[LAGS - 1 :],
        "linear": back(lagged(scaled) @ weights),
        "same again": truth[LAGS - 1 : -1],
    }
    one_year = {
        name: {
            span: np.mean((x - truth[LAGS:])[(years[LAGS:] >= a) & (years[LAGS:] <= b)] ** 2)
            / np.var(truth)
            for span, (a, b) in SPANS.items()
        }
        for name, x in ahead.items()
    }

    def together(series, count):
        return np.mean([run_free(m, series, count) for m in models], axis=0)

    horizons = {
        "GRU": errors_by_horizon(together, scaled, years, truth, back),
        "linear": errors_by_horizon(
            lambda series, count: run_free_linear(weights, series, count),
            scaled, years, truth, back,
        ),
        "same again": errors_by_horizon(
            lambda series, count: np.full(count, series[-1]), scaled, years, truth, back
        ),
    }  # fmt: skip
    return {"ahead": ahead, "one_year": one_year, "horizons": horizons}


def draw(folder, years, roots, found, losses):
    picture, axes = figure(columns=3, width=4.8)
    if picture is None:
        return None
    left, middle, right = axes
    for curve in losses:
        left.semilogy(curve, lw=0.8)
    left.set(xlabel="update", ylabel="mean squared error", title="training, 1700 to 1920")
    shown = years[LAGS:] > LEARNED - 20
    middle.plot(years[LAGS:][shown], roots[LAGS:][shown] ** 2, "k.-", lw=0.5, label="observed")
    middle.plot(years[LAGS:][shown], found["ahead"]["GRU"][shown], label="GRU, a year ahead")
    middle.axvline(LEARNED + 0.5, color="0.6", ls=":")
    middle.set(xlabel="year", ylabel="sunspots", title="forecasts of one year")
    middle.legend()
    for name, errors in found["horizons"].items():
        right.plot(range(1, AHEAD + 1), errors, "o-", label=name)
    right.set(xlabel="years ahead", ylabel="squared error / variance", title="1921 to 1955")
    right.legend()
    return save(picture, folder, "sunspots")


def main(folder=OUTPUT, members=MEMBERS, updates=UPDATES, hidden=HIDDEN):
    """Train some networks, compare their mean forecast, draw; what was found."""
    years, roots = load()
    middle, width = scale(roots, years)
    learned = (roots[years <= LEARNED] - middle) / width
    start = time.perf_counter()
    trained = [train(learned, updates, hidden, seed) for seed in range(members)]
    taken = time.perf_counter() - start
    models, losses = zip(*trained, strict=True)
    print(
        f"{members} networks, {updates} gradients each through {len(learned) - 1} years: ", end=""
    )
    print(f"{taken:.1f} s, {1e3 * taken / members / updates:.2f} ms an update")
    found = study(models, years, roots) | {"losses": losses}
    print(f"\n{'squared error / variance':26s}" + "".join(f"{span:>12s}" for span in SPANS))
    for name, by_span in found["one_year"].items():
        print(f"{name + ', one year':26s}" + "".join(f"{by_span[span]:12.3f}" for span in SPANS))
    for name, errors in found["horizons"].items():
        print(f"{name + ', five years':26s}{errors[4]:12.3f}")
    found["picture"] = draw(folder, years, roots, found, losses)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:2])
