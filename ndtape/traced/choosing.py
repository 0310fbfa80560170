"""Which tape serves fast calls: the recorded one, or, when that pays, what passes make of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import PLAN_LIMIT
from ..passes import Goal, Optimisation, Step
from . import lean as policy
from .hot import GRADIENT, NEVER, RUNS, VALUES, Hot, Key, fits
from .lean import lean, optimise_loops, output_slots
from .program import Slots, Trace

SLOWER = 1.01  # of the time before: what has been optimised and takes longer is not used


def hot_words(
    trace: Trace, chosen: list[int] | None, key: Key, level: int
) -> tuple[Hot, np.ndarray]:
    """The workspace of fast calls, one for all that want adjoints of the same arguments, and the
    words of a plan for it."""
    quiet = None if chosen is None else trace.quiet_words(tuple(chosen))
    group = None if quiet is None else tuple(chosen or ())
    with trace.lock:
        cold = trace.hot.get((False, group))
        final = final_place(group, key)
        if final not in trace.hot and level and (trace.forced or _pays(trace, cold, key)):
            _final(trace, group, quiet, key, level)
            if not trace.forced:
                _keep_the_faster(trace, cold, trace.hot[final], key)
            _let_go(trace, cold, group)
        hot: Hot | None = trace.hot.get(final, cold)
        if hot is None:
            hot = trace.hot[False, group] = Hot(trace, quiet)
        words = hot.plan(key)
        words[PLAN_LIMIT] = _limit(trace, hot, int(words[RUNS]), key, level)
        return hot, words


def collected(trace: Trace, level: int) -> bool:
    """Whether results that lie far apart have been collected, so that one copy takes them out."""
    place = final_place(None, (VALUES, 0, 0, 0))
    with trace.lock:
        if level and place not in trace.hot:
            if trace.forced or trace.all_runs >= policy.calls_before(trace, None):
                _final(trace, None, None, (VALUES, 0, 0, 0), level)
        return place in trace.hot and trace.hot[place].lean is not None


def _let_go(trace: Trace, cold: Hot | None, group: Any) -> None:
    """Free a workspace that all plans have left."""
    if cold is not None and all(final_place(group, key) in trace.hot for key in cold.plans):
        cold.refuse()
        trace.retire(cold)


def final_place(group: Any, key: Key) -> Any:
    """Where the final workspace is kept: for all values, or for what starts from one root."""
    mode, root, *_ = key
    return (True, group, -1 if mode == VALUES else root)


def _final(
    trace: Trace, group: Any, quiet: np.ndarray | None, key: Key, level: int,
    steps: list[Step] | None = None,
) -> Hot:  # fmt: skip
    """Enter the workspace of fast calls over what the passes make of a trace."""
    reverse = key[0] != VALUES
    results = np.array([key[1]]) if reverse else output_slots(trace)
    made = lean(trace, results, Goal(level, reverse), quiet, steps)
    hot = trace.hot[final_place(group, key)] = Hot(trace, quiet, True, made)
    return hot


def optimised_now(trace: Trace, level: int, name: str) -> list[Optimisation]:
    """Let all fast calls of a trace, those that there are and others, go through the passes."""
    trace.renew()
    trace.forced, trace.lean_length = True, 0
    found: list[Optimisation] = []
    trace.free.clear()  # what loops keep there is of bodies at another level
    optimise_loops(trace, level)
    if not level or not fits(trace, GRADIENT):
        return found
    single = trace.output.single
    modes = [("values", VALUES, -1)] if len(output_slots(trace)) else []
    if isinstance(single, Slots) and single.shape is None and single.dtype is float:
        modes.append(("gradient", GRADIENT, single.start))
    for title, mode, root in modes:
        steps: list[Step] = []
        with trace.lock:
            _final(trace, None, None, (mode, root, 0, 0), level, steps)
        goal = Goal(level, reverse=mode != VALUES)
        found.append(Optimisation(f"{name}, {title}", goal, steps))
    for loop in policy.loops_of(trace):
        title = f"{name}, body of {loop.name}"
        found += [Optimisation(title, Goal(level), body.steps) for body in loop.bodies]
    return found


def _pays(trace: Trace, cold: Hot | None, key: Key) -> bool:
    """Whether calls have taken so long that passes do not count."""
    mode = key[0]
    if cold is None or trace.all_runs < policy.calls_before(trace, trace.seconds.get(mode)):
        return False
    if mode not in trace.seconds:
        seconds = cold.time(key)
        if seconds is None:
            return False
        trace.seconds[mode] = seconds
    return trace.all_runs >= policy.calls_before(trace, trace.seconds[mode])


def _limit(trace: Trace, hot: Hot, runs: int, key: Key, level: int) -> int:
    """How many calls may have been made by a plan before the question is asked again."""
    if hot.final or not level:
        return NEVER
    left = policy.calls_before(trace, trace.seconds.get(key[0])) - trace.all_runs
    return runs + max(left, policy.FEWEST)


def _keep_the_faster(trace: Trace, cold: Hot | None, fresh: Hot, key: Key) -> None:
    """Go on with the recorded tape where the passes have made nothing better of it."""
    if cold is None or fresh.lean is None:
        return
    numbers = cold.work.arrays["v"][: trace.leading[1]].copy()
    best = [float("inf")] * 2
    for _ in range(3):
        for j, hot in enumerate((cold, fresh)):
            seconds = hot.time(key, numbers)
            if seconds is None:
                return  # a guard flips: what is optimised stays
            best[j] = min(best[j], seconds)
    if best[1] > SLOWER * best[0]:
        place = next(place for place, hot in trace.hot.items() if hot is fresh)
        trace.hot[place] = Hot(trace, fresh.words, True)
        trace.lean_length = 0
