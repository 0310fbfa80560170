"""Algorithm 799, revolve (Griewank and Walther 2000): the rows of a plan with few snapshots.

Rows are (action, a, b); what the actions mean says `schedules.Plan`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ops import ADVANCE, RESTORE, REVERSE, STORE, TAPE


def recomputed(steps: np.ndarray, snapshots: np.ndarray) -> np.ndarray:
    """r·T − C(n+r, r−1) for arrays of T and n."""
    found: np.ndarray = steps * (steps - 1) // 2  # with one snapshot, where r may be as large as T
    some = np.flatnonzero(snapshots > 1)
    t, n = steps[some], snapshots[some]
    r, reach, before = np.zeros_like(t), np.ones_like(t), np.zeros_like(t)
    # reach = C(n+r, n); before = C(n+r, n+1) = C(n+r, r−1)
    while (low := reach < t).any():
        r += low
        before = np.where(low, before + reach, before)
        reach = np.where(low, reach * (n + r) // np.maximum(r, 1), reach)
    found[some] = r * t - before
    return found


def revolve(steps: int, snapshots: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Forward and reverse rows of Algorithm 799, and the slots they use, for two steps or more."""
    slots = min(snapshots, steps - 1)
    rows = _Rows(steps)
    _reverse_all(steps, slots, rows)  # counts them
    rows.make_room()
    _reverse_all(steps, slots, rows)
    first = int(rows.counts[steps]) - 1  # the first step that is gone back over
    return rows.rows[:first], rows.rows[first:], slots


def _reverse_all(steps: int, slots: int, rows: _Rows) -> None:
    """The rows of Algorithm 799.

    To reverse a range whose first state is held, with c slots (that one among them): go forward
    to a state within it, keep that in the next slot, reverse what follows with c−1 slots, then
    what comes before with c.  Ranges of one depth of this recursion are treated together, as
    arrays.
    """
    reach = _binomials(slots, steps if slots > 1 else 2)
    rows.add(np.array([steps]), STORE, np.array([0]), np.array([0]))
    start, end, free, here = (np.array([x]) for x in (0, steps, slots, True))
    r = np.array([np.searchsorted(reach[slots], steps)])  # means nothing for ranges with one slot
    while start.size:
        single = (free == 1) | (end - start <= 1)
        once = ~single & (r == 1)  # enough slots for every state of the range
        rows.one_by_one(start[single], end[single], slots - free[single], here[single])
        rows.all_stored(start[once], end[once], slots - free[once], here[once])
        start, end, free, here, r = (x[~(single | once)] for x in (start, end, free, here, r))
        # C(c+r−1, c) steps come before the new snapshot, or fewer, where what follows needs more.
        least = reach[free - 1, r - 1]
        middle = np.minimum(start + reach[free, r - 1], end - least)
        rows.restore(end, slots - free, start, here)
        rows.add(end, ADVANCE, start, middle)
        rows.add(end, STORE, slots - free + 1, middle)
        start, end, free, here, r = (
            np.concatenate(pair) for pair in
            [(middle, start), (end, middle), (free - 1, free),
             (np.ones_like(here), np.zeros_like(here)), (r - (end - middle <= least), r - 1)]
        )  # fmt: skip


def _binomials(slots: int, steps: int) -> np.ndarray:
    """C(n+r, n) for n = 0 … slots and r = 0 … the least with C(slots+r, slots) ≥ steps."""
    columns = [np.ones(slots + 1, np.int64)]
    while columns[-1][-1] < steps:
        columns.append(np.cumsum(columns[-1]))
    return np.stack(columns, 1)


class _Rows:
    """Rows of a plan, which are first counted and then put into their places.

    Each has a key, the step before which the range ends that it is for: rows stand by descending
    keys, those of one key in the order in which they come.  Ranges of one depth lie apart, so
    no key comes twice at a time.
    """

    def __init__(self, steps: int) -> None:
        self.counts = np.zeros(steps + 1, np.int64)  # rows of each key
        self.rows = np.empty((0, 3), np.int64)
        self.next: np.ndarray | None = None  # the place of the next row of each key

    def make_room(self) -> None:
        self.rows = np.empty((int(self.counts.sum()), 3), np.int64)
        self.next = np.cumsum(self.counts[::-1])[::-1] - self.counts

    def add(self, key: np.ndarray, action: int, a: np.ndarray, b: np.ndarray) -> None:
        self.put(key, 0, action, a, b)
        self.taken(key, 1)

    def put(self, key: np.ndarray, further: Any, action: int, a: np.ndarray, b: np.ndarray) -> None:
        """Rows some places further on, which are not `taken` yet."""
        if self.next is not None:
            places = self.next[key] + further
            self.rows[places, 0], self.rows[places, 1], self.rows[places, 2] = action, a, b

    def taken(self, key: np.ndarray, count: Any) -> None:
        (self.counts if self.next is None else self.next)[key] += count

    def restore(self, key: np.ndarray, slot: np.ndarray, t: np.ndarray, here: np.ndarray) -> None:
        """Snapshots become the state, where it is not already here."""
        self.add(key[~here], RESTORE, slot[~here], t[~here])

    def one_by_one(
        self, start: np.ndarray, end: np.ndarray, slot: np.ndarray, here: np.ndarray
    ) -> None:
        """Each step of ranges with one slot is reached from the first state."""
        which, place = _expanded(end - start)
        first, key = start[which], end[which] - place
        self.restore(key, slot[which], first, here[which] & (place == 0))
        far = key - 1 > first
        self.add(key[far], ADVANCE, first[far], key[far] - 1)
        self.add(key, TAPE, key - 1, key)
        self.add(key, REVERSE, key - 1, key)

    def all_stored(
        self, start: np.ndarray, end: np.ndarray, slot: np.ndarray, here: np.ndarray
    ) -> None:
        """Ranges with a slot for each of their states but the last, which is used at once."""
        self.restore(end, slot, start, here)
        which, place = _expanded(end - start - 1)
        state = start[which] + 1 + place
        self.put(end[which], 2 * place, ADVANCE, state - 1, state)
        kept = state < end[which] - 1
        self.put(end[which][kept], 2 * place[kept] + 1, STORE,
                 (slot[which] + 1 + place)[kept], state[kept])  # fmt: skip
        self.taken(end, 2 * (end - start - 1) - 1)
        which, place = _expanded(end - start)
        key = end[which] - place
        self.restore(key, slot[which] + key - 1 - start[which], key - 1, place == 0)
        self.add(key, TAPE, key - 1, key)
        self.add(key, REVERSE, key - 1, key)


def _expanded(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each entry of each range: which range, and its place in it."""
    which = np.repeat(np.arange(len(lengths)), lengths)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
