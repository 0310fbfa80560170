"""The sweeps of a loop: a plan of actions, whose steps are sweeps over the tape of the body.

A *block* of words holds all that a loop knows: the plan and how far it is, the sweeps, the tapes of
the body (one for each pattern of branches, tried in turn), the body's numbers and what is kept.
The slots of the body are [captured | carry | x | locals]; captured values are written once, and
their adjoints add up over the steps without being cleared.

A sweep over the tape that the loop stands on finds the block in its frame and runs it here.  It
pauses where Python must do something: execute a call in the body (PAUSE), record another pattern
(FLIPPED), look for Ctrl-C (MORE); looping.py does that and goes on with RESUME.

What the last forward sweep has kept belongs to the result that it gave, which carries the *stamp*
of that sweep in its last slot.  A reverse sweep that finds another stamp (an inner loop at an
earlier step of the outer one, values copied from another workspace) runs forward again first.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .._jit import call_at, i8_at, u8, u8_at
from ..nest import KIND_WORD
from ..ops import (
    BODY,
    FLIPPED,
    FRAME,
    LOOP,
    MORE,
    NOT_STARTED,
    PAUSE,
    PLANS_WORDS,
    RESTORE,
    RESULT_WORDS,
    RESUME,
    REVERSE,
    SPAN_WORDS,
    STORE,
    TAPE,
)
from .walk import (
    OUT,
    WORD,
    add,
    all_zero,
    at,
    descriptor,
    floats,
    i64,
    kernel,
    operand,
    part,
    word,
)
from .walk import G as ADJOINTS
from .walk import H as CHANGES
from .walk import T as TANGENTS_OUTSIDE
from .walk import V as VALUES

(
    RUN, READY, KIND, STAGE, WHY,
    PLAN, ACTIONS, ACTION, STEP, AT, PHASE, TRIED, TANGENTS, WRITES,
    LIMIT, BUDGET, EVALUATIONS,
    STEPS, BACKWARDS, OPERANDS, GIVEN, XS, YS, OUTPUTS,
    BODIES, VARIANT, VARIANTS, CAPTURED, CARRY, ROW,
    Z, W, ZT, WT, V, G, T, H, KEPT, TAKEN, SNAPSHOTS, NEXT, CARRY_G, CARRY_H, FIRST_KEPT,
    STAMP, STAMPS, KEPT_TANGENTS,
    FORWARD, TANGENT, BACK, SECOND, PLANS,
) = range(len(LOOP))  # fmt: skip
B_FRAME, B_LO, B_HI, B_SLOTS, B_RESULTS, B_COUNT = range(len(BODY))
BODY_WORDS = len(BODY)
STATUS, LOOPS = FRAME.index("status"), FRAME.index("loops")
NONE, RESULT, SPAN = NOT_STARTED, RESULT_WORDS, SPAN_WORDS
OF_VALUES, OF_ADJOINTS, OF_TANGENTS, OF_BOTH = range(4)  # the word `kind`
DONE, RUNNING, AGAIN, GOING_BACK = range(4)  # the word `stage`
SIZE, OUTSIDE = 4, 5  # words of a span
OUTER = (VALUES, ADJOINTS, TANGENTS_OUTSIDE, CHANGES)


def _copy_typed(typingctx, target, origin, count):
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        cgutils.raw_memcpy(builder, _pointer(builder, args[0]), _pointer(builder, args[1]),
                           args[2], WORD)  # fmt: skip
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def _clear_typed(typingctx, target, count):
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        size = builder.mul(args[1], args[1].type(WORD))
        cgutils.memset(builder, _pointer(builder, args[0]), size, 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, cgutils.voidptr_t)


# Calls of the C library: loops of our own, inlined some twenty times, took most of compile time.
copy: Any = intrinsic(_copy_typed)
clear: Any = intrinsic(_clear_typed)


@part
def _words(address):
    return i8_at(u8(address))


@part
def _swept(sweep, frame, lo, hi):
    return call_at(u8(sweep), u8(frame), u8(lo), u8(hi))  # type: ignore[call-arg]


@part
def _body(b, variant):
    """The entry of the table for one pattern of branches."""
    return _words(b[BODIES] + WORD * BODY_WORDS * variant)


@part
def _operand(b, j):
    """The words of an operand: what is captured, the leaves of the carry, those of xs."""
    return _words(b[OPERANDS] + WORD * SPAN * j)


@part
def _output(b, j):
    """The words of a leaf of ys."""
    return _words(b[YS] + WORD * SPAN * j)


@part
def _time(b, step):
    """Which element of xs and ys a step has."""
    return b[STEPS] - 1 - step if b[BACKWARDS] else step


@part
def _feed(b, step):
    """The elements of xs of a step, with their tangents, into the slots of the body."""
    time, slot = _time(b, step), b[CAPTURED] + b[CARRY]
    for j in range(b[GIVEN], b[GIVEN] + b[XS]):
        leaf = _operand(b, j)
        size = leaf[4]
        copy(b[V] + WORD * slot, leaf[0] + WORD * time * size, size)
        if b[TANGENTS]:
            if leaf[2] != 0:
                copy(b[T] + WORD * slot, leaf[2] + WORD * time * size, size)
            else:
                clear(b[T] + WORD * slot, size)
        slot += size


@part
def _hand_on(b, step):
    """What the body gave: outputs to ys, where they are wanted, and the next carry to its slots."""
    body, time = _body(b, b[VARIANT]), _time(b, step)
    count, carry = b[CARRY], WORD * b[CAPTURED]
    for j in range(body[B_COUNT]):
        row = _words(body[B_RESULTS] + WORD * RESULT * j)
        slot, size, place = WORD * row[0], row[1], row[2]
        if place >= 0:
            copy(b[NEXT] + WORD * place, b[V] + slot, size)
            if b[TANGENTS]:
                copy(b[NEXT] + WORD * (count + place), b[T] + slot, size)
        elif b[WRITES]:
            leaf = _output(b, -1 - place)
            if b[TANGENTS]:
                copy(leaf[2] + WORD * time * size, b[T] + slot, size)
            else:
                copy(leaf[0] + WORD * time * size, b[V] + slot, size)
    copy(b[V] + carry, b[NEXT], count)
    if b[TANGENTS]:
        copy(b[T] + carry, b[NEXT] + WORD * count, count)


@part
def _why(b, frame, status):
    """A sweep of the body stopped behind instruction status - 1: remember where, say why."""
    words = u8_at(u8(frame))
    reason = i64(words[STATUS])
    b[AT] = status - 1
    return reason if reason != 0 else i64(255)


@part
def _step(b, step):
    """The body at one step, under the first pattern of branches that fits: 0, or why not yet."""
    if b[AT] == NONE:
        _feed(b, step)
        b[TRIED] = b[PHASE] = 0
    while b[PHASE] == 0:
        body = _body(b, b[VARIANT])
        start = body[B_LO] if b[AT] < 0 else b[AT]
        status = _swept(b[FORWARD], body[B_FRAME], start, body[B_HI])
        if status == 0:
            b[PHASE], b[AT] = 1, NONE
            break
        reason = _why(b, body[B_FRAME], status)
        if reason != FLIPPED:
            return reason
        words = u8_at(u8(body[B_FRAME]))
        words[STATUS] = u8(0)
        b[AT] = NONE
        b[TRIED] += 1
        if b[TRIED] >= b[VARIANTS]:
            return i64(FLIPPED)
        b[VARIANT] = (b[VARIANT] + 1) % b[VARIANTS]
    if b[TANGENTS]:
        body = _body(b, b[VARIANT])
        start = body[B_LO] if b[AT] < 0 else b[AT]
        status = _swept(b[TANGENT], body[B_FRAME], start, body[B_HI])
        if status != 0:
            return _why(b, body[B_FRAME], status)
    b[AT] = NONE
    b[EVALUATIONS] += 1
    return i64(0)


@part
def _keep(b, step):
    """The numbers of a step, for its way back."""
    j, row, first = step - b[FIRST_KEPT], b[ROW], WORD * b[CAPTURED]
    size = _body(b, b[VARIANT])[B_SLOTS] - b[CAPTURED]
    width = row * (1 + b[TANGENTS])
    copy(b[KEPT] + WORD * width * j, b[V] + first, size)
    if b[TANGENTS]:
        copy(b[KEPT] + WORD * (width * j + row), b[T] + first, size)
    taken = _words(b[TAKEN])
    taken[u8(j)] = b[VARIANT]


@part
def _recall(b, step):
    """Those numbers again."""
    j, row, first = step - b[FIRST_KEPT], b[ROW], WORD * b[CAPTURED]
    b[VARIANT] = _words(b[TAKEN])[u8(j)]
    size = _body(b, b[VARIANT])[B_SLOTS] - b[CAPTURED]
    width = row * (1 + b[TANGENTS])
    copy(b[V] + first, b[KEPT] + WORD * width * j, size)
    if b[TANGENTS]:
        copy(b[T] + first, b[KEPT] + WORD * (width * j + row), size)


@part
def _seed(b, body, time, g, w, column):
    """Adjoints of what the body gave: of the carry behind it, and of its part of ys."""
    first = b[CAPTURED]
    clear(g + WORD * first, body[B_SLOTS] - first)
    for j in range(body[B_COUNT]):
        row = _words(body[B_RESULTS] + WORD * RESULT * j)
        slot, size, place = g + WORD * row[0], row[1], row[2]
        if place >= 0:
            add(slot, w + WORD * place, size)
        else:
            leaf = _output(b, -1 - place)
            if leaf[column] != 0:
                add(slot, leaf[column] + WORD * time * size, size)


@part
def _deposit(b, time, g, w, column):
    """Adjoints of the carry before the body, and of the elements of xs."""
    slot = b[CAPTURED]
    copy(w, g + WORD * slot, b[CARRY])
    slot += b[CARRY]
    for j in range(b[GIVEN], b[GIVEN] + b[XS]):
        leaf = _operand(b, j)
        size = leaf[4]
        if leaf[column] != 0:
            add(leaf[column] + WORD * time * size, g + WORD * slot, size)
        slot += size


@part
def _step_back(b, step):
    """Backwards over a step whose numbers are kept: 0, or why not yet."""
    time = _time(b, step)
    if b[AT] == NONE:
        _recall(b, step)
        body = _body(b, b[VARIANT])
        _seed(b, body, time, b[G], b[CARRY_G], 1)
        if b[TANGENTS]:
            _seed(b, body, time, b[H], b[CARRY_H], 3)
    body = _body(b, b[VARIANT])
    end = body[B_HI] if b[AT] < 0 else b[AT]
    status, sweep = i64(0), b[SECOND] if b[TANGENTS] else b[BACK]
    if end > body[B_LO]:
        status = _swept(sweep, body[B_FRAME], body[B_LO], end)
    if status != 0:
        return _why(b, body[B_FRAME], status)
    b[AT] = NONE
    _deposit(b, time, b[G], b[CARRY_G], 1)
    if b[TANGENTS]:
        _deposit(b, time, b[H], b[CARRY_H], 3)
    return i64(0)


@part
def _snapshot(b, slot, store):
    """Store the carry, or restore it."""
    count, here = b[CARRY], WORD * b[CAPTURED]
    width = count * (1 + b[TANGENTS])
    place = b[SNAPSHOTS] + WORD * width * slot
    if store:
        copy(place, b[V] + here, count)
        if b[TANGENTS]:
            copy(place + WORD * count, b[T] + here, count)
    else:
        copy(b[V] + here, place, count)
        if b[TANGENTS]:
            copy(b[T] + here, place + WORD * count, count)


@part
def _go(b):
    """Go on with the plan; 0 at its end, else why it pauses."""
    while b[ACTION] < b[ACTIONS]:
        row = _words(b[PLAN] + WORD * 3 * b[ACTION])
        action, first, last = row[0], row[1], row[2]
        if action == STORE or action == RESTORE:
            _snapshot(b, first, action == STORE)
        elif action == REVERSE:
            if b[STEP] == NONE:
                b[STEP] = last - 1
            while b[STEP] >= first:
                if b[BUDGET] <= 0:
                    return i64(MORE)
                reason = _step_back(b, b[STEP])
                if reason != 0:
                    return reason
                b[BUDGET] -= 1
                b[STEP] -= 1
        else:
            if b[STEP] == NONE:
                b[STEP] = first
                if action == TAPE:
                    b[FIRST_KEPT] = first
            while b[STEP] < last:
                if b[BUDGET] <= 0:
                    return i64(MORE)
                reason = _step(b, b[STEP])
                if reason != 0:
                    return reason
                if action == TAPE:
                    _keep(b, b[STEP])
                _hand_on(b, b[STEP])
                b[BUDGET] -= 1
                b[STEP] += 1
        b[STEP] = NONE
        b[ACTION] += 1
    return i64(0)


# --- a sweep ------------------------------------------------------------------------------------


@part
def _find(b, frame, out):
    """Where the operands and the result lie outside."""
    kind = b[KIND]
    for j in range(b[GIVEN] + b[XS]):
        span = _operand(b, j)
        if span[OUTSIDE] >= 0:
            _point(span, frame, span[OUTSIDE], kind)
    for j in range(b[OUTPUTS]):
        span = _output(b, j)
        _point(span, frame, out + span[OUTSIDE], kind)
    b[Z], b[W] = at(frame, VALUES, out), at(frame, ADJOINTS, out)
    b[ZT], b[WT] = at(frame, TANGENTS_OUTSIDE, out), at(frame, CHANGES, out)


@part
def _point(span, frame, slot, kind):
    """The addresses of a span that sweeps of a kind need; 0 for the others."""
    span[0] = at(frame, VALUES, slot)
    span[1] = at(frame, ADJOINTS, slot) if kind == OF_ADJOINTS or kind == OF_BOTH else 0
    span[2] = at(frame, TANGENTS_OUTSIDE, slot) if kind >= OF_TANGENTS else 0
    span[3] = at(frame, CHANGES, slot) if kind == OF_BOTH else 0


@part
def _enter(b, column, numbers):
    """Operands into the slots of captured values and of the carry."""
    slot = numbers
    for j in range(b[GIVEN]):
        span = _operand(b, j)
        if span[column] != 0:
            copy(slot, span[column], span[SIZE])
        else:
            clear(slot, span[SIZE])
        slot += WORD * span[SIZE]


@part
def _collect(b, column, numbers, carry):
    """Adjoints of captured values and of the first carry, to those of the operands."""
    place, carries = i64(0), WORD * b[CAPTURED]
    for j in range(b[GIVEN]):
        span = _operand(b, j)
        if span[column] != 0:
            source = numbers + place if place < carries else carry + place - carries
            add(span[column], source, span[SIZE])
        place += WORD * span[SIZE]


@part
def _choose(b, plan, tangents, back):
    """Begin with a plan."""
    plans = _words(b[PLANS] + WORD * PLANS_WORDS * plan)
    b[PLAN], b[ACTIONS] = plans[2 * back], plans[2 * back + 1]
    b[ACTION], b[STEP], b[AT], b[TANGENTS] = 0, NONE, NONE, tangents


@part
def _start(b, stage, tangents):
    """Begin with the values of all steps."""
    b[STAGE], b[WRITES], b[EVALUATIONS] = stage, i64(stage == RUNNING), 0
    if b[KIND] == OF_TANGENTS:  # which keep nothing
        _choose(b, 2, tangents, 0)
    else:
        b[STAMP] = 0
        _choose(b, tangents, tangents, 0)
    _enter(b, 0, b[V])
    if tangents:
        clear(b[T], b[CAPTURED] + b[CARRY])
        _enter(b, 2, b[T])


@part
def _start_back(b):
    """Begin with the way back."""
    count, captured = b[CARRY], b[CAPTURED]
    b[STAGE] = GOING_BACK
    tangents = i64(b[KIND] == OF_BOTH)
    _choose(b, tangents, tangents, 1)
    clear(b[G], captured)
    copy(b[CARRY_G], b[W], count)
    if b[TANGENTS]:
        clear(b[H], captured)
        copy(b[CARRY_H], b[WT], count)


@part
def _begin(b):
    kind = b[KIND]
    if kind == OF_VALUES:
        _start(b, RUNNING, i64(0))
    elif kind == OF_TANGENTS:
        _start(b, RUNNING, i64(1))
    else:
        size = b[CARRY]
        for j in range(b[OUTPUTS]):
            size += b[STEPS] * _output(b, j)[SIZE]
        b[STAGE] = DONE
        if all_zero(b[W], size) and (kind == OF_ADJOINTS or all_zero(b[WT], size)):
            return
        stamp = floats(b[Z])[size]
        fresh = b[STAMP] != 0 and float(b[STAMP]) == stamp
        if kind == OF_BOTH or b[KEPT_TANGENTS] or not fresh:
            _start(b, AGAIN, i64(kind == OF_BOTH))
        else:
            b[EVALUATIONS] = 0
            _start_back(b)


@part
def _finish(b):
    """The plan is at its end."""
    stage, kind, count = b[STAGE], b[KIND], b[CARRY]
    first, size = WORD * b[CAPTURED], count
    for j in range(b[OUTPUTS]):
        size += b[STEPS] * _output(b, j)[SIZE]
    b[STAGE] = DONE
    if stage == RUNNING:
        if kind == OF_VALUES:
            b[KEPT_TANGENTS] = 0
            copy(b[Z], b[V] + first, count)
            b[STAMPS] += 1
            b[STAMP] = b[STAMPS]
            floats(b[Z])[size] = float(b[STAMP])
        else:
            copy(b[ZT], b[T] + first, count)
            floats(b[ZT])[size] = 0.0
    elif stage == AGAIN:
        b[KEPT_TANGENTS] = b[TANGENTS]
        if kind == OF_ADJOINTS:
            b[STAMP] = i64(floats(b[Z])[size])
        _start_back(b)
    else:
        _collect(b, 1, b[G], b[CARRY_G])
        if kind == OF_BOTH:
            _collect(b, 3, b[H], b[CARRY_H])
        plans = _words(b[PLANS] + WORD * PLANS_WORDS * b[TANGENTS])
        if plans[4] == 0 or kind == OF_BOTH:  # the tangents are those of this call
            b[STAMP] = 0


@kernel
def run_loop(block, frame, how):
    """A sweep over a loop, or the rest of it: 0 at its end, else why it pauses.

    `how` is the kind of sweep plus 4 times the first slot of the result, or RESUME; without a frame
    the operands stand in the block already.
    """
    b = _words(block)
    if how != u8(RESUME):
        b[KIND] = i64(how) & 3
        if frame != u8(0):
            _find(b, frame, i64(how) >> 2)
        _begin(b)
    while b[STAGE] != DONE:
        reason = _go(b)
        if reason != 0:
            b[WHY] = reason
            return reason
        _finish(b)
    return 0


@part
def _call(frame, i, kind):
    """A call: of a loop whose block is ready, or Python's."""
    loops = word(frame, LOOPS)
    if loops == 0:
        return i64(PAUSE)
    table, number = _words(loops), descriptor(frame, i)[KIND_WORD] + 1
    if number >= table[0] or table[u8(number)] == 0:
        return i64(PAUSE)
    block = table[u8(number)]
    b = _words(block)
    if b[STAGE] != DONE or not b[READY] >> kind & 1:
        return i64(PAUSE)
    b[BUDGET] = b[LIMIT]
    how = kind + 4 * operand(frame, OUT, i)
    return i64(PAUSE) if _swept(b[RUN], block, frame, how) != 0 else i64(0)


@kernel
def call_forward(frame, i, end):
    """A loop runs, everything else is handed over to Python."""
    return _call(frame, i, OF_VALUES)


@kernel
def call_reverse(frame, i, end):
    """The same."""
    return _call(frame, i, OF_ADJOINTS)


@kernel
def call_tangent(frame, i, end):
    """The same."""
    return _call(frame, i, OF_TANGENTS)


@kernel
def call_second(frame, i, end):
    """The same."""
    return _call(frame, i, OF_BOTH)
