"""scipy.linalg with derivatives, in SciPy's signatures; plain arrays go to SciPy itself.

Where a signature of SciPy's differs from NumPy's it is SciPy's here: `cholesky` gives the upper
factor, `qr` takes mode="economic".  Options that only concern speed or checks are ignored.

>>> import ndtape as nt, numpy as np
>>> from ndtape.scipy import linalg
>>> a = np.array([[4.0, 1.0], [1.0, 3.0]])
>>> nt.grad(lambda a: np.trace(linalg.sqrtm(a)))(a).round(6)
array([[ 0.257905, -0.040829],
       [-0.040829,  0.298734]])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..primitives import exponential, factors, solves, spectra
from ..primitives import linalg as numpys
from ..primitives.stacks import above, below, operand, squares, transpose
from ..record.calls import call
from ..record.core import user_line
from . import matrix_functions as functions
from .own import beside, scipys

scipy_linalg = beside("linalg")

# --- systems of equations -------------------------------------------------------------------------


@scipy_linalg
def solve(
    a: Any, b: Any, lower: bool = False, *ignored: Any, assume_a: Any = None,
    transposed: bool = False, **more: Any,
) -> Any:  # fmt: skip
    """x with a x = b, or aᵀ x = b where `transposed`; what is known of `a` is not made use of."""
    if assume_a in ("lower triangular", "upper triangular"):
        return solve_triangular(a, b, transposed, assume_a == "lower triangular")
    a = squares("solve", a)
    if assume_a in ("pos", "sym", "her", "positive definite", "symmetric", "hermitian"):
        a = _symmetric_from(a, lower)
    return solves.solve(transpose(a) if transposed else a, b)


def _symmetric_from(a: Any, lower: bool) -> Any:
    """The symmetric matrix of which one triangle is read."""
    half = below(a) if lower else above(a)
    other = below(a, -1) if lower else above(a, 1)
    return half + transpose(other)


@scipy_linalg
def solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False, **ignored: Any
) -> Any:
    """x with a x = b or aᵀ x = b for triangular `a`, of which one triangle is read."""
    return solves.solve_triangular(a, b, trans, lower, unit_diagonal)


@scipy_linalg
def solve_banded(l_and_u: tuple[int, int], ab: Any, b: Any, **ignored: Any) -> Any:
    """x with a x = b for a band matrix, `ab` (l + u + 1, n) its diagonals.

    >>> solve_banded((0, 1), [[0.0, 1.0], [2.0, 4.0]], [4.0, 4.0])
    array([1.5, 1. ])
    """
    return functions.solve_banded(l_and_u, operand(ab), operand(b))


@scipy_linalg
def solveh_banded(ab: Any, b: Any, lower: bool = False, **ignored: Any) -> Any:
    """x with a x = b for a symmetric band matrix, `ab` (u + 1, n) its upper or lower diagonals."""
    ab, u = operand(ab), np.shape(ab)[0] - 1
    rows = range(u) if not lower else range(1, u + 1)
    shifts = [u - r for r in rows] if not lower else [-r for r in rows]
    other = [
        functions.skewed(ab[r][None], range(s, s + 1)) for r, s in zip(rows, shifts, strict=True)
    ]
    band = [ab, *other[::-1]] if not lower else [*other[::-1], ab]
    return functions.solve_banded((u, u), np.concatenate(band), operand(b))


@scipy_linalg
def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    """x with a x + x b = q.

    >>> solve_sylvester([[1.0]], [[3.0]], [[8.0]])
    array([[2.]])
    """
    return functions.solve_sylvester(a, b, operand(q))


@scipy_linalg
def solve_continuous_lyapunov(a: Any, q: Any) -> Any:
    """x with a x + x aᵀ = q."""
    a = squares("solve_continuous_lyapunov", a)
    return functions.solve_sylvester(a, transpose(a), operand(q))


@scipy_linalg
def solve_discrete_lyapunov(a: Any, q: Any, method: Any = None) -> Any:
    """x with a x aᵀ - x + q = 0, by Kronecker's product: for small matrices."""
    a, q = squares("solve_discrete_lyapunov", a), operand(q)
    n = a.shape[-1]
    system = np.eye(n * n) - np.kron(a, a)
    return np.reshape(solves.solve(system, np.reshape(q, (n * n,))), (n, n))


@scipy_linalg
def cho_solve(c_and_lower: Any, b: Any, **ignored: Any) -> Any:
    """x with a x = b from the factor that `cho_factor` gave."""
    return solves.cho_solve(c_and_lower, b)


@scipy_linalg
def lu_solve(lu_and_piv: Any, b: Any, trans: int = 0, **ignored: Any) -> Any:
    """x with a x = b (trans=0) or aᵀ x = b (1, 2), from what `lu_factor` gave."""
    lu, pivots = lu_and_piv
    order = np.arange(lu.shape[-1])
    for i, j in enumerate(np.asarray(pivots).tolist()):
        order[[i, j]] = order[[j, i]]
    b = operand(b)
    if not trans:
        half = solves.solve_triangular(lu, b[order], 0, True, True)
        return solves.solve_triangular(lu, half)
    half = solves.solve_triangular(lu, b, 1)
    return solves.solve_triangular(lu, half, 1, True, True)[np.argsort(order)]


