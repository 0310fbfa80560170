"""The life of the compile cache, each life in a process of its own on a copy of the package.

Where nothing of the mathematics matters the copy's table is cut down to a few rows and its sweeps
generated anew, which compile in a second: what is tested is where compiled code goes and when it is
used again.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ndtape
import ndtape.__main__ as command

PACKAGE = Path(ndtape.__file__).parent
# All compiling is told, however short.
TOLD = "import ndtape as nt; from ndtape import notices; notices.PATIENCE = 0.0;"
GRADIENT = f"{TOLD} x = nt.var(3.0); (x**2).backward(); print(x.grad)"
NOTICE = "ndtape: compiling "
NO_FOLDER = "ndtape: no folder for the compile cache can be written; set NUMBA_CACHE_DIR to one"
OVERRIDE, SEARCH = 1, 2  # capabilities by which root reads and writes everything
DROP_FROM_BOUNDING_SET = 24


def as_an_ordinary_user():
    """Root may write everywhere; without these two capabilities it obeys file modes."""
    if os.geteuid() == 0:
        library = ctypes.CDLL(None)
        for capability in (OVERRIDE, SEARCH):
            library.prctl(DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


def python(site, *arguments, **environment):
    """Run Python on the package in `site`; a value of None takes a variable out."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "PYTHONPATH")}
    wanted = {**inherited, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        env={k: str(v) for k, v in wanted.items() if v is not None},
        cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=as_an_ordinary_user,
    )  # fmt: skip


