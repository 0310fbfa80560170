"""What passes over scalar instructions know of opcodes, from the table of operations."""

from __future__ import annotations

import numpy as np

from ..ops import CODES, OPCODES, STRUCTURE, TIE
from ..tape import SLOT_MASK

COUNT = len(OPCODES)
NONE = 0xFFFF  # in the place of an opcode

SLOT_BITS = (SLOT_MASK * np.array([1, 2, 4])).sum(1).astype(np.uint8)
CONSTANT_BITS = np.array(
    [sum(1 << j for j, f in enumerate(o.form) if f == "k") for o in OPCODES], np.uint8
)
FOLDS = np.array([o.row.kind not in STRUCTURE for o in OPCODES])
# Which of two equal operands of a maximum is the answer depends on their order: 0 and -0.
COMMUTES = np.array([o.row.commutes and o.row.kink != TIE and o.form == "vv" for o in OPCODES])


def _with_constants() -> np.ndarray:
    """By opcode and operand: the opcode of the form where that slot is a constant, or NONE.

    For the first operand of a row that commutes, it is the form with the operands exchanged, unless
    the sign of a zero depends on their order.
    """
    found = np.full((COUNT, 3), NONE, np.uint16)
    for code, _, row, form in ((o.code, o.name, o.row, o.form) for o in OPCODES):
        for j, f in enumerate(form):
            if f == "v" and row.kind not in STRUCTURE:
                fresh = form[:j] + "k" + form[j + 1 :]
                if row.commutes and row.kink != TIE and fresh == "kv":
                    fresh = "vk"
                found[code, j] = CODES.get((row.name, fresh), NONE)
    return found


WITH_CONSTANT = _with_constants()

# Rows that change nothing of what they have made.
IDEMPOTENT = ("stop", "round32", "abs", "sign", "floor", "ceil", "trunc", "rint", "relu",
              "nan_to_num")  # fmt: skip
# Rows whose value is never -0.
POSITIVE_ZERO = ("square", "abs", "exp", "exp2", "cos", "cosh", "sigmoid", "softplus", "hypot",
                 "relu", *(o.row.name for o in OPCODES if o.row.boolean))  # fmt: skip


def _of_rows(names: tuple[str, ...]) -> np.ndarray:
    return np.array([o.row.name in names for o in OPCODES])


REPEATS, NEVER_NEGATIVE_ZERO = _of_rows(IDEMPOTENT), _of_rows(POSITIVE_ZERO)
