"""Type inference once more, to see what fails: statement by statement, with the errors kept.

Numba itself keeps only texts of errors, each inside the text of the next.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.core import compiler, errors, ir, typeinfer
from numba.core.bytecode import ByteCodeInst
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.lowering import BaseLower
from numba.core.registry import cpu_target

from .._jit import FLAGS
from .sentences import Finding, Sentence
from .words import first_line, statement

NUMBA, OURS = str(Path(numba.__file__).parent), str(Path(__file__).parent)
PACKAGE = __name__.partition(".")[0]


class Done(Exception):
    """Ends a compiler after inference; `finding` is None if nothing has failed."""

    def __init__(self, finding: Finding | None) -> None:
        self.finding = finding


@register_pass(mutates_CFG=False, analysis_only=True)
class Look(AnalysisPass):  # type: ignore[misc]
    """Infers types and looks at what fails."""

    _name = "ndtape_look"

    def __init__(self) -> None:
        AnalysisPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        warnings = errors.WarningsFixer(errors.NumbaWarning)
        infer = typeinfer.TypeInferer(state.typingctx, state.func_ir, warnings)
        stack, target = state.typingctx.callstack, state.targetctx.target
        with stack.register(target, infer, state.func_ir.func_id, state.args):
            for i, t in enumerate(state.args):
                infer.seed_argument(state.func_ir.arg_names[i], i, t)
            raise Done(first(infer, state.pipeline.seen))


class Looking(compiler.CompilerBase):  # type: ignore[misc]
    """A compiler that ends after inference; `seen` are functions, with types, on the way here."""

    seen: Any = ()

    def define_pipelines(self) -> list[Any]:
        made = compiler.DefaultPassBuilder.define_untyped_pipeline(self.state)
        made.add_pass(Look, "look")
        made.finalize()
        return [made]


def inferred(function: Any, given: Sequence[types.Type], seen: Any = ()) -> Finding | None:
    """What fails when a function is inferred for arguments of some types."""
    looking = type("Looking", (Looking,), {"seen": {*seen, (function, tuple(given))}})
    flags: Any = compiler.Flags()
    flags.nrt, flags.error_model = True, FLAGS["error_model"]
    contexts = cpu_target.typing_context, cpu_target.target_context
    try:
        compiler.compile_extra(*contexts, function, tuple(given), None, flags, {}, None, looking)
    except Done as done:
        return done.finding
    except Exception as error:
        return placed(error, function.__code__)
    return None


def first(infer: Any, seen: Any) -> Finding | None:
    """The first failure that does not come from a call of the function itself."""
    recursion = None
    for failed in failures(infer):
        finding = refined(infer, failed, seen)
        if finding is None:
            recursion = failed.finding(
                "Numba cannot tell what a function that calls itself returns"
            )
        else:
            return recursion if recursion and failed.cause is None else finding
    return None


def lowered(dispatcher: Any, given: tuple[types.Type, ...]) -> Finding | None:
    """What fails after inference."""
    try:
        dispatcher.compile(given)
    except Exception as error:
        return placed(error, dispatcher.py_func.__code__)
    return None


def failures(infer: Any) -> Iterator[Sentence]:
    """The statements that cannot be typed."""
    for block in infer.blocks.values():
        for instruction in block.body:
            try:
                infer.constrain_statement(instruction)
            except errors.NumbaError as error:
                yield Sentence(infer, instruction, error)
                return
    with suppress(Exception):
        infer.propagate(raise_errors=False)
    for constraint in infer.constraints.constraints:
        try:
            constraint(infer)
        except Exception as error:
            yield Sentence(infer, constraint, error)
    try:
        infer.unify()
    except Exception as error:
        yield Sentence(infer, None, error)


def refined(infer: Any, failed: Sentence, seen: Any) -> Finding | None:
    """The finding in the user's function that the failed statement calls, or else there."""
    called, given = failed.called()
    if len(given) == 3 and isinstance(given[1], types.Dispatcher) and not users(infer.func_id.func):
        called, given = given[1], tuple(given[2].types)  # our `unlocked`
    if isinstance(called, types.Dispatcher) and users(called.dispatcher.py_func):
        try:
            inspect.signature(called.dispatcher.py_func).bind(*given, **failed.named)
        except TypeError as error:
            return failed.finding(f"{called.dispatcher.__name__}(): {error}")
        given = called.dispatcher.fold_argument_types(given, failed.named)[1]
        if (called.dispatcher.py_func, given) in seen:
            return None  # calls itself: the cause is elsewhere
        found = inferred(called.dispatcher.py_func, given, seen) or lowered(
            called.dispatcher, given
        )
        if found is not None:
            return found
    return failed.finding()


# --- places ---------------------------------------------------------------------------------------


def frames(error: BaseException) -> Iterator[Any]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def users(function: Any) -> bool:
    """Whether a function is neither Numba's nor ours."""
    code, module = function.__code__, function.__globals__.get("__name__") or ""
    return not (code.co_filename.startswith(NUMBA) or f"{module}.".startswith(f"{PACKAGE}."))


def placed(error: BaseException, code: Any) -> Finding | None:
    """The place that an error of another stage names, or arose at; `code` was being compiled."""
    if isinstance(error, errors.UnsupportedBytecodeError):
        return unsupported(error, code)
    things = [error]
    for frame in frames(error):
        here = (frame.f_locals.get(name) for name in ("self", "inst"))
        things += [thing for thing in here if isinstance(thing, BaseLower | ir.Inst)]
    for thing in reversed(things):
        loc = getattr(thing, "loc", None)
        if loc is not None and loc.line and not loc.filename.startswith((NUMBA, OURS, "<string>")):
            where = code.co_name if loc.filename == code.co_filename else ""
            return Finding(loc.filename, loc.line, where, f"Numba: {first_line(error)}")
    return None


def unsupported(error: BaseException, code: Any) -> Finding | None:
    """The first instruction of Python's that Numba does not know."""
    met = [frame.f_locals.get("inst") for frame in frames(error)]
    for instruction in reversed(met):
        if isinstance(instruction, ByteCodeInst):
            says = statement(instruction.opname)
            says = says or f"Numba: {first_line(error).partition('. Raised from')[0]}"
            return Finding(code.co_filename, instruction.lineno, code.co_name, says)
    lines, line = dict(dis.findlinestarts(code)), code.co_firstlineno
    for instruction in dis.get_instructions(code):
        line = lines.get(instruction.offset) or line
        if says := statement(instruction.opname):
            return Finding(code.co_filename, line, code.co_name, says)
    return None
