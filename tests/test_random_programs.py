"""Random straight-line programs against dual numbers that know nothing of ndtape.

Every operation maps numbers of modest size to such numbers and has slopes of at most 1, so that
programs a thousand operations deep neither overflow nor amplify a rounding difference, while sums,
maxima and sign changes keep gradients alive down to the inputs.
"""

import math
import operator
import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import ndtape as nt
from ndtape import passes
from ndtape.run import Workspace

# --- the independent evaluator -------------------------------------------------------------------


class AtKink(Exception):
    """Rounding decides which side of a kink is taken: nothing to compare."""


class Dual:
    """A value and its derivatives with respect to all inputs, in plain Python floats."""

    def __init__(self, value, slopes):
        self.value, self.slopes = value, slopes

    def chain(self, value, slope):
        return Dual(value, [slope * s for s in self.slopes])

    def __add__(self, other):
        if not isinstance(other, Dual):
            return self.chain(self.value + other, 1.0)
        pairs = zip(self.slopes, other.slopes, strict=True)
        return Dual(self.value + other.value, [a + b for a, b in pairs])

    __radd__ = __add__

    def __neg__(self):
        return self.chain(-self.value, -1.0)

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __mul__(self, other):
        if not isinstance(other, Dual):
            return self.chain(self.value * other, other)
        pairs = zip(self.slopes, other.slopes, strict=True)
        slopes = [a * other.value + b * self.value for a, b in pairs]
        return Dual(self.value * other.value, slopes)

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self * (other**-1.0 if isinstance(other, Dual) else 1.0 / other)

    def __rtruediv__(self, other):
        return self**-1.0 * other

    def __pow__(self, power):
        return self.chain(self.value**power, power * self.value ** (power - 1))

    def __abs__(self):
        if abs(self.value) < NEAR:
            raise AtKink
        return self if self.value > 0 else -self

    def __lt__(self, other):
        if abs(self.value - other.value) < NEAR and self.slopes != other.slopes:
            raise AtKink
        return self.value < other.value


NEAR = 1e-9


class DualFunctions:
    """The functions that programs call, by name, for `Dual`."""

    def sin(x):
        return x.chain(math.sin(x.value), math.cos(x.value))

    def cos(x):
        return x.chain(math.cos(x.value), -math.sin(x.value))

    def tanh(x):
        return x.chain(math.tanh(x.value), 1 / math.cosh(x.value) ** 2)

    def exp(x):
        return x.chain(math.exp(x.value), math.exp(x.value))

    def log1p(x):
        return x.chain(math.log1p(x.value), 1 / (1 + x.value))

    def sqrt(x):
        return x.chain(math.sqrt(x.value), 0.5 / math.sqrt(x.value))

    def arctan2(x, y):
        r = x.value**2 + y.value**2
        pairs = zip(x.slopes, y.slopes, strict=True)
        slopes = [(a * y.value - b * x.value) / r for a, b in pairs]
        return Dual(math.atan2(x.value, y.value), slopes)

    def erf(x):
        slope = 2 / math.sqrt(math.pi) * math.exp(-x.value * x.value)
        return x.chain(math.erf(x.value), slope)

    def sigmoid(x):
        z = 1 / (1 + math.exp(-x.value))
        return x.chain(z, z * (1 - z))

    def relu(x):
        if abs(x.value) < NEAR:
            raise AtKink
        return x.chain(max(x.value, 0.0), float(x.value > 0))

    def maximum(x, y):
        return y if x < y else x

    def minimum(x, y):
        return x if x < y else y

    def where(test, x, y):
        return x if test else y


# --- programs ------------------------------------------------------------------------------------

OPERATIONS: list[Callable] = [
    lambda m, x, y: 0.5 * (x + y),
    lambda m, x, y: (x - y) / 2.0,
    lambda m, x, y: 0.3 * m.sin(x * y),
    lambda m, x, y: m.maximum(x, y),
    lambda m, x, y: m.minimum(x, y),
    lambda m, x, y: m.where(x < y, x, y),
    lambda m, x, y: abs(x) - 0.5,
    lambda m, x, y: -x,
    lambda m, x, y: 0.25 - x * 0.9,
    lambda m, x, y: m.tanh(x) * 0.5 + m.cos(y) * 0.5,
    lambda m, x, y: m.exp(-x * x) * 0.5,
    lambda m, x, y: m.log1p(x * x) * 0.7,
    lambda m, x, y: m.sqrt(1.0 + x * x) - 1.0,
    lambda m, x, y: x / (2.0 + y * y),
    lambda m, x, y: m.arctan2(x, y * y + 1.5) * 0.5,
    lambda m, x, y: m.erf(x) * 0.8,
    lambda m, x, y: m.sigmoid(x) + m.relu(y) * 0.1,
    lambda m, x, y: (x**3 + y**2) / 40.0,
    lambda m, x, y: 1.0 / (x * x + 1.5),
]
COUNT = 3  # inputs


