"""The public workloads of `perf/workloads` meet their golden values, however they are run."""

import sys
from pathlib import Path

import numpy as np
import pytest

import ndtape as nt

sys.path.append(str(Path(__file__).parent.parent / "perf"))  # last: examples has a moons.py too

from replay_race import nested, ours
from replay_race.problems import problem as problem_of
from workloads import (
    GOLDEN,
    DataMissingError,
    ackley,
    cascade,
    distance,
    fill,
    golden_distance,
    moons,
    rosenbrock,
    tridiagonal,
)

SMALL = [
    *("rosenbrock_2", "rosenbrock_100", "ackley_2", "ackley_100", "cascade_20", "cascade_36"),
    *("gmm_test", "gmm_d2_K5", "lynx_hare", "moons"),
]
LARGE = ["rosenbrock_10000", "ackley_10000", "gmm_d10_K10", "gmm_d20_K25"]
CHAINS = [rosenbrock, ackley, cascade]


def programs(name):
    """The problem, and each form its program is written in."""
    try:
        problem = problem_of(name)
        return problem, list(ours.programs(problem))
    except DataMissingError as error:
        pytest.skip(str(error))


def eager(program, point):
    """With a leaf and `backward`."""
    leaf = nt.var(point)
    y = program.function(program.convert(leaf) if program.convert is not np.array else leaf)
    y.backward()
    return y.value, leaf.grad


def afresh(program, point):
    """By a transform, recorded at each call."""
    value, gradient = nt.value_and_grad(program.function)(program.convert(point))
    return value, program.to_flat(gradient)


def traced(program, point):
    """Recorded at another point and replayed at this one, by way of a third."""
    function = nt.function(program.function)
    function.clear()
    call = nt.value_and_grad(function)
    for other in (1.001 * point, 1.002 * point):
        call(program.convert(other))
    value, gradient = call(program.convert(point))
    counters = function.counters
    assert counters.replays > 0
    assert counters.recordings <= 3
    return value, program.to_flat(gradient)


@pytest.mark.parametrize("way", [eager, afresh, traced])
@pytest.mark.parametrize("name", SMALL)
def test_value_and_gradient(name, way):
    problem, forms = programs(name)
    for program in forms:
        value, gradient = way(program, problem.points[0])
        assert golden_distance(name, value, gradient) < 1e-10, program.how


@pytest.mark.parametrize("name", LARGE)
def test_large_ones_by_replay(name):
    problem, forms = programs(name)
    for program in forms:
        value, gradient = traced(program, problem.points[0])
        assert golden_distance(name, value, gradient) < 1e-10, program.how


@pytest.mark.parametrize("name", SMALL)
def test_directional_derivatives(name):
    """Forward mode gives the golden gradient in a direction, and the Hessian is symmetric."""
    problem, forms = programs(name)
    point, v, w = problem.points[0], problem.direction, fill(problem.direction.size, 3)
    for program in forms:
        function = nt.function(program.function)
        x, v_tree, w_tree = map(program.convert, (point, v, w))
        value, slope = nt.jvp(function, (x,), (v_tree,))
        _, (gradient,), (product,) = nt.hvp(function, (x,), (v_tree,))
        _, _, (other,) = nt.hvp(function, (x,), (w_tree,))
        gradient, product, other = map(program.to_flat, (gradient, product, other))
        assert golden_distance(name, value, gradient) < 1e-10
        scale = np.abs(gradient) @ np.abs(v)
        assert abs(slope - gradient @ v) <= 1e-10 * max(1.0, scale)
        scale = max(1.0, np.abs(product) @ np.abs(w), np.abs(other) @ np.abs(v))
        assert abs(product @ w - other @ v) <= 1e-10 * scale


@pytest.mark.parametrize("form", ["loop", "vector"])
def test_products_with_the_hessian(form):
    program = getattr(rosenbrock, form)
    for f in (program, nt.function(program)):
        value, _, (product,) = nt.hvp(f, (fill(100),), (fill(100, 7),))
        assert golden_distance("rosenbrock_hvp_100", value, product) < 1e-10


@pytest.mark.parametrize("n", [3, 100, 1000])
@pytest.mark.parametrize("form", ["loop", "vector"])
def test_the_tridiagonal_hessian(form, n):
    f, x = nt.function(getattr(rosenbrock, form)), fill(n)
    products = [nt.hvp(f, (x,), (v,))[2][0] for v in tridiagonal.seeds(n)]
    diagonal, below = tridiagonal.from_products(products)
    wanted_diagonal, wanted_below = tridiagonal.rosenbrock(x)
    assert distance(diagonal, wanted_diagonal) < 1e-10
    assert distance(below, wanted_below) < 1e-10


@pytest.mark.parametrize("module", CHAINS, ids=lambda module: module.__name__.split(".")[-1])
def test_loops_and_vectors_agree(module):
    x = fill(100) if module is not cascade else 1.0 + fill(30)
    one, other = (nt.value_and_grad(nt.function(f))(x) for f in (module.loop, module.vector))
    for a, b in zip(one, other, strict=True):
        assert distance(a, b) < 1e-12


@pytest.mark.parametrize("form", ["loop", "vector"])
def test_every_entry_of_the_cascade_relative_to_itself(form):
    """f is a multiple of each x[i], so x[i] ∂f/∂x[i] = f, however small; 0 beyond 4s variables."""
    call = nt.value_and_grad(nt.function(getattr(cascade, form)))
    for n in (20, 36):
        x = 1.0 + fill(n)
        value, gradient = call(x)
        assert value > 0.0
        assert np.allclose(x * gradient, value, rtol=1e-12, atol=0.0)
    value, gradient = call(1.0 + fill(37))
    assert value == 0.0
    assert not gradient.any()


def test_the_moons_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    points, labels = moons.make_points()
    np.random.seed(1337)
    wanted, kinds = datasets.make_moons(100, noise=0.1)
    assert points == wanted.tolist()
    assert labels == (2.0 * kinds - 1.0).tolist()


def test_training_the_moons():
    points, labels = moons.make_points()
    function = nt.function(lambda network: moons.loss(network, points, labels))
    losses = moons.train(nt.value_and_grad(function), moons.make_network())
    assert distance(losses, GOLDEN["moons_losses"]) < 1e-9
    assert len(function.tapes) == 1


@pytest.mark.parametrize("problem", ["particle", "saddle"])
def test_nested_derivatives_in_every_mode(problem):
    _, name = nested.PROGRAMS[problem]
    for entry in nested.with_ndtape(problem):
        assert distance(entry.run(), GOLDEN[name]) < 1e-10, entry.name
        assert entry.facts()["tapes"] >= 1
