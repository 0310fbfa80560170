"""Rules of one's own (custom_vjp, custom_jvp), checkpoint and stop_gradient: in all transforms,
to second order and beyond, with trees, and inside traced functions."""

from __future__ import annotations

import math
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest

import ndtape as nt
from ndtape.trees import flatten

X, Y = np.array([0.3, -0.4, 1.2]), np.array([1.0, 2.0, -0.5])


def close(got, expected, tolerance=1e-12):
    leaves, structure = flatten(got)
    others, other = flatten(expected)
    assert structure == other
    for one, two in zip(leaves, others, strict=True):
        one, two = np.asarray(one), np.asarray(two)
        assert one.shape == two.shape
        assert np.all(np.abs(one - two) <= tolerance * np.maximum(1, np.abs(one) + np.abs(two)))


# --- pairs of functions: with a rule, and without -------------------------------------------------


def plain_wave(x, y):
    return {"s": np.sin(x) * y, "n": None}


@nt.custom_vjp
def reverse_wave(x, y):
    return plain_wave(x, y)


def wave_fwd(x, y):
    value = reverse_wave(x, y)  # the function itself, whose derivative is the rule again
    return value, (x, y, value)


def wave_bwd(residuals, w):
    x, y, value = residuals
    return np.cos(x) * w["s"] * y, np.sum(value["s"] / y * w["s"])


reverse_wave.defvjp(wave_fwd, wave_bwd)


@nt.custom_jvp
def forward_wave(x, y):
    return plain_wave(x, y)


@forward_wave.defjvp
def wave_rule(primals, tangents):
    (x, y), (tx, ty) = primals, tangents
    value = forward_wave(x, y)
    return value, {"s": np.cos(x) * y * tx + value["s"] / y * ty, "n": None}


def plain_soft(x):
    return np.log(1.0 + np.exp(x))


@nt.custom_jvp
def soft(x):
    return plain_soft(x)


soft.defjvps(lambda t, value, x: (1.0 - np.exp(-value)) * t)


@nt.custom_vjp
def reverse_soft(x):
    return plain_soft(x)


def soft_fwd(x):
    value = reverse_soft(x)
    return value, value


reverse_soft.defvjp(soft_fwd, lambda value, w: ((1.0 - np.exp(-value)) * w,))


def plain_block(x, y):
    z = np.tanh(x * y)
    if z[0] > 0:
        z = z * z
    return {"s": z + y, "n": None}


def of_tree(wave):
    def f(x, y):
        inner = wave(wave(x, y)["s"], y * y)["s"]
        return np.sum(inner**2) if y > 0.5 else np.sum(inner * x)

    return f


def of_scalars(g):
    return lambda x, y: np.sum(g(x) ** 2) * y + g(y) * g(g(y * 2.0))


PAIRS = {
    "custom_vjp, tree": (of_tree(reverse_wave), of_tree(plain_wave)),
    "custom_jvp, tree": (of_tree(forward_wave), of_tree(plain_wave)),
    "custom_jvp, scalars and arrays": (of_scalars(soft), of_scalars(plain_soft)),
    "custom_vjp, scalars and arrays": (of_scalars(reverse_soft), of_scalars(plain_soft)),
    "checkpoint": (of_tree(nt.checkpoint(plain_block)), of_tree(plain_block)),
    "checkpoint of checkpoint": (
        of_tree(nt.remat(lambda x, y: nt.checkpoint(plain_block)(x, y))), of_tree(plain_block)),
    "checkpoint of custom": (of_tree(nt.checkpoint(reverse_wave)), of_tree(plain_wave)),
}  # fmt: skip

