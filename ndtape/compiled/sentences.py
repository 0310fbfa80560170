"""Statements that Numba cannot type, as sentences: the construct, why, and what to do.

Whatever an overload of ndtape raises as a `TypingError` becomes part of the sentence.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from numba import types
from numba.core import errors, ir, typeinfer
from numba.core.types.functions import _ResolutionFailures

from ..record.arrays import Array
from ..record.values import Var
from .types import ArrayType, VarType
from .words import SYMBOLS, first_line, kind, kinds, plain_kind, recording


class Finding(NamedTuple):
    """What went wrong, and where: a line in a function of the user's, 0 in one of ours."""

    filename: str
    line: int
    function: str
    says: str


class Sentence:
    """A statement that cannot be typed: an instruction or a constraint of type inference."""

    def __init__(self, infer: Any, cause: Any, error: Exception) -> None:
        self.infer, self.cause, self.error = infer, cause, error
        self.named: dict[str, Any] = {}
        module = infer.func_id.func.__globals__.get("__name__") or ""
        self.inside = module.startswith("ndtape.")

    def finding(self, says: str = "") -> Finding:
        code = self.infer.func_id.func.__code__
        loc = getattr(self.cause, "loc", None) or getattr(self.error, "loc", None) or self._end()
        if isinstance(self.cause, typeinfer.Propagate):
            loc = self.infer.typevars[self.cause.src].define_loc or loc
        line = loc.line if loc is not None else code.co_firstlineno
        line = 0 if self.inside else line
        return Finding(code.co_filename, line, code.co_name, says or self.says())

    def says(self) -> str:
        """The construct, why it fails, and what to do."""
        if self.inside:
            given = self.called()[1]
            if given and recording(given[-1]):
                result = kind(given[-1])
                return f"a result is a scalar, an array or a tuple of such, not {result}"
        ours = self._reason()
        for of, say in (
            (typeinfer.IntrinsicCallConstraint, self._operation),
            (typeinfer.CallConstraint, self._call),
            (typeinfer.GetAttrConstraint, self._attribute),
            (typeinfer.StaticGetItemConstraint, self._static_index),
            (typeinfer.SetItemRefinement, self._write),
            (typeinfer.SetAttrConstraint, self._set_attribute),
            (typeinfer.BuildSetConstraint, self._set),
            (typeinfer.Propagate, self._two_kinds),
            (ir.Assign, self._name),
        ):
            if isinstance(self.cause, of):
                return f"{say()}; {ours}" if ours else say()
        return self._result() if self.cause is None else f"Numba: {first_line(self.error)}"

    def called(self) -> tuple[Any, tuple[Any, ...]]:
        """The type of what the statement calls, and of its arguments; None if it calls nothing."""
        if type(self.cause) is not typeinfer.CallConstraint:
            return None, ()
        cause = self.cause
        folded = typeinfer.fold_arg_vars(self.infer.typevars, cause.args, cause.vararg, cause.kws)
        found, self.named = folded or ((), {})
        return self._type(cause.func), tuple(found)

    # --- the kinds of statements ------------------------------------------------------------------

    def _call(self) -> str:
        function, given = self.called()
        if function is None:
            return f"Numba: {first_line(self.error)}"
        name = self._written(self.cause.func) or "this function"
        given = (*given, *self.named.values())
        if isinstance(function, VarType | ArrayType | types.Number | types.Array):
            return f"{name} is {kind(function)}, not a function"
        if isinstance(function, types.BoundFunction):
            given = (function.this, *given)
        advice = ""
        if name.startswith("math.") and any(isinstance(t, ArrayType | types.Array) for t in given):
            advice = f"; of arrays take np.{name[5:]}"
        if name == "exception_match":
            return "Numba catches every exception or none: write `except Exception`"
        if name == "range" and any(map(recording, given)):
            advice = "; take int(...) of it"
        return self._unsupported(
            f"{name}() of {kinds(given)}" if given else f"{name}()", given, advice
        )

    def _operation(self) -> str:
        function = self.cause.func
        given = [self._type(v.name) for v in self.cause.args]
        if function == operator.getitem:
            return self._index(*given)
        if function in ("getiter", "iternext"):
            return self._unsupported(f"iterating over {kind(given[0])}", given)
        symbol = SYMBOLS.get(function, getattr(function, "__name__", function))
        return self._unsupported(f"`{symbol}` of {kinds(given)}", given)

    def _static_index(self) -> str:
        call = self.cause.fallback
        if call is None:
            return f"Numba does not support indexing {kind(self._type(self.cause.value.name))} so"
        return self._index(*(self._type(v.name) for v in call.args))

    def _index(self, of: Any, index: Any) -> str:
        advice = "; take int(...) of it" if recording(index) else ""
        return self._unsupported(f"indexing {kind(of)} by {kind(index)}", (of, index), advice)

    def _attribute(self) -> str:
        of, name = self._type(self.cause.value.name), self.cause.attr
        if isinstance(of, types.Module):
            known = hasattr(of.pymod, name)
            path = f"{self._written(self.cause.value.name)}.{name}"
            if known and of.pymod.__name__.startswith("ndtape"):
                return f"{path} does not work inside compiled functions"
            return f"Numba does not know {path}" if known else f"there is no {path}"
        return self._unsupported(f"the attribute .{name} of {kind(of)}", (of,))

    def _set_attribute(self) -> str:
        of = self._type(self.cause.target.name)
        return f"the attribute .{self.cause.attr} of {kind(of)} cannot be set"

    def _set(self) -> str:
        given = [self._type(v.name) for v in self.cause.items]
        return self._unsupported(f"a set of {kinds(given)}", given)

    def _write(self) -> str:
        target, value = (self._type(v.name) for v in (self.cause.target, self.cause.value))
        name = self._written(self.cause.target.name) or "the target"
        if isinstance(target, types.Array) and not target.mutable:
            return f"{name} is a global array, a constant in compiled code: pass it as an argument"
        advice = ""
        if recording(value) and isinstance(target, types.List):
            advice = "; begin the list with recording values, or use np.zeros"
        return f"{kind(value)} cannot be written into {name}, {kind(target)}{advice}"

    def _two_kinds(self) -> str:
        name = self._written(self.cause.dst) or self._written(self.cause.src) or "a value"
        first, second = (self._type(v) for v in (self.cause.dst, self.cause.src))
        return f"{name} is {kind(first)} in one place and {kind(second)} in another"

    def _name(self) -> str:
        given = self.cause.value
        name, value = getattr(given, "name", "this"), getattr(given, "value", None)
        if not isinstance(given, ir.Global | ir.FreeVar):
            return f"Numba: {first_line(self.error)}"
        if value is ir.UNDEFINED:
            return f"the name {name} is not defined"
        if isinstance(value, Var | Array):
            return f"{name} is a recording value from outside: pass it as an argument"
        what = f"{name}, {plain_kind(value)} from outside"
        return f"compiled code cannot use {what}: pass what it needs as arguments"

    def _result(self) -> str:
        returned = {str(t): t for v in self.infer._get_return_vars() if (t := self._type(v.name))}
        if len(returned) > 1 and not getattr(self.error, "loc", None):
            return f"the function returns {kinds(list(returned.values()))}: results are of one kind"
        for name, var in self.infer.typevars.items():
            if isinstance(var.type, types.List) and not var.type.is_precise() and name[0] != "$":
                return f"Numba cannot tell what the list {self._written(name)} is to hold"
        return f"Numba: {first_line(self.error).partition(', operation:')[0]}"

    # --- parts ------------------------------------------------------------------------------------

    def _unsupported(self, what: str, given: Sequence[Any], advice: str = "") -> str:
        who = "the recorder" if any(map(recording, given)) else "Numba"
        return f"{who} does not support {what}{advice}"

    def _type(self, name: str) -> Any:
        return self.infer.typevars[name].type

    def _written(self, name: str) -> str:
        """A variable or function as it stands in the source; empty for intermediate results."""
        if not name.startswith("$"):
            return name.split(".")[0]
        try:
            given = self.infer.func_ir.get_definition(name)
        except KeyError:
            return ""
        if isinstance(given, ir.Expr) and given.op == "getattr":
            return f"{self._written(given.value.name)}.{given.attr}"
        return given.name if isinstance(given, ir.Global | ir.FreeVar) else ""

    def _end(self) -> Any:
        """Where the function returns last."""
        ends = [
            s.loc for b in self.infer.blocks.values() for s in b.body if isinstance(s, ir.Return)
        ]
        return ends[-1] if ends else None

    def _reason(self) -> str:
        """What an overload of ours has said."""
        said = [first_line(e) for e in reasons(self.error) if _ours(e)]
        return said[0] if said else ""


def reasons(error: BaseException) -> Iterator[BaseException]:
    """Why each implementation of a function has refused its arguments."""
    traceback = error.__traceback__
    while traceback is not None:
        failures = traceback.tb_frame.f_locals.get("self")
        if isinstance(failures, _ResolutionFailures):
            for several in failures._failures.values():
                yield from (f.error for f in several if isinstance(f.error, errors.TypingError))
        traceback = traceback.tb_next


def _ours(error: BaseException) -> bool:
    """Whether code of ndtape has raised an error."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and "ndtape" in traceback.tb_frame.f_globals.get("__name__", "")
