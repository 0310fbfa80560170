"""Writes in place against functional truth: NumPy's values, and jets in NumPy's object arrays."""

import random

import jets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import (
    Cell,
    a_view,
    apart_from_kinks,
    array_key,
    basic_key,
    cast,
    close,
    each,
    flat,
    weighed,
)

import ndtape as nt
from ndtape import passes
from ndtape.run import Workspace

SHAPES = [(2, 3), (4,), ()]
KINK = 0.1371  # masks compare with it

# --- programs ------------------------------------------------------------------------------------


class Machine:
    """Arrays in all worlds, and the steps that change them."""

    def __init__(self, cells):
        self.cells = cells
        jet = cells[-1].jet
        self.like = None if jet is None else jet.item()

    def pick(self, number, keep=lambda c: True):
        chosen = [c for c in self.cells if keep(c)]
        return chosen[number % len(chosen)]

    def target(self, number):
        """An array that NumPy lets us write into."""
        return self.pick(number, lambda c: c.plain.ndim and c.plain.flags.writeable)

    def fitting(self, number, shape):
        """A value that broadcasts to a shape: an array, an element, or a plain number."""

        def fits(c):
            try:
                return np.broadcast_shapes(c.shape, shape) == shape
            except ValueError:
                return False

        chosen = [c for c in self.cells if fits(c)]
        if number % 5 == 0 or not chosen:
            plain = np.round(np.sin(number + np.arange(int(np.prod(shape)))), 3).reshape(shape)
            if number % 2:
                plain = float(np.sin(number))
            return Cell(plain, plain, plain)
        return chosen[number % len(chosen)]

    def add(self, cell):
        """Remember an array, not too large nor too many."""
        if np.size(cell.plain) <= 24 and np.ndim(cell.plain) <= 3:
            self.cells.append(cell)
            if len(self.cells) > 8:
                del self.cells[random.Random(len(self.cells)).randrange(1, 6)]

    def write(self, cell, key, value):
        """cell[key] = value, in every world; the jets are rounded to what the array holds."""
        cell.plain[key] = value.plain
        if cell.jet is not None:
            cell.jet[key] = self.cast(value.jet, cell)[()]
        if cell.tape is not None:
            cell.tape[key] = value.tape

    def cast(self, x, cell):
        """What the array holds when jets or numbers are written into it."""
        return cast(x, cell.plain.dtype, self.like)

    def step(self, kind, a, b, seed):
        STEPS[kind](self, a, b, random.Random(seed))


def computed(m, a, b, rng):
    one, two = m.pick(a), m.pick(b)
    try:
        np.broadcast_shapes(one.shape, two.shape)
    except ValueError:
        two = one
    m.add(each(rng.choice(FUNCTIONS), one, two))


FUNCTIONS = [
    lambda x, y: 0.5 * (x + y), lambda x, y: x * y * 0.75, lambda x, y: x - y * 0.5,
    lambda x, y: np.tanh(x) + y * 0.25, lambda x, y: np.sin(x * y), lambda x, y: x / (2.0 + y * y),
    lambda x, y: np.where(x > KINK, x, y), lambda x, y: -x + 0.5, lambda x, y: np.square(x) * 0.5,
]  # fmt: skip


def seen(m, a, b, rng):
    cell = m.pick(a, lambda c: c.plain.ndim)
    m.add(a_view(rng.randrange(10**6), cell))


def written(m, a, b, rng):
    cell = m.target(a)
    key = basic_key(rng, cell.shape)
    m.write(cell, key, m.fitting(b, np.shape(cell.plain[key])))


def written_at_arrays(m, a, b, rng):
    cell = m.target(a)
    key = array_key(rng, cell.shape, repeats=False)
    m.write(cell, key, m.fitting(b, np.shape(cell.plain[key])))


def read_at_arrays(m, a, b, rng):
    cell = m.pick(a, lambda c: c.plain.ndim)
    key = array_key(rng, cell.shape, repeats=True)
    m.add(each(lambda x: x[key], cell))


def augmented(m, a, b, rng):
    """x += y, and x[key] += y, whose last step is a write."""
    cell = m.target(a)
    keys = [basic_key(rng, cell.shape), array_key(rng, cell.shape, repeats=False), Ellipsis]
    key = rng.choice(keys)
    value = m.fitting(b, np.shape(cell.plain[key]))
    kind = rng.randrange(4)
    if kind == 3 and isinstance(value.plain, np.ndarray):
        kind = 0

    def change(x, y):
        if kind == 0:
            x[key] += y
        elif kind == 1:
            x[key] -= 0.5 * y
        elif kind == 2:
            x[key] *= y
        else:
            x[key] /= 1.5

    change(cell.plain, value.plain)
    if cell.tape is not None:
        change(cell.tape, value.tape)
    if cell.jet is not None:
        change(cell.jet, value.jet)
        cell.jet[...] = m.cast(cell.jet, cell)


