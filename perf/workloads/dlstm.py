"""Bits of a text foretold by a deep LSTM with diagonal weights, ADBench's D-LSTM; real text.

A layer has a weight and a bias of four gates, each a vector of b numbers: the weights are
diagonal, forget and output gates see the input, the other two the state, and the normaliser has a
2 in it. That is the benchmark's definition. Gradients are with respect to all weights.
"""

from dataclasses import dataclass

import numpy as np

from . import data_file


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@dataclass
class Data:
    """Weights where the benchmark differentiates, states of the layers at the start, and bits."""

    main: np.ndarray  # layers × (weights, biases) × 4 × b
    extra: np.ndarray  # 3 × b
    state: tuple[tuple[np.ndarray, np.ndarray], ...]  # (h, c) of each layer
    bits: np.ndarray  # C × b


def read(name):
    """A file of the benchmark, "l2_c1024" or "l4_c4096"; raises `DataMissingError`."""
    words = data_file(f"adbench/lstm/lstm_{name}.txt").read_text(encoding="utf-8").split()
    layers, count, b = map(int, words[:3])
    numbers = np.array(words[3:], dtype=float)
    sizes = [8 * layers * b, 3 * b, 2 * layers * b, count * b]
    main, extra, state, bits, rest = np.split(numbers, np.cumsum(sizes))
    if rest.size:
        raise ValueError(f"{name} has {rest.size} numbers more than its first line says")
    pairs = tuple((h, c) for h, c in state.reshape(layers, 2, b))
    return Data(main.reshape(layers, 2, 4, b), extra.reshape(3, b), pairs, bits.reshape(count, b))


def rows_of(main):
    """Of each layer, the four vectors of weights and those of biases."""
    return [(list(W), list(B)) for W, B in main]


def forecast(layers, extra, state, now):
    """(state, what is said of the next bits) from the bits of now."""
    e0, e1, e2 = extra
    x, after = now * e0, []
    for (W, B), (h, c) in zip(layers, state, strict=True):
        f = sigmoid(x * W[0] + B[0])
        g = sigmoid(h * W[1] + B[1])
        o = sigmoid(x * W[2] + B[2])
        u = np.tanh(h * W[3] + B[3])
        c = f * c + g * u
        h = o * np.tanh(c)
        after.append((h, c))
        x = h
    return tuple(after), x * e1 + e2


def agreement(y, then):
    """The logarithm of the probability that is given to the bits that come."""
    return np.sum(then * (y - np.log(2.0 + np.sum(np.exp(y)))))


def loop(parameters, state, bits):
    """The loss as a plain loop over time; `parameters` is the pair (main, extra)."""
    main, extra = parameters
    layers, extra = rows_of(main), list(extra)
    total = 0.0
    for t in range(len(bits) - 1):
        state, y = forecast(layers, extra, state, bits[t])
        total = total + agreement(y, bits[t + 1])
    return -total / ((len(bits) - 1) * bits.shape[1])


def scanned(scan):
    """The same by `scan(f, init, xs)`."""

    def loss(parameters, state, bits):
        main, extra = parameters
        layers, extra = rows_of(main), list(extra)

        def step(state, pair):
            now, then = pair
            state, y = forecast(layers, extra, state, now)
            return state, agreement(y, then)

        _, terms = scan(step, state, (bits[:-1], bits[1:]))
        return -np.sum(terms) / ((len(bits) - 1) * bits.shape[1])

    return loss
