"""Compiled functions mean what the same functions mean in Python, recorded or not."""

from __future__ import annotations

import math
import operator
from functools import cache

import compiled_rows
import matrix
import numba
import numpy as np
import pytest
from compiled_cases import CASES, GRID, LINE, Point
from matrix import ROWS_TESTED
from replays import bits, close

import ndtape as nt
from ndtape.compiled.scalars import Recording
from ndtape.compiled.types import LINEAR, TAPE

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")


@cache
def jitted(f):
    """Compiled once for all tests that call it."""
    return nt.jit(f, cache=False)


def gradients(F, args, argnums):
    """Value and gradient by both ways of recording."""
    yield nt.value_and_grad(F, argnums)(*args)
    yield nt.value_and_grad(lambda *a: F(*a), argnums)(*args)


@cache
def batch(kinds, argnums):
    """All programs with such arguments as one, chosen by a whole number: compiled once."""
    programs = list(
        dict.fromkeys(f for f, args, a in CASES if (types_of(args), a) == (kinds, argnums))
    )
    names = ", ".join(f"a{i}" for i in range(len(kinds)))
    lines = [f"def batch(which, {names}):"]
    for i in range(len(programs)):
        lines += [f"    if which == {i}:", f"        return f{i}({names})"]
    space = {f"f{i}": f for i, f in enumerate(programs)}
    exec("\n".join([*lines, "    return 0.0"]), space)
    return programs, nt.jit(space["batch"], cache=False)


def types_of(args):
    """What programs must agree in to be compiled together."""
    return tuple(str(numba.typeof(a)) for a in args)


def shifted(argnums):
    return argnums + 1 if isinstance(argnums, int) else tuple(i + 1 for i in argnums)


@pytest.mark.parametrize(
    ("f", "args", "argnums"),
    [pytest.param(*c, id=f"{c[0].__name__}{i}") for i, c in enumerate(CASES)],
)
def test_programs(f, args, argnums):
    """Plain to the rounding of mathematics, recorded to the bits of eager recording."""
    programs, F = batch(types_of(args), argnums)
    args, given = (programs.index(f), *args), repr(args)
    assert close(float(F(*args)), float(f(*args[1:])), 1e-12)
    expected = nt.value_and_grad(f, argnums)(*args[1:])
    for found in gradients(F, args, shifted(argnums)):
        assert bits(found, expected)
        assert type(found[0]) is type(expected[0])
    assert repr(args[1:]) == given


SECOND = (
    "whole_powers", "functions_of_nt", "functions_of_numpy", "min_max_abs", "calls_of_others",
    "recursion", "a_list", "tuples_inside", "power_from_outside", "fibonacci", "nested_sums",
    "sums_in_an_array",
)  # fmt: skip


@pytest.mark.parametrize(
    "f, args, argnums",
    [
        pytest.param(*c, id=f"{c[0].__name__}{i}")
        for i, c in enumerate(CASES)
        if c[0].__name__ in SECOND
    ],
)
def test_second_derivatives(f, args, argnums):
    programs, F = batch(types_of(args), argnums)
    which = programs.index(f)
    found = nt.grad(nt.grad(F, 1), 1)(which, *args)
    assert bits(found, nt.grad(nt.grad(f))(*args))
    if args[1:]:
        mixed = nt.grad(lambda *a: nt.grad(F, 1)(which, *a) * a[0])(*args)
        assert bits(mixed, nt.grad(lambda *a: nt.grad(f)(*a) * a[0])(*args))


# --- rows -----------------------------------------------------------------------------------------


def planted(mode, **fields):
    """A function with one operation: a multiplication whose row has an error."""
    wrong = Recording(matrix.ROWS["multiply"]._replace(name=f"planted_{mode}", **fields), mode)
    return nt.jit(lambda x, y: wrong(x, y) + 0.0, cache=False)


@pytest.mark.parametrize("error", [{"dx": "x"}, {"dy": "0"}, {"dy": "x * 1.000000001"}])
def test_a_wrong_partial_is_seen(error):
    """What the matrix compares would differ."""
    value, right = nt.value_and_grad(operator.mul, (0, 1))(1.5, 2.5)
    assert nt.value_and_grad(planted(LINEAR), (0, 1))(1.5, 2.5) == (value, right)
    assert nt.value_and_grad(planted(LINEAR, **error), (0, 1))(1.5, 2.5)[1] != right


def test_a_wrong_value_is_seen():
    assert nt.value_and_grad(planted(LINEAR, z="x + y"), (0, 1))(1.5, 2.5)[0] == 4.0


