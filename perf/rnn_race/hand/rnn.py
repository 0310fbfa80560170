"""h = tanh(x Wx + h Wh + b)."""

import math

import numpy as np
from numba import njit

from . import (
    FLAGS,
    add_outer,
    add_product,
    add_rows,
    losses,
    product_over_time,
    pull_back,
    pull_back_and_add_outer,
)


@njit(**FLAGS)
def forward(Wx, Wh, b, xs, hs):
    batch, H = hs.shape[1:]
    room = np.empty((batch, H), xs.dtype)
    for t in range(xs.shape[0]):
        for n in range(batch):
            for j in range(H):
                hs[t + 1, n, j] = b[j]
        add_product(xs, t, Wx, hs, t + 1, room)
        add_product(hs, t, Wh, hs, t + 1, room)
        for n in range(batch):
            for j in range(H):
                hs[t + 1, n, j] = math.tanh(hs[t + 1, n, j])


@njit(**FLAGS)
def gradient(weights, slopes, start, xs, every, apart, kept):
    """The loss; its derivatives by Wx, Wh and b are written to `slopes`."""
    (Wx, Wh, b), (dWx, dWh, db), (hs, adjoints) = weights, slopes, kept
    hs[0] = start
    forward(Wx, Wh, b, xs, hs)
    dh, room_x, room_h = np.zeros_like(start), np.empty_like(Wx), np.empty_like(Wh)
    dWx[:] = 0.0
    dWh[:] = 0.0
    db[:] = 0.0
    for t in range(xs.shape[0] - 1, -1, -1):
        two = type(dh[0, 0])(2.0 if every or t == xs.shape[0] - 1 else 0.0)
        for n in range(dh.shape[0]):
            for j in range(dh.shape[1]):
                h = hs[t + 1, n, j]
                adjoints[t, n, j] = (dh[n, j] + two * h) * (type(h)(1.0) - h * h)
        add_rows(adjoints, t, db)
        if apart:
            pull_back(Wh, adjoints, t, dh)
        else:
            add_outer(xs, adjoints, t, dWx, room_x)
            pull_back_and_add_outer(Wh, hs, adjoints, t, dh, dWh, room_h)
    if apart:
        product_over_time(xs, adjoints, dWx)
        product_over_time(hs, adjoints, dWh)
    return losses(hs, every)


def room(xs, H):
    """States and adjoints of the sums, of all steps."""
    steps, lengths = xs.shape[0], xs.shape[1:-1]
    return np.empty((steps + 1, *lengths, H), xs.dtype), np.empty((steps, *lengths, H), xs.dtype)
