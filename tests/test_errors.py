"""Errors are part of the interface: one base class, sentences with advice, and no harm done.

That each error arises where it should is tested beside what raises it; here, that all of them obey
the same rules, and that the library works on after any of them.
"""

from __future__ import annotations

import inspect
import math
import re

import numpy as np
import pytest

import ndtape as nt
from ndtape import errors, run
from ndtape.ops import CODES
from ndtape.tape import Tape

ALL = [
    cls
    for cls in vars(errors).values()
    if inspect.isclass(cls) and issubclass(cls, Exception) and cls.__module__ == errors.__name__
]


def test_one_base_class_and_a_builtin_beside_it():
    for cls in ALL:
        if issubclass(cls, Warning):
            assert issubclass(cls, UserWarning)
            continue
        assert issubclass(cls, nt.TapeError)
        builtin = next(b for b in cls.__mro__ if b.__module__ == "builtins")
        assert cls is nt.TapeError or builtin not in (Exception, BaseException)


def test_all_of_them_are_exported_and_documented():
    for cls in ALL:
        assert getattr(nt, cls.__name__) is cls
        assert cls.__doc__ and cls.__doc__.rstrip().endswith(".")


def spent():
    y = nt.var(2.0) * 3.0
    y.backward()
    y.backward()


def leaf_write():
    x = nt.var(2.0)
    x += 1.0


def non_finite():
    with nt.Tape() as tape:
        nt.log(nt.var(0.0))
    tape.check_finite()


def bad_tape():
    columns = {name: np.zeros(1, np.uint32) for name in "abc"}
    nt.tape_of({"op": np.array([CODES["sin", "v"]], np.uint16), **columns, "k": np.zeros(1)})


MISTAKES = {
    spent: (nt.SpentTapeError, RuntimeError, "retain_graph=True"),
    leaf_write: (nt.LeafWriteError, RuntimeError, "nt.no_grad()"),
    non_finite: (nt.NonFiniteError, FloatingPointError, "instruction 1, r1 = log(r0) with r0 = 0"),
    bad_tape: (nt.BadTapeError, ValueError, "instruction 0 (sin) has operand a = 0"),
    lambda: nt.grad(math.sin)(1.0): (nt.GradientLostError, TypeError, "nt.sin"),
    lambda: nt.grad(float)(1.0): (nt.GradientLostError, TypeError, "x.value"),
    lambda: np.asarray(nt.var(1.0)): (nt.GradientLostError, TypeError, "x.value"),
    lambda: nt.var("1"): (nt.UnsupportedError, TypeError, "str: '1'"),
    lambda: nt.var(1.0) * np.ones(3, object): (nt.UnsupportedError, TypeError, "shape (3,)"),
    lambda: np.spacing(nt.var(1.0)): (nt.UnsupportedError, TypeError, "nt.primitive"),
    lambda: nt.var(1.0) * 1j: (nt.UnsupportedError, TypeError, "real numbers only"),
    lambda: nt.polygamma(nt.var(1.0), 2.0): (nt.UnsupportedError, TypeError, "whole number"),
    lambda: nt.grad(lambda x: None)(1.0): (nt.ArgumentError, ValueError, "not NoneType"),
    lambda: nt.grad(nt.sin, 1)(1.0): (nt.ArgumentError, ValueError, "argnums=1"),
    lambda: nt.define(nt.sin): (nt.ArgumentError, ValueError, "one partial for each operand"),
    lambda: run.Workspace(Tape(), 3): (nt.ArgumentError, ValueError, "1 or 16 lanes, not 3"),
    lambda: Tape()[0]: (nt.ArgumentError, ValueError, "tape[start:stop]"),
    lambda: nt.check_grads(nt.sin, (1.0,), order=0): (nt.ArgumentError, ValueError, "not 0"),
    lambda: nt.check_grads(abs, (0.0,)): (nt.CheckError, AssertionError, "the check gives"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda f: inspect.getsource(f).strip()[:50])
def test_a_mistake_is_answered_with_advice_and_does_no_harm(mistake):
    ours, builtin, advice = MISTAKES[mistake]
    x = nt.var(2.0)
    with nt.Tape() as tape:
        y = x * x
        with pytest.raises(ours, match=re.escape(advice)) as caught:
            mistake()
        z = y * x
    assert isinstance(caught.value, builtin)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    assert tape.gradient(z, x) == 12.0
    assert nt.grad(lambda v: v * v)(3.0) == 6.0


def test_messages_name_the_line_of_the_user():
    here = inspect.currentframe()
    x = nt.var(2.0)
    with pytest.raises(nt.LeafWriteError) as caught:
        x += 1.0
    assert f"[{__file__}:{here.f_lineno - 1}]" in str(caught.value)
    with pytest.raises(nt.GradientLostError) as caught:
        np.array([x])
    assert f"[{__file__}:{here.f_lineno - 1}]" in str(caught.value)


def test_a_sweep_that_meets_an_unknown_opcode_stops():
    """Status codes are the second fence: the first is that nothing unverified is swept."""
    made = Tape()
    x = made.append(0, made.constant(1.0))
    made.append(2, x)
    made.append(60_000, x)
    work = run.Workspace(made)
    with pytest.raises(nt.BadTapeError, match="unknown opcode at instruction 2"):
        work.forward()
    with pytest.raises(nt.BadTapeError, match="unknown opcode at instruction 2"):
        work.value(2)