@pytest.mark.parametrize(
    "row", [r for r in ROWS_TESTED if hasattr(nt, r.name)], ids=lambda r: r.name
)
def test_rows_of_plain_numbers(row):
    """Plain calls agree to the rounding of other libraries' mathematics."""
    for style in compiled_rows.STYLES:
        if compiled_rows.expression(row, style) in ("", "np.where(x, y, u)"):
            continue
        f = compiled_rows.rows_of(len(row.operands), style, "")
        for i in matrix.inside(row)[:6]:
            point = matrix.points(row)[i].tolist()
            found = f(compiled_rows.CODES[row.name], *point)
            expected = getattr(nt, row.name)(*point)
            assert found == pytest.approx(float(expected), rel=1e-13, abs=1e-300)


@pytest.mark.parametrize("row", ROWS_TESTED, ids=lambda r: r.name)
def test_second_derivatives_of_rows(row, numbers):
    """Derivatives of derivatives recorded by compiled code, as of those recorded eagerly."""
    f = compiled_rows.rows_of(len(row.operands), "nt", TAPE)
    code, found = compiled_rows.CODES[row.name], numbers[matrix.widest(row).code]
    moving = [j for j, form in enumerate(matrix.widest(row).form) if form == "v"]
    for k in matrix.inside(row)[:3]:
        point = matrix.points(row)[k].tolist()
        for j in moving:
            for i in moving:
                twice = nt.grad(nt.grad(f, 1 + j), 1 + i)(code, *point)
                expected = found.second[k, j, i]
                assert abs(twice - expected) <= 1e-12 * (1 + abs(expected)), (point, j, i)


def aliases(names, module):
    """Other names of unary rows: a compiled function from x to the tuple of them all."""
    text = ", ".join(f"m.{name}(x)" for name in names)
    space = {"m": module}
    exec(f"def f(x):\n    return ({text},)", space)
    return nt.jit(space["f"], cache=False)


@pytest.mark.parametrize("module", [nt, np, math], ids=lambda m: m.__name__)
def test_every_name_of_a_row_records_that_row(module):
    named = {
        name: row
        for row in ROWS_TESTED
        if len(row.operands) == 1 and not row.boolean
        for name in row.ufunc.split()
        if hasattr(module, name) and f"{module.__name__}.{name}" not in compiled_rows.OTHER
        and name not in ("arccosh", "acosh", "arccoth")
    }  # fmt: skip
    f = aliases(named, module)
    x = 0.625
    for found, row in zip(nt.jacobian(f)(x), named.values(), strict=True):
        assert found == nt.grad(compiled_rows.own(row.name))(x), row.name
    for found, row in zip(f(x), named.values(), strict=True):
        assert found == pytest.approx(compiled_rows.own(row.name)(x), rel=1e-14)


# --- what Python does otherwise, or eager recording refuses ---------------------------------------


def test_float_keeps_the_gradient():
    """float(x) in compiled code is x: nothing is lost."""

    @jitted
    def f(x):
        return float(x) * float(2) + np.float64(x * x)

    assert [*gradients(f, (2.0,), 0)] == [(8.0, 6.0)] * 2


def test_math_functions():
    """Eager recording refuses math.sin(x); compiled code records it."""

    @jitted
    def f(x, y):
        return (math.sin(x) + math.exp(y) * math.sqrt(x) + math.log(x) + math.atan2(x, y)
                + math.pow(x, y) + math.tanh(x) + math.fabs(y) + math.erf(x) + math.hypot(x, y)
                + math.log1p(x) + math.copysign(x, y) + math.lgamma(x)
                + math.degrees(x))  # fmt: skip

    def g(x, y):
        return (nt.sin(x) + nt.exp(y) * nt.sqrt(x) + nt.log(x) + nt.arctan2(x, y)
                + nt.power(x, y) + nt.tanh(x) + nt.fabs(y) + nt.erf(x) + nt.hypot(x, y)
                + nt.log1p(x) + nt.copysign(x, y) + nt.gammaln(x) + nt.degrees(x))  # fmt: skip

    expected = nt.value_and_grad(g, (0, 1))(0.7, 0.3)
    for found in gradients(f, (0.7, 0.3), (0, 1)):
        assert bits(found, expected)
    assert f(0.7, 0.3) == pytest.approx(expected[0], rel=1e-14)


