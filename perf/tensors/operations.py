"""The operations: values and derivatives in plain NumPy, shapes and sizes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from . import INPUTS

SIZES = (1, 4, 16, 64, 256, 1024)
EXTENTS = (2, 4, 8, 16, 32, 64, 128, 256)
TOLERANCE = 1e-9
MOST, PROGRAM = 4096, 100_000  # operations in a program, and its work in nanoseconds, about


@dataclass(frozen=True)
class Operation:
    """`value(x[, y])`, and `vjp(w, z, x[, y])` with one derivative an operand."""

    name: str
    value: Callable
    vjp: Callable
    shapes: Callable  # size -> shapes of the operands
    work: Callable = lambda n: n  # about as many nanoseconds
    sizes: tuple[int, ...] = SIZES

    def operands(self, size):
        """INPUTS tuples of operands, none near a pole or far out."""
        draw = np.random.default_rng(size)
        shapes = self.shapes(size)
        return [tuple(draw.uniform(-1.0, 1.0, shape) for shape in shapes) for _ in range(INPUTS)]

    def count(self, size):
        """Operations in a program: many enough to hide what a call costs, and few enough for L2."""
        return max(8 * INPUTS if size < 128 else INPUTS, min(MOST, PROGRAM // self.work(size)))

    def expected(self, groups):
        """Values and derivatives, for an adjoint of one everywhere."""
        found = []
        for group in groups:
            z = self.value(*group)
            found.append((z, *self.vjp(np.ones(np.shape(z)), z, *group)))
        return [np.array(column) for column in zip(*found, strict=True)]


def one_vector(n):
    return ((n,),)


def two_vectors(n):
    return ((n,), (n,))


OPERATIONS = {
    op.name: op
    for op in [
        Operation("add", np.add, lambda w, z, x, y: (w, w), two_vectors),
        Operation("multiply", np.multiply, lambda w, z, x, y: (w * y, w * x), two_vectors),
        Operation("exp", np.exp, lambda w, z, x: (w * z,), one_vector),
        Operation("tanh", np.tanh, lambda w, z, x: (w * (1 - z * z),), one_vector),
        Operation("sigmoid", expit, lambda w, z, x: (w * z * (1 - z),), one_vector),
        Operation("sin", np.sin, lambda w, z, x: (w * np.cos(x),), one_vector),
        Operation(  # from 4 elements on: the sum of one is a view
            "sum", np.sum, lambda w, z, x: (np.full(x.shape, w),), one_vector, sizes=SIZES[1:]
        ),
        Operation(
            "matmul",
            np.matmul,
            lambda w, z, x, y: (w @ y.T, x.T @ w),
            lambda n: ((n, n), (n, n)),
            lambda n: n**3 // 4,
            EXTENTS,
        ),
        Operation(
            "mat-vec",
            np.matmul,
            lambda w, z, x, y: (np.outer(w, y), x.T @ w),
            lambda n: ((n, n), (n,)),
            lambda n: n * n // 2,
            EXTENTS,
        ),
    ]
}


def check(entry, expected, what):
    """Refuse a contestant whose values or derivatives are not those of NumPy."""
    for j, (found, wanted) in enumerate(zip(entry.found(), expected, strict=False)):
        a, b = np.asarray(found), np.asarray(wanted)
        if a.shape != b.shape or not np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE):
            part = f"its derivative {j}" if j else "its value"
            raise AssertionError(f"{entry.name} on {what}, {entry.task}: {part} is wrong")
