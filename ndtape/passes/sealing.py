"""Sealing: instructions in another order, their results and constants numbered again."""

from __future__ import annotations

import numpy as np

from .. import nest
from ..ops import FIRST_WIDE, INPUT_CODE, WIDE, WIDE_CODES
from ..tape import CONSTANT_MASK, SLOT_MASK, Tape
from .code import Columns, sizes_of


def rearranged(columns: Columns, order: np.ndarray) -> tuple[Columns, np.ndarray]:
    """The instructions `order` of `columns`, renumbered, and the new slot of each old one.

    Operands must come before their users in `order`, and none may be left out; spans move as
    blocks.  Constants and words are packed again, so that the pools hold only what is used.
    """
    sizes = sizes_of(columns)
    first = np.concatenate([[0], np.cumsum(sizes[order])])
    old = np.concatenate([[0], np.cumsum(sizes)])
    new_slot = np.full(int(old[-1]), -1, np.int64)
    if first[-1] == len(order):
        new_slot[old[order]] = first[:-1]
    else:
        for i, start in zip(order.tolist(), first.tolist(), strict=False):
            new_slot[old[i] : old[i + 1]] = start + np.arange(sizes[i])
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
    _move_wide(columns, order, result, new_slot, pool, used)
    result["k"] = np.concatenate(pool)
    return result, new_slot


def _move_wide(
    columns: Columns,
    order: np.ndarray,
    result: Columns,
    new_slot: np.ndarray,
    pool: list[np.ndarray],
    used: int,
) -> None:
    """Fill in the columns and words of wide instructions, and what they need of the pool."""
    words: list[int] = []
    places: dict[tuple[int, ...], int] = {}

    def copied(start: int, count: int) -> int:
        nonlocal used
        pool.append(columns["k"][start : start + count])
        used += count
        return used - count

    for j in np.flatnonzero(result["op"] >= FIRST_WIDE).tolist():
        i = order[j]
        kind = WIDE[result["op"][j] - FIRST_WIDE].name
        at = (int(columns["a"][i]), int(columns["b"][i]), int(columns["c"][i]))
        a, b, fresh = nest.moved(kind, columns["m"], at, new_slot.__getitem__, copied)
        if fresh not in places:
            places[fresh] = len(words)
            words += fresh
        result["a"][j], result["b"][j], result["c"][j] = a, b, places[fresh]
    result["m"] = np.array(words, np.int64)


def quiet(tape: Tape, spans: list[tuple[int, int]]) -> np.ndarray | None:
    """The tape's words with the news that the adjoints of some spans (first, end) are not wanted.

    Products then skip half of their work where an operand is data: an argument that is not
    differentiated.  Words are shared by equal instructions: only what holds for all of them is
    said.  None where nothing changes.
    """
    columns = tape.columns()
    at = np.flatnonzero(columns["op"] == WIDE_CODES["dot"])
    place = columns["c"][at].astype(np.int64) + nest.FLAGS
    wanted = np.full(len(tape.words), -1)
    for name, bit in (("a", nest.X_QUIET), ("b", nest.Y_QUIET)):
        slot = columns[name][at].astype(np.int64)
        inside = np.zeros(len(at), bool)
        for first, end in spans:
            inside |= (first <= slot) & (slot < end)
        np.bitwise_and.at(wanted, place[~inside], ~bit)
    bits = wanted[place] & (nest.X_QUIET | nest.Y_QUIET)
    if not bits.any():
        return None
    words = tape.words.copy()
    words[place] |= bits
    return words


def seal(tape: Tape) -> Tape:
    """A copy for replay: exact in size, inputs in front in their order, constants packed.

    New inputs are then one contiguous write, and the forward sweep starts behind them.
    """
    return sealed(tape)[0]


def sealed(tape: Tape) -> tuple[Tape, np.ndarray, np.ndarray]:
    """`seal`; which instruction each of its own was, and the new number of each slot."""
    tape = tape.whole()
    columns = tape.columns()
    is_input = np.isin(columns["op"], [INPUT_CODE, WIDE_CODES["wide_input"]])
    order = np.concatenate([np.flatnonzero(is_input), np.flatnonzero(~is_input)])
    fresh, new_slot = rearranged(columns, order)
    made = Tape(max(len(order), 1))
    made.extend_pools(fresh)
    made.extend(fresh)
    made.calls = list(tape.calls)
    made.names = {int(new_slot[s]): name for s, name in tape.names.items()}
    if tape.lines is not None:
        made.keep_lines([tape.lines[i] for i in order])
    return made, order, new_slot
