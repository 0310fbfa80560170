"""Which operands an operation on arrays reads: how the sweep `reach` goes through its instruction.

Emitted like the kernels of spans.py: as njit functions this took a second of every cold start.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types

from ._jit import u8
from .nest import BODY, FIXED, FLAGS, KIND_WORD, LOOP, LOOPS, PRODUCT, SIZE, TERM, U
from .ops import FIRST_WIDE, FRAME, WIDE, WIDE_CODES
from .spans import NUMBER, STRIDE
from .vmath.kernel import Primitive, loop
from .vmath.memory import VOID, chosen, entry, integer, new_function, pointer, put, word
from .vmath.value import I64, Value

COLUMNS = ("op", "out", "a", "b", "c", "mark", "m", "scratch")
I8, I16 = ir.IntType(8), ir.IntType(16)
WITHOUT_LOOPS = {"wide_input", "collect", "gather", "scatter_add", "call"}


class Spread:
    """Emits the part of `reach` for a wide instruction i."""

    def __init__(self, frame: Value, i: Value) -> None:
        self.b = frame.b
        columns = {
            name: word(frame, position) for position, name in enumerate(FRAME) if name in COLUMNS
        }
        self.mark, self.counters = columns["mark"], columns["scratch"]
        self.d = columns["m"] + NUMBER * entry(columns["c"], i)
        b, op = self.b, pointer(columns["op"], I16)
        self.code = Value(b, b.zext(b.load(b.gep(op, [i.ir])), I64))
        self.size, self.count = word(self.d, SIZE), word(self.d, KIND_WORD)
        self.starts = {
            "x": entry(columns["a"], i), "y": entry(columns["b"], i), "u": word(self.d, U)
        }  # fmt: skip
        flags = word(self.d, FLAGS)
        self.is_slot = {name: (flags & (1 << j)) == 0 for j, name in enumerate(STRIDE)}
        self.first = entry(columns["out"], i)

    def emit(self) -> None:
        """Mark the operands if a slot of the result is marked and not spent."""
        with self.b.if_then(self.any_reached().ir):
            self.operands()

    def operands(self) -> None:
        """Mark the operands, as the kind of the instruction says."""
        for name in STRIDE:  # along the loops
            codes = [w.code for w in WIDE if name in w.operands and w.name not in WITHOUT_LOOPS]
            self.when(self.one_of(codes) & self.is_slot[name], partial(self.nest, name))
        kinds = (("gather", "x", self.count), ("gather", "y", self.size),
                 ("scatter_add", "x", self.size), ("scatter_add", "y", self.count),
                 ("scatter_add", "u", self.count))  # fmt: skip
        for kind, name, count in kinds:
            self.when(
                self.one_of([WIDE_CODES[kind]]) & self.is_slot[name],
                partial(self.span, self.starts[name], count),
            )
        self.when(self.one_of([WIDE_CODES["collect"]]), self.collected)
        self.when(self.one_of([WIDE_CODES["call"]]), self.pairs)
        self.when(self.one_of([WIDE_CODES["terms"]]), self.terms)

    def when(self, condition: Value, emitted: Callable[[], None]) -> None:
        with self.b.if_then(condition.ir):
            emitted()

    def one_of(self, codes: list[int]) -> Value:
        """Whether the instruction has one of these codes, by a table of bits."""
        bits = ir.IntType(128 * (1 + len(WIDE) // 128))
        table = ir.Constant(bits, sum(1 << (code - FIRST_WIDE) for code in codes))
        shift = self.b.zext((self.code - FIRST_WIDE).ir, bits)
        return Value(self.b, self.b.trunc(self.b.lshr(table, shift), ir.IntType(1)))

    # -- marks

    def any_reached(self) -> Value:
        """Whether a slot of the result is marked and not spent."""
        zero = integer(self.d, 0)

        def look(slot: Value, found: Value) -> tuple[Value, ...]:
            b = self.b
            both = b.and_(b.load(pointer(self.mark + slot, I8)), ir.Constant(I8, 3))
            reached = b.icmp_unsigned("==", both, ir.Constant(I8, 1))
            return slot + 1, Value(b, b.zext(reached, I64))

        end = self.first + self.size
        _, found = loop((self.first, zero), lambda slot, found: (slot < end) & (found == 0), look)
        return found != 0

    def set_mark(self, slot: Value) -> None:
        b, where = self.b, pointer(self.mark + slot, I8)
        b.store(b.or_(b.load(where), ir.Constant(I8, 1)), where)

    def span(self, start: Value, count: Value, stride: Value | int = 1) -> None:
        """Mark `count` slots."""

        def one(slot: Value, rest: Value) -> tuple[Value, ...]:
            self.set_mark(slot)
            return slot + stride, rest - 1

        loop((start, count), lambda slot, rest: rest > 0, one)

    def collected(self) -> None:
        def one(j: Value) -> tuple[Value, ...]:
            slot = word(self.d + NUMBER * j, BODY)
            self.when(slot >= 0, lambda: self.set_mark(slot))
            return (j + 1,)

        loop((integer(self.d, 0),), lambda j: j < self.size, one)

    def pairs(self) -> None:
        def one(j: Value) -> tuple[Value, ...]:
            pair = self.d + 2 * NUMBER * j
            self.span(word(pair, BODY + 1), word(pair, BODY + 2))
            return (j + 1,)

        loop((integer(self.d, 0),), lambda j: j < word(self.d, BODY), one)

    def terms(self) -> None:
        def one(j: Value) -> tuple[Value, ...]:
            term = self.d + TERM * NUMBER * j
            kind = word(term, BODY)
            self.when(kind < FIXED, lambda: self.set_mark(word(term, BODY + 1)))
            both = (kind == PRODUCT) | (kind == PRODUCT + 1)
            self.when(both, lambda: self.set_mark(word(term, BODY + 2)))
            return (j + 1,)

        loop((integer(self.d, 0),), lambda j: j < self.count, one)

    def nest(self, name: str) -> None:
        """Mark what an operand visits; loops in which it stands still are passed once.

        All loops but the last are an odometer.
        """
        zero, one = integer(self.d, 0), integer(self.d, 1)
        loops = word(self.d, LOOPS)
        outer = chosen(loops > 0, loops - 1, zero)
        last = self.d + NUMBER * LOOP * loops  # without a loop: the word SIZE, which is 1
        stride = chosen(loops == 0, one, word(last, STRIDE[name]))
        count = chosen(stride == 0, one, word(last))

        def clear(j: Value) -> tuple[Value, ...]:
            put(self.counters + NUMBER * j, zero)
            return (j + 1,)

        def row(start: Value, more: Value) -> tuple[Value, ...]:
            with self.b.if_else((stride == 1).ir) as (consecutive, apart):
                with consecutive:  # a loop of its own, for LLVM to vectorize
                    self.span(start, count)
                with apart:
                    self.span(start, count, stride)
            _, more, start = loop((outer - 1, zero, start), turning, turn)
            return start, more

        def turning(j: Value, more: Value, start: Value) -> Value:
            return (j >= 0) & (more == 0)

        def turn(j: Value, more: Value, start: Value) -> tuple[Value, ...]:
            described = self.d + NUMBER * (LOOP * j + BODY)
            step = word(described, STRIDE[name])
            done = word(self.counters + NUMBER * j)
            more = chosen((step != 0) & (done + 1 < word(described)), one, zero)
            put(self.counters + NUMBER * j, (done + 1) * more)
            return j - 1, more, start + step * (more - done * (1 - more))

        loop((zero,), lambda j: j < outer, clear)
        loop((self.starts[name], one), lambda start, more: more != 0, row)


def _lower(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    function, body, (frame, i) = new_function(b.module, "ndtape_spread", VOID, [I64] * 2)
    Spread(frame, i).emit()
    body.ret_void()
    b.call(function, args)
    return context.get_dummy_value()


spread = Primitive(
    "spread",
    lambda args: types.void(u8, u8) if len(args) == 2 else None,
    _lower,
    "spread(frame, i): mark the operands of the wide instruction i if its result is reached",
)
