"""Functions that work element by element and are not a single row of the table."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..record.arrays import as_array, recording
from ..record.elementwise import elementwise
from .arguments import (
    cast,
    contains_recording,
    deliver,
    dtype_of,
    fail,
    finish,
    invalid,
    plain,
    unsupported,
)
from .reductions import truth
from .registry import function


def ufunc_options(name: str, options: dict[str, Any]) -> None:
    """Keywords of ufuncs that implementations here do not take."""
    if options.get("where", True) is True:
        options.pop("where", None)
    unsupported(name, **options)


@function("where")
def where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """x where the condition holds, y elsewhere; with one argument, the places where it holds."""
    if x is None and y is None:
        return np.nonzero(as_array(condition))
    if x is None or y is None:
        invalid("np.where takes both x and y, or neither")
    return elementwise("where", truth(condition), *_listless(x, y))


def _listless(*operands: Any) -> list[Any]:
    """Operands as `elementwise` takes them: nested lists become arrays, numbers stay weak."""
    return [as_array(x) if isinstance(x, (list, tuple)) else x for x in operands]


@function("select")
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """The first choice whose condition holds."""
    if len(condlist) != len(choicelist) or not len(condlist):
        invalid(f"np.select: {len(condlist)} conditions for {len(choicelist)} choices")
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = np.where(condition, choice, result)
    return _widest(result, condlist)


def _widest(result: Any, others: Any) -> Any:
    """A result in the shape to which it and the others broadcast."""
    shape = np.broadcast_shapes(*(as_array(x).shape for x in (result, *others)))
    return result if as_array(result).shape == shape else np.broadcast_to(result, shape)


@function("choose")
def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    """The a-th of the choices, element by element."""
    choices, n = list(choices), len(choices)
    numbers = plain(a)
    if mode == "wrap":
        a = np.mod(a, n)
    elif mode == "clip":
        a = np.clip(a, 0, n - 1)
    elif np.any((numbers < np.zeros(())) | (numbers >= np.array(n))):
        fail(f"np.choose: an index outside 0..{n - 1}")
    result = np.where(True, choices[-1], 0.0)  # an array of its own
    if recording(a) and as_array(a).dtype.kind != "b":  # in a replay, nan for an index outside
        result = np.where(np.equal(a, n - 1), result, np.nan)
    for i in range(n - 2, -1, -1):
        result = np.where(np.equal(a, i), choices[i], result)
    return deliver(_widest(result, [a, *choices]), out, "choose")


@function("piecewise")
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """Each function where its condition holds, the last one elsewhere.

    Every function is called with the whole of x; what it gives elsewhere contributes nothing.
    """
    conditions = list(condlist) if isinstance(condlist, (list, tuple)) else [condlist]
    if conditions and not contains_recording(conditions[0]) and np.ndim(conditions[0]) == 0:
        conditions = [condlist] if as_array(x).ndim else conditions
    values = [f(x, *args, **kw) if callable(f) else f for f in funclist]
    rest = values.pop() if len(values) == len(conditions) + 1 else 0.0
    if len(values) != len(conditions):
        invalid(f"np.piecewise: {len(conditions)} conditions for {len(funclist)} functions")
    # The last of the conditions that hold decides, as in NumPy.
    for condition, value in zip(conditions, values, strict=True):
        rest = np.where(condition, value, rest)
    return cast(_widest(rest, [x]), as_array(x).dtype)[...]


@function("clip")
def clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None,
    max: Any = None, **options: Any,
) -> Any:  # fmt: skip
    """Between bounds, which may be recording; at a bound the derivative is that of x."""
    ufunc_options("clip", options)
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    x, low, high = _listless(a, low, high)
    if low is None and high is None:
        return deliver(np.copy(x), out, "clip")
    if dtype_of(*(v for v in (x, low, high) if v is not None)).kind == "f":
        z = elementwise(
            "clip", x, -np.inf if low is None else low, np.inf if high is None else high
        )
    else:  # whole numbers have no infinity, and no derivative
        z = x if low is None else elementwise("maximum", x, low)
        z = z if high is None else elementwise("minimum", z, high)
    return deliver(z, out, "clip")


@function("round", "around")
def round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    """To decimals, ties to even; derivative 0."""
    x = as_array(a)
    if x.dtype.kind != "f":
        return deliver(x if decimals >= 0 else _tens(x, decimals), out, "round")
    if not decimals:
        return deliver(elementwise("rint", x), out, "round")
    scale = 10.0 ** abs(decimals)
    z = elementwise("rint", x * scale if decimals > 0 else x / scale)
    return deliver(z / scale if decimals > 0 else z * scale, out, "round")


def _tens(x: Any, decimals: int) -> Any:
    scale = 10**-decimals
    return cast(elementwise("rint", cast(x, np.float64) / scale) * scale, np.int64)


@function("fix")
def fix(x: Any, out: Any = None) -> Any:
    """Whole part; derivative 0."""
    return deliver(elementwise("trunc", x), out, "fix")


@function("nan_to_num")
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """Numbers for nan and infinities; derivative 0 where x is replaced."""
    a = as_array(x)
    if a.dtype.kind == "f":
        limit = float(np.finfo(a.dtype).max)
        z = elementwise("where", elementwise("isnan", a), nan, a)
        z = elementwise("where", elementwise("equal", a, np.inf), _or(posinf, limit), z)
        z = elementwise("where", elementwise("equal", a, -np.inf), _or(neginf, -limit), z)
    else:
        z = np.copy(a)
    if not copy and recording(x) and a.ndim:
        x[...] = z
        return x
    return finish(z)


def _or(x: Any, other: Any) -> Any:
    return other if x is None else x


@function("isclose")
def isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Any:
    """Whether elements are close: recording booleans."""
    x, y = _listless(a, b)
    finite = elementwise("isfinite", y)
    near = elementwise("abs", x - y) <= atol + rtol * elementwise("abs", y)
    close = elementwise(
        "logical_or", elementwise("logical_and", near, finite), elementwise("equal", x, y)
    )
    if equal_nan:
        both = elementwise("logical_and", elementwise("isnan", x), elementwise("isnan", y))
        close = elementwise("logical_or", close, both)
    return close


@function("isin")
def isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *,
    kind: Any = None,
) -> Any:  # fmt: skip
    """Whether elements are among others: recording booleans."""
    unsupported("isin", kind=kind)
    x, others = as_array(element), as_array(np.ravel(as_array(test_elements)))
    found = np.any(np.expand_dims(x, -1) == others, -1)
    return elementwise("logical_not", found) if invert else found


@function("isposinf")
def isposinf(x: Any, out: Any = None) -> Any:
    """Whether elements are +inf."""
    return deliver(elementwise("equal", x, np.inf), out, "isposinf")


@function("isneginf")
def isneginf(x: Any, out: Any = None) -> Any:
    """Whether elements are -inf."""
    return deliver(elementwise("equal", x, -np.inf), out, "isneginf")


@function("sinc")
def sinc(x: Any) -> Any:
    """sin(pi x) / (pi x), by its series near 0, where the quotient has no derivatives."""
    y = np.pi * as_array(x)
    s = elementwise("square", y)
    small = elementwise("less", s, 0.01)
    series: Any = 1.0
    for n in (11, 9, 7, 5, 3):  # 1 - s/3! + s²/5! - ..., to 1e-17 where s < 0.01
        series = 1.0 - s / float(n * (n - 1)) * series
    safe = elementwise("where", small, 1.0, y)
    return finish(as_array(elementwise("where", small, series, elementwise("sin", safe) / safe)))


# --- complex numbers: there are none --------------------------------------------------------------


@function("real", "conjugate", "conj", "real_if_close")
def real(val: Any, **options: Any) -> Any:
    """The array itself: recording arrays are real."""
    options.pop("tol", None)
    ufunc_options("real", options)
    return val


@function("imag")
def imag(val: Any) -> Any:
    """Zeros: recording arrays are real."""
    return np.zeros_like(val)


@function("isreal")
def isreal(x: Any) -> Any:
    """True everywhere: recording arrays are real."""
    return np.ones(as_array(x).shape, np.bool_)[()]


@function("iscomplex")
def iscomplex(x: Any) -> Any:
    """False everywhere: recording arrays are real."""
    return np.zeros(as_array(x).shape, np.bool_)[()]


# --- ufuncs that are made of rows -----------------------------------------------------------------


@function("divmod")
def divmod(x1: Any, x2: Any, /, **options: Any) -> tuple[Any, Any]:
    """Quotient rounded down, and remainder."""
    ufunc_options("divmod", options)
    return elementwise("floor_divide", x1, x2), elementwise("mod", x1, x2)


@function("modf")
def modf(x: Any, /, **options: Any) -> tuple[Any, Any]:
    """Fractional part, which has derivative 1, and whole part."""
    ufunc_options("modf", options)
    whole = elementwise("trunc", x)
    return x - whole, whole


@function("fmod")
def fmod(x1: Any, x2: Any, /, **options: Any) -> Any:
    """Remainder with the sign of x1."""
    out = options.pop("out", None)
    ufunc_options("fmod", options)
    size = abs(x2)
    negative = elementwise("less", x1, 0)
    rest = elementwise("mod", elementwise("where", negative, -x1, x1), size)
    return deliver(elementwise("where", negative, -rest, rest), out, "fmod")


@function("logaddexp2")
def logaddexp2(x1: Any, x2: Any, /, **options: Any) -> Any:
    """log2(2**x1 + 2**x2)."""
    out = options.pop("out", None)
    ufunc_options("logaddexp2", options)
    log2 = float(np.log(2.0))
    return deliver(elementwise("logaddexp", x1 * log2, x2 * log2) / log2, out, "logaddexp2")


@function("logical_xor")
def logical_xor(x1: Any, x2: Any, /, **options: Any) -> Any:
    """Whether just one is true."""
    out = options.pop("out", None)
    ufunc_options("logical_xor", options)
    return deliver(elementwise("not_equal", truth(x1), truth(x2)), out, "logical_xor")


@function("bitwise_xor")
def bitwise_xor(x1: Any, x2: Any, /, **options: Any) -> Any:
    """Whether just one is true, of booleans."""
    if dtype_of(x1, x2).kind != "b":
        invalid("np.bitwise_xor is recorded for booleans only")
    return logical_xor(x1, x2, **options)


@function("signbit")
def signbit(x: Any, /, **options: Any) -> Any:
    """Whether the sign is negative, also that of -0."""
    out = options.pop("out", None)
    ufunc_options("signbit", options)
    return deliver(elementwise("less", elementwise("copysign", 1.0, x), 0.0), out, "signbit")


@function("ldexp")
def ldexp(x1: Any, x2: Any, /, **options: Any) -> Any:
    """x1 * 2**x2."""
    out = options.pop("out", None)
    ufunc_options("ldexp", options)
    return deliver(x1 * elementwise("exp2", cast(x2, as_array(x1).dtype)), out, "ldexp")
