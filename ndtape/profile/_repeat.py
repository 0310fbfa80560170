"""A sweep over the same instructions again and again, without Python in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
from numba import types

from .._jit import FLAGS, _with_cache, call_at, u8
from .._version import __version__


def _repeat(address, frame, lo, hi, count):  # type: ignore[no-untyped-def]
    status = 0
    for _ in range(count):
        status |= call_at(address, frame, lo, hi)  # type: ignore[call-arg]
    return status


@cache
def repeat() -> Callable[..., int]:
    """The compiled function (address, frame, lo, hi, count) -> status, 0 for success."""
    _repeat.__qualname__ = f"_repeat_{__version__}"

    def build(cache: bool) -> Any:
        return numba.njit(types.int64(u8, u8, u8, u8, u8), cache=cache, **FLAGS)(_repeat)

    dispatcher = _with_cache(build)
    _alive.append(dispatcher)
    (compiled,) = dispatcher.overloads.values()
    return compiled.entry_point  # type: ignore[no-any-return]


_alive: list[Any] = []
