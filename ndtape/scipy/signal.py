"""scipy.signal with derivatives: convolutions and correlations of any number of axes.

No window is copied: a convolution is one contraction over a strided view of the padded signal.
`method` is of no consequence; for long kernels SciPy's Fourier transforms are faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..numpy.arguments import contains_recording
from ..numpy.convolution import convolve2d as _recorded_2d
from ..primitives.stacks import operand
from ..record.core import user_line
from .own import beside, scipys

scipy_signal = beside("signal")
Axes = Sequence[Sequence[int]]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def convolve(
    in1: Any, in2: Any, mode: str = "full", method: str = "auto", *,
    axes: Axes | None = None, dot_axes: Axes = ((), ()),
) -> Any:  # fmt: skip
    """Convolution of two arrays of as many axes, as `scipy.signal.convolve`.

    `axes` and `dot_axes` are those of HIPS autograd's function: pairs of lists of axes of in1 and
    in2, along which they are convolved (by default all), and over which products are summed.  The
    axes that are in neither stand first in the result: those of in1, then of in2.

    Raises `ShapeError` where neither fits into the other for mode="valid".

    >>> convolve([1.0, 2.0, 3.0], [1.0, -1.0], mode="valid").tolist()
    [1.0, 1.0]
    """
    if axes is None and not contains_recording([in1, in2]):
        return scipys("signal", "convolve")(in1, in2, mode, method)
    if mode not in ("full", "same", "valid"):
        raise ArgumentError(
            f"convolve: mode is 'full', 'same' or 'valid', not {mode!r} [{user_line()}]"
        )
    x, kernel = operand(in1), operand(in2)
    if axes is None:
        if x.ndim != kernel.ndim:
            raise ShapeError(
                f"convolve: shapes {x.shape} and {kernel.shape} differ in their number of axes "
                f"[{user_line()}]"
            )
        axes = (range(x.ndim), range(x.ndim))
    sides = _Side(x, axes[0], dot_axes[0]), _Side(kernel, axes[1], dot_axes[1])
    return _convolved(*sides, mode)


class _Side:
    """An operand with its axes in order: those of its own, summed over, convolved."""

    def __init__(self, x: Any, axes: Sequence[int], summed: Sequence[int]) -> None:
        own = [i for i in range(x.ndim) if i not in axes and i not in summed]
        self.x = np.transpose(x, (*own, *summed, *axes))
        self.own, self.summed, self.axes = len(own), len(summed), len(axes)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.x.shape[self.x.ndim - self.axes :])


def _convolved(left: _Side, right: _Side, mode: str) -> Any:
    pairs = list(zip(left.sizes, right.sizes, strict=True))
    swapped = mode == "valid" and any(m < n for m, n in pairs)
    if swapped:
        if any(m > n for m, n in pairs):
            raise ShapeError(
                f"convolve: sizes {left.sizes} and {right.sizes}; for mode='valid' one must be the "
                f"larger along every axis [{user_line()}]"
            )
        pairs = [(n, m) for m, n in pairs]
    signal, kernel = (right, left) if swapped else (left, right)
    borders = [_borders(mode, n) for _, n in pairs]
    x = np.pad(signal.x, [(0, 0)] * (signal.own + signal.summed) + borders)
    conv = tuple(range(x.ndim - signal.axes, x.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.sizes, axis=conv)
    reversed_: Any = (..., *[slice(None, None, -1)] * kernel.axes)
    # Letters: own axes, sums, places and offsets.
    letters = iter(LETTERS)
    of = {
        name: "".join(next(letters) for _ in range(count))
        for name, count in (
            ("signal", signal.own), ("kernel", kernel.own), ("sum", signal.summed),
            ("place", signal.axes), ("offset", signal.axes),
        )
    }  # fmt: skip
    first, second = ("kernel", "signal") if swapped else ("signal", "kernel")
    return np.einsum(
        f"{of['signal']}{of['sum']}{of['place']}{of['offset']},"
        f"{of['kernel']}{of['sum']}{of['offset']}->{of[first]}{of[second]}{of['place']}",
        windows,
        kernel.x[reversed_],
    )


def _borders(mode: str, n: int) -> tuple[int, int]:
    """Zeros before and after the signal, for a kernel of n."""
    if mode == "valid":
        return 0, 0
    return (n - 1, n - 1) if mode == "full" else (n - 1 - (n - 1) // 2, (n - 1) // 2)


@scipy_signal
def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    """`convolve`, by sums of products where it is recorded."""
    if axes is None:
        return convolve(in1, in2, mode)
    raise ArgumentError(f"fftconvolve of recording arrays: leave axes out [{user_line()}]")


@scipy_signal
def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """Correlation: the convolution with the reversed second operand."""
    in2 = operand(in2)
    return convolve(in1, in2[(slice(None, None, -1),) * in2.ndim], mode)


@scipy_signal
def convolve2d(
    in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0
) -> Any:
    """Convolution of matrices, with a border that is filled, wrapped or mirrored."""
    return _recorded_2d(in1, in2, mode, boundary, fillvalue)


def __getattr__(name: str) -> Any:
    """Every other name is SciPy's own, for plain arrays."""
    return scipys("signal", name)
