"""`tape.explain(y)`: the reverse walk as a lecture would write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np

from .. import rules
from ..errors import ArgumentError
from ..graph import Graph, Node, graph_of
from ..graph.model import CONSTANT, INPUT, OPERATION, PARAMETER
from ..graph.notation import DIGITS, SPECIAL, LatexWriter, Writer, grouped, shape_text
from ..tape import Tape
from ..traced.program import short
from .steps import SEED, TOTAL, Step, derivative, steps_of, without_repeats

STEPS = 50


def explain(
    tape: Tape,
    y: Any = None,
    *,
    seed: Any = None,
    names: Mapping[str, Any] | None = None,
    wrt: Any = None,
    steps: int = STEPS,
    digits: int = DIGITS,
) -> Walkthrough:
    """How the derivatives of `y` come about; see `Tape.explain`."""
    if steps < 1 or digits < 1:
        raise ArgumentError("explain(y) takes steps and digits of at least 1")
    if not len(tape.whole()):
        raise ArgumentError("there is nothing on this tape to explain")
    graph = graph_of(tape, y, seed=seed, names=names, wrt=wrt, most=steps)
    if len(graph.results) != 1:
        raise ArgumentError(
            "this tape has several results: say which one to explain, tape.explain(y)"
        )
    root = graph.nodes[graph.results[0]]
    if root.adjoint is None:
        shape = getattr(y, "shape", root.shape)
        raise ArgumentError(
            f"explain(y) takes a number, and this array has the shape {shape}: reduce it, or "
            "give a seed of its shape, whose product with y is then explained"
        )
    return Walkthrough(graph, digits)


class Walkthrough:
    """The program and its reverse walk: print it, or take `.markdown()` or `.latex()`.

    `graph` is what it is about, and `steps` what it says, see `Step`.
    """

    def __init__(self, graph: Graph, digits: int = DIGITS) -> None:
        self.graph, self.digits = graph, digits
        self.steps = steps_of(graph, digits)
        self.root, self.top = self.steps[0].node, self.steps[0].top

    def __str__(self) -> str:
        return _Text(self).document()

    __repr__ = __str__

    def markdown(self) -> str:
        """The same with headings, lists and formulas between dollar signs."""
        return _Markdown(self).document()

    def latex(self) -> str:
        """The same as LaTeX for amsmath, to be put into a document."""
        return _Latex(self).document()

    def _repr_markdown_(self) -> str:
        return self.markdown()

    @property
    def gradient(self) -> dict[str, Any]:
        """The derivatives by the inputs, by their names."""
        return {n.name: n.adjoint for n in self.graph.nodes
                if n.kind == INPUT and n.adjoint is not None}  # fmt: skip


class _Text:
    """Writes a walkthrough as text; the others differ in signs and in what stands around."""

    writer: Writer = Writer()
    latex = False

    def __init__(self, walk: Walkthrough) -> None:
        self.walk = walk
        self.writer = LatexWriter(walk.digits) if self.latex else Writer(walk.digits)

    # --- the three parts --------------------------------------------------------------------------

    def document(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        left_out = self.walk.graph.left_out
        yield self.heading("The program")
        yield from self.block(self.forward())
        if left_out:
            yield self.remark(f"… {grouped(left_out)} operations before the last ones")
        yield ""
        yield self.heading(self.title_of_walk())
        yield from self.backward()
        if left_out:
            yield self.remark(f"… {grouped(left_out)} steps more, down to the inputs")
        yield ""
        yield self.heading("The result")
        yield from self.block(self.result())

    def title_of_walk(self) -> str:
        top = self.math(self.name(self.walk.top))
        if self.walk.top.partition("[")[0] == self.walk.root.name:
            return f"The walk back from {top}"
        root = self.math(self.name(self.walk.root.name))
        return f"The walk back from {top}, the sum of a seed times {root}"

    def forward(self) -> Iterator[str]:
        """A line for each node."""
        cut = [n for n in self.walk.graph.nodes if n.kind == OPERATION and not n.inputs]
        for node in self.walk.graph.nodes:
            if node.kind == CONSTANT and not node.shape:
                continue
            sides = [self.name(node.name)]
            if node.kind == OPERATION and node not in cut:
                sides.append(self.writer.write(node.formula))
                numbers = self.in_numbers(node)
                sides += [numbers] if numbers else []
            sides.append(self.writer.numerals(node.value))
            yield self.equation(without_repeats(sides), self.kind_of(node, node in cut))

    def in_numbers(self, node: Node) -> str:
        """The formula of a number with its operands in numbers."""
        nodes = self.walk.graph.nodes
        if node.shape or any(edge.elements.shape for edge in node.inputs):
            return ""
        operands = []
        for edge in node.inputs:
            value = np.ravel(nodes[edge.parent].value)
            places = edge.elements.places
            operands.append(rules.number(float(value[0 if places is None else places[0]])))
        return self.writer.write(node.applied(operands))

    def kind_of(self, node: Node, cut: bool) -> str:
        words = {INPUT: "input", PARAMETER: "parameter", CONSTANT: "constant"}
        word = "computed before" if cut else words.get(node.kind, "")
        parts = [word, shape_text(node.shape) if len(node.shape) > 1 else ""]
        if node.line and node.kind == OPERATION:
            parts.append(self.verbatim(short(node.line)))
        return ", ".join(filter(None, parts))

    def backward(self) -> Iterator[str]:
        """The seed, then the operations from the last to the first."""
        first, *rest = self.walk.steps
        yield from self.block([self.step(first)])
        number = 0
        for through, steps in groupby(rest, lambda step: step.through):
            assert through is not None
            number += 1
            yield self.visit(number, through)
            yield from self.block(map(self.step, steps))

    def visit(self, number: int, node: Node) -> str:
        """The heading of an operation's steps."""
        what = f"{self.name(node.name)} = {self.writer.write(node.formula)}"
        if node is self.walk.root:
            return self.title(number, what, "")
        top = derivative(self.walk.top, node.name, self.latex)
        known = self.math(f"{top} = {self.writer.numerals(node.adjoint)}")
        return self.title(number, what, f"{known} is already computed")

    def step(self, step: Step) -> str:
        sides = step.symbols_in(self.writer) + step.numbers_in(self.writer)
        notes = [step.shapes] if step.shapes else []
        if step.kind == TOTAL:
            notes.append("total")
        elif step.kind == SEED and step.seeded:
            notes.append("the seed")
        elif step.which:
            notes.append(step.which)
        return self.equation(without_repeats(sides), ", ".join(notes))

    def result(self) -> Iterator[str]:
        shown = [n for n in self.walk.graph.nodes if n.kind == INPUT and n.adjoint is not None]
        for node in shown:
            top = derivative(self.walk.top, node.name, self.latex)
            yield self.equation([top, self.writer.numerals(node.adjoint)], "")

    # --- signs ------------------------------------------------------------------------------------

    def name(self, name: str) -> str:
        return self.writer.name(name)

    def heading(self, text: str) -> str:
        return text

    def remark(self, text: str) -> str:
        return f"  {text}"

    def title(self, number: int, what: str, known: str) -> str:
        return f"  {number}. through {what}" + (f"; {known}" if known else "")

    def math(self, text: str) -> str:
        return text

    def verbatim(self, text: str) -> str:
        """Text that is none of ours: a place in a file."""
        return text

    def equation(self, sides: list[str], note: str) -> str:
        text = " = ".join(sides)
        return f"{text:<60}  {note}".rstrip() if note else text

    def block(self, lines: Any) -> Iterator[str]:
        return (f"     {line}" for line in lines)


