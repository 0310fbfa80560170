"""Vector calculus: every operation with its Jacobian, as a matrix with a shape.

Numerator layout: a function from n numbers to m has a Jacobian of m rows and n columns, which
`nt.jacobian` gives as an array of shape f.shape + x.shape: () and (n,) for a scalar f, (m,) for a
scalar x, (m, n) for vectors, (d, d, n) for d(Wx)/dW. Gradients, and what a pullback of `nt.vjp`
returns, are shaped like x, so that x + gradient makes sense.
"""

from __future__ import annotations

import numpy as np
from walkthrough import Numbers, same_array, walk

import ndtape as nt

X = np.array([1.0, 2.0, 3.0])
Y = np.array([0.5, -1.0, 2.0])
ALPHA = 2.0
W = np.array([[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]])
B = np.array([0.05, -0.05])

IDENTITY = "1 0 0  0 1 0  0 0 1"


def b0(numbers: Numbers) -> None:
    """B0. f(x, y) = x + y, of two scalars or of one vector"""
    two = nt.grad(lambda x, y: x + y, argnums=(0, 1))(1.0, 2.0)
    one = nt.jacobian(lambda u: u[0] + u[1])(np.array([1.0, 2.0]))
    numbers.check_all("of two scalars", two, "1 1")
    numbers.check_array("of u = [x; y]", one, (2,), "1 1")


def b1(numbers: Numbers) -> None:
    """B1. vector times scalar"""

    def scaled(x, alpha):
        return x * alpha

    numbers.check_array("d/dx", nt.jacobian(scaled)(X, ALPHA), (3, 3), "2 0 0  0 2 0  0 0 2")
    numbers.check_array("d/dalpha", nt.jacobian(scaled, 1)(X, ALPHA), (3,), "1 2 3")


def b2(numbers: Numbers) -> None:
    """B2. sum and difference; the difference again as x + g(y) with g(y) = -y"""
    for name, f, dy in [
        ("x + y", lambda x, y: x + y, IDENTITY),
        ("x - y", lambda x, y: x - y, "-1 0 0  0 -1 0  0 0 -1"),
    ]:
        numbers.check_array(f"d({name})/dx", nt.jacobian(f, 0)(X, Y), (3, 3), IDENTITY)
        numbers.check_array(f"d({name})/dy", nt.jacobian(f, 1)(X, Y), (3, 3), dy)
    outer = nt.jacobian(lambda x, g: x + g, 1)(X, -Y)
    inner = nt.jacobian(lambda y: -y)(Y)
    numbers.check_array("I·(-I)", outer @ inner, (3, 3), "-1 0 0  0 -1 0  0 0 -1")


def b3(numbers: Numbers) -> None:
    """B3. the elementwise (Hadamard) product"""

    def product(x, y):
        return x * y

    numbers.check_array(
        "d/dx = diag(y)", nt.jacobian(product, 0)(X, Y), (3, 3), "0.5 0 0  0 -1 0  0 0 2"
    )
    numbers.check_array(
        "d/dy = diag(x)", nt.jacobian(product, 1)(X, Y), (3, 3), "1 0 0  0 2 0  0 0 3"
    )


def b4(numbers: Numbers) -> None:
    """B4. an elementwise function: diag(h'(x)), exactly 0 off the diagonal"""
    off_the_diagonal = ~np.eye(3, dtype=bool)
    for name, h, slope in [
        ("sin", np.sin, np.cos),
        ("exp", np.exp, np.exp),
        ("tanh", np.tanh, lambda x: 1 - np.tanh(x) ** 2),
        ("square", np.square, lambda x: 2 * x),
    ]:
        jacobian = nt.jacobian(h)(X)
        same_array(np.diag(jacobian), slope(X))
        nonzeros = np.count_nonzero(jacobian[off_the_diagonal])
        numbers.check(f"{name}: entries off the diagonal", nonzeros, "0")
    numbers.check_array(
        "diag(cos x)",
        np.diag(nt.jacobian(np.sin)(X)),
        (3,),
        "0.540302305868 -0.416146836547 -0.989992496600",
    )


