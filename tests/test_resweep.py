"""Decisions are recorded: masks, permutations and indices follow the inputs of a replay.

Every program is recorded with numbers that decide one way and swept with numbers that decide the
other way; values and gradients must be those of a fresh recording, bit by bit.
"""

import numpy as np
import pytest

import ndtape as nt
from ndtape import passes
from ndtape.record.arrays import moves
from ndtape.record.values import Boolean, Integer
from ndtape.run import Workspace

ONE = np.array([-1.2, 0.7, -0.31, 1.9, -2.6, 0.15])  # sorted otherwise, all signs otherwise:
TWO = -1.3 * ONE
W = np.array([0.3, -1.0, 2.0, 0.7, 1.1, -0.4])
TABLE = np.array([0.5, -1.5, 2.0, 4.0, -3.0, 0.25, 1.0, 6.0])
EDGES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
M = (2, 3)


def replay(f, one, two):
    """Value and gradient of f at `two`, by a tape recorded at `one`."""
    tape, _, _ = recorded(f, one)
    sealed = passes.seal(tape)
    nt.verify(sealed)
    work = Workspace(sealed)
    work.set_inputs(np.ravel(two))
    root = sealed.slots - 1
    value = work.value(root)
    gradient = work.gradient(root)[: np.size(two)].copy()
    return value, gradient


def recorded(f, x):
    """A tape whose only input is a leaf and whose last instruction is the root."""
    leaf = nt.var(x)
    with nt.Tape() as tape:
        start = leaf * 1.0
        y = nt.tanh(f(start) * 0.125)
    assert [slot for slot, _ in tape.inputs] == [0]
    return tape, y, leaf


def check(f, one=ONE, two=TWO):
    value, gradient = replay(f, one, two)
    tape, y, leaf = recorded(f, two)
    assert value == y.value
    assert value == pytest.approx(np.tanh(f(two.copy()) * 0.125), rel=1e-12)
    assert (gradient == np.ravel(tape.gradient(y, leaf))).all()
    step, found = 1e-6, np.zeros(two.size)
    for j in range(two.size):
        d = np.zeros(two.size)
        d[j] = step
        d = d.reshape(two.shape)
        up, down = (np.tanh(f(two + s * d) * 0.125) for s in (1, -1))
        found[j] = (up - down) / (2 * step)
    assert gradient == pytest.approx(found, rel=1e-6, abs=1e-8)


# --- what decisions are --------------------------------------------------------------------------

