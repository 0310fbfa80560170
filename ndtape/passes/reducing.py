"""Long sums whose terms lie side by side as sums and products of spans.

What remains of a sum, its other terms and the sums of its runs, is one instruction `terms`.
"""

from __future__ import annotations

import numpy as np

from ..nest import BODY, FIXED, KIND_WORD, PLAIN, PRODUCT, SCALED, SIZE, TERM
from ..ops import WIDE_CODES
from .draft import Draft
from .operands import ragged
from .spreading import runs_of
from .sums import Sums

SUM, DOT, TERMS = (WIDE_CODES[name] for name in ("sum", "dot", "terms"))
LONGEST = 1 << 40  # more than any step between slots
# What is faster than a `terms`: value and gradient, ns, of n terms there (first) and in a run.
#     slots     n = 16  124 127   24  134 131   32  152 136   64  195 145
#     products  n = 16  133 165   24  146 168   32  160 172   64  240 230
#     scaled    n =  8  195 164   16  221 174   32  276 186   64  349 192
FEWEST = 12  # terms of a sum
SHORTEST = np.array([24, 24, 48, 48, 12, 12])  # of a run, by kind
Y_CONSTANT = 2


def reduce(draft: Draft, sums: Sums, free: np.ndarray) -> np.ndarray:
    """Put instructions in the place of long sums, of those that are `free`; returns which."""
    chosen = np.flatnonzero(free & (sums.counts >= FEWEST))
    if not len(chosen):
        return chosen
    first = np.cumsum(sums.counts) - sums.counts
    owner, at = ragged(first[chosen], sums.counts[chosen], 1)
    kind, p, q = sums.kinds[at], sums.p[at], sums.q[at]
    slot, pair = kind < FIXED, kind & ~1 == PRODUCT
    _lay(draft, np.concatenate([p[slot], q[pair]]))
    p[slot], q[pair] = draft.now(p[slot]), draft.now(q[pair])
    order = np.lexsort((np.where(pair, q, 0), p, kind, owner))
    step = np.where(pair[order][1:], np.diff(q[order]), 0)
    same = (np.diff(p[order]) == 1) & slot[order][1:]
    same &= (np.diff(kind[order]) == 0) & (np.diff(owner[order]) == 0)
    known = np.maximum(q[order][1:], q[order][:-1]) < draft.leading  # gaps are written before
    same &= ~pair[order][1:] | (step == 1) | known
    begin, length, label = runs_of(np.where(same, LONGEST + step, 0), FEWEST)
    long = length >= SHORTEST[kind[order[begin]]]
    begin, length, label = begin[long], length[long], label[long]
    if not len(begin):
        return np.zeros(0, np.int64)
    members = order[ragged(begin, length, 1)[1]]
    left = np.ones(len(owner), bool)
    left[members] = False
    left[kind >= FIXED] = draft.columns["k"][q[kind >= FIXED]] != 0  # sum() begins with 0
    runs = _Runs(draft, order[begin], length, label - LONGEST, sums.roots[chosen[owner]])
    sign = np.where(kind[runs.first] & ~1 == SCALED, 0, kind[runs.first] & 1)
    results = draft.room(1, len(begin))
    # The whole sum of some is one run.
    terms_left = np.bincount(owner[left], minlength=len(chosen)) + np.bincount(
        owner[runs.first], minlength=len(chosen)
    )
    alone = (terms_left[owner[runs.first]] == 1) & (sign == 0)
    roots = sums.roots[chosen[owner[runs.first]]]
    results[alone] = draft.now(draft.columns["out"].astype(np.int64)[roots[alone]])
    for name, these in (("plain", kind & ~1 == PLAIN), ("product", pair),
                        ("scaled", kind & ~1 == SCALED)):  # fmt: skip
        mine = np.flatnonzero(these[runs.first])
        if len(mine):
            made = runs.emit(name, mine, (p, q), members, results[mine])
            whole = alone[mine]
            draft.replace(roots[mine][whole, None], made[whole])
    # What remains, in the order of the sums: terms that are in no run, then the runs.
    some = np.flatnonzero(~alone)
    rest = np.flatnonzero(left & np.isin(owner, owner[runs.first[some]]))
    whose = np.append(owner[rest], owner[runs.first[some]])
    words = np.stack([
        np.append(kind[rest], PLAIN + sign[some]),
        np.append(p[rest], results[some]), np.append(q[rest], np.zeros(len(some), np.int64)),
    ], 1)  # fmt: skip
    by = np.argsort(whose, kind="stable")
    done, counts = np.unique(whose[by], return_counts=True)
    if len(done):
        _write(draft, sums.roots[chosen[done]], counts, words[by])
    changed: np.ndarray = np.unique(chosen[owner[runs.first]])
    return changed


