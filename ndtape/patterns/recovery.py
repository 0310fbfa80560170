"""From a compressed Hessian to its entries: by themselves, or by substitution.

Each number of a sweep is the sum of the entries of a row whose columns have one colour.  A star
colouring lets each entry, or its mirror image, stand alone in its sum.  In an acyclic one the sums
of two colours form a forest, and entries follow one from another, beginning at the leaves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..run import entry
from ..tape import address_of
from .colouring import transposed


class Sums(NamedTuple):
    """The sums of a compressed symmetric matrix; `number` is that which each entry is part of."""

    rows: np.ndarray  # by sum
    colours: np.ndarray
    number: np.ndarray  # by entry
    counts: np.ndarray  # how many entries each has


def sums_of(rows: np.ndarray, columns: np.ndarray, colours: np.ndarray) -> Sums:
    """What sweeps along colours give.

    >>> sums_of(np.array([0, 1, 1]), np.array([1, 0, 2]), np.array([1, 2, 1])).counts
    array([1, 2])
    """
    width = int(colours.max(initial=0)) + 1
    keys = rows * width + colours[columns]
    found, number, counts = np.unique(keys, return_inverse=True, return_counts=True)
    row, colour = np.divmod(found, width)
    return Sums(row, colour, number, counts)


def mirror_images(ends: np.ndarray, columns: np.ndarray) -> np.ndarray | None:
    """For each entry the one at the mirrored place; None if the matrix is not symmetric."""
    (mirrored_ends, mirrored), order = transposed((ends, columns), len(ends) - 1)
    if not (np.array_equal(mirrored_ends, ends) and np.array_equal(mirrored, columns)):
        return None
    return order


def substituted(sums: Sums, mirror: np.ndarray, numbers: np.ndarray) -> np.ndarray | None:
    """The entries, from one number for each sum; None if they do not follow from it."""
    from . import _colours

    entries = len(mirror)
    if not entries:
        return np.zeros(0)
    which = np.zeros(len(sums.counts), np.int64)
    np.bitwise_xor.at(which, sums.number, np.arange(entries))
    stack = np.zeros(len(sums.counts) + 1, np.int64)
    single = np.flatnonzero(sums.counts == 1)
    stack[: len(single)] = single
    solved, data = np.zeros(1, np.int64), np.zeros(entries)
    columns = {"sums": sums.number, "mirror": mirror, "left": sums.counts.copy(),
               "which": which, "numbers": numbers.copy(), "stack": stack, "data": data,
               "solved": solved}  # fmt: skip
    frame = np.array([address_of(columns[name]) for name in _colours.SUBSTITUTION], np.uint64)
    entry("releasing")(_colours.substitute.address, address_of(frame), 0, len(single))
    diagonal = np.count_nonzero(mirror == np.arange(entries))
    return data if 2 * solved[0] - diagonal == entries else None
