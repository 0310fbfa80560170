"""Recording values that a function captures, taken out and given back as arguments.

Solvers and checkpoints call a function on plain numbers, and their derivative rules call it on
recording ones: ``lambda x: x * x - a`` must be handed its `a` each time, and may not keep the one
it was made with (JAX calls this closure conversion).  Looked at are closure cells, globals that are
read, defaults, `partial`, bound methods, attributes of the user's objects and containers of all
these.  What is not found is noticed when the function's value turns out to be recording.
"""

from __future__ import annotations

import dis
import functools
import sysconfig
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..record.arrays import escaped, moves
from ..record.core import INSIDE
from ..traced.function import Function
from ..trees import flatten, unflatten

Recipe: TypeAlias = Callable[[Sequence[Any]], Any]  # the object with other values in it

ROOTS = tuple({sysconfig.get_paths()[k] for k in ("stdlib", "purelib", "platlib")})
DEPTH = 8  # functions in objects in functions
MOST = 10_000  # objects looked at; who captures more hears of it when a gradient would be lost
NUMBERS = (int, float, complex, str, bytes, np.generic)
SIMPLE = (*NUMBERS, type(None), types.ModuleType, type, types.CodeType)


class Closure:
    """A function apart from the recording values that it captures.

    `values` are those, each once; `closure(others)` is the function with others in their place.
    It does not hold on to the function, nor to the values, unless nothing is captured.

    With `frozen` the cells and globals that f itself reads (not functions that it calls) are as
    they are now, such as a loop's variable that f will be called with when the loop has gone on;
    `plain` are the numbers and texts among them.
    """

    def __init__(self, f: Callable[..., Any], frozen: bool = False) -> None:
        self.values: list[Any] = []
        self.plain: list[Any] = []
        self._frozen = frozen
        self._known: dict[int, Recipe | None] = {}
        self._alive: list[Any] = []  # whose ids are known
        recipe = self._look(f, 0)
        self._build: Recipe = (lambda _: f) if recipe is None else recipe
        del self._known, self._alive

    def __call__(self, values: Sequence[Any]) -> Callable[..., Any]:
        return self._build(values)  # type: ignore[no-any-return]

    def forget(self) -> None:
        """Hold the values no longer: they belong to a tape that may go."""
        self.values = []

    def _look(self, x: Any, depth: int) -> Recipe | None:
        """How to make x with other values; None where there are none in it."""
        if isinstance(x, SIMPLE) or depth > DEPTH or len(self._alive) > MOST:
            return None
        if id(x) not in self._known:
            self._known[id(x)] = None  # while it is looked at: a function that refers to itself
            self._alive.append(x)
            self._known[id(x)] = self._parts(x, depth + 1)
        return self._known[id(x)]

    def _parts(self, x: Any, depth: int) -> Recipe | None:
        if moves(x) and not escaped(x):
            place = len(self.values)
            self.values.append(x)
            return lambda values: values[place]
        if isinstance(x, types.FunctionType):
            return self._function(x, depth)
        if isinstance(x, types.MethodType):
            return self._made(
                lambda f, instance: types.MethodType(f, instance),
                [x.__func__, x.__self__],
                depth,
            )
        if isinstance(x, functools.partial):
            return self._made(
                lambda f, args, keywords: functools.partial(f, *args, **keywords),
                [x.func, x.args, x.keywords],
                depth,
            )
        if isinstance(x, Function):
            return self._look(x.f, depth - 1)
        leaves, structure = flatten(x)
        if len(leaves) != 1 or leaves[0] is not x:
            if all(issubclass(kind, SIMPLE) for kind in set(map(type, leaves))):
                return None  # a long list of numbers
            return self._made(lambda *parts: unflatten(structure, parts), leaves, depth)
        return self._object(x, depth)

    def _made(self, make: Callable[..., Any], parts: list[Any], depth: int) -> Recipe | None:
        """The recipe for something that is made from parts."""
        recipes = [self._look(part, depth) for part in parts]
        if not any(recipes):
            return None
        kept = [None if r else part for r, part in zip(recipes, parts, strict=True)]

        def recipe(values: Sequence[Any]) -> Any:
            return make(*[r(values) if r else k for r, k in zip(recipes, kept, strict=True)])

        return recipe

    def _function(self, f: types.FunctionType, depth: int) -> Recipe | None:
        cells = list(f.__closure__ or ())
        contents = [self._look(_contents(cell), depth) for cell in cells]
        names = [] if _library(f.__code__.co_filename) else sorted(set(names_in(f.__code__)))
        read = {n: self._look(f.__globals__[n], depth) for n in names if n in f.__globals__}
        globals_ = {n: recipe for n, recipe in read.items() if recipe and _is_global(n, f.__code__)}
        defaults = self._look(f.__defaults__, depth)
        keywords = self._look(f.__kwdefaults__, depth)
        frozen = self._frozen and depth == 1 and bool(cells or read)
        if not (frozen or any(contents) or globals_ or defaults or keywords):
            return None
        # The function itself would keep the old values alive, so its parts are kept.
        code, name, space = f.__code__, f.__name__, f.__globals__
        now = {n: space[n] for n, recipe in read.items() if not recipe} if frozen else {}
        if frozen:
            cells = [cell if r else _frozen(cell) for r, cell in zip(contents, cells, strict=True)]
            seen = [*map(_contents, cells), *now.values()]
            self.plain = [x for x in seen if isinstance(x, NUMBERS)]
        kept = [None if r else cell for r, cell in zip(contents, cells, strict=True)]
        fixed = None if defaults else f.__defaults__, None if keywords else f.__kwdefaults__

        def recipe(values: Sequence[Any]) -> Any:
            new: Any = tuple(types.CellType(r(values)) if r else cell
                        for r, cell in zip(contents, kept, strict=True))  # fmt: skip
            own = space
            if globals_ or now:
                own = {**space, **now, **{n: r(values) for n, r in globals_.items()}}
            made = types.FunctionType(
                code, own, name, defaults(values) if defaults else fixed[0], new
            )
            made.__kwdefaults__ = keywords(values) if keywords else fixed[1]
            return made

        return recipe

    def _object(self, x: Any, depth: int) -> Recipe | None:
        """An object of a user's class, copied with other attributes."""
        cls, own = type(x), getattr(x, "__dict__", None)
        if not isinstance(own, dict) or f"{cls.__module__}.".startswith(INSIDE):
            return None
        names = list(own)

        def make(*parts: Any) -> Any:
            made = object.__new__(cls)
            made.__dict__.update(zip(names, parts, strict=True))
            return made

        return self._made(make, list(own.values()), depth)


def names_in(code: types.CodeType) -> Iterator[str]:
    """Names of globals and attributes in a function and in those written inside it."""
    yield from dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from names_in(constant)


def _is_global(name: str, code: types.CodeType) -> bool:
    """Whether the code reads the global of that name, and not only attributes that are called so.

    Asked only where there is a global with recording values: reading the bytecode takes time.
    """
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return any(
        i.argval == name and i.opname in ("LOAD_GLOBAL", "LOAD_NAME")
        for i in dis.get_instructions(code)
    ) or any(_is_global(name, c) for c in inner)


def _frozen(cell: Any) -> Any:
    """A cell with the same contents that nobody else writes into."""
    try:
        return types.CellType(cell.cell_contents)
    except ValueError:  # not assigned yet
        return cell


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _library(file: str) -> bool:
    """Code that reads no globals of the user's."""
    return not file or file.startswith(("<frozen", *ROOTS))
