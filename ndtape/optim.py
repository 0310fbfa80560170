"""Descent methods as pure functions over trees of parameters.

A method is a pair of functions: `init(params)` gives its state, `update(params, grads, state)` the
next parameters and the next state.  Nothing is written in place, so a training loop can keep, save
or go back to any state.  Parameters are arrays and numbers in dicts, lists and tuples; gradients
come as `nt.grad` gives them, in the same structure.  With the defaults every method takes the
steps of the class of that name in torch.optim.

>>> import numpy as np
>>> import ndtape as nt
>>> params = {"w": np.array([1.0, -2.0]), "b": 0.5}
>>> opt = nt.optim.momentum(rate=0.1, decay=0.5)
>>> state = opt.init(params)
>>> for _ in range(2):
...     grads = {"w": 2 * params["w"], "b": 2 * params["b"]}  # of w·w + b²
...     params, state = opt.update(params, grads, state)
>>> params["w"].round(3).tolist(), round(params["b"], 3), state["step"]
([0.54, -1.08], 0.27, 2)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .errors import ArgumentError
from .named import called
from .trees import flatten, unflatten

Tree: TypeAlias = Any
State: TypeAlias = dict[str, Any]  # "step", and a tree like the parameters for each moment
Rate: TypeAlias = float | Callable[[int], float]
# One leaf: (parameter, gradient, its moments, rate, step from 1) -> (parameter, moments)
Rule: TypeAlias = Callable[[Any, Any, list[Any], float, int], tuple[Any, list[Any]]]


class Optimizer(NamedTuple):
    """A method of descent: `state = init(params)`, `params, state = update(params, grads, state)`.

    `update` raises `ArgumentError` where gradients or state have another structure than the
    parameters, or another shape at some leaf, and where a parameter is a whole number array or a
    leaf made by `nt.var`.  float32 parameters stay float32, Python numbers come back as floats.
    """

    init: Callable[[Tree], State]
    update: Callable[[Tree, Tree, State], tuple[Tree, State]]

    def __repr__(self) -> str:
        return f"<nt.optim.{self.update.__qualname__.removesuffix('.update')}>"


def sgd(rate: Rate) -> Optimizer:
    """Gradient descent: p ← p − rate·g.  `rate` is a number, or a function of the step from 0.

    >>> opt = sgd(rate=lambda step: 1.0 / (1 + step))
    >>> params, state = opt.update([1.0], [0.25], opt.init([1.0]))
    >>> opt.update(params, [0.5], state)[0]
    [0.5]
    """
    name = _written("sgd", rate=rate)
    return _optimizer(name, rate, (), lambda p, g, moments, rate, step: (p - rate * g, []))


def momentum(rate: Rate, decay: float = 0.9, weight_decay: float = 0.0) -> Optimizer:
    """Heavy ball (Polyak 1964): v ← decay·v + g, p ← p − rate·v.

    `weight_decay` adds weight_decay·p to the gradient first.

    >>> opt = momentum(rate=0.5)
    >>> params, state = opt.update([1.0], [1.0], opt.init([1.0]))
    >>> round(opt.update(params, [0.0], state)[0][0], 12)
    0.05
    """
    _fraction("momentum", decay=decay)
    name = _written("momentum", rate=rate, decay=decay, weight_decay=weight_decay)

    def rule(p: Any, g: Any, moments: list[Any], rate: float, step: int) -> tuple[Any, list[Any]]:
        v = decay * moments[0] + _decayed(g, p, weight_decay)
        return p - rate * v, [v]

    return _optimizer(name, rate, ("velocity",), rule)


def nesterov(rate: Rate, decay: float = 0.9, weight_decay: float = 0.0) -> Optimizer:
    """Accelerated gradient (Nesterov 1983): v ← decay·v + g, p ← p − rate·(g + decay·v).

    The form of Sutskever et al. (2013), in which the gradient is taken where the parameters are.

    >>> opt = nesterov(rate=0.5)
    >>> round(opt.update([1.0], [1.0], opt.init([1.0]))[0][0], 12)
    0.05
    """
    _fraction("nesterov", decay=decay)
    name = _written("nesterov", rate=rate, decay=decay, weight_decay=weight_decay)

    def rule(p: Any, g: Any, moments: list[Any], rate: float, step: int) -> tuple[Any, list[Any]]:
        g = _decayed(g, p, weight_decay)
        v = decay * moments[0] + g
        return p - rate * (g + decay * v), [v]

    return _optimizer(name, rate, ("velocity",), rule)


def rmsprop(rate: Rate = 1e-2, decay: float = 0.99, epsilon: float = 1e-8) -> Optimizer:
    """Hinton (2012): s ← decay·s + (1 − decay)·g², p ← p − rate·g / (√s + epsilon).

    >>> opt = rmsprop(rate=0.1, decay=0.75)
    >>> round(opt.update([1.0], [4.0], opt.init([1.0]))[0][0], 6)  # the size of g drops out
    0.8
    """
    _fraction("rmsprop", decay=decay)
    name = _written("rmsprop", rate=rate, decay=decay, epsilon=epsilon)

    def rule(p: Any, g: Any, moments: list[Any], rate: float, step: int) -> tuple[Any, list[Any]]:
        s = decay * moments[0] + (1 - decay) * (g * g)
        return p - rate * g / (np.sqrt(s) + epsilon), [s]

    return _optimizer(name, rate, ("square",), rule)


def adam(
    rate: Rate = 1e-3, decay: float = 0.9, decay_square: float = 0.999, epsilon: float = 1e-8
) -> Optimizer:
    """Kingma and Ba (2015): steps of the mean gradient over the root of its mean square.

    m ← decay·m + (1 − decay)·g, s ← decay_square·s + (1 − decay_square)·g², both divided by what
    their start at zero has cost them, 1 − decay**step; p ← p − rate·m / (√s + epsilon).

    >>> opt = adam(rate=0.1)
    >>> opt
    <nt.optim.adam(rate=0.1, decay=0.9, decay_square=0.999, epsilon=1e-08)>
    >>> round(opt.update([1.0], [4.0], opt.init([1.0]))[0][0], 6)
    0.9
    """
    given = {"decay": decay, "decay_square": decay_square, "epsilon": epsilon}
    return _adam(_written("adam", rate=rate, **given), rate, weight_decay=0.0, **given)


def adamw(
    rate: Rate = 1e-3,
    decay: float = 0.9,
    decay_square: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 1e-2,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): first p ← p − rate·decay·p.

    >>> opt = adamw(rate=0.1, weight_decay=0.5)
    >>> round(opt.update([1.0], [4.0], opt.init([1.0]))[0][0], 6)
    0.85
    """
    given = {"decay": decay, "decay_square": decay_square, "epsilon": epsilon}
    name = _written("adamw", rate=rate, **given, weight_decay=weight_decay)
    return _adam(name, rate, weight_decay=weight_decay, **given)


