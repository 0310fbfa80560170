"""Elementwise kernels on spans, against the scalar sweeps: one instruction against many.

Frames are made by hand, without a recorder.  What an instruction must not touch is filled with nan
(values) or random numbers (adjoints), and compared afterwards.
"""

import itertools
import zlib
from math import prod

import matrix
import numpy as np
import pytest

from ndtape import _jit, nest, run
from ndtape.ops import CODES, FIRST_WIDE, FRAME, KERNELS, ROWS, WIDE, WIDE_CODES, forms
from ndtape.tape import address_of

SWEEPS = dict(zip(KERNELS, ("forward", "reverse", "tangent", "forward_over_reverse"), strict=True))
TYPES = {"op": np.uint16, "mark": np.uint8, "m": np.int64, "scratch": np.int64}
TYPES |= dict.fromkeys(("out", "a", "b", "c"), np.uint32)
NUMBERS = "vgth"
ROWS_ON_SPANS = [w.row for w in WIDE if w.row]

rows = pytest.mark.parametrize("row", ROWS_ON_SPANS, ids=lambda row: row.name)


class Frame:
    """A frame around columns made by hand; columns are attributes, copied from what is given."""

    def __init__(self, **columns):
        self.columns = {n: np.array(c, TYPES.get(n, np.float64)) for n, c in columns.items()}
        self.tables = {name: np.zeros(len(WIDE), np.uint64) for name in KERNELS}
        self.frame = np.zeros(len(FRAME), np.uint64)
        for name, array in (self.columns | self.tables).items():
            self.frame[FRAME.index(name)] = address_of(array)

    def __getattr__(self, name):
        return self.columns[name]

    def run(self, kind):
        """Sweep over all instructions; the kernels that they need are compiled first."""
        for code in set(self.op.tolist()):
            if code >= FIRST_WIDE:
                name = WIDE[code - FIRST_WIDE].name
                self.tables[kind][code - FIRST_WIDE] = kernel(name, kind).address
        call = run.entry("holding")
        return call(run.address(SWEEPS[kind]), address_of(self.frame), 0, len(self.op))


def kernel(name, kind):
    from ndtape import _maps

    return getattr(_maps, f"{name}_{kind}")


# --- one wide instruction, and the same as scalar instructions ------------------------------------


