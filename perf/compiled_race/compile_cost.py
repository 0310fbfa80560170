"""What compiling costs: the plain function, and its recording variant, from nothing to warm caches.

Every figure is the time of a first call on small data, in a child process whose caches are in a
folder of its own (`NUMBA_CACHE_DIR`). For each program there are, in seconds:

- plain, primed: the plain function and the gradient, after others that met the same overloads
- new: the gradient in a fresh process; ndtape's own machine code is in the cache, the user's not
- warm: the same once more, everything in the cache
- from nothing: an empty cache; it has the machine code of ndtape in it, compiled once for all
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import value_and_flat
from .problems import CHAIN, KINDS, problem

SCRIPT = Path(__file__).parent.parent / "compiled.py"
THIRTY = "thirty"
THIRTY_POINT = (100.0, 105.0, 0.05, 0.25, 0.02, 1.0), (20,)
FRESH = ["circle", "garch", "toon_loop", "stochastic_volatility_arrays", THIRTY]
QUICK = ["circle", THIRTY]
PROGRAMS = [*KINDS, THIRTY]


def small(name):
    """(function, arguments, argnums) of a program on little data."""
    if name == THIRTY:
        from .programs.thirty import option

        moving, still = THIRTY_POINT
        return option, (*moving, *still), tuple(range(len(moving)))
    kind = KINDS[name]
    found = problem(f"{name}_{800 if kind.form == CHAIN else min(kind.sizes)}")
    return found.function, found.points[0], found.argnums


def seconds_of_first(build, arguments):
    """Building, compiling and one call."""
    start = time.perf_counter()
    result = build()(*arguments)
    return time.perf_counter() - start, result


# --- in the child ---------------------------------------------------------------------------------


def first_gradient(name):
    """Seconds of the first gradient in this process; imports are not counted."""
    import ndtape as nt

    function, arguments, argnums = small(name)

    def build():
        return nt.value_and_grad(nt.jit(function), argnums=argnums)

    seconds, result = seconds_of_first(build, arguments)
    check_not_zero(name, result)
    return {"seconds": seconds}


def compiled_after_others(names):
    """By name: seconds for the plain function and for recording, all overloads compiled before."""
    from workloads import njit

    import ndtape as nt

    found = {}
    for name in [*names, *names]:  # the first turn primes the overloads that each one needs
        function, arguments, argnums = small(name)
        plain, _ = seconds_of_first(lambda f=function: njit(f), arguments)

        def build(f=function, argnums=argnums):
            return nt.value_and_grad(nt.jit(f, cache=False), argnums=argnums)

        recording, result = seconds_of_first(build, arguments)
        check_not_zero(name, result)
        found[name] = {"plain": plain, "primed": recording}
    return found


def check_not_zero(name, result):
    _, gradient = value_and_flat(result)
    if not gradient.any():
        raise AssertionError(f"{name}: the gradient is zero")


def be_the_child(task, names):
    """Prints the answer as JSON, in the last line."""
    answer = compiled_after_others(names) if task == "primed" else first_gradient(names[0])
    print(json.dumps(answer))


# --- in the parent --------------------------------------------------------------------------------


def ask_a_child(task, names, folder):
    command = [sys.executable, str(SCRIPT), "--child", task, *names]
    environment = dict(os.environ)
    if folder is not None:
        environment["NUMBA_CACHE_DIR"] = folder
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if finished.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{finished.stderr[-3000:]}")
    return json.loads(finished.stdout.splitlines()[-1])


def measure(names, fresh, say):
    """A row a program: seconds, and how many times those of the plain function."""
    rows = {name: {"program": name, "title": title_of(name)} for name in names}
    say("compiling one after the other in one process")
    with tempfile.TemporaryDirectory() as folder:
        # An empty cache costs the machine code of ndtape itself, which these figures are not about.
        found_by_name = ask_a_child("primed", names, folder if fresh else None)
        for name, found in found_by_name.items():
            rows[name] |= {key: round(value, 4) for key, value in found.items()}
            rows[name]["ratio"] = round(found["primed"] / found["plain"], 3)
        # This folder has ndtape's own machine code now, and nothing of the functions.
        for name in fresh:
            say(f"compiling in fresh processes: {rows[name]['title']}")
            rows[name] |= in_fresh_processes(name, folder)
    return list(rows.values())


def in_fresh_processes(name, folder):
    """Seconds of the first gradient: compiled, from the cache, and without any cache before."""
    new, warm = (ask_a_child("first", [name], folder)["seconds"] for _ in range(2))
    with tempfile.TemporaryDirectory() as empty:
        nothing = ask_a_child("first", [name], empty)["seconds"]
    return {"new": round(new, 3), "warm": round(warm, 4), "from nothing": round(nothing, 3)}


def title_of(name):
    if name == THIRTY:
        return "a function of thirty lines"
    kind = KINDS[name]
    return f"{kind.title}, {kind.form}"
