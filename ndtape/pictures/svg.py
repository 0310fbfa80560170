"""A scene and its layout as the text of an SVG.

No style sheet and no definitions: both would leak into the page of a notebook, and from one picture
to the next.  All that comes from users is escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from . import metrics
from .layout import MARGIN, Layout, Point, Size
from .scene import Arrow, Box, Line, Scene, extent

HEAD = 7.0  # length of an arrow's head


@dataclass(frozen=True)
class Look:
    """Colours and outline of a kind of box."""

    fill: str
    stroke: str
    radius: float = 5.0
    dashes: str = ""
    double: bool = False


LOOKS = {
    "input": Look("#dbeafe", "#2563eb", 14),
    "parameter": Look("#dcfce7", "#15803d", 14, "6 3"),
    "constant": Look("#f3f4f6", "#6b7280", 0, "2 3"),
    "operation": Look("#fffbeb", "#b45309"),
    "variable": Look("#ffffff", "#374151", 14),
    "loop": Look("#f5f3ff", "#6d28d9", double=True),
    "group": Look("#fffbeb", "#b45309", double=True),
}
INK = {"title": "#111827", "value": "#1f2937", "adjoint": "#b91c1c", "local": "#1f2937",
       "path": "#b91c1c", "note": "#4b5563"}  # fmt: skip
EDGE, LIT, BAD = "#6b7280", "#b91c1c", "#dc2626"
_ILLEGAL = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Text that XML may hold: what it forbids becomes a replacement character."""
    return escape(_ILLEGAL.sub("\ufffd", text))


def _attribute(text: str) -> str:
    return f'"{clean(text)}"'


def _number(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


def _points(points: Iterable[Point]) -> str:
    return " ".join(f"{_number(x)},{_number(y)}" for x, y in points)


def write(scene: Scene, layout: Layout) -> str:
    """The SVG of a scene."""
    width, height = layout.width, layout.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{math.ceil(width)}" '
        f'height="{math.ceil(height)}" viewBox="0 0 {_number(width)} {_number(height)}" '
        f'role="img" '
        f"font-family={_attribute(metrics.FONT)}>",
        f"<title>{clean(scene.title)}</title>",
        _rectangle((width / 2, height / 2), (width, height), 'class="ground" fill="#ffffff"'),
        *(_edge(arrow, layout) for arrow in scene.arrows),
        *(_label(arrow, layout) for arrow in scene.arrows if arrow.lines),
        *(_box(box, layout) for box in scene.boxes),
    ]
    if scene.caption:
        top = height - MARGIN - layout.caption
        centre = (width / 2, top + extent(scene.caption)[1] / 2)
        parts.append(f'<g class="caption">{_text(scene.caption, centre)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _group(kind: str, name: str, tip: str, inside: str) -> str:
    title = f"<title>{clean(tip)}</title>" if tip else ""
    return f'<g class="{kind}" data-key={_attribute(name)}>{title}{inside}</g>'


def _box(box: Box, layout: Layout) -> str:
    centre, size = layout.places[box.key], layout.sizes[box.key]
    if box.look == "junction":
        inside = _rectangle(centre, size, 'class="ground" fill="#ffffff"')
        return _group("label junction", box.key, box.tip,
                      inside + _text(box.lines, centre))  # fmt: skip
    look = LOOKS[box.look]
    dashes = f' stroke-dasharray="{look.dashes}"' if look.dashes else ""
    line, stroke = ("2.6" if box.state else "1.3"), (BAD if box.state == "bad" else look.stroke)
    style = f'fill="{look.fill}" stroke="{stroke}" stroke-width="{line}"'
    inside = _rectangle(centre, size, f'class="box" rx="{_number(look.radius)}" {style}{dashes}')
    if look.double:
        less = (size[0] - 5, size[1] - 5)
        inside += _rectangle(
            centre, less, f'class="inner" rx="3" fill="none" stroke="{look.stroke}"'
        )
    text = _text(box.lines, centre)
    return _group(f"node {box.look}", box.key, box.tip, inside + text)


def _rectangle(centre: Point, size: Size, style: str) -> str:
    x, y = centre[0] - size[0] / 2, centre[1] - size[1] / 2
    return (f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(size[0])}" '
            f'height="{_number(size[1])}" {style}/>')  # fmt: skip


def _text(lines: tuple[Line, ...], centre: Point) -> str:
    """Lines of text below each other, in the middle of a place."""
    top = centre[1] - extent(lines)[1] / 2
    parts = []
    for line in lines:
        base = top + line.size * metrics.BASE
        parts.append(
            f'<text class="{line.style}" x="{_number(centre[0])}" y="{_number(base)}" '
            f'font-size="{_number(line.size)}" fill="{INK[line.style]}" text-anchor="middle">'
            f"{clean(line.text)}</text>"
        )
        top += line.size * metrics.LINE
    return "".join(parts)


def _label(arrow: Arrow, layout: Layout) -> str:
    centre, size = layout.places[arrow.key], layout.sizes[arrow.key]
    inside = _rectangle(centre, size, 'class="ground" fill="#ffffff"')
    return _group("label", arrow.key, arrow.tip, inside + _text(arrow.lines, centre))


def _edge(arrow: Arrow, layout: Layout) -> str:
    way = layout.ways[arrow.key]
    way = way[::-1] if arrow.against else way
    colour, line = (LIT, "2") if arrow.state == "active" else (EDGE, "1.2")
    head = ""
    if not arrow.headless:
        way, corners = _shortened(way)
        head = f'<polygon class="head" points="{_points(corners)}" fill="{colour}"/>'
    path = f"M{_points(way[:1])} C{_points(way[1:])}"
    inside = f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{line}"/>{head}'
    return _group("edge", arrow.key, "", inside)


def _shortened(way: list[Point]) -> tuple[list[Point], list[Point]]:
    """The way up to the arrow's head, and the corners of the head."""
    tip = way[-1]
    before = next((p for p in way[-2::-1] if math.dist(p, tip) > 0.5), (tip[0], tip[1] - 1))
    length = math.dist(before, tip)
    ux, uy = (tip[0] - before[0]) / length, (tip[1] - before[1]) / length
    foot = (tip[0] - HEAD * ux, tip[1] - HEAD * uy)
    corners = [
        tip,
        (foot[0] - 3.2 * uy, foot[1] + 3.2 * ux),
        (foot[0] + 3.2 * uy, foot[1] - 3.2 * ux),
    ]
    # The last control point moves with the end, so that the curve still arrives straight.
    last = (way[-2][0] - HEAD * ux, way[-2][1] - HEAD * uy)
    if len(way) > 4 and math.dist(way[-4], tip) < HEAD:
        return [*way[:-4], foot, foot, foot, foot], corners
    return [*way[:-2], last, foot], corners
