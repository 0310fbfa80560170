"""Recording values: what users compute with, and how numbers and gradients come out of them.

A `Leaf` holds a number and collects a gradient; a `Result` is a tape and a slot, and has no value
until somebody looks.  Their operators come from the op table: see operators.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..errors import GradientLostError, GradientLostWarning, LeafWriteError, UnsupportedError
from . import core
from .core import Recorder

FUNCTIONS: dict[str, Callable[..., Any]] = {}  # by row and by ufunc; filled in by operators.py


class Var:
    """A recording value: a leaf made by `nt.var`, or the result of an operation on one.

    Numbers come out by `.value`, `.item()`, printing, formatting and comparisons; gradients by
    `.backward()` and `.grad`, or by `Tape.gradient`.
    """

    # Results and leaves are siblings: Python would try the reflected operator of a subclass first.
    __slots__ = ("tape", "slot")
    tape: Recorder
    slot: int

    if TYPE_CHECKING:  # installed by operators.py, from the table, by backward.py and graph.py
        op: str
        parents: tuple[Any, ...]

        def backward(
            self, seed: float = 1.0, retain_graph: bool = False, **options: Any
        ) -> None: ...
        def __add__(self, other: Any) -> Var: ...
        def __sub__(self, other: Any) -> Var: ...
        def __mul__(self, other: Any) -> Var: ...
        def __truediv__(self, other: Any) -> Var: ...
        def __floordiv__(self, other: Any) -> Var: ...
        def __mod__(self, other: Any) -> Var: ...
        def __pow__(self, other: Any) -> Var: ...
        def __radd__(self, other: Any) -> Var: ...
        def __rsub__(self, other: Any) -> Var: ...
        def __rmul__(self, other: Any) -> Var: ...
        def __rtruediv__(self, other: Any) -> Var: ...
        def __rfloordiv__(self, other: Any) -> Var: ...
        def __rmod__(self, other: Any) -> Var: ...
        def __rpow__(self, other: Any) -> Var: ...
        def __neg__(self) -> Var: ...
        def __abs__(self) -> Var: ...
        def __lt__(self, other: Any) -> Boolean: ...
        def __le__(self, other: Any) -> Boolean: ...
        def __gt__(self, other: Any) -> Boolean: ...
        def __ge__(self, other: Any) -> Boolean: ...
        def __eq__(self, other: Any) -> Boolean: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Boolean: ...  # type: ignore[override]

    # --- reading ------------------------------------------------------------------------------

    @property
    def value(self) -> float:
        """The number, after a forward sweep over what was recorded since the last look."""
        if self.tape.joined is not None:
            core.resolve(self)
        tape, slot = self.tape, self.slot
        if tape.traced is not None:
            tape.traced.read(".value")
        work = tape.work
        if slot >= work.swept:
            work.catch_up()
        return work.values[slot]  # type: ignore[no-any-return]

    def peek(self) -> float:
        """The same for the package: also while a function is traced, where users may not look."""
        core.resolve(self)
        return self.tape.work.value(self.slot)

    def item(self) -> float:
        """The number, as in NumPy and PyTorch."""
        if self.tape.traced is not None:
            self.tape.traced.refuse("x.item()")
        return self.value

    @property
    def needs_grad(self) -> bool:
        return True

    @property
    def grad(self) -> float | None:
        """The adjoint that `backward` left here, where `retain_grad()` asked for it."""
        core.resolve(self)
        if self.slot not in self.tape.retained:
            warnings.warn(
                "this value is the result of an operation, which keeps no gradient unless "
                "retain_grad() is called before backward()",
                stacklevel=2,
            )
        return self.tape.retained.get(self.slot)

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate result in the next `backward`."""
        core.resolve(self)
        self.tape.retained.setdefault(self.slot, None)

    def detach(self) -> Any:
        """The same number without a gradient."""
        if self.tape.traced is not None:
            return FUNCTIONS["stop"](self)
        return constant(self.value)

    def __repr__(self) -> str:
        return self._traced_text() or f"var({self.value!r})"

    def __str__(self) -> str:
        return self._traced_text() or str(self.value)

    def __format__(self, spec: str) -> str:
        if self.tape.traced is not None:
            if spec:
                self.tape.traced.refuse(f"format(x, {spec!r})")
            return str(self)
        return format(self.value, spec)

    def _traced_text(self) -> str:
        """What stands for the number while a function is traced: text must not pass for it."""
        traced = self.tape.traced
        return "" if traced is None else traced.text(self.peek)

    def __bool__(self) -> bool:
        if self.tape.traced is not None:
            return self.tape.traced.truth(self)  # type: ignore[no-any-return]
        return self.value != 0.0

    def __hash__(self) -> int:
        """By identity: two values that are equal now are still two nodes of the graph."""
        if self.tape.traced is not None and not self.tape.ended:
            raise UnsupportedError(
                "a value of a traced function is no key of a dict or element of a set: which one "
                f"it is would be decided once for all calls; use if and == [{core.user_line()}]"
            )
        return object.__hash__(self)

    # --- plain numbers: the gradient would end there ----------------------------------------------

    def __float__(self) -> float:
        self._lose("float(x)", ", also inside math.sin(x), '%f' % x or a[i] = x on a plain array,")
        return self.value

    def __int__(self) -> int:
        if self.tape.traced is not None:
            return self.tape.traced.whole(self)  # type: ignore[no-any-return]
        return int(self.value)  # a whole number has no derivative that could be lost

    def __complex__(self) -> NoReturn:
        raise UnsupportedError(
            f"ndtape records real numbers only: no complex(x) or cmath [{core.user_line()}]"
        )

    def __index__(self) -> int:
        raise UnsupportedError(
            "a recording float is no whole number: as an index, a count or a factor of a list "
            f"use math.floor(x), round(x) or int(x) [{core.user_line()}]"
        )

    def _lose(self, what: str, examples: str) -> None:
        """Warn, or refuse, at the line that turns this value into a plain number."""
        if not self.needs_grad:
            return
        if self.tape.traced is not None:
            self.tape.traced.refuse(f"{what}{examples}")
        advice = (
            f"{what}{examples} gives a plain number and drops the gradient; use nt.sin and the "
            "like, np.sin, f'{x:.3f}' for printing, math.floor(x) for a whole number, arrays made "
            "by nt.zeros(n) or np.zeros_like(x) of a recording x, and x.value or x.detach() where "
            "no gradient is wanted"
        )
        if core.transform_depth.get():
            raise GradientLostError(f"{advice} [{core.user_line()}]")
        if core.recording() and not core.is_spent(self):
            warnings.warn(advice, GradientLostWarning, stacklevel=3)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise GradientLostError(
            "np.array of a recording value would drop its gradient; use nt.array([...]) for an "
            "array of values, nt.zeros(n) or np.zeros_like(x) for one that is filled, and x.value "
            f"for the plain number; an index is int(x) [{core.user_line()}]"
        )

    def __iter__(self) -> NoReturn:
        raise TypeError(f"a recording {type(self).__name__.lower()} is a scalar: no iteration")

    # --- NumPy ------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Any:
        function = FUNCTIONS.get(ufunc.__name__)
        if function is None or method != "__call__" or options:
            what = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
            extra = f" with {', '.join(options)}" if options else ""
            raise UnsupportedError(
                f"np.{what}{extra} is not recorded for scalars; nt.table() lists what is, and "
                "nt.define(value, partials...) adds your own"
            )
        return function(*operands)

    def __array_function__(self, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        if name in FUNCTIONS and not kwargs:  # np.where, np.clip, np.nan_to_num
            return FUNCTIONS[name](*args)
        raise UnsupportedError(
            f"np.{name} is not recorded for scalars; nt.table() lists what is, and "
            "nt.define(value, partials...) adds your own"
        )

    # --- rounding ---------------------------------------------------------------------------------

    def __floor__(self) -> Any:
        return Integer.of(FUNCTIONS["floor"](self))

    def __ceil__(self) -> Any:
        return Integer.of(FUNCTIONS["ceil"](self))

    def __trunc__(self) -> Any:
        return Integer.of(FUNCTIONS["trunc"](self))

    def __round__(self, digits: int | None = None) -> Any:
        if digits is None:
            return Integer.of(FUNCTIONS["rint"](self))
        scale = 10.0**digits
        return FUNCTIONS["rint"](self * scale) / scale

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pos__(self) -> Any:
        return self

    def shift(self, tape: Recorder, slots: int, pool: int) -> None:
        """The tape was appended to another one, behind that many slots."""
        self.slot, self.tape = self.slot + slots, tape  # at once, for other threads

    def __copy__(self) -> Var:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError(
            "the result of an operation belongs to its tape and cannot be copied deeply or "
            "pickled; take x.value or x.detach()"
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        self.__deepcopy__(None)


class Result(Var):
    """The result of an operation, or the argument of a function inside a transform."""

    __slots__ = ()


class Boolean(Result):
    """A recorded comparison: 0.0 or 1.0 on the tape, true or false under `if`."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        if self.tape.traced is not None:
            return super().__format__(spec)
        return format(self.value, spec) if spec else str(self)

    def __repr__(self) -> str:
        return self._traced_text() or f"boolean({bool(self.value)})"

    def __str__(self) -> str:
        return self._traced_text() or str(bool(self.value))


class Integer(Result):
    """A recorded whole number (`math.floor(x)`, `round(x)`): also good as an index or a count."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return format(int(self), spec)  # a guard, where a function is traced

    def __str__(self) -> str:
        return self._traced_text() or str(int(self.value))

    def __repr__(self) -> str:
        return self._traced_text() or f"integer({int(self.value)})"

    @classmethod
    def of(cls, x: Any) -> Any:
        return result(x.tape, x.slot, cls) if type(x) is Result else int(x.value)

    def __index__(self) -> int:
        if self.tape.traced is not None:
            return self.tape.traced.whole(self)  # type: ignore[no-any-return]
        return int(self.value)

    def __int__(self) -> int:
        return self.__index__()

    def __hash__(self) -> int:
        raise UnsupportedError(
            f"a recorded whole number is no key of a dict: use int(i) [{core.user_line()}]"
        )


class Leaf(Var):
    """A number that gradients are taken with respect to; belongs to no tape.  See `nt.var`."""

    __slots__ = ("number", "_grad", "token", "name", "_needs_grad", "__weakref__")
    tape: Any

    def __init__(self, value: float, name: str = "", needs_grad: bool = True) -> None:
        self.tape = NoTape
        self.slot = -1
        self.number = float(value)
        self._grad: float | None = None
        self.token = object()  # replaced when the number is: tapes know the leaf by it
        self.name = name
        self._needs_grad = needs_grad

    @property
    def value(self) -> float:
        """The number.  Assigning it is an update, allowed under `no_grad`."""
        return self.number

    @value.setter
    def value(self, value: float) -> None:
        if core.recording() and self._needs_grad:
            raise LeafWriteError(
                "a leaf is updated under `with nt.no_grad():` only; a tape may be using its value"
            )
        self.number = float(value)
        self.token = object()

    @property
    def needs_grad(self) -> bool:
        return self._needs_grad

    @property
    def grad(self) -> float | None:
        """What `backward` added up, None before; assign None or a number to reset it."""
        return self._grad

    @grad.setter
    def grad(self, value: float | None) -> None:
        self._grad = None if value is None else float(value)

    def deposit(self, adjoints: np.ndarray) -> None:
        """Add an adjoint, a vector of one, to the gradient."""
        self._grad = (self._grad or 0.0) + float(adjoints[0])

    def zero_grad(self) -> None:
        """Forget the gradient: `x.grad = None`."""
        self._grad = None

    def retain_grad(self) -> None:
        """Leaves always keep theirs."""

    def detach(self) -> Leaf:
        return constant(self.number)

    def _rebind(self, name: str, other: Any) -> Any:
        """The in-place operators: an update of the leaf."""
        if core.recording() and not self._needs_grad:
            return FUNCTIONS[name](self, other)  # a number: the name is bound to a new value
        if core.recording():
            raise LeafWriteError(
                "an in-place operation on a leaf: write x = x + 1 for a new value, or update the "
                f"leaf itself under `with nt.no_grad():` [{core.user_line()}]"
            )
        self.value = FUNCTIONS[name](self, other).value
        return self

    def __repr__(self) -> str:
        return f"{'var' if self._needs_grad else 'constant'}({self.number!r})"

    def __copy__(self) -> Leaf:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: Any) -> Leaf:
        twin = Leaf(self.number, self.name, self._needs_grad)
        twin._grad = self._grad
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restored, (self.number, self.name, self._needs_grad, self._grad)


class NoTape:
    """Stands in the place of a leaf's tape, so that the fast path need not ask for the class."""

    op = a = b = c = memoryview(b"")
    n = base = 0
    joined = traced = None
    any_spent = False


def _restored(value: float, name: str, needs_grad: bool, grad: float | None) -> Leaf:
    leaf = Leaf(value, name, needs_grad)
    leaf.grad = grad
    return leaf


def constant(value: float) -> Leaf:
    """A value without gradient that still has `.value`, `.detach()` and so on."""
    return Leaf(value, needs_grad=False)


def result(tape: Recorder, slot: int, kind: type[Result] = Result) -> Result:
    """The result object of a slot."""
    x = object.__new__(kind)
    x.tape = tape
    x.slot = slot
    return x


def as_number(x: Any) -> float:
    """A plain real number as float; raises `UnsupportedError` for anything else."""
    if isinstance(x, (float, int, np.floating, np.integer, np.bool_, Real)):
        try:
            return float(x)
        except OverflowError:
            raise UnsupportedError(f"{x!r:.40} does not fit a float64") from None
    if isinstance(x, np.ndarray) and x.ndim == 0 and x.dtype.kind in "fiub":
        return float(x)
    raise UnsupportedError(_refusal(x))


def _refusal(x: Any) -> str:
    if isinstance(x, np.ndarray):
        return f"an array of shape {x.shape} where one number is needed"
    if isinstance(x, complex) or getattr(getattr(x, "dtype", None), "kind", "") == "c":
        return f"ndtape records real numbers only, not the complex {x!r}"
    hint = "; np.asarray of it may do" if hasattr(type(x), "__array__") else ""
    return f"not a real number but a {type(x).__name__}: {x!r:.60}{hint}"
