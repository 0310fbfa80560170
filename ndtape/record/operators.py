"""Operators and functions of recording values, one closure a row of the op table.

These closures are the hot path of the library (0.2 us an operation), so they write the columns of
the tape themselves and repeat a dozen lines rather than call one another, which would cost a fifth
of that.  Everything unusual raises or falls out of their tests into `apply`, which is short, slow
and handles all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partialmethod
from numbers import Real
from sys import _getframe
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..ops import CODES, INPUT_CODE, ROWS, Op, forms
from ..run import Workspace
from ..tape import Tape
from . import core, values
from .core import Recorder, push, user_frame
from .lifetime import common_tape, make_room
from .scopes import place
from .values import (
    FUNCTIONS,
    Boolean,
    Integer,
    Leaf,
    Result,
    Var,
    as_number,
    constant,
    result,
)

new = object.__new__
float64 = np.float64
current_tape: Any = core._current.get
OWN_FILES = {__file__, values.__file__}

# What a fast path meets when a tape is full, disarmed or missing, a leaf is new to it, or an
# integer too large: `apply` sorts it out.
UNUSUAL = (IndexError, KeyError, ValueError, OverflowError, TypeError, AttributeError)

SCALAR = (Var, Real, np.generic)
of_arrays: dict[str, Any] = {}  # what takes operands that are no scalars: protocol.py fills it in

FORM_CODES: dict[str, dict[str, int]] = {
    name: {form: CODES[name, form] for form in forms(row)} for name, row in ROWS.items()
}


def is_foreign(x: Any) -> bool:
    """Operands that an operator leaves to the other object's reflected method."""
    return not isinstance(x, (Var, Real, np.generic, np.ndarray, complex))


def apply(row: Op, *operands: Any) -> Any:
    """Record `row` on operands of any kind; or compute it, when none has a gradient."""
    if len(operands) != len(row.operands):
        raise UnsupportedError(f"{row.name} takes {len(row.operands)} operands: {row.doc}")
    if not all(isinstance(x, SCALAR) for x in operands):
        return of_arrays[row.name](*operands)
    moving = [x for x in operands if isinstance(x, Var) and x.needs_grad]
    if not moving or not core.recording():
        return evaluate(row, operands)
    with core.growth:
        tape = common_tape([x for x in moving if isinstance(x, Result)])
        make_room(tape)
        form, arguments = _arguments(tape, operands)
        form, arguments = _fit(tape, row, form, arguments)
        slot = push(tape, FORM_CODES[row.name][form], *arguments)
        return result(tape, slot, Boolean if row.boolean else _kind(row.name, operands))


# Rows that make whole numbers of whole numbers: i + 1 is as good an index as i.
WHOLE = {"add", "subtract", "multiply", "floor_divide", "mod", "negative", "abs", "square", "cube",
         "sign", "maximum", "minimum", "clip", "where", "copy"}  # fmt: skip


def _kind(name: str, operands: tuple[Any, ...]) -> type[Result]:
    """The class of a scalar result: integers and booleans make integers."""
    numbers = operands[1:] if name == "where" else operands
    whole = name in WHOLE and all(isinstance(x, (Integer, Boolean, int, np.integer, np.bool_))
                                  for x in numbers)  # fmt: skip
    return Integer if whole else Result


def _arguments(tape: Recorder, operands: tuple[Any, ...]) -> tuple[str, list[int]]:
    """The form of an instruction and its operand columns."""
    form, arguments = "", []
    for x in operands:
        if isinstance(x, Leaf) and x.needs_grad:
            form, argument = form + "v", tape.slot_of(x)
        elif isinstance(x, Var) and x.needs_grad:
            form, argument = form + "v", place(tape, x.tape, x.slot)
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
        a if f == "v" else tape.add_input(float(tape.constants[a]))
        for a, f in zip(arguments, form, strict=True)
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


# --- operators and functions, one closure a row ---------------------------------------------------


def general(row: Op) -> Callable[..., Any]:
    """The recording function of a row that has no fast path."""

    def function(*operands: Any) -> Any:
        return apply(row, *operands)

    return function


