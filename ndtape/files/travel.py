"""Traced functions on their way to other processes: pickling.

A pickle has the Python function and no tapes, so that it is light: by name where the function can
be imported, else by value, through cloudpickle.  What is unpickled twice in one process is one
function, so that tasks share its tapes.  Who wants to send the tapes as well sends a file
(`saved_bytes`), as `nt.parallel` does.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import pickle
import sys
import threading
from collections import OrderedDict
from typing import Any

from ..errors import UnsupportedError
from ..traced.function import Function, function

KEPT = 32  # functions unpickled by value that a process remembers
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
