"""Memory and control for emitted code: integers, packs under masks, jumps.

Like the texts of kernels, these functions run when a caller is compiled, on `Value`s; an address
is an integer Value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from .value import F64, I64, LANES, Value, splat_ir

PACK = ir.VectorType(F64, LANES)
I32, VOID = ir.IntType(32), ir.VoidType()

Thunk = Callable[[], tuple[Value, ...]]


def new_function(
    module: ir.Module, name: str, returned: ir.Type, parameters: Sequence[ir.Type]
) -> tuple[ir.Function, ir.IRBuilder, list[Value]]:
    """A private function that is not inlined, its builder and its arguments."""
    function = ir.Function(module, ir.FunctionType(returned, parameters), name)
    function.linkage = "internal"
    for attribute in ("noinline", "nounwind"):
        function.attributes.add(attribute)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    return function, b, [Value(b, a) for a in function.args]


def either(condition: Value, yes: Thunk, no: Thunk) -> tuple[Value, ...]:
    """`yes()` or `no()`, tuples of Values of the same types, by a jump."""
    b = condition.b
    ends = []
    with b.if_else(condition.ir) as branches:
        for branch, thunk in zip(branches, (yes, no), strict=True):
            with branch:
                ends.append((thunk(), b.block))
    joined = []
    for values in zip(*(values for values, _ in ends), strict=True):
        phi = b.phi(values[0].ir.type)
        for value, (_, block) in zip(values, ends, strict=True):
            phi.add_incoming(value.ir, block)
        joined.append(Value(b, phi))
    return tuple(joined)


# --- integers -------------------------------------------------------------------------------------


def integer(like: Value, number: int) -> Value:
    return Value(like.b, ir.Constant(I64, number))


def chosen(condition: Value, yes: Value, no: Value) -> Value:
    """One of two integers, without a jump."""
    return Value(yes.b, yes.b.select(condition.ir, yes.ir, no.ir))


def pointer(address: Value, kind: ir.Type) -> ir.Value:
    return address.b.inttoptr(address.ir, kind.as_pointer())


def word(address: Value, index: int = 0) -> Value:
    """An integer of 64 bits, the one of this index from the address on."""
    return Value(address.b, address.b.load(pointer(address + 8 * index, I64)))


def put(address: Value, number: Value) -> None:
    """Store an integer."""
    address.b.store(number.ir, pointer(address, I64))


def entry(column: Value, i: Value) -> Value:
    """The i-th entry of a column of uint32."""
    b = column.b
    return Value(b, b.zext(b.load(b.gep(pointer(column, I32), [i.ir])), I64))


# --- packs ----------------------------------------------------------------------------------------


def packed(like: Value, number: float) -> Value:
    return Value(like.b, ir.Constant(PACK, [number] * LANES))


def lane_numbers(like: Value) -> Value:
    """0 1 2 ... 15"""
    return Value(like.b, ir.Constant(ir.VectorType(I64, LANES), list(range(LANES))))


def _masked(name: str, mask: Value, before: Sequence[ir.Value], other: Value | None) -> Any:
    """LLVM's masked.<name>; what loads gives `other` where masked out."""
    b = mask.b
    suffix = f"v{LANES}p0" if isinstance(before[-1].type, ir.VectorType) else "p0"
    name = f"llvm.masked.{name}.v{LANES}f64.{suffix}"
    aligned = ir.Constant(I32, 8)  # spans begin at any slot
    given = [*before, aligned, mask.ir] + ([] if other is None else [other.ir])
    function = b.module.globals.get(name)
    if function is None:
        returned = VOID if other is None else PACK
        function = ir.Function(b.module, ir.FunctionType(returned, [a.type for a in given]), name)
    return b.call(function, given)


def _pointers(address: Value, stride: Value) -> ir.Value:
    """To the numbers that stand `stride` bytes apart."""
    places = lane_numbers(address) * stride + address
    return address.b.inttoptr(places.ir, ir.VectorType(F64.as_pointer(), LANES))


def load(address: Value, mask: Value, other: float) -> Value:
    """Consecutive numbers, `other` where masked out."""
    return Value(mask.b, _masked("load", mask, [pointer(address, PACK)], packed(mask, other)))


def store(address: Value, value: Value, mask: Value) -> None:
    """Store consecutive numbers."""
    _masked("store", mask, [value.ir, pointer(address, PACK)], None)


def gather(address: Value, stride: Value, mask: Value, other: float) -> Value:
    """Numbers that stand `stride` bytes apart, `other` where masked out."""
    return Value(mask.b, _masked("gather", mask, [_pointers(address, stride)], packed(mask, other)))


def scatter(address: Value, stride: Value, value: Value, mask: Value) -> None:
    """Store numbers `stride` bytes apart; the stride is not 0."""
    _masked("scatter", mask, [value.ir, _pointers(address, stride)], None)


def repeated(address: Value) -> Value:
    """One number in all lanes."""
    b = address.b
    return Value(b, splat_ir(b, b.load(pointer(address, F64))))


def add_total(address: Value, pack: Value) -> None:
    """Add the sum of all lanes to one number; by a call, which stands after a loop."""
    b = address.b
    name = "ndtape_add_total"
    function = b.module.globals.get(name)
    if function is None:
        function, body, (where, value) = new_function(b.module, name, VOID, [I64, PACK])
        number = pointer(where, F64)
        body.store(body.fadd(body.load(number), _total(body, value.ir)), number)
        body.ret_void()
    b.call(function, [address.ir, pack.ir])


def _total(b: ir.IRBuilder, pack: ir.Value) -> ir.Value:
    """The sum of the lanes, by halves."""
    half = LANES
    while half > 1:
        half //= 2
        parts = [
            b.shuffle_vector(pack, pack, ir.Constant(ir.VectorType(I32, half), list(lanes)))
            for lanes in (range(half), range(half, 2 * half))
        ]
        pack = b.fadd(*parts)
    return b.extract_element(pack, ir.Constant(I32, 0))
