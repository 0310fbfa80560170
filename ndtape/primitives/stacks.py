"""Stacks of matrices, shape (..., m, n): what the rules of linear algebra share.

Everything here runs on plain arrays and on recording ones, except where the name says `plain`.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, NoReturn

import numpy as np

from ..errors import (
    DegenerateWarning,
    MatrixError,
    MatrixShapeError,
    SingularMatrixError,
)
from ..record.arrays import Array, as_array, recording, view
from ..record.core import user_line

# A matrix this far from its transpose, relative to its largest entry, is not a symmetric one that
# rounding or a finite difference has touched but one with a triangle filled in only.
ASYMMETRY = 1e-3


def operand(x: Any) -> Any:
    """`x` as an array: recording where it is, or where a list holds something recording."""
    if isinstance(x, (Array, np.ndarray)):
        return x
    return as_array(x) if _holds_recording(x) else np.asarray(x)


def _holds_recording(x: Any) -> bool:
    return any(map(_holds_recording, x)) if isinstance(x, (list, tuple)) else recording(x)


def with_shape(result: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A result with its axes put back; it may have been a scalar on the way, hence float64."""
    z = np.reshape(result, shape)
    if isinstance(z, Array) and dtype == np.float32 and z.dtype == np.float64:
        return view(z.storage, z.offset, z.shape, z.strides, np.dtype(np.float32))
    return z


def transpose(a: Any) -> Any:
    return np.swapaxes(a, -1, -2)


def symmetric(a: Any) -> Any:
    """The symmetric part of each matrix; of a symmetric matrix the matrix itself, bit for bit."""
    return 0.5 * (a + transpose(a))


def mask(like: Any, entries: Any) -> Any:
    """A constant array of the dtype of `like`, so that float32 stays float32."""
    return np.asarray(entries, dtype=like.dtype)


@cache
def _triangle(shape: tuple[int, int], k: int, dtype: Any) -> Any:
    return np.tri(*shape, k, dtype=dtype)


def below(a: Any, k: int = 0) -> Any:
    """The entries on and below the k-th diagonal, zeros above: np.tril at a tenth of its cost."""
    return a * _triangle(tuple(a.shape[-2:]), k, a.dtype)


def above(a: Any, k: int = 0) -> Any:
    """The entries on and above the k-th diagonal, zeros below."""
    return a * (1 - _triangle(tuple(a.shape[-2:]), k - 1, a.dtype))


def diagonal(a: Any) -> Any:
    return np.diagonal(a, axis1=-2, axis2=-1)


def entry(x: Any, *places: int) -> Any:
    """The entry at the last axes, for each of a stack; a scalar where there is no stack."""
    return x[places] if x.ndim == len(places) else x[(..., *places)]


def row(x: Any) -> Any:
    """(..., n) as (..., 1, n): scales the columns of a matrix."""
    return x[..., None, :]


def column(x: Any) -> Any:
    """(..., n) as (..., n, 1): scales the rows of a matrix."""
    return x[..., :, None]


def inner(a: Any, b: Any) -> Any:
    """The sum of products of entries of each pair of matrices, shape (..., 1, 1)."""
    return np.sum(a * b, axis=(-2, -1), keepdims=True)


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum `g` over the axes along which an operand of this shape was broadcast."""
    if tuple(g.shape) == tuple(shape):
        return g
    extra = g.ndim - len(shape)
    stretched = [extra + i for i, n in enumerate(shape) if n == 1 and g.shape[extra + i] != 1]
    return np.reshape(np.sum(g, axis=(*range(extra), *stretched), keepdims=True), shape)


# --- shapes ---------------------------------------------------------------------------------------


def misfit(message: str) -> NoReturn:
    """Raise the error of a shape, with the user's line."""
    raise MatrixShapeError(f"{message} [{user_line()}]")


def matrices(name: str, a: Any) -> Any:
    """`a` as an array of two axes or more."""
    a = operand(a)
    if a.ndim < 2:
        misfit(f"{name} takes a matrix or a stack of matrices, not an array of shape {a.shape}")
    return a


