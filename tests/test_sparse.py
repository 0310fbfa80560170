"""`nt.jacobian(sparse=True)`, `nt.hessian(sparse=True)`, `nt.sparsity`: what comes in and out."""

import gc
import time
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import ndtape as nt
from ndtape import memory
from ndtape.transforms import sparse as sparse_transforms

X = np.random.default_rng(1).uniform(0.5, 1.5, 6)


def chain(x):
    return x[1:] * np.sin(x[:-1])


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def same(sparse, dense):
    dense = np.asarray(dense)
    return np.allclose(sparse.toarray(), dense.reshape(sparse.shape), rtol=1e-13, atol=1e-14)


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "kind"),
    [(True, sp.csr_array), ("csr", sp.csr_array), ("csc", sp.csc_array), ("coo", sp.coo_array)],
)
def test_formats(form, kind):
    matrix = nt.jacobian(chain, sparse=form)(X)
    assert isinstance(matrix, kind)
    assert matrix.shape == (5, 6)
    assert matrix.dtype == np.float64
    assert same(matrix, nt.jacobian(chain)(X))
    matrix = nt.hessian(rosenbrock, sparse=form)(X)
    assert isinstance(matrix, kind)
    assert same(matrix, nt.hessian(rosenbrock)(X))


def test_scalars_are_matrices_of_one_row_or_column():
    assert same(nt.jacobian(lambda x: x * x, sparse=True)(3.0), [[6.0]])
    assert nt.jacobian(rosenbrock, sparse=True)(X).shape == (1, 6)
    assert nt.jacobian(lambda t: nt.array([t, 2.0, t * t]), sparse=True)(2.0).shape == (3, 1)
    assert same(nt.hessian(lambda x: x**3, sparse=True)(2.0), [[12.0]])


def test_arrays_of_more_axes_are_flattened():
    x = X.reshape(2, 3)
    matrix = nt.jacobian(lambda x: x.T * 2.0, sparse=True)(x)
    assert matrix.shape == (6, 6)
    assert same(matrix, nt.jacobian(lambda x: x.T * 2.0)(x))


def test_trees_of_arguments_and_results():
    def f(p, s):
        return {"y": p["a"] * s, "z": (np.sum(p["b"]) * s, p["a"][0])}

    args = {"a": X[:3], "b": X[3:].reshape(1, 3)}, 2.0
    sparse = nt.jacobian(f, argnums=(0, 1), sparse=True)(*args)
    dense = nt.jacobian(f, argnums=(0, 1))(*args)
    assert same(sparse["y"][0]["a"], dense["y"][0]["a"])
    assert sparse["y"][0]["b"].nnz == 0
    assert sparse["y"][1].shape == (3, 1)
    assert same(sparse["z"][0][0]["b"], dense["z"][0][0]["b"])
    assert same(sparse["z"][1][0]["a"], dense["z"][1][0]["a"])

    def g(p, s):
        return np.sum(p["a"] ** 2) * s + p["b"][0, 1] * p["a"][2]

    sparse = nt.hessian(g, argnums=(0, 1), sparse="csc")(*args)
    dense = nt.hessian(g, argnums=(0, 1))(*args)
    assert same(sparse[0]["a"][0]["b"], dense[0]["a"][0]["b"])
    assert same(sparse[1][0]["a"], dense[1][0]["a"])
    assert same(sparse[0]["a"][1], dense[0]["a"][1])
    assert sparse[1][1].shape == (1, 1)


def test_chosen_arguments_and_what_comes_beside():
    def f(a, b):
        return chain(a * b), {"sum": np.sum(a)}

    matrix, aux = nt.jacobian(f, argnums=1, has_aux=True, sparse=True)(X, X)
    assert aux == {"sum": pytest.approx(np.sum(X))}
    assert same(matrix, nt.jacobian(f, argnums=1, has_aux=True)(X, X)[0])
    matrix, aux = nt.hessian(lambda x: (rosenbrock(x), x[0]), has_aux=True, sparse=True)(X)
    assert aux == X[0]
    assert nt.sparsity(f, 1, has_aux=True)(X, X).nnz == 10


def test_float32():
    x = X.astype(np.float32)
    assert nt.jacobian(chain, sparse=True)(x).dtype == np.float32
    assert same(nt.jacobian(chain, sparse=True)(x), nt.jacobian(chain)(x))
    assert nt.hessian(rosenbrock, sparse=True)(x).dtype == np.float32


