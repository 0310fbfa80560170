"""What passes work on: the instructions of a tape, whose results may lie anywhere.

A recorded tape numbers its slots in the order of its instructions.  `Code` has a column `out`
instead, so that a pass may drop instructions, put one in the place of many, and number slots again.
Everything else is as on a tape: the same opcodes, descriptors and pools, the same sweeps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import nest
from ..ops import FIRST_WIDE, WIDE_CODES
from ..tape import Tape

Columns = dict[str, np.ndarray]
AFFINE = WIDE_CODES["affine"]
NAMES = ("op", "out", "a", "b", "c")  # columns with an entry an instruction


class Goal(NamedTuple):
    """What code is optimised for."""

    level: int = 2
    reverse: bool = True  # derivatives are wanted, so that values which partials read must stay
    lanes: bool = False  # for packs of lanes, which know scalar instructions only
    parts: tuple[int, ...] | None = None  # sizes of results that are read each in one piece; or all


class Code(NamedTuple):
    """Instructions for sweeps.

    Each slot is written once, until the pass `slots` lets results share them; an operand is written
    before the instruction that reads it.  The first `inputs` instructions are inputs and write the
    first slots, in order: nothing moves or drops them.  Instructions that can stop a sweep (guards,
    calls, reads at computed places) stay, and in their order.
    """

    columns: Columns  # op out a b c, and the pools k and m
    slots: int  # of the buffers
    inputs: int  # leading instructions that are inputs
    results: np.ndarray  # slots whose values somebody reads after a sweep, in his order
    positions: np.ndarray  # by instruction: the recorded one that its result is of
    calls: tuple[Any, ...] = ()

    @property
    def length(self) -> int:
        return len(self.columns["op"])

    @property
    def first_slots(self) -> int:
        """How many slots the leading inputs have, in front of all others."""
        return int(sizes_of(self.columns)[: self.inputs].sum())

    def writers(self) -> np.ndarray:
        """The instruction that writes each slot, -1 for none; the last one where slots are shared.

        An `affine` with an activation writes the sum, which its column `a` says, and the result.
        """
        columns, sizes = self.columns, sizes_of(self.columns)
        found = np.full(self.slots, -1)
        found[columns["out"]] = np.arange(self.length)
        for starts, at in (
            (columns["out"], np.flatnonzero(sizes > 1)),
            (columns["a"], np.flatnonzero(columns["op"] == AFFINE)),
        ):
            whose = np.repeat(at, sizes[at])
            rank = np.arange(len(whose)) - np.repeat(np.cumsum(sizes[at]) - sizes[at], sizes[at])
            found[starts[whose] + rank] = whose
        return found

    def some(self, kept: np.ndarray) -> Code:
        """Those instructions alone (a mask, or numbers in the order wanted)."""
        columns = {**self.columns, **{name: self.columns[name][kept] for name in NAMES}}
        return self._replace(columns=columns, positions=self.positions[kept])


def sizes_of(columns: Columns) -> np.ndarray:
    """How many slots each instruction writes."""
    sizes = np.ones(len(columns["op"]), np.int64)
    wide = np.flatnonzero(columns["op"] >= FIRST_WIDE)
    sizes[wide] = columns["m"][columns["c"][wide].astype(np.int64) + nest.SIZE]
    return sizes


def code_of(tape: Tape, inputs: int, results: np.ndarray, words: np.ndarray | None = None) -> Code:
    """The instructions of a sealed tape, with `words` in the place of its own."""
    columns = tape.columns()
    if words is not None:
        columns["m"] = words[: tape.mn]
    wanted = np.asarray(results, np.int64)
    return Code(columns, tape.slots, inputs, wanted, np.arange(len(tape)), tuple(tape.calls))
