"""Values of a recording that would leave it: refused, with the line in the user's file.

Inside a traced function `float(x)`, `math.sin(x)`, a write into a plain array and `x.value` would
put the number of the first call into all later ones.  A value kept after the call belongs to a
recording that has ended.
"""

from __future__ import annotations

import cmath
import copy
import decimal
import fractions
import inspect
import json
import math
import pickle
import struct
import warnings

import numpy as np
import pytest

import ndtape as nt

KEPT = []


class Box:
    value = None


def line_of(f):
    """The first line of a lambda or function of this file that is no `def`."""
    lines, start = inspect.getsourcelines(f)
    return start + (1 if lines[0].lstrip().startswith("def ") else 0)


# --- numbers that would be frozen -----------------------------------------------------------------

SCALARS = [
    lambda x: float(x) * 2.0,
    lambda x: math.sin(x),
    lambda x: math.sqrt(x * x),
    lambda x: math.exp(x * 0.5) + x,
    lambda x: math.isclose(x, 1.0),
    lambda x: math.fsum([x, x]),
    lambda x: math.hypot(x, 1.0),
    lambda x: cmath.exp(x),
    lambda x: complex(x),
    lambda x: x.value * 2.0,
    lambda x: (x * 2.0).value,
    lambda x: x.item(),
    lambda x: "%.3f" % x,  # noqa: UP031
    lambda x: fractions.Fraction(x),
    lambda x: decimal.Decimal(x),
    lambda x: struct.pack("d", x),
    lambda x: json.dumps([x]),
    lambda x: pickle.dumps(x),
    lambda x: copy.deepcopy(x * 2.0),
    lambda x: np.array(x),
    lambda x: np.array([x, 1.0]),
    lambda x: np.asarray([x * 2.0]),
    lambda x: np.full(2, x),
    lambda x: np.array([1.0, 2.0]).fill(x),
    lambda x: np.float64(x),
    lambda x: np.arange(0.0, x, 0.5),
    lambda x: np.linspace(0.0, 1.0, 3).__setitem__(0, x),
    lambda x: np.zeros(3).itemset(0, x) if hasattr(np.ndarray, "itemset") else float(x),
    lambda x: float(math.floor(x)),
    lambda x: float(x > 1.0),
]
VECTORS = [
    lambda x: float(x[0]),
    lambda x: math.sin(x[0]),
    lambda x: x.value,
    lambda x: x[0].item(),
    lambda x: x.sum().value,
    lambda x: x.tolist(),
    lambda x: x[0].value * x,
    lambda x: np.array([x, x]),
    lambda x: np.asarray(x) * 2.0,
    lambda x: np.zeros(3).__setitem__(0, x[0]),
    lambda x: np.zeros(3).__setitem__(slice(None), x),
    lambda x: np.zeros(3).__iadd__(x),
    lambda x: np.copyto(np.zeros(3), x),
    lambda x: np.put(np.zeros(3), 0, x[0]),
    lambda x: np.zeros((2, 3)).__setitem__(1, x * 2.0),
    lambda x: np.add(1.0, 2.0, out=np.zeros(3)).__setitem__(0, x[1]),
    lambda x: np.zeros(3)[np.argsort(x)],
    lambda x: bytes(x),
    lambda x: memoryview(x),
    lambda x: pickle.dumps(x),
]


