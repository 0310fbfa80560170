"""Patterns against dense derivatives, and against sets of inputs that Python works out itself."""

import operator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ndtape as nt
from ndtape.ops import ROWS
from ndtape.patterns import detect
from ndtape.patterns.interactions import ON_X, ON_Y, XX, XY, YY, steps_of
from ndtape.patterns.steps import Steps
from ndtape.transforms.sparse import SparseEvaluation

X = np.random.default_rng(5).uniform(0.5, 1.5, 7)
ONES = np.ones(7)
BAND = np.eye(7) + np.eye(7, k=1)
A = np.random.default_rng(6).standard_normal((5, 7))


def dense(pattern):
    matrix = np.zeros(pattern.shape, bool)
    matrix[pattern.rows, pattern.columns] = True
    return matrix


# --- what rows say -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("add", ((0, 1, ON_X | ON_Y),)),
        ("multiply", ((0, 1, ON_X | ON_Y | XY),)),
        ("divide", ((0, 1, ON_X | ON_Y | XY | YY),)),
        ("sin", ((0, -1, ON_X | XX),)),
        ("maximum", ((0, 1, ON_X | ON_Y),)),
        ("relu", ((0, -1, ON_X),)),
        ("floor", ()),
        ("less", ()),
        ("where", ((1, 2, ON_X | ON_Y),)),
        ("fma", ((0, 1, ON_X | ON_Y | XY), (2, -1, ON_X))),
        ("attach", ((0, 2, ON_X | XY), (1, -1, ON_X))),
        ("polygamma", ((1, -1, ON_X | XX),)),
    ],
)
def test_interactions_follow_from_rows(name, steps):
    assert steps_of(ROWS[name]) == steps


# --- Jacobians -----------------------------------------------------------------------------------