T = (np.array([1.0, -0.5, 0.25]), 1.5)
BOTH = (0, 1)
USES = {
    "value": lambda f: lambda x, y: nt.value_and_grad(f)(x, y)[0],
    "grad": lambda f: nt.grad(f, BOTH),
    "hessian": lambda f: nt.hessian(f, BOTH),
    "hvp": lambda f: lambda x, y: nt.hvp(f, (x, y), T),
    "jvp": lambda f: lambda x, y: nt.jvp(f, (x, y), T),
    "jacfwd of jacfwd": lambda f: nt.jacfwd(nt.jacfwd(f, BOTH), BOTH),
    "jacfwd of grad": lambda f: nt.jacfwd(nt.grad(f, BOTH), BOTH),
    "jacrev of grad": lambda f: nt.jacrev(nt.grad(f, BOTH), BOTH),
    "grad of jvp": lambda f: nt.grad(lambda x, y: nt.jvp(f, (x, y), T)[1], BOTH),
    "grad of hvp": lambda f: nt.grad(lambda x, y: nt.hvp(f, (x, y), T)[2][1], BOTH),
    "jvp of jvp": lambda f: lambda x, y: nt.jvp(
        lambda x, y: nt.jvp(f, (x, y), T)[1], (x, y), T),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("pair", PAIRS)
def test_right_rules_give_what_the_plain_function_gives(pair, use):
    f, plain = PAIRS[pair]
    traced, outside = nt.function(f), nt.function(USES[use](f))
    for x, y in ((X, 0.7), (-X, 0.3), (Y, 0.9)):  # the branches go both ways
        expected = USES[use](plain)(x, y)
        close(USES[use](f)(x, y), expected, 1e-11)
        close(USES[use](traced)(x, y), expected, 1e-11)
        close(outside(x, y), expected, 1e-11)


@pytest.mark.parametrize("pair", PAIRS)
def test_leaves_and_plain_numbers(pair):
    f, plain = PAIRS[pair]
    x, y = nt.var(X), nt.var(0.7)
    f(x, y).backward()
    close((x.grad, y.grad), nt.grad(plain, BOTH)(X, 0.7))
    close(float(f(X, 0.7)), float(plain(X, 0.7)))
    with nt.no_grad():
        assert not getattr(f(x, y), "needs_grad", False)


@pytest.mark.parametrize("pair", PAIRS)
def test_check_grads(pair):
    nt.check_grads(PAIRS[pair][0], (X, 0.7), order=3, rtol=1e-4, atol=1e-3)


# --- custom_vjp -----------------------------------------------------------------------------------


def test_the_rule_need_not_be_the_derivative():
    @nt.custom_vjp
    def straight_through(x):
        return np.round(x)

    straight_through.defvjp(lambda x: (np.round(x), None), lambda _, w: (w,))
    close(nt.grad(lambda x: np.sum(straight_through(x) ** 2))(X), 2 * np.round(X))
    clipped = nt.custom_vjp(lambda x: x)
    clipped.defvjp(lambda x: (x, None), lambda _, w: (np.clip(w, -1.0, 1.0),))
    close(nt.grad(lambda x: np.sum(clipped(x) * np.array([5.0, 0.5, -3.0])))(X), [1.0, 0.5, -1.0] *
          np.ones(3))  # fmt: skip
    close(nt.function(nt.grad(lambda x: 5.0 * clipped(x)))(2.0), 1.0)
    reversed_ = nt.custom_vjp(lambda x: x * 1.0)
    reversed_.defvjp(lambda x: (x, ()), lambda _, w: (-w,))  # gradient reversal
    assert nt.grad(lambda x: reversed_(x) ** 2)(3.0) == -6.0
    assert nt.grad(nt.grad(lambda x: reversed_(x) ** 2))(3.0) == 2.0  # the rule twice


def test_numbers_of_the_rule_come_from_the_residuals_at_each_replay():
    forward, backward = Mock(), Mock()  # a list that grows would be recorded again

    @nt.custom_vjp
    def square(x):
        return x * x

    def fwd(x):
        forward()
        return square(x), {"x": x, "text": "kept", "n": 2, "none": None}

    def bwd(residuals, w):
        backward()
        assert residuals["text"] == "kept" and type(residuals["n"]) is int
        assert residuals["none"] is None
        return (residuals["n"] * residuals["x"] * w,)

    square.defvjp(fwd, bwd)
    gradient = nt.grad(nt.function(lambda x: square(x) * 3.0))
    assert [gradient(x) for x in (1.0, 2.0, 5.0)] == [6.0, 12.0, 30.0]
    assert forward.call_count == 1 and backward.call_count == 3


def test_nondiff_argnums_defaults_and_keywords():
    @partial(nt.custom_vjp, nondiff_argnums=(0, 2))
    def apply(f, x, times, y=2.0):
        for _ in range(times):
            x = f(x)
        return x * y

    seen = []

    def fwd(f, x, times, y):
        seen.append((f, times))
        return apply(f, x, times, y), (x, y)

    def bwd(f, times, residuals, w):
        x, y = residuals
        assert f is np.sin and times == 2
        return np.cos(np.sin(x)) * np.cos(x) * y * w, np.sum(np.sin(np.sin(x)) * w)

    apply.defvjp(fwd, bwd)
    gradient = nt.grad(lambda x, y: np.sum(apply(np.sin, x, 2, y=y)), BOTH)(X, 3.0)
    close(gradient, (3 * np.cos(np.sin(X)) * np.cos(X), float(np.sum(np.sin(np.sin(X))))))
    close(nt.grad(lambda x: np.sum(apply(np.sin, x, times=2)))(X), 2 * gradient[0] / 3)
    assert seen[0] == (np.sin, 2)
    negative = nt.custom_vjp(lambda x, k: x**k, nondiff_argnums=-1)
    negative.defvjp(lambda x, k: (x**k, x), lambda k, x, w: (k * x ** (k - 1) * w,))
    assert nt.grad(lambda x: negative(x, 3))(2.0) == 12.0


def test_methods():
    class Layer:
        def __init__(self, scale):
            self.scale = scale

        @partial(nt.custom_vjp, nondiff_argnums=(0,))
        def __call__(self, x):
            return x * self.scale

        def fwd(self, x):
            return x * self.scale, None

        def bwd(self, _, w):
            return (10.0 * self.scale * w,)

    Layer.__call__.defvjp(Layer.fwd, Layer.bwd)
    layer = Layer(3.0)
    assert layer(2.0) == 6.0 and nt.grad(lambda x: layer(x))(2.0) == 30.0


def test_none_for_zero():
    f = nt.custom_vjp(lambda x, p: x * p["a"] + p["b"])
    f.defvjp(lambda x, p: (x * p["a"] + p["b"], p), lambda p, w: (p["a"] * w, None))
    assert nt.grad(f, BOTH)(2.0, {"a": 3.0, "b": 1.0}) == (3.0, {"a": 0.0, "b": 0.0})
    f.defvjp(lambda x, p: (x * p["a"] + p["b"], p), lambda p, w: (None, {"a": w, "b": 2.0 * w}))
    assert nt.grad(f, BOTH)(2.0, {"a": 3.0, "b": 1.0}) == (0.0, {"a": 1.0, "b": 2.0})


def test_whole_numbers_and_booleans_pass_through():
    @nt.custom_vjp
    def picked(x, i, flag):
        return (x[i] * 2.0, i + 1, x > 0) if flag else (x[0], i, x > 0)

    def fwd(x, i, flag):
        return picked(x, i, flag), (x, i)

    def bwd(residuals, w):
        _, i = residuals
        zeros = nt.zeros(3)
        zeros[i] = 2.0 * w[0]
        return zeros, None, None

    picked.defvjp(fwd, bwd)
    value, pullback = nt.vjp(lambda x: picked(x, 1, True), X)
    assert type(value[1]) is int and value[2].dtype == bool
    close(pullback((1.0, 0.0, np.zeros(3))), (np.array([0.0, 2.0, 0.0]),))

    def recorded_index(x):
        return picked(x, np.argmax(x), True)[0]

    close(nt.grad(recorded_index)(X), np.array([0.0, 0.0, 2.0]))


@pytest.mark.parametrize(
    ("bwd", "error", "message"),
    [
        (lambda r, w: (w, w), nt.ArgumentError, "returned 2 adjoints for 1 arguments"),
        (lambda r, w: ([w],), nt.ArgumentError, "an adjoint of structure"),
        (lambda r, w: (w[:2],), nt.ShapeError, r"an adjoint of shape \(2,\), not \(3,\)"),
        (lambda r, w: ("text",), nt.UnsupportedError, "dtype"),
        (lambda r, w: (LEAF * w,), nt.GradientLostError, "make it an argument"),
    ],
)
def test_wrong_reverse_rules(bwd, error, message):
    f = nt.custom_vjp(lambda x: x * 2.0)
    f.defvjp(lambda x: (x * 2.0, None), bwd)
    with pytest.raises(error, match=message):
        nt.grad(lambda x: np.sum(f(x)))(X)


LEAF = nt.var(2.0)


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        (lambda p, t: t[0], nt.ArgumentError, r"must return \(value, tangent\)"),
        (lambda p, t: (p[0], [t[0]]), nt.ArgumentError, "a tangent of structure"),
        (lambda p, t: (p[0], t[0][:2]), nt.ShapeError, r"a tangent of shape \(2,\), not \(3,\)"),
        (lambda p, t: (p[0], LEAF * t[0]), nt.GradientLostError, "make it an argument"),
    ],
)
def test_wrong_forward_rules(rule, error, message):
    f = nt.custom_jvp(lambda x: x * 2.0)
    f.defjvp(rule)
    with pytest.raises(error, match=message):
        nt.jvp(f, (X,), (X,))
    with pytest.raises(error, match=message):
        nt.grad(lambda x: np.sum(f(x)))(X)


