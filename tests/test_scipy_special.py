"""scipy.special with derivatives: every row against differences, mpmath, and at the edges.

Scalars throughout: they run in the scalar sweeps, and no kernel is compiled for a test.
"""

import inspect
from itertools import pairwise
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
import scipy.special as own

import ndtape as nt
from ndtape.scipy import incomplete, special
from ndtape.scipy.rules import UNKNOWN
from ndtape.scipy.special_table import TABLE

# Arguments inside the domain; for operands without derivative the plain number that they need.
POINTS = {
    "x": (0.3, 1.7, 4.2),
    "betainc": [(0.4, 2.5, 0.3), (3.0, 0.7, 0.9), (12.0, 9.0, 0.5)],
    "betaincc": [(0.4, 2.5, 0.3), (3.0, 0.7, 0.9)],
    "betaincinv": [(0.4, 2.5, 0.3), (3.0, 0.7, 0.9)],
    "betainccinv": [(0.4, 2.5, 0.3), (3.0, 0.7, 0.9)],
    "betainc_derivative": [(1, 0, 0.4, 2.5, 0.3), (0, 1, 3.0, 0.7, 0.9), (1, 1, 3.0, 2.0, 0.4)],
    "gammainc": [(0.4, 0.3), (2.5, 4.0), (30.0, 25.0)],
    "gammaincc": [(0.4, 0.3), (2.5, 4.0)],
    "gammaincinv": [(0.4, 0.3), (2.5, 0.9)],
    "gammainccinv": [(0.4, 0.3), (2.5, 0.9)],
    "gammainc_derivative": [(1, 0.4, 0.3), (2, 2.5, 4.0)],
    "erfinv": [(-0.6,), (0.99,)],
    "erfcinv": [(0.1,), (1.7,)],
    "ndtri": [(0.3,), (0.001,)],
    "ndtri_exp": [(-3.0,), (-0.01,), (-300.0,)],
    "erfcx": [(-1.5,), (0.5,), (9.0,), (11.0,), (1e4,)],
    "dawsn": [(0.5,), (9.0,), (-11.0,), (1e4,)],
    "stdtr": [(3.0, -1.5), (0.7, 2.0), (40.0, 0.0)],
    "stdtrit": [(3.0, 0.2), (7.0, 0.9)],
    "ellipk": [(-2.0,), (0.01,), (0.9,)],
    "ellipe": [(-2.0,), (0.01,), (0.9,)],
    "spence": [(0.3,), (1.0,), (1.0001,), (5.0,)],
    "hyp1f1": [(0.5, 1.5, -2.0), (2.0, 3.0, 1.0)],
    "hyp2f1": [(0.5, 1.5, 2.0, 0.4)],
    "hyperu": [(0.5, 1.5, 2.0)],
    "lambertw": [(0.5, 0), (-0.2, -1)],
    "expn": [(0, 1.5), (1, 0.5), (3, 2.0)],
    "yn": [(2, 1.5)],
    "kn": [(2, 1.5)],
    "zeta": [(2.5, 1.5)],
    "binom": [(7.5, 2.5)],
    "huber": [(1.0, 0.5), (1.0, -3.0)],
    "inv_boxcox": [(0.4, 0.7), (1.2, 0.0)],
    "boxcox": [(1.7, 0.6), (2.0, 0.0)],
    "i0e": [(-0.7,), (30.0,)],
    "gamma": [(-1.5,), (0.3,), (4.2,)],
    "loggamma": [(0.3,), (4.2,)],
}


def points(row):
    if row.__name__ in POINTS:
        return POINTS[row.__name__]
    ones = {1: [(0.3,), (1.7,), (4.2,)], 2: [(1.3, 0.4), (2.5, 3.5)], 3: [(1.3, 2.4, 0.7)]}
    return ones[len(row.operands)]


CASES = [pytest.param(row, at, id=f"{name}-{at}") for name, row in TABLE.items()
         for at in points(row)]  # fmt: skip


def slope(f, x):
    """The derivative by Richardson's extrapolation of central differences."""
    h = 1e-2 * abs(x) or 1e-2
    steps = [h / 2**i for i in range(5)]
    rows = [(f(x + s) - f(x - s)) / (2 * s) for s in steps]
    for k in range(1, 5):
        rows = [(4**k * b - a) / (4**k - 1) for a, b in pairwise(rows)]
    return rows[0]


def moving(row):
    return [i for i, text in enumerate(row.partials) if text != UNKNOWN]


