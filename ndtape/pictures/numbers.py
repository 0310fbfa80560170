"""Values and adjoints as the lines of a box."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.notation import numeral

ENTRIES, ROWS = 4, 3  # of an array that a box shows
LONGEST_SUM = 3  # terms of a sum that are written out


def lines_of(x: Any, digits: int) -> list[str]:
    """A number, a vector, or the rows of a matrix; what is longer ends in dots.

    >>> import numpy as np
    >>> lines_of(-0.25, 4)
    ['−0.25']
    >>> lines_of(np.eye(2), 4)
    ['[1, 0]', '[0, 1]']
    >>> lines_of(np.arange(100.0).reshape(10, 10), 4)
    ['[0, 1, 2, …]', '…']
    """
    x = np.asarray(x, np.float64)
    if not x.ndim:
        return [numeral(float(x), digits)]
    if x.ndim == 1:
        return [_row(x, digits)]
    rows = x.reshape(-1, x.shape[-1]) if x.size else x.reshape(0, 1)
    if len(rows) <= ROWS and x.ndim == 2:
        return [_row(row, digits) for row in rows]
    return [_row(rows[0], digits), "…"] if len(rows) else ["[]"]


def _row(x: np.ndarray, digits: int) -> str:
    shown = x if len(x) <= ENTRIES else x[: ENTRIES - 1]
    texts = [numeral(float(v), min(digits, 3)) for v in shown]
    return f"[{', '.join(texts + ['…'] * (len(shown) < len(x)))}]"


def joined(terms: list[str]) -> str:
    """A sum, with the signs of its terms.

    >>> joined(["3", "−5", "1"])
    '3 − 5 + 1'
    """
    text = terms[0]
    for term in terms[1:]:
        text += f" − {term[1:]}" if term.startswith("−") else f" + {term}"
    return text
