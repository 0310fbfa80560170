"""Fast calls of traced functions that are counted: the entries of _jit.py behind a limit.

A plan allows a number of calls; the next one is refused, so that Python looks whether the tape
should go through the passes by now (traced/lean.py), and no call pays for that question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import types

from ._jit import FLAGS, PLAN_RUNS, _alive, _replay_flat, _replay_second, _with_cache, u8, u8_at
from ._version import __version__
from .ops import PLAN_LIMIT

_flat, _second = (numba.njit(**FLAGS, inline="always")(f) for f in (_replay_flat, _replay_second))


def _limited_flat(plan, x, out):  # type: ignore[no-untyped-def]
    """`_replay_flat` as often as the plan allows; (-1, 0) after that."""
    p = u8_at(plan)
    if p[PLAN_RUNS] >= p[PLAN_LIMIT]:
        return -1, 0.0
    return _flat(plan, x, out)


def _limited_second(plan, x, direction, gradient, product):  # type: ignore[no-untyped-def]
    """`_replay_second` as often as the plan allows."""
    p = u8_at(plan)
    if p[PLAN_RUNS] >= p[PLAN_LIMIT]:
        return -1, 0.0
    return _second(plan, x, direction, gradient, product)


VECTOR, RESULT = types.Array(types.float64, 1, "A"), types.Array(types.float64, 1, "C")
ANSWER: Any = types.Tuple((types.int64, types.float64))  # type: ignore[no-untyped-call]
_COMPILED = {
    "replay_flat": (_limited_flat, ANSWER(u8, VECTOR, RESULT)),
    "replay_second": (_limited_second, ANSWER(u8, VECTOR, VECTOR, RESULT, RESULT)),
}


def entry(name: str) -> Callable[..., Any]:
    """The compiled entry "replay_flat" (plan, inputs, results) or "replay_second" (plan, inputs,
    direction, gradient, product); each answers a status, -1 where it refuses, and a value."""
    function, signature = _COMPILED[name]
    function.__qualname__ = f"{function.__name__}_{__version__}"

    def build(cache: bool) -> Any:
        return numba.njit(signature, cache=cache, **FLAGS)(function)

    dispatcher = _with_cache(build)
    _alive.append(dispatcher)
    (compiled,) = dispatcher.overloads.values()
    return compiled.entry_point  # type: ignore[no-any-return]
