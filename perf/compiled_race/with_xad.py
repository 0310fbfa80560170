"""XAD: a C++ expression tape driven from Python; it evaluates as it records, and has no replay."""

from types import SimpleNamespace

import numpy as np
import xad.adj_1st as xadj
import xad.math

from . import GRADIENT, Contestant
from .problems import ARRAYS

PACKAGES = ("xad",)
LARGEST = 2_500_000  # operations, half a microsecond each


def empty(shape):
    """An array that can hold XAD's numbers."""
    return np.full(shape, 0.0, dtype=object)


LIBRARY = SimpleNamespace(
    sin=xad.math.sin, exp=xad.math.exp, log=xad.math.log, sqrt=xad.math.sqrt, empty=empty
)


def registered(tape, argument):
    """(argument of XAD's numbers, these numbers in a list)."""
    values = [xadj.Real(value) for value in np.ravel(argument).tolist()]
    for value in values:
        tape.registerInput(value)
    if np.ndim(argument) == 0:
        return values[0], values
    shaped = empty(np.shape(argument))
    shaped.ravel()[:] = values
    return shaped, values


def contestants(problem):
    if problem.program.form == ARRAYS or problem.operations > LARGEST:
        return

    def build():
        function = problem.function_with(LIBRARY)

        def run(*arguments):
            with xadj.Tape() as tape:
                pairs = [registered(tape, a) for a in arguments[: problem.moving]]
                tape.newRecording()
                result = function(*(a for a, _ in pairs), *arguments[problem.moving :])
                tape.registerOutput(result)
                result.derivative = 1.0
                tape.computeAdjoints()
                return result.value, [value.derivative for _, leaves in pairs for value in leaves]

        return run

    def convert(point):
        """Series as lists: a NumPy number times one of XAD's would be slow."""
        return tuple(
            a.tolist() if k >= problem.moving and isinstance(a, np.ndarray) else a
            for k, a in enumerate(point)
        )

    yield Contestant("XAD", GRADIENT, build, convert)
