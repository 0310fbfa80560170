"""Layers without memory: dense, embedding, dropout.

Dropout comes in two functions.  `dropout_mask` draws, once for each call of a model, and `dropout`
multiplies.  A function that is recorded and replayed (`nt.function`, the body of a scan) must not
draw: it would replay the same numbers.  It takes the mask as an argument, and derivatives, second
ones and recomputed ones included, see one and the same mask.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..record.arrays import recording
from ..record.core import user_line
from .initialisers import Initialiser, generator, glorot_uniform

Array: TypeAlias = Any
Params: TypeAlias = dict[str, Any]


def dense_init(
    rng: np.random.Generator,
    inputs: int,
    outputs: int,
    *,
    kernel: Initialiser = glorot_uniform,
    dtype: Any = np.float64,
) -> Params:
    """Weights of `dense`: W (inputs, outputs), drawn by `kernel`, and b (outputs,), zeros.

    >>> import numpy as np, ndtape as nt
    >>> params = nt.nn.dense_init(np.random.default_rng(0), 3, 2, kernel=nt.nn.he_normal)
    >>> params["W"].shape, params["b"].shape
    ((3, 2), (2,))
    """
    return {
        "W": np.asarray(kernel(rng, (inputs, outputs), dtype)),
        "b": np.zeros(outputs, dtype),
    }


def dense(params: Params, x: Array) -> Array:
    """x @ W + b for x of shape (..., inputs).

    Raises `ShapeError` where shapes do not fit.

    >>> import numpy as np, ndtape as nt
    >>> nt.nn.dense({"W": np.ones((3, 2)), "b": np.array([0.0, 1.0])}, np.ones((4, 3)))[0].tolist()
    [3.0, 4.0]
    """
    x = x if hasattr(x, "shape") else np.asarray(x)
    W, b = params["W"], params["b"]
    if W.shape != (*x.shape[-1:], *b.shape[-1:]) or len(b.shape) != 1:
        raise ShapeError(
            f"dense: x of shape {x.shape}, params['W'] of shape {W.shape} and params['b'] of shape "
            f"{b.shape} do not fit: they are (..., inputs), (inputs, outputs), (outputs,) "
            f"[{user_line()}]"
        )
    return x @ W + b


def embedding_init(
    rng: np.random.Generator,
    symbols: int,
    size: int,
    *,
    scale: float = 1.0,
    dtype: Any = np.float64,
) -> Params:
    """Weights of `embedding`: W (symbols, size), normal with the standard deviation `scale`.

    >>> import numpy as np, ndtape as nt
    >>> nt.nn.embedding_init(np.random.default_rng(0), 5, 2)["W"].shape
    (5, 2)
    """
    rng = generator(rng, "embedding_init")
    return {"W": (scale * rng.standard_normal((symbols, size))).astype(dtype)}


def embedding(params: Params, ids: Array) -> Array:
    """The rows of W that whole numbers of any shape name: ids.shape + (size,).

    It is the product of one-hot rows with W, without the zeros; a row that is named twice gets both
    derivatives.

    Raises `ArgumentError` for ids that are no whole numbers, `ShapeError` for one that is out of
    range (NumPy would count negative ones from the end).

    >>> import numpy as np, ndtape as nt
    >>> params = {"W": np.array([[1.0, 2.0], [3.0, 4.0]])}
    >>> nt.nn.embedding(params, [1, 0, 1]).tolist()
    [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    """
    W = params["W"]
    if not recording(ids):
        ids = np.asarray(ids)
    numbers = np.asarray(ids.value if recording(ids) else ids)
    if numbers.dtype.kind not in "iu":
        raise ArgumentError(f"embedding: ids are {numbers.dtype}, no integers [{user_line()}]")
    wrong = (numbers < 0) | (numbers >= W.shape[0])
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise ShapeError(
            f"embedding: id {numbers[place]} at {place} is out of range for {W.shape[0]} symbols "
            f"[{user_line()}]"
        )
    if recording(ids):  # a replay may bring other numbers: those must not count from the end
        ids = np.where(np.logical_and(ids >= 0, ids < W.shape[0]), ids, -(2**53))
    return W[ids]


def dropout_mask(
    rng: np.random.Generator, shape: Any, rate: float, dtype: Any = np.float64
) -> Array:
    """Zeros with the probability `rate`, else 1 / (1 - rate), so that the mean is 1.

    Raises `ArgumentError` unless 0 <= rate < 1.

    >>> import numpy as np, ndtape as nt
    >>> nt.nn.dropout_mask(np.random.default_rng(0), 6, rate=0.5).tolist()
    [2.0, 0.0, 0.0, 0.0, 2.0, 2.0]

    Source: N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, Dropout, JMLR
    15 (2014); one mask for all steps: Y. Gal, Z. Ghahramani, A theoretically grounded application
    of dropout in recurrent neural networks, NeurIPS 2016.
    """
    if not 0 <= rate < 1:
        raise ArgumentError(
            f"dropout_mask: rate must be within 0 <= rate < 1, not {rate!r} [{user_line()}]"
        )
    kept = generator(rng, "dropout_mask").random(shape) >= rate
    return np.asarray(kept / (1 - rate), dtype)


def dropout(x: Array, mask: Array) -> Array:
    """x * mask, with a mask from `dropout_mask` that broadcasts to the shape of x; None: x itself.

    With None a model does without, for evaluation, and its code stays the same.

    Raises `ShapeError` where the result would not have the shape of x.

    >>> import numpy as np, ndtape as nt
    >>> nt.nn.dropout(np.array([1.0, 2.0]), np.array([2.0, 0.0])).tolist()
    [2.0, 0.0]
    """
    if mask is None:
        return x
    x = x if hasattr(x, "shape") else np.asarray(x)
    shape = np.shape(mask) if not hasattr(mask, "shape") else mask.shape
    try:
        fits = np.broadcast_shapes(x.shape, shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"dropout: a mask of shape {shape} does not fit x of shape {x.shape} [{user_line()}]"
        )
    return x * mask
