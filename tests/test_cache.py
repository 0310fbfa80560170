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

PACKAGE = Path(ndtape.__file__).parent
GRADIENT = "import ndtape as nt; x = nt.var(3.0); (x * x).backward(); print(x.grad)"
NOTICE = "ndtape: compiling the sweeps for this machine"
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
    """stderr of a process that prints the gradient 6.0."""
    out, err = finished(python(site, "-c", GRADIENT, **environment))
    assert out == "6.0\n"
    return err


def files(folder):
    return {p.relative_to(folder) for p in Path(folder).rglob("*.nb[ci]")}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A copy whose table has only the rows that structure, products and their rules need."""
    site = tmp_path_factory.mktemp("small")
    shutil.copytree(PACKAGE, site / "ndtape", ignore=shutil.ignore_patterns("__pycache__"))
    table = site / "ndtape" / "ops.py"
    text = table.read_text()
    kept = {"input", "copy", "stop", "attach", "add", "negative", "multiply", "mz", "square", "cube"}
    marker = "\n\nclass Opcode(NamedTuple):"
    assert text.count(marker) == 1
    cut = f"\n\nTABLE = tuple(row for row in TABLE if row.name in {kept!r})\n"
    table.write_text(text.replace(marker, cut + marker))
    return site


def test_placeholder(small):
    pass
