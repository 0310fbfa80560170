"""Traced functions on the public workloads: recorded once, replayed with new inputs, raced.

For each problem: the first gradient in this process (recording, or a peer's tracing and compiling,
and one evaluation), the first gradient of a fresh process (start of the interpreter, imports and
disk caches included), then gradient and Hessian-vector product in the steady state, every call at
another point; instructions on our tapes and nanoseconds an instruction. Rosenbrock's tridiagonal
Hessian, whole optimisations by BFGS and CG, and derivatives nested in data-dependent loops follow.
Peers: JAX, CasADi, PyTorch, autograd, SciPy's hand-written derivatives, gradients by hand in Numba,
those that are installed. Every number is held to the golden ones to 1e-10 before its time counts.
Prints tables and writes `results/replay.json`.

    python perf/replay.py [--quick] [--peers all|none|jax,...] [--problems rosenbrock_100,moons,...]
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import replay_race
from replay_race import GRADIENT
from replay_race.problems import problem as problem_of
from timing import describe_machine, paired_ratio, say, spread, timed_rounds, versions
from workloads import DataMissingError

RESULTS = Path(__file__).parent / "results"
PROBLEMS = [
    *(f"{kind}_{n}" for kind in ("rosenbrock", "ackley") for n in (2, 100, 10_000, 100_000)),
    *("gmm_d2_K5", "gmm_d10_K10", "gmm_d20_K25", "moons", "lynx_hare", "cascade_36", "cascade_100"),
]
QUICK = ["rosenbrock_2", "rosenbrock_100", "ackley_100", "gmm_d2_K5", "lynx_hare", "cascade_36"]
FRESH = ["rosenbrock_100", "gmm_d2_K5", "moons", "lynx_hare", "cascade_100"]
NESTED = ["particle", "saddle"]
SECONDS = {False: 2.0, True: 0.3}  # of rounds, for each problem and task; by --quick
MOST = 101  # rounds
LONG = 0.02  # seconds; longer calls are timed one by one, shorter ones a turn of all points


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer problems, short rounds")
    parser.add_argument("--peers", default="all", help="'all', 'none' or names, comma-separated")
    parser.add_argument("--problems", help=f"of {', '.join(PROBLEMS)}")
    parser.add_argument("--fresh", help="problems to start fresh processes for, comma-separated")
    parser.add_argument("--nested", help="'particle', 'saddle' or both; empty for none")
    parser.add_argument("--optimise", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seconds", type=float, help="of rounds, for each problem and task")
    parser.add_argument("--output", type=Path, default=RESULTS / "replay.json")
    parser.add_argument("--first", nargs=3, help=argparse.SUPPRESS)  # the child of `fresh_seconds`
    chosen = parser.parse_args(arguments)
    peers = {"all": list(replay_race.MODULES), "none": []}
    chosen.peers = peers.get(chosen.peers, chosen.peers.split(","))
    for name, usual, quick in (
        ("problems", PROBLEMS, QUICK),
        ("fresh", FRESH, []),
        ("nested", NESTED, ["saddle"]),
    ):
        given = getattr(chosen, name)
        usual = quick if chosen.quick else usual
        setattr(chosen, name, usual if given is None else [n for n in given.split(",") if n])
    chosen.seconds = chosen.seconds or SECONDS[chosen.quick]
    return chosen


def modules_of(names):
    """Ours first, then the peers that are installed; by name."""
    from replay_race import ours

    found, missing = replay_race.load(names, say)
    return {"ndtape": ours, **found}, missing


# --- first calls ----------------------------------------------------------------------------------


def first_call(entry, point):
    """(seconds, run, result): building, and the first run; making the argument is not timed."""
    start = time.perf_counter()
    run = entry.build()
    seconds = time.perf_counter() - start
    argument = entry.convert(point)
    start = time.perf_counter()
    result = run(argument)
    return seconds + time.perf_counter() - start, run, entry.read(result)


def fresh_seconds(problem, module, entry):
    """From the start of an interpreter to its first gradient; the second of two has warm caches."""
    command = [sys.executable, __file__, "--first", problem.name, module, entry.name]
    for _ in range(2):
        start = time.time()
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = float(finished.stdout.split()[-1]) - start
    return round(seconds, 3)


def be_the_child(problem_name, module_name, contestant):
    """One gradient in this fresh process; prints when it was there."""
    modules = {"ndtape": "replay_race.ours", **replay_race.MODULES}
    from importlib import import_module

    problem = problem_of(problem_name)
    for entry in import_module(modules[module_name]).contestants(problem):
        if (entry.name, entry.task) == (contestant, GRADIENT):
            first_call(entry, problem.points[0])
            print(time.time())
            return


# --- the steady state -----------------------------------------------------------------------------


class Timed:
    """A contestant that has run once, and gives the right numbers."""

    def __init__(self, problem, module, entry, expected):
        say(f"{problem.title}: {entry.name}, {entry.task}")
        self.problem, self.module, self.entry = problem, module, entry
        self.first, self.run, found = first_call(entry, problem.points[0])
        problem.check(entry.name, entry.task, found)
        if self.first < 3.0:  # libraries load what they need in the first one
            self.first, self.run, _ = first_call(entry, problem.points[0])
        self.arguments = [entry.convert(point) for point in problem.points]
        start = time.perf_counter()
        found = entry.read(self.run(self.arguments[1]))
        problem.compare(entry.name, entry.task, found, expected.setdefault(entry.task, found))
        self.turn = 0
        self.count = len(self.arguments) if time.perf_counter() - start < LONG else 1

    def __call__(self):
        if self.count == 1:
            self.turn = (self.turn + 1) % len(self.arguments)
            self.run(self.arguments[self.turn])
        else:
            run = self.run
            for argument in self.arguments:
                run(argument)


def measure(name, modules, options):
    """The rows of one problem."""
    problem, expected = problem_of(name), {}
    entries = [
        Timed(problem, module_name, entry, expected)
        for module_name, module in modules.items()
        for entry in module.contestants(problem)
    ]
    for task in dict.fromkeys(timed.entry.task for timed in entries):
        racing = [timed for timed in entries if timed.entry.task == task]
        for timed in racing:  # the first turn decides how often one is repeated within a sample
            timed()
        # What one leaves behind is not to be collected in the time of the next.
        gc.collect()
        gc.freeze()
        samples = timed_rounds(racing, options.seconds, most=MOST)
        each = [[s / r.count for s in seconds] for r, seconds in zip(racing, samples, strict=True)]
        yield from rows_of(problem, task, racing, each, options)


def rows_of(problem, task, racing, samples, options):
    ours = {
        timed.entry.name: seconds
        for timed, seconds in zip(racing, samples, strict=True)
        if timed.module == "ndtape"
    }
    for timed, seconds in zip(racing, samples, strict=True):
        middle, low, high = (1e6 * t for t in spread(seconds))
        row = {
            "problem": problem.name,
            "title": problem.title,
            "contestant": timed.entry.name,
            "task": task,
            "value": round(middle, 4),
            "quartiles": [round(low, 4), round(high, 4)],
            "unit": "µs",
            "rounds": len(seconds),
            "first, ms": round(1e3 * timed.first, 3),
        }
        facts = timed.entry.facts()
        if facts.get("instructions"):
            row |= facts | {"ns an instruction": round(1e3 * middle / facts["instructions"], 3)}
        if timed.module != "ndtape":
            row["ndtape_over_this"] = {
                name: round(paired_ratio(reference, seconds), 5) for name, reference in ours.items()
            }
        if task == GRADIENT and problem.name in options.fresh and "out=" not in row["contestant"]:
            row["fresh, s"] = fresh_seconds(problem, timed.module, timed.entry)
        yield row


def measure_all(options):
    modules, missing = modules_of(options.peers)
    packages = [package for module in modules.values() for package in module.PACKAGES]
    report = {
        "machine": describe_machine(),
        "versions": versions(dict.fromkeys(packages)),
        "peers skipped": missing,
        "how": "medians of interleaved rounds; ratios are medians of ratios within a round",
        "rows": [],
        "optimisations": [],
        "nested": [],
    }
    for name in options.problems:
        try:
            report["rows"] += measure(name, modules, options)
        except DataMissingError as error:
            say(f"{name}: skipped, {error}")
    if options.optimise:
        from replay_race import optimise

        wanted = [n for n in optimise.CONTESTANTS if library_of(n) in modules]
        report["optimisations"] += optimise.measure(wanted)
    for name in options.nested:
        from replay_race import nested

        report["nested"] += nested.measure(name, [n for n in nested.CONTESTANTS if n in modules])
    return report


def library_of(contestant):
    return contestant.split()[0].strip(",").lower()


def main(arguments=None):
    options = parse_arguments(arguments)
    if options.first:
        be_the_child(*options.first)
        return
    from replay_report import print_tables

    report = measure_all(options)
    print_tables(report, sys.stdout)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    options.output.write_text(text + "\n", encoding="utf-8")
    say(f"written to {options.output}")


if __name__ == "__main__":
    main()
