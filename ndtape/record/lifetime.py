"""How tapes live: they meet and are joined, grow long and drop what nobody can reach any more."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..ops import INPUT_CODE
from ..passes import rearranged
from ..run import REACHED, SPENT, Workspace
from ..tape import CONSTANT_MASK, SLOT_MASK, Chunk
from .core import COMPACT_AT, Recorder, _armed, current, resolve, transform_depth
from .values import Result

Columns = dict[str, np.ndarray]


def make_room(tape: Recorder) -> None:
    """Before an operation reads its slots: drop dead instructions, or grow, when full.

    Only here: in the middle of an operation the numbers of its slots must not change.
    """
    if tape.n < tape.chunks[-1].size:
        return
    if len(tape) >= tape.compact_at and not tape.kept and not transform_depth.get():
        compact(tape)
    if tape.n == tape.chunks[-1].size:
        tape.open_chunk()


def common_tape(results: Iterable[Result]) -> Recorder:
    """The tape of the operands, joined if there are several; the current one if there is none."""
    tape: Recorder | None = None
    operands = list(results)
    for x in operands:
        resolve(x)
        if tape is None:
            tape = x.tape
        elif x.tape is not tape:
            tape = join(tape, x.tape)
    for x in operands:  # a join moves those seen before it, too
        resolve(x)
    return current() if tape is None else tape


def join(one: Recorder, other: Recorder) -> Recorder:
    """Append the shorter tape to the longer one; results of both stay valid."""
    if (other.kept, len(other)) > (one.kept, len(one)):
        one, other = other, one
    one.disarm()
    other.disarm()
    with one.work.lock, other.work.lock:
        one.work.forward()
        other.work.forward()
        offset, n = len(one), len(other)
        columns = shifted(other.columns(), offset, one.kn)
        one.extend(columns)
        one.extend_pool(columns["k"])
        for name in ("v", "mark"):
            one.work.array(name)[offset : offset + n] = other.work.array(name)[:n]
        one.work.swept = len(one)
        one.work.lay_out()
    one.inputs += [(slot + offset, leaf) for slot, leaf in other.inputs]
    for token, slot in other.leaf_slots.items():
        one.leaf_slots.setdefault(token, slot + offset)
    one.retained |= {slot + offset: grad for slot, grad in other.retained.items()}
    one.names |= {slot + offset: name for slot, name in other.names.items()}
    if one.lines is not None and other.lines is not None:
        one.lines[offset : offset + n] = other.lines[:n]
    one.any_spent |= other.any_spent
    one.absorbed += [other, *other.absorbed]
    one.arm()
    _retire(other, one, offset)
    return one


def _retire(tape: Recorder, into: Recorder, offset: int) -> None:
    tape.joined = (into, offset)
    tape.chunks, tape.base, tape.n = [Chunk(0, 1)], 0, 0
    tape.inputs, tape.leaf_slots, tape.absorbed = [], {}, []
    tape.work = into.work
    tape.disarm()
    _armed.pop(id(tape), None)


def shifted(columns: Columns, slots: int, constants: int) -> Columns:
    """Columns whose slots and constants count from further on."""
    op = columns["op"]
    result = {"op": op, "k": columns["k"]}
    for j, name in enumerate("abc"):
        shift = SLOT_MASK[op, j] * np.uint32(slots) + CONSTANT_MASK[op, j] * np.uint32(constants)
        result[name] = columns[name] + shift.astype(np.uint32)
    return result


# --- dropping dead instructions -----------------------------------------------------------------


def live_results(tape: Recorder) -> list[Result]:
    """Every result object on a tape, found through the garbage collector's references.

    Rejected: a registry of weak references, which costs each operation more than recording it.
    """
    owners = [tape, *tape.absorbed]
    found = {id(x): x for x in gc.get_referrers(*owners) if isinstance(x, Result)}
    # One that another thread is making has a tape and no slot yet.
    results = [x for x in found.values() if any(x.tape is t for t in owners) and hasattr(x, "slot")]
    for x in results:
        resolve(x)
    return results


def compact(tape: Recorder) -> None:
    """Keep only what live results depend on; a spent result keeps its value and nothing else.

    Does nothing when most instructions are alive, or when the collector cannot see all objects.
    """
    tape.compact_at = max(COMPACT_AT, 4 * len(tape))  # unless something is dropped
    if gc.get_freeze_count():
        return
    with tape.work.lock:
        tape.work.forward()
        tape.disarm()
        results = live_results(tape)
        tape.absorbed = []  # none of the results points there any more
        slots = np.array([x.slot for x in results], np.int64)
        mark = tape.work.reach(slots)[: len(tape)]
        order = np.flatnonzero(mark & REACHED)
        if 2 * len(order) > len(tape):
            tape.arm()
            return
        values = tape.work.array("v")[: len(tape)]
        columns = _without_operands(tape.columns(), np.flatnonzero(mark & SPENT), values)
        fresh, new_slot = rearranged(columns, order)
        _replace(tape, fresh, new_slot, results, values[order], mark[order] & SPENT)


def _without_operands(columns: Columns, spent: np.ndarray, values: np.ndarray) -> Columns:
    """Spent instructions become inputs that hold their value."""
    op, a = columns["op"].copy(), columns["a"].copy()
    op[spent] = INPUT_CODE
    a[spent] = len(columns["k"]) + np.arange(len(spent), dtype=np.uint32)
    return {**columns, "op": op, "a": a, "k": np.concatenate([columns["k"], values[spent]])}


def _replace(
    tape: Recorder,
    columns: Columns,
    new_slot: np.ndarray,
    results: list[Result],
    values: np.ndarray,
    marks: np.ndarray,
) -> None:
    """Give a tape other instructions, and everything that names a slot the new number."""

    def kept(items: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        return ((int(new_slot[slot]), item) for slot, item in items if new_slot[slot] >= 0)

    count = len(columns["op"])
    tape.chunks = [Chunk(0, max(count + count // 2, COMPACT_AT))]
    tape.base = tape.n = tape.kn = 0
    tape.constants = np.empty(max(len(columns["k"]), 16))
    tape.extend(columns)
    tape.extend_pool(columns["k"])
    tape.inputs = list(kept(tape.inputs))
    known = [(slot, token) for token, slot in tape.leaf_slots.items()]
    tape.leaf_slots = {token: slot for slot, token in kept(known)}
    tape.retained = dict(kept(tape.retained.items()))
    tape.names = dict(kept(tape.names.items()))
    if tape.lines is not None:
        tape.keep_lines([tape.lines[i] for i in np.flatnonzero(new_slot >= 0)])
    tape.compact_at = max(COMPACT_AT, 2 * count)
    work = Workspace(tape, owned=True)
    work.array("v")[:count] = values
    work.array("mark")[:count] = marks
    work.swept = count
    # In one call, so that no other thread reads a new slot from old values or the reverse.
    slots = [int(new_slot[x.slot]) for x in results]
    names = ["work", *["slot"] * len(slots)]
    deque(map(setattr, [tape, *results], names, [work, *slots]), maxlen=0)
    tape.arm()
