"""Rows that go forward and backward: gradients of many rows, and of a recorded vmap."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pytest

import ndtape as nt
from ndtape.batch import forms, gradients, lanes

recorded_vmap = sys.modules["ndtape.batch.vmap"]


@pytest.fixture(params=["as recorded", "after the passes"])
def hot(request, monkeypatch):
    """Both codes for few rows: as recorded, and what the passes make of it."""
    monkeypatch.setattr(lanes, "HOT", 1 if request.param == "after the passes" else 1 << 60)


def close(got, expected, rtol=1e-12):
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-13)
    assert np.shape(got) == np.shape(expected)


def forms_of(f):
    """What the tapes of a traced function have been swept with."""
    kept = [lanes._forms.get(t, lanes.Forms()) for p in f.all_programs() for t in p.traces]
    return [form for one in kept for form in one.made.values()]


def branching(x, w):
    if x > 1:
        return x * x * w[0]
    if x < 0:
        return -3 * x * w[1]
    return nt.sin(x * w[0])


X, W = np.linspace(-2, 3, 41), np.array([0.5, 1.5])


# --- gradients of rows ----------------------------------------------------------------------------


def test_rows_that_branch(hot):
    f = nt.function(branching)
    value, (by_x, by_w) = nt.vmap(nt.value_and_grad(f, (0, 1)), (0, None))(X, W)
    each = [nt.value_and_grad(branching, (0, 1))(x, W) for x in X.tolist()]
    close(value, [v for v, _ in each])
    close(by_x, [g[0] for _, g in each])
    close(by_w, [g[1] for _, g in each])
    assert len(f.tapes) == 3  # those of the values: no gradient was recorded
    assert all("reverse_packs" in form.sweeps for form in forms_of(f))


def test_newton_iterations_of_different_length(hot):
    def root(x):
        y = 1.0
        while abs(y * y - x) > 1e-12 * x:
            y = 0.5 * (y + x / y)
        return y

    x = np.geomspace(1e-3, 1e3, 50)
    close(nt.vmap(nt.grad(root))(x), 0.5 / np.sqrt(x), 1e-6)


def test_structures_axes_and_dtypes(hot):
    def f(p, x, scale):
        return scale * np.sum(p["a"] * x) * p["b"] ** 2

    draw = np.random.default_rng(0)
    p = {"a": draw.normal(size=(3, 5)), "b": draw.normal(size=5)}
    x = draw.normal(size=(5, 3)).astype(np.float32)
    axes = ({"a": 1, "b": 0}, 0, None)
    by_p, by_x = nt.vmap(nt.grad(f, (0, 1)), axes, out_axes=({"a": 1, "b": 0}, 0))(p, x, 2)
    for i in range(5):
        row = {"a": p["a"][:, i], "b": p["b"][i]}
        expected = nt.grad(f, (0, 1))(row, x[i], 2)
        close(by_p["a"][:, i], expected[0]["a"])
        close(by_p["b"][i], expected[0]["b"])
        close(by_x[i], expected[1], 1e-6)
    assert by_x.dtype == np.float32
    assert by_p["a"].dtype == float
    by_scale = nt.vmap(nt.grad(f, 2), axes)(p, x, 2)  # an integer that is differentiated
    close(by_scale, np.einsum("ai,ia->i", p["a"], x) * p["b"] ** 2, 1e-6)
    whole = nt.vmap(nt.grad(lambda n: 2.5 * n * n))(np.arange(4))
    assert whole.tolist() == [0.0, 5.0, 10.0, 15.0]


def test_auxiliary_results(hot):
    def f(x):
        y = nt.exp(x)
        return y * y, {"y": y, "is large": y > 2.0, "three": 3}

    (value, aux), slope = nt.vmap(nt.value_and_grad(f, has_aux=True))(X)
    close(value, np.exp(2 * X))
    close(slope, 2 * np.exp(2 * X))
    close(aux["y"], np.exp(X))
    assert aux["is large"].tolist() == (np.exp(X) > 2).tolist()
    assert aux["three"].tolist() == [3] * 41
    slope, again = nt.vmap(nt.grad(f, has_aux=True))(X)
    close(slope, 2 * np.exp(2 * X))
    assert again["three"].dtype == aux["three"].dtype


def test_results_that_do_not_depend_on_the_row():
    value, slope = nt.vmap(nt.value_and_grad(lambda x: x * 2 if x > 0 else 7.0))(X)
    assert value.tolist() == np.where(X > 0, X * 2, 7.0).tolist()
    assert slope.tolist() == np.where(X > 0, 2.0, 0.0).tolist()


def test_small_arrays_and_their_ties(hot):
    """Taken apart; what is largest in several places shares the adjoint, as in the kernels."""

    def f(x):
        m = np.maximum(x[:, None], x[::-1]) * x
        return np.max(x) * 3 + np.sum(np.min(m, axis=0)) + np.cumsum(x)[2] * np.max(x[:2])

    x = np.random.default_rng(0).integers(-2, 3, (90, 4)).astype(float)
    g = nt.function(f)
    close(nt.vmap(nt.grad(g))(x), [nt.grad(f)(row) for row in x])
    assert {form.lanes for form in forms_of(g)} == {16}
    x[3, 1] = x[5] = np.nan
    with np.errstate(all="ignore"):
        got = nt.vmap(nt.grad(lambda x: np.max(x[1:]) + x[0]))(x)
        expected = [nt.grad(lambda x: np.max(x[1:]) + x[0])(row) for row in x]
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))


def test_large_arrays_go_row_by_row(hot):
    draw = np.random.default_rng(0)
    w, x = draw.normal(size=(70, 50)) / 6, draw.normal(size=(70, 50))

    def f(w, x):
        return np.sum(nt.tanh(w @ x) ** 2) if x[0] > 0 else np.sum(w @ x)

    g = nt.function(f)
    by_w, by_x = nt.vmap(nt.grad(g, (0, 1)), (None, 0))(w, x)
    for i in (0, 1, 33, 69):
        expected = nt.grad(f, (0, 1))(w, x[i])
        close(by_w[i], expected[0], 1e-11)
        close(by_x[i], expected[1], 1e-11)
    assert {form.lanes for form in forms_of(g)} == {1}
    total = nt.grad(lambda w: np.sum(nt.vmap(g, (None, 0))(w, x)))(w)
    close(total, by_w.sum(axis=0), 1e-11)


def test_functions_that_python_executes():
    def f(x):
        y = np.linalg.solve(np.eye(3) * 9 + x[:, None] * x, x)
        return np.sum(y * y) if y[0] > 0 else y[1]

    x = np.random.default_rng(0).normal(size=(20, 3))
    close(nt.vmap(nt.grad(f))(x), [nt.grad(f)(row) for row in x], 1e-10)
    total = nt.grad(lambda x: np.sum(nt.vmap(f)(x)))(x)
    close(total, [nt.grad(f)(row) for row in x], 1e-10)


def test_errors_are_those_of_a_single_gradient():
    with pytest.raises(nt.ArgumentError, match="must return a scalar, not an array"):
        nt.vmap(nt.grad(lambda x: x * 2))(np.ones((3, 2)))
    with pytest.raises(nt.ArgumentError, match="must return a scalar, not tuple"):
        nt.vmap(nt.grad(lambda x: (x, x)))(np.ones(3))
    with pytest.raises(nt.ArgumentError, match="argnums"):
        nt.vmap(nt.grad(lambda x: x, 1))(np.ones(3))
    with pytest.raises(ZeroDivisionError):
        nt.vmap(nt.grad(lambda x: x * (1 // 0)))(np.ones(3))
    assert nt.vmap(nt.grad(lambda x: x * x))(np.ones((0,))).shape == (0,)


def test_a_decorated_gradient_is_not_taken_for_the_gradient():
    """functools.wraps copies attributes."""
    import functools

    inner = nt.grad(lambda x: x**3)

    @functools.wraps(inner)
    def clipped(x):
        return np.minimum(inner(x), 1.0)

    assert nt.vmap(clipped)(np.array([0.1, 2.0])).tolist() == [0.1**2 * 3, 1.0]


def test_captured_arrays_that_change():
    scale = np.array([1.0, 2.0])
    f = nt.function(lambda x: x * x * scale[0] + scale[1] * x)
    for value in (1.0, 3.0, -2.0):
        scale[0] = value
        close(nt.vmap(nt.grad(f))(X), 2 * X * value + 2.0)


# --- the reverse of a recorded vmap ---------------------------------------------------------------


def two_results(x, w):
    inside = x * w[0] > 0.2
    return nt.tanh(x * w), (nt.exp(-x) * w[1] if inside else x**3), inside


def total(x, w):
    y, z, inside = nt.vmap(two_results, (0, None))(x, w)
    return np.sum(y * np.arange(2)) + np.sum(np.where(inside, z, 2 * z) ** 2)


def looped(x, w):
    s = 0.0
    for i in range(41):
        y, z, inside = two_results(x[i], w)
        s = s + y[1] + (z if inside else 2 * z) ** 2
    return s


def test_several_results_some_without_derivatives(hot):
    by_x, by_w = nt.grad(total, (0, 1))(X, W)
    expected = nt.grad(looped, (0, 1))(X, W)
    close(by_x, expected[0])
    close(by_w, expected[1])


def single(x, w):
    return np.sum(nt.vmap(branching, (0, None))(x, w) ** 2)


@pytest.mark.parametrize("slopes", [0, 32])
def test_adjoints_at_once_and_later(monkeypatch, hot, slopes):
    """With few parameters rows go backward with the values, with many when they are asked for."""
    monkeypatch.setattr(recorded_vmap, "MOST_SLOPES", slopes)
    by_x, by_w = nt.grad(single, (0, 1))(X, W)
    expected = nt.grad(lambda x, w: sum(branching(v, w) ** 2 for v in x), (0, 1))(X, W)
    close(by_x, expected[0])
    close(by_w, expected[1])
    again = nt.function(lambda w: single(X, w))
    for scale in (1.0, 2.0, -1.0, 1.0):  # replays, on the tapes of other branches
        expected = nt.grad(lambda w: sum(branching(v, w) ** 2 for v in X.tolist()))(scale * W)
        close(nt.grad(again)(scale * W), expected)
    close(nt.hessian(lambda w: single(X, w))(W), nt.hessian(
        lambda w: sum(branching(v, w) ** 2 for v in X.tolist()))(W))  # fmt: skip


def test_leaves_that_change_between_recording_and_backward():
    """What was recorded is differentiated, also where data has been written over since."""
    w, x = nt.var(W), X.copy()
    y = np.sum(nt.vmap(branching, (0, None))(x, w))
    x[:] = 0.0
    y.backward()
    close(w.grad, nt.grad(lambda w: sum(branching(v, w) for v in X.tolist()))(W))


@pytest.mark.parametrize("slopes", [0, 32])
def test_a_zero_adjoint_contributes_zero(monkeypatch, slopes):
    monkeypatch.setattr(recorded_vmap, "MOST_SLOPES", slopes)
    x = np.arange(20.0)
    found = nt.grad(lambda a: np.sum(np.where(x > 0, nt.vmap(nt.sqrt)(a * x), 0.0)))(1.0)
    close(found, np.sum(0.5 * np.sqrt(x)))


@pytest.mark.parametrize("most_sums", [16, 1 << 22])
def test_what_rows_share_is_summed_in_blocks(monkeypatch, most_sums):
    monkeypatch.setattr(forms, "LEAST_WORK", 1)
    monkeypatch.setattr(forms, "MOST_WORK", 1 << 9)
    monkeypatch.setattr(forms, "MOST_SUMS", most_sums)
    monkeypatch.setattr(recorded_vmap, "MOST_SLOPES", 0)
    x = np.linspace(-2, 3, 1001)
    got = nt.grad(lambda w: np.sum(nt.vmap(branching, (0, None))(x, w)))(W)
    close(got, sum(nt.grad(branching, 1)(v, W) for v in x.tolist()))


def test_there_is_no_matrix_of_rows_and_parameters():
    w, i, x = np.ones(20_000), np.arange(1000), np.linspace(0, 1, 1000)

    def total(w):
        return np.sum(nt.vmap(lambda w, i, x: w[i] * x, (None, 0, 0))(w, i, x))

    tracemalloc.start()
    got = nt.grad(total)(w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6  # 160 MB it would be
    close(got, np.where(np.arange(20_000) < 1000, np.append(x, np.zeros(19_000)), 0.0))


def test_greeks_of_a_call():
    """Mean over paths of one payoff: its derivatives are the means of the paths' own."""
    z = np.random.default_rng(0).normal(size=(500, 6))

    def payoff(p, z):
        spot, strike, rate, vol = p
        total = 0.0
        for k in range(6):
            spot = spot * nt.exp((rate - vol * vol / 2) / 6 + vol * nt.sqrt(1 / 6) * z[k])
            total = total + spot
        return nt.exp(-rate) * np.maximum(total / 6 - strike, 0.0)

    market = (100.0, 101.0, 0.05, 0.2)
    price, greeks = nt.value_and_grad(lambda p: np.mean(nt.vmap(payoff, (None, 0))(p, z)))(market)
    rows, slopes = nt.vmap(nt.value_and_grad(payoff), (None, 0))(market, z)
    close(price, rows.mean())
    close(greeks, [s.mean() for s in slopes])


