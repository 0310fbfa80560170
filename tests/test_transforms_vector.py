"""Jacobians, Hessians and products with them: trees, closed forms, identities, edge cases."""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np
import pytest

import ndtape as nt
from ndtape.trees import flatten

Pair = namedtuple("Pair", "a b")
A = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
X = np.array([0.3, -0.7, 1.1])


def close(got, expected, tolerance=1e-12):
    """Trees of the same structure and shapes, and of numbers that agree."""
    leaves, structure = flatten(got)
    others, other = flatten(expected)
    assert structure == other
    for one, two in zip(leaves, others, strict=True):
        one, two = np.asarray(one), np.asarray(two)
        assert one.shape == two.shape
        assert np.all(np.abs(one - two) <= tolerance * np.maximum(1, np.abs(one) + np.abs(two)))


def plain(tree):
    """No recording value is left in a tree."""
    return not any(isinstance(x, (nt.Var, nt.Array)) for x in flatten(tree)[0])


# --- trees ----------------------------------------------------------------------------------------


def trees_in_and_out(p, s):
    return {"y": s * (p["w"] @ p["x"]), "pair": Pair(np.sum(p["x"] ** 2), [s * s, None])}


POINT = {"w": A, "x": X}
OUTER = np.einsum("ij,k->ijk", np.eye(2), X).transpose(0, 1, 2)
EXPECTED = {  # by p and by s = 2
    "y": ({"w": 2.0 * np.einsum("ij,k->ijk", np.eye(2), X), "x": 2.0 * A}, A @ X),
    "pair": Pair(({"w": np.zeros((2, 3)), "x": 2 * X}, 0.0),
                 [({"w": np.zeros((2, 3)), "x": np.zeros(3)}, 4.0), None]),
}  # fmt: skip


@pytest.mark.parametrize("transform", [nt.jacobian, nt.jacfwd, nt.jacrev])
def test_jacobians_are_trees_of_results_of_trees_of_arguments(transform):
    found = transform(trees_in_and_out, argnums=(0, 1))(POINT, 2.0)
    close(found, EXPECTED)
    assert plain(found) and list(found) == ["y", "pair"]
    only_s = transform(trees_in_and_out, 1)(POINT, 2.0)
    close(only_s, {"y": A @ X, "pair": Pair(0.0, [4.0, None])})
    assert type(only_s["pair"].a) is float


def test_products_of_trees():
    tangent = ({"w": np.ones((2, 3)), "x": X * 2}, 0.5)
    value, along = nt.jvp(trees_in_and_out, (POINT, 2.0), tangent)
    assert type(value["pair"]) is Pair and type(along["pair"].b[0]) is float
    close(value, trees_in_and_out(POINT, 2.0))
    expected = {
        "y": 0.5 * (A @ X) + 2.0 * (np.ones((2, 3)) @ X + A @ (2 * X)),
        "pair": Pair(4 * np.sum(X**2), [2.0, None]),
    }
    close(along, expected)
    linear_value, f_jvp = nt.linearize(trees_in_and_out, POINT, 2.0)
    close(linear_value, value)
    close(f_jvp(*tangent), expected)
    close(f_jvp(*tangent), expected)  # again
    value, pullback = nt.vjp(trees_in_and_out, POINT, 2.0)
    w = {"y": np.array([1.0, -1.0]), "pair": Pair(0.5, [3.0, None])}
    adjoints = pullback(w)
    close(adjoints, ({"w": 2 * np.outer(w["y"], X), "x": 2 * w["y"] @ A + X},
                     float(w["y"] @ (A @ X) + 12.0)))  # fmt: skip
    left = sum(np.sum(a * b) for a, b in zip(flatten(w)[0], flatten(expected)[0], strict=True))
    right = sum(np.sum(a * b) for a, b in zip(flatten(adjoints)[0], flatten(tangent)[0],
                                              strict=True))  # fmt: skip
    assert left == pytest.approx(right, rel=1e-13)  # <w, J t> = <Jᵀ w, t>


def test_hessians_are_trees_of_trees():
    def f(p, s):
        return s * p["x"] @ p["x"] * p["k"] ** 2

    at = {"x": X, "k": 3.0}
    found = nt.hessian(f, (0, 1))(at, 2.0)
    xx, xk, xs = 36.0 * np.eye(3), 24.0 * X, 18.0 * X
    kk, ks = 4.0 * (X @ X), 6.0 * (X @ X)
    by_p = {"x": ({"x": xx, "k": xk}, xs), "k": ({"x": xk.T, "k": kk}, ks)}
    close(found, (by_p, ({"x": xs, "k": ks}, 0.0)))  # as jacfwd(jacrev(f, argnums), argnums)
    close(found, nt.jacfwd(nt.jacrev(f, (0, 1)), (0, 1))(at, 2.0))
    close(nt.hessian(f)(at, 2.0), {key: rows[0] for key, rows in by_p.items()})
    close(nt.hessian(f, (1,))(at, 2.0), ((0.0,),))
    close(nt.hessian(f, -1)(at, 2.0), 0.0)
    assert plain(found)


