"""The pass `gather_weights`: the gradients of shared weights as products of matrices.

A gradient that is gathered adds up the same products in another order.  Each of the two sums of n
numbers is within (n - 1) u of the true one, relative to the sum of magnitudes (Higham, Accuracy and
Stability, section 4.2), with another u for the product; `bound` is the sum of both.  All other
numbers must keep every bit.
"""

from __future__ import annotations

import numpy as np
import pytest

import ndtape as nt
from ndtape import kernels, nest, run
from ndtape.errors import ArgumentError, BadTapeError
from ndtape.nest import (
    BODY,
    DEPTH,
    FLAGS,
    HEIGHT,
    KIND_WORD,
    LOOP,
    LOOPS,
    PAIRS,
    SIDE,
    START,
    STEP,
    WIDTH,
    WS,
    XR,
    U,
)
from ndtape.ops import WIDE_CODES
from ndtape.passes import PASSES, Goal, OptimisedTape, code_of, fusion, seal, weights
from ndtape.run import Workspace, leading_inputs
from ndtape.tape import address_of
from ndtape.verify import verify_code

WEIGHTS, DOT = WIDE_CODES["weights"], WIDE_CODES["dot"]


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """Gather also where it does not pay, so that small programs show what it does."""
    for name, value in {"MOST_ROWS": 64, "FEWEST_ROWS": 2, "SMALLEST": 64}.items():
        monkeypatch.setattr(weights, name, value)


def recorded(program, *arrays):
    """The sealed tape of a program with variables for its arguments, and the slot of its result."""
    variables = [nt.var(x, name=f"{j}") for j, x in enumerate(arrays)]
    with nt.Tape() as tape:
        y = program(*variables)
    assert isinstance(y.value, float)
    sealed = seal(tape)
    return sealed, sealed.slots - 1


def span_of(tape, argument):
    """The slots of an argument."""
    slot = next(s for s, name in tape.names.items() if name == f"{argument}")
    return slice(slot, slot + tape.span_of(slot)[1])


def adjoints(tape, root, seed=1.0):
    work = Workspace(tape)
    return work.reverse({root: seed})[: tape.slots].copy()


def bound(tape, root):
    """By slot: how far two sums of the same products may lie apart, see above; 0 for no weight."""
    work = Workspace(tape)
    g, v = work.reverse({root: 1.0}), work.arrays["v"]
    k = tape.constants
    size, terms = np.zeros(tape.slots), np.zeros(tape.slots)
    columns = tape.columns()
    for i in np.flatnonzero(columns["op"] == DOT).tolist():
        c = int(columns["c"][i])
        loops = tape.words[c + BODY : c + BODY + LOOP * tape.words[c + LOOPS]].reshape(-1, LOOP)
        x, y = tape.instruction(i).operands
        z = nest.Walk(int(columns["out"][i]), x.extents, tuple(loops[:, 1].tolist()), False, "a")
        w = abs(g[z.places()])
        for one, other in ((x, y), (y, x)):
            if not one.constant:
                factor = abs((k if other.constant else v)[other.places()])
                np.add.at(size, one.places(), w * factor)
                np.add.at(terms, one.places(), 1)
    return 2 * terms * np.finfo(float).eps * size


def codes(tape, root):
    """The code as recorded and, where there is something to fuse, fused."""
    code = code_of(tape, leading_inputs(tape)[0], [root])
    less = fusion.fuse(code, Goal())
    return [code] if less is None else [code, less]


def gather_weights(code):
    """What the pass makes, which `verify_code` accepts."""
    made = weights.gather_weights(code, Goal())
    if made is not None:
        verify_code(made, once=True)
    return made


def check(tape, root, code, spans):
    """Gathered weights against the code that they were made of, on one tape's slots."""
    gathered = gather_weights(code)
    assert gathered is not None and WEIGHTS in gathered.columns["op"]
    one, two = (adjoints(OptimisedTape(c), root)[: tape.slots] for c in (code, gathered))
    slots = np.zeros(tape.slots, bool)
    for span in spans:
        slots[span] = True
    assert np.array_equal(one[~slots], two[~slots])
    far = bound(tape, root)
    assert (abs(one - two) <= 2 * far)[slots].all()
    assert np.any(one[slots] != 0)


