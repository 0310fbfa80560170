"""The algebra of rule expressions: differentiate, simplify, and print a row's text.

Everything works on Python's own `ast`.  A derivative that is exactly zero is `None` and
disappears, so that ``0 * inf`` cannot arise from a term that is not there; where a tangent or an
adjoint may be zero at run time, products are written ``mz(w, d)``, which is 0 for w = 0 whatever d.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache

from .ops import ROWS, Op

Node = ast.expr
SYNTAX: dict[type, str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.USub: "negative",
}
SYMBOLS = {name: node for node, name in SYNTAX.items()}


def parse(text: str) -> Node:
    return ast.parse(text, mode="eval").body


def number(value: float) -> Node:
    return ast.Constant(float(value))


def is_number(node: Node | None, value: float) -> bool:
    """Whether `node` is the literal `value`, possibly with a sign."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return is_number(node.operand, -value)
    return isinstance(node, ast.Constant) and node.value == value


class _Fill(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, Node]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> Node:
        return self.names.get(node.id, node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Node:
        self.generic_visit(node)
        if ast.unparse(node).startswith("--"):  # exact to drop, and no text of Python
            assert isinstance(node.operand, ast.UnaryOp)
            return node.operand.operand
        return node


def fill(node: Node, names: Mapping[str, Node]) -> Node:
    """`node` with names replaced by expressions."""
    copy = ast.parse(ast.unparse(node), mode="eval").body
    return _Fill(names).visit(copy)  # type: ignore[no-any-return]


def call(name: str, *args: Node) -> Node:
    return ast.Call(ast.Name(name), list(args), [])


def plus(a: Node | None, b: Node | None) -> Node | None:
    if a is None or b is None:
        return b if a is None else a
    return ast.BinOp(a, ast.Add(), b)


def scaled(w: Node, d: Node | None) -> Node | None:
    """w times the partial d: nothing for 0, w itself for 1, inside the branches of a condition."""
    if d is None or is_number(d, 0):
        return None
    if is_number(d, 1):
        return w
    if is_number(d, -1):
        return ast.UnaryOp(ast.USub(), w)
    if isinstance(d, ast.IfExp):
        yes, no = scaled(w, d.body), scaled(w, d.orelse)
        return ast.IfExp(d.test, yes or number(0), no or number(0))
    if isinstance(d, ast.Constant):
        return ast.BinOp(w, ast.Mult(), d)
    return call("mz", w, d)


def operation(node: Node) -> tuple[Op, list[Node]] | None:
    """The row and the arguments that an expression node stands for."""
    if isinstance(node, ast.BinOp):
        return ROWS[SYNTAX[type(node.op)]], [node.left, node.right]
    if isinstance(node, ast.UnaryOp):
        return ROWS[SYNTAX[type(node.op)]], [node.operand]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return ROWS[node.func.id], node.args
    return None


def along(node: Node, tangents: Mapping[str, Node]) -> Node | None:
    """Derivative of an expression along `tangents` (of its names), by the same table."""
    if isinstance(node, ast.Constant):
        return None
    if isinstance(node, ast.Name):
        return tangents.get(node.id)
    if isinstance(node, ast.IfExp):
        yes, no = along(node.body, tangents), along(node.orelse, tangents)
        if yes is None and no is None:
            return None
        return ast.IfExp(node.test, yes or number(0), no or number(0))
    found = operation(node)
    if found is None:
        raise ValueError(f"{ast.unparse(node)!r} is outside the grammar of rules")
    row, args = found
    names = {**dict(zip(row.operands, args, strict=True)), "z": node}
    total: Node | None = None
    for arg, partial in zip(args, row.partials, strict=True):
        tangent = along(arg, tangents)
        if tangent is not None:
            total = plus(total, scaled(tangent, fill(parse(partial), names)))
    return total


class _Expand(ast.NodeTransformer):
    """Calls of composite rows become their text; calls of vmath functions stay."""

    def visit_Call(self, node: ast.Call) -> Node:
        self.generic_visit(node)
        assert isinstance(node.func, ast.Name)
        row = ROWS.get(node.func.id)
        if row is None or is_primitive(row.name):
            return node
        return fill(expanded(row.name), dict(zip(row.operands, node.args, strict=True)))


@cache
def expanded(name: str) -> Node:
    """The value of a row in terms of vmath functions and operators only."""
    return _Expand().visit(parse(ROWS[name].z))  # type: ignore[no-any-return]


@cache
def is_primitive(name: str) -> bool:
    """Whether the row's value is the vmath function of its own name."""
    node = parse(ROWS[name].z)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def expand(node: Node) -> Node:
    return _Expand().visit(fill(node, {}))  # type: ignore[no-any-return]
