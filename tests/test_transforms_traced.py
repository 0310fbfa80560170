"""Transforms of traced functions, and traced transforms: what the plain ones give, replayed."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

import ndtape as nt
from ndtape.trees import flatten

A = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [-0.3, 0.8, 0.6]])
POINTS = [np.array([0.3, -0.7, 1.1]), np.array([-0.3, 0.7, -1.1]), np.array([1.0, 2.0, -0.5]),
          np.array([0.3, -0.7, 1.1])]  # fmt: skip
T = np.array([1.0, -0.5, 2.0])


def close(got, expected, tolerance=1e-12):
    leaves, structure = flatten(got)
    others, other = flatten(expected)
    assert structure == other
    for one, two in zip(leaves, others, strict=True):
        assert type(one) is type(two)
        if isinstance(one, str):
            assert one == two
            continue
        one, two = np.asarray(one), np.asarray(two)
        assert one.shape == two.shape
        assert np.all(np.abs(one - two) <= tolerance * np.maximum(1, np.abs(one) + np.abs(two)))


def scalar(x, s=2.0):
    t = np.tanh(A @ x)
    if t[0] > 0:
        return (t * x).sum() * s
    return (t**2).sum() + s * x[0] ** 3


def vector(x, s=2.0):
    y = np.sin(A @ x) * x[0]
    for _ in range(2):
        if y[1] < 0.5:
            y = y * y + s
    return {"y": y, "rest": [x.sum() ** 2 * s, np.outer(x, y), None]}


def aux(x, s=2.0):
    return scalar(x, s), {"double": 2 * x, "text": "kept", "more": [s, None]}


W = {"y": T, "rest": [1.5, np.outer(T, T), None]}
SCALAR = {
    "grad": lambda f: nt.grad(f),
    "grad by both": lambda f: nt.grad(f, (0, 1)),
    "grad by the second": lambda f: nt.grad(f, argnums=-1),
    "value_and_grad": lambda f: nt.value_and_grad(f),
    "hessian": lambda f: nt.hessian(f),
    "hessian by both": lambda f: nt.hessian(f, (1, 0)),
    "hvp": lambda f: lambda x, s: nt.hvp(f, (x, s), (T, 1.5)),
    "jacobian": lambda f: nt.jacobian(f),
    "jacobian of grad": lambda f: nt.jacobian(nt.grad(f)),
    "jacfwd of value_and_grad": lambda f: nt.jacfwd(nt.value_and_grad(f)),
    "jvp": lambda f: lambda x, s: nt.jvp(f, (x, s), (T, 1.5)),
    "jvp of grad": lambda f: lambda x, s: nt.jvp(nt.grad(f), (x, s), (T, 1.5)),
    "vjp": lambda f: lambda x, s: nt.vjp(f, x, s)[1](2.0),
    "linearize": lambda f: lambda x, s: nt.linearize(f, x, s)[1](T, 1.5),
    "grad of a product": lambda f: nt.grad(lambda x, s: (nt.grad(f)(x, s) * T).sum()),
    "grad of hvp": lambda f: nt.grad(lambda x, s: (nt.hvp(f, (x, s), (x, s))[2][0] * T).sum()),
    "grad of hessian": lambda f: nt.grad(lambda x, s: (nt.hessian(f)(x, s) @ T).sum(), (0, 1)),
}  # fmt: skip
VECTOR = {
    "jacobian": lambda f: nt.jacobian(f),
    "jacobian by both": lambda f: nt.jacobian(f, (0, 1)),
    "jacfwd": lambda f: nt.jacfwd(f),
    "jacrev": lambda f: nt.jacrev(f, 1),
    "jvp": lambda f: lambda x, s: nt.jvp(f, (x, s), (T, 1.5)),
    "vjp": lambda f: lambda x, s: nt.vjp(f, x, s)[1](W),
    "linearize": lambda f: lambda x, s: nt.linearize(f, x, s)[1](T, 1.5),
    "jacfwd of jacrev": lambda f: nt.jacfwd(nt.jacrev(f)),
    "jacrev of jacfwd": lambda f: nt.jacrev(nt.jacfwd(f)),
    "elementwise_grad": lambda f: nt.elementwise_grad(f),
    "gauss_newton_vp": lambda f: lambda x, s: nt.gauss_newton_vp(f, (x, s), (T, 1.5)),
    "gauss_newton_vp of a loss": lambda f: lambda x, s: nt.gauss_newton_vp(
        f, (x, s), (T, 1.5), loss=lambda v: (v["y"] ** 4).sum() + v["rest"][0] ** 2),
}  # fmt: skip
AUX = {
    "grad": lambda f: nt.grad(f, has_aux=True),
    "value_and_grad": lambda f: nt.value_and_grad(f, (0, 1), has_aux=True),
    "jacfwd": lambda f: nt.jacfwd(f, has_aux=True),
    "hessian": lambda f: nt.hessian(f, has_aux=True),
    "jvp": lambda f: lambda x, s: nt.jvp(f, (x, s), (T, 1.5), has_aux=True),
    "vjp": lambda f: lambda x, s: (lambda y, pullback, aux: (y, pullback(2.0), aux))(
        *nt.vjp(f, x, s, has_aux=True)),
}  # fmt: skip
ALL = [pytest.param(f, use, id=f"{f.__name__}: {name}")
       for f, uses in ((scalar, SCALAR), (vector, VECTOR), (aux, AUX))
       for name, use in uses.items()]  # fmt: skip


@pytest.mark.parametrize(("f", "use"), ALL)
def test_transforms_of_traced_functions(f, use):
    traced = nt.function(f)
    transformed = use(traced)
    for x in POINTS:
        expected = use(f)(x, 1.5)
        close(transformed(x, 1.5), expected)
        close(use(traced)(x, 1.5), expected)  # made anew: the same tapes
    assert traced.counters.recordings <= 6


@pytest.mark.parametrize(("f", "use"), ALL)
def test_traced_transforms(f, use):
    traced, both = nt.function(use(f)), nt.function(use(nt.function(f)))
    for x in POINTS:
        expected = use(f)(x, 1.5)
        close(traced(x, 1.5), expected)
        close(both(x, 1.5), expected)


@pytest.mark.parametrize("f", [scalar, vector])
def test_derivatives_of_traced_transforms(f):
    use = (lambda g: nt.grad(g)) if f is scalar else (lambda g: nt.jacfwd(g))
    traced = nt.function(use(nt.function(f)))
    for x in POINTS:
        close(nt.jacobian(traced)(x, 1.5), nt.jacobian(use(f))(x, 1.5))
        close(nt.jacfwd(nt.function(nt.jacrev(traced)))(x, 1.5),
              nt.jacfwd(nt.jacrev(use(f)))(x, 1.5), 1e-11)  # fmt: skip


def test_pullbacks_and_linear_maps_outlive_other_replays():
    traced = nt.function(vector)
    pairs = []
    for x in POINTS:
        kept = nt.vjp(traced, x)[1], nt.linearize(traced, x)[1]
        pairs.append((kept, (nt.vjp(vector, x)[1], nt.linearize(vector, x)[1])))
        traced(-x)
    for _ in range(2):
        for (pullback, f_jvp), (expected, expected_jvp) in pairs:
            traced(T)
            nt.grad(lambda x: traced(x)["rest"][0])(T)
            close(pullback(W), expected(W))
            close(f_jvp(T), expected_jvp(T))


def test_recording_directions_of_a_traced_function():
    traced = nt.function(vector)
    for f in (vector, traced):
        pullback, f_jvp = nt.vjp(f, POINTS[0])[1], nt.linearize(f, POINTS[0])[1]
        w = nt.var(T)
        pullback({"y": w * w, "rest": W["rest"]})[0].sum().backward()
        first = w.grad
        w.grad = None
        (f_jvp(w)["y"] ** 2).sum().backward()
        second = w.grad
        w.grad = None
        nt.hvp(scalar if f is vector else nt.function(scalar), (POINTS[0],), (w,))[2][
            0
        ].sum().backward()
        third = w.grad
        if f is vector:
            expected = first, second, third
    close((first, second, third), expected)
    gradient = nt.grad(lambda s: nt.jvp(traced, (POINTS[0],), (T * s,))[1]["rest"][0])
    close(
        gradient(2.0), nt.grad(lambda s: nt.jvp(vector, (POINTS[0],), (T * s,))[1]["rest"][0])(2.0)
    )


def test_leaves_go_inline():
    leaf = nt.var(1.5)
    traced = nt.function(scalar)
    for f in (scalar, traced):
        nt.grad(f)(POINTS[0], leaf).sum().backward()
        if f is scalar:
            expected, leaf.grad = leaf.grad, None
    assert leaf.grad == pytest.approx(expected)
    captures = nt.function(lambda x: scalar(x, leaf))
    leaf.grad = None
    nt.grad(captures)(POINTS[0]).sum().backward()
    assert leaf.grad == pytest.approx(expected)
    with nt.no_grad():
        close(nt.grad(captures)(POINTS[0]), nt.grad(scalar)(POINTS[0], 1.5))


def test_a_replay_keeps_perturbations_apart():
    inner = nt.function(lambda x, y: x + y)
    outer = nt.function(lambda x: x * nt.grad(lambda y: inner(x, y))(1.0))
    for x in (2.0, 3.0):
        assert nt.grad(outer)(x) == 1.0
        assert (
            nt.grad(nt.function(lambda x: x * nt.grad(nt.function(lambda y: x * y))(2.0)))(x)
            == 2 * x
        )
        assert nt.function(nt.grad(lambda x: nt.jvp(inner, (x, x), (x, 0.0))[1]))(x) == 1.0


def test_third_derivatives_of_a_traced_function():
    f = nt.function(lambda x: nt.sin(x) * x if x > 0 else nt.exp(2.0 * x))
    third = nt.grad(nt.grad(nt.grad(f)))
    traced = nt.function(third)
    for x in (0.7, -0.4, 1.3):
        expected = -3 * math.sin(x) - x * math.cos(x) if x > 0 else 8 * math.exp(2 * x)
        assert third(x) == pytest.approx(expected, rel=1e-13)
        assert traced(x) == pytest.approx(expected, rel=1e-13)
    assert len(traced.tapes) == 2


def test_one_traced_function_transformed_in_two_threads():
    traced, failures = nt.function(scalar), []
    expected = [(nt.grad(scalar)(x), nt.hessian(scalar)(x)) for x in POINTS]

    def work(offset):
        try:
            for i in range(40):
                x, (gradient, hessian) = list(zip(POINTS, expected, strict=True))[(i + offset) % 4]
                close(nt.grad(traced)(x), gradient)
                close(nt.hessian(traced)(x), hessian)
                close(nt.vjp(traced, x)[1](1.0)[0], gradient)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_errors_of_results_and_arguments():
    with pytest.raises(nt.ArgumentError, match="must return a scalar"):
        nt.grad(nt.function(lambda x: x * x))(POINTS[0])
    with pytest.raises(nt.ArgumentError, match="does not fit"):
        nt.grad(nt.function(lambda x: x), 1)(2.0)
    with pytest.raises(nt.ArgumentError, match="must return a pair"):
        nt.grad(nt.function(lambda x: x), has_aux=True)(2.0)
    with pytest.raises(nt.ShapeError, match="one of the tangents"):
        nt.jvp(nt.function(vector), (POINTS[0],), (np.ones(2),))
