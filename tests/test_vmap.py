"""vmap: rows of a loop in Python, stacked; in lanes, inside recordings, over transforms."""

from __future__ import annotations

import dataclasses
import gc
import math
import random
import sys
import threading
from collections import namedtuple

import numpy as np
import pytest

import ndtape as nt
from ndtape.batch import forms, lanes
from ndtape.batch.unrolled import unrolled
from ndtape.run import Workspace

X = np.array([[0.3, -1.2, 2.0], [1.5, 0.4, -0.7], [-0.2, 0.9, 1.1], [2.2, -0.1, 0.6]])
V = np.array([0.5, -1.5, 2.5, 0.1])


def looped(f, *columns):
    """The rows of a Python loop, stacked."""
    return np.stack([f(*row) for row in zip(*columns, strict=True)])


def assert_close(got, expected, rtol=1e-12):
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-13)
    assert np.shape(got) == np.shape(expected)
    assert np.asarray(got).dtype == np.asarray(expected).dtype


# --- plain numbers --------------------------------------------------------------------------------


def test_scalars_and_arrays():
    assert_close(nt.vmap(lambda x: x * x + 1)(V), V * V + 1)
    assert_close(nt.vmap(lambda x: np.sin(x) / (1 + x @ x))(X), looped(
        lambda x: np.sin(x) / (1 + x @ x), X))  # fmt: skip
    assert_close(nt.vmap(lambda x, y: x * y)(X, V), X * V[:, None])


@pytest.mark.parametrize("count", [1, 3, 40])
def test_rows_of_a_leaf_have_a_gradient(count):
    def f(row, scale):
        row[0] = scale[1] * row[1]  # writes reach neither the leaf nor the next row
        return (row * scale).sum()

    at, by = np.arange(1.0, 1.0 + 2 * count).reshape(count, 2), np.array([2.0, 3.0])
    rows, scale = nt.var(at), nt.var(by)
    y = nt.vmap(f, (0, None))(rows, scale)
    np.testing.assert_allclose(y.value, (by[0] + 1.0) * by[1] * at[:, 1])
    y.sum().backward()
    np.testing.assert_allclose(rows.grad, np.tile([0.0, (by[0] + 1.0) * by[1]], (count, 1)))
    np.testing.assert_allclose(scale.grad, [by[1] * at[:, 1].sum(), (by[0] + 1) * at[:, 1].sum()])
    np.testing.assert_array_equal(rows.value, at)


def test_more_rows_than_a_pack_and_fewer():
    for count in (1, 2, 15, 16, 17, 31, 100):
        x = np.linspace(-1, 1, count)
        assert_close(nt.vmap(lambda x: nt.sin(3 * x) * nt.exp(x))(x), np.sin(3 * x) * np.exp(x))


def branching(x):
    if x > 1:
        return x * x
    if x < 0:
        return -3 * x
    return nt.sin(x)


def plain_branching(x):
    return x * x if x > 1 else -3 * x if x < 0 else math.sin(x)


def test_rows_that_branch_differently():
    x = np.linspace(-2, 3, 101)
    np.random.default_rng(0).shuffle(x)
    assert_close(nt.vmap(branching)(x), looped(plain_branching, x))
    slope = nt.vmap(nt.grad(branching))(x)
    assert_close(slope, np.where(x > 1, 2 * x, np.where(x < 0, -3, np.cos(x))))


def newton(x):
    y, steps = 1.0, 0
    while abs(y * y - x) > 1e-13 * x:
        y = 0.5 * (y + x / y)
        steps += 1
    return y, steps


def test_loops_of_different_length_in_every_row():
    x = np.geomspace(1e-6, 1e6, 56)  # without 1, where no step is made
    root, steps = nt.vmap(newton)(x)
    assert_close(root, np.sqrt(x))
    assert steps.tolist() == [newton(v)[1] for v in x]
    assert len(set(steps.tolist())) > 5
    np.testing.assert_allclose(
        nt.vmap(nt.grad(lambda x: newton(x)[0]))(x), 0.5 / np.sqrt(x), rtol=1e-6
    )


def test_a_loop_of_recorded_length():
    def power(x, n):
        y = 1.0
        for _ in range(int(n)):
            y = y * x
        return y

    x, n = np.linspace(0.5, 1.5, 40), np.arange(40) % 7
    assert_close(nt.vmap(power)(x, n), x**n)


def test_values_at_poles_are_those_of_the_loop():
    x = np.array([0.0, -0.0, 1.0, np.inf, np.nan, 5e-324])
    with np.errstate(all="ignore"):
        assert_close(nt.vmap(lambda x: nt.log(x) * 2)(x), np.log(x) * 2)


def test_results_that_depend_on_nothing():
    assert nt.vmap(lambda x: 3.5)(V).tolist() == [3.5] * 4
    assert nt.vmap(lambda x: np.arange(2))(V).tolist() == [[0, 1]] * 4
    assert nt.vmap(lambda x: None)(V) is None


