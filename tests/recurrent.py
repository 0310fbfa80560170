"""Cells with random parameters, and trees that must be equal: what the tests of ndtape.nn share."""

from functools import partial

import numpy as np

import ndtape as nt
from ndtape import nn

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
