"""ops.py x templates.py -> _sweeps.py; the public functions; the operation table of the docs.

The kernels of operations on arrays, _maps.py, are made by map_codegen.py.

Run ``python -m ndtape.codegen`` after changing a row, a template or the mathematics,
``--check`` to learn whether that was forgotten, ``--docs`` to write docs/operations.md.
The output is committed: Numba can cache it, tracebacks show real lines, and a review of a rule
change shows what it did to every sweep.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from pathlib import Path

from . import rules
from ._version import __version__
from .emit import Emit, called, hoisted, name_of
from .ops import (
    APART,
    FIRST_WIDE,
    FLIPPED,
    FRAME,
    INTERNAL,
    OPCODES,
    TABLE,
    WIDE,
    Opcode,
    table_hash,
)

HERE = Path(__file__).parent
TARGET = HERE / "_sweeps.py"
DOCS = HERE.parent / "docs"

POINTERS = {"op": "u2_at", "out": "u4_at", "a": "u4_at", "b": "u4_at", "c": "u4_at",
            "k": "f8_at", "mark": "u1_at", **dict.fromkeys(APART, "u4_at")}  # fmt: skip
SLOT_NAME = {"x": "p", "y": "q", "u": "s"}
NUMBERS = {"STATUS": FRAME.index("status"), "FIRST_WIDE": FIRST_WIDE, "UNKNOWN": 0,
           "FLIPPED": FLIPPED}  # fmt: skip
SOURCES = ("templates.py", "codegen.py", "emit.py", "map_codegen.py", "rules.py", "_jit.py",
           "nest.py", "reach.py", "spans.py")  # fmt: skip
PACKED = ("forward", "reverse", "tangent", "forward_over_reverse")


def fingerprint() -> str:
    """Changes with the table, the templates, the mathematics, the generator and the version."""
    digest = hashlib.sha256(f"{__version__} {table_hash()}".encode())
    sources = [HERE / name for name in SOURCES]
    for path in [*sources, *sorted((HERE / "vmath").glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


# --- expressions of one opcode -------------------------------------------------------------------


def holes(opcode: Opcode) -> dict[str, ast.expr | None]:
    """The expressions that the template names Z, W_DX, T_DX, H_DX ... stand for."""
    row, form = opcode.row, opcode.form
    variables = [x for x, f in zip(row.operands, form, strict=True) if f == "v"]
    tangents: dict[str, ast.expr] = {x: ast.Name(f"{x}t") for x in [*variables, "z"]}
    result: dict[str, ast.expr | None] = {"Z": rules.parse(row.z)}
    for operand, text in zip(row.operands, row.partials, strict=True):
        partial = None if text == "0" or operand not in variables else rules.parse(text)
        w, wt, t = ast.Name("w"), ast.Name("wt"), ast.Name(f"{operand}t")
        change = None if partial is None else rules.along(partial, tangents)
        name = operand.upper()
        result[f"W_D{name}"] = rules.scaled(w, partial)
        result[f"T_D{name}"] = rules.scaled(t, partial)
        result[f"H_D{name}"] = rules.plus(rules.scaled(wt, partial), rules.scaled(w, change))
    return result


# --- one branch ----------------------------------------------------------------------------------


class Branch:
    """The statements of a template branch, specialised to an opcode."""

    def __init__(self, opcode: Opcode, packs: bool, nonzero: str) -> None:
        emit = Emit(packs, nonzero)
        self.values = {
            name: None if node is None else emit.visit(rules.expand(node))
            for name, node in holes(opcode).items()
        }
        self.packs = packs
        pairs = list(zip(opcode.row.operands, opcode.form, strict=True))
        self.constants = {SLOT_NAME[x]: x for x, f in pairs if f == "k"}
        self.constants |= {f"{slot}g": x for slot, x in self.constants.items()}

    def statements(self, body: list[ast.stmt]) -> list[ast.stmt]:
        kept = [s for s in map(self.statement, body) if s is not None]
        return _live(hoisted(_shared(kept))) or [ast.Pass()]

    def statement(self, node: ast.stmt) -> ast.stmt | None:
        node = ast.parse(ast.unparse(node)).body[0]
        if isinstance(node, ast.If) and not node.orelse:  # of a guard
            return node
        if isinstance(node, ast.If):  # if p == r: carry += .. else: g[p] += ..
            node.body = [s for s in map(self.statement, node.body) if s is not None]
            node.orelse = [s for s in map(self.statement, node.orelse) if s is not None]
            return node if node.body and node.orelse else None
        if not isinstance(node, (ast.Assign, ast.AugAssign)):
            return node
        column, slot = _indexed(node.value)
        if slot in self.constants and column == "v":
            source: ast.expr = rules.fill(node.value, {"v": ast.Name("k")})
            node.value = rules.call("splat", source) if self.packs else source
            return node
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if slot in self.constants or _indexed(target)[1] in self.constants:
            return None  # a constant has neither tangent nor adjoint
        value = self.filled(node.value)
        if value is None:
            return None if isinstance(node, ast.AugAssign) else _assign(node, ast.Name("NOTHING"))
        node.value = value
        return node

    def filled(self, node: ast.expr) -> ast.expr | None:
        """A template expression with its holes filled; None when nothing is left of it."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self.filled(node.left), self.filled(node.right)
            if left is not None or right is not None or _has_hole(node, self.values):
                return rules.plus(left, right)
        if isinstance(node, ast.Name) and node.id in self.values:
            return self.values[node.id]
        return node


