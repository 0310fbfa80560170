"""Grids of sums as products of matrices: where factors lie, and the instructions.

What is read by even strides already is read where it lies: inputs, elements of arrays, results of
other grids.  Results of single instructions are laid side by side.  The rest is collected, where
that is read often enough to pay.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..nest import PRODUCT, Loop
from ..ops import WIDE_CODES
from .draft import FAR, Draft
from .grids import Factors, Family, Parts, different, factors, mixed, powers

DOT, ADD, SUBTRACT, NEGATIVE = (WIDE_CODES[x] for x in ("dot", "add", "subtract", "negative"))
UNEVEN = 1 << 41  # instead of a stride
MOST_PIECES = 3  # of a sum, each a product of its own; beyond, factors are collected
FEWEST_USES = 3  # of what is collected
X_CONSTANT, Y_CONSTANT = 1, 2


class Span(NamedTuple):
    """Numbers for a grid: where they begin in each of T grids, and their strides."""

    start: np.ndarray  # (T,)
    outer: int
    inner: int
    constant: bool
    reads: np.ndarray  # (T, ...): places whose writers must come first


class Settled(NamedTuple):
    """Where factors (T, M, D) lie."""

    place: np.ndarray
    cuts: list[int]  # where pieces of D end to lie evenly
    constant: bool
    reads: np.ndarray  # places whose writers must come first, (T, ...)


class Piece(NamedTuple):
    """Factors that lie evenly: M rows of them in each of T grids."""

    start: np.ndarray  # (T,) or (1,)
    across: int  # from row to row
    along: int
    constant: bool
    reads: np.ndarray


def reserved(draft: Draft, parts: Parts, family: Family) -> np.ndarray:
    """Give all grids of a family a span each; their first places."""
    order = Order.of(parts.root[family.members])
    slots = draft.columns["out"].astype(np.int64)[parts.root[family.members]]
    return draft.reserve(slots, order.grid())


def lay_out(draft: Draft, parts: Parts, family: Family, start: np.ndarray) -> np.ndarray:
    """Put instructions in the place of all grids of a family; returns the sums that are done."""
    left, right = factors(parts, family)
    plains = _plains(parts, family)
    done = []
    for which in _alike(draft, right, plains):
        part = Family(family.members[which], family.depth)
        chosen = Factors(*(x[which] for x in right))
        grid = _Grid(draft, parts, part, plains[which], start[which])
        if grid.multiply(left, chosen):
            done.append(part.members.ravel())
    return np.concatenate([np.zeros(0, np.int64), *done])


def _plains(parts: Parts, family: Family) -> np.ndarray:
    """The slots that are added and then those that are subtracted, (T, N, R, count)."""
    count = int(parts.plains[family.members[0, 0, 0]])
    at = parts.first_plain[family.members][..., None] + np.arange(count)
    order = np.argsort(parts.negative[at], axis=-1, kind="stable")
    slots: np.ndarray = np.take_along_axis(parts.plain[at], order, -1)
    return slots


def _alike(draft: Draft, right: Factors, plains: np.ndarray) -> Iterator[np.ndarray]:
    """Grids whose factors lie alike, so that they share descriptors."""
    count = len(plains)
    if count == 1:
        yield np.arange(1)
        return
    words = [_signature(draft, right.slot)]
    for j in range(plains.shape[-1]):
        words.append(_signature(draft, plains[..., j]))
    every = mixed(np.concatenate(words, axis=1))
    key = (every * powers(every.shape[1])).sum(axis=1)
    if (key == key[0]).all():
        yield np.arange(count)
        return
    order = np.argsort(key, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(key[order])) + 1)


def _signature(draft: Draft, slots: np.ndarray) -> np.ndarray:
    """How slots (T, M, D) lie, as words (T, ...)."""
    place, there = _places(draft, slots)
    along, across = _strides(draft, slots, place)
    differ = (there != there[:, :1]).any(axis=1)
    return np.concatenate([there[:, 0], differ, along, across], axis=1)


def _places(draft: Draft, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places, 0 where there is none; 2 where there is one, 1 where one is free, 0 for constants."""
    place = np.where(slots >= 0, draft.place[slots], 0)
    there = np.where(slots < 0, 0, np.where(place < 0, 1, 2))
    return np.where(there == 2, place, 0), there


