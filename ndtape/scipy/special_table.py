"""The functions of scipy.special that are not rows of `ops.TABLE`, a row each.

Operands, then one partial derivative an operand, in the operands, the result z, NumPy's functions
and rows of this table: see `rules.py`.  UNKNOWN marks an operand without derivative: the order of
a Bessel function, say.  Formulas: NIST Digital Library of Mathematical Functions.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction
from typing import Any

import numpy as np

from . import incomplete, slopes
from .rules import NAMES, UNKNOWN, Rule

for _module in (incomplete, slopes):
    NAMES.update({k: f for k, f in vars(_module).items() if isfunction(f)})


def _scipy(name: str, pick: int) -> Callable[..., Any]:
    """One of the results that a function of scipy.special returns."""

    def value(*operands: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(*operands)[pick]

    return value


def _zeta(x: Any, q: Any) -> Any:
    import scipy.special

    return scipy.special.zeta(x, q)


def _lambertw(x: Any, k: Any) -> Any:
    """The real branches, 0 and -1; nan where w is complex."""
    import scipy.special

    w = scipy.special.lambertw(x, np.asarray(k).astype(int))
    return np.where(w.imag == 0, w.real, np.nan)


def _stdtrit(df: Any, p: Any) -> Any:
    """SciPy's, which has the wrong infinity at p = 0."""
    import scipy.special

    return np.where(np.asarray(p) == 0, -np.inf, scipy.special.stdtrit(df, p))[()]


