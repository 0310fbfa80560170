"""Arrays in registers: what the machine code of operations on recording arrays is made of.

Operations on whole arrays are emitted as LLVM code, like those on scalars and for the same reason:
Numba would take a tenth of a second to infer and compile each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature
from numba.np import arrayobj

from .._jit import FLAGS
from ..vmath.value import F64, I1, I64
from . import emission
from .memory import CURSOR, ENTRY, LIMIT, NEXT, Stopped
from .types import FINGERPRINT, ArrayType, VarType, borrowed_slots, slots_type, zero_word

ZERO, ONE, EIGHT = (ir.Constant(I64, n) for n in (0, 1, 8))
BYTE = ir.IntType(8)
BLOCK = types.Array(types.float64, 1, "C")


def number(n: int) -> ir.Value:
    return ir.Constant(I64, n)


class View:
    """An array: addresses of its values and slots, shape and strides in bytes, its tape."""

    def __init__(self, context: Any, b: ir.IRBuilder, kind: Any, value: ir.Value) -> None:
        self.kind, self.value = kind, value
        records = isinstance(kind, ArrayType)
        array = kind.array if records else kind
        given = cgutils.create_struct_proxy(kind)(context, b, value=value) if records else None
        values = context.make_array(array)(context, b, given.values if records else value)
        self.ndim = array.ndim
        self.contiguous = array.layout == "C"
        self.dtype = array.dtype
        self.shape = cgutils.unpack_tuple(b, values.shape, self.ndim)
        self.strides = cgutils.unpack_tuple(b, values.strides, self.ndim)
        self.values = b.ptrtoint(values.data, I64)
        self.slots = b.ptrtoint(zero_word(b.module), I64)
        self.slot_strides: list[ir.Value] = [ZERO] * self.ndim
        self.cell = self.header = ZERO
        if records:
            made = borrowed_slots(context, b, kind, value)
            slots = context.make_array(slots_type(kind))(context, b, made)
            self.slots = b.ptrtoint(slots.data, I64)
            self.slot_strides = cgutils.unpack_tuple(b, slots.strides, self.ndim)
            self.cell = given.cell
            self.header = tape_at(b, given.cell, kind.mixed)

    def size(self, b: ir.IRBuilder) -> ir.Value:
        return product(b, self.shape)


def product(b: ir.IRBuilder, numbers: Sequence[ir.Value]) -> ir.Value:
    total: ir.Value = ONE
    for n in numbers:
        total = n if total is ONE else b.mul(total, n)
    return total


def tape_at(b: ir.IRBuilder, cell: ir.Value, mixed: bool = False) -> ir.Value:
    """The tape that elements of an array are on."""
    if mixed:
        cell = b.select(
            b.icmp_unsigned("==", cell, ZERO), b.ptrtoint(zero_word(b.module), I64), cell
        )
    return b.load(b.inttoptr(cell, I64.as_pointer()))


def set_tape(b: ir.IRBuilder, cell: ir.Value, header: ir.Value) -> None:
    """Elements of the array are on this tape from now on, unless it is 0."""
    with b.if_then(b.icmp_unsigned("!=", header, ZERO)):
        put_at(b, cell, header)


def double_at(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return b.load(b.inttoptr(address, F64.as_pointer()))


def word_at(b: ir.IRBuilder, address: ir.Value) -> ir.Value:
    return b.load(b.inttoptr(address, I64.as_pointer()))


def put_at(b: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Write into an array; what is appended to a tape goes by `emission.store_at`."""
    b.store(value, b.inttoptr(address, value.type.as_pointer()))


# --- memory ---------------------------------------------------------------------------------------


