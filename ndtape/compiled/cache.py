"""Numba's disk cache for functions that are compiled with other globals than their own.

The files lie where Numba keeps those of the user's module, and are found by the signature and by a
digest of the code and constants of everything that the function reaches: a changed constant, or a
changed function in another file, is compiled again.
"""

from __future__ import annotations

import pickle
import types as python_types
from typing import Any

import numba
from numba.core.caching import FunctionCache

from .._jit import FLAGS, Announcing
from ..notices import notice


class DigestCache(FunctionCache):
    """Entries are found by signature and digest; the files belong to `owner`, a Python function."""

    def __init__(self, owner: Any, digest: str) -> None:
        self._digest = digest
        super().__init__(owner)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What the disk has; None, so that it is compiled again, where a file is damaged."""
        try:
            return super().load_overload(sig, target_context)
        except (EOFError, pickle.UnpicklingError):
            return None

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), self._digest


def cached(dispatcher: Any, owner: Any, mode: str, digest: str) -> Any:
    """The dispatcher, loading from and saving to the disk cache of the file of `owner`."""
    cells = tuple(python_types.CellType() for _ in owner.__closure__ or ())
    named = python_types.FunctionType(owner.__code__, {}, owner.__name__, None, cells)
    named.__qualname__ = f"{owner.__qualname__}-{mode or 'plain'}"
    named.__module__ = owner.__module__
    try:
        dispatcher._cache = DigestCache(named, digest)
    except RuntimeError as error:  # a function typed at a prompt, or no folder to write to
        if "cannot cache function" not in str(error):
            raise
    except OSError:
        notice("no folder for the compile cache can be written; set NUMBA_CACHE_DIR to one")
    return dispatcher


def is_on_disk(dispatcher: Any, args: tuple[Any, ...]) -> bool:
    """Whether the disk cache has the function for these arguments."""
    cache = dispatcher._cache
    if not isinstance(cache, DigestCache):
        return False
    given = tuple([numba.typeof(x) for x in args])
    key = cache._index_key(given, dispatcher.targetctx.codegen())
    return cache._cache_file.load(key) is not None


def compiled(function: Any, stands_for: str) -> Any:
    """Numba's dispatcher of a function that was written to call one of the user's."""
    function.stands_for = stands_for
    return numba.njit(pipeline_class=Announcing, no_cfunc_wrapper=True, **FLAGS)(function)
