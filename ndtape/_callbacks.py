"""Compiled: value and gradient of a tape as C functions, for Numba, SciPy and others.

``double (state, int64 n, const double *x, double *gradient)`` sweeps the tape of the object whose
words lie at `state`; where a guard flips, it goes on with the sibling's tape, and what it cannot do
it leaves to Python.  Of machine code, a function gets only the few bytes of a *thunk* that knows
its `state`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
from llvmlite import binding, ir
from numba import types
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.core.typing.templates import signature
from numba.extending import (
    NativeValue,
    intrinsic,
    lower_builtin,
    models,
    register_model,
    typeof_impl,
    unbox,
)

from ._jit import FLAGS, Announcing, Sweep, _with_cache, call_at, f8_at, u8, u8_at
from .ops import FLIPPED, FRAME, table_hash

V, G, STATUS = (FRAME.index(name) for name in ("v", "g", "status"))

# Words of a state: of the object, and of each of its traces (*blocks*).  The siblings of a block
# are a table of rows (guard, slot that it tests, number seen, block, slots before the guard).
STATE = ("busy", "block", "size", "slow", "entry")
BLOCK = ("frame", "forward", "reverse", "known", "end", "top", "root", "value", "slots", "siblings",
         "count")  # fmt: skip
BUSY, CURRENT, SIZE, SLOW, ENTRY = range(len(STATE))
(ADDRESS, FORWARD, REVERSE, KNOWN, END, TOP, ROOT, VALUE, SLOTS, SIBLINGS,
 COUNT) = range(len(BLOCK))  # fmt: skip
ROW = 5  # words of a sibling
NO_ROOT = (1 << 64) - 1  # the function gave a constant

F8, I64 = ir.DoubleType(), ir.IntType(64)
F8P = F8.as_pointer()


@intrinsic
def taken(typingctx, address):  # type: ignore[no-untyped-def]
    """Take the flag at an address: whether it was free."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        flag = builder.inttoptr(args[0], I64.as_pointer())
        pair = builder.cmpxchg(flag, I64(0), I64(1), "acquire", "monotonic")
        return builder.extract_value(pair, 1)

    return types.boolean(u8), codegen


