"""The body of a loop, recorded once for each pattern of branches that its steps have met.

A recording is a tape of its own, on which carry and x are inputs and so is whatever the body uses
from outside (record/scopes.py).  `Body.laid` puts it in the form that sweeps want: all inputs in
front, in an order that all bodies of the loop share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, NamedTuple

import numpy as np

from .. import nest
from ..errors import ArgumentError
from ..looping import LoopBody
from ..ops import CODES, WIDE_CODES
from ..record.arrays import Array, as_array, moves, of_span, view
from ..record.core import Recorder, disarm_all, recording_on, user_line
from ..record.scopes import Captured, Scope, place
from ..record.storage import ArrayLeaf, Storage
from ..record.tracing import Guard, abandon, begin, end
from ..record.values import Boolean, Integer, Leaf, Result, Var, result
from ..record.wide import in_order
from ..tape import Tape
from ..trees import flatten, path_text, unflatten

GUARD, CALL = CODES["guard", "vk"], WIDE_CODES["call"]
FLOAT64 = np.dtype(np.float64)


class Spec(NamedTuple):
    """What a leaf of a carry, of xs or of ys is: shape None for Python's numbers."""

    shape: tuple[int, ...] | None
    dtype: Any

    @property
    def size(self) -> int:
        return 1 if self.shape is None else int(np.prod(self.shape, dtype=np.int64))

    def on(self, tape: Recorder, numbers: np.ndarray) -> Any:
        """A recording value of this kind that is an input of a tape."""
        if self.shape is None:
            kind = {bool: Boolean, int: Integer}.get(self.dtype, Result)
            return result(tape, tape.add_input(float(numbers[0])), kind)
        if not self.size:
            return as_array(np.zeros(self.shape, self.dtype))
        return of_span(tape, tape.add_input(numbers.copy()), self.shape, self.dtype)

    def read(self, numbers: np.ndarray) -> Any:
        """Plain numbers of this kind."""
        if self.shape is None:
            return self.dtype(numbers[0])
        return numbers.reshape(self.shape).astype(self.dtype)

    def __str__(self) -> str:
        if self.shape is None:
            return f"a Python {self.dtype.__name__}"
        return f"an array of shape {self.shape} and dtype {self.dtype}"


def spec_of(x: Any) -> Spec:
    """Raises `ArgumentError` for what is no number."""
    if isinstance(x, Array):
        return Spec(x.shape, x.dtype)
    if isinstance(x, Var):
        kind = bool if isinstance(x, Boolean) else int if isinstance(x, Integer) else float
        return Spec(None, kind)
    if isinstance(x, (bool, np.bool_)):
        return Spec(None, bool)
    if isinstance(x, (int, np.integer)):
        return Spec(None, int)
    if isinstance(x, (float, np.floating)):
        return Spec(None, float)
    if isinstance(x, np.ndarray) and x.dtype.kind in "fiub":
        dtype = x.dtype if x.dtype.kind in "fb" else np.dtype(np.int64)
        return Spec(x.shape, dtype if dtype != np.float16 else FLOAT64)
    raise ArgumentError(f"it must be a number or an array of numbers, not {type(x).__name__}")


def checked_spec(x: Any, what: str) -> Spec:
    """`spec_of`, with an error that says what x is, and where."""
    try:
        return spec_of(x)
    except ArgumentError as error:
        raise ArgumentError(f"{what}: {error} [{user_line()}]") from None


def first_slot(x: Any) -> int:
    """Of a recording value that `Spec.on` made; -1 for an array without elements."""
    if isinstance(x, Array):
        return int(x.storage.slot) if x.storage.tape is not None else -1
    return int(x.slot)


class Given(NamedTuple):
    """Something that a body uses from outside: a span of an outer tape, or a leaf."""

    key: Any
    size: int
    operand: Any  # a recording value with these elements
    numbers: np.ndarray  # its values when the body was recorded

    @classmethod
    def of_captured(cls, captured: Captured, numbers: np.ndarray) -> Given:
        span = Storage.span(captured.tape, captured.base, captured.size)
        return cls(captured.key, captured.size, view(span, 0, (captured.size,), (1,)), numbers)

    @classmethod
    def of_leaf(cls, leaf: Any) -> Given:
        if isinstance(leaf, ArrayLeaf):
            return cls(leaf.token, leaf.size, view(leaf, 0, (leaf.size,), (1,)), leaf.number.copy())
        assert isinstance(leaf, Leaf)
        return cls(leaf.token, 1, leaf, np.array([leaf.number]))