def _shared(body: list[ast.stmt]) -> list[ast.stmt]:
    """Compute what both arms of `if p == r` add before the test."""
    result: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If) and node.orelse:
            added = node.body[0]
            assert isinstance(added, ast.AugAssign) and isinstance(node.orelse[0], ast.AugAssign)
            result += ast.parse(f"d = {ast.unparse(added.value)}").body
            added.value = node.orelse[0].value = ast.Name("d")
        result.append(node)
    return result


def _has_hole(node: ast.expr, values: dict[str, ast.expr | None]) -> bool:
    return any(isinstance(n, ast.Name) and n.id in values for n in ast.walk(node))


def _assign(node: ast.Assign | ast.AugAssign, value: ast.expr) -> ast.stmt:
    node.value = value
    return node


def _indexed(node: ast.expr) -> tuple[str, str]:
    """("v", "p") for v[p]."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name):
        return ast.unparse(node.value), node.slice.id
    return "", ""


def _live(body: list[ast.stmt]) -> list[ast.stmt]:
    """Drop loads whose names are never read."""
    while True:
        read = {
            n.id
            for s in body
            for n in ast.walk(s)
            if isinstance(n, ast.Name) and n.id not in _assigned(s)
        }
        kept = [s for s in body if not _assigned(s) or _assigned(s) & read]
        if len(kept) == len(body):
            return kept
        body = kept


def _assigned(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return {node.targets[0].id}
    return set()


# --- a whole sweep -------------------------------------------------------------------------------


class Expand(ast.NodeTransformer):
    """One template function -> one sweep, for scalars or for packs of lanes."""

    def __init__(self, packs: bool) -> None:
        self.packs = packs
        self.nonzero = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.nonzero = "w" if node.name.startswith("reverse") else ""
        first = node.body[0]
        assert isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        doc = str(first.value.value)
        node.body[0] = ast.Expr(ast.Constant(doc + (" Packs of lanes." if self.packs else "")))
        self.generic_visit(node)
        body: list[ast.stmt] = []
        for statement in node.body:
            body += self.columns(statement)
        node.body = body
        node.name = node.name.removesuffix("_packs") + "_packs" * self.packs
        node.decorator_list = [ast.Name("sweep")]
        return node

    def columns(self, node: ast.stmt) -> list[ast.stmt]:
        """`op, v = columns(frame)` -> one line a column."""
        if not (isinstance(node, ast.Assign) and name_of(node.value) == "columns"):
            return [node]
        target = node.targets[0]
        names = [ast.unparse(e) for e in target.elts] if isinstance(target, ast.Tuple) else [
            ast.unparse(target)
        ]  # fmt: skip
        lines = ["f = u8_at(frame)"]
        for name in names:
            pointer = POINTERS.get(name, "pack_at" if self.packs else "f8_at")
            lines.append(f"{name} = {pointer}(f[{FRAME.index(APART.get(name, name))}])")
        return ast.parse("\n".join(lines)).body

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id == "NOTHING":
            return rules.parse("splat(0.0)" if self.packs else "0.0")
        value = NUMBERS.get(node.id)
        return node if value is None else ast.Constant(value)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if name_of(node) == "alive":
            test = f"{ast.unparse(node.args[0])} != 0.0"
            return rules.parse(f"any_lane({test})" if self.packs else test)
        if name_of(node) == "kernel":
            return self.kernel(FRAME.index(ast.unparse(node.args[0])))
        return node

    def kernel(self, table: int) -> ast.expr:
        """The status of the kernel for `code`, from a table of the frame; packs have none."""
        if self.packs:
            return ast.Name("NO_LANES")
        return rules.parse(f"call_at(u8_at(f[{table}])[code - {FIRST_WIDE}], frame, i, i + ONE)")

    def visit_If(self, node: ast.If) -> ast.stmt:
        """`if code == KIND ... elif ...` -> one branch an opcode.

        In the order of the codes: LLVM makes one jump table of at most 64 branches in a row, and
        a table of consecutive codes is left by one comparison instead of a jump of its own.
        """
        self.visit(node.test)
        if not ast.unparse(node.test).startswith("code == "):
            self.generic_visit(node)
            return node
        bodies: dict[str, list[ast.stmt]] = {}
        rest: list[ast.stmt] = [node]
        while len(rest) == 1 and isinstance(rest[0], ast.If):
            kind = ast.unparse(rest[0].test).removeprefix("code == ").lower()
            bodies[kind], rest = rest[0].body, rest[0].orelse
        rest = [self.visit(s) for s in rest]
        wide = [self.visit(s) for s in bodies["wide"]]
        test = rules.parse(f"{FIRST_WIDE} <= code < {FIRST_WIDE + len(WIDE)}")
        rest = [ast.If(test, wide, rest)]
        for opcode in reversed(OPCODES):
            branch = Branch(opcode, self.packs, self.nonzero)
            body = [self.visit(s) for s in branch.statements(bodies[opcode.row.kind])]
            test = rules.parse(f"code == {opcode.code}")
            rest = [ast.If(test, body, rest)]
        return rest[0]


HEADER = '''"""Generated by `python -m ndtape.codegen` from ops.py and templates.py. Do not edit."""

from functools import partial

import numpy as np

from ._jit import Sweep, call_at, f8_at, u1_at, u2_at, u4_at, u8, u8_at
from .ops import NO_LANES
from .reach import spread
from .vmath import (
{names}
)
from .vmath.lanes import any_lane, fma, pack_at, select, splat

FINGERPRINT = "{fingerprint}"
TABLE_HASH = "{table_hash}"
SLOTS = np.array({slots}, np.uint8)  # bit j: operand j is a slot
ONE = u8(1)
NOWHERE = u8(0xFFFFFFFFFFFFFFFF)
sweep = partial(Sweep, fingerprint=FINGERPRINT)
'''


def generate() -> str:
    """The text of _sweeps.py."""
    functions = []
    for packs in (False, True):
        tree = ast.parse((HERE / "templates.py").read_text())
        nodes = [node for node in tree.body[1:] if isinstance(node, ast.FunctionDef)]
        own = {node.name for node in nodes if node.name.endswith("_packs")}
        for node in nodes:
            for_packs = node.name in own or (
                node.name in PACKED and f"{node.name}_packs" not in own
            )
            if for_packs if packs else node.name not in own:
                sweep = ast.fix_missing_locations(Expand(packs).visit(node))
                functions.append(ast.unparse(sweep))
    text = "\n\n\n".join(functions)
    known = {"sweep", "spread", "range", "any_lane", "fma", "select", "splat"}
    names = sorted(n for n in called(ast.parse(text)) - known if not n.endswith("_at"))
    header = HEADER.format(
        names="\n".join(f"    {name}," for name in names),
        fingerprint=fingerprint(),
        table_hash=table_hash(),
        slots=[slots_of(o) for o in OPCODES],
    )
    return f"{header}\n\n{text}\n"


def slots_of(opcode: Opcode) -> int:
    return sum(1 << j for j, f in enumerate(opcode.form) if f == "v")


FUNCTIONS_HEADER = '''"""Generated by `python -m ndtape.codegen` from ops.py. Do not edit.

