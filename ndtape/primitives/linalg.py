"""The linear algebra of NumPy and some of SciPy's on recording arrays: `nt.linalg`.

Norms, powers and the like, composed from operations that have rules; the others come from the files
beside this one.
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..numpy.registry import function, refuse
from .determinants import det, slogdet
from .exponential import expm, expm_frechet
from .factors import cho_factor, cholesky, qr
from .solves import cho_solve, inv, lstsq, pinv, solve, solve_triangular
from .spectra import eigh, eigvalsh, svd, svdvals
from .stacks import (
    entry,
    matrices,
    misfit,
    operand,
    squares,
    with_shape,
)

__all__ = [
    "cho_factor",
    "cho_solve",
    "cholesky",
    "cond",
    "det",
    "eigh",
    "eigvalsh",
    "expm",
    "expm_frechet",
    "inv",
    "lstsq",
    "matrix_norm",
    "matrix_rank",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensorinv",
    "tensorsolve",
    "vector_norm",
]

# --- norms ----------------------------------------------------------------------------------------


@function("linalg.norm")
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Norm of a vector or matrix, or of those along one or two axes, with every `ord` of NumPy.

    At the zero vector or matrix, where the 2-norm, the Frobenius norm and the p-norms have a kink,
    the gradient is 0, the subgradient of least norm.  Raises `ShapeError` for an axis or `ord` that
    does not fit.

    >>> import numpy as np
    >>> float(norm(np.array([3.0, 4.0])))
    5.0
    """
    x = operand(x)
    if ord is None and axis is None:
        flat = np.reshape(x, (-1,))
        return _kept(_root_of_squares(flat, 0), (1,) * x.ndim if keepdims else None, x.dtype)
    if axis is None:
        axis = tuple(range(x.ndim))
        if len(axis) not in (1, 2):
            misfit(f"norm with ord={ord!r} takes a vector or a matrix, not shape {x.shape}")
    axes = axis if isinstance(axis, tuple) else (index(axis),)
    axes = tuple(_axis(x, i) for i in axes)
    if len(axes) == 1:
        result = _vector_norm(x, ord, axes[0])
    elif len(axes) == 2 and axes[0] != axes[1]:
        result = _matrix_norm(x, ord, *axes)
    else:
        misfit(f"norm along the axes {axis} of shape {x.shape}: one axis, or two different ones")
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return _kept(result, shape if keepdims else None, x.dtype)


def _axis(x: Any, axis: Any) -> int:
    if not -x.ndim <= axis < x.ndim:
        misfit(f"norm: axis {axis} of an array of shape {x.shape}")
    return int(index(axis) % x.ndim)


def _kept(result: Any, shape: tuple[int, ...] | None, dtype: Any) -> Any:
    return result if shape is None else with_shape(result, shape, dtype)


def _safe_power(total: Any, power: float) -> Any:
    """total ** power for total >= 0, with the derivative 0 at 0."""
    zero = total == 0
    inside = np.where(zero, 1.0, total)
    return np.where(zero, 0.0, np.sqrt(inside) if power == 0.5 else inside**power)


def _root_of_squares(x: Any, axis: Any) -> Any:
    x = x if x.dtype.kind == "f" else x * 1.0
    return _safe_power(np.sum(x * x, axis=axis), 0.5)


def _vector_norm(x: Any, ord: Any, axis: int) -> Any:
    if ord is None or ord == 2:
        return _root_of_squares(x, axis)
    if ord == np.inf:
        return np.max(np.abs(x), axis=axis)
    if ord == -np.inf:
        return np.min(np.abs(x), axis=axis)
    if ord == 0:
        return np.sum((x != 0) * 1.0, axis=axis)
    if ord == 1:
        return np.sum(np.abs(x), axis=axis)
    if isinstance(ord, str):
        misfit(f"norm: ord={ord!r} is for matrices, and one axis is a vector")
    total = np.sum(np.abs(x) ** ord, axis=axis)
    return total ** (1.0 / ord) if ord < 0 else _safe_power(total, 1.0 / ord)


def _matrix_norm(x: Any, ord: Any, rows: int, columns: int) -> Any:
    if ord is None or ord in ("fro", "f"):
        return _root_of_squares(x, (rows, columns))
    if ord in (1, -1, np.inf, -np.inf):
        along, other = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = np.sum(np.abs(x), axis=along)
        return (np.max if ord > 0 else np.min)(sums, axis=other - (other > along))
    if ord in (2, -2, "nuc"):
        s = svd(np.moveaxis(x, (rows, columns), (-2, -1)), compute_uv=False)
        return np.sum(s, axis=-1) if ord == "nuc" else entry(s, 0 if ord == 2 else -1)
    misfit(f"norm: ord={ord!r} is not one of None, 'fro', 'nuc', 1, -1, 2, -2, inf, -inf")


