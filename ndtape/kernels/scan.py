"""Kernels of running sums: z[j] = x[0] + ... + x[j] along one loop of a nest.

They walk along that loop inside, and over the others outside, in panels of eight columns where the
last loop is another one and numbers lie side by side there.
"""

from __future__ import annotations

from ..nest import BODY, FLAGS, KIND_WORD, LOOP, LOOPS, SIZE, X_CONSTANT
from .eight import load, splat, store
from .walk import (
    OUT,
    WORD,
    A,
    G,
    H,
    T,
    V,
    advance,
    at,
    descriptor,
    fill,
    floats,
    i64,
    kernel,
    operand,
    part,
    source,
    start_odometer,
)

SZ, SX = 1, 2  # places in a loop's words


@part
def _run(z, x, sz, sx, steps):
    s = 0.0
    for _ in range(steps):
        s += floats(x)[0]
        floats(z)[0] = s
        z, x = z + sz, x + sx


@part
def _run_columns(z, x, sz, sx, steps, n):
    rest = s = splat(0.0)
    for _ in range(steps):
        s = s + load(x, n, rest)
        store(z, n, s)
        z, x = z + sz, x + sx


@part
def _run_back(w, gx, sw, sg, steps):
    """Add to each gx the sum of w from there on."""
    w, gx = w + (steps - 1) * sw, gx + (steps - 1) * sg
    s = 0.0
    for _ in range(steps):
        s += floats(w)[0]
        floats(gx)[0] += s
        w, gx = w - sw, gx - sg


@part
def _run_back_columns(w, gx, sw, sg, steps, n):
    w, gx = w + (steps - 1) * sw, gx + (steps - 1) * sg
    rest = s = splat(0.0)
    for _ in range(steps):
        s = s + load(w, n, rest)
        store(gx, n, load(gx, n, rest) + s)
        w, gx = w - sw, gx - sg


@part
def _walk(frame, i, z, x, back):
    words = descriptor(frame, i)
    count = start_odometer(frame, words)
    loops, axis = words[LOOPS], words[KIND_WORD]
    others = (i64(1) << loops) - 1
    steps, sz, sx = i64(1), i64(0), i64(0)
    if 0 <= axis < loops:  # an axis of length 1 has no loop
        along = BODY + LOOP * axis
        steps, sz, sx = words[along], WORD * words[along + SZ], WORD * words[along + SX]
        others ^= i64(1) << axis
    last = BODY + LOOP * (loops - 1)
    columns = loops > 0 and axis != loops - 1 and words[last + SX] == 1 and words[last + SZ] == 1
    if columns:
        others ^= i64(1) << (loops - 1)
    more = True
    while more:
        if columns:
            for j in range(0, words[last], 8):
                zj, xj, n = z + WORD * j, x + WORD * j, words[last] - j
                if back:
                    _run_back_columns(zj, xj, sz, sx, steps, n)
                else:
                    _run_columns(zj, xj, sz, sx, steps, n)
        elif back:
            _run_back(z, x, sz, sx, steps)
        else:
            _run(z, x, sz, sx, steps)
        more, z, x, _ = advance(words, count, others, z, x, 0, SZ, SX, SX)


@part
def _cumsum(frame, i, column):
    words = descriptor(frame, i)
    z = at(frame, column, operand(frame, OUT, i))
    constant = words[FLAGS] & X_CONSTANT
    if constant and column != V:
        fill(z, words[SIZE], 0.0)
    else:
        _walk(frame, i, z, source(frame, column, constant, operand(frame, A, i)), False)
    return 0


@part
def _cumsum_transposed(frame, i, column):
    if not descriptor(frame, i)[FLAGS] & X_CONSTANT:
        w = at(frame, column, operand(frame, OUT, i))
        _walk(frame, i, w, at(frame, column, operand(frame, A, i)), True)
    return 0


@kernel
def cumsum_forward(frame, i, end):
    """Running sums along the loop that the kind word names."""
    return _cumsum(frame, i, V)


@kernel
def cumsum_tangent(frame, i, end):
    """Running sums of the tangents."""
    return _cumsum(frame, i, T)


@kernel
def cumsum_reverse(frame, i, end):
    """Each element gets the adjoints of all sums from its own on."""
    return _cumsum_transposed(frame, i, G)


@kernel
def cumsum_second(frame, i, end):
    """The transposed map for adjoints and their tangents."""
    return _cumsum_transposed(frame, i, G) + _cumsum_transposed(frame, i, H)
