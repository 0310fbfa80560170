"""The kernels of vmath: worst error and where, and time an element beside libm and NumPy.

The error is the worst of 10**6 random bit patterns and 250 000 hard arguments (near zeros and
poles, near multiples of pi/2 up to 1e300, subnormal arguments and results), confirmed by mpmath.
Times are medians of interleaved rounds over 4096 arguments in cache: scalar code and libm in loops
that Numba compiled with its vectoriser off, packs of 16 lanes, the array kernel on a span, and
NumPy's ufunc into an array that is there.  Writes `results/vmath.json`.

    python perf/vmath.py [--only exp,tanh] [--patterns 1000000] [--seed 0] [--seconds 0.2]
"""

import argparse
import ctypes
import ctypes.util
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import scipy.special as sp
import timing
from numba import config, njit
from timing import describe_machine, paired_ratio, say, timed_rounds, versions

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import accuracy

RESULTS = Path(__file__).parent / "results"
COUNT = 4096
timing.SHORTEST_SAMPLE = 2e-4  # seconds: short, so that other processes seldom step into one
LIMITS = {"exp": 4.0, "tanh": 5.0, "sigmoid": 5.0}  # how much faster than libm they must be

LIBM = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh",
        "arccosh": "acosh", "arctanh": "atanh", "arctan2": "atan2", "power": "pow",
        "gammaln": "lgamma"}  # fmt: skip
SCIPY = {"erf": sp.erf, "erfc": sp.erfc, "gammaln": sp.gammaln, "digamma": sp.psi,
         "sigmoid": sp.expit}  # fmt: skip
RANGES = {"exp": (-20, 20), "exp2": (-20, 20), "expm1": (-5, 5), "log": (0.01, 100),
          "log2": (0.01, 100), "log10": (0.01, 100), "log1p": (-0.9, 10), "sin": (-100, 100),
          "cos": (-100, 100), "tan": (-100, 100), "arcsin": (-1, 1), "arccos": (-1, 1),
          "arccosh": (1, 50), "arctanh": (-1, 1), "sqrt": (0, 100), "power": (0.1, 10),
          "gammaln": (0.1, 30), "digamma": (0.1, 30)}  # fmt: skip


def libm_function(name, arguments):
    """The C library's function as ctypes found it, so that nothing replaces it."""
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    function = getattr(library, LIBM.get(name, name))
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * arguments
    return function


def libm_loop(name, arguments):
    """A compiled loop over libm's function, or over the usual formula by libm's; else None."""
    if name in ("sigmoid", "softplus"):
        exp, log1p = libm_function("exp", 1), libm_function("log1p", 1)
        if name == "sigmoid":
            f = njit(lambda x: 1.0 / (1.0 + exp(-x)), error_model="numpy")
        else:
            f = njit(lambda x: max(x, 0.0) + log1p(exp(-abs(x))), error_model="numpy")
    else:
        try:
            f = libm_function(name, arguments)
        except AttributeError:
            return None

    @njit(error_model="numpy")
    def one(x, out):
        for i in range(x.size):
            out[i] = f(x[i])

    @njit(error_model="numpy")
    def two(x, y, out):
        for i in range(x.size):
            out[i] = f(x[i], y[i])

    return one if arguments == 1 else two


def numpy_call(name, columns, out):
    """NumPy's or SciPy's function of the whole array; None where there is none."""
    f = getattr(np, name, SCIPY.get(name))
    return None if f is None else lambda: f(*columns, out=out)


@contextmanager
def scalar_code():
    """What is compiled in here has no vectorised loops; nothing that is cached on disk may be."""
    before = config.LOOP_VECTORIZE
    config.LOOP_VECTORIZE = 0
    try:
        yield
    finally:
        config.LOOP_VECTORIZE = before


def contestants(name):
    """Calls that compute the same 4096 elements, by name; all have run once."""
    arguments = len(accuracy.CASES[name].hard)
    low, high = RANGES.get(name, (-4, 4))
    rng = np.random.default_rng(7)
    columns = [accuracy.aligned(rng.uniform(low, high, COUNT)) for _ in range(arguments)]
    out = accuracy.aligned(columns[0])
    scalar, packed = accuracy.paths(name)
    addresses = [c.ctypes.data for c in (*columns, out)]
    runs = {
        "scalar": lambda: scalar(*columns, out),
        "pack": lambda: packed(*addresses, COUNT // accuracy.LANES),
        "span": accuracy.span_call(name, tuple(columns))[0],
    }
    libm = libm_loop(name, arguments)
    if libm is not None:
        runs["libm"] = lambda: libm(*columns, out)
    array_call = numpy_call(name, columns, out)
    if array_call is not None:
        runs["NumPy"] = array_call
    for key, run in runs.items():
        if key in ("scalar", "libm"):
            with scalar_code():
                run()
        else:
            run()
    return runs


def times(name, seconds):
    """Nanoseconds an element by contestant, and how many times the span kernel's libm takes."""
    runs = contestants(name)
    rounds = timed_rounds(list(runs.values()), seconds, most=300)
    measured = dict(zip(runs, rounds, strict=True))
    row = {key: 1e9 * median(samples) / COUNT for key, samples in measured.items()}
    if "libm" in measured:
        row["libm / span"] = paired_ratio(measured["libm"], measured["span"])
    return row


def errors(name, count, seed):
    columns = accuracy.arguments(name, seed, count)
    got = accuracy.by_scalars(name, *columns)
    for others in (accuracy.by_packs(name, *columns), accuracy.by_spans(name, *columns)):
        if not accuracy.same_bits(got[: others.size], others).all():
            sys.exit(f"{name}: scalars, packs and spans differ")
    found = accuracy.worst(name, columns, got)
    return {"ulp": found.ulp, "at": found.x}


COLUMNS = ("scalar", "pack", "span", "libm", "NumPy")
HEADER = (
    f"{'function':10s} {' '.join(f'{c:>7s}' for c in COLUMNS)} {'libm/span':>9s} {'ulp':>6s}  at"
)


def line(name, row):
    cells = [f"{row[k]:7.2f}" if k in row else f"{'-':>7s}" for k in COLUMNS]
    ratio = f"{row['libm / span']:8.1f}x" if "libm / span" in row else f"{'-':>9s}"
    where = ", ".join(f"{x:.17g}" for x in row["at"])
    return f"{name:10s} {' '.join(cells)} {ratio} {row['ulp']:6.3f}  {where}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(accuracy.CASES), help="names, by commas")
    parser.add_argument("--patterns", type=int, default=accuracy.MANY)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.3, help="for the times of a function")
    parser.add_argument("--output", type=Path, default=RESULTS / "vmath.json")
    options = parser.parse_args()
    if not accuracy.EXTENDED:
        sys.exit("errors are found with 80-bit long doubles, which this machine does not have")

    machine = describe_machine()
    say("ns an element; error in ulp of the exact result")
    print(HEADER)
    rows = {}
    for name in options.only.split(","):
        rows[name] = times(name, options.seconds) | errors(name, options.patterns, options.seed)
        print(line(name, rows[name]), flush=True)
    for name, limit in LIMITS.items():
        if name in rows and "libm / span" in rows[name]:
            ratio = rows[name]["libm / span"]
            verdict = "met" if ratio >= limit else "NOT MET"
            print(
                f"{name}: {ratio:.1f} times faster than libm, at least {limit:g} wanted: {verdict}"
            )
    report = {"machine": machine, "versions": versions(["numba", "numpy", "scipy"]),
              "patterns": options.patterns, "seed": options.seed, "rows": rows}  # fmt: skip
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
