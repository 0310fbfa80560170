"""Random programs that branch: traced results equal plain Python and a fresh recording.

Programs are drawn as Python text (`branching`), called at inputs that flip their branches, then at
the same inputs back and forth.  A replay has the bits of a recording; plain floats agree to 1e-12.
"""

import random

import branching
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replays import bits, close, copied

import ndtape as nt
from ndtape import passes, run

ARGUMENTS = (0, 1, 2)


def drawn_inputs(rng, count):
    """Points around the kinks: multiples of a quarter often tie, and steps of 1e-9 flip."""
    points = []
    for _ in range(count):
        step = rng.choice([0.25, 0.01])
        a, b = (round(rng.uniform(-2.5, 2.5) / step) * step for _ in range(2))
        points.append((a, b, np.round(np.array([rng.uniform(-1.5, 1.5) for _ in range(4)]), 2)))
    a, b, x = points[0]
    points.append((a + 1e-9, b, x[::-1].copy()))
    points.append((40.0 * a, -b, -x))  # loops that run much longer
    return points


class Truth:
    """A program in plain Python and recorded afresh, each point evaluated once."""

    def __init__(self, text):
        self.text = text
        self.plain = branching.compiled(text)
        self.fresh = branching.compiled(text)

    def value(self, point):
        return self.plain(*copied(point))

    def value_and_gradient(self, point):
        return nt.value_and_grad(self.fresh, ARGUMENTS)(*copied(point))


def check(text, points, rng, make=nt.function, count=16):
    """The traced function at all points, then back and forth."""
    truth = Truth(text)
    F = make(truth.plain)
    both = nt.value_and_grad(F, ARGUMENTS)
    known = [(truth.value(p), *truth.value_and_gradient(p)) for p in points]
    order = [*range(len(points)), *(rng.randrange(len(points)) for _ in range(count))]
    for k in order:
        value, fresh, gradient = known[k]
        assert close(fresh, value, 1e-12), (fresh, value)
        given = copied(points[k])
        if rng.random() < 0.5:
            assert bits(F(*given), fresh)
        else:
            assert bits(both(*given), (fresh, gradient))
        assert bits(given, points[k])
    return F


def traced(f):
    return nt.function(f, max_tapes=1000)


SEEDS = st.integers(0, 10**9)


@settings(max_examples=60)
@given(SEEDS, st.integers(1, 9), SEEDS)
def test_programs(seed, length, inputs):
    rng = random.Random(inputs)
    text = branching.source(seed, length)
    F = check(text, drawn_inputs(rng, 4), rng, traced)
    assert F.counters.recordings <= 2 * 6


@settings(max_examples=15)
@given(SEEDS, SEEDS)
def test_many_flips(seed, inputs):
    """Once all ways are known nothing is recorded any more."""
    rng = random.Random(inputs)
    points = drawn_inputs(rng, 3)
    F = check(branching.source(seed, 5), points, rng, traced, count=40)
    made = F.counters.recordings
    both = nt.value_and_grad(F, ARGUMENTS)
    for _ in range(10):
        point = rng.choice(points)
        both(*copied(point)), F(*copied(point))
    known = F.counters.recordings
    for point in points:
        both(*copied(point)), F(*copied(point))
    assert F.counters.recordings == known and known <= made + len(points)


@settings(max_examples=15)
@given(SEEDS, st.integers(1, 6), SEEDS)
def test_second_order(seed, length, inputs):
    rng = random.Random(inputs)
    truth = Truth(branching.source(seed, length))
    F = traced(truth.plain)
    points = drawn_inputs(rng, 3)
    for a, b, x in [*points, *points[::-1]]:
        direction = (0.5, -1.0, np.array([1.0, 0.5, -0.25, 2.0]))
        found, expected = (nt.hvp(f, (a, b, x.copy()), direction) for f in (F, truth.fresh))
        assert bits(found, expected)

        def along(f, a=a, b=b, x=x):
            def slopes(a):
                first, second, third = nt.grad(f, ARGUMENTS)(a, b, x.copy())
                return first + 0.5 * second + third[1]

            return nt.grad(slopes)(a)

        assert along(F) == along(truth.fresh)


