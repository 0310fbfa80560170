"""The gradients as a person would write them by hand in Numba: what a recorder is held to.

Each kernel is a sweep forward that keeps what the way back needs, and a sweep back. `adjoint_of`
gives a callable from the program's arguments to (value, gradient): all derivatives in one array,
which it keeps and overwrites, as it does with its working memory.
"""

from . import advection, bodies, chains, densities, series

MODULES = (chains, densities, series, advection, bodies)


def adjoint_of(name, arguments):
    """The gradient of the program `name`, with memory for arguments of these shapes."""
    for module in MODULES:
        if name in module.ADJOINTS:
            return module.ADJOINTS[name](*arguments)
    raise KeyError(name)
