"""`grad` and its relatives: trees of arguments, nesting to any order, nothing left behind.

Derivatives are compared with formulas; what nests is also compared with central differences.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import ndtape as nt
from ndtape.record import core

Pair = namedtuple("Pair", "a b")


# --- arguments and results -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "args", "gradient"),
    [
        (lambda x: x * x, (3.0,), 6.0),
        (lambda p: p[0] * p[1] * p[2], ([2.0, 3.0, 4.0],), [12.0, 8.0, 6.0]),
        (lambda p: p[0] * p[1], ((2.0, 3.0),), (3.0, 2.0)),
        (lambda p: p["w"] * p["b"], ({"w": 2.0, "b": 3.0},), {"w": 3.0, "b": 2.0}),
        (lambda p: p.a * p.b**2, (Pair(2.0, 3.0),), Pair(9.0, 12.0)),
        (
            lambda p: p["layers"][0][1] * p["scale"] + p["layers"][1][0] ** 2,
            ({"layers": [(1.0, 2.0), (3.0,)], "scale": 5.0},),
            {"layers": [(0.0, 5.0), (6.0,)], "scale": 2.0},
        ),
        (lambda p: p["z"] - p["a"], (OrderedDict(z=1.0, a=2.0),), OrderedDict(z=1.0, a=-1.0)),
        (lambda p: 1.0, ([],), []),
        (lambda p: p[1], ([[], 2.0, {}],), [[], 1.0, {}]),
    ],
)
def test_trees(f, args, gradient):
    value, got = nt.value_and_grad(f)(*args)
    assert got == gradient and type(got) is type(gradient)
    assert type(value) is float
    assert nt.grad(f)(*args) == gradient


def test_the_order_of_dict_entries_is_kept():
    gradient = nt.grad(lambda p: p["z"] * p["a"])({"z": 2.0, "a": 3.0})
    assert list(gradient.items()) == [("z", 3.0), ("a", 2.0)]


@pytest.mark.parametrize("number", [2, True, np.float32(2.0), np.int64(2), np.array(2.0)])
def test_arguments_of_every_kind_of_number(number):
    value, gradient = nt.value_and_grad(lambda x: x * x * 3.0)(number)
    assert (value, gradient) == (3.0 * float(number) ** 2, 6.0 * float(number))
    assert type(gradient) is float


def f3(x, y, z=10.0, *, scale=1.0):
    return scale * (x * y * y + z)


@pytest.mark.parametrize(
    ("argnums", "gradient"),
    [
        (0, 9.0), (1, 12.0), (2, 1.0), (-1, 1.0), (-3, 9.0), ((0, 1), (9.0, 12.0)),
        ((1, 0), (12.0, 9.0)), ([2, -3], (1.0, 9.0)), ((1,), (12.0,)), ((), ()),
    ],
)  # fmt: skip
def test_argnums(argnums, gradient):
    assert nt.grad(f3, argnums)(2.0, 3.0, 4.0) == gradient
    assert nt.value_and_grad(f3, argnums=argnums)(2.0, 3.0, 4.0) == (22.0, gradient)


@pytest.mark.parametrize("argnums", [3, -4, (0, 0), (0, -3), (1, 5), "0", 1.5, None])
def test_argnums_that_do_not_fit(argnums):
    with pytest.raises((nt.ArgumentError, TypeError)):
        nt.grad(f3, argnums)(2.0, 3.0, 4.0)
    assert not core.transform_depth.get()


def test_argnums_of_no_arguments():
    with pytest.raises(nt.ArgumentError, match="argnums=0 does not fit 0 positional arguments"):
        nt.grad(lambda x=1.0: x)(x=2.0)


def test_keywords_and_other_arguments_pass_through():
    assert nt.grad(f3)(2.0, 3.0, scale=2.0) == 18.0
    seen = []
    nt.grad(lambda x, *rest, **more: seen.append((rest, more)) or x)(1.0, "a", [2], key=None)
    assert seen == [(("a", [2]), {"key": None})]


def test_arguments_are_not_written_to():
    weights = {"w": [1.0, 2.0]}

    def f(p):
        p["w"][0] = p["w"][0] * 2.0
        return p["w"][0] * p["w"][1]

    assert nt.grad(f)(weights) == {"w": [4.0, 2.0]}
    assert weights == {"w": [1.0, 2.0]}


@pytest.mark.parametrize("argument", ["a", object(), 1j, np.zeros(2), 10**400])
def test_arguments_that_are_no_scalars(argument):
    with pytest.raises((nt.ArgumentError, nt.UnsupportedError)):
        nt.grad(lambda x: x)(argument)
    assert not core.transform_depth.get() and nt.grad(lambda x: x * x)(3.0) == 6.0


@pytest.mark.parametrize("result", [None, "a", [1.0], (1.0, 2.0), {}, np.zeros(2), 1j])
def test_results_that_are_no_scalars(result):
    with pytest.raises(nt.ArgumentError, match=f"a scalar, not {type(result).__name__}"):
        nt.grad(lambda x: result)(2.0)
    with pytest.raises(nt.ArgumentError):
        nt.grad(lambda x: [x * x])(2.0)


@pytest.mark.parametrize("result", [3.0, 3, True, np.float64(3.0)])
def test_constant_results(result):
    assert nt.value_and_grad(lambda p: result)([2.0, 5.0]) == (float(result), [0.0, 0.0])
    assert nt.value_and_grad(lambda x: x.detach() * 2.0)(2.0) == (4.0, 0.0)
    assert nt.value_and_grad(lambda x: x * 0.0 + 1.0)(2.0) == (1.0, 0.0)
    assert nt.hvp(lambda x: result, (2.0,), (1.0,)) == (float(result), (0.0,), (0.0,))


def test_names_and_docs_are_kept():
    assert nt.grad(f3).__name__ == "f3" == nt.value_and_grad(f3).__name__


# --- programs ------------------------------------------------------------------------------------


def newton_sqrt(x):
    guess = x
    while abs(guess * guess - x) > 1e-14 * x:
        guess = 0.5 * (guess + x / guess)
    return guess


def test_branches_and_loops():
    for x in (1e-3, 2.0, 1e6):
        assert nt.grad(newton_sqrt)(x) == pytest.approx(0.5 / math.sqrt(x), rel=1e-10)
    pieces = nt.grad(lambda x: x * x if x > 0 else (-x if x < -1 else x * 0.0))
    assert [pieces(x) for x in (3.0, -0.5, -3.0, 0.0)] == [6.0, 0.0, -1.0, 0.0]


def test_recursion_and_containers():
    def power(x, n):
        return 1.0 if n == 0 else x * power(x, n - 1)

    table = {}

    def remembered(x, n):
        if n not in table:
            table[n] = x if n == 1 else remembered(x, n - 1) * nt.sin(x)
        return table[n]

    assert nt.grad(lambda x: power(x, 5))(2.0) == 80.0
    expected = math.sin(1.0) ** 3 + 3 * math.sin(1.0) ** 2 * math.cos(1.0)
    assert nt.grad(lambda x: remembered(x, 4))(1.0) == pytest.approx(expected, rel=1e-14)


# --- nesting -------------------------------------------------------------------------------------


def nth(f, n):
    for _ in range(n):
        f = nt.grad(f)
    return f


def test_high_orders():
    x = 0.7
    cycle = [math.sin(x), math.cos(x), -math.sin(x), -math.cos(x), math.sin(x)]
    for n in range(1, 5):
        assert nth(nt.sin, n)(x) == pytest.approx(cycle[n], rel=1e-14)
        assert nth(lambda v: nt.exp(2.0 * v), n)(x) == pytest.approx(
            2**n * math.exp(1.4), rel=1e-13
        )
        falling = math.prod(range(6, 6 - n, -1))
        assert nth(lambda v: v**6, n)(x) == pytest.approx(falling * x ** (6 - n), rel=1e-13)
        reciprocal = (-1) ** n * math.factorial(n) / x ** (n + 1)
        assert nth(lambda v: 1.0 / v, n)(x) == pytest.approx(reciprocal, rel=1e-13)


def test_each_order_is_the_difference_of_the_one_before():
    def f(x):
        return nt.tanh(x * x) * nt.log(1.0 + nt.exp(x)) + nt.where(x > 0.0, x**3, 0.0) / (2.0 + x)

    for n in range(1, 5):
        above, below = nth(f, n - 1)(0.6 + 1e-5), nth(f, n - 1)(0.6 - 1e-5)
        assert nth(f, n)(0.6) == pytest.approx((above - below) / 2e-5, rel=1e-6)


def test_perturbations_are_not_confused():
    assert nt.grad(lambda x: x * nt.grad(lambda y: x + y)(1.0))(2.0) == 1.0
    assert nt.grad(lambda x: x * nt.grad(lambda y: x * y)(2.0))(1.0) == 2.0
    assert nt.grad(lambda x: nt.grad(lambda y: x * y * y)(x))(3.0) == 12.0
    assert nt.grad(lambda x: x * nt.grad(lambda _: x)(1.0))(2.0) == 0.0
    assert nt.grad(lambda x: nt.grad(lambda x: x * x)(x) * x)(2.0) == 8.0
    inner = nt.grad(lambda x, y: nt.grad(lambda z: x * y * z)(x) * y, argnums=(0, 1))
    assert inner(2.0, 3.0) == (9.0, 12.0)


def test_derivatives_in_the_middle_of_a_function():
    def f(x):
        slope = nt.grad(lambda y: nt.sin(y) * x)(x * x)  # cos(x²)·x
        return slope * x

    expected = 2 * 0.8 * math.cos(0.64) - 2 * 0.8**3 * math.sin(0.64)
    assert nt.grad(f)(0.8) == pytest.approx(expected, rel=1e-14)
    both = nt.value_and_grad(lambda x: sum(nt.grad(lambda p: p[0] * p[1])([x, x * x])))
    assert both(2.0) == (6.0, 5.0)


def test_mixed_second_derivatives_agree():
    def f(x, y):
        return nt.sin(x * y) + x * x * nt.exp(y)

    xy = nt.grad(nt.grad(f, 0), 1)(0.5, 0.25)
    yx = nt.grad(nt.grad(f, 1), 0)(0.5, 0.25)
    assert xy == pytest.approx(yx, rel=1e-14)
    assert nt.hvp(f, (0.5, 0.25), (0.0, 1.0))[2][0] == pytest.approx(xy, rel=1e-14)


def test_recording_values_as_arguments():
    """The derivative is recorded, too: it can be differentiated further."""
    w = nt.var(3.0)
    slope = nt.grad(lambda x: x**3)(w)
    assert isinstance(slope, nt.Var) and slope.value == 27.0
    slope.backward()
    assert w.grad == 18.0
    w.grad = None
    y = w * 2.0
    nt.grad(nt.sin)(y).backward()
    assert w.grad == pytest.approx(-2.0 * math.sin(6.0), rel=1e-15)


# --- what surrounds a transform ------------------------------------------------------------------


def test_captured_leaves_are_differentiated_through():
    w = nt.var(3.0)
    value, slope = nt.value_and_grad(lambda x: x * x * w)(2.0)
    assert (value.value, slope.value) == (12.0, 12.0)
    (slope * slope).backward()
    assert w.grad == 2.0 * 12.0 * 4.0


def test_captured_results():
    w = nt.var(3.0)
    r = w * w
    for _ in range(2):
        slope = nt.grad(lambda x: x * x * r)(2.0)
        assert slope.value == 36.0
    slope.backward()
    assert w.grad == 4.0 * 6.0


def test_returning_something_captured():
    w = nt.var(3.0)
    r = w * w * w * 1.5 * 1.5 * 1.5
    for captured in (w, r):
        value, slope = nt.value_and_grad(lambda x, c=captured: c)(2.0)
        assert (getattr(value, "value", value), slope) == (captured.value, 0.0)
    value, (slope,), (product,) = nt.hvp(lambda x: x * x * r, (2.0,), (1.0,))
    assert (value.value, slope.value, product.value) == (4 * r.value, 4 * r.value, 2 * r.value)
    assert nt.grad(lambda x: nt.grad(lambda y: r)(x) + x)(2.0) == 1.0


def test_numbers_come_out_where_only_numbers_went_in():
    w = nt.var(3.0)

    def touches(x):
        (w * w).backward()
        return x * (w * w).detach()

    assert nt.value_and_grad(touches)(2.0) == (18.0, 9.0)
    assert w.grad == 6.0
    assert type(nt.grad(lambda x: x * w.value)(2.0)) is float


def test_backward_inside_a_transform():
    w = nt.var(3.0)

    def trained(x):
        for _ in range(3):
            loss = (w - 1.0) ** 2
            loss.backward()
            with nt.no_grad():
                w.value = w.value - 0.25 * w.grad
            w.grad = None
        return x * w.value

    assert nt.value_and_grad(trained)(2.0) == (2.5, 1.25)
    assert w.value == 1.25


def test_no_grad_around_and_inside():
    x = nt.var(2.0)
    with nt.no_grad():
        assert nt.grad(lambda v: v * v)(3.0) == 6.0
        assert nt.grad(nt.grad(lambda v: v**3))(3.0) == 18.0
        x -= 0.5 * nt.grad(lambda v: v * v)(1.0)
        assert not core.recording()
    assert x.value == 1.0

    def f(v):
        with nt.no_grad():
            factor = v * v
        return v * factor

    assert nt.value_and_grad(f)(3.0) == (27.0, 9.0)


def test_the_surrounding_tape_stays_as_it_was():
    x = nt.var(2.0)
    with nt.Tape() as tape:
        y = x * 3.0
        assert nt.grad(lambda v: v * v * 7.0)(1.0) == 14.0
        z = y * y
    assert len(tape) == 3
    assert tape.gradient(z, x) == 36.0


def test_an_argument_that_escapes_is_only_a_number():
    kept = []
    nt.grad(lambda x: kept.append(x) or x * x)(2.0)
    (x,) = kept
    w = nt.var(5.0)
    y = x * w
    assert y.value == 10.0
    y.backward()
    assert w.grad == 2.0
    assert nt.grad(lambda v: v * kept[0])(1.0) == 2.0


class Trouble(Exception):
    pass


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("transform", [nt.grad, nt.value_and_grad])
def test_an_exception_leaves_nothing_behind(transform, depth):
    w = nt.var(2.0)
    y = w * 3.0
    before = core._current.get(), core._recording.get(), core.transform_depth.get()

    def wrong(x):
        y * x + w
        raise Trouble

    f = wrong
    for _ in range(depth):
        f = transform(f)
    with pytest.raises(Trouble):
        f(1.0)
    assert (core._current.get(), core._recording.get(), core.transform_depth.get()) == before
    assert float(y.detach()) == 6.0
    (y * w).backward()
    assert w.grad == 12.0
    assert nt.grad(lambda x: x * x)(3.0) == 6.0


def test_generators_inside_a_transform():
    def f(x):
        def terms():
            term = x
            for n in range(1, 6):
                yield term
                term = term * x / float(n)

        return sum(terms())

    expected = sum((n + 1) / math.factorial(n) for n in range(5))
    assert nt.grad(f)(1.0) == pytest.approx(expected, rel=1e-14)


# --- Hessian-vector products and checks ----------------------------------------------------------


def rosenbrock(p):
    return sum(100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2 for a, b in itertools.pairwise(p))


def test_hvp_against_the_hessian():
    at, along = [0.3, -0.4, 1.2], [1.0, -2.0, 0.5]
    hessian = np.array(
        [
            [1200 * 0.09 + 160 + 2, -400 * 0.3, 0.0],
            [-400 * 0.3, 200 + 1200 * 0.16 - 400 * 1.2 + 2, 400 * 0.4],
            [0.0, 400 * 0.4, 200.0],
        ]
    )
    value, (gradient,), (product,) = nt.hvp(rosenbrock, (at,), (along,))
    assert value == rosenbrock(at)
    assert gradient == pytest.approx(nt.grad(rosenbrock)(at), rel=1e-14)
    assert product == pytest.approx((hessian @ along).tolist(), rel=1e-12)


def test_hvp_arguments():
    value, gradient, product = nt.hvp(
        lambda p, y: p["a"] * p["a"] * y, ({"a": 3.0}, 2.0), ({"a": 1.0}, 0.0)
    )
    assert (value, gradient, product) == (18.0, ({"a": 12.0}, 9.0), ({"a": 4.0}, 6.0))
    for primals, tangents in [((1.0,), (1.0, 2.0)), (([1.0],), (1.0,)), ((1.0,), ([1.0],))]:
        with pytest.raises(nt.ArgumentError, match="the structure of primals"):
            nt.hvp(lambda x: 2.0, primals, tangents)
    with pytest.raises((nt.ArgumentError, TypeError)):
        nt.hvp(lambda x: x, 1.0, 1.0)
    assert nt.grad(lambda x: nt.hvp(lambda y: y**3, (x,), (x,))[2][0])(2.0) == 24.0


def test_check_grads_accepts_what_is_right():
    nt.check_grads(rosenbrock, ([0.3, -0.4, 1.2],))
    nt.check_grads(lambda x, y: nt.sin(x) * nt.exp(y), (0.3, -0.2), order=1)
    nt.check_grads(lambda p: p["a"][0] ** 3, ({"a": [2.0]},))


@pytest.mark.parametrize(
    ("wrong", "order", "message"),
    [
        (nt.define(nt.sin, lambda x, z: nt.cos(x) * 1.001), 1, "tangent: derivative rules give"),
        (nt.define(nt.sin, lambda x, z: nt.cos(x).detach()), 2, "second derivative"),
    ],
)
def test_check_grads_notices(wrong, order, message):
    with pytest.raises(nt.CheckError, match=message):
        nt.check_grads(lambda x: wrong(x) * 2.0, (0.7,), order=order)
    nt.check_grads(lambda x: nt.sin(x) * 2.0, (0.7,), order=order)


def test_check_grads_arguments():
    with pytest.raises(nt.ArgumentError, match="order 1, 2 or 3, not 4"):
        nt.check_grads(nt.sin, (0.5,), order=4)
    for modes in ("fwd", ("forward",)):
        with pytest.raises(nt.ArgumentError, match="modes must be some of"):
            nt.check_grads(nt.sin, (0.5,), modes=modes)
    with pytest.raises(nt.ArgumentError, match="args must be a tuple"):
        nt.check_grads(nt.sin, 0.5)
    with pytest.raises(nt.CheckError):
        nt.check_grads(abs, (0.0,))  # no derivative there
