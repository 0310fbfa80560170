"""What compiled functions leave on disk: found again, and never when it would be wrong.

Each life is a process of its own, on a copy of the package where its op table is changed.
"""

from __future__ import annotations

import json
import math
import shutil

import pytest
from test_cache import PACKAGE, copied, files, finished, python, read_only

MODULE = """
import math
import numpy as np
import ndtape as nt
from helper import helped, TABLE

K = 2.0

@nt.jit
def f(x, n):
    s = 0.0
    for i in range(n):
        s += math.sin(x) * K + helped(x) * TABLE[i]
    return s

def scaled(k):
    @nt.jit
    def g(x):
        return nt.exp(x) * k
    return g
"""
HELPER = """
import numpy as np
TABLE = np.array([1.0, 2.0, 3.0])
def helped(x):
    return x * x
"""
PROGRAM = """
import json, numba, sys
from numba.core import event

class Count(event.Listener):
    made = []
    def on_start(self, e):
        pass
    def on_end(self, e):
        name = e.data["dispatcher"].py_func.__qualname__
        self.made.append(name)

counted = Count()
event.register("numba:compile", counted)
sys.path.insert(0, {folder!r})
import ndtape as nt, module
found = [module.f(0.5, 3), nt.grad(module.f)(0.5, 3)]
found += [nt.grad(module.scaled(k))(0.5) for k in (1.0, 3.0)]
if {second}:  # on a tape of instructions
    found.append(nt.grad(nt.grad(module.f))(0.5, 3))
print(json.dumps([found, counted.made]))
"""


class Life:
    """A user's module in a folder of its own, with Numba's files beside it."""

    def __init__(self, folder, site=PACKAGE.parent):
        self.folder, self.site = folder / "user", site
        self.cache = self.folder / "__pycache__"
        self.folder.mkdir()
        self.write()

    def write(self, module=MODULE, helper=HELPER):
        (self.folder / "module.py").write_text(module)
        (self.folder / "helper.py").write_text(helper)

    def run(self, second=True, **environment):
        """Numbers, and the names of the functions that have been compiled."""
        program = PROGRAM.format(folder=str(self.folder), second=second)
        out, err = finished(python(self.site, "-c", program, **environment))
        found, compiled = json.loads(out)
        return found, compiled, err


@pytest.fixture(scope="module")
def seasoned(tmp_path_factory):
    """A module that has been compiled once."""
    life = Life(tmp_path_factory.mktemp("seasoned"))
    life.first = life.run()
    return life


@pytest.fixture
def life(seasoned, tmp_path):
    """It, for a test that changes something."""
    backup = tmp_path / "backup"
    shutil.copytree(seasoned.folder, backup)
    yield seasoned
    shutil.rmtree(seasoned.folder)
    shutil.copytree(backup, seasoned.folder)


def truth(k=2.0, square=2.0, cosine=1.0, table=(1.0, 2.0, 3.0)):
    x, t = 0.5, sum(table)
    value = 3 * math.sin(x) * k + x * x * t
    first = 3 * math.cos(x) * k * cosine + square * x * t
    second = -3 * math.sin(x) * k * cosine + square * t
    return [value, first, math.exp(x), 3 * math.exp(x), second]


def test_the_next_process_compiles_nothing(seasoned):
    found, compiled, _ = seasoned.first
    assert found == pytest.approx(truth(), rel=1e-14)
    assert compiled
    before = files(seasoned.cache)
    found, compiled, err = seasoned.run()
    assert found == pytest.approx(truth(), rel=1e-14)
    assert compiled == [] and err == ""
    assert files(seasoned.cache) == before


def test_a_changed_global(life):
    life.write(module=MODULE.replace("K = 2.0", "K = 5.0"))
    assert life.run()[0] == pytest.approx(truth(k=5.0), rel=1e-14)


def test_a_changed_function_in_another_file(life):
    life.write(helper=HELPER.replace("x * x", "x * x * 3.0"))
    expected = truth(square=6.0)
    expected[0] = truth()[0] + 2 * 0.25 * 6.0
    assert life.run()[0] == pytest.approx(expected, rel=1e-14)


def test_a_changed_global_array(life):
    life.write(helper=HELPER.replace("3.0]", "7.0]"))
    assert life.run()[0] == pytest.approx(truth(table=(1.0, 2.0, 7.0)), rel=1e-14)


def test_a_changed_row_of_the_table(life, tmp_path):
    """The new derivative comes from the next process, though the old one is in the cache."""
    site = tmp_path / "site"
    site.mkdir()
    table = copied(site) / "ops.py"
    text = table.read_text()
    row = 'Op("sin", UNARY, "sin(x)", "cos(x)"'
    assert text.count(row) == 1
    life.site, before = site, life.site
    try:
        assert life.run(second=False)[0] == pytest.approx(truth()[:4], rel=1e-14)
        old = files(life.cache)
        table.write_text(text.replace(row, row.replace('"cos(x)"', '"1.5 * cos(x)"')))
        finished(python(site, "-m", "ndtape.codegen"))
        found, compiled, _ = life.run(second=False)
    finally:
        life.site = before
    assert found == pytest.approx(truth(cosine=1.5)[:4], rel=1e-14)
    assert compiled and files(life.cache) > old


def test_a_folder_that_cannot_be_written(life, tmp_path):
    """Compiled for each process alone, where there is no home either."""
    shutil.rmtree(life.cache)
    home = tmp_path / "home"
    home.mkdir()
    read_only(life.folder), read_only(home)
    try:
        found, compiled, _ = life.run(HOME=home, XDG_CACHE_HOME=None)
    finally:
        read_only(life.folder, 0o755), read_only(home, 0o755)
    assert found == pytest.approx(truth(), rel=1e-14) and compiled
    assert not files(life.folder) and not files(home)


def test_a_damaged_cache(life):
    for path in life.cache.rglob("*.nbc"):
        path.write_bytes(b"")
    found, compiled, _ = life.run()
    assert found == pytest.approx(truth(), rel=1e-14) and compiled


def test_no_cache(life):
    shutil.rmtree(life.cache)
    life.write(module=MODULE.replace("@nt.jit", "@nt.jit(cache=False)"))
    found, compiled, _ = life.run(second=False)
    assert found == pytest.approx(truth()[:4], rel=1e-14) and compiled
    assert not [p for p in files(life.folder) if "module" in p.name]


def test_functions_typed_at_a_prompt():
    program = (
        "import ndtape as nt\n"
        "exec('@nt.jit\\ndef f(x): return nt.sin(x) * x')\n"
        "print(nt.grad(f)(0.0), f(0.0))"
    )
    out, _ = finished(python(PACKAGE.parent, "-c", program))
    assert out == "0.0 0.0\n"
