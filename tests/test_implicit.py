"""Implicit differentiation: closed forms, higher orders, trees, and what is captured."""

from __future__ import annotations

import dataclasses
import functools
import gc
import itertools
import threading
import weakref
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

import ndtape as nt


def tally():
    """A count of calls, which no traced function takes for something that it reads."""
    return Mock(side_effect=itertools.count())


def square(x, a):
    return x * x - a


def heron(x, a):
    return 0.5 * (x + a / x)


def by_root(a):
    return nt.root(square, 1.0, (a,), tol=1e-13).x


def by_fixed_point(a):
    return nt.fixed_point(heron, 1.0, (a,))


def by_minimum(a):
    return nt.minimize(lambda x: x**3 / 3.0 - a * x, 1.0, method="trust-exact", tol=1e-12).x


def by_least_squares(a):
    return nt.least_squares(square, 1.0, (a,), xtol=1e-14, gtol=1e-14, ftol=1e-14).x


ROOTS = {f.__name__: f for f in (by_root, by_fixed_point, by_minimum, by_least_squares)}
every_root = pytest.mark.parametrize("name", ROOTS)


@every_root
@pytest.mark.parametrize("traced", [False, True])
def test_derivatives_of_a_square_root(name, traced):
    f = nt.function(ROOTS[name]) if traced else ROOTS[name]
    for a in (2.0, 9.0, 3.0):
        assert f(a) == pytest.approx(a**0.5, rel=1e-8)
        assert nt.grad(f)(a) == pytest.approx(0.5 * a**-0.5, rel=1e-8)
        assert nt.grad(nt.grad(f))(a) == pytest.approx(-0.25 * a**-1.5, rel=1e-7)
    third = nt.grad(nt.grad(nt.grad(f)))
    assert third(4.0) == pytest.approx(0.375 * 4.0**-2.5, rel=1e-7)


@every_root
def test_forward_mode_and_second_order_sweeps(name):
    f = ROOTS[name]
    value, tangent = nt.jvp(f, (4.0,), (2.0,))
    assert (value, tangent) == (pytest.approx(2.0), pytest.approx(0.5))
    _, (gradient,), (product,) = nt.hvp(f, (4.0,), (2.0,))
    assert gradient == pytest.approx(0.25) and product == pytest.approx(-2.0 / 32)
    assert nt.hessian(f)(4.0) == pytest.approx(-1.0 / 32)
    nt.check_grads(f, (4.0,), order=2)


@every_root
def test_leaves_and_backward(name):
    a = nt.var(4.0)
    x = ROOTS[name](a)
    (3.0 * x).backward()
    assert a.grad == pytest.approx(0.75)


# --- closed forms ---------------------------------------------------------------------------------


def kepler(E, M, e):
    return E - e * np.sin(E) - M


def test_keplers_equation():
    def anomaly(M, e):
        return nt.root(kepler, M, (M, e), tol=1e-14).x

    M, e = 1.2, 0.6
    E = anomaly(M, e)
    q = 1.0 / (1.0 - e * np.cos(E))
    assert E - e * np.sin(E) == pytest.approx(M, rel=1e-14)
    by_M, by_e = nt.grad(anomaly, (0, 1))(M, e)
    assert by_M == pytest.approx(q, rel=1e-12)
    assert by_e == pytest.approx(np.sin(E) * q, rel=1e-12)
    hessian = nt.hessian(anomaly, (0, 1))(M, e)
    assert hessian[0][0] == pytest.approx(-e * np.sin(E) * q**3, rel=1e-11)
    mixed = np.cos(E) * q**2 - e * np.sin(E) ** 2 * q**3
    assert hessian[0][1] == pytest.approx(mixed, rel=1e-11)
    assert hessian[1][0] == pytest.approx(mixed, rel=1e-11)