def b5(numbers: Numbers) -> None:
    """B5. sum(x): a row of ones"""
    numbers.check_array("d/dx", nt.jacobian(np.sum)(X), (3,), "1 1 1")


def b6(numbers: Numbers) -> None:
    """B6. W·x, differentiated by the vector and by the matrix"""

    def linear(W, x):
        return W @ x

    numbers.check_array("W·x", linear(W, X), (2,), "0.600000000000 -0.400000000000")
    dx = nt.jacobian(linear, 1)(W, X)
    dW = nt.jacobian(linear, 0)(W, X)
    numbers.check_array("d/dx = W", dx, (2, 3), "0.1 -0.2 0.3  0.4 0.5 -0.6")
    numbers.check_array("d/dW: x where i = j", dW, (2, 2, 3), "1 2 3  0 0 0  0 0 0  1 2 3")
    flat = dW.reshape(2, 6)
    numbers.check_array("d/dW flattened", flat, (2, 6), "1 2 3 0 0 0  0 0 0 1 2 3")
    same_array(flat, np.kron(np.eye(2), X), within=0)


def b7(numbers: Numbers) -> None:
    """B7. xᵀy, derived as sum(x∘y)"""
    numbers.check("xᵀy", np.dot(X, Y), "4.5")
    dx, dy = nt.jacobian(np.dot, (0, 1))(X, Y)
    numbers.check_array("d/dx = yᵀ", dx, (3,), "0.5 -1 2")
    numbers.check_array("d/dy = xᵀ", dy, (3,), "1 2 3")
    ones = nt.jacobian(np.sum)(X * Y)
    same_array(ones @ nt.jacobian(np.multiply, 0)(X, Y), dx, within=0)
    same_array(ones @ nt.jacobian(np.multiply, 1)(X, Y), dy, within=0)


def affine(W, x, b):
    return W @ x + b


def b8a(numbers: Numbers) -> None:
    """B8a. Wx + b"""
    numbers.check_array("Wx + b", affine(W, X, B), (2,), "0.650000000000 -0.450000000000")
    dW, dx, db = nt.jacobian(affine, (0, 1, 2))(W, X, B)
    numbers.check_array("d/dx = W", dx, (2, 3), "0.1 -0.2 0.3  0.4 0.5 -0.6")
    numbers.check_array("d/db = I", db, (2, 2), "1 0  0 1")
    numbers.check_array("d/dW: x where i = j", dW, (2, 2, 3), "1 2 3  0 0 0  0 0 0  1 2 3")


def b8b(numbers: Numbers) -> None:
    """B8b. h(Wx + b), with h = tanh"""

    def layer(W, x, b):
        return np.tanh(W @ x + b)

    slope = 1 - layer(W, X, B) ** 2
    numbers.check_array("h", layer(W, X, B), (2,), "0.57166997 -0.42189901")
    numbers.check_array("h'", slope, (2,), "0.67319345 0.82200123")
    dW, dx, db = nt.jacobian(layer, (0, 1, 2))(W, X, B)
    numbers.check_array(
        "d/dx = diag(h')·W",
        dx,
        (2, 3),
        """0.06731934 -0.13463869 0.20195803
           0.32880049 0.41100061 -0.49320074""",
    )
    numbers.check_array("d/db = diag(h')", db, (2, 2), "0.67319345 0  0 0.82200123")
    same_array(dW, np.einsum("i,ij,k->ijk", slope, np.eye(2), X))


def b8c(numbers: Numbers) -> None:
    """B8c. l(Wx + b), from v = dl/dy alone: no Jacobian is needed"""
    value, pullback = nt.vjp(affine, W, X, B)
    dW, dx, db = pullback(np.array([1.0, -2.0]))
    same_array(value, affine(W, X, B))
    numbers.check_array("dl/dW = v·xᵀ", dW, (2, 3), "1 2 3  -2 -4 -6")
    numbers.check_array("dl/db = v", db, (2,), "1 -2")
    numbers.check_array("dl/dx = Wᵀ·v", dx, (3,), "-0.700000000000 -1.20000000000 1.50000000000")