def in_place(m, a, b, rng):
    """The statement x += y on the array itself: all its views see it."""
    cell = m.target(a)
    value = m.fitting(b, cell.shape)
    kind = rng.randrange(3)
    for x, y in zip((cell.plain, cell.jet, cell.tape), (value.plain, value.jet, value.tape),
                    strict=True):  # fmt: skip
        if x is None:
            continue
        if kind == 0:
            x += y
        elif kind == 1:
            x -= y
        else:
            x *= y
        if x is cell.jet:
            cell.jet[...] = m.cast(cell.jet, cell)


def masked(m, a, b, rng):
    """x[x > c] = number or element, and x[mask] += number: masks that are recorded."""
    cell = m.target(a)
    scalars = [c for c in m.cells if not c.shape]
    value = rng.choice(scalars) if rng.random() < 0.5 else Cell(0.25, 0.25, 0.25)
    other = m.pick(b, lambda c: c.shape == cell.shape)
    for x, y, v in zip((cell.plain, cell.jet, cell.tape), (other.plain, other.jet, other.tape),
                       (value.plain, value.jet, value.tape), strict=True):  # fmt: skip
        if x is not None:
            mask = y > KINK
            x[mask] = m.cast(v, cell) if x is cell.jet else v


def swapped(m, a, b, rng):
    cell = m.target(a)
    n = cell.shape[0]
    if n > 1:
        i, j = rng.sample(range(n), 2)
        for x in cell.worlds:
            x[[i, j]] = x[[j, i]]


def overlapping(m, a, b, rng):
    """x[1:] = x[:-1] and the like: read before written."""
    cell = m.target(a)
    if cell.shape[0] < 2:
        return
    kind = rng.randrange(4)
    for x in cell.worlds:
        if kind == 0:
            x[1:] = x[:-1]
        elif kind == 1:
            x[:-1] = x[1:]
        elif kind == 2:
            x[:] = x[::-1]
        else:
            x[1:] += 0.5 * x[:-1]
        if x is cell.jet:
            cell.jet[...] = m.cast(cell.jet, cell)


def added_at(m, a, b, rng):
    cell = m.target(a)
    key = array_key(rng, cell.shape, repeats=True)
    value = m.fitting(b, np.shape(cell.plain[key]))
    for x, y in zip((cell.plain, cell.jet, cell.tape), (value.plain, value.jet, value.tape),
                    strict=True):  # fmt: skip
        if x is not None:
            np.add.at(x, key, y)
    if cell.jet is not None:
        cell.jet[...] = m.cast(cell.jet, cell)


def filled(m, a, b, rng):
    """A new array of plain numbers, filled by elements along its first axis."""
    source = m.pick(a, lambda c: c.plain.ndim)
    constant = np.zeros(source.shape, source.plain.dtype)
    jet = None if source.jet is None else np.zeros(source.shape, object)
    tape = None if source.tape is None else nt.zeros(source.shape, source.plain.dtype)
    cell = Cell(constant, jet, tape)
    for x, y in zip(cell.worlds, source.worlds, strict=True):
        for i in range(source.shape[0]):
            x[i] = y[i] if i == 0 else 0.5 * x[i - 1] + y[-i]
    if jet is not None:
        cell.jet[...] = m.cast(cell.jet, cell)
    m.add(cell)


def element(m, a, b, rng):
    """A scalar read, changed and written elsewhere."""
    one, two = m.pick(a, lambda c: np.size(c.plain) and c.plain.ndim), m.target(b)
    if not np.size(two.plain):
        return
    at = tuple(rng.randrange(-n, n) for n in one.shape)
    to = tuple(rng.randrange(-n, n) for n in two.shape)
    for x, y in zip(one.worlds, two.worlds, strict=True):
        v = x[at] * 1.5 - 0.25
        y[to] = v
        y[to] += v
    if two.jet is not None:
        two.jet[...] = m.cast(two.jet, two)


STEPS = [computed, computed, seen, seen, written, written, written_at_arrays, read_at_arrays,
         augmented, in_place, masked, swapped, overlapping, added_at, filled, element]  # fmt: skip


