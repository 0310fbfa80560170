"""The reverse walk as steps: the seed, one step an edge, and a sum where paths meet.

Symbols come first and numbers second, ``dc/da = dc/db · db/da`` and ``−0.962606 · 1 = −0.962606``;
each step can write both as text and as LaTeX.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..graph import Edge, Graph, Node
from ..graph.notation import DIGITS, PRODUCT, LatexWriter, Writer, latex_name
from ..graph.symbols import literal

SEED, EDGE, TOTAL = "seed", "edge", "total"
TERMS = 4  # of a sum of paths that are written out


def derivative(top: str, bottom: str, latex: bool = False) -> str:
    r"""``dc/da``, or ``\frac{dc}{da}``."""
    if latex:
        return rf"\frac{{d{latex_name(top)}}}{{d{latex_name(bottom)}}}"
    return f"d{top}/d{bottom}"


def top_of(root: Node) -> str:
    """What is differentiated: the root by its name, one element of it, or ``L``, the sum of its
    seed times it."""
    seed = np.ravel(np.asarray(root.adjoint))
    if len(seed) == seed[0] == 1:
        return root.name
    if root.shape and np.count_nonzero(seed) == 1 and seed.max() == 1:
        index = np.unravel_index(int(seed.argmax()), root.shape)
        return f"{root.name}[{', '.join(map(str, map(int, index)))}]"
    taken = {node.name for node in root.graph.nodes}
    return next((name for name in "LJS" if name not in taken), "L′")


class Step:
    """One step of the walk: what it adds to the derivative of the root by `node`.

    `top` is what is differentiated: the name of the root, or of its product with a seed.
    `kind` is "seed", "edge" or "total"; `edges` are those that it goes along, none for the seed;
    `through` is the operation that hands back (of a total the last to do so), None for the seed.
    `path` counts the paths that meet in the node, in the order of the program, `paths` is how many
    they are, else both are 1.  `value` is what the
    step adds, or the total.
    """

    def __init__(
        self, kind: str, root: Node, node: Node, edges: list[Edge], value: Any,
        path: tuple[int, int] = (1, 1), digits: int = DIGITS,
    ) -> None:  # fmt: skip
        self.kind, self.root, self.node, self.edges, self.value = kind, root, node, edges, value
        self.path, self.paths = path
        self.top = top_of(root)
        self.seeded = self.top != root.name
        self.text, self.latex = Writer(digits), LatexWriter(digits)
        parts = {edge.part for edge in edges}
        self.part = parts.pop() if len(parts) == 1 else ""  # of the node
        self.through = self.node.graph.nodes[edges[0].child] if edges else None

    def __repr__(self) -> str:
        return f"<{self.kind} step: {self.symbols} = {self.numbers}>"

    @property
    def symbols(self) -> str:
        """``dc/da = dc/db · db/da``."""
        return " = ".join(self.symbols_in(self.text))

    @property
    def numbers(self) -> str:
        """``−0.962606 · 1 = −0.962606``."""
        return " = ".join(self.numbers_in(self.text))

    @property
    def latex_symbols(self) -> str:
        return " = ".join(self.symbols_in(self.latex))

    @property
    def latex_numbers(self) -> str:
        return " = ".join(self.numbers_in(self.latex))

    @property
    def note(self) -> str:
        """``path 1 of 2``, ``already computed``: what else a reader should know."""
        if self.kind == SEED:
            return "the seed" if self.seeded else "the walk begins with 1"
        if self.kind == TOTAL:
            return f"total of {self.paths} paths"
        notes = [self.which] if self.which else []
        assert self.through is not None
        if self.through is not self.root or self.seeded:
            notes.append(f"{derivative(self.top, self.through.name)} already computed")
        return ", ".join(notes)

    @property
    def which(self) -> str:
        """``path 1 of 2`` where several paths meet, else "".

        Where an operation reads the node twice, it also says as which operand.
        """
        if self.paths == 1:
            return ""
        text = f"path {self.path} of {self.paths}"
        edge = self.edges[0]
        twice = [e for e in self.node.graph.nodes[edge.child].inputs if e.parent == edge.parent]
        return text if len(twice) == 1 else f"{text}, by operand {edge.operand + 1}"

    @property
    def shapes(self) -> str:
        """``(1×2)(2×3) = (1×3)`` where arrays take part, else ""."""
        if self.kind != EDGE:
            return ""
        rows, columns = self.edges[0].jacobian_shape
        if rows == columns == 1:
            return ""
        return f"(1×{rows})({rows}×{columns}) = (1×{columns})"

    # --- sides of the equation --------------------------------------------------------------------

    def symbols_in(self, n: Writer) -> list[str]:
        """What is computed, and what from."""
        latex = n.latex
        left = derivative(self.top, self.node.name + self.part, latex)
        if self.kind == SEED:
            return [left]
        if self.kind == EDGE:
            return without_repeats([left, *self._products(self.edges[0], n)])
        if self.paths <= TERMS:
            terms = [self._products(edge, n)[0] for edge in self.edges]
        else:
            path = r"\text{{path {}}}" if latex else "path {}"
            terms = [path.format(1), path.format(2), r"\dots" if latex else "…",
                     path.format(self.paths)]  # fmt: skip
        return [left, " + ".join(terms)]

    def _products(self, edge: Edge, n: Writer) -> list[str]:
        """``dc/db · db/da``, and with the formula of the local derivative where there is one."""
        child, latex = self.node.graph.nodes[edge.child], n.latex
        formula = edge.local_formula
        local = derivative(child.name, self.node.name + edge.part, latex)
        written = "" if formula is None else n.write(formula)
        if child is self.root and not self.seeded:
            return [written or local]
        above = derivative(self.top, child.name, latex)
        sides = [f"{above}{_dot(n)}{local}"]
        if formula is not None and literal(formula) is None:
            sides.append(f"{above}{_dot(n)}{n.within(formula, PRODUCT)}")
        return sides

    def numbers_in(self, n: Writer) -> list[str]:
        """The same in numbers, with the result as the last one."""
        result = n.numerals(self.value)
        if self.kind == SEED:
            return [result]
        if self.kind == TOTAL:
            if self.paths > TERMS or np.ndim(self.value):
                return [result]
            terms = [_bracketed(n.numeral(edge.contribution), j) for j, edge in
                     enumerate(self.edges)]  # fmt: skip
            return [" + ".join(terms), result]
        child, local = self.through, self.edges[0].local
        assert child is not None
        if (
            (child is self.root and not self.seeded)
            or child.shape
            or np.ndim(self.value)
            or local is None
        ):
            return [result]
        return [f"{n.numeral(child.adjoint)}{_dot(n)}{_bracketed(n.numeral(local))}", result]


def _bracketed(text: str, place: int = 1) -> str:
    """A negative number behind another one."""
    return f"({text})" if place and text[0] in "−-" else text


def _dot(n: Writer) -> str:
    return n.times if n.latex else f" {n.times} "


def without_repeats(sides: list[str]) -> list[str]:
    """Sides of an equation without those that say what stands in front of them."""
    return [side for j, side in enumerate(sides) if not j or side != sides[j - 1]]


# --- the walk -------------------------------------------------------------------------------------


def steps_of(graph: Graph, digits: int = DIGITS) -> list[Step]:
    """The reverse walk over a graph with one result and adjoints, as steps.

    Of a piece of a program, totals that need the rest are left out.
    """
    (root,) = (graph.nodes[j] for j in graph.results)
    counts = _Paths(graph, graph.unseen)
    steps = [Step(SEED, root, root, [], root.adjoint, digits=digits)]
    arrived: dict[Any, dict[int, tuple[Edge, Any]]] = {}
    reached = {root.index}
    for node in reversed(graph.nodes):
        if node.index not in reached:
            continue
        for edge in node.inputs:
            if not edge.differentiable:
                continue
            parent, key, value = graph.nodes[edge.parent], counts.key(edge), edge.contribution
            reached.add(parent.index)
            path, paths = counts.number(edge), counts.of[key]
            known = arrived.setdefault(key, {})
            known[path] = edge, value
            steps.append(Step(EDGE, root, parent, [edge], value, (path, paths), digits))
            if len(known) == paths > 1:
                ordered = [known[j] for j in sorted(known)]
                edges = [e for e, _ in ordered]
                steps.append(
                    Step(TOTAL, root, parent, edges, _total(ordered), (paths, paths), digits)
                )
    return steps


def _total(known: list[tuple[Edge, Any]]) -> Any:
    """The sum over paths to a node, or to one part of it."""
    edges = [edge for edge, _ in known]
    if len({edge.part for edge in edges}) == 1:
        return sum((value for _, value in known[1:]), known[0][1])
    parent = edges[0].graph.nodes[edges[0].parent]
    total = np.zeros(parent.size)
    for edge, value in known:
        places = edge.elements.places
        total[slice(None) if places is None else places] += np.ravel(value)
    return total.reshape(parent.shape)


class _Paths:
    """How many paths of one step lead to each node, or to each of its parts, if those are read
    apart."""

    def __init__(self, graph: Graph, unseen: Mapping[int, int]) -> None:
        self.parts: dict[int, bool] = {}  # whether parts of this node are counted apart
        live = _live(graph)
        for parent, edges in live.items():
            self.parts[parent] = parent not in unseen and _disjoint(edges)
        self.of: dict[Any, int] = {}
        self._numbers: dict[tuple[int, int, str], int] = {}
        for parent, edges in live.items():
            for edge in sorted(edges, key=lambda edge: (edge.child, edge.operand)):
                key = self.key(edge)
                # What is not seen stands in front: a piece is the end of a program.
                self.of[key] = self.of.get(key, unseen.get(parent, 0)) + 1
                self._numbers[edge.child, edge.operand, edge.part] = self.of[key]

    def number(self, edge: Edge) -> int:
        """Which of the paths to its node an edge is, in the order of the program, from 1 on."""
        return self._numbers[edge.child, edge.operand, edge.part]

    def key(self, edge: Edge) -> Any:
        return (edge.parent, edge.part) if self.parts[edge.parent] else edge.parent


def _live(graph: Graph) -> dict[int, list[Edge]]:
    """The edges that the walk goes along, by the numbers of their parents."""
    found: dict[int, list[Edge]] = {}
    reached = set(graph.results)
    for node in reversed(graph.nodes):
        for edge in node.inputs if node.index in reached else ():
            if edge.differentiable:
                reached.add(edge.parent)
                found.setdefault(edge.parent, []).append(edge)
    return found


def _disjoint(edges: list[Edge]) -> bool:
    """Whether the parts of a node that edges read are the same or have no element in common."""
    if len(edges) == 1 or not edges[0].graph.nodes[edges[0].parent].shape:
        return True
    parts = {edge.part: edge.elements for edge in edges}
    if len(parts) == 1:
        return True
    if "" in parts:
        return False
    places = np.concatenate([part.places for part in parts.values() if part.places is not None])
    return len(np.unique(places)) == len(places)
