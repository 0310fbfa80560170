"""The same programs by hand: a loop for each operation, all inside one compiled function.

Transcendental functions are those of the C library, as `math` has them under Numba.
"""

import math
from functools import cache

import numpy as np
from numba import njit

from . import INPUTS, SWEPT, SWEPT_GRADIENT, Contestant

PACKAGES = ("numba", "llvmlite")
LARGEST = 64  # rows of a matrix; beyond it nobody writes the loop by hand
compiled = njit(error_model="numpy")


@compiled
def logistic(x):
    return 1.0 / (1.0 + math.exp(-x))


@cache
def unary(name):
    f, slope = {
        "exp": (compiled(lambda x: math.exp(x)), compiled(lambda x, z: z)),
        "tanh": (compiled(lambda x: math.tanh(x)), compiled(lambda x, z: 1.0 - z * z)),
        "sigmoid": (logistic, compiled(lambda x, z: z * (1.0 - z))),
        "sin": (compiled(lambda x: math.sin(x)), compiled(lambda x, z: math.cos(x))),
    }[name]

    @compiled
    def forward(x, z):
        for k in range(len(z)):
            here, out = x[k % INPUTS], z[k]
            for j in range(len(out)):
                out[j] = f(here[j])

    @compiled
    def reverse(x, z, w, gx):
        gx[:] = 0.0
        for k in range(len(z) - 1, -1, -1):
            here, out, adjoint, g = x[k % INPUTS], z[k], w[k], gx[k % INPUTS]
            for j in range(len(out)):
                g[j] += adjoint[j] * slope(here[j], out[j])

    return forward, reverse


@compiled
def add(x, y, z):
    for k in range(len(z)):
        left, right, out = x[k % INPUTS], y[k % INPUTS], z[k]
        for j in range(len(out)):
            out[j] = left[j] + right[j]


@compiled
def add_reverse(x, y, z, w, gx, gy):
    gx[:] = 0.0
    gy[:] = 0.0
    for k in range(len(z) - 1, -1, -1):
        adjoint, g, h = w[k], gx[k % INPUTS], gy[k % INPUTS]
        for j in range(len(adjoint)):
            g[j] += adjoint[j]
        for j in range(len(adjoint)):
            h[j] += adjoint[j]


@compiled
def multiply(x, y, z):
    for k in range(len(z)):
        left, right, out = x[k % INPUTS], y[k % INPUTS], z[k]
        for j in range(len(out)):
            out[j] = left[j] * right[j]


@compiled
def multiply_reverse(x, y, z, w, gx, gy):
    gx[:] = 0.0
    gy[:] = 0.0
    for k in range(len(z) - 1, -1, -1):
        left, right, adjoint = x[k % INPUTS], y[k % INPUTS], w[k]
        g, h = gx[k % INPUTS], gy[k % INPUTS]
        for j in range(len(adjoint)):
            g[j] += adjoint[j] * right[j]
        for j in range(len(adjoint)):
            h[j] += adjoint[j] * left[j]


@compiled
def total(x, z):
    for k in range(len(z)):
        here = x[k % INPUTS]
        result = 0.0
        for j in range(len(here)):
            result += here[j]
        z[k] = result


@compiled
def total_reverse(x, z, w, gx):
    gx[:] = 0.0
    for k in range(len(z) - 1, -1, -1):
        g = gx[k % INPUTS]
        for j in range(len(g)):
            g[j] += w[k]


@compiled
def matmul(x, y, z):
    for k in range(len(z)):
        left, right, out = x[k % INPUTS], y[k % INPUTS], z[k]
        for i in range(left.shape[0]):
            out[i] = 0.0
            for p in range(left.shape[1]):
                for j in range(right.shape[1]):
                    out[i, j] += left[i, p] * right[p, j]


@compiled
def matmul_reverse(x, y, z, w, gx, gy):
    gx[:] = 0.0
    gy[:] = 0.0
    for k in range(len(z) - 1, -1, -1):
        left, right, adjoint = x[k % INPUTS], y[k % INPUTS], w[k]
        g, h = gx[k % INPUTS], gy[k % INPUTS]
        for i in range(left.shape[0]):
            for p in range(left.shape[1]):
                dot = 0.0
                for j in range(right.shape[1]):
                    dot += adjoint[i, j] * right[p, j]
                    h[p, j] += adjoint[i, j] * left[i, p]
                g[i, p] += dot


@compiled
def matvec(x, y, z):
    for k in range(len(z)):
        left, right, out = x[k % INPUTS], y[k % INPUTS], z[k]
        for i in range(left.shape[0]):
            dot = 0.0
            for p in range(left.shape[1]):
                dot += left[i, p] * right[p]
            out[i] = dot


@compiled
def matvec_reverse(x, y, z, w, gx, gy):
    gx[:] = 0.0
    gy[:] = 0.0
    for k in range(len(z) - 1, -1, -1):
        left, right, adjoint = x[k % INPUTS], y[k % INPUTS], w[k]
        g, h = gx[k % INPUTS], gy[k % INPUTS]
        for i in range(left.shape[0]):
            for p in range(left.shape[1]):
                g[i, p] += adjoint[i] * right[p]
                h[p] += adjoint[i] * left[i, p]


LOOPS = {
    "add": (add, add_reverse),
    "multiply": (multiply, multiply_reverse),
    "sum": (total, total_reverse),
    "matmul": (matmul, matmul_reverse),
    "mat-vec": (matvec, matvec_reverse),
}


def contestants(operation, size):
    if operation.name.startswith("mat") and size > LARGEST:
        return
    forward, reverse = LOOPS.get(operation.name) or unary(operation.name)
    groups = operation.operands(size)
    operands = [np.array(column) for column in zip(*groups, strict=True)]
    count = operation.count(size) // INPUTS * INPUTS
    z = np.zeros((count, *np.shape(operation.value(*groups[0]))))
    w, gradients = np.ones(z.shape), [np.zeros(x.shape) for x in operands]

    def differentiate():
        forward(*operands, z)
        reverse(*operands, z, w, *gradients)

    def values():
        z[:] = 0.0
        forward(*operands, z)
        return [z[:INPUTS].copy()]

    def derivatives():
        differentiate()
        return values() + [g / (count / INPUTS) for g in gradients]

    yield Contestant("hand Numba", SWEPT, lambda: forward(*operands, z), count, values)
    yield Contestant("hand Numba", SWEPT_GRADIENT, differentiate, count, derivatives)
