"""Array operations that are not elementwise: reductions, contractions, movement of elements.

These few are what the NumPy layer is built from.  All take anything array-like and give an `Array`,
a scalar value where the shape is (), or plain NumPy results when nothing is recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from .. import nest
from ..errors import ShapeError
from ..nest import contiguous
from ..ops import WIDE_CODES
from ..trees import flatten, unflatten
from . import core, fast
from .arrays import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    Array,
    as_array,
    core_functions,
    finished,
    moves,
    normal,
    of_span,
    plain_value,
    recording,
    retyped,
    storages,
)
from .core import Recorder, push_wide
from .elementwise import elementwise
from .lifetime import common_tape, make_room
from .operands import collected, entries_of, located, operand
from .values import Var

# --- shared steps ---------------------------------------------------------------------------------


def on_tape(*values: Any) -> Recorder | None:
    """The tape to record on, or None when only numbers are wanted; hold `core.growth`."""
    if not core.recording() or not any(map(moves, values)):
        return None
    tape = common_tape(storages(values))
    make_room(tape)
    return tape


def computed(function: Callable[..., Any], *values: Any) -> Any:
    """`function` of plain numbers, in the user's terms."""
    numbers = [plain_value(x) for x in values]
    return finished(np.asarray(function(*numbers)), any(map(recording, values)))


def in_order(tape: Recorder, x: Array) -> tuple[int, bool]:
    """Where the elements of x lie next to each other in C order: copied there if they do not."""
    start, strides, is_constant = located(tape, x)
    if strides == contiguous(x.shape) or x.size < 2:
        return start, is_constant
    walk = [(n, z, s, 0, 0) for n, z, s in zip(x.shape, contiguous(x.shape), strides, strict=True)]
    words = nest.descriptor(x.size, nest.collapsed(walk), int(is_constant))
    return push_wide(tape, WIDE_CODES["copy"], start, 0, words), False


def rounded(x: Any, dtype: np.dtype[Any]) -> Any:
    """A result that NumPy would give in float32, rounded to it."""
    if dtype != FLOAT32:
        return x
    result = elementwise("round32", x)
    return retyped(result, FLOAT32)


def shape_of(x: Any) -> tuple[int, ...]:
    return x.shape if isinstance(x, Array) else np.shape(x) if not isinstance(x, Var) else ()


def dtype_of(x: Any) -> np.dtype[Any]:
    if isinstance(x, Array):
        return x.dtype
    return FLOAT64 if isinstance(x, Var) else np.asarray(x).dtype


# --- reductions -----------------------------------------------------------------------------------

REDUCTIONS: dict[str, Callable[..., Any]] = {"sum": np.sum, "max": np.max, "min": np.min}


def reduce(name: str, x: Any, axes: tuple[int, ...]) -> Any:
    """Sum, largest or smallest over `axes` (not negative), which the result does not have.

    Ties of max and min share the derivative equally.
    """
    return _reduction(name, axes)(x)


@cache
def _reduction(name: str, axes: tuple[int, ...]) -> Callable[[Any], Any]:
    return fast.unary(lambda x: _reduced(name, x, axes))


def _reduced(name: str, x: Any, axes: tuple[int, ...]) -> Any:
    x = as_array(x) if recording(x) or isinstance(x, (list, tuple)) else x
    with core.growth:
        tape = on_tape(x)
        if tape is None:
            return computed(lambda a: REDUCTIONS[name](a, axis=axes), x)
        shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
        dtype = INT64 if name == "sum" and x.dtype == BOOL else x.dtype
        if x.size == 0 or 0 in shape:
            return _empty(name, x, axes, shape)
        if all(x.shape[i] == 1 for i in axes) and x.dtype != BOOL:
            return x.copy().reshape(shape) if shape else x[(0,) * x.ndim]
        start, strides, is_constant = located(tape, x)
        steps = iter(contiguous(shape))
        loops = [
            (n, 0 if i in axes else next(steps), s, 0, 0)
            for i, (n, s) in enumerate(zip(x.shape, strides, strict=True))
        ]
        size = int(np.prod(shape, dtype=np.int64))
        words = nest.descriptor(size, nest.collapsed(loops), int(is_constant))
        slot = push_wide(tape, WIDE_CODES[name], start, 0, words)
        result = of_span(tape, slot, shape, FLOAT64 if dtype == FLOAT32 else dtype)
        return rounded(result, dtype)


