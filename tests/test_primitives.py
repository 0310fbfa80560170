"""Linear algebra, Fourier pairs, sorting, products: values, derivatives, degeneracies, errors.

Derivatives are tested twice: the rules as the NumPy programs that they are, on plain arrays, and
through the tape in first and second order.
"""

import itertools

import numpy as np
import pytest
import scipy.linalg

import ndtape as nt
from ndtape.errors import (
    ArgumentError,
    DegenerateWarning,
    MatrixError,
    NotPositiveDefiniteError,
    ShapeError,
    SingularMatrixError,
    UnsupportedError,
)
from ndtape.passes import seal
from ndtape.primitives import (
    determinants,
    exponential,
    factors,
    fft,
    linalg,
    products,
    solves,
    sorting,
    spectra,
)
from ndtape.run import Workspace

SQUARE = [(1, 1), (2, 2), (5, 5), (3, 4, 4), (2, 3, 2, 2), (0, 3, 3), (2, 0, 0)]
OBLONG = [(1, 1), (3, 3), (5, 3), (3, 5), (1, 4), (4, 1), (2, 4, 3), (2, 3, 4), (0, 3, 2)]


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def regular(*shape):
    return normal(*shape) + 2 * np.eye(shape[-1])


def positive(*shape):
    a = normal(*shape)
    return a @ np.swapaxes(a, -1, -2) + shape[-1] * np.eye(shape[-1])


def several(x):
    return tuple(x) if isinstance(x, tuple) else (x,)


def dot(xs, ys):
    return sum(float(np.sum(x * y)) for x, y in zip(xs, ys, strict=True))


# --- the rules, on plain arrays -------------------------------------------------------------------


