"""Solutions of ordinary differential equations as operations of start, times and parameters.

The derivative of a solution is the solution of another equation: backwards in time of the adjoint
one (L. Pontryagin et al., 1962; R. Chen et al., Neural ordinary differential equations, 2018),
forwards of the sensitivities.  Both are flows again, so that derivatives nest to any order.  The
adjoint one starts afresh from the known solution at every point of output, so that what it
integrates backwards is short.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import ConvergenceError
from ..record.arrays import moves
from ..record.calls import Primitive, call
from ..record.core import user_line
from ..solvers.apart import apart, checked, plain
from ..traced.function import function
from ..transforms.gradients import grad
from ..transforms.linear_maps import jvp

DONE = ("Integration successful.", "Nothing was done; the integration time was 0.")
Speed = Callable[[Any, Any, Any], Any]  # (y (d,), t, parameters (p,)) -> dy/dt (d,)


class Flow:
    """y' = speed(y, t, p) with the options of odeint; the parameter of the primitive."""

    def __init__(self, speed: Speed, options: dict[str, Any], name: str) -> None:
        self.speed, self.options, self.name = speed, options, name

    def __repr__(self) -> str:
        """Equal for solutions that are recorded at one place of one function."""
        return f"<flow of {self.name}>"

    @cached_property
    def traced(self) -> Callable[..., Any]:
        return function(self.speed)  # type: ignore[no-any-return]

    def solve(self, start: np.ndarray, times: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """The states (T, d) at the times, by SciPy; raises `ConvergenceError`."""
        import scipy.integrate

        def speed(y: np.ndarray, t: float) -> np.ndarray:
            v = plain("odeint", self.traced(y, float(t), parameters))
            return checked("odeint", v, len(start))  # type: ignore[no-any-return]

        with apart("odeint"), warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.integrate.ODEintWarning)  # raised below
            states, info = scipy.integrate.odeint(
                speed, start, times, full_output=True, **self.options
            )
        if info["message"] not in DONE:
            raise ConvergenceError(
                f"odeint gave up: {info['message']} [{user_line()}]",
                int(info["nst"].max(initial=0)),
            )
        return states  # type: ignore[no-any-return]

    def _widened(self) -> dict[str, Any]:
        """The options for a longer state."""
        options = dict(self.options)
        options.pop("tcrit", None)  # lies elsewhere when time runs backwards
        for name in ("rtol", "atol"):
            if np.ndim(options.get(name, 0.0)):
                options[name] = float(np.min(options[name]))
        return options

    @cached_property
    def adjoint(self) -> Flow:
        """The flow of (y, λ, g): λ' = -(∂f/∂y)ᵀ λ and g' = -(∂f/∂p)ᵀ λ."""

        def speed(state: Any, t: Any, parameters: Any) -> Any:
            d = (state.shape[0] - parameters.shape[0]) // 2
            y, adjoint = state[:d], state[d : 2 * d]
            pulled = grad(lambda y, p: np.sum(adjoint * self.speed(y, t, p)), (0, 1))(y, parameters)
            return np.concatenate([self.speed(y, t, parameters), -pulled[0], -pulled[1]])

        return Flow(speed, self._widened(), f"{self.name}, adjoint")

    @cached_property
    def sensitivity(self) -> Flow:
        """The flow of (y, s) with s' = ∂f/∂y s + ∂f/∂p q, of parameters (p, q)."""

        def speed(state: Any, t: Any, parameters: Any) -> Any:
            d, n = state.shape[0] // 2, parameters.shape[0] // 2
            at, along = (state[:d], parameters[:n]), (state[d:], parameters[n:])
            return np.concatenate(jvp(lambda y, p: self.speed(y, t, p), at, along))

        return Flow(speed, self._widened(), f"{self.name}, sensitivity")


def solution(flow: Flow, start: Any, times: Any, parameters: Any) -> Any:
    """The states (T, d) at `times` (T,), from the state `start` (d,) at the first of them."""
    return call(FLOW, {"flow": flow}, start, times, parameters)


def _value(start: Any, times: Any, parameters: Any, flow: Flow) -> Any:
    return flow.solve(start, times, parameters)


def _surroundings(*values: Any) -> AbstractContextManager[None]:
    """Rules get plain arrays in sweeps, and recording ones where derivatives nest."""
    return nullcontext() if any(map(moves, values)) else apart("odeint")


def _speeds(flow: Flow, states: Any, times: Any, parameters: Any) -> list[Any]:
    return [flow.speed(states[i], times[i], parameters) for i in range(states.shape[0])]


def _vjp(w: Any, z: Any, start: Any, times: Any, parameters: Any, flow: Flow) -> tuple[Any, ...]:
    d = start.shape[0]
    with _surroundings(w, z, start, times, parameters):
        speeds = _speeds(flow, z, times, parameters)
        adjoint, gathered = w[-1], np.zeros(parameters.shape)
        of_times = []
        for i in range(z.shape[0] - 1, 0, -1):
            of_times.append(np.sum(w[i] * speeds[i]))
            state = np.concatenate([z[i], adjoint, gathered])
            back = solution(flow.adjoint, state, times[i - 1 : i + 1][::-1], parameters)[1]
            adjoint, gathered = back[d : 2 * d], back[2 * d :]
            if i > 1:
                adjoint = adjoint + w[i - 1]
        if z.shape[0] == 1:
            return w[0], np.zeros(times.shape), gathered
        # Starting later with the same state is to have moved backwards along the flow.
        of_times.append(-np.sum(adjoint * speeds[0]))
        return adjoint + w[0], np.stack(of_times[::-1]), gathered


def _jvp(tangents: Any, z: Any, start: Any, times: Any, parameters: Any, flow: Flow) -> Any:
    of_start, of_times, of_parameters = tangents
    with _surroundings(z, start, times, parameters, *tangents):
        speeds = np.stack(_speeds(flow, z, times, parameters))
        state = np.concatenate([start, of_start - speeds[0] * of_times[0]])
        both = np.concatenate([parameters, of_parameters])
        moved = solution(flow.sensitivity, state, times, both)[:, start.shape[0] :]
        return moved + speeds * of_times[:, None]


FLOW = Primitive("scipy.integrate.odeint", _value, _vjp, _jvp,
                 doc="solution of a differential equation at given times")  # fmt: skip
