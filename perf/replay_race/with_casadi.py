"""CasADi SX: a symbolic graph interpreted by a virtual machine, built once and replayed.

Its ordinary call converts arguments and results; `buffer()` gives the call without copies. Each
point has memory of its own that the buffer reads, so that nothing is copied there at all.
"""

import casadi
import numpy as np
from workloads import lynx_hare, moons, written_with

from . import PRODUCT, TRIDIAGONAL, Contestant

PACKAGES = ("casadi",)
LARGEST = 10_000  # building costs 10 to 15 microseconds an operation


def scalar_program(problem):
    """The scalar program on a list of symbols; its text is the one that everybody runs."""
    if problem.kind == "gmm":
        return None  # arrays of three axes, which SX has not
    module = written_with(problem.kind, casadi)
    if problem.kind == "moons":
        module.relu = lambda x: casadi.fmax(x, 0.0)
        points, labels = moons.make_points()
        return lambda x: module.loss(moons.from_vector(x), points, labels)
    if problem.kind == "lynx_hare":
        return module.objective(lynx_hare.read())
    return module.loop


def symbols(program, size):
    x = casadi.SX.sym("x", size)
    return x, program([x[i] for i in range(size)])


def buffered(function, point):
    """What evaluates `function` at `point` through memory of its own: trigger, results, ..."""
    point = np.array(point)
    results = [np.zeros(function.numel_out(k)) for k in range(function.n_out())]
    buffer, trigger = function.buffer()
    buffer.set_arg(0, memoryview(point))
    for k, result in enumerate(results):
        buffer.set_res(k, memoryview(result))
    return trigger, results, point, buffer  # the trigger does not keep these alive


def evaluate(place):
    place[0]()
    return place[1]


def last_result(result):
    return result.full().ravel()


def contestants(problem):
    program, size = scalar_program(problem), problem.points[0].size
    if program is None or size > LARGEST:
        return
    built = []

    def gradient_function():
        x, y = symbols(program, size)
        return casadi.Function("gradient", [x], [y, casadi.gradient(y, x)])

    def build_buffer():
        built.append(gradient_function())
        return evaluate

    def read(result):
        return float(result[0]), np.array(result[1]).ravel()

    yield Contestant("CasADi call", gradient_function, read=read)
    yield Contestant(
        "CasADi buffer()",
        build_buffer,
        convert=lambda point: buffered(built[-1], point),
        read=lambda results: (float(results[0][0]), results[1].copy()),
    )

    def product_function():
        x, y = symbols(program, size)
        product = casadi.jtimes(casadi.gradient(y, x), x, casadi.DM(problem.direction))
        return casadi.Function("product", [x], [product])

    yield Contestant("CasADi call", product_function, PRODUCT, read=last_result)

    def bands_function():
        x, y = symbols(program, size)
        hessian, _ = casadi.hessian(y, x)
        bands = [hessian[k, k] for k in range(size)]
        bands += [hessian[k + 1, k] for k in range(size - 1)]
        return casadi.Function("bands", [x], [casadi.vertcat(*bands)])

    if problem.kind == "rosenbrock" and size > 2:
        yield Contestant("CasADi call", bands_function, TRIDIAGONAL, read=last_result)
