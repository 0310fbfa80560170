"""Gradients of many rows: each pack of lanes goes forward and backward at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..traced.function import Function
from ..traced.program import Slots
from ..traced.signature import Bound, Static
from ..transforms.evaluation import positions_of
from ..transforms.gradients import Gradient
from ..trees import flatten, unflatten
from .forms import NO_SLOTS, Wanted
from .lanes import Sweeps
from .rows import Axes, Rows, arranged, evaluated, gathered, merged, spread


def gradients(of: Gradient, function: Function, rows: Rows, out_axes: Axes) -> tuple[Any] | None:
    """What `nt.grad` or `nt.value_and_grad` gives for many rows of plain numbers.

    `function` is what is differentiated.  None where rows must be taken one by one, or where one
    of them would raise.
    """
    positions = positions_of(of.argnums, len(rows.row(0)[0]))
    known: list[Bound] = []

    def wanted(bound: Bound) -> Wanted:
        known.append(bound)
        chosen = [j for i in positions for j in range(*bound.ranges[i])]
        spans = leaf_spans(bound)
        return Wanted((0,), None, own=slots_of([spans[j] for j in chosen]),
                      chosen=tuple(sorted(chosen)), values=of.with_value or of.has_aux)  # fmt: skip

    found = evaluated(function, rows, positions, wanted)
    if found is None or not all(_is_scalar(of, trace.output) for trace in found.rows):
        return None
    tree = _gradient(of, known[-1], positions, found)
    if of.has_aux or of.with_value:
        structure, parts = merged(found)
        value = unflatten(structure, parts)
        if not of.has_aux:
            tree = value, tree
        else:
            tree = ((value[0], value[1]), tree) if of.with_value else (tree, value[1])
    return (_placed(tree, out_axes),)


def leaf_spans(bound: Bound) -> list[tuple[int, int]]:
    """Where the leaves of arguments lie among the inputs of a tape: first slot and end."""
    ends = np.cumsum([0, *[getattr(x, "size", 1) for x in bound.leaves]]).tolist()
    return list(pairwise(ends))


def slots_of(spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """The slots of some spans, one behind the other."""
    return np.concatenate([NO_SLOTS, *[np.arange(*span, dtype=np.uint64) for span in spans]])


def _is_scalar(of: Gradient, output: Any) -> bool:
    """Whether what a trace returned has a gradient."""
    tree = output.tree
    if not output.leaves:
        return False
    if of.has_aux:
        if not (isinstance(tree, (tuple, list)) and len(tree) == 2):
            return False
        tree = tree[0]
    if tree is not output.leaves[0]:  # no leaf, but a container
        return False
    part = output.parts[0]
    if isinstance(part, Slots):
        return not part.shape
    return isinstance(part, (int, float, np.number, np.bool_))


def _gradient(of: Gradient, bound: Bound, positions: Sequence[int], found: Sweeps) -> Any:
    """The tree of gradients, each leaf with a row for each row."""
    place, trees = 0, []
    for i in positions:
        leaves = []
        for x in bound.leaves[slice(*bound.ranges[i])]:
            shape, dtype = getattr(x, "shape", ()), getattr(x, "dtype", None)
            size = math.prod(shape)
            part = found.adjoints[:, place : place + size].reshape(found.count, *shape)
            place += size
            floats = shape and dtype is not None and dtype.kind == "f"
            leaves.append(part.astype(dtype if floats else np.float64))
        structure = bound.structures[i]
        trees.append(leaves[0] if structure is None else unflatten(structure, leaves))
    return trees[0] if isinstance(of.argnums, int) else tuple(trees)


def _placed(tree: Any, out_axes: Axes) -> Any:
    leaves, structure = flatten(tree)
    axes = spread(out_axes, tree, "out_axes")
    return unflatten(structure, [arranged(x, axis) for x, axis in zip(leaves, axes, strict=True)])


def pulled(
    function: Function, rows: Rows, moving: Sequence[bool], smooth: Sequence[int],
    cotangents: Sequence[np.ndarray],
) -> list[Any] | None:  # fmt: skip
    """Adjoints of the leaves that are `moving`, for cotangents of the `smooth` parts of the result.

    One sweep forward and back over the rows: what each row has for itself comes as rows, what they
    share is summed.  None where rows must be taken one by one.
    """
    known: list[Bound] = []

    def wanted(bound: Bound) -> Wanted:
        known.append(bound)
        spans = leaf_spans(bound)
        seeds = [np.reshape(w, (rows.count, -1)) for w in cotangents]
        chosen = _chosen(rows, bound, moving)
        return Wanted(
            tuple(smooth), np.ascontiguousarray(np.concatenate(seeds, axis=1), np.float64),
            own=slots_of([spans[j] for j, axis in chosen if axis is not None]),
            shared=slots_of([spans[j] for j, axis in chosen if axis is None]),
            chosen=tuple([j for j, _ in chosen]), values=False,
        )  # fmt: skip

    found = evaluated(function, rows, (), wanted)
    if found is None:
        return None
    terms, own, shared = [], 0, 0
    for j, axis in _chosen(rows, known[-1], moving):
        x = known[-1].leaves[j]
        shape = getattr(x, "shape", ())
        size = math.prod(shape)
        if axis is None:
            terms.append(found.sums[shared : shared + size].reshape(shape))
            shared += size
        else:
            part = found.adjoints[:, own : own + size].reshape(rows.count, *shape)
            terms.append(np.moveaxis(part, 0, axis))
            own += size
    return terms


def sloped(
    function: Function, rows: Rows, moving: Sequence[bool]
) -> tuple[Any, np.ndarray | None] | None:
    """Results of rows, and the derivative of each with respect to its leaves that are `moving`.

    The derivatives are a matrix with a row for each row, None where results are no single numbers.
    None where rows must be taken one by one.
    """

    def wanted(bound: Bound) -> Wanted:
        spans, chosen = leaf_spans(bound), [j for j, _ in _chosen(rows, bound, moving)]
        return Wanted((0,), None, own=slots_of([spans[j] for j in chosen]), chosen=tuple(chosen))

    found = evaluated(function, rows, (), wanted)
    if found is None:
        return None
    single = all(_is_number(trace.output) for trace in found.rows)
    return gathered(found, 0), found.adjoints if single else None


def _is_number(output: Any) -> bool:
    """Whether the result of a trace is one number that has derivatives, or a constant."""
    if len(output.parts) != 1:
        return False
    part = output.parts[0]
    if isinstance(part, Slots):
        return not part.shape and np.dtype(part.dtype).kind == "f"
    return isinstance(part, float)


def row_shapes(rows: Rows, moving: Sequence[bool]) -> list[tuple[int, ...]]:
    """The shapes that leaves which are `moving` have in a row."""
    found = []
    for x, axis, moves in zip(rows.leaves, rows.axes, moving, strict=True):
        shape = np.shape(x) if moves else ()
        if moves:
            found.append(shape if axis is None else shape[:axis] + shape[axis + 1 :])
    return found


def weighted(rows: Rows, moving: Sequence[bool], w: np.ndarray, slopes: np.ndarray) -> list[Any]:
    """What `pulled` gives, from the derivatives of rows that `sloped` gave."""
    found, place = [], 0
    axes = [axis for axis, moves in zip(rows.axes, moving, strict=True) if moves]
    for axis, shape in zip(axes, row_shapes(rows, moving), strict=True):
        part = slopes[:, place : place + math.prod(shape)]
        place += part.shape[1]
        if axis is None:
            found.append(_weighted_sum(w, part).reshape(shape))
        else:
            found.append(np.moveaxis(_terms(w, part).reshape(len(w), *shape), 0, axis))
    return found


def _weighted_sum(w: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        total: np.ndarray = w @ slopes
        if not np.isfinite(total).all():  # then a weight of 0 may have met what is not finite
            total = _terms(w, slopes).sum(axis=0)
    return total


def _terms(w: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Weights times the slopes of their rows; 0 for a weight of 0, also where a slope is not."""
    with np.errstate(all="ignore"):
        terms: np.ndarray = w[:, None] * slopes
    if not w.all():
        terms[w == 0.0] = 0.0
    return terms


def _chosen(rows: Rows, bound: Bound, moving: Sequence[bool]) -> list[tuple[int, int | None]]:
    """The numbers among the bound leaves of those that are moving, and their axes."""
    found, j = [], 0
    for kind, axis, moves in zip(bound.signature[1], rows.axes, moving, strict=True):
        if isinstance(kind, Static):
            continue
        if moves:
            found.append((j, axis))
        j += 1
    return found