@scipy_linalg
def lstsq(a: Any, b: Any, cond: Any = None, **ignored: Any) -> Any:
    """Least squares for a matrix of full rank: (x, residuals, rank, singular values)."""
    return solves.lstsq(a, b, cond)


@scipy_linalg
def inv(a: Any, **ignored: Any) -> Any:
    """The inverse."""
    return solves.inv(a)


@scipy_linalg
def pinv(a: Any, *, atol: Any = None, rtol: Any = None, return_rank: bool = False) -> Any:
    """The pseudo-inverse; its rank is held constant."""
    _refuse("pinv", atol=atol, return_rank=return_rank)
    return solves.pinv(a, rtol=rtol)


@scipy_linalg
def det(a: Any, **ignored: Any) -> Any:
    """The determinant."""
    return numpys.det(a)


@scipy_linalg
def norm(a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False, **ignored: Any) -> Any:
    """Norms of vectors and matrices."""
    return numpys.norm(a, ord, axis, keepdims)


# --- decompositions -------------------------------------------------------------------------------


@scipy_linalg
def cholesky(a: Any, lower: bool = False, **ignored: Any) -> Any:
    """The triangular factor: upper, r with rᵀ r = a, or with `lower` l with l lᵀ = a."""
    return factors.cholesky(a, upper=not lower)


@scipy_linalg
def cho_factor(a: Any, lower: bool = False, **ignored: Any) -> tuple[Any, bool]:
    """The pair (c, lower) that `cho_solve` takes; the other triangle of c is zero."""
    return factors.cho_factor(a, lower)


@scipy_linalg
def lu(a: Any, permute_l: bool = False, *, p_indices: bool = False, **ignored: Any) -> Any:
    """P, L, U with P L U = a, for one square matrix; with `permute_l` P L and U."""
    a = squares("lu", a)
    _refuse("lu", p_indices=p_indices, stack=a.ndim > 2)
    lower, upper, p = call(functions.LU, {}, a)
    return (np.matmul(p, lower), upper) if permute_l else (p, lower, upper)


@scipy_linalg
def lu_factor(a: Any, **ignored: Any) -> tuple[Any, np.ndarray]:
    """(lu, piv): both factors in one matrix, and the rows that were exchanged, plain numbers.

    In a traced function another order of the rows is another branch.
    """
    p, lower, upper = lu(a)
    rows = [int(i) for i in np.argmax(p, axis=0)]  # row i of L U is row rows[i] of a
    order, pivots = list(range(len(rows))), []
    for i, row in enumerate(rows):
        j = order.index(row)
        order[i], order[j] = order[j], order[i]
        pivots.append(j)
    return below(lower, -1) + upper, np.array(pivots)


@scipy_linalg
def qr(
    a: Any, overwrite_a: bool = False, lwork: Any = None, mode: str = "full", **more: Any
) -> Any:
    """Q and R with Q R = a: mode="economic", or "full" for matrices that are not tall."""
    _refuse("qr", pivoting=more.get("pivoting"))
    if mode == "r":
        return (factors.qr(a, "r"),)
    q, r = factors.qr(a, {"economic": "reduced", "full": "complete"}.get(mode, mode))
    return q, r


@scipy_linalg
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, **ignored: Any) -> Any:
    """U, s, Vᵀ; `full_matrices=False` unless the matrix is square."""
    found = spectra.svd(a, full_matrices, compute_uv)
    return tuple(found) if compute_uv else found


@scipy_linalg
def svdvals(a: Any, **ignored: Any) -> Any:
    """The singular values, descending."""
    return spectra.svdvals(a)


@scipy_linalg
def eigh(a: Any, b: Any = None, *, lower: bool = True, eigvals_only: bool = False,
         **more: Any) -> Any:  # fmt: skip
    """Eigenvalues and eigenvectors of a symmetric matrix: a v = w v, or with `b` a v = w b v."""
    _refuse("eigh", subset_by_index=more.get("subset_by_index"), type=more.get("type", 1) != 1,
            subset_by_value=more.get("subset_by_value"))  # fmt: skip
    if b is None:
        values, vectors = spectra.eigh(a)
    else:
        factor = factors.cholesky(b)
        half = solves.solve_triangular(factor, squares("eigh", a), lower=True)
        values, y = spectra.eigh(
            transpose(solves.solve_triangular(factor, transpose(half), lower=True))
        )
        vectors = solves.solve_triangular(factor, y, 1, lower=True)
    return values if eigvals_only else (values, vectors)


@scipy_linalg
def eigvalsh(a: Any, b: Any = None, **more: Any) -> Any:
    """The eigenvalues of `eigh` alone."""
    return eigh(a, b, eigvals_only=True, **more)


