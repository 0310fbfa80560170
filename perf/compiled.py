"""Gradients of compiled functions over the functions themselves: ndtape's compiled recorder, raced.

Chains of scalar operations, FastAD's standard set in scalar loops and with arrays, likelihoods of
series, advection, bodies, a Kalman filter. For each: the plain function (the faster of Numba's and
ours), recording alone, value and gradient; against gradients written by hand in Numba, the replayed
and the eager tape, JAX, XAD and, on the chains, PyTorch, those that are installed. Every gradient
is non-zero and equal to the hand-written one before its time counts. Then what compiling costs.
Prints tables and writes `results/compiled.json`.

    python perf/compiled.py [--quick] [--peers all|none|numba,...] [--problems circle_1000,...]
"""

import argparse
import gc
import json
import sys
import time
from pathlib import Path

import compiled_race
from compiled_race import GRADIENT, PRIMAL
from timing import describe_machine, paired_ratio, say, spread, timed_rounds, versions
from workloads import DataMissingError

RESULTS = Path(__file__).parent / "results"
SECONDS = {False: 2.0, True: 0.3}  # of rounds, for each problem; by --quick
MOST = 51  # rounds
LONG = 0.02  # seconds; longer calls are timed one by one, shorter ones a turn of all points
SLOW = 1.0  # seconds; longer calls are made twice and not in rounds
QUICK_OPERATIONS = 20_000  # of the problems of --quick, at most


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small problems only, short rounds")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--problems", help="<program>_<size>, comma-separated; empty for none")
    parser.add_argument("--compile", help="<program>,... or 'thirty'; empty for none")
    parser.add_argument("--fresh", help="those to compile in fresh processes too")
    parser.add_argument("--seconds", type=float, help="of rounds, for each problem")
    parser.add_argument("--output", type=Path, default=RESULTS / "compiled.json")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)  # task, programs
    chosen = parser.parse_args(arguments)
    peers = {"all": list(compiled_race.MODULES), "none": []}
    chosen.peers = peers.get(chosen.peers, chosen.peers.split(","))
    chosen.seconds = chosen.seconds or SECONDS[chosen.quick]
    return chosen


def listed(option):
    return [name for name in option.split(",") if name]


def wanted_problems(options):
    from compiled_race.problems import names, problem

    if options.problems is not None:
        return [problem(name) for name in listed(options.problems)]
    found = [problem(name) for name in names()]
    return [p for p in found if not options.quick or p.operations <= QUICK_OPERATIONS]


def wanted_programs(options):
    """(programs to compile, those of them to compile in fresh processes too)."""
    from compiled_race.compile_cost import FRESH, PROGRAMS, QUICK

    names = QUICK if options.quick else PROGRAMS
    if options.compile is not None:
        names = listed(options.compile)
    unknown = [name for name in names if name not in PROGRAMS]
    if unknown:
        raise ValueError(f"no program {unknown[0]!r}: one of {', '.join(PROGRAMS)}")
    fresh = FRESH if options.fresh is None else listed(options.fresh)
    return names, [name for name in names if name in fresh]


# --- one problem ----------------------------------------------------------------------------------


class Timed:
    """A contestant that has run, and gives the right numbers."""

    def __init__(self, problem, module, entry):
        say(f"{problem.title}: {entry.name}, {entry.task}")
        self.problem, self.module, self.entry = problem, module, entry
        start = time.perf_counter()
        self.run = entry.build()
        seconds = time.perf_counter() - start
        self.arguments = [entry.convert(point) for point in problem.points]
        start = time.perf_counter()
        result = self.run(*self.arguments[0])
        self.first = seconds + time.perf_counter() - start
        self.check(0, result)
        start = time.perf_counter()
        result = self.run(*self.arguments[1])
        self.second = time.perf_counter() - start
        self.check(1, result)
        self.turn, self.count = 0, len(self.arguments) if self.second < LONG else 1

    def check(self, point, result):
        from compiled_race.problems import AGREED, NEAR

        ours = self.module in ("ndtape", "numba")
        found = self.entry.read(result)
        found = found if isinstance(found, tuple) else (found,)
        self.problem.check(self.entry.name, point, *found, tolerance=NEAR if ours else AGREED)

    @property
    def is_slow(self):
        return self.second > SLOW

    def __call__(self):
        if self.count == 1:
            self.turn = (self.turn + 1) % len(self.arguments)
            self.run(*self.arguments[self.turn])
        else:
            for arguments in self.arguments:
                self.run(*arguments)


