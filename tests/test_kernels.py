"""The hand-written kernels on hand-made frames, against NumPy."""

import ctypes
import math
import subprocess
import sys

import numpy as np
import pytest

from ndtape import kernels, nest, ops
from ndtape.kernels.blas import BLAS_WORK, DGEMM, WORK
from ndtape.tape import address_of

GUARD = 9  # numbers around every span, which no kernel may touch
WRITES = {"forward": "v", "tangent": "t", "reverse": "g", "second": "gh"}
FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_uint64] * 3)


class Frame:
    """One wide instruction in a frame of its own.

    Operands are (numbers, start): the instruction refers to the place `start` of the numbers, from
    where strides may lead backwards.  Operands named in `constants` lie in the pool k; with `same`,
    y is the span of x.
    """

    def __init__(self, kind, size, loops=(), constants="", same=False, kind_word=0, body=(),
                 **operands):  # fmt: skip
        self.kind, self.size, self.constants, self.same = kind, size, constants, same
        pools = {"v": [5e55] * GUARD, "k": [5e55] * GUARD}
        self.spans, starts, flags = {}, {"x": 0, "y": 0, "u": 0}, 0
        for name, (numbers, start) in operands.items():
            pool = pools["k" if name in constants else "v"]
            if name == "y" and same:
                self.spans[name] = self.spans["x"]
            else:
                self.spans[name] = slice(len(pool), len(pool) + len(numbers))
                pool += [*numbers, *[5e55] * GUARD]
            starts[name] = self.spans[name].start + start
            flags |= (name in constants) << "xyu".index(name)
        self.out = slice(len(pools["v"]), len(pools["v"]) + size)
        pools["v"] += [5e55] * (size + GUARD)
        words = nest.descriptor(size, loops, flags, starts["u"], kind_word)
        self.arrays = {
            "out": np.array([self.out.start], np.uint32),
            "a": np.array([starts["x"]], np.uint32),
            "b": np.array([starts["y"]], np.uint32),
            "c": np.array([2], np.uint32),
            "m": np.array([-9, -9, *words, *body, -9], np.int64),
            "scratch": np.zeros(64, np.int64),
            "blas": kernels.blas_table().copy(),
            **{name: np.array(pool) for name, pool in pools.items()},
            **{name: np.zeros(len(pools["v"])) for name in "gth"},
        }
        self.frame = np.zeros(len(ops.FRAME), np.uint64)
        for name, array in self.arrays.items():
            self.frame[ops.FRAME.index(name)] = address_of(array)

    def run(self, sweep):
        """Run a kernel; nothing but the result, or the adjoints of operands, may change."""
        before = {name: array.copy() for name, array in self.arrays.items()}
        address = getattr(kernels, f"{self.kind}_{sweep}").address
        status = FUNCTION(address)(address_of(self.frame), 0, 1)
        for name, array in before.items():
            allowed = np.zeros(len(array), bool)
            if name in WRITES[sweep] and sweep in ("forward", "tangent"):
                allowed[self.out] = True
            elif name in WRITES[sweep]:
                for operand in set(self.spans) - set(self.constants):
                    allowed[self.spans[operand]] = True
            if name != "scratch":
                bits = array.view(np.uint8).reshape(len(array), -1)
                now = self.arrays[name].view(np.uint8).reshape(len(array), -1)
                assert np.array_equal(now[~allowed], bits[~allowed]), (self.kind, sweep, name)
        return status

    def __call__(self, sweep, **given):
        """Run a kernel on numbers given for columns; the result, or the adjoints by operand.

        A column is given as an array for the result, or as a dict by operand.
        """
        for column in WRITES[sweep]:
            if column not in "vt":
                self.arrays[column][:] = 0.0
        for column, numbers in given.items():
            for place, data in (numbers if isinstance(numbers, dict) else {"out": numbers}).items():
                if place not in self.constants:
                    self.arrays[column][self.out if place == "out" else self.spans[place]] = data
        assert self.run(sweep) == 0
        if sweep in ("forward", "tangent"):
            return self.arrays[WRITES[sweep]][self.out].copy()
        found = {
            name: self.arrays[WRITES[sweep][-1]][span].copy()
            for name, span in self.spans.items()
            if name not in self.constants
        }
        return found

    def values(self, name):
        return self.arrays["k" if name in self.constants else "v"][self.spans[name]].copy()


def places(loops, column, start=0):
    """Where an array's element stands at each turn of a nest."""
    offsets = np.full((), start, np.int64)
    for loop in loops:
        offsets = offsets[..., None] + np.arange(loop[0]) * loop[column]
    return offsets


