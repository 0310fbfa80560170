"""Random programs through every pass and every level: the same numbers as the recorded tape.

Tapes come from traced functions, so that they have guards, calls and loops.  Code is swept for
values, gradients, tangents and Hessian products, at points where guards flip as well: there it must
stop at the guard where the recorded tape stops.  What a pass promises is asked of it: values to the
last bit unless it adds up products in another order, gradients to the last bit at level 1.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
import pass_programs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replays import bits, close, copied

import ndtape as nt
from ndtape.errors import ChangedShapeError
from ndtape.ops import CODES, WIDE_CODES
from ndtape.passes import Goal, OptimisedTape, code_of, pipeline
from ndtape.passes.code import Code
from ndtape.run import Flip, Workspace
from ndtape.traced.program import input_values
from ndtape.trees import flatten
from ndtape.verify import verify_code

NAMES = [one.name for one in pipeline.PASSES]
LEVELS = (1, 2, 3)
REORDERING = {"matrices", "affine"}  # add up products in another order
ARGUMENTS = (0, 1, 2, 3)
ODD = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e308, -1e308, 1e-308, 5e-324, np.inf, -np.inf, np.nan]
PRIVATE = [CODES["guard", "vk"], WIDE_CODES["call"]]  # whose slots nobody reads, or some of them


# --- tapes, and what sweeps say of them -----------------------------------------------------------


class Case(NamedTuple):
    """The recorded code of a trace, with some slots as results, the first of them the root."""

    code: Code
    vectors: list  # of inputs; the first goes all the way
    odd: np.ndarray  # inputs of zeros, infinities, nan


def cases(seed, length=6, kinds=pass_programs.EVERYTHING):
    """The traces of a random program, recorded by calls at several points."""
    f = nt.function(pass_programs.compiled(pass_programs.source(seed, length, kinds)))
    rng, vectors, found = np.random.default_rng(seed), [], {}
    for point in pass_programs.points(seed, 3):
        bound = f.bind(copied(point), {}, ARGUMENTS)
        f(*copied(point))
        program, bound = f.found(bound)
        vectors.append(input_values(bound.leaves, bound.count))
        found.setdefault(program.last, vectors[-1])
    for trace, own in found.items():
        code = code_of(trace.tape, trace.leading[0], np.zeros(0, np.int64))
        root, writers = trace.output.parts[0].start, code.columns["op"][code.writers()]
        others = np.flatnonzero(~np.isin(writers, PRIVATE))
        others = rng.choice(others, rng.choice([0, 0, 2]))
        code = code._replace(results=np.array([root, *others], np.int64))
        alike = [v for v in vectors if len(v) == len(own) and v is not own]
        yield Case(code, [own, *alike], rng.choice(ODD, len(own)))


class Swept(NamedTuple):
    """What sweeps found for a vector of inputs: numbers, or the guard that stopped them."""

    values: np.ndarray
    gradient: np.ndarray
    tangent: np.ndarray
    second: np.ndarray
    stopped: int = -1


NOTHING, OUTSIDE = np.zeros(0), -2


def swept(code, vector, derivatives=True):
    work, count = Workspace(OptimisedTape(code)), len(vector)
    try:
        work.set_inputs(vector)
        work.forward()
    except (Flip, ChangedShapeError) as stop:
        return Swept(*[NOTHING] * 4, int(code.positions[stop.index]))
    except nt.ShapeError:  # an index that is nan
        return Swept(*[NOTHING] * 4, OUTSIDE)
    values = work.array("v")[code.results]
    if not derivatives:
        return Swept(values.copy(), *[NOTHING] * 3)
    root = int(code.results[0])
    gradient = work.reverse({root: 1.0})[:count].copy()
    along = dict(enumerate(np.linspace(-1.0, 1.0, count).tolist()))
    tangent = work.tangent(along)[code.results].copy()
    again, second = (x[:count].copy() for x in work.second(root, along))
    if np.isfinite(vector).all():
        np.testing.assert_allclose(again, gradient, rtol=1e-10, atol=1e-12)
    return Swept(values.copy(), gradient, tangent, second)


def same(found, expected, tolerance, what):
    """Numbers that agree: to the last bit with tolerance 0, but for the sign of nan."""
    if not tolerance:
        equal = (found == expected) & (np.signbit(found) == np.signbit(expected))
        wrong = ~(equal | (np.isnan(found) & np.isnan(expected)))
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            scale = np.max(np.abs(expected), initial=1.0, where=np.isfinite(expected))
            wrong = ~np.isclose(found, expected, tolerance, tolerance * scale, equal_nan=True)
    assert not wrong.any(), f"{what}: {found[wrong][:3]} in the place of {expected[wrong][:3]}"


class Recorded:
    """A case, and what its recorded code computes: each vector is swept once."""

    def __init__(self, case):
        self.case = case
        rounds = (case.code.columns["op"] == WIDE_CODES["round32"]).any()
        self.tolerance = 1e-5 if rounds else 1e-9  # sums in another order, then rounded
        with np.errstate(all="ignore"):  # of custom derivatives, which are Python's
            self.truth = [swept(case.code, vector) for vector in case.vectors]
            self.odd = swept(case.code, case.odd)

    def check(self, code, names, level, reverse=True):
        """Code after some passes, of that level."""
        for vector, truth in zip(self.case.vectors, self.truth, strict=True):
            self.compare(swept(code, vector, reverse), truth, set(names), level)
        if level < 3 and not REORDERING.intersection(names):
            with np.errstate(all="ignore"):
                found = swept(code, self.case.odd, reverse and level == 1)
            self.compare(found, self.odd, set(names), level)

    def compare(self, found, truth, names, level):
        exact = level < 3 and not names & REORDERING
        assert found.stopped == truth.stopped, "stops at another guard"
        same(found.values, truth.values, 0.0 if exact else self.tolerance, "values")
        if len(found.gradient):
            bits = 0.0 if level == 1 else 10 * self.tolerance
            same(found.gradient, truth.gradient, bits, "gradient")
            same(found.tangent, truth.tangent, bits, "tangents")
            same(found.second, truth.second, 10 * bits, "second derivatives")


def stepwise(code, goal, names=NAMES):
    """The code after each of the passes named, as long as they find something, verified."""
    shared = False
    for one in pipeline.PASSES:
        if one.name in names and one.level <= goal.level:
            better = one.run(code, goal)
            shared |= one.name == "slots"
            if better is not None:
                verify_code(better, once=not shared)
                assert (better.inputs, len(better.results)) == (code.inputs, len(code.results))
                code = better
                yield one.name, code


def check_levels(recorded):
    for level in LEVELS:
        for reverse in (True, False):
            steps = list(stepwise(recorded.case.code, Goal(level, reverse)))
            if steps:
                recorded.check(steps[-1][1], [name for name, _ in steps], level, reverse)


def check_single(recorded, name):
    """A pass by itself, at its level and above."""
    (one,) = (p for p in pipeline.PASSES if p.name == name)
    for level in {one.level, 3}:
        for reverse in (True, False):
            for _, code in stepwise(recorded.case.code, Goal(level, reverse), {name}):
                recorded.check(code, {name}, level, reverse)


# --- every pass, every level ----------------------------------------------------------------------

SEEDS, LENGTHS = st.integers(0, 10**6), st.integers(1, 9)


@settings(max_examples=8)
@given(SEEDS, LENGTHS)
def test_passes_and_levels(seed, length):
    for case in cases(seed, length):
        recorded = Recorded(case)
        check_levels(recorded)
        for name in NAMES:
            check_single(recorded, name)


@pytest.mark.parametrize("kind", [k for k in pass_programs.KINDS if k != "branches"])
def test_programs_of_one_kind(kind):
    """Many statements of one kind, straight on: what a pass looks for, close together."""
    for case in cases(len(kind), 8, (kind,)):
        recorded = Recorded(case)
        check_levels(recorded)
        for name in NAMES:
            check_single(recorded, name)


def test_every_pass_finds_something():
    """Else nothing above would test it."""
    idle = set(NAMES)
    for seed in range(30):
        kinds = pass_programs.STRAIGHT if seed % 2 else ("layers", "networks")
        for case in cases(seed, 6, kinds) if idle else ():
            for name in list(idle):
                if list(stepwise(case.code, Goal(2), {name})):
                    idle.discard(name)
    assert not idle


# --- traced functions -----------------------------------------------------------------------------


def transforms(f):
    """By name: functions of a point and a direction, which keep their plans between calls."""
    gradient = nt.value_and_grad(f, ARGUMENTS)
    return {
        "value": lambda at, along: f(*at),
        "gradient": lambda at, along: gradient(*at),
        "jvp": lambda at, along: nt.jvp(f, at, along),
        "hvp": lambda at, along: nt.hvp(f, at, along),
    }


def check_function(seed, length, level, kinds=pass_programs.EVERYTHING):
    """A traced function that is optimised half-way, beside one that replays what was recorded."""
    text, rng = pass_programs.source(seed, length, kinds), random.Random(seed)
    F, recorded = (
        nt.function(pass_programs.compiled(text), max_tapes=1000, optimize=n) for n in (level, 0)
    )
    before, after = pass_programs.points(seed, 3), pass_programs.points(seed + 1, 2)
    along = (0.5, -1.0, np.array([1.0, 0.5, -0.25, 2.0]), np.linspace(-1.0, 1.0, 16).reshape(4, 4))
    tolerance = 0.0 if level == 1 else 1e-4 if "f32" in text else 1e-7
    calls, truths = transforms(F), transforms(recorded)
    for points in (before, before + after):  # the second time from optimised tapes to other ways
        for point in [*points, *points[:1], *rng.choices(points, k=4)]:
            for name in [*rng.sample(sorted(calls), 2), "gradient", "value"]:
                found, expected = (t[name](copied(point), along) for t in (calls, truths))
                assert agree(found, expected, tolerance), (name, point, found, expected)
        if points is before:
            assert str(F.optimize(level))
    assert F.counters.recordings == recorded.counters.recordings


def agree(found, expected, tolerance):
    if not tolerance:
        return bits(found, expected)
    scale = max(np.max(np.abs(x), initial=1.0) for x in flatten(expected)[0])
    found, expected = ([np.asarray(x) / scale for x in flatten(y)[0]] for y in (found, expected))
    return close(found, expected, tolerance)


@settings(max_examples=8)
@given(SEEDS, LENGTHS, st.sampled_from(LEVELS))
def test_functions(seed, length, level):
    check_function(seed, length, level)


# --- the checks themselves ------------------------------------------------------------------------


def alive(code):
    """Scalar instructions with two operands in slots that the root depends on."""
    tape = OptimisedTape(code)
    mark = Workspace(tape).reach(code.results[:1])
    columns = code.columns
    two = np.isin(columns["op"], [CODES[name, "vv"] for name in ("add", "subtract", "multiply")])
    return [i for i in np.flatnonzero(two).tolist() if mark[columns["out"][i]] & 1]


def planted(code, error, i):
    """The code with an error in instruction i."""
    columns = {name: column.copy() for name, column in code.columns.items()}
    if error == "sign":
        turned = {"add": "subtract", "subtract": "add", "multiply": "divide"}
        name = next(n for (n, form), c in CODES.items() if c == columns["op"][i] and form == "vv")
        columns["op"][i] = CODES[turned[name], "vv"]
    elif error == "slot":
        columns["a"][i] = columns["a"][i] - 1 if columns["a"][i] else 1
    elif error == "dropped":  # its first operand in its place
        columns["op"][i], columns["b"][i] = CODES["copy", "v"], 0
    elif error == "order":
        columns["op"][i] = CODES["subtract", "vv"]
        columns["a"][i], columns["b"][i] = columns["b"][i], columns["a"][i]
    return code._replace(columns=columns)


@pytest.mark.parametrize("error", ["sign", "slot", "dropped", "order"])
@pytest.mark.parametrize("level", [1, 3])
def test_planted_errors_are_caught(monkeypatch, level, error):
    """A pass that does nothing but one thing wrong."""
    caught = tried = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)

        def wrong(code, goal, rng=rng):
            places = alive(code)
            return planted(code, error, int(rng.choice(places))) if places else None

        bad = pipeline.Pass("slots", 1, wrong, "")
        monkeypatch.setattr(pipeline, "PASSES", (bad,))
        for case in cases(seed, 5, ("terms", "identities", "repeats", "arrays")):
            recorded = Recorded(case)
            for name, code in stepwise(case.code, Goal(level), {"slots"}):
                tried += 1
                try:
                    recorded.check(code, {name}, level)
                except AssertionError:
                    caught += 1
    assert tried > 10 and caught > 0.9 * tried, (caught, tried)
