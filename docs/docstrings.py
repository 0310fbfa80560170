"""Docstrings as reStructuredText: they are plain text in which `x` and ``x`` are code."""

from __future__ import annotations

import re
from typing import Any

import ndtape

CODE = re.compile(r"``(.+?)``|`([^`]+)`")


def escaped(text: str) -> str:
    """Prose without the signs that reStructuredText would take for markup."""
    return re.sub(r"([*|\\])|(?<=\w)_(?!\w)", lambda sign: "\\" + sign[0], text)


def literal(code: str) -> str:
    """Code, and a link where it names something that users call."""
    name = re.fullmatch(r"nt\.(\w+)", code)
    if name and callable(getattr(ndtape, name[1], None)):
        return f":py:obj:`{code} <ndtape.{name[1]}>`"
    return f"``{code}``"


def converted(line: str) -> str:
    """A line of prose; code keeps its signs, also where letters follow it."""
    text, end = "", 0
    for code in CODE.finditer(line):
        text += escaped(line[end : code.start()]) + literal(code[1] or code[2])
        end = code.end()
        if line[end : end + 1].isalnum():
            text += r"\ "
    return text + escaped(line[end:])


def as_restructured_text(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Handler of autodoc's event: rewrites the lines of a docstring in place."""
    kept = False  # from a prompt, or the rule of a table, to the next empty line
    for number, line in enumerate(lines):
        kept = bool(line.strip()) and (kept or line.lstrip().startswith((">>>", "====")))
        if not kept:
            lines[number] = converted(line)
