"""What the passes do for the public workloads, as recorded.

Each program is recorded by `nt.function`. Then, for each level and for each pass alone (with those
that tidy up behind it, `dead` and `slots`): instructions, slots, bytes that a gradient needs, the
time of a replay of the values and of the gradient, what the passes cost, and after how many replays
they have paid. And as a user meets them: all calls `nt.value_and_grad(f)` up to the 11th, 30th,
100th and 1000th replay at the default level against level 0, the cost of the passes included, every
call at another point. Particle and saddle, which differentiate within loops, are timed as a whole.
All numbers of optimised programs are held to the recorded ones. Prints tables, writes
`results/passes.json`.

    python perf/passes.py [--quick] [--programs gmm_d2_K5,moons,...] [--seconds 1.0]
"""

import argparse
import gc
import json
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import passes_programs
from passes_programs import PROGRAMS, QUICK
from replay_race import nested
from timing import describe_machine, paired_ratio, say, timed_rounds, versions
from workloads import DataMissingError, distance

import ndtape as nt
from ndtape.passes import DEFAULT_LEVEL, PASSES, Goal, OptimisedTape, code_of, optimised
from ndtape.run import Workspace, address, entry
from ndtape.tape import BYTES_PER_INSTRUCTION
from ndtape.traced.lean import output_slots

RESULTS = Path(__file__).parent / "results"
LEVELS = (1, 2, 3)
TIDY = ("dead", "slots", "settle")  # those of them that come behind a pass follow it
MARKS = (11, 30, 100, 1000)  # replays
NESTED = ("particle", "saddle")
SAME = 1e-9
MOST = 41  # rounds
LONGEST = 10.0  # seconds of calls of one contestant in one trial
TURN = 2e-3  # seconds of calls of one of them before it is the other's turn


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer programs, short rounds")
    parser.add_argument("--programs", help=f"of {', '.join(PROGRAMS)}")
    parser.add_argument("--seconds", type=float, help="of rounds, for each program and task")
    parser.add_argument("--trials", type=int, help="of cumulative times, for each program")
    parser.add_argument("--nested", help="'particle', 'saddle' or both; empty for none")
    parser.add_argument("--output", type=Path, default=RESULTS / "passes.json")
    chosen = parser.parse_args(arguments)
    usual = QUICK if chosen.quick else list(PROGRAMS)
    chosen.programs = usual if chosen.programs is None else chosen.programs.split(",")
    chosen.programs = [name for name in chosen.programs if name]
    usual = [] if chosen.quick else list(NESTED)
    chosen.nested = usual if chosen.nested is None else [n for n in chosen.nested.split(",") if n]
    chosen.seconds = chosen.seconds or (0.2 if chosen.quick else 1.5)
    chosen.trials = chosen.trials or (2 if chosen.quick else 7)
    return chosen


# --- programs before and after passes -------------------------------------------------------------


class Sweeps:
    """A code with numbers of its own: `values()` and `gradient()` replay it without Python."""

    def __init__(self, code, recorded):
        self.code = code
        self.tape = OptimisedTape(code, recorded)
        self.work = Workspace(self.tape)
        self.end = len(self.tape)
        self.work._prepare(self.end)
        for kind in ("forward", "reverse"):
            self.work.prepare_loops(kind, 1 << 40)
        self.root = int(code.results[0])
        self.top = self.tape.above((self.root,)) - 1

    def at(self, numbers):
        self.work.arrays["v"][: len(numbers)] = numbers

    def values(self):
        hold = entry("holding")
        status = hold(address("forward"), self.work.frame_address, self.code.inputs, self.end)
        assert status == 0, status

    def gradient(self):
        status = entry("replay")(
            address("forward"), address("reverse"), self.work.frame_address, self.code.inputs,
            self.code.inputs, self.end, self.top, self.root, self.tape.slots, 1,
        )  # fmt: skip
        assert status == 0, status

    def found(self, task, inputs):
        """The numbers that somebody asked for."""
        getattr(self, task)()
        values = self.work.arrays["v"][self.code.results].copy()
        adjoints = self.work.arrays["g"][:inputs].copy()
        return [values] if task == "values" else [values[:1], adjoints]

    @property
    def bytes(self):
        """What a replay needs: the program, values, and for gradients adjoints."""
        pools = self.code.columns["k"].nbytes + self.code.columns["m"].nbytes
        return BYTES_PER_INSTRUCTION * self.code.length + pools, 8 * self.code.slots


