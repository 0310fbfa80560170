"""Random programs: the same text, recorded eagerly and by compiled code, agrees bit for bit.

Compiling costs a second a program, so most programs are *data*: operations and operands that one
compiled function interprets.  Some are texts of their own, compiled each.
"""

from __future__ import annotations

import random
import re

import compiled_array_programs
import compiled_programs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replays import bits, close
from test_random_programs import COUNT, INPUTS, OPERATIONS, SHORT, Program, deep, evaluated

import ndtape as nt
from ndtape.compiled.scalars import Recording
from ndtape.compiled.types import LINEAR, TAPE
from ndtape.ops import ROWS

TEXT = """
def in_list(steps, p, q, r):
    values = [p, q, r]
    for i in range(len(steps)):
        x = values[-1 - steps[i, 1] % len(values)]
        y = values[-1 - steps[i, 2] % len(values)]
        values.append(applied(steps[i, 0], x, y))
    return values[-1] * 1.0

def in_array(steps, p, q, r):
    values = nt.zeros(3 + len(steps))
    values[0], values[1], values[2] = p, q, r
    for i in range(len(steps)):
        x, y = values[2 + i - steps[i, 1] % (3 + i)], values[2 + i - steps[i, 2] % (3 + i)]
        values[3 + i] = applied(steps[i, 0], x, y)
    return values[-1] * 1.0

def in_sums(steps, p, q, r):
    s, t, u = p, q, r
    for i in range(len(steps)):
        z = applied(steps[i, 0], s, t)
        k = steps[i, 1]
        if k % 4 == 0:
            s += 0.5 * z
        elif k % 4 == 1:
            s, t = t, s
            s -= 0.25 * z
        elif k % 4 == 2:
            u += z
            t = 0.5 * z
        else:
            s, t, u = t, u, z
        if steps[i, 2] == 7:
            u = s = 0.3 * u
    return s + t * 0.5 + u

def applied(op, x, y):
    if op == 0: return 0.5 * (x + y)
    if op == 1: return (x - y) / 2.0
    if op == 2: return 0.3 * nt.sin(x * y)
    if op == 3: return nt.maximum(x, y)
    if op == 4: return nt.minimum(x, y)
    if op == 5: return x if x < y else y
    if op == 6: return abs(x) - 0.5
    if op == 7: return -x
    if op == 8: return 0.25 - x * 0.9
    if op == 9: return nt.tanh(x) * 0.5 + nt.cos(y) * 0.5
    if op == 10: return nt.exp(-x * x) * 0.5
    if op == 11: return nt.log1p(x * x) * 0.7
    if op == 12: return nt.sqrt(1.0 + x * x) - 1.0
    if op == 13: return x / (2.0 + y * y)
    if op == 14: return nt.arctan2(x, y * y + 1.5) * 0.5
    if op == 15: return nt.erf(x) * 0.8
    if op == 16: return nt.sigmoid(x) + nt.relu(y) * 0.1
    if op == 17: return (x**3 + y**2) / 40.0
    return 1.0 / (x * x + 1.5)
"""
SPACE = {"nt": nt}
exec(TEXT, SPACE)
NAMES = ["in_list", "in_array", "in_sums"]
JITTED = {name: nt.jit(SPACE[name], cache=False) for name in NAMES}
ARGNUMS = tuple(range(1, 1 + COUNT))
NUMBERS = np.linspace(-1.0, 1.0, 41).round(2).tolist()
programs = pytest.mark.parametrize("name", NAMES)


def both(name, steps):
    """The interpreter with a program, as Python and as compiled code; functions of the inputs."""
    data = np.array(steps, np.int64).reshape(-1, 3)
    return (lambda *x: SPACE[name](data, *x)), (lambda *x: JITTED[name](data, *x)), data


def check(name, steps, inputs):
    eager, tape, data = both(name, steps)
    expected = nt.value_and_grad(eager, (0, 1, 2))(*inputs)
    assert bits(nt.value_and_grad(JITTED[name], ARGNUMS)(data, *inputs), expected)
    assert bits(nt.value_and_grad(tape, (0, 1, 2))(*inputs), expected)
    assert close(JITTED[name](data, *inputs), expected[0], 1e-9)
    return expected


def test_every_operation_is_interpreted():
    """The texts above compute what the operations of the eager programs do."""
    inputs = [0.3, -0.7, 1.1]
    for op in range(len(OPERATIONS)):
        truth = evaluated(Program([(op, 1, 0)]), inputs)
        value, slopes = check("in_list", [(op, 1, 0)], inputs)
        assert value == pytest.approx(truth.value) and slopes == pytest.approx(truth.slopes)


@programs
@settings(max_examples=250)
@given(steps=SHORT, inputs=INPUTS)
def test_short_programs(name, steps, inputs):
    check(name, steps.steps, inputs)


