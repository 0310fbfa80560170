"""Kernels of sums, extremes and running sums.

A reduction's nest has *kept* loops (the result moves) and *reduced* ones (it stands still), in any
order.  Kernels take the kept places outside and the reduced ones inside, eight numbers at a time
wherever eight lie side by side.  A *panel* is what is worked on at once:

    columns   up to eight results, where the last kept loop has stride 1: each lane is a result
    a row     one result, where the last reduced loop has stride 1: its lanes are joined at the end
    single    one result, in the first lane, where neither holds

A panel meets its operand in *strips*: `steps` vectors of n, n - shrink, n - 2 * shrink ... numbers,
`stride` bytes apart.  Columns have shrink 0, a row is cut into vectors and shrinks by eight.
"""

from __future__ import annotations

from math import inf

from ..nest import BODY, FLAGS, LOOP, LOOPS, SIZE, X_CONSTANT
from .eight import (
    known,
    larger,
    largest,
    load,
    more_extreme,
    ones,
    plus,
    smaller,
    smallest,
    splat,
    store,
    total,
    where_same,
)
from .tiles import rows_tile
from .walk import (
    OUT,
    WORD,
    A,
    G,
    H,
    T,
    V,
    advance,
    all_zero,
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

SUM, LARGEST, SMALLEST, TIES, TIED_TANGENTS = range(5)  # what a strip is joined to
VECTOR = 8 * WORD
BLOCK = 128  # steps whose sum is rounded as it comes; sums of blocks keep their rounding errors
SHORT_SPREAD = 8  # numbers for which a strip does not pay
SHORT_ROW = 256  # numbers that need no partial sums, see `_strip` for the bound
sum_rows = rows_tile(plus, 0.0)
largest_of_rows = rows_tile(more_extreme(">"), -inf)
smallest_of_rows = rows_tile(more_extreme("<"), inf)
SZ, SX = 1, 2  # places in a loop's words

# --- the shape of a walk -----------------------------------------------------------------------


@part
def _members(words, kept):
    """The set of the kept, or of the reduced, loops."""
    members = i64(0)
    for j in range(words[LOOPS]):
        if (words[BODY + LOOP * j + SZ] != 0) == kept:
            members |= 1 << j
    return members


@part
def _innermost(words, members):
    """The last loop of a set as a set, its extent, and the bytes by which x advances."""
    for j in range(words[LOOPS] - 1, -1, -1):
        if members >> j & 1:
            loop = BODY + LOOP * j
            return i64(1) << j, words[loop], WORD * words[loop + SX]
    return i64(0), i64(1), i64(0)


@part
def _strip_shape(columns, left, extent, stride):
    """(n, steps, stride, shrink) of the strips over a reduced loop, for a panel."""
    if columns:
        return left, extent, stride, i64(0)
    if stride == WORD:
        return extent, (extent + 7) >> 3, i64(VECTOR), i64(8)
    return i64(1), extent, stride, i64(0)


# --- values ------------------------------------------------------------------------------------


@part
def _neutral(kind):
    if kind == LARGEST:
        return -inf
    return inf if kind == SMALLEST else 0.0


@part
def _join(kind, x, y):
    if kind == LARGEST:
        return larger(x, y)
    return smaller(x, y) if kind == SMALLEST else x + y


@part
def _fold(kind, x):
    if kind == LARGEST:
        return largest(x)
    return smallest(x) if kind == SMALLEST else total(x)


@part
def _element(kind, x, extra, n, rest, extreme):
    """What n numbers at x contribute; `extra` is where their tangents lie."""
    if kind == TIES:
        return where_same(load(x, n, rest), extreme, ones(n))
    if kind == TIED_TANGENTS:
        return where_same(load(x, n, rest), extreme, load(extra, n, rest))
    return load(x, n, rest)


@part
def _block(kind, x, extra, strip, steps, rest, extreme):
    """The vectors of a strip joined, in four partial results."""
    n, _, stride, shrink = strip
    s = s1 = s2 = s3 = rest
    j = i64(0)
    while j + 4 <= steps:
        s = _join(kind, s, _element(kind, x, extra, n, rest, extreme))
        x, extra, n = x + stride, extra + stride, n - shrink
        s1 = _join(kind, s1, _element(kind, x, extra, n, rest, extreme))
        x, extra, n = x + stride, extra + stride, n - shrink
        s2 = _join(kind, s2, _element(kind, x, extra, n, rest, extreme))
        x, extra, n = x + stride, extra + stride, n - shrink
        s3 = _join(kind, s3, _element(kind, x, extra, n, rest, extreme))
        x, extra, n = x + stride, extra + stride, n - shrink
        j += 4
    while j < steps:
        s = _join(kind, s, _element(kind, x, extra, n, rest, extreme))
        x, extra, n = x + stride, extra + stride, n - shrink
        j += 1
    return _join(kind, _join(kind, s, s1), _join(kind, s2, s3))


@part
def _strip(kind, x, extra, strip, so_far, error, rest, extreme):
    """`so_far` joined with a strip; of sums also their rounding errors.

    Blocks of 128 vectors are added in four partial sums each, and the blocks' sums with Knuth's
    TwoSum, so that the error of a sum of any length is at most 40 half ulps of the sum of
    magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, section 4.3), where plain
    addition along a column of n numbers has n.
    """
    n, steps, stride, shrink = strip
    j = i64(0)
    while j < steps:
        some = min(steps - j, BLOCK)
        place = j * stride
        block = (n - j * shrink, steps, stride, shrink)
        y = _block(kind, x + place, extra + place, block, some, rest, extreme)
        if kind != SUM:
            so_far = _join(kind, so_far, y)
        else:
            s = so_far + y
            part = s - so_far
            error = error + ((so_far - (s - part)) + (y - part))
            so_far = s
        j += BLOCK
    return so_far, error


@part
def _panel(kind, words, count, inner, z, x, extra, strip, columns, n, extreme):
    """Reduce a panel of n results over its strips, one a place of the loops `inner`."""
    rest = splat(_neutral(kind))
    s = error = ties = rest
    inside = True
    while inside:
        s, error = _strip(kind, x, extra, strip, s, error, rest, extreme)
        if kind == TIED_TANGENTS:
            ties, _ = _strip(TIES, x, extra, strip, ties, error, rest, extreme)
        inside, x, extra, _ = advance(words, count, inner, x, extra, 0, SX, SX, SX)
    if kind == SUM:
        s = s + known(error)
    if columns:
        store(z, n, s / ties if kind == TIED_TANGENTS else s)
    else:
        one = _fold(kind, s)
        floats(z)[0] = one / total(ties) if kind == TIED_TANGENTS else one


@part
def _rows(kind, z, x, m, n, step):
    """Reduce up to 8 short rows, which have one strip each."""
    if kind == SUM:
        sum_rows(z, x, m, n, step)
    elif kind == LARGEST:
        largest_of_rows(z, x, m, n, step)
    elif kind == SMALLEST:
        smallest_of_rows(z, x, m, n, step)


@part
def _load_extreme(kind, address, columns, n):
    zeros = splat(0.0)
    if kind != TIES and kind != TIED_TANGENTS:
        return zeros
    return load(address, n, zeros) if columns else splat(floats(address)[0])


@part
def _reduce(frame, i, kind, z, x, extreme_at, extra):
    """Reduce x to z; the tangents of extremes, which lie at `extreme_at`, from those at `extra`."""
    words = descriptor(frame, i)
    count = start_odometer(frame, words)
    kept, reduced = _members(words, True), _members(words, False)
    along, extent, stride = _innermost(words, reduced)
    if kept == 0:  # the usual case, and one that takes little time
        strip = _strip_shape(False, 1, extent, stride)
        extreme = _load_extreme(kind, extreme_at, False, 1)
        _panel(kind, words, count, reduced ^ along, z, x, extra, strip, False, 1, extreme)
        return
    across, wide, step = _innermost(words, kept)
    columns = step == WORD
    by = i64(8) if columns else i64(1)
    one_strip = not columns and stride == WORD and reduced == along
    rows = one_strip and extent <= SHORT_ROW and kind <= SMALLEST
    more = True
    while more:
        if rows:
            for j in range(0, wide, 8):
                _rows(kind, z + WORD * j, x + step * j, wide - j, extent, step)
        for j in range(wide if rows else 0, wide, by):
            n, xj, ej, zj = min(by, wide - j), x + step * j, extra + step * j, z + WORD * j
            strip = _strip_shape(columns, n, extent, stride)
            extreme = _load_extreme(kind, extreme_at + WORD * j, columns, n)
            _panel(kind, words, count, reduced ^ along, zj, xj, ej, strip, columns, n, extreme)
        offset = extra - x
        more, x, z, extreme_at = advance(words, count, kept ^ across, x, z, extreme_at, SX, SZ, SZ)
        extra = x + offset


# --- adjoints ----------------------------------------------------------------------------------


@part
def _spread_strip(kind, x, gx, strip, w, extreme, rest):
    """Add w to the adjoints of a strip, or to those of its elements that are the extreme."""
    n, steps, stride, shrink = strip
    for _ in range(steps):
        share = w if kind == SUM else where_same(load(x, n, rest), extreme, w)
        store(gx, n, load(gx, n, rest) + share)
        x, gx, n = x + stride, gx + stride, n - shrink


@part
def _spread_rows(w_at, gx, wide, extent, step):
    """Add each of `wide` adjoints to a short row: a strip would cost more than its numbers."""
    w, g = floats(w_at), floats(gx)
    move = step // WORD
    if extent == 2 and move == 2:
        for j in range(wide):
            g[2 * j] += w[j]
            g[2 * j + 1] += w[j]
        return
    for j in range(wide):
        one = w[j]
        for e in range(extent):
            g[move * j + e] += one


@part
def _spread(frame, i, kind, w_at, x, gx, extreme_at):
    """The transpose of `_reduce`: adjoints w of the results to adjoints gx of the operand."""
    words = descriptor(frame, i)
    count = start_odometer(frame, words)
    kept, reduced = _members(words, True), _members(words, False)
    across, wide, step = _innermost(words, kept)
    along, extent, stride = _innermost(words, reduced)
    columns = across != 0 and step == WORD
    by = i64(8) if columns else i64(1)
    rest = splat(0.0)
    short = kind == SUM and not columns and stride == WORD and reduced == along
    short = short and extent <= SHORT_SPREAD
    more = True
    while more:
        if short:
            _spread_rows(w_at, gx, wide, extent, step)
        for j in range(wide if short else 0, wide, by):
            n = min(by, wide - j)
            strip = _strip_shape(columns, n, extent, stride)
            w = load(w_at + WORD * j, n, rest)
            extreme = _load_extreme(kind, extreme_at + WORD * j, columns, n)
            if not columns:
                one = floats(w_at + WORD * j)[0]
                if kind == TIES and one == 0.0:
                    continue
                w = splat(one)
            xj, gj, inside = x + step * j, gx + step * j, True
            if kind == TIES:
                ties = rest
                while inside:
                    ties, _ = _strip(TIES, xj, xj, strip, ties, rest, rest, extreme)
                    inside, xj, gj, _ = advance(
                        words, count, reduced ^ along, xj, gj, 0, SX, SX, SX
                    )
                w = w / (ties if columns else splat(total(ties)))
                inside = True
            while inside:
                _spread_strip(kind, xj, gj, strip, w, extreme, rest)
                inside, xj, gj, _ = advance(words, count, reduced ^ along, xj, gj, 0, SX, SX, SX)
        offset = gx - x
        more, x, w_at, extreme_at = advance(
            words, count, kept ^ across, x, w_at, extreme_at, SX, SZ, SZ
        )
        gx = x + offset


# --- sum ---------------------------------------------------------------------------------------


@part
def _sum(frame, i, column):
    words = descriptor(frame, i)
    z = at(frame, column, operand(frame, OUT, i))
    constant = words[FLAGS] & X_CONSTANT
    if constant and column != V:
        fill(z, words[SIZE], 0.0)
    else:
        x = source(frame, column, constant, operand(frame, A, i))
        _reduce(frame, i, SUM, z, x, z, x)
    return 0


@part
def _sum_transposed(frame, i, column):
    if not descriptor(frame, i)[FLAGS] & X_CONSTANT:
        w = at(frame, column, operand(frame, OUT, i))
        gx = at(frame, column, operand(frame, A, i))
        _spread(frame, i, SUM, w, gx, gx, w)
    return 0


@kernel
def sum_forward(frame, i, end):
    """Sums over the reduced loops."""
    return _sum(frame, i, V)


@kernel
def sum_tangent(frame, i, end):
    """Sums of the tangents."""
    return _sum(frame, i, T)


@kernel
def sum_reverse(frame, i, end):
    """Each element gets the adjoint of the sum that it went into."""
    return _sum_transposed(frame, i, G)


@kernel
def sum_second(frame, i, end):
    """The transposed map for adjoints and their tangents."""
    return _sum_transposed(frame, i, G) + _sum_transposed(frame, i, H)


# --- max and min: linear, once it is known which elements are the extreme ------------------------


@part
def _extreme(frame, i, kind):
    words = descriptor(frame, i)
    z = at(frame, V, operand(frame, OUT, i))
    x = source(frame, V, words[FLAGS] & X_CONSTANT, operand(frame, A, i))
    _reduce(frame, i, kind, z, x, z, x)
    return 0


@part
def _extreme_tangent(frame, i):
    """The mean of the tangents of the elements that are the extreme."""
    words = descriptor(frame, i)
    out, start = operand(frame, OUT, i), operand(frame, A, i)
    if words[FLAGS] & X_CONSTANT:
        fill(at(frame, T, out), words[SIZE], 0.0)
    else:
        _reduce(frame, i, TIED_TANGENTS, at(frame, T, out), at(frame, V, start),
                at(frame, V, out), at(frame, T, start))  # fmt: skip
    return 0


@part
def _extreme_transposed(frame, i, column):
    """The elements that are the extreme share its adjoint equally, the others get nothing."""
    out, start = operand(frame, OUT, i), operand(frame, A, i)
    words = descriptor(frame, i)
    # A softmax subtracts a maximum that no derivative goes to.
    if not words[FLAGS] & X_CONSTANT and not all_zero(at(frame, column, out), words[SIZE]):
        _spread(frame, i, TIES, at(frame, column, out), at(frame, V, start),
                at(frame, column, start), at(frame, V, out))  # fmt: skip
    return 0


@kernel
def max_forward(frame, i, end):
    """Largest over the reduced loops, nan if there is one."""
    return _extreme(frame, i, LARGEST)


@kernel
def min_forward(frame, i, end):
    """Smallest over the reduced loops, nan if there is one."""
    return _extreme(frame, i, SMALLEST)


@kernel
def max_tangent(frame, i, end):
    """The mean of the tangents of the largest elements."""
    return _extreme_tangent(frame, i)


@kernel
def min_tangent(frame, i, end):
    """The mean of the tangents of the smallest elements."""
    return _extreme_tangent(frame, i)


@kernel
def max_reverse(frame, i, end):
    """The largest elements share the adjoint."""
    return _extreme_transposed(frame, i, G)


@kernel
def min_reverse(frame, i, end):
    """The smallest elements share the adjoint."""
    return _extreme_transposed(frame, i, G)


@kernel
def max_second(frame, i, end):
    """The transposed map for adjoints and their tangents."""
    return _extreme_transposed(frame, i, G) + _extreme_transposed(frame, i, H)


@kernel
def min_second(frame, i, end):
    """The transposed map for adjoints and their tangents."""
    return _extreme_transposed(frame, i, G) + _extreme_transposed(frame, i, H)
