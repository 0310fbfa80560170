"""Checkpoint schedules of `nt.scan`: the same bits whatever is kept, and as many steps as planned.

Also bodies that branch: the way taken at each step is the one that the unrolled program takes,
whichever steps run again.
"""

from __future__ import annotations

import numpy as np
import pytest
from replays import bits
from scan_programs import BRANCHING, PROGRAMS, leaves, rnn, same, unrolled

import ndtape as nt
from ndtape.looping import Runner
from ndtape.loops import schedules

SCHEDULES = {
    "none": schedules.none(),
    "every 1": schedules.every(1),
    "every 2": schedules.every(2),
    "every 9": schedules.every(9),
    "sqrt": schedules.sqrt(),
    "1 snapshot": schedules.binomial(snapshots=1),
    "3 snapshots": schedules.binomial(snapshots=3),
    "memory": schedules.binomial(memory=2000),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
TESTED = [*BRANCHING, "rnn", "rnn backwards", "trees", "nested", "solved", "whole_numbers"]
S = np.linspace(-0.9, 0.8, 5)


@pytest.mark.parametrize("name", TESTED)
def test_the_same_bits_with_every_schedule(name):
    """Values, gradients, products with the Jacobian, second derivatives."""
    q = PROGRAMS[name]
    at, along = q.at(), q.at(seed=1)

    def found(schedule):
        f = q.cost(nt.scan, checkpoint=schedule)
        once = nt.value_and_grad(f, q.places)(*at), nt.jvp(f, at, along)
        return leaves([*once, nt.hvp(f, at, along)[2], nt.hessian(f)(*at)])

    expected = found(None)
    for schedule in SCHEDULES.values():
        assert bits(found(schedule), expected)
    f = q.cost(unrolled)
    same(nt.hessian(f)(*at), nt.hessian(q.cost(nt.scan, checkpoint=schedules.sqrt()))(*at), 1e-11)


@every_schedule
def test_replays_and_lanes_with_every_schedule(schedule):
    """Traced, with branches that flip from call to call, and lanes that part."""
    q = PROGRAMS["branch_on_all"]
    f = q.cost(nt.scan, checkpoint=schedule)
    traced = nt.value_and_grad(nt.function(f), q.places)
    for k in (0, 1, 2, 0):
        at = q.at(seed=k)
        same(traced(*at), nt.value_and_grad(q.cost(unrolled), q.places)(*at))
    ats = [q.at(seed=k) for k in range(3)]
    h = np.stack([at[1] for at in ats])
    rows = [nt.grad(q.cost(unrolled), 1)(q.p, at[1], q.xs) for at in ats]
    same(nt.vmap(nt.grad(f, 1), in_axes=(None, 0, None))(q.p, h, q.xs), np.stack(rows))


@every_schedule
def test_reverse_sweeps_that_are_repeated(schedule):
    """A pullback called again and again; backward twice through a tape that is kept."""
    q = PROGRAMS["branch_on_the_carry"]
    _, pull = nt.vjp(q.outputs(nt.scan, checkpoint=schedule), *q.at())
    _, right = nt.vjp(q.outputs(unrolled), *q.at())
    for w in (1.0, -2.0, 0.0, 1.0):
        same(pull((w, S)), right((w, S)))
    w = nt.var(0.7)
    f = lambda c, x: (nt.sin(c * w + x), c)  # noqa: E731
    carry, ys = nt.scan(f, 0.3, S, checkpoint=schedule)
    found = []
    for z in (carry, ys.sum(), carry):
        w.grad = None
        z.backward(retain_graph=True)
        found.append(w.grad)
    assert found[0] == found[2]
    expected = nt.grad(lambda w: unrolled(lambda c, x: (nt.sin(c * w + x), c), 0.3, S)[1].sum())
    assert found[1] == pytest.approx(expected(0.7), rel=1e-13)


@every_schedule
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 10, 37])
def test_every_length(schedule, steps):
    xs = np.linspace(-1.0, 1.0, steps)

    def cost(scan, **options):
        def f(c, x):
            return (nt.sin(c * 0.9 + x) if c < x else c - 0.3 * x), c

        return lambda c, xs: (lambda c, ys: c + (ys * ys).sum())(*scan(f, c, xs, **options))

    found = nt.value_and_grad(cost(nt.scan, checkpoint=schedule), (0, 1))(0.3, xs)
    if steps:
        same(found, nt.value_and_grad(cost(unrolled), (0, 1))(0.3, xs))
    else:
        assert found[0] == 0.3 and found[1][0] == 1.0 and found[1][1].shape == (0,)


def test_schedules_inside_and_outside():
    """A loop in a loop, each with its own."""
    x = np.linspace(-1.0, 1.0, 12).reshape(4, 3)

    def cost(scan, outer, inner):
        def f(w):
            def step(c, row):
                s, ys = scan(
                    lambda s, e: (nt.sin(s * w + e) if s > e else s * e, s), c, row,
                    checkpoint=inner,
                )  # fmt: skip
                return s, ys.sum()

            carry, ys = scan(step, 0.4, x, checkpoint=outer)
            return carry + ys.sum()

        return f

    expected = nt.value_and_grad(cost(unrolled, None, None))(0.7)
    first = nt.value_and_grad(cost(nt.scan, None, None))(0.7)
    same(first, expected)
    for outer in SCHEDULES.values():
        for inner in (schedules.every(1), schedules.sqrt()):
            assert bits(nt.value_and_grad(cost(nt.scan, outer, inner))(0.7), first)