def both_ways(program, *arrays, of):
    """`check` for the tape as recorded and with fused instructions; `of` arguments are weights."""
    tape, root = recorded(program, *arrays)
    for code in codes(tape, root):
        check(tape, root, code, [span_of(tape, j) for j in of])
    return tape, root


# --- programs ------------------------------------------------------------------------------------

LAYOUTS = {
    "vectors, matrix first": lambda w, x: w @ x,
    "vectors, matrix last": lambda w, x: x @ w,
    "transposed view": lambda w, x: w.T @ x,
    "rows": lambda w, x: x @ w,
    "rows, transposed": lambda w, x: x @ w.T,
    "columns": lambda w, x: w @ x,
    "einsum": lambda w, x: np.einsum("bi,ji->bj", x, w),
}


def shape_of(layout, batch, size):
    if layout.startswith(("vectors", "transposed view")):
        return (size,)
    return (size, batch) if layout == "columns" else (batch, size)


def unrolled(layout, steps, losses, bias):
    product = LAYOUTS[layout]

    def program(w, u, b, h, *xs):
        total = 0.0
        for x in xs[:steps]:
            h = np.tanh(product(w, x) + product(u, h) + (b if bias else 0.0))
            if losses:
                total = total + (h * h).sum()
        return total + (h * x).sum()

    return program


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unrolled_networks(layout):
    rng = np.random.default_rng(len(layout))
    for size, batch, steps in ((8, 1, 2), (11, 3, 5), (17, 8, 19), (33, 2, 4), (70, 5, 3)):
        shape = shape_of(layout, batch, size)
        w, u = (rng.normal(size=(size, size)) / np.sqrt(size) for _ in range(2))
        b = rng.normal(size=(size, 1) if layout == "columns" else size)
        xs = [rng.normal(size=shape) for _ in range(steps)]
        program = unrolled(layout, steps, bool(size % 2), layout != "einsum")
        both_ways(program, w, u, b, rng.normal(size=shape), *xs, of=(0, 1))


def test_more_rows_than_a_block():
    rng = np.random.default_rng(0)
    w, h = rng.normal(size=(9, 9)) / 3, rng.normal(size=9)

    def program(w, h):
        for _ in range(300):
            h = np.tanh(w @ h)
        return h.sum()

    tape, root = both_ways(program, w, h, of=(0,))
    op = gather_weights(codes(tape, root)[0]).columns["op"]
    assert np.count_nonzero(op == WEIGHTS) == 3
    assert np.count_nonzero(op == DOT) == 297


def test_weights_that_are_slices_of_one_matrix():
    """Gates that share a matrix: its rows and columns are weights of their own."""
    rng = np.random.default_rng(1)
    stacked, c, xs = (
        rng.normal(size=(20, 36)) / 5,
        rng.normal(size=(4, 9)),
        rng.normal(size=(6, 4, 11)),
    )

    def program(w, c, xs):
        h = np.zeros((4, 9))
        for x in xs:
            forget = nt.sigmoid(x @ w[:11, :9] + h @ w[11:, :9])
            c = forget * c + np.tanh(x @ w[:11, 9:18] + h @ w[11:, 9:18])
            h = nt.sigmoid(x @ w[:11, 18:27] + h @ w[11:, 27:][:, ::1]) * np.tanh(c)
        return (h * c).sum()

    both_ways(program, stacked, c, xs, of=(0,))


def test_weights_computed_on_the_tape():
    """The gradient must be complete before it goes on to what the weight was made of."""
    rng = np.random.default_rng(2)
    w, h = rng.normal(size=(12, 12)) / 4, rng.normal(size=12)

    def program(w, h):
        u = np.tanh(w) + 1.0
        for _ in range(5):
            h = np.sin(u @ h) + u[0]
        return h.sum()

    tape, root = recorded(program, w, h)
    for before in codes(tape, root):
        gathered = gather_weights(before)
        assert WEIGHTS in gathered.columns["op"]
        one, two = (adjoints(OptimisedTape(c), root)[span_of(tape, 0)] for c in (before, gathered))
        np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-13 * abs(one).max())


