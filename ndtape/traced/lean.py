"""What steady replays sweep: the tape of a trace after the passes.

Passes cost about as much as a few replays, so that a trace goes through them when it has been
replayed `WARM` times.  Everything else (general calls, siblings, printing) stays with the tape as
it was recorded: a replay that stops at a guard starts again there.
"""

from __future__ import annotations

import numpy as np

from ..passes import Goal, OptimisedTape, code_of, optimised
from .program import Slots, Trace

WARM = 16  # replays


def is_warm(trace: Trace) -> bool:
    return trace.all_runs >= WARM


def lean(
    trace: Trace, results: np.ndarray, goal: Goal, words: np.ndarray | None
) -> OptimisedTape | None:
    """The tape of a trace after the passes; None where they find nothing to do.

    `words` are those of a workspace which takes no adjoints of some arguments.
    """
    code = code_of(trace.tape, trace.leading[0], results, words)
    better = optimised(code, goal)
    if better is code:
        return None
    trace.lean_length = better.length
    return OptimisedTape(better)


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