def some_strides(rng, extents, moves):
    """Strides of a random view: its axes in any order, sliced, reversed, sometimes overlapping."""
    strides, step = [0] * len(extents), 1
    for axis in rng.permutation(len(extents)):
        if moves[axis]:
            gap = step * int(rng.choice([1, 1, 1, 2]))
            strides[axis] = gap * int(rng.choice([1, 1, 1, -1]))
            step = gap * extents[axis] if rng.random() < 0.9 else step
    return strides


def room(rng, loops, column):
    """(numbers, start) for an operand that a nest walks over."""
    low = sum(min(0, (loop[0] - 1) * loop[column]) for loop in loops)
    high = sum(max(0, (loop[0] - 1) * loop[column]) for loop in loops)
    return rng.standard_normal(high - low + 1), -low


def result_strides(extents, moves):
    kept = [e for e, m in zip(extents, moves, strict=True) if m]
    strides = iter(nest.contiguous(kept))
    return [next(strides) if m else 0 for m in moves], math.prod(kept)


def close(a, b, scale=1.0):
    a, b = np.asarray(a), np.asarray(b)
    assert np.allclose(a, b, rtol=1e-12, atol=1e-12 * max(1.0, scale), equal_nan=True), (a, b)


def check_derivatives(rng, frame, bilinear=False):
    """The four kernels of a linear or bilinear instruction agree with each other."""
    variables = set(frame.spans) - set(frame.constants) - ({"y"} if not bilinear else set())
    draw = rng.standard_normal
    v = {name: frame.values(name) for name in variables}
    t = {name: draw(len(v[name])) for name in variables}
    if frame.same:
        t["y"] = t["x"]
    w, wt = draw(frame.size), draw(frame.size)
    frame("forward")
    zt = frame("tangent", t=t)
    g = frame("reverse", g=w)
    spans = {name: frame.spans[name] for name in variables}
    once = variables - {"y"} if frame.same else variables
    scale = abs(w) @ abs(zt) + 1.0
    assert abs(w @ zt - sum(g[name] @ t[name] for name in once)) < 1e-12 * scale

    # (Bi)linear: central differences are exact at any distance.
    frame("forward")
    frame("tangent", t=t)
    h = frame("second", g=w, h=wt)
    again = {name: frame.arrays["g"][spans[name]].copy() for name in variables}
    ends = []
    for sign in (1, -1):
        moved = {name: v[name] + (sign * t[name] if bilinear else 0) for name in variables}
        frame("forward", v=moved)
        ends.append(frame("reverse", g=w + sign * wt))
    for name in variables:
        close(again[name], g[name], abs(g[name]).max())
        difference = (ends[0][name] - ends[1][name]) / 2
        close(h[name], difference, abs(ends[0][name]).max() + abs(ends[1][name]).max())
    for name in variables:
        frame.arrays["v"][spans[name]] = v[name]


def test_every_kind_has_its_kernels():
    for name, _, _ in ops.OTHERS:
        for sweep in ops.KERNELS:
            assert isinstance(getattr(kernels, f"{name}_{sweep}"), kernels.Sweep)
    with pytest.raises(AttributeError):
        kernels.no_such_forward  # noqa: B018


# --- dot -----------------------------------------------------------------------------------------

LONG = (1, 2, 3, 4, 5, 8, 9, 17, 33)


def dot_frame(rng, roles, extents, constants="", order=None, same=False):
    """A random contraction: `roles` says of each loop whether it is b, m, n or k."""
    moves_z = [r != "k" for r in roles]
    strides_z, size = result_strides(extents, moves_z)
    strides_x = some_strides(rng, extents, [r != "n" and rng.random() < 0.95 for r in roles])
    strides_y = some_strides(rng, extents, [r != "m" and rng.random() < 0.95 for r in roles])
    if same:
        strides_y = strides_x = [
            max(x, y, key=abs) for x, y in zip(strides_x, strides_y, strict=True)
        ]
    loops = list(zip(extents, strides_z, strides_x, strides_y, [0] * len(roles), strict=True))
    if order is not None:
        loops = [loops[j] for j in order]
    loops = [loop for loop in loops if loop[0] > 1]
    frame = Frame("dot", size, loops, constants, same, x=room(rng, loops, 2), y=room(rng, loops, 3))
    start = {name: int(frame.arrays["ab"["xy".index(name)]][0]) - frame.spans[name].start
             for name in "xy"}  # fmt: skip
    at = {
        "z": places(loops, 1),
        "x": places(loops, 2, start["x"]),
        "y": places(loops, 3, start["y"]),
    }
    return frame, at


