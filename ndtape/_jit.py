"""How ndtape talks to Numba: the only file that chooses compiler flags and touches raw memory.

Sweeps are C functions ``int64 (frame, lo, hi)`` that find their columns through a *frame*, a small
array of addresses.  Passing one address costs a tenth of passing a dozen arrays, the same code
serves every chunk of a tape, and a compiled recorder can fill the very same frame.

`Column` is a pointer that indexes like an array but without bounds, wrap-around or strides.
Rejected: `numba.carray`, whose array structs tripled the compile time of a ladder, and
`types.CPointer`, which sign-extends unsigned indices.
"""

from __future__ import annotations

import operator
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core.caching import CompileResultCacheImpl
from numba.core.compiler import Compiler
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from ._version import __version__
from .notices import compiling, notice
from .ops import FRAME, PLAN

# "numpy": 1/0 is inf.  Never fastmath: nan and signed zeros must survive.
FLAGS: dict[str, Any] = {"error_model": "numpy"}
ADJOINTS, VALUES, TANGENTS, CHANGES = (FRAME.index(name) for name in "gvth")

(
    PLAN_FORWARD, PLAN_REVERSE, PLAN_FRAME, PLAN_INPUTS, PLAN_KNOWN, PLAN_END, PLAN_TOP, PLAN_ROOT,
    PLAN_SLOTS, PLAN_FIRST, PLAN_COUNT, PLAN_RUNS, PLAN_CALLS, PLAN_TANGENT, PLAN_SECOND,
) = range(len(PLAN))  # fmt: skip

jit = numba.njit(**FLAGS)
u8 = types.uint64


# Unsigned indices need no wrap-around; opcodes are compared with literals, which are signed, and
# Numba would compare an unsigned number with a signed one as floats.
LOADED = {types.uint8: u8, types.uint16: types.int64, types.uint32: u8, types.uint64: u8}


