"""i, f, o = σ(sums), g = tanh(sums), c = f∘c + i∘g, h = o∘tanh(c) with sums = x Wx + h Wh + b."""

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
def forward(Wx, Wh, b, xs, hs, cs, gates):
    """`gates` keeps i, f, g, o and the hyperbolic tangent of c."""
    batch, H = hs.shape[1:]
    sums = np.empty((1, batch, 4 * H), xs.dtype)
    room = np.empty_like(sums[0])
    for t in range(xs.shape[0]):
        for n in range(batch):
            for j in range(4 * H):
                sums[0, n, j] = b[j]
        add_product(xs, t, Wx, sums, 0, room)
        add_product(hs, t, Wh, sums, 0, room)
        for n in range(batch):
            for j in range(H):
                i, f = sigmoid(sums[0, n, j]), sigmoid(sums[0, n, H + j])
                g, o = math.tanh(sums[0, n, 2 * H + j]), sigmoid(sums[0, n, 3 * H + j])
                cs[t + 1, n, j] = f * cs[t, n, j] + i * g
                squashed = math.tanh(cs[t + 1, n, j])
                hs[t + 1, n, j] = o * squashed
                gates[t, n, j] = i
                gates[t, n, H + j] = f
                gates[t, n, 2 * H + j] = g
                gates[t, n, 3 * H + j] = o
                gates[t, n, 4 * H + j] = squashed


@njit(**FLAGS)
def step_back(cs, t, gates, dh, dc, adjoints):
    """The adjoints of the sums; `dc` becomes that of the cell before this step."""
    batch, H = dc.shape
    one = type(dc[0, 0])(1.0)
    for n in range(batch):
        for j in range(H):
            i, f, g = gates[t, n, j], gates[t, n, H + j], gates[t, n, 2 * H + j]
            o, squashed = gates[t, n, 3 * H + j], gates[t, n, 4 * H + j]
            slope = dc[n, j] + dh[n, j] * o * (one - squashed * squashed)
            adjoints[t, n, j] = slope * g * i * (one - i)
            adjoints[t, n, H + j] = slope * cs[t, n, j] * f * (one - f)
            adjoints[t, n, 2 * H + j] = slope * i * (one - g * g)
            adjoints[t, n, 3 * H + j] = dh[n, j] * squashed * o * (one - o)
            dc[n, j] = slope * f


@njit(**FLAGS)
def gradient(weights, slopes, start, xs, every, apart, kept):
    """The loss; its derivatives by Wx, Wh and b are written to `slopes`."""
    (Wx, Wh, b), (dWx, dWh, db), (hs, cs, gates, adjoints) = weights, slopes, kept
    hs[0], cs[0] = start
    forward(Wx, Wh, b, xs, hs, cs, gates)
    dh, dc = np.zeros_like(hs[0]), np.zeros_like(hs[0])
    room_x, room_h = np.empty_like(Wx), np.empty_like(Wh)
    dWx[:] = 0.0
    dWh[:] = 0.0
    db[:] = 0.0
    for t in range(xs.shape[0] - 1, -1, -1):
        if every or t == xs.shape[0] - 1:
            add_twice(hs, t + 1, dh)
        step_back(cs, t, gates, dh, dc, adjoints)
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
    """States, cells, gates and adjoints, of all steps."""
    steps, lengths = xs.shape[0], xs.shape[1:-1]
    sizes = [(steps + 1, H), (steps + 1, H), (steps, 5 * H), (steps, 4 * H)]
    return tuple(np.empty((n, *lengths, width), xs.dtype) for n, width in sizes)
