"""Recording values as Python objects: their numbers.

Results never come this way (entries.py); what is printed, or given to an exception, does.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import box

from .types import ArrayType, VarType


@box(VarType)
def _box_scalar(typ: VarType, val: Any, c: Any) -> Any:
    given = cgutils.create_struct_proxy(typ)(c.context, c.builder, value=val)
    return c.box(types.float64, given.value)


@box(ArrayType)
def _box_array(typ: ArrayType, val: Any, c: Any) -> Any:
    given = cgutils.create_struct_proxy(typ)(c.context, c.builder, value=val)
    return c.box(typ.array, given.values)