def samples_of(entries, seconds):
    """Seconds of a call, round by round; one figure for those that are slow."""
    racing = [timed for timed in entries if not timed.is_slow]
    for timed in racing:  # the first turn decides how often one is repeated within a sample
        timed()
    # What one leaves behind is not to be collected in the time of the next.
    gc.collect()
    gc.freeze()
    rounds = dict(zip(map(id, racing), timed_rounds(racing, seconds, most=MOST), strict=True))
    gc.unfreeze()
    return [
        [s / timed.count for s in rounds[id(timed)]] if id(timed) in rounds else [timed.second]
        for timed in entries
    ]


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
        for entry in module.contestants(problem)
    ]
    samples = samples_of(entries, options.seconds)
    pairs = list(zip(entries, samples, strict=True))
    primal = min((s for e, s in pairs if e.entry.task == PRIMAL), key=lambda s: spread(s)[0])
    ours = next(
        s for e, s in pairs if (e.entry.name, e.entry.task) == ("ndtape, compiled", GRADIENT)
    )
    for timed, seconds in pairs:
        middle, low, high = (1e6 * t for t in spread(seconds))
        row = {
            "problem": problem.name,
            "program": problem.kind,
            "size": problem.size,
            "form": problem.program.form,
            "title": problem.title,
            "contestant": timed.entry.name,
            "task": timed.entry.task,
            "value": round(middle, 4),
            "quartiles": [round(low, 4), round(high, 4)],
            "unit": "µs",
            "rounds": len(seconds),
            "over_primal": round(over(seconds, primal), 4),
            "first, ms": round(1e3 * timed.first, 3),
        }
        if problem.program.form == "chain":
            row["ns an operation"] = round(1e3 * middle / problem.operations, 4)
        if timed.module != "ndtape" or timed.entry.task == GRADIENT:
            row["ndtape_over_this"] = round(over(ours, seconds), 6)
        yield row


def modules_of(names):
    """Ours first, then the peers that are installed; by name."""
    from compiled_race import ours

    found, missing = compiled_race.load(names, say)
    return {"ndtape": ours, **found}, missing


def measure_all(options):
    from compiled_race import compile_cost

    problems, (programs, fresh) = wanted_problems(options), wanted_programs(options)
    modules, missing = modules_of(options.peers)
    packages = [package for module in modules.values() for package in module.PACKAGES]
    report = {
        "machine": describe_machine(),
        "versions": versions(dict.fromkeys(packages)),
        "peers skipped": missing,
        "how": "medians of interleaved rounds; ratios are medians of ratios within a round",
        "rows": [],
        "compile": [],
    }
    for problem in problems:
        try:
            report["rows"] += measure(problem, modules, options)
        except DataMissingError as error:
            say(f"{problem.name}: skipped, {error}")
    if programs:
        report["compile"] = compile_cost.measure(programs, fresh, say)
    return report


def main(arguments=None):
    options = parse_arguments(arguments)
    if options.child:
        from compiled_race.compile_cost import be_the_child

        be_the_child(options.child[0], options.child[1:])
        return
    from compiled_report import print_budgets, print_tables

    report = measure_all(options)
    print_tables(report, sys.stdout)
    print_budgets(report, sys.stdout)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    options.output.write_text(text + "\n", encoding="utf-8")
    say(f"written to {options.output}")


if __name__ == "__main__":
    main()
