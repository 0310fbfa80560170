"""The examples of traced functions and solvers, held to published and independent numbers."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest

import ndtape as nt

# --- Rosenbrock -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def valley():
    return importlib.import_module("rosenbrock")


@pytest.mark.parametrize("start", [np.array([-1.2, 1.0]), np.zeros(30)], ids=["n=2", "n=30"])
def test_every_method_finds_the_minimum(valley, start):
    for method in valley.METHODS:
        found = valley.solve(method, start)
        assert found.success, method
        assert valley.distance(found.x) < 1e-8, method
        assert found.fun < 1e-16


def test_differences_cost_more_and_find_less(valley):
    exact, differences = valley.solve("BFGS", np.zeros(2)), valley.solve_by_differences(np.zeros(2))
    assert differences.nfev > 2 * exact.nfev
    assert valley.distance(differences.x) > 1e-7


def test_one_recording_for_all_evaluations(valley):
    valley.rosenbrock.clear()
    valley.solve("Newton-CG", np.array([-1.2, 1.0]))
    assert valley.rosenbrock.counters.recordings == 1


def test_second_derivatives_of_the_valley(valley):
    assert max(valley.second_derivatives(30)) < 1e-11


def test_rosenbrock_prints_its_tables(valley, capsys):
    found = valley.main(n=8)
    assert found["tree"].x == pytest.approx({"east": 1.0, "north": 1.0}, abs=1e-6)
    assert capsys.readouterr().out.count("trust-exact") == 2


# --- logistic regression --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logistic():
    pytest.importorskip("sklearn")
    return importlib.import_module("logistic_errors")


def reweighted_least_squares(x, y):
    """The textbook's fit, without a derivative: estimates and their covariance."""
    b = np.zeros(x.shape[1])
    for _ in range(25):
        p = 1 / (1 + np.exp(-x @ b))
        w = p * (1 - p)
        b = np.linalg.solve(x.T * w @ x, x.T @ (w * (x @ b) + y - p))
    return b, np.linalg.inv(x.T * w @ x)


def test_estimates_and_standard_errors(logistic):
    x, y = logistic.load()
    found = logistic.fit(x, y)
    b, covariance = reweighted_least_squares(x, y)
    np.testing.assert_allclose(found["b"], b, rtol=1e-10)
    np.testing.assert_allclose(found["error"], np.sqrt(np.diag(covariance)), rtol=1e-10)
    assert found["b"].round(4).tolist() == [-0.8172, 4.5014, 1.6167, 1.5989, 1.6374]
    assert found["error"].round(4).tolist() == [0.2141, 0.5643, 0.2654, 0.2978, 0.3195]
    assert found["z"].round(3).tolist() == [-3.816, 7.977, 6.091, 5.369, 5.124]
    assert round(found["log_likelihood"], 3) == -80.929
    assert found["p"].max() < 2e-4


def test_estimates_of_scikit_learn(logistic):
    from sklearn.linear_model import LogisticRegression

    x, y = logistic.load()
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(logistic.newton(x, y)[0], model.coef_[0], rtol=1e-4)


def test_derivatives_of_the_likelihood(logistic):
    x, y = logistic.load()
    assert max(logistic.checks(np.array([0.1, -0.5, 0.2, 0.3, 0.7]), x, y).values()) < 1e-13


def test_separable_classes_are_reported(logistic):
    x = np.column_stack([np.ones(4), [-2.0, -1.0, 1.0, 2.0]])
    with pytest.raises((ArithmeticError, np.linalg.LinAlgError)):
        logistic.newton(x, np.array([0.0, 0.0, 1.0, 1.0]))


def test_logistic_table(logistic, capsys):
    logistic.main()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 101
    (row,) = [line for line in lines if line.startswith("mean radius")]
    assert row.split()[2:9] == ["4.5014", "0.5643", "0.5260", "7.977", "0.000", "3.395", "5.607"]


# --- stiff kinetics -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kinetics():
    return importlib.import_module("stiff_kinetics")


def test_the_system_is_stiff_and_well_integrated(kinetics):
    error, (slow, fast) = kinetics.accuracy(kinetics.PUBLISHED)
    assert error < 2e-3
    assert fast / slow > 1e7


def test_published_likelihood(kinetics):
    value = kinetics.negative_log_likelihood(kinetics.logarithms(kinetics.PUBLISHED))
    assert value == pytest.approx(138.221997, abs=5e-4)  # the integration error of 120 steps


