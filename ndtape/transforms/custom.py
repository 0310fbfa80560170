"""Functions with derivative rules of their own, with JAX's decorators.

`custom_vjp` replaces the reverse rule, `custom_jvp` the forward rule; the other direction is the
transpose.  The value is recorded as any other program, so that a replay follows it in compiled
sweeps.  Behind it stands a `call` instruction that hands the value on unchanged and has the rule as
its derivative: sweeps call the rule with plain numbers, and derivatives of derivatives call it
with recording values, which makes it differentiable itself.  A `custom_jvp` of scalars with a
scalar result needs no call, so that it stays in compiled sweeps: its partial derivatives are
recorded at once.

Rules mostly call the function that they belong to, whose derivative is again the rule: such a call
is lazy, its rule runs when somebody differentiates it (in JAX the levels of tracing see to that).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial, update_wrapper
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..errors import ArgumentError, GradientLostError, ShapeError
from ..named import called
from ..ops import ROWS
from ..record import core
from ..record.arrays import BOOL, FLOAT64, INT64, Array, as_array, moves, normal
from ..record.backward import _valued
from ..record.calls import Primitive
from ..record.operators import apply
from ..record.values import FUNCTIONS, Boolean, Integer, Var
from ..record.wide import shape_of
from ..trees import flatten, unflatten
from .outputs import VectorEvaluation

_running: ContextVar[tuple[Any, ...]] = ContextVar("ndtape_rules", default=())
_registered: WeakValueDictionary[str, _Custom] = WeakValueDictionary()


@contextmanager
def _inside_rule_of(function: Any) -> Iterator[None]:
    """Calls of the function from here on are lazy."""
    token = _running.set((*_running.get(), function))
    try:
        yield
    finally:
        _running.reset(token)


class _Custom:
    """What both decorators share: arguments, and those that are not differentiated."""

    __name__: str

    def __init__(self, f: Callable[..., Any], nondiff_argnums: int | Sequence[int] = ()) -> None:
        self.f = f
        given = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        self.nondiff_argnums = given
        update_wrapper(self, f, updated=())
        _registered[_name_in_files(f)] = self

    def __repr__(self) -> str:
        return f"<nt.{type(self).__name__} {called(self.f)}>"

    def __captures__(self) -> Any:
        """What a traced function that calls this one depends on."""
        return [part for part in vars(self).values() if callable(part)]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A method: `self` is the first argument, mostly one of `nondiff_argnums`."""
        return self if instance is None else partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = _positional(self.f, args, kwargs)
        skipped = {i + len(args) if i < 0 else i for i in self.nondiff_argnums}
        if not all(0 <= i < len(args) for i in skipped):
            raise ArgumentError(
                f"nondiff_argnums={self.nondiff_argnums} does not fit the {len(args)} arguments of "
                f"{self.__name__}"
            )
        rest = tuple([args[i] for i in sorted(skipped)])
        primals = tuple([x for i, x in enumerate(args) if i not in skipped])
        leaves, structure = flatten(primals)
        if not core.recording() or not any(map(moves, leaves)):
            return self.f(*args)
        if any(map(moves, flatten(rest)[0])):
            raise GradientLostError(
                f"an argument of {self.__name__} that nondiff_argnums leaves out is a recording "
                "value, whose derivative would be lost; make it an ordinary argument (the rule may "
                f"return None for it) [{core.user_line()}]"
            )
        return self._recorded(args, (skipped, rest), leaves, structure)

    def _recorded(self, args: Any, rest: Any, leaves: list[Any], structure: Any) -> Any:
        raise NotImplementedError

    def valued(self, f: Callable[..., Any], args: tuple[Any, ...], leaves: list[Any]) -> Any:
        """`f(*args)`; refuses to drop the derivative of what f captures."""
        return _valued(self.__name__, lambda *_: f(*args), tuple(leaves))


def _name_in_files(f: Any) -> str:
    return f"{getattr(f, '__module__', '')}:{getattr(f, '__qualname__', '')}"


