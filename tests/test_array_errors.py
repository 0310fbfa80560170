"""Mistakes with arrays: each is answered by an exception of ours with advice, and does no harm.

Shape errors name both shapes and the user's line; nothing ever becomes an object array.
"""

import inspect
import re

import numpy as np
import pytest

import ndtape as nt

HERE = r"test_array_errors\.py:\d+"


def x():
    return nt.var([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], name="x")


def y():
    return x() * 1.0


def v():
    return nt.var([1.0, 2.0]) * 1.0


def spent():
    z = np.sum(x() * 1.0)
    z.backward()
    z.backward()


def written(target, key, value):
    target[key] = value


def in_place(target, value):
    target += value


def assigned(target, index, value):
    target[index] = value


S = nt.ShapeError
# What the message must contain; a shape error names both shapes (or shape and index) and the line.
SHAPES = {
    "add": (lambda: y() + v(), r"add.*\(2, 3\) and \(2,\)"),
    "plain on the left": (lambda: np.ones(4) * y(), r"multiply.*\(4,\) and \(2, 3\)"),
    "list": (lambda: y() - [1.0, 2.0], r"\(2, 3\) and \(2,\)"),
    "np function": (lambda: np.arctan2(y(), v()), r"\(2, 3\) and \(2,\)"),
    "where": (lambda: nt.where(y() > 0.0, v(), 0.0), r"\(2, 3\).*\(2,\)"),
    "np.where": (lambda: np.where(y() > 0.0, v(), 0.0), r"\(2, 3\).*\(2,\)"),
    "comparison": (lambda: y() < np.zeros(4), r"\(2, 3\) and \(4,\)"),
    "matmul": (lambda: y() @ y(), r"\(2, 3\).*\(2, 3\)"),
    "matmul vector": (lambda: y() @ v(), r"\(2, 3\).*\(2,\)"),
    "matmul plain": (lambda: np.ones((2, 2)) @ np.transpose(y()), r"\(2, 2\).*\(3, 2\)"),
    "dot": (lambda: np.dot(y(), np.ones(4)), r"\(2, 3\).*\(4,\)"),
    "einsum": (lambda: np.einsum("ij,ij->i", y(), np.ones((2, 4))), r"\(2, 3\).*\(2, 4\)"),
    "tensordot": (lambda: np.tensordot(y(), y(), axes=1), r"\(2, 3\).*\(2, 3\)"),
    "write": (lambda: written(y(), 0, np.ones(2)), r"\(2,\).*\(3,\)"),
    "write recorded": (lambda: written(y(), slice(None), v()), r"\(2,\).*\(2, 3\)"),
    "in place": (lambda: in_place(y(), np.ones((4, 2, 3))), r"\(4, 2, 3\).*\(2, 3\)"),
    "out": (lambda: np.add(y(), 1.0, out=nt.zeros(4)), r"\(2, 3\).*\(4,\)"),
    "reshape": (lambda: y().reshape(4, 2), r"\(2, 3\).*\(4, 2\)"),
    "broadcast_to": (lambda: np.broadcast_to(y(), (3, 3)), r"\(2, 3\).*\(3, ?3\)"),
    "concatenate": (lambda: np.concatenate([y(), np.ones((2, 2))]), r"\(2, 3\).*\(2, 2\)"),
    "stack": (lambda: np.stack([y(), v()]), r"\(2, 3\).*\(2,\)"),
    "solve": (lambda: np.linalg.solve(np.eye(3), y()), r"\(2, 3\).*\(3, 3\)"),
    "index": (lambda: y()[2], r"2.*\(2, 3\)"),
    "negative index": (lambda: y()[-3, 0], r"-3.*\(2, 3\)"),
    "element": (lambda: y()[0, 3], r"3.*\(2, 3\)"),
    "too many": (lambda: y()[0, 0, 0], r"\(2, 3\)"),
    "index array": (lambda: y()[np.array([0, 2])], r"2.*\(2, 3\)"),
    "recorded index": (lambda: v()[np.argsort(v()) * 2], r"2.*axis of 2"),
    "mask": (lambda: y()[np.array([True, False, True])], r"\(2, 3\)"),
    "recorded mask": (lambda: y()[v() > 0.0][:, :, 0], r"\(2, 3\)|too many"),
    "write index": (lambda: written(y(), 5, 1.0), r"5.*\(2, 3\)"),
    "write recorded index": (lambda: written(v(), np.argsort(v()) + 1, 0.0), r"2.*axis of 2"),
    "seed": (lambda: y().backward(np.ones(3)), r"\(3,\).*\(2, 3\)"),
    "bool": (lambda: bool(y()), r"\(2, 3\).*np\.any"),
    "if": (lambda: 1 if y() > 0 else 0, r"\(2, 3\).*np\.any"),
    "lists": (lambda: nt.array([[nt.var(1.0)], [nt.var(1.0), 2.0]]), "unequal"),
    "gradient": (lambda: setattr(x(), "grad", np.ones(3)), r"\(3,\).*\(2, 3\)"),
}
NO_LINE = {"seed", "gradient"}  # their own line is the one in the traceback


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
    mistake, text = SHAPES[name]
    with pytest.raises(nt.TapeError, match=text) as caught:
        mistake()
    assert isinstance(caught.value, ValueError)
    assert name in NO_LINE or re.search(HERE, str(caught.value))
    _nothing_broken()


