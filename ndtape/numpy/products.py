"""Products of vectors, matrices and stacks of them, each as one contraction of two arrays.

A contraction is written with labels, as in einsum: a label for each axis, the same label where
axes meet, and those of the result.
"""

from __future__ import annotations

import itertools
import operator
from functools import lru_cache
from typing import Any

import numpy as np

from ..record import fast
from ..record.arrays import as_array
from ..record.wide import contract
from .arguments import Array, axis_of, cast, constant, deliver, fail, finish, reshaped, unsupported
from .reductions import total, truth
from .registry import function

K, M, N, BATCH = 0, 1, 2, 3  # labels: contracted, rows, columns, the first of the leading axes


def contracted(x: Any, x_labels: Any, y: Any, y_labels: Any, labels: Any) -> Any:
    """The two-operand einsum of arrays whose shapes fit, with NumPy's dtypes."""
    x, y = as_array(x), as_array(y)
    dtype = x.dtype if x.dtype == y.dtype else np.result_type(x.dtype, y.dtype)
    if dtype.kind == "b":  # "or" of "and"s
        return truth(contracted(cast(x, np.int64), x_labels, cast(y, np.int64), y_labels, labels))
    if not (x.size and y.size):
        extents = dict(zip((*x_labels, *y_labels), (*x.shape, *y.shape), strict=True))
        return finish(constant(np.zeros([extents[label] for label in labels], dtype)))
    return contract(cast(x, dtype), list(x_labels), cast(y, dtype), list(y_labels), list(labels))


def batched(
    name: str, x: Array, x_core: list[int], y: Array, y_core: list[int], core: list[int]
) -> Any:
    """A contraction of the last axes, with the leading ones broadcast.

    An axis of size 1 that meets a longer one is left out of its operand: nothing is copied.
    """
    x_lead, y_lead = x.ndim - len(x_core), y.ndim - len(y_core)
    lead = max(x_lead, y_lead)
    x_labels: list[int] = []
    y_labels: list[int] = []
    x_index: list[Any] = []
    y_index: list[Any] = []
    labels = list(range(BATCH, BATCH + lead))
    for i, label in enumerate(labels):
        at_x, at_y = i - lead + x_lead, i - lead + y_lead
        n = x.shape[at_x] if at_x >= 0 else 1
        m = y.shape[at_y] if at_y >= 0 else 1
        if n != m and n != 1 and m != 1:
            _misfit(name, x, y)
        both = n == m
        for at, extent, index, own in ((at_x, n, x_index, x_labels), (at_y, m, y_index, y_labels)):
            if at >= 0:
                used = both or extent != 1
                index.append(slice(None) if used else 0)
                own += [label] * used
    x = x[tuple(x_index)] if 0 in x_index else x
    y = y[tuple(y_index)] if 0 in y_index else y
    return contracted(x, x_labels + x_core, y, y_labels + y_core, labels + core)


def _misfit(name: str, x: Array, y: Array) -> None:
    fail(f"np.{name}: shapes {x.shape} and {y.shape} do not fit")


def _pair(name: str, a: Any, b: Any, a_ndim: int, b_ndim: int) -> tuple[Array, Array]:
    x, y = as_array(a), as_array(b)
    if x.ndim < a_ndim or y.ndim < b_ndim:
        fail(f"np.{name}: shapes {x.shape} and {y.shape} have too few axes")
    return x, y


@function("matmul", "linalg.matmul")
def matmul(x1: Any, x2: Any, /, out: Any = None, **options: Any) -> Any:
    """Matrix product, leading axes broadcast; vectors stand for rows and columns."""
    unsupported("matmul", **options)
    result = _matmul(x1, x2)
    return result if out is None else deliver(result, out, "matmul")


@fast.binary
def _matmul(x1: Any, x2: Any) -> Any:
    x, y = _pair("matmul", x1, x2, 1, 1)
    if x.shape[-1] != y.shape[max(y.ndim - 2, 0)]:
        _misfit("matmul", x, y)
    x_core, y_core = [M, K][-x.ndim :], [K, N][: y.ndim]
    core = [M] * (x.ndim > 1) + [N] * (y.ndim > 1)
    return batched("matmul", x, x_core, y, y_core, core)


@function("matvec")
def matvec(x1: Any, x2: Any, /, out: Any = None, **options: Any) -> Any:
    """Matrix times vector, leading axes broadcast."""
    unsupported("matvec", **options)
    x, y = _pair("matvec", x1, x2, 2, 1)
    if x.shape[-1] != y.shape[-1]:
        _misfit("matvec", x, y)
    return deliver(batched("matvec", x, [M, K], y, [K], [M]), out, "matvec")


