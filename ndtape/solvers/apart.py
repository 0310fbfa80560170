"""Plain numbers, also in the middle of a recording; and the check that they are plain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ..errors import GradientLostError, ShapeError
from ..record import core
from ..record.arrays import moves
from ..trees import flatten


@contextmanager
def apart(solver: str) -> Iterator[None]:
    """Inside, nothing of what is recorded or traced around us is seen or changed.

    Derivatives taken inside are plain numbers.  `no_grad` would not do: it silences a gradient
    that is lost, and is refused inside traced functions.  Raises `GradientLostError` where a value
    of the transform around us was used after all.
    """
    reference = core._current.get()
    around = reference() if reference is not None and core.transform_depth.get() else None
    before = None if around is None else (core.destination(around), len(around))
    tokens = (
        (core._current, core._current.set(None)),
        (core._recording, core._recording.set(True)),
        (core.transform_depth, core.transform_depth.set(0)),
    )
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)  # type: ignore[arg-type]
    if around is not None and before != (core.destination(around), len(around)):
        lost(solver)


def lost(solver: str) -> NoReturn:
    raise GradientLostError(
        f"the function given to nt.{solver} uses a recording value that is not among its arguments "
        "and cannot be found in its closure: pass it in args=(...), so that its gradient is not "
        f"lost [{core.user_line()}]"
    )


def plain(solver: str, tree: Any) -> Any:
    """`tree`, what a function gave for plain numbers, if it is plain; else a gradient is lost."""
    if any(map(moves, flatten(tree)[0])):
        lost(solver)
    return tree


def checked(solver: str, flat: Any, size: int | None) -> Any:
    """The value of a user's function as a vector, which must have the length `size`."""
    if size is not None and flat.shape != (size,):
        raise ShapeError(
            f"nt.{solver}: the function returns {flat.shape[0]} numbers for {size} unknowns "
            f"[{core.user_line()}]"
        )
    return flat
