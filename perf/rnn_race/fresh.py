"""What is done in processes of its own: a first gradient, or one whose memory is measured.

Run as a script it is the child, which imports nothing besides what its task needs.

    python perf/rnn_race/fresh.py gradient dlstm_l2_c1024 ndtape "ndtape, scan"
    python perf/rnn_race/fresh.py memory "√T" 100000
"""

import os
import sys
import time


def printed_by(*arguments):
    """The words that a child prints."""
    import subprocess

    # Python's cache of compiled modules is one of the warm caches.
    caching = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, __file__, *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, env=caching)
    if finished.returncode:
        raise RuntimeError(f"{command} failed:\n{finished.stderr}")
    return finished.stdout.split()


def seconds_to_gradient(name, module, contestant):
    """From the start of an interpreter to its first gradient; the second of two has warm caches."""
    for _ in range(2):
        start = time.time()
        end = float(printed_by("gradient", name, module, contestant)[-1])
    return round(end - start, 3)


def gradient(name, module_name, contestant):
    """One gradient in this fresh process; prints when it was there."""
    from importlib import import_module

    import rnn_race

    modules = {"ndtape": "rnn_race.ours", **rnn_race.MODULES}
    if name.startswith("asian"):
        from lanes_race import MODULES as modules
        from lanes_race.problems import problem as problem_of
    elif name.startswith("dlstm"):
        from rnn_race.forecast import Forecast as problem_of
    else:
        from rnn_race.problems import problem as problem_of
    problem = problem_of(name)
    module = import_module(modules[module_name])
    (entry,) = (e for e in module.contestants(problem) if e.name == contestant)
    entry.build()(entry.convert(problem.points[0]))
    print(time.time())


def memory(schedule, steps):
    from rnn_race import memory

    print(*memory.measured(schedule, int(steps)))


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(sys.path[0])  # perf in the place of this package
    {"gradient": gradient, "memory": memory}[sys.argv[1]](*sys.argv[2:])
