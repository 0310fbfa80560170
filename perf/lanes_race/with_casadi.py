"""CasADi: the program and its gradient as one SX function, evaluated for all rows by `map`."""

import casadi
import numpy as np

from . import Contestant, programs, written_with

PACKAGES = ("casadi",)
LONGEST = 10_000  # operations; building costs 10 to 15 microseconds each


def contestants(problem):
    if problem.operations > LONGEST:
        return
    module = written_with(programs.__name__, exp=casadi.exp, sin=casadi.sin, sqrt=casadi.sqrt,
                          maximum=casadi.fmax)  # fmt: skip
    if problem.kind == "asian":
        yield asian("CasADi map", problem, module.asian)
    else:
        yield chain("CasADi map", problem, problem.unrolled(module))


def chain(name, problem, program):
    def build():
        row = casadi.SX.sym("row", 3)
        value = program(*(row[k] for k in range(3)))
        results = [value]
        if problem.task == "gradient":
            results.append(casadi.gradient(value, row))
        return casadi.Function("rows", [row], results).map(problem.rows)

    def read(result):
        if problem.task == "value":
            return result.full()[0], []
        return result[0].full()[0], list(result[1].full())

    return Contestant(name, build, np.array, read)


def asian(name, problem, program):
    z = casadi.DM(problem.z.T)

    def build():
        p, row = casadi.SX.sym("p", 6), casadi.SX.sym("z", problem.dates)
        value = program(p, row)
        path = casadi.Function("path", [p, row], [value, casadi.gradient(value, p)])
        if problem.task == "mean":  # results are summed while they come
            total = path.map("total", "serial", problem.rows, [0], [0, 1])
            return lambda point: [part / problem.rows for part in total(point, z)]
        paths = path.map("paths", "serial", problem.rows, [0], [])
        return lambda point: paths(point, z)

    def read(result):
        value, slopes = (part.full() for part in result)
        if problem.task == "mean":
            return value[0, 0], [slopes[:, 0]]
        return value[0], [slopes.T]

    return Contestant(name, build, np.array, read)
