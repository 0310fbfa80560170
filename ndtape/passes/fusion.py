"""Fused instructions: a pass that makes one instruction of what a layer or a recurrent cell does.

    act(W @ x + U @ h + b)

is five instructions on a tape: two products, two sums and an activation, each with a result of its
own that only the next one reads.  `fused` finds such groups and puts one instruction, an `affine`,
in the place of the last of them; the others become `skip`s.  Instructions and slots keep their
numbers, so that whatever refers to a tape (guards, results, lines) holds for both; only the values
of skipped instructions are not there, but for the sum that the activation is applied to.

A group is a tree of additions whose inner results have one reader, with a product at least among
its leaves, and the activation (any row with one operand) of the whole sum, if that is its only
reader.  Leaves that are no products are spans: of the shape of the result, or broadcast along its
rows or columns.  Sums may be added up in another order than recorded; everything else gives the
same bits.

The pass works on columns of the whole tape at once, with a step in Python only for each *different*
descriptor: a loop over T steps has as many of them as one step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import nest
from ..errors import TapeError
from ..nest import BODY, ENTRY, FLAGS, LISTS, LOOP, LOOPS, SIZE, U
from ..ops import FIRST_WIDE, UNARY, WIDE, WIDE_CODES
from ..tape import SLOT_MASK
from .code import Columns, sizes_of

DOT, ADD, SKIP, AFFINE = (WIDE_CODES[name] for name in ("dot", "add", "skip", "affine"))
ROUND = WIDE_CODES["round32"]
ACTIVATIONS = [
    w.code for w in WIDE if w.row is not None and w.row.kind == UNARY and w.code != ROUND
]
# How an operand is spread over rows x columns of a result.
NOT, FULL, EACH_ROW, EACH_COLUMN, NUMBER = range(5)
OPERANDS = np.array([(1 << len(w.operands)) - 1 for w in WIDE])
HEAD = BODY + LOOP  # words of an affine before its list


class Links(NamedTuple):
    """Who reads whom: for each instruction the ones that write its operands, -1 without one."""

    a: np.ndarray
    b: np.ndarray
    readers: np.ndarray  # how often each result is read


def fused(columns: Columns, kept: np.ndarray) -> Columns | None:
    """The columns with fused instructions; None where nothing can be fused.

    `kept` are slots whose values somebody wants besides the instructions.
    """
    if np.isin(columns["op"], (SKIP, AFFINE)).any():
        raise TapeError("this tape has fused instructions already: fuse it last, and once")
    sizes = sizes_of(columns)
    out = np.concatenate([[0], np.cumsum(sizes)])
    links = _links(columns, out, np.asarray(kept, np.int64))
    groups = _groups(columns, sizes, out[:-1], links)
    return None if groups is None else _rewritten(columns, sizes, out[:-1], groups)


class Packed(NamedTuple):
    """Columns for sweeps alone, with `out`, whose slots are no prefix sum of sizes any more."""

    columns: Columns
    positions: np.ndarray  # which instruction each of them was
    first: np.ndarray  # by old instruction: the first slot of its result
    moved: np.ndarray  # by old instruction: how much smaller its slots have become
    slots: int

    def slot(self, slot: int) -> int:
        """The new number of a slot."""
        return int(slot - self.moved[np.searchsorted(self.first, slot, "right") - 1])


def packed(columns: Columns) -> Packed:
    """Fused columns without the instructions that are skipped, and without their slots.

    Numbers that nobody computes are then neither set to zero before a reverse sweep nor do they
    push others out of the caches: half of all numbers in an LSTM.
    """
    op, sizes = columns["op"], sizes_of(columns)
    ends = np.cumsum(sizes)
    first = ends - sizes
    skipped = op == SKIP
    sums = np.zeros(len(op), bool)
    sums[np.searchsorted(first, columns["a"][op == AFFINE])] = True
    sizes = np.where(skipped & ~sums, 0, sizes)
    moved = first - (np.cumsum(sizes) - sizes)
    result = {name: columns[name].copy() for name in ("op", "a", "b", "c", "m")}
    result["k"] = columns["k"]
    for name, at in places_of_slots(columns).items():
        slots = result[name][at].astype(np.int64)
        result[name][at] = slots - moved[np.searchsorted(first, slots, "right") - 1]
    result["out"] = (first - moved).astype(np.uint32)
    positions = np.flatnonzero(~skipped)
    for name in ("op", "out", "a", "b", "c"):
        result[name] = result[name][positions]
    return Packed(result, positions, first, moved, int(sizes.sum()))


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
    for at in c[kind == WIDE_CODES["collect"] - FIRST_WIDE].tolist():
        entries = np.arange(at + BODY, at + BODY + m[at + SIZE])
        words.append(entries[m[entries] >= 0])
    for at in c[kind == WIDE_CODES["call"] - FIRST_WIDE].tolist():
        words.append(at + BODY + 1 + 2 * np.arange(m[at + BODY]))
    words.append(_listed_slots(m, c[kind == AFFINE - FIRST_WIDE]))
    for at in c[kind == WIDE_CODES["weights"] - FIRST_WIDE].tolist():
        words.append(nest.slots_of_members(m, at))
    found["m"] = np.unique(np.concatenate(words))
    return found


def _listed_slots(m: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Where slots stand in the lists of affine instructions."""
    products, spans = m[c + HEAD + nest.PRODUCTS], m[c + HEAD + nest.SPANS]
    first = c + HEAD + LISTS
    entries = _ranks(first, products)
    flags = m[m[entries + 2] + FLAGS]
    x, y = entries[flags & nest.X_CONSTANT == 0], entries[flags & nest.Y_CONSTANT == 0] + 1
    entries = _ranks(first + ENTRY * products, spans)
    return np.concatenate([x, y, entries[m[entries + 3] == 0]])