@settings(max_examples=15)
@given(SEEDS, st.integers(1, 6), SEEDS)
def test_a_traced_gradient(seed, length, inputs):
    """nt.function of a transform, and a traced function that calls one."""
    rng = random.Random(inputs)
    truth = Truth(branching.source(seed, length))
    G = traced(nt.value_and_grad(truth.plain, ARGUMENTS))
    inner = traced(truth.plain)
    H = traced(lambda a, b, x: inner(a, b, x) * 2.0 if a > b else inner(b, a, x))
    points = drawn_inputs(rng, 3)
    for point in [*points, *points[::-1]]:
        value, gradient = truth.value_and_gradient(point)
        found, slopes = G(*copied(point))
        assert found == value
        assert close(slopes, gradient, 1e-12)
        a, b, x = point
        expected = 2.0 * truth.value(point) if a > b else truth.value((b, a, x))
        assert close(H(*copied(point)), expected, 1e-12)


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 6), SEEDS)
def test_what_is_captured_changes(seed, length, inputs):
    """Numbers, lists and arrays outside change between the calls, at the same points."""
    rng = random.Random(inputs)
    truth = Truth(branching.source(seed, length, captures=True))
    plain, fresh = truth.plain.__globals__, truth.fresh.__globals__
    F = traced(truth.plain)
    both = nt.value_and_grad(F, ARGUMENTS)
    points = drawn_inputs(rng, 2)
    for _ in range(20):
        point, k, j = rng.choice(points), round(rng.uniform(-1, 1), 1), rng.randrange(4)
        change = rng.choice(["K", "W", "LIST", "replace", "nothing", "nothing"])
        for names in (plain, fresh):
            if change == "K":
                names["K"] = k
            elif change == "W":
                names["W"][j] = k
            elif change == "LIST":
                names["LIST"][j % 2] = k
            elif change == "replace":
                names["W"] = names["W"][::-1].copy()
        value, gradient = truth.value_and_gradient(point)
        assert value == truth.value(point)
        assert bits(F(*copied(point)), value)
        assert bits(both(*copied(point)), (value, gradient))


@settings(max_examples=10)
@given(SEEDS, SEEDS)
def test_tapes_are_in_order(seed, inputs):
    rng = random.Random(inputs)
    F = check(branching.source(seed, 6), drawn_inputs(rng, 4), rng, traced)
    assert F.tapes
    for tape in F.tapes:
        nt.verify(tape)
    assert str(F.explain())


# --- the programs themselves ----------------------------------------------------------------------


def test_programs_branch():
    """Else nothing would flip: most programs go several ways, and gradients are alive."""
    several = alive = 0
    for seed in range(30):
        truth = Truth(branching.source(seed, 6))
        points = drawn_inputs(random.Random(seed), 6)
        several += len({_way(truth.plain, p) for p in points}) > 2
        alive += any(np.any(g) for g in truth.value_and_gradient(points[0])[1])
    assert several > 20 and alive > 25


def _way(f, point):
    """The lines that a plain call runs, in order."""
    import sys

    lines = []

    def trace(frame, event, arg):
        if frame.f_code is f.__code__:
            lines.append(frame.f_lineno)
            return trace
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        f(*copied(point))
    finally:
        sys.settrace(before)
    return tuple(lines)


def test_all_kinds_are_drawn():
    text = "\n".join(branching.source(seed, 8) for seed in range(60))
    for part in (
        " and ", " or ", "not (", " in (", " not in (", "sorted(", "key=", "max(", "min(",
        "np.argmin(",
        "while ", "range(", "break", "continue", "elif ", "any(", "all(", ".any()", "np.where(",
        " == ",
        "[x > ", "[y > ", "np.sort(", "np.argsort(", "int(", "round(", "math.floor(", "return ",
    ):  # fmt: skip
        assert part in text, part


# --- the checks themselves ------------------------------------------------------------------------


class Unguarded:
    """A traced function whose guards are ignored: the first recording is swept for all inputs."""

    def __init__(self, f):
        self.f, self.work = f, None

    def __call__(self, *args):
        if any(isinstance(a, (nt.Var, nt.Array)) for a in args):
            return branching.compiled(_text_of(self.f))(*args)
        if self.work is None:
            leaves = [nt.var(a) for a in args]
            f = branching.compiled(_text_of(self.f))
            with nt.Tape() as tape:
                f(*[leaf * 1.0 for leaf in leaves]) + 0.0  # all leaves are inputs, in this order
            sealed = passes.seal(tape)
            self.work = run.Workspace(sealed), sealed.slots - 1
        work, root = self.work
        work.set_inputs(np.concatenate([np.ravel(a) for a in args]))
        return work.value(root)


def _text_of(f):
    import linecache

    return "".join(linecache.getlines(f.__code__.co_filename))


def _caught(make, seeds=range(25)):
    """In how many programs the check complains."""
    caught = 0
    for seed in seeds:
        rng = random.Random(seed)
        try:
            check(branching.source(seed, 6), drawn_inputs(rng, 4), rng, make)
        except (AssertionError, nt.ShapeError, nt.GradientLostError):
            caught += 1
    return caught


def test_ignored_guards_are_caught():
    assert _caught(Unguarded) > 12


def test_nothing_is_caught_without_an_error():
    assert _caught(traced) == 0


@pytest.mark.parametrize("flipped", range(3))
def test_a_wrong_branch_is_caught(flipped):
    """A traced function that is the program with one condition turned round."""

    def wrong(f):
        text = _text_of(f)
        lines = text.splitlines(True)
        ifs = [i for i, line in enumerate(lines) if line.lstrip().startswith("if ")]
        if len(ifs) > flipped:
            line = lines[ifs[flipped]]
            lines[ifs[flipped]] = line.replace("if ", "if not (", 1).replace(":\n", "):\n")
        return traced(branching.compiled("".join(lines)))

    assert _caught(wrong) > 8
