"""np.einsum: any number of operands, as a chain of contractions of two."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..record import fast
from ..record.arrays import as_array
from .arguments import Array, alike, cast, deliver, fail, finish, invalid, unsupported
from .products import contracted, frozen
from .reductions import total
from .registry import function
from .shaping import moved

Labels = tuple[int, ...]
ELLIPSIS = 10_000  # labels from here on, counted from the right, stand for the axes of "..."


@function("einsum")
def einsum(
    *operands: Any, out: Any = None, optimize: Any = False, dtype: Any = None,
    order: Any = None, casting: Any = None,
) -> Any:  # fmt: skip
    """Sums of products over labelled axes, contracted two at a time in a cheap order."""
    if order not in (None, "K", "C"):
        unsupported("einsum", order=order)
    unsupported("einsum", casting=casting)
    subscripts, given = _written(operands)
    if len(given) == 2 and dtype is None:
        result = _product(subscripts)(*given)
        return result if out is None else deliver(result, out, "einsum")
    arrays = [cast(x, dtype) for x in alike(given)]
    result = _evaluate(subscripts, arrays, optimize)
    return result if out is None else deliver(result, out, "einsum")


@lru_cache(maxsize=1024)
def _product(subscripts: str) -> Any:
    """np.einsum of two operands: what it records depends on shapes alone, hence has plans."""
    return fast.binary(lambda x, y: _evaluate(subscripts, alike([x, y]), False))


@function("einsum_path")
def einsum_path(*operands: Any, optimize: Any = "greedy", einsum_call: bool = False) -> Any:
    """NumPy's plan for a contraction, from the shapes alone."""
    unsupported("einsum_path", einsum_call=einsum_call or None)
    subscripts, given = _written(operands)
    shapes = [np.broadcast_to(0.0, as_array(x).shape) for x in given]
    return np.einsum_path(subscripts, *shapes, optimize=optimize)


def _evaluate(subscripts: str, arrays: list[Array], optimize: Any) -> Any:
    terms, labels = _parsed(subscripts, tuple(x.ndim for x in arrays))
    extents = _extents(subscripts, terms, arrays)
    parts = [_unbroadcast(x, t, extents) for x, t in zip(arrays, terms, strict=True)]
    for i, j in _order(subscripts, tuple(x.shape for x in arrays), frozen(optimize)):
        y, x = parts.pop(max(i, j)), parts.pop(min(i, j))
        wanted = set(labels).union(*(t for _, t in parts))
        kept = labels if not parts else _first_of(x[1] + y[1], wanted)
        parts.append((as_array(contracted(x[0], x[1], y[0], y[1], kept)), kept))
    (x, term), = parts  # fmt: skip
    return _single(subscripts, x, term, labels) if term != labels else finish(x)


def _first_of(labels: Labels, wanted: set[int]) -> Labels:
    return tuple(dict.fromkeys(label for label in labels if label in wanted))


