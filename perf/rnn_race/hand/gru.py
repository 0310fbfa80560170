"""r, z = σ(fed + kept), n = tanh(fed + r∘kept), h = (1 − z)∘n + z∘h with fed, kept from x, h."""

import math

import numpy as np
from numba import njit

from . import (
    FLAGS,
    add_outer,
    add_product,
    add_rows,
    add_twice,
    losses,
    product_over_time,
    pull_back,
    pull_back_and_add_outer,
    sigmoid,
)


@njit(**FLAGS)
def forward(Wx, Wh, bx, bh, xs, hs, gates):
    """`gates` keeps r, z, n and what n takes from the state before it is multiplied by r."""
    batch, H = hs.shape[1:]
    fed = np.empty((1, batch, 3 * H), xs.dtype)
    kept, room = np.empty_like(fed), np.empty_like(fed[0])
    for t in range(xs.shape[0]):
        for k in range(batch):
            for j in range(3 * H):
                fed[0, k, j] = bx[j]
                kept[0, k, j] = bh[j]
        add_product(xs, t, Wx, fed, 0, room)
        add_product(hs, t, Wh, kept, 0, room)
        for k in range(batch):
            for j in range(H):
                r = sigmoid(fed[0, k, j] + kept[0, k, j])
                z = sigmoid(fed[0, k, H + j] + kept[0, k, H + j])
                n = math.tanh(fed[0, k, 2 * H + j] + r * kept[0, k, 2 * H + j])
                hs[t + 1, k, j] = n + z * (hs[t, k, j] - n)
                gates[t, k, j] = r
                gates[t, k, H + j] = z
                gates[t, k, 2 * H + j] = n
                gates[t, k, 3 * H + j] = kept[0, k, 2 * H + j]


@njit(**FLAGS)
def step_back(hs, t, gates, dh, fed, kept):
    """Adjoints of the sums fed by x and kept from h; `dh` becomes its part that passes z."""
    batch, H = dh.shape
    one = type(dh[0, 0])(1.0)
    for k in range(batch):
        for j in range(H):
            r, z, n = gates[t, k, j], gates[t, k, H + j], gates[t, k, 2 * H + j]
            dn = dh[k, j] * (one - z) * (one - n * n)
            dr = dn * gates[t, k, 3 * H + j] * r * (one - r)
            dz = dh[k, j] * (hs[t, k, j] - n) * z * (one - z)
            fed[t, k, j] = dr
            kept[t, k, j] = dr
            fed[t, k, H + j] = dz
            kept[t, k, H + j] = dz
            fed[t, k, 2 * H + j] = dn
            kept[t, k, 2 * H + j] = dn * r
            dh[k, j] *= z


@njit(**FLAGS)
def gradient(weights, slopes, start, xs, every, apart, kept):
    """The loss; its derivatives by Wx, Wh, bx and bh are written to `slopes`."""
    (Wx, Wh, bx, bh), (dWx, dWh, dbx, dbh) = weights, slopes
    hs, gates, fed, kept_sums = kept
    hs[0] = start
    forward(Wx, Wh, bx, bh, xs, hs, gates)
    dh, passed = np.zeros_like(start), np.empty_like(start)
    room_x, room_h = np.empty_like(Wx), np.empty_like(Wh)
    dWx[:] = 0.0
    dWh[:] = 0.0
    dbx[:] = 0.0
    dbh[:] = 0.0
    for t in range(xs.shape[0] - 1, -1, -1):
        if every or t == xs.shape[0] - 1:
            add_twice(hs, t + 1, dh)
        step_back(hs, t, gates, dh, fed, kept_sums)
        add_rows(fed, t, dbx)
        add_rows(kept_sums, t, dbh)
        if apart:
            pull_back(Wh, kept_sums, t, passed)
        else:
            add_outer(xs, fed, t, dWx, room_x)
            pull_back_and_add_outer(Wh, hs, kept_sums, t, passed, dWh, room_h)
        for k in range(dh.shape[0]):
            for j in range(dh.shape[1]):
                dh[k, j] += passed[k, j]
    if apart:
        product_over_time(xs, fed, dWx)
        product_over_time(hs, kept_sums, dWh)
    return losses(hs, every)


def room(xs, H):
    """States, gates and two kinds of adjoints, of all steps."""
    steps, lengths = xs.shape[0], xs.shape[1:-1]
    sizes = [(steps + 1, H), (steps, 4 * H), (steps, 3 * H), (steps, 3 * H)]
    return tuple(np.empty((n, *lengths, width), xs.dtype) for n, width in sizes)
