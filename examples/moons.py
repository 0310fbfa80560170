"""Two moons, told apart by scalar neurons (the demo program of micrograd, written with ndtape).

Every neuron is spelled out with `for` loops over single numbers: 2 inputs, two hidden layers of 16
neurons, one score. The loss is the hinge loss of a support vector machine plus a small penalty on
the squared weights, over all 100 points at once: about 66 000 operations a pass. The functions
below take any kind of number, so that `perf/moons.py` can run the same program with other libraries
and with plain floats.

    python examples/moons.py
"""

import random
from itertools import pairwise

import numpy as np

import ndtape as nt

SIZES = [2, 16, 16, 1]
STEPS = 100
PENALTY = 1e-4


def make_points():
    """The 100 points and their labels, -1 or 1; it seeds both generators, so call it first."""
    from sklearn.datasets import make_moons

    np.random.seed(1337)
    random.seed(1337)
    points, labels = make_moons(n_samples=100, noise=0.1)
    return points.tolist(), [int(label) for label in 2 * labels - 1]


def make_network(number):
    """Layers of neurons [w1, ..., wn, bias]; weights are drawn neuron by neuron, biases are 0."""
    return [
        [
            [number(random.uniform(-1, 1)) for _ in range(inputs)] + [number(0.0)]
            for _ in range(neurons)
        ]
        for inputs, neurons in pairwise(SIZES)
    ]


def parameters(network):
    return [p for layer in network for neuron in layer for p in neuron]


def neuron_sum(neuron, inputs):
    """The weighted sum of one neuron, one product and one addition after the other."""
    *weights, total = neuron
    for weight, x in zip(weights, inputs, strict=True):
        total = total + weight * x
    return total


def score(network, point, relu):
    """The network's answer for one point: positive for one moon, negative for the other."""
    *hidden, output = network
    activations = point
    for layer in hidden:
        activations = [relu(neuron_sum(neuron, activations)) for neuron in layer]
    return neuron_sum(output[0], activations)


def loss_and_scores(network, points, labels, relu):
    """The mean hinge loss with its penalty, and the scores that it was computed from."""
    scores = [score(network, point, relu) for point in points]
    hinge = sum(relu(1 - label * s) for label, s in zip(labels, scores, strict=True))
    penalty = sum(p * p for p in parameters(network))
    return hinge * (1 / len(points)) + PENALTY * penalty, scores


def accuracy(labels, scores):
    right = sum((label > 0) == (s > 0) for label, s in zip(labels, scores, strict=True))
    return right / len(labels)


def learning_rate(step):
    return 1.0 - 0.9 * step / STEPS


def train(steps=STEPS, report=None):
    """Gradient descent with the full batch; returns the losses and the trained network."""
    points, labels = make_points()
    network = make_network(nt.var)
    losses = []
    for step in range(steps):
        loss, scores = loss_and_scores(network, points, labels, nt.relu)
        loss.backward()
        losses.append(loss.value)
        if report is not None:
            report(step, loss.value, accuracy(labels, [s.value for s in scores]))
        with nt.no_grad():
            for p in parameters(network):
                p -= learning_rate(step) * p.grad
                p.zero_grad()
    return losses, network


def main():
    def report(step, loss, right):
        if step % 10 == 0 or step == STEPS - 1:
            print(f"step {step:3d}  loss {loss:.6f}  accuracy {right:.0%}")

    train(report=report)


if __name__ == "__main__":
    main()
