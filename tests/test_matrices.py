"""Products of matrices that are written out as scalars: found, laid out, and right."""

from itertools import pairwise

import numpy as np
import pytest

import ndtape as nt
from ndtape.passes import Goal, OptimisedTape, code_of, grids, optimised, seal
from ndtape.passes.matrices import matrices
from ndtape.run import Workspace
from ndtape.verify import verify_code

RNG = np.random.default_rng(7)


def numbers(*shape):
    """Nested lists of floats."""
    return RNG.uniform(-1.0, 1.0, shape).tolist()


def variables(tree):
    return [variables(x) for x in tree] if isinstance(tree, list) else nt.var(tree)


def flat(tree):
    return [y for x in tree for y in flat(x)] if isinstance(tree, list) else [tree]


def recorded(f, *args):
    """The code of f, and the numbers that it was recorded at."""
    with nt.Tape() as tape:
        leaves = [variables(x) for x in args]
        for x in flat(leaves):
            x + 0.0  # on the tape in this order, whether f reads it or not
        result = f(*leaves)
    inputs = flat(list(args))
    whole = seal(tape)
    code = code_of(whole, len(inputs), np.arange(whole.slots)[-1:])
    assert result.value == swept(code, inputs)[0][0]
    return code, inputs


def swept(code, x):
    """Value, gradient, tangent, Hessian product."""
    work, root = Workspace(OptimisedTape(code)), int(code.results[0])
    work.array("v")[: len(x)] = x
    work.forward(lo=code.inputs)
    along = dict(enumerate(np.linspace(-1.0, 1.0, len(x)).tolist()))
    return (
        work.array("v")[code.results].copy(),
        work.reverse({root: 1.0}, lo=code.inputs)[: len(x)].copy(),
        work.tangent(along)[code.results].copy(),
        work.second(root, along)[1][: len(x)].copy(),
    )


def names(code):
    return [i.name for i in OptimisedTape(code)][code.inputs :]


def recovered(f, *args):
    """What the pass makes of f, and then all of them; the numbers are those of the recording."""
    code, x = recorded(f, *args)
    found = matrices(code, Goal())
    assert found is not None
    verify_code(found, once=True)
    whole = optimised(code, Goal())
    verify_code(whole)
    points = [np.array(x), RNG.uniform(-1.0, 1.0, len(x))]
    for point in points:
        expected = swept(code, point)
        for better in (found, whole):
            for mine, other in zip(swept(better, point), expected, strict=True):
                scale = max(1.0, np.abs(other).max())
                np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-11 * scale)
    return names(found), names(whole)


# --- a matrix and a vector ------------------------------------------------------------------------


def by_sum(w, x, b):
    return sum(a * c for a, c in zip(w, x, strict=True)) + b


def by_loop(w, x, b):
    total = b
    for a, c in zip(w, x, strict=True):
        total = total + a * c
    return total


def other_factor_first(w, x, b):
    return b + sum(c * a for a, c in zip(w, x, strict=True))


def subtracted(w, x, b):
    total = b
    for a, c in zip(w, x, strict=True):
        total = total - a * c
    return 0.5 - total


@pytest.mark.parametrize("row", [by_sum, by_loop, other_factor_first, subtracted])
def test_a_product_written_as_loops(row):
    def f(weights, x, biases):
        y = [np.tanh(row(w, x, b)) for w, b in zip(weights, biases, strict=True)]
        return sum(y)

    found, whole = recovered(f, numbers(12, 12), numbers(12), numbers(12))
    assert found.count("dot") == 1 and found.count("tanh") == 1 and "multiply" not in found
    assert len(whole) <= 12 + 6  # sums of twelve numbers are not worth a kernel


def test_columns_first():
    def f(weights, x):
        y = [0.0] * 16
        for j, c in enumerate(x):
            for i in range(16):
                y[i] = y[i] + weights[i][j] * c
        return sum(y)

    assert recovered(f, numbers(16, 9), numbers(9))[0].count("dot") == 1