def _strides(draft: Draft, slots: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps along rows (T, D - 1) and from row to row (T, D) of places (T, M, D).

    There is none from one span to another: those may lie anywhere.
    """
    along, across = np.diff(place, axis=2), np.diff(place, axis=1)
    along = np.where((along == along[:, :1]).all(axis=1), along[:, 0], UNEVEN)
    owner = np.where(slots[:, 0] >= 0, np.minimum(draft.node[slots[:, 0]], FAR), -FAR)
    along[np.diff(owner, axis=1) != 0] = UNEVEN
    if place.shape[1] == 1:
        return along, np.zeros((len(place), place.shape[2]), np.int64)
    return along, np.where((across == across[:, :1]).all(axis=1), across[:, 0], UNEVEN)


class Order(NamedTuple):
    """How a grid of points and rows lies in its span."""

    points: int
    rows: int
    flipped: bool  # points are the inner loop

    @classmethod
    def of(cls, root: np.ndarray) -> Order:
        """What was computed one after the other, (T, N, R), lies side by side."""
        _, points, rows = root.shape
        flipped = rows == 1
        if points > 1 and rows > 1:
            flipped = abs(root[0, 1, 0] - root[0, 0, 0]) < abs(root[0, 0, 1] - root[0, 0, 0])
        return cls(points, rows, bool(flipped))

    def grid(self) -> np.ndarray:
        by_point, by_row = self.strides
        return by_point * np.arange(self.points)[:, None] + by_row * np.arange(self.rows)

    @property
    def strides(self) -> tuple[int, int]:
        """From point to point, and from row to row."""
        return (1, self.points) if self.flipped else (self.rows, 1)

    @property
    def extents(self) -> tuple[int, int]:
        """Of the outer and the inner loop."""
        return (self.rows, self.points) if self.flipped else (self.points, self.rows)


class _Grid:
    """T grids of one shape whose factors lie alike: N points times R rows."""

    def __init__(
        self, draft: Draft, parts: Parts, family: Family, plains: np.ndarray, start: np.ndarray
    ) -> None:
        self.draft, self.parts, self.family, self.plains = draft, parts, family, plains
        self.start = start
        root = parts.root[family.members]
        self.times, self.points, self.rows = root.shape
        self.size = self.points * self.rows
        self.order = Order.of(root)
        self.position = root.reshape(self.times, -1).max(axis=1)

    def multiply(self, left: Factors, right: Factors) -> bool:
        """Products, their sum, and what else is added; False where that would not pay."""
        first = self.parts.first[self.family.members[0, 0, 0]]
        kinds = self.parts.kind[first : first + self.family.depth]
        cuts = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(kinds)]
        products = []
        for lo, hi in pairwise(cuts):
            sides = []
            for side, uses in ((left, self.times * self.points), (right, self.rows)):
                part = Factors(*(x[:, :, lo:hi] for x in side))
                found = _settled(self.draft, part, uses, self.position)
                if found is None:
                    return False
                sides.append(found)
            products.append((lo, hi, int(kinds[lo]), sides))
        plus: list[Span] = []
        minus: list[Span] = []
        for lo, hi, kind, sides in products:
            (minus if kind == PRODUCT + 1 else plus).extend(self._dots(hi - lo, sides))
        negative = self._negatives()
        for j in range(self.plains.shape[-1]):
            span = self._span(self.plains[..., j])
            if span is None:
                return False
            (minus if negative[j] else plus).append(span)
        plus += self._constants()
        self._add(plus, minus)
        self.last[1] = self.start  # where the whole sum lies
        self.draft.replace(self.parts.root[self.family.members], self.fresh)
        return True

    # --- products ---------------------------------------------------------------------------------

    def _dots(self, depth: int, sides: list[Settled]) -> list[Span]:
        """One product for each piece in which both factors lie evenly."""
        cuts = sorted({0, depth, *sides[0].cuts, *sides[1].cuts})
        return [
            self._dot(hi - lo, *(_piece(side, lo, hi) for side in sides))
            for lo, hi in pairwise(cuts)
        ]

    def _dot(self, depth: int, x: Piece, y: Piece) -> Span:
        by_point, by_row = self.order.strides
        loops = [(self.points, by_point, 0, y.across, 0), (self.rows, by_row, x.across, 0, 0)]
        if self.order.flipped:
            loops.reverse()
        loops.append((depth, 0, x.along, y.along, 0))
        flags = X_CONSTANT * x.constant | Y_CONSTANT * y.constant
        draft = self.draft
        c = draft.described(self.size, loops, flags)
        out = draft.room(self.size, self.times)
        fresh = draft.add(DOT, out, x.start, y.start, c, self.position)
        for piece in (x, y):
            _reads(draft, fresh, piece.reads)
        return self._result(out, fresh)

    def _result(self, out: np.ndarray, fresh: np.ndarray) -> Span:
        self.fresh, self.last = fresh, self.draft.rows[-1]
        return Span(out, self.order.extents[1], 1, False, out[:, None])

    # --- what else is added -----------------------------------------------------------------------

    def _negatives(self) -> list[bool]:
        first = self.parts.first_plain[self.family.members[0, 0, 0]]
        count = self.plains.shape[-1]
        return sorted(self.parts.negative[first : first + count].tolist())

    def _span(self, slots: np.ndarray) -> Span | None:
        """A summand (T, N, R), broadcast if it is the same for all points or rows."""
        if self.order.flipped:
            slots = slots.transpose(0, 2, 1)
        if (slots == slots[:, :1]).all():
            slots = slots[:, :1]
        if (slots == slots[:, :, :1]).all():
            slots = slots[:, :, :1]
        part = Factors(slots, np.zeros(slots.shape), slots)
        found = _settled(self.draft, part, self.size // slots[0].size, self.position, True)
        if found is None:
            return None
        place = found.place
        outer = int(place[0, 1, 0] - place[0, 0, 0]) if slots.shape[1] > 1 else 0
        inner = int(place[0, 0, 1] - place[0, 0, 0]) if slots.shape[2] > 1 else 0
        return Span(place[:, 0, 0], outer, inner, False, found.reads)

    def _constants(self) -> list[Span]:
        values = self.parts.fixed[self.family.members]
        if not values.any():
            return []
        if self.order.flipped:
            values = values.transpose(0, 2, 1)
        for axis in range(3):
            if (values == values.take([0], axis)).all():
                values = values.take([0], axis)
        times, outer, inner = values.shape
        start = self.draft.constants(values) + np.arange(times) * outer * inner
        start = np.broadcast_to(start, self.times)
        none = np.zeros((self.times, 0), np.int64)
        return [Span(start, inner if outer > 1 else 0, int(inner > 1), True, none)]

    def _add(self, plus: list[Span], minus: list[Span]) -> None:
        """The sum of the first ones without the others."""
        if plus:
            total = plus[0]
        else:
            total, minus = self._elementwise(NEGATIVE, minus[0]), minus[1:]
        for span in plus[1:]:
            total = self._elementwise(ADD, total, span)
        for span in minus:
            total = self._elementwise(SUBTRACT, total, span)

    def _elementwise(self, op: int, x: Span, y: Span | None = None) -> Span:
        outer, inner = self.order.extents
        second = y or Span(np.zeros(1, np.int64), 0, 0, False, np.zeros((self.times, 0), np.int64))
        loops: list[Loop] = [
            (outer, inner, x.outer, second.outer, 0), (inner, 1, x.inner, second.inner, 0)
        ]  # fmt: skip
        draft = self.draft
        flags = X_CONSTANT * x.constant | Y_CONSTANT * second.constant
        c = draft.described(self.size, loops, flags)
        out = draft.room(self.size, self.times)
        fresh = draft.add(op, out, x.start, second.start, c, self.position)
        for span in (x, second):
            _reads(draft, fresh, span.reads)
        return self._result(out, fresh)


def _piece(side: Settled, lo: int, hi: int) -> Piece:
    part = side.place[:, :, lo:hi]
    across = int(part[0, 1, 0] - part[0, 0, 0]) if part.shape[1] > 1 else 0
    along = int(part[0, 0, 1] - part[0, 0, 0]) if hi - lo > 1 else 0
    return Piece(part[:, 0, 0], across, along, side.constant, side.reads)


def _reads(draft: Draft, fresh: np.ndarray, places: np.ndarray) -> None:
    """Say what new instructions (T,) read: places (T or 1, ...)."""
    if not places.size:
        return
    if len(places) == 1 and len(fresh) > 1:
        once = np.unique(places)
        places = np.broadcast_to(once, (len(fresh), len(once)))
    draft.read(fresh, places)


def _settled(
    draft: Draft, side: Factors, uses: int, position: np.ndarray, close: bool = False
) -> Settled | None:
    """Places of one side (T, M, D) of products, and where pieces of it end.

    None where it would have to be collected for too few uses.  `close`: in one piece, and side by
    side where that pays.
    """
    slots = side.slot
    if slots[0, 0, 0] < 0:  # then all are constants
        first = draft.constants(side.value)
        place = first + np.arange(slots.size).reshape(slots.shape)
        return Settled(place, [], True, np.zeros((len(slots), 0), np.int64))
    _lay_free(draft, slots)
    place, there = _places(draft, slots)
    if (there == 2).all():
        cuts = _cuts(*_strides(draft, slots, place))
        far = close and uses > 1 and slots.shape[2] > 1 and place[0, 0, 1] - place[0, 0, 0] != 1
        if cuts is not None and len(cuts) < (1 if close else MOST_PIECES) and not far:
            reads = _reads_of(draft, slots, place, cuts)
            if reads is not None:
                return Settled(place, cuts, False, reads)
    if uses < FEWEST_USES and not (close and uses > 1):
        return None
    rows, which = different(slots.reshape(len(slots), -1))
    copied = draft.collected(rows, np.full(len(rows), int(position.max())))
    place = copied[which].reshape(slots.shape)
    return Settled(place, [], False, place[:, :1, :1])


def _reads_of(
    draft: Draft, slots: np.ndarray, place: np.ndarray, cuts: list[int]
) -> np.ndarray | None:
    """What must be written before walks over these places (T, M, D), the gaps between included;
    None where those may be written later."""
    found, ends = [np.zeros((len(place), 0), np.int64)], [0, *cuts, place.shape[2]]
    for lo, hi in pairwise(ends):
        part = place[:, :, lo:hi].reshape(len(place), -1)
        low, high = part.min(axis=1), part.max(axis=1)
        longest = int((high - low).max()) + 1
        node = draft.node[slots[:, :, lo:hi]].reshape(part.shape)
        if (part < draft.leading).all():
            continue
        if longest <= len(np.unique(part[0])):
            found.append(part)
        elif (node == node[:, :1]).all():
            found.append(np.minimum(low[:, None] + np.arange(longest), high[:, None]))
        else:
            return None
    return np.concatenate(found, axis=1)


def _lay_free(draft: Draft, slots: np.ndarray) -> None:
    """Lay slots that are still free side by side, runs of a row of them at a time."""
    _, there = _places(draft, slots)
    if not (there == 1).any() or (there != there[:1, :1]).any():
        return
    kinds = there[0, 0]
    ends = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(kinds)]
    for lo, hi in pairwise(ends):
        if kinds[lo] == 1:
            run = slots[:, :, lo:hi].reshape(len(slots), -1)
            run = different(run)[0]
            if len(np.unique(run)) == run.size:
                draft.lay(run)


def _cuts(along: np.ndarray, across: np.ndarray) -> list[int] | None:
    """Where pieces of rows end to lie evenly, alike in all grids; None where that is no help."""
    if (along != along[:1]).any() or (across != across[:1]).any():
        return None
    steps, cuts, at = along[0], [], 0
    changes = np.append(np.flatnonzero(np.diff(steps)) + 1, len(steps)).tolist()
    uneven = np.count_nonzero(steps == UNEVEN)
    if (across[0] == UNEVEN).any() or len(changes) + uneven > 4 * MOST_PIECES:
        return None
    while at < len(steps):
        end = at if steps[at] == UNEVEN else next(j for j in changes if j > at)
        at = end + 1
        if at <= len(steps):
            cuts.append(at)
    return cuts
