"""A network of two layers with all its numbers: forward, and backward along two routes.

Four points, sigmoid hidden units, softmax, mean cross entropy. The first route goes through the
3×3 softmax Jacobian of every sample, as a lecture derives it; the second through the fused loss on
logits. They agree, but the first one builds an array of N·C·C numbers on the way.
"""

from __future__ import annotations

import numpy as np
from walkthrough import Numbers, same, same_array, walk

import ndtape as nt

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
CLASSES = np.array([0, 1, 1, 2])


def start():
    """The parameters before training; a row of theta is an output unit."""
    return {
        "theta1": np.array([[-0.69, 0.63], [0.36, 0.59]]),
        "beta1": np.array([-0.41, -0.01]),
        "theta2": np.array([[-0.31, 0.02], [0.48, -0.68], [-0.41, -0.27]]),
        "beta2": np.array([-0.22, 0.15, -0.35]),
    }


def logits(params, x):
    s1 = x @ params["theta1"].T + params["beta1"]
    o1 = 1 / (1 + np.exp(-s1))
    return o1 @ params["theta2"].T + params["beta2"]


def loss_of_lecture(params, x, y):
    """The lines of the lecture, as they stand there."""
    s1 = x @ params["theta1"].T + params["beta1"]
    a1 = 1 / (1 + np.exp(-s1))
    s2 = a1 @ params["theta2"].T + params["beta2"]
    a2 = np.exp(s2) / np.sum(np.exp(s2), axis=1, keepdims=True)
    return -np.sum(y * np.log(a2)) / a2.shape[0]


def loss_fused(params, x, y):
    return nt.softmax_cross_entropy(logits(params, x), y)


def softmax_jacobians(a2):
    """The Jacobian of every sample at once, shape (N, 3, 3)."""
    return np.einsum("ij,jk->ijk", a2, np.eye(3)) - np.einsum("ij,ik->ijk", a2, a2)


def forward(numbers: Numbers) -> None:
    """Forward: every activation, from recorded arrays"""
    params = {name: nt.var(value, name=name) for name, value in start().items()}
    s1 = X @ params["theta1"].T + params["beta1"]
    o1 = 1 / (1 + np.exp(-s1))
    s2 = o1 @ params["theta2"].T + params["beta2"]
    o2 = np.exp(s2) / np.sum(np.exp(s2), axis=1, keepdims=True)
    loss = -np.sum(Y * np.log(o2)) / o2.shape[0]
    numbers.check_array("s1", s1, (4, 2), "-0.41 -0.01  0.22 0.58  -1.10 0.35  -0.47 0.94")
    numbers.check_array(
        "o1", o1, (4, 2), "0.3989 0.4975  0.5548 0.6411  0.2497 0.5866  0.3846 0.7191"
    )
    numbers.check_array(
        "s2",
        s2,
        (4, 3),
        """-0.3337 0.0032 -0.6479
           -0.3792 -0.0196 -0.7505
           -0.2857 -0.1290 -0.6108
           -0.3248 -0.1544 -0.7018""",
    )
    numbers.check_array(
        "o2",
        o2,
        (4, 3),
        """0.319388 0.447331 0.233281
           0.320263 0.458826 0.220910
           0.345774 0.404418 0.249808
           0.348215 0.412938 0.238846""",
    )
    picked = np.log(o2)[np.arange(4), CLASSES]
    numbers.check_array("y·ln o2", picked, (4,), "-1.141347 -0.779083 -0.905307 -1.431935")
    numbers.check("loss", loss.value, "1.06441802749627")
    same(nt.softmax_cross_entropy(s2, Y).value, loss.value)
    same(nt.softmax_cross_entropy(s2, CLASSES).value, loss.value)
    same(nt.cross_entropy(o2, Y).value, loss.value)


DELTA = """
    -0.6806 0.4473 0.2333
    0.3203 -0.5412 0.2209
    0.3458 -0.5956 0.2498
    0.3482 0.4129 -0.7612"""
JACOBIANS = """
    0.2174 -0.1429 -0.0745  -0.1429 0.2472 -0.1044  -0.0745 -0.1044 0.1789
    0.2177 -0.1469 -0.0707  -0.1469 0.2483 -0.1014  -0.0707 -0.1014 0.1721
    0.2262 -0.1398 -0.0864  -0.1398 0.2409 -0.1010  -0.0864 -0.1010 0.1874
    0.2270 -0.1438 -0.0832  -0.1438 0.2424 -0.0986  -0.0832 -0.0986 0.1818"""


