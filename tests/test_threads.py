"""Threads: each records on its own tape, leaves may be shared, long sweeps let others work."""

from __future__ import annotations

import contextvars
import gc
import math
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from racing import circle_map, in_threads, slope

import ndtape as nt
from ndtape import run, tape
from ndtape.ops import CODES
from ndtape.record import core, lifetime


@pytest.fixture(autouse=True)
def no_tape_of_another_test():
    core._current.set(None)


@pytest.mark.parametrize("count", [2, 8])
def test_threads_record_without_mixing(count, eager_switching):
    def work(k):
        x = nt.var(0.1 * k)
        grads = []
        for steps in (5, 50, 300):
            y = circle_map(x, steps)
            assert len(y.tape) == 4 * steps + 1
            nt.verify(y.tape)
            y.backward()
            grads.append(x.grad)
            x.grad = None
        return grads

    expected = [[slope(0.1 * k, n) for n in (5, 50, 300)] for k in range(count)]
    for got, want in zip(in_threads(work, count), expected, strict=True):
        assert got == pytest.approx(want, rel=1e-9)


def test_threads_share_leaves(eager_switching):
    w = nt.var(0.5)

    def work(k):
        y = w * float(k)
        for _ in range(200):
            y = y + w
        with nt.Tape() as recorded:
            z = w * w * float(k)
        return y.value, recorded.gradient(y, w), recorded.gradient(z, w)

    assert in_threads(work, 8) == [(0.5 * k + 100.0, k + 200.0, float(k)) for k in range(8)]


def test_threads_share_explicit_tapes_by_taking_turns():
    x = nt.var(2.0)
    shared = nt.Tape()
    lock = threading.Lock()

    def work(k):
        with lock, shared:
            return x * float(k)

    results = in_threads(work, 6)
    assert {id(y.tape) for y in results} == {id(shared)}
    assert len(shared) == 7
    assert [y.value for y in results] == [2.0 * k for k in range(6)]


def test_results_of_other_threads_can_be_used():
    def work(k):
        x = nt.var(float(k))
        return x, x * x

    total = 0.0
    pairs = in_threads(work, 6)
    for _, y in pairs:
        total = total + y
    total.backward()
    assert [x.grad for x, _ in pairs] == [2.0 * k for k in range(6)]


def test_threads_share_results(eager_switching):
    """All on one tape, which grows, and joins the tapes of the threads, under their hands."""
    w = nt.var(0.5)
    base = w * 1.0

    def work(k):
        seen = []
        for _ in range(30):
            y = base
            for _ in range(100):
                y = y + w * float(k)
            seen.append(y.value)
        return seen, y

    for k, (seen, y) in enumerate(in_threads(work, 8)):
        assert seen == [0.5 + 50.0 * k] * 30
        y.backward(retain_graph=True)
        assert w.grad == 1.0 + 100.0 * k
        w.grad = None
    nt.verify(base.tape)


def test_no_grad_in_one_thread_leaves_the_others_recording(eager_switching):
    inside, leave = threading.Event(), threading.Event()

    def pauses():
        with nt.no_grad():
            inside.set()
            leave.wait()
            return (nt.var(1.0) * 2.0).needs_grad

    with ThreadPoolExecutor(1) as pool:
        paused = pool.submit(pauses)
        inside.wait()
        x = nt.var(0.3)
        y = circle_map(x, 400)
        y.backward()
        with pytest.raises(nt.LeafWriteError):
            x += 1.0
        leave.set()
        assert paused.result() is False
    assert x.grad == pytest.approx(slope(0.3, 400), rel=1e-9)


def test_pauses_of_many_threads_add_up(eager_switching):
    def work(k):
        x = nt.var(float(k))
        for _ in range(300):
            y = x * x
            with nt.no_grad():
                x -= 0.001 * y.value
            y = y * 1.0
            y.backward()
        return x.needs_grad

    assert all(in_threads(work, 8))
    y = nt.var(1.0) * 2.0
    assert y.tape.op  # fast paths are open again
    assert y.needs_grad


def test_transforms_in_threads(eager_switching):
    def work(k):
        f = nt.grad(nt.grad(lambda x: x**4 * float(k)))
        return [f(0.5 * i) for i in range(20)]

    expected = [[12.0 * k * (0.5 * i) ** 2 for i in range(20)] for k in range(6)]
    for got, want in zip(in_threads(work, 6), expected, strict=True):
        assert got == pytest.approx(want, rel=1e-14)


def test_an_exception_in_a_thread_leaves_the_library_usable(eager_switching):
    def work(k):
        x = nt.var(float(k))
        with nt.Tape(), nt.no_grad():
            x * 2.0
            raise KeyError(k)

    for k in range(4):
        with pytest.raises(KeyError), ThreadPoolExecutor(1) as pool:
            pool.submit(work, k).result()
    assert core.recording() and not core.transform_depth.get()
    x = nt.var(3.0)
    (x * x).backward()
    assert x.grad == 6.0