SOFTMAX = "0.09003057 0.24472847 0.66524096"
SOFTMAX_JACOBIAN = """
    0.08192507 -0.02203304 -0.05989202
    -0.02203304 0.18483645 -0.16280340
    -0.05989202 -0.16280340 0.22269543"""


def softmax_from_primitives(x):
    f = np.exp(x)
    g = np.sum(f)
    h = 1 / g
    return f * h


def softmax_paths(x):
    """The two terms of the fork at f = exp(x): through t = f·h, and through g = sum(f)."""
    f = np.exp(x)
    g = np.sum(f)
    h = 1 / g
    df_dx = nt.jacobian(np.exp)(x)
    dt_df = nt.jacobian(lambda f, h: f * h, 0)(f, h)
    dt_dh = nt.jacobian(lambda f, h: f * h, 1)(f, h)[:, np.newaxis]
    dh_dg = nt.grad(lambda g: 1 / g)(g)
    dg_df = nt.jacobian(np.sum)(f)[np.newaxis, :]
    return dt_df @ df_dx, dh_dg * dt_dh @ dg_df @ df_dx


def b9(numbers: Numbers) -> None:
    """B9. softmax, built in and from exp, sum, 1/g and a product"""
    s = nt.softmax(X)
    numbers.check_array("softmax(1, 2, 3)", s, (3,), SOFTMAX)
    built_in = nt.jacobian(nt.softmax)(X)
    numbers.check_array("Jacobian", built_in, (3, 3), SOFTMAX_JACOBIAN)
    same_array(nt.jacobian(softmax_from_primitives)(X), built_in, within=1e-14)

    path1, path2 = softmax_paths(X)
    same_array(path1, np.diag(s), within=1e-14)
    same_array(path2, -np.outer(s, s), within=1e-14)
    same_array(path1 + path2, built_in, within=1e-14)
    numbers.check_array(
        "path 1, diag(s)", path1, (3, 3), "0.09003057 0 0  0 0.24472847 0  0 0 0.66524096"
    )
    numbers.check("largest sum of a row", round(np.abs(built_in.sum(axis=1)).max(), 14), "0")

    v = np.array([1.0, -2.0, 0.5])
    _, pullback = nt.vjp(nt.softmax, X)
    (backward,) = pullback(v)
    same_array(backward, built_in.T @ v, within=1e-14)


def chain_of_cross_entropy(x, y):
    """The factors of (-1)·1ᵀ·diag(y)·diag(1/ŷ)·∂ŷ/∂x, from the left, and the loss."""
    p = nt.softmax(x)
    f = np.log(p)
    g = y * f
    h = np.sum(g)
    factors = [
        np.array([[nt.grad(lambda h: -h)(h)]]),
        nt.jacobian(np.sum)(g)[np.newaxis, :],
        nt.jacobian(lambda f: y * f)(f),
        nt.jacobian(np.log)(p),
        nt.jacobian(nt.softmax)(x),
    ]
    return factors, -h


def b10(numbers: Numbers) -> None:
    """B10. softmax and cross entropy on logits: the gradient is ŷ·sum(y) - y"""
    for y, loss, slope in [
        ((0.0, 1.0, 0.0), "1.40760596", "0.09003057 -0.75527153 0.66524096"),
        ((0.2, 0.3, 0.5), "1.10760596", "-0.10996943 -0.05527153 0.16524096"),
        ((1.0, 2.0, 0.0), "5.22281789", "-0.72990828 -1.26581459 1.99572287"),
    ]:
        y = np.array(y)
        value, gradient = nt.value_and_grad(nt.softmax_cross_entropy)(X, y)
        numbers.check(f"y={y}: loss", value, loss)
        numbers.check_array(f"y={y}: gradient", gradient, (3,), slope)
        same_array(gradient, nt.softmax(X) * y.sum() - y, within=1e-14)

        factors, by_chain = chain_of_cross_entropy(X, y)
        product = np.linalg.multi_dot(factors)
        print("      ", " ".join(f"({a}×{b})" for a, b in (f.shape for f in factors)), "= (1×3)")
        same_array(by_chain, value, within=1e-14)
        same_array(product[0], gradient, within=1e-14)


