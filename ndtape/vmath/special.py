"""Special functions: erf erfc gammaln digamma polygamma.

Polynomials fitted in 45 digits on the ranges where one suffices, joined by real branches, which
scalars skip and packs enter only if a lane needs them.
"""

from __future__ import annotations

import math
from typing import Any

from .dd import fast_two_sum, polynomial, two_product, two_sum
from .exp import exp_pair, exp_reduced, scale
from .kernel import constant, loop, table, when
from .lanes import copysign, fabs, floor, fma, kernel, rint, select
from .log import log_pair, power, power_pair

# erf(x) / x - 1 in x**2, for |x| < 1: error 2**-68
_ERF = (
    0.1283791670955126, -0.37612638903183754, 0.1128379167095512, -0.026866170645129868,
    0.005223977625423611, -0.0008548327021956025, 0.000120553329038126, -1.4925647594497853e-05,
    1.646204598055763e-06, -1.6364649551465158e-07, 1.4792469644520111e-08,
    -1.2164968617165494e-09, 8.710465336650346e-11, -4.233129528679536e-12,
)  # fmt: skip
# erfc(x) e**(x**2) (1 + 2 x) - 1 in (x - 4) / (x + 4), for 0 <= x < 28: error 2**-61
_ERFC = (
    0.2329951186255525, -0.13962111684056253, 0.015379652102620073, 0.06809705425469312,
    -0.10103906603632705, 0.09373283499833104, -0.0663303658116057, 0.037167515537905135,
    -0.016197734066253203, 0.005031969972166131, -0.0007577732207087967, -0.00019925664412086844,
    0.00015062133995440806, -2.439949307182852e-05, -1.1220985984718589e-05, 5.710713743452133e-06,
    2.918027895159835e-07, -8.276175133059144e-07, 7.685860657817639e-08, 1.13070377871826e-07,
    -1.901535192301682e-08, -1.643888994786902e-08, 1.6930844483111576e-09, 2.045088683273759e-09,
    2.717708185594632e-10,
)  # fmt: skip


def _erfc_positive(a: Any) -> Any:
    """erfc(a) for a >= 0: e**(-a**2) (1 + p) / (1 + 2 a), in pairs until the last rounding."""
    a = select(a > 28.0, 28.0, a)
    t = (a - 4.0) / (a + 4.0)
    p, p_low = fast_two_sum(1.0, polynomial(t, _ERFC))
    square, square_low = two_product(a, a)
    k, r, low = exp_reduced(-square)
    e, e_low = exp_pair(*two_sum(r, low - square_low))
    n, n_low = two_product(e, p)
    n_low = n_low + fma(e, p_low, e_low * p)
    d, d_low = two_sum(1.0, 2.0 * a)
    inverse = 1.0 / d
    q = n * inverse
    rest = fma(-q, d, n) + fma(-q, d_low, n_low)
    return scale(fma(rest, inverse, q), k)


@kernel("f:f")
def erf(x):  # type: ignore[no-untyped-def]
    """Error function."""
    a = fabs(x)
    far = a >= 1.0
    value = when(far, lambda: copysign(1.0 - _erfc_positive(a), x), x)
    return when(~far, lambda: fma(x, polynomial(x * x, _ERF), x), value)


@kernel("f:f")
def erfc(x):  # type: ignore[no-untyped-def]
    """Complementary error function, 1 - erf(x)."""
    # Near 0 the other form loses an ulp and a half in its variable t.
    near = fabs(x) < 0.5

    def tail() -> Any:
        value = _erfc_positive(fabs(x))
        return select(x < 0.0, 2.0 - value, value)

    value = when(~near, tail, x)
    return when(near, lambda: 1.0 - fma(x, polynomial(x * x, _ERF), x), value)


