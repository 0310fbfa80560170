"""Patterns of Jacobians and Hessians, from the steps of a tape.

Structural: an entry is there if some numbers could make it other than zero, so that a pattern holds
wherever the same branches are taken, at nan and infinity as well.

A Jacobian takes one sweep of index sets; where these would be too large, sweeps of blocked bit
sets, 64 inputs a word.  A Hessian takes one sweep backwards, to see which operations the result
depends on, and one of index sets, in which each operation that bends contributes the product of the
sets of two operands.  That is the pattern that edge pushing finds (Gower and Mello 2012), without
an edge for each pair of intermediate values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import memory
from ..run import entry
from ..tape import Tape, address_of
from .steps import Batch, Steps

ROOM = 1 << 16  # entries, nodes and pairs in the beginning
MOST_ENTRIES = 1 << 26  # of index sets (256 MB); beyond, bit sets
MOST_WORDS = 1 << 24  # of bit sets (128 MB)


PIECE = 1 << 14  # rows in one call, after which Ctrl-C is seen
ADVICE = (
    "the matrix may be nearly full, where sparse=True has nothing to gain; or take fewer inputs"
)


class Found(NamedTuple):
    """A pattern in compressed rows, and how many sweeps it took."""

    ends: np.ndarray  # (rows + 1,)
    columns: np.ndarray
    sweeps: int


class TooLargeError(Exception):
    """Index sets need more than `MOST_ENTRIES`."""


class Sets:
    """The buffers of the compiled functions of _sets.py, which grow when those ask for it."""

    def __init__(self, slots: int, inputs: np.ndarray, most: int = MOST_ENTRIES) -> None:
        from . import _sets

        self.kernels, self.most = _sets, most
        self.frame = np.zeros(len(_sets.FRAME), np.uint64)
        self.arrays: dict[str, np.ndarray] = {}
        n = len(inputs)
        self.counts = np.zeros(16, np.int64)
        self.counts[[_sets.USED_NODES, _sets.USED_ENTRIES, _sets.USED_PAIRS]] = n + 1, n, 1
        self.counts[_sets.INPUTS] = n
        node = np.zeros(slots + 1, np.int32)
        node[inputs + 1] = np.arange(1, n + 1)
        self.install(counts=self.counts, node=node, stamps=np.zeros(max(n, 1), np.int64))
        self.install(unions=np.zeros(3 * _sets.UNION_TABLE, np.int32))
        self.install(equals=np.zeros(_sets.EQUAL_TABLE, np.int32))
        self._grow_entries(n)
        self._grow_nodes(n + 1)
        self._grow_pairs()
        self.arrays["entries"][:n] = np.arange(n)
        one = slice(1, n + 1)
        self.arrays["first"][one] = np.arange(n)
        self.arrays["size"][one] = self.arrays["bound"][one] = 1
        self.arrays["largest"][one] = np.arange(1, n + 1)

    def install(self, **arrays: np.ndarray) -> None:
        """Buffers by their names in the frame."""
        for name, array in arrays.items():
            self.arrays[name] = array
            if array.size:
                self.frame[self.kernels.FRAME.index(name)] = address_of(array)

    def _grown(self, name: str, dtype: Any, size: int) -> None:
        known = self.arrays.get(name, np.zeros(0, dtype))
        memory.check(size * known.itemsize, "finding this sparsity pattern needs", ADVICE)
        grown = np.zeros(size, dtype)
        grown[: len(known)] = known
        self.install(**{name: grown})

    def _grow_nodes(self, least: int = 0) -> None:
        room = max(2 * int(self.counts[self.kernels.ROOM_NODES]), least + 2, ROOM)
        for name in ("left", "right", "size", "below", "largest", "bound"):
            self._grown(name, np.int32, room)
        for name in ("first", "seen"):
            self._grown(name, np.int64, room)
        self._grown("stack", np.int32, room + 4)
        self.counts[self.kernels.ROOM_NODES] = room

    def _grow_entries(self, least: int = 0) -> None:
        k = self.kernels
        room = max(2 * int(self.counts[k.ROOM_ENTRIES]), least, ROOM)
        if int(self.counts[k.ROOM_ENTRIES]) > self.most:
            raise TooLargeError
        self._grown("entries", np.int32, room)
        self.counts[k.ROOM_ENTRIES] = room

    def _grow_pairs(self) -> None:
        room = max(2 * int(self.counts[self.kernels.ROOM_PAIRS]), ROOM)
        self._grown("pairs", np.int32, 3 * room)
        self.counts[self.kernels.ROOM_PAIRS] = room

    def rows(self, sweep: Any, count: int) -> None:
        """A compiled function over so many rows, a piece at a time."""
        for lo in range(0, count, PIECE):
            self.run(sweep, lo, min(lo + PIECE, count))

    def run(self, sweep: Any, lo: int, hi: int) -> None:
        """A compiled function over lo..hi; it stops where a buffer is full."""
        k, counts = self.kernels, self.counts
        while True:
            status = entry("releasing")(sweep.address, address_of(self.frame), lo, hi)
            if not status:
                return
            lo = status - 1
            if counts[k.USED_NODES] + 2 > counts[k.ROOM_NODES]:
                self._grow_nodes()
            elif counts[k.USED_PAIRS] + 3 > counts[k.ROOM_PAIRS]:
                self._grow_pairs()
            else:
                self._grow_entries(int(counts[k.USED_ENTRIES] + 2 * counts[k.INPUTS]))

    def steps(self, sweep: Any, batch: Batch) -> None:
        """A compiled function over all steps of a batch."""
        self.install(**batch._asdict())
        self.run(sweep, 0, len(batch.z))

    def lists(self, nodes: np.ndarray) -> np.ndarray:
        """Where the lists of nodes begin and end among the entries."""
        ends = np.zeros(max(len(nodes), 1), np.int64)
        start = int(self.counts[self.kernels.USED_ENTRIES])
        self.install(asked=np.ascontiguousarray(nodes, np.int32), row_ends=ends)
        self.rows(self.kernels.read, len(nodes))
        return np.concatenate([[start], ends[: len(nodes)]])


def jacobian(tape: Tape, inputs: np.ndarray, places: np.ndarray) -> Found:
    """The pattern of the derivatives of the slots `places` (-1: a constant) by the slots `inputs`.

    >>> import ndtape as nt
    >>> x = nt.var([1.0, 2.0, 3.0])
    >>> with nt.Tape() as tape:
    ...     y = x[1:] * x[:-1]
    >>> found = jacobian(tape, np.arange(3), np.array([3, 4]))
    >>> found.ends.tolist(), found.columns.tolist()
    ([0, 2, 4], [0, 1, 1, 2])
    """
    steps = Steps(tape)
    try:
        sets = Sets(steps.slots, inputs)
        for batch in steps.batches():
            sets.steps(sets.kernels.propagate, batch)
        nodes = np.where(places < 0, 0, sets.arrays["node"][places + 1])
        ends = sets.lists(nodes)
    except TooLargeError:
        return _by_bits(steps, inputs, places)
    columns = sets.arrays["entries"][ends[0] : ends[-1]]
    return _sorted(ends - ends[0], columns, 1)


def _sorted(ends: np.ndarray, columns: np.ndarray, sweeps: int) -> Found:
    """The columns of each row in order."""
    rows = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    width = int(columns.max(initial=0)) + 1
    keys = rows * width + columns
    keys.sort()
    return Found(ends, keys % width, sweeps)


def _by_bits(steps: Steps, inputs: np.ndarray, places: np.ndarray) -> Found:
    """Sweeps over as many inputs at a time as have room."""
    from . import _sets

    words = int(np.clip(MOST_WORDS // steps.slots, 1, 1 + len(inputs) // 64))
    table = np.zeros((steps.slots + 1, words), np.int64)
    counts = np.array([words], np.int64)
    frame = np.zeros(len(_sets.FRAME), np.uint64)
    frame[_sets.NODE], frame[_sets.COUNTS] = address_of(table), address_of(counts)
    rows, columns, sweeps = [], [], 0
    for first in range(0, len(inputs), 64 * words):
        block = inputs[first : first + 64 * words]
        table[:] = 0
        bit = np.arange(len(block))
        table[block + 1, bit // 64] = np.left_shift(np.int64(1), bit % 64)
        for batch in steps.batches():
            for name, column in batch._asdict().items():
                frame[_sets.FRAME.index(name)] = address_of(column)
            entry("releasing")(_sets.spread.address, address_of(frame), 0, len(batch.z))
        here = np.flatnonzero(places >= 0)
        found = np.unpackbits(table[places[here] + 1].view(np.uint8), axis=1, bitorder="little")
        row, column = np.nonzero(found[:, : len(block)])
        rows.append(here[row])
        columns.append(first + column)
        sweeps += 1
    ends = np.zeros(len(places) + 1, np.int64)
    row = np.concatenate(rows)
    np.cumsum(np.bincount(row, minlength=len(places)), out=ends[1:])
    order = np.argsort(row, kind="stable")
    return _sorted(ends, np.concatenate(columns)[order], sweeps)


def hessian(tape: Tape, inputs: np.ndarray, root: int) -> Found:
    """The pattern of the second derivatives of the slot `root` by the slots `inputs`.

    >>> import ndtape as nt
    >>> x = nt.var([1.0, 2.0, 3.0])
    >>> with nt.Tape() as tape:
    ...     y = x[0] * x[1] + x[2]
    >>> found = hessian(tape, np.arange(3), y.slot)
    >>> found.ends.tolist(), found.columns.tolist()
    ([0, 1, 2, 2], [1, 0])
    """
    steps = Steps(tape, tape.index_of_slot(root) + 1)
    sets = Sets(steps.slots, inputs, most=1 << 40)
    mark = np.zeros(steps.slots + 1, np.uint8)
    mark[root + 1] = 1
    sets.install(mark=mark)
    for batch in steps.batches(backwards=True):
        sets.steps(sets.kernels.reach, batch)
    for batch in steps.batches():
        sets.steps(sets.kernels.propagate, batch)
    pairs = _pairs(sets)
    most = sets.lists(sets.arrays["node"][root + 1 : root + 2])
    sets.counts[sets.kernels.MOST] = most[1] - most[0]
    return _products(sets, pairs, len(inputs))


def _pairs(sets: Sets) -> np.ndarray:
    """The pairs of nodes that bend, each once, without those that lie within others: (count, 2)."""
    k = sets.kernels
    used = int(sets.counts[k.USED_PAIRS])
    pairs = sets.arrays["pairs"].reshape(-1, 3)[1:used].astype(np.int64)
    mark = np.zeros(int(sets.counts[k.USED_NODES]), np.uint8)
    same = pairs[:, 0] == pairs[:, 1]
    mark[pairs[same, 0]] = 1
    sets.install(mark=mark)
    sets.run(k.cover, int(sets.counts[k.INPUTS]) + 1, len(mark))
    within = np.where(same, mark[pairs[:, 0]] & 2, mark[pairs[:, 2]] * (pairs[:, 2] > 0))
    pairs = np.sort(pairs[within == 0, :2], axis=1)
    keys = np.unique(pairs[:, 0] * len(mark) + pairs[:, 1])
    return np.stack(np.divmod(keys, len(mark)), axis=1)


def _products(sets: Sets, pairs: np.ndarray, n: int) -> Found:
    """The union of the products of the sets of each pair, both ways."""
    if not len(pairs):
        return Found(np.zeros(n + 1, np.int64), np.zeros(0, np.int64), 2)
    nodes, which = np.unique(pairs, return_inverse=True)
    ends = sets.lists(nodes)
    sets.arrays["first"][nodes], sizes = ends[:-1], np.diff(ends)
    sets.arrays["size"][nodes] = sizes
    p, q = which.reshape(pairs.shape).T
    p, q = np.concatenate([p, q[p != q]]), np.concatenate([q, p[p != q]])
    order = np.argsort(-sizes[q], kind="stable")  # large ones first: they leave little to the rest
    p, q = p[order], q[order]
    count = sizes[p]
    memory.check(32 * int(count.sum()), "finding this sparsity pattern needs", ADVICE)
    at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    rows = sets.arrays["entries"][np.repeat(ends[:-1][p], count) + at]
    order = np.argsort(rows, kind="stable")
    partners = np.repeat(nodes[q], count)[order].astype(np.int32)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])
    row_ends = np.zeros(max(n, 1), np.int64)
    start = int(sets.counts[sets.kernels.USED_ENTRIES])
    sets.install(partners=partners, partner_ends=bounds, row_ends=row_ends)
    sets.rows(sets.kernels.meet, n)
    columns = sets.arrays["entries"][start : int(sets.counts[sets.kernels.USED_ENTRIES])]
    return _sorted(np.concatenate([[0], row_ends[:n] - start]), columns, 2)
