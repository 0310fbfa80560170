"""Sequences: loops equal each other and plain Python; lengths, stacks, traced models."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from recurrent import BATCH, CELLS, HIDDEN, INPUTS, T, assert_same, made, random_state

import ndtape as nt
from ndtape import nn
from ndtape.errors import ArgumentError, ShapeError
from ndtape.loops import schedules

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
