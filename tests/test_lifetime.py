"""Tapes live as long as their results, no longer: loops run in constant memory.

Memory is measured as allocated blocks and traced bytes after N and after 4 N passes of a loop: a
single object or instruction left over a pass would be thousands.  The dropping of dead instructions
from a long tape (`compact`) is tested by lowering its threshold under random programs.
"""

from __future__ import annotations

import contextvars
import gc
import math
import random
import tracemalloc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ndtape as nt
from ndtape.record import core, lifetime

PASSES = 400  # more than fill the lowered threshold several times over


@pytest.fixture(autouse=True)
def no_tape_of_another_test():
    core._current.set(None)


@pytest.fixture(params=[core.COMPACT_AT, 300], ids=["as released", "compacting often"])
def threshold(request, monkeypatch):
    monkeypatch.setattr(core, "COMPACT_AT", request.param)
    monkeypatch.setattr(lifetime, "COMPACT_AT", request.param)
    return request.param


def with_backward(w, passes):
    for _ in range(passes):
        loss = (w * 0.3 - 1.0) * w
        loss.backward()
        w.grad = None


def with_backward_and_update(w, passes):
    for _ in range(passes):
        loss = (w * 0.3 - 1.0) * w
        loss.backward()
        with nt.no_grad():
            w -= 1e-3 * w.grad
        w.grad = None


def only_reading(w, passes):
    for _ in range(passes):
        loss = (w * 0.3 - 1.0) * w
        assert loss.value == (w.value * 0.3 - 1.0) * w.value


def reading_with_updates(w, passes):
    for _ in range(passes):
        loss = (w * 0.3 - 1.0) * w
        assert loss.value == (w.value * 0.3 - 1.0) * w.value
        with nt.no_grad():
            w += 1e-6


def fresh_leaves(w, passes):
    for i in range(passes):
        x = nt.var(float(i))
        loss = (w * x - 1.0) * x
        assert loss.value == (w.value * i - 1.0) * i


def carried_state(w, passes):
    h = nt.var(0.1).detach()
    for _ in range(passes):
        h = nt.tanh(w * h + 0.1)
        h = h.detach()
    assert 0.0 < h.value < 1.0


def carried_state_with_backward(w, passes):
    h = nt.var(0.1).detach()
    for _ in range(passes):
        h = nt.tanh(w * h + 0.1)
        (h * h).backward()
        h = h.detach()
    w.grad = None


def an_exception(w, passes):
    for i in range(passes):
        try:
            loss = (w * 0.3 - 1.0) * w
            loss + str(i)
        except TypeError:
            pass


def an_exception_in_a_transform(w, passes):
    def wrong(x):
        y = x * w
        raise ZeroDivisionError(y)

    for _ in range(passes):
        try:
            nt.grad(wrong)(1.0)
        except ZeroDivisionError:
            pass


def an_exception_before_backward(w, passes):
    for i in range(passes):
        try:
            loss = nt.exp(w) * float(i)
            if i % 3:
                raise KeyError(i)
            loss.backward()
        except KeyError:
            pass
    w.grad = None


def two_losses(w, passes):
    for _ in range(passes):
        first, second = w * 0.3 * w, nt.sin(w)
        first.backward()
        second.backward()
    w.grad = None


def average_of_losses(w, passes):
    average = 0.0
    for _ in range(passes):
        loss = (w * 0.3 - 1.0) * w
        loss.backward()
        average = 0.9 * average + 0.1 * loss.detach()
    assert average.value < 0.0
    w.grad = None


def gradients(w, passes):
    for _ in range(passes):
        assert nt.grad(lambda x: x * x)(2.0) == 4.0
        assert nt.grad(lambda x: x * x * w)(2.0).value == 4.0 * w.value


def explicit_tapes(w, passes):
    for _ in range(passes):
        with nt.Tape() as tape:
            loss = (w * 0.3 - 1.0) * w
        tape.gradient(loss, w)


def meeting_tapes(w, passes):
    state = w * 1.0
    for _ in range(passes):
        loss = contextvars.Context().run(lambda: w * 0.3)
        state = (state * loss).detach() * w