# log(gamma(x)) / ((x - 1) (x - 2)) in x - 1, for 0.6 <= x <= 1.45: error 2**-63
_NEAR_ONE = (
    0.5772156649015329, -0.24525136852258037, 0.15543426586395098, -0.11514654256383303,
    0.09223900846486872, -0.07731816853266732, 0.06673172823260315, -0.05877794127784977,
    0.05255632482884791, -0.04754313357640679, 0.04341087432619664, -0.039942931778847925,
    0.03698981151180813, -0.03444400496247477, 0.03222108432718523, -0.030265007726975376,
    0.028596270043393417, -0.027133308180642173, 0.02526403887627421, -0.0233530297855782,
    0.02495308028991204, -0.02775907663600093, 0.016864858934575833, -0.0015625771131334207,
    0.022005983545854344, -0.053062045209833465, 0.03195103747316939,
)  # fmt: skip
# the same in x - 2, for 1.45 <= x <= 2.6: error 2**-67
_NEAR_TWO = (
    0.42278433509846713, -0.10031730167435392, 0.03296500062115582, -0.012384192193371264,
    0.004998641164697447, -0.002108130833956915, 0.0009153769222447844, -0.0004057073974663289,
    0.00018255263925254952, -8.309512718283481e-05, 3.8168886650168085e-05,
    -1.7661665002441107e-05, 8.222214423090398e-06, -3.84741973705928e-06, 1.8079604954604489e-06,
    -8.524282584404668e-07, 4.0421315540024377e-07, -1.935543809058683e-07, 9.03033358925316e-08,
    -3.929970077198014e-08, 2.128239578374685e-08, -1.5093291092523988e-08, 5.767018183931428e-09,
)  # fmt: skip
# (log(gamma(x)) - (x - 1/2) log(x) + x - log(2 pi) / 2) x in 1 / x**2, for x >= 8: error 2**-66
_STIRLING = (
    0.08333333333333333, -0.0027777777777776786, 0.0007936507935155467, -0.000595238024900152,
    0.0008417327959553407, -0.001914991169099638, 0.006209311608006658, -0.020877287384605838,
)  # fmt: skip
# log(sin(pi f) / (pi f)) / f**2 in f**2, for |f| <= 1/2: error 2**-68
_LOG_SINE = (
    -1.6449340668482264, -0.5411616168555691, -0.3391143539948197, -0.2510193390489823,
    -0.20019891506535026, -0.1667076791886765, -0.1428659525277558, -0.12500060162898372,
    -0.11113202706273388, -0.09976510774858482, -0.09290413690535188, -0.07077179981002214,
    -0.13510050413849592, 0.12257430107933079, -0.5130904435018848, 0.5883222047633496,
    -0.5463375301120047,
)  # fmt: skip
GAMMALN_OVERFLOW = 2.5599833278516387e305


# The pieces give (high, low), because the terms that are joined to them can cancel.


def _stirling(x: Any) -> tuple[Any, Any]:
    """log(gamma(x)) for x >= 8."""
    high, low = log_pair(x)
    high, lost = fast_two_sum(high, -1.0)
    product, rest = two_product(x - 0.5, high)
    inverse = 1.0 / x
    tail = fma(inverse, polynomial(inverse * inverse, _STIRLING), 0.41893853320467274)
    within = x < GAMMALN_OVERFLOW
    rest = rest + fma(x - 0.5, low + lost, tail)
    return select(within, product, x * math.inf), select(within, rest, 0.0)


def _product(w: Any, w_low: Any, u: Any, coefficients: tuple[float, ...]) -> tuple[Any, Any]:
    """(w + w_low) P(u)"""
    p, p_low = fast_two_sum(coefficients[0], u * polynomial(u, coefficients[1:]))
    value = w * p
    return value, fma(w, p, -value) + fma(w, p_low, w_low * p)


def _near_one(x: Any) -> tuple[Any, Any]:
    return _product(*two_product(x - 1.0, x - 2.0), x - 1.0, _NEAR_ONE)


def _near_two(x: Any) -> tuple[Any, Any]:
    return _product(*two_product(x - 1.0, x - 2.0), x - 2.0, _NEAR_TWO)


def _middle(x: Any) -> tuple[Any, Any]:
    """log(gamma(x)) for 2.6 <= x < 8, by gamma(x) = (x - 1) gamma(x - 1)."""
    product, product_low = constant(x, 1.0), constant(x, 0.0)
    for _ in range(6):
        above = x >= 2.6
        x = select(above, x - 1.0, x)
        factor = select(above, x, 1.0)
        product, lost = two_product(product, factor)
        product_low = fma(product_low, factor, lost)
    high, low = log_pair(product)
    near, near_low = _near_two(x)
    high, lost = two_sum(high, near)
    return high, lost + (low + near_low + product_low / product)


def _gammaln_above(x: Any) -> tuple[Any, Any]:
    """log(gamma(x)) for x >= 0.6."""
    value = when(x < 1.45, lambda: _near_one(x), (x, constant(x, 0.0)))
    value = when((x >= 1.45) & (x < 2.6), lambda: _near_two(x), value)
    value = when((x >= 2.6) & (x < 8.0), lambda: _middle(x), value)
    return when(x >= 8.0, lambda: _stirling(x), value)


