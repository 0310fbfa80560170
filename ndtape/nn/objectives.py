"""What training needs besides a model: the loss of a sequence, norms of gradients, and clipping."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .. import functions
from ..errors import ArgumentError, NonFiniteError, ShapeError
from ..losses import softmax_cross_entropy
from ..record.arrays import recording
from ..record.core import user_line
from ..trees import flatten, path_text, unflatten
from .lengths import step_mask

Array: TypeAlias = Any
Tree: TypeAlias = Any
Loss: TypeAlias = Callable[..., Any]


def sequence_loss(
    prediction: Array,
    target: Array,
    lengths: Any = None,
    *,
    loss: Loss = softmax_cross_entropy,
    batch_first: bool = False,
) -> Array:
    """The mean of a loss over all steps that exist.

    `prediction` is (T, ...) or (T, batch, ...), with `batch_first` (batch, T, ...); `loss` is one
    of ndtape's, or any function ``loss(prediction, target, reduction="none")``.  With `lengths`
    (see `unroll`) the steps beyond a sequence's end do not count, neither in the sum nor in the
    number it is divided by, whatever prediction and target hold there.  Every step has the same
    weight: long sequences weigh more than short ones.

    Raises `ShapeError` where shapes do not fit, `ArgumentError` where no step is left.

    >>> import numpy as np, ndtape as nt
    >>> logits = np.zeros((3, 2, 5))  # three steps, two sequences, five classes
    >>> target = np.array([[0, 1], [4, 2], [-1, 3]])  # -1 pads the first sequence
    >>> round(float(nt.nn.sequence_loss(logits, target, [2, 3])), 6)  # log 5
    1.609438
    """
    if lengths is None:
        return np.mean(loss(prediction, target, reduction="none"))
    prediction, target = (x if hasattr(x, "shape") else np.asarray(x) for x in (prediction, target))
    axis = 1 if batch_first else 0
    mask = step_mask(lengths, prediction.shape[axis], batch_first)
    for name, x in (("prediction", prediction), ("target", target)):
        if x.shape[: len(mask.shape)] != mask.shape and (x is prediction or x.shape != ()):
            raise ShapeError(
                f"sequence_loss: {name} of shape {x.shape} for lengths of shape "
                f"{np.shape(lengths) if not recording(lengths) else lengths.shape} and steps along "
                f"axis {axis} [{user_line()}]"
            )
    if target.shape != ():  # padding often holds class numbers that are none, such as -1
        target = np.where(_beside(mask, target), target, 0)
    each = loss(prediction, target, reduction="none")
    count = np.sum(mask) * math.prod(each.shape[len(mask.shape) :])
    if not recording(count) and not count:
        raise ArgumentError(f"sequence_loss: the mean over no steps [{user_line()}]")
    return np.sum(np.where(_beside(mask, each), each, 0.0)) / count


def _beside(mask: Array, x: Array) -> Array:
    """The mask with axes of length 1 for those that x has behind the steps."""
    return mask.reshape(mask.shape + (1,) * (len(x.shape) - len(mask.shape)))


def global_norm(tree: Tree) -> Any:
    """The square root of the sum of all squares in a tree, as of one long vector.

    >>> import numpy as np, ndtape as nt
    >>> nt.nn.global_norm({"W": np.array([[3.0, 0.0]]), "b": 4.0})
    5.0
    """
    leaves, _ = flatten(tree)
    if any(recording(x) for x in leaves):
        return functions.sqrt(sum(np.sum(x * x) for x in leaves))
    # math.hypot neither overflows nor underflows where the norm itself does not
    return math.hypot(*(_norm(x) for x in leaves))


def clip_by_global_norm(grads: Tree, limit: float) -> tuple[Tree, Any]:
    """`(gradients, norm)`: all of them scaled by one factor so that their norm is at most `limit`.

    The norm that comes back is the one before, which is worth a look during training.  Gradients
    whose norm is within the limit stay as they are, and so do dtypes.

    Raises `ArgumentError` unless limit > 0, and `NonFiniteError`, with the name of the entry, where
    a gradient is nan or infinite: no factor helps there, and a step would spoil every parameter.

    >>> import numpy as np, ndtape as nt
    >>> grads, norm = nt.nn.clip_by_global_norm({"W": np.array([3.0, 0.0]), "b": 4.0}, 1.0)
    >>> norm, grads["W"].round(12).tolist(), round(grads["b"], 12)
    (5.0, [0.6, 0.0], 0.8)

    Source: R. Pascanu, T. Mikolov, Y. Bengio, On the difficulty of training recurrent neural
    networks, ICML 2013.
    """
    if not limit > 0:
        raise ArgumentError(
            f"clip_by_global_norm: limit must be positive, not {limit!r} [{user_line()}]"
        )
    leaves, structure = flatten(grads)
    norm = global_norm(grads)
    if recording(norm):
        scale = limit / functions.maximum(norm, float(limit))
    elif not math.isfinite(norm):
        _not_finite(leaves, structure)
        scale = limit / norm
    elif norm <= limit:
        return grads, norm
    else:
        scale = float(limit) / norm
    return unflatten(structure, [x * scale for x in leaves]), norm


def _norm(x: Any) -> float:
    """The norm of one array, scaled by its largest element where squares would overflow."""
    x = np.abs(np.asarray(x, np.float64)).ravel()
    largest = float(x.max(initial=0.0))
    if 1e-150 < largest < 1e150 or not 0 < largest < math.inf:
        return float(np.sqrt(x @ x)) if math.isfinite(largest) else largest
    return largest * float(np.sqrt((x / largest) @ (x / largest)))


def _not_finite(leaves: list[Any], structure: Any) -> None:
    for leaf, path in zip(leaves, structure.paths(), strict=True):
        if not np.all(np.isfinite(leaf)):
            raise NonFiniteError(
                f"clip_by_global_norm: the gradient{path_text(path)} holds nan or infinity; "
                f"tape.check_finite() names the instruction where it began [{user_line()}]"
            )
