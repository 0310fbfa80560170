"""`nt.scan` means the loop written out: values, every derivative, lanes, replays, other functions.

The reference is `scan_programs.unrolled`, a loop in Python over the same body.  Weights' adjoints
may be summed in another order, so derivatives agree to the last bits only.
"""

from __future__ import annotations

import numpy as np
import pytest
from racing import in_threads
from scan_programs import (
    PROGRAMS,
    Pair,
    Program,
    State,
    leaves,
    like,
    mapped,
    rnn,
    same,
    unrolled,
)

import ndtape as nt

S = np.linspace(-0.9, 0.8, 5)
SCANS = (nt.scan, unrolled)
every_program = pytest.mark.parametrize("name", PROGRAMS)
every_float64 = pytest.mark.parametrize("name", [n for n in PROGRAMS if n != "float32"])


def paired(make, *args, tolerance=1e-12):
    """What `make` makes of the scan and of the loop, at the same arguments."""
    same(make(nt.scan)(*args), make(unrolled)(*args), tolerance)


def roughly(name):
    return 1e-5 if name == "float32" else 1e-12


# --- values ---------------------------------------------------------------------------------------


@every_program
def test_plain_numbers(name):
    """No recording anywhere: NumPy arrays and plain numbers come out."""
    q = PROGRAMS[name]
    found, expected = (q.outputs(scan)(*q.at()) for scan in SCANS)
    same(found, expected, roughly(name))
    assert not any(getattr(x, "needs_grad", False) for x in leaves(found))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_order_of_steps(reverse):
    """Outputs stand at the place of their input, whichever way the loop runs."""
    carry, ys = nt.scan(lambda c, x: (c * 10 + x, c), 0, np.arange(1, 5), reverse=reverse)
    assert carry == (4321 if reverse else 1234)
    assert np.array_equal(ys, [432, 43, 4, 0] if reverse else [0, 1, 12, 123])


def test_arguments_are_not_written_to():
    h, xs = np.zeros(2), {"u": np.ones((3, 2))}
    nt.grad(lambda w: nt.scan(lambda h, x: (h * w + x["u"], h), h, xs)[1].sum())(0.5)
    assert not h.any() and (xs["u"] == 1.0).all()


def test_length_beside_inputs():
    def f(c, x):
        return c + x, c

    expected = unrolled(f, 0.0, S)[0]
    for length in (5, np.int64(5), None):
        assert nt.scan(f, 0.0, S, length)[0] == nt.scan(f, 0.0, S, length=length)[0] == expected


@pytest.mark.parametrize("reverse", [False, True])
def test_no_steps(reverse):
    """The carry is what it was; outputs have the shapes that a step would have given."""
    xs = {"x": np.zeros((0, 3)), "s": np.zeros(0)}

    def f(c, x):
        h = np.tanh(c["h"] * x["s"] + x["x"].sum())
        return {"h": h}, (h, x["x"], h.sum())

    def cost(h, xs):
        carry, (a, b, s) = nt.scan(f, {"h": h}, xs, reverse=reverse)
        assert (a.shape, b.shape, s.shape) == ((0, 2), (0, 3), (0,))
        return (carry["h"] ** 2).sum() + a.sum() + b.sum() + s.sum()

    h = np.array([0.3, 0.5])
    value, (by_h, by_xs) = nt.value_and_grad(cost, (0, 1))(h, xs)
    assert value == (h * h).sum() and np.array_equal(by_h, 2 * h)
    assert by_xs["x"].shape == (0, 3) and by_xs["s"].shape == (0,)
    assert nt.scan(lambda c, x: (c, c), 1.5, length=0)[0] == 1.5


def test_no_steps_of_a_body_that_branches():
    carry, ys = nt.scan(lambda c, x: (c, x * 2.0 if x > 1.0 else x), 0.5, np.zeros(0))
    assert carry == 0.5 and ys.shape == (0,)


def test_empty_arrays():
    def f(h, x):
        return np.tanh(h * x), (h, x, h.sum())

    h, xs = np.zeros(0), np.zeros((4, 0))
    carry, (a, b, s) = nt.scan(f, h, xs)
    assert carry.shape == (0,) and a.shape == b.shape == (4, 0) and s.tolist() == [0.0] * 4
    slopes = nt.grad(lambda h, w: (nt.scan(f, h, xs)[1][2] * w).sum(), (0, 1))(h, np.ones(4))
    assert slopes[0].shape == (0,) and slopes[1].tolist() == [0.0] * 4


