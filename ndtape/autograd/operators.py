"""The operators of autograd.differential_operators, by those of `ndtape.transforms`."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from ..record.core import user_line
from ..transforms import gradients, jacobians, linear_maps
from ..transforms.checkpoints import checkpoint as checkpoint
from ..trees import flatten, unflatten

Function = Callable[..., Any]
Argnum = int | Sequence[int]


def grad(fun: Function, argnum: Argnum = 0) -> Function:
    """The gradient of a function with one number as result, with respect to `argnum`.

    >>> grad(lambda x: np.dot(x, x))(np.array([1.0, 2.0]))
    array([2., 4.])
    """
    return gradients.grad(_scalar(fun), _argnums(argnum))


def value_and_grad(fun: Function, argnum: Argnum = 0) -> Function:
    """(value, gradient) in one go.

    >>> value_and_grad(lambda x: x**2)(3.0)
    (9.0, 6.0)
    """
    return gradients.value_and_grad(_scalar(fun), _argnums(argnum))


def grad_and_aux(fun: Function, argnum: Argnum = 0) -> Function:
    """The gradient of the first result of fun, and the second one.

    >>> grad_and_aux(lambda x: (x**2, "seen"))(3.0)
    (6.0, 'seen')
    """
    return gradients.grad(fun, _argnums(argnum), has_aux=True)


def grad_named(fun: Function, argname: str) -> Function:
    """The gradient with respect to an argument by its name.

    >>> grad_named(lambda x, y: x * y, "y")(3.0, 2.0)
    3.0
    """
    names = list(inspect.signature(fun).parameters)
    if argname not in names:
        raise ArgumentError(f"{fun!r:.60} has no argument {argname!r}: {names} [{user_line()}]")
    return grad(fun, names.index(argname))


def multigrad_dict(fun: Function) -> Function:
    """The gradients with respect to all arguments, by their names.

    >>> dict(multigrad_dict(lambda x, y=2.0: x * y)(3.0))
    {'x': 2.0, 'y': 3.0}
    """
    signature = inspect.signature(fun)

    def gradients_of(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()

        def of_all(arguments: dict[str, Any]) -> Any:
            given = inspect.BoundArguments(signature, OrderedDict(arguments))
            return fun(*given.args, **given.kwargs)

        found = grad(of_all)(dict(bound.arguments))
        return OrderedDict((name, found[name]) for name in bound.arguments)

    return gradients_of


def elementwise_grad(fun: Function, argnum: Argnum = 0) -> Function:
    """The sum of each column of the Jacobian; of a function of elements, the derivative of each.

    >>> elementwise_grad(np.exp)(np.zeros(2))
    array([1., 1.])
    """
    return linear_maps.elementwise_grad(fun, _argnums(argnum))


def deriv(fun: Function, argnum: Argnum = 0) -> Function:
    """The derivative along a vector of ones, forwards.

    >>> deriv(lambda x: x**3)(2.0)
    12.0
    """

    def of(*args: Any, **kwargs: Any) -> Any:
        f, x = _of_one(fun, argnum, args, kwargs)
        return linear_maps.jvp(f, (x,), (_ones(x),))[1]

    return of


def jacobian(fun: Function, argnum: Argnum = 0) -> Function:
    """The matrix of derivatives, of the shape of the result followed by that of the argument.

    >>> jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return jacobians.jacobian(fun, _argnums(argnum))


def hessian(fun: Function, argnum: int = 0) -> Function:
    """The matrix of second derivatives; of several results, an array of matrices.

    >>> hessian(lambda x: x[0] * x[1])(np.array([1.0, 2.0]))
    array([[0., 1.],
           [1., 0.]])
    """

    def of(*args: Any, **kwargs: Any) -> Any:
        shape = np.shape(fun(*args, **kwargs))
        if not shape:
            return jacobians.hessian(fun, argnum)(*args, **kwargs)
        return jacobian(jacobian(fun, argnum), argnum)(*args, **kwargs)

    return of


def holomorphic_grad(fun: Function, argnum: int = 0) -> Function:
    """Refused: ndtape records real numbers."""
    raise UnsupportedError(
        "holomorphic_grad: ndtape records real numbers; write the real and the imaginary part as "
        f"two arrays [{user_line()}]"
    )


# --- operators that make functions of a point -----------------------------------------------------


def make_vjp(fun: Function, argnum: Argnum = 0) -> Function:
    """`make_vjp(fun)(*args)` is (vjp, value), vjp(w) the adjoint of the argument.

    >>> vjp, value = make_vjp(np.sin)(0.0)
    >>> vjp(2.0), value
    (2.0, 0.0)
    """

    def at(*args: Any, **kwargs: Any) -> tuple[Function, Any]:
        f, x = _of_one(fun, argnum, args, kwargs)
        value, pullback = linear_maps.vjp(f, x)
        return (lambda w: pullback(w)[0]), value

    return at


