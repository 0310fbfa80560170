"""The contestants of `lanes.py`: many rows of one program, a module a library.

A module has `PACKAGES` and `contestants(problem)`, as in `rnn_race`, whose `Contestant` they are.
All run on one thread, except ours and CasADi's that say otherwise.
"""

from importlib import import_module

from rnn_race import Contestant as Contestant
from rnn_race import written_with as written_with  # which sets the numbers of threads

MODULES = {
    "numpy": "lanes_race.with_numpy",
    "ndtape": "lanes_race.ours",
    "jax": "lanes_race.with_jax",
    "casadi": "lanes_race.with_casadi",
    "torch": "lanes_race.with_torch",
}


def load(names, say):
    """The modules of ours, of the hand-written ones and of wanted peers; names that are missing."""
    found, missing = {}, []
    for name in MODULES:
        if name not in names and name not in ("numpy", "ndtape"):
            continue
        try:
            found[name] = import_module(MODULES[name])
        except ImportError as error:
            say(f"{name}: skipped, not installed ({error})")
            missing.append(name)
    return found, missing
