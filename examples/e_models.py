"""Models trained by back-propagation, each gradient by hand beside the one from the tape.

Linear and softmax regression, a hidden layer, a relu network node by node, the two recursions of
the textbooks (rows and Jacobians, columns and deltas), the arm of `e_arm.py`, and the training of
the network of `d_network.py`.
"""

from __future__ import annotations

import math

import d_network
import numpy as np
from e_arm import e6
from walkthrough import Numbers, same, same_array, walk

import ndtape as nt


def fill(shape, off=0, scale=0.5):
    """Numbers without a pattern, the same on every machine: scale·sin(1 + off + k)."""
    return scale * np.sin(1.0 + off + np.arange(math.prod(shape))).reshape(shape)


X = np.array([1.0, 2.0, 3.0])
W = np.array([[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]])
B = np.array([0.05, -0.05])


def e1(numbers: Numbers) -> None:
    """E1. linear regression: L = (wᵀx - y)², dL/dw = 2(ŷ - y)·xᵀ"""
    w, y = np.array([0.5, -1.0, 2.0]), 3.0

    def loss(w):
        return (w @ X - y) ** 2

    value, dw = nt.value_and_grad(loss)(w)
    numbers.check("ŷ", w @ X, "4.5")
    numbers.check("L", value, "2.25")
    numbers.check_array("dL/dw", dw, (3,), "3 6 9")
    same_array(dw, 2 * (w @ X - y) * X)


def e2(numbers: Numbers) -> None:
    """E2. softmax regression: δ = ŷ - y is the gradient by the bias, everything follows from it"""
    y = np.array([0.0, 1.0])

    def loss(W, b, x):
        return nt.softmax_cross_entropy(W @ x + b, y)

    value, (dW, db, dx) = nt.value_and_grad(loss, (0, 1, 2))(W, B, X)
    prediction = nt.softmax(W @ X + B)
    numbers.check_array("ŷ", prediction, (2,), "0.750260 0.249740")
    numbers.check("L", value, "1.387335325115")
    numbers.check_array("dL/db = δ", db, (2,), "0.750260 -0.750260")
    numbers.check_array(
        "dL/dW = δ·xᵀ", dW, (2, 3), "0.750260 1.500520 2.250780  -0.750260 -1.500520 -2.250780"
    )
    numbers.check_array("dL/dx = δᵀW", dx, (3,), "-0.225078 -0.525182 0.675234")

    # The row δ times the (2, 2, 3) Jacobian of Wx by W, as it is derived.
    delta = prediction - y
    same_array(db, delta)
    same_array(dW, np.einsum("i,ijk->jk", delta, nt.jacobian(np.matmul)(W, X)))
    same_array(dx, delta @ W)


def e3(numbers: Numbers) -> None:
    """E3. one hidden layer: h1 = tanh(W1·x + b1), h2 = W2·h1 + b2, softmax cross entropy"""
    network = d_network.start()
    y = np.array([0.0, 1.0, 0.0])

    def hidden(W1, b1):
        return np.tanh(W1 @ X + b1)

    def loss(W1, b1, W2, b2):
        return nt.softmax_cross_entropy(W2 @ hidden(W1, b1) + b2, y)

    W2, b2 = network["theta2"], network["beta2"]
    value, (dW1, db1, dW2, db2) = nt.value_and_grad(loss, (0, 1, 2, 3))(W, B, W2, b2)
    numbers.check("L", value, "0.491039469602")
    numbers.check_array("dL/db2 = δ", db2, (3,), "0.200290 -0.388010 0.187720")
    numbers.check_array(
        "dL/dW2 = δ⊗h1", dW2, (3, 2), "0.114500 -0.084502  -0.221814 0.163701  0.107314 -0.079199"
    )

    # By hand, from the output down.
    h1 = hidden(W, B)
    delta = nt.softmax(W2 @ h1 + b2) - y
    same_array(db2, delta)
    same_array(dW2, np.outer(delta, h1))
    delta = delta @ W2
    numbers.check_array("δ·W2", delta, (2,), "-0.325300 0.217168")
    delta = delta * (1 - h1**2)
    same_array(db1, delta)
    same_array(dW1, np.outer(delta, X))
    numbers.check_array("dL/db1 = δ·diag(g')", db1, (2,), "-0.218990 0.178513")
    numbers.check_array(
        "dL/dW1 = that ⊗ x",
        dW1,
        (2, 3),
        "-0.218990 -0.437980 -0.656969  0.178513 0.357025 0.535538",
    )