def test_has_aux():
    def f(x):
        return np.sum(x**3), {"double": x * 2, "text": "kept", "count": len(x), "none": None,
                              "positive": x[2] > 0}  # fmt: skip

    aux = {"double": X * 2, "text": "kept", "count": 3, "none": None, "positive": True}

    def same_aux(found):
        assert found.pop("text") == "kept" and found.pop("positive") is True
        assert isinstance(found["double"], np.ndarray)
        close(found, {key: aux[key] for key in found})

    (value, extra), gradient = nt.value_and_grad(f, has_aux=True)(X)
    close((value, gradient), (np.sum(X**3), 3 * X**2))
    same_aux(extra)
    for transform in (nt.jacobian, nt.jacfwd, nt.jacrev, nt.grad):
        gradient, extra = transform(f, has_aux=True)(X)
        close(gradient, 3 * X**2)
        same_aux(extra)
    matrix, extra = nt.hessian(f, has_aux=True)(X)
    close(matrix, np.diag(6 * X))
    same_aux(extra)
    value, pullback, extra = nt.vjp(f, X, has_aux=True)
    close(pullback(2.0), (6 * X**2,))
    same_aux(extra)
    value, along, extra = nt.jvp(f, (X,), (X,), has_aux=True)
    close(along, 3 * np.sum(X**3))
    same_aux(extra)
    value, f_jvp, extra = nt.linearize(f, X, has_aux=True)
    close(f_jvp(X), 3 * np.sum(X**3))
    same_aux(extra)


def test_aux_inside_another_transform_stays_recorded():
    def f(x):
        gradient, aux = nt.grad(lambda y: (y**3, y * y), has_aux=True)(x)
        return gradient * aux

    assert nt.grad(f)(2.0) == 3 * 4 * 2.0**3
    w = nt.var(3.0)
    _, aux = nt.grad(lambda x: (x * w, x * w), has_aux=True)(2.0)
    assert isinstance(aux, nt.Var) and aux.value == 6.0
    assert nt.grad(lambda x: (x, w), has_aux=True)(2.0)[1] is w


@pytest.mark.parametrize("result", [3.0, [1.0, 2.0, 3.0], None])
def test_aux_that_is_no_pair(result):
    with pytest.raises(nt.ArgumentError, match="must return a pair"):
        nt.grad(lambda x: result, has_aux=True)(2.0)
    with pytest.raises(nt.ArgumentError, match="has_aux=True"):
        nt.grad(lambda x: (x, 1.0))(2.0)


# --- which mode -----------------------------------------------------------------------------------


def count_sweeps(monkeypatch, f, *args):
    from ndtape.run import Workspace

    counts = {"tangent": 0, "reverse": 0}
    whole = Workspace.whole

    def counted(self, name, *given, **options):
        counts[name] += 1
        return whole(self, name, *given, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "whole", counted)
        f(*args)
    return counts


def test_the_jacobian_takes_the_cheaper_mode(monkeypatch):
    tall, wide = (lambda x: np.concatenate([x, x * x])), (lambda x: np.array([1.0, 2.0]) * x.sum())
    assert count_sweeps(monkeypatch, nt.jacobian(tall), X) == {"tangent": 3, "reverse": 0}
    assert count_sweeps(monkeypatch, nt.jacobian(wide), X) == {"tangent": 0, "reverse": 2}
    assert count_sweeps(monkeypatch, nt.jacfwd(wide), X)["tangent"] == 3
    assert count_sweeps(monkeypatch, nt.jacrev(tall), X)["reverse"] == 6


def test_the_hessian_repeats_no_forward_sweep(monkeypatch):
    from ndtape.run import Workspace

    swept = []
    sweep, whole = Workspace.sweep, Workspace.whole

    def watched(self, name, lo, hi, backwards=False):
        swept.append((name, hi - lo))
        return sweep(self, name, lo, hi, backwards)

    def watched_whole(self, name, lo, hi, backwards=False):
        swept.append((name, hi - lo))
        return whole(self, name, lo, hi, backwards)

    monkeypatch.setattr(Workspace, "sweep", watched)
    monkeypatch.setattr(Workspace, "whole", watched_whole)
    nt.hessian(lambda x: np.sum(np.sin(x) * x))(X)
    assert sum(n for name, n in swept if name == "forward") < 2 * max(n for _, n in swept)
    assert [name for name, _ in swept].count("forward_over_reverse") == 3


def chained(x):
    """A scalar program of many inputs, with a branch."""
    total, values = 0.0, []
    for i in range(len(x) - 1):
        step = nt.sin(x[i]) * x[i + 1] if x[i] > 0 else nt.exp(x[i]) / (2.0 + x[i + 1])
        total = total + step * step
        values.append(step)
    return total, [*values, 3.0, x[0]]


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("n", [2, 6, 16, 17, 40])
def test_directions_in_lanes_and_one_by_one_give_the_same_bits(monkeypatch, traced, n):
    from ndtape.transforms import directions

    wrap = nt.function if traced else (lambda f: f)
    x = np.cos(3.0 * np.arange(n))
    scalar, vector = wrap(lambda x: chained(x)[0]), wrap(lambda x: chained(x)[1])
    uses = nt.hessian(scalar), nt.jacfwd(vector), nt.jacrev(vector), nt.jacobian(vector)
    in_lanes = [use(x) for use in uses]
    monkeypatch.setattr(directions, "LEAST", 10**9)
    for found, expected in zip(in_lanes, [use(x) for use in uses], strict=True):
        for one, other in zip(flatten(found)[0], flatten(expected)[0], strict=True):
            np.testing.assert_array_equal(one, other)
    H = in_lanes[0]
    steps = [1e-6 * np.eye(n)[i] for i in range(n)]
    differences = [(nt.grad(scalar)(x + e) - nt.grad(scalar)(x - e)) / 2e-6 for e in steps]
    np.testing.assert_allclose(H, np.stack(differences), rtol=1e-6, atol=1e-7)
    close(in_lanes[1], in_lanes[2])


