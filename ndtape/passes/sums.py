"""Sums of scalars and of products of two, found among the instructions of a program."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .code import NAMES, Code
from .rewriting import readers_of


class Sums(NamedTuple):
    """Sums of S instructions, with E terms and M other instructions in all.

    Terms stand in the order in which they are added up, the factors of a product as recorded.
    """

    roots: np.ndarray  # (S,) the instructions that have the sums
    counts: np.ndarray  # (S,) how many terms each has
    kinds: np.ndarray  # (E,) of terms, see nest.py: PLAIN, PRODUCT, SCALED, FIXED, and 1 if minus
    p: np.ndarray  # (E,) slots
    q: np.ndarray  # (E,) slots and places of constants
    inner: np.ndarray  # (M,) the additions and products that only a sum reads
    whose: np.ndarray  # (M,) numbers of sums

    def some(self, chosen: np.ndarray) -> Sums:
        """Those sums alone (a mask)."""
        numbers = np.cumsum(chosen) - 1
        terms, members = np.repeat(chosen, self.counts), chosen[self.whose]
        return Sums(
            self.roots[chosen], self.counts[chosen],
            self.kinds[terms], self.p[terms], self.q[terms],
            self.inner[members], numbers[self.whose[members]],
        )  # fmt: skip


def sums_of(
    code: Code, fewest: int = 2, anywhere: bool = False, near: bool = True, apart: bool = False
) -> Sums | None:
    """The sums with at least so many terms, in the order of their roots; None if there are none.

    A sum is a chain of additions and subtractions of which each is read by the next one only:
    from left to right, so that its values keep their bits.  With `anywhere`, sums of both operands
    are terms, too.  With `near`, chains whose instructions lie far apart are cut.  With `apart`,
    a sum of products that is added to another sum, or subtracted, is a term and no part of it.

    >>> import ndtape as nt, numpy as np
    >>> from ndtape.passes import code_of
    >>> from ndtape.passes.sums import sums_of
    >>> with nt.Tape() as tape:
    ...     x, y = nt.var(3.0), nt.var(2.0)
    ...     z = x * y + x * 0.5 - y
    >>> sums = sums_of(code_of(tape, 2, np.array([z.slot])))
    >>> sums.counts.tolist(), sums.kinds.tolist(), sums.p.tolist()
    ([3], [2, 4, 1], [0, 0, 1])
    """
    from ._sums import STATE, find, listed
    from ._walking import Words

    count = code.length
    numbers = {
        name: np.zeros(count, np.int64)
        for name in ("length", "first", "members", "inner", "whose", "roots", "counts")
    }
    given = {name: code.columns[name] for name in NAMES if name != "c"}
    state = Words(
        STATE, **given, **numbers, readers=readers_of(code), stack=np.zeros(count + 8, np.int64),
        writer=np.zeros(code.slots, np.int64), within=np.zeros(count, np.uint8),
        taken=np.zeros(count, np.uint8), anywhere=anywhere, fewest=fewest, near=near,
        products=np.zeros(count, np.int64) if apart else 0,
    )  # fmt: skip
    sums = state.run(find, code.inputs, count)
    if not sums:
        return None
    for name in ("kind", "p", "q"):
        state.set(name, np.empty(2 * sums, np.int64))
    found = state.run(listed, code.inputs, count)
    if not found:
        return None
    terms, others = state["terms"], state["others"]
    roots, counts, inner, whose = (numbers[x] for x in ("roots", "counts", "inner", "whose"))
    kind, p, q = (state.alive[name][:terms] for name in ("kind", "p", "q"))
    return Sums(roots[:found], counts[:found], kind, p, q, inner[:others], whose[:others])
