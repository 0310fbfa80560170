"""Random array programs against jets in NumPy's object arrays: first and second order.

The same text runs on recording arrays, on plain arrays and on jets: reductions, products, joins,
sorting, scans, broadcasting and elementwise functions, in chains where results are used repeatedly.
"""

import random

import jets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import Cell, apart_from_kinks, cast, close, each, flat, weighed

import ndtape as nt
from ndtape import passes, run
from ndtape.ops import FIRST_WIDE, WIDE_CODES
from ndtape.record import adjoint

SHAPES = [(2, 3), (3,), (2, 1), ()]
KINK = 0.1371

# --- operations ----------------------------------------------------------------------------------

ELEMENTWISE = [
    lambda x, y: 0.5 * (x + y), lambda x, y: x * y * 0.75, lambda x, y: x - y * 0.5,
    lambda x, y: x / (1.5 + y * y), lambda x, y: np.where(x > KINK, x, y * 0.5),
    lambda x, y: np.maximum(x, y), lambda x, y: np.minimum(x, 0.7 * y),
    lambda x, y: np.hypot(x, y + 2.5), lambda x, y: np.sqrt(1.0 + x * x) - y,
    lambda x, y: np.exp(-x * x) + y, lambda x, y: np.log1p(x * x) * y,
    lambda x, y: 1.0 / (2.0 + y * y) - x, lambda x, y: np.abs(x) + y * y,
    lambda x, y: np.arctan(x) * np.cos(y), lambda x, y: np.tanh(x + y) ** 3,
    lambda x, y: np.sin(x) + np.multiply(y, 0.25), lambda x, y: x * 0.5 + y**2 * 0.25,
]  # fmt: skip
REDUCTIONS = [
    lambda x, axis, keep: np.sum(x, axis=axis, keepdims=keep),
    lambda x, axis, keep: np.mean(x, axis=axis, keepdims=keep),
    lambda x, axis, keep: np.prod(np.tanh(x) + 1.5, axis=axis, keepdims=keep) * 0.25,
    lambda x, axis, keep: np.max(x, axis=axis, keepdims=keep),
    lambda x, axis, keep: np.min(x, axis=axis, keepdims=keep),
    lambda x, axis, keep: np.sqrt(np.sum(x * x, axis=axis, keepdims=keep) + 0.5),
    lambda x, axis, keep: np.log(np.sum(np.exp(x), axis=axis, keepdims=keep)),
]
SCANS = [
    lambda x, axis: np.cumsum(x, axis=axis) * 0.5,
    lambda x, axis: np.cumprod(np.cos(x), axis=axis),
    lambda x, axis: np.sort(x, axis=axis),
    lambda x, axis: np.flip(x, axis),
    lambda x, axis: np.roll(x, 1, axis=axis),
    lambda x, axis: np.repeat(x, 2, axis=axis),
    lambda x, axis: np.diff(x, axis=axis),
    lambda x, axis: np.concatenate([x, x * x], axis=axis),
    lambda x, axis: np.stack([x, -x], axis=axis),
    lambda x, axis: np.take(x, [0, 0, -1], axis=axis),
    lambda x, axis: np.swapaxes(x, axis, -1),
    lambda x, axis: np.take_along_axis(x, np.argsort(x, axis=axis), axis=axis),
]
PRODUCTS = [
    lambda x, y: np.outer(x, y) * 0.3,
    lambda x, y: np.tanh(np.tensordot(x, y, axes=0)),
    lambda x, y: np.tanh(np.inner(x, y)) if _fit(x, y) else np.outer(x, y),
    lambda x, y: np.tanh(x @ y.T) if _fit(x, y) and y.ndim < 3 else np.outer(y, x),
    lambda x, y: np.einsum("...i,...i->...", x, x) * 0.25,
    lambda x, y: np.tanh(np.dot(x, y.T)) if _fit(x, y) and y.ndim < 3 else x * 0.5,
]  # fmt: skip
VIEWS = [
    lambda x: x.T, lambda x: x[::-1], lambda x: x[..., ::2], lambda x: x.reshape(-1),
    lambda x: x[None], lambda x: x[..., None], lambda x: x[0], lambda x: x[-1:],
    lambda x: np.broadcast_to(x, (2, *x.shape)), lambda x: np.tile(x, 2), lambda x: np.ravel(x)[1:],
    lambda x: np.where(x < KINK, x, 0.0), lambda x: np.pad(x, 1), lambda x: np.clip(x, -0.6, 0.6),
    lambda x: np.expand_dims(x, 1), lambda x: np.triu(np.outer(x, x)), lambda x: -x,
]  # fmt: skip


def _fit(x, y):
    return x.shape[-1] == y.shape[-1]


