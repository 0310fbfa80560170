"""The short way to record what was recorded before: an operation on the same shapes and strides.

What an array operation writes on a tape depends only on shapes, strides and options.  The first
time, the general code records it and `captured` notes opcode and descriptor as a `Plan`; afterwards
the plan is written with new operands, in 1 to 2 us.  Everything unusual (a new leaf, a full or
foreign tape, scattered elements, other dtypes) falls out of the tests here into the general code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nest
from ..ops import FIRST_WIDE, WIDE
from ..tape import Tape
from . import core
from .arrays import FLOAT64, Array, Bare
from .core import Recorder
from .operands import constants
from .operators import UNUSUAL
from .storage import ArrayLeaf, Storage
from .values import Result

new = object.__new__
ndarray = np.ndarray
NUMBERS = {Result, float, int}
current_tape: Any = core._current.get
NEVER = {"collect", "call", "wide_input"}  # what their words say differs from time to time
LARGEST_TABLE = 10_000  # plans of one operation


class Plan:
    """One wide instruction without its operands; hashed by identity."""

    __slots__ = ("code", "codes", "words", "size", "shape", "strides")

    def __init__(self, code: int, words: tuple[int, ...], z: Any) -> None:
        self.code = code
        self.codes = frozenset([code])
        self.words = np.array(words, np.int64)
        self.size = words[nest.SIZE]  # of the result, in slots
        self.shape = z.shape if isinstance(z, Array) else None  # None: the result is a scalar
        self.strides = z.strides if isinstance(z, Array) else ()


def made(plan: Plan) -> Any:
    """The object for a result that is about to be recorded: it has no tape and no slot yet."""
    if plan.shape is None:
        return new(Result)
    storage = new(Storage)
    storage.size = plan.size
    storage.map = storage.data = storage._dummy = storage.constants_of_map = None
    z: Any = new(Bare)
    z.storage = storage
    z.offset = 0
    z.shape = plan.shape
    z.strides = plan.strides
    z.dtype = FLOAT64
    z.__class__ = Array
    return z


# Threads may share results.  Between reading the first slot and writing that of the result nothing
# is called and no container is made (making one may start the garbage collector, which may run
# Python code), so that the interpreter cannot switch threads there: hence the lines that the
# functions below repeat.


def one(plan: Plan, x: Array) -> Any:
    """Record a plan on an array, or None where the general code must."""
    sx = x.storage
    if sx.map is not None:
        return None
    z = made(plan)
    holder = z if plan.shape is None else z.storage
    entry = [0, 0, plan.size]
    entries = (entry,)
    try:
        tape = sx.tape
        if tape is None:
            tape = current_tape()()
            first = tape.leaf_slots[sx.token] + x.offset  # type: ignore[attr-defined]
        else:
            first = sx.slot + x.offset
        holder.tape = tape
        place = tape.places[plan]
        n = tape.n
        if tape.lines is not None or n + tape.origin + plan.size > tape.compact_slots:
            return None
        tape.op[n] = plan.code
        tape.a[n] = first
        tape.c[n] = place
    except UNUSUAL:
        return None
    slot = n + tape.origin
    tape.codes |= plan.codes
    entry[0] = tape.base + n
    entry[1] = slot
    tape.wide += entries
    tape.origin += plan.size - 1
    tape.n = n + 1
    holder.slot = slot
    return z


def two(plan: Plan, x: Array, y: Array) -> Any:
    """Record a plan on two arrays, or None."""
    sx, sy = x.storage, y.storage
    if sx.map is not None or sy.map is not None:
        return None
    z = made(plan)
    holder = z if plan.shape is None else z.storage
    entry = [0, 0, plan.size]
    entries = (entry,)
    try:
        tape = sx.tape
        if tape is None:
            tape = sy.tape
            if tape is None:
                tape = current_tape()()
            first = tape.leaf_slots[sx.token] + x.offset  # type: ignore[attr-defined]
        else:
            first = sx.slot + x.offset
        if sy.tape is tape:
            second = sy.slot + y.offset
        else:
            second = tape.leaf_slots[sy.token] + y.offset  # type: ignore[attr-defined]
        holder.tape = tape
        place = tape.places[plan]
        n = tape.n
        if tape.lines is not None or n + tape.origin + plan.size > tape.compact_slots:
            return None
        tape.op[n] = plan.code
        tape.a[n] = first
        tape.b[n] = second
        tape.c[n] = place
    except UNUSUAL:
        return None
    slot = n + tape.origin
    tape.codes |= plan.codes
    entry[0] = tape.base + n
    entry[1] = slot
    tape.wide += entries
    tape.origin += plan.size - 1
    tape.n = n + 1
    holder.slot = slot
    return z


def right_number(plan: Plan, x: Array, number: float) -> Any:
    """Record a plan on an array and a number, or None."""
    sx = x.storage
    if sx.map is not None:
        return None
    z = made(plan)
    holder = z if plan.shape is None else z.storage
    entry = [0, 0, plan.size]
    entries = (entry,)
    try:
        tape = sx.tape
        if tape is None:
            tape = current_tape()()
            first = tape.leaf_slots[sx.token] + x.offset  # type: ignore[attr-defined]
        else:
            first = sx.slot + x.offset
        holder.tape = tape
        place = tape.places[plan]
        n, constant = tape.n, tape.kn
        if tape.lines is not None or n + tape.origin + plan.size > tape.compact_slots:
            return None
        tape.k[constant] = number
        tape.op[n] = plan.code
        tape.a[n] = first
        tape.b[n] = constant
        tape.c[n] = place
    except UNUSUAL:
        return None
    tape.kn = constant + 1
    slot = n + tape.origin
    tape.codes |= plan.codes
    entry[0] = tape.base + n
    entry[1] = slot
    tape.wide += entries
    tape.origin += plan.size - 1
    tape.n = n + 1
    holder.slot = slot
    return z


def captured(plans: dict[Any, Plan], key: Any, z: Any, *operands: Any) -> None:
    """Note a plan for `key` if the instruction just recorded made z from these operands alone."""
    if z.__class__ in (Array, Result):
        with core.growth:  # no compaction in between
            _capture(plans, key, z, operands)


def _capture(plans: dict[Any, Plan], key: Any, z: Any, operands: tuple[Any, ...]) -> None:
    storage = z.storage if isinstance(z, Array) else z
    tape = storage.tape
    if not isinstance(tape, Recorder) or tape.joined is not None or not tape.wide:
        return
    index, slot, size = tape.wide[-1]
    if index != Tape.__len__(tape) - 1 or slot != storage.slot or slot != tape.slots - size:
        return
    if isinstance(z, Array) and (z.dtype is not FLOAT64 or not z.is_whole() or z.offset):
        return
    chunk = tape.chunks[-1]
    at = index - chunk.base
    code, c = chunk.op[at], chunk.c[at]
    kind = WIDE[code - FIRST_WIDE].name
    words = tuple(tape.words[c : c + nest.length(kind, tape.words, c)].tolist())
    if kind in NEVER:
        return
    if [_start(tape, x) for x in operands] != [chunk.a[at], chunk.b[at]][: len(operands)]:
        return
    if len(plans) > LARGEST_TABLE:
        plans.clear()
    plan = plans[key] = Plan(code, words, z)
    tape.places[plan] = c


def _start(tape: Recorder, x: Any) -> int:
    """Where an operand begins, if it lies on the tape as it is; -1 otherwise."""
    if isinstance(x, Array):
        storage = x.storage
        if storage.map is not None:
            return -1
        if storage.tape is tape:
            return storage.slot + x.offset
        return tape.leaf_slots.get(getattr(storage, "token", None), -1 - x.offset) + x.offset
    if isinstance(x, Result):
        return x.slot if x.tape is tape else -1
    if isinstance(x, ndarray):  # those that were just stored end the pool; large ones are known
        known_place = tape.known_arrays.get(id(x))
        return tape.kn - x.size if known_place is None else known_place[1]
    return tape.kn - 1  # a number: the constant that was added last


def mixed(plan: Plan, x: Any, y: Any) -> Any:
    """Record a plan on operands of any kind, of which one is an array or a result; or None."""
    z = made(plan)
    holder = z if plan.shape is None else z.storage
    entry = [0, 0, plan.size]
    entries = (entry,)
    with core.growth:
        try:
            holder.tape = tape = _tape_of(x, y)
            place = tape.places[plan]
            if tape.lines is not None or tape.slots + plan.size > tape.compact_slots or not tape.op:
                return None
            first, second = _place(tape, x), _place(tape, y)
            n = tape.n
            tape.op[n] = plan.code
            tape.a[n] = first
            tape.b[n] = second
            tape.c[n] = place
        except UNUSUAL:
            return None
        slot = n + tape.origin
        tape.codes |= plan.codes
        entry[0] = tape.base + n
        entry[1] = slot
        tape.wide += entries
        tape.origin += plan.size - 1
        tape.n = n + 1
        holder.slot = slot
    return z


def _tape_of(*operands: Any) -> Any:
    """The tape that results among the operands lie on, or the current one, if there is one."""
    for x in operands:
        tape = x.tape if x.__class__ is Result else x.storage.tape if x.__class__ is Array else None
        if tape is not None:
            return tape
    return current_tape()()


def _tape_for(*operands: Any) -> Recorder:
    """The same, made where there is none."""
    reference = current_tape()
    tape = None if reference is None else _tape_of(*operands)
    return core.current() if tape is None else tape


def _place(tape: Any, x: Any) -> int:
    """Where an operand begins on a tape; constants are copied to its pool."""
    cls = x.__class__
    if cls is Array:
        storage = x.storage
        if storage.map is not None:
            raise KeyError
        if storage.tape is tape:
            return storage.slot + x.offset  # type: ignore[no-any-return]
        return tape.leaf_slots[storage.token] + x.offset  # type: ignore[no-any-return]
    if cls is Result:
        if x.tape is not tape:
            raise KeyError
        return x.slot  # type: ignore[no-any-return]
    if cls is ndarray:
        return constants(tape, x)
    return tape.constant(x)  # type: ignore[no-any-return]


def known(plan: Plan, *operands: Any) -> Recorder | None:
    """Let the tape of the operands know a plan made on another one, and the leaves among them.

    None where the general code must look at it; else the tape, which may be new: the caller must
    hold it until there is a result.
    """
    if not core.recording():
        return None
    with core.growth:
        tape = _tape_for(*operands)
        if tape.joined is not None or tape.ended or tape.n + len(operands) >= tape.chunks[-1].size:
            return None
        for x in operands:
            if x.__class__ is Array and x.storage.__class__ is ArrayLeaf:
                tape.slot_of(x.storage)
        if plan not in tape.places:
            tape.places[plan] = tape.add_words(plan.words)
    return tape


def settle_leaves(*operands: Any) -> Recorder | None:
    """Copy new leaves to the tape first, so that constants of the operation end its pool."""
    if not core.recording():
        return None
    with core.growth:
        tape = core.destination(_tape_for(*operands))
        for x in operands:
            if x.__class__ is Array and x.storage.__class__ is ArrayLeaf and x.storage.size:
                tape.slot_of(x.storage)
    return tape


def unary(slow: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`slow`, a function of one array, with plans for what it does."""
    plans: dict[Any, Plan] = {}

    def function(x: Any) -> Any:
        if x.__class__ is not Array or x.dtype is not FLOAT64:
            return slow(x)
        key = x.shape, x.strides
        plan = plans.get(key)
        if plan is None:
            z = slow(x)
            captured(plans, key, z, x)
            return z
        z = one(plan, x)
        if z is None:
            held = known(plan, x)
            z = one(plan, x) if held is not None else None
        return slow(x) if z is None else z

    return function


