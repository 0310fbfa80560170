"""HIPS autograd: the pure-Python tape that NumPy users know."""

import autograd.numpy
from autograd import value_and_grad

from peers import RECORD, Contestant

PACKAGES = ("autograd",)
LARGEST = 30_000


def contestants(problem, size, patience):
    if problem.operations(size) > LARGEST * patience:
        return
    program, inputs = problem.program(size), problem.inputs(size)
    differentiate = value_and_grad(lambda values: program(values, autograd.numpy.sin))
    yield Contestant("autograd", RECORD, lambda: differentiate(inputs))