def test_whole_numbers_stay_whole():
    """An index computed from whole numbers, and from a value."""

    @jitted
    def f(x, table):
        i = int(x * 2.0)
        return table[i] * x + table[len(table) - 1 - i]

    table = np.array([1.0, 3.0, 5.0])
    assert f(0.7, table) == 5.1
    assert [*gradients(f, (0.7, table), 0)] == [(5.1, 3.0)] * 2


def test_results_that_are_no_scalar_are_refused():
    @jitted
    def pair(x):
        return x, x * x

    @jitted
    def nothing(x):
        x * x

    @jitted
    def vector(x):
        return x * 2.0

    for f, x in ((pair, 2.0), (nothing, 2.0), (vector, LINE)):
        for g in (f, lambda x, f=f: f(x)):
            with pytest.raises((nt.TapeError, TypeError), match=r"scalar|number"):
                nt.grad(g)(x)


def test_exceptions_of_the_function_come_through():
    @jitted
    def f(x, n):
        if x > 1.0:
            raise ValueError("too large")
        values = [x]
        return values[0] * x + 1 // n

    for g in (f, lambda x, n: f(x, n)):
        with pytest.raises(ValueError, match="too large"):
            nt.grad(g)(2.0, 1)
        assert nt.grad(g)(0.5, 1) == 1.0
    with pytest.raises(ValueError, match="too large"):
        f(2.0, 1)


def test_a_failed_run_leaves_the_tape_usable():
    @jitted
    def f(x):
        y = x * x
        if y > 4.0:
            raise ValueError("too large")
        return y

    x = nt.var(3.0)
    y = x * 1.0
    with pytest.raises(ValueError, match="too large"):
        f(y)
    z = nt.sin(y) * f(x * 0.5)
    z.backward()
    nt.verify(z.tape)
    assert x.grad == pytest.approx(math.cos(3.0) * 2.25 + math.sin(3.0) * 1.5)


# --- arguments ------------------------------------------------------------------------------------


def weighted(x, n, w=2.0):
    return x * n * w + x * x


@pytest.mark.parametrize("argnums", [0, -3, (0,), (0, 2), (-1, 0), [2], (0, -1)])
def test_argnums(argnums):
    F = jitted(weighted)
    expected = nt.value_and_grad(weighted, argnums)(0.5, 3.0, 1.5)
    for found in gradients(F, (0.5, 3.0, 1.5), argnums):
        assert bits(found, expected) and type(found[1]) is type(expected[1])


@pytest.mark.parametrize("argnums", [3, -4, (0, 0), "x", 0.5])
def test_bad_argnums(argnums):
    errors = []
    for f in (weighted, jitted(weighted)):
        with pytest.raises(Exception) as caught:
            nt.grad(f, argnums)(0.5, 3.0, 1.5)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


def test_keywords_and_defaults():
    F = jitted(weighted)
    for f in (weighted, F, lambda *a, **k: F(*a, **k)):
        assert nt.grad(f)(0.5, 3.0) == 7.0
        assert nt.grad(f)(0.5, n=3.0) == 7.0
        assert nt.grad(f)(0.5, w=1.0, n=3.0) == 4.0
        assert nt.value_and_grad(f, 1)(0.5, 3.0, w=1.0) == (1.75, 0.5)
    assert F(0.5, w=1.0, n=3.0) == 1.75
    with pytest.raises(TypeError):
        F(0.5)
    with pytest.raises(TypeError):
        nt.grad(F)(0.5)
    with pytest.raises(TypeError):
        nt.grad(F)(0.5, 3.0, v=1.0)


NUMBERS = [2, True, np.float64(2.5), np.float32(2.5), np.int64(3), np.int32(3), 2.5]


@pytest.mark.parametrize("x", NUMBERS, ids=lambda x: type(x).__name__)
def test_kinds_of_numbers(x):
    def f(x, y):
        return x * y + x * x

    F = jitted(f)
    for argnums in (0, 1):
        args = (x, 1.5) if x != 2.5 else (1.5, x)
        expected = nt.value_and_grad(f, argnums)(*args)
        for found in gradients(F, args, argnums):
            assert bits(found, expected)
            assert type(found[1]) is type(expected[1])
    assert F(*args) == f(*args)


ARRAYS = {
    "float64": LINE, "int": np.array([1, 2, 3]), "float32": LINE.astype(np.float32),
    "strided": np.linspace(0.0, 1.0, 9)[::3], "reversed": LINE[::-1],
    "matrix": GRID, "Fortran": np.asfortranarray(GRID), "transposed": GRID.T,
    "column": GRID[:, 1], "empty": np.zeros(0), "empty rows": np.zeros((2, 0)),
    "one": np.array([0.3]), "stack": np.arange(12.0).reshape(2, 3, 2),
    "truth": np.array([True, False]),
    "read-only": np.broadcast_to(LINE, (3,)), "repeated": np.broadcast_to(LINE, (2, 3)),
    "unaligned": np.frombuffer(b"x" + LINE.tobytes(), np.uint8)[1:].view(np.float64),
}  # fmt: skip


