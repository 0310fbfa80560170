"""An automatic differentiation library in one file: about a hundred lines, NumPy and nothing else.

This is the homework "autograd: creating your own library", worked. A node is a value, the operation
that made it and its parents; an operation is two functions, forward(x, …) for the value and, for
each operand, vjp(v, x, …) that hands an adjoint v of the result on to that operand. That is all:
the walk at the end is fifteen lines. (ndtape does the same with a flat tape and compiled loops:
h2_under_the_hood.py lays the two side by side.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from walkthrough import Numbers

# ---- the library ----------------------------------------------------------------------------


class Node:
    """A value, the operation it came from, and the operands; an input has neither."""

    def __init__(self, value, op: Op | None = None, parents: Sequence = ()):
        self.value, self.op, self.parents = np.asarray(value, dtype=float), op, tuple(parents)

    def __add__(self, other):
        return add(self, other)

    def __sub__(self, other):
        return sub(self, other)

    def __mul__(self, other):
        return mul(self, other)

    def __matmul__(self, other):
        return matmul(self, other)

    def __neg__(self):
        return mul(self, -1.0)

    __radd__, __rmul__ = __add__, __mul__


class Op:
    """forward(*operands), and a vjp(v, *operands) for each operand that has a derivative."""

    def __init__(self, name: str, forward: Callable, *vjps: Callable):
        self.name, self.forward, self.vjps = name, forward, vjps

    def __call__(self, *operands) -> Node:
        return Node(self.forward(*map(value_of, operands)), self, operands)


def value_of(operand):
    """Constants are plain numbers and arrays: they have no node and get no adjoint."""
    return operand.value if isinstance(operand, Node) else operand


def unbroadcast(v, x):
    """What an operand that was broadcast gets: the adjoint summed over the axes it was lent."""
    v, shape = np.asarray(v), np.shape(x)
    v = v.sum(axis=tuple(range(v.ndim - len(shape))))
    stretched = tuple(k for k, n in enumerate(shape) if n == 1 and v.shape[k] != 1)
    return v.sum(axis=stretched, keepdims=True)


def sequence(root: Node) -> list[Node]:
    """Every node under root, parents before children; a stack, so that depth costs nothing."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(p, False) for p in reversed(node.parents) if isinstance(p, Node)]
    return order


def backward(root: Node) -> dict[int, np.ndarray]:
    """The adjoint of every node under root, by its id: each node is visited once, root first."""
    adjoint = {id(root): np.ones_like(root.value)}
    for node in reversed(sequence(root)):
        v, values = adjoint.get(id(node)), [value_of(p) for p in node.parents]
        for k, parent in enumerate(node.parents):
            if v is not None and isinstance(parent, Node) and k < len(node.op.vjps):
                part = node.op.vjps[k](v, *values)
                adjoint[id(parent)] = adjoint.get(id(parent), 0.0) + part
    return adjoint


def gradients(root: Node, nodes: Sequence[Node]) -> list[np.ndarray]:
    adjoint = backward(root)
    return [adjoint.get(id(n), np.zeros_like(n.value)) for n in nodes]


# ---- its operations -------------------------------------------------------------------------


def _sigmoid(x):
    return np.exp(-np.logaddexp(0.0, -x))  # exp of a negative number cannot overflow


def _softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _one_hot(classes, x):
    return np.asarray(classes)[..., None] == np.arange(np.shape(x)[-1])


def _picked(y, x):
    """The target row of each sample, from class numbers or from one-hot rows."""
    return _one_hot(y, x) if np.ndim(y) < np.ndim(x) else np.asarray(y)


def _log_where(y, p):
    """log p where the target is not 0, and 0 elsewhere: 0·log 0 counts for nothing."""
    return np.log(np.where(y != 0, p, 1.0))


def _cross_entropy(p, y):
    y = _picked(y, p)
    return -np.sum(y * _log_where(y, p))


def _cross_entropy_vjp(v, p, y):
    y = _picked(y, p)
    return -v * y / np.where(y != 0, p, 1.0)


def _softmax_cross_entropy(x, y):
    y, shifted = _picked(y, x), x - np.max(x, axis=-1, keepdims=True)
    return np.sum(y * (np.log(np.exp(shifted).sum(axis=-1, keepdims=True)) - shifted))


