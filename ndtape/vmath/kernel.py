"""Kernels: mathematics written once in Python text and emitted as LLVM code for scalars and packs.

A kernel's text runs when a caller is compiled, on `Value`s that stand for the numbers: each
operator emits one instruction, on `double` or on `<16 x double>` as the operands are.  So both
forms do the same IEEE operations in the same order, which makes their bits equal, and Numba has
nothing to infer inside a kernel.  Rejected: kernels as inlined njit functions, whose type inference
alone cost 30 to 100 ms a function and form, against 1 to 3 ms here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, signature
from numba.extending import lower_builtin

from .._jit import jit
from .value import (
    F64,
    FINGERPRINT,
    I64,
    LANES,
    Pack,
    Value,
    ir_type,
    letter_of,
    numba_type,
    splat_ir,
)


class Primitive:
    """Something callable in njit code: `type_call(argument types)` gives a signature or None, and
    `lower(context, builder, signature, values)` emits it.  Numba finds it by `_numba_type_`."""

    def __init__(self, name: str, type_call: Any, lower: Any, doc: str | None) -> None:
        self.name = self.__name__ = name
        self.__doc__ = doc

        def generic(template: Any, args: Any, kws: Any) -> Any:
            return None if kws else type_call(args)

        template = type(name, (AbstractTemplate,), {"key": self, "generic": generic})
        self._numba_type_ = types.Function(template)
        lower_builtin(self, types.VarArg(types.Any))(lower)

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.name}>"

    def __call__(self, *args: Any) -> Any:
        raise TypeError(f"{self.name} is for compiled code")


ATTRIBUTES = {"inline": ("alwaysinline",), "call": ("noinline",), "auto": ()}


class Kernel(Primitive):
    """A function of scalars or packs, usable in njit code, in other kernels' texts, in Python.

    `letters` is its signature, such as "f,f:f" or "m,T,T:T" (T: any one element type).  `code` says
    how callers get it: "emit" repeats its instructions at each use, the others make an LLVM
    function that is always ("inline"), never ("call") or at LLVM's discretion ("auto") inlined.
    With `lanewise`, packs loop over the lanes and call the scalar form.
    """

    def __init__(
        self, text: Callable[..., Any], letters: str, code: str = "auto", lanewise: bool = False
    ) -> None:
        super().__init__(text.__name__, self.signature_of, self._lower, text.__doc__)
        self.text = text
        parameters, _, results = letters.partition(":")
        self.parameters = parameters.split(",")
        self.results = results.split(",")
        self.code = code
        self.lanewise = lanewise
        self._compiled: Any = None

    # -- typing and lowering in njit code

    def signature_of(self, arguments: Sequence[types.Type]) -> Any:
        """The Numba signature for arguments of these types, None if they do not fit."""
        if len(arguments) != len(self.parameters):
            return None
        if not all(isinstance(a, (Pack, types.Number, types.Boolean)) for a in arguments):
            return None
        packed = any(isinstance(a, Pack) for a in arguments)
        opened = [letter_of(a) for a, p in zip(arguments, self.parameters, strict=True) if p == "T"]
        chosen = next((letter for letter in "fim" if letter in opened), "f")
        letters = [chosen if p == "T" else p for p in self.parameters]
        # A capital M is one truth value, of packs too.
        results = [
            numba_type(chosen if r == "T" else r.lower(), packed and r != "M") for r in self.results
        ]
        result = results[0] if len(results) == 1 else types.UniTuple(results[0], len(results))
        return signature(result, *(numba_type(letter, packed) for letter in letters))

    def _lower(self, context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> Any:
        result = self.emit(builder, *(Value(builder, a) for a in args))
        if len(self.results) == 1:
            return result.ir
        return context.make_tuple(builder, sig.return_type, [r.ir for r in result])

    # -- emitting

    def emit(self, b: ir.IRBuilder, *arguments: Value) -> Any:
        """The result (a Value, or a tuple of them) of this kernel on arguments of one shape."""
        packed = any(a.packed for a in arguments)
        if self.code == "emit":
            return self.text(*arguments)
        values = [splat_ir(b, a.ir) if packed and not a.packed else a.ir for a in arguments]
        function = self._function(b.module, packed)
        result = b.call(function, values)
        if len(self.results) == 1:
            return Value(b, result)
        return tuple(Value(b, b.extract_value(result, k)) for k in range(len(self.results)))

    def _function(self, module: ir.Module, packed: bool) -> ir.Function:
        name = f"ndtape_{self.name}_{LANES if packed else 1}_{FINGERPRINT}"
        if name in module.globals:
            return module.globals[name]
        results = [ir_type(r, packed) for r in self.results]
        returned = results[0] if len(results) == 1 else ir.LiteralStructType(results)
        function_type = ir.FunctionType(returned, [ir_type(p, packed) for p in self.parameters])
        function = ir.Function(module, function_type, name)
        # Not shared between objects: a user's cached code can never meet another version's.
        function.linkage = "internal"
        code = "call" if self.lanewise else self.code
        for attribute in (*ATTRIBUTES[code], "nounwind"):
            function.attributes.add(attribute)
        self._fill(function, packed)
        return function

    def _fill(self, function: ir.Function, packed: bool) -> None:
        b = ir.IRBuilder(function.append_basic_block("entry"))
        if packed and self.lanewise:
            b.ret(each_lane(b, self._function(function.module, False), function.args))
            return
        result = self.text(*(Value(b, a) for a in function.args))
        if isinstance(result, tuple):
            b.ret(ir_struct(b, result))
        else:
            b.ret(result.ir)

    def __call__(self, *args: Any) -> Any:
        b = next((a.b for a in args if isinstance(a, Value)), None)
        if b is not None:
            if self.code == "emit":
                return self.text(*args)
            like = next(a for a in args if isinstance(a, Value))
            return self.emit(
                b, *(a if isinstance(a, Value) else Value(b, like.like(a)) for a in args)
            )
        if self._compiled is None:
            self._compiled = _python_form(self, len(self.parameters))
        return self._compiled(*args)


def _python_form(kernel: Any, count: int) -> Any:
    """The kernel compiled for plain Python numbers."""
    forms: dict[int, Callable[..., Any]] = {
        1: lambda x: kernel(x),
        2: lambda x, y: kernel(x, y),
        3: lambda x, y, z: kernel(x, y, z),
    }
    return jit(forms[count])


def kernel(letters: str, code: str = "auto", lanewise: bool = False) -> Callable[..., Kernel]:
    """Decorator: the text below it becomes a `Kernel` with this signature."""
    return lambda text: Kernel(text, letters, code, lanewise)


def ir_struct(b: ir.IRBuilder, values: Sequence[Value]) -> ir.Value:
    struct = ir.Constant(ir.LiteralStructType([v.ir.type for v in values]), ir.Undefined)
    for k, value in enumerate(values):
        struct = b.insert_value(struct, value.ir, k)
    return struct


# --- what texts use beside operators ---------------------------------------------------------


def intrinsic(name: str, *arguments: Any) -> Value:
    """LLVM's intrinsic `llvm.<name>` for floats, on arguments of one shape."""
    given = [a for a in arguments if isinstance(a, Value)]
    like = max(given, key=lambda a: a.packed)  # a pack, if there is one
    values = [like.like(a) for a in arguments]
    suffix = f"v{LANES}f64" if like.packed else "f64"
    function_type = ir.FunctionType(values[0].type, [v.type for v in values])
    return Value(
        like.b, like.b.call(_declared(like.b, f"llvm.{name}.{suffix}", function_type), values)
    )


