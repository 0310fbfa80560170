"""The contestants of `small_tensors.py`: single operations, and the step of a small network.

Tasks, each of them values or values and derivatives:

    swept     operations of a program that was recorded, or written and compiled, before
    called    one call from Python for each operation
    recorded  the same, and what a derivative needs is recorded afresh
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SWEPT, SWEPT_GRADIENT = "swept, values", "swept, values and derivatives"
CALLED, CALLED_GRADIENT = "called, values", "called, values and derivatives"
RECORDED = "recorded afresh, values and derivatives"
STEP = "forward and backward"

# One thread each: thread pools would only race with each other. Read when the libraries load, which
# is why nothing may import NumPy before this package.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

INPUTS = 8  # sets of operands that the operations of a program take in turn


@dataclass
class Contestant:
    """One thing to time: `run()` does `count` operations, `found()` once gives what to compare.

    What `found` returns is an array, or the values and then the derivatives by each operand; the
    leading axis counts the sets of operands.
    """

    name: str
    task: str
    run: Callable[[], Any]
    count: int
    found: Callable[[], list[Any]]
