"""Many rows of one program: nanoseconds an operation a lane, and Monte-Carlo greeks.

Chains of arithmetic and of transcendental operations, of lengths in and beyond the cache, on as
many rows as make 16 million operations; and an Asian call with its six greeks, of the mean over all
paths and of every path. `nt.vmap` on one thread and on two, against JAX (`jit` of `vmap`), NumPy
vectorised and differentiated by hand, CasADi's `map` and PyTorch's `torch.func`, those that are
installed, on one thread each. All numbers agree to 1e-9 before times count. What a first call needs
(recording, or tracing and compiling) is told apart, in a warm process and in a fresh one.
Prints tables and what must hold, writes `results/lanes.json`.

    python perf/lanes.py [--rows must|default|'asian_*,arithmetic_n1000_*'] [--peers none|jax,...]
"""

import argparse
import fnmatch
import sys
from pathlib import Path

import lanes_race
import rnn
from lanes_race.problems import problem as problem_of
from timing import say

LENGTHS = (100, 1000, 10_000, 100_000)
CHAINS = [
    f"{kind}_n{length}_{task}"
    for task in ("value", "gradient")
    for kind in ("arithmetic", "transcendental")
    for length in LENGTHS
]
ASIANS = [
    f"asian_d{dates}_p{paths}_{task}"
    for task in ("mean", "paths")
    for dates, paths in ((12, 10_000), (12, 100_000), (252, 10_000))
]
MUST = ["arithmetic_n1000_gradient", "arithmetic_n100000_gradient", "asian_d12_p10000_mean"]
SETS = {"must": MUST, "default": [*CHAINS, *ASIANS]}
FIRST = "asian_d12_p10000_mean"


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default="default", help=f"{', '.join(SETS)} or patterns of names")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--first", default=FIRST, help="row of the first calls; empty for none")
    parser.add_argument("--fresh", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seconds", type=float, default=3.0, help="of rounds, for each row")
    parser.add_argument("--output", type=Path, default=rnn.RESULTS / "lanes.json")
    chosen = parser.parse_args(arguments)
    peers = {"all": list(lanes_race.MODULES), "none": []}
    chosen.peers = peers.get(chosen.peers, chosen.peers.split(","))
    chosen.rows = wanted_rows(chosen.rows)
    return chosen


def wanted_rows(text):
    """Names: of a set, given, or of the usual ones that match a pattern; in order, each once."""
    names = []
    for part in filter(None, text.split(",")):
        found = SETS.get(part) or fnmatch.filter(SETS["default"], part)
        names += found or [problem_of(part).name]
    return list(dict.fromkeys(names))


def measure_all(options):
    modules, missing = lanes_race.load(options.peers, say)
    report = rnn.new_report(modules, missing) | {"rows": [], "first": []}
    for problem in map(problem_of, options.rows):
        report["rows"] += rnn.measure(problem, modules, options)
        rnn.write(report, options.output)
    if options.first:
        problem = problem_of(options.first)
        report["first"] += rnn.measure_first(problem, modules, None, options.fresh)
    return report


def main(arguments=None):
    from lanes_report import print_lines, print_tables

    options = parse_arguments(arguments)
    report = measure_all(options)
    print_tables(report, sys.stdout)
    print_lines(report, sys.stdout)
    rnn.write(report, options.output)
    say(f"written to {options.output}")


if __name__ == "__main__":
    main()
