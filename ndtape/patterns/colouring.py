"""Which columns or rows of a sparse matrix one sweep can compute together.

Jacobians: columns that share no row (or rows that share no column).  A few rows that are nearly
full would need a sweep for each of their columns; those rows are computed in reverse, one sweep
each, and the others by columns, or the other way round: the split that takes the fewest sweeps.

Hessians: a star colouring, from which every entry is read directly, or an acyclic one, with fewer
sweeps, from which entries follow by substitution.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..run import entry
from ..tape import address_of

PIECE_WORK = 1 << 24  # steps in one call
MOST_WORK = 1 << 27  # steps, beyond which no second order is tried
ROUNDS = 4  # with the classes of the best colouring in reverse
LINES = 64  # of a symmetric matrix, so many at most are taken out because they are long

Entries = tuple[np.ndarray, np.ndarray]  # where each row ends, with a 0 before it, and its columns


class Colours(NamedTuple):
    """Colours from 1 on of rows and of columns; 0 for those that no sweep is for."""

    rows: np.ndarray
    columns: np.ndarray


def transposed(entries: Entries, width: int) -> tuple[Entries, np.ndarray]:
    """Compressed columns, and where each of their entries stands among the rows."""
    ends, columns = entries
    order = np.argsort(columns, kind="stable")
    rows = np.repeat(np.arange(len(ends) - 1), np.diff(ends))[order]
    return (_ends(columns, width), rows), order


def _ends(values: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(values, minlength=n))]).astype(np.int64)


def some(entries: Entries, rows: np.ndarray) -> Entries:
    """The same matrix without the entries of other rows; `rows` is a mask."""
    ends, columns = entries
    counts = np.where(rows, np.diff(ends), 0)
    kept = np.repeat(rows, np.diff(ends))
    return np.concatenate([[0], np.cumsum(counts)]), columns[kept]


# --- Jacobians -----------------------------------------------------------------------------------


def of_jacobian(entries: Entries, width: int, kind: str | None = None) -> tuple[Colours, str]:
    """Colours of rows (for reverse sweeps) and of columns (for tangent sweeps), and their kind.

    "columns": by columns, except for the entries of rows that have a colour; "rows": by rows,
    except for the entries of columns that have a colour; None: what takes fewer sweeps.

    >>> ends, columns = np.array([0, 4, 6, 8, 10]), np.array([0, 1, 2, 3, 0, 1, 0, 2, 0, 3])
    >>> of_jacobian((ends, columns), 4)
    (Colours(rows=array([1, 0, 0, 0]), columns=array([1, 2, 2, 2])), 'columns')
    """
    height = len(entries[0]) - 1
    by_rows, _ = transposed(entries, width)
    ways = {
        "columns": lambda: _split(entries, by_rows, height),
        "rows": lambda: Colours(*reversed(_split(by_rows, entries, width))),
    }
    if kind is not None:
        return ways[kind](), kind
    least = {
        "columns": _estimate(np.diff(entries[0]))[0],
        "rows": _estimate(np.diff(by_rows[0]))[0],
    }
    kind, other = sorted(ways, key=lambda name: least[name])
    best = ways[kind]()
    if least[other] < _sweeps(best):
        second = ways[other]()
        if _sweeps(second) < _sweeps(best):
            return second, other
    return best, kind


def _sweeps(colours: Colours) -> int:
    return int(colours.rows.max(initial=0) + colours.columns.max(initial=0))


def _estimate(counts: np.ndarray) -> tuple[int, int]:
    """How few sweeps by columns could do if the fullest rows are left out, and how many rows."""
    rest = np.append(np.sort(counts)[::-1], 0)
    left_out = np.arange(len(rest))
    best = int(np.argmin(left_out + rest))
    return int(left_out[best] + rest[best]), best


def _split(entries: Entries, by_rows: Entries, height: int) -> Colours:
    """The fullest rows by themselves, the others by columns."""
    width = len(by_rows[0]) - 1
    counts = np.diff(entries[0])
    _, count = _estimate(counts)
    rows = np.zeros(height, np.int64)
    if count:
        chosen = np.zeros(height, bool)
        chosen[np.argsort(-counts, kind="stable")[:count]] = True
        within = some(entries, chosen)
        if np.bincount(within[1]).max(initial=0) == count:  # all meet in one column
            rows[chosen] = np.arange(1, count + 1)
        else:
            rows = colour(transposed(within, width)[0], within)
        entries = some(entries, ~chosen)
        by_rows, _ = transposed(entries, width)
    return Colours(rows, colour(entries, by_rows))


def colour(entries: Entries, by_vertex: Entries) -> np.ndarray:
    """Colours of the columns of a matrix, such that no row has two of one colour; 0 for empty ones.

    Greedy in the order in which they stand, then, where more colours come out than a row has
    entries, from the largest on, with the smallest last, and by the classes of the best of these
    in reverse, which cannot make it worse (Culberson's iterated greedy).
    """
    sizes = np.diff(entries[0])
    fewest = int(sizes.max(initial=0))
    used = np.flatnonzero(np.diff(by_vertex[0]))
    degrees = _weights(sizes, by_vertex)
    graph = Graph(entries, by_vertex)
    return _best(graph, graph.distance_two, used, degrees, fewest)


def _best(
    graph: Graph, sweep: Any, used: np.ndarray, degrees: np.ndarray, fewest: int
) -> np.ndarray:
    """The fewest colours that greedy colourings of the vertices `used` give."""
    graph.piece = max(1, int(PIECE_WORK // max(degrees.mean() if len(degrees) else 1, 1)))
    best = graph.colours(sweep, used)
    if degrees.sum() > MOST_WORK:
        return best
    for order in _orders(graph, used, degrees):
        if best.max(initial=0) <= fewest:
            return best
        best = min(best, graph.colours(sweep, order), key=np.max)
    for _ in range(ROUNDS):
        if best.max(initial=0) <= fewest:
            break
        order = used[np.argsort(-best[used], kind="stable")]
        best = min(best, graph.colours(sweep, order), key=np.max)
    return best


def _weights(sizes: np.ndarray, by_vertex: Entries) -> np.ndarray:
    """For each vertex, how many entries share a row with it."""
    ends, rows = by_vertex
    total = np.concatenate([[0], np.cumsum(sizes[rows])])
    found: np.ndarray = total[ends[1:]] - total[ends[:-1]]
    return found


def _orders(graph: Graph, used: np.ndarray, degrees: np.ndarray) -> Iterator[np.ndarray]:
    yield used[np.argsort(-degrees[used], kind="stable")]
    order = graph.smallest_last(degrees)
    yield order[np.isin(order, used)]


# --- Hessians ------------------------------------------------------------------------------------


def of_hessian(entries: Entries, kind: str = "star") -> np.ndarray:
    """Colours of the columns of a symmetric matrix; 0 for empty ones.

    Vertices with very many neighbours get a colour of their own, which no other rule can need.

    >>> ends, columns = np.array([0, 1, 3, 5, 6]), np.array([1, 0, 2, 1, 3, 2])
    >>> of_hessian((ends, columns)), of_hessian((ends, columns), "acyclic")
    (array([1, 2, 1, 3]), array([1, 2, 1, 2]))
    """
    ends, columns = entries
    n = len(ends) - 1
    used = np.diff(ends) > 0
    rows = np.repeat(np.arange(n), np.diff(ends))
    degrees = np.bincount(rows[rows != columns], minlength=n)
    hubs = _hubs(degrees)
    outside = ~hubs[rows] & ~hubs[columns] & (rows != columns)
    rest = _ends(rows[outside], n), columns[outside]
    graph = Graph(rest, rest)
    graph.number_edges(rows[outside], columns[outside])
    compiled = graph.star if kind == "star" else graph.acyclic
    inner = np.flatnonzero(used & ~hubs)
    degrees = _weights(np.diff(rest[0]), rest)
    best = _best(graph, compiled, inner, degrees, 2)
    best[hubs] = best.max(initial=0) + 1 + np.arange(np.count_nonzero(hubs))
    return best


def _hubs(degrees: np.ndarray) -> np.ndarray:
    """Vertices that are adjacent to so many that the search around them would be quadratic, or
    that they need a colour of their own anyway."""
    order = np.argsort(-degrees, kind="stable")[:LINES]
    hubs: np.ndarray = degrees >= max(np.count_nonzero(degrees) / 2, LINES)
    hubs[order[degrees[order] > max(2 * LINES, 8 * np.sqrt(len(degrees)))]] = True
    return hubs


class Graph:
    """What the compiled functions of _colours.py work on."""

    def __init__(self, entries: Entries, by_vertex: Entries) -> None:
        from . import _colours

        self.distance_two, self.star, self.acyclic = (
            _colours.distance_two, _colours.star, _colours.acyclic
        )  # fmt: skip
        self.kernels = _colours
        self.n = len(by_vertex[0]) - 1
        self.frame = np.zeros(len(_colours.FRAME), np.uint64)
        self.arrays: dict[str, np.ndarray] = {}
        self.install(row_ends=by_vertex[0], rows=by_vertex[1], ends=entries[0], columns=entries[1])
        self.edges = np.zeros(0, np.int64)
        self.piece = 1 << 12  # vertices in one call

    def install(self, **arrays: np.ndarray) -> None:
        for name, array in arrays.items():
            known = np.ascontiguousarray(array, np.int64) if len(array) else np.zeros(1, np.int64)
            self.arrays[name] = known
            self.frame[self.kernels.FRAME.index(name)] = address_of(known)

    def number_edges(self, rows: np.ndarray, columns: np.ndarray) -> None:
        """A number for each edge of a symmetric matrix, the same at both of its entries."""
        low, high = np.minimum(rows, columns), np.maximum(rows, columns)
        _, self.edges = np.unique(low * self.n + high, return_inverse=True)

    def colours(self, sweep: Any, order: np.ndarray) -> np.ndarray:
        """The colours that a compiled function gives in this order."""
        count = int(self.edges.max(initial=-1)) + 1
        self.install(order=order, edges=self.edges, stars=np.arange(count))
        for name in ("colours", "treated"):
            self.install(**{name: np.zeros(self.n, np.int64)})
        self.install(forbidden=np.zeros(self.n + 2, np.int64))
        self.install(first_of=np.zeros(3 * self.n + 3, np.int64))
        self.install(hubs=np.zeros(count, np.int64), visits=np.zeros(2 * count, np.int64))
        for lo in range(0, len(order), self.piece):
            self._run(sweep, lo, min(lo + self.piece, len(order)))
        return self.arrays["colours"][: self.n].copy()

    def smallest_last(self, degrees: np.ndarray) -> np.ndarray:
        """The order in which each vertex shares rows with few of those before it."""
        self.install(order=np.zeros(self.n, np.int64), treated=np.zeros(self.n, np.int64))
        self.install(next=np.zeros(self.n + 1, np.int64), previous=np.zeros(self.n + 1, np.int64))
        self.install(heads=np.zeros(int(degrees.max(initial=0)) + 1, np.int64))
        self.install(degrees=degrees.copy())
        self._run(self.kernels.smallest_last, 0, self.n)
        return self.arrays["order"][: self.n].copy()

    def _run(self, sweep: Any, lo: int, hi: int) -> None:
        entry("releasing")(sweep.address, address_of(self.frame), lo, hi)
