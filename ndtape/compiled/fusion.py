"""Array expressions as one loop: ``a * x + exp(y)`` makes one array, and one result an element.

On a linear tape the partial derivatives of a whole expression are accumulated in registers, and an
element of it is one result with an entry for each array or scalar that goes in, where operation by
operation would leave an array and a result for each of them.  ``np.sum`` of an expression makes no
array at all: one result, with those entries.

A pass after type inference finds such expressions, as Numba's own does for plain arrays: an
operation moves to the only place where its result is used, if nothing in between may change what
it reads.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from llvmlite import ir as llvm
from numba.core import cgutils, ir, types
from numba.core.compiler_machinery import FunctionPass, register_pass

from .. import rules
from ..ops import ROWS
from ..vmath.value import F64, I1, I64
from . import emission
from .elementwise import (
    PARTS,
    PLAIN_PARTS,
    Target,
    common_header,
    element_of,
    operand_of,
    pair,
    runs,
)
from .emission import Mathematics, Operand
from .memory import ENTRY
from .operators import POWERS, mode_of, rows_of_functions
from .reductions import _sum
from .scalars import is_number
from .types import FINGERPRINT, LINEAR, ArrayType, VarType
from .views import (
    ZERO,
    allocate,
    broadcast,
    entry,
    made_scalar,
    number,
    put_at,
    set_tape,
)

FUSED = "ndtape_fused"
MOST = 24  # operations in one loop

# An expression is the number of an operand, or (name of a row, expressions...).


# --- one axis -------------------------------------------------------------------------------------


class Step:
    """A row at work on an element."""

    def __init__(self, b: Any, name: str, children: list[Any], values: list[Any]) -> None:
        self.row, self.children = ROWS[name], children
        operands = [Operand(ZERO, ZERO, value) for value in values]
        self.mathematics = Mathematics(b, self.row, operands)
        self.value = self.mathematics.value().ir
        self.adjoint: Any = None  # None: 1
        self.condition: Any = None  # None: always


class Contribution:
    """To the partial derivative by an operand: a number, and when it counts."""

    def __init__(self, value: Any, condition: Any) -> None:
        self.value, self.condition = value, condition


def differentiated(tree: Any, kinds: list[str]) -> set[int]:
    """The operands of an expression that record, where it has a derivative by them."""
    if isinstance(tree, int):
        return {tree} if kinds[tree] in ("array", "scalar") else set()
    partials = ROWS[tree[0]].partials
    found = [differentiated(t, kinds) for t, p in zip(tree[1:], partials, strict=True) if p != "0"]
    return set().union(*found)


def run(module: Any, tree: Any, kinds: list[str], summed: bool) -> Any:
    """The loop over one axis, like `elementwise.run`; a sum adds to the number at `values`."""
    text = f"{tree} {kinds} {summed}"
    name = f"ndtape_fused_{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}_{FINGERPRINT}"
    found = module.globals.get(name)
    if found is not None:
        return found
    given = [t for kind in kinds for t in PARTS.get(kind, PLAIN_PARTS)]
    returned = llvm.LiteralStructType([I64, I64])
    function = llvm.Function(module, llvm.FunctionType(returned, [I64] * 7 + given), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    b = llvm.IRBuilder(function.append_basic_block("entry"))
    count, header, cursor, following, values, slots, stride, *rest = function.args
    places = [cgutils.alloca_once_value(b, v) for v in (cursor, following)]
    total = cgutils.alloca_once(b, F64)
    if summed:
        b.store(b.load(b.inttoptr(values, F64.as_pointer())), total)
    with cgutils.for_range(b, count) as loop:
        parts, operands = list(rest), []
        for kind in kinds:
            own = len(PARTS.get(kind, PLAIN_PARTS))
            operands.append(element_of(b, kind, parts[:own], loop.index, header))
            del parts[:own]
        z, active = _element(b, tree, kinds, operands, places)
        result = b.load(places[1])
        if summed:
            b.store(b.fadd(b.load(total), z), total)
        else:
            moved = b.mul(loop.index, stride)
            put_at(b, b.add(values, moved), z)
            put_at(b, b.add(slots, moved), b.select(active, result, ZERO))
            b.store(b.add(result, b.zext(active, I64)), places[1])
    if summed:
        put_at(b, values, b.load(total))
    b.ret(pair(b, *(b.load(place) for place in places)))
    return function


def _element(b: Any, tree: Any, kinds: list[str], operands: Any, places: Any) -> tuple[Any, Any]:
    """The value of an element, and whether it depends on what records; writes its entries."""
    done: list[Step] = []
    z = _forward(b, tree, operands, done)
    found = _backward(b, done, kinds)
    start, result = (b.load(place) for place in places)
    end = start
    for i in sorted(found, reverse=True):
        wanted = b.icmp_unsigned("!=", operands[i].slot, ZERO)
        partial, condition = _summed(b, found[i])
        if condition is not None:
            wanted = b.and_(wanted, condition)
        entry(b, end, partial, operands[i].slot, result)
        end = b.add(end, b.select(wanted, number(ENTRY), ZERO))
    b.store(end, places[0])
    return z, b.icmp_unsigned("!=", end, start)


def _forward(b: Any, tree: Any, operands: Any, done: list[Step]) -> Any:
    if isinstance(tree, int):
        return operands[tree].value
    name, *parts = tree
    children, values = [], []
    for part in parts:
        values.append(_forward(b, part, operands, done))
        children.append(part if isinstance(part, int) else done[-1])
    done.append(Step(b, name, children, values))
    return done[-1].value


def _backward(b: Any, done: list[Step], kinds: list[str]) -> dict[int, list[Contribution]]:
    """From the last step to the operands."""
    found: dict[int, list[Contribution]] = {}
    live = _live(done, kinds)
    for step in reversed(done):
        if step not in live:
            continue
        names = zip(step.row.operands, step.row.partials, step.children, strict=True)
        for name, text, child in names:
            if text == "0" or not _records(child, kinds, live):
                continue
            contribution = _passed(b, step, name, text)
            if isinstance(child, int):
                found.setdefault(child, []).append(contribution)
            else:
                child.adjoint, child.condition = contribution.value, contribution.condition
    return found


def _records(child: Any, kinds: list[str], live: set[Step]) -> bool:
    return kinds[child] in ("array", "scalar") if isinstance(child, int) else child in live


def _live(done: list[Step], kinds: list[str]) -> set[Step]:
    """The steps that depend on what records."""
    live: set[Step] = set()
    for step in done:
        for text, child in zip(step.row.partials, step.children, strict=True):
            if text != "0" and _records(child, kinds, live):
                live.add(step)
    return live


def _passed(b: Any, step: Step, name: str, text: str) -> Contribution:
    """The adjoint of a step times a partial derivative; 0 if the adjoint is."""
    condition = emission.nonzero(rules.parse(text), step.mathematics)
    value = step.mathematics.partial(name).ir
    if step.adjoint is not None:
        still = b.fcmp_ordered("==", step.adjoint, llvm.Constant(F64, 0.0))
        moved = b.fmul(step.adjoint, value)
        value = b.select(still, llvm.Constant(F64, 0.0), moved)
    both = step.condition
    if condition is not None:
        both = condition.ir if both is None else b.and_(both, condition.ir)
    return Contribution(value, both)


def _summed(b: Any, contributions: list[Contribution]) -> tuple[Any, Any]:
    """The partial derivative by an operand, and when there is one."""
    conditions = [c.condition for c in contributions]
    if len(contributions) == 1:
        return contributions[0].value, conditions[0]
    total: Any = None
    for c in contributions:
        counted = c.value
        if c.condition is not None:
            counted = b.select(c.condition, c.value, llvm.Constant(F64, 0.0))
        total = counted if total is None else b.fadd(total, counted)
    if None in conditions:
        return total, None
    either: Any = llvm.Constant(I1, 0)
    for condition in conditions:
        either = b.or_(either, condition)
    return total, either


# --- whole arrays ---------------------------------------------------------------------------------


def lower(lowerer: Any, expression: Any) -> Any:
    """Emit a fused expression: an array, or the scalar that is its sum."""
    context, b = lowerer.context, lowerer.builder
    args = [lowerer.loadvar(v.name) for v in expression.operands]
    kinds = [lowerer.typeof(v.name) for v in expression.operands]
    given = [operand_of(context, b, t, v) for t, v in zip(kinds, args, strict=True)]
    shape = broadcast(context, b, [x.view for x in given if x.view is not None])
    header = common_header(b, given, args)
    names = [x.kind for x in given]
    count = len(differentiated(expression.tree, names))
    function = run(b.module, expression.tree, names, expression.summed)
    if not expression.summed:
        z = allocate(context, b, expression.ty, shape, clear=False)
        runs(context, b, function, given, shape, header, Target(z), count, LINEAR)
        set_tape(b, z.cell, header)
        return z.value
    total = cgutils.alloca_once_value(b, llvm.Constant(F64, 0.0))
    b.store(llvm.Constant(F64, 0.0), total)  # also where a loop comes back to it
    target = Target(None, place=b.ptrtoint(total, I64))
    active, slot = runs(context, b, function, given, shape, header, target, count, LINEAR)
    parts = [b.select(active, header, ZERO), b.select(active, slot, ZERO), b.load(total)]
    return made_scalar(context, b, expression.ty, parts)


# --- finding them ---------------------------------------------------------------------------------


class Operation:
    """A statement that assigns a row of arrays, or the sum of an array."""

    def __init__(self, place: int, name: str, operands: list[Any]) -> None:
        self.place, self.name, self.operands = place, name, operands


PURE = {"binop", "unary", "getattr", "getitem", "static_getitem", "build_tuple", "cast", FUSED}


class Finder:
    """The expressions of one block of a function."""

    def __init__(self, state: Any, block: Any, uses: Counter[str], settings: Counter[str]) -> None:
        self.typemap, self.calltypes = state.typemap, state.calltypes
        self.block, self.uses, self.settings = block, uses, settings
        self.operations: dict[str, Operation] = {}
        self.blocked = [0]  # how many statements before may change an array, for each statement
        for i, statement in enumerate(block.body):
            self.blocked.append(self.blocked[-1] + (not self.is_pure(statement)))
            if isinstance(statement, ir.Assign):
                found = self.operation(i, statement)
                if found is not None:
                    self.operations[statement.target.name] = found

    def key_of(self, expression: Any) -> Any:
        """The function that is called, or the operator."""
        if expression.op in ("binop", "unary"):
            return expression.fn
        if expression.op == "call" and not expression.kws and expression.vararg is None:
            kind = self.typemap.get(expression.func.name)
            return getattr(kind, "typing_key", None) if isinstance(kind, types.Function) else None
        return None

    def is_pure(self, statement: Any) -> bool:
        if not isinstance(statement, ir.Assign):
            return False
        value = statement.value
        if not isinstance(value, ir.Expr):
            return True
        if value.op in PURE:
            return True
        key = self.key_of(value)
        return _known(key) is not None or key is _sum

    def operation(self, place: int, statement: Any) -> Operation | None:
        expression = statement.value
        if not isinstance(expression, ir.Expr):
            return None
        key = self.key_of(expression)
        name = "sum" if key is _sum else _known(key)
        if name is None:
            return None
        if expression.op == "call":
            operands = list(expression.args)
        elif expression.op == "unary":
            operands = [expression.value]
        else:
            operands = [expression.lhs, expression.rhs]
        kinds = [self.typemap[v.name] for v in operands]
        result = self.typemap.get(statement.target.name)
        if mode_of(*kinds) != LINEAR or not all(map(_fits, kinds)):
            return None
        if name == "sum":
            fits = len(operands) == 1 and isinstance(result, VarType)
            return Operation(place, name, operands) if fits else None
        if not isinstance(result, ArrayType):
            return None
        if name == "power" and not isinstance(kinds[1], (ArrayType, VarType)):
            exponent = self.calltypes[expression].args[1]
            special = POWERS.get(getattr(exponent, "literal_value", 0))
            if special is None and is_number(kinds[1]):
                return None  # which row it is depends on the number
            if special is not None:
                return Operation(place, special, operands[:1])
        return Operation(place, name, operands)

    def fused(self) -> tuple[dict[int, Any], set[int]]:
        """Statements to replace, and those that their expressions have taken in."""
        new: dict[int, Any] = {}
        gone: set[int] = set()
        for name, root in reversed(self.operations.items()):
            if root.place in gone:
                continue
            operands: list[Any] = []
            taken: list[int] = []
            if root.name == "sum":
                tree = self._tree(root.operands[0], root.place, operands, taken)
            else:
                parts = [self._tree(v, root.place, operands, taken) for v in root.operands]
                tree = (root.name, *parts)
            if not taken:
                continue
            gone.update(taken)
            statement = self.block.body[root.place]
            expression = ir.Expr(
                op=FUSED, loc=statement.loc, tree=tree, operands=tuple(operands),
                summed=root.name == "sum", ty=self.typemap[name],
            )  # fmt: skip
            new[root.place] = ir.Assign(expression, statement.target, statement.loc)
        return new, gone

    def _tree(self, variable: Any, place: int, operands: list[Any], taken: list[int]) -> Any:
        """The expression of a variable that a statement uses."""
        inner = self.operations.get(variable.name)
        if inner is not None and len(taken) < MOST and self._may_move(variable.name, inner, place):
            taken.append(inner.place)
            parts = [self._tree(v, place, operands, taken) for v in inner.operands]
            return (inner.name, *parts)
        for i, known in enumerate(operands):
            if known.name == variable.name:
                return i
        operands.append(variable)
        return len(operands) - 1

    def _may_move(self, name: str, inner: Operation, place: int) -> bool:
        once = self.uses[name] == self.settings[name] == 1 and inner.name != "sum"
        if not once or self.blocked[place] != self.blocked[inner.place + 1]:
            return False
        between = self.block.body[inner.place + 1 : place]
        changed = {s.target.name for s in between}
        return changed.isdisjoint(v.name for v in inner.operands)


def _known(key: Any) -> str | None:
    try:
        name = rows_of_functions.get(key)
    except TypeError:
        return None
    return None if name is None or ROWS[name].boolean else name


def _fits(t: Any) -> bool:
    plain = isinstance(t, types.Array) and (t.dtype in (types.float64, types.boolean, types.int64))
    return plain or isinstance(t, (ArrayType, VarType)) or is_number(t)


@register_pass(mutates_CFG=False, analysis_only=False)
class FuseArrays(FunctionPass):
    """Put fused expressions in the places of array operations."""

    _name = "ndtape_fuse_arrays"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Numba's entry point."""
        state.targetctx.special_ops[FUSED] = lower
        if not any(isinstance(t, ArrayType) for t in state.typemap.values()):
            return False
        uses: Counter[str] = Counter()
        settings: Counter[str] = Counter()
        for block in state.func_ir.blocks.values():
            for statement in block.body:
                names = [v.name for v in statement.list_vars()]
                if isinstance(statement, ir.Assign):
                    settings[statement.target.name] += 1
                    names.remove(statement.target.name)
                uses.update(names)
        changed = False
        for block in state.func_ir.blocks.values():
            new, gone = Finder(state, block, uses, settings).fused()
            changed |= bool(new)
            block.body = [new.get(i, s) for i, s in enumerate(block.body) if i not in gone]
        return changed
