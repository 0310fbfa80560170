"""What `passes.py` sends through the passes: the public workloads as their users wrote them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from replay_race import ours
from replay_race.problems import problem
from workloads import advection, ar5, dlstm, fill, garch, written_with

POINTS = 8  # take turns: every call gets new inputs


@dataclass
class Program:
    """A function of one argument, and points to differentiate it at."""

    title: str
    function: Callable[[Any], Any]
    points: list[Any]


def near(point):
    """Points around one, which may be a tree of arrays."""
    return [scaled(point, 1.0 + 1e-4 * k) for k in range(POINTS)]


def scaled(point, factor):
    if isinstance(point, (tuple, list)):
        return type(point)(scaled(x, factor) for x in point)
    return point * factor


def of_replay(name, how, title):
    """A program of `replay.py`, "scalar loop" or "vector"."""
    raced = problem(name)
    (found,) = (p for p in ours.programs(raced) if p.how == how)
    points = [found.convert(x) for x in raced.points]
    return Program(title, found.function, points)


def forecast(name, scanned=False):
    import ndtape as nt

    data = dlstm.read(name)
    loss = dlstm.scanned(nt.scan) if scanned else dlstm.loop
    how = "nt.scan" if scanned else "loop"

    def function(parameters):
        return loss(parameters, data.state, data.bits)

    return Program(f"D-LSTM {name}, {how}", function, near((data.main, data.extra)))


def series(module, times, title):
    data = module.read(times)

    def function(parameters):
        if module is garch:
            return garch.log_likelihood(parameters, *data)
        return ar5.log_posterior(parameters, data)

    return Program(title, function, near(np.array(module.POINT)))


def advected(scheme, steps, title):
    import ndtape as nt

    # Its np.empty makes arrays that recorded numbers can be written to.
    run = getattr(written_with("advection", nt.numpy), scheme)

    def function(field):
        return run(field, steps)

    return Program(title, function, near(advection.start()))


LOOP, VECTOR = "scalar loop", "vector"
# By name: the number of the workload, and how to make the program.
PROGRAMS = {
    "dlstm": ("01", lambda: forecast("l2_c1024")),
    "dlstm_scan": ("01", lambda: forecast("l2_c1024", True)),
    **{
        f"gmm_{size}": ("02", lambda size=size: of_replay(f"gmm_{size}", VECTOR, f"GMM {size}"))
        for size in ("d2_K5", "d10_K10", "d20_K25")
    },
    "moons": ("05", lambda: of_replay("moons", LOOP, "moons, scalar neurons")),
    "garch_200": ("08", lambda: series(garch, 1, "GARCH, T = 200")),
    "garch_10000": ("08", lambda: series(garch, 50, "GARCH, T = 10 000")),
    "ar5_200": ("08", lambda: series(ar5, 1, "AR(5), T = 200")),
    "ar5_10000": ("08", lambda: series(ar5, 50, "AR(5), T = 10 000")),
    "lynx_hare": ("09", lambda: of_replay("lynx_hare", LOOP, "lynx and hare")),
    "cascade": ("09", lambda: of_replay("cascade_100", LOOP, "cascade, n = 100, loop")),
    "cascade_vector": ("09", lambda: of_replay("cascade_100", VECTOR, "cascade, n = 100, vector")),
    "lax_wendroff": (
        "10", lambda: advected("lax_wendroff", 200, "Lax-Wendroff, 200 steps, scalars")
    ),
    "lax_wendroff_slices": (
        "10", lambda: advected("lax_wendroff_slices", 2000, "Lax-Wendroff, 2000, slices")
    ),
    "toon": ("10", lambda: advected("toon", 200, "Toon, 200 steps, scalars")),
    "toon_slices": ("10", lambda: advected("toon_slices", 200, "Toon, 200 steps, slices")),
    **{
        f"{kind.lower()}_{n}{suffix}": (
            "12",
            lambda kind=kind, n=n, how=how: of_replay(
                f"{kind.lower()}_{n}", how, f"{kind}, n = {n}, {how.split()[-1]}"
            ),
        )
        for kind in ("Rosenbrock", "Ackley")
        for n in (2, 100, 10_000, 100_000)
        for how, suffix in ((LOOP, ""), (VECTOR, "_vector"))
    },
}  # fmt: skip
QUICK = ["gmm_d2_K5", "garch_200", "cascade", "rosenbrock_100", "rosenbrock_100_vector"]


def program(name):
    return PROGRAMS[name][1]()


def small(title="a small one"):
    """A program for tests: scalars with something for most passes to do."""

    def function(x):
        total = 0.0
        for k in range(3):
            total = total + x[k] * x[k + 1] * 1.0 + (x[k] * x[k + 1]) * 2.0
        return total

    return Program(title, function, near(1.0 + fill(4)))