@pytest.mark.parametrize("init", [1, 2.0, np.array(1.0)])
def test_kinds_of_numbers_in_the_carry(init):
    """Python's whole numbers become floats where the body makes floats."""

    def f(c, x):
        return c * x, c + x

    same(nt.scan(f, init, S), unrolled(f, float(init), S))
    slope = nt.grad(lambda x, c: nt.scan(f, c, x)[0])(S, init)
    same(slope, nt.grad(lambda x: unrolled(f, float(init), x)[0])(S))


# --- derivatives ----------------------------------------------------------------------------------


@every_program
def test_gradients(name):
    """By all arguments, and by each while the others are plain numbers."""
    q = PROGRAMS[name]
    for argnums in (q.places, *q.places):
        paired(
            lambda scan, n=argnums: nt.value_and_grad(q.cost(scan), n), *q.at(),
            tolerance=roughly(name),
        )  # fmt: skip


@every_program
def test_directions(name):
    q = PROGRAMS[name]
    at, along = q.at(), q.at(seed=1)
    found, expected = (nt.jvp(q.outputs(scan), at, along) for scan in SCANS)
    same(found, expected, roughly(name))
    (found, pull), (_, right) = (nt.vjp(q.outputs(scan), *at) for scan in SCANS)
    weights = like(found, 3)
    same(pull(weights), right(weights), roughly(name))


@every_float64
def test_second_derivatives(name):
    q = PROGRAMS[name]
    along = q.at(seed=2)
    paired(lambda scan: lambda *at: nt.hvp(q.cost(scan), at, along), *q.at(), tolerance=1e-11)
    paired(lambda scan: nt.hessian(q.cost(scan)), *q.at(), tolerance=1e-11)

    def slopes(scan):
        def f(*at):
            gradient = leaves(nt.grad(q.cost(scan), q.places)(*at))
            return sum(np.sum(g) * (0.3 + 0.2 * k) for k, g in enumerate(gradient))

        return f

    paired(lambda scan: nt.grad(slopes(scan), q.places), *q.at(), tolerance=1e-11)


@pytest.mark.parametrize("name", ["rnn", "trees", "nested", "branch_on_all", "no_inputs"])
@pytest.mark.parametrize("jacobian", [nt.jacfwd, nt.jacrev])
def test_jacobians(name, jacobian):
    q = PROGRAMS[name]
    paired(lambda scan: jacobian(q.outputs(scan), q.places), *q.at())


def test_third_derivatives():
    def f(scan):
        return lambda w: scan(lambda c, x: (nt.sin(c * w + x), c * x), 0.3, S)[0]

    paired(lambda scan: nt.grad(nt.grad(nt.grad(f(scan)))), 0.7, tolerance=1e-11)


def test_against_differences():
    """Not only equal to a loop of our own."""
    q = PROGRAMS["nested"]
    nt.check_grads(q.cost(nt.scan), q.at(), order=2)


WRONG = {
    "a sign": lambda f: lambda h, x: (f(h, x)[0], -f(h, x)[1]),
    "a derivative": lambda f: lambda h, x: f(nt.stop_gradient(h), x),
    "an input": lambda f: lambda h, x: f(h, x[::-1]),
}


@pytest.mark.parametrize("error", WRONG)
def test_wrong_answers_are_seen(error):
    """What the comparisons above compare would differ."""
    q = PROGRAMS["rnn"]
    right = nt.grad(q.cost(nt.scan), q.places)(*q.at())

    def wrong(f, *args, **options):
        return nt.scan(WRONG[error](f), *args, **options)

    with pytest.raises(AssertionError):
        same(nt.grad(q.cost(wrong), q.places)(*q.at()), right, 1e-3)


def test_zero_adjoints_meet_infinite_partials():
    """Steps whose result is not used contribute nothing, though their derivative is infinite."""

    def cost(scan):
        def f(c, x):
            return c * 0.5 + x, (np.sqrt(c - c), np.where(x > 0.0, np.sqrt(np.abs(x)), c))

        return lambda c, xs: scan(f, c, xs)[1][1][-1] * 2.0

    xs = np.array([0.0, -1.0, 0.5, 0.0])
    found = nt.grad(cost(nt.scan), (0, 1))(0.5, xs)
    same(found, nt.grad(cost(unrolled), (0, 1))(0.5, xs))
    assert np.isfinite(found[1]).all()