def test_elements_of_an_array():
    @nt.function
    def f(weights, x):
        y = [sum(weights[i, j] * x[j] for j in range(8)) for i in range(8)]
        return sum(v * v for v in y)

    weights, x = np.array(numbers(8, 8)), np.array(numbers(8))
    assert f(weights, x) == pytest.approx(((weights @ x) ** 2).sum())
    report = str(f.optimize())
    assert f(weights, x) == pytest.approx(((weights @ x) ** 2).sum())
    found = nt.grad(f, argnums=(0, 1))(weights, x)
    np.testing.assert_allclose(found[0], 2 * np.outer(weights @ x, x))
    np.testing.assert_allclose(found[1], 2 * weights.T @ (weights @ x))
    assert "matrices" in report


def test_computed_weights_lie_side_by_side():
    """Weights that are results of scalar instructions, and inputs in no order."""

    def f(weights, x):
        scaled = [[np.exp(0.1 * w) for w in row] for row in weights]
        mixed = [x[j] for j in (3, 0, 7, 5, 1, 6, 2, 4)]
        return sum(np.tanh(by_sum(row, mixed, 0.5)) for row in scaled)

    found, _ = recovered(f, numbers(16, 8), numbers(8))
    assert found.count("dot") == 1 and found.count("exp") == 128 and found.count("collect") == 1


# --- more than one of them ------------------------------------------------------------------------


def layers(network, x, activate=nt.relu):
    for layer in network:
        x = [activate(by_loop(w[:-1], x, w[-1])) for w in layer]
    return x


def test_points_through_the_same_layers_are_products_of_matrices():
    points = numbers(9, 2)

    def f(network):
        return sum((layers(network, p)[0] - 0.5) ** 2 for p in points)

    network = [numbers(8, 3), numbers(8, 9), numbers(4, 9)]
    found, whole = recovered(f, network)
    assert found.count("dot") == 3 and len(found) < 40
    assert whole.count("affine") == 3 and len(whole) < 36


def test_a_recurrent_cell():
    xs, steps, size = numbers(7, 3), 7, 6

    def f(w, u, b):
        h = [0.0] * size
        for x in xs:
            h = [np.tanh(by_sum(w[i], x, 0.0) + by_sum(u[i], h, b[i])) for i in range(size)]
        return sum(h)

    found, whole = recovered(f, numbers(size, 3), numbers(size, size), numbers(1, size)[0])
    assert found.count("tanh") == steps and "multiply" not in found
    assert whole.count("affine") == steps and len(whole) <= 2 * steps + size + 2


def test_a_cell_with_gates():
    """Four sets of weights become one product; gates and cell states go number by number."""
    xs, steps, size = numbers(5, 2), 5, 4

    def f(weights, biases):
        h, c = [0.0] * size, [0.0] * size
        for x in xs:
            z = [*x, *h]
            gates = [[by_sum(w, z, b) for w, b in zip(rows, bs, strict=True)]
                     for rows, bs in zip(weights, biases, strict=True)]  # fmt: skip
            i, o, k, u = gates
            c = [nt.sigmoid(k[j]) * c[j] + nt.sigmoid(i[j]) * np.tanh(u[j]) for j in range(size)]
            h = [nt.sigmoid(o[j]) * np.tanh(c[j]) for j in range(size)]
        return sum(h)

    found, whole = recovered(f, numbers(4, size, 2 + size), numbers(4, size))
    assert found.count("sigmoid") == steps and found.count("tanh") == 2 * steps
    assert len(whole) <= 9 * steps + size


def test_a_recurrence_along_a_span_stays_what_it_is():
    """Each number needs the one before: one instruction for all would need itself."""

    def f(weights, x):
        last, y = 0.3, []
        for w in weights:
            last = np.tanh(by_sum(w, x, 0.1)) * last
            y.append(last)
        return sum(y)

    found, _ = recovered(f, numbers(12, 12), numbers(12))
    assert found.count("tanh") == 1 and found.count("multiply") == 12


