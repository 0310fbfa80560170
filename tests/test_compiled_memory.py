"""Compiled recordings that outgrow their memory: chunk after chunk, to the end, and interrupted."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from clocks import cpu_of
from racing import in_threads, slope

import ndtape as nt
from ndtape import tape
from ndtape.compiled import linear

STEPS = 20_000


@nt.jit(cache=False)
def circle(x, steps):
    for _ in range(steps):
        x = x + 2.39996 + 0.5 * math.sin(x)
    return x


@nt.jit(cache=False)
def circles(x, steps):
    """Each element of an array on its own, in place."""
    y = nt.zeros(len(x))
    for i in range(len(x)):
        y[i] = x[i] * 1.0
    for _ in range(steps):
        for i in range(len(x)):
            y[i] += 2.39996 + 0.5 * math.sin(y[i])
    s = 0.0
    for e in y:
        s += e
    return s


@pytest.fixture
def small_chunks(monkeypatch):
    """Of a few hundred entries.  A list of who has opened them, and where they meet for it."""

    class Opened(list):
        meeting = None  # a barrier

    opened = Opened()

    class Counting(linear.LinearTape):
        def open_chunk(self, wanted):
            super().open_chunk(wanted)
            opened.append(self)
            if opened.meeting is not None and opened.count(self) == 5:
                opened.meeting.wait(30)

    monkeypatch.setattr(linear, "FIRST_CHUNK", 1 << 12)
    monkeypatch.setattr(linear, "LARGEST_CHUNK", 1 << 15)
    monkeypatch.setattr(linear, "LinearTape", Counting)
    monkeypatch.setattr(linear, "_free", [])
    monkeypatch.setattr(tape, "LARGEST_CHUNK", 1 << 12)
    return opened


def test_ten_chunks_in_four_threads(small_chunks, eager_switching):
    """Linear tapes: each thread has its own, which the next program gets."""

    def work(k):
        x = 0.1 + 0.2 * k
        found = [nt.value_and_grad(circle)(x, n) for n in (10, STEPS, 500, STEPS)]
        return found, nt.grad(circles)(np.array([x, -x]), STEPS // 4)

    expected = [work(k) for k in range(4)]
    small_chunks.clear()
    small_chunks.meeting = threading.Barrier(4)
    found = in_threads(work, 4)
    for k, (got, want) in enumerate(zip(found, expected, strict=True)):
        assert got[0] == want[0] and np.array_equal(got[1], want[1])
        x = 0.1 + 0.2 * k
        assert got[0][1][1] == pytest.approx(slope(x, STEPS), rel=1e-9)
        assert got[1] == pytest.approx([slope(x, STEPS // 4), slope(-x, STEPS // 4)], rel=1e-9)
    counts = {id(t): small_chunks.count(t) for t in small_chunks}
    assert len(counts) == 4 and min(counts.values()) > 10


def test_ten_chunks_of_instructions_in_four_threads(small_chunks, eager_switching):
    """Tapes that eager values are on, and tapes of nested gradients."""

    def work(k):
        x = nt.var(0.1 + 0.2 * k)
        y = circle(x * 1.0, STEPS)
        chunks = len(y.tape.chunks)
        with nt.Tape() as recorded:
            z = circle(x, 300) * circle(x, STEPS)
        nt.verify(recorded)
        y.backward()
        return y.value, x.grad, recorded.gradient(z, x), chunks, nt.grad(nt.grad(circle))(0.1, 3000)

    expected = [work(k) for k in range(4)]
    assert in_threads(work, 4) == expected
    for k, (_, slope_found, _, chunks, _) in enumerate(expected):
        assert slope_found == pytest.approx(slope(0.1 + 0.2 * k, STEPS), rel=1e-9)
        assert chunks > 10


def test_real_chunks():
    """A few million entries, in chunks of the usual sizes."""
    n = 1 << 20
    one, again = (nt.value_and_grad(circle)(0.3, n) for _ in range(2))
    assert one == again and one[1] != 0.0
    assert nt.value_and_grad(lambda x: circle(x, n))(0.3) == one
    assert nt.grad(circle)(0.3, 10) == pytest.approx(slope(0.3, 10), rel=1e-12)


@pytest.mark.parametrize("steps", range(300, 430))
def test_boundaries_fall_anywhere(small_chunks, steps):
    """Operations with one, two and three operands at each place of a chunk."""
    value, gradient = nt.value_and_grad(mixture, (0, 1))(0.3, 0.7, steps)
    expected = nt.value_and_grad(lambda x, y: mixture.py_func(x, y, steps), (0, 1))(0.3, 0.7)
    assert (value, gradient) == expected


@nt.jit(cache=False)
def mixture(x, y, steps):
    s = 0.0
    for i in range(steps):
        x = nt.fma(x, y, 0.25 * x) * 0.7
        y = y * 0.9 + nt.sin(x)
        s += x
        if i % 3 == 0:
            s -= x * y
    return s + y


def test_a_large_argument_needs_a_large_chunk(small_chunks):
    x = np.linspace(-1.0, 1.0, 50_000)

    @nt.jit(cache=False)
    def f(x):
        s = 0.0
        for e in x:
            s += e * e
        return s

    assert np.array_equal(nt.grad(f)(x), 2 * x)
    assert nt.grad(f)(x[:3]).tolist() == (2 * x[:3]).tolist()


def test_memory_does_not_grow():
    """Neither with calls, nor with shapes, nor with failures."""
    import resource

    @nt.jit(cache=False)
    def f(x, n):
        s = 0.0
        values = [x[0]]
        y = nt.zeros(len(x))
        for i in range(n):
            y[i % len(x)] = x[i % len(x)] * x[0]
            s += y[0] * y[i % len(x)]
            values.append(s)
        if n == 7:
            raise ValueError("seven")
        return s + values[-1]

    def many(count):
        for k in range(count):
            x = np.linspace(0.1, 0.2, 3 + k % 50)
            nt.grad(f)(x, 2000)
            leaf = nt.var(x)
            f(leaf, 200).backward()
            nt.grad(lambda x: f(x, 100))(x)
            for g in (nt.grad(f), lambda x, n: f(nt.var(x), n)):
                with pytest.raises(ValueError, match="seven"):
                    g(x, 7)

    many(100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many(400)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_000  # kB


# --- processes ------------------------------------------------------------------------------------

CIRCLE = """
import json, math, resource, signal, sys, threading, time
import numpy as np
import ndtape as nt

