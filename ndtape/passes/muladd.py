"""Products that are added to something: x * y + u as one instruction.

A product that only one sum or difference reads is computed with it.  The product is rounded before
it is added, as in the program, so that values keep their bits; at level 3 the sum is rounded once
(`fma`).
"""

from __future__ import annotations

import numpy as np

from ..ops import CODES
from .code import NAMES, Code, Goal
from .rewriting import copied, readers_of, scalars

PRODUCTS = [CODES["multiply", form] for form in ("vv", "vk")]


def muladd(code: Code, goal: Goal) -> Code | None:
    """Products joined with the sums that read them; None where there are none.

    >>> import ndtape as nt, numpy as np
    >>> from ndtape.passes import Goal, code_of
    >>> from ndtape.passes.muladd import muladd
    >>> with nt.Tape() as tape:
    ...     x, y = nt.var(3.0), nt.var(2.0)
    ...     z = x * y + 1.0 - y * 2.0
    >>> code = code_of(tape, 2, np.array([z.slot]))
    >>> code.length, muladd(code, Goal()).length
    (6, 4)
    """
    if not (scalars(code) and np.isin(code.columns["op"], PRODUCTS).any()):
        return None
    from ._muladd import STATE, muladd
    from ._walking import Words

    columns, pool = copied(code), code.columns["k"]
    columns["k"] = np.empty(len(pool) + 2 * code.length)
    columns["k"][: len(pool)] = pool
    kept = np.ones(code.length, bool)
    state = Words(
        STATE, **{name: columns[name] for name in (*NAMES, "k")}, readers=readers_of(code),
        writer=np.zeros(code.slots, np.int64), kept=kept, once=goal.level >= 3, used=len(pool),
    )  # fmt: skip
    if not state.run(muladd, code.inputs, code.length):
        return None
    columns["k"] = columns["k"][: state["used"]].copy()
    return code._replace(columns=columns).some(kept)
