"""Passes over Numba's representation of a function, before it infers types.

`AddInPlace` finds the sums that may be done in place, see accumulate.py: an operand that has a
slot of its own, and is not used again.  That is so for a temporary of an expression, and for the
variable of ``s += x`` in a loop if all it ever holds are plain numbers and results of operators,
and nothing that may share its old slot is used after the addition.  Other code can only learn of a
slot by a call, a container or an array: where such a use can be followed by an addition, the
variable is left alone.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from numba.core import ir
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.typed_passes import NopythonRewrites
from numba.core.untyped_passes import ReconstructSSA

from .accumulate import STUBS
from .fusion import FuseArrays
from .headers import header_of
from .namespace import ROW_STUBS

Site = tuple[int, int]  # label of a block, index of a statement in it


class Groups:
    """Variables that copies and loops connect: what one holds, another may."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        while self.parent.setdefault(name, name) != name:
            name = self.parent[name]
        return name

    def join(self, a: str, b: str) -> None:
        self.parent[self.find(a)] = self.find(b)


class Analysis:
    """The additions of a function that may be done in place."""

    def __init__(self, blocks: dict[int, ir.Block]) -> None:
        self.blocks = blocks
        self.cfg = compute_cfg_from_blocks(blocks)
        self.groups = Groups()
        self.definitions: dict[str, list[tuple[Site, Any]]] = {}
        self.uses: dict[str, list[tuple[Site, Any]]] = {}
        for site, statement in self.statements():
            self._note(site, statement)
        self.after = {label: self._reachable(label) for label in blocks}

    def statements(self) -> Iterator[tuple[Site, Any]]:
        for label, block in self.blocks.items():
            for i, statement in enumerate(block.body):
                yield (label, i), statement

    def _note(self, site: Site, statement: Any) -> None:
        if isinstance(statement, ir.Assign):
            name, value = statement.target.name, statement.value
            self.definitions.setdefault(name, []).append((site, value))
            if isinstance(value, ir.Var):
                self.groups.join(name, value.name)
                self._note_sum(statement.target, value.name)
            if is_phi(value):
                for part, label in zip(value.incoming_values, value.incoming_blocks, strict=True):
                    if isinstance(part, ir.Var):
                        self.groups.join(name, part.name)
                        end = label, len(self.blocks[label].body)
                        self.uses.setdefault(part.name, []).append((end, statement))
                return
        if isinstance(statement, ir.Del):
            return
        targets = {statement.target.name} if isinstance(statement, ir.Assign) else set()
        for variable in statement.list_vars():
            if variable.name not in targets:
                self.uses.setdefault(variable.name, []).append((site, statement))

    def _note_sum(self, target: ir.Var, source: str) -> None:
        """``s.2 = $sum``, and before it ``$sum = s.1 + x``: one variable of the user."""
        for _, value in self.definitions.get(source, ()):
            if is_sum(value) and value.lhs.unversioned_name == target.unversioned_name:
                self.groups.join(source, value.lhs.name)

    def _reachable(self, label: int) -> set[int]:
        """Blocks that control may come to after this one."""
        found: set[int] = set()
        waiting = [label]
        while waiting:
            for following, _ in self.cfg.successors(waiting.pop()):
                if following not in found:
                    found.add(following)
                    waiting.append(following)
        return found

    def follows(self, later: Site, earlier: Site) -> bool:
        """Whether control may come from one statement to another."""
        if later[0] in self.after[earlier[0]]:
            return True
        return later[0] == earlier[0] and later[1] > earlier[1]

    # --- sums ---

    def sites(self) -> dict[Site, tuple[Any, bool]]:
        """Sums to be done in place: which operand keeps its slot, and whether the other one may be
        folded into it."""
        sums = [(site, s) for site, s in self.statements()
                if isinstance(s, ir.Assign) and is_sum(s.value)]  # fmt: skip
        groups: dict[str, list[Site]] = {}
        for site, statement in sums:
            root = self.groups.find(statement.value.lhs.name)
            if root == self.groups.find(statement.target.name):
                groups.setdefault(root, []).append(site)
        private = {
            root: members for root, places in groups.items()
            if self._is_private(members := self._members(root), places)
        }  # fmt: skip
        found: dict[Site, tuple[Any, bool]] = {}
        for site, statement in sums:
            kept = self._kept(site, statement, private)
            if kept is not None:
                found[site] = kept, self._may_fold(site, statement, kept)
        return found

    def _members(self, root: str) -> set[str]:
        return {name for name in list(self.groups.parent) if self.groups.find(name) == root}

    def _kept(self, site: Site, statement: Any, private: dict[str, set[str]]) -> Any:
        """The operand of a sum whose slot nobody needs any more; None where there is none."""
        a, b = statement.value.lhs, statement.value.rhs
        members = private.get(self.groups.find(a.name), set())
        if statement.target.name in members and self._is_last_use(members, site, statement):
            return a
        if self._is_temporary(a.name, site):
            return a
        commutes = statement.value.fn in (operator.add, operator.iadd)
        return b if commutes and self._is_temporary(b.name, site) else None

    def _is_temporary(self, name: str, site: Site) -> bool:
        """Whether a variable holds a fresh slot that is used here only, made in the same block."""
        if len(self.uses.get(name, ())) != 1 or len(self.definitions.get(name, ())) != 1:
            return False
        ((place, value),) = self.definitions[name]
        if place[0] != site[0] or place[1] > site[1]:
            return False
        if isinstance(value, ir.Var):
            return self._is_temporary(value.name, place)
        return is_operation(value) or self._is_row(value)

    def _is_row(self, value: Any) -> bool:
        """Whether it is a call of a function of the table, whose results are fresh."""
        if not (isinstance(value, ir.Expr) and value.op == "call"):
            return False
        found = self._constant(value.func.name)
        return found is not None and id(found) in ROW_STUBS

    def _constant(self, name: str) -> Any:
        """The global, or the attribute of a module, that a variable stands for."""
        known = self.definitions.get(name, ())
        if len(known) != 1:
            return None
        value = known[0][1]
        if isinstance(value, ir.Global | ir.FreeVar):
            return value.value
        if isinstance(value, ir.Expr) and value.op == "getattr":
            return getattr(self._constant(value.value.name), value.attr, None)
        return None

    def _value(self, name: str) -> Any:
        """What a variable that is set once holds, through copies."""
        value = self.definitions[name][0][1]
        return self._value(value.name) if isinstance(value, ir.Var) else value

    def _may_fold(self, site: Site, statement: Any, kept: Any) -> bool:
        """Whether the other operand is a temporary whose entries do not read the kept slot.

        And lie together: those of a sum done in place may not.
        """
        a, b = statement.value.lhs, statement.value.rhs
        other = b if kept is a else a
        if not self._is_temporary(other.name, site) or is_sum(self._value(other.name)):
            return False
        group = self.groups.find(kept.name)
        waiting, seen = [other.name], set()
        while waiting:
            name = waiting.pop()
            if self.groups.find(name) == group:
                return False
            if name not in seen:
                seen.add(name)
                for _, value in self.definitions.get(name, ()):
                    if isinstance(value, ir.Var):
                        waiting.append(value.name)
                    elif isinstance(value, ir.Expr):
                        waiting += [v.name for v in value.list_vars()]
        return True

    def _is_private(self, members: set[str], sums: list[Site]) -> bool:
        """Whether the variables hold fresh slots only, that nothing else knows when it matters."""
        for name in members:
            for _, value in self.definitions.get(name, [(None, None)]):
                if not (is_phi(value) or is_fresh(value) or isinstance(value, ir.Var)):
                    return False
            for site, statement in self.uses.get(name, ()):
                if shares(statement) and any(self.follows(place, site) for place in sums):
                    return False
        return True

    def _is_last_use(self, members: set[str], site: Site, statement: Any) -> bool:
        """Whether no variable that may hold the old slot is used after the addition."""
        if statement.value.rhs.name in members:
            return False
        return not any(self._is_live(name, site) for name in members - {statement.target.name})

    def _is_live(self, name: str, site: Site) -> bool:
        """Whether a use of the variable may follow, without its being set again before."""
        used = [place for place, _ in self.uses.get(name, ())]
        known = [place for place, _ in self.definitions.get(name, ())]
        seen: set[int] = set()
        waiting = [(site[0], site[1] + 1)]
        while waiting:
            label, start = waiting.pop()
            set_at = min((i for b, i in known if b == label and i >= start), default=None)
            if any(b == label and i >= start and (set_at is None or i <= set_at) for b, i in used):
                return True
            if set_at is None:
                for following, _ in self.cfg.successors(label):
                    if following not in seen:
                        seen.add(following)
                        waiting.append((following, 0))
        return False


