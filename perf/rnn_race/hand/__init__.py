"""Back-propagation through time written by hand, compiled by Numba: the loops of a careful author.

For each cell two loops: `apart` = False adds the outer products to the gradient of the weights
step by step, in the same pass over the matrix that propagates the adjoint; `apart` = True keeps
the adjoints of all steps and forms each weight gradient as one matrix product behind the loop.
Weights are (inputs, outputs) here, so that all inner loops run over consecutive numbers; sequences
are (steps, batch, units). Batches that are large enough use BLAS in every step. Helpers get whole
arrays and the number of a step: a view for each step would cost as much as small loops do.
"""

import math

import numpy as np
from numba import njit

FLAGS = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}, "cache": True}
WORTH_BLAS = 4096  # multiplications of one product, in a batch


@njit(**FLAGS)
def sigmoid(x):
    return type(x)(1.0) / (type(x)(1.0) + math.exp(-x))


@njit(**FLAGS)
def is_large(batch, W):
    return batch > 1 and batch * W.size >= WORTH_BLAS


@njit(**FLAGS)
def add_product(xs, t, W, out, s, room):
    """out[s] += xs[t] W; `room` is as large as out[s]."""
    if is_large(xs.shape[1], W):
        np.dot(xs[t], W, room)
        for n in range(room.shape[0]):
            for j in range(room.shape[1]):
                out[s, n, j] += room[n, j]
        return
    for n in range(xs.shape[1]):
        for p in range(xs.shape[2]):
            factor = xs[t, n, p]
            for j in range(W.shape[1]):
                out[s, n, j] += factor * W[p, j]


@njit(**FLAGS)
def pull_back(W, adjoints, t, out):
    """out = adjoints[t] Wᵀ."""
    if is_large(out.shape[0], W):
        np.dot(adjoints[t], W.T, out)
        return
    for n in range(out.shape[0]):
        for p in range(W.shape[0]):
            total = type(out[0, 0])(0.0)
            for j in range(W.shape[1]):
                total += W[p, j] * adjoints[t, n, j]
            out[n, p] = total


@njit(**FLAGS)
def add_outer(xs, adjoints, t, slope, room):
    """slope += xs[t]ᵀ adjoints[t]; `room` is as large as `slope`."""
    if is_large(xs.shape[1], slope):
        np.dot(xs[t].T, adjoints[t], room)
        for p in range(slope.shape[0]):
            for j in range(slope.shape[1]):
                slope[p, j] += room[p, j]
        return
    for n in range(xs.shape[1]):
        for p in range(xs.shape[2]):
            factor = xs[t, n, p]
            for j in range(slope.shape[1]):
                slope[p, j] += factor * adjoints[t, n, j]


@njit(**FLAGS)
def pull_back_and_add_outer(W, hs, adjoints, t, out, slope, room):
    """Both, in one pass over the rows of W and slope where that is possible."""
    if out.shape[0] > 1:
        pull_back(W, adjoints, t, out)
        add_outer(hs, adjoints, t, slope, room)
        return
    for p in range(W.shape[0]):
        factor = hs[t, 0, p]
        total = type(factor)(0.0)
        for j in range(W.shape[1]):
            total += W[p, j] * adjoints[t, 0, j]
        for j in range(W.shape[1]):
            slope[p, j] += factor * adjoints[t, 0, j]
        out[0, p] = total


@njit(**FLAGS)
def add_rows(adjoints, t, slope):
    """slope += the sum of adjoints[t] over the batch."""
    for n in range(adjoints.shape[1]):
        for j in range(slope.size):
            slope[j] += adjoints[t, n, j]


@njit(**FLAGS)
def add_twice(hs, t, out):
    """out += 2 hs[t]: the derivative of the sum of squares."""
    for n in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[n, j] += type(out[0, 0])(2.0) * hs[t, n, j]


@njit(**FLAGS)
def product_over_time(xs, adjoints, out):
    """out = Σ xs[t]ᵀ adjoints[t], as one product."""
    steps, batch, width = adjoints.shape
    left = xs[:steps].reshape(steps * batch, xs.shape[2])
    np.dot(left.T, adjoints.reshape(steps * batch, width), out)


@njit(**FLAGS)
def losses(hs, every):
    """The sum of squares of the states behind the first one, or of the last one."""
    total = 0.0
    for t in range(1 if every else hs.shape[0] - 1, hs.shape[0]):
        for n in range(hs.shape[1]):
            for j in range(hs.shape[2]):
                total += hs[t, n, j] * hs[t, n, j]
    return total
