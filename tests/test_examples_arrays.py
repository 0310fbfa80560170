"""The array examples show the numbers of the lectures: typed here a second time, from their text.

The walk-throughs hold their own numbers to the digits printed; here their functions are called and
compared with the arrays as the lectures print them, so that a section that is skipped, or whose
check was loosened, fails here.
"""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import ndtape as nt

WALKTHROUGHS = ["b_jacobians", "c_losses", "d_network", "e_models", "s_statements"]


@pytest.fixture(scope="module", params=WALKTHROUGHS)
def walked(request):
    """The module and all numbers that its `main` shows."""
    module = importlib.import_module(request.param)
    return module, module.main()


def test_every_section_shows_numbers(walked):
    module, numbers = walked
    shown = {key.partition(":")[0] for key in numbers}
    assert shown == {section.__name__ for section in module.SECTIONS}


def close(actual, expected, digits):
    """To the last digit printed, and with the shape printed."""
    expected = np.asarray(expected, dtype=float)
    assert np.shape(actual) == expected.shape
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=0.51 * 10.0**-digits)


# --- B -------------------------------------------------------------------------------------------

x = np.array([1.0, 2.0, 3.0])
y = np.array([0.5, -1.0, 2.0])
W = np.array([[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]])
b = np.array([0.05, -0.05])


@pytest.mark.parametrize(
    ("f", "args", "argnum", "expected"),
    [
        (lambda x, a: x * a, (x, 2.0), 0, 2 * np.eye(3)),
        (lambda x, a: x * a, (x, 2.0), 1, x),
        (lambda x, y: x + y, (x, y), 1, np.eye(3)),
        (lambda x, y: x - y, (x, y), 0, np.eye(3)),
        (lambda x, y: x - y, (x, y), 1, -np.eye(3)),
        (lambda x, y: x * y, (x, y), 0, np.diag(y)),
        (lambda x, y: x * y, (x, y), 1, np.diag(x)),
        (lambda x: np.exp(x), (x,), 0, np.diag(np.exp(x))),
        (lambda x: np.sum(x), (x,), 0, np.ones(3)),
        (lambda W, x: W @ x, (W, x), 1, W),
        (lambda W, x: W @ x, (W, x), 0, np.kron(np.eye(2), x).reshape(2, 2, 3)),
        (lambda x, y: np.dot(x, y), (x, y), 0, y),
        (lambda x, y: np.dot(x, y), (x, y), 1, x),
        (lambda W, x, b: W @ x + b, (W, x, b), 2, np.eye(2)),
        (lambda t: np.stack([t, t**2]), (3.0,), 0, np.array([1.0, 6.0])),
        (lambda t: t**2, (3.0,), 0, np.array(6.0)),
    ],
)
def test_jacobians_and_their_shapes(f, args, argnum, expected):
    jacobian = nt.jacobian(f, argnum)(*args)
    assert np.shape(jacobian) == expected.shape == np.shape(f(*args)) + np.shape(args[argnum])
    np.testing.assert_allclose(jacobian, expected, rtol=1e-14, atol=0)


def test_b8b_a_layer():
    dx = nt.jacobian(lambda x: np.tanh(W @ x + b))(x)
    close(dx, [[0.06731934, -0.13463869, 0.20195803], [0.32880049, 0.41100061, -0.49320074]], 8)
    dW = nt.jacobian(lambda W: np.tanh(W @ x + b))(W)
    slope = np.array([0.67319345, 0.82200123])
    close(dW, np.kron(np.eye(2), x).reshape(2, 2, 3) * slope[:, None, None], 7)


def test_b8c_the_adjoints_of_a_layer():
    examples = importlib.import_module("b_jacobians")
    _, pullback = nt.vjp(examples.affine, W, x, b)
    dW, dx, db = pullback(np.array([1.0, -2.0]))
    close(dW, [[1, 2, 3], [-2, -4, -6]], 14)
    close(db, [1, -2], 14)
    close(dx, [-0.7, -1.2, 1.5], 14)


SOFTMAX_JACOBIAN = [
    [0.08192507, -0.02203304, -0.05989202],
    [-0.02203304, 0.18483645, -0.16280340],
    [-0.05989202, -0.16280340, 0.22269543],
]


