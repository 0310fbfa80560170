"""Elementwise operations on spans: the walk over a loop nest, emitted around the text of a rule.

A kernel of _maps.py is the text of one rule for packs, such as ``mz(w, y), mz(w, x)``; here stands
what is around it for every row: operands, loops, masks.  Like the texts of vmath this runs when a
kernel is compiled and emits LLVM code, so that Numba has nothing to infer: most kernels compile in
0.13 s.  Rejected: the loops as njit code in each kernel; that multiplies generated lines by ten and
inference by more.

The innermost loop goes in packs of 16 lanes, each with a mask, so that a rule stands in the loop
once.  The next loop is a plain one, further ones are an odometer in the scratch words.  The usual
nest, one loop over consecutive numbers, goes a way of its own without a trace of the others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import types

from ._jit import Sweep
from .nest import BODY, FLAGS, LOOP, LOOPS, SIZE, U
from .ops import FRAME
from .vmath.kernel import Primitive, loop
from .vmath.memory import (
    VOID,
    Thunk,
    add_total,
    chosen,
    either,
    entry,
    gather,
    integer,
    lane_numbers,
    load,
    new_function,
    packed,
    put,
    repeated,
    scatter,
    store,
    word,
)
from .vmath.value import I64, LANES, Value

OPERANDS = "xyu"
STRIDE = {"x": 2, "y": 3, "u": 4}  # words of a loop
COLUMNS = ("out", "a", "b", "c", "k", "v", "g", "t", "h", "m", "scratch")  # of the frame
# Lanes beyond the end compute with a number that no function takes a slow way for, and have no
# adjoint.
HARMLESS = 1.0
OF_RESULT = {"z": ("v", HARMLESS), "zt": ("t", 0.0), "w": ("g", 0.0), "wt": ("h", 0.0)}
NUMBER = 8  # bytes of a number, and of a word


class SpanKernel(Sweep):
    """A kernel from the text of its rule; the text's parameters say which packs it needs.

    `operands` names those that contributions come from or go to, in the order of what the text
    returns.
    """

    def __init__(
        self, walk: type[Walk], fingerprint: str, operands: str, text: Callable[..., Any]
    ) -> None:
        self.walk, self.operands, self.text = walk, operands, text

        def lower(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
            return b.ptrtoint(self._kernel(b.module), I64)

        primitive = Primitive(text.__name__, lambda args: types.int64(), lower, None)
        code = _where.__code__.replace(
            co_name=text.__name__,
            co_filename=text.__code__.co_filename,  # beside which Numba keeps its cache
            co_firstlineno=text.__code__.co_firstlineno,
        )
        names = {"emitted": primitive, "__name__": text.__module__}
        super().__init__(FunctionType(code, names, text.__name__), fingerprint)

    def _compile(self) -> int:
        # Numba compiles a function that answers where the kernel is.  A kernel that Numba called
        # would be two calls deeper, which costs a third of a small one.
        super()._compile()
        return int(self._compiled.ctypes(0, 0, 0)) & 0xFFFFFFFFFFFFFFFF

    def _kernel(self, module: ir.Module) -> ir.Function:
        """The function (frame, i, end) -> status."""
        function, b, (frame, i, _) = new_function(module, "ndtape_kernel", I64, [I64] * 3)
        walk = self.walk(self.text, self.operands, frame, i)
        with b.if_else(walk.is_simple().ir) as (simple, other):
            with simple:
                walk.strided = False
                walk.row(walk.z, [s.start for s in walk.streams.values()])
            with other:
                b.call(self._nest(module), [frame.ir, i.ir])
        b.ret(ir.Constant(I64, 0))
        return function

    def _nest(self, module: ir.Module) -> ir.Function:
        """The walk in general: a function of its own, lest it take registers from the usual one."""
        function, b, (frame, i) = new_function(module, "ndtape_nest", VOID, [I64] * 2)
        self.walk(self.text, self.operands, frame, i).nest()
        b.ret_void()
        return function


def _where(frame, i, end):  # type: ignore[no-untyped-def]
    return emitted()  # type: ignore[name-defined]  # noqa: F821


class Stream:
    """An operand on its way through the loops; offsets and strides in bytes."""

    def __init__(self, name: str, start: Value, constant: Value) -> None:
        self.name = name
        self.start = start
        self.constant = constant  # whether it stands in the pool k
        self.stride = self.outer = start  # of the two innermost loops, set by `Walk`


class Walk:
    """Emits a kernel: the loops are the same for all, `block` is what a sweep does with packs."""

    ACCUMULATED: tuple[str, ...] = ()  # columns to which contributions are added

    def __init__(self, text: Callable[..., Any], operands: str, frame: Value, i: Value) -> None:
        self.text, self.operands = text, operands
        self.reads = list(inspect.signature(text).parameters)
        self.strided = True  # operands may have strides other than 0 and 1
        self.columns = {
            name: word(frame, position) for position, name in enumerate(FRAME) if name in COLUMNS
        }
        d = self.d = self.columns["m"] + NUMBER * entry(self.columns["c"], i)
        self.z = NUMBER * entry(self.columns["out"], i)
        self.loops = word(d, LOOPS)
        # Without a loop, the word SIZE, which is 1, stands where the last loop would have its
        # extent; its strides are then made those of consecutive numbers.
        assert SIZE == 0 and BODY == LOOP
        last = d + NUMBER * LOOP * self.loops
        before = d + NUMBER * LOOP * chosen(self.loops > 1, self.loops - 1, integer(d, 0))
        self.extent = word(last)
        self.outer = chosen(self.loops > 1, word(before), integer(d, 1))
        self.streams: dict[str, Stream] = {}
        flags = word(d, FLAGS)
        for j, name in enumerate(OPERANDS):
            if name in operands or name in self.reads or name + "t" in self.reads:
                first = word(d, U) if name == "u" else entry(self.columns["ab"[j]], i)
                stream = Stream(name, NUMBER * first, (flags & (1 << j)) != 0)
                stride = chosen(self.loops == 0, integer(d, 1), word(last, STRIDE[name]))
                stream.stride = NUMBER * stride
                stream.outer = NUMBER * word(before, STRIDE[name])
                self.streams[name] = stream

    # -- loops

    def is_simple(self) -> Value:
        """Whether there is one loop at most, and operands are consecutive or stand still."""
        unusual = self.loops & ~1
        for stream in self.streams.values():
            unusual = unusual | (stream.stride & ~NUMBER)
        return unusual == 0

    def nest(self) -> None:
        """All loops: an odometer around the two innermost ones."""
        if self.ACCUMULATED:
            self.merge()
        streams = list(self.streams.values())
        scratch = self.columns["scratch"]
        zero, one = integer(self.d, 0), integer(self.d, 1)

        def clear(j: Value) -> tuple[Value, ...]:
            put(scratch + NUMBER * j, zero)
            return (j + 1,)

        def next_row(z: Value, rest: Value, *offsets: Value) -> tuple[Value, ...]:
            self.row(z, offsets)
            moved = (o + s.outer for o, s in zip(offsets, streams, strict=True))
            return z + NUMBER * self.extent, rest - 1, *moved

        def next_rows(more: Value, z: Value, *offsets: Value) -> tuple[Value, ...]:
            z, *_ = loop((z, self.outer, *offsets), lambda z, rest, *_: rest > 0, next_row)
            more, *offsets_ = self.advanced(offsets)
            return more, z, *offsets_

        loop((zero,), lambda j: j < self.loops - 2, clear)
        start = (one, self.z, *(s.start for s in streams))
        loop(start, lambda more, *_: more != 0, next_rows)

    def merge(self) -> None:
        """Make one of the two innermost loops where only an operand nobody looks at forbids it.

        In reverse, a constant that the rule does not read is such: data minus parameters then has
        rows of all the parameters, not of a point's two coordinates.
        """
        fits = self.loops > 1
        for name, stream in self.streams.items():
            joined = stream.outer == stream.stride * self.extent
            if name not in self.reads and name + "t" not in self.reads:
                joined = joined | stream.constant
            fits = fits & joined
        zero, one = integer(self.d, 0), integer(self.d, 1)
        self.extent = self.extent * chosen(fits, self.outer, one)
        self.loops = self.loops - chosen(fits, one, zero)
        nested = self.loops > 1
        before = self.d + NUMBER * LOOP * chosen(nested, self.loops - 1, zero)
        self.outer = chosen(nested, word(before), one)
        for name, stream in self.streams.items():
            stream.outer = NUMBER * word(before, STRIDE[name])

    def advanced(self, offsets: Sequence[Value]) -> tuple[Value, ...]:
        """The odometer's next position: whether there is one, and the operands' offsets."""
        counters, zero, one = self.columns["scratch"], integer(self.d, 0), integer(self.d, 1)

        def turn(j: Value, more: Value, *offsets: Value) -> tuple[Value, ...]:
            described = self.d + NUMBER * (LOOP * j + BODY)
            extent = word(described)
            count = word(counters + NUMBER * j) + 1
            fits = count < extent  # else it starts anew, and the loop around it moves
            put(counters + NUMBER * j, chosen(fits, count, zero))
            steps = chosen(fits, one, 1 - extent)
            moved = (
                offset + NUMBER * word(described, STRIDE[name]) * steps
                for offset, name in zip(offsets, self.streams, strict=True)
            )
            return j - 1, chosen(fits, one, zero), *moved

        start = (self.loops - 3, zero, *offsets)
        _, *state = loop(start, lambda j, more, *_: (j >= 0) & (more == 0), turn)
        return tuple(state)

    def row(self, z: Value, offsets: Sequence[Value]) -> None:
        """The innermost loop, in packs; what goes to an operand that stands is summed up first."""
        streams = list(self.streams.values())
        count = len(streams)
        sums = [packed(z, 0.0) for _ in self.operands for _ in self.ACCUMULATED]

        def step(rest: Value, z: Value, *state: Value) -> tuple[Value, ...]:
            places = dict(zip(self.streams, state[:count], strict=True))
            later = self.block(lane_numbers(z) < rest, z, places, state[count:])
            moved = (o + LANES * s.stride for o, s in zip(state[:count], streams, strict=True))
            return rest - LANES, z + LANES * NUMBER, *moved, *later

        start = (self.extent, z, *offsets, *sums)
        state = loop(start, lambda rest, *_: rest > 0, step)
        totals = iter(state[2 + count :])
        for name in self.operands if self.ACCUMULATED else "":
            stream, place = self.streams[name], offsets[list(self.streams).index(name)]
            mine = [next(totals) for _ in self.ACCUMULATED]
            with z.b.if_then(((stream.stride == 0) & ~stream.constant).ir):
                for column, pack in zip(self.ACCUMULATED, mine, strict=True):
                    add_total(self.columns[column] + place, pack)

    # -- packs

    def block(
        self, mask: Value, z: Value, places: dict[str, Value], sums: Sequence[Value]
    ) -> Sequence[Value]:
        """What happens with one pack; returns the sums for operands that stand."""
        raise NotImplementedError

    def evaluated(self, mask: Value, z: Value, places: dict[str, Value]) -> Any:
        """What the text says about the packs that it reads."""
        return self.text(*(self.read(name, mask, z, places) for name in self.reads))

    def read(self, name: str, mask: Value, z: Value, places: dict[str, Value]) -> Value:
        """The pack of a parameter."""
        if name in OF_RESULT:
            column, other = OF_RESULT[name]
            return load(self.columns[column] + z, mask, other)
        stream, place = self.streams[name[0]], places[name[0]]

        def numbers(column: Value) -> tuple[Value, ...]:
            address, stride = column + place, stream.stride
            return self.by_stride(
                stride,
                lambda: (load(address, mask, HARMLESS),),
                lambda: (repeated(address),),
                lambda: (gather(address, stride, mask, HARMLESS),),
            )

        if name.endswith("t"):  # a constant has no tangent
            zero = (packed(z, 0.0),)
            found = either(stream.constant, lambda: zero, lambda: numbers(self.columns["t"]))
        else:
            found = numbers(chosen(stream.constant, self.columns["k"], self.columns["v"]))
        return found[0]

    def by_stride(
        self, stride: Value, consecutive: Thunk, standing: Thunk, apart: Thunk
    ) -> tuple[Value, ...]:
        """The way that fits, by a jump that goes the same way for the whole loop."""

        def others() -> tuple[Value, ...]:
            return either(stride == 0, standing, apart) if self.strided else standing()

        return either(stride == NUMBER, consecutive, others)


class Forward(Walk):
    """Values."""

    def block(
        self, mask: Value, z: Value, places: dict[str, Value], sums: Sequence[Value]
    ) -> Sequence[Value]:
        store(self.columns["v"] + z, self.evaluated(mask, z, places), mask)
        return sums


class Tangent(Walk):
    """Tangents: the sum of what comes from each operand that is no constant."""

    def block(
        self, mask: Value, z: Value, places: dict[str, Value], sums: Sequence[Value]
    ) -> Sequence[Value]:
        terms = [
            self.term(self.streams[name], thunk)
            for name, thunk in zip(self.operands, self.evaluated(mask, z, places), strict=True)
        ]
        value = terms[0] if terms else packed(z, 0.0)
        for term in terms[1:]:
            value = value + term
        store(self.columns["t"] + z, value, mask)
        return sums

    def term(self, stream: Stream, thunk: Callable[[], Value]) -> Value:
        zero = (packed(stream.start, 0.0),)
        return either(stream.constant, lambda: zero, lambda: (thunk(),))[0]


class Reverse(Walk):
    """Adjoints of operands from those of the result."""

    ACCUMULATED: tuple[str, ...] = ("g",)

    def block(
        self, mask: Value, z: Value, places: dict[str, Value], sums: Sequence[Value]
    ) -> Sequence[Value]:
        later: list[Value] = []
        for name, thunk in zip(self.operands, self.evaluated(mask, z, places), strict=True):
            mine = tuple(sums[len(later) : len(later) + len(self.ACCUMULATED)])
            later += self.added(self.streams[name], places[name], mask, thunk, mine)
        return later

    def added(
        self,
        stream: Stream,
        place: Value,
        mask: Value,
        thunk: Callable[[], Any],
        sums: tuple[Value, ...],
    ) -> tuple[Value, ...]:
        """Add contributions to an operand's columns, or to the sums where it stands."""

        def moving() -> tuple[Value, ...]:
            found = thunk()
            terms = found if isinstance(found, tuple) else (found,)
            stride = stream.stride
            addresses = [self.columns[name] + place for name in self.ACCUMULATED]
            added = list(zip(addresses, terms, strict=True))

            def consecutive() -> tuple[Value, ...]:
                for address, term in added:
                    store(address, load(address, mask, 0.0) + term, mask)
                return sums

            def apart() -> tuple[Value, ...]:
                for address, term in added:
                    old = gather(address, stride, mask, 0.0)
                    scatter(address, stride, old + term, mask)
                return sums

            def standing() -> tuple[Value, ...]:
                return tuple(s + term for s, term in zip(sums, terms, strict=True))

            return self.by_stride(stride, consecutive, standing, apart)

        return either(stream.constant, lambda: sums, moving)


class Second(Reverse):
    """Adjoints and their tangents."""

    ACCUMULATED = ("g", "h")


def kernel(walk: type[Walk], fingerprint: str, operands: str) -> Callable[..., SpanKernel]:
    """Decorator: the text of a rule becomes a kernel."""
    return lambda text: SpanKernel(walk, fingerprint, operands, text)
