"""Workload 01, ADBench's D-LSTM on real text: a Python loop recorded once, and `nt.scan`.

For each size: the golden value and gradient, then a gradient in the steady state, the first one in
a warm process (recording, or a peer's tracing and compiling) and the first one of a fresh process
whose disk caches are warm. Peers: JAX, PyTorch and autograd, those that are installed. XLA does not
finish with all steps of the Python loop: it gets the first ten, and ours beside it.
Prints tables and what must hold, writes `results/dlstm.json`.

    python perf/dlstm.py [--sizes l2_c1024,l4_c4096] [--peers all|none|jax,...]
"""

import argparse
import sys
from pathlib import Path

import rnn
import rnn_race
from rnn_race.forecast import Forecast
from timing import say
from workloads import DataMissingError

SIZES = ["l2_c1024", "l4_c4096"]
SHORT = "l2_c1024_first10"


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default=",".join(SIZES), help="comma-separated")
    parser.add_argument("--short", default=SHORT, help="what JAX unrolls; empty for nothing")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--seconds", type=float, default=4.0, help="of rounds, for each size")
    parser.add_argument("--output", type=Path, default=rnn.RESULTS / "dlstm.json")
    chosen = parser.parse_args(arguments)
    peers = {"all": [n for n in rnn_race.MODULES if n != "numba"], "none": []}
    chosen.peers = peers.get(chosen.peers, chosen.peers.split(","))
    chosen.sizes = [size for size in chosen.sizes.split(",") if size]
    return chosen


def measure_all(options):
    modules, missing = rnn.modules_of(options.peers)
    report = rnn.new_report(modules, missing) | {"rows": [], "first": [], "short": []}
    try:
        for size in options.sizes:
            problem = Forecast(f"dlstm_{size}")
            report["rows"] += rnn.measure(problem, modules, options)
            report["first"] += rnn.measure_first(problem, modules, rnn.LONGEST_UNROLL)
        if options.short:
            problem = Forecast(f"dlstm_{options.short}")
            report["short"] += rnn.measure_first(problem, modules, fresh=False)
    except DataMissingError as error:
        say(f"skipped, {error}")
    return report


def main(arguments=None):
    from dlstm_report import print_lines, print_tables

    options = parse_arguments(arguments)
    report = measure_all(options)
    print_tables(report, sys.stdout)
    print_lines(report, sys.stdout)
    rnn.write(report, options.output)
    say(f"written to {options.output}")


if __name__ == "__main__":
    main()
