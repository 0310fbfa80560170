"""Joins of arrays that were joined before: the same shapes in the same way.

Where the elements go depends on shapes, strides and options only.  The first time NumPy tells it,
on whole numbers that stand for the elements; afterwards a join is a look into a table, an addition
and one instruction, a third of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..record import core
from ..record.arrays import FLOAT64, Array, of_span
from ..record.operands import collected, located
from ..record.wide import on_tape

LARGEST_TABLE = 10_000


class Plan(NamedTuple):
    """For every element of the result, in C order: its array, and its distance from the first."""

    source: np.ndarray
    distance: np.ndarray
    shape: tuple[int, ...]


_plans: dict[Any, Plan] = {}


def joined(key: Any, function: Callable[..., Any], arrays: Sequence[Array]) -> Any:
    """The arrays, moved as `function` does, which `key` names; None where there is no short way."""
    if not all(map(_simple, arrays)):
        return None
    key = (key, *[(x.shape, x.strides) for x in arrays])
    plan = _plans.get(key)
    if plan is None:
        if len(_plans) > LARGEST_TABLE:
            _plans.clear()
        plan = _plans[key] = _planned(function, arrays)
    if plan.source.size < 2:  # one element needs no instruction: the general code knows
        return None
    with core.growth:
        tape = on_tape(*arrays)
        if tape is None:
            return None
        starts = np.array([located(tape, x)[0] for x in arrays])
        slot = collected(tape, starts[plan.source] + plan.distance)
        return of_span(tape, slot, plan.shape, FLOAT64)


def _simple(x: Array) -> bool:
    """Whether the elements lie on a tape as strides say, or will."""
    return bool(x.dtype is FLOAT64 and x.storage.map is None and x.needs_grad and x.size)


def _planned(function: Callable[..., Any], arrays: Sequence[Array]) -> Plan:
    numbered, distances, used = [], [], 0
    for x in arrays:
        numbered.append(np.arange(used, used + x.size).reshape(x.shape))
        used += x.size
        distance = np.zeros(x.shape, np.int64)
        for axis, (n, stride) in enumerate(zip(x.shape, x.strides, strict=True)):
            distance += (stride * np.arange(n)).reshape([-1] + [1] * (x.ndim - axis - 1))
        distances.append(distance.ravel())
    index = np.asarray(function(*numbered))
    source = np.repeat(np.arange(len(arrays)), [x.size for x in arrays])
    flat = index.ravel()
    return Plan(source[flat], np.concatenate(distances)[flat], index.shape)
