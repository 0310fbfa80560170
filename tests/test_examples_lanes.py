"""The examples of lanes and of sparsity, held to published numbers and to other ways."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
from scipy.special import ndtr

import ndtape as nt

# --- Monte Carlo ----------------------------------------------------------------------------------

PATHS = 20_000


@pytest.fixture(scope="module")
def monte_carlo():
    return importlib.import_module("monte_carlo")


@pytest.fixture(scope="module")
def priced(monte_carlo):
    """What its `main` finds."""
    return monte_carlo.main(PATHS)


def within_errors(found, known, errors=4.5):
    """Each mean is within so many standard errors of the number that is known of it."""
    for name, (mean, error) in found.items():
        if name in known:
            assert abs(mean - known[name]) < errors * error, name


def test_asian_greeks_are_those_of_bumped_prices(priced):
    asian = priced["asian"]
    value, gradient = asian["total"]
    assert value == pytest.approx(asian["pathwise"]["price"][0], rel=1e-12)
    for name, difference in asian["bumped"].items():
        mean, error = asian["pathwise"][name]
        assert abs(mean - difference) < 0.2 * error  # of the same normals
        assert gradient[name] == pytest.approx(mean, rel=1e-10)
    within_errors(asian["sampled"], asian["closed"])
    expected = {name: mean for name, (mean, _) in asian["pathwise"].items()}
    within_errors(asian["smooth"], expected)


def test_second_order_of_the_asian_call(monte_carlo, priced):
    """Against differences of the smooth price, and against a Black-Scholes call that is near."""
    z, m, h = monte_carlo.draws(PATHS, 12), monte_carlo.ASIAN, 0.1
    low, middle, high = (
        monte_carlo.price(monte_carlo.asian_smooth, m | {"spot": m["spot"] + s}, z)
        for s in (-h, 0.0, h)
    )
    gamma, error = priced["asian"]["smooth"]["gamma"]
    assert gamma == pytest.approx((high - 2 * middle + low) / h**2, rel=1e-4)
    assert abs(gamma - priced["asian"]["closed"]["gamma"]) < 0.05 * gamma
    assert error < 0.02 * gamma


def test_a_barrier_that_is_always_watched(priced):
    always = priced["always"]
    within_errors(always["pathwise"], always["closed"])
    assert always["pathwise"]["barrier"][0] < 0 and always["ways"] > 8


def test_the_closed_form_of_the_barrier(monte_carlo):
    """Merton's formula typed here a second time, as Haug (2007) has it."""
    s, k, b, r, q, vol, t = monte_carlo.ALWAYS.values()
    root = vol * math.sqrt(t)
    mu = (r - q - vol**2 / 2) / vol**2
    x = math.log(s / k) / root + (1 + mu) * root
    y = math.log(b * b / (s * k)) / root + (1 + mu) * root
    share, bond = s * math.exp(-q * t), k * math.exp(-r * t)
    plain = share * ndtr(x) - bond * ndtr(x - root)
    image = share * (b / s) ** (2 * mu + 2) * ndtr(y) - bond * (b / s) ** (2 * mu) * ndtr(y - root)
    found = monte_carlo.down_and_out_closed(monte_carlo.ALWAYS)
    assert found == pytest.approx(plain - image, rel=1e-12)


def exact_at_dates(m, dates):
    """The price by integration over the heights of one date after the other, backwards."""
    s, k, b, r, q, vol, t = m.values()
    dt = t / dates
    spread, top = vol * math.sqrt(dt), math.log(s / b) + 8 * vol * math.sqrt(t)
    x, w = np.polynomial.legendre.leggauss(300)
    x, w = (x + 1) / 2 * top, w / 2 * top

    def density(start):
        away = (x - start[:, None] - (r - q - vol**2 / 2) * dt) / spread
        return np.exp(-(away**2) / 2) / (spread * math.sqrt(2 * math.pi)) * w

    forward = b * np.exp(x + (r - q) * dt)
    plus = np.log(forward / k) / spread + spread / 2
    value = forward * ndtr(plus) - k * ndtr(plus - spread)
    for _ in range(dates - 2):
        value = density(x) @ value
    return math.exp(-r * t) * (density(np.array([math.log(s / b)])) @ value)[0]


def test_a_barrier_watched_on_dates(monte_carlo, priced):
    m, found = monte_carlo.AT_DATES, priced["dates"]
    low, exact, high = (
        exact_at_dates(m | {"spot": m["spot"] + s}, monte_carlo.DATES) for s in (-0.5, 0.0, 0.5)
    )
    assert exact == pytest.approx(monte_carlo.PUBLISHED, abs=5e-4)
    assert found["always"] == pytest.approx(5.977, abs=5e-4)
    known = {"price": exact, "spot": high - low, "gamma": 4 * (high - 2 * exact + low)}
    within_errors(found["smooth"], known)
    # A derivative under the mean of what jumps: not even close.
    assert abs(found["naive"]["barrier"][0]) < 1e-12
    mean, error = found["naive"]["spot"]
    assert abs(mean - known["spot"]) > 10 * error


