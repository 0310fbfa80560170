"""Activations and losses, of scalars and of arrays: values, derivatives, large arguments.

Formulas as a textbook prints them break down where an exponential overflows: they give inf, or nan,
where the function itself is perfectly tame. Each section shows the printed form failing, a form
that holds, and the numbers that every form must give in the middle. The first sections write each
function with scalars; the last ones use the functions that ndtape has for arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from walkthrough import Numbers, same, same_array, walk

import ndtape as nt


def sigmoid(numbers: Numbers) -> None:
    """sigmoid: 1/(1 + exp(-x)), with derivative s·(1 - s)"""
    slope = nt.grad(nt.sigmoid)
    numbers.check_all("sigmoid, slope at 0", [nt.sigmoid(0.0), slope(0.0)], "0.5 0.25")
    numbers.check("sigmoid at 1", nt.sigmoid(1.0), "0.731058578630")
    numbers.check("slope at 1", slope(1.0), "0.196611933241")

    def slope_as_printed(x: nt.Var) -> nt.Var:
        return nt.exp(-x) / (nt.exp(-x) + 1) ** 2

    same(slope_as_printed(nt.var(1.0)).value, slope(1.0))
    numbers.check("slope as printed, at -1000", slope_as_printed(nt.var(-1000.0)).value, "nan")
    numbers.check("slope at -1000", slope(-1000.0), "0")


def relu(numbers: Numbers) -> None:
    """relu: max(0, x), and the choice to make at 0"""
    slope = nt.grad(nt.relu)
    numbers.check_all("slope at -1 0 1", [slope(-1.0), slope(0.0), slope(1.0)], "0 0 1")

    # ndtape takes 0 at 0. A textbook that takes 1 there is one rule away:
    relu_from_right = nt.define(
        nt.relu,
        lambda x, z: nt.where(x >= 0, 1.0, 0.0),
    )
    slope = nt.grad(relu_from_right)
    numbers.check_all("with 1 at 0: slope", [slope(-1.0), slope(0.0), slope(1.0)], "0 1 1")


def tanh(numbers: Numbers) -> None:
    """tanh: (e^x - e^-x)/(e^x + e^-x), with derivative 1 - tanh²"""
    slope = nt.grad(nt.tanh)
    numbers.check("tanh at 1", nt.tanh(1.0), "0.761594155956")
    numbers.check("slope at 1", slope(1.0), "0.419974341614")

    def first(x: nt.Var) -> nt.Var:
        return (nt.exp(x) - nt.exp(-x)) / (nt.exp(x) + nt.exp(-x))

    def second(x: nt.Var) -> nt.Var:
        return (1 - nt.exp(-2 * x)) / (1 + nt.exp(-2 * x))

    def slope_as_printed(x: nt.Var) -> nt.Var:
        return 4 * nt.exp(2 * x) / (nt.exp(2 * x) + 1) ** 2

    for form in (first, second):
        same(form(nt.var(1.0)).value, nt.tanh(1.0))
    same(slope_as_printed(nt.var(1.0)).value, slope(1.0))
    numbers.check("first form, at 1000", first(nt.var(1000.0)).value, "nan")
    numbers.check("second form, at -1000", second(nt.var(-1000.0)).value, "nan")
    numbers.check("slope as printed, at 400", slope_as_printed(nt.var(400.0)).value, "nan")
    numbers.check_all("tanh at ±1000", [nt.tanh(1000.0), nt.tanh(-1000.0)], "1 -1")
    numbers.check_all("slope at ±1000, 400", [slope(v) for v in (1000.0, -1000.0, 400.0)], "0 0 0")


def logistic_loss(numbers: Numbers) -> None:
    """logistic loss: log(1 + exp(-x·y)), with derivative -y/(1 + exp(x·y))"""

    def as_printed(x: nt.Var, y: float) -> nt.Var:
        return nt.log(1 + nt.exp(-x * y))

    def loss(x: nt.Var, y: float) -> nt.Var:
        return nt.softplus(-x * y)

    for y, value, slope in [
        (-1.0, "2.126928011043", "0.880797077978"),
        (1.0, "0.126928011043", "-0.119202922022"),
    ]:
        got, got_slope = nt.value_and_grad(loss)(2.0, y)
        numbers.check(f"loss(2, {y:g})", got, value)
        numbers.check(f"slope at (2, {y:g})", got_slope, slope)
        same(as_printed(nt.var(2.0), y).value, got)

    numbers.check("as printed, (1000, -1)", as_printed(nt.var(1000.0), -1.0).value, "inf")
    numbers.check_all("loss, slope at (1000, -1)", nt.value_and_grad(loss)(1000.0, -1.0), "1000 1")


def regularisation(numbers: Numbers) -> None:
    """regularisation loss: y·Σ x², with derivative 2·y·x"""

    def loss(x: Sequence[nt.Var], y: float) -> nt.Var:
        return y * sum(v * v for v in x)

    value, slope = nt.value_and_grad(loss)([1.0, 2.0, 3.0], 0.1)
    numbers.check("loss", value, "1.40000000000")
    numbers.check_all("slope", slope, "0.200000000000 0.400000000000 0.600000000000")


def squared_error(numbers: Numbers) -> None:
    """squared error: (p - y)², with derivative 2·(p - y)"""

    def loss(p: nt.Var, y: float) -> nt.Var:
        return (p - y) ** 2

    numbers.check_all("loss, slope at (4.5, 3)", nt.value_and_grad(loss)(4.5, 3.0), "2.25 3")


ROWS = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]
CLASSES = [0, 2]
ONE_HOT = [[1, 0, 0], [0, 0, 1]]


def cross_entropy(numbers: Numbers) -> None:
    """cross entropy on probabilities: by class numbers, or by one-hot rows"""

    def by_class(rows: list[list[nt.Var]], classes: list[int]) -> nt.Var:
        return -sum(nt.log(row[right]) for row, right in zip(rows, classes, strict=True))

    def by_one_hot(rows: list[list[nt.Var]], targets: list[list[int]]) -> nt.Var:
        total = 0.0
        for row, target in zip(rows, targets, strict=True):
            for p, y in zip(row, target, strict=True):
                total = total - nt.xlogy(y, p)  # y·log p, and 0 where y is 0
        return total

    for name, loss, targets in [("class", by_class, CLASSES), ("one-hot", by_one_hot, ONE_HOT)]:
        value, slope = nt.value_and_grad(loss)(ROWS, targets)
        numbers.check(f"by {name}: loss", value, "0.867500567705")
        numbers.check_all(f"by {name}: slope, row 0", slope[0], "-1.428571428571 0 0")
        numbers.check_all(f"by {name}: slope, row 1", slope[1], "0 0 -1.666666666667")

    # A probability that has become exactly 0, where the target is 0 as well:
    printed = 0 * nt.log(nt.var(0.0))
    numbers.check("0·log 0 as printed", printed.value, "nan")
    value, slope = nt.value_and_grad(by_one_hot)([[1.0, 0.0]], [[1, 0]])
    numbers.check("by one-hot, with 0·log 0: loss", abs(value), "0")
    numbers.check_all("by one-hot, with 0·log 0: slope", slope[0], "-1 0")


def logsumexp(x: Sequence[nt.Var]) -> nt.Var:
    """log Σ exp x. The shift by the largest cancels in the derivative, so it is held constant."""
    largest = max(v.value for v in x)
    return largest + nt.log(sum(nt.exp(v - largest) for v in x))


def log_softmax(x: Sequence[nt.Var]) -> list[nt.Var]:
    total = logsumexp(x)
    return [v - total for v in x]


def softmax(x: Sequence[nt.Var]) -> list[nt.Var]:
    return [nt.exp(v) for v in log_softmax(x)]


def softmax_cross_entropy(x: Sequence[nt.Var], y: Sequence[float]) -> nt.Var:
    """-Σ y·log softmax(x), for any row y of target probabilities."""
    return -sum(target * v for target, v in zip(y, log_softmax(x), strict=True) if target)


def variables(values: Sequence[float]) -> list[nt.Var]:
    return [nt.var(float(v)) for v in values]


def softmax_section(numbers: Numbers) -> None:
    """softmax: exp(x)/Σ exp x, whose Jacobian is diag(s) - s·sᵀ"""
    s = softmax(variables([1, 2, 3]))
    numbers.check_all("softmax(1,2,3)", [v.value for v in s], "0.09003057 0.24472847 0.66524096")
    for i, printed in enumerate(
        [
            "0.08192507 -0.02203304 -0.05989202",
            "-0.02203304 0.18483645 -0.16280340",
            "-0.05989202 -0.16280340 0.22269543",
        ]
    ):
        row = nt.grad(lambda x, i=i: softmax(x)[i])([1.0, 2.0, 3.0])
        numbers.check_all(f"Jacobian, row {i}", row, printed)

    x = variables([1000, 0, -1000])
    e = [nt.exp(v) for v in x]
    numbers.check("as printed, at (1000,0,-1000)", (e[0] / sum(e)).value, "nan")
    numbers.check_all("softmax there", [v.value for v in softmax(x)], "1 0 0")
    numbers.check_all("log-softmax there", [v.value for v in log_softmax(x)], "0 -1000 -2000")
    both = logsumexp(variables([1000, 1000]))
    numbers.check("logsumexp(1000,1000)", both.value, "1000.69314718056")
    same(nt.logaddexp(1000.0, 1000.0), both.value)


def softmax_cross_entropy_section(numbers: Numbers) -> None:
    """softmax cross entropy on logits: the gradient is softmax(x)·Σy - y"""
    for y, loss, slope in [
        ((0, 1, 0), "1.40760596", "0.09003057 -0.75527153 0.66524096"),
        ((0.2, 0.3, 0.5), "1.10760596", "-0.10996943 -0.05527153 0.16524096"),
        ((1, 2, 0), "5.22281789", "-0.72990828 -1.26581459 1.99572287"),
    ]:
        got, got_slope = nt.value_and_grad(softmax_cross_entropy)([1.0, 2.0, 3.0], y)
        numbers.check(f"y={y}: loss", got, loss)
        numbers.check_all(f"y={y}: slope", got_slope, slope)

    got, slope = nt.value_and_grad(softmax_cross_entropy)([1000.0, 0.0, -1000.0], (0, 0, 1))
    numbers.check("(1000,0,-1000), class 2: loss", got, "2000")
    numbers.check_all("(1000,0,-1000), class 2: slope", slope, "1 0 -1")


def array_activations(numbers: Numbers) -> None:
    """arrays: sigmoid, tanh and relu of all elements, far out as well"""
    x = np.array([-1000.0, -1.0, 0.0, 1.0, 1000.0])
    for name, f, value, slope in [
        (
            "sigmoid",
            nt.sigmoid,
            "0 0.268941421370 0.5 0.731058578630 1",
            "0 0.196611933241 0.25 0.196611933241 0",
        ),
        (
            "tanh",
            np.tanh,
            "-1 -0.761594155956 0 0.761594155956 1",
            "0 0.419974341614 1 0.419974341614 0",
        ),
        ("relu", nt.relu, "0 0 0 1 1000", "0 0 0 1 1"),
    ]:
        found, pullback = nt.vjp(f, x)
        numbers.check_array(name, found, (5,), value)
        numbers.check_array(f"{name}: slope", pullback(np.ones(5))[0], (5,), slope)

    with np.errstate(over="ignore", invalid="ignore"):
        printed = (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x))
    numbers.check_all("tanh as printed, far out", printed[[0, 4]], "nan nan")


def array_losses(numbers: Numbers) -> None:
    """arrays: logistic loss, regularisation, squared error, cross entropy"""
    x, y = np.array([2.0, 2.0, 1000.0]), np.array([-1.0, 1.0, -1.0])
    each = nt.logistic_loss(x, y, reduction="none")
    numbers.check_array("logistic loss", each, (3,), "2.126928011043 0.126928011043 1000")
    slope = nt.grad(lambda x: nt.logistic_loss(x, y, reduction="sum"))(x)
    numbers.check_array("its slope", slope, (3,), "0.880797077978 -0.119202922022 1")

    value, slope = nt.value_and_grad(nt.l2)(np.array([1.0, 2.0, 3.0]), 0.1)
    numbers.check("regularisation", value, "1.40000000000")
    numbers.check_array("2·y·x", slope, (3,), "0.200000000000 0.400000000000 0.600000000000")

    p, target = np.array([4.5, 1.0]), np.array([3.0, 1.5])
    each = nt.squared_error(p, target, reduction="none")
    numbers.check_array("squared error", each, (2,), "2.25 0.25")
    slope = nt.grad(lambda p: nt.squared_error(p, target, reduction="sum"))(p)
    numbers.check_array("2(p - y)", slope, (2,), "3 -1")

    rows = np.array(ROWS)
    for name, targets in [("class", np.array(CLASSES)), ("one-hot", np.array(ONE_HOT, float))]:

        def loss(rows, targets=targets):
            return nt.cross_entropy(rows, targets, reduction="sum")

        value, slope = nt.value_and_grad(loss)(rows)
        numbers.check(f"cross entropy by {name}", value, "0.867500567705")
        numbers.check_array(
            f"slope by {name}", slope, (2, 3), "-1.428571428571 0 0  0 0 -1.666666666667"
        )
        same(nt.cross_entropy(rows, targets), value / 2)  # the mean, where nothing else is said

    # y·log(o) with y = 0 and o = 0 is nan as printed, and so is -y/o; the loss gives 0 for both.
    sure, target = np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])
    with np.errstate(divide="ignore", invalid="ignore"):
        numbers.check("0·log 0 in an array, as printed", -np.sum(target * np.log(sure)), "nan")
    value, slope = nt.value_and_grad(nt.cross_entropy)(sure, target)
    numbers.check("0·log 0 in an array: loss", abs(value), "0")
    numbers.check_array("0·log 0 in an array: slope", slope, (1, 2), "-1 0")


def array_softmax(numbers: Numbers) -> None:
    """arrays: softmax, log-softmax, logsumexp and their cross entropy, of rows and far out"""
    rows = np.array([[1.0, 2.0, 3.0], [1000.0, 0.0, -1000.0]])
    with np.errstate(over="ignore", invalid="ignore"):
        printed = np.exp(rows) / np.sum(np.exp(rows), axis=1, keepdims=True)
    numbers.check("as printed, far out", printed[1, 0], "nan")
    numbers.check_array(
        "softmax", nt.softmax(rows), (2, 3), "0.09003057 0.24472847 0.66524096  1 0 0"
    )
    numbers.check_array(
        "log-softmax",
        nt.log_softmax(rows),
        (2, 3),
        "-2.40760596 -1.40760596 -0.40760596  0 -1000 -2000",
    )
    numbers.check("logsumexp", nt.logsumexp(np.array([1000.0, 1000.0])), "1000.69314718056")
    classes = np.array([1, 2])
    each = nt.softmax_cross_entropy(rows, classes, reduction="none")
    numbers.check_array("by class", each, (2,), "1.40760596 2000")
    slope = nt.grad(lambda x: nt.softmax_cross_entropy(x, classes, reduction="sum"))(rows)
    numbers.check_array("its slope", slope, (2, 3), "0.09003057 -0.75527153 0.66524096  1 0 -1")
    soft = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    value, slope = nt.value_and_grad(nt.softmax_cross_entropy)(rows, soft)
    numbers.check("soft targets: the mean", value, "0.55380298")
    same_array(slope, (nt.softmax(rows) * soft.sum(axis=1, keepdims=True) - soft) / 2)


SECTIONS = [
    sigmoid,
    relu,
    tanh,
    logistic_loss,
    regularisation,
    squared_error,
    cross_entropy,
    softmax_section,
    softmax_cross_entropy_section,
    array_activations,
    array_losses,
    array_softmax,
]


def main() -> Numbers:
    """All sections; the numbers by name."""
    return walk("Activations and losses, of scalars and of arrays", SECTIONS)


if __name__ == "__main__":
    main()
