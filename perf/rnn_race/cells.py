"""Recurrent cells as a NumPy user writes them, and the two ways to run them over time.

The equations, and the order of the gates, are those of PyTorch's modules. Weights are (outputs,
inputs). A state is a vector, or a row for each sequence of a batch. Each library gets a copy of
this module in which `np` and `sigmoid` are its own.
"""

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def product(W, x):
    return W @ x if x.ndim == 1 else x @ W.T


def rnn(parameters, h, x):
    Wx, Wh, b = parameters
    h = np.tanh(product(Wx, x) + product(Wh, h) + b)
    return h, h


def gru(parameters, h, x):
    Wx, Wh, bx, bh = parameters
    fed, kept, H = product(Wx, x) + bx, product(Wh, h) + bh, h.shape[-1]
    r = sigmoid(fed[..., :H] + kept[..., :H])
    z = sigmoid(fed[..., H : 2 * H] + kept[..., H : 2 * H])
    n = np.tanh(fed[..., 2 * H :] + r * kept[..., 2 * H :])
    h = (1.0 - z) * n + z * h
    return h, h


def lstm(parameters, state, x):
    Wx, Wh, b = parameters
    h, c = state
    gates, H = product(Wx, x) + product(Wh, h) + b, h.shape[-1]
    i, f = sigmoid(gates[..., :H]), sigmoid(gates[..., H : 2 * H])
    g, o = np.tanh(gates[..., 2 * H : 3 * H]), sigmoid(gates[..., 3 * H :])
    c = f * c + i * g
    h = o * np.tanh(c)
    return (h, c), h


def unrolled(cell, every):
    """The loss as a Python loop: the sum of squares of all outputs, or of the last one only."""

    def loss(parameters, state, xs):
        outputs = []
        for x in xs:
            state, h = cell(parameters, state, x)
            outputs.append(h)
        return np.sum(np.stack(outputs) ** 2) if every else np.sum(h**2)

    return loss


def scanned(cell, every, scan):
    """The same by `scan(f, init, xs)`."""

    def loss(parameters, state, xs):
        def step(state, x):
            state, h = cell(parameters, state, x)
            return state, h if every else None

        state, outputs = scan(step, state, xs)
        if every:
            return np.sum(outputs**2)
        return np.sum((state[0] if isinstance(state, tuple) else state) ** 2)

    return loss
