"""JAX on the CPU in float64: the vector form, `lax.scan` for loops, and `jit` of the Python loop.

XLA compiles a Python loop for milliseconds an operation, so that only short ones are here.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from workloads import gmm, lynx_hare, moons, tridiagonal, written_with

from . import PRODUCT, TRIDIAGONAL, Contestant

PACKAGES = ("jax", "jaxlib")
LONGEST_LOOP = 100  # terms
jax.config.update("jax_enable_x64", True)


# --- what a JAX user writes for the loops ---------------------------------------------------------


def scanned_rosenbrock(x):
    def term(total, pair):
        a, b = pair
        return total + 100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2, None

    return lax.scan(term, 0.0, (x[:-1], x[1:]))[0]


def scanned_cascade(x, steps=9):
    h = 2.0 / steps

    def slopes(y):
        return x * jnp.concatenate([jnp.ones(1), y[:-1]])

    def step(y, _):
        k1 = slopes(y)
        k2 = slopes(y + 0.5 * h * k1)
        k3 = slopes(y + 0.5 * h * k2)
        k4 = slopes(y + h * k3)
        return y + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4), None

    return lax.scan(step, jnp.zeros(len(x)), None, length=steps)[0][-1]


def scanned_lynx_hare(counts):
    """The same program; the substeps and the years are scans."""
    module = written_with("lynx_hare", jnp)
    step = 1.0 / lynx_hare.SUBSTEPS
    later = jnp.array(counts[1:])

    def year(z, a, b, g, d):
        def slopes(z):
            u, v = z
            return jnp.stack([(a - b * v) * u, (-g + d * u) * v])

        def substep(z, _):
            k1 = slopes(z)
            k2 = slopes(z + 0.5 * step * k1)
            k3 = slopes(z + 0.5 * step * k2)
            k4 = slopes(z + step * k3)
            return z + step / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4), None

        return lax.scan(substep, z, None, length=lynx_hare.SUBSTEPS)[0]

    first_year = module.objective(counts[:1])

    def log_posterior(parameters):
        a, b, g, d = parameters[:4]
        sigmas = parameters[6:]

        def likelihood(z, count):
            z = year(z, a, b, g, d)
            return z, module.log_normal(count, jnp.log(z), sigmas).sum()

        _, terms = lax.scan(likelihood, parameters[4:6], later)
        return first_year(parameters) + terms.sum()

    return log_posterior


# --- contestants ----------------------------------------------------------------------------------


def programs(problem):
    """(how, function of one tree, from a flat point to the tree, back)."""
    flat = (jnp.array, np.array)
    if problem.kind in ("rosenbrock", "ackley", "cascade"):
        module = written_with(problem.kind, jnp)
        if problem.kind == "rosenbrock":
            yield "scan", scanned_rosenbrock, *flat
        if problem.kind == "cascade":
            yield "scan", scanned_cascade, *flat
        elif problem.size <= LONGEST_LOOP:
            yield "Python loop", module.loop, *flat
        yield "vector", module.vector, *flat
    elif problem.kind == "gmm":
        data = gmm.read(problem.size)
        f = written_with("gmm", jnp).objective(jnp.array(data.x), data.gamma, data.m)
        yield "vector", f, lambda p: tuple(map(jnp.array, data.split(p))), gmm.joined
    elif problem.kind == "moons":
        points, labels = map(jnp.array, moons.make_points())
        module = written_with("moons", jnp)
        # The order of the parameters in a flat array is that of the matrices.
        yield "vector", lambda p: module.matrix_loss(p, points, labels), *flat
    elif problem.kind == "lynx_hare":
        yield "scan", scanned_lynx_hare(lynx_hare.read()), *flat


def contestants(problem):
    for how, f, convert, to_flat in programs(problem):
        name = f"JAX jit, {how}"
        yield gradient(name, f, convert, to_flat)
        yield product(name, f, convert, to_flat, problem.direction)
        if problem.kind == "rosenbrock" and how == "vector" and problem.size > 2:
            yield bands(name, f, problem.size)


def gradient(name, f, convert, to_flat):
    def build():
        differentiate = jax.jit(jax.value_and_grad(f))
        return lambda x: jax.block_until_ready(differentiate(x))

    def read(result):
        return float(result[0]), to_flat(result[1])

    return Contestant(name, build, convert=convert, read=read)


def product(name, f, convert, to_flat, direction):
    v = convert(direction)

    def build():
        multiply = jax.jit(lambda x, v: jax.jvp(jax.grad(f), (x,), (v,))[1])
        return lambda x: jax.block_until_ready(multiply(x, v))

    return Contestant(name, build, PRODUCT, convert, to_flat)


def bands(name, f, size):
    seeds = jnp.array(tridiagonal.seeds(size))

    def build():
        def three(x):
            return jax.vmap(lambda v: jax.jvp(jax.grad(f), (x,), (v,))[1])(seeds)

        products = jax.jit(three)
        return lambda x: np.concatenate(tridiagonal.from_products(np.array(products(x))))

    return Contestant(name, build, TRIDIAGONAL, jnp.array)
