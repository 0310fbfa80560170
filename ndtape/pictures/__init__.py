"""Pictures of computational graphs: `tape.draw()`, `nt.draw(y)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .drawing import Drawing


def draw(y: Any, **options: Any) -> Drawing:
    """The picture of how the value `y` was computed, with the keywords of `Tape.draw`.

    >>> import ndtape as nt
    >>> x, y = nt.var(5.0, name="x"), nt.var(3.0, name="y")
    >>> c = nt.sin(nt.square(x) + y)
    >>> nt.draw(c)
    <Drawing of 5 nodes and 4 edges, ... x ...>
    """
    from .tapes import draw_value

    return draw_value(y, **options)