def test_guards_stay_in_order_and_a_flip_resumes():
    weights = numbers(3, 10, 10)

    @nt.function
    def f(x):
        for layer in weights:
            y = [by_sum(w, x, 0.05) for w in layer]
            x = [v if v > 0.0 else 0.1 * v for v in y] if y[0] + y[1] > 0.0 else y
        return sum(x)

    def plain(x):
        for layer in np.array(weights):
            y = layer @ x + 0.05
            x = np.where(y > 0.0, y, 0.1 * y) if y[0] + y[1] > 0.0 else y
        return x.sum()

    start = numbers(10)
    f(start)
    assert "matrices" in str(f.optimize())
    for point in (start, [-v for v in start], [0.1 * v for v in start], start):
        assert f(point) == pytest.approx(plain(np.array(point)), rel=1e-12)


def test_zero_adjoints_meet_infinite_factors():
    def f(weights, x):
        y = [by_sum(w, x, 0.0) for w in weights]
        return sum(nt.relu(v) for v in y[1:])

    code, x = recorded(f, numbers(12, 12), numbers(12))
    found = matrices(code, Goal())
    x[1] = -np.inf  # of the first row, which the result does not need
    for mine, other in zip(swept(found, x)[:2], swept(code, x)[:2], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12)


# --- long sums ------------------------------------------------------------------------------------


def test_long_sums_of_what_lies_side_by_side():
    factors = numbers(40)

    def f(x, y):
        squares = sum(v * v for v in x)
        plain = sum(np.sin(v) for v in y)
        weighted = sum(k * v for k, v in zip(factors, x, strict=False))
        return squares + plain * weighted

    found, _ = recovered(f, numbers(64), numbers(64))
    assert found.count("dot") == 2 and found.count("sum") == 1 and found.count("sin") == 64


def test_what_is_no_product_is_left_alone():
    def f(x):
        return sum(a * b for a, b in pairwise(x)) * np.exp(x[0])

    assert matrices(recorded(f, numbers(8))[0], Goal()) is None

    def small(weights, x):
        return sum(by_sum(w, x, 0.0) for w in weights)

    assert matrices(recorded(small, numbers(3, 3), numbers(3))[0], Goal()) is None
    large = recorded(small, numbers(16, 16), numbers(16))[0]
    assert matrices(large, Goal(lanes=True)) is None


# --- random programs ------------------------------------------------------------------------------


def random_program(seed):
    """A network written in one of many ways, and its arguments."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, rng.integers(2, 4)).tolist()
    row = [by_sum, by_loop, other_factor_first, subtracted][rng.integers(4)]
    kinds = [np.tanh, nt.relu, lambda v: v, lambda v: 0.5 - v * v, lambda v: np.maximum(v, 0.1 * v)]
    activate, recurrent = kinds[rng.integers(len(kinds))], bool(rng.integers(2))
    weights = [rng.uniform(-1, 1, (n, m + (n if recurrent else 0) + 1)).tolist()
               for m, n in pairwise(sizes)]  # fmt: skip
    points = rng.uniform(-1, 1, (rng.integers(1, 6), sizes[0])).tolist()
    data, twice = bool(rng.integers(2)), bool(rng.integers(2))

    def f(weights, xs):
        total, states = 0.0, [[0.0] * len(w) for w in weights]
        for x in points if data else xs:
            for j, layer in enumerate(weights):
                z = [*x, *states[j]] if recurrent else x
                scaled = [[2.0 * v for v in w] for w in layer] if twice else layer
                x = states[j] = [activate(row(w[:-1], z, w[-1])) for w in scaled]
            total = total + sum(x) * x[0]
        return total

    return f, weights, points


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 5, 6, 8])
def test_random_networks(seed, monkeypatch):
    for name in ("FEWEST_SUMS", "FEWEST_PRODUCTS", "FEWEST_TOGETHER", "NEXT_TO_OTHERS"):
        monkeypatch.setattr(grids, name, 2)
    recovered(*random_program(seed))
