"""`perf/lanes.py` and `perf/sparse.py` still run, report rightly and refuse wrong numbers.

Nothing here looks at a time.
"""

import json
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

import ndtape as nt

sys.path.append(str(Path(__file__).parent.parent / "perf"))  # last: examples has a moons.py too

import lanes
import lanes_report
import sparse_race.problems as matrices
import sparse_report
import table
from lanes_race import ours, with_numpy
from lanes_race.problems import problem
from sparse_race import ours as sparse_ours

ROWS = 33  # two packs, and one row


def perf_script(name):
    """perf/<name>.py, which is not to be mistaken for a library of this name."""
    spec = spec_from_file_location(f"perf_{name}", Path(lanes.__file__).parent / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sparse = perf_script("sparse")


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    yield
    nt.set_num_threads(None)


def small(name):
    race = problem(name)
    race.rows = ROWS
    return race


def run(race, entry, point=0):
    result = entry.build()(entry.convert(race.points[point]))
    race.check(entry.name, point, entry.read(result))


# --- rows: who is raced ---------------------------------------------------------------------------

CHAINS = ("arithmetic_n40", "transcendental_n40")
SMALL = [f"{chain}_{task}" for chain in CHAINS for task in ("value", "gradient")]
SMALL += ["asian_d3_p33_mean", "asian_d3_p33_paths"]


@pytest.mark.parametrize("name", SMALL)
def test_derivatives_by_hand_agree_with_the_tape(name):
    race = small(name)
    (by_hand,) = with_numpy.contestants(race)
    first, second = ours.contestants(race)
    for point, entry in ((0, by_hand), (0, first), (0, second), (1, by_hand), (1, first)):
        run(race, entry, point)


@pytest.mark.parametrize("library", ["jax", "torch", "casadi"])
def test_peers_that_are_installed_agree(library):
    pytest.importorskip(library)
    module = import_module(f"lanes_race.with_{library}")
    fewer = {"jax": ["transcendental_n40_gradient", "asian_d3_p33_mean"]}
    for race in map(small, fewer.get(library, SMALL)):
        run(race, *with_numpy.contestants(race))
        for entry in module.contestants(race):
            run(race, entry)


def test_wrong_gradients_are_refused():
    race = small("arithmetic_n40_gradient")
    (by_hand,) = with_numpy.contestants(race)
    value, slopes = by_hand.read(by_hand.build()(race.points[0]))
    race.check("by hand", 0, (value, slopes))
    slopes = [slope.copy() for slope in slopes]
    slopes[1][ROWS - 1] *= 1 + 1e-6
    with pytest.raises(AssertionError, match=r"a peer, arithmetic, 40 operations.* from by hand"):
        race.check("a peer", 0, (value, slopes))


def test_names_of_rows():
    assert lanes.wanted_rows("must") == lanes.MUST
    assert lanes.wanted_rows("asian_d5_p7_mean,must")[0] == "asian_d5_p7_mean"
    assert len(lanes.wanted_rows("arithmetic_*_value")) == 4
    assert sparse.wanted_rows("grid_7_hessian") == ["grid_7_hessian"]
    assert len(sparse.wanted_rows("default")) == 18
    for wanted in (lanes.wanted_rows, sparse.wanted_rows):
        with pytest.raises(ValueError, match="named like"):
            wanted("asian_12")
    with pytest.raises(ValueError, match="no hessian of 'scalars'"):
        sparse.wanted_rows("scalars_7_hessian")


# --- matrices: who is raced -----------------------------------------------------------------------

SIZES = {"tridiagonal": 9, "scalars": 9, "arrow": 8, "grid": 4, "cart_pole": 5}
MATRICES = [f"{kind}_{size}_jacobian" for kind, size in SIZES.items()]
MATRICES += [f"{kind}_{size}_hessian" for kind, size in SIZES.items() if kind != "scalars"]


@pytest.mark.parametrize("name", MATRICES)
def test_sparse_matrices_are_the_dense_ones(name):
    race = matrices.problem(name)
    (entry,) = sparse_ours.contestants(race)
    run(race, entry)
    transform = nt.jacobian if race.task == "jacobian" else nt.hessian
    race.check("dense", 0, np.asarray(transform(race.program())(race.points[0])))
    facts = entry.facts()
    assert facts["entries"] == race.expected[0][1].nnz
    assert facts["evaluation sweeps"] == facts["tangent sweeps"] + facts["reverse sweeps"]


def test_patterns_are_those_of_casadi():
    pytest.importorskip("casadi")
    from sparse_race import with_casadi

    for race in map(matrices.problem, MATRICES):
        for module in (sparse_ours, with_casadi):
            run(race, *module.contestants(race))


def test_dense_matrices_of_jax_agree():
    pytest.importorskip("jax")
    from sparse_race import with_jax

    race = matrices.problem("cart_pole_5_hessian")
    for module in (sparse_ours, with_jax):
        run(race, *module.contestants(race))


def test_another_pattern_is_refused():
    race = matrices.problem("tridiagonal_9_jacobian")
    dense = nt.jacobian(race.program())(race.points[0])
    race.check("first", 0, csr_array(dense))
    more = csr_array(dense + np.eye(9, k=4))
    more.data[more.data == 1.0] = 0.0  # the numbers are right
    with pytest.raises(AssertionError, match="30 entries are not the 25 of first"):
        race.check("a peer", 0, more)
    with pytest.raises(AssertionError, match="from first"):
        race.check("a peer", 0, dense + 1e-6)


# --- the reports ----------------------------------------------------------------------------------

HEAD = {
    "machine": {
        "date": "today",
        "processor": "a processor",
        "logical cores": 2,
        "system": "a system",
        "python": "3",
    },
    "versions": {"ndtape": "0"},
    "how": "made up.",
}


def rows_of(race, figures, **more):
    return [
        {**race.description, "contestant": who, "value": value, "first, ms": first, **more}
        for who, (value, first) in figures.items()
    ]


ONE, TWO, JAX = "ndtape, 1 thread", "ndtape, 2 threads", "JAX jit, unrolled"
LANES = HEAD | {
    "rows": [
        *rows_of(problem(lanes_report.IN_CACHE), {ONE: (0.8, 20), TWO: (0.5, 30), JAX: (2, 999)}),
        *rows_of(problem(lanes.FIRST), {ONE: (3, 9), JAX: (6, 1500), "JAX jit, arrays": (4, 2)}),
    ],
    "first": [
        {**problem(lanes.FIRST).description, "contestant": who, "value": value, "fresh, s": fresh}
        for who, value, fresh in ((ONE, 10.0, 0.5), (JAX, 1000.0, 4.0))
    ],
}  # fmt: skip


def test_what_must_hold_of_lanes():
    said = {what: (found, verdict) for what, found, _, verdict in lanes_report.lines_of(LANES)}
    in_cache, asian = lanes_report.IN_CACHE, lanes.FIRST
    assert said[f"{in_cache}: ns an operation a lane, one thread"] == ("0.8", "met")
    assert said[f"{in_cache}: times faster on two threads"] == ("1.6", "NOT met")
    assert said[f"{asian}: times faster than JAX, compiled before"] == ("1.33", "met")
    assert said[f"{asian}: times faster than JAX, with recording or compiling"] == ("100", "met")
    assert said[f"{asian}: times faster than JAX, from the start of Python"] == ("8", "stated")
    assert said[f"{lanes_report.BEYOND}: times faster on two threads"][1] == "not measured"


def test_tables_of_lanes():
    shown = {title: (header, lines) for title, header, lines in lanes_report.tables(LANES)}
    header, (line,) = shown["value and gradient of every row, ns an operation a lane"]
    assert header == ["", ONE, TWO, JAX]
    assert line == ["arithmetic, 10^3 operations, 16000 lanes", "0.8", "0.5", "2"]
    _, (line,) = shown["Asian call, price and six greeks of the mean, ms"]
    assert line == ["12 dates, 10^4 paths", "3", "6", "4"]
    assert len(shown) == 5


SWEEPS = {"entries": 299_998, "detection sweeps": 1, "tangent sweeps": 3, "reverse sweeps": 0,
          "evaluation sweeps": 3}  # fmt: skip
SPARSE = HEAD | {
    "rows": [
        *rows_of(matrices.problem(sparse.DETECTED.split(",")[0]),
                 {"ndtape": (4.0, 100), "CasADi": (2.0, 700)}, **SWEEPS),
        *rows_of(matrices.problem("grid_30_hessian"), {"ndtape": (4, 30), "CasADi": (2, 15)},
                 **SWEEPS),
    ],
    "detection": [
        {**matrices.problem("scalars_100000_jacobian").description, "recording, s": 0.5, "s": 1.5,
         "peak, bytes": 600e6, "grown by, bytes": 300e6, **SWEEPS},
    ],
}  # fmt: skip


def test_what_must_hold_of_sparse_matrices():
    said = {what: (found, verdict) for what, found, _, verdict in sparse_report.lines_of(SPARSE)}
    assert said["tridiagonal_100000_jacobian: evaluation sweeps"] == ("3", "met")
    assert said["scalars_100000_jacobian: pattern found in, s"] == ("1.5", "met")
    assert said["scalars_100000_jacobian: peak memory, MB"] == ("600", "NOT met")
    sooner = "first matrix, times sooner than CasADi's"
    assert said[f"tridiagonal_100000_jacobian: {sooner}"] == ("7", "stated")
    assert said[f"grid_30_hessian: {sooner}"] == ("0.5", "NOT met")
    shown = {title: lines for title, _, lines in sparse_report.tables(SPARSE)}
    (line,) = shown["Jacobian: entries, and sweeps to find and to compute them"]
    assert line == ["tridiagonal, n = 100000", "100 000", "299 998", "1", "3", "0"]


def test_the_tables_go_into_the_readme(tmp_path):
    readme, reports = tmp_path / "README.md", []
    for name, report in (("lanes", LANES), ("sparse", SPARSE)):
        reports.append(str(tmp_path / f"{name}.json"))
        Path(reports[-1]).write_text(json.dumps(report), encoding="utf-8")
    readme.write_text(
        "".join(f"<!-- perf:{n} -->\n<!-- /perf:{n} -->\n" for n in ("lanes", "sparse"))
    )
    table.main(["--report", *reports, "--page", str(readme)])
    table.main(["--check", "--report", *reports, "--page", str(readme)])
    text = readme.read_text(encoding="utf-8")
    assert "| arithmetic, 10^3 operations, 16000 lanes | 0.8 | 0.5 | 2 |" in text
    assert "| grid of 30 by 30 | 30 | 15 | 4 | 2 |" in text


# --- the scripts ----------------------------------------------------------------------------------


def test_the_script_of_lanes_runs(tmp_path, capsys):
    output = tmp_path / "lanes.json"
    options = ["--rows", "asian_d2_p40_mean", "--peers", "none", "--seconds", "0.01"]
    options += ["--first", "asian_d2_p40_paths", "--no-fresh", "--output", str(output)]
    lanes.main(options)
    report = json.loads(output.read_text(encoding="utf-8"))
    names = ["NumPy by hand", ONE, TWO]
    assert [row["contestant"] for row in report["rows"]] == names
    assert [row["contestant"] for row in report["first"]] == names
    assert all(row["value"] > 0 for row in report["rows"])
    assert "2 dates, 40 paths" in capsys.readouterr().out


def test_the_script_of_sparse_matrices_runs(tmp_path, capsys):
    output = tmp_path / "sparse.json"
    options = ["--rows", "tridiagonal_50_jacobian", "--peers", "none", "--seconds", "0.01"]
    options += ["--detection", "tridiagonal_50_hessian", "--output", str(output)]
    sparse.main(options)
    report = json.loads(output.read_text(encoding="utf-8"))
    (row,), (child,) = report["rows"], report["detection"]
    assert row["entries"] == child["entries"] == 3 * 50 - 2
    assert row["evaluation sweeps"] == child["evaluation sweeps"] == 3
    assert 0 < child["grown by, bytes"] < child["peak, bytes"]
    assert "tridiagonal, n = 50" in capsys.readouterr().out
