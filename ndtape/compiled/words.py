"""What Numba works with, in words: types, values, statements of Python, errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types
from numba.core import utils

from ..record.arrays import Array
from ..record.values import Var
from .types import ArrayType, VarType

NOUNS: tuple[tuple[Any, str], ...] = (
    (VarType, "recording float"),
    (types.Boolean, "truth value"),
    (types.Integer, "whole number"),
    (types.Float, "float"),
    (types.Complex, "complex number"),
    (types.UnicodeType, "string"),
    (types.DictType | types.LiteralStrKeyDict, "dict"),
    (types.Set, "set"),
    (types.Module, "module"),
    (types.Generator, "generator"),
    (types.RangeType, "range"),
    (types.ClassType | types.NumberClass, "class"),
    (types.Callable | types.MakeFunctionLiteral, "function"),
    (types.SliceType, "slice"),
)
SYMBOLS = {
    function: symbol
    for table in (utils.BINOPS_TO_OPERATORS, utils.INPLACE_BINOPS_TO_OPERATORS,
                  utils.UNARY_BUITINS_TO_OPERATORS)
    for symbol, function in table.items()
}  # fmt: skip
STATEMENTS = {  # by the names of Python's instructions
    "LOAD_BUILD_CLASS": "classes made inside a function",
    "IMPORT": "imports inside a function",
    "STORE_GLOBAL": "writing a global variable",
    "DELETE": "del of a global or an attribute",
    "UNPACK_EX": "a starred name on the left of =",
    "BEFORE_WITH": "`with`",
    "SETUP_WITH": "`with`",
    "SEND": "`yield from` and `await`",
    "GET_AWAITABLE": "`await`",
    "DICT_": "** of a dict",
}


def noun(t: Any) -> str:
    """What a type is called, without article."""
    if isinstance(t, types.Literal):
        return noun(t.literal_type)
    if isinstance(t, ArrayType):
        return f"recording {t.ndim}-dimensional array"
    if isinstance(t, types.Array):
        return f"plain {t.ndim}-dimensional array of {noun(t.dtype)}s"
    if isinstance(t, types.List | types.ListType):
        return f"list of {noun(t.dtype)}s" if t.is_precise() else "list of nothing yet"
    if isinstance(t, types.BaseTuple):
        return f"tuple of {kinds(t.types)}" if t.types else "tuple of nothing"
    return next((word for of, word in NOUNS if isinstance(t, of)), f"value of type {t}")


def kind(t: Any) -> str:
    """A type in words: 'a recording float'."""
    if isinstance(t, types.NoneType):
        return "None"
    if isinstance(t, types.Optional):
        return f"{kind(t.type)} or None"
    return f"a {noun(t)}"


def kinds(given: Sequence[Any]) -> str:
    """Several types: 'a recording float and a string'."""
    words = [kind(t) for t in given]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def recording(t: Any) -> bool:
    """Whether a type is a recording one, or holds such."""
    if isinstance(t, VarType | ArrayType):
        return True
    inside = getattr(t, "types", None) or [getattr(t, name, None) for name in ("dtype", "type")]
    return any(recording(x) for x in inside if x is not None and x is not t)


def plain_kind(value: Any) -> str:
    """A Python value in words: 'a dict'."""
    if isinstance(value, Var | Array):
        return "a recording value"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if callable(value):
        return "a function"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def first_line(error: BaseException) -> str:
    """The beginning of what Numba says, without its colours and without our types' long names."""
    text = whole_text(error, getattr(error, "msg", None)) or type(error).__name__
    for name, word in ((r"ndtape\.Var\[\w+\]\(\w+\)", "recording float"),
                       (r"ndtape\.Array\[\w+\]\((\w+), .*?\)\)", "recording array")):  # fmt: skip
        text = re.sub(name, word, text)
    return text.split("\n")[0][:200]


def whole_text(error: BaseException, text: Any = None) -> str:
    """What Numba says, without its colours."""
    return re.sub("\x1b\\[[0-9;]*m", "", str(text or error)).strip()


def statement(opcode: str) -> str:
    """What an instruction of Python's that Numba does not know stands for; empty for others."""
    known = next((words for name, words in STATEMENTS.items() if opcode.startswith(name)), "")
    return known and f"Numba does not support {known}"