class Body(NamedTuple):
    """One recording: its tape, which slots its inputs have, and what it gives."""

    tape: Recorder
    given: list[tuple[Given, int]]
    inputs: list[int]  # first slots of the leaves of carry and x, -1 for empty ones
    results: list[tuple[int, Spec]]  # first slots of the leaves of the carry behind it, then of y
    structures: tuple[Any, Any]  # of carry and y
    guards: list[Guard]

    def laid(self, order: Sequence[Given], inputs: Sequence[Spec]) -> LoopBody:
        """The program with captures in `order`, carry and x in front, for sweeps."""
        # In one chunk, which sweeps of loops rely on.
        tape = Tape(len(self.tape) + len(order) + len(inputs))
        moved = np.full(max(self.tape.slots, 1), -1, np.int64)
        tape.calls = self.tape.calls
        if self.tape.lines is not None:
            tape.keep_lines([])
        known = {given.key: slot for given, slot in self.given}
        places = [(known.get(g.key, -1), g.size) for g in order]
        places += [(slot, spec.size) for slot, spec in zip(self.inputs, inputs, strict=True)]
        for slot, size in places:
            if size:
                start = tape.append_input(np.zeros(size))
                if slot >= 0:
                    moved[slot : slot + size] = start + np.arange(size)
        leading = len(tape)
        inline(self.tape, tape, moved)
        rows, at = [], 0
        carry = self.structures[0].num_leaves
        for number, (slot, spec) in enumerate(self.results):
            if number < carry:
                where, at = at, at + spec.size
            else:
                where = -1 - (number - carry)
            if spec.size:
                rows.append((int(moved[slot]), spec.size, where))
        results = np.array(rows, np.int64).reshape(-1, 3)
        return LoopBody(tape, leading, results, [(g.file, g.line) for g in self.guards])


def inline(
    tape: Tape,
    into: Tape,
    moved: np.ndarray,
    on_guard: Callable[[int, float], None] | None = None,
) -> None:
    """Append the instructions of `tape` whose results have no place yet in `moved`.

    Guards are handed to `on_guard` (slot, what was seen), if there is one.
    """
    chunk, before = tape.chunks[0], len(into.calls)
    if into.calls is not tape.calls:
        into.calls += tape.calls
    for i in range(len(tape)):
        if moved[tape.slot_of_index(i)] >= 0:
            continue
        if on_guard is not None and chunk.op[i] == GUARD:
            on_guard(int(moved[chunk.a[i]]), float(tape.constants[chunk.b[i]]))
            moved[tape.slot_of_index(i)] = moved[chunk.a[i]]
            continue
        into.append_moved(tape, i, moved)
        if chunk.op[i] == CALL and into.calls is not tape.calls:
            last = into.chunks[-1]
            into.words[last.c[into.n - 1] + nest.KIND_WORD] += before


def record(
    f: Callable[..., Any],
    name: str,
    structures: tuple[Any, Any],
    specs: tuple[list[Spec], list[Spec]],
    numbers: np.ndarray,
    numbers_of: Callable[[Captured], np.ndarray],
    first: bool,
) -> Body:
    """Run `f` once on recording values; `numbers` are those of carry and x."""
    tape = begin(name)
    tape.scope = Scope(tape, numbers_of, first)
    made, start = [], 0
    for spec in (*specs[0], *specs[1]):
        made.append(spec.on(tape, numbers[start : start + spec.size]))
        start += spec.size
    count = len(specs[0])
    inputs = [first_slot(x) for x in made]

    def run() -> tuple[Any, Any, list[tuple[int, Spec]]]:
        with recording_on(tape):
            disarm_all()
            pair = f(unflatten(structures[0], made[:count]), unflatten(structures[1], made[count:]))
            if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
                raise ArgumentError(
                    f"{name} must return a pair (carry, y), not {_kind(pair)} [{user_line()}]"
                )
            (carry, carry_tree), (y, y_tree) = flatten(pair[0]), flatten(pair[1])
            found = [
                (_placed(tape, x), checked_spec(x, f"{what}{path_text(path)} of {name}"))
                for what, leaves, tree in (("carry", carry, carry_tree), ("y", y, y_tree))
                for x, path in zip(leaves, tree.paths(), strict=True)
            ]
            return carry_tree, y_tree, found

    try:
        carry_tree, y_tree, results = copy_context().run(run)
    except BaseException:
        abandon(tape)
        raise
    given = [(Given.of_captured(c, values), slot) for c, slot, values in tape.scope.captured]
    given += [(Given.of_leaf(leaf), slot) for slot, leaf in tape.inputs if leaf is not None]
    end(tape)
    return Body(tape, given, inputs, results, (carry_tree, y_tree), tape.traced.guards)


def _kind(x: Any) -> str:
    if isinstance(x, (tuple, list)):
        return f"{len(x)} values"
    return "one recorded value" if moves(x) else type(x).__name__


def _placed(tape: Recorder, x: Any) -> int:
    """The first slot of a result of the body, its elements in order; -1 for an empty one."""
    if isinstance(x, Leaf) and x.needs_grad:
        return tape.slot_of(x)
    if isinstance(x, Result):
        return place(tape, x.tape, x.slot)
    if isinstance(x, Var):
        return tape.add_input(float(x.value))
    if isinstance(x, Array) and x.needs_grad and x.size:
        start, constant = in_order(tape, x)
        return tape.add_input(tape.constants[start : start + x.size].copy()) if constant else start
    if not isinstance(x, (Array, np.ndarray, np.generic, int, float)):
        return -1
    array = np.asarray(x.value if isinstance(x, Array) else x)
    if array.dtype.kind not in "fiub" or not array.size:
        return -1
    return tape.add_input(array.astype(np.float64).ravel())
