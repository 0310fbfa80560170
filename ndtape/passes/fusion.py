"""Fused instructions: a pass that makes one instruction of what a layer or a recurrent cell does.

    act(W @ x + U @ h + b)

is five instructions on a tape: two products, two sums and an activation, each with a result of its
own that only the next one reads.  `fuse` finds such groups and puts one instruction, an `affine`,
in the place of the last of them; the others are dropped.  The slots of the sum that the activation
is applied to stay: the affine writes them besides its result.

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
from ..nest import BODY, ENTRY, FLAGS, LISTS, LOOP, LOOPS, SIZE, X_CONSTANT, Y_CONSTANT
from ..ops import UNARY, WIDE, WIDE_CODES
from .code import Code, Columns, Goal, sizes_of
from .operands import ragged, reads

DOT, ADD, AFFINE = (WIDE_CODES[name] for name in ("dot", "add", "affine"))
ROUND = WIDE_CODES["round32"]
ACTIVATIONS = [
    w.code for w in WIDE if w.row is not None and w.row.kind == UNARY and w.code != ROUND
]
KINDS = [DOT, ADD, ROUND, *ACTIVATIONS]
# How an operand is spread over rows x columns of a result.
NOT, FULL, EACH_ROW, EACH_COLUMN, NUMBER = range(5)
HEAD = BODY + LOOP  # words of an affine before its list


class Links(NamedTuple):
    """For the instructions that take part: who writes their operands, -1 without one."""

    a: np.ndarray
    b: np.ndarray
    readers: np.ndarray  # how often each result is read


def fuse(code: Code, goal: Goal) -> Code | None:
    """The code with fused instructions; None where nothing can be fused."""
    op = code.columns["op"]
    if goal.lanes or not (op == DOT).any() or (op == AFFINE).any():
        return None
    sizes, out = sizes_of(code.columns), code.columns["out"].astype(np.int64)
    groups = _groups(code.columns, sizes, out, _links(code))
    if groups is None:
        return None
    kept = np.ones(code.length, bool)
    kept[groups.skipped] = False
    return code._replace(columns=_rewritten(code.columns, sizes, out, groups)).some(kept)


# --- who reads whom -------------------------------------------------------------------------------


def _links(code: Code) -> Links:
    columns = code.columns
    found = reads(columns)
    first, last = _writers(code, found.low), _writers(code, found.high)
    readers = np.bincount(first, minlength=code.length)
    for j in np.flatnonzero(first != last).tolist():
        several = np.unique(_writers(code, np.arange(found.low[j], found.high[j] + 1)))
        readers[several] += 1
        readers[first[j]] -= 1
    readers[np.unique(_writers(code, code.results))] += 1
    written = {}
    for name, bit in (("a", X_CONSTANT), ("b", Y_CONSTANT)):
        written[name] = np.full(code.length, -1)
        at = np.flatnonzero(_reads_slots(columns, name, bit))
        written[name][at] = _writers(code, columns[name][at].astype(np.int64))
    return Links(written["a"], written["b"], readers)


def _writers(code: Code, slots: np.ndarray) -> np.ndarray:
    """`Code.writers` of some slots, which are written: arrays have many more than instructions."""
    out = code.columns["out"]
    order = np.arange(code.length) if (out[1:] > out[:-1]).all() else np.argsort(out)
    found: np.ndarray = order[np.searchsorted(out[order], slots, "right") - 1]
    return found


def _reads_slots(columns: Columns, name: str, constant: int) -> np.ndarray:
    """A mask: the instructions of the kinds that take part, where an operand lies in slots."""
    chosen: np.ndarray = np.isin(columns["op"], [DOT, ADD] if name == "b" else KINDS)
    flags = columns["m"][columns["c"][chosen].astype(np.int64) + FLAGS]
    chosen[chosen] = flags & constant == 0
    return chosen


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
    result["out"], result["k"] = columns["out"], columns["k"]
    result["m"] = np.concatenate([columns["m"], words])
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
    words[ragged(places, counts, ENTRY)[1][:, None] + np.arange(ENTRY)] = entries