def stepped(cells, kind, a, b, seed):
    """One more array, or None where the draw does not fit."""
    rng = random.Random(seed)
    arrays = [c for c in cells if c.plain.ndim and c.plain.size]
    x, y = arrays[a % len(arrays)], arrays[b % len(arrays)]
    axis = rng.choice([*range(-x.plain.ndim, x.plain.ndim)])
    if kind < 5:
        x = cells[a % len(cells)]
        fit = [c for c in cells if _broadcasts(c.shape, x.shape)]
        return each(rng.choice(ELEMENTWISE), x, fit[b % len(fit)])
    if kind < 7:
        f, keep = rng.choice(REDUCTIONS), rng.random() < 0.3
        chosen = rng.choice([axis, axis, None, tuple(range(x.plain.ndim))])
        return each(lambda x: f(x, chosen, keep), x)
    if kind < 9:
        f = rng.choice(SCANS)
        return each(lambda x: f(x, axis), x)
    if kind < 10:
        return each(rng.choice(PRODUCTS), x, y)
    return each(rng.choice(VIEWS), x)


def _broadcasts(a, b):
    try:
        return len(np.broadcast_shapes(a, b)) <= 3
    except ValueError:
        return False


class Program:
    """Steps of (kind, operand, operand, seed of everything else)."""

    def __init__(self, steps):
        self.steps = steps

    def __repr__(self):
        return f"Program({self.steps})"

    def run(self, plains, jet_inputs, tapes):
        """All arrays, in the worlds that have inputs."""
        none = [None] * len(plains)
        cells = [
            Cell(np.array(p), j, t)
            for p, j, t in zip(plains, jet_inputs or none, tapes or none, strict=True)
        ]
        for kind, a, b, seed in self.steps:
            made = stepped(cells, kind, a, b, seed)
            if np.size(made.plain) <= 24 and np.ndim(made.plain) <= 3:
                made.plain = np.asarray(made.plain)
                if not (np.abs(made.plain) < 1e3).all():
                    raise jets.AtKink("numbers grow too large")
                if made.jet is not None:  # fills and constants among jets become jets
                    made.jet = cast(made.jet, made.plain.dtype, jet_inputs[0].flat[0])[()]
                cells.append(made)
        return cells


FLOATS = st.floats(-1.5, 1.5).map(lambda x: round(x, 3))
INPUTS = st.tuples(*[st.lists(FLOATS, min_size=n, max_size=n) for n in (6, 3, 2, 1)])
STEP = st.tuples(st.integers(0, 11), st.integers(0, 20), st.integers(0, 20),
                 st.integers(0, 10**6))  # fmt: skip
PROGRAM = st.lists(STEP, min_size=1, max_size=12).map(Program)


def shaped(inputs, dtype=np.float64):
    return [np.array(x, dtype).reshape(s) for x, s in zip(inputs, SHAPES, strict=True)]


def root_of(cells, world):
    total = weighed([getattr(c, world) for c in cells])
    return total.item() if isinstance(total, np.ndarray) else total


def truth(program, plains, second=False):
    cells = program.run(plains, jets.seeded(plains, second), None)
    return cells, root_of(cells, "jet")


def arguments(plains):
    return [x if np.ndim(x) else float(x) for x in plains]


# --- checks --------------------------------------------------------------------------------------


def check(program, plains, tolerance=1e-12):
    """Eager backward, tape.gradient, tape.tangent, transforms; and the tape is in order."""
    expected, root = truth(program, plains)
    leaves = [nt.var(x) for x in arguments(plains)]
    with nt.Tape() as tape:
        cells = program.run(plains, None, leaves)
        y = root_of(cells, "tape")
    nt.verify(tape)
    for cell, known in zip(cells, expected, strict=True):
        assert np.shape(cell.tape.value) == known.shape
        assert close(cell.tape.value, known.plain, tolerance)
        if known.shape:
            assert isinstance(cell.tape, nt.Array) and cell.tape.dtype == known.plain.dtype
    assert close(y.value, root.value, tolerance)
    assert close(flat(tape.gradient(y, leaves)), root.slopes, tolerance)
    seeds = [np.cos(np.arange(np.size(x))).reshape(np.shape(x)) for x in plains]
    assert close(tape.tangent(y, leaves, seeds), root.slopes @ flat(seeds), 10 * tolerance)
    y.backward()
    found = [0.0 * p if x.grad is None else x.grad for x, p in zip(leaves, plains, strict=True)]
    assert close(flat(found), root.slopes, tolerance)
    value, gradient = nt.value_and_grad(lambda xs: root_of(program.run(plains, None, xs), "tape"))(
        arguments(plains)
    )
    assert close(value, root.value, tolerance)
    assert close(flat(gradient), root.slopes, tolerance)


