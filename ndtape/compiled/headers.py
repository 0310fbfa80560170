"""Which tape a function records on: found once, among its arguments.

A recording value can come into a function by its arguments only.  So the header that they know is
that of everything the function records, and where none of them knows one, nothing can record.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature

from ..vmath.kernel import Primitive
from . import emission
from .types import ArrayType, VarType
from .views import tape_at

# What cannot hold a recording value.
PLAIN = (types.Number, types.Boolean, types.NoneType, types.UnicodeType, types.RangeType,
         types.SliceType, types.Function, types.Dispatcher, types.Module)  # fmt: skip


def is_known(t: Any) -> bool:
    """Whether the header of a value of this type can be found, if it has one."""
    t = t.literal_type if isinstance(t, types.Literal) else t
    if isinstance(t, types.BaseTuple):
        return all(map(is_known, t))
    if isinstance(t, types.Array):
        return isinstance(t.dtype, types.Number | types.Boolean)
    return isinstance(t, (VarType, ArrayType, types.Omitted, *PLAIN))


class HeaderOf(Primitive):
    """header_of(*arguments): notes the header for the function that is being compiled."""

    def __init__(self) -> None:
        super().__init__(
            "header_of", lambda given: signature(types.uint64, *given), self.lower, None
        )

    def lower(self, context: Any, builder: Any, sig: Any, args: Any) -> Any:
        """Emit the search; of arguments that may hide one (lists), leave it to each operation."""
        if not all(map(is_known, sig.args)):
            return emission.ZERO
        header: Any = emission.ZERO
        for t, value in zip(sig.args, args, strict=True):
            for found in _headers(context, builder, t, value):
                header = builder.or_(header, found)
        emission.HEADERS[builder.function] = header
        return header


def _headers(context: Any, builder: Any, t: Any, value: Any) -> list[Any]:
    if isinstance(t, types.BaseTuple):
        parts = cgutils.unpack_tuple(builder, value)
        return [h for inner, part in zip(t, parts, strict=True)
                for h in _headers(context, builder, inner, part)]  # fmt: skip
    if isinstance(t, VarType):
        return [cgutils.create_struct_proxy(t)(context, builder, value=value).tape]
    if isinstance(t, ArrayType):
        cell = cgutils.create_struct_proxy(t)(context, builder, value=value).cell
        return [tape_at(builder, cell, t.mixed)]
    return []


header_of = HeaderOf()
