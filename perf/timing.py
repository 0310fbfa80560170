"""Timing on a noisy machine: contestants take turns in rounds, and medians are what is quoted.

Two programs timed one after the other meet different weather when other people share the machine.
Here every round runs each contestant once, starting at a different one each time, so that a ratio
can be taken inside a round; the median of those ratios is far steadier than a ratio of minima.
"""

import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from statistics import median

SHORTEST_SAMPLE = 2e-3  # seconds; shorter calls are repeated within one sample


def seconds_of(run, repeats=1):
    """The mean time of one call over `repeats` calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def timed_rounds(runs, budget, fewest=3, most=25):
    """Time the callables of `runs` in interleaved rounds within `budget` seconds.

    The callables have run before, so that nothing is compiled here. Returns one list of seconds per
    callable, in the order of `runs`; entry k of every list was measured in round k.
    """
    first = [seconds_of(run) for run in runs]  # decides how often to repeat, and is round 0
    repeats = [max(1, round(SHORTEST_SAMPLE / max(t, 1e-9))) for t in first]
    round_cost = sum(max(t, SHORTEST_SAMPLE) for t in first)
    count = int(min(most, max(fewest, budget / round_cost)))
    samples = [[t] + [0.0] * (count - 1) for t in first]
    for k in range(1, count):
        for j in range(len(runs)):
            turn = (j + k) % len(runs)
            samples[turn][k] = seconds_of(runs[turn], repeats[turn])
    return samples


def spread(values):
    """Median, lower and upper quartile."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return median(ordered), ordered[round(last / 4)], ordered[round(3 * last / 4)]


def paired_ratio(ours, theirs):
    """The median over rounds of our time divided by theirs in the same round."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def processor_name():
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe_machine():
    """What a reader needs to know to judge the figures."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": processor_name(),
        "logical cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load average at start": None if load is None else round(load, 2),
        "date": time.strftime("%Y-%m-%d"),
    }


def versions(packages):
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def say(message):
    """Progress, on stderr so that the tables on stdout stay clean."""
    print(message, file=sys.stderr, flush=True)
