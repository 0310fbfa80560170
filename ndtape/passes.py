"""Tape to tape: rearranging instructions. Every pass keeps the format and is verified in tests."""

from __future__ import annotations

import numpy as np

from .ops import INPUT_CODE
from .tape import CONSTANT_MASK, SLOT_MASK, Tape

Columns = dict[str, np.ndarray]


def rearranged(columns: Columns, order: np.ndarray) -> tuple[Columns, np.ndarray]:
    """The instructions `order` of `columns`, renumbered, and the new slot of each old one.

    Operands must come before their users in `order`, and none may be left out.  Constants are
    packed again, so that the pool holds only what is used.
    """
    new_slot = np.full(len(columns["op"]), -1, np.int64)
    new_slot[order] = np.arange(len(order))
    op = columns["op"][order]
    result: Columns = {"op": op}
    pool: list[np.ndarray] = []
    used = 0
    for j, name in enumerate("abc"):
        operand = columns[name][order]
        slots, constants = SLOT_MASK[op, j], CONSTANT_MASK[op, j]
        fresh = np.zeros(len(order), np.uint32)
        fresh[slots] = new_slot[operand[slots]]
        count = int(constants.sum())
        fresh[constants] = np.arange(used, used + count)
        pool.append(columns["k"][operand[constants]])
        used += count
        result[name] = fresh
    result["k"] = np.concatenate(pool)
    return result, new_slot


def seal(tape: Tape) -> Tape:
    """A copy for replay: exact in size, inputs in front in their order, constants packed.

    New inputs are then one contiguous write, and the forward sweep starts behind them.
    """
    columns = tape.columns()
    is_input = columns["op"] == INPUT_CODE
    order = np.concatenate([np.flatnonzero(is_input), np.flatnonzero(~is_input)])
    fresh, new_slot = rearranged(columns, order)
    sealed = Tape(max(len(order), 1))
    sealed.extend(fresh)
    sealed.extend_pool(fresh["k"])
    sealed.names = {int(new_slot[s]): name for s, name in tape.names.items()}
    if tape.lines is not None:
        sealed.keep_lines([tape.lines[i] for i in order])
    return sealed
