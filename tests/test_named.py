"""What transforms return says what it is, looks like the function, and travels."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest

import ndtape as nt
from ndtape.named import Named, Transformed


def loss(params, xs, *, scale=1.0):
    return scale * np.sum((params * xs) ** 2)


@nt.grad
def slope(x):
    """The slope of a cube."""
    return x**3


class Model:
    weight = 3.0

    @nt.checkpoint
    def block(self, x):
        return self.weight * nt.sin(x)


SHOWN = {
    "<gradient of loss(params, xs, *, scale) with respect to params>": nt.grad(loss),
    "<value and gradient of loss(params, xs, *, scale) with respect to xs, params>": (
        nt.value_and_grad(loss, argnums=(1, 0))
    ),
    "<Jacobian of loss(params, xs, *, scale) with respect to params>": nt.jacobian(loss),
    "<Jacobian by columns of loss(params, xs, *, scale) with respect to params>": nt.jacfwd(loss),
    "<Jacobian by rows of loss(params, xs, *, scale) with respect to params>": nt.jacrev(loss),
    "<sparse Jacobian of loss(params, xs, *, scale) with respect to params>": (
        nt.jacobian(loss, sparse=True)
    ),
    "<Hessian of loss(params, xs, *, scale) with respect to xs>": nt.hessian(loss, argnums=-2),
    "<sparse Hessian of loss(params, xs, *, scale) with respect to params>": (
        nt.hessian(loss, sparse="csr")
    ),
    "<pattern of the Hessian of loss(params, xs, *, scale) with respect to params>": (
        nt.sparsity(loss, of="hessian")
    ),
    "<elementwise gradient of loss(params, xs, *, scale) with respect to params>": (
        nt.elementwise_grad(loss)
    ),
    "<checkpoint of loss(params, xs, *, scale)>": nt.checkpoint(loss),
    "<vmap of gradient of loss(params, xs, *, scale) with respect to params>": (
        nt.vmap(nt.grad(loss), (None, 0))
    ),
}


@pytest.mark.parametrize("text", SHOWN)
def test_what_it_is(text):
    assert repr(SHOWN[text]) == text
    assert SHOWN[text].__name__ == "loss"


@pytest.mark.parametrize("make", [nt.function, nt.jit])
def test_of_traced_and_compiled_functions(make):
    assert repr(nt.grad(make(loss))) == repr(nt.grad(loss))


def test_of_what_has_no_signature_or_a_long_one():
    assert repr(nt.vmap(np.add.reduce)).startswith("<vmap of ufunc.reduce")
    assert repr(nt.grad(max)) == "<gradient of max with respect to argument 0>"
    names = [f"argument_{i}" for i in range(20)]
    long = eval(f"lambda {', '.join(names)}: 0")
    assert repr(nt.grad(long, 3)) == "<gradient of <lambda>(...) with respect to argument_3>"
    assert repr(nt.grad(partial(loss, scale=2.0))).startswith("<gradient of partial(params, xs")


def test_products_say_what_they_belong_to():
    def f(x):
        return x * x

    assert repr(nt.vjp(f, 2.0)[1]) == "<pullback of f(x)>"
    assert repr(nt.linearize(f, 2.0)[1]) == "<derivative of f(x)>"
    with pytest.raises(TypeError, match="belongs to a recording"):
        pickle.dumps(nt.vjp(f, 2.0)[1])


def test_methods_and_names():
    model = Model()
    assert nt.grad(model.block)(0.5) == 3.0 * np.cos(0.5)
    assert slope.__doc__ == "The slope of a cube." and slope(2.0) == 12.0
    assert isinstance(Model.block, Transformed) and isinstance(slope, Named)


def test_they_can_be_pickled_and_copied():
    assert pickle.loads(pickle.dumps(slope)) is slope
    xs = np.array([1.0, 2.0])
    for made in (nt.grad(loss), nt.vmap(nt.grad(loss, 1), (None, 0)), nt.hessian(loss)):
        again = pickle.loads(pickle.dumps(made))
        assert type(again) is Transformed and repr(again) == repr(made)
    again = pickle.loads(pickle.dumps(nt.value_and_grad(loss)))
    assert again(3.0, xs) == nt.value_and_grad(loss)(3.0, xs) == copy.copy(again)(3.0, xs)


def test_a_decorator_that_copies_attributes_does_not_make_a_gradient():
    from functools import update_wrapper

    def twice(x):
        return 2.0 * nt.grad(loss)(x, 1.0)

    update_wrapper(twice, nt.grad(loss))
    assert nt.vmap(twice)(np.array([1.0, 2.0])).tolist() == [4.0, 8.0]


@pytest.mark.parametrize("name", ["grad", "value_and_grad", "jacobian", "hessian", "vmap"])
def test_a_number_is_no_function(name):
    with pytest.raises(nt.ArgumentError, match=rf"nt\.{name} takes a function, not 4\.0: write"):
        getattr(nt, name)(4.0)