class Program:
    """Steps of (kind, operand, operand, seed of everything else)."""

    def __init__(self, steps):
        self.steps = steps

    def __repr__(self):
        return f"Program({[(STEPS[k].__name__, a, b, s) for k, a, b, s in self.steps]})"

    def run(self, plains, jet_inputs, tapes, direct=False):
        """The weighed sum of all arrays in each world, and the arrays."""
        with np.errstate(all="ignore"):
            return self._run(plains, jet_inputs, tapes, direct)

    def _run(self, plains, jet_inputs, tapes, direct):
        none = [None] * len(plains)
        cells = []
        for p, j, t in zip(plains, jet_inputs or none, tapes or none, strict=True):
            if t is not None and not direct:
                t = t * 1.0 if np.ndim(p) == 0 else t.copy()
            jet = None if j is None else j.copy()
            cells.append(Cell(np.array(p), jet, t))
        m = Machine(cells)
        m.cells.insert(0, each(lambda x: x * 0.5, cells[0]))
        for kind, a, b, seed in self.steps:
            m.step(kind, a, b, seed)
        if not all((np.abs(c.plain) < 1e4).all() for c in m.cells):
            raise jets.AtKink("numbers grow too large")
        return m.cells


FLOATS = st.floats(-1.5, 1.5).map(lambda x: round(x, 3))
INPUTS = st.tuples(*[st.lists(FLOATS, min_size=n, max_size=n) for n in (6, 4, 1)])
STEP = st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 20), st.integers(0, 20),
                 st.integers(0, 10**6))  # fmt: skip
PROGRAM = st.lists(STEP, min_size=1, max_size=14).map(Program)


def shaped(inputs, dtype=np.float64):
    return [np.array(x, dtype).reshape(s) for x, s in zip(inputs, SHAPES, strict=True)]


def truth(program, plains, second=False):
    """All arrays in NumPy's worlds."""
    return program.run(plains, jets.seeded(plains, second), None)


def root_of(cells, world):
    return weighed([getattr(c, world) for c in cells])


# --- checks --------------------------------------------------------------------------------------


def check(program, plains, tolerance=1e-12, mixed=False):
    """Values of all arrays, and the gradient by every first-order way."""
    expected = truth(program, plains)
    root = root_of(expected, "jet")
    leaves = [nt.var(x) for x in plains]
    with nt.Tape() as tape:
        cells = program.run(plains, None, leaves)
        y = root_of(cells, "tape")
    for cell, known in zip(cells, expected, strict=True):
        found = cell.tape.value if hasattr(cell.tape, "value") else cell.tape
        assert np.shape(found) == known.shape
        if known.shape and not mixed:  # recorded scalars are float64 and adapt to arrays
            assert found.dtype == known.plain.dtype
        assert close(found, known.plain, tolerance), (found, known.plain)
    if not isinstance(root, jets.Jet):
        return
    assert close(y.value, root.value, tolerance)
    assert close(flat(tape.gradient(y, leaves)), root.slopes, tolerance)
    nt.verify(tape)
    y.backward()
    found = [0.0 * p if x.grad is None else x.grad for x, p in zip(leaves, plains, strict=True)]
    assert close(flat(found), root.slopes, tolerance)


@settings(max_examples=200)
@given(PROGRAM, INPUTS)
@apart_from_kinks
def test_programs(program, inputs):
    check(program, shaped(inputs))


@settings(max_examples=60)
@given(PROGRAM, INPUTS)
@apart_from_kinks
def test_single_precision(program, inputs):
    check(program, shaped(inputs, np.float32), 2e-6)


@settings(max_examples=60)
@given(PROGRAM, INPUTS)
@apart_from_kinks
def test_mixed_precision(program, inputs):
    plains = shaped(inputs)
    plains[1] = plains[1].astype(np.float32)
    check(program, plains, 2e-6, mixed=True)


def swept_again(program, plains, news):
    """The sealed tape with new inputs has the bits of a fresh recording."""
    for x in (plains, news):
        truth(program, x)
    fresh_tape, fresh, fresh_leaves = recorded(program, news)
    tape, y, leaves = recorded(program, plains)
    assert (y is None) == (fresh is None)
    if y is None:
        return
    sealed = passes.seal(tape)
    nt.verify(sealed)
    work = Workspace(sealed)
    order = inputs_of(tape, leaves)
    work.set_inputs(flat([x if j is None else news[j] for j, x in order]))
    root = sealed.slots - 1
    assert work.value(root) == fresh.value
    g = work.gradient(root)
    start = 0
    for j, x in order:
        if j is not None:
            expected = fresh_tape.gradient(fresh, fresh_leaves[j])
            assert (g[start : start + np.size(x)] == np.ravel(expected)).all()
        start += np.size(x)


