"""Random first values of weights: functions `(rng, shape)` that give an array.

`rng` is a `numpy.random.Generator`; shapes are (inputs, outputs), as everywhere in `ndtape.nn`.
Numbers are drawn in float64 and then rounded, so that a seed gives the same model in every dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..record.core import user_line

Array: TypeAlias = Any
Shape: TypeAlias = Sequence[int]
Initialiser: TypeAlias = Callable[..., Array]  # (rng, shape) and more that have defaults


def glorot_uniform(
    rng: np.random.Generator, shape: Shape, dtype: Any = np.float64, gain: float = 1.0
) -> Array:
    """Uniform with the variance gain² 2 / (inputs + outputs), for tanh and linear layers.

    Raises `ShapeError` unless `shape` is (inputs, outputs), `ArgumentError` unless rng is a
    generator.

    >>> import numpy as np, ndtape as nt
    >>> W = nt.nn.glorot_uniform(np.random.default_rng(0), (300, 300))
    >>> bool(abs(W).max() <= (6 / 600) ** 0.5), round(float(W.var() * 300), 2)
    (True, 1.0)

    Source: X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural
    networks, AISTATS 2010.
    """
    inputs, outputs = _fans(rng, shape, "glorot_uniform")
    return _uniform(rng, (inputs, outputs), gain * (2 / max(inputs + outputs, 1)) ** 0.5, dtype)


def glorot_normal(
    rng: np.random.Generator, shape: Shape, dtype: Any = np.float64, gain: float = 1.0
) -> Array:
    """Normal with the variance gain² 2 / (inputs + outputs); see `glorot_uniform`."""
    inputs, outputs = _fans(rng, shape, "glorot_normal")
    return _normal(rng, (inputs, outputs), gain * (2 / max(inputs + outputs, 1)) ** 0.5, dtype)


def he_uniform(
    rng: np.random.Generator, shape: Shape, dtype: Any = np.float64, gain: float = 2**0.5
) -> Array:
    """Uniform with the variance gain² / inputs, for relu layers, which lose half of it.

    Raises what `glorot_uniform` raises.

    Source: K. He, X. Zhang, S. Ren, J. Sun, Delving deep into rectifiers, ICCV 2015.
    """
    inputs, outputs = _fans(rng, shape, "he_uniform")
    return _uniform(rng, (inputs, outputs), gain / max(inputs, 1) ** 0.5, dtype)


def he_normal(
    rng: np.random.Generator, shape: Shape, dtype: Any = np.float64, gain: float = 2**0.5
) -> Array:
    """Normal with the variance gain² / inputs; see `he_uniform`.

    >>> import numpy as np, ndtape as nt
    >>> W = nt.nn.he_normal(np.random.default_rng(0), (400, 300))
    >>> round(float(W.var() * 400), 1)
    2.0
    """
    inputs, outputs = _fans(rng, shape, "he_normal")
    return _normal(rng, (inputs, outputs), gain / max(inputs, 1) ** 0.5, dtype)


def orthogonal(
    rng: np.random.Generator, shape: Shape, dtype: Any = np.float64, gain: float = 1.0
) -> Array:
    """gain times a random matrix with orthonormal rows or columns, whichever are fewer.

    Such a matrix keeps the length of a vector, and of its adjoint, over any number of steps.  The
    signs of R's diagonal go into Q, without which QR is not uniform over the orthogonal group.

    Raises what `glorot_uniform` raises.

    >>> import numpy as np, ndtape as nt
    >>> W = nt.nn.orthogonal(np.random.default_rng(0), (3, 3))
    >>> bool(np.allclose(W @ W.T, np.eye(3), atol=1e-14))
    True

    Source: A. M. Saxe, J. L. McClelland, S. Ganguli, Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks, ICLR 2014; F. Mezzadri, How to generate random matrices
    from the classical compact groups, Notices of the AMS 54 (2007).
    """
    inputs, outputs = _fans(rng, shape, "orthogonal")
    tall = (max(inputs, outputs), min(inputs, outputs))
    q, r = np.linalg.qr(rng.standard_normal(tall))
    q *= gain * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(q if inputs >= outputs else q.T, dtype)


def identity(
    rng: np.random.Generator, shape: Shape, dtype: Any = np.float64, gain: float = 1.0
) -> Array:
    """gain on the diagonal and 0 beside it: a relu network that begins by keeping its state.

    Nothing is drawn; `rng` is there because every initialiser takes it.

    >>> import ndtape as nt
    >>> nt.nn.identity(None, (2, 2), gain=0.5).tolist()
    [[0.5, 0.0], [0.0, 0.5]]

    Source: Q. V. Le, N. Jaitly, G. E. Hinton, A simple way to initialize recurrent networks of
    rectified linear units, arXiv:1504.00941.
    """
    return np.asarray(gain * np.eye(*_two(shape, "identity")), dtype)


def side_by_side(
    initialiser: Initialiser, rng: np.random.Generator, shape: tuple[int, int], gates: int,
    dtype: Any,
) -> Array:  # fmt: skip
    """(inputs, gates · outputs): one draw a gate, since each is a layer of its own."""
    return np.concatenate([initialiser(rng, shape, dtype) for _ in range(gates)], axis=1)


def generator(rng: Any, name: str) -> np.random.Generator:
    """rng, which must be one of NumPy's generators: there is no hidden global one."""
    if not isinstance(rng, np.random.Generator):
        raise ArgumentError(
            f"{name} draws from a numpy.random.Generator, such as np.random.default_rng(0), "
            f"not from {type(rng).__name__} [{user_line()}]"
        )
    return rng


def _two(shape: Shape, name: str) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ShapeError(f"{name} makes matrices (inputs, outputs), not {shape} [{user_line()}]")
    return int(shape[0]), int(shape[1])


def _fans(rng: Any, shape: Shape, name: str) -> tuple[int, int]:
    generator(rng, name)
    return _two(shape, name)


def _uniform(rng: np.random.Generator, shape: Shape, deviation: float, dtype: Any) -> Array:
    bound = 3**0.5 * deviation
    return rng.uniform(-bound, bound, tuple(shape)).astype(dtype)


def _normal(rng: np.random.Generator, shape: Shape, deviation: float, dtype: Any) -> Array:
    return (deviation * rng.standard_normal(tuple(shape))).astype(dtype)
