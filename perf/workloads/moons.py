"""Two moons by scalar neurons: a network 2-16-16-1, hinge loss over 100 points, full batch.

Every neuron is spelled out with scalars: about 66 000 operations a pass. The network is a list of
layers, a layer a list of neurons [w1, …, wn, bias].
"""

import random
from itertools import pairwise

import numpy as np

SIZES = [2, 16, 16, 1]
STEPS = 100
PENALTY = 1e-4


def make_points(size=100, noise=0.1):
    """The points and their labels, −1 or 1; it seeds both generators, so call it first.

    The numbers of scikit-learn's `make_moons(100, noise=0.1)`, without the second it takes to load.
    """
    np.random.seed(1337)
    random.seed(1337)
    angles = np.linspace(0.0, np.pi, size // 2)
    upper = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    lower = np.stack([1.0 - np.cos(angles), 1.0 - np.sin(angles) - 0.5], axis=1)
    order = np.arange(size)
    np.random.shuffle(order)
    points = np.concatenate([upper, lower])[order] + np.random.normal(scale=noise, size=(size, 2))
    labels = np.repeat([-1.0, 1.0], size // 2)[order]
    return points.tolist(), labels.tolist()


def make_network():
    return [
        [[random.uniform(-1, 1) for _ in range(inputs)] + [0.0] for _ in range(neurons)]
        for inputs, neurons in pairwise(SIZES)
    ]


def relu(x):
    return np.maximum(x, 0.0)


def neuron_sum(neuron, inputs):
    *weights, total = neuron
    for weight, x in zip(weights, inputs, strict=True):
        total = total + weight * x
    return total


def score(network, point):
    """The answer for one point: positive for one moon, negative for the other."""
    *hidden, output = network
    activations = point
    for layer in hidden:
        activations = [relu(neuron_sum(neuron, activations)) for neuron in layer]
    return neuron_sum(output[0], activations)


def loss(network, points, labels):
    """The mean hinge loss, and a small penalty on the squared parameters."""
    hinge = sum(relu(1.0 - y * score(network, p)) for p, y in zip(points, labels, strict=True))
    penalty = sum(p * p for layer in network for neuron in layer for p in neuron)
    return hinge * (1.0 / len(points)) + PENALTY * penalty


def descended(network, gradient, rate):
    """The network after one step."""
    return [
        [
            [p - rate * g for p, g in zip(neuron, slopes, strict=True)]
            for neuron, slopes in zip(layer, layer_slopes, strict=True)
        ]
        for layer, layer_slopes in zip(network, gradient, strict=True)
    ]


def train(value_and_gradient, network, steps=STEPS):
    """Gradient descent; the losses before each step."""
    losses = []
    for step in range(steps):
        value, gradient = value_and_gradient(network)
        losses.append(float(value))
        network = descended(network, gradient, 1.0 - 0.9 * step / STEPS)
    return losses


def from_vector(parameters):
    """The network of a flat sequence: by layers, the weights of the neurons, then the biases."""
    supply, network = iter(parameters), []
    for inputs, neurons in pairwise(SIZES):
        layer = [[next(supply) for _ in range(inputs)] for _ in range(neurons)]
        network.append([[*weights, next(supply)] for weights in layer])
    return network


def to_vector(network):
    """The inverse of `from_vector`."""
    parts = []
    for layer in network:
        parts += [w for *weights, _ in layer for w in weights]
        parts += [bias for *_, bias in layer]
    return np.array(parts, dtype=float)


# --- the same network as matrices, as a user of an array library writes it ------------------------


def to_matrices(parameters):
    """[(weights, biases)] of a flat array."""
    layers, rest = [], parameters
    for inputs, neurons in pairwise(SIZES):
        weights, biases = rest[: inputs * neurons], rest[inputs * neurons :][:neurons]
        layers.append((weights.reshape(neurons, inputs), biases))
        rest = rest[(inputs + 1) * neurons :]
    return layers


def matrix_loss(parameters, points, labels):
    """`loss` of a flat array of parameters; points and labels are arrays."""
    *hidden, (weights, bias) = to_matrices(parameters)
    activations = points
    for layer_weights, layer_biases in hidden:
        activations = relu(activations @ layer_weights.T + layer_biases)
    scores = activations @ weights[0] + bias[0]
    return relu(1.0 - labels * scores).mean() + PENALTY * (parameters**2).sum()
