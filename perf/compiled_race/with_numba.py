"""Gradients written by hand, compiled by Numba: the floor that a recorder is held to."""

from . import GRADIENT, Contestant

PACKAGES = ("numba",)


def contestants(problem):
    yield Contestant("hand Numba", GRADIENT, lambda: problem.by_hand)
