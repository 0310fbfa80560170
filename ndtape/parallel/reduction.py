"""Adding up: sums over shards as a binary tree that the number of shards alone decides.

Node i of level k stands for shards i 2**k up to (i + 1) 2**k, as far as there are so many.  A run
of shards that begins at a multiple of its length, a power of two, is such a node: a worker adds it
up by itself, and how many shards that are changes no bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError
from ..trees import flatten, text, unflatten


class Partial(NamedTuple):
    """The sum over some shards: the leaves of a tree, its structure, and what came along."""

    leaves: list[Any]
    structure: Any
    aux: list[Any]  # one entry a shard, in their order

    @property
    def tree(self) -> Any:
        return unflatten(self.structure, self.leaves)


def partial_of(tree: Any, aux: list[Any]) -> Partial:
    """The sum over one shard."""
    leaves, structure = flatten(tree)
    return Partial(leaves, structure, aux)


def added(left: Partial, right: Partial) -> Partial:
    """The sum of two; raises `ArgumentError` where their trees are not alike."""
    if left.structure != right.structure:
        raise ArgumentError(
            f"shards gave trees of two structures, {text(left.structure)} and "
            f"{text(right.structure)}: they cannot be added"
        )
    leaves = []
    for x, y in zip(left.leaves, right.leaves, strict=True):
        if np.shape(x) != np.shape(y):
            raise ArgumentError(
                f"shards gave arrays of the shapes {np.shape(x)} and {np.shape(y)}: they cannot "
                "be added"
            )
        leaves.append(x + y)
    return Partial(leaves, left.structure, left.aux + right.aux)


class Sum:
    """The sum over `count` shards, whose parts come in any order."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.waiting: dict[tuple[int, int], Partial] = {}

    def add(self, first: int, part: Partial, level: int = 0) -> None:
        """Enter the sum over the shards `first` up to `first + 2**level`."""
        i = first >> level
        while 1 << level < self.count:
            sibling = self.waiting.pop((level, i ^ 1), None)
            if sibling is not None:
                part = added(sibling, part) if i & 1 else added(part, sibling)
            elif i & 1 or (i + 1) << level < self.count:  # the other one is still to come
                self.waiting[level, i] = part
                return
            level, i = level + 1, i >> 1
        self.waiting[level, i] = part

    def total(self) -> Partial:
        """The whole sum, when all parts are in."""
        (part,) = self.waiting.values()
        return part


def level_of(count: int, workers: int) -> int:
    """The level of the blocks of shards that are sent out: four or more blocks a worker."""
    return max(0, (count // (4 * workers)).bit_length() - 1)