def _nothing_broken():
    z = nt.var([1.0, 2.0])
    np.sum(z * z).backward()
    assert z.grad.tolist() == [2.0, 4.0]


FLOATS = np.array([1.0 + 2.0j, 3.0])
OBJECTS = np.array([1.0, "2", None], object)
OTHERS = {
    "singular": (
        lambda: np.linalg.inv(np.ones((2, 2)) * nt.var(1.0)), nt.SingularMatrixError, "singular"),
    "singular solve": (
        lambda: np.linalg.solve(nt.var(np.zeros((2, 2))), np.ones(2)),
        nt.SingularMatrixError, "singular"),
    "cholesky": (
        lambda: np.linalg.cholesky(nt.var(np.diag([1.0, -1.0]))),
        nt.NotPositiveDefiniteError, "positive"),
    "not square": (lambda: np.linalg.inv(y()), (nt.MatrixError, S), r"\(2, 3\)"),
    "singular in a stack": (
        lambda: np.linalg.inv(nt.var(np.stack([np.eye(2), np.zeros((2, 2))]))),
        nt.SingularMatrixError, "1"),
    "object array": (lambda: y() * np.ones(3, object), nt.UnsupportedError, "object array"),
    "object leaf": (lambda: nt.var(OBJECTS), nt.UnsupportedError, "object|numbers"),
    "object of values": (
        lambda: nt.array(np.array([nt.var(1.0), None], object)), nt.TapeError, "object|nt.array"),
    "complex": (lambda: y()[0, :2] * FLOATS, nt.UnsupportedError, "real"),
    "complex leaf": (lambda: nt.var(FLOATS), nt.UnsupportedError, "real and imaginary parts"),
    "complex number": (lambda: y() * 1j, nt.UnsupportedError, "real"),
    "complex dtype": (lambda: y().astype(complex), nt.UnsupportedError, "complex128"),
    "strings": (lambda: nt.var(np.array(["a"])), nt.UnsupportedError, "<U1"),
    "float16": (lambda: nt.var(np.ones(2, np.float16)), nt.UnsupportedError, "float64 or float32"),
    "large integers": (lambda: y() * np.array([2**60] * 3), nt.UnsupportedError, r"2\*\*53"),
    "plain target": (
        lambda: written(np.zeros(3), slice(None), y()[0]), nt.GradientLostError, r"nt\.zeros"),
    "plain target of a row": (
        lambda: written(np.zeros((2, 3)), 0, y()[0]), nt.GradientLostError, r"np\.zeros_like"),
    "plain in place": (lambda: in_place(np.zeros((2, 3)), y()), nt.GradientLostError, "nt.zeros"),
    "plain out": (
        lambda: np.sin(y(), out=np.zeros((2, 3))), nt.GradientLostError, r"nt\.zeros"),
    "np.array": (lambda: np.array(y()), nt.GradientLostError, r"x\.value"),
    "np.asarray": (lambda: np.asarray(y()), nt.GradientLostError, r"nt\.zeros"),
    "np.array of a list": (lambda: np.array([y(), y()]), nt.GradientLostError, r"nt\.array"),
    "np.array of scalars": (lambda: np.array([y()[0, 0], 1.0]), nt.GradientLostError, "value"),
    "float": (lambda: float(np.sum(y(), keepdims=True)), nt.GradientLostError, "item"),
    "int": (lambda: int(nt.var([1.5])), nt.GradientLostError, "item"),
    "list index": (lambda: [1, 2, 3][nt.var([1.0])], nt.UnsupportedError, "index"),
    "float index": (lambda: v()[v()], nt.ShapeError, "no index"),
    "recording float index": (lambda: v()[np.sum(v())], nt.ShapeError, "floor"),
    "leaf write": (lambda: written(x(), 0, 1.0), nt.LeafWriteError, r"copy\(\).*no_grad"),
    "leaf write recorded": (lambda: written(x(), 0, y()[0]), nt.LeafWriteError, "no_grad"),
    "leaf in place": (lambda: in_place(x(), 1.0), nt.LeafWriteError, "no_grad"),
    "leaf view write": (lambda: written(x()[0], 1, 1.0), nt.LeafWriteError, "no_grad"),
    "leaf mask write": (lambda: written(x(), x() > 2.0, 0.0), nt.LeafWriteError, "no_grad"),
    "leaf at": (lambda: np.add.at(x(), 0, 1.0), nt.LeafWriteError, "no_grad"),
    "leaf sort": (lambda: x().sort(), nt.LeafWriteError, "no_grad"),
    "leaf fill": (lambda: x().fill(0.0), nt.LeafWriteError, "no_grad"),
    "leaf of a result": (lambda: nt.var(y()), nt.UnsupportedError, "detach"),
    "leaf of results": (lambda: nt.var([y()[0, 0], 1.0]), nt.UnsupportedError, "detach"),
    "seed needed": (lambda: y().backward(), nt.ArgumentError, r"\(2, 3\).*sum\(\)"),
    "seed of complex": (lambda: y().backward(FLOATS), (nt.TapeError, TypeError), "complex"),
    "spent": (spent, nt.SpentTapeError, "retain_graph=True"),
    "no gradient": (lambda: nt.zeros(1).backward(), nt.ArgumentError, "no leaf"),
    "gradient of arrays": (lambda: nt.Tape().gradient(y(), x()), nt.ArgumentError, r"\(2, 3\)"),
    "grad of an array": (
        lambda: nt.grad(lambda x: x * 2)(np.ones(2)), nt.ArgumentError, "jacobian"),
    "sweep in a transform": (
        lambda: nt.grad(lambda x: np.sum(_swept(x)))(np.ones(2)), nt.GradientLostError, "nt.grad"),
    "unknown function": (lambda: np.poly(v()), nt.UnsupportedError, r"nt\.primitive"),
    "unknown ufunc": (lambda: np.nextafter(y(), 1.0), nt.UnsupportedError, r"nt\.primitive"),
    "retain a view": (lambda: y()[0].retain_grad(), nt.UnsupportedError, "view"),
    "bitwise": (lambda: np.argsort(v()) & 1, nt.UnsupportedError, "booleans"),
    "minus of booleans": (lambda: (v() > 0) - (v() > 1), nt.UnsupportedError, "logical"),
    "deep copy": (lambda: __import__("copy").deepcopy(y()), TypeError, r"x\.copy\(\)"),
    "length": (lambda: len(nt.var(np.array(1.0))), TypeError, "axes"),
    "lists of numbers": (
        lambda: nt.array([[1.0], [2.0, 3.0]]), (nt.TapeError, ValueError), "unequal|inhomogeneous"),
    "empty max": (lambda: np.max(y()[:0]), nt.TapeError, r"\(0, 3\)"),
    "axis": (lambda: np.sum(y(), axis=2), (nt.TapeError, np.exceptions.AxisError), "2"),
}  # fmt: skip