@intrinsic
def free(typingctx, address):  # type: ignore[no-untyped-def]
    """Give the flag at an address back."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        flag = builder.inttoptr(args[0], I64.as_pointer())
        builder.store_atomic(I64(0), flag, "release", 8)
        return context.get_dummy_value()

    return types.void(u8), codegen


@intrinsic
def call_python(typingctx, address, n, x, gradient):  # type: ignore[no-untyped-def]
    """Call the slow path, which takes the GIL."""

    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        slow = builder.inttoptr(args[0], ir.FunctionType(F8, [I64] * 3).as_pointer())
        return builder.call(slow, args[1:])

    return types.float64(u8, types.int64, u8, u8), codegen


def _value_and_gradient(state, n, x, gradient):  # type: ignore[no-untyped-def]
    """The value; the gradient too where `gradient` is not the null pointer."""
    s = u8_at(state)
    if u8(n) != s[SIZE] or not taken(state):  # type: ignore[call-arg]
        return call_python(s[SLOW], n, x, gradient)  # type: ignore[call-arg]
    block = s[CURRENT]
    b = u8_at(block)
    f = u8_at(b[ADDRESS])
    v, numbers = f8_at(f[V]), f8_at(x)
    for i in range(u8(n)):
        v[i] = numbers[i]
    start = b[KNOWN]
    while True:
        status = call_at(b[FORWARD], b[ADDRESS], start, b[END])  # type: ignore[call-arg, var-annotated]
        if status == 0:
            break
        guard = u8(status - 1)
        flipped = f[STATUS] == u8(FLIPPED)
        f[STATUS] = u8(0)
        sibling = u8(0)
        known = u8(0)
        table = b[SIBLINGS]
        row = u8(0)
        while flipped and row < b[COUNT]:
            words = u8_at(table)
            if words[0] == guard and v[words[1]] == f8_at(table)[2]:
                sibling, known = words[3], words[4]
                break
            table += u8(8 * ROW)
            row += u8(1)
        if sibling == u8(0):
            free(state)  # type: ignore[call-arg]
            return call_python(s[SLOW], n, x, gradient)  # type: ignore[call-arg]
        block = sibling
        b = u8_at(block)
        f = u8_at(b[ADDRESS])
        values = f8_at(f[V])
        for i in range(known):
            values[i] = v[i]
        v = values
        start = guard
    s[CURRENT] = block
    root = b[ROOT]
    value = f8_at(block)[VALUE] if root == u8(NO_ROOT) else v[root]
    if gradient != u8(0):
        out = f8_at(gradient)
        g = f8_at(f[G])
        for i in range(b[SLOTS]):
            g[i] = 0.0
        if root != u8(NO_ROOT):
            g[root] = 1.0
            status = call_at(b[REVERSE], b[ADDRESS], b[KNOWN], b[TOP] + u8(1))  # type: ignore[call-arg]
            if status != 0:
                f[STATUS] = u8(0)
                free(state)  # type: ignore[call-arg]
                return call_python(s[SLOW], n, x, gradient)  # type: ignore[call-arg]
        for i in range(u8(n)):
            out[i] = g[i]
    free(state)  # type: ignore[call-arg]
    return value


class Callback(Sweep):
    """A C function ``double (state, n, x, gradient)``, compiled and cached as sweeps are."""

    def _compile(self) -> int:
        of_addresses = types.float64(u8, types.int64, u8, u8)

        def build(cache: bool) -> Any:
            return numba.cfunc(of_addresses, cache=cache, pipeline_class=Announcing, **FLAGS)(
                self.function
            )

        self._compiled = _with_cache(build)
        return int(self._compiled.address)


value_and_gradient = Callback(_value_and_gradient, table_hash())


# --- C functions with other parameters ------------------------------------------------------------


@cache
def thunk(kind: str) -> Thunk:
    """The one that serves all states."""
    return Thunk(kind)


class Thunk:
    """Machine code that calls `value_and_gradient` with a state; lives as long as this object.

    "c": ``double (int64 n, double *x, double *gradient)``, for one state.  For any state, which
    comes as user data, values only: "vector" is ``double (int n, double *x, void *)``, and "number"
    is ``double (double x, void *)``.  By LLVM alone (5 ms), as there is nothing to type.
    """

    def __init__(self, kind: str, state: int = 0) -> None:
        module = ir.Module()
        pointer = ir.IntType(8).as_pointer()
        parameters = {
            "c": [I64, F8P, F8P], "vector": [ir.IntType(32), F8P, pointer], "number": [F8, pointer]
        }[kind]  # fmt: skip
        function = ir.Function(module, ir.FunctionType(F8, parameters), f"ndtape_{kind}")
        builder = ir.IRBuilder(function.append_basic_block())
        target = ir.FunctionType(F8, [I64, I64, F8P, F8P]).as_pointer()
        core = builder.inttoptr(I64(value_and_gradient.address), target)
        if kind == "c":
            arguments = [I64(state), *function.args]
        elif kind == "vector":
            n, x, data = function.args
            arguments = [builder.ptrtoint(data, I64), builder.sext(n, I64), x, F8P(None)]
        else:
            x, data = function.args
            place = builder.alloca(F8)
            builder.store(x, place)
            arguments = [builder.ptrtoint(data, I64), I64(1), place, F8P(None)]
        builder.ret(builder.call(core, arguments))
        machine = binding.Target.from_default_triple().create_target_machine(jit=True)
        self.engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
        self.engine.finalize_object()
        self.address = int(self.engine.get_function_address(f"ndtape_{kind}"))


# --- a type for Numba: one for all objects, so that functions that take one compile once ----------


class LowLevelType(types.Callable):
    """In compiled code an object is the address of its state, and is called as vg(x, gradient)."""

    def __init__(self) -> None:
        super().__init__(name=f"ndtape.LowLevel[{table_hash()}]")

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        if kws or len(args) != 2 or not all(map(_is_vector, args)):
            raise TypingError(
                "a function of nt.lowlevel is called with two contiguous vectors of float64, the "
                "arguments and where the gradient goes"
            )
        return signature(types.float64, *args, recvr=self)

    def get_call_signatures(self) -> tuple[tuple[Any, ...], bool]:
        return (), False

    def get_impl_key(self, sig: Any) -> type:
        return LowLevelType


def _is_vector(x: Any) -> bool:
    return isinstance(x, types.Array) and (x.dtype, x.ndim, x.layout) == (types.float64, 1, "C")


@register_model(LowLevelType)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, I64)


@lower_builtin(LowLevelType, LowLevelType, types.Array, types.Array)
def _lowered_call(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """The entry stands in the state: an address in the code would be wrong in Numba's cache."""
    x, gradient = (
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(sig.args[1:], args[1:], strict=True)
    )
    size = builder.load(builder.inttoptr(builder.add(args[0], I64(8 * SIZE)), I64.as_pointer()))
    fits = builder.icmp_signed("==", gradient.nitems, size)
    with builder.if_then(builder.not_(fits), likely=False):
        message = "the gradient of a function of nt.lowlevel needs an array of its size"
        context.call_conv.return_user_exc(builder, ValueError, (message,))
    with builder.if_then(builder.icmp_signed("!=", x.nitems, size), likely=False):
        message = "a function of nt.lowlevel was called with an array of another size"
        context.call_conv.return_user_exc(builder, ValueError, (message,))
    word = builder.load(builder.inttoptr(builder.add(args[0], I64(8 * ENTRY)), I64.as_pointer()))
    target = builder.inttoptr(word, ir.FunctionType(F8, [I64, I64, F8P, F8P]).as_pointer())
    return builder.call(target, [args[0], x.nitems, x.data, gradient.data])


@unbox(LowLevelType)
def _unboxed(typ: Any, value: Any, c: Any) -> Any:
    word = c.pyapi.object_getattr_string(value, "state")
    native = c.pyapi.long_as_ulonglong(word)
    c.pyapi.decref(word)
    return NativeValue(native, is_error=c.pyapi.c_api_error())


@lower_constant(LowLevelType)
def _constant(context: Any, builder: Any, typ: Any, value: Any) -> Any:
    # Numba does not cache a function with such an address on disk, and says so.
    pointer = context.add_dynamic_addr(builder, value.pinned_state(), info="ndtape.LowLevel")
    return builder.ptrtoint(pointer, I64)


_type = LowLevelType()


def register(cls: type) -> None:
    """Let Numba know the Python class whose objects have a `state`."""

    @typeof_impl.register(cls)
    def _typeof(value: Any, context: Any) -> Any:
        return _type
