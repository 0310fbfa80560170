"""What an optimisation has done, pass by pass, as a text."""

from __future__ import annotations

from typing import NamedTuple

from .code import Goal
from .pipeline import Step


class Optimisation(NamedTuple):
    """One program that has gone through the passes; the first step is the recorded one."""

    title: str
    goal: Goal
    steps: list[Step]

    @property
    def before(self) -> Step:
        return self.steps[0]

    @property
    def after(self) -> Step:
        return self.steps[-1]

    @property
    def seconds(self) -> float:
        """What all passes have taken together."""
        return sum(step.seconds for step in self.steps)

    def __str__(self) -> str:
        lines = [f"{self.title}, level {self.goal.level}, {self.seconds * 1e3:.1f} ms"]
        lines.append(f"  {'pass':<10}{'instructions':>14}{'slots':>10}{'kB':>10}{'ms':>8}")
        known: tuple[int, ...] = ()
        for step in self.steps:
            figures = step.instructions, step.slots, step.bytes
            text = f"{figures[0]:>14}{figures[1]:>10}{figures[2] / 1e3:>10.1f}"
            if figures == known:
                text = f"{'.':>14}{'.':>10}{'.':>10}"
            time = f"{step.seconds * 1e3:>8.2f}" if known else ""
            lines.append(f"  {step.name:<10}{text}{time}")
            known = figures
        return "\n".join(lines)


class Report(tuple[Optimisation, ...]):
    """What `optimize` has done for each program; print it, or read the entries."""

    __slots__ = ()

    def __str__(self) -> str:
        if not self:
            return "no tape yet: call the function first, then optimise it"
        return "\n".join(map(str, self))

    __repr__ = __str__
