"""What steady replays sweep: a tape after the passes, without the instructions that they skip.

Passes cost about as much as a few replays, so that a trace goes through them when it has been
replayed `WARM` times.  Everything else (general calls, siblings, second derivatives, printing)
stays with the tape as it was recorded: a replay that stops at a guard starts again there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import nest
from ..ops import FIRST_WIDE, WIDE_CODES
from ..passes import Columns
from ..passes.fusion import AFFINE, Packed, fused, packed
from ..passes.weights import gather_weights
from ..run import COLUMNS, Workspace, blas, load_kernels
from ..tape import Chunk, Tape, address_of
from .program import Slots, Trace

WARM = 16  # replays
# (columns, slots whose values are wanted) -> columns, or None where nothing changes
PASSES = [fused, gather_weights]


class Lean(NamedTuple):
    """Columns for sweeps."""

    chunk: Chunk
    columns: Packed
    codes: set[int]

    def enter(self, work: Workspace) -> None:
        """Let the next sweeps of a workspace of the tape run over these columns."""
        for table in ("forward", "reverse"):
            load_kernels(table, self.codes)
        if WIDE_CODES["dot"] in self.codes:
            work.frame[COLUMNS["blas"]] = address_of(blas())
        work.own_words = self.columns.columns["m"]
        work.enter(self.chunk)

    def place(self, i: int) -> int:
        """Where instruction i of the tape, or the next that is left, stands."""
        return int(np.searchsorted(self.columns.positions, i))


def leave(work: Workspace, words: np.ndarray | None) -> None:
    """Let the next sweeps of a workspace run over its tape again, with words of its own or not."""
    work.own_words = words
    work.unprepare()


def is_warm(trace: Trace) -> bool:
    return trace.all_runs >= WARM


def lean(trace: Trace, words: np.ndarray | None) -> Lean | None:
    """The tape of a trace after the passes; None where they find nothing to do.

    `words` are those of a workspace which takes no adjoints of some arguments.
    """
    kept = [
        np.arange(p.start, p.start + p.size) for p in trace.output.parts if isinstance(p, Slots)
    ]
    span = output_span(trace)
    if span is not None:  # which are read in one piece
        kept = [np.arange(*span)]
    columns = optimised(trace.tape, words, np.concatenate([np.zeros(0, np.int64), *kept]))
    if columns is None:
        return None
    short = packed(columns)
    chunk = in_chunk(short)
    trace.lean_length = chunk.size
    return Lean(chunk, short, codes_of(columns))


def in_chunk(short: Packed) -> Chunk:
    """Packed columns where sweeps find them."""
    chunk = Chunk(0, len(short.positions))
    for name in ("op", "out", "a", "b", "c"):
        chunk.array(name, chunk.size)[:] = short.columns[name]
    return chunk


def output_span(trace: Trace) -> tuple[int, int] | None:
    """The slots that hold all results; None where there is too much between them."""
    parts = [p for p in trace.output.parts if isinstance(p, Slots)]
    if not parts:
        return None
    first, end = min(p.start for p in parts), max(p.start + p.size for p in parts)
    return (first, end) if end - first <= 64 + 2 * sum(p.size for p in parts) else None


def optimised(tape: Tape, words: np.ndarray | None, kept: np.ndarray) -> Columns | None:
    """The columns of a tape after all passes; None where none of them found anything to do."""
    columns = tape.columns()
    if words is not None:
        columns["m"] = words[: tape.mn]
    changed = False
    for one in PASSES:
        better = one(columns, kept)
        if better is not None:
            columns, changed = better, True
    return columns if changed else None


def codes_of(columns: Columns) -> set[int]:
    """The codes of all wide instructions whose kernels sweeps call."""
    op = columns["op"]
    codes = set(np.unique(op[op >= FIRST_WIDE]).tolist())
    at = columns["c"][op == AFFINE].astype(np.int64)
    if len(at):
        codes |= {WIDE_CODES["dot"], *np.unique(columns["m"][at + nest.KIND_WORD]).tolist()} - {0}
    return codes
