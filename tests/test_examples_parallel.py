"""The example of many processes, in one: its estimates are held to the truth behind the data."""

from __future__ import annotations

import many_returns
import numpy as np
import pytest

import ndtape as nt


def test_the_law_of_the_returns_is_found(capsys):
    found = many_returns.main("none", shards=8, days=400)
    truth = np.array(list(many_returns.TRUTH.values()))
    assert np.all(np.abs(found["estimates"] - truth) < 4 * found["errors"])
    assert np.all(found["errors"] < 0.2 * truth) and found["same"]
    assert "the same bits" in capsys.readouterr().out


def test_the_likelihood_is_the_textbook_one():
    """Against a loop over days and SciPy's density."""
    stats = pytest.importorskip("scipy.stats")
    returns, u = many_returns.made_returns(3, days=30, series=2), many_returns.START
    omega, alpha, beta, nu = map(float, many_returns.law(u))
    total = 0.0
    for series in returns.T:
        variance = omega / (1 - alpha - beta)
        for r in series:
            total -= stats.t.logpdf(r, nu, scale=np.sqrt(variance * (nu - 2) / nu))
            variance = omega + alpha * r * r + beta * variance
    assert many_returns.minus_log_likelihood(u, returns) == pytest.approx(total, rel=1e-12)
    nt.check_grads(
        lambda u: many_returns.minus_log_likelihood(u, returns), (u,), order=2, rtol=1e-3
    )
