"""Checkpoint schedules: plans are run by an interpreter of their own and counted against theory."""

import copy
import pickle
from functools import cache
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtape.errors import ArgumentError
from ndtape.loops import schedules
from ndtape.loops.schedules import (
    ADVANCE,
    RESTORE,
    REVERSE,
    STORE,
    TAPE,
    binomial,
    every,
    none,
    sqrt,
)

LENGTHS = range(61)


class Loop:
    """A loop that knows of its state only which step's it is, and refuses what it cannot do."""

    def __init__(self, length):
        self.length = length
        self.state, self.held, self.slots = 0, (0, 0), {}
        self.most_held, self.most_slots, self.runs = 0, 0, np.zeros(length, int)

    def run(self, rows):
        """The steps that are gone back over, in order."""
        back = []
        for action, a, b in rows.tolist():
            if action in (ADVANCE, TAPE):
                assert self.state == a and a < b <= self.length
                self.state = b
                self.runs[a:b] += 1
            if action == TAPE:
                self.held = (a, b)
                self.most_held = max(self.most_held, b - a)
            elif action == STORE:
                assert self.state == b
                self.slots[a] = b
                self.most_slots = max(self.most_slots, a + 1)
            elif action == RESTORE:
                assert self.slots[a] == b
                self.state = b
            elif action == REVERSE:
                assert self.held[0] <= a < b <= self.held[1]
                back += range(b - 1, a - 1, -1)
            else:
                assert action in (ADVANCE, TAPE)
        return back


def simulate(plan, length):
    """Run a plan, twice backwards; returns how often `reverse` runs each step."""
    loop = Loop(length)
    assert loop.run(plan.forward) == []
    assert loop.state == length
    assert (loop.runs == 1).all()
    forward, loop.runs = loop.runs, np.zeros(length, int)
    assert loop.run(plan.reverse) == list(range(length - 1, -1, -1))
    again = loop.runs.copy()
    assert (forward.sum(), again.sum()) == plan.evaluations
    if not plan.repeatable:
        loop.state = 0
        loop.run(plan.forward)
    assert loop.run(plan.reverse) == list(range(length - 1, -1, -1))
    assert (loop.most_slots, loop.most_held) == (plan.snapshots, plan.kept)
    assert plan.bytes(1000, 7) == 1000 * plan.snapshots + 7 * plan.kept
    for rows in (plan.forward, plan.reverse):
        assert rows.dtype == np.int64 and rows.ndim == 2 and rows.shape[1] == 3
        assert not rows.flags.writeable
    return again


def repetitions(length, snapshots):
    r = 0
    while comb(snapshots + r, r) < length:
        r += 1
    return r


def closed_form(length, snapshots):
    """Griewank and Walther 2000, theorem 1 (of one step: none is run again)."""
    r = repetitions(length, snapshots)
    return r * length - comb(snapshots + r, r - 1) if r else 0


@cache
def fewest(length, snapshots):
    """Steps run again, by trying each place of the next snapshot (dynamic programming)."""
    if length <= 1:
        return 0
    if snapshots == 1:
        return length * (length - 1) // 2
    return min(
        m + fewest(length - m, snapshots - 1) + fewest(m, snapshots) for m in range(1, length)
    )


def test_a_wrong_plan_is_noticed():
    """The interpreter of these tests refuses what does not fit."""
    good = every(2).plan(4)
    simulate(good, 4)
    for action, row, column in [("forward", 0, 2), ("forward", 1, 2), ("reverse", 0, 1),
                                ("reverse", 1, 1), ("reverse", 2, 2)]:  # fmt: skip
        rows = getattr(good, action).copy()
        rows[row, column] += 1
        with pytest.raises((AssertionError, KeyError)):
            simulate(good._replace(**{action: rows}), 4)


