"""What the names of a user's function mean while it records.

The function's own code is compiled, but with other globals: `np`, `math`, `nt`, the builtins and
functions that it calls are replaced by what also takes recording values.  Numba's own functions
are left alone, so nothing that users compile elsewhere is changed by us.
"""

from __future__ import annotations

import builtins
import importlib
import math
import types as python_types
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, overload

from .. import functions
from .._jit import jit
from ..ops import INTERNAL, ROWS
from ..transforms.gradients import stop_gradient
from .operators import mode_of, on_arrays, on_scalar_powers, on_scalars, shaped, whole
from .scalars import ARITY, TABLE_ROWS, is_number, recorder
from .types import LINEAR, MODES, SCALARS, VarType

PLAIN = ""  # the mode of a function that does not record: only ndtape's own names are replaced
REPLACED: dict[
    int, Any
] = {}  # id of a function -> what stands for it; filled in here and elsewhere
MADE: dict[int, Callable[[str], Any]] = {}  # the same where it depends on the mode
NATIVE: dict[int, Any] = {}  # id of a function -> what stands for it where nothing records
ROW_STUBS: set[int] = set()  # ids of the stubs of rows
_alive: list[Any] = []


def replaces(*originals: Any) -> Callable[[Any], Any]:
    """Decorator: this stub stands for these functions of Python, NumPy or ndtape."""

    def register(stub: Any) -> Any:
        for original in originals:
            REPLACED[id(original)] = stub
            _alive.append(original)
        return stub

    return register


def makes(*originals: Any) -> Callable[[Any], Any]:
    """Decorator: what this function of the mode answers stands for these functions.

    The first of them is NumPy's, which stands for the others where nothing records.
    """

    def register(make: Callable[[str], Any]) -> Any:
        NATIVE.update((id(other), originals[0]) for other in originals[1:])
        for original in originals:
            MADE[id(original)] = cache(make)
            _alive.append(original)
        return make

    return register


class Namespace(python_types.ModuleType):
    """A module whose functions also take recording values."""

    def __init__(self, module: python_types.ModuleType, mode: str) -> None:
        super().__init__(module.__name__)
        self._module = module
        self._mode = mode

    def __reduce__(self) -> Any:
        return _restored, (self._module.__name__, self._mode)

    def __getattr__(self, name: str) -> Any:
        return replaced(getattr(self._module, name), self._mode)


def _restored(name: str, mode: str) -> Namespace:
    """A namespace in another process: Numba's cache keeps those of functions in signatures."""
    return namespace(importlib.import_module(name), mode)


@cache
def namespace(module: python_types.ModuleType, mode: str) -> Namespace:
    return Namespace(module, mode)


ROOTS = {"numpy", "math", "ndtape"}


def replaced(value: Any, mode: str) -> Any:
    """What stands for a global, or an attribute of a module, in a function of some mode."""
    if isinstance(value, python_types.ModuleType):
        return namespace(value, mode) if value.__name__.split(".")[0] in ROOTS else value
    if mode:
        made = MADE.get(id(value))
        return REPLACED.get(id(value), value) if made is None else made(mode)
    if id(value) in NATIVE:
        return NATIVE[id(value)]
    own = (getattr(value, "__module__", None) or "").startswith("ndtape.")
    return REPLACED.get(id(value), value) if own else value


# --- functions of the table -------------------------------------------------------------------


def _stub(name: str, original: Any) -> Any:
    """A function that records a row.

    Plain numbers go to `original`, a function that Numba knows, or else through the row.
    """
    count = ARITY[name]
    stub: Any = shaped(None, count)
    stub.__name__ = stub.__qualname__ = name
    ROW_STUBS.add(id(stub))
    _alive.append(stub)
    if name == "power":
        on_scalar_powers(stub)
    else:
        on_scalars(stub, name)
    on_arrays(stub, name)

    def plain(*given: Any) -> Any:
        return None if mode_of(*given) else _plain(name, original, given)

    overload(stub, strict=False)(shaped(plain, count))
    return stub


def _plain(name: str, original: Any, given: tuple[Any, ...]) -> Any:
    """Without recording values: as Numba has it, or the row's own value."""
    count = len(given) - 1
    if original is None and any(isinstance(t, types.Array) for t in given):
        original = next((getattr(np, n) for n in ROWS[name].ufunc.split() if hasattr(np, n)), None)
    if original is not None:
        return (lambda a: original(a), lambda a, b: original(a, b),
                lambda a, b, c: original(a, b, c))[count]  # fmt: skip
    if not all(is_number(t) for t in given):
        return None
    f = recorder(name, LINEAR)
    if ROWS[name].boolean:
        return (lambda a: f(a), lambda a, b: f(a, b))[count]
    return (lambda a: f(a)._value, lambda a, b: f(a, b)._value,
            lambda a, b, c: f(a, b, c)._value)[count]  # fmt: skip