def test_constants_and_empty_arrays():
    matrix = nt.jacobian(lambda x: np.ones(3), sparse=True)(X)
    assert (matrix.shape, matrix.nnz) == ((3, 6), 0)
    assert nt.hessian(lambda x: 1.0, sparse=True)(X).nnz == 0
    assert nt.jacobian(lambda x: x * 2.0, sparse=True)(np.zeros(0)).shape == (0, 0)


def test_compiled_functions_are_recorded():
    @nt.jit
    def f(x):
        y = np.zeros(len(x))
        for i in range(1, len(x)):
            y[i] = x[i] * x[i - 1]
        return y

    matrix = nt.jacobian(f, sparse=True)(X)
    assert matrix.nnz == 10
    assert same(matrix[1:], nt.jacobian(lambda x: x[1:] * x[:-1])(X))


# --- traced functions ----------------------------------------------------------------------------


def test_a_traced_function_finds_its_pattern_once(monkeypatch):
    found = []
    jacobian = sparse_transforms.detect.jacobian
    monkeypatch.setattr(
        sparse_transforms.detect, "jacobian", lambda *a: found.append(1) or jacobian(*a)
    )
    f = nt.function(chain)
    derivative = nt.jacobian(f, sparse=True)
    for scale in (1.0, 2.0, 3.0):
        assert same(derivative(scale * X), nt.jacobian(chain)(scale * X))
    assert nt.sparsity(f)(X) is nt.sparsity(f)(X)
    assert len(found) == 1
    derivative(X[:4])  # another tape
    nt.jacobian(f, sparse=True)(X)
    assert len(found) == 2


def test_each_branch_has_a_pattern_of_its_own():
    @nt.function
    def f(x):
        return x[1:] * x[0] if x[0] > 0.0 else x[:-1] * 2.0

    derivative = nt.jacobian(f, sparse=True)
    for sign in (1.0, -1.0, 1.0, -1.0):
        assert same(derivative(sign * X), nt.jacobian(f)(sign * X))
    assert derivative(X).nnz == 10
    assert derivative(-X).nnz == 5


def test_a_loop_that_meets_another_branch_has_another_pattern():
    @nt.function
    def f(x):
        def step(carry, a):
            return (carry + a, a) if a > 0.0 else (carry, carry)

        return nt.scan(step, 0.0 * x[0], x)[1]

    derivative = nt.jacobian(f, sparse=True)
    for x in (X, X * np.array([1.0, 1.0, -1.0, 1.0, -1.0, 1.0]), X):
        assert same(derivative(x), nt.jacobian(f)(x))


def test_patterns_go_with_their_tapes():
    f = nt.function(lambda x: chain(x) * 2.0)
    nt.jacobian(f, sparse=True)(X)
    known = len(sparse_transforms._kept)
    assert known
    del f
    gc.collect()
    assert len(sparse_transforms._kept) < known


def test_optimised_code_has_the_same_matrices():
    f = nt.function(rosenbrock)
    before = nt.hessian(f, sparse=True)(X).toarray()
    for _ in range(20):
        f(X)
    f.optimize(3)
    assert np.array_equal(nt.hessian(f, sparse=True)(X).toarray(), before)


# --- patterns that are given ---------------------------------------------------------------------


def test_a_pattern_is_handed_in():
    pattern = nt.sparsity(chain)(X)
    for f in (chain, nt.function(chain)):
        derivative = nt.jacobian(f, sparse=pattern)
        assert same(derivative(2 * X), nt.jacobian(chain)(2 * X))
    for colouring in ("star", "acyclic"):
        pattern = nt.sparsity(rosenbrock, of="hessian", colouring=colouring)(X)
        assert same(nt.hessian(rosenbrock, sparse=pattern)(X), nt.hessian(rosenbrock)(X))


@pytest.mark.parametrize("trace", [False, True])
def test_a_wrong_pattern_is_caught(trace):
    def other(x):
        return x[1:] * np.sin(x[0])

    f = nt.function(other) if trace else other
    pattern = nt.sparsity(chain)(X)
    with pytest.raises(nt.PatternError, match=r"misses entries of row \d+ of the jacobian"):
        nt.jacobian(f, sparse=pattern)(X)
    nt.jacobian(f, sparse=pattern, check=False)(X)
    pattern = nt.sparsity(rosenbrock, of="hessian")(X)
    with pytest.raises(nt.PatternError, match="hessian"):
        nt.hessian(lambda x: np.prod(x), sparse=pattern)(X)


