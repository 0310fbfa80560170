"""nt.lowlevel: value and gradient called from compiled code, and the rare ways there."""

from __future__ import annotations

import ctypes
import gc
import math
import threading
import weakref

import numba
import numpy as np
import pytest
from scipy.integrate import nquad, quad

import ndtape as nt

POINTER = ctypes.POINTER(ctypes.c_double)


def rosenbrock(x):
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


def branching(x):
    if x > 1:
        return x * x
    return nt.sin(x) if x > 0 else -3 * x


@numba.njit
def summed(vg, xs, gradient):
    total = 0.0
    for x in xs:
        total += vg(np.array([x]), gradient)
        total += gradient[0]
    return total


@numba.njit
def descend(vg, x, steps, rate):
    gradient = np.empty_like(x)
    for _ in range(steps):
        vg(x, gradient)
        x -= rate * gradient
    return vg(x, gradient)


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (lambda x: x * x + nt.sin(x), (0.7,)),
        (rosenbrock, (np.linspace(-1, 2, 7),)),
        (lambda x, y: np.sum(np.tanh(x @ y)), (np.eye(3) + 0.1, np.arange(3.0))),
        (lambda p: p["a"] * p["b"][0] + np.sum(p["b"][1] ** 2),
         ({"a": 2, "b": (3.0, np.ones(2))},)),
        (lambda x: np.linalg.solve(np.eye(2) * 3 + x[:, None] * x, x)[0], (np.array([1.0, 2.0]),)),
        (lambda x, y: 2.5, (1.0, 2.0)),
        (lambda x: x, (1.5,)),
    ],
)  # fmt: skip
def test_value_and_gradient(f, args):
    numbers = np.concatenate([np.ravel(x) for x in _leaves(args)]).astype(float)
    vg = nt.lowlevel(f, args)
    gradient = np.full(len(numbers), 99.0)
    for scale in (1.0, 0.9, 1.1):
        x = scale * numbers
        value = vg(x, gradient)
        given = _like(args, iter(x.tolist()))
        expected, slopes = nt.value_and_grad(f, tuple(range(len(args))))(*given)
        assert value == vg(x) == pytest.approx(float(expected), rel=1e-13)
        wanted = np.concatenate([np.ravel(s) for s in _leaves(slopes)])
        np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-14)


def _leaves(tree):
    if isinstance(tree, dict):
        return [x for key in sorted(tree) for x in _leaves(tree[key])]
    return [x for part in tree for x in _leaves(part)] if isinstance(tree, tuple) else [tree]


def _like(tree, numbers):
    if isinstance(tree, dict):
        return {key: _like(tree[key], numbers) for key in sorted(tree)}
    if isinstance(tree, tuple):
        return tuple(_like(part, numbers) for part in tree)
    if isinstance(tree, np.ndarray):
        return np.array([next(numbers) for _ in range(tree.size)]).reshape(tree.shape)
    return next(numbers)


def test_a_traced_function_shares_its_tapes():
    f = nt.function(branching)
    assert f(2.0) == 4.0 and f(0.5) == math.sin(0.5)
    vg = nt.lowlevel(f, (2.0,))
    assert vg([-2.0]) == 6.0 and vg([2.0]) == 4.0


# --- inside compiled functions --------------------------------------------------------------------


def test_inside_a_compiled_optimiser():
    x = np.array([-0.5, 0.7, 0.2])
    expected = x.copy()
    for _ in range(300):
        expected -= 1e-3 * nt.grad(rosenbrock)(expected)
    vg = nt.lowlevel(rosenbrock, (x,))
    value = descend(vg, x, 300, 1e-3)
    np.testing.assert_allclose(x, expected, rtol=1e-12)
    assert value == pytest.approx(rosenbrock(expected), rel=1e-11)


def test_a_function_that_takes_one_compiles_once_for_all():
    before = len(descend.signatures)
    for target in (1.0, 2.0):
        vg = nt.lowlevel(lambda x, target=target: np.sum((x - target) ** 2), (np.zeros(4),))
        x = np.zeros(4)
        descend(vg, x, 200, 0.1)
        np.testing.assert_allclose(x, target)
    assert len(descend.signatures) <= max(before, 1)


def test_as_a_closure_variable():
    vg = nt.lowlevel(lambda x: x[0] * x[1], (np.zeros(2),))

    @numba.njit
    def both(x, gradient):
        return vg(x, gradient) + 1.0

    gradient = np.empty(2)
    assert both(np.array([2.0, 5.0]), gradient) == 11.0
    assert gradient.tolist() == [5.0, 2.0]


