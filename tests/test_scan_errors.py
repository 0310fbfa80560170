"""Errors of `nt.scan`: the leaf of the tree, both shapes or types, and the user's line.

And what must not leave the body, or be lost in it: values kept in lists, numbers read, writes into
arrays from outside.
"""

from __future__ import annotations

import gc
import math
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
from scan_programs import PROGRAMS, Pair, same, unrolled

import ndtape as nt

X = np.arange(12.0).reshape(4, 3)
S = np.linspace(-0.9, 0.8, 5)
H = np.zeros(2)
MARK = "# !"
LINES = Path(__file__).read_text().splitlines()
DOUBLE = nt.function(lambda x: nt.scan(lambda c, s: (c * x, c), 1.0, S)[0])


def refused(call, error, *words):
    """The error, which names this file and a marked line near it; the next scan works as usual."""
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    for word in words:
        assert word in text, text
    lines = [int(n) for n in re.findall(rf"{Path(__file__).name}:(\d+)", text)]
    assert lines, text
    assert any(MARK in LINES[n - 1] for n in lines), text
    assert isinstance(caught.value, nt.TapeError)
    assert nt.grad(DOUBLE)(2.0) == 80.0
    return text


def everywhere(f, init, xs, error, *words, **options):
    """The same error of plain numbers, under a gradient, and in a traced function."""

    def run(w):
        return nt.scan(lambda c, x: f(c, x, w), init, xs, **options)  # !

    refused(lambda: run(1.0), error, *words)
    refused(lambda: nt.jacobian(run)(1.0), error, *words)
    refused(lambda: nt.function(run)(1.0), error, *words)


# --- carries --------------------------------------------------------------------------------------


def test_another_shape():
    everywhere(
        lambda c, x, w: (np.concatenate((c, x)) * w, None),  # !
        H, X, nt.ShapeError, "carry", "(2,)", "(5,)",
    )  # fmt: skip


def test_another_shape_of_a_leaf():
    def f(c, x, w):
        return {"h": c["h"] * w, "deep": (c["deep"][0], c["deep"][1][:1] * w)}, x  # !

    everywhere(f, {"h": H, "deep": (1.0, H)}, X, nt.ShapeError, "carry['deep'][1]", "(2,)", "(1,)")


def test_a_shape_that_would_broadcast():
    """JAX refuses it, and so do we."""
    everywhere(lambda c, x, w: (c + x * w, None), 0.0, X, nt.ShapeError, "carry", "(3,)")  # !
    everywhere(lambda c, x, w: (c.sum() * w, None), H, X, nt.ShapeError, "carry", "(2,)")  # !


def test_a_shape_that_changes_later():
    """The third step alone goes wrong."""

    def f(c, x, w):
        return (c * w if x[0] < 5.0 else c[:1] * w), None  # !

    everywhere(f, H, X, nt.ShapeError, "carry", "(2,)", "(1,)")


@pytest.mark.parametrize(
    ("init", "new"),
    [
        (np.array([1, 2]), lambda c, w: c * 0.5 * w),
        (np.array([1, 2]), lambda c, w: c > 1),
        (H.astype(np.float32), lambda c, w: c.astype(np.float64) * w),
        (H, lambda c, w: (c * w).astype(np.float32)),
        (H, lambda c, w: np.array([1, 2])),
        (np.array([True, False]), lambda c, w: c + 1),
    ],
)
def test_another_dtype(init, new):
    def f(c, x, w):
        return {"n": new(c["n"], w)}, None  # !

    everywhere(f, {"n": init}, X, nt.TapeError, "carry['n']", str(init.dtype))


@pytest.mark.parametrize(
    "new",
    [
        lambda c: (c["a"], c["b"]),
        lambda c: {"a": c["a"]},
        lambda c: {"a": c["a"], "b": c["b"], "c": 1.0},
        lambda c: {"a": c["a"], "b": (c["b"],)},
        lambda c: {"a": c["a"], "b": None},
        lambda c: None,
        lambda c: c["a"],
        lambda c: Pair(c["a"], c["b"]),
    ],
)
def test_another_tree(new):
    everywhere(
        lambda c, x, w: (new(c), x * w), {"a": H, "b": 1.0}, X, nt.ArgumentError, "carry"
    )  # !


