"""Checkpointed functions that capture recording values: weights, loop variables, objects."""

import functools
import gc
import weakref

import numpy as np
import pytest

import ndtape as nt
from ndtape import nn

W = np.array([[0.4, -0.3, 0.2], [0.1, 0.5, -0.6], [-0.2, 0.3, 0.7]])
H = np.array([0.3, -0.5, 0.8])
XS = np.sin(np.arange(18.0)).reshape(6, 3)


def plain(f):
    """In the place of `nt.checkpoint`."""
    return f


def same(a, b, tolerance=0.0):
    one, other = nt.trees.flatten(a)[0], nt.trees.flatten(b)[0]
    assert len(one) == len(other) > 0
    for x, y in zip(one, other, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


class Cell:
    def __init__(self, w):
        self.w = w

    def step(self, h):
        return np.tanh(self.w @ h)


class Hidden:
    """Where captured values are not looked for."""

    __slots__ = ("w",)

    def __init__(self, w):
        self.w = w


def by_default(wrapped, w):
    def f(h, w=w):
        return np.tanh(w @ h)

    return wrapped(f)


def by_keyword(wrapped, w):
    def f(h, *, w=w):
        return np.tanh(w @ h)

    return wrapped(f)


def by_inner_function(wrapped, w):
    product = lambda h: w @ h  # noqa: E731
    return wrapped(lambda h: np.tanh(product(h)))


CAPTURES = {
    "cell": lambda wrapped, w: wrapped(lambda h: np.tanh(w @ h)),
    "container": lambda wrapped, w: (lambda p: wrapped(lambda h: np.tanh(p["a"][0] @ h)))(
        {"a": [w, "text"]}
    ),
    "default": by_default,
    "keyword": by_keyword,
    "inner function": by_inner_function,
    "partial": lambda wrapped, w: wrapped(functools.partial(lambda w, h: np.tanh(w @ h), w)),
    "bound method": lambda wrapped, w: wrapped(Cell(w).step),
    "object": lambda wrapped, w: (lambda cell: wrapped(lambda h: cell.step(h)))(Cell(w)),
    "traced": lambda wrapped, w: wrapped(nt.function(lambda h: np.tanh(w @ h))),
    "twice": lambda wrapped, w: wrapped(lambda h: (lambda u: np.tanh(u @ h) + w @ h)(w)),
    "checkpoint": lambda wrapped, w: wrapped(wrapped(lambda h: np.tanh(w @ h))),
    "checkpoint inside": lambda wrapped, w: wrapped(lambda h: wrapped(lambda g: np.tanh(w @ g))(h)),
}


@pytest.mark.parametrize("how", CAPTURES)
def test_captured_values_are_differentiated_like_arguments(how):
    def loss(wrapped):
        def f(w, h):
            block = CAPTURES[how](wrapped, w)
            return np.sum(np.cos(block(block(h))))

        return f

    kept, again = loss(plain), loss(nt.checkpoint)
    assert again(W, H) == kept(W, H)
    same(nt.grad(again, (0, 1))(W, H), nt.grad(kept, (0, 1))(W, H), 1e-15)
    tangents = (np.cos(W), np.sin(H))
    same(nt.jvp(again, (W, H), tangents), nt.jvp(kept, (W, H), tangents), 1e-15)
    traced = nt.function(again)
    for scale in (1.0, 1.0, 0.9):  # recorded, then replayed
        same(nt.grad(traced)(scale * W, H), nt.grad(kept)(scale * W, H), 1e-15)


@pytest.mark.parametrize("how", ["cell", "object", "checkpoint inside"])
def test_in_every_transform(how):
    def loss(wrapped):
        return lambda w, h: np.sum(np.cos(CAPTURES[how](wrapped, w)(h * h)))

    kept, again = loss(plain), loss(nt.checkpoint)
    same(nt.hessian(again)(W, H), nt.hessian(kept)(W, H), 1e-14)
    stack = np.stack([W, 2 * W])
    same(nt.vmap(nt.grad(again), (0, None))(stack, H), nt.vmap(nt.grad(kept), (0, None))(stack, H))
    mixed = lambda f: nt.jacobian(lambda h: nt.grad(f)(W, h))(H)  # noqa: E731
    same(mixed(again), mixed(kept), 1e-14)
    leaf = nt.var(W)
    y = again(leaf, H)
    y.backward()
    same(leaf.grad, nt.grad(kept)(W, H), 1e-15)


def network(wrapped, steps):
    """An RNN in segments that capture weights, inputs, and the segment's number."""

    def loss(params, xs):
        h = np.zeros(4)
        for start in range(0, len(xs), steps):

            def segment(h):
                for x in xs[start : start + steps]:  # noqa: B023
                    h = nn.rnn_cell(params, h, x)
                return h

            h = wrapped(segment)(h)
        return np.sum(h * h)

    return loss


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_segments_of_a_network_with_captured_weights(steps, dtype):
    """To the last bit: a segment goes on with the adjoints that there are."""
    params, xs = nn.rnn_init(np.random.default_rng(0), 3, 4, dtype=dtype), XS.astype(dtype)
    kept = nt.value_and_grad(network(plain, steps), (0, 1))
    same(nt.value_and_grad(network(nt.checkpoint, steps), (0, 1))(params, xs), kept(params, xs))
    traced = nt.function(network(nt.checkpoint, steps))
    for other in (xs, xs, xs[::-1]):  # replays may sum in another order
        found = nt.value_and_grad(traced, (0, 1))(params, other)
        same(found, kept(params, other), 1e-14 if dtype == np.float64 else 1e-5)
    assert traced.counters.recordings == 1
    assert len(traced.tapes[0]) < len(XS) // steps + 15 + 20 * (dtype == np.float32)


def segments_by_scan(wrapped, params, xs):
    """Checkpoints around loops."""
    h = np.zeros(4)
    for s in range(0, len(xs), 2):

        def segment(h):
            step = lambda h, x: (nn.rnn_cell(params, h, x), None)  # noqa: E731
            return nt.scan(step, h, xs[s : s + 2])[0]  # noqa: B023

        h = wrapped(segment)(h)
    return np.sum(h * h)


def checkpoint_in_a_body(wrapped, params, xs):
    """Checkpoints inside a loop."""

    def step(h, x):
        return wrapped(lambda h: nn.rnn_cell(params, h, x))(h), None

    return np.sum(nt.scan(step, np.zeros(4), xs)[0] ** 2)


@pytest.mark.parametrize("program", [segments_by_scan, checkpoint_in_a_body])
def test_together_with_scan(program):
    params = nn.rnn_init(np.random.default_rng(0), 3, 4)
    kept = nt.grad(functools.partial(program, plain), (0, 1))(params, XS)
    again = functools.partial(program, nt.checkpoint)
    # A body without the checkpoint is fused, which adds up in another order.
    same(nt.grad(again, (0, 1))(params, XS), kept, 1e-14)
    traced = nt.grad(nt.function(again), (0, 1))
    for _ in range(2):
        same(traced(params, XS), kept, 1e-14)


def test_operands_that_overlap_and_whole_numbers():
    """Adjoints of a weight that comes in twice, or in part, are added up as ever."""

    def loss(wrapped):
        def f(x):
            head, count = x[:2], np.sum(x > 0)
            block = wrapped(lambda x, y, n: [np.sum(x * y[0] * n), head * x[1], y, y])
            total, a, b, c = block(x, x, count)
            return total + np.sum(a) * np.sum(np.sin(b)) + np.sum(c * c) + np.sum(x[:0])

        return f

    same(nt.grad(loss(nt.checkpoint))(H), nt.grad(loss(plain))(H), 1e-15)
    same(nt.hessian(loss(nt.checkpoint))(H), nt.hessian(loss(plain))(H), 1e-14)
    masked = lambda wrapped: lambda x: np.sum(wrapped(lambda x, m: x[m] ** 3)(x, x > 0))  # noqa: E731
    same(nt.hessian(masked(nt.checkpoint))(H), nt.hessian(masked(plain))(H), 1e-15)
    empty = lambda wrapped: lambda x: np.sum(wrapped(lambda e, x: (e, x * x))(x[:0], x)[1])  # noqa: E731
    same(nt.grad(empty(nt.checkpoint))(H), 2 * H)


GLOBAL_LOOP = """
def loss(wrapped, w):
    global t, h, weight
    h, weight = 0.7, w
    for t in range(4):
        h = wrapped(lambda h: nt.sin(weight * h + t))(h)
    return h
"""


def test_variables_of_a_loop_are_those_of_the_call():
    """In cells and in globals, which have gone on when the function runs again."""

    def loss(wrapped, w):
        h = 0.7
        for t, name in enumerate("abcd"):
            h = wrapped(lambda h: nt.sin(w * h + t) if name < "c" else h * w - t)(h)  # noqa: B023
        return h

    space = {"nt": nt}
    exec(GLOBAL_LOOP, space)
    for f in (loss, space["loss"]):
        kept, again = functools.partial(f, plain), functools.partial(f, nt.checkpoint)
        assert nt.grad(again)(0.4) == nt.grad(kept)(0.4)
        assert nt.grad(nt.grad(again))(0.4) == pytest.approx(nt.grad(nt.grad(kept))(0.4))
        assert nt.jvp(again, (0.4,), (1.0,)) == nt.jvp(kept, (0.4,), (1.0,))
    traced = nt.function(functools.partial(loss, nt.checkpoint))
    for w in (0.4, 0.4, -0.9):
        assert traced(w) == loss(plain, w)
        assert nt.grad(traced)(w) == nt.grad(functools.partial(loss, plain))(w)


def test_a_function_that_counts_its_calls():
    """Writes into cells are seen of the call, and not of what runs for derivatives."""
    calls = 0

    def f(x):
        nonlocal calls
        calls += 1
        return nt.sin(x) * x

    assert nt.grad(nt.checkpoint(f))(0.5) == nt.sin(0.5) + 0.5 * nt.cos(0.5)
    assert calls == 1


def test_numbers_that_change_are_noticed():
    rng = np.random.default_rng(0)
    box = [1.0]

    def refilled(x):
        y = nt.checkpoint(lambda x: x * box[0])(x)
        box[0] += 1.0
        return y

    def other_shape(x):
        y = nt.checkpoint(lambda x: x[0] * np.ones(len(box)))(x)
        box.append(1.0)
        return np.sum(y)

    for f, x in [(nt.checkpoint(lambda x: x * rng.random()), 2.0), (refilled, 2.0),
                 (other_shape, H)]:  # fmt: skip
        with pytest.raises(nt.UnstableProgramError, match="gave other numbers when it ran again"):
            nt.grad(f)(x)
    big = nt.checkpoint(lambda x: x * np.array([1.0, np.nan, np.inf, 0.0]))
    assert np.isnan(nt.jacobian(big)(2.0)[1]) and nt.jacobian(big)(2.0)[0] == 1.0


def test_what_cannot_be_found_or_written():
    leaf = nt.var(3.0)
    for hidden in (Hidden(leaf), type("Class", (), {"w": leaf})):
        with pytest.raises(nt.GradientLostError, match="cannot be found in its closure"):
            nt.grad(nt.checkpoint(lambda x, hidden=hidden: x * hidden.w))(2.0)

    def into_captured(x, result):
        buffer = x * 1.0

        def f(y):
            buffer[0] = y[1]
            return result(buffer)

        return nt.checkpoint(f)(x * x)

    for result in (np.sum, lambda buffer: buffer[0]):
        with pytest.raises(nt.GradientLostError, match="writes into an array that it captures"):
            nt.grad(into_captured)(H, result)


def test_captured_leaves_and_blocks_without_arguments():
    leaf = nt.var(3.0)
    y = nt.checkpoint(lambda: nt.sin(leaf) * leaf)()
    y.backward()
    assert leaf.grad == np.sin(3.0) + 3.0 * np.cos(3.0)
    found = nt.grad(lambda x: nt.checkpoint(lambda y: y * x * leaf)(x))(2.0)
    assert found.value == 12.0
    with nt.no_grad():
        assert nt.checkpoint(lambda x: x * leaf)(2.0) == 6.0


def test_a_block_does_not_hold_what_it_captures():
    """The rule of a call stays with the tape; the user's objects and recorded arrays go."""
    x = nt.var(H)

    class Owner:
        pass

    owner = Owner()
    owner.w = x * 2.0
    gone = weakref.ref(owner), weakref.ref(owner.w.storage)
    y = np.sum(nt.checkpoint(lambda h: h * owner.w)(x))  # noqa: F821
    del owner
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    y.backward()
    same(x.grad, 4.0 * H)
