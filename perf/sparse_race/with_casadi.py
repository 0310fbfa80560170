"""CasADi: an SX function whose result is the sparse matrix, built once."""

from types import SimpleNamespace

import casadi
import numpy
from scipy import sparse

from . import Contestant, programs, written_with

PACKAGES = ("casadi",)
LARGEST = {("scalars", "jacobian"): 10_000, ("arrow", "jacobian"): 2000}  # else minutes to build


def concatenate(parts, axis=0):
    return casadi.vertcat(*parts) if axis == 0 else casadi.horzcat(*parts)


def reshape(x, shape):
    """In NumPy's order, which is row by row."""
    if len(shape) == 1:
        return casadi.vec(x.T)
    rows, columns = shape
    return casadi.reshape(x, columns, rows).T


def zeros(shape):
    return casadi.DM.zeros(*(shape if isinstance(shape, tuple) else (shape,)))


STAND_IN = SimpleNamespace(
    concatenate=concatenate,
    stack=lambda parts: casadi.vertcat(*parts),
    reshape=reshape,
    zeros=zeros,
    arange=numpy.arange,
    sum=lambda x: casadi.sum1(casadi.vec(x)),
    **{name: getattr(casadi, name) for name in ("exp", "sin", "cos", "sqrt")},
)


def contestants(problem):
    if problem.unknowns > LARGEST.get((problem.kind, problem.task), 10**6):
        return
    program = problem.program(written_with(programs.__name__, np=STAND_IN))

    def build():
        x = casadi.SX.sym("x", problem.unknowns)
        y = program(x)
        matrix = casadi.jacobian(y, x) if problem.task == "jacobian" else casadi.hessian(y, x)[0]
        return casadi.Function("matrix", [x], [matrix])

    def read(matrix):
        pattern = matrix.sparsity()
        parts = (numpy.array(matrix.nonzeros()), pattern.row(), pattern.colind())
        return sparse.csc_array(parts, shape=matrix.shape)

    yield Contestant("CasADi", build, casadi.DM, read)
