"""Functions of SciPy's that stand beside ours: SciPy's own take what is plain."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from ..numpy.arguments import contains_recording

F = TypeVar("F", bound=Callable[..., Any])


def scipys(module: str, name: str) -> Any:
    """A name of a module of SciPy's; raises `AttributeError`."""
    found = importlib.import_module(f"scipy.{module}")
    if name.startswith("_") or not hasattr(found, name):
        raise AttributeError(f"neither ndtape.scipy.{module} nor scipy.{module} has {name}")
    return getattr(found, name)


def beside(module: str) -> Callable[[F], F]:
    """The decorated function where an argument records, SciPy's of that name where none does.

    So plain arrays have all that SciPy offers, and recording ones what has a derivative.
    """

    def register(ours: F) -> F:
        @wraps(ours)
        def function(*args: Any, **kwargs: Any) -> Any:
            if contains_recording((*args, *kwargs.values())):
                return ours(*args, **kwargs)
            return scipys(module, ours.__name__)(*args, **kwargs)

        return function  # type: ignore[return-value]

    return register
