"""Fixed points as autograd.misc.fixed_points has them, by `nt.fixed_point`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...solvers.fixed import fixed_point as _fixed_point


def fixed_point(
    f: Callable[[Any], Callable[[Any], Any]], a: Any, x0: Any,
    distance: Callable[[Any, Any], Any], tol: float,
) -> Any:  # fmt: skip
    """x with f(a)(x) = x, found by iteration from x0; its derivative is the implicit function's.

    `distance` is not asked: steps end where they are smaller than `tol` everywhere.

    >>> from ndtape.autograd import grad
    >>> def newton(a):  # the step of Heron's method
    ...     return lambda x: 0.5 * (x + a / x)
    >>> root = lambda a: fixed_point(newton, a, 1.0, lambda x, y: abs(x - y), 1e-12)
    >>> round(root(4.0), 9), round(grad(root)(4.0), 9)
    (2.0, 0.25)
    """
    return _fixed_point(lambda x, a: f(a)(x), x0, (a,), tol=tol)