def test_no_steps():
    for schedule in (none(), every(3), sqrt(), binomial(2), binomial(memory=5)):
        plan = schedule.plan(0)
        assert simulate(plan, 0).size == 0
        assert (plan.snapshots, plan.kept, plan.evaluations) == (0, 0, (0, 0))


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_none_and_every(length):
    assert (simulate(none().plan(length), length) == 0).all()
    assert none().plan(length).bytes(5, 3) == 3 * length
    for k in range(1, length + 3):
        plan = every(k).plan(length)
        assert (simulate(plan, length) == 1).all()
        assert (plan.snapshots, plan.kept) == (-(-length // k), min(k, length))
        assert plan.repeatable


@pytest.mark.parametrize("length", [*LENGTHS[1:], 10**4, 10**4 + 1, 10**6, 10**6 - 1, 999**2 + 1])
def test_square_root(length):
    plan = sqrt().plan(length)
    root = next(k for k in range(int(length**0.5) - 1, length + 1) if k >= 1 and k * k >= length)
    assert plan.kept == root and plan.snapshots <= root
    assert plan.evaluations == (length, length)
    if length < 100:
        assert (simulate(plan, length) == 1).all()


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_binomial_is_optimal(length):
    for snapshots in range(1, length + 2):
        plan = binomial(snapshots).plan(length)
        again = simulate(plan, length)
        assert again.sum() == closed_form(length, snapshots) == fewest(length, snapshots)
        assert again.max() <= repetitions(length, snapshots)
        assert plan.snapshots == min(snapshots, length - 1)
        assert plan.kept == 1 and plan.repeatable == (length == 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000) | st.integers(1, 12))
def test_binomial_of_more_steps(length, snapshots):
    again = simulate(binomial(snapshots).plan(length), length)
    assert again.sum() == closed_form(length, snapshots)
    assert again.max() <= repetitions(length, snapshots)


@pytest.mark.parametrize("snapshots", [3, 1000])
def test_binomial_of_a_hundred_thousand_steps(snapshots):
    plan = binomial(snapshots).plan(10**5)
    assert plan.evaluations == (10**5, closed_form(10**5, snapshots))
    reversed_steps = plan.reverse[plan.reverse[:, 0] == REVERSE]
    assert (reversed_steps[:, 1] == np.arange(10**5)[::-1]).all()


def best_of_budget(length, state, held, memory):
    """By trying every number of snapshots with the longest blocks that fit beside them."""
    if length * held <= memory:
        return 0
    found = []
    for snapshots in range(1, max(length, 2)):
        block = (memory - snapshots * state) // held
        if block >= 1 or snapshots == 1:
            block = max(block, 1)
            found.append(block * closed_form(-(-length // block), snapshots))
    return min(found)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 50), st.integers(1, 6000))
def test_binomial_within_a_budget(length, state, held, memory):
    plan = binomial(memory=memory).plan(length, state, held)
    again = simulate(plan, length)
    assert again.sum() == best_of_budget(length, state, held, memory)
    assert plan.bytes(state, held) <= max(memory, state + held)


def test_budget_of_what_takes_no_room():
    """A loop without a state, and one whose steps keep nothing."""
    plan = binomial(memory=40).plan(10, state_bytes=0, locals_bytes=16)
    assert simulate(plan, 10).sum() <= 10 and plan.bytes(0, 16) <= 40
    assert binomial(memory=1).plan(10, state_bytes=16, locals_bytes=0).evaluations == (10, 0)


def test_memory_grows_as_promised():
    """Binomial snapshots for a fixed number of repetitions: the 3rd root of T, and so on."""
    for r in (1, 2, 3, 4):
        for n in (2, 5, 9):
            length = comb(n + r, r)
            assert simulate(binomial(n).plan(length), length).max() == r
            assert simulate(binomial(n).plan(length + 1), length + 1).max() == r + 1


def test_schedules_are_values():
    made = [none(), sqrt(), every(1), every(2), binomial(1), binomial(2), binomial(memory=2)]
    again = [none(), sqrt(), every(1), every(np.int64(2)), binomial(snapshots=1), binomial(2),
             binomial(memory=2)]  # fmt: skip
    assert made == again and len({*made, *again}) == len(made)
    assert all(a != b for i, a in enumerate(made) for b in made[:i])
    assert every(1) != 1
    assert [repr(s) for s in made] == [
        "nt.schedules.none()",
        "nt.schedules.sqrt()",
        "nt.schedules.every(k=1)",
        "nt.schedules.every(k=2)",
        "nt.schedules.binomial(snapshots=1)",
        "nt.schedules.binomial(snapshots=2)",
        "nt.schedules.binomial(memory=2)",
    ]
    for schedule in made:
        assert pickle.loads(pickle.dumps(schedule)) == copy.deepcopy(schedule) == schedule
        with pytest.raises(AttributeError, match="does not change"):
            schedule._name = "sqrt"
        with pytest.raises(AttributeError, match="does not change"):
            del schedule._name
    assert isinstance(none().plan(3), schedules.Plan)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: every(0), r"before each k-th step: a whole number from 1 on, not 0"),
        (lambda: every(2.0), r"from 1 on, not 2\.0"),
        (lambda: every(True), r"from 1 on, not True"),
        (lambda: every("2"), r"from 1 on, not '2'"),
        (lambda: binomial(), r"one of the two: binomial\(snapshots=20\)"),
        (lambda: binomial(2, 100), r"one of the two"),
        (lambda: binomial(snapshots=0), r"first step among them: .*from 1 on, not 0"),
        (lambda: binomial(memory=1e6), r"memory is a number of bytes: .*not 1000000\.0"),
        (lambda: sqrt().plan(-1), r"a number of steps, 0 or more: .*not -1"),
        (lambda: none().plan(2.5), r"a number of steps, 0 or more: .*not 2\.5"),
        (lambda: none().plan(2, state_bytes=-8), r"state_bytes .*from 0 on, not -8"),
        (lambda: none().plan(2, locals_bytes=None), r"locals_bytes .*not None"),
    ],
)
def test_what_they_refuse(make, said):
    with pytest.raises(ArgumentError, match=said):
        make()
