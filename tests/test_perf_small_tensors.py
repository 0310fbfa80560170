"""`perf/small_tensors.py` still runs and refuses wrong numbers; nothing here looks at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PERF = Path(__file__).parent.parent / "perf"


def run_script(name, *arguments):
    command = [sys.executable, str(PERF / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PERF.parent)}  # found also when not installed
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    pytest.importorskip("sklearn")
    output = tmp_path_factory.mktemp("perf") / "small_tensors.json"
    printed = run_script(
        *("small_tensors.py", "--quick", "--peers", "none", "--operations", "add,sum,mat-vec"),
        *("--batches", "2", "--seconds", "0.01", "--output", output),
    )
    return output, json.loads(output.read_text()), printed


def test_the_report_is_complete(report):
    _, figures, printed = report
    assert {"machine", "versions", "how", "rows"} <= figures.keys()
    kinds = {(row["operation"], row["contestant"], row["task"]) for row in figures["rows"]}
    for operation in ("add", "sum", "mat-vec"):
        for kind in [
            ("ndtape", "swept, values"),
            ("ndtape", "swept, values and derivatives"),
            ("ndtape", "recorded afresh, values and derivatives"),
            ("hand Numba", "swept, values and derivatives"),
            ("NumPy", "called, values"),
        ]:
            assert (operation, *kind) in kinds
    assert {c for o, c, _ in kinds if o.startswith("network")} == {
        "ndtape, swept",
        "ndtape, traced",
        "ndtape, recorded afresh",
        "NumPy by hand",
    }
    assert all(row["value"] > 0 for row in figures["rows"])
    assert "add: values, ns an operation" in printed


def test_the_tables_go_into_the_readme(report, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- perf:small_tensors -->\n<!-- /perf:small_tensors -->\nafter\n")
    arguments = ("--report", report[0], "--page", readme)
    run_script("table.py", *arguments)
    run_script("table.py", "--check", *arguments)
    text = readme.read_text()
    assert "**add**: values, ns an operation" in text
    assert "| NumPy by hand |" in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- /perf:small_tensors -->\nafter\n")


@pytest.fixture
def operations(monkeypatch):
    monkeypatch.syspath_prepend(str(PERF))
    import tensors.operations

    return tensors.operations


def test_the_derivatives_themselves(operations):
    """The formulas that everything is held to, by central differences."""
    for operation in operations.OPERATIONS.values():
        groups = operation.operands(3)
        _, *derivatives = operation.expected(groups)
        for j, derivative in enumerate(derivatives):
            for index in np.ndindex(groups[0][j].shape):
                shifted = []
                for step in (1e-6, -1e-6):
                    group = [x.copy() for x in groups[0]]
                    group[j][index] += step
                    shifted.append(np.sum(operation.value(*group)))
                slope = (shifted[0] - shifted[1]) / 2e-6
                assert derivative[0][index] == pytest.approx(slope, rel=1e-7, abs=1e-8)


def test_wrong_numbers_are_refused(operations):
    from tensors import Contestant

    expected = [np.ones((8, 2)), np.ones((8, 2))]
    for part, text in ((0, "value"), (1, "derivative 1")):
        for spoil in (1e-8, np.nan, np.inf):
            found = [x.copy() for x in expected]
            found[part][3, 1] += spoil
            entry = Contestant("a peer", "task", None, 1, lambda found=found: found)
            with pytest.raises(AssertionError, match=text):
                operations.check(entry, expected, "add")
    operations.check(Contestant("a peer", "task", None, 1, lambda: expected), expected, "add")
