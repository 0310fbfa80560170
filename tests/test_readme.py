"""The programs of README and docs print what stands below them, and links lead somewhere."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from ndtape.ops import TABLE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in
         [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}  # fmt: skip
PROGRAMS = [
    pytest.param(name, *found, id=f"{name}-{i}")
    for name, text in PAGES.items()
    for i, found in enumerate(re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", text, re.S))
]


def test_there_are_programs():
    assert len(PROGRAMS) == sum(text.count("```python") for text in PAGES.values()) >= 8


@pytest.mark.parametrize(("name", "program", "printed"), PROGRAMS)
def test_program_prints_what_stands_below(name, program, printed):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(program, name, "exec"), {})
    assert out.getvalue() == printed


def test_links_exist():
    for name, text in PAGES.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        links = re.findall(r"\]\(([^)#:]+)\)", text)
        assert not [link for link in links if not (folder / link).exists()], name


def test_number_of_operations():
    assert f"**Operations**: {len(TABLE)} of them" in README