def test_a_traced_function_is_checked_once_unless_asked():
    calls = []
    check = sparse_transforms._check

    def counted(*args):
        calls.append(1)
        return check(*args)

    f, pattern = nt.function(chain), nt.sparsity(chain)(X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_transforms, "_check", counted)
        for _ in range(3):
            nt.jacobian(f, sparse=pattern)(X)
        assert len(calls) == 1
        nt.jacobian(f, sparse=pattern, check=True)(X)
        nt.jacobian(f, sparse=True, check=True)(X)
        assert len(calls) == 3
        nt.jacobian(chain, sparse=pattern)(X)
        nt.jacobian(chain, sparse=pattern)(X)
        assert len(calls) == 5


def test_numbers_that_are_no_numbers_do_not_fail_a_check():
    def f(x):
        return np.sqrt(x) * x[0]

    x = np.array([1.0, 0.0, -1.0, np.nan])
    matrix = nt.jacobian(f, sparse=nt.sparsity(f)(np.ones(4)))(x)
    assert np.array_equal(matrix.toarray(), nt.jacobian(f)(x), equal_nan=True)


# --- what is refused -----------------------------------------------------------------------------


def test_arguments_that_do_not_fit():
    with pytest.raises(nt.ArgumentError, match="csr, csc, coo, or a pattern"):
        nt.jacobian(chain, sparse="dia")
    with pytest.raises(nt.ArgumentError, match="of must be one of"):
        nt.sparsity(chain, of="gradient")
    with pytest.raises(nt.ArgumentError, match="star, acyclic"):
        nt.sparsity(rosenbrock, of="hessian", colouring="rows")
    with pytest.raises(nt.ArgumentError, match=r"write nt.sparsity\(f\)\(x\)"):
        nt.sparsity(chain, X)
    pattern = nt.sparsity(chain)(X)
    with pytest.raises(nt.ArgumentError, match="of a hessian, not of a jacobian"):
        nt.hessian(rosenbrock, sparse=pattern)
    with pytest.raises(nt.PatternError, match="5 x 6 matrix, the jacobian of this function is 3 x"):
        nt.jacobian(chain, sparse=pattern)(X[:4])
    with pytest.raises(nt.ArgumentError, match="must return a scalar"):
        nt.hessian(chain, sparse=True)(X)


def test_inside_another_transform():
    with pytest.raises(nt.UnsupportedError, match="sparse=False"):
        nt.grad(lambda x: nt.jacobian(chain, sparse=True)(x).sum())(X)
    with pytest.raises(nt.UnsupportedError, match=r"nt\.hvp"):
        nt.grad(lambda x: nt.hessian(rosenbrock, sparse=True)(x).sum())(X)
    with nt.no_grad():
        assert nt.jacobian(chain, sparse=True)(X).nnz == 10


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("colouring", ["columns", "rows", "star", "acyclic"])
def test_saved_and_loaded(tmp_path, colouring):
    of = "jacobian" if colouring in ("columns", "rows") else "hessian"
    f = chain if of == "jacobian" else rosenbrock
    pattern = nt.sparsity(f, of=of, colouring=colouring)(X)
    pattern.save(tmp_path / "pattern.npz")
    loaded = nt.Sparsity.load(tmp_path / "pattern.npz")
    assert loaded == pattern
    assert str(loaded) == str(pattern)
    assert loaded.colouring == colouring
    derivative = getattr(nt, of)
    assert same(derivative(f, sparse=loaded)(X), derivative(f)(X))


def damaged(path, **arrays):
    with np.load(path) as file:
        known = dict(file)
    known.update(arrays)
    np.savez(path, **{name: array for name, array in known.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"columns": None}, "holds no sparsity pattern"),
        ({"head": np.array([2, 0, 5, 6, 1, 0])}, "another format"),
        ({"head": np.array([1, 7, 5, 6, 1, 0])}, "unknown kind"),
        ({"head": np.array([1, 0, 4, 6, 1, 0])}, "ends of a pattern must be a vector of 5"),
        ({"ends": np.array([0, 2, 4, 6, 8, 11])}, "must end in order, the last at 10"),
        ({"ends": np.array([0, 4, 2, 6, 8, 10])}, "must end in order"),
        ({"columns": np.array([0, 1, 1, 2, 2, 3, 3, 4, 4, 6])}, "names column 6"),
        ({"columns": np.array([1, 0, 1, 2, 2, 3, 3, 4, 4, 5])}, "in order, each once"),
        ({"columns": np.arange(10.0)}, "must be a vector of 10 int64"),
        ({"column_colours": np.array([1, 1, 1, 2, 1, 2])}, "do not determine"),
        ({"column_colours": np.array([1, 2, 0, 2, 1, 2])}, "do not determine"),
        ({"column_colours": np.array([1, 2, -1, 2, 1, 2])}, "a colour below 0"),
    ],
)
def test_damaged_files(tmp_path, arrays, message):
    path = tmp_path / "pattern.npz"
    nt.sparsity(chain)(X).save(path)
    with pytest.raises(nt.PatternError, match=message):
        nt.Sparsity.load(damaged(path, **arrays))


