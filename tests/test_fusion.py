"""Fused instructions: what a tape computes before and after the pass, and what `verify` refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ndtape as nt
from ndtape import nest
from ndtape.nest import BODY, ENTRY, FLAGS, KIND_WORD, LISTS, LOOP, LOOPS, SIZE
from ndtape.ops import WIDE_CODES
from ndtape.passes import Goal, OptimisedTape, code_of, fusion
from ndtape.run import Workspace, leading_inputs
from ndtape.tape import MAX_SLOTS
from ndtape.verify import verify_code

LIST = BODY + LOOP  # where the list of an affine begins
FIRST = LIST + LISTS


def recorded(f, *arrays):
    """A tape of f on leaves, and the slot of its result, a number."""
    leaves = [nt.var(np.asarray(a, float)) for a in arrays]
    with nt.Tape() as tape:
        y = f(*leaves)
    return tape.whole(), y.slot


def fused(tape, *kept):
    """The fused tape, which `verify` accepts; None where nothing was to do."""
    code = code_of(tape, leading_inputs(tape)[0], np.array(kept, np.int64))
    made = fusion.fuse(code, Goal())
    if made is None:
        return None
    made = OptimisedTape(made)
    nt.verify(made)
    assert made.slots == tape.slots and len(made) < len(tape)
    return made


def slots_of_inputs(tape):
    return np.concatenate([i.out + np.arange(i.size) for i in tape if i.name == "wide_input"])


def numbers(tape, root, rng):
    """Value, gradient, tangent and Hessian times a direction, by all four sweeps."""
    work = Workspace(tape)
    inputs = slots_of_inputs(tape)
    work.reverse({root: 1.0})
    value, gradient = work.arrays["v"][root], work.arrays["g"][inputs].copy()
    direction = rng.normal(size=len(inputs))
    g, h = work.second(root, dict(zip(inputs.tolist(), direction.tolist(), strict=True)))
    assert np.array_equal(g[inputs], gradient, equal_nan=True) or np.allclose(
        g[inputs], gradient, rtol=1e-12, atol=1e-12, equal_nan=True
    )
    return value, gradient, work.arrays["t"][root], h[inputs].copy()


def agree(one, two, tolerance=1e-13):
    for x, y in zip(one, two, strict=True):
        scale = np.max(np.abs(x), initial=1.0, where=np.isfinite(x))
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * 8 * scale)


def same(f, *arrays, affine=None):
    """Assert that the fused tape computes the same; how many fused instructions there are."""
    tape, root = recorded(f, *arrays)
    made = fused(tape, root)
    count = 0 if made is None else made.columns()["op"].tolist().count(WIDE_CODES["affine"])
    if affine is not None:
        assert count == affine
    if made is not None:
        one, two = (numbers(t, root, np.random.default_rng(5)) for t in (tape, made))
        agree(one, two)
    return count


def some(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[-1] if shape else 1)


# --- cells ----------------------------------------------------------------------------------------


def vanilla(W, U, b, xs, h):
    for x in xs:
        h = np.tanh(W @ x + U @ h + b)
    return np.sum(h * h)


def vanilla_rows(W, U, b, xs, h):
    for x in xs:
        h = np.tanh(x @ W + h @ U + b)
    return np.sum(h * h)


def lstm(W, U, b, xs, h):
    c, n = h, h.shape[-1]
    for x in xs:
        z = x @ W + h @ U + b
        i, f, g, o = (z[..., j * n : (j + 1) * n] for j in range(4))
        c = nt.sigmoid(f) * c + nt.sigmoid(i) * np.tanh(g)
        h = nt.sigmoid(o) * np.tanh(c)
    return np.sum(h * h)


def gru(W, U, b, xs, h):
    n = h.shape[-1]
    for x in xs:
        z, y = x @ W + b, h @ U
        r = nt.sigmoid(z[..., :n] + y[..., :n])
        u = nt.sigmoid(z[..., n : 2 * n] + y[..., n : 2 * n])
        h = (1 - u) * np.tanh(z[..., 2 * n :] + r * y[..., 2 * n :]) + u * h
    return np.sum(h * h)


def shapes_of(cell, inputs, hidden, batch, steps=3):
    """Weights, inputs and a state for a cell."""
    gates = {"lstm": 4, "gru": 3}.get(cell.__name__, 1)
    rows = (batch,) if batch else ()
    W, U = some(inputs, gates * hidden), some(hidden, gates * hidden, seed=1)
    if cell is vanilla:
        W, U = some(hidden, inputs), some(hidden, hidden, seed=1)
    xs, h = some(steps, *rows, inputs, seed=2), some(*rows, hidden, seed=3)
    return W, U, some(gates * hidden, seed=4), xs, h


SIZES = [(3, 4, 0), (9, 17, 0), (2, 3, 5), (20, 33, 2)]  # inputs, hidden, batch; 0: a vector


@pytest.mark.parametrize(
    ("cell", "inputs", "hidden", "batch"),
    [(cell, *sizes) for cell in (vanilla_rows, lstm, gru) for sizes in SIZES]
    + [(vanilla, *sizes) for sizes in SIZES if not sizes[2]],
)
def test_cells(cell, inputs, hidden, batch):
    same(cell, *shapes_of(cell, inputs, hidden, batch), affine=3)


@pytest.mark.parametrize(
    "name", ["sigmoid", "relu", "softplus", "sin", "square", "sign", "negative"]
)
def test_any_row_with_one_operand_is_an_activation(name):
    f = getattr(nt, name)
    assert same(lambda W, x, b: np.sum(f(W @ x + b) ** 3), some(9, 5), some(5), some(9)) == 1
    assert same(lambda W, x: np.sum(f(W @ x) ** 3), some(9, 5), some(5)) == 1


W, V, X, B = some(6, 6), some(6, 6, seed=1), some(4, 6, seed=2), some(6, seed=3)
CASES = {
    "a sum of three products": (lambda w, v, x, b: (x @ w + x @ v + x @ w.T + b).sum(), 1),
    "views": (lambda w, v, x, b: (w[::2, ::-1] @ x[0] + v[:3].T[:3] @ b[:3]).sum(), 1),
    "transposed weights": (lambda w, v, x, b: np.tanh(w.T @ x[0] + x[1] @ v.T + b).sum(), 1),
    "a bias of columns": (lambda w, v, x, b: np.tanh(w @ x.T + b[:, None]).sum(), 1),
    "a bias of both": (lambda w, v, x, b: np.tanh(w @ v + b[:, None] + b).sum(), 1),
    "a number": (lambda w, v, x, b: np.tanh(w @ x[0] + b[0] + 2.0).sum(), 1),
    "constants": (lambda w, v, x, b: np.tanh(np.ones((3, 4)) @ x + w[0] + np.arange(6.0)).sum(), 1),
    "a matrix of states": (lambda w, v, x, b: np.tanh(x @ w + x @ v + x).sum(), 1),
    "batches": (lambda w, v, x, b: np.tanh(np.stack([x, x]) @ w + b).sum(), 1),
    "a sum of one product twice": (lambda w, v, x, b: twice(x @ w).sum(), 0),
    "a product used elsewhere": (lambda w, v, x, b: used_again(x @ w, b).sum(), 0),
    "a sum used elsewhere": (lambda w, v, x, b: used_again(x @ w + b, b).sum(), 1),
    "part of a sum": (lambda w, v, x, b: np.tanh((x @ w + b)[1:]).sum(), 1),
    "a transposed product": (lambda w, v, x, b: ((x @ w).T + x.T).sum(), 0),
    "a reshaped sum": (lambda w, v, x, b: np.tanh((x @ w + b).reshape(6, 4)).sum(), 1),
    "no product": (lambda w, v, x, b: np.tanh(x + b).sum(), 0),
    "a product alone": (lambda w, v, x, b: (x @ w).sum(), 0),
    "a broadcast product": (lambda w, v, x, b: np.tanh(w @ b + x).sum(), 0),
    "sums on both sides": (lambda w, v, x, b: ((x @ w + b) + (x @ v + 1.0)).sum(), 1),
    "layers": (lambda w, v, x, b: np.tanh(np.tanh(x @ w + b) @ v + b).sum(), 2),
    "scattered": (lambda w, v, x, b: np.concatenate([x @ w + b, x]).sum() + (w @ b)[2], 1),
    "einsum": (lambda w, v, x, b: np.tanh(np.einsum("ij,kj->ki", w, x) + b).sum(), 1),
    "no sum": (lambda w, v, x, b: (np.outer(b, b) + w).sum(), 1),
}  # fmt: skip


def twice(y):
    return y + y


def used_again(y, b):
    return np.tanh(y + b) * y


@pytest.mark.parametrize("name", CASES)
def test_groups(name):
    f, count = CASES[name]
    assert same(f, W, V, X, B) == count


def test_what_somebody_wants_is_computed():
    tape, root = recorded(lambda w, x, b: np.tanh(w @ x + b).sum(), W, X[0], B)
    product = next(i for i in tape if i.name == "dot")
    kinds = [i.name for i in fused(tape, root)]
    assert (len(kinds), kinds.count("dot")) == (len(tape) - 2, 0)
    made = fused(tape, root, product.out + 3)
    assert made is None  # the sum has no product left


def test_a_tape_is_fused_once():
    tape, root = recorded(lambda w, x, b: np.tanh(w @ x + b).sum(), W, X[0], B)
    made = fused(tape, root)
    assert fusion.fuse(made.code, Goal()) is None
    assert "affine(" in str(made)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 99), st.integers(0, 99)), min_size=3,
                max_size=14), st.sampled_from([(4, 0), (9, 0), (5, 3)]))  # fmt: skip
def test_random_programs(steps, sizes):
    n, rows = sizes
    w, b = some(n, n), some(n, seed=1)

    def program(w, b, x):
        known = [x, x * 0.5, np.tanh(x)]
        for kind, j, k in steps:
            y, z = known[j % len(known)], known[k % len(known)]
            if kind <= 2:
                known.append(y @ w if kind else y @ w.T)
            elif kind <= 5:
                known.append(y + (z if kind < 5 else b))
            elif kind <= 7:
                known.append(np.tanh(y) if kind == 6 else nt.sigmoid(y))
            else:
                known.append(y * z)
        return sum(y.sum() for y in known[-3:]) + known[-1].max()

    same(program, w, b, some(*((rows,) if rows else ()), n, seed=2))


# --- infinite numbers and zeros -------------------------------------------------------------------


@pytest.mark.parametrize("batch", [0, 3])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_zero_adjoint_contributes_nothing(bad, batch):
    """A masked result has an adjoint of 0, whatever stands behind it."""
    mask = np.array([1.0, 0.0, 1.0, 0.0])
    W, b, x = some(5, 4), some(4), some(*((batch,) if batch else ()), 5)
    W[2, 1] = bad
    f = lambda W, b, x: np.where(mask == 1, np.tanh(x @ W + b), 0.0).sum()  # noqa: E731
    tape, root = recorded(f, W, b, x)
    inputs = slots_of_inputs(tape)
    one, two = (Workspace(t).reverse({root: 1.0})[inputs] for t in (tape, fused(tape, root)))
    assert np.isfinite(two).all()
    np.testing.assert_allclose(one, two, atol=1e-14)


def test_values_that_are_not_finite_stay_so():
    W, b = some(4, 4), some(4)
    b[1] = np.inf
    tape, root = recorded(lambda W, b, x: (W @ x + b).sum(), W, b, some(4))
    one, two = (Workspace(t) for t in (tape, fused(tape, root)))
    g, h = one.reverse({root: 1.0}), two.reverse({root: 1.0})
    inputs = slots_of_inputs(tape)
    np.testing.assert_array_equal(g[inputs], h[inputs])
    assert one.arrays["v"][root] == two.arrays["v"][root] == np.inf


# --- replays --------------------------------------------------------------------------------------


def warmed(f, gradient, *args):
    """What the first call and one of the fused ones answer."""
    first = gradient(*args)
    f.optimize()
    for _ in range(3):
        last = gradient(*args)
    return first, last


@pytest.mark.parametrize("cell", [vanilla, lstm, gru])
def test_replays(cell):
    W, U, b, xs, h = shapes_of(cell, 3, 4, 0, 5)
    f = nt.function(lambda p, xs: cell(*p, xs, h))
    first, last = warmed(f, nt.value_and_grad(f), (W, U, b), xs)
    assert "(optimised: " in str(f.explain())
    assert abs(first[0] - last[0]) < 1e-14
    for one, two in zip(first[1], last[1], strict=True):
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-14)
    # Other arguments, and derivatives that are not fused, beside them.
    other = nt.value_and_grad(f)((W + 0.1, U, b), xs)
    want = nt.value_and_grad(lambda p: cell(*p, xs, h))((W + 0.1, U, b))
    np.testing.assert_allclose(other[1][0], want[1][0], rtol=0, atol=1e-14)


def test_results_that_are_inner_values():
    def f(W, x, b):
        y = W @ x
        z = y + b
        return {"y": y, "z": z, "h": np.tanh(z)}

    traced = nt.function(f)
    args = some(4, 4), some(4), some(4)
    first, last = warmed(traced, traced, *args)
    for name, y in f(*args).items():
        np.testing.assert_allclose(last[name], y, rtol=0, atol=1e-15)
        np.testing.assert_allclose(first[name], y, rtol=0, atol=1e-15)


def test_guards_that_flip_after_fusion():
    def f(W, x, b):
        h = x
        for _ in range(3):
            y = W @ h
            h = np.tanh(y + b)
            if h[0] > 0:
                h = h + y  # only here the product is needed once more
            if h.sum() > 1:
                h = h * 0.5
        return np.sum(h * h)

    traced = nt.function(f)
    gradient = nt.value_and_grad(traced)
    rng = np.random.default_rng(0)
    W, b = some(4, 4), some(4)
    warmed(traced, gradient, W, np.ones(4), b)
    for _ in range(60):
        x = rng.normal(size=4) * rng.choice([0.3, 3.0])
        value, g = gradient(W, x, b)
        want, dW = nt.value_and_grad(f)(W, x, b)
        assert abs(value - want) < 1e-14
        np.testing.assert_allclose(g, dW, rtol=0, atol=1e-14)
    assert traced.counters.flips > 3


def test_second_derivatives_of_a_warm_function():
    W, U, b, xs, h = shapes_of(vanilla, 3, 4, 0, 3)
    f = nt.function(lambda b: vanilla(W, U, b, xs, h))
    warmed(f, nt.grad(f), b)
    want = nt.hessian(lambda b: vanilla(W, U, b, xs, h))(b)
    np.testing.assert_allclose(nt.hessian(f)(b), want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("cell", [vanilla, lstm])
def test_float32(cell):
    """Sums are rounded once; what NumPy rounds besides is the same."""
    W, U, b, xs, h = (a.astype(np.float32) for a in shapes_of(cell, 3, 4, 0, 4))
    f = nt.function(lambda p, xs: cell(*p, xs, h))
    first, last = warmed(f, nt.value_and_grad(f), (W, U, b), xs)
    assert "(optimised: " in str(f.explain())
    for one, two in zip(first[1], last[1], strict=True):
        assert two.dtype == np.float32
        np.testing.assert_allclose(one, two, rtol=0, atol=2e-6)


def test_a_sum_in_float64_of_products_in_float32():
    x = some(4).astype(np.float32)

    def f(W, b):
        return np.sum((W.astype(np.float32) @ x) + b)

    tape, root = recorded(f, some(4, 4), some(4))
    assert fused(tape, root) is None


# --- hostile words --------------------------------------------------------------------------------


def good():
    """Code with an affine with two products and two spans, and its place."""
    f = lambda w, v, x, b: np.tanh(x @ w + x @ v + b + x).sum()  # noqa: E731
    tape, root = recorded(f, W, V, X, B)
    code = fused(tape, root).code
    return code, int(np.flatnonzero(code.columns["op"] == WIDE_CODES["affine"])[0])


def word(j, part):
    return FIRST + ENTRY * j + part


HUGE = 2**63 - 1
BROKEN = {
    "activation": ({KIND_WORD: WIDE_CODES["add"]}, "has activation 5"),
    "activation negative": ({KIND_WORD: -1}, "has activation -1"),
    "no activation": ({KIND_WORD: 0}, "sums up in the slots from"),
    "flags": ({FLAGS: 1}, "has flags 1, not 0"),
    "two loops": ({LOOPS: 2}, "has "),
    "no loops": ({LOOPS: 0}, "has "),
    "strides": ({BODY + 2: 0}, "not one over consecutive numbers"),
    "no product": ({LIST: 0}, "lists 0 products"),
    "products beyond": ({LIST: HUGE}, "lists 9223372036854775807 products"),
    "spans negative": ({LIST + 1: -1}, "and -1 spans"),
    "spans beyond": ({LIST + 1: 10**6}, "and 1000000 spans"),
    "rows": ({LIST + 2: 3}, "has 3 x 6 results"),
    "columns 0": ({LIST + 3: 0}, "has 4 x 0 results"),
    "rows that wrap": ({LIST + 2: 2**62, LIST + 3: 96}, "results and a size of 24"),
    "rounding": ({LIST + 4: 4}, "rounds 4, not the sum"),
    "rounding below": ({LIST + 4: -1}, "rounds -1, not the sum"),
    "a factor outside": ({word(0, 0): 10**6}, r"\(dot of an affine, wide\) reads x from"),
    "a factor negative": ({word(1, 1): -3}, r"\(dot of an affine, wide\) reads y from"),
    "a factor beyond": ({word(0, 1): HUGE}, r"\(dot of an affine, wide\) reads y from"),
    "nests outside": ({word(0, 2): 10**6}, "has its descriptor at 1000000"),
    "nests negative": ({word(0, 2): -1}, "has its descriptor at -1"),
    "form": ({word(0, 3): 1}, "has form 1, not 0"),
    "a span outside": ({word(2, 0): 10**6}, "reads a span from"),
    "a span negative": ({word(3, 0): -1}, "reads a span from"),
    "a span later": ({word(2, 0): MAX_SLOTS}, "reads a span from"),
    "rows of a span": ({word(2, 1): 5}, "takes a span by steps of 5"),
    "steps of a span": ({word(3, 2): -1}, "takes a span by steps of"),
    "kind of a span": ({word(3, 3): 2}, "has kind of a span 2"),
    "constants outside": ({word(3, 3): 1, word(3, 0): 10**6}, "the pool has"),
}  # fmt: skip


def changed(code, i, words):
    """Code where words of the descriptor of instruction i are others."""
    columns = {name: column.copy() for name, column in code.columns.items()}
    for place, value in words.items():
        columns["m"][columns["c"][i] + place] = value
    return code._replace(columns=columns)


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name):
    code, i = good()
    verify_code(code, once=True)
    words, sentence = BROKEN[name]
    with pytest.raises(nt.BadTapeError, match=sentence):
        verify_code(changed(code, i, words))


@pytest.mark.parametrize(("column", "value"), [("a", 10**6), ("a", 2**32 - 1), ("b", 1)])
def test_broken_columns(column, value):
    code, i = good()
    code = changed(code, i, {})
    code.columns[column][i] = value
    with pytest.raises(nt.BadTapeError):
        verify_code(code)


def test_a_sum_on_slots_of_others():
    code, i = good()
    code = changed(code, i, {})
    code.columns["a"][i] = 0
    with pytest.raises(nt.BadTapeError, match="slot 0 is written 2 times"):
        verify_code(code, once=True)


def test_a_product_of_another_size():
    code, i = good()
    m, c = code.columns["m"], int(code.columns["c"][i])
    dot = int(m[c + word(0, 2)])
    smaller = m[dot : dot + nest.length("dot", m, dot)].copy()
    smaller[SIZE], smaller[BODY] = 18, 3
    code = changed(code, i, {word(0, 2): len(m)})
    code.columns["m"] = np.concatenate([code.columns["m"], smaller])
    with pytest.raises(nt.BadTapeError, match="has 18 results, the affine 24"):
        verify_code(code)


def in_range(code):
    """Whether what accepted code reads is there: a second reading of the format."""
    for instruction in OptimisedTape(code):
        if instruction.name == "affine":
            m, c = code.columns["m"], int(code.columns["c"][instruction.position])
            lists = m[c + LIST : c + FIRST]
            assert lists[2] * lists[3] == instruction.size
            for walk in instruction.operands:
                low, high = walk.bounds()
                assert 0 <= low
                assert high < (len(code.columns["k"]) if walk.constant else instruction.out)
    return True


def test_damage():
    code, i = good()
    rng = np.random.default_rng(3)
    m, c = code.columns["m"], int(code.columns["c"][i])
    accepted = 0
    for _ in range(1500):
        place = int(rng.integers(nest.length("affine", m, c)))
        old = int(m[c + place])
        value = int(rng.choice([old + 1, old - 1, old * 2, 0, 1, -old, 2**31, HUGE, old ^ 64]))
        damage = changed(code, i, {place: value})
        try:
            verify_code(damage)
        except nt.BadTapeError:
            continue
        accepted += in_range(damage)
    assert accepted > 20