def registered(name: str) -> Any:
    """The function with rules of its own that files know by this name, or None."""
    return _registered.get(name)


def registered_name(function: Any) -> str:
    """The name that files know it by; "" where that is another one, or none."""
    name = _name_in_files(getattr(function, "f", None))
    return name if "<" not in name and _registered.get(name) is function else ""


def _positional(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """All arguments by position, as the rules are given them."""
    try:
        bound = inspect.signature(f).bind(*args, **kwargs)
    except ValueError:  # a builtin without signature
        return args
    bound.apply_defaults()
    if bound.kwargs:
        raise ArgumentError(
            f"the rules of {getattr(f, '__name__', f)} take arguments by position: it cannot have "
            f"keyword-only ones, {sorted(bound.kwargs)}"
        )
    return bound.args


class custom_vjp(_Custom):
    """A function with a reverse rule of its own, `f.defvjp(fwd, bwd)`; a decorator, as in JAX.

    `fwd(*args)` returns (value, residuals), and `bwd(residuals, w)` the adjoints of the arguments
    for a cotangent w of the value: a tuple with one tree for each argument, None for zero.
    Residuals are any tree.  Arguments in `nondiff_argnums` are passed on to `fwd` as they are, and
    to `bwd` in front of the residuals.  `bwd` need not be the true derivative (clipped gradients,
    straight-through estimators).  For second derivatives fwd and bwd are differentiated, so they
    are written with NumPy or `nt` functions.  Unlike in JAX, forward mode works: the rule is
    transposed, which needs a `bwd` that is linear in w.

    Raises `ArgumentError` or `ShapeError` where the adjoints do not match the arguments, and
    `GradientLostError` where the rule uses a recording value that is no argument.

    >>> import ndtape as nt
    >>> @nt.custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda _, w: (nt.clip(w, -1.0, 1.0),))
    >>> nt.grad(lambda x: 100.0 * clipped(x))(2.0)
    1.0
    """

    fwd: Callable[..., Any] | None = None
    bwd: Callable[..., Any] | None = None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any], **_: Any) -> None:
        """Give the function its rule; see the class."""
        self.fwd, self.bwd = fwd, bwd

    def _recorded(self, args: Any, rest: Any, leaves: list[Any], structure: Any) -> Any:
        if self.fwd is None or self.bwd is None:
            raise ArgumentError(f"{self.__name__} has no rule: call its defvjp(fwd, bwd) first")
        rule = ReverseRule(self, rest, structure)
        if self in _running.get():
            return _attached(rule, leaves, [], self.valued(self.f, args, leaves))
        y, residuals = self.valued(lambda *_: self.forward(args), args, leaves)
        kept, rule.residual_structure = flatten(residuals)
        return _attached(rule, leaves, kept, y)

    def forward(self, args: tuple[Any, ...]) -> tuple[Any, Any]:
        """What fwd says: value and residuals."""
        assert self.fwd is not None
        with _inside_rule_of(self):
            pair = self.fwd(*args)
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            raise ArgumentError(f"the fwd of {self.__name__} must return (value, residuals)")
        return pair[0], pair[1]