def three_layers():
    """Weights and biases of a network 3-4-4-2."""
    weights = [fill((4, 3)), fill((4, 4), 16), fill((2, 4), 36)]
    biases = [fill((4,), 12), fill((4,), 32), fill((2,), 44)]
    return weights, biases


def signs(z):
    return " ".join("+" if value > 0 else "-" for value in np.ravel(z))


def e4(numbers: Numbers) -> None:
    """E4. two relu layers and a linear one, squared error; each derivative beside its node"""
    weights, biases = three_layers()
    target = np.array([1.0, -1.0])
    x = nt.var(X, name="x")
    W1, W2, W3 = (nt.var(w, name=f"W{i}") for i, w in enumerate(weights, 1))
    b1, b2, b3 = (nt.var(b, name=f"b{i}") for i, b in enumerate(biases, 1))
    with nt.Tape() as tape:
        z1 = W1 @ x + b1
        h1 = nt.relu(z1)
        z2 = W2 @ h1 + b2
        h2 = nt.relu(z2)
        y = W3 @ h2 + b3
        loss = np.sum((y - target) ** 2)
    numbers.check_array("y", y, (2,), "0.793499 0.119835")
    numbers.check("l", loss.value, "1.296674287370")
    numbers.check("signs of z1 are + - + -", signs(z1.value) == "+ - + -", "1")
    numbers.check("signs of z2 are - + + -", signs(z2.value) == "- + + -", "1")

    dy, dW3, db3, dh2, dz2, dW2, db2, dh1, dz1, dW1, db1, dx = tape.gradient(
        loss, [y, W3, b3, h2, z2, W2, b2, h1, z1, W1, b1, x]
    )
    for node, text, adjoint, by_hand in [
        ("y  = W3·h2 + b3", "dl/dy = 2(y - t)", dy, 2 * (y.value - target)),
        ("b3", "dl/dy", db3, dy),
        ("W3", "dl/dy·h2ᵀ", dW3, np.outer(dy, h2.value)),
        ("h2 = relu(z2)", "W3ᵀ·dl/dy", dh2, W3.value.T @ dy),
        ("z2 = W2·h1 + b2", "relu'(z2) ∘ dl/dh2", dz2, (z2.value > 0) * dh2),
        ("b2", "dl/dz2", db2, dz2),
        ("W2", "dl/dz2·h1ᵀ", dW2, np.outer(dz2, h1.value)),
        ("h1 = relu(z1)", "W2ᵀ·dl/dz2", dh1, W2.value.T @ dz2),
        ("z1 = W1·x + b1", "relu'(z1) ∘ dl/dh1", dz1, (z1.value > 0) * dh1),
        ("b1", "dl/dz1", db1, dz1),
        ("W1", "dl/dz1·xᵀ", dW1, np.outer(dz1, X)),
        ("x", "W1ᵀ·dl/dz1", dx, W1.value.T @ dz1),
    ]:
        print(f"    {node:16s} {text:20s} {adjoint.shape!s:8s} norm {np.linalg.norm(adjoint):.6f}")
        same_array(adjoint, by_hand)
    numbers.check_array("dl/dy", dy, (2,), "-0.413003 2.239671")
    numbers.check_array("dl/dz2", dz2, (4,), "0 -1.087554 -1.130476 0")
    numbers.check_array("dl/dz1", dz1, (4,), "-0.380144 0 -0.080425 0")
    numbers.check_array("dl/dx", dx, (3,), "-0.186359 -0.212616 -0.043395")
    norms = [np.linalg.norm(d) for d in (dW1, dW2, dW3)]
    numbers.check_all("norms of dW1 dW2 dW3", norms, "1.453851583 4.486992079 1.713417663")


def sigmoid_layer(W, b, h):
    return nt.sigmoid(W @ h + b)


def first_entry_entropy(y):
    """C = -log y_1."""
    return -np.log(y[0])


def network_cost(weights, biases, x):
    h = x
    for W, b in zip(weights, biases, strict=True):
        h = sigmoid_layer(W, b, h)
    return first_entry_entropy(h)


