"""Plans: what a fast call of a traced function needs to know, prepared once.

A plan is a vector of words (ops.PLAN: addresses of sweeps and frame, where inputs and results lie)
for the compiled calls of _jit, made by a workspace (hot.py), and the knowledge of how arguments
become a vector and a vector becomes a gradient (packing.py): for one array, for floats, for trees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..record.arrays import FLOAT64, Array
from .choosing import collected, hot_words
from .hot import GRADIENT, VALUES, Hot, fits
from .lean import output_span
from .packing import Fed, Floats, OneArray, Plan, Trees
from .program import Slots, Trace

if TYPE_CHECKING:
    from .function import Function
    from .signature import Bound


def plan_for(
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    argnums: Any,
    mode: int = GRADIENT,
) -> Plan | None:
    """A plan for calls like the one that has just been made; `argnums` is None for values."""
    positions = () if argnums is None else positions_of(argnums, len(args))
    bound = function.bind(args, kwargs, positions)
    program = None if bound is None else function.program(bound)
    trace = None if program is None else program.last
    if trace is None or bound is None or bound.statics or not bound.leaves:
        return None
    if not fits(trace, mode):
        return None
    captures = function.captures
    if captures is None or captures.programs.get(bound.signature) is not program:
        return None  # another thread has seen other captures meanwhile
    if argnums is None:
        span = output_span(trace)
        if span is None and not collected(trace, function.level):
            return None
        first, end = span or (0, 0)
        key = VALUES, first, first, end - first
        hot, words = hot_words(trace, None, key, function.level)
    else:
        result = trace.output.single
        if not isinstance(result, Slots) or result.shape is not None or result.dtype is not float:
            return None
        chosen = [j for i in positions for j in range(*bound.ranges[i])]
        spans = [slots_of(trace.variables[j]) for j in chosen]
        if not spans:
            return None
        first, end = min(s[0] for s in spans), max(s[1] for s in spans)
        key = mode, result.start, first, end - first
        hot, words = hot_words(trace, chosen, key, function.level)
    made = _laid_out(function, hot, words, bound, args, kwargs, positions)
    made.captures, made.changed = captures, captures.changed
    if program is not None and program.parameters is not None:
        made = Fed(made, program.parameters)
    if argnums is None:
        made.reader = reader(trace, first if hot.lean is None else None)
    return made


def _laid_out(
    function: Function, hot: Hot, words: np.ndarray, bound: Bound, args: tuple[Any, ...],
    kwargs: dict[str, Any], positions: tuple[int, ...],
) -> Plan:  # fmt: skip
    """The kind of plan that suits the arguments."""
    only = bound.leaves[0]
    if len(args) == 1 and not kwargs and args[0] is only and only.__class__ is np.ndarray:
        if only.dtype is FLOAT64 and only.shape:
            return OneArray(function, hot, words, bound)
    if not kwargs and len(args) == len(bound.leaves) and all(x.__class__ is float for x in args):
        return Floats(function, hot, words, bound, positions)
    return Trees(function, hot, words, bound, positions, args, kwargs)


def reader(trace: Trace, first: int | None) -> Callable[[np.ndarray], Any] | None:
    """What makes the results from the slots from `first` on; None for a float, the root.

    Without a `first`, of all results one behind the other.
    """
    single = trace.output.single
    if isinstance(single, Slots) and single.shape is None and single.dtype is float:
        return None
    return (trace.output.laid_out() if first is None else trace.output.shifted(first)).read


def slots_of(x: Any) -> tuple[int, int]:
    """First slot and end of a variable."""
    if isinstance(x, Array):
        return (x.storage.slot, x.storage.slot + x.size) if x.size else (0, 0)
    return x.slot, x.slot + 1


def positions_of(argnums: Any, count: int) -> tuple[int, ...]:
    several = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    return tuple(i + count if i < 0 else i for i in several)
