"""Dead code: what no result, guard or call needs."""

from __future__ import annotations

import numpy as np

from ..nest import FLAGS, Y_CONSTANT
from ..ops import FRAME, OPCODES, WIDE_CODES
from .code import NAMES, Code, Goal, sizes_of
from .operands import reads

FUSED = [WIDE_CODES[name] for name in ("skip", "affine", "weights")]
PLACED = [WIDE_CODES[name] for name in ("gather", "scatter_add")]
GUARDS = [o.code for o in OPCODES if o.row.name == "guard"]
STAYS = [WIDE_CODES["call"], *FUSED, *GUARDS]
SCRATCH = 64  # words for the counters of loops
LONG = 8  # slots an instruction: beyond, instructions are looked at and not slots


def dead(code: Code, goal: Goal) -> Code | None:
    """The code without instructions that nobody needs; None where there are none.

    One sweep of `reach`, from the results and what can stop a sweep, to operands.

    >>> import ndtape as nt, numpy as np
    >>> from ndtape.passes import Goal, code_of
    >>> from ndtape.passes.dead import dead
    >>> with nt.Tape() as tape:
    ...     x = nt.var(3.0)
    ...     y, z = nt.sin(nt.exp(x)), nt.cos(x)
    >>> code = code_of(tape, 1, np.array([z.slot]))
    >>> code.length, dead(code, Goal()).length
    (4, 2)
    """
    kept = _reached(code) if code.slots < LONG * code.length else _needed(code)
    return None if kept.all() else code.some(kept)


def _reached(code: Code) -> np.ndarray:
    """A mask: the instructions to keep."""
    from ._walking import Words, reach

    columns, out = code.columns, code.columns["out"].astype(np.int64)
    mark = _read_by_fused(code)
    mark[code.results] = 1
    mark[out[_staying(code)]] = 1
    given = {name: columns[name] for name in (*NAMES, "m")}
    frame = Words(FRAME, **given, mark=mark, scratch=np.zeros(SCRATCH, np.int64))
    frame.run(reach, code.inputs, code.length)
    kept: np.ndarray = mark[out] & 1 == 1
    sizes = sizes_of(columns)
    spans = np.flatnonzero(sizes > 1)
    if len(spans):
        marked = np.concatenate([[0], np.cumsum(mark & 1, dtype=np.int64)])
        kept[spans] = marked[out[spans] + sizes[spans]] > marked[out[spans]]
    kept[: code.inputs] = True
    return kept


def _needed(code: Code) -> np.ndarray:
    """The same from instruction to instruction, where slots are many and instructions few."""
    from ._needed import STATE, need
    from ._walking import Words

    count, out = code.length, code.columns["out"].astype(np.int64)
    writer = np.argsort(out, kind="stable")
    block = np.zeros(code.slots, np.int32)  # by slot
    block[out[writer[1:]]] = 1
    np.cumsum(block, out=block)
    kept = np.zeros(count, bool)
    kept[writer[block[code.results]]] = True
    kept[_staying(code)] = True
    kept[: code.inputs] = True
    found = reads(code.columns)
    reader, first, last = found.reader, block[found.low], block[found.high]
    fresh = np.ones(len(reader), bool)  # elements of a list mostly lie where the one before lies
    fresh[1:] = (np.diff(reader) != 0) | (np.diff(first) != 0) | (np.diff(last) != 0)
    reader, first, last = reader[fresh], first[fresh], last[fresh]
    order = np.argsort(reader, kind="stable")
    rows = np.searchsorted(reader[order], np.arange(count + 1))
    Words(
        STATE, rows=rows, first=first[order].astype(np.int64), last=last[order].astype(np.int64),
        writer=writer, kept=kept,
    ).run(need, code.inputs, count)  # fmt: skip
    return kept


def _read_by_fused(code: Code) -> np.ndarray:
    """Marks of the slots that fused instructions read, in ways unknown to the sweep."""
    columns = code.columns
    mark = np.zeros(code.slots + 1, np.uint8)
    fused = np.flatnonzero(np.isin(columns["op"], FUSED))
    if len(fused):
        walked = reads({**columns, **{name: columns[name][fused] for name in NAMES}})
        covers = np.zeros(code.slots + 1, np.int64)
        np.add.at(covers, walked.low, 1)
        np.add.at(covers, walked.high + 1, -1)
        mark[np.cumsum(covers) > 0] = 1
    return mark


def _staying(code: Code) -> np.ndarray:
    """The instructions that stay: those that can stop a sweep (guards, calls, reads at computed
    places), and what has been fused."""
    op = code.columns["op"]
    placed = np.flatnonzero(np.isin(op, PLACED))
    c = code.columns["c"][placed].astype(np.int64)
    computed = placed[code.columns["m"][c + FLAGS] & Y_CONSTANT == 0]
    return np.concatenate([np.flatnonzero(np.isin(op, STAYS)), computed])
