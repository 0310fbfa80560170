"""`vmap`: a function of one row becomes a function of many.

The result is always that of a loop over the rows in Python, stacked.  Rows of plain numbers are
swept in lanes, see lanes.py.  Inside a recording many rows are one `call` on the tape: its value is
taken in lanes, and its derivatives are `vmap` of the derivatives of a row, so that it nests
with every transform in any order.  Few rows are recorded one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import (
    ArgumentError,
    EscapedError,
    GradientLostError,
    TooManyTapesError,
    UnstableProgramError,
    UnsupportedError,
)
from ..named import Transformed
from ..record import core
from ..record.arrays import Array, moves, recording
from ..record.elementwise import elementwise
from ..record.storage import Storage
from ..record.values import Boolean, Integer, Result, Var
from ..record.wide import movement
from ..traced.function import Function
from ..transforms.custom import described, ruled
from ..transforms.gradients import gradient_of
from ..transforms.linear_maps import jvp, vjp
from ..trees import flatten, unflatten
from .gradients import gradients, pulled, row_shapes, sloped, weighted
from .rows import Axes, Rows, called, has_none, joined, loop, of_no_rows, placed, spread, swept

FEW = 16  # rows from which a call serves them; fewer are recorded one by one
MOST_ADJOINTS = 1 << 22  # numbers that are added up in one piece
MOST_SLOPES = 32  # numbers a row whose derivatives are taken together with the value
MOST_INLINE = 1 << 16  # instructions of all rows on a tape that is replayed


def vmap(f: Callable[..., Any], in_axes: Axes = 0, out_axes: Axes = 0) -> Callable[..., Any]:
    """`vmap(f)(xs, ys)` stacks `f(xs[0], ys[0])`, `f(xs[1], ys[1])` and so on.

    `in_axes` says along which axis of each argument the rows lie, as in JAX: a whole number
    (negative ones count from the end), None for an argument that every row gets as it is, or a
    tuple with one entry an argument, where an entry may be a tree of such for the leaves of a tree.
    Keyword arguments are mapped over axis 0.  `out_axes` says in the same way where the rows of the
    result lie; None is for a result that is the same in every row, and gives it once.

    `f` takes and returns scalars and arrays in trees; a list is a tree, not an array.  Every row
    takes its own branches.  Under `nt.grad` and other transforms, and where recording values go in,
    the result is recorded.  Of no rows at all the result is empty, shaped as rows of ones give it.

    Raises `ShapeError` where arguments have different numbers of rows, an axis does not exist, or
    rows give results of different shapes; `ArgumentError` where nothing is mapped, or where axes or
    results form trees that do not fit.

    >>> import ndtape as nt, numpy as np
    >>> nt.vmap(lambda x, y: x * y if x > y else x)(np.array([3.0, 1.0]), np.array([2.0, 2.0]))
    array([6., 1.])
    >>> nt.vmap(nt.grad(lambda x: x @ x))(np.ones((2, 3)))
    array([[2., 2., 2.],
           [2., 2., 2.]])
    """
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    if not (in_axes is None or isinstance(in_axes, (int, np.integer, tuple))):
        raise ArgumentError(
            "in_axes must be a whole number, None, or a tuple with one entry for each argument, "
            f"not {in_axes!r}"
        )

    # Tapes are kept between calls where the user has asked for replays.
    kept = _kept(f)
    gradient = gradient_of(f)
    inner = None if gradient is None else _kept(gradient.f)

    def mapped(*args: Any, **kwargs: Any) -> Any:
        rows = Rows(f, args, kwargs, in_axes)
        if rows.count == 0:
            return of_no_rows(f, rows, out_axes)
        if gradient is not None and not any(map(moves, rows.leaves)):
            try:
                function = inner or Function(gradient.f)
                found = gradients(gradient, function, rows, out_axes)
            except UNTRACEABLE:  # or no gradient: the long way says so, or does without a tape
                found = None
            if found is not None:
                return found[0]
        return _over(f, rows, out_axes, kept or Function(f), strict=kept is not None)

    return Transformed(mapped, "vmap", None, vmap, f, in_axes, out_axes)


def _kept(f: Any) -> Function | None:
    """The traced function whose tapes calls share."""
    return f if isinstance(f, Function) else Function(f) if _replayed(f) else None


def _replayed(f: Any) -> bool:
    """Whether f is a transform of an `nt.function`, such as its gradient."""
    while f is not None and not isinstance(f, Function):
        f = getattr(f, "__wrapped__", None)
    return f is not None


UNTRACEABLE = (EscapedError, GradientLostError, TooManyTapesError, UnstableProgramError,
               UnsupportedError)  # fmt: skip


def _over(
    f: Callable[..., Any], rows: Rows, out_axes: Axes, function: Function, strict: bool
) -> Any:
    """f over rows, by its tapes if they serve; `strict` raises what nt.function would raise."""
    moving = any(map(moves, rows.leaves))
    inside = moving or core.transform_depth.get() > 0
    if moving and (rows.count < FEW or has_none(out_axes) or not core.recording()):
        return _inline(f, rows, out_axes)
    try:
        if not moving:
            return swept(function, rows, out_axes)
        found = _recorded(function, rows, out_axes)
        if found is not None:
            return found[0]
    except UNTRACEABLE:  # such as float(x): where nothing is recorded, that is no error
        if strict and not inside:
            raise
    return _inline(f, rows, out_axes) if inside else loop(f, rows, out_axes)


def _inline(f: Callable[..., Any], rows: Rows, out_axes: Axes) -> Any:
    """Rows recorded one after the other, on the tape that is being recorded."""
    names: list[Any] = []
    if has_none(out_axes):
        # Whether a result depends on the rows is seen on the tape: by names that nobody else uses.
        for i, axis in enumerate(rows.axes):
            if axis is not None and moves(rows.leaves[i]):
                rows.leaves[i] = elementwise("copy", rows.leaves[i])
                names.append(rows.leaves[i])
    return joined([called(f, rows.row(i)) for i in range(rows.count)], out_axes, names)


# --- many rows as one instruction -----------------------------------------------------------------


def _recorded(function: Function, rows: Rows, out_axes: Axes) -> tuple[Any] | None:
    """All rows as one call on the tape; None where they are better recorded one by one."""
    if any(map(_is_whole, rows.leaves)):
        return None
    plan = Plan.of(function, rows)
    rule = Rule(plan, rows)
    operands = [x for x, numeric in zip(rows.leaves, plan.numeric, strict=True) if numeric]
    numbers = [x.value if recording(x) else np.asarray(x) for x in operands]
    tree = rule.evaluated(numbers, core.transform_depth.get() > 0)
    if _better_inline(function, rule.rows(numbers), operands):
        return None
    leaves, rule.structure = flatten(tree)
    if not leaves:
        return (tree,)
    rule.known = [np.asarray(x) for x in leaves]
    rule.smooth = frozenset(i for i, x in enumerate(rule.known) if x.dtype.kind == "f")
    rule.many = len(leaves) != 1
    results = ruled(rule, rule.known)(*operands, rule=rule)
    parts = list(results) if rule.many else [results]
    axes = spread(out_axes, tree, "out_axes")
    for j, axis in enumerate(axes):
        assert axis is not None
        placed(parts[j].shape[1:], axis, rows.count)
        if to := axis % parts[j].ndim:
            parts[j] = movement(np.moveaxis, parts[j], 0, to)
    return (unflatten(rule.structure, parts),)


def _is_whole(x: Any) -> bool:
    """Whether x is recorded and no float: nothing is differentiated with respect to it."""
    return isinstance(x, (Boolean, Integer)) or (isinstance(x, Array) and x.dtype.kind != "f")


def _better_inline(function: Function, rows: Rows, operands: Sequence[Any]) -> bool:
    """Whether rows should become part of a tape that is replayed: then no Python is called.

    Not if they branch: the tape would be for one combination of all rows' branches.
    """
    holders = [x.storage if isinstance(x, Array) else x for x in operands if moves(x)]
    tapes = [h.tape for h in holders if isinstance(h, (Result, Storage))]
    if all(tape is None or tape.traced is None for tape in tapes):
        return False
    bound = function.bind(*rows.row(0), ())
    program = None if bound is None else function.program(bound)
    traces = [] if program is None else program.traces
    return all(not t.guards and len(t.tape) * rows.count <= MOST_INLINE for t in traces)


class Plan:
    """What calls of one function over rows of one form share: the derivatives of a row, as traced
    functions that keep their tapes.

    Leaves of the arguments are *numeric*, or others that all rows share (names, modes); numeric
    ones that are recording are *moving*, and differentiated.
    """

    def __init__(self, function: Function, rows: Rows) -> None:
        self.function = function
        self.structure, self.axes = rows.structure, list(rows.axes)
        self.numeric = [_is_numeric(x) for x in rows.leaves]
        self.moving = [moves(x) for x in rows.leaves]
        self.pull, self.push = Function(self.pull_row), Function(self.push_row)
        self.single = True  # as far as is known, a row's result is one number

    @classmethod
    def of(cls, function: Function, rows: Rows) -> Plan:
        """The plan for a form of rows, made once for each function."""
        plans = function.__dict__.setdefault("row_plans", {})
        numeric, moving = map(_is_numeric, rows.leaves), map(moves, rows.leaves)
        key = rows.structure, tuple(rows.axes), tuple(numeric), tuple(moving)
        if key not in plans:
            plans[key] = cls(function, rows)
        return plans[key]  # type: ignore[no-any-return]

    def row(self, moving: Sequence[Any], fixed: Sequence[Any], others: Sequence[Any]) -> Any:
        """The function at one row, whose leaves come in three lists."""
        sources = iter(moving), iter(fixed), iter(others)
        args, kwargs = unflatten(self.structure, [
            next(sources[0 if moves_ else 1 if numeric else 2])
            for moves_, numeric in zip(self.moving, self.numeric, strict=True)
        ])  # fmt: skip
        return self.function.f(*args, **kwargs)

    def smooth(self, fixed: Any, others: Any, chosen: frozenset[int]) -> Callable[..., list[Any]]:
        """The results of a row that have derivatives, as a function of what is differentiated."""

        def results(*moving: Any) -> list[Any]:
            leaves = flatten(self.row(moving, fixed, others))[0]
            return [leaves[i] for i in sorted(chosen)]

        return results

    def pull_row(
        self, moving: Any, fixed: Any, others: Any, ws: Any, chosen: frozenset[int]
    ) -> list[Any]:
        """Adjoints of one row, for cotangents of its results."""
        return list(vjp(self.smooth(fixed, others, chosen), *moving)[1](ws))

    def push_row(
        self, moving: Any, fixed: Any, others: Any, tangents: Any, chosen: frozenset[int]
    ) -> list[Any]:
        """Tangents of the results of one row."""
        results = self.smooth(fixed, others, chosen)
        return list(jvp(results, tuple(moving), tuple(tangents))[1])


class Slopes(NamedTuple):
    """Derivatives of the rows' results with respect to some operands."""

    moving: list[bool]  # which of all leaves
    operands: list[np.ndarray]  # where they were taken
    matrix: np.ndarray


