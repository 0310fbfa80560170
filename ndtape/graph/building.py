"""`graph_of`: the nodes and edges of a tape, with values and adjoints by sweeps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, TapeError
from ..ops import FIRST_WIDE, INPUT_CODE, WIDE_CODES
from ..passes.optimised import OptimisedTape
from ..record import core
from ..record.arrays import Array
from ..record.backward import root_of
from ..record.core import Recorder
from ..record.values import Leaf, Var
from ..run import Flip, Workspace
from ..tape import SLOT_MASK, Instruction, Tape, line_number
from .model import CONSTANT, INPUT, OPERATION, PARAMETER, Edge, Graph, Node
from .naming import invented, kept_results, slots_of, users_names
from .notation import numeral
from .reading import Read, Shape, reads, result_shape

INPUTS = {INPUT_CODE, WIDE_CODES["wide_input"]}
INPUTS_SHOWN = 24  # of a long program
HIDDEN = {"guard", "skip"}  # instructions that compute nothing


def graph_of(
    tape: Tape,
    of: Any = None,
    adjoints: bool = True,
    *,
    seed: Any = None,
    names: Mapping[str, Any] | None = None,
    wrt: Any = None,
    instructions: Iterable[int] | None = None,
    most: int | None = None,
) -> Graph:
    """The graph of a tape: of everything on it, or of what the value (name, slot) `of` depends on.

    Values are those of the inputs when they were recorded.  Adjoints are those of `of`, or of the
    only result, if that is a single number or has a `seed` of its own shape.  `names` gives names
    to values, such as ``locals()``; `wrt`, a value or a list of them, says which inputs derivatives
    are wanted of, and makes parameters of the others.  `instructions` limits the graph to some of
    them and the operands that they read, `most` to the last so many operations.

    Raises `ArgumentError` for values of another tape, and for a tape after the passes, whose slots
    are used several times: draw the one that was recorded.

    >>> import ndtape as nt
    >>> from ndtape.graph import graph_of
    >>> x, y = nt.var(5.0, name="x"), nt.var(3.0, name="y")
    >>> with nt.Tape() as tape:
    ...     c = nt.sin(nt.square(x) + y)
    >>> graph = graph_of(tape, c)
    >>> [f"{n.name} = {n.expression}" for n in graph.nodes if n.kind == "operation"]
    ['a = x²', 'b = a + y', 'c = sin b']
    >>> [edge.symbolic for edge in graph.edges]
    ['2·x', '1', '1', 'cos b']
    """
    named: Any = tape
    of = named[of] if isinstance(of, str) else of
    if isinstance(of, (Var, Array)):
        found, root, size = place_on(tape, of)
        tape = found
    else:
        tape = tape.whole()
        root, size = (-1, 0) if of is None else (_slot(tape, of), 1)
    if isinstance(tape, OptimisedTape):
        raise ArgumentError(
            "a tape after the passes uses its slots several times and is no graph: take the tape "
            "that was recorded, and tape.diff(optimised) for what has changed"
        )
    builder = _Builder(tape, users_names(tape, names), _shapes(tape, names, of))
    builder.root_shape = tuple(of.shape) if isinstance(of, Array) else None
    builder.wanted = None if wrt is None else _wanted(tape, wrt)
    with core.growth if tape.calls else nullcontext():
        builder.sweep(root, size, adjoints, seed)
    return builder.build(instructions, most)


def _slot(tape: Tape, of: Any) -> int:
    """The number of a slot, checked."""
    if isinstance(of, bool) or not isinstance(of, (int, np.integer)):
        raise ArgumentError(
            f"this takes a recording value, its name or its slot, not {type(of).__name__}"
        )
    if not 0 <= of < tape.slots:
        raise ArgumentError(f"slot {of} is not on this tape of {tape.slots} slots")
    return int(of)


def place_on(tape: Tape, of: Any) -> tuple[Recorder, int, int]:
    """The tape of a value, its first slot, and its size."""
    if isinstance(of, Leaf) or (isinstance(of, Array) and of.is_leaf):
        starts = slots_of(tape.whole(), of)
        if not starts:
            raise ArgumentError("this value is not on the tape: no operation there uses it")
        whole: Any = tape.whole()
        return whole, starts[0], of.size if isinstance(of, Array) else 1
    if isinstance(of, Array) and of.storage.tape is None:
        raise ArgumentError("this value is on no tape: it depends on no recorded one")
    found, start = root_of(of)
    if found is not tape.whole():
        raise ArgumentError("this value is on another tape: ask the tape that recorded it")
    return found, start, of.size if isinstance(of, Array) else 1


def _shapes(tape: Tape, names: Mapping[str, Any] | None, of: Any) -> dict[int, Shape]:
    """What live arrays know of the shapes of spans, by first slots."""
    arrays = [x for x in (*(names or {}).values(), of) if isinstance(x, Array)]
    known = {slot: tuple(x.shape) for x in arrays for slot in slots_of(tape, x)}
    for slot, leaf in getattr(tape, "inputs", ()):
        if leaf is not None and hasattr(leaf, "shape"):
            known[slot] = tuple(leaf.shape)
    known |= {slot: tuple(shape or ()) for slot, shape, _ in kept_results(tape).values()}
    return known


def _wanted(tape: Tape, wrt: Any) -> set[int]:
    """The first slots of the inputs that `wrt` names."""
    values = wrt if isinstance(wrt, (list, tuple)) else [wrt]
    return {slot for x in values for slot in slots_of(tape, x)}


class _Builder:
    """Makes the nodes and edges of one graph."""

    def __init__(self, tape: Tape, names: dict[int, str], shapes: dict[int, Shape]) -> None:
        self.tape, self.names, self.shapes = tape, names, shapes
        self.wanted: Collection[int] | None = None
        self.g: np.ndarray | None = None
        self.mark: np.ndarray | None = None
        self.root_shape: Shape | None = None  # where that is known
        self.lines: dict[Any, str] = {}
        self.cut: set[int] = set()  # instructions whose own operands the graph leaves out

    # --- numbers ----------------------------------------------------------------------------------

    def sweep(self, root: int, size: int, adjoints: bool, seed: Any) -> None:
        """Values, what the root depends on, and its adjoints."""
        self.work = work = Workspace(self.tape)
        self.root, self.root_size = root, size
        try:
            work.forward()
        except Flip as flip:
            raise TapeError(
                f"the guard at instruction {flip.index} does not hold for the numbers of this "
                "tape's inputs: it stands for another branch of the program"
            ) from None
        if root >= 0:
            self.mark = work.reach(slice(root, root + size)).copy()
        elif adjoints:
            root, size = self._only_result()
        if not adjoints or root < 0:
            return
        if seed is not None:
            self.g = work.cotangent(root, self._cotangent(seed, size)).copy()
        elif size == 1:
            self.g = work.cotangent(root, np.ones(1)).copy()

    def _cotangent(self, seed: Any, size: int) -> np.ndarray:
        """The seed as a vector, once it has the shape of the result."""
        given = np.asarray(getattr(seed, "value", seed), np.float64)
        shape = given.shape if self.root_shape is None else self.root_shape
        if given.shape != shape or given.size != size:
            raise ShapeError(
                f"a seed of shape {given.shape} for a result of shape {self.root_shape or (size,)}"
            )
        return given.ravel()

    def _only_result(self) -> tuple[int, int]:
        """The result that nothing reads, if it is the only one: its first slot and its size."""
        instructions = [i for i in self.tape if i.name not in HIDDEN]
        read = {r.first for i in instructions for r in reads(self.tape, i)}
        unread = [i for i in instructions if i.out not in read]
        if len(unread) != 1 or unread[0].opcode.code in INPUTS:
            return -1, 0
        return unread[0].out, unread[0].size

    # --- nodes and edges --------------------------------------------------------------------------

    def build(self, instructions: Iterable[int] | None, most: int | None) -> Graph:
        graph = Graph(self.tape, self.work.array("v"))
        wanted = self._needed()
        if most is not None and len(wanted) > most:
            instructions = self._last(wanted, most)
        chosen = wanted.tolist()
        if instructions is not None:
            needed = set(chosen)
            inside = [i for i in instructions if i in needed]
            self.cut = self._operands(inside) - set(inside)
            chosen = sorted({*inside, *self.cut})
        for i in chosen:
            instruction = self.tape.instruction(i)
            if instruction.name not in HIDDEN:
                self._add(graph, instruction)
        self._name(graph)
        graph.results = self._results(graph)
        if instructions is not None:
            self._count_unseen(graph, np.setdiff1d(wanted, inside))
        return graph

    def _needed(self) -> np.ndarray:
        """The instructions that the root depends on, or all."""
        n = len(self.tape)
        if self.mark is None or not n:
            return np.arange(n)
        top = self.tape.index_of_slot(len(self.mark) - 1) + 1
        firsts = self.tape.result_slots(0, top)
        marks = np.bitwise_or.reduceat(self.mark[: self.tape.slots], firsts) & 1
        return np.flatnonzero(marks)

    def _last(self, wanted: np.ndarray, most: int) -> list[int]:
        """The last operations, and the first inputs."""
        inputs = np.isin(self.tape.columns()["op"][wanted], list(INPUTS))
        some = wanted[inputs][:INPUTS_SHOWN].tolist()
        return some + wanted[~inputs][-most:].tolist()  # type: ignore[no-any-return]

    def _operands(self, instructions: list[int]) -> set[int]:
        """The instructions whose results some instructions read."""
        return {
            self.tape.index_of_slot(read.first)
            for i in instructions
            if self.tape.instruction(i).opcode.code not in INPUTS
            for read in reads(self.tape, self.tape.instruction(i))
            if read.first >= 0
        }

    def _count_unseen(self, graph: Graph, others: np.ndarray) -> None:
        """How often instructions that are left out read the nodes that are here."""
        columns = self.tape.columns()
        codes = columns["op"][others]
        graph.left_out = int(np.count_nonzero(~np.isin(codes, list(INPUTS))))
        firsts = [np.zeros(0, np.int64)]
        for j, name in enumerate("abc"):
            slots = columns[name][others][SLOT_MASK[codes, j]].astype(np.int64)
            firsts.append(slots)
        for i in others[codes >= FIRST_WIDE].tolist():
            instruction = self.tape.instruction(i)
            if instruction.opcode.code not in INPUTS:
                found = [read.first for read in reads(self.tape, instruction)]
                firsts.append(np.array(found, np.int64))
        read = np.concatenate(firsts)
        for slot, node in graph.by_slot.items():
            here = (read >= slot) & (read < slot + max(node.size, 1))
            if count := int(np.count_nonzero(here)):
                graph.unseen[node.index] = count

    def _add(self, graph: Graph, instruction: Instruction) -> None:
        """A node, behind the constants that it uses, with its edges."""
        is_input = instruction.opcode.code in INPUTS
        cut = instruction.position in self.cut
        read = [] if is_input or cut else reads(self.tape, instruction)
        shape = self._shape(graph, instruction, read)
        parents = [graph.by_slot[r.first] if r.first >= 0
                   else self._constant(graph, instruction, r, shape) for r in read]  # fmt: skip
        out = instruction.out
        node = Node(graph, OPERATION, instruction.name, shape, numbers_at(graph.v, out, shape))
        if is_input:
            kept = self.wanted is None or out in self.wanted
            node.kind, node.op, node.symbol = (INPUT if kept else PARAMETER), "input", ""
        elif instruction.name == "call":
            node.op = node.symbol = self._called(instruction)
        node.instruction = instruction.position
        if self.g is not None and node.kind != PARAMETER:
            node.adjoint = numbers_at(self.g, out, shape)
        node.line = self._line(instruction.position)
        graph.nodes.append(node)
        graph.by_slot[out] = node
        node.inputs = [Edge(graph, parent.index, node.index, r)
                       for r, parent in zip(read, parents, strict=True)]  # fmt: skip
        graph.edges += node.inputs

    def _shape(self, graph: Graph, instruction: Instruction, read: list[Read]) -> Shape:
        size, known = instruction.size, self.shapes.get(instruction.out)
        if known is not None and np.prod(known, dtype=np.int64) == size:
            return known
        if instruction.opcode.code in INPUTS:
            return (size,) if size > 1 else ()
        operands = [(r, graph.by_slot[r.first].shape) for r in read if r.first >= 0]
        return result_shape(self.tape, instruction, operands)

    def _called(self, instruction: Instruction) -> str:
        call = self.tape.calls[self.tape.kind_word(instruction.position)]
        return "scan" if call.loop is not None else str(call.primitive.name)

    def _constant(
        self, graph: Graph, instruction: Instruction, read: Read, of_result: Shape
    ) -> Node:
        """A node for a constant operand; one that goes along with the result has its shape."""
        shape: Shape = ()
        if instruction.wide:
            walk = read.walk
            shape = tuple(n for n, s in zip(walk.extents, walk.strides, strict=True) if s)
            moving = tuple(s for s in walk.strides if s)
            numbers = self.tape.constants[walk._replace(extents=shape, strides=moving).places()]
            shape = of_result if len(numbers) == np.prod(of_result) > 1 else shape
        else:
            numbers = np.array([instruction.operands[read.operand]])
        node = Node(graph, CONSTANT, "constant", shape, numbers_at(numbers, 0, shape))
        node.symbol = ""
        graph.nodes.append(node)
        return node

    def _line(self, i: int) -> str | None:
        lines = self.tape.lines
        key = lines[i] if lines is not None else None
        if key is None:
            return None
        if key not in self.lines:
            self.lines[key] = f"{key[0].co_filename}:{line_number(*key)}"
        return self.lines[key]

    def _name(self, graph: Graph) -> None:
        """Names of nodes: constants are called by their numbers."""
        unnamed = [(slot, node.instruction or 0) for slot, node in graph.by_slot.items()
                   if slot not in self.names]  # fmt: skip
        names = dict(self.names)
        invented(names, unnamed)
        for slot, node in graph.by_slot.items():
            node.name = names[slot]
        constants = 0
        for node in graph.nodes:
            if node.kind == CONSTANT:
                constants += bool(node.shape)
                node.name = f"k{constants}" if node.shape else numeral(node.value)

    def _results(self, graph: Graph) -> list[int]:
        if self.root >= 0:
            first = self.tape.span_of(self.root)[0]
            return [graph.by_slot[first].index] if first in graph.by_slot else []
        read = {edge.parent for edge in graph.edges}
        return [n.index for n in graph.nodes
                if n.kind == OPERATION and n.index not in read]  # fmt: skip


def numbers_at(numbers: np.ndarray, first: int, shape: Shape) -> Any:
    """A float, or an array of this shape, from a buffer."""
    if not shape:
        return float(numbers[first])
    return numbers[first : first + int(np.prod(shape, dtype=np.int64))].reshape(shape)