def f_of_b11(x):
    z = nt.zeros(2)
    z[0] = x[0] + x[1] * x[2]
    z[1] = 2 * x[2]
    return z


def b11(numbers: Numbers) -> None:
    """B11. f(x1, x2, x3) = [x1 + x2·x3, 2·x3]"""
    numbers.check_array("f(1, 2, 3)", f_of_b11(X), (2,), "7 6")
    jacobian = nt.jacobian(f_of_b11)(X)
    numbers.check_array("Jacobian", jacobian, (2, 3), "1 3 2  0 0 2")

    def outer(f):
        return f[0] ** 2 + f[1]

    z, dz_df = nt.value_and_grad(outer)(np.array([7.0, 6.0]))
    numbers.check("z = f1² + f2", z, "55")
    numbers.check_array("∇z by f", dz_df, (2,), "14 1")
    dz_dx = nt.grad(lambda x: outer(f_of_b11(x)))(X)
    numbers.check_array("∇z by x = Jᵀ·∇z by f", dz_dx, (3,), "14 42 30")
    same_array(jacobian.T @ dz_df, dz_dx, within=0)


def g_of_b12(u):
    z = nt.zeros(3)
    z[0] = u[0] * u[1]
    z[1] = u[0] + u[1]
    z[2] = u[0] ** 2
    return z


def b12(numbers: Numbers) -> None:
    """B12. the chain rule: J(f∘g) = J_f(g)·J_g, and a sum over intermediate vectors"""
    at = np.array([2.0, 3.0])
    inner = nt.jacobian(g_of_b12)(at)
    outer = nt.jacobian(f_of_b11)(g_of_b12(at).value)
    numbers.check_array("J_g", inner, (3, 2), "3 2  1 1  4 0")
    numbers.check_array("J_f at g", outer, (2, 3), "1 4 5  0 0 2")
    numbers.check_array("J_f·J_g", outer @ inner, (2, 2), "27 6  8 0")
    same_array(nt.jacobian(lambda u: f_of_b11(g_of_b12(u)))(at), outer @ inner, within=0)

    # A scalar x with n intermediates: the sum of ∂f/∂u_i · du_i/dx.
    def u(x):
        return np.stack([x, x**2, np.sin(x)])

    def f(u):
        return u[0] * u[1] + u[2]

    df_du, du_dx = nt.grad(f)(u(0.5)), nt.jacobian(u)(0.5)
    same_array(np.sum(df_du * du_dx), nt.grad(lambda x: f(u(x)))(0.5))

    # A vector x with two intermediate vectors: the sum of the products of Jacobians.
    u1, u2 = np.square, np.sin
    to_u1, to_u2 = nt.jacobian(np.multiply, (0, 1))(u1(X), u2(X))
    total = to_u1 @ nt.jacobian(u1)(X) + to_u2 @ nt.jacobian(u2)(X)
    numbers.check_array("x² ∘ sin x", np.diag(total), (3,), "2.22324428 1.97260236 -8.06321242")
    same_array(nt.jacobian(lambda x: np.square(x) * np.sin(x))(X), total)


def b13(numbers: Numbers) -> None:
    """B13. cross entropy of the right class: -1/y_r there, exactly 0 elsewhere"""
    y = np.array([0.2, 0.5, 0.3])
    numbers.check_array("-log y[1]", nt.jacobian(lambda y: -np.log(y[1]))(y), (3,), "0 -2 0")
    numbers.check_array(
        "nt.cross_entropy", nt.jacobian(lambda y: nt.cross_entropy(y, 1))(y), (3,), "0 -2 0"
    )


