"""The passes in their order, and the levels that run them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from ..errors import ArgumentError
from ..tape import BYTES_PER_INSTRUCTION, Tape
from .code import Code, Goal
from .common import common
from .dead import dead
from .fusion import fuse
from .matrices import matrices
from .muladd import muladd
from .settling import settle
from .simplify import simplify
from .slots import renumbered
from .terms import terms
from .weights import gather_weights


class Pass(NamedTuple):
    """One rewriting of code; `run` answers None where it finds nothing to do."""

    name: str
    level: int  # the lowest that runs it
    run: Callable[[Code, Goal], Code | None]
    doc: str


# In the order in which they run.  Matrices are looked for while a program is as regular as it was
# written: `simplify` drops a factor that happens to be 1.
PASSES: tuple[Pass, ...] = (
    Pass("common", 2, common, "what was computed before is not computed again"),
    Pass("matrices", 2, matrices, "sums of products of scalars as products of matrices"),
    Pass("simplify", 1, simplify, "constants computed, operations that change nothing left out"),
    Pass("dead", 1, dead, "nothing that no result, guard or call needs"),
    Pass("terms", 2, terms, "long sums and dot products of scalars as one instruction"),
    Pass("muladd", 2, muladd, "x * y + u as one instruction"),
    Pass("affine", 2, fuse, "products, their sum and its activation as one instruction"),
    Pass("weights", 2, gather_weights, "gradients of shared weights as products of matrices"),
    Pass("slots", 1, renumbered, "no slots that nobody writes; for values alone, slots used again"),
    Pass("settle", 1, settle, "results that are read in one piece lie in one"),
)


LEVELS = range(4)
DEFAULT_LEVEL = 2
# What passes cost, in seconds: a run of all of them, more for each instruction, slot and word of a
# descriptor, and loading what is compiled of them, once a process.
FIXED, EACH, EACH_SLOT, EACH_WORD, LOADING = 2e-3, 3e-7, 1e-8, 1e-7, 0.1
SLOWEST, FASTEST = 4.0, 0.25  # times that; what took longer was held up by something else


def checked_level(level: int) -> int:
    """Raises `ArgumentError` for what is no level."""
    if level not in LEVELS or isinstance(level, bool):
        raise ArgumentError(f"the levels of optimisation are 0, 1, 2 and 3, not {level!r:.40}")
    return int(level)


class Step(NamedTuple):
    """What one pass has left, and what it has taken."""

    name: str
    instructions: int
    slots: int
    bytes: int  # of the program: instructions, constants and words
    seconds: float = 0.0


class Pace:
    """How much longer than expected passes take on this machine; None before the first time."""

    factor: float | None = None

    def learn(self, usual: float, seconds: float) -> None:
        fresh = seconds / usual
        if self.factor is None:
            self.factor = 1.0  # the first time loads what is compiled
        else:
            self.factor = 0.5 * (self.factor + min(max(fresh, FASTEST), SLOWEST))


_pace = Pace()


def expected_seconds(*tapes: Tape) -> float:
    """About how long the passes would take for these tapes, one after the other."""
    usual = sum(_usual(len(tape), tape.slots, tape.mn) for tape in tapes)
    return (_pace.factor or 1.0) * usual


def loading_seconds() -> float:
    """About how long it would take to load what is compiled of them, if that is not done yet."""
    return LOADING if _pace.factor is None else 0.0


def _usual(length: int, slots: int, words: int) -> float:
    return FIXED + EACH * length + EACH_SLOT * slots + EACH_WORD * words


def optimised(code: Code, goal: Goal, steps: list[Step] | None = None) -> Code:
    """The code after all passes of a level, in order; `steps` learns what each has done."""
    begin = time.perf_counter()
    usual = _usual(code.length, code.slots, len(code.columns["m"]))
    if steps is not None:
        steps.append(step_of("recorded", code))
    for one in PASSES:
        if one.level > goal.level:
            continue
        start = time.perf_counter()
        better = one.run(code, goal)
        seconds = time.perf_counter() - start
        code = better or code
        if steps is not None:
            steps.append(step_of(one.name, code, seconds))
    if goal.level:
        _pace.learn(usual, time.perf_counter() - begin)
    return code


def step_of(name: str, code: Code, seconds: float = 0.0) -> Step:
    pools = code.columns["k"].nbytes + code.columns["m"].nbytes
    return Step(name, code.length, code.slots, BYTES_PER_INSTRUCTION * code.length + pools, seconds)
