"""Local derivatives of single instructions, in numbers and in symbols.

Numbers of elementwise operations come from the rows' partial derivatives, those of all others from
sweeps over tapes that hold the one instruction alone.
"""

from __future__ import annotations

import ast
from contextlib import nullcontext
from typing import Any

import numpy as np

from .. import nest
from ..ops import WIDE_CODES, Op
from ..record import core
from ..record.adjoint import contributions
from ..rules import call
from ..run import Workspace
from ..tape import Instruction, Tape
from .reading import Part, Read, Shape, loops_of
from .symbols import Node, partial

# --- elementwise ----------------------------------------------------------------------------------


def row_of(instruction: Instruction) -> Op | None:
    """The row of an elementwise operation, None for others."""
    row = instruction.opcode.row
    return row if row is not None and row.operands and row.kind != "guard" else None


def has_partial(row: Op, j: int) -> bool:
    """Whether a row depends on operand j as far as derivatives go."""
    return contributions(row.name)[j] is not None


class Elements:
    """The numbers of one elementwise instruction, spread over its loops."""

    def __init__(self, tape: Tape, instruction: Instruction, v: np.ndarray, reads: list[Read]):
        self.row: Any = row_of(instruction)
        self.out, self.size = instruction.out, instruction.size
        self.places: Any = 0  # of the results, in the order of the loops
        if instruction.wide:
            loops = loops_of(tape, instruction)
            walk = nest.Walk(0, tuple(loops[:, 0]), tuple(loops[:, 1]), False, "a")
            self.places = walk.places().reshape(walk.extents)
        self.operands = [
            self._numbers(tape, v, read)
            if instruction.wide or read.first >= 0
            else instruction.operands[read.operand]
            for read in reads
        ]
        self.z = v[self.out + self.places]

    def _numbers(self, tape: Tape, v: np.ndarray, read: Read) -> Any:
        if read.first >= 0:
            return v[read.first + read.offsets]
        return tape.constants[read.offsets]

    def times(self, j: int, w: Any) -> np.ndarray:
        """w times the partial derivative by operand j, in the shape of the loops."""
        rule = contributions(self.row.name)[j]
        if rule is None:
            return np.zeros(np.shape(self.z))
        x, y, u, *_ = [*self.operands, None, None]
        with np.errstate(all="ignore"):
            found = np.asarray(rule(w, x, y, u, self.z), np.float64)
        return np.broadcast_to(found, np.shape(self.z))

    def values(self) -> dict[str, Any]:
        """Numbers by the names of the row's rules."""
        return {**dict(zip(self.row.operands, self.operands, strict=True)), "z": self.z}


def elementwise_local(elements: Elements, j: int, shape: Shape) -> Any:
    """The partial derivative by operand j for each element of the result."""
    local = elements.times(j, 1.0)
    if not shape:
        return float(local.item())
    ordered = np.empty(elements.size)
    ordered[elements.places] = local
    return ordered.reshape(shape)


def elementwise_flow(elements: Elements, j: int, read: Read, part: Part, w: np.ndarray) -> Any:
    """What flows to the elements that operand j reads, for adjoints w of the result."""
    return gathered(elements.times(j, w[elements.places]), read.offsets, part)


def gathered(terms: np.ndarray, offsets: np.ndarray, part: Part) -> Any:
    """Terms added up where they meet: a float for one element, else an array shaped like it."""
    if not part.shape:
        return float(terms.sum())
    where = offsets.ravel() if part.places is None else np.searchsorted(part.places, offsets)
    total = np.zeros(int(np.prod(part.shape)))
    np.add.at(total, where.ravel(), np.ravel(terms))
    return total.reshape(part.shape)


# --- everything else ------------------------------------------------------------------------------


class Alone:
    """A tape with one instruction, whose operands are inputs of their own, and its numbers."""

    def __init__(self, tape: Tape, instruction: Instruction, v: np.ndarray):
        self.tape = part = Tape()
        part.calls = tape.calls
        chunk = tape.chunk_of(instruction.position)
        i = instruction.position - chunk.base
        columns, c = {"a": chunk.a[i], "b": chunk.b[i]}, chunk.c[i]
        words = tape.words[c : c + nest.length(instruction.name, tape.words, c)].copy()
        self.starts: list[int] = []  # of the operands, less the lowest places that they are read at
        for walk in instruction.operands:
            low, high = walk.bounds()
            if walk.constant:
                start = part.extend_pool(tape.constants[low : high + 1]) - low
            else:
                start = part.append_input(v[low : high + 1].copy()) - low
            self.starts.append(start)
            if isinstance(walk.place, str):
                columns[walk.place] = start + walk.start
            else:
                words[walk.place] = start + walk.start
        self.out = part.append_wide(
            WIDE_CODES[instruction.name], columns["a"], columns["b"], tuple(words.tolist()), False
        )
        self.work = Workspace(part)

    def adjoints(self, w: np.ndarray) -> np.ndarray:
        """The buffer of adjoints of this little tape, for adjoints w of the result."""
        with core.growth if self.tape.calls else nullcontext():
            return self.work.cotangent(self.out, w)


