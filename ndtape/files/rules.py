"""Calls of functions with rules of their own (`nt.custom_vjp`, `nt.custom_jvp`) in a file.

The function is known by its module and name; what is written beside it says which leaves of its
arguments were recorded, and the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import trees
from ..record.calls import Primitive
from ..transforms.custom import (
    ForwardRule,
    ReverseRule,
    Rule,
    registered,
    registered_name,
    ruled_by,
)
from .values import decoded, encoded, fields, refuse, rows, text, tree_decoded, tree_encoded, whole

if TYPE_CHECKING:
    from .tapes import Reader, Writer

KINDS: dict[str, type[Rule]] = {"vjp": ReverseRule, "jvp": ForwardRule}


def written(rule: Any, writer: Writer) -> dict[str, Any]:
    """The record of a rule; raises `TapeFileError` where its function is not known by a name."""
    kind = next((kind for kind, cls in KINDS.items() if type(rule) is cls), "")
    name = registered_name(rule.of) if kind else ""
    if not name:
        refuse(
            f"the recording calls {getattr(rule, 'name', rule)!s:.50}, which is Python and has no "
            "name by which another process could find it (nt.checkpoint, nt.vmap, and functions "
            "with rules of their own that stand in no module): save a function without it"
        )
    what, vectors = f"an argument of {rule.name}", writer.vectors
    kept = getattr(rule, "residual_structure", None)
    return {
        "kind": kind,
        "of": name,
        "skipped": sorted(rule.skipped),
        "rest": [encoded(x, vectors, what) for x in rule.rest],
        "arguments": tree_encoded(rule.structure, vectors, what),
        "value": tree_encoded(rule.value_structure, vectors, f"the value of {rule.name}"),
        "kept": None if kept is None else [tree_encoded(kept, vectors, what)],
        "primals": [x and [encoded(x[0], vectors, what)] for x in rule.primals],
        "residuals": [x and [encoded(x[0], vectors, what)] for x in rule.residuals],
        "many": rule.many,
    }


def read(record: Any, reader: Reader) -> Rule:
    """The rule of a record, if this process knows its function."""
    kind, of, skipped, rest, arguments, value, kept, primals, residuals, many = fields(
        record, "kind of skipped rest arguments value kept primals residuals many", "a rule"
    )
    function, cls = registered(text(of, "the name of a function")), KINDS[kind]
    if function is None or not hasattr(function, "rule" if cls is ForwardRule else "bwd"):
        refuse(f"it calls {of}, a function with a rule of its own that this process does not know: "
               "import its module, and load again")  # fmt: skip
    places = {whole(i, "a position") for i in rows(skipped, "positions")}
    plain = tuple([decoded(x, reader.vectors) for x in rows(rest, "arguments")])
    if len(places) != len(plain):
        refuse("a rule has other arguments than positions")
    rule = cls(function, (places, plain), _structure(arguments, reader))
    rule.value_structure, rule.many = _structure(value, reader), many is True
    rule.primals = [_leaf(x, reader) for x in rows(primals, "arguments")]
    rule.residuals = [_leaf(x, reader) for x in rows(residuals, "residuals")]
    if isinstance(rule, ReverseRule) and kept is not None:
        rule.residual_structure = _structure(rows(kept, "residuals")[0], reader)
    return rule


def primitive(rule: Rule, dtypes: list[Any]) -> Primitive:
    """The operation that has this rule as its derivative, with results of these dtypes."""
    return ruled_by(tuple(dtypes), rule.jvp is not None, False, False)  # type: ignore[attr-defined]


def _structure(x: Any, reader: Reader) -> Any:
    return trees.flatten(tree_decoded(x, reader.vectors))[1]


def _leaf(x: Any, reader: Reader) -> Any:
    return None if x is None else (decoded(rows(x, "a leaf")[0], reader.vectors),)
