"""Python's operators on recording scalars and arrays, as Numba overloads."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, overload

from ..vmath.kernel import Primitive
from . import emission
from .memory import Stopped
from .scalars import ARITY, is_number, line_of, recorder
from .types import LINEAR, MODES, SCALARS, ArrayType, VarType

BINARY: dict[str, tuple[Callable[..., Any], ...]] = {
    "add": (operator.add, operator.iadd),
    "subtract": (operator.sub, operator.isub),
    "multiply": (operator.mul, operator.imul),
    "divide": (operator.truediv, operator.itruediv),
    "floor_divide": (operator.floordiv, operator.ifloordiv),
    "mod": (operator.mod, operator.imod),
    "power": (operator.pow, operator.ipow),
    "less": (operator.lt,),
    "less_equal": (operator.le,),
    "greater": (operator.gt,),
    "greater_equal": (operator.ge,),
    "equal": (operator.eq,),
    "not_equal": (operator.ne,),
}
UNARY: dict[str, Callable[..., Any]] = {"negative": operator.neg, "copy": operator.pos}
POWERS = {2: "square", 3: "cube", -1: "reciprocal"}  # as in eager recording, for equal bits

of_arrays: dict[str, Callable[..., Any]] = {}  # elementwise.py fills it in
rows_of_functions: dict[Any, str] = {}  # operators and stubs that work element by element


def mode_of(*given: Any) -> str:
    """The mode of the recording types among some types; "" where there is none."""
    return next((t.mode for t in given if isinstance(t, (VarType, ArrayType))), "")


@cache
def lifted(mode: str) -> Any:
    """The compiled function that makes a recording scalar of one, or of a plain number."""
    return Lift(mode)


class Lift(Primitive):
    """A cast to the type of recording scalars."""

    def __init__(self, mode: str) -> None:
        kind = SCALARS[mode]

        def typed(given: Any) -> Any:
            fits = len(given) == 1 and (isinstance(given[0], VarType) or is_number(given[0]))
            return signature(kind, kind) if fits else None

        super().__init__("lift", typed, lambda context, builder, sig, args: args[0], None)


def scalar_signature(name: str, given: Any) -> Any:
    """The signature of a row where a scalar records and all others are scalars, too."""
    mode = mode_of(*given)
    if not mode or any(isinstance(t, ArrayType) for t in given):
        return None
    return recorder(name, mode).signature_of(given)


def on_scalars(function: Any, name: str) -> None:
    """Let Numba call the recorder of a row where `function` is applied to recording scalars."""

    class Template(AbstractTemplate):
        key = function

        def generic(self, args: Any, kws: Any) -> Any:
            return None if kws else scalar_signature(name, args)

    infer_global(function, types.Function(Template))
    for mode in MODES:
        kinds = [SCALARS[mode]] * ARITY[name]
        lower_builtin(function, *kinds)(recorder(name, mode).lower)


PATTERNS = {
    1: [(ArrayType,)],
    2: [(ArrayType, types.Any), (types.Any, ArrayType), (ArrayType, ArrayType),
        (ArrayType, types.Array), (types.Array, ArrayType), (VarType, types.Array),
        (types.Array, VarType)],
}  # fmt: skip


def on_arrays(function: Any, name: str) -> None:
    """The same for arrays."""

    class Template(AbstractTemplate):
        key = function
        prefer_literal = True

        def generic(self, args: Any, kws: Any) -> Any:
            return None if kws else of_arrays["signature"](name, function, args)

    infer_global(function, types.Function(Template))
    rows_of_functions[function] = name
    arity = ARITY[name]
    for pattern in PATTERNS.get(arity, [(types.Any,) * arity]):
        lower_builtin(function, *pattern)(
            lambda *given: of_arrays["lowering"](name, function)(*given)
        )


def shaped(typed: Any, count: int) -> Any:
    """A function of so many arguments, as Numba's `overload` wants it."""
    arguments = ", ".join("abc"[:count])
    space = {"typed": typed, "__name__": __name__}
    exec(f"def shaped({arguments}): return typed({arguments})", space)
    return space["shaped"]


for _name, _functions in BINARY.items():
    for _function in _functions:
        if _name != "power":
            on_scalars(_function, _name)
        on_arrays(_function, _name)
on_scalars(operator.neg, "negative")
on_arrays(operator.neg, "negative")


@overload(operator.pos)
def _positive(a):
    return (lambda a: a) if isinstance(a, (VarType, ArrayType)) else None


# --- powers ---------------------------------------------------------------------------------------