# --- leaves, tapes, replays -----------------------------------------------------------------------


def test_leaves_and_backward():
    """Weights, carry and inputs that are leaves; and twice the same tape."""
    found = []
    for scan in SCANS:
        w, h, xs = nt.var(PROGRAMS["rnn"].p["W"]), nt.var(np.array([0.1, 0.2])), nt.var(S)

        def f(c, x, w=w):
            return np.tanh(w @ c + x), c[0] * x

        carry, ys = scan(f, h * 1.0, xs)
        again, more = scan(f, carry, ys, reverse=True)
        (again.sum() + more[1:] @ ys[:-1]).backward(retain_graph=True)
        doubled = (carry * 2.0).sum()
        doubled.backward()
        nt.verify(doubled.tape)
        found.append((w.grad, h.grad, xs.grad, carry.value, ys.value))
    same(*found)


def test_only_what_records_moves():
    """A leaf among the weights, all else plain numbers; and nothing that records at all."""
    w = nt.var(0.5)
    carry, ys = nt.scan(lambda c, x: (c * w, x), 2.0, S)
    (carry + ys.sum()).backward()
    assert w.grad == 2.0 * 5 * 0.5**4 and isinstance(carry, nt.Var)
    with nt.no_grad():
        carry, ys = nt.scan(lambda c, x: (c * w, c), 2.0, S)
    assert not getattr(carry, "needs_grad", False) and float(carry) == 2.0 * 0.5**5


def test_results_of_several_tapes_meet():
    w, h = nt.var(0.5), nt.var(0.3)
    with nt.Tape():
        a = w * 2.0
    with nt.Tape():
        b = h * 3.0
    carry, _ = nt.scan(lambda c, x: (nt.sin(c * a + x), None), b, S)
    carry.backward()
    slopes = nt.grad(
        lambda w, h: unrolled(lambda c, x: (nt.sin(c * w * 2.0 + x), None), h * 3.0, S)[0], (0, 1)
    )(0.5, 0.3)
    assert (w.grad, h.grad) == pytest.approx(slopes, rel=1e-13)


@every_program
def test_replays(name):
    """A traced function: other numbers in each call, and each as recorded afresh."""
    q = PROGRAMS[name]
    n = q.places
    value = nt.function(q.outputs(nt.scan))
    gradient = nt.value_and_grad(nt.function(q.cost(nt.scan)), n)
    others = (q.at(seed=k) for k in range(4 if not q.smooth else 1))
    for at in (q.at(), *others, q.at()):
        same(value(*at), q.outputs(unrolled)(*at), roughly(name))
        same(gradient(*at), nt.value_and_grad(q.cost(unrolled), n)(*at), roughly(name))
    if q.smooth:
        assert len(value.tapes) == 1


def test_captured_arrays_that_change_between_calls():
    w, start, xs = np.array([0.5, -0.3]), np.array([0.1, 0.2]), np.ones((3, 2))

    @nt.function
    def f(s):
        carry, ys = nt.scan(lambda c, x: (np.tanh(c * w + x * s), c.sum()), start, xs)
        return carry.sum() + ys.sum()

    def g(s):
        carry, ys = unrolled(lambda c, x: (np.tanh(c * w + x * s), c.sum()), start, xs)
        return carry.sum() + ys.sum()

    for change in (w, start, xs, w, xs):
        for s in (0.5, 0.7):
            same(nt.value_and_grad(f)(s), nt.value_and_grad(g)(s))
        change *= 0.5


def test_a_traced_function_in_the_body():
    q = PROGRAMS["rnn"]
    step = nt.function(lambda p, h, x: rnn(p)(h, x))
    traced = q._replace(body=lambda p: lambda h, x: step(p, h, x))
    for _ in range(2):
        same(
            nt.value_and_grad(traced.cost(nt.scan), q.places)(*q.at()),
            nt.value_and_grad(q.cost(unrolled), q.places)(*q.at()),
        )


def test_a_compiled_function_in_the_body():
    @nt.jit(cache=False)
    def step(w, c, x):
        return nt.sin(c * w) + x if c > 0.2 else c - x * w

    def cost(scan, f):
        return lambda w, c, xs: scan(lambda c, x: (f(w, c, x), c), c, xs)[1] @ S

    at = (0.7, 0.3, S)
    same(
        nt.value_and_grad(cost(nt.scan, step), (0, 1, 2))(*at),
        nt.value_and_grad(cost(unrolled, step.py_func), (0, 1, 2))(*at),
    )


