"""Instructions `call` in a file: of primitives by their names, of rules, of loops.

What a call is given is checked against its instruction, so that sweeps find what they expect.  What
its functions do with hostile numbers nobody can know before: an exception of theirs comes out as a
`TapeFileError`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..loops.derivatives import Derivatives
from ..loops.scan import scan
from ..ops import WIDE_CODES
from ..record.calls import OURS, Call, Primitive, registered, registered_name
from ..record.core import Recorder
from . import loops, rules
from .loops import KINDS
from .values import (
    decoded,
    dtype_from,
    encoded,
    fields,
    refuse,
    rows,
    shape_from,
    text,
    told,
)

if TYPE_CHECKING:
    from .tapes import Reader, Writer

CALL = WIDE_CODES["call"]
LATER = ("scipy.special", "scipy.linalg", "scipy.integrate")  # not imported with the package


# --- writing --------------------------------------------------------------------------------------


def written(call: Call, writer: Writer) -> dict[str, Any]:
    """The record of a call; raises `TapeFileError` for what cannot be made again elsewhere."""
    loop = call.loop
    name = f"the call of {call.primitive.name}"
    rule = call.params.get("rule")
    known: dict[str, Any] = {}
    if loop is not None:
        known["loop"] = loops.written(loop, writer)
    elif rule is not None:
        known["rule"] = rules.written(rule, writer)
    else:
        known["primitive"] = _name_of(call)
        known["params"] = encoded(call.params, writer.vectors, f"a parameter of {name}")
    return {
        **known,
        "operands": [
            None if x is None else encoded(x, writer.vectors, f"an operand of {name}")
            for x in call.fixed
        ],
        "shapes": [list(shape) for shape in call.shapes],
        "dtypes": [np.dtype(d).str for d in call.dtypes],
        "results": [[list(shape), np.dtype(d).str] for shape, d in call.results],
        "many": call.many,
        "empty": call.empty,
    }


def _name_of(call: Call) -> str:
    """What files call the primitive of a call."""
    name = registered_name(call.primitive)
    if not name or name.startswith("<"):
        refuse(
            f"the recording calls the primitive {call.primitive.name!r}, which has no name of its "
            "own by which another process could find it: nt.primitive(value, vjp, name='...')"
        )
    return name


# --- reading --------------------------------------------------------------------------------------


class LoadedCall(Call):
    """A call of a primitive that was found by its name."""

    def sweep(self, work: Any, kind: str, here: slice, spans: Sequence[slice]) -> None:
        told(lambda: Call.sweep(self, work, kind, here, spans), self.primitive.name)

    def adjoints(self, w: Any, z: Any, arrays: list[Any], wanted: Any = None) -> list[Any]:
        return told(lambda: Call.adjoints(self, w, z, arrays, wanted), self.primitive.name)


def read(record: Any, reader: Reader, above: int) -> Call:
    """The call of a record, on the tape with the number `above`."""
    operands, shapes, dtypes, results, many, empty = fields(
        record, "operands shapes dtypes results many empty", "a call"
    )
    fixed = [None if x is None else _plain(x, reader) for x in rows(operands, "operands")]
    shaped = iter([shape_from(s, "the shape of an operand") or () for s in rows(shapes, "shapes")])
    moving = [next(shaped, None) if x is None else x for x in fixed]
    if any(x is None for x in moving) or next(shaped, None) is not None:
        refuse("a call has other shapes than operands")
    if many.__class__ is not bool or empty.__class__ is not bool:
        refuse("a call has no flags")
    made: Call
    if "loop" in record:
        loop = loops.read(record["loop"], reader, above)
        made = loops.LoadedLoopCall(loop, moving, Derivatives(loop, scan))
        loops.check_fixed(made, loop)
    else:
        found = [
            (shape_from(s, "the shape of a result") or (), dtype_from(d, KINDS))
            for s, d in rows(results, "results", 2)
        ]
        primitive, params = _called(record, reader, [d for _, d in found])
        made = LoadedCall(primitive, params, moving)
        made.many, made.empty, made.results = many, empty, found
        if not made.results or (len(made.results) > 1 and not many):
            refuse("a call has no results, or several that are one")
    made.dtypes = [dtype_from(d, KINDS) for d in rows(dtypes, "dtypes")]
    if len(made.dtypes) != len(made.shapes):
        refuse("a call has other dtypes than operands")
    return made


def _plain(x: Any, reader: Reader) -> np.ndarray:
    array = decoded(x, reader.vectors)
    if not isinstance(array, np.ndarray):
        refuse("an operand of a call is no array")
    return array


def _called(record: Any, reader: Reader, dtypes: list[Any]) -> tuple[Primitive, dict[str, Any]]:
    """What a call calls, with its parameters."""
    if "rule" in record:
        rule = rules.read(record["rule"], reader)
        return rules.primitive(rule, dtypes), {"rule": rule}
    found = decoded(record.get("params"), reader.vectors)
    if found.__class__ is not dict or not all(key.__class__ is str for key in found):
        refuse("the parameters of a call have no names")
    return _primitive(record), found


def _primitive(record: Any) -> Primitive:
    name = text(record.get("primitive"), "the name of a primitive")
    home = name.removeprefix(OURS).rpartition(".")[0]
    if home in LATER:
        importlib.import_module(f"...{home}", __name__)
    found = registered(name)
    if found is None:
        refuse(
            f"it calls the primitive {name!r}, which this process does not know: import the module "
            f"that makes it, with nt.primitive(value, vjp, name={name!r}), and load again"
        )
    return found


# --- instructions ---------------------------------------------------------------------------------


def check(tape: Recorder) -> None:
    """Raise `TapeFileError` unless each instruction `call` has the operands of its call."""
    used = set()
    for index, _, size in tape.wide:
        if tape.chunks[0].op[index] != CALL:
            continue
        number = tape.kind_word(index)
        call = tape.calls[number]
        if number in used:
            refuse(f"call {number} is made by two instructions")
        used.add(number)
        counts = [walk.extents[0] for walk in tape.instruction(index).operands]
        moving = [int(np.prod(shape, dtype=np.int64)) for shape in call.shapes]
        wanted, read = max(_result_size(call), 1), moving
        if call.loop is not None:
            known = zip(call.fixed, loops.sizes_of(call.loop), strict=True)
            read = [n for x, n in known if x is None]
        if (
            not counts == moving == read
            or size != wanted
            or call.empty != (_result_size(call) == 0)
        ):
            refuse(f"instruction {index} (call) has operands of {counts} slots and a result of "
                   f"{size}; {call.primitive.name} has {moving} and {wanted}")  # fmt: skip


def _result_size(call: Call) -> int:
    if call.loop is not None:
        return int(call.loop.form.size)
    return sum(int(np.prod(shape, dtype=np.int64)) for shape, _ in call.results)
