"""How far the kernels of vmath are from exact results, for millions of arguments.

mpmath takes tens of microseconds a value, so the errors are found in two stages: against long
doubles, whose own error is below a thousandth of a float64's ulp, for all arguments; then against
mpmath in the order of those errors, until no argument that is left could be worse than the worst
that was confirmed.  Where a long double is not to be trusted, its error looks large, and mpmath
has the word.
"""

from __future__ import annotations

import ctypes
import math
import platform
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import mpmath
import numpy as np
from mpmath import mp, mpf
from numba import njit

from ndtape import _maps, vmath
from ndtape._jit import call_at
from ndtape.nest import descriptor
from ndtape.ops import FRAME
from ndtape.vmath.lanes import LANES, pack_at

Sample = Callable[[np.random.Generator, int], np.ndarray]
Long = np.longdouble
# 64 bits of significand or more; elsewhere a long double is a float64, or emulated at 1 us a step
EXTENDED = np.finfo(Long).nmant == 63
MANY = 10**6
PI = Long(math.pi) + Long(1.2246467991473532e-16)
BOUND = 2.0  # ulp, the promise of vmath
SUSPECTS = 2000  # at most so many values of mpmath a function


# --- arguments ---------------------------------------------------------------------------------


def patterns(rng: np.random.Generator, n: int) -> np.ndarray:
    """Any float64 with the same probability: subnormals, infinities and nans among them."""
    return rng.integers(0, 2**64, n, dtype=np.uint64).view(float)


def uniform(low: float, high: float) -> Sample:
    return lambda rng, n: rng.uniform(low, high, n)


def powers(low: float, high: float) -> Sample:
    """2**low to 2**high, evenly in the exponent."""
    return lambda rng, n: 2.0 ** rng.uniform(low, high, n)


def signed(sample: Sample) -> Sample:
    return lambda rng, n: rng.choice([-1.0, 1.0], n) * sample(rng, n)


def beside(*centres: float) -> Sample:
    """Left and right of each centre, from an ulp away to a half."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        centre = rng.choice(centres, n)
        return centre + rng.choice([-1, 1], n) * 2.0 ** rng.uniform(-54, -1, n) * np.maximum(
            np.abs(centre), 1
        )

    return draw


def at(*values: float) -> Sample:
    """The neighbours of some values, up to 50 ulp away."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        centre = rng.choice(values, n)
        return centre + rng.integers(-50, 51, n) * np.spacing(centre)

    return draw


def subnormals(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], n) * rng.integers(1, 2**52, n).view(float)


def multiples(rng: np.random.Generator, n: int) -> np.ndarray:
    """The float64 nearest to k pi/2, for whole k up to 2**60."""
    k = np.rint(2.0 ** rng.uniform(0, 60, n)).astype(Long)
    return (k * (PI / 2)).astype(float) * rng.choice([-1.0, 1.0], n)


@cache
def _closest() -> np.ndarray:
    """For every binade up to 1e308 those whole multiples of 2**e that come closest to k pi/2.

    m 2**e 2/pi is closest to a whole number for the denominators m of the convergents of
    2**e 2/pi (Kahan's argument; the worst of them is 6381956970095103 * 2**797).
    """
    bits = 2300
    with mp.workprec(bits + 64):
        two_over_pi = int(mp.floor(2**bits * 2 / mp.pi))
    found = []
    for e in range(971):
        whole, rest = 1 << bits, (two_over_pi << e) % (1 << bits)
        before, m = 0, 1
        while rest and m < 2**53:
            found.append(math.ldexp(m, e))
            term = whole // rest
            whole, rest = rest, whole - term * rest
            before, m = m, term * m + before
    return np.array(found)