@settings(max_examples=120)
@given(PROGRAM, INPUTS)
@apart_from_kinks
def test_programs(program, inputs):
    check(program, shaped(inputs))


@settings(max_examples=40)
@given(PROGRAM, INPUTS)
@apart_from_kinks
def test_single_precision(program, inputs):
    check(program, shaped(inputs, np.float32), 1e-5)


def second_order(program, plains):
    """Hessian times vector by hvp, by nested transforms, and by jets."""
    _, root = truth(program, plains, second=True)
    seeds = [np.cos(np.arange(np.size(x))).reshape(np.shape(x)) for x in plains]
    product = root.bends @ flat(seeds)

    def f(*xs):
        return root_of(program.run(plains, None, xs), "tape")

    xs = tuple(arguments(plains))
    argnums = tuple(range(len(xs)))
    assert close(flat(nt.hvp(f, xs, tuple(seeds))[2]), product, 1e-10)

    def along(*xs):
        gradients = nt.grad(f, argnums)(*xs)
        return sum(np.sum(g * d) for g, d in zip(gradients, seeds, strict=True))

    assert close(flat(nt.grad(along, argnums)(*xs)), product, 1e-10)


@settings(max_examples=50)
@given(PROGRAM, INPUTS)
@apart_from_kinks
def test_second_order(program, inputs):
    second_order(program, shaped(inputs))


def swept_again(program, plains, news):
    """The sealed tape at other inputs has the bits of a fresh recording there."""
    for x in (plains, news):
        truth(program, x)
    made = []
    for x in (plains, news):
        leaves = [nt.var(p) for p in arguments(x)]
        with nt.Tape() as tape:
            start = [leaf * 1.0 for leaf in leaves]  # every leaf is an input, in this order
            y = nt.tanh(root_of(program.run(x, None, start), "tape"))
        made.append((tape, y, leaves))
    sealed = passes.seal(made[0][0])
    nt.verify(sealed)
    work = run.Workspace(sealed)
    work.set_inputs(flat(news))
    root = sealed.slots - 1
    tape, y, leaves = made[1]
    assert work.value(root) == y.value
    expected = flat(tape.gradient(y, leaves))
    assert (work.gradient(root)[: len(expected)] == expected).all()


@settings(max_examples=50)
@given(PROGRAM, INPUTS, INPUTS)
@apart_from_kinks
def test_swept_again(program, inputs, others):
    swept_again(program, shaped(inputs), shaped(others))


# --- the checks themselves -----------------------------------------------------------------------


def _mixed(seed, count=10):
    rng = random.Random(seed)
    return Program([
        (rng.randrange(12), rng.randrange(20), rng.randrange(20), rng.randrange(10**6))
        for _ in range(count)
    ])  # fmt: skip


def _numbers(seed):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(-1.5, 1.5, s)) for s in SHAPES]


def _caught(check_):
    """Whether some of a few programs complain."""
    for seed in range(60):
        try:
            check_(_mixed(seed), _numbers(seed))
        except jets.AtKink:
            continue
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize("name", ["sum", "max", "dot", "cumsum", "collect"])
def test_a_sign_error_in_a_rule_is_caught(name, monkeypatch):
    """The recorded rules are what nested derivatives are made of."""
    right = adjoint.WIDE_RULES[name]

    def wrong(tape, instruction, w, adjoints, needed):
        right(tape, instruction, 0.0 - w, adjoints, needed)

    monkeypatch.setitem(adjoint.WIDE_RULES, name, wrong)
    assert _caught(second_order)


@pytest.mark.parametrize("name", ["multiply", "tanh", "divide", "where"])
def test_a_sign_error_in_a_row_is_caught(name, monkeypatch):
    right = adjoint.contributions

    def wrong(row):
        found = list(right(row))
        if row == name:
            j = next(j for j, f in enumerate(found) if f is not None)
            rule = found[j]
            found[j] = lambda *args: 0.0 - rule(*args)
        return tuple(found)

    monkeypatch.setattr(adjoint, "contributions", wrong)
    assert _caught(second_order)


@pytest.mark.parametrize("pair", [("subtract", "add"), ("tanh", "sin"), ("exp", "negative")])
def test_a_wrong_kernel_is_caught(pair):
    """The reverse kernel of one operation in the place of another's, with as many operands."""
    codes = [WIDE_CODES[name] for name in pair]
    run.load_kernels("reverse", codes)
    table = run._tables["reverse"]
    one, other = (code - FIRST_WIDE for code in codes)
    before = table[one]
    table[one] = table[other]
    try:
        assert _caught(check)
    finally:
        table[one] = before


def test_nothing_is_caught_without_an_error():
    assert not _caught(check)
    assert not _caught(second_order)