def test_arrays_of_other_sizes_and_types_are_refused():
    vg = nt.lowlevel(lambda x: x[0] * x[1], (np.zeros(2),))

    @numba.njit
    def call(vg, x, gradient):
        return vg(x, gradient)

    with pytest.raises(ValueError, match="another size"):
        call(vg, np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="gradient"):
        call(vg, np.zeros(2), np.zeros(3))
    for x, g in ((np.zeros(2, np.float32), np.zeros(2)), (np.zeros(4)[::2], np.zeros(2))):
        with pytest.raises(numba.TypingError, match="two contiguous vectors"):
            call(vg, x, g)
    with pytest.raises(nt.ShapeError, match=r"\(2,\), not \(3,\)"):
        vg(np.zeros(3))
    with pytest.raises(nt.ShapeError, match=r"\(2,\)"):
        vg(np.zeros(2), np.zeros(1))
    with pytest.raises(nt.ArgumentError, match="contiguous"):
        vg(np.zeros(2), np.zeros(2, np.float32))


# --- C --------------------------------------------------------------------------------------------


def test_as_a_c_function():
    vg = nt.lowlevel(lambda x: np.sum(x**3), (np.zeros(3),))
    x, gradient = np.arange(3.0), np.zeros(3)
    function = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int64, POINTER, POINTER)(vg.address)
    for call in (function, vg.ctypes):
        assert call(3, x.ctypes.data_as(POINTER), gradient.ctypes.data_as(POINTER)) == 9.0
        assert gradient.tolist() == [0.0, 3.0, 12.0]
        assert call(3, x.ctypes.data_as(POINTER), None) == 9.0
    assert math.isnan(vg.ctypes(2, x.ctypes.data_as(POINTER), None))
    with pytest.raises(nt.ShapeError, match="takes 3 numbers, and got 2"):
        vg.check()
    vg.check()


def test_quad():
    def f(x):
        return nt.exp(-x * x) if x < 1 else 1 / x**2

    vg = nt.lowlevel(f, (0.5,))
    found, _ = quad(vg.scipy("quad"), -2, 4, points=[1.0])
    exact = math.sqrt(math.pi) / 2 * (math.erf(1) + math.erf(2)) + 1 - 1 / 4
    assert found == pytest.approx(exact, rel=1e-10)
    vg.check()


def test_nquad():
    vg = nt.lowlevel(lambda x, y, z: nt.sin(x * y) + z, (0.0, 0.0, 0.0))
    ranges = [[0, 1], [0, 2], [0.5, 1]]
    found, _ = nquad(vg.scipy("nquad"), ranges)
    assert found == pytest.approx(nquad(lambda x, y, z: math.sin(x * y) + z, ranges)[0], rel=1e-10)
    line, _ = quad(vg.scipy("nquad"), 0, 1, args=(2.0, 0.5))
    assert line == pytest.approx((1 - math.cos(2.0)) / 2 + 0.5, rel=1e-10)
    vg.check()


def test_kinds_of_scipy():
    vg = nt.lowlevel(lambda x, y: x * y, (1.0, 2.0))
    with pytest.raises(nt.ArgumentError, match="takes 2"):
        vg.scipy("quad")
    with pytest.raises(nt.ArgumentError, match="kind is"):
        vg.scipy("trapezoid")
    quad(vg.scipy("nquad"), 0, 1, full_output=1)  # one number instead of two
    with pytest.raises(nt.ShapeError, match="takes 2 numbers, and got 1"):
        vg.check()


# --- branches -------------------------------------------------------------------------------------


def test_branches_that_flip_in_compiled_code():
    vg = nt.lowlevel(branching, (0.5,))
    xs = np.random.default_rng(0).normal(size=500) * 2
    expected = sum(branching(x) + nt.grad(branching)(x) for x in xs.tolist())
    gradient = np.empty(1)
    assert summed(vg, xs, gradient) == pytest.approx(float(expected), rel=1e-12)
    slow = vg.program.replays
    assert summed(vg, xs, gradient) == pytest.approx(float(expected), rel=1e-12)
    assert vg.program.replays == slow  # every way is known: Python is not asked again
    vg.check()


def test_loops_of_other_lengths():
    def root(x):
        y = 1.0
        while abs(y * y - x) > 1e-12 * x:
            y = 0.5 * (y + x / y)
        return y

    vg = nt.lowlevel(root, (2.0,))
    xs = np.geomspace(1e-6, 1e6, 200)
    gradient = np.empty(1)
    for _ in range(2):
        for x in xs.tolist():
            assert vg([x], gradient) == pytest.approx(math.sqrt(x), rel=1e-10)
            assert gradient[0] == nt.grad(root)(x)
    assert len(vg.blocks) > 5


