"""Particle and saddle: derivatives of derivatives through loops that end when the numbers say so.

Every combination of forward (F) and reverse (R), outer then inner. JAX's programs are in
`nested_jax.py`: its loops have no reverse derivative.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from timing import say
from workloads import GOLDEN, distance, written_with
from workloads import particle as particle_program
from workloads import saddle as saddle_program

MODES = ("RR", "RF", "FR", "FF")
PROGRAMS = {
    "particle": (particle_program.particle, "particle_w"),
    "saddle": (saddle_program.saddle, "saddle"),
}


@dataclass
class Nested:
    """`run()` does the whole program; `facts()` tells of the tapes."""

    name: str
    run: Callable[[], object]
    facts: Callable[[], dict] = dict


def along_axes(jvp):
    """The gradient of a function of a list, one tangent a variable."""

    def forward(f):
        def gradient(x):
            axes = [[float(i == k) for i in range(len(x))] for k in range(len(x))]
            return [jvp(f, x, axis) for axis in axes]

        return gradient

    return forward


def with_ndtape(problem):
    import ndtape as nt

    gradients = {
        "R": nt.grad,
        "F": along_axes(lambda f, x, axis: nt.jvp(f, (x,), (axis,))[1]),
    }
    program, _ = PROGRAMS[problem]
    for outer, inner in MODES:
        made = []

        def traced(f, made=made):
            made.append(nt.function(f))
            return made[-1]

        def run(outer=outer, inner=inner, traced=traced):
            return program(gradients[outer], gradients[inner], traced)

        def facts(made=made):
            tapes = getattr(made[-1], "tapes", [])
            return {"tapes": len(tapes), "instructions": sum(map(len, tapes))}

        yield Nested(f"ndtape, {outer}{inner}", run, facts)


def with_autograd(problem):
    import autograd.numpy as anp
    from autograd import grad

    descent = written_with("descent", anp)
    module = written_with(problem, anp)
    module.minimise = descent.minimise
    yield Nested("autograd, RR", lambda: getattr(module, problem)(grad, grad))


def with_jax(problem):
    from . import nested_jax

    yield Nested(f"JAX jit, {nested_jax.MODES[problem]}", lambda: nested_jax.PROGRAMS[problem]())


CONTESTANTS = {"ndtape": with_ndtape, "jax": with_jax, "autograd": with_autograd}
SLOW = 3.0  # seconds: what takes longer is run once


def measure(problem, names):
    """One row a contestant: seconds of the first run of the program, and of a second one."""
    golden = GOLDEN[PROGRAMS[problem][1]]
    for name in names:
        try:
            entries = list(CONTESTANTS[name](problem))
        except ImportError as error:
            say(f"{name}: skipped, not installed ({error})")
            continue
        for entry in entries:
            say(f"{problem}, {entry.name}")
            first, found = timed(entry.run)
            off = distance(np.array(found, dtype=float), golden)
            if not off < 1e-10:
                raise AssertionError(f"{entry.name}: {problem} is {off:.1e} from the golden one")
            second = timed(entry.run)[0] if first < SLOW else None
            yield {
                "problem": problem,
                "contestant": entry.name,
                "first": round(first, 5),
                "second": second and round(second, 5),
                "unit": "s",
                **entry.facts(),
            }


def timed(run):
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found
