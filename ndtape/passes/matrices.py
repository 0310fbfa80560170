"""Products of matrices that are written out as scalars."""

from __future__ import annotations

import numpy as np

from .code import Code, Goal
from .dead import dead
from .draft import Draft, edges_of, stoppers
from .grids import Family, Parts, apart, families, keys_of
from .laying import lay_out, reserved
from .reducing import FEWEST, reduce
from .rewriting import scalars
from .spreading import Levels, spread
from .sums import Sums, sums_of
from .terms import SUMS

# Of the instructions of a program: products, terms of long sums, and additions that are worth
# looking at.
PRODUCTS, LONG, SUMMED = 1 / 32, 1 / 4, 1 / 32


def matrices(code: Code, goal: Goal) -> Code | None:
    """The code with products of matrices in the place of sums of products, and what is done with
    each number of the results as one instruction; None where there are none."""
    op = code.columns["op"]
    if goal.lanes or not scalars(code) or np.isin(op, SUMS).sum() < max(FEWEST, op.size * SUMMED):
        return None
    code = dead(code, goal) or code  # whose operands have one reader more
    sums = sums_of(code, anywhere=True, near=False, apart=True)
    if sums is None:
        return None
    parts = apart(sums, code.columns["k"])
    # Looking closer takes as long as hundreds of replays.
    keys = keys_of(parts, int(code.length * PRODUCTS))
    long = sums.counts[sums.counts >= FEWEST].sum() >= code.length * LONG
    if keys is None and not long:
        return None
    edges = edges_of(code)
    levels = _levels(code, sums, edges)
    found = []
    if keys is not None:
        place = (levels.segment << 32) + levels.depth
        found = list(families(parts, keys, place[sums.roots]))
    if not found and not long:
        return None
    draft = Draft(code, edges)
    done = _recovered(draft, sums, parts, found, levels)
    done[reduce(draft, sums, ~done)] = True
    inner = sums.inner[done[sums.whose]]
    draft.gone[inner], draft.instead[inner] = True, -1
    return draft.finished() if draft.added else None


def _levels(code: Code, sums: Sums, edges: tuple[np.ndarray, np.ndarray]) -> Levels:
    from ._ordering import depths

    is_sum = np.zeros(code.length, np.int64)
    is_sum[sums.roots] = 1
    level = depths(edges, np.ones(code.length, np.int64))
    return Levels(np.cumsum(stoppers(code)), depths(edges, is_sum), level)


def _recovered(
    draft: Draft, sums: Sums, parts: Parts, found: list[Family], levels: Levels
) -> np.ndarray:
    """Products of matrices, and what is done with their results; a mask of the sums that are done.

    Results first: where they lie says how what follows can be read.
    """
    starts = [reserved(draft, parts, family) for family in found]
    done = np.zeros(len(sums.roots), bool)
    if not found:
        return done
    taken = done.copy()
    for family in found:
        taken[family.members] = True
    able = np.ones(draft.count, bool)
    able[sums.roots[taken]] = able[sums.inner[taken[sums.whose]]] = False
    spread(draft, levels, able)
    for family, start in zip(found, starts, strict=True):
        done[lay_out(draft, parts, family, start)] = True
    return done