def test_smooth_payoffs_are_right_path_by_path(monte_carlo):
    m = monte_carlo.AT_DATES
    u = np.random.default_rng(5).uniform(size=monte_carlo.DATES)
    nt.check_grads(lambda m: monte_carlo.surviving(m, u), (m,), order=2, modes=("rev",), rtol=1e-3)
    share = np.array([1e-9, 1e-3, 0.3, 0.5, 0.9, 1 - 1e-6])
    assert np.allclose(ndtr(monte_carlo.quantile(share)), share, rtol=1e-5, atol=1e-9)


# --- a boundary-value problem ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def boundary():
    return importlib.import_module("boundary_value")


def test_bratu(boundary, tmp_path):
    found = boundary.main(tmp_path, n=2000, plate_points=25)
    for u, error in found["profiles"].values():
        assert len(u) == 2000 and error < 2e-6
    for _, heating, known in found["curve"]:
        assert heating == pytest.approx(known, rel=1e-5)
    fold = max(heating for _, heating, _ in found["curve"])
    assert fold == pytest.approx(boundary.FOLD, rel=1e-6)
    assert found["plate"][0] == pytest.approx(boundary.FOLD_OF_PLATE, rel=1e-3)
    pytest.importorskip("matplotlib")
    assert found["picture"].read_bytes().startswith(b"\x89PNG")


def test_the_closed_form_of_bratu(boundary):
    """It solves the equation, and the fold is where its λ is greatest."""
    for upper in (False, True):
        u, h = boundary.exact(4999, 2.0, upper), 1 / 5000
        bent = (u[2:] - 2 * u[1:-1] + u[:-2]) / h**2
        np.testing.assert_allclose(bent, -2.0 * np.exp(u[1:-1]), rtol=1e-4)
    tops = np.linspace(1.1, 1.3, 2001)
    assert np.max(boundary.exact_heating(tops)) == pytest.approx(boundary.FOLD, rel=1e-8)


def test_newton_says_where_there_is_no_solution(boundary):
    jacobian = nt.jacobian(boundary.slab, sparse="csc")
    with pytest.raises(ArithmeticError, match="did not converge"):
        boundary.newton(boundary.slab, jacobian, np.zeros(50), 4.0)


def test_patterns_of_the_boundary_value_problem(boundary):
    slab = nt.sparsity(boundary.slab)(np.zeros(60), 1.0)
    assert slab.nnz == 3 * 60 - 2 and slab.evaluation_sweeps == 3
    bordered = nt.sparsity(boundary.with_heating(boundary.slab, 30))(np.zeros(62), 1.0)
    assert bordered.nnz == 3 * 61 - 2 + 61 + 1 and bordered.evaluation_sweeps <= 5
    plate = nt.sparsity(boundary.plate)(np.zeros(81), 1.0)
    assert plate.nnz == 5 * 81 - 4 * 9 and plate.evaluation_sweeps <= 8


# --- a pole on a cart -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cart_pole():
    return importlib.import_module("cart_pole")


def test_the_pole_is_swung_up(cart_pole, tmp_path):
    found = cart_pole.main(tmp_path, grids=(16, 31, 61))
    result = found["result"]
    assert result.status == 1 and result.constr_violation < 1e-9
    assert found["limit"] == pytest.approx(cart_pole.PUBLISHED, abs=0.1)
    assert np.all(np.diff(found["costs"]) < 0)  # from above
    assert cart_pole.stays_in_bounds(result.x)
    pytest.importorskip("matplotlib")
    assert found["picture"].read_bytes().startswith(b"\x89PNG")


def test_the_dynamics_keep_energy(cart_pole):
    """Without force: kinetic and potential energy, typed here from the positions of both masses."""
    m, p, length, g = cart_pole.CART, cart_pole.POLE, cart_pole.LENGTH, cart_pole.GRAVITY

    def energy(state):
        _, angle, speed, spin = state
        sideways = speed + length * spin * np.cos(angle)
        upwards = length * spin * np.sin(angle)
        kinetic = m * speed**2 / 2 + p * (sideways**2 + upwards**2) / 2
        return kinetic - p * g * length * np.cos(angle)

    state = np.array([0.3, 2.0, -0.7, 1.3])
    motion = np.array([state[2], state[3], *cart_pole.accelerations(state[1], state[3], 0.0)])
    assert abs(nt.grad(energy)(state) @ motion) < 1e-12


def test_sparse_derivatives_of_the_collocation(cart_pole):
    rng = np.random.default_rng(0)
    x, multipliers = rng.normal(size=5 * 9), rng.normal(size=4 * 9 + 4)
    sparse = nt.jacobian(cart_pole.defects, sparse=True)(x)
    np.testing.assert_allclose(sparse.toarray(), nt.jacobian(cart_pole.defects)(x), atol=1e-12)
    sparse = nt.hessian(cart_pole.tension, sparse=True)(x, multipliers)
    dense = nt.hessian(cart_pole.tension)(x, multipliers)
    np.testing.assert_allclose(sparse.toarray(), dense, atol=1e-12)
    for knots in (9, 40):
        x = rng.normal(size=5 * knots)
        assert nt.sparsity(cart_pole.defects)(x).evaluation_sweeps <= 10
