"""Traced functions on their way to other processes: pickling, and tapes that go along.

A pickle has the Python function and no tapes, so that it is light: by name where the function can
be imported, else by value, through cloudpickle.  What is unpickled twice in one process is one
function, so that tasks share its tapes.  Who sends a function once to a process that calls it often
sends the tapes as well (`carried`, `adopt`): they are used there if everything that the function
captures is what it was, compared by value, and recorded again otherwise.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import pickle
import sys
import threading
import types
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import TapeFileError, UnsupportedError
from ..traced.captures import Captures, library_class
from ..traced.function import Function, function
from ..traced.program import Program

KEPT = 32  # functions unpickled by value that a process remembers
PLAIN = (int, float, complex, str, bytes, type(None), np.generic, np.dtype, range, slice)
NAMED = (type, types.ModuleType, types.BuiltinFunctionType, np.ufunc, type(np.sum))
_kept: OrderedDict[bytes, Function] = OrderedDict()
_lock = threading.Lock()
_under_way = threading.local()  # `.stack`: functions that are being pickled, or unpickled


# --- pickles --------------------------------------------------------------------------------------


def reduced(f: Function) -> Any:
    """How a traced function is pickled; see the top of this file."""
    place = getattr(f.f, "__module__", None), getattr(f.f, "__qualname__", "")
    found, main = _found(*place), place[0] == "__main__"
    if found is f and not main:
        return f.f.__qualname__
    if (found is f.f or (isinstance(found, Function) and found.f is f.f)) and not main:
        return _by_name, (*place, f.options)
    try:
        return _by_value, (_code(f), f.options)
    except Exception:
        if found is f:  # a child of this process may have a `__main__` like this one
            return f.f.__qualname__
        raise


def _found(module: Any, path: str) -> Any:
    """What stands under a name in a module that is imported."""
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def _by_name(module: str, path: str, options: tuple[Any, ...]) -> Function:
    importlib.import_module(module)
    found = _found(module, path)
    return _traced(found.f if isinstance(found, Function) else found, options)


def _traced(f: Any, options: tuple[Any, ...]) -> Function:
    """The traced function of f with these options: the one that there is already, if so."""
    names = "static_argnums static_argnames max_tapes optimize".split()
    made: Function = function(f, **dict(zip(names, options, strict=True)))
    return made


def _stack() -> list[Function]:
    """A function may refer to itself, or to others that refer to it."""
    if not hasattr(_under_way, "stack"):
        _under_way.stack = []
    return _under_way.stack  # type: ignore[no-any-return]


def _code(f: Function) -> bytes:
    """The Python function by value."""
    stack, cloudpickle = _stack(), _cloudpickle(f)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc, name-defined]
        def persistent_id(self, x: Any) -> int | None:
            return next((i for i, known in enumerate(stack) if known is x), None)

    file = io.BytesIO()
    stack.append(f)
    try:
        Pickler(file, pickle.HIGHEST_PROTOCOL).dump(f.f)
    finally:
        stack.pop()
    return file.getvalue()


def _cloudpickle(f: Function) -> Any:
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise UnsupportedError(
        f"{f.name} cannot be found by its name, and code is pickled by cloudpickle, which is not "
        'installed: pip install "ndtape[parallel]", or define the function in a module'
    )


def _by_value(code: bytes, options: tuple[Any, ...]) -> Function:
    stack = _stack()
    key = hashlib.sha256(code + repr(options).encode()).digest()
    with _lock:
        if not stack and key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    made = object.__new__(Function)

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, number: Any) -> Any:
            return stack[number]

    stack.append(made)
    try:
        f = Unpickler(io.BytesIO(code)).load()
    finally:
        stack.pop()
    made.__init__(f, *options)  # type: ignore[misc]
    if stack:  # a part of another one
        return made
    with _lock:
        made = _kept.setdefault(key, made)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return made


# --- tapes that go along --------------------------------------------------------------------------


def carried(f: Function) -> bytes:
    """The tapes of a traced function for `adopt` in another process; b"" where none can go.

    Left behind are loops, which are recorded fast, and what no file can hold.
    """
    from . import container, writing

    captures = f.captures
    if captures is None or captures.recording or (state := digest(captures)) is None:
        return b""
    try:
        header, arrays = writing.described(f, {}, movable)
    except TapeFileError:
        return b""
    file = io.BytesIO()
    container.write(file, {**header, "captured": state}, arrays, compress=True)
    return file.getvalue()


def movable(program: Program) -> bool:
    """Whether another process can go on with a program where its tapes end."""
    loops = any(call.loop is not None for trace in program.traces for call in trace.tape.calls)
    return program.parameters is None and program.watched is None and not loops


def adopt(f: Function, data: bytes) -> bool:
    """Give a traced function the tapes that were `carried` from another process.

    Its next calls replay them, and record where they end.  Returns False, and does nothing, where
    f captures something else than there, so that the tapes do not fit.
    """
    from .programs import read
    from .reading import parts

    if not data:
        return False
    try:
        header, reader = parts(io.BytesIO(data), "what was carried", trusted=True)
        with f.lock:
            captures = f._look_again(f.captures)
            if header.get("captured") != digest(captures):
                return False
            for record in header["programs"]:
                program = Program(f.name, f.max_tapes)
                program.captures = captures
                captures.programs.setdefault(read(record, reader, program), program)
    except TapeFileError:
        return False
    return True


def digest(captures: Captures) -> str | None:
    """All that is captured, by value; None where something can only be known by its identity."""
    if captures.opaque:
        return None
    found = hashlib.sha256(sys.version.encode())
    for entry in captures.entries:
        words = _words(entry.value)
        if words is None:
            return None
        found.update(repr((entry.get, _key(entry.key), words)).encode())
    for array, content in captures.arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode() + content)
    return found.hexdigest()


def _key(key: Any) -> str:
    return repr(key) if isinstance(key, (str, int, tuple, type(None))) else type(key).__qualname__


def _words(x: Any) -> Any:
    """What stands for a value; of containers and objects the contents are entries of their own."""
    cls = f"{type(x).__module__}.{type(x).__qualname__}"
    if isinstance(x, PLAIN):
        return cls, repr(x)
    if isinstance(x, NAMED):
        return cls, getattr(x, "__module__", ""), getattr(x, "__qualname__", x.__name__)
    if isinstance(x, frozenset):
        parts = [_words(part) for part in x]
        return None if None in parts else (cls, sorted(map(repr, parts)))
    if isinstance(x, (tuple, list)):
        return (cls, [_words(part) for part in x]) if _is_flat(x) else (cls, len(x))
    if isinstance(x, types.FunctionType):
        return cls, list(_code_words(x.__code__))
    if isinstance(x, types.CodeType):
        return cls, list(_code_words(x))
    if isinstance(x, (dict, np.ndarray, types.CellType, types.MethodType, Function)):
        return cls
    return None if library_class(type(x)) else cls


def _is_flat(x: Any) -> bool:
    return all(isinstance(part, PLAIN) or (isinstance(part, (tuple, list)) and _is_flat(part))
               for part in x)  # fmt: skip


def _code_words(code: types.CodeType) -> Iterator[Any]:
    yield from (code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_flags)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_words(constant)
        else:
            yield repr(constant)
