"""Least squares by SciPy, with the Jacobian supplied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ArgumentError, UnsupportedError
from ..record.arrays import moves
from ..record.core import recording, user_line
from ..transforms.gradients import grad
from ..vectors import Unravel, ravel
from .bounds import one_side
from .bridge import Vectorized, module
from .implicit import Setting, recording_result, solved


def least_squares(
    residuals: Callable[..., Any],
    x0: Any,
    args: Any = (),
    *,
    bounds: Any = (-np.inf, np.inf),
    method: str = "trf",
    **options: Any,
) -> Any:
    """The least sum of squares of residuals(x, *args), by `scipy.optimize.least_squares`.

    `x0` is a tree of numbers, the residuals are a tree of any numbers; their Jacobian is supplied.
    `bounds` is (lower, upper), each a number, or a tree like `x0`.  `method` and the other options
    (`ftol`, `xtol`, `gtol`, `loss`, `f_scale`, `x_scale`, `max_nfev` ...) are SciPy's; vectors
    among them are in the order of `nt.ravel`.

    Returns SciPy's `OptimizeResult`; `x` is a tree like `x0`, all else as SciPy gives it: `jac` is
    the matrix of derivatives, one column a number of `x`.

    Where an argument, or something captured, is a recording value, `x`, `fun` (the
    residuals) and `cost` are recording, by the implicit function theorem, as in `nt.minimize`;
    not so with a `loss` other than "linear".

    >>> import numpy as np, ndtape as nt
    >>> t = np.array([0.0, 1.0, 2.0])
    >>> y = 3.0 * np.exp(-0.5 * t)
    >>> fit = nt.least_squares(lambda p: p["a"] * np.exp(-p["k"] * t) - y, {"a": 1.0, "k": 1.0})
    >>> round(fit.x["a"], 6), round(fit.x["k"], 6)
    (3.0, 0.5)
    """
    setting = Setting("least_squares", residuals, x0, args)
    if not setting.unravel.size:
        raise ArgumentError(f"nt.least_squares: x0 holds no numbers [{user_line()}]")
    strict = recording() and any(map(moves, (setting.start, *setting.parameters)))
    if strict and options.get("loss", "linear") != "linear":
        raise UnsupportedError(
            'nt.least_squares has a derivative with loss="linear" only; write the loss as a '
            "function for nt.minimize"
        )
    limits = tuple(one_side(side, setting.unravel) for side in bounds)
    is_free = not any(np.isfinite(side).any() for side in limits)

    def solve(
        f: Callable[..., Any], start: np.ndarray, unravel: Unravel, args: tuple[Any, ...]
    ) -> Any:
        F = Vectorized("least_squares", f, unravel, args)
        return module("optimize").least_squares(
            F, start, jac=F.jacobian, bounds=limits, method=method, **options
        )

    def stationary(f: Callable[..., Any], x: Any, unravel: Unravel, args: tuple[Any, ...]) -> Any:
        slope = grad(lambda v: 0.5 * np.sum(np.square(ravel(f(unravel(v), *args))[0])))(x)
        return slope if is_free else x - np.clip(x - slope, *limits)

    parameters = list(setting.parameters)
    asked = [setting.start, *parameters]
    x, found = solved(setting, solve, stationary)
    if strict:
        found = recording_result(found, asked)
        own, arguments = setting.given(parameters)
        found.fun = ravel(own(x, *arguments))[0]
        found.cost = 0.5 * np.sum(np.square(found.fun))
    found.x = x
    return found
