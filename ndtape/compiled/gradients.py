"""Gradients of compiled functions on linear tapes: one run, one sweep, nothing kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..record import core
from .complaints import complain
from .entries import FROZEN, PLAIN, RECORDED
from .linear import borrow, give_back
from .memory import RESULT, Stopped
from .types import LINEAR

FLOAT64 = np.dtype(np.float64)
SCALARS = frozenset({float, int, bool, np.float64, np.int64, np.bool_, np.float32})
NOTHING = None, None
FLAT = SCALARS | {np.ndarray}


def fast_gradient(
    function: Any, general: Callable[..., Any], argnums: int | Sequence[int], with_value: bool
) -> Callable[..., Any]:
    """`general` with a short way for plain arguments: floats, arrays and tuples of them."""
    single = isinstance(argnums, int)
    positions: Any = (argnums,) if isinstance(argnums, int) else argnums
    if not isinstance(positions, (tuple, list)) or not all(isinstance(i, int) for i in positions):
        return general  # says what is wrong
    ordered = list(positions) == sorted(positions) and min(positions, default=0) >= 0
    known: dict[Any, Any] = {}  # types of arguments, if numbers and arrays -> structure, entry

    @wraps(general)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        structure, entry = known.get(tuple(map(type, args)), NOTHING)
        if entry is None or kwargs or not all(map(usual, args, structure)):
            return taken_apart(args, kwargs)
        if core.transform_depth.get():
            return general(*args)
        answer = run(function, structure, args, general, args, entry)
        if answer.__class__ is not tuple:
            return answer
        value, g = answer
        parts, first = [], 0
        for i in positions:
            x = args[i]
            if x.__class__ is np.ndarray:
                parts.append(g[first : first + x.size].reshape(x.shape))
                first += x.size
            else:
                parts.append(g.item(first))
                first += 1
        found = parts[0] if single else tuple(parts)
        return (value, found) if with_value else found

    def taken_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args = function.positional(args, kwargs)
        call = Call.of(args, positions)
        if call is None or core.transform_depth.get():
            return general(*args)
        answer = run(function, call.structure, call.leaves, general, args)
        flat = ordered and FLAT.issuperset(map(type, args))
        if flat and all(map(usual, args, call.structure)):  # else the types say too little
            entry = function.variants.ready(call.structure, LINEAR)
            known[tuple(map(type, args))] = call.structure, entry
        if answer.__class__ is not tuple:
            return answer
        parts = call.shaped(answer[1])
        found = parts[0] if single else tuple(parts)
        return (answer[0], found) if with_value else found

    return gradient


def usual(x: Any, role: str) -> bool:
    """Whether an argument goes to compiled code as it is."""
    if x.__class__ is not np.ndarray:
        return True
    if role is not RECORDED:
        return x.dtype.kind in "fiub" and x.ndim > 0  # type: ignore[no-any-return]
    return x.dtype is FLOAT64 and x.flags.c_contiguous and x.ndim > 0


def run(
    function: Any,
    structure: Any,
    leaves: Sequence[Any],
    general: Callable[..., Any],
    args: tuple[Any, ...],
    entry: Any = None,
) -> Any:
    """(value, derivatives with respect to all that is recorded), as numbers.

    What `general` answers, where the result is no scalar: it says what it should be.
    """
    tape = borrow(function.long)
    try:
        if entry is not None and len(entry.overloads) == 1:
            y = entry(tape.address, *leaves)
        else:
            y = function.variants.run(structure, LINEAR, tape.address, leaves)
        if not isinstance(y, (float, int)):
            return general(*args)
        function.long = bool(tape.ends)
        if tape.words[RESULT]:
            return y, tape.gradient()
        count = sum(np.size(x) for x, role in flat_roles(structure, leaves) if role is RECORDED)
        return float(y), np.zeros(count)
    except Stopped:
        raise tape.taken() from None
    except Exception as error:
        complain(function, leaves, error, structure, LINEAR)
        raise
    finally:
        give_back(tape)


def record(function: Any, args: tuple[Any, ...], positions: Sequence[int]) -> float:
    """Record a scalar function without a sweep, for measurements: its value."""
    call = Call.of(args, positions)
    assert call is not None
    tape = borrow(function.long)
    try:
        return float(function.variants.run(call.structure, LINEAR, tape.address, call.leaves))
    finally:
        give_back(tape)


class Call:
    """The arguments of a call as leaves, and how its gradient is shaped."""

    __slots__ = ("structure", "leaves", "count", "templates")

    @classmethod
    def of(cls, args: tuple[Any, ...], positions: Sequence[int]) -> Call | None:
        """None where an argument is of a kind that compiled code does not take."""
        made = cls()
        made.leaves, made.count, made.templates = [], 0, []
        count = len(args)
        chosen = {i + count if i < 0 else i for i in positions}
        if not all(isinstance(i, int) and 0 <= i < count for i in chosen) or len(chosen) < len(
            positions
        ):
            return None  # `general` raises
        structure = []
        order: dict[int, Any] = {}
        for i, x in enumerate(args):
            part = made._leaf(x, i in chosen)
            if part is None:
                return None
            structure.append(part[0])
            order[i] = part[1]
        made.structure = tuple(structure)
        made.templates = [order[i + count if i < 0 else i] for i in positions]
        return made

    def _leaf(self, x: Any, active: bool) -> Any:
        """(structure, template) of an argument; templates say where its gradient lies in g."""
        kind = x.__class__
        if kind in SCALARS:
            self.leaves.append(x)
            first = self.count
            self.count += active
            return RECORDED if active else PLAIN, first
        if kind is np.ndarray and not x.ndim and x.dtype.kind in "fiub":
            return self._leaf(x.item(), active)  # a number, as everywhere
        if kind is np.ndarray and x.dtype.kind in "fiub":
            if not active:
                self.leaves.append(x)
                return FROZEN, None
            self.leaves.append(np.ascontiguousarray(x, np.float64))
            first = self.count
            self.count += x.size
            dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
            return RECORDED, (first, self.count, x.shape, dtype)
        if isinstance(x, tuple):
            parts = [self._leaf(part, active) for part in x]
            if None in parts:
                return None
            return (kind, tuple([p[0] for p in parts])), (kind, [p[1] for p in parts])
        return None

    def flat_templates(self) -> list[Any]:
        """The templates of leaves, in order."""
        found: list[Any] = []
        waiting = list(reversed(self.templates))
        while waiting:
            template = waiting.pop()
            if isinstance(template, int) or len(template) == 4:
                found.append(template)
            else:
                waiting.extend(reversed(template[1]))
        return found

    def shaped(self, g: np.ndarray) -> list[Any]:
        return [_shaped(t, g) for t in self.templates]


def flat_roles(structure: Any, leaves: Sequence[Any]) -> list[tuple[Any, str]]:
    """Each leaf with what becomes of it."""
    roles: list[str] = []

    def walk(part: Any) -> None:
        if isinstance(part, str):
            roles.append(part)
        else:
            for inner in part[1] if isinstance(part[0], type) else part:
                walk(inner)

    walk(structure)
    return list(zip(leaves, roles, strict=True))


def _shaped(template: Any, g: np.ndarray) -> Any:
    if isinstance(template, int):
        return float(g[template])
    if len(template) == 4:
        first, end, shape, dtype = template
        return g[first:end].reshape(shape).astype(dtype)
    kind, parts = template
    found = [_shaped(t, g) for t in parts]
    return kind(*found) if hasattr(kind, "_fields") else tuple(found)
