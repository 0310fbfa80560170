# mypy: allow-untyped-defs, allow-untyped-calls
"""Compiled: index sets of all slots in one sweep, and what is read from them.

A *node* stands for a set of inputs: node 0 for the empty one, 1..n for one input each, others for
unions.  A union of small sets is a list of inputs.  One of large sets is only the two nodes that it
unites: it becomes a list when more such nodes hang below it than its largest list has entries, so
that a running sum of n terms takes O(n) in all, and not O(n²).  Lists that are equal become one
node, so that chains of operations on the same inputs share one.

All functions take the address of a frame of addresses, see FRAME.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from numba import types

from .. import _jit
from .._jit import Sweep, i8_at, u1_at, u4_at, u8_at
from ..kernels.walk import part
from .interactions import BENDS, ON_X, ON_Y, XX, XY, YY

i64 = types.int64

# Addresses of columns: of the batch (int64, bits in bytes); by slot; by node; lists; by input;
# tables; pairs of nodes; what is asked for.
FRAME = ("z", "x", "y", "bits", "node", "mark",
         "left", "right", "first", "size", "below", "largest", "bound", "seen", "stack",
         "entries", "stamps", "unions", "equals", "pairs", "counts",
         "asked", "row_ends", "partners", "partner_ends")  # fmt: skip
(Z, X, Y, BITS, NODE, MARK, LEFT, RIGHT, FIRST, SIZE, BELOW, LARGEST, BOUND, SEEN, STACK, ENTRIES,
 STAMPS, UNIONS, EQUALS, PAIRS, COUNTS, ASKED, ROW_ENDS, PARTNERS,
 PARTNER_ENDS) = range(len(FRAME))  # fmt: skip
# Words of `counts`: nodes, entries, pairs and stamps that are used; room for them; inputs.
USED_NODES, USED_ENTRIES, USED_PAIRS, STAMP, ROOM_NODES, ROOM_ENTRIES, ROOM_PAIRS, INPUTS, MOST = (
    range(9)
)
LAZY = (1 << 32) - 1  # as size
SMALL = 24  # entries of two sets together, up to which their union is a list at once
UNION_TABLE, EQUAL_TABLE = 1 << 14, 1 << 16
MANY = 1 << 30
FULL = -1


def _fingerprint() -> str:
    digest = hashlib.sha256(Path(_jit.__file__).read_bytes())
    for name in ("_sets.py", "interactions.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:12]


def sweep(function: Any) -> Sweep:
    return Sweep(function, _fingerprint())


@part
def _gathered(f, top, at, stamp):
    """Append the inputs below `top` nodes of the stack, each once, to the entries from `at` on;
    the end."""
    left, right, size, first = u4_at(f[LEFT]), u4_at(f[RIGHT]), u4_at(f[SIZE]), i8_at(f[FIRST])
    seen, stack, stamps = i8_at(f[SEEN]), u4_at(f[STACK]), i8_at(f[STAMPS])
    entries = u4_at(f[ENTRIES])
    while top > 0:
        top -= 1
        node = i64(stack[top])
        if seen[node] == stamp:
            continue
        seen[node] = stamp
        count = i64(size[node])
        if count == LAZY:
            stack[top] = left[node]
            stack[top + 1] = right[node]
            top += 2
            continue
        start = first[node]
        for j in range(start, start + count):
            entry = i64(entries[j])
            if stamps[entry] != stamp:
                stamps[entry] = stamp
                entries[at] = entry
                at += 1
    return at


@part
def _equal(f, start, count, stamp):
    """A node that has the list of `count` stamped entries from `start` on, 0 for none; and where
    the table keeps one."""
    entries, stamps, equals = u4_at(f[ENTRIES]), i8_at(f[STAMPS]), u4_at(f[EQUALS])
    key = i64(count)
    for j in range(start, start + count):
        entry = i64(entries[j]) + 1
        key += entry * entry * 40503 + entry * 2654435761
    key = (key ^ (key >> 17)) & (EQUAL_TABLE - 1)
    node = i64(equals[key])
    if node == 0 or i64(u4_at(f[SIZE])[node]) != count:
        return i64(0), key
    first = i8_at(f[FIRST])[node]
    for j in range(first, first + count):
        if stamps[i64(entries[j])] != stamp:
            return i64(0), key
    return node, key


@part
def _listed(f, node, a, b):
    """Make `node` the list of a and b together, unless there is one; the node, or FULL."""
    counts = i8_at(f[COUNTS])
    stack, size, largest = u4_at(f[STACK]), u4_at(f[SIZE]), u4_at(f[LARGEST])
    start = counts[USED_ENTRIES]
    room = min(i64(u4_at(f[BOUND])[a]) + i64(u4_at(f[BOUND])[b]), counts[INPUTS])
    if start + room > counts[ROOM_ENTRIES]:
        return i64(FULL)
    counts[STAMP] += 1
    stamp = counts[STAMP]
    stack[0] = a
    stack[1] = b
    count = _gathered(f, i64(2), start, stamp) - start
    for child in (a, b):
        known = i64(largest[child])
        if i64(size[known]) == count:
            return known
    known, key = _equal(f, start, count, stamp)
    if known != 0:
        return known
    u4_at(f[EQUALS])[key] = node
    i8_at(f[FIRST])[node] = start
    size[node] = count
    u4_at(f[BELOW])[node] = 0
    largest[node] = node
    u4_at(f[BOUND])[node] = count
    counts[USED_ENTRIES] = start + count
    return node


@part
def _united(f, a, b):
    """The node of a and b together, or FULL."""
    if a == b or b == 0:
        return a
    if a == 0:
        return b
    if a > b:
        a, b = b, a
    unions = u4_at(f[UNIONS])
    key = 3 * ((a * 40503 + b * 7919) & (UNION_TABLE - 1))
    if i64(unions[key]) == a and i64(unions[key + 1]) == b:
        return i64(unions[key + 2])
    counts, size, below = i8_at(f[COUNTS]), u4_at(f[SIZE]), u4_at(f[BELOW])
    largest, bound = u4_at(f[LARGEST]), u4_at(f[BOUND])
    node = counts[USED_NODES]
    most = i64(largest[a])
    if i64(size[i64(largest[b])]) > i64(size[most]):
        most = i64(largest[b])
    under = min(i64(below[a]) + i64(below[b]) + 1, MANY)
    lists = i64(size[a]) != LAZY and i64(size[b]) != LAZY
    found = node
    if (lists and i64(size[a]) + i64(size[b]) <= SMALL) or under > i64(size[most]):
        found = _listed(f, node, a, b)
        if found == FULL:
            return found
    else:
        size[node] = LAZY
        below[node] = under
        largest[node] = most
        bound[node] = min(i64(bound[a]) + i64(bound[b]), counts[INPUTS])
    if found == node:
        u4_at(f[LEFT])[node] = a
        u4_at(f[RIGHT])[node] = b
        counts[USED_NODES] = node + 1
    unions[key] = a
    unions[key + 1] = b
    unions[key + 2] = found
    return found


def _propagate(frame, lo, hi):
    """Sets of the results of steps lo..hi; where `mark` is there, pairs of nodes that bend."""
    f = u8_at(frame)
    z, x, y, bits = i8_at(f[Z]), i8_at(f[X]), i8_at(f[Y]), u1_at(f[BITS])
    node, counts, mark, pairs = u4_at(f[NODE]), i8_at(f[COUNTS]), u1_at(f[MARK]), u4_at(f[PAIRS])
    bending = i64(f[MARK]) != 0
    for i in range(i64(lo), i64(hi)):
        bit = i64(bits[i])
        if (
            counts[USED_NODES] + 2 > counts[ROOM_NODES]
            or counts[USED_PAIRS] + 3 > counts[ROOM_PAIRS]
        ):
            return i + 1
        a, b, c = i64(node[x[i]]), i64(node[y[i]]), i64(node[z[i]])
        if bit & ON_X:
            c = _united(f, c, a)
            if c == FULL:
                return i + 1
        if bit & ON_Y:
            c = _united(f, c, b)
            if c == FULL:
                return i + 1
        node[z[i]] = c
        if bending and bit & BENDS and i64(mark[z[i]]) != 0:
            within = c if bit & (ON_X | ON_Y) == ON_X | ON_Y or bit & BENDS == XX else i64(0)
            for kind in (XX, YY, XY):
                if bit & kind:
                    p = b if kind == YY else a
                    q = a if kind == XX else b
                    last = 3 * (counts[USED_PAIRS] - 1)
                    if p != 0 and q != 0 and (i64(pairs[last]) != p or i64(pairs[last + 1]) != q):
                        pairs[last + 3] = p
                        pairs[last + 4] = q
                        pairs[last + 5] = within
                        counts[USED_PAIRS] += 1
    return 0


def _reach(frame, lo, hi):
    """Mark what the marked results of steps hi..lo depend on."""
    f = u8_at(frame)
    z, x, y, bits = i8_at(f[Z]), i8_at(f[X]), i8_at(f[Y]), u1_at(f[BITS])
    mark = u1_at(f[MARK])
    i = i64(hi)
    while i > i64(lo):
        i -= 1
        if i64(mark[z[i]]) != 0:
            bit = i64(bits[i])
            if bit & ON_X:
                mark[x[i]] = 1
            if bit & ON_Y:
                mark[y[i]] = 1
    return 0


def _read(frame, lo, hi):
    """Append the lists of the nodes `asked`, from lo to hi, to the entries; where each ends."""
    f = u8_at(frame)
    asked, ends, counts = u4_at(f[ASKED]), i8_at(f[ROW_ENDS]), i8_at(f[COUNTS])
    bound, stack = u4_at(f[BOUND]), u4_at(f[STACK])
    for i in range(i64(lo), i64(hi)):
        start = counts[USED_ENTRIES]
        if start + i64(bound[i64(asked[i])]) > counts[ROOM_ENTRIES]:
            return i + 1
        counts[STAMP] += 1
        stack[0] = asked[i]
        end = _gathered(f, i64(1), start, counts[STAMP])
        counts[USED_ENTRIES] = end
        ends[i] = end
    return 0


def _meet(frame, lo, hi):
    """Rows lo..hi of a Hessian: of each, the union of the nodes that are its partners."""
    f = u8_at(frame)
    partners, partner_ends = u4_at(f[PARTNERS]), i8_at(f[PARTNER_ENDS])
    ends, counts, entries = i8_at(f[ROW_ENDS]), i8_at(f[COUNTS]), u4_at(f[ENTRIES])
    stamps, first, size = i8_at(f[STAMPS]), i8_at(f[FIRST]), u4_at(f[SIZE])
    most = counts[MOST]
    for i in range(i64(lo), i64(hi)):
        at = counts[USED_ENTRIES]
        if at + most > counts[ROOM_ENTRIES]:
            return i + 1
        counts[STAMP] += 1
        stamp = counts[STAMP]
        start = at
        for j in range(partner_ends[i], partner_ends[i + 1]):
            node = i64(partners[j])
            for e in range(first[node], first[node] + i64(size[node])):
                entry = i64(entries[e])
                if stamps[entry] != stamp:
                    stamps[entry] = stamp
                    entries[at] = entry
                    at += 1
            if at - start == most:
                break
        counts[USED_ENTRIES] = at
        ends[i] = at
    return 0


def _cover(frame, lo, hi):
    """Bit 2 of `mark`, here by node, for all that lies within a node with a mark."""
    f = u8_at(frame)
    mark, left, right = u1_at(f[MARK]), u4_at(f[LEFT]), u4_at(f[RIGHT])
    i = i64(hi)
    while i > i64(lo):
        i -= 1
        if i64(mark[i]) != 0:
            a, b = i64(left[i]), i64(right[i])
            mark[a] = i64(mark[a]) | 2
            mark[b] = i64(mark[b]) | 2
    return 0


def _spread(frame, lo, hi):
    """Blocked bit sets: those of the results of steps lo..hi, as many words a slot as `size`."""
    f = u8_at(frame)
    z, x, y, bits = i8_at(f[Z]), i8_at(f[X]), i8_at(f[Y]), u1_at(f[BITS])
    words, count = i8_at(f[NODE]), i8_at(f[COUNTS])[0]
    for i in range(i64(lo), i64(hi)):
        bit = i64(bits[i])
        to, a, b = z[i] * count, x[i] * count, y[i] * count
        if bit & ON_X:
            for j in range(count):
                words[to + j] |= words[a + j]
        if bit & ON_Y:
            for j in range(count):
                words[to + j] |= words[b + j]
    return 0


propagate, reach, read = map(sweep, (_propagate, _reach, _read))
meet, cover, spread = map(sweep, (_meet, _cover, _spread))
