"""NumPy itself, a call for each operation; derivatives by its formula, written out."""

import numpy as np

from . import CALLED, CALLED_GRADIENT, INPUTS, Contestant

PACKAGES = ("numpy", "scipy")


def contestants(operation, size):
    groups = operation.operands(size)
    value, vjp = operation.value, operation.vjp
    seed = np.ones(np.shape(value(*groups[0])))

    def run():
        for group in groups:
            value(*group)

    def differentiate():
        for group in groups:
            z = value(*group)
            vjp(seed, z, *group)

    expected = operation.expected(groups)
    yield Contestant("NumPy", CALLED, run, INPUTS, lambda: expected[:1])
    yield Contestant("NumPy", CALLED_GRADIENT, differentiate, INPUTS, lambda: expected)
