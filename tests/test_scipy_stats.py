"""Distributions: values against SciPy on the whole line and at the edges, derivatives, names."""

import itertools
import pickle
import sys

import mpmath as mp
import numpy as np
import pytest
import scipy.stats as own

import ndtape as nt
from ndtape.scipy import stats

CONTINUOUS = {
    "norm": [()], "cauchy": [()], "laplace": [()], "logistic": [()], "gumbel_r": [()],
    "gumbel_l": [()], "t": [(3.0,), (0.5,), (1e6,), (np.inf,)], "gennorm": [(1.5,), (0.7,)],
    "skewnorm": [(2.0,), (-0.5,)], "vonmises": [(1.0,), (100.0,)], "uniform": [()],
    "beta": [(2.0, 3.0), (0.5, 0.5), (1.0, 1.0)],
    "truncnorm": [(-1.0, 2.0), (3.0, 5.0), (-8.0, -6.0)],
    "expon": [()], "gamma": [(2.5,), (1.0,), (0.3,)], "chi2": [(3.0,), (1.0,)],
    "invgamma": [(2.0,)], "lognorm": [(0.5,)], "halfnorm": [()], "halfcauchy": [()],
    "rayleigh": [()], "weibull_min": [(1.5,), (1.0,)], "pareto": [(2.5,)],
    "f": [(3.0, 7.0), (2.0, 5.0)],
}  # fmt: skip
DISCRETE = {
    "poisson": [(3.5,), (0.0,), (1e5,)], "bernoulli": [(0.3,), (0.0,), (1.0,)],
    "binom": [(10, 0.3), (5, 0.0), (5, 1.0), (0, 0.5)], "geom": [(0.3,), (1.0,)],
    "nbinom": [(3.5, 0.4), (2, 1.0)], "betabinom": [(10, 2.0, 3.0)],
}  # fmt: skip
LINE = np.array([-np.inf, -1e10, -50, -8, -3, -1, -0.5, -1e-8, -1e-300, 0, 1e-300, 1e-8, 0.2, 0.5,
                 0.9, 1, 1.5, 2, 3, 8, 50, 1000, 1e10, np.inf, np.nan])  # fmt: skip
LEVELS = np.array([-0.1, 0, 1e-300, 1e-10, 0.2, 0.5, 0.7, 1 - 1e-7, 1, 1.1, np.nan])
COUNTS = np.array([-1, 0, 0.5, 1, 2, 3, 4.2, 5, 9, 10, 11, 1000, 1e5, np.nan])
# Where SciPy is less right: it has -inf for what is below e^-745, or nan at infinity.
FAR = {"laplace", "halfnorm", "geom"}


def differ(found, expected):
    with np.errstate(all="ignore"):
        same = np.isclose(found, expected, rtol=2e-8, atol=1e-300)
        return ~(same | np.isnan(found) & np.isnan(expected))


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (0.5, 2.0), (0.0, -1.0)])
@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_of_continuous_distributions(name, loc, scale):
    for shapes, method in itertools.product(
        CONTINUOUS[name], ("logpdf", "pdf", "cdf", "sf", "logcdf", "logsf", "ppf", "isf")
    ):
        x = LEVELS if method in ("ppf", "isf") else LINE
        try:
            found = getattr(getattr(stats, name), method)(x, *shapes, loc=loc, scale=scale)
        except nt.UnsupportedError:
            assert name in ("skewnorm", "vonmises", "truncnorm", "gennorm", "f"), method
            continue
        expected = getattr(getattr(own, name), method)(x, *shapes, loc=loc, scale=scale)
        bad = differ(found, expected)
        if method in ("pdf", "logpdf"):
            bad &= ~np.isinf(x)  # -inf here; SciPy has nan for some
        if name in FAR:
            bad &= ~((expected == -np.inf) & (found < -700))
        if name == "halfcauchy":
            bad &= x < 0.999  # SciPy has tan near π/2
        if name == "halfnorm":
            bad &= (x > 1e-9) | (x <= 0)
        if name == "cauchy":
            bad &= np.abs(found) > 1e-15
        if name == "f":
            bad &= (x != 1e-8) | (method != "logpdf")  # log1p here
        assert not bad.any(), (shapes, method, x[bad], found[bad], expected[bad])


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_of_discrete_distributions(name):
    for shapes, method, loc in itertools.product(
        DISCRETE[name], ("logpmf", "pmf", "cdf", "sf", "logcdf", "logsf"), (0, 2)
    ):
        try:
            found = getattr(getattr(stats, name), method)(COUNTS, *shapes, loc=loc)
        except nt.UnsupportedError:
            assert name == "betabinom"
            continue
        expected = getattr(getattr(own, name), method)(COUNTS, *shapes, loc=loc)
        bad = differ(found, expected) & ~((name == "geom") & (method == "logcdf"))
        assert not bad.any(), (shapes, method, COUNTS[bad], found[bad], expected[bad])