EXACT = {
    "neighbours": lambda x: x[1:] * x[:-1],
    "running sum": lambda x: np.cumsum(x),
    "backwards": lambda x: np.cumsum(x[::-1] ** 2)[::-1],
    "columns of sums": lambda x: np.cumsum(x[:6].reshape(2, 3), axis=1).ravel(),
    "product": lambda x: A @ x,
    "banded matrix": lambda x: BAND @ x,
    "times a constant 0": lambda x: x * np.array([1.0, 0.0, 2.0, 0.0, 1.0, 0.0, 1.0]) + x[0] * 0.0,
    "outer": lambda x: np.outer(x[:3], x[3:5]).ravel(),
    "matrices": lambda x: (x[:4].reshape(2, 2) @ np.array([[1.0, 0.0], [2.0, 3.0]])).ravel(),
    "scalars": lambda x: nt.array([x[0] * x[3], x[1], 2.0]),
    "collected": lambda x: np.concatenate([x[2:4], [1.0], x[:1]]) * np.ones(4),
    "constant places": lambda x: x[[1, 3, 1]] ** 2,
    "reductions": lambda x: np.array([1.0, 2.0]) * np.sum(x[:6].reshape(2, 3), axis=1),
    "steps": lambda x: np.floor(x) + x[0],
    "nowhere": lambda x: np.ones(3),
    "repeated": lambda x: np.concatenate([x[:2], x[:2]]),
    "carried": lambda x: nt.scan(lambda c, a: (c * a, c + a), 1.0, x)[1],
    "independent": lambda x: nt.scan(lambda c, a: (c, np.sin(a)), 0.0, x)[1],
    "captured": lambda x: nt.scan(lambda c, a: (c, a * x[0]), 0.0, x[1:])[1],
    "last carry": lambda x: nt.scan(lambda c, a: (np.stack([c[1], a]), 0.0), x[:2] * 1.0, x[2:])[0],
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_jacobians(name):
    """At these numbers every structural entry is other than zero."""
    pattern = nt.sparsity(EXACT[name])(X)
    expected = np.asarray(nt.jacobian(EXACT[name])(X)).reshape(pattern.shape) != 0
    assert np.array_equal(dense(pattern), expected)
    assert pattern.detection_sweeps == 1


STRUCTURAL = {
    "either branch": (lambda x: np.where(x[:3] > 1.0, x[1:4], x[4:7]), [0, 1, 2], 2),
    "largest": (lambda x: np.max(x[:6].reshape(2, 3), axis=1), [0, 1], 3),
    "ties": (lambda x: np.maximum(x[:3], x[3:6]), [0, 1, 2], 2),
    "sorted": (lambda x: np.sort(x), range(7), 7),
    "a captured number": (lambda x: x * ONES, range(7), 1),
}


@pytest.mark.parametrize("name", STRUCTURAL)
def test_patterns_do_not_look_at_numbers(name):
    f, rows, entries = STRUCTURAL[name]
    pattern = nt.sparsity(f)(X)
    assert [np.count_nonzero(pattern.rows == row) for row in rows] == [entries] * len(rows)


def test_places_that_are_computed_may_be_any():
    @nt.function
    def f(x):
        return nt.array([x[np.argmax(x)] * x[0]])

    first, second = np.array([1.0, 3.0, 2.0]), np.array([1.0, 2.0, 3.0])
    for x in (first, second):
        assert np.allclose(nt.jacobian(f, sparse=True)(x).toarray(), nt.jacobian(f)(x))


def test_scattered_places():
    def f(x):
        y = np.zeros(5) * x[0]
        y[[1, 3, 1]] += x[2:5]
        return y

    pattern = nt.sparsity(f)(X)
    matrix = nt.jacobian(f, sparse=True, check=True)(X)
    assert np.array_equal(matrix.toarray(), nt.jacobian(f)(X))
    assert pattern.nnz <= 5 + 3


def test_derivatives_of_nan_and_infinity_have_their_places():
    def f(x):
        return np.sqrt(x[1:]) * x[0]

    x = np.array([np.inf, 0.0, np.nan, 4.0])
    matrix = nt.jacobian(f, sparse=True)(x)
    assert matrix.nnz == 6
    assert np.array_equal(matrix.toarray(), nt.jacobian(f)(x), equal_nan=True)


# --- memory and time ------------------------------------------------------------------------------


def running(n):
    def f(x):
        total, product = 0.0, 1.0
        for i in range(n):
            total = total + x[i] * x[i]
            product = product * x[i]
        return nt.array([total, product])

    return f


def test_running_sums_share_their_sets():
    """Sets of 2 000 sums over up to 2 000 inputs: 4e6 entries, if each had a list of its own."""
    call = SparseEvaluation(running(2000), (np.ones(2000),), {}, 0)
    steps = Steps(call.tape)
    sets = detect.Sets(steps.slots, call.input_slots())
    for batch in steps.batches():
        sets.steps(sets.kernels.propagate, batch)
    assert sets.counts[sets.kernels.USED_ENTRIES] < 20_000
    assert nt.sparsity(running(2000))(np.ones(2000)).nnz == 4000


def test_operations_on_the_same_inputs_share_one_set():
    def f(x):
        y = x
        for _ in range(30):
            y = np.tanh(y + np.sum(y))
        return y

    call = SparseEvaluation(f, (np.ones(50),), {}, 0)
    steps = Steps(call.tape)
    sets = detect.Sets(steps.slots, call.input_slots())
    for batch in steps.batches():
        sets.steps(sets.kernels.propagate, batch)
    nodes = sets.arrays["node"][call.places() + 1]
    assert len(set(nodes.tolist())) == 1


@pytest.mark.parametrize("words", [1, 1 << 20])
def test_bit_sets_where_index_sets_are_too_large(monkeypatch, words):
    def f(x):
        return np.concatenate([np.cumsum(x)[:3], A @ np.tanh(x[1:8]), x[::2]])

    x = np.ones(130)
    expected = nt.sparsity(f)(x)
    monkeypatch.setattr(detect, "MOST_WORDS", words)
    monkeypatch.setattr(detect.Sets, "lists", raises)
    found = nt.sparsity(f)(x)
    assert found == expected
    assert found.detection_sweeps == (3 if words == 1 else 1)


def raises(*_):
    raise detect.TooLargeError


# --- Hessians ------------------------------------------------------------------------------------

HESSIANS = {
    "neighbours": lambda x: np.sum(x[1:] * x[:-1]),
    "squares of sums": lambda x: np.sum(np.cumsum(x[:3]) ** 2),
    "product": lambda x: np.prod(x),
    "apart": lambda x: np.exp(x[0] * x[1]) + np.sin(x[2]) * x[3] + x[4] + x[5] * x[5],
    "least squares": lambda x: np.sum((A[:, :4] @ x[:4]) ** 2),
    "chain": lambda x: np.sum(np.tanh(x[1:] - x[:-1]) ** 2),
    "quotients": lambda x: x[0] / x[1] + x[2] ** x[3],
    "log of sum": lambda x: np.log(np.sum(np.exp(x[2:5]))),
    "rosenbrock": lambda x: np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2),
    "not reached": lambda x: (np.sin(x[0] * x[1]), x[2] ** 2)[1],
    "flat": lambda x: np.floor(np.exp(x[0])) + x[1] * x[2],
    "linear": lambda x: np.sum(3.0 * x),
    "constant": lambda x: 2.0,
    "an argument": lambda x: x[2],
    "in a loop": lambda x: np.sum(nt.scan(lambda c, a: (a, c * a), 1.0, x)[1]),
    "norm": lambda x: np.linalg.norm(x[:3]),
    "solved": lambda x: np.linalg.solve(x[:4].reshape(2, 2) + np.eye(2), x[4:6])[0],
}


