"""Trees as vectors, as autograd.misc.flatten has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...vectors import ravel


def flatten(value: Any) -> tuple[Any, Callable[[Any], Any]]:
    """(vector, unflatten) of a tree of numbers and arrays: `nt.ravel`.

    >>> vector, unflatten = flatten({"a": 1.0, "b": [2.0, 3.0]})
    >>> vector.tolist(), unflatten(2 * vector)["b"]
    ([1.0, 2.0, 3.0], [4.0, 6.0])
    """
    return ravel(value)


def flatten_func(
    func: Callable[..., Any], example: Any
) -> tuple[Callable[..., Any], Callable[[Any], Any], Any]:
    """(func of vectors, unflatten, the example as a vector).

    >>> difference = lambda d: {"z": d["b"] - d["a"]}
    >>> on_vector, unflatten, x = flatten_func(difference, {"a": 1.0, "b": 3.0})
    >>> on_vector(x)
    array([2.])
    """
    vector, unflatten = ravel(example)
    return (lambda x, *args: ravel(func(unflatten(x), *args))[0]), unflatten, vector