def _declared(b: ir.IRBuilder, name: str, function_type: ir.FunctionType) -> ir.Function:
    found = b.module.globals.get(name)
    return found if found is not None else ir.Function(b.module, function_type, name)


def libm(name: str, *arguments: Value) -> Value:
    """The C library's function `name`; lane by lane on packs."""
    b = arguments[0].b
    function_type = ir.FunctionType(F64, [F64] * len(arguments))
    function = _declared(b, name, function_type)
    values = [a.ir for a in arguments]
    if arguments[0].packed:
        return Value(b, each_lane(b, function, values))
    return Value(b, b.call(function, values))


def each_lane(b: ir.IRBuilder, function: ir.Function, packs: Sequence[ir.Value]) -> ir.Value:
    """Call a scalar function for every lane, in a loop through memory: small code."""
    index = ir.IntType(32)
    with b.goto_entry_block():
        spaces = [b.alloca(p.type) for p in packs]
        result = b.alloca(ir.VectorType(function.function_type.return_type, LANES))
    for space, value in zip(spaces, packs, strict=True):
        b.store(value, space)
    before, body, after = b.block, b.append_basic_block("lane"), b.append_basic_block("lanes_done")
    b.branch(body)
    b.position_at_end(body)
    k = b.phi(index)
    k.add_incoming(ir.Constant(index, 0), before)
    b.store(
        b.call(function, [b.load(_lane_pointer(b, s, k)) for s in spaces]),
        _lane_pointer(b, result, k),
    )
    following = b.add(k, ir.Constant(index, 1))
    k.add_incoming(following, body)
    b.cbranch(b.icmp_unsigned("<", following, ir.Constant(index, LANES)), body, after)
    b.position_at_end(after)
    return b.load(result)


