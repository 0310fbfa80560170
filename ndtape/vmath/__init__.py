"""One mathematics for every path: scalar sweeps, packs, the compiled recorder, later native code.

All functions are kernels: the same text makes the scalar and the pack form, hence equal bits (the
payload of a nan apart).  Errors are at most 2 ulp over all of float64; the exceptions are where
terms cancel near zeros of gammaln, digamma and even polygamma left of 0, and logaddexp below
1/64 (there its error is at most 2**-58).
"""

from .exp import cosh, exp, exp2, expm1, sigmoid, sinh, tanh
from .lanes import ceil, copysign, fabs, floor, fma, rint, round32, select, sqrt, trunc
from .log import (
    arccosh,
    arcsinh,
    arctanh,
    cbrt,
    hypot,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    power,
    softplus,
)
from .rounding import (
    floor_divide,
    fmax,
    fmin,
    isfinite,
    isinf,
    isnan,
    maximum,
    minimum,
    mod,
    mz,
    sign,
)
from .special import digamma, erf, erfc, gammaln, polygamma
from .trig import arccos, arcsin, arctan, arctan2, cos, sin, sincos, tan
from .value import FINGERPRINT

__all__ = [
    "FINGERPRINT",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "cbrt",
    "ceil",
    "copysign",
    "cos",
    "cosh",
    "digamma",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "floor",
    "floor_divide",
    "fma",
    "fmax",
    "fmin",
    "gammaln",
    "hypot",
    "isfinite",
    "isinf",
    "isnan",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "maximum",
    "minimum",
    "mod",
    "mz",
    "polygamma",
    "power",
    "rint",
    "round32",
    "select",
    "sigmoid",
    "sign",
    "sin",
    "sincos",
    "sinh",
    "softplus",
    "sqrt",
    "tan",
    "tanh",
    "trunc",
]
