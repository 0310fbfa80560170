"""Every row of the op table in every form, on every path, at every kind of number (matrix.py)."""

import itertools
import math
import operator
import zlib

import compiled_rows
import matrix
import numpy as np
import pytest
import scipy.special
from conftest import ADJOINT, TANGENT
from matrix import OPCODES_TESTED, ROWS_TESTED, same

import ndtape as nt
from ndtape.ops import FLAT, INTERNAL, ROWS, TIE, UNARY
from ndtape.record.values import FUNCTIONS

rows = pytest.mark.parametrize("row", ROWS_TESTED, ids=lambda row: row.name)
opcodes = pytest.mark.parametrize("opcode", OPCODES_TESTED, ids=lambda opcode: opcode.name)


def variables(row):
    return [j for j, f in enumerate(matrix.widest(row).form) if f == "v"]


# --- against mathematics -------------------------------------------------------------------------


@rows
def test_value(row, numbers):
    assert not matrix.wrong_values(row, numbers[matrix.widest(row).code].value)


@rows
def test_first_derivatives(row, numbers):
    found = numbers[matrix.widest(row).code]
    assert not matrix.wrong_partials(row, found, matrix.regular(row), variables(row))


@rows
def test_second_derivatives(row, numbers):
    found = numbers[matrix.widest(row).code]
    assert not matrix.wrong_second(row, found, matrix.inside(row)[:12], variables(row))


@rows
def test_complex_step_and_differences_agree(row):
    """The two sources of true derivatives, so that neither is believed alone."""
    for i in matrix.inside(row)[:3]:
        point = tuple(matrix.points(row)[i].tolist())
        for j in variables(row) if row.name not in matrix.CLAIMED else ():
            stepped = matrix.complex_step(row, point, j)
            expected = matrix.differences(row, point, matrix._unit(row, j))
            assert expected is not None
            assert stepped is None or matrix.close(float(stepped), expected, 1e-14, 1e-15)


ANALYTIC = ["sin", "exp", "tanh", "power", "divide", "logit", "gelu", "silu", "arccoth", "erf"]


@pytest.mark.parametrize("name", ANALYTIC)
def test_complex_step_exists(name):
    row = ROWS[name]
    point = tuple(matrix.points(row)[matrix.inside(row)[0]].tolist())
    assert matrix.complex_step(row, point, 0) is not None


@rows
def test_sweeps_compute_what_the_row_says(row, numbers):
    """First derivatives at all points, zeros, infinities and nan included, against the text."""
    found = numbers[matrix.widest(row).code]
    said = matrix.interpreted(row, np.arange(len(matrix.points(row))))
    for j in variables(row):
        got, expected = found.partials[:, j], said.partials[:, j]
        with np.errstate(all="ignore"):
            near = np.abs(got - expected) <= 1e-9 * np.abs(expected) + 1e-12 + 1e-300
        wrong = ~(near | same(got, expected))
        points = matrix.points(row)[wrong]
        assert not wrong.any(), list(zip(points, got[wrong], expected[wrong], strict=True))[:9]


# --- against each other --------------------------------------------------------------------------


@opcodes
def test_forms_agree(opcode, numbers):
    """An operand that is a constant changes no bit of what remains."""
    narrow, wide = numbers[opcode.code], numbers[matrix.widest(opcode.row).code]
    slots = [j for j, f in enumerate(opcode.form) if f == "v"]
    assert same(narrow.value, wide.value).all()
    for j in slots:
        assert same(narrow.partials[:, j], wide.partials[:, j]).all()
        assert same(narrow.tangents[:, j] + 0.0, wide.tangents[:, j] + 0.0).all()  # -0.0 or 0.0
        for i in slots:
            assert same(narrow.second[:, j, i], wide.second[:, j, i]).all()


@pytest.mark.parametrize("row", [r for r in ROWS_TESTED if r.commutes], ids=lambda row: row.name)
def test_commutes(row, numbers):
    """Rows without a form "kv" rely on it."""
    found, index = numbers[matrix.widest(row).code], {}
    for i, point in enumerate(matrix.points(row).tolist()):
        index[tuple(map(matrix.bits, point))] = i
    for (x, y), i in index.items():
        j = index.get((y, x))
        if j is not None:
            tied = row.name in matrix.TIED_ZEROS and found.value[i] == found.value[j] == 0
            assert tied or same(found.value[i], found.value[j])
            assert same(found.partials[i], found.partials[j][::-1]).all()


