"""Replays of long tapes by a plan: the same as the compiled call, in pieces that let others work.

Between two pieces Python hears Ctrl-C, and inside each other threads run; one of them that comes to
the same plan meanwhile goes the general way, with numbers of its own.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..ops import PLAN, PLAN_LIMIT
from ..run import PIECE_SECONDS, Workspace, entry
from ..tape import address_of

WORD = {name: position for position, name in enumerate(PLAN)}
REFUSED = -1, 0.0


class Pieces:
    """What stands for the entry "replay_flat"; `seconds` is about how long a call takes."""

    def __init__(self, hot: Any, words: np.ndarray, seconds: float) -> None:
        self.work: Workspace = hot.work
        self.lock: threading.Lock = hot.lock
        self.calls: np.ndarray = hot.calls
        self.words = words
        self.pieces = max(int(seconds / PIECE_SECONDS), 1)

    def __call__(self, address: int, x: np.ndarray, out: np.ndarray) -> tuple[int, float]:
        """(status, value of the root): see `_replay_flat` in _jit.py."""
        assert address == address_of(self.words)
        if not self.lock.acquire(blocking=False):
            return REFUSED
        try:
            return self._replayed(x, out)
        finally:
            self.lock.release()

    def word(self, name: str) -> int:
        return int(self.words[WORD[name]])

    def _replayed(self, x: np.ndarray, out: np.ndarray) -> tuple[int, float]:
        if len(x) != self.word("inputs") or len(out) != self.word("count"):
            return REFUSED
        if self.word("runs") >= int(self.words[PLAN_LIMIT]):
            return REFUSED
        self.calls[0] += 1
        v = numbers = self.work.arrays["v"]
        v[: len(x)] = x
        first, known, root = self.word("first"), self.word("known"), self.word("root")
        status = self._sweep("forward", known, self.word("end"))
        if status:
            return status, float(self.calls[0])
        if self.word("reverse"):
            numbers = self.work.arrays["g"]
            numbers[: self.word("slots")] = 0.0
            numbers[root] = 1.0
            status = self._sweep("reverse", known, self.word("top") + 1)
            if status:
                return status, float(self.calls[0])
        out[:] = numbers[first : first + len(out)]
        self.words[WORD["runs"]] += np.uint64(1)
        return 0, float(v[root])

    def _sweep(self, name: str, lo: int, hi: int) -> int:
        """The sweep over lo..hi, forwards or backwards; the status."""
        step = max((hi - lo) // self.pieces, 1)
        starts = range(lo, hi, step)
        for start in reversed(starts) if name == "reverse" else starts:
            end = min(start + step, hi)
            call = entry("releasing")
            status = call(self.word(name), self.word("frame"), start, end)
            if status:
                return int(status)
        return 0
