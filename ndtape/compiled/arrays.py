"""Recording arrays inside compiled code: memory, elements, slices, shapes and iteration.

What only moves elements about is done by Numba on the array of values, and again on the array of
slots, which has the same shape and strides.  Indices out of bounds raise `IndexError`, unlike in
plain compiled code: what lies there must never get into a sweep.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.registry import register_default
from numba.core.errors import NumbaTypeError
from numba.core.imputils import RefType, impl_ret_borrowed, impl_ret_new_ref, iternext_impl
from numba.core.typing.arraydecl import get_array_index_type
from numba.core.typing.templates import (
    AbstractTemplate,
    AttributeTemplate,
    infer_getattr,
    infer_global,
    signature,
)
from numba.extending import (
    intrinsic,
    lower_builtin,
    lower_getattr,
    models,
    overload,
    register_model,
)
from numba.np.arrayobj import _empty_nd_impl, fix_integer_index, normalize_indices

from .._jit import u8
from ..vmath.value import F64, I64
from .scalars import is_number
from .types import (
    ArrayIterator,
    ArrayType,
    VarType,
    borrowed_slots,
    slots_type,
)
from .views import (
    ONE,
    ZERO,
    View,
    assign,
    copied,
    double_at,
    number,
    offset,
    over,
    packed,
    plain_element,
    plain_function,
    put_at,
    scalar_parts,
    set_tape,
    stop,
    tape_at,
    word_at,
)
from .views import allocate as allocated

OUTSIDE = "index is out of bounds"
READ_ONLY = (
    "this array may be a plain one, which cannot be written while the function records: "
    "copy it into one made inside the function, z = np.zeros(n); z[:] = x"
)
DROPPED = (
    "a plain array cannot hold recorded values: use one made inside the function by np.zeros or "
    "np.empty"
)


@cache
def allocate(mode: str, number: float | None = None) -> Any:
    """The compiled function that makes a passive array of a shape, full of a number, if any."""

    @intrinsic
    def made(typingctx, shape):
        if not isinstance(shape, types.BaseTuple) or not len(shape):
            return None
        inner = types.UniTuple(types.intp, len(shape))
        result = ArrayType(mode, types.Array(types.float64, len(shape), "C"))

        def codegen(context, b, sig, args):
            lengths = cgutils.unpack_tuple(b, args[0])
            z = checked(context, b, result, lengths)
            if number is not None:
                with over(b, [z.size(b)]) as (i,):
                    put_at(b, b.add(z.values, b.shl(i, I64(3))), F64(number))
            return z.value

        return result(inner), codegen

    return made


def checked(context: Any, b: Any, kind: ArrayType, shape: Sequence[ir.Value]) -> View:
    """A new passive array of a shape that the user has given."""
    wrong: Any = ir.Constant(ir.IntType(1), 0)
    for n in shape:
        wrong = b.or_(wrong, b.icmp_signed("<", n, ZERO))
    with b.if_then(wrong, likely=False):
        stop(context, b, ValueError, "negative dimensions are not allowed")
    return allocated(context, b, kind, shape)


@cache
def passive(mode: str) -> Any:
    """The compiled function that makes a passive array of a plain one: a copy."""

    @intrinsic
    def made(typingctx, x):
        result = ArrayType(mode, types.Array(types.float64, x.ndim, "C"))

        def codegen(context, b, sig, args):
            source = View(context, b, x, args[0])
            z = allocated(context, b, result, source.shape, clear=False)
            assign(context, b, z, source)
            return z.value

        return result(x), codegen

    return made


@cache
def recording_copy(mode: str) -> Any:
    """The compiled function that makes a contiguous recording array of any array: a copy."""
    of_plain = passive(mode)

    def copy(x): ...

    @overload(copy)
    def typed(x):
        if isinstance(x, ArrayType):
            return lambda x: copy_of(x)
        return lambda x: of_plain(x)

    return copy


def _plain_part(dtype: Any, what: str) -> Any:
    """An intrinsic: values or slots of any array, as a contiguous plain array of its own."""

    @intrinsic
    def part(typingctx, x):
        result = types.Array(dtype, x.ndim, "C")

        def codegen(context, b, sig, args):
            source = View(context, b, x, args[0])
            made = _empty_nd_impl(context, b, result, source.shape)
            z = View(context, b, result, made._getvalue())
            with over(b, z.shape) as indices:
                if what == "values":
                    address = offset(b, source.values, indices, source.strides)
                    found = plain_element(b, source.dtype.name, address)
                else:
                    found = word_at(b, offset(b, source.slots, indices, source.slot_strides))
                put_at(b, offset(b, z.values, indices, z.strides), found)
            return z.value

        return result(x), codegen

    return part


plain_values = _plain_part(types.float64, "values")
plain_slots = _plain_part(types.uint64, "slots")


@intrinsic
def number_slots(typingctx, array, header, first):
    """Give the elements of a new array the slots from `first` on."""

    def codegen(context, b, sig, args):
        z = View(context, b, array, args[0])
        with over(b, [z.size(b)]) as (i,):
            put_at(b, b.add(z.slots, b.shl(i, I64(3))), b.add(args[2], i))
        put_at(b, z.cell, args[1])
        return context.get_dummy_value()

    return types.void(array, u8, u8), codegen


@intrinsic
def tape_of(typingctx, array):
    """The tape that elements of a recording array are on; 0 of a plain one."""
    records = isinstance(array, ArrayType)

    def codegen(context, b, sig, args):
        if not records:
            return ZERO
        return tape_at(b, b.extract_value(args[0], 2), array.mixed)

    return u8(array), codegen


@intrinsic
def set_tape_of(typingctx, array, tape):
    """Elements of the array are on this tape from now on, unless it is 0."""

    def codegen(context, b, sig, args):
        set_tape(b, b.extract_value(args[0], 2), args[1])
        return context.get_dummy_value()

    return types.void(array, u8), codegen


@cache
def joined(mode: str) -> Any:
    """The compiled function (values, slots, tape) -> array in memory of its own."""

    @intrinsic
    def made(typingctx, values, slots, tape):
        result = ArrayType(mode, types.Array(types.float64, values.ndim, "C"))

        def codegen(context, b, sig, args):
            views = [View(context, b, t, v) for t, v in zip(sig.args[:2], args[:2], strict=True)]
            if values.layout == slots.layout == "C":
                return packed(context, b, result, *views, args[2]).value
            return gathered(context, b, result, *views, args[2]).value

        return result(values, slots, u8), codegen

    return made


def gathered(context: Any, b: Any, kind: ArrayType, values: View, slots: View, header: Any) -> View:
    """An array in memory of its own of strided values and slots."""
    z = allocated(context, b, kind, values.shape, clear=False)
    with over(b, z.shape) as indices:
        x = double_at(b, offset(b, values.values, indices, values.strides))
        slot = word_at(b, offset(b, slots.values, indices, slots.strides))
        put_at(b, offset(b, z.values, indices, z.strides), x)
        put_at(b, offset(b, z.slots, indices, z.strides), slot)
    put_at(b, z.cell, header)
    z.header = header
    return z


def tuple_of(shape: Any) -> Any:
    return shape


@overload(tuple_of)
def _tuple_of(shape):
    """A shape as a tuple: n or (n, m)."""
    if isinstance(shape, types.Integer):
        return lambda shape: (shape,)
    return lambda shape: shape


# --- elements and slices --------------------------------------------------------------------------


def _parts(context: Any, b: Any, kind: ArrayType, value: Any) -> Any:
    return cgutils.create_struct_proxy(kind)(context, b, value=value)


def _indices(context: Any, b: Any, kind: Any, value: Any) -> tuple[list[Any], list[Any]]:
    """Types and values of the parts of an index."""
    if isinstance(kind, types.BaseTuple):
        parts = cgutils.unpack_tuple(b, value, count=len(kind))
        given: Any = normalize_indices(context, b, kind.types, parts)
    else:
        given = normalize_indices(context, b, (kind,), (value,))
    return list(given[0]), list(given[1])


def _check(context: Any, b: Any, x: View, kinds: list[Any], indices: list[Any]) -> list[Any]:
    """Raise `IndexError` where an index is out of bounds; answers whole numbers, not negative."""
    fixed, axis = [], 0
    newaxes = sum(isinstance(t, types.NoneType) for t in kinds)
    for kind, index in zip(kinds, indices, strict=True):
        if isinstance(kind, types.NoneType):
            continue
        if kind is types.ellipsis:
            axis += x.ndim - len(kinds) + 1 + newaxes
            continue
        if isinstance(kind, types.Integer):
            place = fix_integer_index(context, b, kind, index, x.shape[axis])
            _inside(context, b, place, x.shape[axis])
            fixed.append(place)
        elif isinstance(kind, types.Array):
            _check_array(context, b, kind, index, x.shape[axis])
        axis += 1
    return fixed


def _inside(context: Any, b: Any, place: Any, length: Any) -> None:
    with b.if_then(b.icmp_unsigned(">=", place, length), likely=False):
        stop(context, b, IndexError, OUTSIDE)


def _check_array(context: Any, b: Any, kind: types.Array, index: Any, length: Any) -> None:
    """All of an array of places, or the length of one of truth values."""
    array = View(context, b, kind, index)
    if isinstance(kind.dtype, types.Boolean):
        with b.if_then(b.icmp_unsigned("!=", array.shape[0], length), likely=False):
            stop(context, b, IndexError, "boolean index did not match the indexed array")
        return
    word = ir.IntType(kind.dtype.bitwidth)
    with over(b, array.shape) as places:
        address = offset(b, array.values, places, array.strides)
        place = b.load(b.inttoptr(address, word.as_pointer()))
        place = context.cast(b, place, kind.dtype, types.intp)
        place = fix_integer_index(context, b, types.intp, place, length)
        _inside(context, b, place, length)


def _single(kinds: list[Any], ndim: int) -> bool:
    return len(kinds) == ndim and all(isinstance(t, types.Integer) for t in kinds)


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        a, index = args
        if not isinstance(a, ArrayType):
            return None
        found = get_array_index_type(a.array, index)
        if found is None:
            return None
        if isinstance(found.result, types.Array):
            return signature(ArrayType(a.mode, found.result), a, found.index)
        return signature(a.scalar, a, found.index)


@lower_builtin(operator.getitem, ArrayType, types.Any)
def _getitem(context: Any, b: Any, sig: Any, args: Any) -> Any:
    kind, index_kind = sig.args
    if index_kind is types.ellipsis:
        return impl_ret_borrowed(context, b, kind, args[0])
    x = View(context, b, kind, args[0])
    kinds, indices = _indices(context, b, index_kind, args[1])
    places = _check(context, b, x, kinds, indices)
    if isinstance(sig.return_type, VarType):
        return _element(context, b, x, places, sig.return_type)
    given, result = _parts(context, b, kind, args[0]), sig.return_type
    of_values = plain_function(context, operator.getitem, result.array, kind.array, index_kind)
    values = of_values(b, [given.values, args[1]])
    if not any(isinstance(t, types.Array) for t in kinds):
        made = _parts(context, b, result, None)
        made.values, made.shift, made.cell = values, given.shift, given.cell
        return made._getvalue()  # Numba's view has taken a reference
    slots_kind = slots_type(kind)
    picked = types.Array(u8, result.ndim, "C")
    of_slots = plain_function(context, operator.getitem, picked, slots_kind, index_kind)
    slots = of_slots(b, [borrowed_slots(context, b, kind, args[0]), args[1]])
    views = View(context, b, result.array, values), View(context, b, picked, slots)
    z = packed(context, b, result, *views, x.header)
    context.nrt.decref(b, result.array, values)
    context.nrt.decref(b, picked, slots)
    return impl_ret_new_ref(context, b, result, z.value)


def _element(context: Any, b: Any, x: View, places: list[Any], result: VarType) -> Any:
    made = cgutils.create_struct_proxy(result)(context, b)
    made.value = double_at(b, offset(b, x.values, places, _constant_strides(x, x.strides)))
    made.slot = word_at(b, offset(b, x.slots, places, _constant_strides(x, x.slot_strides)))
    made.tape = b.select(b.icmp_unsigned("==", made.slot, ZERO), ZERO, x.header)
    return made._getvalue()


def _constant_strides(x: View, strides: list[Any]) -> list[Any]:
    return [*strides[:-1], number(8)] if x.contiguous else strides


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        a, index, value = args
        if isinstance(a, types.Array) and isinstance(value, (VarType, ArrayType)):
            raise NumbaTypeError(DROPPED)
        if not isinstance(a, ArrayType):
            return None
        found = get_array_index_type(a.array, index)
        if found is None:
            return None
        if a.mixed:
            raise NumbaTypeError(READ_ONLY)
        single = isinstance(value, VarType) or is_number(value)
        whole = isinstance(found.result, types.Array)
        several = whole and isinstance(value, (ArrayType, types.Array))
        if not single and not (several and value.ndim <= found.result.ndim):
            return None
        return signature(types.none, a, found.index, value)


@lower_builtin(operator.setitem, ArrayType, types.Any, types.Any)
def _setitem(context: Any, b: Any, sig: Any, args: Any) -> Any:
    kind, index_kind, value_kind = sig.args
    x = View(context, b, kind, args[0])
    kinds, indices = _indices(context, b, index_kind, args[1])
    places = _check(context, b, x, kinds, indices)
    several = isinstance(value_kind, (ArrayType, types.Array))
    if any(isinstance(t, types.Array) for t in kinds):
        _scatter(context, b, sig, args, x)
    elif several:
        _assign(context, b, _target(context, b, sig, args), value_kind, args[2])
    else:
        header, slot, value = scalar_parts(context, b, value_kind, args[2])
        if _single(kinds, kind.ndim):
            strides = _constant_strides(x, x.strides), _constant_strides(x, x.slot_strides)
            put_at(b, offset(b, x.values, places, strides[0]), value)
            put_at(b, offset(b, x.slots, places, strides[1]), slot)
        else:
            target = _target(context, b, sig, args)
            with over(b, target.shape) as inside:
                put_at(b, offset(b, target.values, inside, target.strides), value)
                put_at(b, offset(b, target.slots, inside, target.slot_strides), slot)
        set_tape(b, x.cell, header)
    return context.get_dummy_value()


def _target(context: Any, b: Any, sig: Any, args: Any) -> View:
    """The view that is assigned to."""
    kind, index_kind = sig.args[:2]
    if index_kind is types.ellipsis:
        return View(context, b, kind, args[0])
    array = get_array_index_type(kind.array, index_kind).result
    given, result = _parts(context, b, kind, args[0]), ArrayType(kind.mode, array)
    made = _parts(context, b, result, None)
    of_values = plain_function(context, operator.getitem, array, kind.array, index_kind)
    made.values, made.shift, made.cell = (
        of_values(b, [given.values, args[1]]),
        given.shift,
        given.cell,
    )
    context.nrt.decref(b, array, made.values)  # the array itself stays
    return View(context, b, result, made._getvalue())


def _assign(context: Any, b: Any, target: View, kind: Any, value: Any) -> None:
    """Views of one block may overlap: then the values are copied first."""
    source = View(context, b, kind, value)
    if not isinstance(kind, ArrayType):
        assign(context, b, target, source)
        return
    done = b.append_basic_block("assigned")
    with b.if_then(b.icmp_unsigned("==", source.cell, target.cell), likely=False):
        if source.ndim == target.ndim:
            same = b.icmp_unsigned("==", source.values, target.values)
            pairs = [(source.shape, target.shape), (source.strides, target.strides)]
            for n, m in [pair for two in pairs for pair in zip(*two, strict=True)]:
                same = b.and_(same, b.icmp_unsigned("==", n, m))
            with b.if_then(same):  # x[1:] += 1 writes back what is there
                b.branch(done)
        copy = copied(context, b, kind, source)
        assign(context, b, target, copy)
        context.nrt.decref(b, copy.kind, copy.value)
        b.branch(done)
    assign(context, b, target, source)
    b.branch(done)
    b.position_at_end(done)


def _scatter(context: Any, b: Any, sig: Any, args: Any, x: View) -> None:
    """a[places] = value, by Numba's own code for values and slots."""
    kind, index_kind, value_kind = sig.args
    given: Any = args[2]
    slots: Any = ZERO
    slots_kind: Any = u8
    plain_kind, header = value_kind, ZERO
    if isinstance(value_kind, ArrayType):
        plain_kind, slots_kind = value_kind.array, slots_type(value_kind)
        given = _parts(context, b, value_kind, args[2]).values
        slots = borrowed_slots(context, b, value_kind, args[2])
        header = View(context, b, value_kind, args[2]).header
    elif not isinstance(value_kind, types.Array):
        header, slots, given = scalar_parts(context, b, value_kind, args[2])
        plain_kind = types.float64
    set_values = plain_function(
        context, operator.setitem, types.none, kind.array, index_kind, plain_kind
    )
    set_values(b, [_parts(context, b, kind, args[0]).values, args[1], given])
    set_slots = plain_function(
        context, operator.setitem, types.none, slots_type(kind), index_kind, slots_kind
    )
    set_slots(b, [borrowed_slots(context, b, kind, args[0]), args[1], slots])
    set_tape(b, x.cell, header)