def test_schedules_are_static():
    """In a traced function another schedule is another recording, and no wrong number."""

    def f(w, schedule):
        return nt.scan(lambda c, x: (nt.sin(c * w + x), None), 0.3, S, checkpoint=schedule)[0]

    gradient = nt.grad(nt.function(f, static_argnums=1))
    expected = nt.grad(lambda w: f(w, None))(0.7)
    for schedule in SCHEDULES.values():
        assert gradient(0.7, schedule) == expected


# --- branches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BRANCHING)
def test_branches_go_as_they_would_without_recording(name):
    """The carries of all steps, from many starts: plain, recorded, replayed."""
    q = PROGRAMS[name]
    traced = nt.function(q.outputs(nt.scan))
    for seed in range(6):
        at = q.at(seed=seed)
        plain = q.outputs(unrolled)(*at)
        same(q.outputs(nt.scan)(*at), plain)
        same(traced(*at), plain)
        _, pull = nt.vjp(q.outputs(nt.scan), *at)
        _, right = nt.vjp(q.outputs(unrolled), *at)
        same(pull(plain), right(plain))


def test_a_branch_of_the_caller_on_a_result_of_the_loop():
    q = PROGRAMS["branch_on_the_carry"]

    def cost(scan):
        def f(p, c, xs):
            c, ys = q.run(scan, p, c, xs)
            if c > 0.4:
                c, ys = q.run(scan, p * 0.5, c, ys)
            return c * 2.0 if ys[1] < 0.0 else c + ys.sum()

        return f

    traced = nt.value_and_grad(nt.function(cost(nt.scan)), q.places)
    for seed in range(6):
        at = q.at(seed=seed)
        expected = nt.value_and_grad(cost(unrolled), q.places)(*at)
        same(traced(*at), expected)
        same(nt.value_and_grad(cost(nt.scan), q.places)(*at), expected)


def test_a_branch_on_what_is_captured():
    """Outside values that the body looks at, but that no step changes."""

    def cost(scan):
        def f(w):
            k = w * 2.0
            return scan(lambda c, x: (c * k if k > 1.0 else nt.sin(c * w), c), 0.3, S)[1].sum()

        return f

    traced = nt.value_and_grad(nt.function(cost(nt.scan)))
    for w in (0.7, 0.3, 0.7, 0.1):
        expected = nt.value_and_grad(cost(unrolled))(w)
        same(nt.value_and_grad(cost(nt.scan))(w), expected)
        same(traced(w), expected)


def test_many_patterns():
    """A body of three branches goes eight ways, in any order."""

    def f(c, x):
        a = c * 0.9 if x > 0.3 else c + 0.1 * x
        b = nt.sin(a) if a > 0.2 else a * x
        return (b - x if b < 0.5 * x else b * b), a

    xs = np.sin(np.arange(60) * 1.7)

    def cost(scan):
        return lambda c, xs: scan(f, c, xs)[1].sum()

    found = nt.value_and_grad(cost(nt.scan), (0, 1))(0.3, xs)
    same(found, nt.value_and_grad(cost(unrolled), (0, 1))(0.3, xs))


# What follows says nothing of a scan that unrolls: it needs the loop instruction.


def test_too_many_patterns():
    """A loop inside that runs another number of times at each step: named, with its line."""

    def f(c, x):
        n = 0
        while n < x:  # ever more turns
            c = c * 0.999 + 0.001
            n += 1
        return c, None

    with pytest.raises(nt.TooManyTapesError, match=r"test_scan_schedules\.py:\d+") as caught:
        nt.grad(lambda c: nt.scan(f, c, np.arange(300.0))[0])(0.5)
    line = f.__code__.co_firstlineno + 2
    assert f":{line}" in str(caught.value)


def test_one_body_for_two_thousand_steps():
    """The body is recorded once a pattern, and not once a step."""
    calls = []

    def f(h, x):
        calls.append(None)
        h = np.tanh(h * 0.9 + x) if h[0] < 0.5 else h * x
        return h, h.sum()

    xs = np.sin(np.arange(2000) * 0.7)
    gradient = nt.grad(lambda h: nt.scan(f, h, xs, checkpoint=schedules.sqrt())[1].mean())
    expected = nt.grad(lambda h: unrolled(f, h, xs)[1].mean())(np.array([0.1, 0.2]))
    calls.clear()
    same(gradient(np.array([0.1, 0.2])), expected, 1e-10)
    assert len(calls) <= 10


# --- how much is computed -------------------------------------------------------------------------


def evaluations(run):
    """How many times `run` evaluates the body of its loop: forward and again in reverse."""
    counted, runners = [], []
    original = Runner._run

    def counting(self, *how):
        original(self, *how)
        counted.append(self.word("evaluations"))
        runners.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "_run", counting)
        run()
    return sum(counted), runners[-1]


@every_schedule
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_evaluations_are_those_of_the_plan(schedule, steps):
    q = PROGRAMS["rnn"]
    xs = np.sin(np.arange(3.0 * steps)).reshape(steps, 3)

    def run():
        return nt.grad(lambda h: nt.scan(rnn(q.p), h, xs, checkpoint=schedule)[1].sum())(q.init)

    count, runner = evaluations(run)
    plan = schedule.plan(steps, 8 * sum(runner.form.carry), 8 * runner.row)
    assert count == sum(plan.evaluations)
