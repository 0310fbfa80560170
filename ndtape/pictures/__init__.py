"""Pictures of computational graphs: `tape.draw()`, `nt.draw(y)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .drawing import Drawing


def draw(
    y: Any,
    *,
    sweep: str = "reverse",
    operations: str = "nodes",
    names: Mapping[str, Any] | None = None,
    wrt: Any = None,
    seed: Any = None,
    digits: int = 4,
    direction: str = "down",
    blank: bool = False,
    limit: int = 60,
    engine: str | None = None,
) -> Drawing:
    """The picture of how the value `y` was computed; `Tape.draw` describes the keywords.

    Raises `ArgumentError` for what is no recording value, and for inputs.

    >>> import ndtape as nt
    >>> x, y = nt.var(5.0, name="x"), nt.var(3.0, name="y")
    >>> c = nt.sin(nt.square(x) + y)
    >>> nt.draw(c)
    <Drawing of 5 nodes and 4 edges, ... x ...>
    """
    from .tapes import draw_tape, tape_of

    return draw_tape(tape_of(y), y, sweep=sweep, operations=operations, names=names, wrt=wrt,
                     seed=seed, digits=digits, direction=direction, blank=blank, limit=limit,
                     engine=engine)  # fmt: skip