def squares(x):
    return (x * x).sum() * 0.5


def first_by_loop(x):
    s = 0.0
    for i in range(x.shape[0]):
        s += x[i] * x[i] * 0.5
    return s


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("f", [squares, first_by_loop], ids=lambda f: f.__name__)
def test_kinds_of_arrays(f, kind):
    x = ARRAYS[kind]
    if f is first_by_loop and x.ndim != 1:
        return
    F, before = jitted(f), x.copy()
    try:
        expected = nt.value_and_grad(f)(x)
    except nt.TapeError as error:
        for g in (F, lambda x: F(x)):
            with pytest.raises(type(error)):
                nt.value_and_grad(g)(x)
        return
    for value, gradient in gradients(F, (x,), 0):
        assert value == pytest.approx(expected[0], rel=1e-6 if kind == "float32" else 1e-14)
        assert gradient.shape == x.shape and gradient.dtype == expected[1].dtype
        assert np.allclose(gradient, expected[1], rtol=1e-14)
    assert np.array_equal(x, before)


def test_gradients_of_several_arguments_of_all_kinds():
    @jitted
    def f(s, x, p, a, n):
        return s * x[0] + p[0] * p[1][1] + a[0, 1] * n + x[1] * a[1, 0]

    args = (0.5, LINE, (0.3, LINE * 2.0), GRID, 3)
    argnums = (3, 0, 2, 1)
    value, found = nt.value_and_grad(f, argnums)(*args)
    assert value == 0.5 * 0.3 + 0.3 * -1.4 + -0.7 * 3 + -0.7 * 0.9
    a, s, p, x = found
    assert s == 0.3 and p[0] == -1.4 and p[1].tolist() == [0.0, 0.3, 0.0]
    assert a.tolist() == [[0.0, 3.0, 0.0], [-0.7, 0.0, 0.0]]
    assert x.tolist() == [0.5, 0.9, 0.0]
    for again in gradients(f, args, argnums):
        assert bits(again, (value, found))


def test_namedtuples_come_back():
    @jitted
    def f(p):
        return Point(p.x * p.y, p.x)

    assert f(Point(2.0, 3.0)) == (6.0, 2.0)
    value, pull = nt.vjp(f, Point(2.0, 3.0))
    assert isinstance(value, Point) and value == Point(6.0, 2.0)
    (g,) = pull(Point(1.0, 10.0))
    assert isinstance(g, Point) and g == Point(13.0, 2.0)
    g = nt.grad(lambda p: f(p).x)(Point(2.0, 3.0))
    assert isinstance(g, Point) and g == Point(3.0, 2.0)


def test_has_aux():
    @jitted
    def f(x, n):
        y = x * x
        return y * n, (y, n)

    for g in (f, lambda x, n: f(x, n)):
        (value, aux), gradient = nt.value_and_grad(g, has_aux=True)(3.0, 2)
        assert (value, gradient) == (18.0, 12.0)
        assert tuple(map(float, aux)) == (9.0, 2.0)
        gradient, aux = nt.grad(g, has_aux=True)(3.0, 2)
        assert gradient == 12.0 and float(aux[0]) == 9.0


def test_structures_that_compiled_code_does_not_take():
    """Lists and dicts of arguments: as recorded eagerly, or an error that says so."""

    @jitted
    def f(p):
        return p[0] * p[1]

    try:
        assert nt.grad(f)([2.0, 3.0]) == [3.0, 2.0]
    except nt.TapeError:
        pass
    with pytest.raises(Exception) as caught:
        nt.grad(f)("text")
    assert "str" in str(caught.value) or "text" in str(caught.value)


# --- mutation -------------------------------------------------------------------------------------


def scaled_in_place(x, s):
    for i in range(len(x)):
        x[i] = x[i] * s
    t = 0.0
    for e in x:
        t += e
    return t