def test_an_exception_in_a_new_branch():
    def f(x):
        if x > 1:
            raise ZeroDivisionError("above one")
        return x * 2

    vg = nt.lowlevel(f, (0.5,))
    gradient = np.zeros(1)
    assert math.isnan(summed(vg, np.array([0.5, 2.0, 3.0]), gradient))
    assert math.isnan(gradient[0])
    with pytest.raises(ZeroDivisionError, match="above one"):
        vg.check()
    vg.check()
    with pytest.raises(ZeroDivisionError):
        vg([2.0])
    assert vg([0.25], gradient) == 0.5
    assert gradient[0] == 2.0


def test_too_many_tapes():
    f = nt.function(lambda x: x * int(x), max_tapes=3)
    vg = nt.lowlevel(f, (1.5,))
    gradient = np.empty(1)
    assert summed(vg, np.array([1.5, 2.5, 3.5]), gradient) == 1.5 + 5 + 10.5 + 6
    assert math.isnan(summed(vg, np.array([4.5]), gradient))
    with pytest.raises(nt.TooManyTapesError, match=r"nt\.where"):
        vg.check()
    assert vg([3.25]) == 9.75


def test_nan_takes_the_branch_that_python_takes():
    vg = nt.lowlevel(branching, (0.5,))
    assert math.isnan(vg([math.nan]))
    assert vg([math.inf]) == math.inf
    vg.check()


# --- what is captured -----------------------------------------------------------------------------


def test_a_captured_number_that_changes_is_noticed():
    scale = 2.0

    def f(x):
        return scale * x if x > 0 else x

    vg = nt.lowlevel(f, (1.0,))
    assert vg([3.0]) == 6.0
    vg.check()
    scale = 5.0
    with pytest.raises(nt.ArgumentError, match="captures has changed"):
        vg.check()
    with pytest.raises(nt.ArgumentError, match="captures has changed"):
        vg([-1.0])  # a way that would be recorded now, with the new number
    assert nt.lowlevel(f, (1.0,))([3.0]) == 15.0


def test_recording_values_are_refused():
    w = nt.var(2.0)
    with pytest.raises(nt.ArgumentError, match="without recording values"):
        nt.lowlevel(lambda x: w * x, (1.0,))
    with pytest.raises(nt.ArgumentError, match="without recording values"):
        nt.lowlevel(lambda x: x, (w,))


def test_other_results_are_refused():
    for f in (lambda x: (x, x), lambda x: np.ones(2) * x, lambda x: None, lambda x: [x], str):
        with pytest.raises((nt.ArgumentError, nt.GradientLostError)):
            nt.lowlevel(f, (1.0,))
    with pytest.raises(nt.ArgumentError, match="must be a tuple"):
        nt.lowlevel(branching, 1.0)


# --- lifetime, threads ----------------------------------------------------------------------------


def test_an_object_lives_as_long_as_what_it_hands_out():
    def made():
        vg = nt.lowlevel(lambda x: x * x, (1.0,))
        return vg, weakref.ref(vg)

    vg, alive = made()
    vg([2.0])
    del vg
    assert alive() is None  # at once, by its count

    vg, alive = made()
    callable_ = vg.scipy("quad")
    del vg
    gc.collect()
    assert quad(callable_, 0, 1)[0] == pytest.approx(1 / 3)
    del callable_
    gc.collect()  # ctypes.cast, which SciPy calls, makes a circle
    assert alive() is None

    vg, alive = made()
    function = vg.ctypes
    del vg
    x = np.array([3.0])
    assert function(1, x.ctypes.data_as(POINTER), None) == 9.0
    del function
    assert alive() is None

    vg, alive = made()
    address = vg.address
    del vg
    gc.collect()
    assert alive() is not None  # somebody may call the number
    function = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int64, POINTER, POINTER)(address)
    assert function(1, x.ctypes.data_as(POINTER), None) == 9.0


def test_memory_stays_flat():
    resource = pytest.importorskip("resource")
    vg = nt.lowlevel(branching, (0.5,))
    xs = np.random.default_rng(0).normal(size=20_000) * 2
    gradient = np.empty(1)
    summed(vg, xs, gradient)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10):
        summed(vg, xs, gradient)
    assert len(vg.blocks) == 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4000  # kB


def test_threads_share_an_object():
    @numba.njit(nogil=True)
    def work(vg, xs, out):
        gradient = np.empty(1)
        for i in range(len(xs)):
            out[i] = vg(xs[i : i + 1], gradient) + gradient[0]

    vg = nt.lowlevel(branching, (0.5,))
    xs = np.random.default_rng(0).normal(size=3000) * 2
    results = [np.empty_like(xs) for _ in range(4)]
    threads = [threading.Thread(target=work, args=(vg, xs, out)) for out in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = np.where(xs > 1, xs**2 + 2 * xs, np.where(xs > 0, np.sin(xs) + np.cos(xs),
                                                         -3 * xs - 3))  # fmt: skip
    for out in results:
        np.testing.assert_allclose(out, expected, rtol=1e-12)
    vg.check()
