"""Recording values: what users compute with.

A `Leaf` holds a number and collects a gradient; a `Result` is a tape and a slot, and has no value
until somebody looks.  The methods of both come from the op table: a
closure a row, with the opcodes of its forms bound.  Those closures are the hot path of the library
(0.2 us an operation), so they write the columns themselves; everything unusual raises IndexError or
falls out of their tests into `apply`, which is short but slow and handles all of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partialmethod
from numbers import Real
from sys import _getframe
from typing import Any, NoReturn

import numpy as np

from ..errors import GradientLostError, GradientLostWarning, LeafWriteError, UnsupportedError
from ..ops import CODES, INPUT_CODE, ROWS, Op, forms
from ..run import Workspace
from ..tape import Tape
from . import core
from .core import Recorder, push

new = object.__new__
Number = float | int


class Var:
    """A recording value: a leaf made by `nt.var`, or the result of an operation on one.

    Numbers come out by `.value`, `.item()`, printing, formatting and comparisons; gradients by
    `.backward()` and `.grad`, or by `Tape.gradient`.
    """

    # Results and leaves are siblings: Python would try the reflected operator of a subclass first.
    __slots__ = ("tape", "slot")
    tape: Recorder
    slot: int

    # --- reading -------------------------------------------------------------------------------

    @property
    def value(self) -> float:
        """The number, after a forward sweep over what was recorded since the last look."""
        if self.tape.joined is not None:
            core.resolve(self)
        return self.tape.work.value(self.slot)

    def item(self) -> float:
        """The number, as in NumPy and PyTorch."""
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

    def detach(self) -> Leaf:
        """The same number without a gradient."""
        return constant(self.value)

    def backward(self, seed: float = 1.0, retain_graph: bool = False, **options: Any) -> None:
        """Add the derivatives of this value, times `seed`, to the `.grad` of all leaves behind it.

        Without `retain_graph` the instructions walked are given up: another `backward` through
        them raises `SpentTapeError`, as in PyTorch.  Values stay readable.
        """
        from .backward import backward

        backward(self, seed, retain_graph, **options)

    @property
    def op(self) -> str:
        """Name of the operation that made this value."""
        core.resolve(self)
        return self.tape.instruction(self.slot).name

    @property
    def parents(self) -> tuple[Var | float, ...]:
        """The operands: recording values, leaves, and constants as floats."""
        core.resolve(self)
        instruction = self.tape.instruction(self.slot)
        if instruction.opcode.code == INPUT_CODE:
            return ()
        leaves = dict(self.tape.inputs)
        return tuple(
            (leaves.get(int(x)) or result(self.tape, int(x))) if form == "v" else x
            for x, form in zip(instruction.operands, instruction.opcode.form, strict=True)
        )

    def __repr__(self) -> str:
        return f"var({self.value:.15g})"

    def __str__(self) -> str:
        return f"{self.value:.15g}"

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __bool__(self) -> bool:
        return self.value != 0.0

    def __hash__(self) -> int:
        """By identity: two values that are equal now are still two nodes of the graph."""
        return object.__hash__(self)

    # --- plain numbers: the gradient would end there -----------------------------------------------

    def __float__(self) -> float:
        self._lose("float() of a recording value", "math.sin(x) or a[i] = x on a plain array")
        return self.value

    def __int__(self) -> int:
        self._lose("int() of a recording value", "int(x)")
        return int(self.value)

    def __complex__(self) -> NoReturn:
        raise UnsupportedError("ndtape records real numbers only; complex() has no derivative here")

    def __index__(self) -> int:
        raise UnsupportedError(
            "a recording float is no index; use math.floor(x), round(x) or int(x.value)"
        )

    def _lose(self, what: str, examples: str) -> None:
        advice = (
            f"{what} (also {examples}) gives a plain number and drops its gradient; "
            "use nt.sin and the like, np.sin, or nt.zeros for the array, and x.value or "
            "x.detach() where no gradient is wanted"
        )
        if core.transform_depth.get():
            raise GradientLostError(f"{advice} [{core.user_line()}]")
        if core.recording() and not core.is_spent(self):
            warnings.warn(advice, GradientLostWarning, stacklevel=3)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise GradientLostError(
            "np.array of a recording value would drop its gradient; build lists of values, or use "
            f"x.value for the plain number [{core.user_line()}]"
        )

    def __iter__(self) -> NoReturn:
        raise TypeError(f"a recording {type(self).__name__.lower()} is a scalar: no iteration")

    # --- NumPy -------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Any:
        function = UFUNC_FUNCTIONS.get(ufunc.__name__)
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
        if name in ROWS and not kwargs:  # np.where, np.clip, np.nan_to_num
            return apply(ROWS[name], *args)
        raise UnsupportedError(
            f"np.{name} is not recorded for scalars; nt.table() lists what is, and "
            "nt.define(value, partials...) adds your own"
        )

    # --- rounding ----------------------------------------------------------------------------------

    def __floor__(self) -> Any:
        return Integer.of(apply(ROWS["floor"], self))

    def __ceil__(self) -> Any:
        return Integer.of(apply(ROWS["ceil"], self))

    def __trunc__(self) -> Any:
        return Integer.of(apply(ROWS["trunc"], self))

    def __round__(self, digits: int | None = None) -> Any:
        if digits is None:
            return Integer.of(apply(ROWS["rint"], self))
        scale = 10.0**digits
        return apply(ROWS["divide"], apply(ROWS["rint"], apply(ROWS["multiply"], self, scale)),
                     scale)  # fmt: skip

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pos__(self) -> Any:
        return self

    def __copy__(self) -> Var:
        return result(self.tape, self.slot, type(self))

    def __deepcopy__(self, memo: Any) -> NoReturn:
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

    def __repr__(self) -> str:
        return f"boolean({bool(self.value)})"

    def __str__(self) -> str:
        return str(bool(self.value))


class Integer(Result):
    """A recorded whole number (`math.floor(x)`, `round(x)`): also good as an index or a count."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"integer({int(self.value)})"

    @classmethod
    def of(cls, x: Any) -> Any:
        return result(x.tape, x.slot, cls) if type(x) is Result else int(x.value)

    def __index__(self) -> int:
        return int(self.value)

    def __int__(self) -> int:
        return int(self.value)


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

    def zero_grad(self) -> None:
        """Forget the gradient: `x.grad = None`."""
        self._grad = None

    def retain_grad(self) -> None:
        """Leaves always keep theirs."""

    def detach(self) -> Leaf:
        return constant(self.number)

    @property
    def op(self) -> str:
        return "leaf" if self._needs_grad else "constant"

    @property
    def parents(self) -> tuple[Var | float, ...]:
        return ()

    def _lose(self, what: str, examples: str) -> None:
        if self._needs_grad:
            super()._lose(what, examples)

    def _rebind(self, row: Op, other: Any) -> Any:
        if core.recording() and self._needs_grad:
            raise LeafWriteError(
                "an in-place operation on a leaf: write x = x + 1 for a new value, or update the "
                "leaf itself under `with nt.no_grad():`"
            )
        answer = apply(row, self, other)
        self.value = answer.value
        return self

    def __repr__(self) -> str:
        return f"{'var' if self._needs_grad else 'constant'}({self.number:.15g})"

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
    joined = None


