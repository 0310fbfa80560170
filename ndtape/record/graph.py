"""Questions to a node of the graph: which operation made it, and from what."""

from __future__ import annotations

from typing import Any

from ..nest import Walk, contiguous
from . import core
from .adjoint import seen
from .arrays import Array, view
from .core import Recorder
from .storage import ArrayLeaf
from .values import Leaf, Var, result


def _producer(x: Any) -> tuple[Recorder, int] | None:
    """The tape of a value and the instruction that made it; None for leaves and plain numbers."""
    where = x.storage if isinstance(x, Array) else x
    if isinstance(where, (Leaf, ArrayLeaf)) or where.tape is None:
        return None
    core.resolve(where)
    if isinstance(x, Array) and where.map is not None:
        latest = int(where.map[x.places()].max(initial=-1))
        return None if latest < 0 else (where.tape, where.tape.index_of_slot(latest))
    offset = x.offset if isinstance(x, Array) else 0
    return where.tape, where.tape.index_of_slot(where.slot + offset)


def op_of(x: Any) -> str:
    """Name of the operation that made this value: ``leaf`` and ``constant`` for those.

    Of an array that was written into, the operation that made its latest element.
    """
    found = _producer(x)
    if found is None:
        return "leaf" if x.needs_grad else "constant"
    tape, index = found
    return tape.instruction(index).name


def parents_of(x: Any) -> tuple[Any, ...]:
    """The operands: leaves, results, arrays, and constants as numbers.

    Results are handed out as new objects: two are the same node if `tape` and `slot` agree.
    """
    found = _producer(x)
    if found is None:
        return ()
    tape, index = found
    instruction = tape.instruction(index)
    if instruction.name in ("input", "wide_input"):
        return ()
    return tuple(_parent(tape, operand, instruction, j)
                 for j, operand in enumerate(instruction.operands))  # fmt: skip


def _parent(tape: Recorder, operand: Any, instruction: Any, j: int) -> Any:
    leaves = {slot: leaf for slot, leaf in tape.inputs if leaf is not None}
    if isinstance(operand, Walk):
        if operand.entries is not None:
            return tuple(_slot(tape, int(e), leaves) for e in operand.entries if e >= 0)
        if operand.constant:
            return tape.constants[operand.places()].reshape(operand.extents)
        if not operand.extents:
            return _slot(tape, operand.start, leaves)
        leaf = leaves.get(operand.start)
        if isinstance(leaf, ArrayLeaf) and operand.places().tolist() == list(
            range(operand.start, operand.start + leaf.size)
        ):
            return view(leaf, 0, leaf.shape, contiguous(leaf.shape), leaf.dtype)
        return seen(tape, operand)
    if instruction.opcode.form[j] == "k":
        return operand
    return _slot(tape, int(operand), leaves)


def _slot(tape: Recorder, slot: int, leaves: dict[int, Any]) -> Any:
    leaf = leaves.get(slot)
    return leaf if isinstance(leaf, Leaf) else result(tape, slot)


for _cls in (Var, Array):
    setattr(_cls, "op", property(op_of))  # noqa: B010
    setattr(_cls, "parents", property(parents_of))  # noqa: B010