def test_two_equations_for_two_unknowns():
    """x y = a and x + y = b: the roots of t² − b t + a."""

    def equations(u, p):
        return [u["x"] * u["y"] - p["a"], u["x"] + u["y"] - p["b"]]

    def solution(p):
        return nt.root(equations, {"x": 3.0, "y": 0.5}, (p,), tol=1e-13).x

    p = {"a": 2.0, "b": 3.5}
    wide = np.sqrt(p["b"] ** 2 - 4 * p["a"])
    x = solution(p)
    assert x["x"] == pytest.approx((p["b"] + wide) / 2)
    J = nt.jacobian(solution)(p)
    assert J["x"]["a"] == pytest.approx(-1 / wide)
    assert J["x"]["b"] == pytest.approx(0.5 + p["b"] / (2 * wide))
    assert J["y"]["a"] == pytest.approx(1 / wide)
    H = nt.hessian(lambda p: solution(p)["x"])(p)
    assert H["a"]["a"] == pytest.approx(-2 / wide**3)
    assert H["a"]["b"] == pytest.approx(p["b"] / wide**3)


def random_system(n=4):
    rng = np.random.default_rng(1)
    A = rng.standard_normal((n, n)) / n + 2 * np.eye(n)
    return A, rng.standard_normal(n), rng.standard_normal((2, n))


def nonlinear(x, p):
    return p["A"] @ x + 0.3 * np.tanh(x) - p["b"]


def contraction(x, p):
    return np.tanh(0.3 * (p["A"] @ x) + p["b"])


SYSTEMS = {
    "root": lambda p: nt.root(nonlinear, np.zeros(4), (p,), tol=1e-13).x,
    "root, gmres": lambda p: nt.root(nonlinear, np.zeros(4), (p,), tol=1e-13, linear="gmres").x,
    "fixed point, bicgstab": lambda p: nt.fixed_point(
        contraction, np.zeros(4), (p,), linear="bicgstab"
    ),
    "minimum, cg": lambda p: nt.minimize(
        lambda x, p: np.sum(np.cosh(p["A"] @ x)) - p["b"] @ x, np.zeros(4), (p,),
        method="trust-exact", tol=1e-12, linear="cg",
    ).x,
    "fixed point": lambda p: nt.fixed_point(contraction, np.zeros(4), (p,)),
    "linear, gmres": lambda p: nt.linear_solve(lambda x, A: A @ x, p["b"], (p["A"],)),
    "linear, cg": lambda p: nt.linear_solve(
        lambda x, A: A.T @ (A @ x) + x, p["b"], (p["A"],), method="cg"
    ),
    "linear, bicgstab": lambda p: nt.linear_solve(
        lambda x, A: A @ x, p["b"], (p["A"],), method="bicgstab"
    ),
    "linear, dense": lambda p: nt.linear_solve(
        lambda x, A: A @ x, p["b"], (p["A"],), method="dense"
    ),
    "minimum": lambda p: nt.minimize(
        lambda x, p: np.sum(np.cosh(p["A"] @ x)) - p["b"] @ x, np.zeros(4), (p,),
        method="trust-exact", tol=1e-12,
    ).x,
    "least squares": lambda p: nt.least_squares(
        lambda x, p: [p["A"] @ x + x**3 - p["b"], 0.1 * x], np.zeros(4), (p,),
        xtol=1e-15, ftol=1e-15, gtol=1e-13,
    ).x,
}  # fmt: skip
every_system = pytest.mark.parametrize("name", SYSTEMS)


@every_system
def test_forward_and_reverse_agree(name):
    A, b, (w, v) = random_system()
    f = SYSTEMS[name]
    p, t = {"A": A, "b": b}, {"A": np.outer(v, w) / 5, "b": v}
    _, Jt = nt.jvp(f, (p,), (t,))
    _, pullback = nt.vjp(f, p)
    (adjoint,) = pullback(w)
    right = np.sum(adjoint["A"] * t["A"]) + adjoint["b"] @ t["b"]
    assert w @ Jt == pytest.approx(right, rel=1e-8)
    h = 1e-5  # which magnifies what SciPy leaves of a solution, some 1e-12, to 1e-7
    above, below = (f({k: p[k] + s * h * t[k] for k in p}) for s in (1, -1))
    np.testing.assert_allclose(Jt, (above - below) / (2 * h), rtol=1e-6, atol=1e-6)


