"""The rules of wide instructions: descriptors, and the walks that they describe.

All of them are checked at once, a column a rule; what remains in Python is one step for each
`collect`, `call` and wide `polygamma`, whose lists have lengths of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import NamedTuple, NoReturn

import numpy as np

from .errors import BadTapeError
from .nest import (
    BODY,
    FLAGS,
    KIND_WORD,
    LOOP,
    LOOPS,
    SILENT,
    SIZE,
    X_QUIET,
    Y_QUIET,
    U,
    Walk,
    walks,
)
from .ops import FIRST_WIDE, WIDE, WIDE_CODES
from .tape import MAX_SLOTS
from .verify_places import Places
from .verify_terms import check_terms
from .verify_weights import check_weights

MAX_LOOPS = 48  # a word of the scratch memory each; the others are for calls of BLAS
MAX_STEPS = 1 << 62  # of a contraction, whose loops may be more than its result and operands have
LARGEST_ORDER = 1e4  # of polygamma

PRODUCTS = ("dot", "weights")
REDUCING = ("sum", "max", "min", *PRODUCTS)
NESTED = np.array([w.row is not None or w.name in (*REDUCING, "cumsum", "affine") for w in WIDE])
COUNTING = ("cumsum", "gather", "scatter_add", "call", "affine", "weights", "terms")
COUNTED = np.array([w.name in COUNTING for w in WIDE])
QUIET = np.array([X_QUIET | Y_QUIET if w.name in PRODUCTS else 0 for w in WIDE])
# Bit j: the operand in column a, in column b, in the word U exists.
OPERANDS = np.array([1 if w.name == "wide_input" else (1 << len(w.operands)) - 1 for w in WIDE])
NAMES = "xyu"


@dataclass(frozen=True)
class Descriptors:
    """The wide instructions of a tape: a number for each of them in each array."""

    index: np.ndarray  # of the instruction
    kind: np.ndarray  # position in WIDE
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray  # where the descriptor begins
    size: np.ndarray
    flags: np.ndarray
    u: np.ndarray
    count: np.ndarray  # the word KIND_WORD
    loops: np.ndarray  # how many
    nest: np.ndarray  # (instructions, loops, LOOP), behind its own loops 1 0 0 0 0
    whose: str = ""  # where they are parts of other instructions

    def reject(self, bad: np.ndarray, sentence: Callable[[int], str]) -> None:
        """Raise if a rule is broken; `sentence(j)` is about the j-th wide instruction."""
        if bad.any():
            j = int(bad.argmax())
            self.refuse(j, sentence(j))

    def refuse(self, j: int, sentence: str) -> NoReturn:
        name = WIDE[self.kind[j]].name
        raise BadTapeError(f"instruction {self.index[j]} ({name}{self.whose}, wide) {sentence}")

    def of_kind(self, *names: str) -> np.ndarray:
        """A mask: the instructions with these names."""
        return np.isin(self.kind, [WIDE_CODES[name] - FIRST_WIDE for name in names])

    def has(self, operand: int) -> np.ndarray:
        """A mask: the instructions with an operand x (0), y (1) or u (2)."""
        found: np.ndarray = OPERANDS[self.kind] >> operand & 1 == 1
        return found

    def some(self, which: np.ndarray) -> Descriptors:
        """Those instructions alone."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Descriptors(**{
            name: part[which] if isinstance(part, np.ndarray) else part
            for name, part in parts.items()
        })  # fmt: skip

    def steps(self, chosen: np.ndarray) -> np.ndarray:
        """How often the chosen loops (a mask like extents) run together; -1 from 2**62 on."""
        total = np.ones(len(self.index), np.int64)
        for j in range(self.nest.shape[1]):
            extent = np.where(chosen[:, j], self.nest[:, j, 0], 1)
            fits = (total > 0) & (total <= MAX_STEPS // extent)
            total = np.where(fits, total * extent, -1)
        return total


def descriptors(columns: Mapping[str, np.ndarray], m: np.ndarray) -> Descriptors:
    """The words of all wide instructions, with every rule that they obey by themselves."""
    index = np.flatnonzero(columns["op"] >= FIRST_WIDE)
    kind, a, b, c = (columns[name][index].astype(np.int64) for name in ("op", "a", "b", "c"))
    return described(index, kind - FIRST_WIDE, a, b, c, m)


def described(
    index: np.ndarray, kind: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray,
    m: np.ndarray, whose: str = "",
) -> Descriptors:  # fmt: skip
    none = np.zeros((len(index), 0, LOOP), np.int64)
    d = Descriptors(index, kind, a, b, c, c, c, c, c, c, none, whose)
    d.reject((c < 0) | (c > len(m) - BODY),
             lambda j: f"has its descriptor at {c[j]}; there are {len(m)} words")  # fmt: skip
    size, flags, u, count, loops = (m[c + word] for word in (SIZE, FLAGS, U, KIND_WORD, LOOPS))
    d = Descriptors(index, kind, a, b, c, size, flags, u, count, loops, none, whose)
    d.reject((size < 1) | (size > MAX_SLOTS),
             lambda j: f"has a result of {size[j]} slots, not 1 to {MAX_SLOTS}")  # fmt: skip
    d.reject((loops < 0) | (loops > MAX_LOOPS),
             lambda j: f"has {loops[j]} loops; 0 to {MAX_LOOPS} are allowed")  # fmt: skip
    d.reject(~NESTED[kind] & (loops != 0), lambda j: f"has {loops[j]} loops and takes none")
    end = c + BODY + LOOP * loops
    d.reject(end > len(m), lambda j: f"has words up to {end[j]}; there are {len(m)}")
    d.reject((flags & ~(OPERANDS[kind] | QUIET[kind])) != 0,
             lambda j: f"has flags {flags[j]}, which name an operand that it has not")  # fmt: skip
    d.reject((flags != 1) & d.of_kind("wide_input"),
             lambda j: f"has flags {flags[j]}; it reads constants, which is 1")  # fmt: skip
    d.reject(~COUNTED[kind] & (count != 0), lambda j: f"has kind word {count[j]}, not 0")
    d = replace(d, nest=_nests(d, m))
    if len(index):
        _check_loops(d)
        _check_results(d)
        _check_unused(d)
    return d


def _nests(d: Descriptors, m: np.ndarray) -> np.ndarray:
    most = int(d.loops.max(initial=0))
    nest = np.zeros((len(d.index), most, LOOP), np.int64)
    nest[:, :, 0] = 1
    for j in range(most):
        has = d.loops > j
        first = d.c[has] + BODY + LOOP * j
        nest[has, j] = m[first[:, None] + np.arange(LOOP)]
    return nest


def check_wide(
    columns: Mapping[str, np.ndarray], m: np.ndarray, d: Descriptors, places: Places, calls: int
) -> None:
    """What operands walk over; `places` says where results lie."""
    if not len(d.index):
        return
    k = columns["k"]
    for walk in nested_walks(d):
        check_walks(d, walk, places, len(k))
    _check_lists(d, m, places, len(k))
    check_terms(d, m, places, len(k))
    _check_calls(d, m, places, calls)
    _check_orders(columns, d, m)
    check_weights(d, m, places, len(k))


def silent(d: Descriptors) -> np.ndarray:
    """A mask: the instructions `weights` in a place whose result somebody else computes."""
    mask: np.ndarray = d.of_kind("weights") & (d.u & SILENT != 0)
    return mask


# --- loops and results --------------------------------------------------------------------------


def _check_loops(d: Descriptors) -> None:
    extents, strides = d.nest[:, :, 0], d.nest[:, :, 1:]
    bad = (extents < 1) | (extents > MAX_SLOTS)
    d.reject(
        np.any(bad, 1), lambda j: f"has extents {_own(d, extents, j)}, not all 1 to {MAX_SLOTS}"
    )
    far = (strides > MAX_SLOTS) | (strides < -MAX_SLOTS)
    d.reject(np.any(far, (1, 2)), lambda j: f"has a stride beyond {MAX_SLOTS}")
    for operand, name in enumerate(NAMES):
        moving = np.any(strides[:, :, 1 + operand] != 0, 1)
        text = f"has strides of an operand {name}, which it has not"
        d.reject(NESTED[d.kind] & ~d.has(operand) & moving, partial(_always, text))
    total = d.steps(np.ones_like(extents, bool))
    d.reject((total < 0) | (~d.of_kind(*PRODUCTS) & (total > MAX_SLOTS)),
             lambda j: "has loops with more steps than a tape has slots")  # fmt: skip


def _own(d: Descriptors, words: np.ndarray, j: int) -> list[int]:
    """What instruction j has of a word of every loop."""
    return words[j, : d.loops[j]].tolist()  # type: ignore[no-any-return]


def _always(text: str, _: int) -> str:
    return text


def _check_results(d: Descriptors) -> None:
    """Each slot of a result belongs to one place of the loops over which it moves."""
    extents, sz = d.nest[:, :, 0], d.nest[:, :, 1]
    reduces = d.of_kind(*REDUCING)
    nested = NESTED[d.kind] & ~silent(d)
    kept = (extents > 1) & ((sz != 0) | ~reduces[:, None])
    total = d.steps(kept)
    d.reject(nested & (total != d.size),
             lambda j: f"has loops over {total[j]} results and a size of {d.size[j]}")  # fmt: skip
    # A contraction may write its result in another order: from the smallest stride to the largest.
    order = np.broadcast_to(np.arange(sz.shape[1])[::-1], sz.shape)
    by_stride = np.argsort(np.where(kept, sz, 0), axis=1, kind="stable")
    order = np.where(d.of_kind(*PRODUCTS)[:, None], by_stride, order)
    step = np.ones(len(d.index), np.int64)
    bad = np.zeros(len(d.index), bool)
    rows = np.arange(len(d.index))
    for j in order.T:
        here = kept[rows, j]
        bad |= here & (sz[rows, j] != step)
        step = np.where(here & ~bad, step * extents[rows, j], step)
    d.reject(
        nested & bad,
        lambda j: f"has strides {_own(d, sz, j)} of its result, which leave gaps or overlap",
    )
    axis = d.of_kind("cumsum")
    d.reject(axis & ((d.count < 0) | (d.count >= d.loops)),
             lambda j: f"runs along loop {d.count[j]}, it has {d.loops[j]}")  # fmt: skip
    counted = d.of_kind("gather", "scatter_add")
    d.reject(
        counted & ((d.count < 1) | (d.count > MAX_SLOTS)),
        lambda j: f"has an operand of {d.count[j]} elements, not 1 to {MAX_SLOTS}",
    )


def _check_unused(d: Descriptors) -> None:
    for operand, place in enumerate((d.a, d.b, d.u)):
        flagged = d.of_kind("weights") if operand == 2 else np.zeros(len(place), bool)
        bad = np.flatnonzero(~d.has(operand) & ~flagged & (place != 0))  # there, U is bits
        if len(bad):
            what = f"operand {'abU'[operand]} = {place[bad[0]]}"
            d.refuse(bad[0], f"has {what}, but its operation has no such operand")
    d.reject((d.u < 0) | (d.u > MAX_SLOTS), lambda j: f"has operand U = {d.u[j]}")


# --- walks --------------------------------------------------------------------------------------


class Walks(NamedTuple):
    """The walks over one operand: which instructions have it, and how far each reaches."""

    name: str
    there: np.ndarray
    constant: np.ndarray
    low: np.ndarray
    high: np.ndarray


def nested_walks(d: Descriptors) -> Iterator[Walks]:
    """The operands x, y and u, whether they have loops or are read from end to end."""
    lengths = _lengths(d)
    unlisted = ~d.of_kind("affine")  # which may write what it then reads
    for operand, start in enumerate((d.a, d.b, d.u)):
        there = d.has(operand) & unlisted
        # As floats, which are exact wherever slots are and do not wrap around beyond.
        reach = (d.nest[:, :, 0] - 1.0) * d.nest[:, :, 2 + operand]
        nested = NESTED[d.kind]
        low = np.where(nested, np.minimum(reach, 0.0).sum(1), 0.0)
        high = np.where(nested, np.maximum(reach, 0.0).sum(1), lengths[operand] - 1)
        constant = (d.flags >> operand & 1).astype(bool)
        yield Walks(NAMES[operand], there, constant, start + low, start + high)


def _lengths(d: Descriptors) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many elements x, y and u have where they are read from end to end."""
    gather, scatter = d.of_kind("gather"), d.of_kind("scatter_add")
    return np.where(gather, d.count, d.size), np.where(scatter, d.count, d.size), d.count


def check_walks(d: Descriptors, walk: Walks, places: Places, constants: int) -> None:
    text = _reaching(walk)
    pool = walk.there & walk.constant
    d.reject(pool & ((walk.low < 0) | (walk.high >= constants)),
             lambda j: f"{text(j)}, the pool has {constants} constants")  # fmt: skip
    slots = walk.there & ~walk.constant
    d.reject(slots & ((walk.low < 0) | (walk.high >= places.slots)),
             lambda j: f"{text(j)}, the tape has {places.slots} slots")  # fmt: skip
    low, high = (np.where(slots, x, 0) for x in (walk.low, walk.high))
    d.reject(slots & places.late(d.index, low, high),
             lambda j: f"{text(j)}, which are not all written before it")  # fmt: skip
    d.reject(slots & places.apart(low, high),
             lambda j: f"{text(j)}, which are not all of one result")  # fmt: skip


def _reaching(walk: Walks) -> Callable[[int], str]:
    return lambda j: f"reads {walk.name} from {walk.low[j]:.0f} to {walk.high[j]:.0f}"


# --- lists of their own length --------------------------------------------------------------------


def _check_lists(d: Descriptors, m: np.ndarray, places: Places, constants: int) -> None:
    """Entries of `collect`: slots, and constants as -1 - index."""
    for j in np.flatnonzero(d.of_kind("collect")).tolist():
        end = int(d.c[j] + BODY + d.size[j])
        if end > len(m):
            d.refuse(j, f"has entries up to word {end}; there are {len(m)}")
        entries = m[d.c[j] + BODY : end]
        beyond = (entries >= places.slots) | (entries < -constants)
        beyond[~beyond] = (entries[~beyond] >= 0) & places.late(
            np.full(np.count_nonzero(~beyond), d.index[j]), *[np.maximum(entries[~beyond], 0)] * 2
        )
        bad = entries[beyond].tolist()
        if bad and bad[0] >= 0:
            d.refuse(j, f"takes slot {bad[0]}, which is not written before it")
        if bad:
            d.refuse(j, f"takes constant {-1 - bad[0]}, the pool has {constants}")


def _check_calls(d: Descriptors, m: np.ndarray, places: Places, calls: int) -> None:
    """Which function, and its operands: pairs of a slot and a count."""
    for j in np.flatnonzero(d.of_kind("call")).tolist():
        if not 0 <= d.count[j] < calls:
            d.refuse(j, f"calls function {d.count[j]}, the tape has {calls} (columns bring none)")
        first = int(d.c[j]) + BODY + 1
        operands = int(m[first - 1]) if first <= len(m) else -1
        if not 0 <= operands <= (len(m) - first) // 2:
            d.refuse(j, f"has {operands} operands; there are {len(m)} words")
        starts, counts = m[first : first + 2 * operands].reshape(-1, 2).T
        limit = places.slots
        bad = (starts < 0) | (counts < 1) | (counts > limit) | (starts > limit - counts)
        low, high = np.where(bad, 0, starts), np.where(bad, 0, starts + counts - 1)
        bad |= places.late(np.full(len(low), d.index[j]), low, high) | places.apart(low, high)
        if bad.any():
            count, start = counts[bad][0], starts[bad][0]
            d.refuse(j, f"reads {count} slots from {start} on, which are not of one result "
                        "written before it")  # fmt: skip


def _check_orders(columns: Mapping[str, np.ndarray], d: Descriptors, m: np.ndarray) -> None:
    """The order of polygamma is a constant whole number, also along a walk."""
    for j in np.flatnonzero(d.of_kind("polygamma")).tolist():
        i = d.index[j]
        x, _ = walks("polygamma", m, int(columns["a"][i]), int(columns["b"][i]), int(d.c[j]))
        if not x.constant:
            d.refuse(j, "has an order that is not a constant")
        order = columns["k"][_visited(x, len(columns["k"]))]
        bad = order[~whole_orders(order)]
        if len(bad):
            d.refuse(j, f"has order {bad[0]}, not 0, 1, 2 …")


def _visited(x: Walk, constants: int) -> np.ndarray:
    """The places of a walk, without loops in which it stands still.

    Of one that comes to its places again and again, all between the first and the last: a list of
    its steps might not fit into memory.
    """
    moving = [(n, s) for n, s in zip(x.extents, x.strides, strict=True) if s]
    if math.prod(n for n, _ in moving) > 4 * constants:
        low, high = x.bounds()
        return np.arange(low, high + 1)
    kept = x._replace(extents=tuple(n for n, _ in moving), strides=tuple(s for _, s in moving))
    return kept.places()


def whole_orders(order: np.ndarray) -> np.ndarray:
    """Which numbers are orders of polygamma: its kernel loops over them."""
    whole: np.ndarray = (order >= 0) & (order <= LARGEST_ORDER) & (order == np.floor(order))
    return whole
