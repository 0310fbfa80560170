"""The contestants of `sparse.py`: sparse Jacobians and Hessians, a module a library.

A module has `PACKAGES` and `contestants(problem)`, as in `rnn_race`, whose `Contestant` they are.
"""

from importlib import import_module

from rnn_race import Contestant as Contestant
from rnn_race import written_with as written_with  # which sets the numbers of threads

MODULES = {
    "ndtape": "sparse_race.ours",
    "casadi": "sparse_race.with_casadi",
    "jax": "sparse_race.with_jax",
}


def load(names, say):
    """Ours and the modules of the wanted peers; the names of those that are not installed."""
    found, missing = {}, []
    for name, module in MODULES.items():
        if name not in names and name != "ndtape":
            continue
        try:
            found[name] = import_module(module)
        except ImportError as error:
            say(f"{name}: skipped, not installed ({error})")
            missing.append(name)
    return found, missing
