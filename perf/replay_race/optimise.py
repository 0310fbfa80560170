"""A whole optimisation: scipy.optimize's BFGS and CG on Rosenbrock's function of 100 variables."""

import time
from functools import partial

import numpy as np
from scipy.optimize import minimize
from timing import say
from workloads import fill, rosenbrock

SIZE = 100
METHODS = ("BFGS", "CG")
ROUNDS = 5


def with_ndtape(program):
    import ndtape as nt

    function = nt.function(program)
    function.clear()  # of what this process may have recorded before
    return nt.value_and_grad(function)


def with_autograd(program):
    from autograd import value_and_grad

    return value_and_grad(program)


def with_jax(program):
    import jax

    jax.config.update("jax_enable_x64", True)
    differentiate = jax.jit(jax.value_and_grad(program))

    def both(x):
        value, gradient = differentiate(x)
        return float(value), np.asarray(gradient)

    return both


def by_hand(program):
    from scipy.optimize import rosen, rosen_der

    return lambda x: (rosen(x), rosen_der(x))


CONTESTANTS = {
    "ndtape, scalar loop": partial(with_ndtape, rosenbrock.loop),
    "ndtape, vector": partial(with_ndtape, rosenbrock.vector),
    "JAX jit, vector": partial(with_jax, rosenbrock.vector),
    "autograd, vector": partial(with_autograd, rosenbrock.vector),
    "SciPy, by hand": partial(by_hand, None),
}


def measure(names):
    """One row a contestant and method: seconds with the first call, and of later optimisations."""
    for method in METHODS:
        runs = {}
        for name in names:
            try:
                runs[name] = timed(method, CONTESTANTS[name])
            except ImportError as error:
                say(f"{name}: skipped, not installed ({error})")
        later = {name: [] for name in runs}
        for _ in range(ROUNDS):  # in turns, as everywhere
            for name, (_, _, again) in runs.items():
                later[name].append(again())
        for name, (first, found, _) in runs.items():
            yield {
                "method": method,
                "contestant": name,
                "first": round(first, 5),
                "value": round(float(np.median(later[name])), 5),
                "unit": "s",
                "evaluations": int(found.nfev),
                "iterations": int(found.nit),
                "found": float(found.fun),
            }


def timed(method, make):
    """Seconds of the first optimisation, what it found, and a function that does it again."""
    start = time.perf_counter()
    both = make()
    found = minimize(both, fill(SIZE), jac=True, method=method)
    first = time.perf_counter() - start
    # 3.98… is the second minimum of this function, at (−1, 1, 1, …).
    if not (found.fun < 1e-6 or abs(found.fun - 3.9866) < 1e-2):
        raise AssertionError(f"{method} ends at {found.fun}")

    def again():
        start = time.perf_counter()
        minimize(both, fill(SIZE), jac=True, method=method)
        return time.perf_counter() - start

    return first, found, again
