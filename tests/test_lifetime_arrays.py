"""Tapes of arrays: they meet, are compacted, forget what is spent, and die by their count.

Random programs of arrays are run twice, once with tapes that are compacted often, and must see the
same numbers; loops run in constant memory.  What scalars do is in test_lifetime.py.
"""

from __future__ import annotations

import contextvars
import gc
import random
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ndtape as nt
from ndtape.record import core, lifetime


@pytest.fixture(autouse=True)
def no_tape_of_another_test():
    core._current.set(None)


@pytest.fixture
def compacting(monkeypatch):
    """Tapes are compacted when they have 300 instructions."""
    monkeypatch.setattr(core, "COMPACT_AT", 300)
    monkeypatch.setattr(lifetime, "COMPACT_AT", 300)


def elsewhere(f):
    """f() with a current tape of its own."""
    return contextvars.Context().run(f)


def fill(count, w):
    """Instructions that nobody needs."""
    for _ in range(count):
        _ = w * 0.5


# --- tapes that meet ------------------------------------------------------------------------------

CUBE = nt.primitive(lambda a: a**3, lambda w, z, a: (3.0 * w * a**2,), name="cube")


def span(x):
    """The result of an operation."""
    return x * 2.0


def a_view(x):
    return (x * 2.0)[::-1]


def partly_constant(x):
    """A map: an element is a constant, the others lie where they were."""
    y = x * 2.0
    y[1] = 7.0
    return y


def pieces(x):
    """A map over slots of several results."""
    y = np.zeros_like(x)
    y[0], y[1:] = x[1] * x[2], np.sin(x)[1:]
    return y


def settled(x):
    """A map that was collected in one place."""
    y = pieces(x)
    _ = y.sum()
    return y


def view_of_a_map(x):
    return pieces(x)[1:]


def of_a_call(x):
    return CUBE(x)


def of_a_gather(x):
    return x[np.floor(x * 0.9).astype(int)]


def of_a_scatter(x):
    y = x * 1.0
    np.add.at(y, np.array([0, 2, 2]), x)
    return y


def an_element(x):
    return (x * x)[1]


def running(x):
    return np.cumsum(np.outer(x, x), axis=1)[:, ::2]


STORAGES = [span, a_view, partly_constant, pieces, settled, view_of_a_map, of_a_call, of_a_gather,
            of_a_scatter, an_element, running]  # fmt: skip


def numbers_and_gradients(f, x, y):
    """Value and gradients of the sum of f() and whether its tape obeys the format."""
    total = f()
    total.backward()
    nt.verify(total.tape)
    found = total.value, x.grad, y.grad
    x.grad = y.grad = None
    return found


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=0)


