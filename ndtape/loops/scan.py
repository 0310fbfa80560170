"""`nt.scan`: a loop whose body is recorded once.  (A stand-in that unrolls; the loop follows.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..trees import flatten, unflatten


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    checkpoint: Any = None,
) -> tuple[Any, Any]:
    """`(carry, ys)` of `carry, y = f(carry, x)` over the leading axis of `xs`, as in JAX."""
    leaves, structure = flatten(xs)
    steps = len(leaves[0]) if leaves else int(length or 0)
    order = range(steps - 1, -1, -1) if reverse else range(steps)
    carry, found = init, []
    for t in order:
        carry, y = f(carry, unflatten(structure, [x[t] for x in leaves]))
        found.append(y)
    if reverse:
        found.reverse()
    columns = [flatten(y) for y in found]
    ys = unflatten(
        columns[0][1], [np.stack(list(c)) for c in zip(*[c[0] for c in columns], strict=True)]
    )
    return carry, ys