class custom_jvp(_Custom):
    """A function with a forward rule of its own, `f.defjvp(rule)`; a decorator, as in JAX.

    `rule(primals, tangents)` returns (value, tangent), with the tangent linear in the tangents; as
    a decorator, ``@f.defjvp``.  Arguments in `nondiff_argnums` come before `primals`.
    `f.defjvps(*rules)` gives one rule an argument, called as `rule(t, value, *primals)`; None
    stands for zero.  Reverse mode transposes the rule.  The value is that of f itself.

    Raises `ArgumentError` or `ShapeError` where the tangent does not match the value.

    >>> import ndtape as nt
    >>> @nt.custom_jvp
    ... def log1pexp(x):
    ...     return nt.log(1.0 + nt.exp(x))
    >>> @log1pexp.defjvp
    ... def rule(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     return log1pexp(x), (1.0 - 1.0 / (1.0 + nt.exp(x))) * t
    >>> nt.grad(log1pexp)(100.0), nt.grad(nt.grad(log1pexp))(0.0)
    (1.0, 0.25)
    """

    rule: Callable[..., Any] | None = None

    def defjvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Give the function its rule; see the class.  Returns the rule."""
        self.rule = rule
        return rule

    def defjvps(self, *rules: Callable[..., Any] | None) -> None:
        """Give the function one rule for each argument; see the class."""

        def rule(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
            if len(rules) != len(primals):
                raise ArgumentError(
                    f"{self.__name__} has {len(primals)} arguments and {len(rules)} rules"
                )
            value = self(*primals)
            pairs = zip(rules, tangents, strict=True)
            terms = [rule(t, value, *primals) for rule, t in pairs if rule is not None]
            total = terms[0] if terms else 0.0
            for term in terms[1:]:
                total = total + term
            return value, total

        self.rule = rule

    def _recorded(self, args: Any, rest: Any, leaves: list[Any], structure: Any) -> Any:
        if self.rule is None:
            raise ArgumentError(f"{self.__name__} has no rule: call its defjvp(rule) first")
        y = self.valued(self.f, args, leaves)
        rule = ForwardRule(self, rest, structure)
        scalars = all(not isinstance(x, (Array, np.ndarray)) for x in leaves)
        if self not in _running.get() and scalars and isinstance(y, (Var, float, int)):
            return rule.of_scalars(leaves, y)
        return _attached(rule, leaves, [], y)


def described(*parts: Any) -> str:
    """Text that is equal for calls that do the same: calls are compared by it, as tapes are.

    Functions by their code, because two recordings of a program make two of each closure.
    """
    leaves, structure = flatten(parts)
    return f"{structure}{[getattr(x, '__code__', x) for x in leaves]}"


# --- rules as derivatives of a call ---------------------------------------------------------------


class Rule:
    """What stands behind one call: the structure of arguments and value, and the derivative."""

    def __init__(self, of: Any, rest: tuple[set[int], tuple[Any, ...]], structure: Any) -> None:
        self.of, self.structure = of, structure
        self.skipped, self.rest = rest
        self.name = of.__name__
        self.primals: list[
            Any
        ] = []  # leaves of the arguments that are not operands, None for those
        self.residuals: list[Any] = []
        self.value_structure: Any = None
        self.many = True

    def __repr__(self) -> str:
        return described(self.of.f, self.rest, self.structure, self.value_structure, self.residuals)

    def value(self, *operands: Any) -> Any:
        """The outputs, which are the last operands, handed on."""
        parts = operands[len(operands) - self.value_structure.num_leaves :]
        return tuple(parts) if self.many else parts[0]

    def split(self, operands: Sequence[Any]) -> tuple[Any, list[Any], list[Any]]:
        """The tree of arguments, the residuals and the outputs, from the operands of the call."""
        moving = iter([_scalar(x) for x in operands])
        primals = [next(moving) if x is None else x[0] for x in self.primals]
        residuals = [next(moving) if x is None else x[0] for x in self.residuals]
        return unflatten(self.structure, primals), residuals, list(moving)

    def all_arguments(self, primals: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments, those that are not differentiated in their places."""
        found = list(primals)
        for i, x in zip(sorted(self.skipped), self.rest, strict=True):
            found.insert(i, x)
        return tuple(found)

    def value_tree(self, parts: Any) -> Any:
        parts = parts if self.many else (parts,)
        return unflatten(self.value_structure, [_scalar(p) for p in parts])

    def none_but(self, terms: list[Any], operands: Sequence[Any]) -> list[Any]:
        """Adjoints of all operands: of the arguments that are recorded, None for the others."""
        found = [t for t, x in zip(terms, self.primals, strict=True) if x is None]
        return [*found, *[None] * (len(operands) - len(found))]


