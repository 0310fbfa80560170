"""Operations that a Python function computes: linear algebra, sorting, and what users add.

A `Primitive` is a value function on plain arrays and its derivatives written as NumPy programs.
The same text runs on plain arrays in a sweep, and on recording arrays when derivatives nest.  On
the tape it is a `call` instruction: the compiled sweep pauses there (about 2 us), `run` calls the
`Call` object, and the sweep goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..errors import ArgumentError, ChangedShapeError, ShapeError, UnsupportedError
from ..ops import WIDE_CODES
from . import core
from .arrays import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT64,
    Array,
    as_array,
    finished,
    moves,
    normal,
    of_span,
    plain_value,
    recording,
    view,
)
from .core import Recorder, push_wide, recording_on
from .storage import Storage
from .wide import in_order, on_tape, rounded

CALL = WIDE_CODES["call"]
Vector = np.ndarray


class Primitive:
    """A user operation on arrays, with the same standing as built-in ones.

    `value(*arrays, **params)` gets plain NumPy arrays and returns one, or a tuple.  It runs when
    the operation is recorded, so that its errors arise at the line that asked for it.
    `vjp(w, z, *arrays, **params)` returns the adjoint of every operand (None for none) from the
    cotangent `w` and the result `z` (tuples where `value` returns one).  `jvp(tangents, z, *arrays,
    **params)` returns the tangent of the result; without it, it is made by transposing `vjp`.
    Write them with NumPy's functions: they are called with plain arrays by sweeps, and with
    recording arrays for derivatives of derivatives.  A compiled (`numba.njit`) value function is
    called as it is.  Each call costs about 2 us more than the function itself.

    >>> import ndtape as nt, numpy as np
    >>> cube = nt.primitive(lambda x: x**3, lambda w, z, x: (3.0 * w * x**2,))
    >>> x = nt.var([1.0, 2.0])
    >>> cube(x).sum().backward()
    >>> x.grad
    array([ 3., 12.])
    """

    def __init__(
        self,
        name: str,
        value: Callable[..., Any],
        vjp: Callable[..., Any] | None = None,
        jvp: Callable[..., Any] | None = None,
        doc: str = "",
        dtypes: Sequence[Any] | None = None,
        vjp_onto: Callable[..., Any] | None = None,
        selective: bool = False,
    ) -> None:
        self.name = self.__name__ = name
        self.value = value
        self.vjp = vjp
        self.vjp_onto = vjp_onto  # the same in sweeps, where it adds to the adjoints that there are
        self.jvp = jvp
        self.selective = selective  # value and vjp ask for `wanted`: which operands matter
        self.__doc__ = doc or value.__doc__
        self.dtypes = dtypes
        maker = sys._getframe(1).f_globals.get("__name__", "")
        inside = maker.startswith(core.INSIDE[0]) and maker != __name__
        _register(self, OURS if inside else "")

    def __captures__(self) -> Any:
        """What a traced function that calls this one depends on."""
        return [part for part in (self.value, self.vjp, self.jvp) if part is not None]

    def __call__(self, *operands: Any, **params: Any) -> Any:
        return call(self, params, *operands)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


OURS = "ndtape:"  # in front of the names of the library's own, which users' may be like
_registered: WeakValueDictionary[str, Primitive] = WeakValueDictionary()


def _register(primitive: Primitive, prefix: str) -> None:
    """Let files find the primitive by its name: of users', the last one that was made so."""
    if prefix:
        _registered.setdefault(prefix + primitive.name, primitive)
    else:
        _registered[primitive.name] = primitive


def registered(name: str) -> Primitive | None:
    """The primitive that files know by this name."""
    return _registered.get(name)


def registered_name(primitive: Any) -> str:
    """The name that files know a primitive by; "" where that is another one, or none."""
    name = str(getattr(primitive, "name", ""))
    return next((n for n in (name, OURS + name) if _registered.get(n) is primitive), "")


