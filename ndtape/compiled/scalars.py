"""Operations on recording scalars, as Numba calls them: one function a row, for each mode."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature

from ..ops import OPERANDS, ROWS, STRUCTURE, Op
from ..vmath.kernel import Primitive
from . import emission
from .memory import Stopped
from .types import LINEAR, SCALARS, VarType

PACKAGE = str(Path(__file__).parent)
ZERO, ONE = np.uint64(0), np.uint64(1)
TABLE_ROWS = [row for row in ROWS.values() if row.kind not in STRUCTURE]
ARITY = {row.name: len(OPERANDS[row.kind]) for row in TABLE_ROWS}


def is_number(t: Any) -> bool:
    return isinstance(t, types.Float | types.Integer | types.Boolean)


class Recording(Primitive):
    """A row in a mode, callable in compiled code on recording scalars and plain numbers."""

    def __init__(self, row: Op, mode: str) -> None:
        self.row, self.mode = row, mode
        super().__init__(row.name, self.signature_of, self.lower, row.doc)

    def signature_of(self, arguments: Sequence[types.Type]) -> Any:
        """All operands recording scalars: Numba casts plain numbers to passive ones."""
        if len(arguments) != len(self.row.operands):
            return None
        if not all(isinstance(t, VarType) or is_number(t) for t in arguments):
            return None
        kind = SCALARS[self.mode]
        result = types.boolean if self.row.boolean else kind
        return signature(result, *[kind] * len(arguments))

    def lower(self, context: Any, builder: Any, sig: Any, args: Any, loc: Any = None) -> Any:
        """Emit the call; where Python refuses room, an exception ends the compiled code."""

        def refuse(b: Any) -> None:
            context.call_conv.return_user_exc(b, Stopped, ())

        structs = [
            cgutils.create_struct_proxy(t)(context, builder, value=v)
            for t, v in zip(sig.args, args, strict=True)
        ]
        operands = [emission.Operand(x.tape, x.slot, x.value) for x in structs]
        start = emission.I64(line_of(loc))
        if self.mode == LINEAR and not self.row.boolean:
            header = emission.header_for(builder, operands)
            start = emission.make_room(builder, header, refuse)
            tapes = [header, *[emission.ZERO] * len(operands)]
            operands = [emission.Operand(t, x.slot, x.value)
                        for t, x in zip(tapes, operands, strict=False)]  # fmt: skip
        function = emission.operation(builder.module, self.row, self.mode)
        given = [part for x in operands for part in (x.tape, x.slot, x.value)]
        found = builder.call(function, [start, *given])
        tape, slot, value = (builder.extract_value(found, i) for i in range(3))
        if self.mode != LINEAR:
            refused = builder.icmp_unsigned("==", slot, emission.NOWHERE)
            with builder.if_then(refused, likely=False):
                refuse(builder)
        if self.row.boolean:
            return value
        made = cgutils.create_struct_proxy(sig.return_type)(context, builder)
        made.tape, made.slot, made.value = tape, slot, value
        return made._getvalue()


def line_of(loc: Any) -> int:
    """The line of the user's function that is being compiled, 0 in a function of ours."""
    own = loc is None or loc.filename.startswith((PACKAGE, "<"))
    return 0 if own else int(loc.line)


@cache
def recorder(name: str, mode: str) -> Recording:
    """The compiled function that records a row: scalars in, a scalar or a truth value out."""
    return Recording(ROWS[name], mode)
