"""Random bodies, full of branches and loops inside, scanned and written out.

The texts of the bodies are those of `branching`, whose arithmetic is exact on every path, so that
both go the same ways; carries and inputs are trees, some bodies scan themselves.
"""

from __future__ import annotations

import random

import branching
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from replays import bits
from scan_programs import Pair, Program, leaves, same, unrolled

import ndtape as nt
from ndtape.loops import schedules

SCHEDULES = [None, schedules.every(1), schedules.every(3), schedules.sqrt(),
             schedules.binomial(snapshots=1), schedules.binomial(snapshots=2)]  # fmt: skip


def body_of(seed, scan):
    """A body of a random text, as a function of its parameter; some loop over their input."""
    rng = random.Random(seed)
    f = branching.compiled(branching.source(seed, rng.randrange(2, 9)))
    g = branching.compiled(branching.source(seed + 1, rng.randrange(1, 4)))
    kind, mixed = rng.randrange(4), rng.random() < 0.5

    def body(p):
        def inner(c, e):
            s = nt.sin(g(c[0], e, c[1]))
            return (s, c[1]) if kind == 0 else (s * p, c[1][::-1] + 0.25 * e), s

        def step(c, x):
            s = nt.sin(f(c["a"], x.left * p, c["h"] * 0.5 + x.right))
            h = np.where(c["h"] > 0.5, c["h"] * s, x.right) if mixed else c["h"][::-1] * 0.75
            y = {"s": c["a"] * s}
            if kind < 2:
                (s, h), ys = scan(inner, (s, h), x.right, reverse=kind == 1)
                y["inside"] = ys
            return {"a": s, "h": h}, (y, h)

        return step

    return body


def drawn(seed, steps, reverse, scan):
    rng = np.random.default_rng(seed)
    xs = Pair(rng.uniform(-1.5, 1.5, steps), rng.uniform(-1.5, 1.5, (steps, 4)).round(2))
    init = {"a": rng.uniform(-1, 1), "h": rng.uniform(-1, 1, 4).round(2)}
    return Program(body_of(seed, scan), 0.8, init, xs, reverse=reverse)


PROGRAMS = {
    "seed": st.integers(0, 10**6), "steps": st.integers(1, 7), "reverse": st.booleans(),
    "schedule": st.sampled_from(SCHEDULES),
}  # fmt: skip


def both(seed, steps, reverse, schedule):
    """The arguments, the cost by scans, and the cost written out."""
    q, r = (drawn(seed, steps, reverse, scan) for scan in (nt.scan, unrolled))
    return q, q.cost(nt.scan, checkpoint=schedule), r.cost(unrolled)


@settings(max_examples=30)
@given(**PROGRAMS)
def test_values_and_gradients(seed, steps, reverse, schedule):
    q, f, g = both(seed, steps, reverse, schedule)
    same(
        q.outputs(nt.scan)(*q.at()),
        drawn(seed, steps, reverse, unrolled).outputs(unrolled)(*q.at()),
    )
    found = nt.value_and_grad(f, q.places)(*q.at())
    same(found, nt.value_and_grad(g, q.places)(*q.at()), 1e-10)
    assert bits(leaves(found), leaves(nt.value_and_grad(q.cost(nt.scan), q.places)(*q.at())))


@settings(max_examples=15)
@given(**PROGRAMS)
@example(seed=26242, steps=2, reverse=False, schedule=None)  # bodies recorded in a replay
def test_other_derivatives(seed, steps, reverse, schedule):
    q, f, g = both(seed, min(steps, 4), reverse, schedule)
    at, along = q.at(), q.at(seed=seed)
    same(nt.jvp(f, at, along), nt.jvp(g, at, along), 1e-9)
    same(nt.hvp(f, at, along), nt.hvp(g, at, along), 1e-8)

    def twice(f):
        return nt.grad(lambda p, h, xs: nt.grad(f, 1)(p, h, xs)["h"].sum() * p, (0, 2))

    same(twice(f)(*at), twice(g)(*at), 1e-8)


@settings(max_examples=15)
@given(others=st.lists(st.integers(0, 10**6), min_size=1, max_size=3), **PROGRAMS)
def test_replays(others, seed, steps, reverse, schedule):
    """At numbers whose branches go other ways at every step."""
    q, f, g = both(seed, steps, reverse, schedule)
    traced = nt.value_and_grad(nt.function(f), q.places)
    for at in (q.at(), *[q.at(seed=k) for k in others], q.at()):
        same(traced(*at), nt.value_and_grad(g, q.places)(*at), 1e-10)


@settings(max_examples=10)
@given(**PROGRAMS)
@example(seed=716882, steps=4, reverse=True, schedule=None)  # a plan was replaced in a pause
def test_lanes(seed, steps, reverse, schedule):
    q, f, g = both(seed, steps, reverse, schedule)
    ats = [q.at(), q.at(seed=seed), q.at(seed=seed + 1)]
    rows = [nt.grad(g, 1)(q.p, at[1], q.xs) for at in ats]
    a, h = (np.stack([at[1][k] for at in ats]) for k in "ah")
    found = nt.vmap(nt.grad(f, 1), in_axes=(None, 0, None))(q.p, {"a": a, "h": h}, q.xs)
    for k in "ah":
        np.testing.assert_allclose(found[k], np.stack([r[k] for r in rows]), 1e-10, 1e-10)


def test_random_bodies_differ():
    """Most programs have a gradient, and an error in one of their steps is seen."""
    moved, seen = 0, 0
    for seed in range(20):
        q, f, _ = both(seed, 4, False, None)

        def wrong(body, init, xs, **options):
            def step(c, x):
                carry, y = body(c, x)
                return carry | {"a": carry["a"] * 1.0001}, y

            return nt.scan(step, init, xs, **options)

        right = nt.value_and_grad(f, q.places)(*q.at())
        moved += any(np.any(g) for g in leaves(right[1]))
        try:
            same(nt.value_and_grad(q.cost(wrong), q.places)(*q.at()), right, 1e-10)
        except AssertionError:
            seen += 1
    assert moved > 15 and seen > 15


@pytest.mark.parametrize("seed", range(2))
def test_long_loops(seed):
    """Branches all the way."""
    q, f, g = both(seed, 150, seed == 1, schedules.sqrt())
    same(nt.value_and_grad(f, q.places)(*q.at()), nt.value_and_grad(g, q.places)(*q.at()), 1e-8)