def rules():
    for s in SQUARE:
        yield solves.SOLVE, [regular(*s), normal(*s[:-1], 3)], {}
        yield solves.INV, [regular(*s)], {}
        yield determinants.DET, [normal(*s)], {}
        yield determinants.SLOGDET, [normal(*s)], {}
        yield determinants.COFACTOR, [normal(*s)], {}
        yield determinants.COFACTOR_ALONG, [normal(*s), normal(*s, seed=1)], {}
        yield factors.CHOLESKY, [positive(*s)], {}
        yield spectra.EIGH, [positive(*s)], {"uplo": "L"}
        yield exponential.EXPM, [normal(*s)], {}
        yield exponential.FRECHET, [normal(*s), 100 * normal(*s, seed=1)], {}
        for lower, trans, unit in itertools.product((False, True), repeat=3):
            params = {"lower": lower, "trans": trans, "unit": unit}
            yield solves.TRIANGULAR, [regular(*s), normal(*s[:-1], 2)], params
    for s in OBLONG:
        yield factors.QR, [normal(*s)], {}
        yield spectra.SVD, [normal(*s)], {}
        yield solves.PINV, [normal(*s)], {}
        if len(s) == 2:
            yield solves.LSTSQ, [normal(*s), normal(s[0], 2, seed=1)], {"rcond": None}
    yield solves.SOLVE, [regular(3, 3), normal(4, 3, 2)], {}
    yield solves.SOLVE, [regular(4, 1, 3, 3), normal(5, 3, 2)], {}
    triangle = {"lower": True, "trans": True, "unit": False}
    yield solves.TRIANGULAR, [regular(4, 1, 3, 3), normal(5, 3, 2)], triangle
    for norm, n, axis in itertools.product(("backward", "ortho", "forward"), (1, 2, 5, 6), (0, 1)):
        shape = (n, 3) if axis == 0 else (3, n)
        half = tuple(n // 2 + 1 if i == axis else 3 for i in range(2))
        params = {"axis": axis, "norm": norm}
        yield fft.FFT, [normal(*shape), normal(*shape, seed=1)], params
        yield fft.IFFT, [normal(*shape), normal(*shape, seed=1)], params
        yield fft.RFFT, [normal(*shape)], params | {"n": n}
        yield fft.IRFFT, [normal(*half), normal(*half, seed=1)], params | {"n": n}


def named(case):
    return f"{case[0].name}-{'-'.join(str(a.shape) for a in case[1])}-{list(case[2].values())}"


@pytest.mark.parametrize("case", list(rules()), ids=named)
def test_rules(case):
    """jvp against differences of the fourth order; <w, J t> = <Jᵀ w, t> to rounding."""
    primitive, args, params = case
    ts = [normal(*a.shape, seed=2) for a in args]
    z = primitive.value(*args, **params)

    def moved(h):
        moved_args = [a + h * t for a, t in zip(args, ts, strict=True)]
        return several(primitive.value(*moved_args, **params))

    jt = several(primitive.jvp(ts, z, *args, **params))
    h = 1e-4
    for got, *points in zip(jt, *[moved(x) for x in (h, -h, 2 * h, -2 * h)], strict=True):
        a, b, c, d = points
        np.testing.assert_allclose(got, (8 * (a - b) - (c - d)) / (12 * h), rtol=1e-6, atol=1e-7)

    ws = [normal(*x.shape, seed=3) for x in several(z)]
    adjoints = primitive.vjp(tuple(ws) if isinstance(z, tuple) else ws[0], z, *args, **params)
    assert [g.shape for g in adjoints] == [a.shape for a in args]
    scale = sum(float(np.sum(np.abs(w * t))) for w, t in zip(ws, jt, strict=True))
    assert abs(dot(ws, jt) - dot(adjoints, ts)) <= 1e-11 * scale


@pytest.mark.parametrize("shape", SQUARE)
def test_complex_steps(shape):
    """What is analytic in its entries is differentiated to rounding by a complex step."""
    a, t, b = regular(*shape), normal(*shape, seed=2), normal(*shape[:-1], 2)
    point = a + 1e-20j * t
    for primitive, value, args in [
        (solves.SOLVE, lambda x: np.linalg.solve(x, b), [a, b]),
        (solves.INV, np.linalg.inv, [a]),
        (determinants.DET, lambda x: np.linalg.det(x)[..., None, None], [a]),
    ]:
        exact = value(point).imag / 1e-20
        got = primitive.jvp([t, np.zeros_like(b)][: len(args)], value(a), *args)
        np.testing.assert_allclose(got, exact, rtol=1e-10, atol=1e-11)


def test_float32_stays_float32():
    a, b = positive(3, 3).astype(np.float32), normal(3, 2).astype(np.float32)
    for primitive, args, params in [
        (solves.SOLVE, [a, b], {}),
        (solves.INV, [a], {}),
        (solves.TRIANGULAR, [a, b], {"lower": True, "trans": False, "unit": False}),
        (solves.PINV, [b], {}),
        (determinants.DET, [a], {}),
        (factors.CHOLESKY, [a], {}),
        (factors.QR, [b], {}),
        (spectra.EIGH, [a], {"uplo": "L"}),
        (spectra.SVD, [b], {}),
        (exponential.EXPM, [a], {}),
    ]:
        z = primitive.value(*args, **params)
        w = tuple(map(np.ones_like, z)) if isinstance(z, tuple) else np.ones_like(z)
        assert {x.dtype for x in several(z)} == {np.dtype(np.float32)}, primitive
        adjoints = primitive.vjp(w, z, *args, **params)
        assert {g.dtype for g in adjoints} == {np.dtype(np.float32)}, primitive


# --- values ---------------------------------------------------------------------------------------


def values():
    for s in SQUARE:
        a, p = regular(*s), positive(*s)
        yield "solve", (a, normal(*s[:-1], 3))
        yield "solve", (a, normal(s[-1]))
        yield "inv", (a,)
        yield "det", (a,)
        yield "slogdet", (a,)
        yield "cholesky", (p,)
        yield "eigh", (p,)
        yield "eigvalsh", (p,)
        if a.size:
            yield "cond", (a,)
            yield "cond", (a, 1)
            yield "cond", (a, -2)
            yield "matrix_rank", (a,)
    for s in OBLONG:
        a = normal(*s)
        yield "qr", (a,)
        yield "pinv", (a,)
        yield "svd", (a, False)
        if len(s) == 2:
            yield "lstsq", (a, normal(s[0]))
            yield "lstsq", (a, normal(s[0], 2))
        for order in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
            if a.size:
                yield "norm", (a, order, (-2, -1), True)
                yield "norm", (a, order, (-1, -2))
    for order in (None, 0, 1, 2, 3, 0.5, -1, np.inf, -np.inf):
        yield "norm", (normal(4), order)
        yield "norm", (normal(4, 3), order, 0)
        yield "norm", (normal(4, 3), order, -1, True)
    yield "norm", (normal(2, 3, 4),)
    yield "norm", (normal(2, 3, 4), None, None, True)
    yield "norm", (np.arange(3),)
    yield "tensorinv", (regular(6, 6).reshape(2, 3, 6), 2)
    yield "tensorsolve", (regular(6, 6).reshape(2, 3, 6), normal(2, 3))


@pytest.mark.parametrize("name, args", list(values()))
def test_values(name, args):
    """On plain arrays our functions are NumPy's."""
    ours, theirs = getattr(linalg, name)(*args), getattr(np.linalg, name)(*args)
    if name != "lstsq":
        assert type(ours) is type(theirs) or not isinstance(theirs, tuple)
    for x, y in zip(several(ours), several(theirs), strict=True):
        assert np.shape(x) == np.shape(y)
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-11)


def test_values_of_scipy():
    a, b = regular(4, 4), normal(4, 2)
    for lower, trans, unit in itertools.product((False, True), (0, 1, "T", "N"), (False, True)):
        expected = scipy.linalg.solve_triangular(a, b, trans, lower, unit)
        got = linalg.solve_triangular(a, b, trans, lower, unit)
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    for lower in (False, True):
        c = linalg.cho_factor(positive(4, 4), lower)
        expected = scipy.linalg.cho_solve(scipy.linalg.cho_factor(positive(4, 4), lower), b)
        np.testing.assert_allclose(linalg.cho_solve(c, b), expected, rtol=1e-12)
        np.testing.assert_allclose(linalg.cho_solve(c, b[:, 0]), expected[:, 0], rtol=1e-12)
    np.testing.assert_allclose(linalg.expm(a), scipy.linalg.expm(a), rtol=1e-12)
    expected = scipy.linalg.expm_frechet(a, normal(4, 4), compute_expm=False)
    np.testing.assert_allclose(linalg.expm_frechet(a, normal(4, 4)), expected, rtol=1e-10)


