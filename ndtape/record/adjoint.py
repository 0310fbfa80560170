"""Derivatives recorded as further instructions, so that derivatives nest to any order.

The reverse walk is recorded on the same tape, from the partial derivatives of the op table and the
programs of primitives, evaluated on recording values: what it leaves is an ordinary program.
Nothing can be confused between levels, because there is only one tape.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from .. import nest, rules
from ..nest import Walk, contiguous
from ..ops import INPUT_CODE, ROWS
from ..tape import Instruction
from . import core
from .arrays import FLOAT64, Array, as_array, plain, private, view
from .core import Recorder
from .elementwise import elementwise
from .storage import Storage
from .values import FUNCTIONS, Var, result
from .wide import contract, cumsum, movement, reduce, scatter_add_flat, take_flat

# --- rules of rows --------------------------------------------------------------------------------


class _Recordable(ast.NodeTransformer):
    """Rule grammar -> Python on recording values: conditions become recorded `where`."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        return rules.call("where", node.test, node.body, node.orelse)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        name = "logical_and" if isinstance(node.op, ast.And) else "logical_or"
        total = node.values[0]
        for value in node.values[1:]:
            total = rules.call(name, total, value)
        return total


@cache
def contributions(name: str) -> tuple[Callable[..., Any] | None, ...]:
    """For each operand of a row, the function (w, x, y, u, z) -> w times the partial."""
    result: list[Callable[..., Any] | None] = []
    for text in ROWS[name].partials:
        product = rules.scaled(ast.Name("w"), rules.parse(text))
        if product is None:
            result.append(None)
            continue
        body = _Recordable().visit(rules.fill(product, {}))
        source = f"lambda w, x, y, u, z: {ast.unparse(body)}"
        result.append(eval(source, dict(FUNCTIONS)))
    return tuple(result)


# --- adjoints of spans ----------------------------------------------------------------------------


class Adjoints:
    """Recorded adjoints of results: a number for a slot, a vector for a span."""

    def __init__(self, tape: Recorder) -> None:
        self.tape = tape
        self.totals: dict[int, Any] = {}  # by first slot

    def add(self, walk: Walk, term: Any) -> None:
        """Add a term, shaped like the walk, to what the walk passes over.

        Loops that stand still are summed over: a broadcast operand gets the sum.
        """
        base, size = self.tape.span_of(walk.bounds()[0])
        still = tuple(j for j, s in enumerate(walk.strides) if s == 0)
        if walk.extents:
            term = as_array(term)
            if term.shape != walk.extents:
                term = movement(np.broadcast_to, term, walk.extents)
            if still:
                term = reduce("sum", term, still)
        if size == 1:
            number = term[(0,) * term.ndim] if isinstance(term, Array) else term
            before = self.totals.get(base)
            self.totals[base] = number if before is None else before + number
            return
        extents = tuple(n for n, s in zip(walk.extents, walk.strides, strict=True) if s)
        strides = tuple(s for s in walk.strides if s)
        if nest.overlaps(extents, strides):  # windows that slide: places repeat
            places = Walk(walk.start - base, extents, strides, False, "a").places()
            self.add_flat(base, size, places, as_array(term).reshape((len(places),)))
            return
        self._add_to_span(base, size, walk.start - base, extents, strides, as_array(term))

    def _add_to_span(
        self, base: int, size: int, offset: int, extents: tuple[int, ...],
        strides: tuple[int, ...], term: Array,
    ) -> None:  # fmt: skip
        before = self.totals.get(base)
        if offset == 0 and strides == contiguous(extents) and term.size == size:
            flat = term.reshape((size,))
            self.totals[base] = flat if before is None else before + flat
            return
        if before is not None and not before.is_whole():  # a broadcast adjoint: elements are shared
            before = as_array(elementwise("copy", before))
        total = plain(np.zeros(size)) if before is None else private(before)
        self.totals[base] = total
        part = view(
            total.storage, total.offset + offset * total.strides[0], extents,
            tuple(s * total.strides[0] for s in strides),
        )  # fmt: skip
        part[...] = term if before is None else part + term

    def add_flat(self, base: int, size: int, places: Any, term: Any) -> None:
        """Add elements to a span at places that may repeat."""
        if size == 1:
            self.add(Walk(base, (), (), False, "a"), reduce("sum", as_array(term), (0,)))
            return
        before = self.totals.get(base)
        total = np.zeros(size) if before is None else before
        self.totals[base] = as_array(scatter_add_flat(total, places, term))

    def of(self, instruction: Instruction) -> Any:
        """The adjoint of a result; None where nothing has arrived."""
        return self.totals.get(instruction.out)