def test_b9_softmax():
    examples = importlib.import_module("b_jacobians")
    close(nt.softmax(x), [0.09003057, 0.24472847, 0.66524096], 8)
    close(nt.jacobian(nt.softmax)(x), SOFTMAX_JACOBIAN, 8)
    close(nt.jacobian(examples.softmax_from_primitives)(x), SOFTMAX_JACOBIAN, 8)
    through_f, through_g = examples.softmax_paths(x)
    close(through_f, np.diag([0.09003057, 0.24472847, 0.66524096]), 8)
    close(through_f + through_g, SOFTMAX_JACOBIAN, 8)


@pytest.mark.parametrize(
    ("target", "loss", "slope"),
    [
        ((0, 1, 0), 1.40760596, (0.09003057, -0.75527153, 0.66524096)),
        ((0.2, 0.3, 0.5), 1.10760596, (-0.10996943, -0.05527153, 0.16524096)),
        ((1, 2, 0), 5.22281789, (-0.72990828, -1.26581459, 1.99572287)),
    ],
)
def test_b10_softmax_cross_entropy(target, loss, slope):
    examples = importlib.import_module("b_jacobians")
    target = np.array(target, float)
    value, gradient = nt.value_and_grad(nt.softmax_cross_entropy)(x, target)
    close(value, loss, 8)
    close(gradient, slope, 8)
    factors, by_chain = examples.chain_of_cross_entropy(x, target)
    assert [f.shape for f in factors] == [(1, 1), (1, 3), (3, 3), (3, 3), (3, 3)]
    np.testing.assert_allclose(np.linalg.multi_dot(factors)[0], gradient, rtol=0, atol=1e-14)
    np.testing.assert_allclose(by_chain, value, rtol=1e-14)


def test_b11_and_b12_the_chain_rule():
    examples = importlib.import_module("b_jacobians")
    close(nt.jacobian(examples.f_of_b11)(x), [[1, 3, 2], [0, 0, 2]], 14)
    inner = nt.jacobian(examples.g_of_b12)(np.array([2.0, 3.0]))
    close(inner, [[3, 2], [1, 1], [4, 0]], 14)
    both = nt.jacobian(lambda u: examples.f_of_b11(examples.g_of_b12(u)))(np.array([2.0, 3.0]))
    close(both, [[27, 6], [8, 0]], 14)
    sum_of_paths = nt.jacobian(lambda x: np.square(x) * np.sin(x))(x)
    close(np.diag(sum_of_paths), [2.22324428, 1.97260236, -8.06321242], 8)


def test_b14_the_matrix_product():
    left = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    right = np.array([[1.0, 0.0], [-1.0, 2.0], [0.5, 1.0]])
    product, pullback = nt.vjp(np.matmul, left, right)
    dX, dY = pullback(np.array([[1.0, -1.0], [2.0, 0.5]]))
    close(product, [[0.5, 7], [2, 16]], 14)
    close(dX, [[1, -3, -0.5], [2, -1, 1.5]], 14)
    close(dY, [[9, 1], [12, 0.5], [15, 0]], 14)


@pytest.mark.parametrize(
    ("operand", "expected"),
    [(np.ones(3), [5, 7, 9]), (np.ones((2, 1)), [[6], [15]]), (np.array(1.0), 21)],
)
def test_b14_the_adjoint_of_a_broadcast_operand(operand, expected):
    adjoint = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    _, pullback = nt.vjp(lambda x: x * np.ones((2, 3)), operand)
    close(pullback(adjoint)[0], expected, 14)


def test_b15_derived_operations():
    examples = importlib.import_module("b_jacobians")
    names = []
    for name, factors, built_in in examples.derivations():
        names.append(name)
        product = factors[0] if len(factors) == 1 else np.linalg.multi_dot(factors)
        np.testing.assert_allclose(product.reshape(built_in.shape), built_in, rtol=0, atol=1e-14)
    assert len(names) == 9


# --- C -------------------------------------------------------------------------------------------


def test_c_cross_entropy_on_probabilities():
    rows = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    for targets in (np.array([0, 2]), np.array([[1.0, 0, 0], [0, 0, 1.0]])):
        value, slope = nt.value_and_grad(
            lambda rows, targets=targets: nt.cross_entropy(rows, targets, reduction="sum")
        )(rows)
        close(value, 0.867500567705, 12)
        close(slope, [[-1.428571428571, 0, 0], [0, 0, -1.666666666667]], 12)
        assert np.count_nonzero(slope) == 2