def test_the_arrays_of_the_caller_are_unchanged():
    f = jitted(scaled_in_place)
    for argnums in (0, 1, (0, 1)):
        for g in (f, lambda x, s: f(x, s)):
            x = LINE.copy()
            value, slopes = nt.value_and_grad(g, argnums)(x, 2.0)
            assert value == pytest.approx(2 * LINE.sum()) and np.array_equal(x, LINE)
            by_x, by_s = {0: (slopes, None), 1: (None, slopes)}.get(argnums, slopes)
            assert by_x is None or by_x.tolist() == [2.0] * 3
            assert by_s is None or by_s == pytest.approx(LINE.sum())
    x = LINE.copy()
    assert f(x, 2.0) == pytest.approx(2 * LINE.sum())
    assert np.array_equal(x, 2 * LINE)  # a plain call may write


def test_writing_whole_arrays_that_do_not_move():
    @jitted
    def f(x, count):
        for i in range(len(count)):
            count[i] += 1
        return x * count[0] + count[1]

    count = np.array([1, 2])
    for g in (f, lambda x, c: f(x, c)):
        assert nt.value_and_grad(g)(3.0, count) == (9.0, 2.0)
        assert count.tolist() == [1, 2]
    assert f(3.0, count) == 9.0 and count.tolist() == [2, 3]


def test_an_array_given_twice():
    """Both arguments move, each for itself."""

    @jitted
    def f(x, y):
        x[0] = x[0] * 2.0
        return x[0] * y[0]

    def g(x, y):
        return (x[0] * 2.0) * y[0]

    x = np.array([3.0])
    for h in (f, lambda x, y: f(x, y)):
        value, (a, b) = nt.value_and_grad(h, (0, 1))(x, x)
        assert (value, a[0], b[0]) == (18.0, 6.0, 6.0) and x[0] == 3.0


# --- transforms -----------------------------------------------------------------------------------


def rosenbrock(x, y):
    return (1.0 - x) ** 2 + 100.0 * (y - x * x) ** 2


def polar(r, t):
    return r * nt.cos(t), r * nt.sin(t)


def test_every_transform():
    F, P = jitted(rosenbrock), jitted(polar)
    at, along = (0.5, 0.7), (0.3, -0.2)
    for f, g in ((rosenbrock, F), (rosenbrock, lambda x, y: F(x, y))):
        assert bits(nt.jvp(g, at, along), nt.jvp(f, at, along))
        assert bits(nt.hvp(g, at, along), nt.hvp(f, at, along))
        assert bits(nt.hessian(g, (0, 1))(*at), nt.hessian(f, (0, 1))(*at))
        assert bits(nt.grad(nt.grad(g, 1), 0)(*at), nt.grad(nt.grad(f, 1), 0)(*at))
        third = nt.grad(nt.grad(nt.grad(f)))(*at)
        assert bits(nt.grad(nt.grad(nt.grad(g)))(*at), third)
        value, pull = nt.vjp(g, *at)
        expected, right = nt.vjp(f, *at)
        assert (
            bits(value, expected) and bits(pull(2.0), right(2.0)) and bits(pull(-1.0), right(-1.0))
        )
        value, push = nt.linearize(g, *at)
        expected, right = nt.linearize(f, *at)
        assert bits(value, expected) and bits(push(*along), right(*along))
    for f, g in ((polar, P), (polar, lambda r, t: P(r, t))):
        for jacobian in (nt.jacobian, nt.jacfwd, nt.jacrev):
            assert bits(jacobian(g, (0, 1))(*at), jacobian(f, (0, 1))(*at))
        assert bits(nt.jvp(g, at, along), nt.jvp(f, at, along))
        value, pull = nt.vjp(g, *at)
        assert bits(value, polar(*at)) and bits(pull((1.0, 2.0)), nt.vjp(f, *at)[1]((1.0, 2.0)))


def norms(x, a):
    y = nt.zeros(2)
    for i in range(2):
        s = 0.0
        for j in range(3):
            s += a[i, j] * x[j]
        y[i] = s * s
    return y


def test_jacobians_of_arrays():
    F = jitted(norms)
    for jacobian in (nt.jacobian, nt.jacfwd, nt.jacrev):
        for argnums in (0, 1, (0, 1)):
            expected = jacobian(norms, argnums)(LINE, GRID)
            for g in (F, lambda x, a: F(x, a)):
                assert close(jacobian(g, argnums)(LINE, GRID), expected, 1e-14)
    value, pull = nt.vjp(F, LINE, GRID)
    expected, right = nt.vjp(norms, LINE, GRID)
    assert close(value, expected, 1e-15)
    assert close(pull(np.array([1.0, -2.0])), right(np.array([1.0, -2.0])), 1e-14)
    assert close(
        nt.jvp(F, (LINE, GRID), (LINE * 2, GRID)),
        nt.jvp(norms, (LINE, GRID), (LINE * 2, GRID)),
        1e-14,
    )

    def energy(g):
        return lambda x, a: g(x, a)[0] * g(x, a)[1]

    expected = nt.hessian(energy(norms))(LINE, GRID)
    assert close(nt.hessian(energy(F))(LINE, GRID), expected, 1e-13)
    expected = nt.hvp(energy(norms), (LINE, GRID), (LINE * 2, GRID))
    assert close(nt.hvp(energy(F), (LINE, GRID), (LINE * 2, GRID)), expected, 1e-13)