def _restored(value: float, name: str, needs_grad: bool, grad: float | None) -> Leaf:
    leaf = Leaf(value, name, needs_grad)
    leaf.grad = grad
    return leaf


def var(value: float, name: str = "") -> Leaf:
    """A leaf: a number that gradients are taken with respect to.

    `name` is shown in listings.  Raises `UnsupportedError` for what is not a real number.

    >>> import ndtape as nt
    >>> x = nt.var(2.0)
    >>> y = x * x + nt.sin(x)
    >>> y.backward()
    >>> round(x.grad, 6)
    3.583853
    """
    if isinstance(value, Var):
        raise UnsupportedError("nt.var of a recording value; use x.detach() or x.value for a leaf")
    return Leaf(as_number(value), name)


def constant(value: float) -> Leaf:
    """A value without gradient that still has `.value`, `.detach()` and so on."""
    return Leaf(value, needs_grad=False)


def result(tape: Recorder, slot: int, kind: type[Result] = Result) -> Result:
    x = new(kind)
    x.tape = tape
    x.slot = slot
    return x


# --- operands ------------------------------------------------------------------------------------


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
        return (
            f"a plain array of shape {x.shape} meets a recording scalar; this version records "
            "scalars: loop over the elements"
        )
    if isinstance(x, complex) or getattr(getattr(x, "dtype", None), "kind", "") == "c":
        return f"ndtape records real numbers only, not the complex {x!r}"
    return f"cannot record an operation with a {type(x).__name__}: {x!r:.60}"