def inputs_of(tape, leaves):
    """For each input of a tape, which leaf it is (None for one of the tape's own), its numbers."""
    storages = [getattr(x, "storage", x) for x in leaves]
    tape.work.forward()
    v = tape.work.array("v")
    return [
        (storages.index(leaf) if leaf else None, v[slot : slot + tape.span_of(slot)[1]].copy())
        for slot, leaf in tape.inputs
    ]


def recorded(program, plains):
    """A tape whose last instruction is the root; None where nothing depends on the inputs."""
    leaves = [nt.var(x) for x in plains]
    with nt.Tape() as tape:
        y = root_of(program.run(plains, None, leaves), "tape")
        y = nt.tanh(y) if isinstance(y, nt.Var) and y.needs_grad else None
    return tape, y, leaves


@settings(max_examples=60)
@given(PROGRAM, INPUTS, INPUTS)
@apart_from_kinks
def test_swept_again(program, inputs, others):
    swept_again(program, shaped(inputs), shaped(others))


# --- second order --------------------------------------------------------------------------------


def second_order(program, plains):
    """Gradient and Hessian by transforms, which hand the program arrays that it may write into."""
    expected = truth(program, plains, second=True)
    root = root_of(expected, "jet")
    if not isinstance(root, jets.Jet):
        return

    def f(*xs):
        return root_of(program.run(plains, None, xs, direct=True), "tape")

    numbers = tuple(x if np.ndim(x) else float(x) for x in plains)
    value, gradient = nt.value_and_grad(f, (0, 1, 2))(*numbers)
    assert close(value, root.value)
    assert close(flat(gradient), root.slopes)
    directions = tuple(np.cos(np.arange(np.size(x))).reshape(np.shape(x)) for x in plains)
    product = root.bends @ flat(directions)
    assert close(flat(nt.hvp(f, numbers, directions)[2]), product, 1e-10)

    def along(*xs):
        terms = [np.sum(g * d) for g, d in zip(nt.grad(f, (0, 1, 2))(*xs), directions, strict=True)]
        return terms[0] + terms[1] + terms[2]

    nested = nt.grad(along, (0, 1, 2))(*numbers)
    assert close(flat(nested), product, 1e-10)


@settings(max_examples=40)
@given(PROGRAM, INPUTS)
@apart_from_kinks
def test_second_order(program, inputs):
    second_order(program, shaped(inputs))


# --- filling -------------------------------------------------------------------------------------

N = 300  # elements of a vector, rows of a matrix


def filled_vector(z, x):
    for i in range(N):
        z[i] = 2.0 * x[i]


def recurrence(z, x):
    z[0] = x[0]
    for i in range(1, N):
        z[i] = 0.5 * z[i - 1] + x[i]


def accumulated(z, x):
    for i in range(N):
        z[i] += x[i]
        z[i] *= 2.0


def filled_rows(z, x):
    for i in range(N):
        z[i] = x * (i / N)


def row_recurrence(z, x):
    z[0] = x
    for i in range(1, N):
        z[i] = 0.5 * z[i - 1] + x


def accumulated_rows(z, x):
    for i in range(N):
        z[i] += x
        z[i] *= 0.5


def backwards(z, x):
    z[-1] = x
    for i in range(N - 2, -1, -1):
        z[i] = np.sin(z[i + 1])


VECTORS = {
    "whole": lambda: (nt.zeros(N),) * 2,
    "reversed": lambda: (lambda z: (z, z[::-1]))(nt.zeros(N)),
    "column": lambda: (lambda z: (z, z[:, 1]))(nt.zeros((N, 2))),
    "every second": lambda: (lambda z: (z, z[1::2]))(nt.zeros(2 * N)),
    "diagonal": lambda: (lambda z: (z, np.diagonal(z)))(nt.zeros((N, N))),
}
MATRICES = {
    "whole": lambda: (nt.zeros((N, N)),) * 2,
    "transposed": lambda: (lambda z: (z, z.T))(nt.zeros((N, N))),
    "middle": lambda: (lambda z: (z, z[1:-1]))(nt.zeros((N + 2, N))),
    "flipped": lambda: (lambda z: (z, z[::-1, ::-1]))(nt.zeros((N, N))),
}


