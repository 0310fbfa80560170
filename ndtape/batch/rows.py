"""Arguments of many rows taken apart, rows given to functions, and their results put together."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..record import core
from ..record.arrays import LARGEST_WHOLE, Array, moves, recording
from ..record.wide import movement, stacked
from ..run import REACHED, Workspace
from ..traced.function import Function
from ..traced.program import Slots, Trace, input_values
from ..traced.signature import Bound, Static
from ..trees import flatten, text, unflatten
from .forms import Numbers, Wanted, size_of
from .lanes import NotKeptError, Sweeps

Axes = Any  # an int, None, or a tree of them that is a prefix of the arguments or of the result


# --- arguments ------------------------------------------------------------------------------------


class Rows:
    """Arguments taken apart: their leaves, the axis of each, and how many rows there are."""

    def __init__(
        self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], in_axes: Axes
    ) -> None:
        if isinstance(in_axes, tuple) and len(in_axes) != len(args):
            raise ArgumentError(
                f"in_axes has {len(in_axes)} entries, and the function got {len(args)} positional "
                "arguments"
            )
        entries = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
        self.leaves, self.structure = flatten((args, kwargs))
        self.axes: list[int | None] = []
        self.given: list[tuple[Any, Any]] = [*enumerate(args)]  # position or keyword, and tree
        self.given += [(key, kwargs[key]) for key in _in_tree_order(kwargs)]
        self.f = f
        for (key, tree), entry in zip(self.given, (*entries, *[0] * len(kwargs)), strict=True):
            if entry is None or isinstance(entry, int):
                self.axes += [entry] * (1 if isinstance(tree, np.ndarray) else leaves_of(tree))
            else:
                self.axes += spread(entry, tree, f"in_axes of {self.argument(key)}")
        self.count = self._count()

    def argument(self, key: int | str) -> str:
        """What a message calls an argument."""
        if isinstance(key, str):
            return key
        try:
            parameters = list(inspect.signature(self.f).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY,
                                                           p.POSITIONAL_OR_KEYWORD)]  # fmt: skip
        return f"argument {names[key]!r}" if key < len(names) else f"argument {key}"

    def name(self, i: int) -> str:
        """What a message calls leaf i."""
        for key, tree in self.given:
            count = leaves_of(tree)
            if i < count:
                return self.argument(key) + (f" (leaf {i})" if count > 1 else "")
            i -= count
        raise AssertionError(i)

    def _count(self) -> int:
        """How many rows; checks axes and wraps negative ones."""
        first, count = -1, 0
        for i, axis in enumerate(self.axes):
            if axis is None:
                continue
            leaf = self.leaves[i]
            shape = getattr(leaf, "shape", ()) if recording(leaf) else np.shape(leaf)
            if not shape:
                raise ShapeError(
                    f"vmap over a number: {self.name(i)} has no axis {axis}; map an array "
                    "(np.array(...) of a list), or give the argument in_axes None"
                )
            if not -len(shape) <= axis < len(shape):
                raise ShapeError(f"vmap over axis {axis} of {self.name(i)}, whose shape is {shape}")
            self.axes[i] = axis = axis % len(shape)
            if first < 0:
                first, count = i, shape[axis]
            elif shape[axis] != count:
                raise ShapeError(
                    f"vmap got different numbers of rows: {count} in axis {self.axes[first]} of "
                    f"{self.name(first)}, {shape[axis]} in axis {axis} of {self.name(i)}, whose "
                    f"shape is {shape}"
                )
        if first < 0:
            raise ArgumentError("vmap needs at least one mapped argument: every axis is None")
        return count

    def row(self, i: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of row i; `f` may write into them."""
        return self.filled(
            x if axis is None else x[(slice(None),) * axis + (i,)]
            for x, axis in zip(self.leaves, self.axes, strict=True)
        )

    def numbers(self, function: Function, bound: Bound) -> Numbers | None:
        """The numbers of all rows; None where rows differ in more than numbers."""
        if function.static_argnums or function.static_argnames:
            return None
        first, places, columns = [], [], []
        count = 0
        for x, axis, kind in zip(self.leaves, self.axes, bound.signature[1], strict=True):
            if isinstance(kind, Static):
                if axis is not None:
                    return None
                continue
            x = np.asarray(x)
            if x.dtype.kind in "iu" and x.size and int(np.abs(x).max()) >= LARGEST_WHOLE:
                return None
            if axis is None:
                first.append(x.ravel())
            else:
                x = np.moveaxis(x, axis, 0) if axis else x
                columns.append(x.reshape(self.count, -1))
                first.append(columns[-1][0])
                places.append(np.arange(count, count + first[-1].size))
            count += first[-1].size
        matrix = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        return Numbers(
            np.concatenate(first, dtype=np.float64),
            np.concatenate(places).astype(np.uint64),
            np.ascontiguousarray(matrix, np.float64),  # often no copy
        )

    def like(self, leaves: list[Any]) -> Rows:
        """The same rows with other leaves."""
        fresh = copy.copy(self)
        fresh.leaves = leaves
        return fresh

    def part(self, lo: int, hi: int) -> Rows:
        """Some of the rows."""
        if lo <= 0 and hi >= self.count:
            return self
        fresh = self.like([
            x if axis is None else x[(slice(None),) * axis + (slice(lo, hi),)]
            for x, axis in zip(self.leaves, self.axes, strict=True)
        ])  # fmt: skip
        fresh.count = min(hi, self.count) - lo
        return fresh

    def ones(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What stands for a row where there is none."""
        return self.filled(
            x if axis is None else np.ones(x.shape[:axis] + x.shape[axis + 1 :], x.dtype)[()]
            for x, axis in zip(self.leaves, self.axes, strict=True)
        )

    def filled(self, leaves: Iterable[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments with these leaves, over storages of their own."""
        own = [x.copy() if isinstance(x, (Array, np.ndarray)) else x for x in leaves]
        return unflatten(self.structure, own)  # type: ignore[no-any-return]


def leaves_of(tree: Any) -> int:
    return len(flatten(tree)[0])


def _in_tree_order(tree: dict[Any, Any]) -> list[Any]:
    """The keys of a dict in the order in which its leaves are flattened."""
    keys = list(tree)
    if isinstance(tree, OrderedDict):
        return keys
    return [keys[i] for i in flatten(dict(zip(keys, range(len(keys)), strict=True)))[0]]


def spread(axes: Axes, tree: Any, what: str) -> list[int | None]:
    """One axis for each leaf of `tree`, from a prefix of it: an int, None, or a like container."""
    if axes is None or isinstance(axes, (int, np.integer)):
        return [axes if axes is None else int(axes)] * leaves_of(tree)
    if isinstance(axes, dict) and isinstance(tree, dict) and axes.keys() == tree.keys():
        pairs = [(axes[key], tree[key]) for key in _in_tree_order(tree)]
    elif dataclasses.is_dataclass(axes) and type(axes) is type(tree):
        fields = [f.name for f in dataclasses.fields(axes) if not f.metadata.get("static", False)]
        pairs = [(getattr(axes, name), getattr(tree, name)) for name in fields]
    elif _is_list_like(axes, tree):
        pairs = list(zip(axes, tree, strict=True))
    else:
        raise ArgumentError(
            f"{what} is {axes!r}: it must be a whole number, None, or a tree of them with the "
            f"structure {text(flatten(tree)[1])}"
        )
    return [axis for axis, part in pairs for axis in spread(axis, part, what)]


def _is_list_like(axes: Axes, tree: Any) -> bool:
    """Both lists, or both tuples, of one length."""
    return any(isinstance(axes, kind) and isinstance(tree, kind) and len(axes) == len(tree)
               for kind in (list, tuple))  # fmt: skip


# --- rows -----------------------------------------------------------------------------------------


def loop(f: Callable[..., Any], rows: Rows, out_axes: Axes) -> Any:
    """Rows one by one."""
    return joined([called(f, rows.row(i)) for i in range(rows.count)], out_axes)


def swept(function: Function, rows: Rows, out_axes: Axes) -> Any:
    """Rows of plain numbers through the tapes of a traced function."""
    found = evaluated(function, rows)
    return loop(function, rows, out_axes) if found is None else gathered(found, out_axes)


def evaluated(
    function: Function, rows: Rows, positions: Sequence[int] = (),
    wanted: Callable[[Bound], Wanted] | None = None,
) -> Sweeps | None:  # fmt: skip
    """The sweeps over rows of plain numbers; None where rows must be taken one by one.

    With `wanted` they go backwards as well; `positions` are those of arguments that must be floats.
    """
    bound = function.bind(*rows.row(0), positions)
    numbers = None if bound is None else rows.numbers(function, bound)
    if bound is None or numbers is None:
        return None
    program, fed = function.found(bound)
    if program is None:
        return None
    more = fed.leaves[len(bound.leaves) :]  # captured arrays, the same in all rows
    numbers = numbers.followed_by(input_values(more, fed.count - bound.count))

    def run(i: int) -> tuple[Trace, Workspace]:
        row = rows.row(i)
        bound = function.bind(*row, positions)
        assert bound is not None
        record = partial(function.record, program, bound.followed_by(more), *row)
        return program.run(numbers.row(i), record)

    try:
        backwards = None if wanted is None else wanted(bound)
        found = Sweeps(program, numbers, run, backwards, function.level)
    except NotKeptError:
        return None
    except Exception:
        if program.parameters is None:
            raise
        again = partial(evaluated, function, rows, positions, wanted)
        return function.without(program.parameters, again)  # type: ignore[no-any-return]
    return None if program.inline else found


def called(f: Callable[..., Any], arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
    args, kwargs = arguments
    return f(*args, **kwargs)


def of_no_rows(f: Callable[..., Any], rows: Rows, out_axes: Axes) -> Any:
    """An empty result: only its shape is asked of the function."""
    with core.no_grad():
        result = called(f, rows.ones())
    leaves, structure = flatten(result)
    found = []
    for leaf, axis in zip(leaves, spread(out_axes, result, "out_axes"), strict=True):
        if axis is None:
            raise ArgumentError("vmap over no rows has no result to give for out_axes None")
        part = np.asarray(leaf.value if recording(leaf) else leaf)
        found.append(np.zeros(placed(part.shape, axis, 0), part.dtype))
    return unflatten(structure, found)


# --- results --------------------------------------------------------------------------------------


def joined(results: Sequence[Any], out_axes: Axes, names: Sequence[Any] = ()) -> Any:
    """Trees of rows, one a row, as one tree of stacked leaves.

    `names` are recording arguments: where `out_axes` is None, no result may depend on them.
    """
    first, structure = flatten(results[0])
    columns: list[list[Any]] = [[leaf] for leaf in first]
    for i, result in enumerate(results[1:], 1):
        leaves, other = flatten(result)
        if other != structure:
            raise _unlike_trees(i, structure, other)
        for column, leaf in zip(columns, leaves, strict=True):
            column.append(leaf)
    axes = spread(out_axes, results[0], "out_axes")
    found = [
        _common(column, names) if axis is None else stack(column, axis)
        for column, axis in zip(columns, axes, strict=True)
    ]
    return unflatten(structure, found)


def gathered(found: Sweeps, out_axes: Axes) -> Any:
    """The same from the sweeps: the results of the traces that the rows have taken."""
    structure, parts = merged(found)
    axes = spread(out_axes, unflatten(structure, [0.0] * len(parts)), "out_axes")
    return unflatten(structure, [arranged(p, axis) for p, axis in zip(parts, axes, strict=True)])


def merged(found: Sweeps) -> tuple[Any, list[np.ndarray]]:
    """The structure of a row's result, and its parts, arrays with a row for each row."""
    taken = [(trace, np.concatenate(rows)) for trace, rows in found.rows.items()]
    taken = sorted((t for t in taken if len(t[1])), key=lambda t: int(t[1].min()))
    first = taken[0][0].output
    for trace, rows in taken[1:]:
        if trace.output.structure != first.structure:
            raise _unlike_trees(int(rows.min()), first.structure, trace.output.structure)
    columns = [list(_columns(trace, found.results(trace))) for trace, _ in taken]
    whole = []
    for j in range(len(first.parts)):
        parts = [column[j] for column in columns]
        shape = parts[0].shape[1:]
        for (_, rows), part in zip(taken, parts, strict=True):
            if part.shape[1:] != shape:
                raise _unlike_shapes(int(rows.min()), shape, part.shape[1:])
        whole.append(_merged(taken, parts, found.count))
    return first.structure, whole


def _merged(taken: list[Any], parts: list[np.ndarray], count: int) -> np.ndarray:
    """Each row from the part of the trace that it has taken."""
    if len(taken) == 1:
        whole = parts[0]
        return whole if whole.flags.carray else whole.copy()
    whole = np.empty((count, *parts[0].shape[1:]), np.result_type(*parts))
    for (_, rows), part in zip(taken, parts, strict=True):
        whole[rows] = part[rows]
    return whole


def _columns(trace: Trace, numbers: np.ndarray) -> Iterator[np.ndarray]:
    """The results of a trace as arrays with a row for all rows, of which it knows its own."""
    place = 0
    for part in trace.output.parts:
        if isinstance(part, Slots):
            size, shape = size_of(part), part.shape or ()
            block = numbers[:, place : place + size].reshape(len(numbers), *shape)
            kind = np.dtype(part.dtype)
            with np.errstate(invalid="ignore"):  # rows of other traces hold anything
                yield block if kind == np.float64 else block.astype(kind)
            place += size
        else:
            shape = _shape(part)
            constant = np.asarray(part.value if recording(part) else part)
            yield np.broadcast_to(constant, (len(numbers), *shape))


def arranged(whole: np.ndarray, axis: int | None) -> Any:
    """Rows that lie along the first axis, along another."""
    if axis is None:
        common = _common(list(whole), ())
        return common if whole.ndim > 1 else common.item()
    placed(whole.shape[1:], axis, len(whole))
    to = axis % whole.ndim
    return np.moveaxis(whole, 0, to) if to else whole


def stack(parts: Sequence[Any], axis: int) -> Any:
    """Equal shapes along a new axis: recorded if one of them is, in one instruction."""
    shapes = [_shape(part) for part in parts]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise _unlike_shapes(i, shapes[0], shape)
    placed(shapes[0], axis, len(parts))
    to = axis % (len(shapes[0]) + 1)
    if any(map(recording, parts)):
        whole: Any = stacked(list(parts))
        return movement(np.moveaxis, whole, 0, to) if to else whole
    return np.stack(parts, to)


def _unlike_trees(i: int, first: Any, other: Any) -> ArgumentError:
    return ArgumentError(
        f"rows 0 and {i} of vmap gave results of different structure, {text(first)} and "
        f"{text(other)}"
    )


def _unlike_shapes(i: int, first: tuple[int, ...], other: tuple[int, ...]) -> ShapeError:
    return ShapeError(
        f"rows 0 and {i} of vmap gave results of shapes {first} and {other}: they cannot be stacked"
    )


def _shape(part: Any) -> tuple[int, ...]:
    if recording(part):
        return getattr(part, "shape", ())
    numbers = np.asarray(part)
    if numbers.dtype.kind not in "biufc":
        raise ArgumentError(
            f"a function under vmap must return numbers and arrays, not {type(part).__name__}"
        )
    return numbers.shape


def placed(shape: tuple[int, ...], axis: int, count: int) -> tuple[int, ...]:
    """The shape with `count` rows along a new axis."""
    if not -len(shape) - 1 <= axis <= len(shape):
        raise ShapeError(f"out_axes {axis} does not fit rows of shape {shape}")
    to = axis % (len(shape) + 1)
    return (*shape[:to], count, *shape[to:])


def _common(parts: Sequence[Any], names: Sequence[Any]) -> Any:
    """The result that all rows share."""
    numbers = [np.asarray(part.value if recording(part) else part) for part in parts]
    same = all(np.array_equal(x, numbers[0], equal_nan=x.dtype.kind == "f") for x in numbers)
    if not same or _depends(parts[0], names):
        raise ArgumentError(
            "out_axes None is for a result that is the same in every row; this one depends on the "
            "mapped arguments"
        )
    return parts[0]


def _depends(part: Any, names: Sequence[Any]) -> bool:
    """Whether a result depends on one of `names`."""
    if not moves(part) or not names:
        return False
    tape, roots = _slots(part)
    mark = tape.work.reach(roots)
    return any((mark[slots] & REACHED).any() for _, slots in map(_slots, names))


def _slots(x: Any) -> tuple[Any, np.ndarray]:
    """Tape and slots of a recording value."""
    holder = x.storage if isinstance(x, Array) else x
    core.resolve(holder)
    return holder.tape, holder.all_slots() if isinstance(x, Array) else np.array([x.slot])


def has_none(axes: Axes) -> bool:
    if isinstance(axes, dict):
        axes = list(axes.values())
    return any(map(has_none, axes)) if isinstance(axes, (tuple, list)) else axes is None
