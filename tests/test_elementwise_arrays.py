"""Every row of the op table on arrays: shapes, layouts, dtypes, routes, first and second order."""

import itertools
import operator
import zlib

import matrix
import numpy as np
import pytest
import scipy.special
from matrix import ROWS_TESTED, same

import ndtape as nt
from ndtape.ops import INTERNAL, ORDER
from ndtape.record.arrays import moves
from ndtape.record.values import FUNCTIONS

ROWS_OF_USERS = [r for r in ROWS_TESTED if r.name not in INTERNAL and hasattr(nt, r.name)]
rows = pytest.mark.parametrize("row", ROWS_OF_USERS, ids=lambda row: row.name)
NO_PARTIALS = {"attach", "stop"}

# --- operands ------------------------------------------------------------------------------------

# A layout says, for each operand, the shape of a leaf and the view of it that is the operand.
WHOLE = [lambda x: x] * 3
LAYOUTS = {
    "contiguous": ([(2, 3)] * 3, WHOLE),
    "vector": ([(21,)] * 3, WHOLE),
    "three axes": ([(2, 3, 5)] * 3, WHOLE),
    "no axes": ([()] * 3, WHOLE),
    "one element": ([(1,)] * 3, WHOLE),
    "empty": ([(0, 3)] * 3, WHOLE),
    "axes of 1": ([(2, 1), (1, 3), (1, 1)], WHOLE),
    "left is broadcast": ([(3,), (2, 3), (2, 1)], WHOLE),
    "right is broadcast": ([(2, 3), (3,), (1,)], WHOLE),
    "a number left": ([(), (2, 3), (3,)], WHOLE),
    "a number right": ([(2, 3), (), ()], WHOLE),
    "transposed": ([(3, 2)] * 3, [lambda x: x.T] * 3),
    "one transposed": ([(2, 3), (3, 2), (2, 3)], [lambda x: x, lambda x: x.T, lambda x: x]),
    "strided": ([(5, 4)] * 3, [lambda x: x[::-2, ::2]] * 3),
    "one strided": ([(4,), (8,), (4,)], [lambda x: x, lambda x: x[::-2], lambda x: x]),
    "broadcast views": ([(3,), (2, 1), ()], [lambda x: np.broadcast_to(x, (2, 3))] * 3),
    "columns": ([(4, 3)] * 3, [lambda x: x[:, 1], lambda x: x[:, 0], lambda x: x[:, 2]]),
    "new axes": ([(3,), (2,), (2,)], [lambda x: x[None], *[lambda x: x[:, None]] * 2]),
}  # fmt: skip


def generator(row, salt=""):
    return np.random.default_rng(zlib.crc32((row.name + salt).encode()))


def drawn(row, j, shape, rng):
    """Numbers of the domain of an operand."""
    domain = matrix.domain(row, j)
    if domain == ORDER:
        return rng.integers(1, 4, shape).astype(float)
    return np.asarray(rng.uniform(*domain, shape))


def moving_operands(row):
    """Which operands may be recorded."""
    return [j for j, f in enumerate(matrix.widest(row).form) if f == "v"]


def operands_of(row, layout, rng):
    """Leaves (plain arrays where the row takes constants only) and their views, the operands."""
    shapes, views = LAYOUTS[layout]
    numbers = [drawn(row, j, shapes[j], rng) for j in range(len(row.operands))]
    moving = moving_operands(row)
    leaves = [nt.var(x) if j in moving else x for j, x in enumerate(numbers)]
    return leaves, [views[j](x) for j, x in enumerate(leaves)]


def at(row, operands):
    """The values of a row on floats, element by element, by the path of scalars."""
    plain = [x.value if isinstance(x, nt.Array | nt.Var) else x for x in operands]
    arrays = np.broadcast_arrays(*plain)
    out = np.empty(arrays[0].shape)
    for index in np.ndindex(out.shape):
        out[index] = FUNCTIONS[row.name](*[float(a[index]) for a in arrays])
    return out


def numbers_of(x):
    return np.asarray(x.value if isinstance(x, nt.Array | nt.Var) else x)


# --- shapes and layouts --------------------------------------------------------------------------