def product(size, target, *factors):
    z = np.zeros(size)
    np.add.at(z, target.ravel(), np.prod(np.broadcast_arrays(*factors), axis=0).ravel())
    return z


def check_dot(rng, frame, at):
    x, y = (frame.values(name)[at[name]] for name in "xy")
    close(frame("forward"), product(frame.size, at["z"], x, y), abs(x).sum())
    w = rng.standard_normal(frame.size)
    found = frame("reverse", g=w)
    for name, other in (("x", y), ("y", x)):
        if name in found and not frame.same:
            span = frame.spans[name]
            close(found[name], product(span.stop - span.start, at[name], w[at["z"]], other), 50.0)
    check_derivatives(rng, frame, bilinear=True)


@pytest.mark.parametrize("seed", range(150))
def test_dot_over_random_nests(seed):
    rng = np.random.default_rng(seed)
    roles = sorted(rng.choice(list("bmnk"), rng.integers(0, 5)), key="bmnk".index)
    extents = [int(rng.choice(LONG[: 9 if len(roles) < 4 else 5])) for _ in roles]
    order = rng.permutation(len(roles)) if seed % 3 == 0 else None
    constants = ["", "", "x", "y"][seed % 4]
    check_dot(rng, *dot_frame(rng, roles, extents, constants, order))


@pytest.mark.parametrize("seed", range(30))
def test_dot_of_a_span_with_itself(seed):
    rng = np.random.default_rng(seed)
    roles = ["bk", "k", "mk", "bmk"][seed % 4]
    check_dot(rng, *dot_frame(rng, roles, [int(rng.choice(LONG)) for _ in roles], same=True))


def test_gram_matrix():
    rng = np.random.default_rng(1)
    a = rng.standard_normal((7, 5))
    loops = [(7, 7, 5, 0, 0), (7, 1, 0, 5, 0), (5, 0, 1, 1, 0)]
    frame = Frame("dot", 49, loops, same=True, x=(a.ravel(), 0), y=(a.ravel(), 0))
    close(frame("forward"), (a @ a.T).ravel())
    w = rng.standard_normal((7, 7))
    close(frame("reverse", g=w.ravel())["x"], ((w + w.T) @ a).ravel())
    check_derivatives(rng, frame, bilinear=True)


def matrices(rng, m, n, k, layouts="NNN", constants=""):
    """z = x @ y with row-major (N) or column-major (T) z, x, y."""

    def strides(rows, columns, layout):
        return (columns, 1) if layout == "N" else (1, rows)

    z, x, y = (strides(*s) for s in
               ((m, n, layouts[0]), (m, k, layouts[1]), (k, n, layouts[2])))  # fmt: skip
    loops = [(m, z[0], x[0], 0, 0), (n, z[1], 0, y[1], 0), (k, 0, x[1], y[0], 0)]
    loops = [loop for loop in loops if loop[0] > 1]
    frame = Frame("dot", m * n, loops, constants,
                  x=(rng.standard_normal(m * k), 0), y=(rng.standard_normal(k * n), 0))  # fmt: skip
    return frame, {"zxy"[j]: places(loops, j + 1) for j in range(3)}


@pytest.mark.parametrize("layouts", ["NNN", "NNT", "NTN", "NTT", "TNN", "TTT"])
@pytest.mark.parametrize("own", [True, False])
def test_products_of_matrices(layouts, own):
    """Own loops and BLAS, whichever is used at these sizes."""
    rng = np.random.default_rng(0)
    for m, n, k in ((2, 3, 4), (8, 8, 8), (5, 1, 6), (1, 9, 7), (33, 20, 17), (4, 70, 3),
                    (50, 50, 150), (3, 2, 300), (130, 18, 3)):  # fmt: skip
        frame, at = matrices(rng, m, n, k, layouts)
        frame.arrays["blas"][WORK] = 1 << 62 if own else 0
        assert own or frame.arrays["blas"][DGEMM]
        check_dot(rng, frame, at)


