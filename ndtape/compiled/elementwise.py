"""Rows of the table on recording arrays, element by element, with NumPy's broadcasting.

A *run* is the inner loop over one axis, an LLVM function for each row and kinds of operands.  On a
linear tape it has no branches: each operand's entry is written, and the place of the next one moves
on only where the operand records.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import NumbaTypeError
from numba.core.imputils import impl_ret_borrowed
from numba.core.typing.templates import signature
from numba.np import arrayobj

from .. import rules
from ..ops import ROWS, Op
from ..vmath.kernel import Primitive
from ..vmath.value import F64, I1, I64
from . import emission
from .arrays import DROPPED, READ_ONLY
from .emission import Mathematics, Operand
from .memory import ENTRY
from .operators import mode_of, of_arrays, power_by_exponent
from .scalars import is_number
from .types import FINGERPRINT, LINEAR, ArrayType, VarType
from .views import (
    BYTE,
    DTYPES,
    ONE,
    ZERO,
    View,
    allocate,
    broadcast,
    check_shapes,
    double_at,
    entry,
    number,
    offset,
    over,
    plain_element,
    product,
    put_at,
    refuse,
    reserve,
    scalar_parts,
    set_tape,
    settle,
    steps,
    word_at,
)

# --- one axis -------------------------------------------------------------------------------------


class Given:
    """An operand of a run: its kind, and the LLVM values that say where it is.

    Kinds: "array" records; "scalar" is a recording scalar; "number" a plain one; others are plain
    arrays, by the name of their dtype.
    """

    def __init__(self, kind: str, parts: Sequence[ir.Value], view: View | None = None) -> None:
        self.kind, self.parts, self.view = kind, list(parts), view

    @property
    def records(self) -> bool:
        return self.kind in ("array", "scalar")


PARTS = {"array": (I64, I64, I64, I64), "scalar": (I64, F64), "number": (F64,)}
PLAIN_PARTS = (I64, I64)


def element_of(
    b: ir.IRBuilder, kind: str, parts: Sequence[ir.Value], i: ir.Value, header: Any
) -> Any:
    """The i-th element of an operand of a run."""
    if kind == "number":
        return Operand(ZERO, ZERO, parts[0])
    if kind == "scalar":
        slot, value = parts
    elif kind == "array":
        values, slots, stride, slot_stride = parts
        value = double_at(b, b.add(values, b.mul(i, stride)))
        slot = word_at(b, b.add(slots, b.mul(i, slot_stride)))
    else:
        return Operand(ZERO, ZERO, plain_element(b, kind, b.add(parts[0], b.mul(i, parts[1]))))
    return Operand(b.select(b.icmp_unsigned("==", slot, ZERO), ZERO, header), slot, value)


def run(module: ir.Module, row: Op, mode: str, kinds: Sequence[str]) -> ir.Function:
    """The loop over one axis: (count, header, cursor, next, values, slots, stride, operands...).

    On a linear tape it answers (cursor, next), and else whether there was room.
    """
    name = f"ndtape_run_{mode}_{row.name}_{'_'.join(kinds)}_{FINGERPRINT}"
    found = module.globals.get(name)
    if found is not None:
        return found
    given = [t for kind in kinds for t in PARTS.get(kind, PLAIN_PARTS)]
    returned = ir.LiteralStructType([I64, I64])
    function = ir.Function(module, ir.FunctionType(returned, [I64] * 7 + given), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    count, header, cursor, following, values, slots, stride, *rest = function.args
    places = [cgutils.alloca_once_value(b, v) for v in (cursor, following)]
    with cgutils.for_range(b, count) as loop:
        parts, operands = list(rest), []
        for kind in kinds:
            own = len(PARTS.get(kind, PLAIN_PARTS))
            operands.append(element_of(b, kind, parts[:own], loop.index, header))
            del parts[:own]
        if mode == LINEAR:
            z, slot = _linear(b, row, kinds, operands, places)
        else:
            z, slot = _tape(b, row, operands)
        moved = b.mul(loop.index, stride)
        if row.boolean:
            z = b.zext(z, BYTE)
        else:
            put_at(b, b.add(slots, moved), slot)
        put_at(b, b.add(values, moved), z)
    b.ret(pair(b, *(b.load(place) for place in places)))
    return function


def pair(b: ir.IRBuilder, first: ir.Value, second: ir.Value) -> ir.Value:
    made = ir.Constant(ir.LiteralStructType([I64, I64]), ir.Undefined)
    return b.insert_value(b.insert_value(made, first, 0), second, 1)


def recorded(row: Op, kinds: Sequence[str]) -> list[tuple[int, str, Any]]:
    """The operands that a linear tape gets entries for: number, name, partial derivative."""
    return [
        (i, name, rules.parse(text))
        for i, (name, text, kind) in enumerate(zip(row.operands, row.partials, kinds, strict=True))
        if text != "0" and kind in ("array", "scalar")
    ]


def _linear(b: ir.IRBuilder, row: Op, kinds: Any, operands: Any, places: Any) -> Any:
    mathematics = Mathematics(b, row, operands)
    z = mathematics.value().ir
    if row.boolean:
        return b.fcmp_unordered("!=", z, ir.Constant(F64, 0.0)), ZERO
    start, following = (b.load(place) for place in places)
    end = start
    for i, name, partial in reversed(recorded(row, kinds)):  # reverse sweeps then meet x first
        wanted = b.icmp_unsigned("!=", operands[i].slot, ZERO)
        condition = emission.nonzero(partial, mathematics)
        if condition is not None:
            wanted = b.and_(wanted, condition.ir)
        entry(b, end, mathematics.partial(name).ir, operands[i].slot, following)
        end = b.add(end, b.select(wanted, number(ENTRY), ZERO))
    active = b.icmp_unsigned("!=", end, start)
    b.store(end, places[0])
    b.store(b.add(following, b.zext(active, I64)), places[1])
    return z, b.select(active, following, ZERO)


def _tape(b: ir.IRBuilder, row: Op, operands: Any) -> Any:
    function = emission.operation(b.module, row, "tape")
    given = [part for x in operands for part in (x.tape, x.slot, x.value)]
    found = b.call(function, [ZERO, *given])
    slot, z = b.extract_value(found, 1), b.extract_value(found, 2)
    with b.if_then(b.icmp_unsigned("==", slot, emission.NOWHERE), likely=False):
        b.ret(pair(b, emission.NOWHERE, ZERO))
    return z, slot


# --- whole arrays ---------------------------------------------------------------------------------


class Elementwise(Primitive):
    """A row on arrays, in compiled code; in place where it writes into its first operand."""

    def __init__(self, row: Op, mode: str, in_place: bool) -> None:
        self.row, self.mode, self.in_place = row, mode, in_place
        super().__init__(row.name, self.signature_of, self.lower, row.doc)

    def signature_of(self, given: Sequence[Any]) -> Any:
        row = self.row
        if len(given) != len(row.operands) or not all(map(_fits, given)):
            return None
        arrays = [t for t in given if isinstance(t, (ArrayType, types.Array))]
        ndim = max(t.ndim for t in arrays)
        if ndim == 0:
            return None
        if self.in_place:
            if given[0].ndim < ndim:
                return None
            return signature(given[0], *given)
        dtype = types.boolean if row.boolean else types.float64
        result: Any = types.Array(dtype, ndim, "C")
        return signature(result if row.boolean else ArrayType(self.mode, result), *given)

    def lower(self, context: Any, b: Any, sig: Any, args: Any) -> Any:
        given = [operand_of(context, b, t, v) for t, v in zip(sig.args, args, strict=True)]
        views = [x.view for x in given if x.view is not None]
        if self.in_place:
            shape = views[0].shape
            check_shapes(context, b, shape, views)
        else:
            shape = broadcast(context, b, views)
        header = common_header(b, given, args)
        if self.in_place:
            out: Any = views[0]
            result = impl_ret_borrowed(context, b, sig.return_type, args[0])
        elif self.row.boolean:
            made = arrayobj._empty_nd_impl(context, b, sig.return_type, shape)
            result = made._getvalue()
            out = View(context, b, sig.return_type, result)
        else:
            out = allocate(context, b, sig.return_type, shape, clear=False)
            result = out.value
        kinds = [x.kind for x in given]
        function = run(b.module, self.row, self.mode, kinds)
        count = len(recorded(self.row, kinds)) if self.mode == LINEAR else 0
        target = Target(out, slots=not self.row.boolean)
        runs(context, b, function, given, shape, header, target, count, self.mode)
        if not self.row.boolean:
            set_tape(b, out.cell, header)
        return result


def common_header(b: Any, given: Sequence[Given], args: Any) -> Any:
    """The tape that the operands are on."""
    header: Any = ZERO
    for x, value in zip(given, args, strict=True):
        if x.kind == "scalar":
            header = b.or_(header, b.extract_value(value, 0))
        elif x.view is not None:
            header = b.or_(header, x.view.header)
    return header


class Target:
    """Where runs write their results: an array, or one number for all."""

    def __init__(self, view: View | None, slots: bool = True, place: Any = None) -> None:
        self.view, self.slots, self.place = view, slots, place

    def line(self, b: Any, indices: Any) -> list[ir.Value]:
        """Addresses of values and slots, and the stride, for a run; no slots of truth values."""
        out, axes = self.view, len(indices)
        if out is None:
            return [self.place, ZERO, ZERO]
        values = offset(b, out.values, indices, out.strides[:axes])
        slots = offset(b, out.slots, indices, out.slot_strides[:axes]) if self.slots else ZERO
        return [values, slots, out.strides[axes]]


def runs(
    context: Any, b: Any, function: Any, given: Sequence[Given], shape: Any, header: Any,
    target: Target, count: int, mode: str,
) -> Any:  # fmt: skip
    """Runs over the last axis, for all of a shape: whether they have written entries."""
    cursor: Any = ZERO
    following: Any = ZERO
    if count:
        wanted = b.mul(product(b, shape), number(count))
        cursor, following = reserve(context, b, header, wanted, count)
    places = [cgutils.alloca_once_value(b, v) for v in (cursor, following)]
    views = [x.view for x in given if x.view] + ([target.view] if target.view else [])
    inner, outer = _flattened(b, shape, views)
    with over(b, outer) as indices:
        parts = [p for x in given for p in _line(b, x, indices, len(shape))]
        state = [b.load(p) for p in places]
        found = b.call(function, [inner, header, *state, *target.line(b, indices), *parts])
        first = b.extract_value(found, 0)
        if mode == LINEAR:
            b.store(first, places[0])
            b.store(b.extract_value(found, 1), places[1])
        else:
            with b.if_then(b.icmp_unsigned("==", first, emission.NOWHERE), likely=False):
                refuse(context)(b)
    end, last = (b.load(p) for p in places)
    active: Any = b.icmp_unsigned("!=", end, cursor)
    if target.view is None:
        last = b.add(last, b.zext(active, I64))
    if count:
        settle(b, header, end, last)
    return active, following


def _fits(t: Any) -> bool:
    if isinstance(t, types.Array):
        return t.dtype.name in DTYPES
    return isinstance(t, (ArrayType, VarType)) or is_number(t)


def operand_of(context: Any, b: Any, kind: Any, value: Any) -> Given:
    if isinstance(kind, (ArrayType, types.Array)):
        view = View(context, b, kind, value)
        return Given("array" if isinstance(kind, ArrayType) else kind.dtype.name, (), view)
    _, slot, x = scalar_parts(context, b, kind, value)
    return Given("scalar", [slot, x]) if isinstance(kind, VarType) else Given("number", [x])


def _line(b: Any, x: Given, indices: Any, ndim: int) -> list[ir.Value]:
    """The parts of an operand for a run over the last axis."""
    if x.view is None:
        return x.parts
    own = indices[ndim - x.view.ndim :]
    strides = steps(b, x.view, x.view.strides)
    parts = [offset(b, x.view.values, own, strides[:-1])]
    if x.kind != "array":
        return [*parts, strides[-1]]
    slots = steps(b, x.view, x.view.slot_strides)
    return [*parts, offset(b, x.view.slots, own, slots[:-1]), strides[-1], slots[-1]]


def _flattened(b: Any, shape: Any, views: Sequence[View]) -> tuple[Any, list[Any]]:
    """(length of a run, lengths of the axes outside): one run where all are contiguous alike."""
    if len(shape) == 1:
        return shape[0], []
    alike: Any = ir.Constant(I1, all(v.contiguous and v.ndim == len(shape) for v in views))
    for view in views:
        for n, m in zip(view.shape, shape, strict=False):
            alike = b.and_(alike, b.icmp_unsigned("==", n, m))
    # An axis of length 1 at the end would have stride 0 in the run.
    alike = b.and_(alike, b.icmp_unsigned("!=", shape[-1], ONE))
    outer = [b.select(alike, ONE, n) for n in shape[:-1]]
    return b.select(alike, product(b, shape), shape[-1]), outer


@cache
def elementwise(name: str, mode: str, in_place: bool = False) -> Elementwise:
    """The compiled function of a row on arrays."""
    return Elementwise(ROWS[name], mode, in_place)


PLACES = {
    operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv,
    operator.imod, operator.ipow,
}  # fmt: skip


def array_signature(name: str, function: Any, given: Any) -> Any:
    """The signature of a row where an operand is a recording array, or arrays and scalars mix."""
    mode = mode_of(*given)
    if not mode or not any(isinstance(t, (ArrayType, types.Array)) for t in given):
        return None
    in_place = function in PLACES and not isinstance(given[0], VarType) and not is_number(given[0])
    if in_place and not isinstance(given[0], ArrayType):
        raise NumbaTypeError(DROPPED)
    if in_place and given[0].mixed:
        raise NumbaTypeError(READ_ONLY)
    return elementwise(name, mode, in_place).signature_of(given)


def array_lowering(name: str, function: Any) -> Any:
    def lower(context: Any, b: Any, sig: Any, args: Any) -> Any:
        in_place = function in PLACES and isinstance(sig.args[0], ArrayType)
        emit = _power if name == "power" else _row(name)
        return emit(context, b, sig, args, mode_of(*sig.args), in_place)

    return lower


def _row(name: str) -> Any:
    def lower(context: Any, b: Any, sig: Any, args: Any, mode: str, in_place: bool) -> Any:
        return elementwise(name, mode, in_place).lower(context, b, sig, args)

    return lower


def _power(context: Any, b: Any, sig: Any, args: Any, mode: str, in_place: bool) -> Any:
    """a ** b: squares, cubes and reciprocals as such, as for scalars."""

    def special(name: str, alone: Any, base: Any) -> Any:
        return _row(name)(context, b, alone, base, mode, in_place)

    def general(whole: Any, operands: Any) -> Any:
        return _row("power")(context, b, whole, operands, mode, in_place)

    if not is_number(sig.args[1]):
        return general(sig, args)
    return power_by_exponent(context, b, sig, args, special, general)


of_arrays["signature"], of_arrays["lowering"] = array_signature, array_lowering