# --- derivatives ----------------------------------------------------------------------------------


def slope(f, at, i):
    """The derivative of f(*at) in the argument i, by differences of the fourth order."""
    step = np.eye(len(at))[i] * 1e-3 * max(1.0, abs(at[i]))
    a, b = [(f(*(at + h)) - f(*(at - h))) / (2 * h[i]) for h in (step, step / 2)]
    return (4 * b - a) / 3


AT = {"ppf": 0.3, "isf": 0.3, "beta": 0.4, "uniform": 1.4, "pareto": 4.0, "truncnorm": 4.0}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_derivatives_in_every_argument(name):
    """Against differences of SciPy's values; second ones against differences of first ones."""
    dist, shapes = getattr(stats, name), CONTINUOUS[name][0]
    if name == "truncnorm":
        shapes = (-1.0, 3.0)
    loc, scale = 0.25, 1.75
    for method in ("logpdf", "cdf", "logsf", "ppf"):
        x = AT.get(method) or AT.get(name, 1.3)
        at = (x if method == "ppf" else x * (1.0 if name in ("beta", "uniform") else 1.2), *shapes,
              loc, scale)  # fmt: skip
        function = getattr(dist, method)
        try:
            function(*at)
        except nt.UnsupportedError:
            continue
        places = tuple(range(len(at)))
        gradient = nt.grad(function, places)
        found = gradient(*at)
        for i, g in enumerate(found):
            theirs = getattr(getattr(own, name), method)
            assert g == pytest.approx(slope(theirs, at, i), rel=1e-6, abs=1e-8), (method, i)
        if method in ("logpdf", "ppf"):
            product = nt.hvp(function, at, (1.0,) * len(at))[2]
            ahead, behind = (np.array(gradient(*[v + h for v in at])) for h in (1e-4, -1e-4))
            expected = (ahead - behind) / 2e-4
            np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-6, err_msg=method)


@pytest.mark.parametrize("name", DISCRETE)
def test_derivatives_of_probabilities(name):
    dist, theirs, shapes = getattr(stats, name), getattr(own, name), DISCRETE[name][0]
    for method, k in itertools.product(("logpmf", "cdf"), (1, 3)):
        places = tuple(i + 1 for i, s in enumerate(shapes) if isinstance(s, float))
        try:
            found = nt.grad(getattr(dist, method), places)(k, *shapes)
        except nt.UnsupportedError:
            continue
        for i, g in zip(places, found, strict=True):
            expected = 0.0 if name == "bernoulli" and k > 1 else slope(
                getattr(theirs, method), (k, *shapes), i
            )  # fmt: skip
            assert g == pytest.approx(expected, rel=1e-5, abs=1e-7), (method, k)


def test_tails_of_the_normal_distribution():
    for x in (-300.0, -40.0, -5.0, 0.0, 5.0, 40.0):
        with mp.workdps(40):
            expected = mp.npdf(x) / mp.ncdf(x)
        assert nt.grad(stats.norm.logcdf)(x) == pytest.approx(float(expected), rel=1e-12)
    assert nt.grad(stats.norm.logpdf)(1e8) == -1e8
    assert nt.grad(stats.norm.isf)(1e-200) == pytest.approx(
        -1 / own.norm.pdf(own.norm.isf(1e-200)), rel=1e-10
    )


