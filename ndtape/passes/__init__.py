"""Passes: tape to tape.  `sealing` makes a recording fit for replays; the others make it fast."""

from .code import Code, Columns, Goal, code_of, sizes_of
from .optimised import OptimisedTape
from .pipeline import PASSES, Pass, optimised
from .sealing import quiet, rearranged, seal

__all__ = [
    "PASSES",
    "Code",
    "Columns",
    "Goal",
    "OptimisedTape",
    "Pass",
    "code_of",
    "optimised",
    "quiet",
    "rearranged",
    "seal",
    "sizes_of",
]