def test_gradients_inside_gradients():
    """Of different variables, captured ones among them."""
    F = jitted(rosenbrock)

    def outer(f):
        def g(x):
            inner = nt.grad(lambda y: f(x * y, y) * x)(0.7)
            return inner * f(x, 2.0) + nt.value_and_grad(f, 1)(x, x)[1]

        return g

    for g in (nt.grad, nt.value_and_grad, lambda f: nt.grad(nt.grad(f))):
        assert bits(g(outer(F))(0.4), g(outer(rosenbrock))(0.4))


def test_vmap():
    F = jitted(rosenbrock)
    x = np.linspace(-1.0, 1.0, 5)
    for axes in ((0, None), (0, 0)):
        args = (x, 0.5) if axes[1] is None else (x, x * 2)
        assert close(
            nt.vmap(F, in_axes=axes)(*args), nt.vmap(rosenbrock, in_axes=axes)(*args), 1e-14
        )
        expected = nt.vmap(nt.grad(rosenbrock), in_axes=axes)(*args)
        assert close(nt.vmap(nt.grad(F), in_axes=axes)(*args), expected, 1e-14)
    got = nt.grad(lambda y: nt.vmap(F, in_axes=(0, None))(x, y).sum())(0.5)
    assert got == pytest.approx(nt.grad(lambda y: sum(rosenbrock(e, y) for e in x))(0.5))


def test_vmap_whose_lanes_go_different_ways():
    f = jitted(branching)
    x = np.array([-1.0, 0.2, 0.9, 3.0, -0.2])
    values = np.array([branching(e, 2.0) for e in x])
    assert close(nt.vmap(f, in_axes=(0, None))(x, 2.0), values, 1e-14)
    expected = [nt.grad(branching)(e, 2.0) for e in x.tolist()]
    assert close(nt.vmap(nt.grad(f), in_axes=(0, None))(x, 2.0), np.array(expected), 1e-14)


def test_no_grad_and_stop_gradient():
    F = jitted(rosenbrock)

    def f(x, g):
        with nt.no_grad():
            c = g(x, 0.5)
        return nt.stop_gradient(g(x, 2.0)) * x + c * x

    found, expected = (nt.value_and_grad(lambda x, g=g: f(x, g))(0.3) for g in (F, rosenbrock))
    assert bits(found, expected)
    x = nt.var(0.3)
    with nt.no_grad():
        y = F(x, 0.5)
    assert not getattr(y, "needs_grad", False)
    assert float(y) == rosenbrock(0.3, 0.5)


def test_checkpoint():
    F = jitted(rosenbrock)

    def f(g):
        return lambda x: nt.checkpoint(g)(x, x * 0.5) * x

    assert bits(nt.value_and_grad(f(F))(0.3), nt.value_and_grad(f(rosenbrock))(0.3))


def test_custom_rules_beside_it():
    F = jitted(rosenbrock)
    custom = nt.define(lambda x: x * x, lambda x, z: 3.0 * x)
    for f in (
        lambda g: lambda x: custom(g(x, 0.5)),
        lambda g: lambda x: g(custom(x), 0.5),
        lambda g: lambda x: g(x, custom(x)),
    ):
        assert nt.grad(f(F))(0.3) == nt.grad(f(rosenbrock))(0.3)


def test_minimize():
    @jitted
    def f(x):
        s = 0.0
        for i in range(len(x) - 1):
            s += 100.0 * (x[i + 1] - x[i] * x[i]) ** 2 + (1.0 - x[i]) ** 2
        return s

    found = nt.minimize(f, np.array([-1.2, 1.0, 0.5]))
    assert np.allclose(found.x, 1.0, atol=1e-4)


def test_check_grads_accepts():
    nt.check_grads(jitted(rosenbrock), (0.3, 0.4), order=2)


# --- eager values ---------------------------------------------------------------------------------


