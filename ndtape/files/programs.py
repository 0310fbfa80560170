"""Traced functions in a file: signatures, and for each the tapes of its branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import trees
from ..record.arrays import Array, as_array, of_span
from ..record.core import Recorder
from ..record.tracing import Ended, Guard, Tracing
from ..record.values import Boolean, Integer, Result, Var, result
from ..run import Workspace
from ..traced.program import Output, Program, Slots, Trace, same_prefix
from ..traced.signature import Static
from .loops import GUARD, KINDS, PYTHON, input_size
from .tapes import SavedCode
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
    tree_decoded,
    tree_encoded,
    whole,
)

if TYPE_CHECKING:
    from .tapes import Reader, Writer

SCALARS = {"f": Result, "i": Integer, "b": Boolean}  # kinds of numbers, by class


# --- writing --------------------------------------------------------------------------------------


def written(signature: Any, program: Program, writer: Writer, name: str) -> dict[str, Any]:
    """The record of a program of the function `name`."""
    structures, kinds, _, keywords = signature
    what = f"an argument of {name}"
    fed = [] if program.parameters is None else program.parameters.arrays() or []
    names = [] if program.parameters is None else program.parameters.names
    return {
        "arguments": [s if s is None or s == "static" else [tree_encoded(s, writer.vectors, what)]
                      for s in structures],
        "keywords": keywords,
        "kinds": [_kind(kind, writer, what) for kind in kinds],
        "fed": [[str(n), encoded(x, writer.vectors, n)] for n, x in zip(names, fed, strict=True)],
        "traces": [_trace(trace, writer, name) for trace in program.traces],
    }  # fmt: skip


def _kind(kind: Any, writer: Writer, what: str) -> Any:
    if not isinstance(kind, Static):
        return [kind[0], *([list(kind[1]), kind[2]] if kind[0] == "a" else [])]
    if kind.watched:
        refuse(f"{what} is {kind.value!r:.60}, which a signature knows by its identity: no other "
               "process has it; pass numbers, text or tuples of them")  # fmt: skip
    return ["static", encoded(kind.value, writer.vectors, what)]


def _trace(trace: Trace, writer: Writer, name: str) -> dict[str, Any]:
    guards = {g.index: writer.place(g.file, g.line) for g in trace.guards}
    at = np.flatnonzero(trace.tape.columns()["op"] == GUARD).tolist()
    unknown = writer.place("<unknown>", 0)
    output = trace.output
    return {
        "tape": writer.add(trace.tape, fed=trace.leading[0]),
        "variables": [_variable(x) for x in trace.variables],
        "guards": [guards.get(i, unknown) for i in at],
        "output": tree_encoded(output.structure, writer.vectors, f"the result of {name}"),
        "results": [_part(p, writer, name) for p in output.parts],
        "single": output.single is not None,
    }


def _variable(x: Any) -> list[Any]:
    if isinstance(x, Array):
        return [list(x.shape), np.dtype(x.dtype).str]
    return [None, next(kind for kind in "bif" if isinstance(x, SCALARS[kind]))]


def _part(part: Any, writer: Writer, name: str) -> list[Any]:
    """A result: slots, or a plain value."""
    if not isinstance(part, Slots):
        value = part.value if isinstance(part, (Array, Var)) else part
        return ["value", encoded(value, writer.vectors, f"a result of {name}")]
    if part.shape is None:
        return ["number", part.start, part.dtype.__name__]
    return ["array", part.start, list(part.shape), np.dtype(part.dtype).str]


# --- reading --------------------------------------------------------------------------------------


class SavedOutput(Output):
    """Results, of which nobody knows whether they are the whole numbers that the file says."""

    def read(self, v: np.ndarray) -> Any:
        return told(lambda: Output.read(self, v), "the kind of a result")


class SavedParameters:
    """Captured arrays that are inputs: `captured` has their numbers, which may be changed."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.captured = arrays
        self.names = list(arrays)
        self.places = arrays
        self.count = sum(x.size for x in arrays.values())

    def arrays(self) -> list[np.ndarray]:
        """The numbers, copied."""
        return [x.copy() for x in self.captured.values()]

    def read(self, out: np.ndarray, start: int) -> bool:
        """Write all numbers into a vector from a place on."""
        out[start : start + self.count] = np.concatenate(
            [np.zeros(0), *[x.ravel() for x in self.captured.values()]]
        )
        return True

    def texts(self) -> list[str]:
        """Name, dtype and shape of each, for explanations."""
        return [f"{name} {x.dtype.str.lstrip('<|')}[{','.join(map(str, x.shape))}]"
                for name, x in self.captured.items()]  # fmt: skip


