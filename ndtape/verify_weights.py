"""The rules of `weights`: which slots its block of products reads and writes, see nest.py.

Its operands and loops are those of a `dot` and are checked with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .nest import (
    BODY,
    DEPTH,
    HEIGHT,
    LOOP,
    MEMBER_ROWS,
    PAIRS,
    SIDE,
    SILENT,
    START,
    STEP,
    WIDTH,
)
from .tape import MAX_SLOTS

if TYPE_CHECKING:
    from .verify_places import Places
    from .verify_wide import Descriptors

Reach = tuple[int, int]  # the lowest and the highest place of a walk, from its start


def check_weights(d: Descriptors, m: np.ndarray, places: Places, constants: int) -> None:
    """Raise `BadTapeError` if a rule is broken; `places` says where results lie."""
    for j in np.flatnonzero(d.of_kind("weights")).tolist():
        record = _record(d, j, m)
        _check_sizes(d, j, record)
        _check_places(d, j, record, places, constants)


def _record(d: Descriptors, j: int, m: np.ndarray) -> np.ndarray:
    """The words behind the loops."""
    count, first = int(d.count[j]), int(d.c[j]) + BODY + LOOP * int(d.loops[j])
    if not 1 <= count <= MAX_SLOTS:
        d.refuse(j, f"has {count} members, not 1 to {MAX_SLOTS}")
    if first + PAIRS + 2 * count > len(m):
        d.refuse(j, f"has words up to {first + PAIRS + 2 * count}; there are {len(m)}")
    if d.u[j] & ~SILENT:
        d.refuse(j, f"has operand U = {d.u[j]}")
    return m[first : first + PAIRS + 2 * count]


def _check_sizes(d: Descriptors, j: int, record: np.ndarray) -> None:
    if ((record > MAX_SLOTS) | (record < -MAX_SLOTS)).any():
        d.refuse(j, f"has a word beyond {MAX_SLOTS} in its block of products")
    step, height, width, rows, side = (int(record[x]) for x in (STEP, HEIGHT, WIDTH, DEPTH, SIDE))
    if min(height, width, rows) < 1 or rows > MEMBER_ROWS or side not in (0, 1):
        d.refuse(j, f"adds {height} by {width} numbers of {rows} rows, side {side}")
    if height > 1 and abs(step) < width:
        d.refuse(j, f"adds to rows of {width} numbers that are {step} apart")


def _check_places(
    d: Descriptors, j: int, record: np.ndarray, known: Places, constants: int
) -> None:
    """Weight, adjoints and factors lie each within one result, or among the constants."""
    step, height, width, rows, ws, wr, xs, xr, side = record[STEP:PAIRS].tolist()
    long, other = (width, height) if side else (height, width)
    start = record[START : START + 1]
    adjoints, factors = record[PAIRS:].reshape(-1, 2).T
    if known.late(d.index[j : j + 1], start, start).any():
        d.refuse(j, f"adds to slot {start[0]}, which is not written before it")
    for what, places, reach in (
        ("adds to", start, _reach((height, step), (width, 1))),
        ("reads adjoints of", adjoints, _reach((long, ws), (rows, wr))),
        ("reads factors of", factors[factors >= 0], _reach((other, xs), (rows, xr))),
    ):
        low, high = places + reach[0], places + reach[1]
        bad = (low < 0) | (high >= known.slots)
        bad |= known.apart(np.where(bad, 0, low), high)
        if bad.any():
            d.refuse(j, f"{what} slots {low[bad][0]} to {high[bad][0]}, which are not one result")
    reach = _reach((other, xs), (rows, xr))
    pool = -1 - factors[factors < 0]
    bad = (pool + reach[0] < 0) | (pool + reach[1] >= constants)
    if bad.any():
        d.refuse(j, f"reads constants from {pool[bad][0]} on, the pool has {constants}")


def _reach(*loops: tuple[int, int]) -> Reach:
    """How far a walk by loops (extent, stride) goes down and up."""
    far = [(extent - 1) * stride for extent, stride in loops]
    return sum(min(x, 0) for x in far), sum(max(x, 0) for x in far)
