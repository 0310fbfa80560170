"""The contestants of `replay.py`, a module a library behind one small interface.

A module has `PACKAGES` (distributions whose versions are reported) and `contestants(problem)`,
which yields what it can do about a problem in reasonable time. A module whose library is not
installed is skipped with a message.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

# One thread each: thread pools would only race with each other. Read when the libraries load.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np  # noqa: E402

GRADIENT = "value and gradient"
PRODUCT = "Hessian-vector product"
TRIDIAGONAL = "tridiagonal Hessian"
STEP = "training step"

MODULES = {
    "numba": "replay_race.with_numba",
    "scipy": "replay_race.with_scipy",
    "casadi": "replay_race.with_casadi",
    "jax": "replay_race.with_jax",
    "torch": "replay_race.with_torch",
    "autograd": "replay_race.with_autograd",
}


def numbers(result):
    """(value, gradient) as a float and a flat array; what is no pair, as a flat array. Copies."""
    if isinstance(result, tuple):
        return float(result[0]), np.array(result[1], dtype=float).ravel()
    return np.array(result, dtype=float).ravel()


@dataclass
class Contestant:
    """`build()` prepares and returns `run`, and `run(convert(point))` does the task once.

    `read` makes plain numbers of what run returns; neither it nor `convert` is timed.
    """

    name: str
    build: Callable[[], Callable[[Any], Any]]
    task: str = GRADIENT
    convert: Callable[[np.ndarray], Any] = np.array
    read: Callable[[Any], Any] = numbers
    facts: Callable[[], dict[str, Any]] = dict  # after a run: instructions and the like


def load(names, say):
    """The modules of the wanted peers, and the names of those that are not installed."""
    found, missing = {}, []
    for name in names:
        try:
            found[name] = import_module(MODULES[name])
        except ImportError as error:
            say(f"{name}: skipped, not installed ({error})")
            missing.append(name)
    return found, missing
