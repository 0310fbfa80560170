"""`perf/passes.py` still runs, reports rightly and refuses wrong numbers; no time is looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ndtape as nt
from ndtape.passes import PASSES, Goal, Pass, code_of
from ndtape.traced.lean import output_slots

sys.path.append(str(Path(__file__).parent.parent / "perf"))  # last: examples has a moons.py too

import passes
import passes_programs
import passes_report

PERF = Path(passes.__file__).parent


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    output = tmp_path_factory.mktemp("perf") / "passes.json"
    command = [sys.executable, str(PERF / "passes.py"), "--programs", "rosenbrock_2,cascade_vector"]
    command += ["--nested", "", "--seconds", "0.01", "--trials", "1", "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(PERF.parent)}  # found also when not installed
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text(encoding="utf-8")), done.stdout


def test_the_report_is_complete(report):
    figures, printed = report
    assert {"machine", "versions", "how", "passes", "rows", "calls", "nested"} <= figures.keys()
    kinds = {(row["program"], row["task"], row["variant"]) for row in figures["rows"]}
    for program in ("rosenbrock_2", "cascade_vector"):
        for task in ("values", "gradient"):
            for variant in ("recorded", "level 1", "level 2", "level 3"):
                assert (program, task, variant) in kinds
    assert ("cascade_vector", "values", "slots") in kinds
    assert all(row["value"] > 0 and row["bytes"] > 16 * row["slots"] / 2 for row in figures["rows"])
    assert [set(row) & set(passes_report.MARKS) for row in figures["calls"]] == [
        {"11", "30", "100", "1000"}
    ] * 2
    assert "the pass slots alone" in printed and "what must hold" in printed


def test_tables(report):
    figures, _ = report
    for title, header, lines in passes_report.tables(figures):
        assert title and all(len(line) == len(header) for line in lines)
    shown = "\n".join(passes_report.readme_tables(figures))
    assert "Rosenbrock, n = 2, loop" in shown and "| slots | 1 |" in shown
    assert len(passes_report.lines_of(figures)) == 5


def test_every_program_has_a_workload():
    assert {number for number, _ in passes_programs.PROGRAMS.values()} == {
        "01", "02", "05", "08", "09", "10", "12",
    }  # fmt: skip
    assert set(passes_programs.QUICK) <= set(passes_programs.PROGRAMS)


def test_wrong_numbers_are_refused(monkeypatch):
    """A pass that drops an instruction which somebody needs."""

    def broken(code, goal):
        columns = {**code.columns, "a": code.columns["a"].copy()}
        columns["a"][-1] = columns["b"][-1]
        return code._replace(columns=columns)

    monkeypatch.setattr(passes_programs, "PROGRAMS", {"one": ("", passes_programs.small)})
    monkeypatch.setattr(passes, "PASSES", (Pass("broken", 1, broken, ""),))
    options = passes.parse_arguments(["--programs", "one", "--seconds", "0.001"])
    with pytest.raises(AssertionError, match=r"a small one, values, broken: .* off"):
        list(passes.measure("one", options))


def test_variants_compute_the_same():
    program = passes_programs.small()
    function = nt.function(program.function, optimize=0)
    trace = passes.recorded(function, program.points[0])
    code = code_of(trace.tape, trace.leading[0], output_slots(trace)[:1])
    found = {name: after for name, after, _ in passes.variants(code, Goal())}
    assert {"level 1", "level 2", "level 3"} <= set(found) <= {
        *found, *(one.name for one in PASSES)
    }  # fmt: skip
    expected = nt.value_and_grad(program.function)(program.points[0])
    for after in found.values():
        sweeps = passes.Sweeps(after, trace.tape)
        sweeps.at(program.points[0])
        value, gradient = sweeps.found("gradient", 4)
        np.testing.assert_allclose(value[0], expected[0], rtol=1e-14)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-13)
