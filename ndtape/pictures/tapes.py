"""`tape.draw` and `nt.draw`: the picture of a tape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..graph.building import graph_of, place_on
from ..passes.optimised import OptimisedTape
from ..record import core
from ..record.arrays import Array
from ..record.values import Leaf, Var
from ..tape import Tape
from .drawing import Drawing
from .folding import INPUTS, Program
from .frames import forward_frames, reverse_frames
from .graphs import Options, Painter
from .layout import arrange
from .magnitudes import Magnitudes
from .scene import Scene
from .summary import summarised

GROUPS = 24  # that a longer tape is folded to
SWEEPS, OPERATIONS = ("reverse", "forward"), ("nodes", "edges")


def draw_tape(
    tape: Tape,
    y: Any = None,
    *,
    sweep: str,
    operations: str,
    names: Mapping[str, Any] | None,
    wrt: Any,
    seed: Any,
    digits: int,
    direction: str,
    blank: bool,
    limit: int,
    engine: str | None,
) -> Drawing:
    """The picture of a tape, see `Tape.draw`."""
    _check(sweep, SWEEPS, "sweep")
    _check(operations, OPERATIONS, "operations")
    named: Any = tape
    y = named[y] if isinstance(y, str) else y
    tape, root = root_of(tape, y)
    where = direction, engine
    if len(tape) > limit and not isinstance(tape, OptimisedTape):  # which is refused below
        program = Program(tape)
        chosen = np.ones(len(tape), bool)
        if root is not None:
            chosen = program.reached(tape.index_of_slot(root.start))
        if np.count_nonzero(chosen & ~np.isin(program.codes, INPUTS)) > limit:
            top = (root or program.only_result()) if sweep == "reverse" else None
            magnitudes = Magnitudes(program, top, seed, digits)
            scene = summarised(program, chosen, magnitudes, min(limit, GROUPS))
            return Drawing(scene, arrange([scene], *where), arrangement=where)
    graph = graph_of(tape, y, sweep == "reverse", seed=seed, names=names, wrt=wrt)
    if not graph.nodes:
        raise ArgumentError("there is nothing to draw: no operation was recorded on this tape")
    scene = Painter(graph, Options(sweep, operations, digits)).scene()
    frames = reverse_frames if sweep == "reverse" else forward_frames

    def steps() -> list[Scene]:
        return frames(scene, graph, digits)

    if not blank:
        return Drawing(scene, arrange([scene], *where), steps, where)
    quiz = Painter(graph, Options(sweep, operations, digits, blank=True)).scene()
    layout = arrange([scene, quiz], *where)
    return Drawing(quiz, layout, solution=Drawing(scene, layout, steps, where))


def root_of(tape: Tape, y: Any) -> tuple[Tape, range | None]:
    """The tape that holds a value, and its slots."""
    if y is None:
        return tape.whole(), None
    if isinstance(y, (Var, Array)):
        found, slot, size = place_on(tape, y)
        return found, range(slot, slot + size)
    if not isinstance(y, int) or not 0 <= y < tape.whole().slots:
        raise ArgumentError(
            f"draw takes a value of this tape, its name or its slot, not {y!r} of type "
            f"{type(y).__name__}"
        )
    return tape.whole(), range(y, y + 1)


def tape_of(y: Any) -> Tape:
    """The tape that a result was recorded on."""
    if not isinstance(y, (Var, Array)):
        raise ArgumentError(f"draw takes a recording value, not {type(y).__name__}")
    where = y.storage if isinstance(y, Array) else y
    if where.tape is None or isinstance(y, Leaf):
        raise ArgumentError("there is nothing to draw: no operation made this value")
    core.resolve(where)
    tape: Tape = where.tape
    return tape


def _check(given: str, known: tuple[str, ...], name: str) -> None:
    if given not in known:
        raise ArgumentError(f"{name} is one of {', '.join(map(repr, known))}, not {given!r}")