SUMS = {operator.add, operator.sub, operator.iadd, operator.isub}


def is_phi(value: Any) -> bool:
    return isinstance(value, ir.Expr) and value.op == "phi"


def is_sum(value: Any) -> bool:
    """Whether it is ``a + b`` or ``a - b``, in place or not."""
    return (
        isinstance(value, ir.Expr) and value.op in ("binop", "inplace_binop") and value.fn in SUMS
    )


def is_fresh(value: Any) -> bool:
    """Whether a recording scalar that this gives has a slot of its own, or none."""
    return (
        is_operation(value)
        or isinstance(value, ir.Const)
        or (isinstance(value, ir.Global | ir.FreeVar) and isinstance(value.value, int | float))
    )


def is_operation(value: Any) -> bool:
    """Whether it is an operator's result, which has a slot of its own."""
    unary = isinstance(value, ir.Expr) and value.op == "unary" and value.fn is not operator.pos
    return unary or (isinstance(value, ir.Expr) and value.op in ("binop", "inplace_binop"))


def shares(statement: Any) -> bool:
    """Whether others may know the slot of a variable after a statement that uses it."""
    if isinstance(statement, ir.Assign):
        value = statement.value
        return not (isinstance(value, ir.Var) or is_phi(value) or is_fresh(value))
    return not isinstance(statement, ir.Branch | ir.Return)


