"""Twins: what a function is recorded as when captured arrays are inputs; see parameters.py."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from ..errors import GradientLostError
from ..record.arrays import Array, private, scalar_view
from ..record.core import user_line
from ..record.tracing import Tracing
from ..trees import flatten, unflatten
from .captures import OURS, SCALARS, place_of
from .parameters import CONTAINERS, Parameters

TOLERANCE = {False: 1e-8, True: 1e-3}  # of numbers that must be the same; for float32


class NoTwinError(GradientLostError):
    """The twin does not what the function does, which is to be recorded plainly."""


class Twins:
    """Copies of everything that leads to arrays that are fed, with recording arrays in them."""

    def __init__(self, parameters: Parameters, variables: list[Any]) -> None:
        self.parameters = parameters
        self.arrays = dict(zip(parameters.places, map(_given, variables), strict=True))
        self.storages = [(x.storage, x.storage.tape, x.storage.slot) for x in self.arrays.values()]
        self.made: dict[int, Any] = {}  # by the id of what it is the twin of
        self.kept: list[tuple[Any, Any]] = []  # containers, and what has been put into them

    def of(self, x: Any) -> Any:
        """The twin of something; itself where nothing that is fed can be reached from it."""
        if isinstance(x, SCALARS) or id(x) not in self.parameters.affected:
            return x
        if id(x) not in self.made:
            self._make(x)
        return self.made[id(x)]

    def check(self, y: Any) -> None:
        """Raise unless arrays and containers are as they were given, and none has got out in y."""
        for storage, tape, slot in self.storages:
            if storage.map is not None or storage.tape is not tape or storage.slot != slot:
                self._refuse("writes into a captured array")
        for twin, parts in self.kept:
            if not _as_made(_theirs(_contents(twin)), parts):
                self._refuse("writes into what it captures")
        ours = {id(twin) for twin in self.made.values()}
        if any(id(x) in ours for x in flatten(y)[0]):
            self._refuse("returns what it captures")
        if self.parameters.captures.changed():
            self._refuse("changes what it captures")

    def _refuse(self, what: str) -> NoReturn:
        raise NoTwinError(f"a recording with captured arrays as inputs {what}")

    def _at(self, get: str, holder: Any, key: Any, value: Any) -> Any:
        """What a place holds in a twin."""
        found = self.arrays.get(place_of(get, holder, key))
        return self.of(value) if found is None else found

    def _make(self, x: Any) -> None:
        cls = type(x)
        if cls is types.FunctionType:
            self._function(x)
        elif cls is types.MethodType:
            self.made[id(x)] = types.MethodType(self.of(x.__func__), self.of(x.__self__))
        elif cls is functools.partial:
            words = self.of(x.keywords)
            self.made[id(x)] = functools.partial(self.of(x.func), *self.of(x.args), **words)
        elif hasattr(cls, "__captures__"):
            self.made[id(x)] = self.of(x.__captures__())
        elif isinstance(x, tuple):
            parts = [self._at("item", x, i, value) for i, value in enumerate(x)]
            self.made[id(x)] = tuple(parts) if cls is tuple else cls._make(parts)
        elif cls in CONTAINERS:
            twin = self.made[id(x)] = cls()
            if cls is list:
                twin += [self._at("item", x, i, value) for i, value in enumerate(x)]
            else:
                twin.update({key: self._at("item", x, key, value) for key, value in x.items()})
            self.kept.append((twin, _contents(twin)))
        else:
            twin = self.made[id(x)] = object.__new__(cls)
            own = {name: self._at("attribute", x, name, value)
                   for name, value in _theirs(x.__dict__).items()}  # fmt: skip
            twin.__dict__.update(own)
            self.kept.append((twin.__dict__, own))

    def _function(self, f: types.FunctionType) -> None:
        cells = tuple([self._cell(cell) for cell in f.__closure__ or ()])
        space = self._globals(f.__globals__)
        if id(f) in self.made:  # a cell or a global has led back to f
            return
        twin = types.FunctionType(f.__code__, space, f.__name__, None, cells or None)
        self.made[id(f)] = twin
        self._fill(cells, f)
        twin.__qualname__, twin.__module__ = f.__qualname__, f.__module__
        twin.__doc__ = f.__doc__
        own = {name: self._at("attribute", f, name, value)
               for name, value in _theirs(f.__dict__).items()}  # fmt: skip
        twin.__dict__.update(own)
        self.kept.append((twin.__dict__, dict(twin.__dict__)))
        twin.__annotations__ = f.__annotations__
        twin.__defaults__ = self._at("attribute", f, "__defaults__", f.__defaults__)
        twin.__kwdefaults__ = self._at("attribute", f, "__kwdefaults__", f.__kwdefaults__)

    def _cell(self, cell: types.CellType) -> types.CellType:
        """A cell to be filled, or the very same where nothing in it changes."""
        if place_of("cell", cell, None) not in self.parameters.affected:
            return cell
        return self.made.setdefault(id(cell), types.CellType())  # type: ignore[no-any-return]

    def _fill(self, cells: tuple[types.CellType, ...], f: types.FunctionType) -> None:
        for twin, cell in zip(cells, f.__closure__ or (), strict=True):
            if twin is not cell and _contents(twin) == []:
                twin.cell_contents = self._at("cell", cell, None, cell.cell_contents)
                self.kept.append((twin, _contents(twin)))

    def _globals(self, space: dict[str, Any]) -> dict[str, Any]:
        """A copy of a module's globals, one for all functions of the module."""
        names = self.parameters.globals.get(id(space))
        if names is None:
            return space
        if id(space) not in self.made:
            twin = self.made[id(space)] = dict(space)
            for name in names:
                twin[name] = self._at("item", space, name, space[name])
            self.kept.append((twin, dict(twin)))
        return self.made[id(space)]  # type: ignore[no-any-return]


