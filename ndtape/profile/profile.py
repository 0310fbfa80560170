"""A profile of a tape: time and bytes by operation and by source line."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import ArgumentError
from ..graph.building import place_on
from ..ops import FIRST_WIDE, OPCODES, WIDE
from ..passes.optimised import OptimisedTape
from ..record.arrays import Array
from ..record.values import Var
from ..run import Workspace
from ..tape import Tape, line_number
from .measure import CALL, Costs, bytes_of, costs_of
from .tables import columns_of, seconds_text, share

NO_LINE = "(no line recorded)"
SCAN = "scan"
POOLS = "(shared constants and words)"


@dataclass(frozen=True)
class Row:
    """What one operation costs at one source line.

    `line` is ``file:line``, "" where none was recorded, and `function` the function it stands in.
    `count` is how many instructions there are, `forward` and `reverse` the seconds of one sweep,
    and `bytes` what a gradient needs for them.
    """

    line: str
    function: str
    op: str
    count: int
    forward: float
    reverse: float
    bytes: int

    @property
    def seconds(self) -> float:
        """Of both sweeps."""
        return self.forward + self.reverse

    @property
    def source(self) -> str:
        """The text of the source line."""
        file, _, number = self.line.rpartition(":")
        return linecache.getline(file, int(number)).strip() if file else ""


class Profile:
    """Where the time of a gradient and its memory go; print it, or read `rows`.

    `forward` and `reverse` are the seconds of the two sweeps, and `call` those of a whole call of a
    traced function, None for a tape.  `stretches` and `alone` say what was timed in parts over the
    whole, before it was scaled, for the forward and the reverse sweep: see docs/profiles.md.
    """

    def __init__(
        self, name: str, rows: Sequence[Row], costs: tuple[Costs, Costs],
        call: float | None = None,
    ) -> None:  # fmt: skip
        self.name, self.rows, self.call = name, list(rows), call
        self.forward, self.reverse = (cost.whole for cost in costs)
        self.stretches = tuple(cost.stretches for cost in costs)
        self.alone = tuple(cost.alone for cost in costs)

    @property
    def seconds(self) -> float:
        """Of both sweeps."""
        return self.forward + self.reverse

    @property
    def outside(self) -> float | None:
        """The share of a call that is spent outside the sweeps; None for a tape."""
        if self.call is None:
            return None
        return max(1.0 - self.seconds / self.call, 0.0)

    @property
    def bytes(self) -> int:
        """What a gradient needs: instructions, constants, values and adjoints."""
        return sum(row.bytes for row in self.rows)

    # --- tables -----------------------------------------------------------------------------------

    def by_operation(self) -> list[Row]:
        """A row for each operation, with an empty line, the slowest first."""
        return added(self.rows, lambda row: ("", "", row.op))

    def by_line(self) -> list[Row]:
        """A row for each source line, with an empty operation, the slowest first."""
        return added(self.rows, lambda row: (row.line, row.function, ""))

    def __str__(self) -> str:
        lines = [self._head(), "", *self._table("operation", self.by_operation(), _operation)]
        if any(row.line for row in self.rows):
            lines += ["", *self._table("line", self.by_line(), _line)]
        return "\n".join(lines)

    __repr__ = __str__

    def _head(self) -> str:
        parts = [f"{self.name}: forward {seconds_text(self.forward)}",
                 f"reverse {seconds_text(self.reverse)}"]  # fmt: skip
        if self.call is not None:
            parts.append(f"a call {seconds_text(self.call)} ({share(self.outside or 0)} outside "
                         "the sweeps)")  # fmt: skip
        return ", ".join(parts) + f"; {self.bytes} bytes"

    def _table(self, title: str, rows: list[Row], label: Callable[[Row], str]) -> list[str]:
        head = [title, "share", "forward", "reverse", "instructions", "bytes"]
        body = [
            [label(r), share(r.seconds / self.seconds if self.seconds else 0.0),
             seconds_text(r.forward), seconds_text(r.reverse), str(r.count), str(r.bytes)]
            for r in rows
        ]  # fmt: skip
        return columns_of(head, body)

    # --- pictures ---------------------------------------------------------------------------------

    def plot(self, what: str = "seconds") -> Any:
        """Functions, lines and operations as bars below each other, as wide as their share.

        `what` is "seconds", "forward", "reverse" or "bytes".  The result prints as SVG, shows
        itself in notebooks, and has `.save(path)` for files that end in .svg or .html.  Raises
        `ArgumentError` for anything else.
        """
        from .flame import Flame

        if what not in ("seconds", "forward", "reverse", "bytes"):
            raise ArgumentError(f"what is seconds, forward, reverse or bytes, not {what!r}")
        return Flame(self, what)

    def svg(self, what: str = "seconds") -> str:
        """The text of `plot(what)`."""
        return str(self.plot(what))

    def _repr_html_(self) -> str:
        return str(self.plot()._repr_html_())


def added(rows: Iterable[Row], key: Callable[[Row], tuple[str, str, str]]) -> list[Row]:
    """Rows with one key added up, the slowest first."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        name = key(row)
        known = found.get(name, Row(*name, 0, 0.0, 0.0, 0))
        found[name] = Row(*name, known.count + row.count, known.forward + row.forward,
                          known.reverse + row.reverse, known.bytes + row.bytes)  # fmt: skip
    return sorted(found.values(), key=lambda row: -row.seconds)


