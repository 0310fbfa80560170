"""Calls of compiled functions without the GIL, where Python asks for it at run time.

Numba's `nogil` is decided when a function is compiled.  A recording that takes 5 us should keep the
GIL (giving it away beside a busy thread costs 300 us), one of 5 ms should not, and both are the
same machine code: so the header of the tape says it, for each run.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import fix_returning_optional
from numba.extending import intrinsic

from .memory import RELEASE

POINTER = ir.IntType(8).as_pointer()


@intrinsic
def unlocked(typingctx, header, f, arguments):
    """f(*arguments), without the GIL if the word RELEASE of the header is not 0."""
    if not isinstance(f, types.Dispatcher):
        return None
    called = f.get_call_type(typingctx, tuple(arguments.types), {})
    if called is None or called.args != tuple(arguments.types):
        return None

    def codegen(context, builder, sig, args):
        compiled = f.dispatcher.overloads[called.args]
        context.add_linking_libs([compiled.library])
        header_words = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        word = builder.load(builder.gep(header_words, [ir.Constant(ir.IntType(64), RELEASE)]))
        released = builder.icmp_unsigned("!=", word, ir.Constant(word.type, 0))
        state = cgutils.alloca_once(builder, POINTER)
        api = context.get_python_api(builder)
        with builder.if_then(released, likely=False):
            builder.store(api.save_thread(), state)
        given = cgutils.unpack_tuple(builder, args[2])
        status, result = context.call_internal_no_propagate(builder, compiled.fndesc, called, given)
        with builder.if_then(released, likely=False):
            api.restore_thread(builder.load(state))
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
        return fix_returning_optional(context, builder, called, status, result)

    return called.return_type(header, f, arguments), codegen
