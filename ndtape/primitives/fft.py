"""Discrete Fourier transforms as pairs of real arrays: `nt.fft`.

ndtape records real numbers only, so a spectrum is the pair (real part, imaginary part).  The
transforms are linear; the rule of each is its transpose, which is the opposite transform with the
opposite normalisation.
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
import numpy.fft  # loaded only when asked for, and the registry looks it up below

from ..errors import ArgumentError
from ..numpy.registry import function, refuse
from ..record.calls import Primitive, call
from ..record.core import user_line
from .stacks import mask, operand

__all__ = ["fft_pair", "fftshift", "ifft_pair", "ifftshift", "irfft_pair", "rfft_pair"]

# The transpose of a transform is unscaled where its inverse is scaled, and the other way round.
TRANSPOSED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _parts(z: Any) -> tuple[Any, Any]:
    return np.ascontiguousarray(z.real), np.ascontiguousarray(z.imag)


def _joined(re: Any, im: Any) -> Any:
    z = np.empty(re.shape, np.result_type(re, im, np.complex64))
    z.real, z.imag = re, im
    return z


def _ends(like: Any, n: int, axis: int, at_ends: float, inside: float) -> Any:
    """Weights of the half spectrum of n numbers: all frequencies but 0 and n/2 stand for two."""
    weights = np.full(n // 2 + 1, inside)
    weights[0] = at_ends
    if n % 2 == 0:
        weights[-1] = at_ends
    return mask(like, weights.reshape([-1 if i == axis else 1 for i in range(like.ndim)]))


# --- complex to complex ---------------------------------------------------------------------------


def _fft_value(re: Any, im: Any, axis: int, norm: Any) -> Any:
    return _parts(np.fft.fft(_joined(re, im), axis=axis, norm=norm))


def _ifft_value(re: Any, im: Any, axis: int, norm: Any) -> Any:
    return _parts(np.fft.ifft(_joined(re, im), axis=axis, norm=norm))


def _fft_vjp(w: Any, z: Any, re: Any, im: Any, axis: int, norm: Any) -> tuple[Any, ...]:
    return tuple(call(IFFT, {"axis": axis, "norm": TRANSPOSED[norm]}, *w))


def _ifft_vjp(w: Any, z: Any, re: Any, im: Any, axis: int, norm: Any) -> tuple[Any, ...]:
    return tuple(call(FFT, {"axis": axis, "norm": TRANSPOSED[norm]}, *w))


def _fft_jvp(tangents: Any, z: Any, re: Any, im: Any, axis: int, norm: Any) -> Any:
    return call(FFT, {"axis": axis, "norm": norm}, *tangents)


def _ifft_jvp(tangents: Any, z: Any, re: Any, im: Any, axis: int, norm: Any) -> Any:
    return call(IFFT, {"axis": axis, "norm": norm}, *tangents)


FFT = Primitive("fft_pair", _fft_value, _fft_vjp, _fft_jvp, doc="Fourier transform")
IFFT = Primitive("ifft_pair", _ifft_value, _ifft_vjp, _ifft_jvp, doc="inverse Fourier transform")


# --- real to half spectrum and back ---------------------------------------------------------------


def _rfft_value(x: Any, n: int, axis: int, norm: Any) -> Any:
    return _parts(np.fft.rfft(x, axis=axis, norm=norm))


def _rfft_vjp(w: Any, z: Any, x: Any, n: int, axis: int, norm: Any) -> tuple[Any, ...]:
    ends = _ends(w[0], n, axis, 1.0, 0.5)
    params = {"n": n, "axis": axis, "norm": TRANSPOSED[norm]}
    return (call(IRFFT, params, w[0] * ends, w[1] * ends),)


def _rfft_jvp(tangents: Any, z: Any, x: Any, n: int, axis: int, norm: Any) -> Any:
    return call(RFFT, {"n": n, "axis": axis, "norm": norm}, tangents[0])


def _irfft_value(re: Any, im: Any, n: int, axis: int, norm: Any) -> Any:
    return np.fft.irfft(_joined(re, im), n, axis=axis, norm=norm)


def _irfft_vjp(w: Any, z: Any, re: Any, im: Any, n: int, axis: int, norm: Any) -> tuple[Any, ...]:
    gr, gi = call(RFFT, {"n": n, "axis": axis, "norm": TRANSPOSED[norm]}, w)
    ends = _ends(gr, n, axis, 1.0, 2.0)
    # The imaginary parts of the frequencies 0 and n/2 are not read.
    return gr * ends, gi * ends


def _irfft_jvp(tangents: Any, z: Any, re: Any, im: Any, n: int, axis: int, norm: Any) -> Any:
    return call(IRFFT, {"n": n, "axis": axis, "norm": norm}, *tangents)


RFFT = Primitive("rfft_pair", _rfft_value, _rfft_vjp, _rfft_jvp, doc="transform of real numbers")
IRFFT = Primitive("irfft_pair", _irfft_value, _irfft_vjp, _irfft_jvp, doc="inverse of rfft_pair")


# --- for users ------------------------------------------------------------------------------------


def _checked(name: str, x: Any, axis: int, norm: Any) -> tuple[int, Any]:
    norm = "backward" if norm is None else norm
    if norm not in TRANSPOSED:
        raise ArgumentError(f"{name}: norm is one of {list(TRANSPOSED)}, not {norm!r}")
    if not -x.ndim <= axis < x.ndim:
        raise ArgumentError(f"{name}: axis {axis} of an array of shape {x.shape} [{user_line()}]")
    return axis % x.ndim, norm


def _length(name: str, n: Any, default: int) -> int:
    points = default if n is None else int(index(n))
    if points < 1:
        raise ArgumentError(f"{name}: a transform of {points} points; at least one is needed")
    return points


def _resized(x: Any, n: int, axis: int) -> Any:
    """The first n entries along the axis, with zeros where there are fewer."""
    have = x.shape[axis]
    if have >= n:
        return x if have == n else x[(slice(None),) * axis + (slice(n),)]
    return np.pad(x, [(0, n - have if i == axis else 0) for i in range(x.ndim)])


def _pair(name: str, re: Any, im: Any) -> tuple[Any, Any]:
    re, im = operand(re), operand(im)
    if tuple(re.shape) != tuple(im.shape):
        raise ArgumentError(
            f"{name}: real part of shape {re.shape}, imaginary part of shape {im.shape} "
            f"[{user_line()}]"
        )
    return re, im


@function("fft.rfft_pair")
def rfft_pair(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """Real and imaginary part of `np.fft.rfft(x, n, axis, norm)`: n // 2 + 1 frequencies each.

    >>> import numpy as np
    >>> rfft_pair(np.array([1.0, 2.0, 0.0, 0.0]))
    (array([ 3.,  1., -1.]), array([ 0., -2.,  0.]))
    """
    x = operand(x)
    axis, norm = _checked("rfft_pair", x, axis, norm)
    n = _length("rfft_pair", n, x.shape[axis])
    return call(RFFT, {"n": n, "axis": axis, "norm": norm}, _resized(x, n, axis))


@function("fft.irfft_pair")
def irfft_pair(
    re: Any, im: Any, n: int | None = None, axis: int = -1, norm: str | None = None
) -> Any:
    """The real array `np.fft.irfft(re + 1j * im, n, axis, norm)`: the inverse of `rfft_pair`.

    Give `n` where it is odd.  The imaginary parts of the frequencies 0 and n/2 are not read.

    >>> import numpy as np
    >>> irfft_pair(*rfft_pair(np.array([1.0, 2.0, 5.0])), n=3).round(12)
    array([1., 2., 5.])
    """
    re, im = _pair("irfft_pair", re, im)
    axis, norm = _checked("irfft_pair", re, axis, norm)
    n = _length("irfft_pair", n, 2 * (re.shape[axis] - 1))
    half = n // 2 + 1
    params = {"n": n, "axis": axis, "norm": norm}
    return call(IRFFT, params, _resized(re, half, axis), _resized(im, half, axis))


@function("fft.fft_pair")
def fft_pair(
    re: Any, im: Any, n: int | None = None, axis: int = -1, norm: str | None = None
) -> Any:
    """Real and imaginary part of `np.fft.fft(re + 1j * im, n, axis, norm)`.

    >>> import numpy as np
    >>> fft_pair(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    (array([1., 1.]), array([ 1., -1.]))
    """
    return _transformed("fft_pair", FFT, re, im, n, axis, norm)


@function("fft.ifft_pair")
def ifft_pair(
    re: Any, im: Any, n: int | None = None, axis: int = -1, norm: str | None = None
) -> Any:
    """Real and imaginary part of `np.fft.ifft(re + 1j * im, n, axis, norm)`.

    >>> import numpy as np
    >>> ifft_pair(np.array([1.0, 1.0]), np.array([1.0, -1.0]))
    (array([1., 0.]), array([0., 1.]))
    """
    return _transformed("ifft_pair", IFFT, re, im, n, axis, norm)


def _transformed(name: str, which: Any, re: Any, im: Any, n: Any, axis: int, norm: Any) -> Any:
    re, im = _pair(name, re, im)
    axis, norm = _checked(name, re, axis, norm)
    n = _length(name, n, re.shape[axis])
    return call(which, {"axis": axis, "norm": norm}, _resized(re, n, axis), _resized(im, n, axis))


# --- np.fft ---------------------------------------------------------------------------------------

COMPLEX = "fft ifft rfft irfft hfft ihfft fft2 ifft2 rfft2 irfft2 fftn ifftn rfftn irfftn"

for _name in COMPLEX.split():
    refuse(
        f"fft.{_name}",
        "spectra are complex, and ndtape records real numbers; nt.fft.rfft_pair(x), "
        "irfft_pair(re, im, n), fft_pair(re, im) and ifft_pair(re, im) transform pairs of real "
        "arrays, along one axis each",
    )


@function("fft.fftshift")
def fftshift(x: Any, axes: Any = None) -> Any:
    """Frequency 0 into the middle.

    >>> import numpy as np
    >>> fftshift(np.array([0.0, 1.0, 2.0, -2.0, -1.0]))
    array([-2., -1.,  0.,  1.,  2.])
    """
    return _shifted(operand(x), axes, 1)


@function("fft.ifftshift")
def ifftshift(x: Any, axes: Any = None) -> Any:
    """The inverse of `fftshift`.

    >>> import numpy as np
    >>> ifftshift(np.array([-2.0, -1.0, 0.0, 1.0, 2.0]))
    array([ 0.,  1.,  2., -2., -1.])
    """
    return _shifted(operand(x), axes, -1)


def _shifted(x: Any, axes: Any, sign: int) -> Any:
    axes = tuple(range(x.ndim)) if axes is None else axes if isinstance(axes, tuple) else (axes,)
    return np.roll(x, tuple(sign * (x.shape[i] // 2) for i in axes), axes)