def route_one(numbers: Numbers) -> None:
    """Backward, first route: -y/o2 times the softmax Jacobian of each sample"""
    s2 = logits(start(), X)
    o2 = np.exp(s2) / np.sum(np.exp(s2), axis=1, keepdims=True)
    slope = nt.grad(lambda o2: -np.sum(Y * np.log(o2)))(o2)
    picked = slope[np.arange(4), CLASSES]
    numbers.check_array("-y/o2", picked, (4,), "-3.130983 -2.179473 -2.472691 -4.186792")
    numbers.check("its other entries", np.count_nonzero(slope) - 4, "0")

    by_formula = softmax_jacobians(o2)
    numbers.check_array("softmax Jacobians", by_formula, (4, 3, 3), JACOBIANS)
    for sample, jacobian in zip(s2, by_formula, strict=True):
        same_array(nt.jacobian(nt.softmax)(sample), jacobian, within=1e-14)

    # The same lines on recording arrays give recording Jacobians.
    recorded = softmax_jacobians(nt.softmax(nt.var(s2)))
    same_array(recorded.value, by_formula, within=1e-14)

    delta = np.einsum("ij,ijk->ik", slope, by_formula)
    numbers.check_array("4 · d loss/d logits", delta, (4, 3), DELTA)
    same_array(delta, o2 - Y, within=1e-14)


def route_two(numbers: Numbers) -> None:
    """Backward, second route: the fused loss gives (softmax - Y)/4 at once"""
    s2 = logits(start(), X)
    delta = nt.grad(nt.softmax_cross_entropy)(s2, Y)
    numbers.check_array("4 · d loss/d logits", 4 * delta, (4, 3), DELTA)
    by_sum = nt.grad(lambda s: nt.softmax_cross_entropy(s, Y, reduction="sum"))(s2)
    same_array(by_sum, 4 * delta, within=1e-14)


CONTRIBUTIONS = """
    -0.2715 -0.3386  0.1784 0.2225  0.0931 0.1161
    0.1777 0.2053  -0.3002 -0.3469  0.1226 0.1416
    0.0864 0.2028  -0.1487 -0.3494  0.0624 0.1465
    0.1339 0.2504  0.1588 0.2969  -0.2928 -0.5473"""
THETA2_MEAN = "0.031614 0.079986  -0.027926 -0.044204  -0.003688 -0.035782"
THETA2_SUM = "0.126454 0.319945  -0.111704 -0.176817  -0.014750 -0.143128"


def contributions_to_theta2(params):
    """What each sample adds to the gradient of theta2, shape (4, 3, 2)."""
    total = np.zeros((4, 3, 2))
    for i in range(len(X)):

        def loss_of_sample(theta2, i=i):
            return nt.softmax_cross_entropy(logits(params | {"theta2": theta2}, X[i]), Y[i])

        total[i] = nt.grad(loss_of_sample)(params["theta2"])
    return total


def gradients(numbers: Numbers) -> None:
    """The gradients of all parameters, mean and sum, equal along both routes"""
    params = start()
    each = contributions_to_theta2(params)
    numbers.check_array("theta2, sample by sample", each, (4, 3, 2), CONTRIBUTIONS)
    one = nt.grad(loss_of_lecture)(params, X, Y)
    two = nt.grad(loss_fused)(params, X, Y)
    for name in params:
        same_array(one[name], two[name], within=1e-13)
    same_array(each.mean(axis=0), two["theta2"], within=1e-14)
    numbers.check_array("theta2, mean", two["theta2"], (3, 2), THETA2_MEAN)
    numbers.check_array("theta2, sum", 4 * two["theta2"], (3, 2), THETA2_SUM)

    def summed(params):
        return nt.softmax_cross_entropy(logits(params, X), Y, reduction="sum")

    same_array(nt.grad(summed)(params)["theta2"], 4 * two["theta2"], within=1e-13)
    numbers.check_array("beta2", two["beta2"], (3,), "0.083410 -0.069122 -0.014289")
    numbers.check_array("theta1", two["theta1"], (2, 2), "0.000597 -0.003957  0.017433 0.014656")
    numbers.check_array("beta1", two["beta1"], (2,), "-0.007381 0.011741")


def slots_of(samples, classes):
    """Slots that each route takes for its gradient by logits, on `samples` rows of `classes`."""
    rows = np.sin(np.arange(samples * classes, dtype=float)).reshape(samples, classes)
    targets = np.eye(classes)[np.arange(samples) % classes]

    with nt.Tape() as by_jacobians:
        s2 = nt.var(rows)
        o2 = nt.softmax(s2)
        jacobians = np.einsum("ij,jk->ijk", o2, np.eye(classes)) - np.einsum("ij,ik->ijk", o2, o2)
        np.einsum("ij,ijk->ik", -targets / o2, jacobians)
    with nt.Tape() as fused:
        s2 = nt.var(rows)
        fused.gradient(nt.softmax_cross_entropy(s2, targets), s2)
    return by_jacobians.stats().slots, fused.stats().slots


def memory(numbers: Numbers) -> None:
    """Why the fused loss: it builds no array of N·C·C numbers"""
    samples, classes = 8, 50
    by_jacobians, fused = slots_of(samples, classes)
    print(f"    slots: {by_jacobians} through Jacobians, {fused} fused")
    numbers.check("N·C·C slots or more, route one", by_jacobians >= samples * classes**2, "1")
    numbers.check("fewer than N·C·C, fused", fused < samples * classes**2, "1")
    numbers.check("not even 8·N·C, fused", fused < 8 * samples * classes, "1")


SECTIONS = [forward, route_one, route_two, gradients, memory]


def main() -> Numbers:
    """All sections; the numbers by name."""
    return walk("A network of two layers, with numbers", SECTIONS)


if __name__ == "__main__":
    main()