@opcodes
def test_tangent_is_transpose_of_reverse(opcode, numbers):
    """With unit seeds <w, Jv> and <J'w, v> are one number, and rounded once."""
    found = numbers[opcode.code]
    assert same(found.partials + 0.0, found.tangents + 0.0).all()


@opcodes
def test_adjoint_identity(opcode, bench, mixed):
    """<w, Jv> = <J'w, v> for other seeds, to the rounding of three terms."""
    columns = mixed[1]
    with np.errstate(all="ignore"):
        for case in (c for c in bench.cases if c.opcode is opcode):
            terms = [columns["g"][s] * TANGENT[j] for j, s in enumerate(case.operands) if s >= 0]
            left, right = ADJOINT * columns["t"][case.root], np.sum(terms, axis=0)
            scale = np.sum(np.abs(terms), axis=0)
            fine = ~np.isfinite(scale) | ~np.isfinite(left)
            assert (fine | (np.abs(left - right) <= 8e-16 * scale + 1e-305)).all()


@opcodes
def test_hessian_is_symmetric(opcode, numbers):
    found, row = numbers[opcode.code], opcode.row
    for k in matrix.inside(row):
        for i, j in itertools.combinations([j for j, f in enumerate(opcode.form) if f == "v"], 2):
            if row.name == "attach":  # its partial derivatives are no derivatives of its value
                continue
            one, other = found.second[k, i, j], found.second[k, j, i]
            assert abs(one - other) <= 1e-12 * (1 + abs(one))


@opcodes
def test_zero_contributes_zero(opcode, bench, mixed):
    """Whatever the partial derivative, infinite or nan: no adjoint, no tangent, no contribution."""
    for columns in mixed.values():
        for case in (c for c in bench.cases if c.opcode is opcode):
            slots = [s for s in case.operands if s >= 0]
            moving = [j for j, s in enumerate(case.operands) if s >= 0]
            resting = ~TANGENT[moving].any(axis=0)
            assert (columns["t"][case.root][resting] == 0).all()
            for slot in slots:
                assert (columns["g"][slot][ADJOINT == 0] == 0).all()
                assert (columns["h"][slot][(ADJOINT == 0) | resting] == 0).all()


@opcodes
def test_packs_have_the_bits_of_scalars(opcode, bench, mixed):
    """16 lanes with different numbers and seeds, lane by lane."""
    chosen = [c for c in bench.cases if c.opcode is opcode]
    roots = np.array([c.root for c in chosen])
    operands = np.array([s for c in chosen for s in c.operands if s >= 0])
    for name, slots in (("v", roots), ("t", roots), ("g", operands), ("h", operands)):
        one, many = mixed[1][name][slots], mixed[matrix.LANES][name][slots]
        assert same(one, many).all(), name


@pytest.mark.parametrize("lanes", [1, matrix.LANES])
def test_forward_over_reverse_has_the_gradient_of_reverse(lanes, bench, mixed):
    inputs = len(bench.inputs)
    assert same(mixed[lanes]["g"][:inputs], mixed[lanes]["g2"][:inputs]).all()


def test_every_opcode_is_in_the_bench(bench):
    assert {c.opcode.code for c in bench.cases} == {o.code for o in OPCODES_TESTED}


# --- kinks ---------------------------------------------------------------------------------------

inf, nan = math.inf, math.nan

