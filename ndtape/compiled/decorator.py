"""`nt.jit`: a function that Numba compiles, and that records itself where it is differentiated.

Numba is imported when a function is first called: this file must not import what imports it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property, partial, update_wrapper
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError
from ..record.arrays import Array
from ..record.values import Var

if TYPE_CHECKING:
    from .variants import Variants

PLAIN_TYPES = frozenset({float, int, bool, np.ndarray, np.float64, np.int64, np.bool_})


class Jit:
    """A function compiled by Numba; made by `nt.jit`."""

    __compiled__ = True

    def __init__(self, f: Callable[..., Any], cache: bool = True) -> None:
        self.py_func = f = plain_function(f)
        self.cache = cache
        update_wrapper(self, f, updated=())
        self.long = False  # the last recording took more than a chunk: the next leaves the GIL

    def __repr__(self) -> str:
        return f"<nt.jit {self.py_func.__qualname__}>"

    def __reduce__(self) -> Any:
        return Jit, (self.py_func, self.cache)

    # --- compiling --------------------------------------------------------------------------------

    @cached_property
    def variants(self) -> Variants:
        """What the function is compiled to."""
        from .variants import Variants

        return Variants(self.py_func, self.cache)

    @cached_property
    def plain(self) -> Any:
        """The function as Numba's own: what other compiled code calls."""
        return self.variants.plain

    @property
    def _numba_type_(self) -> Any:
        """What Numba takes this object for in other compiled functions."""
        from numba import typeof

        return typeof(self.plain)

    def positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Arguments in order, with defaults where names were used."""
        if not kwargs:
            return args
        bound = inspect.signature(self.py_func).bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.args

    # --- calls ------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not PLAIN_TYPES.issuperset(map(type, args)) or kwargs:
            args = self.positional(args, kwargs)
            if any(map(records, args)):
                from .appending import append

                return append(self, args)
        try:
            return self.plain(*args)
        except Exception as error:
            from .complaints import complain

            complain(self, args, error)
            raise

    def gradient_function(
        self, argnums: int | Sequence[int], with_value: bool, general: Callable[..., Any]
    ) -> Callable[..., Any]:
        """`general`, a gradient of this function, on a linear tape where arguments are plain."""
        from .gradients import fast_gradient

        return fast_gradient(self, general, argnums, with_value)

    def first_order(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], positions: Sequence[int]
    ) -> Any:
        """An evaluation at plain arguments on a linear tape, for first derivatives.

        None where an argument is none that compiled code takes.
        """
        from .lending import lent

        return lent(self, self.positional(args, kwargs), positions)


def records(x: Any) -> bool:
    """Whether an argument is, or holds, a recording value."""
    if isinstance(x, tuple):
        return any(map(records, x))
    return isinstance(x, (Var, Array))


def plain_function(f: Any) -> Any:
    """The Python function that `nt.jit` is given, or that it finds in a compiled one."""
    f = getattr(f, "py_func", f)
    kinds = {
        inspect.ismethod: "a method; take a function, and pass what it needs of the object",
        inspect.isclass: "a class",
        inspect.isgeneratorfunction: "a generator; functions that are compiled return at once",
        inspect.iscoroutinefunction: "a coroutine; functions that are compiled return at once",
        inspect.isasyncgenfunction: "a generator; functions that are compiled return at once",
    }
    said = next((words for of, words in kinds.items() if of(f)), "")
    if not said and not inspect.isfunction(f):
        said = "something else; a lambda may call it"
    if said:
        raise ArgumentError(f"nt.jit takes a Python function; {f!r:.60} is {said}")
    return f


def jit(f: Callable[..., Any] | None = None, *, cache: bool = True) -> Any:
    """Decorator: compile `f` with Numba; differentiated, it records itself from compiled code.

    Called with plain numbers and arrays it is an ordinary Numba function, which other compiled
    functions may call.  Under `nt.grad` and the other transforms the same source is compiled again
    with a number type that records: loops and branches are real ones, anew at each call.  Called
    with recording values it appends to their tape.

    Arguments are floats, integers, booleans, arrays, and tuples or named tuples of them; results
    are scalars, arrays, tuples.  Arrays made inside by `np.zeros`, `np.empty` and the like can hold
    recorded values.  Functions that `f` calls are compiled along with it.  What was compiled is
    kept on disk, where Numba keeps it, unless `cache` is false.

    Raises `CompileError` for what does not compile, `ArgumentError` for what is no function.

    >>> import math
    >>> import ndtape as nt
    >>> @nt.jit
    ... def f(x, n):
    ...     for _ in range(n):
    ...         x = math.sin(x) + x
    ...     return x
    >>> round(f(1.0, 2), 6)
    2.805062
    >>> round(nt.grad(f)(1.0, 2), 6)
    1.128454
    """
    if f is None:
        return partial(jit, cache=cache)
    return Jit(f, cache)