@pytest.mark.parametrize("longer", [0, 40], ids=["left is longer", "right is longer"])
@pytest.mark.parametrize("g", STORAGES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("f", STORAGES, ids=lambda f: f.__name__)
def test_tapes_meet(f, g, longer):
    x, y = nt.var([1.0, 2.0, 3.0]), nt.var([0.5, 2.5, 1.5])

    def together(b):
        return (np.sum(f(x)) * np.sum(b)) + np.sum(b * b)

    def apart():
        a, b = elsewhere(lambda: f(x)), elsewhere(lambda: (fill(longer, y), g(y))[1])
        return (np.sum(a) * np.sum(b)) + np.sum(b * b)

    same = numbers_and_gradients(lambda: together(g(y)), x, y)
    assert_same(numbers_and_gradients(apart, x, y), same)


def test_three_tapes_meet_in_one_operation():
    x, y, z = (nt.var([1.0, 2.0, 3.0]) for _ in range(3))
    a, b, c = (elsewhere(lambda v=v, f=f: f(v)) for v, f in
               ((x, pieces), (y, partly_constant), (z, span)))  # fmt: skip
    with np.errstate(all="raise"):
        total = np.where(a > 0.0, b, c).sum()
    total.backward()
    assert [v.grad.tolist() for v in (x, y, z)] == [[0.0] * 3, [2.0, 0.0, 2.0], [0.0] * 3]
    nt.verify(total.tape)


def test_writes_across_tapes():
    x, y = nt.var([1.0, 2.0, 3.0]), nt.var([10.0, 20.0, 30.0])
    a, b = elsewhere(lambda: x * 2.0), elsewhere(lambda: y * y)
    view = a[1:]
    a[0] = b[2]
    view[1] = 5.0
    (a * a).sum().backward()
    assert a.value.tolist() == [900.0, 4.0, 5.0]
    assert y.grad.tolist() == [0.0, 0.0, 2.0 * 900.0 * 60.0]
    assert x.grad.tolist() == [0.0, 16.0, 0.0]


def test_retained_gradients_and_names_move_with_a_joined_tape():
    x, y = nt.var([1.0, 2.0], name="x"), nt.var([3.0, 4.0], name="y")
    a = elsewhere(lambda: (fill(30, x), x * 2.0)[1])
    b = elsewhere(lambda: y * 3.0)
    b.retain_grad()
    total = (a * b).sum()
    total.backward()
    assert b.grad.tolist() == [2.0, 4.0]
    assert "y = wide_input" in str(total.tape) and "x = wide_input" in str(total.tape)


def test_a_joined_tape_is_verified_sealed_and_compared_where_it_went():
    x, y = nt.var([1.0, 2.0, 3.0]), nt.var([3.0, 4.0, 5.0])
    with nt.Tape() as held:
        a = CUBE(x) * np.array([1.0, 2.0, 3.0])
    with nt.Tape() as longer:
        fill(30, y)
        b = CUBE(y) * 2.0
    total = (a * b).sum()
    assert held.joined is not None and longer.joined is None
    nt.verify(held)
    assert held == longer == held[:] and str(held) == str(longer)
    assert len(nt.passes.seal(held)) == len(longer)
    assert total.tape is longer
    assert held.gradient(total, x).tolist() == longer.gradient(total, x).tolist()


# --- compaction -----------------------------------------------------------------------------------


@pytest.mark.parametrize("f", STORAGES, ids=lambda f: f.__name__)
def test_compaction_keeps_what_is_alive(f, compacting):
    x, y = nt.var([1.0, 2.0, 3.0], name="x"), nt.var([0.5, 2.5, 1.5])

    def kept(count):
        a = f(x)
        fill(count, y)
        b = a * 2.0
        fill(count, y)
        total = np.sum(a) + np.sum(b * b)
        if count:
            assert len(total.tape) < 2 * count
            assert total.tape.names == dict.fromkeys(total.tape.names, "x")
        return total

    with nt.Tape() as tape:
        total = kept(0)
    expected = total.value, tape.gradient(total, x), tape.gradient(total, y)
    core._current.set(None)
    total = kept(700)
    nt.verify(total.tape)
    total.backward()
    assert_same((total.value, x.grad), expected[:2])
    assert y.grad is None


def test_compaction_keeps_retained_gradients_of_arrays(compacting):
    x = nt.var([1.0, 2.0, 3.0])
    a = np.sin(x)
    a.retain_grad()
    fill(1000, x)
    loss = (a * a).sum()
    fill(1000, x)
    assert len(loss.tape) < 1000
    loss.backward()
    np.testing.assert_allclose(a.grad, 2.0 * np.sin([1.0, 2.0, 3.0]))


def test_what_is_spent_keeps_its_numbers(compacting):
    x = nt.var([1.0, 2.0, 3.0])
    a = np.exp(x)
    b = CUBE(a)[1:]
    b.sum().backward(retain_graph=False)
    expected = a.value, b.value
    tape = b.storage.tape
    fill_on = a * 1.0
    for _ in range(3000):
        fill_on = a * 2.0
    assert fill_on.storage.tape is tape and len(tape) < 2000
    assert np.array_equal(a.value, expected[0]) and np.array_equal(b.value, expected[1])
    nt.verify(tape)
    with pytest.raises(nt.SpentTapeError):
        fill_on.sum().backward()


def test_a_result_of_which_one_element_is_spent(compacting):
    """The others still lead to the leaf, before and after compaction."""
    x = nt.var([1.0, 2.0, 3.0])
    y = x * x
    y[0].backward()
    keep = y[1:]
    del y
    for _ in range(3000):
        _ = keep * 0.5
    assert len(keep.storage.tape) < 2000
    x.grad = None
    keep[1].backward()
    assert x.grad.tolist() == [0.0, 0.0, 6.0]


def test_tapes_are_compacted_by_slots(monkeypatch):
    monkeypatch.setattr(core, "COMPACT_SLOTS", 20_000)
    monkeypatch.setattr(lifetime, "COMPACT_SLOTS", 20_000)
    x = nt.var(np.linspace(0.0, 1.0, 1000))
    with_gradient = np.sin(x)
    for _ in range(200):
        loss = (x * 2.0 + 1.0).sum()
    assert loss.tape is with_gradient.storage.tape
    assert loss.tape.slots < 50_000
    with_gradient.sum().backward()
    np.testing.assert_allclose(x.grad, np.cos(x.value))
    nt.verify(loss.tape)


def test_functions_of_dropped_calls_are_forgotten(compacting):
    x = nt.var([1.0, 2.0, 3.0])
    kept = CUBE(x)
    for _ in range(3000):
        _ = CUBE(x * 1.0)
    assert len(kept.storage.tape.calls) < 1500
    kept.sum().backward()
    assert x.grad.tolist() == [3.0, 12.0, 27.0]


# --- random programs ------------------------------------------------------------------------------

ONE = ["sin", "tanh", "negative", "square", "exp"]
TWO = ["add", "multiply", "subtract", "maximum", "arctan2"]


def bounded(z):
    return np.clip(z, -2.0, 2.0)


def ndim(x):
    return getattr(x, "ndim", 0)


def tape_of(x):
    """The tape of a result; () for plain numbers."""
    return getattr(getattr(x, "storage", x), "tape", None) or ()


def step(rng, alive, leaves):
    """A new value of a random program, of shape (3, 4), (4,) or ()."""
    x, y = rng.choice(alive), rng.choice(alive)
    choice = rng.randrange(18)
    if choice < 4:
        return getattr(np, rng.choice(ONE))(x * 0.5)
    if choice < 8:
        return getattr(np, rng.choice(TWO))(x, y)
    if choice == 8 and ndim(x):
        return np.sum(x, axis=0)
    if choice == 9 and ndim(x) == 2:
        return x[:, ::-1]
    if choice == 10 and ndim(x):
        z = x * 1.0
        z[..., rng.randrange(4)] = rng.choice([0.25, leaves[1][0], y if not ndim(y) else 0.5])
        return z
    if choice == 11 and ndim(x) == 2:
        return x.T @ (x * 0.1) @ leaves[1] * 0.1
    if choice == 12 and ndim(x):
        return CUBE(x * 0.5)
    if choice == 13 and ndim(x):
        return np.cumsum(x, axis=-1) * 0.25
    if choice == 14 and ndim(x) == 1:
        return x[np.clip(np.floor(np.abs(x)), 0, 3).astype(int)]
    if choice == 15:
        return x.detach() * leaves[0]
    if choice == 16:
        with nt.no_grad():
            leaves[2] += 0.01
        return leaves[2] * leaves[2]
    return x[1] if ndim(x) else x * leaves[1]


def run_program(seed, steps, drop, at):
    """Numbers that a random program sees on its way, and gradients; the longest tape."""
    rng = random.Random(seed)
    core.COMPACT_AT = lifetime.COMPACT_AT = at
    draw = np.random.default_rng(seed)
    leaves = [nt.var(draw.uniform(-1.0, 1.0, shape)) for shape in ((3, 4), (4,), ())]
    leaves[2] = nt.var(float(draw.uniform()))
    alive = [leaf * 1.0 for leaf in leaves]
    seen, longest = [], 0
    for _ in range(steps):
        z = bounded(step(rng, alive, leaves))
        if rng.random() < 0.1:
            seen.append(np.array(z.value))
        if rng.random() < 0.02 and z.needs_grad:
            z = z * 0.5
            try:
                np.sum(z).backward()
            except nt.SpentTapeError:
                seen.append(np.zeros(1))
            seen += [np.zeros(1) if leaf.grad is None else np.array(leaf.grad) for leaf in leaves]
            z = z + leaves[1][0]
        alive.append(z)
        while len(alive) > drop and rng.random() < 0.9:
            alive.pop(rng.randrange(len(alive)))
        longest = max(longest, len(tape_of(alive[-1])))
    for x in alive:
        seen.append(np.array(x.value))
        if x.needs_grad:
            try:
                np.sum(x).backward(retain_graph=True)
            except nt.SpentTapeError:
                seen.append(np.zeros(1))
            nt.verify(tape_of(x))
        seen += [np.zeros(1) if leaf.grad is None else np.array(leaf.grad) for leaf in leaves]
    return seen, longest


@given(st.integers(0, 2**32), st.integers(4, 9))
@settings(max_examples=10, deadline=None)
def test_compaction_changes_no_number(seed, drop):
    before = core.COMPACT_AT, lifetime.COMPACT_AT
    try:
        plain, length = run_program(seed, 400, drop, at=100_000)
        compacted, compacted_length = run_program(seed, 400, drop, at=150)
    finally:
        core.COMPACT_AT, lifetime.COMPACT_AT = before
    assert len(plain) == len(compacted)
    for one, other in zip(plain, compacted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
    assert compacted_length <= length


# --- memory ---------------------------------------------------------------------------------------

DATA = np.linspace(-1.0, 1.0, 40).reshape(10, 4)


def training(w, passes):
    for _ in range(passes):
        loss = ((np.tanh(DATA @ w) - 0.5) ** 2).mean()
        loss.backward()
        with nt.no_grad():
            w -= 1e-3 * w.grad
        w.grad = None


def only_reading(w, passes):
    for _ in range(passes):
        assert ((DATA @ w) ** 2).sum().value >= 0.0


def carried_state(w, passes):
    state = nt.zeros(4)
    for _ in range(passes):
        state = np.tanh(w * state + 0.1).detach()


def filled_by_rows(w, passes):
    for _ in range(passes):
        rows = nt.zeros((3, 4))
        for j in range(3):
            rows[j] = w * float(j)
        rows.sum().backward()
    w.grad = None


def calls(w, passes):
    for _ in range(passes):
        CUBE(w).sum().backward()
    w.grad = None


def calls_that_are_only_read(w, passes):
    for _ in range(passes):
        assert CUBE(w).sum().value is not None


def explicit_tapes(w, passes):
    for _ in range(passes):
        with nt.Tape() as tape:
            loss = (w * w).sum()
        tape.gradient(loss, w)


def meeting_tapes(w, passes):
    state = w * 1.0
    for _ in range(passes):
        other = elsewhere(lambda: w * 0.3)
        state = (state * other).detach() * w


def an_exception(w, passes):
    for _ in range(passes):
        try:
            _ = (w * 2.0) @ np.ones((3, 3))
        except nt.ShapeError:
            pass


LOOPS = [training, only_reading, carried_state, filled_by_rows, calls, calls_that_are_only_read,
         explicit_tapes, meeting_tapes, an_exception]  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
def test_memory_stays_flat(loop, compacting):
    w = nt.var(np.linspace(0.1, 0.4, 4))
    passes = 400
    loop(w, passes)
    gc.collect()
    tracemalloc.start()
    try:
        loop(w, passes)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        loop(w, 4 * passes)
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One array left a pass would be more, also than what NumPy keeps of freed memory.
    assert after - before < 4 * passes * 40 + 60_000
    assert peak < 4_000_000


@pytest.mark.parametrize("f", STORAGES, ids=lambda f: f.__name__)
def test_a_tape_dies_with_its_last_result(f):
    x = nt.var([1.0, 2.0, 3.0])
    gc.collect()
    gc.disable()
    try:
        y = f(x)
        storage = getattr(y, "storage", y)
        tape = weakref.ref(storage.tape)
        assert y.sum().value is not None if hasattr(y, "sum") else True
        del storage
        assert tape() is not None
        del y
        assert tape() is None  # by its count: no collector needed
    finally:
        gc.enable()