def test_mass_is_conserved(kinetics):
    states = np.asarray(kinetics.concentrations(kinetics.PUBLISHED))
    cytoplasm = states[:, 0] + states[:, 2] + 2 * states[:, 3]
    nucleus = states[:, 5] + 2 * states[:, 6]
    total = kinetics.CYTOPLASM * cytoplasm + kinetics.NUCLEUS * nucleus
    np.testing.assert_allclose(total, total[0], rtol=1e-9)


def test_gradient_of_the_likelihood(kinetics):
    logs = kinetics.logarithms(kinetics.PUBLISHED) | {"Epo decay": -1.7, "export AA": -2.0}
    slope = nt.grad(kinetics.negative_log_likelihood)(logs)
    for name in kinetics.FREE:
        ends = [kinetics.negative_log_likelihood(logs | {name: logs[name] + h})
                for h in (-1e-4, 1e-4)]  # fmt: skip
        assert slope[name] == pytest.approx((ends[1] - ends[0]) / 2e-4, rel=1e-5, abs=1e-5)


def test_the_fit_is_the_published_one(kinetics, capsys, tmp_path):
    found = kinetics.main()
    assert found["fit"].fun == pytest.approx(138.22197, abs=5e-4)
    for name in kinetics.FREE:
        assert found["values"][name] == pytest.approx(kinetics.PUBLISHED[name], rel=1e-3), name
    # The errors of measurement: σ̂ has the standard error σ/√(2n), almost independent of the rates.
    spread = 1 / math.sqrt(2 * len(kinetics.MINUTES)) / math.log(10)
    np.testing.assert_allclose(found["deviation"][-3:], spread, rtol=0.2)
    # The likelihood would rise beyond both bounds.
    assert found["slope"]["export AB"] > 0 > found["slope"]["import AA"]
    assert max(abs(found["slope"][name]) for name in kinetics.FREE) < 1e-5
    assert "1/(min·concentration²)" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    file = kinetics.draw(found["values"], tmp_path)
    assert file.read_bytes().startswith(b"\x89PNG")


# --- options --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def options():
    return importlib.import_module("option_greeks")


def market(spot, strike, rate, vol, time, dividends=0.0):
    return {"spot": spot, "strike": strike, "rate": rate, "yield": dividends, "vol": vol,
            "time": time}  # fmt: skip


def test_prices_of_the_textbook(options):
    # Hull, Options, Futures, and Other Derivatives: S = 42, K = 40, 10 %, 20 %, half a year.
    m = market(42.0, 40.0, 0.10, 0.20, 0.5)
    assert round(options.call(m), 2) == 4.76
    assert round(options.put(m), 2) == 0.81


def test_greeks_of_the_textbook(options):
    # Hull's examples of the greeks: S = 49, K = 50, 5 %, 20 %, 20 weeks.
    found = options.greeks(options.call, market(49.0, 50.0, 0.05, 0.20, 20 / 52))
    shown = {"delta": (0.522, 3), "theta": (-4.31, 2), "vega": (12.1, 1), "rho": (8.91, 2)}
    assert {name: round(found[name], digits) for name, (_, digits) in shown.items()} == {
        name: value for name, (value, _) in shown.items()
    }
    assert found["gamma"] == pytest.approx(0.066, abs=6e-4)


@pytest.mark.parametrize(
    "m",
    [
        market(100.0, 105.0, 0.03, 0.25, 0.75, 0.01),
        market(80.0, 105.0, -0.01, 0.4, 0.1, 0.03),
        market(1.3, 1.2, 0.02, 0.1, 5.0, 0.04),
    ],
)
def test_greeks_against_closed_forms(options, m):
    found, expected = options.greeks(options.call, m), options.greeks_of_textbook(m)
    assert len(found) == 11
    for name in found:
        assert found[name] == pytest.approx(expected[name], rel=1e-10, abs=1e-10), name


@pytest.mark.parametrize(
    ("spot", "vol", "time", "published"),
    [(36, 0.2, 1, 4.478), (38, 0.2, 2, 3.745), (40, 0.4, 1, 5.312), (44, 0.4, 2, 5.647)],
)
def test_american_puts_of_longstaff_and_schwartz(options, spot, vol, time, published):
    m = market(float(spot), 40.0, 0.06, vol, float(time))
    assert options.american_put(m) == pytest.approx(published, abs=0.015)