def _given(variable: Any) -> Array:
    """A variable as an array whose writes can be seen."""
    return private(variable) if isinstance(variable, Array) else scalar_view(variable)


def _theirs(x: Any) -> Any:
    """Attributes without what traced functions and methods keep there."""
    if not isinstance(x, dict):
        return x
    return {k: value for k, value in x.items() if not (type(k) is str and k.startswith(OURS))}


def _contents(x: Any) -> Any:
    if isinstance(x, types.CellType):
        try:
            return [x.cell_contents]
        except ValueError:
            return []
    return x.copy()


def _as_made(now: Any, then: Any) -> bool:
    if isinstance(now, dict):
        return len(now) == len(then) and all(
            a is b and now[a] is then[b] for a, b in zip(now, then, strict=True)
        )
    return len(now) == len(then) and all(a is b for a, b in zip(now, then, strict=True))


def compare(f: Callable[..., Any], args: Any, kwargs: Any, recorded: Any) -> None:
    """Raise unless plain Python gives the numbers that were recorded with arrays as inputs.

    A function may do otherwise where it meets recording arrays (`isinstance`, `except TypeError`).
    """
    args, kwargs = copied((args, kwargs))
    got, structure = flatten(recorded)
    expected, other = flatten(f(*args, **kwargs))
    if structure != other or not all(map(_close, got, expected)):
        raise NoTwinError("a recording with captured arrays as inputs gives other numbers")


def copied(tree: Any) -> Any:
    """The same with arrays of its own, which a function may write into."""
    leaves, structure = flatten(tree)
    return unflatten(structure, [x.copy() if isinstance(x, np.ndarray) else x for x in leaves])


def _close(x: Any, y: Any) -> bool:
    """Equal but for rounding; what is no number is not compared."""
    if isinstance(x, SCALARS) and isinstance(y, (str, bytes, type(None))):
        return bool(x == y)
    if not isinstance(x, (*SCALARS, np.ndarray)):
        return True
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or x.dtype.kind not in "fiub" or y.dtype.kind not in "fiub":
        return False
    single = np.float32 in (x.dtype, y.dtype)
    with np.errstate(all="ignore"):
        scale = np.abs(y).max(initial=0.0, where=np.isfinite(y)) + 1e-300
        return bool(np.allclose(x, y, TOLERANCE[single], TOLERANCE[single] * scale, True))


class Strict(Tracing):
    """Tracing of a recording with inputs in place of captured arrays: a text of numbers raises.

    Of an argument `print` may show the number; a function that makes a text of a plain array may
    do anything with it.
    """

    def text(self, number: Any) -> str:
        if self.tape.ended:
            return super().text(number)
        raise GradientLostError(f"a text of a captured array [{user_line()}]")
