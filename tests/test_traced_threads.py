"""Several threads, tasks and interrupts on one traced function: each gets its own numbers."""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import gc
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from racing import circle_map as chain
from racing import in_threads, slope

import ndtape as nt
from ndtape.record import core


@pytest.mark.parametrize("recorded_before", [True, False])
@pytest.mark.parametrize("steps", [3, 400])
def test_values_and_gradients_of_many_threads(steps, recorded_before, eager_switching):
    F = nt.function(lambda x: chain(x, steps))
    G = nt.grad(F)
    if recorded_before:
        F(0.5), G(0.5)

    rng = random.Random(1)  # what is right is known before: threads race for F, not for the GIL
    known = [(x, float(chain(x, steps)), slope(x, steps))
             for x in [rng.uniform(0.0, 1.0) for _ in range(240)]]  # fmt: skip

    def work(k):
        for x, right, slope_there in known[60 * k : 60 * k + 60]:
            assert F(x) == pytest.approx(right, rel=1e-12)
            assert G(x) == pytest.approx(slope_there, rel=1e-7)
            value, gradient = nt.value_and_grad(F)(x)
            assert gradient == G(x) and value == F(x)

    in_threads(work, 4)
    assert F.counters.recordings <= 8


def test_a_long_and_a_short_tape():
    """A long sweep lets other threads work, on the same traced function."""
    F = nt.function(chain, static_argnums=1)
    G = nt.grad(F)
    expected = {n: [(F(x, n), G(x, n)) for x in (0.1, 0.2, 0.3)] for n in (5, 30_000)}
    short_calls = 0
    done = threading.Event()

    def work(k):
        nonlocal short_calls
        if k == 0:
            for _ in range(20):
                for x, (value, gradient) in zip((0.1, 0.2, 0.3), expected[30_000], strict=True):
                    assert F(x, 30_000) == value and G(x, 30_000) == gradient
            done.set()
            return
        while not done.is_set():
            for x, (value, gradient) in zip((0.1, 0.2, 0.3), expected[5], strict=True):
                assert F(x, 5) == value and G(x, 5) == gradient
                short_calls += 1

    in_threads(work, 2)
    assert short_calls


def test_threads_flip_branches(eager_switching):
    def f(x):
        y = chain(x, 5)
        if x > 0.5:
            y = y * y
        for _ in range(int(x * 4.0)):
            y = y * 0.5
        return y

    F = nt.function(f)
    points = [0.1, 0.3, 0.6, 0.9, 1.2]
    known = {x: nt.value_and_grad(f)(x) for x in points}

    def work(k):
        rng = random.Random(k)
        for _ in range(60):
            x = rng.choice(points)
            assert nt.value_and_grad(F)(x) == known[x]
            assert F(x) == known[x][0]

    in_threads(work, 4)
    assert len(F.tapes) <= 4 * 2 * len(points)
    F.clear()
    in_threads(work, 4)


def test_threads_with_arrays_and_calls(eager_switching):
    """Sorting and linear algebra are Python calls in the middle of a sweep."""

    def f(A, b):
        return np.sum(np.sort(np.linalg.solve(A, b)) * np.arange(3.0))

    F = nt.function(f)
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=(3, 3)) + 3 * np.eye(3), rng.normal(size=3)) for _ in range(8)]
    known = [nt.value_and_grad(f, (0, 1))(*p) for p in inputs]

    def work(k):
        order = random.Random(k)
        for _ in range(30):
            j = order.randrange(8)
            value, (gA, gb) = nt.value_and_grad(F, (0, 1))(*inputs[j])
            assert value == known[j][0]
            assert (gA == known[j][1][0]).all() and (gb == known[j][1][1]).all()
            out = np.empty((3, 3))
            assert F(*inputs[j]) == value and out is not gA

    in_threads(work, 4)


def test_threads_change_what_is_captured(eager_switching):
    """A call sees the captured numbers of some moment between its start and its end."""
    k = 1.0
    F = nt.function(lambda x: k * x)
    stop = threading.Event()

    def work(j):
        nonlocal k
        if j == 0:
            for step in range(60):
                k = float(1 + step % 5)
                time.sleep(0.0005)
            stop.set()
            return
        while not stop.is_set():
            assert F(2.0) in {2.0, 4.0, 6.0, 8.0, 10.0}
            assert nt.grad(F)(2.0) in {1.0, 2.0, 3.0, 4.0, 5.0}

    in_threads(work, 3)
    assert F(2.0) == 2.0 * k