def b14(numbers: Numbers) -> None:
    """B14. the matrix product and broadcasting, by pullbacks"""
    left = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    right = np.array([[1.0, 0.0], [-1.0, 2.0], [0.5, 1.0]])
    v = np.array([[1.0, -1.0], [2.0, 0.5]])
    product, pullback = nt.vjp(np.matmul, left, right)
    dX, dY = pullback(v)
    numbers.check_array("X·Y", product, (2, 2), "0.5 7  2 16")
    numbers.check_array("V·Yᵀ", dX, (2, 3), "1 -3 -0.5  2 -1 1.5")
    numbers.check_array("Xᵀ·V", dY, (3, 2), "9 1  12 0.5  15 0")
    same_array(dX, v @ right.T, within=0)
    same_array(dY, left.T @ v, within=0)

    adjoint = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    for name, x, printed in [
        ("(3,)", np.array([1.0, 2.0, 3.0]), "5 7 9"),
        ("(2, 1)", np.array([[1.0], [2.0]]), "6 15"),
        ("a scalar", np.array(1.0), "21"),
    ]:
        for how, spread in [
            ("broadcast_to", lambda x: np.broadcast_to(x, (2, 3))),
            ("added", lambda x: x + np.zeros((2, 3))),
        ]:
            _, pullback = nt.vjp(spread, x)
            numbers.check_array(f"{name} {how}", pullback(adjoint)[0], x.shape, printed)


def derivations():
    """Compositions: name, factors of the Jacobian, the Jacobian of the built-in operation."""
    ones = nt.jacobian(np.sum)(X * Y)[np.newaxis, :]
    plus = nt.jacobian(np.add, 0)(W @ X, B)
    slope = nt.jacobian(np.tanh)(W @ X + B)
    dW = nt.jacobian(np.matmul, 0)(W, X).reshape(2, 6)
    dx = nt.jacobian(np.matmul, 1)(W, X)
    layer = nt.jacobian(lambda W, x, b: np.tanh(W @ x + b), (0, 1, 2))(W, X, B)
    whole = nt.jacobian(affine, (0, 1, 2))(W, X, B)
    y = np.array([0.2, 0.3, 0.5])
    negative = nt.jacobian(np.negative)(Y)
    yield (
        "x - y, by y",
        [nt.jacobian(np.add, 1)(X, -Y), negative],
        nt.jacobian(np.subtract, 1)(X, Y),
    )
    yield "xᵀy, by x", [ones, nt.jacobian(np.multiply, 0)(X, Y)], nt.jacobian(np.dot, 0)(X, Y)
    yield "Wx+b, by W", [plus, dW], whole[0]
    yield "Wx+b, by x", [plus, dx], whole[1]
    yield "h(Wx+b), by W", [slope, plus, dW], layer[0]
    yield "h(Wx+b), by x", [slope, plus, dx], layer[1]
    yield "h(Wx+b), by b", [slope, plus], layer[2]
    yield "softmax", [sum(softmax_paths(X))], nt.jacobian(nt.softmax)(X)
    cross_entropy = nt.grad(nt.softmax_cross_entropy)(X, y)
    yield "softmax cross entropy", chain_of_cross_entropy(X, y)[0], cross_entropy


def b15(numbers: Numbers) -> None:
    """B15. derived operations: factors with their shapes, and their product"""
    for name, factors, built_in in derivations():
        product = factors[0]
        for factor in factors[1:]:
            product = product @ factor
        shapes = " ".join(f"({'×'.join(map(str, f.shape))})" for f in factors)
        print(f"    {name:34s}   {shapes} = ({'×'.join(map(str, product.shape))})")
        difference = np.abs(product.reshape(built_in.shape) - built_in).max()
        numbers.check(f"{name}: difference", round(float(difference), 14), "0")


SECTIONS = [b0, b1, b2, b3, b4, b5, b6, b7, b8a, b8b, b8c, b9, b10, b11, b12, b13, b14, b15]


def main() -> Numbers:
    """All sections; the numbers by name."""
    return walk("Vector calculus: Jacobians with their shapes", SECTIONS)


if __name__ == "__main__":
    main()