OPERANDS = {
    "leaves": lambda x, y: (x, y), "result and leaf": lambda x, y: (x * 1.0, y),
    "leaf and number": lambda x, y: (x, 0.7), "number and result": lambda x, y: (0.5, y * 1.0),
    "one leaf twice": lambda x, y: (x, x), "results": lambda x, y: (x * y, x + y),
}  # fmt: skip


@pytest.mark.parametrize("kind", OPERANDS)
def test_leaves_results_and_numbers(kind):
    found = []
    for f in (rosenbrock, jitted(rosenbrock)):
        x, y = nt.var(0.5), nt.var(0.7)
        x.grad = y.grad = 0.0
        older = x * y  # of a tape that backward has ended
        f(x, y).backward()
        z = f(*OPERANDS[kind](x, y)) + f(older, y)
        z.backward()
        nt.verify(z.tape)
        found.append((z.value, x.grad, y.grad))
    assert found[0] == found[1]


def test_beside_eager_operations():
    F = jitted(rosenbrock)
    x, y = nt.var(0.5), nt.var(0.7)
    with nt.Tape() as tape:
        z = F(x, y) * nt.sin(x)
    nt.verify(tape)
    expected = nt.grad(lambda x, y: rosenbrock(x, y) * nt.sin(x), (0, 1))(0.5, 0.7)
    assert tape.gradient(z, [x, y]) == list(expected)


def test_values_of_different_tapes_meet():
    F = jitted(rosenbrock)
    x, y = nt.var(0.5), nt.var(0.7)
    with nt.Tape():
        a = x * 2.0
    with nt.Tape():
        b = y * 3.0
    z = F(a, b)
    z.backward()
    nt.verify(z.tape)
    expected = nt.grad(lambda x, y: rosenbrock(x * 2.0, y * 3.0), (0, 1))(0.5, 0.7)
    assert (x.grad, y.grad) == expected


def test_eager_arrays():
    F = jitted(norms)
    x, a = nt.var(LINE), nt.var(GRID)
    y = F(x, a)
    assert np.allclose(y.value, (GRID @ LINE) ** 2, rtol=1e-15)
    z = y.sum() * y[0]
    z.backward()
    nt.verify(z.tape)
    expected = nt.grad(lambda x, a: norms(x, a).sum() * norms(x, a)[0], (0, 1))(LINE, GRID)
    assert close((x.grad, a.grad), expected, 1e-14)


VIEWS = [
    lambda x: x[::2], lambda x: x[::-1], lambda x: x[1:3], lambda x: x.reshape(2, 3)[:, 1],
    lambda x: x.reshape(2, 3).T[0], lambda x: x[np.array([3, 0])],
]  # fmt: skip


def test_views_and_slices_of_eager_arrays():
    f = jitted(first_by_loop)
    x = nt.var(np.arange(1.0, 7.0))
    for view in VIEWS:
        x.grad = None
        f(view(x)).backward()
        indices = view(np.arange(6))
        expected = np.zeros(6)
        expected[indices] = indices + 1.0
        assert np.array_equal(x.grad, expected)


def test_a_value_that_a_view_was_written_into():
    def g(f):
        def h(x):
            y = x * 1.0
            y[1] = x[0] * 2.0
            return f(y) + f(y[1:])

        return h

    assert close(nt.grad(g(jitted(first_by_loop)))(LINE), nt.grad(g(first_by_loop))(LINE), 1e-15)


# --- traced functions -----------------------------------------------------------------------------


def branching(x, y):
    s = x
    if x < 0.0:
        s = x * x
    elif x < y * 0.4:
        s = nt.sin(x)
    n = 0
    while s < 3.0 and n < 20:
        s = s * 1.3 + 0.1
        n += 1
    return s * y + int(x) * x


def test_replays_follow_the_branches():
    """A guard that flips records the other branch; what comes back is replayed."""
    F = jitted(branching)
    T = nt.function(lambda x, y: F(x, y))
    rng = np.random.default_rng(1)
    for x, y in zip(rng.uniform(-3, 3, 60).tolist(), rng.uniform(0.5, 3, 60).tolist(), strict=True):
        for _ in range(2):
            assert close(T(x, y), branching(x, y), 1e-12)
            expected = nt.value_and_grad(branching, (0, 1))(x, y)
            assert close(nt.value_and_grad(T, (0, 1))(x, y), expected, 1e-12)
    assert 1 < len(T.tapes)