class Instruction:
    """A row on spans: shape of the result, and for each operand its strides (in slots).

    Operands have regions of their own unless `starts` says where they begin in one common region.
    """

    def __init__(self, row, shape, strides, constants="", starts=None, seed=0, values=None):
        self.row, self.shape = row, shape
        self.rng = np.random.default_rng([seed, zlib.crc32(row.name.encode())])
        self.size = prod(shape)
        self.constants = [x in constants for x in row.operands]
        steps = np.indices(shape).reshape(len(shape), self.size)
        self.places, start = [], 3
        for j, stride in enumerate(strides):
            walked = np.asarray(stride) @ steps if shape else np.zeros(1, int)
            offset = start - walked.min() if starts is None else starts[j]
            self.places.append(offset + walked)
            start = max(start, int(self.places[-1].max()) + 4)
        self.z = start
        self.numbers(values)
        flags = sum(1 << j for j, constant in enumerate(self.constants) if constant)
        loops = [
            (extent, z, *(s[i] for s in strides), *[0] * (3 - len(strides)))
            for i, (extent, z) in enumerate(zip(shape, nest.contiguous(shape), strict=True))
        ]
        first = [place[0] if place.size else 0 for place in self.places] + [0, 0]
        self.descriptor = nest.descriptor(self.size, nest.collapsed(loops), flags, first[2])
        self.first = first

    def numbers(self, values):
        """Operand values from the row's domain, or given; everything else is nan or random."""
        end = self.z + self.size + 20
        self.v, self.k = np.full((2, end), np.nan)
        for j, place in enumerate(self.places):
            low, high = self.row.domain[j]
            given = values[j] if values is not None else self.rng.uniform(low, high, self.size)
            (self.k if self.constants[j] else self.v)[place] = self.whole(j, given)
        self.g, self.t, self.h = self.rng.uniform(-2.0, 2.0, (3, end))

    def whole(self, j, given):
        return np.round(given) if self.row.name == "polygamma" and j == 0 else given

    def wide(self):
        columns = {name: getattr(self, name) for name in "vkgth"}
        return Frame(
            op=[WIDE_CODES[self.row.name]], out=[self.z], a=[self.first[0]], b=[self.first[1]],
            c=[2], m=[-7, -7, *self.descriptor], scratch=np.full(64, -9), **columns,
        )  # fmt: skip

    def scalars(self):
        """An instruction for each element; constants have slots of their own behind all others."""
        end, form = len(self.v), forms(self.row)[0]
        places = [
            place + end * (constant == (form[j] == "v"))  # in the other pool
            for j, (place, constant) in enumerate(zip(self.places, self.constants, strict=True))
        ] + [np.zeros(self.size)] * 2
        nothing = np.zeros(end)
        return Frame(
            op=[CODES[self.row.name, form]] * self.size, out=self.z + np.arange(self.size),
            a=places[0], b=places[1], c=places[2], scratch=np.zeros(64), m=[0],
            k=np.append(self.k, self.v), v=np.append(self.v, self.k), g=np.append(self.g, nothing),
            t=np.append(self.t, nothing), h=np.append(self.h, nothing),
        )  # fmt: skip

    @property
    def result(self):
        return slice(self.z, self.z + self.size)

    def outside(self, column):
        """A column without the result."""
        return np.delete(column, np.arange(self.z, self.z + self.size))

    def check(self, exact=False, kinds=KERNELS):
        """Run wide and scalar sweeps; compare everything, sums to rounding unless `exact`."""
        wide, scalars = self.wide(), self.scalars()
        end = len(self.v)
        assert wide.run("forward") == scalars.run("forward") == 0
        assert same(wide.v[self.result], scalars.v[self.result])
        assert same(self.outside(wide.v), self.outside(self.v))
        if "tangent" in kinds:
            assert wide.run("tangent") == scalars.run("tangent") == 0
            assert close(wide.t[self.result], scalars.t[self.result], exact)
            assert same(self.outside(wide.t), self.outside(self.t))
        for kind, columns in (("reverse", "g"), ("second", "gh")):
            if kind not in kinds:
                continue
            for name in "gh":
                wide.columns[name][:] = getattr(self, name)
                scalars.columns[name][:end] = getattr(self, name)
            assert wide.run(kind) == scalars.run(kind) == 0
            for name in columns:
                got, expected = wide.columns[name], scalars.columns[name][:end]
                assert close(got, expected, exact), (kind, name)
                moving = [p for p, c in zip(self.places, self.constants, strict=True) if not c]
                touched = np.concatenate([np.zeros(0, int), *moving])
                before = getattr(self, name)
                assert same(np.delete(got, touched), np.delete(before, touched))
        assert same(wide.k, self.k)
        return wide


def same(a, b):
    """Equal bits, the payload of a nan apart."""
    a, b = np.asarray(a), np.asarray(b)
    return bool(((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))).all())


def close(a, b, exact):
    """Equal, 0.0 and -0.0 too, or to the rounding of a sum."""
    if exact:
        return bool(((a == b) | (np.isnan(a) & np.isnan(b))).all())
    finite = np.abs(b[np.isfinite(b)])
    return np.allclose(a, b, rtol=1e-12, atol=1e-13 * finite.max(initial=1.0), equal_nan=True)


# --- every row ------------------------------------------------------------------------------------


def dense(row, size):
    return Instruction(row, (size,), [(1,)] * len(row.operands))


@rows
def test_all_points(row):
    """Zeros, infinities, nan, subnormals and all else that the test matrix has, to the bit."""
    points = matrix.points(row)
    strides = [(1,)] * len(row.operands)
    at = Instruction(row, (len(points),), strides, values=points.T)
    at.g[at.z : at.z + at.size : 3] = 0.0
    at.check(exact=True)


