"""Forward mode, recorded: tangents as further instructions, for `jvp` inside other transforms.

The counterpart of record/adjoint.py.  The instructions between the variables and the results are
walked in order; each adds to the tape what its tangent is in terms of those of its operands: the
contributions of the op table for elementwise rows, the operation itself for the linear kinds, and
for calls the tangent rule or the transpose of the adjoint rule.  (Rejected: the derivative of
w -> <Jᵀ w, t>, which needs no walk of its own but records two reverse walks and is three times as
long.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..nest import Walk, contiguous
from ..ops import INPUT_CODE
from ..record import core
from ..record.adjoint import contributions, loops_of, producers, recorded_gradient, seen
from ..record.arrays import Array, as_array, moves, of_span, plain, private, storages, view
from ..record.core import Recorder
from ..record.elementwise import elementwise
from ..record.lifetime import common_tape
from ..record.values import Result, result
from ..record.wide import contract, cumsum, movement, reduce, scatter_add_flat, take_flat
from ..tape import Instruction
from .evaluation import first_slot, slots_of


def recorded_tangents(
    variables: Sequence[Any], directions: Sequence[Any], ys: Sequence[Any]
) -> list[Any]:
    """Tangents of ys along `directions` of the variables, recorded; None where there is none.

    Variables are results, and arrays that are whole spans; directions are plain or recording, of
    the same shapes.
    """
    moving = [x for x in (*variables, *directions) if moves(x)]
    if not moving:
        return [None] * len(ys)
    tape = common_tape(storages(moving))
    tangents = Tangents(tape)
    for x, t in zip(variables, directions, strict=True):
        if first_slot(x) >= 0 and (moves(t) or np.any(t)):
            tangents.put(first_slot(x), t)
    here = [y for y in ys if _on(tape, y)]
    if not tangents.of or not here:
        return [None] * len(ys)
    with np.errstate(all="ignore"):
        for instruction in _needed(tape, set(tangents.of), here):
            _step(tangents, instruction)
        return [tangents.read(y) if _on(tape, y) else None for y in ys]


def _on(tape: Recorder, y: Any) -> bool:
    where = y.storage if isinstance(y, Array) else y
    if not isinstance(getattr(where, "tape", None), Recorder):
        return False
    core.resolve(where)
    return where.tape is tape


def _needed(tape: Recorder, variables: set[int], ys: list[Any]) -> list[Instruction]:
    """The instructions that lead from the variables to ys, in order; spans by their first slot."""
    slots = np.concatenate([slots_of(y)[0] for y in ys])
    ends = {tape.span_of(slot)[0] for slot in set(slots[slots >= 0].tolist())}
    if not ends:
        return []
    first, last = tape.index_of_slot(min(variables)), tape.index_of_slot(max(ends))
    dependent, found = set(variables), []
    for i in range(first, last + 1):
        instruction = tape.instruction(i)
        if instruction.out not in variables:
            operands = producers(tape, instruction)
            if not dependent.isdisjoint(operands):
                dependent.add(instruction.out)
                found.append((instruction, operands))
    leading = []
    for instruction, operands in reversed(found):
        if instruction.out in ends:
            ends |= operands
            leading.append(instruction)
    return leading[::-1]


class Tangents:
    """Recorded tangents of results: a number for a slot, a vector for a span, by first slot."""

    def __init__(self, tape: Recorder) -> None:
        self.tape = tape
        self.of: dict[int, Any] = {}

    def put(self, slot: int, t: Any) -> None:
        """The tangent of the result that begins at a slot, in any shape."""
        size = self.tape.span_of(slot)[1]
        if size == 1:
            t = t[(0,) * t.ndim] if isinstance(t, (Array, np.ndarray)) else t
            self.of[slot] = t
        else:
            self.of[slot] = as_array(t).reshape((size,))

    def number(self, slot: int) -> Any:
        """The tangent of one slot, which may lie in a span; None for none."""
        base, size = self.tape.span_of(slot)
        t = self.of.get(base)
        return t if t is None or size == 1 else t[slot - base]

    def along(self, walk: Walk) -> Array | None:
        """The tangent of what a walk passes over, shaped like the walk; None for none."""
        if walk.constant:
            return None
        base, _ = self.tape.span_of(walk.bounds()[0])
        t = self.of.get(base)
        if t is None:
            return None
        return _strided(t, walk.start - base, walk.extents, walk.strides)

    def gathered(self, entries: np.ndarray) -> Any:
        """The tangents of a list of slots (negative: constants), as an array of its shape."""
        index = np.full(entries.shape, -1)
        sources, used = [], 0
        for base, size in sorted({self.tape.span_of(e) for e in entries.ravel().tolist()
                                  if e >= 0}):  # fmt: skip
            if base in self.of:
                here = (entries >= base) & (entries < base + size)
                index[here] = used + entries[here] - base
                sources.append(as_array(self.of[base]).reshape((size,)))
                used += size
        if not sources:
            return None
        whole = sources[0] if len(sources) == 1 else movement(np.concatenate, sources)
        return _places(whole, index)

    def read(self, y: Any) -> Any:
        """The tangent of a result, over a storage of its own; None for none."""
        if not isinstance(y, Array):
            return self.number(y.slot)
        if y.storage.map is None and y.size:
            base, _ = self.tape.span_of(y.storage.slot)
            t = self.of.get(base)
            if t is None:
                return None
            found = _strided(t, y.storage.slot - base + y.offset, y.shape, y.strides)
        else:
            found = self.gathered(slots_of(y)[0].reshape(y.shape))
        return private(found) if isinstance(found, Array) else found


def _strided(t: Any, offset: int, extents: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    t = as_array(t)
    step = t.strides[0] if t.strides else 1
    return view(t.storage, t.offset + offset * step, extents, tuple(s * step for s in strides))


def _places(flat: Array, index: np.ndarray) -> Any:
    """Elements at `index`, zero where that is negative."""
    if index.min(initial=0) < 0:
        flat = as_array(movement(np.concatenate, [flat, plain(np.zeros(1))]))
    return movement(lambda a: a[index], flat)


# --- one instruction ------------------------------------------------------------------------------


def _step(tangents: Tangents, instruction: Instruction) -> None:
    """Record the tangent of one instruction from those of its operands."""
    if instruction.wide:
        rule: Callable[..., Any] = WIDE_RULES.get(instruction.name, _elementwise)
        t = rule(tangents, instruction)
    else:
        t = _scalar(tangents, instruction)
    if t is not None:
        tangents.put(instruction.out, t)


def _added(total: Any, term: Any) -> Any:
    return term if total is None else total + term


def _scalar(tangents: Tangents, instruction: Instruction) -> Any:
    opcode: Any = instruction.opcode
    if opcode.code == INPUT_CODE:
        return None
    tape = tangents.tape
    operands: list[Any] = [
        result(tape, int(x)) if f == "v" else np.float64(x)
        for x, f in zip(instruction.operands, opcode.form, strict=True)
    ]
    x, y, u, *_ = [*operands, None, None]
    z, total = result(tape, instruction.out), None
    for operand, f, rule in zip(instruction.operands, opcode.form,
                                contributions(instruction.name), strict=True):  # fmt: skip
        t = tangents.number(int(operand)) if f == "v" and rule is not None else None
        if t is not None and rule is not None:
            total = _added(total, rule(t, x, y, u, z))
    return total


def _result(tangents: Tangents, instruction: Instruction) -> Array:
    """The value of a wide instruction, flat."""
    return seen(tangents.tape, Walk(instruction.out, (instruction.size,), (1,), False, "a"))


def _loops(tangents: Tangents, instruction: Instruction) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Extents of the loops, and how the result moves with them."""
    loops = loops_of(tangents.tape, instruction.position)
    return tuple(loops[:, 0].tolist()), tuple(loops[:, 1].tolist())


