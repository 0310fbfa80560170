"""What `nt.numpy.<name>` is: ours where we have it, NumPy's own where that will do."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..record import core
from ..record.arrays import as_array
from .arguments import contains_recording
from .creation import created
from .registry import FUNCTIONS, implementation_of


class Function:
    """NumPy's function of a name, which here takes lists of recording scalars, too.

    NumPy asks arrays among the arguments whether they have an implementation of their own, but
    never the elements of a list: those calls go to ours directly.  Attributes are those of NumPy's
    function: `np.add.at`, `np.maximum.reduce`.
    """

    def __init__(self, name: str, own: Any, ours: Any = None) -> None:
        self.__name__ = self.__qualname__ = name
        self.__doc__ = (ours or own).__doc__
        self.__wrapped__ = ours or own
        self._own = own
        self._ours = ours

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for x in args:
            kind = x.__class__
            if (kind is list or kind is tuple) and contains_recording(x):
                if self._ours is not None:
                    return self._ours(*args, **kwargs)
                args = tuple(map(_gathered, args))
                break
        return self._own(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_own"], name)

    def __repr__(self) -> str:
        return f"<ndtape.numpy.{self.__name__}>"


def _gathered(x: Any) -> Any:
    return as_array(x) if isinstance(x, (list, tuple)) and contains_recording(x) else x


class Joiner:
    """`np.r_` and `np.c_`: arrays, scalars and ranges joined by indexing."""

    def __init__(self, columns: bool) -> None:
        self._columns = columns

    def __repr__(self) -> str:
        return f"<ndtape.numpy.{'c_' if self._columns else 'r_'}: index it with what is joined>"

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, str) for part in parts):
            raise UnsupportedError(
                f"np.r_ with directives is not recorded; use np.concatenate [{core.user_line()}]"
            )
        arrays = [np.r_[p] if isinstance(p, slice) else as_array(p) for p in parts]
        if self._columns:
            return np.column_stack(arrays)
        return np.concatenate([np.atleast_1d(x) for x in arrays])


def vectorize(*args: Any, **kwargs: Any) -> Any:
    """Refused: it would call the function with plain numbers."""
    raise UnsupportedError(
        "np.vectorize calls a function with plain numbers; write it with array functions and "
        f"np.where, or as np.array([f(a) for a in x]) [{core.user_line()}]"
    )


created.update(r_=Joiner(False), c_=Joiner(True), vectorize=vectorize, frompyfunc=vectorize)


MISSING: Any = object()


def look_up(prefix: str, module: ModuleType, name: str) -> Any:
    """A name of the namespace; `prefix` is "" or "linalg." and the like."""
    if not prefix and name in created:
        return created[name]
    own = getattr(module, name, MISSING)
    ours = FUNCTIONS.get(prefix + name) or implementation_of(own)
    if own is MISSING and ours is None:
        raise AttributeError(
            f"ndtape.numpy.{prefix}{name} does not exist, and NumPy {np.__version__} has no "
            f"{prefix}{name} either"
        )
    if own is MISSING:
        return ours
    if ours is not None or isinstance(own, np.ufunc) or hasattr(own, "_implementation"):
        return Function(prefix + name, own, ours)
    return own


def names(prefix: str, module: ModuleType) -> list[str]:
    """The names of a namespace, for completion."""
    ours = [n[len(prefix) :] for n in FUNCTIONS if n.startswith(prefix) and "." not in n]
    return sorted({*dir(module), *ours, *(created if not prefix else ())})