def activations(weights, biases, x):
    """h⁽⁰⁾ = x, h⁽¹⁾, …"""
    found = [x]
    for W, b in zip(weights, biases, strict=True):
        found.append(sigmoid_layer(W, b, found[-1]))
    return found


def algorithm_1(weights, biases, x, cost):
    """Back-propagation with rows and Jacobians: (rows dC/dh of each layer, dC/dW, dC/db)."""
    h = activations(weights, biases, x)
    delta = nt.jacobian(cost)(h[-1])
    rows, dWs, dbs = [delta], [], []
    for W, b, below in zip(weights[::-1], biases[::-1], h[-2::-1], strict=True):
        dh_dW, dh_db, dh_dh = nt.jacobian(sigmoid_layer, (0, 1, 2))(W, b, below)
        dbs.insert(0, delta @ dh_db)
        dWs.insert(0, np.einsum("i,ijk->jk", delta, dh_dW))
        delta = delta @ dh_dh
        rows.append(delta)
    return rows, dWs, dbs


def e5a(numbers: Numbers) -> None:
    """E5a. Algorithm 1: rows times Jacobians, layer by layer, equal to the tape"""
    weights, biases = three_layers()
    h = activations(weights, biases, X)
    numbers.check_array("y", h[-1], (2,), "0.669353 0.481314")
    numbers.check("C", first_entry_entropy(h[-1]), "0.401444403012")
    rows, dWs, dbs = algorithm_1(weights, biases, X, first_entry_entropy)
    for name, row, printed in [
        ("dC/dh3", rows[0], "-1.493981 0"),
        ("dC/dh2", rows[1], "0.106392 -0.048997 -0.159338 -0.123185"),
        ("dC/dh1", rows[2], "-0.007352 -0.013111 -0.006816 0.005746"),
        ("dC/dx", rows[3], "0.000134 0.000118 -0.000006"),
    ]:
        numbers.check_array(name, row, row.shape, printed)
    tape_dWs, tape_dbs, dx = nt.grad(network_cost, (0, 1, 2))(weights, biases, X)
    for ours, theirs in zip([*dWs, *dbs, rows[-1]], [*tape_dWs, *tape_dbs, dx], strict=True):
        same_array(ours, theirs)


def delta_recursion(weights, biases, x, cost):
    """Back-propagation with columns: δ = dC/dz of each layer from the first on, and dC/dW."""
    h = activations(weights, biases, x)
    delta = h[-1] * (1 - h[-1]) * nt.grad(cost)(h[-1])
    deltas = [delta]
    for above, a in zip(weights[:0:-1], h[-2:0:-1], strict=True):
        delta = a * (1 - a) * (above.T @ delta)
        deltas.insert(0, delta)
    return deltas, [np.outer(delta, a) for delta, a in zip(deltas, h[:-1], strict=True)]


def softmax_output_delta(z, cost):
    """With softmax at the output the σ'∘ of the last layer becomes the whole Jacobian."""
    y, pullback = nt.vjp(nt.softmax, z)
    jacobian = nt.jacobian(nt.softmax)(z)
    dy = nt.grad(cost)(y)
    same_array(pullback(dy)[0], jacobian.T @ dy)
    return jacobian.T @ dy


def e5b(numbers: Numbers) -> None:
    """E5b. the delta recursion: columns δ = dC/dz, before the activation"""
    weights, biases = three_layers()
    deltas, dWs = delta_recursion(weights, biases, X, first_entry_entropy)
    for layer, printed in [
        (3, "-0.330647 0"),
        (2, "0.026503 -0.012136 -0.039169 -0.023727"),
        (1, "-0.000926 -0.002255 -0.000583 0.000507"),
    ]:
        delta = deltas[layer - 1]
        numbers.check_array(f"δ{layer}", delta, delta.shape, printed)
    norms = [np.linalg.norm(d) for d in dWs]
    numbers.check_all("norms of dW1 dW2 dW3", norms, "0.009570019 0.068765418 0.325279008")
    tape_dWs, tape_dbs = nt.grad(network_cost, (0, 1))(weights, biases, X)
    for ours, theirs in zip([*dWs, *deltas], [*tape_dWs, *tape_dbs], strict=True):
        same_array(ours, theirs)

    # How about softmax? Every output depends on every z: a full Jacobian in place of σ'∘.
    h = activations(weights[:2], biases[:2], X)
    z = weights[2] @ h[-1] + biases[2]
    delta = softmax_output_delta(z, first_entry_entropy)
    y = nt.softmax(z)
    same_array(delta, y - np.array([1.0, 0.0]))  # softmax - one-hot, for C = -log y_1

    def cost(b3):
        return first_entry_entropy(nt.softmax(weights[2] @ h[-1] + b3))

    same_array(delta, nt.grad(cost)(biases[2]))