class Call:
    """One recorded call: the primitive, its parameters, and what it knows of its operands."""

    loop: Any = None  # of a loop (loops/loop.py), which sweeps run without Python

    def __init__(self, primitive: Primitive, params: dict[str, Any], operands: list[Any]) -> None:
        self.primitive = primitive
        self.params = params
        self.fixed = [None if isinstance(x, tuple) else x for x in operands]  # plain operands
        self.shapes = [x for x in operands if isinstance(x, tuple)]  # shapes of recorded ones
        self.dtypes: list[np.dtype[Any]] = []  # of recorded ones
        self.results: list[tuple[tuple[int, ...], np.dtype[Any]]] = []
        self.many = False  # value returns a tuple
        self.empty = False  # no results: a slot of its own watches whether that remains so

    def __eq__(self, other: object) -> bool:
        """The same function of the same parameters and plain operands."""
        return (
            isinstance(other, Call)
            and self.primitive is other.primitive
            and self.shapes == other.shapes
            and repr(self.params) == repr(other.params)
            and len(self.fixed) == len(other.fixed)
            and all(map(_same_plain, self.fixed, other.fixed))
        )

    __hash__ = object.__hash__

    # --- flat vectors <-> arrays ---

    def arrays(self, inputs: Sequence[Any], dtypes: bool = True) -> list[Any]:
        """All operands, from the flat recorded ones."""
        moving = iter(zip(inputs, self.shapes, self.dtypes, strict=True))
        full = []
        for x in self.fixed:
            if x is not None:
                full.append(x)
                continue
            flat, shape, dtype = next(moving)
            shaped = flat.reshape(shape)
            with np.errstate(invalid="ignore"):  # nan stands for an index that lies outside
                full.append(shaped.astype(dtype) if dtypes and dtype.kind in "ib" else shaped)
        return full

    def parts(self, flat: Any) -> Any:
        """The results from one flat vector."""
        pieces, start = [], 0
        for shape, _ in self.results:
            count = int(np.prod(shape, dtype=np.int64))
            pieces.append(flat[start : start + count].reshape(shape))
            start += count
        return tuple(pieces) if self.many else pieces[0]

    def flat(self, results: Any) -> Any:
        """One flat vector of the results."""
        parts = results if self.many else (results,)
        if len(parts) == 1:
            return np.ravel(parts[0])
        return np.concatenate([np.ravel(p) for p in parts])

    # --- what sweeps ask ---

    def sweep(self, work: Any, kind: str, here: slice, spans: Sequence[slice]) -> None:
        """What the sweep `kind` over a workspace does at this call: the result lies `here`, the
        recorded operands in `spans`."""
        v = work.arrays["v"]
        inputs = [v[s] for s in spans]
        if kind == "forward":
            v[here] = self.forward(inputs, self.wanted(work, spans))
        elif kind == "reverse":
            wanted = self.wanted(work, spans)
            self.add_adjoints(work.arrays["g"], here, spans, v[here], inputs, wanted)
        elif kind == "tangent":
            t = work.arrays["t"]
            t[here] = self.tangent([t[s] for s in spans], v[here], inputs)
        else:
            g, t, h = work.arrays["g"], work.arrays["t"], work.arrays["h"]
            terms = self.second(g[here], h[here], v[here], inputs, [t[s] for s in spans])
            for s, (term, bend) in zip(spans, terms, strict=True):
                if term is not None:
                    g[s] += term
                    h[s] += bend

    def wanted(self, work: Any, spans: Sequence[slice]) -> tuple[bool, ...] | None:
        """Which of all operands somebody wants adjoints of; None where it makes no difference."""
        if not self.primitive.selective or not work.unwanted:
            return None
        moving = iter([s.start not in work.unwanted for s in spans])
        return tuple([x is None and next(moving) for x in self.fixed])

    def forward(self, inputs: list[Vector], wanted: Any = None) -> Vector:
        params = self.params if wanted is None else {**self.params, "wanted": wanted}
        results = self.primitive.value(*self.arrays([x.copy() for x in inputs]), **params)
        parts = results if self.many else (results,)
        found = [np.shape(p) for p in parts]
        if found != [shape for shape, _ in self.results]:
            change = ChangedShapeError(
                f"{self.primitive.name} gave results of shapes {found}; when recorded they were "
                f"{[shape for shape, _ in self.results]}: record again"
            )
            change.shapes = tuple(found)
            raise change
        return np.zeros(1) if self.empty else self.flat(results)

    def reverse(
        self, w: Vector, z: Vector, inputs: list[Vector], wanted: Any = None
    ) -> list[Vector | None]:
        if not w.any() or self.primitive.vjp is None or self.empty:
            return [None] * len(inputs)
        return [
            None if term is None else np.ravel(term)
            for term in self.adjoints(
                self.parts(w.copy()), self.parts(z.copy()), self.arrays(inputs), wanted
            )
        ]

    def add_adjoints(
        self, g: Vector, here: slice, spans: Sequence[slice], z: Vector, inputs: list[Vector],
        wanted: Any = None,
    ) -> None:  # fmt: skip
        """In the buffer of adjoints, add to those of the operands."""
        onto = self.primitive.vjp_onto
        if onto is None or _overlap(spans):
            for s, term in zip(spans, self.reverse(g[here], z, inputs, wanted), strict=True):
                if term is not None:
                    g[s] += term
        elif not self.empty and g[here].any():
            given = iter([g[s].copy() for s in spans])
            before = [next(given) if x is None else np.zeros(0) for x in self.fixed]
            w = self.parts(g[here].copy())
            found = onto(before, w, self.parts(z.copy()), *self.arrays(inputs), **self.params)
            for s, total in zip(
                spans, [t for t, x in zip(found, self.fixed, strict=True) if x is None], strict=True
            ):
                g[s] = total

    def adjoints(self, w: Any, z: Any, arrays: list[Any], wanted: Any = None) -> list[Any]:
        """What vjp says about the recorded operands, each checked for its shape."""
        assert self.primitive.vjp is not None
        params = self.params if wanted is None else {**self.params, "wanted": wanted}
        terms = self.primitive.vjp(w, z, *arrays, **params)
        terms = tuple(terms) if isinstance(terms, (tuple, list)) else (terms,)
        if len(terms) != len(arrays):
            raise ArgumentError(
                f"the vjp of {self.primitive.name} returned {len(terms)} adjoints for "
                f"{len(arrays)} operands"
            )
        chosen = [t for t, x in zip(terms, self.fixed, strict=True) if x is None]
        for term, shape in zip(chosen, self.shapes, strict=True):
            if term is not None and np.shape(term) != shape:
                raise ShapeError(
                    f"the vjp of {self.primitive.name} returned an adjoint of shape "
                    f"{np.shape(term)} for an operand of shape {shape}"
                )
        return chosen

    def tangent(self, tangents: list[Vector], z: Vector, inputs: list[Vector]) -> Vector:
        if self.primitive.vjp is None or self.empty or not any(t.any() for t in tangents):
            return np.zeros(len(z))
        if self.primitive.jvp is not None:
            full = self.arrays(tangents, dtypes=False)
            moving = [t if x is None else np.zeros_like(x, np.float64)
                      for t, x in zip(full, self.fixed, strict=True)]  # fmt: skip
            arrays = self.arrays(inputs)
            return self.flat(  # type: ignore[no-any-return]
                self.primitive.jvp(moving, self.parts(z), *arrays, **self.params)
            )
        return _transposed(self, tangents, z, inputs)

    def second(
        self, w: Vector, wt: Vector, z: Vector, inputs: list[Vector], tangents: list[Vector]
    ) -> list[tuple[Vector | None, Vector | None]]:
        """Adjoints and their tangents: the recorded vjp, swept forward along the tangents."""
        if self.primitive.vjp is None or self.empty:
            return [(None, None)] * len(inputs)
        tape = Recorder()
        with recording_on(tape):
            xs = [_input(tape, x) for x in inputs]
            seed = _input(tape, w)
            arrays = self.arrays(xs, dtypes=False)
            again = call(self.primitive, self.params, *arrays)
            terms = self.adjoints(self.parts(seed), again, arrays)
            flats = [None if t is None else _placed(tape, as_array(t)) for t in terms]
        seeds: dict[int, float] = {}
        for x, t in zip([*xs, seed], [*tangents, wt], strict=True):
            for j in range(x.size):
                seeds[x.storage.slot + j] = float(t[j])
        tape = core.destination(tape)
        tape.work.tangent(seeds)
        return [_value_and_tangent(tape, f) for f in flats]