def _ranks(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The places of `counts` entries from each `first` on."""
    owner = np.repeat(np.arange(len(counts)), counts)
    rank: np.ndarray = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    places: np.ndarray = first[owner] + ENTRY * rank
    return places


# --- who reads whom -------------------------------------------------------------------------------


def _links(columns: Columns, out: np.ndarray, kept: np.ndarray) -> Links:
    places = places_of_slots(columns)
    slots = {name: columns[name][at].astype(np.int64) for name, at in places.items()}
    written = {}
    for name in "ab":
        written[name] = np.full(len(columns["op"]), -1)
        written[name][places[name]] = _writer(out, slots[name])
    # What stands in words may be shared by instructions: never one reader alone.
    read = np.concatenate([slots["a"], slots["b"], slots["c"], slots["m"], slots["m"], kept, kept])
    readers = np.bincount(_writer(out, read), minlength=len(columns["op"]))
    return Links(written["a"], written["b"], readers)


def _writer(out: np.ndarray, slots: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.searchsorted(out, slots, "right") - 1
    return found


# --- groups ---------------------------------------------------------------------------------------


class Groups(NamedTuple):
    """What is fused.  By group: the last sum, its activation or -1, and the layout of the result;
    products and spans with the numbers of their groups, in order."""

    sums: np.ndarray
    activations: np.ndarray
    last: np.ndarray  # the instruction that has the result
    rounded: np.ndarray
    columns: np.ndarray
    products: np.ndarray  # instructions
    product_groups: np.ndarray
    spans: np.ndarray  # (START, spread, CONSTANT)
    span_groups: np.ndarray
    skipped: np.ndarray


class Shapes(NamedTuple):
    """By instruction: how x and y are spread, and the columns of the result where that says it."""

    x: np.ndarray
    y: np.ndarray
    columns: np.ndarray


def _groups(columns: Columns, sizes: np.ndarray, out: np.ndarray, links: Links) -> Groups | None:
    op, count = columns["op"], len(columns["op"])
    is_dot = (op == DOT) & (sizes > 1)
    if not is_dot.any():
        return None
    shapes = _shapes(columns)
    is_add = (op == ADD) & (sizes > 1) & (shapes.x != NOT) & (shapes.y != NOT)

    def inner(name: str, spread: np.ndarray, of: np.ndarray) -> np.ndarray:
        """Instructions whose operand is a whole result of some others that nobody else reads."""
        writer, slot = getattr(links, name), columns[name]
        fits: np.ndarray = (writer >= 0) & (spread == FULL) & of[writer]
        fits &= (links.readers[writer] == 1) & (out[writer] == slot)
        fits &= sizes[writer] == sizes
        return fits

    is_round = (op == ROUND) & inner("a", shapes.x, is_dot | is_add)
    is_sum = is_dot | is_add | is_round
    joins_x = is_add & inner("a", shapes.x, is_sum) | is_round
    joins_y = is_add & inner("b", shapes.y, is_sum)
    top = np.arange(count)
    top[links.a[joins_x]] = np.flatnonzero(joins_x)
    top[links.b[joins_y]] = np.flatnonzero(joins_y)
    joined = top != np.arange(count)
    while True:  # to the last addition of the tree
        above = top[top]
        if np.array_equal(above, top):
            break
        top = above
    activates = np.isin(op, ACTIVATIONS) & inner("a", shapes.x, is_sum)
    finishes = (op == ROUND) & inner("a", shapes.x, activates)
    activation, final = np.full(count, -1), np.full(count, -1)
    activation[links.a[activates]] = np.flatnonzero(activates)
    final[links.a[finishes]] = np.flatnonzero(finishes)

    broadcast = is_add & (shapes.columns > 0)
    widest, narrowest = np.zeros(count, np.int64), np.full(count, 1 << 40)
    np.maximum.at(widest, top[broadcast], shapes.columns[broadcast])
    np.minimum.at(narrowest, top[broadcast], shapes.columns[broadcast])
    products = np.bincount(top[is_dot], minlength=count)
    chosen = is_sum & ~joined & (products > 0) & (widest <= narrowest)
    chosen &= ~is_dot | (activation >= 0)
    # Of sums that are rounded the terms need not be; but a sum in float64 may have terms that are.
    chosen &= is_round | (np.bincount(top[is_round], minlength=count) == 0)
    if not chosen.any():
        return None
    sums = np.flatnonzero(chosen)
    group = np.full(count, -1)
    group[sums] = np.arange(len(sums))
    group = np.where(is_sum, group[top], -1)

    mine = np.flatnonzero(is_dot & (group >= 0))
    # The product whose factors are known last is the last one.
    latest = np.maximum(links.a[mine], links.b[mine])
    mine = mine[np.lexsort((latest, group[mine]))]
    layout = np.where(widest[sums] > 0, widest[sums], sizes[sums])
    spans, span_groups = _spans(columns, shapes, is_add & (group >= 0), (joins_x, joins_y), group)
    activation = activation[sums]
    final = np.where(activation >= 0, final[activation], -1)
    last = np.where(final >= 0, final, np.where(activation >= 0, activation, sums))
    skipped = group >= 0
    skipped[activation[activation >= 0]] = True
    skipped[last] = False
    rounded = is_round[sums] + 2 * (final >= 0)
    return Groups(sums, activation, last, rounded, layout, mine, group[mine], spans, span_groups,
                  np.flatnonzero(skipped))  # fmt: skip


def _spans(
    columns: Columns, shapes: Shapes, adds: np.ndarray, joins: tuple[np.ndarray, ...],
    group: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The operands of additions that are leaves."""
    found, groups = [], []
    flags = columns["m"][columns["c"][adds].astype(np.int64) + FLAGS]
    for j, (name, spread) in enumerate((("a", shapes.x), ("b", shapes.y))):
        leaf = ~joins[j][adds]
        at = np.flatnonzero(adds)[leaf]
        constant = flags[leaf] >> j & 1
        found.append(np.stack([columns[name][at].astype(np.int64), spread[at], constant], 1))
        groups.append(group[at])
    spans, by_group = np.concatenate(found), np.concatenate(groups)
    order = np.argsort(by_group, kind="stable")
    return spans[order], by_group[order]


def _shapes(columns: Columns) -> Shapes:
    """One step for each different descriptor of a kind that takes part."""
    op, m = columns["op"], columns["m"]
    x, y, width = (np.zeros(len(op), np.int64) for _ in range(3))
    for is_kind in (op == ADD, np.isin(op, [*ACTIVATIONS, ROUND])):
        at = np.flatnonzero(is_kind)
        places, which = np.unique(columns["c"][at], return_inverse=True)
        known = np.array([_shape(m, int(c)) for c in places], np.int64).reshape(-1, 3)
        x[at], y[at], width[at] = known[which].T
    return Shapes(x, y, width)


def _shape(m: np.ndarray, c: int) -> tuple[int, int, int]:
    """How x and y are spread over the result of an elementwise instruction, and its columns."""
    loops = m[c + BODY : c + BODY + LOOP * m[c + LOOPS]].reshape(-1, LOOP)
    if len(loops) == 1:
        ((_, sz, *strides, _),) = loops.tolist()
        x, y = ({1: FULL, 0: NUMBER}.get(s, NOT) for s in strides)
        return (x, y, 0) if sz == 1 else (NOT, NOT, 0)
    if len(loops) != 2 or loops[1, 1] != 1 or loops[0, 1] != loops[1, 0]:
        return NOT, NOT, 0
    width = int(loops[1, 0])
    ways = {(width, 1): FULL, (0, 1): EACH_ROW, (1, 0): EACH_COLUMN, (0, 0): NUMBER}
    x, y = (ways.get(tuple(loops[:, j].tolist()), NOT) for j in (2, 3))
    return x, y, width


# --- columns --------------------------------------------------------------------------------------


def _rewritten(columns: Columns, sizes: np.ndarray, out: np.ndarray, groups: Groups) -> Columns:
    """The columns with the groups' instructions replaced."""
    last = groups.last
    words, places = _lists(columns, sizes[last], groups)
    known = len(columns["m"])
    result = {name: columns[name].copy() for name in ("op", "a", "b", "c")}
    result["op"][last] = AFFINE
    result["a"][last], result["b"][last] = out[groups.sums], 0
    result["c"][last] = known + places
    skipped = groups.skipped
    different, which = np.unique(sizes[skipped], return_inverse=True)
    empty = np.zeros((len(different), BODY), np.int64)
    empty[:, SIZE] = different
    result["op"][skipped] = SKIP
    result["a"][skipped] = result["b"][skipped] = 0
    result["c"][skipped] = known + len(words) + BODY * which
    result["k"] = columns["k"]
    result["m"] = np.concatenate([columns["m"], words, empty.ravel()])
    return result


def _lists(columns: Columns, sizes: np.ndarray, groups: Groups) -> tuple[np.ndarray, np.ndarray]:
    """The descriptors of all groups, one behind the other, and where each begins."""
    op, m, count = columns["op"], columns["m"], len(sizes)
    products = np.bincount(groups.product_groups, minlength=count)
    spans = np.bincount(groups.span_groups, minlength=count)
    lengths = HEAD + LISTS + ENTRY * (products + spans)
    places = np.cumsum(lengths) - lengths
    words = np.zeros(int(lengths.sum()), np.int64)
    head = np.zeros((count, HEAD + LISTS), np.int64)
    head[:, SIZE], head[:, LOOPS] = sizes, 1
    head[:, nest.KIND_WORD] = np.where(groups.activations >= 0, op[groups.activations], 0)
    head[:, BODY : BODY + 3] = np.stack([sizes, np.ones_like(sizes), np.ones_like(sizes)], 1)
    layout = sizes // groups.columns, groups.columns
    head[:, HEAD:] = np.stack([products, spans, *layout, groups.rounded], 1)
    words[places[:, None] + np.arange(HEAD + LISTS)] = head

    at = groups.products
    c = columns["c"][at].astype(np.int64)
    different, which = np.unique(c, return_inverse=True)
    forms = np.array([nest.form(m[j : j + BODY + 2 * LOOP].tolist()) for j in different.tolist()])
    entries = np.stack([columns["a"][at].astype(np.int64), columns["b"][at], c, forms[which]], 1)
    _enter(words, places + HEAD + LISTS, products, entries)

    start, spread, constant = groups.spans.T
    width = groups.columns[groups.span_groups]
    by_row = np.select([spread == FULL, spread == EACH_COLUMN], [width, 1], 0)
    step = np.isin(spread, (FULL, EACH_ROW)).astype(np.int64)
    entries = np.stack([start, by_row, step, constant], 1)
    _enter(words, places + HEAD + LISTS + ENTRY * products, spans, entries)
    return words, places


def _enter(words: np.ndarray, places: np.ndarray, counts: np.ndarray, entries: np.ndarray) -> None:
    """Write the entries, sorted by group, one behind the other from their groups' places on."""
    words[_ranks(places, counts)[:, None] + np.arange(ENTRY)] = entries
