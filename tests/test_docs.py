"""What the documentation shows is current: notebooks, names, tables, pictures."""

import inspect
import json
import re
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

import ndtape as nt

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
sys.path.append(str(DOCS))

import notebooks  # noqa: E402
from pages import TUTORIAL  # noqa: E402

# Between two notebooks in one kernel.
AFRESH = "%reset -f\nimport numpy\nnumpy.set_printoptions(precision=8, suppress=False)"


@pytest.mark.parametrize("path", TUTORIAL, ids=lambda path: path.stem)
def test_notebook_is_that_of_the_page(path):
    written = path.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert written == notebooks.text(path), "run python docs/pages.py --notebooks"
    nbformat.validate(nbformat.reads(written, 4))


def printed(cell):
    return "".join(o["text"] for o in cell.outputs if o.get("name") == "stdout")


def pictures(cell):
    kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
    return bool(kinds & {"image/svg+xml", "image/png", "text/html"})


@pytest.mark.filterwarnings("ignore")  # what Jupyter warns about is its own business
def test_notebooks_print_what_they_show(tmp_path):
    """All chapters one after another, in one kernel: starting one takes as long as running it."""
    joined = nbformat.v4.new_notebook(metadata=notebooks.METADATA)
    for path in TUTORIAL:
        joined.cells += nbformat.read(path.with_suffix(".ipynb"), 4).cells
        joined.cells.append(nbformat.v4.new_code_cell(AFRESH))
    shown = [(printed(cell), pictures(cell)) for cell in joined.cells if cell.cell_type == "code"]
    there = {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(joined, timeout=300, resources=there).execute()
    cells = [cell for cell in joined.cells if cell.cell_type == "code"]
    for cell, (text, picture) in zip(cells, shown, strict=True):
        assert printed(cell) == text, cell.source
        assert pictures(cell) == picture, cell.source


# --- API reference --------------------------------------------------------------------------------

API = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
LISTED = set(re.findall(r"auto(?:function|class|data|attribute|exception|module):: ([\w.]+)", API))


def public(module):
    """Names that a module offers and that are no modules."""
    names = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
    return [name for name in names if not inspect.ismodule(getattr(module, name))]


def test_every_public_name_is_in_the_reference():
    of_modules = {name for module in (nt.functions, nt.errors) for name in public(module)}
    assert set(public(nt)) - of_modules <= LISTED


def test_every_page_is_in_the_navigation():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    entries = set(re.findall(r"^(?:.* <)?([\w/]+)>?$", index, re.MULTILINE))
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} <= entries
    for folder in ("api", "guides", "howto", "tutorial"):  # internals go by a glob
        index = (DOCS / folder / "index.md").read_text(encoding="utf-8")
        listed = [line for line in index.splitlines() if re.fullmatch(r"[\w*]+", line)]
        for path in (DOCS / folder).glob("*.md"):
            assert path.stem == "index" or any(path.match(f"{name}.md") for name in listed), path


def test_layers_of_the_internals_are_those_of_the_package():
    """Each file and package at the top of ndtape has its place, and no name is of another time."""
    text = (DOCS / "internals.md").read_text(encoding="utf-8")
    rows = "".join(line.split("|")[2] for line in text.splitlines() if re.match(r"\| [\d–]", line))
    said = {name.rstrip("/") for name in re.findall(r"`([\w/]+)`", rows)}
    package = Path(nt.__file__).parent
    top = {p.stem for p in package.glob("*.py")} | {p.parent.name for p in package.glob("*/*.py")}
    assert top - {"__init__", "__main__", "_version"} <= said
    assert said <= top | {p.stem for p in (package / "record").glob("*.py")}


# --- figures --------------------------------------------------------------------------------------


@pytest.fixture
def perf(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "perf"))


def test_tables_and_pictures_show_the_reports(perf):
    import figures
    import table

    table.main(["--check"])
    figures.main(["--check"])


def test_summary_has_lost_lines(perf):
    """A summary in which one library wins everywhere would be chosen, not measured."""
    import summary
    import table

    paths = [table.RESULTS / f"{name}.json" for name in table.TABLES]
    reports = {path.stem: json.loads(path.read_text()) for path in paths if path.exists()}
    lines = [line for line in summary.table(reports).splitlines() if "**" in line]
    lost = [line for line in lines if "**" not in line.split("|")[3]]
    assert len(lines) == len(summary.LINES) and len(lost) >= 3
