"""Sums over shards by many processes: seconds a gradient, what an engine costs, a killed worker.

A GARCH likelihood of 10⁷ returns (`examples/many_returns.py`), a logistic regression of 2·10⁶ rows,
and sums so small that only the engine takes time; by one process, and by Dask, joblib and a pool of
processes, all in turns. The data lie with the workers. Every engine must give the bits of the one
process, also where a worker is killed in the middle. Prints tables and what must hold, writes
`results/parallel.json`.

    python perf/parallel.py [--programs returns,regression,engine] [--scale 1.0] [--workers 2]
"""

import argparse
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import rnn
from parallel_report import ALONE, counted, print_lines, print_tables
from timing import describe_machine, paired_ratio, say, seconds_of, spread, timed_rounds, versions

import ndtape as nt

sys.path.append(str(Path(__file__).parent.parent / "examples"))  # also for the workers
import many_returns

KILLS = 5


# --- programs: a loss, its parameters, callables that make shards ---------------------------------


def returns(scale):
    """Of 10⁷ observations in 250 shards, a loop over 1000 days."""
    count = max(8, round(250 * scale))
    makers = [partial(many_returns.made_returns, seed) for seed in range(count)]
    title = f"GARCH, {counted(count * 40_000)} returns in {count} shards"
    return title, many_returns.minus_log_likelihood, many_returns.START, makers


def logistic(p, shard):
    x, y = shard
    return np.sum(nt.softplus(-y * (x @ p["w"] + p["b"])))


def made_rows(seed, rows=20_000, columns=10):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    return x, np.sign(x @ np.ones(columns) + rng.logistic(size=rows))


def regression(scale):
    """Of 2·10⁶ rows in 100 shards, array operations."""
    count = max(8, round(100 * scale))
    makers = [partial(made_rows, seed) for seed in range(count)]
    title = f"logistic regression, {counted(count * 20_000)} rows in {count} shards"
    return title, logistic, {"w": np.zeros(10), "b": 0.0}, makers


def product(w, x):
    return w * x


def engine(_):
    """Of 16 numbers: what is left is the engine."""
    return "16 numbers, each a shard", product, 2.0, [partial(float, i) for i in range(16)]


PROGRAMS = {"returns": returns, "regression": regression, "engine": engine}


# --- engines --------------------------------------------------------------------------------------


@contextmanager
def cluster(workers):
    from distributed import Client, LocalCluster

    options = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL + 1}
    with LocalCluster(n_workers=workers, threads_per_worker=1, **options) as local:
        with Client(local) as client:
            yield client


@contextmanager
def with_joblib(workers):
    import joblib

    with joblib.Parallel(n_jobs=workers, return_as="generator") as parallel:
        yield parallel


@contextmanager
def pool(workers):
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context) as made:
        yield made


def engines_of(workers):
    """name -> context manager; those that are not installed are left out."""
    found = {"pool": pool}
    for module, name, make in (("joblib", "joblib", with_joblib), ("distributed", "Dask", cluster)):
        try:
            __import__(module)
            found[name] = make
        except ImportError as error:
            say(f"{name}: skipped, not installed ({error})")
    counts = dict.fromkeys([1, workers])
    made = {f"{name}, {n} workers": partial(make, n) for name, make in found.items()
            for n in counts if n > 1 or name == "Dask"}  # fmt: skip
    return {name.replace(" 1 workers", " 1 worker"): make for name, make in made.items()}


# --- measuring ------------------------------------------------------------------------------------


def bits(answer):
    return nt.ravel(answer)[0].tobytes()


class Contestant:
    """A gradient over data that lie with the workers of an engine, which has run."""

    def __init__(self, name, made, program):
        self.name, self.engine = name, made
        self.title, loss, self.parameters, makers = program
        start = time.perf_counter()
        self.shards = nt.parallel.scatter(makers, made)
        self.gradient = nt.parallel.value_and_grad(loss, engine=made)
        self.answer = bits(self())
        self.first = time.perf_counter() - start
        self()

    def __call__(self):
        return self.gradient(self.parameters, self.shards)


def measure(name, options):
    """The rows of a program."""
    program = PROGRAMS[name](options.scale)
    with ExitStack() as stack:
        entries = [Contestant(ALONE, None, program)]
        for title, make in engines_of(options.workers).items():
            say(f"{program[0]}: {title}")
            entries.append(Contestant(title, stack.enter_context(make()), program))
        samples = timed_rounds(entries, options.seconds)
        for entry, seconds in zip(entries, samples, strict=True):
            middle, low, high = (1e3 * t for t in spread(seconds))
            yield {
                "row": name,
                "title": entry.title,
                "contestant": entry.name,
                "value": round(middle, 4),
                "quartiles": [round(low, 4), round(high, 4)],
                "unit": "ms",
                "rounds": len(seconds),
                "first, ms": round(1e3 * entry.first, 1),
                "times faster": round(1 / paired_ratio(seconds, samples[0]), 4),
                "same bits": entry.answer == entries[0].answer,
                "sent, bytes": len(entry.gradient.job.data) if entry.engine is not None else 0,
            }


def measure_kill(options):
    """A gradient on a new cluster, undisturbed, and with a worker that is killed in the middle."""
    with cluster(options.workers) as client:
        entry = Contestant("Dask", client, returns(options.scale))
        whole = spread([seconds_of(entry) for _ in range(5)])[0]
        pids, answers = list(client.run(os.getpid).values()), []
        timer = threading.Timer(whole / 2, os.kill, (pids[0], signal.SIGKILL))
        timer.start()
        killed = seconds_of(lambda: answers.append(bits(entry())))
        timer.join()
        return {
            "undisturbed, s": round(whole, 4),
            "killed, s": round(killed, 4),
            "same bits": answers == [entry.answer],
        }


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of shards")
    parser.add_argument("--kills", type=int, default=KILLS, help="of workers, with Dask")
    parser.add_argument("--seconds", type=float, default=20.0, help="of rounds, for each program")
    parser.add_argument("--output", type=Path, default=rnn.RESULTS / "parallel.json")
    return parser.parse_args(arguments)


def measure_all(options):
    report = {
        "machine": describe_machine(),
        "versions": versions(["ndtape", "numpy", "dask", "distributed", "joblib"]),
        "how": "medians of interleaved rounds; ratios are medians of ratios within a round",
        "workers": options.workers,
        "rows": [],
        "kills": [],
    }
    for name in filter(None, options.programs.split(",")):
        report["rows"] += measure(name, options)
        rnn.write(report, options.output)
    if options.kills and any("Dask" in name for name in engines_of(options.workers)):
        say("workers are killed")
        report["kills"] += [measure_kill(options) for _ in range(options.kills)]
    return report


def main(arguments=None):
    options = parse_arguments(arguments)
    report = measure_all(options)
    print_tables(report, sys.stdout)
    print_lines(report, sys.stdout)
    rnn.write(report, options.output)
    say(f"written to {options.output}")


if __name__ == "__main__":
    main()