def allocate(
    context: Any, b: ir.IRBuilder, kind: ArrayType, shape: Sequence[ir.Value], clear: bool = True
) -> View:
    """A passive array of this shape; the values not set, the slots only where they are cleared.

    One block of memory: values, slots, and a word for the tape.
    """
    size = product(b, shape)
    words = b.add(b.add(size, size), ONE)
    block = arrayobj._empty_nd_impl(context, b, BLOCK, [words])
    values = context.make_array(kind.array)(context, b)
    strides: list[ir.Value] = []
    step: ir.Value = EIGHT
    for n in reversed(shape):
        strides.insert(0, step)
        step = b.mul(step, n)
    arrayobj.populate_array(
        values, data=block.data, shape=shape, strides=strides, itemsize=EIGHT, meminfo=block.meminfo
    )
    bytes_ = b.shl(size, number(3))
    start = b.ptrtoint(block.data, I64)
    slots = b.add(start, bytes_)
    made = cgutils.create_struct_proxy(kind)(context, b)
    made.values, made.shift = values._getvalue(), bytes_
    made.cell = b.add(slots, bytes_)
    put_at(b, made.cell, ZERO)
    if clear:
        fill(b, slots, bytes_)
    return View(context, b, kind, made._getvalue())


def fill(b: ir.IRBuilder, address: ir.Value, count: ir.Value) -> None:
    """Bytes of 0."""
    cgutils.memset(b, b.inttoptr(address, ir.IntType(8).as_pointer()), count, 0)


def copy_words(b: ir.IRBuilder, to: ir.Value, source: ir.Value, count: ir.Value) -> None:
    pointer = ir.IntType(8).as_pointer()
    cgutils.raw_memcpy(b, b.inttoptr(to, pointer), b.inttoptr(source, pointer), count, number(8))


def packed(
    context: Any, b: ir.IRBuilder, kind: ArrayType, values: View, slots: View, header: Any
) -> View:
    """One block of values and slots that are contiguous arrays of their own."""
    made = allocate(context, b, kind, values.shape, clear=False)
    size = values.size(b)
    copy_words(b, made.values, values.values, size)
    copy_words(b, made.slots, slots.values, size)
    put_at(b, made.cell, header)
    made.header = header
    return made


# --- loops ----------------------------------------------------------------------------------------


@contextmanager
def over(b: ir.IRBuilder, shape: Sequence[ir.Value]) -> Iterator[list[ir.Value]]:
    """A loop over all indices of a shape, the last one fastest."""
    with cgutils.loop_nest(b, shape, I64) if shape else _once() as indices:
        yield list(indices)


@contextmanager
def _once() -> Iterator[list[ir.Value]]:
    yield []


def offset(
    b: ir.IRBuilder, base: ir.Value, indices: Sequence[ir.Value], strides: Sequence[ir.Value]
) -> ir.Value:
    for i, stride in zip(indices, strides, strict=True):
        base = b.add(base, b.mul(i, stride))
    return base


def steps(b: Any, view: View, strides: Sequence[ir.Value]) -> list[ir.Value]:
    """Strides, 0 along axes of length 1, which broadcasting repeats."""
    return [
        b.select(b.icmp_unsigned("==", n, ONE), ZERO, stride)
        for n, stride in zip(view.shape, strides, strict=True)
    ]


# --- plain arrays ---------------------------------------------------------------------------------

DTYPES: dict[str, types.Type] = {
    t.name: t
    for t in (types.float64, types.float32, types.boolean, types.int8, types.int16, types.int32,
              types.int64, types.uint8, types.uint16, types.uint32, types.uint64)
}  # fmt: skip


def plain_element(b: ir.IRBuilder, dtype: str, address: ir.Value) -> ir.Value:
    """The element of a plain array, as a float."""
    if dtype == "bool":
        byte = b.load(b.inttoptr(address, BYTE.as_pointer()))
        return b.uitofp(byte, F64)
    kind = DTYPES[dtype]
    if kind == types.float64:
        return double_at(b, address)
    if kind == types.float32:
        return b.fpext(b.load(b.inttoptr(address, ir.FloatType().as_pointer())), F64)
    word = b.load(b.inttoptr(address, ir.IntType(kind.bitwidth).as_pointer()))
    return b.sitofp(word, F64) if kind.signed else b.uitofp(word, F64)


