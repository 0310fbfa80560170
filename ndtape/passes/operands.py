"""Which slots instructions read: where their numbers stand, and how far each operand reaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .. import nest
from ..nest import BODY, ENTRY, FLAGS, KIND_WORD, LISTS, LOOP, LOOPS, SIZE, U
from ..ops import FIRST_WIDE, WIDE, WIDE_CODES
from ..tape import SLOT_MASK
from .code import Columns

OPERANDS = np.array([(1 << len(w.operands)) - 1 for w in WIDE])
SPANS = ("gather", "scatter_add")  # whose operands are read from end to end
LISTED = ("wide_input", "collect", "call", "affine", "terms", "skip", *SPANS)
NESTED = np.array([w.name not in LISTED for w in WIDE])  # operands move along the loops
TERM = 3  # words of an entry of `terms`: kind, p, q
TERM_SLOTS = np.array([1, 1, 3, 3, 1, 1, 0, 0])  # by kind: bit 0 if p is a slot, bit 1 if q is


def places_of_slots(columns: Columns) -> dict[str, np.ndarray]:
    """Where slots stand as operands: places in the columns a, b, c and in the words m."""
    op, m = columns["op"].astype(np.int64), columns["m"]
    wide = np.flatnonzero(op >= FIRST_WIDE)
    kind, c = op[wide] - FIRST_WIDE, columns["c"][wide].astype(np.int64)
    variable = OPERANDS[kind] & ~m[c + FLAGS]
    found: dict[str, np.ndarray] = {}
    for j, name in enumerate("abc"):
        reads = SLOT_MASK[op, j]
        if name != "c":
            reads[wide] = variable >> j & 1 == 1
        found[name] = np.flatnonzero(reads)
    words = [c[variable >> 2 & 1 == 1] + U]
    words += [places for _, places in _listed_places(m, kind, c)]
    for at in c[kind == _kind("weights")].tolist():
        words.append(nest.slots_of_members(m, at))
    said = np.zeros(len(m), bool)
    for places in words:
        said[places] = True
    found["m"] = np.flatnonzero(said)
    return found


def _kind(name: str) -> int:
    return WIDE_CODES.get(name, FIRST_WIDE - 1) - FIRST_WIDE  # -1 for what there is not


def _listed_places(
    m: np.ndarray, kind: np.ndarray, c: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Slots in lists of words: which wide instructions have them, and their places in m."""
    at = np.flatnonzero(kind == _kind("collect"))
    if len(at):
        owner, places = ragged(c[at] + BODY, m[c[at] + SIZE], 1)
        slots = m[places] >= 0
        yield at[owner[slots]], places[slots]
    at = np.flatnonzero(kind == _kind("call"))
    if len(at):
        owner, places = ragged(c[at] + BODY + 1, m[c[at] + BODY], 2)
        yield at[owner], places
    at = np.flatnonzero(kind == _kind("terms"))
    if len(at):
        owner, places = ragged(c[at] + BODY, m[c[at] + KIND_WORD], TERM)
        for j in range(2):
            slots = TERM_SLOTS[m[places]] >> j & 1 == 1
            yield at[owner[slots]], places[slots] + 1 + j
    if not (kind == _kind("affine")).any():
        return
    at, owner, products, spans_owner, spans = _affine_entries(m, kind, c)
    flags = m[m[products + 2] + FLAGS]
    for j in range(2):
        slots = flags >> j & 1 == 0
        yield at[owner[slots]], products[slots] + j
    slots = m[spans + 3] == 0
    yield at[spans_owner[slots]], spans[slots]