def is_foreign(x: Any) -> bool:
    """Operands that an operator leaves to the other object's reflected method."""
    return not isinstance(x, (Var, Real, np.generic, np.ndarray, complex))


FORM_CODES: dict[str, dict[str, int]] = {
    name: {form: CODES[name, form] for form in forms(row)} for name, row in ROWS.items()
}
UFUNCS: dict[str, Op] = {u: row for row in ROWS.values() for u in row.ufunc.split()}


def apply(row: Op, *operands: Any) -> Any:
    """Record `row` on operands of any kind; or compute it, when none has a gradient."""
    if len(operands) != len(row.operands):
        raise UnsupportedError(f"{row.name} takes {len(row.operands)} operands: {row.doc}")
    moving = [x for x in operands if isinstance(x, Var) and x.needs_grad]
    if not moving or not core.recording():
        return evaluate(row, operands)
    tape = core.common_tape([x for x in moving if not isinstance(x, Leaf)])
    tape.make_room()
    form, arguments = _arguments(tape, operands)
    form, arguments = _fit(tape, row, form, arguments)
    slot = push(tape, FORM_CODES[row.name][form], *arguments)
    return result(tape, slot, Boolean if row.boolean else Result)


def _arguments(tape: Recorder, operands: tuple[Any, ...]) -> tuple[str, list[int]]:
    """The form of an instruction and its operand columns."""
    form, arguments = "", []
    for x in operands:
        if isinstance(x, Leaf) and x.needs_grad:
            form, argument = form + "v", tape.slot_of(x)
        elif isinstance(x, Var) and x.needs_grad:
            form, argument = form + "v", x.slot
        else:
            number = x.value if isinstance(x, Var) else as_number(x)
            form, argument = form + "k", tape.constant(number)
        arguments.append(argument)
    return form, arguments


def _fit(tape: Recorder, row: Op, form: str, arguments: list[int]) -> tuple[str, list[int]]:
    """Turn a form that the row lacks into one it has."""
    if form in FORM_CODES[row.name]:
        return form, arguments
    if row.commutes:
        return form[::-1], arguments[::-1]
    if row.name == "polygamma":
        raise UnsupportedError("the order of polygamma must be a plain whole number")
    slots = [
        a if f == "v" else tape.add_input(tape.k[a]) for a, f in zip(arguments, form, strict=True)
    ]
    return "v" * len(form), slots


def evaluate(row: Op, operands: tuple[Any, ...]) -> Any:
    """The value of `row` on numbers, by the same sweep that a recording uses."""
    numbers = [x.value if isinstance(x, Var) else as_number(x) for x in operands]
    tape = Tape(8)
    slots = [tape.append(INPUT_CODE, tape.constant(x)) for x in numbers]
    codes = FORM_CODES[row.name]
    if row.name == "polygamma":
        slots, form = [0, slots[1]], "kv"  # the constant pool begins with the order
    else:
        form = "v" * len(slots)
    value = Workspace(tape).value(tape.append(codes[form], *slots))
    if not any(isinstance(x, Var) for x in operands):
        return bool(value) if row.boolean else value
    return bool(value) if row.boolean else constant(value)


# --- operators and functions, one closure a row ----------------------------------------------------


def general(row: Op) -> Callable[..., Any]:
    """The recording function of a row that has no fast path."""

    def function(*operands: Any) -> Any:
        return apply(row, *operands)

    return function


