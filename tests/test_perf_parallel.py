"""`perf/parallel.py` still runs, reports rightly and notices other bits.  No time is looked at."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "perf"))  # last: examples has a moons.py too

import parallel
import parallel_report
import table


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Report and what was printed, of two threads in the place of all engines."""
    output = tmp_path_factory.mktemp("perf") / "parallel.json"
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr(parallel, "engines_of", lambda n: {f"threads, {n} workers": pool(n)})
        parallel.main(["--scale", "0.01", "--seconds", "0.1", "--output", str(output)])
    return json.loads(output.read_text()), out.getvalue()


@pytest.fixture
def report(run):
    return copy.deepcopy(run[0])


def test_what_is_printed(run):
    assert "GARCH, 320 000 returns in 8 shards" in run[1]
    assert "answers with other bits than one process" in run[1]


def pool(workers):
    return lambda: ThreadPoolExecutor(workers)


def test_engines_take_turns_and_give_the_same_bits(report):
    assert [row["row"] for row in report["rows"][::2]] == list(parallel.PROGRAMS)
    for alone, other in zip(report["rows"][::2], report["rows"][1::2], strict=True):
        assert alone["contestant"] == parallel.ALONE and alone["times faster"] == 1.0
        assert other["same bits"] and other["sent, bytes"] > 0 and other["value"] > 0
    page = table.section("parallel", report)
    assert page.count("| one process |") == 3 and "one thread a process" in page


def test_other_bits_are_told(report):
    report["rows"][1]["same bits"] = False
    report["kills"] = [{"undisturbed, s": 1.0, "killed, s": 2.0, "same bits": True}]
    lines = {line[0]: line for line in parallel_report.lines_of(report)}
    assert lines["answers with other bits than one process"][1:] == ["1", "<= 0", "NOT met"]
    assert "a worker killed in it, s" in table.section("parallel", report)
