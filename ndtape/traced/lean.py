"""What steady replays sweep: the tape of a trace after the passes, and when these pay.

Passes cost as much as some dozens of replays.  A trace goes through them when its replays have
taken a multiple of that: 32 times, if they seem to bring little, so that whoever stops then has
lost 3 %; and the sooner the more they promise, since the loss is made good as soon.  Everything
else (general calls, siblings, printing) stays with the tape as it was recorded: a replay that stops
at a guard starts again there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..passes import (
    Goal,
    OptimisedTape,
    Step,
    code_of,
    expected_seconds,
    loading_seconds,
    optimised,
    weighed,
)
from ..tape import Tape
from .program import Slots, Trace

SOONEST, LATEST = 4.0, 32.0  # multiples of what passes are expected to cost
LOSS = 0.25  # that may be made, as a share of the gain that is expected
FEWEST = 16  # replays before anything is looked at
CALL = 1e-6  # seconds that any fast call takes
LOOK_CALLS, LOOK_SECONDS = 8, 1e-4  # what it costs to time a call: so many calls, and seconds


def calls_before(trace: Trace, seconds: float | None) -> int:
    """After how many calls that take so long the passes are worth their time.

    Without a time: after how many, by estimate, it is worth while to take it.
    """
    passes, loading = expected_seconds(*tapes_of(trace)), loading_seconds()
    if seconds is None:
        look = LOOK_CALLS * max(trace.cost or 0.0, CALL) + LOOK_SECONDS
        spent = max(SOONEST / 2 * passes + loading, patience(trace) * look)
    else:
        spent = patience(trace) * passes + 2 * loading
    return max(int(spent / max(seconds or trace.cost or 0.0, CALL)), FEWEST)


def patience(trace: Trace) -> float:
    """How many times what the passes cost must have been spent on replays before."""
    if trace.patience is None:
        cost, saved = weighed(trace.tape.columns())
        for loop in loops_of(trace):
            for body in loop.bodies:
                one = weighed(body.tape.columns())
                cost, saved = cost + loop.steps * one[0], saved + loop.steps * one[1]
        trace.patience = min(max(cost / max(LOSS * saved, 1e-9), SOONEST), LATEST)
    return trace.patience


def loops_of(trace: Trace) -> list[Any]:
    return [call.loop for call in trace.tape.calls if call.loop is not None]


def tapes_of(trace: Trace) -> list[Tape]:
    """What the passes would go through: the tape, and those of the bodies of its loops."""
    return [trace.tape, *[body.tape for loop in loops_of(trace) for body in loop.bodies]]


def lean(
    trace: Trace, results: np.ndarray, goal: Goal, words: np.ndarray | None,
    steps: list[Step] | None = None,
) -> OptimisedTape | None:  # fmt: skip
    """The tape of a trace after the passes; None where they find nothing to do.

    `words` are those of a workspace which takes no adjoints of some arguments.
    """
    optimise_loops(trace, goal.level)
    code = code_of(trace.tape, trace.leading[0], results, words)
    better = optimised(code, goal, steps)
    if better is code:
        return None
    trace.lean_length = better.length
    return OptimisedTape(better, trace.tape)


def optimise_loops(trace: Trace, level: int) -> None:
    """Send the bodies of loops on the tape through the passes, for workspaces yet to come."""
    for loop in loops_of(trace):
        loop.optimise(level)


def output_slots(trace: Trace) -> np.ndarray:
    """The slots of all results, one behind the other."""
    parts = [p for p in trace.output.parts if isinstance(p, Slots)]
    slots = [np.arange(p.start, p.start + p.size) for p in parts]
    return np.concatenate([np.zeros(0, np.int64), *slots])


def output_span(trace: Trace) -> tuple[int, int] | None:
    """The slots that hold all results; None where there is too much between them."""
    parts = [p for p in trace.output.parts if isinstance(p, Slots)]
    if not parts:
        return None
    first, end = min(p.start for p in parts), max(p.start + p.size for p in parts)
    return (first, end) if end - first <= 64 + 2 * sum(p.size for p in parts) else None
