"""JAX on the CPU, one thread: `jit` of `lax.scan`, and of the Python loop where it is short.

XLA compiles a Python loop for milliseconds an operation.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import Contestant, written_with

PACKAGES = ("jax", "jaxlib")
jax.config.update("jax_enable_x64", True)


def contestants(problem, longest=10):
    """`longest`: the most steps of a Python loop that is compiled."""
    module = written_with(problem.module, np=jnp, sigmoid=jax.nn.sigmoid)
    yield gradient("JAX jit, scan", problem, problem.scanned(lax.scan, module))
    if problem.T <= longest:
        yield gradient("JAX jit, unrolled", problem, problem.unrolled(module))


def gradient(name, problem, loss):
    state, xs = jax.tree.map(jnp.array, problem.data)

    def build():
        differentiate = jax.jit(jax.value_and_grad(loss))
        return lambda parameters: jax.block_until_ready(differentiate(parameters, state, xs))

    def convert(parameters):
        return tuple(map(jnp.array, parameters))

    def read(result):
        return float(result[0]), [np.array(part) for part in result[1]]

    return Contestant(name, build, convert, read)
