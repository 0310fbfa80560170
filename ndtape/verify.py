"""The rules of the tape format, checked from the op table.

Compiled sweeps test no bounds, so nothing that came from outside is swept before `verify` has
accepted it.  Each rule is one vectorised comparison over the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .errors import BadTapeError
from .ops import CODES, OPCODES
from .tape import CONSTANT_MASK, MAX_SLOTS, SLOT_MASK, Tape

DTYPES = {"op": np.uint16, "a": np.uint32, "b": np.uint32, "c": np.uint32, "k": np.float64}
ORDERS = [code for (name, _), code in CODES.items() if name == "polygamma"]


def verify(tape: Tape) -> None:
    """Raise `BadTapeError` unless every instruction of `tape` obeys the format.

    >>> import ndtape as nt
    >>> with nt.Tape() as tape:
    ...     y = nt.exp(nt.var(1.0))
    >>> nt.verify(tape)
    """
    verify_columns(tape.columns())


def tape_of(columns: Mapping[str, np.ndarray]) -> Tape:
    """A tape made of columns ``op a b c k``, once they are verified.

    Raises `BadTapeError`; the message names the instruction and the rule it breaks.
    """
    verify_columns(columns)
    tape = Tape(max(len(columns["op"]), 1))
    tape.extend(dict(columns))
    tape.extend_pool(columns["k"])
    return tape


def verify_columns(columns: Mapping[str, np.ndarray]) -> None:
    """`verify` for columns that are not a tape yet."""
    _shapes(columns)
    op, k = columns["op"], columns["k"]
    n = len(op)
    _reject(op >= len(OPCODES), lambda i: f"has opcode {op[i]}; the last one is {len(OPCODES) - 1}")
    index = np.arange(n, dtype=np.int64)
    for j, name in enumerate("abc"):
        slots = columns[name].astype(np.int64)
        reads, constant = SLOT_MASK[op, j], CONSTANT_MASK[op, j]
        _reject(reads & (slots >= n), _says(op, name, slots, f"the tape has {n} slots"))
        _reject(reads & (slots >= index), _says(op, name, slots, "which is not written before it"))
        _reject(constant & (slots >= len(k)), _says(op, name, slots, f"the pool has {len(k)}"))
        _reject(
            ~reads & ~constant & (slots != 0),
            _says(op, name, slots, "but its operation has no such operand"),
        )
    _orders(columns)


def _orders(columns: Mapping[str, np.ndarray]) -> None:
    """The order of polygamma is a whole number: its kernel loops over it."""
    op, k = columns["op"], columns["k"]
    at = np.flatnonzero(np.isin(op, ORDERS))
    order = k[columns["a"][at]]
    bad = ~((order >= 0) & (order <= 1e4) & (order == np.floor(order)))
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
    for name, dtype in DTYPES.items():
        column = columns[name]
        if not isinstance(column, np.ndarray) or column.ndim != 1 or column.dtype != dtype:
            kind = getattr(column, "dtype", type(column).__name__)
            raise BadTapeError(f"column {name} must be a vector of {dtype.__name__}, not {kind}")
    lengths = {name: len(columns[name]) for name in ("op", "a", "b", "c")}
    if len(set(lengths.values())) > 1:
        raise BadTapeError(f"the columns differ in length: {lengths}")
    if lengths["op"] > MAX_SLOTS:
        raise BadTapeError(f"{lengths['op']} instructions; a tape holds at most {MAX_SLOTS}")
