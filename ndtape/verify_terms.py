"""The rules of `terms`: their kinds and operands."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .nest import BODY, FIXED, PLAIN, PRODUCT, SCALED, TERM

if TYPE_CHECKING:
    from .verify_places import Places
    from .verify_wide import Descriptors


def check_terms(d: Descriptors, m: np.ndarray, places: Places, constants: int) -> None:
    """A result of one slot, and a list of terms whose operands are there."""
    mine = np.flatnonzero(d.of_kind("terms"))
    # Of instructions with the same words, the first has the fewest slots before it.
    mine = mine[np.unique(d.c[mine], return_index=True)[1]]
    d = d.some(mine)
    d.reject(d.size != 1, lambda j: f"has a result of {d.size[j]} slots, not 1")
    room = (len(m) - d.c - BODY) // TERM
    d.reject((d.count < 1) | (d.count > room),
             lambda j: f"has {d.count[j]} terms; {room[j]} have room")  # fmt: skip
    owner = np.repeat(np.arange(len(mine)), d.count)
    rank = np.arange(len(owner)) - (np.cumsum(d.count) - d.count)[owner]
    kind, p, q = m[(d.c[owner] + BODY + TERM * rank)[:, None] + np.arange(TERM)].T
    d = d.some(owner)
    d.reject(
        (kind < PLAIN) | (kind > FIXED + 1), lambda j: f"has a term of kind {kind[j]}, not 0 to 7"
    )
    kind = kind & ~1
    for slot, there in ((p, kind < FIXED), (q, kind == PRODUCT)):
        outside = there & ((slot < 0) | (slot >= places.slots))
        known = np.where(there & ~outside, slot, 0)
        late = there & ~outside & places.late(d.index, known, known)
        d.reject(outside | late, partial(_reads, slot))
    for unused, there in ((p, kind == FIXED), (q, kind == PLAIN)):
        d.reject(there & (unused != 0), lambda j: "has an operand that its kind has not")
    d.reject((kind >= SCALED) & ((q < 0) | (q >= constants)),
             lambda j: f"takes constant {q[j]}, the pool has {constants}")  # fmt: skip


def _reads(slots: np.ndarray, j: int) -> str:
    return f"takes slot {slots[j]}, which is not written before it"
