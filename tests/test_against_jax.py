"""Transforms agree with JAX in float64 to 1e-12: a written list of functions, every transform.

JAX is in the extra `peers` (``pip install -e ".[peers]"``); without it these tests are skipped.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import ndtape as nt

jax = pytest.importorskip("jax", reason='JAX is in the extra "peers": pip install -e ".[peers]"')
jnp = pytest.importorskip("jax.numpy")
jax.config.update("jax_enable_x64", True)

A = np.array([[0.9, -0.3, 0.5], [0.2, 1.1, -0.7], [-0.4, 0.6, 0.8]])
X = np.array([0.37, -0.81, 1.24])
T = np.array([1.0, -0.5, 2.0])


def compiled(f, *args):
    """f(*args) by JAX: compiled as a whole, without optimisation, which takes the least time."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})(*args)


def near(got, expected, tolerance=1e-12):
    """Equal trees, shapes and numbers: |x - y| <= tolerance · max(1, |x| + |y|)."""
    leaves, structure = jax.tree_util.tree_flatten(got)
    others, other = jax.tree_util.tree_flatten(expected)
    assert structure == other
    for one, two in zip(leaves, others, strict=True):
        one, two = np.asarray(getattr(one, "value", one)), np.asarray(two)
        assert one.shape == two.shape
        scale = np.maximum(1.0, np.abs(one) + np.abs(two))
        assert np.all(np.abs(one - two) <= tolerance * scale), np.max(np.abs(one - two) / scale)


# Each is given the namespace (NumPy's or JAX's) and a vector, and returns a vector or a tree.

FUNCTIONS = {
    "affine and tanh": lambda xp, x: xp.tanh(A @ x) * x[0],
    "rosenbrock": lambda xp, x: xp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2),
    "ackley": lambda xp, x: (
        -20 * xp.exp(-0.2 * xp.sqrt(xp.mean(x**2))) - xp.exp(xp.mean(xp.cos(2 * np.pi * x)))),
    "softmax": lambda xp, x: xp.exp(x - xp.max(x)) / xp.sum(xp.exp(x - xp.max(x))),
    "log-sum-exp": lambda xp, x: xp.log(xp.sum(xp.exp(A @ x), axis=0)),
    "running sums": lambda xp, x: xp.cumsum(xp.sin(x)) * xp.prod(x),
    "outer products": lambda xp, x: xp.outer(x, xp.exp(x)) @ A @ xp.outer(x * x, x),
    "einsum": lambda xp, x: xp.einsum("i,jk,k->ij", x, A, x),
    "fancy index": lambda xp, x: x[np.array([0, 2, 0, 1])] ** 2 / (1.0 + x[0] ** 2),
    "sorted": lambda xp, x: xp.sort(x) ** 3 * xp.max(x),
    "minimum and maximum": lambda xp, x: xp.minimum(x, 0.3) * xp.maximum(x**2, -x),
    "where": lambda xp, x: xp.where(x > 0, x**2, xp.exp(x)),
    "norm": lambda xp, x: xp.sqrt(xp.sum(x * x)) * xp.ones(2),
    "mean and variance": lambda xp, x: (x - xp.mean(x)) / xp.sqrt(xp.var(x) + 0.1),
    "concatenated views": lambda xp, x: xp.concatenate([x[::-1], x[1:] * x[0]]),
    "transposed, flipped": lambda xp, x: xp.outer(x, x**2).T[:, ::-1],
    "broadcast": lambda xp, x: xp.broadcast_to(x**2, (2, 3)) + xp.sum(x),
    "power and log": lambda xp, x: (1.0 + x**2) ** x * xp.log(2.0 + x),
    "arctan2 and hypot": lambda xp, x: xp.arctan2(x, 1 + x[0] ** 2) * xp.hypot(x, 2.0),
    "tree of results": lambda xp, x: {"a": xp.sum(x**3), "b": [x * x, x[1] * 2.0], "n": None},
    "solve": lambda xp, x: xp.linalg.solve(A + xp.outer(x, x), x),
    "determinant": lambda xp, x: xp.linalg.det(A + xp.outer(x, x)),
    "log-determinant": lambda xp, x: xp.linalg.slogdet(xp.outer(x, x) + 2 * xp.eye(3))[1],
    "inverse": lambda xp, x: xp.linalg.inv(A + xp.outer(x, x)),
    "cholesky": lambda xp, x: xp.linalg.cholesky(xp.outer(x, x) + 2 * xp.eye(3)),
    "eigenvalues": lambda xp, x: xp.linalg.eigvalsh(xp.outer(x, x) + np.diag([1.0, 2.0, 4.0])),
    "a loop": lambda xp, x: _heat(x),
    "constant": lambda xp, x: {"zero": xp.zeros(2), "x": x},
}  # fmt: skip


