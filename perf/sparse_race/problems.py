"""What is raced: `tridiagonal_100000_jacobian`, `cart_pole_51_hessian`, and who must agree."""

import re
from functools import cached_property

import numpy as np
from rnn_race.problems import POINTS
from scipy import sparse

from . import programs

NAME = re.compile(r"(tridiagonal|scalars|arrow|grid|cart_pole)_(\d+)_(jacobian|hessian)")
AGREED = 1e-9
TITLES = {
    "tridiagonal": "tridiagonal, n = {}",
    "scalars": "tridiagonal by a loop over scalars, n = {}",
    "arrow": "arrow, n = {}",
    "grid": "grid of {0} by {0}",
    "cart_pole": "cart and pole, {} knots",
}


class Problem:
    """A function of one vector; `size` is its length, the side of a grid or a number of knots."""

    dtype = "float64"
    unit, scale = "ms", 1e3

    def __init__(self, kind, size, task):
        self.kind, self.size, self.task = kind, size, task
        self.name = f"{kind}_{size}_{task}"
        self.table = programs.JACOBIANS if task == "jacobian" else programs.HESSIANS
        if kind not in self.table:
            raise ValueError(f"there is no {task} of {kind!r}, but of {', '.join(self.table)}")
        self.unknowns = {"grid": size * size, "cart_pole": 5 * size}.get(kind, size)
        self.expected = {}

    @property
    def title(self):
        return TITLES[self.kind].format(self.size)

    @property
    def description(self):
        keys = ("kind", "size", "task", "unknowns", "dtype")
        return {"row": self.name, **{key: getattr(self, key) for key in keys}}

    @cached_property
    def points(self):
        x = 0.5 + 0.4 * np.sin(np.arange(self.unknowns))
        return [x * (1 + 1e-3 * k) for k in range(POINTS)]

    def program(self, module=programs):
        return getattr(module, self.table[self.kind].__name__)

    def check(self, who, point, matrix):
        """Raises AssertionError where a matrix is not that of the first one to come here.

        A sparse one must have the same entries, whatever their values; a dense one must be 0 where
        the first has none.
        """
        first, wanted = self.expected.setdefault(point, (who, canonical(matrix)))
        if sparse.issparse(matrix):
            found = canonical(matrix)
            if not same_pattern(found, wanted):
                raise AssertionError(
                    f"{who}, {self.name}: {found.nnz} entries are not the {wanted.nnz} of {first}"
                )
            apart, size = np.abs(found.data - wanted.data), np.abs(wanted.data)
        else:
            apart, size = np.abs(np.asarray(matrix) - wanted.toarray()), np.abs(wanted.data)
        found = np.max(apart) / np.max(size)
        if not found < AGREED:
            raise AssertionError(f"{who}, {self.name}: {found:.1e} from {first}")


def canonical(matrix):
    """Rows one after another, columns in order, nothing twice; zeros that are stored stay."""
    matrix = sparse.csr_array(matrix)
    matrix.sum_duplicates()
    return matrix


def same_pattern(a, b):
    return (
        a.shape == b.shape
        and np.array_equal(a.indptr, b.indptr)
        and np.array_equal(a.indices, b.indices)
    )


def problem(name):
    """The problem of such a name."""
    found = NAME.fullmatch(name)
    if not found:
        raise ValueError(f"{name!r} is no row: they are named like tridiagonal_100000_jacobian")
    kind, size, task = found.groups()
    return Problem(kind, int(size), task)
