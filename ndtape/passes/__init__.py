"""Passes: tape to tape.  `sealing` makes a recording fit for replays; the others make it fast."""

from .code import Code, Columns, Goal, code_of, sizes_of
from .optimised import OptimisedTape
from .pipeline import (
    DEFAULT_LEVEL,
    PASSES,
    Pass,
    Step,
    checked_level,
    expected_seconds,
    loading_seconds,
    optimised,
)
from .prospects import weighed
from .report import Optimisation, Report
from .sealing import quiet, rearranged, seal, sealed

__all__ = [
    "DEFAULT_LEVEL",
    "PASSES",
    "Code",
    "Columns",
    "Goal",
    "Optimisation",
    "OptimisedTape",
    "Pass",
    "Report",
    "Step",
    "checked_level",
    "code_of",
    "expected_seconds",
    "loading_seconds",
    "optimised",
    "quiet",
    "rearranged",
    "seal",
    "sealed",
    "sizes_of",
    "weighed",
]
