"""Colourings: every one determines all entries, and they need as few sweeps as they should."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from ndtape.patterns.colouring import of_hessian, of_jacobian
from ndtape.patterns.recovery import mirror_images, substituted, sums_of


def entries_of(matrix):
    matrix = sp.csr_array(matrix)
    matrix.sort_indices()
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)


def sweeps(colours):
    return int(colours.rows.max(initial=0)), int(colours.columns.max(initial=0))


def banded(n, width):
    offsets = range(-width, width + 1)
    return sp.diags_array([np.ones(n - abs(k)) for k in offsets], offsets=list(offsets)).tocsr()


def arrow(n):
    matrix = sp.lil_array((n, n))
    matrix[0, :] = matrix[:, 0] = 1.0
    matrix.setdiag(1.0)
    return matrix.tocsr()


# --- how many ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [10, 3000])
@pytest.mark.parametrize("width", [0, 1, 2])
def test_bands(n, width):
    entries = entries_of(banded(n, width))
    colours, kind = of_jacobian(entries, n)
    assert (kind, *sweeps(colours)) == ("columns", 0, 2 * width + 1)
    assert of_hessian(entries).max() == 2 * width + 1
    assert of_hessian(entries, "acyclic").max() == width + 1


def test_an_arrow_takes_one_row_and_two_columns():
    entries = entries_of(arrow(2000))
    assert sweeps(of_jacobian(entries, 2000)[0]) == (1, 2)
    assert of_hessian(entries).max() == 2


def test_a_dense_column_beside_a_band_of_rows():
    """Rows are coloured, and the entries of the dense column are its own sweep all the same."""
    matrix = banded(200, 1).tolil()[:, :200]
    matrix[:, 7] = 1.0
    entries = entries_of(matrix.T)
    assert sum(sweeps(of_jacobian(entries, 200)[0])) <= 5
    assert sum(sweeps(of_jacobian(entries_of(matrix), 200)[0])) <= 5


def test_wide_and_tall():
    wide = np.tril(np.ones((3, 50)), 47)
    assert sweeps(of_jacobian(entries_of(wide), 50)[0]) == (3, 0)
    assert sweeps(of_jacobian(entries_of(wide.T), 3)[0]) == (0, 3)
    assert sweeps(of_jacobian(entries_of(wide.T), 3, "rows")[0]) == (0, 3)  # all by exception


def test_another_order_where_the_first_is_poor():
    """Crowns: a greedy colouring in the order in which vertices stand takes n colours, not 2."""
    n = 12
    graph = np.zeros((2 * n, 2 * n), bool)
    for i, j in itertools.permutations(range(n), 2):
        graph[2 * i, 2 * j + 1] = graph[2 * j + 1, 2 * i] = True
    rows = [(i, j) for i, j in zip(*np.nonzero(np.triu(graph)), strict=True)]
    matrix = np.zeros((len(rows), 2 * n))
    for row, (i, j) in enumerate(rows):
        matrix[row, [i, j]] = 1.0
    assert sum(sweeps(of_jacobian(entries_of(matrix), 2 * n, "columns")[0])) < n


def test_nothing_at_all():
    none = np.zeros(4, np.int64), np.zeros(0, np.int64)
    assert sweeps(of_jacobian(none, 5)[0]) == (0, 0)
    assert of_hessian(none).tolist() == [0, 0, 0]


def test_a_plane_grid():
    k = 30
    line = banded(k, 1)
    grid = sp.kron(sp.eye_array(k), line) + sp.kron(line, sp.eye_array(k))
    entries = entries_of(grid)
    assert sum(sweeps(of_jacobian(entries, k * k)[0])) <= 7
    assert of_hessian(entries).max() <= 7
    assert of_hessian(entries, "acyclic").max() <= 4


# --- that they determine everything --------------------------------------------------------------


@st.composite
def patterns(draw, symmetric=False):
    """Random matrices, some with full rows and columns."""
    m = draw(st.integers(1, 13))
    n = m if symmetric else draw(st.integers(1, 13))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    matrix = random.random((m, n)) < draw(st.floats(0.0, 0.7))
    for _ in range(draw(st.integers(0, 2))):
        matrix[random.integers(m)] = True
    for _ in range(draw(st.integers(0, 2))):
        matrix[:, random.integers(n)] = True
    return matrix | matrix.T if symmetric else matrix


@settings(max_examples=60)
@given(patterns(), st.sampled_from([None, "columns", "rows"]))
def test_jacobians(matrix, kind):
    colours, kind = of_jacobian(entries_of(matrix), matrix.shape[1], kind)
    by_row = np.broadcast_to(colours.rows[:, None] > 0, matrix.shape)
    if kind == "rows":
        by_row = np.broadcast_to(colours.columns == 0, matrix.shape)
    rows, columns = matrix & by_row, matrix & ~by_row
    for i, k in itertools.combinations(range(len(matrix)), 2):
        if colours.rows[i] == colours.rows[k]:  # what is read from a sweep stands alone there
            assert not (rows[i] & matrix[k]).any()
            assert not (matrix[i] & rows[k]).any()
    for j, k in itertools.combinations(range(matrix.shape[1]), 2):
        if colours.columns[j] == colours.columns[k]:
            assert not (columns[:, j] & matrix[:, k]).any()
            assert not (matrix[:, j] & columns[:, k]).any()
    assert (colours.rows[np.nonzero(rows)[0]] > 0).all()
    assert (colours.columns[np.nonzero(columns)[1]] > 0).all()


@settings(max_examples=60)
@given(patterns(symmetric=True))
def test_hessians(matrix):
    n = len(matrix)
    ends, columns = entries_of(matrix)
    rows = np.repeat(np.arange(n), np.diff(ends))
    numbers = np.random.default_rng(n).standard_normal((n, n))
    hessian = np.where(matrix, numbers + numbers.T, 0.0)
    mirror = mirror_images(ends, columns)
    for kind in ("star", "acyclic"):
        colours = of_hessian((ends, columns), kind)
        proper = rows != columns
        assert (colours[rows[proper]] != colours[columns[proper]]).all()
        sums = sums_of(rows, columns, colours)
        compressed = np.stack([hessian[:, colours == c].sum(axis=1) for c in range(n + 1)], axis=1)
        found = substituted(sums, mirror, compressed[sums.rows, sums.colours])
        assert np.allclose(found, hessian[rows, columns], atol=1e-12)
        if kind == "star":
            alone = sums.counts[sums.number] == 1
            assert (alone | alone[mirror]).all()


def test_what_does_not_determine_the_entries_is_seen():
    ends, columns = entries_of(np.ones((3, 3)))
    sums = sums_of(np.repeat(np.arange(3), 3), columns, np.array([1, 1, 2]))
    assert substituted(sums, mirror_images(ends, columns), np.ones(len(sums.rows))) is None
    assert mirror_images(*entries_of(np.triu(np.ones((3, 3))))) is None
