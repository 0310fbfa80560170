"""Notebooks of the tutorial, made from its pages: the same text, programs and results.

They are committed beside the pages; `python docs/pages.py --notebooks` writes them, and a test
compares and executes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pages import Cell, parts

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def lines(text: str) -> list[str]:
    """As notebooks keep text: a string a line, no newline behind the last."""
    return text.strip("\n").splitlines(keepends=True)


def outputs(cell: Cell, folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if cell.printed:
        printed = cell.printed.splitlines(keepends=True)
        found.append({"output_type": "stream", "name": "stdout", "text": printed})
    if cell.picture:
        drawn = (folder / cell.picture).read_text(encoding="utf-8")
        data = {"image/svg+xml": lines(drawn), "text/plain": [cell.title]}
        found.append({"output_type": "display_data", "data": data, "metadata": {}})
    return found


def notebook(path: Path) -> dict[str, Any]:
    """The page as a notebook, format 4.5."""
    found: list[dict[str, Any]] = []
    for part in parts(path.read_text(encoding="utf-8")):
        if isinstance(part, str) and not part.strip():
            continue
        common = {"id": f"{path.stem}-{len(found)}".replace("_", "-"), "metadata": {}}
        if isinstance(part, str):
            found.append({"cell_type": "markdown", **common, "source": lines(part)})
            continue
        results = {"execution_count": None, "outputs": outputs(part, path.parent)}
        found.append({"cell_type": "code", **common, "source": lines(part.source), **results})
    return {"cells": found, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def text(path: Path) -> str:
    """The file."""
    return json.dumps(notebook(path), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def write(paths: list[Path]) -> None:
    for path in paths:
        path.with_suffix(".ipynb").write_text(text(path), encoding="utf-8")
