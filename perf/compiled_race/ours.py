"""ndtape's own contestants: the compiled recorder, its plain function, the replayed tape, eager."""

import numpy as np
from workloads import njit

import ndtape as nt
from ndtape.compiled.gradients import record

from . import GRADIENT, PRIMAL, RECORD, Contestant
from .problems import CHAIN

PACKAGES = ("ndtape", "numpy", "numba", "llvmlite")
LARGEST_REPLAYED = 120_000  # operations: recording in Python costs a microsecond each
LARGEST_EAGER = {CHAIN: 1_200_000}
LARGEST_EAGER_OTHERS = 300_000
NUMBA, PLAIN, COMPILED = "Numba", "ndtape, plain", "ndtape, compiled"
REPLAYED, EAGER = "ndtape, replayed", "ndtape, eager"


class Library:
    """What takes the place of NumPy where a program is recorded from Python: ndtape's functions."""

    def __getattr__(self, name):
        return getattr(nt, name, None) or getattr(np, name)


def contestants(problem):
    yield plain(NUMBA, problem, njit)
    yield plain(PLAIN, problem, nt.jit)
    yield from recorded(problem)
    yield compiled(problem)
    if problem.operations <= LARGEST_REPLAYED:
        yield replayed(problem)
    if problem.operations <= LARGEST_EAGER.get(problem.program.form, LARGEST_EAGER_OTHERS):
        yield eager(problem)


def plain(name, problem, compile_with):
    return Contestant(name, PRIMAL, lambda: compile_with(problem.function), read=float)


def compiled(problem):
    def build():
        return nt.value_and_grad(nt.jit(problem.function), argnums=problem.argnums)

    return Contestant(COMPILED, GRADIENT, build)


def recorded(problem):
    """Recording alone: all but the sweep."""

    def build():
        jitted = nt.jit(problem.function)
        return lambda *arguments: record(jitted, arguments, problem.argnums)

    yield Contestant(COMPILED, RECORD, build, read=float)


def replayed(problem):
    def build():
        function = nt.function(problem.function_with(Library()))
        return nt.value_and_grad(function, argnums=problem.argnums)

    return Contestant(REPLAYED, GRADIENT, build)


def eager(problem):
    def build():
        return nt.value_and_grad(problem.function_with(Library()), argnums=problem.argnums)

    return Contestant(EAGER, GRADIENT, build)