def test_wrong_forward_rules_of_scalars():
    f = nt.custom_jvp(lambda x: x * 2.0)
    f.defjvp(lambda p, t: (p[0], nt.array([t[0], t[0]])))
    with pytest.raises(nt.ShapeError, match="no scalar"):
        nt.grad(f)(2.0)
    f.defjvps()
    with pytest.raises(nt.ArgumentError, match="has 1 arguments and 0 rules"):
        nt.grad(f)(2.0)


def test_functions_without_a_rule():
    for decorator in (nt.custom_vjp, nt.custom_jvp):
        f = decorator(lambda x: x * x)
        assert f(3.0) == 9.0
        with pytest.raises(nt.ArgumentError, match="has no rule"):
            nt.grad(f)(3.0)
    f = nt.custom_vjp(lambda x: x)
    f.defvjp(lambda x: x, lambda r, w: (w,))
    with pytest.raises(nt.ArgumentError, match=r"must return \(value, residuals\)"):
        nt.grad(f)(3.0)


def test_captured_values_are_refused():
    leaf = nt.var(3.0)
    f = nt.custom_vjp(lambda x: x * leaf)
    f.defvjp(lambda x: (x * leaf, x), lambda x, w: (w,))
    g = nt.custom_jvp(lambda x: x * leaf)
    g.defjvp(lambda p, t: (g(*p), t[0]))
    h = nt.custom_vjp(lambda x, k: x * k, nondiff_argnums=1)
    h.defvjp(lambda x, k: (x * k, x), lambda k, x, w: (k * w,))
    for call in (lambda: nt.grad(f)(2.0), lambda: nt.grad(g)(2.0), lambda: f(nt.var(2.0)),
                 lambda: nt.grad(lambda x: h(x, x))(2.0)):  # fmt: skip
        with pytest.raises(nt.GradientLostError, match=r"make it an? "):
            call()
    assert nt.grad(lambda x: nt.checkpoint(lambda y, w: y * w)(x, leaf))(2.0).value == 3.0