def make_jvp(fun: Function, argnum: Argnum = 0) -> Function:
    """`make_jvp(fun)(*args)` is jvp, and jvp(v) is (value, derivative along v).

    >>> make_jvp(lambda x: x**2)(3.0)(1.0)
    (9.0, 6.0)
    """

    def at(*args: Any, **kwargs: Any) -> Function:
        f, x = _of_one(fun, argnum, args, kwargs)
        value, along = linear_maps.linearize(f, x)
        return lambda v: (value, along(v))

    return at


def make_jvp_reversemode(fun: Function, argnum: Argnum = 0) -> Function:
    """`make_jvp(fun)(*args)(v)[1]`, forwards: there is no need to differentiate a vjp."""

    def at(*args: Any, **kwargs: Any) -> Function:
        along = make_jvp(fun, argnum)(*args, **kwargs)
        return lambda v: along(v)[1]

    return at


def make_hvp(fun: Function, argnum: Argnum = 0) -> Function:
    """`make_hvp(fun)(*args)` is (hvp, gradient), hvp(v) the Hessian times v.

    >>> hvp, gradient = make_hvp(lambda x: x**3)(2.0)
    >>> hvp(1.0), gradient
    (12.0, 12.0)
    """

    def at(*args: Any, **kwargs: Any) -> tuple[Function, Any]:
        f, x = _of_one(fun, argnum, args, kwargs)
        gradient, product = linear_maps.linearize(gradients.grad(_scalar(f)), x)
        return product, gradient

    return at


def hessian_tensor_product(fun: Function, argnum: int = 0) -> Function:
    """`hessian_tensor_product(fun)(*args, v)` is the Hessian times v.

    >>> hessian_tensor_product(lambda x: x**3)(2.0, 1.0)
    12.0
    """

    def of(*args: Any, **kwargs: Any) -> Any:
        f, x = _of_one(fun, argnum, args[:-1], kwargs)
        return linear_maps.hvp(_scalar(f), (x,), (args[-1],))[2][0]

    return of


def tensor_jacobian_product(fun: Function, argnum: int = 0) -> Function:
    """`tensor_jacobian_product(fun)(*args, v)` is v times the Jacobian.

    >>> tensor_jacobian_product(lambda x: x**2)(np.array([1.0, 2.0]), np.ones(2))
    array([2., 4.])
    """

    def of(*args: Any, **kwargs: Any) -> Any:
        v = args[-1]

        def along(*rest: Any, **more: Any) -> Any:
            return np.tensordot(v, fun(*rest, **more), axes=np.ndim(v))

        return jacobian(along, argnum)(*args[:-1], **kwargs)

    return of


hessian_vector_product = hessian_tensor_product
vector_jacobian_product = tensor_jacobian_product


def make_ggnvp(f: Function, g: Function | None = None, f_argnum: int = 0) -> Function:
    """`make_ggnvp(f, g)(*args)` is a function of v: Jᵀ H J v, H the Hessian of g at f(*args).

    >>> make_ggnvp(lambda x: x**2)(np.array([1.0, 2.0]))(np.ones(2))
    array([ 4., 16.])
    """

    def at(*args: Any, **kwargs: Any) -> Function:
        of_one, x = _of_one(f, f_argnum, args, kwargs)
        return lambda v: linear_maps.gauss_newton_vp(of_one, (x,), (v,), loss=g)[0]

    return at


# --- arguments ------------------------------------------------------------------------------------


def _argnums(argnum: Argnum) -> Any:
    return argnum if isinstance(argnum, int) else tuple(argnum)


def _scalar(fun: Function) -> Function:
    """fun, whose result may also be an array of one element, as autograd allows."""
    if hasattr(type(fun), "gradient_function"):
        return fun  # a traced function keeps its short way

    @wraps(fun, updated=())
    def of(*args: Any, **kwargs: Any) -> Any:
        y = fun(*args, **kwargs)
        return np.reshape(y, ()) if np.ndim(y) and np.size(y) == 1 else y

    return of


def _of_one(
    fun: Function, argnum: Argnum, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Function, Any]:
    """fun as a function of the argument at `argnum`, or of a tuple of several, and its value."""
    if argnum == 0 and len(args) == 1 and not kwargs:
        return fun, args[0]  # also a traced function, with its tapes
    places = [argnum] if isinstance(argnum, int) else list(argnum)

    def of(x: Any) -> Any:
        full = list(args)
        for place, value in zip(places, [x] if isinstance(argnum, int) else x, strict=True):
            full[place] = value
        return fun(*full, **kwargs)

    chosen = [args[place] for place in places]
    return of, chosen[0] if isinstance(argnum, int) else tuple(chosen)


def _ones(x: Any) -> Any:
    leaves, structure = flatten(x)
    return unflatten(structure, [np.ones(np.shape(v)) if np.ndim(v) else 1.0 for v in leaves])