@function("vecmat")
def vecmat(x1: Any, x2: Any, /, out: Any = None, **options: Any) -> Any:
    """Vector times matrix, leading axes broadcast."""
    unsupported("vecmat", **options)
    x, y = _pair("vecmat", x1, x2, 1, 2)
    if x.shape[-1] != y.shape[-2]:
        _misfit("vecmat", x, y)
    return deliver(batched("vecmat", x, [K], y, [K, N], [N]), out, "vecmat")


@function("vecdot", "linalg.vecdot")
def vecdot(x1: Any, x2: Any, /, out: Any = None, *, axis: int = -1, **options: Any) -> Any:
    """Products of vectors along an axis, other axes broadcast."""
    unsupported("vecdot", **options)
    x, y = _pair("vecdot", x1, x2, 1, 1)
    if axis != -1:
        x, y = as_array(np.moveaxis(x, axis, -1)), as_array(np.moveaxis(y, axis, -1))
    if x.shape[-1] != y.shape[-1]:
        _misfit("vecdot", x, y)
    return deliver(batched("vecdot", x, [K], y, [K], []), out, "vecdot")


@function("dot")
def dot(a: Any, b: Any, out: Any = None) -> Any:
    """Sum over the last axis of a and the last but one of b; a product if one is a scalar."""
    result = _dot(a, b)
    return result if out is None else deliver(result, out, "dot")


@fast.binary
def _dot(a: Any, b: Any) -> Any:
    x, y = as_array(a), as_array(b)
    if not (x.ndim and y.ndim):
        return finish(x) * finish(y)
    at = max(y.ndim - 2, 0)
    if x.shape[-1] != y.shape[at]:
        _misfit("dot", x, y)
    return _summed(x, [x.ndim - 1], y, [at])


def _summed(x: Array, x_axes: list[int], y: Array, y_axes: list[int]) -> Any:
    """Sum of products over pairs of axes; the other axes of x, then those of y."""
    x_labels = list(range(x.ndim))
    y_labels = list(range(x.ndim, x.ndim + y.ndim))
    for i, j in zip(x_axes, y_axes, strict=True):
        y_labels[j] = x_labels[i]
    shared = {x_labels[i] for i in x_axes}
    labels = [label for label in x_labels + y_labels if label not in shared]
    return contracted(x, x_labels, y, y_labels, labels)


@function("inner")
def inner(a: Any, b: Any, /) -> Any:
    """Sum of products over the last axes."""
    return _inner(a, b)


@fast.binary
def _inner(a: Any, b: Any) -> Any:
    x, y = as_array(a), as_array(b)
    if not (x.ndim and y.ndim):
        return finish(x) * finish(y)
    if x.shape[-1] != y.shape[-1]:
        _misfit("inner", x, y)
    return _summed(x, [x.ndim - 1], y, [y.ndim - 1])


@function("outer", "linalg.outer")
def outer(a: Any, b: Any, out: Any = None) -> Any:
    """Products of all elements of a with all of b."""
    result = _outer(a, b)
    return result if out is None else deliver(result, out, "outer")


@fast.binary
def _outer(a: Any, b: Any) -> Any:
    x, y = as_array(a), as_array(b)
    return contracted(reshaped(x, [x.size]), [M], reshaped(y, [y.size]), [N], [M, N])


@function("vdot")
def vdot(a: Any, b: Any, /) -> Any:
    """Sum of products of the flattened arrays."""
    return _vdot(a, b)


@fast.binary
def _vdot(a: Any, b: Any) -> Any:
    x, y = as_array(a), as_array(b)
    if x.size != y.size:
        _misfit("vdot", x, y)
    return contracted(reshaped(x, [x.size]), [K], reshaped(y, [y.size]), [K], [])


