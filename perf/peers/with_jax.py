"""JAX on the CPU in float64: `jit` of the unrolled program (small sizes only: it compiles for
milliseconds an operation), and the program that a JAX user would write instead, a `lax.scan` for
the chain and a vectorised expression for the wide sum."""

import jax
import jax.numpy as jnp
import numpy as np

from peers import REPLAY, prepared

PACKAGES = ("jax", "jaxlib")
LARGEST_UNROLLED = 1_000
LARGEST_SCAN = 3_000_000
jax.config.update("jax_enable_x64", True)


def scanned_circle(size):
    def circle(values):
        def step(x, _):
            return jnp.sin(x) * values[1] + x + values[2], None

        return jax.lax.scan(step, values[0], None, length=size)[0]

    return circle


def vectorised_rosenbrock(values):
    bend, gap = values[1:] - values[:-1] ** 2, 1.0 - values[:-1]
    return jnp.sum(100.0 * bend**2 + gap**2)


def compiled_gradient(function, inputs):
    values = jnp.asarray(inputs)
    differentiate = jax.jit(jax.value_and_grad(function))

    def run():
        value, gradient = differentiate(values)
        return float(value), np.asarray(gradient)

    return run


def contestants(problem, size, patience):
    operations, inputs = problem.operations(size), problem.inputs(size)
    if operations <= LARGEST_UNROLLED * patience:
        program = problem.program(size)

        def unrolled(values):
            return program([values[i] for i in range(len(inputs))], jnp.sin)

        yield prepared("JAX jit, unrolled", REPLAY, lambda: compiled_gradient(unrolled, inputs))
    if operations <= LARGEST_SCAN * patience:
        chain = problem.name == "circle"
        name = "JAX scan" if chain else "JAX vectorised"
        function = scanned_circle(size) if chain else vectorised_rosenbrock
        yield prepared(name, REPLAY, lambda: compiled_gradient(function, inputs))
