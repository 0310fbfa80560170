"""Loop nests: how a wide instruction walks over its operands, as integers in the pool `m`.

Five numbers describe one loop: how often it runs, and how far result and operands move with it.
A stride of 0 stands still, which is what broadcasting is for an operand and what a reduction is
for the result; views (transposed, sliced, reversed) are other strides over the same slots.  Nests
are collapsed: loops that run once disappear, and two that move every operand alike become one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from .errors import TapeError
from .ops import WIDE, WIDE_CODES

SIZE, FLAGS, U, KIND_WORD, LOOPS, BODY = range(6)  # words of a descriptor
LOOP = 5  # words a loop: extent and the strides of z, x, y, u
X_CONSTANT, Y_CONSTANT, U_CONSTANT = 1, 2, 4  # bits of FLAGS
# Nobody wants the adjoint of this operand of a product: because it is an argument that is not
# differentiated (in the words of a workspace), or because an instruction `weights` adds it.
X_QUIET, Y_QUIET = 8, 16

# An `affine` (passes/fusion.py) has the descriptor of its activation, and behind that a list: how
# many products and spans, the rows and columns of the result, what is rounded to float32 (bit 0
# the sum, bit 1 the result), the products, the spans.
PRODUCTS, SPANS, ROWS, COLUMNS, ROUNDED, LISTS = range(6)
ENTRY = 4  # words of a product (columns a, b, c of a `dot`, form) and of a span (see `span_walk`)
# Forms of products: matrices times vectors by own loops.  Odd ones have the matrix as x, the first
# two multiply rows of it, whose numbers lie side by side, the others add up such rows.
GENERAL, X_ROWS, Y_ROWS, X_COLUMNS, Y_COLUMNS = range(5)

# Bits of U in `weights`: value, tangent and the adjoint of the factor are somebody else's work.
SILENT = 1
# Words of `weights` behind its loops: the first slot of the weight, how far its rows are apart, how
# many rows and columns it has (whose numbers lie side by side); rows of a member; how far numbers
# and rows of an adjoint and of a factor are apart; 1 where adjoints run along the rows of the
# weight; and KIND_WORD pairs, the first slots of adjoint and factor (constants as -1 - index).
START, STEP, HEIGHT, WIDTH, DEPTH, WS, WR, XS, XR, SIDE, PAIRS = range(11)
MEMBER_ROWS = 64  # at most, of a member

# Behind the descriptor of `terms`, KIND_WORD terms of three words: a kind, and up to two operands.
TERM = 3
# Kinds of terms, the odd ones subtracted: slot p, the product of slots p and q, that of slot p and
# constant q, constant q.
PLAIN, PRODUCT, SCALED, FIXED = 0, 2, 4, 6

Loop = tuple[int, int, int, int, int]
OPERANDS = {w.name: w.operands for w in WIDE}
LISTED = -1  # place of a walk that is a list of slots
SHOWN = 6  # terms of a sum in a listing


def collapsed(loops: Iterable[Loop]) -> list[Loop]:
    """The same walk with as few loops as possible; the order of elements is kept."""
    result: list[Loop] = []
    for loop in loops:
        if loop[0] == 1:
            continue
        if result and all(
            outer == inner * loop[0] for outer, inner in zip(result[-1][1:], loop[1:], strict=True)
        ):
            result[-1] = (result[-1][0] * loop[0], *loop[1:])
        else:
            result.append(loop)
    return result


def overlaps(extents: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a walk may come to one place twice."""
    reach = 0
    for stride, n in sorted((abs(s), n) for s, n in zip(strides, extents, strict=True)):
        if n > 1:
            if stride <= reach:
                return True
            reach += stride * (n - 1)
    return False


def descriptor(
    size: int, loops: Sequence[Loop], flags: int = 0, u: int = 0, kind_word: int = 0
) -> tuple[int, ...]:
    """The words of a wide instruction that walks over `loops`."""
    words = [size, flags, u, kind_word, len(loops)]
    for loop in loops:
        words += loop
    return tuple(words)


def form(words: Sequence[int]) -> int:
    """The form of a product from its nest: a loop over results, then one over a sum."""
    if words[LOOPS] != 2:
        return GENERAL
    (_, sz, sx, sy, _), (_, tz, tx, ty, _) = (
        words[BODY + LOOP * j : BODY + LOOP * (j + 1)] for j in range(2)
    )
    if sz != 1 or tz != 0:
        return GENERAL
    for matrix, (of_result, of_sum, other, vector) in enumerate(
        ((sx, tx, sy, ty), (sy, ty, sx, tx))
    ):
        if other == 0 and vector == 1 and of_sum == 1:
            return X_ROWS + matrix
        if other == 0 and vector == 1 and of_result == 1:
            return X_COLUMNS + matrix
    return GENERAL