BOOLEANS = {
    "less": lambda x: x < 0.1,
    "less_equal": lambda x: x <= 0.1,
    "greater": lambda x: x > 0.1,
    "greater_equal": lambda x: 0.1 <= x,
    "equal": lambda x: np.sign(x) == 1.0,
    "not_equal": lambda x: np.sign(x) != 1.0,
    "between arrays": lambda x: x > W * x,
    "np.less": lambda x: np.less(x, 0.1),
    "np.equal": lambda x: np.equal(np.sign(x), 1.0),
    "and": lambda x: (x > 0.0) & (x < 9.0),
    "or": lambda x: (x > 0.0) | (x > 9.0),
    "xor": lambda x: (x > 0.0) ^ np.ones(x.shape, bool),
    "not": lambda x: ~(x > 0.0),
    "logical_and": lambda x: np.logical_and(x > 0.0, x > -1.0),
    "logical_or": lambda x: np.logical_or(x > 0.0, x > 9.0),
    "logical_not": lambda x: np.logical_not(x > 0.0),
    "logical_xor": lambda x: np.logical_xor(x > 0.0, True),
    "isnan": lambda x: np.isnan(np.sqrt(x)),
    "isfinite": lambda x: np.isfinite(np.sqrt(x)),
    "isinf": lambda x: np.isinf(np.where(x > 0.0, np.inf, x)),
    "signbit": lambda x: np.signbit(x),
    "isclose": lambda x: np.isclose(np.sign(x), 1.0),
    "astype": lambda x: np.maximum(x, 0.0).astype(bool),
    "cumulative": lambda x: np.cumsum(x - 9.0 * np.sign(x)[0]) > 0.0,
}
INTEGERS = {
    "argsort": lambda x: np.argsort(x),
    "argsort descending": lambda x: np.argsort(-x),
    "argsort of rows": lambda x: np.argsort(x.reshape(3, 2), axis=1),
    "argmax": lambda x: np.argmax(x.reshape(M), axis=1),
    "argmin": lambda x: np.argmin(x.reshape(M), axis=1),
    "searchsorted": lambda x: np.searchsorted(EDGES, x),
    "digitize": lambda x: np.digitize(x, EDGES),
    "astype": lambda x: (x * 10.0).astype(int),
    "mask astype": lambda x: (x > 0.0).astype(int),
    "count": lambda x: np.sum(x.reshape(3, 2) * [1.0, 0.1] > 0.0, axis=0),
    "cumsum of a mask": lambda x: np.cumsum(x > 0.0)[:1],
    "sum of integers": lambda x: 2 * np.argsort(x) + 1,
    "nonzero": lambda x: np.nonzero(x > 0.0)[0],
}
ROUNDED = {
    "rint": lambda x: np.rint(x * 3.0),
    "floor": lambda x: np.floor(x),
    "ceil": lambda x: np.ceil(x - 0.1),
    "trunc": lambda x: np.trunc(x * 9.0),
    "round": lambda x: np.round(x, 1),
    "around": lambda x: np.around(x * 10.0),
    "round method": lambda x: x.round(1),
    "sign": lambda x: np.sign(x),
    "floor_divide": lambda x: x // 0.25,
    "fix": lambda x: np.trunc(x * 9.0),
}


def _recorded_at(f, x):
    with nt.Tape():
        return f(nt.var(x) * 1.0)


@pytest.mark.parametrize("name", BOOLEANS)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_masks_are_recorded(name):
    f = BOOLEANS[name]
    found = _recorded_at(f, ONE)
    assert isinstance(found, nt.Array) and found.dtype == bool and moves(found)
    assert found.value.tolist() == f(ONE).tolist()
    assert (f(ONE) != f(TWO)).all(), "the test must change every element"
    check(lambda x: np.sum(np.where(f(x), x * x, 2.0 * W * x)))


@pytest.mark.parametrize("name", INTEGERS)
def test_positions_are_recorded(name):
    f = INTEGERS[name]
    found = _recorded_at(f, ONE)
    assert isinstance(found, nt.Array) and found.dtype == np.int64 and moves(found)
    assert found.value.tolist() == f(ONE).tolist()
    assert (f(ONE) != f(TWO)).all(), "the test must change every element"
    check(lambda x: np.sum(f(x) * 0.5 * x[: np.size(f(ONE))].reshape(np.shape(f(ONE)))))


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_numbers_are_recorded(name):
    f = ROUNDED[name]
    found = _recorded_at(f, ONE)
    assert isinstance(found, nt.Array) and moves(found)
    assert found.value.tolist() == f(ONE).tolist()
    assert (f(ONE) != f(TWO)).all(), "the test must change every element"
    check(lambda x: np.sum(f(x) * x))


def test_scalar_decisions_are_recorded():
    with nt.Tape():
        x = nt.var(ONE) * 1.0
        assert isinstance(x[0] < 0.0, Boolean)
        assert isinstance(np.any(x > 0.0), Boolean) and isinstance(np.all(x > 0.0), Boolean)
        assert isinstance(np.argmax(x), Integer) and isinstance(np.argmin(x), Integer)
        assert isinstance(np.searchsorted(EDGES, x[0]), Integer)
        assert isinstance(np.count_nonzero(x > 0.0), Integer)


# --- programs of decisions -----------------------------------------------------------------------


def put(x, key, value):
    y = x * 1.0
    y[key(y)] = value(y)
    return y


def added(x, key, value):
    y = x * 1.0
    np.add.at(y, key(x), value(x))
    return y


def clipped_in_place(x):
    y = x * 1.0
    y[y > 1.0] = 1.0
    y[y < -1.0] = y[0] * 0.5
    y *= y > -0.5
    return np.sum(y * y * W)