def unary(row: Op) -> Callable[[Any], Any]:
    """The recording function of a row with one operand."""
    code = CODES[row.name, "v"]

    def function(x: Any) -> Any:
        if x.__class__ is Result:
            tape = x.tape
            n = tape.n
            try:
                tape.op[n] = code
                tape.a[n] = x.slot
            except IndexError:
                return apply(row, x)
            tape.n = n + 1
            slot = n + tape.base
            if tape.lines is not None:
                frame = _getframe(1)
                tape.lines[slot] = (frame.f_code, frame.f_lasti)
            z = new(Result)
            z.tape = tape
            z.slot = slot
            return z
        return apply(row, x)

    return function


def binary(row: Op) -> Callable[[Any, Any], Any]:
    """The recording function of a row whose first operand is the result of an operation."""
    codes = FORM_CODES[row.name]
    vv, vk = codes["vv"], codes["vk"]
    kind = Boolean if row.boolean else Result

    def function(x: Any, y: Any) -> Any:
        tape = x.tape
        other = y.__class__
        try:
            if other is Result and y.tape is tape:
                code, second = vv, y.slot
            elif other is float or other is int or other is float64:
                code, second = vk, tape.kn
                tape.k[second] = y
                tape.kn = second + 1
            elif other is Leaf:
                code, second = vv, tape.leaf_slots[y.token]
            else:
                return NotImplemented if is_foreign(y) else apply(row, x, y)
            n = tape.n
            tape.op[n] = code
            tape.a[n] = x.slot
            tape.b[n] = second
        except UNUSUAL:
            return apply(row, x, y)
        tape.n = n + 1
        slot = n + tape.base
        if tape.lines is not None:
            frame = _getframe(1)
            tape.lines[slot] = (frame.f_code, frame.f_lasti)
        z = new(kind)
        z.tape = tape
        z.slot = slot
        return z

    return function


def leaf_binary(row: Op) -> Callable[[Any, Any], Any]:
    """The same where the first operand is a leaf: its slot is looked up in the tape."""
    codes = FORM_CODES[row.name]
    vv, vk = codes["vv"], codes["vk"]
    kind = Boolean if row.boolean else Result

    def function(x: Any, y: Any) -> Any:
        other = y.__class__
        try:
            tape = y.tape if other is Result else current_tape()()
            first = tape.leaf_slots[x.token]
            if other is Result:
                code, second = vv, y.slot
            elif other is float or other is int or other is float64:
                code, second = vk, tape.kn
                tape.k[second] = y
                tape.kn = second + 1
            elif other is Leaf:
                code, second = vv, tape.leaf_slots[y.token]
            else:
                return NotImplemented if is_foreign(y) else apply(row, x, y)
            n = tape.n
            tape.op[n] = code
            tape.a[n] = first
            tape.b[n] = second
        except UNUSUAL:
            return NotImplemented if is_foreign(y) else apply(row, x, y)
        tape.n = n + 1
        slot = n + tape.base
        if tape.lines is not None:
            frame = _getframe(1)
            tape.lines[slot] = (frame.f_code, frame.f_lasti)
        z = new(kind)
        z.tape = tape
        z.slot = slot
        return z

    return function


def reflected(row: Op) -> Callable[[Any, Any], Any]:
    """The operator of a row for a number on the left of the result of an operation."""
    codes = FORM_CODES[row.name]
    if "kv" not in codes:
        return general(row) if not row.commutes else binary(row)
    kv = codes["kv"]

    def function(y: Any, x: Any) -> Any:
        other = x.__class__
        if y.__class__ is Result and (other is float or other is int or other is float64):
            tape = y.tape
            n, first = tape.n, tape.kn
            try:
                tape.k[first] = x
                tape.op[n] = kv
                tape.a[n] = first
                tape.b[n] = y.slot
            except UNUSUAL:
                return apply(row, x, y)
            tape.kn = first + 1
            tape.n = n + 1
            slot = n + tape.base
            if tape.lines is not None:
                frame = _getframe(1)
                tape.lines[slot] = (frame.f_code, frame.f_lasti)
            z = new(Result)
            z.tape = tape
            z.slot = slot
            return z
        return NotImplemented if is_foreign(x) else apply(row, x, y)

    return function