def test_symmetric_input_gives_numpys_bits():
    a = positive(6, 6)
    a = a + a.T
    assert np.array_equal(linalg.cholesky(a), np.linalg.cholesky(a))
    assert np.array_equal(linalg.eigh(a)[1], np.linalg.eigh(a)[1])


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("n", [None, 3, 8, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_fourier_pairs(norm, n, axis):
    x, y = normal(5, 6), normal(5, 6, seed=1)
    for got, expected in [
        (fft.rfft_pair(x, n, axis, norm), np.fft.rfft(x, n, axis, norm)),
        (fft.fft_pair(x, y, n, axis, norm), np.fft.fft(x + 1j * y, n, axis, norm)),
        (fft.ifft_pair(x, y, n, axis, norm), np.fft.ifft(x + 1j * y, n, axis, norm)),
    ]:
        np.testing.assert_allclose(got[0], expected.real, atol=1e-13)
        np.testing.assert_allclose(got[1], expected.imag, atol=1e-13)
    expected = np.fft.irfft(x + 1j * y, n, axis, norm)
    np.testing.assert_allclose(fft.irfft_pair(x, y, n, axis, norm), expected, atol=1e-13)


@pytest.mark.parametrize("n", [*range(18), 33, 100])
def test_products(n):
    x = normal(3, n) + 1
    np.testing.assert_allclose(products.prod(x, axis=1), np.prod(x, axis=1), rtol=1e-13)
    np.testing.assert_allclose(products.cumprod(x, axis=1), np.cumprod(x, axis=1), rtol=1e-13)
    np.testing.assert_allclose(products.cumprod(x.T, axis=0), np.cumprod(x.T, axis=0), rtol=1e-13)
    assert products.prod(x.astype(int)) == np.prod(x.astype(int))
    assert np.shape(products.prod(x, keepdims=True)) == (1, 1)
    np.testing.assert_allclose(products.cumprod(x), np.cumprod(x), rtol=1e-12)
    mask = x > 0.5
    got = products.prod(x, (0, 1), initial=2.0, where=mask)
    np.testing.assert_allclose(got, np.prod(x, initial=2.0, where=mask), rtol=1e-12)


# --- degenerate inputs, on plain arrays -----------------------------------------------------------


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_det_of_singular_matrices(rank):
    """First and second derivatives against exact ones, by polynomials in the entries."""
    a = np.round(3 * normal(4, rank)) @ np.round(3 * normal(rank, 4, seed=1))
    w, e = np.ones((1, 1)), normal(4, 4, seed=2)
    (gradient,) = determinants.DET.vjp(w, None, a)
    minors = np.array(
        [
            [(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) for j in range(4)]
            for i in range(4)
        ]
    )
    np.testing.assert_allclose(gradient, minors, atol=1e-9)
    h = 1e-3
    cofactor = determinants.COFACTOR.value
    slope = (cofactor(a + h * e) - cofactor(a - h * e)) / (2 * h)
    got = determinants.COFACTOR.jvp([e], None, a)
    np.testing.assert_allclose(got, slope, atol=1e-4 * (1 + np.abs(got).max()))


def test_cofactors_of_what_is_not_finite():
    a = np.array([np.eye(2), np.full((2, 2), np.nan)])
    (gradient,) = determinants.DET.vjp(np.ones((2, 1, 1)), None, a)
    assert np.array_equal(gradient[0], np.eye(2)) and np.isnan(gradient[1]).all()


def test_equal_eigenvalues():
    """Exact for values and for projections onto whole eigenspaces, and finite everywhere."""
    q = np.linalg.qr(normal(4, 4))[0]
    a = q @ np.diag([1.0, 1.0, 1.0, 3.0]) @ q.T
    values, v = z = spectra.EIGH.value(a, "L")
    c, t = normal(4, 4), normal(4, 4, seed=1)
    c, t = c + c.T, t + t.T
    (gradient,) = spectra.EIGH.vjp((3 * values**2, np.zeros((4, 4))), z, a, "L")
    np.testing.assert_allclose(gradient, 3 * a @ a, atol=1e-9)  # of trace(a³)

    def projected(x):
        v = np.linalg.eigh(x)[1][:, :3]
        return np.sum(c * (v @ v.T))

    w = 2 * c @ v * [1, 1, 1, 0]
    with pytest.warns(DegenerateWarning, match="the 4×4 matrix has equal values"):
        (gradient,) = spectra.EIGH.vjp((np.zeros(4), w), z, a, "L")
    slope = (projected(a + 1e-5 * t) - projected(a - 1e-5 * t)) / 2e-5
    assert np.sum(gradient * t) == pytest.approx(slope, rel=1e-7)


def test_equal_singular_values():
    """The polar factor U Vᵀ is smooth where singular values meet, and so is its derivative."""
    q = np.linalg.qr(normal(3, 3))[0]
    for a in (np.eye(3), q, 2 * q):
        u, _, vh = z = spectra.SVD.value(a)
        w, t = normal(3, 3, seed=1), normal(3, 3, seed=2)
        with pytest.warns(DegenerateWarning, match="the polar factor"):
            (gradient,) = spectra.SVD.vjp((w @ vh.T, np.zeros(3), u.T @ w), z, a)

        def polar(x):
            u, _, vh = np.linalg.svd(x)
            return u @ vh

        slope = (polar(a + 1e-5 * t) - polar(a - 1e-5 * t)) / 2e-5
        assert np.sum(w * slope) == pytest.approx(np.sum(gradient * t), rel=1e-7)


def test_singular_values_of_rank_one():
    a = np.outer(normal(4), normal(3))
    z = spectra.SVD.value(a)
    zero = [np.zeros_like(x) for x in z]
    (gradient,) = spectra.SVD.vjp((zero[0], np.array([1.0, 0.0, 0.0]), zero[2]), z, a)
    np.testing.assert_allclose(gradient, a / np.linalg.norm(a), atol=1e-12)
    ones = tuple(np.ones_like(x) for x in z)
    with pytest.warns(DegenerateWarning):
        assert np.isfinite(spectra.SVD.vjp(ones, z, a)[0]).all()


def test_pinv_of_a_matrix_without_full_rank():
    """Along a direction that keeps the rank, the derivative is right."""
    x, y = normal(4, 2), normal(2, 3)
    tx, ty = normal(4, 2, seed=1), normal(2, 3, seed=1)
    a, t = x @ y, tx @ y + x @ ty
    h = 1e-5
    above, below = (np.linalg.pinv((x + s * tx) @ (y + s * ty), 1e-10) for s in (h, -h))
    got = solves.PINV.jvp([t], np.linalg.pinv(a, 1e-10), a)
    np.testing.assert_allclose(got, (above - below) / (2 * h), atol=1e-6)


# --- errors ---------------------------------------------------------------------------------------

SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda: linalg.solve(SINGULAR, np.ones(2)), SingularMatrixError, "2×2 matrix is singular"),
        (
            lambda: linalg.inv(np.stack([np.eye(2), SINGULAR])),
            SingularMatrixError,
            r"\[1\] of a st",
        ),
        (lambda: linalg.inv(np.zeros((3, 0, 2, 2))), None, ""),
        (
            lambda: linalg.solve_triangular(np.zeros((1, 1)), np.ones(1)),
            SingularMatrixError,
            "zero on its diagonal",
        ),
        (
            lambda: linalg.cholesky(-np.eye(2)),
            NotPositiveDefiniteError,
            "smallest eigenvalue is -1; add a jitter",
        ),
        (
            lambda: linalg.cholesky(np.stack([[np.eye(2)], [SINGULAR - np.eye(2)]])),
            NotPositiveDefiniteError,
            r"\[1, 0\] of a stack of shape \(2, 1\)",
        ),
        (lambda: linalg.cholesky(np.tril(positive(3, 3))), MatrixError, "not symmetric"),
        (lambda: linalg.eigh(np.tril(positive(3, 3))), MatrixError, "not symmetric"),
        (lambda: linalg.svd(np.full((2, 2), np.nan)), MatrixError, "nan or inf"),
        (lambda: linalg.lstsq(SINGULAR, np.ones(2)), SingularMatrixError, "rank 1, not 2"),
        (lambda: linalg.solve(np.eye(2), np.ones(3)), ShapeError, r"\(3,\).*\(2, 2\)"),
        (lambda: linalg.solve(np.ones((2, 3)), np.ones(3)), ShapeError, r"square.*\(2, 3\)"),
        (
            lambda: linalg.solve(regular(4, 2, 2), np.ones((3, 2, 1))),
            ShapeError,
            r"\(4, 2, 2\) and \(3, 2, 1\)",
        ),
        (lambda: linalg.inv(np.ones(2)), ShapeError, r"\(2,\).*test_primitives.py"),
        (lambda: linalg.svd(np.ones((2, 3))), UnsupportedError, "full_matrices=False"),
        (lambda: linalg.qr(np.ones((3, 2)), "complete"), UnsupportedError, "reduced"),
        (lambda: linalg.norm(np.ones((2, 2)), "fre"), ShapeError, "fre"),
        (lambda: linalg.norm(np.ones((2, 2, 2)), 1), ShapeError, r"\(2, 2, 2\)"),
        (lambda: linalg.norm(np.ones((2, 2)), 1, 2), ShapeError, "axis 2"),
        (lambda: fft.rfft_pair(np.ones(3), norm="x"), ArgumentError, "backward"),
        (lambda: fft.fft_pair(np.ones(3), np.ones(4)), ArgumentError, r"\(3,\).*\(4,\)"),
        (lambda: sorting.argmax(np.ones((0, 3)), 0), ArgumentError, r"\(0, 3\)"),
        (lambda: sorting.argsort(np.ones(3), 1), ArgumentError, "axis 1"),
        (lambda: products.prod(np.ones(3), 1), ArgumentError, "axis 1"),
    ],
)
def test_errors(call, kind, words):
    if kind is None:
        call()
        return
    with pytest.raises(kind, match=words):
        call()
    if issubclass(kind, MatrixError):
        with pytest.raises(np.linalg.LinAlgError):
            call()


