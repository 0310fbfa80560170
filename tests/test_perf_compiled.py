"""`perf/compiled.py` still runs and refuses wrong numbers; nothing here looks at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PERF = Path(__file__).parent.parent / "perf"
sys.path.append(str(PERF))  # last: examples has a moons.py too

from compiled_race import problems, value_and_flat  # noqa: E402
from compiled_race.ours import Library  # noqa: E402
from workloads import DataMissingError  # noqa: E402

import ndtape as nt  # noqa: E402

SIZES = {"circle": 400, "oscillator": 400, "garch": 40, "ar5": 40, "bodies": 20}


def run_script(name, *arguments):
    command = [sys.executable, str(PERF / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PERF.parent)}  # found also when not installed
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    output = tmp_path_factory.mktemp("perf") / "compiled.json"
    printed = run_script(
        *("compiled.py", "--peers", "numba", "--seconds", "0.01", "--output", output),
        *("--problems", "circle_400,total_loop_20,total_arrays_20,bodies_10"),
        *("--compile", "circle,thirty", "--fresh", ""),
    )
    return output, json.loads(output.read_text(encoding="utf-8")), printed


def test_the_report_is_complete(report):
    _, figures, printed = report
    assert {"machine", "versions", "how", "rows", "compile"} <= figures.keys()
    kinds = {(row["problem"], row["contestant"], row["task"]) for row in figures["rows"]}
    for problem in ("circle_400", "total_loop_20", "total_arrays_20", "bodies_10"):
        for kind in [
            ("Numba", "plain function"),
            ("ndtape, plain", "plain function"),
            ("ndtape, compiled", "recording"),
            ("ndtape, compiled", "value and gradient"),
            ("ndtape, replayed", "value and gradient"),
            ("ndtape, eager", "value and gradient"),
            ("hand Numba", "value and gradient"),
        ]:
            assert (problem, *kind) in kinds
    assert all(row["value"] > 0 and row["over_primal"] > 0 for row in figures["rows"])
    assert {row["program"] for row in figures["compile"]} == {"circle", "thirty"}
    assert all(row["plain"] > 0 and row["ratio"] > 0 for row in figures["compile"])
    for title in ("FastAD's set, scalar loops", "FastAD's set, arrays", "all programs", "budgets"):
        assert title in printed


def test_the_tables_go_into_the_readme(report, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- perf:compiled -->\n<!-- /perf:compiled -->\nafter\n")
    arguments = ("--report", report[0], "--page", readme)
    run_script("table.py", *arguments)
    run_script("table.py", "--check", *arguments)
    text = readme.read_text(encoding="utf-8")
    assert "|  | plain, µs | recording | ndtape | by hand | replayed tape | eager tape |" in text
    assert "| circle map, 400 |" in text
    assert "| a function of thirty lines |" in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- /perf:compiled -->\nafter\n")


def small(kind):
    try:
        problem = problems.problem(f"{kind}_{SIZES.get(kind, 12)}")
        assert problem.points
    except DataMissingError as error:
        pytest.skip(str(error))
    return problem


@pytest.mark.parametrize("kind", problems.KINDS)
def test_gradients_by_hand_are_those_of_the_eager_tape(kind):
    problem = small(kind)
    differentiate = nt.value_and_grad(problem.function_with(Library()), argnums=problem.argnums)
    for k, point in enumerate(problem.points):
        problem.check("the eager tape", k, *value_and_flat(differentiate(*point)))


@pytest.mark.parametrize("kind", problems.KINDS)
def test_wrong_numbers_are_refused(kind):
    problem = small(kind)
    value, gradient = problem.expected[0]
    for spoil in (1e-6 * np.max(np.abs(gradient)), np.nan, np.inf):
        wrong = gradient.copy()
        wrong[-1] += spoil
        with pytest.raises(AssertionError, match="that by hand"):
            problem.check("a peer", 0, value, wrong)
        with pytest.raises(AssertionError, match="that by hand"):
            problem.check("a peer", 0, value * (1.0 + spoil), gradient)
    with pytest.raises(AssertionError, match="that by hand"):
        problem.check("a peer", 0, value, gradient[1:])
    wrong = gradient.copy()
    wrong[0] = 0.0
    with pytest.raises(AssertionError, match="zero entries"):
        problem.check("a peer", 0, value, wrong)


def test_the_larger_sizes_that_have_golden_numbers_meet_them():
    """`expected` holds the gradients by hand to them."""
    for name in ("lax_wendroff_loop_2000", "toon_loop_2000"):
        assert len(problems.problem(name).expected) == problems.POINTS


def test_an_unknown_problem_is_named():
    with pytest.raises(ValueError, match="no problem 'cirkle_100'"):
        problems.problem("cirkle_100")