# Where a derivative does not exist: what the docs promise.
CONVENTIONS = [
    ("relu", (0.0,), [0.0]), ("relu", (-0.0,), [0.0]), ("abs", (0.0,), [0.0]),
    ("abs", (-0.0,), [0.0]), ("sign", (0.0,), [0.0]), ("floor", (1.0,), [0.0]),
    ("ceil", (1.0,), [0.0]), ("trunc", (1.0,), [0.0]), ("rint", (0.5,), [0.0]),
    ("clip", (1.0, 1.0, 2.0), [1.0, 0.0, 0.0]), ("clip", (2.0, 1.0, 2.0), [1.0, 0.0, 0.0]),
    ("clip", (0.0, 1.0, 2.0), [0.0, 1.0, 0.0]), ("clip", (3.0, 1.0, 2.0), [0.0, 0.0, 1.0]),
    ("clip", (1.5, 1.0, 2.0), [1.0, 0.0, 0.0]), ("clip", (1.0, 1.0, 1.0), [1.0, 0.0, 0.0]),
    ("clip", (0.0, 1.0, 1.0), [0.0, 0.0, 1.0]), ("clip", (2.0, 1.0, 1.0), [0.0, 0.0, 1.0]),
    ("where", (1.0, 2.0, nan), [0.0, 1.0, 0.0]), ("where", (0.0, nan, 3.0), [0.0, 0.0, 1.0]),
    ("hypot", (0.0, 0.0), [0.0, 0.0]), ("hypot", (0.0, -3.0), [0.0, -1.0]),
    ("power", (0.0, 0.0), [0.0, 0.0]), ("power", (0.0, 1.0), [1.0, 0.0]),
    ("power", (0.0, 2.0), [0.0, 0.0]), ("power", (0.0, 0.5), [inf, 0.0]),
    ("power", (-2.0, 3.0), [12.0, nan]), ("power", (-2.0, 0.0), [0.0, nan]),
    ("power", (-2.0, -1.0), [-0.25, nan]), ("power", (0.0, 3.0), [0.0, 0.0]),
    ("heaviside", (0.0, 0.5), [0.0, 1.0]), ("heaviside", (1.0, 0.5), [0.0, 0.0]),
    ("copysign", (0.0, -1.0), [-0.0, 0.0]), ("copysign", (2.0, -0.0), [-1.0, 0.0]),
    ("nan_to_num", (nan,), [0.0]), ("nan_to_num", (inf,), [0.0]), ("nan_to_num", (2.0,), [1.0]),
    ("sqrt", (0.0,), [inf]), ("cbrt", (0.0,), [inf]), ("arcsin", (1.0,), [inf]),
    ("arcsin", (-1.0,), [inf]), ("arccos", (1.0,), [-inf]), ("arccosh", (1.0,), [inf]),
    ("arctanh", (1.0,), [inf]), ("arctan2", (0.0, 0.0), [nan, nan]),
    ("leaky_relu", (0.0, 0.1), [0.1, 0.0]), ("elu", (0.0, 2.0), [2.0, 0.0]),
    ("xlogy", (0.0, 2.0), [math.log(2.0), 0.0]), ("xlogy", (0.0, 0.0), [-inf, 0.0]),
    ("logaddexp", (1.0, 1.0), [0.5, 0.5]), ("logaddexp", (-inf, -inf), [0.5, 0.5]),
    ("mod", (-0.5, 2.0), [1.0, 1.0]), ("maximum", (1.0, 1.0), [0.5, 0.5]),
    ("fmax", (1.0, nan), [1.0, 0.0]), ("fmin", (nan, 1.0), [0.0, 1.0]),
    ("gelu", (0.0,), [0.5]), ("silu", (0.0,), [0.5]), ("softplus", (0.0,), [0.5]),
    ("stop", (3.0,), [0.0]), ("attach", (1.0, 2.0, 7.0), [7.0, 1.0, 0.0]),
    ("gelu", (-inf,), [0.0]), ("gelu", (inf,), [1.0]), ("silu", (-inf,), [0.0]),
    ("silu", (inf,), [1.0]), ("tanh", (inf,), [0.0]), ("sigmoid", (-inf,), [0.0]),
    ("softplus", (inf,), [1.0]), ("exp", (-inf,), [0.0]),
]  # fmt: skip


@pytest.mark.parametrize("lanes", [1, matrix.LANES])
@pytest.mark.parametrize("name, point, expected", CONVENTIONS)
def test_convention(name, point, expected, lanes):
    _, got = matrix.at_point(matrix.widest(ROWS[name]), point, lanes)
    assert got == pytest.approx(expected, rel=1e-15, abs=0, nan_ok=True)


@pytest.mark.parametrize("row", [r for r in ROWS_TESTED if r.kink == TIE], ids=lambda r: r.name)
@pytest.mark.parametrize("x", [-2.0, 0.0, 3.5, math.inf])
def test_ties_are_shared(row, x):
    assert matrix.at_point(matrix.widest(row), (x, x))[1] == [0.5, 0.5]