def recorded(function, point):
    """The trace that a call leaves."""
    nt.value_and_grad(function)(point)
    (program,) = function.all_programs()
    return program.traces[0]


def variants(code, goal):
    """By name: the code after each level and after each pass alone, and the seconds that took.

    What finds nothing to do has no entry but for the levels.
    """
    for level in LEVELS:
        seconds, after = least(lambda level=level: optimised(code, goal._replace(level=level)))
        yield f"level {level}", after, seconds
    for one in PASSES:
        if one.run(code, goal._replace(level=max(one.level, DEFAULT_LEVEL))) is None:
            continue
        yield one.name, *alone(one, code, goal)


def alone(one, code, goal):
    goal = goal._replace(level=max(one.level, DEFAULT_LEVEL))
    seconds, after = least(lambda: one.run(code, goal))
    for tidy in PASSES[PASSES.index(one) + 1 :]:
        if tidy.name in TIDY:
            after = tidy.run(after, goal) or after
    return after, seconds


def least(run, repeats=3):
    """The shortest time of a few runs, and what they give."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = run()
        times.append(time.perf_counter() - start)
        if times[0] > 1.0:
            break
    return min(times), found


def measure(name, options):
    """Rows of one program: a variant each, for values and for the gradient."""
    program = passes_programs.program(name)
    function = nt.function(program.function, optimize=0)
    function.clear()
    trace = recorded(function, program.points[0])
    numbers = np.concatenate([np.ravel(x) for x in nt.trees.flatten(program.points[0])[0]])
    inputs, wanted = trace.leading[0], output_slots(trace)
    for task, reverse in (("values", False), ("gradient", True)):
        results = wanted[:1] if reverse else wanted
        code, goal = code_of(trace.tape, inputs, results), Goal(0, reverse)
        say(f"{program.title}: {task}")
        made = [("recorded", code, 0.0), *variants(code, goal)]
        sweeps = [Sweeps(after, trace.tape) for _, after, _ in made]
        expected = None
        for (variant, *_), one in zip(made, sweeps, strict=True):
            one.at(numbers)
            found = one.found(task, len(numbers))
            expected = expected or found
            far = max(distance(x, y) for x, y in zip(found, expected, strict=True))
            if not far < SAME:
                raise AssertionError(f"{program.title}, {task}, {variant}: {far:.1e} off")
        gc.collect()
        times = timed_rounds([getattr(s, task) for s in sweeps], options.seconds, most=MOST)
        yield from rows_of(name, program.title, task, made, sweeps, times)


def rows_of(name, title, task, made, sweeps, times):
    buffers = 1 if task == "values" else 2
    for (variant, code, seconds), one, samples in zip(made, sweeps, times, strict=True):
        program, numbers = one.bytes
        ratio = paired_ratio(samples, times[0])
        gain = (1.0 - ratio) * median(times[0])
        yield {
            "program": name,
            "workload": PROGRAMS.get(name, ("",))[0],
            "title": title,
            "task": task,
            "variant": variant,
            "instructions": code.length,
            "slots": code.slots,
            "bytes": program + buffers * numbers,
            "value": round(1e6 * median(samples), 4),
            "unit": "µs",
            "over recorded": round(ratio, 5),
            "least over recorded": round(min(samples) / min(times[0]), 5),
            "passes, ms": round(1e3 * seconds, 4),
            "pays after": round(seconds / gain) if gain > 0 and variant != "recorded" else None,
            "rounds": len(samples),
        }


# --- as a user meets them -------------------------------------------------------------------------


def calls(program, levels, marks):
    """Seconds of all replays up to each mark, by level; None where they would take too long.

    The levels take turns every few calls, so that all of them see the same machine.
    """
    gradients, spent = {}, dict.fromkeys(levels, 0.0)
    for level in levels:
        function = nt.function(program.function, optimize=level)
        function.clear()
        gradients[level] = nt.value_and_grad(function)
        gradients[level](program.points[0])
    reached, done, turn = {level: [] for level in levels}, 0, 1
    for mark in marks:
        if done and mark * max(spent.values()) / done > LONGEST:
            break
        while done < mark:
            count = min(turn, mark - done)
            points = [program.points[j % len(program.points)] for j in range(done, done + count)]
            for level in levels:
                spent[level] += seconds_of(gradients[level], points)
            levels, done = levels[::-1], done + count
            turn = max(1, int(TURN * done / max(spent.values())))
        for level in levels:
            reached[level].append(spent[level])
    missing = [None] * (len(marks) - len(reached[levels[0]]))
    return {level: times + missing for level, times in reached.items()}


def seconds_of(call, points):
    start = time.perf_counter()
    for point in points:
        call(point)
    return time.perf_counter() - start


def cumulative(name, options):
    """A row: the time of all replays up to each mark, and the default level's over level 0's."""
    program = passes_programs.program(name)
    say(f"{program.title}: calls")
    samples = {0: [], DEFAULT_LEVEL: []}
    for trial in range(options.trials):
        gc.collect()
        found = calls(program, (0, DEFAULT_LEVEL)[:: 1 if trial % 2 else -1], MARKS)
        for level, times in found.items():
            samples[level].append(times)
    row = {"program": name, "workload": PROGRAMS.get(name, ("",))[0], "title": program.title}
    for j, mark in enumerate(MARKS):
        zero, default = ([trial[j] for trial in samples[k]] for k in (0, DEFAULT_LEVEL))
        if None not in zero and None not in default:
            row[str(mark)] = {
                "level 0, ms": round(1e3 * median(zero), 4),
                "default, ms": round(1e3 * median(default), 4),
                "ratio": round(paired_ratio(default, zero), 4),
                "least": round(min(default) / min(zero), 4),
            }
    return row


def whole_programs(name, options):
    """Rows: seconds of all of particle or saddle, at level 0 and at the default level."""
    say(name)
    program, golden = nested.PROGRAMS[name]

    def run(level):
        found = program(nt.grad, nt.grad, partial(nt.function, optimize=level))
        assert distance(np.array(found, dtype=float), nested.GOLDEN[golden]) < 1e-10

    levels = (0, DEFAULT_LEVEL)
    for level in levels:
        run(level)
    times = timed_rounds([partial(run, level) for level in levels], 20 * options.seconds)
    for level, samples in zip(levels, times, strict=True):
        yield {
            "program": name,
            "workload": "14",
            "level": level,
            "value": round(median(samples), 5),
            "unit": "s",
            "over level 0": round(paired_ratio(samples, times[0]), 4),
        }


def measure_all(options):
    report = {
        "machine": describe_machine(),
        "versions": versions(("ndtape", "numpy", "numba", "llvmlite")),
        "how": "medians of interleaved rounds; ratios are medians of ratios within a round",
        "default level": DEFAULT_LEVEL,
        "passes": [{"name": one.name, "level": one.level, "doc": one.doc} for one in PASSES],
        "rows": [],
        "calls": [],
        "nested": [],
    }
    for name in options.programs:
        try:
            report["rows"] += measure(name, options)
            report["calls"].append(cumulative(name, options))
        except DataMissingError as error:
            say(f"{name}: skipped, {error}")
    for name in options.nested:
        report["nested"] += whole_programs(name, options)
    return report


def main(arguments=None):
    from passes_report import print_lines, print_tables

    options = parse_arguments(arguments)
    report = measure_all(options)
    print_tables(report, sys.stdout)
    print_lines(report, sys.stdout)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    options.output.write_text(text + "\n", encoding="utf-8")
    say(f"written to {options.output}")


if __name__ == "__main__":
    main()