def test_c_large_arguments():
    logits = np.array([1000.0, 0.0, -1000.0])
    close(nt.softmax(logits), [1, 0, 0], 14)
    close(nt.log_softmax(logits), [0, -1000, -2000], 14)
    value, slope = nt.value_and_grad(nt.softmax_cross_entropy)(logits, 2)
    close(value, 2000, 14)
    close(slope, [1, 0, -1], 14)
    close(nt.logsumexp(np.array([1000.0, 1000.0])), 1000.69314718056, 11)
    value, slope = nt.value_and_grad(nt.logistic_loss)(np.array(1000.0), -1.0)
    close(value, 1000, 14)
    close(slope, 1, 14)


# --- D -------------------------------------------------------------------------------------------


def test_d_gradients_of_the_network():
    network = importlib.import_module("d_network")
    for loss in (network.loss_of_lecture, network.loss_fused):
        value, grads = nt.value_and_grad(loss)(network.start(), network.X, network.Y)
        close(value, 1.06441802749627, 13)
        close(
            grads["theta2"],
            [[0.031614, 0.079986], [-0.027926, -0.044204], [-0.003688, -0.035782]],
            6,
        )
        close(grads["beta2"], [0.083410, -0.069122, -0.014289], 6)
        close(grads["theta1"], [[0.000597, -0.003957], [0.017433, 0.014656]], 6)
        close(grads["beta1"], [-0.007381, 0.011741], 6)


def test_d_contributions_of_each_sample():
    network = importlib.import_module("d_network")
    each = network.contributions_to_theta2(network.start())
    expected = [
        [[-0.2715, -0.3386], [0.1784, 0.2225], [0.0931, 0.1161]],
        [[0.1777, 0.2053], [-0.3002, -0.3469], [0.1226, 0.1416]],
        [[0.0864, 0.2028], [-0.1487, -0.3494], [0.0624, 0.1465]],
        [[0.1339, 0.2504], [0.1588, 0.2969], [-0.2928, -0.5473]],
    ]
    close(each, expected, 4)


def test_d_the_fused_loss_builds_no_jacobians():
    network = importlib.import_module("d_network")
    by_jacobians, fused = network.slots_of(samples=8, classes=50)
    assert by_jacobians >= 8 * 50 * 50
    assert fused < 8 * 8 * 50


# --- E -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models():
    return importlib.import_module("e_models")


def test_e2_softmax_regression():
    target = np.array([0.0, 1.0])
    value, (dW, db, dx) = nt.value_and_grad(
        lambda W, b, x: nt.softmax_cross_entropy(W @ x + b, target), (0, 1, 2)
    )(W, b, x)
    close(value, 1.387335325115, 12)
    close(db, [0.750260, -0.750260], 6)
    close(dW, [[0.750260, 1.500520, 2.250780], [-0.750260, -1.500520, -2.250780]], 6)
    close(dx, [-0.225078, -0.525182, 0.675234], 6)


def test_e4_the_relu_network(models):
    weights, biases = models.three_layers()

    def loss(weights, biases, x):
        h = x
        for w, bias in zip(weights[:2], biases[:2], strict=True):
            h = nt.relu(w @ h + bias)
        return np.sum((weights[2] @ h + biases[2] - np.array([1.0, -1.0])) ** 2)

    value, (dWs, dbs, dx) = nt.value_and_grad(loss, (0, 1, 2))(weights, biases, x)
    close(value, 1.296674287370, 12)
    close(dbs[2], [-0.413003, 2.239671], 6)
    close(dbs[1], [0, -1.087554, -1.130476, 0], 6)
    close(dbs[0], [-0.380144, 0, -0.080425, 0], 6)
    close(dx, [-0.186359, -0.212616, -0.043395], 6)
    close([np.linalg.norm(d) for d in dWs], [1.453851583, 4.486992079, 1.713417663], 9)
    assert np.count_nonzero(dbs[0]) == np.count_nonzero(dbs[1]) == 2  # dead units: exactly 0