@function("linalg.vector_norm")
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Norm over one axis, several or all, taken as one vector, as `np.linalg.vector_norm`.

    >>> import numpy as np
    >>> float(vector_norm(np.array([[3.0, 0.0], [0.0, 4.0]])))
    5.0
    """
    x = operand(x)
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(_axis(x, i) for i in axes)
    others = [i for i in range(x.ndim) if i not in axes]
    shape = tuple(x.shape[i] for i in others)
    flat = np.reshape(np.transpose(x, (*others, *axes)), (*shape, -1)) if x.size else x
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return _kept(_vector_norm(flat, ord, len(shape)), kept if keepdims else None, x.dtype)


@function("linalg.matrix_norm")
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Norm of each matrix of a stack, as `np.linalg.matrix_norm`.

    >>> import numpy as np
    >>> float(matrix_norm(np.array([[3.0, 0.0], [0.0, 4.0]]), ord=1))
    4.0
    """
    return norm(matrices("matrix_norm", x), ord, (-2, -1), keepdims)


@function("linalg.cond")
def cond(x: Any, p: Any = None) -> Any:
    """Condition number in the norm `p` (None is 2).

    A singular matrix gives inf for p = None and 2, and raises `SingularMatrixError` for the other
    norms, where NumPy gives inf.

    >>> import numpy as np
    >>> float(cond(np.diag([4.0, 2.0])))
    2.0
    """
    x = matrices("cond", x)
    if p is None or p in (2, -2):
        s = svd(x, compute_uv=False)
        largest, smallest = entry(s, 0), entry(s, -1)
        return smallest / largest if p == -2 else largest / smallest
    x = squares("cond", x)
    return norm(x, p, (-2, -1)) * norm(inv(x), p, (-2, -1))


# --- tensors and ranks ----------------------------------------------------------------------------


@function("linalg.tensorinv")
def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of the tensor `a` with respect to a tensordot over its first `ind` axes.

    >>> import numpy as np
    >>> tensorinv(2 * np.eye(4).reshape(2, 2, 4)).shape
    (4, 2, 2)
    """
    a = operand(a)
    rows, columns = a.shape[:ind], a.shape[ind:]
    if ind <= 0 or np.prod(rows) != np.prod(columns):
        misfit(f"tensorinv with ind={ind}: shape {a.shape} is no square matrix in disguise")
    n = int(np.prod(rows))
    return np.reshape(inv(np.reshape(a, (n, n))), (*columns, *rows))


@function("linalg.tensorsolve")
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """x with tensordot(a, x, x.ndim) = b.

    >>> import numpy as np
    >>> tensorsolve(2 * np.eye(4).reshape(2, 2, 4), np.ones((2, 2)))
    array([0.5, 0.5, 0.5, 0.5])
    """
    a, b = operand(a), operand(b)
    if axes is not None:
        a = np.moveaxis(a, axes, range(a.ndim - len(axes), a.ndim))
    shape = a.shape[b.ndim :]
    n = int(np.prod(shape))
    if a.size != n * n or b.size != n:
        misfit(f"tensorsolve: the shapes {a.shape} and {b.shape} do not fit")
    return np.reshape(solve(np.reshape(a, (n, n)), np.reshape(b, (n,))), shape)


@function("linalg.matrix_rank")
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """The number of singular values above `tol`, a recording integer without derivative.

    >>> import numpy as np
    >>> int(matrix_rank(np.diag([1.0, 0.0])))
    1
    """
    if hermitian:
        raise UnsupportedError("matrix_rank of a recording array: leave hermitian=True out")
    a = matrices("matrix_rank", A)
    s = svd(a, compute_uv=False)
    if tol is None:
        tol = (max(a.shape[-2:]) * np.finfo(s.dtype).eps if rtol is None else rtol) * s[..., :1]
    else:
        tol = np.asarray(tol)[..., None]
    return np.sum(s > tol, axis=-1)


# --- what is not there ----------------------------------------------------------------------------


COMPLEX = (
    "eigenvalues of a general matrix are complex, which ndtape does not record; np.linalg.eigh and "
    "eigvalsh take symmetric matrices, np.linalg.svd any"
)
for _name in ("eig", "eigvals"):
    refuse(f"linalg.{_name}", COMPLEX)
