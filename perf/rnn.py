"""Recurrent networks forwards and backwards: microseconds a step, first calls, memory.

RNN, GRU and LSTM cells written in plain NumPy, recorded as an unrolled loop and as `nt.scan`;
against PyTorch (its module, and the loop unrolled by hand), JAX (`jit` of a scan and of the loop),
autograd and two loops with derivatives written by hand in Numba, those that are installed, one
thread each. All gradients by the weights agree before times count: to 1e-9, float32 to 1e-4. Then
the time to a first gradient of an unroll, and the peak memory of a fresh process for each schedule
of checkpoints. Prints tables and what must hold, writes `results/rnn.json` and pictures beside it.

    python perf/rnn.py [--rows must|default|all|'lstm_*,rnn_H16_B1_*'] [--peers all|none|jax,...]
"""

import argparse
import fnmatch
import gc
import itertools
import json
import math
import sys
import time
from pathlib import Path

import rnn_race
from rnn_race import memory
from rnn_race.fresh import seconds_to_gradient
from rnn_race.problems import problem as problem_of
from timing import describe_machine, paired_ratio, say, spread, timed_rounds, versions

RESULTS = Path(__file__).parent / "results"
MUST = [
    *(f"rnn_H{H}_B1_T100_float64" for H in (4, 16, 32, 64)),
    "rnn_H128_B32_T100_float64",
    *(f"lstm_H64_B8_T100_{dtype}" for dtype in ("float64", "float32")),
]
USUAL = [
    *MUST,
    *(f"rnn_H16_B1_T{T}_float64" for T in (10, 1000, 10_000)),
    *("rnn_H16_B1_T100_float32", "rnn_H64_B1_T100_float32", "rnn_H128_B1_T100_float64"),
    *("rnn_H16_B8_T100_float64", "rnn_H64_B8_T100_float64", "lstm_H16_B1_T100_float64"),
    *("gru_H16_B1_T100_float64", "gru_H64_B8_T100_float64", "gru_H64_B8_T100_float32"),
]
GRID = [
    f"{cell}_H{H}_B{B}_T{T}_{dtype}"
    for cell, H, B, T, dtype in itertools.product(
        ("rnn", "gru", "lstm"),
        (4, 16, 32, 64, 128, 256),
        (1, 8, 32),
        (10, 100, 1000, 10_000),
        ("float64", "float32"),
    )
]
SETS = {"must": MUST, "default": USUAL, "all": GRID}
FIRST = "rnn_H16_B1_T200_float64"  # XLA needs minutes for a longer loop
SECONDS = 2.0  # of rounds, for each row
MOST = 101  # rounds
SLOW = 3.0  # seconds; longer calls are made once and not in rounds
PATIENCE = 20.0  # seconds; first calls that take longer are not made again
LONGEST_UNROLL = 10  # steps that JAX is to compile in rows
ROOM = 6 << 30  # bytes; rows whose unroll needs more are left out


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default="default", help=f"{', '.join(SETS)} or patterns of names")
    parser.add_argument("--all", action="store_const", const="all", dest="rows", help="the grid")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--first", default=FIRST, help="row of the first calls; empty for none")
    parser.add_argument("--memory", default="1000,10000,100000", help="steps; empty for none")
    parser.add_argument("--schedules", default=";".join(memory.SCHEDULES), help="by semicolons")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of rounds, for each row")
    parser.add_argument("--output", type=Path, default=RESULTS / "rnn.json")
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True)
    chosen = parser.parse_args(arguments)
    peers = {"all": list(rnn_race.MODULES), "none": []}
    chosen.peers = peers.get(chosen.peers, chosen.peers.split(","))
    chosen.rows = wanted_rows(chosen.rows)
    chosen.memory = [int(steps) for steps in chosen.memory.split(",") if steps]
    return chosen


def wanted_rows(text):
    """Names: of a set, given, or those of the grid that match a pattern; in order, each once."""
    names = []
    for part in filter(None, text.split(",")):
        found = SETS.get(part) or fnmatch.filter(GRID, part) or [problem_of(part).name]
        names += found
    return list(dict.fromkeys(names))


def modules_of(names):
    """Ours last but for the hand-written ones, which are the first to say what is right."""
    from rnn_race import ours

    found, missing = rnn_race.load(names, say)
    return {**{n: m for n, m in found.items() if n == "numba"}, "ndtape": ours, **found}, missing


def contestants(module_name, module, problem, longest=None):
    """`longest`: the longest Python loop that JAX is to compile, its module's choice for None."""
    if module_name == "jax" and longest is not None:
        return module.contestants(problem, longest)
    return module.contestants(problem)


# --- first calls ----------------------------------------------------------------------------------


def first_call(entry, parameters):
    """(seconds, run, result): building, and the first run; making the argument is not timed."""
    argument = entry.convert(parameters)
    start = time.perf_counter()
    run = entry.build()
    result = run(argument)
    return time.perf_counter() - start, run, result