def finished(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out, err


def gradient(site, **environment):
    """stderr of a process that prints the gradient 6.0; what it compiles need not be fast."""
    out, err = finished(python(site, "-c", GRADIENT, NUMBA_OPT=0, **environment))
    assert out == "6.0\n"
    return err


def files(folder):
    return {p.relative_to(folder) for p in Path(folder).rglob("*.nb[ci]")}


def copied(site):
    shutil.copytree(PACKAGE, site / "ndtape", ignore=shutil.ignore_patterns("__pycache__"))
    return site / "ndtape"


KEPT = """
    input copy stop attach add subtract multiply divide negative mz square cube reciprocal power log
    mod floor_divide floor less less_equal greater greater_equal equal not_equal logical_and
    logical_or logical_not where abs sign tanh round32 guard
""".split()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A copy whose table has only the rows that the operators need."""
    site = tmp_path_factory.mktemp("small")
    package = copied(site)
    table = package / "ops.py"
    text, marker = table.read_text(), "\n\nclass Opcode(NamedTuple):"
    assert text.count(marker) == 1
    cut = f"\n\nTABLE = tuple(row for row in TABLE if row.name in {KEPT!r})\n"
    table.write_text(text.replace(marker, cut + marker))
    (package / "functions.py").write_text("from .record import operators\n__all__ = []\n")
    finished(python(site, "-m", "ndtape.codegen"))
    # Each life imports all of it: what is compiled once by Python need not be again.
    finished(python(site, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", site))
    return site


@pytest.fixture(scope="module")
def warm(small, tmp_path_factory):
    """A folder that holds what the small copy compiles for a gradient."""
    cache = tmp_path_factory.mktemp("cache")
    assert gradient(small, NUMBA_CACHE_DIR=cache).count(NOTICE) == 1
    return cache


def read_only(folder, allowed=0o555):
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(allowed)


def test_numba_cache_dir_is_honoured(small, warm):
    kept = files(warm)
    assert {p.suffix for p in kept} == {".nbi", ".nbc"}
    assert not files(small)
    assert gradient(small, NUMBA_CACHE_DIR=warm) == ""
    assert files(warm) == kept


# What `python -m ndtape` tells of the cache, and all of it.
STATE = "from ndtape.config import cache_state; print(cache_state())"
REPORT = "import ndtape.__main__ as m; m.main([])"


def test_the_state_is_told(small, warm, tmp_path):
    out, _ = finished(python(small, "-c", STATE, NUMBA_CACHE_DIR=warm))
    assert f"'folder': '{warm}" in out and " sweeps are compiled'" in out
    assert "warmup" not in out
    out, _ = finished(python(small, "-c", STATE, NUMBA_CACHE_DIR=tmp_path))
    assert "0 of 9 sweeps are compiled; `python -m ndtape warmup` compiles" in out


def test_start_up_is_measured(small, monkeypatch):
    """The first array gradient of a fresh process, with an empty cache and with a full one."""
    seconds = iter([12.25, 0.75])
    folders = []
    monkeypatch.setattr(
        command, "_first_gradient", lambda folder: (folders.append(folder), next(seconds))[1]
    )
    assert "12.2 s with an empty compile cache, 0.75 s with a full one" in command.start_up()
    assert len(set(folders)) == 1


def test_a_read_only_install_uses_the_home(small, tmp_path):
    site, home = tmp_path / "site", tmp_path / "home"
    shutil.copytree(small, site)
    home.mkdir()
    read_only(site)
    try:
        assert NOTICE in gradient(site, HOME=home, XDG_CACHE_HOME=None)
        assert gradient(site, HOME=home, XDG_CACHE_HOME=None) == ""
    finally:
        read_only(site, 0o755)
    assert files(home) and not files(site)


def test_nothing_can_be_written(small, tmp_path):
    """Everything works, compiled for this process alone; one line says so, one what to do."""
    site, home = tmp_path / "site", tmp_path / "home"
    shutil.copytree(small, site)
    home.mkdir()
    read_only(site), read_only(home)
    try:
        told = gradient(site, HOME=home, XDG_CACHE_HOME=None).splitlines()
        state, _ = finished(python(site, "-c", REPORT, HOME=home, XDG_CACHE_HOME=None))
    finally:
        read_only(site, 0o755), read_only(home, 0o755)
    assert told.count(NO_FOLDER) == 1
    assert [line for line in told if line != NO_FOLDER and not line.startswith(NOTICE)] == []
    assert "no folder can be written; set NUMBA_CACHE_DIR" in state
    assert not files(tmp_path)


def test_no_home_but_a_cache_folder(small, warm, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(small, site)
    read_only(site)
    try:
        told = gradient(site, HOME=None, XDG_CACHE_HOME=None, NUMBA_CACHE_DIR=tmp_path / "cache")
    finally:
        read_only(site, 0o755)
    assert NOTICE in told and NO_FOLDER not in told
    assert files(tmp_path / "cache")


def test_two_processes_compile_into_one_empty_folder(small, tmp_path):
    both = [python(small, "-c", GRADIENT, NUMBA_CACHE_DIR=tmp_path) for _ in range(2)]
    for process in both:
        out, err = finished(process)
        assert out == "6.0\n"
        assert [line for line in err.splitlines() if not line.startswith(NOTICE)] == []
    assert gradient(small, NUMBA_CACHE_DIR=tmp_path) == ""


@pytest.fixture
def changed(small, tmp_path):
    """The small copy with another derivative of the square, in the table only, for one test."""
    package, original = small / "ndtape", tmp_path / "original"
    shutil.copytree(package, original)
    table = package / "ops.py"
    text = table.read_text()
    row = 'Op("square", UNARY, "x * x", "2 * x"'
    assert text.count(row) == 1
    table.write_text(text.replace(row, row.replace('"2 * x"', '"2.5 * x"')))
    yield small
    shutil.rmtree(package)
    shutil.copytree(original, package)


def test_a_changed_row_without_new_sweeps_is_refused(changed, warm):
    process = python(changed, "-c", GRADIENT, NUMBA_CACHE_DIR=warm)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == ""
    last = err.splitlines()[-1]
    assert last.startswith("ndtape.errors.TapeError: ") and "run `make sweeps`" in last


def test_a_changed_row_is_not_answered_from_the_old_cache(warm, changed):
    """The old package's cache lies where the new one looks, as after an upgrade."""
    before = files(warm)
    shims = (changed / "ndtape" / "functions.py").read_text()
    finished(python(changed, "-m", "ndtape.codegen"))
    assert (changed / "ndtape" / "functions.py").read_text() == shims
    out, err = finished(python(changed, "-c", GRADIENT, NUMBA_CACHE_DIR=warm))
    assert out == "7.5\n" and NOTICE in err
    assert files(warm) > before


def test_a_damaged_cache_is_compiled_again(small, warm, tmp_path):
    cache = shutil.copytree(warm, tmp_path / "cache")
    assert gradient(small, NUMBA_CACHE_DIR=cache) == ""
    for name in files(cache):
        if name.suffix == ".nbc":
            (cache / name).write_bytes(b"")
    out, err = finished(python(small, "-c", GRADIENT, NUMBA_CACHE_DIR=cache))
    assert out == "6.0\n"
    assert "the compile cache is damaged" in err


# --- kernels of array operations ------------------------------------------------------------------

ARRAYS = f"{TOLD} x = nt.var([1.0, 3.0]); (x**2).sum().backward(); print(x.grad)"


@pytest.fixture(scope="module")
def warm_arrays(small, warm, tmp_path_factory):
    """A folder that holds what the small copy compiles for a gradient of arrays, too."""
    cache = shutil.copytree(warm, tmp_path_factory.mktemp("arrays") / "cache")
    out, err = finished(python(small, "-c", ARRAYS, NUMBA_CACHE_DIR=cache))
    assert out == "[2. 6.]\n" and err.count(NOTICE) == 1
    return cache


def kernels(folder, name):
    """The cache files of the kernels whose names begin with `name`."""
    return {p.name.split("-")[0] for p in files(folder) if f".{name}_" in p.name}


def test_kernels_are_kept_and_only_those_that_were_met(small, warm_arrays):
    assert len(kernels(warm_arrays, "square")) == 2  # forward and reverse
    assert len(kernels(warm_arrays, "sum")) == 2
    assert not kernels(warm_arrays, "multiply") and not kernels(warm_arrays, "dot")
    before = files(warm_arrays)
    out, err = finished(python(small, "-c", ARRAYS, NUMBA_CACHE_DIR=warm_arrays))
    assert (out, err) == ("[2. 6.]\n", "") and files(warm_arrays) == before


def test_kernels_of_a_changed_row_without_new_code_are_refused(warm_arrays, changed):
    process = python(changed, "-c", ARRAYS, NUMBA_CACHE_DIR=warm_arrays)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == ""
    assert "run `make sweeps`" in err.splitlines()[-1]


def test_a_changed_row_has_kernels_of_another_name(warm_arrays, changed):
    before = kernels(warm_arrays, "square")
    finished(python(changed, "-m", "ndtape.codegen"))
    out, err = finished(python(changed, "-c", ARRAYS, NUMBA_CACHE_DIR=warm_arrays))
    assert out == "[2.5 7.5]\n" and NOTICE in err
    assert len(kernels(warm_arrays, "square") - before) == 2
    assert len(kernels(warm_arrays, "sum")) == 2  # does not depend on rows


# --- processes of multiprocessing -----------------------------------------------------------------

CHILDREN = Path(__file__).parent / "children.py"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_every_start_method(small, tmp_path, method):
    """One on an empty cache, and two on what it has left, beside their busy parent."""
    out, err = finished(python(small, CHILDREN, method, tmp_path, NUMBA_OPT=1, NDTAPE_QUIET=1))
    inherited = method == "fork"  # the parent's tape of the other side
    assert out.splitlines() == [
        "cold (5.0, 1.0, 1)", "parent 6.0 4.0", "busy 12.0 1",
        f"warm (6.0, 4.0, 1) (5.0, 1.0, {1 + inherited})", "compiled once True",
    ]  # fmt: skip
    assert err == ""
