"""Compiled: a tape swept for many rows of inputs, one after the other or 16 side by side.

One call from Python serves a block of rows: at 1000 instructions, 16 rows take 6 us forward and
as much again backward, less than a call.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .._jit import Sweep, call_at, f8_at, jit, u4_at, u8, u8_at
from ..ops import FLIPPED, FRAME, table_hash

A, B, K, OUT, V, G, STATUS = (
    FRAME.index(name) for name in ("a", "b", "k", "out", "v", "g", "status")
)
STATE = ("forward", "reverse", "frame", "known", "end", "lanes", "all_slots", "ordered",
         "rows", "inputs", "places", "width", "adjacent",
         "outputs", "slots", "results", "stops", "seen", "stopped",
         "seeds", "seed_slots", "seed_columns", "seeded", "seed_width",
         "adjoints", "own", "owned", "sums", "shared", "summed",
         "cleared", "clearings")  # fmt: skip
(FORWARD, REVERSE, ADDRESS, KNOWN, END, COUNT, ALL_SLOTS, ORDERED,
 ROWS, INPUTS, PLACES, WIDTH, ADJACENT,
 OUTPUTS, SLOTS, RESULTS, STOPS, SEEN, STOPPED,
 SEEDS, SEED_SLOTS, SEED_COLUMNS, SEEDED, SEED_WIDTH,
 ADJOINTS, OWN, OWNED, SUMS, SHARED, SUMMED, CLEARED, CLEARINGS) = range(len(STATE))  # fmt: skip
TO_THE_END = (1 << 64) - 1  # the stop of a row that no guard has stopped
LANES = 16
ZERO, ONE, EIGHT = u8(0), u8(1), u8(8)
# Eight rows of eight numbers as columns, in three steps: which numbers of a pair of vectors make
# the two of the next step.
STEPS = (
    ((0, 8, 2, 10, 4, 12, 6, 14), (1, 9, 3, 11, 5, 13, 7, 15)),
    ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
    ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
)
PAIRS = (((0, 1), (2, 3), (4, 5), (6, 7)), ((0, 2), (1, 3), (4, 6), (5, 7)),
         ((0, 4), (1, 5), (2, 6), (3, 7)))  # fmt: skip


@intrinsic
def _transposed(typingctx, source, rows, width, target):  # type: ignore[no-untyped-def]
    """Eight numbers of each of eight rows, as eight columns 16 numbers apart at `target`."""
    i64, vector = ir.IntType(64), ir.VectorType(ir.DoubleType(), 8)

    def shuffled(b: Any, x: Any, y: Any, order: Any) -> Any:
        return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), 8), list(order)))

    def codegen(context, b, sig, args):  # type: ignore[no-untyped-def]
        source, rows, width, target = args
        rows = b.inttoptr(rows, i64.as_pointer())
        v = []
        for lane in range(8):
            row = b.load(b.gep(rows, [i64(lane)]))
            address = b.add(source, b.shl(b.mul(row, width), i64(3)))
            v.append(b.load(b.inttoptr(address, vector.as_pointer()), align=8))
        for step, pairs in zip(STEPS, PAIRS, strict=True):
            found = list(v)
            for i, j in pairs:
                found[i], found[j] = (shuffled(b, v[i], v[j], order) for order in step)
            v = found
        for column, x in enumerate(v):
            place = b.inttoptr(b.add(target, i64(128 * column)), vector.as_pointer())
            b.store(x, place, align=64)
        return context.get_dummy_value()

    return types.void(u8, u8, u8, u8), codegen


@jit
def _enter(s, row):  # type: ignore[no-untyped-def]
    """The numbers of a pack's rows into the slots of their inputs."""
    v, inputs = f8_at(u8_at(s[ADDRESS])[V]), f8_at(s[INPUTS])
    rows, places, lanes, width = u8_at(s[ROWS]), u8_at(s[PLACES]), s[COUNT], s[WIDTH]
    begun = ZERO
    if lanes == u8(LANES) and s[ADJACENT] != ZERO:
        target = u8_at(s[ADDRESS])[V] + places[0] * u8(8 * LANES)
        while begun + EIGHT <= width:
            for half in (ZERO, ONE):
                _transposed(  # type: ignore[call-arg]
                    s[INPUTS] + begun * EIGHT, s[ROWS] + (row + half * EIGHT) * EIGHT, width,
                    target + begun * u8(8 * LANES) + half * u8(64),
                )  # fmt: skip
            begun += EIGHT
    for lane in range(lanes):
        first = rows[row + lane] * width
        for i in range(begun, width):
            v[places[i] * lanes + lane] = inputs[first + i]


@jit
def _part(s, row, guard):  # type: ignore[no-untyped-def]
    """At a guard, lanes that disagree with it leave the pack; whether any stays.

    Those that have left get the numbers of one that stays: later guards stop no more for them.
    """
    f = u8_at(s[ADDRESS])
    v, seen, stops, lanes = f8_at(f[V]), f8_at(s[SEEN]), u8_at(s[STOPS]), s[COUNT]
    tested = u4_at(f[A])[guard] * lanes
    outcome = f8_at(f[K])[u4_at(f[B])[guard]]
    staying = lanes
    for lane in range(lanes):
        if stops[row + lane] == u8(TO_THE_END):
            if v[tested + lane] == outcome:
                staying = lane
            else:
                stops[row + lane] = guard
                seen[row + lane] = v[tested + lane]
    if staying == lanes:
        return False
    known = u4_at(f[OUT])[guard] if s[ORDERED] != ZERO else s[ALL_SLOTS]
    for slot in range(known):
        for lane in range(lanes):
            if stops[row + lane] != u8(TO_THE_END):
                v[slot * lanes + lane] = v[slot * lanes + staying]
    return True