def test_keyword_only_arguments_are_refused():
    f = nt.custom_vjp(lambda x, *, k=1.0: x * k)
    f.defvjp(lambda x: (x, None), lambda _, w: (w,))
    with pytest.raises(nt.ArgumentError, match="by position"):
        nt.grad(f)(2.0)


# --- custom_jvp -----------------------------------------------------------------------------------


def test_stable_derivatives():
    """The derivative of log(1 + exp(x)) by its rule does not overflow; by itself it would."""
    for f in (soft, reverse_soft):
        assert nt.grad(f)(50.0) == pytest.approx(1.0)
    stable = nt.custom_jvp(lambda x: nt.log(1.0 + nt.exp(x)))
    stable.defjvp(lambda p, t: (stable(*p), (1.0 - 1.0 / (1.0 + nt.exp(p[0]))) * t[0]))
    assert nt.grad(stable)(100.0) == 1.0
    assert nt.grad(nt.grad(stable))(0.0) == pytest.approx(0.25)
    assert nt.grad(nt.grad(nt.grad(stable)))(0.0) == pytest.approx(0.0, abs=1e-16)


def test_rules_of_scalars_are_compiled():
    """No call is left on the tape: replays stay in compiled sweeps."""

    @nt.custom_jvp
    def half(x):
        return x / (1.0 + x)

    half.defjvp(lambda p, t: (None, t[0] / (1.0 + p[0]) ** 2))
    f = nt.function(lambda x, y: half(x * y) + half(y))
    close(nt.grad(f, BOTH)(0.3, 0.7), (0.7 / 1.21**2, 0.3 / 1.21**2 + 1.0 / 1.7**2))
    close(nt.hessian(f, 1)(0.3, 0.7), -2 * 0.09 / 1.21**3 - 2.0 / 1.7**3)
    assert not f.tapes[0].calls


