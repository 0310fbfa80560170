"""HIPS autograd: the pure-Python tape that NumPy users know."""

import autograd.numpy as anp
from autograd import value_and_grad
from autograd.scipy.special import expit

from . import Contestant, written_with

PACKAGES = ("autograd",)
LONGEST = 10_000  # cells, layers by steps; a thousand take seconds


def contestants(problem):
    if problem.T * problem.layers > LONGEST:
        return
    module = written_with(problem.module, np=anp, sigmoid=expit)
    loss, (state, xs) = problem.unrolled(module), problem.data
    call = value_and_grad(loss)
    yield Contestant("autograd, unrolled", lambda: lambda parameters: call(parameters, state, xs))