@pytest.mark.parametrize(("row", "at"), CASES)
def test_derivatives_of_every_row(row, at):
    """Reverse and forward derivatives against differences."""
    places = tuple(moving(row))
    gradient = nt.grad(row, places)
    found = gradient(*at)
    along = nt.jvp(lambda *xs: row(*_placed(at, places, xs)), [at[i] for i in places],
                   [1.0] * len(places))[1]  # fmt: skip
    assert along == pytest.approx(sum(found), rel=1e-9, abs=1e-12)
    for i, g in zip(places, found, strict=True):
        expected = slope(lambda v, i=i: float(row(*at[:i], v, *at[i + 1 :])), at[i])
        assert g == pytest.approx(expected, rel=2e-6, abs=1e-9), row.operands[i]


@pytest.mark.parametrize("name", [n for n in TABLE if n not in ("huber", "gammasgn")])
def test_second_derivatives_of_every_row(name):
    """The Hessian times a vector against differences of the gradient."""
    row, at = TABLE[name], points(TABLE[name])[0]
    places = tuple(moving(row))
    gradient = nt.grad(row, places)

    def moved(h):
        return np.array(gradient(*_placed(at, places, [at[i] + h for i in places])))

    def f(*xs):
        return row(*_placed(at, places, xs))

    product = nt.hvp(f, [at[i] for i in places], [1.0] * len(places))[2]
    a, b = [(moved(h) - moved(-h)) / (2 * h) for h in (2e-3, 1e-3)]
    np.testing.assert_allclose(product, (4 * b - a) / 3, rtol=1e-4, atol=1e-6)


def _placed(at, places, xs):
    full = list(at)
    for i, x in zip(places, xs, strict=True):
        full[i] = x
    return full


# --- parameters of incomplete functions -----------------------------------------------------------


@pytest.mark.parametrize("a", [1e-3, 0.5, 1.5, 30.0, 1e4])
@pytest.mark.parametrize("ratio", [1e-3, 0.8, 1.0, 1.3])
def test_gammainc_in_its_parameter(a, ratio):
    x = a * ratio if a >= 1 else ratio
    with mp.workdps(30):
        expected = mp.diff(lambda t: mp.gammainc(t, 0, x, regularized=True), mp.mpf(a))
    found = incomplete.gamma_derivative(1, np.array(a), np.array(x))
    assert float(found) == pytest.approx(float(expected), rel=1e-11, abs=1e-25)


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.5), (1.0, 3.0), (0.3, 20.0), (50.0, 80.0)])
@pytest.mark.parametrize("x", [1e-6, 0.3, 0.7, 0.999])
def test_betainc_in_its_parameters(a, b, x):
    with mp.workdps(30):
        expected = (
            mp.diff(lambda t: mp.betainc(t, b, 0, x, regularized=True), mp.mpf(a)),
            mp.diff(lambda t: mp.betainc(a, t, 0, x, regularized=True), mp.mpf(b)),
        )
    found = [incomplete.beta_derivative(*k, *map(np.array, (a, b, x))) for k in ((1, 0), (0, 1))]
    np.testing.assert_allclose(np.array(found), [float(e) for e in expected], rtol=1e-9, atol=1e-60)


def test_edges_of_incomplete_functions():
    derivative = incomplete.gamma_derivative
    at = np.array([0.0, np.inf, np.nan, -1.0])
    np.testing.assert_array_equal(derivative(1, np.array(2.0), at), [0.0, 0.0, np.nan, np.nan])
    np.testing.assert_array_equal(derivative(1, np.array([0.0, np.nan]), np.ones(2)), [np.nan] * 2)
    beta = incomplete.beta_derivative(1, 0, np.array(2.0), np.array(3.0), np.array([0.0, 1.0, 2.0]))
    np.testing.assert_array_equal(beta, [0.0, 0.0, np.nan])
    assert nt.grad(special.gammainc, 1)(1.0, 0.0) == 1.0
    assert nt.grad(special.gammainc, 1)(2.0, np.inf) == 0.0


# --- what is composed -----------------------------------------------------------------------------


def test_logsumexp_with_weights_and_signs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    b[0, 0], a[0, 0] = 0.0, np.inf
    for axis in (None, 0, (0, 1)):
        expected = own.logsumexp(a, axis, b, return_sign=True)
        for found in (special.logsumexp(a, axis, b, return_sign=True),
                      special.logsumexp(nt.var(a), axis, b, return_sign=True)):  # fmt: skip
            for x, y in zip(found, expected, strict=True):
                np.testing.assert_allclose(getattr(x, "value", x), y, rtol=1e-12)
    assert np.isnan(special.logsumexp([0.0, 0.0], b=[1.0, -2.0]))
    weights = nt.grad(lambda b: special.logsumexp(np.array([1.0, 2.0, 2.0]), b=b))(np.ones(3))
    np.testing.assert_allclose(weights, own.softmax([1.0, 2.0, 2.0]))