@scipy_linalg
def polar(a: Any, side: str = "right") -> Any:
    """u, p with u orthogonal and p positive semi-definite: a = u p, or a = p u for side="left"."""
    w, s, vh = spectra.svd(a, full_matrices=False)
    basis = transpose(vh) if side == "right" else w
    return np.matmul(w, vh), np.matmul(basis * s[..., None, :], transpose(basis))


# --- functions of matrices ------------------------------------------------------------------------


@scipy_linalg
def expm(A: Any) -> Any:
    """The exponential of a matrix, or of each of a stack."""
    return exponential.expm(A)


@scipy_linalg
def expm_frechet(
    A: Any, E: Any, method: Any = None, compute_expm: bool = True, **ignored: Any
) -> Any:
    """The exponential at A, and its derivative along E; the derivative alone on request."""
    along = exponential.expm_frechet(A, E)
    return (exponential.expm(A), along) if compute_expm else along


@scipy_linalg
def sqrtm(A: Any, **ignored: Any) -> Any:
    """The square root of a matrix without eigenvalues on the negative axis."""
    return call(functions.SQRTM, {}, squares("sqrtm", A))


@scipy_linalg
def logm(A: Any, **ignored: Any) -> Any:
    """The logarithm of a matrix without eigenvalues on the negative axis."""
    return call(functions.LOGM, {}, squares("logm", A))


@scipy_linalg
def fractional_matrix_power(A: Any, t: Any) -> Any:
    """A to the power t, expm(t logm(A))."""
    return exponential.expm(t * logm(A))


def _rotation(A: Any) -> Any:
    """expm([[0, -A], [A, 0]]) = [[cos A, -sin A], [sin A, cos A]]"""
    A = squares("cosm", A)
    zero = np.zeros(A.shape)
    return exponential.expm(np.block([[zero, -A], [A, zero]]))


@scipy_linalg
def cosm(A: Any) -> Any:
    """The cosine of a matrix."""
    n = np.shape(A)[-1]
    return _rotation(A)[:n, :n]


@scipy_linalg
def sinm(A: Any) -> Any:
    """The sine of a matrix."""
    n = np.shape(A)[-1]
    return _rotation(A)[n:, :n]


@scipy_linalg
def tanm(A: Any) -> Any:
    """The tangent of a matrix."""
    return solves.solve(cosm(A), sinm(A))


@scipy_linalg
def coshm(A: Any) -> Any:
    """The hyperbolic cosine of a matrix."""
    return 0.5 * (exponential.expm(A) + exponential.expm(-A))


@scipy_linalg
def sinhm(A: Any) -> Any:
    """The hyperbolic sine of a matrix."""
    return 0.5 * (exponential.expm(A) - exponential.expm(-A))


@scipy_linalg
def tanhm(A: Any) -> Any:
    """The hyperbolic tangent of a matrix."""
    return solves.solve(coshm(A), sinhm(A))


# --- special matrices -----------------------------------------------------------------------------


@scipy_linalg
def toeplitz(c: Any, r: Any = None) -> Any:
    """The matrix with constant diagonals, of first column c and first row r (c by default)."""
    c = operand(c)
    r = c if r is None else operand(r)
    m, n = c.shape[-1], r.shape[-1]
    entries = np.concatenate([r[::-1][: n - 1], c])
    return entries[np.arange(m)[:, None] - np.arange(n)[None, :] + n - 1]


@scipy_linalg
def hankel(c: Any, r: Any = None) -> Any:
    """The matrix with constant anti-diagonals, of first column c and last row r (0 by default)."""
    c = operand(c)
    r = np.zeros(c.shape) if r is None else operand(r)
    entries = np.concatenate([c, r[1:]])
    return entries[np.arange(c.shape[-1])[:, None] + np.arange(r.shape[-1])[None, :]]


@scipy_linalg
def circulant(c: Any) -> Any:
    """The matrix whose columns are c turned on by one each."""
    c = operand(c)
    n = np.arange(c.shape[-1])
    return c[..., (n[:, None] - n[None, :]) % len(n)]


@scipy_linalg
def block_diag(*arrs: Any) -> Any:
    """The matrix with these blocks along its diagonal."""
    blocks = [np.atleast_2d(operand(x)) for x in arrs]
    widths = [x.shape[1] for x in blocks]
    rows = []
    for i, x in enumerate(blocks):
        left, right = sum(widths[:i]), sum(widths[i + 1 :])
        rows.append(np.pad(x, ((0, 0), (left, right))))
    return np.concatenate(rows)


# --- names ----------------------------------------------------------------------------------------


def _refuse(name: str, **given: Any) -> None:
    for keyword, value in given.items():
        if value:
            raise UnsupportedError(
                f"scipy.linalg.{name} of a recording array does not take {keyword} [{user_line()}]"
            )


def __getattr__(name: str) -> Any:
    """Every other name is SciPy's own, for plain arrays."""
    return scipys("linalg", name)