@programs
@settings(max_examples=20)
@given(seed=st.integers(0, 10**9), depth=st.sampled_from([100, 1000, 20000]), inputs=INPUTS)
def test_deep_programs(name, seed, depth, inputs):
    """Deep ones go on in further chunks of the tape."""
    if depth == 20000:
        data = both(name, deep(seed, depth).steps)[2]
        value, slopes = nt.value_and_grad(JITTED[name], ARGNUMS)(data, *inputs)
        eager = nt.value_and_grad(lambda *x: JITTED[name](data, *x), (0, 1, 2))(*inputs)
        assert bits((value, slopes), eager)
    else:
        check(name, deep(seed, depth).steps, inputs)


@programs
@settings(max_examples=40)
@given(steps=SHORT, inputs=INPUTS, along=INPUTS)
def test_other_derivatives(name, steps, inputs, along):
    """Modes that sweep a tape of instructions find what they find on the eager one."""
    eager, tape, _ = both(name, steps.steps)
    at, along = tuple(inputs), tuple(along)
    for transform in (
        lambda f: nt.jvp(f, at, along),
        lambda f: nt.hvp(f, at, along),
        lambda f: nt.hessian(f, (0, 1, 2))(*at),
        lambda f: nt.grad(lambda *x: nt.grad(f, 1)(*x), 2)(*at),
        lambda f: nt.vjp(f, *at)[1](1.5),
    ):
        assert close(transform(tape), transform(eager), 1e-12)


@settings(max_examples=30)
@given(steps=SHORT, inputs=st.lists(INPUTS, min_size=2, max_size=4))
def test_replayed_programs(steps, inputs):
    """A traced function around compiled code: branches on values are guards."""
    eager, tape, _ = both("in_list", steps.steps)
    traced = nt.function(tape)
    for x in [*inputs, *inputs]:
        expected = nt.value_and_grad(eager, (0, 1, 2))(*x)
        assert close(nt.value_and_grad(traced, (0, 1, 2))(*x), expected, 1e-12)


# --- the tester is tested -------------------------------------------------------------------------


PLANTED = [
    (LINEAR, ROWS["sin"]._replace(dx="cos(x) + 3e-16")),
    (LINEAR, ROWS["sin"]._replace(z="sin(x) + 1e-15")),
    (TAPE, ROWS["tanh"]),
]


@pytest.mark.parametrize(("mode", "row"), PLANTED)
def test_a_planted_error_is_caught(mode, row):
    """A few wrong bits of a partial derivative or of a value, or a wrong instruction."""
    space = {"nt": nt, "wrong": Recording(row, mode)}
    # The two operations of the program below: the others would be compiled for nothing.
    text = re.sub(r"\n    if op == (?!0|2:).*", "", TEXT).replace("nt.sin(", "wrong(")
    exec(text, space)
    f = nt.jit(space["in_list"], cache=False)
    data = np.array([(2, 0, 1), (0, 0, 1)])
    expected = nt.value_and_grad(SPACE["in_list"], ARGNUMS)(data, 0.3, 0.4, 1.1)
    g = f if mode == LINEAR else lambda *args: f(*args)
    assert not bits(nt.value_and_grad(g, ARGNUMS)(data, 0.3, 0.4, 1.1), expected)


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_compiled_texts(seed):
    """Of scalars, lists and elements: to the last bit."""
    text = compiled_programs.source(seed, 10)
    f = compiled_programs.made(text)
    F, rng = nt.jit(f, cache=False), random.Random(seed)
    for _ in range(4):
        at = rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5), np.array(rng.choices(NUMBERS, k=3))
        expected = nt.value_and_grad(f, (0, 1, 2))(*at)
        assert bits(nt.value_and_grad(F, (0, 1, 2))(*at), expected), text
        assert bits(nt.value_and_grad(lambda *a: F(*a), (0, 1, 2))(*at), expected), text


@pytest.mark.parametrize("seed", range(3))
def test_compiled_texts_of_arrays(seed):
    """Of vectors and matrices, whose sums are rounded in another order."""
    text = compiled_array_programs.source(seed, 7)
    f = compiled_array_programs.made(text)
    F, rng = nt.jit(f, cache=False), np.random.default_rng(seed)
    for _ in range(4):
        at = rng.uniform(-1.5, 1.5), rng.uniform(-1, 1, 4), rng.uniform(-1, 1, (3, 4))
        expected = nt.value_and_grad(f, (0, 1, 2))(*at)
        assert close(nt.value_and_grad(F, (0, 1, 2))(*at), expected, 1e-10), text
        assert close(nt.value_and_grad(lambda *a: F(*a), (0, 1, 2))(*at), expected, 1e-10), text
