"""Rows of the op table on arrays: broadcasting, dtypes, one instruction an operation.

What depends only on shapes, strides and dtypes is a `Plan`, made once and looked up afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import nest
from ..errors import ShapeError, UnsupportedError
from ..nest import contiguous
from ..ops import BINARY, CODES, ROWS, UNARY, WIDE_CODES, Op
from ..run import Workspace
from ..tape import Tape
from . import core, fast
from .arrays import (
    BOOL,
    FLOAT32,
    FLOAT64,
    Array,
    finished,
    moves,
    normal,
    of_span,
    recording,
    retyped,
    storages,
)
from .core import Recorder, push, push_wide
from .lifetime import common_tape, make_room
from .operands import Operand, operand, strides_for
from .operators import FORM_CODES, of_arrays
from .values import Integer, Var


class Plan(NamedTuple):
    """What an elementwise operation does with operands of given shapes and dtypes."""

    shape: tuple[int, ...]
    size: int
    loops: tuple[nest.Loop, ...]
    dtype: np.dtype[Any]
    rounded: bool  # a float32 result


KEEPS = {"where", "copy", "stop", "mz"}  # rows whose result has the dtype of what goes in
_plans: dict[Any, Plan] = {}


def plan_for(row: Op, operands: list[Operand]) -> Plan:
    key = (row.name, *[x[1:] for x in operands])
    plan = _plans.get(key)
    if plan is None:
        if len(_plans) > 100_000:
            _plans.clear()
        plan = _plans[key] = _planned(row, operands)
    return plan


def _planned(row: Op, operands: list[Operand]) -> Plan:
    try:
        shape = np.broadcast_shapes(*[x.shape for x in operands])
    except ValueError:
        raise shapes_differ(row.name, [x.shape for x in operands]) from None
    columns = [contiguous(shape), *[strides_for(shape, x) for x in operands]]
    columns += [(0,) * len(shape)] * (3 - len(operands))
    loops = nest.collapsed([(n, *s) for n, *s in zip(shape, *columns, strict=True)])
    size = int(np.prod(shape, dtype=np.int64))
    dtype = result_dtype(row, [x.dtype for x in operands])
    return Plan(shape, size, tuple(loops), dtype, dtype == FLOAT32)


def shapes_differ(what: str, shapes: list[tuple[int, ...]]) -> ShapeError:
    """The error for operands that do not broadcast."""
    text = " and ".join(str(s) for s in shapes)
    return ShapeError(f"{what}: the shapes {text} do not broadcast [{core.user_line()}]")


def result_dtype(row: Op, dtypes: list[Any]) -> np.dtype[Any]:
    """The dtype that NumPy gives the result; Python numbers adapt to the arrays."""
    if row.boolean:
        return BOOL
    dtypes = [BOOL if d is bool else d for d in dtypes]  # Python's bool does not adapt
    for name in () if row.name in KEEPS else row.ufunc.split():
        ufunc = getattr(np, name, None)
        if isinstance(ufunc, np.ufunc) and ufunc.nout == 1 and ufunc.nin == len(dtypes):
            try:
                found = ufunc.resolve_dtypes((*dtypes, None))[-1]
            except TypeError:
                if any(d == BOOL for d in dtypes):
                    raise UnsupportedError(
                        f"NumPy has no {name} of booleans: use logical operations, or "
                        f"x.astype(float) [{core.user_line()}]"
                    ) from None
                break
            return _known(found)
    if row.name in KEEPS:
        dtypes = dtypes[1:] if row.name == "where" else dtypes
        return _known(_common(dtypes))
    common = _common(dtypes)
    return FLOAT32 if common == FLOAT32 else FLOAT64


def _common(dtypes: list[Any]) -> np.dtype[Any]:
    """NumPy's common dtype, where Python's numbers are weak."""
    strong = [d for d in dtypes if isinstance(d, np.dtype)]
    weak = [d for d in dtypes if not isinstance(d, np.dtype)]
    if not strong:
        return np.result_type(*weak)
    return np.result_type(*strong, *[d(0) for d in weak])


def _known(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype == FLOAT64:
        return FLOAT64
    if dtype == FLOAT32:
        return FLOAT32
    return np.dtype(np.int64) if dtype.kind in "iu" else BOOL if dtype.kind == "b" else FLOAT64


# --- recording ------------------------------------------------------------------------------------


def elementwise(name: str, *operands: Any) -> Any:
    """Record a row of the op table with broadcasting; or compute it, when nothing is on a tape.

    Raises `ShapeError` where shapes do not broadcast, `UnsupportedError` for what is not real.
    """
    return ROW_FUNCTIONS[name](*operands)


def general(name: str, *operands: Any) -> Any:
    """`elementwise` for operands of any kind, without plans."""
    row = ROWS[name]
    if len(operands) != len(row.operands):
        raise UnsupportedError(f"{row.name} takes {len(row.operands)} operands: {row.doc}")
    values = [x if recording(x) else _plain(x) for x in operands]
    if not core.recording() or not any(map(moves, values)):
        return evaluated(row, values)
    with core.growth:
        tape = common_tape(storages(values))
        make_room(tape)
        return record(tape, row, [operand(tape, x) for x in values])


def _plain(x: Any) -> Any:
    """A plain operand; the numbers of Python stay what they are, since they adapt to arrays."""
    return x if x.__class__ in (int, float, bool) else normal(x)


def record(tape: Recorder, row: Op, operands: list[Operand]) -> Any:
    """One instruction, and the rounding that a float32 result needs."""
    if row.name == "polygamma" and not operands[0].constant:
        raise UnsupportedError("the order of polygamma must be a plain whole number")
    plan = plan_for(row, operands)
    if plan.size == 0:
        return finished(np.zeros(plan.shape, plan.dtype), True)
    slot = _append(tape, row, operands, plan)
    if plan.rounded and row.name != "round32":
        rounded = [Operand(slot, plan.shape, contiguous(plan.shape), False, FLOAT32)]
        slot = _append(tape, ROWS["round32"], rounded, plan_for(ROWS["round32"], rounded))
    return of_span(tape, slot, plan.shape, plan.dtype)


def _append(tape: Recorder, row: Op, operands: list[Operand], plan: Plan) -> int:
    starts = [x.start for x in operands]
    if plan.size == 1:
        return _append_scalar(tape, row, operands, starts)
    flags = sum(x.constant << j for j, x in enumerate(operands))
    u = starts[2] if len(starts) > 2 else 0
    words = nest.descriptor(plan.size, plan.loops, flags, u)
    b = starts[1] if len(starts) > 1 else 0
    return push_wide(tape, WIDE_CODES[row.name], starts[0], b, words)


def _append_scalar(tape: Recorder, row: Op, operands: list[Operand], starts: list[int]) -> int:
    """One element: a scalar instruction does, in the form that the row has."""
    form = "".join("k" if x.constant else "v" for x in operands)
    codes = FORM_CODES[row.name]
    if form not in codes and row.commutes:
        form, starts = form[::-1], starts[::-1]
    if form not in codes:
        starts = [
            tape.add_input(float(tape.constants[s])) if x.constant else s
            for s, x in zip(starts, operands, strict=True)
        ]
        form = "v" * len(starts)
    return push(tape, codes[form], *starts)


# --- computing without recording ------------------------------------------------------------------


# Rows whose value IEEE 754 prescribes: NumPy has the same bits, at a fiftieth of the time.
EXACT = {name: getattr(np, name) for name in (
    "add", "subtract", "multiply", "divide", "negative", "square", "sqrt", "floor", "ceil", "trunc",
    "rint", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal",
)}  # fmt: skip


def evaluated(row: Op, values: list[Any]) -> Any:
    """The value on plain numbers, as the kernel that a recording uses computes it."""
    numbers = [x.value if recording(x) else x for x in values]
    if row.name in EXACT:
        plan = plan_for(row, [_operand_at(0, x) for x in numbers])
        with np.errstate(all="ignore"):
            found = EXACT[row.name](*[np.asarray(x, np.float64) for x in numbers])
        return finished(np.asarray(found, plan.dtype), any(map(recording, values)))
    return _swept(row, values, numbers)


def _swept(row: Op, values: list[Any], numbers: list[Any]) -> Any:
    """The value on plain numbers by a tape of one instruction."""
    tape = Tape(8)
    operands = [_operand_at(tape.extend_pool(np.asarray(x).ravel()), x) for x in numbers]
    plan = plan_for(row, operands)
    result = np.zeros(plan.size)
    if plan.size == 1:
        form = "kv" if row.name == "polygamma" else "v" * len(operands)
        slots = [
            x.start if f == "k" else tape.append(CODES["input", "k"], x.start)
            for x, f in zip(operands, form, strict=True)
        ]
        result[0] = Workspace(tape).value(tape.append(FORM_CODES[row.name][form], *slots))
    elif plan.size:
        flags = (1 << len(operands)) - 1
        starts = [x.start for x in operands] + [0, 0]
        words = nest.descriptor(plan.size, plan.loops, flags, starts[2])
        slot = tape.append_wide(WIDE_CODES[row.name], starts[0], starts[1], words)
        work = Workspace(tape)
        work.forward()
        result = work.array("v")[slot : slot + plan.size]
    return finished(
        result.reshape(plan.shape).astype(plan.dtype), any(recording(x) for x in values)
    )


def _operand_at(start: int, x: Any) -> Operand:
    """A plain operand as an instruction sees it."""
    array = np.asarray(x)
    dtype = x.__class__ if x.__class__ in (int, float, bool) else normal(array).dtype
    return Operand(start, array.shape, contiguous(array.shape), True, dtype)


# --- casts ----------------------------------------------------------------------------------------


def cast(x: Any, dtype: Any) -> Any:
    """`x.astype(dtype)`: rounding for float32, truncation for integers, a test for booleans."""
    target = np.dtype(dtype)
    if target.kind in "iu":
        target = np.dtype(np.int64)
    if target.kind not in "fib" or target.itemsize not in (1, 4, 8):
        raise UnsupportedError(f"arrays of dtype {target} are not recorded")
    if not moves(x):
        return finished(np.asarray(x.value if recording(x) else x).astype(target), recording(x))
    source = x.dtype if isinstance(x, Array) else FLOAT64
    name = {"f": "copy", "i": "trunc", "b": "not_equal"}[target.kind]
    if target == FLOAT32 and source == FLOAT64:
        name = "round32"
    result = elementwise(name, x, *([0.0] if name == "not_equal" else []))
    if isinstance(result, Array):
        return retyped(result, target)
    if isinstance(result, Var) and target.kind == "i":
        result = Integer.of(result)
    return result


def _row_function(row: Op) -> Callable[..., Any]:
    slow = partial(general, row.name)
    if row.kind == UNARY:
        return fast.unary(slow)
    return fast.binary(slow) if row.kind == BINARY else slow


ROW_FUNCTIONS = {row.name: _row_function(row) for row in ROWS.values() if row.kind != "input"}
of_arrays |= ROW_FUNCTIONS
