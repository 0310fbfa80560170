"""Softmax, losses, layer norm: numbers worked out by hand, edges, second order, errors, replays."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from mpmath import mp

import ndtape as nt
from ndtape import losses
from ndtape.errors import ArgumentError, ShapeError
from ndtape.passes import seal
from ndtape.record.arrays import recording
from ndtape.run import Workspace

inf = math.inf
rng = np.random.default_rng(3)
X = np.array([1.0, 2.0, 3.0])
S = np.array([0.09003057, 0.24472847, 0.66524096])
ROWS = rng.normal(size=(5, 4)) * 3
CLASSES = np.array([0, 3, 1, 1, 2])
SOFT = rng.dirichlet(np.ones(4), 5)


def value_and_grad(f, *arguments, argnums=0):
    return nt.value_and_grad(f, argnums)(*arguments)


def hessian_vector(f, x, direction):
    """By nesting: the derivative of the gradient along a direction."""
    return nt.grad(lambda x: (nt.grad(f)(x) * direction).sum())(x)


def softmax_of(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# --- softmax and its logarithm -----------------------------------------------------------------


def test_softmax_and_its_jacobian():
    assert losses.softmax(X) == pytest.approx(S, abs=5e-9)
    rows = [nt.grad(lambda x, i=i: losses.softmax(x)[i])(X) for i in range(3)]
    s = losses.softmax(X)
    assert np.array(rows) == pytest.approx(np.diag(s) - np.outer(s, s), abs=1e-16)
    printed = [0.08192507, -0.02203304, -0.05989202]
    assert rows[0] == pytest.approx(printed, abs=5e-9)
    assert np.sum(rows, axis=1) == pytest.approx(np.zeros(3), abs=1e-16)


def test_softmax_from_its_parts_has_the_same_jacobian():
    def by_parts(x):
        f = nt.exp(x)
        g = f.sum()
        return f * (1 / g)

    for i in range(3):
        one = nt.grad(lambda x, i=i: losses.softmax(x)[i])(X)
        two = nt.grad(lambda x, i=i: by_parts(x)[i])(X)
        assert one == pytest.approx(two, abs=1e-16)


def test_large_arguments():
    x = np.array([1000.0, 0.0, -1000.0])
    for f, expected in [
        (losses.softmax, [1.0, 0.0, 0.0]),
        (losses.log_softmax, [0.0, -1000.0, -2000.0]),
    ]:
        assert f(x).tolist() == expected
        assert f(nt.var(x)).tolist() == expected
    assert losses.logsumexp(np.array([1000.0, 1000.0])) == 1000.6931471805599
    value, slope = value_and_grad(losses.softmax_cross_entropy, x, 2)
    assert value == 2000.0
    assert slope.tolist() == [1.0, 0.0, -1.0]


@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0, 1e5])
def test_against_mpmath(scale):
    x = rng.normal(size=6) * scale
    with mp.workdps(60):
        e = [mp.exp(mpmath.mpf(v)) for v in x]
        total = mp.fsum(e)
        exact = [float(v / total) for v in e]
        logs = [float(mp.log(v / total)) for v in e]
        lse = float(mp.log(total))
    ulps = 4 * 2.0**-52
    # exp multiplies the error of its argument, which is half an ulp of it
    assert losses.softmax(x) == pytest.approx(exact, rel=ulps * max(scale, 1), abs=1e-300)
    assert losses.log_softmax(x) == pytest.approx(logs, rel=ulps, abs=ulps * 1)
    assert losses.logsumexp(x) == pytest.approx(lse, rel=ulps)
    slope = nt.grad(lambda x: losses.logsumexp(x))(x)
    assert slope == pytest.approx(exact, rel=ulps * max(scale, 1), abs=1e-300)


def test_infinite_logits():
    masked = np.array([1.0, -inf, 3.0])
    assert losses.softmax(masked)[1] == 0.0
    assert losses.log_softmax(masked)[1] == -inf
    value, slope = value_and_grad(losses.softmax_cross_entropy, masked, 2)
    assert value == pytest.approx(math.log1p(math.exp(-2.0)))
    assert slope == pytest.approx([0.1192029220, 0.0, -0.1192029220])
    value, slope = value_and_grad(losses.softmax_cross_entropy, masked, np.array([0.5, 0.0, 0.5]))
    assert math.isfinite(value) and slope[1] == 0.0
    assert losses.softmax_cross_entropy(masked, 1) == inf
    nothing = np.array([-inf, -inf])
    assert losses.logsumexp(nothing) == -inf
    assert losses.logsumexp(nt.var(nothing)).value == -inf
    assert losses.logsumexp(np.array([inf, 1.0])) == inf
    assert losses.logsumexp(np.array([inf, -inf])) == inf
    assert np.isnan(losses.softmax(nothing)).all()


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3, (0, 2), (1, -1), (0, 1, 2)])
def test_any_axis(axis):
    x = rng.normal(size=(2, 3, 4))
    axes = axis if isinstance(axis, tuple) else (axis,)
    e = np.exp(x)
    total = e.sum(axis=axes, keepdims=True)
    for given in (x, nt.var(x)):
        number = (lambda r: r.value) if recording(given) else (lambda r: r)
        assert number(losses.softmax(given, axis)) == pytest.approx(e / total)
        assert number(losses.log_softmax(given, axis)) == pytest.approx(x - np.log(total))
        lse = number(losses.logsumexp(given, axis, keepdims=True))
        assert lse.shape == total.shape
        assert lse == pytest.approx(np.log(total))
        lse = number(losses.logsumexp(given, axis))
        assert lse == pytest.approx(np.log(total).squeeze(axes))


def test_logsumexp_of_everything_and_of_scalars():
    assert losses.logsumexp(ROWS) == pytest.approx(np.log(np.exp(ROWS).sum()))
    a, b = nt.var(1000.0), nt.var(1000.0)
    total = losses.logsumexp([a, b])
    total.backward()
    assert total.value == 1000.6931471805599
    assert (a.grad, b.grad) == (0.5, 0.5)
    assert losses.softmax([a, 1000.0]).tolist() == [0.5, 0.5]


def test_second_order_of_logsumexp_is_the_jacobian_of_softmax():
    v = rng.normal(size=3)
    s = losses.softmax(X)
    assert hessian_vector(losses.logsumexp, X, v) == pytest.approx(s * v - s * (s @ v), abs=1e-15)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: losses.softmax(x)[0],
        lambda x: losses.log_softmax(x)[1],
        losses.logsumexp,
        lambda x: losses.softmax_cross_entropy(x, 2),
        lambda x: losses.softmax_cross_entropy(x, np.array([0.2, 0.3, 0.5])),
    ],
)
def test_second_order_far_out_and_with_masked_logits(f):
    v = np.array([1.0, 2.0, 3.0])
    far = np.array([1000.0, 0.0, -1000.0])
    assert hessian_vector(f, far, v).tolist() == [0.0, 0.0, 0.0]
    masked = hessian_vector(f, np.array([1.0, -inf, 3.0]), v)
    assert np.isfinite(masked).all() and masked[1] == 0.0


# --- cross entropies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y, loss, slope",
    [
        ((0, 1, 0), 1.40760596, (0.09003057, -0.75527153, 0.66524096)),
        ((0.2, 0.3, 0.5), 1.10760596, (-0.10996943, -0.05527153, 0.16524096)),
        ((1, 2, 0), 5.22281789, (-0.72990828, -1.26581459, 1.99572287)),
    ],
)
def test_softmax_cross_entropy_by_rows(y, loss, slope):
    """The gradient is softmax(x) Σy - y for every y."""
    y = np.array(y, float)
    got, got_slope = value_and_grad(losses.softmax_cross_entropy, X, y)
    assert got == pytest.approx(loss, abs=5e-9)
    assert got_slope == pytest.approx(slope, abs=5e-9)
    assert got_slope == pytest.approx(softmax_of(X) * y.sum() - y, abs=2e-16 * y.sum())

    def chain(x):
        return -(y * nt.log(losses.softmax(x))).sum()

    assert value_and_grad(chain, X)[0] == pytest.approx(got)
    assert nt.grad(chain)(X) == pytest.approx(got_slope, abs=1e-15)
    v = rng.normal(size=3)
    s = softmax_of(X)
    second = y.sum() * (s * v - s * (s @ v))
    assert hessian_vector(lambda x: losses.softmax_cross_entropy(x, y), X, v) == pytest.approx(
        second, abs=1e-14
    )


@pytest.mark.parametrize("reduction, share", [("mean", 0.2), ("sum", 1.0)])
def test_class_numbers_and_one_hot_rows_agree(reduction, share):
    one_hot = np.eye(4)[CLASSES]
    by_class = value_and_grad(
        lambda x: losses.softmax_cross_entropy(x, CLASSES, reduction=reduction), ROWS
    )
    by_rows = value_and_grad(
        lambda x: losses.softmax_cross_entropy(x, one_hot, reduction=reduction), ROWS
    )
    assert by_class[0] == pytest.approx(by_rows[0], rel=1e-14)
    assert by_class[1] == pytest.approx(by_rows[1], abs=1e-16)
    assert by_class[1] == pytest.approx((softmax_of(ROWS) - one_hot) * share, abs=4e-16)
    each = losses.softmax_cross_entropy(ROWS, CLASSES, reduction="none")
    assert each.shape == (5,)
    assert each.sum() * share == pytest.approx(by_class[0])


@pytest.mark.parametrize("axis", [0, 1, 2, -2])
def test_classes_along_any_axis(axis):
    x = rng.normal(size=(2, 3, 4))
    moved = np.moveaxis(x, axis, -1)
    classes = rng.integers(0, x.shape[axis], moved.shape[:-1])
    expected = -np.take_along_axis(np.log(softmax_of(moved)), classes[..., None], -1)[..., 0]
    f = losses.softmax_cross_entropy
    assert f(x, classes, axis, "none") == pytest.approx(expected)
    assert f(nt.var(x), classes, axis, "none").value == pytest.approx(expected)
    rows = np.moveaxis(np.eye(x.shape[axis])[classes], -1, axis)
    assert f(nt.var(x), rows, axis, "none").value == pytest.approx(expected)
    assert f(nt.var(x), rows, axis).value == pytest.approx(expected.mean())


def test_gradient_of_the_targets():
    slope = nt.grad(lambda y: losses.softmax_cross_entropy(X, y))(np.array([0.2, 0.3, 0.5]))
    assert slope == pytest.approx(-losses.log_softmax(X))
    slope = nt.grad(lambda y: losses.cross_entropy(S, y))(np.array([0.2, 0.3, 0.5]))
    assert slope == pytest.approx(-np.log(S))


@pytest.mark.parametrize("y", [np.array([0, 2]), np.array([[1.0, 0, 0], [0, 0, 1]])])
def test_cross_entropy_of_probabilities(y):
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    value, slope = value_and_grad(lambda p: losses.cross_entropy(p, y, reduction="sum"), p)
    assert value == pytest.approx(0.867500567705, abs=5e-13)
    assert slope[0, 0] == pytest.approx(-1.428571428571, abs=5e-13)
    assert slope[1, 2] == pytest.approx(-1.666666666667, abs=5e-13)
    assert np.count_nonzero(slope) == 2
    second = hessian_vector(
        lambda p: losses.cross_entropy(p, y, reduction="sum"), p, np.ones(p.shape)
    )
    assert second[0, 0] == pytest.approx(1 / 0.49) and np.count_nonzero(second) == 2


@pytest.mark.parametrize("y", [np.array([0]), np.array([[1.0, 0.0]])])
def test_zero_times_log_zero_is_zero(y):
    sure = np.array([[1.0, 0.0]])
    value, slope = value_and_grad(losses.cross_entropy, sure, y)
    assert value == 0.0
    assert slope.tolist() == [[-1.0, 0.0]]
    wrong = np.array([[0.0, 1.0]])
    value, slope = value_and_grad(losses.cross_entropy, wrong, y)
    assert value == inf
    assert slope.tolist() == [[-inf, 0.0]]


def test_nll_of_log_softmax_is_softmax_cross_entropy():
    for y in (CLASSES, SOFT):
        one = value_and_grad(lambda x, y=y: losses.nll(losses.log_softmax(x), y), ROWS)
        two = value_and_grad(lambda x, y=y: losses.softmax_cross_entropy(x, y), ROWS)
        assert one[0] == pytest.approx(two[0], rel=1e-13)
        assert one[1] == pytest.approx(two[1], abs=1e-15)


def test_kl_div():
    p = rng.dirichlet(np.ones(4), 5)
    value, slope = value_and_grad(losses.kl_div, p, SOFT)
    assert value == pytest.approx((SOFT * np.log(SOFT / p)).sum() / 5)
    assert slope == pytest.approx(-SOFT / p / 5)
    value, slope = value_and_grad(losses.kl_div, np.array([1.0, 0.0]), np.array([1.0, 0.0]))
    assert (value, slope.tolist()) == (0.0, [-1.0, 0.0])


def test_no_array_of_samples_by_classes_by_classes():
    n, c = 40, 30
    with nt.Tape() as tape:
        x = nt.var(rng.normal(size=(n, c)))
        tape.gradient(losses.softmax_cross_entropy(x, np.arange(n) % c), x)
    assert tape.stats().slots < 6 * n * c
    assert len(tape) <= 11


# --- the network with numbers ------------------------------------------------------------------

INPUTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
TARGETS = np.array([0, 1, 1, 2])
THETA1 = np.array([[-0.69, 0.63], [0.36, 0.59]])
THETA2 = np.array([[-0.31, 0.02], [0.48, -0.68], [-0.41, -0.27]])
BETA1, BETA2 = np.array([-0.41, -0.01]), np.array([-0.22, 0.15, -0.35])


def network_loss(theta1, beta1, theta2, beta2, target, reduction="mean"):
    hidden = nt.sigmoid(INPUTS @ theta1.T + beta1)
    return losses.softmax_cross_entropy(hidden @ theta2.T + beta2, target, reduction=reduction)


@pytest.mark.parametrize("target", [TARGETS, np.eye(3)[TARGETS]])
def test_network(target):
    params = THETA1, BETA1, THETA2, BETA2
    value, (theta1, beta1, theta2, beta2) = value_and_grad(
        network_loss, *params, target, argnums=(0, 1, 2, 3)
    )
    assert value == pytest.approx(1.06441802749627, abs=5e-15)
    for got, printed in [
        (theta1, [[0.000597, -0.003957], [0.017433, 0.014656]]),
        (beta1, [-0.007381, 0.011741]),
        (theta2, [[0.031614, 0.079986], [-0.027926, -0.044204], [-0.003688, -0.035782]]),
        (beta2, [0.083410, -0.069122, -0.014289]),
    ]:
        assert got == pytest.approx(np.array(printed), abs=5.1e-7)
    summed = nt.grad(network_loss, 2)(*params, target, "sum")
    assert summed == pytest.approx(4 * theta2, rel=1e-14)


# --- losses of elements ------------------------------------------------------------------------

NUMBERS = [
    ("logistic_loss", (2.0, -1.0), 2.126928011043, 0.880797077978),
    ("logistic_loss", (2.0, 1.0), 0.126928011043, -0.119202922022),
    ("logistic_loss", (1000.0, -1.0), 1000.0, 1.0),
    ("logistic_loss", (1000.0, 1.0), 0.0, 0.0),
    ("squared_error", (4.5, 3.0), 2.25, 3.0),
    ("absolute_error", (4.5, 3.0), 1.5, 1.0),
    ("absolute_error", (3.0, 3.0), 0.0, 0.0),
    ("huber", (3.5, 3.0), 0.125, 0.5),
    ("huber", (4.0, 3.0), 0.5, 1.0),
    ("huber", (-4.0, 3.0), 6.5, -1.0),
    ("huber", (1e300, 3.0), 1e300, 1.0),
    ("sigmoid_cross_entropy", (0.0, 1.0), math.log(2), -0.5),
    ("sigmoid_cross_entropy", (0.0, 0.25), math.log(2), 0.25),
    ("sigmoid_cross_entropy", (1000.0, 1.0), 0.0, 0.0),
    ("sigmoid_cross_entropy", (-1000.0, 1.0), 1000.0, -1.0),
    ("sigmoid_cross_entropy", (inf, 1.0), 0.0, 0.0),
    ("sigmoid_cross_entropy", (-inf, 0.0), 0.0, 0.0),
    ("binary_cross_entropy", (0.25, 1.0), math.log(4), -4.0),
    ("binary_cross_entropy", (0.25, 0.0), math.log(4 / 3), 4 / 3),
    ("binary_cross_entropy", (1.0, 1.0), 0.0, -1.0),
    ("binary_cross_entropy", (0.0, 0.0), 0.0, 1.0),
    ("hinge", (0.25, 1.0), 0.75, -1.0),
    ("hinge", (0.25, -1.0), 1.25, 1.0),
    ("hinge", (1.0, 1.0), 0.0, 0.0),
]


@pytest.mark.parametrize("name, arguments, loss, slope", NUMBERS)
def test_values_and_slopes(name, arguments, loss, slope):
    f = getattr(losses, name)
    got = value_and_grad(f, *arguments)
    assert got == pytest.approx((loss, slope), rel=1e-11, abs=1e-12)
    x, y = np.full((2, 3), arguments[0]), np.full((2, 3), arguments[1])
    for target in (y, arguments[1]):
        for reduction, share in (("mean", 1 / 6), ("sum", 1.0)):
            value, slopes = value_and_grad(
                lambda x, *a: f(x, a[0], reduction=a[1]), x, target, reduction
            )
            assert value == pytest.approx(6 * share * loss, rel=1e-11, abs=1e-12)
            assert slopes == pytest.approx(np.full((2, 3), share * slope), rel=1e-11, abs=1e-12)
    assert f(x, y, reduction="none") == pytest.approx(np.full((2, 3), loss), rel=1e-11, abs=1e-12)


def test_sigmoid_cross_entropy_keeps_its_relative_accuracy():
    for x in (-700.0, -30.0, 30.0, 40.0, 700.0):
        y = 1.0 if x > 0 else 0.0
        expected = math.log1p(math.exp(-abs(x)))
        assert losses.sigmoid_cross_entropy(x, y) == pytest.approx(expected, rel=1e-15)


def test_second_order_of_elements():
    x, y = rng.normal(size=4) * 2, np.array([1.0, -1.0, 1.0, -1.0])
    ones = np.ones(4)
    s = 1 / (1 + np.exp(-x * y))
    for f, expected in [
        (losses.squared_error, 2 * ones),
        (losses.logistic_loss, s * (1 - s)),
        (losses.huber, (np.abs(x - y) < 1) * 1.0),
        (losses.hinge, 0 * ones),
    ]:
        second = hessian_vector(lambda x, f=f: f(x, y, reduction="sum"), x, ones)
        assert second == pytest.approx(expected, abs=1e-14), f.__name__


def test_l2():
    value, slope = value_and_grad(losses.l2, X, 0.1)
    assert value == pytest.approx(1.4)
    assert slope == pytest.approx([0.2, 0.4, 0.6])
    assert value_and_grad(losses.l2, 3.0, 2.0) == (18.0, 12.0)
    assert nt.grad(losses.l2)(ROWS) == pytest.approx(2 * ROWS)
    assert losses.l2(ROWS) == pytest.approx((ROWS**2).sum())
    strength = nt.grad(lambda s: losses.l2(X, s))(0.1)
    assert strength == pytest.approx(14.0)


# --- layer norm --------------------------------------------------------------------------------


def normalised(x, axes, eps=1e-5):
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)


@pytest.mark.parametrize("axis", [-1, 0, 1, (1, 2), (0, 2)])
def test_layer_norm(axis):
    x = rng.normal(size=(2, 3, 4)) * 5 + 2
    axes = axis if isinstance(axis, tuple) else (axis % 3,)
    assert losses.layer_norm(x, axis=axis) == pytest.approx(normalised(x, axes))
    gain, bias = (rng.normal(size=[x.shape[i] for i in axes]) for _ in range(2))
    wide = [n if i in axes else 1 for i, n in enumerate(x.shape)]
    expected = normalised(x, axes) * gain.reshape(wide) + bias.reshape(wide)
    got = losses.layer_norm(nt.var(x), nt.var(gain), nt.var(bias), axis=axis)
    assert got.value == pytest.approx(expected)


def test_gradient_of_layer_norm():
    x, w = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    gain, bias = rng.normal(size=5), rng.normal(size=5)

    def f(x, gain, bias):
        return (w * losses.layer_norm(x, gain, bias)).sum()

    dx, dgain, dbias = nt.grad(f, (0, 1, 2))(x, gain, bias)
    z = normalised(x, 1)
    width = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    u = w * gain
    expected = (u - u.mean(1, keepdims=True) - z * (u * z).mean(1, keepdims=True)) / width
    assert dx == pytest.approx(expected, abs=1e-14)
    assert dgain == pytest.approx((w * z).sum(axis=0))
    assert dbias == pytest.approx(w.sum(axis=0))
    # it does not see shifts, so the Hessian has ones in its kernel
    zero = hessian_vector(lambda x: f(x, gain, bias), x, np.ones((3, 5)))
    assert zero == pytest.approx(np.zeros((3, 5)), abs=1e-13)


# --- kinds of arguments ------------------------------------------------------------------------

PAIRS = ["squared_error", "absolute_error", "huber", "logistic_loss", "sigmoid_cross_entropy",
         "hinge"]  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_plain_numbers_give_plain_numbers(name):
    f = getattr(losses, name)
    x, y = rng.normal(size=(2, 5))
    plain = f(x, y)
    recorded = f(nt.var(x), y)
    assert not recording(plain) and recording(recorded)
    assert recorded.value == pytest.approx(plain, rel=1e-15)
    assert isinstance(f(1.0, -1.0), float)
    assert f(x.tolist(), y.tolist()) == plain
    assert isinstance(f(x, y, reduction="none"), np.ndarray)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "layer_norm", "l2"])
def test_functions_of_plain_arrays_are_plain(name):
    f = getattr(losses, name)
    plain, recorded = f(ROWS), f(nt.var(ROWS))
    assert not recording(plain)
    assert recorded.value == pytest.approx(plain, rel=1e-15, abs=1e-15)  # sums differ in order


def test_float32_stays():
    x = nt.var(ROWS.astype(np.float32))
    for result in (
        losses.softmax(x),
        losses.log_softmax(x),
        losses.layer_norm(x),
        losses.softmax_cross_entropy(x, CLASSES, reduction="none"),
        losses.squared_error(x, 1.0, reduction="none"),
    ):
        assert result.dtype == np.float32
    assert losses.softmax(x).value == pytest.approx(softmax_of(ROWS), rel=1e-5, abs=1e-7)


def test_views_and_scattered_arrays():
    x = nt.var(ROWS)
    turned = losses.softmax_cross_entropy(x.T[::-1], np.array([0, 1, 2, 2]))
    expected = losses.softmax_cross_entropy(ROWS.T[::-1].copy(), np.array([0, 1, 2, 2]))
    assert turned.value == pytest.approx(expected)
    y = x * 1.0
    y[1] = 2 * x[0]
    changed = ROWS.copy()
    changed[1] = 2 * ROWS[0]
    expected = losses.softmax_cross_entropy(changed, CLASSES)
    assert losses.softmax_cross_entropy(y, CLASSES).value == pytest.approx(expected)


# --- replays -----------------------------------------------------------------------------------


def replayed(build, first, *others):
    """The last value on a tape recorded with inputs `first`, replayed with others."""
    with nt.Tape() as tape:
        build(*[nt.var(v) for v in first])
    work = Workspace(seal(tape))
    found = []
    for values in others:
        work.set_inputs(np.concatenate([np.ravel(v) for v in values]))
        found.append(work.value(work.tape.slots - 1))
    return found


def test_replays_follow_the_largest_logit():
    def build(x):
        return losses.softmax_cross_entropy(x, 1)

    others = [np.array([5.0, 1.0, -800.0]), np.array([-3.0, 900.0, 900.0])]
    found = replayed(build, [X], *[[x] for x in others])
    assert found == pytest.approx([losses.softmax_cross_entropy(x, 1) for x in others], rel=1e-15)


def test_recorded_class_numbers_change_in_replays():
    def build(classes, x):
        return losses.softmax_cross_entropy(x, classes.astype(int), reduction="sum")

    x = ROWS[:2]
    start = [[0.0, 3.0], x]
    found = replayed(build, start, [[2.0, 1.0], x], [[3.0, 3.0], x])
    expected = [
        losses.softmax_cross_entropy(x, np.array(c), reduction="sum") for c in ([2, 1], [3, 3])
    ]
    assert found == pytest.approx(expected, rel=1e-15)
    _, slope = nt.grad(build, (0, 1))(np.array([2.0, 1.0]), x)
    assert slope == pytest.approx(softmax_of(x) - np.eye(4)[[2, 1]], abs=4e-16)
    for wrong in ([4.0, 0.0], [0.0, -1.0]):  # in the flat array it would be another sample's logit
        with pytest.raises(ShapeError, match="an index lies outside"):
            replayed(build, start, [wrong, x])


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "cross_entropy", "nll"])
@pytest.mark.parametrize("make", [nt.var, np.asarray])
def test_errors_about_classes(name, make):
    f = getattr(losses, name)
    x = make(np.full((4, 3), 0.5))
    with pytest.raises(ShapeError, match=r"\(5,\).*\(4,\).*\(4, 3\).*test_losses"):
        f(x, np.zeros(5, int))
    with pytest.raises(ShapeError, match=r"class number 3 at \(1,\) is out of range for 3 classes"):
        f(x, np.array([0, 3, 1, 1]))
    with pytest.raises(IndexError, match="class number -1"):
        f(x, np.array([0, -1, 1, 1]))
    with pytest.raises(ArgumentError, match=r"must be integers, not float64.*astype\(int\)"):
        f(x, np.array([0.0, 1.0, 1.0, 1.0]))
    with pytest.raises(ArgumentError, match="not bool"):
        f(x, np.array([True, False, True, True]))
    with pytest.raises(ArgumentError, match="'average'"):
        f(x, np.zeros(4, int), reduction="average")
    with pytest.raises(ShapeError, match=r"axis 2 of an array of shape \(4, 3\)"):
        f(x, np.zeros(4, int), axis=2)


@pytest.mark.parametrize("name", [*PAIRS, "binary_cross_entropy", "kl_div"])
def test_errors_about_shapes(name):
    f = getattr(losses, name)
    with pytest.raises(ShapeError, match=r"\(4, 1\).*\(4,\)"):
        f(nt.var(np.full((4, 1), 0.5)), np.full(4, 0.5))
    with pytest.raises(ArgumentError, match="reduction"):
        f(np.full(4, 0.5), np.full(4, 0.5), reduction="all")


def test_other_errors():
    with pytest.raises(ShapeError, match=r"axis 0 of an array of shape \(\)"):
        losses.softmax(nt.var(1.0), axis=0)
    with pytest.raises(ShapeError, match="empty"):
        losses.softmax(np.zeros((3, 0)))
    with pytest.raises(ArgumentError, match="no samples"):
        losses.squared_error(np.zeros(0), np.zeros(0))
    with pytest.raises(ArgumentError, match="delta must be positive, not 0"):
        losses.huber(1.0, 2.0, delta=0)
    with pytest.raises(ShapeError, match=r"shape \(3,\) for x of shape \(5, 4\).*shape \(4,\)"):
        losses.layer_norm(nt.var(ROWS), np.ones(3))


def test_no_samples_at_all():
    assert losses.softmax(np.zeros((0, 3))).shape == (0, 3)
    each = losses.softmax_cross_entropy(np.zeros((0, 3)), np.zeros(0, int), reduction="none")
    assert each.shape == (0,)
    assert losses.squared_error(np.zeros(0), np.zeros(0), reduction="sum") == 0.0


# --- torch -------------------------------------------------------------------------------------


def test_against_torch():
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    y = rng.normal(size=ROWS.shape)
    labels = np.sign(y)
    probabilities = SOFT[:, ::-1].copy()
    gain, bias = rng.normal(size=(2, 4))

    def tensor(a):
        return torch.tensor(a)

    cases = [
        (ROWS, lambda x, r: losses.softmax_cross_entropy(x, CLASSES, reduction=r),
         lambda x, r: F.cross_entropy(x, tensor(CLASSES), reduction=r)),
        (ROWS, lambda x, r: losses.softmax_cross_entropy(x, SOFT, reduction=r),
         lambda x, r: F.cross_entropy(x, tensor(SOFT), reduction=r)),
        (ROWS, lambda x, r: losses.nll(x, CLASSES, reduction=r),
         lambda x, r: F.nll_loss(x, tensor(CLASSES), reduction=r)),
        (ROWS, lambda x, r: losses.squared_error(x, y, reduction=r),
         lambda x, r: F.mse_loss(x, tensor(y), reduction=r)),
        (ROWS, lambda x, r: losses.absolute_error(x, y, reduction=r),
         lambda x, r: F.l1_loss(x, tensor(y), reduction=r)),
        (ROWS, lambda x, r: losses.huber(x, y, 1.5, reduction=r),
         lambda x, r: F.huber_loss(x, tensor(y), reduction=r, delta=1.5)),
        (ROWS, lambda x, r: losses.sigmoid_cross_entropy(x, SOFT, reduction=r),
         lambda x, r: F.binary_cross_entropy_with_logits(x, tensor(SOFT), reduction=r)),
        (probabilities, lambda x, r: losses.binary_cross_entropy(x, SOFT, reduction=r),
         lambda x, r: F.binary_cross_entropy(x, tensor(SOFT), reduction=r)),
        (ROWS, lambda x, r: losses.logistic_loss(x, labels, reduction=r),
         lambda x, r: F.soft_margin_loss(x, tensor(labels), reduction=r)),
        (probabilities, lambda x, r: losses.kl_div(x, SOFT, reduction="sum"),
         lambda x, r: F.kl_div(x.log(), tensor(SOFT), reduction="sum")),
        (ROWS, lambda x, r: (y * losses.layer_norm(x, gain, bias)).sum(),
         lambda x, r: (tensor(y) * F.layer_norm(x, (4,), tensor(gain), tensor(bias))).sum()),
        (ROWS, lambda x, r: (y * losses.log_softmax(x, 0)).sum(),
         lambda x, r: (tensor(y) * F.log_softmax(x, 0)).sum()),
        (ROWS, lambda x, r: losses.logsumexp(x, 0).sum(),
         lambda x, r: torch.logsumexp(x, 0).sum()),
    ]  # fmt: skip
    for x, ours, theirs in cases:
        for reduction in ("mean", "sum"):
            value, slope = value_and_grad(ours, x, reduction)
            leaf = torch.tensor(x, requires_grad=True)
            loss = theirs(leaf, reduction)
            loss.backward()
            assert value == pytest.approx(loss.item(), rel=1e-13)
            assert slope == pytest.approx(leaf.grad.numpy(), rel=1e-12, abs=1e-15)
