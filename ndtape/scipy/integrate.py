"""scipy.integrate with derivatives: odeint by the adjoint equation, quad, and sums over samples.

>>> import ndtape as nt, numpy as np
>>> from ndtape.scipy.integrate import odeint
>>> def decayed(k):  # y(2) of y' = -k y, y(0) = 3
...     return odeint(lambda y, t: -k * y, [3.0], [0.0, 2.0], rtol=1e-10, atol=1e-10)[-1, 0]
>>> round(nt.grad(decayed)(0.5), 6)  # -2 · 3 exp(-1)
-2.207277
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from ..numpy.arguments import contains_recording
from ..primitives.stacks import operand
from ..record.arrays import moves
from ..record.calls import Primitive, call
from ..record.core import user_line
from ..solvers.apart import apart, plain
from ..solvers.implicit import Setting
from ..solvers.ivp import solve_ivp as solve_ivp
from ..transforms.gradients import grad
from ..transforms.linear_maps import jvp
from ..vectors import ravel
from .flows import Flow, solution
from .own import beside, scipys


def odeint(
    func: Callable[..., Any], y0: Any, t: Any, args: Any = (), Dfun: Any = None,
    col_deriv: bool = False, full_output: bool = False, *more: Any, tfirst: bool = False,
    **options: Any,
) -> Any:  # fmt: skip
    """The solution (T, d) of y' = func(y, t, *args) from y0 (d,) at the times `t` (T,).

    `scipy.integrate.odeint` (LSODA) with its arguments.  Derivatives are there with respect to y0,
    t, args (trees of numbers) and what func captures, of any order and both ways: backwards by the
    adjoint equation, forwards by the sensitivities, solved to the same `rtol` and `atol`.  They are
    derivatives of the exact solution: their error is of the size of the tolerances, which are best
    given (SciPy's 1.5e-8).  func is recorded once and replayed; it may branch.

    Where nothing records, SciPy's own function is called.  Raises `ConvergenceError` where the
    integrator gives up (SciPy warns), and `UnsupportedError` for `full_output` of recording values.
    """
    setting = Setting("odeint", func, np.zeros(1), args if isinstance(args, tuple) else (args,))
    if not (setting.parameters or contains_recording([y0, t])):
        return scipys("integrate", "odeint")(
            func, y0, t, args, Dfun, col_deriv, full_output, *more, tfirst=tfirst, **options
        )
    if full_output or more:
        raise UnsupportedError(
            "odeint of recording values: leave full_output out, and give options by their names "
            f"[{user_line()}]"
        )
    flat, unravel = ravel(setting.parameters)
    setting.parameters = []  # they belong to the tape

    def speed(y: Any, now: Any, parameters: Any) -> Any:
        f, arguments = setting.given(unravel(parameters))
        v = f(now, y, *arguments) if tfirst else f(y, now, *arguments)
        return np.reshape(operand(v), (-1,))

    start, times = np.reshape(operand(y0), (-1,)) * 1.0, operand(t) * 1.0
    if times.ndim != 1 or not times.size:
        raise ArgumentError(f"odeint: t of shape {times.shape} is no vector [{user_line()}]")
    name = getattr(func, "__qualname__", type(func).__name__)
    return solution(Flow(speed, options, name), start, times, flat)


# --- quad -----------------------------------------------------------------------------------------


class Integrand:
    """f(x, *args) as a function of x and of a vector of parameters; options of quad."""

    def __init__(self, of: Callable[[Any, Any], Any], options: dict[str, Any], name: str) -> None:
        self.of, self.options, self.name = of, options, name

    def __repr__(self) -> str:
        return f"<integral of {self.name}>"

    def integral(self, f: Callable[[float], Any], a: Any, b: Any) -> Any:
        """Of f, which returns an array, between plain limits."""
        import scipy.integrate

        names = {"epsabs", "epsrel", "limit", "points"}
        options = {k: v for k, v in self.options.items() if k in names}
        with apart("quad"):
            found = scipy.integrate.quad_vec(f, float(a), float(b), **options)
        return found[0]


def _quad_value(a: Any, b: Any, parameters: Any, integrand: Integrand) -> Any:
    import scipy.integrate

    with apart("quad"):
        found = scipy.integrate.quad(
            lambda x: float(plain("quad", integrand.of(x, parameters))), float(a), float(b),
            **integrand.options,
        )  # fmt: skip
    return np.asarray(found[0])


def _quad_vjp(
    w: Any, z: Any, a: Any, b: Any, parameters: Any, integrand: Integrand
) -> tuple[Any, ...]:
    if any(map(moves, (w, z, a, b, parameters))):
        return _quad_recorded(w, a, b, parameters, integrand)
    slope = grad(integrand.of, 1)
    inside = integrand.integral(lambda x: np.asarray(slope(x, parameters)), a, b)
    with apart("quad"):
        ends = [plain("quad", _at(integrand, x, parameters)) for x in (a, b)]
    return -w * ends[0], w * ends[1], w * np.reshape(inside, parameters.shape)


def _quad_recorded(
    w: Any, a: Any, b: Any, parameters: Any, integrand: Integrand
) -> tuple[Any, ...]:
    """Where derivatives nest: a quad for each parameter, of the derivative in it."""
    parts = []
    for j in range(parameters.shape[0]):

        def of(x: Any, p: Any, j: int = j) -> Any:
            return grad(integrand.of, 1)(x, p)[j]

        inner = Integrand(of, integrand.options, f"{integrand.name}, {j}")
        parts.append(w * call(QUAD, {"integrand": inner}, a, b, parameters))
    inside = np.stack(parts) if parts else np.zeros(0)
    return -w * _at(integrand, a, parameters), w * _at(integrand, b, parameters), inside


def _at(integrand: Integrand, x: Any, parameters: Any) -> Any:
    """The integrand at a limit; 0 at infinity."""
    infinite = np.isinf(x)
    inside: Any = np.where(infinite, 0.0, x)
    inside = inside if moves(inside) else float(inside)
    return np.where(infinite, 0.0, integrand.of(inside, parameters))


def _quad_jvp(tangents: Any, z: Any, a: Any, b: Any, parameters: Any, integrand: Integrand) -> Any:
    ta, tb, tp = tangents

    def of(x: Any, both: Any) -> Any:
        n = both.shape[0] // 2
        return jvp(lambda p: integrand.of(x, p), (both[:n],), (both[n:],))[1]

    total = tb * _at(integrand, b, parameters) - ta * _at(integrand, a, parameters)
    if not parameters.shape[0]:
        return total
    inner = Integrand(of, integrand.options, f"{integrand.name}, along")
    return total + call(QUAD, {"integrand": inner}, a, b, np.concatenate([parameters, tp]))


QUAD = Primitive("scipy.integrate.quad", _quad_value, _quad_vjp, _quad_jvp,
                 doc="integral between two limits")  # fmt: skip


def quad(func: Callable[..., Any], a: Any, b: Any, args: Any = (), **options: Any) -> Any:
    """(∫ func(x, *args) dx from a to b, estimate of the error), by `scipy.integrate.quad`.

    Derivatives are there with respect to the limits (also infinite ones), args and what func
    captures: integrals of the derivatives of func.  The estimate has none, and is nan where the
    integral is recorded.

    >>> import ndtape as nt
    >>> round(nt.grad(lambda c: quad(lambda x: x**c, 0.0, 1.0)[0])(2.0), 6)  # -1 / (c + 1)²
    -0.111111
    """
    setting = Setting("quad", func, np.zeros(1), args if isinstance(args, tuple) else (args,))
    if not (setting.parameters or contains_recording([a, b])):
        return scipys("integrate", "quad")(func, a, b, args, **options)
    flat, unravel = ravel(setting.parameters)
    setting.parameters = []

    def of(x: Any, parameters: Any) -> Any:
        f, arguments = setting.given(unravel(parameters))
        return f(x, *arguments)

    name = getattr(func, "__qualname__", type(func).__name__)
    found = call(QUAD, {"integrand": Integrand(of, options, name)}, a, b, flat)
    return found, float("nan")


# --- samples --------------------------------------------------------------------------------------

scipy_integrate = beside("integrate")


@scipy_integrate
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """The integral of samples along an axis, by the trapezoidal rule."""
    y, x = operand(y), None if x is None else operand(x)
    widths = _widths(x, dx, axis, np.ndim(y))
    y = np.moveaxis(operand(y), axis, -1)
    return np.sum(0.5 * widths * (y[..., 1:] + y[..., :-1]), axis=-1)


@scipy_integrate
def cumulative_trapezoid(
    y: Any, x: Any = None, dx: float = 1.0, axis: int = -1, initial: Any = None
) -> Any:
    """The integral up to each sample but the first; with `initial` (0) that one, too."""
    y, x = operand(y), None if x is None else operand(x)
    widths = _widths(x, dx, axis, np.ndim(y))
    y = np.moveaxis(operand(y), axis, -1)
    sums = np.cumsum(0.5 * widths * (y[..., 1:] + y[..., :-1]), axis=-1)
    if initial is not None:
        sums = np.concatenate([np.full((*y.shape[:-1], 1), initial), sums], axis=-1)
    return np.moveaxis(sums, -1, axis)


def _widths(x: Any, dx: float, axis: int, ndim: int) -> Any:
    if x is None:
        return dx
    return np.diff(x if np.ndim(x) < ndim or ndim == 1 else np.moveaxis(x, axis, -1))


@scipy_integrate
def simpson(y: Any, x: Any = None, *, dx: float = 1.0, axis: int = -1) -> Any:
    """Simpson's rule: linear in the samples; plain x, or none."""
    if contains_recording(x):
        raise UnsupportedError(f"simpson: x must be plain [{user_line()}]")
    y = np.moveaxis(operand(y), axis, -1)
    n = y.shape[-1]
    weights = scipys("integrate", "simpson")(
        np.eye(n), x=x if x is None else np.ravel(x), dx=dx, axis=-1
    )
    return np.sum(y * weights, axis=-1)


def __getattr__(name: str) -> Any:
    """Every other name is SciPy's own, for plain numbers."""
    return scipys("integrate", name)
