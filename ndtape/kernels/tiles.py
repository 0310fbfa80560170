"""Register tiles of matrix products and of reductions along rows, emitted as LLVM code.

Written with Python loops that run when a kernel is compiled, as vmath's texts are: the accumulators
of a tile must stay in registers, which no loop over an array of them promises, and unrolled Numba
text costs a second of type inference.  Strides are in bytes; `keep` is 1 to add to z and 0 to
overwrite it; all are int64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import signature
from numba.extending import intrinsic

from .eight import (
    F64,
    I1,
    I64,
    LANES,
    VECTOR,
    called,
    folded,
    mask_of,
    masked_load,
    masked_store,
    number,
    plus,
    shuffled,
    splat_of,
    zeros,
)

Values = list[ir.Value]
VECTOR_BYTES = 8 * LANES


# The network that transposes 8 x 8: three layers of exchanges between lines 1, 2 and 4 apart.
EXCHANGES = (
    (1, [0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15]),
    (2, [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]),
    (4, [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]),
)


def counted(
    b: ir.IRBuilder, turns: ir.Value, state: Values, body: Callable[[Values], Values]
) -> Values:
    """`for _ in range(turns): state = body(state)`; returns the last state."""
    before = b.block
    head, inside, done = (b.append_basic_block(name) for name in ("head", "inside", "done"))
    b.branch(head)
    b.position_at_end(head)
    phis = []
    for value in [number(0), *state]:
        phi = b.phi(value.type)
        phi.add_incoming(value, before)
        phis.append(phi)
    b.cbranch(b.icmp_signed("<", phis[0], turns), inside, done)
    b.position_at_end(inside)
    following = [b.add(phis[0], number(1)), *body(phis[1:])]
    for phi, value in zip(phis, following, strict=True):
        phi.add_incoming(value, b.block)
    b.branch(head)
    b.position_at_end(done)
    return phis[1:]


def element(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return b.load(b.inttoptr(address, F64.as_pointer()))


def fma(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    return called(b, "llvm.fma.v8f64", VECTOR, x, y, z)


def offset(b: ir.IRBuilder, address: ir.Value, stride: ir.Value, times: int) -> ir.Value:
    return b.add(address, b.mul(stride, number(times))) if times else address


def emitted(count: int, doc: str) -> Callable[[Any], Any]:
    """Decorator: an emitter of `count` int64 parameters becomes a function for kernels."""

    def decorate(emit: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            emit(builder, *args)
            return context.get_dummy_value()

        answer = signature(types.void, *[types.int64] * count), codegen
        names = ", ".join(f"x{j}" for j in range(count))
        scope: dict[str, Any] = {"answer": answer}
        exec(f"def {emit.__name__}(typingctx, {names}):\n    return answer", scope)
        made = intrinsic(scope[emit.__name__])
        made.__doc__ = doc
        return made

    return decorate


def columns_tile(rows: int, vectors: int, unroll: int) -> Any:
    """z[r, j] += sum over k of x[r, k] * y[k, j] for m <= `rows` rows, n <= 8 * `vectors` columns.

    Columns of y and z lie side by side.  With few accumulators, `unroll` steps of k go to separate
    ones, because an addition takes longer than a step.
    """

    @emitted(
        11,
        f"up to {rows} rows, {8 * vectors} columns: (z, keep, x, y, m, n, depth, zm, xm, xk, yk)",
    )
    def tile(b, z, keep, x, y, m, n, depth, zm, xm, xk, yk):
        # Rows behind the last one compute the first one again, and store nothing.
        there = [b.icmp_signed("<", number(r), m) for r in range(rows)]
        masks = [mask_of(b, b.sub(n, number(LANES * v))) for v in range(vectors)]
        lefts = [number(VECTOR_BYTES * v) for v in range(vectors)]
        z_at = [[b.add(offset(b, z, zm, r), left) for left in lefts] for r in range(rows)]
        x_rows = [b.select(there[r], b.mul(xm, number(r)), number(0)) for r in range(rows)]
        writes = [[b.and_(mask, splat_of(b, there[r])) for mask in masks] for r in range(rows)]

        def step(x: ir.Value, y: ir.Value, sums: Values) -> Values:
            ys = [masked_load(b, b.add(y, left), mask, zeros())
                  for left, mask in zip(lefts, masks, strict=True)]  # fmt: skip
            result = []
            for r in range(rows):
                factor = splat_of(b, element(b, b.add(x, x_rows[r])))
                for v in range(vectors):
                    result.append(fma(b, factor, ys[v], sums[r * vectors + v]))
            return result

        def several(state: Values) -> Values:
            x, y, *sums = state
            result: Values = []
            size = rows * vectors
            for u in range(unroll):
                result += step(x, y, sums[u * size : (u + 1) * size])
                x, y = b.add(x, xk), b.add(y, yk)
            return [x, y, *result]

        def one(state: Values) -> Values:
            x, y, *sums = state
            return [b.add(x, xk), b.add(y, yk), *step(x, y, sums)]

        size = rows * vectors
        kept = splat_of(b, b.trunc(keep, I1))
        sums = [masked_load(b, z_at[r][v], b.and_(writes[r][v], kept), zeros())
                for r in range(rows) for v in range(vectors)]  # fmt: skip
        if unroll > 1:
            turns = b.sdiv(depth, number(unroll))
            x, y, *sums = counted(b, turns, [x, y, *sums, *[zeros()] * (size * (unroll - 1))],
                                  several)  # fmt: skip
            for u in range(1, unroll):
                for j in range(size):
                    sums[j] = b.fadd(sums[j], sums[u * size + j])
            depth = b.srem(depth, number(unroll))
        _, _, *sums = counted(b, depth, [x, y, *sums[:size]], one)
        for r in range(rows):
            for v in range(vectors):
                masked_store(b, z_at[r][v], writes[r][v], sums[r * vectors + v])

    return tile


def depth_tile(columns: int, unroll: int) -> Any:
    """z[j] += sum over k of x[k] * y[j, k] for `columns` columns, where k lies side by side."""

    @emitted(7, f"{columns} products over side-by-side numbers: (z, keep, x, y, depth, zn, yn)")
    def tile(b, z, keep, x, y, depth, zn, yn):
        ys = [b.mul(yn, number(c)) for c in range(columns)]

        def step(at: ir.Value, mask: ir.Value, sums: Values) -> Values:
            factor = masked_load(b, b.add(x, at), mask, zeros())
            return [
                fma(b, factor, masked_load(b, b.add(b.add(y, ys[c]), at), mask, zeros()), sums[c])
                for c in range(columns)
            ]

        everything = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [True] * LANES)

        def several(state: Values) -> Values:
            at, *sums = state
            result: Values = []
            for u in range(unroll):
                result += step(at, everything, sums[u * columns : (u + 1) * columns])
                at = b.add(at, number(VECTOR_BYTES))
            return [at, *result]

        def one(state: Values) -> Values:
            at, left, *sums = state
            return [b.add(at, number(VECTOR_BYTES)), b.sub(left, number(LANES)),
                    *step(at, mask_of(b, left), sums)]  # fmt: skip

        turns = b.sdiv(depth, number(LANES * unroll))
        at, *sums = counted(b, turns, [number(0), *[zeros()] * (columns * unroll)], several)
        for u in range(1, unroll):
            for c in range(columns):
                sums[c] = b.fadd(sums[c], sums[u * columns + c])
        left = b.srem(depth, number(LANES * unroll))
        turns = b.ashr(b.add(left, number(LANES - 1)), number(3))
        _, _, *sums = counted(b, turns, [at, left, *sums[:columns]], one)
        for c in range(columns):
            place = b.inttoptr(offset(b, z, zn, c), F64.as_pointer())
            old = b.select(b.trunc(keep, I1), b.load(place), ir.Constant(F64, 0.0))
            b.store(b.fadd(old, folded(b, sums[c], plus)), place)

    return tile


def dots_tile(rows: int) -> Any:
    """z[r] += sum over k of x[r, k] * v[k] for m <= `rows` rows, whose numbers lie side by side.

    The products of four or eight rows are added up together, see `rows_tile`.
    """

    @emitted(7, f"up to {rows} rows times a vector: (z, keep, x, v, m, depth, xm)")
    def tile(b, z, keep, x, v, m, depth, xm):
        # Rows behind the last one compute the first one again, and are not stored.
        lines = [
            b.add(x, b.select(b.icmp_signed("<", number(r), m), b.mul(xm, number(r)), number(0)))
            for r in range(rows)
        ]

        def step(at: ir.Value, mask: ir.Value, sums: Values) -> Values:
            factor = masked_load(b, b.add(v, at), mask, zeros())
            return [
                fma(b, factor, masked_load(b, b.add(line, at), mask, zeros()), s)
                for line, s in zip(lines, sums, strict=True)
            ]

        def whole(state: Values) -> Values:
            at, *sums = state
            return [b.add(at, number(VECTOR_BYTES)), *step(at, everything, sums)]

        def rest(state: Values) -> Values:
            at, *sums = state
            return [at, *step(at, mask_of(b, left), sums)]

        everything = ir.Constant(ir.VectorType(I1, LANES), [True] * LANES)
        left = b.and_(depth, number(LANES - 1))
        at, *sums = counted(b, b.ashr(depth, number(3)), [number(0), *[zeros()] * rows], whole)
        tail = b.zext(b.icmp_signed("!=", left, number(0)), I64)
        _, *sums = counted(b, tail, [at, *sums], rest)
        for _, low, high in EXCHANGES:
            if len(sums) > 1:
                pairs = list(zip(sums[::2], sums[1::2], strict=True))
                sums = [plus(b, shuffled(b, *p, low), shuffled(b, *p, high)) for p in pairs]
        if rows == LANES // 2:  # each sum in two halves
            sums = [plus(b, sums[0], shuffled(b, sums[0], sums[0], [4, 5, 6, 7, 0, 1, 2, 3]))]
        there = mask_of(b, m)
        kept = b.and_(there, splat_of(b, b.trunc(keep, I1)))
        masked_store(b, z, there, b.fadd(sums[0], masked_load(b, z, kept, zeros())))

    return tile


@emitted(10, "products of up to 4 rows with up to 4: (z, keep, x, y, m, n, depth, zm, xm, yn)")
def rows_by_rows_tile(b, z, keep, x, y, m, n, depth, zm, xm, yn):
    """z[r, j] += sum over k of x[r, k] * y[j, k] for m, n <= 4, where k lies side by side.

    Columns of z do, too.  The lanes of 16 sums are joined by the exchanges of a transposition.
    """
    xs = [b.select(b.icmp_signed("<", number(r), m), b.mul(xm, number(r)), number(0))
          for r in range(4)]  # fmt: skip
    ys = [b.select(b.icmp_signed("<", number(c), n), b.mul(yn, number(c)), number(0))
          for c in range(4)]  # fmt: skip

    def step(x: ir.Value, y: ir.Value, mask: ir.Value, sums: Values) -> Values:
        lines = [masked_load(b, b.add(y, place), mask, zeros()) for place in ys]
        result = []
        for r in range(4):
            factor = masked_load(b, b.add(x, xs[r]), mask, zeros())
            result += [fma(b, factor, lines[c], sums[4 * r + c]) for c in range(4)]
        return result

    everything = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [True] * LANES)

    def whole(state: Values) -> Values:
        at, *sums = state
        sums = step(b.add(x, at), b.add(y, at), everything, sums)
        return [b.add(at, number(VECTOR_BYTES)), *sums]

    turns = b.ashr(depth, number(3))
    at, *sums = counted(b, turns, [number(0), *[zeros()] * 16], whole)
    rest = mask_of(b, b.and_(depth, number(LANES - 1)))
    sums = step(b.add(x, at), b.add(y, at), rest, sums)
    for _, low, high in EXCHANGES:
        pairs = zip(sums[::2], sums[1::2], strict=True)
        sums = [b.fadd(shuffled(b, *pair, low), shuffled(b, *pair, high)) for pair in pairs]
    kept, four = splat_of(b, b.trunc(keep, I1)), number(4)
    for r in range(4):  # two rows of four in a vector, the second one behind the first
        skipped = 4 * (r % 2)
        place = b.sub(offset(b, z, zm, r), number(8 * skipped))
        count = b.select(b.icmp_signed("<", number(r), m), n, number(0))
        count = b.select(b.icmp_signed("<", count, four), count, four)
        lanes = [c - skipped if 0 <= c - skipped < 4 else 4 for c in range(LANES)]
        numbers = ir.Constant(ir.VectorType(I64, LANES), lanes)
        mask = b.icmp_signed("<", numbers, splat_of(b, count))
        old = masked_load(b, place, b.and_(mask, kept), zeros())
        masked_store(b, place, mask, b.fadd(sums[r // 2], old))


def outer_tile(vectors: int) -> Any:
    """z[r, j] += x[r] * y[j] for any rows and n <= 8 * vectors columns, which lie side by side."""

    @emitted(8, f"outer product with up to {8 * vectors} columns: (z, keep, x, y, m, n, zm, xm)")
    def tile(b, z, keep, x, y, m, n, zm, xm):
        masks = [mask_of(b, b.sub(n, number(LANES * v))) for v in range(vectors)]
        lefts = [number(VECTOR_BYTES * v) for v in range(vectors)]
        ys = [masked_load(b, b.add(y, left), mask, zeros())
              for left, mask in zip(lefts, masks, strict=True)]  # fmt: skip
        kept = splat_of(b, b.trunc(keep, I1))

        def row(state: Values) -> Values:
            z, x = state
            factor = splat_of(b, element(b, x))
            for left, mask, y in zip(lefts, masks, ys, strict=True):
                place = b.add(z, left)
                old = masked_load(b, place, b.and_(mask, kept), zeros())
                masked_store(b, place, mask, fma(b, factor, y, old))
            return [b.add(z, zm), b.add(x, xm)]

        counted(b, m, [z, x], row)

    return tile


@emitted(5, "transpose up to 8 lines of up to 8 numbers: (target, source, lines, n, stride)")
def transpose_tile(b, target, source, lines, n, stride):
    """target[q, c] = source[c, q] for c < lines, q < n; the rest of 8 x 8 becomes 0.

    Lines of the target are 16 numbers apart.
    """
    rows = []
    for c in range(LANES):
        count = b.select(b.icmp_signed("<", number(c), lines), n, number(0))
        rows.append(masked_load(b, offset(b, source, stride, c), mask_of(b, count), zeros()))
    for distance, low, high in EXCHANGES:
        for r in range(LANES):
            if not r & distance:
                pair = rows[r], rows[r + distance]
                rows[r], rows[r + distance] = shuffled(b, *pair, low), shuffled(b, *pair, high)
    for q in range(LANES):
        b.store(
            rows[q], b.inttoptr(b.add(target, number(16 * 8 * q)), VECTOR.as_pointer())
        ).align = 8


def rows_tile(join: Callable[..., ir.Value], neutral: float) -> Any:
    """z[r] = all of x[r, 0..n-1] joined, for m <= 8 rows, whose numbers lie side by side.

    The lanes of eight rows are joined together, by the exchanges of a transposition: a third of
    the work of joining those of one row eight times.
    """

    @emitted(5, "join the numbers of up to 8 rows: (z, x, m, n, xm)")
    def tile(b, z, x, m, n, xm):  # type: ignore[no-untyped-def]
        rest = ir.Constant(VECTOR, [neutral] * LANES)
        rows = [
            b.add(x, b.select(b.icmp_signed("<", number(r), m), b.mul(xm, number(r)), number(0)))
            for r in range(LANES)
        ]

        def step(state: Values) -> Values:
            at, left, *sums = state
            mask = mask_of(b, left)
            for r in range(LANES):
                sums[r] = join(b, sums[r], masked_load(b, b.add(rows[r], at), mask, rest))
            return [b.add(at, number(VECTOR_BYTES)), b.sub(left, number(LANES)), *sums]

        mask = mask_of(b, n)
        sums = [masked_load(b, row, mask, rest) for row in rows]
        turns = b.ashr(b.sub(n, number(1)), number(3))
        state = [number(VECTOR_BYTES), b.sub(n, number(LANES)), *sums]
        _, _, *sums = counted(b, turns, state, step)
        for _, low, high in EXCHANGES:
            pairs = zip(sums[::2], sums[1::2], strict=True)
            sums = [join(b, shuffled(b, *pair, low), shuffled(b, *pair, high)) for pair in pairs]
        masked_store(b, z, mask_of(b, m), sums[0])

    return tile


PANEL_DEPTH = 128


def stack_room(numbers: int) -> Any:
    """A function for kernels: the address of room for so many float64 on the stack."""

    def room(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            with builder.goto_entry_block():
                room = builder.alloca(ir.ArrayType(F64, numbers))
                room.align = 64
            return builder.ptrtoint(room, I64)

        return types.int64(), codegen

    return intrinsic(room)


panel = stack_room(16 * PANEL_DEPTH)  # rows of 16 numbers
