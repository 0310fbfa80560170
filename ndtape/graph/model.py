"""A tape as nodes and edges: what pictures and explanations are made of.

A node is what one instruction computes, an input, or a constant where it is used; an edge leads
from an operand to the operation that reads it.  Formulas, local derivatives and what flows along an
edge are worked out when somebody asks, so that the graph of a long tape is quickly made.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import rules
from ..tape import SYMBOLS, Instruction, Tape
from . import derivatives
from .derivatives import Alone, Elements, Product, has_partial, row_of
from .notation import LATEX, TEXT
from .reading import Part, Read, Shape, loops_of, part_of
from .symbols import Node as Formula
from .symbols import expression

INPUT, PARAMETER, CONSTANT, OPERATION = "input", "parameter", "constant", "operation"
SIGNS = {**SYMBOLS, "subtract": "−", "multiply": "·", "negative": "−", "power": "^", "dot": "@",
         "sum": "Σ", "wide_input": "input"}  # fmt: skip


class Node:
    """A value of the program, and its adjoint where there is one.

    `index` is its place in `Graph.nodes`, `instruction` the position on the tape (of a constant
    None), `kind` "input", "parameter" (an input whose derivative nobody asked for), "constant" or
    "operation".  `op` is the operation's name, `symbol` a short sign for it.  `value` and `adjoint`
    are floats or arrays of `shape`; `line` is ``file:line`` where lines were recorded.
    """

    __slots__ = ("graph", "index", "instruction", "kind", "op", "symbol", "name", "shape", "value",
                 "adjoint", "line", "inputs")  # fmt: skip

    def __init__(self, graph: Graph, kind: str, op: str, shape: Shape, value: Any) -> None:
        self.graph = graph
        self.index = len(graph.nodes)
        self.kind, self.op, self.shape, self.value = kind, op, shape, value
        self.symbol = SIGNS.get(op, op)
        self.name = ""
        self.instruction: int | None = None
        self.adjoint: Any = None
        self.line: str | None = None
        self.inputs: list[Edge] = []  # one an operand, in their order

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}: {self.op}, shape {self.shape}>"

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def formula(self) -> Formula:
        """What it computes, over the names of its operands; a constant, or its own name."""
        if self.kind == CONSTANT and not self.shape:
            return rules.number(self.value)
        if self.kind != OPERATION:
            return ast.Name(self.name)
        return self.applied([edge.operand_formula for edge in self.inputs])

    def applied(self, operands: list[Formula]) -> Formula:
        """Its operation on other operands."""
        row = row_of(self._instruction)
        if row is not None:
            if row.name == "multiply" and self.graph.nodes[self.inputs[1].parent].kind == CONSTANT:
                operands = operands[::-1]  # a number stands in front
            return expression(row, operands)
        if self.op == "dot":
            product = Product(loops_of(self.graph.tape, self._instruction), *operands).text
            return rules.call("dot", *operands) if product is None else product
        return rules.call(self.op, *operands)

    @property
    def expression(self) -> str:
        """What it computes, as text: ``sin b``."""
        return TEXT.write(self.formula)

    @property
    def latex(self) -> str:
        r"""What it computes, in LaTeX: ``\sin b``."""
        return LATEX.write(self.formula)

    @property
    def _instruction(self) -> Instruction:
        assert self.instruction is not None
        return self.graph.tape.instruction(self.instruction)

    def elements(self) -> Elements:
        """Its numbers as an elementwise operation meets them."""
        reads = [edge.read for edge in self.inputs]
        return Elements(self.graph.tape, self._instruction, self.graph.v, reads)

    def own_adjoints(self) -> np.ndarray:
        """Its adjoints as a vector."""
        return np.ravel(np.asarray(self.adjoint, np.float64))


class Edge:
    """How an operation (`child`) reads one of its operands (`parent`): both are numbers of nodes.

    `operand` counts the operands from 0.  Where only some elements are read, `part` says which, as
    it stands behind the parent's name (``[2]``, ``[1:3]``), else it is "".
    """

    __slots__ = ("graph", "parent", "child", "operand", "read", "_part")

    def __init__(self, graph: Graph, parent: int, child: int, read: Read) -> None:
        self.graph, self.parent, self.child, self.read = graph, parent, child, read
        self.operand = read.operand
        self._part: Part | None = None

    def __repr__(self) -> str:
        nodes = self.graph.nodes
        return f"<edge {nodes[self.parent].name}{self.part} -> {nodes[self.child].name}>"

    # --- what is read -----------------------------------------------------------------------------

    @property
    def elements(self) -> Part:
        """The elements of the parent that are read."""
        if self._part is None:
            parent = self.graph.nodes[self.parent]
            if parent.kind == CONSTANT:
                self._part = Part("", parent.shape, None)
            else:
                self._part = part_of(self.read, parent.shape)
        return self._part

    @property
    def part(self) -> str:
        return self.elements.text

    @property
    def operand_formula(self) -> Formula:
        """The operand as it stands in formulas: a name, with `part`, or a constant."""
        parent = self.graph.nodes[self.parent]
        if parent.kind == CONSTANT:
            return parent.formula
        return ast.Name(parent.name + self.part)

    @property
    def jacobian_shape(self) -> tuple[int, int]:
        """Rows and columns of the child's derivative by what is read."""
        size = int(np.prod(self.elements.shape, dtype=np.int64))
        return self.graph.nodes[self.child].size, size

    # --- derivatives ------------------------------------------------------------------------------

    @property
    def differentiable(self) -> bool:
        """Whether a derivative passes: not to constants and parameters, nor where the table has
        none."""
        child = self.graph.nodes[self.child]
        if self.graph.nodes[self.parent].kind in (CONSTANT, PARAMETER):
            return False
        instruction = child._instruction
        row = row_of(instruction)
        if row is not None:
            return has_partial(row, self.operand)
        if instruction.name == "call":
            call = self.graph.tape.calls[self.graph.tape.kind_word(instruction.position)]
            return call.primitive.vjp is not None
        return not (instruction.name in ("gather", "scatter_add") and self.operand == 1)

    @property
    def local(self) -> Any:
        """The local derivative: a number; for elementwise operations on arrays an array shaped like
        the result; None for constants, parameters, and where the Jacobian is no diagonal."""
        child = self.graph.nodes[self.child]
        if not self.differentiable or row_of(child._instruction) is None:
            return None
        return derivatives.elementwise_local(child.elements(), self.operand, child.shape)

    @property
    def local_formula(self) -> Formula | None:
        """The local derivative as a formula; None for constants and where there is no short one."""
        if not self.differentiable:
            return None
        child = self.graph.nodes[self.child]
        operands = [edge.operand_formula for edge in child.inputs]
        row = row_of(child._instruction)
        if row is None:
            return derivatives.wide_symbol(
                self.graph.tape, child._instruction, self.operand, operands
            )
        names = dict(zip(row.operands, operands, strict=True))
        names["z"] = ast.Name(child.name)
        values = child.elements().values()
        return derivatives.elementwise_symbol(
            row, self.operand, names, values, child.size, self.elements
        )

    def _written(self, write: Callable[[Formula], str]) -> str:
        if not self.differentiable:
            return "" if self.graph.nodes[self.parent].kind in (CONSTANT, PARAMETER) else "0"
        formula = self.local_formula
        return "" if formula is None else write(formula)

    @property
    def symbolic(self) -> str:
        """The local derivative in symbols, ``cos a``; "" for constants and where none is short."""
        return self._written(TEXT.write)

    @property
    def latex(self) -> str:
        """`symbolic` in LaTeX."""
        return self._written(LATEX.write)

    @property
    def contribution(self) -> Any:
        """What flows to the parent along this edge: a number, or an array shaped like the part that
        is read; None for constants, and where the graph has no adjoints."""
        child = self.graph.nodes[self.child]
        if not self.differentiable or child.adjoint is None:
            return None
        w, instruction = child.own_adjoints(), child._instruction
        if row_of(instruction) is not None:
            return derivatives.elementwise_flow(
                child.elements(), self.operand, self.read, self.elements, w
            )
        if self.read.chosen is not None:
            return derivatives.gathered(w[self.read.chosen], self.read.offsets, self.elements)
        alone = Alone(self.graph.tape, instruction, self.graph.v)
        return derivatives.flow(alone, self.read, self.elements, w)


class Graph:
    """Nodes in the order of execution, and the edges between them; see `graph_of`.

    `results` are the numbers of the nodes that were asked for, or that nothing reads.  Of a piece
    of a program, `left_out` counts the operations that are missing, and `unseen`, by numbers of
    nodes, how often those read the nodes that are here.
    """

    def __init__(self, tape: Tape, v: np.ndarray) -> None:
        self.tape = tape
        self.v = v  # the values, by slots
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.results: list[int] = []
        self.by_slot: dict[int, Node] = {}  # first slot -> node
        self.left_out = 0
        self.unseen: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<graph of {len(self.nodes)} nodes and {len(self.edges)} edges>"

    def readers(self) -> list[list[Edge]]:
        """For each node, the edges that lead away from it, in the order of execution."""
        found: list[list[Edge]] = [[] for _ in self.nodes]
        for edge in self.edges:
            found[edge.parent].append(edge)
        return found
