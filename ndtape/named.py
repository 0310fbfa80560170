"""Functions made of functions, which say so: `<gradient of f(x, k) with respect to x>`.

Python shows a closure as the function it was written in, at an address.  A `Named` one is called
like the closure (it is a `functools.partial`, which the interpreter calls without a Python frame)
and says what it is.  What a transform returns is `Transformed`: it also looks like the function
it was made from (name, documentation, signature), and can be pickled, by being made again.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial, update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any

from .errors import ArgumentError

if TYPE_CHECKING:
    from typing import Self

MOST = 60  # characters of a signature


class Named(partial[Any]):
    """A function that was made of another one, and `what` it is to that: "gradient", "pullback".

    `argnums` are the arguments that it is taken by, where it is a derivative.

    >>> def f(x): ...
    >>> Named(lambda w: w, "pullback", f)
    <pullback of f(x)>
    """

    what: str
    of: Any
    argnums: Any

    def __new__(cls, function: Callable[..., Any], what: str, of: Any, argnums: Any = None) -> Self:
        self = super().__new__(cls, function)
        self.what, self.of, self.argnums = what, of, argnums
        return self

    def __repr__(self) -> str:
        by = "" if self.argnums is None else chosen(self.of, self.argnums)
        return f"<{self.what} of {called(self.of)}{by and f' with respect to {by}'}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A method, like a function that stands in a class."""
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> Any:
        raise TypeError(f"{self} belongs to a recording, which stays in its process")


class Transformed(Named):
    """What a transform makes of a function: `make(f, *options)`, with the looks of f.

    Raises `ArgumentError` where f is no function.
    """

    made: tuple[Callable[..., Any], tuple[Any, ...]]

    def __new__(
        cls,
        function: Callable[..., Any],
        what: str,
        argnums: Any,
        make: Callable[..., Any],
        f: Callable[..., Any],
        *options: Any,
    ) -> Self:
        must_be_function(f, make.__name__)
        must_be_positions(argnums, make.__name__)
        self = super().__new__(cls, function, what, f, argnums)
        self.made = make, (f, *options)
        update_wrapper(self, f, updated=())
        return self

    def __reduce__(self) -> Any:
        """A decorated function is found by its name; others are made again."""
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        for name in getattr(self, "__qualname__", "?").split("."):
            found = getattr(found, name, None)
        return self.__qualname__ if found is self else self.made


def counted(n: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "tape"), counted(0, "entry")
    ('1 tape', '0 entries')
    """
    many = thing.removesuffix("y") + "ies" if thing.endswith("y") else f"{thing}s"
    return f"{n} {thing if n == 1 else many}"


def must_be_function(f: Any, name: str) -> None:
    """Raise `ArgumentError` unless f can be called; `name` is the transform's."""
    if not callable(f):
        raise ArgumentError(
            f"nt.{name} takes a function, not {f!r:.60}: write nt.{name}(f)(x), not nt.{name}(f(x))"
        )


def must_be_positions(argnums: Any, name: str) -> None:
    """Raise `ArgumentError` unless these are positions of arguments, or None."""
    several = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    if argnums is not None and not all(isinstance(i, int) for i in several):
        raise ArgumentError(
            f"nt.{name}(f) is a function of the arguments of f: write nt.{name}(f)(x), not "
            f"nt.{name}(f, x); what follows f is argnums, the positions of the arguments that are "
            f"differentiated, which must be whole numbers, not {argnums!r:.40}"
        )


def called(f: Any) -> str:
    """A function's name and the names of its arguments.

    >>> def loss(params, xs, *, scale=1.0): ...
    >>> called(loss), called(max)
    ('loss(params, xs, *, scale)', 'max')
    """
    if isinstance(f, Named):
        return repr(f)[1:-1]
    name = getattr(f, "__qualname__", None) or type(f).__qualname__
    name = name.rpartition("<locals>.")[2]
    names = _names(f)
    if names is None:
        return name
    text = f"{name}({names})"
    return text if len(text) <= MOST else f"{name}(...)"


def chosen(f: Any, argnums: Any) -> str:
    """The names of the arguments at these positions.

    >>> chosen(lambda x, y, z: 0, (0, -1))
    'x, z'
    """
    try:
        names = list(inspect.signature(f).parameters)
    except (TypeError, ValueError):
        names = []
    several = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    known = isinstance(argnums, (int, tuple, list)) and all(isinstance(i, int) for i in several)
    if not known:
        return ""
    return ", ".join(
        names[i] if -len(names) <= i < len(names) else f"argument {i}" for i in several
    )


def _names(f: Any) -> str | None:
    """The arguments of a function without their defaults and types; None where nobody knows."""
    if inspect.isbuiltin(f):
        return None
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):
        return None
    empty = inspect.Parameter.empty
    plain = [p.replace(default=empty, annotation=empty) for p in signature.parameters.values()]
    try:
        return str(signature.replace(parameters=plain, return_annotation=empty))[1:-1]
    except ValueError:
        return None
