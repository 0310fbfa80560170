"""The examples of compiled functions, held to independent numbers."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import ndtape as nt

sys.path.append(str(Path(__file__).parent.parent / "perf"))  # last: examples has files as named

import workloads.ar5
import workloads.garch

# --- time series ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def series():
    return importlib.import_module("garch")


@pytest.fixture
def public_data(monkeypatch):
    monkeypatch.setenv("NDTAPE_DATA", str(workloads.DATA))
    try:
        workloads.data_file("posteriordb/garch.json")
    except workloads.DataMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def made_here(monkeypatch):
    monkeypatch.delenv("NDTAPE_DATA", raising=False)


def test_densities_in_the_variables_of_the_sampler(series, public_data):
    """The golden likelihoods, plus the logarithm of the Jacobian."""
    garch, ar5 = series.models(np.random.default_rng(0))
    u = np.array([5.0, math.log(1.5), 0.0, math.log(0.6 / 0.4)])
    np.testing.assert_allclose(series.garch_parameters(u), workloads.garch.POINT, rtol=1e-14)
    jacobian = math.log(1.5 * 0.25 * 0.5 * 0.24)
    golden = workloads.GOLDEN["garch"]["f"] + jacobian
    assert garch.log_posterior(u, *garch.data) == pytest.approx(golden, rel=1e-13)

    u = np.array([*workloads.ar5.POINT[:-1], math.log(workloads.ar5.POINT[-1])])
    constants = 201 * 0.5 * math.log(2 * math.pi) + 6 * math.log(10) + math.log(2.5 * math.pi)
    golden = workloads.GOLDEN["ar5"]["f"] + u[-1] + constants
    assert ar5.log_posterior(u, *ar5.data) == pytest.approx(golden, rel=1e-12)


def density(name, u, y, first=None):
    """The log posteriors once more, for many u in columns at once."""
    if name == "GARCH(1,1)":
        alpha1, share = 1 / (1 + np.exp(-u[2])), 1 / (1 + np.exp(-u[3]))
        beta1 = share * (1 - alpha1)
        total = u[1] + np.log(alpha1 * beta1 * (1 - alpha1) * (1 - share))
        variance = first**2
        for t in range(len(y)):
            if t > 0:
                variance = np.exp(u[1]) + alpha1 * (y[t - 1] - u[0]) ** 2 + beta1 * variance
            total = total - 0.5 * (y[t] - u[0]) ** 2 / variance - 0.5 * np.log(variance)
        return total
    lags = np.stack([np.ones(len(y) - 5), *[y[5 - k : len(y) - k] for k in range(1, 6)]])
    residuals = y[5:, None] - lags.T @ u[:6]
    sigma = np.exp(u[6])
    total = u[6] - np.log(1 + (sigma / 2.5) ** 2) - 0.005 * (u[:6] ** 2).sum(0)
    return total - 0.5 * (residuals**2).sum(0) / sigma**2 - (len(y) - 5) * u[6]


def by_weights(model, found, draws=40_000, freedom=6):
    """Mean and deviation of the parameters, by importance sampling from a wide t distribution."""
    rng = np.random.default_rng(5)
    n = len(found["mode"])
    normals = rng.standard_normal((n, draws)) / np.sqrt(rng.chisquare(freedom, draws) / freedom)
    u = found["mode"][:, None] + np.linalg.cholesky(found["covariance"]) @ normals
    logs = density(model.title, u, *model.data)
    logs += 0.5 * (freedom + n) * np.log1p((normals**2).sum(0) / freedom)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    parameters = model.parameters(u)
    mean = parameters @ weights
    return mean, np.sqrt((parameters - mean[:, None]) ** 2 @ weights)


def check_posteriors(found):
    for study in found:
        mean, deviation = by_weights(study["model"], study)
        draws = study["draws"]
        assert study["accepted"] > 0.9
        # About every third draw is independent of the one before.
        np.testing.assert_allclose(draws.mean(1), mean, atol=0.25 * deviation.max(), rtol=0)
        assert (np.abs(draws.mean(1) - mean) < 0.25 * deviation).all()
        np.testing.assert_allclose(draws.std(1), deviation, rtol=0.25)


def test_posteriors_of_public_data(series, public_data, capsys):
    check_posteriors(series.main())
    assert "truth" not in capsys.readouterr().out


def test_posteriors_of_simulated_data(series, made_here, capsys):
    found = series.main(draws=400)
    check_posteriors(found)
    for study in found:
        low, high = np.quantile(study["draws"], [0.001, 0.999], axis=1)
        assert (low < study["model"].truth).all()
        assert (study["model"].truth < high).all()
    assert capsys.readouterr().out.count("truth") == 2


def test_orbits_are_reversible(series, made_here):
    model = next(series.models(np.random.default_rng(1)))
    call = nt.value_and_grad(model.log_posterior)

    def value_and_gradient(u):
        return call(u, *model.data)

    u, p = model.start, np.array([0.3, -0.2, 0.5, 0.1])
    _, slope = value_and_gradient(u)
    u1, p1, _, slope1 = series.leapfrog(value_and_gradient, u, p, slope, 1000, 0.001)
    assert np.abs(u1 - u).max() > 0.1
    u2, p2, _, _ = series.leapfrog(value_and_gradient, u1, -p1, slope1, 1000, 0.001)
    np.testing.assert_allclose(u2, u, atol=1e-9)
    np.testing.assert_allclose(p2, -p, atol=1e-8)


# --- advection ------------------------------------------------------------------------------------


def test_the_start_of_a_field_is_found(capsys):
    for found in importlib.import_module("advection").main():
        assert max(found["scaling"], found["constant"]) < 1e-12
        assert found["moved"] > 0.5
        assert found["error"] < 0.1 * found["moved"]
        assert set(found["times"]) == {"plain_Python", "compiled", "value_and_gradient"}
    assert "gradient against two identities" in capsys.readouterr().out


# --- double pendulum ------------------------------------------------------------------------------


def test_the_pendulum_is_symplectic(capsys):
    found = importlib.import_module("double_pendulum").main()
    assert found["field"] < 1e-4
    for row in found["rows"]:
        assert row["symplectic"] < 1e-13
        assert row["differences"] > 1e3 * row["symplectic"]
        assert row["drift"] < 0.1
    assert found["rows"][-1]["growth"] > 1e3
    assert found["rows"][-1]["exponent"] > 0.3
    assert len(capsys.readouterr().out.splitlines()) < 30


# --- Kalman filter --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kalman():
    return importlib.import_module("kalman")


def test_the_filter_is_one_large_normal_distribution(kalman):
    _, seen = kalman.simulate(kalman.TRUTH, np.random.default_rng(4), length=12)
    for logs in ([0.0, 0.0], [-1.5, 0.8], [0.7, -0.6]):
        value, gradient = nt.value_and_grad(kalman.compiled)(np.array(logs), seen)
        expected, slope = kalman.closed_form(logs, seen)
        assert value == pytest.approx(expected, rel=1e-11)
        np.testing.assert_allclose(gradient, slope, rtol=1e-10)
        assert kalman.log_likelihood(logs, seen) == pytest.approx(value, rel=1e-13)
    nt.check_grads(lambda logs: kalman.compiled(logs, seen), (np.array(logs),))


def test_the_noises_are_found(kalman, capsys):
    found = kalman.main()
    assert max(found["errors"]) < 1e-8
    assert np.abs(found["fit"].jac).max() < 1e-4
    error = np.sqrt(np.diag(found["covariance"]))
    assert (np.abs(found["fit"].x - kalman.TRUTH) < 3 * error).all()
    assert "95 % interval" in capsys.readouterr().out