def _overlap(spans: Sequence[slice]) -> bool:
    ordered = sorted((s.start, s.stop) for s in spans)
    return any(one[1] > other[0] for one, other in pairwise(ordered))


def _same_plain(x: np.ndarray | None, y: np.ndarray | None) -> bool:
    return x is y or (x is not None and y is not None and np.array_equal(x, y))


def _input(tape: Recorder, numbers: Vector) -> Array:
    """A vector as an input of a tape."""
    slot = tape.add_input(numbers.copy())
    return view(Storage.span(tape, slot, len(numbers)), 0, (len(numbers),), (1,))


def _placed(tape: Recorder, x: Array) -> tuple[Array, int]:
    """x, and where its elements lie in order on the tape, which may record a copy; -1: nowhere."""
    if not x.needs_grad:
        return x, -1
    start, is_constant = in_order(tape, x)
    return x, -1 if is_constant else start


def _value_and_tangent(
    tape: Recorder, placed: tuple[Array, int] | None
) -> tuple[Vector | None, Vector | None]:
    if placed is None:
        return None, None
    x, start = placed
    if start < 0:
        return x.value.ravel(), np.zeros(x.size)
    return x.value.ravel(), tape.work.array("t")[start : start + x.size].copy()


def _transposed(c: Call, tangents: list[Vector], z: Vector, inputs: list[Vector]) -> Vector:
    """J t from the program for Jᵀ w: it is linear in w, and the reverse of that is J."""
    tape = Recorder()
    with recording_on(tape):
        w = _input(tape, np.zeros(len(z)))
        terms = c.adjoints(c.parts(w), c.parts(z.copy()), c.arrays(inputs))
        total: Any = 0.0
        for term, t in zip(terms, tangents, strict=True):
            if term is not None:
                total = total + np.sum(as_array(term).reshape((len(t),)) * t)
    if not moves(total):
        return np.zeros(len(z))
    tape = core.destination(total.tape)
    g = tape.work.gradient(total.slot)
    return g[w.storage.slot : w.storage.slot + len(z)].copy()