class Column(types.Type):
    """Pointer to consecutive elements; unsigned integers are widened to 64 bits when loaded."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        self.loaded = LOADED.get(dtype, dtype)
        super().__init__(name=f"ndtape.Column[{__version__}]({dtype})")


@register_model(Column)
class _ColumnModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Column) -> None:
        super().__init__(dmm, fe_type, dmm[fe_type.dtype].get_data_type().as_pointer())


def column(dtype: types.Type, doc: str) -> Any:
    """An intrinsic that turns an address into a `Column` of `dtype`."""
    column_type = Column(dtype)

    @intrinsic
    def at(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
            return builder.inttoptr(args[0], context.get_value_type(column_type))

        return column_type(u8), codegen

    at.__doc__ = doc
    return at


u1_at = column(types.uint8, "address -> column of bytes")
u2_at = column(types.uint16, "address -> column of opcodes")
u4_at = column(types.uint32, "address -> column of operands")
u8_at = column(types.uint64, "address -> column of addresses (a frame)")
i8_at = column(types.int64, "address -> column of int64")
f8_at = column(types.float64, "address -> column of float64")


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Column) and isinstance(args[1], types.Integer):
            return signature(args[0].loaded, args[0], u8)


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Column) and isinstance(args[1], types.Integer):
            return signature(types.void, args[0], u8, args[0].loaded)


@lower_builtin(operator.getitem, Column, types.uint64)
def _load(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    loaded = builder.load(builder.gep(args[0], [args[1]]))
    whole = isinstance(sig.return_type, types.Integer) and loaded.type.width < 64
    return builder.zext(loaded, ir.IntType(64)) if whole else loaded


@lower_builtin(operator.setitem, Column, types.uint64, types.Any)
def _store(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    pointer = builder.gep(args[0], [args[1]])
    value = args[2]
    if value.type != pointer.type.pointee:
        value = builder.trunc(value, pointer.type.pointee)
    builder.store(value, pointer)
    return context.get_dummy_value()


# --- sweeps: compiled on first use, cached on disk, called through their address -----------------

SIGNATURE = types.int64(u8, u8, u8)  # status (frame, lo, hi)


class Announcing(Compiler):
    """Numba enters its pipeline only when the cache has nothing: the moment to tell the user.

    A function that was written for one of the user's is told by that one's name, `stands_for`.
    """

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        compiled_afresh.add(func.__name__)
        with compiling(func.__name__, getattr(func, "stands_for", None)):
            return super().compile_extra(func)


class Sweep:
    """A sweep as a C function: compiled, or loaded from Numba's disk cache, when first needed.

    `fingerprint` goes into the name of the cache file: Numba hashes the file that a function
    stands in, but does not see that the mathematics or the table behind it has changed.
    """

    def __init__(self, function: Callable[..., Any], fingerprint: str) -> None:
        function.__qualname__ = f"{function.__name__}_{fingerprint}"
        self.function = function
        self.name = function.__name__
        self._address = 0

    @property
    def address(self) -> int:
        if not self._address:
            self._address = self._compile()
        return self._address

    def _compile(self) -> int:
        start = time.perf_counter()

        def build(cache: bool) -> Any:
            return numba.cfunc(SIGNATURE, cache=cache, pipeline_class=Announcing, **FLAGS)(
                self.function
            )

        self._compiled = _with_cache(build)  # keeps the machine code alive
        compile_log[self.name] = time.perf_counter() - start
        return int(self._compiled.address)


def cache_folder(source: str) -> Path | None:
    """Where Numba keeps what it compiles from a source file; None if it can write nowhere."""

    def probe() -> None: ...

    probe.__code__ = probe.__code__.replace(co_filename=source)
    locators: Any = CompileResultCacheImpl._locator_classes
    for locator_class in locators:
        locator = locator_class.from_function(probe, source)
        if locator is not None:
            return Path(locator.get_cache_path())
    return None


compile_log: dict[str, float] = {}  # name -> seconds to compile or load, in this process


def _with_cache(build: Callable[[bool], Any]) -> Any:
    """`build(cache=True)`, or `build(cache=False)` where the cache cannot be used."""
    try:
        return build(True)
    except (EOFError, pickle.UnpicklingError):  # a file cut short by a full disk or a power cut
        notice("the compile cache is damaged; remove the folder that `python -m ndtape` names")
        return build(False)
    except (RuntimeError, OSError) as error:
        if not isinstance(error, OSError) and "cannot cache function" not in str(error):
            raise
        notice("no folder for the compile cache can be written; set NUMBA_CACHE_DIR to one")
        return build(False)


# Calling a sweep: the entry is the compiled function itself, which saves Numba's dispatch (60 ns).
# The releasing entry lets other threads run; a short call pays 0.3 ms for that beside a busy
# thread, so run.py uses it for long pieces only.


@intrinsic
def call_at(typingctx, address, frame, lo, hi):  # type: ignore[no-untyped-def]
    def codegen(context, builder, sig, args):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)
        target = builder.inttoptr(args[0], ir.FunctionType(i64, [i64] * 3).as_pointer())
        return builder.call(target, args[1:])

    return types.int64(u8, u8, u8, u8), codegen


call_at.__doc__ = "call_at(address, frame, lo, hi): the status of the sweep or kernel at an address"


def _call_holding(address, frame, lo, hi):  # type: ignore[no-untyped-def]
    return call_at(address, frame, lo, hi)  # type: ignore[call-arg]


def _call_releasing(address, frame, lo, hi):  # type: ignore[no-untyped-def]
    return call_at(address, frame, lo, hi)  # type: ignore[call-arg]


def _replay(  # type: ignore[no-untyped-def]
    forward, reverse, frame, known, inputs, hi, top, root, slots, lanes
):
    """Forward from `known` on, adjoint 1 at slot `root` of instruction `top` and 0 elsewhere,
    reverse down to `inputs`."""
    status = call_at(forward, frame, known, hi)  # type: ignore[call-arg, var-annotated]
    if status == 0:
        g = f8_at(u8_at(frame)[ADJOINTS])
        for i in range(u8(slots) * u8(lanes)):
            g[i] = 0.0
        for i in range(u8(root) * u8(lanes), u8(root + u8(1)) * u8(lanes)):
            g[i] = 1.0
        status = call_at(reverse, frame, inputs, u8(top + u8(1)))  # type: ignore[call-arg]
    return status


_sweep_twice = numba.njit(**FLAGS, inline="always")(_replay)


def _replay_flat(plan, x, out):  # type: ignore[no-untyped-def]
    """A whole call of a traced function: inputs in, sweeps, results out; (status, value of root).

    In one piece, so that threads cannot disturb each other while the GIL is held.  A call that
    ends early answers its number in place of the value: whoever goes on with what it has computed
    must know that nobody called after it.
    """
    p = u8_at(plan)
    frame = p[PLAN_FRAME]
    f = u8_at(frame)
    v = f8_at(f[VALUES])
    count = p[PLAN_COUNT]
    if u8(x.size) != p[PLAN_INPUTS] or u8(out.size) != count:
        return -1, 0.0
    calls = u8_at(p[PLAN_CALLS])
    calls[0] += u8(1)
    for i in range(p[PLAN_INPUTS]):
        v[i] = x[i]
    source = v
    known, hi, root = p[PLAN_KNOWN], p[PLAN_END], p[PLAN_ROOT]
    if p[PLAN_REVERSE] != u8(0):
        status = _sweep_twice(
            p[PLAN_FORWARD], p[PLAN_REVERSE], frame, known, known, hi, p[PLAN_TOP], root,
            p[PLAN_SLOTS], u8(1),
        )  # fmt: skip
        source = f8_at(f[ADJOINTS])
    else:
        status = call_at(p[PLAN_FORWARD], frame, known, hi)  # type: ignore[call-arg, var-annotated]
    if status != 0:
        return status, float(calls[0])
    first = p[PLAN_FIRST]
    for i in range(count):
        out[i] = source[first + i]
    p[PLAN_RUNS] += u8(1)
    return status, v[root]


def _replay_second(plan, x, direction, gradient, product):  # type: ignore[no-untyped-def]
    """The same for a Hessian times a direction: forward, tangent, forward over reverse."""
    p = u8_at(plan)
    frame = p[PLAN_FRAME]
    f = u8_at(frame)
    v, g, t, h = f8_at(f[VALUES]), f8_at(f[ADJOINTS]), f8_at(f[TANGENTS]), f8_at(f[CHANGES])
    inputs, count = p[PLAN_INPUTS], p[PLAN_COUNT]
    if u8(x.size) != inputs or u8(direction.size) != inputs or u8(gradient.size) != count:
        return -1, 0.0
    calls = u8_at(p[PLAN_CALLS])
    calls[0] += u8(1)
    slots, known, hi, root = p[PLAN_SLOTS], p[PLAN_KNOWN], p[PLAN_END], p[PLAN_ROOT]
    for i in range(inputs):
        v[i] = x[i]
    status = call_at(p[PLAN_FORWARD], frame, known, hi)  # type: ignore[call-arg, var-annotated]
    if status != 0:
        return status, float(calls[0])
    for i in range(slots):
        t[i] = g[i] = h[i] = 0.0
    for i in range(inputs):
        t[i] = direction[i]
    g[root] = 1.0
    call_at(p[PLAN_TANGENT], frame, known, hi)  # type: ignore[call-arg]
    call_at(p[PLAN_SECOND], frame, known, u8(p[PLAN_TOP] + u8(1)))  # type: ignore[call-arg]
    first = p[PLAN_FIRST]
    for i in range(count):
        gradient[i] = g[first + i]
        product[i] = h[first + i]
    p[PLAN_RUNS] += u8(1)
    return status, v[root]


_COMPILED = {"holding": _call_holding, "releasing": _call_releasing, "replay": _replay,
             "replay_flat": _replay_flat, "replay_second": _replay_second}  # fmt: skip


def entry(name: str) -> Callable[..., Any]:
    """The compiled entry "holding", "releasing" (the GIL), "replay" or "replay_flat".

    The first two are called as ``call(sweep.address, frame, lo, hi)``; the first three answer a
    status.  "replay_flat" takes a plan, see PLAN, a vector of inputs and one for the results.
    """
    function = _COMPILED[name]
    function.__qualname__ = f"{function.__name__}_{__version__}"
    signature_ = types.int64(*[u8] * function.__code__.co_argcount)
    if name == "replay_flat":
        vector, result = types.Array(types.float64, 1, "A"), types.Array(types.float64, 1, "C")
        signature_ = types.Tuple((types.int64, types.float64))(u8, vector, result)
    if name == "replay_second":
        vector, result = types.Array(types.float64, 1, "A"), types.Array(types.float64, 1, "C")
        pair = types.Tuple((types.int64, types.float64))
        signature_ = pair(u8, vector, vector, result, result)

    def build(cache: bool) -> Any:
        nogil = name == "releasing"
        options = {"cache": cache, "nogil": nogil, "pipeline_class": Announcing, **FLAGS}
        return numba.njit(signature_, **options)(function)

    dispatcher = _with_cache(build)
    _alive.append(dispatcher)
    (compiled,) = dispatcher.overloads.values()
    return compiled.entry_point  # type: ignore[no-any-return]


_alive: list[Any] = []
compiled_afresh: set[str] = set()  # names that the disk cache did not have