LOOPS = [
    with_backward, with_backward_and_update, only_reading, reading_with_updates, fresh_leaves,
    carried_state, carried_state_with_backward, an_exception, an_exception_in_a_transform,
    an_exception_before_backward, two_losses, average_of_losses, gradients, explicit_tapes,
    meeting_tapes,
]  # fmt: skip


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
def test_memory_stays_flat(loop, monkeypatch):
    monkeypatch.setattr(core, "COMPACT_AT", 300)
    monkeypatch.setattr(lifetime, "COMPACT_AT", 300)
    w = nt.var(0.5)
    loop(w, PASSES)
    gc.collect()
    tracemalloc.start()
    try:
        loop(w, PASSES)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        loop(w, 4 * PASSES)
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 4 * PASSES * 16  # one float left a pass would be more
    assert peak < 2_000_000


@pytest.mark.parametrize("loop", LOOPS, ids=lambda f: f.__name__)
def test_tapes_do_not_grow(loop, monkeypatch, threshold):
    """Nor does any single tape get long, at either threshold, in passes enough to show it."""
    longest = 0
    opened = core.Recorder.open_chunk

    def measured(tape):
        nonlocal longest
        opened(tape)
        longest = max(longest, len(tape))

    monkeypatch.setattr(core.Recorder, "open_chunk", measured)
    loop(nt.var(0.5), 2000 if threshold == 300 else PASSES)
    assert longest < max(4 * 300, 10 * PASSES)


def test_a_tape_dies_with_its_last_result():
    x = nt.var(2.0)
    y = x * 3.0
    z = nt.sin(y)
    tape = weakref.ref(z.tape)
    gc.collect()
    gc.disable()
    try:
        del y
        assert tape() is not None
        del z
        assert tape() is None  # by its count: no collector needed
    finally:
        gc.enable()


def test_backward_ends_the_tape():
    w = nt.var(2.0)
    losses = []
    for _ in range(4):
        loss = w * w
        loss.backward()
        losses.append(loss)
    assert len({id(loss.tape) for loss in losses}) == 4
    assert [len(loss.tape) for loss in losses] == [2] * 4
    again = [w * 2.0, nt.sin(w), 1.0 - w, w * w]
    assert {id(x.tape) for x in again}.isdisjoint(id(loss.tape) for loss in losses)


def test_old_results_times_leaves_do_not_revive_a_tape():
    w = nt.var(2.0)
    loss = w * w
    loss.backward()
    for _ in range(5):
        late = loss * w  # goes to the old tape, beside its operand
        fresh = w * 3.0
        assert fresh.tape is not loss.tape
        fresh.backward()
    assert late.value == 8.0
    assert w.grad == 4.0 + 5 * 3.0


def test_many_tapes_alive_at_once():
    w = nt.var(2.0)
    losses = []
    for i in range(3000):
        losses.append(w * float(i))
        losses[-1].backward()
    assert w.grad == sum(range(3000))
    with nt.no_grad():
        w += 1.0
    assert [loss.value for loss in losses] == [2.0 * i for i in range(3000)]
    assert [(loss + 1.0).value for loss in losses[:3]] == [1.0, 3.0, 5.0]


# --- dropping dead instructions -----------------------------------------------------------------


def test_compaction_happens_and_keeps_what_is_alive(monkeypatch):
    monkeypatch.setattr(core, "COMPACT_AT", 300)
    monkeypatch.setattr(lifetime, "COMPACT_AT", 300)
    w = nt.var(0.5, name="w")
    kept = nt.exp(w)
    kept.retain_grad()
    loss = w * 1.0
    for _ in range(5000):
        loss = (w * 0.3 - 1.0) * w
    assert kept.tape is loss.tape
    assert len(kept.tape) < 2000
    nt.verify(kept.tape)
    total = kept * loss
    total.backward()
    expected = math.exp(0.5) * (-0.85 * 0.5 + 0.6 * 0.5 - 1.0)
    assert w.grad == pytest.approx(expected, rel=1e-15)
    assert kept.grad == -0.425
    assert kept.tape.names == dict.fromkeys(kept.tape.names, "w")


def test_a_tape_that_a_user_holds_is_never_compacted(monkeypatch):
    monkeypatch.setattr(core, "COMPACT_AT", 300)
    monkeypatch.setattr(lifetime, "COMPACT_AT", 300)
    w = nt.var(0.5)
    with nt.Tape() as tape:
        for i in range(2000):
            w * float(i)
    assert len(tape) == 2001


