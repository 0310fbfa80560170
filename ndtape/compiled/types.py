"""The types that flow through compiled code while it records: a scalar and an array.

A *recording scalar* is (tape, slot, value): the address of the header of the tape that it is on,
the number of its slot, and its number.  A *passive* one, a plain number in a variable that may
also hold a recorded value (``s = 0.0`` before a loop), has slot 0 and tape 0: operations on passive
values alone record nothing.

A *recording array* is an ordinary Numba array of values with the slots behind it: the slot of the
element at address p stands at p + shift, so that every view of the values is a view of the slots,
too.  `cell` is the address of a word with the tape that elements are on, 0 while all are passive.

There are two ways of recording, and so two types of each: *linear* keeps partial derivatives, for
one gradient of one point; *tape* appends instructions, for everything else.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_cast
from numba.extending import intrinsic, make_attribute_wrapper, models, register_model

from .. import vmath
from .._jit import u8
from .._version import __version__
from ..ops import table_hash

MODES = LINEAR, TAPE = "linear", "tape"


def _fingerprint() -> str:
    """Changes with whatever is compiled into a user's function.

    Numba's disk cache knows types by name: with this in the names, no function that was compiled
    before an upgrade, or before a row of the table has changed, is ever used again.
    """
    digest = hashlib.sha256(f"{__version__} {table_hash()} {vmath.FINGERPRINT}".encode())
    here = Path(__file__).parent
    for path in [*sorted(here.glob("*.py")), here.parent / "rules.py", here.parent / "emit.py"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


FINGERPRINT = _fingerprint()


class VarType(types.Type):
    """The type of recording scalars."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        super().__init__(name=f"ndtape.Var[{FINGERPRINT}]({mode})")

    def can_convert_from(self, typingctx: Any, other: Any) -> Any:
        """Plain numbers become passive values."""
        from numba.core.typeconv import Conversion

        return Conversion.safe if isinstance(other, (types.Number, types.Boolean)) else None

    def unify(self, typingctx: Any, other: Any) -> Any:
        if isinstance(other, (types.Number, types.Boolean)):
            return self
        return None


class ArrayType(types.IterableType):
    """The type of recording arrays: `array` is the type of their values.

    A *mixed* one is that of a variable that holds a plain array here and a recording one there.  It
    shares the memory of both, a plain one has no slots (cell 0), and so it can only be read.
    """

    mutable = True  # else Numba would take `a += b` for `a = a + b`

    def __init__(self, mode: str, array: types.Array) -> None:
        self.mode = mode
        self.array = array
        super().__init__(name=f"ndtape.Array[{FINGERPRINT}]({mode}, {array})")

    @property
    def iterator_type(self) -> ArrayIterator:
        return ArrayIterator(self)

    @property
    def ndim(self) -> int:
        return int(self.array.ndim)

    @property
    def scalar(self) -> VarType:
        return SCALARS[self.mode]

    @property
    def mixed(self) -> bool:
        return not self.array.mutable

    def unify(self, typingctx: Any, other: Any) -> Any:
        """Of different layouts, as Numba's arrays: both become strided; with a plain one: mixed."""
        if isinstance(other, ArrayType) and (other.mode, other.ndim) == (self.mode, self.ndim):
            readonly = self.mixed or other.mixed
            return ArrayType(self.mode, self.array.copy(layout="A", readonly=readonly))
        if isinstance(other, types.Array) and (other.dtype, other.ndim) == (
            types.float64,
            self.ndim,
        ):
            return ArrayType(self.mode, self.array.copy(layout="A", readonly=True))
        return None

    def can_convert_to(self, typingctx: Any, other: Any) -> Any:
        from numba.core.typeconv import Conversion

        same = isinstance(other, ArrayType) and (other.mode, other.ndim) == (self.mode, self.ndim)
        fits = same and other.array.layout == "A" and (other.mixed or not self.mixed)
        return Conversion.safe if fits else None

    def can_convert_from(self, typingctx: Any, other: Any) -> Any:
        from numba.core.typeconv import Conversion

        plain = isinstance(other, types.Array) and other.dtype == types.float64
        return Conversion.unsafe if plain and self.mixed and other.ndim == self.ndim else None


class ArrayIterator(types.SimpleIteratorType):
    """Over the first axis of a recording array."""

    def __init__(self, of: ArrayType) -> None:
        self.of = of
        item: types.Type = of.scalar
        if of.ndim > 1:
            layout = "C" if of.array.layout == "C" else "A"
            item = ArrayType(of.mode, of.array.copy(ndim=of.ndim - 1, layout=layout))
        super().__init__(f"iter({of.name})", item)


SCALARS = {mode: VarType(mode) for mode in MODES}


@register_model(VarType)
class _VarModel(models.StructModel):
    def __init__(self, dmm: Any, fe_type: VarType) -> None:
        members = [("tape", types.uint64), ("slot", types.uint64), ("value", types.float64)]
        super().__init__(dmm, fe_type, members)


