"""The two loops that are written by hand for each cell, see `hand`."""

from importlib import import_module

import numpy as np

from . import Contestant
from .hand import single

PACKAGES = ("numba",)
CELLS = ("rnn", "gru", "lstm")
NAMES = {
    False: "hand Numba, outer products in the loop",
    True: "hand Numba, weight gradient as one product",
}


def contestants(problem):
    if problem.cell in CELLS:
        for apart in (False, True):
            yield gradient(problem, apart)


def gradient(problem, apart):
    cell = import_module(f"rnn_race.hand.{problem.cell}")
    loop = cell.gradient if problem.B > 1 else getattr(single, problem.cell)
    state, xs = problem.data

    def convert(parameters):
        """Matrices the other way round."""
        return tuple(np.ascontiguousarray(part.T) for part in parameters)

    def build():
        kept = cell.room(xs, problem.H)
        slopes = tuple(np.empty_like(part) for part in convert(problem.points[0]))

        def run(weights):
            value = loop(weights, slopes, state, xs, problem.every, apart, kept)
            return value, slopes

        return run

    def read(result):
        return float(result[0]), [part.T.copy() for part in result[1]]

    return Contestant(NAMES[apart], build, convert, read)