def read(record: Any, reader: Reader, program: Program) -> Any:
    """Fill a program from its record; returns its signature."""
    arguments, keywords, kinds, fed, traces = fields(
        record, "arguments keywords kinds fed traces", "a program"
    )
    structures: list[Any] = []
    orders: list[Any] = []
    counts = []
    for argument in rows(arguments, "arguments"):
        if argument is None or argument == "static":
            structures.append(argument)
            counts.append(1)
            continue
        tree = tree_decoded(rows(argument, "an argument")[0], reader.vectors)
        structures.append(trees.flatten(tree)[1])
        orders.append(trees.order_of(tree))
        counts.append(structures[-1].num_leaves)
    known = [_kind_read(kind, reader) for kind in rows(kinds, "kinds")]
    if len(known) != sum(counts):
        refuse(f"a signature has {len(known)} leaves for a tree of {sum(counts)}")
    arrays = {text(name, "a name"): decoded(x, reader.vectors) for name, x in rows(fed, "fed", 2)}
    for name, x in arrays.items():
        if not isinstance(x, np.ndarray) or x.dtype.kind not in KINDS:
            refuse(f"the captured array {name} is none")
        one = reader.captured.setdefault(name, x)  # all programs read the same
        if (one.shape, one.dtype) == (x.shape, x.dtype):
            arrays[name] = one
    moving = [kind for kind in known if not isinstance(kind, Static)]
    inputs = [kind[1] if kind[0] == "a" else () for kind in moving]
    inputs += [x.shape for x in arrays.values()]
    if arrays:
        program.parameters = SavedParameters(arrays)  # type: ignore[assignment]
    program.traces = [_trace_read(t, reader, inputs, program.name) for t in rows(traces, "traces")]
    if not program.traces:
        refuse("a program has no tapes")
    program.last = program.traces[0]
    _find_kin(program.traces)
    return tuple(structures), tuple(known), tuple(orders), keywords is True


def _find_kin(traces: list[Trace]) -> None:
    """Let loops that stand at the same place of several tapes know of one another."""
    for j, one in enumerate(traces):
        for other in traces[:j]:
            for (i, x), (k, y) in zip(one.loops, other.loops, strict=False):
                if (
                    i != k
                    or not same_prefix(one, other, i + 1)
                    or not _same_captured(one, other, i)
                ):
                    break
                x.kin, y.kin = (*x.kin, y), (*y.kin, x)


def _same_captured(one: Trace, other: Trace, i: int) -> bool:
    """Whether two loops capture the same numbers; what is recorded is known to be the same."""
    x, y = (trace.tape.calls[trace.tape.kind_word(i)] for trace in (one, other))
    known, others = (call.fixed[: len(call.loop.order)] for call in (x, y))
    return len(known) == len(others) and all(
        p is q or (p is not None and q is not None and np.array_equal(p, q, equal_nan=True))
        for p, q in zip(known, others, strict=True)
    )


def _kind_read(kind: Any, reader: Reader) -> Any:
    name, *rest = rows(kind, "a kind")
    if name == "static":
        return Static(decoded(rest[0], reader.vectors))
    if name == "a":
        dtype_from(rest[1])
        return "a", shape_from(rest[0], "the shape of an argument") or (), str(rest[1])
    return (name,) if name in ("f", "i") else refuse(f"{name!r:.40} is no kind of argument")


