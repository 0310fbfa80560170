"""SciPy's hand-written derivatives of Rosenbrock's function."""

import numpy as np
from scipy.optimize import rosen, rosen_der, rosen_hess_prod
from workloads import tridiagonal

from . import PRODUCT, TRIDIAGONAL, Contestant

PACKAGES = ("scipy",)


def contestants(problem):
    if problem.kind != "rosenbrock":
        return
    yield Contestant("SciPy, by hand", lambda: lambda x: (rosen(x), rosen_der(x)))
    v = problem.direction
    yield Contestant("SciPy, by hand", lambda: lambda x: rosen_hess_prod(x, v), PRODUCT)
    if problem.size > 2:

        def build():
            return lambda x: np.concatenate(tridiagonal.rosenbrock(x))

        yield Contestant("NumPy, by hand", build, TRIDIAGONAL)