@pytest.mark.parametrize("where", VECTORS)
@pytest.mark.parametrize("fill", [filled_vector, recurrence, accumulated], ids=lambda f: f.__name__)
def test_filling_a_vector_by_elements_costs_its_size(fill, where):
    """At most two operations an element, and the vector once more where it is used as a whole."""
    x = nt.var(np.linspace(0.1, 1.0, N))
    with nt.Tape() as tape:
        z, part = VECTORS[where]()
        fill(part, x)
        before = tape.stats().slots
        y = np.sum(z * z)
    elements = z.size
    assert before <= 3 * N
    assert tape.stats().slots <= before + 2 * elements + 1
    assert tape.stats().instructions <= 2 * N + 4
    _check_filled(fill, VECTORS[where], tape, x, y)


@pytest.mark.parametrize("where", MATRICES)
@pytest.mark.parametrize(
    "fill", [filled_rows, row_recurrence, accumulated_rows, backwards], ids=lambda f: f.__name__
)
def test_filling_a_matrix_by_rows_costs_its_size(fill, where):
    x = nt.var(np.linspace(0.1, 1.0, N))
    with nt.Tape() as tape:
        z, part = MATRICES[where]()
        fill(part[:N], x)
        before = tape.stats().slots
        y = np.sum(z * z)
    assert before <= (3 if fill is accumulated_rows else 2) * N * N + N
    assert tape.stats().slots <= before + 2 * z.size + 1
    _check_filled(lambda p, v: fill(p[:N], v), MATRICES[where], tape, x, y)


def _check_filled(fill, make, tape, x, y):
    """Value by NumPy, gradient along a direction by a complex step."""
    direction = np.cos(np.arange(N))
    whole, view_ = _plain_pair(make)
    fill(view_, x.value + 1e-30j * direction)
    total = np.sum(whole * whole)
    assert y.value == pytest.approx(total.real, rel=1e-12)
    assert tape.gradient(y, x) @ direction == pytest.approx(total.imag / 1e-30, rel=1e-12)


def _plain_pair(make):
    """The same array and view in NumPy: views are made by the strides of ours."""
    whole, part = make()
    plain = np.zeros(whole.shape, complex)
    seen = np.lib.stride_tricks.as_strided(
        plain.reshape(-1)[part.offset :], part.shape, [16 * s for s in part.strides]
    )
    return plain, seen


def test_a_matrix_filled_by_elements():
    n = 60
    x = nt.var(np.linspace(0.1, 1.0, n))
    with nt.Tape() as tape:
        z = nt.zeros((n, n))
        for i in range(n):
            for j in range(n):
                z[i, j] = x[i] * x[j]
        before = tape.stats().slots
        y = np.sum(z @ z)
    assert before <= n * n + n
    assert tape.stats().slots <= before + 2 * n * n + 1
    s, v = x.value.sum(), x.value
    assert tape.gradient(y, x) == pytest.approx(2 * s * (v @ v) + 2 * s * s * v, rel=1e-12)


def test_views_are_collected_once():
    """A use of the whole, then of its parts, then of the whole again: one collect."""
    x = nt.var(np.ones(N))
    with nt.Tape() as tape:
        z = nt.zeros(N)
        filled_vector(z, x)
        for part in (z, z[::-1], z[1:-1], z.reshape(3, -1).T, z):
            _ = np.sum(part * part)
    assert tape.stats().histogram["collect"] == 1


# --- what sees a write ---------------------------------------------------------------------------


def test_views_see_writes_and_copies_do_not():
    x = nt.var(np.arange(6.0))
    y = (x * 1.0).reshape(2, 3)
    column, row, copied, taken = y[:, 1], y[1], y.copy(), y[[0, 1]]
    y[:, 1] = y[:, 0] * 10.0
    assert column.value.tolist() == [0.0, 30.0]
    assert row.value.tolist() == [3.0, 30.0, 5.0]
    assert copied.value.tolist() == taken.value.tolist() == [[0, 1, 2], [3, 4, 5]]
    np.sum(column * 2.0).backward(retain_graph=True)
    assert x.grad.tolist() == [20.0, 0.0, 0.0, 20.0, 0.0, 0.0]


def test_a_value_read_before_a_write_stays():
    x = nt.var([1.0, 2.0])
    y = x * 1.0
    first = y[0]
    y[0] = y[1] * 5.0
    assert first.value == 1.0 and y.value.tolist() == [10.0, 2.0]
    (first + y.sum()).backward()
    assert x.grad.tolist() == [1.0, 6.0]


def test_writes_between_uses_are_each_their_own():
    """Reverse sees the numbers of the time when an operation ran."""
    x = nt.var([3.0])
    y = x * 1.0
    total = 0.0
    for k in range(1, 4):
        total = total + np.sum(y * y)
        y[0] = y[0] * k
    total.backward()
    assert x.grad.tolist() == [2.0 * 3.0 * (1 + 1 + 4)]


