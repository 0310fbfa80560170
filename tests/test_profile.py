"""Profiles: time and bytes by operation and source line, whose parts add up to the whole."""

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import ndtape as nt
from ndtape.passes.optimised import OptimisedTape
from ndtape.profile import measure
from ndtape.profile.tables import seconds_text

W = np.linspace(-1.0, 1.0, 32 * 32).reshape(32, 32)


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(measure, "BUDGET", 0.01)


def cell(w, h):
    a = w @ h * 0.1
    return np.tanh(a + 0.2)


def cells(w, h, steps=30):
    for _ in range(steps):
        h = cell(w, h)
    return np.sum(h * h)


def recorded(program, *numbers, lines=True):
    leaves = [nt.var(x) for x in numbers]
    with nt.Tape(lines=lines) as tape:
        y = program(*leaves)
    return tape, y


def check_parts(profile):
    """What rows say adds up to the whole, and so did what was timed, within a wide tolerance:
    other programs run on this machine, too."""
    assert np.isclose(sum(r.forward for r in profile.rows), profile.forward, rtol=1e-6)
    assert np.isclose(sum(r.reverse for r in profile.rows), profile.reverse, rtol=1e-6)
    assert all(r.forward >= 0 and r.reverse >= 0 for r in profile.rows)
    for part in (*profile.stretches, *profile.alone):
        assert 0.1 < part < 10
    for table in (profile.by_operation(), profile.by_line()):
        assert np.isclose(sum(r.seconds for r in table), profile.seconds, rtol=1e-6)
        assert sum(r.bytes for r in table) == profile.bytes
        assert table == sorted(table, key=lambda r: -r.seconds)


def test_a_tape_of_arrays():
    tape, y = recorded(cells, W, np.ones(32))
    profile = tape.profile(y)
    check_parts(profile)
    assert profile.bytes == tape.stats().gradient
    counts = {r.op: r.count for r in profile.by_operation()}
    assert (counts["dot"], counts["tanh"], counts["sum"]) == (30, 30, 1)
    assert counts["multiply"] == 31
    by_source = {r.source: r for r in profile.by_line()}
    first, second = by_source["a = w @ h * 0.1"], by_source["return np.tanh(a + 0.2)"]
    assert first.count == 60 + 2 and first.function == "cell"  # the inputs are read here first
    assert first.seconds > second.seconds > by_source["return np.sum(h * h)"].seconds


def test_a_tape_of_scalars():
    def program(x):
        for _ in range(1000):
            x = nt.sin(x) * 1.5 + x
        return x

    tape, y = recorded(program, 0.5)
    profile = tape.profile(y)
    check_parts(profile)
    assert profile.bytes == tape.stats().gradient
    seconds = {r.op: r.seconds for r in profile.by_operation()}
    assert seconds["sin"] > seconds["add"]  # by a factor of three or more
    assert 1e-7 < profile.forward < 1e-2


def test_without_lines():
    tape, y = recorded(cells, W, np.ones(32), lines=False)
    profile = tape.profile(y)
    assert [r.line for r in profile.by_line()] == [""]
    assert "no line" not in str(profile) and "\nline" not in str(profile)


def test_calls_of_primitives():
    def program(a, b):
        for _ in range(3):
            b = np.linalg.solve(a, b)
        return b.sum()

    tape, y = recorded(program, W[:8, :8] + 5 * np.eye(8), np.ones(8))
    profile = tape.profile(y)
    check_parts(profile)
    top = profile.by_operation()[0]
    assert (top.op, top.count) == ("solve", 3) and top.seconds > 0.5 * profile.seconds


def test_optimised_tapes():
    tape, y = recorded(cells, W, np.ones(32))
    optimal = nt.optimize(tape, y)
    assert isinstance(optimal, OptimisedTape)
    profile = optimal.profile()
    check_parts(profile)
    assert any(r.op in ("affine", "weights") for r in profile.rows)
    assert any(r.source == "a = w @ h * 0.1" for r in profile.rows)


