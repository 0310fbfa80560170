"""JAX on the CPU in float64: scalar loops as `lax.scan`, the rest with arrays, under `jit`."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from workloads.advection import COURANT

from . import GRADIENT, Contestant

PACKAGES = ("jax", "jaxlib")
LOG_TWO_PI = math.log(2.0 * math.pi)
jax.config.update("jax_enable_x64", True)


def repeated(step, state, times):
    return lax.scan(lambda state, _: (step(state), None), state, None, length=times)[0]


def folded(step, state, xs):
    return lax.scan(lambda state, x: (step(state, x), None), state, xs)[0]


# --- chains ---------------------------------------------------------------------------------------


def circle(x, strength, omega, steps):
    return repeated(lambda x: jnp.sin(x) * strength + x + omega, x, steps)


def oscillator(x, v, stiffness, step, steps):
    def move(state):
        x, v = state
        v = v - step * (x + stiffness * x * x * x)
        return x + step * v, v

    return repeated(move, (x, v), steps)[0]


# --- FastAD's set ---------------------------------------------------------------------------------


def total_loop(x):
    return folded(lambda s, x: s + x, 0.0, x)


def product_loop(x):
    return folded(lambda s, x: s * x, 1.0, x)


def log_sum_exp_loop(x):
    return jnp.log(folded(lambda s, x: s + jnp.exp(x), 0.0, x))


def log_sum_exp_arrays(x):
    return jnp.log(jnp.sum(jnp.exp(x)))


def normal_of(squares, size):
    return -0.5 * squares - size * (math.log(1.37) + 0.5 * LOG_TWO_PI)


def normal_loop(x):
    return normal_of(folded(lambda s, x: s + ((x + 0.56) / 1.37) ** 2, 0.0, x), len(x))


def normal_arrays(x):
    return normal_of(jnp.sum(((x + 0.56) / 1.37) ** 2), len(x))


def log_volatilities(h_std, phi, sigma, mu):
    def step(h, noise):
        h = mu + phi * (h - mu) + sigma * noise
        return h, h

    first = mu + sigma * h_std[0] / jnp.sqrt(1.0 - phi * phi)
    return jnp.concatenate([first[None], lax.scan(step, first, h_std[1:])[1]])


def stochastic_volatility(h_std, phi, sigma, mu, y):
    h = log_volatilities(h_std, phi, sigma, mu)
    priors = -jnp.log(1.0 + (sigma / 5.0) ** 2) - jnp.log(1.0 + (mu / 10.0) ** 2)
    return priors - 0.5 * jnp.sum(h + y * y * jnp.exp(-h) + h_std * h_std)


# --- series ---------------------------------------------------------------------------------------


def log_normal_density(x, mean, deviation):
    z = (x - mean) / deviation
    return -0.5 * z * z - jnp.log(deviation) - 0.5 * LOG_TWO_PI


def garch(parameters, y, first):
    mu, alpha0, alpha1, beta1 = parameters

    def step(sigma, before):
        sigma = jnp.sqrt(alpha0 + alpha1 * (before - mu) ** 2 + beta1 * sigma**2)
        return sigma, sigma

    later = lax.scan(step, first, y[:-1])[1]
    terms = log_normal_density(y[1:], mu, later)
    return log_normal_density(y[0], mu, first) + terms.sum()


def ar5(parameters, y):
    sigma, n = parameters[6], len(y)
    mean = parameters[0] + sum(parameters[k] * y[5 - k : n - k] for k in range(1, 6))
    priors = -math.log(2.5 * math.pi) - jnp.log(1.0 + (sigma / 2.5) ** 2)
    priors += log_normal_density(parameters[:6], 0.0, 10.0).sum()
    return priors + log_normal_density(y[5:], mean, sigma).sum()


def kalman_loop(level, slope, level_variance, slope_variance, noise, y):
    def step(state, observed):
        level, slope, p00, p01, p11, total = state
        level = level + slope
        p00, p01, p11 = p00 + 2.0 * p01 + p11 + level_variance, p01 + p11, p11 + slope_variance
        variance, error = p00 + noise, observed - level
        total -= 0.5 * (jnp.log(2.0 * math.pi * variance) + error * error / variance)
        gain0, gain1 = p00 / variance, p01 / variance
        p00, p01, p11 = p00 - gain0 * p00, p01 - gain0 * p01, p11 - gain1 * p01
        return level + gain0 * error, slope + gain1 * error, p00, p01, p11, total

    return folded(step, (level, slope, 10.0, 0.0, 1.0, 0.0), y)[-1]


def kalman_arrays(state, variances, noise, y):
    move = jnp.array([[1.0, 1.0], [0.0, 1.0]])

    def step(carry, observed):
        state, covariance, total = carry
        state, covariance = move @ state, move @ covariance @ move.T + jnp.diag(variances)
        variance, error = covariance[0, 0] + noise, observed - state[0]
        total -= 0.5 * (jnp.log(2.0 * math.pi * variance) + error * error / variance)
        gain = covariance[:, 0] / variance
        return state + gain * error, covariance - jnp.outer(gain, covariance[0]), total

    return folded(step, (state, jnp.diag(jnp.array([10.0, 1.0])), 0.0), y)[-1]


# --- advection, bodies ----------------------------------------------------------------------------


def advected(fluxes, q, steps):
    def step(q):
        flux = fluxes(q[:-1], q[1:])
        q = q.at[1:-1].add(flux[:-1] - flux[1:])
        return q.at[0].set(q[-2]).at[-1].set(q[1])

    return 0.1 * repeated(step, q, steps).sum()


def lax_wendroff_fluxes(left, right):
    return 0.5 * COURANT * (left + right + COURANT * (left - right))


def toon_fluxes(left, right):
    rise = jnp.exp(COURANT * jnp.log(left / right)) - 1.0
    return rise * left * right / (left - right)


def bodies(positions, velocities, masses, step, steps):
    apart = ~np.eye(len(masses), dtype=bool)

    def move(state):
        x, v = state
        d = x[:, None] - x
        square = jnp.where(apart, (d * d).sum(-1), 1.0)
        pull = jnp.where(apart, step * masses / (square * jnp.sqrt(square)), 0.0)
        v = v - (pull[..., None] * d).sum(1)
        return x + step * v, v

    x, _ = repeated(move, (positions, velocities), steps)
    return (x * x).sum()


# --- contestants ----------------------------------------------------------------------------------

PROGRAMS = {
    "circle": ("scan", circle),
    "oscillator": ("scan", oscillator),
    "total_loop": ("scan", total_loop),
    "total_arrays": ("arrays", jnp.sum),
    "product_loop": ("scan", product_loop),
    "product_arrays": ("arrays", jnp.prod),
    "log_sum_exp_loop": ("scan", log_sum_exp_loop),
    "log_sum_exp_arrays": ("arrays", log_sum_exp_arrays),
    "normal_loop": ("scan", normal_loop),
    "normal_arrays": ("arrays", normal_arrays),
    "stochastic_volatility_loop": ("scan", stochastic_volatility),
    "stochastic_volatility_arrays": ("scan", stochastic_volatility),
    "garch": ("scan", garch),
    "ar5": ("arrays", ar5),
    "kalman_loop": ("scan", kalman_loop),
    "kalman_arrays": ("scan", kalman_arrays),
    "bodies": ("scan", bodies),
    "lax_wendroff_loop": ("scan", partial(advected, lax_wendroff_fluxes)),
    "lax_wendroff_arrays": ("scan", partial(advected, lax_wendroff_fluxes)),
    "toon_loop": ("scan", partial(advected, toon_fluxes)),
    "toon_arrays": ("scan", partial(advected, toon_fluxes)),
}


def contestants(problem):
    how, function = PROGRAMS[problem.kind]
    # Numbers of steps decide what is compiled; they are not arguments of it.
    lengths = tuple(k for k, a in enumerate(problem.points[0]) if isinstance(a, int))

    def build():
        gradient = jax.value_and_grad(function, argnums=problem.argnums)
        differentiate = jax.jit(gradient, static_argnums=lengths)
        return lambda *arguments: jax.block_until_ready(differentiate(*arguments))

    def convert(point):
        return tuple(
            a if k in lengths else jnp.asarray(a, jnp.float64) for k, a in enumerate(point)
        )

    yield Contestant(f"JAX jit, {how}", GRADIENT, build, convert)
