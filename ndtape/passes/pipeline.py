"""The passes in their order, and the levels that run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .code import Code, Goal


class Pass(NamedTuple):
    """One rewriting of code; `run` answers None where it finds nothing to do."""

    name: str
    level: int  # the lowest that runs it
    run: Callable[[Code, Goal], Code | None]
    doc: str


PASSES: tuple[Pass, ...] = ()


def optimised(code: Code, goal: Goal) -> Code:
    """The code after all passes of a level, in order."""
    for one in PASSES:
        if one.level <= goal.level:
            code = one.run(code, goal) or code
    return code