def test_greeks_of_the_american_put(options):
    slope = nt.grad(options.american_put)(options.SHARE)
    for name, value in slope.items():
        assert value == pytest.approx(
            options.bumped(options.american_put, options.SHARE, name, 1e-6), rel=1e-6
        )
    assert slope["spot"] == pytest.approx(-0.695, abs=0.01)
    assert options.gamma_of_tree(options.SHARE) == pytest.approx(0.087, abs=2e-3)
    assert nt.hessian(options.american_put)(options.SHARE)["spot"]["spot"] == 0


def test_the_tree_has_one_tape(options):
    options.american_put.clear()
    for spot in (30.0, 36.0, 40.0, 55.0):
        options.american_put(options.SHARE | {"spot": spot})
    assert len(options.american_put.tapes) == 1


def test_the_asian_call(options, capsys):
    found = options.asian()
    controlled, plain = found["price"], found["plain"]
    assert controlled == pytest.approx(plain, abs=0.06)
    for name in ("delta", "vega", "rho"):
        value, error, value_plain, error_plain, again = found[name]
        assert error < error_plain
        assert abs(value - value_plain) < 4 * error_plain
        assert value == pytest.approx(again, rel=1e-6)
    for name, tolerance in (("spot", 2e-3), ("vol", 1.0), ("rate", 0.2)):
        sampled, exact = found["geometric"][name]
        assert sampled == pytest.approx(exact, abs=tolerance)
    assert "Asian call" in capsys.readouterr().out


def test_the_geometric_asian_call_with_one_date_is_european(options, monkeypatch):
    monkeypatch.setattr(options, "MONTHS", 1)
    assert options.geometric_asian(options.ASIAN) == pytest.approx(
        options.call(options.ASIAN), rel=1e-13
    )


# --- branches -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def branches():
    return importlib.import_module("branches")


@pytest.fixture(scope="module")
def shown(branches):
    return branches.main()


@pytest.mark.parametrize("name", ["drag", "ball", "root"])
def test_values_are_those_of_plain_python(shown, name):
    _, rows = shown[name]
    for _, value, derivative, (expected, expected_derivative) in rows:
        assert value == pytest.approx(expected, rel=1e-14)
        assert derivative == expected_derivative


def test_the_tapes_of_each_program(shown):
    drag, ball, root = (shown[name][0] for name in ("drag", "ball", "root"))
    assert len(drag.tapes) == 3  # a regime each
    assert len(ball.tapes) == 4  # after 0, 1, 2 and 6 bounces
    assert 3 <= len(root.tapes) <= 5
    for traced in (drag, ball, root):
        assert traced.counters.recordings == len(traced.tapes)
        assert traced.counters.flips >= 1


def test_explanations_name_the_lines(shown):
    text = str(shown["drag"][0].explain())
    assert "if reynolds < 0.1:" in text
    assert "branches.py:" in text
    assert "while abs(y * y - x) > 1e-12 * x:" in str(shown["root"][0].explain())


def test_the_derivative_of_the_square_root(shown):
    for (x,), value, derivative, _ in shown["root"][1]:
        assert value == pytest.approx(math.sqrt(x), rel=1e-12)
        assert derivative == pytest.approx(0.5 / math.sqrt(x), rel=1e-6)


def test_the_ball_against_its_closed_form(branches):
    # After its first bounce from 1 m with 0.8: speed 0.8·√(2g), height v·s − g s²/2.
    fall, speed = math.sqrt(2 / branches.G), 0.8 * math.sqrt(2 * branches.G)
    s = 0.6 - fall
    value, slope = nt.value_and_grad(nt.function(branches.ball), (1, 2))(1.0, 0.8, 0.6)
    assert value == pytest.approx(speed * s - branches.G * s * s / 2, rel=1e-13)
    assert slope[0] == pytest.approx(s * speed / 0.8, rel=1e-13)
    assert slope[1] == pytest.approx(speed - branches.G * s, rel=1e-12)


def test_lanes_that_branch_differently(shown):
    assert shown["lanes"] < 1e-12


def test_too_many_ways(shown):
    _, by_where, message = shown["penalty"]
    assert "if abs(r) < 1.0:" in message or "branches.py" in message
    assert "nt.where" in message
    assert len(by_where.tapes) == 1
    assert by_where.counters.replays >= 19
