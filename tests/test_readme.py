"""The README's programs print what the README says, and its links lead somewhere."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from ndtape.ops import TABLE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", README, re.S)


def test_there_are_programs():
    assert len(PROGRAMS) == README.count("```python") >= 2


@pytest.mark.parametrize(("program", "printed"), PROGRAMS)
def test_program_prints_what_the_readme_says(program, printed):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(program, "README.md", "exec"), {})
    assert out.getvalue() == printed


def test_links_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_number_of_operations():
    assert f"**Operations**: {len(TABLE)} of them" in README