def _lay(draft: Draft, slots: np.ndarray) -> None:
    """Lay the slots that are still free side by side, in the order in which they are met."""
    slots = slots[draft.is_free(slots)]
    if len(slots):
        different, first = np.unique(slots, return_index=True)
        draft.lay(different[np.argsort(first)])


class _Runs:
    """Runs of terms that become one instruction each."""

    def __init__(
        self, draft: Draft, first: np.ndarray, length: np.ndarray, step: np.ndarray,
        root: np.ndarray,
    ) -> None:  # fmt: skip
        self.draft, self.first, self.length, self.step = draft, first, length, step
        self.position = root[first]

    def emit(
        self, name: str, mine: np.ndarray, slots: tuple[np.ndarray, np.ndarray],
        members: np.ndarray, out: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """The instructions of some runs of one kind, with their results in the slots `out`."""
        p, q = slots
        draft, first, length = self.draft, self.first[mine], self.length[mine]
        starts = np.cumsum(self.length) - self.length
        _, at = ragged(starts[mine], length, 1)
        at = members[at]
        step, flags, second = self.step[mine], 0, np.zeros(len(mine), np.int64)
        if name == "product":
            second = q[first]
        if name == "scaled":
            flags, step = Y_CONSTANT, np.ones(len(mine), np.int64)
            second = self._pooled(q[at], length)
        moves = zip(length.tolist(), step.tolist(), strict=True)
        c = [draft.described(1, [(n, 0, 1, s, 0)], flags) for n, s in moves]
        op = SUM if name == "plain" else DOT
        fresh = draft.add(op, out, p[first], second, np.array(c), self.position[mine])
        whose = np.repeat(fresh, length)
        draft.read(whose, p[at])
        if name == "product":
            draft.read(whose, q[at])
        return fresh

    def _pooled(self, q: np.ndarray, length: np.ndarray) -> np.ndarray:
        first = self.draft.constants(self.draft.columns["k"][q])
        starts: np.ndarray = first + np.cumsum(length) - length
        return starts


def _write(draft: Draft, root: np.ndarray, counts: np.ndarray, words: np.ndarray) -> None:
    """Sums of what remains, in the place of `root`."""
    lengths = BODY + TERM * counts
    place = np.cumsum(lengths) - lengths
    fresh = np.zeros(int(lengths.sum()), np.int64)
    fresh[place + SIZE], fresh[place + KIND_WORD] = 1, counts
    whose, at = ragged(place + BODY, counts, TERM)
    fresh[at[:, None] + np.arange(TERM)] = words
    out = draft.now(draft.columns["out"].astype(np.int64)[root])
    made = draft.add(TERMS, out, 0, 0, draft.add_words(fresh) + place, root)
    kind = words[:, 0]
    slot, pair = kind < FIXED, kind & ~1 == PRODUCT
    draft.read(made[whose[slot]], words[slot, 1])
    draft.read(made[whose[pair]], words[pair, 2])
    draft.replace(root[:, None], made)