@rows
def test_no_adjoint_and_no_tangent_contribute_nothing(row):
    """Exactly nothing, against whatever partial derivative."""
    points = matrix.points(row)
    at = Instruction(row, (len(points),), [(1,)] * len(row.operands), values=points.T)
    at.g[at.result] = at.h[at.result] = 0.0
    at.t[: at.z] = 0.0
    wide = at.wide()
    assert wide.run("forward") == wide.run("tangent") == 0
    assert (wide.t[at.result] == 0).all()
    for kind, columns in (("reverse", "g"), ("second", "gh")):
        assert wide.run(kind) == 0
        for name in columns:
            assert (wide.columns[name] == getattr(at, name)).all()


@rows
@pytest.mark.parametrize("size", [1, 2, 3, 4, 15, 16, 17, 33, 100])
def test_sizes(row, size):
    dense(row, size).check(exact=True)


# Names of strides in a result of shape (3, 4, 5): as far as the operand has these axes.
WALKS = {
    "dense": (20, 5, 1),
    "standing": (0, 0, 0),
    "row": (0, 0, 1),
    "column": (0, 1, 0),
    "plane": (0, 5, 1),
    "stack": (5, 0, 1),
    "strided": (40, 10, 2),
    "reversed": (-20, -5, -1),
    "transposed": (1, 3, 12),
    "windows": (2, 1, 1),
}


@rows
@pytest.mark.parametrize("shape", [(5,), (4, 5), (3, 4, 5)], ids=len)
def test_walks(row, shape):
    """Every operand in every walk, beside others in different ones."""
    count, names = len(row.operands), list(WALKS)
    for k in range(len(names)):
        others = [names[(k + 3 * j) % len(names)] for j in range(count)]
        chosen = [WALKS[n][3 - len(shape) :] for n in others]
        for j in range(count):  # each operand in turn
            turned = chosen[-j:] + chosen[:-j] if j else chosen
            Instruction(row, shape, turned).check()


@rows
def test_constants(row):
    """Constants are read from k, and get neither adjoint nor tangent: every mix of them."""
    operands = row.operands
    for count in range(1, len(operands) + 1):
        for constants in itertools.combinations(operands, count):
            for walk in ("dense", "standing", "row", "strided"):
                strides = [WALKS[walk][1:]] + [WALKS["dense"][1:]] * (len(operands) - 1)
                Instruction(row, (4, 5), strides, constants).check()


# --- walks that need no more than a few rows ------------------------------------------------------

SOME = [ROWS[name] for name in ("add", "multiply", "hypot", "exp", "fma", "less")]
some = pytest.mark.parametrize("row", SOME, ids=lambda row: row.name)


@some
@pytest.mark.parametrize("inner", [1, 2, 16, 35])
def test_odometer(row, inner):
    """Up to six loops that do not merge."""
    rng = np.random.default_rng(inner)
    for shape in [(2, 3, 2, inner), (3, 2, 2, 2, inner), (2, 3, 2, 2, 3, inner)]:
        steps = nest.contiguous(shape)
        for _ in range(4):
            strides = [
                tuple(int(s) * k for s, k in zip(rng.permutation(steps), kinds, strict=True))
                for kinds in rng.choice([0, 1, 1, 2, -1], (len(row.operands), len(shape)))
            ]
            Instruction(row, shape, strides).check()


def test_no_loops():
    """A result of one element has a descriptor without loops."""
    for row in SOME:
        at = Instruction(row, (), [()] * len(row.operands))
        assert at.descriptor[nest.LOOPS] == 0
        at.check(exact=True)


@pytest.mark.parametrize("name", ["multiply", "divide", "hypot", "mz"])
@pytest.mark.parametrize("size", [1, 4, 16, 40])
@pytest.mark.parametrize("starts", [(3, 3), (4, 3), (3, 4), (3, 19), (19, 3)])
def test_operands_may_overlap(name, size, starts):
    """x * x, x[1:] * x[:-1] and the like."""
    for strides in ([(1,), (1,)], [(1,), (2,)], [(1,), (0,)], [(0,), (1,)], [(-1,), (1,)]):
        first = (size + 2, starts[1]) if strides[0] == (-1,) else starts
        Instruction(ROWS[name], (size,), strides, starts=first).check()


