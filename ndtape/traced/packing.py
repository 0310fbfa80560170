"""How the arguments of a fast call become a vector, and a vector becomes a gradient."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..ops import PLAN
from ..record.arrays import FLOAT64, LARGEST_WHOLE, normal
from ..tape import address_of
from ..trees import flatten, order_of, unflatten
from .hot import Hot

if TYPE_CHECKING:
    from .function import Function
    from .parameters import Parameters
    from .signature import Bound

ndarray, empty, concatenate = np.ndarray, np.empty, np.concatenate
FLOATS = {float, np.float64}  # the second is a subclass of the first
COUNT, FIRST, INPUTS = (PLAN.index(name) for name in ("count", "first", "inputs"))


class Plan:
    """What a fast call looks at; `pack` and `unpack` know how the arguments lie."""

    shape: Any = ()  # of a single array: the shortest way, which needs neither
    reader: Any = None  # of values: from the numbers to the results

    def __init__(self, function: Function, hot: Hot, words: np.ndarray, bound: Bound) -> None:
        self.hot = hot
        self.words = words  # alive as long as its address is used
        self.address = address_of(words)
        self.run = hot.replay(words)
        self.captures: Any = None  # as `plan_for` has found them
        self.changed: Any = None
        self.count = int(words[COUNT])
        self.bound = bound

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray | None:
        """The inputs as a vector; None where the arguments are not those of the plan."""
        raise NotImplementedError

    def direction(self, tangents: tuple[Any, ...]) -> np.ndarray | None:
        """Tangents of the inputs as a vector."""
        return self.pack(tangents, {})

    def unpack(self, numbers: np.ndarray) -> Any:
        """Adjoints of the differentiated arguments, one entry an argument."""
        raise NotImplementedError


class OneArray(Plan):
    def __init__(self, function: Function, hot: Hot, words: np.ndarray, bound: Bound) -> None:
        super().__init__(function, hot, words, bound)
        self.shape = bound.leaves[0].shape

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray | None:
        x = args[0] if len(args) == 1 and not kwargs else None
        if x.__class__ is not ndarray or x.dtype is not FLOAT64 or x.shape != self.shape:
            return None
        return x if x.ndim == 1 else x.ravel()

    def unpack(self, numbers: np.ndarray) -> Any:
        return (numbers.reshape(self.shape),)


class Floats(Plan):
    def __init__(
        self, function: Function, hot: Hot, words: np.ndarray, bound: Bound, positions: Any
    ) -> None:
        super().__init__(function, hot, words, bound)
        self.inputs = len(bound.leaves)
        first = min(positions, default=0)
        self.positions = [i - first for i in positions]

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray | None:
        if len(args) != self.inputs or kwargs:
            return None
        for x in args:
            if x.__class__ is not float:
                return None
        return np.array(args)

    def unpack(self, numbers: np.ndarray) -> Any:
        partials = numbers.tolist()
        return [partials[i] for i in self.positions]


class Group(NamedTuple):
    """One argument of a plan: its structure, and where the numbers of its leaves lie."""

    structure: Any  # None for a number or an array
    leaves: list[tuple[type, Any, Any, int, int]]  # class, shape, dtype, first and end
    start: int
    stop: int
    floats: bool  # all leaves are floats
    order: Any  # of the keys of dicts
    flat: type | None  # tuple or list, where its elements are the leaves

    def parts(self, tree: Any) -> Any:
        """The leaves of a tree; None where it has another structure."""
        if self.structure is None:
            return [tree]
        if self.flat is not None:  # the classes of leaves, which are looked at anyway, say the rest
            same = tree.__class__ is self.flat and len(tree) == len(self.leaves)  # type: ignore
            return tree if same else None
        parts, found = flatten(tree)
        if found != self.structure or (self.order is not None and order_of(tree) != self.order):
            return None
        return parts


class Trees(Plan):
    def __init__(
        self, function: Function, hot: Hot, words: np.ndarray, bound: Bound, positions: Any,
        args: tuple[Any, ...], kwargs: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(function, hot, words, bound)
        self.first = int(words[FIRST])
        self.keywords = bool(kwargs)
        self.positions = positions
        self.groups: list[Group] = []
        place = 0
        ordered = iter(bound.signature[2])
        trees = zip(bound.structures, bound.ranges, [*args, kwargs], strict=False)
        for structure, (lo, hi), tree in trees:
            leaves, start = [], place
            for x in bound.leaves[lo:hi]:
                size = getattr(x, "size", 1)
                shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", None)
                leaves.append((x.__class__, shape, dtype, place, place + size))
                place += size
            order = None if structure is None else next(ordered)
            floats = all(leaf[0] in FLOATS for leaf in leaves)
            flat = tree.__class__ if _is_flat(tree, bound.leaves[lo:hi]) else None
            self.groups.append(Group(structure, leaves, start, place, floats, order, flat))
        self.inputs = place
        leaves = [leaf for group in self.groups for leaf in group.leaves]
        self.arrays = all(cls is ndarray and dtype is FLOAT64 for cls, _, dtype, *_ in leaves)
        self.pieces = [
            [(leaf[1], leaf[3] - self.first, leaf[4] - self.first) for leaf in group.leaves]
            for group in self.groups
        ]
        self.shapes = [[leaf[1] for leaf in group.leaves] for group in self.groups]

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray | None:
        given = (*args, kwargs) if kwargs else args
        if len(given) != len(self.groups) or bool(kwargs) is not self.keywords:
            return None
        if self.arrays:
            return self._joined(given)
        numbers = empty(self.inputs)
        for tree, group in zip(given, self.groups, strict=True):
            parts = group.parts(tree)
            if parts is None:
                return None
            if group.floats:
                if not FLOATS.issuperset(map(type, parts)):
                    return None
                numbers[group.start : group.stop] = parts
            elif not _packed(numbers, parts, group.leaves):
                return None
        return numbers

    def _joined(self, given: tuple[Any, ...]) -> np.ndarray | None:
        """`pack` where all leaves are arrays of float64: one call instead of one a leaf."""
        flat = []
        for tree, group, shapes in zip(given, self.groups, self.shapes, strict=True):
            parts = (tree,) if group.structure is None else group.parts(tree)
            if parts is None:
                return None
            for x, shape in zip(parts, shapes, strict=True):
                if x.__class__ is not ndarray or x.dtype is not FLOAT64 or x.shape != shape:
                    return None
                flat.append(x.ravel())
        return concatenate(flat)

    def unpack(self, numbers: np.ndarray) -> Any:
        answer = []
        for i in self.positions:
            group = self.groups[i]
            if self.arrays:
                parts = [numbers[i:j].reshape(shape) for shape, i, j in self.pieces[i]]
            elif group.floats:
                parts = numbers[group.start - self.first : group.stop - self.first].tolist()
            else:
                parts = [self._part(numbers, leaf) for leaf in group.leaves]
            if group.flat is not None:
                answer.append(group.flat(parts))
            else:
                structure = group.structure
                answer.append(parts[0] if structure is None else unflatten(structure, parts))
        return answer

    def _part(self, numbers: np.ndarray, leaf: tuple[type, Any, Any, int, int]) -> Any:
        _, shape, dtype, start, stop = leaf
        part = numbers[start - self.first : stop - self.first]
        if shape is None:
            return part.item()
        part.shape = shape
        return part if dtype is FLOAT64 or dtype.kind != "f" else part.astype(dtype, copy=False)


class Fed(Plan):
    """A plan whose inputs go on with captured arrays behind the arguments, see parameters.py."""

    def __init__(self, inner: Plan, parameters: Parameters) -> None:
        self.__dict__.update(inner.__dict__)
        self.shape = ()
        self.inner = inner
        self.read = parameters.read
        self.arguments = int(inner.words[INPUTS]) - parameters.count
        self.inputs = int(inner.words[INPUTS])

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> np.ndarray | None:
        known = self.inner.pack(args, kwargs)
        if known is None:
            return None
        numbers = empty(self.inputs)
        numbers[: self.arguments] = known
        return numbers if self.read(numbers, self.arguments) else None

    def direction(self, tangents: tuple[Any, ...]) -> np.ndarray | None:
        known = self.inner.pack(tangents, {})
        if known is None:
            return None
        numbers = np.zeros(self.inputs)
        numbers[: self.arguments] = known
        return numbers

    def unpack(self, numbers: np.ndarray) -> Any:
        return self.inner.unpack(numbers)


def _is_flat(tree: Any, leaves: list[Any]) -> bool:
    """Whether a tuple or list has the leaves as its elements."""
    if tree.__class__ not in (tuple, list) or len(tree) != len(leaves):
        return False
    return all(map(is_, tree, leaves))


def _packed(numbers: np.ndarray, parts: list[Any], leaves: list[Any]) -> bool:
    """Write the leaves of a tree; False where they are not those of the plan."""
    for x, (cls, shape, dtype, start, stop) in zip(parts, leaves, strict=True):
        if x.__class__ is not cls:
            return False
        if shape is None:
            if cls is not float and abs(x) > LARGEST_WHOLE:
                return False
            numbers[start] = x
        elif x.shape != shape or x.dtype is not dtype:
            return False
        else:
            if dtype is not FLOAT64 and dtype.kind != "f":
                x = normal(x)
            numbers[start:stop] = x.ravel()
    return True