@every_system
def test_second_order(name):
    A, b, (w, v) = random_system()

    def f(p):
        return w @ SYSTEMS[name](p) ** 2

    p, t = {"A": A, "b": b}, {"A": np.outer(v, w) / 5, "b": v}
    product = nt.hvp(f, (p,), (t,))[2][0]
    nested = nt.grad(lambda p: sum(np.sum(g * t[k]) for k, g in nt.grad(f)(p).items()))(p)
    h = 1e-5
    above, below = (nt.grad(f)({k: p[k] + s * h * t[k] for k in p}) for s in (1, -1))
    for k in p:
        np.testing.assert_allclose(
            product[k], (above[k] - below[k]) / (2 * h), rtol=2e-5, atol=1e-6
        )
        np.testing.assert_allclose(nested[k], product[k], rtol=1e-6, atol=1e-9)


def test_the_solve_of_numpy():
    A, b, (w, _) = random_system()

    def by_numpy(A, b):
        return w @ np.linalg.solve(A, b)

    def by_function(A, b):
        return w @ nt.linear_solve(lambda x: A @ x, b, tol=1e-14)

    for ours, theirs in zip(nt.grad(by_function, (0, 1))(A, b), nt.grad(by_numpy, (0, 1))(A, b),
                            strict=True):  # fmt: skip
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


# --- the iteration is not unrolled ----------------------------------------------------------------


def test_a_solve_is_one_instruction():
    lengths = []
    for start in (1.0, 1e6):  # many more iterations
        a = nt.var(2.0)
        with nt.Tape() as tape:
            nt.fixed_point(heron, start, (a,))
            lengths.append(len(tape))
    assert lengths[0] == lengths[1] < 10


def test_the_guess_has_no_derivative_but_counts():
    def f(start, a):
        return nt.root(square, start, (a,)).x

    assert nt.grad(f, (0, 1))(1.0, 4.0) == (0.0, pytest.approx(0.25))
    F = nt.function(f)
    for start, x in ((1.0, 2.0), (-1.0, -2.0), (3.0, 2.0)):  # the replay finds the other root
        assert F(start, 4.0) == pytest.approx(x)
        assert nt.grad(F, 1)(start, 4.0) == pytest.approx(0.5 / x)
    assert F.counters.recordings <= 2


def test_a_guess_of_leaves_is_plain():
    found = nt.minimize(lambda x: np.sum((x - 1.0) ** 2), nt.var([3.0, 4.0]))
    assert isinstance(found.x, np.ndarray) and found.jac.shape == (2,)
    assert type(nt.root(square, nt.var(1.0), (4.0,)).x) is float


def test_a_replay_solves_again():
    F = nt.function(by_root)
    for a in (1.0, 4.0, 9.0, 2.0):
        assert F(a) == pytest.approx(a**0.5)
        assert nt.grad(F)(a) == pytest.approx(0.5 * a**-0.5)
    assert F.counters.recordings <= 2


def test_data_that_changes_between_replays():
    data = np.array([1.0, 2.0])
    F = nt.function(lambda a: nt.root(lambda x: x * x - a * data.sum(), 1.0).x)
    assert F(3.0) == pytest.approx(3.0)
    data[:] = 6.0
    assert F(3.0) == pytest.approx(6.0)
    assert nt.grad(F)(3.0) == pytest.approx(1.0)


def test_python_decides_on_a_solution():
    @nt.function
    def f(a):
        x = nt.root(square, 1.0, (a,)).x
        return x * x if x > 2.0 else 10.0 * x

    for a in (1.0, 9.0, 2.25):
        expected = a if a > 4 else 10.0 * a**0.5
        assert f(a) == pytest.approx(expected)
        assert nt.grad(f)(a) == pytest.approx(1.0 if a > 4 else 5.0 * a**-0.5)


def test_lanes():
    a = np.array([1.0, 4.0, 9.0])
    np.testing.assert_allclose(nt.vmap(by_root)(a), a**0.5)
    np.testing.assert_allclose(nt.vmap(nt.grad(by_fixed_point))(a), 0.5 * a**-0.5)


def test_threads_share_a_traced_solver():
    F = nt.function(by_root)
    G = nt.grad(F)
    wrong: list[float] = []

    def work(k):
        for i in range(40):
            a = 1.0 + (7 * i + 13 * k) % 50
            if abs(F(a) - a**0.5) > 1e-8 or abs(G(a) - 0.5 * a**-0.5) > 1e-8:
                wrong.append(a)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert wrong == []


