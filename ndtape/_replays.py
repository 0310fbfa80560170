"""Whole calls of traced functions as one compiled call each; see PLAN in ops.py.

A plan allows a number of calls; the next one is refused, so that Python looks whether the tape
should go through the passes by now (traced/lean.py), and no call pays for that question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import types

from ._jit import FLAGS, _alive, _sweep_twice, _with_cache, call_at, f8_at, u8, u8_at
from ._version import __version__
from .ops import FRAME, PLAN

ADJOINTS, VALUES, TANGENTS, CHANGES = (FRAME.index(name) for name in "gvth")
(
    PLAN_FORWARD, PLAN_REVERSE, PLAN_FRAME, PLAN_INPUTS, PLAN_KNOWN, PLAN_END, PLAN_TOP, PLAN_ROOT,
    PLAN_SLOTS, PLAN_FIRST, PLAN_COUNT, PLAN_RUNS, PLAN_CALLS, PLAN_TANGENT, PLAN_SECOND,
    PLAN_LIMIT,
) = range(len(PLAN) + 1)  # fmt: skip


def _replay_flat(plan, x, out):  # type: ignore[no-untyped-def]
    """A whole call of a traced function: inputs in, sweeps, results out; (status, value of root).

    In one piece, so that threads cannot disturb each other while the GIL is held.  A call that
    ends early answers its number in place of the value: whoever goes on with what it has computed
    must know that nobody called after it.
    """
    p = u8_at(plan)
    frame = p[PLAN_FRAME]
    f = u8_at(frame)
    v = f8_at(f[VALUES])
    count = p[PLAN_COUNT]
    if u8(x.size) != p[PLAN_INPUTS] or u8(out.size) != count or p[PLAN_RUNS] >= p[PLAN_LIMIT]:
        return -1, 0.0
    calls = u8_at(p[PLAN_CALLS])
    calls[0] += u8(1)
    for i in range(p[PLAN_INPUTS]):
        v[i] = x[i]
    source = v
    known, hi, root = p[PLAN_KNOWN], p[PLAN_END], p[PLAN_ROOT]
    if p[PLAN_REVERSE] != u8(0):
        status = _sweep_twice(
            p[PLAN_FORWARD], p[PLAN_REVERSE], frame, known, known, hi, p[PLAN_TOP], root,
            p[PLAN_SLOTS], u8(1),
        )  # fmt: skip
        source = f8_at(f[ADJOINTS])
    else:
        status = call_at(p[PLAN_FORWARD], frame, known, hi)  # type: ignore[call-arg]
    if status != 0:
        return status, float(calls[0])
    first = p[PLAN_FIRST]
    for i in range(count):
        out[i] = source[first + i]
    p[PLAN_RUNS] += u8(1)
    return status, v[root]


def _replay_second(plan, x, direction, gradient, product):  # type: ignore[no-untyped-def]
    """The same for a Hessian times a direction: forward, tangent, forward over reverse."""
    p = u8_at(plan)
    frame = p[PLAN_FRAME]
    f = u8_at(frame)
    v, g, t, h = f8_at(f[VALUES]), f8_at(f[ADJOINTS]), f8_at(f[TANGENTS]), f8_at(f[CHANGES])
    inputs, count = p[PLAN_INPUTS], p[PLAN_COUNT]
    if u8(x.size) != inputs or u8(direction.size) != inputs or u8(gradient.size) != count:
        return -1, 0.0
    if p[PLAN_RUNS] >= p[PLAN_LIMIT]:
        return -1, 0.0
    calls = u8_at(p[PLAN_CALLS])
    calls[0] += u8(1)
    slots, known, hi, root = p[PLAN_SLOTS], p[PLAN_KNOWN], p[PLAN_END], p[PLAN_ROOT]
    for i in range(inputs):
        v[i] = x[i]
    status = call_at(p[PLAN_FORWARD], frame, known, hi)  # type: ignore[call-arg, var-annotated]
    if status != 0:
        return status, float(calls[0])
    for i in range(slots):
        t[i] = g[i] = h[i] = 0.0
    for i in range(inputs):
        t[i] = direction[i]
    g[root] = 1.0
    call_at(p[PLAN_TANGENT], frame, known, hi)
    call_at(p[PLAN_SECOND], frame, known, u8(p[PLAN_TOP] + u8(1)))
    first = p[PLAN_FIRST]
    for i in range(count):
        gradient[i] = g[first + i]
        product[i] = h[first + i]
    p[PLAN_RUNS] += u8(1)
    return status, v[root]


VECTOR, RESULT = types.Array(types.float64, 1, "A"), types.Array(types.float64, 1, "C")
ANSWER: Any = types.Tuple((types.int64, types.float64))  # type: ignore[no-untyped-call]
_COMPILED = {
    "replay_flat": (_replay_flat, ANSWER(u8, VECTOR, RESULT)),
    "replay_second": (_replay_second, ANSWER(u8, VECTOR, VECTOR, RESULT, RESULT)),
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
