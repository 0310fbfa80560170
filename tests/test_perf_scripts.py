"""The scripts of `perf/` still run and refuse wrong gradients; nothing here looks at a time."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PERF = Path(__file__).parent.parent / "perf"


def run_script(name, *arguments, status=0):
    command = [sys.executable, str(PERF / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PERF.parent)}  # found also when not installed
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert finished.returncode == status, finished.stderr
    return finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def chain_report(tmp_path_factory):
    """A report of `chain.py` without peers, at lengths that take no time."""
    output = tmp_path_factory.mktemp("perf") / "chain.json"
    printed = run_script(
        *("chain.py", "--quick", "--peers", "none", "--sizes", "400,2000", "--seconds", "0.1"),
        *("--output", output),
    )
    return output, json.loads(output.read_text()), printed


@pytest.fixture
def problems(monkeypatch):
    monkeypatch.syspath_prepend(str(PERF))
    import problems

    return problems


def test_chain_report_is_complete(chain_report):
    _, report, printed = chain_report
    assert {"machine", "versions", "rows", "tapes", "mode"} <= report.keys()
    tasks = {(row["problem"], row["operations"], row["task"]) for row in report["rows"]}
    for problem in ("circle", "wide"):
        for operations in (400, 2000):
            for task in ("record + gradient", "replay", "record", "forward", "reverse", "tangent"):
                assert (problem, operations, task) in tasks
    assert all(row["value"] > 0 and row["unit"].startswith("ns/op") for row in report["rows"])
    assert "circle map" in printed and "bytes/op" in printed


def test_chain_has_no_dead_adjoints(chain_report):
    _, report, _ = chain_report
    for tape in report["tapes"]:
        assert tape["share_of_nonzero_adjoints"] > 0.99
        assert tape["worst_relative_error"] < 1e-9


def test_table_goes_between_the_comments(chain_report, tmp_path):
    output, _, _ = chain_report
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- perf:chain -->\nold\n<!-- /perf:chain -->\nafter\n")
    arguments = ("--report", output, "--page", readme)
    assert "run python perf/table.py" in run_script("table.py", "--check", *arguments, status=1)
    run_script("table.py", *arguments)
    run_script("table.py", "--check", *arguments)
    text = readme.read_text()
    assert text.startswith("before\n<!-- perf:chain -->\n")
    assert text.endswith("<!-- /perf:chain -->\nafter\n")
    assert "old" not in text
    assert re.search(r"^\| ndtape +\| [\d. ]+ \|", text, re.MULTILINE)


def test_table_needs_its_comments(chain_report, tmp_path):
    output, _, _ = chain_report
    readme = tmp_path / "README.md"
    readme.write_text("no comments here\n")
    said = run_script("table.py", "--report", output, "--page", readme, status=1)
    assert "<!-- perf:chain -->" in said


@pytest.mark.parametrize("name", ["circle", "wide"])
def test_recurrence_agrees_with_differences(problems, name):
    """The independent derivative itself, by central differences of the program on floats."""
    problem = problems.PROBLEMS[name]
    inputs, program = problem.inputs(5), problem.program(5)
    value, gradient = problem.gradient(5)
    assert program(inputs, np.sin) == pytest.approx(value, rel=1e-14)
    for k, slope in enumerate(gradient):
        up, down = inputs.copy(), inputs.copy()
        up[k] += 1e-6
        down[k] -= 1e-6
        difference = (program(up, np.sin) - program(down, np.sin)) / 2e-6
        assert difference == pytest.approx(slope, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("spoil", [1 + 1e-8, 0.0, np.inf, np.nan])
def test_wrong_gradients_are_refused(problems, spoil):
    problem = problems.PROBLEMS["circle"]
    expected = problem.gradient(50)
    problems.check_gradient(problem, "a peer", expected, expected)
    gradient = expected[1].copy()
    gradient[1] *= spoil
    with pytest.raises(AssertionError, match="a peer on circle"):
        problems.check_gradient(problem, "a peer", expected, (expected[0], gradient))
