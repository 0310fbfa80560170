"""ndtape's own contestants: each program recorded once by `nt.function`, then replayed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from workloads import ackley, cascade, gmm, lynx_hare, moons, rosenbrock, tridiagonal

import ndtape as nt

from . import PRODUCT, STEP, TRIDIAGONAL, Contestant, numbers

PACKAGES = ("ndtape", "numpy", "numba", "llvmlite")
CHAINS = {"rosenbrock": rosenbrock, "ackley": ackley, "cascade": cascade}
LARGEST_TRIDIAGONAL = 10_000


@dataclass
class Program:
    """A function of one argument, a tree that `convert` makes of a flat point."""

    how: str
    function: Callable[[Any], Any]
    convert: Callable[[np.ndarray], Any] = np.array
    to_flat: Callable[[Any], np.ndarray] = np.array


def programs(problem):
    if problem.kind in CHAINS:
        module = CHAINS[problem.kind]
        yield Program("scalar loop", module.loop)
        yield Program("vector", module.vector)
    elif problem.kind == "gmm":
        data = gmm.read(problem.size)
        f = gmm.objective(data.x, data.gamma, data.m)
        yield Program("vector", f, data.split, gmm.joined)
    elif problem.kind == "lynx_hare":
        yield Program("scalar loop", lynx_hare.objective(lynx_hare.read()))
    elif problem.kind == "moons":
        points, labels = moons.make_points()

        def loss(network):
            return moons.loss(network, points, labels)

        yield Program("scalar loop", loss, network_of, moons.to_vector)


def network_of(point):
    """Lists of plain floats, as a user draws them."""
    return moons.from_vector(point.tolist() if isinstance(point, np.ndarray) else point)


def contestants(problem):
    for program in programs(problem):
        yield gradient(program)
        if program.convert is np.array:
            yield gradient_into(program, np.zeros(problem.points[0].size))
        yield product(program, problem.direction)
        if problem.kind == "rosenbrock" and 2 < problem.size <= LARGEST_TRIDIAGONAL:
            yield tridiagonal_hessian(program, problem.size)
        if problem.kind == "moons":
            yield training_step(program)


def traced(program):
    """The program's function, as new: nt.function gives the same object for the same function."""
    function = nt.function(program.function)
    function.clear()
    return function


def instructions(function):
    """On all tapes of a traced function."""
    tapes = getattr(function, "tapes", [])
    return {"tapes": len(tapes), "instructions": sum(len(tape) for tape in tapes)}


def gradient(program):
    made = []

    def build():
        made.append(traced(program))
        return nt.value_and_grad(made[-1])

    def read(result):
        return float(result[0]), program.to_flat(result[1])

    name = f"ndtape, {program.how}"
    return Contestant(
        name, build, convert=program.convert, read=read, facts=lambda: instructions(made[-1])
    )


def gradient_into(program, buffer):
    """The same call, the gradient written into memory that the caller keeps."""

    def build():
        call = nt.value_and_grad(traced(program))
        return lambda x: call(x, out=buffer)

    def read(result):
        return float(result[0]), buffer.copy()

    return Contestant(f"ndtape, {program.how}, out=", build, read=read)


def product(program, direction):
    tangents = (program.convert(direction),)

    def build():
        function = traced(program)
        return lambda x: nt.hvp(function, (x,), tangents)[2]

    def read(result):
        return program.to_flat(result[0])

    return Contestant(f"ndtape, {program.how}", build, PRODUCT, program.convert, read)


def tridiagonal_hessian(program, size):
    seeds = tridiagonal.seeds(size)

    def build():
        function = traced(program)

        def run(x):
            products = [nt.hvp(function, (x,), (v,))[2][0] for v in seeds]
            return np.concatenate(tridiagonal.from_products(products))

        return run

    return Contestant(f"ndtape, {program.how}", build, TRIDIAGONAL, read=numbers)


def training_step(program):
    """Gradient and update, from a network of numbers to the next one."""

    def build():
        call = nt.value_and_grad(traced(program))

        def run(network):
            _, gradient = call(network)
            return moons.descended(network, gradient, 1.0)

        return run

    return Contestant(f"ndtape, {program.how}", build, STEP, program.convert, program.to_flat)
