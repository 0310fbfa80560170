"""Slots numbered again, without those that nobody writes."""

from __future__ import annotations

import numpy as np

from .code import Code, Goal
from .operands import places_of_slots, reads


def compact(code: Code, goal: Goal) -> Code | None:
    """The code on slots without gaps, in the order they had; None where there is no gap.

    Numbers that nobody computes are then neither set to zero before a reverse sweep nor do they
    push others out of the caches: half of all numbers in an LSTM.
    """
    used = code.writers() >= 0
    found = reads(code.columns)  # what a walk goes over keeps its distances
    covers = np.zeros(code.slots + 1, np.int64)
    np.add.at(covers, found.low, 1)
    np.add.at(covers, found.high + 1, -1)
    used |= np.cumsum(covers)[:-1] > 0
    if used.all():
        return None
    moved = np.cumsum(used) - 1
    columns = {name: column.copy() for name, column in code.columns.items()}
    for name, at in places_of_slots(columns).items():
        columns[name][at] = moved[columns[name][at].astype(np.int64)]
    columns["out"] = moved[columns["out"].astype(np.int64)].astype(np.uint32)
    slots = int(used.sum())
    return code._replace(columns=columns, slots=slots, results=moved[code.results])
