"""The moons example against 100 losses that were computed elsewhere (by matrix products, in another
library): the example shows that a program of scalar neurons trains as it should, and this test that
a gradient error too small to see in a falling loss is still noticed."""

from pathlib import Path

import moons
import pytest

import ndtape as nt

LOSSES = [float(x) for x in Path(__file__).with_name("moons_losses.txt").read_text().split()]


def test_first_gradient():
    points, labels = moons.make_points()
    network = moons.make_network(nt.var)
    loss, _ = moons.loss_and_scores(network, points, labels, nt.relu)
    loss.backward()
    gradient = [p.grad for p in moons.parameters(network)]
    assert loss.value == pytest.approx(0.8958441028683221, rel=1e-12)
    assert len(gradient) == 337
    assert sum(gradient) == pytest.approx(-0.6056724866906267, rel=1e-9)
    assert sum(g * g for g in gradient) ** 0.5 == pytest.approx(2.928064045128692, rel=1e-9)
    assert gradient[:2] == pytest.approx([0.31482821443274966, -0.19240402282970825], rel=1e-9)


def test_hundred_losses():
    losses, network = moons.train()
    assert len(losses) == len(LOSSES) == 100
    for ours, golden in zip(losses, LOSSES, strict=True):
        assert abs(ours - golden) < 1e-9 * max(1.0, abs(golden))
    points, labels = moons.make_points()
    plain = [[[p.value for p in neuron] for neuron in layer] for layer in network]
    _, scores = moons.loss_and_scores(plain, points, labels, lambda x: max(x, 0.0))
    assert moons.accuracy(labels, scores) == 1.0
