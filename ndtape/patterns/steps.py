"""A tape as steps: a result, up to two operands, and what they have to do with each other.

An instruction on arrays is as many steps as it does arithmetic; where its places are known (loops,
lists, constant indices) each step names the very elements.  Where they are not (computed indices,
functions that Python calls), everything goes through a slot of its own, that depends on all
operands and that all results depend on.  Steps come in batches, for compiled sweeps over them.

Slots are counted from 1 here: 0 is no operand at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import nest
from ..nest import BODY
from ..ops import CODES, FIRST_WIDE, WIDE
from ..tape import SLOT_MASK, Tape
from ..verify_wide import NESTED, descriptors
from .interactions import ON_X, XX, rules
from .unrolled import MOST_HIDDEN, Unrolled

BATCH = 1 << 18  # steps
KEPT = 1 << 23  # so many steps are kept for the next sweep
MOST_STEPS = 1 << 27  # an instruction with more counts as one whose places are not known

LISTED = ("collect", "gather")
PRODUCTS = ("multiply", "dot", "weights")


class Batch(NamedTuple):
    """Steps: the result of each, its operands x and y (0 for none), its bits."""

    z: np.ndarray
    x: np.ndarray
    y: np.ndarray
    bits: np.ndarray


class Piece(NamedTuple):
    """A batch to be made: instructions lo..hi, of them the steps first..last, None for all; of a
    loop, its times first..last."""

    lo: int
    hi: int
    first: int = 0
    last: int | None = None
    whole: bool = False  # one instruction whose places are not known


class Steps:
    """The steps of a sealed or recorded tape; `slots` counts those that only detection has."""

    def __init__(self, tape: Tape, end: int | None = None) -> None:
        self.tape = tape
        self.columns = c = tape.columns()
        self.length = len(tape) if end is None else end
        op = self.op = c["op"][: self.length]
        self.out = c["out"][: self.length].astype(np.int64)
        self.wide = descriptors(
            {name: c[name][: self.length] for name in ("op", "a", "b", "c")}, c["m"]
        )
        self.number = np.full(self.length, -1)  # of a wide instruction, in the table of them
        self.number[self.wide.index] = np.arange(len(self.wide.index))
        self.starts = self._starts()
        self.per = rules().steps[op]
        self.amount = self._amounts()
        self.loops: dict[int, Unrolled] = {}
        hidden = self._hidden()
        self.first_hidden = tape.slots + np.cumsum(hidden) - hidden
        self.slots = tape.slots + int(hidden.sum())
        self.pieces = list(self._pieces(hidden))
        self.kept: dict[int, Batch] | None = {} if self.amount.sum() <= KEPT else None

    def batches(self, backwards: bool = False) -> Iterator[Batch]:
        """All steps in order, or the batches from the last to the first."""
        count = len(self.pieces)
        for j in range(count - 1, -1, -1) if backwards else range(count):
            found = None if self.kept is None else self.kept.get(j)
            if found is None:
                found = self._batch(self.pieces[j])
                if self.kept is not None:
                    self.kept[j] = found
            if len(found.z):
                yield found

    # --- where things are ------------------------------------------------------------------------

    def _starts(self) -> np.ndarray:
        """Where x, y and u begin by instruction, -1 for constants; a fourth row is -1."""
        starts = np.full((4, self.length), -1, np.int64)
        scalar = np.flatnonzero(self.op < FIRST_WIDE)
        for j, name in enumerate("abc"):
            reads = scalar[SLOT_MASK[self.op[scalar], j]]
            starts[j, reads] = self.columns[name][reads]
        d = self.wide
        for j, column in enumerate((d.a, d.b, d.u)):
            slots = d.has(j) & (d.flags >> j & 1 == 0)
            starts[j, d.index[slots]] = column[slots]
        by_constant = np.flatnonzero(self.op == CODES["multiply", "vk"])
        zero = self.columns["k"][self.columns["b"][by_constant]] == 0.0
        starts[0, by_constant[zero]] = -1
        return starts

    def _amounts(self) -> np.ndarray:
        """How many steps each instruction is; -1 where its places are not known."""
        amount = self.per.copy()
        d = self.wide
        each = np.where(NESTED[d.kind], d.steps(np.ones(d.nest.shape[:2], bool)), d.size)
        rowless = np.array([w.row is None for w in WIDE])[d.kind]
        unknown = rowless & (self.per[d.index] == 0) & ~d.of_kind("wide_input", "skip")
        unknown |= d.of_kind("gather") & (d.flags & nest.Y_CONSTANT == 0)
        unknown |= (each < 0) | (each > MOST_STEPS)
        amount[d.index] = np.where(unknown, -1, np.maximum(each, 0) * self.per[d.index])
        return amount  # type: ignore[no-any-return]

    def _hidden(self) -> np.ndarray:
        """How many slots of their own instructions have, whose places are not known."""
        hidden = (self.amount < 0).astype(np.int64)
        for i in np.flatnonzero(hidden).tolist():
            w = int(self.number[i])
            if WIDE[self.wide.kind[w]].name != "call":
                continue
            call = self.tape.calls[int(self.wide.count[w])]
            if call.loop is not None:
                starts = [walk.start for walk in self._walks(w)]
                loop = Unrolled(call, int(self.out[i]), starts, Steps)
                if loop.hidden <= MOST_HIDDEN:
                    self.loops[i] = loop
                    hidden[i] = loop.hidden
        return hidden

    def _walks(self, w: int) -> tuple[nest.Walk, ...]:
        """The operands of a wide instruction."""
        d = self.wide
        name = WIDE[d.kind[w]].name
        return nest.walks(name, self.columns["m"], int(d.a[w]), int(d.b[w]), int(d.c[w]))

    def _pieces(self, hidden: np.ndarray) -> Iterator[Piece]:
        edges = [*np.flatnonzero(hidden).tolist(), self.length]
        start = 0
        for edge in edges:
            yield from self._split(start, edge)
            if edge in self.loops:
                for first, last in self.loops[edge].blocks(BATCH):
                    yield Piece(edge, edge + 1, first, last, whole=True)
            elif edge < self.length:
                yield Piece(edge, edge + 1, whole=True)
            start = edge + 1

    def _split(self, lo: int, hi: int) -> Iterator[Piece]:
        """Instructions lo..hi in batches of about the same size."""
        ends = np.concatenate([[0], np.cumsum(self.amount[lo:hi])])
        start, stop = 0, hi - lo
        while start < stop:
            end = int(np.searchsorted(ends, ends[start] + BATCH, "right")) - 1
            if end > start:
                yield Piece(lo + start, lo + end)
            else:
                end, total = start + 1, int(self.amount[lo + start])
                for first in range(0, total, BATCH):
                    yield Piece(lo + start, lo + end, first, min(first + BATCH, total))
            start = end

    # --- batches ---------------------------------------------------------------------------------

    def _batch(self, piece: Piece) -> Batch:
        if piece.lo in self.loops:
            hidden = int(self.first_hidden[piece.lo])
            return _shifted(*self.loops[piece.lo].batch(hidden, piece.first, piece.last or 0))
        if piece.whole:
            return _shifted(*self._unknown(piece.lo))
        amount = self.amount[piece.lo : piece.hi]
        if piece.last is not None:
            amount = np.array([piece.last - piece.first])
        i = np.repeat(np.arange(piece.lo, piece.hi), amount)
        element = np.arange(len(i)) - np.repeat(np.cumsum(amount) - amount, amount) + piece.first
        which = 0
        if len(i) and self.per[piece.lo : piece.hi].max() > 1:
            element, which = np.divmod(element, self.per[i])
        z, places = self.out[i], self.starts[:, i]
        self._walk(i, element, z, places)
        op, at = self.op[i], np.arange(len(i))
        operands = rules().operands[op, which]
        return _shifted(z, places[operands[:, 0], at], places[operands[:, 1], at],
                        rules().bits[op, which])  # fmt: skip

    def _walk(self, i: np.ndarray, element: np.ndarray, z: np.ndarray, places: np.ndarray) -> None:
        """Move `z` and `places` of wide instructions i from the beginning of each to an element."""
        d = self.wide
        at = np.flatnonzero(self.number[i] >= 0)
        if not len(at):
            return
        w, rest = self.number[i[at]], element[at]
        listed = d.of_kind(*LISTED)[w]
        known = places[:3, at]
        moved = np.zeros((4, len(at)), np.int64)
        before = np.full(len(at), -1, np.int64)  # of a running sum: how far back the last one is
        for j in range(d.nest.shape[1] - 1, -1, -1):
            rest, step = np.divmod(rest, d.nest[w, j, 0])
            moved += step * d.nest[w, j, 1:].T
            axis = d.of_kind("cumsum")[w] & (d.count[w] == j) & (step > 0)
            before[axis] = d.nest[w[axis], j, 1]
        moved[0, listed] = element[at[listed]]
        z[at] += moved[0]
        places[:3, at] = np.where(known < 0, -1, known + moved[1:])
        running = before >= 0
        places[2, at[running]] = z[at[running]] - before[running]
        product = d.of_kind(*PRODUCTS)[w]
        self._drop_zeros(at[product], w[product], moved[1:3, product], places)
        self._look_up(at[listed], w[listed], element, places)

    def _drop_zeros(
        self, at: np.ndarray, w: np.ndarray, moved: np.ndarray, places: np.ndarray
    ) -> None:
        """What is multiplied by a constant 0 contributes nothing, as in a banded matrix."""
        d, k = self.wide, self.columns["k"]
        for j, start in enumerate((d.a, d.b)):
            here = d.flags[w] >> j & 1 == 1
            factor = k[start[w[here]] + moved[j, here]]
            places[1 - j, at[here][factor == 0.0]] = -1

    def _look_up(
        self, at: np.ndarray, w: np.ndarray, element: np.ndarray, places: np.ndarray
    ) -> None:
        """Where the elements of lists lie: in words, or by indices among the constants."""
        d, m, k = self.wide, self.columns["m"], self.columns["k"]
        collected = d.of_kind("collect")[w]
        here = at[collected]
        places[0, here] = np.maximum(m[d.c[w[collected]] + BODY + element[here]], -1)
        here, w = at[~collected], w[~collected]
        with np.errstate(invalid="ignore"):
            index = k[d.b[w] + element[here]].astype(np.int64)
        inside = (index >= 0) & (index < d.count[w]) & (places[0, here] >= 0)
        places[0, here] = np.where(inside, places[0, here] + index, -1)

    # --- instructions whose places are not known -------------------------------------------------

    def _unknown(self, i: int) -> tuple[Any, ...]:
        w = int(self.number[i])
        d = self.wide
        z = self.out[i] + np.arange(d.size[w])
        hidden = int(self.first_hidden[i])
        name = WIDE[d.kind[w]].name
        if name == "gather":
            return _through(hidden, [self._span(0, i, d.count[w])], z, ON_X)
        if name == "scatter_add":
            return self._scattered(i, w, z, hidden)
        if name == "call" and _flat(self.tape.calls[int(d.count[w])]):
            return _through(hidden, [], z[:0], ON_X)
        spans = [np.unique(walk.places()) for walk in self._walks(w) if not walk.constant]
        return _through(hidden, spans, z, ON_X | XX)

    def _span(self, operand: int, i: int, count: int) -> np.ndarray:
        start = self.starts[operand, i]
        return start + np.arange(count) if start >= 0 else np.zeros(0, np.int64)

    def _scattered(self, i: int, w: int, z: np.ndarray, hidden: int) -> tuple[Any, ...]:
        """x with u added at the places y."""
        d = self.wide
        x, u = self._span(0, i, d.size[w]), self._span(2, i, d.count[w])
        if not d.flags[w] & nest.Y_CONSTANT:
            found = _through(hidden, [u], z, ON_X)
        else:
            index = self.columns["k"][d.b[w] + np.arange(d.count[w])].astype(np.int64)
            found = (z[index], u, np.full(len(u), -1), np.full(len(u), ON_X, np.uint8))
            found = tuple(part[: len(u)] for part in found)
        parts = zip(found, (z[: len(x)], x, np.full(len(x), -1), np.full(len(x), ON_X, np.uint8)),
                    strict=True)  # fmt: skip
        return tuple(np.concatenate(pair) for pair in parts)


def variants(tape: Tape) -> int:
    """How many patterns of branches the loops of a tape have met: a pattern holds for these."""
    bodies = [b for call in tape.calls if call.loop is not None for b in call.loop.bodies]
    return sum(1 + variants(b.tape) for b in bodies)


def _flat(call: Any) -> bool:
    """Whether a call has no derivatives at all."""
    return call.loop is None and call.primitive.vjp is None and call.primitive.jvp is None


def _through(hidden: int, spans: list[np.ndarray], z: np.ndarray, bits: int) -> tuple[Any, ...]:
    """All operands into a hidden slot, and that into all results."""
    x = np.concatenate([np.zeros(0, np.int64), *spans])
    first = np.full(len(x), hidden)
    return (
        np.concatenate([first, z]),
        np.concatenate([x, np.full(len(z), hidden)]),
        np.full(len(x) + len(z), -1),
        np.concatenate([np.full(len(x), ON_X, np.uint8), np.full(len(z), bits, np.uint8)]),
    )


def _shifted(z: np.ndarray, x: np.ndarray, y: np.ndarray, bits: np.ndarray) -> Batch:
    """Steps with slots counted from 1, without those that do nothing."""
    used = ((x >= 0) | (y >= 0)) & (bits != 0)
    if not used.all():
        z, x, y, bits = z[used], x[used], y[used], bits[used]
    return Batch(z + 1, x + 1, y + 1, bits)
