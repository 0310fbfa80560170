"""One mathematics for every path: scalar sweeps, packs, the compiled recorder, later native code."""

from __future__ import annotations

import math

from .lanes import *  # noqa: F403
from .lanes import any_lane, bits, copysign, fabs, floor, fma, from_bits, rint, select, sqrt, trunc
from .vmath_exp import cosh, exp, exp2, expm1, sigmoid, sinh, tanh
from .vmath_kernel import FINGERPRINT, kernel, libm, when
from .vmath_log import arccosh, arcsinh, arctanh, cbrt, hypot, log, log1p, log2, log10, power
from .vmath_trig import arccos, arcsin, arctan, arctan2, cos, sin, sincos, tan

def _libm(name, cname, n=1):
    def text(*args):
        return libm(cname, *args)
    text.__name__ = name
    return kernel(",".join("f" * n) + ":f", code="call")(text)

erf = _libm("erf", "erf")
erfc = _libm("erfc", "erfc")
gammaln = _libm("gammaln", "lgamma")
_fmod = _libm("fmod", "fmod", 2)

@kernel("f:f")
def softplus(x):
    return select(x > 0.0, x, select(x == x, 0.0, x)) + log1p(exp(-fabs(x)))

@kernel("f,f:f")
def logaddexp(x, y):
    d = select(x == y, 0.0, x - y)
    return select(x > y, x, y) + log1p(exp(-fabs(d)))

@kernel("f,f:f", code="emit")
def mz(w, d):
    return select(w == 0.0, 0.0, w * d)

@kernel("f:m", code="emit")
def isnan(x):
    return x != x

@kernel("f:m", code="emit")
def isinf(x):
    return fabs(x) == math.inf

@kernel("f:m", code="emit")
def isfinite(x):
    return fabs(x) < math.inf

@kernel("f:f", code="emit")
def sign(x):
    return select(x > 0.0, 1.0, select(x < 0.0, -1.0, select(x == 0.0, 0.0, x)))

@kernel("f,f:f", code="emit")
def fmax(x, y):
    return select((x >= y) | (y != y), x, y)

@kernel("f,f:f", code="emit")
def fmin(x, y):
    return select((x <= y) | (y != y), x, y)

@kernel("f,f:f", code="emit")
def maximum(x, y):
    return select((x >= y) | (x != x), x, y)

@kernel("f,f:f", code="emit")
def minimum(x, y):
    return select((x <= y) | (x != x), x, y)

@kernel("f,f:f", code="call")
def mod(x, y):
    r = _fmod(x, y)
    shifted = select((r != 0.0) & ((r < 0.0) != (y < 0.0)), r + y, r)
    return select(shifted == 0.0, copysign(0.0, y), shifted)

@kernel("f,f:f", code="call")
def floor_divide(x, y):
    m = _fmod(x, y)
    q = (x - m) / y
    q = select((m != 0.0) & ((m < 0.0) != (y < 0.0)), q - 1.0, q)
    f = floor(q)
    f = select(q - f > 0.5, f + 1.0, f)
    f = select(q == 0.0, copysign(0.0, x / y), f)
    return select(y == 0.0, x / y, f)

@kernel("f:f", code="call", lanewise=True)
def digamma(x):
    s = x * 0.0
    for _ in range(10):
        s = s - select(x < 10.0, 1.0 / x, 0.0)
        x = select(x < 10.0, x + 1.0, x)
    z = 1.0 / (x * x)
    p = 1/12 - z*(1/120 - z*(1/252 - z*(1/240 - z*(1/132))))
    return s + log(x) - 0.5 / x - z * p

@kernel("f,f:f", code="call", lanewise=True)
def polygamma(n, x):
    return digamma(x)
