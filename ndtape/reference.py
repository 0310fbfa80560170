"""The table of operations as text, for people."""

from __future__ import annotations

from .ops import TABLE


def table() -> str:
    """Every operation with its value and local derivatives, one line each.

    >>> import ndtape as nt
    >>> [line for line in nt.table().splitlines() if line.startswith("sin ")]
    ['sin            sin(x)                             dx: cos(x)']
    """
    lines = [f"{'name':<15}{'value':<35}partial derivatives (0 where not shown)"]
    for row in TABLE:
        partials = [
            f"d{x}: {text}"
            for x, text in zip(row.operands, row.partials, strict=True)
            if text != "0"
        ]
        lines.append(f"{row.name:<15}{row.z:<35}{'   '.join(partials) or '0'}")
    return "\n".join(line.rstrip() for line in lines)
