"""Docstrings as reStructuredText: they are plain text in which `x` and ``x`` are code."""

from __future__ import annotations

import re
from typing import Any

CODE = re.compile(r"``(.+?)``|`([^`]+)`")


def escaped(text: str) -> str:
    """Prose without the signs that reStructuredText would take for markup."""
    return re.sub(r"([*|\\])|(?<=\w)_(?!\w)", lambda sign: "\\" + sign[0], text)


def converted(line: str) -> str:
    """A line of prose; code keeps its signs, also where letters follow it."""
    text, end = "", 0
    for code in CODE.finditer(line):
        text += escaped(line[end : code.start()]) + f"``{code[1] or code[2]}``"
        end = code.end()
        if line[end : end + 1].isalnum():
            text += r"\ "
    return text + escaped(line[end:])


def as_restructured_text(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Handler of autodoc's event: rewrites the lines of a docstring in place."""
    example = False  # from a prompt to the next empty line
    for number, line in enumerate(lines):
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        if not example:
            lines[number] = converted(line)