def assign(context: Any, b: ir.IRBuilder, target: View, source: View) -> None:
    """target[...] = source, broadcast; of a plain source the slots are 0."""
    check_shapes(context, b, target.shape, [target, source])
    with over(b, target.shape) as indices:
        own = indices[target.ndim - source.ndim :]
        address = offset(b, source.values, own, steps(b, source, source.strides))
        put_at(
            b,
            offset(b, target.values, indices, target.strides),
            plain_element(b, source.dtype.name, address),
        )
        slot = word_at(b, offset(b, source.slots, own, steps(b, source, source.slot_strides)))
        put_at(b, offset(b, target.slots, indices, target.slot_strides), slot)
    set_tape(b, target.cell, source.header)


# --- shapes ---------------------------------------------------------------------------------------

MISMATCH = "operands could not be broadcast together"


def broadcast(context: Any, b: Any, views: Sequence[View]) -> list[ir.Value]:
    """The common shape; raises where there is none."""
    shape: list[ir.Value] = [ONE] * max(v.ndim for v in views)
    first: list[bool] = [True] * len(shape)
    wrong: Any = None
    for view in views:
        for axis, n in enumerate(view.shape, len(shape) - view.ndim):
            if first[axis]:
                shape[axis], first[axis] = n, False
                continue
            known = shape[axis]
            single = b.icmp_unsigned("==", known, ONE)
            fits = b.or_(b.icmp_unsigned("==", n, ONE), b.icmp_unsigned("==", n, known))
            bad = b.not_(b.or_(single, fits))
            wrong = bad if wrong is None else b.or_(wrong, bad)
            shape[axis] = b.select(single, n, known)
    if wrong is not None:
        with b.if_then(wrong, likely=False):
            stop(context, b, ValueError, MISMATCH)
    return shape


def check_shapes(context: Any, b: Any, shape: Any, views: Sequence[View]) -> None:
    """All must be broadcast to the shape of what is written."""
    wrong: Any = ir.Constant(I1, 0)
    for view in views[1:]:
        for n, m in zip(view.shape, shape[len(shape) - view.ndim :], strict=True):
            fits = b.or_(b.icmp_unsigned("==", n, ONE), b.icmp_unsigned("==", n, m))
            wrong = b.or_(wrong, b.not_(fits))
    with b.if_then(wrong, likely=False):
        stop(context, b, ValueError, MISMATCH)


# --- errors and room ------------------------------------------------------------------------------


def stop(context: Any, b: ir.IRBuilder, error: type[Exception], *args: Any) -> None:
    context.call_conv.return_user_exc(b, error, args)


def refuse(context: Any) -> Callable[[ir.IRBuilder], None]:
    """What ends compiled code where Python gives no room."""
    return lambda b: stop(context, b, Stopped)


def reserve(
    context: Any, b: ir.IRBuilder, header: ir.Value, count: ir.Value, scratch: int
) -> tuple[ir.Value, ir.Value]:
    """Room for so many entries of a linear tape: where they go, and the slot of the next result.

    Without a tape they go to scratch memory for so many, which nothing reads.
    """
    with b.goto_entry_block():
        unread = b.alloca(F64, max(2 * scratch, 1))
    before = b.block
    nowhere = b.ptrtoint(unread, I64)
    with b.if_then(b.icmp_unsigned("!=", header, ZERO)):
        known = emission.load(b, header, CURSOR)
        end = b.add(known, b.mul(count, number(ENTRY)))
        asking = b.block
        with b.if_then(b.icmp_unsigned(">", end, emission.load(b, header, LIMIT)), likely=False):
            status = emission.ask(b, header, count)
            with b.if_then(b.icmp_signed("!=", status, ZERO), likely=False):
                refuse(context)(b)
            moved, moved_in = emission.load(b, header, CURSOR), b.block
        there = b.phi(I64)
        there.add_incoming(known, asking)
        there.add_incoming(moved, moved_in)
        slot = emission.load(b, header, NEXT)
        inside = b.block
    cursor, following = b.phi(I64), b.phi(I64)
    for phi, outside, value in ((cursor, nowhere, there), (following, ZERO, slot)):
        phi.add_incoming(outside, before)
        phi.add_incoming(value, inside)
    return cursor, following