The functions of the table under their names and those of NumPy's and SciPy's ufuncs, spelled out
so that editors and type checkers see them.  They take recording values and plain numbers; where
no operand records, the answer is a plain number.
"""

from collections.abc import Callable
from typing import Any

from .record import operators  # noqa: F401  fills FUNCTIONS in
from .record.values import FUNCTIONS

Function = Callable[..., Any]

'''


def functions() -> str:
    """The text of functions.py."""
    names: dict[str, str] = {}
    for row in TABLE:
        if row.name not in INTERNAL:
            names |= dict.fromkeys([row.name, *row.ufunc.split()], row.name)
    lines = [f'{name}: Function = FUNCTIONS["{row}"]' for name, row in sorted(names.items())]
    exported = "".join(f'    "{name}",\n' for name in sorted(names))
    return FUNCTIONS_HEADER + f"__all__ = [\n{exported}]\n\n" + "\n".join(lines) + "\n"


def operations_markdown() -> str:
    """The table of operations for the documentation."""
    lines = [
        "# Operations",
        "",
        "Generated by `make docs` from `ndtape/ops.py`. Operands are `x y u`, the result is `z`;",
        "a partial derivative that is not shown is 0.",
        "",
        "| name | value | partial derivatives | NumPy, SciPy | at a kink | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for row in TABLE:
        partials = [
            f"d{x}: `{text}`"
            for x, text in zip(row.operands, row.partials, strict=True)
            if text != "0"
        ]
        cells = [f"`{row.name}`", f"`{row.z}`", "; ".join(partials) or "0", row.ufunc, row.kink,
                 row.doc]  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def numpy_markdown() -> str:
    """The list of NumPy's functions that recording arrays know."""
    from . import primitives  # noqa: F401  registers some of them
    from .numpy.registry import markdown

    return markdown()


def main(arguments: list[str]) -> int:
    from . import map_codegen  # which uses this module

    docs = [(DOCS / "operations.md", operations_markdown()), (DOCS / "numpy.md", numpy_markdown())]
    code = [
        (TARGET, generate()),
        (HERE / "_maps.py", map_codegen.generate()),
        (HERE / "functions.py", functions()),
    ]
    if "--check" in arguments:
        outputs = code + docs
        stale = [p.name for p, text in outputs if not p.exists() or p.read_text() != text]
        if stale:
            print(f"out of date: {', '.join(stale)}; run `make sweeps docs`")
        return bool(stale)
    for path, text in docs if "--docs" in arguments else code:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