def test_a_traced_function():
    f = nt.function(cells)
    profile = f.profile(W, np.ones(32), argnums=(0, 1))
    check_parts(profile)
    assert len(f.tapes) == 0  # another recording is profiled
    assert profile.call > profile.seconds / 2 and 0 <= profile.outside < 1
    assert {"cell", "cells"} <= {r.function for r in profile.rows}
    assert "outside the sweeps" in str(profile)
    inputs = next(r for r in profile.rows if r.op == "input")
    assert inputs.line == ""  # arguments belong to no line of the function


def test_bodies_of_loops():
    def program(w, h):
        def body(c, _):
            return cell(w, c), None

        h, _ = nt.scan(body, h, None, length=50)
        return h.sum()

    profile = nt.function(program).profile(W, np.ones(32))
    check_parts(profile)
    by_source = {r.source: r for r in profile.by_line()}
    assert by_source["a = w @ h * 0.1"].count == 100
    rows = {r.op: r for r in profile.by_operation()}
    assert rows["dot"].count == 50 and rows["dot"].seconds > 0.1 * profile.seconds


def test_what_cannot_be_profiled():
    tape, _ = recorded(cells, W, np.ones(32))
    other, z = recorded(lambda x: x * x, 1.0)
    with pytest.raises(nt.ArgumentError, match="another tape"):
        tape.profile(z)
    with pytest.raises(nt.ArgumentError, match="empty tape"):
        nt.Tape().profile()
    with pytest.raises(nt.ArgumentError, match="scalar"):
        nt.function(cell).profile(W, np.ones(32))
    x = nt.var(2.0)
    with pytest.raises(nt.ArgumentError, match="captures values with a gradient"):
        nt.function(lambda y: x * y).profile(1.0)
    with pytest.raises(nt.ArgumentError, match="what is seconds"):
        other.profile(z).plot("hours")


# --- plots ----------------------------------------------------------------------------------------


def bars(svg):
    """Left, right, row and text of each bar."""
    found = []
    for group in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g"):
        rect = group.find("{http://www.w3.org/2000/svg}rect")
        text = group.find("{http://www.w3.org/2000/svg}text")
        x, y, width = (float(rect.get(k)) for k in ("x", "y", "width"))
        found.append((x, x + width, y, None if text is None else text))
    return found


def test_plots():
    from ndtape.pictures import metrics

    tape, y = recorded(cells, W, np.ones(32))
    profile = tape.profile(y)
    for what in ("seconds", "forward", "reverse", "bytes"):
        found = bars(profile.svg(what))
        rows = sorted({y for *_, y, _ in found})
        assert len(rows) == 4  # everything, functions, lines, operations
        for row in rows:  # no bars overlap, and together they are as wide as the whole
            spans = sorted((lo, hi) for lo, hi, y, _ in found if y == row)
            assert all(one[1] <= two[0] + 1e-6 for one, two in pairwise(spans))
            assert sum(hi - lo for lo, hi in spans) > 0.97 * 960 - len(spans)
        for lo, hi, _, text in found:  # no text leaves its bar
            if text is not None:
                end = float(text.get("x")) + metrics.width(text.text, float(text.get("font-size")))
                assert lo <= float(text.get("x")) and end <= hi + 0.5
    assert profile._repr_html_() == profile.svg()


def test_plots_are_saved(tmp_path):
    tape, y = recorded(lambda x: x * x, 2.0)
    plot = tape.profile(y).plot()
    plot.save(tmp_path / "plot.svg")
    plot.save(tmp_path / "plot.html")
    assert (tmp_path / "plot.svg").read_text(encoding="utf-8") == str(plot)
    assert str(plot) in (tmp_path / "plot.html").read_text(encoding="utf-8")
    with pytest.raises(nt.ArgumentError, match=re.escape(".svg or .html")):
        plot.save(tmp_path / "plot.pdf")


def test_seconds_are_written():
    texts = [seconds_text(x) for x in (2.0, 1.234e-3, 5e-6, 12.3e-9)]
    assert texts == ["2 s", "1.23 ms", "5 µs", "12.3 ns"]


def test_the_example(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "examples")
    import where_time_goes

    monkeypatch.setattr(where_time_goes, "STEPS", 5)
    check_parts(where_time_goes.main(tmp_path))
    assert 'i = nt.sigmoid(w["i"] @ u)' in capsys.readouterr().out
    assert len(bars((tmp_path / "lstm.svg").read_text(encoding="utf-8"))) > 10