# --- through the tape -----------------------------------------------------------------------------


def likelihood(k, y):
    """The log likelihood of a Gaussian process, by its Cholesky factor."""
    factor = linalg.cholesky(k)
    white = linalg.solve_triangular(factor, y, lower=True)
    return -0.5 * np.sum(white * white) - np.sum(np.log(np.diagonal(factor)))


def functions():
    """Functions of NumPy's and ours, with arguments: recorded in first and second order."""
    la = np.linalg
    for s in [(1, 1), (2, 2), (4, 4), (2, 3, 3)]:
        a, p, b, v = regular(*s), positive(*s), normal(*s[:-1], 2), normal(s[-1])
        yield "solve", la.solve, [a, b]
        yield "solve vector", la.solve, [a, v]
        yield "inv", la.inv, [a]
        yield "det", la.det, [a]
        yield "logdet", lambda x: la.slogdet(x)[1], [a]
        yield "cholesky", linalg.cholesky, [p]
        yield "upper", lambda x: linalg.cholesky(x, upper=True), [p]
        yield "eigh", lambda x: tuple(linalg.eigh(x)), [p]
        yield "eigvalsh", linalg.eigvalsh, [p]
        yield "pinv", la.pinv, [a]
        yield "expm", linalg.expm, [a]
        yield "expm_frechet", linalg.expm_frechet, [a, normal(*s)]
        yield "triangular", lambda x, y: linalg.solve_triangular(x, y, lower=True), [a, b]
        yield "transposed", lambda x, y: linalg.solve_triangular(x, y, "T"), [a, v]
        yield "cho_solve", lambda x, y: linalg.cho_solve(linalg.cho_factor(x), y), [p, b]
        yield "matrix_power", lambda x: la.matrix_power(x, -3), [a]
        yield "cond", la.cond, [a]
        yield "cond 1", lambda x: la.cond(x, 1), [a]
    yield "broadcast", la.solve, [regular(4, 1, 3, 3), normal(2, 3, 1)]
    yield "likelihood", likelihood, [positive(4, 4), normal(4)]
    for s in [(3, 3), (4, 2), (2, 4), (1, 3), (3, 1), (2, 3, 2), (2, 2, 3)]:
        a = normal(*s)
        yield "svd", lambda x: tuple(la.svd(x, full_matrices=False)), [a]
        yield "svdvals", lambda x: la.svd(x, compute_uv=False), [a]
        yield "qr", lambda x: tuple(la.qr(x)), [a]
        yield "r", lambda x: la.qr(x, mode="r"), [a]
        yield "pinv", la.pinv, [a]
        for order in ("fro", "nuc", 2, 1, np.inf):
            yield f"norm {order}", lambda x, o=order: la.norm(x, o, (-2, -1)), [a]
        if len(s) == 2:
            yield "lstsq", lambda x, y: (la.lstsq(x, y)[0], la.lstsq(x, y)[3]), [a, normal(s[0])]
            yield "lstsq 2", lambda x, y: la.lstsq(x, y)[0], [a, normal(s[0], 2)]
    yield "residuals", lambda x, y: la.lstsq(x, y)[1], [normal(5, 2), normal(5, 3)]
    for order in (None, 2, 3, 1, np.inf, -np.inf, 1.5):
        yield f"norm {order}", lambda x, o=order: la.norm(x, o), [normal(5)]
        yield f"norm {order} axis", lambda x, o=order: la.norm(x, o, 0, True), [normal(5, 2)]
    yield "norm", la.norm, [normal(2, 3, 2)]
    yield "tensorinv", lambda x: la.tensorinv(x, 1), [regular(6, 6).reshape(6, 2, 3)]
    yield "tensorsolve", la.tensorsolve, [regular(6, 6).reshape(2, 3, 6), normal(2, 3)]
    for n in (4, 5):
        x, y = normal(3, n), normal(3, n, seed=1)
        yield f"rfft {n}", fft.rfft_pair, [x]
        yield f"irfft {n}", lambda x, y, n=n: fft.irfft_pair(x, y, n), [x, y]
        yield f"fft {n}", lambda x, y: fft.fft_pair(x, y, 6, 0, "ortho"), [x, y]
        yield f"ifft {n}", lambda x, y: fft.ifft_pair(x, y, 2), [x, y]
        yield f"shifts {n}", lambda x: (np.fft.fftshift(x), np.fft.ifftshift(x, 1)), [x]
    for n in (1, 2, 7, 8, 9, 17):
        yield f"prod {n}", lambda x: np.prod(x, axis=0), [normal(n, 2)]
        yield f"cumprod {n}", lambda x: np.cumprod(x, axis=-1), [normal(2, n)]
    x = normal(11)
    x[[3, 7]] = 0.0
    yield "prod zeros", lambda x: np.prod(x, keepdims=True), [x]
    yield "cumprod zeros", np.cumprod, [x]
    yield "prod axes", lambda x: np.prod(x, axis=(0, 2)), [normal(2, 3, 4)]
    yield "sort", lambda x: np.sort(x, axis=0), [normal(5, 3)]
    yield "sort all", lambda x: np.sort(x, axis=None), [normal(5, 3)]
    yield "partition", lambda x: np.partition(x, 2), [normal(2, 6)]
    yield "by argmax", lambda x: x[np.argmax(x)], [normal(5)]
    yield "by argsort", lambda x: x[np.argsort(-x)][:2], [normal(5)]