class Rule:
    """One call: a plan, and what is no number among the arguments.  See `custom.ruled`."""

    structure: Any  # of a row's result
    known: list[np.ndarray] | None  # the results at the operands of the recording
    smooth: frozenset[int]  # results that are floats
    many: bool
    slopes: Slopes | None = None
    selective = True
    differentiated = False  # somebody has asked for adjoints

    def __init__(self, plan: Plan, rows: Rows) -> None:
        self.plan, self.all_rows = plan, rows
        self.others = [x for x, n in zip(rows.leaves, plan.numeric, strict=True) if not n]
        self.axes = [a for a, n in zip(plan.axes, plan.numeric, strict=True) if n]
        self.moving = [m for m, n in zip(plan.moving, plan.numeric, strict=True) if n]

    def __repr__(self) -> str:
        return described(self.plan.function.f, self.plan.structure, self.plan.axes, self.others)

    def rows(self, operands: Sequence[Any]) -> Rows:
        """The rows with these numbers."""
        numbers, others = iter(operands), iter(self.others)
        return self.all_rows.like(
            [_scalar(next(numbers)) if n else next(others) for n in self.plan.numeric]
        )

    def evaluated(self, operands: Sequence[np.ndarray], slopes: bool, wanted: Any = None) -> Any:
        """The results for plain operands by the tapes of the function; raises if there are none.

        If somebody will ask for `slopes` and they are few, rows go backward as well, while their
        numbers are at hand.
        """
        rows, plan = self.rows(operands), self.plan
        moving = self.chosen(wanted)
        if slopes and plan.single and _row_size(rows, moving) <= MOST_SLOPES:
            found = sloped(plan.function, rows, moving)
            if found is not None:
                tree, matrix = found
                plan.single = matrix is not None
                if matrix is not None:
                    self.slopes = Slopes(moving, _copies(rows, moving), matrix)
                return tree
        return swept(plan.function, rows, 0)

    def chosen(self, wanted: Any) -> list[bool]:
        """Which leaves are differentiated, where of the operands only some are `wanted`."""
        if wanted is None:
            return self.plan.moving
        each = iter(wanted)
        leaves = zip(self.plan.numeric, self.plan.moving, strict=True)
        return [numeric and next(each) and moves_ for numeric, moves_ in leaves]

    def value(self, *operands: Any, wanted: Any = None) -> Any:
        parts, self.known = self.known, None
        if parts is None and self.differentiated and not any(map(moves, operands)):
            try:
                parts = [np.asarray(x) for x in flatten(self.evaluated(operands, True, wanted))[0]]
            except UNTRACEABLE:
                parts = None
        if parts is None:
            function = self.plan.function
            tree = _over(function.f, self.rows(operands), 0, function, strict=False)
            parts = [np.asarray(x) for x in flatten(tree)[0]]
        return tuple(parts) if self.many else parts[0]

    def parted(self, operands: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Operands that are differentiated, and the others."""
        given = [_scalar(x) for x in operands]
        moving = [x for x, m in zip(given, self.moving, strict=True) if m]
        return moving, [x for x, m in zip(given, self.moving, strict=True) if not m]

    def parted_axes(self) -> tuple[list[int | None], list[int | None]]:
        moving = [a for a, m in zip(self.axes, self.moving, strict=True) if m]
        return moving, [a for a, m in zip(self.axes, self.moving, strict=True) if not m]

    def vjp(self, w: Any, z: Any, *operands: Any, wanted: Any = None) -> list[Any]:
        ws = [x for i, x in enumerate(w if self.many else [w]) if i in self.smooth]
        if not ws:
            return [None] * len(operands)
        if not any(map(moves, (*operands, *ws))):
            found = self.pulled(operands, ws, wanted)
            if found is not None:
                return found
        moving, fixed = self.parted(operands)
        axes, fixed_axes = self.parted_axes()
        args = moving, fixed, self.others, ws, self.smooth
        in_axes = axes, fixed_axes, None, 0, None
        rows = Rows(self.plan.pull_row, args, {}, in_axes)
        step = rows.count
        if not any(map(moves, rows.leaves)):  # each row has adjoints of its own: not all at once
            shared = sum(np.size(x) for x, axis in zip(moving, axes, strict=True) if axis is None)
            step = max(FEW, MOST_ADJOINTS // max(shared, 1))
        pieces = [self.adjoints(rows.part(lo, lo + step), axes)
                  for lo in range(0, rows.count, step)]  # fmt: skip
        terms = iter(pieces[0])
        if len(pieces) > 1:
            terms = iter([
                sum(parts) if axis is None else np.concatenate(parts, axis)
                for parts, axis in zip(zip(*pieces, strict=True), axes, strict=True)
            ])  # fmt: skip
        return [next(terms) if moving else None for moving in self.moving]

    def pulled(self, operands: Sequence[Any], ws: Sequence[Any], wanted: Any) -> list[Any] | None:
        """Adjoints by sweeps over the tapes of the function itself; None where that cannot be."""
        moving = self.chosen(wanted)
        rows = self.rows([np.asarray(x) for x in operands])
        self.differentiated = True
        found: list[Any] | None = None
        known = self.slopes
        if (
            known is not None
            and known.moving == moving
            and _same_bits(known.operands, rows, moving)
        ):
            found = weighted(rows, moving, np.ravel(ws[0]), known.matrix)
        else:
            try:
                found = pulled(self.plan.function, rows, moving, sorted(self.smooth), ws)
            except UNTRACEABLE:
                return None
        if found is None:
            return None
        terms = iter(found)
        each = zip(moving, self.plan.numeric, strict=True)
        return [next(terms) if moves_ else None for moves_, numeric in each if numeric]

    def adjoints(self, rows: Rows, axes: Sequence[int | None]) -> list[Any]:
        """Of the operands that are differentiated: sums over rows for those that they share."""
        terms = _over(self.plan.pull_row, rows, 0, self.plan.pull, strict=False)
        return [np.sum(term, axis=0) if axis is None else np.moveaxis(term, 0, axis)
                for term, axis in zip(terms, axes, strict=True)]  # fmt: skip

    def jvp(self, tangents: Sequence[Any], z: Any, *operands: Any) -> Any:
        moving, fixed = self.parted(operands)
        directions = self.parted(tangents)[0]
        axes, fixed_axes = self.parted_axes()
        args = moving, fixed, self.others, directions, self.smooth
        in_axes = axes, fixed_axes, None, axes, None
        rows = Rows(self.plan.push_row, args, {}, in_axes)
        found = iter(_over(self.plan.push_row, rows, 0, self.plan.push, strict=False))
        zs = z if self.many else [z]
        parts = [next(found) if i in self.smooth else np.zeros(x.shape) for i, x in enumerate(zs)]
        return tuple(parts) if self.many else parts[0]


def _is_numeric(x: Any) -> bool:
    if isinstance(x, np.ndarray):
        return x.dtype.kind in "fiub"
    return isinstance(x, (Array, Var, int, float, np.generic))


def _row_size(rows: Rows, moving: Sequence[bool]) -> int:
    """How many numbers of a row are differentiated."""
    return sum(map(math.prod, row_shapes(rows, moving)))


def _copies(rows: Rows, moving: Sequence[bool]) -> list[np.ndarray]:
    return [np.array(x, np.float64) for x, m in zip(rows.leaves, moving, strict=True) if m]


def _same_bits(known: Sequence[np.ndarray], rows: Rows, moving: Sequence[bool]) -> bool:
    """Whether leaves that are differentiated hold these numbers."""
    return all(x.shape == y.shape and np.array_equal(x.view(np.int64), y.view(np.int64))
               for x, y in zip(known, _copies(rows, moving), strict=True))  # fmt: skip


def _scalar(x: Any) -> Any:
    """An array without axes as a scalar, which rows and arguments are."""
    return x[()] if isinstance(x, (Array, np.ndarray)) and not x.shape else x
