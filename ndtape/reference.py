"""The table of operations as text, for people."""

from __future__ import annotations

from .ops import INTERNAL, TABLE


def table() -> str:
    """Every operation with its value and local derivatives, one line each.

    >>> import ndtape as nt
    >>> [line for line in nt.table().splitlines() if line.startswith("sin ")]
    ['sin              sin(x)                                    dx: cos(x)']
    """
    lines = [f"{'name':<17}{'value':<42}partial derivatives, where not 0"]
    for row in TABLE:
        if row.name not in INTERNAL:
            partials = [
                f"d{x}: {text}"
                for x, text in zip(row.operands, row.partials, strict=True)
                if text != "0"
            ]
            value = row.z if len(row.z) < 41 else f"{row.z}\n{'':<59}"
            lines.append(f"{row.name:<17}{value:<42}{'   '.join(partials) or '0'}")
    return "\n".join(lines)