@rows
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_values_and_derivatives(row):
    """Bits of scalars, numbers of NumPy, <w, J t> = <J' w, t>, in every layout."""
    for layout in LAYOUTS:
        _values_and_derivatives(row, layout)


def _values_and_derivatives(row, layout):
    rng = generator(row, layout)
    leaves, operands = operands_of(row, layout, rng)
    with nt.Tape() as tape:
        z = getattr(nt, row.name)(*operands)
    expected = at(row, operands)
    assert np.shape(numbers_of(z)) == expected.shape
    assert same(numbers_of(z), expected).all()
    if row.boolean:
        assert z.dtype == bool if isinstance(z, nt.Array) else isinstance(z.value, float | bool)
    _near_numpy(row, operands, expected)
    if not moves(z):
        assert not expected.size
        return
    nt.verify(tape)
    wanted = [leaves[j] for j in moving_operands(row)]
    seeds = [rng.normal(size=x.shape) for x in wanted]
    w = rng.normal(size=expected.shape)
    t = tape.tangent(z, wanted, seeds)
    z.backward(w, retain_graph=True)
    terms = [np.ravel(np.zeros(s.shape) if x.grad is None else x.grad * s)
             for x, s in zip(wanted, seeds, strict=True)]  # fmt: skip
    total = np.concatenate(terms)
    assert abs(np.sum(w * t) - total.sum()) <= 1e-13 * (1 + np.abs(total).sum())
    _partials_of_scalars(row, operands, wanted, z, tape)


def _near_numpy(row, operands, values):
    function = matrix.numpy_function(row.name)
    if function is None:
        return
    with np.errstate(all="ignore"):
        expected = np.asarray(function(*[numbers_of(x) for x in operands]), np.float64)
    bound = 8 * np.spacing(np.maximum(np.abs(expected), 1.0))
    assert (np.abs(values - expected) <= bound).all() or same(values, expected).all()


def _partials_of_scalars(row, operands, leaves, z, tape):
    """The gradient of the first element has the bits of the scalar path."""
    if row.name in NO_PARTIALS or not isinstance(z, nt.Array) or not z.shape:
        return
    first = (0,) * z.ndim
    arrays = np.broadcast_arrays(*[numbers_of(x) for x in operands])
    point = [float(a[first]) for a in arrays]
    moving = moving_operands(row)
    scalars = [nt.var(p) if j in moving else p for j, p in enumerate(point)]
    FUNCTIONS[row.name](*scalars).backward()
    w = np.zeros(z.shape)
    w[first] = 1.0
    for x in leaves:
        x.grad = None
    z.backward(w, retain_graph=True)
    for j, x in zip(moving, leaves, strict=True):
        found = 0.0 if x.grad is None else x.grad.sum()
        assert same(found, scalars[j].grad) or found == scalars[j].grad == 0.0


@rows
def test_constants_as_operands(row):
    """Every mix of recorded and plain operands: the recorded ones get the same gradient."""
    rng = generator(row)
    moving = moving_operands(row)
    numbers = [drawn(row, j, (2, 3), rng) for j in range(len(row.operands))]
    w = rng.normal(size=(2, 3))
    full = _gradients(row, numbers, moving, w)
    for count in range(1, len(moving)):
        for chosen in itertools.combinations(moving, count):
            part = _gradients(row, numbers, chosen, w)
            for j in chosen:
                assert same(part[j], full[j]).all()


def _gradients(row, numbers, moving, w):
    xs = [nt.var(x) if j in moving else x for j, x in enumerate(numbers)]
    getattr(nt, row.name)(*xs).backward(w)
    return [x.grad if j in moving else None for j, x in enumerate(xs)]


@rows
def test_one_array_for_all_operands(row):
    """x * x and the like: every operand contributes; overlapping views, too."""
    if len(row.operands) < 2 or moving_operands(row) != list(range(len(row.operands))):
        return
    rng = generator(row)
    x = rng.uniform(0.5, 0.9, 7)  # in every domain, with ties
    count = len(row.operands)
    function = getattr(nt, row.name)
    together = nt.grad(lambda x: np.sum(function(*[x] * count)))(x)
    apart = nt.grad(lambda *xs: np.sum(function(*xs)), tuple(range(count)))(*[x] * count)
    assert together == pytest.approx(np.sum(apart, axis=0), rel=1e-14)
    views = [slice(j, j + 5) for j in range(count)]
    together = nt.grad(lambda x: np.sum(function(*[x[v] for v in views])))(x)
    apart = nt.grad(lambda *xs: np.sum(function(*xs)), tuple(range(count)))(*[x[v] for v in views])
    expected = np.zeros(7)
    for v, part in zip(views, apart, strict=True):
        expected[v] += part
    assert together == pytest.approx(expected, rel=1e-14)


