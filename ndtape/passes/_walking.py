"""Compiled walks over instructions: how they are called; the two sweeps that passes need."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _sweeps
from .._jit import Sweep

forward, reach = _sweeps.forward, _sweeps.reach
FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_uint64] * 3)


class Words:
    """Named words for a compiled function: numbers, and addresses of arrays, which stay alive."""

    def __init__(self, names: Sequence[str], **given: Any) -> None:
        self.places = {name: j for j, name in enumerate(names)}
        self.words = np.zeros(len(names), np.uint64)
        self.alive: dict[str, np.ndarray] = {}
        for name, value in given.items():
            self.set(name, value)

    def set(self, name: str, value: Any) -> None:
        """Give a word its value."""
        if isinstance(value, np.ndarray):
            self.alive[name] = value
            value = value.__array_interface__["data"][0]
        self.words[self.places[name]] = value

    def run(self, function: Sweep, lo: int, hi: int) -> int:
        """What the function answers for instructions lo..hi."""
        address = self.words.__array_interface__["data"][0]
        return int(FUNCTION(function.address)(address, lo, hi))

    def __getitem__(self, name: str) -> int:
        return int(self.words[self.places[name]])
