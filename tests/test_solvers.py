"""SciPy's solvers over trees: known answers, derivatives that are supplied, and how often."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import scipy.optimize

import ndtape as nt


@dataclasses.dataclass
class Pair:
    x: Any
    y: Any


def tally():
    """A count of calls, which no traced function takes for something that it reads."""
    return Mock(side_effect=itertools.count())


def rosenbrock(p):
    return (1.0 - p.x) ** 2 + 100.0 * (p.y - p.x**2) ** 2


def chain(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def bowl(p):
    return (p.x - 1.0) ** 2 + (p.y - 1.0) ** 4 + p.y**2 / 9.0


METHODS = [None, "CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-ncg", "trust-krylov",
           "trust-exact", "dogleg", "trust-constr", "Nelder-Mead", "Powell", "COBYLA"]  # fmt: skip
START = Pair(0.8, 0.7)


# --- minimize -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_minimum(method):
    f = rosenbrock if method != "dogleg" else bowl  # it needs a convex function
    found = nt.minimize(f, START, method=method, tol=1e-8)
    assert isinstance(found.x, Pair)
    assert type(found.x.x) is float
    gradient = nt.grad(f)(found.x)
    if method in ("TNC", "COBYLA"):  # slow in the valley
        assert f(found.x) < 0.1 * f(START)
        return
    limit = 2e-2 if method in ("Nelder-Mead", "Powell") else 1e-3
    assert abs(gradient.x) + abs(gradient.y) < limit
    if f is rosenbrock:
        assert abs(found.x.x - 1) < 1e-4 and abs(found.x.y - 1) < 1e-4


@pytest.mark.parametrize("method", ["BFGS", "Newton-CG", "trust-exact", "trust-krylov"])
def test_the_steps_of_scipy_with_derivatives_by_hand(method):
    x0 = np.linspace(-1.0, 1.5, 6)
    supplied = {"jac": scipy.optimize.rosen_der}
    if method == "trust-exact":
        supplied["hess"] = scipy.optimize.rosen_hess
    elif method != "BFGS":
        supplied["hessp"] = scipy.optimize.rosen_hess_prod
    theirs = scipy.optimize.minimize(scipy.optimize.rosen, x0, method=method, **supplied)
    ours = nt.minimize(chain, x0, method=method)
    assert ours.success and theirs.success
    assert abs(ours.nit - theirs.nit) <= 2
    np.testing.assert_allclose(ours.x, theirs.x, atol=1e-5)


def test_value_and_gradient_are_one_call():
    count = tally()

    def f(x):
        count()
        return np.sum((x - 1.0) ** 4)

    found = nt.minimize(f, np.zeros(3))
    assert found.success and found.nfev > 3
    assert count() == 1  # recorded once, then replayed


def test_a_traced_function_keeps_its_tapes():
    count, others = tally(), tally()

    @nt.function
    def f(x):
        count()
        return np.sum((x - 1.0) ** 2)

    for start in (0.0, 2.0, 5.0):
        assert np.allclose(nt.minimize(f, np.full(3, start)).x, 1.0)
    assert count() == len(f.tapes) == 1

    @nt.function
    def g(p):
        others()
        return (p["a"] - 1.0) ** 2 + np.sum((p["b"] - p["a"]) ** 2)

    for start in (0.0, 2.0, 5.0):
        found = nt.minimize(g, {"a": start, "b": np.zeros(2)}, method="Newton-CG", tol=1e-9)
        assert np.allclose(found.x["b"], 1.0, atol=1e-6)
    assert others() == 1  # in the form that takes vectors


def test_branches_are_followed():
    def f(x):
        return (x - 1.0) ** 2 if x > 0 else x**4 - 5.0 * x + 1.0

    assert abs(nt.minimize(f, -3.0).x - 1.0) < 1e-5


def test_arguments_of_all_kinds():
    data = np.array([1.0, 2.0, 6.0])

    def f(p, y, power, options):
        return np.sum(np.abs(p - y) ** power) * options["scale"]

    found = nt.minimize(f, 0.0, (data, 2, {"scale": 0.5}), "Newton-CG", tol=1e-10)
    assert abs(found.x - 3.0) < 1e-8
    assert type(found.x) is float
    single = nt.minimize(lambda p, y: np.sum((p - y) ** 2), 0.0, data)  # one argument, as in SciPy
    assert abs(single.x - 3.0) < 1e-6


def test_bounds_over_trees():
    x0 = {"a": 3.0, "b": np.array([3.0, 3.0])}

    def f(p):
        return (p["a"] + 1.0) ** 2 + np.sum((p["b"] - np.array([5.0, 1.0])) ** 2)

    found = nt.minimize(f, x0, bounds={"a": (0.0, None), "b": (None, np.array([4.0, 9.0]))})
    assert abs(found.x["a"]) < 1e-8
    np.testing.assert_allclose(found.x["b"], [4.0, 1.0], atol=1e-6)
    free = nt.minimize(f, x0, bounds={"a": None, "b": (None, None)})
    assert abs(free.x["a"] + 1.0) < 1e-5


@pytest.mark.parametrize(
    "bounds",
    [
        [(0.0, 1.0), (None, 2.0)],
        scipy.optimize.Bounds([0.0, -np.inf], [1.0, 2.0]),
        (np.array([0.0, -9.0]), np.array([1.0, 2.0])),
    ],
    ids=["pairs", "Bounds", "pair of arrays"],
)
def test_bounds_on_a_vector(bounds):
    found = nt.minimize(lambda x: np.sum((x - 3.0) ** 2), np.array([0.5, 0.5]), bounds=bounds)
    np.testing.assert_allclose(found.x, [1.0, 2.0], atol=1e-6)


def test_bounds_of_a_list_of_numbers_are_pairs():
    found = nt.minimize(lambda x: (x[0] - 3) ** 2 + (x[1] - 3) ** 2, [0.5, 0.5],
                        bounds=[(0, 1), (None, 2)])  # fmt: skip
    assert isinstance(found.x, list)
    np.testing.assert_allclose(found.x, [1.0, 2.0], atol=1e-6)


@pytest.mark.parametrize("bounds", [3.0, {"a": (0.0,)}, {"b": (0.0, 1.0)}, {"a": (0.0, "x")}])
def test_bounds_that_do_not_fit(bounds):
    with pytest.raises(nt.ArgumentError):
        nt.minimize(lambda p: p["a"] ** 2, {"a": 1.0}, bounds=bounds)


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr", "COBYLA"])
def test_constraints_over_trees(method):
    def f(p):
        return p.x**2 + 2.0 * p.y**2

    given = {"type": "ineq", "fun": lambda p: p.x + p.y - 3.0}
    found = nt.minimize(f, Pair(4.0, 4.0), method=method, constraints=given, tol=1e-9)
    assert abs(found.x.x - 2.0) < 2e-3 and abs(found.x.y - 1.0) < 2e-3


def test_nonlinear_constraints_with_their_curvature():
    circle = scipy.optimize.NonlinearConstraint(lambda p: [p.x**2 + p.y**2], 1.0, 1.0)
    found = nt.minimize(lambda p: p.x + 2.0 * p.y, Pair(0.5, 0.5), method="trust-constr",
                        constraints=[circle], tol=1e-10)  # fmt: skip
    root5 = np.sqrt(5.0)
    assert abs(found.x.x + 1 / root5) < 1e-5 and abs(found.x.y + 2 / root5) < 1e-5
    line = scipy.optimize.LinearConstraint([[1.0, 1.0]], 1.0, 1.0)
    found = nt.minimize(lambda p: p.x**2 + p.y**2, Pair(2.0, 0.0), method="trust-constr",
                        constraints=line)  # fmt: skip
    assert abs(found.x.x - 0.5) < 1e-5


def test_callbacks_get_trees():
    seen = []
    nt.minimize(rosenbrock, START, method="BFGS", callback=lambda p: seen.append(p))
    assert len(seen) > 2 and all(isinstance(p, Pair) for p in seen)
    results = []

    def on_result(intermediate_result):
        results.append(intermediate_result.x)
        if len(results) == 2:
            raise StopIteration

    found = nt.minimize(rosenbrock, START, method="BFGS", callback=on_result)
    assert len(results) == 2 and isinstance(results[0], Pair) and not found.success


def test_what_scipy_says_is_passed_on():
    found = nt.minimize(rosenbrock, START, method="BFGS", options={"maxiter": 2})
    assert not found.success and found.nit == 2
    assert found.jac.shape == (2,)
    assert found.hess_inv.shape == (2, 2)


def test_numbers_of_float32():
    found = nt.minimize(lambda x: np.sum((x - 2) ** 2), np.zeros(3, np.float32))
    assert found.x.dtype == np.float32
    np.testing.assert_allclose(found.x, 2.0, atol=1e-3)


def test_functions_that_cannot_be_minimised():
    with pytest.raises(nt.ArgumentError, match="must return a scalar"):
        nt.minimize(lambda x: x, np.ones(2))
    with pytest.raises(nt.ArgumentError, match="takes a function"):
        nt.minimize(3.0, np.ones(2))
    with pytest.raises(nt.ArgumentError, match="is a str"):
        nt.minimize(lambda x: 0.0, {"a": "text"})
    with pytest.raises(TypeError, match="jac"):
        nt.minimize(lambda x: x, 1.0, jac=None)


# --- least squares --------------------------------------------------------------------------------

TIMES = np.linspace(0.0, 4.0, 9)


def decay(p, t, y):
    return p["a"] * np.exp(-p["k"] * t) - y


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares(method):
    y = 3.0 * np.exp(-0.7 * TIMES)
    found = nt.least_squares(decay, {"a": 1.0, "k": 0.1}, (TIMES, y), method=method)
    assert abs(found.x["a"] - 3.0) < 1e-6 and abs(found.x["k"] - 0.7) < 1e-6
    expected = np.stack([np.exp(-0.7 * TIMES), -3.0 * TIMES * np.exp(-0.7 * TIMES)], axis=1)
    np.testing.assert_allclose(found.jac, expected, atol=1e-5)


def test_least_squares_with_bounds_and_a_loss():
    y = 3.0 * np.exp(-0.7 * TIMES)
    y[4] += 10.0
    found = nt.least_squares(
        decay, {"a": 1.0, "k": 0.1}, (TIMES, y), bounds=({"a": 0.0, "k": 0.0}, np.inf),
        loss="soft_l1", f_scale=0.01,
    )  # fmt: skip
    assert abs(found.x["a"] - 3.0) < 0.05
    tight = nt.least_squares(decay, {"a": 1.0, "k": 0.1}, (TIMES, y), bounds=(0.0, 2.0))
    assert abs(tight.x["a"] - 2.0) < 1e-6


def test_residuals_may_be_a_tree():
    found = nt.least_squares(
        lambda x: {"one": x[0] - 1.0, "rest": [x - 2.0, (x[1] - 3.0) ** 2]}, np.zeros(2)
    )
    assert found.fun.shape == (4,) and found.jac.shape == (4, 2)
    assert abs(found.x[0] - 1.5) < 1e-6


# --- root -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["hybr", "lm", "broyden1", "krylov", "df-sane"])
def test_root(method):
    def f(u):
        return [u["x"] + 0.5 * np.sin(u["y"]) - 1.0, u["y"] - 0.25 * u["x"] ** 2]

    found = nt.root(f, {"x": 0.5, "y": 0.5}, method=method, tol=1e-10)
    assert found.success
    assert max(map(abs, f(found.x))) < 1e-6


def test_the_jacobian_is_supplied():
    theirs = scipy.optimize.root(lambda x: x**3 - [1.0, 8.0], [3.0, 3.0])
    ours = nt.root(lambda x: x**3 - np.array([1.0, 8.0]), np.array([3.0, 3.0]))
    np.testing.assert_allclose(ours.x, [1.0, 2.0])
    assert ours.nfev < theirs.nfev  # which needs differences
    assert ours.njev >= 1


def test_a_traced_function_is_recorded_once():
    count = tally()

    @nt.function
    def f(x, a):
        count()
        return x * x - a

    for a in (2.0, 3.0, 5.0):
        assert abs(nt.root(f, 1.0, (a,)).x - np.sqrt(a)) < 1e-9
    assert count() <= 2  # for values, and for Jacobians


def test_equations_that_have_no_solution():
    found = nt.root(lambda x: x * x + 1.0, 1.0)
    assert not found.success  # as SciPy says it


def test_as_many_equations_as_unknowns():
    with pytest.raises(nt.ShapeError, match="returns 3 numbers for 2 unknowns"):
        nt.root(lambda x: np.concatenate([x, x[:1]]), np.ones(2))


# --- solve_ivp ------------------------------------------------------------------------------------


def robertson(t, y, k):
    a, b, c = y["a"], y["b"], y["c"]
    return {"a": -k[0] * a + k[2] * b * c,
            "b": k[0] * a - k[2] * b * c - k[1] * b**2,
            "c": k[1] * b**2}  # fmt: skip


@pytest.mark.parametrize("method", ["Radau", "BDF", "LSODA"])
def test_a_stiff_problem(method):
    found = nt.solve_ivp(
        robertson, (0.0, 40.0), {"a": 1.0, "b": 0.0, "c": 0.0}, method,
        args=((0.04, 3e7, 1e4),), rtol=1e-8, atol=1e-12,
    )  # fmt: skip
    # Hairer and Wanner, Solving ODEs II: y(40)
    assert found.success
    np.testing.assert_allclose(
        [found.y[k][-1] for k in "abc"], [0.7158270688, 0.9185534765e-5, 0.2841637457], rtol=1e-6
    )


def test_the_jacobian_costs_no_evaluations_of_differences():
    count = tally()

    def rhs(t, y):
        count()
        return -50.0 * (y - np.cos(t))

    ours = nt.solve_ivp(rhs, (0.0, 2.0), np.ones(5), "BDF")
    assert count() <= 2  # recorded for values and for Jacobians
    theirs = scipy.integrate.solve_ivp(rhs, (0.0, 2.0), np.ones(5), "BDF")
    assert count() > ours.nfev == theirs.nfev  # SciPy does not count the differences
    np.testing.assert_allclose(ours.y[:, -1], theirs.y[:, -1], rtol=1e-3)


def test_trees_events_and_dense_output():
    def fall(t, y):
        return {"height": y["speed"], "speed": np.array([-9.81, 0.0])}

    def ground(t, y):
        return y["height"][0]

    ground.terminal = True
    ground.direction = -1
    start = {"height": np.array([10.0, 1.0]), "speed": np.zeros(2)}
    found = nt.solve_ivp(fall, (0.0, 5.0), start, events=ground, dense_output=True, rtol=1e-9)
    landing = np.sqrt(2 * 10.0 / 9.81)
    assert abs(found.t_events[0][0] - landing) < 1e-6
    assert found.y["height"].shape == (2, len(found.t))
    assert found.y_events[0]["speed"].shape == (1, 2)
    assert abs(found.y_events[0]["speed"][0, 0] + 9.81 * landing) < 1e-5
    assert found.sol(0.5)["height"].shape == (2,)
    assert found.sol(np.array([0.1, 0.5]))["height"].shape == (2, 2)


def test_times_and_branches():
    def rhs(t, y):
        return -y if t < 1.0 else 0.0 * y

    found = nt.solve_ivp(rhs, (0.0, 2.0), 1.0, t_eval=[0.5, 1.0, 2.0], max_step=0.01)
    np.testing.assert_allclose(found.y, np.exp([-0.5, -1.0, -1.0]), rtol=2e-2)


def test_no_gradient_is_lost_in_an_integration():
    def end(k):
        return nt.solve_ivp(lambda t, y, k: -k * y, (0.0, 1.0), 1.0, args=(k,)).y[-1]

    def captured(k):
        return nt.solve_ivp(lambda t, y: -k * y, (0.0, 1.0), 1.0).y[-1]

    assert abs(end(1.0) - np.exp(-1.0)) < 1e-3
    for f in (end, captured):
        with pytest.raises(nt.GradientLostError, match="chooses its steps"):
            nt.grad(f)(1.0)


# --- SciPy is needed when it is used --------------------------------------------------------------


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(nt.UnsupportedError, match="pip install scipy"):
        nt.minimize(lambda x: x * x, 1.0)