def scaled_where(x):
    y = x * 1.0
    y[y > 0.0] *= 0.5
    return np.sum(y * y * W)


def bubble(x):
    """Sorting by compare and exchange of recorded numbers: no function of NumPy sorts here."""
    y = x * 1.0
    n = y.shape[0]
    for _ in range(n):
        for i in range(n - 1):
            low, high = np.minimum(y[i], y[i + 1]), np.maximum(y[i], y[i + 1])
            y[i], y[i + 1] = low, high
    return np.sum(y * W)


def one_hot(x):
    """A row of zeros with a one where the largest is."""
    y = np.zeros_like(x)
    y[np.argmax(x)] = 1.0
    return np.sum(y * x * x * W)


def largest_of_rows(x):
    m = x.reshape(M)
    return np.sum(m[np.arange(2), np.argmax(m, axis=1)] ** 2)


def masks_in_place(x):
    m = x > 0.0
    m &= x < 1.0
    m[0] = x[1] > 0.5
    m |= x < -2.0
    return np.sum(np.where(m, x * x, W * x))


def indices_in_place(x):
    i = np.argsort(x)
    i[0] = i[1]
    i += 1
    i %= 6
    i[2:] = i[:-2]
    return np.sum(x[i] ** 2 * W)


def insertion_sort(x):
    """Swaps of recorded places."""
    y = x * 1.0
    for i in range(6):
        j = np.argmin(y[i:]) + i
        y[i], y[j] = y[j], y[i] * 1.0
    return np.sum(y * W)


def histogram(x):
    """Counts, and sums, of what falls into bins."""
    k = np.searchsorted(EDGES, x)
    sums = np.zeros_like(x)
    np.add.at(sums, k, x * x)
    return np.sum(sums * W)


def newton(x):
    """Steps that stop where a mask says so."""
    y = x * 1.0
    for _ in range(4):
        step = (y * y - 2.0) / (y + np.where(y > 0.0, 1.0, -1.0))
        y = np.where(np.abs(step) > 0.3, y - step, y)
    return np.sum(y * W)


def table_like(x):
    return TABLE if isinstance(x, np.ndarray) else nt.array(TABLE)