ROWS = [
    # --- gamma
    Rule("gamma", "x", "z * psi(x)", doc="gamma function"),
    Rule("gammasgn", "x", "0", doc="sign of the gamma function"),
    Rule("loggamma", "x", "psi(x)", doc="logarithm of the gamma function, nan for x < 0"),
    Rule("rgamma", "x", "-z * psi(x)", doc="1 / gamma(x)"),
    Rule("gammainc", "a x", "gammainc_derivative(1, a, x)", "gamma_density(a, x)",
         doc="regularised lower incomplete gamma function"),
    Rule("gammaincc", "a x", "-gammainc_derivative(1, a, x)", "-gamma_density(a, x)",
         doc="regularised upper incomplete gamma function"),
    Rule("gammaincinv", "a y", "-gammainc_derivative(1, a, z) / gamma_density(a, z)",
         "1 / gamma_density(a, z)", doc="x with gammainc(a, x) = y"),
    Rule("gammainccinv", "a y", "-gammainc_derivative(1, a, z) / gamma_density(a, z)",
         "-1 / gamma_density(a, z)", doc="x with gammaincc(a, x) = y"),
    Rule("gammainc_derivative", "k a x", UNKNOWN, "gammainc_derivative(k + 1, a, x)",
         "gamma_density_derivative(k, a, x)", doc="k-th derivative of gammainc in a",
         value=incomplete.gamma_derivative),
    Rule("poch", "a m", "z * (psi(a + m) - psi(a))", "z * psi(a + m)",
         doc="gamma(a + m) / gamma(a)"),
    Rule("binom", "n k", "z * (psi(n + 1) - psi(n - k + 1))",
         "z * (psi(n - k + 1) - psi(k + 1))", doc="binomial coefficient"),
    Rule("zeta", "x q", UNKNOWN, "-x * zeta(x + 1, q)", doc="Hurwitz' zeta function", value=_zeta),
    # --- beta
    Rule("beta", "a b", "z * (psi(a) - psi(a + b))", "z * (psi(b) - psi(a + b))",
         doc="beta function"),
    Rule("betaln", "a b", "psi(a) - psi(a + b)", "psi(b) - psi(a + b)",
         doc="logarithm of |beta(a, b)|"),
    Rule("betainc", "a b x", "betainc_derivative(1, 0, a, b, x)",
         "betainc_derivative(0, 1, a, b, x)", "beta_density(a, b, x)",
         doc="regularised incomplete beta function"),
    Rule("betaincc", "a b x", "-betainc_derivative(1, 0, a, b, x)",
         "-betainc_derivative(0, 1, a, b, x)", "-beta_density(a, b, x)", doc="1 - betainc"),
    Rule("betaincinv", "a b y", "-betainc_derivative(1, 0, a, b, z) / beta_density(a, b, z)",
         "-betainc_derivative(0, 1, a, b, z) / beta_density(a, b, z)",
         "1 / beta_density(a, b, z)", doc="x with betainc(a, b, x) = y"),
    Rule("betainccinv", "a b y", "-betainc_derivative(1, 0, a, b, z) / beta_density(a, b, z)",
         "-betainc_derivative(0, 1, a, b, z) / beta_density(a, b, z)",
         "-1 / beta_density(a, b, z)", doc="x with betaincc(a, b, x) = y"),
    Rule("betainc_derivative", "j k a b x", UNKNOWN, UNKNOWN,
         "betainc_derivative(j + 1, k, a, b, x)", "betainc_derivative(j, k + 1, a, b, x)",
         "beta_density_derivative(j, k, a, b, x)",
         doc="derivative of betainc of orders j in a, k in b", value=incomplete.beta_derivative),
    # --- error function and normal distribution
    Rule("erfcx", "x", "erfcx_slope(x, z)", doc="exp(x²) erfc(x)"),
    Rule("erfi", "x", "1.1283791670955126 * exp(x * x)", doc="-i erf(i x)"),
    Rule("erfinv", "y", "0.886226925452758 * exp(z * z)", doc="x with erf(x) = y"),
    Rule("erfcinv", "y", "-0.886226925452758 * exp(z * z)", doc="x with erfc(x) = y"),
    Rule("dawsn", "x", "dawsn_slope(x, z)", doc="Dawson's integral"),
    Rule("ndtri", "y", "2.5066282746310002 * exp(0.5 * z * z)", doc="x with ndtr(x) = y"),
    Rule("ndtri_exp", "y", "exp(y + 0.5 * z * z + 0.9189385332046727)",
         doc="x with log_ndtr(x) = y"),
    Rule("owens_t", "h a",
         "-0.19947114020071635 * exp(-0.5 * h * h) * erf(0.7071067811865476 * a * h)",
         "exp(-0.5 * h * h * (1 + a * a)) / (2 * pi * (1 + a * a))", doc="Owen's T function"),
    # --- Student's distribution
    Rule("stdtr", "df t", "t_slope(df, t)", "t_density(df, t)",
         doc="distribution function of Student's t"),
    Rule("stdtrit", "df p", "-t_slope(df, z) / t_density(df, z)", "1 / t_density(df, z)",
         doc="t with stdtr(df, t) = p", value=_stdtrit),
    # --- Bessel functions
    Rule("j0", "x", "-j1(x)", doc="Bessel function of order 0"),
    Rule("j1", "x", "0.5 * (j0(x) - jv(2, x))", doc="Bessel function of order 1"),
    Rule("jv", "v x", UNKNOWN, "0.5 * (jv(v - 1, x) - jv(v + 1, x))", doc="Bessel function"),
    Rule("y0", "x", "-y1(x)", doc="Bessel function of the second kind of order 0"),
    Rule("y1", "x", "0.5 * (y0(x) - yv(2, x))",
         doc="Bessel function of the second kind of order 1"),
    Rule("yn", "n x", UNKNOWN, "0.5 * (yn(n - 1, x) - yn(n + 1, x))",
         doc="Bessel function of the second kind of whole order"),
    Rule("yv", "v x", UNKNOWN, "0.5 * (yv(v - 1, x) - yv(v + 1, x))",
         doc="Bessel function of the second kind"),
    Rule("i0", "x", "i1(x)", doc="modified Bessel function of order 0"),
    Rule("i1", "x", "0.5 * (i0(x) + iv(2, x))", doc="modified Bessel function of order 1"),
    Rule("iv", "v x", UNKNOWN, "0.5 * (iv(v - 1, x) + iv(v + 1, x))",
         doc="modified Bessel function"),
    Rule("i0e", "x", "i1e(x) - sign(x) * z", doc="exp(-|x|) i0(x)"),
    Rule("i1e", "x", "0.5 * (i0e(x) + ive(2, x)) - sign(x) * z", doc="exp(-|x|) i1(x)"),
    Rule("ive", "v x", UNKNOWN, "0.5 * (ive(v - 1, x) + ive(v + 1, x)) - sign(x) * z",
         doc="exp(-|x|) iv(v, x)"),
    Rule("k0", "x", "-k1(x)", doc="modified Bessel function of the second kind of order 0"),
    Rule("k1", "x", "-0.5 * (k0(x) + kn(2, x))",
         doc="modified Bessel function of the second kind of order 1"),
    Rule("kn", "n x", UNKNOWN, "-0.5 * (kv(n - 1, x) + kv(n + 1, x))",
         doc="modified Bessel function of the second kind of whole order"),
    Rule("kv", "v x", UNKNOWN, "-0.5 * (kv(v - 1, x) + kv(v + 1, x))",
         doc="modified Bessel function of the second kind"),
    Rule("k0e", "x", "z - k1e(x)", doc="exp(x) k0(x)"),
    Rule("k1e", "x", "z - 0.5 * (k0e(x) + kve(2, x))", doc="exp(x) k1(x)"),
    Rule("kve", "v x", UNKNOWN, "z - 0.5 * (kve(v - 1, x) + kve(v + 1, x))",
         doc="exp(x) kv(v, x)"),
    Rule("airy_ai", "x", "airy_aip(x)", doc="Airy function Ai", value=_scipy("airy", 0)),
    Rule("airy_aip", "x", "x * airy_ai(x)", doc="derivative of Ai", value=_scipy("airy", 1)),
    Rule("airy_bi", "x", "airy_bip(x)", doc="Airy function Bi", value=_scipy("airy", 2)),
    Rule("airy_bip", "x", "x * airy_bi(x)", doc="derivative of Bi", value=_scipy("airy", 3)),
    # --- integrals of exponentials, sines and logarithms
    Rule("exp1", "x", "-exp(-x) / x", doc="exponential integral E1"),
    Rule("expi", "x", "exp(x) / x", doc="exponential integral Ei"),
    Rule("expn", "n x", UNKNOWN, "expn_slope(n, x)", doc="exponential integral En"),
    Rule("sine_integral", "x", "sinc(x / pi)", doc="Si", value=_scipy("sici", 0)),
    Rule("cosine_integral", "x", "cos(x) / x", doc="Ci", value=_scipy("sici", 1)),
    Rule("sinh_integral", "x", "0.5 * (exprel(x) + exprel(-x))", doc="Shi",
         value=_scipy("shichi", 0)),
    Rule("cosh_integral", "x", "cosh(x) / x", doc="Chi", value=_scipy("shichi", 1)),
    Rule("fresnel_s", "x", "sin(0.5 * pi * x * x)", doc="Fresnel's S", value=_scipy("fresnel", 0)),
    Rule("fresnel_c", "x", "cos(0.5 * pi * x * x)", doc="Fresnel's C", value=_scipy("fresnel", 1)),
    Rule("spence", "x", "spence_slope(x)", doc="dilogarithm of 1 - x"),
    # --- hypergeometric functions and elliptic integrals
    Rule("hyp0f1", "v x", UNKNOWN, "hyp0f1(v + 1, x) / v", doc="0F1"),
    Rule("hyp1f1", "a b x", UNKNOWN, UNKNOWN, "a / b * hyp1f1(a + 1, b + 1, x)", doc="1F1"),
    Rule("hyp2f1", "a b c x", UNKNOWN, UNKNOWN, UNKNOWN,
         "a * b / c * hyp2f1(a + 1, b + 1, c + 1, x)", doc="2F1"),
    Rule("hyperu", "a b x", UNKNOWN, UNKNOWN, "-a * hyperu(a + 1, b + 1, x)", doc="Tricomi's U"),
    Rule("ellipk", "m", "ellipk_slope(m, z)", doc="complete elliptic integral of the first kind"),
    Rule("ellipe", "m", "ellipe_slope(m, z)", doc="complete elliptic integral of the second kind"),
    # --- information, transformations, losses
    Rule("rel_entr", "x y", "log(x) - log(y) + 1", "-x / y", doc="x log(x / y)"),
    Rule("kl_div", "x y", "log(x) - log(y)", "1 - x / y", doc="x log(x / y) - x + y"),
    Rule("boxcox", "x lmbda", "x ** (lmbda - 1)",
         "log(x) ** 2 * 0.5 * hyp1f1(2.0, 3.0, lmbda * log(x))", doc="(x**λ - 1) / λ"),
    Rule("boxcox1p", "x lmbda", "(1 + x) ** (lmbda - 1)",
         "log1p(x) ** 2 * 0.5 * hyp1f1(2.0, 3.0, lmbda * log1p(x))", doc="boxcox(1 + x, λ)"),
    Rule("inv_boxcox", "y lmbda", "z ** (1 - lmbda)",
         "-(log(z) ** 2) * 0.5 * hyp1f1(2.0, 3.0, lmbda * log(z)) * z ** (1 - lmbda)",
         doc="x with boxcox(x, λ) = y"),
    Rule("inv_boxcox1p", "y lmbda", "(1 + z) ** (1 - lmbda)",
         "-(log1p(z) ** 2) * 0.5 * hyp1f1(2.0, 3.0, lmbda * log1p(z)) * (1 + z) ** (1 - lmbda)",
         doc="x with boxcox1p(x, λ) = y"),
    Rule("huber", "delta r", "where(abs(r) <= delta, 0.0, abs(r) - delta)",
         "where(abs(r) <= delta, r, delta * sign(r))", doc="Huber's loss"),
    Rule("pseudo_huber", "delta r",
         "2 * z / delta - (r / delta) ** 2 / sqrt(1 + (r / delta) ** 2) * delta",
         "r / sqrt(1 + (r / delta) ** 2)", doc="smooth Huber loss"),
    Rule("exp10", "x", "2.302585092994046 * z", doc="10**x"),
    Rule("exprel", "x", "0.5 * hyp1f1(2.0, 3.0, x)", doc="(exp(x) - 1) / x"),
    Rule("cosm1", "x", "-sin(x)", doc="cos(x) - 1"),
    Rule("lambertw", "x k", "exp(-z) / (1 + z)", UNKNOWN,
         doc="w with w exp(w) = x, of the real branches k = 0 and -1", value=_lambertw),
]  # fmt: skip
TABLE = {row.__name__: row for row in ROWS}
