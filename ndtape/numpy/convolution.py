"""Convolutions: windows of the longer operand, which are a view, times the shorter one.

No column of windows is ever copied: a convolution is one contraction over a strided view of the
padded signal.  For long kernels a Fourier transform would be cheaper; these are for small ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..record.arrays import as_array
from ..record.wide import movement
from .arguments import Array, alike, fail, invalid, unsupported
from .joining import pad
from .products import contracted
from .registry import FUNCTIONS, function


def _windows(x: Array, shape: tuple[int, ...]) -> Array:
    """All windows of a shape: (places..., window...)."""
    window = np.lib.stride_tricks.sliding_window_view
    return as_array(movement(lambda i: window(i, shape), x))


def _operands(name: str, a: Any, v: Any, ndim: int) -> list[Array]:
    x, kernel = alike([a, v])
    if ndim == 1:  # NumPy takes scalars as arrays of one element
        x, kernel = as_array(np.atleast_1d(x)), as_array(np.atleast_1d(kernel))
    if x.ndim != ndim or kernel.ndim != ndim:
        fail(f"{name}: shapes {x.shape} and {kernel.shape}; both have {ndim} axes")
    if not (x.size and kernel.size):
        fail(f"{name}: shapes {x.shape} and {kernel.shape}; neither may be empty")
    return [x, kernel]


def _slide(x: Array, kernel: Array, before: int, after: int) -> Any:
    """Sums of x times the kernel, in order, at every place where it fits the padded signal."""
    if before or after:
        x = as_array(pad(x, (before, after)))
    return contracted(_windows(x, kernel.shape), [0, 1], kernel, [1], [0])


def _check(mode: Any, name: str) -> None:
    if mode not in ("full", "same", "valid"):
        invalid(f"{name}: mode is 'full', 'same' or 'valid', not {mode!r}")


def _borders(mode: str, n: int) -> tuple[int, int]:
    """Zeros before and after the signal, for a kernel of n."""
    if mode == "valid":
        return 0, 0
    return (n // 2, n - 1 - n // 2) if mode == "same" else (n - 1, n - 1)


@function("correlate")
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Sums of products of a signal and a shifted kernel (one axis)."""
    _check(mode, "np.correlate")
    x, kernel = _operands("np.correlate", a, v, 1)
    if kernel.size > x.size:
        return correlate(kernel, x, mode)[::-1]
    return _slide(x, kernel, *_borders(mode, kernel.size))


@function("convolve")
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Sums of products of a signal and a shifted, reversed kernel (one axis)."""
    _check(mode, "np.convolve")
    x, kernel = _operands("np.convolve", a, v, 1)
    if kernel.size > x.size:
        x, kernel = kernel, x
    return _slide(x, kernel[::-1], *_borders(mode, kernel.size))


def convolve2d(
    in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0
) -> Any:
    """Two-dimensional convolution, as `scipy.signal.convolve2d`.

    in1 (m, n) and in2 (p, q); the result is (m + p - 1, n + q - 1) for "full", of the shape of in1
    for "same", and where everything overlaps for "valid".  `boundary` is "fill" (with `fillvalue`,
    which may be recording), "wrap" or "symm".  Raises `ArgumentError` where the shapes do not fit.

    >>> import ndtape as nt
    >>> x = nt.var([[1.0, 2.0], [3.0, 4.0]])
    >>> nt.numpy.convolve2d(x, [[1.0, -1.0]], "valid").tolist()
    [[1.0], [1.0]]
    """
    _check(mode, "convolve2d")
    x, kernel = _operands("convolve2d", in1, in2, 2)
    (m, n), (p, q) = x.shape, kernel.shape
    if mode == "valid":
        if p >= m and q >= n and (p > m or q > n):
            return convolve2d(kernel, x, mode)
        if p > m or q > n:
            fail(f"convolve2d: shapes {x.shape} and {kernel.shape}; neither fits into the other")
    else:
        x = _framed(x, (p - 1, q - 1), boundary, fillvalue)
    z = contracted(_windows(x, (p, q)), [0, 1, 2, 3], kernel[::-1, ::-1], [2, 3], [0, 1])
    if mode == "same":
        top, left = (p - 1) // 2, (q - 1) // 2
        return z[top : top + m, left : left + n]
    return z


def _framed(x: Array, width: tuple[int, int], boundary: str, fillvalue: Any) -> Array:
    modes = {"fill": "constant", "wrap": "wrap", "symm": "symmetric"}
    if boundary not in modes:
        unsupported("convolve2d", boundary=boundary)
    options = {"constant_values": fillvalue} if boundary == "fill" else {}
    widths = [(w, w) for w in width]
    return as_array(pad(x, widths, modes[boundary], **options))


FUNCTIONS["convolve2d"] = convolve2d  # SciPy's own does not ask its operands: only in nt.numpy
