"""The budgets of the scalar library, a line each: what was allowed, what was measured, met or not.

Start-up is measured in fresh processes with a compile cache of their own; everything else in
interleaved rounds, ratios within a round. Nothing fails here: a figure over its budget is printed
as such. Writes `results/budgets.json`.

    python perf/budgets.py [--only start,recording,replay,memory]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import ours
import peers
from chain import gather
from problems import PROBLEMS, Circle
from timing import describe_machine, paired_ratio, say, seconds_of, timed_rounds, versions

import ndtape as nt
from ndtape.passes import seal
from ndtape.run import LANES, Workspace

RESULTS = Path(__file__).parent / "results"
ROUNDS_BUDGET = 4.0  # seconds a group of contestants

IMPORT = "import time; start = time.perf_counter(); import ndtape"
FIRST_GRADIENT = f"{IMPORT} as nt; x = nt.var(2.0); (nt.sin(x) * x).backward(); assert x.grad"
TEN_MILLION = """
import ndtape as nt
from pathlib import Path
def peak():  # not getrusage: its maximum is inherited from the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
nt.sin(nt.var(1.0)).backward()
base = peak()
x, k, omega = y, _, _ = [nt.var(v) for v in (0.5, 0.5, 2.39996)]
for _ in range(2_500_000):
    y = nt.sin(y) * k + y + omega
y.backward()
assert x.grad and k.grad and omega.grad
print((peak() - base) / 1e7)
"""


@dataclass
class Line:
    """One budget and what came of it."""

    what: str
    budget: float | None  # None: a figure to state, without a budget
    measured: float
    unit: str
    note: str = ""

    @property
    def met(self):
        return None if self.budget is None else self.measured <= self.budget

    def __str__(self):
        verdict = {None: "stated", True: "met", False: "NOT MET"}[self.met]
        note = f"  ({self.note})" if self.note else ""
        allowed = "" if self.budget is None else f"<= {self.budget:g}"
        return f"{self.what:58s} {allowed:>8s} {self.measured:9.3g} {self.unit:10s} {verdict}{note}"


# --- fresh processes ------------------------------------------------------------------------------


def fresh_process(code, cache):
    """Run `code` in a new interpreter with its own compile cache; what it printed, its stderr."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    if finished.returncode:
        raise RuntimeError(f"the fresh process failed:\n{finished.stderr}")
    return float(finished.stdout), finished.stderr.strip()


def timed(code):
    return f"{code}; print(time.perf_counter() - start)"


def start_lines():
    """Import and first gradient, on an empty and on a filled compile cache."""
    with tempfile.TemporaryDirectory() as cache:
        cold, said = fresh_process(timed(FIRST_GRADIENT), cache)
        warm = [fresh_process(timed(FIRST_GRADIENT), cache)[0] for _ in range(5)]
        imports = [fresh_process(timed(IMPORT), cache)[0] for _ in range(5)]
    yield Line("import, warm cache", 0.4, median(imports), "s", "median of 5 processes")
    note = f"{len(said.splitlines())} line(s) on stderr"
    yield Line("first gradient, cold cache, import included", 10.0, cold, "s", note)
    yield Line("first gradient, warm cache, import included", 0.8, median(warm), "s")


# --- recording ------------------------------------------------------------------------------------


def by_operators(x, w, steps):
    for _ in range(steps):
        x = x * w + w
    return x


def by_functions(x, w, steps):
    for _ in range(steps):
        x = nt.sin(nt.cos(x))
    return x


def by_constants(x, w, steps):
    for _ in range(steps):
        x = 0.5 * x + 1.25
    return x


def by_numpy(x, w, steps):
    for _ in range(steps):
        x = np.sin(np.cos(x))
    return x


def recorder(body, lines=False, steps=20_000):
    def run():
        with nt.Tape(lines=lines):
            body(nt.var(0.5), nt.var(0.25), steps)

    return run, 2 * steps


def recording_lines():
    """Nanoseconds an operation, the Python loop around it included."""
    kinds = {
        "recording, operators": (by_operators, False, 330),
        "recording, operators with a constant": (by_constants, False, 330),
        "recording, nt.* functions": (by_functions, False, 330),
        "recording, NumPy functions": (by_numpy, False, 800),
    }
    runs = [recorder(body, lines) for body, lines, _ in kinds.values()]
    traced, operations = recorder(by_operators, lines=True)
    traced()
    samples = timed_rounds([run for run, _ in runs] + [traced], ROUNDS_BUDGET)
    for (what, (_, _, budget)), seconds in zip(kinds.items(), samples, strict=False):
        yield Line(what, budget, 1e9 * median(seconds) / operations, "ns/op")
    extra = median(a - b for a, b in zip(samples[-1], samples[0], strict=True))
    yield Line("recording source lines, in addition", 70, 1e9 * extra / operations, "ns/op")
    yield from look_lines()


