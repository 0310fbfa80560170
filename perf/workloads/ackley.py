"""Ackley's function of n variables, with a = 20, b = 0.2, c = 2π."""

import math

import numpy as np

A, B, C = 20.0, 0.2, 2.0 * math.pi


def loop(x):
    n = len(x)
    squares = cosines = 0.0
    for i in range(n):
        squares += x[i] ** 2
        cosines += np.cos(C * x[i])
    return -A * np.exp(-B * np.sqrt(squares / n)) - np.exp(cosines / n) + A + math.e


def vector(x):
    n = len(x)
    norm = np.sqrt((x**2).sum() / n)
    return -A * np.exp(-B * norm) - np.exp(np.cos(C * x).sum() / n) + A + math.e