def call(primitive: Primitive, params: dict[str, Any], *operands: Any) -> Any:
    """Record a call of a primitive; or compute it, when nothing is on a tape."""
    values = [_operand(x) for x in operands]
    with core.growth:
        tape = on_tape(*values)
        if tape is None:
            return _evaluated(primitive, params, values)
        return _recorded(tape, primitive, params, values)


def _operand(x: Any) -> Any:
    if recording(x):
        return x if isinstance(x, Array) or not moves(x) else as_array(x)
    return as_array(x) if isinstance(x, (list, tuple)) else normal(x)


def _evaluated(primitive: Primitive, params: dict[str, Any], values: list[Any]) -> Any:
    results = primitive.value(*[np.asarray(plain_value(x)) for x in values], **params)
    ours = any(map(recording, values))
    if isinstance(results, tuple):
        return tuple(finished(np.asarray(r), ours) for r in results)
    return finished(np.asarray(results), ours)


def _recorded(
    tape: Recorder, primitive: Primitive, params: dict[str, Any], values: list[Any]
) -> Any:
    moving = [x for x in values if moves(x)]
    # Empty operands have no slots: they are as good as constants.
    fixed = [x.shape if moves(x) and x.size else np.array(plain_value(x)) for x in values]
    made = Call(primitive, params, fixed)
    moving = [x for x in moving if x.size]
    made.dtypes = [x.dtype for x in moving]
    numbers = [x.value.ravel() for x in moving]
    results = primitive.value(*made.arrays(numbers), **params)
    tape = _same_tape(tape, values)  # the function may have recorded, and slots have moved
    spans = []
    for x in moving:
        start, is_constant = in_order(tape, x)
        if is_constant:  # a written-into array of constants only
            start = tape.add_input(tape.constants[start : start + x.size].copy())
        spans += [start, x.size]
    made.many = isinstance(results, tuple)
    parts = [np.asarray(r) for r in (results if made.many else (results,))]
    made.results = [(p.shape, _dtype(primitive, j, p, values)) for j, p in enumerate(parts)]
    size = sum(p.size for p in parts)
    made.empty = not size
    if made.empty and not moving:
        return _evaluated(primitive, params, values)
    tape.calls.append(made)
    body = (len(moving), *spans)
    words = (max(size, 1), 0, 0, len(tape.calls) - 1, 0, *body)
    slot = push_wide(tape, CALL, 0, 0, words, share=False)
    tape.work.know(slot, np.zeros(1) if made.empty else made.flat(results))
    found, start = [], slot
    for part, (_, dtype) in zip(parts, made.results, strict=True):
        stored = FLOAT64 if dtype == FLOAT32 else dtype
        piece = (
            of_span(tape, start, part.shape, stored)
            if part.size
            else finished(part.astype(dtype), True)
        )
        found.append(rounded(piece, dtype))
        start += part.size
    return tuple(found) if made.many else found[0]


def _same_tape(tape: Recorder, values: list[Any]) -> Recorder:
    found = on_tape(*values)
    return tape if found is None else found


def _dtype(primitive: Primitive, j: int, part: np.ndarray, values: list[Any]) -> np.dtype[Any]:
    if primitive.dtypes is not None:
        named: np.dtype[Any] = np.dtype(primitive.dtypes[j])
        return named
    if part.dtype.kind in "ib":
        return INT64 if part.dtype.kind == "i" else BOOL
    if part.dtype.kind != "f":
        raise UnsupportedError(f"{primitive.name} returned an array of {part.dtype}")
    floats = [x.dtype for x in values if isinstance(x, (Array, np.ndarray)) and x.dtype.kind == "f"]
    return FLOAT32 if floats and all(d == FLOAT32 for d in floats) else FLOAT64


def primitive(
    value: Callable[..., Any],
    vjp: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
    name: str = "",
) -> Primitive:
    """An operation of your own on arrays; see `Primitive` for what the functions are given.

    Files (`tape.save`) know it by its `name`, by default that of the value function.

    >>> import ndtape as nt, numpy as np
    >>> def solve_vjp(w, x, A, b):
    ...     u = np.linalg.solve(A.T, w)
    ...     return -np.outer(u, x), u
    >>> solve = nt.primitive(np.linalg.solve, solve_vjp)
    >>> nt.grad(lambda b: solve(np.eye(2) * 2.0, b).sum())(np.array([1.0, 3.0]))
    array([0.5, 0.5])
    """
    return Primitive(name or getattr(value, "__name__", "primitive"), value, vjp, jvp)