def squares(name: str, a: Any) -> Any:
    """`a` as a stack of square matrices."""
    a = matrices(name, a)
    if a.shape[-1] != a.shape[-2]:
        misfit(f"{name} takes square matrices in the last two axes, not shape {a.shape}")
    return a


def right_side(name: str, a: Any, b: Any) -> tuple[Any, bool]:
    """The right-hand side of a system as matrices, and whether it was one vector.

    As in NumPy 2: one axis is a vector, two or more are a stack of matrices, and the stacks
    broadcast.
    """
    b = operand(b)
    vector = b.ndim == 1
    if b.ndim == 0 or b.shape[0 if vector else -2] != a.shape[-2]:
        misfit(
            f"{name}: the right-hand side of shape {b.shape} does not fit matrices of shape "
            f"{a.shape}; it is a vector of {a.shape[-2]} or matrices of {a.shape[-2]} rows"
        )
    b = b[:, None] if vector else b
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        misfit(f"{name}: the stacks of the shapes {a.shape} and {b.shape} do not broadcast")
    return b, vector


# --- errors of values: plain arrays only ----------------------------------------------------------


def plain_which(bad: Any, a: Any) -> str:
    """Words for the first matrix of the stack `a` at which `bad` is true."""
    size = "×".join(str(n) for n in a.shape[-2:])
    if a.ndim == 2:
        return f"the {size} matrix"
    index = np.argwhere(bad)[0].tolist() if np.any(bad) else []
    return f"matrix {index} of a stack of shape {a.shape[:-2]}, each {size},"


def plain_singular(name: str, a: Any) -> SingularMatrixError:
    """The error of an operation that met a matrix without inverse."""
    which = plain_which(np.linalg.slogdet(a)[0] == 0, a)
    return SingularMatrixError(
        f"{name}: {which} is singular; add a multiple of the identity (jitter) to it, or take "
        "np.linalg.lstsq or np.linalg.pinv, which need no inverse"
    )


def plain_no_convergence(name: str, a: Any) -> MatrixError:
    """The error of an iteration of LAPACK that did not converge: nan or inf, nearly always."""
    bad = ~np.isfinite(a).all(axis=(-2, -1))
    why = "contains nan or inf" if np.any(bad) else "did not converge"
    return MatrixError(f"{name}: {plain_which(bad, a)} {why}; look at the values it is made from")


def plain_symmetrised(name: str, a: Any) -> Any:
    """The symmetric part of matrices that are symmetric up to rounding.

    NumPy reads one triangle.  Its derivative would live in that triangle alone, which no user
    expects; the symmetric part gives a symmetric gradient that finite differences of the function
    confirm.
    """
    if np.array_equal(a, transpose(a)):
        return a
    gap = np.abs(a - transpose(a)).max(axis=(-2, -1), initial=0.0)
    bad = gap > ASYMMETRY * np.abs(a).max(axis=(-2, -1), initial=0.0)
    if np.any(bad):
        raise MatrixError(
            f"{name}: {plain_which(bad, a)} is not symmetric; ndtape takes the symmetric part of "
            "what it is given, NumPy one triangle: write np.tril(a) + np.swapaxes(np.tril(a, -1), "
            "-1, -2) for the lower one"
        )
    return symmetric(a)


def warn_degenerate(name: str, poles: Any, cotangent: Any) -> None:
    """Warn where a cotangent reaches vectors of equal values; in sweeps, on plain numbers."""
    if not isinstance(cotangent, np.ndarray) or not cotangent.size:
        return
    pairs = (poles == 0) & ~np.eye(poles.shape[-1], dtype=bool)
    if pairs.any() and np.abs(cotangent[pairs]).max() > 1e-10 * np.abs(cotangent).max():
        bad = pairs.any(axis=(-2, -1))
        warnings.warn(
            f"{name}: {plain_which(bad, cotangent)} has equal values, whose vectors it does not "
            "determine; the derivative along such a pair is taken as 0, which is right for "
            "projections and the polar factor, and lacks terms for functions of the matrix written "
            "as V g(λ) Vᵀ: see ndtape.primitives.spectra",
            DegenerateWarning,
            stacklevel=2,
        )
