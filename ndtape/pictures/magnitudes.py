"""How large the values and adjoints of a long tape are, group by group."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.notation import numeral
from ..run import Flip, Workspace
from .folding import HIDDEN, Program
from .scene import Line


class Magnitudes:
    """Values of a tape, and adjoints of the slots `root` with the seed 1 or one of their number.

    There are no adjoints of several results without a seed, and no numbers at all on a tape that
    stands for another branch than its inputs take.
    """

    def __init__(self, program: Program, root: range | None, seed: Any, digits: int) -> None:
        self._program, self._digits = program, digits
        self._numbers: list[tuple[str, np.ndarray, np.ndarray]] = []  # name, all, largest
        work = Workspace(program.tape)
        try:
            work.forward()
        except Flip:
            return
        self._add("value", work.array("v"))
        if root is None or (len(root) > 1 and seed is None):
            return
        given = np.ones(1) if seed is None else np.ravel(np.asarray(seed, np.float64))
        if len(given) == len(root):
            self._add("adjoint", work.cotangent(root.start, given))

    def _add(self, name: str, numbers: np.ndarray) -> None:
        program = self._program
        kept = numbers[: program.tape.slots].copy()
        largest = np.maximum.reduceat(np.abs(kept), program.first)
        largest[np.isin(program.codes, HIDDEN)] = 0.0
        self._numbers.append((name, kept, largest))

    def lines(self, members: np.ndarray) -> tuple[Line, ...]:
        """Of a single number what it is, of several the largest; nan wins over all."""
        single = len(members) == 1 and self._program.sizes[members[0]] == 1
        found = []
        for name, numbers, largest in self._numbers:
            if single:
                number = numbers[self._program.first[members[0]]]
                text = f"{name} {numeral(number, self._digits)}"
            else:
                text = f"|{name}| ≤ {numeral(largest[members].max(), self._digits)}"
            found.append(Line(text, name))
        return tuple(found)

    def finite(self, members: np.ndarray) -> bool:
        """Whether all numbers of these instructions are finite."""
        return all(np.isfinite(largest[members]).all() for _, _, largest in self._numbers)