def scalar(f, seed=5):
    """A scalar function with a Hessian of its own from a function with any results."""

    def total(*xs):
        result = f(*xs)
        parts = result if isinstance(result, tuple) else (result,)
        weights = [normal(*np.shape(part), seed=seed + i) for i, part in enumerate(parts)]
        terms = [np.sum(w * p * (1 + 0.3 * p)) for w, p in zip(weights, parts, strict=True)]
        return sum(terms[1:], terms[0])

    return total


def differences(f, h):
    """The derivative of f(step) at 0, to the fourth order."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def flat(arrays):
    return np.concatenate([np.ravel(a) for a in arrays])


@pytest.mark.parametrize("case", list(functions()), ids=lambda c: f"{c[0]}-{c[2][0].shape}")
def test_through_the_tape(case):
    """Value, gradient, Hessian times vector, its symmetry, and nested gradients."""
    _, f, args = case
    g, argnums = scalar(f), tuple(range(len(args)))
    u = [normal(*a.shape, seed=8) for a in args]
    v = [normal(*a.shape, seed=9) for a in args]

    def moved(h):
        return [a + h * t for a, t in zip(args, v, strict=True)]

    def gradient(*xs):
        return nt.grad(g, argnums)(*xs)

    value, first = nt.value_and_grad(g, argnums)(*args)
    assert value == pytest.approx(g(*args), rel=1e-9, abs=1e-9)
    slope = differences(lambda h: g(*moved(h)), 1e-4)
    scale = np.abs(flat(first)).max()
    assert flat(first) @ flat(v) == pytest.approx(slope, rel=1e-6, abs=1e-7 * (1 + scale))

    _, same, hv = nt.hvp(g, tuple(args), tuple(v))
    _, _, hu = nt.hvp(g, tuple(args), tuple(u))
    np.testing.assert_allclose(flat(same), flat(first), rtol=1e-10, atol=1e-11 * (1 + scale))
    expected = differences(lambda h: flat(gradient(*moved(h))), 1e-4)
    scale = np.abs(flat(hv)).max()
    np.testing.assert_allclose(flat(hv), expected, rtol=1e-6, atol=1e-6 * (1 + scale))
    bound = 1e-10 * (1 + np.abs(flat(u) * flat(hv)).sum())
    assert flat(u) @ flat(hv) == pytest.approx(flat(v) @ flat(hu), rel=1e-9, abs=bound)

    def directional(*xs):
        return sum(np.sum(t * d) for t, d in zip(v, gradient(*xs), strict=True))

    nested = nt.grad(directional, argnums)(*args)
    np.testing.assert_allclose(flat(nested), flat(hv), rtol=1e-9, atol=1e-10 * (1 + scale))


# --- replays: permutations, ranks and factors are computed anew -----------------------------------


def replayed(f, first, *others):
    """Values of a function on a tape recorded with the inputs `first`, swept with others."""
    with nt.Tape() as tape:
        f(*[nt.var(x) for x in first])
    work = Workspace(seal(tape))
    found = []
    for inputs in others:
        work.set_inputs(flat(inputs))
        found.append(work.value(work.tape.slots - 1))
    return found


@pytest.mark.parametrize(
    "f, shapes",
    [
        (lambda x: np.sum(np.sort(x) * np.arange(6)), [(6,)]),
        (lambda x: np.sum(np.sort(x, axis=0) * np.arange(3)), [(4, 3)]),
        (lambda x: np.sum(np.argsort(x) * np.arange(6)) * 1.0, [(6,)]),
        (lambda x: np.argmax(x) * 1.0 + np.argmin(x), [(6,)]),
        (lambda x: np.sum(np.argmax(x, axis=1, keepdims=True) * [[1.0], [10.0]]), [(2, 5)]),
        (lambda x, y: np.sum(np.searchsorted(np.sort(x), y) * [1.0, 10.0]), [(6,), (2,)]),
        (lambda x: np.sum(np.digitize(x, [-1.0, 0.0, 1.0]) * [1.0, 5.0, 25.0]), [(3,)]),
        (lambda x: np.sum(np.partition(x, 3)[:3]), [(6,)]),
        (lambda x: np.linalg.matrix_rank(x) * 1.0, [(3, 3)]),
        (lambda x, y: np.sum(np.linalg.solve(x, y)), [(3, 3), (3,)]),
        (lambda x: np.sum(np.abs(np.linalg.svd(x, compute_uv=False))), [(3, 2)]),
        (lambda x: np.prod(x), [(11,)]),
    ],
)
def test_replays(f, shapes):
    runs = [[normal(*s, seed=10 * k + j) for j, s in enumerate(shapes)] for k in range(4)]
    if shapes == [(3, 3)]:
        runs[1][0][2] = runs[1][0][0]  # another rank
    found = replayed(f, *runs)
    np.testing.assert_allclose(found, [f(*xs) for xs in runs[1:]], rtol=1e-12)


def test_a_replay_meets_a_singular_matrix():
    """The error comes out of the sweep, and the tape is as good as before."""
    with nt.Tape() as tape:
        np.sum(np.linalg.inv(2.0 * nt.var(np.eye(2)))) + 1.0
    work = Workspace(seal(tape))
    last = work.tape.slots - 1
    for _ in range(2):
        work.set_inputs(SINGULAR.ravel())
        with pytest.raises(SingularMatrixError, match="inv: the 2×2 matrix"):
            work.value(last)
        work.set_inputs(np.diag([1.0, 4.0]).ravel())
        assert work.value(last) == 1.0 + 0.5 + 0.125


def test_positions_are_recording_integers():
    x = nt.var([[3.0, 1.0], [2.0, 5.0]])
    for found, expected in [
        (np.argsort(x), [[1, 0], [0, 1]]),
        (np.argmax(x, axis=0), [0, 1]),
        (np.argmin(x, axis=1, keepdims=True), [[1], [0]]),
        (np.searchsorted(x[1], x[0]), [1, 0]),
        (np.digitize(x, [1.5, 4.0]), [[1, 0], [1, 2]]),
        (np.argpartition(x, 1), [[1, 0], [0, 1]]),
    ]:
        assert isinstance(found, nt.Array) and found.dtype == np.int64
        assert found.value.tolist() == expected
    assert isinstance(np.argmax(x), nt.Var) and [10, 20, 30, 40][np.argmax(x)] == 40
    assert np.argsort(nt.var([2.0, 1.0, 2.0]), kind="stable").tolist() == [1, 0, 2]


def test_sorting_equal_entries():
    """Each sorted place has one source: the gradient is a permutation of the weights."""
    gradient = nt.grad(lambda x: np.sum(np.sort(x, kind="stable") * [1.0, 2.0, 4.0]))
    assert gradient(np.array([5.0, 5.0, 1.0])).tolist() == [2.0, 4.0, 1.0]


# --- degenerate inputs, through the tape ----------------------------------------------------------


def test_norms_at_zero():
    """The subgradient of least norm, and no nan in the second order."""
    for order in (None, 2, 3):
        f = lambda x, o=order: np.linalg.norm(x, o)  # noqa: E731
        assert nt.grad(f)(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
        _, _, (product,) = nt.hvp(lambda x, f=f: f(x) ** 2, (np.zeros(3),), (np.ones(3),))
        assert np.isfinite(product).all()
    rows = nt.grad(lambda x: np.sum(np.linalg.norm(x, axis=1)))(np.array([[0.0, 0.0], [3.0, 4.0]]))
    np.testing.assert_allclose(rows, [[0.0, 0.0], [0.6, 0.8]])


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_det_of_singular_matrices_in_second_order(rank):
    a = np.round(3 * normal(3, rank)) @ np.round(3 * normal(rank, 3, seed=1))
    v = normal(3, 3, seed=2)
    _, first, (hv,) = nt.hvp(np.linalg.det, (a,), (v,))

    def exact(x):  # Leibniz: a polynomial, which differences of the fourth order hit exactly
        return sum(
            np.linalg.det(np.eye(3)[list(p)]) * np.prod([x[i, j] for i, j in enumerate(p)])
            for p in itertools.permutations(range(3))
        )

    e = normal(3, 3, seed=3)
    mixed = differences(lambda h: differences(lambda k: exact(a + h * v + k * e), 1e-2), 1e-2)
    assert np.sum(hv * e) == pytest.approx(mixed, abs=1e-8)
    slope = differences(lambda h: exact(a + h * e), 1e-2)
    assert np.sum(first[0] * e) == pytest.approx(slope, abs=1e-9)


def test_third_derivatives_of_det():
    a, v, e = regular(3, 3), normal(3, 3, seed=2), normal(3, 3, seed=3)

    def twice(x):
        return np.sum(e * nt.grad(lambda y: np.sum(v * nt.grad(np.linalg.det)(y)))(x))

    slope = differences(lambda h: twice(a + h * v), 1e-2)
    assert np.sum(nt.grad(twice)(a) * v) == pytest.approx(slope, rel=1e-8)
    with pytest.raises(SingularMatrixError):
        nt.grad(twice)(np.zeros((3, 3)))


def test_slogdet_of_a_singular_matrix():
    sign, log = np.linalg.slogdet(nt.var(SINGULAR))
    assert sign.value == 0.0 and log.value == -np.inf
    with pytest.raises(SingularMatrixError, match="inv"):
        log.backward()
    # Where the branch is not taken, its gradient is not asked for.
    f = lambda x: np.where(x[0, 0] > 5.0, np.linalg.slogdet(x)[1], np.sum(x))  # noqa: E731
    assert nt.grad(f)(SINGULAR).tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize("zeros", [(), (0,), (2, 5), (1, 2, 3)])
def test_products_with_zeros(zeros):
    """Gradient and Hessian are products of all other factors, without a division."""
    x = normal(9) + 2
    x[list(zeros)] = 0.0
    others = np.array([np.prod(np.delete(x, i)) for i in range(9)])
    np.testing.assert_allclose(nt.grad(np.prod)(x), others, rtol=1e-12)
    v = normal(9, seed=1)
    pairs = np.array(
        [[0 if i == j else np.prod(np.delete(x, [i, j])) for i in range(9)] for j in range(9)]
    )
    np.testing.assert_allclose(nt.hvp(np.prod, (x,), (v,))[2][0], pairs @ v, rtol=1e-11)
    w = normal(9, seed=2)
    gradient = nt.grad(lambda y: np.sum(w * np.cumprod(y)))(x)
    below = [sum(w[k] * np.prod(np.delete(x[: k + 1], i)) for k in range(i, 9)) for i in range(9)]
    np.testing.assert_allclose(gradient, below, rtol=1e-11)


def test_equal_eigenvalues_through_the_tape():
    f = lambda x: np.sum(np.linalg.eigvalsh(x) ** 3)  # noqa: E731
    np.testing.assert_allclose(nt.grad(f)(np.eye(3)), 3 * np.eye(3), atol=1e-12)

    def root(x):
        values, vectors = np.linalg.eigh(x)
        return np.sum((vectors * np.sqrt(values)) @ vectors.T * normal(3, 3))

    with pytest.warns(DegenerateWarning, match="lacks terms"):
        nt.grad(root)(np.eye(3))


def test_two_ways_to_a_likelihood():
    k, y = positive(5, 5), normal(5)

    def other(k, y):
        return -0.5 * np.sum(y * np.linalg.solve(k, y)) - 0.5 * np.linalg.slogdet(k)[1]

    one, two = (nt.grad(f, (0, 1))(k, y) for f in (likelihood, other))
    np.testing.assert_allclose(flat(one), flat(two), rtol=1e-10)


def test_symmetric_gradients():
    p = positive(4, 4)
    for f in (np.linalg.cholesky, np.linalg.eigvalsh):
        gradient = nt.grad(lambda x, f=f: np.sum(f(x) ** 3))(p)
        np.testing.assert_allclose(gradient, gradient.T, atol=1e-12)


# --- operands, dtypes, empty arrays ---------------------------------------------------------------


def test_results_without_axes_are_scalars():
    x = nt.var(np.diag([2.0, 3.0]))
    sign, log = np.linalg.slogdet(x)
    norms = [np.linalg.norm(x, order) for order in (None, 2, -2, 1, "nuc")]
    for y in (np.linalg.det(x), sign, log, np.linalg.cond(x), np.prod(x), np.prod(x[1, 1]), *norms):
        assert isinstance(y, nt.Var)


def test_constants_and_lists():
    x = nt.var([2.0, 4.0])
    a = np.linalg.solve(np.eye(2) * 2.0, x)
    np.sum(a).backward()
    assert x.grad.tolist() == [0.5, 0.5]
    y = nt.var(3.0)
    linalg.det([[y, 1.0], [1.0, y]]).backward()
    assert y.grad == pytest.approx(6.0)
    assert np.linalg.inv(nt.var([[2.0]]) * 1).value.tolist() == [[0.5]]


def test_float32_through_the_tape():
    a, b = positive(3, 3).astype(np.float32), normal(3, 2).astype(np.float32)
    x, y = nt.var(a), nt.var(b)
    z = np.linalg.solve(x, y)
    assert z.dtype == np.float32 and np.array_equal(z.value, np.linalg.solve(a, b))
    np.sum(z).backward()
    assert x.grad.dtype == np.float32
    exact = np.linalg.solve(a.astype(float), np.ones((3, 2)))
    np.testing.assert_allclose(y.grad, exact, rtol=1e-4)


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0)])
def test_empty_arrays_through_the_tape(shape):
    x = nt.var(np.zeros(shape))
    for f in (np.linalg.inv, linalg.expm, np.linalg.det, np.linalg.cholesky, np.linalg.eigvalsh):
        expected = f(np.zeros(shape))
        assert np.shape(f(x).value) == np.shape(expected)
        np.testing.assert_array_equal(f(x).value, expected)
        assert nt.grad(lambda y, f=f: np.sum(f(y)))(np.zeros(shape)).shape == shape
    assert float(np.prod(nt.var(np.zeros(0)))) == 1.0
    assert np.cumprod(nt.var(np.zeros((0, 2))), axis=0).shape == (0, 2)
    assert np.sort(nt.var(np.zeros((2, 0)))).shape == (2, 0)


def test_products_of_whole_numbers_and_booleans():
    x = nt.var([1.5, -2.5, 3.0])
    assert np.prod(np.floor(x).astype(int)).value == -9
    counted = np.cumprod(x > 0)
    assert counted.dtype == np.int64 and counted.tolist() == [1, 0, 0]
    y = np.cumprod(nt.var(np.array([2.0, 3.0], np.float32)))
    assert y.dtype == np.float32


# --- what NumPy has and a tape has not ------------------------------------------------------------


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "fft2", "rfftn", "hfft"])
def test_complex_transforms_are_refused(name):
    with pytest.raises(UnsupportedError, match="rfft_pair"):
        getattr(np.fft, name)(nt.var(np.ones((4, 4))))


def test_refusals():
    x = nt.var(np.eye(3))
    with pytest.raises(UnsupportedError, match="eigh"):
        np.linalg.eig(x)
    with pytest.raises(UnsupportedError, match="eigh"):
        np.linalg.eigvals(x)
    with pytest.raises(UnsupportedError, match=r"np\.sort"):
        np.unique(x)
    with pytest.raises(UnsupportedError, match="full_matrices=False"):
        np.linalg.svd(x[:2])
    with pytest.raises(UnsupportedError, match="out"):
        np.argmax(x, out=np.zeros((), int))
    with pytest.raises(UnsupportedError, match="structured"):
        np.sort(x, order="f")
    with pytest.raises(UnsupportedError, match="dtype"):
        np.prod(x, dtype=np.float32)


def test_errors_arise_at_the_line_that_asks():
    with pytest.raises(SingularMatrixError, match="singular") as caught:
        np.linalg.inv(nt.var(SINGULAR))
    assert caught.traceback[0].path.name == "test_primitives.py"
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2, 2\).*test_primitives\.py:\d+"):
        np.linalg.solve(nt.var(np.eye(2)), np.ones(3))
