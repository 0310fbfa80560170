"""What a picture shows, before anybody knows where: boxes with lines of text, and arrows.

A *scene* has no positions.  Scenes with the same boxes and arrows (the frames of a walk) are laid
out together, so that nothing moves from one to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.notation import grouped
from . import metrics

TITLE, BODY = 13.0, 11.5  # sizes of text in pixels
PADDING, LABEL_PADDING = (11.0, 6.0), (4.0, 2.0)  # left and right, above and below
SIZES = {"title": TITLE}


@dataclass(frozen=True)
class Line:
    """A line of text; `style` says what it is: title, value, adjoint, local, path or note."""

    text: str
    style: str = "value"

    @property
    def size(self) -> float:
        """Of its font."""
        return SIZES.get(self.style, BODY)

    @property
    def width(self) -> float:
        return metrics.width(self.text, self.size)


@dataclass(frozen=True)
class Box:
    """A node: input, parameter, constant, operation, loop, group, variable or junction.

    `tip` is shown where a mouse rests on it; `state` is "active" where the step of a frame
    is, and "bad" where a number is not finite.
    """

    key: str
    look: str
    lines: tuple[Line, ...]
    tip: str = ""
    state: str = ""

    def size(self) -> tuple[float, float]:
        """Width and height."""
        wide, high = extent(self.lines)
        if self.look == "junction":
            return wide + 2 * LABEL_PADDING[0], high + 2 * LABEL_PADDING[1]
        return max(wide + 2 * PADDING[0], 34.0), max(high + 2 * PADDING[1], 26.0)


@dataclass(frozen=True)
class Arrow:
    """From a parent to what was computed from it; `against`: the head is at the parent's end."""

    key: str
    tail: str
    head: str
    lines: tuple[Line, ...] = ()
    tip: str = ""
    against: bool = False
    headless: bool = False
    state: str = ""

    def size(self) -> tuple[float, float]:
        """Width and height of its label; zeros where it has none."""
        if not self.lines:
            return 0.0, 0.0
        wide, high = extent(self.lines)
        return wide + 2 * LABEL_PADDING[0], high + 2 * LABEL_PADDING[1]


@dataclass(frozen=True)
class Scene:
    """Boxes and arrows; `title` is what the picture is called, `caption` a line below it."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    title: str = ""
    caption: tuple[Line, ...] = ()


def extent(lines: tuple[Line, ...]) -> tuple[float, float]:
    """Width and height of lines of text below each other."""
    return (max((line.width for line in lines), default=0.0),
            sum(line.size * metrics.LINE for line in lines))  # fmt: skip


def counted(n: int, noun: str) -> str:
    """``1 edge``, ``10 000 edges``."""
    return f"{grouped(n)} {noun}{'' if n == 1 else 's'}"


def room(scenes: list[Scene]) -> tuple[dict[str, tuple[float, float]], list[Arrow]]:
    """The size that each box and each label needs in all of the scenes, and the arrows."""
    sizes: dict[str, tuple[float, float]] = {}
    for scene in scenes:
        parts: tuple[Box | Arrow, ...] = (*scene.boxes, *scene.arrows)
        for part in parts:
            wide, high = part.size()
            before = sizes.get(part.key, (0.0, 0.0))
            sizes[part.key] = max(before[0], wide), max(before[1], high)
    return sizes, list(scenes[0].arrows)
