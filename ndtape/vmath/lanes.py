"""Packs of 16 float64, integers or truth values, and the functions that treat them like scalars.

The same text inside @njit, such as `select(x > 0, x, 0.0) * w`, compiles to scalar code for floats
and to SIMD code for packs, so a rule of the table is written once for both.  A pack lives in vector
registers; `pack_at(address)[i]` loads and stores the i-th one.  Numba sees three opaque types,
their operators below and the kernels of kernel.py; scalars that meet a pack are splat.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, lower_cast, models, overload, register_model

from .._jit import jit
from .._version import __version__
from .kernel import Kernel, Primitive, intrinsic, kernel, reduce_or, when
from .value import (
    FINGERPRINT,
    LANES,
    Pack,
    Value,
    int_pack,
    ir_type,
    mask_pack,
    pack,
    shaped,
    splat_ir,
)

__all__ = [
    "FINGERPRINT",
    "LANES",
    "Kernel",
    "Pack",
    "any_lane",
    "bits",
    "ceil",
    "copysign",
    "fabs",
    "floor",
    "fma",
    "from_bits",
    "int_pack",
    "kernel",
    "lane",
    "lanewise",
    "mask_pack",
    "pack",
    "pack_at",
    "rint",
    "round32",
    "select",
    "splat",
    "sqrt",
    "trunc",
    "when",
    "with_lane",
]

ALIGNMENT = 64  # of the buffers that packs live in
_ONE = types.Number, types.Boolean

# --- operators ---------------------------------------------------------------------------------


def _common(args: Any, allowed: str) -> Pack | None:
    """The pack type that operands meet in, if there is a pack and their elements are allowed."""
    if not any(isinstance(a, Pack) for a in args):
        return None
    if not all(isinstance(a, (Pack, *_ONE)) for a in args):
        return None
    elements = [a.dtype if isinstance(a, Pack) else a for a in args]
    if any(isinstance(e, types.Float) for e in elements):
        letter, result = "f", pack
    elif any(isinstance(e, types.Integer) for e in elements):
        letter, result = "i", int_pack
    else:
        letter, result = "m", mask_pack
    return result if letter in allowed else None


def _register(op: Any, allowed: str, count: int, compares: bool = False) -> None:
    @infer_global(op)
    class _Operator(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            meeting = _common(args, allowed) if len(args) == count else None
            if meeting is None:
                return None
            return signature(mask_pack if compares else meeting, *[meeting] * count)

    @lower_builtin(op, *[Pack] * count)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return op(*(Value(builder, a) for a in args)).ir


for _op in (operator.add, operator.sub, operator.mul):
    _register(_op, "fi", 2)
for _op in (operator.iadd, operator.isub, operator.imul):
    _register(_op, "fi", 2)
for _op in (operator.truediv, operator.itruediv):
    _register(_op, "f", 2)
for _op in (operator.lt, operator.le, operator.gt, operator.ge):
    _register(_op, "fi", 2, compares=True)
for _op in (operator.eq, operator.ne):
    _register(_op, "fim", 2, compares=True)
for _op in (operator.and_, operator.or_, operator.xor):
    _register(_op, "im", 2)
for _op in (operator.lshift, operator.rshift):
    _register(_op, "i", 2)
_register(operator.neg, "fi", 1)
_register(operator.invert, "im", 1)


def _cast_scalar(context: Any, builder: Any, fromty: Any, toty: Pack, value: Any) -> Any:
    scalar = fromty.literal_type if isinstance(fromty, types.Literal) else fromty
    if isinstance(fromty, types.Literal):
        value = context.get_constant(scalar, fromty.literal_value)
    return splat_ir(builder, context.cast(builder, value, scalar, toty.dtype))


for _scalar in (
    types.Float,
    types.Integer,
    types.IntegerLiteral,
    types.Boolean,
    types.BooleanLiteral,
):
    lower_cast(_scalar, Pack)(_cast_scalar)


@lower_cast(Pack, Pack)
def _cast_pack(context: Any, builder: Any, fromty: Pack, toty: Pack, value: Any) -> Any:
    if fromty is toty:
        return value
    if toty is pack:
        convert = builder.sitofp if fromty is int_pack else builder.uitofp
        return convert(value, toty.ir)
    if fromty is mask_pack and toty is int_pack:
        return builder.zext(value, toty.ir)
    raise NotImplementedError(f"no conversion from {fromty} to {toty}")


# --- packs in memory ---------------------------------------------------------------------------


class PackPointer(types.Type):
    """The address of consecutive packs of float64; an index counts packs and is unsigned."""

    def __init__(self) -> None:
        super().__init__(name=f"ndtape.PackPointer[{__version__}-{FINGERPRINT}]")


pack_pointer = PackPointer()


@register_model(PackPointer)
class _PackPointerModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: PackPointer) -> None:
        super().__init__(dmm, fe_type, pack.ir.as_pointer())


pack_at = Primitive(
    "pack_at",
    lambda args: (
        signature(pack_pointer, types.uint64) if isinstance(args[0], types.Integer) else None
    ),
    lambda context, b, sig, args: b.inttoptr(args[0], pack.ir.as_pointer()),
    "address -> the packs that lie there (64-byte aligned), as `p[i]`",
)


@infer_global(operator.getitem)
class _GetPack(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if args[0] is pack_pointer and isinstance(args[1], types.Integer):
            return signature(pack, pack_pointer, types.uint64)


@infer_global(operator.setitem)
class _SetPack(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if args[0] is pack_pointer and isinstance(args[1], types.Integer):
            return signature(types.void, pack_pointer, types.uint64, pack)


@lower_builtin(operator.getitem, PackPointer, types.uint64)
def _load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    loaded = builder.load(builder.gep(args[0], [args[1]]))
    loaded.align = ALIGNMENT
    return loaded


@lower_builtin(operator.setitem, PackPointer, types.uint64, Pack)
def _store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    builder.store(args[2], builder.gep(args[0], [args[1]])).align = ALIGNMENT
    return context.get_dummy_value()


# --- functions of scalars and packs ------------------------------------------------------------


@kernel("m,T,T:T", code="emit")
def select(condition, a, b):  # type: ignore[no-untyped-def]
    """`a` where the condition holds, else `b`; both are computed."""
    values = [v for v in (a, b) if isinstance(v, Value)]
    letter = values[0].letter if values else "f"
    packed = any(v.packed for v in (condition, *values))
    builder = condition.b
    chosen = (shaped(builder, v, letter, packed) for v in (a, b))
    return Value(builder, builder.select(condition.ir, *chosen))


@kernel("f,f,f:f", code="emit")
def fma(a, b, c):  # type: ignore[no-untyped-def]
    """a * b + c with one rounding."""
    return intrinsic("fma", a, b, c)


@kernel("f:i", code="emit")
def bits(x):  # type: ignore[no-untyped-def]
    """The bit pattern of a float as an integer."""
    return Value(x.b, x.b.bitcast(x.ir, ir_type("i", x.packed)))


@kernel("i:f", code="emit")
def from_bits(i):  # type: ignore[no-untyped-def]
    """The float with this bit pattern."""
    return Value(i.b, i.b.bitcast(i.ir, ir_type("f", i.packed)))


@kernel("m:M", code="emit")
def any_lane(mask):  # type: ignore[no-untyped-def]
    """Whether any lane is true; of a scalar, itself."""
    return Value(mask.b, reduce_or(mask))


@kernel("f:f", code="emit")
def sqrt(x):  # type: ignore[no-untyped-def]
    """Square root, rightly rounded."""
    return intrinsic("sqrt", x)


@kernel("f:f", code="emit")
def round32(x):  # type: ignore[no-untyped-def]
    """x rounded to the nearest float32, overflow to infinity."""
    single = ir.VectorType(ir.FloatType(), LANES) if x.packed else ir.FloatType()
    return Value(x.b, x.b.fpext(x.b.fptrunc(x.ir, single), x.ir.type))


@kernel("f:f", code="emit")
def fabs(x):  # type: ignore[no-untyped-def]
    """Absolute value."""
    return intrinsic("fabs", x)


@kernel("f:f", code="emit")
def floor(x):  # type: ignore[no-untyped-def]
    """The largest integer not above x."""
    return intrinsic("floor", x)


@kernel("f:f", code="emit")
def ceil(x):  # type: ignore[no-untyped-def]
    """The smallest integer not below x."""
    return intrinsic("ceil", x)


@kernel("f:f", code="emit")
def trunc(x):  # type: ignore[no-untyped-def]
    """x without its fraction."""
    return intrinsic("trunc", x)


@kernel("f:f", code="emit")
def rint(x):  # type: ignore[no-untyped-def]
    """The nearest integer, even at a tie."""
    return intrinsic("rint", x)


@kernel("f,f:f", code="emit")
def copysign(x, y):  # type: ignore[no-untyped-def]
    """The magnitude of x with the sign of y."""
    return intrinsic("copysign", x, y)


# --- lanes ---------------------------------------------------------------------------------------


def _is_index(args: Any) -> bool:
    return isinstance(args[0], (Pack, *_ONE)) and isinstance(args[1], types.Integer)


def _type_lane(args: Any) -> Any:
    if not _is_index(args):
        return None
    return signature(getattr(args[0], "dtype", args[0]), args[0], types.int64)


lane = Primitive(
    "lane",
    _type_lane,
    lambda context, b, sig, args: (
        b.extract_element(args[0], args[1]) if isinstance(sig.args[0], Pack) else args[0]
    ),
    "lane(p, k): the k-th number of a pack, for a run-time k; a scalar has itself in each lane",
)
with_lane = Primitive(
    "with_lane",
    lambda args: (
        signature(args[0], args[0], types.int64, args[0].dtype) if _is_index(args) else None
    ),
    lambda context, b, sig, args: b.insert_element(args[0], args[2], args[1]),
    "with_lane(p, k, x): the pack p with x in its k-th lane, for a run-time k",
)
splat = Primitive(
    "splat",
    lambda args: signature(pack, types.float64) if isinstance(args[0], _ONE) else None,
    lambda context, b, sig, args: splat_ir(b, args[0]),
    "splat(x): the pack with x in each lane",
)


def lanewise(function):  # type: ignore[no-untyped-def]
    """Decorator: a scalar njit function that takes packs too, one lane after the other.

    For functions that are no kernels, such as a user's: the scalar form is compiled once.
    """
    scalar = function if hasattr(function, "py_func") else jit(function)

    def form1(x):  # type: ignore[no-untyped-def]
        result = splat(0.0)
        for k in range(LANES):
            result = with_lane(result, k, scalar(lane(x, k)))
        return result

    def form2(x, y):  # type: ignore[no-untyped-def]
        result = splat(0.0)
        for k in range(LANES):
            result = with_lane(result, k, scalar(lane(x, k), lane(y, k)))
        return result

    def form3(x, y, z):  # type: ignore[no-untyped-def]
        result = splat(0.0)
        for k in range(LANES):
            result = with_lane(result, k, scalar(lane(x, k), lane(y, k), lane(z, k)))
        return result

    forms = {
        1: (form1, lambda x: scalar(x)),
        2: (form2, lambda x, y: scalar(x, y)),
        3: (form3, lambda x, y, z: scalar(x, y, z)),
    }

    def stub(*args):  # type: ignore[no-untyped-def]
        return scalar(*args)

    stub.__name__, stub.__doc__ = scalar.__name__, scalar.__doc__

    @overload(stub, jit_options={"error_model": "numpy"}, strict=False)
    def choose(*args):  # type: ignore[no-untyped-def]
        packed, plain = forms[len(args)]
        return packed if any(isinstance(a, Pack) for a in args) else plain

    return stub
