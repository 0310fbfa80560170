"""Where boxes and labels of a picture go, and the ways of its arrows.

Graphviz finds the places where its program `dot` is installed, grandalf (pure Python) where it is
not.  Both see rectangles and links and no more: a label is a rectangle in the middle of its
arrow, so that nothing can come to lie on it, and all that is drawn is drawn by svg.py.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeAlias

from ..errors import ArgumentError
from .scene import Arrow, Scene, extent, room

Point: TypeAlias = tuple[float, float]
Size: TypeAlias = tuple[float, float]
Link: TypeAlias = tuple[str, str]
# Rectangles by name, links from top to bottom, and names that links run through the middle of ->
# centres, and a way for each link: a point, then two control points and a point for every curve.
Engine: TypeAlias = Callable[
    [dict[str, Size], list[Link], set[str]], tuple[dict[str, Point], list[list[Point]]]
]

MARGIN = 12.0
SLIM = (12.0, 2.0)  # room for one of several arrows without labels between the same two boxes
ENGINES = ("graphviz", "grandalf")


@dataclass(frozen=True)
class Layout:
    """Centres and sizes of boxes and labels by key, ways of arrows by key, and the whole size.

    `caption` is the height of the lines at the bottom.
    """

    places: dict[str, Point]
    sizes: dict[str, Size]
    ways: dict[str, list[Point]]
    width: float
    height: float
    caption: float


def available() -> tuple[str, ...]:
    """The engines that can be used here, the preferred one first."""
    dot = find_spec("graphviz") is not None and shutil.which("dot") is not None
    return (("graphviz",) if dot else ()) + (
        ("grandalf",) if find_spec("grandalf") is not None else ()
    )


def choose(engine: str | None) -> Engine:
    """The engine of that name, or the best that is installed.

    Raises `ArgumentError` for an unknown name and ImportError where nothing is installed.
    """
    if engine is not None and engine not in ENGINES:
        raise ArgumentError(f"engine is one of {', '.join(map(repr, ENGINES))}, not {engine!r}")
    found = available()
    if engine is None and found:
        engine = found[0]
    if engine not in found:
        missing = {"graphviz": "the Python package graphviz and the program dot", "grandalf":
                   "grandalf"}.get(engine or "", "a package that lays out graphs")  # fmt: skip
        raise ImportError(f'to draw needs {missing}: pip install "ndtape[draw]"')
    if engine == "graphviz":
        from .by_graphviz import place
    else:
        from .by_grandalf import place
    return place


def arrange(scenes: list[Scene], direction: str = "down", engine: str | None = None) -> Layout:
    """One layout for scenes with the same boxes and arrows, with room for each of them."""
    if direction not in ("down", "right"):
        raise ArgumentError(f"direction is 'down' or 'right', not {direction!r}")
    sizes, arrows = room(scenes)
    turned = direction == "right"
    for key in _crowded(arrows, sizes):
        sizes[key] = SLIM[::-1] if turned else SLIM
    links, labels = _links(arrows, sizes)
    seen = {key: size for key, size in sizes.items() if size != (0.0, 0.0)}
    if turned:
        seen = {key: (high, wide) for key, (wide, high) in seen.items()}
    places, ways = choose(engine)(seen, [link for _, link in links], labels)
    if turned:
        places = {key: (y, x) for key, (x, y) in places.items()}
        ways = [[(y, x) for x, y in way] for way in ways]
    joined: dict[str, list[Point]] = {}
    for (key, _), way in zip(links, ways, strict=True):
        joined[key] = joined[key] + way[1:] if key in joined else way
    captions = [extent(scene.caption) for scene in scenes]
    return _moved(places, sizes, joined, [max(numbers) for numbers in zip(*captions, strict=True)])


def _crowded(arrows: list[Arrow], sizes: dict[str, Size]) -> list[str]:
    """Arrows without labels that would lie on each other."""
    many = Counter((arrow.tail, arrow.head) for arrow in arrows)
    return [arrow.key for arrow in arrows
            if many[arrow.tail, arrow.head] > 1 and sizes[arrow.key] == (0.0, 0.0)]  # fmt: skip


def _links(arrows: list[Arrow], sizes: dict[str, Size]) -> tuple[list[tuple[str, Link]], set[str]]:
    """A link for an arrow, or two where a label stands in its middle; and the labels."""
    links, labels = [], set()
    for arrow in arrows:
        if sizes[arrow.key] == (0.0, 0.0):
            links.append((arrow.key, (arrow.tail, arrow.head)))
        else:
            labels.add(arrow.key)
            links += [(arrow.key, (arrow.tail, arrow.key)), (arrow.key, (arrow.key, arrow.head))]
    return links, labels


def _moved(
    places: dict[str, Point],
    sizes: dict[str, Size],
    ways: dict[str, list[Point]],
    caption: list[float],
) -> Layout:
    """With the upper left corner in the margin, and a caption of that size below."""
    left, top, right, bottom = [], [], [], []
    for key, (x, y) in places.items():
        wide, high = sizes[key]
        left.append(x - wide / 2)
        right.append(x + wide / 2)
        top.append(y - high / 2)
        bottom.append(y + high / 2)
    for way in ways.values():  # a curve lies among its control points
        left += [x for x, _ in way]
        right += [x for x, _ in way]
        top += [y for _, y in way]
        bottom += [y for _, y in way]
    x0, y0 = min(left, default=0.0) - MARGIN, min(top, default=0.0) - MARGIN
    width, height = max(right, default=0.0) - x0, max(bottom, default=0.0) - y0
    x0 -= max(caption[0] + MARGIN - width, 0.0) / 2
    return Layout(
        {key: (x - x0, y - y0) for key, (x, y) in places.items()},
        sizes,
        {key: [(x - x0, y - y0) for x, y in way] for key, way in ways.items()},
        max(width, caption[0] + MARGIN) + MARGIN,
        height + MARGIN + (caption[1] + MARGIN if caption[1] else 0.0),
        caption[1],
    )
