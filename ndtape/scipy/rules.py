"""Functions of elements that SciPy computes: a row each, with partial derivatives as text.

A row is a name of SciPy's, its operands, and one partial derivative an operand, written in the
operands, the result `z`, numbers, NumPy's functions and other rows.  The text is Python; it runs on
plain arrays in a sweep and on recording arrays where derivatives nest, so the table is closed: the
rows that a row names give its higher derivatives.

These are *calls* on the tape (`record/calls.py`): a sweep pauses and SciPy computes the whole
array.  Rows of `ops.TABLE` (erf, gammaln, expit ...) run inside the compiled sweep instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..numpy.arguments import contains_recording
from ..primitives.stacks import unbroadcast
from ..record.arrays import as_array, moves, recording
from ..record.calls import Primitive, call
from ..record.core import user_line
from ..record.elementwise import elementwise

UNKNOWN = ""  # the partial of an operand that is held constant
NAMES: dict[str, Any] = {}  # what the text of partials may name; rows add themselves


class Rule(Primitive):
    """A function of elements that broadcasts like a ufunc, with its partial derivatives.

    `partials` are texts; "0" is a derivative of zero, `UNKNOWN` an operand that must be plain.
    """

    def __init__(
        self,
        name: str,
        operands: str,
        *partials: str,
        doc: str = "",
        value: Callable[..., Any] | None = None,
    ) -> None:
        self.operands = operands.split()
        assert len(partials) == len(self.operands), name
        self.partials = partials
        self._value = value
        super().__init__(f"scipy.special.{name}", self._plain, self._adjoints, self._tangent, doc)
        self.__name__ = name
        NAMES[name] = self

    def __captures__(self) -> Any:
        return []  # constants of this package

    def __reduce__(self) -> Any:
        return _by_name, (self.__name__,)

    def __call__(self, *operands: Any, **options: Any) -> Any:
        """Recorded where an operand records, else as SciPy computes it (with `out=` and so on)."""
        if not contains_recording(operands):
            return self.own(*operands, **options)
        if options:
            raise UnsupportedError(
                f"{self.name} of recording values takes no {', '.join(options)} [{user_line()}]"
            )
        if len(operands) != len(self.operands):
            raise UnsupportedError(
                f"{self.name} takes {len(self.operands)} operands, {', '.join(self.operands)} "
                f"[{user_line()}]"
            )
        operands = tuple(as_array(x) if isinstance(x, (list, tuple)) else x for x in operands)
        moving = tuple(map(moves, operands))
        for name, text, moves_ in zip(self.operands, self.partials, moving, strict=True):
            if moves_ and text == UNKNOWN:
                raise UnsupportedError(
                    f"{self.name} has no derivative with respect to {name}: give it as a plain "
                    f"number, or as nt.stop_gradient({name}) [{user_line()}]"
                )
        return call(self, {"moving": moving}, *operands)

    @cached_property
    def own(self) -> Callable[..., Any]:
        """The function that computes values: SciPy's, unless the row brought one."""
        if self._value is not None:
            return self._value
        import scipy.special

        found: Callable[..., Any] = getattr(scipy.special, self.__name__)
        return found

    @cached_property
    def slopes(self) -> list[Callable[..., Any] | None]:
        """The partials as functions of (z, *operands)."""
        names = names_of_rules()
        head = f"lambda z, {', '.join(self.operands)}: "
        return [
            None if text in (UNKNOWN, "0") else eval(head + text, names) for text in self.partials
        ]

    def _plain(self, *operands: Any, moving: Sequence[bool]) -> Any:
        try:
            with np.errstate(all="ignore"):
                return np.asarray(self.own(*operands))
        except ValueError as error:
            shapes = " and ".join(str(np.shape(x)) for x in operands)
            raise ShapeError(f"{self.name} of shapes {shapes}: {error} [{user_line()}]") from None

    def _adjoints(self, w: Any, z: Any, *operands: Any, moving: Sequence[bool]) -> tuple[Any, ...]:
        return tuple(
            unbroadcast(part, np.shape(x)) if part is not None else None
            for part, x in zip(self._parts([w] * len(moving), z, operands, moving), operands,
                               strict=True)
        )  # fmt: skip

    def _tangent(self, tangents: Any, z: Any, *operands: Any, moving: Sequence[bool]) -> Any:
        total: Any = np.zeros(np.shape(z))
        for part in self._parts(tangents, z, operands, moving):
            if part is not None:
                total = total + part
        return total

    def _parts(
        self, factors: Sequence[Any], z: Any, operands: Sequence[Any], moving: Sequence[bool]
    ) -> list[Any]:
        """Each factor times the partial of its operand; None where that is zero or not wanted."""
        with np.errstate(all="ignore"):
            return [
                times(factor, slope(z, *operands)) if wanted and slope is not None else None
                for factor, slope, wanted in zip(factors, self.slopes, moving, strict=True)
            ]


def _by_name(name: str) -> Rule:
    from . import special_table

    return special_table.TABLE[name]


def times(w: Any, slope: Any) -> Any:
    """w * slope, but 0 where w is 0: an adjoint of zero stays zero beside an infinite slope."""
    if recording(w) or recording(slope):
        return elementwise("mz", w, slope)
    return np.where(w == 0.0, 0.0, w * slope)


def names_of_rules() -> dict[str, Any]:
    """The names that partials may use; the ufuncs of `ops.TABLE` come from SciPy itself."""
    if "where" not in NAMES:
        import scipy.special

        for name in ("psi", "gammaln", "erf", "erfc", "ndtr", "xlogy", "xlog1py", "expit"):
            NAMES[name] = getattr(scipy.special, name)
        for name in ("abs", "cos", "cosh", "exp", "log", "log1p", "sign", "sin", "sinc", "sinh",
                     "sqrt", "where", "pi", "inf"):  # fmt: skip
            NAMES[name] = getattr(np, name)
    return NAMES
