"""What happens inside loops: the time of a scan among the instructions of its body."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ..run import Flip, Workspace
from ..tape import Tape
from .measure import Sweeper
from .profile import SCAN, Row, op_name, place_of

NUMBER = 0.5  # of the inputs of a body, whose own numbers change with every step


def expanded(work: Workspace, seconds: np.ndarray, rows: list[Row]) -> list[Row]:
    """`rows` with the time of each loop moved to the rows of its body.

    What a loop takes beyond its steps (its plan, and steps that a schedule repeats) stays with
    the row of the loop, whose operation is `scan`.
    """
    tape = work.tape
    found = list(rows)
    for number, loop in _loops(tape):
        line = tape.lines[number] if tape.lines is not None else None
        inside = _of_body(loop, line, seconds[:, number])
        found += inside
        found.append(Row(*place_of(line), SCAN, 0, -sum(row.forward for row in inside),
                         -sum(row.reverse for row in inside), 0))  # fmt: skip
    return found


def _loops(tape: Tape) -> list[tuple[int, Any]]:
    """The loops on a tape, each with its instruction."""
    found = []
    for i, *_ in tape.wide if any(call.loop is not None for call in tape.calls) else ():
        if tape.instruction(i).name == "call":
            loop = tape.calls[tape.kind_word(i)].loop
            found += [(i, loop)] if loop is not None else []
    return found


def _of_body(loop: Any, line: Any, taken: np.ndarray) -> list[Row]:
    """Rows of all recordings of a body, which are taken to run equally often."""
    rows: list[Row] = []
    for body in loop.bodies:
        costs = [_alone(body, name) for name in ("forward", "reverse")]
        rows += _rows(body, line, loop.steps / len(loop.bodies), costs)
    for j, name in enumerate(("forward", "reverse")):
        total = sum(getattr(row, name) for row in rows)
        factor = min(1.0, float(taken[j]) / total) if total else 0.0
        rows = [replace(row, **{name: getattr(row, name) * factor}) for row in rows]
    return rows


def _rows(body: Any, line: Any, steps: float, costs: list[np.ndarray]) -> list[Row]:
    tape: Tape = body.swept[0]
    codes = tape.columns()["op"].tolist()
    lines = tape.lines if tape.lines is not None else [None] * len(codes)
    return [
        Row(*place_of(lines[i] or line), op_name(tape, i, codes[i]), round(steps),
            steps * float(costs[0][i]), steps * float(costs[1][i]), 0)
        for i in range(body.leading, len(codes))
    ]  # fmt: skip


def _alone(body: Any, name: str) -> np.ndarray:
    """Seconds of each instruction of a body, inputs aside."""
    tape, results = body.swept
    work = Workspace(tape)
    n = len(tape)
    work.array("v")[: tape.slot_of_index(body.leading)] = NUMBER
    done = body.leading
    while done < n:
        with suppress(Flip):  # a guard does not hold for these numbers
            work.forward(lo=done)
        done = max(work.swept, done) + 1 if work.swept < n else n
    g = work.array("g")
    g[:] = 0.0
    for slot, size, _ in results.tolist():
        g[slot : slot + size] = 1.0
    if body.leading >= n:
        return np.zeros(n)
    sweeper = Sweeper(work, name, body.leading, n)
    costs = sweeper.alone()
    for i in sweeper.calls.tolist():
        costs[i - body.leading] = min(_called(sweeper, i) for _ in range(3))
    return np.concatenate([np.zeros(body.leading), costs])


def _called(sweeper: Sweeper, i: int) -> float:
    sweeper.reset()
    return sweeper.range(i, i + 1)