def parts(words: np.ndarray, c: int) -> set[int]:
    """The codes of wide instructions whose kernels an `affine` calls."""
    return {WIDE_CODES["dot"], int(words[c + KIND_WORD])} - {0}


def slots_of_members(words: np.ndarray, c: int) -> np.ndarray:
    """Where slots stand among the words that only `weights` has."""
    first = c + BODY + LOOP * int(words[c + LOOPS])
    pairs = np.arange(first + PAIRS, first + PAIRS + 2 * int(words[c + KIND_WORD]))
    return np.append(pairs[words[pairs] >= 0], first + START)


def lists(words: np.ndarray, c: int) -> int:
    """Where the list of the `affine` with the descriptor at c begins."""
    return c + BODY + LOOP * int(words[c + LOOPS])


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of an array in C order."""
    strides = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


class Walk(NamedTuple):
    """How an instruction reads one operand: from `start` on, by extents and strides.

    `constant` walks read the pool of constants.  `entries` replaces the loops for `collect`: slots,
    and constants as -1 - index.  `place` is where the start stands: "a", "b" or a word's number.
    Entries of `terms` are the operands of its terms, whose `kinds` say how many each has.
    """

    start: int
    extents: tuple[int, ...]
    strides: tuple[int, ...]
    constant: bool
    place: str | int
    entries: np.ndarray | None = None
    kinds: tuple[int, ...] = ()

    def places(self) -> np.ndarray:
        """Every slot (or index of a constant) in the order of the walk."""
        if self.entries is not None:
            return self.entries[self.entries >= 0]
        result = np.array([self.start], np.int64)
        for extent, stride in zip(self.extents, self.strides, strict=True):
            result = (result[:, None] + stride * np.arange(extent)).ravel()
        return result

    def bounds(self) -> tuple[int, int]:
        """The lowest and the highest place."""
        low = high = self.start
        for extent, stride in zip(self.extents, self.strides, strict=True):
            reach = (extent - 1) * stride
            low, high = low + min(reach, 0), high + max(reach, 0)
        return low, high

    def text(self, names: dict[int, str]) -> str:
        if self.kinds:
            return self._sum(names)
        if self.entries is not None:
            return f"{len(self.entries)} elements"
        low, high = self.bounds()
        end = f":{high + 1}" if high > low else ""
        return f"k{low}{end}" if self.constant else names.get(low, f"r{low}{end}")

    def _sum(self, names: dict[int, str]) -> str:
        """``r1*r2 - k3*r4 + r5``; of a long sum the beginning."""
        assert self.entries is not None
        factors = iter(self.entries.tolist())
        parts = []
        for kind in self.kinds[:SHOWN]:
            pair = [next(factors) for _ in range(1 + (PRODUCT <= kind < FIXED))]
            product = "*".join(names.get(e, f"r{e}" if e >= 0 else f"k{-1 - e}") for e in pair)
            parts.append(f"{'-' if kind & 1 else '+'} {product}")
        text = " ".join(parts).removeprefix("+ ")
        return text if len(self.kinds) <= SHOWN else f"{text} + {len(self.kinds) - SHOWN} more"


def walks(kind: str, words: np.ndarray, a: int, b: int, c: int) -> tuple[Walk, ...]:
    """The operands of a wide instruction with these columns."""
    size, flags, u, count, loops = words[c : c + BODY].tolist()
    body = words[c + BODY :]
    if kind == "collect":
        return (Walk(0, (), (), False, LISTED, body[:size]),)
    if kind == "call":
        pairs = body[1 : 1 + 2 * int(body[0])].reshape(-1, 2).tolist()
        return tuple(
            Walk(start, (n,), (1,), False, BODY + 1 + 2 * j) for j, (start, n) in enumerate(pairs)
        )
    if kind == "skip":
        return ()
    if kind == "terms":
        kinds, entries = body[: TERM * count : TERM], terms_of(words, c)[operands_of(words, c)]
        return (Walk(0, (), (), False, LISTED, entries, tuple(kinds.tolist())),)
    spans = {"wide_input": (size,), "gather": (count, size), "scatter_add": (size, count, count)}
    starts: tuple[tuple[int, str | int], ...] = ((a, "a"), (b, "b"), (u, U))
    if kind in spans:
        return tuple(
            Walk(start, (n,), (1,), bool(flags >> j & 1), place)
            for j, (n, (start, place)) in enumerate(zip(spans[kind], starts, strict=False))
        )
    nest = body[: LOOP * loops].reshape(loops, LOOP)
    extents = tuple(nest[:, 0].tolist())
    if kind == "affine":
        return _affine_walks(words, c)
    return tuple(
        Walk(start, extents, tuple(nest[:, 2 + j].tolist()), bool(flags >> j & 1), place)
        for j, (start, place) in enumerate(starts[: len(OPERANDS[kind])])
    )


def terms_of(words: np.ndarray, c: int) -> np.ndarray:
    """The operands of the `terms` at c, constants as -1 - index: shape (terms, 2)."""
    listed = words[c + BODY : c + BODY + TERM * int(words[c + KIND_WORD])].reshape(-1, TERM)
    pairs = listed[:, 1:].copy()
    constant = listed[:, 0] >= SCALED
    pairs[constant, 1] = -1 - pairs[constant, 1]
    pairs[constant] = pairs[constant, ::-1]
    return pairs


def operands_of(words: np.ndarray, c: int) -> np.ndarray:
    """Which of `terms_of` are there: a mask of its shape."""
    kinds = words[c + BODY : c + BODY + TERM * int(words[c + KIND_WORD]) : TERM]
    return np.stack([kinds >= 0, (kinds >= PRODUCT) & (kinds < FIXED)], axis=1)


def slots_of_terms(words: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Where slots stand in the words of `terms` with the descriptors c."""
    counts = words[c + KIND_WORD]
    owner = np.repeat(np.arange(len(c)), counts)
    rank = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    first = c[owner] + BODY + TERM * rank
    kinds = words[first]
    return np.concatenate([first[kinds < FIXED] + 1, first[kinds & ~1 == PRODUCT] + 2])