class _Markdown(_Text):
    latex = True

    def heading(self, text: str) -> str:
        return f"### {text}\n"

    def remark(self, text: str) -> str:
        return f"\n{text}"

    def title(self, number: int, what: str, known: str) -> str:
        return f"{number}. through ${what}$" + (f"; {known}" if known else "") + "\n"

    def math(self, text: str) -> str:
        return f"${text}$"

    def verbatim(self, text: str) -> str:
        return f"`{text.replace('`', '')}`"

    def equation(self, sides: list[str], note: str) -> str:
        return f"${' = '.join(sides)}$" + (f" ({note})" if note else "")

    def block(self, lines: Any) -> Iterator[str]:
        yield from (f"   - {line}" for line in lines)
        yield ""


class _Latex(_Text):
    latex = True

    def heading(self, text: str) -> str:
        return rf"\paragraph{{{text}}}"

    def remark(self, text: str) -> str:
        return rf"\par {text}"

    def title(self, number: int, what: str, known: str) -> str:
        return rf"\par {number}. through ${what}$" + (f"; {known}" if known else "")

    def math(self, text: str) -> str:
        return f"${text}$"

    def verbatim(self, text: str) -> str:
        return rf"\texttt{{{text.translate(SPECIAL)}}}"

    def equation(self, sides: list[str], note: str) -> str:
        left, *right = sides
        comment = rf" && \text{{{note}}}" if note else ""
        return f"{left} &= {' = '.join(right)}{comment}"

    def block(self, lines: Any) -> Iterator[str]:
        yield r"\begin{align*}"
        yield " \\\\\n".join(lines)
        yield r"\end{align*}"
