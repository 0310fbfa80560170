"""Cells by their formulas and derivatives, first weights, layers, losses, errors."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from recurrent import BATCH, CELLS, HIDDEN, INPUTS, T, assert_same, made, random_state

import ndtape as nt
from ndtape import nn
from ndtape.errors import ArgumentError, NonFiniteError, ShapeError, UnstableProgramError

# --- initialisers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "variance"),
    [
        (nn.glorot_uniform, 2 / 700),
        (nn.glorot_normal, 2 / 700),
        (nn.he_uniform, 2 / 300),
        (nn.he_normal, 2 / 300),
    ],
)
def test_variances(draw, variance):
    W = draw(np.random.default_rng(0), (300, 400))
    kurtosis = 1.8 if "uniform" in draw.__name__ else 3.0
    # the mean of n squares has the relative variance (kurtosis - 1) / n
    assert abs((W**2).mean() / variance - 1) < 4 * math.sqrt((kurtosis - 1) / W.size)
    assert abs(W.mean()) < 4 * math.sqrt(variance / W.size)
    assert (W**4).mean() / variance**2 == pytest.approx(kurtosis, rel=0.05)
    if "uniform" in draw.__name__:
        assert 0.999 < abs(W).max() / math.sqrt(3 * variance) <= 1
    doubled = draw(np.random.default_rng(0), (300, 400), gain=2.0)
    assert (doubled**2).mean() == pytest.approx(
        4 * (W**2).mean() / (2 if "he" in draw.__name__ else 1)
    )


@pytest.mark.parametrize("shape", [(6, 6), (7, 3), (3, 7), (1, 5)])
def test_orthogonal(shape):
    W = nn.orthogonal(np.random.default_rng(1), shape, gain=1.5)
    small = W @ W.T if shape[0] <= shape[1] else W.T @ W
    np.testing.assert_allclose(small, 2.25 * np.eye(min(shape)), atol=1e-14)


def test_orthogonal_matrices_are_uniform():
    """Of 1 and -1, both signs; of rotations, every angle: QR alone prefers one half."""
    rng = np.random.default_rng(2)
    corners = np.array([nn.orthogonal(rng, (3, 3))[0, 0] for _ in range(600)])
    assert abs(corners.mean()) < 4 / math.sqrt(3 * 600)  # a coordinate of a point on the sphere
    assert corners.var() == pytest.approx(1 / 3, rel=0.2)
    assert {float(nn.orthogonal(rng, (1, 1))[0, 0]) for _ in range(20)} == {1.0, -1.0}


def test_each_gate_is_drawn_as_a_layer_of_its_own():
    rng = np.random.default_rng(3)
    params = nn.lstm_init(rng, 50, 20, forget_bias=3.0)
    for block in np.split(params["Wh"], 4, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(20), atol=1e-13)
    bound = math.sqrt(6 / (50 + 20))
    for block in np.split(params["Wx"], 4, axis=1):
        assert 0.95 * bound < abs(block).max() <= bound
    forget = np.arange(80) // 20 == 1
    assert (params["b"][forget] == 3.0).all() and not params["b"][~forget].any()
    assert not np.array_equal(params["Wh"][:, :20], params["Wh"][:, 20:40])


def test_initialisers_of_relu_networks_and_ones_own():
    rng = np.random.default_rng(4)
    params = nn.rnn_init(rng, 3, 5, activation="relu")
    assert (params["Wh"] == np.eye(5)).all()
    half = partial(nn.identity, gain=0.5)
    params = nn.gru_init(rng, 5, 5, kernel=half, recurrent=half)
    assert (params["Wx"] == 0.5 * np.tile(np.eye(5), 3)).all()
    assert (nn.dense_init(rng, 2, 2, kernel=nn.identity)["W"] == np.eye(2)).all()


@pytest.mark.parametrize("kind", CELLS)
def test_a_seed_gives_the_same_model_in_every_dtype(kind):
    init, _ = CELLS[kind]
    wide = init(np.random.default_rng(5), 3, 4)
    narrow = init(np.random.default_rng(5), 3, 4, dtype=np.float32)
    for name, p in wide.items():
        assert p.dtype == np.float64 and narrow[name].dtype == np.float32
        assert (p.astype(np.float32) == narrow[name]).all()


# --- cells -------------------------------------------------------------------------------------


def sigma(x):
    return 1 / (1 + math.exp(-x))


def by_hand(kind, p, state, x):
    """One unit after the other, in Python numbers, from the formulas of the papers."""

    def affine(gate, j, with_h=True):
        k = gate * HIDDEN + j
        h = state if kind in ("tanh", "relu", "gru") else state[0]
        total = p["b"][k] + sum(x[m] * p["Wx"][m, k] for m in range(INPUTS))
        return total + with_h * sum(h[m] * p["Wh"][m, k] for m in range(HIDDEN))

    new = []
    for j in range(HIDDEN):
        if kind == "tanh":
            new.append(math.tanh(affine(0, j)))
        elif kind == "relu":
            new.append(max(0.0, affine(0, j)))
        elif kind == "gru":
            r, z = sigma(affine(0, j)), sigma(affine(1, j))
            inner = p["bn"][j] + affine(2, j) - affine(2, j, with_h=False)
            n = math.tanh(affine(2, j, with_h=False) + r * inner)
            new.append((1 - z) * n + z * state[j])
        else:
            peep = p.get("peep", np.zeros((3, HIDDEN)))
            c = state[1][j]
            i = sigma(affine(0, j) + peep[0, j] * c)
            f = sigma(affine(1, j) + peep[1, j] * c)
            c = f * c + i * math.tanh(affine(3, j))
            new.append((sigma(affine(2, j) + peep[2, j] * c) * math.tanh(c), c))
    return tuple(np.array(s) for s in zip(*new, strict=True)) if "lstm" in kind else np.array(new)


@pytest.mark.parametrize("kind", ["tanh", "relu", "gru", "lstm", "peephole"])
def test_cells_by_hand(kind):
    cell, params = made(kind)
    state = random_state(params, None)
    x = np.random.default_rng(2).standard_normal(INPUTS)
    expected = by_hand(kind.replace("peephole", "lstm peephole"), params, state, x)
    assert_same(cell(params, state, x), expected)


@pytest.mark.parametrize("kind", CELLS)
def test_a_batch_is_its_rows_and_so_is_vmap(kind):
    cell, params = made(kind)
    state = random_state(params, BATCH)
    x = np.random.default_rng(2).standard_normal((BATCH, INPUTS))
    together = cell(params, state, x)
    leaves, structure = nt.trees.flatten(state)
    assert all(type(leaf) is np.ndarray for leaf in nt.trees.flatten(together)[0])
    for i in range(BATCH):
        one = nt.trees.unflatten(structure, [s[i] for s in leaves])
        row = nt.trees.unflatten(structure, [s[i] for s in nt.trees.flatten(together)[0]])
        assert_same(cell(params, one, x[i]), row)
    assert_same(nt.vmap(lambda s, x: cell(params, s, x))(state, x), together)


@pytest.mark.parametrize("kind", CELLS)
def test_derivatives_of_cells(kind):
    """Against differences, and forward against reverse: <w, Jv> = <Jᵀw, v>, <u, Hv> = <v, Hu>."""
    cell, params = made(kind)
    state = random_state(params, None)
    x = np.random.default_rng(2).standard_normal(INPUTS)
    nt.check_grads(lambda p, s, x: nt.trees.flatten(cell(p, s, x))[0], (params, state, x))


@pytest.mark.parametrize(("kind", "most"), [("tanh", 5), ("gru", 12), ("lstm", 11)])
def test_a_step_is_few_operations(kind, most):
    """Gates side by side: two products a step, and slices, which record nothing."""
    cell, params = made(kind)
    with nt.Tape() as tape:
        p = {name: nt.var(value) for name, value in params.items()}
        state = cell(p, nn.zero_state(params), np.ones(INPUTS))
        before = len(tape)
        cell(p, state, np.ones(INPUTS))
    assert len(tape) - before <= most


@pytest.mark.parametrize("kind", CELLS)
def test_float32_stays_float32(kind):
    cell, params = made(kind, dtype=np.float32)
    xs = np.ones((T, BATCH, INPUTS), np.float32)

    def loss(params):
        state, outputs = nn.unroll(cell, params, None, xs, lengths=[5, 2, 0])
        assert all(np.dtype(s.dtype) == np.float32 for s in nt.trees.flatten(state)[0])
        return np.sum(outputs * outputs)

    plain, grads = loss(params), nt.grad(loss)(params)
    assert plain.dtype == np.float32
    assert all(g.dtype == np.float32 for g in grads.values())


def test_zero_state():
    rng = np.random.default_rng(0)
    h, c = nn.zero_state(nn.lstm_init(rng, 2, 3))
    assert h.shape == c.shape == (3,) and h is not c
    layers = nn.stacked_init(nn.gru_init, rng, 2, 3, 2, bidirectional=True, dtype=np.float32)
    state = nn.zero_state(layers, batch=4)
    assert len(state) == 2 and set(state[0]) == {"forward", "backward"}
    assert state[1]["backward"].shape == (4, 3) and state[1]["backward"].dtype == np.float32
    with pytest.raises(ArgumentError, match="the first state of your own cell"):
        nn.zero_state(np.ones(3))


# --- dropout, embedding, dense -----------------------------------------------------------------


def test_dropout():
    rng = np.random.default_rng(12)
    mask = nn.dropout_mask(rng, (200, 300), 0.3)
    assert set(np.unique(mask)) == {0.0, 1 / 0.7}
    assert abs((mask == 0).mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / mask.size)
    assert mask.mean() == pytest.approx(1, abs=0.02)
    assert (nn.dropout_mask(rng, 5, 0.0) == 1).all()
    assert nn.dropout_mask(rng, (2,), 0.5, np.float32).dtype == np.float32
    x = np.ones(3)
    assert nn.dropout(x, None) is x
    gradient = nt.grad(lambda x: np.sum(nn.dropout(x, np.array([2.0, 0.0, 2.0])) ** 2))(x)
    assert gradient.tolist() == [8.0, 0.0, 8.0]
    for rate in (-0.1, 1.0, math.nan):
        with pytest.raises(ArgumentError, match="0 <= rate < 1"):
            nn.dropout_mask(rng, 3, rate)
    for shape in ((2,), (2, 3)):
        with pytest.raises(ShapeError, match=r"mask of shape .* does not fit x of shape \(3,\)"):
            nn.dropout(x, np.ones(shape))


def test_a_traced_function_must_not_draw():
    rng = np.random.default_rng(13)

    def drawing(x):
        return np.sum(nn.dropout(x, nn.dropout_mask(rng, x.shape, 0.5)))

    with pytest.raises(UnstableProgramError, match="draw them outside"):
        nt.grad(nt.function(drawing))(np.ones(3))


def test_embedding_is_the_product_of_one_hot_rows():
    rng = np.random.default_rng(14)
    params = nn.embedding_init(rng, 6, 3, scale=0.5)
    ids = np.array([[0, 5, 5], [2, 5, 0]])
    w = rng.standard_normal((2, 3, 3))
    one_hot = np.eye(6)[ids]
    found = nt.value_and_grad(lambda p: np.sum(w * nn.embedding(p, ids)))(params)
    assert_same(found, nt.value_and_grad(lambda p: np.sum(w * (one_hot @ p["W"])))(params))
    traced = nt.grad(nt.function(lambda p, ids: np.sum(w * nn.embedding(p, ids))))
    for numbers in (ids, ids[::-1]):
        assert_same(traced(params, numbers), nt.grad(
            lambda p, n=numbers: np.sum(w * nn.embedding(p, n)))(params))  # fmt: skip
    for wrong in (-1, 6):  # also in a replay
        with pytest.raises(ShapeError, match="an index lies outside"):
            traced(params, np.where(ids == 2, wrong, ids))
    scaled = nn.embedding_init(rng, 500, 40, scale=0.1)["W"]
    assert scaled.std() == pytest.approx(0.1, rel=0.05)
    for wrong, place in ((-1, 1), (6, 1)):
        with pytest.raises(ShapeError, match=rf"id {wrong} at \({place},\) is out of range for 6"):
            nn.embedding(params, [0, wrong])
    with pytest.raises(ArgumentError, match="float64, no integers"):
        nn.embedding(params, np.array([1.0]))


def test_dense():
    rng = np.random.default_rng(15)
    params = nn.dense_init(rng, 3, 2)
    x = rng.standard_normal((4, 5, 3))
    np.testing.assert_allclose(nn.dense(params, x)[2, 1], x[2, 1] @ params["W"], atol=1e-15)
    nt.check_grads(nn.dense, (params, x[0, 0]))
    with pytest.raises(
        ShapeError, match=r"dense: x of shape \(4,\), params\['W'\] of shape \(3, 2"
    ):
        nn.dense(params, np.ones(4))
    with pytest.raises(ShapeError, match=r"params\['b'\] of shape \(3,\)"):
        nn.dense({"W": params["W"], "b": np.ones(3)}, x)


# --- losses and gradients ----------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
def test_sequence_loss_counts_the_steps_that_exist(batch_first):
    rng = np.random.default_rng(16)
    lengths = [2, 4]
    logits = rng.standard_normal((2, 4, 5))
    target = rng.integers(0, 5, (2, 4))
    each = nt.softmax_cross_entropy(logits, target, reduction="none")
    expected = (each[0, :2].sum() + each[1].sum()) / 6
    real = [*rng.standard_normal((2, 2, 4, 3))]
    squares = (real[0] - real[1]) ** 2
    logits[0, 2:], target[0, 2:] = np.nan, -100
    real[0][0, 2:], real[1][0, 2:] = np.inf, np.nan
    if not batch_first:
        logits, target = logits.swapaxes(0, 1), target.T
        real = [x.swapaxes(0, 1) for x in real]
    loss = partial(nn.sequence_loss, batch_first=batch_first)
    value, gradient = nt.value_and_grad(loss)(logits, target, lengths)
    assert value == pytest.approx(expected, abs=1e-14)
    padding = np.isnan(logits)
    assert not gradient[padding].any() and gradient[~padding].all()
    value, gradient = nt.value_and_grad(partial(loss, loss=nt.squared_error))(*real, lengths)
    assert value == pytest.approx((squares[0, :2].sum() + squares[1].sum()) / 18, abs=1e-14)
    assert not gradient[padding[..., :3]].any() and gradient[~padding[..., :3]].all()


def test_sequence_loss_of_one_sequence_and_its_errors():
    logits, target = np.zeros((3, 4)), np.array([0, 1, -1])
    assert nn.sequence_loss(logits, target, 2) == pytest.approx(math.log(4))
    assert nn.sequence_loss(logits, np.array([0, 1, 2])) == pytest.approx(math.log(4))
    with pytest.raises(ArgumentError, match="the mean over no steps"):
        nn.sequence_loss(logits, target, 0)
    with pytest.raises(ShapeError, match=r"target of shape \(2,\)"):
        nn.sequence_loss(logits, target[:2], 2)


def test_global_norm_and_clipping():
    rng = np.random.default_rng(17)
    grads = {"a": rng.standard_normal((3, 4)), "b": [rng.standard_normal(5), 0.25]}
    flat = nt.ravel(grads)[0]
    assert nn.global_norm(grads) == pytest.approx(np.linalg.norm(flat), rel=1e-15)
    clipped, norm = nn.clip_by_global_norm(grads, 0.5)
    assert norm == nn.global_norm(grads)
    np.testing.assert_allclose(nt.ravel(clipped)[0], flat * (0.5 / norm), rtol=1e-15)
    same, _ = nn.clip_by_global_norm(grads, norm)
    assert same is grads
    for size in (1e-200, 1e200):
        assert nn.global_norm([np.array([3 * size, 4 * size])]) == pytest.approx(5 * size)
    assert nn.global_norm({}) == nn.global_norm([np.zeros(3), np.zeros(0)]) == 0.0
    narrow = [np.array([3e20, 4e20], np.float32)]
    clipped, norm = nn.clip_by_global_norm(narrow, 1.0)
    assert clipped[0].dtype == np.float32 and norm == pytest.approx(5e20)
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(NonFiniteError, match=r"gradient\['b'\]\[1\] holds nan or infinity"):
            nn.clip_by_global_norm({"a": np.ones(2), "b": [1.0, np.array([bad])]}, 1.0)
    with pytest.raises(ArgumentError, match="limit must be positive"):
        nn.clip_by_global_norm(grads, 0.0)


def test_clipping_is_differentiable():
    """A step of training within a recording: the derivative goes through the norm, too."""

    def direction(x, limit):
        clipped, norm = nn.clip_by_global_norm({"x": x, "y": x[0] * x[1]}, limit)
        return [clipped["x"], clipped["y"], norm]

    x = np.array([1.5, -2.0, 0.5])
    for limit in (1.0, 100.0):
        nt.check_grads(partial(direction, limit=limit), (x,))


# --- errors ------------------------------------------------------------------------------------


WRONG = {
    "x": ({}, (3,), (4,), r"x has shape \(3,\), but params\['Wx'\] of shape \(2, \d+\) takes"),
    "number": ({}, (), (4,), r"x has shape \(\), but params\['Wx'\]"),
    "state": ({}, (2,), (5,), r"state h has shape \(5,\) and must have \(4,\)"),
    "batch": ({}, (3, 2), (4,), r"state h has shape \(4,\) and must have \(3, 4\), for x of shape"),
    "Wh": ({"Wh": (4, 5)}, (2,), (4,), r"params\['Wh'\] has shape \(4, 5\) and must have \(hidden"),
    "Wx": ({"Wx": (2, 5)}, (2,), (4,), r"params\['Wx'\] has shape \(2, 5\) and must have \(inputs"),
    "b": ({"b": (5,)}, (2,), (4,), r"params\['b'\] has shape \(5,\) and must have"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm"])
@pytest.mark.parametrize(("change", "x", "h", "text"), WRONG.values(), ids=WRONG)
def test_shapes_that_do_not_fit_are_named(kind, change, x, h, text):
    cell, params = made(kind)
    params |= {name: np.ones(shape) for name, shape in change.items()}
    state = (np.ones(h), np.ones(h)) if kind == "lstm" else np.ones(h)
    with pytest.raises(ShapeError, match=rf"^{cell.__name__}: .*{text}.*test_nn.py:\d+\]$"):
        cell(params, state, np.ones(x))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("gru", "bn"), ("both", "peep"), ("both", "gain_x"), ("both", "gain_c"), ("both", "bias_c")],
)
def test_parameters_that_would_broadcast_are_refused(kind, name):
    cell, params = made(kind)
    state, x = nn.zero_state(params), np.ones(INPUTS)
    wrong = {**params, name: np.ones((3, 1))}
    with pytest.raises(ShapeError, match=rf"params\['{name}'\] has shape \(3, 1\) and must have"):
        cell(wrong, state, x)
    if name in ("bn", "gain_c", "bias_c"):
        with pytest.raises(ArgumentError, match=rf"params\['{name}'\] is missing"):
            cell({k: v for k, v in params.items() if k != name}, state, x)


def test_other_mistakes():
    cell, params = made("lstm")
    x, xs = np.ones(INPUTS), np.ones((T, BATCH, INPUTS))
    h = np.zeros(HIDDEN)
    with pytest.raises(ArgumentError, match=r"the state is a pair \(h, c\)"):
        cell(params, h, x)
    with pytest.raises(ShapeError, match=r"state c has shape \(3,\) and h has \(4,\)"):
        cell(params, (h, h[:3]), x)
    with pytest.raises(ArgumentError, match="rnn_init makes it, not a dict with \\['W'\\]"):
        nn.rnn_cell({"W": x}, h, x)
    with pytest.raises(ArgumentError, match="one of tanh, relu, not 'gelu'"):
        nn.rnn_cell(params, h, x, activation="gelu")
    with pytest.raises(ArgumentError, match=r"numpy.random.Generator, such as .*, not from int"):
        nn.glorot_uniform(0, (2, 3))
    with pytest.raises(ShapeError, match=r"makes matrices \(inputs, outputs\), not \(3,\)"):
        nn.orthogonal(np.random.default_rng(0), (3,))
    with pytest.raises(ArgumentError, match="whole numbers of shape"):
        nn.unroll(cell, params, None, xs, lengths=[1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match="lengths from -1 to 6 of sequences with 5 steps"):
        nn.unroll(cell, params, None, xs, lengths=[1, -1, 6])
    with pytest.raises(ShapeError, match=r"2 lengths for xs of shape \(5, 3, 2\)"):
        nn.unroll(cell, params, None, xs, lengths=[1, 2])
    with pytest.raises(ShapeError, match=r"one length for xs of shape \(5, 3, 2\)"):
        nn.unroll(cell, params, None, xs, lengths=3)
    with pytest.raises(ShapeError, match=r"xs\['b'\] has shape \(4, 3\) and must have \(T, ...\)"):
        nn.unroll(cell, params, None, {"a": xs, "b": np.ones((4, 3))})
    with pytest.raises(ArgumentError, match="a state of another structure"):
        nn.unroll(lambda p, s, x: (s, s), None, h, np.ones((T, 3)), lengths=3)


def test_pytorchs_names_are_asked_for():
    with pytest.raises(ArgumentError, match=r"state_dict of a torch\.nn.RNN, GRU or LSTM"):
        nn.from_torch({"weight": np.ones((2, 2))})
    peep = nn.lstm_init(np.random.default_rng(0), 2, 3, peephole=True)
    with pytest.raises(ArgumentError, match=r"torch\.nn has no cell with the parameters"):
        nn.to_torch([peep])
