"""Vectors of eight float64 for the kernels of reductions and products, loaded by count.

An `Eight` is one register with AVX-512 and two with AVX2.  It is narrower than vmath's packs on
purpose: arrays of 3 to 8 elements are what small programs reduce and multiply, and a reduction
ends by adding up the lanes.  `load(address, n, rest)` reads the first n of eight numbers (all when
n >= 8) and touches no memory behind them, so no kernel has a scalar tail.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from .._version import __version__

LANES = 8
F64, I64, I32, I1 = ir.DoubleType(), ir.IntType(64), ir.IntType(32), ir.IntType(1)
VECTOR, MASK = ir.VectorType(F64, LANES), ir.VectorType(I1, LANES)


class Eight(types.Type):
    """Eight float64 in vector registers."""

    def __init__(self) -> None:
        super().__init__(name=f"ndtape.Eight[{__version__}]")


eight = Eight()


@register_model(Eight)
class _EightModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Eight) -> None:
        super().__init__(dmm, fe_type, VECTOR)


# --- pieces of LLVM code, also used by tiles.py ------------------------------------------------


def number(value: int) -> ir.Constant:
    return ir.Constant(I64, value)


def splat_of(b: ir.IRBuilder, value: ir.Value, lanes: int = LANES) -> ir.Value:
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = b.insert_element(undefined, value, ir.Constant(I32, 0))
    zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return b.shuffle_vector(first, undefined, zeros)


def mask_of(b: ir.IRBuilder, count: ir.Value) -> ir.Value:
    """The mask of the first `count` lanes."""
    lanes = ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))
    return b.icmp_signed("<", lanes, splat_of(b, count))


def called(b: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
    """Call of one of LLVM's own functions."""
    function_type = ir.FunctionType(result, [a.type for a in arguments])
    function = b.module.globals.get(name) or ir.Function(b.module, function_type, name)
    return b.call(function, arguments)


def masked_load(b: ir.IRBuilder, address: ir.Value, mask: ir.Value, rest: ir.Value) -> ir.Value:
    pointer = b.inttoptr(address, VECTOR.as_pointer())
    return called(b, "llvm.masked.load.v8f64.p0", VECTOR,
                  pointer, ir.Constant(I32, 8), mask, rest)  # fmt: skip


def masked_store(b: ir.IRBuilder, address: ir.Value, mask: ir.Value, value: ir.Value) -> None:
    pointer = b.inttoptr(address, VECTOR.as_pointer())
    called(b, "llvm.masked.store.v8f64.p0", ir.VoidType(),
           value, pointer, ir.Constant(I32, 8), mask)  # fmt: skip


def zeros() -> ir.Constant:
    return ir.Constant(VECTOR, [0.0] * LANES)


def shuffled(b: ir.IRBuilder, x: ir.Value, y: ir.Value, lanes: list[int]) -> ir.Value:
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def folded(b: ir.IRBuilder, x: ir.Value, join: Callable[..., ir.Value]) -> ir.Value:
    """All lanes joined, halves first."""
    n: int = x.type.count
    while n > 1:
        n //= 2
        low, high = shuffled(b, x, x, list(range(n))), shuffled(b, x, x, list(range(n, 2 * n)))
        x = join(b, low, high)
    return b.extract_element(x, ir.Constant(I32, 0))


def plus(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return b.fadd(x, y)


def more_extreme(sign: str) -> Callable[..., ir.Value]:
    """The larger (">") or smaller ("<") of two; nan if one is nan."""

    def join(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
        takes = b.or_(b.fcmp_ordered(sign, y, x), b.fcmp_unordered("uno", y, y))
        return b.select(takes, y, x)

    return join


# --- functions for kernels ---------------------------------------------------------------------


def function(letters: str, doc: str) -> Callable[[Any], Any]:
    """Decorator: an emitter ``(b, *values) -> value`` becomes an intrinsic.

    `letters` are its parameters and its result: v an Eight, f a float64, i an int64, n nothing.
    """
    kinds = {"v": eight, "f": types.float64, "i": types.int64, "n": types.void}
    parameters, _, result = letters.partition(":")
    signature_ = signature(kinds[result], *(kinds[letter] for letter in parameters))

    def decorate(emit: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value = emit(builder, *args)
            return context.get_dummy_value() if value is None else value

        names = ", ".join(f"x{j}" for j in range(len(parameters)))
        scope: dict[str, Any] = {"answer": (signature_, codegen)}
        exec(f"def stub(typingctx, {names}):\n    return answer", scope)
        scope["stub"].__name__ = emit.__name__.strip("_")
        stub = intrinsic(scope["stub"])
        stub.__doc__ = doc
        return stub

    return decorate


@function("iiv:v", "load(address, n, rest): the first n numbers, then the lanes of `rest`")
def load(b: ir.IRBuilder, address: ir.Value, n: ir.Value, rest: ir.Value) -> ir.Value:
    return masked_load(b, address, mask_of(b, n), rest)


@function("iiv:n", "store(address, n, x): write the first n lanes")
def store(b: ir.IRBuilder, address: ir.Value, n: ir.Value, x: ir.Value) -> None:
    masked_store(b, address, mask_of(b, n), x)


@function("f:v", "splat(x): x in each lane")
def splat(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return splat_of(b, x)


@function("i:v", "ones(n): 1 in the first n lanes, 0 in the others")
def ones(b: ir.IRBuilder, n: ir.Value) -> ir.Value:
    return b.select(mask_of(b, n), ir.Constant(VECTOR, [1.0] * LANES), zeros())


@function("v:f", "total(x): the sum of the lanes")
def total(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return folded(b, x, plus)


@function("vv:v", "larger(x, y): lane by lane; nan if one is nan")
def larger(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return more_extreme(">")(b, x, y)


@function("vv:v", "smaller(x, y): lane by lane; nan if one is nan")
def smaller(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    return more_extreme("<")(b, x, y)


@function("v:f", "largest(x): of the lanes; nan if one is nan")
def largest(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return folded(b, x, more_extreme(">"))


@function("v:f", "smallest(x): of the lanes; nan if one is nan")
def smallest(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return folded(b, x, more_extreme("<"))


@function("vvv:v", "where_same(x, z, u): u where x is z, both nan included, else 0")
def where_same(b: ir.IRBuilder, x: ir.Value, z: ir.Value, u: ir.Value) -> ir.Value:
    both_nan = b.and_(b.fcmp_unordered("uno", x, x), b.fcmp_unordered("uno", z, z))
    return b.select(b.or_(b.fcmp_ordered("==", x, z), both_nan), u, zeros())


@function("v:v", "known(x): x, and 0 where x is nan")
def known(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    return b.select(b.fcmp_unordered("uno", x, x), zeros(), x)


for _op, _method in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):

    @infer_global(_op)
    class _Operator(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if args == (eight, eight):
                return signature(eight, eight, eight)

    @lower_builtin(_op, Eight, Eight)
    def _lower(context: Any, builder: Any, sig: Any, args: Any, method: str = _method) -> Any:
        return getattr(builder, method)(*args)
