"""What the passes may bring, by a look that costs a hundredth of them."""

from __future__ import annotations

import numpy as np

from ..ops import CODES, FIRST_WIDE
from ..tape import SLOT_MASK
from .code import Columns, sizes_of
from .fusion import ACTIVATIONS, ADD, DOT, ROUND

SUMS = [code for (name, _), code in CODES.items() if name in ("add", "subtract")]
TERMS = [*SUMS, *[code for (name, _), code in CODES.items() if name == "multiply"]]
KERNEL = 20  # scalar operations that an operation on arrays costs besides its numbers
# Shares of the time of what is joined to its only reader that have been saved: moons and cascade
# 0.6 to 0.8 of scalars, recurrent networks 0.15 to 0.35 of arrays.
SCALARS, ARRAYS = 0.8, 0.3


def weighed(columns: Columns) -> tuple[float, float]:
    """About what a sweep costs, and how much of that the passes may save, in scalar operations.

    A product or a sum that only a sum reads becomes part of it, be they numbers or arrays, and so
    does a sum of arrays that only an activation reads.
    """
    op, out = columns["op"], columns["out"].astype(np.int64)
    sizes = sizes_of(columns)
    wide = op >= FIRST_WIDE
    cost = np.where(wide, KERNEL + sizes, 1).astype(float)
    reads = []
    for j, name in enumerate("abc"):
        here = SLOT_MASK[op, j] | (wide if name != "c" else False)
        reads.append((np.flatnonzero(here), columns[name][here].astype(np.int64)))
    top = int((out + sizes).max(initial=1))
    reads = [(at, np.minimum(slots, top - 1)) for at, slots in reads]  # constants among them
    readers = np.bincount(np.concatenate([slots for _, slots in reads]), minlength=top)
    writer = np.full(top, -1)
    writer[out] = np.arange(len(op))
    joined = np.zeros(len(op))
    for takers, taken, share in (
        (SUMS, TERMS, SCALARS),
        ([ADD, ROUND, *ACTIVATIONS], [DOT, ADD, ROUND], ARRAYS),
    ):
        takes, fits = np.isin(op, takers), np.isin(op, taken)
        for at, slots in reads[:2]:
            mine = takes[at]
            w, alone = writer[slots[mine]], readers[slots[mine]] == 1
            found = w[alone & (w >= 0)]
            joined[found[fits[found]]] = share
    return float(cost.sum()), float((cost * joined).sum())
