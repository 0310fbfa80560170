"""Particle and saddle as a JAX user has to write them: loops are `lax.while_loop`s.

A `while_loop` has no reverse derivative, so the outer derivative is forward; the inner one may be
reverse. The outermost descent is compiled too; a second run finds the compiled program.
"""

from functools import cache

import jax
import jax.numpy as jnp
from jax import lax

jax.config.update("jax_enable_x64", True)
MODES = {"particle": "FR", "saddle": "FR"}


def minimise(f, gradient, x):
    """The descent of `workloads.descent` on an array."""

    def go_on(state):
        return ~state["done"]

    def step(state):
        x, value, slope, rate, successes = (state[k] for k in ("x", "value", "slope", "rate", "n"))
        rate = jnp.where(successes == 10, 2.0 * rate, rate)
        successes = jnp.where(successes == 10, 0, successes)
        flat = jnp.sqrt(jnp.sum(slope**2)) <= 1e-5
        candidate = x - rate * slope
        moved = x - candidate
        done = flat | (jnp.sum(moved**2) <= 1e-10)
        candidate_value = f(candidate)
        better = candidate_value < value
        accept = better & ~done
        return {
            "x": jnp.where(accept, candidate, x),
            "value": jnp.where(accept, candidate_value, value),
            "slope": jnp.where(accept, gradient(candidate), slope),
            "rate": jnp.where(better, rate, 0.5 * rate),
            "n": jnp.where(better, successes + 1, 0),
            "done": done,
        }

    start = {
        "x": x,
        "value": f(x),
        "slope": gradient(x),
        "rate": jnp.array(1e-5),
        "n": jnp.array(0),
        "done": jnp.array(False),
    }
    return lax.while_loop(go_on, step, start)["x"]


def landing_cost(control):
    charges = jnp.stack([jnp.stack([jnp.array(10.0), 10.0 - control[0]]), jnp.array([10.0, 0.0])])

    def potential(x):
        return jnp.sum(1.0 / jnp.sqrt(jnp.sum((x - charges) ** 2, axis=1)))

    field, dt = jax.grad(potential), 0.1

    def above(state):
        x, velocity = state
        return (x + dt * velocity)[1] > 0.0

    def move(state):
        x, velocity = state
        return x + dt * velocity, velocity - dt * field(x)

    x, velocity = lax.while_loop(above, move, (jnp.array([0.0, 8.0]), jnp.array([0.75, 0.0])))
    return (x[0] - x[1] / velocity[1] * velocity[0]) ** 2


@cache
def compiled_particle():
    return jax.jit(lambda x: minimise(landing_cost, jax.jacfwd(landing_cost), x))


def particle():
    return float(compiled_particle()(jnp.zeros(1))[0])


def height(x, y):
    return jnp.sum(x**2) - jnp.sum(y**2)


def best_answer(x):
    def depth(y):
        return -height(x, y)

    return minimise(depth, jax.grad(depth), jnp.ones(2))


@cache
def compiled_saddle():
    def highest(x):
        return height(x, best_answer(x))

    def solve(start):
        x = minimise(highest, jax.jacfwd(highest), start)
        return jnp.concatenate([x, best_answer(x)])

    return jax.jit(solve)


def saddle():
    return [float(v) for v in compiled_saddle()(jnp.ones(2))]


PROGRAMS = {"particle": particle, "saddle": saddle}
