"""Workload 01, ADBench's D-LSTM: golden value and gradient, as a loop and as a scan."""

import sys
from pathlib import Path

import numpy as np
import pytest

import ndtape as nt

sys.path.append(str(Path(__file__).parent.parent / "perf"))  # last: examples has a moons.py too

import workloads
from rnn_race import written_with
from rnn_race.forecast import Forecast
from workloads import DataMissingError, distance, dlstm, golden_distance

MODULE = written_with("workloads.dlstm", sigmoid=nt.sigmoid)
FORMS = {"loop": MODULE.loop, "scan": MODULE.scanned(nt.scan)}


@pytest.fixture(scope="module")
def golden():
    try:
        return Forecast("dlstm_l2_c1024")
    except DataMissingError as error:
        pytest.skip(str(error))


def joined(parts):
    return np.concatenate([np.ravel(part) for part in parts])


def test_the_value_is_that_of_plain_numpy(golden):
    value = dlstm.loop(golden.points[0], *golden.data)
    assert abs(value - workloads.GOLDEN[golden.name]["f"]) < 1e-13


@pytest.mark.parametrize("form", FORMS)
def test_golden_value_and_gradient_by_replay(golden, form):
    function = nt.function(FORMS[form])
    function.clear()
    call = nt.value_and_grad(function)
    for point in (golden.points[1], golden.points[0]):
        value, gradient = call(point, *golden.data)
    assert golden_distance(golden.name, value, joined(gradient)) < 1e-10
    assert function.counters.replays > 0
    assert len(function.tapes) == 1


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A file as the benchmark writes them: 2 layers, 5 steps and the bits before, 3 bits."""
    layers, count, b = 2, 6, 3
    generator = np.random.default_rng(2)
    rows = [generator.normal(size=4 * b) for _ in range(2 * layers)]
    rows += [generator.normal(size=b) for _ in range(3 + 2 * layers)]
    rows += [generator.integers(0, 2, size=b) for _ in range(count)]
    folder = tmp_path / "adbench" / "lstm"
    folder.mkdir(parents=True)
    text = "\n".join(" ".join(map(str, row.tolist())) for row in rows)
    (folder / "lstm_small.txt").write_text(f"{layers} {count} {b}\n\n{text}\n", encoding="utf-8")
    monkeypatch.setattr(workloads, "DATA", tmp_path)
    return rows, Forecast("dlstm_small")


def test_where_the_numbers_of_a_file_go(small):
    rows, problem = small
    data = problem.read
    assert data.main.shape == (2, 2, 4, 3)
    assert data.main[1, 0].ravel().tolist() == rows[2].tolist()  # weights of the second layer
    assert data.extra[2].tolist() == rows[6].tolist()
    assert data.state[1][1].tolist() == rows[10].tolist()  # its cell
    assert data.bits.tolist() == [row.tolist() for row in rows[11:]]
    assert problem.T == 5
    assert Forecast("dlstm_small_first2").bits.tolist() == data.bits[:3].tolist()


@pytest.mark.parametrize("form", FORMS)
def test_a_small_one_by_differences(small, form):
    _, problem = small
    (main, extra), data = problem.points[0], problem.data
    value, (d_main, d_extra) = nt.value_and_grad(FORMS[form])((main, extra), *data)
    assert distance(value, dlstm.loop((main, extra), *data)) < 1e-14
    for direction in (np.cos(np.arange(main.size)), np.sin(np.arange(main.size) ** 2)):
        v, w, step = (
            direction.reshape(main.shape),
            direction[: extra.size].reshape(extra.shape),
            1e-5,
        )
        ends = [dlstm.loop((main + s * v, extra + s * w), *data) for s in (step, -step)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert abs(np.sum(d_main * v) + np.sum(d_extra * w) - slope) < 1e-9
