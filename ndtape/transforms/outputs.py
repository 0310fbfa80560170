"""Evaluations of functions whose result is a tree of scalars and arrays.

Such a result has derivatives in two directions: `push` carries tangents of the arguments to those
of the results (forward mode, J t), `pull` carries cotangents of the results to adjoints of the
arguments (reverse mode, Jᵀ w).  Each is a sweep where numbers are wanted, and recorded elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..record.arrays import FLOAT64, Array, moves, normal, private
from ..record.core import recording_on
from ..record.elementwise import elementwise
from ..record.values import FUNCTIONS, Var
from ..record.wide import reduce, stacked
from ..trees import flatten, unflatten
from .directions import adjoint, adjoints, tangent, tangents
from .evaluation import NO_SLOTS, Argnums, Evaluation, matching, shape_of, size_of, slots_of
from .tangents import recorded_tangents


class Output:
    """One scalar or array of a result, and where its elements lie."""

    __slots__ = ("x", "shape", "size", "dtype", "slots", "constants")

    def __init__(self, evaluation: Evaluation, x: Any) -> None:
        if not isinstance(x, (Array, Var)):
            x = _plain_result(x)
        self.x = x
        self.shape: tuple[int, ...] = getattr(x, "shape", ())
        self.dtype: np.dtype[Any] = getattr(x, "dtype", FLOAT64)
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.slots: np.ndarray | None = None  # of each element, -1 for constants; None: nowhere
        self.constants: Any = 0.0
        if self.size and evaluation.is_here(x):
            self.slots, self.constants = slots_of(x)

    @property
    def smooth_dtype(self) -> np.dtype[Any]:
        """The dtype of tangents and cotangents: integers and booleans have those of float64."""
        return self.dtype if self.dtype.kind == "f" else FLOAT64


def _plain_result(x: Any) -> Any:
    """A constant of a result, as it is; raises `ArgumentError` for what is no number."""
    if isinstance(x, (float, int, bool)):
        return x
    try:
        array = normal(x)
    except TypeError as error:
        raise ArgumentError(
            f"the function must return numbers, arrays, or trees of them, not {type(x).__name__}; "
            f"has_aux=True passes anything else through ({error})"
        ) from None
    return array if array.shape else x


class VectorEvaluation(Evaluation):
    """An evaluation of a function that returns a tree of scalars and arrays."""

    offers = ("evaluate", "first_order")

    def __init__(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        argnums: Argnums,
        has_aux: bool = False,
        inline: bool = False,
        alone: bool = False,
    ) -> None:
        super().__init__(f, args, kwargs, argnums, has_aux, inline, alone)
        leaves, self.result_structure = flatten(self.y)
        self.outputs = [Output(self, x) for x in leaves]
        self.numeric = self.is_numeric(self.roots)

    def roots(self) -> np.ndarray:
        """All slots that results lie in."""
        places = self.places()
        return places[places >= 0]

    def places(self) -> np.ndarray:
        """The slot of every element of the outputs, -1 where it is constant."""
        found = [np.full(o.size, -1) if o.slots is None else o.slots for o in self.outputs]
        return np.concatenate([NO_SLOTS, *found])

    def like_result(self, leaves: Sequence[Any]) -> Any:
        """One value for each output as the tree that f returned."""
        return unflatten(self.result_structure, list(leaves))

    def value(self) -> Any:
        """f(*args): plain numbers at the outermost level, recording values inside another."""
        return self.like_result([self._value(o) for o in self.outputs])

    def _value(self, o: Output) -> Any:
        if not self.numeric:  # what is written into the value is not for the pullback
            return private(o.x) if isinstance(o.x, Array) and o.slots is not None else o.x
        if o.slots is not None:
            return self.numbers(o.x, o.slots, o.constants)
        if isinstance(o.x, (Array, Var)):
            return o.x if o.x.needs_grad and not self.paused else o.x.value
        return o.x

    def follow(self) -> None:
        super().follow()
        self.outputs = [Output(self, o.x) for o in self.outputs]

    # --- forward mode ---------------------------------------------------------------------------

    def push(self, along: Sequence[Any]) -> list[Any]:
        """Tangents of the outputs for tangents of the variables: J t."""
        if self.tape.joined is not None:
            self.follow()
        if self.numeric and not any(map(moves, along)):
            numbers = np.concatenate([np.zeros(0), *map(np.ravel, along)])
            t = tangent(self, self.input_slots(), numbers)
            return [self._tangent(t, o) for o in self.outputs]
        with recording_on(self.tape):
            found = recorded_tangents(self.variables, along, [o.x for o in self.outputs])
        return [self.zero(o) if t is None else t
                for o, t in zip(self.outputs, found, strict=True)]  # fmt: skip

    def _tangent(self, t: np.ndarray, o: Output) -> Any:
        found = self.flat_tangent(t, o)
        return found.reshape(o.shape).astype(o.smooth_dtype) if o.shape else found.item()

    def flat_tangent(self, t: np.ndarray, o: Output) -> np.ndarray:
        """What the buffer of a tangent sweep holds for an output."""
        if o.slots is None:
            return np.zeros(o.size)
        found: np.ndarray = np.where(o.slots < 0, 0.0, t[o.slots])
        return found

    def zero(self, o: Output) -> Any:
        return np.zeros(o.shape, o.smooth_dtype) if o.shape else 0.0

    # --- reverse mode ---------------------------------------------------------------------------

    def cotangents(self, tree: Any) -> list[Any]:
        """One plain array or recording value for each output, from a tree like the result."""
        leaves, structure = flatten(tree)
        if structure != self.result_structure:
            raise ArgumentError(
                "a cotangent must have the structure of the value, "
                f"{self.result_structure}, not {structure}"
            )
        return [matching(w, o.shape, "a cotangent", "its value")
                for w, o in zip(leaves, self.outputs, strict=True)]  # fmt: skip

    def pull(self, cotangents: Sequence[Any]) -> list[Any]:
        """Adjoints of the variables for cotangents of the outputs: Jᵀ w."""
        if self.tape.joined is not None:
            self.follow()
        if self.numeric and not any(map(moves, cotangents)):
            return self._swept(cotangents)
        return self.recorded(self.paired(cotangents))

    def _swept(self, cotangents: Sequence[np.ndarray]) -> list[Any]:
        places = self.places()
        known = places >= 0
        if not known.any():
            return self.zeros()
        numbers = np.concatenate([*map(np.ravel, cotangents)])
        return self.read(adjoint(self, places[known], numbers[known]))

    def paired(self, cotangents: Sequence[Any]) -> Any:
        """A scalar, recorded, whose derivatives are the adjoints for the cotangents w.

        <w, f> would not do: w may itself depend on the variables, through the value.
        """
        with recording_on(self.tape):
            total: Any = 0.0
            for o, w in zip(self.outputs, cotangents, strict=True):
                if o.slots is not None:
                    total = total + summed(elementwise("attach", o.x, FUNCTIONS["stop"](o.x), w))
        return total

    # --- whole matrices -------------------------------------------------------------------------

    def jacobian(self, by_columns: bool | None = None) -> Any:
        """The tree of Jacobians: outer tree of the result, inner of the chosen arguments.

        By columns one forward derivative an input element, by rows one reverse derivative an output
        element; None chooses what is less.
        """
        columns, rows = sum(map(size_of, self.variables)), sum(o.size for o in self.outputs)
        forward = columns < rows if by_columns is None else by_columns
        if not self.numeric:
            blocks = self._recorded_columns() if forward else self._recorded_rows()
            return self._tree_of(blocks)
        matrix = self._columns(rows, columns) if forward else self._rows(rows, columns)
        return self._tree_of(self._split(matrix))

    def _tree_of(self, blocks: list[list[Any]]) -> Any:
        """Blocks [output][variable] as the outer and inner trees."""
        return self.like_result([self.shaped(row) for row in blocks])

    def _rows(self, rows: int, columns: int) -> np.ndarray:
        matrix = np.zeros((rows, columns))
        places, inputs = self.places(), self.input_slots()
        known = np.flatnonzero(places >= 0)

        def take(group: slice, g: np.ndarray) -> None:
            matrix[known[group]] = g[inputs].T

        adjoints(self, places[known], take)
        return matrix

    def _columns(self, rows: int, columns: int) -> np.ndarray:
        matrix = np.zeros((rows, columns))
        places = self.places()
        known = np.flatnonzero(places >= 0)

        def take(group: slice, t: np.ndarray) -> None:
            matrix[known, group] = t[places[known]]

        tangents(self, self.input_slots(), take)
        return matrix

    def _split(self, matrix: np.ndarray) -> list[list[Any]]:
        """The matrix of all derivatives as blocks [output][variable] of the shapes of both."""
        blocks, row = [], 0
        for o in self.outputs:
            line, column = [], 0
            for x in self.variables:
                size = size_of(x)
                part = matrix[row : row + o.size, column : column + size]
                line.append(block_of(part, o, x))
                column += size
            blocks.append(line)
            row += o.size
        return blocks

    def _recorded_rows(self) -> list[list[Any]]:
        """One recorded reverse walk an element of the result."""
        blocks = []
        for o in self.outputs:
            ys = [] if o.slots is None else elements(o.x)
            with recording_on(self.tape):
                rows = [self.recorded(y) for y in ys] or [self.zeros()] * o.size
                blocks.append([
                    joined([row[j] for row in rows], o.shape, shape_of(x))
                    for j, x in enumerate(self.variables)
                ])  # fmt: skip
        return blocks

    def _recorded_columns(self) -> list[list[Any]]:
        """One recorded tangent walk an element of the arguments."""
        zeros = [np.zeros(shape_of(x)) for x in self.variables]
        found: list[list[Any]] = [[] for _ in self.outputs]
        for j, x in enumerate(self.variables):
            columns = []
            for k in range(size_of(x)):
                unit = np.zeros(size_of(x))
                unit[k] = 1.0
                columns.append(self.push([*zeros[:j], unit.reshape(shape_of(x)), *zeros[j + 1 :]]))
            with recording_on(self.tape):
                for i, o in enumerate(self.outputs):
                    block = joined([column[i] for column in columns], shape_of(x), o.shape)
                    found[i].append(_swapped(block, len(shape_of(x)), o.shape))
        return found


def block_of(part: np.ndarray, one: Any, other: Any) -> Any:
    """A block of a Jacobian of two outputs or variables: an array of both shapes, or a float."""
    shape = one.shape if hasattr(one, "shape") else ()
    shape += shape_of(other)
    if not shape:
        return part.item()
    dtypes = [getattr(x, "smooth_dtype", None) or x.dtype for x in (one, other)
              if getattr(x, "shape", ())]  # fmt: skip
    return part.reshape(shape).astype(np.result_type(*dtypes))


def summed(x: Any) -> Any:
    """The sum of all elements of a recording value, a scalar."""
    if not isinstance(x, Array):
        return x
    return reduce("sum", x, tuple(range(x.ndim))) if x.shape else x[()]


def elements(x: Any) -> list[Any]:
    """The elements of a value as scalars."""
    if not isinstance(x, (Array, np.ndarray)):
        return [x]
    flat = x.reshape((x.size,))
    return [flat[i] for i in range(x.size)]


def joined(parts: list[Any], shape: tuple[int, ...], inner_shape: tuple[int, ...]) -> Any:
    """Values of `inner_shape`, as many as `shape` has places, as one array of both shapes."""
    if not shape:
        return parts[0]
    if not any(map(moves, parts)):
        return np.array([x.value if isinstance(x, (Array, Var)) else x for x in parts], np.float64
                        ).reshape(shape + inner_shape)  # fmt: skip
    return stacked(parts).reshape(shape + inner_shape)


def _swapped(block: Any, axes: int, shape: tuple[int, ...]) -> Any:
    """A block with the axes of the argument in front, as one with those of the result in front."""
    if not axes or not shape:
        return block
    order = [*range(axes, axes + len(shape)), *range(axes)]
    return block.transpose(order)