# --- closed forms of higher order -----------------------------------------------------------------


def nth(transform, f, n):
    for _ in range(n):
        f = transform(f)
    return f


@pytest.mark.parametrize("transform", [nt.grad, nt.jacfwd, nt.jacrev, nt.jacobian,
                                       lambda f: lambda x: nt.jvp(f, (x,), (1.0,))[1],
                                       nt.elementwise_grad])  # fmt: skip
def test_high_orders_of_scalars(transform):
    x = 0.7
    sine = [math.sin(x), math.cos(x), -math.sin(x), -math.cos(x), math.sin(x)]
    t = math.tanh(x)
    tanh = [t, 1 - t * t, -2 * t * (1 - t * t), (1 - t * t) * (6 * t * t - 2)]
    for n in range(1, 4):
        assert nth(transform, nt.sin, n)(x) == pytest.approx(sine[n], rel=1e-13)
        assert nth(transform, nt.tanh, n)(x) == pytest.approx(tanh[n], rel=1e-13)
        reciprocal = (-1) ** n * math.factorial(n) / x ** (n + 1)
        assert nth(transform, lambda v: 1.0 / v, n)(x) == pytest.approx(reciprocal, rel=1e-13)
        logarithm = -((-1) ** n) * math.factorial(n - 1) / x**n
        assert nth(transform, nt.log, n)(x) == pytest.approx(logarithm, rel=1e-13)


def cubic(x):
    return np.sum(x) ** 3 + np.sum(x**4)


def test_third_and_fourth_derivatives_of_arrays():
    """D³ (Σx)³ = 6 everywhere; D³ Σx⁴ = 24 x on the diagonal."""
    third = np.full((3, 3, 3), 6.0)
    third[range(3), range(3), range(3)] += 24 * X
    fourth = np.zeros((3, 3, 3, 3))
    fourth[range(3), range(3), range(3), range(3)] = 24.0
    close(nt.jacobian(nt.hessian(cubic))(X), third)
    close(nt.jacfwd(nt.jacrev(nt.grad(cubic)))(X), third)
    close(nt.jacrev(nt.jacfwd(nt.jacfwd(cubic)))(X), third)
    close(nt.hessian(lambda x: nt.grad(cubic)(x)[0])(X), third[0])
    close(nt.hessian(nt.hessian(lambda v: v**4))(0.5), 24.0)
    close(nt.jacfwd(nt.jacobian(nt.hessian(cubic)))(X), fourth)
    close(nt.jacfwd(nt.jacfwd(nt.jacfwd(nt.jacfwd(cubic))))(X), fourth)


def test_third_derivatives_through_products_and_reductions():
    """f = xᵀ M x exp(s), with s the sum: all derivatives are f's parts times exp(s)."""
    M = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -1.0], [0.0, -1.0, 3.0]])

    def f(x):
        return x @ M @ x * np.exp(np.sum(x))

    q, g, e = X @ M @ X, 2 * M @ X, np.exp(X.sum())
    one = np.ones(3)
    hessian = e * (2 * M + np.outer(g, one) + np.outer(one, g) + q * np.ones((3, 3)))
    H = 2 * M
    third = e * (
        np.einsum("ij,k->ijk", H, one) + np.einsum("ik,j->ijk", H, one)
        + np.einsum("jk,i->ijk", H, one) + np.einsum("i,jk->ijk", g, np.ones((3, 3)))
        + np.einsum("j,ik->ijk", g, np.ones((3, 3))) + np.einsum("k,ij->ijk", g, np.ones((3, 3)))
        + q
    )  # fmt: skip
    close(nt.hessian(f)(X), hessian)
    for transform in (nt.jacfwd, nt.jacrev):
        close(transform(nt.hessian(f))(X), third)
        close(transform(nt.jacfwd(nt.grad(f)))(X), third)
    close(nt.grad(lambda x: nt.hvp(f, (x,), (one,))[2][0] @ X)(X), (third @ X) @ one)


def test_hvp_nested():
    def f(x):
        return np.sum(x**5)

    v = np.array([1.0, -2.0, 0.5])
    close(nt.jacobian(lambda x: nt.hvp(f, (x,), (v,))[2][0])(X), np.diag(60 * X**2 * v))
    close(nt.jacobian(lambda v: nt.hvp(f, (X,), (v,))[2][0])(v), np.diag(20 * X**3))
    close(nt.grad(lambda x: nt.hvp(f, (x,), (x,))[0])(X), 5 * X**4)
    close(nt.jacobian(lambda x: nt.hvp(f, (x,), (x,))[1][0])(X), np.diag(20 * X**3))
    close(nt.grad(lambda s: nt.hvp(lambda x, y: x * x * y, (s, s), (1.0, s))[2][0])(3.0),
          2.0 + 4 * 3.0)  # fmt: skip


