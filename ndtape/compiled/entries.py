"""Entry points: what Python calls to record, made for each structure of the arguments.

An entry takes the header of a tape and the leaves of the arguments.  It makes recording values of
those that are differentiated, or that are on a tape already, calls the user's function, and answers
`Kept` for a scalar and `Spread` for an array: numbers with the slots they are in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from .._jit import u8, u8_at
from .arrays import joined, number_slots, passive
from .cache import compiled
from .gil import unlocked
from .memory import INPUTS, NEXT, RESULT
from .room import room
from .scalars import ONE, is_number
from .types import LINEAR, MODES, TAPE, ArrayType, VarType, make_scalar, slots_of
from .words import kind, recording


class Kept(NamedTuple):
    """A scalar result: its slot (0: it depends on nothing that is differentiated) and number."""

    slot: int
    value: float


class Spread(NamedTuple):
    """An array result: slots and numbers of its elements."""

    slots: np.ndarray
    values: np.ndarray


# --- arguments ------------------------------------------------------------------------------------


def variable(header: Any, x: Any) -> Any:
    """Compiled code: x as a fresh variable of a linear tape."""


@overload(variable)
def _variable(header, x):
    if is_number(x):
        make = make_scalar[LINEAR]

        def scalar(header, x):
            h = u8_at(header)
            slot = h[NEXT]
            h[NEXT] = slot + ONE
            h[INPUTS] = slot
            return make(header, slot, np.float64(x))

        return scalar
    if isinstance(x, types.Array):
        new = passive(LINEAR)

        def array(header, x):
            room(header, x.size)
            h = u8_at(header)
            z = new(x)
            slot = h[NEXT]
            number_slots(z, header, slot)
            h[NEXT] = slot + np.uint64(x.size)
            h[INPUTS] = slot + np.uint64(x.size) - ONE
            return z

        return array
    return None


def placed(header: Any, x: Any) -> Any:
    """Compiled code: a value that is on a tape of instructions already."""


@overload(placed)
def _placed(header, x):
    """Scalars come as pairs (slot plus one, number), arrays as pairs of arrays of those."""
    if is_number(x.types[1]):
        make = make_scalar[TAPE]
        return lambda header, x: make(header, np.uint64(x[0]), x[1])
    new = joined(TAPE)

    def array(header, x):
        places, values = x
        return new(values, places, header)

    return array


@intrinsic
def frozen(typingctx, x):
    """An array argument that is not differentiated, as one that Numba lets nobody write to."""
    result = x.copy(readonly=True)

    def codegen(context, builder, sig, args):
        context.nrt.incref(builder, sig.args[0], args[0])
        return args[0]

    return result(x), codegen


def copied(mode: str) -> Any:
    """A stub for compiled code: a copy of an array argument that the function may write to."""

    def stub(x): ...

    @overload(stub)
    def typed(x):
        if not isinstance(x.dtype, types.Float):
            return lambda x: x.copy()
        new = passive(mode)
        return lambda x: new(x)

    return stub


_copied = {mode: copied(mode) for mode in MODES}


# --- results --------------------------------------------------------------------------------------


def outcome(y: Any) -> Any:
    """Compiled code: what Python gets of a result."""


@overload(outcome)
def _outcome(y):
    if isinstance(y, VarType):
        return lambda y: Kept(y._slot, y._value)
    if isinstance(y, ArrayType):
        return lambda y: Spread(slots_of(y).copy(), y._values.copy())
    if isinstance(y, types.BaseTuple):
        parts = ", ".join(f"outcome(y[{i}])" for i in range(len(y.types)))
        made = f"({parts}{',' * (len(y.types) == 1)})"
        space: dict[str, Any] = {"outcome": outcome}
        if isinstance(y, types.BaseNamedTuple):
            made, space["kind"] = f"kind({parts})", y.instance_class
        exec(f"def of_tuple(y): return {made}", space)
        return space["of_tuple"]
    if recording(y):
        raise TypingError(f"a result is a scalar, an array, or a tuple of such, not {kind(y)}")
    return lambda y: y


def finished(header: Any, y: Any) -> Any:
    """Compiled code: the outcome of a linear recording; of a scalar the number alone."""


@overload(finished)
def _finished(header, y):
    if not isinstance(y, VarType):
        return lambda header, y: outcome(y)

    def scalar(header, y):
        u8_at(header)[RESULT] = y._slot
        return y._value

    return scalar


# --- entries --------------------------------------------------------------------------------------

# What becomes of a leaf of the arguments: the structure of a call says it for each.
RECORDED = "recorded"  # differentiated, or a value on a tape
PLAIN = "plain"  # a number
FROZEN = "frozen"  # an array that is not differentiated
COPIED = "copied"  # the same where the function may write to it: its own, and the caller's is safe


def entry(f: Any, structure: Any, mode: str) -> Any:
    """The compiled function (header, *leaves) -> outcome for a structure of the arguments."""
    code = f.py_func.__code__
    whole = code.co_argcount == len(structure) and not code.co_kwonlyargcount | code.co_flags & 4
    leaves: list[str] = []
    space: dict[str, Any] = {
        "__name__": __name__, "f": f, "u8": u8, "unlocked": unlocked, "frozen": frozen,
        "outcome": outcome, "finished": finished,
        "copied": _copied[mode], "recorded": variable if mode == LINEAR else placed,
    }  # fmt: skip
    arguments = "".join(f"{_argument(s, leaves, space)}, " for s in structure)
    answer = "finished(header, {})" if mode == LINEAR else "outcome({})"
    call = f"unlocked(header, f, ({arguments}))" if mode == LINEAR and whole else f"f({arguments})"
    exec(
        f"def entry({', '.join(['address', *leaves])}):\n"
        "    header = u8(address)\n"
        f"    return {answer.format(call)}\n",
        space,
    )
    return compiled(space["entry"], f.py_func.__qualname__)


def _argument(structure: Any, leaves: list[str], space: dict[str, Any]) -> str:
    """The text of an argument: a leaf, or a tuple (class, structures of its parts)."""
    if isinstance(structure, str):
        leaf = f"a{len(leaves)}"
        leaves.append(leaf)
        if structure == RECORDED:
            return f"recorded(header, {leaf})"
        return leaf if structure == PLAIN else f"{structure}({leaf})"
    kind, parts = structure
    text = ", ".join(_argument(s, leaves, space) for s in parts)
    if kind is tuple:
        return f"({text}{',' * (len(parts) == 1)})"
    name = f"kind{len(space)}"
    space[name] = kind
    return f"{name}({text})"


def with_copies(structure: Any) -> Any:
    """The same structure with copies of arrays that are not differentiated."""
    if isinstance(structure, str):
        return COPIED if structure == FROZEN else structure
    if isinstance(structure, tuple) and len(structure) == 2 and isinstance(structure[0], type):
        return structure[0], with_copies(structure[1])
    return tuple([with_copies(s) for s in structure])