def test_products_that_stay_alone():
    rng = np.random.default_rng(3)
    one = rng.normal(size=(9, 9))

    def twice(w, x, y):
        return (w @ x).sum() + (w @ y).sum()

    small = recorded(twice, one[:4, :4], one[0, :4], one[1, :4])
    assert gather_weights(codes(*small)[0]) is None  # a weight of 16 numbers
    many = recorded(twice, one, rng.normal(size=(9, 65)), rng.normal(size=(9, 65)))
    assert gather_weights(codes(*many)[0]) is None  # each has enough rows
    once = recorded(lambda w, x: (w @ x).sum(), one, one[0])
    assert gather_weights(codes(*once)[0]) is None
    gaps = recorded(lambda w, x: (w[::2, ::2] @ x).sum() + (w[::2, ::2] @ x).max(),
                    rng.normal(size=(18, 18)), one[0])  # fmt: skip
    assert gather_weights(codes(*gaps)[0]) is None  # no numbers side by side
    assert gather_weights(codes(*recorded(lambda x: x.sum(), one))[0]) is None


def test_second_derivatives():
    rng = np.random.default_rng(4)
    w, h = rng.normal(size=(10, 10)) / 3, rng.normal(size=10)

    def program(w, h):
        for _ in range(4):
            h = np.tanh(w @ (h + 0.5) + w @ np.ones(10))
        return (h * h * h).sum()

    tape, root = recorded(program, w, h)
    seeds = dict(enumerate(rng.normal(size=110).tolist()))
    for before in codes(tape, root):
        results = []
        for made in (before, gather_weights(before)):
            assert made is not None
            g, h_ = Workspace(OptimisedTape(made)).second(root, seeds)
            results.append((g[:110].copy(), h_[:110].copy()))
        for one, two in zip(*results, strict=True):
            np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-12 * abs(one).max())


# --- zeros against infinities --------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["vectors, matrix first", "rows", "rows, transposed"])
@pytest.mark.parametrize("wanted", [False, True])
def test_an_adjoint_of_zero_contributes_nothing(layout, wanted):
    """Also where the factor is infinite or nan; any other adjoint gives what the product gives."""
    rng = np.random.default_rng(5)
    shape = shape_of(layout, 3, 9)
    xs = rng.normal(size=(6, *shape))
    xs[2].flat[4], xs[4].flat[0] = np.inf, np.nan
    mask = np.ones(6)
    if not wanted:
        mask[[2, 4]] = 0.0

    def program(w, xs):
        total = 0.0
        for x, on in zip(xs, mask, strict=True):
            y = LAYOUTS[layout](w, x)
            total = total + np.where(on, y, 0.0).sum()
        return total

    tape, root = recorded(program, rng.normal(size=(9, 9)), xs)
    code = codes(tape, root)[0]
    one, two = (
        adjoints(OptimisedTape(c), root)[span_of(tape, 0)] for c in (code, gather_weights(code))
    )
    assert np.isfinite(one).all() != wanted
    np.testing.assert_allclose(two, one, rtol=1e-13, atol=1e-13)


# --- the routine for loops that keep rows of their own -------------------------------------------


def test_rows_product():
    """Any extents and strides of rows and numbers; either side may hold the adjoints."""
    rng = np.random.default_rng(6)
    for m, n, rows in ((1, 1, 1), (3, 5, 7), (16, 16, 128), (17, 33, 129), (130, 70, 300)):
        for layout in range(4):
            left = spread(rng.normal(size=(rows, m)), layout & 1)
            right = spread(rng.normal(size=(rows, n)), layout >> 1)
            z = rng.normal(size=(m, n + 3))
            side = int(rng.integers(2))
            if rows > 5:  # an adjoint of 0 against what is not finite
                (right if side else left)[4] = 0.0
                (left if side else right)[4, 0] = np.inf
            finite = [q for q in range(rows) if q != 4 or rows <= 5]
            expected = z.copy()
            expected[:, :n] += left[finite].T @ right[finite]
            a = np.array([address_of(z), z.strides[0], m, n,
                          left.ctypes.data, *left.strides, right.ctypes.data, *right.strides,
                          rows, side], np.int64)  # fmt: skip
            run.entry("holding")(kernels.rows_product.address, address_of(a), 0, 0)
            np.testing.assert_allclose(z, expected, rtol=1e-12, atol=1e-12)