def _flat(term: Any, extents: tuple[int, ...], strides: tuple[int, ...], size: int) -> Any:
    """A term shaped like the loops of the result, as the flat result."""
    term = as_array(term)
    if term.shape != extents:
        term = as_array(movement(np.broadcast_to, term, extents))
    if strides == contiguous(extents):
        return term.reshape((size,))
    places = Walk(0, extents, strides, False, "a").places()
    order = np.full(size, -1)
    order[places] = np.arange(len(places))
    return _places(term.reshape((len(places),)), order)


def _elementwise(tangents: Tangents, instruction: Instruction) -> Any:
    extents, strides = _loops(tangents, instruction)
    flat = _result(tangents, instruction)
    z = view(flat.storage, flat.offset, extents, strides)
    operands = [seen(tangents.tape, walk) for walk in instruction.operands]
    x, y, u, *_ = [*operands, None, None]
    total = None
    for walk, rule in zip(instruction.operands, contributions(instruction.name), strict=True):
        t = tangents.along(walk) if rule is not None else None
        if t is not None and rule is not None:
            total = _added(total, rule(t, x, y, u, z))
    return None if total is None else _flat(total, extents, strides, instruction.size)


def _sum(tangents: Tangents, instruction: Instruction) -> Any:
    t = tangents.along(instruction.operands[0])
    return None if t is None else _summed(tangents, instruction, t)


def _summed(tangents: Tangents, instruction: Instruction, t: Array) -> Any:
    """A term shaped like the loops, summed over those in which the result stands still."""
    extents, strides = _loops(tangents, instruction)
    still = tuple(j for j, s in enumerate(strides) if s == 0)
    kept = [j for j, s in enumerate(strides) if s]
    total = reduce("sum", t, still) if still else t
    return _flat(total, tuple(extents[j] for j in kept), tuple(strides[j] for j in kept),
                 instruction.size)  # fmt: skip