def _softmax_cross_entropy_vjp(v, x, y):
    y = _picked(y, x)
    return v * (_softmax(x) * y.sum(axis=-1, keepdims=True) - y)


add = Op(
    "add",
    lambda x, y: x + y,
    lambda v, x, y: unbroadcast(v, x),
    lambda v, x, y: unbroadcast(v, y),
)
sub = Op(
    "sub",
    lambda x, y: x - y,
    lambda v, x, y: unbroadcast(v, x),
    lambda v, x, y: unbroadcast(-v, y),
)
mul = Op(
    "mul",
    lambda x, y: x * y,
    lambda v, x, y: unbroadcast(v * y, x),
    lambda v, x, y: unbroadcast(v * x, y),
)
matmul = Op("matmul", lambda x, y: x @ y, lambda v, x, y: v @ y.T, lambda v, x, y: x.T @ v)
exp = Op("exp", np.exp, lambda v, x: v * np.exp(x))
log = Op("log", np.log, lambda v, x: v / x)
sin = Op("sin", np.sin, lambda v, x: v * np.cos(x))
square = Op("square", np.square, lambda v, x: v * 2 * x)
sigmoid = Op("sigmoid", _sigmoid, lambda v, x: v * _sigmoid(x) * _sigmoid(-x))
relu = Op("relu", lambda x: np.maximum(x, 0.0), lambda v, x: v * (x > 0))
tanh = Op("tanh", np.tanh, lambda v, x: v * (1 - np.tanh(x) ** 2))
logistic_loss = Op(
    "logistic_loss",
    lambda x, y: np.logaddexp(0.0, -x * y),
    lambda v, x, y: -v * y * _sigmoid(-x * y),
    lambda v, x, y: -v * x * _sigmoid(-x * y),
)
regularisation = Op(
    "regularisation",
    lambda x, y: y * np.sum(x * x),
    lambda v, x, y: v * 2 * y * x,
    lambda v, x, y: v * np.sum(x * x),
)
cross_entropy = Op("cross_entropy", _cross_entropy, _cross_entropy_vjp)
softmax_cross_entropy = Op(
    "softmax_cross_entropy", _softmax_cross_entropy, _softmax_cross_entropy_vjp
)


# ---- its checks -----------------------------------------------------------------------------

X = [[1, 2, 3], [4, 5, 6]]
Y = [[1, 0], [-1, 2], [0.5, 1]]
V = [[1, -1], [2, 0.5]]


def flat(array) -> list[float]:
    return np.ravel(array).tolist()


def total(x: Node) -> Node:
    """The sum of all entries, from what is there already: a row of ones, x, a column of ones."""
    rows, columns = x.value.shape
    return matmul(matmul(np.ones((1, rows)), x), np.ones((columns, 1)))


def graph_of_two_paths(numbers: Numbers) -> None:
    """A graph with a fork: sin(x² + y)·x"""
    x, y = Node(5.0), Node(3.0)
    c = sin(square(x) + y)
    numbers.check("c", c.value, "0.270905788308")
    numbers.check_all("dc/dx dc/dy", gradients(c, [x, y]), "-9.62605866314 -0.962605866314")
    (slope,) = gradients(c * x, [x])
    numbers.check("d(c·x)/dx", slope, "-47.8593875274")


def sixty_forks(numbers: Numbers) -> None:
    """Sixty forks: 2⁶⁰ paths, and sixty-one visits"""
    start = x = Node(1.0)
    for _ in range(60):
        x = x + x
    numbers.check("gradient", gradients(x, [start])[0], "1152921504606846976")
    numbers.check("nodes", len(sequence(x)), "61")


def matrix_product(numbers: Numbers) -> None:
    """Matrix product: an adjoint V goes on as V·Yᵀ and Xᵀ·V"""
    x, y = Node(X), Node(Y)
    z = x @ y
    dx, dy = gradients(total(z * np.asarray(V)), [x, y])
    numbers.check_all("X·Y", flat(z.value), "0.5 7 2 16")
    numbers.check_all("V·Yᵀ", flat(dx), "1 -3 -0.5 2 -1 1.5")
    numbers.check_all("Xᵀ·V", flat(dy), "9 1 12 0.5 15 0")


