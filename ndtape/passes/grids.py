"""Sums of products that are a product of matrices: which sums share which factors.

A hand-written layer is a sum for each neuron and each point: b[r] + W[r][0] * x[n][0] + ... .  Sums
of one neuron share their left factors, sums of one point the right ones.  So the sequences of
factors are numbers to be compared (hashes, which are looked at again where they agree), and a
matrix is a grid of sums, whose rows share one side and whose columns share the other.  Sides are as
written: W * x everywhere, or x * W everywhere.  Grids that differ by their operands alone, as the
steps of a recurrent cell do, are a *family*, and go through everything that follows together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..nest import FIXED, PLAIN, PRODUCT, SCALED
from .sums import Sums

# Where a product pays: value and gradient, ns, one by one and as n x n matrix times vector.
#     n = 2  212 291   3  244 305   4  322 285   5  420 317   6  501 306   8  446 351   12  729 234
FEWEST_SUMS = 4  # of a grid
FEWEST_PRODUCTS = 16  # of a grid
# Products of a family: what Python does for it takes as long as thousands of them.  Next to others,
# fewer will do.
FEWEST_TOGETHER, NEXT_TO_OTHERS, OF_ALL = 128, 32, 1 / 32


class Factors(NamedTuple):
    """One side of products: slots, -1 for constants, and their values."""

    slot: np.ndarray
    value: np.ndarray
    token: np.ndarray  # equal where slot and value are


class Parts(NamedTuple):
    """Sums taken apart: products, single slots, and the sum of all constants."""

    root: np.ndarray
    first: np.ndarray  # by sum: the first of its products
    depth: np.ndarray  # and how many there are
    kind: np.ndarray  # of products: PRODUCT, PRODUCT + 1 or SCALED
    left: Factors
    right: Factors
    first_plain: np.ndarray  # by sum
    plains: np.ndarray
    plain: np.ndarray  # slots
    negative: np.ndarray  # bool, by plain slot
    fixed: np.ndarray  # by sum: the constants together


class Family(NamedTuple):
    """Grids of sums of one shape: sums[t, n, r] = members[t, n, r].

    The left factors are those of members[0, 0, r], the right ones those of members[t, n, 0].
    """

    members: np.ndarray
    depth: int


def apart(sums: Sums, constants: np.ndarray) -> Parts:
    """Products, single slots and constants of sums."""
    count = len(sums.roots)
    owner = np.repeat(np.arange(count), sums.counts)
    kind = sums.kinds
    is_product = (kind >= PRODUCT) & (kind < FIXED)
    is_plain = kind < PRODUCT
    fixed = np.zeros(count)
    at = kind >= FIXED
    np.add.at(fixed, owner[at], np.where(kind[at] == FIXED, 1.0, -1.0) * constants[sums.q[at]])
    depth = np.bincount(owner[is_product], minlength=count)
    plains = np.bincount(owner[is_plain], minlength=count)
    kind, p, q = kind[is_product], sums.p[is_product], sums.q[is_product]
    scaled = kind >= SCALED
    value = np.zeros(len(kind))
    value[scaled] = np.where(kind[scaled] == SCALED, 1.0, -1.0) * constants[q[scaled]]
    left = Factors(p, np.zeros(len(p)), p)
    right = Factors(np.where(scaled, -1, q), value, _tokens(np.where(scaled, -1, q), value))
    return Parts(
        sums.roots, np.cumsum(depth) - depth, depth, np.where(scaled, SCALED, kind), left, right,
        np.cumsum(plains) - plains, plains, sums.p[is_plain], sums.kinds[is_plain] == PLAIN + 1,
        fixed,
    )  # fmt: skip


def _tokens(slot: np.ndarray, value: np.ndarray) -> np.ndarray:
    tokens = slot.copy()
    constant = slot < 0
    bits = np.unique(value[constant].view(np.int64), return_inverse=True)
    tokens[constant] = -1 - bits[1]
    return tokens


# --- hashes ---------------------------------------------------------------------------------------


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Other numbers, as good as random (the finaliser of splitmix64)."""
    x = numbers.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def joined(*columns: np.ndarray) -> np.ndarray:
    """One number for each row of columns."""
    total = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        total = mixed(total * np.uint64(0x9E3779B97F4A7C15) + mixed(column))
    return total


def powers(count: int) -> np.ndarray:
    """Factors that make a sum depend on the order of its terms."""
    return np.cumprod(np.full(count, 0x9E3779B97F4A7C15, np.uint64))


