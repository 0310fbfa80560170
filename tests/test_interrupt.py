"""Ctrl-C during a sweep of several seconds is seen within one, and breaks nothing.

The tape is large and dear (millions of polygammas), made at once from columns.  The process under
test reports when its sweep has begun, gets SIGINT, and says what it saw and what still works.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from clocks import cpu_of

PROGRAM = """
import json, signal, sys, time
import numpy as np
import ndtape as nt
from ndtape import run, tape
from ndtape.ops import CODES

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background jobs
name, form, mode, lanes, count = {arguments!r}
made = tape.Tape(count + 1)
x = made.append(0, made.constant(1.5))
order = made.constant(1.0)
columns = {{c: np.zeros(count, np.uint32) for c in "abc"}}
columns["a" if form == "v" else "b"][:] = x
if form == "kv":
    columns["a"][:] = order
columns["op"] = np.full(count, CODES[name, form], np.uint16)
made.extend(columns)
nt.verify(made)
work = run.Workspace(made, lanes)
small = run.Workspace(made[:3], lanes)  # compiles, or loads, before the clock starts
seed = 1.0 if lanes == 1 else np.ones(lanes)
small.reverse({{2: seed}})
sweep = work.forward if mode == "forward" else lambda: work.reverse({{count: seed}})
print("begun", flush=True)
try:
    while True:  # several seconds at least
        work.swept = 0
        sweep()
except KeyboardInterrupt:
    seen = time.process_time()
small.swept = 0
g = small.reverse({{2: seed}})
y = nt.var(2.0)
(y * y).backward()
nt.verify(made)
print(json.dumps([seen, y.grad, bool(np.all(np.isfinite(g[:3]))), work.swept <= count + 1]))
"""


@pytest.mark.parametrize(
    ("name", "form", "mode", "lanes", "count"),
    [
        ("polygamma", "kv", "forward", 1, 1 << 22),
        ("digamma", "v", "reverse", 1, 1 << 22),
        ("digamma", "v", "reverse", 16, 1 << 18),
    ],
)
def test_ctrl_c_within_a_second(name, form, mode, lanes, count):
    program = PROGRAM.format(arguments=(name, form, mode, lanes, count))
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "begun\n", process.stderr.read()
            time.sleep(0.5)
            sent = cpu_of(process)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, err
    seen, slope, finite, sane = json.loads(out)
    assert seen - sent < 1.0  # seconds of CPU
    assert (slope, finite, sane) == (4.0, True, True)


ARRAYS = """
import json, signal, sys, time
import numpy as np
import ndtape as nt

signal.signal(signal.SIGINT, signal.default_int_handler)
name = {name!r}
x = nt.var(np.linspace(0.5, 3.0, 5_000))
w = nt.var(np.linspace(-1.0, 1.0, 90_000).reshape(300, 300))
square = nt.primitive(lambda a: a * a, lambda w, z, a: (2.0 * w * a,))
with nt.Tape() as tape:  # swept again and again
    y, m = x, w
    for _ in range(1000):
        if name == "gammaln":
            y = nt.gammaln(y + 1.0) + 0.5
        elif name == "dot":
            m = (m @ w) * 0.003
        elif name == "sum":
            y = y + (y.reshape(5, 1000).sum(axis=0)[:100].sum() * 1e-9)
        else:
            y = square(y) * 0.1
    f = m.sum() if name == "dot" else y.sum()
with nt.Tape() as small:
    z = (np.sin(x[:10]) * x[:10]).sum()
small.gradient(z, x)
f.value if name != "dot" else None
print("begun", flush=True)
try:
    while True:
        tape.gradient(f, w if name == "dot" else x)
        tape.work.swept = 0
except KeyboardInterrupt:
    seen = time.process_time()
slope = small.gradient(z, x)[:10]
right = np.allclose(slope, np.sin(x.value[:10]) + x.value[:10] * np.cos(x.value[:10]))
nt.verify(tape)
print(json.dumps([seen, bool(right), tape.work.swept <= len(tape), len(tape)]))
"""


@pytest.mark.parametrize("name", ["gammaln", "dot", "sum", "call"])
def test_ctrl_c_in_a_sweep_over_arrays(name):
    """Pieces are measured in time: an instruction may work on many numbers."""
    with subprocess.Popen(
        [sys.executable, "-c", ARRAYS.format(name=name)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout.readline() == "begun\n", process.stderr.read()
            time.sleep(0.5)
            sent = cpu_of(process)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, err
    seen, right, sane, length = json.loads(out)
    assert seen - sent < 1.0  # seconds of CPU
    assert right and sane and length > 600


RECORDED = """
import json, signal, threading, time
import ndtape as nt

signal.signal(signal.SIGINT, signal.default_int_handler)
x = nt.var(0.5)
nt.sin(x * x).backward()
x.grad = None
with nt.Tape() as tape:
    y = x * 1.0
    for _ in range(1000):
        y = nt.sin(y)
threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
interrupted = 0
try:
    while True:
        tape.gradient(y, x)
        with nt.no_grad():
            x += 0.0
        y = y * 1.0
except KeyboardInterrupt:
    interrupted = 1
with nt.Tape() as again:
    z = x * x
print(json.dumps([interrupted, again.gradient(z, x), len(again), (x * x).needs_grad]))
"""


def test_ctrl_c_while_recording_and_sweeping_short_pieces():
    ran = subprocess.run(
        [sys.executable, "-c", RECORDED], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [1, 1.0, 2, True]
