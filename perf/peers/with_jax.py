"""JAX on the CPU in float64: `jit` of the unrolled program (small sizes only: it compiles for
milliseconds an operation), and the program that a JAX user would write instead, a `lax.scan` for
the chain and a vectorised expression for the wide sum."""

import jax
import jax.numpy as jnp

from peers import REPLAY, prepared

PACKAGES = ("jax", "jaxlib")
LARGEST_UNROLLED = 1_000
LARGEST_SCAN = 3_000_000
jax.config.update("jax_enable_x64", True)


def scanned_circle(size):
    def circle(x, strength, omega):
        def step(x, _):
            return jnp.sin(x) * strength + x + omega, None

        return jax.lax.scan(step, x, None, length=size)[0]

    return circle


def vectorised_rosenbrock(values):
    bend, gap = values[1:] - values[:-1] ** 2, 1.0 - values[:-1]
    return jnp.sum(100.0 * bend**2 + gap**2)


def gradient_of_numbers(function, inputs):
    """Every input an argument of its own: sliced out of one array, the unrolled chain runs 300
    times slower, because XLA then fuses it into one loop that computes everything again."""
    values = [jnp.float64(value) for value in inputs]
    differentiate = jax.jit(jax.value_and_grad(function, argnums=tuple(range(len(values)))))
    return lambda: jax.block_until_ready(differentiate(*values))


def gradient_of_array(function, inputs):
    values = jnp.asarray(inputs)
    differentiate = jax.jit(jax.value_and_grad(function))
    return lambda: jax.block_until_ready(differentiate(values))


def contestants(problem, size, patience):
    operations, inputs = problem.operations(size), problem.inputs(size)
    if operations <= LARGEST_UNROLLED * patience:
        program = problem.program(size)

        def unrolled(*values):
            return program(values, jnp.sin)

        yield prepared("JAX jit, unrolled", REPLAY, lambda: gradient_of_numbers(unrolled, inputs))
    if operations > LARGEST_SCAN * patience:
        return
    if problem.name == "circle":
        scanned = scanned_circle(size)
        yield prepared("JAX scan", REPLAY, lambda: gradient_of_numbers(scanned, inputs))
    else:
        yield prepared(
            "JAX vectorised", REPLAY, lambda: gradient_of_array(vectorised_rosenbrock, inputs)
        )
