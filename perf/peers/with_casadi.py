"""CasADi SX: a symbolic graph interpreted by a virtual machine, built once and replayed.

Its ordinary call converts arguments and results; `buffer()` gives the copy-free call. Both run the
same function, which returns the value and the gradient.
"""

import casadi
import numpy as np

from peers import REPLAY, Contestant, prepared

PACKAGES = ("casadi",)
LARGEST = 200_000  # building costs 10 to 15 microseconds an operation


def build_function(problem, size):
    variables = casadi.SX.sym("x", len(problem.inputs(size)))
    values = [variables[i] for i in range(variables.numel())]
    result = problem.program(size)(values, casadi.sin)
    return casadi.Function("f", [variables], [result, casadi.gradient(result, variables)])


def buffered(function, inputs):
    """A callable that evaluates through preallocated memory."""
    value, gradient = np.zeros(1), np.zeros(inputs.size)
    buffer, trigger = function.buffer()
    buffer.set_arg(0, memoryview(inputs))
    buffer.set_res(0, memoryview(value))
    buffer.set_res(1, memoryview(gradient))

    def run(keep=buffer):  # the trigger does not keep its buffer alive
        trigger()
        return value[0], gradient

    return run


def contestants(problem, size, patience):
    if problem.operations(size) > LARGEST * patience:
        return
    inputs = np.array(problem.inputs(size))
    functions = []

    def build_and_buffer():
        functions.append(build_function(problem, size))
        return buffered(functions[0], inputs)

    def call():
        value, gradient = functions[0](inputs)
        return float(value), gradient.full().ravel()

    yield prepared("CasADi buffer()", REPLAY, build_and_buffer)
    yield Contestant("CasADi call", REPLAY, call)
