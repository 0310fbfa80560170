"""The same programs in CasADi: equal patterns, and equal numbers in them."""

import types
from functools import partial

import numpy as np
import pytest

import ndtape as nt

casadi = pytest.importorskip("casadi", reason="CasADi is not installed")

OURS = types.SimpleNamespace(sin=nt.sin, cos=nt.cos, exp=nt.exp, sqrt=nt.sqrt, vector=nt.array)
THEIRS = types.SimpleNamespace(
    sin=casadi.sin, cos=casadi.cos, exp=casadi.exp, sqrt=casadi.sqrt,
    vector=lambda values: casadi.vertcat(*values),
)  # fmt: skip

N = 24


def tridiagonal(m, x):
    """Bratu's problem by finite differences."""
    inner = [x[i - 1] - 2.0 * x[i] + x[i + 1] + 0.1 * m.exp(x[i]) for i in range(1, N - 1)]
    return m.vector([x[0] - 1.0, *inner, x[N - 1] * x[N - 2]])


def arrow(m, x):
    """Every unknown is coupled to the first one."""
    total = x[0] * x[0]
    for i in range(1, N):
        total = total + m.sin(x[i]) * x[0]
    return m.vector([total, *[x[i] * x[i] - m.exp(x[0]) for i in range(1, N)]])


def plane(m, x):
    """Five-point differences on a grid of 6 by 4."""
    rows = []
    for i in range(N):
        y = 4.0 * x[i] + x[i] * x[i] * x[i]
        for j in (i - 1, i + 1, i - 6, i + 6):
            if 0 <= j < N and (abs(i - j) == 6 or i // 6 == j // 6):
                y = y - x[j]
        rows.append(y)
    return m.vector(rows)


def cart_pole(m, x):
    """Defects of trapezoidal collocation: five points of four states and a force."""
    points = [x[5 * k : 5 * k + 5] if m is OURS else [x[5 * k + j] for j in range(5)]
              for k in range(4)]  # fmt: skip
    slopes = []
    for p in points:
        _, angle, speed, turn, force = (p[j] for j in range(5))
        s, c = m.sin(angle), m.cos(angle)
        below = 1.0 + 0.3 * (1.0 - c * c)
        push = (0.5 * 0.3 * s * turn * turn + force + 0.3 * 9.81 * c * s) / below
        swing = -(0.15 * c * s * turn * turn + force * c + 12.753 * s) / (0.5 * below)
        slopes.append([speed, turn, push, swing])
    rows = []
    for k in range(3):
        for j, state in enumerate((0, 1, 2, 3)):
            rows.append(
                points[k + 1][state] - points[k][state] - 0.05 * (slopes[k][j] + slopes[k + 1][j])
            )
    return m.vector(rows)


def rosenbrock(m, x):
    total = 0.0
    for i in range(N - 1):
        a, b = x[i + 1] - x[i] * x[i], 1.0 - x[i]
        total = total + 100.0 * (a * a) + b * b
    return total


def surface(m, x):
    """Area of a minimal surface over a grid of 6 by 4."""
    total = 0.0
    for i in range(3):
        for j in range(5):
            here = x[6 * i + j]
            right, down = x[6 * i + j + 1] - here, x[6 * i + 6 + j] - here
            total = total + m.sqrt(1.0 + right * right + down * down)
    return total


def star(m, x):
    total = 0.0
    for i in range(1, N):
        total = total + m.sin(x[0] * x[i])
    return total


def lagrangian(m, x):
    defects = cart_pole(m, x)
    total = 0.0
    for i in range(12):
        total = total + (1.0 + 0.1 * i) * defects[i]
    return total + x[4] * x[4] + x[9] * x[9]


def partly_separable(m, x):
    """Terms of different kinds: linear, bilinear, of one variable, and none."""
    return x[0] + x[1] * x[2] + m.exp(x[3]) + m.sqrt(x[4] + x[5]) / x[6] + m.cos(x[7] - x[8]) * 2.0


POINT = np.random.default_rng(3).uniform(0.4, 1.2, N)
PROBLEMS = {
    "jacobian": [tridiagonal, arrow, plane, cart_pole],
    "hessian": [rosenbrock, surface, star, lagrangian, partly_separable],
}


def theirs(f, of):
    """CasADi's sparse matrix at the point: rows, columns, numbers, by rows."""
    x = casadi.SX.sym("x", N)
    y = f(THEIRS, x)
    matrix = casadi.jacobian(y, x) if of == "jacobian" else casadi.hessian(y, x)[0]
    found = casadi.Function("f", [x], [matrix])(POINT)
    rows, columns = found.sparsity().get_triplet()
    order = np.lexsort((columns, rows))
    numbers = np.array(found.nonzeros())[order]
    return np.array(rows)[order], np.array(columns)[order], numbers


@pytest.mark.parametrize(
    ("of", "f"), [(of, f) for of, problems in PROBLEMS.items() for f in problems]
)
def test_patterns_and_numbers(of, f):
    ours = getattr(nt, of)(lambda x: f(OURS, x), sparse="coo")(POINT)
    rows, columns, numbers = theirs(f, of)
    assert np.array_equal(ours.coords[0], rows)
    assert np.array_equal(ours.coords[1], columns)
    assert np.allclose(ours.data, numbers, rtol=1e-12, atol=1e-13)


def test_as_few_sweeps_as_casadi_has_colours():
    """Columns of one colour (CasADi: `uni_coloring`, `star_coloring`)."""
    for of, problems in PROBLEMS.items():
        for f in problems:
            pattern = nt.sparsity(partial(f, OURS), of=of)(POINT)
            entries = casadi.Sparsity.triplet(
                *pattern.shape, pattern.rows.tolist(), pattern.columns.tolist()
            )
            colours = entries.uni_coloring() if of == "jacobian" else entries.star_coloring()
            assert pattern.evaluation_sweeps <= colours.size2(), f.__name__
