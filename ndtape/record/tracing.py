"""A tape that will be replayed: guards, and values that nobody may use after the recording.

Where Python looks at a number (`if`, `while`, `int`, an index), what it does next depends on the
number: a *guard* instruction stops a replay that would have gone another way.  Everything else
that turns a recorded value into a plain number raises: the number would be an old one at replay.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..errors import GradientLostError
from ..ops import CODES
from ..run import Workspace
from ..tape import Chunk, Tape, line_number
from . import core
from .core import Recorder, push
from .values import FUNCTIONS, Boolean, Integer, Result, Var

GUARD = CODES["guard", "vk"]


class Guard(NamedTuple):
    """Where a recording depends on a number: `outcome` is what Python saw in `slot`."""

    index: int  # type: ignore[assignment]  # of the instruction
    slot: int
    outcome: float
    code: Any  # the user's line: code object and bytecode offset
    lasti: int
    known_line: int = 0  # in compiled code: the line itself

    @property
    def file(self) -> str:
        return str(self.code.co_filename)

    @property
    def line(self) -> int:
        return self.known_line or line_number(self.code, self.lasti)


class Tracing:
    """What Python has seen of the numbers on one tape."""

    def __init__(self, tape: Recorder, name: str) -> None:
        self.tape = tape
        self.name = name
        self.guards: list[Guard] = []
        self.seen: dict[int, float] = {}  # slots that are guarded already

    def truth(self, x: Result) -> bool:
        """`bool(x)`."""
        tested = x if isinstance(x, Boolean) else FUNCTIONS["not_equal"](x, 0.0)
        return self._outcome(tested) != 0.0

    def whole(self, x: Result) -> int:
        """`int(x)`, also of a float: the guard is on the whole number."""
        tested = x if isinstance(x, (Boolean, Integer)) else FUNCTIONS["trunc"](x)
        return int(self._outcome(tested))

    def _outcome(self, x: Result) -> float:
        known = self.seen.get(x.slot)
        if known is not None:
            return known
        outcome = x.peek()
        int(outcome)  # nan and infinities: Python's own error, before anything is recorded
        tape = self.tape
        push(tape, GUARD, x.slot, tape.constant(outcome))
        frame = core.user_frame()
        index = Tape.__len__(tape) - 1
        self.guards.append(Guard(index, x.slot, outcome, frame.f_code, frame.f_lasti))
        self.seen[x.slot] = outcome
        return outcome

    def plain(self, x: Any) -> Any:
        """Plain whole numbers or truth values of something recorded, each with a guard."""
        if isinstance(x, Boolean):
            return self.truth(x)
        if isinstance(x, Integer):
            return self.whole(x)
        if isinstance(x, Var) or x.dtype.kind == "f":
            self.refuse("plain numbers of a recording value")
        found = [self.whole(as_scalar) for as_scalar in x.reshape((-1,))]
        return np.array(found).reshape(x.shape).astype(x.dtype)

    def text(self, number: Any) -> str:
        """What `print` shows: the number, but in a form that nobody computes with."""
        if self.tape.ended:
            return f"<escaped value of {self.name}>"
        return f"<traced {number()}>"

    def read(self, what: str) -> None:
        """Users may not look at numbers; the package itself, and printing, may."""
        if not sys._getframe(2).f_globals.get("__name__", "").startswith(core.INSIDE[0]):
            self.refuse(what)

    def refuse(self, what: str) -> NoReturn:
        """A plain number is asked for that would be an old one in every replay."""
        if self.tape.ended:
            core.refuse_ended(self.tape)
        raise GradientLostError(
            f"{what} inside {self.name}, which is recorded once and replayed: the plain number "
            "would be an old one at the next call. Compute with the value itself (nt.sin, np.sin; "
            "nt.zeros(n) makes arrays that can hold it), use int(x) or a comparison where Python "
            "must decide, nt.stop_gradient(x) for a value without gradient, and return what you "
            f"want to look at [{core.user_line()}]"
        )


class Ended:
    """Stands in the place of a workspace when the recording is over: nobody reads a value."""

    swept = -1  # every value is new: who wants one asks `catch_up`

    def __init__(self, tape: Recorder) -> None:
        self.tape = tape

    def allocated(self) -> int:
        return 0

    def __getattr__(self, name: str) -> NoReturn:
        core.refuse_ended(self.tape)


def begin(name: str) -> Recorder:
    """A tape to be replayed.  It is never compacted, joined or armed again after `end`.

    Without the plans of earlier tapes: two recordings of one program must be equal word by word.
    """
    tape = Recorder()
    tape.places, tape.interned = {}, {}
    tape.mn = 0
    tape.kept = True
    tape.traced = Tracing(tape, name)
    return tape


def abandon(tape: Recorder) -> None:
    """The recording has failed.  Nothing is swept: the last instruction may be half written."""
    tape.disarm()
    tape.ended = True
    tape.work = Ended(tape)  # type: ignore[assignment]
    tape.leaf_slots = {}


def end(tape: Recorder) -> Workspace:
    """The recording is over: instructions in one chunk; returns the numbers it was made with."""
    tape.disarm()
    tape.ended = True
    old = tape.work
    with old.lock:
        old.forward()
        values = old.array("v")[: tape.slots]
    columns = tape.columns()
    count, slots = len(tape), tape.slots
    chunk = Chunk(0, max(count, 1))
    for name in ("op", "a", "b", "c"):
        chunk.array(name, count)[:] = columns[name]
    tape.chunks, tape.base, tape.n, tape.origin = [chunk], 0, count, slots - count
    tape.work = Ended(tape)  # type: ignore[assignment]
    tape.leaf_slots = {}
    work = Workspace(tape)
    work.array("v")[:slots] = values
    work.lay_out()
    work.swept = count
    return work
