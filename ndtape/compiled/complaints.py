"""Numba's errors as sentences about the user's own line.

Numba tells in pages of text where type inference ended.  Here the function is inferred once more,
statement by statement (diagnosis.py): the first one that fails is put into words (sentences.py),
and where it calls another function of the user's, that one is inferred in turn.  Plain numbers are
tried first: what fails for them, too, is no matter of recording.  All this takes some milliseconds,
after an error.
"""

from __future__ import annotations

import inspect
import linecache
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from numba import typeof, types
from numba.core import errors
from numba.core.compiler_lock import global_compiler_lock

from ..errors import CompileError
from .diagnosis import NUMBA, frames, inferred, placed
from .entries import RECORDED, with_copies
from .sentences import Finding
from .words import first_line, plain_kind, whole_text

FLAG = "NDTAPE_NUMBA_ERRORS"


def complain(
    function: Any, args: Sequence[Any], error: Exception, structure: Any = None, mode: str = ""
) -> None:
    """Raise `CompileError` if an error comes from compiling; return if it is the program's own.

    `function` was called with plain arguments, or recorded the leaves of a structure in a mode.
    """
    compiling = from_compiler(error) or (isinstance(error, ValueError) and empty_list(args))
    if compiling or isinstance(error, TypeError):
        try:
            inspect.signature(function.py_func).bind(*(args if structure is None else structure))
        except TypeError as reason:
            raise TypeError(f"{function.__name__}(): {reason}") from None
    if compiling:
        made = CompileError(message(function, args, error, structure, mode))
        made.report = whole_text(error)
        raise made from (error if os.environ.get(FLAG) else None)


def from_compiler(error: BaseException) -> bool:
    """Whether Numba raised it, and not the program that it has compiled."""
    return isinstance(error, errors.NumbaError) or any(
        frame.f_code.co_filename.startswith(NUMBA) for frame in frames(error)
    )


def empty_list(args: Sequence[Any]) -> bool:
    """Whether there is one among the arguments: of no type, says Numba's dispatcher itself."""
    return any(isinstance(x, list) and not x for x in args)


def message(function: Any, args: Sequence[Any], error: Exception, structure: Any, mode: str) -> str:
    """What went wrong, in three lines."""
    found = None
    with global_compiler_lock, suppress(Exception):  # an error must not hide behind another one
        found = _found(function, args, structure, mode) or placed(error, function.py_func.__code__)
    if found is None:
        found = own_place(function, f"Numba: {first_line(error)}")
    text = linecache.getline(found.filename, found.line).strip()
    function = found.function and f", in {found.function}"
    where = f"{found.filename}:{found.line}{function}: {text}"
    return f"{where}\n  {found.says}\n  ({FLAG}=1 in the environment shows Numba's whole report)"


def own_place(function: Any, says: str) -> Finding:
    """The line with the `def` of the function that was called."""
    code = function.py_func.__code__
    line = code.co_firstlineno
    with suppress(OSError, StopIteration):  # no source; a lambda
        lines = inspect.getsourcelines(code)[0]
        line += next(i for i, text in enumerate(lines) if text.lstrip().startswith("def "))
    return Finding(code.co_filename, line, code.co_name, says)


def _found(function: Any, args: Sequence[Any], structure: Any, mode: str) -> Finding | None:
    """What fails with plain arguments, or else while recording."""
    leaves = iter(args)
    parts = [None] * len(args) if structure is None else structure
    given = []
    for name, part in zip(parameters(function.py_func, len(parts)), parts, strict=True):
        try:
            given.append(plain_type(part, leaves))
        except Untyped as error:
            what = f"the argument {name} is {plain_kind(error.args[0])}"
            says = f"{what}: pass numbers, arrays and (named) tuples of them"
            return own_place(function, says)
        if mode and isinstance(given[-1], types.Dispatcher):
            what = f"the argument {name} is a compiled function, which records only where it is"
            return own_place(function, f"{what} called by its own name")
    found = inferred(function.variants.plain.py_func, given)
    if found is None and mode:
        entry = function.variants.entry(with_copies(structure), mode)
        found = inferred(entry.py_func, [types.int64, *map(typeof, args)])
        if found is not None and not found.line:  # in the code around the user's function
            found = own_place(function, found.says)
    return found


def parameters(f: Any, count: int) -> list[str]:
    """The names of the parameters that so many arguments go to."""
    named = list(inspect.signature(f).parameters)
    return (named + named[-1:] * count)[:count]


def plain_type(part: Any, leaves: Iterator[Any]) -> Any:
    """The type that an argument has when nothing records; its leaves are taken from `leaves`."""
    if part is None or isinstance(part, str):
        leaf = next(leaves)
        if part == RECORDED and isinstance(leaf, tuple):
            leaf = leaf[1]  # on a tape already: a slot and a number
        found = typed(leaf)
        return types.float64 if part == RECORDED and isinstance(found, types.Integer) else found
    kind, parts = part
    inside = [plain_type(p, leaves) for p in parts]
    return types.BaseTuple.from_types(inside, kind if hasattr(kind, "_fields") else None)


class Untyped(Exception):
    """Numba does not take this value as an argument."""


def typed(value: Any) -> Any:
    """Numba's type of a value; raises `Untyped`."""
    with suppress(ValueError, errors.NumbaError):
        found = typeof(value)
        if found.is_precise():
            return found
    raise Untyped(value)