def different(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows (T, n) that differ, in the order in which they are met, and which of them each is.

    np.unique along an axis makes a structure of as many fields as there are columns.
    """
    if len(rows) == 1:
        return rows, np.zeros(1, np.int64)
    key = (mixed(rows) * powers(rows.shape[1])).sum(axis=1)
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    found = rows[first[order]]
    if (found[number[which]] != rows).any():  # two hashes that happen to be equal
        return rows, np.arange(len(rows))
    return found, number[which]


def _sequences(numbers: np.ndarray, first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """One number for each sequence of `counts` numbers from `first` on; no sequence is empty."""
    rank = np.arange(len(numbers)) - np.repeat(first, counts)
    sums: np.ndarray = np.add.reduceat(
        mixed(numbers) * powers(int(counts.max(initial=0)))[rank], first
    )
    return sums


# --- grids ----------------------------------------------------------------------------------------


class Keys(NamedTuple):
    """What sums are compared by: the pattern, and both sequences of factors."""

    pattern: np.ndarray
    left: np.ndarray
    right: np.ndarray


def keys_of(parts: Parts, least: int) -> Keys | None:
    """Of sums with products; None where those that share a side have fewer than `least` of them."""
    at = np.flatnonzero(parts.depth)
    if len(at) < FEWEST_SUMS:
        return None
    found = np.zeros((3, len(parts.root)), np.uint64)
    first, depth = parts.first[at], parts.depth[at]
    minus = np.zeros(len(parts.root), np.int64)
    owner = np.repeat(np.arange(len(parts.root)), parts.plains)
    np.add.at(minus, owner, parts.negative)
    kinds = _sequences(parts.kind, first, depth)
    found[0, at] = joined(kinds, depth, parts.plains[at], minus[at])
    found[1, at] = joined(found[0, at], _sequences(parts.left.token, first, depth))
    found[2, at] = joined(found[0, at], _sequences(parts.right.token, first, depth))
    shared = np.zeros(len(at), bool)
    for key in found[1:, at]:
        order = np.argsort(key, kind="stable")
        again = np.flatnonzero(np.diff(key[order]) == 0)
        shared[order[again]] = shared[order[again + 1]] = True
    return Keys(*found) if depth[shared].sum() >= max(least, FEWEST_TOGETHER) else None


def families(parts: Parts, keys: Keys, place: np.ndarray) -> Iterator[Family]:
    """All grids that are worth while; sums of one grid have one `place`, which no sum of a place
    needs another of."""
    at = np.flatnonzero(parts.depth)
    point = joined(keys.right[at], place[at])
    # Rows in the order of their factors: how they lie in memory, not how they are used.
    at, _, starts, sizes = _grouped(at, point, _rank(parts, parts.left, at))
    row_rank = np.arange(len(at)) - np.repeat(starts, sizes)
    rows = np.add.reduceat(mixed(keys.left[at] + row_rank.astype(np.uint64)), starts)
    family = joined(rows, keys.pattern[at[starts]], sizes)
    where, column = place[at[starts]], _rank(parts, parts.right, at[starts])
    points = np.lexsort((column, where, family))
    family, where = family[points], where[points]
    begins = np.flatnonzero(np.append(True, (np.diff(family) != 0) | (np.diff(where) != 0)))
    widths = np.diff(np.append(begins, len(points)))
    # Instances of one family may have different numbers of points.
    shape = joined(family[begins], widths)
    order = np.argsort(shape, kind="stable")
    cuts = np.flatnonzero(np.diff(shape[order])) + 1
    first = np.append(0, cuts)
    instances = np.diff(np.append(first, len(order)))
    opening = points[begins[order[first]]]
    height, depth = sizes[opening], parts.depth[at[starts[opening]]]
    grid = widths[order[first]] * height
    worth = (grid >= FEWEST_SUMS) & (grid * depth >= FEWEST_PRODUCTS)
    products = np.where(worth, instances * grid * depth, 0)
    enough = max(NEXT_TO_OTHERS, int(OF_ALL * products.sum()))
    worth &= products >= (enough if products.max(initial=0) >= FEWEST_TOGETHER else FEWEST_TOGETHER)
    for j in np.flatnonzero(worth).tolist():
        mine = begins[order[first[j] : first[j] + instances[j]]]
        mine = points[mine[:, None] + np.arange(widths[order[first[j]]])]
        members = at[starts[mine][..., None] + np.arange(height[j])]
        found = Family(members[np.argsort(members[:, 0, 0])], int(depth[j]))
        if _agrees(parts, found):
            yield found


def _grouped(at: np.ndarray, key: np.ndarray, rank: np.ndarray) -> tuple[np.ndarray, ...]:
    """Sorted by key, then by rank; where each group begins, and its size."""
    order = np.lexsort((rank, key))
    at, key = at[order], key[order]
    starts = np.flatnonzero(np.append(True, np.diff(key) != 0))
    return at, key, starts, np.diff(np.append(starts, len(at)))


def _rank(parts: Parts, side: Factors, at: np.ndarray) -> np.ndarray:
    """By the slot of the first factor; behind them, by their positions, sums without one."""
    slot = side.slot[parts.first[at]]
    rank: np.ndarray = np.where(slot >= 0, slot, (1 << 40) + parts.root[at])
    return rank


def _agrees(parts: Parts, family: Family) -> bool:
    """Whether the factors are those that the hashes say."""
    left, right = factors(parts, family)
    every = parts.first[family.members][..., None] + np.arange(family.depth)
    kinds = parts.kind[every]
    return bool(
        (parts.left.token[every] == left.token[:, None]).all()
        and (parts.right.token[every] == right.token[:, :, None]).all()
        and (kinds == kinds[0, 0, 0]).all()
    )


def factors(parts: Parts, family: Family) -> tuple[Factors, Factors]:
    """Left factors (1, R, depth) and right ones (T, N, depth) of a family."""
    step = np.arange(family.depth)
    left = parts.first[family.members[:1, 0]][..., None] + step
    right = parts.first[family.members[:, :, 0]][..., None] + step
    return (
        Factors(*(part[left] for part in parts.left)),
        Factors(*(part[right] for part in parts.right)),
    )