def test_dtypes():
    assert nt.vmap(lambda x: x > 0)(V).tolist() == [True, False, True, True]
    assert nt.vmap(lambda x: x > 0)(V).dtype == bool
    assert nt.vmap(lambda x: x * 2)(np.arange(3)).tolist() == [0, 2, 4]
    assert nt.vmap(lambda x: np.argmax(x))(X).tolist() == X.argmax(axis=1).tolist()
    single = X.astype(np.float32)
    assert_close(nt.vmap(lambda x: x * 2)(single), single * 2)


def test_a_row_that_is_written_into_stays_with_its_row():
    def doubled(x):
        x[0] = 10.0
        x *= 2
        return x

    before = X.copy()
    expected = X.copy()
    expected[:, 0] = 10
    assert_close(nt.vmap(doubled)(X), 2 * expected)
    np.testing.assert_array_equal(X, before)


# --- lanes ----------------------------------------------------------------------------------------


def lanes_of(f):
    """How many rows at a time the tapes of a traced function have been swept for."""
    return {
        form.lanes
        for program in f.all_programs()
        for trace in program.traces
        for form in lanes._forms.get(trace, lanes.Forms()).made.values()
    }


def test_scalar_programs_are_swept_in_packs():
    f = nt.function(branching)
    nt.vmap(f)(np.linspace(-2, 3, 50))
    assert lanes_of(f) == {16}
    assert len(f.tapes) == 3


def elements(x, a):
    y = np.concatenate([x[::-1], np.cumsum(x) * 2, np.maximum(x, 0.1), np.array([1.0])])
    m = x[:, None] * x + np.max(x) - np.min(x, axis=0)
    return np.sum(y) + a * (m @ x) @ m.sum(axis=1) + np.sum(np.where(x > 0, x, -x), axis=0), y


