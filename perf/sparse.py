"""Sparse Jacobians and Hessians: the pattern, its colours, a first matrix and the next ones.

A tridiagonal system of up to 100 000 unknowns, an arrow, a grid, and a cart-pole's collocation;
`nt.jacobian(f, sparse=True)` and `nt.hessian(f, sparse=True)` against CasADi, whose patterns must
be the same entry by entry and whose numbers must agree to 1e-9, and against JAX's dense matrices.
The first matrix includes recording and detection, or building, or compiling; detection sweeps are
told apart from evaluation sweeps. Prints tables and what must hold, writes `results/sparse.json`.

    python perf/sparse.py [--rows must|default|'grid_*,arrow_*_hessian'] [--peers all|none|jax,...]
"""

import argparse
import fnmatch
import sys
from pathlib import Path

import rnn
import sparse_race
from sparse_race import detection
from sparse_race.problems import problem as problem_of
from timing import say

SIZES = {
    "tridiagonal": (1000, 100_000),
    "scalars": (1000, 100_000),
    "arrow": (1000, 10_000),
    "grid": (30, 316),
    "cart_pole": (51, 401),
}
EVERY = [
    f"{kind}_{size}_{task}"
    for task in ("jacobian", "hessian")
    for kind, sizes in SIZES.items()
    for size in sizes
    if (kind, task) != ("scalars", "hessian")
]
MUST = [
    "tridiagonal_100000_jacobian",
    *(name for name in EVERY if name.endswith("_hessian")),
]
SETS = {"must": MUST, "default": EVERY}
DETECTED = "tridiagonal_100000_jacobian,scalars_100000_jacobian,tridiagonal_100000_hessian"


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default="default", help=f"{', '.join(SETS)} or patterns of names")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--detection", default=DETECTED, help="rows, in processes of their own")
    parser.add_argument("--seconds", type=float, default=2.0, help="of rounds, for each row")
    parser.add_argument("--output", type=Path, default=rnn.RESULTS / "sparse.json")
    chosen = parser.parse_args(arguments)
    peers = {"all": list(sparse_race.MODULES), "none": []}
    chosen.peers = peers.get(chosen.peers, chosen.peers.split(","))
    chosen.rows = wanted_rows(chosen.rows)
    chosen.detection = [name for name in chosen.detection.split(",") if name]
    return chosen


def wanted_rows(text):
    """Names: of a set, given, or of the usual ones that match a pattern; in order, each once."""
    names = []
    for part in filter(None, text.split(",")):
        found = SETS.get(part) or fnmatch.filter(EVERY, part) or [problem_of(part).name]
        names += found
    return list(dict.fromkeys(names))


def measure_all(options):
    modules, missing = sparse_race.load(options.peers, say)
    report = rnn.new_report(modules, missing) | {"rows": [], "detection": []}
    for problem in map(problem_of, options.rows):
        report["rows"] += rnn.measure(problem, modules, options)
        rnn.write(report, options.output)
    for name in options.detection:
        say(f"detection, {name}")
        report["detection"].append(detection.measured(name))
    return report


def main(arguments=None):
    from sparse_report import print_lines, print_tables

    options = parse_arguments(arguments)
    report = measure_all(options)
    print_tables(report, sys.stdout)
    print_lines(report, sys.stdout)
    rnn.write(report, options.output)
    say(f"written to {options.output}")


if __name__ == "__main__":
    main()