def test_a_broadcast_view_cannot_be_written():
    y = np.broadcast_to(nt.var([1.0, 2.0, 3.0]) * 1.0, (2, 3))
    for write in (
        lambda: y.__setitem__(0, 1.0),
        lambda: y.__setitem__((0, 0), nt.var(1.0) * 2.0),
        lambda: y.__iadd__(1.0),
        lambda: np.add.at(y, 0, 1.0),
    ):
        with pytest.raises(nt.ShapeError, match=r"broadcast view of shape \(2, 3\).*test_in_place"):
            write()
    assert y.value.tolist() == [[1.0, 2.0, 3.0]] * 2


def test_a_write_of_a_constant_stops_the_gradient():
    x = nt.var([1.0, 2.0, 3.0])
    y = x * x
    y[1] = 7.0
    y[2:] = nt.array([1.0])
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 0.0]


def test_integer_arrays_hold_counts():
    """Counters and index tables: integer arrays are constants that may be written."""
    k = nt.zeros(3, dtype=int)
    k[1] = 2
    k += 1
    x = nt.var([1.0, 2.0, 3.0, 4.0])
    y = x[k]
    assert y.value.tolist() == [2.0, 4.0, 2.0]
    with pytest.raises(nt.ShapeError, match="float64 does not fit an array of int64"):
        k += 0.5


def test_second_order_through_a_view():
    """d2/dx2 of sum((x written into every second place of z)^3), seen by a view of z."""

    def f(x):
        z = nt.zeros(6)
        view_ = z[::2]
        view_[:] = x
        z[::2] *= x
        return np.sum(view_**3)

    x = np.array([1.0, 2.0, 3.0])
    assert nt.grad(f)(x) == pytest.approx(6 * x**5, rel=1e-14)
    second = nt.grad(lambda x: np.sum(nt.grad(f)(x)))(x)
    assert second == pytest.approx(30 * x**4, rel=1e-14)


# --- several tapes -------------------------------------------------------------------------------


def on_tapes_of_their_own(program, plains):
    """Arrays recorded on tapes of their own meet: writes and views join the tapes."""
    expected = truth(program, plains)
    root = root_of(expected, "jet")
    leaves = [nt.var(x) for x in plains]
    copies = []
    for x in leaves:
        with nt.Tape():
            copied = x * 2.0
            if x.shape:
                copied[0] = x[0] * 1.0  # a map with slots and constants
                copied[1:] *= 0.5
                copied[-1:] = x[-1:]
            else:
                copied = copied * 0.5
        copies.append(copied)
    cells = program.run(plains, None, copies, direct=True)
    y = root_of(cells, "tape")
    for cell, known in zip(cells, expected, strict=True):
        found = cell.tape.value if hasattr(cell.tape, "value") else cell.tape
        assert close(found, known.plain)
    if isinstance(root, jets.Jet):
        y.backward()
        found = [0.0 * p if x.grad is None else x.grad for x, p in zip(leaves, plains, strict=True)]
        assert close(flat(found), root.slopes)


@settings(max_examples=50)
@given(PROGRAM, INPUTS)
@apart_from_kinks
def test_tapes_are_joined(program, inputs):
    on_tapes_of_their_own(program, shaped(inputs))


# --- statements ----------------------------------------------------------------------------------