def settle(b: ir.IRBuilder, header: ir.Value, cursor: ir.Value, following: ir.Value) -> None:
    """Entries up to the cursor, and results up to a slot, now belong to the tape."""
    with b.if_then(b.icmp_unsigned("!=", header, ZERO)):
        emission.store(b, cursor, header, CURSOR)
        emission.store(b, following, header, NEXT)


def entry(
    b: ir.IRBuilder, cursor: ir.Value, partial: ir.Value, operand: ir.Value, result: ir.Value
) -> None:
    """Write one entry."""
    emission.put(b, cursor, partial, operand, result)


# --- numbers --------------------------------------------------------------------------------------


def scalar_parts(context: Any, b: ir.IRBuilder, kind: Any, value: ir.Value) -> tuple[Any, Any, Any]:
    """(tape, slot, value) of a recording scalar or a plain number."""
    if isinstance(kind, VarType):
        given = cgutils.create_struct_proxy(kind)(context, b, value=value)
        return given.tape, given.slot, given.value
    return ZERO, ZERO, context.cast(b, value, kind, types.float64)


def plain_function(context: Any, function: Any, result: Any, *given: Any) -> Any:
    """Numba's own implementation of a function for argument types."""
    return context.get_function(function, signature(result, *given))


# --- compiled helpers -----------------------------------------------------------------------------


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator: a compiled helper, on disk once for all callers."""
    function.__qualname__ += f"_{FINGERPRINT}"  # names the file
    return numba.njit(cache=True, **FLAGS)(function)


def call(context: Any, b: ir.IRBuilder, function: Any, kinds: Sequence[Any], args: Any) -> Any:
    """Emit the call of a compiled function."""
    dispatcher = types.Dispatcher(function)
    sig = dispatcher.get_call_type(context.typing_context, tuple(kinds), {})
    implementation = context.get_function(dispatcher, sig)
    context.add_linking_libs(getattr(implementation, "libs", ()))
    return implementation(b, list(args))


def call_words(context: Any, b: ir.IRBuilder, function: Any, *args: ir.Value) -> Any:
    """The same where all arguments are addresses, lengths and slots."""
    return call(context, b, function, [types.uint64] * len(args), args)


def made_scalar(context: Any, b: ir.IRBuilder, kind: VarType, parts: Sequence[ir.Value]) -> Any:
    scalar = cgutils.create_struct_proxy(kind)(context, b)
    scalar.tape, scalar.slot, scalar.value = parts
    return scalar._getvalue()


class Line:
    """A vector for compiled helpers: addresses of values and slots, length, strides."""

    def __init__(self, values: Any, slots: Any, count: Any, stride: Any, slot_stride: Any) -> None:
        self.words = [values, slots, count, stride, slot_stride]

    @property
    def count(self) -> ir.Value:
        return self.words[2]


def compact(context: Any, b: ir.IRBuilder, kind: Any, value: ir.Value) -> tuple[View, Any]:
    """An array as one that is contiguous or has one axis, and what to release after use."""
    x = View(context, b, kind, value)
    if x.ndim == 1 or x.contiguous:
        return x, lambda: None
    copy = copied(context, b, kind, x)
    return copy, lambda: context.nrt.decref(b, copy.kind, copy.value)


def line(b: ir.IRBuilder, x: View) -> Line:
    """All elements of a compact array."""
    if x.ndim == 1:
        return Line(x.values, x.slots, x.shape[0], x.strides[0], x.slot_strides[0])
    return Line(x.values, x.slots, x.size(b), EIGHT, EIGHT)


def copied(context: Any, b: ir.IRBuilder, kind: ArrayType, x: View) -> View:
    """A copy of a recording array, contiguous."""
    result = ArrayType(kind.mode, types.Array(types.float64, kind.ndim, "C"))
    z = allocate(context, b, result, x.shape, clear=False)
    with over(b, z.shape) as indices:
        element = double_at(b, offset(b, x.values, indices, x.strides))
        slot = word_at(b, offset(b, x.slots, indices, x.slot_strides))
        put_at(b, offset(b, z.values, indices, z.strides), element)
        put_at(b, offset(b, z.slots, indices, z.strides), slot)
    put_at(b, z.cell, x.header)
    z.header = x.header
    return z