# --- second order --------------------------------------------------------------------------------

SECOND = ["contiguous", "left is broadcast", "right is broadcast", "transposed", "strided"]


@rows
def test_second_order(row):
    """Hessian times vector is symmetric and equal to the nested transform."""
    for layout in SECOND if row.name != "stop" else ():
        _second_order(row, layout)


def _second_order(row, layout):
    rng = generator(row, layout)
    shapes, views = LAYOUTS[layout]
    moving = moving_operands(row)
    numbers = [drawn(row, j, shapes[j], rng) for j in range(len(row.operands))]
    function = getattr(nt, row.name)
    weights = None

    def f(*xs):
        nonlocal weights
        full = list(numbers)
        for j, x in zip(moving, xs, strict=True):
            full[j] = x
        z = function(*[view(x) for view, x in zip(views, full, strict=False)])
        if weights is None:
            weights = np.cos(np.arange(z.size)).reshape(z.shape)
        return np.sum(weights * z * z) + np.sum(weights * z)

    at_ = tuple(numbers[j] for j in moving)
    u, v = (tuple(rng.normal(size=x.shape) for x in at_) for _ in range(2))
    hv, hu = nt.hvp(f, at_, v)[2], nt.hvp(f, at_, u)[2]
    uhv, vhu = (sum(np.sum(a * b) for a, b in zip(*p, strict=True)) for p in ((u, hv), (v, hu)))
    scale = 1 + sum(np.sum(np.abs(a * b)) for a, b in zip(u, hv, strict=True))
    assert abs(uhv - vhu) <= 1e-11 * scale
    argnums = tuple(range(len(at_)))

    def along(*xs):
        gradients = nt.grad(f, argnums)(*xs)
        return sum(np.sum(g * d) for g, d in zip(gradients, v, strict=True))

    nested = nt.grad(along, argnums)(*at_)
    for a, b in zip(nested, hv, strict=True):
        assert a == pytest.approx(b, rel=1e-11, abs=1e-11 * scale)


# --- dtypes --------------------------------------------------------------------------------------

DTYPES = [np.dtype(t) for t in (np.float64, np.float32, np.int64, np.bool_)]
NUMPY_ROWS = [
    r
    for r in ROWS_OF_USERS
    if any(isinstance(getattr(np, n, None), np.ufunc) for n in r.ufunc.split())
]


def _whole(row, j, dtype):
    """Numbers of a dtype, of the domain where it has some."""
    low, high = matrix.domain(row, j)
    if dtype.kind == "b":
        return np.array([True, True, False] if low <= 0 else [True] * 3)
    first = 0 if row.name == "power" else -3  # NumPy refuses negative powers of integers
    found = [n for n in range(first, 8) if low <= n <= high] or [1]
    return np.resize(np.array(found), 3).astype(dtype)


def _ufunc(row):
    return next(
        u for n in row.ufunc.split() if isinstance(u := getattr(np, n, None), np.ufunc)
    )  # fmt: skip