def test_rules_by_argument():
    f = nt.custom_jvp(lambda x, y, z: x * y + z)
    f.defjvps(lambda t, v, x, y, z: t * y, None, lambda t, v, x, y, z: 10.0 * t)
    assert nt.grad(f, (0, 1, 2))(2.0, 3.0, 4.0) == (3.0, 0.0, 10.0)
    zero = nt.custom_jvp(lambda x: x * x)
    zero.defjvps(None)
    assert nt.grad(zero)(3.0) == 0.0 and nt.jvp(zero, (3.0,), (1.0,)) == (9.0, 0.0)


def test_nondiff_arguments_of_a_forward_rule():
    @partial(nt.custom_jvp, nondiff_argnums=(0,))
    def called(f, x):
        return f(x)

    called.defjvp(lambda f, p, t: (called(f, *p), 2.0 * f(p[0]) * t[0]))
    assert nt.grad(lambda x: called(nt.exp, x))(0.0) == 2.0
    close(nt.jacobian(lambda x: called(np.exp, x))(X), np.diag(2 * np.exp(X)))


# --- checkpoint -----------------------------------------------------------------------------------


def test_intermediate_values_are_not_kept():
    def long(x):
        for _ in range(200):
            x = np.sin(x) * 1.01
        return x

    def chain(block):
        def f(x):
            for _ in range(5):
                x = block(x)
            return np.sum(x)

        return f

    traced, kept = nt.function(chain(nt.checkpoint(long))), nt.function(chain(long))
    close(nt.grad(traced)(X), nt.grad(kept)(X))
    assert len(traced.tapes[0]) < 20 < 1000 < len(kept.tapes[0])
    close(nt.grad(traced)(Y), nt.grad(kept)(Y))


def test_the_function_runs_again_in_reverse():
    calls = []

    def f(x):
        calls.append(1)
        return nt.sin(x) * x

    assert nt.grad(nt.checkpoint(f))(0.5) == nt.grad(f)(0.5)
    assert len(calls) == 2 + 1  # value and reverse, and the plain one
    assert nt.checkpoint(f)(2.0) == f(2.0)  # plain numbers: f itself


