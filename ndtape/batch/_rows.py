"""Compiled: a tape swept forward for many rows of inputs, one after the other or 16 side by side.

One call from Python serves all rows: at 1000 instructions, 16 rows take 6 us, less than a call.
"""

from __future__ import annotations

from .._jit import Sweep, call_at, f8_at, u4_at, u8, u8_at
from ..ops import FLIPPED, FRAME, table_hash

A, B, K, OUT, V, STATUS = (FRAME.index(name) for name in ("a", "b", "k", "out", "v", "status"))
STATE = ("forward", "frame", "known", "end", "rows", "inputs", "places", "width", "slots",
         "results", "outputs", "lanes", "stops", "seen", "stopped")  # fmt: skip
(FORWARD, ADDRESS, KNOWN, END, ROWS, INPUTS, PLACES, WIDTH, SLOTS, RESULTS, OUTPUTS, COUNT,
 STOPS, SEEN, STOPPED) = range(len(STATE))  # fmt: skip
TO_THE_END = (1 << 64) - 1  # the stop of a row that no guard has stopped
ZERO, ONE = u8(0), u8(1)


def _rows(state, lo, hi):  # type: ignore[no-untyped-def]
    """Packs lo..hi: inputs in, forward, results out; 0, or 1 + a pack that failed.

    `state` is the address of words in the order of STATE.  Each lane of a pack is for one of
    `rows`: a row of `inputs` goes into the `width` slots of `places`; the numbers in `slots`, as
    many as `results`, go to its row of `outputs`.  `stops` has a word a lane, TO_THE_END at first
    for lanes that count: where a guard stops a pack, it becomes the guard for lanes that disagree,
    `seen` what they saw there.  Lanes that have left get the numbers of one that has not, so that
    later guards stop no more for them.
    """
    s = u8_at(state)
    f = u8_at(s[ADDRESS])
    v, inputs, outputs, seen = f8_at(f[V]), f8_at(s[INPUTS]), f8_at(s[OUTPUTS]), f8_at(s[SEEN])
    slots, stops = u8_at(s[SLOTS]), u8_at(s[STOPS])
    rows, places = u8_at(s[ROWS]), u8_at(s[PLACES])
    lanes, width, results = s[COUNT], s[WIDTH], s[RESULTS]
    for pack in range(lo, hi):
        row = pack * lanes
        for lane in range(lanes):
            first = rows[row + lane] * width
            for i in range(width):
                v[places[i] * lanes + lane] = inputs[first + i]
        start = s[KNOWN]
        while True:
            status = call_at(s[FORWARD], s[ADDRESS], start, s[END])  # type: ignore[call-arg, var-annotated]
            if status == 0:
                for lane in range(lanes):
                    if stops[row + lane] == u8(TO_THE_END):
                        first = rows[row + lane] * results
                        for j in range(results):
                            outputs[first + j] = v[slots[j] * lanes + lane]
                break
            guard = u8(status - 1)
            if f[STATUS] != u8(FLIPPED):
                s[STOPPED] = guard
                return pack + ONE
            f[STATUS] = ZERO
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
                break
            for slot in range(u4_at(f[OUT])[guard]):
                for lane in range(lanes):
                    if stops[row + lane] != u8(TO_THE_END):
                        v[slot * lanes + lane] = v[slot * lanes + staying]
            start = guard + ONE
    return 0


rows = Sweep(_rows, table_hash())
