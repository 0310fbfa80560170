"""Whatever a user meets at the prompt says what it is, and never shows a million numbers."""

import inspect
import re
import types

import numpy as np
import pytest

import ndtape as nt
from ndtape.run import Workspace

# Python's own for functions, methods and classes is fine; that of an object says nothing.
SAYS_NOTHING = re.compile(r"<[\w.<>]+ object at 0x[0-9a-f]+>")
LONGEST = 400
MODULES = {name: x for name, x in vars(nt).items() if isinstance(x, types.ModuleType)}
PUBLIC = ["nn", "optim", "schedules", "numpy", "scipy", "linalg", "fft", "parallel"]


def public(namespace):
    return {
        name: x
        for name, x in vars(namespace).items()
        if not name.startswith("_") and not isinstance(x, types.ModuleType)
    }


@pytest.mark.parametrize("name", ["ndtape", *PUBLIC])
def test_public_names(name):
    namespace = nt if name == "ndtape" else MODULES[name]
    for key, x in public(namespace).items():
        if type(x).__module__.startswith("numpy."):  # looked up there, and kept: `nt.linalg.test`
            continue
        assert not SAYS_NOTHING.search(repr(x)), f"{name}.{key}"


def test_public_classes_have_a_representation():
    for namespace in (nt, *(MODULES[name] for name in PUBLIC)):
        for name, x in public(namespace).items():
            if inspect.isclass(x) and x.__module__.startswith("ndtape"):
                assert x.__repr__ is not object.__repr__, name


@nt.function
def energy(p):
    return np.sum(p["w"] ** 2) if p["w"][0] > 0 else np.sum(p["w"])


def recorded():
    with nt.Tape() as tape:
        _ = nt.sin(nt.var(2.0)) * 3.0
    return tape


def made():
    """Objects that calls return, by the text that they show."""
    energy.clear()
    energy({"w": np.ones(3)})
    x = nt.var(2.0)
    tape = recorded()
    yield "var(2.0)", x
    yield "var(4.0)", x * 2
    yield "boolean(True)", x > 1
    yield "<Tape of 3 instructions>", tape
    yield "<Tape of 0 instructions>", nt.Tape()
    yield "<nt.function energy(p): 1 tape>", energy
    yield "Counters(recordings=1, replays=0, flips=0, instructions=5)", energy.counters
    yield "<nt.jit energy>", nt.jit(energy.f)
    yield "<nt.lowlevel energy of 3 numbers, 1 tape>", nt.lowlevel(energy, ({"w": np.ones(3)},))
    yield "<Sparsity of a 1 x 1 Jacobian, 1 entry>", nt.sparsity(nt.sin)(1.0)
    yield (
        "<Sparsity of a 2 x 2 Hessian, 2 entries>",
        (nt.sparsity(lambda x: np.sum(x**3), of="hessian")(np.ones(2))),
    )
    yield "<nt.optim.sgd(rate=0.1)>", nt.optim.sgd(0.1)
    yield (
        "<nt.optim.momentum(rate=decayed(step), decay=0.9, weight_decay=0.0)>",
        (nt.optim.momentum(decayed)),
    )
    yield "nt.schedules.every(k=4)", nt.schedules.every(4)
    yield (
        "<Plan: 3 snapshots, 1 steps held, 10 steps forward and 15 again in reverse>",
        (nt.schedules.binomial(3).plan(10)),
    )
    yield "<nt.custom_vjp decayed(step)>", nt.custom_vjp(decayed)
    yield "<nt.custom_jvp decayed(step)>", nt.custom_jvp(decayed)
    yield "<primitive decayed>", nt.primitive(decayed, lambda w, z, x: w)
    yield "nt.no_grad()", nt.no_grad()
    yield "<unravel of 3 numbers into 1 leaves>", nt.ravel({"w": np.ones(3)})[1]
    yield "<progress 'training': 0 of 3>", nt.progress(range(3), "training")


def decayed(step):
    return 0.1 / (1 + step)


def test_objects():
    for text, x in made():
        assert repr(x) == text


def test_a_million_numbers_are_not_shown():
    many = np.arange(1e6)
    x = nt.var(many)
    opt = nt.optim.adam()
    _, state = opt.update({"w": many}, {"w": many}, opt.init({"w": many}))
    shown = {
        "leaf": x,
        "result": x * 2.0,
        "truth": x > 1.0,
        "state of an optimiser": state,
        "traced": nt.function(lambda x: x + 1.0),
        "unravel": nt.ravel([many, many])[1],
        "gradient": nt.grad(lambda w: many @ w),
        "product": nt.vjp(lambda w: many * w, 2.0)[1],
        "pattern": nt.sparsity(lambda x: x * x)(many[:50_000]),
    }
    for name, each in shown.items():
        assert len(repr(each)) < LONGEST, name


def test_what_is_inside_says_so_too():
    energy.clear()
    energy({"w": np.ones(3)})
    (program,) = energy.all_programs()
    (trace,) = program.traces
    assert repr(program) == "<Program energy: 1 trace>"
    assert repr(trace) == "<Trace of 5 instructions, 1 guard>"
    assert repr(Workspace(trace.tape, 16)) == (
        "<Workspace of <Tape of 5 instructions>: 0 swept, 16 lanes>"
    )