def test_branches_inside_of_the_equation():
    def f(x, a):
        return x - 2.0 * a if x > 0 else 3.0 * x - a

    def g(a):
        return nt.root(f, a, (a,)).x

    assert nt.grad(g)(1.0) == pytest.approx(2.0)
    assert nt.grad(g)(-1.0) == pytest.approx(1 / 3)
    G = nt.grad(nt.function(g))
    assert [round(G(a), 9) for a in (1.0, -1.0, 2.0)] == [2.0, round(1 / 3, 9), 2.0]


def test_solvers_in_solvers():
    """An outer equation whose terms are solutions: x = sqrt(a + x) has x² − x = a."""

    def f(a):
        return nt.fixed_point(lambda x: nt.root(square, 1.0, (a + x,)).x, 1.0)

    x = (1 + np.sqrt(1 + 4 * 2.0)) / 2
    assert f(2.0) == pytest.approx(x)
    assert nt.grad(f)(2.0) == pytest.approx(1 / (2 * x - 1), rel=1e-7)


def test_optima_of_optima():
    """Ridge: the best penalty by the derivative of a validation loss."""
    rng = np.random.default_rng(0)
    X, V = rng.standard_normal((2, 20, 3))
    truth = np.array([1.0, -2.0, 0.5])
    y, z = X @ truth + 0.5 * rng.standard_normal(20), V @ truth

    def weights(c):
        def loss(w, c):
            return np.sum((X @ w - y) ** 2) + c * np.sum(w**2)

        return nt.minimize(loss, np.zeros(3), (c,), method="Newton-CG", tol=1e-12).x

    def validation(c):
        return np.sum((V @ weights(c) - z) ** 2)

    c = 2.0
    N = X.T @ X + c * np.eye(3)
    w = np.linalg.solve(N, X.T @ y)
    np.testing.assert_allclose(weights(c), w, rtol=1e-8)
    expected = -2 * (V @ w - z) @ V @ np.linalg.solve(N, w)
    assert nt.grad(validation)(c) == pytest.approx(expected, rel=1e-7)


# --- what comes with the solution -----------------------------------------------------------------


def test_values_at_the_minimum_have_derivatives():
    """min of (x − a)² + a x is a²(1 − 1/4) at x = a/2."""

    def f(x, a):
        return (x - a) ** 2 + a * x

    def least(a):
        return nt.minimize(f, 0.0, (a,), method="trust-exact", tol=1e-12).fun

    assert least(3.0) == pytest.approx(0.75 * 9.0)
    assert nt.grad(least)(3.0) == pytest.approx(1.5 * 3.0)
    assert nt.grad(nt.grad(least))(3.0) == pytest.approx(1.5)


def test_residuals_and_cost_have_derivatives():
    def f(x, a):
        return np.stack([x - a, x + a])  # the best x is 0

    def cost(a):
        return nt.least_squares(f, 1.0, (a,)).cost

    def first(a):
        return nt.least_squares(f, 1.0, (a,)).fun[0]

    assert nt.grad(cost)(3.0) == pytest.approx(6.0)
    assert nt.grad(first)(3.0) == pytest.approx(-1.0)


def test_plain_entries_are_left_out():
    seen = []

    def f(a):
        found = nt.minimize(lambda x: (x - a) ** 2, 0.0)
        seen.append(found)
        return found.x

    nt.grad(f)(1.0)
    assert seen[0].success and seen[0].nit > 0
    assert "hess_inv" not in seen[0] and "jac" not in seen[0]


def test_traced_functions_return_results():
    F = nt.function(lambda a: nt.root(square, 1.0, (a,)))
    for a in (4.0, 9.0):
        found = F(a)
        assert found.x == pytest.approx(a**0.5) and found.success
        assert "nfev" not in found  # that of the recording would be wrong
    (value, found), gradient = nt.value_and_grad(
        lambda a: (lambda r: (r.x, r))(nt.root(square, 1.0, (a,))), has_aux=True
    )(4.0)
    assert found.x == value and found.nfev > 0
    assert gradient == pytest.approx(0.25)


