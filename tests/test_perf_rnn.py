"""`perf/rnn.py` and `perf/dlstm.py` still run, report rightly and refuse wrong numbers.

Nothing here looks at a time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ndtape as nt

sys.path.append(str(Path(__file__).parent.parent / "perf"))  # last: examples has a moons.py too

import rnn
import rnn_report
from dlstm_report import lines_of as dlstm_lines
from dlstm_report import tables as dlstm_tables
from rnn_race import ours
from rnn_race.problems import problem
from rnn_report import lines_of, tables

PERF = Path(rnn.__file__).parent
SMALL = [
    f"{cell}_H3_B{B}_T{T}_{dtype}"
    for cell in ("rnn", "gru", "lstm")
    for B, T, dtype in ((1, 4, "float64"), (1, 101, "float32"), (2, 4, "float64"))
] + ["lstm_H3_B2_T101_float32"]


def run_script(*command, **environment):
    variables = {**os.environ, "PYTHONPATH": str(PERF.parent), **environment}
    command = [sys.executable, *map(str, command)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, env=variables)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


# --- who is raced ---------------------------------------------------------------------------------

# Compiling the loops written by hand takes half a minute: here they run as plain Python.
BY_HAND = """
import json, sys
sys.path.insert(0, sys.argv[1])
from rnn_race import with_numba
from rnn_race.problems import problem
found = {}
for name in sys.argv[2:]:
    p = problem(name)
    for entry in with_numba.contestants(p):
        value, gradient = entry.read(entry.build()(entry.convert(p.points[0])))
        found.setdefault(name, {})[entry.name] = [value, [g.tolist() for g in gradient]]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def by_hand():
    return json.loads(run_script("-c", BY_HAND, PERF, *SMALL, NUMBA_DISABLE_JIT="1"))


@pytest.mark.parametrize("name", SMALL)
def test_loops_by_hand_agree_with_the_tape(by_hand, name):
    """So does a scan with an unroll: the first one to come says what is right."""
    race = problem(name)
    for entry in ours.contestants(race):
        result = entry.build()(entry.convert(race.points[0]))
        race.check(entry.name, 0, entry.read(result))
    assert len(by_hand[name]) == 2
    for who, (value, gradient) in by_hand[name].items():
        race.check(who, 0, (value, list(map(np.array, gradient))))


@pytest.mark.parametrize("library", ["jax", "torch", "autograd"])
def test_peers_that_are_installed_agree(library):
    pytest.importorskip(library)
    from importlib import import_module

    module = import_module(f"rnn_race.with_{library}")
    names = {"torch": ["gru_H3_B2_T4_float64", "lstm_H3_B1_T101_float32"]}
    for race in map(problem, names.get(library, ["rnn_H3_B2_T4_float64"])):
        for entry in [*list(ours.contestants(race))[:1], *module.contestants(race)]:
            result = entry.build()(entry.convert(race.points[1]))
            race.check(entry.name, 1, entry.read(result))


def test_wrong_numbers_are_refused():
    race = problem("rnn_H3_B1_T4_float64")
    loss = race.unrolled()
    value, gradient = nt.value_and_grad(loss)(race.points[0], *race.data)
    race.check("ndtape", 0, (value, gradient))
    for spoil in (1e-6, np.nan, np.inf):
        wrong = [part.copy() for part in gradient]
        wrong[1][0, 0] += spoil
        with pytest.raises(AssertionError, match=r"a peer, RNN, H = 3.* from ndtape"):
            race.check("a peer", 0, (value, wrong))
        with pytest.raises(AssertionError, match="from ndtape"):
            race.check("a peer", 0, (value + spoil, gradient))
    with pytest.raises(AssertionError, match="is zero"):
        race.check("a peer", 0, (value, [*gradient[:2], np.zeros(3)]))


# --- which rows -----------------------------------------------------------------------------------


def test_names_of_rows():
    assert rnn.wanted_rows("must") == rnn.MUST
    assert rnn.wanted_rows("rnn_H5_B2_T7_float32,must")[0] == "rnn_H5_B2_T7_float32"
    lstms = rnn.wanted_rows("lstm_H64_*_float32,lstm_H64_B8_T100_float32")
    assert len(lstms) == len(set(lstms)) == 12
    assert len(rnn.wanted_rows("all")) == 3 * 6 * 3 * 4 * 2
    with pytest.raises(ValueError, match="named like"):
        rnn.wanted_rows("rnn_16")


# --- the report -----------------------------------------------------------------------------------


def steps(name, times):
    """Rows of a report, each peer's with the ratios of our two forms to it."""
    found = []
    mine = {who: t for who, t in times.items() if who.startswith("ndtape")}
    for who, t in times.items():
        row = {**problem(name).description, "contestant": who, "value": t, "first, ms": 100 * t}
        if who not in mine:
            row["ndtape_over_this"] = {k: own / t for k, own in mine.items()}
        found.append(row)
    return found


CANNED = {
    "machine": {
        "date": "today",
        "processor": "a processor",
        "logical cores": 2,
        "system": "a system",
        "python": "3",
    },
    "versions": {"ndtape": "0"},
    "how": "made up.",
    "rows": steps(
        "rnn_H4_B1_T100_float64",
        {
            "ndtape, unrolled": 0.2,
            "ndtape, scan": 0.16,
            "hand Numba, outer products in the loop": 0.12,
            "hand Numba, weight gradient as one product": 0.08,
            "JAX jit, scan": 0.2,
            "PyTorch, unrolled": 32.0,
            "PyTorch, module": 1.6,
        },
    ),
    "first": [
        {**problem(rnn.FIRST).description, "contestant": who, "value": t, "unit": "ms"}
        for who, t in (("ndtape, unrolled", 2.0), ("JAX jit, unrolled", 900.0))
    ],
    "memory": [
        {"schedule": "√T", "T": T, "peak, bytes": peak, "theory, bytes": peak / 1.1,
         "plan, bytes": 0, "evaluations": [T, T], "s": 0.1}
        for T, peak in ((1000, 10**6), (100_000, 11 * 10**6))
    ],
}  # fmt: skip