def test_functions_of_whole_numbers_and_several_results():
    assert special.comb(5, 2, exact=True) == 10
    assert nt.grad(special.comb)(5.0, 2.0) == pytest.approx(nt.grad(TABLE["binom"])(5.0, 2.0))
    assert nt.grad(special.factorial)(3.0) == pytest.approx(own.gamma(4) * own.psi(4))
    assert nt.grad(special.polygamma, 1)(1, 2.0) == pytest.approx(own.polygamma(2, 2.0))
    assert nt.grad(special.multigammaln)(3.0, 2) == pytest.approx(own.psi(3.0) + own.psi(2.5))
    assert nt.grad(lambda x: special.sici(x)[1])(2.0) == pytest.approx(np.cos(2.0) / 2)
    assert nt.grad(lambda x: special.airy(x)[0])(1.0) == pytest.approx(own.airy(1.0)[1])
    assert nt.grad(special.softplus)(0.0) == 0.5
    assert np.isnan(special.lambertw(-1.0))


# --- how they are met -----------------------------------------------------------------------------


def test_scipys_own_functions_are_recorded():
    x = nt.var([1.0, 2.5])
    y = own.gamma(x) + own.gammaln(x)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, own.gamma(x.value) * own.psi(x.value) + own.psi(x.value))
    with pytest.raises(nt.UnsupportedError, match="bdtri is not recorded"):
        own.bdtri(1, x, x)


def test_broadcasting_lists_and_float32():
    a, x = nt.var([[1.0], [2.0]]), np.array([0.5, 1.0, 2.0])
    special.gammainc(a, x).sum().backward()
    assert a.grad.shape == (2, 1)
    y = nt.var(2.0)
    assert special.gamma([y, 3.0]).tolist() == [1.0, 2.0]
    assert special.gamma(nt.var(np.ones(2, np.float32))).dtype == np.float32
    with pytest.raises(nt.ShapeError, match="gammainc of shapes"):
        special.gammainc(nt.var(np.ones(2)), np.ones(3))


def test_orders_have_no_derivative():
    with pytest.raises(nt.UnsupportedError, match="jv has no derivative with respect to v"):
        nt.grad(special.jv)(1.0, 2.0)
    with pytest.raises(nt.UnsupportedError, match="takes 2 operands"):
        special.jv(nt.var(1.0))
    assert special.jn is special.jv


def test_an_adjoint_of_zero_stays_zero():
    f = lambda x: nt.where(x > 0, special.gamma(x), 1.0)  # noqa: E731
    assert nt.grad(f)(0.0) == 0.0
    assert nt.jvp(f, (0.0,), (1.0,))[1] == 0.0


def test_plain_numbers_go_to_scipy():
    out = np.zeros(2)
    assert special.gamma(np.array([1.0, 2.0]), out=out) is out
    assert special.bdtr is own.bdtr
    with pytest.raises(AttributeError, match="neither"):
        special.nothing  # noqa: B018


def test_traced_functions_replay_them():
    f = nt.function(lambda a, x: special.gammainc(a, x) * special.erfcx(x))
    gradient = nt.grad(f, (0, 1))
    for at in ((1.5, 2.0), (0.5, 0.3)):
        assert gradient(*at) == pytest.approx(nt.grad(f.f, (0, 1))(*at), rel=1e-13)
    assert len(f.tapes) == 1


def test_all_that_autograd_has_is_here():
    theirs = pytest.importorskip("autograd.scipy.special")
    names = [n for n in vars(theirs) if callable(getattr(own, n, None))]
    assert len(names) >= 30
    assert not [n for n in names if n not in dir(special)]


def test_rows_say_what_they_are():
    for name, row in TABLE.items():
        assert row.__doc__, name
        assert not inspect.isfunction(row.own) or row.own.__module__.startswith("ndtape"), name
    page = Path(__file__).parent.parent / "docs" / "special.md"
    assert page.read_text(encoding="utf-8") == special.markdown(), "its first line says how"


def test_many_rows():
    a = np.array([0.5, 1.5, 2.5])
    rows = nt.vmap(nt.grad(special.gammainc), (0, None))(a, 2.0)
    np.testing.assert_allclose(rows, [nt.grad(special.gammainc)(x, 2.0) for x in a], rtol=1e-12)
