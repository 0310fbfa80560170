"""The machine code of operations on recording scalars, made from the rows of the op table.

Each row becomes, in each mode, a small LLVM function of (tape, slot, value) of its operands, so
that Numba has nothing to infer and to compile but the calls.  Rejected: Numba functions made of
text, which took 70 ms each where this takes 2.

A linear one computes the value, and for each operand that is not passive appends an entry with the
partial derivative; a partial that is exactly 0 by a condition of its row (`relu` left of 0) leaves
none, so that, as everywhere, it contributes nothing even to an infinite adjoint.  One for tapes
appends the opcode of the form that fits.  Plain numbers come as passive values: when LLVM has
inlined the function, nothing of the tests is left.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any
from weakref import WeakKeyDictionary

from llvmlite import ir

from .. import rules, vmath
from ..emit import Emit, called, hoisted
from ..ops import CODES, INPUT_CODE, Op, forms
from ..vmath.lanes import select
from ..vmath.value import F64, I1, I64, Value
from .memory import (
    CURSOR,
    END,
    ENTRY,
    ERROR,
    GRANTED,
    GROW,
    GUARD,
    GUARDED,
    K_SIZE,
    K_USED,
    LIMIT,
    NEXT,
    OP,
    ORIGIN,
    A,
    B,
    C,
    K,
    N,
)
from .types import FINGERPRINT, LINEAR

SCALAR = ir.LiteralStructType([I64, I64, F64])
ZERO = ir.Constant(I64, 0)
NOWHERE = ir.Constant(I64, -1)  # the slot that says: Python has refused to give room
I32, I16 = ir.IntType(32), ir.IntType(16)
GROWING = ir.FunctionType(I64, [I64, I64])


def operation(module: ir.Module, row: Op, mode: str) -> ir.Function:
    """The function of a row in a module, made there at its first use."""
    name = f"ndtape_{mode}_{row.name}_{FINGERPRINT}"
    found = module.globals.get(name)
    if found is not None:
        return found
    result = I1 if row.boolean else F64
    returned = ir.LiteralStructType([I64, I64, result])
    # First the address of the first entry, or, for a tape of instructions, the line of a guard.
    given = [I64, *[I64, I64, F64] * len(row.operands)]
    function = ir.Function(module, ir.FunctionType(returned, given), name)
    function.linkage = "internal"
    function.attributes.add("nounwind")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    start, *parts = function.args
    operands = [Operand(*parts[3 * i : 3 * i + 3]) for i in range(len(row.operands))]
    if mode == LINEAR:
        _linear(b, row, operands, start)
    else:
        _tape(b, row, operands, start)
    return function


class Operand:
    """A recording scalar in registers."""

    def __init__(self, tape: ir.Value, slot: ir.Value, value: ir.Value) -> None:
        self.tape, self.slot, self.value = tape, slot, value


class Mathematics:
    """The expressions of a row, evaluated where a builder stands."""

    def __init__(self, b: ir.IRBuilder, row: Op, operands: Sequence[Operand]) -> None:
        self.names: dict[str, Any] = {"select": select}
        for name, operand in zip(row.operands, operands, strict=True):
            self.names[name] = Value(b, operand.value)
        self.partials: list[ast.expr | None] = []
        trees = {"z": rules.parse(row.z)}
        for name, text in zip(row.operands, row.partials, strict=True):
            if text != "0":
                trees[f"d{name}"] = rules.parse(text)
        emit = Emit(packs=True, nonzero="")
        body = [ast.parse(f"{name} = {ast.unparse(emit.visit(rules.expand(tree)))}").body[0]
                for name, tree in trees.items()]  # fmt: skip
        self.body = _sincos(hoisted(body))
        self.names |= {
            f: getattr(vmath, f) for s in self.body for f in called(s) if f in vmath.__all__
        }

    def value(self) -> Value:
        """z, and what it or several partial derivatives share."""
        for statement in self.body:
            if _target(statement)[0] in "fz":
                self._run(statement)
        z = self.names["z"]
        return z if isinstance(z, Value) else self._constant(z)

    def partial(self, name: str) -> Value:
        """The partial derivative with respect to an operand."""
        self._run(next(s for s in self.body if _target(s) == f"d{name}"))
        d = self.names[f"d{name}"]
        return d if isinstance(d, Value) else self._constant(d)

    def condition(self, node: ast.expr) -> Value:
        """The truth value of a condition of the row."""
        text = ast.unparse(Emit(packs=True, nonzero="").visit(rules.expand(node)))
        return eval(text, {**_functions(text), **self.names})  # type: ignore[no-any-return]

    def _run(self, statement: ast.stmt) -> None:
        exec(ast.unparse(statement), self.names)

    def _constant(self, number: float) -> Value:
        b = next(v.b for v in self.names.values() if isinstance(v, Value))
        return Value(b, ir.Constant(F64, float(number)))


def _functions(text: str) -> dict[str, Any]:
    return {f: getattr(vmath, f) for f in called(ast.parse(text)) if f in vmath.__all__}


def _target(statement: ast.stmt) -> str:
    assert isinstance(statement, ast.Assign)
    target = statement.targets[0]
    return ast.unparse(target.elts[0] if isinstance(target, ast.Tuple) else target)


def _sincos(body: list[ast.stmt]) -> list[ast.stmt]:
    """Sine and cosine of one number at the price of one."""
    text = "\n".join(map(ast.unparse, body))
    if "sin(x)" in text and "cos(x)" in text:
        text = text.replace("cos(x)", "f_cosine").replace("sin(x)", "f_sine")
        return ast.parse("f_sine, f_cosine = sincos(x)\n" + text).body
    return body


def _joined(b: ir.IRBuilder, operands: Sequence[Operand]) -> ir.Value:
    """The header: all recording operands have the same one, passive ones 0."""
    header = operands[0].tape
    for operand in operands[1:]:
        header = b.or_(header, operand.tape)
    return header


HEADERS: WeakKeyDictionary[Any, ir.Value] = WeakKeyDictionary()  # functions being compiled


def header_for(b: ir.IRBuilder, operands: Sequence[Operand]) -> ir.Value:
    """The header that an operation of a linear recording appends through.

    Where `headers.py` has found it at the beginning of the function, all operations use that one
    value, and LLVM sees that they work on the same words.
    """
    known = HEADERS.get(b.function)
    return _joined(b, operands) if known is None else known


def scalar(b: ir.IRBuilder, tape: ir.Value, slot: ir.Value, value: ir.Value) -> ir.Value:
    made = ir.Constant(ir.LiteralStructType([I64, I64, value.type]), ir.Undefined)
    for i, part in enumerate((tape, slot, value)):
        made = b.insert_value(made, part, i)
    return made


# --- memory ---------------------------------------------------------------------------------------


def word(b: ir.IRBuilder, header: ir.Value, index: int) -> ir.Value:
    """The address of a word of the header."""
    pointer = b.inttoptr(header, I64.as_pointer())
    return b.gep(pointer, [ir.Constant(I64, index)])


def load(b: ir.IRBuilder, header: ir.Value, index: int) -> ir.Value:
    """A word of the header."""
    return tagged(b, b.load(word(b, header, index)), "header")


def store(b: ir.IRBuilder, value: ir.Value, header: ir.Value, index: int) -> None:
    """Set a word of the header."""
    tagged(b, b.store(value, word(b, header, index)), "header")


def store_at(b: ir.IRBuilder, address: ir.Value, value: ir.Value) -> None:
    """Write what is appended to a tape."""
    pointer = b.inttoptr(address, value.type.as_pointer()) if address.type == I64 else address
    tagged(b, b.store(value, pointer), "tape")


def tagged(b: ir.IRBuilder, access: Any, what: str) -> Any:
    """Tell LLVM that the header and the tape never overlap.

    Then it keeps the place of the next entry in a register from one operation to the next, instead
    of reading it back: that would take longer than all the rest of an addition.
    """
    root = b.module.add_metadata(["ndtape"])
    kind = b.module.add_metadata([what, root, ZERO])
    access.set_metadata("tbaa", b.module.add_metadata([kind, kind, ZERO]))
    return access


def ask(b: ir.IRBuilder, header: ir.Value, wanted: ir.Value) -> ir.Value:
    """Call Python for room; answers 0 where there is some now."""
    name = f"ndtape_ask_{FINGERPRINT}"
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, GROWING, name)
        function.linkage = "internal"
        for attribute in ("noinline", "cold"):
            function.attributes.add(attribute)
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        inner.ret(inner.zext(inner.not_(_granted(inner, *function.args)), I64))
    return b.call(function, [header, wanted])


def _granted(b: ir.IRBuilder, header: ir.Value, wanted: ir.Value) -> ir.Value:
    """Whether Python gives room.  The place where signals are seen, in machine code.

    A KeyboardInterrupt that met a callback at its first instruction would be printed, and lost:
    so it is fetched here and left in the header.  ctypes answers 0 for a callback that has failed.
    """
    c_int, pointer = ir.IntType(32), ir.IntType(8).as_pointer()

    def python(name: str, result: ir.Type, *parameters: ir.Type) -> Any:
        found = b.module.globals.get(name)
        return found or ir.Function(b.module, ir.FunctionType(result, parameters), name)

    state = b.call(python("PyGILState_Ensure", c_int), [])
    signalled = b.icmp_signed("!=", b.call(python("PyErr_CheckSignals", c_int), []), c_int(0))
    with b.if_then(signalled):
        words = [word(b, header, ERROR + i) for i in range(3)]
        fetch = python("PyErr_Fetch", ir.VoidType(), *[pointer] * 3)
        b.call(fetch, [b.bitcast(w, pointer) for w in words])
    b.call(python("PyGILState_Release", ir.VoidType(), c_int), [state])
    before = b.block
    with b.if_then(b.not_(signalled)):
        target = b.inttoptr(load(b, header, GROW), GROWING.as_pointer())
        given = b.icmp_signed("==", b.call(target, [header, wanted]), I64(GRANTED))
        inside = b.block
    found = b.phi(I1)
    found.add_incoming(I1(0), before)
    found.add_incoming(given, inside)
    return found


def make_room(
    b: ir.IRBuilder, header: ir.Value, refuse: Callable[[ir.IRBuilder], None]
) -> ir.Value:
    """Before an operation on a linear tape: where its entries go; 0 where nothing records."""
    before = b.block
    with b.if_then(b.icmp_unsigned("!=", header, ZERO)):
        known, asked_from = load(b, header, CURSOR), b.block
        with b.if_then(b.icmp_unsigned(">", known, load(b, header, LIMIT)), likely=False):
            found = b.call(_next_chunk(b.module), [header, known, load(b, header, NEXT)])
            moved = b.extract_value(found, 0)
            with b.if_then(b.icmp_unsigned("==", moved, ZERO), likely=False):
                store(b, known, header, CURSOR)  # nothing set before matters: LLVM may drop it
                store(b, ZERO, header, NEXT)
                refuse(b)
            store(b, moved, header, CURSOR)  # as it is already; LLVM must know
            store(b, b.extract_value(found, 1), header, LIMIT)
            moved_in = b.block
        cursor = b.phi(I64)
        cursor.add_incoming(known, asked_from)
        cursor.add_incoming(moved, moved_in)
        inside = b.block
    start = b.phi(I64)
    start.add_incoming(ZERO, before)
    start.add_incoming(cursor, inside)
    return start


def _next_chunk(module: ir.Module) -> ir.Function:
    """The function (header, cursor, next slot) -> (cursor, limit) in another chunk, or zeros.

    All that it needs comes and goes in registers, and LLVM is told that it touches no memory of
    ours: so it need not write the header after each operation because this might be called.
    """
    name = f"ndtape_next_chunk_{FINGERPRINT}"
    function = module.globals.get(name)
    if function is not None:
        return function
    pair = ir.LiteralStructType([I64, I64])
    function = ir.Function(module, ir.FunctionType(pair, [I64, I64, I64]), name)
    function.linkage = "internal"
    for attribute in ("noinline", "cold", "nounwind", "inaccessiblememonly"):
        function.attributes.add(attribute)
    b = ir.IRBuilder(function.append_basic_block("entry"))
    header, cursor, slot = function.args
    store(b, cursor, header, CURSOR)
    store(b, slot, header, NEXT)
    given = _granted(b, header, ZERO)
    parts = [b.select(given, load(b, header, place), ZERO) for place in (CURSOR, LIMIT)]
    made = ir.Constant(pair, ir.Undefined)
    for i, part in enumerate(parts):
        made = b.insert_value(made, part, i)
    b.ret(made)
    return function


# --- linear ---------------------------------------------------------------------------------------


def _linear(b: ir.IRBuilder, row: Op, operands: Sequence[Operand], start: ir.Value) -> None:
    mathematics = Mathematics(b, row, operands)
    z = mathematics.value().ir
    if row.boolean:
        truth = b.fcmp_unordered("!=", z, ir.Constant(F64, 0.0))
        b.ret(scalar(b, ZERO, ZERO, truth))
        return
    pairs = [(name, operand, rules.parse(text))
             for name, operand, text in zip(row.operands, operands, row.partials, strict=True)
             if text != "0"]  # fmt: skip
    header = _joined(b, operands)
    if not pairs:
        b.ret(scalar(b, header, ZERO, z))
        return
    with b.if_then(b.icmp_unsigned("==", start, ZERO)):
        b.ret(scalar(b, header, ZERO, z))
    end, out = start, load(b, header, NEXT)
    for name, operand, partial in reversed(pairs):  # reverse sweeps then meet x first
        wanted = b.icmp_unsigned("!=", operand.slot, ZERO)
        condition = nonzero(partial, mathematics)
        if condition is not None:
            wanted = b.and_(wanted, condition.ir)
        before = b.block
        with b.if_then(wanted):
            put(b, end, mathematics.partial(name).ir, operand.slot, out)
            advanced, inside = b.add(end, I64(ENTRY)), b.block
        after = b.phi(I64)
        after.add_incoming(end, before)
        after.add_incoming(advanced, inside)
        end = after
    recorded = b.icmp_unsigned("!=", end, start)
    store(b, end, header, CURSOR)
    store(b, b.add(out, b.zext(recorded, I64)), header, NEXT)
    b.ret(scalar(b, header, b.select(recorded, out, ZERO), z))


def put(
    b: ir.IRBuilder, place: ir.Value, partial: ir.Value, operand: ir.Value, result: ir.Value
) -> None:
    """One entry: the result depends on the operand with this partial derivative."""
    store_at(b, place, partial)
    both = b.or_(operand, b.shl(result, I64(32)))  # stores are what recording waits for
    store_at(b, b.add(place, I64(8)), both)


def nonzero(partial: ast.expr, mathematics: Mathematics) -> Value | None:
    """When a partial derivative is not 0 by a condition of its row; None where it never is."""
    text = _nonzero(partial)
    return None if text is True else mathematics.condition(rules.parse(str(text)))


def _nonzero(node: ast.expr) -> bool | str:
    """True, False, or a condition as text."""
    if isinstance(node, ast.Constant):
        return node.value != 0
    if not isinstance(node, ast.IfExp):
        return True
    yes, no, test = _nonzero(node.body), _nonzero(node.orelse), f"({ast.unparse(node.test)})"
    if yes is True and no is True:
        return True
    chosen = [] if yes is False else [test if yes is True else f"({test} and {yes})"]
    other = f"(~{test})"
    chosen += [] if no is False else [other if no is True else f"({other} and {no})"]
    return " or ".join(chosen) if len(chosen) > 1 else chosen[0]


# --- tape of instructions -------------------------------------------------------------------------


def _tape(b: ir.IRBuilder, row: Op, operands: Sequence[Operand], line: ir.Value) -> None:
    z = Mathematics(b, row, operands).value().ir
    truth = b.fcmp_unordered("!=", z, ir.Constant(F64, 0.0)) if row.boolean else z
    header = _joined(b, operands)
    with b.if_then(b.icmp_unsigned("==", header, ZERO)):
        b.ret(scalar(b, ZERO, ZERO, truth))
    for mask in product("vk", repeat=len(operands)):
        if "v" not in mask:
            continue
        fits = ir.Constant(I1, 1)
        for form, operand in zip(mask, operands, strict=True):
            sign = "!=" if form == "v" else "=="
            fits = b.and_(fits, b.icmp_unsigned(sign, operand.slot, ZERO))
        with b.if_then(fits):
            slot = _appended(b, header, row, "".join(mask), operands)
            if row.boolean:
                guard(b, header, slot, z, line)
            b.ret(scalar(b, header, b.add(slot, ir.Constant(I64, 1)), truth))
    b.unreachable()


def _appended(
    b: ir.IRBuilder, header: ir.Value, row: Op, mask: str, operands: Sequence[Operand]
) -> ir.Value:
    """Append a row whose operands are slots and numbers as in `mask`; answers its slot."""
    known, given = forms(row), list(zip(mask, operands, strict=True))
    if mask not in known and row.commutes:
        mask, given = mask[::-1], given[::-1]
    if mask not in known:
        mask = "v" * len(mask) if "v" * len(mask) in known else known[0]
    columns = []
    for form, (kind, operand) in zip(mask, given, strict=True):
        if kind == "v" and form == "v":
            columns.append(b.sub(operand.slot, ir.Constant(I64, 1)))
        elif form == "k":
            columns.append(pooled(b, header, operand.value))
        else:  # a constant where the row wants a slot: an input that nothing is fed to
            place = pooled(b, header, operand.value)
            columns.append(append(b, header, INPUT_CODE, [place]))
    return append(b, header, CODES[row.name, mask], columns)


def _refuse(b: ir.IRBuilder) -> None:
    """Leave a function of a row: there is no room."""
    returned = b.function.function_type.return_type
    if returned == I64:
        b.ret(NOWHERE)
    else:
        b.ret(scalar(b, ZERO, NOWHERE, ir.Constant(returned.elements[2], 0)))


def append(b: ir.IRBuilder, header: ir.Value, code: int, columns: Sequence[ir.Value]) -> ir.Value:
    """One instruction; answers its slot."""
    full = b.icmp_unsigned(">=", load(b, header, N), load(b, header, END))
    with b.if_then(full, likely=False):
        status = ask(b, header, ZERO)
        with b.if_then(b.icmp_signed("!=", status, ZERO), likely=False):
            _refuse(b)
    n = load(b, header, N)
    opcodes = b.inttoptr(load(b, header, OP), I16.as_pointer())
    store_at(b, b.gep(opcodes, [n]), ir.Constant(I16, code))
    for place, column in zip((A, B, C), columns, strict=False):
        pointer = b.inttoptr(load(b, header, place), I32.as_pointer())
        store_at(b, b.gep(pointer, [n]), b.trunc(column, I32))
    store(b, b.add(n, ir.Constant(I64, 1)), header, N)
    return b.add(n, load(b, header, ORIGIN))


def pooled(b: ir.IRBuilder, header: ir.Value, value: ir.Value) -> ir.Value:
    """A new entry of the constant pool."""
    full = b.icmp_unsigned(">=", load(b, header, K_USED), load(b, header, K_SIZE))
    with b.if_then(full, likely=False):
        status = ask(b, header, ZERO)
        with b.if_then(b.icmp_signed("!=", status, ZERO), likely=False):
            _refuse(b)
    k = load(b, header, K_USED)
    pool = b.inttoptr(load(b, header, K), F64.as_pointer())
    store_at(b, b.gep(pool, [k]), value)
    store(b, b.add(k, ir.Constant(I64, 1)), header, K_USED)
    return k


def guard(
    b: ir.IRBuilder, header: ir.Value, slot: ir.Value, outcome: ir.Value, line: ir.Value
) -> None:
    """Where a replay will happen, it stops unless the value in `slot` is `outcome` again.

    The line of the user's function goes into the column that guards leave free.
    """
    wanted = b.icmp_unsigned("!=", load(b, header, GUARDED), ZERO)
    with b.if_then(wanted):
        append(b, header, GUARD, [slot, pooled(b, header, outcome), line])


def whole(module: ir.Module) -> ir.Function:
    """The function that guards a whole number: 0, or not where there is no room."""
    name = f"ndtape_whole_{FINGERPRINT}"
    found = module.globals.get(name)
    if found is not None:
        return found
    function = ir.Function(module, ir.FunctionType(I64, [I64, I64, I64, F64]), name)
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    line, header, slot, value = function.args
    with b.if_then(b.icmp_unsigned("!=", slot, ZERO)):
        guard(b, header, b.sub(slot, ir.Constant(I64, 1)), value, line)
    b.ret(ZERO)
    return function