# --- the walk -------------------------------------------------------------------------------------


def recorded_gradient(y: Var, xs: Sequence[Any]) -> list[Any]:
    """Derivatives of the scalar y with respect to xs on its tape, recorded there.

    `xs` are results, and arrays that are whole spans.
    """
    core.resolve(y)
    for x in xs:
        core.resolve(x.storage if isinstance(x, Array) else x)
    tape = y.tape
    targets = [x.storage.slot if isinstance(x, Array) else x.slot for x in xs]
    first, last = min(map(tape.index_of_slot, targets)), tape.index_of_slot(y.slot)
    needed = _dependents(tape, set(targets), first, last)
    adjoints = Adjoints(tape)
    adjoints.add(Walk(y.slot, (), (), False, "a"), 1.0)
    with np.errstate(all="ignore"):
        for i in range(last, first - 1, -1):
            instruction = tape.instruction(i)
            slot = instruction.out
            if slot in adjoints.totals and slot in needed and slot not in targets:
                _walk(tape, instruction, adjoints, needed)
    return [_shaped(adjoints.totals.get(s) if s in needed else None, x)
            for s, x in zip(targets, xs, strict=True)]  # fmt: skip


def _shaped(total: Any, x: Any) -> Any:
    if not isinstance(x, Array):
        return 0.0 if total is None else total
    if total is None:
        return plain(np.zeros(x.shape))
    return as_array(total).reshape(x.shape)


def producers(tape: Recorder, instruction: Instruction) -> set[int]:
    """The first slots of the results that an instruction reads."""
    if not instruction.wide:
        return {tape.span_of(slot)[0] for slot in instruction.slots}
    found: set[int] = set()
    for walk in instruction.operands:
        if walk.entries is not None:
            found |= {tape.span_of(slot)[0] for slot in walk.places().tolist()}
        elif not walk.constant:
            found.add(tape.span_of(walk.start)[0])
    return found


def _dependents(tape: Recorder, targets: set[int], first: int, last: int) -> set[int]:
    """First slots of results up to instruction `last` that depend on a target."""
    found = set(targets)
    for i in range(first, last + 1):
        instruction = tape.instruction(i)
        if not found.isdisjoint(producers(tape, instruction)):
            found.add(instruction.out)
    return found


def _walk(tape: Recorder, instruction: Instruction, adjoints: Adjoints, needed: set[int]) -> None:
    """Record the contributions of one instruction to the adjoints of its operands."""
    w = adjoints.of(instruction)
    if instruction.wide:
        of_kind: Callable[..., None] = WIDE_RULES.get(instruction.name, _elementwise)
        of_kind(tape, instruction, w, adjoints, needed)
        return
    opcode: Any = instruction.opcode
    if opcode.code == INPUT_CODE:
        return
    operands: list[Any] = [
        result(tape, int(x)) if f == "v" else np.float64(x)
        for x, f in zip(instruction.operands, opcode.form, strict=True)
    ]
    x, y, u, *_ = [*operands, None, None]
    z = result(tape, instruction.out)
    for operand, f, rule in zip(instruction.operands, opcode.form, contributions(instruction.name),
                                strict=True):  # fmt: skip
        if f == "v" and rule is not None and tape.span_of(int(operand))[0] in needed:
            adjoints.add(Walk(int(operand), (), (), False, "a"), rule(w, x, y, u, z))


# --- wide instructions ----------------------------------------------------------------------------


