"""What distributions share: arguments as SciPy has them, location and scale, support, names.

A distribution writes its functions for a standardised variable, with names that begin with an
underscore, and as NumPy programs that are right everywhere inside the support.  Here they are
called with a point of the inside where x lies outside, so that no nan or infinity of a branch that
is not taken reaches a derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import ArgumentError, UnsupportedError
from ...numpy.arguments import contains_recording
from ...record.arrays import as_array, recording
from ...record.core import user_line

Numbers = Any  # a recording array or scalar, or plain numbers
METHODS = ("pdf", "logpdf", "pmf", "logpmf", "cdf", "logcdf", "sf", "logsf", "ppf", "isf",
           "entropy")  # fmt: skip


class Distribution(ModuleType):
    """A distribution of scipy.stats: a namespace of functions, which is called to freeze it."""

    name: str
    parameters: tuple[str, ...] = ()  # shapes, in SciPy's order
    location: tuple[str, ...] = ()  # what follows them, with defaults

    def __init__(self, name: str) -> None:
        super().__init__(f"ndtape.scipy.stats.{name}", type(self).__doc__)
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Frozen:
        return Frozen(self, args, kwargs)

    def __repr__(self) -> str:
        return f"<ndtape.scipy.stats.{self.__dict__['name']}>"

    def __reduce__(self) -> Any:
        return _by_name, (self.name,)

    def __getattr__(self, method: str) -> Any:
        """What draws or describes is SciPy's, for plain numbers."""
        if method.startswith("_"):
            raise AttributeError(method)
        import scipy.stats

        name = self.__dict__["name"]
        own = getattr(getattr(scipy.stats, name, None), method, None)
        if own is None:
            raise AttributeError(f"neither ndtape.scipy.stats.{name} nor SciPy's has {method}")

        def plainly(*args: Any, **kwargs: Any) -> Any:
            if contains_recording([*args, *kwargs.values()]):
                raise UnsupportedError(
                    f"scipy.stats.{name}.{method} is not recorded: give it plain numbers, such as "
                    f"x.value [{user_line()}]"
                )
            return own(*args, **kwargs)

        return plainly

    def _arguments(self, method: str, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
        """Shapes, and what follows them, as plain arrays of floats or recording values."""
        names = (*self.parameters, *self.location)
        if len(args) > len(names):
            raise ArgumentError(
                f"{self.__dict__['name']}.{method} takes {', '.join(names) or 'nothing more'} "
                f"after its variable, not {len(args)} arguments [{user_line()}]"
            )
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names or name in given:
                what = "twice" if name in given else "which it does not know"
                raise ArgumentError(
                    f"{self.__dict__['name']}.{method} was given {name} {what}; its parameters are "
                    f"{', '.join(names)} [{user_line()}]"
                )
            given[name] = value
        missing = [n for n in self.parameters if n not in given]
        if missing:
            raise ArgumentError(
                f"{self.__dict__['name']}.{method} needs {', '.join(missing)} [{user_line()}]"
            )
        defaults = {"loc": 0.0, "scale": 1.0}
        return [numbers(given.get(n, defaults.get(n))) for n in names]


def _by_name(name: str) -> Distribution:
    from . import DISTRIBUTIONS

    return DISTRIBUTIONS[name]


class Frozen:
    """A distribution with its parameters: `norm(1.0, 2.0).logpdf(x)`."""

    def __init__(
        self, distribution: Distribution, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.dist, self.args, self.kwds = distribution, args, kwargs

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)
        function = getattr(self.dist, method)
        if method in METHODS and method != "entropy":
            return lambda x: function(x, *self.args, **self.kwds)
        return lambda *args, **kwargs: function(*self.args, *args, **self.kwds, **kwargs)

    def __repr__(self) -> str:
        values = [*map(repr, self.args), *[f"{k}={v!r}" for k, v in self.kwds.items()]]
        return f"{self.dist.__dict__['name']}({', '.join(values)})"


# --- numbers --------------------------------------------------------------------------------------


def numbers(x: Any) -> Any:
    """x as floats, plain or recording."""
    if recording(x):
        return x
    if isinstance(x, (list, tuple)) and contains_recording(x):
        return as_array(x)
    if isinstance(x, (int, float)):
        return float(x)
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(float)


def plainly(x: Any) -> Any:
    """A plain result as SciPy gives it: a scalar where it has no axes."""
    return x[()] if isinstance(x, np.ndarray) else x


def holds(condition: Any) -> bool:
    """Whether a condition is known to hold everywhere: recorded ones are not."""
    return not recording(condition) and bool(np.all(condition))


def checked(found: Any, conditions: list[Any]) -> Any:
    """nan where the parameters are none."""
    for condition in conditions:
        if not holds(condition):
            found = np.where(condition, found, np.nan)
    return plainly(found)


def log1mexp(x: Any) -> Any:
    """log(1 - exp(-x)) for x > 0, with all digits (Mächler 2012)."""
    near = x < 0.6931471805599453
    small, large = np.where(near, x, 0.5), np.where(near, 1.0, x)
    return np.where(near, np.log(-np.expm1(-small)), np.log1p(-np.exp(-large)))


def log_of(p: Any, rest: Any) -> Any:
    """log(p) of a probability, from 1 - p where that is the smaller one."""
    small = p < 0.5
    return plainly(
        np.where(small, np.log(np.where(small, p, 0.5)), np.log1p(-np.where(small, 0.5, rest)))
    )


# --- functions of one variable --------------------------------------------------------------------


class Univariate(Distribution):
    """The functions of a distribution of numbers; subclasses give `_cdf`, `_sf` and so on."""

    low: float = -np.inf  # of the support of the standardised variable
    high: float = np.inf
    inside: float = 0.5  # a point within
    open_low = False  # whether `low` itself lies outside

    def cdf(self, x: Numbers, *args: Any, **kwargs: Any) -> Any:
        """The probability of a value not above x."""
        return self._evaluated("cdf", self._cdf, x, args, kwargs, 0.0, 1.0)

    def sf(self, x: Numbers, *args: Any, **kwargs: Any) -> Any:
        """The probability of a value above x, with the digits of a small one."""
        return self._evaluated("sf", self._sf, x, args, kwargs, 1.0, 0.0)

    def logcdf(self, x: Numbers, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of `cdf`."""
        return self._evaluated("logcdf", self._logcdf, x, args, kwargs, -np.inf, 0.0)

    def logsf(self, x: Numbers, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of `sf`."""
        return self._evaluated("logsf", self._logsf, x, args, kwargs, 0.0, -np.inf)

    # What a distribution writes itself, for the standardised variable.

    def _cdf(self, y: Any, *shapes: Any) -> Any:
        raise self._missing("cdf")

    def _sf(self, y: Any, *shapes: Any) -> Any:
        return 1.0 - self._cdf(y, *shapes)

    def _logcdf(self, y: Any, *shapes: Any) -> Any:
        return log_of(self._cdf(y, *shapes), self._sf(y, *shapes))

    def _logsf(self, y: Any, *shapes: Any) -> Any:
        return log_of(self._sf(y, *shapes), self._cdf(y, *shapes))

    def _support(self, *shapes: Numbers) -> tuple[Any, Any]:
        return self.low, self.high

    def _middle(self, low: Any, high: Any) -> Any:
        """A point of the support, where a formula is evaluated in place of one outside."""
        return self.inside

    def _valid(self, *shapes: Numbers) -> list[Any]:
        """Conditions on the shapes: positive, unless the distribution says otherwise."""
        return [shape > 0.0 for shape in shapes]

    # What they share.

    def _evaluated(
        self, method: str, f: Any, x: Any, args: Any, kwargs: Any, below: float, above: float
    ) -> Any:
        """f of the standardised variable; the limits outside the support, nan where not valid."""
        raise NotImplementedError

    def _within(
        self, y: Any, shapes: Sequence[Any], f: Callable[..., Any], below: float, above: float
    ) -> Any:
        """f(y, *shapes) in the support, `below` and `above` it the limits."""
        low, high = self._support(*shapes)
        before: Any = np.less_equal if self.open_low else np.less
        for edge, beyond, limit in ((low, before, below), (high, np.greater, above)):
            if isinstance(edge, float) and np.isinf(edge):
                if recording(y):
                    continue  # no derivative to protect: nobody stands there
                beyond = np.equal
            outside = beyond(y, edge)
            if recording(outside) or np.any(outside):
                y, f = np.where(outside, self._middle(low, high), y), _limited(f, outside, limit)
        return f(y, *shapes)

    def _missing(self, method: str) -> UnsupportedError:
        return UnsupportedError(
            f"ndtape.scipy.stats.{self.name} has no {method} [{user_line()}]; that of scipy.stats "
            "takes plain numbers"
        )


def _limited(f: Callable[..., Any], outside: Any, limit: float) -> Callable[..., Any]:
    return lambda y, *shapes: np.where(outside, limit, f(y, *shapes))


class Continuous(Univariate):
    """A distribution with a density: shapes, then loc and scale."""

    location = ("loc", "scale")

    def logpdf(self, x: Numbers, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the density; -inf outside the support."""
        with np.errstate(all="ignore"):
            y, shapes, scale = self._standardised("logpdf", x, args, kwargs)
            found = self._within(y, shapes, self._logpdf, -np.inf, -np.inf)
            if recording(scale) or np.any(scale != 1.0):
                found = found - np.log(scale)  # nan for a scale that is none
            return checked(found, self._valid(*shapes))

    def pdf(self, x: Numbers, *args: Any, **kwargs: Any) -> Any:
        """The density."""
        return np.exp(self.logpdf(x, *args, **kwargs))

    def ppf(self, q: Numbers, *args: Any, **kwargs: Any) -> Any:
        """The inverse of `cdf`; nan unless 0 <= q <= 1."""
        return self._quantile("ppf", self._ppf, q, args, kwargs)

    def isf(self, q: Numbers, *args: Any, **kwargs: Any) -> Any:
        """The inverse of `sf`."""
        return self._quantile("isf", self._isf, q, args, kwargs)

    def _standardised(
        self, method: str, x: Any, args: Any, kwargs: Any
    ) -> tuple[Any, list[Any], Any]:
        """((x - loc) / scale, shapes, scale)"""
        *shapes, loc, scale = self._arguments(method, args, kwargs)
        y = numbers(x)
        if recording(loc) or np.any(loc):
            y = y - loc
        if recording(scale) or np.any(scale != 1.0):
            y = np.divide(y, scale)
        return y, shapes, scale

    def _evaluated(
        self, method: str, f: Any, x: Any, args: Any, kwargs: Any, below: float, above: float
    ) -> Any:
        with np.errstate(all="ignore"):
            y, shapes, scale = self._standardised(method, x, args, kwargs)
            found = self._within(y, shapes, f, below, above)
            return checked(found, [*self._valid(*shapes), scale > 0.0])

    def _quantile(self, method: str, f: Any, q: Any, args: Any, kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            *shapes, loc, scale = self._arguments(method, args, kwargs)
            q = numbers(q)
            y = f(q, *shapes)
            if recording(scale) or np.any(scale != 1.0):
                y = y * scale
            if recording(loc) or np.any(loc):
                y = y + loc
            return checked(y, [*self._valid(*shapes), scale > 0.0, q >= 0.0, q <= 1.0])

    def _logpdf(self, y: Any, *shapes: Any) -> Any:
        raise NotImplementedError

    def _ppf(self, q: Any, *shapes: Any) -> Any:
        raise self._missing("ppf")

    def _isf(self, q: Any, *shapes: Any) -> Any:
        return self._ppf(1.0 - q, *shapes)


class Discrete(Univariate):
    """A distribution of whole numbers: shapes, then loc.  Derivatives are those of the shapes."""

    location = ("loc",)
    low = 0.0

    def logpmf(self, k: Numbers, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the probability of k; -inf where k is not whole or not possible."""
        with np.errstate(all="ignore"):
            k, shapes = self._counted("logpmf", k, args, kwargs)
            whole = np.floor(k)
            found = self._within(whole, shapes, self._logpmf, -np.inf, -np.inf)
            if not holds((k == whole) | np.isnan(k)):
                found = np.where(k == whole, found, -np.inf)
            return checked(found, [*self._valid(*shapes), k == k])

    def pmf(self, k: Numbers, *args: Any, **kwargs: Any) -> Any:
        """The probability of k."""
        return np.exp(self.logpmf(k, *args, **kwargs))

    def _counted(self, method: str, k: Any, args: Any, kwargs: Any) -> tuple[Any, list[Any]]:
        """(k - loc, shapes)"""
        *shapes, loc = self._arguments(method, args, kwargs)
        k = numbers(k)
        return (k - loc if recording(loc) or np.any(loc) else k), shapes

    def _evaluated(
        self, method: str, f: Any, x: Any, args: Any, kwargs: Any, below: float, above: float
    ) -> Any:
        with np.errstate(all="ignore"):
            k, shapes = self._counted(method, x, args, kwargs)
            found = self._within(np.floor(k), shapes, f, below, above)
            return checked(found, [*self._valid(*shapes), k == k])

    def _logpmf(self, k: Any, *shapes: Any) -> Any:
        raise NotImplementedError
