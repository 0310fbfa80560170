"""Whole matrices of derivatives: Jacobians of functions of trees, and Hessians.

Shapes are as in JAX: a Jacobian has the shape of the result followed by that of the argument, and
where results or arguments are trees, it is a tree of results of trees of arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..named import Transformed
from ..record.values import Result
from .directions import seconds
from .evaluation import Argnums, Evaluation, shape_of, size_of
from .outputs import VectorEvaluation, block_of, elements, joined
from .sparse import Sparse, sparse_hessian, sparse_jacobian


def jacobian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    sparse: Sparse = False,
    check: bool | None = None,
) -> Callable[..., Any]:
    """`jacobian(f)(*args)` is the matrix of first derivatives of f.

    `f` takes and returns scalars, arrays and trees of them.  The answer is the tree of results, of
    which each entry is the tree of the differentiated argument (a tuple for several), of arrays of
    the shape ``result.shape + argument.shape``.  One tangent sweep an input element or one reverse
    sweep an output element, whichever is less; `jacfwd` and `jacrev` choose one.  Nests like
    `grad`.  With `has_aux`, f returns (value, aux), and the answer is (jacobian, aux).

    With `sparse` (True or "csr", "csc", "coo", or a pattern of `nt.sparsity`) the arrays are those
    of scipy.sparse, of the shape ``(result.size, argument.size)``: the pattern is found in a sweep
    of its own, which a traced function makes once, and all entries in as few sweeps as it has
    colours.  A pattern that is given is checked against a product with a random vector, once with
    each tape; `check` says always (True) or never.  See docs/sparse.md.  Raises `PatternError` for
    a pattern that does not fit.

    >>> import ndtape as nt, numpy as np
    >>> nt.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    >>> nt.jacobian(lambda x, y: {"product": x * y, "sum": x + y}, argnums=(0, 1))(2.0, 3.0)
    {'product': (3.0, 2.0), 'sum': (1.0, 1.0)}
    """
    if sparse is not False:
        found = sparse_jacobian(f, argnums, has_aux, sparse, check)
        what, options = "sparse Jacobian", (argnums, has_aux, sparse, check)
        return Transformed(found, what, argnums, jacobian, f, *options)
    return _jacobian(f, argnums, has_aux, None, jacobian)


def jacfwd(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """`jacobian` by columns: one forward derivative an input element, for tall matrices.

    >>> import ndtape as nt
    >>> nt.jacfwd(lambda x: nt.array([x, x**2, x**3]))(2.0)
    array([ 1.,  4., 12.])
    """
    return _jacobian(f, argnums, has_aux, True, jacfwd)


def jacrev(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """`jacobian` by rows: one reverse derivative an output element, for wide matrices.

    >>> import ndtape as nt, numpy as np
    >>> nt.jacrev(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    array([2., 4.])
    """
    return _jacobian(f, argnums, has_aux, False, jacrev)


def _jacobian(
    f: Callable[..., Any],
    argnums: Argnums,
    has_aux: bool,
    by_columns: bool | None,
    make: Callable[..., Any],
) -> Callable[..., Any]:
    def transformed(*args: Any, **kwargs: Any) -> Any:
        call = VectorEvaluation(f, args, kwargs, argnums, has_aux)
        matrix = call.jacobian(by_columns)
        answer = (matrix, call.plain_tree(call.aux)) if has_aux else matrix
        call.release()
        return answer

    what = {None: "Jacobian", True: "Jacobian by columns", False: "Jacobian by rows"}[by_columns]
    return Transformed(transformed, what, argnums, make, f, argnums, has_aux)


def hessian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    sparse: Sparse = False,
    check: bool | None = None,
) -> Callable[..., Any]:
    """`hessian(f)(*args)` is the matrix of second derivatives of the scalar function f.

    The answer is a tree of trees, both of the structure of the differentiated argument (tuples for
    several), of arrays of the shape ``argument.shape + argument.shape``.  At the outermost level
    one tangent and one forward-over-reverse sweep an input element; inside another transform it is
    recorded.  With `has_aux`, f returns (value, aux), and the answer is (hessian, aux).  `sparse`
    and `check` are those of `jacobian`: one such pair of sweeps a colour.

    >>> import ndtape as nt, numpy as np
    >>> nt.hessian(lambda x: x[0] ** 2 * x[1])(np.array([3.0, 2.0]))
    array([[4., 6.],
           [6., 0.]])
    >>> nt.hessian(lambda x, y: x * x * y, argnums=(0, 1))(3.0, 2.0)
    ((4.0, 6.0), (6.0, 0.0))
    """
    if sparse is not False:
        found = sparse_hessian(f, argnums, has_aux, sparse, check)
        what, options = "sparse Hessian", (argnums, has_aux, sparse, check)
        return Transformed(found, what, argnums, hessian, f, *options)

    def transformed(*args: Any, **kwargs: Any) -> Any:
        call = Evaluation(f, args, kwargs, argnums, has_aux)
        matrix = _second_derivatives(call)
        answer = (matrix, call.plain_tree(call.aux)) if has_aux else matrix
        call.release()
        return answer

    return Transformed(transformed, "Hessian", argnums, hessian, f, argnums, has_aux)


def _second_derivatives(call: Evaluation) -> Any:
    y = call.scalar()
    if not (isinstance(y, Result) and call.is_here(y)):
        n = sum(map(size_of, call.variables))
        return _blocks(call, np.zeros((n, n)))
    if call.is_numeric(lambda: [y.slot]):
        return _blocks(call, _by_sweeps(call, y))
    rows = [_rows_of(call, g, x) for g, x in zip(call.recorded(y), call.variables, strict=True)]
    return call.shaped([call.shaped(row) for row in rows])


def _by_sweeps(call: Evaluation, y: Result) -> np.ndarray:
    """The matrix by columns: H times each unit vector."""
    slots = call.input_slots()
    matrix = np.zeros((len(slots), len(slots)))

    def take(group: slice, h: np.ndarray) -> None:
        matrix[:, group] = h[slots]

    seconds(call, y.slot, slots, take)
    return matrix


def _blocks(call: Evaluation, matrix: np.ndarray) -> Any:
    """The matrix as blocks in a tree of trees."""
    ends = np.cumsum([0, *map(size_of, call.variables)]).tolist()
    rows = [
        [block_of(matrix[ends[i] : ends[i + 1], ends[j] : ends[j + 1]], x, y)
         for j, y in enumerate(call.variables)]
        for i, x in enumerate(call.variables)
    ]  # fmt: skip
    return call.shaped([call.shaped(row) for row in rows])


def _rows_of(call: Evaluation, gradient: Any, x: Any) -> list[Any]:
    """Blocks of the recorded derivative of a recorded gradient with respect to x."""
    from_elements = [call.recorded(g) for g in elements(gradient)]
    return [
        joined([row[j] for row in from_elements], shape_of(x), shape_of(v))
        for j, v in enumerate(call.variables)
    ]