def spread(x, turned):
    """The same numbers with other strides."""
    return np.asfortranarray(x) if turned else x


# --- rules ---------------------------------------------------------------------------------------


def gathered_code():
    """Two blocks of two products, one within a product, one that does nothing else."""
    rng = np.random.default_rng(7)

    def program(w, u, h):
        y = (u @ h).sum() + (u @ (h + 1.0)).sum()
        for _ in range(2):
            h = np.tanh(w @ h + h)
        return h.sum() + y

    tape, root = recorded(program, *(rng.normal(size=(m, 8)) for m in (8, 10)), np.ones(8))
    code = gather_weights(codes(tape, root)[1])
    return code._replace(columns={name: x.copy() for name, x in code.columns.items()})


def test_verify_accepts_what_the_pass_writes():
    columns = gathered_code().columns
    at = columns["c"][columns["op"] == WEIGHTS].astype(int)
    assert sorted(columns["m"][at + U].tolist()) == [0, 1]


DAMAGE = {
    "no members": (KIND_WORD, 0, False, "has 0 members"),
    "members beyond the words": (KIND_WORD, 10**6, False, "has words up to"),
    "many members": (KIND_WORD, 2**62, False, "members, not 1 to"),
    "bits of U": (U, 2, False, "has operand U = 2|has loops over"),
    "another flag": (FLAGS, 32, False, "has flags"),
    "weight behind it": (START, 10**6, True, "which is not written before"),
    "weight before slots": (START, -1, True, "which are not one result"),
    "rows that overlap": (STEP, 3, True, "that are 3 apart"),
    "high": (HEIGHT, 10**5, True, "which are not one result"),
    "no height": (HEIGHT, 0, True, "adds 0 by"),
    "no width": (WIDTH, 0, True, "by 0 numbers"),
    "no depth": (DEPTH, 0, True, "of 0 rows"),
    "deep": (DEPTH, 65, True, "of 65 rows"),
    "side": (SIDE, 2, True, "side 2"),
    "far apart": (XR, 2**40, True, "has a word beyond"),
    "stride of adjoints": (WS, 100, True, "reads adjoints of slots"),
    "adjoint": (PAIRS, 10**6, True, "reads adjoints of slots"),
    "negative adjoint": (PAIRS, -1, True, "reads adjoints of slots"),
    "factor": (PAIRS + 1, 10**6, True, "reads factors of slots"),
    "constant": (PAIRS + 1, -(10**6), True, "the pool has"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_verify_refuses(name):
    word, value, behind, text = DAMAGE[name]
    for j in range(2):
        code = gathered_code()
        c, m = int(code.columns["c"][code.columns["op"] == WEIGHTS][j]), code.columns["m"]
        m[c + word + (BODY + LOOP * int(m[c + LOOPS]) if behind else 0)] = value
        with pytest.raises(BadTapeError, match=text):
            verify_code(code)


def test_a_block_must_stay_whole():
    tape = OptimisedTape(gathered_code())
    with pytest.raises(ArgumentError, match="cannot be cut"):
        tape[0 : len(tape)]


# --- traced functions ----------------------------------------------------------------------------


def test_traced_functions_gather_when_warm():
    """Many replays, with a branch that turns now and then, against the eager program."""
    rng = np.random.default_rng(8)
    w, u = (rng.normal(size=(16, 16)) / 5 for _ in range(2))

    def loss(w, u, xs):
        h = np.zeros((3, 16))
        for x in xs:
            h = np.tanh(x @ w + h @ u)
            if h[0, 0] > 0.9:
                h = h * 0.5
        return (h * h).sum()

    assert weights.gather_weights in [one.run for one in PASSES]
    gradient = nt.grad(nt.function(loss), argnums=(0, 1))
    eager = nt.grad(loss, argnums=(0, 1))
    for j in range(60):
        xs = rng.normal(size=(7, 3, 16)) * (4.0 if j % 20 == 15 else 0.5)
        for one, two in zip(gradient(w, u, xs), eager(w, u, xs), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-11, atol=1e-12)
