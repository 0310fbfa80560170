"""Graphs that are recorded once and evaluated again, as autograd.misc.tracers has them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...traced.function import function


def const_graph(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """fun with its first arguments, recorded once and replayed: `nt.function`, branches included.

    >>> square = const_graph(lambda n, x: x**n, 2)
    >>> square(3.0), square(4.0)
    (9.0, 16.0)
    """
    return function(partial(fun, *args, **kwargs))  # type: ignore[no-any-return]
