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
from ..nest import (
    BODY,
    FLAGS,
    LOOP,
    LOOPS,
    SIZE,
    X_CONSTANT,
    X_QUIET,
    Y_CONSTANT,
    Y_QUIET,
)
from ..vmath import fma, mz
from .blas import DGEMM, PRODUCTS, WORK, gemm
from .eight import load, splat, store
from .tiles import (
    PANEL_DEPTH,
    columns_tile,
    depth_tile,
    outer_tile,
    panel,
    rows_by_rows_tile,
    transpose_tile,
)
from .walk import (
    BLAS,
    OUT,
    SCRATCH,
    WORD,
    A,
    B,
    C,
    G,
    H,
    T,
    V,
    advance,
    all_finite,
    all_zero,
    at,
    fill,
    floats,
    i64,
    kernel,
    operand,
    part,
    source,
    start_odometer,
    words_at,
)

X, Y, Z = 2, 3, 1  # where a loop's words hold the stride of x, y and the result

# As many accumulators as there are registers for: 32 with AVX-512, else at most half of that width.
ROOMY = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
TWICE = 2 if ROOMY else 1
tile_8x2 = columns_tile(8, 2, 1)
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
PACKING_ROWS, PACKING_SIZE = 48, 4096

# Products of rows with rows, which end with the joining of lanes, against transposing y first.
FEW_ROWS, MOST_ROWS, LONG_SUM = 4, 12, 48

# --- matrices: strides in bytes ------------------------------------------------------------------


@part
def _columns(z, keep, x, y, m, n, k, zm, xm, xk, yk):
    """z += x @ y where rows of y and z lie side by side."""
    r = i64(0)
    while r < m:
        rows, zr, xr, j = m - r, z + r * zm, x + r * xm, i64(0)
        if rows == 1:
            row(zr, keep, xr, y, n, k, xk, yk)
        elif ROOMY and rows > 4 and n > 8:
            while j + 8 < n:
                place = WORD * j
                tile_8x2(zr + place, keep, xr, y + place, rows, n - j, k, zm, xm, xk, yk)
                j += 16
            zr, y_rest = zr + WORD * j, y + WORD * j
            if j < n:
                tile_4x1(zr, keep, xr, y_rest, 4, n - j, k, zm, xm, xk, yk)
                tile_4x1(zr + 4 * zm, keep, xr + 4 * xm, y_rest, rows - 4, n - j, k,
                         zm, xm, xk, yk)  # fmt: skip
            r += 4
        else:
            while ROOMY and j + 8 < n:
                place = WORD * j
                tile_4x2(zr + place, keep, xr, y + place, rows, n - j, k, zm, xm, xk, yk)
                j += 16
            while j < n:
                place = WORD * j
                tile_4x1(zr + place, keep, xr, y + place, rows, n - j, k, zm, xm, xk, yk)
                j += 8
        r += 4


@part
def row(z, keep, x, y, n, k, xk, yk):
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
def outer(z, keep, x, y, m, n, zm, xm):
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
        outer(z, keep, x, y, m, n, zm, xm)
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
        short = ROOMY and (m <= FEW_ROWS or (m <= MOST_ROWS and k >= LONG_SUM))
        if apart and xk == WORD and yk == WORD and short:
            for r in range(0, m, 4):
                for j in range(0, n, 4):
                    rows_by_rows_tile(z + r * zm + j * WORD, keep, x + r * xm, y + j * yn,
                                      m - r, n - j, k, zm, xm, yn)  # fmt: skip
            return
        if apart and m >= 4:
            _packed(z, keep, x, y, m, n, k, zm, xm, xk, yk, yn)
            return
    for r in range(m):
        if side_by_side and yn == WORD:
            row(z + r * zm, keep, x + r * xm, y, n, k, xk, yk)
        elif k > 1 and xk == WORD and yk == WORD:
            _depths(z + r * zm, keep, x + r * xm, y, n, k, zn, yn)
        else:
            _scattered(z + r * zm, keep, x + r * xm, y, n, k, zn, xk, yk, yn)


# --- nests ---------------------------------------------------------------------------------------


@part
def _products(frame, c, z, keep, x, y, iz, ix, iy):
    """Add the products of x and y to z; iz, ix, iy say which strides of the nest they move by."""
    words = words_at(frame, c)
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
def _careful_products(frame, c, z, keep, w, y, iz, iw, iy):
    """As `_products`, where a factor w of 0 makes a product 0 whatever y is."""
    words = words_at(frame, c)
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
def products(frame, c, how):
    """Add the products of x and y to z over the nest of the descriptor at c; the low bits of `how`
    say by which strides they move."""
    address = i8_at(u8_at(frame)[SCRATCH])
    first = u8(FIRST_OPERAND)
    z, x, y, c, how = address[first], address[first + 1], address[first + 2], i64(c), i64(how)
    iz, ix, iy, keep = how & 3, how >> 2 & 3, how >> 4 & 3, how >> 6 & 1
    if how & CAREFUL:
        _careful_products(frame, c, z, keep, x, y, iz, ix, iy)
    else:
        _products(frame, c, z, keep, x, y, iz, ix, iy)
    return 0


