"""Tables of text."""

from __future__ import annotations

from collections.abc import Sequence


def seconds_text(x: float) -> str:
    """``1.23 ms``, with three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if x >= size:
            return f"{x / size:.3g} {unit}"
    return f"{x / 1e-9:.3g} ns"


def share(x: float) -> str:
    """``12.3 %``."""
    return f"{100 * x:.1f} %"


def columns_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in [head, ["-" * w for w in widths], *rows]:
        first, *others = (
            cell.ljust(w) if j == 0 else cell.rjust(w)
            for j, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return lines
