"""scipy.linalg, scipy.integrate, scipy.signal and scipy.optimize with derivatives."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg as own
import scipy.signal

import ndtape as nt
from ndtape.scipy import linalg, signal
from ndtape.scipy.integrate import cumulative_trapezoid, odeint, quad, simpson, trapezoid
from ndtape.scipy.matrix_functions import ALONG, BANDED, LOGM, LU, SQRTM, SYLVESTER
from ndtape.scipy.optimize import bisect, brentq

RNG = np.random.default_rng(1)
A, B, Q = RNG.normal(size=(3, 4, 4))
P, V, G = A @ A.T + np.eye(4), RNG.normal(size=4), RNG.normal(size=(3, 2))
BAND = np.vstack([RNG.normal(size=(1, 6)), 5 + RNG.random((1, 6)), RNG.normal(size=(2, 6))])
RIGHT = RNG.normal(size=(6, 2))
HIGH = np.vstack([0.3 * RNG.normal(size=(2, 6)), 5 + RNG.random((1, 6))])


def symmetric(x):
    return x + x.T


def flat(z):
    return np.concatenate([np.ravel(x) for x in z]) if isinstance(z, (tuple, list)) else np.ravel(z)


CASES = {
    "solve transposed": (lambda a, b: linalg.solve(a, b, transposed=True), (B, V)),
    "solve pos": (lambda a, b: linalg.solve(a, b, assume_a="pos"), (P, V)),
    "solve_triangular": (lambda a, b: linalg.solve_triangular(a, b, lower=True), (P, V)),
    "solve_banded": (lambda a, b: linalg.solve_banded((2, 1), a, b), (BAND, RIGHT[:, 0])),
    "solve_banded, matrix": (lambda a, b: linalg.solve_banded((2, 1), a, b), (BAND, RIGHT)),
    "solveh_banded": (linalg.solveh_banded, (HIGH, RIGHT)),
    "solveh_banded, lower": (
        lambda a, b: linalg.solveh_banded(a, b, lower=True), (HIGH[::-1].copy(), RIGHT[:, 0])),
    "solve_sylvester": (linalg.solve_sylvester, (P, B + 6 * np.eye(4), Q)),
    "solve_continuous_lyapunov": (linalg.solve_continuous_lyapunov, (P, Q)),
    "solve_discrete_lyapunov": (linalg.solve_discrete_lyapunov, (0.2 * A[:2, :2], Q[:2, :2])),
    "sqrtm": (linalg.sqrtm, (P,)),
    "logm": (linalg.logm, (P,)),
    "cosm": (linalg.cosm, (A,)),
    "sinm": (linalg.sinm, (A,)),
    "tanhm": (linalg.tanhm, (0.3 * A,)),
    "fractional_matrix_power": (lambda a: linalg.fractional_matrix_power(a, 0.3), (P,)),
    "cholesky": (lambda a: linalg.cholesky(symmetric(a)), (P,)),
    "cho_solve": (
        lambda a, b: linalg.cho_solve(linalg.cho_factor(symmetric(a)), b), (P, V)),
    "lu": (linalg.lu, (A,)),
    "lu_solve": (lambda a, b: linalg.lu_solve(linalg.lu_factor(a), b), (A, V)),
    "lu_solve transposed": (
        lambda a, b: linalg.lu_solve(linalg.lu_factor(a), b, trans=1), (A, V)),
    "qr": (lambda a: linalg.qr(a, mode="economic"), (G,)),
    "eigvalsh, generalised": (
        lambda a, b: linalg.eigvalsh(symmetric(a), symmetric(b)), (P, P @ P)),
    "polar": (linalg.polar, (A,)),
    "polar, left": (lambda a: linalg.polar(a, side="left"), (A,)),
    "toeplitz": (linalg.toeplitz, (V, V[:3])),
    "hankel": (linalg.hankel, (V, V[:3])),
    "circulant": (linalg.circulant, (V,)),
    "block_diag": (linalg.block_diag, (A, G, V)),
    "expm_frechet": (linalg.expm_frechet, (A, B)),
    "lstsq": (lambda a, b: linalg.lstsq(a, b)[0], (G, V[:3])),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    """Recorded values are those of SciPy; reverse and forward derivatives those of differences."""
    f, args = CASES[name]
    expected = flat(f(*args))  # plain: SciPy's own
    c = RNG.normal(size=expected.size)
    found = flat(f(*map(nt.var, args)))
    np.testing.assert_allclose(found.value, expected, rtol=1e-9, atol=1e-12)
    along = [RNG.normal(size=a.shape) for a in args]

    def scalar(*xs):
        return np.sum(flat(f(*xs)) * c)

    gradient = nt.grad(scalar, tuple(range(len(args))))(*args)
    by_reverse = sum(np.sum(g * d) for g, d in zip(gradient, along, strict=True))
    assert nt.jvp(scalar, args, along)[1] == pytest.approx(by_reverse, rel=1e-8, abs=1e-10)
    ahead, behind = (scalar(*[a + h * d for a, d in zip(args, along, strict=True)])
                     for h in (1e-5, -1e-5))  # fmt: skip
    assert by_reverse == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("primitive", "args", "params"), [
    (SYLVESTER, (P, B + 6 * np.eye(4), Q), {}), (SQRTM, (P,), {}), (LOGM, (P,), {}),
    (ALONG, (P, 100 * Q), {}), (BANDED, (BAND, RIGHT), {"l_and_u": (2, 1)}), (LU, (A,), {}),
], ids=lambda x: getattr(x, "name", ""))  # fmt: skip
def test_rules(primitive, args, params):
    """<w, J t> = <Jᵀ w, t> on plain arrays: what sweeps do."""
    z = primitive.value(*args, **params)
    ts = [RNG.normal(size=a.shape) for a in args]
    several = z if isinstance(z, tuple) else (z,)
    ws = tuple(RNG.normal(size=x.shape) for x in several)
    jt = primitive.jvp(ts, z, *args, **params)
    jtw = primitive.vjp(ws if isinstance(z, tuple) else ws[0], z, *args, **params)
    left = sum(np.sum(w * x) for w, x in
               zip(ws, jt if isinstance(jt, tuple) else (jt,), strict=True))  # fmt: skip
    assert left == pytest.approx(sum(np.sum(t * x) for t, x in zip(ts, jtw, strict=True)), rel=1e-9)


def test_second_derivatives_of_matrix_functions():
    t = 0.1 * Q
    for f in (linalg.sqrtm, linalg.logm):
        first = nt.grad(lambda s, f=f: np.sum(f(P + s * t) * B))
        expected = (first(1e-5) - first(-1e-5)) / 2e-5
        assert nt.grad(first)(0.0) == pytest.approx(expected, rel=1e-5)


def test_what_has_no_real_value():
    with pytest.raises(nt.MatrixError, match="eigenvalues that are not positive"):
        nt.grad(lambda a: np.sum(linalg.sqrtm(a)))(np.diag([-1.0, 2.0]))
    with pytest.raises(nt.SingularMatrixError, match="solve_banded"):
        nt.grad(lambda a: np.sum(linalg.solve_banded((0, 0), a, np.ones(2))))(np.zeros((1, 2)))
    with pytest.raises(nt.UnsupportedError, match="does not take pivoting"):
        linalg.qr(nt.var(A), pivoting=True)
    assert linalg.schur is own.schur


def test_pivots_are_branches():
    f = nt.function(lambda a, b: np.sum(linalg.lu_solve(linalg.lu_factor(a), b)))
    a, b = np.array([[1.0, 2.0], [3.0, 5.0]]), np.ones(2)
    for x in (a, a[::-1].copy(), a):
        assert f(x, b) == pytest.approx(np.linalg.solve(x, b).sum())
    assert len(f.tapes) == 2


# --- integrate ------------------------------------------------------------------------------------

TIMES = np.linspace(0.0, 2.0, 4)
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def prey(y, t, a, b):
    return nt.numpy.array([a * y[0] - b * y[0] * y[1], b * y[0] * y[1] - y[1] + 0.1 * np.sin(t)])


def prey_loss(y0, t, a, b):
    return np.sum(odeint(prey, y0, t, (a, b), **EXACT) ** 2)


def test_odeint_against_differences_and_itself():
    args = np.array([1.0, 0.5]), TIMES, 1.2, 0.7
    along = np.array([0.3, -0.2]), np.sin(TIMES), 0.4, -0.1
    gradient = nt.grad(prey_loss, (0, 1, 2, 3))
    first = sum(np.sum(g * d) for g, d in zip(gradient(*args), along, strict=True))
    ends = [[a + h * d for a, d in zip(args, along, strict=True)] for h in (1e-4, -1e-4)]
    assert first == pytest.approx((prey_loss(*ends[0]) - prey_loss(*ends[1])) / 2e-4, rel=1e-6)
    assert nt.jvp(prey_loss, args, along)[1] == pytest.approx(first, rel=1e-7)
    second = nt.hvp(prey_loss, args, along)[2]
    for found, ahead, behind in zip(second, *[gradient(*e) for e in ends], strict=True):
        np.testing.assert_allclose(found, (ahead - behind) / 2e-4, rtol=1e-5, atol=1e-5)


def test_odeint_of_captured_values_and_plain_ones():
    def decayed(k):
        return odeint(lambda y, t: -k * y, [3.0], [0.0, 1.0, 2.0], **EXACT)[-1, 0]

    assert nt.grad(decayed)(0.5) == pytest.approx(-6 * np.exp(-1), rel=1e-8)
    assert nt.grad(nt.function(decayed))(0.25) == pytest.approx(-6 * np.exp(-0.5), rel=1e-8)
    np.testing.assert_array_equal(
        odeint(lambda t, y: -y, [1.0], [0.0, 1.0], tfirst=True),
        scipy.integrate.odeint(lambda y, t: -y, [1.0], [0.0, 1.0]),
    )
    assert nt.grad(lambda y: np.sum(odeint(lambda y, t: -y, y, [0.0])))(np.ones(2)).tolist() == [
        1,
        1,
    ]
    with pytest.raises(nt.UnsupportedError, match="full_output"):
        odeint(lambda y, t: -y, nt.var([1.0]), [0.0, 1.0], full_output=True)
    with pytest.raises(nt.ConvergenceError, match="odeint gave up"):
        odeint(lambda y, t: y**2, nt.var([1.0]), [0.0, 2.0], mxstep=50)


def test_quad():
    area = lambda c: quad(lambda x: x**c, 0.0, 1.0)[0]  # noqa: E731
    assert nt.grad(area)(2.0) == pytest.approx(-1 / 9)
    assert nt.grad(nt.grad(area))(2.0) == pytest.approx(2 / 27)
    bell = lambda a, b, s: quad(lambda x: np.exp(-x * x * s), a, b)[0]  # noqa: E731
    found = nt.grad(bell, (0, 1, 2))(0.0, np.inf, 2.0)
    assert found == pytest.approx((-1.0, 0.0, -0.25 * np.sqrt(np.pi) / 2**1.5))
    along = nt.jvp(lambda a, s: bell(a, 3.0, s), (0.5, 2.0), (1.0, 2.0))[1]
    assert along == pytest.approx(np.dot(nt.grad(bell, (0, 2))(0.5, 3.0, 2.0), (1.0, 2.0)))
    assert quad(lambda x: x, 0.0, 1.0)[0] == 0.5


def test_sums_over_samples():
    y, x = RNG.random((5, 4)), np.array([0.0, 1.0, 3.0, 4.0])
    for f in (trapezoid, cumulative_trapezoid, simpson):
        theirs = getattr(scipy.integrate, f.__name__)
        for options in ({"axis": 0}, {"x": x}, {"dx": 0.3}):
            np.testing.assert_allclose(f(nt.var(y), **options).value, theirs(y, **options))
    assert nt.grad(lambda x: trapezoid(y[0], x))(x)[0] == pytest.approx(-0.5 * y[0, :2].sum())


# --- signal and optimize --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("shapes", [((5,), (3,)), ((3,), (6,)), ((6, 5, 3), (2, 2, 3))], ids=str)
def test_convolutions(shapes, mode):
    a, b = (RNG.normal(size=s) for s in shapes)
    for name in ("convolve", "correlate", "fftconvolve"):
        found = getattr(signal, name)(nt.var(a), b, mode).value
        np.testing.assert_allclose(found, getattr(scipy.signal, name)(a, b, mode), atol=1e-12)


def test_convolution_over_some_axes_as_in_autograd():
    theirs = pytest.importorskip("autograd.scipy.signal").convolve
    a, b = RNG.normal(size=(2, 3, 7, 6)), RNG.normal(size=(3, 4, 3, 2))
    options = {"axes": ([2, 3], [2, 3]), "dot_axes": ([1], [0])}
    for mode in ("full", "valid"):
        found = signal.convolve(nt.var(a), b, mode=mode, **options).value
        np.testing.assert_allclose(found, theirs(a, b, mode=mode, **options), atol=1e-12)
    swapped = signal.convolve(nt.var(b[:, :, :2]), a, mode="valid", axes=([2, 3], [2, 3]),
                              dot_axes=([0], [1]))  # fmt: skip
    assert swapped.shape == (4, 2, 6, 5)
    with pytest.raises(nt.ShapeError, match="the larger along every axis"):
        signal.convolve(nt.var(a[0, 0]), np.ones((8, 2)), mode="valid")


def test_roots_between_brackets():
    for f, method in itertools.product((lambda c: c, lambda c: c**2 / 4), (brentq, bisect)):
        root = lambda c, f=f, method=method: method(  # noqa: E731
            lambda x: x**2 - f(c), 0.0, 9.0, xtol=1e-14
        )
        assert nt.grad(root)(4.0) == pytest.approx(nt.grad(lambda c, f=f: nt.sqrt(f(c)))(4.0))
    assert brentq(lambda x: x - 1.0, 0.0, 3.0) == pytest.approx(1.0)
