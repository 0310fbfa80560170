"""Where results lie: slots without gaps, and slots that are used again where that is possible.

Code for values alone needs a result until its last reader.  Its slots are given out as registers
are (linear scan: Poletto, Sarkar 1999), so that a chain of a million instructions has three of them
and stays in the nearest cache.  Scalar instructions may write where an operand lies that they are
the last to read; those on arrays may not, since their kernels write while they read.

Code for derivatives keeps one slot a result, since reverse sweeps read values and add up adjoints:
slots that nobody writes any more are closed up, and the others stand in the order in which they are
written, which is that of the sweeps.  Spans whose values no derivative needs are shared even there
(sharing.py), where values and adjoints are more than the caches hold: a gradient through 2000 steps
of the Lax-Wendroff scheme, 42 MB, then takes a third of the time.  For single numbers it would not
pay: an instruction more to forget each adjoint costs as much as it saves, 15 to 30 % beyond the
caches and nothing within them.

What one walk reads stays together: slots of neighbouring results form *groups* that move as one.
Inputs stay in front, where every replay writes them.  The results that are asked for come to lie
in one span in the order asked for, wherever that is possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..nest import KIND_WORD
from ..ops import CODES, FIRST_WIDE, WIDE_CODES
from ..tape import SLOT_MASK
from .code import NAMES, Code, Columns, Goal, sizes_of
from .operands import Reads, places_of_slots, reads
from .sharing import adjoints_needed, forgetting, slots_needed

if TYPE_CHECKING:
    from ._slots import State

AFFINE, GUARD = WIDE_CODES["affine"], CODES["guard", "vk"]
SLOT_BITS = (SLOT_MASK * np.array([1, 2, 4])).sum(1).astype(np.uint8)  # of scalar opcodes
NEVER = -1
CACHE = 1 << 20  # bytes
SPAN = 16  # slots: shorter ones are not worth an instruction more
LEAST_SHARE = 0.25  # of spans, whose slots others may use


class Blocks(NamedTuple):
    """Spans that instructions write, by block in the order of slots, which have gaps perhaps."""

    writer: np.ndarray
    start: np.ndarray
    size: np.ndarray
    table: np.ndarray | None  # by slot: its block; None where slots are many more than blocks

    def of(self, slots: np.ndarray) -> np.ndarray:
        """The blocks that slots lie in."""
        found: np.ndarray
        if self.table is not None:
            found = self.table[slots]
        else:
            found = np.searchsorted(self.start, slots, "right") - 1
        return found


class Groups(NamedTuple):
    """Blocks that move together: runs of neighbours, by group in the order of slots."""

    of_block: np.ndarray
    start: np.ndarray
    size: np.ndarray
    first: np.ndarray  # the instruction that writes to it first
    reads: Reads  # of instructions on arrays
    pinned: int  # how many stay where they are: the inputs, in front


def renumbered(code: Code, goal: Goal) -> Code | None:
    """The same instructions with fewer slots; None where there is nothing to gain.

    >>> import ndtape as nt, numpy as np
    >>> from ndtape.passes import Goal, code_of
    >>> from ndtape.passes.slots import renumbered
    >>> with nt.Tape() as tape:
    ...     x = nt.var(1.0)
    ...     for _ in range(1000):
    ...         x = nt.sin(x)
    >>> code = code_of(tape, 1, np.array([x.slot]))
    >>> code.slots, renumbered(code, Goal(reverse=False)).slots
    (1001, 3)
    """
    blocks = _blocks(code)
    if blocks is None:
        return None
    found = _wide_reads(code.columns)
    blocks = _with_table(code, blocks, found)
    groups = _groups(code, blocks, found)
    state = _state(code, blocks, groups)
    results = _in_rows(code, blocks, groups, goal)
    again = np.zeros(0, np.int64)
    if not goal.reverse:
        place, slots = _shared(code, blocks, groups, results, state)
    elif not goal.lanes and _crowded(code, groups):
        place, slots, again = _partly_shared(code, blocks, groups, results, state)
    else:
        place, slots = _in_order(code, groups, results)
    shift = (place - groups.start)[groups.of_block]
    if slots == code.slots and not shift.any():
        return None
    better = _moved(code, blocks, shift, slots, state)
    if not len(again):
        return better
    return forgetting(better, groups.first[again], place[again], groups.size[again])


# --- what lives where, and how long ---------------------------------------------------------------


def _blocks(code: Code) -> Blocks | None:
    """The results of all instructions; None where some of them share slots already."""
    columns, writer = code.columns, np.arange(code.length)
    start, size = columns["out"].astype(np.int64), sizes_of(columns)
    affine = np.flatnonzero(columns["op"] == AFFINE)
    if len(affine):  # the sum before its activation is written besides
        c = columns["c"][affine].astype(np.int64)
        sums = affine[columns["m"][c + KIND_WORD] != 0]
        sums = sums[~np.isin(columns["a"][sums], start)]  # nor by an instruction `skip`
        writer = np.concatenate([writer, sums])
        start = np.concatenate([start, columns["a"][sums].astype(np.int64)])
        size = np.concatenate([size, size[sums]])
    if not _ascending(start):
        order = np.argsort(start, kind="stable")
        writer, start, size = writer[order], start[order], size[order]
    if not len(start) or (start[1:] < start[:-1] + size[:-1]).any():
        return None
    return Blocks(writer, start, size, None)


def _with_table(code: Code, blocks: Blocks, found: Reads) -> Blocks:
    """The same with a table, where one costs less than looking for each operand."""
    if code.slots > 4 * max(code.length, len(found.low)):
        return blocks
    table = np.zeros(code.slots, np.int64)
    table[blocks.start[1:]] = 1
    return blocks._replace(table=np.cumsum(table, out=table))


def _wide_reads(columns: Columns) -> Reads:
    """What instructions on arrays read."""
    wide = np.flatnonzero(columns["op"] >= FIRST_WIDE)
    some = {**columns, **{name: columns[name][wide] for name in NAMES}}
    found = reads(some)
    return found._replace(reader=wide[found.reader])


def _ascending(x: np.ndarray) -> bool:
    return bool((x[1:] >= x[:-1]).all())


def _groups(code: Code, blocks: Blocks, found: Reads) -> Groups:
    """Each block a group, but those between which a walk goes."""
    low, high = blocks.of(found.low), blocks.of(found.high)
    across, count = np.flatnonzero(low != high), len(blocks.start)
    front = code.columns["out"][: code.inputs][-1:].astype(np.int64)  # of the last input
    pinned = blocks.of(front) + 1
    if not len(across):
        parts = np.arange(count), blocks.start, blocks.size, blocks.writer
        return Groups(*parts, found, int(pinned.sum()))
    glued = np.bincount(low[across] + 1, minlength=count + 2)
    glued -= np.bincount(high[across] + 1, minlength=count + 2)
    begins = np.cumsum(glued)[:count] == 0
    start = np.flatnonzero(begins)
    end = np.append(start[1:], count) - 1
    size = blocks.start[end] + blocks.size[end] - blocks.start[start]
    first = np.minimum.reduceat(blocks.writer, start)
    of_block = np.cumsum(begins) - 1
    pinned = of_block[pinned - 1] + 1
    return Groups(of_block, blocks.start[start], size, first, found, int(pinned.sum()))


def _in_rows(code: Code, blocks: Blocks, groups: Groups, goal: Goal) -> np.ndarray:
    """The groups of those results that can lie side by side in the order asked for.

    All results are one piece, unless the goal says which are; what is an input, stands there twice
    or belongs to something else is left to `settle`.
    """
    found = groups.of_block[blocks.of(code.results)]
    parts = (len(found),) if goal.parts is None else goal.parts
    ends = np.cumsum(parts).tolist()
    taken: set[int] = set()
    rows = [np.zeros(0, np.int64)]
    for size, end in zip(parts, ends, strict=True):
        row = _row(groups, code.results[end - size : end], found[end - size : end])
        if len(row) and taken.isdisjoint(row.tolist()):
            rows.append(row)
            taken.update(row.tolist())
    return np.concatenate(rows)


def _row(groups: Groups, results: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The groups of results if they are whole groups, each there once, none of them pinned."""
    begins = results == groups.start[found]
    row: np.ndarray = found[begins]
    fits = len(row) and begins[0] and (row >= groups.pinned).all()
    if not fits or len(np.unique(row)) < len(row) or int(groups.size[row].sum()) != len(results):
        return row[:0]
    follows = (np.diff(results, prepend=-1) == 1) & (np.diff(found, prepend=-1) == 0)
    return row if (begins | follows).all() else row[:0]


