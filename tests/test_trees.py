"""Containers of numbers: which there are, gradients in their structure, and trees as vectors."""

from __future__ import annotations

import collections
import dataclasses
import gc
import threading
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest

import ndtape as nt
from ndtape.trees import flatten, path_text, subtrees, unflatten


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Plain:
    w: Any
    b: Any = 0.5


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: Any
    inner: Any


@dataclasses.dataclass(slots=True)
class Slotted:
    a: Any
    b: Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    rate: Any
    steps: int = dataclasses.field(default=3, metadata={"static": True})
    name: str = dataclasses.field(default="s", metadata={"static": True})


@dataclasses.dataclass
class Checked:
    """Refuses in `__init__` what a gradient may be."""

    width: Any
    area: Any = dataclasses.field(init=False)
    late: Any = dataclasses.field(init=False)  # never set

    def __post_init__(self):
        if not self.width > 0:
            raise ValueError("width must be positive")
        self.area = self.width**2


@dataclasses.dataclass
class Child(Plain):
    c: Any = 2.0


TREES = {
    "number": 2.0,
    "list": [1.0, [2.0, 3.0]],
    "tuple": (1.0, (2.0,)),
    "dict": {"b": 1.0, "a": {"c": 2.0}},
    "named tuple": Point(1.0, Point(2.0, 3.0)),
    "OrderedDict": collections.OrderedDict([("z", 1.0), ("a", 2.0)]),
    "defaultdict": collections.defaultdict(list, {"z": 1.0, "a": 2.0}),
    "deque": collections.deque([1.0, 2.0], maxlen=3),
    "None": [None, 1.0, {"a": None}],
    "empty": {},
    "dataclass": Plain(1.0, 2.0),
    "frozen": Frozen(1.0, [Frozen(2.0, 3.0), None]),
    "slots": Slotted(1.0, Slotted(2.0, 3.0)),
    "static": Settings(rate=1.0, steps=7, name="n"),
    "child": Child(1.0, 2.0, 3.0),
    "mixed": {"p": [Plain(Point(1.0, 2.0), Frozen(3.0, None))], "q": (4.0,)},
}
every_tree = pytest.mark.parametrize("name", TREES)


def total(tree):
    """The sum of cubes over the leaves."""
    return sum((x**3 for x in flatten(tree)[0]), 0.0)


@every_tree
def test_there_and_back(name):
    leaves, structure = flatten(TREES[name])
    again = unflatten(structure, leaves)
    assert again == TREES[name]
    assert type(again) is type(TREES[name])
    assert flatten(again)[1] == structure
    assert hash(flatten(again)[1]) == hash(structure)


@every_tree
def test_gradients_come_back_in_the_same_structure(name):
    leaves, structure = flatten(TREES[name])
    expected = unflatten(structure, [3 * x**2 for x in leaves])
    assert nt.grad(total)(TREES[name]) == expected
    assert nt.grad(nt.function(total))(TREES[name]) == expected


@every_tree
def test_results_of_traced_functions(name):
    """Trees come out of a replay as they do of Python."""
    double = nt.function(lambda t: unflatten(flatten(t)[1], [2.0 * x for x in flatten(t)[0]]))
    leaves, structure = flatten(TREES[name])
    for _ in range(3):
        assert double(TREES[name]) == unflatten(structure, [2.0 * x for x in leaves])


@every_tree
def test_ravel_there_and_back(name):
    flat, unravel = nt.ravel(TREES[name])
    assert flat.dtype == np.float64
    assert flat.tolist() == flatten(TREES[name])[0]
    assert unravel(flat) == TREES[name]


def test_the_order_of_jax():
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    from jax.flatten_util import ravel_pytree

    tree = {"b": [1.0, (2.0, None)], "a": Point(3.0, {"z": 4.0, "c": 5.0})}
    assert flatten(tree)[0] == jax.tree.leaves(tree)
    ours = nt.ravel(tree)[0]
    theirs = ravel_pytree(tree)[0]
    assert ours.tolist() == theirs.tolist()


def test_dicts_keep_the_order_of_their_keys():
    gradient = nt.grad(lambda d: d["b"] * d["a"])({"b": 2.0, "a": 3.0})
    assert list(gradient) == ["b", "a"]
    assert gradient == {"b": 3.0, "a": 2.0}


def test_what_is_no_container_is_a_leaf():
    class Mine(list):
        pass

    for x in ("text", np.ones(3), Mine([1.0]), {1.0, 2.0}, range(3), nt.var([1.0])):
        leaves, _ = flatten([x])
        assert leaves[0] is x


