"""Long scalar chains and wide scalar graphs, 10^3 to 10^7 operations: ndtape against its peers.

For each program and length: recording from Python, the sweeps one by one (forward, reverse,
tangent, forward-over-reverse, packs of 16 lanes) and bytes an operation; then the gradient against
autograd, PyTorch, XAD, CasADi, JAX and a hand-written Numba gradient, those that are installed. All
contestants of a length take turns in one run. Every gradient is checked against an independent
recurrence to 1e-9 before its time counts. Prints tables, writes `results/chain.json` and a plot.

    python perf/chain.py [--quick | --max] [--peers all|none|xad,casadi,...] [--sizes 1000,100000]
"""

import argparse
import gc
import json
import sys
from pathlib import Path

import ours
import peers
from plot import save_plot
from problems import PROBLEMS, check_gradient
from report import print_tables
from timing import describe_machine, paired_ratio, say, spread, timed_rounds, versions

RESULTS = Path(__file__).parent / "results"
SIZES = {"quick": [10**3, 10**4, 10**5], "default": [10**k for k in range(3, 8)]}
SIZES["max"] = SIZES["default"]
BUDGET = {"quick": 1.5, "default": 6.0, "max": 60.0}  # seconds of rounds a program and length
PATIENCE = {"quick": 0.3, "default": 1.0, "max": 10.0}


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="under a minute, to 10^5 operations")
    length.add_argument("--max", action="store_true", help="patient with slow peers, more rounds")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--sizes", help="lengths in operations, comma-separated")
    parser.add_argument("--problems", default="circle,wide")
    parser.add_argument("--seconds", type=float, help="of rounds, for each program and length")
    parser.add_argument("--output", type=Path, default=RESULTS / "chain.json")
    chosen = parser.parse_args(arguments)
    chosen.mode = "quick" if chosen.quick else "max" if chosen.max else "default"
    chosen.sizes = (
        [int(float(s)) for s in chosen.sizes.split(",")] if chosen.sizes else SIZES[chosen.mode]
    )
    return chosen


def wanted_peers(option):
    if option == "none":
        return []
    return list(peers.MODULES) if option == "all" else option.split(",")


def gather(recorded, modules, patience, expected):
    """Every contestant of one program and length, ours first, each with a verified gradient."""
    problem, size = recorded.problem, recorded.size
    entries = list(ours.contestants(recorded, patience))
    for module in modules:
        entries.extend(module.contestants(problem, size, patience))
    for entry in entries:
        found = entry.run()
        if entry.checked:
            check_gradient(problem, entry.name, expected, found)
    return entries


def rows_of(problem, size, entries, samples):
    """One row of figures a contestant: nanoseconds an operation, and our time against theirs."""
    operations = problem.operations(size)
    reference = {e.task: s for e, s in zip(entries, samples, strict=True) if e.name == "ndtape"}
    for entry, seconds in zip(entries, samples, strict=True):
        scale = 1e9 / (operations * entry.lanes)
        middle, low, high = (scale * t for t in spread(seconds))
        yield {
            "problem": problem.name,
            "operations": operations,
            "contestant": entry.name,
            "task": entry.task,
            "value": round(middle, 4),
            "quartiles": [round(low, 4), round(high, 4)],
            "unit": "ns/op" if entry.lanes == 1 else "ns/op/lane",
            "rounds": len(seconds),
            "prepare": round(entry.prepare_seconds * 1e9 / operations, 1),
            "prepare_unit": "ns/op, once",
            "ndtape_over_this": round(paired_ratio(reference[entry.task], seconds), 4)
            if entry.task in reference
            else None,
        }


def measure(problem, operations, modules, options):
    """The rows of one program at one length, and what is particular to our tape."""
    size = problem.size_for(operations)
    say(f"{problem.name}, {problem.operations(size)} operations")
    expected = problem.gradient(size)
    recorded = ours.Recorded(problem, size)
    facts = recorded.facts(expected)
    entries = gather(recorded, modules, PATIENCE[options.mode], expected)
    seconds = options.seconds or BUDGET[options.mode]
    samples = timed_rounds([entry.run for entry in entries], seconds)
    return list(rows_of(problem, size, entries, samples)), facts


def measure_all(options):
    modules, missing = peers.load(wanted_peers(options.peers), say)
    packages = ["ndtape", "numpy", "numba", "llvmlite"]
    packages += [package for module in modules for package in module.PACKAGES]
    report = {
        "machine": describe_machine(),
        "versions": versions(dict.fromkeys(packages)),
        "mode": options.mode,
        "peers skipped": missing,
        "how": "medians of interleaved rounds; ratios are medians of ratios within a round",
        "rows": [],
        "tapes": [],
    }
    for name in options.problems.split(","):
        for operations in options.sizes:
            rows, facts = measure(PROBLEMS[name], operations, modules, options)
            report["rows"] += rows
            report["tapes"].append(facts)
            gc.collect()
    return report


def main(arguments=None):
    options = parse_arguments(arguments)
    report = measure_all(options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print_tables(report, sys.stdout)
    save_plot(report, options.output.with_suffix(".png"), say)


if __name__ == "__main__":
    main()
