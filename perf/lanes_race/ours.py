"""ndtape's own contestants: `nt.vmap` of the program of one row, on one thread and on two."""

import numpy as np

import ndtape as nt

from . import Contestant, programs, written_with

PACKAGES = ("ndtape", "numpy", "numba", "llvmlite")
THREADS = (1, 2)


def contestants(problem):
    module = written_with(programs.__name__, exp=nt.exp, sin=nt.sin, sqrt=nt.sqrt,
                          maximum=nt.maximum)  # fmt: skip
    for threads in THREADS:
        name = f"ndtape, {threads} thread{'s' * (threads > 1)}"
        if problem.kind == "asian":
            yield asian(name, problem, module.asian, threads)
        else:
            yield chain(name, problem, problem.unrolled(module), threads)


def on(threads, run):
    """`run` with this number of threads, and one again afterwards."""

    def threaded(argument):
        nt.set_num_threads(threads)
        try:
            return run(argument)
        finally:
            nt.set_num_threads(1)

    return threaded


def fresh(program, made):
    """A traced function that has no tapes yet: `nt.function` gives the same for the same code."""
    made[:] = [nt.function(program)]
    made[0].clear()
    return made[0]


def instructions(made):
    return {"instructions": sum(len(tape) for tape in made[0].tapes)}


def chain(name, problem, program, threads):
    made = []

    def build():
        f = fresh(program, made)
        call = nt.vmap(f if problem.task == "value" else nt.value_and_grad(f, (0, 1, 2)))
        return on(threads, lambda point: call(*point))

    def read(result):
        value, slopes = (result, ()) if problem.task == "value" else result
        return np.array(value), list(map(np.array, slopes))

    return Contestant(name, build, read=read, facts=lambda: instructions(made))


def asian(name, problem, program, threads):
    made, z = [], problem.z

    def build():
        f = fresh(program, made)
        if problem.task == "paths":
            each = nt.vmap(nt.value_and_grad(f), (None, 0))
            return on(threads, lambda p: each(p, z))
        rows = nt.vmap(f, (None, 0))
        total = nt.function(lambda p: np.mean(rows(p, z)))
        return on(threads, nt.value_and_grad(total))

    def read(result):
        return np.array(result[0]), [np.array(result[1])]

    return Contestant(name, build, np.array, read, lambda: instructions(made))
