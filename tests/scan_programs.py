"""Loops for `nt.scan` beside the same loops in Python: bodies, their arguments, and the reference.

`unrolled` is what a scan means, written out: it knows trees by itself and records whatever the
body records.  Every program is a body made from parameters, with a carry and inputs to start from.
"""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import ndtape as nt

Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass
class State:
    """A carry of the user's own."""

    h: Any
    count: Any


# --- trees ----------------------------------------------------------------------------------------


def mapped(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """`f` of the leaves that stand at the same place; the tree is that of the first."""
    if tree is None:
        assert all(o is None for o in others)
        return None
    if dataclasses.is_dataclass(tree):
        names = [field.name for field in dataclasses.fields(tree)]
        parts = (mapped(f, *[getattr(t, n) for t in (tree, *others)]) for n in names)
        return dataclasses.replace(tree, **dict(zip(names, parts, strict=True)))
    if isinstance(tree, dict):
        assert all(o.keys() == tree.keys() for o in others)
        return {k: mapped(f, *[t[k] for t in (tree, *others)]) for k in tree}
    if isinstance(tree, (tuple, list)):
        parts = [mapped(f, *column) for column in zip(tree, *others, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return f(tree, *others)


def leaves(tree: Any) -> list[Any]:
    found: list[Any] = []
    mapped(found.append, tree)
    return found


def same(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Equal trees, shapes and dtypes; numbers to the tolerance, or to the last bit with 0."""

    def compare(a: Any, b: Any) -> None:
        assert np.shape(a) == np.shape(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        if tolerance:
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(a, b)

    assert type(found) is type(expected) or not isinstance(expected, (dict, tuple, list))
    mapped(compare, expected, found)


def like(tree: Any, seed: int = 0) -> Any:
    """Other numbers of the same shapes and dtypes: a direction, or weights."""
    rng = np.random.default_rng(seed)

    def other(x: Any) -> Any:
        if np.asarray(x).dtype.kind != "f":
            return x
        found = rng.uniform(-1, 1, np.shape(x)).astype(np.asarray(x).dtype)
        return found if np.ndim(x) else float(found)

    return mapped(other, tree)


# --- what a scan means ----------------------------------------------------------------------------


def unrolled(
    f: Any, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False,
    checkpoint: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """The loop of a scan with at least one step, in Python."""
    steps = len(leaves(xs)[0]) if leaves(xs) else length
    carry, found = init, {}
    for t in sorted(range(steps), reverse=reverse):
        carry, found[t] = f(carry, mapped(lambda x, t=t: x[t], xs))
    columns = [found[t] for t in range(steps)]
    return carry, mapped(lambda *column: np.stack(column), *columns)


# --- programs -------------------------------------------------------------------------------------


class Program(NamedTuple):
    """`body(p)` is the function to scan; `moves` are the places of (p, init, xs) that may move."""

    body: Callable[[Any], Any]
    p: Any
    init: Any
    xs: Any = None
    length: int | None = None
    reverse: bool = False
    moves: tuple[int, ...] = (0, 1, 2)
    smooth: bool = True  # without branches, which lanes and replays leave

    @property
    def places(self) -> tuple[int, ...]:
        """The arguments of `outputs` and `cost`, for `nt.grad`."""
        return tuple(range(len(self.moves)))

    def run(self, scan: Any, p: Any, init: Any, xs: Any, **options: Any) -> Any:
        return scan(self.body(p), init, xs, length=self.length, reverse=self.reverse, **options)

    def outputs(self, scan: Any, **options: Any) -> Callable[..., Any]:
        """(carry, ys) as a function of the arguments that move."""

        def f(*moving: Any) -> Any:
            args = [self.p, self.init, self.xs]
            for i, x in zip(self.moves, moving, strict=True):
                args[i] = x
            return self.run(scan, *args, **options)

        return f

    def cost(self, scan: Any, **options: Any) -> Callable[..., Any]:
        """A number that depends on every leaf of the carry and the outputs."""
        outputs = self.outputs(scan, **options)

        def f(*moving: Any) -> Any:
            total, k = 0.0, 0.0
            for x in leaves(outputs(*moving)):
                k += 0.3
                if np.size(x):
                    total = total + nt.sin(k * x + 0.2).sum() if np.ndim(x) else total + k * x * x
            return total

        return f

    def at(self, seed: int | None = None) -> tuple[Any, ...]:
        """The arguments that move; other numbers with a seed."""
        args = tuple([self.p, self.init, self.xs][i] for i in self.moves)
        return args if seed is None else tuple(like(a, seed + 7 * k) for k, a in enumerate(args))


PROGRAMS: dict[str, Program] = {}
RNG = np.random.default_rng(0)
W, U, B = RNG.uniform(-0.8, 0.8, (2, 2)), RNG.uniform(-0.8, 0.8, (2, 3)), np.array([0.1, -0.2])
X = RNG.uniform(-1, 1, (5, 3))
H, S = np.array([0.3, -0.5]), np.linspace(-0.9, 0.8, 5)
WEIGHTS = {"W": W, "U": U, "b": B}


def program(*args: Any, **options: Any) -> Callable[[Any], Any]:
    def register(body: Any) -> Any:
        PROGRAMS[body.__name__] = Program(body, *args, **options)
        return body

    return register


def rnn(p: Any) -> Any:
    def f(h: Any, x: Any) -> Any:
        h = np.tanh(p["W"] @ h + p["U"] @ x + p["b"])
        return h, h.sum()

    return f


PROGRAMS["rnn"] = Program(rnn, WEIGHTS, H, X)
PROGRAMS["rnn backwards"] = Program(rnn, WEIGHTS, H, X, reverse=True)
PROGRAMS["one step"] = Program(rnn, WEIGHTS, H, X[:1])
PROGRAMS["strided inputs"] = Program(rnn, WEIGHTS, H[::-1], np.asfortranarray(X)[::-2], moves=(0,))


def of_single_precision(p: Any) -> Any:
    def f(h: Any, x: Any) -> Any:
        h = np.tanh(p["W"] @ h + p["U"] @ x + p["b"])
        return h, h * x[:2]

    return f


PROGRAMS["float32"] = Program(
    of_single_precision,
    *[mapped(lambda x: x.astype(np.float32), t) for t in (WEIGHTS, H, X)],
    moves=(0, 1),
)


@program(0.7, {"h": H, "s": 0.4, "pair": (1.5, H * 2), "no": None}, {"u": X, "v": S})
def trees(p: Any) -> Any:
    def f(c: Any, x: Any) -> Any:
        h = np.sin(c["h"] * p + x["v"]) + c["pair"][1] * 0.1
        s = c["s"] * 0.5 + x["u"] @ x["u"] * c["pair"][0]
        y = Pair({"h": h, "s": s}, [None, x["v"] * c["s"]])
        return {"h": h, "s": s, "pair": (s * 0.2, h), "no": None}, y

    return f


@program(0.7, State(H, 1.5), S)
def of_a_dataclass(p: Any) -> Any:
    def f(c: Any, x: Any) -> Any:
        return State(np.tanh(c.h * p + x), c.count * 0.9), State(c.count * x, c.h)

    return f


@program(0.7, (0.3, 0.9), S)
def swapped(p: Any) -> Any:
    return lambda c, x: ((c[1], c[0]), c[0] * p + x)


@program(0.7, (0.3, H), S)
def passed_through(p: Any) -> Any:
    """A part of the carry never changes, and is an output; so is the new carry."""

    def f(c: Any, x: Any) -> Any:
        s = nt.sin(c[0] * p + x)
        return (s, c[1]), (s, c[1], c[0])

    return f


@program(0.7, (0.3, 0.9, 0.1), S)
def rotated(p: Any) -> Any:
    """All parts move on, and one place twice."""
    return lambda c, x: ((c[1], c[2] * p, c[1]), c[0] + x * c[1])


@program(0.7, 0.3, length=4, moves=(0, 1))
def no_inputs(p: Any) -> Any:
    return lambda c, x: (nt.sin(c * p) + 0.1, c * c)


@program(0.7, 0.3, S)
def no_outputs(p: Any) -> Any:
    return lambda c, x: (c * p + x * c, None)


@program(0.7, None, S, moves=(0, 2))
def no_carry(p: Any) -> Any:
    return lambda c, x: (None, nt.sin(x * p))


@program(0.7, 0.3, S)
def unused(p: Any) -> Any:
    """Neither the old carry nor the input is read."""
    return lambda c, x: (p * p, p * 2.0)


@program(0.7, 0.3, S)
def constants(p: Any) -> Any:
    """Outputs and a new carry that are plain numbers, from whatever they were."""
    return lambda c, x: (2.5, (1.5, np.ones(2), c * x * p))


@program(0.7, (H, 1, np.array([3, 4]), np.array([True, False])), S, moves=(0, 2))
def whole_numbers(p: Any) -> Any:
    def f(c: Any, x: Any) -> Any:
        h, n, k, b = c
        new = np.where(b, h * p, h + x) + n * 0.1 + k * 0.01
        return (new, n + 1, k * 2 - n, np.logical_not(b)), (n, k, new * n)

    return f


@program(0.7, (0, 2), S, moves=(0, 2))
def whole_numbers_at_first(p: Any) -> Any:
    """Python's whole numbers are numbers like others, where the body makes numbers of them."""
    return lambda c, x: ((c[0] * p + x, c[1] * 0.5), c[0] + c[1])


@program({"a": 0.7, "w": W}, (H, 0.2), X)
def nested(p: Any) -> Any:
    """A loop inside, over the elements of the input and back, that reads both carries."""

    def outer(c: Any, x: Any) -> Any:
        def inner(s: Any, e: Any) -> Any:
            s = nt.sin(s * p["a"] + e) + (p["w"] @ c[0])[1] * 0.1
            return s, s * c[1]

        s, ys = nt.scan(inner, c[1], x)
        back, _ = nt.scan(lambda h, y: (np.tanh(h * y + p["a"]), None), c[0], ys, reverse=True)
        return (back, s * 0.5), ys.sum()

    return outer


@program({"w": W, "b": 0.3}, np.array([0.3, -0.5, 0.4, 0.1]), X)
def arrays(p: Any) -> Any:
    """Views, joined and written arrays, reductions."""

    def f(h: Any, x: Any) -> Any:
        z = nt.zeros(4)
        z[0] = h[3] * p["b"]
        z[1:3] = p["w"] @ h[1:3]
        z[3] += x.max() + h.sum()
        m = np.concatenate((z[::-1], x)) * p["b"]
        new = m[:4] if len(m) > 5 else z
        return np.sin(new), (np.cumsum(h)[2], m.reshape(7, 1)[2:5], h[1:3])

    return f


@program({"w": W, "b": 0.3}, H, X)
def solved(p: Any) -> Any:
    """Linear algebra, which pauses the compiled sweep."""

    def f(h: Any, x: Any) -> Any:
        w = 0.3 * p["w"] + np.eye(2)
        h = np.linalg.solve(w + x[0] * np.eye(2) * 0.1, np.sin(h) + x[:2])
        return h * 0.5, np.linalg.det(w * h[0] + np.eye(2))

    return f


twice = nt.custom_vjp(lambda x, s: x * x * s)
twice.defvjp(lambda x, s: (x * x * s, (x, s)), lambda kept, g: (2.0 * kept[0] * kept[1] * g,
             (kept[0] * kept[0] * g).sum()))  # fmt: skip


@program({"a": 0.7, "w": W}, H, S)
def rules_of_ones_own(p: Any) -> Any:
    def f(h: Any, x: Any) -> Any:
        def part(w: Any, a: Any, h: Any, x: Any) -> Any:
            return np.tanh(w @ h + x * a)

        z = nt.checkpoint(part)(p["w"], p["a"], h, x) * 0.5 + twice(h, p["a"]) * 0.2
        return z + nt.stop_gradient(h) * x, nt.stop_gradient(z).sum() * x

    return f


@program({"a": 0.7, "w": W}, H, X)
def transforms_inside(p: Any) -> Any:
    """Derivatives and lanes in the body."""

    def energy(h: Any, x: Any) -> Any:
        return nt.sin(h @ p["w"] @ h) + (x[:2] * h).sum() * p["a"]

    def f(h: Any, x: Any) -> Any:
        slope = nt.grad(energy)(h, x)
        each = nt.vmap(lambda e: nt.sin(e * h[0]) * p["a"])(x)
        return h - 0.3 * slope, (each, nt.hvp(energy, (h, x), (h, x))[2][0].sum())

    return f


# --- programs that branch -------------------------------------------------------------------------


@program(0.9, 0.3, S, smooth=False)
def branch_on_the_carry(p: Any) -> Any:
    def f(c: Any, x: Any) -> Any:
        c = c * p + x * 0.25 if c > 0.2 else nt.sin(c * 2.0) + 0.5 * p
        return c, c * x

    return f


@program({"a": 0.9, "w": W}, H, X, smooth=False)
def branch_on_all(p: Any) -> Any:
    def f(h: Any, x: Any) -> Any:
        if x[0] > 0.0 and h[0] < 0.5:
            h = np.tanh(p["w"] @ h + x[:2])
        elif (h > x[:2]).any():
            h = h * p["a"] - x[1]
        else:
            h = h[::-1] * x[2]
        return h, h[0] if h[1] > 0.0 else h[1] * p["a"]

    return f


@program(0.6, 2.3, np.abs(S) + 0.1, smooth=False)
def turns_by_the_carry(p: Any) -> Any:
    """A while loop inside that runs another number of times at each step."""

    def f(c: Any, x: Any) -> Any:
        n = 0
        while c > x and n < 4:
            c = c * p
            n += 1
        return c + x * 2.0 + n * 0.1 * c, c * n

    return f


@program({"w": np.arange(1.0, 7.0).reshape(3, 2)}, H, X, smooth=False)
def element_by_value(p: Any) -> Any:
    """The place of the largest entry, and a whole number made of the carry, choose what is read."""

    def f(h: Any, x: Any) -> Any:
        row = p["w"][int(np.argmax(x))]
        k = abs(int(h[0] * 3.0)) % 2
        return nt.sin(row * h[k]) * 1.3, row[k] * x[0]

    return f


@program(0.8, (0.4, 0.1), X, smooth=False)
def branch_inside_a_loop_inside(p: Any) -> Any:
    def outer(c: Any, x: Any) -> Any:
        def inner(s: Any, e: Any) -> Any:
            s = s * p + e if s < e else s * s - 0.3 * e
            return s, s

        s, ys = nt.scan(inner, c[0], x)
        if s > c[1]:
            s = s * 0.5
        return (s * 0.7, c[1] + ys.sum() * 0.1), ys

    return outer


@program(0.8, 0.4, X, smooth=False)
def inner_reads_the_step(p: Any) -> Any:
    """The loop inside uses carry and input of the step, and takes new ways at later steps."""

    def outer(c: Any, x: Any) -> Any:
        k = c * x[0]

        def inner(s: Any, e: Any) -> Any:
            s = s * k + e if s > x[1] else s * 0.5 - c * p
            return s, s * x[2]

        s, ys = nt.scan(inner, c * 0.5 if c > 0.0 else k, x)
        return nt.tanh(s), ys.sum()

    return outer


@program({"w": W}, np.array([0.3, -0.5, 0.4]), X, smooth=False)
def masks(p: Any) -> Any:
    """Arrays inside have another length at each step."""

    def f(h: Any, x: Any) -> Any:
        h = h + 0.0 * x  # where x is recorded, h is
        large = h[h > x]
        return np.tanh(h * x + large.sum()), h[np.nonzero(x > 0.1)[0]].sum() * p["w"][0, 1]

    return f


BRANCHING = {name: q for name, q in PROGRAMS.items() if not q.smooth}