def test_a_traced_compiled_function():
    T = nt.function(jitted(branching))
    for x in (-1.0, 0.2, 2.5, -1.0, 0.2, 2.5, 0.3):
        assert bits(
            nt.value_and_grad(T, (0, 1))(x, 1.5), nt.value_and_grad(branching, (0, 1))(x, 1.5)
        )
    assert bits(nt.grad(nt.grad(T))(0.2, 1.5), nt.grad(nt.grad(branching))(0.2, 1.5))
    assert bits(nt.hvp(T, (0.2, 1.5), (1.0, 0.5)), nt.hvp(branching, (0.2, 1.5), (1.0, 0.5)))


def test_branches_of_the_caller_and_of_the_function():
    F = jitted(branching)

    def f(g):
        def h(x):
            y = g(x, 2.0)
            if y > 4.0:
                y = y * g(x * 0.5, 1.0)
            return y * x if x > 0 else y

        return h

    T = nt.function(f(F))
    for x in (-2.0, 0.1, 0.7, 1.9, -0.4, 0.1, 3.0, -2.0):
        assert bits(nt.value_and_grad(T)(x), nt.value_and_grad(f(branching))(x))


def test_guards_are_explained():
    T = nt.function(jitted(branching))
    T(0.2, 1.5)
    assert "test_compiled" in str(T.explain())


def test_arrays_in_traced_functions():
    F = jitted(norms)
    T = nt.function(lambda x, a: F(x, a).sum())
    for k in (1.0, 2.0, -3.0):
        expected = nt.value_and_grad(lambda x, a: norms(x, a).sum(), (0, 1))(LINE * k, GRID)
        assert close(nt.value_and_grad(T, (0, 1))(LINE * k, GRID), expected, 1e-14)
    assert len(T.tapes) == 1


def test_elements_chosen_by_value_in_traced_functions():
    @jitted
    def f(x, i):
        return x[int(i)] * x[0] + max(x[1], x[2])

    def g(x, i):
        return x[int(i)] * x[0] + max(x[1], x[2])

    T = nt.function(lambda x, i: f(x, i))
    for i in (0.5, 1.5, 2.5, 1.2):
        for k in (1.0, -1.0):
            expected = nt.value_and_grad(g)(LINE * k, i)
            assert close(nt.value_and_grad(T)(LINE * k, i), expected, 1e-14)


# --- other compiled code --------------------------------------------------------------------------


def test_called_from_numba():
    F = jitted(rosenbrock)

    @numba.njit
    def many(x):
        s = 0.0
        for e in x:
            s += F(e, 2.0)
        return s

    assert many(LINE) == pytest.approx(sum(rosenbrock(e, 2.0) for e in LINE))


def test_calls_numba_functions():
    @numba.njit
    def helper(x, n):
        return x * n if n > 1 else x

    @jitted
    def f(x, n):
        return helper(x, n) * helper(x, 1)

    for found in gradients(f, (3.0, 2), 0):
        assert found == (18.0, 12.0)
    assert f(3.0, 2) == 18.0


def test_closures():
    def scaled(k):
        @nt.jit
        def f(x):
            return x * k + inner(x)

        def inner(x):
            return x * k * k

        return f

    for k in (2.0, 3.0):
        for found in gradients(scaled(k), (1.5,), 0):
            assert found == (1.5 * (k + k * k), k + k * k)


@nt.jit
def f_again(x, n):
    if n <= 0:
        return x
    return f_again(x, n - 1) * x


def test_recursion():
    assert f_again(1.5, 3) == 1.5**4
    for found in gradients(f_again, (1.5, 3), 0):
        assert found == pytest.approx((1.5**4, 4 * 1.5**3))
    assert nt.grad(nt.grad(f_again))(1.5, 3) == pytest.approx(12 * 1.5**2)


def test_methods_of_the_decorator():
    F = jitted(rosenbrock)
    assert F.py_func is rosenbrock
    assert F.__name__ == "rosenbrock" and "rosenbrock" in repr(F)
    with pytest.raises(nt.ArgumentError):
        nt.jit(3)

    class Model:
        def __init__(self):
            self.k = 2.0

        @nt.jit
        def f(x):
            return x * x

    assert Model.f(3.0) == 9.0


def test_a_number_in_an_array_does_not_open_the_next_array_to_writes():
    """Types of arguments alone do not say whether an array is a number (of no dimension)."""

    def bumped(x, p):
        p += 1.0  # another number, or a write into the array
        return x * x

    gradient, data = nt.grad(nt.jit(bumped)), np.array([2.0, 3.0])
    assert gradient(3.0, np.array(2.0)) == 6.0
    assert gradient(3.0, data) == 6.0
    assert data.tolist() == [2.0, 3.0]