def _written(operands: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """Subscripts and arrays; NumPy's other spelling, array, labels, array, labels ..., as well."""
    if not operands:
        invalid("np.einsum needs subscripts and arrays")
    if isinstance(operands[0], str):
        return operands[0].replace(" ", ""), list(operands[1:])
    pairs, rest = operands[: len(operands) // 2 * 2], operands[len(operands) // 2 * 2 :]
    terms = [_letters(labels) for labels in pairs[1::2]]
    arrow = f"->{_letters(rest[0])}" if rest else ""
    return ",".join(terms) + arrow, list(pairs[::2])


def _letters(labels: Any) -> str:
    """Integer labels as letters, in NumPy's order."""
    return "".join(
        "..." if label is Ellipsis else chr(65 + label if label < 26 else 71 + label)
        for label in labels
    )


@lru_cache(maxsize=1024)
def _parsed(subscripts: str, ndims: tuple[int, ...]) -> tuple[list[Labels], Labels]:
    """The labels of every operand and of the result."""
    left, arrow, right = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        fail(f"np.einsum: {subscripts!r} has {len(terms)} terms for {len(ndims)} arrays")
    labels = [_labels(subscripts, t, ndim) for t, ndim in zip(terms, ndims, strict=True)]
    every = [label for term in labels for label in term]
    dots = sorted({label for label in every if label >= ELLIPSIS}, reverse=True)
    if not arrow:
        once = sorted(label for label in set(every) if every.count(label) == 1)
        return _renamed(labels, (*dots, *(label for label in once if label < ELLIPSIS)))
    head, seen, tail = right.partition("...")
    result = (*map(ord, head), *(dots if seen else ()), *map(ord, tail))
    if len(set(result)) != len(result) or not set(result) <= set(every):
        invalid(f"np.einsum: the labels of the result in {subscripts!r} are not those of the terms")
    if dots and not seen:
        invalid(f"np.einsum: the result in {subscripts!r} has no place for the axes of '...'")
    return _renamed(labels, result)


def _renamed(terms: list[Labels], result: Labels) -> tuple[list[Labels], Labels]:
    """The same with labels 0, 1, 2 ..."""
    number = {label: i for i, label in enumerate(dict.fromkeys(sum(terms, ())))}
    return [tuple(number[label] for label in term) for term in terms], tuple(
        number[label] for label in result
    )


def _labels(subscripts: str, term: str, ndim: int) -> Labels:
    head, dots, tail = term.partition("...")
    named = len(head) + len(tail)
    if not (head + tail).isalpha() and named:
        invalid(f"np.einsum: {term!r} in {subscripts!r} is not made of letters")
    if named > ndim or (not dots and named != ndim):
        fail(f"np.einsum: {term!r} in {subscripts!r} does not label an array with {ndim} axes")
    between = range(ELLIPSIS + ndim - named - 1, ELLIPSIS - 1, -1)
    return (*map(ord, head), *between, *map(ord, tail))


def _extents(subscripts: str, terms: list[Labels], arrays: list[Array]) -> dict[int, int]:
    """The extent of each label; a 1 gives way to any other."""
    extents: dict[int, int] = {}
    for x, term in zip(arrays, terms, strict=True):
        for label, n in zip(term, x.shape, strict=True):
            before = extents.get(label, 1)
            if before != n and before != 1 and n != 1:
                shapes = ", ".join(str(a.shape) for a in arrays)
                fail(f"np.einsum: shapes {shapes} do not fit {subscripts!r}")
            extents[label] = before if n == 1 else n
    return extents


def _unbroadcast(x: Array, term: Labels, extents: dict[int, int]) -> tuple[Array, Labels]:
    """An operand without the axes of size 1 that meet longer ones."""
    short = [n == 1 != extents[label] for label, n in zip(term, x.shape, strict=True)]
    if True not in short:
        return x, term
    labels = tuple(label for label, s in zip(term, short, strict=True) if not s)
    return as_array(x[tuple(0 if s else slice(None) for s in short)]), labels


@lru_cache(maxsize=1024)
def _order(
    subscripts: str, shapes: tuple[tuple[int, ...], ...], optimize: Any
) -> list[tuple[int, int]]:
    """Which two operands to contract next, again and again; results go to the end.

    NumPy's default is one loop over all labels at once, which here would be no instruction: more
    than two operands are always ordered, by its greedy search unless the caller says otherwise.
    """
    if len(shapes) == 1:
        return []
    if len(shapes) == 2:
        return [(0, 1)]
    how = "greedy" if optimize in (False, None, True) else optimize
    how = list(how) if isinstance(how, tuple) and how and how[0] == "einsum_path" else how
    arrays = [np.broadcast_to(0.0, shape) for shape in shapes]
    steps: list[tuple[int, int]] = []
    count = len(shapes)
    for group in np.einsum_path(subscripts, *arrays, optimize=how)[0][1:]:
        places = sorted(group)
        first = places[0]
        for done, place in enumerate(places[1:]):
            # The places of the rest of the group have moved down, that of the result is the last.
            steps.append((first, place - done if done == 0 else place - done - 1))
            count -= 1
            first = count - 1
    return steps


def _single(subscripts: str, x: Array, term: Labels, labels: Labels) -> Any:
    """One operand: its diagonals, sums over what the result lacks, axes in order."""
    distinct = list(dict.fromkeys(term))
    if len(distinct) != len(term):
        small = {label: i for i, label in enumerate(distinct)}
        places = [small[label] for label in term]
        to = list(range(len(distinct)))
        x = as_array(moved("einsum", lambda i: np.einsum(i, places, to), x))
    gone = tuple(i for i, label in enumerate(distinct) if label not in labels)
    x = as_array(total(x, gone)) if gone else x
    left = [label for label in distinct if label in labels]
    return finish(np.transpose(x, [left.index(label) for label in labels]))
