"""Code as a tape: what workspaces sweep and users print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import nest
from ..errors import ArgumentError
from ..ops import FIRST_WIDE, WIDE_CODES
from ..tape import Tape
from .code import Code, sizes_of


class OptimisedTape(Tape):
    """A tape whose results lie where its code says; nothing can be recorded on it.

    Its `code` says which slots have what was wanted from the recorded tape, and which recorded
    instruction each one stands for.
    """

    __slots__ = ("code", "steps", "_writers")

    def __init__(self, code: Code, recorded: Tape | None = None) -> None:
        columns, count = code.columns, code.length
        super().__init__(max(count, 1))
        self.code = code
        self.steps: list[Any] = []  # what the passes have done, where that was asked for
        self._writers: np.ndarray | None = None
        self.extend_pools(columns)
        chunk = self.chunks[0]
        for name in ("op", "out", "a", "b", "c"):
            chunk.array(name, count)[:] = columns[name]
        self.n = count
        self.origin = code.slots - count
        self.calls = list(code.calls)
        sizes = sizes_of(columns)
        wide = np.flatnonzero(columns["op"] >= FIRST_WIDE)
        self.wide = np.stack([wide, columns["out"][wide], sizes[wide]], 1).tolist()
        self.codes = set(np.unique(columns["op"][wide]).tolist())
        at = columns["c"][columns["op"] == WIDE_CODES["affine"]].astype(np.int64)
        if len(at):  # which call kernels of others
            self.codes |= {WIDE_CODES["dot"]}
            self.codes |= set(np.unique(columns["m"][at + nest.KIND_WORD]).tolist()) - {0}
        self.disarm()
        if recorded is not None:
            self._take_names(recorded)

    def _take_names(self, recorded: Tape) -> None:
        """Names of inputs, which lie where they lay, and the lines of all instructions."""
        end = self.slot_of_index(self.code.inputs)
        self.names = {slot: name for slot, name in recorded.names.items() if slot < end}
        lines = recorded.lines
        if lines is not None:
            self.keep_lines([lines[i] for i in self.code.positions.tolist()])

    @property
    def results(self) -> np.ndarray:
        """The slots of what was wanted, in that order."""
        return self.code.results

    def slot_of_index(self, i: int) -> int:
        out = self.code.columns["out"]
        return int(out[i]) if i < len(out) else self.slots

    def index_of_slot(self, slot: int) -> int:
        """The instruction that writes a slot, the last one where they are shared."""
        if self._writers is None:
            self._writers = self.code.writers()
        return int(self._writers[slot])

    def above(self, slots: Iterable[int]) -> int:
        return max(map(self.index_of_slot, slots)) + 1

    def span_of(self, slot: int) -> tuple[int, int]:
        i = self.index_of_slot(slot)
        first, columns = self.slot_of_index(i), self.code.columns
        wide = columns["op"][i] >= FIRST_WIDE
        return first, int(columns["m"][int(columns["c"][i]) + nest.SIZE]) if wide else 1

    def result_slots(self, lo: int, hi: int) -> np.ndarray:
        return self.code.columns["out"][lo:hi].astype(np.int64)

    def __getitem__(self, key: slice) -> Tape:
        raise ArgumentError("an optimised tape cannot be cut: cut the one that was recorded")

    def _refused(self, *_: Any, **__: Any) -> Any:
        raise ArgumentError("nothing can be added to an optimised tape: record another one")

    append = append_wide = append_input = append_moved = extend = _refused