def closest(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.permutation(np.concatenate([_closest(), -_closest()]))[:n]


def together(*samples: Sample) -> Sample:
    """Equally many of each."""
    return lambda rng, n: np.concatenate([s(rng, n // len(samples)) for s in samples])


def whole(sample: Sample) -> Sample:
    return lambda rng, n: np.rint(sample(rng, n))


# --- references --------------------------------------------------------------------------------

_LOOP = """
declare x86_fp80 @{name}(x86_fp80)
define void @map(x86_fp80* %x, x86_fp80* %out, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %from = getelementptr x86_fp80, x86_fp80* %x, i64 %i
  %to = getelementptr x86_fp80, x86_fp80* %out, i64 %i
  %value = load x86_fp80, x86_fp80* %from
  %result = call x86_fp80 @{name}(x86_fp80 %value)
  store x86_fp80 %result, x86_fp80* %to
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


@cache
def _engine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


@cache
def libm(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The C library's `name` on arrays of long doubles, for what NumPy does not offer.

    Neither Numba nor ctypes passes a long double, so the loop is LLVM's own.
    """
    if not EXTENDED or platform.machine() not in ("x86_64", "AMD64"):
        raise NotImplementedError(f"no {name} on this machine")
    module = llvm.parse_assembly(_LOOP.format(name=name).replace("@map", f"@map_{name}"))
    _engine().add_module(module)
    _engine().finalize_object()
    address = _engine().get_function_address(f"map_{name}")
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)

    def run(x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x, Long)  # at least one axis
        out = np.empty_like(x)
        function(x.ctypes.data, out.ctypes.data, x.size)
        return out

    return run


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _logaddexp(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    gap = np.where(x == y, 0, x - y)
    return np.maximum(x, y) + np.log1p(np.exp(-np.abs(gap)))


def _digamma(x: np.ndarray) -> np.ndarray:
    """The asymptotic series from 24 on, the recurrence below, the reflection formula left of 0."""
    left = x < 0
    fraction = x - np.rint(x)
    mirror = np.where(left, np.where(fraction == 0, np.nan, PI / np.tan(PI * fraction)), 0)
    x = np.where(left, 1 - x, x)
    total = -mirror
    (near,) = np.nonzero(x < 24)
    y = x[near]
    for _ in range(24):
        below = y < 24
        total[near] -= np.where(below, 1 / y, 0)
        y = np.where(below, y + 1, y)
    x = x.copy()
    x[near] = y
    z = 1 / (x * x)
    tail = np.zeros_like(x)
    for k in range(11, 0, -1):
        numerator, denominator = mpmath.bernfrac(2 * k)
        tail = z * (tail + Long(int(numerator)) / Long(int(denominator) * 2 * k))
    return total + (np.log(x) - 1 / (2 * x) - tail)


def _exact_erfc(x: mpf) -> mpf:
    # mpmath's own cannot take huge arguments.
    return mp.erfc(x) if abs(x) < 1e4 else mpf(0 if x > 0 else 2)


def _exact_erf(x: mpf) -> mpf:
    return mp.erf(x) if abs(x) < 1 else 1 - _exact_erfc(x)


def _exact_gammaln(x: mpf) -> mpf:
    return mp.log(abs(mp.gamma(x))) if abs(x) < 300 else mp.re(mp.loggamma(x))


def _exact_digamma(x: mpf) -> Any:
    if x <= 0 and x == mp.floor(x):
        return mp.nan if x else mp.ninf
    return mp.digamma(x)


def _terms(x: np.ndarray, f: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Left of 0, the size of the terms of the reflection formula; else 0."""
    size, left = np.zeros_like(x), x < 0
    mirrored = x[left]
    size[left] = np.maximum(np.abs(f(mirrored)) + 2 * np.abs(f(1 - mirrored)), 2)
    return size


def _exact_power(x: mpf, y: mpf) -> Any:
    if y == 0 or x == 1:
        return mpf(1)
    magnitude = y * mp.log(abs(x)) if x else mp.ninf * y
    if abs(magnitude) > 1e5:  # mpmath would need all those digits
        return mp.sign(x) ** int(y % 2) * (mp.inf if magnitude > 0 else mpf(0))
    return mp.power(x, y)


def _exact_sigmoid(x: mpf) -> mpf:
    return 1 / (1 + mp.exp(-x)) if x > -1e5 else mpf(0)


def _exact_softplus(x: mpf) -> mpf:
    return mp.log1p(mp.exp(x)) if x < 1e5 else x


def _exact_logaddexp(x: mpf, y: mpf) -> mpf:
    larger, smaller = max(x, y), min(x, y)
    return larger + mp.log1p(mp.exp(smaller - larger)) if larger - smaller < 1e5 else larger


def _bounded(f: Callable[[mpf], mpf], limit: float, far: Callable[[mpf], Any]) -> Any:
    """f, and `far` beyond the limit, where mpmath would need all those digits."""
    return lambda x: f(x) if abs(x) < limit else mpf(far(x))


# --- the table ---------------------------------------------------------------------------------


class Case(NamedTuple):
    """The references of a function and the arguments that are hard for it."""

    extended: Callable[..., np.ndarray]  # on arrays of long doubles
    exact: Callable[..., Any]  # on mpf
    hard: tuple[Sample, ...]  # one for each argument
    at_least: Callable[..., np.ndarray] | None = None  # errors are relative to this, if it is more


SMALL = together(signed(powers(-60, 1)), uniform(-4, 4), subnormals)
ANGLES = together(
    multiples,
    closest,
    uniform(-10, 10),
    uniform(-1e6, 1e6),
    signed(powers(25, 35)),
    signed(powers(35, 1023)),
    SMALL,
)
POSITIVE = together(powers(-1074, 1023.99), lambda rng, n: np.abs(subnormals(rng, n)))
INSIDE = together(uniform(-1, 1), signed(lambda rng, n: 1 - 2.0 ** rng.uniform(-53, -1, n)), SMALL)
ANY = together(signed(POSITIVE), uniform(-4, 4))
EXPONENTS = together(uniform(-746, 710), uniform(-746, -707), at(709.782712893384), SMALL)
HYPERBOLIC = together(SMALL, uniform(-711, 711), at(710.4758600739439))
RIGHT_OF_1 = together(uniform(1, 3), lambda rng, n: 1 + 2.0 ** rng.uniform(-52, 1023, n))
RIGHT_OF_MINUS_1 = together(SMALL, POSITIVE, lambda rng, n: -1 + 2.0 ** rng.uniform(-53, -1, n))
LOGARITHMIC = together(POSITIVE, beside(1), uniform(0.5, 2))
GAMMA = together(uniform(-8, 10), POSITIVE, beside(1, 2, 0, -1, -2, -3), at(2.56e305))
BASES = together(POSITIVE, uniform(0, 2), uniform(0.9, 1.1), beside(1), uniform(-30, 30))
POWERS = together(
    uniform(-2, 2),
    signed(powers(-20, 20)),
    uniform(-7000, 7000),
    signed(powers(0, 62)),
    whole(uniform(-200, 200)),
)
UP = _bounded(mp.exp, 1e5, lambda x: mp.inf if x > 0 else 0)


def _both(f: Callable[[mpf], mpf]) -> Any:
    return _bounded(f, 1e5, lambda x: mp.sign(x) * mp.inf)


CASES = {
    "exp": Case(np.exp, UP, (EXPONENTS,)),
    "exp2": Case(
        np.exp2,
        _bounded(lambda x: mpf(2) ** x, 1e5, lambda x: mp.inf if x > 0 else 0),
        (together(uniform(-1075, 1024), SMALL),),
    ),
    "expm1": Case(
        np.expm1,
        _bounded(mp.expm1, 1e5, lambda x: mp.inf if x > 0 else -1),
        (together(uniform(-50, 710), at(709.782712893384), SMALL),),
    ),
    "log": Case(np.log, mp.log, (LOGARITHMIC,)),
    "log2": Case(np.log2, lambda x: mp.log(x, 2), (LOGARITHMIC,)),
    "log10": Case(np.log10, mp.log10, (LOGARITHMIC,)),
    "log1p": Case(np.log1p, mp.log1p, (RIGHT_OF_MINUS_1,)),
    "sin": Case(np.sin, mp.sin, (ANGLES,)),
    "cos": Case(np.cos, mp.cos, (ANGLES,)),
    "tan": Case(np.tan, mp.tan, (ANGLES,)),
    "arcsin": Case(np.arcsin, mp.asin, (INSIDE,)),
    "arccos": Case(np.arccos, mp.acos, (INSIDE,)),
    "arctan": Case(np.arctan, mp.atan, (together(SMALL, ANY),)),
    "arctan2": Case(np.arctan2, mp.atan2, (ANY, ANY)),
    "sinh": Case(np.sinh, _both(mp.sinh), (HYPERBOLIC,)),
    "cosh": Case(np.cosh, _both(mp.cosh), (HYPERBOLIC,)),
    "tanh": Case(np.tanh, _bounded(mp.tanh, 1e3, mp.sign), (together(SMALL, uniform(-23, 23)),)),
    "arcsinh": Case(np.arcsinh, mp.asinh, (together(SMALL, ANY),)),
    "arccosh": Case(np.arccosh, mp.acosh, (RIGHT_OF_1,)),
    "arctanh": Case(np.arctanh, mp.atanh, (INSIDE,)),
    "sqrt": Case(np.sqrt, mp.sqrt, (POSITIVE,)),
    "cbrt": Case(np.cbrt, lambda x: mp.sign(x) * mp.cbrt(abs(x)), (ANY,)),
    "hypot": Case(np.hypot, lambda x, y: mp.sqrt(x * x + y * y), (ANY, ANY)),
    "power": Case(np.power, _exact_power, (BASES, POWERS)),
    "sigmoid": Case(
        _sigmoid, _exact_sigmoid, (together(uniform(-746, 40), uniform(-746, -707), SMALL),)
    ),
    "softplus": Case(
        _softplus, _exact_softplus, (together(uniform(-746, 40), uniform(-40, -1), SMALL),)
    ),
    # It has zeros, where its terms cancel.
    "logaddexp": Case(
        _logaddexp,
        _exact_logaddexp,
        (
            together(uniform(0, 5), uniform(-700, 700)),
            together(uniform(-40, 5), uniform(-700, 700)),
        ),
        lambda x, y: np.full_like(x, 2.0**-6),
    ),
    "erf": Case(lambda x: libm("erfl")(x), _exact_erf, (together(uniform(-6, 6), SMALL),)),
    "erfc": Case(
        lambda x: libm("erfcl")(x),
        _exact_erfc,
        (together(uniform(-6, 27.3), uniform(26, 27.3), SMALL),),
    ),
    # Left of 0 gammaln and digamma have zeros between their poles, where two terms cancel.
    "gammaln": Case(
        lambda x: libm("lgammal")(x), _exact_gammaln, (GAMMA,), lambda x: _terms(x, libm("lgammal"))
    ),
    "digamma": Case(
        _digamma,
        _exact_digamma,
        (together(uniform(-8, 10), powers(-1022, 1023)),),
        lambda x: _terms(x, _digamma),
    ),
}


# --- measuring ---------------------------------------------------------------------------------


def arguments(name: str, seed: int = 0, n: int = MANY) -> tuple[np.ndarray, ...]:
    """`n` random bit patterns and a quarter as many hard arguments; a column an argument."""
    case, rng = CASES[name], np.random.default_rng(seed)
    hard = [sample(rng, n // 4) for sample in case.hard]
    columns = [np.concatenate([patterns(rng, n), h]) for h in hard]
    return tuple(c[: len(columns[0]) // LANES * LANES].copy() for c in columns)


class Paths(NamedTuple):
    """A kernel in a compiled loop: over float64, and over packs by their addresses."""

    scalar: Callable[..., None]
    packed: Callable[..., None]


@cache
def paths(name: str) -> Paths:
    f = getattr(vmath, name)

    @njit(error_model="numpy")
    def scalar_one(x, out):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            out[i] = f(x[i])

    @njit(error_model="numpy")
    def scalar_two(x, y, out):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            out[i] = f(x[i], y[i])

    @njit(error_model="numpy")
    def packed_one(x, out, count):  # type: ignore[no-untyped-def]
        source, target = pack_at(x), pack_at(out)
        for i in range(count):
            target[i] = f(source[i])

    @njit(error_model="numpy")
    def packed_two(x, y, out, count):  # type: ignore[no-untyped-def]
        left, right, target = pack_at(x), pack_at(y), pack_at(out)
        for i in range(count):
            target[i] = f(left[i], right[i])

    if len(f.parameters) == 1:
        return Paths(scalar_one, packed_one)
    return Paths(scalar_two, packed_two)


def aligned(values: np.ndarray) -> np.ndarray:
    """A copy that starts at a multiple of 64 bytes, as packs must."""
    space = np.empty(values.size + 8)
    start = -space.ctypes.data // 8 % 8
    out = space[start : start + values.size]
    out[:] = values
    return out


def by_scalars(name: str, *columns: np.ndarray) -> np.ndarray:
    out = np.empty_like(columns[0])
    paths(name).scalar(*columns, out)
    return out


def by_packs(name: str, *columns: np.ndarray) -> np.ndarray:
    """The same by packs; the number of arguments is a multiple of LANES."""
    buffers = [aligned(c) for c in (*columns, columns[0])]
    paths(name).packed(*(b.ctypes.data for b in buffers), columns[0].size // LANES)
    return buffers[-1]


@njit
def _run(address, frame):  # type: ignore[no-untyped-def]
    return call_at(address, frame, np.uint64(0), np.uint64(1))


def span_call(name: str, columns: tuple[np.ndarray, ...]) -> tuple[Callable[[], None], np.ndarray]:
    """A call of the kernel on spans that follow each other in `v`, and where its results are."""
    n, count = columns[0].size, len(columns)
    arrays = {
        "out": np.array([count * n], np.uint32),
        "a": np.zeros(1, np.uint32),
        "b": np.array([n], np.uint32),
        "c": np.zeros(1, np.uint32),
        "v": aligned(np.concatenate([*columns, np.zeros(n)])),
        "m": np.array(descriptor(n, [(n, 1, 1, int(count == 2), 0)]), np.int64),
        "scratch": np.zeros(64, np.int64),
    }
    frame = np.zeros(len(FRAME), np.uint64)
    for column, array in arrays.items():
        frame[FRAME.index(column)] = array.ctypes.data
    kernel = np.uint64(getattr(_maps, f"{name}_forward").address)
    address = np.uint64(frame.ctypes.data)

    def call(alive: Any = (arrays, frame)) -> None:
        assert _run(kernel, address) == 0

    return call, arrays["v"][count * n :]


def by_spans(name: str, *columns: np.ndarray) -> np.ndarray:
    """The same by one instruction on spans: none is aligned, and a rest is left after the packs.

    The last three arguments are left out.
    """
    call, results = span_call(name, tuple(c[:-3] for c in columns))
    call()
    return results


def same_bits(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Equal bits, the payload of a nan apart."""
    return (x.view(np.int64) == y.view(np.int64)) | (np.isnan(x) & np.isnan(y))


def approximate_ulps(name: str, columns: tuple[np.ndarray, ...], got: np.ndarray) -> np.ndarray:
    """The errors in ulp by long doubles; infinite for a wrong nan, infinity or sign."""
    case = CASES[name]
    with np.errstate(all="ignore"):
        x = [c.astype(Long) for c in columns]
        reference = case.extended(*x)
        nearest = reference.astype(float)
        relative_to = np.abs(nearest)
        if case.at_least is not None:
            relative_to = np.fmax(relative_to, case.at_least(*x).astype(float))
        unit = np.spacing(relative_to).astype(Long)
        error = (np.abs(got.astype(Long) - reference) / unit).astype(float)
    error = np.where(np.isfinite(nearest) & np.isfinite(got), error, np.inf)
    right = (got == nearest) | (np.isnan(got) & np.isnan(nearest))
    error[right & ~np.isfinite(nearest)] = 0.0
    if case.at_least is None:
        error[(np.signbit(got) != np.signbit(nearest)) & ~np.isnan(got)] = np.inf
    return error


def exact_ulps(name: str, x: tuple[float, ...], got: float) -> float:
    """The error of one result by mpmath, in ulp of the exact result."""
    case = CASES[name]
    with (
        np.errstate(all="ignore"),
        mp.workprec(1300 if name in ("sin", "cos", "tan") and abs(x[0]) > 1e9 else 160),
    ):
        exact = case.exact(*map(mpf, x))
        exact = mp.nan if isinstance(exact, mpmath.mpc) else exact
        nearest = float(exact)
        if math.isnan(nearest) or math.isinf(nearest) or not math.isfinite(got):
            return 0.0 if got == nearest or (got != got and nearest != nearest) else math.inf
        relative_to = abs(nearest)
        if case.at_least is not None:
            relative_to = max(
                relative_to, float(case.at_least(*(np.array([v], Long) for v in x))[0])
            )
        return float(abs(mpf(got) - exact) / mpf(math.ulp(relative_to)))


class Worst(NamedTuple):
    ulp: float
    x: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.ulp:.3f} ulp at {', '.join(map(repr, self.x))}"


def worst(name: str, columns: tuple[np.ndarray, ...], got: np.ndarray) -> Worst:
    """The largest error and its arguments."""
    approximate = approximate_ulps(name, columns, got)
    approximate[np.isnan(approximate)] = np.inf
    order = np.argsort(-approximate)[:SUSPECTS]
    found = Worst(0.0, ())
    for i in order:
        # A thousandth for the error of the long doubles.
        if approximate[i] + 1e-3 <= found.ulp:
            return found
        x = tuple(float(c[i]) for c in columns)
        signs = got[i] == 0 and approximate[i] == math.inf  # mpmath's zero has none
        error = math.inf if signs else exact_ulps(name, x, float(got[i]))
        found = max(found, Worst(error, x))
    return found