@pytest.mark.parametrize("row", NUMPY_ROWS, ids=lambda r: r.name)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_dtypes(row):
    """The result has NumPy's dtype and value; what NumPy refuses is refused."""
    ufunc = _ufunc(row)
    rng = generator(row)
    for dtypes in itertools.product(DTYPES, repeat=len(row.operands)):
        plain = [
            drawn(row, j, 3, rng).astype(d) if d.kind == "f" else _whole(row, j, d)
            for j, d in enumerate(dtypes)
        ]
        recorded = [(nt.var(x.astype(float)) * 1.0).astype(x.dtype) for x in plain]
        assert [x.dtype for x in recorded] == list(dtypes)
        try:
            expected = ufunc(*plain)
        except TypeError:
            with pytest.raises((nt.UnsupportedError, nt.ShapeError)):
                ufunc(*recorded)
            continue
        for operands in (recorded, [recorded[0], *plain[1:]]):
            z = ufunc(*operands)
            assert isinstance(z, nt.Array)
            assert z.dtype == _stored(expected.dtype), dtypes
            tolerance = 3e-7 if np.float32 in (z.dtype, expected.dtype) else 1e-15
            tolerance = 2e-3 if expected.dtype == np.float16 else tolerance
            assert z.value == pytest.approx(expected, rel=tolerance, abs=tolerance, nan_ok=True), (
                dtypes
            )
            assert np.result_type(z.value) == z.dtype


def _stored(dtype):
    """float16 (of booleans) is kept as float64, small integers as int64."""
    return np.dtype({"f": np.float64, "i": np.int64}[dtype.kind]) if dtype.itemsize < 4 and (
        dtype.kind in "if"
    ) else dtype  # fmt: skip


@pytest.mark.parametrize("row", NUMPY_ROWS, ids=lambda r: r.name)
def test_single_precision(row):
    """Values as NumPy's within an ulp, gradient of the dtype, through an operation and back."""
    rng = generator(row)
    moving = moving_operands(row)
    plain = [drawn(row, j, (2, 3), rng).astype(np.float32) for j in range(len(row.operands))]
    xs = [nt.var(x) if j in moving else x for j, x in enumerate(plain)]
    assert all(xs[j].dtype == np.float32 for j in moving)
    z = _ufunc(row)(*xs)
    expected = _ufunc(row)(*plain)
    assert z.dtype == expected.dtype
    error = np.abs(z.value.astype(float) - expected.astype(float))
    assert (error <= 4 * np.spacing(np.abs(expected.astype(np.float32)) + np.float32(1e-6))).all()
    z.backward(np.ones((2, 3)))
    doubles = [nt.var(x.astype(float)) if j in moving else x.astype(float)
               for j, x in enumerate(plain)]  # fmt: skip
    _ufunc(row)(*doubles).backward(np.ones((2, 3)))
    for j in moving:
        assert xs[j].grad.dtype == np.float32
        assert xs[j].grad == pytest.approx(doubles[j].grad, rel=1e-5, abs=1e-5)


def test_python_numbers_adapt():
    """As in NumPy, Python's numbers take the dtype of the array; NumPy's own do not."""
    x = nt.var(np.array([1.5, -2.0], np.float32))
    k = np.argsort(x)
    plain, whole = x.value, k.value
    for f in (
        lambda x: x * 2.0, lambda x: 1 - x, lambda x: x**2, lambda x: x / 3, lambda x: x // 1,
        lambda x: x * True, lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, x, 0.0),
        lambda x: x * np.float64(2.0), lambda x: x + np.float32(2.0), lambda x: x * np.arange(2),
        lambda x: x + np.ones(2, np.float32), lambda x: np.ones(2) - x, lambda x: np.clip(x, 0, 1),
        lambda x: np.float64(2.0) / x, lambda x: x % 2, lambda x: -x, lambda x: abs(x),
        lambda x: np.hypot(x, 1), lambda x: np.power(x, 2.0), lambda x: np.add(x, 1, dtype=float),
    ):  # fmt: skip
        expected = f(plain)
        assert f(x).dtype == expected.dtype
        assert f(x).value == pytest.approx(expected, rel=1e-6)
    for f in (
        lambda k: k + 1, lambda k: k * 2, lambda k: k / 2, lambda k: k * 0.5, lambda k: k // 2,
        lambda k: k % 2, lambda k: -k, lambda k: k**2, lambda k: 1 - k, lambda k: abs(k),
        lambda k: np.maximum(k, 1), lambda k: k + np.float32(1.0), lambda k: k > 0,
        lambda k: (k > 0) + 1, lambda k: (k > 0) * 0.5, lambda k: (k > 0) & True,
        lambda k: (k > 0) + (k < 1), lambda k: (k > 0) * (k > 0), lambda k: np.square(k),
    ):  # fmt: skip
        expected = f(whole)
        assert f(k).dtype == expected.dtype
        assert f(k).value.tolist() == expected.tolist()


