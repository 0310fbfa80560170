"""Kernels of `weights`: the gradient of a weight that many products share, as one matrix product.

A step of an unrolled network adds to the gradient of each weight a matrix product with few rows
(one without a batch): as much work in loading and storing the gradient as in multiplying.  Here the
rows of a block of steps, adjoints of results and the factors that the weight was multiplied with,
are gathered in panels that stay in the first caches, and the gradient is loaded and stored once a
block.  ndtape/passes/weights.py writes these instructions and says what their words mean.
"""

from __future__ import annotations

from .._jit import i8_at, u8
from ..nest import (
    BODY,
    DEPTH,
    HEIGHT,
    KIND_WORD,
    LOOP,
    LOOPS,
    PAIRS,
    SIDE,
    SILENT,
    START,
    STEP,
    WIDTH,
    WR,
    WS,
    XR,
    XS,
    U,
)
from ..vmath import mz
from . import contract
from .contract import PANEL_ROW, ROOMY, VECTOR, tile_4x1, tile_8x2
from .eight import load, splat, store, total
from .tiles import PANEL_DEPTH, stack_room, transpose_tile
from .walk import (
    WORD,
    C,
    G,
    H,
    K,
    M,
    T,
    V,
    at,
    descriptor,
    floats,
    i64,
    kernel,
    operand,
    part,
    word,
)