def flow(alone: Alone, read: Read, part: Part, w: np.ndarray) -> Any:
    """What flows to the elements that an operand reads, for adjoints w of the result."""
    g, start = alone.adjoints(w), alone.starts[read.operand] + read.first
    if part.places is None:
        size = int(np.prod(part.shape, dtype=np.int64))
        found = g[start : start + size]
    else:
        found = g[start + part.places]
    return found.reshape(part.shape).copy() if part.shape else float(found[0])


# --- symbols --------------------------------------------------------------------------------------


def elementwise_symbol(
    row: Op, j: int, names: dict[str, Node], values: dict[str, Any], size: int, part: Part
) -> Node | None:
    """The Jacobian of an elementwise operation: ``cos a`` for numbers, ``diag(cos a)`` for arrays.

    An operand that is spread over a larger result has columns in the place of the diagonal.
    """
    rule = partial(row, j, names, values)
    if rule is None or size == 1:
        return rule
    if not part.shape:
        return rule  # a column; a number stands for one of equal numbers
    inner = _diagonal(rule)
    return inner if int(np.prod(part.shape)) == size else call("spread", inner)


def _diagonal(rule: Node) -> Node:
    identity: Node = ast.Name("I")
    if isinstance(rule, ast.UnaryOp) and isinstance(rule.operand, ast.Constant):
        return ast.UnaryOp(ast.USub(), _diagonal(rule.operand))
    if isinstance(rule, ast.Constant):
        if rule.value == 1:
            return identity
        sign, value = rule.value < 0, abs(rule.value)  # type: ignore[operator, arg-type]
        inner = identity if value == 1 else ast.BinOp(ast.Constant(value), ast.Mult(), identity)
        return ast.UnaryOp(ast.USub(), inner) if sign else inner
    return call("diag", rule)


class Product:
    """What kind of product a `dot` is, if it is one of a textbook.

    `x` and `y` are its operands as factors, transposed where they stand so; `jacobians` are the
    derivatives by what the operands read, flattened row by row.
    """

    def __init__(self, loops: np.ndarray, x: Node, y: Node) -> None:
        self.text: Node | None = None
        self.jacobians: list[Node | None] = [None, None]
        z_axes, x_axes, y_axes = ([j for j in range(len(loops)) if loops[j, k]] for k in (1, 2, 3))
        sums = [j for j in range(len(loops)) if not loops[j, 1]]
        rows = [j for j in z_axes if j in x_axes]
        columns = [j for j in z_axes if j in y_axes]
        plain = len(sums) <= 1 and len(rows) <= 1 and len(columns) <= 1
        if not plain or set(rows) & set(columns) or any(j not in x_axes + y_axes for j in z_axes):
            return
        if not all(s in x_axes and s in y_axes for s in sums):
            return
        x_turned = bool(rows and sums) and abs(loops[rows[0], 2]) < abs(loops[sums[0], 2])
        y_turned = bool(columns and sums) and abs(loops[sums[0], 3]) < abs(loops[columns[0], 3])
        self._write(x, y, bool(sums), bool(rows), bool(columns), x_turned, y_turned)

    def _write(
        self, x: Node, y: Node, sums: bool, rows: bool, columns: bool, x_turned: bool,
        y_turned: bool,
    ) -> None:  # fmt: skip
        identity: Node = ast.Name("I")
        matrix_x = transposed(x) if x_turned else x
        matrix_y = transposed(y) if y_turned else y
        if rows and columns:
            left, right = (matrix_x, matrix_y) if sums else (x, transposed(y))
            x_by = call("kron", identity, transposed(matrix_y) if sums else y)
            y_by = call("kron", matrix_x, identity)
            self.jacobians = [None if x_turned else x_by, None if y_turned else y_by]
        elif rows:
            left, right = matrix_x, y
            order = (transposed(y), identity) if x_turned else (identity, transposed(y))
            self.jacobians = [call("kron", *order), matrix_x]
        elif columns:
            left, right = transposed(x), matrix_y
            order = (identity, transposed(x)) if y_turned else (transposed(x), identity)
            self.jacobians = [transposed(matrix_y), call("kron", *order)]
        else:
            left, right = transposed(x), y
            self.jacobians = [transposed(y), transposed(x)]
        self.text = ast.BinOp(left, ast.Mult(), right)


def transposed(x: Node) -> Node:
    """``Wᵀ`` for ``W``, and back."""
    if isinstance(x, ast.Name):
        return ast.Name(x.id[:-1] if x.id.endswith("ᵀ") else x.id + "ᵀ")
    return call("transpose", x)


KINDS = {"sum": "1ᵀ", "cumsum": "running sums", "collect": "selection", "gather": "selection",
         "max": "selection", "min": "selection"}  # fmt: skip


def wide_symbol(tape: Tape, instruction: Instruction, j: int, names: list[Node]) -> Node | None:
    """The Jacobian of an array operation by what its operand j reads; None where it has no name."""
    name = instruction.name
    if name == "dot":
        return Product(loops_of(tape, instruction), *names).jacobians[j]
    if name == "sum" and instruction.size > 1:
        return ast.Name("sums")
    if name == "scatter_add":
        return ast.Name("I" if j == 0 else "placement")
    return ast.Name(KINDS[name]) if name in KINDS else None