# --- routes --------------------------------------------------------------------------------------

OPERATORS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "negative": operator.neg, "mod": operator.mod,
    "floor_divide": operator.floordiv, "power": operator.pow, "abs": abs, "less": operator.lt,
    "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge,
    "equal": operator.eq, "not_equal": operator.ne,
}  # fmt: skip
IN_PLACE = {
    "add": operator.iadd, "subtract": operator.isub, "multiply": operator.imul,
    "divide": operator.itruediv, "mod": operator.imod, "floor_divide": operator.ifloordiv,
    "power": operator.ipow,
}  # fmt: skip


def _special(name):
    return getattr(scipy.special, name, None)


@rows
def test_all_routes_record_the_same(row):
    """nt.f, np.f and its other names, SciPy's ufuncs called directly, and operators."""
    rng = generator(row)
    moving = moving_operands(row)
    numbers = [drawn(row, j, (2, 3), rng) for j in range(len(row.operands))]
    routes = [getattr(nt, row.name)]
    names = [n for n in row.ufunc.split() if n not in ("bitwise_and", "bitwise_or", "invert")]
    for name in names:
        routes += [f for f in (getattr(np, name, None), _special(name)) if f is not None]
    if row.name in OPERATORS:
        routes.append(OPERATORS[row.name])
    found = []
    for function in routes:
        xs = [nt.var(x) if j in moving else x for j, x in enumerate(numbers)]
        z = function(*xs)
        assert isinstance(z, nt.Array), function
        z.backward(np.ones((2, 3)))
        found.append([z.value, *[xs[j].grad for j in moving]])
    for other in found[1:]:
        assert all(same(a, b).all() for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - {"negative", "abs"}))
def test_operators_with_plain_operands(name):
    """Plain arrays, lists, NumPy's and Python's numbers on either side of an array."""
    f = OPERATORS[name]
    plain = np.array([[0.3, 0.6, 0.7], [0.4, 0.8, 0.5]])
    x = nt.var(plain)
    for other in (
        1.5, 2, np.float64(1.5), np.array(1.5), np.array([1.5, 2.0, 1.25]), [1.5, 2.0, 1.25],
        np.full((2, 1), 1.5), np.full((4, 2, 3), 1.5), True,
    ):  # fmt: skip
        listed = np.array(other) if isinstance(other, list) else other
        for found, expected in ((f(x, other), f(plain, listed)), (f(other, x), f(listed, plain))):
            assert isinstance(found, nt.Array) and moves(found)
            assert found.value == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("name", IN_PLACE)
def test_operators_in_place(name):
    f, plain = IN_PLACE[name], np.array([[0.3, 0.6, 0.7], [0.4, 0.8, 0.5]])
    for other in (1.5, np.array([1.5, 2.0, 1.25]), np.full((2, 1), 1.5)):
        x = nt.var(plain)
        y = x * 1.0
        seen = y[1]
        z = f(y, other)
        expected = OPERATORS[name](plain, other)
        assert z is y and y.value == pytest.approx(expected, rel=1e-15)
        assert seen.value.tolist() == y.value[1].tolist()
        seen.backward(np.ones(3))
        twin = nt.var(plain)
        OPERATORS[name](twin, other)[1].backward(np.ones(3))
        assert x.grad.tolist() == twin.grad.tolist()
        with pytest.raises(nt.LeafWriteError, match=r"copy.*no_grad.*test_elementwise"):
            f(x, other)
        with pytest.raises(nt.ShapeError, match=r"\(4, 2, 3\).*\(2, 3\).*test_elementwise"):
            f(y, np.ones((4, 2, 3)))


def test_scalars_and_arrays_mixed():
    s, t = nt.var(2.0), nt.var(0.5)
    x = nt.var([1.0, 2.0, 3.0])
    y = s * x + t
    z = np.sum(np.where(x > t * 3.0, y * s, t / y) ** t)
    z.backward()
    step = 1e-6

    def f(s, t, x):
        y = s * x + t
        return np.sum(np.where(x > t * 3.0, y * s, t / y) ** t)

    p = np.array([1.0, 2.0, 3.0])
    assert z.value == pytest.approx(f(2.0, 0.5, p))
    assert s.grad == pytest.approx((f(2 + step, 0.5, p) - f(2 - step, 0.5, p)) / (2 * step))
    assert t.grad == pytest.approx((f(2, 0.5 + step, p) - f(2, 0.5 - step, p)) / (2 * step))
    for j in range(3):
        e = np.eye(3)[j] * step
        assert x.grad[j] == pytest.approx((f(2, 0.5, p + e) - f(2, 0.5, p - e)) / (2 * step))


