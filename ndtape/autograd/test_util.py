"""Checks of derivatives with autograd.test_util's names, by `nt.check_grads`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from .. import check
from .operators import _argnums, _of_one


def check_grads(
    f: Callable[..., Any], argnum: Any = 0, modes: Sequence[str] = ("fwd", "rev"), order: int = 2
) -> Callable[..., None]:
    """`check_grads(f, modes, order)(*args)` compares derivatives with differences.

    Raises `nt.CheckError`, which is an AssertionError.

    >>> import ndtape.numpy as np
    >>> check_grads(np.sin, modes=["rev"])(0.5)
    """

    def at(*args: Any, **kwargs: Any) -> None:
        of_one, x = _of_one(f, _argnums(argnum), args, kwargs)
        check.check_grads(of_one, (x,), order=order, modes=tuple(modes))

    return at


def combo_check(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., None]:
    """Checks all combinations of the arguments given as lists."""

    def at(*choices: Any, **options: Any) -> None:
        named = [[(key, x) for x in values] for key, values in options.items()]
        for chosen in product(*choices):
            for keywords in product(*named):
                check_grads(fun, *args, **kwargs)(*chosen, **dict(keywords))

    return at
