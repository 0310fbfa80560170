"""What an installed ndtape must do with nothing but its dependencies: `python -I smoke.py`.

Runs in any environment and folder and needs no test library; tests/packages.py runs it in empty
environments, with the oldest and with the newest versions of what ndtape stands on.
"""

from __future__ import annotations

import pickle
import platform
import sys
import tempfile
import warnings
from importlib.metadata import files, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import ndtape as nt
import ndtape.numpy as nnp

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def close(ours, exact, tolerance=1e-12):
    np.testing.assert_allclose(ours, exact, rtol=tolerance, atol=tolerance)


def rosenbrock(x):
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def newton_sqrt(x):
    y = 1.0
    while abs(y * y - x) > 1e-12 * x:
        y = 0.5 * (y + x / y)
    return y


def squares(a, x):
    return ((a * x) ** 2).sum()


@check
def installed():
    """The package comes out of this environment, with its version, and says that it is typed."""
    assert Path(nt.__file__).is_relative_to(sys.prefix), nt.__file__
    assert version("ndtape") == nt.__version__
    names = {str(path) for path in files("ndtape") or ()}
    assert "ndtape/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "examples", "perf", "docs"))]


@check
def eager():
    W, x = nt.var([[0.1, -0.2], [0.4, 0.5]]), np.array([1.0, 2.0])
    h = np.tanh(W @ x)
    h[0] *= 2.0
    h.sum().backward()
    close(W.grad.round(4), [[1.8303, 3.6605], [0.2162, 0.4323]])


@check
def transforms():
    x = np.array([1.3, 0.7, 0.8])
    close(nt.grad(rosenbrock)(np.ones(3)), np.zeros(3))
    H = nt.hessian(rosenbrock)(x)
    product = nt.jvp(nt.grad(rosenbrock), (x,), (np.ones(3),))[1]
    close(product, H @ np.ones(3))
    close(nt.vmap(nt.grad(rosenbrock))(np.stack([x, x + 1]))[0], nt.grad(rosenbrock)(x))


@check
def traced():
    f = nt.function(newton_sqrt)
    for x in (2.0, 3.0, 2.0):
        close(nt.grad(f)(x), 0.5 / np.sqrt(x))


@check
def compiled():
    f = nt.jit(newton_sqrt, cache=False)
    close(f(2.0), np.sqrt(2.0))
    close(nt.grad(f)(2.0), 0.5 / np.sqrt(2.0))


@check
def loops_and_solvers():
    def last(a):
        return nt.scan(lambda carry, x: (a * carry + x, carry), 0.0, np.arange(5.0))[0]

    close(nt.grad(last)(0.5), 5.75)

    def square_root(a):
        return nt.root(lambda x, a: x * x - a, 1.0, (a,)).x

    close(nt.grad(square_root)(2.0), 0.5 / np.sqrt(2.0))


@check
def numpy_namespace():
    A = np.array([[2.0, 0.5], [0.5, 1.0]])
    close(nt.grad(lambda a: nnp.linalg.slogdet(a)[1])(A), np.linalg.inv(A).T)


@check
def files_and_pickles():
    f = nt.function(newton_sqrt)
    nt.grad(f)(2.0)
    with tempfile.TemporaryDirectory() as folder:
        f.save(Path(folder) / "root.npz")
        close(nt.grad(nt.load(Path(folder) / "root.npz"))(2.0), 0.5 / np.sqrt(2.0))
    try:
        close(nt.grad(pickle.loads(pickle.dumps(f)))(3.0), 0.5 / np.sqrt(3.0))
    except nt.UnsupportedError as error:  # code of a script travels by cloudpickle
        assert find_spec("cloudpickle") is None and 'pip install "ndtape[' in str(error), error


@check
def text_and_profile():
    x = nt.var(2.0, name="x")
    y = x * nt.sin(x)
    assert "cos" in str(y.tape.explain(y))
    assert "sin" in str(y.tape.profile(y))


@check
def missing_packages_are_named():
    """What needs an extra says which; where the extra is installed, it works."""
    y = nt.sin(nt.var(2.0))
    wanted = ["draw"] if find_spec("graphviz") is find_spec("grandalf") is None else []
    wanted += ["parallel"] if find_spec("joblib") is None else []
    for extra, use in (
        ("draw", lambda: str(y.tape.draw(y))),
        ("parallel", lambda: nt.parallel.grad(squares, engine="joblib")(1.0, [np.ones(3)] * 2)),
    ):
        try:
            use()
        except ImportError as error:
            assert extra in wanted and f'pip install "ndtape[{extra}]"' in str(error), error
        else:
            assert extra not in wanted, extra


@check
def errors_are_ours():
    for wrong in (lambda x: nt.sin(x) + np.ones(3), lambda x: x @ x[:1]):
        try:
            nt.grad(wrong)(np.ones(2))
        except nt.TapeError:
            continue
        raise AssertionError("no exception")


def main():
    for function in CHECKS:
        print(f"  {function.__name__}", flush=True)
        function()
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("numpy", "numba", "scipy", "optree")
    )
    print(f"ndtape {nt.__version__} works: CPython {platform.python_version()}, {packages}")


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