def broadcasting(numbers: Numbers) -> None:
    """Broadcasting: the adjoint is summed over the axes that were stretched"""
    v = np.array([[1.0, 2, 3], [4, 5, 6]])
    for shape, expected in [((3,), "5 7 9"), ((2, 1), "6 15"), ((), "21")]:
        for op in (add, mul):
            x = Node(np.ones(shape))
            (dx,) = gradients(total(op(np.ones((2, 3)), x) * v), [x])
            if dx.shape != shape:
                raise AssertionError(f"the adjoint of a {shape} has shape {dx.shape}")
            numbers.check_all(f"{op.name}, {shape}", flat(dx), expected)


def activations(numbers: Numbers) -> None:
    """Activations, and where a formula as printed overflows"""
    for op, at, value, slope in [
        (sigmoid, 0.0, "0.5", "0.25"),
        (sigmoid, 1.0, "0.731058578630", "0.196611933241"),
        (sigmoid, -1000.0, "0", "0"),
        (tanh, 1.0, "0.761594155956", "0.419974341614"),
        (tanh, 1000.0, "1", "0"),
        (relu, 1.5, "1.5", "1"),
        (relu, 0.0, "0", "0"),
    ]:
        x = Node(at)
        y = op(x)
        numbers.check(f"{op.name}({at:g})", y.value, value)
        numbers.check(f"{op.name}'({at:g})", gradients(y, [x])[0], slope)


def losses(numbers: Numbers) -> None:
    """Losses: logistic, regularisation, cross entropy on probabilities"""
    for at, y, value, slope in [
        (2.0, -1.0, "2.126928011043", "0.880797077978"),
        (2.0, 1.0, "0.126928011043", "-0.119202922022"),
        (1000.0, -1.0, "1000", "1"),
    ]:
        x = Node(at)
        loss = logistic_loss(x, y)
        numbers.check(f"logistic({at:g}, {y:g})", loss.value, value)
        numbers.check(f"logistic'({at:g}, {y:g})", gradients(loss, [x])[0], slope)

    x = Node([1, 2, 3])
    loss = regularisation(x, 0.1)
    numbers.check("regularisation", loss.value, "1.40000000000")
    numbers.check_all(
        "regularisation'", gradients(loss, [x])[0], "0.20000000 0.40000000 0.60000000"
    )

    p = Node([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    for name, y in [("classes", [0, 2]), ("one-hot", [[1, 0, 0], [0, 0, 1]])]:
        loss = cross_entropy(p, y)
        numbers.check(f"cross entropy, {name}", loss.value, "0.867500567705")
        slope = flat(gradients(loss, [p])[0])
        numbers.check_all(f"its slope, {name}", slope, "-1.428571428571 0 0 0 0 -1.666666666667")


def losses_on_logits(numbers: Numbers) -> None:
    """Softmax cross entropy on logits: the gradient is softmax(x)·Σy - y"""
    for y, value, slope in [
        ([0, 1, 0], "1.40760596", "0.09003057 -0.75527153 0.66524096"),
        ([0.2, 0.3, 0.5], "1.10760596", "-0.10996943 -0.05527153 0.16524096"),
        ([1, 2, 0], "5.22281789", "-0.72990828 -1.26581459 1.99572287"),
    ]:
        x = Node([1, 2, 3])
        loss = softmax_cross_entropy(x, y)
        numbers.check(f"y={y}", loss.value, value)
        numbers.check_all(f"its slope, y={y}", gradients(loss, [x])[0], slope)

    x = Node([1000, 0, -1000])
    loss = softmax_cross_entropy(x, 2)
    numbers.check("(1000,0,-1000), class 2", loss.value, "2000")
    numbers.check_all("its slope", gradients(loss, [x])[0], "1 0 -1")


SECTIONS = [
    graph_of_two_paths,
    sixty_forks,
    matrix_product,
    broadcasting,
    activations,
    losses,
    losses_on_logits,
]


def main() -> Numbers:
    """Check the library; the numbers by name."""
    from walkthrough import walk  # the library itself needs NumPy alone

    return walk("An automatic differentiation library in one file", SECTIONS)


if __name__ == "__main__":
    main()