def _trace_read(record: Any, reader: Reader, inputs: list[Any], name: str) -> Trace:
    number, variables, guards, output, results, single = fields(
        record, "tape variables guards output results single", "a trace"
    )
    tape = reader.tape(number)
    made = _variables_on(tape, rows(variables, "variables", 2), inputs)
    _enter_guards(tape, [reader.code(j) for j in rows(guards, "guards")], name)
    parts = [_part_read(p, tape, reader) for p in rows(results, "results")]
    tree = tree_decoded(output, reader.vectors)
    structure = trees.flatten(tree)[1]
    if structure.num_leaves != len(parts) or (single is True and len(parts) != 1):
        refuse(f"a tape has {len(parts)} results for a tree of {structure.num_leaves}")
    y = parts[0] if single is True else trees.unflatten(structure, parts)
    return Trace(tape, made, SavedOutput(tape, y), _finished(tape))


def _variables_on(tape: Recorder, variables: list[Any], inputs: list[Any]) -> list[Any]:
    """The arguments as recording values: the first instructions, one behind the other."""
    if len(variables) != len(inputs):
        refuse(f"a tape has {len(variables)} arguments, its signature {len(inputs)}")
    made: list[Any] = []
    index = slot = 0
    for (shape, kind), expected in zip(variables, inputs, strict=True):
        if shape is None:
            value: Any = result(tape, slot, SCALARS[text(kind, "a kind")])
            size = 1
        else:
            sizes = shape_from(shape, "the shape of an argument") or ()
            size = int(np.prod(sizes, dtype=np.int64))
            value = variable_of(tape, slot, sizes, dtype_from(kind, KINDS))
        if tuple(shape or ()) != expected or (size and input_size(tape, index) != size):
            refuse(f"the tape has no input of shape {shape} at instruction {index}")
        made.append(value)
        index, slot = index + bool(size), slot + size
    return made


def variable_of(tape: Recorder, slot: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """An array on a tape; plain where it has no elements, as recorders make it."""
    if 0 in shape:
        return as_array(np.empty(shape, dtype))
    return of_span(tape, slot, shape, dtype)


def _enter_guards(tape: Recorder, codes: list[SavedCode], name: str) -> None:
    """What Python has seen: slots and outcomes are on the tape, the lines in the file."""
    at = np.flatnonzero(tape.columns()["op"] == GUARD).tolist()
    if len(codes) != len(at):
        refuse(f"a tape has {len(at)} guards and lines for {len(codes)}")
    tape.traced = Tracing(tape, f"the traced function {name}")
    for index, code in zip(at, codes, strict=True):
        slot, outcome = tape.instruction(index).operands
        tape.traced.guards.append(Guard(index, int(slot), outcome, code, 0))


def _part_read(part: Any, tape: Recorder, reader: Reader) -> Any:
    kind, *rest = rows(part, "a result")
    if kind == "value":
        return decoded(rest[0], reader.vectors)
    start = whole(rest[0], "the slot of a result")
    shape = None if kind == "number" else shape_from(rest[1], "the shape of a result") or ()
    size = 1 if shape is None else int(np.prod(shape, dtype=np.int64))
    if not size or start + size > tape.slots:
        refuse(f"a result lies in slots {start} to {start + size}; the tape has {tape.slots}")
    first, there = tape.span_of(start)
    if start + size > first + there:
        refuse(f"a result lies in slots {start} to {start + size}, which are not one result")
    if shape is None:
        dtype = PYTHON[text(rest[1], "a dtype")]
        return result(tape, start, {bool: Boolean, int: Integer}.get(dtype, Result))
    return of_span(tape, start, shape, dtype_from(rest[2], KINDS))


def _finished(tape: Recorder) -> Workspace:
    """End the tape's recording; returns a workspace that has no numbers yet."""
    tape.ended = True
    tape.inputs = []
    tape.work = Ended(tape)  # type: ignore[assignment]
    return Workspace(tape)