def power_by_exponent(
    context: Any,
    b: Any,
    sig: Any,
    args: Any,
    special: Callable[..., Any],
    general: Callable[..., Any],
) -> Any:
    """a ** b for a plain b: `special(name, sig, args)` where it is 2, 3 or -1, else `general`."""
    exponent = sig.args[1]
    alone = signature(sig.return_type, sig.args[0])
    if isinstance(exponent, types.IntegerLiteral):
        name = POWERS.get(exponent.literal_value)
        return general(sig, args) if name is None else special(name, alone, args[:1])
    y = context.cast(b, args[1], exponent, types.float64)
    place = cgutils.alloca_once(b, context.get_value_type(sig.return_type))
    done = b.append_basic_block("powered")
    for k, name in POWERS.items():
        with b.if_then(b.fcmp_ordered("==", y, emission.F64(float(k)))):
            b.store(special(name, alone, args[:1]), place)
            b.branch(done)
    b.store(general(sig, args), place)
    b.branch(done)
    b.position_at_end(done)
    return b.load(place)


def scalar_power(context: Any, b: Any, sig: Any, args: Any, loc: Any = None) -> Any:
    """Emit a ** b of recording scalars and plain numbers."""
    kind = sig.return_type

    def special(name: str, alone: Any, base: Any) -> Any:
        return recorder(name, kind.mode).lower(context, b, alone, base, loc)

    def general(_: Any, operands: Any) -> Any:
        given = [context.cast(b, v, t, kind) for v, t in zip(operands, sig.args, strict=True)]
        row = recorder("power", kind.mode)
        return row.lower(context, b, row.signature_of((kind, kind)), given, loc)

    if isinstance(sig.args[1], VarType):
        return general(sig, args)
    return power_by_exponent(context, b, sig, args, special, general)


def on_scalar_powers(function: Any) -> None:
    """Let Numba emit `scalar_power` where `function` is applied to scalars and one records."""

    class Template(AbstractTemplate):
        key = function
        prefer_literal = True

        def generic(self, args: Any, kws: Any) -> Any:
            if kws or len(args) != 2 or not mode_of(*args):
                return None
            if not all(isinstance(t, VarType) or is_number(t) for t in args):
                return None
            return signature(SCALARS[mode_of(*args)], *args)

    infer_global(function, types.Function(Template))
    for mode in MODES:
        lower_builtin(function, SCALARS[mode], types.Any)(scalar_power)
        lower_builtin(function, types.Any, SCALARS[mode])(scalar_power)
        lower_builtin(function, SCALARS[mode], SCALARS[mode])(scalar_power)


for _function in BINARY["power"]:
    on_scalar_powers(_function)


# --- truth and whole numbers ----------------------------------------------------------------------


class _Truth(AbstractTemplate):
    key = bool

    def generic(self, args: Any, kws: Any) -> Any:
        records = len(args) == 1 and isinstance(args[0], VarType)
        return signature(types.boolean, args[0]) if records else None


infer_global(bool, types.Function(_Truth))


@lower_builtin(bool, VarType)
def _truth(context: Any, builder: Any, sig: Any, args: Any, loc: Any = None) -> Any:
    kind = sig.args[0]
    zero = context.cast(builder, emission.F64(0.0), types.float64, kind)
    tested = recorder("not_equal", kind.mode)
    return tested.lower(context, builder, tested.signature_of((kind, kind)), [*args, zero], loc)


@overload(operator.not_)
def _not(a):
    if not isinstance(a, VarType):
        return None
    f = recorder("not_equal", a.mode)
    return lambda a: not f(a, 0.0)


class Whole(Primitive):
    """int(x) of a recording scalar: in a replay, a guard on the whole number."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        kind = SCALARS[mode]

        def typed(given: Any) -> Any:
            return signature(types.int64, kind) if given == (kind,) else None

        super().__init__("int", typed, self.lower, None)

    def lower(self, context: Any, builder: Any, sig: Any, args: Any, loc: Any = None) -> Any:
        """Emit the cast, and the guard."""
        made = recorder("trunc", self.mode)
        truncated = made.lower(context, builder, made.signature_of(sig.args), args)
        x = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=truncated)
        if self.mode != LINEAR:
            function = emission.whole(builder.module)
            line = emission.I64(line_of(loc))
            status = builder.call(function, [line, x.tape, x.slot, x.value])
            with builder.if_then(builder.icmp_unsigned("!=", status, emission.ZERO), likely=False):
                context.call_conv.return_user_exc(builder, Stopped, ())
        return builder.fptosi(x.value, context.get_value_type(types.int64))


@cache
def whole(mode: str) -> Whole:
    return Whole(mode)