@pytest.mark.parametrize("row", [r for r in ROWS_TESTED if r.kink == FLAT], ids=lambda r: r.name)
def test_flat_rows_have_no_slope(row, numbers):
    for j, text in enumerate(row.partials):
        if row.name == "heaviside" and text != "0":
            continue  # its value at the step is an operand
        assert (numbers[matrix.widest(row).code].partials[:, j] == 0.0).all()


@pytest.mark.parametrize("x", [0.0, -1.0])
def test_untaken_branch_contributes_nothing(x):
    def f(x):
        return nt.where(x > 0, nt.sqrt(x), 0.0)

    assert nt.grad(f)(x) == 0.0
    assert nt.grad(nt.grad(f))(x) == 0.0
    assert nt.hvp(f, (x,), (1.0,)) == (0.0, (0.0,), (0.0,))
    leaf = nt.var(x)
    f(leaf).backward()
    assert leaf.grad == 0.0


# --- recorders -----------------------------------------------------------------------------------


def by_functions(name, point, moving):
    """nt.<name> of leaves, and backward()."""
    operands = [nt.var(x) if m else x for x, m in zip(point, moving, strict=True)]
    z = _function(name)(*operands)
    z.backward()
    return z.value, [x.grad for x, m in zip(operands, moving, strict=True) if m]


def by_tape(name, point, moving):
    """nt.<name> of results, which are recorded faster than leaves, and tape.gradient."""
    with nt.Tape() as tape:
        copied = _function("copy")
        operands = [copied(nt.var(x)) if m else x for x, m in zip(point, moving, strict=True)]
        z = _function(name)(*operands)
    nt.verify(tape)
    return z.value, tape.gradient(z, [x for x, m in zip(operands, moving, strict=True) if m])


def by_ufunc(name, point, moving):
    """NumPy's or SciPy's function of the row, through NumPy's protocols."""
    found = [
        getattr(module, other)
        for other in [*ROWS[name].ufunc.split(), name]
        for module in (np, scipy.special)
        if hasattr(module, other) and (ROWS[name].ufunc or module is np)
    ]
    function = found[0] if found else _function(name)
    operands = [nt.var(x) if m else x for x, m in zip(point, moving, strict=True)]
    z = function(*operands)
    z.backward()
    return z.value, [x.grad for x, m in zip(operands, moving, strict=True) if m]


def by_operator(name, point, moving):
    """Python's operator for the row."""
    operands = [nt.var(x) if m else x for x, m in zip(point, moving, strict=True)]
    z = OPERATORS.get(name, _function(name))(*operands)
    z.backward()
    return z.value, [x.grad for x, m in zip(operands, moving, strict=True) if m]


def by_transform(name, point, moving):
    """nt.value_and_grad."""
    argnums = [j for j, m in enumerate(moving) if m]
    value, gradient = nt.value_and_grad(_function(name), argnums)(*point)
    return value, list(gradient)


def _function(name):
    return FUNCTIONS[name] if name in INTERNAL else getattr(nt, name)


OPERATORS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "negative": operator.neg, "mod": operator.mod,
    "floor_divide": operator.floordiv, "power": operator.pow, "abs": abs, "less": operator.lt,
    "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge,
    "equal": operator.eq, "not_equal": operator.ne,
}  # fmt: skip

# Each is (row name, point, which operands move) -> (value, gradient).  New recorders join here;
# one that has names for some rows only says which in `rows`.
RECORDERS = [
    by_functions, by_tape, by_ufunc, by_operator, by_transform, *compiled_rows.RECORDERS
]  # fmt: skip
RECORDED = [
    pytest.param(recorder, row, id=f"{recorder.__name__}-{row.name}")
    for recorder in RECORDERS
    for row in getattr(recorder, "rows", ROWS_TESTED)
]


def recorded_points(row):
    rng = np.random.default_rng(zlib.crc32(row.name.encode()))
    some = rng.integers(len(matrix.points(row)), size=8)
    return [*matrix.inside(row)[:4], *some]


