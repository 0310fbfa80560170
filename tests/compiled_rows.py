"""Every row of the op table inside compiled functions: one function for each number of operands.

Compiling a function a row would take minutes, so rows are branches of a few functions, chosen by a
whole number.  They are written in four ways: with `nt`'s names, NumPy's, those of `math`, and
Python's operators.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from matrix import ROWS_TESTED

import ndtape as nt
from ndtape.compiled.scalars import recorder
from ndtape.compiled.types import LINEAR, TAPE
from ndtape.record.values import FUNCTIONS

OPERATORS = {
    "add": "x + y", "subtract": "x - y", "multiply": "x * y", "divide": "x / y",
    "negative": "-x", "mod": "x % y", "floor_divide": "x // y", "power": "x**y", "abs": "abs(x)",
    "copy": "+x", "less": "x < y", "less_equal": "x <= y", "greater": "x > y",
    "greater_equal": "x >= y", "equal": "x == y", "not_equal": "x != y", "where": "y if x else u",
    "logical_not": "not x", "square": "x**2", "cube": "x**3", "reciprocal": "x**-1",
}  # fmt: skip
STYLES = ("nt", "np", "math", "operator")
OPERANDS = "xyu"
# Names that mean something else for a number, or have no meaning for floats.
OTHER = {"np.copy", "np.bitwise_and", "np.bitwise_or", "np.invert", "math.remainder",
         "math.floor", "math.ceil", "math.trunc"}  # fmt: skip
MODULES: dict[str, Any] = {"nt": nt, "np": np, "math": math}


def expression(row: Any, style: str) -> str:
    """The row applied to x, y, u in a style; "" where that has no name for it."""
    arguments = ", ".join(OPERANDS[: len(row.operands)])
    if style == "operator":
        return OPERATORS.get(row.name, "")
    for name in [row.name, *row.ufunc.split()]:
        if hasattr(MODULES[style], name) and f"{style}.{name}" not in OTHER:
            return f"{style}.{name}({arguments})"
    return f"{row.name}({arguments})" if style == "nt" else ""


CODES = {row.name: code for code, row in enumerate(ROWS_TESTED)}


@cache
def rows_of(count: int, style: str, mode: str = LINEAR) -> Any:
    """The compiled function (code, *operands) of all rows with so many operands.

    Rows that users have no name for are there for one mode of recording only.
    """
    arguments = ", ".join(OPERANDS[:count])
    lines = [f"def rows(code, {arguments}):"]
    for row in ROWS_TESTED:
        text = expression(row, style)
        users = hasattr(nt, row.name) and text != "np.where(x, y, u)"  # 0-dimensional in NumPy
        if len(row.operands) == count and text and (mode or users):
            lines += [f"    if code == {CODES[row.name]}:", f"        return {text}"]
    space = {r.name: recorder(r.name, mode) for r in ROWS_TESTED if mode} | MODULES
    exec("\n".join([*lines, "    return 0.0 * x"]), space)
    return nt.jit(space["rows"], cache=False)


def named(style: str) -> list[Any]:
    """The rows that have a name in a style."""
    return [row for row in ROWS_TESTED if expression(row, style)]


def own(name: str) -> Any:
    """The eager function of a row."""
    return FUNCTIONS[name]


def linear(style: str) -> Any:
    """A recorder, as in test_ops: nt.value_and_grad of a compiled function."""

    def by_linear(name: str, point: Any, moving: Any) -> Any:
        f = rows_of(len(point), style, LINEAR)
        argnums = [1 + j for j, m in enumerate(moving) if m]
        value, gradient = nt.value_and_grad(f, argnums)(CODES[name], *point)
        return value, list(gradient)

    by_linear.__name__ = f"by_compiled_linear_{style}"
    by_linear.rows = named(style)  # type: ignore[attr-defined]
    return by_linear


def tape(style: str) -> Any:
    """A recorder, as in test_ops: a compiled function appends to the tape of eager values."""

    def by_tape(name: str, point: Any, moving: Any) -> Any:
        f = rows_of(len(point), style, TAPE)
        leaves = [nt.var(x) for x, m in zip(point, moving, strict=True) if m]
        rest = iter(leaves)
        with nt.Tape() as tape:
            z = f(
                CODES[name], *[next(rest) if m else x for x, m in zip(point, moving, strict=True)]
            )
        nt.verify(tape)
        if isinstance(z, float):
            return z, [0.0] * len(leaves)
        return z.value, tape.gradient(z, leaves)

    by_tape.__name__ = f"by_compiled_tape_{style}"
    by_tape.rows = named(style)  # type: ignore[attr-defined]
    return by_tape


RECORDERS = [make(style) for style in STYLES for make in (linear, tape)]