# What a fast path meets when a tape is full, disarmed or missing, a leaf new to it, an integer
# too large: `apply` sorts it out.
UNUSUAL = (IndexError, KeyError, OverflowError, TypeError, AttributeError)
float64 = np.float64
current_tape = core._current.get

OPERATORS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "mod": "mod",
    "floor_divide": "floordiv", "power": "pow",
}  # fmt: skip
COMPARISONS = {
    "less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge", "equal": "eq",
    "not_equal": "ne",
}  # fmt: skip
LOGIC = {"logical_and": "and", "logical_or": "or"}


def _function(row: Op) -> Callable[..., Any]:
    """What `nt.<name>` and NumPy's dispatch call: operands of any kind in any place."""
    if len(row.operands) == 1 and not row.boolean and row.kind != "input":
        return unary(row)
    if len(row.operands) != 2 or "vv" not in FORM_CODES[row.name]:
        return general(row)
    first, leaf, right = binary(row), leaf_binary(row), reflected(row)

    def function(x: Any, y: Any) -> Any:
        if x.__class__ is Result:
            answer = first(x, y)
        elif x.__class__ is Leaf:
            answer = leaf(x, y)
        elif y.__class__ is Result and not row.commutes:
            answer = right(y, x)
        else:
            answer = apply(row, x, y)
        return apply(row, x, y) if answer is NotImplemented else answer

    if row.default is not None:
        function.__defaults__ = (row.default,)
    return function


def _named(name: str, row: Op, function: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{row.doc[:1].upper()}{row.doc[1:]}.  One row of the table: {row.z}."
    return function


FUNCTIONS = {row.name: _named(row.name, row, _function(row)) for row in ROWS.values()}
UFUNC_FUNCTIONS = {u: FUNCTIONS[row.name] for u, row in UFUNCS.items()}
POWERS = {2: FUNCTIONS["square"], 3: FUNCTIONS["cube"], -1: FUNCTIONS["reciprocal"]}


def power(x: Any, y: Any) -> Any:
    """x ** y; squares, cubes and reciprocals have instructions of their own."""
    if y.__class__ is int or y.__class__ is float:
        special = POWERS.get(y)
        if special is not None and isinstance(x, Var):
            return special(x)
    return _power(x, y)


_power = FUNCTIONS["power"]
FUNCTIONS["power"] = UFUNC_FUNCTIONS["power"] = _named("power", ROWS["power"], power)


def _pow(x: Any, y: Any, modulus: None = None) -> Any:
    return NotImplemented if modulus is not None or is_foreign(y) else power(x, y)


def _install() -> None:
    """Give the classes their operators."""
    for name, dunder in {**OPERATORS, **COMPARISONS}.items():
        row = ROWS[name]
        setattr(Var, f"__{dunder}__", binary(row))
        setattr(Leaf, f"__{dunder}__", leaf_binary(row))
        if name in OPERATORS:
            setattr(Var, f"__r{dunder}__", reflected(row))
            setattr(Leaf, f"__r{dunder}__", leaf_binary(row) if row.commutes else reflected(row))
            setattr(Leaf, f"__i{dunder}__", partialmethod(Leaf._rebind, row))
    for cls in (Var, Leaf):
        cls.__pow__ = _pow  # type: ignore[attr-defined]
    for name, dunder in LOGIC.items():
        setattr(Boolean, f"__{dunder}__", general(ROWS[name]))
        setattr(Boolean, f"__r{dunder}__", general(ROWS[name]))
    Boolean.__invert__ = general(ROWS["logical_not"])  # type: ignore[attr-defined]
    Var.__neg__ = FUNCTIONS["negative"]  # type: ignore[attr-defined]
    Var.__abs__ = FUNCTIONS["abs"]  # type: ignore[attr-defined]


_install()
