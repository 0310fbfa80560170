"""Passes: tape to tape.  `sealing` makes a recording fit for replays; the others make it fast."""

from .code import Code, Columns, Goal, code_of, sizes_of
from .sealing import quiet, rearranged, seal

__all__ = ["Code", "Columns", "Goal", "code_of", "quiet", "rearranged", "seal", "sizes_of"]
