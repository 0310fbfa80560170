"""The contestants of `compiled.py`, a module a library behind one small interface.

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

PRIMAL = "plain function"
RECORD = "recording"
GRADIENT = "value and gradient"

MODULES = {
    "numba": "compiled_race.with_numba",
    "jax": "compiled_race.with_jax",
    "xad": "compiled_race.with_xad",
    "torch": "compiled_race.with_torch",
}


def flat(tree):
    """The numbers of a float, an array or a sequence of such, in one flat array: a copy."""
    if isinstance(tree, tuple | list):
        return np.concatenate([flat(part) for part in tree])
    return np.array(tree, dtype=float).ravel()


def value_and_flat(result):
    """(value, gradient) as a float and a flat array."""
    return float(result[0]), flat(result[1])


@dataclass
class Contestant:
    """`build()` prepares and returns `run`, and `run(*convert(arguments))` does the task once.

    `read` makes plain numbers of what run returns; neither it nor `convert` is timed.
    """

    name: str
    task: str
    build: Callable[[], Callable[..., Any]]
    convert: Callable[[tuple[Any, ...]], tuple[Any, ...]] = tuple
    read: Callable[[Any], Any] = value_and_flat


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
