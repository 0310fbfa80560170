"""The body of a loop while it is recorded: a tape inside another one.

What the body uses from outside is *captured*: the span that it lies in becomes an input of the
body, once.  All operations go to the body, also those on outer values alone: outer tapes are
disarmed meanwhile, so that fast paths leave them alone, and `lifetime.common_tape` chooses.
(Rejected: to let outer values work on their own tape, once and not at every step; a derivative that
is taken inside the body with respect to an outer value would miss what happens in the body.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from ..errors import UnsupportedError
from . import core
from .core import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

Key = tuple[int, int]  # the tape by its id, and the first slot of the span


class Captured(NamedTuple):
    """A span of an outer tape that a body uses."""

    tape: Recorder  # keeps the id alive
    base: int
    size: int

    @property
    def key(self) -> Key:
        return id(self.tape), self.base


class Scope:
    """The body that is recorded on `tape`; `depth` counts the bodies around it, itself included.

    `numbers(captured)` gives the values of what is captured, for the decisions that Python takes.
    """

    def __init__(
        self, tape: Recorder, numbers: Callable[[Captured], np.ndarray], first: bool = True
    ) -> None:
        self.tape = tape
        self.numbers = numbers
        self.first = first  # the loop is being recorded, and not only another of its bodies
        self.outer = core.current_if_any()
        self.depth = depth_of(self.outer) + 1
        # With the first slot of the input, and its values.
        self.captured: list[tuple[Captured, int, np.ndarray]] = []
        self._slots: dict[Key, int] = {}

    def place(self, outer: Recorder, slot: int) -> int:
        """The slot of the body that holds what stands in a slot of an outer tape."""
        base, size = outer.span_of(slot)
        key = id(outer), base
        if key not in self._slots:
            captured = Captured(outer, base, size)
            numbers = self._numbers_of(captured)
            self._slots[key] = self.tape.add_input(numbers)
            self.captured.append((captured, self._slots[key], numbers))
        return self._slots[key] + slot - base

    def _numbers_of(self, captured: Captured) -> np.ndarray:
        """Values of what lies outside; of a replayed tape, through the body around."""
        outer = self.outer
        if (
            not self.first
            or not is_over(captured.tape)
            or outer is None
            or outer.scope is None
            or outer.ended
        ):
            return self.numbers(captured)
        slot = outer.scope.place(captured.tape, captured.base)
        outer.work.forward()
        found: np.ndarray = outer.work.array("v")[slot : slot + captured.size].copy()
        return found


def depth_of(tape: Recorder | None) -> int:
    """How many bodies a tape lies in."""
    return 0 if tape is None or tape.scope is None else int(tape.scope.depth)


def place(tape: Recorder, owner: Recorder, slot: int) -> int:
    """Where a result in a slot of `owner` is found on `tape`: the same, or a capture's input."""
    return slot if owner is tape else tape.scope.place(owner, slot)


def is_over(tape: Recorder) -> bool:
    """Whether a recording that is replayed has ended: nothing can be appended to it."""
    return tape.ended and tape.traced is not None


def body_here() -> Recorder | None:
    """The body that is being recorded: all operations go there, wherever their operands lie."""
    here = core.current_if_any()
    return None if here is None or here.scope is None or here.ended else here


def check_write(owner: Any) -> None:
    """Raise where a body writes into an array from outside, which happens at every step."""
    here = core.current_if_any()
    if here is not None and here.scope is not None and depth_of(here) > depth_of(owner):
        refuse_write(here)


def refuse_write(tape: Recorder) -> NoReturn:
    raise UnsupportedError(
        f"{tape.traced.name} writes into an array from outside of it, which would happen at every "
        "step: make the array a part of the carry, or return what you want to keep as y "
        f"[{core.user_line()}]"
    )