class ReverseRule(Rule):
    """The rule of a `custom_vjp`; lazy where there are no residuals among the operands."""

    residual_structure: Any = None

    def vjp(self, w: Any, z: Any, *operands: Any) -> list[Any]:
        primals, kept, _ = self.split(operands)
        if self.residual_structure is None:
            _, residuals = self.of.forward(self.all_arguments(primals))
        else:
            residuals = unflatten(self.residual_structure, kept)
        with _inside_rule_of(self.of):
            adjoints = self.of.bwd(*self.rest, residuals, self.value_tree(w))
        terms = _leaf_by_leaf(adjoints, primals, self.name)
        inside = any(map(moves, (*operands, *(w if self.many else (w,)))))
        shapes = [shape_of(x) for x in flatten(primals)[0]]
        checked = [_checked(t, shape, inside, f"the bwd of {self.name}", "adjoint")
                   for t, shape in zip(terms, shapes, strict=True)]  # fmt: skip
        return self.none_but(checked, operands)

    jvp = None


class ForwardRule(Rule):
    """The rule of a `custom_jvp`."""

    def linear(self, primals: Any) -> Callable[..., Any]:
        """The tangent of the value as a function of the tangents."""

        def tangent(*tangents: Any) -> Any:
            with _inside_rule_of(self.of):
                pair = self.of.rule(*self.rest, primals, tangents)
            if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
                raise ArgumentError(f"the rule of {self.name} must return (value, tangent)")
            return pair[1]

        return tangent

    def of_scalars(self, leaves: list[Any], y: Any) -> Any:
        """The value with its partial derivatives: the rule along each argument."""
        primals = unflatten(self.structure, leaves)
        tangent, stopped = self.linear(primals), FUNCTIONS["stop"](y) if moves(y) else y
        for j, x in enumerate(leaves):
            if not moves(x):
                continue
            unit = [float(i == j) for i in range(len(leaves))]
            slope = tangent(*unflatten(self.structure, unit))
            if isinstance(slope, (Array, np.ndarray)) and not np.ndim(slope):
                slope = slope[()]
            if not isinstance(slope, (Var, float, int, np.generic)):
                raise ShapeError(
                    f"the rule of {self.name} returned a tangent that is no scalar: the value is"
                )
            stopped = apply(ROWS["attach"], x, stopped, slope)
        return stopped

    def jvp(self, tangents: Sequence[Any], z: Any, *operands: Any) -> Any:
        primals, _, _ = self.split(operands)
        moving = iter([_scalar(t) for t in tangents])
        full = [next(moving) if x is None else np.zeros(shape_of(x[0]))[()] for x in self.primals]
        found = self.linear(primals)(*unflatten(self.structure, full))
        terms = self._matched(found, z, any(map(moves, (*operands, *tangents))))
        return tuple(terms) if self.many else terms[0]

    def vjp(self, w: Any, z: Any, *operands: Any) -> list[Any]:
        """The transpose of the rule, which is linear: taken at any tangents, at zero."""
        primals, _, _ = self.split(operands)
        zeros = [np.zeros(shape_of(x))[()] for x in flatten(primals)[0]]
        inside = any(map(moves, (*operands, *(w if self.many else (w,)))))
        tangents = unflatten(self.structure, zeros)
        call = VectorEvaluation(
            self.linear(primals), tangents, {}, tuple(range(len(tangents))), alone=not inside
        )
        self._matched(call.y, z, True)
        terms = call.pull(call.cotangents(self.value_tree(w)))
        if not inside and any(map(moves, terms)):
            raise _lost(f"the rule of {self.name}")
        return self.none_but(terms, operands)

    def _matched(self, tangent: Any, z: Any, inside: bool) -> list[Any]:
        leaves, structure = flatten(tangent)
        if structure != self.value_structure:
            raise ArgumentError(
                f"the rule of {self.name} returned a tangent of structure {structure} for a value "
                f"of {self.value_structure}"
            )
        shapes = [p.shape for p in (z if self.many else (z,))]
        return [_checked(t, shape, inside, f"the rule of {self.name}", "tangent")
                for t, shape in zip(leaves, shapes, strict=True)]  # fmt: skip


def _scalar(x: Any) -> Any:
    """An array without axes as the scalar it holds."""
    return x[()] if isinstance(x, (Array, np.ndarray)) and not x.shape else x


