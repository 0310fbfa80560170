"""Trees of numbers as one vector and back, for methods that know only vectors."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .errors import ArgumentError, ShapeError
from .record.arrays import FLOAT32, FLOAT64, Array, as_array, private, recording
from .record.core import user_line
from .record.values import Boolean, Var, as_number
from .trees import flatten, path_text, unflatten


class Part(NamedTuple):
    """Where a leaf lies in the vector, and what it was."""

    start: int
    stop: int
    shape: tuple[int, ...]
    kind: Any  # a dtype for an array, a type for a number


class Unravel:
    """The way back from a vector to a tree: `unravel(flat)`.  Holds no numbers of the tree."""

    def __init__(self, parts: list[Part], structure: Any) -> None:
        self.parts = parts
        self.structure = structure
        self.size = parts[-1].stop if parts else 0

    @property
    def is_trivial(self) -> bool:
        """Whether the tree is the vector itself."""
        return (
            len(self.parts) == 1
            and self.parts[0].shape == (self.size,)
            and self.parts[0].kind == FLOAT64
            and unflatten(self.structure, [self]) is self
        )

    def __call__(self, flat: Any) -> Any:
        """The tree with the numbers of `flat` (n,), plain or recording."""
        x = as_array(flat) if _holds_recording(flat) else np.asarray(flat, np.float64)
        if x.shape != (self.size,):
            raise ShapeError(
                f"unravel takes a vector of shape ({self.size},), not {x.shape} [{user_line()}]"
            )
        return unflatten(self.structure, [_part(x, part) for part in self.parts])

    def __repr__(self) -> str:
        return f"<unravel of {self.size} numbers into {len(self.parts)} leaves>"


def ravel(tree: Any) -> tuple[Any, Unravel]:
    """(flat, unravel): all numbers of a tree as one float64 vector (n,), and the way back.

    Leaves are numbers and arrays, plain or recording, in the order of `jax.tree.leaves`; with a
    recording leaf the vector is a recording array, and gradients flow through both directions.
    `unravel(flat)` gives a tree of the same structure and shapes: float32 arrays and numbers stay
    float32, Python numbers come back as floats.  Whole numbers become floats, too, as they do in
    `nt.grad`: cutting off their decimals on the way back would be silently wrong.  The answer
    shares no memory with the vector.

    Raises `ArgumentError` for a leaf that holds no real numbers (booleans, strings, functions; a
    dataclass field with ``metadata={"static": True}`` is no leaf), and `unravel` raises
    `ShapeError` for a vector of another length.

    >>> import numpy as np, ndtape as nt
    >>> flat, unravel = nt.ravel({"w": np.ones((2, 2)), "b": 0.5})
    >>> flat
    array([0.5, 1. , 1. , 1. , 1. ])
    >>> unravel(2 * flat)["b"]
    1.0
    >>> nt.grad(lambda v: unravel(v * v)["b"])(flat)
    array([1., 0., 0., 0., 0.])
    """
    leaves, structure = flatten(tree)
    parts: list[Part] = []
    pieces: list[Any] = []
    start = 0
    for j, leaf in enumerate(leaves):
        piece, kind = _piece(leaf, structure, j)
        shape = np.shape(leaf) if not isinstance(leaf, Array) else leaf.shape
        stop = start + math.prod(shape)
        parts.append(Part(start, stop, shape, kind))
        pieces.append(piece)
        start = stop
    return _joined(pieces), Unravel(parts, structure)


def _piece(leaf: Any, structure: Any, j: int) -> tuple[Any, Any]:
    """A leaf as a vector, and its kind: a dtype, or the type of a number."""
    if isinstance(leaf, Var) and not isinstance(leaf, Boolean):
        return as_array(leaf).reshape((1,)), float
    if isinstance(leaf, (Array, np.ndarray)) and leaf.dtype.kind in "fiu":
        kind = leaf.dtype if leaf.dtype == FLOAT32 else FLOAT64
        if isinstance(leaf, Array):
            return private(leaf.astype(np.float64).reshape((leaf.size,))), kind
        return leaf.astype(np.float64).ravel(), kind
    if isinstance(leaf, np.float32):
        return np.array([leaf], np.float64), np.float32
    if not isinstance(leaf, (bool, np.bool_, str, bytes, Array, np.ndarray, Boolean)):
        try:
            return np.array([as_number(leaf)], np.float64), float
        except (TypeError, ValueError):
            pass
    what = f"an array of {leaf.dtype}" if hasattr(leaf, "dtype") else f"a {type(leaf).__name__}"
    raise ArgumentError(
        f"a vector holds real numbers: {path_text(structure.paths()[j]) or 'the value'} is {what} "
        f"[{user_line()}]"
    )


def _joined(pieces: list[Any]) -> Any:
    if not pieces:
        return np.zeros(0)
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _holds_recording(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_holds_recording, x))
    return recording(x)


def _part(x: Any, part: Part) -> Any:
    """The leaf from the vector."""
    if not isinstance(part.kind, np.dtype):  # a number
        number = x[part.start]
        return number if recording(number) else part.kind(number)
    piece = x[part.start : part.stop].reshape(part.shape)
    if isinstance(x, Array):
        # Writes stay private, as those into the copy of plain numbers do; nothing is recorded.
        return private(piece if part.kind == FLOAT64 else piece.astype(part.kind))
    return piece.astype(part.kind)
