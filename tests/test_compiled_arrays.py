"""Arrays inside `nt.jit` functions: what works on plain arrays records, with the same values.

Every program runs recording itself from compiled code, in Python through the eager recorder, and
plain: under Numba where it uses `nt`, else NumPy's numbers will do, which takes no compiling.
Values agree to the last bits, gradients too; the arrays that the caller has given are as they were.
"""

import numpy as np
import pytest

import ndtape as nt

X = np.array([0.7, -1.3, 2.1, 0.4, 1.9])
Y = np.array([1.5, 0.3, -0.8, 2.2, 0.6])
A = np.array([[2.0, -0.5, 0.3], [0.4, 1.7, -0.2], [0.1, 0.6, 2.4]])
B = np.array([[1.0, 2.0, 0.5], [0.3, 0.1, 0.2], [2.0, 1.0, 1.0]])
P = 0.7
LAST_BITS = 1e-13
ROW = A[0].copy()

PROGRAMS = {}


def program(*args, second=False):
    """A function of these arguments; `second` also compares Hessians."""

    def register(f):
        PROGRAMS[f.__name__] = f, args, second
        return f

    return register


# --- elements, slices, shapes ---------------------------------------------------------------------


@program(X, Y)
def elements_and_slices(x, y):
    i = 2
    total = x[0] * y[-1] + x[i] * x[-i] + x[1:4].sum() * y[::-1][0] + x[::2].sum() * y[..., 3]
    total += (x[:, None] * y[None, :])[1, 2] + len(x) * x.size * x.shape[0] * y.ndim * y[1]
    for v in x:
        total += v * v
    for i, v in enumerate(y):
        total += i * v
    for u, v in zip(x, y):  # noqa: B905  Numba knows no strict
        total += u * v
    for i in range(len(x) - 1, -1, -1):
        total = total * 0.9 + x[i]
    return total


@program(A)
def matrices(a):
    total = a[0, 1] * a[-1, -1] + a[1].sum() * a[:, 2].sum() + a[1:, :2].sum() + a[(1, 2)]
    total += a[..., 0].sum() * a[0][1] + a.shape[1] * a.size * a.T[0, 1] * len(a)
    for row in a:
        total += row[0] * row.sum()
        for v in row:
            total += v * v
    return total


@program(X, Y)
def masks_and_places(x, y):
    z = x[x > 0.5]
    w = y[np.array([0, 2, 2, -1])]
    t = nt.zeros(5)
    t[x > 0.5] = 3.0
    t[np.array([1, 3])] = y[:2]
    return z.sum() * w.sum() + (t * x).sum()


@program(A, X)
def shapes(a, x):
    b, c, d, e = a.reshape(9), np.reshape(a, (9, 1)), a.ravel(), a.flatten()
    t = np.transpose(a)
    e[0] = 4.0
    total = b[3] * c[4, 0] + d[2] * e[5] + t[0, 1] + a.reshape((1, 9))[0, 8] + e[0]
    return total + a.reshape(3, 3)[1, 1] + x.copy()[1] + a.copy()[2, 2] + x.astype(np.float64)[2]


# --- writing --------------------------------------------------------------------------------------


@program(X, Y)
def writes(x, y):
    z = nt.zeros(5)
    z[0] = x[0]
    z[1] += x[1] * y[0]
    z[2:] = y[2:]
    z[3:] *= 2.0
    z[:2] += 1.0
    v = z[1:3]  # a view: what is written to it is written to z
    v[0] = v[1] * x[2]
    v *= x[0]
    z[1:] = z[:-1]  # overlapping memory
    return (z * y).sum()


@program(A)
def writes_into_matrices(a):
    z = nt.zeros((3, 3))
    z[0, :] = a[1]
    z[:, 1] += a[:, 0]
    z[1, 2] += a[0, 0] * a[1, 1]
    z[2] = 5.0
    z[1:, 1:] = a[:2, :2]
    z[2][0] += a[2, 2]
    z[0, :2] = B[0, 1:]
    z += a[0]
    for i in range(3):
        for j in range(i):
            z[i, j] *= a[j, i]
    return (z * z).sum()


@program(A, ROW)
def in_place(a, x):
    z = x.copy()
    v = z[1:]
    z += x
    z *= 2.0
    z -= a[0]
    z /= x
    z **= 2
    v += 1.0
    v[0] = 3.0 * v[1]
    b = a.copy()
    b += x
    b[1] *= x
    b[:, 0] -= x
    b *= 2.0
    return z.sum() + b.sum() + v[1]


# --- elementwise and reductions -------------------------------------------------------------------


@program(X, Y, second=True)
def elementwise(x, y):
    z = np.exp(x) * y + 1.0 - x / y + np.sin(x * y) ** 2 + (-x) ** 3 + np.abs(x) + 2.0 * x
    n = 3 if x[0] > 0.0 else 2
    return np.sum(z) + (y**n).sum() + np.where(x > 0.5, x, y * y).sum() + np.minimum(x, y).sum()


