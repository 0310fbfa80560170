"""How NumPy finds us: operators of arrays, ufuncs with their methods, and functions.

NumPy asks `__array_ufunc__` and `__array_function__` of the arguments.  What is not implemented is
refused with the nearest function that is: nothing ever becomes an object array.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..errors import GradientLostError, UnsupportedError
from ..ops import ROWS
from . import core, fast
from .arrays import BOOL, IMPLEMENTATIONS, Array, as_array, core_functions, moves, recording
from .elementwise import ROW_FUNCTIONS, elementwise
from .indexing import add_at, in_place
from .operators import COMPARISONS, LOGIC, OPERATORS, OWN_FILES, is_foreign, of_arrays
from .values import FUNCTIONS, Result, Var
from .wide import dtype_of

# Implementations of ufuncs that are no rows, by name; `ndtape.scipy.special` files its own.
UFUNCS: dict[str, Callable[..., Any]] = {}
ROW_OF_UFUNC = {name: row.name for row in ROWS.values() for name in [row.name, *row.ufunc.split()]}
REDUCE = {"add": np.sum, "multiply": np.prod, "maximum": np.max, "minimum": np.min,
          "logical_and": np.all, "logical_or": np.any, "bitwise_and": np.all,
          "bitwise_or": np.any}  # fmt: skip
ACCUMULATE = {"add": np.cumsum, "multiply": np.cumprod}

# --- one operation on arrays ----------------------------------------------------------------------

POWERS = {2: "square", 3: "cube", -1: "reciprocal"}  # exponents with a row of their own


def by_name(name: str, *operands: Any) -> Any:
    """A row by its name; small whole powers have rows of their own."""
    if name == "power" and operands[1].__class__ in (int, float):
        x, exponent = operands
        special = POWERS.get(exponent)
        if special is not None and (not isinstance(x, Array) or x.dtype.kind == "f"):
            return elementwise(special, x)
    return elementwise(name, *operands)


def binary(name: str) -> Callable[[Any, Any], Any]:
    """The operator of a row for an array on the left."""
    record = partial(by_name, name) if name == "power" else ROW_FUNCTIONS[name]

    def operator_(x: Any, y: Any) -> Any:
        if y.__class__ not in QUICK:
            if isinstance(y, (list, tuple)):
                y = as_array(y)
            elif not isinstance(y, Array) and is_foreign(y):
                return NotImplemented
        return record(x, y)

    return operator_


def reflected(name: str) -> Callable[[Any, Any], Any]:
    """The operator of a row for an array on the right of something else."""
    forward = binary(name)

    def operator_(y: Any, x: Any) -> Any:
        if isinstance(x, (list, tuple)):
            return forward(as_array(x), y)
        return NotImplemented if is_foreign(x) else of_arrays[name](x, y)

    return operator_


QUICK = {Array, Result, float, int, np.ndarray}


def logical(name: str) -> Callable[[Any, Any], Any]:
    """`&`, `|`, `^`, `~` of booleans; integers have no bitwise operations here."""

    def operator_(x: Any, *others: Any) -> Any:
        for operand in (x, *others):
            dtype = operand.dtype if isinstance(operand, Array) else np.asarray(
                operand.value if isinstance(operand, Var) else operand
            ).dtype  # fmt: skip
            if dtype != BOOL and not isinstance(operand, Result):
                raise UnsupportedError(
                    f"bitwise operations are recorded for booleans, not for {dtype} "
                    f"[{core.user_line()}]"
                )
        return elementwise(name, x, *others)

    return operator_


# --- ufuncs ---------------------------------------------------------------------------------------


def ufunc(ufunc: Any, method: str, *operands: Any, **options: Any) -> Any:
    """What NumPy calls for `np.sin(x)`, `np.add.reduce(x)`, `np.add.at(x, i, v)` and so on."""
    name = ufunc.__name__
    options = {k: v for k, v in options.items() if v is not None or k == "axis"}
    if method == "__call__":
        return _called(name, operands, options)
    if method == "at" and name in ("add", "subtract"):
        target, key, values = operands
        if not isinstance(target, Array):
            raise GradientLostError(_plain_target(f"np.{name}.at", target))
        return add_at(target, key, values, 1.0 if name == "add" else -1.0)
    if method in ("reduce", "accumulate"):
        table: dict[str, Any] = REDUCE if method == "reduce" else ACCUMULATE
        if name in table:
            options.setdefault("axis", 0)
            if "out" in options:
                (options["out"],) = options["out"]
            return IMPLEMENTATIONS[table[name]](*operands, **options)
    if method == "outer" and not options:
        x, y = (as_array(v) for v in operands)
        return _called(name, (x.reshape(x.shape + (1,) * y.ndim), y), {})
    raise unsupported(f"{name}.{method}" if method != "__call__" else name)


def _called(name: str, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    where, out = options.pop("where", True), options.pop("out", None)
    dtype = options.pop("dtype", None)
    casting = options.pop("casting", "same_kind")
    if options or casting != "same_kind":
        raise UnsupportedError(f"np.{name} with {', '.join(options) or 'casting'} is not recorded")
    result = _plainly(name, operands)
    if dtype is not None:
        result = as_array(result).astype(dtype)
    if where is not True:
        if out is None:
            raise UnsupportedError(
                f"np.{name} with where= and without out= leaves elements undefined: give out=, or "
                f"use np.where [{core.user_line()}]"
            )
        result = elementwise("where", where, result, out[0])
    if out is None:
        return result
    (target,) = out
    if not isinstance(target, Array):
        if any(map(moves, (*operands, where))):
            raise GradientLostError(_plain_target(f"np.{name} with out=", target))
        target[...] = result.value if recording(result) else result
        return target
    if not np.can_cast(dtype_of(result), target.dtype, "same_kind"):
        raise UnsupportedError(
            f"np.{name} with out=: a result of {dtype_of(result)} does not fit an array of "
            f"{target.dtype} [{core.user_line()}]"
        )
    target[...] = result
    return target


def _plainly(name: str, operands: tuple[Any, ...]) -> Any:
    if name in ("invert", "bitwise_and", "bitwise_or", "bitwise_xor"):
        if name == "bitwise_xor":
            return logical("not_equal")(*operands)
        return logical(ROW_OF_UFUNC[name])(*operands)
    if name == "matmul":
        return _product(*operands)
    if name == "float_power":  # always float64
        operands = tuple(as_array(x).astype(float) if x.__class__ in LISTS else x for x in operands)
    row = ROW_OF_UFUNC.get(name)
    if row is None:
        implementation = IMPLEMENTATIONS.get(getattr(np, name, None)) or UFUNCS.get(name)
        if implementation is None:
            raise unsupported(name)
        return implementation(*operands)
    return by_name(row, *[as_array(x) if isinstance(x, (list, tuple)) else x for x in operands])


def _plain_target(what: str, target: Any) -> str:
    return (
        f"{what} writes into a plain NumPy array of shape {np.shape(target)}, which cannot hold "
        "gradients: make it with nt.zeros(shape) or np.zeros_like(x) of a recording x "
        f"[{core.user_line()}]"
    )


def unsupported(name: str) -> UnsupportedError:
    """The error for a function that is not recorded, with the nearest one that is."""
    if name in FUNCTIONS:
        return UnsupportedError(f"{name} of these arguments: use nt.{name} [{core.user_line()}]")
    known = [*ROW_OF_UFUNC, *(getattr(f, "__name__", "") for f in IMPLEMENTATIONS)]
    near = difflib.get_close_matches(name.rpartition(".")[2], known, n=1, cutoff=0.75)
    prefix = "np." if hasattr(np, name.split(".")[0]) else "scipy.special."
    hint = f"the nearest that is: np.{near[0]}; " if near else ""
    return UnsupportedError(
        f"{prefix}{name} is not recorded for arrays; {hint}nt.primitive(value, vjp) adds your own, "
        f"and x.value gives plain numbers where no gradient is wanted [{core.user_line()}]"
    )


# --- functions ------------------------------------------------------------------------------------


def array_function(self: Any, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
    """What NumPy calls for `np.concatenate([x, y])` and the like."""
    implementation = IMPLEMENTATIONS.get(function)
    if implementation is None:
        module = getattr(function, "__module__", "numpy").removeprefix("numpy").strip(".")
        raise unsupported(f"{module}.{function.__name__}" if module else function.__name__)
    return implementation(*args, **kwargs)


_product = fast.binary(lambda x, y: IMPLEMENTATIONS[np.matmul](x, y))


def _matmul(x: Any, y: Any) -> Any:
    if y.__class__ not in QUICK and is_foreign(y) and not isinstance(y, (Array, list)):
        return NotImplemented
    return _product(x, y)


def _install() -> None:
    for name, dunder in {**OPERATORS, **COMPARISONS}.items():
        setattr(Array, f"__{dunder}__", binary(name))
        core_functions[name] = lambda x, y, _name=name: by_name(_name, x, y)
        if name in OPERATORS:
            setattr(Array, f"__r{dunder}__", reflected(name))
            setattr(Array, f"__i{dunder}__", in_place(name))
    for name, dunder in {**LOGIC, "not_equal": "xor"}.items():
        setattr(Array, f"__{dunder}__", logical(name))
        setattr(Array, f"__r{dunder}__", logical(name))
        core_functions.setdefault(name, lambda x, y, _name=name: logical(_name)(x, y))
        if dunder != "xor":
            setattr(Array, f"__i{dunder}__", in_place(name))
    more: dict[str, Any] = {
        "__neg__": ROW_FUNCTIONS["negative"],
        "__pos__": lambda x: x.copy(),
        "__abs__": ROW_FUNCTIONS["abs"],
        "__invert__": logical("logical_not"),
        "__matmul__": _matmul,
        "__rmatmul__": lambda y, x: IMPLEMENTATIONS[np.matmul](x, y),
        "__imatmul__": in_place("matmul"),
        "__divmod__": lambda x, y: (x // y, x % y),
        "__rdivmod__": lambda y, x: (x // y, x % y),
        "__array_ufunc__": lambda self, *args, **kwargs: ufunc(*args, **kwargs),
        "__array_function__": array_function,
        "__array_priority__": 100.0,
    }
    for name, function in more.items():
        setattr(Array, name, function)
    core_functions["matmul"] = lambda x, y: IMPLEMENTATIONS[np.matmul](x, y)
    Array.__hash__ = lambda self: object.__hash__(self)  # type: ignore[method-assign]


_install()
LISTS = {list, tuple, np.ndarray, Array}


def _scalar_ufunc(self: Any, ufunc_: Any, method: str, *operands: Any, **options: Any) -> Any:
    """A ufunc of scalars goes the short way; with an array among the operands, ours."""
    if options or method != "__call__":
        return ufunc(ufunc_, method, *operands, **options)
    function = FUNCTIONS.get(ufunc_.__name__)
    if function is None:
        return ufunc(ufunc_, method, *operands)
    for x in operands:
        if x.__class__ in LISTS:
            return ufunc(ufunc_, method, *operands)
    return function(*operands)


setattr(Var, "__array_ufunc__", _scalar_ufunc)  # noqa: B010
OWN_FILES.add(__file__)  # it stands between the user's line and the operator
scalar_function = Var.__array_function__


def _scalar_function(self: Var, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
    if function in IMPLEMENTATIONS:
        return IMPLEMENTATIONS[function](*args, **kwargs)
    return scalar_function(self, function, kinds, args, kwargs)


setattr(Var, "__array_function__", _scalar_function)  # noqa: B010