def newcomer(
    row: Op, operands: tuple[Any, ...], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """A leaf met a tape for the first time: copy it in and call the fast path again.

    Half the time of `apply`, which takes over when the tape is full or not to be written.
    """
    results = [x for x in operands if x.__class__ is Result]
    leaves = [x for x in operands if x.__class__ is Leaf]
    if core.recording() and all(x._needs_grad for x in leaves):
        with core.growth:
            tape = results[0].tape if results else core.current()
            room = tape.chunks[-1].size - tape.n > len(operands)
            if room and tape.op and tape.leaf_slots.__class__ is dict:
                for leaf in leaves:
                    tape.slot_of(leaf)
                return function(*arguments)
    return apply(row, *operands)


# Threads may share results.  A closure calls nothing between reading the first slot and writing
# z.slot, so that the interpreter cannot switch threads in between: what it appends is one piece.


def unary(row: Op) -> Callable[[Any], Any]:
    """The recording function of a row with one operand."""
    code = CODES[row.name, "v"]
    kind = Boolean if row.boolean else Result

    def function(x: Any) -> Any:
        cls = x.__class__
        if cls is not Result and cls is not Leaf:
            return of_arrays[row.name](x) if hasattr(x, "strides") else apply(row, x)
        z = new(kind)
        try:
            if cls is Result:
                z.tape = tape = x.tape
                first = x.slot
            else:
                z.tape = tape = current_tape()()
                first = tape.leaf_slots[x.token]
            n = tape.n
            tape.op[n] = code
            tape.a[n] = first
        except KeyError:
            return newcomer(row, (x,), function, (x,))
        except UNUSUAL:
            return apply(row, x)
        tape.n = n + 1
        z.slot = n + tape.origin
        if tape.lines is not None:
            frame = _getframe(1)
            caller = frame.f_code
            if caller.co_filename in OWN_FILES:  # np.sin(x), x**2, nt.multiply(x, y)
                frame = user_frame()
                caller = frame.f_code
            tape.lines[n + tape.base] = (caller, frame.f_lasti)
        return z

    return function


def binary(row: Op) -> Callable[[Any, Any], Any]:
    """The recording function of a row whose first operand is a recording value."""
    codes = FORM_CODES[row.name]
    vv, vk = codes["vv"], codes["vk"]
    kind = Boolean if row.boolean else Result

    def function(x: Any, y: Any) -> Any:
        z = new(kind)
        other = y.__class__
        try:
            if x.__class__ is Result:
                z.tape = tape = x.tape
                first = x.slot
            else:
                z.tape = tape = y.tape if other is Result else current_tape()()
                first = tape.leaf_slots[x.token]
            if other is Result and y.tape is tape:
                code, second = vv, y.slot
            elif other is Leaf:
                code, second = vv, tape.leaf_slots[y.token]
            elif other is float or other is int or other is float64:
                code, second = vk, tape.kn
                tape.k[second] = y
                tape.kn = second + 1
            else:
                return NotImplemented if is_foreign(y) else apply(row, x, y)
            n = tape.n
            tape.op[n] = code
            tape.a[n] = first
            tape.b[n] = second
        except KeyError:
            return newcomer(row, (x, y), function, (x, y))
        except UNUSUAL:
            return NotImplemented if is_foreign(y) else apply(row, x, y)
        tape.n = n + 1
        z.slot = n + tape.origin
        if tape.lines is not None:
            frame = _getframe(1)
            caller = frame.f_code
            if caller.co_filename in OWN_FILES:  # np.sin(x), x**2, nt.multiply(x, y)
                frame = user_frame()
                caller = frame.f_code
            tape.lines[n + tape.base] = (caller, frame.f_lasti)
        return z

    return function


def reflected(row: Op) -> Callable[[Any, Any], Any]:
    """The operator of a row for a number on the left of a recording value."""
    codes = FORM_CODES[row.name]
    if row.commutes:
        return binary(row)
    if "kv" not in codes:
        return lambda y, x: apply(row, x, y)
    kv = codes["kv"]

    def function(y: Any, x: Any) -> Any:
        z = new(Result)
        other = x.__class__
        try:
            if y.__class__ is Result:
                z.tape = tape = y.tape
                second = y.slot
            else:
                z.tape = tape = current_tape()()
                second = tape.leaf_slots[y.token]
            if not (other is float or other is int or other is float64):
                return NotImplemented if is_foreign(x) else apply(row, x, y)
            n, first = tape.n, tape.kn
            tape.k[first] = x
            tape.op[n] = kv
            tape.a[n] = first
            tape.b[n] = second
        except KeyError:
            return newcomer(row, (x, y), function, (y, x))
        except UNUSUAL:
            return NotImplemented if is_foreign(x) else apply(row, x, y)
        tape.kn = first + 1
        tape.n = n + 1
        z.slot = n + tape.origin
        if tape.lines is not None:
            frame = _getframe(1)
            caller = frame.f_code
            if caller.co_filename in OWN_FILES:  # np.sin(x), x**2, nt.multiply(x, y)
                frame = user_frame()
                caller = frame.f_code
            tape.lines[n + tape.base] = (caller, frame.f_lasti)
        return z

    return function


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
    if len(row.operands) == 1 and row.kind != "input":
        return unary(row)
    if len(row.operands) != 2 or "vv" not in FORM_CODES[row.name]:
        return general(row)
    first, right = binary(row), reflected(row)

    def function(x: Any, y: Any) -> Any:
        if isinstance(x, Var):
            answer = first(x, y)
        elif isinstance(y, Var):
            answer = right(y, x)
        else:
            answer = of_arrays[row.name](x, y) if hasattr(x, "strides") else NotImplemented
        return apply(row, x, y) if answer is NotImplemented else answer

    if row.default is not None:
        function.__defaults__ = (row.default,)
    return function


def _named(name: str, row: Op, function: Callable[..., Any]) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{row.doc[:1].upper()}{row.doc[1:]}.  One row of the table: {row.z}."
    return function


def power(x: Any, y: Any) -> Any:
    """x ** y; squares, cubes and reciprocals have instructions of their own."""
    if y.__class__ is int or y.__class__ is float:
        special = POWERS.get(y)
        if special is not None and isinstance(x, Var):
            return special(x)
    return _power(x, y)


def _pow(x: Any, y: Any, modulus: None = None) -> Any:
    return NotImplemented if modulus is not None or is_foreign(y) else power(x, y)


for _row in ROWS.values():
    _made = _named(_row.name, _row, _function(_row))
    FUNCTIONS.update(dict.fromkeys([_row.name, *_row.ufunc.split()], _made))
_power = FUNCTIONS["power"]
POWERS: dict[float, Callable[[Any], Any]] = {
    2: FUNCTIONS["square"], 3: FUNCTIONS["cube"], -1: FUNCTIONS["reciprocal"]
}  # fmt: skip
FUNCTIONS.update(dict.fromkeys(["power", "float_power"], _named("power", ROWS["power"], power)))


def _install() -> None:
    """Give the classes their operators."""
    for name, dunder in {**OPERATORS, **COMPARISONS}.items():
        row = ROWS[name]
        setattr(Var, f"__{dunder}__", binary(row))
        if name in OPERATORS:
            setattr(Var, f"__r{dunder}__", reflected(row))
            setattr(Leaf, f"__i{dunder}__", partialmethod(Leaf._rebind, name))
    for name, dunder in LOGIC.items():
        setattr(Boolean, f"__{dunder}__", general(ROWS[name]))
        setattr(Boolean, f"__r{dunder}__", general(ROWS[name]))
    more = [
        (Var, "__pow__", _pow),
        (Var, "__neg__", FUNCTIONS["negative"]),
        (Var, "__abs__", FUNCTIONS["abs"]),
        (Boolean, "__invert__", FUNCTIONS["logical_not"]),
    ]
    for cls, name, function in more:
        setattr(cls, name, function)


_install()