@pytest.mark.parametrize(("recorder", "row"), RECORDED)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_recorder(recorder, row, numbers):
    """Same bits of values and gradients as the bare sweeps, whichever operands are constants."""
    found = numbers[matrix.widest(row).code]
    mixes = [m for m in itertools.product([True, False], repeat=len(row.operands)) if any(m)]
    if row.forms == "kv":
        mixes = [(False, True)]
    for i in recorded_points(row):
        point = matrix.points(row)[i].tolist()
        for moving in mixes:
            if row.name == "power" and not moving[1] and point[1] in (2.0, 3.0, -1.0):
                continue  # recorded as square, cube, reciprocal: rows of their own
            value, gradient = recorder(row.name, point, moving)
            tied = value == found.value[i] == 0.0 and row.name in matrix.TIED_ZEROS
            assert tied or same(value, found.value[i]), (point, moving)
            assert same(gradient, found.partials[i][list(moving)]).all(), (point, moving)


@pytest.mark.parametrize("row", [r for r in ROWS_TESTED if r.ufunc], ids=lambda row: row.name)
def test_ufunc_names(row):
    """Each other name of a row records that row, in `nt` and under NumPy's dispatch."""
    for name in row.ufunc.split():
        x = [nt.var(a) for a in matrix.points(row)[matrix.inside(row)[0]].tolist()]
        found = getattr(np, name, None) or getattr(scipy.special, name, None)
        assert found is not None or hasattr(math, name)
        for function in [f for f in (found, getattr(nt, name, None)) if f]:
            assert function(*x).op == row.name
        assert hasattr(nt, name) or row.name in INTERNAL


def test_special_powers():
    for exponent, op in ((2, "square"), (3.0, "cube"), (-1, "reciprocal"), (2.5, "power")):
        x = nt.var(1.7)
        y = x**exponent
        y.backward()
        assert y.op == op
        assert y.value == pytest.approx(1.7**exponent, rel=1e-15)
        assert x.grad == pytest.approx(exponent * 1.7 ** (exponent - 1), rel=1e-15)


@rows
def test_numbers_give_numbers(row, numbers):
    """Without a recording operand the answer is a plain number, with the same bits."""
    found = numbers[matrix.widest(row).code]
    for i in recorded_points(row):
        value = _function(row.name)(*matrix.points(row)[i].tolist())
        assert type(value) is (bool if row.boolean else float)
        assert same(float(value), found.value[i]) or value == 0.0 == found.value[i]


# --- higher orders -------------------------------------------------------------------------------


@rows
def test_nested_gradient_is_forward_over_reverse(row, numbers):
    """Derivatives of recorded derivatives, against the sweep that needs no recording."""
    found = numbers[matrix.widest(row).code]
    for k in matrix.inside(row)[:3]:
        point = matrix.points(row)[k].tolist()
        for j, i in itertools.product(variables(row), repeat=2):
            twice = nt.grad(nt.grad(_function(row.name), j), i)(*point)
            expected = found.second[k, j, i]
            assert abs(twice - expected) <= 1e-12 * (1 + abs(expected)), (point, j, i)


THIRD = {
    "exp": (nt.exp, math.exp),
    "sin": (nt.sin, lambda x: -math.cos(x)),
    "x**5": (lambda x: x**5, lambda x: 60 * x * x),
    "x*x*x": (lambda x: x * x * x, lambda x: 6.0),
    "tanh": (nt.tanh, lambda x: (6 * math.tanh(x) ** 2 - 2) * (1 - math.tanh(x) ** 2)),
    "log": (nt.log, lambda x: 2 / x**3),
    "1/x": (lambda x: 1 / x, lambda x: -6 / x**4),
    "sqrt": (nt.sqrt, lambda x: 0.375 * x**-2.5),
}


@pytest.mark.parametrize("name", THIRD)
def test_third_order(name):
    f, expected = THIRD[name]
    for x in (0.3, 1.7):
        third = nt.grad(nt.grad(nt.grad(f)))(x)
        assert third == pytest.approx(expected(x), rel=1e-12)


@pytest.mark.parametrize("row", [r for r in ROWS_TESTED if r.kind == UNARY], ids=lambda r: r.name)
def test_check_grads_accepts(row):
    """The users' own checker agrees, on a function around the row."""
    x = float(matrix.points(row)[matrix.inside(row)[0]][0])
    if row.name not in matrix.CLAIMED:
        nt.check_grads(lambda x: _function(row.name)(x) * x, (x,), order=2)
