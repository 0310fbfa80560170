"""Compiled functions in many threads at once: compiling, recording, sweeping."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest
from racing import in_threads, slope

import ndtape as nt


def circle_text(x, steps):
    for _ in range(steps):
        x = x + 2.39996 + 0.5 * math.sin(x)
    return x


circle = nt.jit(circle_text, cache=False)


@nt.jit(cache=False)
def outer(x, n):
    s = 0.0
    for k in range(n):
        s += circle(x * (1.0 + 0.01 * k), 10)
    return s


def test_the_first_call_in_many_threads(eager_switching):
    """All compile, or wait for who does; the answers are the same."""
    f = nt.jit(circle_text, cache=False)

    def work(k):
        if k % 3 == 0:
            return f(0.3, 50), nt.grad(f)(0.3, 50)
        if k % 3 == 1:
            return nt.value_and_grad(f)(0.3, 50)
        value, gradient = nt.value_and_grad(lambda x: f(x, 50))(0.3)
        return value, gradient

    for value, gradient in in_threads(work, 6):
        assert value == pytest.approx(circle_text(0.3, 50))
        assert gradient == pytest.approx(slope(0.3, 50))


def test_short_and_long_recordings_at_once(eager_switching):
    """Some give the GIL away, some do not."""

    def work(k):
        found = []
        for i in range(60):
            n = 30_000 if (i + k) % 7 == 0 else 5 + k
            found.append(nt.grad(circle)(0.1 * k, n))
        return found

    expected = [work(k) for k in range(6)]
    assert in_threads(work, 6) == expected


def test_all_ways_of_recording_at_once(eager_switching):
    traced = nt.function(lambda x: outer(x, 5) if x > 0.3 else circle(x, 7))

    def work(k):
        x = 0.1 * (k % 5)
        leaf = nt.var(x)
        found = []
        for _ in range(15):
            found.append(nt.grad(outer)(x, 6))
            outer(leaf, 6).backward()
            found.append(leaf.grad)
            leaf.grad = None
            found.append(nt.grad(nt.grad(outer))(x, 3))
            found.append(nt.value_and_grad(traced)(x))
            found.append(outer(x, 3))
        assert found[0] == found[1]
        return found

    expected = [work(k) for k in range(6)]
    assert in_threads(work, 6) == expected


def test_leaves_are_shared(eager_switching):
    w = nt.var(np.array([0.1, 0.2, 0.3]))

    @nt.jit(cache=False)
    def f(w, k):
        s = 0.0
        for e in w:
            s += circle(e, 20) * k
        return s

    def work(k):
        with nt.Tape() as tape:
            y = f(w, float(k))
        return tape.gradient(y, w)

    for k, gradient in enumerate(in_threads(work, 6)):
        assert gradient == pytest.approx([k * slope(e, 20) for e in (0.1, 0.2, 0.3)])


def test_a_long_recording_lets_others_work():
    """The second run of a long program gives the GIL away."""
    n = 2_000_000
    nt.grad(circle)(0.3, n), nt.grad(circle)(0.3, n)
    done = threading.Event()

    def long():
        for _ in range(3):
            nt.grad(circle)(0.3, n)
        done.set()

    thread = threading.Thread(target=long)
    ticks, worst, last = 0, 0.0, time.perf_counter()
    thread.start()
    while not done.is_set():
        time.sleep(0.001)
        now = time.perf_counter()
        ticks, worst, last = ticks + 1, max(worst, now - last), now
    thread.join()
    assert ticks > 10


def test_errors_stay_in_their_thread(eager_switching):
    @nt.jit(cache=False)
    def f(x, n):
        y = circle(x, 30)
        if n % 2:
            raise ValueError("odd")
        return y

    def work(k):
        found = []
        for _ in range(40):
            try:
                found.append(nt.grad(f)(0.2, k))
            except ValueError:
                found.append("odd")
        return found

    for k, found in enumerate(in_threads(work, 6)):
        assert found == ["odd" if k % 2 else nt.grad(f)(0.2, k)] * 40