def test_bounds_that_are_active_are_fixed():
    def f(a):
        x = nt.minimize(
            lambda x, a: np.sum((x - a) ** 2), np.zeros(2), (a,), bounds=[(0, 1), (0, 9)], tol=1e-12
        ).x
        return x[0] + 2.0 * x[1]

    gradient = nt.grad(f)(np.array([5.0, 3.0]))
    np.testing.assert_allclose(gradient, [0.0, 2.0], atol=1e-8)

    def g(a):
        return nt.least_squares(lambda x, a: x - a, np.full(2, 0.5), (a,), bounds=(0.0, 1.0)).x @ w

    w = np.array([1.0, 2.0])
    np.testing.assert_allclose(nt.grad(g)(np.array([5.0, 0.25])), [0.0, 2.0], atol=1e-6)


# --- captured values ------------------------------------------------------------------------------

SCALE = 1.0


@dataclasses.dataclass
class Model:
    k: Any

    def equation(self, x):
        return x * x - self.k


class Plain:
    def __init__(self, k):
        self.parts = {"k": [k]}

    def equation(self, x):
        return x * x - self.parts["k"][0]


def in_a_cell(a):
    return lambda x: x * x - a


def in_a_container(a):
    p = {"k": [1.0, (a,)]}
    return lambda x: x * x - p["k"][1][0]


def in_a_default(a):
    def f(x, *, a=a):
        return x * x - a

    return f


def in_a_helper(a):
    def helper(y):
        return y - a

    def f(x):
        def inner(y):
            return helper(y)

        return inner(x * x)

    return f


def in_a_partial(a):
    return functools.partial(lambda p, x: x * x - p["a"], {"a": a})


def in_a_dataclass(a):
    return Model(a).equation


def in_an_object(a):
    return Plain(a).equation


def in_an_object_in_a_cell(a):
    model = Plain(a)
    return lambda x: model.equation(x)


def in_a_traced_function(a):
    return nt.function(lambda x: x * x - a)


def in_a_global(a):
    space: dict[str, Any] = {"a": a}
    exec("def f(x):\n    return x * x - a", space)
    return space["f"]


CAPTURED = {f.__name__: f for f in (
    in_a_cell, in_a_container, in_a_default, in_a_helper, in_a_partial, in_a_dataclass,
    in_an_object, in_an_object_in_a_cell, in_a_traced_function, in_a_global,
)}  # fmt: skip


@pytest.mark.parametrize("name", CAPTURED)
def test_captured_values_keep_their_gradient(name):
    def f(a):
        return nt.root(CAPTURED[name](a), 1.0).x

    assert nt.grad(f)(4.0) == pytest.approx(0.25)
    assert nt.grad(nt.grad(f))(4.0) == pytest.approx(-1 / 32)
    a = nt.var(4.0)
    f(a).backward()
    assert a.grad == pytest.approx(0.25)
    if name != "in_a_traced_function":
        F = nt.function(f)
        assert [round(F(a), 9) for a in (4.0, 9.0)] == [2.0, 3.0]
        assert nt.grad(F)(9.0) == pytest.approx(1 / 6)


def test_long_lists_are_passed_over():
    numbers = [float(i) for i in range(200_000)]
    objects = [[float(i)] for i in range(200)]

    def f(a):
        return nt.root(lambda x: x * x - a * numbers[1] - objects[0][0], 1.0).x

    assert nt.grad(f)(4.0) == pytest.approx(0.25)


def test_a_function_that_calls_itself():
    def f(a):
        def power(x, n):
            return x if n == 1 else x * power(x, n - 1)

        return nt.root(lambda x: power(x, 3) - a, 1.0).x

    assert nt.grad(f)(8.0) == pytest.approx(1 / 12)


def test_captured_twice_is_one_parameter():
    def f(a):
        b = a * 1.0
        return nt.root(lambda x: x * x * b - a * b, 1.0).x

    assert nt.grad(f)(4.0) == pytest.approx(0.25)


class Hidden:
    """What no search finds."""

    __slots__ = ("k",)

    def __init__(self, k):
        self.k = k