@kernel("f:f", lanewise=True)
def gammaln(x):  # type: ignore[no-untyped-def]
    """log|gamma(x)|; infinite at 0, -1, -2, ..."""
    # gamma(x) = gamma(x + 1) / x for small x; the reflection formula for negative x.  Between
    # their poles the negative side has zeros, near which the two terms cancel.
    high, low = _gammaln_above(select(x < 0.6, 1.0 + fabs(x), x))
    fraction = x - rint(x)
    z = fraction * fraction

    def joined() -> Any:
        """log(gamma(1 + |x|)) less log(x), or for x < 0 less log(pi / sin(pi x)), reflected."""
        negative = x < 0.0
        logarithm, rest = log_pair(select(negative, fabs(fraction), x))
        sine = select(negative, z * polynomial(z, _LOG_SINE), 0.0)
        mirror = select(negative, 1.0, -1.0)
        total, lost = two_sum(high, mirror * logarithm)
        return -mirror * (total + (lost + (low + (mirror * rest + sine))))

    value = when(x < 0.6, joined, high + low)
    pole = (fabs(x) == math.inf) | ((x <= 0.0) & (fraction == 0.0))
    return select(pole, math.inf, value + 0.0)  # no -0 at 1


# digamma(x) / (x - root) in x - 3/2, for 1 <= x <= 2: error 2**-63
_DIGAMMA = (
    0.9510558760318328, -0.42362742128146047, 0.2405424842407869, -0.14840492305391872,
    0.09498872445291726, -0.06192213327154136, 0.04076083393809073, -0.02697579684984694,
    0.017907248448805427, -0.011908215023591205, 0.007927018299712658, -0.005280020254114423,
    0.003518163467249002, -0.0023446245715851256, 0.0015627746021855753, -0.0010424368280472522,
    0.0006950056168418541, -0.00045917757877997627, 0.0003057157176259893, -0.00022007501598313444,
    0.0001477637973947084, -5.7619495335656205e-05, 3.68154406080382e-05, -8.400277281960463e-05,
    5.7066667989843986e-05,
)  # fmt: skip
# (log(x) - 1 / (2 x) - digamma(x)) x**2 in 1 / x**2, for x >= 8: error 2**-67
_DIGAMMA_TAIL = (
    0.08333333333333333, -0.008333333333333276, 0.003968253968154722, -0.004166666600287331,
    0.007575735244636653, -0.021088545892219753, 0.08285186225388501, -0.41059787817212806,
    1.7756343650750994,
)  # fmt: skip
# (1 / f - pi cot(pi f)) / f in f**2, for |f| <= 1/2: error 2**-64
_COTANGENT = (
    3.289868133696453, 2.164646467422276, 2.034686123969031, 2.0081547123758874,
    2.0019891518398882, 2.000492097118007, 2.0001248941747054, 1.9999781119890359,
    2.000830217900886, 1.9905581090296596, 2.0802381983376015, 1.4946449254343925,
    4.339756458375772, -5.793323891428612, 19.889185281586748, -23.951976531352237,
    21.220262325945065,
)  # fmt: skip
ROOT = (1.4616321449683622, 9.549995429965697e-17)


def _reciprocal(x: Any) -> tuple[Any, Any]:
    """1 / x as (high, low)."""
    high = 1.0 / x
    low = fma(-high, x, 1.0) * high
    return high, select(fabs(high) < math.inf, low, 0.0)


def _digamma_below(x: Any, x_low: Any) -> tuple[Any, Any]:
    """digamma(x + x_low) for 1 <= x < 8, by digamma(x) = digamma(x - 1) + 1 / (x - 1)."""
    total = rest = constant(x, 0.0)
    for _ in range(6):
        above = x > 2.0
        x = select(above, x - 1.0, x)
        term, term_low = _reciprocal(x)
        total, lost = two_sum(total, select(above, term, 0.0))
        rest = rest + select(above, lost + term_low, 0.0)
    value, low = _product(x - ROOT[0], x_low - ROOT[1], x - 1.5, _DIGAMMA)
    total, lost = two_sum(total, value)
    return total, lost + (low + rest)


def _digamma_beyond(x: Any) -> tuple[Any, Any]:
    """digamma(x) for x >= 8."""
    inverse = 1.0 / x
    z = inverse * inverse
    high, low = log_pair(x)
    value = high - fma(z, polynomial(z, _DIGAMMA_TAIL), fma(0.5, inverse, -low))
    return select(x < math.inf, value, x), constant(x, 0.0)


@kernel("f:f", lanewise=True)
def digamma(x):  # type: ignore[no-untyped-def]
    """Derivative of log(gamma(x)); nan at -1, -2, ..., infinite at 0."""
    # x < 1: digamma(1 + |x|) less 1 / x or, for x < 0, less pi cot(pi x).
    below = x < 1.0
    y, y_low = two_sum(1.0, fabs(x))
    y, y_low = select(below, y, x), select(below, y_low, 0.0)
    near = when(y < 8.0, lambda: _digamma_below(y, y_low), (x, constant(x, 0.0)))
    high, low = when(y >= 8.0, lambda: _digamma_beyond(y), near)
    fraction = x - rint(x)
    part = select(x < 0.0, fraction, x)
    term, term_low = _reciprocal(part)
    z = part * part
    curve = select(x < 0.0, part * polynomial(z, _COTANGENT), 0.0)
    total, lost = two_sum(high, -term)
    shifted = total + (lost + (low - term_low + curve))
    shifted = select(fabs(term) < math.inf, shifted, -term)
    value = select(below, shifted, high + low)
    return select((x < 0.0) & (fraction == 0.0), math.nan, value)