@pytest.mark.parametrize("name", HESSIANS)
def test_exact_hessians(name):
    f = HESSIANS[name]
    pattern = nt.sparsity(f, of="hessian")(X)
    expected = nt.hessian(f)(X)
    missed = (expected != 0) & ~dense(pattern)
    assert not missed.any()
    if name != "solved":  # a function whose places are not known is dense
        assert pattern.nnz == np.count_nonzero(expected)
    assert np.allclose(nt.hessian(f, sparse=True)(X).toarray(), expected, rtol=1e-12, atol=1e-14)


def test_nested_products_contribute_once():
    """Each partial product bends; only the pairs of the last one are written down."""
    n = 400
    f = running(n)
    pattern = nt.sparsity(lambda x: f(x)[1], of="hessian")(np.ones(n))
    assert pattern.nnz == n * (n - 1)
    pattern = nt.sparsity(lambda x: nt.exp(f(x)[0]), of="hessian")(np.ones(n))
    assert pattern.nnz == n * n


# --- random programs ------------------------------------------------------------------------------

UNARY = [nt.sin, nt.exp, nt.tanh, operator.neg, nt.sqrt, abs, nt.floor, lambda x: x * 3.0]
BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    lambda x, y: x / (y * y + 2.0),
    nt.maximum,
    lambda x, y: nt.where(x > y, x, y * 2.0),
]


@st.composite
def programs(draw, size=5):
    """Instructions (operation, operand, operand) on the inputs and on what comes before."""
    length = draw(st.integers(1, 25))
    return [
        (
            draw(st.sampled_from([*range(len(UNARY)), *range(-len(BINARY), 0)])),
            draw(st.integers(0, size + i - 1)),
            draw(st.integers(0, size + i - 1)),
        )
        for i in range(length)
    ]


def run(program, x):
    values = [x[i] for i in range(5)]
    for operation, i, j in program:
        if operation >= 0:
            y = values[i] * values[i] + 0.5 if UNARY[operation] is nt.sqrt else values[i]
            values.append(UNARY[operation](y))
        else:
            values.append(BINARY[operation](values[i], values[j]))
    return nt.array([nt.tanh(v) for v in values[-3:]])


def reference(program):
    """The sets of inputs that the last three values depend on, operation by operation."""
    sets = [{i} for i in range(5)]
    for operation, i, j in program:
        if operation >= 0:
            sets.append(set() if UNARY[operation] is nt.floor else sets[i])
        else:
            sets.append(sets[i] | sets[j])
    return [sorted(s) for s in sets[-3:]]


@settings(max_examples=25)
@given(programs(), st.integers(0, 2**32 - 1))
def test_random_programs(program, seed):
    x = np.random.default_rng(seed).uniform(-1.0, 1.0, 5)

    def f(x):
        return run(program, x)

    def g(x):
        return np.sum(f(x)[:2] * f(x)[1:])

    pattern = nt.sparsity(f)(x)
    found = [pattern.columns[lo:hi].tolist() for lo, hi in pairwise(pattern.ends.tolist())]
    assert found == reference(program)
    matrix = nt.jacobian(f, sparse=pattern)(x).toarray()
    assert np.allclose(matrix, nt.jacobian(f)(x), rtol=1e-13, atol=1e-300)
    expected = nt.hessian(g)(x)
    for colouring in ("star", "acyclic"):
        pattern = nt.sparsity(g, of="hessian", colouring=colouring)(x)
        matrix = nt.hessian(g, sparse=pattern)(x).toarray()
        assert np.allclose(matrix, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