def _adam(
    name: str, rate: Rate, decay: float, decay_square: float, epsilon: float, weight_decay: float
) -> Optimizer:
    _fraction("adam", decay=decay, decay_square=decay_square)

    def rule(p: Any, g: Any, moments: list[Any], rate: float, step: int) -> tuple[Any, list[Any]]:
        m = decay * moments[0] + (1 - decay) * g
        s = decay_square * moments[1] + (1 - decay_square) * (g * g)
        mean = m / (1 - decay**step)
        root = np.sqrt(s / (1 - decay_square**step))
        return p * (1 - rate * weight_decay) - rate * mean / (root + epsilon), [m, s]

    return _optimizer(name, rate, ("mean", "square"), rule)


# --- what the methods share ----------------------------------------------------------------------


def _decayed(g: Any, p: Any, weight_decay: float) -> Any:
    return g + weight_decay * p if weight_decay else g


def _fraction(method: str, **decays: float) -> None:
    for name, value in decays.items():
        if not 0 <= value < 1:
            raise ArgumentError(f"{method} needs 0 <= {name} < 1, not {value}")


def _written(method: str, **given: Any) -> str:
    """A method as it is called: what its functions are named by, and `Optimizer` shows."""
    words = [f"{k}={v!r}" if not callable(v) else f"{k}={called(v)}" for k, v in given.items()]
    return f"{method}({', '.join(words)})"


