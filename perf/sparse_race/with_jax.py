"""JAX on the CPU, one thread, without sparsity: `jit` of `jacfwd`, or of `hessian`."""

import jax
import jax.numpy as jnp
import numpy as np

from . import Contestant, programs, written_with

PACKAGES = ("jax", "jaxlib")
LARGEST = 2000  # unknowns, whose matrix has four million entries
jax.config.update("jax_enable_x64", True)


def contestants(problem):
    if problem.unknowns > LARGEST or problem.kind == "scalars":
        return
    program = problem.program(written_with(programs.__name__, np=jnp))

    def build():
        dense = jax.jacfwd(program) if problem.task == "jacobian" else jax.hessian(program)
        call = jax.jit(lambda x: dense(x))  # a new one, which is compiled
        return lambda x: jax.block_until_ready(call(x))

    yield Contestant("JAX jit, dense", build, jnp.array, np.array)