def _leaf_by_leaf(adjoints: Any, primals: tuple[Any, ...], name: str) -> list[Any]:
    """The adjoints of all leaves, from one tree or None for each argument."""
    adjoints = tuple(adjoints) if isinstance(adjoints, (tuple, list)) else (adjoints,)
    if len(adjoints) != len(primals):
        raise ArgumentError(
            f"the bwd of {name} returned {len(adjoints)} adjoints for {len(primals)} arguments"
        )
    terms = []
    for adjoint, x in zip(adjoints, primals, strict=True):
        leaves, structure = flatten(x)
        if adjoint is None:
            terms += [None] * len(leaves)
            continue
        found, other = flatten(adjoint)
        if other != structure:
            raise ArgumentError(
                f"the bwd of {name} returned an adjoint of structure {other} for an argument of "
                f"structure {structure}"
            )
        terms += found
    return terms


def _checked(term: Any, shape: tuple[int, ...], inside: bool, whose: str, what: str) -> Any:
    """An adjoint or a tangent that a rule returned, as an array of the right shape."""
    if term is None:
        return None
    if moves(term) and not inside:
        raise _lost(whose)
    array = as_array(term) if inside else normal(term.value if isinstance(term, (Array, Var))
                                                 else term)  # fmt: skip
    if array.shape != shape:
        raise ShapeError(f"{whose} returned {_an(what)} of shape {array.shape}, not {shape}")
    return array


def _lost(whose: str) -> GradientLostError:
    return GradientLostError(
        f"{whose} uses a recording value that is no argument, whose derivative would be lost; "
        "make it an argument"
    )


def _an(what: str) -> str:
    return f"an {what}" if what[0] in "aeiou" else f"a {what}"


# --- the instruction ------------------------------------------------------------------------------


def _attached(rule: Rule, leaves: list[Any], kept: list[Any], y: Any) -> Any:
    """The value y, to which the leaves contribute by a rule."""
    outputs, rule.value_structure = flatten(y)
    rule.primals = [None if moves(x) else (x,) for x in leaves]
    rule.residuals = [None if moves(x) else (x,) for x in kept]
    operands = [x for x in (*leaves, *kept) if moves(x)]
    rule.many = len(outputs) != 1
    results = ruled(rule, outputs)(*operands, *outputs, rule=rule)
    return unflatten(rule.value_structure, list(results) if rule.many else [results])


def ruled(rule: Any, outputs: Sequence[Any]) -> Primitive:
    """The operation whose value and derivatives its parameter `rule` computes."""
    onto = hasattr(rule, "vjp_onto")
    selective = getattr(rule, "selective", False)
    return ruled_by(tuple([_dtype(x) for x in outputs]), rule.jvp is not None, onto, selective)


def _dtype(x: Any) -> Any:
    if isinstance(x, (Boolean, Integer)):
        return BOOL if isinstance(x, Boolean) else INT64
    if isinstance(x, Array):
        return x.dtype
    return FLOAT64 if isinstance(x, Var) else normal(x).dtype


@cache
def ruled_by(dtypes: tuple[Any, ...], forward: bool, onto: bool, selective: bool) -> Primitive:
    def value(*operands: Any, rule: Any, **wanted: Any) -> Any:
        return rule.value(*operands, **wanted)

    def vjp(w: Any, z: Any, *operands: Any, rule: Any, **wanted: Any) -> Any:
        return rule.vjp(w, z, *operands, **wanted)

    def jvp(tangents: Any, z: Any, *operands: Any, rule: Any) -> Any:
        return rule.jvp(tangents, z, *operands)

    def vjp_onto(before: Any, w: Any, z: Any, *operands: Any, rule: Any) -> Any:
        return rule.vjp_onto(before, w, z, *operands)

    return Primitive(
        "custom", value, vjp, jvp if forward else None, dtypes=dtypes,
        vjp_onto=vjp_onto if onto else None, selective=selective,
    )  # fmt: skip
