"""HIPS autograd: the pure-Python tape that NumPy users know."""

import autograd.numpy as anp
import numpy as np
from autograd import hessian_vector_product, value_and_grad
from workloads import gmm, lynx_hare, moons, written_with

from . import PRODUCT, Contestant

PACKAGES = ("autograd",)
LONGEST_LOOP = 100  # indexing a recorded array costs a whole array on the way back


def programs(problem):
    if problem.kind in ("rosenbrock", "ackley", "cascade"):
        module = written_with(problem.kind, anp)
        if problem.kind != "cascade" and problem.size <= LONGEST_LOOP:
            yield "scalar loop", module.loop
        yield "vector", module.vector
    elif problem.kind == "gmm":
        data = gmm.read(problem.size)
        f = written_with("gmm", anp).objective(data.x, data.gamma, data.m)
        yield "vector", lambda x: f(split(data, x))
    elif problem.kind == "moons":
        points, labels = map(np.array, moons.make_points())
        module = written_with("moons", anp)
        yield "vector", lambda p: module.matrix_loss(p, points, labels)
    elif problem.kind == "lynx_hare":
        yield "scalar loop", written_with("lynx_hare", anp).objective(lynx_hare.read())


def split(data, x):
    K, D = data.means.shape
    return x[:K], x[K : K + K * D].reshape(K, D), x[K + K * D :].reshape(K, -1)


def contestants(problem):
    for how, f in programs(problem):
        name = f"autograd, {how}"
        yield Contestant(name, lambda f=f: value_and_grad(f))

        def build(f=f):
            multiply = hessian_vector_product(f)
            return lambda x: multiply(x, problem.direction)

        yield Contestant(name, build, PRODUCT)
