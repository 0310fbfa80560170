"""Ordinary differential equations by SciPy, with the Jacobian supplied to implicit methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import GradientLostError
from ..record.arrays import moves
from ..record.core import user_line
from ..transforms.closures import Closure
from ..transforms.jacobians import jacobian
from ..trees import flatten, unflatten
from ..vectors import Unravel, ravel
from .apart import apart, checked, plain
from .bridge import as_vector, module, vector_form

IMPLICIT_METHODS = ("Radau", "BDF", "LSODA")


def solve_ivp(
    rhs: Callable[..., Any],
    t_span: Sequence[float],
    y0: Any,
    method: str = "RK45",
    t_eval: Any = None,
    *,
    args: Any = (),
    events: Any = None,
    **options: Any,
) -> Any:
    """y' = rhs(t, y, *args) from y(t_span[0]) = y0, by `scipy.integrate.solve_ivp`.

    `y0` is a tree of numbers and rhs returns a tree of as many; it is recorded once and replayed,
    and the methods for stiff problems (Radau, BDF, LSODA) are given its exact Jacobian.  `t_eval`,
    `events` (functions (t, y, *args)) and the other options (`rtol`, `atol`, `max_step`,
    `dense_output` ...) are SciPy's.

    Returns SciPy's result; its `y` is a tree like `y0` with a last axis for the times `t`, `sol(t)`
    is one of values at t, and the entries of `y_events` have the events as their first axis.

    The steps are chosen by their errors and are not recorded: recording values, as arguments or in
    y0, raise `GradientLostError`.  For gradients write the steps of a method (RK4, say) in Python.
    Other integrators want ``nt.jacobian(rhs, argnums=1)``.

    >>> import ndtape as nt
    >>> def rhs(t, y, k):
    ...     return {"a": -k * y["a"], "b": k * y["a"]}
    >>> found = nt.solve_ivp(rhs, (0.0, 1.0), {"a": 1.0, "b": 0.0}, "BDF", args=(40.0,))
    >>> found.success, found.y["b"][-1].round(6).item()
    (True, 1.0)
    """
    args = args if isinstance(args, tuple) else (args,)
    closures = [Closure(f) for f in (rhs, *_listed(events))]
    if any(map(moves, flatten((y0, args, t_span))[0])) or any(c.values for c in closures):
        raise GradientLostError(
            "nt.solve_ivp chooses its steps by their errors and has no derivative: for gradients "
            "write the steps in Python (RK4, implicit Euler with nt.root), for plain numbers give "
            f"it .value [{user_line()}]"
        )
    with apart("solve_ivp"):
        return _solved(rhs, t_span, y0, method, t_eval, args, events, options)


def _solved(
    rhs: Callable[..., Any], t_span: Sequence[float], y0: Any, method: str, t_eval: Any,
    args: tuple[Any, ...], events: Any, options: dict[str, Any],
) -> Any:  # fmt: skip
    start, unravel = ravel(y0)
    flat = vector_form(rhs, unravel, as_vector, 1)
    if method in IMPLICIT_METHODS:
        matrix = jacobian(flat, 1)
        options["jac"] = lambda t, y: plain("solve_ivp", matrix(float(t), y, *args))

    def speed(t: float, y: np.ndarray) -> np.ndarray:
        v = plain("solve_ivp", flat(float(t), y, *args))
        return checked("solve_ivp", v, unravel.size)  # type: ignore[no-any-return]

    found = module("integrate").solve_ivp(
        speed, t_span, start, method, t_eval, events=_over_trees(events, unravel, args), **options
    )
    found.y = _columns(found.y, unravel)
    if found.sol is not None:
        dense = found.sol
        found.sol = lambda t: _columns(dense(t), unravel) if np.ndim(t) else unravel(dense(t))
    if found.y_events is not None:
        found.y_events = [_columns(np.asarray(y).reshape(-1, unravel.size).T, unravel, first=True)
                          for y in found.y_events]  # fmt: skip
    return found


def _columns(y: np.ndarray, unravel: Unravel, first: bool = False) -> Any:
    """A tree of arrays from columns, one a point of time."""
    leaves = []
    for part in unravel.parts:
        block = y[part.start : part.stop].reshape(*part.shape, y.shape[-1])
        leaves.append(np.moveaxis(block, -1, 0) if first else block)
    return unflatten(unravel.structure, leaves)


def _listed(events: Any) -> list[Any]:
    return [] if events is None else list(events) if isinstance(events, (list, tuple)) else [events]


def _over_trees(events: Any, unravel: Unravel, args: tuple[Any, ...]) -> Any:
    """Events that are given trees, with the attributes that SciPy reads."""
    if events is None:
        return None
    made = []
    for event in _listed(events):

        def on_vector(t: float, y: np.ndarray, event: Callable[..., Any] = event) -> Any:
            return event(t, unravel(y), *args)

        on_vector.__dict__.update(
            {k: getattr(event, k) for k in ("terminal", "direction") if hasattr(event, k)}
        )
        made.append(on_vector)
    return made
