"""The scene of a long tape: a box for each group of instructions, see folding.py."""

from __future__ import annotations

import linecache
from collections import Counter
from pathlib import PurePath

import numpy as np

from .. import memory
from ..graph.notation import grouped
from .folding import Folded, Group, Program, fold, name_of
from .magnitudes import Magnitudes
from .metrics import shortened
from .scene import BODY, TITLE, Arrow, Box, Line, Scene, counted

WIDEST = 300.0  # pixels of a line of text
NAMED = 3  # operations that a box lists
BODY_SHOWN = 5  # operations of a run's body


def summarised(program: Program, chosen: np.ndarray, magnitudes: Magnitudes, limit: int) -> Scene:
    """About `limit` groups of the chosen instructions (a mask)."""
    folded = fold(program, chosen, limit)
    boxes = [_box(program, i, group, magnitudes) for i, group in enumerate(folded.groups)]
    total = int(chosen.sum())
    caption = f"{counted(total, 'instruction')} in {counted(len(boxes), 'group')}"
    return Scene(
        tuple(boxes), tuple(_arrows(folded)), "summary of a tape", (Line(caption, "note"),)
    )


def _arrows(folded: Folded) -> list[Arrow]:
    return [
        Arrow(f"e{i}", f"g{tail}", f"g{head}", (Line(f"×{grouped(n)}", "note"),) if n > 1 else (),
              tip=f"{counted(n, 'operand')} of the second group from the first")
        for i, ((tail, head), n) in enumerate(folded.links.items())
    ]  # fmt: skip


def _box(program: Program, i: int, group: Group, magnitudes: Magnitudes) -> Box:
    title, note = _heading(program, group)
    lines = [Line(shortened(title, TITLE, WIDEST), "title")]
    if note:
        lines.append(Line(shortened(note, BODY, WIDEST), "note"))
    if group.kind != "input":
        own = f", ↻ {grouped(group.own)} results used again inside" if group.own else ""
        lines += [Line(shortened(_operations(group.counts), BODY, WIDEST)),
                  Line(f"values {memory.text(8 * group.numbers)}{own}", "note")]  # fmt: skip
    lines += magnitudes.lines(group.members)
    state = "" if magnitudes.finite(group.members) else "bad"
    look = "input" if group.kind == "input" else "group"
    return Box(f"g{i}", look, tuple(lines), _tip(program, group), state)


def _heading(program: Program, group: Group) -> tuple[str, str]:
    """What a group is called, and where it comes from."""
    first, last = int(group.members[0]), int(group.members[-1])
    if group.kind == "input":
        if len(group.members) > 1:
            return f"{counted(len(group.members), 'input')}", counted(group.numbers, "number")
        slot = int(program.first[first])
        shape = counted(group.numbers, "number") if group.numbers > 1 else ""
        return program.tape.names.get(slot, f"r{slot}"), shape
    if group.kind == "lines":
        return _source(group)
    codes = program.codes[group.members]
    if group.repeats > 1:
        body = [name_of(int(code)) for code in codes[: len(codes) // group.repeats]]
        more = ", …" if len(body) > BODY_SHOWN else ""
        text = ", ".join(body[:BODY_SHOWN]) + more
        return f"({text}) × {grouped(group.repeats)}", f"instructions {first} to {last}"
    return f"instructions {first} to {last}", ""


def _source(group: Group) -> tuple[str, str]:
    """The line of source, or the function or file that a group stands for."""
    file, line, function = group.where
    name = PurePath(file).name or "several files"
    if line:
        text = " ".join(linecache.getline(file, line).split())
        place = f"{name}:{line}" + (f" in {function}" if function.isidentifier() else "")
        return (text, place) if text else (place, "")
    if function:
        return function, name
    return name, ""


def _operations(counts: Counter[str]) -> str:
    """Operations with how often they stand there, the most frequent first."""
    listed = [f"{grouped(n)} {name}" for name, n in counts.most_common(NAMED)]
    rest = sum(counts.values()) - sum(n for _, n in counts.most_common(NAMED))
    return ", ".join(listed + ([f"{grouped(rest)} more"] if rest else []))


def _tip(program: Program, group: Group) -> str:
    """All that there is to say of a group."""
    file, line, function = group.where
    listed = [f"{grouped(n)} {name}" for name, n in group.counts.most_common()]
    where = f"{file}:{line} {function}".strip(" :0")
    first, last = int(group.members[0]), int(group.members[-1])
    place = f"instructions {first} to {last}" if last > first else f"instruction {first}"
    return "\n".join([*([where] if where else []), place, *listed])
