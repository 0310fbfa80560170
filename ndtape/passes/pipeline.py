"""The passes in their order, and the levels that run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .code import Code, Goal
from .fusion import fuse
from .settling import settle
from .slots import renumbered
from .weights import gather_weights


class Pass(NamedTuple):
    """One rewriting of code; `run` answers None where it finds nothing to do."""

    name: str
    level: int  # the lowest that runs it
    run: Callable[[Code, Goal], Code | None]
    doc: str


# In the order in which they run.
PASSES: tuple[Pass, ...] = (
    Pass("affine", 2, fuse, "products, their sum and its activation as one instruction"),
    Pass("weights", 2, gather_weights, "gradients of shared weights as products of matrices"),
    Pass("slots", 1, renumbered, "no slots that nobody writes; for values alone, slots used again"),
    Pass("settle", 1, settle, "results that are read in one piece lie in one"),
)


def optimised(code: Code, goal: Goal) -> Code:
    """The code after all passes of a level, in order."""
    for one in PASSES:
        if one.level <= goal.level:
            code = one.run(code, goal) or code
    return code