STATEMENTS = """
x.sort()
x.fill(2.0)
np.copyto(x, [1.0, 2.0, 3.0])
np.copyto(x, x[::-1] * 2.0, where=np.array([True, False, True]))
np.put(x, [0, 2], [7.0, 8.0])
np.put(x, [0, 2], x[1:] * 3.0)
x.put([0], x[2])
np.place(x, x > 1.5, [9.0])
np.putmask(x, x > 1.5, x * 2.0)
x **= 2
x //= 2
x %= 2
x /= x[0]
x -= x
x *= x[0]
x += x[::-1]
x[1:] += x[:-1]
x[:-1] -= x[1:]
x[1:] *= x[:-1]
x[:] = [4.0, x[0], 6.0]
x[()] = 2.0
x[None, 0] = x[2]
x[[True, False, True]] = 0.0
x[[True, False, True]] *= x[1]
x[np.array(True)] = 4.0
x[[0, 0]] += 1.0
x[(0,),] = 5.0
x[::-1] = [1.0, 2.0, 3.0]
x[x > 1.5] -= x[0]
x[~(x > 1.5)] = x[0] * x[1]
x[(x > 1.5) & (x < 2.5)] = 0.0
np.nan_to_num(x, copy=False)
np.clip(x, 1.5, 2.5, out=x)
x.clip(1.5, 2.5, out=x)
np.add(x, 1.0, out=x[::-1])
np.multiply(x, 2.0, out=x, where=x > 1.5)
np.cumsum(x, out=x)
np.negative(x, x)
np.maximum(x, 2.0, out=x)
np.square(x[:2], out=x[1:])
np.add.at(x, slice(None), 1.0)
np.add.at(x, [0, 0, 1], x * 2.0)
np.subtract.at(x, [0, 0], x[1])
x @= np.array([[1.0, 2.0, 0.0], [0.5, 1.0, 0.0], [0.0, 1.0, 3.0]])
x[1:1] = []
x[5:] = 3.0
x[0], x[1] = x[1], x[0]
x[:2], x[1:] = x[1:], x[:2]
x = x.copy(); x[0] = 99.0
x[np.ix_([0, 2])] = x[1]
x[2:0:-1] = x[0:2]
x[np.argsort(x)] = x.copy()
x[np.argmax(x)] -= 5.0
x[np.argmin(x)] = x[np.argmax(x)]
x[:, None][1] = 8.0
x.reshape(3, 1)[1] = x[0]
x.ravel()[1] = 8.0
np.ravel(x)[1] = 8.0
x.reshape(-1)[1] = 8.0
x.flatten()[1] = 8.0
np.atleast_2d(x)[0, 1] = x[2] * x[0]
np.array_split(x, 2)[1][0] = x[0]
np.flip(x)[0] = 8.0
np.expand_dims(x, 0)[0, 0] = 8.0
y = x[1:]; x[:] = x[::-1]; y *= 2.0
y = x[::2]; y[...] = y[::-1] * y; x += 1.0
y = x * 1.0; y[0] = x[1]; x[2] = y[0] * y[2]
for i in range(1, 3): x[i] = x[i - 1] * x[i]
for row in x.reshape(3, 1): row *= 2.0
""".strip().splitlines()


@pytest.mark.parametrize("where", ["whole", "row", "column"])
@pytest.mark.parametrize("statement", STATEMENTS)
def test_statement(statement, where):
    """NumPy's numbers, in the array and around it, and the gradient that differences say."""
    start = np.array([2.9, 1.1, 2.2])
    weights = np.cos(np.arange(12.0)).reshape(4, 3)

    def run(x, zeros, scope):
        whole = zeros((4, 3))
        whole[:] = x
        if where == "column":
            whole = whole[:3, :]
        scope["x"] = x = {"whole": x * 1.0, "row": whole[1], "column": whole[:, 1]}[where]
        if where == "column":
            x[:] = scope["input"]
        exec(statement, scope)
        return whole, x

    def outcome(numbers):
        whole, x = run(numbers, np.zeros, {"np": np, "input": numbers})
        return np.sum(weights[: len(whole)] * whole) + np.sum(weights[0] * x), whole, x

    leaf = nt.var(start)
    whole, x = run(leaf, nt.zeros, {"np": np, "input": leaf})
    y = np.sum(weights[: len(whole)] * whole) + np.sum(weights[0] * x)
    expected, plain_whole, plain_x = outcome(start)
    assert whole.value == pytest.approx(plain_whole, rel=1e-14)
    assert x.value == pytest.approx(plain_x, rel=1e-14)
    assert y.value == pytest.approx(expected, rel=1e-13)
    y.backward()
    for j, step in enumerate(np.eye(3) * 1e-6):
        slope = (outcome(start + step)[0] - outcome(start - step)[0]) / 2e-6
        assert leaf.grad[j] == pytest.approx(slope, rel=1e-7, abs=1e-7)