@pytest.mark.parametrize(
    "solve",
    [
        lambda f: nt.root(f, 1.0),
        lambda f: nt.fixed_point(lambda x: x - 0.1 * f(x), 1.0),
        lambda f: nt.minimize(f, 1.0),
        lambda f: nt.least_squares(f, 1.0),
        lambda f: nt.linear_solve(f, 1.0),
        lambda f: nt.solve_ivp(lambda t, y: f(y), (0.0, 1.0), 1.0, "BDF"),
    ],
    ids=["root", "fixed_point", "minimize", "least_squares", "linear_solve", "solve_ivp"],
)
def test_what_is_not_found_is_never_lost(solve):
    hidden = Hidden(nt.var(4.0))
    with pytest.raises(nt.GradientLostError, match=r"pass it in args"):
        solve(lambda x: x * x * hidden.k - 1.0)

    def f(a):
        hidden = Hidden(a)
        return solve(lambda x: x * x * hidden.k).x

    with pytest.raises((nt.GradientLostError, nt.UnsupportedError), match="argument"):
        nt.grad(f)(4.0)


def test_under_no_grad_all_is_plain():
    a = nt.var(4.0)
    with nt.no_grad():
        x = nt.root(lambda x: x * x - a, 1.0).x
        y = nt.fixed_point(heron, 1.0, (a,))
    assert type(x) is type(y) is float
    assert x == pytest.approx(2.0)


def test_plain_numbers_inside_of_a_transform():
    F = nt.grad(lambda x: x * nt.root(square, 1.0, (4.0,)).x)
    assert F(3.0) == pytest.approx(2.0)
    G = nt.function(lambda x: x * nt.minimize(lambda y: (y - 1.0) ** 2, 0.0).x)
    assert G(3.0) == pytest.approx(3.0, rel=1e-6)


# --- failures -------------------------------------------------------------------------------------


def test_no_convergence():
    with pytest.raises(nt.ConvergenceError, match="did not converge in 7 iterations") as info:
        nt.fixed_point(lambda x, a: a * x + 1.0, 1.0, (2.0,), maxiter=7)
    assert info.value.iterations == 7 and info.value.residual > 1.0
    with pytest.raises(nt.ConvergenceError, match="nan"):
        nt.fixed_point(lambda x: nt.sqrt(x - 10.0), 1.0)
    with pytest.raises(nt.ConvergenceError, match=r"nt\.root did not converge") as info:
        nt.grad(lambda a: nt.root(lambda x: x * x + a, 1.0).x)(1.0)
    assert info.value.residual > 0.1
    with pytest.raises(nt.ConvergenceError, match=r"nt\.minimize did not converge in 1 steps"):
        nt.grad(lambda a: nt.minimize(lambda x: (x - a) ** 4, 9.0, options={"maxiter": 1}).x)(1.0)
    with pytest.raises(nt.ConvergenceError, match="gmres did not converge"):
        nt.linear_solve(lambda x: x[::-1] * np.array([1.0, 0.0]), np.ones(2))


def test_no_convergence_in_a_replay():
    F = nt.function(lambda a: nt.root(lambda x, a: x * x - a, 1.0, (a,)).x)
    assert F(4.0) == pytest.approx(2.0)
    with pytest.raises(nt.ConvergenceError):
        F(-1.0)
    assert F(9.0) == pytest.approx(3.0)


def test_a_singular_jacobian_has_no_derivative():
    with pytest.raises(nt.SingularMatrixError, match=r"nt\.root at their solution is singular"):
        nt.grad(lambda a: nt.root(lambda x, a: np.stack([x[0] - a, 0.0 * x[1]]), np.ones(2), (a,)
                                  ).x[0])(1.0)  # fmt: skip


def test_arguments_that_make_no_sense():
    with pytest.raises(nt.ArgumentError, match="takes a function"):
        nt.fixed_point(2.0, 1.0)
    with pytest.raises(nt.ArgumentError, match="knows the methods"):
        nt.linear_solve(lambda x: x, 1.0, method="lu")
    with pytest.raises(nt.ArgumentError, match="linear function: this one is 1 at zero"):
        nt.linear_solve(lambda x: x + 1.0, np.ones(2))
    with pytest.raises(nt.ShapeError, match="1 numbers for 2 unknowns"):
        nt.fixed_point(lambda x: x[:1], np.ones(2))
    with pytest.raises(nt.UnsupportedError, match="constraints"):
        given = {"type": "eq", "fun": lambda x: x}
        nt.grad(lambda a: nt.minimize(lambda x: (x - a) ** 2, 0.0, constraints=given).x)(1.0)
    with pytest.raises(nt.ArgumentError, match="linear is one of dense, gmres"):
        nt.root(square, 1.0, (2.0,), linear="lu")
    with pytest.raises(nt.UnsupportedError, match="linear"):
        nt.grad(lambda a: nt.least_squares(lambda x: x - a, 0.0, loss="soft_l1").x)(1.0)


