"""The rules of the tape format, checked from the op table.

Compiled sweeps test no bounds, so nothing that came from outside is swept before `verify` has
accepted it.  Each rule is one vectorised comparison over the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import BadTapeError
from .ops import CODES, FIRST_WIDE, INPUT_CODE, OPCODES, WIDE, WIDE_CODES
from .passes.code import Code
from .passes.optimised import OptimisedTape
from .tape import CONSTANT_MASK, MAX_SLOTS, SLOT_MASK, Tape
from .verify_affine import check_affine
from .verify_places import LaidPlaces, Places
from .verify_wide import Descriptors, check_wide, descriptors, whole_orders

DTYPES = {"op": np.uint16, "a": np.uint32, "b": np.uint32, "c": np.uint32, "k": np.float64}
WORDS = {"m": np.int64}  # needed where there are wide instructions
ORDERS = [code for (name, _), code in CODES.items() if name == "polygamma"]


def verify(tape: Tape) -> None:
    """Raise `BadTapeError` unless every instruction of `tape` obeys the format.

    >>> import ndtape as nt
    >>> with nt.Tape() as tape:
    ...     y = nt.exp(nt.var(1.0))
    >>> nt.verify(tape)
    """
    tape = tape.whole()
    if isinstance(tape, OptimisedTape):
        verify_code(tape.code)
        return
    columns = tape.columns()
    out = verify_columns(columns, len(tape.calls))
    wrong = np.flatnonzero(columns["out"] != out)
    if len(wrong):
        i = wrong[0]
        raise BadTapeError(f"instruction {i} writes from slot {columns['out'][i]} on, not {out[i]}")


def tape_of(columns: Mapping[str, np.ndarray]) -> Tape:
    """A tape made of columns ``op a b c k m``, once they are verified.

    `m` may be missing where no instruction is wide.  Columns carry no Python functions, so that an
    instruction `call` is refused.  Raises `BadTapeError`; the message names the instruction and
    the rule it breaks.
    """
    verify_columns(columns)
    tape = Tape(max(len(columns["op"]), 1))
    tape.extend_pools(dict(columns))
    tape.extend(dict(columns))
    return tape


def verify_columns(columns: Mapping[str, np.ndarray], calls: int = 0) -> np.ndarray:
    """`verify` for columns that are not a tape yet; returns the first slot of each result.

    `calls` is how many functions the tape has for instructions `call`.
    """
    wide, sizes = _described(columns)
    if sizes.sum(dtype=float) > MAX_SLOTS:
        raise BadTapeError(f"the results need more than the {MAX_SLOTS} slots that a tape can have")
    out = np.concatenate([[0], np.cumsum(sizes)])
    _operands(columns, wide, Places(out), calls)
    return out[:-1]


def verify_code(code: Code, once: bool = False) -> None:
    """`verify` for code of passes, whose results may lie anywhere: each lies within the slots, and
    all that is read is written before.

    `once` demands that no slot is written twice, which holds until the pass `slots`.  Raises
    `BadTapeError`.
    """
    columns = code.columns
    wide, sizes = _described(columns)
    _column("out", columns.get("out"), np.dtype(np.uint32), len(sizes))
    for name, what in (("results", code.results), ("positions", code.positions)):
        if what.ndim != 1 or what.dtype != np.int64:
            raise BadTapeError(f"{name} must be a vector of int64, not {what.dtype}")
    if not 0 <= code.slots <= MAX_SLOTS:
        raise BadTapeError(f"code has {code.slots} slots; a tape has 0 to {MAX_SLOTS}")
    places = LaidPlaces(columns["out"], sizes, code.slots)
    sums = wide.of_kind("affine") & (wide.count != 0)  # of which an activation is taken
    places.writes(wide.index[sums], wide.a[sums])
    if once:
        places.check_once()
    _leading(columns, sizes, code.inputs)
    _operands(columns, wide, places, len(code.calls))
    unknown = (code.results < 0) | (code.results >= code.slots)
    unknown[~unknown] = places.first[code.results[~unknown]] == len(sizes)
    if unknown.any():
        raise BadTapeError(f"slot {code.results[unknown][0]} is a result and never written")
    if len(code.positions) != len(sizes):
        raise BadTapeError(f"{len(code.positions)} positions for {len(sizes)} instructions")


def _leading(columns: Mapping[str, np.ndarray], sizes: np.ndarray, inputs: int) -> None:
    """The first instructions are inputs, in front of all other results."""
    first = np.cumsum(sizes[:inputs]) - sizes[:inputs]
    is_input = np.isin(columns["op"][:inputs], (INPUT_CODE, WIDE_CODES["wide_input"]))
    if len(first) < inputs or not is_input.all() or (columns["out"][:inputs] != first).any():
        raise BadTapeError(f"the first {inputs} instructions are not inputs on the first slots")


def _described(columns: Mapping[str, np.ndarray]) -> tuple[Descriptors, np.ndarray]:
    """The wide instructions, and how many slots each instruction writes."""
    _shapes(columns)
    op = columns["op"]
    _opcodes(op)
    wide = descriptors(columns, columns.get("m", np.zeros(0, np.int64)))
    sizes = np.ones(len(op), np.int64)
    sizes[wide.index] = wide.size
    return wide, sizes


def _operands(
    columns: Mapping[str, np.ndarray], wide: Descriptors, places: Places, calls: int
) -> None:
    """What instructions read is there before them."""
    op, k = columns["op"], columns["k"]
    words = columns.get("m", np.zeros(0, np.int64))
    n, index = places.slots, np.arange(len(op))
    scalar = op < FIRST_WIDE
    for j, name in enumerate("abc"):
        slots = columns[name].astype(np.int64)
        reads, constant = SLOT_MASK[op, j], CONSTANT_MASK[op, j]
        _reject(reads & (slots >= n), _says(op, name, slots, f"the tape has {n} slots"))
        late = reads & places.late(index, slots, slots)
        _reject(late, _says(op, name, slots, "which is not written before it"))
        _reject(constant & (slots >= len(k)), _says(op, name, slots, f"the pool has {len(k)}"))
        _reject(
            scalar & ~reads & ~constant & (slots != 0),
            _says(op, name, slots, "but its operation has no such operand"),
        )
    _orders(columns)
    check_wide(columns, words, wide, places, calls)
    check_affine(columns, words, wide, places)


def _opcodes(op: np.ndarray) -> None:
    last = FIRST_WIDE + len(WIDE) - 1
    _reject(
        (op > last) | ((op >= len(OPCODES)) & (op < FIRST_WIDE)),
        lambda i: (
            f"has opcode {op[i]}; there are 0 to {len(OPCODES) - 1} and, of arrays, "
            f"{FIRST_WIDE} to {last}"
        ),
    )


def _orders(columns: Mapping[str, np.ndarray]) -> None:
    """The order of polygamma is a whole number: its kernel loops over it."""
    op, k = columns["op"], columns["k"]
    at = np.flatnonzero(np.isin(op, ORDERS))
    order = k[columns["a"][at]]
    bad = ~whole_orders(order)
    if bad.any():
        i = at[bad][0]
        raise BadTapeError(f"instruction {i} (polygamma) has order {order[bad][0]}, not 0, 1, 2 …")


def _says(op: np.ndarray, name: str, slots: np.ndarray, why: str) -> Callable[[int], str]:
    def sentence(i: int) -> str:
        return f"({OPCODES[op[i]].name}) has operand {name} = {slots[i]}, {why}"

    return sentence


def _reject(bad: np.ndarray, sentence: Callable[[int], str]) -> None:
    if bad.any():
        i = int(bad.argmax())
        raise BadTapeError(f"instruction {i} {sentence(i)}")


def _shapes(columns: Mapping[str, np.ndarray]) -> None:
    missing = [name for name in DTYPES if name not in columns]
    if missing:
        raise BadTapeError(f"a tape needs the columns {', '.join(DTYPES)}; missing: {missing}")
    for name, dtype in {**DTYPES, **WORDS}.items():
        _column(name, columns.get(name, np.zeros(0, np.int64)), np.dtype(dtype))
    lengths = {name: len(columns[name]) for name in ("op", "a", "b", "c")}
    if len(set(lengths.values())) > 1:
        raise BadTapeError(f"the columns differ in length: {lengths}")
    if lengths["op"] > MAX_SLOTS:
        raise BadTapeError(f"{lengths['op']} instructions; a tape holds at most {MAX_SLOTS}")


def _column(name: str, column: Any, dtype: np.dtype[Any], length: int = -1) -> None:
    if not isinstance(column, np.ndarray) or column.ndim != 1 or column.dtype != dtype:
        kind = getattr(column, "dtype", type(column).__name__)
        raise BadTapeError(f"column {name} must be a vector of {dtype.name}, not {kind}")
    if length >= 0 and len(column) != length:
        raise BadTapeError(f"column {name} has {len(column)} entries for {length} instructions")
