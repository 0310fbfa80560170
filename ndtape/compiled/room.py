"""Appending to a linear tape from functions that Numba compiles: sums and products of arrays."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from .._jit import f8_at, jit, u8, u8_at
from .emission import ask
from .memory import CURSOR, ENTRY, LIMIT, NEXT, Stopped

ZERO, ONE, HALF, STEP = (np.uint64(n) for n in (0, 1, 32, ENTRY))


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


@jit
def noted(cursor, result, partial, slot):
    """Write an entry, unless the operand is passive; answers where the next one goes."""
    f8_at(cursor)[0] = partial
    u8_at(cursor)[1] = (result << HALF) | slot
    return cursor + (STEP if slot != ZERO else ZERO)


@jit
def closed(header, start, cursor, result):
    """The slot of a result whose entries end here; 0 if there are none."""
    if cursor == start:
        return ZERO
    h = u8_at(header)
    h[CURSOR] = cursor
    h[NEXT] = result + ONE
    return result