# B(2k) / (2k)! for k = 1, 2, ...: Euler and Maclaurin's tail of a sum
_TAIL = (
    0.08333333333333333, -0.001388888888888889, 3.306878306878307e-05, -8.267195767195768e-07,
    2.08767569878681e-08, -5.284190138687493e-10, 1.3382536530684679e-11, -3.3896802963225827e-13,
    8.586062056277845e-15, -2.174868698558062e-16, 5.5090028283602295e-18, -1.3954464685812522e-19,
)  # fmt: skip
FACTORIALS = tuple(float(math.factorial(k)) for k in range(171))


@kernel("f,f:f,f", code="call")
def _zeta(s, q):  # type: ignore[no-untyped-def]
    """Sum of (q + k)**-s over k >= 0 as (high, low), for s >= 2 and q > 0."""
    start = 10.0 + s

    def power_of(k: Any) -> tuple[Any, Any, Any]:
        shifted, shifted_low = two_sum(q, k)
        term, term_low = power_pair(shifted, -s)
        return shifted, term, fma(-s * shifted_low / shifted, term, term_low)

    def step(k: Any, total: Any, rest: Any) -> Any:
        _, term, term_low = power_of(k)
        total, lost = two_sum(total, term)
        return k + 1.0, total, rest + (lost + term_low)

    zero = constant(q, 0.0)
    k, total, rest = loop((zero, zero, zero), lambda k, total, rest: q + k < start, step)
    q, first, first_low = power_of(k)
    ratio = s / q
    square = 1.0 / (q * q)
    tail = zero
    for j, coefficient in enumerate(_TAIL):
        tail = fma(ratio, coefficient, tail)
        ratio = ratio * ((s + (2 * j + 1)) * (s + (2 * j + 2)) * square)
    factor = q / (s - 1.0)
    factor_low = fma(-factor, s - 1.0, q) / (s - 1.0)
    factor, lost = two_sum(factor, 0.5 + tail)
    end, end_low = two_product(first, factor)
    end_low = end_low + fma(first, factor_low + lost, first_low * factor)
    total, lost = two_sum(total, end)
    return total, rest + (lost + end_low)


def _zeta_everywhere(s: Any, x: Any) -> Any:
    """The same for negative x too, where the terms left of 0 are sums from 1 - fraction on."""
    negative = x < 0.0
    fraction = select(negative, x - floor(x), x)

    def left() -> Any:
        sign = 1.0 - 2.0 * (s - 2.0 * floor(0.5 * s))
        high, low = _zeta(s, -floor(-x) - x)
        less, less_low = _zeta(s, 1.0 - x)
        high, lost = two_sum(high, -less)
        return sign * high, sign * (lost + (low - less_low))

    high, low = _zeta(s, fraction)
    zero = constant(x, 0.0)
    more, more_low = when(negative, left, (zero, zero))
    high, lost = two_sum(high, more)
    return high + (lost + (low + more_low))


@kernel("f,f:f", lanewise=True)
def polygamma(n, x):  # type: ignore[no-untyped-def]
    """The n-th derivative of digamma, for whole n >= 0.

    At poles left of 0 it is inf for odd n, where both sides agree, and nan for even n.
    """

    def derivative() -> Any:
        s = n + 1.0
        odd = s == 2.0 * floor(0.5 * s)  # n is odd
        sign = select(odd, 1.0, -1.0)
        pole = (floor(x) == x) & (x <= 0.0)
        value = sign * table(FACTORIALS, n) * _zeta_everywhere(s, select(pole, 1.0, x))
        value = select(pole, select(odd, math.inf, math.nan), value)
        # Where one term is all of it, and powers of x leave the range of the sum.
        value = when(fabs(x) < 1e-20, lambda: sign * table(FACTORIALS, n) * power(x, -s), value)
        return when(x > 1e40, lambda: sign * table(FACTORIALS, n - 1.0) * power(x, -n), value)

    fit = (n >= 1.0) & (n <= 170.0) & (floor(n) == n) & (x == x) & (fabs(x) < math.inf)
    even = n == 2.0 * floor(0.5 * n)
    value = select((n >= 1.0) & (x == math.inf), select(even, -0.0, 0.0), math.nan)
    value = when(fit, derivative, value)
    return when(n == 0.0, lambda: digamma(x), value)
