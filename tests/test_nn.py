"""Recurrent networks: cells by their formulas, sequences by each other, lengths, losses, errors."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

import ndtape as nt
from ndtape import nn
from ndtape.errors import ArgumentError, NonFiniteError, ShapeError, UnstableProgramError
from ndtape.loops import schedules

T, BATCH, INPUTS, HIDDEN = 5, 3, 2, 4
CELLS = {
    "tanh": (nn.rnn_init, nn.rnn_cell),
    "relu": (
        partial(nn.rnn_init, activation="relu"),
        partial(nn.rnn_cell, activation="relu"),
    ),
    "gru": (nn.gru_init, nn.gru_cell),
    "lstm": (nn.lstm_init, nn.lstm_cell),
    "peephole": (partial(nn.lstm_init, peephole=True), nn.lstm_cell),
    "layer norm": (partial(nn.lstm_init, layer_norm=True), nn.lstm_cell),
    "both": (partial(nn.lstm_init, peephole=True, layer_norm=True), nn.lstm_cell),
}


def made(kind, seed=0, dtype=np.float64, inputs=INPUTS):
    """Cell and parameters, none of which is 0 or 1 (as biases and gains begin)."""
    init, cell = CELLS[kind]
    rng = np.random.default_rng(seed)
    params = init(rng, inputs, HIDDEN, dtype=dtype)
    noise = {name: 0.3 * rng.standard_normal(p.shape) for name, p in params.items()}
    return cell, {name: (p + noise[name]).astype(dtype) for name, p in params.items()}


def random_state(params, batch, seed=1):
    rng = np.random.default_rng(seed)
    leaves, structure = nt.trees.flatten(nn.zero_state(params, batch))
    return nt.trees.unflatten(structure, [rng.standard_normal(x.shape) for x in leaves])


def assert_same(one, other, atol=1e-13):
    a, structure = nt.trees.flatten(one)
    b, own = nt.trees.flatten(other)
    assert structure == own
    for x, y in zip(a, b, strict=True):
        assert np.shape(x) == np.shape(y)
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=atol)


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


# --- sequences ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tanh", "gru", "both"])
@pytest.mark.parametrize("lengths", [None, [3, 5, 0]])
@pytest.mark.parametrize("reverse", [False, True])
def test_unroll_and_scan_are_the_plain_loop(kind, lengths, reverse):
    cell, params = made(kind)
    xs = np.random.default_rng(3).standard_normal((T, BATCH, INPUTS))
    first = random_state(params, BATCH)
    w = np.random.default_rng(4).standard_normal((T, BATCH, HIDDEN))

    def plain(params, first, xs):
        """Sequence by sequence, cut to its length."""
        total = 0.0
        for i in range(BATCH):
            leaves, structure = nt.trees.flatten(first)
            state = nt.trees.unflatten(structure, [s[i] for s in leaves])
            steps = range(T if lengths is None else lengths[i])
            for t in reversed(steps) if reverse else steps:
                state = cell(params, state, xs[t, i])
                total = total + np.sum(w[t, i] * (state[0] if isinstance(state, tuple) else state))
            total = total + sum(np.sum(s * s) for s in nt.trees.flatten(state)[0])
        return total

    def layered(loop, batch_first, params, first, xs):
        if batch_first:
            xs = np.swapaxes(xs, 0, 1)
        state, outputs = loop(
            cell, params, first, xs, lengths=lengths, reverse=reverse, batch_first=batch_first
        )
        weights = w.swapaxes(0, 1) if batch_first else w
        end = sum(np.sum(s * s) for s in nt.trees.flatten(state)[0])
        return np.sum(weights * outputs) + end

    expected = nt.value_and_grad(plain, argnums=(0, 1, 2))(params, first, xs)
    for loop in (nn.unroll, nn.scan_layer, partial(nn.scan_layer, checkpoint=schedules.every(2))):
        for batch_first in (False, True):
            f = partial(layered, loop, batch_first)
            assert_same(nt.value_and_grad(f, argnums=(0, 1, 2))(params, first, xs), expected)
            assert float(f(params, first, xs)) == pytest.approx(float(expected[0]), abs=1e-13)


@pytest.mark.parametrize("loop", [nn.unroll, nn.scan_layer])
def test_nothing_comes_through_padding(loop):
    """Neither numbers nor derivatives, whatever stands there: nan and infinity included.

    To the last bits: products with what is not finite are added up in another order.
    """
    cell, params = made("lstm")
    lengths = np.array([2, 5, 0])
    xs = np.random.default_rng(3).standard_normal((T, BATCH, INPUTS))
    layers = {"forward": params, "backward": made("lstm", seed=7)[1]}

    def loss(layers, xs):
        state, outputs = nn.bidirectional(cell, layers, None, xs, lengths=lengths, loop=loop)
        return np.sum(outputs**2) + sum(np.sum(s) for s in nt.trees.flatten(state)[0])

    expected = nt.value_and_grad(loss, argnums=(0, 1))(layers, xs)
    beyond = ~nn.step_mask(lengths, T)
    assert not expected[1][1][beyond].any()
    for bad in (np.nan, np.inf, 1e300):
        spoilt = np.where(beyond[..., None], bad, xs)
        found = nt.value_and_grad(loss, argnums=(0, 1))(layers, spoilt)
        assert_same(found, expected)
        assert not found[1][1][beyond].any()
    state, outputs = nn.bidirectional(cell, layers, None, xs, lengths=lengths, loop=loop)
    assert not outputs[beyond].any() and not state["forward"][0][2].any()
    # the backward layer begins at each sequence's own end
    alone, _ = nn.scan_layer(cell, layers["backward"], None, xs[:2, 0], reverse=True)
    assert_same(tuple(s[0] for s in state["backward"]), alone)
    assert (outputs[0, :, HIDDEN:][:2] == state["backward"][0][:2]).all()


def test_a_traced_model_takes_lengths_and_masks_as_arguments():
    rng = np.random.default_rng(6)
    cell, params = made("gru")
    layers = [params, made("gru", seed=8, inputs=HIDDEN)[1]]
    xs = rng.standard_normal((T, BATCH, INPUTS))

    def loss(layers, xs, lengths, mask):
        _, outputs = nn.stacked(cell, layers, None, xs, masks=[mask], lengths=lengths)
        return nn.sequence_loss(outputs, 0.5, lengths, loss=squared)

    def squared(prediction, target, reduction):
        return np.sum((prediction - target) ** 2, axis=-1)

    traced = nt.value_and_grad(nt.function(loss))
    for lengths in ([5, 5, 5], [1, 4, 2], [0, 0, 3]):
        mask = nn.dropout_mask(rng, (T, BATCH, HIDDEN), 0.4)
        arguments = (layers, xs, np.array(lengths), mask)
        assert_same(traced(*arguments), nt.value_and_grad(loss)(*arguments))


def test_a_traced_loop_takes_lengths_as_numbers_lists_and_arrays():
    def total(xs, lengths):
        state = np.zeros(xs.shape[1:])
        return np.sum(nn.unroll(lambda p, s, x: s + x, None, state, xs, lengths=lengths)[1])

    xs = np.ones((3, 2, 1))
    traced = nt.value_and_grad(nt.function(total))
    for one, two in ((1, 3), (2, 3), (0, 1)):
        expected = sum(range(one + 1)) + sum(range(two + 1))
        for kind in (list, tuple, np.array):
            assert traced(xs, kind([one, two]))[0] == expected
        value, gradient = traced(xs[:, 0], two)
        assert value == sum(range(two + 1))
        assert gradient.ravel().tolist() == [max(two - t, 0) for t in range(3)]


def test_higher_derivatives_and_vmap_of_a_sequence():
    cell, params = made("tanh")
    xs = np.random.default_rng(3).standard_normal((BATCH, T, INPUTS))

    def loss(loop, params, xs):
        return np.sum(loop(cell, params, None, xs)[1] ** 2)

    for loop in (nn.unroll, nn.scan_layer):
        nt.check_grads(partial(loss, loop), (params, xs[0]))
    batched = nt.vmap(nt.grad(partial(loss, nn.unroll)), in_axes=(None, 0))(params, xs)
    for i in range(BATCH):
        one = nt.grad(partial(loss, nn.unroll))(params, xs[i])
        assert_same({name: g[i] for name, g in batched.items()}, one)


def test_a_cell_of_ones_own_with_trees_for_state_and_inputs():
    """A leaky integrator whose state is a dict, fed with two arrays of different rank."""

    def leaky(decay, state, x):
        level = decay * state["level"] + x["drive"] * x["gate"][..., None]
        return {"level": level, "energy": state["energy"] + np.sum(level * level, axis=-1)}

    rng = np.random.default_rng(9)
    xs = {"drive": rng.standard_normal((BATCH, T, 2)), "gate": rng.standard_normal((BATCH, T))}
    first = {"level": np.zeros((BATCH, 2)), "energy": np.zeros(BATCH)}

    def total(loop, decay):
        state, outputs = loop(leaky, decay, first, xs, lengths=[5, 1, 3], batch_first=True)
        return np.sum(state["energy"]) + np.sum(outputs["level"]), outputs

    found = [
        nt.value_and_grad(partial(total, loop), has_aux=True)(0.5)
        for loop in (nn.unroll, nn.scan_layer)
    ]
    assert_same(*found, atol=1e-12)
    outputs = found[0][0][1]
    assert outputs["level"].shape == (BATCH, T, 2) and outputs["energy"].shape == (BATCH, T)
    level = energy = 0.0
    for t in range(3):
        level = 0.5 * level + xs["drive"][2, t] * xs["gate"][2, t]
        energy = energy + np.sum(level * level)
        np.testing.assert_allclose(outputs["level"][2, t], level)
        np.testing.assert_allclose(outputs["energy"][2, t], energy)
    assert not outputs["level"][2, 3:].any() and not outputs["energy"][1, 1:].any()


def test_a_sequence_without_steps():
    cell, params = made("lstm")
    first = random_state(params, 2)
    state, outputs = nn.unroll(cell, params, first, np.zeros((2, 0, INPUTS)), batch_first=True)
    assert_same(state, first)
    assert outputs.shape == (2, 0, HIDDEN)


# --- stacks ------------------------------------------------------------------------------------


def test_masks_multiply_what_goes_between_layers():
    rng = np.random.default_rng(10)
    layers = nn.stacked_init(nn.gru_init, rng, INPUTS, HIDDEN, 3)
    xs = rng.standard_normal((T, BATCH, INPUTS))
    each_step = nn.dropout_mask(rng, (T, BATCH, HIDDEN), 0.5)
    for masks in ([each_step, None], [each_step[0], each_step], None):
        state, outputs = nn.stacked(nn.gru_cell, layers, None, xs, masks=masks, loop=nn.unroll)
        ys = xs
        for i, layer in enumerate(layers):
            end, ys = nn.unroll(nn.gru_cell, layer, None, ys)
            assert_same(state[i], end)
            if masks is not None and i < 2 and masks[i] is not None:
                ys = ys * masks[i]
        assert_same(outputs, ys)


@pytest.mark.parametrize("kind", CELLS)
def test_products_with_inputs_may_stand_ahead_of_the_loop(kind):
    cell, params = made(kind)
    step = {
        nn.rnn_cell: partial(nn.rnn_step, activation="relu" if kind == "relu" else "tanh"),
        nn.gru_cell: nn.gru_step,
        nn.lstm_cell: nn.lstm_step,
    }[getattr(cell, "func", cell)]
    layers = [{"forward": params, "backward": made(kind, seed=20)[1]}]
    layers.append(made(kind, seed=21, inputs=2 * HIDDEN)[1])
    xs = np.random.default_rng(22).standard_normal((BATCH, T, INPUTS))

    def loss(layers, xs, cell, inputs):
        state, outputs = nn.stacked(
            cell, layers, None, xs, inputs=inputs, lengths=[5, 2, 3], batch_first=True
        )
        return np.sum(outputs**2) + sum(np.sum(s) for s in nt.trees.flatten(state)[0])

    both = nt.value_and_grad(loss, argnums=(0, 1))
    assert_same(both(layers, xs, step, nn.project), both(layers, xs, cell, None))
    with pytest.raises(ShapeError, match=r"_step: z has shape \(3,\), but params\['Wh'\]"):
        step(params, nn.zero_state(params), np.ones(3))
    with pytest.raises(ShapeError, match=r"project: xs has shape \(5, 3\), but params\['Wx'\]"):
        nn.project(params, np.ones((5, 3)))


def test_stacks_are_lists_and_two_ways_are_dicts():
    rng = np.random.default_rng(11)
    layers = nn.stacked_init(nn.gru_init, rng, INPUTS, HIDDEN, 2, bidirectional=True)
    xs = np.ones((T, INPUTS))
    with pytest.raises(ArgumentError, match="state must be a list of 2 for 2 layers, not 1 of"):
        nn.stacked(nn.gru_cell, layers, [None], xs)
    with pytest.raises(ArgumentError, match="masks must be a list of 1 for 2 layers, not 2 of"):
        nn.stacked(nn.gru_cell, layers, None, xs, masks=[None, None])
    with pytest.raises(ArgumentError, match="params must be a list with an entry a layer"):
        nn.stacked(nn.gru_cell, layers[0], None, xs)
    with pytest.raises(ArgumentError, match="params must be a dict with the keys 'forward'"):
        nn.bidirectional(nn.gru_cell, layers[0]["forward"], None, xs)
    with pytest.raises(ArgumentError, match="state must be a dict with the keys 'forward'"):
        nn.bidirectional(nn.gru_cell, layers[0], np.zeros(HIDDEN), xs)
    with pytest.raises(ArgumentError, match="a stack of 0 layers"):
        nn.stacked_init(nn.gru_init, rng, 2, 3, 0)


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