def test_products_around_the_crossover():
    rng = np.random.default_rng(0)
    side = round(BLAS_WORK ** (1 / 3))
    for n in (side - 1, side):
        frame, _ = matrices(rng, n, n, n)
        x, y = (frame.values(name).reshape(n, n) for name in "xy")
        close(frame("forward"), (x @ y).ravel(), n)
        w = rng.standard_normal((n, n))
        found = frame("reverse", g=w.ravel())
        close(found["x"], (w @ y.T).ravel(), n)
        close(found["y"], (x.T @ w).ravel(), n)


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 1, 5), (1, 1, 20), (20, 20, 20)])
def test_zero_adjoints_and_tangents_of_dot_contribute_nothing(shape):
    m, n, k = shape
    rng = np.random.default_rng(0)
    frame, _ = matrices(rng, m, n, k)
    x, y = frame.values("x").reshape(m, k), frame.values("y").reshape(k, n)
    x[0, 1], x[-1, 2] = np.inf, np.nan  # these make whole rows of z inf or nan
    with np.errstate(invalid="ignore"):
        close(frame("forward", v={"x": x.ravel()}), (x @ y).ravel())
    assert all(np.all(g == 0.0) for g in frame("reverse", g=np.zeros(m * n)).values())
    w = rng.standard_normal((m, n))
    w[0], w[-1] = 0.0, -0.0
    g = frame("reverse", g=w.ravel())
    kept = x.copy()
    kept[0], kept[-1] = 0.0, 0.0
    close(g["x"], (w @ y.T).ravel())
    close(g["y"], (kept.T @ w).ravel())

    yt = rng.standard_normal((k, n))
    yt[[1, 2]] = 0.0  # rows that meet the inf and the nan
    finite = np.where(np.isfinite(x), x, 0.0)
    t = {"x": np.zeros(m * k), "y": yt.ravel()}
    close(frame("tangent", t=t), (finite @ yt).ravel())
    h = frame("second", g=w.ravel(), h=np.zeros(m * n))
    close(h["x"], (w @ yt.T).ravel())
    assert np.all(h["y"] == 0.0)


def test_infinite_tangents_meet_zero_adjoints():
    rng = np.random.default_rng(0)
    frame, _ = matrices(rng, 4, 3, 5)
    frame("forward")
    xt = rng.standard_normal((4, 5))
    xt[2] = np.inf
    w = rng.standard_normal((4, 3))
    w[2] = 0.0
    frame("tangent", t={"x": xt.ravel(), "y": np.zeros(15)})
    h = frame("second", g=w.ravel(), h=np.zeros(12))
    close(h["y"], (np.where(np.isinf(xt), 0.0, xt).T @ w).ravel())
    assert np.all(h["x"] == 0.0)


def test_blas_leaves_scipy_importable():
    code = (
        "import ndtape.kernels as k; from ndtape.kernels.blas import _cython_blas; _cython_blas()\n"
        "import scipy.linalg, scipy.linalg.cython_blas\n"
        "assert scipy.linalg.cython_blas.__pyx_capi__\n"
        "_cython_blas(); print(scipy.linalg.det([[2.0]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2.0"


# --- sums and extremes ---------------------------------------------------------------------------


def reduction(rng, kind, extents, kept, constants="", values=None):
    strides_z, size = result_strides(extents, kept)
    strides_x = some_strides(rng, extents, [True] * len(extents))
    unused = [0] * len(extents)
    loops = list(zip(extents, strides_z, strides_x, unused, unused, strict=True))
    loops = [loop for loop in loops if loop[0] > 1]
    numbers, start = room(rng, loops, 2)
    if values is not None:
        numbers = rng.choice(values, len(numbers))
    frame = Frame(kind, size, loops, constants, x=(numbers, start))
    return frame, places(loops, 1), places(loops, 2, start)


def by_result(size, at_z, numbers):
    """The numbers that go into each result."""
    return [numbers.ravel()[at_z.ravel() == j] for j in range(size)]


@pytest.mark.parametrize("kind", ["sum", "max", "min"])
@pytest.mark.parametrize("seed", range(60))
def test_reductions_over_random_nests(kind, seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 5))
    extents = [int(rng.choice(LONG[: 9 if count < 4 else 5])) for _ in range(count)]
    kept = [bool(rng.random() < 0.5) for _ in extents]
    values = [-1.0, 0.0, -0.0, 2.0, 2.0] if kind != "sum" and seed % 2 else None
    frame, at_z, at_x = reduction(rng, kind, extents, kept, "x" if seed % 7 == 0 else "", values)
    groups = by_result(frame.size, at_z, frame.values("x")[at_x])
    close(frame("forward"), [getattr(np, kind)(group) for group in groups])
    if frame.constants:
        assert np.all(frame("tangent") == 0.0)
        assert frame("reverse", g=np.ones(frame.size)) == frame("second") == {}
    else:
        check_derivatives(rng, frame)