# --- lanes ----------------------------------------------------------------------------------------


@every_float64
def test_lanes(name):
    """Many loops at once, whose branches go different ways; and their gradients."""
    q = PROGRAMS[name]
    ats = [q.at(), *[q.at(seed=k) for k in range(3)]]
    columns = tuple(mapped(lambda *x: np.stack(x), *column) for column in zip(*ats, strict=True))
    rows = [q.outputs(unrolled)(*at) for at in ats]
    same(nt.vmap(q.outputs(nt.scan))(*columns), mapped(lambda *x: np.stack(x), *rows))
    rows = [nt.grad(q.cost(unrolled), q.places)(*at) for at in ats]
    expected = mapped(lambda *x: np.stack(x), *rows)
    same(nt.vmap(nt.grad(q.cost(nt.scan), q.places))(*columns), expected)


def test_lanes_that_share_weights():
    """As in training: the gradient of a mean over lanes, by weights that all share."""
    q = PROGRAMS["rnn"]
    batch = np.stack([q.xs, q.xs * 0.5, -q.xs])

    def cost(scan):
        def f(p, xs):
            _, ys = scan(rnn(p), q.init, xs)
            return (ys * ys).sum()

        return lambda p: nt.vmap(f, in_axes=(None, 0))(p, batch).mean()

    paired(lambda scan: nt.value_and_grad(cost(scan)), q.p)


# --- trees that users make ------------------------------------------------------------------------


def test_types_of_trees_come_back():
    def f(c, x):
        return State(c.h * 0.5, Pair(c.count.right, c.count.left + x)), [Pair(x, None), {"a": c.h}]

    carry, ys = nt.scan(f, State(1.0, Pair(2.0, 3.0)), S)
    assert isinstance(carry, State) and isinstance(carry.count, Pair)
    assert isinstance(ys, list) and isinstance(ys[0], Pair) and ys[0].right is None
    assert ys[1]["a"].tolist() == [1.0, 0.5, 0.25, 0.125, 0.0625]


def test_two_scans_of_one_body_do_not_mix():
    """In one recording, with other weights, shapes and lengths each."""

    def cost(scan):
        def f(w):
            def body(c, x):
                return np.sin(c * w + x), c

            a, ys = scan(body, w * 0.5, S)
            b, zs = scan(body, np.ones(2) * a, ys[:3])
            c, _ = scan(body, b, zs)
            return a + b.sum() * c.sum()

        return f

    paired(lambda scan: nt.value_and_grad(cost(scan)), 0.7)


def test_in_threads(eager_switching):
    q = PROGRAMS["branch_on_all"]
    expected = [nt.value_and_grad(q.cost(unrolled), q.places)(*q.at(seed=k % 4)) for k in range(8)]
    shared = nt.function(q.cost(nt.scan))

    def work(k):
        at = q.at(seed=k % 4)
        return [nt.value_and_grad(f, q.places)(*at) for f in (q.cost(nt.scan), shared)]

    for found, right in zip(in_threads(work, 8), expected, strict=True):
        same(found[0], right)
        same(found[1], right)


def test_programs_are_of_use():
    """The programs above do not end at zero, where wrong factors would not be seen."""
    for q in PROGRAMS.values():
        assert isinstance(q, Program)
        assert any(np.any(g) for g in leaves(nt.grad(q.cost(unrolled), q.places)(*q.at())))


def test_a_sibling_whose_loop_has_not_met_all_branches():
    """Its values are copied up to the guard, but the branches of the other loop are not its own."""
    xs = np.array([0.5, -0.2, 0.9, 0.1])

    def f(x, a, s):
        step = lambda c, e: (c * 0.7 + e if c < e else e - 0.5 * c * a, c * c)  # noqa: E731
        c, ys = nt.scan(step, x, xs * s)
        return np.sum(ys) * 2 + c if a > 0 else np.sum(ys) * 3 - c

    points = [(-50.0, 2.0, 0.0), (2.0, -0.5, 1.0), (2.0, 0.5, 1.0), (-50.0, -1.0, 0.0)]
    traced = nt.function(f)
    for point in points * 2:
        for call in (lambda g, p=point: nt.grad(g, (0, 1))(*p),
                     lambda g, p=point: nt.jvp(g, p, (1.0, 0.3, 0.2))):  # fmt: skip
            np.testing.assert_allclose(call(traced), call(f), rtol=1e-13)
