"""The programs of README and docs print what stands below them, and links lead somewhere."""

import re
import sys
from pathlib import Path

import pytest

from ndtape.ops import TABLE

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
sys.path.append(str(DOCS))

import pages  # noqa: E402

PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
ELSEWHERE = ("tutorial", "guides")  # run by test_docs.py and by the tests of the guides
PROGRAMS = [
    pytest.param(path, cell, id=f"{path.relative_to(ROOT)}-{i}")
    for path in PAGES
    if path.parent.name not in ELSEWHERE
    for i, cell in enumerate(pages.cells(path))
]


def test_there_are_programs():
    assert len(PROGRAMS) > 60
    for path in PAGES:
        blocks = path.read_text(encoding="utf-8").count("```python")
        assert len(pages.cells(path)) == blocks, path


@pytest.mark.parametrize(("path", "cell"), PROGRAMS)
def test_program_prints_what_stands_below(path, cell):
    assert cell.printed, "a program of the docs prints something"
    found = pages.run_cell(cell, {"__name__": "__main__"}, path.name)
    assert found.printed == cell.printed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_exist(path):
    prose = re.sub(r"```.*?```|`[^`]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#:]+)\)", prose)
    assert not [link for link in links if not (path.parent / link).exists()]


def test_number_of_operations():
    text = (DOCS / "overview.md").read_text(encoding="utf-8")
    assert f"**Operations**: {len(TABLE)} of them" in text
