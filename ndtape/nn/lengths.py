"""Sequences of different length in one array: which steps exist, and states that are held."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..record.arrays import as_array, recording
from ..record.core import user_line
from ..trees import flatten, unflatten

Array: TypeAlias = Any
Tree: TypeAlias = Any


def step_mask(lengths: Any, steps: int, batch_first: bool = False) -> Array:
    """Which steps of which sequence exist: booleans (steps, batch), or (steps,) for one length.

    With `batch_first` (batch, steps).  Raises `ShapeError` for a length that is not within
    0 ... steps, `ArgumentError` for lengths that are not whole numbers.

    >>> import ndtape as nt
    >>> nt.nn.step_mask([1, 3], 3, batch_first=True).astype(int).tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    if not hasattr(lengths, "shape"):  # a list, of numbers or of arguments of a traced function
        lengths = as_array(lengths)
        lengths = lengths if lengths.needs_grad else lengths.value
    numbers = np.asarray(lengths.value if recording(lengths) else lengths)
    if recording(lengths) and (numbers == numbers.round()).all():
        numbers = numbers.astype(int)  # traced functions hold whole numbers as floats
    if numbers.dtype.kind not in "iu" or numbers.ndim > 1:
        raise ArgumentError(
            f"lengths must be whole numbers of shape (batch,), or one of them, not {numbers.dtype} "
            f"of shape {numbers.shape} [{user_line()}]"
        )
    if numbers.size and not 0 <= numbers.min() <= numbers.max() <= steps:
        raise ShapeError(
            f"lengths from {numbers.min()} to {numbers.max()} of sequences with {steps} steps "
            f"[{user_line()}]"
        )
    order = np.arange(steps)
    if numbers.ndim == 0:
        return order < lengths
    return order < lengths[:, None] if batch_first else order[:, None] < lengths


def held(active: Array, new: Tree, old: Tree) -> Tree:
    """The new state of the sequences that still run, the old one of the others."""
    after, structure = flatten(new)
    before, own = flatten(old)
    if structure != own:
        raise ArgumentError(
            f"the cell made a state of another structure, {structure}, of {own} [{user_line()}]"
        )
    return unflatten(
        structure, [where_active(active, a, b) for a, b in zip(after, before, strict=True)]
    )


def where_active(active: Array, new: Array, old: Array) -> Array:
    """`active` is (batch, 1), or (1,) without a batch; arrays may have more axes, or fewer."""
    rank = len(new.shape)
    if rank != len(active.shape):
        active = active.reshape(active.shape[0:1] + (1,) * (rank - 1))
    return np.where(active, new, old)


def active_steps(lengths: Any, steps: int, shapes: list[Any]) -> Array:
    """`step_mask` with an axis more, for sequences of these shapes with their steps in front."""
    mask = step_mask(lengths, steps)
    for shape in shapes:
        if len(mask.shape) == 2 and shape[1:2] != mask.shape[1:]:
            raise ShapeError(
                f"{mask.shape[1]} lengths for xs of shape {shape} with its steps in front "
                f"[{user_line()}]"
            )
        if len(mask.shape) == 1 and len(shape) > 2:
            raise ShapeError(
                f"one length for xs of shape {shape}: give one for each of the {shape[1]} "
                f"sequences [{user_line()}]"
            )
    return mask[..., None]