# --- kinds of numbers -----------------------------------------------------------------------------


def test_float32():
    def f(a):
        x = nt.fixed_point(lambda x, a: 0.5 * (x + a / x), np.ones(2, np.float32), (a,))
        assert x.dtype == np.float32
        return np.sum(x)

    gradient = nt.grad(f)(np.array([4.0, 9.0], np.float32))
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, [0.25, 1 / 6], rtol=1e-5)
    assert nt.fixed_point(lambda x: 0.5 * x + np.float32(1), np.float32(0.0)) == pytest.approx(2.0)


def test_whole_numbers_stay_whole():
    @nt.function
    def f(a, n):
        return nt.root(lambda x, a, n: x**n - a, 2.0, (a, n)).x

    assert f(8.0, 3) == pytest.approx(2.0)
    assert nt.grad(f)(8.0, 3) == pytest.approx(1 / 12)
    assert nt.grad(f)(16.0, 4) == pytest.approx(1 / 32)
    x = nt.root(lambda x, steps: x * 2.0 ** len(range(steps)) - 4.0, 1, (3,)).x
    assert x == pytest.approx(0.5)


def test_static_arguments_and_containers():
    def f(x, p, how):
        return x * x - p["a"] if how == "square" else x - p["a"]

    def g(a, how):
        return nt.root(f, 1.0, ({"a": a, "other": None}, how)).x

    assert nt.grad(g)(4.0, "square") == pytest.approx(0.25)
    assert nt.grad(g)(4.0, "line") == pytest.approx(1.0)


def test_matrices_as_unknowns():
    """A square root of a matrix: dX = the solution of X dX + dX X = dA."""
    A = np.array([[4.0, 1.0], [1.0, 3.0]])

    def f(A):
        return nt.root(lambda X, A: X @ X - A, np.eye(2) * 2.0, (A,), tol=1e-13).x

    X = f(A)
    np.testing.assert_allclose(X @ X, A, rtol=1e-12)
    dA = np.array([[0.3, -0.2], [0.1, 0.5]])
    dX = nt.jvp(f, (A,), (dA,))[1]
    np.testing.assert_allclose(X @ dX + dX @ X, dA, rtol=1e-10)


def test_empty_trees():
    assert nt.root(lambda x: x, {"a": []}).x == {"a": []}
    for solve in (nt.minimize, nt.least_squares):
        with pytest.raises(nt.ArgumentError, match="x0 holds no numbers"):
            solve(lambda x: 0.0, {})
    assert nt.fixed_point(lambda x: x, {}) == {}
    assert nt.grad(lambda a: nt.fixed_point(lambda x, a: 0.5 * (x + a), 1.0, (a,)))(2.0) == 1.0


# --- memory ---------------------------------------------------------------------------------------


def test_nothing_of_old_parameters_is_kept():
    class Big(np.ndarray):
        pass

    watched = []

    def f(a, data):
        watched.append(weakref.ref(data))
        return nt.root(lambda x: x * x - a - 0.0 * np.sum(data), 1.0).x

    for _ in range(3):
        data = np.ones(1000).view(Big)
        assert nt.grad(f)(4.0, data) == pytest.approx(0.25)
        del data
    gc.collect()
    assert [w() for w in watched] == [None] * 3


def test_evaluations_do_not_grow():
    """A solve per step, as in a training loop: the function is recorded twice each time."""
    count = tally()

    def f(x, a):
        count()
        return x * x - a

    for a in (2.0, 3.0, 4.0):
        before = count()
        nt.grad(lambda a: nt.root(f, 1.0, (a,)).x)(a)
        assert count() - before <= 5
