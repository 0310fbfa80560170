"""The contestants of `rnn.py` and `dlstm.py`, a module a library behind one small interface.

A module has `PACKAGES` (distributions whose versions are reported) and `contestants(problem)`,
which yields what it can do about a problem in reasonable time. A module whose library is not
installed is skipped with a message.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any

# One thread each: thread pools would only race with each other. Read when the libraries load.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np  # noqa: E402

MODULES = {
    "numba": "rnn_race.with_numba",
    "jax": "rnn_race.with_jax",
    "torch": "rnn_race.with_torch",
    "autograd": "rnn_race.with_autograd",
}


def numbers(result):
    """(value, gradient) as a float and a list of arrays, which are copies."""
    return float(result[0]), [np.array(part) for part in result[1]]


@dataclass
class Contestant:
    """`build()` prepares and returns `run`; `run(convert(parameters))` is value and gradient.

    `read` makes plain numbers of what run returns; neither it nor `convert` is timed.
    """

    name: str
    build: Callable[[], Callable[[Any], Any]]
    convert: Callable[[Any], Any] = tuple
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


def written_with(name, **names):
    """The module `name` once more, in which `names` stand for others: `np`, `sigmoid`."""
    specification = find_spec(name)
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    vars(module).update(names)
    return module