def look_lines():
    """Reading a value after each operation, less the recording of the operation."""
    steps = 20_000

    def record(read):
        x, w = nt.var(0.5), nt.var(0.25)
        for _ in range(steps):
            x = x * w
            if read:
                _ = x.value
        _ = x.value

    looking, recording = timed_rounds(
        [lambda: record(True), lambda: record(False)], ROUNDS_BUDGET / 2
    )
    look = median(a - b for a, b in zip(looking, recording, strict=True))
    yield Line("a look at a fresh value", 0.6, 1e6 * look / steps, "us")


# --- replay ---------------------------------------------------------------------------------------


def race(problem, operations, names):
    """Contestants of `chain.py` at one length: {(name, task): seconds of every round}."""
    size = problem.size_for(operations)
    modules, _ = peers.load(names, say)
    recorded = ours.Recorded(problem, size)
    entries = gather(recorded, modules, 1.0, problem.gradient(size))
    samples = timed_rounds([entry.run for entry in entries], ROUNDS_BUDGET)
    keys = [(entry.name, entry.task) for entry in entries]
    return dict(zip(keys, samples, strict=True)), problem.operations(size)


def circle_lines(operations):
    samples, count = race(PROBLEMS["circle"], operations, ["numba", "casadi", "xad"])
    at = f"{count:.0e} operations".replace("e+0", "e")
    replay = samples["ndtape", peers.REPLAY]
    record = samples["ndtape", peers.RECORD]
    name = f"circle map, value + gradient, {at}"
    yield Line(name, 13, 1e9 * median(replay) / count, "ns/op")
    rivals = [
        ("hand Numba", peers.REPLAY, replay, 1.5),
        ("hand Numba, stores sin", peers.REPLAY, replay, 1.5),
        ("CasADi buffer()", peers.REPLAY, replay, 1.0),
        ("XAD", peers.RECORD, record, 0.7),
    ]
    for rival, task, mine, budget in rivals:
        if (rival, task) in samples:
            theirs = samples[rival, task]
            note = f"theirs {1e9 * median(theirs) / count:.3g} ns/op, {task}"
            what = f"  over {rival}, {at}"
            yield Line(what, budget, paired_ratio(mine, theirs), "x", note)
    packs = f"value and gradient in packs of {LANES}"
    fits = count * LANES * 16 <= 1 << 20
    what = f"packs of {LANES}, {'within' if fits else 'beyond'} L2, {at}"
    nanoseconds = 1e9 * median(samples["ndtape", packs]) / (count * LANES)
    yield Line(what, 0.9 if fits else 2.0, nanoseconds, "ns/op/lane")


def replay_lines():
    for operations in (1_000, 100_000):
        yield from circle_lines(operations)
    samples, count = race(PROBLEMS["wide"], 10_000, [])
    nanoseconds = 1e9 * median(samples["ndtape", peers.REPLAY]) / count
    yield Line("Rosenbrock's function as recorded, 10^4 operations", 3, nanoseconds, "ns/op")
    yield Line("fixed cost of a replayed gradient call", 1.0, 1e6 * small_call(), "us")


def small_call():
    """Seconds of value and gradient of x * x from a new input, at its best of a few medians."""
    x = nt.var(2.0)
    with nt.Tape() as tape:
        x * x
    work, inputs = Workspace(seal(tape)), np.array([3.0])

    def call():
        work.set_inputs(inputs)
        work.gradient(1)

    call()
    return median(seconds_of(call, 2_000) for _ in range(15))


# --- memory ---------------------------------------------------------------------------------------


def memory_lines():
    problem = Circle()
    size = problem.size_for(100_000)
    facts = ours.Recorded(problem, size).facts(problem.gradient(size))
    held = facts["bytes_per_operation"]
    yield Line("sealed tape with values and adjoints", 36, held, "bytes/op")
    if Path("/proc/self/status").exists():
        with tempfile.TemporaryDirectory() as cache:
            peak, _ = fresh_process(TEN_MILLION, cache)
        note = "process peak over that after a first gradient"
        yield Line("10^7 operations, recorded and swept, at the peak", None, peak, "bytes/op", note)


GROUPS = {
    "start": start_lines,
    "recording": recording_lines,
    "replay": replay_lines,
    "memory": memory_lines,
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default=",".join(GROUPS), help="groups, comma-separated")
    parser.add_argument("--output", type=Path, default=RESULTS / "budgets.json")
    options = parser.parse_args(arguments)
    lines = []
    for group in options.only.split(","):
        for line in GROUPS[group]():
            print(line, flush=True)
            lines.append({"group": group, **asdict(line), "met": line.met})
    packages = ["ndtape", "numba", "numpy", "casadi", "xad"]
    report = {"machine": describe_machine(), "versions": versions(packages), "lines": lines}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
