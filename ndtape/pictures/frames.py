"""A picture a step: the same scene, in which values or adjoints appear one after another.

The lines below the pictures are those of `tape.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from ..explain.steps import TOTAL, Step, derivative, steps_of
from ..graph.model import OPERATION, Graph
from ..graph.notation import numerals
from .numbers import LONGEST_SUM, joined
from .scene import Arrow, Box, Line, Scene


def reverse_frames(scene: Scene, graph: Graph, digits: int) -> list[Scene]:
    """The walk backwards: the seed, a frame an edge, and one where paths meet."""
    if len(graph.results) != 1 or graph.nodes[graph.results[0]].adjoint is None:
        return []
    keys = {id(edge): f"e{i}" for i, edge in enumerate(graph.edges)}
    steps = steps_of(graph, digits)
    last = {step.node.index: step for step in steps}
    frames: list[Scene] = []
    walked: set[str] = set()  # edges by key
    arrived: dict[str, tuple[Line, ...] | None] = {}  # by boxes: None where all has
    terms: dict[int, list[str]] = {}
    for step in steps:
        edges, node = {keys[id(edge)] for edge in step.edges}, step.node
        walked |= edges
        terms.setdefault(node.index, []).append(numerals(step.value, digits))
        complete = last[node.index] is step
        arrived[f"n{node.index}"] = None if complete else (_waiting(step, terms[node.index]),)
        lit = edges | {f"n{node.index}"}
        if step.through is not None and step.kind != TOTAL:
            lit |= {f"n{step.through.index}", f"o{step.through.index}", f"r{step.through.index}"}
        frames.append(_frame(scene, lit, _lines_below(step), _adjoints(dict(arrived)), set(walked)))
    return frames


def _waiting(step: Step, terms: list[str]) -> Line:
    """An adjoint some of whose contributions have arrived."""
    name = derivative(step.root.name, step.node.name)
    if step.node.shape or len(terms) > LONGEST_SUM:
        return Line(f"{name}: {len(terms)} of {step.paths} paths", "adjoint")
    more = " + …" if len(terms) < step.paths else ""
    return Line(f"{name} = {joined(terms)}{more}", "adjoint")


def _adjoints(arrived: dict[str, tuple[Line, ...] | None]) -> Callable[[Box], tuple[Line, ...]]:
    """The lines of a box in a walk: adjoints only where they have arrived."""

    def lines(box: Box) -> tuple[Line, ...]:
        waiting = arrived.get(box.key, ())
        if waiting is None:
            return box.lines
        return tuple(line for line in box.lines if line.style != "adjoint") + waiting

    return lines


def forward_frames(scene: Scene, graph: Graph, digits: int) -> list[Scene]:
    """The sweep forwards: a frame an operation."""
    frames = []
    computed = {f"n{node.index}" for node in graph.nodes if node.kind != OPERATION}
    for node in graph.nodes:
        if node.kind == OPERATION:
            lit = {f"n{node.index}", f"o{node.index}", f"r{node.index}"}
            lit |= {f"e{i}" for i, edge in enumerate(graph.edges) if edge.child == node.index}
            labelled = {f"e{i}" for i, edge in enumerate(graph.edges)
                        if f"n{edge.parent}" in computed}  # fmt: skip
            computed.add(f"n{node.index}")
            below = (Line(f"{node.name} = {node.expression}", "title"),
                     Line(f"= {numerals(node.value, digits)}"))  # fmt: skip
            frames.append(_frame(scene, lit, below, _values(computed), labelled))
    return frames


def _values(computed: Collection[str]) -> Callable[[Box], tuple[Line, ...]]:
    """The lines of a box in a sweep forwards: values only where they have been computed."""
    now = set(computed)

    def lines(box: Box) -> tuple[Line, ...]:
        if box.key in now or not box.key.startswith("n"):
            return box.lines
        return tuple(line for line in box.lines if line.style != "value")

    return lines


def _frame(
    scene: Scene,
    lit: set[str],
    caption: tuple[Line, ...],
    lines: Callable[[Box], tuple[Line, ...]],
    labelled: Collection[str],
) -> Scene:
    """The scene with what is known so far, and what the step works on lit."""
    boxes = tuple(
        replace(box, lines=lines(box), tip="", state="active" if box.key in lit else box.state)
        for box in scene.boxes
    )
    arrows = tuple(_shown(arrow, lit, labelled) for arrow in scene.arrows)
    return replace(scene, boxes=boxes, arrows=arrows, caption=caption)


def _shown(arrow: Arrow, lit: set[str], labelled: Collection[str]) -> Arrow:
    lines = arrow.lines if arrow.key in labelled else ()
    return replace(arrow, lines=lines, tip="", state="active" if arrow.key in lit else "")


def _lines_below(step: Step) -> tuple[Line, ...]:
    """What `tape.explain` prints of a step: symbols, numbers, a note."""
    below = (Line(step.symbols, "title"), Line(f"= {step.numbers}"))
    return (*below, Line(step.note, "note")) if step.note else below
