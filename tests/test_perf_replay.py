"""`perf/replay.py` still runs and refuses wrong numbers; nothing here looks at a time."""

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
    output = tmp_path_factory.mktemp("perf") / "replay.json"
    printed = run_script(
        *("replay.py", "--peers", "scipy", "--problems", "rosenbrock_2,rosenbrock_100"),
        *("--fresh", "rosenbrock_2", "--nested", "saddle", "--seconds", "0.01"),
        *("--output", output),
    )
    return output, json.loads(output.read_text(encoding="utf-8")), printed


def test_the_report_is_complete(report):
    _, figures, printed = report
    assert {"machine", "versions", "how", "rows", "optimisations", "nested"} <= figures.keys()
    kinds = {(row["problem"], row["contestant"], row["task"]) for row in figures["rows"]}
    for problem in ("rosenbrock_2", "rosenbrock_100"):
        for kind in [
            ("ndtape, scalar loop", "value and gradient"),
            ("ndtape, scalar loop, out=", "value and gradient"),
            ("ndtape, vector", "Hessian-vector product"),
            ("SciPy, by hand", "value and gradient"),
            ("SciPy, by hand", "Hessian-vector product"),
        ]:
            assert (problem, *kind) in kinds
    assert ("rosenbrock_100", "ndtape, vector", "tridiagonal Hessian") in kinds
    assert all(row["value"] > 0 and row["first, ms"] > 0 for row in figures["rows"])
    fresh = [row for row in figures["rows"] if "fresh, s" in row]
    assert {row["contestant"] for row in fresh} == {
        "ndtape, scalar loop",
        "ndtape, vector",
        "SciPy, by hand",
    }
    counted = [row for row in figures["rows"] if row.get("instructions")]
    assert {row["tapes"] for row in counted} == {1}
    assert {row["method"] for row in figures["optimisations"]} == {"BFGS", "CG"}
    assert len(figures["nested"]) == 4
    assert "Rosenbrock, n = 100" in printed


def test_the_tables_go_into_the_readme(report, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- perf:replay -->\n<!-- /perf:replay -->\nafter\n")
    arguments = ("--report", report[0], "--page", readme)
    run_script("table.py", *arguments)
    run_script("table.py", "--check", *arguments)
    text = readme.read_text(encoding="utf-8")
    assert "**Hessian-vector product, µs a call**" in text
    assert "|  | Rosenbrock, n = 2 | Rosenbrock, n = 100 |" in text
    assert "| SciPy, by hand |" in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- /perf:replay -->\nafter\n")


@pytest.fixture
def problem(monkeypatch):
    monkeypatch.syspath_prepend(str(PERF))
    from replay_race.problems import problem

    return problem("rosenbrock_100")


def test_wrong_numbers_are_refused(problem):
    from scipy.optimize import rosen, rosen_der, rosen_hess_prod

    x, v = problem.points[0], problem.direction
    value, gradient, product = rosen(x), rosen_der(x), rosen_hess_prod(x, v)
    problem.check("SciPy", "value and gradient", (value, gradient))
    problem.check("SciPy", "Hessian-vector product", product)
    for spoil in (1e-6, np.nan, np.inf):
        wrong = gradient.copy()
        wrong[1] += spoil
        with pytest.raises(AssertionError, match="golden"):
            problem.check("a peer", "value and gradient", (value, wrong))
        with pytest.raises(AssertionError, match="golden"):
            problem.check("a peer", "value and gradient", (value + spoil, gradient))
        with pytest.raises(AssertionError, match="golden"):
            problem.check("a peer", "Hessian-vector product", product + spoil)
        with pytest.raises(AssertionError, match="another"):
            problem.compare("a peer", "tridiagonal Hessian", wrong, gradient)


def test_a_missing_data_set_says_where_it_comes_from(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(PERF))
    import workloads

    monkeypatch.setattr(workloads, "DATA", tmp_path)
    with pytest.raises(workloads.DataMissingError, match="microsoft/ADBench"):
        workloads.data_file("adbench/gmm/gmm_d2_K5.txt")