# --- ufuncs with options -------------------------------------------------------------------------


def test_out():
    x = nt.var([1.0, 2.0, 3.0])
    out = nt.zeros(3)
    seen = out[::-1]
    assert np.multiply(x, x, out=out) is out
    np.add(out, x, out=(out,))
    assert seen.value.tolist() == [12.0, 6.0, 2.0]
    seen[0].backward()
    assert x.grad.tolist() == [0.0, 0.0, 7.0]
    with pytest.raises(nt.GradientLostError, match=r"plain NumPy array.*nt\.zeros"):
        np.sin(x, out=np.zeros(3))
    with pytest.raises(nt.ShapeError, match=r"\(3,\).*\(2,\)"):
        np.sin(x, out=nt.zeros(2))
    single = nt.zeros(3, dtype=np.float32)
    np.sin(x, out=single)
    assert single.dtype == np.float32
    with pytest.raises(nt.TapeError, match="int64"):
        np.sin(x, out=nt.zeros(3, dtype=int))


def test_where():
    x, kept = nt.var([1.0, 2.0, 3.0]), nt.var([7.0, 8.0, 9.0])
    out = kept * 1.0
    np.square(x, out=out, where=np.array([True, False, True]))
    assert out.value.tolist() == [1.0, 8.0, 9.0]
    np.multiply(out, 2.0, out=out, where=x > 2.5)
    assert out.value.tolist() == [1.0, 8.0, 18.0]
    out.sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 12.0] and kept.grad.tolist() == [0.0, 1.0, 0.0]
    with pytest.raises(nt.UnsupportedError, match=r"where=.*out="):
        np.sin(x, where=np.array([True, False, True]))


REDUCTIONS = [np.add, np.multiply, np.maximum, np.minimum]


@pytest.mark.parametrize("ufunc", REDUCTIONS, ids=lambda u: u.__name__)
@pytest.mark.parametrize("axis", [0, 1, -1, None, (0, 2), ()])
def test_reduce(ufunc, axis):
    rng = np.random.default_rng(5)
    plain = rng.uniform(0.5, 1.5, (2, 3, 4))
    x = nt.var(plain)
    for keepdims in (False, True):
        z = ufunc.reduce(x, axis=axis, keepdims=keepdims)
        expected = ufunc.reduce(plain, axis=axis, keepdims=keepdims)
        assert np.shape(numbers_of(z)) == np.shape(expected)
        assert numbers_of(z) == pytest.approx(expected, rel=1e-14)
    assert numbers_of(ufunc.reduce(x)) == pytest.approx(ufunc.reduce(plain), rel=1e-14)


@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum], ids=lambda u: u.__name__)
def test_accumulate(ufunc):
    plain = np.random.default_rng(5).uniform(0.5, 1.5, (2, 3))
    x = nt.var(plain)
    for axis in (0, 1):
        try:
            z = ufunc.accumulate(x, axis=axis)
        except nt.UnsupportedError as error:
            assert "accumulate" in str(error) and ufunc is np.maximum
            continue
        assert z.value == pytest.approx(ufunc.accumulate(plain, axis=axis), rel=1e-15)
        z.backward(np.ones((2, 3)), retain_graph=True)


@pytest.mark.parametrize(
    "ufunc", [np.add, np.multiply, np.subtract, np.power, np.maximum, np.less],
    ids=lambda u: u.__name__,
)  # fmt: skip
def test_outer(ufunc):
    a, b = np.array([1.0, 2.0]), np.array([[0.5, 1.5, 2.5]])
    x, y = nt.var(a), nt.var(b)
    assert ufunc.outer(x, y).value == pytest.approx(ufunc.outer(a, b), rel=1e-15)
    assert ufunc.outer(x, b).shape == (2, 1, 3)
    assert ufunc.outer(a, y).value == pytest.approx(ufunc.outer(a, b), rel=1e-15)


