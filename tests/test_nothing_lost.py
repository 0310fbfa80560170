"""Derivatives that numbers from a sweep would drop: computed, or refused with the remedy."""

import sys
import threading

import pytest

import ndtape as nt


def test_grad_inside_no_grad_is_a_constant():
    def f(x):
        with nt.no_grad():
            c = nt.grad(lambda y: y * y)(x)
        assert type(c) is float
        return c * x

    assert nt.grad(f)(3.0) == 6.0
    w = nt.var(3.0)
    with nt.no_grad():
        c = nt.grad(lambda y: y * y)(w)
    (c * w).backward()
    assert w.grad == 6.0


def by_gradient(x):
    with nt.Tape() as tape:
        y = x * x * x
    return tape.gradient(y, x) * x


def by_backward(x):
    v = nt.var(2.0)
    (v * x * x).backward()
    return v.grad * x


def by_tangent(x):
    v = nt.var(2.0)
    with nt.Tape() as tape:
        y = v * x * x
    return tape.tangent(y, v) * x


@pytest.mark.parametrize("f", [by_gradient, by_backward, by_tangent])
def test_sweeps_inside_a_transform_are_refused(f):
    with pytest.raises(nt.GradientLostError, match=r"use nt.grad inside nt.grad .*nothing_lost.py"):
        nt.grad(f)(3.0)


def test_backward_inside_a_transform_of_something_else():
    def f(x):
        v = nt.var(2.0)
        (v * v).backward()
        return v.grad * x

    assert nt.grad(f)(3.0) == 4.0


def test_define_refuses_captured_values():
    def f(q):
        return nt.define(lambda x: x * q, lambda x, z: q)(2.0 * q)

    with pytest.raises(nt.GradientLostError, match="make it an operand"):
        nt.grad(f)(3.0)
    leaf = nt.var(2.0)
    captures = nt.define(lambda x: x * leaf, lambda x, z: leaf * 1.0)
    with pytest.raises(nt.GradientLostError, match="make it an operand"):
        captures(nt.var(3.0))
    both = nt.define(lambda x, q: x * q, lambda x, q, z: q, lambda x, q, z: x)
    assert nt.grad(lambda q: both(2.0 * q, q))(3.0) == 12.0


def test_check_grads_and_hvp_of_functions_that_capture_leaves():
    w = nt.var(2.0)
    nt.check_grads(lambda y: w * y * y, (1.0,))
    value, (gradient,), (product,) = nt.hvp(lambda y: w * y**3, (2.0,), (1.0,))
    assert (value.value, gradient.value, product.value) == (16.0, 24.0, 24.0)
    product.backward()
    assert w.grad == 12.0
    with nt.no_grad():
        assert nt.hvp(lambda y: w * y**3, (2.0,), (1.0,)) == (16.0, (24.0,), (24.0,))


GUARDED = [
    (lambda x: nt.where(x > 0, x * nt.log(x), x * x), (2.0, 0.0)),
    (lambda x: nt.where(x > 0, x**1.5 * nt.log(x), x**3), (0.0, 6.0)),
    (lambda x: nt.where(x > 0, nt.exp(-1 / x), 0.0), (0.0, 0.0)),
    (lambda x: nt.where(x > 0, nt.sqrt(x), x * x), (2.0, 0.0)),
]


@pytest.mark.parametrize(("f", "expected"), GUARDED)
def test_guarded_branches_in_nested_derivatives(f, expected):
    second = nt.grad(nt.grad(f))
    assert (second(0.0), nt.grad(second)(0.0)) == expected
    assert nt.hvp(f, (0.0,), (1.0,))[2] == (expected[0],)


def test_no_grad_nests_and_decorates():
    pause, w = nt.no_grad(), nt.var(1.0)
    with pause, pause:
        assert not (w * 2.0).needs_grad
    assert (w * 2.0).needs_grad
    assert not nt.no_grad()(lambda: w * 2.0)().needs_grad


def test_gradients_while_other_threads_extend_the_tape():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    failures = []

    def job(shared, barrier, k):
        barrier.wait()
        v = nt.var(1.0 + k)
        try:
            with nt.Tape() as tape:
                z = nt.sin(shared * v)
            got = tape.gradient(z, v)
            expected = 4.0 * float(nt.cos(4.0 * (1.0 + k)))
            if abs(got - expected) > 1e-12:
                failures.append((got, expected))
        except Exception as error:
            failures.append(error)

    try:
        for _ in range(60):
            x = nt.var(2.0)
            shared, barrier = x * x, threading.Barrier(4)
            threads = [threading.Thread(target=job, args=(shared, barrier, k)) for k in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)
    assert failures == []