def test_damaged_hessians(tmp_path):
    path = tmp_path / "pattern.npz"
    for colouring, colours in (("star", [1, 2, 1, 2, 1, 2]), ("acyclic", [1, 1, 2, 1, 2, 1])):
        nt.sparsity(rosenbrock, of="hessian", colouring=colouring)(X).save(path)
        with pytest.raises(nt.PatternError, match="do not determine"):
            nt.Sparsity.load(damaged(path, column_colours=np.array(colours)))
    lower = {"ends": np.array([0, 1, 3, 3, 3, 3, 3]), "columns": np.array([0, 0, 1])}
    with pytest.raises(nt.PatternError, match="do not determine"):
        nt.Sparsity.load(damaged(path, **lower))


def test_files_of_something_else(tmp_path):
    path = tmp_path / "pattern.npz"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(nt.PatternError, match="holds no sparsity pattern"):
        nt.Sparsity.load(path)
    np.savez(path, head=np.array([object()]), allow_pickle=True)
    with pytest.raises(nt.PatternError, match="holds no sparsity pattern"):
        nt.Sparsity.load(path)
    with pytest.raises(FileNotFoundError):
        nt.Sparsity.load(tmp_path / "nowhere.npz")


# --- bordered matrices ---------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.sampled_from("rc "))
def test_few_full_rows_and_columns(seed, m, n, full):
    """Entries of full lines beside a sparse rest, by both kinds of sweeps; constant zeros of a
    matrix are no entries."""
    random = np.random.default_rng(seed)
    weights = random.standard_normal((m, n)) * (random.random((m, n)) < 0.25)
    if full == "r":
        weights[random.integers(m)] = 1.0
    if full == "c":
        weights[:, random.integers(n, size=2)] = 1.0
    x = random.standard_normal(n)
    expected = nt.jacobian(lambda x: np.sin(weights @ x))(x)
    for colouring in (None, "columns", "rows"):
        pattern = nt.sparsity(lambda x: np.sin(weights @ x), colouring=colouring)(x)
        pattern.verify()
        assert pattern.nnz == np.count_nonzero(weights)
        matrix = nt.jacobian(lambda x: np.sin(weights @ x), sparse=pattern)(x)
        assert same(matrix, expected)


# --- figures -------------------------------------------------------------------------------------


def test_a_pattern_that_does_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: memory.Available(10_000, "a test"))
    with pytest.raises(nt.TapeFullError, match="finding this sparsity pattern needs"):
        nt.sparsity(rosenbrock, of="hessian")(X)


def test_printing():
    pattern = nt.sparsity(chain)(X)
    head, *picture = str(pattern).splitlines()
    assert head == (
        "Jacobian 5 x 6, 10 entries (33.3%), evaluation: 2 sweeps (2 tangent), detection: 1 sweep"
    )
    assert picture[0] == "##...."
    assert repr(pattern) == "<Sparsity of a 5 x 6 Jacobian, 10 entries>"
    assert (pattern.nnz, pattern.evaluation_sweeps, pattern.detection_sweeps) == (10, 2, 1)
    large = nt.sparsity(lambda x: x * 2.0)(np.ones(60))
    assert len(str(large).splitlines()) == 1
    assert pattern != large
    assert pattern != "a pattern"


def test_a_hundred_thousand_unknowns():
    """The pattern in under 2 s and 500 MB (0.1 s and 60 MB when measured), at most 5 sweeps."""
    n = 100_000

    @nt.function
    def f(x):
        inner = x[:-2] - 2.0 * x[1:-1] + x[2:] + np.exp(x[1:-1])
        return np.concatenate([[x[0]], inner, [x[-1]]])

    nt.sparsity(f)(np.ones(8))  # compiled, or loaded
    x = np.linspace(0.0, 1.0, n)
    f(x)
    start = time.process_time()
    pattern = nt.sparsity(f)(x)
    assert time.process_time() - start < 2.0
    assert (pattern.nnz, pattern.detection_sweeps) == (3 * n - 4, 1)
    assert pattern.evaluation_sweeps <= 5
    tracemalloc.start()
    try:
        _, again = nt.sparsity(lambda x: f(x))(x), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert again < 500e6
    v = np.random.default_rng(0).standard_normal(n)
    product = nt.jacobian(f, sparse=pattern)(x) @ v
    assert np.allclose(product, nt.jvp(f, (x,), (v,))[1], rtol=1e-12, atol=1e-12)
