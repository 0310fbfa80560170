"""`grad` and its relatives, for functions of scalars and arrays in trees of containers.

A transform records the function afresh.  At the outermost level a sweep gives numbers.  Where other
recording values flow in (an enclosing transform, or leaves that the function captures), the
derivative is itself recorded on the same tape, so that transforms nest to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from .errors import ArgumentError, ShapeError
from .ops import ROWS
from .record import core
from .record.adjoint import recorded_gradient
from .record.arrays import Array, as_array, moves, normal, of_span, private, storages
from .record.backward import reached_inputs
from .record.core import Recorder, recording_on
from .record.elementwise import elementwise
from .record.lifetime import common_tape
from .record.operators import apply
from .record.values import Result, Var, as_number, result
from .trees import flatten, unflatten

Argnums = int | Sequence[int]


def value_and_grad(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """`value_and_grad(f)(*args)` is `(f(*args), gradient)`.

    Both are plain numbers, unless recording values go in (arguments or leaves that `f` captures):
    then both are recording values, so that derivatives nest.  Under `no_grad` always numbers.

    `f` takes scalars and arrays, or nested lists, tuples and dicts of them, and returns a scalar.
    `argnums` says which positional arguments are differentiated: the gradient has the structure of
    that argument, or is a tuple of such for several.  Raises `ArgumentError` where the result is no
    scalar or `argnums` does not fit, `UnsupportedError` where an argument holds no real numbers.

    >>> import ndtape as nt
    >>> nt.value_and_grad(lambda p: p["a"] * p["b"] ** 2)({"a": 2.0, "b": 3.0})
    (18.0, {'a': 9.0, 'b': 12.0})
    """

    @wraps(f)
    def transformed(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        call = _Call(f, args, kwargs, argnums)
        return call.value_and_gradient()

    return transformed


def grad(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """`grad(f)(*args)` is the gradient of the scalar function `f`; see `value_and_grad`.

    >>> import ndtape as nt
    >>> nt.grad(lambda x: x**3)(2.0)
    12.0
    >>> nt.grad(nt.grad(lambda x: x**3))(2.0)
    12.0
    >>> import numpy as np
    >>> nt.grad(lambda x: np.sum(x**3))(np.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    both = value_and_grad(f, argnums)

    @wraps(f)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return transformed


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Hessian of `f` at `primals` times `tangents`: (value, gradient, product).

    One forward, one tangent and one forward-over-reverse sweep.  `primals` and `tangents` are
    tuples with one tree for each argument of `f`; so are gradient and product.  At the outermost
    level only: inside another transform use `grad(grad(f))`.

    >>> import ndtape as nt
    >>> nt.hvp(lambda x, y: x * x * y, (3.0, 2.0), (1.0, 0.0))
    (18.0, (12.0, 9.0), (4.0, 6.0))
    """
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise ArgumentError(f"{name} must be a tuple with one entry for each argument of f")
    call = _Call(f, tuple(primals), {}, tuple(range(len(primals))))
    call.check_scalar()
    return call.second_order(call.seeds_for(tangents, "tangents", "primals"))


class _Call:
    """One evaluation of a transform: arguments made recording, the function recorded."""

    def __init__(
        self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Argnums
    ) -> None:
        self.single = isinstance(argnums, int)
        self.paused = not core.recording()  # inside no_grad: plain numbers come out
        positions = _positions(argnums, len(args))
        chosen = tuple(args[i] for i in positions)
        numbers, self.structure = flatten(chosen)
        self.tape, self.outermost = _tape_for(numbers)
        with recording_on(self.tape):
            self.variables = [_variable(self.tape, x) for x in numbers]
            # f may write into its arrays: it gets them over storages of their own.
            given = [private(x) if isinstance(x, Array) else x for x in self.variables]
            trees = unflatten(self.structure, given)
            full = list(args)
            for i, tree in zip(positions, trees, strict=True):
                full[i] = tree
            self.y = f(*full, **kwargs)

    def check_scalar(self) -> None:
        """The result as a scalar; raises `ArgumentError` for anything else."""
        if isinstance(self.y, Array) and not self.y.shape:
            self.y = self.y[()]
        if isinstance(self.y, Array):
            raise ArgumentError(
                f"the function must return a scalar, not an array of shape {self.y.shape}; "
                "nt.jacobian differentiates arrays"
            )
        if not isinstance(self.y, Var):
            try:
                self.y = as_number(self.y)
            except TypeError:
                raise ArgumentError(
                    f"the function must return a scalar, not {type(self.y).__name__}"
                ) from None

    def seeds_for(self, tree: Any, what: str, of: str) -> list[np.ndarray]:
        """One plain array for each variable, from a tree with the structure of the arguments."""
        seeds, structure = flatten(tuple(tree))
        if structure != self.structure:
            raise ArgumentError(f"{what} must have the structure of {of}")
        numbers = [np.asarray(as_number(t) if np.ndim(t) == 0 else normal(t), float) for t in seeds]
        for seed, x in zip(numbers, self.variables, strict=True):
            shape = x.shape if isinstance(x, Array) else ()
            if seed.shape != shape:
                raise ShapeError(f"one of the {what} has shape {seed.shape}, its argument {shape}")
        return numbers

    def is_independent(self, tape: Recorder, roots: Sequence[int]) -> bool:
        """No leaf of the user went into the result: plain numbers may come out."""
        if not self.outermost or all(leaf is None for _, leaf in tape.inputs):
            return self.outermost
        mark = tape.work.reach(roots)
        return all(leaf is None for _, leaf in reached_inputs(tape, mark))

    def _here(self, y: Any) -> bool:
        """Whether y is a result on the tape of this call, and so may depend on the arguments."""
        if not isinstance(y, Result):
            return False
        core.resolve(y)
        return y.tape is core.destination(self.tape)

    def value_and_gradient(self) -> tuple[Any, Any]:
        self.check_scalar()
        y = self.y
        if not self._here(y):
            constant = isinstance(y, Var) and (self.paused or not y.needs_grad)
            return (y.value if constant else y), self._shaped(self.zeros())
        if not (self.paused or self.is_independent(y.tape, [y.slot])):
            return y, self._shaped(self.recorded(y))
        work = y.tape.work
        g = work.gradient(y.slot)
        return work.value(y.slot), self._shaped(self.read(g))

    def recorded(self, y: Result) -> list[Any]:
        with recording_on(y.tape):
            return recorded_gradient(y, self.variables)

    def zeros(self) -> list[Any]:
        return [np.zeros(x.shape) if isinstance(x, Array) else 0.0 for x in self.variables]

    def read(self, buffer: np.ndarray) -> list[Any]:
        """What a buffer of a sweep holds for the variables."""
        return [part_of(buffer, x) for x in self.variables]

    def _shaped(self, flat: list[Any]) -> Any:
        trees = unflatten(self.structure, flat)
        return trees[0] if self.single else tuple(trees)

    def second_order(self, seeds: list[np.ndarray]) -> tuple[Any, Any, Any]:
        y = self.y
        if not self._here(y):
            zeros = self._shaped(self.zeros())
            return (y.value if isinstance(y, Var) else y), zeros, zeros
        if not (self.paused or self.is_independent(y.tape, [y.slot])):
            raise ArgumentError(
                "nt.hvp of a function that captures or receives recording values: call it under "
                "nt.no_grad() to take them as constants, or use nt.grad(nt.grad(f))"
            )
        work = y.tape.work
        g, h = work.second(y.slot, self.slot_seeds(seeds))
        return work.value(y.slot), self._shaped(self.read(g)), self._shaped(self.read(h))

    def slot_seeds(self, seeds: list[np.ndarray]) -> dict[int, float]:
        """Tangents of the variables by slot."""
        found: dict[int, float] = {}
        for x, seed in zip(self.variables, seeds, strict=True):
            start = first_slot(x)
            found.update(zip(range(start, start + seed.size), seed.ravel().tolist(), strict=True))
        return found


def first_slot(x: Any) -> int:
    """Where a variable begins on its tape; -1 for one without elements."""
    if not isinstance(x, Array):
        core.resolve(x)
        return x.slot  # type: ignore[no-any-return]
    if x.storage.tape is None:
        return -1
    core.resolve(x.storage)
    return x.storage.slot


def part_of(buffer: np.ndarray, x: Any) -> Any:
    """The entries of a buffer that belong to a variable, as a float or an array."""
    start = first_slot(x)
    if not isinstance(x, Array):
        return float(buffer[start])
    if start < 0:
        return np.zeros(x.shape, x.dtype)
    return buffer[start : start + x.size].reshape(x.shape).astype(x.dtype)


def _positions(argnums: Argnums, count: int) -> tuple[int, ...]:
    positions = tuple(argnums) if isinstance(argnums, (tuple, list)) else (argnums,)
    if not all(isinstance(i, int) for i in positions):
        raise ArgumentError(f"argnums must be whole numbers, not {argnums!r}")
    wrapped = tuple(i + count if i < 0 else i for i in positions)
    if not all(0 <= i < count for i in wrapped) or len(set(wrapped)) < len(wrapped):
        raise ArgumentError(f"argnums={argnums} does not fit {count} positional arguments")
    return wrapped


def _tape_for(values: list[Any]) -> tuple[Recorder, bool]:
    """The tape to record on, and whether this is the outermost transform."""
    if core.transform_depth.get() or any(map(moves, values)):
        return common_tape(storages([x for x in values if moves(x)])), False
    return Recorder(), True


def _variable(tape: Recorder, x: Any) -> Any:
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