# --- attributes -----------------------------------------------------------------------------------

PLAIN_ATTRIBUTES = ("shape", "size", "ndim", "strides", "nbytes", "itemsize", "dtype")


METHODS: dict[str, Any] = {}  # the function that a method is with the array as its first argument


class Method(types.BoundFunction):
    """A method of a recording array; also of a variable that Numba took for plain at first."""

    def unify(self, typingctx: Any, other: Any) -> Any:
        if not isinstance(other, types.BoundFunction):
            return None
        key = other.typing_key  # Numba's: "array.sum", or (the class of arrays, "sum")
        name = key[-1] if isinstance(key, tuple) else str(key).rpartition(".")[2]
        same = name == self.typing_key.name
        this = typingctx.unify_pairs(self.this, other.this) if same else None
        return self.copy(this) if this is not None else None

    def get_impl_key(self, sig: Any) -> Any:
        return self.typing_key.function.get_impl_key(sig)


register_default(Method)(lambda dmm, kind: dmm[kind.this])


class Key:
    """The typing key of a method; once typed it knows the type of its function."""

    function: Any = None

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"array.{self.name}"


@cache
def _method(name: str) -> Any:
    function = METHODS[name]

    class Template(AbstractTemplate):
        key = Key(name)
        prefer_literal = True

        def generic(self, args: Any, kws: Any) -> Any:
            kind = self.key.function = self.context.resolve_value_type(function)
            sig = kind.get_call_type(self.context, (self.this, *args), kws)
            if sig.pysig is None:
                return signature(sig.return_type, *sig.args[1:], recvr=sig.args[0])
            return sig.as_method()

    return Template


