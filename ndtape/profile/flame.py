"""A profile as bars: functions, their lines, the operations of each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ArgumentError
from ..pictures import metrics
from ..pictures.page import page
from ..pictures.svg import clean
from .tables import seconds_text, share

if TYPE_CHECKING:
    from .profile import Profile, Row

WIDTH, HEIGHT, MARGIN, SIZE = 960.0, 26.0, 12.0, 12.0
LEAST = 0.5  # width of a bar that is drawn
PADDING = 4.0
COLOURS = (
    "#e5e7eb",  # everything
    "#fde68a",  # functions
    "#fdba74",  # lines
    "#fca5a5",  # operations
)


class Bar(NamedTuple):
    """One bar: where it begins and ends, how deep it lies, and what it says."""

    left: float
    right: float
    depth: int
    text: str
    tip: str


class Flame:
    """The plot of a profile: `str()` is the SVG."""

    def __init__(self, profile: Profile, what: str) -> None:
        self.profile, self.what = profile, what
        self.bars = list(_bars(profile, what))

    def __str__(self) -> str:
        depth = 1 + max(bar.depth for bar in self.bars)
        height = 2 * MARGIN + depth * HEIGHT
        width = WIDTH + 2 * MARGIN
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
            f'font-family="{clean(metrics.FONT)}">',
            f"<title>{clean(self.profile.name)}</title>",
            f'<rect class="ground" width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            *map(_drawn, self.bars),
        ]
        return "\n".join([*parts, "</svg>\n"])

    def __repr__(self) -> str:
        return f"<plot of the {self.what} of {self.profile.name}, {len(self.bars)} bars>"

    def _repr_svg_(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return str(self)

    def save(self, path: Any) -> None:
        """Write a file, as its name ends: .svg or .html; raises `ArgumentError` for others."""
        where = Path(path)
        if where.suffix not in (".svg", ".html"):
            raise ArgumentError(f"a plot is saved as .svg or .html, not as {where.name!r}")
        text = str(self)
        if where.suffix == ".html":
            text = page(self.profile.name, [text])
        where.write_text(text, encoding="utf-8")


def _bars(profile: Profile, what: str) -> Iterator[Bar]:
    """The bars from the top: everything, functions, lines, operations."""
    rows = [row for row in profile.rows if getattr(row, what) > 0]
    total = float(sum(getattr(row, what) for row in rows)) or 1.0
    scale = WIDTH / total

    def level(rows: list[Row], left: float, depth: int, keys: tuple[str, ...]) -> Iterator[Bar]:
        groups: dict[str, list[Row]] = {}
        for row in rows:
            groups.setdefault(getattr(row, keys[0]), []).append(row)
        sized = [(sum(getattr(r, what) for r in group), group) for group in groups.values()]
        for amount, group in sorted(sized, key=lambda pair: -pair[0]):
            right = left + scale * amount
            if right - left >= LEAST:
                yield _bar(group[0], keys[0], left, right, depth, amount, total, what)
                if keys[1:]:
                    yield from level(group, left, depth + 1, keys[1:])
            left = right

    name = f"{profile.name}: {_amount(total, what)} ({what})"
    yield Bar(0.0, WIDTH, 0, name, name)
    yield from level(rows, 0.0, 1, ("function", "line", "op"))


def _bar(
    row: Row, key: str, left: float, right: float, depth: int, amount: float, total: float,
    what: str,
) -> Bar:  # fmt: skip
    text = {"function": row.function, "line": row.source or row.line, "op": row.op}[key]
    text = text or "(no line recorded)"
    where = f", {row.line}" if key != "function" and row.line else ""
    tip = f"{text}{where}: {_amount(amount, what)}, {share(amount / total)}"
    return Bar(left, right, depth, text, tip)


def _amount(x: float, what: str) -> str:
    return f"{x:.0f} bytes" if what == "bytes" else seconds_text(x)


def _drawn(bar: Bar) -> str:
    x, y = MARGIN + bar.left, MARGIN + bar.depth * HEIGHT
    width = bar.right - bar.left
    room = width - 2 * PADDING
    text = metrics.shortened(bar.text, SIZE, room) if room > SIZE else ""
    if metrics.width(text, SIZE) > room or (text != bar.text and len(text) < 6):
        text = ""
    label = (
        f'<text x="{x + PADDING:.2f}" y="{y + HEIGHT / 2 + SIZE * 0.35:.2f}" '
        f'font-size="{SIZE:.0f}" fill="#111827">{clean(text)}</text>'
        if text
        else ""
    )
    return (
        f'<g class="bar"><title>{clean(bar.tip)}</title><rect x="{x:.2f}" y="{y:.2f}" '
        f'width="{max(width - 0.5, LEAST):.2f}" height="{HEIGHT - 1:.2f}" rx="2" '
        f'fill="{COLOURS[bar.depth]}"/>{label}</g>'
    )
