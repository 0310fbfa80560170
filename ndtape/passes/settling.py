"""Results that are read as one span lie in one span."""

from __future__ import annotations

import numpy as np

from ..nest import descriptor
from ..ops import WIDE_CODES
from .code import NAMES, Code, Goal

COLLECT = WIDE_CODES["collect"]


def settle(code: Code, goal: Goal) -> Code | None:
    """Collect, at the end, the results that do not lie side by side in their order.

    All results are one piece, unless the goal says which are.  In packs of lanes each slot is
    read by itself.
    """
    sizes = (len(code.results),) if goal.parts is None else goal.parts
    if goal.lanes:
        return None
    ends = np.cumsum(sizes)
    pieces = zip((ends - sizes).tolist(), ends.tolist(), strict=True)
    apart = [(lo, hi) for lo, hi in pieces if (np.diff(code.results[lo:hi]) != 1).any()]
    if not apart:
        return None
    results, slots, words = code.results.copy(), code.slots, [code.columns["m"]]
    place, rows = len(code.columns["m"]), []
    for lo, hi in apart:
        entries = np.array(descriptor(hi - lo, ()) + tuple(code.results[lo:hi].tolist()))
        rows.append((COLLECT, slots, 0, 0, place))
        words.append(entries)
        results[lo:hi] = slots + np.arange(hi - lo)
        place, slots = place + len(entries), slots + hi - lo
    columns = {**code.columns, "m": np.concatenate(words)}
    for name, fresh in zip(NAMES, np.array(rows).T, strict=True):
        columns[name] = np.append(columns[name], fresh.astype(columns[name].dtype))
    positions = np.append(code.positions, np.full(len(rows), code.positions[-1]))
    return code._replace(columns=columns, slots=slots, results=results, positions=positions)
