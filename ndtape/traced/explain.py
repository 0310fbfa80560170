"""Why a traced function has as many tapes as it has, as a text."""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

from .captures import Captures
from .program import Program, short

FLIPS_OFTEN = 8  # times; from then on nt.where is suggested


class Branch(NamedTuple):
    """A line of the user's code at which recordings looked at a number."""

    file: str
    line: int
    source: str
    outcomes: dict[float, int]  # what was seen -> in how many replays and recordings
    flips: int  # how often a replay had to change tapes here


class Explanation:
    """Signatures, tapes and branches of a traced function; print it, or read `branches`."""

    def __init__(
        self, name: str, states: Iterable[tuple[Captures, dict[Any, Program]]],
        captures: Captures | None,
    ) -> None:  # fmt: skip
        self.name = name
        self.states = [list(programs.items()) for _, programs in states]
        self.recording = captures is not None and captures.recording
        self.branches = branches([p for programs in self.states for _, p in programs])

    def __str__(self) -> str:
        lines = []
        count = sum(len(programs) for programs in self.states)
        tapes = sum(len(p.traces) for programs in self.states for _, p in programs)
        lines.append(f"{self.name}: {many(tapes, 'tape')} for {many(count, 'signature')}")
        if len(self.states) > 1:
            lines[0] += f", in {many(len(self.states), 'state')} of what it captures"
        if self.recording:
            lines.append("  runs as plain Python: it captures values with a gradient; "
                         "pass them as arguments to replay")  # fmt: skip
        for programs in self.states:
            for signature, program in programs:
                lines += _program(signature, program)
        for branch in self.branches:
            lines += _branch(branch)
        return "\n".join(lines)

    __repr__ = __str__


def _program(signature: Any, program: Program) -> list[str]:
    runs = [(kind, len(list(same))) for kind, same in groupby(map(_kind, signature[1]))]
    kinds = [
        kind if n < 4 else f"{n} × {kind}" for kind, n in runs for _ in range(n if n < 4 else 1)
    ]
    lines = [f"  ({', '.join(kinds)})"]
    if program.inline:
        lines[0] += "  runs as plain Python: leaves (nt.var) take part"
    if program.parameters is not None:
        lines[0] += f"  with captured arrays as inputs: {', '.join(program.parameters.texts())}"
    for j, trace in enumerate(program.traces):
        lines.append(
            f"    tape {j}: {many(len(trace.tape), 'instruction')}"
            f"{f' (optimised: {trace.lean_length})' if trace.lean_length else ''}, "
            f"{many(len(trace.guards), 'guard')}, {many(trace.all_runs, 'run')}"
        )
    return lines


def _kind(kind: Any) -> str:
    if not isinstance(kind, tuple):
        return repr(kind.value)[:40]
    if kind[0] == "a":
        return f"{kind[2].lstrip('<|')}[{','.join(map(str, kind[1]))}]"
    return {"f": "float", "i": "int", "b": "bool"}[kind[0]]


def branches(programs: list[Program]) -> list[Branch]:
    """Every line that looked at numbers, those that flipped most first."""
    seen: dict[tuple[str, int], Counter[float]] = {}
    flips: Counter[tuple[str, int]] = Counter()
    for program in programs:
        flips.update(program.flips)
        for trace in program.traces:
            runs = trace.all_runs
            for guard in trace.guards:
                at = guard.file, guard.line
                seen.setdefault(at, Counter())[guard.outcome] += runs
    found = [
        Branch(file, line, linecache.getline(file, line).strip(), dict(outcomes), flips[file, line])
        for (file, line), outcomes in seen.items()
    ]
    return sorted(found, key=lambda b: -b.flips)


def _branch(branch: Branch) -> list[str]:
    ways = ", ".join(
        f"{_way(value, branch)} {many(count, 'time')}"
        for value, count in sorted(branch.outcomes.items())[:8]
    )
    more = len(branch.outcomes) - 8
    ways += f" and {more} other numbers" if more > 0 else ""
    lines = [
        f"  {short(branch.file)}:{branch.line}  {branch.source}",
        f"    {ways}; {many(branch.flips, 'flip')}",
    ]
    if branch.flips >= FLIPS_OFTEN:
        advice = "nt.where(condition, a, b) would need no branch"
        if not set(branch.outcomes) <= {0.0, 1.0}:
            advice = "a fixed length with a mask, or a static argument, would need no guard"
        lines.append(f"    flips often: {advice}")
    return lines


def many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _way(value: float, branch: Branch) -> str:
    if set(branch.outcomes) <= {0.0, 1.0}:
        return "true" if value else "false"
    return f"{value:g}"