def test_a_list_for_a_tuple():
    everywhere(lambda c, x, w: ([*c], None), (1.0, 2.0), X, nt.ArgumentError, "carry")  # !


@pytest.mark.parametrize("wrong", ["text", object(), 1j, np.array(["a"]), np.array([1j]), len])
def test_carries_that_are_no_numbers(wrong):
    everywhere(lambda c, x, w: (c, x * w), (1.0, wrong), X, nt.TapeError, "init", "[1]")  # !


@pytest.mark.parametrize("wrong", ["text", object(), 1j, len])
def test_outputs_that_are_no_numbers(wrong):
    everywhere(lambda c, x, w: (c, {"y": wrong, "z": x * w}), 1.0, X, nt.TapeError, "['y']")  # !


# --- what the function returns --------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [lambda c, x: c, lambda c, x: None, lambda c, x: (c,), lambda c, x: (c, x, x),
              lambda c, x: 1.0],
)  # fmt: skip
def test_no_pair(wrong):
    everywhere(lambda c, x, w: wrong(c * w, x), H, X, nt.ArgumentError, "pair")  # !


def test_outputs_of_other_shapes_at_other_steps():
    def f(c, x, w):
        return c, {"y": x[:2] * w if x[0] < 5.0 else x * w}  # !

    everywhere(f, 1.0, X, nt.ShapeError, "['y']", "(2,)", "(3,)")


def test_outputs_of_other_trees_at_other_steps():
    def f(c, x, w):
        return c, (x * w if x[0] < 5.0 else None)  # !

    everywhere(f, 1.0, X, nt.ArgumentError, "y")


# --- inputs, lengths, options ---------------------------------------------------------------------


def good(c, x):
    return c * 0.5, c


INPUTS = [
    ({"a": X, "b": S}, None, nt.ShapeError, ["xs['b']", "5", "4"]),
    ((X, [S, X[:2]]), None, nt.ShapeError, ["xs[1]"]),
    ((X, 2.0), None, nt.ShapeError, ["xs[1]", "steps"]),
    (1.5, None, nt.ShapeError, ["xs", "steps"]),
    (np.array(1.5), None, nt.ShapeError, ["xs", "steps"]),
    (X, 3, nt.TapeError, ["length", "3", "4"]),
    (X, -1, nt.ArgumentError, ["length", "-1"]),
    (None, -1, nt.ArgumentError, ["length", "-1"]),
    (None, None, nt.ArgumentError, ["length", "xs"]),
    ((), None, nt.ArgumentError, ["length", "xs"]),
    (None, 2.5, nt.ArgumentError, ["length", "2.5"]),
    (None, "3", nt.ArgumentError, ["length", "'3'"]),
    (["a", "b"], None, nt.TapeError, ["xs[0]"]),
    (np.array(["a", "b"]), None, nt.TapeError, ["xs"]),
]  # fmt: skip


@pytest.mark.parametrize(("xs", "length", "error", "words"), INPUTS)
def test_inputs_and_lengths(xs, length, error, words):
    def run(c):
        return nt.scan(good, c, xs, length)  # !

    refused(lambda: run(1.0), error, *words)
    refused(lambda: nt.grad(lambda c: run(c)[0])(1.0), error, *words)


def test_a_recorded_length():
    def run(n):
        return nt.scan(good, 1.0, length=n)[0]  # !

    refused(lambda: nt.grad(run)(3.0), nt.TapeError, "length")


@pytest.mark.parametrize("checkpoint", [3, "sqrt", True, nt.checkpoint, object()])
def test_no_schedule(checkpoint):
    def run():
        return nt.scan(good, 1.0, S, checkpoint=checkpoint)  # !

    refused(run, nt.ArgumentError, "checkpoint", "nt.schedules")