def loops_of(tape: Recorder, i: int) -> np.ndarray:
    """The loops of an instruction, a row each: extent and strides of z, x, y, u."""
    chunk = tape.chunk_of(i)
    c = chunk.c[i - chunk.base]
    count = int(tape.words[c + nest.LOOPS])
    body = tape.words[c + nest.BODY : c + nest.BODY + nest.LOOP * count]
    return body.reshape(count, nest.LOOP).copy()


def seen(tape: Recorder, walk: Walk) -> Array:
    """An operand as an array over its slots, or its constants."""
    if walk.constant:
        return plain(tape.constants[walk.places()].reshape(walk.extents))
    base, size = tape.span_of(walk.bounds()[0])
    return view(Storage.span(tape, base, size), walk.start - base, walk.extents, walk.strides)


def spread(x: Any, extents: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """A flat adjoint (or result) seen along the loops of the instruction."""
    x = as_array(x)
    step = x.strides[0] if x.strides else 1
    return view(x.storage, x.offset, extents, tuple(s * step for s in strides), FLOAT64)


def _along(tape: Recorder, instruction: Instruction, w: Any) -> tuple[Array, Array, np.ndarray]:
    """Adjoint and value of the result along the loops, and the loops."""
    loops = loops_of(tape, instruction.position)
    extents, strides = tuple(loops[:, 0].tolist()), tuple(loops[:, 1].tolist())
    z = Walk(instruction.out, (instruction.size,), (1,), False, "a")
    return spread(w, extents, strides), spread(seen(tape, z), extents, strides), loops


def _wanted(tape: Recorder, walk: Walk, needed: set[int]) -> bool:
    return not walk.constant and tape.span_of(walk.bounds()[0])[0] in needed


def _elementwise(
    tape: Recorder, instruction: Instruction, w: Any, adjoints: Adjoints, needed: set[int]
) -> None:
    along, z, _ = _along(tape, instruction, w)
    operands = [seen(tape, walk) for walk in instruction.operands]
    x, y, u, *_ = [*operands, None, None]
    rules_of = contributions(instruction.name)
    for walk, rule in zip(instruction.operands, rules_of, strict=True):
        if rule is not None and _wanted(tape, walk, needed):
            adjoints.add(walk, rule(along, x, y, u, z))


def _sum(
    tape: Recorder, instruction: Instruction, w: Any, adjoints: Adjoints, needed: set[int]
) -> None:
    along, _, _ = _along(tape, instruction, w)
    adjoints.add(instruction.operands[0], along)


def _extreme(
    tape: Recorder, instruction: Instruction, w: Any, adjoints: Adjoints, needed: set[int]
) -> None:
    """Equal shares to all elements that are the largest (or smallest)."""
    along, z, loops = _along(tape, instruction, w)
    (walk,) = instruction.operands
    best = elementwise("equal", seen(tape, walk), z)
    axes = tuple(j for j, stride in enumerate(loops[:, 1]) if stride == 0)
    count = as_array(reduce("sum", best, axes))
    kept = [1 if j in axes else n for j, n in enumerate(walk.extents)]
    share = elementwise("divide", along, count.reshape(tuple(kept)))
    adjoints.add(walk, elementwise("where", best, share, 0.0))


def _dot(
    tape: Recorder, instruction: Instruction, w: Any, adjoints: Adjoints, needed: set[int]
) -> None:
    _, _, loops = _along(tape, instruction, w)
    moving = [[j for j in range(len(loops)) if loops[j, k]] for k in (1, 2, 3)]
    flat = as_array(w)
    extents = [int(n) for n in loops[:, 0]]

    def along(x: Array, labels: list[int], strides: np.ndarray) -> Array:
        step = x.strides[0] if x.strides else 1
        shape = tuple(extents[j] for j in labels)
        return view(x.storage, x.offset, shape, tuple(int(strides[j]) * step for j in labels))

    above = along(flat, moving[0], loops[:, 1])
    x, y = instruction.operands
    for this, other, mine, theirs in ((x, y, 1, 2), (y, x, 2, 1)):
        if not _wanted(tape, this, needed):
            continue
        labels = moving[theirs]
        part = seen(tape, other)
        factor = view(part.storage, part.offset, tuple(extents[j] for j in labels),
                      tuple(part.strides[j] for j in labels))  # fmt: skip
        known = [j for j in moving[mine] if j in moving[0] or j in labels]
        term = as_array(contract(above, moving[0], factor, labels, known))
        shape = tuple(extents[j] if j in known else 1 for j in moving[mine])
        walk = Walk(this.start, tuple(extents[j] for j in moving[mine]),
                    tuple(this.strides[j] for j in moving[mine]), False, "a")  # fmt: skip
        adjoints.add(walk, term.reshape(shape) if walk.extents else term)


def _cumsum(
    tape: Recorder, instruction: Instruction, w: Any, adjoints: Adjoints, needed: set[int]
) -> None:
    along, _, _ = _along(tape, instruction, w)
    axis = tape.kind_word(instruction.position)
    flipped = movement(lambda a: np.flip(a, axis), along)
    total = movement(lambda a: np.flip(a, axis), cumsum(flipped, axis))
    adjoints.add(instruction.operands[0], total)


def _collect(
    tape: Recorder, instruction: Instruction, w: Any, adjoints: Adjoints, needed: set[int]
) -> None:
    entries = instruction.operands[0].entries
    spans = np.array([tape.span_of(e) if e >= 0 else (-1, 0) for e in entries.tolist()])
    flat = as_array(w)
    for base, size in sorted({tuple(s) for s in spans.tolist()}):
        if base in needed:
            chosen = np.flatnonzero(spans[:, 0] == base)
            places = entries[chosen] - base
            if size == len(places) and np.array_equal(places, np.arange(size)) and size > 1:
                walk = Walk(base, (size,), (1,), False, "a")
                adjoints.add(walk, flat if len(chosen) == flat.size else _part(flat, chosen))
            else:
                adjoints.add_flat(base, size, places, _part(flat, chosen))


def _part(x: Array, places: np.ndarray) -> Any:
    return movement(lambda a: a[places], x)


def _gather(
    tape: Recorder, instruction: Instruction, w: Any, adjoints: Adjoints, needed: set[int]
) -> None:
    x, y = instruction.operands
    if _wanted(tape, x, needed):
        zeros = np.zeros(x.extents[0])
        adjoints.add(x, scatter_add_flat(zeros, seen(tape, y), as_array(w)))


def _scatter_add(
    tape: Recorder, instruction: Instruction, w: Any, adjoints: Adjoints, needed: set[int]
) -> None:
    x, y, u = instruction.operands
    if _wanted(tape, x, needed):
        adjoints.add(x, as_array(w))
    if _wanted(tape, u, needed):
        adjoints.add(u, take_flat(w, seen(tape, y)))


def _call(
    tape: Recorder, instruction: Instruction, w: Any, adjoints: Adjoints, needed: set[int]
) -> None:
    call = tape.calls[tape.kind_word(instruction.position)]
    if call.primitive.vjp is None:
        return
    z = seen(tape, Walk(instruction.out, (instruction.size,), (1,), False, "a"))
    inputs = [seen(tape, walk) for walk in instruction.operands]
    terms = call.adjoints(call.parts(as_array(w).reshape((instruction.size,))), call.parts(z),
                          call.arrays(inputs, dtypes=False))  # fmt: skip
    for walk, term in zip(instruction.operands, terms, strict=True):
        if term is not None and _wanted(tape, walk, needed):
            adjoints.add(walk, as_array(term).reshape(walk.extents))


def _nothing(*_: Any) -> None:
    """An input."""


WIDE_RULES: dict[str, Callable[..., None]] = {
    "wide_input": _nothing, "sum": _sum, "max": _extreme, "min": _extreme, "dot": _dot,
    "cumsum": _cumsum, "collect": _collect, "gather": _gather, "scatter_add": _scatter_add,
    "call": _call,
}  # fmt: skip