COPIES = """
+x|-x|abs(x)|x.copy()|x.flatten()|x.astype(float)|x.round()|np.positive(x)|np.copy(x)
np.sum(x, axis=0)|np.sum(x, axis=-1, keepdims=True)|np.sum(x, axis=())|np.mean(x, axis=0)
np.max(x, axis=0)|np.min(x, axis=-1, keepdims=True)|np.max(x, axis=())|np.ptp(x, axis=0)
np.prod(x, axis=0)|np.prod(x, axis=-1, keepdims=True)|np.cumsum(x, axis=0)|np.cumprod(x, axis=-1)
np.add.reduce(x, axis=0)|np.maximum.reduce(x, axis=0)|np.add.accumulate(x, axis=0)
np.sort(x)|np.roll(x, 0)|np.tile(x, 1)|np.repeat(x, 1, axis=0)|np.concatenate([x])|np.stack([x])[0]
np.vstack([x])|np.clip(x, None, 99.0)|np.nan_to_num(x)|np.where(x > -9.0, x, 0.0)|np.maximum(x, x)
np.take(x, range(x.shape[0]), axis=0)|x[list(range(x.shape[0]))]|x[x > -9.0]|x[[True] * len(x)]
np.triu(x)|np.pad(x, 0)|np.delete(x, [], axis=0)|x * 1.0|x**1|np.einsum("...->...", x)
np.median(x, axis=0)|np.average(x, axis=0)|np.linalg.norm(x, axis=0)|np.resize(x, x.shape)
np.choose(np.zeros(x.shape, int), [x])|np.diff(x, n=0)|np.partition(x, 0, axis=0)|np.append(x, [])
"""
SHARED = """
x.T|x.reshape(-1)|x.ravel()|x.swapaxes(0, -1)|np.moveaxis(x, 0, -1)|np.expand_dims(x, 0)|x.squeeze()
np.atleast_1d(x)|np.atleast_3d(x)|np.flip(x)|np.split(x, 1)[0]|np.array_split(x, 2)[0]|x[...]|x[:]
x[()]|x[None][0]|x[::-1]|np.reshape(x, x.shape)|np.transpose(x)|x.real|np.squeeze(x)|np.ravel(x)
"""


@pytest.mark.parametrize("shape", [(3,), (1,), (3, 1), (1, 3), (1, 1), (2, 3), (1, 2, 1)])
@pytest.mark.parametrize("line", [*COPIES.split("\n")[1:-1], *SHARED.split("\n")[1:-1]])
def test_a_result_shares_elements_where_numpys_does(line, shape):
    """A write into a result reaches the operand exactly where it does in NumPy."""
    for text in line.split("|"):
        f = eval(f"lambda x: {text}", {"np": np})
        start = np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape)
        plain, recorded = start.copy(), nt.var(start) * 1.0
        try:
            result = f(plain)
        except np.exceptions.AxisError:
            continue
        found = f(recorded)
        if not isinstance(result, np.ndarray) or not isinstance(found, nt.Array):
            continue  # scalars have no elements to share
        result[...] = 77.0
        found[...] = 77.0
        assert recorded.value.tolist() == plain.tolist(), text


@pytest.mark.parametrize("n", [2, 3, 64, 100, 5000])
def test_plain_operands_are_taken_as_they_are(n):
    """A write into a plain array changes operations behind it, not those before."""
    c, x = np.ones(n), nt.var(np.full(n, 2.0))
    total = 0.0
    for k in range(1, 4):
        c[:] = k
        c[-1] = -0.0 if k == 2 else 0.0
        total = total + np.sum(x * c) + np.sum(np.copysign(x, c)) + np.sum(x / c[0])
    c[:] = 77.0
    total.backward()
    expected = np.full(n, 6.0 + 3.0 + 11.0 / 6.0)
    expected[-1] = 0.0 + 1.0 - 1.0 + 1.0 + 11.0 / 6.0
    assert x.grad == pytest.approx(expected, rel=1e-14)


def test_written_values_are_taken_as_they_are():
    a, b = nt.var([1.0, 2.0]) * 1.0, nt.var([3.0, 4.0]) * 1.0
    a[:] = b
    b[0] = 9.0
    assert a.value.tolist() == [3.0, 4.0]
    c = nt.zeros(2)
    c[:] = a
    a += 1.0
    assert c.value.tolist() == [3.0, 4.0]
    numbers = np.array([5.0, 6.0])
    c[:] = numbers
    numbers[0] = 0.0
    assert c.value.tolist() == [5.0, 6.0]
    d = nt.array(numbers)
    numbers[1] = 0.0
    assert d.value.tolist() == [0.0, 6.0]
    leaf = nt.var(numbers)
    numbers[:] = 8.0
    assert leaf.value.tolist() == [0.0, 0.0]
    leaf.value[0] = 5.0  # `.value` is fresh
    assert leaf.value.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "operation",
    [np.linalg.solve, lambda a, x: a @ x, lambda a, x: a * x, nt.primitive(
        lambda a, x: a @ x, lambda w, z, a, x: (None, a.T @ w))],
)  # fmt: skip
def test_a_plain_operand_may_change_after_it_was_used(operation):
    """A recording keeps the numbers that an operation saw."""
    x = nt.var(np.ones(3))
    plain = 2.0 * np.eye(3)
    y = operation(plain, x).sum()
    expected = nt.grad(lambda v: operation(2.0 * np.eye(3), v).sum())(np.ones(3))
    plain *= 4.0
    y.backward()
    np.testing.assert_array_equal(x.grad, expected)
