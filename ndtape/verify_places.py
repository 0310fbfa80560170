"""Where results lie, as the rules of the format ask for it: on a recorded tape, and in code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import BadTapeError
from .ops import WIDE_CODES

Sentence = Callable[[int], str]
AFFINE = WIDE_CODES["affine"]


class Places:
    """Slots in the order of instructions; `out` is where each result begins, and the end."""

    def __init__(self, out: np.ndarray) -> None:
        self.out = out
        self.slots = int(out[-1])

    def late(self, index: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A mask: from `low` to `high` is something that is not written before an instruction."""
        mask: np.ndarray = high >= self.out[index]
        return mask

    def apart(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """A mask: the places from `low` to `high` are not all of one result."""
        span = np.searchsorted(self.out, low, "right")
        mask: np.ndarray = high >= self.out[np.minimum(span, len(self.out) - 1)]
        return mask


class LaidPlaces(Places):
    """Results anywhere, as the column `out` says; a walk may go over several that are neighbours.

    A place may be written more than once; what counts is the first time.
    """

    def __init__(self, out: np.ndarray, sizes: np.ndarray, slots: int) -> None:
        self.out = out.astype(np.int64)
        self.slots = slots
        self.sizes = sizes
        never = len(out)
        self.first = np.full(slots + 1, never)
        self.times = np.zeros(slots, np.int64)
        self.writes(np.arange(len(out)), self.out)

    def writes(self, index: np.ndarray, start: np.ndarray) -> None:
        """Instructions write as many slots as their results have, from `start` on."""
        sizes = self.sizes[index]
        beyond = (start < 0) | (start + sizes > self.slots)
        if beyond.any():
            i = int(index[beyond][0])
            raise BadTapeError(
                f"instruction {i} writes from slot {start[beyond][0]} on; there are {self.slots}"
            )
        whose = np.repeat(np.arange(len(index)), sizes)
        rank = np.arange(len(whose)) - (np.cumsum(sizes) - sizes)[whose]
        slots = start[whose] + rank
        np.minimum.at(self.first, slots, index[whose])
        np.add.at(self.times, slots, 1)

    def late(self, index: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        low, high = (np.clip(x, 0, self.slots - 1).astype(np.int64) for x in (low, high))
        latest = self.first[low]
        wide = np.flatnonzero(high > low)
        if len(wide):
            ranges, which = np.unique(
                np.stack([low[wide], high[wide] + 1], 1), axis=0, return_inverse=True
            )
            latest[wide] = np.maximum.reduceat(self.first, ranges.ravel())[::2][which.ravel()]
        mask: np.ndarray = latest >= index
        return mask

    def apart(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.zeros(len(low), bool)

    def check_once(self) -> None:
        """Raise unless every slot is written once at most."""
        often = np.flatnonzero(self.times > 1)
        if len(often):
            raise BadTapeError(f"slot {often[0]} is written {self.times[often[0]]} times")
