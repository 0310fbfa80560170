"""Recording values behave like the numbers they stand for, in plain Python and under NumPy.

Every operator on either side of every kind of number; reading, comparing, hashing, rounding,
formatting, copying; `backward` and its options as in PyTorch; updates under `no_grad`; tapes that
meet.  The mathematics of single operations has its own matrix of tests.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import math
import operator
import pickle
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import scipy.special

import ndtape as nt

OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow,
]  # fmt: skip
NUMBERS = [
    3, 2.5, -1, True, np.float64(2.5), np.float32(2.5), np.int64(3), np.uint8(3), np.bool_(True),
    np.float16(0.5), np.array(2.5), np.array(3), Fraction(5, 2), 2**40, 0.0, math.inf,
]  # fmt: skip
name_of = {"ids": lambda x: getattr(x, "__name__", f"{type(x).__name__}({x})")}


def leaf_and_result(value):
    return nt.var(value), nt.var(value) * 1.0


def expected(f, *numbers):
    with np.errstate(all="ignore"):
        return float(f(*(np.float64(float(x)) for x in numbers)))


def same(x, y):
    return x == pytest.approx(y, rel=1e-15, abs=0, nan_ok=True)


# --- operators -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", NUMBERS, **name_of)
@pytest.mark.parametrize("f", OPERATORS, **name_of)
def test_operators_with_every_kind_of_number(f, number):
    for x in leaf_and_result(1.75):
        left, right = f(x, number), f(number, x)
        assert isinstance(left, nt.Var) and isinstance(right, nt.Var)
        assert same(left.value, expected(f, 1.75, number))
        assert same(right.value, expected(f, number, 1.75))


@pytest.mark.parametrize("f", OPERATORS, **name_of)
def test_operators_of_two_recording_values(f):
    for x in leaf_and_result(3.5):
        for y in leaf_and_result(1.25):
            assert same(f(x, y).value, expected(f, 3.5, 1.25))
            assert same(f(y, x).value, expected(f, 1.25, 3.5))
        assert same(f(x, x).value, expected(f, 3.5, 3.5))


@pytest.mark.parametrize(
    "f",
    [operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv,
     operator.imod, operator.ipow],
    **name_of,
)  # fmt: skip
def test_in_place_operators(f):
    plain = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv", "imod": "mod"}
    g = getattr(operator, plain.get(f.__name__, f.__name__[1:]))
    x, y = nt.var(3.5), nt.var(1.25) * 1.0
    before = y
    after = f(y, x)  # results: a new value, the old one stays
    assert (after.value, before.value) == (g(1.25, 3.5), 1.25)
    with pytest.raises(nt.LeafWriteError, match="x = x \\+ 1"):
        f(x, 1.0)
    assert x.value == 3.5
    with nt.no_grad():
        assert f(x, 2.0) is x
    assert x.value == g(3.5, 2.0)
    number = 3.0
    number = f(number, x)
    assert isinstance(number, nt.Var)


def test_in_place_on_a_constant_keeps_the_gradient():
    x = nt.var(3.0)
    total = alias = nt.var(1.0).detach()
    total += x * 2.0
    total *= 2.0
    assert (total.value, alias.value) == (14.0, 1.0)
    total.backward()
    assert x.grad == 4.0


def test_unary_operators():
    for x in leaf_and_result(-1.5):
        assert ((-x).value, abs(x).value, (+x).value) == (1.5, 1.5, -1.5)
    for x in leaf_and_result(0.0):
        assert math.copysign(1.0, (-x).value) == -1.0


def test_powers():
    for x in leaf_and_result(-2.0):
        for n in (-3, -2, -1, 0, 1, 2, 3, 4, 5, 2.0, 3.0, np.int64(2), np.float64(3.0)):
            assert (x**n).value == (-2.0) ** float(n)
            assert nt.power(x, n).value == np.power(x, n).value == (-2.0) ** float(n)
        assert math.isnan((x**0.5).value)
        assert (2**x).value == 0.25
        with pytest.raises(TypeError):
            pow(x, 2, 3)


@pytest.mark.parametrize("other", ["1", None, [1.0], (1.0,), {}, object(), Decimal(1), b"1"])
def test_operators_with_what_is_no_number(other):
    for x in leaf_and_result(1.5):
        for f in OPERATORS[:4]:
            with pytest.raises(TypeError):
                f(x, other)
            with pytest.raises(TypeError):
                f(other, x)
        assert (x == other) is False
        assert (x != other) is True
        with pytest.raises(TypeError):
            x < other  # noqa: B015


def test_the_other_operand_may_take_over():
    class Unit:
        def __rmul__(self, other):
            return "taken"

        __radd__ = __rpow__ = __rsub__ = __rtruediv__ = __rmul__

        def __eq__(self, other):
            return "asked"

        __hash__ = None

    for x in leaf_and_result(1.5):
        assert {x * Unit(), x + Unit(), x ** Unit(), x - Unit(), x / Unit()} == {"taken"}
        assert (x == Unit()) == "asked"


def test_numbers_that_do_not_fit():
    for x in leaf_and_result(1.5):
        for f in OPERATORS[:4]:
            for pair in ((x, 10**400), (10**400, x), (x, Fraction(10**400))):
                with pytest.raises(nt.UnsupportedError, match="does not fit a float64"):
                    f(*pair)
        assert (x + 1).value == 2.5


@pytest.mark.parametrize("number", [1j, np.complex128(1j), np.array(1j)])
def test_complex_numbers_are_refused(number):
    for x in leaf_and_result(1.5):
        for pair in ((x, number), (number, x)):
            with pytest.raises(nt.UnsupportedError):
                operator.mul(*pair)
        with pytest.raises(nt.UnsupportedError, match="real numbers only"):
            complex(x)
    with pytest.raises(nt.UnsupportedError):
        nt.var(number)


@pytest.mark.parametrize("value", [2, True, np.float32(2), np.int8(2), Fraction(2)])
def test_leaves_of_every_kind_of_number(value):
    x = nt.var(value)
    assert type(x.value) is float and x.value == float(value)


@pytest.mark.parametrize("value", [np.array(2.0), [2.0], np.zeros(1), np.zeros((0, 2))])
def test_leaves_of_arrays(value):
    """Any rank, 0 included: an array stays an array."""
    x = nt.var(value)
    assert isinstance(x, nt.Array) and x.shape == np.shape(value) and x.is_leaf
    assert x.value.tolist() == np.asarray(value).tolist()
    if x.size:
        (x * 3.0).backward(np.ones(x.shape))
        assert (x.grad == np.full(x.shape, 3.0)).all()


@pytest.mark.parametrize("value", ["2", None, ["2"], [[1.0], 2.0], Decimal(2), 10**400])
def test_what_is_no_leaf(value):
    with pytest.raises(nt.UnsupportedError):
        nt.var(value)


def test_a_leaf_of_a_recording_value_is_refused():
    for x in leaf_and_result(1.5):
        with pytest.raises(nt.UnsupportedError, match="detach"):
            nt.var(x)


# --- comparing, hashing, collections -------------------------------------------------------------


def test_comparisons():
    for x in leaf_and_result(2.0):
        for y in (3.0, 3, np.float64(3), np.int64(3), Fraction(3), nt.var(3.0), nt.var(3.0) * 1.0):
            assert x < y and x <= y and x != y and y > x and y >= x and not x == y and not x > y
        assert 1.0 < x < 3.0 and not 2.0 < x < 3.0
        assert x == 2.0 and 2.0 == x and x == nt.var(2.0)
        assert not x != 2
        assert not x == math.nan and x != math.nan


def test_comparisons_are_recorded():
    x = nt.var(2.0)
    with nt.Tape() as tape:
        below = x * 1.0 < 3.0
        both = below & (x > 0.0)
        either = below | False
        neither = ~both
    assert [repr(b) for b in (below, both, neither)] == [
        "boolean(True)", "boolean(True)", "boolean(False)",
    ]  # fmt: skip
    assert str(either) == "True"
    assert [i.name for i in tape][2:] == [
        "less", "greater", "logical_and", "logical_or", "logical_not",
    ]  # fmt: skip
    assert nt.where(below, x, 0.0).value == 2.0


def test_under_if():
    for x in leaf_and_result(0.0):
        assert not x
    for x in leaf_and_result(-0.5):
        assert x
        assert (x and 1.0) == 1.0
    with pytest.raises(TypeError, match="no iteration"):
        list(nt.var(1.0))


def test_hashing_is_by_identity():
    x, y = leaf_and_result(2.0)
    twin = nt.var(2.0)
    names = {x: "x", y: "y", twin: "twin"}
    assert [names[v] for v in (x, y, twin)] == ["x", "y", "twin"]
    assert len({x, y, twin, x}) == 3
    assert 2.0 not in names
    y + 1.0
    assert names[y] == "y"


def test_searching_a_list_compares_values():
    x, y = leaf_and_result(2.0)
    assert x in [y] and 2.0 in [x] and 3.0 not in [x, y]
    assert [1.0, y, 3.0].index(2.0) == 1
    assert [x, y].count(2.0) == 2


def test_sorting_and_reducing():
    xs = [nt.var(v) for v in (3.0, 1.0, 2.0)]
    assert [x.value for x in sorted(xs)] == [1.0, 2.0, 3.0]
    assert max(xs) is xs[0] and min(xs) is xs[1] and max(xs[1], 1.5) == 1.5
    total = sum(xs) + sum(x * x for x in xs) + math.prod(xs)
    total.backward()
    assert [x.grad for x in xs] == [1 + 6 + 2, 1 + 2 + 6, 1 + 4 + 3]
    assert any(x > 2 for x in xs) and not all(x > 2 for x in xs)


# --- rounding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [2.5, -2.5, 3.5, 0.4, -0.6, 7.0])
def test_rounding(value):
    for x in leaf_and_result(value):
        assert round(x) == round(value)
        assert math.floor(x) == math.floor(value)
        assert math.ceil(x) == math.ceil(value)
        assert math.trunc(x) == math.trunc(value)
        assert round(x, 1).value == round(value, 1)
        assert (x // 1.5).value == value // 1.5
        assert same((x % 1.5).value, value % 1.5)
        assert [p.value for p in divmod(x, 1.5)] == list(divmod(value, 1.5))
        assert [p.value for p in divmod(7.25, x)] == pytest.approx(list(divmod(7.25, value)))


def test_rounded_values_are_indices():
    for x in leaf_and_result(1.7):
        words = ["no", "yes", "perhaps"]
        assert words[math.floor(x)] == "yes"
        assert words[round(x)] == "perhaps"
        assert list(range(math.ceil(x))) == [0, 1]
        assert math.trunc(x) == 1
        with pytest.raises(nt.UnsupportedError, match=r"math.floor\(x\), round\(x\)"):
            words[x]


def test_rounding_has_no_derivative():
    x = nt.var(2.6)
    (x * round(x) + x % 1.0 + math.floor(x)).backward()
    assert x.grad == 3.0 + 1.0


# --- reading -------------------------------------------------------------------------------------


def test_formatting():
    for x in leaf_and_result(2.0):
        assert f"{x:.3f} {x:8.2e} {x}" == "2.000 2.00e+00 2.0"
        assert str(x) == f"{x}" == f"{x.value}"
        assert repr(x) == "var(2.0)"
        assert "%s" % x == "2.0"  # noqa: UP031
    assert repr(nt.var(0.1) * 3.0) == f"var({0.1 * 3.0!r})"


def test_values_are_floats():
    for x in leaf_and_result(2.0):
        assert type(x.value) is float and type(x.item()) is float
    assert x.needs_grad and (x.op, nt.var(1.0).op) == ("multiply", "leaf")


def test_plain_numbers_lose_the_gradient_with_a_warning_a_line():
    for x in leaf_and_result(2.0):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            for _ in range(3):
                assert math.sin(x) == math.sin(2.0)
            float(x)
            assert int(x) == 2  # a whole number has no derivative that could be lost
        assert [w.category for w in caught] == [nt.GradientLostWarning] * 2
        assert {w.filename for w in caught} == {__file__}
        assert len({w.lineno for w in caught}) == 2
        assert "nt.sin" in str(caught[0].message)


def test_plain_numbers_without_a_warning():
    """Where no gradient can be lost any more."""
    x = nt.var(2.0)
    y = x * 3.0
    assert float(y.detach()) == 6.0
    with nt.no_grad():
        assert float(y) + float(x) == 8.0
    y.backward()
    assert float(y) == 6.0 and math.sqrt(y) == math.sqrt(6.0)


def test_plain_numbers_inside_a_transform_raise():
    for f in (math.sin, float, complex, np.array, lambda x: np.zeros(2).__setitem__(0, x)):
        with pytest.raises(nt.TapeError):
            nt.grad(lambda x, f=f: f(x * 2.0) and x)(1.0)


def test_graph_walking():
    x, zero = nt.var(2.0), nt.var(0.0)
    y = x * zero
    z = nt.fma(y, 3.0, x)
    assert (z.op, y.op) == ("fma", "multiply")
    assert y.parents[0] is x and y.parents[1] is zero
    first, second, third = z.parents
    assert (first.op, second, third is x) == ("multiply", 3.0, True)
    assert x.parents == ()


# --- NumPy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [np.sin, np.exp, np.sqrt, np.abs, np.negative, np.square, np.tanh, np.log1p, np.rint,
     scipy.special.erf, scipy.special.gammaln, scipy.special.psi, scipy.special.expit],
    **name_of,
)  # fmt: skip
def test_numpy_functions_of_one(f):
    for x in leaf_and_result(1.7):
        assert isinstance(f(x), nt.Var)
        assert f(x).value == pytest.approx(float(f(1.7)), rel=1e-15)


@pytest.mark.parametrize(
    "f",
    [np.add, np.subtract, np.multiply, np.divide, np.power, np.maximum, np.fmin, np.arctan2,
     np.hypot, np.logaddexp, np.mod, np.floor_divide, np.copysign, scipy.special.xlogy],
    **name_of,
)  # fmt: skip
def test_numpy_functions_of_two(f):
    for x in leaf_and_result(1.7):
        for y in (0.6, np.float64(0.6), nt.var(0.6), nt.var(0.6) * 1.0, np.array(0.6)):
            assert f(x, y).value == pytest.approx(float(f(1.7, 0.6)), rel=1e-15)
            assert f(y, x).value == pytest.approx(float(f(0.6, 1.7)), rel=1e-15)


def test_numpy_functions_that_are_no_ufuncs():
    for x in leaf_and_result(1.7):
        assert np.where(x > 1.0, x, 0.0).value == 1.7
        assert np.clip(x, 0.0, 1.0).value == 1.0
        assert np.nan_to_num(x / 0.0).value == np.finfo(float).max


WITH_ARRAYS = [
    lambda x: np.sin(x, where=True),
    lambda x: np.add(x, 1.0, dtype=np.float64),
    lambda x: np.add.outer(x, [1.0, 2.0]),
    lambda x: np.modf(x)[0],
    lambda x: np.dot(x, x),
    lambda x: np.mean(x),
    lambda x: np.interp(x, [0.0, 9.0], [0.0, 18.0]),
    lambda x: x * np.array([2.0, 3.0]),
    lambda x: np.array([2.0, 3.0]) * x,
    lambda x: np.where(x < np.array([9.0, 0.0]), x, 2.0 * x),
]


@pytest.mark.parametrize("call", WITH_ARRAYS)
def test_a_scalar_meets_arrays(call):
    """The answer is NumPy's, and its sum has the derivative that differences say."""
    x = nt.var(2.25)
    z = call(x)
    assert z.value == pytest.approx(np.asarray(call(np.float64(2.25))), rel=1e-15)
    np.sum(z).backward()
    up, down = (np.sum(call(np.float64(2.25 + d))) for d in (1e-6, -1e-6))
    assert x.grad == pytest.approx((up - down) / 2e-6, rel=1e-8)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.sin(x, out=np.zeros(())),
        lambda x: np.sin(x, where=np.array([True, False])),
        lambda x: np.add.reduce(x),
        lambda x: np.matmul(x, x),
        lambda x: np.spacing(x),
        lambda x: np.where(x > 0.0),
        lambda x: np.asarray(x),
        lambda x: np.array([x, x]),
        lambda x: np.sum([x, x]),
        lambda x: np.ones((2, 2)) @ x,
        lambda x: x + np.array([1, 2], dtype=object),
        lambda x: np.add(x, "1"),
        lambda x: nt.sin("1"),
        lambda x: nt.add(x, None),
        lambda x: nt.add(x),
        lambda x: nt.where(x > 1.0, x),
    ],
)
def test_what_numpy_cannot_have(call):
    for x in leaf_and_result(1.7):
        with pytest.raises((nt.TapeError, TypeError)) as caught:
            call(x)
        assert "NotImplemented" not in str(caught.value)
        assert (x + 1.0).value == 2.7  # and nothing is broken by it


