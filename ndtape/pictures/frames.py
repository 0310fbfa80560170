"""A picture a step: the same scene, in which values or adjoints appear one after another.

The lines below the pictures are those of `tape.explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from ..explain.steps import EDGE, TOTAL, Step, steps_of
from ..graph.model import OPERATION, Graph
from ..graph.notation import numerals
from .scene import Arrow, Box, Line, Scene


def reverse_frames(scene: Scene, graph: Graph, digits: int) -> list[Scene]:
    """The walk backwards: the seed, a frame an edge, and one where paths meet."""
    if len(graph.results) != 1 or graph.nodes[graph.results[0]].adjoint is None:
        return []
    numbers = {id(edge): f"e{i}" for i, edge in enumerate(graph.edges)}
    frames: list[Scene] = []
    walked: dict[str, Step] = {}  # edges by key
    known: dict[int, tuple[Step, bool]] = {}  # nodes: the last step, and whether it completes
    for step in steps_of(graph, digits):
        for edge in step.edges:
            walked[numbers[id(edge)]] = step
        before = known.get(step.node.index, (step, False))[1]
        known[step.node.index] = step, before or step.kind != EDGE or step.paths == 1
        lit = {numbers[id(edge)] for edge in step.edges} | {f"n{step.node.index}"}
        if step.through is not None and step.kind != TOTAL:
            lit |= {f"n{step.through.index}", f"o{step.through.index}", f"r{step.through.index}"}
        frames.append(_frame(scene, lit, _lines_below(step), _adjoints(known), walked))
    return frames


def _adjoints(known: dict[int, tuple[Step, bool]]) -> Callable[[Box], tuple[Line, ...]]:
    """The lines of a box in a walk: adjoints only where they have arrived."""

    def lines(box: Box) -> tuple[Line, ...]:
        found = known.get(int(box.key[1:])) if box.key.startswith("n") else None
        kept = tuple(line for line in box.lines if line.style != "adjoint")
        if found is None:
            return kept
        step, complete = found
        if complete:
            return box.lines
        waiting = f"{step.symbols.partition(' = ')[0]}: {step.path} of {step.paths} paths"
        return (*kept, Line(waiting, "adjoint"))

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
    below = [Line(step.symbols, "title"), Line(f"= {step.numbers}")]
    return tuple(below + ([Line(step.note, "note")] if step.note else [Line(" ", "note")]))