@program(X, Y, P)
def expressions(x, y, p):
    """Operations that are compiled as one loop, unless something between them forbids it."""
    z = x * y + p * np.exp(-x) - x / (1.0 + y * y)
    w = z.copy()
    u = w * 2.0
    w[0] = 7.0
    v = u + w  # u is of before
    root = np.where(y > 0.0, np.sqrt(np.maximum(y, 0.0)), y * x)  # no nan from the other branch
    total = np.sum(p * x * x) * p + np.sum(v * (root + Y) * 2.0 - p) + np.sum(-np.zeros(5) * x)
    for _ in range(3):
        total = total + np.sum(x * z * total * 0.1)
    return total + np.sum(np.ones((2, 5)) * x * y) + (x[::-1] * y + z[2] * x).sum()


@program(A, ROW)
def broadcast(a, x):
    z = a * x + x[:, None] / a.T - (a @ x)[:, None] + P * a
    return np.sum(z * z) + a[0].dot(a[1])


@program(A, ROW, second=True)
def reductions(a, x):
    total = np.sum(a) + x.prod() * np.prod(x) + np.mean(a) * a.mean() + np.max(x) * x.min()
    total += np.var(x) + np.std(a) * x.std() + a.sum(axis=1)[2] + a.sum(1)[0] * a.sum(-1)[1]
    return total + np.sum(a, axis=0)[1] * np.sum(a, axis=1)[0]


@program(X, Y)
def more_reductions(x, y):
    total = np.cumsum(x)[3] * np.cumprod(y)[4] + x[np.argmax(y)] * y[np.argmin(x)] + x.cumsum()[2]
    if np.any(x > 1.0) and np.all(y > -1.0) and (x > y).any():
        total += np.linalg.norm(x) * np.linalg.norm(y) + np.amax(y) + np.min(x * y)
    return total + sum(x) + max(x[0], y[1])


@program(np.array([0.7, 0.0, 2.1]))
def at_zero(x):
    w = x.copy()
    w[2] = 0.0
    return np.prod(x) + np.prod(w) * x[0] + np.linalg.norm(0.0 * x) + np.std(0.0 * x)


# --- linear algebra -------------------------------------------------------------------------------


@program(A, ROW, second=True)
def products(a, x):
    total = np.dot(x, x) * (a @ x)[1] + (x @ a)[0] + (a @ a)[1, 2] * np.dot(a, x)[2]
    total += np.outer(x, x)[0, 1] + np.dot(x, a[1]) + (a.T @ a)[0, 1]
    return total + (a @ B)[1, 2] + (B @ a)[0, 1] + (B @ x)[1] + ROW @ x + (x @ B)[2]


@program(A, ROW, second=True)
def solutions(a, x):
    total = np.linalg.solve(a, x)[1] * np.linalg.solve(a, a.T)[0, 2] + np.linalg.inv(a)[1, 0]
    return total + np.linalg.solve(B, x)[2] + np.linalg.solve(a, ROW)[0]


@program(A, second=True)
def determinants(a):
    sign, log = np.linalg.slogdet(a)
    factor = np.linalg.cholesky(a @ a.T + np.eye(3))
    return np.linalg.det(a) + sign * log + factor[2, 1] * factor[1, 0] + factor[2, 2]


# --- made, joined and moved -----------------------------------------------------------------------


@program(A, X)
def joined(a, x):
    total = (np.concatenate((x, x * x)) * 2.0).sum() + np.concatenate((x, Y))[2]
    total += np.hstack((x, Y))[1] + np.vstack((a, a * a))[4, 1] + np.column_stack((x, x * x))[2, 1]
    return total + np.stack((x, x * 2.0))[1, 3] + np.append(x, x[0] * 3.0)[5]


@program(A, X)
def moved(a, x):
    total = np.roll(x, 2)[0] + np.flip(x)[1] * np.diff(x)[2] + np.repeat(x, 2)[5] + np.diag(a)[1]
    total += np.clip(x, 0.0, 1.0).sum() + np.maximum(x, x[::-1]).sum() + np.diag(x)[2, 2]
    return total + np.expand_dims(x, 0)[0, 1]


@program(X, P)
def made(x, p):
    a, b = nt.array([x[0], p, 1.0]), nt.array([[p, 2.0], [x[1], x[2] * p]])
    c, d, e, f = nt.array((p, x[3])), nt.full(3, p), np.zeros_like(x), np.ones_like(x) * p
    e[1] = p
    g = np.linspace(0.0, 1.0, 5) * x + np.arange(5) * p
    return a[0] * a[1] + b[1, 1] * b[0, 0] + c[0] * c[1] + d[1] + (e * x).sum() + f[2] + g.sum()