def test_copied_contexts_record_in_turn():
    """`asyncio.to_thread` runs its function in a copy of the caller's context."""
    x = nt.var(2.0)
    y = x * 3.0
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        z = pool.submit(context.run, lambda: y * x).result()
    z.backward()
    assert x.grad == 12.0


# --- the interpreter's lock ----------------------------------------------------------------------


def long_tape(count):
    """A chain of `count` sines."""
    made = tape.Tape(count + 1)
    made.append(0, made.constant(0.5))
    columns = {name: np.zeros(count, np.uint32) for name in "abc"}
    columns["a"] = np.arange(count, dtype=np.uint32)
    columns["op"] = np.full(count, CODES["sin", "v"], np.uint16)
    made.extend(columns)
    nt.verify(made)
    return made


class Counter(threading.Thread):
    """Counts, and hands the lock over at each step; gets it only from who lets go of it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.count = 0
        self.stop = False

    def run(self):
        while not self.stop:
            self.count += 1
            time.sleep(0)


@pytest.fixture
def no_switching():
    """No thread is ever made to give up the lock: it must let go by itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    yield
    sys.setswitchinterval(before)


def lets_go(f, attempts):
    """Whether another thread got to run during one of some calls of f."""
    counter = Counter()
    counter.start()
    while not counter.count:
        time.sleep(0.001)
    before = counter.count
    for _ in range(attempts):  # the other thread may be slow to wake on a busy machine
        f()
        if counter.count > before:
            break
    after = counter.count
    counter.stop = True
    counter.join()
    return after > before


def test_long_sweeps_release_the_lock(no_switching):
    work = run.Workspace(long_tape(1 << 20))
    work.array("v"), work.array("g"), work.lay_out()
    for name, backwards in (("forward", False), ("reverse", True)):
        assert lets_go(lambda n=name, b=backwards: list(work.sweep(n, 0, 1 << 20, b)), 50)


def test_short_sweeps_keep_the_lock(no_switching):
    """Letting go and coming back beside a busy thread costs a hundred short sweeps."""
    work = run.Workspace(long_tape(1000))
    work.array("v"), work.lay_out()
    assert not lets_go(lambda: list(work.sweep("forward", 0, 1000)), 200)


def test_a_long_sweep_in_one_thread_while_another_computes():
    made = long_tape(1 << 21)
    work = run.Workspace(made)
    with ThreadPoolExecutor(1) as pool:
        sweep = pool.submit(work.reverse, {1 << 21: 1.0})
        x = nt.var(0.3)
        grads = []
        while not sweep.done() or len(grads) < 3:
            circle_map(x, 50).backward()
            grads.append(x.grad)
            x.grad = None
    assert len(set(grads)) == 1
    assert grads[0] == pytest.approx(slope(0.3, 50), rel=1e-10)
    assert sweep.result()[1 << 21] == 1.0
    assert work.value(1) == math.sin(0.5)


# --- arrays --------------------------------------------------------------------------------------


def array_program(x, y):
    """A loss of two vectors of three elements, by every kind of storage."""
    a = np.sin(x) * y + 0.5
    b = np.zeros_like(a)
    b[0], b[1:] = a[2] * 2.0, (x * y)[1:]
    c = np.outer(a, b)[:, ::-1] @ y
    return (np.cumsum(c) * b).sum() + a.max() * x[0]


def array_gradient(x, y):
    return nt.grad(array_program, argnums=(0, 1))(x, y)


def points(k):
    return np.array([0.1 * k, 0.2, 0.3]), np.array([1.0, 0.5 * k, -0.4])


@pytest.mark.parametrize("count", [2, 6])
def test_threads_record_arrays_without_mixing(count, eager_switching):
    def work(k):
        x, y = (nt.var(p) for p in points(k))
        grads = []
        for _ in range(15):
            loss = array_program(x, y)
            nt.verify(loss.tape)
            loss.backward()
            grads.append((x.grad, y.grad))
            x.grad = y.grad = None
        return grads

    for k, got in enumerate(in_threads(work, count)):
        want = array_gradient(*points(k))
        for grads in got:
            for one, other in zip(grads, want, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_threads_share_array_leaves(eager_switching):
    w = nt.var(np.linspace(0.1, 0.9, 50).reshape(5, 10))

    def work(k):
        data = np.arange(10.0) + k
        found = []
        for _ in range(20):
            with nt.Tape() as recorded:
                loss = (np.tanh(w @ data) * (k + 1.0)).sum()
            found.append((loss.value, recorded.gradient(loss, w)))
        return found

    for k, got in enumerate(in_threads(work, 4)):
        z = np.tanh(w.value @ (np.arange(10.0) + k))
        slope = np.outer((1.0 - z * z) * (k + 1.0), np.arange(10.0) + k)
        for value, gradient in got:
            assert value == pytest.approx((z * (k + 1.0)).sum(), rel=1e-12)
            np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-13)