def test_gauss_newton():
    def residuals(p):
        return {"r": np.tanh(A @ p["x"]) * p["s"], "extra": p["s"] ** 2}

    at, along = {"x": X, "s": 1.5}, {"x": np.array([1.0, 0.5, -1.0]), "s": -2.0}
    J = nt.jacobian(residuals)(at)
    flat = np.block([[J["r"]["x"], J["r"]["s"][:, None]], [J["extra"]["x"], J["extra"]["s"]]])
    t = np.append(along["x"], along["s"])
    (product,) = nt.gauss_newton_vp(residuals, (at,), (along,))
    close(np.append(product["x"], product["s"]), flat.T @ flat @ t)

    def loss(y):
        return np.sum(y["r"] ** 4) + nt.exp(y["extra"])

    y = residuals(at)
    curvature = np.diag(np.append(12 * y["r"] ** 2, math.exp(y["extra"])))
    (product,) = nt.gauss_newton_vp(residuals, (at,), (along,), loss=loss)
    close(np.append(product["x"], product["s"]), flat.T @ curvature @ flat @ t)
    close(nt.grad(lambda s: nt.gauss_newton_vp(lambda x: x**2, (s,), (1.0,))[0])(3.0), 24.0)


def test_elementwise_grad():
    close(nt.elementwise_grad(np.tanh)(X), 1 - np.tanh(X) ** 2)
    close(nt.elementwise_grad(lambda x, y: x * y, 1)(X, 2.0), np.sum(X))
    close(nt.elementwise_grad(nt.elementwise_grad(nt.elementwise_grad(lambda x: x**4)))(X), 24 * X)
    close(
        nt.elementwise_grad(lambda x: {"a": x * 2, "b": x[0]}, (0,))(X),
        (np.array([3.0, 2.0, 2.0]),),
    )


# --- levels are not confused ----------------------------------------------------------------------


def test_perturbations_are_not_confused():
    def d(f):  # the derivative in forward mode
        return lambda x: nt.jvp(f, (x,), (1.0,))[1]

    for outer in (nt.grad, d, nt.jacfwd, nt.jacrev):
        for inner in (nt.grad, d, nt.jacfwd, nt.jacrev, nt.elementwise_grad):
            assert outer(lambda x, inner=inner: x * inner(lambda y: x + y)(1.0))(2.0) == 1.0
            assert outer(lambda x, inner=inner: x * inner(lambda y: x * y)(2.0))(1.0) == 2.0
            assert outer(lambda x, inner=inner: inner(lambda y: x * y * y)(x))(3.0) == 12.0
            assert outer(lambda x, inner=inner: x * inner(lambda _: x)(1.0))(2.0) == 0.0
            twice = outer(
                lambda x, inner=inner: inner(lambda y: inner(lambda z: x * y * z)(y) * y)(x)
            )
            assert twice(5.0) == 4 * 5.0  # d/dx of 2 x²


def test_cotangents_and_tangents_that_depend_on_the_value():
    """The value of an inner vjp depends on its variables; as a cotangent it is only a number."""

    def by_pullback(x):
        y, pullback = nt.vjp(lambda v: v * v, x)
        return pullback(y)[0]  # 2x · x²

    assert by_pullback(3.0) == 54.0 and nt.grad(by_pullback)(3.0) == 54.0
    assert nt.grad(nt.grad(by_pullback))(3.0) == 36.0

    def by_arrays(x):
        y, pullback = nt.vjp(lambda v: np.sum(v) * v, x)
        return np.sum(pullback(y)[0])

    s = X.sum()
    close(by_arrays(X), 3 * s * (X @ X) + s**3)
    close(nt.grad(by_arrays)(X), 3 * (X @ X) + 6 * s * X + 3 * s**2)

    def by_linearize(x):
        y, f_jvp = nt.linearize(lambda v: v**2, x)
        return f_jvp(y)

    assert nt.grad(by_linearize)(3.0) == 54.0


def test_a_pullback_of_an_outer_level_inside_an_inner_one():
    def f(x):
        _, pullback = nt.vjp(lambda y: x * y * y, x)
        return nt.grad(lambda s: pullback(s * s)[0] * x)(x)  # 2x² · s² · x → 4 x⁴

    assert f(2.0) == 4 * 2.0**4
    assert nt.grad(f)(2.0) == 16 * 2.0**3
    _, f_jvp = nt.linearize(lambda y: y**3, 2.0)
    assert nt.grad(lambda t: f_jvp(t * t))(3.0) == 12.0 * 6.0


# --- leaves and no_grad ---------------------------------------------------------------------------