OTHER_NAMES: dict[str, tuple[Any, ...]] = {
    "where": (np.where,), "nan_to_num": (np.nan_to_num,), "logical_not": (np.logical_not,)
}  # fmt: skip
LACKING = {np.heaviside, np.clip, getattr(math, "cbrt", None)}  # that Numba has not, for scalars
OTHERS = {math.remainder}  # functions of math that are not what NumPy has under their names

for _row in TABLE_ROWS:
    if _row.name in INTERNAL - {"copy"}:
        continue
    _given = [getattr(module, name, None) for name in _row.ufunc.split() for module in (np, math)]
    for _found in [*_given, *OTHER_NAMES.get(_row.name, ())]:
        if _found is not None and _found not in OTHERS:
            replaces(_found)(_stub(_row.name, _found))
    _own = _stub(_row.name, None)
    NATIVE.update((id(f), _own) for f in LACKING.intersection(_given) if f is not None)
    for _name in [_row.name, *_row.ufunc.split()]:
        if hasattr(functions, _name):
            replaces(getattr(functions, _name))(_own)
replaces(builtins.abs)(_stub("abs", abs))
replaces(builtins.pow)(_stub("power", pow))


@replaces(stop_gradient)
def _stop(a): ...


on_scalars(_stop, "stop")
on_arrays(_stop, "stop")


@overload(_stop)
def _stop_plain(a):
    return None if mode_of(a) else lambda a: a


# --- builtins ---------------------------------------------------------------------------------


@replaces(float, np.float64)
def _float(a): ...


@overload(_float)
def _float_typed(a):
    """A recording value stays one: in compiled code nothing is lost."""
    return (lambda a: a) if isinstance(a, VarType) else (lambda a: float(a))


@replaces(int)
def _int(a): ...


class _IntOf(AbstractTemplate):
    key = _int

    def generic(self, args: Any, kws: Any) -> Any:
        records = len(args) == 1 and isinstance(args[0], VarType)
        return signature(types.int64, args[0]) if records else None


infer_global(_int, types.Function(_IntOf))
for _mode in MODES:
    lower_builtin(_int, SCALARS[_mode])(whole(_mode).lower)


@overload(_int)
def _int_typed(a):
    return None if isinstance(a, VarType) else lambda a: int(a)


def _rounding(name: str, original: Any) -> Any:
    """math.floor, math.ceil, math.trunc and round: whole numbers in Python."""

    def stub(a): ...

    @overload(stub)
    def typed(a):
        if not isinstance(a, VarType):
            return lambda a: original(a)
        f, to_int = recorder(name, a.mode), whole(a.mode)
        return lambda a: to_int(f(a))

    return stub


for _function, _name in ((math.floor, "floor"), (math.ceil, "ceil"), (math.trunc, "trunc"),
                         (round, "rint")):  # fmt: skip
    replaces(_function)(_rounding(_name, _function))


def _extreme(original: Any, larger: bool) -> Any:
    """Python's max or min: the first operand unless the next one beats it."""

    def stub(*args): ...

    @overload(stub)
    def typed(*args):
        if not mode_of(*args) and not any(
            mode_of(getattr(t, "dtype", None), *getattr(t, "types", ())) for t in args
        ):
            return _plain_extreme(original, len(args))
        if len(args) == 1:
            return of_sequence
        return of_pairs(len(args))

    def of_sequence(*args):
        best = args[0][0]
        for x in args[0]:
            best = _better(x, best)
        return best

    @jit
    def _better(x, best):
        return (x if x > best else best) if larger else (x if x < best else best)

    def of_pairs(count: int) -> Any:
        text = "args[0]"
        for i in range(1, count):
            text = f"better(args[{i}], {text})"
        space = {"better": _better}
        exec(f"def pairs(*args): return {text}", space)
        return space["pairs"]

    return stub


def _plain_extreme(original: Any, count: int) -> Any:
    space = {"original": original}
    exec(f"def plain(*args): return original({', '.join(f'args[{i}]' for i in range(count))})",
         space)  # fmt: skip
    return space["plain"]


replaces(max)(_extreme(max, True))
replaces(min)(_extreme(min, False))
