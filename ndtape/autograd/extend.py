"""Operations of one's own as autograd.extend has them, on `nt.primitive`.

    @primitive
    def logistic(x): return 1 / (1 + np.exp(-x))
    defvjp(logistic, lambda ans, x: lambda g: g * ans * (1 - ans))

A rule gets plain arrays in a sweep and recording ones where derivatives nest, as there.  Without
`defjvp`, forward derivatives come from the vjp by transposition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..numpy.arguments import contains_recording
from ..record.arrays import moves, plain_value, recording
from ..record.calls import Primitive, call
from ..record.core import user_line
from ..trees import flatten, unflatten

Maker = Callable[..., Any]  # (argnum, ans, args, kwargs) -> (g -> adjoint), or for jvp -> tangent


class HipsPrimitive:
    """A function that is recorded as one operation; `defvjp` gives its derivatives."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun = fun
        self.__name__ = self.__qualname__ = getattr(fun, "__name__", "primitive")
        self.__doc__ = fun.__doc__
        self.vjp: Maker | None = None
        self.vjps: dict[int, Maker | None] = {}
        self.jvp: Maker | None = None
        self.jvps: dict[int, Any] = {}
        self._with_jvp = self._primitive(self._tangent)
        self._without = self._primitive(None)

    def _primitive(self, jvp: Any) -> Primitive:
        return Primitive(self.__name__, self._value, self._adjoints, jvp)

    def __captures__(self) -> Any:
        """What a traced function that calls this one depends on."""
        return [self.fun, self.vjp, self.jvp, *self.vjps.values(), *self.jvps.values()]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        places = tuple(i for i, x in enumerate(args) if moves(x))
        fixed = tuple(None if i in places else _plain(x) for i, x in enumerate(args))
        if contains_recording([*kwargs.values()]):
            raise UnsupportedError(
                f"{self.__name__}: recording values go by place, not by name [{user_line()}]"
            )
        if not places:
            return self.fun(*fixed, **kwargs)
        for i in places:
            if self.vjp is None and i not in self.vjps:
                raise UnsupportedError(
                    f"{self.__name__} has no vjp for argument {i}, see defvjp [{user_line()}]"
                )
        forward = self.jvp is not None or all(i in self.jvps for i in places)
        params = {"places": places, "fixed": fixed, "kwargs": kwargs}
        return call(
            self._with_jvp if forward else self._without, params, *[args[i] for i in places]
        )

    def __repr__(self) -> str:
        return f"<autograd primitive {self.__name__}>"

    def _value(self, *arrays: Any, places: Any, fixed: Any, kwargs: Any) -> Any:
        return self.fun(*_full(places, fixed, arrays), **kwargs)

    def _adjoints(
        self, w: Any, z: Any, *arrays: Any, places: Any, fixed: Any, kwargs: Any
    ) -> tuple[Any, ...]:
        args = _full(places, fixed, arrays)
        found = []
        for i, x in zip(places, arrays, strict=True):
            if self.vjp is not None:
                pull = self.vjp(i, _number(z), args, kwargs)
            else:
                maker = self.vjps[i]
                pull = None if maker is None else maker(_number(z), *args, **kwargs)
            term = None if pull is None else pull(_number(w))
            found.append(None if term is None else np.reshape(term, np.shape(x)))
        return tuple(found)

    def _tangent(
        self, tangents: Any, z: Any, *arrays: Any, places: Any, fixed: Any, kwargs: Any
    ) -> Any:
        args = _full(places, fixed, arrays)
        total: Any = np.zeros(np.shape(z))
        for i, t in zip(places, tangents, strict=True):
            rule = self.jvps.get(i)
            if self.jvp is not None:
                total = total + self.jvp(i, _number(t), _number(z), args, kwargs)
            elif rule == "same":  # linear in this argument
                total = total + self.fun(*args[:i], _number(t), *args[i + 1 :], **kwargs)
            elif rule is not None:
                total = total + rule(_number(t), _number(z), *args, **kwargs)
        return total


def _plain(x: Any) -> Any:
    """x without values that record nothing."""
    leaves, structure = flatten(x)
    if any(map(moves, leaves)):
        raise UnsupportedError(
            "a primitive takes recording arrays as arguments of their own, not in containers "
            f"[{user_line()}]"
        )
    return unflatten(structure, [plain_value(v) if recording(v) else v for v in leaves])


def _number(x: Any) -> Any:
    """An array without axes as the number that the user's function expects."""
    return x[()] if isinstance(x, np.ndarray) and x.ndim == 0 else x


def _full(places: Sequence[int], fixed: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
    args = list(fixed)
    for i, x in zip(places, arrays, strict=True):
        args[i] = _number(x)
    return args


def primitive(fun: Callable[..., Any]) -> HipsPrimitive:
    """A function of arrays as one operation, whose derivatives `defvjp` gives.

    >>> from ndtape.autograd import grad
    >>> @primitive
    ... def cube(x):
    ...     return x**3
    >>> defvjp(cube, lambda ans, x: lambda g: g * 3 * x**2)
    >>> grad(cube)(2.0), grad(grad(cube))(2.0)
    (12.0, 12.0)
    """
    return HipsPrimitive(fun)


def notrace_primitive(fun: Callable[..., Any]) -> Callable[..., Any]:
    """The function of plain values: what it returns has no derivative."""

    def plainly(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten((args, kwargs))
        values = [plain_value(x) if recording(x) else x for x in leaves]
        given, named = unflatten(structure, values)
        return fun(*given, **named)

    return plainly


def defvjp(fun: HipsPrimitive, *vjpmakers: Any, argnums: Sequence[int] | None = None) -> None:
    """One maker an argument, `maker(ans, *args, **kwargs)` returning `vjp(g)`; None for zero."""
    fun.vjps.update(zip(argnums or range(len(vjpmakers)), vjpmakers, strict=False))


def defvjp_argnum(fun: HipsPrimitive, vjpmaker: Maker) -> None:
    """One maker for all arguments: `vjpmaker(argnum, ans, args, kwargs)` returns `vjp(g)`."""
    fun.vjp = vjpmaker


def defjvp(fun: HipsPrimitive, *jvpfuns: Any, argnums: Sequence[int] | None = None) -> None:
    """One function an argument, `jvp(g, ans, *args, **kwargs)`; "same" where fun is linear."""
    fun.jvps.update(zip(argnums or range(len(jvpfuns)), jvpfuns, strict=False))


def defjvp_argnum(fun: HipsPrimitive, jvpmaker: Maker) -> None:
    """One function for all arguments: `jvpmaker(argnum, g, ans, args, kwargs)`."""
    fun.jvp = jvpmaker