def _optimizer(name: str, rate: Rate, moments: tuple[str, ...], rule: Rule) -> Optimizer:
    """The two functions of a method that keeps the named moments, one of each for every leaf."""

    def init(params: Tree) -> State:
        leaves, structure = _parameters(params)
        zeros = {name: unflatten(structure, [_zero(p) for p in leaves]) for name in moments}
        return {"step": 0, **zeros}

    def update(params: Tree, grads: Tree, state: State) -> tuple[Tree, State]:
        leaves, structure = _parameters(params)
        _same_names(state, moments)
        columns = [
            _matching(tree, leaves, structure, what)
            for tree, what in [(grads, "the gradients")]
            + [(state[name], f"the state's {name!r}") for name in moments]
        ]
        step = state["step"]
        now = rate(step) if callable(rate) else rate
        results = [
            _kept(p, rule(p, g, list(old), float(now), step + 1))
            for p, g, *old in zip(leaves, *columns, strict=True)
        ]
        trees = [unflatten(structure, [r[k] for r in results]) for k in range(1 + len(moments))]
        return trees[0], {"step": step + 1, **dict(zip(moments, trees[1:], strict=True))}

    init.__qualname__, update.__qualname__ = f"{name}.init", f"{name}.update"
    return Optimizer(init, update)


def _parameters(params: Tree) -> tuple[list[Any], Any]:
    """The leaves, Python numbers as floats; whole number arrays cannot take a step."""
    leaves, structure = flatten(params)
    return [
        _parameter(leaf, path) for leaf, path in zip(leaves, structure.paths(), strict=True)
    ], structure


def _parameter(leaf: Any, path: tuple[Any, ...]) -> Any:
    # A step from a leaf of nt.var would be recorded as an operation on it, and no new leaf.
    if hasattr(leaf, "needs_grad"):
        raise ArgumentError(
            f"parameter {_name(path)} is a recording value; give nt.optim plain numbers and "
            "arrays (p.value), with their gradients from nt.grad or p.grad"
        )
    if isinstance(leaf, (bool, int, float)):
        return float(leaf)
    if isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype.kind == "f":
        return leaf
    kind = getattr(leaf, "dtype", type(leaf).__name__)
    raise ArgumentError(
        f"parameter {_name(path)} is of type {kind}; descent needs floats, such as x.astype(float)"
    )


def _name(path: tuple[Any, ...]) -> str:
    return "".join(f"[{key!r}]" for key in path) or "(the only one)"


def _zero(p: Any) -> Any:
    return np.zeros_like(p) if isinstance(p, np.ndarray) else type(p)(0.0)


def _matching(tree: Tree, leaves: list[Any], structure: Any, what: str) -> list[Any]:
    """The leaves of a tree that must be like the parameters, in their dtypes."""
    entries, own = flatten(tree)
    if own != structure:
        raise ArgumentError(
            f"{what} must have the structure of the parameters: {own} is not {structure}; the "
            "order is update(params, grads, state)"
        )
    paths = structure.paths()
    return [
        _like(p, entry, f"{what} at {_name(path)}")
        for p, entry, path in zip(leaves, entries, paths, strict=True)
    ]


def _like(p: Any, entry: Any, what: str) -> Any:
    if hasattr(entry, "needs_grad"):
        raise ArgumentError(f"{what} is a recording value; take its number with .value")
    if np.shape(entry) != np.shape(p):
        found, wanted = np.shape(entry), np.shape(p)
        raise ArgumentError(f"{what}: shape {found}, but the parameter's is {wanted}")
    return np.asarray(entry, p.dtype) if isinstance(p, np.ndarray) else type(p)(entry)


def _same_names(state: State, moments: tuple[str, ...]) -> None:
    if not isinstance(state, dict) or set(state) != {"step", *moments}:
        held = sorted(state) if isinstance(state, dict) else type(state).__name__
        raise ArgumentError(
            f"this method keeps {sorted({'step', *moments})} in its state, not {held}: "
            "use the state that its own init or update returned"
        )


def _kept(p: Any, stepped: tuple[Any, list[Any]]) -> list[Any]:
    """New parameter and moments in the type of the parameter: NumPy 1 widens float32 numbers."""
    values = [stepped[0], *stepped[1]]
    if isinstance(p, np.ndarray):
        return [np.asarray(value, p.dtype) for value in values]
    return [type(p)(value) for value in values]