@jit
def _forward(s, row):  # type: ignore[no-untyped-def]
    """Values of a pack: 0, 1 where every lane has left it, 2 where the sweep failed."""
    f = u8_at(s[ADDRESS])
    start = s[KNOWN]
    while True:
        status = call_at(s[FORWARD], s[ADDRESS], start, s[END])  # type: ignore[call-arg, var-annotated]
        if status == 0:
            return 0
        guard = u8(status - 1)
        if f[STATUS] != u8(FLIPPED):
            s[STOPPED] = guard
            return 2
        f[STATUS] = ZERO
        if not _part(s, row, guard):
            return 1
        start = guard + ONE


@jit
def _give(s, row, to, column, slots, count):  # type: ignore[no-untyped-def]
    """Numbers of lanes that count, from `slots` of a column to their rows of a matrix."""
    numbers, matrix, places = f8_at(u8_at(s[ADDRESS])[column]), f8_at(to), u8_at(slots)
    rows, stops, lanes = u8_at(s[ROWS]), u8_at(s[STOPS]), s[COUNT]
    for lane in range(lanes):
        if stops[row + lane] == u8(TO_THE_END):
            first = rows[row + lane] * count
            for j in range(count):
                matrix[first + j] = numbers[places[j] * lanes + lane]


@jit
def _seed(s, row):  # type: ignore[no-untyped-def]
    """Adjoints before a reverse sweep: seeds of lanes that count, zero elsewhere.

    Without seeds they are 1.  What rows share is not cleared: it adds up over a block.
    """
    g, cleared, lanes = f8_at(u8_at(s[ADDRESS])[G]), u8_at(s[CLEARED]), s[COUNT]
    for i in range(s[CLEARINGS]):
        for j in range(cleared[u8(2) * i] * lanes, cleared[u8(2) * i + ONE] * lanes):
            g[j] = 0.0
    rows, stops, seeds = u8_at(s[ROWS]), u8_at(s[STOPS]), f8_at(s[SEEDS])
    slots, columns = u8_at(s[SEED_SLOTS]), u8_at(s[SEED_COLUMNS])
    for lane in range(lanes):
        if stops[row + lane] == u8(TO_THE_END):
            first = rows[row + lane] * s[SEED_WIDTH]
            for j in range(s[SEEDED]):
                w = 1.0
                if s[SEEDS] != ZERO:
                    w = seeds[first + columns[j]]
                g[slots[j] * lanes + lane] += w


@jit
def _sum(s):  # type: ignore[no-untyped-def]
    """Sums over the lanes of a block, of what its rows share: in halves, always the same."""
    g, sums, shared, lanes = f8_at(u8_at(s[ADDRESS])[G]), f8_at(s[SUMS]), u8_at(s[SHARED]), s[COUNT]
    for j in range(s[SUMMED]):
        first = shared[j] * lanes
        half = lanes
        while half > ONE:
            half = half >> ONE
            for lane in range(half):
                g[first + lane] += g[first + half + lane]
        sums[j] = g[first]


def _rows(state, lo, hi):  # type: ignore[no-untyped-def]
    """A block of packs lo..hi: inputs in, forward, results out, backward, adjoints out; 0, or
    1 + a pack that failed.

    `state` is the address of words in the order of STATE.  Each lane of a pack is for one of
    `rows`: a row of `inputs` goes into the `width` slots of `places`, side by side where these are
    `adjacent`; the numbers in `slots`, as many as `results`, go to its row of `outputs`, unless
    that is 0.  `stops` has a word a lane, TO_THE_END at first for lanes that count: where a guard
    stops a pack, it becomes the guard for lanes that disagree, `seen` what they saw there.

    With a `reverse` sweep, the `seeded` slots of `seed_slots` get their adjoints from columns
    `seed_columns` of `seeds`; the adjoints in the slots `own` go to the row of `adjoints`, and
    those in `shared` are summed over the block's rows into `sums`.
    """
    s = u8_at(state)
    backward = s[REVERSE] != ZERO
    if backward:
        g, shared, lanes = f8_at(u8_at(s[ADDRESS])[G]), u8_at(s[SHARED]), s[COUNT]
        for j in range(s[SUMMED]):
            for lane in range(lanes):
                g[shared[j] * lanes + lane] = 0.0
    for pack in range(lo, hi):
        row = pack * s[COUNT]
        _enter(s, row)
        way = _forward(s, row)
        if way == 2:
            return pack + ONE
        if way == 1:
            continue
        if s[OUTPUTS] != ZERO:
            _give(s, row, s[OUTPUTS], V, s[SLOTS], s[RESULTS])
        if backward:
            _seed(s, row)
            status = call_at(s[REVERSE], s[ADDRESS], s[KNOWN], s[END])  # type: ignore[call-arg, var-annotated]
            if status != 0:
                s[STOPPED] = u8(status - 1)
                return pack + ONE
            _give(s, row, s[ADJOINTS], G, s[OWN], s[OWNED])
    if backward:
        _sum(s)
    return 0


rows = Sweep(_rows, table_hash())