def refused(call, f, line=None):
    """The call raises an error of ndtape that names the line, and leaves no recording open."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((nt.TapeError, TypeError, struct.error)) as caught:
            call()
    if isinstance(caught.value, nt.TapeError):
        assert f"test_traced_escapes.py:{line or line_of(f)}" in str(caught.value)
    double = nt.function(lambda x: x * 2.0)
    assert double(3.0) == 6.0 and nt.grad(double)(3.0) == 2.0
    return caught.value


@pytest.mark.parametrize("number", range(len(SCALARS)))
def test_scalars(number):
    """Refused always, also on the second call; or right for other numbers too."""
    f = SCALARS[number]
    F = nt.function(f)
    for x in (1.5, 0.5, 1.5, 2.5):
        try:
            found = F(x)
        except (nt.TapeError, TypeError, struct.error):
            refused(lambda x=x: F(x), f)
            continue
        with np.testing.suppress_warnings():
            expected = f(x)
        assert found is None or np.array_equal(found, expected), (found, expected)


MUST_REFUSE = [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 20, 21, 22, 24]


@pytest.mark.parametrize("number", MUST_REFUSE)
def test_scalars_that_must_be_refused(number):
    f = SCALARS[number]
    F, G = nt.function(f), nt.grad(nt.function(f))
    error = refused(lambda: F(1.5), f)
    assert isinstance(error, nt.GradientLostError)
    refused(lambda: F(1.5), f)
    refused(lambda: G(1.5), f)


@pytest.mark.parametrize("number", range(len(VECTORS)))
def test_vectors(number):
    f = VECTORS[number]
    F = nt.function(f)
    for x in (np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.25, 4.0])):
        if "argsort" in inspect.getsource(f):
            continue
        refused(lambda x=x: F(x), f)
        refused(lambda x=x: nt.grad(F)(x), f)


def test_a_write_into_a_plain_array():
    def f(x):
        a = np.zeros(3)
        a[1] = x * 2.0  # here
        return a

    F = nt.function(f)
    line = line_of(f) + 1
    error = refused(lambda: F(2.0), f, line)
    assert "nt.zeros" in str(error)
    refused(lambda: nt.jacobian(F)(2.0), f, line)

    def right(x):
        a = nt.zeros(3)
        a[1] = x * 2.0
        return a

    R = nt.function(right)
    assert [R(x).tolist() for x in (2.0, 3.0)] == [[0.0, 4.0, 0.0], [0.0, 6.0, 0.0]]


def test_a_write_into_a_captured_plain_array():
    table = np.zeros(3)

    def f(x):
        table[0] = x
        return x

    F = nt.function(f)
    refused(lambda: F(2.0), f)
    assert not table.any()


def test_the_line_of_a_helper():
    def helper(x):
        return math.cos(x)

    def f(x):
        return helper(x) + 1.0

    refused(lambda: nt.function(f)(2.0), helper)


def test_the_remedies_work():
    @nt.function
    def F(x):
        return nt.sin(x) + np.cos(x) + nt.array([x, 1.0])[0] + np.zeros_like(nt.array([x]))[0]

    assert F(2.0) == pytest.approx(math.sin(2.0) + math.cos(2.0) + 2.0, rel=1e-15)
    assert F(3.0) == pytest.approx(math.sin(3.0) + math.cos(3.0) + 3.0, rel=1e-15)


def test_detach_and_stop_gradient_follow_the_number():
    """A value without its gradient is still a value of the recording: never the old number."""

    def f(x):
        return x * x.detach()

    F = nt.function(f)
    for x in (2.0, 3.0, 5.0):
        try:
            assert nt.grad(F)(x) == x
        except nt.TapeError as error:
            assert f"test_traced_escapes.py:{line_of(f)}" in str(error)
            break
    if hasattr(nt, "stop_gradient"):
        G = nt.function(lambda x: x * nt.stop_gradient(x))
        assert [nt.grad(G)(x) for x in (2.0, 3.0)] == [2.0, 3.0]
        assert [G(x) for x in (2.0, 3.0)] == [4.0, 9.0]


def test_backward_and_grad_inside():
    """A sweep inside a recording gives numbers of this call."""

    def f(x):
        w = nt.var(2.0)
        (w * x).backward()
        return w.grad * x

    F = nt.function(f)
    for x in (3.0, 4.0):
        try:
            assert F(x) == x * x
        except nt.TapeError as error:
            assert "test_traced_escapes.py:" in str(error)


def test_a_nested_tape_inside():
    def f(x):
        with nt.Tape() as tape:
            y = x * x
        return tape.gradient(y, x) * x

    F = nt.function(f)
    for x in (3.0, 4.0):
        try:
            assert F(x) == 2.0 * x * x
        except nt.TapeError as error:
            assert "test_traced_escapes.py:" in str(error)


# --- values kept after the call -------------------------------------------------------------------

USES = [
    lambda y: y + 1.0,
    lambda y: 2.0 * y,
    lambda y: nt.sin(y),
    lambda y: np.sin(y),
    lambda y: y.value,
    lambda y: y.item(),
    lambda y: float(y),
    lambda y: int(y),
    lambda y: bool(y > 0),
    lambda y: y > 0,
    lambda y: bool(y),
    lambda y: y.backward(),
    lambda y: -y,
    lambda y: nt.var(1.0) * y,
    lambda y: nt.function(lambda x: x * y)(2.0),
    lambda y: nt.grad(lambda x: x * y)(2.0),
    lambda y: nt.function(lambda x: x * 2.0)(y),
    lambda y: round(y),
    lambda y: y.detach(),
]


@pytest.fixture(autouse=True)
def nothing_kept():
    yield
    KEPT.clear()
    Box.value = None


@pytest.mark.parametrize("number", range(len(USES)))
def test_a_value_kept_in_a_list(number):
    use = USES[number]
    F = nt.function(lambda x: KEPT.append(x * 2.0) or x * 3.0)
    assert F(1.0) == 3.0
    line = line_of(use)
    with pytest.raises(nt.EscapedError, match=rf"test_traced_escapes\.py:{line}"):
        use(KEPT[0])
    assert F(2.0) == 6.0 and nt.grad(F)(2.0) == 3.0


@pytest.mark.parametrize("number", [0, 1, 4, 5, 6, 8, 11])
def test_an_argument_kept(number):
    use = USES[number]
    F = nt.function(lambda x: KEPT.append(x) or x * 3.0)
    F(1.0)
    with pytest.raises(nt.EscapedError, match=rf"test_traced_escapes\.py:{line_of(use)}"):
        use(KEPT[0])


ARRAY_USES = [
    lambda y: y + 1.0,
    lambda y: np.sin(y),
    lambda y: y.sum(),
    lambda y: y[0] * 1.0,
    lambda y: y.value,
    lambda y: y @ y,
    lambda y: y.tolist(),
    lambda y: np.sum(y),
    lambda y: y.__setitem__(0, 1.0),
    lambda y: y.__iadd__(1.0),
    lambda y: next(iter(y)) + 1.0,
    lambda y: np.concatenate([y, y]),
    lambda y: nt.var([1.0, 2.0]) * y,
    lambda y: np.sort(y),
]


@pytest.mark.parametrize("number", range(len(ARRAY_USES)))
def test_an_array_kept(number):
    use = ARRAY_USES[number]
    F = nt.function(lambda x: KEPT.extend([x * 2.0, x[1], x]) or np.sum(x))
    assert F(np.array([1.0, 2.0])) == 3.0
    line = line_of(use)
    for kept in (KEPT[0], KEPT[2]):
        with pytest.raises(nt.EscapedError, match=rf"test_traced_escapes\.py:{line}"):
            use(kept)
    with pytest.raises(nt.EscapedError):
        KEPT[1] + 1.0
    assert F(np.array([2.0, 2.0])) == 4.0


def test_values_kept_in_other_places():
    global LAST
    inner = None

    class Holder:
        pass

    holder = Holder()

    @nt.function
    def F(x):
        nonlocal inner
        global LAST
        inner = x * 2.0
        LAST = x * 3.0
        Box.value = x * 4.0
        holder.y = x * 5.0
        return x

    F(1.0)
    for kept in (inner, LAST, Box.value, holder.y):
        with pytest.raises(nt.EscapedError, match=r"test_traced_escapes\.py:\d+"):
            kept * 2.0
    LAST = None


def test_a_closure_and_a_generator_kept():
    made = []

    @nt.function
    def F(x):
        made.append(lambda: x * 2.0)
        made.append(e * 2.0 for e in [x])
        return x

    F(1.0)
    with pytest.raises(nt.EscapedError, match=r"test_traced_escapes\.py:\d+"):
        made[0]()
    with pytest.raises(nt.EscapedError, match=r"test_traced_escapes\.py:\d+"):
        next(made[1])


def test_state_carried_from_call_to_call():
    """h = f(h) hidden in an object: the value of the last call is refused, not frozen."""

    class Cell:
        h = 0.0

        @nt.function
        def step(self, x):
            self.h = self.h * 0.5 + x
            return self.h

    cell = Cell()
    cell.step(1.0)
    with pytest.raises(nt.EscapedError, match=r"test_traced_escapes\.py:\d+"):
        cell.step(1.0)
        cell.step(1.0)


def test_kept_values_can_be_printed_and_dropped():
    F = nt.function(lambda x: KEPT.append(x * 2.0) or x)
    F(1.0)
    repr(KEPT[0])  # a debugger shows it
    KEPT.clear()
    assert F(2.0) == 2.0


def test_an_exception_that_holds_values():
    """A traceback holds the frame and its recording values; they are refused later, too."""

    @nt.function
    def F(x):
        y = x * 2.0
        if x > 1.0:
            raise KeyError(y)
        return y

    with pytest.raises(KeyError) as caught:
        F(2.0)
    with pytest.raises(nt.EscapedError):
        caught.value.args[0] * 2.0
    assert F(0.5) == 1.0


def test_values_kept_under_a_transform_are_of_that_transform():
    """Inside nt.grad the function runs inline: its values live as long as the transform's."""
    F = nt.function(lambda x: KEPT.append(x * 2.0) or x * 3.0)

    def outer(x):
        y = F(x)
        return y * KEPT.pop()

    assert nt.grad(lambda x: outer(x) * 1.0)(2.0) == 24.0


def test_side_effects_happen_when_a_call_is_recorded(capsys):
    """Documented: a print runs at a recording, not at a replay."""
    F = nt.function(lambda x: print("here") or x * 2.0)
    for k in range(5):
        assert F(float(k)) == 2.0 * k
    assert capsys.readouterr().out == "here\n"
    assert F.counters.recordings == 1


def test_an_append_to_a_captured_list():
    """The list is something the function reads: it has changed, so the next call records again."""
    seen = []
    F = nt.function(lambda x: seen.append("here") or x * len(seen))
    assert [F(2.0) for _ in range(4)] == [2.0, 4.0, 6.0, 8.0]
    assert len(seen) == 4


LAST = None
