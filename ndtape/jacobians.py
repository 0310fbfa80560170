"""Transforms of functions with arrays as results: jacobian, vjp and jvp.

Shapes are as in JAX: a Jacobian has the shape of the result followed by that of the argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from .errors import ArgumentError, ShapeError
from .record import core
from .record.adjoint import recorded_gradient
from .record.arrays import Array, as_array, of_span, plain_value, recording
from .record.core import recording_on
from .record.values import Result, Var, result
from .record.wide import in_order, movement, stacked
from .transforms import Argnums, _Call, part_of
from .trees import flatten


def jacobian(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """`jacobian(f)(*args)` is the matrix of first derivatives of f.

    `f` takes scalars and arrays in containers, and returns a scalar or an array.  The answer has
    the structure of the differentiated argument (a tuple for several), each entry of the shape
    ``result.shape + argument.shape``.  One tangent sweep an input or one reverse sweep an output,
    whichever is less.  Nests like `grad`.  A list of results counts
    as an array.

    >>> import ndtape as nt, numpy as np
    >>> nt.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """

    @wraps(f)
    def transformed(*args: Any, **kwargs: Any) -> Any:
        return _Vector(f, args, kwargs, argnums).jacobian()

    return transformed


def vjp(f: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], Any]]:
    """`vjp(f, *args)` is (value, pullback); `pullback(w)` is a tuple of adjoints, one an argument.

    `w` has the shape of the value: the cotangent.  No Jacobian is formed.

    >>> import ndtape as nt, numpy as np
    >>> value, pullback = nt.vjp(lambda A, x: A @ x, np.eye(2), np.array([1.0, 2.0]))
    >>> pullback(np.array([1.0, -1.0]))[1]
    array([ 1., -1.])
    """
    call = _Vector(f, args, {}, tuple(range(len(args))))
    return call.value(), call.pullback


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """`jvp(f, primals, tangents)` is (value, derivative of the value along the tangents).

    >>> import ndtape as nt, numpy as np
    >>> nt.jvp(lambda x: x**2, (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),))
    (array([1., 4.]), array([2., 0.]))
    """
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise ArgumentError(f"{name} must be a tuple with one entry for each argument of f")
    call = _Vector(f, tuple(primals), {}, tuple(range(len(primals))))
    return call.value(), call.pushforward(tangents)


class _Vector(_Call):
    """One evaluation of f, whose result may be an array; its elements become one span."""

    def __init__(
        self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Argnums
    ) -> None:
        super().__init__(f, args, kwargs, argnums)
        if isinstance(self.y, (list, tuple)):
            self.y = as_array(self.y)
        if not isinstance(self.y, (Array, Var)):
            self.y = np.asarray(plain_value(self.y), np.float64)
        self.shape: tuple[int, ...] = getattr(self.y, "shape", ())
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.start = -1
        if self._moves():
            self._locate()
        self.numeric = self.start < 0 or self.paused or self.is_independent(
            self.tape, range(self.start, self.start + self.size)
        )  # fmt: skip

    def _moves(self) -> bool:
        """Whether the result depends on anything recorded."""
        if isinstance(self.y, Array):
            return self.y.storage.tape is not None and self.size > 0
        return isinstance(self.y, Result)

    def _locate(self) -> None:
        with core.growth, recording_on(core.destination(self.tape)):
            y = as_array(self.y)
            core.resolve(y.storage)
            tape = core.destination(self.tape)
            if y.storage.tape is not tape:
                return
            start, is_constant = in_order(tape, y)
        self.tape, self.start = tape, -1 if is_constant else start

    # --- numbers ---

    def value(self) -> Any:
        """f(*args): plain numbers at the outermost level, recording values inside another."""
        if self.numeric and recording(self.y):
            return self.y.value
        return self.y if self.shape or recording(self.y) else self.y.item()

    def pullback(self, w: Any) -> tuple[Any, ...]:
        """Adjoints of the arguments for a cotangent of the shape of the value."""
        shape = np.shape(plain_value(w))
        if shape != self.shape:
            raise ShapeError(f"a cotangent of shape {shape} for a value of shape {self.shape}")
        if not self.numeric or recording(w):
            return self._shaped(self._recorded_adjoints(w))  # type: ignore[no-any-return]
        if self.start < 0:
            return self._shaped(self.zeros())  # type: ignore[no-any-return]
        return self._shaped(self.read(self._reverse(np.asarray(w, np.float64))))  # type: ignore[no-any-return]

    def _reverse(self, w: np.ndarray) -> np.ndarray:
        slots = range(self.start, self.start + self.size)
        return self.tape.work.reverse(dict(zip(slots, w.ravel().tolist(), strict=True)))

    def _recorded_adjoints(self, w: Any) -> list[Any]:
        if self.start < 0:
            return self.zeros()
        with recording_on(self.tape):
            product = as_array(self.y) * as_array(w)
            total = product.sum() if self.shape else product
            total = total[()] if isinstance(total, Array) else total
            return recorded_gradient(total, self.variables)

    def pushforward(self, tangents: Sequence[Any]) -> Any:
        """The derivative of the value along tangents of the arguments."""
        if self.numeric:
            seeds = self.seeds_for(tangents, "tangents", "primals")
            if self.start < 0:
                return np.zeros(self.shape) if self.shape else 0.0
            t = self.tape.work.tangent(self.slot_seeds(seeds))
            found = t[self.start : self.start + self.size].reshape(self.shape).copy()
            return found if self.shape else float(found)
        return self._recorded_tangent(tangents)

    def _recorded_tangent(self, tangents: Sequence[Any]) -> Any:
        """J t as the derivative of w -> <Jᵀ w, t>, which is linear: any w will do."""
        leaves, _ = flatten(tuple(tangents))
        with recording_on(self.tape):
            w = self.tape.add_input(np.zeros(self.size))
            cotangent: Any = (
                of_span(self.tape, w, self.shape) if self.shape else result(self.tape, w)
            )
            adjoints = self._recorded_adjoints(cotangent)
            total: Any = 0.0
            for adjoint, tangent in zip(adjoints, leaves, strict=True):
                product = as_array(adjoint) * as_array(tangent)
                total = total + (product.sum() if product.shape else product[()])
            if not isinstance(total, Result):
                return np.zeros(self.shape) if self.shape else 0.0
            return recorded_gradient(total, [cotangent])[0]

    # --- all of it ---

    def jacobian(self) -> Any:
        columns = sum(x.size if isinstance(x, Array) else 1 for x in self.variables)
        if not self.numeric:
            return self._shaped(self._stacked_rows())
        if self.start < 0:
            rows = np.zeros((self.size, columns))
        elif columns < self.size:
            rows = self._by_tangents(columns)
        else:
            rows = self._by_adjoints(columns)
        return self._shaped(self._split(rows))

    def _by_adjoints(self, columns: int) -> np.ndarray:
        rows = np.zeros((self.size, columns))
        for i in range(self.size):
            g = self.tape.work.reverse({self.start + i: 1.0})
            parts = [np.ravel(part_of(g, x)) for x in self.variables]
            rows[i] = np.concatenate(parts) if parts else 0.0
        return rows

    def _by_tangents(self, columns: int) -> np.ndarray:
        rows = np.zeros((self.size, columns))
        column = 0
        for x in self.variables:
            seed = np.zeros(x.size if isinstance(x, Array) else 1)
            first = self.slot_seeds([seed if v is x else np.zeros(0) for v in self.variables])
            for slot in first:
                t = self.tape.work.tangent({slot: 1.0})
                rows[:, column] = t[self.start : self.start + self.size]
                column += 1
        return rows

    def _split(self, rows: np.ndarray) -> list[Any]:
        found, column = [], 0
        for x in self.variables:
            shape = x.shape if isinstance(x, Array) else ()
            count = int(np.prod(shape, dtype=np.int64))
            block = rows[:, column : column + count].reshape(self.shape + shape)
            found.append(block if block.shape else block.item())
            column += count
        return found

    def _stacked_rows(self) -> list[Any]:
        """One recorded reverse walk an element of the result."""
        if self.start < 0:
            return self._split(np.zeros((self.size, sum(
                x.size if isinstance(x, Array) else 1 for x in self.variables))))  # fmt: skip
        with recording_on(self.tape):
            rows = [
                recorded_gradient(result(self.tape, self.start + i), self.variables)
                for i in range(self.size)
            ]
            found: list[Any] = []
            for j, x in enumerate(self.variables):
                shape = x.shape if isinstance(x, Array) else ()
                if not self.shape:
                    found.append(rows[0][j])
                    continue
                block = stacked([row[j] for row in rows])
                found.append(movement(np.reshape, block, self.shape + shape))
            return found
