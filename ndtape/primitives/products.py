"""Products and running products, by a tree of multiplications.

The derivative of a product is the product of all *other* factors: dividing the product by a factor
fails at zeros, in the second derivative also where only two factors meet.  A tree of recorded
multiplications has no division in it, is right at zeros in every order, and adds about 2 log₂ n
instructions of n operations in all.  (The alternative, exclusive products as a primitive, repeats
that argument for each order of differentiation.)  Short axes are multiplied from left to right as
NumPy does; on longer ones the bracketing differs, so the last bits may, and so may an overflow of
an intermediate product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from ..numpy.registry import function
from ..record.core import user_line
from ..record.values import Var
from .stacks import operand, with_shape

SHORT = 8  # below this a chain takes no more instructions than a tree


def _at(axis: int, key: Any) -> tuple[Any, ...]:
    return (slice(None),) * axis + (key,)


# Slices and not entries below: an entry of a vector is a scalar, which has no dtype to keep.


def _product(a: Any, axis: int) -> Any:
    """The product along an axis, without it."""
    n = a.shape[axis]
    if n == 0:
        return np.sum(a, axis=axis) + 1
    while n > SHORT:
        pairs = a[_at(axis, slice(0, n - 1, 2))] * a[_at(axis, slice(1, n, 2))]
        if n % 2:
            rest = a[_at(axis, slice(n - 1, n))]
            pairs = np.concatenate([pairs, rest], axis=axis)
        a, n = pairs, (n + 1) // 2
    if n == 1:  # a view would let writes into the product reach the factors
        return np.copy(a[_at(axis, 0)])
    result = a[_at(axis, slice(0, 1))]
    for i in range(1, n):
        result = result * a[_at(axis, slice(i, i + 1))]
    return result[_at(axis, 0)]


def _running(a: Any, axis: int) -> Any:
    """Products of the first 1, 2, ... entries along an axis (G. Blelloch, "Prefix sums", 1990)."""
    n = a.shape[axis]
    if n <= 1:
        return np.copy(a)
    if n <= SHORT:
        parts = [a[_at(axis, slice(0, 1))]]
        for i in range(1, n):
            parts.append(parts[-1] * a[_at(axis, slice(i, i + 1))])
        return np.concatenate(parts, axis=axis)
    even = n - n % 2
    odd_ones = _running(
        a[_at(axis, slice(0, even, 2))] * a[_at(axis, slice(1, even, 2))], axis
    )  # the results at 1, 3, 5, ...
    later = odd_ones[_at(axis, slice(0, (n - 1) // 2))] * a[_at(axis, slice(2, n, 2))]
    even_ones = np.concatenate([a[_at(axis, slice(0, 1))], later], axis=axis)
    if n % 2:
        tail = even_ones[_at(axis, slice(n // 2, None))]
        even_ones = even_ones[_at(axis, slice(0, n // 2))]
    shape = list(a.shape)
    shape[axis] = even
    result = np.reshape(np.stack([even_ones, odd_ones], axis=axis + 1), shape)
    return np.concatenate([result, tail], axis=axis) if n % 2 else result


def _whole(a: Any) -> Any:
    """Booleans as whole numbers, which is what their product is."""
    a = operand(a)
    return a * 1 if a.dtype == np.bool_ else a


def _axes(a: Any, axis: Any) -> tuple[int, ...]:
    """Axes as numbers >= 0."""
    given = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for i in given:
        if not -a.ndim <= i < a.ndim:
            raise ArgumentError(f"axis {i} of an array of shape {a.shape} [{user_line()}]")
    axes = tuple(i % a.ndim for i in given)
    if len(set(axes)) < len(axes):
        raise ArgumentError(f"axis {axis} names an axis twice [{user_line()}]")
    return axes


def _not(name: str, **given: Any) -> None:
    for option, value in given.items():
        if value is not None:
            raise UnsupportedError(
                f"{name} of a recording array takes no {option}=; use its result, or "
                f"np.astype before it [{user_line()}]"
            )


@function("prod")
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = 1,
    where: Any = True,
) -> Any:
    """The product of the entries along one axis, several or all; right derivatives at zeros.

    >>> import numpy as np
    >>> float(prod(np.array([2.0, 3.0, 4.0])))
    24.0
    """
    _not("prod", dtype=dtype, out=out)
    a = _whole(a)
    if where is not True:
        a = np.where(where, a, 1)
    axes = _axes(a, axis)
    shape, dtype = tuple(1 if i in axes else n for i, n in enumerate(a.shape)), a.dtype
    a = a if a.ndim or isinstance(a, Var) else a[()]
    for i in sorted(axes, reverse=True):
        a = _product(a, i)
    if not (isinstance(initial, int) and initial == 1):
        a = a * initial
    return with_shape(a, shape, dtype) if keepdims else a


@function("cumprod")
def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Products of the entries up to each along an axis (None: of the array in one row).

    >>> import numpy as np
    >>> cumprod(np.array([2.0, 3.0, 4.0]))
    array([ 2.,  6., 24.])
    """
    _not("cumprod", dtype=dtype, out=out)
    a = _whole(a)
    if axis is None:
        a, axis = np.reshape(a, (-1,)), 0
    return _running(a, _axes(a, axis)[0])


@function("cumulative_prod")
def cumulative_prod(
    x: Any,
    /,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
) -> Any:
    """`cumprod` along an axis, which may begin with the empty product 1.

    >>> import numpy as np
    >>> cumulative_prod(np.array([2.0, 3.0]), include_initial=True)
    array([1., 2., 6.])
    """
    x = _whole(x)
    if axis is None:
        if x.ndim != 1:
            raise ArgumentError(f"cumulative_prod of shape {x.shape} needs axis= [{user_line()}]")
        axis = 0
    if include_initial:
        before = [(1, 0) if i == _axes(x, axis)[0] else (0, 0) for i in range(x.ndim)]
        x = np.pad(x, before, constant_values=1)
    return cumprod(x, axis, dtype, out)
