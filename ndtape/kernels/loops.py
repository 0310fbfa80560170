"""The sweeps of a loop: a plan of actions, whose steps are sweeps over the tape of the body.

A *block* of words holds all that a loop knows: the plan and how far it is, the sweeps, the tapes of
the body (one for each pattern of branches, tried in turn), the body's numbers and what is kept.
The slots of the body are [captured | carry | x | locals]; captured values are written once, and
their adjoints add up over the steps without being cleared.

The function answers 0 at the end of the plan, else why it paused: Python executes a call in the
body (PAUSE), records another pattern (FLIPPED), looks for Ctrl-C (MORE), and calls again.
"""

from __future__ import annotations

from .._jit import call_at, i8_at, u8, u8_at
from ..ops import (
    BODY,
    FLIPPED,
    FRAME,
    LOOP,
    MORE,
    NOT_STARTED,
    RESTORE,
    RESULT_WORDS,
    REVERSE,
    SPAN_WORDS,
    STORE,
    TAPE,
)
from .walk import WORD, add, copy, fill, i64, kernel, part

(
    PLAN, ACTIONS, ACTION, STEP, AT, PHASE, TRIED, BUDGET, EVALUATIONS,
    STEPS, BACKWARDS, TANGENTS, WRITES, VARIANT, VARIANTS, BODIES,
    CAPTURED, CARRY, ROW, XS, XS_COUNT, YS,
    V, G, T, H, KEPT, TAKEN, SNAPSHOTS, NEXT, W, WT, FIRST_KEPT,
    FORWARD, TANGENT, BACK,
) = range(len(LOOP))  # fmt: skip
B_FRAME, B_LO, B_HI, B_SLOTS, B_RESULTS, B_COUNT = range(len(BODY))
BODY_WORDS = len(BODY)
STATUS = FRAME.index("status")
NONE, RESULT, SPAN = NOT_STARTED, RESULT_WORDS, SPAN_WORDS


@part
def _words(address):
    return i8_at(u8(address))


@part
def _body(b, variant):
    """The entry of the table for one pattern of branches."""
    return _words(b[BODIES] + WORD * BODY_WORDS * variant)


@part
def _time(b, step):
    """Which element of xs and ys a step has."""
    return b[STEPS] - 1 - step if b[BACKWARDS] else step


@part
def _feed(b, step):
    """The elements of xs of a step, with their tangents, into the slots of the body."""
    time, slot = _time(b, step), b[CAPTURED] + b[CARRY]
    for j in range(b[XS_COUNT]):
        leaf = _words(b[XS] + WORD * SPAN * j)
        size = leaf[4]
        copy(b[V] + WORD * slot, leaf[0] + WORD * time * size, size)
        if b[TANGENTS]:
            if leaf[2] != 0:
                copy(b[T] + WORD * slot, leaf[2] + WORD * time * size, size)
            else:
                fill(b[T] + WORD * slot, size, 0.0)
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
            leaf = _words(b[YS] + WORD * SPAN * (-1 - place))
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
        start = body[B_LO] if b[AT] == NONE else b[AT]
        status = call_at(u8(b[FORWARD]), u8(body[B_FRAME]), u8(start), u8(body[B_HI]))
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
        start = body[B_LO] if b[AT] == NONE else b[AT]
        status = call_at(u8(b[TANGENT]), u8(body[B_FRAME]), u8(start), u8(body[B_HI]))
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
    fill(g + WORD * first, body[B_SLOTS] - first, 0.0)
    for j in range(body[B_COUNT]):
        row = _words(body[B_RESULTS] + WORD * RESULT * j)
        slot, size, place = g + WORD * row[0], row[1], row[2]
        if place >= 0:
            add(slot, w + WORD * place, size)
        else:
            leaf = _words(b[YS] + WORD * SPAN * (-1 - place))
            if leaf[column] != 0:
                add(slot, leaf[column] + WORD * time * size, size)


@part
def _deposit(b, time, g, w, column):
    """Adjoints of the carry before the body, and of the elements of xs."""
    slot = b[CAPTURED]
    copy(w, g + WORD * slot, b[CARRY])
    slot += b[CARRY]
    for j in range(b[XS_COUNT]):
        leaf = _words(b[XS] + WORD * SPAN * j)
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
        _seed(b, body, time, b[G], b[W], 1)
        if b[TANGENTS]:
            _seed(b, body, time, b[H], b[WT], 3)
    body = _body(b, b[VARIANT])
    end = body[B_HI] if b[AT] == NONE else b[AT]
    status = i64(0)
    if end > body[B_LO]:
        status = call_at(u8(b[BACK]), u8(body[B_FRAME]), u8(body[B_LO]), u8(end))
    if status != 0:
        return _why(b, body[B_FRAME], status)
    b[AT] = NONE
    _deposit(b, time, b[G], b[W], 1)
    if b[TANGENTS]:
        _deposit(b, time, b[H], b[WT], 3)
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


@kernel
def run_plan(block, lo, hi):
    """Go on with the plan of a block; 0 at its end, else why it paused."""
    b = i8_at(u8(block))
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
                    return MORE
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
                    return MORE
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
    return 0