@pytest.mark.parametrize("f", [None, 3.0, "f", [good]])
def test_not_callable(f):
    def run():
        return nt.scan(f, 1.0, S)  # !

    refused(run, nt.ArgumentError, "function")


def test_a_function_of_other_arguments():
    """Python's own error comes through."""
    with pytest.raises(TypeError, match="positional"):
        nt.scan(lambda c: (c, None), 1.0, S)


# --- errors of the body ---------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [lambda f: f, nt.grad, nt.function, nt.vmap])
def test_errors_of_the_body_come_through(transform):
    """At the first step or at a later one, and the next scan works as usual."""
    for limit in (-2.0, 0.0):

        def f(c, x, limit=limit):
            if x > limit:
                raise KeyError("mine")
            return c * x, None

        start = S.copy() if transform is nt.vmap else 0.5
        with pytest.raises(KeyError, match="mine"):
            transform(lambda c, f=f: nt.scan(f, c, S)[0])(start)
        assert nt.grad(DOUBLE)(2.0) == 80.0


def test_the_line_of_an_operation_that_fails():
    def f(h, x):
        return h @ x, None  # !

    refused(lambda: nt.scan(f, nt.var(np.ones((2, 2))), np.ones((3, 3))), nt.ShapeError)


def test_a_singular_matrix_at_a_later_step():
    def f(h, x):
        return np.linalg.solve(np.eye(2) * x, h), None  # !

    with pytest.raises(np.linalg.LinAlgError):
        nt.grad(lambda h: nt.scan(f, h, np.array([1.0, 2.0, 0.0]))[0].sum())(np.ones(2))
    assert nt.grad(DOUBLE)(2.0) == 80.0


# --- nothing leaves the body, nothing is lost -----------------------------------------------------
# A scan that unrolls lets these values go on; the loop instruction must not.

KEPT = []


def keeps(c, x):
    y = c * x
    KEPT.append((c, x, y)[len(KEPT) % 3])
    return y, y


USES = [
    lambda z: z * 2.0,  # !
    lambda z: nt.sin(z),  # !
    lambda z: 0.5 + z,  # !
    lambda z: float(z),  # !
    lambda z: z > 0.0,  # !
]


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("use", USES)
def test_a_value_kept_in_a_list(place, use):
    """The carry, the input, or a result of a step."""

    def run(c):
        KEPT[:] = [None] * place
        carry, _ = nt.scan(keeps, c, S)
        return carry + use(KEPT[place])  # !

    refused(lambda: nt.grad(run)(0.5), nt.EscapedError)
    KEPT.clear()


@pytest.mark.parametrize("place", range(3))
def test_an_array_kept_in_a_list(place):
    def run(c):
        KEPT[:] = [None] * place
        carry, _ = nt.scan(keeps, c, X)
        return (carry + KEPT[place][::-1] * 2.0).sum()  # !

    refused(lambda: nt.grad(run)(np.ones(3)), nt.EscapedError)
    KEPT.clear()


def test_a_kept_value_in_a_later_body():
    def run(c):
        KEPT.clear()
        nt.scan(keeps, c, S)
        return nt.scan(lambda c, x: (c * KEPT[0], None), c, S)[0]  # !

    refused(lambda: nt.grad(run)(0.5), nt.EscapedError)
    KEPT.clear()


def test_a_sum_outside_that_the_body_adds_to():
    """The loop's own state must be in the carry."""

    def run(c):
        total = 0.0

        def f(c, x):
            nonlocal total
            total = total + c * x
            return c * 0.5, None

        nt.scan(f, c, S)
        return total * 2.0  # !

    refused(lambda: nt.grad(run)(0.5), nt.EscapedError)


@pytest.mark.parametrize(
    "make", [lambda: nt.zeros(3), lambda: np.zeros(3), lambda: nt.var([1.0, 2.0, 3.0])]
)
def test_a_write_into_an_array_from_outside(make):
    """A new array, one of NumPy, a leaf; and one that records."""

    def run(c):
        table = make()

        def f(c, x):
            table[0] = c * x  # !
            return c * 0.5, None

        return nt.scan(f, c, S)[0] + table[0]  # !  here, if nothing else has seen it

    refused(lambda: nt.grad(run)(0.5), nt.TapeError)


