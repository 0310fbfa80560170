"""Kernels of `terms`: sums of scalars and of products of two, added up from left to right.

The values have the bits of the additions that a `terms` stands for.  Reverse goes from the last
term to the first, as the sweep through those additions would.
"""

from __future__ import annotations

from ..nest import BODY, FIXED, KIND_WORD, PLAIN, PRODUCT, SCALED, TERM
from .walk import OUT, G, H, K, T, V, at, descriptor, floats, kernel, operand, part

NOTHING = -0.0  # -0 + x is x for every x, also for 0 and -0


@part
def _times(w, d):
    """An adjoint or a tangent times a partial derivative: 0 where w is 0, whatever d."""
    return 0.0 if w == 0.0 else w * d


@kernel
def terms_forward(frame, i, end):
    """z = x * y + u * 2 - s ..."""
    words, v, k = descriptor(frame, i), floats(at(frame, V, 0)), floats(at(frame, K, 0))
    z, place = NOTHING, BODY
    for _ in range(words[KIND_WORD]):
        kind, p, q = words[place], words[place + 1], words[place + 2]
        if kind == PRODUCT:
            z += v[p] * v[q]
        elif kind == PRODUCT + 1:
            z -= v[p] * v[q]
        elif kind == SCALED:
            z += k[q] * v[p]
        elif kind == SCALED + 1:
            z -= k[q] * v[p]
        elif kind == PLAIN:
            z += v[p]
        elif kind == PLAIN + 1:
            z -= v[p]
        elif kind == FIXED:
            z += k[q]
        else:
            z -= k[q]
        place += TERM
    v[operand(frame, OUT, i)] = z
    return 0


@kernel
def terms_reverse(frame, i, end):
    """g[x] += w * y; g[y] += w * x ..., from the last term to the first."""
    words, v, k = descriptor(frame, i), floats(at(frame, V, 0)), floats(at(frame, K, 0))
    g = floats(at(frame, G, 0))
    w = g[operand(frame, OUT, i)]
    if w == 0.0:
        return 0
    count = words[KIND_WORD]
    place = BODY + TERM * count
    for _ in range(count):
        place -= TERM
        kind, p, q = words[place], words[place + 1], words[place + 2]
        d = -w if kind & 1 else w
        if kind >= FIXED:
            continue
        if kind >= SCALED:
            g[p] += d * k[q]
        elif kind >= PRODUCT:
            x, y = v[p], v[q]
            g[p] += d * y
            g[q] += d * x
        else:
            g[p] += d
    return 0


@kernel
def terms_tangent(frame, i, end):
    """The sum of the tangents of the terms."""
    words, v, k = descriptor(frame, i), floats(at(frame, V, 0)), floats(at(frame, K, 0))
    t = floats(at(frame, T, 0))
    z, place = NOTHING, BODY
    for _ in range(words[KIND_WORD]):
        kind, p, q = words[place], words[place + 1], words[place + 2]
        place += TERM
        if kind >= FIXED:
            continue
        d = t[p]
        if kind >= SCALED:
            d = _times(d, k[q])
        elif kind >= PRODUCT:
            d = _times(d, v[q]) + _times(t[q], v[p])
        z += -d if kind & 1 else d
    t[operand(frame, OUT, i)] = z
    return 0


@kernel
def terms_second(frame, i, end):
    """Adjoints and their tangents."""
    words, v, k = descriptor(frame, i), floats(at(frame, V, 0)), floats(at(frame, K, 0))
    g, t, h = floats(at(frame, G, 0)), floats(at(frame, T, 0)), floats(at(frame, H, 0))
    r = operand(frame, OUT, i)
    w, wt = g[r], h[r]
    if w == 0.0 and wt == 0.0:
        return 0
    count = words[KIND_WORD]
    place = BODY + TERM * count
    for _ in range(count):
        place -= TERM
        kind, p, q = words[place], words[place + 1], words[place + 2]
        d, dt = (-w, -wt) if kind & 1 else (w, wt)
        if kind >= FIXED:
            continue
        if kind >= SCALED:
            g[p] += _times(d, k[q])
            h[p] += _times(dt, k[q])
        elif kind >= PRODUCT:
            x, y = v[p], v[q]
            g[p] += _times(d, y)
            h[p] += _times(dt, y) + _times(d, t[q])
            g[q] += _times(d, x)
            h[q] += _times(dt, x) + _times(d, t[p])
        else:
            g[p] += d
            h[p] += dt
    return 0
