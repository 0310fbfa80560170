"""How tapes live: they meet and are joined, grow long and drop what nobody can reach any more."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import numpy as np

from .. import nest
from ..errors import UnsupportedError
from ..ops import FIRST_WIDE, INPUT_CODE, WIDE, WIDE_CODES
from ..passes import rearranged, sizes_of
from ..run import REACHED, SPENT, Workspace
from ..tape import CONSTANT_MASK, SLOT_MASK, Chunk
from .core import (
    COMPACT_AT,
    COMPACT_SLOTS,
    Recorder,
    _armed,
    current,
    refuse_ended,
    resolve,
    transform_depth,
    user_line,
)
from .scopes import body_here
from .storage import Storage
from .values import Result

Columns = dict[str, np.ndarray]


def make_room(tape: Recorder) -> None:
    """Before an operation reads its slots: drop dead instructions, or grow, when full.

    Only here: in the middle of an operation the numbers of its slots must not change.
    """
    full = tape.n == tape.chunks[-1].size
    if not full and tape.slots < tape.compact_slots:
        return
    if len(tape) >= tape.compact_at or tape.slots >= tape.compact_slots:
        if tape.kept or transform_depth.get():
            tape.compact_slots = 2 * tape.slots
        else:
            compact(tape)
    if tape.n == tape.chunks[-1].size:
        tape.open_chunk()


def common_tape(results: Iterable[Result | Storage]) -> Recorder:
    """The tape of the operands, joined if there are several; the current one if there is none.

    In the body of a loop, that of the body, which captures what lies outside.
    """
    operands: list[Any] = list(results)
    tape = body_here()
    if tape is not None:
        for x in operands:
            resolve(x)
        return tape
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
    if one.traced is not None or other.traced is not None:
        _refuse_join(one, other)
    if (other.kept, len(other)) > (one.kept, len(one)):
        one, other = other, one
    one.disarm()
    other.disarm()
    with one.work.lock, other.work.lock:
        one.work.forward()
        other.work.forward()
        offset, n, index, count = one.slots, other.slots, len(one), len(other)
        pool = one.kn
        columns = shifted(other.columns(), offset, pool, one.mn, len(one.calls))
        one.extend_pools(columns)
        one.extend(columns)
        one.calls += other.calls
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
            one.lines[index : index + count] = other.lines[:count]
        one.any_spent |= other.any_spent
        one.absorbed += [other, *other.absorbed]
        _retire(other, one, offset, pool)  # inside: who waits for the locks sees all of it
    one.arm()
    return one


def _refuse_join(one: Recorder, other: Recorder) -> NoReturn:
    """A traced tape meets another one: a value came in, or out, that is no argument or result."""
    for tape in (one, other):
        if tape.traced is not None and tape.ended:
            refuse_ended(tape)
    name = (one.traced or other.traced).name
    raise UnsupportedError(
        f"{name} uses a result that was recorded outside of it, whose gradient a replay could not "
        f"follow: pass it as an argument [{user_line()}]"
    )


def _retire(tape: Recorder, into: Recorder, offset: int, pool: int) -> None:
    tape.joined = (into, offset, pool)
    tape.chunks, tape.base, tape.n, tape.origin = [Chunk(0, 1)], 0, 0, 0
    tape.wide, tape.codes, tape.calls, tape.interned, tape.places = [], set(), [], {}, {}
    tape.inputs, tape.leaf_slots, tape.absorbed = [], {}, []
    tape.retained, tape.names, tape.known_arrays = {}, {}, {}
    tape.constants, tape.words = np.zeros(1), np.zeros(1, np.int64)
    tape.work = into.work
    tape.disarm()
    _armed.pop(id(tape), None)


def shifted(columns: Columns, slots: int, constants: int, words: int, calls: int) -> Columns:
    """Columns whose slots, constants, words and calls count from further on."""
    op = columns["op"]
    result = {"op": op, "k": columns["k"], "m": columns["m"].copy()}
    for j, name in enumerate("abc"):
        shift = SLOT_MASK[op, j] * np.uint32(slots) + CONSTANT_MASK[op, j] * np.uint32(constants)
        result[name] = columns[name] + shift.astype(np.uint32)
    fresh: list[int] = []
    for i in np.flatnonzero(op >= FIRST_WIDE).tolist():
        kind = WIDE[op[i] - FIRST_WIDE].name
        at = (int(columns["a"][i]), int(columns["b"][i]), int(columns["c"][i]))
        a, b, moved = nest.moved(
            kind, columns["m"], at, lambda old: old + slots, lambda first, count: first + constants
        )
        result["a"][i], result["b"][i], result["c"][i] = a, b, words + len(fresh)
        fresh += moved
        if kind == "call":
            fresh[len(fresh) - len(moved) + nest.KIND_WORD] += calls
    result["m"] = np.array(fresh, np.int64)
    return result


# --- dropping dead instructions -----------------------------------------------------------------


def live_results(tape: Recorder) -> list[Any]:
    """Every result and storage on a tape, found through the garbage collector's references.

    Rejected: a registry of weak references, which costs each operation more than recording it.
    """
    owners = [tape, *tape.absorbed]
    found = {id(x): x for x in gc.get_referrers(*owners) if isinstance(x, (Result, Storage))}
    # One that another thread is making has a tape and no slot yet.
    results = [x for x in found.values() if any(x.tape is t for t in owners) and hasattr(x, "slot")]
    for x in results:
        resolve(x)
    return results


def slots_of(x: Any) -> np.ndarray:
    """The slots that an object found by `live_results` stands for."""
    return x.all_slots() if isinstance(x, Storage) else np.array([x.slot])


def compact(tape: Recorder) -> None:
    """Keep only what live results depend on; a spent result keeps its value and nothing else.

    Does nothing when most instructions are alive, or when the collector cannot see all objects.
    """
    tape.compact_at = max(COMPACT_AT, 4 * len(tape))  # unless something is dropped
    tape.compact_slots = max(COMPACT_SLOTS, 4 * tape.slots)
    if gc.get_freeze_count():
        return
    with tape.work.lock:
        tape.disarm()  # first, so that no other thread records what is not swept
        tape.work.forward()
        results = live_results(tape)
        tape.absorbed = []  # none of the results points there any more
        slots = [slots_of(x) for x in results]
        mark = tape.work.reach(np.concatenate([np.zeros(0, np.int64), *slots]))[: tape.slots]
        columns = tape.columns()
        starts = columns["out"].astype(np.int64)
        spans = np.bitwise_or.reduceat(mark, starts) if len(starts) else mark
        walked = np.logical_or.reduceat(mark == REACHED, starts) if len(starts) else mark
        order = np.flatnonzero(spans & REACHED)
        if 2 * len(order) > len(tape) and 2 * sizes_of(columns)[order].sum() > tape.slots:
            tape.arm()
            return
        values = tape.work.array("v")[: tape.slots].copy()
        # Of some results only a part is spent: they keep their operands.
        spent = np.flatnonzero((spans == REACHED | SPENT) & ~walked)
        columns = _without_operands(columns, spent, values)
        fresh, new_slot = rearranged(columns, order)
        kept = np.flatnonzero(new_slot >= 0)
        for x in results:
            if isinstance(x, Storage):
                x.remember_constants()
        _replace(tape, order, fresh, new_slot, results, values[kept], mark[kept] & SPENT)


def _without_operands(columns: Columns, spent: np.ndarray, values: np.ndarray) -> Columns:
    """Spent instructions become inputs that hold their value."""
    op, a, c = columns["op"].copy(), columns["a"].copy(), columns["c"].copy()
    sizes, out = sizes_of(columns), columns["out"]
    pool, words = [columns["k"]], [columns["m"]]
    used, place = len(columns["k"]), len(columns["m"])
    for i in spent.tolist():
        size = int(sizes[i])
        pool.append(values[out[i] : out[i] + size])
        a[i], used = used, used + size
        if op[i] < FIRST_WIDE:
            op[i] = INPUT_CODE
            continue
        descriptor = nest.descriptor(size, (), nest.X_CONSTANT)
        op[i], c[i] = WIDE_CODES["wide_input"], place
        words.append(np.array(descriptor, np.int64))
        place += len(descriptor)
    m, k = np.concatenate(words), np.concatenate(pool)
    return {**columns, "op": op, "a": a, "c": c, "k": k, "m": m}


def _used_calls(tape: Recorder, columns: Columns) -> list[Any]:
    """The functions that the instructions still call; their words are made to say so."""
    at = columns["c"][columns["op"] == WIDE_CODES["call"]].astype(np.int64) + nest.KIND_WORD
    used = tape.words[at]
    tape.words[at] = np.arange(len(at))
    return [tape.calls[j] for j in used.tolist()]


def _moved_to(x: Any, new_slot: np.ndarray, tape: Recorder) -> list[tuple[str, Any]]:
    """Attributes of a result or a storage after its slots have moved."""
    if isinstance(x, Storage) and x.map is not None:
        constants = x.map < 0
        fresh = new_slot[np.where(constants, 0, x.map)]
        # The pool was packed: what the map alone knew is put back at its end.
        assert x.constants_of_map is not None
        start = tape.extend_pool(x.constants_of_map)
        x.constants_of_map = None
        fresh[constants] = -1 - start - np.arange(int(constants.sum()))
        return [("map", fresh)]
    return [("slot", int(new_slot[x.slot]))]


def _replace(
    tape: Recorder,
    order: np.ndarray,
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
    tape.base = tape.n = tape.origin = tape.kn = tape.mn = 0
    tape.wide, tape.codes, tape.interned = [], set(), {}
    tape.known_arrays, tape.places = {}, {}
    tape.constants, tape.words = np.empty(max(len(columns["k"]), 16)), np.zeros(16, np.int64)
    tape.extend_pools(columns)
    tape.extend(columns)
    tape.calls = _used_calls(tape, columns)
    tape.inputs = list(kept(tape.inputs))
    known = [(slot, token) for token, slot in tape.leaf_slots.items()]
    tape.leaf_slots = {token: slot for slot, token in kept(known)}
    tape.retained = dict(kept(tape.retained.items()))
    tape.names = dict(kept(tape.names.items()))
    if tape.lines is not None:
        tape.keep_lines([tape.lines[i] for i in order])
    tape.compact_at = max(COMPACT_AT, 2 * count)
    tape.compact_slots = max(COMPACT_SLOTS, 2 * tape.slots)
    work = Workspace(tape, owned=True)
    work.array("v")[: len(values)] = values
    work.array("mark")[: len(marks)] = marks
    work.swept = count
    # In one call, so that no other thread reads a new slot from old values or the reverse.
    objects: list[Any] = [tape]
    names, new = ["work"], [work]
    for x in results:
        for name, value in _moved_to(x, new_slot, tape):
            objects.append(x)
            names.append(name)
            new.append(value)
    deque(map(setattr, objects, names, new), maxlen=0)
    tape.arm()