def test_e5_rows_and_columns(models):
    weights, biases = models.three_layers()
    cost = models.first_entry_entropy
    rows, dWs, dbs = models.algorithm_1(weights, biases, x, cost)
    close(rows[0], [-1.493981, 0], 6)
    close(rows[1], [0.106392, -0.048997, -0.159338, -0.123185], 6)
    close(rows[2], [-0.007352, -0.013111, -0.006816, 0.005746], 6)
    close(rows[3], [0.000134, 0.000118, -0.000006], 6)
    deltas, by_columns = models.delta_recursion(weights, biases, x, cost)
    close(deltas[2], [-0.330647, 0], 6)
    close(deltas[1], [0.026503, -0.012136, -0.039169, -0.023727], 6)
    close(deltas[0], [-0.000926, -0.002255, -0.000583, 0.000507], 6)
    close([np.linalg.norm(d) for d in dWs], [0.009570019, 0.068765418, 0.325279008], 9)
    value, (tape_dWs, tape_dbs) = nt.value_and_grad(models.network_cost, (0, 1))(weights, biases, x)
    close(value, 0.401444403012, 12)
    for k in range(3):
        np.testing.assert_allclose(dWs[k], tape_dWs[k], rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(by_columns[k], tape_dWs[k], rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(dbs[k], tape_dbs[k], rtol=1e-12, atol=1e-16)
        np.testing.assert_allclose(deltas[k], tape_dbs[k], rtol=1e-12, atol=1e-16)


@pytest.fixture(scope="module")
def arm():
    return importlib.import_module("e_arm")


def test_e6_the_planar_arm(arm):
    joints = arm.planar_arm(np.array([0.3, 0.4, 0.5]), (1.0, 0.8, 0.5)).value
    close(joints[-1], [1.74838912, 1.27691390], 8)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(joints, axis=0), axis=1), [1, 0.8, 0.5], rtol=1e-14
    )
    jacobian = nt.jacobian(lambda a: arm.planar_arm(a, (1.0, 1.0))[-1])(np.array([0.3, 0.6]))
    close(jacobian, [[-1.07884712, -0.78332691], [1.57694646, 0.62160997]], 8)


def test_e6_the_arm_in_space(arm):
    angles = np.array([0.2, 0.3, 0.4, 0.5])
    joints = arm.spatial_arm(angles, (1.0, 0.8, 0.5)).value
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(joints, axis=0), axis=1), [1, 0.8, 0.5], rtol=1e-14
    )
    # In its vertical plane it is the planar arm; the base turns that plane.
    flat = arm.planar_arm(angles[1:], (1.0, 0.8, 0.5)).value
    np.testing.assert_allclose(joints[:, 2], flat[:, 1], rtol=0, atol=1e-15)
    np.testing.assert_allclose(joints[:, 0], flat[:, 0] * np.cos(0.2), rtol=0, atol=1e-15)
    np.testing.assert_allclose(joints[:, 1], flat[:, 0] * np.sin(0.2), rtol=0, atol=1e-15)


def test_e6_the_arm_reaches_its_target(arm):
    path = arm.reach(
        arm.planar_arm, np.array([0.3, 0.6]), (1.0, 1.0), np.array([1.2, 0.8]), 0.15, 1000
    )
    close(path[-1], [-0.17739022, 1.53078565], 8)
    end = arm.planar_arm(path[100], (1.0, 1.0)).value[-1]
    close(np.sum((end - np.array([1.2, 0.8])) ** 2), 3.5e-10, 11)


def test_e6_the_pictures(arm, tmp_path):
    pytest.importorskip("matplotlib")
    file = arm.draw_arms(tmp_path / "new folder")
    assert file.read_bytes().startswith(b"\x89PNG")


def test_e7_training(models):
    losses, _ = models.train(100)
    close(losses[0], 1.064418, 6)
    close([losses[1], losses[10], losses[100]], [1.046722253, 1.031033954, 0.442960722], 9)


# --- real data -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    pytest.importorskip("sklearn")
    return importlib.import_module("e_real_data")


def test_diabetes(real):
    found, _ = real.diabetes(epochs=40)
    assert found["losses"][-1] < 1.03 * found["least"]
    assert found["score"] > 0.33  # R² of the normal equations on the same split: 0.359


def test_breast_cancer(real):
    for found in real.breast_cancer(epochs=15).values():
        assert found["losses"][-1] < 0.1 < found["losses"][0]
        assert found["score"] > 0.94


def test_digits_and_their_picture(real, tmp_path):
    found, _ = real.digits(epochs=6)
    for result in found.values():
        assert result["losses"][-1] < 0.15 < result["losses"][0]
        assert result["score"] > 0.93
    pytest.importorskip("matplotlib")
    file = real.draw_results(tmp_path, found, (np.arange(3.0), np.arange(3.0)))
    assert file.read_bytes().startswith(b"\x89PNG")
