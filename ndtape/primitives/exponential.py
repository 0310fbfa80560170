"""The matrix exponential and its Fréchet derivatives.

The derivative L(a, e) of expm at a along e is the upper right block of expm([[a, e], [0, a]]) (C.
Van Loan 1978; R. Mathias 1996), and so is L's own derivative, of matrices twice the size: no order
ends. A. Al-Mohy and N. Higham, "Computing the Fréchet derivative of the matrix exponential" (2009),
compute L three times faster than the block does, one matrix at a time; for the small matrices of a
tape the block, a single call for a whole stack, is the faster one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..numpy.registry import function
from ..record.calls import Primitive, call
from .stacks import squares, transpose


def _expm_value(a: Any) -> Any:
    from scipy.linalg import expm as scipy_expm

    return scipy_expm(a) if a.size else a


def _block(a: Any, e: Any) -> Any:
    """[[a, e], [0, a]]"""
    top = np.concatenate([a, e], axis=-1)
    return np.concatenate([top, np.concatenate([np.zeros_like(a), a], axis=-1)], axis=-2)


def _frechet_value(a: Any, e: Any) -> Any:
    n = a.shape[-1]
    # L is linear in e: a direction no larger than a adds nothing to the squarings that expm needs.
    size = np.abs(e).max(axis=(-2, -1), keepdims=True, initial=0.0)
    size = np.where((size > 0) & np.isfinite(size), size, 1.0)
    reach = np.abs(a).max(axis=(-2, -1), keepdims=True, initial=0.0)
    scale = np.where((reach > 0) & np.isfinite(reach), reach, 1.0) / size
    return _expm_value(_block(a, e * scale))[..., :n, n:] / scale


def _frechet_vjp(w: Any, z: Any, a: Any, e: Any) -> tuple[Any, ...]:
    at, n = transpose(a), a.shape[-1]
    zero = np.zeros_like(w)
    twice = np.concatenate(
        [np.concatenate([w, zero], axis=-1), np.concatenate([zero, w], axis=-1)], axis=-2
    )
    return expm_frechet(_block(at, transpose(e)), twice)[..., :n, n:], expm_frechet(at, w)


def _frechet_jvp(tangents: Any, z: Any, a: Any, e: Any) -> Any:
    ta, te = tangents
    # The derivative of the block [[a, e], [0, a]] is the block of the derivatives.
    return expm_frechet(_block(a, e), _block(ta, te))[..., : a.shape[-1], a.shape[-1] :]


def _expm_vjp(w: Any, z: Any, a: Any) -> tuple[Any, ...]:
    return (expm_frechet(transpose(a), w),)


def _expm_jvp(tangents: Any, z: Any, a: Any) -> Any:
    return expm_frechet(a, tangents[0])


EXPM = Primitive("expm", _expm_value, _expm_vjp, _expm_jvp, doc="matrix exponential")
FRECHET = Primitive(
    "expm_frechet",
    _frechet_value,
    _frechet_vjp,
    _frechet_jvp,
    doc="derivative of expm at a along e",
)


@function("linalg.expm")
def expm(a: Any) -> Any:
    """The exponential of each matrix of a stack (..., n, n), as `scipy.linalg.expm`.

    >>> import numpy as np
    >>> expm(np.array([[0.0, 1.0], [0.0, 0.0]]))
    array([[1., 1.],
           [0., 1.]])
    """
    return call(EXPM, {}, squares("expm", a))


@function("linalg.expm_frechet")
def expm_frechet(a: Any, e: Any) -> Any:
    """The derivative of expm at `a` in the direction `e`, both (..., n, n): a matrix of that shape.

    >>> import numpy as np
    >>> expm_frechet(np.zeros((1, 1)), np.ones((1, 1)))
    array([[1.]])
    """
    return call(FRECHET, {}, squares("expm_frechet", a), squares("expm_frechet", e))
