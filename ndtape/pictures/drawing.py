"""What `tape.draw` gives: a picture that prints as SVG, shows itself in notebooks, and saves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from ..errors import ArgumentError
from .layout import Layout, arrange
from .page import page
from .scene import Scene, counted
from .svg import write

SUFFIXES = (".svg", ".html", ".png")


class Drawing:
    """A picture of a computational graph.

    `str()` is its SVG, and a notebook shows it.  `frames` are the steps of the walk, a drawing
    each, with nothing moving from one to the next, and `steps` the lines printed below them.
    `solution` is that of a quiz (``blank=True``), else None.

    >>> import ndtape as nt
    >>> a, b = nt.var(2.0, name="a"), nt.var(3.0, name="b")
    >>> with nt.Tape() as tape:
    ...     c = a**2 * b
    >>> picture = tape.draw(c)
    >>> picture
    <Drawing of 4 nodes and 3 edges, ... x ...>
    >>> str(picture)[:4]
    '<svg'
    """

    def __init__(
        self,
        scene: Scene,
        layout: Layout,
        steps: Callable[[], Sequence[Scene]] = tuple,
        arrangement: tuple[str, str | None] = ("down", None),
        solution: Drawing | None = None,
    ) -> None:
        self.scene, self.layout, self.solution = scene, layout, solution
        self._steps, self._arrangement = steps, arrangement

    @cached_property
    def svg(self) -> str:
        """The picture as the text of an SVG."""
        return write(self.scene, self.layout)

    @cached_property
    def frames(self) -> tuple[Drawing, ...]:
        """A picture a step; none of a summary."""
        scenes = list(self._steps())
        if not scenes:
            return ()
        layout = arrange(scenes, *self._arrangement)
        return tuple(Drawing(scene, layout, arrangement=self._arrangement) for scene in scenes)

    @property
    def caption(self) -> str:
        """The lines below the picture."""
        return "\n".join(line.text for line in self.scene.caption)

    @property
    def steps(self) -> tuple[str, ...]:
        """The captions of the frames."""
        return tuple(frame.caption for frame in self.frames)

    def __str__(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        scene, layout = self.scene, self.layout
        nodes, edges = counted(len(scene.boxes), "node"), counted(len(scene.arrows), "edge")
        return f"<Drawing of {nodes} and {edges}, {layout.width:.0f} x {layout.height:.0f}>"

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<div style="overflow:auto">{self.svg}</div>' + self._solved()

    def _solved(self) -> str:
        """The solution of a quiz, folded away."""
        if self.solution is None:
            return ""
        return f"<details><summary>Solution</summary>{self.solution.svg}</details>"

    def html(self, frames: bool = False) -> str:
        """A page that holds the picture, or with `frames` all steps to leaf through."""
        drawings = self.frames if frames and self.frames else (self,)
        return page(self.scene.title, [drawing.svg + drawing._solved() for drawing in drawings])

    def png(self, scale: float = 2.0) -> bytes:
        """The picture in pixels; needs the package cairosvg (ImportError without)."""
        try:
            import cairosvg
        except ImportError:
            raise ImportError(
                "a PNG needs cairosvg: pip install cairosvg, or save an .svg"
            ) from None
        return bytes(cairosvg.svg2png(bytestring=self.svg.encode(), scale=scale))

    def save(self, path: str | Path, frames: bool = False) -> Path:
        """Write the picture into a file, .svg, .html or .png; returns its path.

        With `frames`, a page has all steps to leaf through, and the others are written into files
        numbered from ``name-1`` on.  Raises `ArgumentError` for another suffix.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise ArgumentError(
                f"a drawing is saved as {', '.join(SUFFIXES)}, not as {path.suffix or path.name!r}"
            )
        if suffix == ".html":
            path.write_text(self.html(frames), encoding="utf-8")
        elif frames and self.frames:
            for i, frame in enumerate(self.frames, 1):
                frame.save(path.with_name(f"{path.stem}-{i}{path.suffix}"))
        elif suffix == ".svg":
            path.write_text(self.svg, encoding="utf-8")
        else:
            path.write_bytes(self.png())
        return path
