"""Profiles of traced functions: a whole call, and the sweeps in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..record import core
from ..run import Workspace
from ..tape import Tape
from ..traced.function import Function
from ..traced.hot import NO_LIMIT, Hot
from ..traced.program import Slots, Trace
from ..transforms.gradients import value_and_grad
from .profile import Profile, profile_work

CALLS, SECONDS = 16, 0.1  # that are timed, at least and at most


def profile_function(
    function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], argnums: int | Sequence[int]
) -> Profile:
    """The profile of value and gradient at these arguments; see `Function.profile`."""
    again = Function(function.f, *function.options)  # recorded with lines; the other keeps its own
    before = core.lines_wanted()
    core.record_lines(True)
    try:
        gradient = value_and_grad(again, argnums)
        gradient(*args, **kwargs)
    finally:
        core.record_lines(before)
    program = next((p for p in again.all_programs() if p.last is not None), None)
    if program is None or program.last is None:
        raise ArgumentError(
            f"{function.name} runs as plain Python: it captures values with a gradient, so that "
            "there is no tape to profile; pass them as arguments"
        )
    if again.level:
        again.optimize(again.level)
    call = _timed(lambda: gradient(*args, **kwargs))
    work, root, known = _as_replayed(program.last)
    profile = profile_work(function.name, work, np.array([root]), known, call)
    return profile


def _timed(call: Callable[[], Any]) -> float:
    """Seconds of a call, the least of many."""
    best, count, start = np.inf, 0, time.perf_counter()
    while count < CALLS or time.perf_counter() - start < SECONDS:
        begun = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begun)
        count += 1
        if count >= 3 and time.perf_counter() - start > 20 * SECONDS:
            break
    return float(best)


def _as_replayed(trace: Trace) -> tuple[Workspace, int, int]:
    """A workspace like that of fast calls, with values; the slot of the result, and how many
    instructions are inputs."""
    hots = [hot for hot in {id(h): h for h in trace.hot.values()}.values() if hot.runs]
    hot: Hot | None = max(hots, key=lambda hot: hot.runs, default=None)
    single = trace.output.single
    if not isinstance(single, Slots):
        raise ArgumentError("profile takes a function that returns one number")
    tape: Tape = trace.tape
    root, words = single.start, None
    numbers = trace.free[0].array("v")[: trace.leading[1]] if trace.free else None
    if hot is not None:
        tape, words = hot.tape, hot.words if hot.lean is None else None
        numbers = hot.work.array("v")[: trace.leading[1]]
        root = root if hot.lean is None else int(hot.lean.results[0])
    work = Workspace(tape)
    work.own_words = words
    work.forward()
    if numbers is not None:
        work.array("v")[: trace.leading[1]] = numbers
    work.swept = trace.leading[0]
    work.forward()
    if hot is not None:
        work._prepare(len(tape))
        for kind in ("forward", "reverse"):
            work.prepare_loops(kind, NO_LIMIT)
        work.swept = trace.leading[0]
        work.forward()
    return work, root, trace.leading[0]
