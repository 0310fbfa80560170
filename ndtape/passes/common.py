"""Common subexpressions: what an earlier instruction has computed is not computed again.

One walk with a table of all instructions met, by opcode, operands and the bits of constants;
operands come in the terms of the first instruction that computed them, so that whole expressions
are found.  x + y is y + x; of a maximum that is not said, which of 0 and -0 it answers depends on
the order.  Instructions on arrays are the same if their words are.

Values keep their bits.  The adjoints of the two results are added before they go on to the
operands instead of one after the other, so that gradients may be rounded in another way.
"""

from __future__ import annotations

import numpy as np

from .. import nest
from ..nest import FLAGS
from ..ops import FIRST_WIDE, OPCODES, WIDE, WIDE_CODES
from . import tables
from .code import Code, Columns, Goal, sizes_of
from .rewriting import copied, laid_out, resolved, wide_rows

OPERANDS = np.array([(1 << len(w.operands)) - 1 & 3 for w in WIDE])
STAYS = [WIDE_CODES[name] for name in ("wide_input", "call", "skip", "affine", "weights")]
PLACED = [WIDE_CODES[name] for name in ("gather", "scatter_add")]
GUARDS = [o.code for o in OPCODES if o.row.name == "guard"]
ROUNDS = 4  # of programs on arrays: what is found once more each time lies in lists of slots


def common(code: Code, goal: Goal) -> Code | None:
    """The code without repeated instructions; None where there are none.

    >>> import ndtape as nt, numpy as np
    >>> from ndtape.passes import Goal, code_of
    >>> from ndtape.passes.common import common
    >>> with nt.Tape() as tape:
    ...     x, y = nt.var(3.0), nt.var(2.0)
    ...     z = nt.log(x * y) - nt.log(y * x)
    >>> code = code_of(tape, 2, np.array([z.slot]))
    >>> code.length, common(code, Goal()).length
    (7, 5)
    """
    found = None
    for _ in range(ROUNDS):
        again, arrays = _round(found or code)
        found = again or found
        if again is None or not arrays:
            break
    return found


def _round(code: Code) -> tuple[Code | None, bool]:
    """One walk; whether it met the same operation on arrays twice."""
    from ._common import STATE, common
    from ._walking import Words

    columns, count = copied(code), code.length
    if count <= code.inputs:
        return None, False
    sizes, words = sizes_of(columns), columns["c"].copy()
    wide, some = wide_rows(columns)
    columns["c"][wide] = _numbers(some)
    kept, alias = np.ones(count, bool), np.zeros(code.slots, np.int64)
    mask, constants = (_power(2 * n) - 1 for n in (count, min(len(columns["k"]), 3 * count)))
    state = Words(
        STATE, **{name: columns[name] for name in ("op", "out", "a", "b", "c", "k")},
        slot_bits=tables.SLOT_BITS, constant_bits=tables.CONSTANT_BITS, commutes=tables.COMMUTES,
        apart=_apart(code, columns), reads=_reads(columns, wide, some), sizes=sizes,
        alias=alias, kept=kept, instructions=np.zeros(mask + 1, np.int64), mask=mask,
        constants=np.zeros(constants + 1, np.int64), constants_mask=constants,
    )  # fmt: skip
    if not state.run(common, code.inputs, count):
        return None, False
    columns["c"][wide] = words[wide]
    columns["a"][wide], columns["b"][wide] = some["a"], some["b"]  # `resolved` does these
    return resolved(code, columns, alias).some(kept), not kept[wide].all()


def _numbers(some: Columns) -> np.ndarray:
    """A number for the words of each wide instruction, the same where they are equal."""
    different, which = np.unique(some["c"], return_inverse=True)
    first = np.zeros(len(different), np.int64)
    first[which] = np.arange(len(which))
    kinds = some["op"][first] - FIRST_WIDE
    known: dict[tuple[str, bytes], int] = {}
    m = some["m"]
    numbers = [
        known.setdefault((name, m[c : c + nest.length(name, m, c)].tobytes()), j)
        for j, (name, c) in enumerate(
            zip((WIDE[kind].name for kind in kinds.tolist()), different.tolist(), strict=True)
        )
    ]
    found: np.ndarray = np.array(numbers, np.int64)[which]
    return found


def _apart(code: Code, columns: Columns) -> np.ndarray:
    """1 for instructions that can stop a sweep, and that others belong to; 2 where places count."""
    op = columns["op"]
    apart = 2 * laid_out(code).astype(np.uint8)
    apart[np.isin(op, [*STAYS, *GUARDS])] = 1
    placed = np.flatnonzero(np.isin(op, PLACED))
    flags = columns["m"][columns["c"][placed].astype(np.int64) + FLAGS] if len(placed) else placed
    apart[placed[flags & nest.Y_CONSTANT == 0]] = 1
    return apart


def _reads(columns: Columns, wide: np.ndarray, some: Columns) -> np.ndarray:
    """By instruction: which of the operands a and b of a wide one are slots."""
    reads = np.zeros(len(columns["op"]), np.uint8)
    flags = some["m"][some["c"].astype(np.int64) + FLAGS] if len(wide) else wide
    reads[wide] = OPERANDS[some["op"].astype(np.int64) - FIRST_WIDE] & ~flags
    return reads


def _power(count: int) -> int:
    """The smallest power of 2 that is not less, and at least 8."""
    return 1 << max(3, (count - 1).bit_length())
