"""Long sums of scalars as one instruction: dot products written as loops over numbers.

A sum of n products is 2 n - 1 instructions, and as many numbers with an adjoint each; as one
`terms` it is n entries of a list.  Its kernel is called by address, which pays from about eight
terms on; what is shorter is left to `muladd`.  Terms are added up in the order of the program, so
that values keep their bits.
"""

from __future__ import annotations

import numpy as np

from ..nest import BODY, KIND_WORD, SIZE, TERM
from ..ops import OPCODES, WIDE_CODES
from .code import Code, Goal
from .rewriting import copied, scalars
from .sums import Sums, sums_of

TERMS = WIDE_CODES["terms"]
FEWEST = 8
SUMS = [o.code for o in OPCODES if o.row.name in ("add", "subtract")]


def terms(code: Code, goal: Goal) -> Code | None:
    """Sums of eight terms and more as one instruction each; None where there are none.

    At level 3 also sums of sums, whose additions come in another order then.

    >>> import ndtape as nt, numpy as np
    >>> from ndtape.passes import Goal, code_of, seal
    >>> from ndtape.passes.terms import terms
    >>> with nt.Tape() as tape:
    ...     x = [nt.var(float(j)) for j in range(10)]
    ...     z = sum(a * b for a, b in zip(x, x[::-1]))
    >>> code = code_of(seal(tape), 10, np.array([tape.slots - 1]))
    >>> code.length, terms(code, Goal()).length
    (30, 11)
    """
    if goal.lanes or not scalars(code):
        return None
    if np.count_nonzero(np.isin(code.columns["op"], SUMS)) < FEWEST - 1:
        return None
    sums = sums_of(code, FEWEST, anywhere=goal.level >= 3)
    return None if sums is None else rewritten(code, sums)


def rewritten(code: Code, sums: Sums) -> Code:
    """The code with an instruction `terms` in the place of each of these sums."""
    columns = copied(code)
    lengths = BODY + TERM * sums.counts
    starts = np.cumsum(lengths) - lengths
    words = np.zeros(int(lengths.sum()), np.int64)
    words[starts + SIZE] = 1
    words[starts + KIND_WORD] = sums.counts
    owner = np.repeat(np.arange(len(sums.counts)), sums.counts)
    rank = np.arange(len(owner)) - (np.cumsum(sums.counts) - sums.counts)[owner]
    at = starts[owner] + BODY + TERM * rank
    words[at], words[at + 1], words[at + 2] = sums.kinds, sums.p, sums.q
    columns["op"][sums.roots] = TERMS
    columns["a"][sums.roots] = columns["b"][sums.roots] = 0
    columns["c"][sums.roots] = len(columns["m"]) + starts
    columns["m"] = np.concatenate([columns["m"], words])
    kept = np.ones(code.length, bool)
    kept[sums.inner] = False
    return code._replace(columns=columns).some(kept)
