"""The other libraries that `chain.py` races against, one module each behind one small interface.

A module has `PACKAGES` (distributions whose versions are reported) and
`contestants(problem, size, patience)`, which yields `Contestant`s ready to run and leaves out what
would take longer than a few seconds; `patience` multiplies what it thinks is long. A module whose
library is not installed is skipped with a message.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

RECORD = "record + gradient"  # the program runs in Python and is recorded for each gradient
REPLAY = "replay"  # value and gradient of a program that was recorded or compiled before

MODULES = {
    "numba": "peers.hand_numba",
    "xad": "peers.with_xad",
    "casadi": "peers.with_casadi",
    "torch": "peers.with_torch",
    "jax": "peers.with_jax",
    "autograd": "peers.with_autograd",
}

# One thread each: thread pools would only race with each other. Read when the libraries load.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")


@dataclass
class Contestant:
    """One thing to time: `run()` does it once and, for gradients, returns (value, gradient)."""

    name: str
    task: str
    run: Callable
    prepare_seconds: float = 0.0  # building or compiling the program, once
    lanes: int = 1
    checked: bool = True  # whether run() returns a gradient to compare


def load(names, say):
    """Import the wanted peers; returns the modules and the names of those that are missing."""
    found, missing = [], []
    for name in names:
        try:
            found.append(import_module(MODULES[name]))
        except ImportError as error:
            say(f"{name}: skipped, not installed ({error})")
            missing.append(name)
    return found, missing


def prepared(name, task, build):
    """A contestant whose program `build()` makes; the first run (a compile, often) counts too."""
    start = time.perf_counter()
    run = build()
    run()
    return Contestant(name, task, run, prepare_seconds=time.perf_counter() - start)