def _affine_walks(words: np.ndarray, c: int) -> tuple[Walk, ...]:
    """The factors of the products, then the spans."""
    first = lists(words, c)
    products, spans, rows, columns, _ = words[first : first + LISTS].tolist()
    found: list[Walk] = []
    entries = words[first + LISTS : first + LISTS + ENTRY * (products + spans)].reshape(-1, ENTRY)
    for j, (a, b, at, _) in enumerate(entries[:products].tolist()):
        x, y = walks("dot", words, a, b, at)
        place = LISTS + ENTRY * j + first - c
        found += (x._replace(place=place), y._replace(place=place + 1))
    for j, (start, row, step, constant) in enumerate(entries[products:].tolist()):
        place = LISTS + ENTRY * (products + j) + first - c
        found.append(Walk(start, (rows, columns), (row, step), bool(constant), place))
    return tuple(found)


def length(kind: str, words: np.ndarray, c: int) -> int:
    """How many words the descriptor at c has."""
    if kind == "collect":
        return BODY + int(words[c + SIZE])
    if kind == "call":
        return BODY + 1 + 2 * int(words[c + BODY])
    if kind == "terms":
        return BODY + TERM * int(words[c + KIND_WORD])
    if kind == "affine":
        first = lists(words, c)
        count = int(words[first + PRODUCTS] + words[first + SPANS])
        return first - c + LISTS + ENTRY * count
    first = BODY + LOOP * int(words[c + LOOPS])
    return first + PAIRS + 2 * int(words[c + KIND_WORD]) if kind == "weights" else first


def moved(
    kind: str,
    words: np.ndarray,
    columns: tuple[int, int, int],
    slots: Callable[[np.ndarray], np.ndarray],
    constants: Callable[[int, int], int],
) -> tuple[int, int, tuple[int, ...]]:
    """Columns a and b and the words of an instruction whose operands have gone elsewhere.

    `slots` gives the new numbers of slots; `constants(first, count)` copies a piece of the constant
    pool and says where it begins.
    """
    a, b, c = columns
    if kind in ("affine", "weights"):
        raise TapeError(
            "a tape with fused instructions cannot be rearranged: fuse it last, and once"
        )
    fresh = words[c : c + length(kind, words, c)].copy()
    if kind == "terms":
        _move_terms(fresh, slots, constants)
        return a, b, tuple(fresh.tolist())
    for walk in walks(kind, words, a, b, c):
        if walk.entries is not None:
            fresh[BODY:] = [
                slots(np.array([e]))[0] if e >= 0 else -1 - constants(-1 - e, 1)
                for e in walk.entries.tolist()
            ]
            continue
        if walk.constant:
            low, high = walk.bounds()
            start = constants(low, high + 1 - low) + walk.start - low
        else:
            start = int(slots(np.array([walk.start]))[0])
        if walk.place == "a":
            a = start
        elif walk.place == "b":
            b = start
        else:
            fresh[walk.place] = start
    return a, b, tuple(fresh.tolist())


def _move_terms(
    words: np.ndarray,
    slots: Callable[[np.ndarray], np.ndarray],
    constants: Callable[[int, int], int],
) -> None:
    """Replace the operands in the words of a `terms`."""
    at = slots_of_terms(words, np.zeros(1, np.int64))
    words[at] = slots(words[at])
    kinds = words[BODY::TERM]
    for j in (BODY + TERM * np.flatnonzero(kinds >= SCALED) + 2).tolist():
        words[j] = constants(int(words[j]), 1)