def test_a_write_into_a_recorded_array_from_outside():
    def run(c):
        table = nt.array([c, c * 2.0, 1.0])

        def f(c, x):
            table[0] += c * x  # !
            return c * 0.5, None

        return nt.scan(f, c, S)[0] + table[0]

    refused(lambda: nt.grad(run)(0.5), nt.TapeError)


READS = [
    lambda c: float(c), lambda c: math.sin(c), lambda c: c.item(), lambda c: c.value,
    lambda c: np.asarray([c]), lambda c: np.full(2, c)[0], lambda c: np.zeros(2).__setitem__(0, c),
]  # fmt: skip


EXPLICIT = READS[2:4]  # says that it reads; what is captured is the same number at each step


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("which", ["carry", "input", "captured"])
def test_numbers_that_are_read(read, which):
    """They would be those of the step that was recorded."""
    if which == "captured" and read in EXPLICIT:
        return

    def run(w):
        def f(c, x):
            read({"carry": c, "input": x * w, "captured": w * 2.0}[which])
            return c * x * w, None

        return nt.scan(f, 1.0, S)[0]

    with pytest.raises(nt.GradientLostError, match=r"test_scan_errors\.py:\d+"):
        nt.grad(run)(0.5)
    assert nt.grad(DOUBLE)(2.0) == 80.0


def test_sweeps_in_the_body_are_refused():
    def run(w):
        def f(c, x):
            (c * w).backward()
            return c, None

        return nt.scan(f, 1.0, S)[0]

    with pytest.raises(nt.TapeError):
        nt.grad(run)(0.5)
    assert nt.grad(DOUBLE)(2.0) == 80.0


def test_writes_into_the_carry_stay_in_the_step():
    """The carry is the body's own: the caller's array and the outputs before are as they were."""

    def f(h, x):
        y = h * 1.0
        h[0] = h[1] * x
        h[1:] += x
        return h, (y, h)

    h = np.array([0.5, 0.25])

    def cost(scan):
        def f_of(h, xs):
            carry, (a, b) = scan(f, h * 1.0, xs)
            return (carry * carry).sum() + (a * a * b).sum()

        return f_of

    try:
        found = nt.value_and_grad(cost(nt.scan), (0, 1))(h, S)
    except nt.TapeError as error:
        assert "test_scan_errors.py" in str(error)
    else:

        def copied(f, init, xs):
            return unrolled(lambda h, x: _copied(*f(h * 1.0, x)), init, xs)

        same(found, nt.value_and_grad(cost(copied), (0, 1))(h, S))
    assert h.tolist() == [0.5, 0.25]


def _copied(carry, ys):
    return carry * 1.0, (ys[0] * 1.0, ys[1] * 1.0)


def test_no_grad_in_the_body():
    """Refused, as in traced functions."""

    def f(c, x):
        with nt.no_grad():  # !
            k = nt.sin(c)
        return c * k + x, k

    refused(lambda: nt.grad(lambda c: nt.scan(f, c, S)[0])(0.5), nt.UnsupportedError, "no_grad")


def test_nothing_is_kept_alive():
    """Neither the body nor what it captures, after the results have gone."""

    class Token:
        pass

    def run():
        token, q = Token(), PROGRAMS["rnn"]

        def f(h, x):
            return q.body(q.p)(h, x) if token else None

        nt.grad(lambda h: nt.scan(f, h, q.xs)[1].sum())(q.init)
        return weakref.ref(token)

    alive = run()
    gc.collect()
    assert alive() is None


def test_generators_and_side_effects():
    """Printing and counting happen when the body is recorded, not at each step."""
    seen = []

    def f(c, x):
        seen.append(None)
        return c * x, None

    nt.grad(lambda c: nt.scan(f, c, np.ones(1000))[0])(0.5)
    assert 1 <= len(seen) <= 4