# --- dataclasses ----------------------------------------------------------------------------------


def test_dataclasses_are_rebuilt_without_their_init():
    checked = Checked(2.0)
    gradient = nt.grad(lambda c: -c.width * c.area)(checked)  # negative: __init__ would refuse
    assert (gradient.width, gradient.area) == (-4.0, -2.0)
    assert not hasattr(gradient, "late")


def test_static_fields_are_no_leaves():
    settings = Settings(rate=2.0, steps=3, name="cube")
    gradient = nt.grad(lambda s: s.rate**s.steps)(settings)
    assert gradient == Settings(rate=12.0, steps=3, name="cube")
    F = nt.function(lambda s: s.rate**s.steps)
    assert [F(dataclasses.replace(settings, steps=n)) for n in (1, 2, 3)] == [2.0, 4.0, 8.0]


def test_attributes_that_are_no_fields_are_not_carried_over():
    point = Plain(1.0, 2.0)
    point.norm = 5.0
    leaves, structure = flatten(point)
    assert not hasattr(unflatten(structure, leaves), "norm")


def test_a_dataclass_class_is_a_leaf():
    assert flatten([Plain, 1.0])[0] == [Plain, 1.0]


def test_dataclasses_as_results_and_in_nested_transforms():
    def f(p):
        return Plain(p.w * p.b, p.b**3)

    gradient = nt.grad(lambda p: f(p).w + f(p).b)(Plain(2.0, 3.0))
    assert gradient == Plain(3.0, 2.0 + 27.0)
    second = nt.grad(lambda p: nt.grad(lambda q: f(q).b)(p).b)(Plain(2.0, 3.0))
    assert second == Plain(0.0, 18.0)


