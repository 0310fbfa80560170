"""What is told while work goes on: bars, the notice of compiling, and how to have neither."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

import numpy as np
import pytest

import ndtape as nt
from ndtape import notices
from ndtape.bars import Progress

WIPE = "\r\x1b[2K"
COMPILING = """
import time
from ndtape import notices
notices.PATIENCE = 0.05


def until_it_is_told():
    now = notices._compiling
    for _ in range(0 if notices.is_quiet() else 1000):
        if now.shown is not None or now.told:
            break
        time.sleep(0.01)


with notices.compiling("_forward"):
    with notices.compiling("inner"):
        until_it_is_told()
with notices.compiling("entry", "loss"):
    until_it_is_told()
"""
BAR = """
import ndtape as nt
bar = nt.progress(range(3), "training")
for i in bar:
    bar.show(loss=nt.var(0.5), kind="sgd")
"""


def on_a_terminal(program, **environment):
    """What a program writes to a terminal of 100 columns as its stderr."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    known = {k: v for k, v in os.environ.items() if k not in ("NDTAPE_QUIET", "COLUMNS")}
    child = subprocess.Popen(
        [sys.executable, "-c", program], stderr=side, env={**known, "TERM": "xterm", **environment}
    )
    os.close(side)
    said = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(main)
    assert child.wait(timeout=60) == 0
    return said.decode()


def elsewhere(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    return done.stderr


def test_a_terminal_shows_a_bar_and_loses_it():
    said = on_a_terminal(BAR + "\nassert repr(bar) == \"<progress 'training': 3 of 3>\"")
    assert "training:" in said and "/3" in said and "\n" not in said.strip("\r\n")
    assert on_a_terminal(BAR, NDTAPE_QUIET="1") == ""


def test_compiling_is_one_line_that_goes_away():
    said = on_a_terminal(COMPILING)
    forward, user = said.index("compiling forward"), said.index("compiling loss, once for these")
    assert forward < user and said.endswith(WIPE) and "inner" not in said and "\n" not in said
    assert on_a_terminal(COMPILING, NDTAPE_QUIET="yes") == ""
    (line,) = elsewhere(COMPILING, NDTAPE_QUIET="0").splitlines()  # the first, once a process
    assert line.startswith("ndtape: compiling forward") and "`python -m ndtape warmup`" in line


class Screen:
    """A terminal that keeps what is written to it."""

    said = ""

    def isatty(self):
        return True

    def write(self, text):
        self.said += text

    def flush(self):
        pass


@pytest.fixture
def terminal(monkeypatch):
    """To be called in the test: pytest has a stderr of its own for each phase."""

    def begun():
        screen = Screen()
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NDTAPE_QUIET", raising=False)
        monkeypatch.setattr(notices, "_compiling", notices._Compiling())
        return screen

    yield begun
    nt.set_quiet(None)


def test_what_takes_no_time_is_not_told(terminal):
    stderr = terminal()
    for _ in range(3):
        with notices.compiling("forward"):
            pass
    assert stderr.said == ""


def test_seconds_add_up(terminal, monkeypatch):
    stderr = terminal()
    monkeypatch.setattr(notices, "PATIENCE", 0.1)
    for _ in range(100):  # the third at the earliest
        with notices.compiling("one of many kernels"):
            time.sleep(0.05)
        if stderr.said:
            break
    assert stderr.said.count("one of many kernels") == 1 and notices._compiling.seconds > 0.1


def test_switches(terminal, monkeypatch):
    stderr = terminal()
    monkeypatch.setattr(notices, "PATIENCE", 0.0)
    monkeypatch.setenv("NDTAPE_QUIET", "1")
    assert notices.is_quiet()
    nt.set_quiet(False)  # stronger than the variable
    assert not notices.is_quiet()
    nt.set_quiet()
    with notices.compiling("forward"):
        time.sleep(0.02)
    assert stderr.said == "" and notices.is_quiet()
    with pytest.raises(nt.ArgumentError, match="True, False or None, not 'please'"):
        nt.set_quiet("please")


def test_processes_of_a_pool_are_quiet(terminal, monkeypatch):
    stderr = terminal()
    import multiprocessing.process as process

    monkeypatch.setattr(process, "parent_process", lambda: "somebody")
    assert notices.is_quiet() and list(nt.progress(range(2))) == [0, 1] and stderr.said == ""


def test_without_a_screen(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert notices.is_quiet()
    notices.notice("nobody hears this")
    assert list(nt.progress([1, 2])) == [1, 2]


def test_bars_without_a_terminal():
    bar = nt.progress((x for x in "abc"), "letters")
    assert repr(bar) == "<progress 'letters': 0>" and list(bar) == ["a", "b", "c"] and bar.done == 3
    with pytest.raises(TypeError, match="total="):
        len(bar)
    with nt.progress(total=4) as bar:
        bar.advance(3)
        bar.show(loss=1.0)
    assert (bar.done, len(bar), repr(bar)) == (3, 4, "<progress: 3 of 4>")
    with pytest.raises(nt.ArgumentError, match=r"call advance\(\)"):
        next(iter(bar))


def test_bars_without_tqdm(terminal, monkeypatch):
    stderr = terminal()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert not notices.is_quiet() and notices.is_terminal(stderr)
    assert list(nt.progress(range(3))) == [0, 1, 2] and stderr.said == ""


def test_bars_in_a_notebook(monkeypatch):
    """stderr is no terminal there, and the kernel shows what is written to it."""
    import types

    tqdm = pytest.importorskip("tqdm")
    shell = types.SimpleNamespace(kernel=object())
    known = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", known)
    monkeypatch.setattr("ndtape.bars.find_spec", lambda name: None)  # no widgets
    monkeypatch.delenv("NDTAPE_QUIET", raising=False)
    with nt.progress(range(2)) as bar:
        assert type(bar._bar) is tqdm.tqdm


def test_truncated_shows_its_loss(monkeypatch):
    shown = []
    monkeypatch.setattr(Progress, "show", lambda self, **numbers: shown.append(numbers))
    windows = [(np.array([1.0, 2.0]),), (np.array([3.0]),)]

    def loss(a, h, xs):
        return a * h * np.sum(xs), h

    plain = [t.value for t in nt.nn.truncated(loss, 0.5, 0.5, windows)]
    watched = [t.value for t in nt.nn.truncated(loss, 0.5, 0.5, windows, progress="training")]
    assert plain == watched == [s["loss"] for s in shown]


def test_the_configuration():
    found = nt.show_config(mode="dicts")
    assert found["ndtape"]["version"] == nt.__version__
    assert found["packages"]["numpy"] == np.__version__
    assert found["threads"]["number"] == nt.get_num_threads()
    assert found["memory"]["available"] > 1 << 20 and found["processor"]["cores"] >= 1
    assert "sweeps are compiled" in found["compile cache"]["state"]
    assert set(found["optional packages"]) == {"draw", "parallel", "examples"}
    with pytest.raises(nt.ArgumentError, match="must be"):
        nt.show_config(mode="html")


def test_the_configuration_in_words(capsys, monkeypatch):
    import ndtape.__main__ as command

    monkeypatch.setenv("NDTAPE_NUM_THREADS", "3")
    assert command.main([]) == 0
    said = capsys.readouterr().out
    assert f"version     {nt.__version__}" in said and "compile cache\n" in said
    assert re.search(r"NDTAPE_NUM_THREADS +3 \(threads of calls with many rows\)", said)
    assert command.main(["wurmup"]) == 2 and "usage" in capsys.readouterr().out
