"""Constants computed ahead, and operations that change nothing.

One walk in the order of the instructions.  What depends on constants alone is computed by the sweep
itself, so that its bits are those of a replay; what reads a constant reads it from the pool.  An
operation that gives one of its operands is replaced by that operand: x * 1, x - 0, x / 1, --x,
copies, roundings of what is rounded, `where` with a known condition.  x + 0 is one of them where
x is never -0, as no sum and no square is.  x / 4 becomes x * 0.25, which has the same bits for
every power of two.

Levels: 1 keeps the order in which adjoints are added up, 2 does not, and writes x + -y as x - y;
3 does what holds of real numbers: x * 0 is 0, x - x is 0, x / 3 is x * (1 / 3), (x * 2) * 3 is
x * 6, exp(log(x)) is x.
"""

from __future__ import annotations

import numpy as np

from ..ops import FRAME
from . import tables
from .code import NAMES, Code, Goal
from .rewriting import copied, laid_out, readers_of, resolved, scalars


def simplify(code: Code, goal: Goal) -> Code | None:
    """Constant folding, identities and strength reduction; None where nothing changes.

    >>> import ndtape as nt, numpy as np
    >>> from ndtape.passes import Goal, code_of
    >>> from ndtape.passes.simplify import simplify
    >>> with nt.Tape() as tape:
    ...     x = nt.var(3.0)
    ...     y = nt.sin(-(-(x * 1.0)) / 4.0)
    >>> better = simplify(code_of(tape, 1, np.array([y.slot])), Goal())
    >>> better.length, float(better.columns["k"][-1])  # the input, a product, the sine; and 1 / 4
    (4, 0.25)
    """
    if not scalars(code):
        return None
    from ._simplify import STATE, simplify
    from ._walking import Words, forward

    columns, slots, pool = copied(code), code.slots, code.columns["k"]
    columns["k"] = np.empty(len(pool) + slots + 2 * code.length)
    columns["k"][: len(pool)] = pool
    before = {name: code.columns[name] for name in (*NAMES, "k")}
    frame = Words(FRAME, **before, v=np.empty(slots))
    alias, kept = np.zeros(slots, np.int64), np.ones(code.length, bool)
    exact = goal.level < 2 and goal.reverse
    state = Words(
        STATE, **{name: columns[name] for name in (*NAMES, "k")},
        slot_bits=tables.SLOT_BITS, constant_bits=tables.CONSTANT_BITS, folds=tables.FOLDS,
        commutes=tables.COMMUTES, repeats=tables.REPEATS, fixed=tables.WITH_CONSTANT,
        nonnegative=tables.NEVER_NEGATIVE_ZERO, alias=alias, writer=np.zeros(slots, np.int64),
        known=np.zeros(slots, bool), never=np.zeros(slots, bool), place=np.zeros(slots, np.int64),
        readers=readers_of(code, everywhere=True) if exact else 0, kept=kept, level=goal.level,
        laid=laid_out(code), values=not goal.reverse, frame=frame.words, forward=forward.address,
        used=len(pool),
    )  # fmt: skip
    if not state.run(simplify, code.inputs, code.length):
        return None
    columns["k"] = columns["k"][: state["used"]].copy()
    return resolved(code, columns, alias).some(kept)