@infer_getattr
class _Attributes(AttributeTemplate):
    key = ArrayType

    def generic_resolve(self, a: Any, name: str) -> Any:
        if name in METHODS:
            return Method(_method(name), a)
        if name == "T":
            return ArrayType(a.mode, self.context.resolve_getattr(a.array, name))
        return self.context.resolve_getattr(a.array, name) if name in PLAIN_ATTRIBUTES else None


def _attribute(name: str) -> Any:
    def lower(context: Any, b: Any, kind: Any, value: Any) -> Any:
        given = _parts(context, b, kind, value)
        found = context.get_getattr(kind.array, name)(context, b, kind.array, given.values, name)
        if name != "T":
            return found
        result = context.typing_context.resolve_getattr(kind.array, name)
        made = _parts(context, b, ArrayType(kind.mode, result), None)
        made.values, made.shift, made.cell = found, given.shift, given.cell
        return made._getvalue()

    return lower


for _name in (*PLAIN_ATTRIBUTES, "T"):
    lower_getattr(ArrayType, _name)(_attribute(_name))


@infer_global(len)
class _Len(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        fits = len(args) == 1 and isinstance(args[0], ArrayType) and not kws
        return signature(types.intp, *args) if fits else None


@lower_builtin(len, ArrayType)
def _len(context: Any, b: Any, sig: Any, args: Any) -> Any:
    return View(context, b, sig.args[0], args[0]).shape[0]


@intrinsic
def copy_of(typingctx, array):
    """A copy of a recording array, contiguous, in memory of its own."""

    def codegen(context, b, sig, args):
        kind = sig.args[0]
        return copied(context, b, kind, View(context, b, kind, args[0])).value

    return ArrayType(array.mode, types.Array(types.float64, array.ndim, "C"))(array), codegen


METHODS["copy"] = copy_of


# --- iteration: over the first axis ---------------------------------------------------------------


@register_model(ArrayIterator)
class _IteratorModel(models.StructModel):
    def __init__(self, dmm: Any, fe_type: ArrayIterator) -> None:
        members = [("array", fe_type.of), ("index", types.EphemeralPointer(types.intp))]
        super().__init__(dmm, fe_type, members)


@lower_builtin("getiter", ArrayType)
def _getiter(context: Any, b: Any, sig: Any, args: Any) -> Any:
    made = context.make_helper(b, sig.return_type)
    made.index = cgutils.alloca_once_value(b, ZERO)
    made.array = args[0]
    return impl_ret_borrowed(context, b, sig.return_type, made._getvalue())


@lower_builtin("iternext", ArrayIterator)
@iternext_impl(RefType.NEW)
def _iternext(context: Any, b: Any, sig: Any, args: Any, result: Any) -> None:
    kind = sig.args[0]
    given = context.make_helper(b, kind, value=args[0])
    index = b.load(given.index)
    x = View(context, b, kind.of, given.array)
    valid = b.icmp_signed("<", index, x.shape[0])
    result.set_valid(valid)
    with b.if_then(valid):
        if isinstance(kind.yield_type, VarType):
            item = _element(context, b, x, [index], kind.yield_type)
        else:
            wanted = signature(kind.yield_type, kind.of, types.intp)
            item = _getitem(context, b, wanted, [given.array, index])
        result.yield_(item)
        b.store(b.add(index, ONE), given.index)
