"""What passes over scalar instructions share: readers of slots, and slots that stand for others."""

from __future__ import annotations

import numpy as np

from ..ops import FIRST_WIDE, WIDE_CODES
from .code import NAMES, Code, Columns
from .operands import places_of_slots, reads
from .tables import SLOT_BITS

MANY = 1 << 20  # readers: not to be counted
FEW, SLOTS_A_SCALAR = 4096, 16
WIDE_INPUT = WIDE_CODES["wide_input"]
ONE_BY_ONE = [WIDE_CODES[name] for name in ("collect", "terms", "wide_input")]  # read no spans


def scalars(code: Code) -> int:
    """How many instructions behind the inputs are scalar ones; 0 where they do not matter.

    Passes over scalars have tables by slot, which cost more than they save in programs on arrays.
    """
    count = int(np.count_nonzero(code.columns["op"][code.inputs :] < FIRST_WIDE))
    return count if code.slots < max(FEW, SLOTS_A_SCALAR * count) else 0


def copied(code: Code) -> Columns:
    """The columns, those with an entry an instruction copied to be written."""
    return {**code.columns, **{name: code.columns[name].copy() for name in NAMES}}


def wide_rows(columns: Columns) -> tuple[np.ndarray, Columns]:
    """Which instructions are wide and have operands, and the columns of these alone."""
    wide = np.flatnonzero((columns["op"] >= FIRST_WIDE) & (columns["op"] != WIDE_INPUT))
    return wide, {**columns, **{name: columns[name][wide] for name in NAMES}}


def readers_of(code: Code, everywhere: bool = False) -> np.ndarray:
    """By slot that a scalar instruction writes: how many operands of such it is; MANY more for
    results, and where an operation on arrays reads.  With `everywhere`, of all other slots, too.
    """
    from ._counting import STATE, count
    from ._walking import Words

    columns = code.columns
    found = np.zeros(code.slots, np.int64)
    wide, some = wide_rows(columns)
    if len(wide):
        walked = reads(some)
        slots = np.arange(code.slots)
        if not everywhere:
            slots = np.sort(columns["out"][columns["op"] < FIRST_WIDE].astype(np.int64))
        covers = np.zeros(len(slots) + 1, np.int64)
        np.add.at(covers, np.searchsorted(slots, walked.low), MANY)
        np.add.at(covers, np.searchsorted(slots, walked.high, "right"), -MANY)
        found[slots] = np.cumsum(covers)[:-1]
    found[code.results] += MANY
    given = {name: columns[name] for name in ("op", "a", "b", "c")}
    Words(STATE, **given, slot_bits=SLOT_BITS, readers=found).run(count, 0, code.length)
    return found


def resolved(code: Code, columns: Columns, alias: np.ndarray) -> Code:
    """The code with those columns, where scalar instructions read what `alias` says already.

    `alias` has by slot the one that stands for it + 1, or 0; equal words are read by equal
    instructions, so that one copy of the words serves them all.
    """
    wide, some = wide_rows(columns)
    columns = dict(columns)
    for name, at in places_of_slots(some).items() if len(wide) else ():
        slots = some[name][at].astype(np.int64)
        fresh = np.where(alias[slots] > 0, alias[slots] - 1, slots)
        if np.array_equal(fresh, slots):
            continue
        if name == "m":
            columns["m"] = columns["m"].copy()
            columns["m"][at] = fresh
        else:
            columns[name][wide[at]] = fresh
    results = np.where(alias[code.results] > 0, alias[code.results] - 1, code.results)
    return code._replace(columns=columns, results=results)


def laid_out(code: Code) -> np.ndarray:
    """A mask: the instructions whose result some walk reads in one piece with others.

    Nothing else can stand for them: their places count.
    """
    columns, op = code.columns, code.columns["op"]
    mask = np.zeros(code.length, bool)
    spans = np.flatnonzero((op >= FIRST_WIDE) & ~np.isin(op, ONE_BY_ONE))
    if not len(spans):
        return mask
    out = columns["out"].astype(np.int64)
    order = np.argsort(out, kind="stable")
    walked = reads({**columns, **{name: columns[name][spans] for name in NAMES}})
    first, last = (
        np.searchsorted(out[order], slots, "right") - 1 for slots in (walked.low, walked.high)
    )
    across = np.flatnonzero(first < last)
    covers = np.zeros(code.length + 1, np.int64)
    np.add.at(covers, first[across], 1)
    np.add.at(covers, last[across] + 1, -1)
    mask[order] = np.cumsum(covers)[:-1] > 0
    return mask
