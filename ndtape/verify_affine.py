"""The rules of fused instructions: an `affine` is the activation of a sum, whose terms it lists."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .nest import BODY, ENTRY, LISTS, LOOP, SILENT, U, form
from .ops import FIRST_WIDE, UNARY, WIDE, WIDE_CODES
from .verify_places import LaidPlaces, Places
from .verify_wide import Descriptors, Walks, check_walks, described, nested_walks

UNARY_ROWS = [w.code for w in WIDE if w.row is not None and w.row.kind == UNARY]


def check_affine(
    columns: Mapping[str, np.ndarray], m: np.ndarray, d: Descriptors, places: Places
) -> None:
    """Activation, pre-activation, and the products and spans of the lists."""
    mine = np.flatnonzero(d.of_kind("affine"))
    if not len(mine):
        return
    d = d.some(mine)
    _check_activations(columns, d, places)
    first = d.c + BODY + LOOP
    d.reject(
        first + LISTS > len(m), lambda j: f"has a list at {first[j]}; there are {len(m)} words"
    )
    products, spans, rows, width, rounded = (m[first + j] for j in range(LISTS))
    room = (len(m) - first - LISTS) // ENTRY
    d.reject(
        (products < 1) | (spans < 0) | (products > room) | (spans > room - products),
        lambda j: f"lists {products[j]} products and {spans[j]} spans; {room[j]} entries have room",
    )
    fits = (rows >= 1) & (rows <= d.size) & (width >= 1) & (width <= d.size)
    d.reject(~fits | (rows * width != d.size),
             lambda j: f"has {rows[j]} x {width[j]} results and a size of {d.size[j]}")  # fmt: skip
    d.reject((rounded < 0) | (rounded > np.where(d.count == 0, 1, 3)),
             lambda j: f"rounds {rounded[j]}, not the sum or the result")  # fmt: skip
    owner, a, b, c, forms = _entries(m, first + LISTS, products)
    p = described(d.index[owner], np.full(len(owner), WIDE_CODES["dot"] - FIRST_WIDE), a, b, c, m,
                   " of an affine")  # fmt: skip
    for walk in nested_walks(p):
        check_walks(p, walk, places, len(columns["k"]))
    p.reject(p.size != d.size[owner],
             lambda j: f"has {p.size[j]} results, the affine {d.size[owner[j]]}")  # fmt: skip
    different, which = np.unique(c, return_inverse=True)
    known = np.array([form(m[j : j + BODY + 2 * LOOP].tolist()) for j in different.tolist()])
    p.reject(forms != known[which], lambda j: f"has form {forms[j]}, not {known[which][j]}")
    _check_spans(
        columns, d, places, (rows, width), _entries(m, first + LISTS + ENTRY * products, spans)
    )


def _check_activations(columns: Mapping[str, np.ndarray], d: Descriptors, places: Places) -> None:
    """An affine has the descriptor of its activation, whose operand nothing else computes."""
    d.reject(
        ~np.isin(d.count, [0, *UNARY_ROWS]),
        lambda j: f"has activation {d.count[j]}, which is no operation with one operand",
    )
    d.reject(d.flags != 0, lambda j: f"has flags {d.flags[j]}, not 0")
    plain = (d.loops == 1) & np.all(d.nest[:, :1, 1:3] == 1, (1, 2))
    d.reject(~plain, lambda j: "has loops, but not one over consecutive numbers")
    out = places.out
    if isinstance(places, LaidPlaces):  # where the sum is written by the affine itself
        own = np.where(d.count == 0, d.a == out[d.index], d.a + d.size <= places.slots)
        d.reject(~own, lambda j: f"sums up in the slots from {d.a[j]} on, which are not for that")
        return
    skips = columns["op"] == WIDE_CODES["skip"]
    gathers = np.flatnonzero(columns["op"] == WIDE_CODES["weights"])
    skips[gathers] = columns["m"][columns["c"][gathers] + np.uint32(U)] & SILENT != 0
    writer = np.searchsorted(out, d.a, "right") - 1
    within = (writer >= 0) & (writer < d.index)
    writer = np.where(within, writer, 0)
    skipped = within & skips[writer] & (out[writer] == d.a)
    skipped &= out[writer + 1] - out[writer] == d.size
    fits = np.where(d.count == 0, d.a == out[d.index], skipped)
    d.reject(~fits, lambda j: f"sums up in the slots from {d.a[j]} on, which are not for that")


def _entries(m: np.ndarray, first: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of which affine each entry is, and its words."""
    owner = np.repeat(np.arange(len(counts)), counts)
    rank = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    words = m[(first[owner] + ENTRY * rank)[:, None] + np.arange(ENTRY)]
    return owner, *words.T


def _check_spans(
    columns: Mapping[str, np.ndarray], d: Descriptors, places: Places,
    layout: tuple[np.ndarray, np.ndarray], entries: tuple[np.ndarray, ...],
) -> None:  # fmt: skip
    owner, start, by_row, step, constant = entries
    d = d.some(owner)
    rows, width = (words[owner] for words in layout)
    ways = (by_row == width) & (step == 1) | (step == 0) & ((by_row == 0) | (by_row == 1))
    ways |= (by_row == 0) & (step == 1)
    d.reject(~ways, lambda j: f"takes a span by steps of {by_row[j]} and {step[j]}")
    d.reject((constant < 0) | (constant > 1), lambda j: f"has kind of a span {constant[j]}")
    high = start + (rows - 1.0) * by_row + (width - 1.0) * step
    there = np.ones(len(owner), bool)
    walk = Walks("a span", there, constant == 1, start.astype(float), high)
    check_walks(d, walk, places, len(columns["k"]))
