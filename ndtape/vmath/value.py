"""What a kernel's text computes with: `Value`s, which are scalars or packs, and their types."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from .._version import __version__

LANES = 16
F64, I64, I1 = ir.DoubleType(), ir.IntType(64), ir.IntType(1)


def _fingerprint() -> str:
    """Of every file that machine code made here depends on: goes into the names of types."""
    digest = hashlib.blake2b(__version__.encode(), digest_size=6)
    here = Path(__file__).parent
    for path in sorted(here.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


FINGERPRINT = _fingerprint()


class Pack(types.Type):
    """`LANES` values of one element type in vector registers."""

    def __init__(self, dtype: types.Type, element: ir.Type) -> None:
        self.dtype = dtype
        self.ir = ir.VectorType(element, LANES)
        super().__init__(name=f"ndtape.Pack[{__version__}-{FINGERPRINT}]({dtype})")


@register_model(Pack)
class _PackModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Pack) -> None:
        super().__init__(dmm, fe_type, fe_type.ir)  # type: ignore[no-untyped-call]


pack = Pack(types.float64, F64)
int_pack = Pack(types.int64, I64)
mask_pack = Pack(types.boolean, I1)

# The letters of a kernel's signature: float, integer, mask.
SCALARS = {"f": types.float64, "i": types.int64, "m": types.boolean}
PACKS = {"f": pack, "i": int_pack, "m": mask_pack}
ELEMENTS = {"f": F64, "i": I64, "m": I1}


def ir_type(letter: str, packed: bool) -> ir.Type:
    element = ELEMENTS[letter]
    return ir.VectorType(element, LANES) if packed else element


def splat_ir(b: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    """The vector with `scalar` in each lane."""
    vector = ir.VectorType(scalar.type, LANES)
    if isinstance(scalar, ir.Constant):
        return ir.Constant(vector, [scalar.constant] * LANES)
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return b.shuffle_vector(first, undefined, zeros)


def shaped(b: ir.IRBuilder, x: Any, letter: str, packed: bool) -> ir.Value:
    """`x`, a Value or a literal, as an operand of this element type, splat if `packed`."""
    if not isinstance(x, Value):
        value = ir.Constant(ELEMENTS[letter], (float if letter == "f" else int)(x))
    elif x.letter != letter:
        raise TypeError(f"a kernel mixes {x.letter} and {letter}")
    else:
        value = x.ir
    if packed and not isinstance(value.type, ir.VectorType):
        value = splat_ir(b, value)
    return value


class Value:
    """A number, integer or truth value (or a pack of them) that a kernel's text computes with."""

    __slots__ = ("b", "ir")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, b: ir.IRBuilder, value: ir.Value) -> None:
        self.b = b
        self.ir = value

    @property
    def packed(self) -> bool:
        return isinstance(self.ir.type, ir.VectorType)

    @property
    def letter(self) -> str:
        element = self.ir.type.element if self.packed else self.ir.type
        return "f" if element == F64 else "i" if element == I64 else "m"

    def like(self, other: Any) -> ir.Value:
        """`other` (a Value or a literal) in this value's element type and, if packed, shape."""
        return shaped(self.b, other, self.letter, self.packed)

    def _with(self, other: Any) -> tuple[ir.Value, ir.Value]:
        right = self.like(other)
        if isinstance(right.type, ir.VectorType) and not self.packed:
            return splat_ir(self.b, self.ir), right
        return self.ir, right

    def _arithmetic(self, other: Any, floating: str, integer: str, swap: bool = False) -> Value:
        x, y = self._with(other)
        method = getattr(self.b, floating if self.letter == "f" else integer)
        return Value(self.b, method(y, x) if swap else method(x, y))

    def __add__(self, other: Any) -> Value:
        return self._arithmetic(other, "fadd", "add")

    __radd__ = __add__

    def __sub__(self, other: Any) -> Value:
        return self._arithmetic(other, "fsub", "sub")

    def __rsub__(self, other: Any) -> Value:
        return self._arithmetic(other, "fsub", "sub", swap=True)

    def __mul__(self, other: Any) -> Value:
        return self._arithmetic(other, "fmul", "mul")

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return self._arithmetic(other, "fdiv", "no division of integers")

    def __rtruediv__(self, other: Any) -> Value:
        return self._arithmetic(other, "fdiv", "no division of integers", swap=True)

    def __neg__(self) -> Value:
        return Value(self.b, self.b.fneg(self.ir) if self.letter == "f" else self.b.neg(self.ir))

    def _bitwise(self, other: Any, method: str, swap: bool = False) -> Value:
        x, y = self._with(other)
        return Value(self.b, getattr(self.b, method)(*((y, x) if swap else (x, y))))

    def __and__(self, other: Any) -> Value:
        return self._bitwise(other, "and_")

    __rand__ = __and__

    def __or__(self, other: Any) -> Value:
        return self._bitwise(other, "or_")

    __ror__ = __or__

    def __xor__(self, other: Any) -> Value:
        return self._bitwise(other, "xor")

    __rxor__ = __xor__

    def __lshift__(self, other: Any) -> Value:
        return self._bitwise(other, "shl")

    def __rlshift__(self, other: Any) -> Value:
        return self._bitwise(other, "shl", swap=True)

    def __rshift__(self, other: Any) -> Value:
        return self._bitwise(other, "ashr")

    def __rrshift__(self, other: Any) -> Value:
        return self._bitwise(other, "ashr", swap=True)

    def __invert__(self) -> Value:
        return Value(self.b, self.b.not_(self.ir))

    def _compare(self, other: Any, sign: str) -> Value:
        x, y = self._with(other)
        if self.letter == "f":
            # Only != is true of a nan.
            ordered = self.b.fcmp_unordered if sign == "!=" else self.b.fcmp_ordered
            return Value(self.b, ordered(sign, x, y))
        return Value(self.b, self.b.icmp_signed(sign, x, y))

    def __lt__(self, other: Any) -> Value:
        return self._compare(other, "<")

    def __le__(self, other: Any) -> Value:
        return self._compare(other, "<=")

    def __gt__(self, other: Any) -> Value:
        return self._compare(other, ">")

    def __ge__(self, other: Any) -> Value:
        return self._compare(other, ">=")

    def __eq__(self, other: Any) -> Value:  # type: ignore[override]
        return self._compare(other, "==")

    def __ne__(self, other: Any) -> Value:  # type: ignore[override]
        return self._compare(other, "!=")

    def __bool__(self) -> bool:
        raise TypeError("the truth of a Value is not known while a kernel is emitted: use select")


def numba_type(letter: str, packed: bool) -> types.Type:
    return (PACKS if packed else SCALARS)[letter]


def letter_of(argument: types.Type) -> str:
    """The letter that an argument of an open ("T") parameter decides for."""
    element = argument.dtype if isinstance(argument, Pack) else argument
    if isinstance(element, types.Boolean):
        return "m"
    return "i" if isinstance(element, types.Integer) else "f"