def test_into_a_plain_array():
    """NumPy asks for a float there: a warning as for float(), and never a silent loss."""
    plain = np.zeros(2)
    for x in leaf_and_result(1.7):
        with pytest.raises((nt.GradientLostError, nt.GradientLostWarning)):
            plain[0] = x


def test_plain_numbers_give_plain_numbers():
    assert nt.sin(2.0) == pytest.approx(math.sin(2.0), rel=1e-15)
    assert type(nt.sin(2.0)) is float and type(nt.add(1, 2)) is float
    assert nt.less(1.0, 2.0) is True


# --- copying -------------------------------------------------------------------------------------


def test_copies_of_leaves():
    x = nt.var(2.0, name="x")
    (x * x).backward()
    copies = [copy.copy(x), copy.deepcopy(x)]
    copies += [pickle.loads(pickle.dumps(x, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    for y in copies:
        assert (y.value, y.grad, y.name, y is x) == (2.0, 4.0, "x", False)
        (y * 3.0).backward()
        assert (y.grad, x.grad) == (7.0, 4.0)
    shared = copy.deepcopy({"a": x, "b": [x]})
    assert shared["a"] is shared["b"][0] is not x
    constant = pickle.loads(pickle.dumps(x.detach()))
    assert not constant.needs_grad


def test_results_cannot_be_copied_deeply():
    y = nt.var(2.0) * 3.0
    for f in (copy.deepcopy, pickle.dumps, lambda y: copy.deepcopy([y])):
        with pytest.raises(TypeError, match=r"x.value or x.detach\(\)"):
            f(y)
    assert copy.copy(y).value == 6.0


# --- backward ------------------------------------------------------------------------------------


def test_gradients_accumulate():
    x = nt.var(2.0)
    assert x.grad is None
    (x * x).backward()
    (x * 3.0).backward()
    assert x.grad == 7.0
    x.grad = None
    (x * 3.0).backward()
    x.zero_grad()
    assert x.grad is None
    x.grad = 1
    x.backward(2.0)
    assert x.grad == 3.0


@pytest.mark.parametrize("seed", [2.0, 0.0, -1, math.inf, math.nan, np.float32(0.5), True])
def test_seeds(seed):
    x, y = nt.var(2.0), nt.var(3.0)
    (x * y + nt.sin(x) * 0.0).backward(seed)
    assert same(y.grad, 2.0 * seed)
    nothing = 0.0 if not math.isinf(seed) else math.nan
    assert same(x.grad, 3.0 * seed + nothing)


def test_a_seed_of_none_is_one():
    x = nt.var(3.0)
    (x * x).backward(None)
    assert x.grad == 6.0


@pytest.mark.parametrize("seed", ["1", 1j, [1.0], np.ones(2)])
def test_seeds_that_are_none(seed):
    y = nt.var(2.0) * 2.0
    with pytest.raises((TypeError, ValueError)):
        y.backward(seed)
    y.backward()


def test_a_second_walk_raises_and_says_what_to_do():
    x = nt.var(2.0)
    y = x * x
    z = nt.sin(y)
    z.backward()
    first = x.grad
    for again in (z, y, y * 2.0, nt.cos(z)):
        with pytest.raises(nt.SpentTapeError, match=r"retain_graph=True.*tape.gradient"):
            again.backward()
    assert x.grad == first


def test_retain_graph():
    x = nt.var(2.0)
    y = x * x
    for n in range(1, 4):
        y.backward(retain_graph=True)
        assert x.grad == 4.0 * n
    y.backward(1.0, False)
    with pytest.raises(nt.SpentTapeError):
        y.backward()


def test_other_roots_and_values_survive():
    x, w = nt.var(2.0), nt.var(3.0)
    y = x * x
    other = x * w  # shares only the leaf
    y.backward()
    other.backward()
    assert (x.grad, w.grad) == (7.0, 2.0)
    assert (y.value, other.value) == (4.0, 6.0)
    assert (y * w + other).value == 18.0


def test_spent_values_are_numbers_to_new_operations():
    x, w = nt.var(2.0), nt.var(3.0)
    y = x * x
    y.backward()
    with pytest.raises(nt.SpentTapeError):
        (y * w).backward()
    (y.detach() * w).backward()
    assert w.grad == 4.0


def test_a_root_behind_an_unspent_fork():
    x = nt.var(2.0)
    y = nt.exp(x)
    a, b = y * 2.0, y * 3.0
    a.backward(retain_graph=True)
    b.backward()
    assert x.grad == pytest.approx(5.0 * math.exp(2.0), rel=1e-15)
    with pytest.raises(nt.SpentTapeError, match="exp"):
        a.backward()


def test_what_backward_refuses():
    y = nt.var(2.0) * 2.0
    with pytest.raises(nt.UnsupportedError, match=r"nt.grad\(nt.grad\(f\)\)"):
        y.backward(create_graph=True)
    with pytest.raises(TypeError, match="unexpected"):
        y.backward(inputs=[y])
    with pytest.raises(nt.ArgumentError, match="depends on no leaf"):
        y.detach().backward()


def test_retain_grad():
    x = nt.var(2.0)
    y = x * x
    z = y * 3.0
    y.retain_grad()
    assert y.grad is None
    z.backward(retain_graph=True)
    assert (y.grad, x.grad) == (3.0, 12.0)
    z.backward()
    assert y.grad == 6.0
    with pytest.warns(UserWarning, match="retain_grad"):
        assert z.grad is None
    x.retain_grad()


def test_the_same_leaf_many_times():
    x = nt.var(1.5)
    (x * x * x + x / x - x - (x - x) * x).backward()
    assert x.grad == pytest.approx(3 * 1.5**2 - 1.0, rel=1e-15)


def test_detach():
    x = nt.var(2.0)
    y = x * x
    for d in (x.detach(), y.detach(), x.detach().detach()):
        assert not d.needs_grad and d.op == "constant" and repr(d).startswith("constant(")
    z = y.detach() * x
    z.backward()
    assert x.grad == 4.0
    assert (x.detach() + 1.0).needs_grad is False


def test_tape_gradient_spends_nothing():
    x, w, unused = nt.var(3.0), nt.var(2.0), nt.var(1.0)
    with nt.Tape() as tape:
        y = x * x
        z = y * w
    for _ in range(3):
        assert tape.gradient(z, [x, w, y, z, unused]) == [12.0, 9.0, 2.0, 1.0, 0.0]
        assert tape.gradient(z, x) == 12.0
    assert tape.gradient(x, [x, w]) == [1.0, 0.0]
    assert tape.gradient(y, [z, w]) == [0.0, 0.0]
    assert x.grad is None
    for bad in [(1.0, x), (z, [1.0]), (z, None)]:
        with pytest.raises(nt.ArgumentError, match="recording value"):
            tape.gradient(*bad)


# --- updates and no_grad -------------------------------------------------------------------------


def test_writing_a_leaf():
    x = nt.var(2.0)
    with pytest.raises(nt.LeafWriteError, match="no_grad"):
        x.value = 3.0
    with nt.no_grad():
        x.value = 3.0
        x -= 0.5
    assert x.value == 2.5
    with pytest.raises(AttributeError):
        (x * 2.0).value = 1.0


@pytest.mark.parametrize("explicit", [False, True])
def test_an_update_between_two_uses(explicit):
    """Each use sees the value of its time; both give their gradient to the leaf."""
    x = nt.var(2.0)
    tape = nt.Tape()
    if explicit:
        tape.__enter__()
    y = x * x * x
    with nt.no_grad():
        x += 1.0
    z = x * x * x
    if explicit:
        tape.__exit__()
    assert (y.value, z.value, (y + z).value) == (8.0, 27.0, 35.0)
    (y + z).backward()
    assert x.grad == 12.0 + 27.0


def test_operations_under_no_grad_are_plain():
    x = nt.var(2.0)
    y = x * 1.0
    n = len(y.tape)
    with nt.no_grad():
        for z in (x * 3.0, y * 3.0, 3.0 * y, nt.sin(y), np.exp(x), abs(-y)):
            assert not z.needs_grad
        assert (y > 1.0) is True or bool(y > 1.0)
    assert len(y.tape) == n
    assert (y * 3.0).needs_grad


def test_no_grad_nests_and_survives_exceptions():
    x = nt.var(2.0)
    y = x * 1.0
    with nt.no_grad():
        with nt.no_grad():
            assert not (y * 2.0).needs_grad
        assert not (y * 2.0).needs_grad
        with pytest.raises(ZeroDivisionError), nt.no_grad():
            1 / 0  # noqa: B018
        assert not (y * 2.0).needs_grad
    assert (y * 2.0).needs_grad

    @nt.no_grad()
    def plain(v):
        return v * 2.0

    assert not plain(y).needs_grad
    (y * 2.0).backward()
    assert x.grad == 2.0


def test_backward_under_no_grad():
    x = nt.var(2.0)
    y = x * x
    with nt.no_grad():
        y.backward()
    assert x.grad == 4.0


# --- tapes that meet -----------------------------------------------------------------------------


def two_programs(explicit_one, explicit_two, shared):
    x = nt.var(2.0, name="x")
    y = x if shared else nt.var(3.0, name="y")

    def one():
        return nt.sin(x) * x

    def two():
        return y * y * y

    results = []
    for f, explicit in ((one, explicit_one), (two, explicit_two)):
        if explicit:
            with nt.Tape():
                results.append(f())
        else:
            results.append(contextvars.Context().run(f))
    return x, y, results


@pytest.mark.parametrize("explicit_one", [False, True])
@pytest.mark.parametrize("explicit_two", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("spent", [None, 0, 1])
def test_joining(explicit_one, explicit_two, shared, swapped, spent):
    x, y, (a, b) = two_programs(explicit_one, explicit_two, shared)
    assert a.tape is not b.tape
    da, db = math.cos(2.0) * 2.0 + math.sin(2.0), 3.0 * y.value**2
    if spent is not None:
        (a, b)[spent].backward()
        x.zero_grad(), y.zero_grad()
    va, vb = a.value, b.value
    c = b * 10.0 + a if swapped else a + 10.0 * b
    d = c * c
    assert c.value == pytest.approx(va + 10.0 * vb, rel=1e-15)
    nt.verify(c.tape)
    assert (a.value, b.value) == (va, vb)
    if spent is not None:
        with pytest.raises(nt.SpentTapeError):
            d.backward()
        live, slope, leaf = ((b, db, y), (a, da, x))[spent]
        live.backward()
        assert leaf.grad == pytest.approx(slope, rel=1e-14)
        return
    d.backward(0.5 / c.value)
    if shared:
        assert x.grad == pytest.approx(da + 10.0 * db, rel=1e-14)
    else:
        assert (x.grad, y.grad) == pytest.approx((da, 10.0 * db), rel=1e-14)


def test_joining_long_chains_of_tapes():
    leaves, parts = [], []
    for i in range(20):
        leaves.append(nt.var(float(i)))
        with nt.Tape():
            parts.append(nt.square(leaves[-1]))
    total = 0.0
    for i in [*range(0, 20, 2), *range(19, 0, -2)]:
        total = parts[i] + total
    total.backward()
    assert [x.grad for x in leaves] == [2.0 * i for i in range(20)]
    assert [p.value for p in parts] == [float(i * i) for i in range(20)]


def test_three_tapes_meet_in_one_operation():
    leaves, parts = [], []
    for i in range(3):
        leaves.append(nt.var(float(i + 2)))
        with nt.Tape():
            parts.append(leaves[-1] * 1.0)
    nt.fma(*parts).backward()
    assert [x.grad for x in leaves] == [3.0, 2.0, 1.0]


def test_tapes_that_users_hold_show_the_joined_program():
    x, y = nt.var(2.0), nt.var(3.0)
    with nt.Tape() as one:
        a = x * 2.0
    with nt.Tape() as two:
        b = y * 3.0
        b = b + 1.0
    c = a * b
    assert str(one) == str(two)
    assert len(str(one).splitlines()) == 6
    assert one.gradient(c, [x, y]) == two.gradient(c, [x, y]) == [20.0, 12.0]
    assert one[2:] == two[2:]
    assert one.stats().instructions == two.stats().instructions == 6
    one.check_finite()
    assert one.listing() == two.listing()


def test_nested_tapes():
    x = nt.var(2.0)
    with nt.Tape() as outer:
        a = x * 2.0
        with nt.Tape() as inner:
            x * 3.0
            with outer:
                b = x * 4.0
        c = x * 5.0
    d = x * 6.0
    assert [len(outer), len(inner)] == [4, 2]
    assert a.tape is b.tape is c.tape is outer
    assert d.tape is not outer and d.tape is not inner
    with pytest.raises(ZeroDivisionError), nt.Tape() as failed:
        x * 7.0
        1 / 0  # noqa: B018
    assert len(failed) == 2
    assert (x * 8.0).tape is not failed


# --- generators and tasks ------------------------------------------------------------------------


def test_generators_share_the_tape_of_their_caller():
    x = nt.var(0.5)

    def series():
        term = 1.0
        for n in range(1, 20):
            yield term
            term = term * x / float(n)

    total = sum(series())
    total.backward()
    assert x.grad == pytest.approx(math.exp(0.5), rel=1e-14)


def test_generators_that_leave_their_tapes_in_any_order():
    x = nt.var(0.5)

    def holder():
        with nt.Tape():
            yield
            yield x * 2.0

    first, second = holder(), holder()
    next(first), next(second)
    assert [next(first).value, next(second).value] == [1.0, 1.0]
    first.close(), second.close()
    y = x * 3.0
    assert y.value == 1.5
    y.backward()
    assert x.grad == 3.0


def test_tasks_do_not_mix():
    async def program(k, tapes):
        x = nt.var(float(k))
        with nt.Tape() as tape:
            y = x * 1.0
            for i in range(20):
                await asyncio.sleep(0)
                y = y * x if i < 3 else y + float(k)
        tapes.append(tape)
        assert len(tape) == 22
        assert tape.gradient(y, x) == 4.0 * k**3
        assert y.value == k**4 + 17.0 * k
        y.backward()
        return x.grad

    async def main():
        tapes = []
        grads = await asyncio.gather(*(program(k, tapes) for k in range(2, 10)))
        assert len({id(t) for t in tapes}) == 8
        return grads

    assert asyncio.run(main()) == [4.0 * k**3 for k in range(2, 10)]


def test_no_grad_in_one_task_leaves_the_others_recording():
    async def paused(entered, leave):
        with nt.no_grad():
            entered.set()
            await leave.wait()
            return (nt.var(1.0) * 2.0).needs_grad

    async def main():
        entered, leave = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(paused(entered, leave))
        await entered.wait()
        x = nt.var(2.0)
        y = nt.sin(x * x) + x
        with pytest.raises(nt.LeafWriteError):
            x += 1.0
        leave.set()
        assert await task is False
        y = y * 1.0
        y.backward()
        return x.grad

    assert asyncio.run(main()) == pytest.approx(4.0 * math.cos(4.0) + 1.0, rel=1e-15)