def _swept(x):
    leaf = nt.var([1.0, 2.0])
    np.sum(leaf * x).backward()
    return leaf.grad


@pytest.mark.parametrize("name", OTHERS)
def test_other_mistakes(name):
    mistake, cls, text = OTHERS[name]
    with pytest.raises(cls, match=text) as caught:
        mistake()
    message = str(caught.value)
    assert message and "NotImplemented" not in message
    assert caught.value.__cause__ is None
    _nothing_broken()


def test_linear_algebra_errors_are_also_numpys():
    for name in ("singular", "cholesky"):
        with pytest.raises(np.linalg.LinAlgError):
            OTHERS[name][0]()


def test_a_mistake_leaves_the_target_as_it_was():
    a = nt.var([1.0, 2.0, 3.0])
    b = a * 1.0
    for mistake in (
        lambda: written(b, slice(None), np.ones(2)),
        lambda: written(b, 7, 1.0),
        lambda: in_place(b, np.ones((2, 3))),
        lambda: np.add(b, 1.0, out=b[:2]),
        lambda: np.add.at(b, [0, 9], 1.0),
        lambda: written(b, np.argsort(b) + 1, 0.0),
        lambda: written(b, 0, FLOATS[0]),
        lambda: written(b, 0, "1"),
    ):
        with pytest.raises((nt.TapeError, TypeError, ValueError)):
            mistake()
        assert b.value.tolist() == [1.0, 2.0, 3.0]
    b.backward(np.ones(3))
    assert a.grad.tolist() == [1.0, 1.0, 1.0]


