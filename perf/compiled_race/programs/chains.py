"""Two long chains of scalar operations whose gradients stay finite and non-zero at any length."""

import numpy as np


def circle(x, strength, omega, steps):
    """The circle map: sin, mul, add, add a step. At K = .5 and the golden angle it never locks."""
    for _ in range(steps):
        x = np.sin(x) * strength + x + omega
    return x


def oscillator(x, v, stiffness, step, steps):
    """A spring that stiffens, by a symplectic method: eight additions and products a step.

    Area is preserved, so that nothing decays, and the orbit is regular, so that nothing explodes.
    """
    for _ in range(steps):
        v = v - step * (x + stiffness * x * x * x)
        x = x + step * v
    return x
