"""JAX on the CPU, one thread: `jit` of `vmap`; the loop as it is where it is short, or a scan.

The Asian call is also written with arrays over the dates, as a JAX user would.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import Contestant, programs, written_with

PACKAGES = ("jax", "jaxlib")
LONGEST = 1000  # operations of a Python loop that is compiled: XLA needs milliseconds for each
jax.config.update("jax_enable_x64", True)


def contestants(problem, longest=LONGEST):
    module = written_with(programs.__name__, np=jnp, exp=jnp.exp, sin=jnp.sin, sqrt=jnp.sqrt,
                          maximum=jnp.maximum)  # fmt: skip
    if problem.kind == "asian":
        if problem.operations <= longest:
            yield asian("JAX jit, unrolled", problem, module.asian)
        yield asian("JAX jit, arrays", problem, module.asian_of_arrays)
        return
    if problem.operations <= longest:
        yield chain("JAX jit, unrolled", problem, problem.unrolled(module))
    yield chain("JAX jit, scan", problem, problem.scanned(lax.scan, module))


def waiting(function, *more):
    call = jax.jit(function)
    return lambda argument: jax.block_until_ready(call(argument, *more))


def chain(name, problem, program):
    differentiate = jax.value_and_grad(program, (0, 1, 2))

    def build():
        f = program if problem.task == "value" else differentiate
        return waiting(lambda point: jax.vmap(f)(*point))

    def read(result):
        value, slopes = (result, ()) if problem.task == "value" else result
        return np.array(value), list(map(np.array, slopes))

    return Contestant(name, build, lambda point: tuple(map(jnp.array, point)), read)


def asian(name, problem, program):
    z = jnp.array(problem.z)

    def build():
        if problem.task == "paths":
            return waiting(jax.vmap(jax.value_and_grad(program), (None, 0)), z)
        rows = jax.vmap(program, (None, 0))
        return waiting(jax.value_and_grad(lambda p, z: jnp.mean(rows(p, z))), z)

    def read(result):
        return np.array(result[0]), [np.array(result[1])]

    return Contestant(name, build, jnp.array, read)
