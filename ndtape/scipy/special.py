"""scipy.special with derivatives: gamma, beta, error, Bessel functions and their relatives.

Rows of `special_table` and of `ops.TABLE`, and what is composed of them.  Every other name is
SciPy's own function, which takes plain numbers.

>>> import ndtape as nt
>>> from ndtape.scipy import special
>>> round(nt.grad(special.gamma)(3.0), 6)
1.845569
>>> round(nt.grad(special.gammainc)(2.0, 1.0), 6)  # in its parameter, too
-0.276196
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import losses
from ..errors import UnsupportedError
from ..numpy.arguments import contains_recording
from ..numpy.namespace import Function
from ..record.arrays import as_array, moves
from ..record.core import user_line
from ..record.protocol import ROW_OF_UFUNC, UFUNCS
from ..record.values import FUNCTIONS
from .rules import times
from .special_table import TABLE

UFUNCS.update(TABLE)  # scipy.special.gamma(x) itself asks for these, by their names


def polygamma(n: Any, x: Any) -> Any:
    """The derivative of order n, a plain whole number, of digamma.

    >>> round(polygamma(1, 1.0).item(), 6)
    1.644934
    """
    if moves(n):
        raise UnsupportedError(
            f"polygamma has no derivative with respect to its order n [{user_line()}]"
        )
    if not contains_recording(x):
        import scipy.special

        return scipy.special.polygamma(n, x)
    return FUNCTIONS["polygamma"](n, as_array(x) if isinstance(x, (list, tuple)) else x)


def multigammaln(a: Any, d: int) -> Any:
    """The logarithm of the multivariate gamma function of dimension d.

    >>> round(float(multigammaln(3.0, 2)), 6)
    1.550195
    """
    from scipy.special import gammaln

    a = np.asarray(a, float) if not contains_recording(a) else a
    total = d * (d - 1) * 0.25 * np.log(np.pi)
    for j in range(int(d)):
        total = total + gammaln(a - 0.5 * j)
    return total


def comb(N: Any, k: Any, *, exact: bool = False, repetition: bool = False) -> Any:
    """The number of combinations, between whole numbers by the gamma function.

    >>> float(comb(4.0, 2.0))
    6.0
    """
    import scipy.special

    if exact or not contains_recording((N, k)):
        return scipy.special.comb(N, k, exact=exact, repetition=repetition)
    if repetition:
        return comb(N + k - 1, k)
    return np.where((k <= N) & (N >= 0) & (k >= 0), TABLE["binom"](N, k), 0.0)


def factorial(n: Any, exact: bool = False) -> Any:
    """gamma(n + 1), 0 for n < 0.

    >>> float(factorial(4.0))
    24.0
    """
    import scipy.special

    if not contains_recording(n):
        return scipy.special.factorial(n, exact=exact)
    return np.where(n >= 0, TABLE["gamma"](np.where(n >= 0, n, 0.0) + 1.0), 0.0)


def zeta(x: Any, q: Any = 1.0) -> Any:
    """Hurwitz' zeta function Σ (n + q)^-x, with derivatives in q.

    >>> round(float(zeta(2.0)), 6)
    1.644934
    """
    return TABLE["zeta"](x, q)


def lambertw(x: Any, k: int = 0) -> Any:
    """The real w with w exp(w) = x: k=0 for w >= -1, k=-1 for w <= -1; nan below -1/e.

    SciPy's is complex for every x.

    >>> round(float(lambertw(1.0)), 6)
    0.567143
    """
    return TABLE["lambertw"](x, k)


def several(names: tuple[str, ...], doc: str) -> Any:
    """A function that returns several results, each of which is a row."""

    def results(x: Any) -> tuple[Any, ...]:
        return tuple(TABLE[name](x) for name in names)

    results.__doc__ = doc
    return results


airy = several(("airy_ai", "airy_aip", "airy_bi", "airy_bip"), "Ai, Ai', Bi, Bi' of real x.")
sici = several(("sine_integral", "cosine_integral"), "Integrals of sine and cosine, Si and Ci.")
shichi = several(("sinh_integral", "cosh_integral"), "Hyperbolic integrals, Shi and Chi.")
fresnel = several(("fresnel_s", "fresnel_c"), "Fresnel's integrals S and C of real x.")


# --- over axes ------------------------------------------------------------------------------------


def logsumexp(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    """log Σ b exp(a) over an axis, several or (None) all; with `return_sign` also the sum's sign.

    Without the sign the answer is nan where the sum is negative.  A weight of 0 leaves its element
    out, whatever it is.

    >>> round(float(logsumexp([0.0, 0.0], b=[1.0, 3.0])), 6)
    1.386294
    """
    if b is None:
        found = losses.logsumexp(_array(a), axis, keepdims)
        return (found, np.sign(np.exp(found))) if return_sign else found
    a, b = np.broadcast_arrays(_array(a), _array(b))
    a = np.where(b == 0, -np.inf, a)
    top = FUNCTIONS["stop"](np.max(a, axis=axis, keepdims=True)) if contains_recording(a) else (
        np.max(a, axis=axis, keepdims=True)
    )  # fmt: skip
    top = np.where(np.isfinite(top), top, 0.0)
    total = np.sum(times(b, np.exp(a - top)), axis=axis, keepdims=keepdims)
    top = top if keepdims else np.reshape(top, np.shape(total))
    if not return_sign:
        return np.log(total) + top
    return np.log(np.abs(total)) + top, np.sign(total)


def softmax(x: Any, axis: Any = None) -> Any:
    """exp(x) / Σ exp(x) along an axis, several or (None) all.

    >>> softmax([0.0, 0.0]).tolist()
    [0.5, 0.5]
    """
    return losses.softmax(_array(x), axis)


def log_softmax(x: Any, axis: Any = None) -> Any:
    """log(softmax(x)) without its underflow.

    >>> log_softmax([0.0, -1000.0]).tolist()
    [0.0, -1000.0]
    """
    return losses.log_softmax(_array(x), axis)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)).

    >>> round(float(softplus(0.0)), 6)
    0.693147
    """
    return np.logaddexp(x, 0.0) if not contains_recording(x) else FUNCTIONS["softplus"](_array(x))