class Program(NamedTuple):
    """Steps of (operation, operand, operand), operands counted back from the newest value."""

    steps: list[tuple[int, int, int]]

    def run(self, m, inputs, flip=False):
        """All values; `flip` swaps operands whose order does not matter, as x + y and y + x."""
        values = list(inputs)
        for op, a, b in self.steps:
            x, y = values[-1 - a % len(values)], values[-1 - b % len(values)]
            if flip and op in (0, 3, 4):
                x, y = y, x
            values.append(OPERATIONS[op](m, x, y))
        return values


INPUTS = st.lists(st.floats(-1.5, 1.5), min_size=COUNT, max_size=COUNT)
STEP = st.tuples(st.integers(0, len(OPERATIONS) - 1), st.integers(0, 9), st.integers(0, 9))
SHORT = st.lists(STEP, min_size=1, max_size=40).map(Program)


def deep(seed, depth):
    """A long program; mostly operations of slope 1 on recent values, so that gradients live."""
    rng = random.Random(seed)
    return Program(
        [
            (rng.choice(KEEPING), rng.randrange(2), 0)
            if rng.random() < 0.98
            else (rng.randrange(len(OPERATIONS)), rng.randrange(3), rng.randrange(10))
            for _ in range(depth)
        ]
    )


KEEPING = [6, 7]


def expected(program, inputs):
    """Value and slopes by dual numbers; leaves out programs that stand on a kink."""
    try:
        return evaluated(program, inputs)
    except AtKink:
        reject()


def evaluated(program, inputs):
    units = [[float(i == j) for j in range(COUNT)] for i in range(COUNT)]
    return program.run(DualFunctions, [Dual(x, u) for x, u in zip(inputs, units, strict=True)])[-1]


def check(program, inputs):
    """Value and gradient by every way there is, and the tape itself."""
    truth = expected(program, inputs)
    leaves = [nt.var(x) for x in inputs]
    with nt.Tape() as tape:
        y = program.run(nt, leaves)[-1]
    tolerance = 1e-12 * (1 + len(program.steps))
    assert y.value == pytest.approx(truth.value, rel=0, abs=tolerance)
    gradient = tape.gradient(y, leaves)
    assert gradient == pytest.approx(truth.slopes, rel=0, abs=tolerance)
    nt.verify(tape)
    _check_modes(tape, y, leaves, gradient)
    y.backward()
    assert [x.grad or 0.0 for x in leaves] == gradient
    value, again = nt.value_and_grad(lambda p: program.run(nt, p)[-1])(inputs)
    assert (value, again) == (y.value, gradient)


def _check_modes(tape, y, leaves, gradient):
    """Sealed, 16 lanes, tangents and forward-over-reverse: on the same program."""
    if len(tape) == COUNT or not any(slot == y.slot for slot in range(len(tape))):
        return
    sealed = passes.seal(tape)
    nt.verify(sealed)
    assert passes.seal(sealed) == sealed
    order = {id(leaf): i for i, (_, leaf) in enumerate(tape.inputs)}
    inputs = np.array([leaf.value for _, leaf in tape.inputs])
    root = len(sealed) - 1
    if tape.instruction(y.slot).out != len(tape) - 1:
        return
    for lanes in (1, 16):
        work = Workspace(sealed, lanes)
        work.set_inputs(inputs if lanes == 1 else np.tile(inputs[:, None], lanes))
        g = work.reverse({root: 1.0}).reshape(-1, lanes)[: len(inputs)].copy()
        found = [g[order[id(x)], -1] if id(x) in order else 0.0 for x in leaves]
        # To the last bits only: which term an adjoint gets first depends on its neighbours (the
        # carry of the reverse sweep), and they change when inputs move to the front.
        assert found == pytest.approx(gradient, rel=1e-12, abs=1e-12)
        seeds = np.linspace(-1.0, 1.0, len(inputs))
        t = work.tangent(dict(enumerate(seeds))).reshape(-1, lanes)[root, -1]
        assert t == pytest.approx(float(seeds @ g[:, -1]), rel=1e-9, abs=1e-12)
        g2, _ = work.second(root, dict(enumerate(seeds)))
        assert np.allclose(g2.reshape(-1, lanes)[: len(inputs)], g, rtol=1e-12, atol=1e-12)