def test_what_must_hold_is_computed_from_the_report():
    said = {what: (found, verdict) for what, found, _, verdict in lines_of(CANNED)}
    name = "rnn_H4_B1_T100_float64"
    assert said[f"{name}: time over the better hand loop"] == ("2", "NOT met")
    assert said[f"{name}: times faster than JAX jit, scan"] == ("1.25", "NOT met")
    assert said[f"{name}: times faster than PyTorch, unrolled"] == ("200", "met")
    assert said[f"{name}: times faster than PyTorch, module"] == ("10", "met")
    assert said["rnn_H16_B1_T100_float64: time over the better hand loop"][1] == "not measured"
    sooner = "first gradient of the unroll: times sooner than JAX jit's"
    assert said[sooner] == ("450", "NOT met")
    growth = "memory with √T checkpoints, T = 1000 to 100000: growth over √T's"
    assert said[growth] == ("1.1", "met")
    assert said["memory with √T checkpoints, T = 100000: peak over theory"] == ("1.1", "met")


def test_tables_state_both_loops_both_forms_of_pytorch_and_the_dtype():
    shown = {title: (header, lines) for title, header, lines in tables(CANNED)}
    header, (line,) = shown["forward and backward, µs a step"]
    assert line[0] == "RNN, H = 4, B = 1, T = 100, float64"
    found = dict(zip(header, line, strict=True))
    assert found["hand Numba, outer products in the loop"] == "0.12"
    assert found["hand Numba, weight gradient as one product"] == "0.08"
    header, (line,) = shown["time of ndtape's faster form over that of"]
    found = dict(zip(header, line, strict=True))
    assert found["the better loop by hand"] == "2×"
    assert found["PyTorch, module"] == "0.1×"
    assert len(shown) == 5


def test_the_tables_go_into_the_readme(tmp_path):
    readme, report = tmp_path / "README.md", tmp_path / "rnn.json"
    report.write_text(json.dumps(CANNED), encoding="utf-8")
    readme.write_text("before\n<!-- perf:rnn -->\n<!-- /perf:rnn -->\nafter\n")
    arguments = ("--report", report, "--page", readme)
    run_script(PERF / "table.py", *arguments)
    run_script(PERF / "table.py", "--check", *arguments)
    text = readme.read_text(encoding="utf-8")
    assert "| RNN, H = 4, B = 1, T = 100, float64 | 0.2 | 0.16 |" in text
    assert "| √T | 1 / 0.909 | 11 / 10 |" in text
    assert text.endswith("<!-- /perf:rnn -->\nafter\n")


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    said = []
    rnn_report.save_plots(CANNED, tmp_path / "rnn.json", said.append)
    assert (tmp_path / "rnn.png").read_bytes().startswith(b"\x89PNG")
    rnn_report.save_plots(CANNED | {"rows": [], "memory": []}, tmp_path / "no.json", said.append)
    assert not (tmp_path / "no.png").exists()
    assert not said


def test_the_report_of_the_forecast():
    name = "dlstm_l2_c1024"
    shared = {"row": name, "layers": 2, "T": 1023, "dtype": "float64"}
    ours_, theirs = "ndtape, scan", "JAX jit, scan"
    report = {
        "rows": [
            {**shared, "contestant": ours_, "value": 5.0, "instructions": 11},
            {**shared, "contestant": "ndtape, unrolled", "value": 8.0, "instructions": 40_000},
            {**shared, "contestant": theirs, "value": 6.0, "ndtape_over_this": {ours_: 0.8}},
        ],
        "first": [{**shared, "contestant": ours_, "value": 120.0, "fresh, s": 0.7}],
        "short": [],
    }
    (_, header, lines) = next(dlstm_tables(report))
    counted = [dict(zip(header, line, strict=True)) for line in lines]
    assert [row["instructions"] for row in counted] == ["11", "40 000", ""]
    assert [row["ns an instruction"] for row in counted] == ["", "200", ""]
    verdicts = [(found, verdict) for _, found, _, verdict in dlstm_lines(report)]
    assert verdicts[:4] == [("5", "met"), ("0.7", "met"), ("0.12", "NOT met"), ("1.25", "stated")]


# --- the scripts ----------------------------------------------------------------------------------


def test_the_script_runs(tmp_path):
    output = tmp_path / "rnn.json"
    arguments = ["--rows", "rnn_H4_B1_T10_float64", "--peers", "none", "--seconds", "0.01"]
    arguments += ["--first", "", "--memory", "50", "--schedules", "√T", "--output", output]
    printed = run_script(PERF / "rnn.py", *arguments)
    report = json.loads(output.read_text(encoding="utf-8"))
    assert {"machine", "versions", "how", "rows", "first", "memory"} <= report.keys()
    assert [row["contestant"] for row in report["rows"]] == ["ndtape, unrolled", "ndtape, scan"]
    assert all(row["value"] > 0 and row["instructions"] > 0 for row in report["rows"])
    (row,) = report["memory"]
    assert row["evaluations"] == [50, 50]
    kept = row["state, bytes"] * 7 + row["locals of a step, bytes"] * 8  # ⌈50/8⌉ = 7 snapshots
    assert row["theory, bytes"] == kept
    assert "RNN, H = 4, B = 1, T = 10, float64" in printed
