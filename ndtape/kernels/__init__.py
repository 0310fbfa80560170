"""Kernels of the wide instructions that are written by hand: reductions, products, movement.

`<name>_forward`, `_reverse`, `_tangent` and `_second` of every kind of ops.OTHERS are C functions
``status (frame, instruction, end)`` as in _jit; elementwise kinds are generated from the table.
"""

from __future__ import annotations

from typing import Any

from .._jit import Sweep
from . import affine, contract, loops, movement, reduce, scan, terms, weights
from .blas import blas_table

__all__ = ["Sweep", "blas_table", "kernels"]


def kernels() -> dict[str, Sweep]:
    """All kernels by name."""
    return {
        name: value
        for module in (movement, reduce, scan, contract, affine, weights, loops, terms)
        for name, value in vars(module).items()
        if isinstance(value, Sweep)
    }


def __getattr__(name: str) -> Any:
    try:
        return kernels()[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