@register_pass(mutates_CFG=False, analysis_only=False)
class AddInPlace(FunctionPass):
    """Put the stubs in the places of additions that may be done in place."""

    _name = "ndtape_add_in_place"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Numba's entry point."""
        function = state.func_ir
        found = Analysis(function.blocks).sites()
        for label, block in function.blocks.items():
            changed: list[Any] = []
            for i, statement in enumerate(block.body):
                if (label, i) in found:
                    kept, fold = found[label, i]
                    value = statement.value
                    stub = STUBS[value.fn, kept is value.rhs, fold]
                    changed += _called(function, statement, stub)
                else:
                    changed.append(statement)
            block.body = changed
        return bool(found)


def _called(function: Any, statement: Any, what: Any) -> list[Any]:
    """``t = a + b`` as a call of a function of two arguments."""
    expression, loc, target = statement.value, statement.loc, statement.target
    name = ir.Var(target.scope, f"$ndtape_{target.name}", loc)
    given = ir.Global("ndtape_operator", what, loc)
    call = ir.Expr.call(name, [expression.lhs, expression.rhs], (), loc)
    function._definitions[name.name].append(given)
    definitions = function._definitions[target.name]
    definitions[:] = [call if d is expression else d for d in definitions]
    return [ir.Assign(given, name, loc), ir.Assign(call, target, loc)]


@register_pass(mutates_CFG=False, analysis_only=False)
class FindHeader(FunctionPass):
    """Ask the arguments for the header before anything else."""

    _name = "ndtape_find_header"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Numba's entry point."""
        function = state.func_ir
        body = function.blocks[min(function.blocks)].body
        given = [s for s in body if isinstance(s, ir.Assign) and isinstance(s.value, ir.Arg)]
        if not given:
            return False
        loc, scope = given[-1].loc, given[-1].target.scope
        stub, result = (ir.Var(scope, f"$ndtape_{name}", loc) for name in ("find", "header"))
        what = ir.Global("ndtape_header_of", header_of, loc)
        call = ir.Expr.call(stub, [s.target for s in given], (), loc)
        function._definitions[stub.name].append(what)
        function._definitions[result.name].append(call)
        place = body.index(given[-1]) + 1
        body[place:place] = [ir.Assign(what, stub, loc), ir.Assign(call, result, loc)]
        return True


COMPARISONS = {operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne}


@register_pass(mutates_CFG=False, analysis_only=False)
class CallComparisons(FunctionPass):
    """``x < y`` as a call of its operator: Numba tells calls alone which line they are in."""

    _name = "ndtape_call_comparisons"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Numba's entry point."""
        function = state.func_ir
        for block in function.blocks.values():
            changed: list[Any] = []
            for statement in block.body:
                value = getattr(statement, "value", None)
                compares = isinstance(value, ir.Expr) and value.op == "binop"
                if compares and value.fn in COMPARISONS:
                    changed += _called(function, statement, value.fn)
                else:
                    changed.append(statement)
            block.body = changed
        return True


class TapeCompiler(CompilerBase):
    """Numba's pipeline for functions that append to a tape of instructions."""

    def define_pipelines(self) -> list[Any]:
        """The usual passes, and ours."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(CallComparisons, ReconstructSSA)
        passes.finalize()
        return [passes]


class LinearCompiler(CompilerBase):
    """Numba's pipeline for functions that record on a linear tape."""

    def define_pipelines(self) -> list[Any]:
        """The usual passes, and ours."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(FindHeader, ReconstructSSA)
        passes.add_pass_after(AddInPlace, ReconstructSSA)
        passes.add_pass_after(FuseArrays, NopythonRewrites)
        passes.finalize()
        return [passes]
