"""The guides for users of PyTorch, JAX and CasADi: each program, before and after, prints the same.

What comes after is run always, what came before where the other library is installed.
"""

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import pytest

import ndtape as nt

GUIDES = Path(__file__).parent.parent / "docs" / "guides"
PEERS = {"from_pytorch": "torch", "from_jax": "jax", "from_casadi": "casadi"}
PAIR = r"```py\n(?P<before>.*?)```\n+```python\n(?P<after>.*?)```\n+```text\n(?P<printed>.*?)```"
TEXTS = {name: (GUIDES / f"{name}.md").read_text(encoding="utf-8") for name in PEERS}
PAIRS = [
    pytest.param(name, found, id=f"{name}-{i}")
    for name, text in TEXTS.items()
    for i, found in enumerate(re.finditer(PAIR, text, re.S))
]


def printed(program, name):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(program, name, "exec"), {"__name__": "__main__"})
    return out.getvalue()


@pytest.mark.parametrize(("name", "pair"), PAIRS)
def test_after(name, pair):
    assert printed(pair["after"], name) == pair["printed"]


@pytest.mark.parametrize(("name", "pair"), PAIRS)
def test_before(name, pair):
    if importlib.util.find_spec(PEERS[name]) is None:
        pytest.skip(f"{PEERS[name]} is not installed")
    assert printed(pair["before"], name) == pair["printed"]


@pytest.mark.parametrize("name", PEERS)
def test_every_program_has_its_pair(name):
    text = TEXTS[name]
    pairs = len(re.findall(PAIR, text, re.S))
    assert pairs == text.count("```python") == text.count("```py\n") == text.count("```text") >= 4


@pytest.mark.parametrize("name", PEERS)
def test_what_the_tables_name_is_there(name):
    """Every nt. name in code that the page mentions, to its last dot."""
    prose = re.sub(r"```.*?```", "", TEXTS[name], flags=re.S)
    for code in re.findall(r"`([^`]+)`", prose):
        for dotted in re.findall(r"\bnt((?:\.\w+)+)", code):
            found = nt
            for part in dotted.strip(".").split("."):
                found = getattr(found, part)
