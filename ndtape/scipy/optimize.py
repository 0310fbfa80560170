"""scipy.optimize with derivatives: solvers that are given them, and whose solutions have them.

`minimize`, `root` and `least_squares` are `nt.minimize` and so on: SciPy's methods with exact
derivatives supplied, over trees; where an argument or a captured value records, the solution does,
by the implicit function theorem.  See docs/solvers.md.  The rest is SciPy's own.

>>> import ndtape as nt
>>> from ndtape.scipy.optimize import brentq
>>> round(nt.grad(lambda c: brentq(lambda x: x**2 - c, 0.0, 9.0))(4.0), 9)  # of √c
0.25
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..solvers.fixed import fixed_point as fixed_point
from ..solvers.implicit import Setting, linear_by, solved
from ..solvers.least_squares import least_squares as least_squares
from ..solvers.minimize import minimize as minimize
from ..solvers.roots import root as root
from ..vectors import Unravel
from .own import scipys


def brentq(f: Callable[..., Any], a: float, b: float, args: Any = (), **options: Any) -> Any:
    """The root of a function of one number between plain a and b, where it changes sign.

    `scipy.optimize.brentq`; where args or what f captures record, so does the root.
    """
    return _bracketed("brentq", f, a, b, args, options)


def bisect(f: Callable[..., Any], a: float, b: float, args: Any = (), **options: Any) -> Any:
    """The root of a function of one number between a and b by bisection; as `brentq`."""
    return _bracketed("bisect", f, a, b, args, options)


def _bracketed(
    method: str, f: Callable[..., Any], a: float, b: float, args: Any, options: dict[str, Any]
) -> Any:
    setting = Setting(method, f, 0.5 * (a + b), args)

    def solve(f: Callable[..., Any], start: Any, unravel: Unravel, args: tuple[Any, ...]) -> Any:
        x = scipys("optimize", method)(lambda x: float(f(x, *args)), a, b, **options)
        return scipys("optimize", "OptimizeResult")(x=[x], success=True)

    def residual(f: Callable[..., Any], x: Any, unravel: Unravel, args: tuple[Any, ...]) -> Any:
        return f(unravel(x), *args) + 0.0 * x

    return solved(setting, solve, residual, linear_by(method, "dense"))[0]


def __getattr__(name: str) -> Any:
    """Every other name is SciPy's own."""
    return scipys("optimize", name)