@program(X, P)
def lists_and_tuples(x, p):
    numbers = [p, x[0]]
    numbers.append(x[1] * p)
    numbers.append(2.0 * p)
    last = numbers.pop()
    squares = [v * v for v in x]
    arrays = [x, x * p]
    arrays.append(x * 2.0)
    u, v, w = x, p, x * p
    total = last + numbers[0] * numbers[1] + numbers[-1] + sum(squares) + arrays[1][2] * v
    for z in arrays:
        total += z[0]
    for z in numbers:
        total += z
    return total + (u * w).sum() + len(numbers) * p


@program(X, P)
def plain_or_recording(x, p):
    """Variables that hold a plain array first, and a recording one later."""
    w = np.linspace(0.0, 1.0, 5)
    z = w
    if x[0] > 0.0:
        z = x * p
    u = Y
    for _ in range(3):
        u = u + x * p
    t = w
    for i in range(2):
        t = t * 0.5 + i * x
    return z.sum() + u[2] * t[1] + (u * t).sum() + w @ u + t[1:].sum() + (t @ t) * z[::2][1]


JITTED = {name: nt.jit(f) for name, (f, *_) in PROGRAMS.items()}


def close(found, expected):
    expected = np.asarray(expected)
    return np.allclose(found, expected, rtol=LAST_BITS, atol=LAST_BITS * np.abs(expected).max())


@pytest.mark.parametrize("name", PROGRAMS)
def test_recorded_in_compiled_code(name):
    f, args, second = PROGRAMS[name]
    compiled, kept = JITTED[name], [np.copy(x) for x in args]
    argnums = tuple(range(len(args)))
    value, gradients = nt.value_and_grad(compiled, argnums)(*args)
    assert all(map(np.array_equal, args, kept))
    expected, slopes = nt.value_and_grad(f, argnums)(*args)
    assert value == pytest.approx(expected, rel=LAST_BITS)
    plain = compiled if "nt" in f.__code__.co_names else f
    assert value == pytest.approx(plain(*args), rel=LAST_BITS)
    assert any(np.any(g) for g in gradients)
    assert all(map(close, gradients, slopes))
    if second:
        assert close(nt.hessian(compiled)(*args), nt.hessian(f)(*args))


# --- what goes wrong ------------------------------------------------------------------------------


@nt.jit
def at_index(x, i):
    z = x * 2.0
    z[i] += 1.0
    return z[i] + x[np.array([0, i])].sum() + (x[:, None] * x)[i, i]


@pytest.mark.parametrize("i", [5, -6, 10**12])
def test_indices_out_of_bounds(i):
    with pytest.raises(IndexError, match="out of bounds"):
        nt.grad(at_index)(X, i)
    assert nt.grad(at_index)(X, 4).any()  # and the next call is as usual


@nt.jit
def of_shapes(x, y, kind):
    z = np.zeros(3)
    if kind == 0:
        z[:] = x
    if kind == 1:
        z += x
    if kind == 2:
        z = x * y[:3]
    if kind == 3:
        return x @ y[:3]
    if kind == 4:
        return np.max(x[:0])
    if kind == 5:
        return np.zeros(-len(x)).sum() + x[0]
    if kind == 6:
        return np.linalg.solve(x[:4].reshape(2, 2) * 0.0, y[:2])[0]
    if kind == 7:
        return np.linalg.inv(x[:4].reshape(1, 4))[0, 0]
    return z.sum() + x[0]


@pytest.mark.parametrize("kind", range(8))
def test_errors_of_numpy(kind):
    with pytest.raises(ValueError if kind < 6 else np.linalg.LinAlgError):
        nt.grad(of_shapes)(X, Y, kind)


def into_plain(x):
    z = np.arange(5) * 1.0
    z += x
    return z.sum()


def element_into_plain(x):
    z = np.linspace(0.0, 1.0, 5)
    z[1] = x[0]
    return z.sum()


def into_perhaps_plain(x):
    z = np.linspace(0.0, 1.0, 5)
    if x[0] > 0.0:
        z = x
    z[0] = 1.0
    return z.sum()


@pytest.mark.parametrize("f", [into_plain, element_into_plain, into_perhaps_plain])
def test_nothing_recorded_is_written_to_a_plain_array(f):
    with pytest.raises(nt.CompileError, match="plain"):
        nt.grad(nt.jit(f, cache=False))(X)


@nt.jit
def fill(q, x):
    q[0] = x[1]
    inner = q[1:-1]
    inner += x[0]
    return q[1] * x[2] + (q * q).sum()


def test_a_given_array_is_filled_in_a_copy():
    q = Y.copy()
    gradient = nt.grad(fill, 1)(q, X)
    assert np.array_equal(q, Y)
    expected = nt.grad(lambda x: fill.py_func(nt.array(list(Y)), x))(X)
    assert close(gradient, expected)
    fill(q, X)
    assert q[0] == X[1]