def _heat(x):
    for _ in range(4):
        x = 0.5 * x + 0.3 * x**2 * x[0]
    return x


@pytest.fixture(params=FUNCTIONS)
def pair(request):
    f = FUNCTIONS[request.param]
    return partial(f, np), partial(f, jnp)


def scalar(f, xp):
    """The sum of squares of a function's results."""

    def total(x):
        return sum(xp.sum(y * y) for y in jax.tree_util.tree_leaves(f(x)))

    return total


def tangents_like(tree):
    """Fixed numbers in the shape of a tree, as floats where they have no axes."""

    def numbers(x):
        return np.cos(1.0 + np.arange(np.size(x))).reshape(np.shape(x))

    ours = jax.tree_util.tree_map(lambda x: numbers(x) if np.ndim(x) else numbers(x).item(), tree)
    return ours, jax.tree_util.tree_map(lambda x: jnp.asarray(numbers(x)), tree)


def test_first_derivatives(pair):
    ours, theirs = pair
    value = jax.eval_shape(theirs, X)
    w, their_w = tangents_like(value)

    def expected(x, t, w):
        value, pullback = jax.vjp(theirs, x)
        return jax.jacrev(theirs)(x), jax.jvp(theirs, (x,), (t,)), value, pullback(w)

    jacobian, pushed, value, pulled = compiled(expected, X, T, their_w)
    for transform in (nt.jacobian, nt.jacfwd, nt.jacrev):
        near(transform(ours)(X), jacobian)
        near(transform(nt.function(ours))(X), jacobian)
    near(nt.jvp(ours, (X,), (T,)), pushed)
    found, f_jvp = nt.linearize(ours, X)
    near((found, f_jvp(T)), pushed)
    found, pullback = nt.vjp(ours, X)
    near((found, pullback(w)), (value, pulled))


def test_second_derivatives(pair):
    ours, theirs = pair
    f, g = scalar(ours, np), scalar(theirs, jnp)
    first, expected = compiled(lambda x: (jax.value_and_grad(g)(x), jax.hessian(g)(x)), X)
    near(nt.value_and_grad(f)(X), first)
    near(nt.hessian(f)(X), expected)
    near(nt.hessian(nt.function(f))(X), expected)
    near(nt.hvp(f, (X,), (T,))[2][0], expected @ T)
    near(nt.jacfwd(nt.jacfwd(f))(X), expected)
    near(nt.jacrev(nt.jacrev(f))(X), expected)
    near(nt.function(nt.hessian(f))(X), expected)


def test_second_derivatives_of_vectors(pair):
    ours, theirs = pair
    expected = compiled(jax.jacfwd(jax.jacrev(theirs)), X)
    for outer in (nt.jacfwd, nt.jacrev):
        for inner in (nt.jacfwd, nt.jacrev):
            near(outer(inner(ours))(X), expected)


def test_third_derivatives(pair):
    ours, theirs = pair
    f, g = scalar(ours, np), scalar(theirs, jnp)

    def bent(transforms, f):  # <T, H T>
        return lambda x: transforms.jvp(lambda y: transforms.jvp(f, (y,), (T,))[1], (x,), (T,))[1]

    expected = compiled(jax.grad(bent(jax, g)), X)
    near(nt.grad(bent(nt, f))(X), expected)
    near(nt.grad(lambda x: np.sum(nt.hvp(f, (x,), (T,))[2][0] * T))(X), expected)
    near(nt.grad(lambda x: T @ nt.hessian(f)(x) @ T)(X), expected)


ROWS = np.stack([X, -0.5 * X, X[::-1]])


@pytest.mark.parametrize("name", ["affine and tanh", "rosenbrock", "softmax", "tree of results",
                                  "power and log", "solve", "a loop"])  # fmt: skip
def test_vmap(name):
    ours, theirs = partial(FUNCTIONS[name], np), partial(FUNCTIONS[name], jnp)
    f, g = scalar(ours, np), scalar(theirs, jnp)

    def uses(lib, xp, f, g):
        by_rows = [lib.vmap(h) for h in (f, lib.grad(g), lib.jacrev(f), lib.hessian(g))]
        of_vmap = [lib.grad(lambda x: xp.sum(lib.vmap(g)(x))), lib.jacfwd(lib.vmap(lib.grad(g)))]
        return lambda x: [use(x) for use in (*by_rows, *of_vmap)]

    expected = compiled(uses(jax, jnp, theirs, g), ROWS)
    near(uses(nt, np, ours, f)(ROWS), expected)
    near(nt.vmap(nt.function(nt.grad(f)))(ROWS), expected[1])