def measure_first(problem, modules, longest=math.inf, fresh=True):
    """First gradients: in this process, and with `fresh` in one of their own."""
    for module_name, module in modules.items():
        for entry in contestants(module_name, module, problem, longest):
            say(f"first gradient, {problem.title}: {entry.name}")
            seconds, _, result = first_call(entry, problem.points[0])
            problem.check(entry.name, 0, entry.read(result))
            attempts = [seconds]
            if seconds < PATIENCE:  # libraries load what they need in the first one
                attempts = [first_call(entry, problem.points[0])[0] for _ in range(3)]
            row = problem.description | {
                "contestant": entry.name,
                "value": round(1e3 * min(attempts), 4),
                "unit": "ms",
            }
            if fresh and entry.name != "JAX jit, unrolled":  # which compiles as long anywhere
                row["fresh, s"] = seconds_to_gradient(problem.name, module_name, entry.name)
            yield row


# --- the steady state -----------------------------------------------------------------------------


class Timed:
    """A contestant that has run, and gives the right numbers."""

    def __init__(self, problem, module, entry):
        say(f"{problem.title}: {entry.name}")
        self.problem, self.module, self.entry = problem, module, entry
        self.first, self.run, result = first_call(entry, problem.points[0])
        problem.check(entry.name, 0, entry.read(result))
        if self.first < PATIENCE:  # libraries load what they need in the first one
            self.first, self.run, _ = first_call(entry, problem.points[0])
        self.arguments = [entry.convert(point) for point in problem.points]
        start = time.perf_counter()
        result = self.run(self.arguments[1])
        self.second = time.perf_counter() - start
        problem.check(entry.name, 1, entry.read(result))
        self.turn = 0

    @property
    def is_slow(self):
        return self.second > SLOW

    def __call__(self):
        self.turn = (self.turn + 1) % len(self.arguments)
        self.run(self.arguments[self.turn])


def samples_of(entries, seconds):
    """Seconds of a call, round by round; one figure for those that are slow."""
    racing = [timed for timed in entries if not timed.is_slow]
    # What one leaves behind is not to be collected in the time of the next.
    gc.collect()
    gc.freeze()
    rounds = dict(zip(map(id, racing), timed_rounds(racing, seconds, most=MOST), strict=True))
    gc.unfreeze()
    return [rounds.get(id(timed), [timed.second]) for timed in entries]


def over(seconds, others):
    """The ratio of two lists of samples, in pairs where they are of the same rounds."""
    if len(seconds) == len(others):
        return paired_ratio(seconds, others)
    return spread(seconds)[0] / spread(others)[0]


def measure(problem, modules, options):
    """The rows of one problem."""
    entries = [
        Timed(problem, module_name, entry)
        for module_name, module in modules.items()
        for entry in contestants(module_name, module, problem)
    ]
    pairs = list(zip(entries, samples_of(entries, options.seconds), strict=True))
    ours = {timed.entry.name: seconds for timed, seconds in pairs if timed.module == "ndtape"}
    for timed, seconds in pairs:
        middle, low, high = (problem.scale * t for t in spread(seconds))
        row = problem.description | {
            "contestant": timed.entry.name,
            "value": round(middle, 4),
            "quartiles": [round(low, 4), round(high, 4)],
            "unit": problem.unit,
            "rounds": len(seconds),
            "first, ms": round(1e3 * timed.first, 3),
            **timed.entry.facts(),
        }
        if timed.module != "ndtape":
            row["ndtape_over_this"] = {n: round(over(own, seconds), 5) for n, own in ours.items()}
        yield row


def new_report(modules, missing):
    packages = [package for module in modules.values() for package in module.PACKAGES]
    return {
        "machine": describe_machine(),
        "versions": versions(dict.fromkeys(packages)),
        "peers skipped": missing,
        "how": "medians of interleaved rounds; ratios are medians of ratios within a round",
    }


def measure_all(options):
    modules, missing = modules_of(options.peers)
    report = new_report(modules, missing) | {"rows": [], "first": [], "memory": []}
    for problem in map(problem_of, options.rows):
        if problem.bytes > ROOM:
            say(f"{problem.title}: left out, about {problem.bytes >> 30} GiB for one unroll")
        else:
            report["rows"] += measure(problem, modules, options)
            write(report, options.output)  # all rows of the grid take hours
    if options.first:
        report["first"] += measure_first(problem_of(options.first), modules)
    for steps in options.memory:
        names = options.schedules.split(";")
        report["memory"] += memory.measure(steps, say, names)
    return report


def write(report, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def main(arguments=None):
    from rnn_report import print_lines, print_tables, save_plots

    options = parse_arguments(arguments)
    report = measure_all(options)
    print_tables(report, sys.stdout)
    print_lines(report, sys.stdout)
    write(report, options.output)
    say(f"written to {options.output}")
    if options.plots:
        save_plots(report, options.output, say)


if __name__ == "__main__":
    main()