def test_captured_leaves_make_recorded_derivatives():
    w = nt.var([1.0, 2.0, 3.0])
    jacobian = nt.jacobian(lambda x: w * x)(X)
    assert isinstance(jacobian, nt.Array)
    jacobian.sum().backward()
    close(w.grad, np.ones(3))
    for transform in (nt.jacfwd, nt.jacrev):
        w.zero_grad()
        (transform(lambda x: w * w * x)(X) ** 2).sum().backward()
        close(w.grad, 4 * w.value**3)
    w.zero_grad()
    value, pullback = nt.vjp(lambda x: w * x, X)
    assert isinstance(value, nt.Array)
    (pullback(np.ones(3))[0] ** 2).sum().backward()
    close(w.grad, 2 * w.value)
    w.zero_grad()
    _, (gradient,), (product,) = nt.hvp(lambda x: (w * x * x).sum(), (X,), (np.ones(3),))
    (gradient.sum() + product.sum()).backward()
    close(w.grad, 2 * X + 2.0)
    w.zero_grad()
    nt.hessian(lambda x: (w * x * x).sum())(X).sum().backward()
    close(w.grad, np.full(3, 2.0))
    with nt.no_grad():
        assert plain(nt.jacobian(lambda x: w * x)(X)) and plain(nt.vjp(lambda x: w * x, X)[0])
        assert plain(nt.hessian(lambda x: (w * x * x).sum())(X))
        assert plain(nt.jvp(lambda x: w * x, (X,), (X,)))


def test_leaves_as_arguments_directions_and_cotangents():
    w = nt.var([1.0, 2.0, 3.0])
    (_, along) = nt.jvp(lambda x: x**2, (X,), (w,))
    along.sum().backward()
    close(w.grad, 2 * X)
    w.zero_grad()
    _, pullback = nt.vjp(lambda x: x**2, X)
    (pullback(w)[0] * X).sum().backward()
    close(w.grad, 2 * X**2)
    w.zero_grad()
    _, _, (product,) = nt.hvp(lambda x: np.sum(x**3), (X,), (w,))
    product.sum().backward()
    close(w.grad, 6 * X)
    w.zero_grad()
    nt.jacobian(lambda x: x**3)(w).sum().backward()
    close(w.grad, 6 * w.value)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("transform", ["vjp", "linearize"])
def test_directions_on_another_tape_are_joined_to_it(transform, long):
    """Afterwards the pullback goes on to work: its slots have moved."""
    w = nt.var([1.0, 2.0, 3.0])
    other = w * w
    for _ in range(100 * long):
        other = other * 1.0
    if transform == "vjp":
        product = nt.vjp(lambda x: x**2 * np.array([1.0, 2.0, 0.5]), X)[1]
        recorded, numbers = product(other)[0], product(np.ones(3))[0]
    else:
        product = nt.linearize(lambda x: x**2 * np.array([1.0, 2.0, 0.5]), X)[1]
        recorded, numbers = product(other), product(np.ones(3))
    assert plain(numbers)
    close(numbers, 2 * X * np.array([1.0, 2.0, 0.5]))
    close(recorded.value, numbers * w.value**2)
    recorded.sum().backward()
    close(w.grad, numbers * 2 * w.value)
    again = product(np.ones(3))
    close(again[0] if transform == "vjp" else again, numbers)


def test_writes_into_a_recorded_value_do_not_reach_the_pullback():
    def f(x):
        value, pullback = nt.vjp(lambda y: y * y, x)
        value[:] = 0.0
        return np.sum(pullback(np.ones(3))[0] ** 2)

    close(nt.grad(f)(X), 8 * X)


# --- edges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True])
def test_results_that_do_not_depend_on_the_argument(nested):
    def outer(f):  # f at X, alone or inside another transform
        return (
            nt.grad(lambda s: (kept.append(f(X * s)), s)[1])(1.0) if nested else kept.append(f(X))
        )

    kept = []
    outer(nt.jacobian(lambda x: np.array([1.0, 2.0])))
    outer(nt.jacfwd(lambda x: {"a": 1.0, "b": x * 0 + 1}))
    outer(nt.jacrev(lambda x: {"a": 1.0, "b": x[0]}))
    outer(nt.hessian(lambda x: 5.0))
    outer(nt.hessian(lambda x: x[0] * 3.0))
    outer(nt.elementwise_grad(lambda x: 3.0))
    outer(lambda x: nt.vjp(lambda y: np.ones(2), x)[1](np.ones(2)))
    outer(lambda x: nt.jvp(lambda y: np.ones(2), (x,), (x,))[1])
    outer(lambda x: nt.hvp(lambda y: 2.0, (x,), (x,)))
    outer(lambda x: nt.gauss_newton_vp(lambda y: np.ones(2), (x,), (x,)))
    e = np.array([1.0, 0.0, 0.0])
    expected = [
        np.zeros((2, 3)), {"a": np.zeros(3), "b": np.zeros((3, 3))}, {"a": np.zeros(3), "b": e},
        np.zeros((3, 3)), np.zeros((3, 3)), np.zeros(3), (np.zeros(3),), np.zeros(2),
        (2.0, (np.zeros(3),), (np.zeros(3),)), (np.zeros(3),),
    ]  # fmt: skip
    for found, numbers in zip(kept, expected, strict=True):
        leaves = flatten(found)[0]
        numbered = [x.value if isinstance(x, (nt.Array, nt.Var)) else x for x in leaves]
        for one, two in zip(numbered, flatten(numbers)[0], strict=True):
            np.testing.assert_array_equal(one, two)
            assert np.shape(one) == np.shape(two)