@function("tensordot", "linalg.tensordot")
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Sum of products over chosen axes."""
    return _along(frozen(axes))(a, b)


def frozen(x: Any) -> Any:
    """An argument as a key: lists as tuples."""
    return tuple(map(frozen, x)) if isinstance(x, (list, tuple)) else x


@lru_cache(maxsize=256)
def _along(axes: Any) -> Any:
    """np.tensordot for given axes: what it records depends on shapes alone, hence has plans."""
    return fast.binary(lambda a, b: _tensordot(a, b, axes))


def _tensordot(a: Any, b: Any, axes: Any) -> Any:
    x, y = as_array(a), as_array(b)
    if isinstance(axes, (tuple, list)):
        first, second = ([p] if not isinstance(p, (tuple, list)) else list(p) for p in axes)
    else:
        count = operator.index(axes)
        if not 0 <= count <= min(x.ndim, y.ndim):
            _misfit("tensordot", x, y)
        first, second = list(range(x.ndim - count, x.ndim)), list(range(count))
    x_axes, y_axes = [axis_of(i, x.ndim) for i in first], [axis_of(i, y.ndim) for i in second]
    if [x.shape[i] for i in x_axes] != [y.shape[i] for i in y_axes]:
        fail(f"np.tensordot: shapes {x.shape} and {y.shape} do not fit along axes {axes}")
    return _summed(x, x_axes, y, y_axes)


@function("trace")
def trace(
    a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None
) -> Any:
    """Sum along diagonals."""
    x = as_array(np.diagonal(cast(a, dtype), offset, axis1, axis2))
    return deliver(total(x, (x.ndim - 1,)), out, "trace")


@function("linalg.trace")
def last_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """Sum along diagonals of the last two axes."""
    return trace(x, offset, -2, -1, dtype)


@function("kron")
def kron(a: Any, b: Any) -> Any:
    """Kronecker product: b repeated, times the elements of a."""
    x, y = as_array(a), as_array(b)
    n = max(x.ndim, y.ndim)
    rows = (1,) * (n - x.ndim) + x.shape
    columns = (1,) * (n - y.ndim) + y.shape
    spread = reshaped(x, [e for m in rows for e in (m, 1)])
    blocks = reshaped(y, [e for m in columns for e in (1, m)])
    shape = [i * j for i, j in zip(rows, columns, strict=True)]
    return finish(reshaped(spread * blocks, shape))


@function("cross", "linalg.cross")
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    """Cross product of vectors of length 3 (or the third component, of two of length 2)."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = _pair("cross", a, b, 1, 1)
    x, y = np.moveaxis(x, axisa, -1), np.moveaxis(y, axisb, -1)
    if x.shape[-1] == y.shape[-1] == 2:
        return x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0]
    if not x.shape[-1] == y.shape[-1] == 3:
        _misfit("cross", x, y)
    first, second = [1, 2, 0], [2, 0, 1]
    z = x[..., first] * y[..., second] - x[..., second] * y[..., first]
    return z if axisc == -1 else np.moveaxis(z, -1, axisc)


# --- several matrices -----------------------------------------------------------------------------


@function("linalg.multi_dot")
def multi_dot(arrays: Any, *, out: Any = None) -> Any:
    """Product of several matrices in the cheapest order."""
    matrices = [as_array(x) for x in arrays]
    if len(matrices) < 2:
        fail("np.linalg.multi_dot needs at least two arrays")
    first, last = matrices[0], matrices[-1]
    if first.ndim == 1:
        matrices[0] = reshaped(first, [1, first.size])
    if last.ndim == 1:
        matrices[-1] = reshaped(last, [last.size, 1])
    for x, y in itertools.pairwise(matrices):
        if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
            _misfit("linalg.multi_dot", x, y)
    result = as_array(_chain(matrices))
    shape = result.shape[first.ndim == 1 :]
    return deliver(reshaped(result, shape[: len(shape) - (last.ndim == 1)]), out, "multi_dot")


def _chain(matrices: list[Array]) -> Any:
    """Multiply in the order that needs the fewest multiplications (dynamic programming)."""
    n = len(matrices)
    size = [matrices[0].shape[0], *(x.shape[1] for x in matrices)]
    cost = {(i, i): 0 for i in range(n)}
    cut = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            costs = {
                k: cost[i, k] + cost[k + 1, j] + size[i] * size[k + 1] * size[j + 1]
                for k in range(i, j)
            }
            cut[i, j] = min(costs, key=lambda k: costs[k])
            cost[i, j] = costs[cut[i, j]]

    def product(i: int, j: int) -> Any:
        if i == j:
            return matrices[i]
        return matmul(product(i, cut[i, j]), product(cut[i, j] + 1, j))

    return product(0, n - 1)


@function("linalg.matrix_power")
def matrix_power(a: Any, n: Any) -> Any:
    """A square matrix multiplied with itself; negative powers are those of the inverse."""
    x: Any = as_array(a)
    n = operator.index(n)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        fail(f"np.linalg.matrix_power needs square matrices, not the shape {x.shape}")
    if n < 0:
        x, n = np.linalg.inv(x), -n
    result = None
    while n:
        if n % 2:
            result = x if result is None else matmul(result, x)
        n //= 2
        if n:
            x = matmul(x, x)
    if result is None:
        return constant(np.broadcast_to(np.eye(x.shape[-1], dtype=x.dtype), x.shape).copy())
    return np.copy(result) if result is a else result