def test_threads_on_methods_and_clear(eager_switching):
    class Model:
        def __init__(self, k):
            self.k = k

        @nt.function
        def f(self, x):
            return self.k * x * x

    models = [Model(float(k)) for k in range(5)]

    def work(j):
        for step in range(80):
            model = models[(j + step) % 5]
            assert model.f(3.0) == 9.0 * model.k and nt.grad(model.f)(3.0) == 6.0 * model.k
            if j == 0 and step % 10 == 0:
                model.f.clear()

    in_threads(work, 4)


def test_a_recording_belongs_to_its_thread():
    """While one thread records, others replay, record and compute with plain numbers."""
    inside, go_on = threading.Event(), threading.Event()

    @nt.function
    def slow(x):
        y = x * 2.0
        inside.set()
        assert go_on.wait(10)
        return y + x

    quick = nt.function(lambda x: x * x)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(slow, 3.0)
        assert inside.wait(10)
        assert quick(4.0) == 16.0 and nt.grad(quick)(4.0) == 8.0
        w = nt.var(2.0)
        (w * w).backward()
        assert w.grad == 4.0 and not core.transform_depth.get()
        go_on.set()
        assert pending.result(10) == 9.0
    assert slow(4.0) == 12.0


def test_values_of_another_recording_are_refused():
    """A value handed from the recording of one thread to another: an error, not a mixture."""
    box, ready, used = [], threading.Event(), threading.Event()

    @nt.function
    def giver(x):
        box.append(x * 2.0)
        ready.set()
        assert used.wait(10)
        return x

    taker = nt.function(lambda x: x * box[0])
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(giver, 3.0)
        assert ready.wait(10)
        try:
            found = taker(5.0)
            assert found == 30.0 or float(found) == 30.0
        except (nt.TapeError, nt.GradientLostWarning):
            pass
        finally:
            used.set()
        assert pending.result(10) == 3.0
    quick = nt.function(lambda x: x * x)
    assert quick(3.0) == 9.0


# --- tasks ----------------------------------------------------------------------------------------


def test_tasks_take_turns():
    F = nt.function(lambda x: chain(x, 3) if x > 0.5 else x * x)

    async def work(k):
        rng = random.Random(k)
        for _ in range(10):
            x = rng.random()
            value, gradient = nt.value_and_grad(F)(x)
            await asyncio.sleep(0)
            assert F(x) == value
            assert gradient == (nt.grad(F.f)(x))
            await asyncio.sleep(0)

    async def all_tasks():
        await asyncio.gather(*(work(k) for k in range(5)))
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, F, 0.25) == 0.0625
        assert await asyncio.to_thread(nt.grad(F), 0.25) == 0.5

    asyncio.run(all_tasks())


def test_other_contexts():
    F = nt.function(lambda x: x * x if x > 0 else x)
    for x in (1.0, -1.0, 2.0):
        assert contextvars.copy_context().run(F, x) == F(x)
    w = nt.var(2.0)
    with nt.Tape():
        assert contextvars.copy_context().run(F, 3.0) == 9.0
        assert contextvars.copy_context().run(F, w).value == 4.0


# --- interrupts -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a callback
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_signals_in_recordings_and_replays():
    """A handler that raises at random moments, many times: the answers stay right."""

    class Alarm(BaseException):
        pass

    def ring(*_):
        raise Alarm

    def f(x):
        y = chain(x, 60)
        return y if x > 0.5 else y * y

    points = (0.25, 0.75, 0.4)
    known = {x: nt.value_and_grad(f)(x) for x in points}
    before = signal.signal(signal.SIGALRM, ring)
    rng = random.Random(0)
    rung = 0
    gc.disable()  # callbacks of the collector are no place for a handler that raises
    try:
        F = nt.function(f)
        for k in range(150):
            if k % 10 == 0:
                F.clear()
            x = points[k % 3]
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 1e-3))
                nt.value_and_grad(F)(x), F(x)
                time.sleep(2e-3)
            except Alarm:
                rung += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if k % 5 == 4:
                assert nt.value_and_grad(F)(x) == known[x] and F(x) == known[x][0]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert rung > 20
    assert not core.transform_depth.get()
    for x in points:
        assert nt.value_and_grad(F)(x) == known[x] and F(x) == known[x][0]


def test_interrupts_of_a_long_replay():
    """Ctrl-C in a sweep of some seconds is heard; the next call is right."""
    F = nt.function(chain, static_argnums=1)
    steps = 100_000
    expected = F(0.1, steps), nt.grad(F)(0.1, steps)
    timer = threading.Timer(0.2, _thread.interrupt_main)
    # A shell starts what runs in the background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            for _ in range(10_000):
                F(0.2, steps), nt.grad(F)(0.3, steps)
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (F(0.1, steps), nt.grad(F)(0.1, steps)) == expected