def test_no_compaction_inside_a_transform(monkeypatch):
    monkeypatch.setattr(core, "COMPACT_AT", 300)
    monkeypatch.setattr(lifetime, "COMPACT_AT", 300)

    def f(x):
        y = x
        for _ in range(2000):
            y = y * 0.999 + 0.001 * nt.sin(x)
        return y

    slope = 1.0
    for _ in range(2000):
        slope = 0.999 * slope + 0.001 * math.cos(0.4)
    assert nt.grad(f)(0.4) == pytest.approx(slope, rel=1e-12)
    second = 0.0
    for _ in range(2000):
        second = 0.999 * second - 0.001 * math.sin(0.4)
    assert nt.grad(nt.grad(f))(0.4) == pytest.approx(second, rel=1e-12)


def test_frozen_objects_stop_compaction_and_nothing_else(monkeypatch, frozen_by_the_user):
    monkeypatch.setattr(core, "COMPACT_AT", 300)
    monkeypatch.setattr(lifetime, "COMPACT_AT", 300)
    w = nt.var(0.5)
    kept = w * 2.0
    gc.freeze()
    for _ in range(1000):
        loss = w * 3.0
    assert len(loss.tape) > 1000
    assert kept.value == 1.0
    (kept * loss).backward()
    assert w.grad == pytest.approx(2.0 * 1.5 + 3.0 * 1.0)


ONE = ["sin", "exp", "tanh", "negative", "square"]
TWO = ["add", "multiply", "subtract", "maximum", "arctan2"]


def run_program(seed, steps, drop, at):
    """A random program that keeps few results; the numbers it sees on its way, and gradients."""
    rng = random.Random(seed)
    core.COMPACT_AT = lifetime.COMPACT_AT = at
    leaves = [nt.var(rng.uniform(-1.0, 1.0)) for _ in range(3)]
    alive = list(leaves)
    seen = []
    longest = 0
    for _ in range(steps):
        choice = rng.random()
        x, y = rng.choice(alive), rng.choice(alive)
        if choice < 0.4:
            z = getattr(nt, rng.choice(ONE))(x * 0.5)
        elif choice < 0.8:
            z = getattr(nt, rng.choice(TWO))(x, y)
        elif choice < 0.9:
            z = x * rng.uniform(-1.0, 1.0) + leaves[rng.randrange(3)]
        elif choice < 0.93:
            z = x.detach() * leaves[0]
        elif choice < 0.95:
            z = leaves[1] * 0.5
            z.retain_grad()
        elif choice < 0.96:
            with nt.no_grad():
                leaves[2] += 0.01
            z = leaves[2] * leaves[2]
        elif choice < 0.97:
            z = leaves[0] * leaves[1] * 0.1
            z.backward()
            seen.append([leaf.grad for leaf in leaves])
            z = z + leaves[2]
        else:
            z = x
            seen.append(z.value)
        alive.append(nt.clip(z, -2.0, 2.0))
        while len(alive) > drop and rng.random() < 0.9:
            alive.pop(rng.randrange(3, len(alive)))
        if alive[-1] is not leaves[-1]:
            longest = max(longest, len(alive[-1].tape))
    for x in alive[3:]:
        seen.append(x.value)
        try:
            x.backward(retain_graph=True)
        except nt.SpentTapeError:
            seen.append("spent")
        seen.append([leaf.grad for leaf in leaves])
    return seen, longest


@given(st.integers(0, 2**32), st.integers(4, 12))
@settings(max_examples=12, deadline=None)
def test_compaction_changes_no_number(seed, drop):
    before = core.COMPACT_AT, lifetime.COMPACT_AT
    try:
        plain, length = run_program(seed, 1500, drop, at=100_000)
        compacted, compacted_length = run_program(seed, 1500, drop, at=200)
    finally:
        core.COMPACT_AT, lifetime.COMPACT_AT = before
    # Values to the bit.  Gradients to rounding: what a reverse sweep carries in a register depends
    # on which instructions are neighbours, so contributions may add up in another order.
    assert len(compacted) == len(plain)
    for one, other in zip(compacted, plain, strict=True):
        if isinstance(one, list):
            pairs = zip(one, other, strict=True)
            assert all(a == b or math.isclose(a, b, rel_tol=1e-13, abs_tol=1e-13) for a, b in pairs)
        else:
            assert one == other
    assert compacted_length <= length