@pytest.mark.parametrize(("extents", "kept"), [
    ([3000], [False]), ([1025, 9], [False, True]), ([9, 1025], [True, False]),
    ([300, 2, 7], [False, True, False]), ([40, 40], [True, False]),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["sum", "max"])
def test_long_reductions(kind, extents, kept):
    rng = np.random.default_rng(0)
    frame, at_z, at_x = reduction(rng, kind, extents, kept)
    groups = by_result(frame.size, at_z, frame.values("x")[at_x])
    close(frame("forward"), [getattr(np, kind)(group) for group in groups])
    check_derivatives(rng, frame)


@pytest.mark.parametrize(("loops", "size"), [
    ([(300_000, 0, 1, 0, 0)], 1),
    ([(100_000, 0, 3, 0, 0), (3, 1, 1, 0, 0)], 3),
    ([(3, 1, 1, 0, 0), (100_000, 0, 3, 0, 0)], 3),
    ([(300_000, 0, -1, 0, 0)], 1),
])  # fmt: skip
def test_error_bound_of_sums(loops, size):
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 1.0, 300_000) * 10.0 ** rng.integers(-8, 8, 300_000)
    start = len(x) - 1 if loops[0][2] < 0 else 0
    found = Frame("sum", size, loops, x=(x, start))("forward")
    for j, group in enumerate(by_result(size, places(loops, 1), x[places(loops, 2, start)])):
        assert abs(found[j] - math.fsum(group)) <= 40 * 2.0**-53 * math.fsum(abs(group))


@pytest.mark.parametrize(
    "numbers", [[np.inf, 1.0], [np.inf, -np.inf], [np.nan, 1.0], [1e308, 1e308]]
)
def test_sums_of_special_numbers(numbers):
    with np.errstate(invalid="ignore", over="ignore"):
        want = np.sum(numbers)
    for count in (0, 30, 3000):
        x = np.array([0.0] * count + numbers)
        assert np.array_equal(
            Frame("sum", 1, [(len(x), 0, 1, 0, 0)], x=(x, 0))("forward"), [want], equal_nan=True
        )


@pytest.mark.parametrize("columns", [False, True])
def test_ties_share_the_derivative(columns):
    x = np.array([[3.0, 1.0, 3.0, 3.0, 2.0], [1.0, 5.0, 4.0, 5.0, 0.0], [7.0] * 5])
    z = x.T if columns else x
    loops = [(5, 0, 3, 0, 0), (3, 1, 1, 0, 0)] if columns else [(3, 1, 5, 0, 0), (5, 0, 1, 0, 0)]
    frame = Frame("max", 3, loops, x=(z.ravel(), 0))
    assert frame("forward").tolist() == [3.0, 5.0, 7.0]
    g = frame("reverse", g=[6.0, 6.0, 5.0])["x"].reshape(z.shape)
    want = np.array([[2.0, 0, 2, 2, 0], [0, 3, 0, 3, 0], [1] * 5])
    assert np.array_equal(g, want.T if columns else want)
    tangents = np.arange(15.0).reshape(3, 5)
    zt = frame("tangent", t={"x": (tangents.T if columns else tangents).ravel()})
    close(zt, [(0 + 2 + 3) / 3, (6 + 8) / 2, 12.0])


@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("count", [2, 5, 8, 40])
def test_nan_wins_and_gets_the_derivative(kind, count):
    x = np.linspace(-1.0, 1.0, count)
    for place in range(count):
        y = x.copy()
        y[place] = np.nan
        frame = Frame(kind, 1, [(count, 0, 1, 0, 0)], x=(y, 0))
        assert np.isnan(frame("forward")[0])
        assert np.array_equal(frame("reverse", g=[2.0])["x"], 2.0 * np.isnan(y))
    ends = [-np.inf, np.inf]
    frame = Frame(kind, 1, [(2, 0, 1, 0, 0)], x=(ends, 0))
    assert frame("forward")[0] == getattr(np, kind)(ends)


def test_adjoints_of_reductions_stay_where_they_belong():
    for w in (np.inf, np.nan, 0.0):
        frame = Frame("max", 1, [(3, 0, 1, 0, 0)], x=([1.0, np.inf, -np.inf], 0))
        frame("forward")
        g = frame("reverse", g=[w])["x"]
        assert np.array_equal(g, [0.0, w, 0.0], equal_nan=True)


