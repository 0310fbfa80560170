"""`grad` and its relatives, for functions of scalars in trees of lists, tuples and dicts.

A transform records the function afresh.  At the outermost level a sweep gives numbers.  Where other
recording values flow in (an enclosing transform, or leaves that the function captures), the
derivative is itself recorded on the same tape, so that transforms nest to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from .errors import ArgumentError
from .ops import ROWS
from .record import core
from .record.backward import reached_inputs, recorded_gradient
from .record.core import Recorder, recording_on
from .record.lifetime import common_tape
from .record.operators import apply
from .record.values import Result, Var, as_number, result
from .trees import flatten, unflatten

Argnums = int | Sequence[int]


def value_and_grad(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """`value_and_grad(f)(*args)` is `(f(*args), gradient)`.

    Both are plain numbers, unless recording values go in (arguments or leaves that `f` captures):
    then both are recording values, so that derivatives nest.  Under `no_grad` always numbers.

    `f` takes scalars, or nested lists, tuples and dicts of scalars, and returns a scalar.
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
    seeds, structure = flatten(tuple(tangents))
    if structure != call.structure:
        raise ArgumentError("tangents must have the structure of primals")
    return call.second_order([as_number(t) for t in seeds])


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
            trees = unflatten(self.structure, list(self.variables))
            full = list(args)
            for i, tree in zip(positions, trees, strict=True):
                full[i] = tree
            self.y = f(*full, **kwargs)
        self._check_result()

    def _check_result(self) -> None:
        if not isinstance(self.y, Var):
            try:
                self.y = as_number(self.y)
            except TypeError:
                raise ArgumentError(
                    f"the function must return a scalar, not {type(self.y).__name__}"
                ) from None

    def is_independent(self, y: Result) -> bool:
        """No leaf of the user went into the result: plain numbers may come out."""
        inputs = y.tape.inputs
        if not self.outermost or all(leaf is None for _, leaf in inputs):
            return self.outermost
        mark = y.tape.work.reach([y.slot])
        return all(leaf is None for _, leaf in reached_inputs(y.tape, mark))

    def _here(self, y: Any) -> bool:
        """Whether y is a result on the tape of this call, and so may depend on the arguments."""
        if not isinstance(y, Result):
            return False
        core.resolve(y)
        return y.tape is core.destination(self.tape)

    def value_and_gradient(self) -> tuple[Any, Any]:
        y = self.y
        if not self._here(y):
            constant = isinstance(y, Var) and (self.paused or not y.needs_grad)
            return (y.value if constant else y), self._shaped([0.0] * len(self.variables))
        if not (self.paused or self.is_independent(y)):
            return y, self._shaped(self._recorded(y))
        for x in self.variables:
            core.resolve(x)
        work = y.tape.work
        g = work.gradient(y.slot)
        return work.value(y.slot), self._shaped([float(g[x.slot]) for x in self.variables])

    def _recorded(self, y: Result) -> list[Any]:
        with recording_on(y.tape):
            return recorded_gradient(y, self.variables)

    def _shaped(self, flat: list[Any]) -> Any:
        trees = unflatten(self.structure, flat)
        return trees[0] if self.single else tuple(trees)

    def second_order(self, seeds: list[float]) -> tuple[Any, Any, Any]:
        y = self.y
        if not self._here(y):
            zeros = self._shaped([0.0] * len(self.variables))
            return (y.value if isinstance(y, Var) else y), zeros, zeros
        if not (self.paused or self.is_independent(y)):
            raise ArgumentError(
                "nt.hvp of a function that captures or receives recording values: call it under "
                "nt.no_grad() to take them as constants, or use nt.grad(nt.grad(f))"
            )
        for x in self.variables:
            core.resolve(x)
        slots = [x.slot for x in self.variables]
        work = y.tape.work
        g, h = work.second(y.slot, dict(zip(slots, seeds, strict=True)))
        gradient, product = ([float(a[s]) for s in slots] for a in (g, h))
        return work.value(y.slot), self._shaped(gradient), self._shaped(product)


def _positions(argnums: Argnums, count: int) -> tuple[int, ...]:
    positions = tuple(argnums) if isinstance(argnums, (tuple, list)) else (argnums,)
    if not all(isinstance(i, int) for i in positions):
        raise ArgumentError(f"argnums must be whole numbers, not {argnums!r}")
    wrapped = tuple(i + count if i < 0 else i for i in positions)
    if not all(0 <= i < count for i in wrapped) or len(set(wrapped)) < len(wrapped):
        raise ArgumentError(f"argnums={argnums} does not fit {count} positional arguments")
    return wrapped


def _tape_for(numbers: list[Any]) -> tuple[Recorder, bool]:
    """The tape to record on, and whether this is the outermost transform."""
    results = [x for x in numbers if isinstance(x, Var) and x.needs_grad]
    if core.transform_depth.get() or results:
        return common_tape([x for x in results if isinstance(x, Result)]), False
    return Recorder(), True


def _variable(tape: Recorder, x: Any) -> Var:
    """A fresh name for an argument: derivatives are taken with respect to it alone."""
    if isinstance(x, Var) and x.needs_grad:
        copied = apply(ROWS["copy"], x)
        assert isinstance(copied, Var)
        return copied
    number = x.value if isinstance(x, Var) else as_number(x)
    with core.growth:
        return result(tape, tape.add_input(number))
