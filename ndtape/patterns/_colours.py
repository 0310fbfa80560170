# mypy: allow-untyped-defs, allow-untyped-calls
"""Compiled: greedy colourings of graphs, and the orders in which vertices are taken.

The graphs are those of Gebremedhin, Manne and Pothen (2005): the vertices are the columns of a
matrix, and two are adjacent if they share a row (Jacobians), or the graph is the symmetric matrix
itself (Hessians).  Both are given by compressed rows and columns; of a symmetric matrix, without
its diagonal, they are the same.  Colours are counted from 1, 0 is none.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from numba import types

from .. import _jit
from .._jit import Sweep, f8_at, i8_at, u8_at
from ..kernels.walk import part

i64 = types.int64

# Columns of int64: rows of each vertex, vertices of each row; the order; what comes out.  Then work
# space by colour (two), by vertex, and by edge; `edges` numbers the entries, alike both ways.
FRAME = ("row_ends", "rows", "ends", "columns", "order", "colours", "forbidden", "first_of",
         "treated", "edges", "stars", "hubs", "visits", "counts", "next", "previous", "heads",
         "degrees")  # fmt: skip
(ROW_ENDS, ROWS, ENDS, COLUMNS, ORDER, COLOURS, FORBIDDEN, FIRST_OF, TREATED, EDGES, STARS, HUBS,
 VISITS, COUNTS, NEXT, PREVIOUS, HEADS, DEGREES) = range(len(FRAME))  # fmt: skip
# Of a substitution: by entry its sum, and its mirror image; by sum how many entries it has left,
# the exclusive or of which they are, and its number; sums with one entry; the entries (float64).
SUBSTITUTION = ("sums", "mirror", "left", "which", "numbers", "stack", "data", "solved")
(SUMS, MIRROR, LEFT, WHICH, NUMBERS, STACK, DATA, SOLVED) = range(len(SUBSTITUTION))


def sweep(function: Any) -> Sweep:
    digest = hashlib.sha256(Path(_jit.__file__).read_bytes() + Path(__file__).read_bytes())
    return Sweep(function, digest.hexdigest()[:12])


@part
def _least(forbidden, stamp):
    """The first colour that is not forbidden."""
    colour = i64(1)
    while forbidden[colour] == stamp:
        colour += 1
    return colour


def _distance_two(frame, lo, hi):
    """Colours of the vertices order[lo:hi]: others than of all that share a row with them."""
    f = u8_at(frame)
    row_ends, rows = i8_at(f[ROW_ENDS]), i8_at(f[ROWS])
    ends, columns = i8_at(f[ENDS]), i8_at(f[COLUMNS])
    order, colours, forbidden = i8_at(f[ORDER]), i8_at(f[COLOURS]), i8_at(f[FORBIDDEN])
    for i in range(i64(lo), i64(hi)):
        v = order[i]
        for e in range(row_ends[v], row_ends[v + 1]):
            row = rows[e]
            for j in range(ends[row], ends[row + 1]):
                forbidden[colours[columns[j]]] = v + 1
        colours[v] = _least(forbidden, v + 1)
    return 0


def _smallest_last(frame, lo, hi):
    """An order: the vertex that shares rows with the fewest others comes last, and so on without
    it.  `hi` vertices; `degrees` holds how many entries share a row with each."""
    f = u8_at(frame)
    row_ends, rows = i8_at(f[ROW_ENDS]), i8_at(f[ROWS])
    ends, columns = i8_at(f[ENDS]), i8_at(f[COLUMNS])
    order, done, degrees = i8_at(f[ORDER]), i8_at(f[TREATED]), i8_at(f[DEGREES])
    after, before, heads = i8_at(f[NEXT]), i8_at(f[PREVIOUS]), i8_at(f[HEADS])
    n = i64(hi)
    for v in range(n):
        _enter(after, before, heads, degrees[v], v + 1)
    least = i64(0)
    for left in range(n - 1, -1, -1):
        while heads[least] == 0:
            least += 1
        v = heads[least] - 1
        _leave(after, before, heads, least, v + 1)
        done[v] = 1
        order[left] = v
        for e in range(row_ends[v], row_ends[v + 1]):
            row = rows[e]
            for j in range(ends[row], ends[row + 1]):
                w = columns[j]
                if done[w] == 0:
                    _leave(after, before, heads, degrees[w], w + 1)
                    degrees[w] -= 1
                    _enter(after, before, heads, degrees[w], w + 1)
                    least = min(least, degrees[w])
    return 0


@part
def _enter(after, before, heads, degree, v):
    """Put v in front of the list of its degree."""
    first = heads[degree]
    after[v] = first
    before[v] = 0
    before[first] = v
    heads[degree] = v


@part
def _leave(after, before, heads, degree, v):
    if before[v] == 0:
        heads[degree] = after[v]
    else:
        after[before[v]] = after[v]
    before[after[v]] = before[v]


# --- symmetric matrices ---------------------------------------------------------------------------


def _star(frame, lo, hi):
    """Colours of order[lo:hi] such that every path of four vertices has three: then each two
    colours induce stars (algorithm 4.1 of Gebremedhin, Tarafdar, Manne and Pothen 2007).

    `stars` has the star of each edge, `hubs` the middle of each star, or 0 for a single edge;
    `first_of` by colour the vertex, its first neighbour of that colour, and the edge between them.
    """
    f = u8_at(frame)
    ends, columns, edges = i8_at(f[ENDS]), i8_at(f[COLUMNS]), i8_at(f[EDGES])
    order, colours, forbidden = i8_at(f[ORDER]), i8_at(f[COLOURS]), i8_at(f[FORBIDDEN])
    first_of, treated = i8_at(f[FIRST_OF]), i8_at(f[TREATED])
    stars, hubs = i8_at(f[STARS]), i8_at(f[HUBS])
    for i in range(i64(lo), i64(hi)):
        v = order[i]
        stamp = v + 1
        for e in range(ends[v], ends[v + 1]):
            w = columns[e]
            colour = colours[w]
            if colour == 0:
                continue
            forbidden[colour] = stamp
            known = 3 * colour
            if first_of[known] == stamp:
                q = first_of[known + 1]
                if treated[q] != stamp:
                    _forbid_around(ends, columns, colours, forbidden, treated, q, stamp)
                _forbid_around(ends, columns, colours, forbidden, treated, w, stamp)
                continue
            first_of[known] = stamp
            first_of[known + 1] = w
            first_of[known + 2] = edges[e]
            for j in range(ends[w], ends[w + 1]):
                x = columns[j]
                if x != v and colours[x] != 0 and hubs[stars[edges[j]]] == x + 1:
                    forbidden[colours[x]] = stamp
        forbidden[0] = 0
        colours[v] = _least(forbidden, stamp)
        for e in range(ends[v], ends[v + 1]):
            w = columns[e]
            if colours[w] == 0:
                continue
            edge = edges[e]
            joined = i64(-1)
            for j in range(ends[w], ends[w + 1]):
                x = columns[j]
                if x != v and colours[x] == colours[v]:
                    joined = edges[j]
                    break
            known = 3 * colours[w]
            if joined >= 0:
                hubs[stars[joined]] = w + 1
                stars[edge] = stars[joined]
            elif first_of[known + 1] != w:
                stars[edge] = stars[first_of[known + 2]]
                hubs[stars[edge]] = v + 1
            else:
                stars[edge] = edge
    return 0


@part
def _forbid_around(ends, columns, colours, forbidden, treated, w, stamp):
    for j in range(ends[w], ends[w + 1]):
        forbidden[colours[columns[j]]] = stamp
    treated[w] = stamp


def _acyclic(frame, lo, hi):
    """Colours of order[lo:hi] such that every two induce trees: each cycle has three (algorithm 3.1
    of the same paper).

    `stars` is a forest of edges, whose roots stand for the trees of two colours; `visits` has by
    tree the vertex that met it last, and through which neighbour.
    """
    f = u8_at(frame)
    ends, columns, edges = i8_at(f[ENDS]), i8_at(f[COLUMNS]), i8_at(f[EDGES])
    order, colours, forbidden = i8_at(f[ORDER]), i8_at(f[COLOURS]), i8_at(f[FORBIDDEN])
    first_of, trees, visits = i8_at(f[FIRST_OF]), i8_at(f[STARS]), i8_at(f[VISITS])
    for i in range(i64(lo), i64(hi)):
        v = order[i]
        stamp = v + 1
        for e in range(ends[v], ends[v + 1]):
            forbidden[colours[columns[e]]] = stamp
        for e in range(ends[v], ends[v + 1]):
            w = columns[e]
            if colours[w] == 0:
                continue
            for j in range(ends[w], ends[w + 1]):
                x = columns[j]
                if colours[x] != 0 and forbidden[colours[x]] != stamp:
                    tree = _root(trees, edges[j])
                    if visits[2 * tree] != stamp:
                        visits[2 * tree] = stamp
                        visits[2 * tree + 1] = w
                    elif visits[2 * tree + 1] != w:
                        forbidden[colours[x]] = stamp
        forbidden[0] = 0
        colours[v] = _least(forbidden, stamp)
        for e in range(ends[v], ends[v + 1]):
            w = columns[e]
            known = 3 * colours[w]
            if known == 0:
                continue
            if first_of[known] != stamp:
                first_of[known] = stamp
                first_of[known + 2] = edges[e]
            else:
                trees[_root(trees, edges[e])] = _root(trees, first_of[known + 2])
            for j in range(ends[w], ends[w + 1]):
                x = columns[j]
                if x != v and colours[x] == colours[v]:
                    trees[_root(trees, edges[e])] = _root(trees, edges[j])
    return 0


@part
def _root(trees, edge):
    while trees[edge] != edge:
        trees[edge] = trees[trees[edge]]
        edge = trees[edge]
    return edge


def _substitute(frame, lo, hi):
    """Entries of a symmetric matrix from sums of entries of a row with columns of one colour.

    The sums of two colours are a forest: where one has a single entry left, that is known, and its
    mirror image is taken out of the sum that it is in.  The stack holds `hi` of these sums.
    """
    f = u8_at(frame)
    sums, mirror, left = i8_at(f[SUMS]), i8_at(f[MIRROR]), i8_at(f[LEFT])
    which, stack, solved = i8_at(f[WHICH]), i8_at(f[STACK]), i8_at(f[SOLVED])
    numbers, data = f8_at(f[NUMBERS]), f8_at(f[DATA])
    top = i64(hi)
    while top > 0:
        top -= 1
        here = stack[top]
        if left[here] != 1:
            continue
        entry = which[here]
        image = mirror[entry]
        data[entry] = numbers[here]
        data[image] = numbers[here]
        left[here] = 0
        solved[0] += 1
        there = sums[image]
        if there != here:
            numbers[there] -= numbers[here]
            left[there] -= 1
            which[there] ^= image
            if left[there] == 1:
                stack[top] = there
                top += 1
    return 0


distance_two, smallest_last = map(sweep, (_distance_two, _smallest_last))
star, acyclic, substitute = map(sweep, (_star, _acyclic, _substitute))