def _affine_entries(
    m: np.ndarray, kind: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The instructions `affine`; for each of their products and spans, whose it is, and where."""
    at = np.flatnonzero(kind == _kind("affine"))
    first = c[at] + BODY + LOOP * m[c[at] + LOOPS]
    products, spans = m[first + nest.PRODUCTS], m[first + nest.SPANS]
    return (
        at,
        *ragged(first + LISTS, products, ENTRY),
        *ragged(first + LISTS + ENTRY * products, spans, ENTRY),
    )


def ragged(first: np.ndarray, counts: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """`counts` places from each `first` on, `step` apart: whose they are, and the places."""
    owner = np.repeat(np.arange(len(counts)), counts)
    rank: np.ndarray = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    return owner, first[owner] + step * rank


# --- how far they reach ---------------------------------------------------------------------------


class Reads(NamedTuple):
    """Every operand that is read from slots: who reads it, its lowest and its highest slot."""

    reader: np.ndarray
    low: np.ndarray
    high: np.ndarray


def reads(columns: Columns) -> Reads:
    """All operands of all instructions: values that forward sweeps read.

    A walk with gaps counts as all slots from its lowest to its highest; an instruction that reads
    something twice stands there twice.  Of `weights`, which reads values in reverse sweeps only,
    the factors are there.
    """
    op, m = columns["op"].astype(np.int64), columns["m"]
    found = []
    for j, name in enumerate("abc"):
        at = np.flatnonzero(SLOT_MASK[op, j])
        slots = columns[name][at].astype(np.int64)
        found.append((at, slots, slots))
    wide = np.flatnonzero(op >= FIRST_WIDE)
    if len(wide):
        found += [(wide[at], low, high) for at, low, high in _wide_reads(columns, wide, m)]
    return Reads(*(np.concatenate(part) for part in zip(*found, strict=True)))


Ranges = tuple[np.ndarray, np.ndarray, np.ndarray]


def _wide_reads(columns: Columns, wide: np.ndarray, m: np.ndarray) -> Iterator[Ranges]:
    kind = columns["op"][wide].astype(np.int64) - FIRST_WIDE
    a, b, c = (columns[name][wide].astype(np.int64) for name in "abc")
    size, count, u = m[c + SIZE], m[c + KIND_WORD], m[c + U]
    variable = OPERANDS[kind] & ~m[c + FLAGS]
    for j, start in enumerate((a, b, u)):
        at = np.flatnonzero(NESTED[kind] & (variable >> j & 1 == 1))
        yield at, *walked(m, c[at], start[at], j)
    gather, scatter = kind == _kind("gather"), kind == _kind("scatter_add")
    if gather.any() or scatter.any():
        for chosen, start, length, j in (
            (gather, a, count, 0), (gather, b, size, 1),
            (scatter, a, size, 0), (scatter, b, count, 1), (scatter, u, count, 2),
        ):  # fmt: skip
            at = np.flatnonzero(chosen & (variable >> j & 1 == 1))
            yield at, start[at], start[at] + length[at] - 1
    listed = [w for w in ("collect", "terms") if w in WIDE_CODES]
    for at, places in _listed_places(m, kind, c):
        one = np.isin(kind[at], [_kind(name) for name in listed])
        yield at[one], m[places[one]], m[places[one]]
        call = kind[at] == _kind("call")
        start = m[places[call]]
        yield at[call], start, start + m[places[call] + 1] - 1
    yield from _affine_reads(m, kind, c)
    yield from _factors(m, kind, c)


def walked(
    m: np.ndarray, c: np.ndarray, start: np.ndarray, operand: int
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest place of walks along the loops of descriptors at c."""
    low, high = start.copy(), start.copy()
    loops = m[c + LOOPS]
    for j in range(int(loops.max(initial=0))):
        has = loops > j
        first = c[has] + BODY + LOOP * j
        reach = (m[first] - 1) * m[first + 2 + operand]
        low[has] += np.minimum(reach, 0)
        high[has] += np.maximum(reach, 0)
    return low, high


def _affine_reads(m: np.ndarray, kind: np.ndarray, c: np.ndarray) -> Iterator[Ranges]:
    if not (kind == _kind("affine")).any():
        return
    at, owner, products, spans_owner, spans = _affine_entries(m, kind, c)
    described = m[products + 2]
    for j in range(2):
        slots = m[described + FLAGS] >> j & 1 == 0
        yield at[owner[slots]], *walked(m, described[slots], m[products[slots] + j], j)
    slots = m[spans + 3] == 0
    spans, spans_owner = spans[slots], spans_owner[slots]
    first = (c[at] + BODY + LOOP * m[c[at] + LOOPS])[spans_owner]
    rows, width = m[first + nest.ROWS], m[first + nest.COLUMNS]
    start, by_row, step = (m[spans + j] for j in range(3))
    yield at[spans_owner], start, start + (rows - 1) * by_row + (width - 1) * step


def _factors(m: np.ndarray, kind: np.ndarray, c: np.ndarray) -> Iterator[Ranges]:
    """What instructions `weights` multiply adjoints with."""
    at = np.flatnonzero(kind == _kind("weights"))
    if not len(at):
        return
    first = c[at] + BODY + LOOP * m[c[at] + LOOPS]
    owner, pairs = ragged(first + nest.PAIRS, m[c[at] + KIND_WORD], 2)
    factors = m[pairs + 1]
    slots = factors >= 0
    owner, factors = owner[slots], factors[slots]
    of = first[owner]
    other = np.where(m[of + nest.SIDE] == 1, m[of + nest.HEIGHT], m[of + nest.WIDTH])
    rows = (m[of + nest.DEPTH] - 1) * m[of + nest.XR]
    along = (other - 1) * m[of + nest.XS]
    low = factors + np.minimum(rows, 0) + np.minimum(along, 0)
    yield at[owner], low, factors + np.maximum(rows, 0) + np.maximum(along, 0)
