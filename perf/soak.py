"""Memory over many replays: a traced function called a million times, in all the usual ways.

Each line is a loop of calls; printed are the kilobytes and the objects that the process has more at
its end than after its first tenth.  A single object or array kept by each call would be tens of
megabytes.  Nothing fails here, except that `--check` ends with status 1 where a loop has grown.

    python perf/soak.py [--calls 1000000] [--check]
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import ndtape as nt

ALLOWED = 8_000  # kilobytes, whatever the number of calls: pages that the allocator keeps


def rosenbrock(x):
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def branching(x):
    y = x * x
    if x > 0.5:
        y = y * 3.0
    for _ in range(int(x * 4.0)):
        y = y * 0.5 + x
    return y


class Model:
    def __init__(self) -> None:
        self.W = np.ones((3, 3))

    @nt.function
    def loss(self, x, params):
        return np.sum(np.tanh(self.W @ x) * params["a"]) + params["b"]


def values() -> Callable[[int], object]:
    F, x = nt.function(rosenbrock), np.linspace(0.1, 1.0, 10)
    return lambda k: F(x)


def gradients() -> Callable[[int], object]:
    G, x = nt.grad(nt.function(rosenbrock)), np.linspace(0.1, 1.0, 10)
    return lambda k: G(x)


def gradients_of_floats() -> Callable[[int], object]:
    V = nt.value_and_grad(nt.function(lambda x, y: nt.sin(x) * y), (0, 1))
    return lambda k: V(0.5, 1.5)


def flips() -> Callable[[int], object]:
    F = nt.function(branching)
    G = nt.grad(F)
    points = (0.1, 0.3, 0.6, 0.9, 1.2)
    return lambda k: (F(points[k % 5]), G(points[-k % 5]))


def trees_and_captures() -> Callable[[int], object]:
    model = Model()
    G = nt.value_and_grad(model.loss, 1)
    x, params = np.arange(3.0), {"a": np.ones(3), "b": 0.5}

    def step(k: int) -> object:
        model.W[0, 0] = k  # a captured array written in place
        return G(x, params)

    return step


def captured_numbers() -> Callable[[int], object]:
    k = 0.0
    F = nt.function(lambda x: k * x)

    def step(j: int) -> object:
        nonlocal k
        k = float(j % 1000)  # another state of what is captured: recorded again
        return F(2.0)

    return step


def hessian_vector_products() -> Callable[[int], object]:
    F, x = nt.function(rosenbrock), np.linspace(0.1, 1.0, 10)
    return lambda k: nt.hvp(F, (x,), (x,))


def new_functions() -> Callable[[int], object]:
    return lambda k: nt.grad(nt.function(lambda x: x * x))(2.0)


# With the share of `--calls` that each is given: recording takes a hundred times as long.
LOOPS = {
    values: 1.0, gradients: 1.0, gradients_of_floats: 1.0, flips: 0.2, trees_and_captures: 0.2,
    hessian_vector_products: 0.2, captured_numbers: 0.01, new_functions: 0.01,
}  # fmt: skip


def resident() -> int:
    """Kilobytes of the process in memory now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def soak(make: Callable[[], Callable[[int], object]], calls: int) -> tuple[int, int, float]:
    """Kilobytes and objects that grew after the first tenth, and microseconds a call."""
    step = make()
    for k in range(calls // 10):
        step(k)
    gc.collect()
    kilobytes, objects, start = resident(), sys.getallocatedblocks(), time.perf_counter()
    for k in range(calls // 10, calls):
        step(k)
    seconds = time.perf_counter() - start
    gc.collect()
    grown = resident() - kilobytes, sys.getallocatedblocks() - objects
    return *grown, seconds / (calls - calls // 10) * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--check", action="store_true", help="status 1 where a loop has grown")
    options = parser.parse_args()
    worst = 0
    for make, share in LOOPS.items():
        calls = max(int(options.calls * share), 100)
        kilobytes, objects, each = soak(make, calls)
        name = make.__name__.replace("_", " ")
        print(
            f"{name:24} {calls:9,} calls  {kilobytes:+6,} kB  {objects:+7,} objects  {each:8.2f} µs"
        )
        worst = max(worst, kilobytes)
    return int(options.check and worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
