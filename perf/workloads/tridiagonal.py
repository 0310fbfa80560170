"""The Hessian of a chain of neighbours by three products (Curtis, Powell and Reid, 1974)."""

import numpy as np


def seeds(n):
    """Three vectors, each marking every third variable: no row meets two marked neighbours."""
    return [(np.arange(n) % 3 == colour).astype(float) for colour in range(3)]


def from_products(products):
    """Diagonal and subdiagonal from the Hessian times each of the seeds."""
    columns = np.arange(products[0].size)
    stacked = np.stack(products)
    return stacked[columns % 3, columns], stacked[columns[:-1] % 3, columns[1:]]


def rosenbrock(x):
    """Diagonal and subdiagonal for Rosenbrock's function, from the textbook."""
    diagonal = np.zeros(x.size)
    diagonal[:-1] = 1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0
    diagonal[1:] += 200.0
    return diagonal, -400.0 * x[:-1]