def test_edges_of_the_support():
    x = np.array([-1.0, 0.0, 1.0])
    value, gradient = nt.value_and_grad(lambda x: np.sum(stats.expon.pdf(x)))(x)
    assert value == pytest.approx(1 + np.exp(-1))
    np.testing.assert_allclose(gradient, [0.0, -1.0, -np.exp(-1)])
    for dist, shapes in ((stats.gamma, (2.0,)), (stats.lognorm, (1.0,)), (stats.beta, (2.0, 2.0))):
        assert nt.value_and_grad(dist.logpdf)(-1.0, *shapes) == (-np.inf, 0.0)
        assert nt.grad(dist.logpdf, 1)(-1.0, *shapes) == 0.0
    assert nt.grad(stats.uniform.cdf)(2.0) == 0.0
    assert np.isnan(stats.t.logpdf(nt.var(1.0), -1.0).value)
    assert np.isnan(stats.norm.logpdf([0.0, 1.0], scale=0.0)).all()


def test_broadcasting():
    x, a, loc = np.linspace(0.5, 2.0, 4)[:, None], np.array([1.0, 2.0, 3.0]), nt.var(0.1)
    found = stats.gamma.logpdf(x, a, loc, 2.0)
    np.testing.assert_allclose(found.value, own.gamma.logpdf(x, a, 0.1, 2.0))
    gradient = nt.grad(lambda a, s: np.sum(stats.gamma.cdf(x, a, scale=s)), (0, 1))(a, 2.0)
    assert gradient[0].shape == (3,) and isinstance(gradient[1], float)
    assert isinstance(stats.norm.pdf(0.0), float)
    y = nt.var(1.0)
    assert stats.norm.logpdf([y, 2.0]).shape == (2,)


def test_traced_and_swept_many_times():
    x = np.random.default_rng(0).gamma(2.0, 2.0, 50)

    @nt.function
    def loss(p):
        return -np.mean(stats.gamma.logpdf(x, p[0], scale=p[1]))

    for p in (np.array([1.5, 2.0]), np.array([3.0, 0.5])):
        np.testing.assert_allclose(nt.grad(loss)(p), nt.grad(loss.f)(p), rtol=1e-13)
    assert len(loss.tapes) == 1


# --- vectors --------------------------------------------------------------------------------------

RNG = np.random.default_rng(3)
ROOT = RNG.normal(size=(3, 3))
COV, MEAN, X = ROOT @ ROOT.T + np.eye(3), RNG.normal(size=3), RNG.normal(size=(5, 3))