@pytest.mark.parametrize("nested", [False, True])
def test_empty_arrays_and_trees(nested):
    def at(f, *args):
        if not nested:
            return f(*args)
        kept = []
        nt.grad(lambda s: (kept.append(f(*args)), s)[1])(1.0)
        return kept[0]

    empty = np.zeros((0, 2))
    assert at(nt.jacobian(lambda x: x * 2), empty).shape == (0, 2, 0, 2)
    assert at(nt.jacfwd(lambda x: x.sum()), empty).shape == (0, 2)
    assert at(nt.hessian(lambda x: x.sum()), empty).shape == (0, 2, 0, 2)
    assert at(nt.grad(lambda x, y: x.sum() + y), empty, 2.0).shape == (0, 2)
    assert at(nt.grad(lambda x, y: x.sum() * 0 + y * y, 1), empty, 2.0) == 4.0 or nested
    value, pullback = at(lambda x: nt.vjp(lambda y: y * 2, x), empty)
    assert value.shape == (0, 2) and pullback(empty)[0].shape == (0, 2)
    assert at(lambda x: nt.jvp(lambda y: y * 2, (x,), (x,)), empty)[1].shape == (0, 2)
    assert at(nt.jacobian(lambda p: 1.0), []) == []
    assert at(nt.jacobian(lambda x: []), 1.0) == []
    assert at(nt.jacobian(lambda x: {"a": None}), 1.0) == {"a": None}
    assert at(nt.jacobian(lambda x: x, ()), 1.0) == ()
    assert at(nt.hessian(lambda x: 1.0, ()), 1.0) == ()
    assert at(nt.grad(lambda p: p["x"] * 3.0), {"x": 2.0, "n": None})["n"] is None


def test_float32():
    x = X.astype(np.float32)
    for found in (
        nt.grad(lambda x: np.sum(x**2))(x), nt.jacobian(lambda x: x * x)(x),
        nt.jacfwd(lambda x: np.sum(x * x))(x), nt.hessian(lambda x: np.sum(x**3))(x),
        nt.jvp(lambda x: x * x, (x,), (x,))[1], nt.vjp(lambda x: x * x, x)[1](x)[0],
        nt.linearize(lambda x: x * x, x)[1](x), nt.hvp(lambda x: np.sum(x**3), (x,), (x,))[2][0],
        nt.elementwise_grad(lambda x: x * x)(x),
    ):  # fmt: skip
        assert found.dtype == np.float32
    mixed = nt.jacobian(lambda x, y: x * y, (0, 1))(x, X)
    assert [block.dtype for block in mixed] == [np.float64, np.float64]
    close(nt.jacobian(lambda x: x * x)(x), np.diag(2 * x), 1e-6)


def test_integers_and_booleans():
    ints = np.array([1, 2, 3])
    close(nt.grad(lambda x: np.sum(x**2))(ints), [2.0, 4.0, 6.0] * np.ones(3))
    close(nt.jacobian(lambda x: x * x)(ints), np.diag([2.0, 4.0, 6.0]))
    seen = []

    def f(x, n, flag, words, index):
        seen.append((type(n), type(flag), words, index.dtype))
        return np.sum(x[index] ** n) if flag else 0.0

    close(nt.grad(f)(X, 3, True, "text", np.array([0, 0])), [6 * X[0] ** 2, 0, 0] * np.ones(3))
    assert seen == [(int, bool, "text", np.dtype(np.int64))]
    close(nt.jacobian(lambda x: x > 0)(X), np.zeros((3, 3)))  # recorded booleans
    value, pullback = nt.vjp(lambda x: (x > 0, np.argmax(x), x * 2), X)
    assert value[0].dtype == bool and type(value[1]) is int
    close(pullback((np.ones(3), 1.0, np.ones(3))), (np.full(3, 2.0),))


def test_keyword_arguments_and_negative_argnums():
    def f(x, y, *, scale=1.0):
        return {"a": scale * x * y}

    close(nt.jacobian(f, -1)(X, 2.0, scale=3.0), {"a": 3 * X})
    close(nt.jacrev(f, (-1, 0))(2.0, 5.0, scale=3.0), {"a": (6.0, 15.0)})
    close(nt.hessian(lambda x, *, k: k * x**3)(2.0, k=2.0), 24.0)
    close(nt.elementwise_grad(f, -2)(X, 2.0, scale=3.0), np.full(3, 6.0))


@pytest.mark.parametrize("transform", [nt.jacobian, nt.jacfwd, nt.jacrev, nt.hessian,
                                       nt.elementwise_grad])  # fmt: skip
@pytest.mark.parametrize("argnums", [2, -3, (0, 0), "0"])
def test_argnums_that_do_not_fit(transform, argnums):
    with pytest.raises(nt.ArgumentError):
        transform(lambda x, y: x * y, argnums)(1.0, 2.0)


