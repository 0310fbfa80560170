"""Rule expressions as text that Numba compiles: for sweeps, kernels, the compiled recorder.

`Emit` types the literals and chooses between `select` and branches; `hoisted` computes once what
a text would call twice.
"""

from __future__ import annotations

import ast
from collections import Counter

from . import rules


class Emit(ast.NodeTransformer):
    """Rule grammar -> Python that Numba compiles, for scalars or for packs of lanes."""

    def __init__(self, packs: bool, nonzero: str) -> None:
        self.packs = packs
        self.nonzero = nonzero  # a name known not to be zero: mz(w, d) is then w * d

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return rules.number(node.value)  # type: ignore[arg-type]

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        symbol = ast.BitAnd() if isinstance(node.op, ast.And) else ast.BitOr()
        total = node.values[0]
        for value in node.values[1:]:
            total = ast.BinOp(total, symbol, value)
        return total

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        costly = any(isinstance(n, ast.Call) and name_of(n) != "select" for n in ast.walk(node))
        if costly and not self.packs:
            return node
        return rules.call("select", node.test, node.body, node.orelse)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if name_of(node) == "mz" and not self.packs and _is_name(node.args[0], self.nonzero):
            return ast.BinOp(node.args[0], ast.Mult(), node.args[1])
        return node


def name_of(node: ast.expr) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def called(tree: ast.AST) -> set[str]:
    """The names of all functions called in a tree."""
    return {name_of(n) for n in ast.walk(tree) if isinstance(n, ast.Call)} - {""}


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


CHEAP = {"select", "mz", "splat", "fabs", "any_lane", "sign", "copysign", "trunc", "floor"}


class _Replace(ast.NodeTransformer):
    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if ast.unparse(node) == self.text:
            return ast.Name(self.name)
        return self.generic_visit(node)  # type: ignore[return-value]


def hoisted(body: list[ast.stmt]) -> list[ast.stmt]:
    """Compute a function once when a branch calls it twice with the same arguments."""
    for index in range(9):
        calls = Counter(
            ast.unparse(n)
            for s in body
            for n in ast.walk(s)
            if isinstance(n, ast.Call) and name_of(n) not in CHEAP
        )
        twice = [text for text, count in calls.items() if count > 1]
        if not twice:
            return body
        text, name = max(twice, key=len), f"f{index}"
        first = next(j for j, s in enumerate(body) if text in ast.unparse(s))
        body = [_Replace(text, name).visit(s) for s in body]
        body.insert(first, ast.parse(f"{name} = {text}").body[0])
    raise RuntimeError("a rule repeats more calls than expected")
