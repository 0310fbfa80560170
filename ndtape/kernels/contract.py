"""Kernels of `dot`: z[..] += x[..] * y[..] over a nest, which is every product of einsum.

One routine does forward, both adjoints, tangents and second derivatives, with the roles of the
three arrays exchanged: the adjoint of x is the product of w and y, walked over by the same loops.
From the innermost loops it takes at most one of each kind, depending on which array stands still

    M   y        N   x        K   the result

and runs the rest, which are batches as a rule, around them.  Products of matrices are own loops
(tiles.py) up to BLAS_WORK multiplications and BLAS from there on.

Zero adjoints must contribute nothing even against an infinite or nan factor.  Where all results
are finite all factors were, and plain products are right; else a slow loop looks at each one.
"""

from __future__ import annotations

from numba.core.registry import cpu_target

from .._jit import call_at, i8_at, u8, u8_at
from ..nest import BODY, FLAGS, LOOP, LOOPS, SIZE, X_CONSTANT, X_QUIET, Y_CONSTANT, Y_QUIET
from ..vmath import fma, mz
from .blas import DGEMM, PRODUCTS, WORK, gemm
from .eight import load, splat, store
from .tiles import PANEL_DEPTH, columns_tile, depth_tile, outer_tile, panel, transpose_tile
from .walk import (
    BLAS,
    OUT,
    SCRATCH,
    WORD,
    A,
    B,
    G,
    H,
    T,
    V,
    advance,
    all_finite,
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

X, Y, Z = 2, 3, 1  # where a loop's words hold the stride of x, y and the result

# As many accumulators as there are registers for: 32 with AVX-512, else at most half of that width.
ROOMY = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
TWICE = 2 if ROOMY else 1
tile_4x2 = columns_tile(4, 2, 1)
tile_4x1 = columns_tile(4, 1, TWICE)
tile_1x4 = columns_tile(1, 4, TWICE)
tile_1x1 = columns_tile(1, 1, 4)
outer_32 = outer_tile(4)
outer_8 = outer_tile(1)
depth_4 = depth_tile(4, TWICE)
depth_1 = depth_tile(1, 4)
PANEL_ROW, VECTOR = 16 * WORD, 8 * WORD
BLOCK_ROWS = 128
# Rows of x, and numbers of y, from which a y whose rows lie side by side is packed all the same:
# its rows are so far apart then that they evict each other from the first cache.
PACKING_ROWS, PACKING_SIZE = 48, 8192

# --- matrices: strides in bytes ------------------------------------------------------------------


@part
def _columns(z, keep, x, y, m, n, k, zm, xm, xk, yk):
    """z += x @ y where rows of y and z lie side by side."""
    for r in range(0, m, 4):
        rows, zr, xr, j = m - r, z + r * zm, x + r * xm, i64(0)
        if rows == 1:
            _row(zr, keep, xr, y, n, k, xk, yk)
        else:
            while ROOMY and j + 8 < n:
                place = WORD * j
                tile_4x2(zr + place, keep, xr, y + place, rows, n - j, k, zm, xm, xk, yk)
                j += 16
            while j < n:
                place = WORD * j
                tile_4x1(zr + place, keep, xr, y + place, rows, n - j, k, zm, xm, xk, yk)
                j += 8


@part
def _row(z, keep, x, y, n, k, xk, yk):
    """z += x @ y for a vector x."""
    j = i64(0)
    while j + 24 < n:
        tile_1x4(z + WORD * j, keep, x, y + WORD * j, 1, n - j, k, 0, 0, xk, yk)
        j += 32
    while j < n:
        tile_1x1(z + WORD * j, keep, x, y + WORD * j, 1, n - j, k, 0, 0, xk, yk)
        j += 8


@part
def _depths(z, keep, x, y, n, k, zn, yn):
    """z += y.T @ x for a vector x where columns of y lie side by side."""
    j = i64(0)
    while j + 4 <= n:
        depth_4(z + j * zn, keep, x, y + j * yn, k, zn, yn)
        j += 4
    while j < n:
        depth_1(z + j * zn, keep, x, y + j * yn, k, zn, yn)
        j += 1


@part
def _scattered(z, keep, x, y, n, k, zn, xk, yk, yn):
    """z += x @ y for a vector x and any strides."""
    for j in range(n):
        s, xj, yj = 0.0, x, y + j * yn
        for _ in range(k):
            s = fma(floats(xj)[0], floats(yj)[0], s)
            xj, yj = xj + xk, yj + yk
        place = floats(z + j * zn)
        place[0] = place[0] + s if keep else s


@part
def _pack(room, y, width, depth, yk, yn):
    """Copy `depth` rows of up to 16 columns of y side by side."""
    if yk == WORD:
        for q in range(0, depth, 8):
            for c in range(0, width, 8):
                transpose_tile(room + q * PANEL_ROW + c * WORD, y + q * WORD + c * yn,
                               width - c, depth - q, yn)  # fmt: skip
    elif yn == WORD:
        rest = splat(0.0)
        for q in range(depth):
            target, origin = room + q * PANEL_ROW, y + q * yk
            store(target, 8, load(origin, width, rest))
            store(target + VECTOR, 8, load(origin + VECTOR, width - 8, rest))
    else:
        for q in range(depth):
            for c in range(width):
                floats(room + q * PANEL_ROW)[c] = floats(y + q * yk + c * yn)[0]


@part
def _packed(z, keep, x, y, m, n, k, zm, xm, xk, yk, yn):
    """z += x @ y for a y of any strides: 16 columns at a time are brought together first.

    A panel of y stays in the first cache and a block of x in the second.
    """
    room = panel()
    for start in range(0, k, PANEL_DEPTH):
        depth, again = min(k - start, PANEL_DEPTH), i64(keep or start > 0)
        for r in range(0, m, BLOCK_ROWS):
            rows, zr, xr = min(m - r, BLOCK_ROWS), z + r * zm, x + r * xm + start * xk
            for j in range(0, n, 16):
                width = min(n - j, 16)
                _pack(room, y + start * yk + j * yn, width, depth, yk, yn)
                _columns(zr + j * WORD, again, xr, room, rows, width, depth, zm, xm, xk, PANEL_ROW)


@part
def _outer(z, keep, x, y, m, n, zm, xm):
    """z += the outer product of x and y."""
    if n < 8:  # rows that overlap as vectors would wait for each other's stores
        for r in range(m):
            zr, factor = floats(z + r * zm), floats(x + r * xm)[0]
            for j in range(n):
                zr[j] = fma(factor, floats(y)[j], zr[j] if keep else 0.0)
        return
    start = i64(0)
    while start + 32 <= n:
        outer_32(z + WORD * start, keep, x, y + WORD * start, m, n - start, zm, xm)
        start += 32
    while start < n:
        outer_8(z + WORD * start, keep, x, y + WORD * start, m, n - start, zm, xm)
        start += 8


@part
def _matrix(frame, z, keep, x, y, m, n, k, zm, zn, xm, xk, yk, yn):
    """z += x @ y for matrices with any strides."""
    if not (n > 1 and zn == WORD and yn == WORD) and (
        n == 1 or (zm == WORD and (xm == WORD or zn != WORD))
    ):
        x, y, m, n, zm, zn, xm, xk, yk, yn = y, x, n, m, zn, zm, yn, yk, xk, xm
    side_by_side = zn == WORD and n > 1
    if k == 1 and side_by_side and yn == WORD:
        _outer(z, keep, x, y, m, n, zm, xm)
        return
    if side_by_side and m > 1:
        table = i8_at(u8_at(frame)[BLAS])
        if m * n * k >= table[WORK] and table[DGEMM] != 0:
            if gemm(frame, table[DGEMM], z, keep, x, y, m, n, k, zm, xm, xk, yk, yn):
                return
        # A tile reads all its results before it writes one: they must be different places.
        apart = abs(zm) >= WORD * n
        if apart and yn == WORD and (m < PACKING_ROWS or n * k < PACKING_SIZE):
            _columns(z, keep, x, y, m, n, k, zm, xm, xk, yk)
            return
        if apart and m >= 4:
            _packed(z, keep, x, y, m, n, k, zm, xm, xk, yk, yn)
            return
    for r in range(m):
        if side_by_side and yn == WORD:
            _row(z + r * zm, keep, x + r * xm, y, n, k, xk, yk)
        elif k > 1 and xk == WORD and yk == WORD:
            _depths(z + r * zm, keep, x + r * xm, y, n, k, zn, yn)
        else:
            _scattered(z + r * zm, keep, x + r * xm, y, n, k, zn, xk, yk, yn)


# --- nests ---------------------------------------------------------------------------------------


@part
def _products(frame, i, z, keep, x, y, iz, ix, iy):
    """Add the products of x and y to z; iz, ix, iy say which strides of the nest they move by."""
    words = descriptor(frame, i)
    m = n = k = i64(1)
    zm = zn = xm = xk = yk = yn = i64(0)
    outer = words[LOOPS]
    while outer > 0:
        loop = BODY + LOOP * (outer - 1)
        extent = words[loop]
        sz, sx, sy = WORD * words[loop + iz], WORD * words[loop + ix], WORD * words[loop + iy]
        if sz == 0:
            if k > 1:
                break
            k, xk, yk = extent, sx, sy
        elif sy == 0:
            if m > 1:
                break
            m, zm, xm = extent, sz, sx
        elif sx == 0:
            if n > 1:
                break
            n, zn, yn = extent, sz, sy
        else:
            break
        outer -= 1
    if outer == 0:
        _matrix(frame, z, keep, x, y, m, n, k, zm, zn, xm, xk, yk, yn)
        return
    count = start_odometer(frame, words)
    loop = BODY + LOOP * (outer - 1)
    together = words[loop + iz] == 1 and words[loop + ix] == 1 and words[loop + iy] == 1
    members = (i64(1) << outer) - 1
    if together:  # then that loop is the inner one, and all others are outside
        members = ((i64(1) << words[LOOPS]) - 1) ^ (i64(1) << (outer - 1))
    if not keep and _meets_again(words, members, iz):
        fill(z, words[SIZE], 0.0)
        keep = i64(1)
    more = True
    while more:
        if together:
            _elements(z, keep, x, y, words[loop])
        else:
            _matrix(frame, z, keep, x, y, m, n, k, zm, zn, xm, xk, yk, yn)
        more, z, x, y = advance(words, count, members, z, x, y, iz, ix, iy)


@part
def _meets_again(words, members, iz):
    """Whether some of these loops come back to the same results."""
    for j in range(words[LOOPS]):
        if members >> j & 1 and words[BODY + LOOP * j + iz] == 0:
            return True
    return False


@part
def _elements(z, keep, x, y, count):
    """z += x * y, number by number."""
    rest = splat(0.0)
    for j in range(0, count, 8):
        place, n = WORD * j, count - j
        old = load(z + place, n * keep, rest)
        store(z + place, n, old + load(x + place, n, rest) * load(y + place, n, rest))


@part
def _careful_products(frame, i, z, keep, w, y, iz, iw, iy):
    """As `_products`, where a factor w of 0 makes a product 0 whatever y is."""
    words = descriptor(frame, i)
    if not keep:
        fill(z, words[SIZE], 0.0)
    count = start_odometer(frame, words)
    members = (i64(1) << words[LOOPS]) - 1
    more = True
    while more:
        floats(z)[0] += mz(floats(w)[0], floats(y)[0])
        more, z, w, y = advance(words, count, members, z, w, y, iz, iw, iy)


# Four kernels share the machine code of this one: it is what takes time to compile.  The addresses
# of z, x and y lie in scratch words, what else it must know is packed into `how`.
FIRST_OPERAND = 60
KEEP, CAREFUL = 1 << 6, 1 << 7  # add to z, and do not overwrite it; mind factors of 0


@kernel
def products(frame, i, how):
    """Add the products of x and y to z; the low bits of `how` say by which strides they move."""
    address = i8_at(u8_at(frame)[SCRATCH])
    first = u8(FIRST_OPERAND)
    z, x, y, how = address[first], address[first + 1], address[first + 2], i64(how)
    iz, ix, iy, keep = how & 3, how >> 2 & 3, how >> 4 & 3, how >> 6 & 1
    if how & CAREFUL:
        _careful_products(frame, i, z, keep, x, y, iz, ix, iy)
    else:
        _products(frame, i, z, keep, x, y, iz, ix, iy)
    return 0


@part
def _multiply(frame, i, z, x, y, iz, ix, iy, how):
    """Call `products`."""
    address = i8_at(u8_at(frame)[SCRATCH])
    first = u8(FIRST_OPERAND)
    address[first], address[first + 1], address[first + 2] = z, x, y
    routine = u8_at(u8_at(frame)[BLAS])[PRODUCTS]
    call_at(routine, frame, i, u8(iz | ix << 2 | iy << 4 | how))  # type: ignore[call-arg]


# --- kernels -------------------------------------------------------------------------------------


@part
def _operands(frame, i):
    """The addresses of the values x and y."""
    flags = descriptor(frame, i)[FLAGS]
    return (
        source(frame, V, flags & X_CONSTANT, operand(frame, A, i)),
        source(frame, V, flags & Y_CONSTANT, operand(frame, B, i)),
    )


@part
def _care(finite):
    return 0 if finite else CAREFUL


@part
def _adjoints(frame, i, column, w, x, y, care):
    """Add w * y to the adjoints of x in a column, and w * x to those of y."""
    flags, how = descriptor(frame, i)[FLAGS], KEEP | care
    if not flags & (X_CONSTANT | X_QUIET) and y != 0:
        _multiply(frame, i, at(frame, column, operand(frame, A, i)), w, y, X, Z, Y, how)
    if not flags & (Y_CONSTANT | Y_QUIET) and x != 0:
        _multiply(frame, i, at(frame, column, operand(frame, B, i)), w, x, Y, Z, X, how)


@kernel
def dot_forward(frame, i, end):
    """Sums of products of x and y."""
    x, y = _operands(frame, i)
    _multiply(frame, i, at(frame, V, operand(frame, OUT, i)), x, y, Z, X, Y, 0)
    return 0


@kernel
def dot_tangent(frame, i, end):
    """Sums of products of the tangent of x with y, and of x with the tangent of y."""
    words, out = descriptor(frame, i), operand(frame, OUT, i)
    flags, size, t = words[FLAGS], words[SIZE], at(frame, T, out)
    x, y = _operands(frame, i)
    how = _care(all_finite(at(frame, V, out), size))
    if flags & X_CONSTANT:
        fill(t, size, 0.0)
    else:
        _multiply(frame, i, t, at(frame, T, operand(frame, A, i)), y, Z, X, Y, how)
    if not flags & Y_CONSTANT:
        _multiply(frame, i, t, at(frame, T, operand(frame, B, i)), x, Z, Y, X, KEEP | how)
    return 0


@kernel
def dot_reverse(frame, i, end):
    """The adjoint of x is the product of w and y, that of y of w and x."""
    out, size = operand(frame, OUT, i), descriptor(frame, i)[SIZE]
    w = at(frame, G, out)
    if not all_zero(w, size):
        x, y = _operands(frame, i)
        _adjoints(frame, i, G, w, x, y, _care(all_finite(at(frame, V, out), size)))
    return 0


@kernel
def dot_second(frame, i, end):
    """Adjoints as in reverse; their tangents are the products of wt and y, and of w and yt."""
    words, out = descriptor(frame, i), operand(frame, OUT, i)
    size, flags = words[SIZE], words[FLAGS]
    w, wt = at(frame, G, out), at(frame, H, out)
    x, y = _operands(frame, i)
    finite = all_finite(at(frame, V, out), size)
    if not all_zero(wt, size):
        _adjoints(frame, i, H, wt, x, y, _care(finite))
    if not all_zero(w, size):
        _adjoints(frame, i, G, w, x, y, _care(finite))
        # A finite tangent of the result is made of finite tangents.
        finite = finite and all_finite(at(frame, T, out), size)
        xt = i64(0) if flags & X_CONSTANT else at(frame, T, operand(frame, A, i))
        yt = i64(0) if flags & Y_CONSTANT else at(frame, T, operand(frame, B, i))
        _adjoints(frame, i, H, w, xt, yt, _care(finite))
    return 0