def test_names_are_kept_and_attributes_are_not():
    def f(x):
        return x

    f.tapes = "mine"
    for transform in (nt.grad, nt.value_and_grad, nt.jacobian, nt.hessian, nt.elementwise_grad):
        assert transform(f).__name__ == "f" and not hasattr(transform(f), "tapes")


def test_errors_say_what_to_do():
    f = trees_in_and_out
    tangents = ({"w": A, "x": X}, 1.0)
    with pytest.raises(nt.ArgumentError, match="primals must be a tuple"):
        nt.jvp(np.sin, X, X)
    with pytest.raises(nt.ArgumentError, match="tangents must be a tuple"):
        nt.jvp(np.sin, (X,), X)
    with pytest.raises(nt.ArgumentError, match="tangents must have the structure of primals"):
        nt.jvp(f, (POINT, 2.0), (tangents[0],))
    with pytest.raises(nt.ShapeError, match=r"one of the tangents has shape \(2,\), its argument"):
        nt.jvp(np.sin, (X,), (np.ones(2),))
    with pytest.raises(nt.ArgumentError, match="tangents must have the structure of primals"):
        nt.linearize(f, POINT, 2.0)[1](tangents[0])
    pullback = nt.vjp(f, POINT, 2.0)[1]
    with pytest.raises(nt.ArgumentError, match="a cotangent must have the structure of the value"):
        pullback({"y": np.ones(2)})
    with pytest.raises(nt.ShapeError, match=r"a cotangent has shape \(3,\), its value \(2,\)"):
        pullback({"y": np.ones(3), "pair": Pair(1.0, [1.0, None])})
    for transform in (nt.jacobian, nt.jacfwd, nt.elementwise_grad):
        with pytest.raises(nt.ArgumentError, match="must return numbers, arrays, or trees of them"):
            transform(lambda x: {"a": x, "b": "text"})(X)
    with pytest.raises(nt.ArgumentError, match="the function must return a scalar"):
        nt.hessian(lambda x: x * x)(X)
    with pytest.raises(nt.UnsupportedError):
        nt.jacobian(lambda x: x)("text")


def test_arguments_and_directions_are_not_written_to():
    x, t = X.copy(), np.ones(3)

    def f(x):
        x[0] = x[1] * 2
        return x

    for transform in (nt.jacobian, nt.jacfwd, nt.jacrev):
        close(transform(f)(x), np.array([[0.0, 2.0, 0.0], [0, 1, 0], [0, 0, 1]]))
    _, along = nt.jvp(f, (x,), (t,))
    along[:] = 7.0
    assert nt.grad(lambda s: (nt.jvp(lambda y: y, (x,), (s * t,))[1] * 1.0)[1])(2.0) == 1.0

    def writes(s):
        direction = s * t
        along = nt.jvp(lambda y: y, (x,), (direction,))[1]
        along[0] = 0.0
        return direction.sum()

    assert nt.grad(writes)(2.0) == 3.0
    np.testing.assert_array_equal((x, t), (X, np.ones(3)))


def test_views_written_into_and_broadcast_results():
    def scattered(x):
        y = nt.zeros((2, 3))
        y[0] = x
        y[1, ::-1] = x * x
        y[0, 1] = 4.0
        return y.T, np.broadcast_to(x[0] * 2.0, (2, 2)), y[:, 1]

    expected = np.zeros((2, 3, 3))
    expected[0, 0, 0] = expected[0, 2, 2] = 1.0
    expected[1] = np.diag(2 * X)[::-1]
    broadcast = np.zeros((2, 2, 3))
    broadcast[..., 0] = 2.0
    answer = expected.transpose(1, 0, 2), broadcast, expected[:, 1]
    for transform in (nt.jacobian, nt.jacfwd, nt.jacrev):
        close(transform(scattered)(X), answer)
    kept = []
    nt.grad(lambda s: (kept.append([t(scattered)(X * s) for t in (nt.jacfwd, nt.jacrev)]), s)[1])(
        1.0
    )
    for found in kept[0]:
        for one, two in zip(found, answer, strict=True):
            np.testing.assert_allclose(getattr(one, "value", one), two, rtol=1e-14)
    _, pullback = nt.vjp(lambda x: np.broadcast_to(x[0], (2, 2)), X)
    close(pullback(np.arange(4.0).reshape(2, 2)), (np.array([6.0, 0.0, 0.0]),))


def test_a_zero_tangent_contributes_nothing_against_an_infinite_partial():
    def f(x):
        return nt.where(x > 0, nt.sqrt(x), 0.0)

    assert nt.jvp(f, (0.0,), (1.0,))[1] == 0.0
    assert nt.grad(lambda s: nt.jvp(f, (0.0,), (s,))[1])(1.0) == 0.0
    assert nt.jvp(lambda x, y: nt.sqrt(x) * y, (0.0, 1.0), (0.0, 1.0))[1] == 0.0
    assert (
        nt.grad(lambda s: nt.jvp(lambda x, y: nt.sqrt(x) * y, (0.0, s), (0.0, 1.0))[1])(1.0) == 0.0
    )


