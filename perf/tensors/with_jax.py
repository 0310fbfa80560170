"""JAX on the CPU in float64: every operation a compiled function, called from Python."""

import jax
import jax.numpy as jnp
import numpy as np

from . import CALLED, CALLED_GRADIENT, INPUTS, Contestant

PACKAGES = ("jax", "jaxlib")
jax.config.update("jax_enable_x64", True)
FUNCTIONS = {
    "add": jnp.add,
    "multiply": jnp.multiply,
    "exp": jnp.exp,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "sin": jnp.sin,
    "sum": jnp.sum,
    "matmul": jnp.matmul,
    "mat-vec": jnp.matmul,
}


def contestants(operation, size):
    function = FUNCTIONS[operation.name]
    groups = [tuple(jnp.asarray(x) for x in group) for group in operation.operands(size)]

    @jax.jit
    def differentiated(seed, *operands):
        z, pullback = jax.vjp(function, *operands)
        return z, *pullback(seed)

    compiled = jax.jit(function)
    seed = jnp.ones_like(compiled(*groups[0]))

    def run():
        for group in groups:
            z = compiled(*group)
        z.block_until_ready()

    def differentiate():
        for group in groups:
            z = differentiated(seed, *group)
        jax.block_until_ready(z)

    def values():
        return [np.array([compiled(*group) for group in groups])]

    def derivatives():
        columns = zip(*(differentiated(seed, *group) for group in groups), strict=True)
        return [np.array(column) for column in columns]

    yield Contestant("JAX jit", CALLED, run, INPUTS, values)
    yield Contestant("JAX jit", CALLED_GRADIENT, differentiate, INPUTS, derivatives)
