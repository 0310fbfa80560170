"""Finding a pattern, in a process of its own: seconds, sweeps and memory.

python perf/sparse_race/detection.py tridiagonal_100000_jacobian
"""

import json
import os
import sys
import time

SMALL = 12  # the same function of few unknowns comes first: compiled code is there, in the cache


def measured(name):
    """What a child says of it."""
    import subprocess

    command = [sys.executable, __file__, name]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        raise RuntimeError(f"{command} failed:\n{finished.stderr}")
    return json.loads(finished.stdout)


def found(name):
    """The child: seconds to record the function, and from there to its pattern with colours."""
    import rnn_race  # noqa: F401, the numbers of threads
    from rnn_race.memory import forget_peak, now

    import ndtape as nt
    from sparse_race.ours import figures
    from sparse_race.problems import Problem, problem

    wanted = problem(name)
    small = Problem(wanted.kind, SMALL, wanted.task)
    nt.sparsity(nt.function(small.program()), of=small.task)(small.points[0])
    x = wanted.points[0]
    forget_peak()
    before, start = now("VmRSS"), time.perf_counter()
    f = nt.function(wanted.program())
    f(x)
    recorded = time.perf_counter()
    pattern = nt.sparsity(f, of=wanted.task)(x)
    end = time.perf_counter()
    peak = now("VmHWM")
    seconds = {"recording, s": round(recorded - start, 3), "s": round(end - recorded, 3)}
    sizes = {"peak, bytes": peak, "grown by, bytes": peak - before}
    return wanted.description | seconds | sizes | figures(pattern)


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(sys.path[0])  # perf in the place of this package
    print(json.dumps(found(sys.argv[1])))