# --- arguments ------------------------------------------------------------------------------------


def of_trees(xp, p, scale, n):
    y = xp.tanh(p["w"] @ p["x"]) * scale**n
    return {"y": y, "s": (xp.sum(y), scale * p["x"][0])}


POINT = {"w": A[:2], "x": X}


@pytest.mark.parametrize("argnums", [0, 1, -2, (0, 1), (1, 0), (1,)])
def test_trees_and_argnums(argnums):
    def uses(lib, xp):
        f = partial(of_trees, xp)
        g = lambda *args: f(*args)["s"][0]  # noqa: E731
        transforms = [t(f, argnums) for t in (lib.jacfwd, lib.jacrev)]
        transforms += [t(g, argnums) for t in (lib.grad, lib.value_and_grad, lib.hessian)]
        return lambda p, s: [transform(p, s, 2) for transform in transforms]

    found = uses(nt, np)(POINT, 1.5)
    near(found, compiled(uses(jax, jnp), POINT, 1.5))
    near(nt.jacobian(partial(of_trees, np), argnums)(POINT, 1.5, 2), found[0])


def test_has_aux():
    def f(xp, x):
        y = xp.sin(x)
        return xp.sum(y**2), {"y": y, "n": None}

    def uses(lib, xp):
        g = partial(f, xp)
        transforms = [t(g, has_aux=True) for t in (lib.grad, lib.value_and_grad, lib.jacfwd,
                                                   lib.jacrev, lib.hessian)]  # fmt: skip

        def all_of_them(x, t):
            value, pullback, aux = lib.vjp(g, x, has_aux=True)
            return [[transform(x) for transform in transforms], value, pullback(2.0), aux,
                    lib.jvp(g, (x,), (t,), has_aux=True)]  # fmt: skip

        return all_of_them

    near(uses(nt, np)(X, T), compiled(uses(jax, jnp), X, T))


# --- rules of one's own ---------------------------------------------------------------------------


def rules(lib, xp):
    """The same custom functions in both libraries."""

    @lib.custom_vjp
    def scaled(x, s):  # its rule is not the derivative
        return xp.sin(x) * s

    def fwd(x, s):
        y = scaled(x, s)
        return y, (x, s, y)

    def bwd(residuals, w):
        x, s, y = residuals
        return 2.0 * xp.cos(x) * s * w, xp.sum(y * w)

    scaled.defvjp(fwd, bwd)

    @lib.custom_jvp
    def soft(x):
        return xp.log(1.0 + xp.exp(x))

    @soft.defjvp
    def rule(primals, tangents):
        (x,), (t,) = primals, tangents
        y = soft(x)
        return y, 3.0 * (1.0 - xp.exp(-y)) * t

    block = lib.checkpoint(lambda x: xp.tanh(soft(x) * x))
    return lambda x: xp.sum(scaled(block(x), soft(x[0])) ** 2)


def test_custom_rules_to_third_order():
    def uses(lib, xp):
        f = rules(lib, xp)
        second = lib.jacrev(lib.grad(f))
        return lambda x: (lib.grad(f)(x), second(x), lib.jacrev(second)(x))

    expected = compiled(uses(jax, jnp), X)
    near(uses(nt, np)(X), expected)
    near(nt.grad(nt.function(rules(nt, np)))(X), expected[0])
    near(nt.function(uses(nt, np))(X), expected)


def test_stop_gradient():
    def f(stop, xp):
        return lambda x: xp.sum(x**2 * stop({"x": xp.sin(x)})["x"]) + stop(x[0]) * x[1] ** 3

    ours, theirs = f(nt.stop_gradient, np), f(jax.lax.stop_gradient, jnp)
    near(nt.grad(ours)(X), compiled(jax.grad(theirs), X))
    near(nt.hessian(ours)(X), compiled(jax.hessian(theirs), X))


def test_nested_levels():
    def f(lib):
        def inner(x):
            return lib.grad(lambda y: lib.grad(lambda z: x * y * z**3)(y) * y)(x) * x

        return lib.grad(lib.grad(lambda x: inner(x) * lib.jvp(inner, (x,), (x,))[1]))

    near(f(nt)(1.3), compiled(f(jax), 1.3))
