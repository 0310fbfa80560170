"""The rules of the tape format, checked from the op table.

Compiled sweeps test no bounds, so nothing that came from outside is swept before `verify` has
accepted it.  Each rule is one vectorised comparison over the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .errors import BadTapeError
from .ops import CODES, FIRST_WIDE, OPCODES, WIDE
from .tape import CONSTANT_MASK, MAX_SLOTS, SLOT_MASK, Tape
from .verify_affine import check_affine
from .verify_wide import check_wide, descriptors, whole_orders

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
    _shapes(columns)
    op, k = columns["op"], columns["k"]
    _opcodes(op)
    words = columns.get("m", np.zeros(0, np.int64))
    wide = descriptors(columns, words)
    sizes = np.ones(len(op), np.int64)
    sizes[wide.index] = wide.size
    if sizes.sum(dtype=float) > MAX_SLOTS:
        raise BadTapeError(f"the results need more than the {MAX_SLOTS} slots that a tape can have")
    out = np.concatenate([[0], np.cumsum(sizes)])
    n, index = out[-1], out[:-1]
    scalar = op < FIRST_WIDE
    for j, name in enumerate("abc"):
        slots = columns[name].astype(np.int64)
        reads, constant = SLOT_MASK[op, j], CONSTANT_MASK[op, j]
        _reject(reads & (slots >= n), _says(op, name, slots, f"the tape has {n} slots"))
        _reject(reads & (slots >= index), _says(op, name, slots, "which is not written before it"))
        _reject(constant & (slots >= len(k)), _says(op, name, slots, f"the pool has {len(k)}"))
        _reject(
            scalar & ~reads & ~constant & (slots != 0),
            _says(op, name, slots, "but its operation has no such operand"),
        )
    _orders(columns)
    check_wide(columns, words, wide, out, calls)
    check_affine(columns, words, wide, out)
    return index


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
        column = columns.get(name, np.zeros(0, np.int64))
        if not isinstance(column, np.ndarray) or column.ndim != 1 or column.dtype != dtype:
            kind = getattr(column, "dtype", type(column).__name__)
            raise BadTapeError(f"column {name} must be a vector of {dtype.__name__}, not {kind}")
    lengths = {name: len(columns[name]) for name in ("op", "a", "b", "c")}
    if len(set(lengths.values())) > 1:
        raise BadTapeError(f"the columns differ in length: {lengths}")
    if lengths["op"] > MAX_SLOTS:
        raise BadTapeError(f"{lengths['op']} instructions; a tape holds at most {MAX_SLOTS}")