def test_checkpoint_takes_trees_keywords_and_anything_else():
    @nt.checkpoint
    def f(p, n, *, flag, index):
        """Mine."""
        return [p["x"][index] ** n, {"n": n}] if flag else []

    assert f.__name__ == "f" and f.__doc__ == "Mine."
    close(nt.grad(lambda x: f({"x": x, "text": "a"}, 3, flag=True, index=1)[0])(X),
          np.array([0.0, 3 * X[1] ** 2, 0.0]))  # fmt: skip
    picked = nt.checkpoint(lambda x, i: x[i] * i)
    close(nt.grad(lambda x: picked(x, np.argmax(x)))(X), np.array([0.0, 0.0, 2.0]))
    close(nt.grad(lambda x: nt.checkpoint(lambda x, m: np.sum(x[m]))(x, x > 0))(X), [1.0, 0, 1.0] *
          np.ones(3))  # fmt: skip


def test_a_result_whose_shape_changes_in_a_replay():
    f = nt.function(lambda x: np.sum(nt.checkpoint(lambda x: x[x > 0] ** 2)(x)))
    for x in (X, -X, Y):
        close(nt.grad(f)(x), np.where(x > 0, 2 * x, 0.0))


# --- stop_gradient --------------------------------------------------------------------------------


def test_stop_gradient():
    assert nt.grad(lambda x: x * nt.stop_gradient(x))(3.0) == 3.0
    assert nt.grad(nt.grad(lambda x: x**2 * nt.stop_gradient(x**3)))(2.0) == 2 * 8.0
    assert nt.grad(nt.grad(nt.grad(lambda x: x**3 * nt.stop_gradient(x))))(2.0) == 6 * 2.0
    close(nt.grad(lambda x: np.sum(x * nt.stop_gradient(x)))(X), X)
    close(nt.hessian(lambda x: np.sum(x**2 * nt.stop_gradient(x)))(X), np.diag(2 * X))
    close(nt.jvp(lambda x: x * nt.stop_gradient(x), (X,), (np.ones(3),))[1], X)
    close(nt.jacfwd(nt.jacfwd(lambda x: x**2 * nt.stop_gradient(x)))(2.0), 4.0)
    assert nt.grad(lambda x: nt.grad(lambda y: nt.stop_gradient(x) * y * y)(x))(3.0) == 6.0


def test_stop_gradient_of_trees_and_plain_values():
    def f(p):
        q = nt.stop_gradient(p)
        return p["a"] * q["a"] + np.sum(q["b"][0] * p["b"][0])

    close(nt.grad(f)({"a": 2.0, "b": [X, None]}), {"a": 2.0, "b": [X, None]})
    tree = {"x": X, "n": 3, "text": "a", "none": None}
    same = nt.stop_gradient(tree)
    assert same["x"] is X and same["n"] == 3 and same["text"] == "a" and same["none"] is None
    x = nt.var(2.0)
    (x * nt.stop_gradient(x)).backward()
    assert x.grad == 2.0


def test_stop_gradient_follows_a_replay():
    gradient = nt.grad(nt.function(lambda x: x * nt.stop_gradient(x * x)))
    assert [gradient(x) for x in (1.0, 2.0, 3.0)] == [1.0, 4.0, 9.0]


# --- all of them under vmap, and by name ----------------------------------------------------------


def test_decorators_keep_names():
    for made in (reverse_wave, forward_wave, nt.checkpoint(plain_block)):
        assert made.__name__ in ("reverse_wave", "forward_wave", "plain_block")
    assert "clipped" in nt.custom_vjp.__doc__ and math.isfinite(soft(1.0))


def test_an_operand_whose_elements_were_written_one_by_one():
    """It is gathered while the value function runs, which captures nothing by that."""

    @nt.custom_jvp
    def soft(x):
        return np.log(1.0 + np.exp(x))

    soft.defjvps(lambda t, value, x: (1.0 - np.exp(-value)) * t)

    def f(x, b):
        y = x * 1.0
        y[2] = b
        return np.sum(soft(y))

    expected = 1.0 / (1.0 + np.exp(-np.array([0.3, -0.4, 0.7])))
    close(nt.grad(f, (0, 1))(X, 0.7), (expected * [1, 1, 0], expected[2]))
    close(nt.grad(nt.function(f), (0, 1))(X, 0.7), (expected * [1, 1, 0], expected[2]))
