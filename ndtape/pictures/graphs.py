"""The scene of a graph: values and operations as nodes, or operations on the edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..explain.steps import derivative
from ..graph.model import CONSTANT, OPERATION, PARAMETER, Edge, Graph, Node
from ..graph.notation import numeral
from .metrics import shortened
from .numbers import LONGEST_SUM, joined, lines_of
from .scene import Arrow, Box, Line, Scene

WIDEST, WIDEST_LABEL = 260.0, 220.0  # pixels of a line in a box, and of one on an edge
LOOPS = ("scan",)  # operations that stand for many
SIGNS = {"·": "×"}  # that are too small to stand alone


@dataclass(frozen=True)
class Options:
    """How a graph is drawn.

    `sweep` is "forward" (values on the edges) or "reverse" (arrows reversed, local derivatives on
    the edges, adjoints in the nodes), `operations` where operations stand: "nodes" or "edges".
    `blank` leaves room for what a learner is to fill in.
    """

    sweep: str = "reverse"
    operations: str = "nodes"
    digits: int = 4
    blank: bool = False


class Painter:
    """Makes boxes and arrows of the nodes and edges of one graph."""

    def __init__(self, graph: Graph, options: Options) -> None:
        self.graph, self.options = graph, options
        self.readers = graph.readers()
        self.reverse = options.sweep == "reverse"
        results = [graph.nodes[i].name for i in graph.results]
        self.result = results[0] if len(results) == 1 else ""

    def scene(self) -> Scene:
        """The whole graph."""
        boxes = [self.box(node) for node in self.graph.nodes]
        if self.options.operations == "nodes":
            arrows = [self.arrow(edge, i) for i, edge in enumerate(self.graph.edges)]
        else:
            boxes += [self.junction(node) for node in self.graph.nodes if node.inputs]
            arrows = [part for i, edge in enumerate(self.graph.edges)
                      for part in self.parts(edge, i)]  # fmt: skip
        return Scene(tuple(boxes), tuple(arrows), self.title())

    def title(self) -> str:
        """What the picture is called."""
        return f"{self.result or 'graph'}: {self.options.sweep} sweep"

    # --- nodes ------------------------------------------------------------------------------------

    def box(self, node: Node) -> Box:
        """A node with its value and its adjoint."""
        lines = [Line(self.heading(node), "title")]
        if note := self.note(node):
            lines.append(Line(note, "note"))
        if node.kind != CONSTANT or node.shape:
            known = node.kind != OPERATION or not self.options.blank
            lines += [Line(text) for text in self.numbers(node.value, known, "=")]
        if self.reverse and node.adjoint is not None and node.kind != CONSTANT:
            lines += [Line(text, "adjoint") for text in self.adjoint(node)]
        shown = (node.value, 0.0 if node.adjoint is None or not self.reverse else node.adjoint)
        state = "" if all(np.isfinite(x).all() for x in shown) else "bad"
        return Box(
            f"n{node.index}", self.look(node), tuple(map(_cut, lines)), self.tip(node), state
        )

    def look(self, node: Node) -> str:
        if node.op in LOOPS and node.kind == OPERATION:
            return "loop"
        if self.options.operations == "edges" and node.kind == OPERATION:
            return "variable"
        return node.kind

    def heading(self, node: Node) -> str:
        """The name, with what it computes."""
        if node.kind == OPERATION and self.options.operations == "nodes":
            return f"{node.name} = {node.expression}"
        return node.name

    def note(self, node: Node) -> str:
        """The shape of an array, the steps of a loop."""
        if self.look(node) == "loop":
            tape, position = self.graph.tape, node.instruction
            assert position is not None
            return f"{tape.calls[tape.kind_word(position)].loop.steps} steps"
        return str(node.shape) if node.shape else ""

    def numbers(self, x: Any, known: bool = True, sign: str = "") -> list[str]:
        """The lines of a value, or room for it."""
        return lines_of(x, self.options.digits) if known else [f"{sign} ________".strip()]

    def adjoint(self, node: Node) -> list[str]:
        """``de/db = 3 + 5 = 8``: the contributions where they are few, and their total."""
        name = self.derivative(node)
        if self.options.blank:
            return [f"{name} = ______"]
        if node.shape:
            return [f"{name} =", *self.numbers(node.adjoint)]
        paths = [edge for edge in self.readers[node.index] if edge.differentiable]
        total = numeral(node.adjoint, self.options.digits)
        if 1 < len(paths) <= LONGEST_SUM:
            parts = [numeral(float(edge.contribution), self.options.digits) for edge in paths]
            return [f"{name} = {joined(parts)} = {total}"]
        return [f"{name} = {total}"]

    def derivative(self, node: Node) -> str:
        """The name of an adjoint: ``de/db``."""
        return derivative(self.result, node.name)

    def tip(self, node: Node) -> str:
        """What a mouse finds out: everything, with more digits."""
        operation = node.kind == OPERATION
        parts = [f"{node.name} = {node.expression}" if operation else f"{node.kind} {node.name}"]
        if not (operation and self.options.blank):
            parts.append(f"value {_few(node.value)}")
        if node.adjoint is not None and not self.options.blank:
            parts.append(f"adjoint {_few(node.adjoint)}")
        if node.instruction is not None:
            parts.append(f"instruction {node.instruction}: {node.op}")
        return "\n".join([*parts, *([node.line] if node.line else [])])

    # --- edges ------------------------------------------------------------------------------------

    def arrow(self, edge: Edge, i: int) -> Arrow:
        """From parent to child, or back."""
        ends = f"n{edge.parent}", f"n{edge.child}"
        return Arrow(f"e{i}", *ends, self.label(edge), self.hint(edge), against=self.reverse,
                     headless=self.headless(edge))  # fmt: skip

    def headless(self, edge: Edge) -> bool:
        """Whether nothing flows back along an edge of a reverse sweep."""
        return self.reverse and self.graph.nodes[edge.parent].kind in (CONSTANT, PARAMETER)

    def label(self, edge: Edge) -> tuple[Line, ...]:
        """What stands on an edge."""
        parent = self.graph.nodes[edge.parent]
        if parent.kind == CONSTANT or self.headless(edge):
            return ()
        if not self.reverse:
            return self.handed(edge)
        lines = [self.local(edge)] + ([self.path(edge)] if self.forks(edge) else [])
        if edge.elements.shape:
            lines.insert(1, Line(str(edge.elements.shape), "note"))
        return tuple(_cut(line, WIDEST_LABEL) for line in lines if line.text)

    def handed(self, edge: Edge) -> tuple[Line, ...]:
        """The value that goes forwards along an edge; of an array its shape."""
        shape = edge.elements.shape
        parent = self.graph.nodes[edge.parent]
        if shape:
            text = f"{edge.part} {shape}".strip()
        elif parent.shape:
            text = edge.part
        elif self.options.blank and parent.kind == OPERATION:
            text = "____"
        else:
            text = numeral(parent.value, self.options.digits)
        return (_cut(Line(text, "local"), WIDEST_LABEL),)

    def local(self, edge: Edge) -> Line:
        """The local derivative in symbols, and the number that it is."""
        if self.options.blank:
            return Line("____", "local")
        symbols = edge.symbolic
        if edge.local is None or np.ndim(edge.local):
            return Line(symbols, "local")
        number = numeral(float(edge.local), self.options.digits)
        return Line(number if symbols in ("", number) else f"{symbols} = {number}", "local")

    def forks(self, edge: Edge) -> bool:
        """Whether several contributions arrive at the parent."""
        paths = [other for other in self.readers[edge.parent] if other.differentiable]
        return edge.differentiable and len(paths) > 1

    def path(self, edge: Edge) -> Line:
        """``path 1: 3 · 1 = 3``: what an edge of a fork contributes."""
        paths = [other for other in self.readers[edge.parent] if other.differentiable]
        name = f"path {paths.index(edge) + 1}"
        child = self.graph.nodes[edge.child]
        if self.options.blank:
            return Line(f"{name}: ____", "path")
        if edge.contribution is None:
            return Line(name, "path")
        if child.shape or edge.elements.shape or edge.local is None:
            numbers = lines_of(edge.contribution, 3)
            return Line(f"{name}: {numbers[0]}" if len(numbers) == 1 else name, "path")
        digits = self.options.digits
        w, local, product = (numeral(float(x), digits)
                             for x in (child.adjoint, edge.local, edge.contribution))  # fmt: skip
        local = f"({local})" if local.startswith("−") else local
        return Line(f"{name}: {w} · {local} = {product}", "path")

    def hint(self, edge: Edge) -> str:
        """What a mouse finds out of an edge."""
        parent, child = self.graph.nodes[edge.parent], self.graph.nodes[edge.child]
        if self.options.blank or not edge.differentiable:
            return ""
        rows, columns = edge.jacobian_shape
        return (f"{derivative(child.name, parent.name + edge.part)} = {edge.symbolic}\n"
                f"Jacobian {rows}×{columns}")  # fmt: skip

    # --- operations on the edges ------------------------------------------------------------------

    def junction(self, node: Node) -> Box:
        """Where the operands of an operation meet: its sign."""
        sign = SIGNS.get(node.symbol, node.symbol)
        return Box(f"o{node.index}", "junction", (Line(sign, "title"),), self.tip(node))

    def parts(self, edge: Edge, i: int) -> list[Arrow]:
        """From the operand to the sign, and from there, once an operation, to the result."""
        child = self.graph.nodes[edge.child]
        parts = [Arrow(f"e{i}", f"n{edge.parent}", f"o{edge.child}", self.label(edge),
                       self.hint(edge), against=self.reverse,
                       headless=not self.reverse or self.headless(edge))]  # fmt: skip
        if edge is child.inputs[-1]:
            parts.append(Arrow(f"r{edge.child}", f"o{edge.child}", f"n{edge.child}",
                               against=self.reverse, headless=self.reverse))  # fmt: skip
        return parts


def _cut(line: Line, most: float = WIDEST) -> Line:
    return Line(shortened(line.text, line.size, most), line.style)


def _few(x: Any) -> str:
    return " ".join(lines_of(x, 12))