signal.signal(signal.SIGINT, signal.default_int_handler)

@nt.jit(cache=False)
def circle(x, steps):
    for _ in range(steps):
        x = x + 2.39996 + 0.5 * math.sin(x)
    return x

@nt.jit(cache=False)
def hoarder(x, steps):
    y = nt.zeros(steps)
    y[0] = x
    for i in range(1, steps):
        y[i] = y[i - 1] * 0.5 + x
    return y[steps - 1]

def linear(n): return nt.grad(circle)(0.5, n)
def tape(n): return nt.grad(lambda x: circle(x, n))(0.5)
def eager(n):
    x = nt.var(0.5)
    circle(x, n).backward()
    return x.grad
def arrays(n): return nt.grad(hoarder)(0.5, n)
def threads(n):
    found = []
    def job(): found.append(attempt(lambda: linear(n)))
    ts = [threading.Thread(target=job) for _ in range(3)]
    [t.start() for t in ts]; [t.join() for t in ts]
    if isinstance(found[0], str):
        raise nt.TapeFullError(found[0]) if found[0].startswith("full") else ValueError(found)
    return found[0]
def attempt(f):
    try:
        return f()
    except nt.TapeFullError as error:
        return "full " + str(error)
    except MemoryError as error:
        return "memory " + str(error)
f = {name}
small = [g(10) for g in (linear, tape, eager, arrays, f)][-1]
"""

STARVING = (
    CIRCLE
    + """
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {spare} * 2**20,) * 2)
for _ in range(2):
    try:
        f(200_000_000)
        told = None
    except MemoryError as error:
        told = [type(error).__name__, str(error)]
print(json.dumps([told, f(10) == small, linear(1000), tape(1000)]))
"""
)


def ran(program):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ["linear", "tape", "eager", "arrays", "threads"])
def test_the_end_of_memory(name):
    """A MemoryError that says how far it came, and the process goes on."""
    spare = 200 if name != "threads" else 500
    told, same, gradient, again = ran(STARVING.format(name=name, spare=spare))
    assert told is not None and same
    assert gradient == again == pytest.approx(slope(0.5, 1000), rel=1e-9)
    if name != "arrays":
        kind, text = told
        assert kind == "TapeFullError"
        counts = [int(word.strip(",;()")) for word in text.split() if word.strip(",;()").isdigit()]
        assert max(counts) > 100_000, text


INTERRUPTED = (
    CIRCLE
    + """
n = 0
def more():
    global n
    while True:
        f(20_000_000)
        n += 1
print("begun", flush=True)
try:
    more()
except KeyboardInterrupt:
    seen = time.process_time()
y = nt.var(2.0)
(y * y).backward()
print(json.dumps([seen, f(10) == small, linear(1000), tape(1000), y.grad]))
"""
)


@pytest.mark.parametrize("name", ["linear", "tape", "eager"])
def test_ctrl_c_within_a_second(name):
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(name=name)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout.readline() == "begun\n", process.stderr.read()
            time.sleep(0.4)
            sent = cpu_of(process)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, err
    seen, same, gradient, again, grad = json.loads(out)
    assert seen - sent < 1.0  # seconds of CPU
    assert same and grad == 4.0
    assert gradient == again == pytest.approx(slope(0.5, 1000), rel=1e-9)