def test_transforms_of_methods_partials_and_each_other():
    from functools import partial

    class Model:
        scale = 2.0

        def residuals(self, x):
            return self.scale * x**2

    model = Model()
    close(nt.jacobian(model.residuals)(X), np.diag(4 * X))
    model.scale = 3.0
    close(nt.jacobian(model.residuals)(X), np.diag(6 * X))
    close(nt.jacobian(partial(lambda k, x: k * x, 2.0))(X), 2 * np.eye(3))
    close(nt.jacobian(lambda x: nt.value_and_grad(lambda y: np.sum(y**3))(x))(X),
          (3 * X**2, np.diag(6 * X)))  # fmt: skip
    f_jvp = nt.linearize(nt.grad(cubic), X)[1]
    close(f_jvp(np.ones(3)), nt.hessian(cubic)(X) @ np.ones(3))


def test_an_exception_leaves_nothing_behind():
    from ndtape.record import core

    def wrong(x):
        raise KeyError("mine")

    before = core._current.get(), core._recording.get(), core.transform_depth.get()
    for call in (
        lambda: nt.jacobian(wrong)(X), lambda: nt.hessian(wrong)(X), lambda: nt.vjp(wrong, X),
        lambda: nt.jvp(wrong, (X,), (X,)),
        lambda: nt.grad(lambda x: nt.hvp(wrong, (x,), (x,)))(1.0),
    ):  # fmt: skip
        with pytest.raises(KeyError, match="mine"):
            call()
        assert before == (core._current.get(), core._recording.get(), core.transform_depth.get())


# --- check_grads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [
    lambda x: np.cumsum(np.sin(x)), lambda x: {"a": x[0] * x, "b": [np.sum(x) ** 3, None]},
    lambda x: np.linalg.inv(np.outer(x, x) + 3 * np.eye(3)), cubic, lambda x: 1.0,
    lambda x: (x > 0, np.exp(x)),
])  # fmt: skip
@pytest.mark.parametrize("modes", [("fwd", "rev"), ("fwd",), ["rev"], ()])
def test_check_grads_accepts(f, modes):
    nt.check_grads(f, (X,), order=3, rtol=1e-4, atol=1e-4, modes=modes)


def test_check_grads_finds_wrong_rules_of_each_mode_and_order():
    def rules(vjp, jvp):
        return nt.primitive(np.sin, vjp, jvp)

    right = rules(lambda w, z, x: (w * np.cos(x),), lambda ts, z, x: np.cos(x) * ts[0])
    wrong_reverse = rules(lambda w, z, x: (w * np.sin(x),), lambda ts, z, x: np.cos(x) * ts[0])
    wrong_forward = rules(lambda w, z, x: (w * np.cos(x),), lambda ts, z, x: np.sin(x) * ts[0])
    nt.check_grads(right, (X,), order=3, rtol=1e-4, atol=1e-4)
    nt.check_grads(wrong_reverse, (X,), order=1, modes=("fwd",))
    nt.check_grads(wrong_forward, (X,), order=2, modes=("rev",))
    with pytest.raises(nt.CheckError, match=r"^gradient: derivative rules give"):
        nt.check_grads(wrong_reverse, (X,), order=1, modes=("rev",))
    with pytest.raises(nt.CheckError, match=r"^tangent: "):
        nt.check_grads(wrong_forward, (X,), order=1)
    flat = nt.define(nt.sin, lambda x, z: nt.define(nt.cos, lambda x, z: -nt.sin(x).detach())(x))
    nt.check_grads(flat, (0.7,), order=2)
    with pytest.raises(nt.CheckError, match=r"^third derivative: "):
        nt.check_grads(flat, (0.7,), order=3)


# --- recorded tangents of every operation ---------------------------------------------------------


@pytest.mark.parametrize("part", range(8))
def test_recorded_tangents_of_the_functions_of_numpy(part):
    """Nested forward mode against sweeps, on the table of expressions of the NumPy layer."""
    import test_numpy_layer as layer

    checked = [recorded_tangents_agree(layer, *row) for row in layer.ROWS[part::16]]
    assert sum(checked) > 50


def recorded_tangents_agree(layer, call, shapes):
    if not layer.differentiable(call, shapes) or ("astype" in call and () in shapes):
        return False
    operands, weights, direction = layer.seeds(call, shapes)
    primals = tuple(a if a.ndim else float(a) for a in operands)
    tangents = tuple(d if d.ndim else float(d) for d in direction)

    def loss(*arrays):
        return layer.weighted(layer.evaluate(call, arrays), weights)

    def along(*arrays):
        return nt.jvp(loss, arrays, tangents)[1]

    kept = []
    nt.grad(lambda s: (kept.append(along(*primals)), s)[1])(1.0)
    found, expected = getattr(kept[0], "value", kept[0]), along(*primals)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12, err_msg=call)
    *_, product = nt.hvp(loss, primals, tangents)
    twice = nt.jvp(along, primals, tangents)[1]
    bent = sum(np.sum(h * t) for h, t in zip(product, tangents, strict=True))
    np.testing.assert_allclose(twice, bent, rtol=1e-8, atol=1e-8, err_msg=call)
    by_reverse = nt.grad(along, tuple(range(len(primals))))(*primals)
    for one, other in zip(by_reverse, product, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8, err_msg=call)
    return True
