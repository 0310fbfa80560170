"""Sums in place: what takes the place of ``+`` and ``-`` where an operand is never used again.

In reverse, the adjoint of a sum is the adjoint of each term.  So where nobody can look at the old
value of a again, ``a + b`` needs no result of its own: b contributes to the slot of a.  One entry
instead of two and a slot, and a sum over a loop is one slot instead of a chain of them.  And where
b is the result of the last operation, and never used again either, its entries are given the slot
of a as their result, with their signs: no entry at all.  Reverse sweeps find the same numbers to
the last bit: a factor of 1 or -1 more or less changes none.

`dataflow.py` says where this is so.
"""

from __future__ import annotations

import operator
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, overload

from . import emission
from .emission import F64, I64, ZERO
from .memory import CURSOR, ENTRY, NEXT, Stopped
from .operators import mode_of
from .scalars import is_number
from .types import LINEAR, SCALARS


def _added(a, b):
    return a + b


def _subtracted(a, b):
    return a - b


def _added_in_place(a, b):
    a += b
    return a


def _subtracted_in_place(a, b):
    a -= b
    return a


OTHERWISE = {
    operator.add: (_added, 1.0),
    operator.iadd: (_added_in_place, 1.0),
    operator.sub: (_subtracted, -1.0),
    operator.isub: (_subtracted_in_place, -1.0),
}
KIND = SCALARS[LINEAR]
# By operator; whether b keeps its slot, and not a; whether the other one may be folded into it.
STUBS: dict[tuple[Any, bool, bool], Any] = {}


def _are_scalars(*given: Any) -> bool:
    """Whether these types are recording scalars and numbers, one of the first at least."""
    return bool(mode_of(*given)) and all(t is KIND or is_number(t) for t in given)


def _stub(function: Any, second: bool, fold: bool) -> None:
    otherwise, sign = OTHERWISE[function]

    def stub(a, b): ...

    STUBS[function, second, fold] = stub

    class Template(AbstractTemplate):
        key = stub

        def generic(self, args: Any, kws: Any) -> Any:
            return signature(KIND, KIND, KIND) if _are_scalars(*args) else None

    infer_global(stub, types.Function(Template))
    overload(stub, strict=False)(lambda a, b: None if _are_scalars(a, b) else otherwise)

    @lower_builtin(stub, KIND, KIND)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        given = [cgutils.create_struct_proxy(KIND)(context, builder, value=v) for v in args]
        x, y = (emission.Operand(g.tape, g.slot, g.value) for g in given)
        header = emission.header_for(builder, [x, y])

        def refuse(b: Any) -> None:
            context.call_conv.return_user_exc(b, Stopped, ())

        start = emission.make_room(builder, header, refuse)
        made = cgutils.create_struct_proxy(KIND)(context, builder)
        made.tape = header
        kept, other = (y, x) if second else (x, y)
        made.slot = _slot(builder, header, kept, other, start, sign, fold)
        made.value = (builder.fadd if sign > 0 else builder.fsub)(x.value, y.value)
        return made._getvalue()


def _slot(b: Any, header: Any, x: Any, y: Any, start: Any, sign: float, fold: bool) -> Any:
    """Note that y contributes to x; answers the slot of the sum."""
    before = b.block
    with b.if_then(b.icmp_unsigned("!=", y.slot, ZERO)):
        fresh = emission.load(b, header, NEXT)
        new = b.icmp_unsigned("==", x.slot, ZERO)
        chosen = []
        if fold:
            last = b.icmp_unsigned("==", y.slot, b.sub(fresh, I64(1)))
            at_end = b.icmp_unsigned("==", y.slot, _result_before(b, start))
            with b.if_else(b.and_(b.and_(last, at_end), b.not_(new))) as (folded, written):
                with folded:
                    _fold(b, start, y.slot, x.slot, sign)
                    emission.store(b, y.slot, header, NEXT)  # its number is free again
                    chosen.append((x.slot, b.block))
                with written:
                    chosen.append(_written(b, header, x, y, start, sign, fresh, new))
            slot = b.phi(I64)
            for value, block in chosen:
                slot.add_incoming(value, block)
        else:
            slot, _ = _written(b, header, x, y, start, sign, fresh, new)
        inside = b.block
    found = b.phi(I64)
    found.add_incoming(x.slot, before)
    found.add_incoming(slot, inside)
    return found


def _written(
    b: Any, header: Any, x: Any, y: Any, start: Any, sign: float, fresh: Any, new: Any
) -> tuple[Any, Any]:
    """An entry for y, in the slot of x or, if x is passive, a fresh one; (slot, block)."""
    emission.store(b, b.add(fresh, b.zext(new, I64)), header, NEXT)
    slot = b.select(new, fresh, x.slot)
    emission.put(b, start, F64(sign), y.slot, slot)
    emission.store(b, b.add(start, I64(ENTRY)), header, CURSOR)
    return slot, b.block


def _fold(b: Any, start: Any, old: Any, new: Any, sign: float) -> None:
    """The last entries, all that have the result `old`, get the result `new`.

    In front of the first entry of a chunk lies one whose result is no slot, so the loop ends.
    """
    before = b.block
    body, after = b.append_basic_block("fold"), b.append_basic_block("folded")
    b.branch(body)
    b.position_at_end(body)
    place = b.phi(I64)
    place.add_incoming(start, before)
    entry = b.sub(place, I64(ENTRY))
    words = b.inttoptr(b.add(entry, I64(8)), I64.as_pointer())
    both = emission.tagged(b, b.load(words), "tape")
    kept = b.or_(b.and_(both, I64((1 << 32) - 1)), b.shl(new, I64(32)))
    emission.store_at(b, b.add(entry, I64(8)), kept)
    if sign < 0:
        partial = emission.tagged(b, b.load(b.inttoptr(entry, F64.as_pointer())), "tape")
        emission.store_at(b, entry, b.fneg(partial))
    place.add_incoming(entry, b.block)
    b.cbranch(b.icmp_unsigned("==", _result_before(b, entry), old), body, after)
    b.position_at_end(after)


def _result_before(b: Any, place: Any) -> Any:
    """The result of the entry in front of a place."""
    word = b.inttoptr(b.sub(place, I64(4)), emission.I32.as_pointer())
    return b.zext(emission.tagged(b, b.load(word), "tape"), I64)


for _function, (_, _sign) in OTHERWISE.items():
    for _fold_too in (False, True):
        _stub(_function, False, _fold_too)
        if _sign > 0:  # the slot of b in a - b would need its entries with other signs
            _stub(_function, True, _fold_too)
