"""A user's function with other globals: its own code, compiled to record."""

from __future__ import annotations

import builtins
import hashlib
import types as python_types
from typing import Any

import numba
from numba.core.dispatcher import Dispatcher

from .._jit import FLAGS, Announcing
from .dataflow import LinearCompiler, TapeCompiler
from .namespace import PLAIN, Namespace, replaced
from .types import FINGERPRINT, LINEAR, TAPE

PIPELINES = {PLAIN: Announcing, LINEAR: LinearCompiler, TAPE: TapeCompiler}


def names_of(code: python_types.CodeType) -> list[str]:
    """The global names and attributes that code mentions, also in functions inside it."""
    found = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, python_types.CodeType):
            found |= dict.fromkeys(names_of(constant))
    return list(found)


def code_text(code: python_types.CodeType) -> str:
    """A text that changes with what the code does."""
    constants = [code_text(c) if isinstance(c, python_types.CodeType) else repr(c)
                 for c in code.co_consts]  # fmt: skip
    return f"{code.co_code.hex()} {constants} {code.co_names} {code.co_varnames}"


class Binding:
    """The functions that one function reaches, each compiled once in a mode.

    `digest` changes with the code and the constants of all of them: it names what is cached on
    disk, since Numba's cache would see changes in the file of the first one only.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self._made: dict[int, Any] = {}
        self._alive: list[Any] = []
        self._hash = hashlib.sha256(f"{FINGERPRINT} {mode}".encode())

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()[:16]

    def function(self, f: python_types.FunctionType) -> Any:
        """The dispatcher of a Python function."""
        known = self._made.get(id(f))
        if known is not None:
            return known
        self._alive.append(f)
        cells = tuple(python_types.CellType() for _ in f.__closure__ or ())
        bound = python_types.FunctionType(
            f.__code__, {"__name__": f.__module__}, f.__name__, f.__defaults__, cells
        )
        bound.__kwdefaults__ = f.__kwdefaults__
        bound.__module__, bound.__qualname__ = f.__module__, f.__qualname__
        bound.__dict__["stands_for"] = f.__qualname__
        # Only entries call what records, so that Python needs no wrapper of it.
        flags = {**FLAGS, "no_cpython_wrapper": self.mode != PLAIN}
        made = numba.njit(pipeline_class=PIPELINES[self.mode], **flags)(bound)
        self._made[id(f)] = made  # before it meets itself
        self._note(code_text(f.__code__), f.__defaults__, repr(f.__kwdefaults__))
        names = names_of(f.__code__)
        for name in names:
            value = f.__globals__.get(name, getattr(builtins, name, None))
            if name in f.__globals__ or hasattr(builtins, name):
                bound.__globals__[name] = self.value(value)
                touch(bound.__globals__[name], names)
        for new, old in zip(cells, f.__closure__ or (), strict=True):
            new.cell_contents = self.value(old.cell_contents)
        return made

    def value(self, value: Any) -> Any:
        """What stands for a global or a captured value."""
        stub = replaced(value, self.mode)
        if stub is not value:
            self._note(getattr(value, "__name__", ""))
            return stub
        function = getattr(value, "py_func", None) if is_compiled(value) else value
        if isinstance(function, python_types.FunctionType):
            return self.function(function)
        self._note(value)
        return value

    def _note(self, *values: Any) -> None:
        for value in values:
            plain = isinstance(value, int | float | complex | str | bytes | tuple | None)
            text = repr(value) if plain else _described(value)
            self._hash.update(f"{text};".encode())


def _described(value: Any) -> str:
    data = getattr(value, "tobytes", None)
    if data is not None:
        return f"{value.dtype}{value.shape}{hashlib.sha256(data()).hexdigest()}"
    return f"{type(value).__name__} {getattr(value, '__qualname__', '')}"


def touch(value: Any, names: list[str]) -> None:
    """Make the stubs that a function may ask a module for: Numba looks for new ones only before it
    begins to infer types."""
    if isinstance(value, Namespace):
        for name in vars(value._module).keys() & names:
            touch(getattr(value, name), names)


def is_compiled(value: Any) -> bool:
    """Whether it is a function decorated by `nt.jit` or Numba's `njit`."""
    return isinstance(value, Dispatcher) or hasattr(type(value), "__compiled__")