def test_local_dataclasses_in_threads():
    @dataclasses.dataclass
    class Local:
        a: float

    seen: list[Any] = []
    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        seen.append(flatten(Local(1.0))[0])

    threads = [threading.Thread(target=work) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert seen == [[1.0]] * 8


# --- registered classes ---------------------------------------------------------------------------


class Line:
    def __init__(self, slope, offset, unit="m"):
        self.slope, self.offset, self.unit = slope, offset, unit


nt.register_tree(
    Line, lambda x: ([x.slope, x.offset], x.unit), lambda unit, c: Line(c[0], c[1], unit)
)


def test_registered_classes():
    gradient = nt.grad(lambda line: line.slope * 3.0 + line.offset**2)(Line(1.0, 2.0, "km"))
    assert isinstance(gradient, Line)
    assert (gradient.slope, gradient.offset, gradient.unit) == (3.0, 4.0, "km")
    flat, unravel = nt.ravel([Line(np.ones(2), 5.0), 1.0])
    assert flat.tolist() == [1.0, 1.0, 5.0, 1.0]
    assert unravel(flat)[0].offset == 5.0


def test_registration_is_refused():
    with pytest.raises(nt.ArgumentError, match="registered once"):
        nt.register_tree(Line, lambda line: ((), None), lambda aux, c: None)
    with pytest.raises(nt.ArgumentError, match="takes a class"):
        nt.register_tree(Line(1.0, 2.0), lambda line: ((), None), lambda aux, c: None)
    flatten(Plain(1.0))
    with pytest.raises(nt.ArgumentError, match="Plain is a container already"):
        nt.register_tree(Plain, lambda line: ((), None), lambda aux, c: None)


def test_a_registered_dataclass_is_what_was_registered():
    @dataclasses.dataclass
    class Half:
        used: Any
        unused: Any

    nt.register_tree(Half, lambda h: ((h.used,), h.unused), lambda aux, c: Half(c[0], aux))
    assert flatten(Half(1.0, "text"))[0] == [1.0]


# --- text and structure ---------------------------------------------------------------------------


def test_paths():
    _, structure = flatten({"a": [Plain(1.0, 2.0)], "z": Point(3.0, 4.0)})
    texts = [path_text(path) for path in structure.paths()]
    assert texts[:2] == ["['a'][0].w", "['a'][0].b"]


def test_subtrees():
    _, structure = flatten({"a": 1.0, "b": [2.0]})
    assert subtrees(structure, {"a": (0, 1), "b": [None]}) == [(0, 1), None]
    with pytest.raises(nt.ArgumentError, match="does not have the structure"):
        subtrees(structure, [1.0])


# --- ravel ----------------------------------------------------------------------------------------


def test_ravel_keeps_shapes_and_dtypes():
    tree = {
        "f4": np.arange(6, dtype=np.float32).reshape(2, 3),
        "f8": np.ones((2, 0, 3)),
        "zero": np.array(7.0),
        "number": 1,
        "single": np.float32(0.1),
        "whole": np.array([1, 2]),
    }
    flat, unravel = nt.ravel(tree)
    again = unravel(flat + 0.5)
    assert flat.shape == (11,)
    assert again["f4"].dtype == np.float32 and again["f4"].shape == (2, 3)
    assert again["f8"].shape == (2, 0, 3)
    assert again["zero"].shape == ()
    assert type(again["number"]) is float and again["number"] == 1.5  # nothing is cut off
    assert type(again["single"]) is np.float32
    assert again["whole"].dtype == np.float64 and again["whole"].tolist() == [1.5, 2.5]


def test_ravel_shares_no_memory():
    x = np.ones(3)
    flat, unravel = nt.ravel(x)
    flat[0] = 5.0
    assert x[0] == 1.0
    unravel(flat)[1] = 7.0
    assert flat.tolist() == [5.0, 1.0, 1.0]

    def f(v):
        flat, unravel = nt.ravel(v)
        flat[0] = 10.0 * flat[0]
        part = unravel(flat)
        part[1] = 0.0
        return np.sum(flat) + np.sum(v)

    assert f(np.ones(2)) == 13.0
    assert nt.grad(f)(np.ones(2)).tolist() == [11.0, 2.0]


def test_gradients_flow_through_both_directions():
    tree = {"w": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": 0.5, "s": np.ones(2, np.float32)}

    def f(t):
        flat, unravel = nt.ravel(t)
        again = unravel(flat**2)
        return np.sum(again["w"] * np.array([1.0, 10.0])) + again["b"] * 3.0 + again["s"].sum()

    gradient = nt.grad(f)(tree)
    assert gradient["w"].tolist() == [[2.0, 40.0], [6.0, 80.0]]
    assert gradient["b"] == 3.0
    assert gradient["s"].dtype == np.float32 and gradient["s"].tolist() == [2.0, 2.0]
    nt.check_grads(f, ({"w": tree["w"], "b": 0.5, "s": np.ones(2)},))
    second = nt.grad(lambda t: nt.grad(f)(t)["b"])(tree)
    assert second["b"] == 6.0 and not second["w"].any()


def test_ravel_of_leaves_and_under_functions():
    x, b = nt.var([1.0, 2.0]), nt.var(3.0)
    flat, unravel = nt.ravel([x, b])
    (flat[0] * flat[2] + unravel(flat)[0][1]).backward()
    assert x.grad.tolist() == [3.0, 1.0] and b.grad == 1.0
    F = nt.function(lambda t: nt.ravel(t)[1](2.0 * nt.ravel(t)[0]))
    assert F({"a": 1.0, "b": np.ones(2)})["b"].tolist() == [2.0, 2.0]


def test_unravel_of_a_vector_that_is_differentiated():
    _, unravel = nt.ravel({"a": 1.0, "b": np.ones((2, 2))})
    H = nt.hessian(lambda v: unravel(v)["a"] * np.sum(unravel(v)["b"] ** 2))(np.arange(5.0))
    expected = np.zeros((5, 5))
    expected[0, 1:] = expected[1:, 0] = 2 * np.arange(1.0, 5.0)
    np.testing.assert_array_equal(H, expected)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (True, r"\['p'\]\[0\] is a bool"),
        ("text", "is a str"),
        (1j, "is a complex"),
        (np.array([True]), "is an array of bool"),
        (np.ones(2, complex), "is an array of complex128"),
        (np.array([None]), "is an array of object"),
        (len, "is a builtin_function_or_method"),
    ],
)
def test_what_is_no_real_number(leaf, message):
    with pytest.raises(nt.ArgumentError, match=message):
        nt.ravel({"p": [leaf, 1.0]})


def test_a_vector_of_another_length():
    _, unravel = nt.ravel([1.0, np.ones(2)])
    for wrong in (np.ones(2), np.ones((1, 3)), 1.0, []):
        with pytest.raises(nt.ShapeError, match=r"takes a vector of shape \(3,\)"):
            unravel(wrong)
    assert "3 numbers into 2 leaves" in repr(unravel)


def test_unravel_holds_no_numbers():
    class Big(np.ndarray):
        pass

    x = np.ones(1000).view(Big)
    watch = weakref.ref(x)
    _, unravel = nt.ravel({"x": x})
    del x
    gc.collect()
    assert watch() is None
    assert unravel(np.zeros(1000))["x"].shape == (1000,)