def test_threads_share_array_results(eager_switching):
    """All on one tape, which grows under their hands: spans, constants, maps and elements."""
    w = nt.var(np.array([0.5, 1.0, 1.5]))
    base = w * 1.0

    def work(k):
        seen = []
        for i in range(12):
            y = base
            for j in range(25):
                y = y + w * float(k)
                y = y * 1.0 if j % 5 else y + np.array([k, i, j], float)
            z = np.zeros_like(y)
            z[0], z[1:] = y[2], 7.0 + k
            seen.append((y.value, z.value, float((z + y)[0].value)))
        return seen, y

    found = in_threads(work, 6)
    nt.verify(base.storage.tape)
    for k, (seen, y) in enumerate(found):
        for i, (values, written, first) in enumerate(seen):
            want = w.value * (1.0 + 25.0 * k)
            for j in range(0, 25, 5):
                want = want + np.array([k, i, j], float)
            np.testing.assert_allclose(values, want, rtol=1e-12)
            np.testing.assert_allclose(written, [want[2], 7.0 + k, 7.0 + k], rtol=1e-12)
            assert first == pytest.approx(want[2] + want[0], rel=1e-12)
        y.sum().backward(retain_graph=True)
        np.testing.assert_allclose(w.grad, 1.0 + 25.0 * k)
        w.grad = None


def test_constants_are_where_they_were_put(monkeypatch):
    """Between an operation's look at the pool and its own constants come those of other threads."""
    put = core.Recorder.extend_pool

    def late(self, values):
        self.constant(9.0)
        return put(self, values)

    monkeypatch.setattr(core.Recorder, "extend_pool", late)
    x = nt.var(np.array([0.5, 1.0]))
    for size in (2, 2, 100, 100):
        c = np.arange(float(size))
        y = (x[:1] * c + x[1:]).sum()
        y.backward()
        np.testing.assert_allclose(y.value, 0.5 * c.sum() + size)
        np.testing.assert_allclose(x.grad, [c.sum(), size])
        x.grad = None


def test_array_results_of_other_threads_can_be_used():
    def work(k):
        x = nt.var(np.array([1.0, 2.0]) * k)
        y = x * x
        y[0] = 3.0
        return x, y

    pairs = in_threads(work, 5)
    total = 0.0
    for _, y in pairs:
        total = y + total
    total.sum().backward()
    assert [x.grad.tolist() for x, _ in pairs] == [[0.0, 4.0 * k] for k in range(5)]


def test_a_compaction_beside_other_threads(eager_switching, monkeypatch):
    """Threads share a tape that is compacted over and over; what they hold keeps its numbers."""
    monkeypatch.setattr(core, "COMPACT_AT", 400)
    monkeypatch.setattr(lifetime, "COMPACT_AT", 400)
    w = nt.var(np.array([0.5, 1.0, 1.5]))
    base = np.exp(w)
    expected = np.exp(w.value)

    def work(k):
        kept = base * (k + 1.0)
        part = kept[1:]
        for i in range(300):
            scratch = base * float(i) + kept
            if i % 20 == 0:
                np.testing.assert_allclose(kept.value, expected * (k + 1.0), rtol=1e-14)
                np.testing.assert_allclose(
                    scratch.value, expected * (i + k + 1.0), rtol=1e-13, err_msg=f"{k} {i}"
                )
        return kept, part

    found = in_threads(work, 4)
    nt.verify(base.storage.tape)
    assert len(base.storage.tape) < 2000
    for k, (kept, part) in enumerate(found):
        np.testing.assert_allclose(part.value, expected[1:] * (k + 1.0), rtol=1e-14)
        kept.sum().backward(retain_graph=True)
        np.testing.assert_allclose(w.grad, expected * (k + 1.0), rtol=1e-14)
        w.grad = None


def test_the_garbage_collector_may_switch_threads(eager_switching):
    """Callbacks of the collector are Python code: making a container may let another thread run."""
    w = nt.var(np.array([0.5, 1.0, 1.5]))
    base = w * 1.0

    def work(k):
        for _ in range(4):
            y = base
            for _ in range(25):
                y = y + w * float(k)
                y = y * 1.0
        return y

    def callback(phase, info):
        return [None for _ in range(3)]

    before = gc.get_threshold()
    gc.callbacks.append(callback)
    gc.set_threshold(7)
    try:
        found = in_threads(work, 6)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(callback)
    nt.verify(base.storage.tape)
    for k, y in enumerate(found):
        np.testing.assert_allclose(y.value, w.value * (1.0 + 25.0 * k))
