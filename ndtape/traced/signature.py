"""Signatures: what a tape is recorded for, and arguments taken apart for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from ..record.arrays import LARGEST_WHOLE, Array, normal, plain_value, private
from ..record.values import Var
from ..trees import flatten, order_of, unflatten

BY_VALUE = (str, bytes, int, float, complex, np.generic, np.dtype, range, type, type(None))


class Static:
    """An argument that is no number: part of the signature.

    Text, numbers, and tuples of them by value; other objects by identity, and what the function
    reads of them is watched like what it captures.
    """

    __slots__ = ("value", "key", "watched")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.key = _by_value(value)
        self.watched = self.key is None
        if self.key is None:
            self.key = (type(value), id(value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class Bound(NamedTuple):
    """Arguments taken apart: what is fed to a tape, and the signature that names the tape."""

    signature: Any
    leaves: list[Any]  # numbers and arrays, in order
    floats: list[bool]  # which of them are differentiated
    count: int  # type: ignore[assignment]  # slots of all
    structures: tuple[Any, ...]  # of each positional argument, and of the keywords
    statics: dict[int, Any]
    ranges: list[tuple[int, int]]  # leaves of each positional argument

    def followed_by(self, arrays: list[np.ndarray]) -> Bound:
        """The same with captured arrays that are fed."""
        if not arrays:
            return self
        return self._replace(
            leaves=self.leaves + arrays,
            floats=self.floats + [False] * len(arrays),
            count=self.count + sum(x.size for x in arrays),
        )


def _by_value(x: Any) -> Any:
    """What stands for an object in a signature; None where only its identity can."""
    if isinstance(x, np.ndarray) and x.dtype != object:
        return np.ndarray, x.shape, x.dtype.str, x.tobytes()
    if isinstance(x, slice):
        return slice, _by_value((x.start, x.stop, x.step))
    if type(x) in (tuple, frozenset):
        parts = [_by_value(part) for part in x]
        return None if None in parts else (type(x), tuple(parts))
    return (type(x), x, repr(x)) if isinstance(x, BY_VALUE) else None


def kind_of(x: Any, differentiated: bool) -> Any:
    """What the signature says about a leaf; None for a recording value."""
    if x.__class__ is float:
        return ("f",)
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "fiub":
            normal(x)  # complex, object: its sentence
        if x.dtype.kind in "iu" and x.size and np.abs(x).max() > LARGEST_WHOLE:
            return Static(x)
        return ("a", x.shape, "f8" if differentiated and x.dtype.kind != "f" else x.dtype.str)
    if isinstance(x, (Var, Array)):
        return None
    if isinstance(x, (bool, np.bool_)):  # flags: `flag is True` would not see a recorded one
        return ("f",) if differentiated else Static(x)
    if isinstance(x, (int, np.integer)):
        if differentiated:
            return ("f",)
        return ("i",) if abs(int(x)) < LARGEST_WHOLE else Static(x)
    if isinstance(x, np.floating):
        return ("f",)
    if isinstance(x, Static):
        return x
    if differentiated:
        raise UnsupportedError(
            f"an argument to be differentiated holds {x!r:.60}, which is no real number"
        )
    return Static(x)


def bind(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    positions: Sequence[int],
    static_argnums: Sequence[int] = (),
    static_argnames: Sequence[str] = (),
) -> Bound | None:
    """Arguments taken apart; None where one of them is a recording value.

    `positions` are those of the differentiated arguments.
    """
    leaves: list[Any] = []
    floats: list[bool] = []
    kinds: list[Any] = []
    orders: list[Any] = []
    structures: list[Any] = []
    statics: dict[int, Any] = {}
    ranges: list[tuple[int, int]] = []
    count = 0
    fixed = {i + len(args) if i < 0 else i for i in static_argnums}
    given: list[Any] = [*args, kwargs] if kwargs else list(args)
    for i, tree in enumerate(given):
        if i < len(args) and i in fixed:
            if i in positions:
                raise ArgumentError(f"argument {i} is static: it has no derivative")
            parts, structure = list[Any]([Static(tree)]), "static"
        elif type(tree) is float or type(tree) is np.ndarray:
            parts, structure = [tree], None
        else:
            if i == len(args):
                tree = _marked(kwargs, static_argnames)
            parts, structure = flatten(tree)
            orders.append(order_of(tree))
        structures.append(structure)
        first = len(leaves)
        for x in parts:
            kind = kind_of(x, i in positions)
            if kind is None:
                if x.needs_grad:
                    return None
                x = plain_value(x)  # a constant array, as nt.numpy makes them
                kind = kind_of(x, i in positions)
            kinds.append(kind)
            if isinstance(kind, Static):
                statics[len(kinds) - 1] = kind.value
                continue
            if kind[0] == "a":
                x = normal(x)
                count += x.size
            else:
                count += 1
            leaves.append(x)
            floats.append(i in positions)
        ranges.append((first, len(leaves)))
    # A dict by position is not the same dict of keywords.
    signature = tuple(structures), tuple(kinds), tuple(orders), bool(kwargs)
    return Bound(signature, leaves, floats, count, signature[0], statics, ranges)


def _marked(kwargs: dict[str, Any], static_argnames: Sequence[str]) -> dict[str, Any]:
    """Keywords, the static ones marked."""
    if not set(static_argnames) & set(kwargs):
        return kwargs
    return {key: Static(x) if key in static_argnames else x for key, x in kwargs.items()}


def rebuilt(
    bound: Bound, variables: list[Any], positional: int
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments, and the keywords, with recording values in the place of numbers."""
    kinds = bound.signature[1]
    # Arrays over storages of their own: f may write into them.
    fed = iter([private(x) if isinstance(x, Array) else x for x in variables])
    full = iter([
        bound.statics[j] if isinstance(k, Static) else next(fed) for j, k in enumerate(kinds)
    ])  # fmt: skip
    trees: list[Any] = []
    for structure in bound.structures:
        if structure is None or structure == "static":
            trees.append(next(full))
        else:
            count = structure.num_leaves
            trees.append(unflatten(structure, [next(full) for _ in range(count)]))
    keywords: dict[str, Any] = trees.pop() if len(trees) > positional else {}
    return trees, keywords
