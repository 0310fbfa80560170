"""Weight gradients over time as one matrix product: a pass from tape to tape.

An unrolled network multiplies the same weights at every step, and the gradient of a weight W is the
sum over steps of products of two factors: the adjoints w of the step's result and what W was
multiplied with, x.  A sweep that adds them one by one loads and stores all of W's gradient at every
step.  As the rows of two matrices the factors of many steps give the same sum as one product, which
needs the gradient once (hand-written loops and cuDNN do so: Appleyard, Kocisky, Blunsom,
"Optimizing performance of recurrent neural networks on GPUs", 2016).

`gather_weights` moves no slot.  Products with one weight are taken together in blocks of about 128
rows; all of them are told that nobody wants the adjoint of the weight (bits X_QUIET, Y_QUIET of
nest.py), and an instruction `weights`, which a reverse sweep meets behind them all, adds the
gradient of the block: adjoints of results are still in `g` then, factors in `v`.  Where products
are instructions of their own, the first of the block becomes `weights` and stays a product besides;
where they are parts of an `affine`, one that does nothing else is put in before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..nest import (
    BODY,
    ENTRY,
    FLAGS,
    KIND_WORD,
    LISTS,
    LOOP,
    LOOPS,
    PRODUCTS,
    SILENT,
    X_CONSTANT,
    X_QUIET,
    Y_CONSTANT,
    Y_QUIET,
)
from ..ops import WIDE_CODES
from .code import NAMES, Code, Columns, Goal

DOT, AFFINE, WEIGHTS = (WIDE_CODES[x] for x in ("dot", "affine", "weights"))
BLOCK_ROWS = 128  # the depth of the panels in kernels/weights.py
# Where one product is faster than many.  Time of a whole gradient (forward and reverse) against the
# same with products one by one, tanh networks of H units, T steps, batches of B, AVX-512:
#     B = 1, T = 100       H = 8 1.04   12 0.94   16 0.97   32 0.91   64 0.86
#     B = 1, H = 32        T = 2 1.2    4 1.1     16 0.95   100 0.91
#     H = 16 (H = 128)     B = 2 0.85 (0.76)   4 0.92 (0.82)   8 0.98 (0.95)   16 1.06 (1.0)
MOST_ROWS = 8  # of a member: a product of more rows uses what it loads often enough
FEWEST_ROWS = 16  # of a block
SMALLEST = 128  # products of a member with two rows or less

Words = list[int]


class Shape(NamedTuple):
    """How a product adds to the gradient of one of its operands; strides in numbers.

    Gradient[m, n] += sum over `depth` rows of left[q, m] * right[q, n]; the gradient's numbers lie
    side by side along n.  With `side` the adjoint is the right factor.
    """

    step: int  # of the gradient along m
    height: int
    width: int
    depth: int
    ws: int  # of the adjoint, along its index and along rows
    wr: int
    xs: int  # of the other factor
    xr: int
    side: int


class Products(NamedTuple):
    """All products of a tape, a number for each in each array, in the order of instructions."""

    instruction: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray  # place of the descriptor
    adjoint: np.ndarray  # first slot of what they add to or are
    entry: np.ndarray  # place of the word that says c, in an `affine`; else -1


class Group(NamedTuple):
    """Products that share a weight and a shape."""

    second: bool  # the weight is operand y
    start: int
    shape: Shape
    members: np.ndarray  # positions in Products


def gather_weights(code: Code, goal: Goal) -> Code | None:
    """The same program with the gradients of shared weights taken in blocks; None if it has none.

    Values, tangents and all other adjoints keep every bit; the gradients of the weights are sums of
    the same products in another order.  Reverse sweeps must go through all of the code, and leave
    the adjoints of results where they are.

    >>> import ndtape as nt, numpy as np
    >>> from ndtape.passes import code_of, Goal
    >>> from ndtape.passes.weights import gather_weights
    >>> with nt.Tape() as tape:
    ...     w, h = nt.var(np.full((16, 16), 0.1)), nt.var(np.ones(16))
    ...     for _ in range(16):
    ...         h = np.tanh(w @ h)
    >>> code = gather_weights(code_of(tape, 2, [tape.slots - 1]), Goal())
    >>> code.length, int((code.columns["op"] == nt.ops.WIDE_CODES["weights"]).sum())
    (34, 1)
    """
    if goal.lanes or not goal.reverse or not np.isin(code.columns["op"], (DOT, AFFINE)).any():
        return None
    products = _products(code.columns)
    edit = _Edit(code, products)
    free = np.ones(len(products.instruction), bool)
    for group in sorted(_groups(code.columns["m"], products), key=lambda g: -len(g.members)):
        for block in _blocks(group.members[free[group.members]], group.shape.depth):
            edit.join(group, block)
            free[block] = False
    return None if free.all() else edit.result()


def _blocks(members: np.ndarray, depth: int) -> Iterator[np.ndarray]:
    """Runs of members of about BLOCK_ROWS rows together, the last ones first."""
    size = max(BLOCK_ROWS // depth, 1)
    for end in range(len(members), 0, -size):
        block = members[max(end - size, 0) : end]
        if len(block) * depth >= FEWEST_ROWS:
            yield block


# --- finding groups ------------------------------------------------------------------------------


def _products(columns: Columns) -> Products:
    op, m = columns["op"], columns["m"]
    at = np.flatnonzero(op == DOT)
    a, b, c, out = (columns[name][at].astype(np.int64) for name in ("a", "b", "c", "out"))
    alone = at, a, b, c, out, np.full(len(at), -1)
    fused = np.flatnonzero(op == AFFINE)
    start = columns["c"][fused].astype(np.int64)
    if len(np.unique(start)) < len(fused):  # their words could not be changed one by one
        return Products(*alone)
    start += BODY + LOOP * m[start + LOOPS]
    count = m[start + PRODUCTS]
    which = np.repeat(np.arange(len(fused)), count)
    rank = np.arange(len(which)) - (np.cumsum(count) - count)[which]
    place = start[which] + LISTS + ENTRY * rank
    parts = (fused[which], m[place], m[place + 1], m[place + 2],
             columns["a"][fused][which].astype(np.int64), place + 2)  # fmt: skip
    both = [np.concatenate(pair) for pair in zip(alone, parts, strict=True)]
    order = np.argsort(both[0], kind="stable")
    return Products(*(x[order] for x in both))


def _groups(m: np.ndarray, products: Products) -> Iterator[Group]:
    """Every weight with the products that multiply it, where that may be worth while."""
    places, which = np.unique(products.c, return_inverse=True)
    for second, starts in ((False, products.a), (True, products.b)):
        known: dict[Shape | None, int] = {None: 0}
        found = [known.setdefault(_shape(m, c, second), len(known)) for c in places.tolist()]
        shapes, number = list(known), np.array(found)[which]
        at = np.flatnonzero(number)
        keys = starts[at] * len(shapes) + number[at]
        at = at[np.argsort(keys, kind="stable")]
        cuts = np.flatnonzero(np.diff(np.sort(keys))) + 1
        for members in np.split(at, cuts) if len(at) else ():
            shape = shapes[number[members[0]]]
            if shape is not None and len(members) > 1:
                yield Group(second, int(starts[members[0]]), shape, members)


def _shape(m: np.ndarray, c: int, second: bool) -> Shape | None:
    """The shape of the gradient of one operand of the product described at c.

    None where nobody wants it, or it is not the product of two matrices that kernels can take.
    """
    unwanted = (Y_CONSTANT | Y_QUIET) if second else (X_CONSTANT | X_QUIET)
    if m[c + FLAGS] & unwanted:
        return None
    loops = m[c + BODY : c + BODY + LOOP * int(m[c + LOOPS])].reshape(-1, LOOP).tolist()
    # (extent, stride of the weight, of the result, of the other operand); the result's adjoint is
    # one factor, so that rows are where the weight stands still.
    walks = [(e, y, z, x) if second else (e, x, z, y) for e, z, x, y, _ in loops]
    rows = [w for w in walks if w[1] == 0]
    left = [w for w in walks if w[1] and w[2] and not w[3]]
    right = [w for w in walks if w[1] and w[3] and not w[2]]
    if max(map(len, (rows, left, right))) > 1 or len(rows) + len(left) + len(right) < len(walks):
        return None
    depth, _, wr, xr = rows[0] if rows else (1, 0, 0, 0)
    high, zm, ws, _ = left[0] if left else (1, 0, 0, 0)
    wide, zn, _, xs = right[0] if right else (1, 0, 0, 0)
    side = int(zn != 1)
    if side:
        high, wide, zm, zn = wide, high, zn, zm
    fits = zn == 1 and (high == 1 or abs(zm) >= wide)
    if not fits or depth > MOST_ROWS or high * wide * min(depth, 2) < SMALLEST:
        return None
    return Shape(zm, high, wide, depth, ws, wr, xs, xr, side)


# --- writing them --------------------------------------------------------------------------------


class _Edit:
    """New columns of code, to whose words descriptors are added."""

    def __init__(self, code: Code, products: Products) -> None:
        self.code, self.products = code, products
        self.op, self.c = code.columns["op"].copy(), code.columns["c"].copy()
        self.words = code.columns["m"].copy()
        self.more: Words = []
        self.quiet: dict[tuple[int, int], int] = {}  # descriptor and bit -> the same with that bit
        self.inserted: list[tuple[int, int, int]] = []  # before which, the weight, the descriptor

    def join(self, group: Group, block: np.ndarray) -> None:
        """Let one instruction add the gradient of some members."""
        p, first = self.products, block[0]
        host = int(p.instruction[first])
        alone = p.entry[first] < 0
        bit = Y_QUIET if group.second else X_QUIET
        for j in block.tolist():
            self._silence(j, bit)
        words = self._described(int(self.c[host])) if alone else [1, 0, SILENT, 0, 0]
        words[KIND_WORD] = len(block)
        words += [group.start, *group.shape]
        words += np.stack([p.adjoint[block], self._factors(group, block)], 1).ravel().tolist()
        if alone:
            self.op[host], self.c[host] = WEIGHTS, self._added(words)
        else:
            self.inserted.append((host, group.start, self._added(words)))

    def _silence(self, j: int, bit: int) -> None:
        """Point a product to its descriptor with one more bit."""
        entry, index = int(self.products.entry[j]), int(self.products.instruction[j])
        c = int(self.c[index] if entry < 0 else self.words[entry])
        if (c, bit) not in self.quiet:
            words = self._described(c)
            words[FLAGS] |= bit
            self.quiet[c, bit] = self._added(words)
        if entry < 0:
            self.c[index] = self.quiet[c, bit]
        else:
            self.words[entry] = self.quiet[c, bit]

    def _factors(self, group: Group, block: np.ndarray) -> np.ndarray:
        """First slots of what the weight is multiplied with; constants as -1 - index."""
        p = self.products
        flags = self.code.columns["m"][p.c[block] + FLAGS]
        constant = flags & (X_CONSTANT if group.second else Y_CONSTANT) != 0
        place = (p.a if group.second else p.b)[block]
        slots: np.ndarray = np.where(constant, -1 - place, place)
        return slots

    def _described(self, c: int) -> Words:
        """The words at c, whether they are there or to be added."""
        pool, c = (self.more, c - len(self.words)) if c >= len(self.words) else (self.words, c)
        return [int(word) for word in pool[c : c + BODY + LOOP * int(pool[c + LOOPS])]]

    def _added(self, words: Words) -> int:
        self.more += words
        return len(self.words) + len(self.more) - len(words)

    def result(self) -> Code:
        """The code; what is put in has a slot of its own, which nobody reads."""
        code = self.code
        words = np.concatenate([self.words, np.array(self.more, np.int64)])
        columns = {**code.columns, "op": self.op, "c": self.c, "m": words}
        if not self.inserted:
            return code._replace(columns=columns)
        before, weight, descriptor = np.array(sorted(self.inserted)).T
        fresh = {
            "op": np.full(len(before), WEIGHTS), "out": code.slots + np.arange(len(before)),
            "a": weight, "b": weight, "c": descriptor,
        }  # fmt: skip
        for name in NAMES:
            columns[name] = np.insert(columns[name], before, fresh[name])
        positions = np.insert(code.positions, before, code.positions[before])
        return code._replace(columns=columns, positions=positions, slots=code.slots + len(before))