def binary(slow: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`slow`, a function of two operands of any kind, with plans for what it does."""
    plans: dict[Any, Plan] = {}

    def function(x: Any, y: Any) -> Any:
        cx, cy = x.__class__, y.__class__
        if cx is Array and cy is Array:
            if x.dtype is not FLOAT64 or y.dtype is not FLOAT64:
                return slow(x, y)
            key: Any = x.shape, x.strides, y.shape, y.strides
            how: Callable[..., Any] = two
        else:
            left, right = _kind(x, cx), _kind(y, cy)
            if left is None or right is None:
                return slow(x, y)
            key = left, right
            how = right_number if cx is Array and cy is float else mixed
        plan = plans.get(key)
        if plan is None:
            held = settle_leaves(x, y)
            z = slow(x, y)
            captured(plans, key, z, x, y)
            del held
            return z
        z = how(plan, x, y)
        if z is None:
            held = known(plan, x, y)
            z = how(plan, x, y) if held is not None else None
        return slow(x, y) if z is None else z

    return function


def _kind(x: Any, cls: Any) -> Any:
    """What of an operand a plan depends on; None for operands that have no plans."""
    if cls is Array:
        return (x.shape, x.strides) if x.dtype is FLOAT64 else None
    if cls is ndarray:
        return x.shape if x.dtype is FLOAT64 and x.shape and x.size else None
    return cls if cls in NUMBERS else None