def test_ternary_operands_may_be_one_span():
    Instruction(ROWS["fma"], (33,), [(1,)] * 3, starts=(3, 3, 3)).check()


def test_lanes_beyond_the_end_do_not_leak():
    """The slots after an operand are nan and infinite, the adjoints after the result are too."""
    for row, size, other in itertools.product(SOME, (1, 5, 17), (np.nan, np.inf)):
        at = Instruction(row, (size,), [(1,)] + [(0,)] * (len(row.operands) - 1))
        after = slice(at.z + size, None)
        at.g[after] = at.h[after] = at.t[after] = at.v[after] = other
        at.check()
        at = Instruction(row, (3, size), [(0, 1)] + [(1, 0)] * (len(row.operands) - 1))
        at.g[at.z + 3 * size :] = other
        at.check()


# --- the branch in the ladder ---------------------------------------------------------------------


def test_wide_among_scalars():
    """exp of a span between scalar instructions, in both directions."""
    op = [CODES["add", "vk"], WIDE_CODES["exp"], CODES["multiply", "vv"]]
    frame = Frame(
        op=op, out=[2, 3, 6], a=[0, 0, 4], b=[0, 0, 5], c=[0, 0, 0], k=[1.5], scratch=np.zeros(64),
        m=nest.descriptor(3, [(3, 1, 1, 0, 0)]), v=[0.5, 0.25, *[np.nan] * 5],
        g=[0.0] * 6 + [1.0], t=[1.0, *[0.0] * 6], h=np.zeros(7),
    )  # fmt: skip
    assert frame.run("forward") == 0
    e = np.exp([0.5, 0.25, 2.0])
    assert np.allclose(frame.v[2:], [2.0, *e, e[1] * e[2]], rtol=1e-15)
    assert frame.run("reverse") == 0
    # The first slot of the span has no adjoint; the kernel must run all the same.
    assert frame.g[3] == 0.0
    product = e[1] * e[2]
    assert np.allclose(frame.g[:3], [product, product, product], rtol=1e-14)
    assert frame.run("tangent") == 0
    assert np.allclose(frame.t[6], product, rtol=1e-14)
    frame.g[:6] = frame.h[:] = 0.0
    assert frame.run("second") == 0
    assert np.allclose(frame.g[:2], [product, product], rtol=1e-14)
    assert np.allclose(frame.h[:2], [product, product], rtol=1e-14)


class Answering:
    """A kernel that only answers a status."""

    def __init__(self, status):
        import ctypes

        self.calls = []

        def answer(frame, i, end):
            self.calls.append((i, end))
            return status

        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_uint64] * 3)
        self.function = kind(answer)
        self.address = ctypes.cast(self.function, ctypes.c_void_p).value


@pytest.mark.parametrize("kind", KERNELS)
def test_a_status_stops_the_sweep(kind, monkeypatch):
    asked = Answering(3)
    monkeypatch.setattr("test_maps.kernel", lambda name, kind: asked)
    columns = dict.fromkeys("abc", [0] * 3)
    frame = Frame(op=[WIDE_CODES["exp"]] * 3, out=[1, 2, 3], k=[0.0], m=[0] * 5,
                  **columns, **{name: np.zeros(4) for name in NUMBERS})  # fmt: skip
    first = 0 if kind in ("forward", "tangent") else 2
    assert frame.run(kind) == first + 1
    assert asked.calls == [(first, first + 1)]
    assert frame.frame[FRAME.index("status")] == 3


