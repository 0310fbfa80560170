"""`grad` and its relatives, for scalar functions of scalars and arrays in trees of containers.

A transform records the function afresh, or asks a traced function (`nt.function`) for its tape.
At the outermost level a sweep gives numbers; elsewhere the derivative is recorded: evaluation.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..named import Transformed
from ..record.arrays import moves
from ..record.values import FUNCTIONS, Result, Var
from ..trees import flatten, unflatten
from .evaluation import Argnums, Evaluation


def value_and_grad(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """`value_and_grad(f)(*args)` is `(f(*args), gradient)`.

    Both are plain numbers, unless recording values go in (arguments or leaves that `f` captures):
    then both are recording values, so that derivatives nest.  Under `no_grad` always numbers.

    `f` takes scalars and arrays, or nested lists, tuples and dicts of them, and returns a scalar;
    with `has_aux` a pair of it and any tree, and the answer is `((value, aux), gradient)`.
    `argnums` says which positional arguments are differentiated: the gradient has the structure of
    that argument, or is a tuple of such for several.  Raises `ArgumentError` where the result is no
    scalar or `argnums` does not fit, `UnsupportedError` where an argument holds no real numbers.

    >>> import ndtape as nt
    >>> nt.value_and_grad(lambda p: p["a"] * p["b"] ** 2)({"a": 2.0, "b": 3.0})
    (18.0, {'a': 9.0, 'b': 12.0})
    >>> nt.value_and_grad(lambda x: (x * x, {"x": x}), has_aux=True)(3.0)
    ((9.0, {'x': 3.0}), 6.0)
    """

    def transformed(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        call = Evaluation(f, args, kwargs, argnums, has_aux)
        value, gradient = value_and_gradient(call)
        if has_aux:
            value = value, call.plain_tree(call.aux)
        call.release()
        return value, gradient

    made = transformed if has_aux else _shortened(transformed, f, argnums, True)
    what = "value and gradient"
    return Transformed(made, what, argnums, value_and_grad, f, argnums, has_aux)


def grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """`grad(f)(*args)` is the gradient of the scalar function `f`; see `value_and_grad`.

    With `has_aux` it is `(gradient, aux)` for a function that returns `(value, aux)`.

    >>> import ndtape as nt
    >>> nt.grad(lambda x: x**3)(2.0)
    12.0
    >>> nt.grad(nt.grad(lambda x: x**3))(2.0)
    12.0
    >>> import numpy as np
    >>> nt.grad(lambda x: np.sum(x**3))(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """

    def transformed(*args: Any, **kwargs: Any) -> Any:
        call = Evaluation(f, args, kwargs, argnums, has_aux)
        gradient = value_and_gradient(call)[1]
        answer = (gradient, call.plain_tree(call.aux)) if has_aux else gradient
        call.release()
        return answer

    made = transformed if has_aux else _shortened(transformed, f, argnums, False)
    return Transformed(made, "gradient", argnums, grad, f, argnums, has_aux)


class Gradient(NamedTuple):
    """What a function made by `grad` or `value_and_grad` is: vmap takes many rows of it at once."""

    f: Callable[..., Any]
    argnums: Argnums
    has_aux: bool
    with_value: bool


def gradient_of(function: Any) -> Gradient | None:
    """What a gradient is the gradient of; None for another function."""
    if not isinstance(function, Transformed) or function.made[0] not in (grad, value_and_grad):
        return None
    f, argnums, has_aux = function.made[1]
    return Gradient(f, argnums, has_aux, function.made[0] is value_and_grad)


def _shortened(
    general: Callable[..., Any], f: Callable[..., Any], argnums: Argnums, with_value: bool
) -> Callable[..., Any]:
    """A gradient with the short way that a traced function offers for flat arguments.

    Asked of its class: `functools.wraps` copies the attributes of instances to other functions.
    """
    offered = getattr(type(f), "gradient_function", None)
    return general if offered is None else offered(f, argnums, with_value, general)


def value_and_gradient(call: Evaluation) -> tuple[Any, Any]:
    """Value and gradient of the scalar result of an evaluation: numbers, or recorded."""
    y = call.scalar()
    if not (isinstance(y, Result) and call.is_here(y)):
        constant = isinstance(y, Var) and (call.paused or not y.needs_grad)
        return (y.value if constant else y), call.shaped(call.zeros())
    if not call.is_numeric(lambda: [y.slot]):
        return y, call.shaped(call.recorded(y))
    g = call.work.gradient(y.slot)
    return call.work.value(y.slot), call.shaped(call.read(g))


def stop_gradient(tree: Any) -> Any:
    """The same numbers, constant to every derivative; of a scalar, an array or a tree of them.

    Unlike `x.detach()` the result stays on the tape: where a recording is replayed with other
    inputs, it follows them.  Plain numbers, and what is no number, come back as they are.  The same
    as JAX's `lax.stop_gradient`.

    >>> import ndtape as nt
    >>> nt.grad(lambda x: x * nt.stop_gradient(x))(3.0)
    3.0
    >>> nt.grad(nt.grad(lambda x: x * nt.stop_gradient(x)))(3.0)
    0.0
    """
    leaves, structure = flatten(tree)
    return unflatten(structure, [FUNCTIONS["stop"](x) if moves(x) else x for x in leaves])