def _array(x: Any) -> Any:
    return as_array(x) if isinstance(x, (list, tuple)) else x


class Recorded(Function):
    """A ufunc of SciPy's that is a row of `ops.TABLE`; it also takes lists of recording scalars."""

    def __repr__(self) -> str:
        return f"<ndtape.scipy.special.{self.__name__}>"


# --- names ----------------------------------------------------------------------------------------

ALIASES = {"psi": "psi", "digamma": "psi", "jn": "jv", "bessel_jn": "jv"}


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    known = ALIASES.get(name, name)
    if known in TABLE:
        return TABLE[known]
    import scipy.special

    if not hasattr(scipy.special, known):
        raise AttributeError(f"neither ndtape.scipy.special nor scipy.special has {name}")
    own = getattr(scipy.special, known)
    if getattr(own, "__name__", "") in ROW_OF_UFUNC and isinstance(own, np.ufunc):
        own = Recorded(name, own)
    globals()[name] = own
    return own


def __dir__() -> list[str]:
    return sorted({*globals(), *TABLE, *ALIASES, *recorded_ufuncs()})


def recorded_ufuncs() -> list[str]:
    """The names in scipy.special of rows of `ops.TABLE`, which run inside the compiled sweep."""
    import scipy.special

    return [n for n, f in vars(scipy.special).items()
            if isinstance(f, np.ufunc) and f.__name__ in ROW_OF_UFUNC]  # fmt: skip


def markdown() -> str:
    """The page docs/special.md, written from the rows so that it cannot go stale."""
    ours = sorted(name for name in ("logsumexp", "softmax", "log_softmax", "softplus", "polygamma",
                                    "multigammaln", "comb", "factorial", "airy", "sici", "shichi",
                                    "fresnel"))  # fmt: skip
    lines = [
        "# Special functions",
        "",
        "Generated by `python -m ndtape.scipy.special > docs/special.md`. Do not edit.",
        "",
        "Functions of `nt.scipy.special`, which SciPy computes and whose derivatives are written",
        "in each other; the result is `z`. An operand without derivative must be plain.",
        "",
        "Rows of the [operation table](operations.md), which run inside the compiled sweep:",
        _listed(recorded_ufuncs()) + ".",
        f"Composed of both: {_listed(ours)}.",
        "Every other name of `scipy.special` is SciPy's own, for plain numbers.",
        "",
        "| function | meaning | partial derivatives |",
        "|---|---|---|",
    ]
    for row in sorted(TABLE.values(), key=lambda r: r.__name__):
        partials = [f"d{x}: {f'`{text}`' if text else 'none'}"
                    for x, text in zip(row.operands, row.partials, strict=True)]  # fmt: skip
        cells = [f"`{row.__name__}({', '.join(row.operands)})`", row.__doc__, "; ".join(partials)]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    print(markdown(), end="")