def _empty(name: str, x: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Any:
    if name != "sum" and 0 in [x.shape[i] for i in axes]:
        raise ShapeError(
            f"np.{name} of an array of shape {x.shape} over axes {axes}: nothing to compare "
            f"[{core.user_line()}]"
        )
    return finished(np.zeros(shape, x.dtype), True)


def cumsum(x: Any, axis: int) -> Any:
    """Running sums along an axis (not negative)."""
    x = as_array(x) if recording(x) or isinstance(x, (list, tuple)) else x
    with core.growth:
        tape = on_tape(x)
        if tape is None or x.size == 0:
            return computed(lambda a: np.cumsum(a, axis=axis), x)
        if x.shape[axis] == 1:
            return elementwise("copy", x)
        start, strides, is_constant = located(tape, x)
        # The loop along the axis must stay a loop of its own: only the others are merged.
        loops = [(n, z, s, 0, 0) for n, z, s in zip(x.shape, contiguous(x.shape), strides,
                                                    strict=True)]  # fmt: skip
        before, after = nest.collapsed(loops[:axis]), nest.collapsed(loops[axis + 1 :])
        nested = [*before, loops[axis], *after]
        words = nest.descriptor(x.size, nested, int(is_constant), kind_word=len(before))
        slot = push_wide(tape, WIDE_CODES["cumsum"], start, 0, words)
        dtype = INT64 if x.dtype == BOOL else x.dtype
        result = of_span(tape, slot, x.shape, FLOAT64 if dtype == FLOAT32 else dtype)
        return rounded(result, dtype)


# --- contractions ---------------------------------------------------------------------------------

Labels = Sequence[int]


def contract(x: Any, x_labels: Labels, y: Any, y_labels: Labels, out_labels: Labels) -> Any:
    """Einstein's sum of two operands: a label that is not in `out_labels` is summed over.

    A label that an operand repeats runs along its diagonal; an axis of extent 1 is broadcast.
    Raises `ShapeError` where extents differ.
    """
    x, y = (as_array(v) if recording(v) or isinstance(v, (list, tuple)) else normal(v)
            for v in (x, y))  # fmt: skip
    extents = _extents(x, x_labels, y, y_labels)
    shape = tuple(extents[label] for label in out_labels)
    dtype = np.result_type(x.dtype, y.dtype)
    with core.growth:
        tape = on_tape(x, y)
        if tape is None:
            number = {label: i for i, label in enumerate(extents)}  # NumPy has 52 labels
            one, two, out = ([number[k] for k in part] for part in (x_labels, y_labels, out_labels))
            values = np.einsum(plain_value(x), one, plain_value(y), two, out)
            return finished(np.asarray(values), recording(x) or recording(y))
        if 0 in extents.values():
            return finished(np.zeros(shape, dtype), True)
        result = _contracted(tape, x, x_labels, y, y_labels, out_labels, extents, dtype)
        return rounded(result, dtype)


def _extents(x: Any, x_labels: Labels, y: Any, y_labels: Labels) -> dict[int, int]:
    extents: dict[int, int] = {}
    for value, labels in ((x, x_labels), (y, y_labels)):
        for label, n in zip(labels, value.shape, strict=True):
            known = extents.get(label, 1)
            if n not in (1, known) and known != 1:
                raise ShapeError(
                    f"operands of shapes {x.shape} and {y.shape} do not fit: an axis of {known} "
                    f"meets one of {n} [{core.user_line()}]"
                )
            extents[label] = n if known == 1 else known
    return extents


def _label_strides(labels: Labels, shape: Sequence[int], strides: Sequence[int]) -> dict[int, int]:
    total: dict[int, int] = {}
    for label, n, stride in zip(labels, shape, strides, strict=True):
        total[label] = total.get(label, 0) + (stride if n > 1 else 0)
    return total


def _contracted(
    tape: Recorder, x: Any, x_labels: Labels, y: Any, y_labels: Labels, out_labels: Labels,
    extents: dict[int, int], dtype: np.dtype[Any],
) -> Any:  # fmt: skip
    """Loops in the order batch, M, N, K, which is what kernels know how to run fast."""
    one, two = operand(tape, x), operand(tape, y)
    sx = _label_strides(x_labels, one.shape, one.strides)
    sy = _label_strides(y_labels, two.shape, two.strides)
    shape = tuple(extents[label] for label in out_labels)
    sz = _label_strides(out_labels, shape, contiguous(shape))
    summed = [label for label in extents if label not in sz]
    groups = [
        [label for label in out_labels if label in sx and label in sy],
        [label for label in out_labels if label in sx and label not in sy],
        [label for label in out_labels if label not in sx],
        summed,
    ]
    nests = [
        nest.collapsed(
            (extents[label], sz.get(label, 0), sx.get(label, 0), sy.get(label, 0), 0)
            for label in group
        )
        for group in groups
    ]
    if any(len(loops) > 1 for loops in nests[1:]):
        rearranged = _rearranged(x, x_labels, y, y_labels, out_labels, groups)
        if rearranged is not None:
            return rearranged
    loops = [loop for group in nests for loop in group]
    if not loops:  # a product of two numbers
        product = elementwise("multiply", x.reshape(()), y.reshape(()))
        return as_array(product).reshape(shape) if shape else product
    size = int(np.prod(shape, dtype=np.int64))
    flags = one.constant + 2 * two.constant
    words = nest.descriptor(size, loops, flags)
    slot = push_wide(tape, WIDE_CODES["dot"], one.start, two.start, words)
    return of_span(tape, slot, shape, FLOAT64 if dtype == FLOAT32 else dtype)


def _rearranged(
    x: Any, x_labels: Labels, y: Any, y_labels: Labels, out_labels: Labels, groups: list[list[int]]
) -> Any:
    """The contraction of operands copied so that rows, columns and sums are one loop each."""
    batch, rows, columns, summed = groups
    if any(len(set(labels)) < len(labels) for labels in (x_labels, y_labels)):
        return None  # a diagonal: the kernel for any nest
    if any(label not in x_labels or label not in y_labels for label in summed):
        return None
    wanted_x, wanted_y = [*batch, *rows, *summed], [*batch, *summed, *columns]
    canonical = [*batch, *rows, *columns]
    if (list(x_labels), list(y_labels), list(out_labels)) == (wanted_x, wanted_y, canonical):
        if all(not isinstance(v, Array) or v.is_whole() for v in (x, y)):
            return None  # as good as it gets
    one = _copied(x, [list(x_labels).index(label) for label in wanted_x])
    two = _copied(y, [list(y_labels).index(label) for label in wanted_y])
    product = contract(one, wanted_x, two, wanted_y, canonical)
    if list(out_labels) == canonical:
        return product
    return product.transpose([canonical.index(label) for label in out_labels])


def _copied(x: Any, order: list[int]) -> Any:
    """A transposed copy in C order."""
    if isinstance(x, Array):
        return elementwise("copy", x.transpose(order))
    return np.ascontiguousarray(np.transpose(x, order))


# --- movement -------------------------------------------------------------------------------------


def movement(function: Callable[..., Any], *args: Any, fill: float = 0.0, **kwargs: Any) -> Any:
    """Any rearrangement of elements that does not depend on their numbers.

    `function` is called on integers that stand for the elements of the recording arguments (in
    any nesting of lists), and the result is built from where they went; -1 stands for `fill`.
    Where NumPy answers with a view, so does this, and nothing is recorded.
    """
    leaves, structure = flatten((args, kwargs))
    arrays = [as_array(x) if recording(x) else None for x in leaves]
    sources = [x for x in arrays if x is not None]
    if not sources:
        return function(*args, **kwargs)
    if len(sources) == 1 and sources[0].size:
        found = _as_view(function, structure, leaves, arrays)
        if found is not None:
            return found
    offset, numbered = 0, list(leaves)
    for j, x in enumerate(arrays):
        if x is not None:
            numbered[j] = np.arange(offset, offset + x.size).reshape(x.shape)
            offset += x.size
    new_args, new_kwargs = unflatten(structure, numbered)
    index = function(*new_args, **new_kwargs)
    if isinstance(index, (list, tuple)):
        return type(index)(_assembled(sources, part, fill) for part in index)
    return _assembled(sources, np.asarray(index), fill)


def _as_view(
    function: Callable[..., Any], structure: Any, leaves: list[Any], arrays: list[Any]
) -> Any:
    """The result as a view of the only recording argument, or None."""
    (x,) = [x for x in arrays if x is not None]
    seen = [leaf if a is None else x.layout() for leaf, a in zip(leaves, arrays, strict=True)]
    args, kwargs = unflatten(structure, seen)
    try:
        result = function(*args, **kwargs)
    except (OverflowError, TypeError):  # a number that the bytes of the dummy cannot hold
        return None
    parts = result if isinstance(result, (list, tuple)) else [result]
    dummy = x.storage.dummy
    views = []
    for part in parts:
        if not isinstance(part, np.ndarray) or part.dtype != np.int8 or not part.size:
            return None
        if not np.may_share_memory(part, dummy):
            return None
        views.append(x.seen_as(part))
    return type(result)(views) if isinstance(result, (list, tuple)) else views[0]


def _assembled(sources: list[Array], index: np.ndarray, fill: float) -> Any:
    """A new array whose elements are those of the sources, one after the other, at `index`."""
    dtype = np.result_type(*[x.dtype for x in sources])
    with core.growth:
        tape = on_tape(*sources)
        if tape is None or not index.size:
            flat = np.concatenate([*[x.value.ravel() for x in sources], [fill]]).astype(dtype)
            return finished(np.asarray(flat[index]), True)
        entries = np.concatenate([
            *[entries_of(tape, x) for x in sources], [-1 - tape.constant(fill)]
        ])[index]  # fmt: skip
        if entries.size == 1 and entries.flat[0] >= 0:
            return of_span(tape, int(entries.flat[0]), index.shape, dtype)
        return of_span(tape, collected(tape, entries), index.shape, dtype)


def stacked(x: Any) -> Array:
    """Nested lists that hold recording values, as an array; in one instruction."""
    values: list[Array] = []
    used = 0

    def numbered(item: Any) -> Any:
        nonlocal used
        if isinstance(item, (list, tuple)):
            return [numbered(v) for v in item]
        part = as_array(item)
        values.append(part)
        used += part.size
        return np.arange(used - part.size, used).reshape(part.shape).tolist()

    try:
        places = np.array(numbered(x), np.int64)
    except ValueError:
        raise ShapeError(
            f"nested lists of unequal shapes cannot become one array [{core.user_line()}]"
        ) from None
    return as_array(_assembled(values, places, 0.0))


# --- places that are recorded ---------------------------------------------------------------------


def take_flat(x: Any, index: Any) -> Any:
    """`x.ravel()[index]` for integers that are recorded or not; no negative places."""
    x, shape = as_array(x), shape_of(index)
    if not recording(index) or not moves(index):
        return _assembled([x], np.asarray(plain_value(index)).astype(np.int64), 0.0)
    index = as_array(index)
    with core.growth:
        tape = on_tape(x, index)
        if tape is None:
            return computed(lambda a, i: a.ravel()[i], x, index)
        if not index.size:
            return finished(np.zeros(shape, x.dtype), True)
        start, x_constant = in_order(tape, x)
        at, y_constant = in_order(tape, index)
        flags = x_constant + 2 * y_constant
        words = nest.descriptor(index.size, (), flags, kind_word=x.size)
        slot = push_wide(tape, WIDE_CODES["gather"], start, at, words)
        tape.work.catch_up()  # an index that lies outside is an error of this line
        return of_span(tape, slot, shape, x.dtype)


def scatter_add_flat(x: Any, index: Any, v: Any) -> Any:
    """A copy of the vector x with v added at the places `index`, which may repeat."""
    x, index, v = as_array(x), as_array(index), as_array(v)
    with core.growth:
        tape = on_tape(x, index, v)
        if tape is None:
            return computed(_added_at, x, index, v)
        if not index.size or not x.size:
            return x.copy()
        start, x_constant = in_order(tape, x)
        at, y_constant = in_order(tape, index)
        u, u_constant = in_order(tape, v)
        flags = x_constant + 2 * y_constant + 4 * u_constant
        words = nest.descriptor(x.size, (), flags, u=u, kind_word=index.size)
        slot = push_wide(tape, WIDE_CODES["scatter_add"], start, at, words)
        tape.work.catch_up()
        result = of_span(tape, slot, x.shape, FLOAT64 if x.dtype == FLOAT32 else x.dtype)
        return rounded(result, x.dtype)


def _added_at(x: np.ndarray, index: np.ndarray, v: np.ndarray) -> np.ndarray:
    x = x.copy()
    np.add.at(x, index, v)
    return x


core_functions["stacked"] = stacked
core_functions["stop"] = lambda x: as_array(elementwise("stop", x))
core_functions["copied"] = lambda x: as_array(elementwise("copy", x))