STRIPS = 4  # of 16 rows of the gradient, whose numbers are gathered at once
SPILL = 8  # rows that a transposition may write behind the last one
STRIP = PANEL_ROW * (PANEL_DEPTH + SPILL)
strip_room = stack_room(STRIP // WORD)
strips_room = stack_room(STRIPS * STRIP // WORD)
pair_room = stack_room(2)


@part
def _place(base, constants, slot):
    """The address of a slot in a column, or of constant -1 - slot; 0 if these have no column."""
    if slot >= 0:
        return base + WORD * slot
    return constants + WORD * (-1 - slot) if constants != 0 else i64(0)


@part
def _gather(room, pairs, members, base, constants, shift, rows, row, step, width):
    """Up to 16 columns of the rows of all members, side by side; whether all are finite."""
    slots, nothing = i8_at(u8(pairs)), splat(0.0)
    for p in range(members):
        target, origin = room + p * rows * PANEL_ROW, _place(base, constants, slots[2 * p])
        if origin == 0:
            for q in range(rows):
                store(target + q * PANEL_ROW, 8, nothing)
                store(target + q * PANEL_ROW + VECTOR, 8, nothing)
            continue
        origin += shift
        if step == WORD:
            for _ in range(rows):
                store(target, 8, load(origin, width, nothing))
                store(target + VECTOR, 8, load(origin + VECTOR, width - 8, nothing))
                target, origin = target + PANEL_ROW, origin + row
        elif row == WORD:
            for q in range(0, rows, 8):
                for c in range(0, 16, 8):
                    transpose_tile(target + q * PANEL_ROW + c * WORD, origin + q * WORD + c * step,
                                   width - c, rows - q, step)  # fmt: skip
        else:
            for q in range(rows):
                for c in range(16):
                    number = floats(origin + q * row + c * step)[0] if c < width else 0.0
                    floats(target + q * PANEL_ROW)[c] = number
    met, other = nothing, nothing  # zero times a number is zero unless that is infinite or nan
    for q in range(members * rows):
        met = met + load(room + q * PANEL_ROW, 8, nothing) * nothing
        other = other + load(room + q * PANEL_ROW + VECTOR, 8, nothing) * nothing
    return total(met + other) == 0.0


@part
def _tile(z, zm, left, right, height, width, depth):
    """z[m, n] += sums over q of left[q, m] * right[q, n], for two strips."""
    for r in range(0, height, 8 if ROOMY else 4):
        row, place = z + r * zm, left + r * WORD
        if ROOMY:
            tile_8x2(row, 1, place, right, height - r, width, depth,
                     zm, WORD, PANEL_ROW, PANEL_ROW)  # fmt: skip
        else:
            for c in range(0, width, 8):
                tile_4x1(row + WORD * c, 1, place, right + WORD * c, height - r, width - c, depth,
                         zm, WORD, PANEL_ROW, PANEL_ROW)  # fmt: skip


@part
def _careful_tile(z, zm, left, right, height, width, depth, side):
    """The same where an adjoint of 0 makes a product 0 whatever the factor is."""
    for q in range(depth):
        x, y = floats(left + q * PANEL_ROW), floats(right + q * PANEL_ROW)
        for r in range(height):
            target = floats(z + r * zm)
            for c in range(width):
                target[c] += mz(y[c], x[r]) if side else mz(x[r], y[c])


@part
def _block(z, zm, m, n, pairs, members, rows, adjoint, factor, side):
    """z[m, n] += sums over at most PANEL_DEPTH rows; strides in bytes.

    `adjoint` and `factor` are (base, constants, row, step): the columns that the slots in `pairs`
    are places in, and how far apart rows and numbers lie.  With `side` the adjoint runs along n.
    """
    left_base, left_constants, left_row, left_step = factor if side else adjoint
    right_base, right_constants, right_row, right_step = adjoint if side else factor
    left_pairs, right_pairs = pairs + WORD * side, pairs + WORD * (1 - side)
    lefts, strip, depth = strips_room(), strip_room(), members * rows
    for top in range(0, m, 16 * STRIPS):
        end, sure = min(m, top + 16 * STRIPS), True
        for r in range(top, end, 16):
            finite = _gather(lefts + (r - top) // 16 * STRIP, left_pairs, members, left_base,
                             left_constants, r * left_step, rows, left_row, left_step,
                             min(m - r, 16))  # fmt: skip
            sure = sure and (finite or side == 0)
        for c in range(0, n, 16):
            width = min(n - c, 16)
            finite = _gather(strip, right_pairs, members, right_base, right_constants,
                             c * right_step, rows, right_row, right_step, width)  # fmt: skip
            plain = sure and (finite or side != 0)
            for r in range(top, end, 16):
                place, here = z + r * zm + c * WORD, lefts + (r - top) // 16 * STRIP
                if plain:
                    _tile(place, zm, here, strip, min(m - r, 16), width, depth)
                else:
                    _careful_tile(place, zm, here, strip, min(m - r, 16), width, depth, side)


@kernel
def rows_product(args, start, end):
    """z[m, n] += sums over q of left[q, m] * right[q, n], for loops that keep rows of their own.

    At the address `args` stand, as int64, addresses and strides in bytes::

        Z ZM M N  LEFT LEFT_ROW LEFT_STEP  RIGHT RIGHT_ROW RIGHT_STEP  ROWS SIDE

    z[m, n] lies at Z + m ZM + 8 n, left[q, m] at LEFT + q LEFT_ROW + m LEFT_STEP.  With SIDE 0 the
    left numbers are adjoints, with 1 the right ones: where one is 0, so is its product.
    """
    a = i8_at(args)
    room = pair_room()
    slots = i8_at(u8(room))
    slots[0] = slots[1] = 0
    none = i64(0)
    for q in range(0, a[10], PANEL_DEPTH):
        left = a[4] + q * a[5], none, a[5], a[6]
        right = a[7] + q * a[8], none, a[8], a[9]
        adjoint, factor = (right, left) if a[11] else (left, right)
        _block(a[0], a[1], a[2], a[3], room, 1, min(a[10] - q, PANEL_DEPTH), adjoint, factor, a[11])
    return 0


# --- the instruction -----------------------------------------------------------------------------


@part
def _gradient(frame, i, target, adjoints, factors, constants):
    """Add to the weight's numbers in a column the products of those in two others."""
    words = descriptor(frame, i)
    first = BODY + LOOP * words[LOOPS]
    rows, count, side = words[first + DEPTH], words[KIND_WORD], words[first + SIDE]
    z = at(frame, target, words[first + START])
    pairs = word(frame, M) + WORD * (operand(frame, C, i) + first + PAIRS)
    adjoint = word(frame, adjoints), i64(0), WORD * words[first + WR], WORD * words[first + WS]
    factor = word(frame, factors), constants, WORD * words[first + XR], WORD * words[first + XS]
    step = max(PANEL_DEPTH // rows, 1)
    for p in range(0, count, step):
        _block(z, WORD * words[first + STEP], words[first + HEIGHT], words[first + WIDTH],
               pairs + 2 * WORD * p, min(count - p, step), rows, adjoint, factor, side)  # fmt: skip


@part
def _silent(frame, i):
    return descriptor(frame, i)[U] & SILENT


@kernel
def weights_forward(frame, i, end):
    """As `dot`."""
    if not _silent(frame, i):
        contract.values(frame, i)
    return 0


@kernel
def weights_tangent(frame, i, end):
    """As `dot`."""
    if not _silent(frame, i):
        contract.tangents(frame, i)
    return 0


@kernel
def weights_reverse(frame, i, end):
    """As `dot` for the factor; then the gradient of the weight, all members having been visited."""
    if not _silent(frame, i):
        contract.adjoints(frame, i)
    _gradient(frame, i, G, G, V, word(frame, K))
    return 0


@kernel
def weights_second(frame, i, end):
    """As in reverse; tangents of the weight's adjoints are products of wt, x and of w, xt."""
    if not _silent(frame, i):
        contract.second(frame, i)
    for target, adjoints, factors in ((H, H, V), (H, G, T), (G, G, V)):
        constants = i64(0) if factors == T else word(frame, K)
        _gradient(frame, i, target, adjoints, factors, constants)
    return 0
