"""Rosenbrock's valley by second-order methods: SciPy's optimisers with exact derivatives.

The function is written as one writes it, a loop over scalars. `nt.minimize` hands SciPy what the
method asks for: the gradient, Hessian-vector products, or the Hessian. The tables count what each
method evaluates, beside the same method on differences of function values.

    python examples/rosenbrock.py
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize as scipy_minimize

import ndtape as nt

METHODS = {
    "BFGS": "gradient",
    "Newton-CG": "gradient, H·v",
    "trust-ncg": "gradient, H·v",
    "trust-exact": "gradient, H",
}


@nt.function
def rosenbrock(x):
    """Σ 100 (x[i+1] − x[i]²)² + (1 − x[i])²; the least value is 0, at (1, …, 1)."""
    total = 0.0
    for i in range(len(x) - 1):
        total = total + 100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2
    return total


def hessian_by_hand(x):
    """The tridiagonal matrix of second derivatives, shape (n, n)."""
    n = len(x)
    h = np.zeros((n, n))
    for i in range(n - 1):
        h[i, i] += 1200 * x[i] ** 2 - 400 * x[i + 1] + 2
        h[i + 1, i + 1] += 200
        h[i, i + 1] = h[i + 1, i] = -400 * x[i]
    return h


def solve(method, start):
    """The optimiser's report, at a tolerance that asks for all digits of the solution."""
    options = {"xtol": 1e-10} if method == "Newton-CG" else {"gtol": 1e-9}
    return nt.minimize(rosenbrock, start, method=method, options=options)


def solve_by_differences(start):
    """BFGS as SciPy does it when it is given no derivative: n + 1 values a gradient."""
    return scipy_minimize(rosenbrock, start, method="BFGS", options={"gtol": 1e-8})


def compare(start):
    """All methods from one starting point, printed; reports by name of the method."""
    print(
        f"{'method':14s}{'derivatives':16s}{'steps':>6s}{'f':>8s}{'f′':>6s}{'H, H·v':>8s}", end=""
    )
    print(f"{'f(x)':>10s}{'max |x−1|':>12s}")
    reports = {"BFGS, differences": solve_by_differences(start)}
    reports |= {method: solve(method, start) for method in METHODS}
    for name, found in reports.items():
        method, _, derivatives = name.partition(", ")
        gradients = found.njev if not derivatives else "–"
        hessians = found.nhev if getattr(found, "nhev", 0) else "–"
        print(
            f"{method:14s}{derivatives or METHODS[method]:16s}{found.nit:6d}{found.nfev:8d}"
            f"{gradients:>6}{hessians:>8}{found.fun:10.1e}{distance(found.x):12.1e}"
        )
    return reports


def distance(x):
    """How far from the solution, in the worst coordinate."""
    return float(np.max(np.abs(np.asarray(x) - 1)))


def valley(place):
    """The function of two named numbers, for a start that is a dict."""
    return 100 * (place["north"] - place["east"] ** 2) ** 2 + (1 - place["east"]) ** 2


def second_derivatives(n):
    """Largest differences of Hessian and Hessian-vector product from the matrix by hand."""
    x, v = np.sin(np.arange(n, dtype=float)), np.cos(np.arange(n, dtype=float))
    by_hand = hessian_by_hand(x)
    whole = np.max(np.abs(nt.hessian(rosenbrock)(x) - by_hand))
    product = np.max(np.abs(nt.hvp(rosenbrock, (x,), (v,))[2][0] - by_hand @ v))
    return float(whole), float(product)


def main(n=100):
    """Print the comparison; the reports by number of variables and method."""
    found = {}
    for title, start in [
        ("n = 2, from (−1.2, 1)", np.array([-1.2, 1.0])),
        (f"n = {n}, from the origin", np.zeros(n)),
    ]:
        print(f"Rosenbrock's function, {title}: evaluations\n")
        found[len(start)] = compare(start)
        print()
    whole, product = second_derivatives(n)
    print(f"second derivatives at n = {n} against the matrix by hand: H {whole:.0e}, ", end="")
    print(f"H·v {product:.0e} (entries up to {np.max(hessian_by_hand(np.ones(3))):.0f})")

    found["tree"] = nt.minimize(valley, {"east": -1.2, "north": 1.0}, method="BFGS")
    place = ", ".join(f"{name} {value:.6f}" for name, value in found["tree"].x.items())
    print(f"a dict goes in and comes out: {place}\n")
    print(rosenbrock.explain())
    return found


if __name__ == "__main__":
    main()