@pytest.mark.parametrize("code", [max(CODES.values()) + 1, FIRST_WIDE - 1, FIRST_WIDE + len(WIDE)])
@pytest.mark.parametrize("kind", KERNELS)
def test_unknown_opcodes_stop_the_sweep(kind, code):
    frame = Frame(op=[1, 1], out=[1, 2], a=[0, 0], b=[0, 0], c=[0, 0], k=[0.0], m=[0],
                  **{name: np.ones(3) for name in NUMBERS})  # fmt: skip
    frame.op[1] = code
    frame.frame[FRAME.index("status")] = 77
    call = run.entry("holding")
    assert call(run.address(SWEEPS[kind]), address_of(frame.frame), 0, 2) == 2
    assert frame.frame[FRAME.index("status")] == 0


# --- which operands are reached -------------------------------------------------------------------


def reached(name, descriptor, marks, spent=(), end=60, a=2, b=20):
    """The marked slots after `reach` over one instruction whose result begins at slot 40."""
    mark = np.zeros(end, np.uint8)
    mark[list(marks)] = 1
    mark[list(spent)] |= 2
    frame = Frame(op=[WIDE_CODES[name]], out=[40], a=[a], b=[b], c=[0], m=descriptor, mark=mark,
                  scratch=np.full(64, 5))  # fmt: skip
    call = run.entry("holding")
    assert call(run.address("reach"), address_of(frame.frame), 0, 1) == 0
    return set(np.flatnonzero(frame.mark[:40] & 1).tolist())


def test_reach_follows_the_loops():
    loops = [(2, 6, 3, 0, 0), (3, 2, 0, 7, 0), (2, 1, 1, -1, 0)]
    d = nest.descriptor(12, loops)
    x = {2 + 3 * i + k for i in range(2) for k in range(2)}
    y = {20 + 7 * j - k for j in range(3) for k in range(2)}
    assert reached("multiply", d, [45]) == x | y
    assert reached("multiply", d, [51]) == x | y
    assert reached("multiply", d, [39, 52]) == {39}  # beside the result
    assert reached("exp", d, [40]) == x
    assert reached("multiply", (12, 1, *d[2:]), [40]) == y  # x is constant
    assert reached("multiply", (12, 2, *d[2:]), [40]) == x
    assert reached("add", nest.descriptor(1, []), [40]) == {2, 20}
    assert reached("sum", nest.descriptor(1, [(9, 0, 1, 0, 0)]), [40]) == set(range(2, 11))


def test_reach_stops_at_spent_results():
    d = nest.descriptor(3, [(3, 1, 1, 1, 0)])
    assert reached("exp", d, [40, 41], spent=[40, 41, 42]) == set()
    assert reached("exp", d, [40, 41], spent=[40]) == {2, 3, 4}


def test_reach_of_ternary_rows():
    d = nest.descriptor(3, [(3, 1, 1, 0, 2)], u=30)
    assert reached("fma", d, [42]) == {2, 3, 4, 20, 30, 32, 34}


def test_reach_of_other_kinds():
    assert reached("wide_input", nest.descriptor(3, [], 1), [40]) == set()
    assert reached("collect", (*nest.descriptor(4, []), 7, -1, 3, 30), [41]) == {3, 7, 30}
    gather = nest.descriptor(2, [], kind_word=5)
    assert reached("gather", gather, [40]) == {2, 3, 4, 5, 6, 20, 21}
    assert reached("gather", nest.descriptor(2, [], 2, kind_word=5), [40]) == {2, 3, 4, 5, 6}
    scatter = nest.descriptor(3, [], u=30, kind_word=2)
    assert reached("scatter_add", scatter, [40]) == {2, 3, 4, 20, 21, 30, 31}
    assert reached("scatter_add", nest.descriptor(3, [], 5, 30, 2), [40]) == {20, 21}
    call = (*nest.descriptor(2, []), 2, 5, 3, 30, 1)
    assert reached("call", call, [41]) == {5, 6, 7, 30}


# --- compiling ------------------------------------------------------------------------------------


def test_kernels_exist_for_every_row():
    for row, kind in itertools.product(ROWS_ON_SPANS, KERNELS):
        assert isinstance(kernel(row.name, kind), _jit.Sweep)


def test_rows_without_derivative_share_their_kernels():
    assert kernel("less", "reverse") is kernel("floor", "second")
    assert kernel("less", "tangent") is kernel("stop", "tangent")
