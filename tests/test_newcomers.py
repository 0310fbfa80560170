"""Typical first mistakes: each message says what is wrong and what to write instead."""

import math
import sys

import numpy as np
import pytest

import ndtape as nt

x, v = nt.var(2.0), nt.var([1.0, 2.0])


def filled(x):
    total = np.zeros(3)
    total[0] = x
    return total.sum()


rng = np.random.default_rng(0)


def drawn(x):
    return x * rng.standard_normal()


def spent():
    y = x * x
    y.backward()
    y.backward()


params = {"w": np.ones(3)}
adam = nt.optim.adam()

MISTAKES = {  # what is done: the class of the error, and words of its message
    "a result in place of a function": (
        lambda: nt.grad(x.value**2), nt.ArgumentError, "write nt.grad(f)(x), not nt.grad(f(x))"),
    "the point beside the function": (
        lambda: nt.grad(lambda x: x, 2.0), nt.ArgumentError, "write nt.grad(f)(x), not nt.grad(f,"),
    "the same with an array": (
        lambda: nt.hessian(lambda x: x, np.ones(2)), nt.ArgumentError, "write nt.hessian(f)(x)"),
    "the name of an argument": (
        lambda: nt.grad(lambda x: x, argnums="x"), nt.ArgumentError, "whole numbers, not 'x'"),
    "an argument too many": (
        lambda: nt.grad(lambda x: x, 3)(1.0), nt.ArgumentError, "argnums=3 does not fit 1"),
    "no return": (
        lambda: nt.grad(lambda x: None)(1.0), nt.ArgumentError, "not NoneType: has it a return?"),
    "a vector as loss": (
        lambda: nt.grad(lambda x: 2 * x)(np.ones(2)), nt.ArgumentError, "nt.jacobian"),
    "backward of a vector": (lambda: (v * 2).backward(), nt.ArgumentError, "y.sum().backward()"),
    "backward twice": (spent, nt.SpentTapeError, "retain_graph=True"),
    "create_graph": (
        lambda: (x * x).backward(create_graph=True), nt.UnsupportedError, "nt.grad(nt.grad(f))"),
    "math": (lambda: nt.grad(math.sin)(1.0), nt.GradientLostError, "nt.sin"),
    "a plain array that is filled": (
        lambda: nt.grad(filled)(1.0), nt.GradientLostError, "nt.zeros(n)"),
    "np.array of recorded values": (
        lambda: nt.grad(lambda x: np.array([x, x]).sum())(1.0), nt.GradientLostError, "nt.array(["),
    "a recorded index": (
        lambda: nt.grad(lambda x: np.arange(5.0)[x])(1.0), nt.GradientLostError, "index is int(x)"),
    "a recorded count": (
        lambda: nt.grad(lambda n: sum(range(n)))(3.0), nt.UnsupportedError, "math.floor(x)"),
    "the truth of an array": (lambda: 1 if v > 0 else 2, nt.ShapeError, "np.any(x), np.all(x)"),
    "a step without no_grad": (lambda: v.__isub__(0.1), nt.LeafWriteError, "nt.no_grad()"),
    "an array of another library": (
        lambda: nt.var(memoryview(b"")), nt.UnsupportedError, "not a real number but a memoryview"),
    "text": (lambda: nt.grad(lambda s: s)("abc"), nt.UnsupportedError, "a str: 'abc'"),
    "complex": (lambda: nt.var(1j), nt.UnsupportedError, "real numbers only"),
    "a dtype": (lambda: nt.var(["a"]), nt.UnsupportedError, "use float64 or float32"),
    "shapes": (lambda: v @ nt.var(np.ones((3, 2))), nt.ShapeError, "(2,) and (3, 2)"),
    "random numbers in a replay": (
        lambda: nt.function(drawn)(1.0), nt.UnstableProgramError, "draw them outside"),
    "numbers in place of tuples": (
        lambda: nt.jvp(lambda x: x, 2.0, 1.0), nt.ArgumentError, "such as (x,), not float"),
    "rows that do not match": (
        lambda: nt.vmap(lambda a, b: a)(np.ones(2), np.ones(3)), nt.ShapeError, "argument 'b'"),
    "no rows": (lambda: nt.vmap(lambda a: a)(3.0), nt.ShapeError, "in_axes None"),
    "a step that returns no pair": (
        lambda: nt.scan(lambda c, x: c + x, 0.0, np.ones(3)), nt.ArgumentError,
        "a pair (carry, y), not one recorded value"),
    "a carry that changes": (
        lambda: nt.scan(lambda c, x: (c * np.ones(2), x), 0.0, np.ones(3)), nt.ShapeError,
        "make init the one that it returns"),
    "leaves in nt.optim": (lambda: adam.init({"w": x}), nt.ArgumentError, "p.value"),
    "gradients before parameters": (
        lambda: adam.update({"g": np.ones(3)}, params, adam.init(params)), nt.ArgumentError,
        "the order is update(params, grads, state)"),
    "gradients of another shape": (
        lambda: adam.update(params, {"w": np.ones(2)}, adam.init(params)), nt.ArgumentError,
        "the gradients at ['w']: shape (2,), but the parameter's is (3,)"),
    "a seed in place of a generator": (
        lambda: nt.nn.dense_init(0, 3, 4), nt.ArgumentError, "np.random.default_rng(0)"),
    "a name of PyTorch": (lambda: nt.tensor([1.0]), AttributeError, "nt.var(x) makes a leaf"),
    "a name of JAX": (lambda: nt.while_loop, AttributeError, "a plain while"),
    "a name of NumPy": (lambda: nt.mean([1.0]), AttributeError, ": np.mean records"),
    "a name of SciPy": (lambda: nt.jv(1.0, 2.0), AttributeError, ": nt.scipy.special.jv"),
    "a name with a slip": (lambda: nt.value_and_gradient, AttributeError, ": nt.value_and_grad"),
    "a name of nobody": (lambda: nt.qqqqqq, AttributeError, "no attribute 'qqqqqq'"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_message(name):
    do, kind, words = MISTAKES[name]
    with pytest.raises(kind) as caught:
        do()
    assert words in str(caught.value) and type(caught.value) is kind


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes came with Python 3.11")
def test_a_list_is_no_array():
    for f in (lambda xs: xs.sum(), lambda xs: sum(xs**2)):
        with pytest.raises((TypeError, AttributeError)) as caught:
            nt.grad(f)([1.0, 2.0])
        assert "pass np.array(...)" in caught.value.__notes__[0]