@part
def multiply(frame, c, z, x, y, iz, ix, iy, how):
    """Call `products`."""
    address = i8_at(u8_at(frame)[SCRATCH])
    first = u8(FIRST_OPERAND)
    address[first], address[first + 1], address[first + 2] = z, x, y
    routine = u8_at(u8_at(frame)[BLAS])[PRODUCTS]
    call_at(routine, frame, u8(c), u8(iz | ix << 2 | iy << 4 | how))  # type: ignore[call-arg]


# --- sweeps, for an instruction with the columns a, b, c ------------------------------------------


@part
def factors(frame, a, b, c):
    """The addresses of the values x and y."""
    flags = words_at(frame, c)[FLAGS]
    return source(frame, V, flags & X_CONSTANT, a), source(frame, V, flags & Y_CONSTANT, b)


@part
def care(finite):
    return 0 if finite else CAREFUL


@part
def add_tangents(frame, a, b, c, t, keep, how):
    """Sums of products of the tangent of x with y, and of x with the tangent of y."""
    words = words_at(frame, c)
    flags = words[FLAGS]
    x, y = factors(frame, a, b, c)
    if not flags & X_CONSTANT:
        multiply(frame, c, t, at(frame, T, a), y, Z, X, Y, how | (KEEP if keep else 0))
    elif not keep:
        fill(t, words[SIZE], 0.0)
    if not flags & Y_CONSTANT:
        multiply(frame, c, t, at(frame, T, b), x, Z, Y, X, how | KEEP)


@part
def add_adjoints(frame, a, b, c, column, w, x, y, how):
    """Add w * y to the adjoints of x in a column, and w * x to those of y."""
    flags = words_at(frame, c)[FLAGS]
    if not flags & (X_CONSTANT | X_QUIET) and y != 0:
        multiply(frame, c, at(frame, column, a), w, y, X, Z, Y, how | KEEP)
    if not flags & (Y_CONSTANT | Y_QUIET) and x != 0:
        multiply(frame, c, at(frame, column, b), w, x, Y, Z, X, how | KEEP)


@part
def add_second(frame, a, b, c, out):
    """Adjoints as in reverse; their tangents are the products of wt and y, and of w and yt."""
    words = words_at(frame, c)
    size, flags = words[SIZE], words[FLAGS]
    w, wt = at(frame, G, out), at(frame, H, out)
    x, y = factors(frame, a, b, c)
    finite = all_finite(at(frame, V, out), size)
    if not all_zero(wt, size):
        add_adjoints(frame, a, b, c, H, wt, x, y, care(finite))
    if not all_zero(w, size):
        add_adjoints(frame, a, b, c, G, w, x, y, care(finite))
        # A finite tangent of the result is made of finite tangents.
        finite = finite and all_finite(at(frame, T, out), size)
        xt = i64(0) if flags & X_CONSTANT else at(frame, T, a)
        yt = i64(0) if flags & Y_CONSTANT else at(frame, T, b)
        add_adjoints(frame, a, b, c, H, w, xt, yt, care(finite))


# --- kernels -------------------------------------------------------------------------------------


@part
def _columns_of(frame, i):
    return operand(frame, A, i), operand(frame, B, i), operand(frame, C, i)


@part
def values(frame, i):
    """Sums of products of x and y."""
    a, b, c = _columns_of(frame, i)
    x, y = factors(frame, a, b, c)
    multiply(frame, c, at(frame, V, operand(frame, OUT, i)), x, y, Z, X, Y, 0)


@part
def tangents(frame, i):
    """Sums of products of the tangent of x with y, and of x with the tangent of y."""
    a, b, c = _columns_of(frame, i)
    out = operand(frame, OUT, i)
    how = care(all_finite(at(frame, V, out), words_at(frame, c)[SIZE]))
    add_tangents(frame, a, b, c, at(frame, T, out), 0, how)


@part
def adjoints(frame, i):
    """The adjoint of x is the product of w and y, that of y of w and x."""
    a, b, c = _columns_of(frame, i)
    out, size = operand(frame, OUT, i), words_at(frame, c)[SIZE]
    w = at(frame, G, out)
    if not all_zero(w, size):
        x, y = factors(frame, a, b, c)
        add_adjoints(frame, a, b, c, G, w, x, y, care(all_finite(at(frame, V, out), size)))


@part
def second(frame, i):
    """Adjoints as in reverse; their tangents are the products of wt and y, and of w and yt."""
    a, b, c = _columns_of(frame, i)
    add_second(frame, a, b, c, operand(frame, OUT, i))


@kernel
def dot_forward(frame, i, end):
    """Sums of products."""
    values(frame, i)
    return 0


@kernel
def dot_tangent(frame, i, end):
    """Their tangents."""
    tangents(frame, i)
    return 0


@kernel
def dot_reverse(frame, i, end):
    """The adjoints of both factors."""
    adjoints(frame, i)
    return 0


@kernel
def dot_second(frame, i, end):
    """The adjoints of both factors and their tangents."""
    second(frame, i)
    return 0
