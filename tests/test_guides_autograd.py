"""Programs of the guide for users of HIPS autograd, and that they moved by what the guide says."""

import re
import sys
from pathlib import Path

import pytest

import ndtape as nt

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "perf"))  # last: examples has a moons.py too
from moving import GUIDE, programs, run  # noqa: E402

TEXT = GUIDE.read_text(encoding="utf-8")
PROGRAMS = programs(TEXT)
COMMAND = re.search(r"^sed -E -i '(.*)' \*\.py$", TEXT, re.M)[1]


def moved(program):
    """The program after the command of the guide."""
    for rule in COMMAND.split("; "):
        pattern, replacement = re.fullmatch(r"s/(.*)/(.*)/g?", rule).groups()
        program = re.sub(pattern, replacement, program)
    return program


@pytest.mark.parametrize("title", PROGRAMS)
def test_the_command_is_all_that_changes(title):
    before, after, _, _ = PROGRAMS[title]
    assert moved(before) == after != before


@pytest.mark.parametrize("title", PROGRAMS)
def test_after(title):
    _, after, traced, printed = PROGRAMS[title]
    assert run(after)[0] == printed
    if traced is not None:
        assert run(traced)[0] == printed


@pytest.mark.parametrize("title", PROGRAMS)
def test_before(title):
    pytest.importorskip("autograd")
    before, _, _, printed = PROGRAMS[title]
    assert run(before)[0] == printed


def test_every_program_has_its_pair():
    assert len(PROGRAMS) == TEXT.count("```py\n") == TEXT.count("```python") >= 6


def test_all_that_autograd_exports_is_here():
    theirs = pytest.importorskip("autograd")
    import autograd.extend
    import autograd.misc.optimizers

    import ndtape.autograd.extend
    import ndtape.autograd.misc.optimizers

    names = [n for n in vars(theirs) if not n.startswith("_")]
    inner = {"numpy", "core", "builtins", "differential_operators", "extend", "tracer", "util",
             "wrap_util", "scipy", "misc", "test_util"}  # fmt: skip
    missing = {n for n in names if not hasattr(nt.autograd, n)} - inner
    assert not missing - {"primitive"}
    for name in ("primitive", "defvjp", "defjvp", "defvjp_argnum", "notrace_primitive"):
        assert hasattr(autograd.extend, name) and hasattr(ndtape.autograd.extend, name)
    for name in ("sgd", "rmsprop", "adam"):
        assert hasattr(ndtape.autograd.misc.optimizers, name)


def test_constant_arrays_are_replayed():
    """`np.zeros` of `ndtape.numpy` makes constants that record nothing: plain numbers here."""
    f = nt.function(lambda x, y: nt.numpy.sum(x**2) * y)
    x = nt.zeros(3) + 1.0
    gradient = nt.grad(f)
    assert [gradient(x, nt.var(2.0).detach()).tolist() for _ in range(3)] == [[4.0] * 3] * 3
    assert f(x, 2.0) == 6.0 and len(f.tapes) == 2
    y = nt.var([1.0, 2.0])
    assert nt.grad(lambda s: f(y * s, 1.0))(1.0) == 10.0