def _lasts(code: Code, blocks: Blocks, groups: Groups, state: State) -> np.ndarray:
    """By group: the instruction that reads it last, or writes it; NEVER for results."""
    from ._slots import lives

    last = groups.first.copy()
    if len(groups.start) < len(blocks.start):
        np.maximum.at(last, groups.of_block, blocks.writer)
    state.set(last=last)
    state.run(lives, code.length)
    np.maximum.at(last, groups.of_block[blocks.of(groups.reads.low)], groups.reads.reader)
    last[groups.of_block[blocks.of(code.results)]] = NEVER
    return last


# --- places ---------------------------------------------------------------------------------------


def _in_order(code: Code, groups: Groups, results: np.ndarray) -> tuple[np.ndarray, int]:
    """Where each group begins, and how many slots that makes: in the order of writing.

    The span of the results stands where the first of them is written.
    """
    place, front, moving = _moving(groups, results)
    if len(results):
        at = np.searchsorted(groups.first[moving], groups.first[results].min())
        moving = np.concatenate([moving[:at], results, moving[at:]])
    ends = front + np.cumsum(groups.size[moving])
    place[moving] = ends - groups.size[moving]
    return place, int(ends[-1]) if len(moving) else front


def _moving(groups: Groups, results: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """Where groups begin now; the first slot behind the inputs; the groups which may go anywhere
    behind it, in the order of writing."""
    pinned = groups.pinned
    front = int(groups.start[pinned - 1] + groups.size[pinned - 1]) if pinned else 0
    free = np.ones(len(groups.start), bool)
    free[:pinned] = free[results] = False
    moving = np.flatnonzero(free)
    if not _ascending(groups.first[moving]):
        moving = moving[np.argsort(groups.first[moving], kind="stable")]
    return groups.start.copy(), front, moving


def _in_front(groups: Groups, results: np.ndarray, place: np.ndarray, front: int) -> int:
    """Lay the span of the results behind the inputs; where it ends."""
    ends = front + np.cumsum(groups.size[results])
    place[results] = ends - groups.size[results]
    return int(ends[-1]) if len(results) else front


def _shared(
    code: Code, blocks: Blocks, groups: Groups, results: np.ndarray, state: State
) -> tuple[np.ndarray, int]:
    """Where each group begins, and how many slots that makes: places are used again.

    First the span of the results, then numbers, then spans.
    """
    place, front, moving = _moving(groups, results)
    front = _in_front(groups, results, place, front)
    last = _lasts(code, blocks, groups, state)
    guards = code.columns["op"][groups.first[moving]] == GUARD  # which write nothing
    guards &= last[moving] == groups.first[moving]
    idle, moving = moving[guards], moving[~guards]
    _give_out(code, groups, moving, last, place, state)
    place[moving] += np.where(groups.size[moving] > 1, front + state["numbers"], front)
    end = front + state["numbers"] + state["spans"]
    place[idle] = end  # whoever counts the slots in front of a guard finds all of them
    return place, end + bool(len(idle))


def _give_out(
    code: Code, groups: Groups, moving: np.ndarray, last: np.ndarray, place: np.ndarray,
    state: State,
) -> np.ndarray:  # fmt: skip
    """Places for groups that live until `last`; those which lie where one has been before."""
    from ._slots import places

    count, big = len(groups.start), groups.size > 1
    again = np.zeros(count, np.int64)
    words = {"dying": code.length, "next": count, "single": count, "low": big.sum()}
    state.set(
        first=groups.first, last=last, size=groups.size, place=place, order=moving,
        count=len(moving), again=again, high=np.zeros(big.sum() + 1, np.int64),
        strict=((code.columns["op"][groups.first] >= FIRST_WIDE) | big).astype(np.int64),
        **{name: np.full(number + 1, NEVER) for name, number in words.items()},
    )  # fmt: skip
    state.run(places, count)
    return np.flatnonzero(again)


def _crowded(code: Code, groups: Groups) -> bool:
    """Whether values and adjoints of spans push each other out of the nearest caches."""
    spans = groups.size[groups.pinned :]
    return 16 * int(spans[spans >= SPAN].sum()) > CACHE


def _partly_shared(
    code: Code, blocks: Blocks, groups: Groups, results: np.ndarray, state: State
) -> tuple[np.ndarray, int, np.ndarray]:
    """Where each group begins, how many slots that makes, and which lie where one has been before.

    Spans whose values no derivative needs are shared: see sharing.py.
    """
    place, front, moving = _moving(groups, results)
    front = _in_front(groups, results, place, front)
    last = _lasts(code, blocks, groups, state)
    low, high = (groups.of_block[blocks.of(x)] for x in slots_needed(code.columns))
    covers = np.bincount(low, minlength=len(last) + 1) - np.bincount(
        high + 1, minlength=len(last) + 1
    )
    last[np.cumsum(covers)[: len(last)] > 0] = NEVER
    alone = groups.size < SPAN
    alone[groups.of_block[blocks.of(adjoints_needed(code.columns))]] = True
    spans = ~alone[moving]
    small, moving = moving[~spans], moving[spans]
    given = groups.size[moving][last[moving] != NEVER].sum()
    if given < LEAST_SHARE * groups.size[moving].sum():
        return *_in_order(code, groups, results), small[:0]
    ends = front + np.cumsum(groups.size[small])
    place[small] = ends - groups.size[small]
    front = int(ends[-1]) if len(small) else front
    again = _give_out(code, groups, moving, last, place, state)
    place[moving] += front
    return place, front + state["spans"], again


# --- the columns ----------------------------------------------------------------------------------


def _state(code: Code, blocks: Blocks, groups: Groups) -> State:
    """What compiled code knows of the program."""
    from ._slots import State

    table = 0 if blocks.table is None else blocks.table
    columns = {name: np.ascontiguousarray(code.columns[name]) for name in NAMES}
    return State(
        **columns, bits=SLOT_BITS, starts=blocks.start, blocks=len(blocks.start), table=table,
        group=groups.of_block,
    )  # fmt: skip


def _moved(code: Code, blocks: Blocks, shift: np.ndarray, slots: int, state: State) -> Code:
    """The code with all slots moved as far as the blocks that they lie in."""
    from ._slots import renumber

    def moved(old: np.ndarray) -> np.ndarray:
        found: np.ndarray = old.astype(np.int64)
        found += shift[blocks.of(found)]
        return found

    columns: Columns = {**code.columns, **{name: code.columns[name].copy() for name in NAMES}}
    state.set(shift=shift, **{name: columns[name] for name in NAMES})
    state.run(renumber, code.length)
    wide = np.flatnonzero(columns["op"] >= FIRST_WIDE)
    if len(wide):
        some = {**code.columns, **{name: code.columns[name][wide] for name in NAMES}}
        for name, at in places_of_slots(some).items():
            if name == "m":
                columns["m"] = code.columns["m"].copy()
                columns["m"][at] = moved(columns["m"][at])
            else:
                columns[name][wide[at]] = moved(some[name][at])
    return code._replace(columns=columns, slots=slots, results=moved(code.results))