PROGRAMS = {
    "where": lambda x: np.sum(np.where(x > 0.0, np.sin(x), x * x)),
    "where with constants": lambda x: np.sum(np.where(x > 0.0, x, -1.0) * W),
    "mask times": lambda x: np.sum((x > 0.0) * x * x),
    "mask write number": lambda x: np.sum(put(x, lambda y: y > 0.2, lambda y: 3.0) * W),
    "mask write element": lambda x: np.sum(put(x, lambda y: y > 0.2, lambda y: y[0]) * W),
    "mask write array": lambda x: np.sum(put(x, lambda y: y > 0.0, lambda y: (y * y)[y > 0.0]) * W),
    "mask read": lambda x: np.sum(x[x > 0.0] ** 3),
    "mask read of rows": lambda x: np.sum(x.reshape(3, 2)[x[::2] > -9.0] ** 3),
    "mask read behind": lambda x: np.sum((x * W)[x < 0.0]),
    "clip in place": clipped_in_place,
    "mask augmented": scaled_where,
    "gather": lambda x: np.sum(x[np.argsort(x)] * W),
    "gather of constants": lambda x: np.sum(TABLE[:6] * x * x[np.argsort(x)]),
    "table": lambda x: np.sum(table_like(x)[np.searchsorted(EDGES, x)] * x),
    "gather rows": lambda x: np.sum(x.reshape(3, 2)[np.argsort(x[::2])] ** 2 * W.reshape(3, 2)),
    "gather columns": lambda x: np.sum(x.reshape(2, 3)[:, np.argsort(x[:3])] * W.reshape(2, 3)),
    "gather points": lambda x: np.sum(
        x.reshape(2, 3)[np.argmax(x.reshape(2, 3), axis=0) * 1, np.array([0, 1, 2])] ** 2
    ),
    "gather with None": lambda x: np.sum(x[np.argsort(x)[:3], None] * W[:4]),
    "negative index": lambda x: np.sum(x[-1 - np.argsort(x)] * W),
    "element": lambda x: x[np.argmax(x)] * x[np.argmin(x)],
    "neighbour": lambda x: x[np.argmax(x) - 1] * x[(np.argmin(x) + 1) % 6],
    "row": lambda x: np.sum(x.reshape(3, 2)[np.argmax(x[:3])] ** 2),
    "largest of rows": largest_of_rows,
    "one hot": one_hot,
    "masks in place": masks_in_place,
    "indices in place": indices_in_place,
    "insertion sort": insertion_sort,
    "histogram": histogram,
    "newton": newton,
    "index write": lambda x: np.sum(put(x, lambda y: np.argsort(y)[:2], lambda y: 2.0) * x * W),
    "index write array": lambda x: np.sum(put(x, lambda y: np.argsort(y), lambda y: y * y) * W),
    "index write repeated": lambda x: np.sum(
        put(x, lambda y: np.searchsorted(EDGES, y), lambda y: y * y) * W
    ),
    "add at": lambda x: np.sum(added(x, lambda x: np.argsort(x), lambda x: x * x) * W),
    "add at repeated": lambda x: np.sum(
        added(x, lambda x: np.searchsorted(EDGES, x), lambda x: x * x) * W
    ),
    "sort": lambda x: np.sum(np.sort(x) * W),
    "sort rows": lambda x: np.sum(np.sort(x.reshape(3, 2), axis=0) * W.reshape(3, 2)),
    "bubble sort": bubble,
    "max": lambda x: np.max(x) * 2.0 + np.min(x),
    "max of rows": lambda x: np.sum(np.max(x.reshape(M), axis=1) ** 2),
    "maximum": lambda x: np.sum(np.maximum(x, W) * np.minimum(x, 0.3)),
    "median": lambda x: np.median(x) * np.sum(x),
    "take_along_axis": lambda x: np.sum(
        np.take_along_axis(x.reshape(M), np.argsort(x.reshape(M), axis=1), axis=1) * W.reshape(M)
    ),
    "take": lambda x: np.sum(np.take(x, np.argsort(x)) * W),
    "clip": lambda x: np.sum(np.clip(x, -0.5, 0.5) * W + x),
    "abs": lambda x: np.sum(np.abs(x) * W),
    "choice of a scalar": lambda x: nt.where(x[0] > 0.0, x[1], x[2] * x[3]) * 1.0,
    "cummax": lambda x: np.sum(np.maximum.reduce(x.reshape(M)) * W[:3]),
    "rank": lambda x: np.sum(np.argsort(np.argsort(x)) * x),
    "interp": lambda x: np.sum(np.interp(x, EDGES, TABLE[:5])),
    "prod": lambda x: np.prod(np.where(x > 0.0, x, 1.0 + x * x)),
    "where of indices": lambda x: np.sum(x[np.where(x > 0.0, 1, 2)] * W),
    "fmod": lambda x: np.sum(np.mod(x, 0.4) * W),
    "norm of the largest": lambda x: np.linalg.norm(x[np.argsort(x)[-2:]]),
    "nonzero": lambda x: np.sum(x[np.nonzero(x > 0.0)] * W[:3]),
    "count": lambda x: np.sum(x > 0.5) * np.sum(x),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_follow_new_inputs(name):
    check(PROGRAMS[name])


@pytest.mark.parametrize("name", ["gather", "mask write number", "sort", "one hot", "add at"])
def test_second_order_follows(name):
    """The recorded gradient is a program like any other, decisions included."""
    f = PROGRAMS[name]

    def slope(x):
        return np.sum(nt.grad(lambda x: nt.tanh(f(x)))(x) * W)

    value, gradient = replay(slope, ONE, TWO)
    tape, y, leaf = recorded(slope, TWO)
    assert value == y.value
    assert (gradient == tape.gradient(y, leaf)).all()


def test_many_replays():
    """Masks that change from sweep to sweep leave nothing behind."""
    rng = np.random.default_rng(0)
    f = PROGRAMS["one hot"]
    tape, _, _ = recorded(f, ONE)
    sealed = passes.seal(tape)
    work = Workspace(sealed)
    for _ in range(30):
        x = rng.normal(size=6)
        work.set_inputs(x)
        g = work.gradient(sealed.slots - 1)[:6].copy()
        again, y, leaf = recorded(f, x)
        assert work.value(sealed.slots - 1) == y.value
        assert (g == again.gradient(y, leaf)).all()


# --- what cannot follow is an error --------------------------------------------------------------

OTHER_COUNT = np.array([1.0, 2.0, 3.0, -1.0, 4.0, 5.0])
COUNTED = {
    "read": PROGRAMS["mask read"],
    "write": PROGRAMS["mask write array"],
    "nonzero": PROGRAMS["nonzero"],
    "compress": lambda x: np.sum(np.compress(x > 0.0, x) ** 2),
    "augmented": scaled_where,
    "nothing before": lambda x: np.sum(x[:3][x[::2] > 0.0] ** 2),
    "rows, none before": lambda x: np.sum(x.reshape(3, 2)[x[::2] > 0.0] ** 2),
    "written, none before": lambda x: np.sum(
        put(x[:3], lambda y: x[::2] > 0.0, lambda y: (y * y)[x[::2] > 0.0])
    ),
}


@pytest.mark.parametrize("name", COUNTED)
def test_another_number_of_elements_is_an_error(name):
    """A tape has one shape for each value: a mask that selects more or fewer cannot be replayed."""
    f = COUNTED[name]
    tape, _, _ = recorded(f, ONE)
    sealed = passes.seal(tape)
    work = Workspace(sealed)
    work.set_inputs(OTHER_COUNT)
    with pytest.raises(nt.TapeError, match=r"record|elements|shape"):
        work.value(sealed.slots - 1)
    work.set_inputs(TWO)  # it does no harm
    if "none" not in name and "nothing" not in name:
        _, y, _ = recorded(f, TWO)
        assert work.value(sealed.slots - 1) == y.value


OUTSIDE = {
    "vector": lambda x: np.sum(x[(x[:2] * 2.0).astype(int)]),
    "rows": lambda x: np.sum(x.reshape(3, 2)[(x[:2] * 1.0).astype(int)]),
    "columns": lambda x: np.sum(x.reshape(2, 3)[:, (x[:2] * 1.0).astype(int)]),
    "write": lambda x: np.sum(put(x, lambda y: (y[:2] * 2.0).astype(int), lambda y: 1.0) * W),
    "add at": lambda x: np.sum(added(x, lambda x: (x[:2] * 2.0).astype(int), lambda x: 1.0) * x),
    "take": lambda x: np.sum(np.take(x, (x[:2] * 2.0).astype(int))),
}
INSIDE_NUMBERS = np.array([0.6, 1.1, 2.0, 3.0, 4.0, 5.0])
OUTSIDE_NUMBERS = np.array([0.6, 3.6, 2.0, 3.0, 4.0, 5.0])


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", OUTSIDE)
def test_an_index_that_leaves_its_array_is_an_error(name, sign):
    f = OUTSIDE[name]
    tape, _, _ = recorded(f, INSIDE_NUMBERS)
    sealed = passes.seal(tape)
    work = Workspace(sealed)
    work.set_inputs(OUTSIDE_NUMBERS)
    if sign < 0:
        work.set_inputs(OUTSIDE_NUMBERS * [1.0, 2 * sign, 1, 1, 1, 1])
    with pytest.raises(nt.TapeError, match=r"index|out of bounds"):
        work.value(sealed.slots - 1)
    with pytest.raises(nt.TapeError, match=r"index|out of bounds"):
        work.gradient(sealed.slots - 1)
    with pytest.raises(nt.ShapeError, match=r"out of bounds"):
        recorded(f, OUTSIDE_NUMBERS * [1.0, 2 * sign, 1, 1, 1, 1])