@pytest.mark.parametrize("size", [1, 3, 5])
def test_small_arrays_are_taken_apart(size):
    """The same numbers as by kernels for arrays, up to the order of sums."""
    draw = np.random.default_rng(0)
    x, a = draw.normal(size=(100, size)), draw.normal(size=100)
    f = nt.function(elements)
    total, y = nt.vmap(f)(x, a)
    assert lanes_of(f) == {16}
    for i in range(0, 100, 9):
        expected = f(x[i], a[i])
        np.testing.assert_allclose(total[i], expected[0], rtol=1e-13)
        np.testing.assert_allclose(y[i], expected[1], rtol=1e-13)
    g = nt.function(nt.grad(lambda x, a: elements(x, a)[0]))
    slopes = nt.vmap(g)(x, a)
    assert lanes_of(g) == {16}
    for i in range(0, 100, 9):
        np.testing.assert_allclose(slopes[i], nt.grad(g.f.__wrapped__)(x[i], a[i]), rtol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_unrolled_tapes(seed):
    """They keep the rules of the format, and give the numbers of the tape that they come from."""
    f = nt.function(random_program(seed, True))
    draw = np.random.default_rng(seed)
    for _ in range(5):
        f(draw.normal(), draw.normal(), draw.normal(size=3))
    for trace in [t for program in f.all_programs() for t in program.traces]:
        scalar = unrolled(trace)
        nt.verify(scalar.tape)
        assert not scalar.tape.wide
        work, old = Workspace(scalar.tape), trace.borrow()
        old.leading, work.leading = trace.leading, (trace.leading[1],) * 2
        numbers = trace.tape.constants[: trace.leading[1]]  # of the call that was recorded
        for w in (work, old):
            w.set_inputs(numbers)
            w.forward()
        slots = lanes.result_slots(trace).astype(int)
        np.testing.assert_allclose(
            work.array("v")[scalar.slots[slots]], old.array("v")[slots], rtol=1e-12
        )


def test_large_arrays_are_swept_row_by_row():
    x = np.random.default_rng(0).normal(size=(70, 300))
    f = nt.function(lambda x: np.sum(np.outer(x, x) * 2) if x[0] > 0 else np.sum(x))
    expected = [2 * np.sum(row) ** 2 if row[0] > 0 else np.sum(row) for row in x]
    np.testing.assert_allclose(nt.vmap(f)(x), expected, rtol=1e-11, atol=1e-11)
    assert lanes_of(f) == {1}


def test_very_long_tapes_are_swept_row_by_row(monkeypatch):
    monkeypatch.setattr(forms, "LARGEST", 3)
    f = nt.function(branching)
    f.clear()
    x = np.linspace(-2, 3, 50)
    assert_close(nt.vmap(f)(x), looped(plain_branching, x))
    assert 1 in lanes_of(f)


def test_functions_that_python_executes():
    x = np.random.default_rng(0).normal(size=(70, 3))

    def f(x):
        y = np.linalg.solve(np.eye(3) * 9 + x[:, None] * x, x)
        return np.sum(y) if y[0] > 0 else np.sort(y)[0]

    assert_close(nt.vmap(f)(x), looped(f, x))
    assert_close(nt.vmap(nt.grad(f))(x), looped(nt.grad(f), x))


def test_gathers_of_recorded_places():
    x, i = np.random.default_rng(0).normal(size=(100, 5)), np.arange(100) % 5
    assert_close(nt.vmap(lambda x, i: nt.array(x)[i] * 2)(x, i), x[np.arange(100), i] * 2)
    with pytest.raises(IndexError):
        nt.vmap(lambda x, i: nt.array(x)[i])(x, i + 1)


def test_ties_of_sums_in_another_order():
    """A guard on a sum may go either way at a tie, but every row comes to an end."""
    x = np.random.default_rng(0).normal(size=(400, 24))
    t = np.array([nt.function(np.sum)(row) for row in x])

    def f(x, t):
        s = np.sum(x)
        if s > t:
            return np.sum(np.outer(np.outer(x, x), x)) * 0 + s  # too long to be taken apart
        return -s if s < t else s + 0.0

    np.testing.assert_allclose(np.abs(nt.vmap(f)(x, t)), np.abs(t), rtol=1e-12)


def test_more_ways_than_tapes():
    """A function that the user traces has a limit; one that vmap traces is run in Python."""

    def f(x):
        n = 0
        while x > 1:
            x, n = x * 0.99, n + 1
        return n

    x = np.linspace(1, 10, 150)
    assert nt.vmap(f)(x).tolist() == [f(v) for v in x]
    with pytest.raises(nt.TooManyTapesError):
        nt.vmap(nt.function(f))(x)
    many = nt.function(f, max_tapes=200)
    assert nt.vmap(many)(x).tolist() == [f(v) for v in x]


def test_what_cannot_be_traced_is_a_loop():
    assert_close(nt.vmap(lambda x: math.sin(x))(V), np.sin(V))
    a = np.zeros(4)

    def stored(x):
        a[0] = x
        return a[0] * 2

    assert_close(nt.vmap(stored)(V), V * 2)
    np.random.seed(0)
    drawn = nt.vmap(lambda x: x + np.random.uniform())(np.zeros(5))
    assert len(set(drawn.tolist())) == 5
    with pytest.raises(nt.GradientLostError):
        nt.vmap(nt.function(lambda x: math.sin(x)))(V)


def test_tapes_are_kept_for_traced_functions():
    f = nt.function(branching)
    values, slopes = nt.vmap(f), nt.vmap(nt.grad(f))
    for scale in (1.0, -2.0, 0.5):
        x = scale * np.linspace(-2, 3, 40)
        assert_close(values(x), looped(plain_branching, x))
        assert_close(slopes(x), looped(nt.grad(branching), x))
    assert f.counters.recordings == 3


def test_inputs_of_any_layout():
    x = np.asfortranarray(np.random.default_rng(0).normal(size=(40, 3)))
    f = lambda x: x[0] * x[1] + nt.sin(x[2])  # noqa: E731
    expected = x[:, 0] * x[:, 1] + np.sin(x[:, 2])
    fixed = np.ascontiguousarray(x)
    fixed.flags.writeable = False
    for given in (x, fixed, x[::-1][::-1]):
        assert_close(nt.vmap(f)(given), expected)
    big = np.zeros((40, 6))
    big[:, ::2] = x
    assert_close(nt.vmap(f)(big[:, ::2]), expected)


def test_arguments_that_all_rows_share_are_not_repeated():
    w = np.random.default_rng(0).normal(size=200_000)
    f = nt.function(lambda w, i, x: np.sum(w) * x + w[i])
    i, x = np.arange(300), np.linspace(0, 1, 300)  # of all rows, w would take 480 MB
    np.testing.assert_allclose(
        nt.vmap(f, (None, 0, 0))(w, i, x), w.sum() * x + w[:300], rtol=1e-9, atol=1e-9
    )
    one = np.array([1.0, 2.0, 3.0])
    got = nt.vmap(nt.grad(lambda w, x: np.sum(nt.tanh(w * x))), (None, 0))(one, x)
    assert_close(got, x[:, None] / np.cosh(one * x[:, None]) ** 2)


def test_rows_of_whole_numbers():
    assert nt.vmap(lambda n: n % 3)(np.arange(40)).tolist() == [n % 3 for n in range(40)]
    large = np.array([2**60 + 1, 2**60 + 3])
    assert nt.vmap(lambda n: n + 1)(large).tolist() == [2**60 + 2, 2**60 + 4]
    flags = np.arange(40) % 2 == 0
    assert nt.vmap(lambda b: 1.0 if b else 2.0)(flags).tolist() == [1.0, 2.0] * 20


# --- axes -----------------------------------------------------------------------------------------


def test_in_axes():
    f = lambda x, y: x * y  # noqa: E731
    assert_close(nt.vmap(f, in_axes=(1, 0))(X.T, V), X * V[:, None])
    assert_close(nt.vmap(f, in_axes=(-1, None))(X.T, 2.0), X * 2)
    assert_close(nt.vmap(f, in_axes=(None, 0))(X[0], V), V[:, None] * X[0])
    assert_close(nt.vmap(lambda x: x.sum(axis=0), in_axes=1)(X), X.T.sum(axis=1))
    assert_close(nt.vmap(f, in_axes=[0, 0])(V, V), V * V)


def test_keyword_arguments_are_mapped_over_their_first_axis():
    f = lambda x, scale, *, shift: x * scale + shift  # noqa: E731
    got = nt.vmap(f, in_axes=(0, None))(V, 2.0, shift=X)
    assert_close(got, V[:, None] * 2 + X)
    assert_close(nt.vmap(lambda b, a: a - b)(b=V, a=2 * V), V)


def test_in_axes_trees():
    Pair = namedtuple("Pair", "first second")
    data = {"w": X, "b": (V, 3.0)}
    f = lambda p, q: q.first * p["w"] + p["b"][0] + p["b"][1] * q.second[0]  # noqa: E731
    axes = ({"w": 0, "b": (0, None)}, Pair(None, [0]))
    got = nt.vmap(f, in_axes=axes)(data, Pair(2.0, [V]))
    assert_close(got, 2 * X + V[:, None] + 3 * V[:, None])
    got = nt.vmap(lambda p: p["a"] * p["b"], in_axes=({"a": None, "b": 0},))({"b": V, "a": 2.0})
    assert_close(got, 2 * V)
    got = nt.vmap(lambda p: p["a"] * p["b"].sum(), in_axes=1)({"b": X, "a": X})
    assert_close(got, X.T * X.T.sum(axis=1)[:, None])


@dataclasses.dataclass
class Line:
    slope: object
    offset: object


def test_axes_of_dataclasses():
    got = nt.vmap(lambda p, x: Line(p.slope * x, p.offset), (Line(None, 0), 0))(Line(2.0, V), V)
    assert_close(got.slope, 2 * V)
    assert_close(got.offset, V)
    back = nt.vmap(lambda p: p, (Line(0, 1),), Line(1, 0))(Line(X, X.T))
    assert_close(back.slope, X.T)
    assert_close(back.offset, X)


def test_out_axes():
    f = lambda x: (x * 2, {"sum": x.sum(), "outer": x[:, None] * x})  # noqa: E731
    double, rest = nt.vmap(f, out_axes=(1, {"sum": 0, "outer": -1}))(X)
    assert_close(double, 2 * X.T)
    assert_close(rest["sum"], X.sum(axis=1))
    assert_close(rest["outer"], np.moveaxis(X[:, :, None] * X[:, None, :], 0, -1))
    assert_close(nt.vmap(lambda x: x, in_axes=1, out_axes=1)(X), X)
    assert_close(nt.vmap(lambda x: x, out_axes=-1)(X), X.T)
    assert_close(nt.vmap(lambda x: x, out_axes=-2)(X), X)


def test_out_axes_none_is_one_result_for_all_rows():
    total, rows = nt.vmap(lambda x, y: (y.sum(), x), (0, None), (None, 0))(V, X[0])
    assert total == pytest.approx(X[0].sum(), rel=1e-15)
    assert type(total) is float
    assert_close(rows, V)
    with pytest.raises(nt.ArgumentError, match="same in every row"):
        nt.vmap(lambda x: x, out_axes=None)(V)
    w = np.array([1.0, 2.0])
    shared = lambda w: nt.vmap(lambda x: np.sum(w**2), out_axes=None)(w)  # noqa: E731
    assert_close(nt.grad(shared)(w), 2 * w)
    with pytest.raises(nt.ArgumentError, match="same in every row"):
        # Equal numbers, but each row depends on its own: one of them would have the wrong gradient.
        nt.grad(lambda w: nt.vmap(lambda x: x * 2, out_axes=None)(w * np.ones(3)))(1.0)


def test_no_rows():
    assert nt.vmap(lambda x: x * 2)(np.ones(0)).shape == (0,)
    assert nt.vmap(lambda x: (x * 2, x > 0))(np.ones((0, 3)))[1].dtype == bool
    assert nt.vmap(lambda x: x[None], out_axes=1)(np.ones((0, 3))).shape == (1, 0, 3)
    assert nt.vmap(lambda x: x.sum(), in_axes=1)(X[:, :0]).shape == (0,)
    assert nt.vmap(nt.vmap(lambda x: x))(np.ones((0, 3))).shape == (0, 3)
    assert nt.vmap(nt.grad(lambda x: x * x))(np.ones(0)).shape == (0,)
    assert nt.grad(lambda w: nt.vmap(lambda x: w * x)(np.ones(0)).sum() + w)(2.0) == 1.0
    with pytest.raises(nt.ArgumentError, match="no rows"):
        nt.vmap(lambda x: x, out_axes=None)(np.ones(0))


# --- errors ---------------------------------------------------------------------------------------


def test_different_numbers_of_rows():
    with pytest.raises(nt.ShapeError, match=r"3 in axis 0 of .*'x', 4 in axis 0 of .*'y'"):
        nt.vmap(lambda x, y: x)(np.ones(3), np.ones(4))
    with pytest.raises(nt.ShapeError, match=r"4 in axis 0 of argument 'p' \(leaf 0\), 3 in axis 1"):
        nt.vmap(lambda p: 1.0, in_axes=((0, 1),))((X, X))
    with pytest.raises(nt.ShapeError, match=r"argument 0, 4 in axis 0 of argument 1"):
        nt.vmap(lambda *xs: 1.0)(np.ones(3), np.ones(4))
    with pytest.raises(nt.ShapeError, match=r"4 in axis 0 of scale"):
        nt.vmap(lambda x, scale: 1.0)(np.ones(3), scale=np.ones(4))


def test_nothing_is_mapped():
    for axes in (None, (None,)):
        with pytest.raises(nt.ArgumentError, match="at least one mapped argument"):
            nt.vmap(lambda x: x, in_axes=axes)(V)
    with pytest.raises(nt.ArgumentError, match="at least one mapped argument"):
        nt.vmap(lambda: 1.0)()


@pytest.mark.parametrize(
    ("axes", "args", "error", "match"),
    [
        (0, (2.0,), nt.ShapeError, "'x' has no axis 0"),
        (0, ([1.0, 2.0],), nt.ShapeError, "np.array"),
        (2, (X,), nt.ShapeError, r"axis 2 of argument 'x', whose shape is \(4, 3\)"),
        (-3, (X,), nt.ShapeError, "axis -3"),
        ((0, 0), (X,), nt.ArgumentError, "2 entries.* 1 positional"),
        (({"a": 0},), ({"b": V},), nt.ArgumentError, "structure"),
        (((0, 0),), ([V, V],), nt.ArgumentError, "structure"),
        (("0",), (V,), nt.ArgumentError, "structure"),
    ],
)
def test_axes_that_do_not_fit(axes, args, error, match):
    with pytest.raises(error, match=match):
        nt.vmap(lambda x: 1.0, in_axes=axes)(*args)


def test_axes_of_a_wrong_type():
    with pytest.raises(nt.ArgumentError, match="in_axes must be"):
        nt.vmap(lambda x: x, in_axes="0")


def test_results_that_do_not_fit():
    with pytest.raises(nt.ArgumentError, match="different structure"):
        nt.vmap(lambda x: [x] if x > 0 else x)(V)
    with pytest.raises(nt.ShapeError, match=r"shapes \(1,\) and \(2,\)"):
        nt.vmap(lambda x: np.ones(2) if x < 0 else np.ones(1))(V)
    with pytest.raises(nt.ArgumentError, match="numbers and arrays, not str"):
        nt.vmap(lambda x: "text")(V)
    with pytest.raises(nt.ShapeError, match="out_axes 2"):
        nt.vmap(lambda x: x, out_axes=2)(V)
    with pytest.raises(nt.ArgumentError, match="out_axes"):
        nt.vmap(lambda x: (x, x), out_axes=(0, 0, 0))(V)


def test_an_error_of_the_function_comes_through():
    def fails(x):
        if x > 2:
            raise ZeroDivisionError("row with 2.5")
        return x

    with pytest.raises(ZeroDivisionError, match=r"2\.5"):
        nt.vmap(fails)(V)
    assert_close(nt.vmap(fails)(V[:2]), V[:2])


@pytest.fixture(params=["few rows", "many rows"])
def recorded(request, monkeypatch):
    """Inside a recording: rows one by one, and as one call on the tape."""
    monkeypatch.setattr(
        sys.modules["ndtape.batch.vmap"], "FEW", 10**9 if request.param[0] == "f" else 1
    )


# --- nests ----------------------------------------------------------------------------------------


def test_vmap_of_vmap(recorded):
    outer = nt.vmap(nt.vmap(lambda a, b: a * b + a, (0, None)), (None, 0))
    assert_close(outer(V, X[0]), V[None, :] * X[0][:, None] + V)
    assert_close(nt.vmap(nt.vmap(branching))(X), np.vectorize(plain_branching)(X))
    cube = np.linspace(-2, 2, 24).reshape(2, 3, 4)
    got = nt.vmap(nt.vmap(nt.vmap(branching), in_axes=1, out_axes=1), out_axes=1)(cube)
    assert_close(got, np.moveaxis(np.vectorize(plain_branching)(cube), 0, 1))


def test_transforms_over_vmap(recorded):
    def total(w, x):
        return np.sum(nt.vmap(lambda row: branching(w * row), in_axes=0)(x) ** 2)

    def loop(w, x):
        return sum(branching(w * row) ** 2 for row in x)

    for transform in (nt.grad, nt.value_and_grad, lambda f: nt.grad(nt.grad(f))):
        assert_close(transform(total)(1.3, V), transform(loop)(1.3, V))
    rows = nt.jacobian(nt.vmap(branching))(V)
    assert_close(rows, np.diag(np.where(V > 1, 2 * V, np.where(V < 0, -3, np.cos(V)))))
    second = nt.jacobian(nt.grad(lambda x: np.sum(nt.vmap(lambda row: nt.sin(row))(x))))(V)
    assert_close(second, np.diag(-np.sin(V)))


def test_transforms_under_vmap(recorded):
    f = lambda x: np.sum(x**3) * x[0]  # noqa: E731
    gradient = 3 * X**2 * X[:, :1]
    gradient[:, 0] += np.sum(X**3, axis=1)
    assert_close(nt.vmap(nt.grad(f))(X), gradient)
    value, both = nt.vmap(nt.value_and_grad(f))(X)
    assert_close(value, np.sum(X**3, axis=1) * X[:, 0])
    assert_close(both, gradient)
    assert_close(nt.vmap(nt.grad(nt.grad(lambda x: x**4)))(V), 12 * V**2)
    assert_close(nt.vmap(nt.grad(nt.grad(nt.grad(lambda x: x**4))))(V), 24 * V)
    assert_close(nt.vmap(nt.jacobian(lambda x: x**2))(X), looped(lambda x: np.diag(2 * x), X))
    hessian = nt.vmap(nt.jacobian(nt.grad(lambda x: np.sum(x**3))))(X)
    assert_close(hessian, looped(lambda x: np.diag(6 * x), X))


def test_mixed_nests(recorded):
    def f(w):
        return np.sum(nt.vmap(nt.grad(lambda x: w * x**3))(V))

    assert_close(nt.grad(f)(2.0), np.sum(3 * V**2))
    nested = nt.vmap(nt.grad(lambda w: np.sum(nt.vmap(lambda x: nt.exp(w * x))(V))))(V)
    assert_close(nested, (V * np.exp(V[:, None] * V)).sum(axis=1))
    third = nt.grad(lambda w: np.sum(nt.vmap(nt.grad(lambda x: nt.sin(w * x)))(V)))
    w = 0.7
    assert_close(third(w), np.sum(np.cos(w * V) - w * V * np.sin(w * V)))


def test_hvp_and_products_through_vmap(recorded):
    f = lambda x: np.sum(nt.vmap(lambda row: row**3)(x))  # noqa: E731
    assert_close(nt.hvp(f, (V,), (np.ones(4),))[2][0], 6 * V)
    value, pullback = nt.vjp(nt.vmap(lambda x: x**2), V)
    assert_close(value, V**2)
    assert_close(pullback(np.ones(4))[0], 2 * V)
    assert_close(nt.jvp(nt.vmap(lambda x: x**2), (V,), (np.ones(4),))[1], 2 * V)


def test_leaves_that_are_captured_or_given(recorded):
    w = nt.var(2.0)
    y = nt.vmap(lambda x: nt.sin(w * x))(V)
    np.sum(y).backward()
    assert_close(w.grad, np.sum(V * np.cos(2 * V)))
    x = nt.var(V)
    nt.vmap(branching)(x).sum().backward()
    assert_close(x.grad, np.where(V > 1, 2 * V, np.where(V < 0, -3, np.cos(V))))
    with nt.no_grad():
        assert_close(nt.vmap(lambda x: x * 2)(x), 2 * V)


def test_recording_arrays_are_not_written_into(recorded):
    def f(x):
        def doubled(row):
            row[0] = 0.0
            return row.sum()

        return np.sum(nt.vmap(doubled)(x)) + np.sum(x)

    expected = np.full(X.shape, 2.0)
    expected[:, 0] = 1.0
    assert_close(nt.grad(f)(X), expected)


def test_axes_inside_a_recording(recorded):
    def f(x, y):
        a, b = nt.vmap(lambda p, q: (p * q, {"s": p.sum()}), (1, None), (1, {"s": 0}))(x, y)
        return np.sum(a * X) + np.sum(b["s"] ** 2)

    def plain(x, y):
        return np.sum(x * y[:, None] * X) + np.sum(x.sum(axis=0) ** 2)

    for argnum in (0, 1):
        assert_close(nt.grad(f, argnum)(X, V), nt.grad(plain, argnum)(X, V))


def test_inside_and_around_a_traced_function(recorded):
    inner = nt.function(branching)
    x = np.linspace(-2, 3, 37)
    expected = looped(plain_branching, x)
    assert_close(nt.vmap(inner)(x), expected)
    assert_close(nt.vmap(inner)(x[::-1]), expected[::-1])
    outer = nt.function(nt.vmap(branching))
    for turned in (x, x[::-1], -x):
        assert_close(outer(turned), looped(plain_branching, turned))
    assert_close(nt.vmap(nt.grad(inner))(V), nt.vmap(nt.grad(branching))(V))
    slope = nt.grad(nt.function(lambda w: np.sum(nt.vmap(lambda x: branching(w * x))(x))))
    for w in (0.5, -2.0, 1.0):
        assert_close(slope(w), sum(x * nt.grad(branching)(w * x) for x in x))


def test_threads_share_a_function():
    f = nt.function(branching)
    mapped, slopes = nt.vmap(f), nt.vmap(nt.grad(f))
    x = np.random.default_rng(0).normal(size=5000) * 2
    expected = np.where(x > 1, x * x, np.where(x < 0, -3 * x, np.sin(x)))
    tangents = np.where(x > 1, 2 * x, np.where(x < 0, -3, np.cos(x)))
    failures = []

    def work():
        try:
            for _ in range(10):
                assert_close(mapped(x), expected)
                assert_close(slopes(x), tangents)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_nothing_is_kept_for_functions_that_are_gone():
    gc.collect()
    before = len(lanes._forms)
    for _ in range(5):
        nt.vmap(lambda x: nt.sin(x) * x)(V)
    gc.collect()
    assert len(lanes._forms) == before


def test_many_rows_are_one_call_on_the_tape(monkeypatch):
    x = np.linspace(-2, 3, 100)
    w = nt.var(np.array([0.5, 1.5]))

    def f(w, x, mode):
        return branching(w[0] * x) * w[1] if mode == "product" else w[0]

    def total(w):
        return np.sum(nt.vmap(f, (None, 0, None))(w, x, "product") ** 2)

    with nt.Tape() as tape:
        y = total(w)
    assert [i.name for i in tape].count("call") == 1
    assert len(tape) < 10
    y.backward()

    def loop(w):
        return sum(f(w, v, "product") ** 2 for v in x)

    assert_close(w.grad, nt.grad(loop)(w.value))
    monkeypatch.setattr(sys.modules["ndtape.batch.vmap"], "MOST_ADJOINTS", 50)  # in pieces
    assert_close(nt.grad(total)(w.value), nt.grad(loop)(w.value))
    assert_close(nt.hessian(total)(w.value), nt.hessian(loop)(w.value))
    rows = nt.grad(lambda x: np.sum(nt.vmap(f, (None, 0, None))(w.value, x, "product")))(x)
    assert_close(rows, [nt.grad(lambda v: f(w.value, v, "product"))(v) for v in x])


def test_rows_that_branch_inside_a_traced_function():
    """The tape of the function does not depend on the branches of the rows."""
    x = np.linspace(-2, 3, 100)
    f = nt.function(lambda w: np.sum(nt.vmap(branching)(w * x)))
    for w in (0.5, 1.0, -2.0, 3.0):
        assert_close(f(w), sum(branching(w * v) for v in x.tolist()))
        assert_close(nt.grad(f)(w), nt.grad(lambda w: sum(branching(w * v) for v in x))(w))
    assert len(f.tapes) <= 2  # for values, and to be differentiated
    smooth = nt.function(lambda w: np.sum(nt.vmap(lambda x: nt.sin(x) * x)(w * x)))
    assert_close(smooth(2.0), np.sum(np.sin(2 * x) * 2 * x))
    assert "call" not in [i.name for i in smooth.tapes[0]]  # no branches: part of the tape


# --- random programs ------------------------------------------------------------------------------

UNARY = ["nt.sin({})", "nt.tanh({})", "nt.exp(-abs({}))", "-{}", "{} ** 2", "1 / (1 + {} ** 2)",
         "nt.relu({})", "abs({})"]  # fmt: skip
BINARY = [
    "{} + {}",
    "{} - {}",
    "{} * {}",
    "min({}, {})",
    "nt.maximum({}, {})",
    "{} / (2 + {} ** 2)",
]


def random_program(seed, arrays):
    """A function (a, b) or (a, b, x) with branches, loops of any length and, if wanted, arrays."""
    draw = random.Random(seed)
    names = ["a", "b"]
    lines = [f"def f(a, b{', x' * arrays}):"]

    def value():
        return draw.choice([*names, f"{draw.uniform(-2, 2):.3f}"])

    def expression():
        if draw.random() < 0.5:
            return draw.choice(UNARY).format(draw.choice(names))
        return draw.choice(BINARY).format(draw.choice(names), value())

    def statement(indent):
        pad = "    " * indent
        kind = draw.random()
        if kind < 0.2 and indent < 4:
            test = f"{draw.choice(names)} > {value()}"
            if draw.random() < 0.4:
                test += f" {draw.choice(['and', 'or'])} not {draw.choice(names)} < {value()}"
            lines.append(f"{pad}if {test}:")
            assign(indent + 1)
            lines.append(f"{pad}else:")
            assign(indent + 1)
        elif kind < 0.3 and indent < 4:
            name, count = draw.choice(names), f"n{len(lines)}"
            lines.extend([f"{pad}{count} = 0", f"{pad}t = {expression()}",
                          f"{pad}while {count} < 30 and abs(t) > 0.1:",
                          f"{pad}    t = t * {draw.uniform(0.3, 0.9):.2f}",
                          f"{pad}    {count} += 1", f"{pad}{name} = {name} + t"])  # fmt: skip
        elif kind < 0.4 and arrays:
            which = draw.choice(["np.sum(x * {})", "x[1] * {}", "np.max(x + {})", "x @ (x * {})"])
            lines.append(f"{pad}{draw.choice(names)} = {which.format(draw.choice(names))}")
        elif kind < 0.5 and arrays:
            lines.append(f"{pad}x = {draw.choice(['np.sin(x)', 'x * 2', 'np.cumsum(x)'])} + "
                         f"{draw.choice(names)}")  # fmt: skip
        else:
            assign(indent)

    def assign(indent):
        fresh = f"v{len(names)}" if indent == 1 else draw.choice(names)
        lines.append(f"{'    ' * indent}{fresh} = {expression()}")
        if fresh not in names:
            names.append(fresh)

    for _ in range(draw.randint(4, 12)):
        statement(1)
    lines.append(f"    return {' + '.join(names)}")
    scope = {"nt": nt, "np": np}
    exec("\n".join(lines), scope)
    return scope["f"]


@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed, arrays, recorded):
    f = random_program(seed, arrays)
    numbers = np.random.default_rng(seed)
    columns = [numbers.normal(size=37), numbers.normal(size=37)]
    columns += [numbers.normal(size=(37, 3))] if arrays else []
    expected = looped(f, *columns)
    np.testing.assert_allclose(nt.vmap(f)(*columns), expected, rtol=1e-11, atol=1e-11)
    argnums = tuple(range(len(columns)))
    rows = [nt.grad(f, argnums)(*row) for row in zip(*columns, strict=True)]
    got = nt.vmap(nt.grad(f, argnums))(*columns)
    outer = nt.grad(lambda *c: np.sum(nt.vmap(f)(*c)), argnums)(*columns)
    for i in argnums:
        wanted = np.stack([row[i] for row in rows])
        np.testing.assert_allclose(got[i], wanted, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(outer[i], wanted, rtol=1e-10, atol=1e-10)


# --- against JAX ----------------------------------------------------------------------------------

AGAINST_JAX = {
    "rows": (lambda np, vmap, grad: vmap(lambda x: np.sin(x) * np.sum(x))(X)),
    "pairs": (lambda np, vmap, grad: vmap(lambda x, y: x * y + y, (0, 0))(X, V)),
    "columns": (lambda np, vmap, grad: vmap(lambda x: np.cumsum(x), in_axes=1, out_axes=1)(X)),
    "outer": (lambda np, vmap, grad: vmap(vmap(lambda x, y: np.exp(x * y), (None, 0)), (0, None))(
        V, V)),
    "gram": (lambda np, vmap, grad: vmap(vmap(lambda x, y: x @ y, (None, 0)), (0, None))(X, X)),
    "tree": (lambda np, vmap, grad: vmap(lambda p: {"c": p["a"] * 2, "d": np.max(p["b"])},
        in_axes=({"a": None, "b": 0},), out_axes={"c": 1, "d": 0})({"a": X[0], "b": X})["c"]),
    "negative": (lambda np, vmap, grad: vmap(lambda x: x[::-1], in_axes=-1, out_axes=-1)(X)),
    "gradients": (lambda np, vmap, grad: vmap(grad(lambda x: np.sum(np.tanh(x) ** 2)))(X)),
    "second": (lambda np, vmap, grad: vmap(grad(grad(lambda x: np.sin(x) * x**3)))(V)),
    "under grad": (lambda np, vmap, grad: grad(
        lambda w: np.sum(vmap(lambda x: np.tanh(np.dot(w, x)))(X)))(X[1])),
    "over all": (lambda np, vmap, grad: vmap(grad(lambda w: np.sum(vmap(lambda x: np.log1p(
        np.exp(np.dot(w, x))))(X))))(X)),
    "where": (lambda np, vmap, grad: vmap(grad(lambda x: np.where(x > 0, np.sqrt(abs(x)), x)))(V)),
    "matrices": (lambda np, vmap, grad: vmap(lambda a, b: (a[:, None] * b) @ a)(X, X[:, ::-1])),
    "solve": (lambda np, vmap, grad: vmap(lambda x: np.linalg.solve(
        np.eye(3) * 5 + x[:, None] * x, x))(X)),
    "keywords": (lambda np, vmap, grad: vmap(lambda x, *, y: x - y, in_axes=1)(X.T, y=X)),
}  # fmt: skip


@pytest.mark.parametrize("name", AGAINST_JAX)
def test_against_jax(name, recorded):
    jax = pytest.importorskip("jax", reason="JAX is not installed (pip install ndtape[peers])")
    jax.config.update("jax_enable_x64", True)
    program = AGAINST_JAX[name]
    got = program(np, nt.vmap, nt.grad)
    expected = program(jax.numpy, jax.vmap, jax.grad)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