def _extreme(tangents: Tangents, instruction: Instruction) -> Any:
    """Equal shares of all elements that are the largest (or smallest)."""
    (walk,) = instruction.operands
    t = tangents.along(walk)
    if t is None:
        return None
    extents, strides = _loops(tangents, instruction)
    flat = _result(tangents, instruction)
    z = view(flat.storage, flat.offset, extents, strides)
    best = elementwise("equal", seen(tangents.tape, walk), z)
    total = _summed(tangents, instruction, as_array(elementwise("where", best, t, 0.0)))
    count = _summed(tangents, instruction, as_array(best))
    return elementwise("divide", total, count)


def _dot(tangents: Tangents, instruction: Instruction) -> Any:
    loops = loops_of(tangents.tape, instruction.position)
    extents = [int(n) for n in loops[:, 0]]
    moving = [[j for j in range(len(loops)) if loops[j, k]] for k in (1, 2, 3)]

    def along(walk: Walk, labels: list[int]) -> Walk:
        return walk._replace(extents=tuple(walk.extents[j] for j in labels),
                             strides=tuple(walk.strides[j] for j in labels))  # fmt: skip

    total: Any = None
    x, y = instruction.operands
    for this, other, mine, theirs in ((x, y, moving[1], moving[2]), (y, x, moving[2], moving[1])):
        t = tangents.along(along(this, mine))
        if t is not None:
            factor = seen(tangents.tape, along(other, theirs))
            term = contract(t, mine, factor, theirs, moving[0])
            total = _added(total, as_array(term))
    if total is None:
        return None
    return _flat(total, tuple(extents[j] for j in moving[0]),
                 tuple(int(loops[j, 1]) for j in moving[0]), instruction.size)  # fmt: skip


def _cumsum(tangents: Tangents, instruction: Instruction) -> Any:
    t = tangents.along(instruction.operands[0])
    if t is None:
        return None
    extents, strides = _loops(tangents, instruction)
    total = cumsum(t, tangents.tape.kind_word(instruction.position))
    return _flat(total, extents, strides, instruction.size)


def _collect(tangents: Tangents, instruction: Instruction) -> Any:
    return tangents.gathered(instruction.operands[0].entries)


def _gather(tangents: Tangents, instruction: Instruction) -> Any:
    x, y = instruction.operands
    t = tangents.along(x)
    return None if t is None else take_flat(t, seen(tangents.tape, y))


def _scatter_add(tangents: Tangents, instruction: Instruction) -> Any:
    x, y, u = instruction.operands
    tx, tu = tangents.along(x), tangents.along(u)
    if tu is None:
        return tx
    before = np.zeros(x.extents[0]) if tx is None else tx
    places = seen(tangents.tape, y)
    if not moves(places):  # with plain tangents NumPy computes it, and wants whole numbers
        places = plain(places.value.astype(np.int64))
    return scatter_add_flat(before, places, tu)


def _call(tangents: Tangents, instruction: Instruction) -> Any:
    tape = tangents.tape
    call = tape.calls[tape.kind_word(instruction.position)]
    ts = [tangents.along(walk) for walk in instruction.operands]
    if call.primitive.vjp is None or call.empty or all(t is None for t in ts):
        return None
    inputs = [seen(tape, walk) for walk in instruction.operands]
    arrays = call.arrays(inputs, dtypes=False)
    z = call.parts(_result(tangents, instruction))
    if call.primitive.jvp is not None:
        flat = [np.zeros(x.size) if t is None else t for t, x in zip(ts, inputs, strict=True)]
        full = call.arrays(flat, dtypes=False)
        along = [t if x is None else np.zeros_like(x, np.float64)
                 for t, x in zip(full, call.fixed, strict=True)]  # fmt: skip
        parts = call.primitive.jvp(along, z, *arrays, **call.params)
        parts = [as_array(p).reshape((as_array(p).size,))
                 for p in (parts if call.many else (parts,))]  # fmt: skip
        return parts[0] if len(parts) == 1 else movement(np.concatenate, parts)
    return _transposed(tape, instruction, call, ts, z, arrays)


def _transposed(
    tape: Recorder, instruction: Instruction, call: Any, ts: list[Any], z: Any, arrays: list[Any]
) -> Any:
    """J t as the derivative of w -> <Jᵀ w, t>, which is linear: any w will do."""
    with core.growth:
        w = of_span(tape, tape.add_input(np.zeros(instruction.size)), (instruction.size,))
    terms = call.adjoints(call.parts(w), z, arrays)
    total: Any = 0.0
    for term, t in zip(terms, ts, strict=True):
        if term is not None and t is not None:
            total = total + reduce("sum", as_array(term).reshape((t.size,)) * t, (0,))
    return recorded_gradient(total, [w])[0] if isinstance(total, Result) else None


def _nothing(*_: Any) -> None:
    """An input."""


WIDE_RULES: dict[str, Callable[..., Any]] = {
    "wide_input": _nothing, "sum": _sum, "max": _extreme, "min": _extreme, "dot": _dot,
    "cumsum": _cumsum, "collect": _collect, "gather": _gather, "scatter_add": _scatter_add,
    "call": _call,
}  # fmt: skip
