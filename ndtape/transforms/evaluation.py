"""One evaluation of a function, made to be differentiated: what all transforms begin with.

The differentiated arguments become fresh variables of a tape, and the function is recorded: at the
outermost level on a tape of its own, which sweeps then turn into numbers; where recording values
flow in (an enclosing transform, or leaves), on the tape of those, so that the derivative is
recorded as well and transforms nest to any order.  Nothing can be confused between levels, because
all of them are on one tape and each has variables of its own.

A traced function (`nt.function`) at the outermost level is not recorded again: its class offers
`evaluate`, which lends a tape that is already swept.  A compiled one (`nt.jit`) offers
`first_order`, which lends a tape that knows first derivatives only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..ops import ROWS
from ..record import core
from ..record.adjoint import recorded_gradient
from ..record.arrays import Array, as_array, moves, normal, of_span, private, storages
from ..record.backward import reached_inputs
from ..record.core import Recorder, recording_on
from ..record.elementwise import elementwise
from ..record.lifetime import common_tape
from ..record.operators import apply
from ..record.values import Boolean, Integer, Result, Var, as_number, result
from ..trees import flatten, unflatten

Argnums = int | Sequence[int]
NO_SLOTS = np.zeros(0, np.int64)
HINTS = {tuple: "; a pair (value, aux) needs has_aux=True", type(None): ": has it a return?"}


class Evaluation:
    """`f(*args, **kwargs)`, recorded, with the arguments `argnums` as variables.

    `tape` and `work` hold the program and its numbers, `variables` has a recording value for each
    leaf of the chosen arguments, `y` is the result and `aux` what came with it.  `alone` keeps
    the evaluation apart from whatever surrounds it, `inline` keeps a traced function from lending
    its tape.
    """

    offers: tuple[str, ...] = (
        "evaluate",
    )  # methods of a function's class that lend a tape: the first it has

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
        self.single = isinstance(argnums, int)
        self.paused = not core.recording()  # inside no_grad: plain numbers come out
        self.aux: Any = None
        positions = positions_of(argnums, len(args))
        numbers, self.structure = flatten(tuple([args[i] for i in positions]))
        self.outermost = alone or not (core.transform_depth.get() or any(map(moves, numbers)))
        self.lent = None
        if self.outermost and not inline:
            offered = next((name for name in self.offers if hasattr(type(f), name)), None)
            if offered is not None and not any(map(moves, flatten((args, kwargs))[0])):
                self.lent = getattr(f, offered)(args, kwargs, positions)
        if self.lent is None:
            self._record(f, args, kwargs, positions, numbers)
        else:
            self.tape, self.work = self.lent.tape, self.lent.work
            self.variables, self.y = self.lent.variables, self.lent.y
        if has_aux:
            self.y, self.aux = _pair(self.y)

    def _record(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        positions: tuple[int, ...],
        numbers: list[Any],
    ) -> None:
        tape = Recorder() if self.outermost else common_tape(storages(filter_moving(numbers)))
        with recording_on(tape):
            self.variables = [variable(tape, x) for x in numbers]
            # f may write into its arrays: it gets them over storages of their own.
            given = [private(x) if isinstance(x, Array) else x for x in self.variables]
            trees = unflatten(self.structure, given)
            full = list(args)
            for i, tree in zip(positions, trees, strict=True):
                full[i] = tree
            try:
                self.y = f(*full, **kwargs)
            except (TypeError, AttributeError) as error:
                _note_on_lists(error)
                raise
        self.tape = core.destination(tape)  # f may have met another tape
        self.work = self.tape.work
        self.met_others = self.tape is not tape or bool(tape.absorbed)

    def follow(self) -> None:
        """The tape has met another one and was joined to it: everything is there now."""
        self.tape = core.destination(self.tape)
        self.work = self.tape.work

    def release(self) -> None:
        """Give back the tape that a traced function has lent: its numbers have been read."""
        if self.lent is not None:
            self.lent.release()

    # --- what comes out -------------------------------------------------------------------------

    def is_numeric(self, roots: Callable[[], Sequence[int] | np.ndarray]) -> bool:
        """Whether plain numbers come out for results in the slots that `roots` names.

        Not so inside another transform, or where a leaf of the user went into them.
        """
        if self.paused or self.lent is not None:
            return True
        if not self.outermost or all(leaf is None for _, leaf in self.tape.inputs):
            return self.outermost
        mark = self.work.reach(roots())
        return all(leaf is None for _, leaf in reached_inputs(self.tape, mark))

    def is_here(self, y: Any) -> bool:
        """Whether y is on the tape of this evaluation, and so may depend on the variables."""
        if self.tape.joined is not None:
            self.follow()
        where = y.storage if isinstance(y, Array) else y
        tape = getattr(where, "tape", None)
        if tape is self.tape:
            return True
        if self.lent is not None or not isinstance(tape, Recorder):
            return False
        core.resolve(where)
        return where.tape is self.tape

    def plain(self, x: Any) -> Any:
        """The numbers of a leaf of a result: what depends on no leaf of the user."""
        if not isinstance(x, (Array, Var)):
            return x
        if not self.is_here(x):
            return x if x.needs_grad and not self.paused else x.value
        slots, constants = slots_of(x)
        if not self.is_numeric(lambda: slots[slots >= 0]):
            return x
        return self.numbers(x, slots, constants)

    def numbers(self, x: Any, slots: np.ndarray, constants: Any = 0.0) -> Any:
        """Plain values of a recording value on the tape of this evaluation."""
        v = self.values()
        if not isinstance(x, Array):
            number = float(v[slots[0]])
            return bool(number) if isinstance(x, Boolean) else int(number) if isinstance(
                x, Integer
            ) else number  # fmt: skip
        found = v[slots] if slots.min(initial=0) >= 0 else np.where(slots < 0, constants, v[slots])
        return found.reshape(x.shape).astype(x.dtype)

    def plain_tree(self, tree: Any) -> Any:
        """A tree of anything, its recording values as plain numbers at the outermost level."""
        if tree is None or not (self.outermost or self.paused):
            return tree
        leaves, structure = flatten(tree)
        return unflatten(structure, [self.plain(x) for x in leaves])

    def values(self) -> np.ndarray:
        """The buffer of values, after a forward sweep over what is new."""
        if self.work.swept < self.tape.base + self.tape.n:
            self.work.forward()
        v: np.ndarray = self.work.array("v")
        return v

    # --- variables ------------------------------------------------------------------------------

    def zeros(self) -> list[Any]:
        """A zero of the shape and dtype of each variable."""
        return [np.zeros(x.shape, x.dtype) if isinstance(x, Array) else 0.0 for x in self.variables]

    def read(self, buffer: np.ndarray) -> list[Any]:
        """What a buffer of a sweep holds for the variables."""
        return [part_of(buffer, x) for x in self.variables]

    def shaped(self, flat: list[Any]) -> Any:
        """One value for each variable as the tree that the chosen arguments are."""
        trees = unflatten(self.structure, flat)
        return trees[0] if self.single else tuple(trees)

    def recorded(self, y: Any) -> list[Any]:
        """Derivatives of a scalar result with respect to the variables, as recorded values."""
        if not isinstance(y, Result) or not self.is_here(y):
            return self.zeros()
        placed = [x for x in self.variables if first_slot(x) >= 0]
        with recording_on(self.tape):
            found = iter(recorded_gradient(y, placed) if placed else [])
        zeros = self.zeros()
        return [next(found) if first_slot(x) >= 0 else zero
                for x, zero in zip(self.variables, zeros, strict=True)]  # fmt: skip

    def directions(self, tree: Any, what: str = "tangents", of: str = "primals") -> list[Any]:
        """One plain array or recording value for each variable, from a tree like the arguments."""
        leaves, structure = flatten(tuple(tree))
        if structure != self.structure:
            raise ArgumentError(
                f"{what} must have the structure of {of}, {self.structure}, not {structure}"
            )
        return [matching(t, shape_of(x), f"one of the {what}", "its argument")
                for t, x in zip(leaves, self.variables, strict=True)]  # fmt: skip

    def input_slots(self) -> np.ndarray:
        """The slot of every element of the variables."""
        spans = [np.arange(first_slot(x), first_slot(x) + size_of(x)) for x in self.variables]
        return np.concatenate([NO_SLOTS, *spans])

    def scalar(self) -> Any:
        """The result as a scalar; raises `ArgumentError` for anything else."""
        y = self.y
        if isinstance(y, Array) and not y.shape:
            y = y[()]
        if isinstance(y, Array):
            raise ArgumentError(
                f"the function must return a scalar, not an array of shape {y.shape}; "
                "nt.jacobian differentiates arrays"
            )
        if not isinstance(y, Var):
            try:
                y = as_number(y)
            except TypeError:
                hint = HINTS.get(type(y), "")
                raise ArgumentError(
                    f"the function must return a scalar, not {type(y).__name__}{hint}"
                ) from None
        return y


def _note_on_lists(error: Exception) -> None:
    """Newcomers meet this one: Python says that a list cannot do what an array can."""
    if "'list'" in str(error) and hasattr(error, "add_note"):  # from Python 3.11 on
        error.add_note(
            "ndtape: a list among the arguments is a tree of numbers, as in JAX, and no array; "
            "pass np.array(...) for one"
        )


# --- arguments ------------------------------------------------------------------------------------


def positions_of(argnums: Argnums, count: int) -> tuple[int, ...]:
    """`argnums` as positions, none negative; raises `ArgumentError` where they do not fit."""
    positions = tuple(argnums) if isinstance(argnums, (tuple, list)) else (argnums,)
    if not all(isinstance(i, int) for i in positions):
        raise ArgumentError(f"argnums must be whole numbers, not {argnums!r}")
    wrapped = tuple([i + count if i < 0 else i for i in positions])
    if not all(0 <= i < count for i in wrapped) or len(set(wrapped)) < len(wrapped):
        raise ArgumentError(f"argnums={argnums} does not fit {count} positional arguments")
    return wrapped


def filter_moving(values: Iterable[Any]) -> list[Any]:
    return [x for x in values if moves(x)]


def variable(tape: Recorder, x: Any) -> Any:
    """A fresh name for an argument: derivatives are taken with respect to it alone."""
    if isinstance(x, Array) and x.needs_grad and x.size:
        return elementwise("copy", x) if x.shape else as_array(elementwise("copy", x))
    if isinstance(x, Var) and x.needs_grad:
        copied = apply(ROWS["copy"], x)
        assert isinstance(copied, Var)
        return copied
    if isinstance(x, (np.ndarray, Array)) and np.ndim(x.value if isinstance(x, Array) else x):
        array = normal(x.value if isinstance(x, Array) else x)
        dtype = array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
        if not array.size:
            return as_array(array.astype(dtype))
        with core.growth:
            slot = tape.add_input(array.astype(np.float64).ravel())
            fresh = of_span(tape, slot, array.shape, dtype)
        return fresh
    number = x.value if isinstance(x, (Var, Array)) else as_number(x)
    with core.growth:
        return result(tape, tape.add_input(float(number)))


def primals_of(primals: Any, tangents: Any = ()) -> tuple[Any, ...]:
    """The tuple of arguments; raises `ArgumentError` unless both are tuples or lists."""
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise ArgumentError(
                f"{name} must be a tuple with one entry for each argument of f, such as (x,), not "
                f"{type(given).__name__}"
            )
    return tuple(primals)


def matching(x: Any, shape: tuple[int, ...], what: str, of: str) -> Any:
    """A tangent or cotangent: a float64 array, or a recording value, of a given shape."""
    if moves(x):
        found = shape_of(x)
    else:
        x = x.value if isinstance(x, (Array, Var)) else x
        x = np.asarray(as_number(x) if np.ndim(x) == 0 else normal(x), np.float64)
        found = x.shape
    if found != shape:
        raise ShapeError(f"{what} has shape {found}, {of} {shape}")
    return x


def _pair(y: Any) -> tuple[Any, Any]:
    if not (isinstance(y, (tuple, list)) and len(y) == 2):
        raise ArgumentError(
            "with has_aux=True the function must return a pair (value, aux), not "
            f"{type(y).__name__}"
        )
    return y[0], y[1]


# --- where recording values lie -------------------------------------------------------------------


def shape_of(x: Any) -> tuple[int, ...]:
    return x.shape if isinstance(x, Array) else ()


def size_of(x: Any) -> int:
    return math.prod(x.shape) if isinstance(x, Array) else 1


def first_slot(x: Any) -> int:
    """Where a variable begins on its tape; -1 for one without elements."""
    where = x.storage if isinstance(x, Array) else x
    if where.tape is None:
        return -1
    if isinstance(where.tape, Recorder):
        core.resolve(where)
    return where.slot


def slots_of(x: Any) -> tuple[np.ndarray, Any]:
    """The slot of each element of a value on a tape, -1 for constants, and their numbers."""
    if not isinstance(x, Array):
        return np.array([x.slot]), 0.0
    storage = x.storage
    if storage.map is None:
        if x.is_whole():
            return np.arange(storage.slot, storage.slot + storage.size), 0.0
        return (storage.slot + x.places()).ravel(), 0.0
    slots = storage.map[x.places()].ravel()
    if slots.min(initial=0) >= 0:
        return slots, 0.0
    numbers = storage.tape.constants[np.where(slots < 0, -1 - slots, 0)]
    return np.maximum(slots, -1), numbers


def part_of(buffer: np.ndarray, x: Any) -> Any:
    """The entries of a buffer that belong to a variable, as a float or an array."""
    start = first_slot(x)
    if not isinstance(x, Array):
        return float(buffer[start])
    if start < 0:
        return np.zeros(x.shape, x.dtype)
    return buffer[start : start + x.size].reshape(x.shape).astype(x.dtype)