# --- running sums --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_running_sums(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 4))
    extents = [int(rng.choice(LONG[1:])) for _ in range(count)]
    axis = int(rng.integers(0, count))
    strides = some_strides(rng, extents, [True] * count)
    loops = list(
        zip(extents, nest.contiguous(extents), strides, [0] * count, [0] * count, strict=True)
    )
    numbers, start = room(rng, loops, 2)
    frame = Frame("cumsum", math.prod(extents), loops, "x" if seed % 7 == 0 else "",
                  kind_word=axis, x=(numbers, start))  # fmt: skip
    close(frame("forward"), np.cumsum(numbers[places(loops, 2, start)], axis).ravel())
    if frame.constants:
        assert np.all(frame("tangent") == 0.0)
    else:
        check_derivatives(rng, frame)


def test_running_sum_along_an_axis_of_one():
    frame = Frame("cumsum", 3, [(3, 1, 1, 0, 0)], kind_word=-1, x=([1.0, 2.0, 3.0], 0))
    assert frame("forward").tolist() == [1.0, 2.0, 3.0]
    assert frame("reverse", g=[1.0, 2.0, 3.0])["x"].tolist() == [1.0, 2.0, 3.0]


# --- movement ------------------------------------------------------------------------------------


def test_inputs():
    frame = Frame("wide_input", 5, constants="x", x=(np.arange(5.0), 0))
    assert frame("forward").tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    frame.arrays["t"][frame.out] = 7.0
    assert frame("tangent").tolist() == [7.0] * 5
    assert frame("reverse", g=np.ones(5)) == frame("second") == {}


def test_collect():
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal(6)
    start = GUARD
    entries = [start + 5, start, -1 - 0, start + 5, -1 - 2]
    frame = Frame("collect", 5, body=entries, x=(numbers, 0))
    frame.arrays["k"][:3] = [1.5, 2.5, 3.5]
    assert frame("forward").tolist() == [numbers[5], numbers[0], 1.5, numbers[5], 3.5]
    check_derivatives(rng, frame)
    assert frame("reverse", g=[1.0, 2.0, 3.0, 4.0, 5.0])["x"].tolist() == [2.0, 0, 0, 0, 0, 5.0]


@pytest.mark.parametrize("constants", ["", "x", "y", "xy"])
def test_gather(constants):
    rng = np.random.default_rng(0)
    x, index = rng.standard_normal(7), np.array([6.0, 0.0, -0.0, 3.0, 3.0])
    frame = Frame("gather", 5, constants=constants, kind_word=7, x=(x, 0), y=(index, 0))
    assert np.array_equal(frame("forward"), x[index.astype(int)])
    if "x" in constants:
        assert np.all(frame("tangent", t={"x": x}) == 0.0)
        assert all(np.all(g == 0.0) for g in frame("reverse", g=np.ones(5)).values())
    else:
        check_derivatives(rng, frame)
        g = frame("reverse", g=np.arange(1.0, 6.0))
        assert g["x"].tolist() == [5.0, 0, 0, 9.0, 0, 0, 1.0]


@pytest.mark.parametrize("constants", ["", "x", "u", "y", "xy", "xyu", "xu"])
def test_scatter_add(constants):
    rng = np.random.default_rng(0)
    x, u, index = rng.standard_normal(6), rng.standard_normal(4), np.array([5.0, 2.0, 5.0, 0.0])
    frame = Frame("scatter_add", 6, constants=constants, kind_word=4,
                  x=(x, 0), y=(index, 0), u=(u, 0))  # fmt: skip
    want = x.copy()
    np.add.at(want, index.astype(int), u)
    close(frame("forward"), want)
    if set("xu") <= set(constants):
        assert np.all(frame("tangent") == 0.0)
    else:
        check_derivatives(rng, frame)


@pytest.mark.parametrize("bad", [-1.0, 7.0, np.nan, np.inf, -np.inf, 1e300])
def test_bad_indices(bad):
    index = np.array([0.0, bad, 1.0])
    gather = Frame("gather", 3, kind_word=7, x=(np.zeros(7), 0), y=(index, 0))
    scatter = Frame(
        "scatter_add", 7, kind_word=3, x=(np.zeros(7), 0), y=(index, 0), u=(np.zeros(3), 0)
    )
    for frame in (gather, scatter):
        for sweep in ops.KERNELS:
            assert frame.run(sweep) == ops.BAD_INDEX


def test_calls_pause():
    frame = Frame("call", 1)
    assert {frame.run(sweep) for sweep in ops.KERNELS} == {ops.PAUSE}
