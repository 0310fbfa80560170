"""Appending to a linear tape from functions that Numba compiles: sums and products of arrays."""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from .._jit import jit, u8, u8_at
from .emission import ask
from .memory import CURSOR, ENTRY, LIMIT, Stopped


@intrinsic
def asked(typingctx, header, wanted):
    """Ask Python for room: 0 if there is some now."""

    def codegen(context, builder, sig, args):
        return ask(builder, *args)

    return types.int64(u8, u8), codegen


@jit
def grow(header, wanted):
    """Ask Python for room for `wanted` further entries."""
    if asked(header, u8(wanted)) != 0:
        raise Stopped


@jit
def room(header, wanted):
    """Where the next entry goes, after making sure of room for `wanted` and the margin."""
    h = u8_at(header)
    cursor = h[CURSOR]
    if cursor + u8(ENTRY) * u8(wanted) > h[LIMIT]:
        grow(header, wanted)
        cursor = h[CURSOR]
    return cursor