def test_multivariate_normal_takes_what_scipys_takes():
    ours, theirs = stats.multivariate_normal, own.multivariate_normal
    for args in ((X, MEAN, COV), (X[0], MEAN, COV), (X, MEAN, 2.0), (X, MEAN, [1.0, 2.0, 3.0]),
                 (0.5,), (0.5, 1.0, 2.0), (X[:, 0], 1.0, 2.0), (X[0], None, COV)):  # fmt: skip
        found, expected = ours.logpdf(*args), theirs.logpdf(*args)
        assert np.shape(found) == np.shape(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert ours.entropy(MEAN, COV) == pytest.approx(theirs.entropy(MEAN, COV))
    stacked = ours.logpdf(X[:2], MEAN, np.stack([COV, 2 * COV]))
    assert stacked[1] == pytest.approx(theirs.logpdf(X[1], MEAN, 2 * COV))
    with pytest.raises(nt.UnsupportedError, match="allow_singular"):
        ours.logpdf(X, MEAN, COV, allow_singular=True)
    with pytest.raises(nt.ShapeError, match="vectors of 3"):
        ours.logpdf(X[:, :2], MEAN, COV)


def test_multivariate_derivatives():
    nt.check_grads(lambda x, m, c: np.sum(stats.multivariate_normal.logpdf(x, m, c @ c.T)),
                   (X, MEAN, np.linalg.cholesky(COV)))  # fmt: skip
    cov = nt.grad(lambda c: stats.multivariate_normal.logpdf(X[0], MEAN, c))(COV)
    y = np.linalg.solve(COV, X[0] - MEAN)
    np.testing.assert_allclose(cov, 0.5 * (np.outer(y, y) - np.linalg.inv(COV)), rtol=1e-10)
    alpha = np.array([1.5, 2.0, 3.0])
    x = RNG.dirichlet(alpha, 4)
    np.testing.assert_allclose(stats.dirichlet.logpdf(x.T, alpha), own.dirichlet.logpdf(x.T, alpha))
    assert stats.dirichlet.logpdf(x[0, :2], alpha) == pytest.approx(
        own.dirichlet.logpdf(x[0], alpha)
    )
    nt.check_grads(lambda a: np.sum(stats.dirichlet.logpdf(x.T, a)), (alpha,))
    found = stats.multivariate_t.logpdf(X, MEAN, COV, 3.5)
    np.testing.assert_allclose(found, own.multivariate_t.logpdf(X, MEAN, COV, 3.5))
    assert stats.wishart.logpdf(COV, 5.0, np.eye(3) + 0.1) == pytest.approx(
        own.wishart.logpdf(COV, 5.0, np.eye(3) + 0.1)
    )
    counts = [[1, 2, 3], [3, 2, 2]]
    np.testing.assert_allclose(
        stats.multinomial.logpmf(counts, 6, [0.2, 0.3, 0.5]),
        own.multinomial.logpmf(counts, 6, [0.2, 0.3, 0.5]),
    )


# --- names ----------------------------------------------------------------------------------------


def test_imports_as_in_autograd():
    import ndtape.scipy.stats.multivariate_normal as mvn
    import ndtape.scipy.stats.norm as norm

    from ndtape.scipy.stats import t

    assert norm is stats.norm and mvn is stats.multivariate_normal and t is stats.t
    assert sys.modules["ndtape.scipy.stats.norm"] is norm
    assert pickle.loads(pickle.dumps(norm)) is norm
    assert repr(norm) == "<ndtape.scipy.stats.norm>"


def test_all_that_autograd_has_is_here():
    pytest.importorskip("autograd")
    import autograd.scipy.stats as theirs

    for module in (theirs.beta, theirs.chi2, theirs.gamma, theirs.norm, theirs.poisson, theirs.t,
                   theirs.multivariate_normal, theirs.dirichlet):  # fmt: skip
        dist = getattr(stats, module.__name__.rpartition(".")[2])
        for name in ("pdf", "logpdf", "pmf", "logpmf", "cdf", "sf", "logcdf", "logsf", "entropy"):
            assert not hasattr(module, name) or hasattr(dist, name), (module, name)


def test_frozen_and_what_is_scipys():
    frozen = stats.norm(1.0, scale=2.0)
    assert frozen.logpdf(3.0) == stats.norm.logpdf(3.0, 1.0, 2.0)
    assert repr(frozen) == "norm(1.0, scale=2.0)"
    assert frozen.mean() == 1.0 and stats.norm.rvs(size=3, random_state=0).shape == (3,)
    assert stats.describe is own.describe
    assert nt.grad(lambda m: stats.norm(m).logpdf(3.0))(1.0) == 2.0
    with pytest.raises(nt.UnsupportedError, match=r"norm\.rvs is not recorded"):
        stats.norm.rvs(nt.var(1.0))
    with pytest.raises(nt.ArgumentError, match="needs df"):
        stats.t.logpdf(1.0)
    with pytest.raises(nt.ArgumentError, match="rate"):
        stats.gamma.logpdf(1.0, 2.0, rate=1.0)
    with pytest.raises(nt.UnsupportedError, match="skewnorm has no cdf"):
        stats.skewnorm.cdf(1.0, 2.0)
