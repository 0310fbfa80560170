"""ndtape's own contestants: the Python loop recorded and replayed, and the loop by `nt.scan`."""

import ndtape as nt

from . import Contestant, written_with

PACKAGES = ("ndtape", "numpy", "numba", "llvmlite")


def contestants(problem):
    module = written_with(problem.module, sigmoid=nt.sigmoid)
    yield gradient("ndtape, unrolled", problem, problem.unrolled(module))
    yield gradient("ndtape, scan", problem, problem.scanned(nt.scan, module))


def instructions(function):
    """On all tapes of a traced function."""
    return {"instructions": sum(len(tape) for tape in function.tapes)}


def gradient(name, problem, loss):
    state, xs = problem.data
    made = []

    def build():
        made[:] = [nt.function(loss)]
        made[0].clear()  # nt.function gives the same object for the same function
        call = nt.value_and_grad(made[0])
        return lambda parameters: call(parameters, state, xs)

    return Contestant(name, build, facts=lambda: instructions(made[0]))
