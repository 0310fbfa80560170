"""GARCH, AR(5) and advection meet their golden values from one unchanged source in every recorder.

The same function is compiled by Numba for plain numbers, recorded by Python, traced, and recorded
by itself from inside compiled code.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ndtape as nt

sys.path.append(str(Path(__file__).parent.parent / "perf"))  # last: examples has files as named

from workloads import (
    GOLDEN,
    DataMissingError,
    advection,
    ar5,
    distance,
    fill,
    garch,
    golden_distance,
    njit,
    written_with,
)

NEAR = 1e-10
# In 2000 of Toon's steps neighbours come as near as 2.4e-7, and rounding errors of the flux's
# derivative are divided by that. The golden numbers are one library's in double precision, 4e-9
# from those in 80 bits; a hand-written adjoint is 1e-8 from them. 80 bits are held to below.
TOON_2000_NEAR = 2e-8
# Python cannot see that a plain np.empty will be written with recorded numbers: the same text, with
# arrays that record.
RECORDED_ADVECTION = written_with("advection", nt.numpy)
SCHEMES = ["lax_wendroff", "toon"]
FORMS = ["", "_slices"]


@dataclass
class Program:
    """A function of its first argument; `in_python` is the same for the recorders in Python."""

    name: str
    function: Any
    in_python: Any
    args: tuple

    @property
    def near(self):
        """How far gradients may be from the golden ones."""
        return TOON_2000_NEAR if self.name == "toon_2000" else NEAR

    def plain_args(self):
        """Arguments that a plain call may change."""
        return tuple(x.copy() if isinstance(x, np.ndarray) else x for x in self.args)


def read(function, *args):
    try:
        return function(*args)
    except DataMissingError as error:
        pytest.skip(str(error))


def program(name):
    """A problem by the name of its golden value; for advection with its form after a slash."""
    golden, _, form = name.partition("/")
    if golden == "garch":
        f, args = garch.log_likelihood, (np.array(garch.POINT), *read(garch.read))
        return Program(golden, f, f, args)
    if golden == "ar5":
        f, args = ar5.log_posterior, (np.array(ar5.POINT), read(ar5.read))
        return Program(golden, f, f, args)
    scheme, _, steps = golden.rpartition("_")
    functions = (getattr(module, scheme + form) for module in (advection, RECORDED_ADVECTION))
    return Program(golden, *functions, (advection.start(), int(steps)))


ADVECTION = [f"{s}_{steps}/{form}" for s in SCHEMES for steps in (100, 2000) for form in FORMS]
NAMES = ["garch", "ar5", *ADVECTION]
SHORT = [name for name in NAMES if "2000" not in name]
COMPILED = {}


def compiled(problem):
    """nt.jit of the function: one for all tests, so that it compiles once."""
    return COMPILED.setdefault(problem.function, nt.jit(problem.function))


# --- golden values --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_plain_values(name):
    problem = program(name)
    for f in (njit(problem.function), compiled(problem)):
        assert distance(f(*problem.plain_args()), GOLDEN[problem.name]["f"]) < NEAR
    if name in SHORT:
        value = problem.function(*problem.plain_args())
        assert distance(value, GOLDEN[problem.name]["f"]) < NEAR


@pytest.mark.parametrize("name", NAMES)
def test_recorded_in_compiled_code(name):
    problem = program(name)
    value, gradient = nt.value_and_grad(compiled(problem))(*problem.args)
    assert distance(value, GOLDEN[problem.name]["f"]) < NEAR
    assert golden_distance(problem.name, value, gradient) < problem.near
    assert distance(nt.grad(compiled(problem))(*problem.args), gradient) == 0.0


@pytest.mark.parametrize("name", SHORT)
def test_recorded_in_python(name):
    problem = program(name)
    value, gradient = nt.value_and_grad(problem.in_python)(*problem.args)
    assert golden_distance(problem.name, value, gradient) < NEAR


@pytest.mark.parametrize("name", SHORT)
def test_traced(name):
    problem = program(name)
    traced = nt.function(problem.in_python)
    traced.clear()
    call = nt.value_and_grad(traced)
    first, *others = problem.args
    for scale in (1.001, 1.002):
        call(scale * first, *others)
    value, gradient = call(first, *others)
    assert golden_distance(problem.name, value, gradient) < NEAR
    assert traced.counters.replays > 0


@pytest.mark.parametrize("name", SHORT)
def test_compiled_inside_of_the_other_recorders(name):
    """With a leaf, and in a traced function: what is recorded goes to their tape."""
    problem = program(name)
    f, (first, *others) = compiled(problem), problem.args
    leaf = nt.var(first)
    (2.0 * f(leaf, *others)).backward()
    assert golden_distance(problem.name, f(leaf, *others).value, 0.5 * leaf.grad) < NEAR

    call = nt.value_and_grad(nt.function(lambda x: 2.0 * f(0.5 * x, *others)))
    for scale in (2.002, 2.004, 2.0):
        value, gradient = call(scale * first)
    assert golden_distance(problem.name, 0.5 * value, gradient) < NEAR


@pytest.mark.parametrize("name", SHORT)
def test_directional_and_second_derivatives(name):
    problem = program(name)
    f, (first, *others) = compiled(problem), problem.args

    def of_first(x):
        return f(x, *others)

    v, w = fill(first.size, 7), fill(first.size, 3)
    value, slope = nt.jvp(of_first, (first,), (v,))
    _, (gradient,), (product,) = nt.hvp(of_first, (first,), (v,))
    _, _, (other,) = nt.hvp(of_first, (first,), (w,))
    assert golden_distance(problem.name, value, gradient) < NEAR
    assert distance(slope, gradient @ v) < NEAR
    assert distance(product @ w, other @ v) < 1e-8


def test_the_golden_hessian():
    problem = program("garch")
    found = nt.hessian(compiled(problem))(*problem.args)
    assert distance(found, GOLDEN["garch"]["hess"]) < NEAR


@pytest.mark.parametrize("module", [garch, ar5], ids=["garch", "ar5"])
def test_long_series(module):
    data = read(module.read, 50)
    data = data if isinstance(data, tuple) else (data,)
    f = module.log_likelihood if module is garch else module.log_posterior
    assert len(data[0]) == 10_000
    point = np.array(module.POINT)
    found = nt.value_and_grad(nt.jit(f))(point, *data)
    expected = nt.value_and_grad(f)(point, *data)
    for a, b in zip(found, expected, strict=True):
        assert distance(a, b) < 1e-12


def toon_in_long_double(field, steps):
    """Value and gradient by forward derivatives, a row a cell, in 80 bits."""
    q, rows = np.asarray(field, np.longdouble), np.eye(field.size, dtype=np.longdouble)
    c = advection.COURANT
    for _ in range(steps):
        left, right, difference = q[:-1], q[1:], q[:-1] - q[1:]
        power = np.exp(c * np.log(left / right))
        flux = (power - 1) * left * right / difference
        by_left = ((c * power + power - 1) * right - flux) / difference
        by_right = ((power - 1 - c * power) * left + flux) / difference
        change = by_left[:, None] * rows[:-1] + by_right[:, None] * rows[1:]
        q[1:-1] += flux[:-1] - flux[1:]
        rows[1:-1] += change[:-1] - change[1:]
        q[0], q[-1], rows[0], rows[-1] = q[-2], q[1], rows[-2], rows[1]
    return q.sum() / 10, rows.sum(axis=0) / 10


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no wider here")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("steps", "near"), [(100, 1e-11), (2000, 2e-6)])
def test_toon_in_higher_precision(steps, near, form):
    """Entry by entry; with TOON_2000_NEAR there is more of why 2000 steps lose so many digits."""
    problem = program(f"toon_{steps}/{form}")
    value, gradient = nt.value_and_grad(compiled(problem))(*problem.args)
    exact, slope = toon_in_long_double(*problem.args)
    assert abs(value - exact) < 1e-12
    assert np.abs(gradient - slope).max() < near


# --- arrays of the caller -------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_array_of_the_caller_is_filled_and_a_differentiated_call_leaves_it(scheme):
    f = getattr(advection, f"{scheme}_into")
    fast, field, golden = nt.jit(f), advection.start(), f"{scheme}_100"
    expected, q = np.empty(field.size), np.empty(field.size)
    value = f(expected, field, 100)
    assert distance(fast(q, field, 100), value) < 1e-14
    # Quotients of differences, once more: last bits of Numba's log and exp are multiplied.
    np.testing.assert_allclose(q, expected, rtol=1e-9 if scheme == "toon" else 1e-14)
    assert distance(value, GOLDEN[golden]["f"]) < NEAR

    q = fill(field.size)
    value, gradient = nt.value_and_grad(fast, argnums=1)(q, field, 100)
    assert golden_distance(golden, value, gradient) < NEAR
    assert (q == fill(field.size)).all()
    assert (field == advection.start()).all()


@pytest.mark.parametrize(
    "differentiate",
    [
        lambda f, x: nt.jvp(f, (x,), (x,)),
        lambda f, x: nt.vjp(f, x)[1](1.0),
        lambda f, x: nt.hvp(f, (x,), (x,)),
        lambda f, x: f(nt.var(x)).backward(),
        lambda f, x: nt.grad(nt.function(f))(x),
    ],
    ids=["jvp", "vjp", "hvp", "eager", "traced"],
)
def test_no_transform_touches_an_array_of_the_caller(differentiate):
    f, field, q = nt.jit(advection.toon_into), advection.start(), fill(100)
    differentiate(lambda x: f(q, x, 3), field)
    assert (q == fill(100)).all()
    assert (field == advection.start()).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_overwritten_has_no_derivative(scheme):
    """q is filled from the field before anything is read."""
    f, field = nt.jit(getattr(advection, f"{scheme}_into")), advection.start()
    value, (by_q, gradient) = nt.value_and_grad(f, argnums=(0, 1))(fill(field.size), field, 100)
    assert golden_distance(f"{scheme}_100", value, gradient) < NEAR
    assert not by_q.any()


@pytest.mark.parametrize("name", ADVECTION)
def test_the_field_is_left_by_every_call(name):
    problem = program(name)
    before = problem.args[0].copy()
    compiled(problem)(*problem.args)
    nt.grad(compiled(problem))(*problem.args)
    assert (problem.args[0] == before).all()


# --- identities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ADVECTION)
def test_a_field_twice_as_high_moves_alike(name):
    problem = program(name)
    field = 1.0 + 0.9 * np.abs(fill(100))
    value, gradient = nt.value_and_grad(compiled(problem))(field, problem.args[1])
    assert distance(gradient @ field, value) < 1e-12


def test_branches_that_are_taken_are_recorded():
    """Where neighbours are equal both schemes have the same fluxes, to first order too."""
    for field in (np.full(100, 1.5), np.repeat([1.5, 1.25], 50)):
        found = [
            nt.value_and_grad(compiled(program(f"{scheme}_100/")))(field, steps)
            for scheme, steps in (("lax_wendroff", 1), ("toon", 1))
        ]
        same = np.full(100, True)
        same[48:52] = field[0] == field[-1]  # at the jump they differ
        assert distance(found[0][1][same], found[1][1][same]) < 1e-14