def _operation(row: Row) -> str:
    return row.op


def _line(row: Row) -> str:
    from ..traced.program import short

    if not row.line:
        return NO_LINE
    source = row.source if len(row.source) <= 40 else row.source[:39] + "…"
    return f"{short(row.line)}  {source}".rstrip()


# --- tapes ----------------------------------------------------------------------------------------


def profile_tape(tape: Tape, y: Any = None) -> Profile:
    """The profile of a gradient of `y` on a tape; see `Tape.profile`."""
    named: Any = tape
    y = named[y] if isinstance(y, str) else y
    if isinstance(y, (Var, Array)):
        tape, start, size = place_on(tape, y)
        roots = np.arange(start, start + size)
    elif y is not None:
        raise ArgumentError(f"profile takes a recording value or its name, not {type(y).__name__}")
    else:
        tape = tape.whole()
        if not len(tape):
            raise ArgumentError("an empty tape has nothing to profile")
        first, size = tape.span_of(tape.slots - 1)
        roots = tape.results if isinstance(tape, OptimisedTape) else np.arange(first, first + size)
    work = Workspace(tape)
    work.forward()
    return profile_work(f"tape of {len(tape)} instructions", work, roots, 0)


def profile_work(
    name: str, work: Workspace, roots: np.ndarray, known: int, call: float | None = None
) -> Profile:
    """The profile of sweeps over a workspace with values: forward from instruction `known` on,
    reverse from these slots down to there."""
    from .bodies import expanded

    n = len(work.tape)
    forward = costs_of(work, "forward", known, n)
    g = work.array("g")
    g[:] = 0.0
    g[roots] = 1.0
    top = work.tape.above(roots.tolist())
    reverse = costs_of(work, "reverse", known, top)
    both = np.zeros((2, n))
    both[0, known:] = forward.seconds
    both[1, known:top] = reverse.seconds
    rows = expanded(work, both, rows_of(work.tape, both, bytes_of(work), known))
    # What is left of a loop may be less than nothing by a rounding.
    rows = [replace(row, forward=max(row.forward, 0.0), reverse=max(row.reverse, 0.0))
            for row in added(rows, _whole_row) if row.count or row.bytes]  # fmt: skip
    return Profile(name, rows, (forward, reverse), call)


def rows_of(tape: Tape, seconds: np.ndarray, sizes: np.ndarray, known: int) -> list[Row]:
    """Instructions added up by line and operation: `seconds` has a row for each sweep, `sizes` an
    entry more, for what no instruction uses alone.  The first `known` are arguments."""
    codes = tape.columns()["op"].tolist()
    lines = tape.lines if tape.lines is not None else [None] * len(codes)
    keys: dict[Any, int] = {}
    whose = np.empty(len(codes), np.int64)
    for i, code in enumerate(codes):
        line = lines[i] if i >= known else None
        which = tape.kind_word(i) if code == CALL else code
        whose[i] = keys.setdefault((line, code, which), len(keys))
    count = len(keys)
    firsts = np.full(count, len(codes))
    np.minimum.at(firsts, whose, np.arange(len(codes)))
    counts = np.bincount(whose, minlength=count)
    forward, reverse = (np.bincount(whose, row, minlength=count) for row in seconds)
    used = np.bincount(whose, sizes[:-1], minlength=count).astype(np.int64)
    found = []
    for (line, code, _), j in keys.items():
        name = op_name(tape, int(firsts[j]), code)
        found.append(Row(*place_of(line), name, int(counts[j]), float(forward[j]),
                         float(reverse[j]), int(used[j])))  # fmt: skip
    if sizes[-1]:
        found.append(Row("", "", POOLS, 0, 0.0, 0.0, int(sizes[-1])))
    return added(found, _whole_row)


def _whole_row(row: Row) -> tuple[str, str, str]:
    return row.line, row.function, row.op


def place_of(line: Any) -> tuple[str, str]:
    """``file:line`` and the function of a recorded line, "" where there is none."""
    if line is None:
        return "", ""
    code, lasti = line
    function = getattr(code, "co_qualname", code.co_name)  # from Python 3.11 on
    return f"{code.co_filename}:{line_number(code, lasti)}", function


def op_name(tape: Tape, i: int, code: int) -> str:
    """The name of instruction i, the same for all forms of operands; of a call, the function's."""
    if code < FIRST_WIDE:
        return OPCODES[code].row.name
    name = WIDE[code - FIRST_WIDE].name
    if name == "wide_input":
        return "input"
    if name != "call":
        return name
    call = tape.calls[tape.kind_word(i)]
    return SCAN if call.loop is not None else str(call.primitive.name)