def _lane_pointer(b: ir.IRBuilder, vector: ir.Value, k: ir.Value) -> ir.Value:
    return b.gep(b.bitcast(vector, vector.type.pointee.element.as_pointer()), [k])


def when(mask: Value, thunk: Callable[[], Any], otherwise: Any, rare: bool = False) -> Any:
    """`thunk()` where `mask`, else `otherwise`: a real branch, taken if any lane needs it."""
    b = mask.b
    several = isinstance(otherwise, tuple)
    olds = [o.ir for o in otherwise] if several else [otherwise.ir]
    before = b.block
    with b.if_then(reduce_or(mask), likely=False if rare else None):
        news = thunk()
        pairs = zip(news if several else [news], olds, strict=True)
        chosen = [b.select(mask.ir, new.ir, old) for new, old in pairs]
        last = b.block
    merged = []
    for old, new in zip(olds, chosen, strict=True):
        merged.append(Value(b, _joined(b, (old, before), (new, last))))
    return tuple(merged) if several else merged[0]


def _joined(b: ir.IRBuilder, *incoming: tuple[ir.Value, ir.Block]) -> ir.Value:
    phi = b.phi(incoming[0][0].type)
    for value, block in incoming:
        phi.add_incoming(value, block)
    return phi


def loop(
    state: tuple[Value, ...], test: Callable[..., Value], step: Callable[..., tuple[Value, ...]]
) -> tuple[Value, ...]:
    """`while test(*state): state = step(*state)`, for scalars; returns the last state."""
    b = state[0].b
    before = b.block
    head, body, done = (b.append_basic_block(name) for name in ("head", "body", "done"))
    b.branch(head)
    b.position_at_end(head)
    phis = [_joined(b, (value.ir, before)) for value in state]
    current = tuple(Value(b, phi) for phi in phis)
    b.cbranch(test(*current).ir, body, done)
    b.position_at_end(body)
    for phi, value in zip(phis, step(*current), strict=True):
        phi.add_incoming(value.ir, b.block)
    b.branch(head)
    b.position_at_end(done)
    return current


def constant(like: Value, number: float) -> Value:
    """The number, in the shape of the float `like`."""
    return Value(like.b, like.like(number))


def table(numbers: Sequence[float], index: Value) -> Value:
    """numbers[index] for a scalar float index that is whole and in range."""
    b = index.b
    array = ir.ArrayType(F64, len(numbers))
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=6).hexdigest()
    name = f"ndtape_table_{digest}"
    stored = b.module.globals.get(name)
    if stored is None:
        stored = ir.GlobalVariable(b.module, array, name)
        stored.initializer = ir.Constant(array, [float(n) for n in numbers])
        stored.global_constant = True
        stored.linkage = "internal"
    zero = ir.Constant(I64, 0)
    return Value(b, b.load(b.gep(stored, [zero, b.fptosi(index.ir, I64)])))


def reduce_or(mask: Value) -> ir.Value:
    """The i1 that is true if any lane is."""
    if not mask.packed:
        return mask.ir
    bits = mask.b.bitcast(mask.ir, ir.IntType(LANES))
    return mask.b.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))