def test_gradients_inside_a_recording_still_nest():
    def penalty(w):
        slopes = nt.vmap(nt.grad(branching, 1), (0, None))(X, w)
        return np.sum(slopes**2)

    expected = nt.grad(lambda w: sum(
        np.sum(nt.grad(branching, 1)(v, w) ** 2) for v in X.tolist()))(W)  # fmt: skip
    close(nt.grad(penalty)(W), expected)


def test_adjoints_use_slots_again(monkeypatch):
    """A reverse sweep over packs consumes them: a long chain needs a few."""

    def f(x, a):
        y, unused = x, nt.sin(a)
        for k in range(300):
            y = y + (a - y * y) * (0.01 if k % 2 else x * 0.02)
        return y + 0.0 * unused if x > 0 else y - a

    x, a = np.linspace(-1, 1, 40), np.linspace(0.5, 1.5, 40)
    g = nt.function(f, optimize=1)
    plain = nt.vmap(nt.value_and_grad(g, (0, 1)))(x, a)
    assert all(form.apart is None for form in forms_of(g))
    monkeypatch.setattr(lanes, "HOT", 1)
    value, slopes = nt.vmap(nt.value_and_grad(g, (0, 1)))(x, a)
    np.testing.assert_array_equal(value, plain[0])
    np.testing.assert_array_equal(slopes, plain[1])  # bit for bit at this level
    hot = [form for form in forms_of(g) if form.apart is not None]
    assert len(hot) == len(g.tapes) == 2
    assert all(form.apart.slots < 20 < 300 < form.tape.slots for form in hot)


def test_a_result_may_be_an_argument(hot):
    x = np.linspace(0, 1, 20)
    value, slopes = nt.vmap(nt.value_and_grad(lambda x, y: x, (0, 1)))(x, x)
    assert value.tolist() == x.tolist()
    assert slopes[0].tolist() == [1.0] * 20
    assert slopes[1].tolist() == [0.0] * 20
    both = nt.grad(lambda x, a: np.sum(sum(nt.vmap(lambda x, a: (a, x, a * x), (0, None))(x, a))))
    close(both(x, 3.0), np.full(20, 4.0))


def test_pieces_of_the_seeds():
    assert forms.runs(np.array([0, 1, 4])).tolist() == [0, 2, 4, 5]
    assert forms.runs(np.zeros(0, int)).tolist() == []
    assert forms.gaps(np.array([0, 1, 4]), 6).tolist() == [2, 4, 5, 6]
    assert forms.gaps(np.zeros(0, int), 3).tolist() == [0, 3]
    assert forms.gaps(np.arange(3), 3).tolist() == []
    assert gradients.slots_of([(2, 4), (7, 8)]).tolist() == [2, 3, 7]