@settings(max_examples=150)
@given(SHORT, INPUTS)
def test_short_programs(program, inputs):
    check(program, inputs)


@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.integers(0, 10**9), st.sampled_from([100, 300, 1000]), INPUTS)
def test_deep_programs(seed, depth, inputs):
    check(deep(seed, depth), inputs)


def test_gradients_live_to_depth_1000():
    """Else the deep programs would compare zeros."""
    alive = 0
    for seed in range(30):
        rng = random.Random(seed)
        try:
            truth = evaluated(deep(seed, 1000), [rng.uniform(-1.5, 1.5) for _ in range(COUNT)])
        except AtKink:
            continue
        alive += max(map(abs, truth.slopes)) > 1e-9
    assert alive >= 5


@settings(max_examples=60)
@given(SHORT, INPUTS)
def test_operand_order_does_not_matter(program, inputs):
    """x + y and y + x are other instructions, and the same numbers."""
    one, other = (
        nt.value_and_grad(lambda p, f=f: program.run(nt, p, f)[-1]) for f in (False, True)
    )
    (value, gradient), (value2, gradient2) = one(inputs), other(inputs)
    assert value == value2
    assert gradient == pytest.approx(gradient2, rel=1e-12, abs=1e-14)


@settings(max_examples=60)
@given(SHORT, INPUTS)
def test_second_order(program, inputs):
    """Hessian times vector: symmetric, and equal to the nested transform."""
    expected(program, inputs)  # leaves out programs at kinks

    def f(*p):
        return program.run(nt, list(p))[-1]

    rng = random.Random(1)
    u, v = ([rng.uniform(-1, 1) for _ in range(COUNT)] for _ in range(2))
    hv, hu = (nt.hvp(f, tuple(inputs), tuple(d))[2] for d in (v, u))
    uhv, vhu = (sum(map(operator.mul, a, b)) for a, b in ((u, hv), (v, hu)))
    assert uhv == pytest.approx(vhu, rel=1e-9, abs=1e-10)

    def along(*p):
        return sum(d * g for d, g in zip(v, nt.grad(f, (0, 1, 2))(*p), strict=True)) + 0.0 * p[0]

    nested = nt.grad(along, (0, 1, 2))(*inputs)
    assert list(nested) == pytest.approx(list(hv), rel=1e-9, abs=1e-10)


@settings(max_examples=60)
@given(SHORT, INPUTS, st.integers(0, 60), st.integers(0, 60))
def test_slices(program, inputs, lo, length):
    """A slice computes what the same instructions of the whole compute."""
    with nt.Tape() as tape:
        values = program.run(nt, [nt.var(x) for x in inputs])
    assert values
    if not len(tape):
        return
    tape.work.forward()
    lo = min(lo, len(tape) - 1)
    part = tape[lo : lo + length + 1]
    nt.verify(part)
    assert tape[:] == tape[0 : len(tape)]
    known = tape.work.array("v")
    hi = min(lo + length + 1, len(tape))
    body = [tape.instruction(i) for i in range(lo, hi)]
    outside = sorted({s for ins in body for s in ins.slots} - {ins.out for ins in body})
    work = Workspace(part)
    v = work.array("v")
    work.forward()
    v[: len(outside)] = known[outside]
    work.forward(len(outside), len(part))
    assert (v[len(outside) : len(part)] == known[lo:hi]).all()


@settings(max_examples=40)
@given(SHORT, INPUTS)
def test_recorded_twice_is_equal(program, inputs):
    def recorded():
        leaves = [nt.var(x) for x in inputs]
        with nt.Tape() as tape:
            program.run(nt, leaves)
        return tape

    one, other = recorded(), recorded()
    assert one == other and not one != other
    with other:
        nt.sin(nt.var(1.0))
    assert one != other