@register_model(ArrayType)
class _ArrayModel(models.StructModel):
    def __init__(self, dmm: Any, fe_type: ArrayType) -> None:
        members = [("values", fe_type.array), ("shift", types.int64), ("cell", types.uint64)]
        super().__init__(dmm, fe_type, members)


for _name in ("tape", "slot", "value"):
    make_attribute_wrapper(VarType, _name, f"_{_name}")
for _name in ("values", "shift", "cell"):
    make_attribute_wrapper(ArrayType, _name, f"_{_name}")


@lower_cast(types.Number, VarType)
@lower_cast(types.Boolean, VarType)
def _passive(context: Any, builder: Any, fromty: Any, toty: Any, val: Any) -> Any:
    made = cgutils.create_struct_proxy(toty)(context, builder)
    made.tape = made.slot = context.get_constant(types.uint64, 0)
    made.value = context.cast(builder, val, fromty, types.float64)
    return made._getvalue()


@lower_cast(ArrayType, ArrayType)
def _relaid(context: Any, builder: Any, fromty: Any, toty: Any, val: Any) -> Any:
    given = cgutils.create_struct_proxy(fromty)(context, builder, value=val)
    made = cgutils.create_struct_proxy(toty)(context, builder)
    made.values = context.cast(builder, given.values, fromty.array, toty.array)
    made.shift, made.cell = given.shift, given.cell
    return made._getvalue()


@lower_cast(types.Array, ArrayType)
def _mixed(context: Any, builder: Any, fromty: Any, toty: Any, val: Any) -> Any:
    made = cgutils.create_struct_proxy(toty)(context, builder)
    made.values = context.cast(builder, val, fromty, toty.array)
    made.shift = made.cell = context.get_constant(types.uint64, 0)
    return made._getvalue()


def _scalar_maker(mode: str) -> Any:
    @intrinsic
    def make(typingctx, tape, slot, value):
        def codegen(context, builder, sig, args):
            made = cgutils.create_struct_proxy(sig.return_type)(context, builder)
            made.tape, made.slot, made.value = args
            return made._getvalue()

        return SCALARS[mode](types.uint64, types.uint64, types.float64), codegen

    return make


make_scalar = {mode: _scalar_maker(mode) for mode in MODES}


def _array_maker(mode: str) -> Any:
    @intrinsic
    def make(typingctx, values, shift, cell):
        def codegen(context, builder, sig, args):
            made = cgutils.create_struct_proxy(sig.return_type)(context, builder)
            made.values, made.shift, made.cell = args
            context.nrt.incref(builder, sig.args[0], args[0])
            return made._getvalue()

        return ArrayType(mode, values)(values, types.int64, types.uint64), codegen

    return make


make_array = {mode: _array_maker(mode) for mode in MODES}


@intrinsic
def slots_of(typingctx, array):
    """The slots of a recording array, as a plain array of uint64 that borrows its memory."""
    slots = slots_type(array)

    def codegen(context, builder, sig, args):
        made = borrowed_slots(context, builder, sig.args[0], args[0])
        context.nrt.incref(builder, slots, made)
        return made

    return slots(array), codegen


def slots_type(array: ArrayType) -> types.Array:
    return array.array.copy(dtype=u8, readonly=False)


def borrowed_slots(context: Any, builder: Any, array: ArrayType, value: Any) -> Any:
    """The same in lowering, without a reference."""
    given = cgutils.create_struct_proxy(array)(context, builder, value=value)
    values = cgutils.create_struct_proxy(array.array)(context, builder, value=given.values)
    made = cgutils.create_struct_proxy(slots_type(array))(context, builder)
    for name in ("meminfo", "parent", "nitems", "itemsize", "shape", "strides"):
        setattr(made, name, getattr(values, name))
    word = context.get_value_type(types.int64)
    moved = builder.add(builder.ptrtoint(values.data, word), given.shift)
    if array.mixed:  # a plain one: the same 0 for all elements
        plain = builder.icmp_unsigned("==", given.cell, given.cell.type(0))
        moved = builder.select(plain, builder.ptrtoint(zero_word(builder.module), word), moved)
        strides = cgutils.unpack_tuple(builder, values.strides, array.ndim)
        still = [builder.select(plain, s.type(0), s) for s in strides]
        made.strides = cgutils.pack_array(builder, still, word)
    made.data = builder.inttoptr(moved, made.data.type)
    return made._getvalue()


def zero_word(module: Any) -> Any:
    """The address of 16 bytes of 0: slots of what has none."""
    name = f"ndtape_zero_{FINGERPRINT}"
    found = module.globals.get(name)
    if found is None:
        kind = ir.ArrayType(ir.IntType(64), 2)
        found = ir.GlobalVariable(module, kind, name)
        found.initializer, found.linkage = ir.Constant(kind, None), "internal"
        found.global_constant = True
    return found


@intrinsic
def address_of(typingctx, array):
    """Where the elements of a plain array begin."""

    def codegen(context, builder, sig, args):
        given = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
        return builder.ptrtoint(given.data, context.get_value_type(types.uint64))

    return types.uint64(array), codegen