def test_leaves_are_written_under_no_grad():
    a = x()
    with nt.no_grad():
        a -= 0.5
        a[0] = 7.0
        a[a > 5.0] *= 2.0
        np.add.at(a, (0, 0), 1.0)
    assert a.value.tolist() == [[15.0, 14.0, 14.0], [3.5, 4.5, 11.0]]
    np.sum(a * a).backward()
    assert a.grad.tolist() == (2 * a.value).tolist()


def test_the_line_is_that_of_the_user():
    a, b, here = y(), v(), inspect.currentframe()
    for mistake in (
        lambda: a + b,
        lambda: np.add(a, b),
        lambda: a @ a,
        lambda: np.linalg.solve(a, b),
        lambda: a[5],
    ):
        with pytest.raises(nt.TapeError) as caught:
            mistake()
        found = re.search(r"test_array_errors\.py:(\d+)", str(caught.value))
        assert found and here.f_code.co_firstlineno < int(found[1]) <= here.f_lineno


# --- never an object array -----------------------------------------------------------------------

PUBLIC = sorted(
    name for name in dir(np)
    if callable(getattr(np, name)) and not isinstance(getattr(np, name), type)
)  # fmt: skip
SIDE_EFFECTS = {
    "save", "savez", "savez_compressed", "savetxt", "fromfile", "fromregex", "load", "loadtxt",
    "genfromtxt", "info", "show_config", "show_runtime", "test", "memmap", "lookfor", "source",
    "set_printoptions", "seterr", "seterrcall", "setbufsize", "get_include", "printoptions",
    "errstate", "busday_count", "busday_offset", "is_busday", "shares_memory", "input",
}  # fmt: skip


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.filterwarnings("ignore", "error::ndtape.GradientLostWarning")
def test_no_function_of_numpy_makes_an_object_array(count):
    """Whatever NumPy offers: an answer of ours, plain numbers, or an error; objects never."""
    operands = [nt.var([0.25, 0.5, 0.75]) * 1.0, nt.var([0.5, 0.25, 0.125]) * 1.0][:count]
    for name in PUBLIC:
        if name in SIDE_EFFECTS:
            continue
        try:
            result = getattr(np, name)(*operands)
        except Exception as error:
            assert "object" not in type(error).__name__
            continue
        for part in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(part, np.ndarray):
                assert part.dtype != object, name
                assert part.dtype.kind not in "f" or name in PLAIN_FLOATS, name


# Functions whose plain float answer has no derivative: shapes and fills.
PLAIN_FLOATS = {"zeros_like", "ones_like", "empty_like"}


@pytest.mark.parametrize(
    "build",
    [
        lambda a: np.array([a, a]), lambda a: np.array([a[0], a[1]]), lambda a: np.asarray([a]),
        lambda a: np.full(3, a[0]), lambda a: np.array([[a[0], 1.0], [2.0, a[1]]]),
        lambda a: np.array([a], dtype=object), lambda a: np.asanyarray(a),
        lambda a: np.vectorize(lambda t: t * t)(a), lambda a: np.fromiter(a, float),
        lambda a: np.array({"a": a}["a"]), lambda a: np.ndarray.__add__(np.ones(3), a),
        lambda a: np.float64(a[0]), lambda a: np.add(np.zeros(3), [a[0], a[1], a[2]]),
    ],
)  # fmt: skip
def test_arrays_built_of_recording_values(build):
    """Recorded, or refused; never an object array, and no gradient lost without a word."""
    a = nt.var([1.0, 2.0, 3.0])
    try:
        made = build(a * 1.0)
    except (nt.TapeError, TypeError, nt.GradientLostWarning):
        return
    assert made is NotImplemented or isinstance(made, nt.Array | nt.Var)


def test_recording_floats_in_an_array_of_integers():
    x = nt.var([1.5, 2.5]) * 1.0
    whole = nt.zeros(2, dtype=int)
    for write in (lambda: whole.__setitem__(0, x[0]), lambda: whole.__setitem__(slice(None), x)):
        with pytest.raises(nt.GradientLostError, match="array of int64"):
            write()
    whole[:] = np.trunc(x).astype(int)
    assert whole.value.tolist() == [1, 2]