def test_at():
    x, v = nt.var([1.0, 2.0, 3.0]), nt.var([10.0, 20.0, 30.0])
    y = x * 1.0
    np.add.at(y, [0, 0, 2], v)
    np.subtract.at(y, [1], 1.0)
    assert y.value.tolist() == [31.0, 1.0, 33.0]
    y.backward(np.array([1.0, 2.0, 3.0]))
    assert v.grad.tolist() == [1.0, 1.0, 3.0] and x.grad.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(nt.GradientLostError, match=r"nt\.zeros"):
        np.add.at(np.zeros(3), [0, 1, 2], v)
    with pytest.raises(nt.UnsupportedError, match=r"multiply\.at"):
        np.multiply.at(x * 1.0, [0], 2.0)


def test_other_methods_are_refused():
    x = nt.var([1.0, 2.0, 3.0])
    for call in (
        lambda: np.add.reduceat(x, [0, 2]),
        lambda: np.arctan2.reduce(x),
        lambda: np.sin(x, casting="unsafe", order="F"),
        lambda: np.gcd(np.argsort(x), 2),
        lambda: np.frexp(x),
        lambda: np.nextafter(x, 2.0),
    ):
        with pytest.raises(nt.UnsupportedError, match=r"np\..*record.*test_elementwise|np\."):
            call()


# --- SciPy's ufuncs ------------------------------------------------------------------------------

SPECIAL = {
    "gammaln": 1, "digamma": 1, "psi": 1, "erf": 1, "erfc": 1, "expit": 1, "logit": 1,
    "xlogy": 2, "xlog1py": 2, "log1p": 1, "expm1": 1, "exp2": 1, "cbrt": 1, "rel_entr": 2,
    "ndtr": 1, "log_ndtr": 1, "entr": 1, "betaln": 2, "log_expit": 1, "erfcx": 1, "erfinv": 1,
    "ndtri": 1, "gamma": 1, "i0": 1, "i1": 1, "j0": 1, "j1": 1, "sinc": 1, "exp10": 1,
    "kl_div": 2, "boxcox": 2, "huber": 2, "exprel": 1, "cosm1": 1, "erfcinv": 1, "rgamma": 1,
    "beta": 2, "i0e": 1, "i1e": 1, "round": 1, "radian": 3, "softplus": 1, "loggamma": 1,
}  # fmt: skip
EXPECTED = {"gammaln", "xlogy", "ndtr", "expit", "erf", "erfc", "psi", "logit", "expm1", "log1p"}


@pytest.mark.parametrize("name", sorted(SPECIAL))
def test_special_functions(name):
    """Called on recording values; what is no row is refused by our own error, never lost."""
    ufunc = getattr(scipy.special, name, None)
    if not isinstance(ufunc, np.ufunc):
        return
    plain = [np.array([0.3, 0.6, 0.45]), np.array([0.5, 0.2, 0.7]), np.ones(3)][: SPECIAL[name]]
    try:
        z = ufunc(*map(nt.var, plain))
    except nt.UnsupportedError as error:
        assert name not in EXPECTED
        assert name in str(error) and "nt.primitive" in str(error)
        with pytest.raises(nt.UnsupportedError, match=name):
            ufunc(*[nt.var(float(p[0])) for p in plain])
        return
    assert isinstance(z, nt.Array)
    assert z.value == pytest.approx(ufunc(*plain), rel=1e-14)
    xs = [nt.var(p) for p in plain]
    ufunc(*xs).backward(np.ones(3))
    step = 1e-6
    for j, x in enumerate(xs):
        up, down = ([p + (i == j) * d for i, p in enumerate(plain)] for d in (step, -step))
        assert x.grad == pytest.approx((ufunc(*up) - ufunc(*down)) / (2 * step), rel=1e-7, abs=1e-8)
    s = [nt.var(float(p[0])) for p in plain]
    assert ufunc(*s).value == z.value[0]


def test_every_layout_has_an_entry_for_three_operands():
    assert all(len(shapes) == len(views) == 3 for shapes, views in LAYOUTS.values())