def e5c(numbers: Numbers) -> None:
    """E5c. the whole product for two sigmoid layers, from the left, with its shapes"""
    W2, b2 = np.array([[0.3, -0.4], [0.2, 0.6]]), np.array([0.1, -0.1])
    z1 = W @ X + B
    a1 = nt.sigmoid(z1)
    z2 = W2 @ a1 + b2
    y = nt.sigmoid(z2)
    factors = [
        nt.jacobian(first_entry_entropy)(y)[np.newaxis, :],
        nt.jacobian(nt.sigmoid)(z2),
        nt.jacobian(np.matmul, 1)(W2, a1),
        nt.jacobian(nt.sigmoid)(z1),
        nt.jacobian(np.matmul, 0)(W, X).reshape(2, 6),
    ]
    print("      ", " ".join(f"({m}×{n})" for m, n in (f.shape for f in factors)))
    product = factors[0]
    for factor in factors[1:]:
        product = product @ factor
    numbers.check_array("y", y, (2,), "0.535281 0.565870")
    numbers.check("C", first_entry_entropy(y), "0.624963477420")
    numbers.check_array("dC/dy", factors[0], (1, 2), "-1.868178 0")
    numbers.check_array(
        "dC/dW1",
        product.reshape(2, 3),
        (2, 3),
        "-0.031417 -0.062834 -0.094251  0.044196 0.088393 0.132589",
    )
    dW1, dW2 = nt.grad(network_cost)([W, W2], [B, b2], X)
    same_array(dW1, product.reshape(2, 3))
    numbers.check_array("dC/dW2", dW2, (2, 2), "-0.305325 -0.180943  0 0")


# --- E7: training -------------------------------------------------------------------------------


def train(steps, rate=1.0):
    """Full-batch descent on the network of `d_network.py`, weights updated in place."""
    leaves = {name: nt.var(value, name=name) for name, value in d_network.start().items()}
    losses = []
    for _ in range(steps):
        loss = d_network.loss_fused(leaves, d_network.X, d_network.Y)
        loss.backward()
        losses.append(loss.value)
        with nt.no_grad():
            for p in leaves.values():
                p -= rate * p.grad
                p.zero_grad()
    params = {name: leaf.value for name, leaf in leaves.items()}
    losses.append(float(d_network.loss_fused(params, d_network.X, d_network.Y)))
    return losses, params


def e7(numbers: Numbers) -> None:
    """E7. training weights: w ← w - rate·dL/dw on the network of four points"""
    losses, params = train(1000)
    for steps, printed in [
        (0, "1.064418"),
        (1, "1.046722253"),
        (10, "1.031033954"),
        (100, "0.442960722"),
        (1000, "0.011968310"),
    ]:
        numbers.check(f"loss after {steps} steps", losses[steps], printed)
    predicted = np.argmax(d_network.logits(params, d_network.X), axis=1)
    numbers.check_array("predicted classes", predicted, (4,), "0 1 1 2")
    numbers.check_array("classes", d_network.CLASSES, (4,), "0 1 1 2")

    # nt.optim takes the same steps, on plain arrays and as pure functions.
    method = nt.optim.sgd(rate=1.0)
    plain = d_network.start()
    state = method.init(plain)
    for step in range(10):
        loss, grads = nt.value_and_grad(d_network.loss_fused)(plain, d_network.X, d_network.Y)
        same(float(loss), losses[step])
        plain, state = method.update(plain, grads, state)


SECTIONS = [e1, e2, e3, e4, e5a, e5b, e5c, e6, e7]


def main() -> Numbers:
    """All sections; the numbers by name."""
    return walk("Models trained by back-propagation", SECTIONS)


if __name__ == "__main__":
    main()
