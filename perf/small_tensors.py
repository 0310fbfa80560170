"""Operations on small arrays, up to 1024 elements and 256×256 matrices, and a small network.

What an operation takes in the sweeps of a recorded tape, beside one hand-written loop for each
operation in one Numba function (its transcendental functions are the C library's) and beside calls
of NumPy, PyTorch and JAX jit; what it takes recorded afresh with its derivative, beside PyTorch and
autograd. Then forward and backward of a network 64-32-10 on scikit-learn's digits. All contestants
of a size take turns in one run, after their numbers have agreed with NumPy's to 1e-9. Prints
tables and writes `results/small_tensors.json`.

    python perf/small_tensors.py [--quick] [--peers all|none|torch,...] [--operations add,...]
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

from small_report import NETWORK, print_budgets, print_tables
from tensors import hand_numba, network, ours, with_numpy
from tensors.operations import OPERATIONS, check
from timing import describe_machine, paired_ratio, say, spread, timed_rounds, versions

RESULTS = Path(__file__).parent / "results"
PEERS = {
    "torch": "tensors.with_torch",
    "jax": "tensors.with_jax",
    "autograd": "tensors.with_autograd",
}
SECONDS = {False: 0.5, True: 0.08}  # of rounds, for each operation and size; by --quick


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="every second size, short rounds")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--operations", default=",".join(OPERATIONS))
    parser.add_argument("--batches", default=",".join(map(str, network.BATCHES)))
    parser.add_argument("--seconds", type=float, help="of rounds, for each operation and size")
    parser.add_argument("--output", type=Path, default=RESULTS / "small_tensors.json")
    chosen = parser.parse_args(arguments)
    chosen.peers = {"all": list(PEERS), "none": []}.get(chosen.peers, chosen.peers.split(","))
    chosen.operations = [name for name in chosen.operations.split(",") if name]
    chosen.batches = [int(b) for b in chosen.batches.split(",") if b]
    chosen.seconds = chosen.seconds or SECONDS[chosen.quick]
    return chosen


def load(names):
    """The modules of the wanted peers that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = import_module(PEERS[name])
        except ImportError as error:
            say(f"{name}: skipped, not installed ({error})")
    return found


def rows_of(label, size, entries, samples):
    """One row of figures a contestant; the ratio is to ndtape's time for the same work.

    A call of NumPy is compared with a swept operation: the swept one is what it replaces.
    """
    middle_of = {}
    for entry, seconds in zip(entries, samples, strict=True):
        if entry.name.startswith("ndtape"):
            middle_of[entry.name, entry.task] = [s / entry.count for s in seconds]
    for entry, seconds in zip(entries, samples, strict=True):
        each = [s / entry.count for s in seconds]
        middle, low, high = (1e9 * t for t in spread(each))
        yield {
            "operation": label,
            "size": size,
            "contestant": entry.name,
            "task": entry.task,
            "value": round(middle, 3),
            "quartiles": [round(low, 3), round(high, 3)],
            "unit": "ns",
            "rounds": len(seconds),
            "ndtape_over_this": {
                f"{name}, {task}": round(paired_ratio(reference, each), 5)
                for (name, task), reference in middle_of.items()
                if (name, task) != (entry.name, entry.task)
                and ("values and" in task) == ("values and" in entry.task)
            },
        }


def measure(operation, size, modules, options):
    """The rows of one operation at one size."""
    say(f"{operation.name}, {size}")
    expected = operation.expected(operation.operands(size))
    entries = []
    for module in (ours, hand_numba, with_numpy, *modules.values()):
        for entry in module.contestants(operation, size):
            check(entry, expected, f"{operation.name} of {size}")
            entries.append(entry)
    samples = timed_rounds([entry.run for entry in entries], options.seconds)
    return list(rows_of(operation.name, size, entries, samples))


def measure_network(batch, options):
    say(f"network, batch {batch}")
    expected = network.by_hand(*network.data(batch))
    entries = list(network.contestants(batch, options.peers, say))
    for entry in entries:
        check(entry, expected, f"the network with batch {batch}")
    samples = timed_rounds([entry.run for entry in entries], 4 * options.seconds)
    return list(rows_of(NETWORK, batch, entries, samples))


def measure_all(options):
    modules = load(options.peers)
    packages = ["ndtape", *with_numpy.PACKAGES, *hand_numba.PACKAGES]
    packages += [package for module in modules.values() for package in module.PACKAGES]
    report = {
        "machine": describe_machine(),
        "versions": versions(dict.fromkeys(packages)),
        "how": "medians of interleaved rounds; ratios are medians of ratios within a round",
        "rows": [],
    }
    for name in options.operations:
        operation = OPERATIONS[name]
        for size in operation.sizes[:: 2 if options.quick else 1]:
            report["rows"] += measure(operation, size, modules, options)
    for batch in options.batches:
        report["rows"] += measure_network(batch, options)
    return report


def main(arguments=None):
    options = parse_arguments(arguments)
    report = measure_all(options)
    print_tables(report, sys.stdout)
    print_budgets(report, sys.stdout)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    say(f"written to {options.output}")


if __name__ == "__main__":
    main()
