"""Formulas: a rule's text with the names of nodes in the place of ``x y u z``, for people to read.

Everything comes from the rows of the op table.  Constants are filled in and conditions decided by
the numbers at hand, so that the rule of `power` becomes ``2·a`` where the exponent is 2, and that
of `relu` 0 or 1.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from ..ops import Op
from ..rules import SYNTAX, call, is_number, number, parse

Node = ast.expr

COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
FOLD: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
}  # fmt: skip


def expression(row: Op, operands: list[Node]) -> Node:
    """What an operation computes, as users write it: operators as such, all else by its name."""
    if row.name in ("square", "cube"):
        return call("power", operands[0], number(2 if row.name == "square" else 3))
    if row.name in {*SYNTAX.values(), "reciprocal", "muladd"}:
        return _filled(parse(row.z), dict(zip(row.operands, operands, strict=True)))
    return call(row.name, *operands)


def partial(row: Op, j: int, names: Mapping[str, Node], values: Mapping[str, Any]) -> Node | None:
    """The derivative of a row with respect to operand j; None where the table has none.

    `names` says what stands for ``x y u z``, `values` which numbers they have.  Where a condition
    holds for some elements only, the answer is the name of the row with a prime: ``relu′(a)``.
    """
    if is_number(rule := _rule(row.partials[j]), 0):
        return None
    decided = _decided(rule, values)
    if decided is None:
        return call(f"{row.name}′", *[names[x] for x in row.operands])
    return _simple(_filled(decided, names))


@cache
def _rule(text: str) -> Node:
    return parse(text)


def _filled(node: Node, names: Mapping[str, Node]) -> Node:
    """A copy of `node` with expressions in the place of names."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node)
    if isinstance(node, ast.BinOp):
        return ast.BinOp(_filled(node.left, names), node.op, _filled(node.right, names))
    if isinstance(node, ast.UnaryOp):
        return ast.UnaryOp(node.op, _filled(node.operand, names))
    if isinstance(node, ast.Call):
        return ast.Call(node.func, [_filled(x, names) for x in node.args], [])
    return node


def _decided(node: Node, values: Mapping[str, Any]) -> Node | None:
    """A rule without conditions, as they turn out; None where elements differ."""
    if isinstance(node, ast.IfExp):
        truth = _truth(node.test, values)
        if truth is None or (np.ndim(truth) and np.any(truth) != np.all(truth)):
            return None
        return _decided(node.body if np.all(truth) else node.orelse, values)
    if isinstance(node, ast.BinOp):
        left, right = _decided(node.left, values), _decided(node.right, values)
        return None if left is None or right is None else ast.BinOp(left, node.op, right)
    if isinstance(node, ast.UnaryOp):
        operand = _decided(node.operand, values)
        return None if operand is None else ast.UnaryOp(node.op, operand)
    return node


def _truth(test: Node, values: Mapping[str, Any]) -> Any:
    """A condition in numbers; None where that takes more than comparisons."""
    if isinstance(test, ast.Compare):
        left, right = _number(test.left, values), _number(test.comparators[0], values)
        return None if left is None or right is None else COMPARE[type(test.ops[0])](left, right)
    assert isinstance(test, ast.BoolOp)
    parts = [_truth(part, values) for part in test.values]
    if any(part is None for part in parts):
        return None
    join = np.logical_and if isinstance(test.op, ast.And) else np.logical_or
    return join.reduce(np.broadcast_arrays(*parts))


def _number(node: Node, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return values.get(node.id)
    if isinstance(node, ast.UnaryOp):
        inner = _number(node.operand, values)
        return None if inner is None else -inner
    if isinstance(node, ast.BinOp) and type(node.op) in FOLD:
        left, right = _number(node.left, values), _number(node.right, values)
        return None if left is None or right is None else FOLD[type(node.op)](left, right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "abs":
        inner = _number(node.args[0], values)
        return None if inner is None else np.abs(inner)
    return None


def _simple(node: Node) -> Node:
    """Without factors of 1, terms of 0, and sums of plain numbers."""
    if isinstance(node, ast.UnaryOp):
        inner = _simple(node.operand)
        value = literal(inner)
        return ast.UnaryOp(ast.USub(), inner) if value is None else number(-value)
    if isinstance(node, ast.Call):
        args = [_simple(x) for x in node.args]
        is_power = isinstance(node.func, ast.Name) and node.func.id == "power"
        if is_power and literal(args[1]) in (0, 1):
            return args[0] if literal(args[1]) else number(1)
        return ast.Call(node.func, args, [])
    if isinstance(node, ast.BinOp):
        return _simple_pair(node.op, _simple(node.left), _simple(node.right))
    return node


def _simple_pair(op: ast.operator, left: Node, right: Node) -> Node:
    a, b = literal(left), literal(right)
    if a is not None and b is not None and type(op) in FOLD:
        return number(FOLD[type(op)](a, b))
    if isinstance(op, ast.Mult):
        return _simple_product(left, right)
    if isinstance(op, ast.Div):
        if isinstance(left, ast.UnaryOp):
            return ast.UnaryOp(ast.USub(), _simple_pair(op, left.operand, right))
        if a is not None and a < 0:
            return ast.UnaryOp(ast.USub(), _simple_pair(op, number(-a), right))
        return left if b == 1 else ast.BinOp(left, op, right)
    if a == 0 and isinstance(op, ast.Add):
        return right
    return left if b == 0 else ast.BinOp(left, op, right)


def _simple_product(left: Node, right: Node) -> Node:
    """Signs and numbers stand in front, and equal factors become a square."""
    for this, other in ((left, right), (right, left)):
        value = literal(this)
        if value == 1:
            return other
        if value is not None and value < 0:
            return ast.UnaryOp(ast.USub(), _simple_product(number(-value), other))
        if isinstance(this, ast.UnaryOp):
            return ast.UnaryOp(ast.USub(), _simple_product(this.operand, other))
    if literal(right) is not None:
        left, right = right, left
    if isinstance(left, ast.BinOp) and isinstance(left.op, ast.Mult) and _same(left.right, right):
        return ast.BinOp(left.left, left.op, call("power", right, number(2)))
    if _same(left, right):
        return call("power", left, number(2))
    return ast.BinOp(left, ast.Mult(), right)


def _same(one: Node, two: Node) -> bool:
    return ast.dump(one) == ast.dump(two)


def literal(node: Node) -> float | None:
    """The number that an expression is; None for others."""
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp):
        inner = literal(node.operand)
        return None if inner is None else -inner
    return None
