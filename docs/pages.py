"""Pages of the documentation as programs: what their blocks print and draw stands below them.

A ```python block is a program; a page of the tutorial is one program, and its blocks are cells. A
```text block behind it holds what it prints, and in the tutorial an image behind that what it
draws: the drawing that its last line stands for, or the figure that it made with matplotlib.

    python docs/pages.py PAGE ...            say where a page differs from what its blocks do
    python docs/pages.py --update PAGE ...   write what the blocks print and draw
    python docs/pages.py --notebooks         write the notebooks of the tutorial beside its pages
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
TUTORIAL = sorted((HERE / "tutorial").glob("[0-9]*.md"))

CELL = re.compile(
    r"```python\n(?P<source>.*?)```\n"
    r"(?:\n*```text\n(?P<printed>.*?)```\n)?"
    r"(?:\n*!\[(?P<title>[^\]]*)\]\((?P<picture>[^)]*\.svg)\)\n)?",
    re.DOTALL,
)


@dataclass
class Cell:
    """A block of a page: its program, what it prints, and the picture that it draws, if any."""

    source: str
    printed: str = ""
    picture: str = ""
    title: str = ""
    drawn: str = field(default="", repr=False)

    def text(self) -> str:
        """The block as it stands on the page, with what is below it."""
        parts = [f"```python\n{self.source}```\n"]
        if self.printed:
            parts.append(f"```text\n{self.printed}```\n")
        if self.picture:
            parts.append(f"\n![{self.title}]({self.picture})\n")
        return "".join(parts)


def parts(text: str) -> list[str | Cell]:
    """Prose and cells of a page, in order; joined again they are the page."""
    found: list[str | Cell] = []
    end = 0
    for match in CELL.finditer(text):
        found.append(text[end : match.start()])
        groups = {name: value or "" for name, value in match.groupdict().items()}
        found.append(Cell(**groups))
        end = match.end()
    return [*found, text[end:]]


def cells(path: Path) -> list[Cell]:
    return [part for part in parts(path.read_text(encoding="utf-8")) if isinstance(part, Cell)]


def figures() -> list[str]:
    """The SVG of each figure that is open, which is then closed."""
    plots = sys.modules.get("matplotlib.pyplot")
    found = []
    for number in plots.get_fignums() if plots else ():
        out = io.StringIO()
        with plots.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ndtape"}):
            plots.figure(number).savefig(out, format="svg", metadata={"Date": None})
        plots.close(number)
        found.append(out.getvalue())
    return found


def run_cell(cell: Cell, names: dict[str, Any], where: str) -> Cell:
    """The cell as it should be: with what it prints and draws now."""
    body = ast.parse(cell.source, where)
    last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(body, where, "exec"), names)
        value = last and eval(compile(ast.Expression(last.value), where, "eval"), names)
    if value is not None and not hasattr(value, "_repr_svg_"):
        raise ValueError(f"{where}: the last line of a cell prints, or it is a drawing: {value!r}")
    drawn = figures() if value is None else [value._repr_svg_()]
    return Cell(cell.source, out.getvalue(), cell.picture, cell.title, "".join(drawn))


@np.printoptions()  # what a page chooses ends with it
def run(path: Path) -> str:
    """Run a page and put its pictures beside it; the page with what its blocks print now."""
    fresh: dict[str, Any] = {"__name__": "__main__"}
    names = dict(fresh)
    text = []
    for part in parts(path.read_text(encoding="utf-8")):
        if isinstance(part, Cell):
            names = names if path in TUTORIAL else dict(fresh)
            part = run_cell(part, names, path.name)
            if path in TUTORIAL and bool(part.picture) != bool(part.drawn):
                raise ValueError(
                    f"{path.name}: a picture is drawn, or shown, but not both:\n{part}"
                )
            if path in TUTORIAL and part.picture:
                (path.parent / part.picture).parent.mkdir(exist_ok=True)
                (path.parent / part.picture).write_text(part.drawn, encoding="utf-8")
            part = part.text()
        text.append(part)
    return "".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pages", type=Path, nargs="*", default=TUTORIAL)
    parser.add_argument("--update", action="store_true", help="write what is printed and drawn")
    parser.add_argument("--notebooks", action="store_true", help="write the notebooks only")
    options = parser.parse_args()
    if options.notebooks:
        import notebooks

        notebooks.write(options.pages)
        return
    stale = []
    for path in map(Path.resolve, options.pages):
        text = run(path)
        if text != path.read_text(encoding="utf-8"):
            stale.append(path.name)
            if options.update:
                path.write_text(text, encoding="utf-8")
    print(("written: " if options.update else "stale: ") + (", ".join(stale) or "none"))
    sys.exit(bool(stale) and not options.update)


if __name__ == "__main__":
    main()
